/* alloc.c - what an allocation costs, by the way the code gets at its buffer.
 *
 * Every way allocates the same number of objects that die at once and writes each one's header. What
 * differs is only the path to the pair of cursor and limit: a call that checks everything; an offset
 * that was looked up once; the three ways of storing a mutator in thread-local memory; a constant
 * size with the mutator in a register; and machine code emitted from the published facts.
 *
 * The control is the least that any allocator with these properties could do: the same loop on a
 * cursor and a limit without a library, over as much memory as the heap held,
 * zeroing a buffer of the same size whenever it hands one out again. Ratios are taken against the
 * control of the same round.
 *
 * Collections of an otherwise empty heap are part of the time, as they are part of allocating; the
 * heap is created, and once filled, before the clock starts. Under a plan that never collects every
 * way writes to fresh memory, the control too.
 *
 * Between two objects stands a compiler barrier, so that thread-local variables are read each time,
 * as they are in an interpreter's loop.
 */
#define _DEFAULT_SOURCE 1 /* MAP_ANONYMOUS */
#include "bench.h"
#include "emit.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <tessera/tessera.h>

/* ---- the ways -------------------------------------------------------------------------------- */

enum way { CONTROL, GENERIC, BY_OFFSET, POINTER, EMBEDDED, CACHED, CONSTANT, EMITTED, WAYS };

/* The sizes measured: objects without references. */
enum { SIZES = 4 };
#define LEAF(bytes)                                                                                \
  { TSR_LAYOUT_INIT, .name = #bytes " bytes", .kind = TSR_LAYOUT_FIXED, .fixed_bytes = (bytes) }
static const tsr_layout layouts[SIZES] = {LEAF(16), LEAF(24), LEAF(32), LEAF(64)};

TSR_INLINE uint64_t header_of(size_t size) {
  return TSR_HEADER(size == 16 ? 1 : size == 24 ? 2 : size == 32 ? 3 : 4);
}

/* Not static, so that the compiler must expect them to change behind every barrier. */
extern _Thread_local tsr_mutator *bench_mutator;
extern _Thread_local tsr_mutator bench_embedded;
extern _Thread_local tsr_bump_pointer bench_pair;
_Thread_local tsr_mutator *bench_mutator;
_Thread_local tsr_mutator bench_embedded;
_Thread_local tsr_bump_pointer bench_pair;

/* The control's own buffers: [next, end) of the arena is still to be handed out, then it starts over. */
struct control {
  uintptr_t cursor, limit;
  char *arena;
  size_t arena_bytes, buffer_bytes, next;
  bool used_before; /* what is handed out is no longer as fresh from the system */
};

/* What the loops run on. */
struct world {
  struct control control;
  tsr_heap *heap;
  tsr_mutator *mutator;
  uint32_t pair_offset;
  struct emitter emitter;
  emit_function *emitted;
};

static void *control_refill(struct control *control, size_t size) {
  if (control->next + control->buffer_bytes > control->arena_bytes) {
    control->next = 0;
    control->used_before = true;
  }
  char *buffer = control->arena + control->next;
  control->next += control->buffer_bytes;
  if (control->used_before) memset(buffer, 0, control->buffer_bytes);
  control->limit = (uintptr_t)buffer + control->buffer_bytes;
  control->cursor = (uintptr_t)buffer + size;
  return buffer;
}

TSR_INLINE void *control_alloc(struct control *control, size_t size) {
  uintptr_t result = control->cursor;
  uintptr_t end = result + size;
  if (TSR_UNLIKELY(end > control->limit)) return control_refill(control, size);
  control->cursor = end;
  return (void *)result;
}

TSR_INLINE void *allocate(enum way way, struct world *world, tsr_mutator *mutator, size_t size) {
  switch (way) {
  case CONTROL:
    return control_alloc(&world->control, size);
  case GENERIC:
    return tsr_alloc(bench_mutator, size, TSR_OBJECT_ALIGN, 0, TSR_DEFAULT);
  case BY_OFFSET:
    return tsr_alloc_by_offset(bench_mutator, world->pair_offset, size, TSR_OBJECT_ALIGN, 0);
  case POINTER:
    return tsr_alloc_default(bench_mutator, size);
  case EMBEDDED:
    return tsr_alloc_default(&bench_embedded, size);
  case CACHED:
    return tsr_alloc_cached(bench_mutator, &bench_pair, size);
  default:
    return tsr_alloc_default(mutator, size);
  }
}

/* `way`, and for some callers `size`, are constants: each caller gets a loop of its own. */
TSR_INLINE bool loop(enum way way, struct world *world, size_t size, uint64_t count) {
  tsr_mutator *mutator = world->mutator;
  uint64_t header = header_of(size);
  for (uint64_t i = 0; i < count; i++) {
    uint64_t *object = allocate(way, world, mutator, size);
    if (TSR_UNLIKELY(object == NULL)) return false;
    *object = header;
    if (way == GENERIC) {
      (void)tsr_post_alloc(bench_mutator, (tsr_ref)object, size, TSR_DEFAULT);
    } else if (way != CONTROL) {
      tsr_post_alloc_default(mutator, object, size);
    }
    atomic_signal_fence(memory_order_seq_cst);
  }
  return true;
}

TSR_INLINE bool constant_loop(enum way way, struct world *world, size_t size, uint64_t count) {
  switch (size) {
  case 16:
    return loop(way, world, 16, count);
  case 24:
    return loop(way, world, 24, count);
  case 32:
    return loop(way, world, 32, count);
  default:
    return loop(way, world, 64, count);
  }
}

/* One function a way, so that a profile tells them apart. */
static bool control(struct world *world, size_t size, uint64_t count) {
  return constant_loop(CONTROL, world, size, count);
}

static bool generic(struct world *world, size_t size, uint64_t count) {
  return loop(GENERIC, world, size, count);
}

static bool by_offset(struct world *world, size_t size, uint64_t count) {
  return loop(BY_OFFSET, world, size, count);
}

static bool storage_1(struct world *world, size_t size, uint64_t count) {
  return loop(POINTER, world, size, count);
}

static bool storage_2(struct world *world, size_t size, uint64_t count) {
  return loop(EMBEDDED, world, size, count);
}

static bool storage_3(struct world *world, size_t size, uint64_t count) {
  return loop(CACHED, world, size, count);
}

static bool constant(struct world *world, size_t size, uint64_t count) {
  return constant_loop(CONSTANT, world, size, count);
}

static bool emitted(struct world *world, size_t size, uint64_t count) {
  (void)size; /* it is in the code */
  return count == 0 || world->emitted(world->mutator, NULL, count) == 1;
}

static const struct {
  const char *name;
  const char *summary;
  bool (*run)(struct world *world, size_t size, uint64_t count);
} ways[WAYS] = {
    [CONTROL] = {"control", "a bare bump loop that zeroes used buffers; no library", control},
    [GENERIC] = {"generic", "tsr_alloc() and tsr_post_alloc()", generic},
    [BY_OFFSET] = {"offset", "tsr_alloc_by_offset(), the offset looked up once", by_offset},
    [POINTER] = {"storage 1", "thread-local pointer to the mutator", storage_1},
    [EMBEDDED] = {"storage 2", "thread-local memory embeds the mutator", storage_2},
    [CACHED] = {"storage 3", "thread-local memory embeds a registered pair", storage_3},
    [CONSTANT] = {"constant", "size known when compiled, mutator in a register", constant},
    [EMITTED] = {"emitted", "machine code made from tsr_facts", emitted},
};

/* ---- setting up ------------------------------------------------------------------------------ */

/* The command line, and what a trial run found out. */
struct settings {
  const char *plan;
  const char *heap;
  unsigned size, rounds, megabytes;
  bool json;

  char plan_name[32];
  char heap_max[32];
  bool collects;
  size_t buffer_bytes;
  size_t held_bytes; /* what the heap held at most */
  struct bench_counters counters;
};

static bool complain(const char *what) {
  fprintf(stderr, "tessera-bench alloc: %s\n", what);
  return false;
}

static tsr_heap *create_heap(const struct settings *settings) {
  static const tsr_binding binding = {TSR_BINDING_HEADER, .name = "bench",
                                      .does = TSR_DOES_WRITE_BARRIER | TSR_DOES_SAFEPOINTS |
                                              TSR_DOES_UPDATABLE_SLOTS,
                                      .layouts = layouts, .layout_count = SIZES};

  tsr_error error;
  tsr_options *options = tsr_options_create();
  bool ok = options != NULL;
  if (ok && settings->plan != NULL) {
    ok = tsr_options_set(options, "plan", settings->plan, &error) == TSR_OK;
  }
  if (ok) ok = tsr_options_set(options, "heap_max", settings->heap_max, &error) == TSR_OK;
  tsr_heap *heap = ok ? tsr_heap_create(&binding, NULL, options, &error) : NULL;
  if (heap == NULL) complain(options == NULL ? "out of memory" : error.message);
  tsr_options_destroy(options);
  return heap;
}

static bool bind_mutator(struct world *world, enum way way) {
  tsr_error error;
  if (way == EMBEDDED) {
    tsr_status status = tsr_bind_mutator_in(world->heap, &bench_embedded, world, &error);
    world->mutator = status == TSR_OK ? &bench_embedded : NULL;
  } else {
    world->mutator = tsr_bind_mutator(world->heap, world, &error);
  }
  if (world->mutator == NULL) return complain(error.message);
  bench_mutator = world->mutator;
  if (way != CACHED) return true;
  return tsr_register_bump_pointer(world->mutator, &bench_pair, &error) == TSR_OK ||
         complain(error.message);
}

/* do { new object } while (--count) */
static bool emit_allocation_loop(struct world *world, size_t size) {
  struct emitter *e = &world->emitter;
  tsr_facts facts;
  tsr_heap_facts(world->heap, &facts);
  if (!emit_begin(e, &facts)) return complain("no page for code");
  emit_prologue(e);
  size_t again = emit_label(e);
  if (!emit_allocation(e, tsr_allocator_mapping(world->heap, TSR_DEFAULT), (uint32_t)size,
                       header_of(size))) {
    return complain("this plan has no inline path to emit");
  }
  emit_loop(e, again);
  emit_constant(e, RAX, 1);
  emit_return(e);
  world->emitted = emit_end(e);
  return world->emitted != NULL || complain("the loop could not be emitted");
}

static bool open_heap_world(struct world *world, const struct settings *settings, enum way way,
                            size_t size) {
  world->heap = create_heap(settings);
  if (world->heap == NULL || !bind_mutator(world, way)) return false;
  world->pair_offset = tsr_allocator_mapping(world->heap, TSR_DEFAULT).pair_offset;
  return way != EMITTED || emit_allocation_loop(world, size);
}

static bool open_control_world(struct world *world, const struct settings *settings) {
  struct control *control = &world->control;
  control->buffer_bytes = settings->buffer_bytes;
  control->arena_bytes = settings->held_bytes;
  void *arena =
      mmap(NULL, control->arena_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (arena == MAP_FAILED) return complain("no memory for the control");
  control->arena = arena;
  return true;
}

static void close_world(struct world *world) {
  emit_free(&world->emitter);
  if (world->mutator != NULL) tsr_unbind_mutator(world->mutator, NULL);
  tsr_heap_destroy(world->heap, NULL);
  if (world->control.arena != NULL) munmap(world->control.arena, world->control.arena_bytes);
  bench_mutator = NULL;
}

/* ---- measuring ------------------------------------------------------------------------------- */

/* What was found for one size: [way][round]. */
struct results {
  const struct settings *settings;
  size_t size;
  uint64_t count;
  struct bench_cost *costs;
  uint64_t collections[WAYS]; /* within the clock, last round */
};

static uint64_t collections_of(const struct world *world) {
  tsr_stats stats = {.size = sizeof stats};
  if (world->heap == NULL || tsr_heap_stats(world->heap, &stats, NULL) != TSR_OK) return 0;
  return stats.collections;
}

/* One round through the memory, where it will be used again. */
static uint64_t warm_up_count(const struct results *results) {
  const struct settings *settings = results->settings;
  return settings->collects ? settings->held_bytes / results->size : 0;
}

static bool way_runs_here(enum way way) {
  return way != EMITTED || EMIT_RUNS_HERE;
}

static bool time_way(struct results *results, unsigned round, enum way way, struct world *world) {
  const struct settings *settings = results->settings;
  if (!ways[way].run(world, results->size, warm_up_count(results)))
    return complain("out of memory");

  uint64_t before = collections_of(world);
  struct bench_cost start = bench_read(&settings->counters);
  bool done = ways[way].run(world, results->size, results->count);
  results->costs[(size_t)way * settings->rounds + round] = bench_since(&settings->counters, start);
  results->collections[way] = collections_of(world) - before;
  return done || complain("out of memory: a larger --heap or fewer --megabytes");
}

static bool run_way(void *context, unsigned round, size_t index) {
  struct results *results = context;
  enum way way = (enum way)index;
  if (!way_runs_here(way)) return true;
  struct world world = {0};
  bool open = way == CONTROL ? open_control_world(&world, results->settings)
                             : open_heap_world(&world, results->settings, way, results->size);
  bool ok = open && time_way(results, round, way, &world);
  close_world(&world);
  return ok;
}

/* Chooses the heap's size: small, so that collecting plans collect often, unless the plan never
   collects and the heap must hold everything. */
static bool choose_heap(struct settings *settings, uint64_t bytes) {
  snprintf(settings->heap_max, sizeof settings->heap_max, "%s",
           settings->heap != NULL ? settings->heap : "16M");
  struct world world = {0};
  bool ok = open_heap_world(&world, settings, CONSTANT, 64);
  if (ok) {
    settings->collects = tsr_collect(world.mutator, NULL) != TSR_UNSUPPORTED;
    snprintf(settings->plan_name, sizeof settings->plan_name, "%s", tsr_heap_plan(world.heap));
  }
  close_world(&world);
  if (ok && !settings->collects && settings->heap == NULL) {
    unsigned long long megabytes = (bytes + bytes / 4) >> 20;
    snprintf(settings->heap_max, sizeof settings->heap_max, "%lluM", megabytes + 32);
  }
  return ok;
}

/* Finds out how large a buffer is, and how much memory the heap holds under this much allocation:
   the control does the same with as much. */
static bool try_heap(struct settings *settings, uint64_t bytes) {
  struct world world = {0};
  bool ok = open_heap_world(&world, settings, CONSTANT, 64);
  if (ok) {
    ok = constant(&world, 64, 1);
    const tsr_bump_pointer *buffer = &world.mutator->bump[0];
    settings->buffer_bytes = buffer->limit - buffer->cursor + 64;
    ok = ok && constant(&world, 64, bytes / 64);
    tsr_stats stats = {.size = sizeof stats};
    tsr_heap_stats(world.heap, &stats, NULL);
    settings->held_bytes = (size_t)stats.peak_committed_bytes;
    if (!ok) complain("out of memory: a larger --heap or fewer --megabytes");
  }
  close_world(&world);
  return ok;
}

/* ---- reporting ------------------------------------------------------------------------------- */

/* One way's figures, per object. */
struct row {
  struct bench_figure wall_ns, cpu_ns, ratio, counted[BENCH_COUNTERS];
};

static struct row summarise(const struct results *results, enum way way, double *scratch) {
  size_t rounds = results->settings->rounds;
  const struct bench_cost *costs = results->costs + way * rounds;
  const struct bench_cost *control = results->costs + CONTROL * rounds;
  double objects = (double)results->count;
  struct row row;
  for (size_t i = 0; i < rounds; i++)
    scratch[i] = costs[i].wall_ns / objects;
  row.wall_ns = bench_figure(scratch, rounds);
  for (size_t i = 0; i < rounds; i++)
    scratch[i] = costs[i].cpu_ns / objects;
  row.cpu_ns = bench_figure(scratch, rounds);
  for (size_t i = 0; i < rounds; i++)
    scratch[i] = costs[i].cpu_ns / control[i].cpu_ns;
  row.ratio = bench_figure(scratch, rounds);
  for (int k = 0; k < BENCH_COUNTERS; k++) {
    for (size_t i = 0; i < rounds; i++)
      scratch[i] = costs[i].counted[k] / objects;
    row.counted[k] = bench_figure(scratch, rounds);
  }
  return row;
}

static void print_row(const struct results *results, enum way way, const struct row *row) {
  double objects_per_s = 1e9 / row->wall_ns.median;
  printf("  %-10s %8.3f %8.3f %8.3f %8.3f %10.2f %9.2f %9.2f", ways[way].name, row->wall_ns.median,
         row->wall_ns.min, row->wall_ns.max, row->cpu_ns.median, objects_per_s / 1e6,
         objects_per_s * (double)results->size / 1e9, row->ratio.median);
  bench_column(row->counted[BENCH_INSTRUCTIONS].median, 8, 3);
  bench_column(row->counted[BENCH_CACHE_MISSES].median, 8, 3);
  printf(" %8llu\n", (unsigned long long)results->collections[way]);
}

static void print_table(const struct results *results, double *scratch) {
  printf("\n%zu bytes, header included; %llu objects a round, after %llu to warm up\n",
         results->size, (unsigned long long)results->count,
         (unsigned long long)warm_up_count(results));
  printf("  %-10s %8s %8s %8s %8s %10s %9s %9s %8s %8s %8s\n", "way", "ns", "min", "max", "cpu ns",
         "Mobjects/s", "GB/s", "x control", "instr.", "misses", "collect.");
  for (enum way way = 0; way < WAYS; way++) {
    if (!way_runs_here(way)) continue;
    struct row row = summarise(results, way, scratch);
    print_row(results, way, &row);
  }
}

static void print_json(const struct results *results, double *scratch, bool *first) {
  for (enum way way = 0; way < WAYS; way++) {
    if (!way_runs_here(way)) continue;
    struct row row = summarise(results, way, scratch);
    printf("%s\n  {\"size\":%zu,\"way\":\"%s\"", *first ? "" : ",", results->size, ways[way].name);
    bench_json_number("wall_ns", row.wall_ns.median);
    bench_json_number("wall_ns_min", row.wall_ns.min);
    bench_json_number("wall_ns_max", row.wall_ns.max);
    bench_json_number("cpu_ns", row.cpu_ns.median);
    bench_json_number("objects_per_s", 1e9 / row.wall_ns.median);
    bench_json_number("bytes_per_s", 1e9 / row.wall_ns.median * (double)results->size);
    bench_json_number("cpu_to_control", row.ratio.median);
    bench_json_number("instructions", row.counted[BENCH_INSTRUCTIONS].median);
    bench_json_number("cache_misses", row.counted[BENCH_CACHE_MISSES].median);
    printf(",\"collections\":%llu}", (unsigned long long)results->collections[way]);
    *first = false;
  }
}

static void print_heading(const struct settings *settings) {
  if (settings->json) {
    printf("{\"benchmark\":\"alloc\",\"plan\":\"%s\",\"heap_max\":\"%s\",\"buffer_bytes\":%zu,"
           "\"held_bytes\":%zu,\"rounds\":%u,\"megabytes\":%u,\"counters\":\"%s\",\"rows\":[",
           settings->plan_name, settings->heap_max, settings->buffer_bytes, settings->held_bytes,
           settings->rounds, settings->megabytes, settings->counters.source);
    return;
  }
  printf(
      "plan %s, heap of at most %s, %zu KiB held; buffers of %zu KiB; %u MB a round, %u rounds in "
      "turns\n",
      settings->plan_name, settings->heap_max, settings->held_bytes >> 10,
      settings->buffer_bytes >> 10, settings->megabytes, settings->rounds);
  printf("medians per object; x control: CPU time against the control's, of the same round\n");
  printf("instructions and cache misses: %s\n", settings->counters.source);
  if (strncmp(settings->counters.source, "n/a", 3) == 0) {
    printf(
        "  to count them in a simulation: valgrind --tool=callgrind --cache-sim=yes tessera-bench "
        "alloc --size 24 --rounds 1 --megabytes 8; then callgrind_annotate --inclusive=yes\n");
  }
  for (int way = 0; way < WAYS; way++)
    printf("  %-10s %s\n", ways[way].name, ways[way].summary);
}

static bool run_size(const struct settings *settings, size_t size, bool *first) {
  size_t samples = (size_t)WAYS * settings->rounds;
  struct results results = {.settings = settings,
                            .size = size,
                            .count = ((uint64_t)settings->megabytes << 20) / size,
                            .costs = calloc(samples, sizeof *results.costs)};
  double *scratch = calloc(settings->rounds, sizeof *scratch);
  bool ok = results.costs != NULL && scratch != NULL;
  ok = ok ? bench_rounds(settings->rounds, WAYS, run_way, &results) : complain("out of memory");
  if (ok && settings->json) print_json(&results, scratch, first);
  if (ok && !settings->json) print_table(&results, scratch);
  free(scratch);
  free(results.costs);
  return ok;
}

static bool known_size(unsigned size) {
  return size == 0 || size == 16 || size == 24 || size == 32 || size == 64 ||
         complain("--size is one of 16, 24, 32 and 64");
}

static bool run_all(struct settings *settings) {
  if (!known_size(settings->size)) return false;
  uint64_t bytes = (uint64_t)settings->megabytes << 20;
  if (!choose_heap(settings, bytes) || !try_heap(settings, bytes)) return false;
  bool ok = true;
  bool first = true;
  bench_counters_open(&settings->counters);
  print_heading(settings);
  for (int i = 0; ok && i < SIZES; i++) {
    size_t size = layouts[i].fixed_bytes;
    bool wanted = settings->size == 0 || settings->size == size;
    if (wanted) ok = run_size(settings, size, &first);
  }
  if (settings->json) printf("\n]}\n");
  bench_counters_close(&settings->counters);
  return ok;
}

int bench_alloc(int argc, char **argv) {
  struct settings settings = {.rounds = 7, .megabytes = 128};
  const struct bench_option options[] = {
      {"--plan", BENCH_TEXT, &settings.plan,
       "plan to run under; default: TESSERA_PLAN, or the best"},
      {"--heap", BENCH_TEXT, &settings.heap,
       "heap maximum; default 16M, or all if never collected"},
      {"--size", BENCH_NUMBER, &settings.size, "one object size: 16, 24, 32 or 64; default: all"},
      {"--rounds", BENCH_NUMBER, &settings.rounds, "rounds; default 7"},
      {"--megabytes", BENCH_NUMBER, &settings.megabytes,
       "allocated by a way in a round; default 128"},
      {"--json", BENCH_FLAG, &settings.json, "one JSON object instead of tables"},
  };
  int status = bench_parse(argc, argv, options, sizeof options / sizeof *options);
  if (status != BENCH_RUN) return status;
  return run_all(&settings) ? 0 : 1;
}
