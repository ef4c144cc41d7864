/* weak.c - what weak references, ephemerons and finalizers cost a collection.
 *
 * The heaps hold the same number of bytes in the same order of memory: keys, and as many holders
 * that refer to them, in a table. In a control all slots are strong; in the others the holders are weak
 * objects, ephemerons of keys that are alive by themselves, or ephemerons that make one chain, of
 * which only the first key is alive by itself; or the holders make a plain list, in the order of that chain; or every
 * key has a finalizer, and lives; or every holder has one, and
 * nothing else keeps it or its key. The holders' keys lie in a random order, or in that of the holders. Measured is
 * the one collection of each heap, its pause as a whole.
 *
 * Four programs allocate objects that die; two attach a finalizer to each, and take it from the queue after the
 * collection. The objects die at once, or they are kept in a table, live through a collection, and die then.
 * Measured is all of it.
 *
 * Each collection is checked: everything that is alive has survived, and each finalizer was ready.
 */
#include "bench.h"
#include "graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum way {
  STRONG,
  WEAK,
  EPHEMERONS,
  CHAIN,
  LIST,
  ORDERED,
  ORDERED_CHAIN,
  ORDERED_LIST,
  ATTACHED,
  REVIVED,
  DROPPED,
  FINALIZED,
  KEPT,
  KEPT_FINALIZED,
  WAYS
};

static const struct {
  const char *name;
  enum way control;
} ways[WAYS] = {[STRONG] = {"strong", STRONG},
                [WEAK] = {"weak", STRONG},
                [EPHEMERONS] = {"ephemerons", STRONG},
                [CHAIN] = {"chain", STRONG},
                [LIST] = {"list", STRONG},
                [ORDERED] = {"strong, in order", ORDERED},
                [ORDERED_CHAIN] = {"chain, in order", ORDERED},
                [ORDERED_LIST] = {"list, in order", ORDERED},
                [ATTACHED] = {"finalizers", STRONG},
                [REVIVED] = {"revived", STRONG},
                [DROPPED] = {"dropped", DROPPED},
                [FINALIZED] = {"finalized", DROPPED},
                [KEPT] = {"kept first", KEPT},
                [KEPT_FINALIZED] = {"kept, finalized", KEPT}};

struct settings {
  const char *plan;
  unsigned rounds, objects, threads;
  bool json;
};

/* ---- what the library is told ---------------------------------------------------------------- */

enum { KEY_LAYOUT = 1, STRONG_LAYOUT, WEAK_LAYOUT, EPHEMERON_LAYOUT, TABLE_LAYOUT, LAYOUTS = 5 };

struct key {
  uint64_t header;
  uint64_t number;
};

struct holder {
  uint64_t header;
  tsr_ephemeron pair; /* or a key, a value, and words of no meaning */
};

struct table {
  uint64_t header;
  uint64_t length;
  tsr_slot slots[];
};

static const tsr_layout layouts[LAYOUTS] = {
    {TSR_LAYOUT_INIT, .name = "key", .kind = TSR_LAYOUT_FIXED, .fixed_bytes = sizeof(struct key)},
    {TSR_LAYOUT_INIT, .name = "holder", .kind = TSR_LAYOUT_FIXED,
     .fixed_bytes = sizeof(struct holder), .fixed_refs = 0x6},
    {TSR_LAYOUT_INIT, .name = "weak holder", .kind = TSR_LAYOUT_WEAK,
     .fixed_bytes = sizeof(struct holder), .weak_refs = 0x6, .weak_offset = 24},
    {TSR_LAYOUT_INIT, .name = "ephemeron", .kind = TSR_LAYOUT_EPHEMERON,
     .fixed_bytes = sizeof(struct holder), .weak_offset = 8},
    {TSR_LAYOUT_INIT, .name = "table", .kind = TSR_LAYOUT_REFERENCES,
     .fixed_bytes = sizeof(struct table), .length = {.offset = 8, .width = 8, .unit = 8}}};

/* One heap, of one way, and the table of all heaps' costs: [way][round]. */
struct world {
  const struct settings *settings;
  const char *plan;
  uint32_t *order;     /* of keys: a permutation */
  uint32_t *holder_of; /* its inverse */
  double *cpu_ns;

  tsr_heap *heap;
  tsr_mutator *mutator;
  tsr_slot roots[2]; /* the table of holders, and that of keys */
  tsr_collection last;
};

static void collection_ended(void *vm, const tsr_collection *collection) {
  struct world *world = vm;
  world->last = *collection;
}

static const tsr_binding binding = {TSR_BINDING_HEADER,
                                    .name = "bench",
                                    .does = TSR_DOES_WRITE_BARRIER | TSR_DOES_SAFEPOINTS |
                                            TSR_DOES_UPDATABLE_SLOTS | TSR_DOES_WEAK_LOADS,
                                    .layouts = layouts,
                                    .layout_count = LAYOUTS,
                                    .collection_ended = collection_ended};

static bool complain(const char *what) {
  fprintf(stderr, "tessera-bench weak: %s\n", what);
  return false;
}

/* ---- a heap ----------------------------------------------------------------------------------- */

static bool world_pin_options(const struct world *world, tsr_options *options, tsr_error *error) {
  char bytes[32], threads[16];
  unsigned long long each = sizeof(struct key) + sizeof(struct holder) + 2 * sizeof(tsr_slot);
  snprintf(bytes, sizeof bytes, "%llu", 4 * each * world->settings->objects + (64ULL << 20));
  snprintf(threads, sizeof threads, "%u", world->settings->threads);
  return tsr_options_set(options, "plan", world->plan, error) == TSR_OK &&
         tsr_options_set(options, "threads", threads, error) == TSR_OK &&
         tsr_options_set(options, "heap_max", bytes, error) == TSR_OK &&
         tsr_options_set(options, "heap_min", bytes, error) == TSR_OK;
}

static bool world_open(struct world *world) {
  tsr_error error;
  tsr_options *options = tsr_options_create();
  world->heap = NULL;
  world->mutator = NULL;
  if (options == NULL) return complain("out of memory");
  if (world_pin_options(world, options, &error)) {
    world->heap = tsr_heap_create(&binding, world, options, &error);
  }
  tsr_options_destroy(options);
  if (world->heap != NULL) world->mutator = tsr_bind_mutator(world->heap, world, &error);
  if (world->mutator == NULL) return complain(error.message);
  tsr_collection_disable(world->heap);
  return true;
}

static void world_close(const struct world *world) {
  if (world->mutator != NULL) tsr_unbind_mutator(world->mutator, NULL);
  tsr_heap_destroy(world->heap, NULL);
}

static bool world_collect(const struct world *world) {
  tsr_error error;
  if (tsr_collection_enable(world->heap, &error) != TSR_OK ||
      tsr_collect(world->mutator, &error) != TSR_OK) {
    return complain(error.message);
  }
  tsr_collection_disable(world->heap);
  return true;
}

static void *allocate(const struct world *world, size_t bytes, unsigned layout) {
  uint64_t *object = tsr_alloc_default(world->mutator, bytes);
  if (object == NULL) return NULL;
  *object = TSR_HEADER(layout);
  tsr_post_alloc_default(world->mutator, object, bytes);
  return object;
}

/* ---- holders ---------------------------------------------------------------------------------- */

static struct table *allocate_table(const struct world *world) {
  uint32_t count = world->settings->objects;
  size_t bytes = sizeof(struct table) + count * sizeof(tsr_slot);
  struct table *table = tsr_alloc(world->mutator, bytes, TSR_OBJECT_ALIGN, 0, TSR_DEFAULT);
  if (table == NULL) return NULL;
  table->header = TSR_HEADER(TABLE_LAYOUT);
  table->length = count;
  tsr_status status = tsr_post_alloc(world->mutator, (tsr_ref)(void *)table, bytes, TSR_DEFAULT);
  return status == TSR_OK ? table : NULL;
}

static void store(const struct world *world, void *object, tsr_slot *slot, const void *target) {
  tsr_write(world->mutator, (tsr_ref)object, slot, (uintptr_t)target);
}

/* The key of the i-th holder. */
static uint32_t key_of(const struct world *world, enum way way, uint32_t i) {
  bool ordered = way == ORDERED || way == ORDERED_CHAIN || way == ORDERED_LIST;
  return ordered ? i : world->order[i];
}

/* The holder of the i-th key. */
static uint32_t holder_of(const struct world *world, enum way way, uint32_t i) {
  return way == ORDERED_LIST ? i : world->holder_of[i];
}

/* Keys in a table, and holders in another; no collection comes before all is built. */
static bool build_holders(struct world *world, enum way way) {
  static const unsigned kinds[] = {
      [LIST] = STRONG_LAYOUT,    [ORDERED_LIST] = STRONG_LAYOUT,     [STRONG] = STRONG_LAYOUT,
      [WEAK] = WEAK_LAYOUT,      [EPHEMERONS] = EPHEMERON_LAYOUT,    [CHAIN] = EPHEMERON_LAYOUT,
      [ORDERED] = STRONG_LAYOUT, [ORDERED_CHAIN] = EPHEMERON_LAYOUT, [ATTACHED] = STRONG_LAYOUT,
      [REVIVED] = STRONG_LAYOUT};
  uint32_t count = world->settings->objects;
  struct table *keys = allocate_table(world);
  struct table *holders = allocate_table(world);
  bool ok = keys != NULL && holders != NULL;
  for (uint32_t i = 0; ok && i < count; i++) {
    struct key *key = allocate(world, sizeof *key, KEY_LAYOUT);
    struct holder *holder = allocate(world, sizeof *holder, kinds[way]);
    ok = key != NULL && holder != NULL;
    if (!ok) break;
    key->number = i;
    store(world, keys, &keys->slots[i], key);
    store(world, holders, &holders->slots[i], holder);
  }
  if (!ok) return complain("out of memory");
  for (uint32_t i = 0; i < count; i++) {
    struct holder *holder = (struct holder *)(uintptr_t)holders->slots[i].word;
    uint32_t number = key_of(world, way, i);
    store(world, holder, &holder->pair.key, (void *)(uintptr_t)keys->slots[number].word);
    uint32_t next = (number + 1) % count;
    bool list = way == LIST || way == ORDERED_LIST;
    const tsr_slot *value =
        list ? &holders->slots[holder_of(world, way, next)] : &keys->slots[next];
    store(world, holder, &holder->pair.value, (void *)(uintptr_t)value->word);
  }
  if (way == CHAIN || way == ORDERED_CHAIN)
    tsr_fill_slots(world->mutator, (tsr_ref)keys, keys->slots + 1, count - 1, 0);
  world->roots[0].word = (uintptr_t)holders;
  world->roots[1].word = (uintptr_t)keys;
  return true;
}

/* Everything in a table gets a finalizer. */
static bool attach_to_all(const struct world *world, const tsr_slot *root) {
  const struct table *table = (const struct table *)(uintptr_t)root->word;
  for (uint32_t i = 0; i < world->settings->objects; i++) {
    tsr_ref object = (tsr_ref)(uintptr_t)table->slots[i].word;
    if (tsr_finalizer_attach(world->mutator, object, 0, 0, NULL) != TSR_OK) {
      return complain("out of memory for finalizers");
    }
  }
  return true;
}

/* Nothing refers to keys and holders any more but finalizers, those of the holders. */
static bool leave_to_finalizers(struct world *world) {
  if (!attach_to_all(world, &world->roots[0])) return false;
  for (unsigned i = 0; i < 2; i++) {
    struct table *table = (struct table *)(uintptr_t)world->roots[i].word;
    tsr_fill_slots(world->mutator, (tsr_ref)table, table->slots, world->settings->objects, 0);
  }
  return true;
}

/* Puts the holders back into their table. */
static bool take_holders(const struct world *world) {
  struct table *holders = (struct table *)(uintptr_t)world->roots[0].word;
  tsr_finalizable ready;
  for (uint32_t i = 0; i < world->settings->objects; i++) {
    if (!tsr_finalizer_next(world->mutator, &ready)) return complain("a finalizer was not ready");
    store(world, holders, &holders->slots[i], ready.object);
  }
  return true;
}

/* Only the list's first holder is in the table. */
static void leave_to_list(const struct world *world, enum way way) {
  struct table *holders = (struct table *)(uintptr_t)world->roots[0].word;
  uint32_t first = holder_of(world, way, 0), rest = world->settings->objects - first - 1;
  tsr_fill_slots(world->mutator, (tsr_ref)holders, holders->slots, first, 0);
  tsr_fill_slots(world->mutator, (tsr_ref)holders, holders->slots + first + 1, rest, 0);
}

/* Puts the holders back into their table. */
static void take_list(const struct world *world, enum way way) {
  struct table *holders = (struct table *)(uintptr_t)world->roots[0].word;
  for (uint32_t i = 0; i + 1 < world->settings->objects; i++) {
    const struct holder *holder =
        (const struct holder *)(uintptr_t)holders->slots[holder_of(world, way, i)].word;
    store(world, holders, &holders->slots[holder_of(world, way, i + 1)],
          (void *)(uintptr_t)holder->pair.value.word);
  }
}

/* Whether all holders have their keys. */
static bool check_holders(const struct world *world, enum way way) {
  const struct table *holders = (const struct table *)(uintptr_t)world->roots[0].word;
  for (uint32_t i = 0; i < world->settings->objects; i++) {
    const struct holder *holder = (const struct holder *)(uintptr_t)holders->slots[i].word;
    const struct key *key = (const struct key *)(uintptr_t)holder->pair.key.word;
    if (key == NULL || key->number != key_of(world, way, i) || holder->pair.value.word == 0) {
      return complain("a collection lost something");
    }
  }
  return true;
}

static bool run_holders(struct world *world, enum way way, double *cpu_ns) {
  tsr_error error;
  if (!build_holders(world, way)) return false;
  if (way == ATTACHED && !attach_to_all(world, &world->roots[1])) return false;
  if (way == REVIVED && !leave_to_finalizers(world)) return false;
  bool list = way == LIST || way == ORDERED_LIST;
  if (list) leave_to_list(world, way);
  if (tsr_root_add(world->heap, world->roots, 2, TSR_ROOT_PRECISE, "tables", &error) != TSR_OK) {
    return complain(error.message);
  }
  if (!world_collect(world)) return false;
  *cpu_ns = (double)world->last.pause_cpu_ns;
  if (way == REVIVED && !take_holders(world)) return false;
  if (list) take_list(world, way);
  return check_holders(world, way);
}

/* ---- finalizers ------------------------------------------------------------------------------- */

static bool drain(const struct world *world, uint32_t wanted) {
  tsr_finalizable ready;
  uint32_t count = 0;
  while (tsr_finalizer_next(world->mutator, &ready)) {
    if (((const struct key *)(void *)ready.object)->number != count) {
      return complain("a finalizer came out of turn");
    }
    count++;
  }
  return count == wanted || complain("a finalizer was not ready");
}

/* The objects, in a table if they are kept. */
static bool build_dying(struct world *world, bool finalized, struct table *kept) {
  for (uint32_t i = 0; i < world->settings->objects; i++) {
    struct key *key = allocate(world, sizeof *key, KEY_LAYOUT);
    if (key == NULL) return complain("out of memory");
    key->number = i;
    if (kept != NULL) store(world, kept, &kept->slots[i], key);
    if (finalized &&
        tsr_finalizer_attach(world->mutator, (tsr_ref)(void *)key, 0, 0, NULL) != TSR_OK) {
      return complain("out of memory for finalizers");
    }
  }
  return true;
}

static bool run_dying(struct world *world, bool finalized, bool keeps, double *cpu_ns) {
  tsr_error error;
  if (keeps &&
      tsr_root_add(world->heap, world->roots, 1, TSR_ROOT_PRECISE, "table", &error) != TSR_OK) {
    return complain(error.message);
  }
  double start_ns = bench_cpu_ns();
  struct table *kept = keeps ? allocate_table(world) : NULL;
  if (keeps && kept == NULL) return complain("out of memory");
  if (!build_dying(world, finalized, kept)) return false;
  world->roots[0].word = (uintptr_t)kept;
  if (keeps && (!world_collect(world) || !drain(world, 0))) return false;
  world->roots[0].word = 0;
  if (!world_collect(world) || !drain(world, finalized ? world->settings->objects : 0))
    return false;
  *cpu_ns = bench_cpu_ns() - start_ns;
  return true;
}

/* ---- rounds ------------------------------------------------------------------------------------ */

static bool run_way(void *context, unsigned round, size_t index) {
  struct world *world = context;
  enum way way = (enum way)index;
  double *cpu_ns = &world->cpu_ns[index * world->settings->rounds + round];
  bool ok = world_open(world);
  if (ok && way < DROPPED) ok = run_holders(world, way, cpu_ns);
  if (ok && way >= DROPPED) {
    bool finalized = way == FINALIZED || way == KEPT_FINALIZED;
    ok = run_dying(world, finalized, way >= KEPT, cpu_ns);
  }
  world_close(world);
  return ok;
}

static void shuffle(uint32_t *order, uint32_t *inverse, uint32_t count) {
  uint64_t state = 3;
  for (uint32_t i = 0; i < count; i++)
    order[i] = i;
  for (uint32_t i = count; i-- > 1;) {
    uint32_t k = shape_random(&state, i + 1);
    uint32_t swapped = order[i];
    order[i] = order[k];
    order[k] = swapped;
  }
  for (uint32_t i = 0; i < count; i++)
    inverse[order[i]] = i;
}

/* ---- reporting ------------------------------------------------------------------------------- */

static void print_heading(const struct settings *settings) {
  if (settings->json) {
    printf("{\"benchmark\":\"weak\",\"rounds\":%u,\"objects\":%u,\"threads\":%u,\"rows\":[",
           settings->rounds, settings->objects, settings->threads);
    return;
  }
  printf(
      "CPU time per object; %u objects, %u rounds in turns, %u collecting threads; medians\n"
      "x control: against \"strong\", a collection of as many bytes in the same order, and against "
      "the same program without finalizers\n"
      "  %-12s %-17s %8s %8s %8s %9s\n",
      settings->objects, settings->rounds, settings->threads, "plan", "", "ns", "min", "max",
      "x control");
}

static void report_way(const struct world *world, enum way way, double *scratch, bool first) {
  size_t rounds = world->settings->rounds;
  const double *cpu_ns = world->cpu_ns + way * rounds;
  const double *control = world->cpu_ns + ways[way].control * rounds;
  for (size_t i = 0; i < rounds; i++)
    scratch[i] = cpu_ns[i] / world->settings->objects;
  struct bench_figure ns = bench_figure(scratch, rounds);
  for (size_t i = 0; i < rounds; i++)
    scratch[i] = cpu_ns[i] / control[i];
  struct bench_figure ratio = bench_figure(scratch, rounds);
  if (!world->settings->json) {
    printf("  %-12s %-17s", world->plan, ways[way].name);
    bench_column(ns.median, 8, 2);
    bench_column(ns.min, 8, 2);
    bench_column(ns.max, 8, 2);
    bench_column(ratio.median, 9, 2);
    printf("\n");
    return;
  }
  printf("%s\n  {\"plan\":\"%s\",\"way\":\"%s\"", first ? "" : ",", world->plan, ways[way].name);
  bench_json_number("cpu_ns", ns.median);
  bench_json_number("cpu_ns_min", ns.min);
  bench_json_number("cpu_ns_max", ns.max);
  bench_json_number("to_control", ratio.median);
  printf("}");
}

/* ---- running ----------------------------------------------------------------------------------- */

struct run {
  const struct settings *settings;
  bool first; /* nothing has been reported yet */
};

static bool run_plan(void *context, const char *plan) {
  struct run *run = context;
  const struct settings *settings = run->settings;
  if (run->first) print_heading(settings);
  struct world world = {.settings = settings, .plan = plan};
  world.order = calloc(settings->objects, sizeof *world.order);
  world.holder_of = calloc(settings->objects, sizeof *world.holder_of);
  world.cpu_ns = calloc((size_t)WAYS * settings->rounds, sizeof *world.cpu_ns);
  double *scratch = calloc(settings->rounds, sizeof *scratch);
  bool ok =
      world.order != NULL && world.holder_of != NULL && world.cpu_ns != NULL && scratch != NULL;
  if (ok) shuffle(world.order, world.holder_of, settings->objects);
  ok = ok ? bench_rounds(settings->rounds, WAYS, run_way, &world) : complain("out of memory");
  for (enum way way = 0; ok && way < WAYS; way++) {
    report_way(&world, way, scratch, run->first);
    run->first = false;
  }
  free(scratch);
  free(world.cpu_ns);
  free(world.holder_of);
  free(world.order);
  return ok;
}

static bool run_all(const struct settings *settings) {
  struct run run = {.settings = settings, .first = true};
  bool ok = graph_each_collecting_plan(settings->plan, run_plan, &run);
  if (settings->json && !run.first) printf("\n]}\n");
  return ok;
}

int bench_weak(int argc, char **argv) {
  struct settings settings = {.rounds = 5, .objects = 1000000, .threads = 1};
  const struct bench_option options[] = {
      {"--plan", BENCH_TEXT, &settings.plan, "one plan that collects; default: all"},
      {"--rounds", BENCH_NUMBER, &settings.rounds, "rounds; default 5"},
      {"--objects", BENCH_NUMBER, &settings.objects, "holders, keys, finalizers; default 1000000"},
      {"--threads", BENCH_NUMBER, &settings.threads, "threads that collect; default 1"},
      {"--json", BENCH_FLAG, &settings.json, "one JSON object instead of tables"},
  };
  int status = bench_parse(argc, argv, options, sizeof options / sizeof *options);
  if (status != BENCH_RUN) return status;
  return run_all(&settings) ? 0 : 1;
}
