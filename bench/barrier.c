/* barrier.c - what the write barrier costs where it has nothing to do.
 *
 * Two loops store references into the same objects of the same heap in the same order: the
 * control with plain stores, the other with tsr_write(). Objects are drawn at random: among
 * 1,024, which a cache holds, and among 2^20, which is more than most hold, so that the barrier's
 * test waits for memory where a plain store need not. No object is armed, and it is checked that
 * none is: this is the barrier's fast path, which is the same code in every plan.
 */
#include "bench.h"
#include "graph.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum way { PLAIN, BARRIER, WAYS };

static const char *const way_names[WAYS] = {[PLAIN] = "plain store", [BARRIER] = "tsr_write"};

static const struct {
  const char *name;
  uint32_t objects;
} sizes[] = {{"in cache", 1024}, {"out of cache", 1 << 20}};

enum { SIZES = sizeof sizes / sizeof *sizes };

struct settings {
  const char *plan;
  unsigned rounds, stores;
  bool json;
};

/* What the loops run on, and what they took: [way][round]. */
struct world {
  const struct settings *settings;
  struct graph graph;
  struct bare_object **order; /* drawn at random, as many as there are objects */
  double *cpu_ns;
};

static bool complain(const char *what) {
  fprintf(stderr, "tessera-bench barrier: %s\n", what);
  return false;
}

/* ---- the loops ------------------------------------------------------------------------------ */

/* How often each loop goes through all objects. */
static unsigned world_passes(const struct world *world) {
  unsigned objects = world->graph.shape->count;
  return (world->settings->stores + objects - 1) / objects;
}

/* `way` is a constant: each caller gets a loop of its own. */
TSR_INLINE void loop(enum way way, struct world *world) {
  tsr_mutator *mutator = world->graph.mutator;
  struct bare_object *const *order = world->order;
  uint32_t count = world->graph.shape->count;
  struct bare_object *stored = order[count - 1];
  for (unsigned pass = world_passes(world); pass > 0; pass--) {
    for (uint32_t i = 0; i < count; i++) {
      struct bare_object *object = order[i];
      tsr_slot *slot = (tsr_slot *)(void *)&object->refs[1];
      if (way == PLAIN) {
        slot->word = (uintptr_t)stored;
      } else {
        tsr_write(mutator, (tsr_ref)object, slot, (uintptr_t)stored);
      }
      stored = object;
      atomic_signal_fence(memory_order_seq_cst);
    }
  }
}

/* One function a way, so that a profile tells them apart. */
static void plain(struct world *world) {
  loop(PLAIN, world);
}

static void barrier(struct world *world) {
  loop(BARRIER, world);
}

/* Whether the loop's last store is there, and no barrier had anything to do. */
static bool world_check(const struct world *world) {
  uint32_t count = world->graph.shape->count;
  if (world->order[count - 1]->refs[1] != world->order[count - 2]) {
    return complain("a store is missing");
  }
  for (uint32_t i = 0; i < count; i++) {
    if (tsr_is_armed((tsr_ref)world->order[i])) return complain("an object is armed");
  }
  return true;
}

static bool run_way(void *context, unsigned round, size_t way) {
  struct world *world = context;
  double start_ns = bench_cpu_ns();
  if (way == PLAIN) {
    plain(world);
  } else {
    barrier(world);
  }
  world->cpu_ns[way * world->settings->rounds + round] = bench_cpu_ns() - start_ns;
  return world_check(world);
}

/* ---- reporting ------------------------------------------------------------------------------ */

/* One way's figures, per store. */
struct row {
  struct bench_figure cpu_ns, more_ns, ratio;
};

static struct row summarise(const struct world *world, enum way way, double *scratch) {
  size_t rounds = world->settings->rounds;
  const double *cpu_ns = world->cpu_ns + way * rounds;
  const double *control = world->cpu_ns + PLAIN * rounds;
  double stores = (double)world_passes(world) * world->graph.shape->count;
  struct row row;
  for (size_t i = 0; i < rounds; i++)
    scratch[i] = cpu_ns[i] / stores;
  row.cpu_ns = bench_figure(scratch, rounds);
  for (size_t i = 0; i < rounds; i++)
    scratch[i] = (cpu_ns[i] - control[i]) / stores;
  row.more_ns = bench_figure(scratch, rounds);
  for (size_t i = 0; i < rounds; i++)
    scratch[i] = cpu_ns[i] / control[i];
  row.ratio = bench_figure(scratch, rounds);
  return row;
}

static void print_row(const struct world *world, const char *size, enum way way,
                      const struct row *row) {
  printf("  %-12s %-13s %8u %-12s", tsr_heap_plan(world->graph.heap), size,
         world->graph.shape->count, way_names[way]);
  bench_column(row->cpu_ns.median, 8, 3);
  bench_column(row->cpu_ns.min, 8, 3);
  bench_column(row->cpu_ns.max, 8, 3);
  bench_column(row->more_ns.median, 8, 3);
  bench_column(row->ratio.median, 9, 2);
  printf("\n");
}

static void print_json_row(const struct world *world, enum way way, const struct row *row) {
  printf("\n  {\"plan\":\"%s\",\"objects\":%u,\"way\":\"%s\"", tsr_heap_plan(world->graph.heap),
         world->graph.shape->count, way_names[way]);
  bench_json_number("cpu_ns", row->cpu_ns.median);
  bench_json_number("cpu_ns_min", row->cpu_ns.min);
  bench_json_number("cpu_ns_max", row->cpu_ns.max);
  bench_json_number("more_than_control_ns", row->more_ns.median);
  bench_json_number("to_control", row->ratio.median);
  printf("}");
}

static void report(const struct world *world, const char *size, double *scratch, bool *first) {
  for (enum way way = 0; way < WAYS; way++) {
    struct row row = summarise(world, way, scratch);
    if (!world->settings->json) {
      print_row(world, size, way, &row);
      continue;
    }
    if (!*first) printf(",");
    print_json_row(world, way, &row);
    *first = false;
  }
}

static void print_heading(const struct settings *settings) {
  if (settings->json) {
    printf("{\"benchmark\":\"barrier\",\"rounds\":%u,\"stores\":%u,\"rows\":[", settings->rounds,
           settings->stores);
    return;
  }
  printf("CPU time per store into random objects, none armed; at least %u stores a round, %u "
         "rounds in "
         "turns; medians\n"
         "more: than the plain store of the same round; x control: against it\n"
         "  %-12s %-13s %8s %-12s %8s %8s %8s %8s %9s\n",
         settings->stores, settings->rounds, "plan", "", "objects", "way", "ns", "min", "max",
         "more", "x control");
}

/* ---- running -------------------------------------------------------------------------------- */

static void draw_order(struct world *world) {
  uint64_t state = 2;
  uint32_t count = world->graph.shape->count;
  for (uint32_t i = 0; i < count; i++)
    world->order[i] = world->graph.objects[shape_random(&state, count)];
}

static bool measure(struct world *world) {
  draw_order(world);
  plain(world); /* touches everything once */
  return bench_rounds(world->settings->rounds, WAYS, run_way, world);
}

static bool run_size(const struct settings *settings, const char *plan, size_t size, bool *first) {
  const struct graph_settings how = {.plan = plan, .threads = 1, .fresh = true};
  struct world world = {.settings = settings};
  struct shape shape;
  if (!shape_build(&shape, SHAPE_RANDOM, sizes[size].objects)) return complain("out of memory");
  world.order = calloc(shape.count, sizeof(struct bare_object *));
  world.cpu_ns = calloc((size_t)WAYS * settings->rounds, sizeof *world.cpu_ns);
  double *scratch = calloc(settings->rounds, sizeof *scratch);
  bool ok = world.order != NULL && world.cpu_ns != NULL && scratch != NULL;
  ok = ok ? graph_open(&world.graph, &shape, &how) && measure(&world) : complain("out of memory");
  if (ok) report(&world, sizes[size].name, scratch, first);
  graph_close(&world.graph);
  free(scratch);
  free(world.cpu_ns);
  free(world.order);
  shape_free(&shape);
  return ok;
}

static bool run_all(const struct settings *settings) {
  if (settings->plan != NULL && !graph_plan_exists(settings->plan)) {
    return complain("there is no such plan");
  }
  bool ok = true;
  bool first = true;
  print_heading(settings);
  for (const char *const *plan = tsr_plan_names(); ok && *plan != NULL; plan++) {
    if (settings->plan != NULL && strcmp(settings->plan, *plan) != 0) continue;
    for (size_t size = 0; ok && size < SIZES; size++)
      ok = run_size(settings, *plan, size, &first);
  }
  if (settings->json) printf("\n]}\n");
  return ok;
}

int bench_barrier(int argc, char **argv) {
  struct settings settings = {.rounds = 7, .stores = 20000000};
  const struct bench_option options[] = {
      {"--plan", BENCH_TEXT, &settings.plan, "one plan; default: all"},
      {"--rounds", BENCH_NUMBER, &settings.rounds, "rounds; default 7"},
      {"--stores", BENCH_NUMBER, &settings.stores,
       "stores of a way in a round, at least; default 20000000"},
      {"--json", BENCH_FLAG, &settings.json, "one JSON object instead of tables"},
  };
  int status = bench_parse(argc, argv, options, sizeof options / sizeof *options);
  if (status != BENCH_RUN) return status;
  return run_all(&settings) ? 0 : 1;
}
