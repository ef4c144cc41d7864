/* mutation.c - how long single operations take in a program that keeps much and changes it all the time.
 *
 * A table refers to nodes of 64 bytes, and each node to a leaf of 32. An operation replaces a random entry of the
 * table by a fresh node with a fresh leaf, and exchanges the leaves of two other nodes. So what is live is always
 * as much, what dies is as old as what lives, and the old generation, where there is one, is written to everywhere.
 *
 * Each operation is timed, from the end of the one before it: whatever the collector does, in a pause, in an
 * allocation or in a barrier, is in some operation's time. The controls are malloc() and free(), and a *hiccup probe*: a
 * thread that sleeps for a millisecond again and again, and notes how much longer that took. What an idle thread is
 * delayed by, no collector is to blame for.
 *
 * A001-38. The pauses in which marking ends are noted apart: they shall not depend on how much lives.
 */
#define _DEFAULT_SOURCE 1 /* nanosleep */
#include "bench.h"
#include "graph.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct settings {
  const char *plan, *heap, *pause_goal;
  unsigned megabytes, operations, rounds, threads, sizes;
  bool json;
};

/* ---- times -------------------------------------------------------------------------------------- */

/* Counts by length: 32 steps for each power of two of nanoseconds, so a percentile is right within 3 per cent. */
enum { STEP_BITS = 5, STEPS = 1 << STEP_BITS, BUCKETS = (65 - STEP_BITS) * STEPS };

struct histogram {
  uint64_t counts[BUCKETS];
  uint64_t count;
  double max_ns;
};

static unsigned bucket_of(uint64_t ns) {
  if (ns < STEPS) return (unsigned)ns;
  unsigned shift = 63u - STEP_BITS - (unsigned)__builtin_clzll(ns);
  return shift * STEPS + (unsigned)(ns >> shift);
}

static double bucket_ns(unsigned bucket) {
  if (bucket < 2 * STEPS) return bucket;
  unsigned shift = bucket / STEPS - 1;
  return (double)((uint64_t)(bucket - shift * STEPS) << shift);
}

static void histogram_add(struct histogram *h, double ns) {
  if (ns < 0) ns = 0;
  h->counts[bucket_of((uint64_t)ns)]++;
  h->count++;
  if (ns > h->max_ns) h->max_ns = ns;
}

/* The length that this share of all does not pass. */
static double histogram_at(const struct histogram *h, double share) {
  uint64_t sum = 0;
  for (unsigned i = 0; i < BUCKETS; i++) {
    sum += h->counts[i];
    if (sum > 0 && (double)sum >= share * (double)h->count) return bucket_ns(i);
  }
  return h->max_ns;
}

/* ---- the hiccup probe ----------------------------------------------------------------------------- */

struct probe {
  pthread_t thread;
  atomic_bool ending;
  struct histogram late;
};

static void *probe_main(void *context) {
  struct probe *probe = context;
  const struct timespec nap = {.tv_nsec = 1000000};
  while (!atomic_load(&probe->ending)) {
    double begin_ns = bench_wall_ns();
    nanosleep(&nap, NULL);
    histogram_add(&probe->late, bench_wall_ns() - begin_ns - (double)nap.tv_nsec);
  }
  return NULL;
}

/* ---- the work ------------------------------------------------------------------------------------- */

/* Each way builds nodes of the same size from the same draws. */
struct leaf {
  uint64_t header;
  uint64_t key, rest[2];
};

struct node {
  uint64_t header;
  tsr_slot leaf, next;
  uint64_t key, rest[4];
};

struct table {
  uint64_t header, length;
  tsr_slot slots[];
};

_Static_assert(sizeof(struct leaf) == 32 && sizeof(struct node) == 64, "as it says above");

enum { LEAF_LAYOUT = 1, NODE_LAYOUT, TABLE_LAYOUT };

static const tsr_layout layouts[] = {
    {TSR_LAYOUT_INIT, .name = "leaf", .kind = TSR_LAYOUT_FIXED, .fixed_bytes = sizeof(struct leaf)},
    {TSR_LAYOUT_INIT, .name = "node", .kind = TSR_LAYOUT_FIXED, .fixed_bytes = sizeof(struct node),
     .fixed_refs = 0x6},
    {TSR_LAYOUT_INIT, .name = "table", .kind = TSR_LAYOUT_REFERENCES,
     .fixed_bytes = sizeof(struct table), .length = {.offset = 8, .width = 8, .unit = 8}}};

/* What one run has cost. */
struct outcome {
  double wall_ns, cpu_ns; /* of all operations */
  struct histogram operations;
  struct histogram late;    /* the probe's */
  struct histogram remarks; /* CPU time of the pauses in which marking ended */
  tsr_stats stats;          /* of a heap */
};

struct world {
  const struct settings *settings;
  struct outcome *outcome;
  size_t entries;
  uint64_t random;
  uint64_t *keys;     /* of the node in each entry */
  uint64_t leaf_keys; /* their sum */

  tsr_heap *heap; /* NULL: malloc() */
  tsr_mutator *mutator;
  tsr_slot table;     /* a root */
  struct node **bare; /* the table of the control */
};

static void note_remark(void *vm, const tsr_collection *record) {
  struct world *world = vm;
  if (record->remark != 0) {
    histogram_add(&world->outcome->remarks, (double)record->pause_cpu_ns);
  }
}

static const tsr_binding binding = {TSR_BINDING_HEADER,
                                    .name = "bench",
                                    .does = TSR_DOES_WRITE_BARRIER | TSR_DOES_SAFEPOINTS |
                                            TSR_DOES_UPDATABLE_SLOTS,
                                    .layouts = layouts,
                                    .layout_count = sizeof layouts / sizeof *layouts,
                                    .collection_ended = note_remark};

static bool complain(const char *what) {
  fprintf(stderr, "tessera-bench mutation: %s\n", what);
  return false;
}

static size_t draw_entry(struct world *world) {
  world->random ^= world->random << 13;
  world->random ^= world->random >> 7;
  world->random ^= world->random << 17;
  return world->random % world->entries;
}

/* ---- under a plan ------------------------------------------------------------------------------------ */

static struct table *table_of(const struct world *world) {
  return (struct table *)(uintptr_t)world->table.word;
}

static struct node *node_at(const struct world *world, size_t entry) {
  return (struct node *)(uintptr_t)table_of(world)->slots[entry].word;
}

static struct leaf *leaf_of(const struct node *node) {
  return (struct leaf *)(uintptr_t)node->leaf.word;
}

/* A fresh node with a fresh leaf. The stores need no barrier: there is no safepoint between. */
static bool put_node(struct world *world, size_t entry, uint64_t key) {
  tsr_scope scope;
  tsr_scope_open(world->mutator, &scope);
  tsr_slot *fresh = tsr_local(world->mutator, 0);
  struct leaf *leaf = tsr_alloc(world->mutator, sizeof *leaf, TSR_OBJECT_ALIGN, 0, TSR_DEFAULT);
  if (leaf != NULL) {
    leaf->header = TSR_HEADER(LEAF_LAYOUT);
    leaf->key = key;
    fresh->word = (uint64_t)(uintptr_t)leaf;
  }
  struct node *node =
      leaf == NULL ? NULL
                   : tsr_alloc(world->mutator, sizeof *node, TSR_OBJECT_ALIGN, 0, TSR_DEFAULT);
  if (node != NULL) {
    node->header = TSR_HEADER(NODE_LAYOUT);
    node->key = key;
    node->leaf.word = fresh->word;
    struct table *table = table_of(world);
    tsr_write(world->mutator, (tsr_ref)table, &table->slots[entry], (uint64_t)(uintptr_t)node);
  }
  tsr_scope_close(world->mutator, &scope);
  return node != NULL || complain("out of memory");
}

static bool replace_and_exchange(struct world *world, uint64_t key) {
  size_t entry = draw_entry(world), one = draw_entry(world), other = draw_entry(world);
  world->leaf_keys += key - leaf_of(node_at(world, entry))->key;
  world->keys[entry] = key;
  if (!put_node(world, entry, key)) return false;
  struct node *a = node_at(world, one), *b = node_at(world, other);
  uint64_t leaf = a->leaf.word;
  tsr_write(world->mutator, (tsr_ref)a, &a->leaf, b->leaf.word);
  tsr_write(world->mutator, (tsr_ref)b, &b->leaf, leaf);
  return true;
}

static bool holds(const struct world *world) {
  uint64_t sum = 0;
  for (size_t i = 0; i < world->entries; i++) {
    const struct node *node = node_at(world, i);
    if (node->key != world->keys[i]) return complain("a node is not the one that was stored");
    sum += leaf_of(node)->key;
  }
  return sum == world->leaf_keys || complain("a leaf has been lost");
}

static bool set_option(tsr_options *options, const char *name, const char *value,
                       tsr_error *error) {
  return value == NULL || tsr_options_set(options, name, value, error) == TSR_OK;
}

static bool open_heap(struct world *world, const char *plan) {
  const struct settings *settings = world->settings;
  tsr_error error = {0};
  char bytes[32], threads[16];
  snprintf(bytes, sizeof bytes, "%uM", 3 * settings->megabytes + 16);
  snprintf(threads, sizeof threads, "%u", settings->threads);
  tsr_options *options = tsr_options_create();
  if (options == NULL) return complain("out of memory");
  if (set_option(options, "plan", plan, &error) &&
      set_option(options, "threads", threads, &error) &&
      set_option(options, "heap_max", settings->heap != NULL ? settings->heap : bytes, &error) &&
      set_option(options, "pause_goal", settings->pause_goal, &error)) {
    world->heap = tsr_heap_create(&binding, world, options, &error);
  }
  tsr_options_destroy(options);
  if (world->heap != NULL) world->mutator = tsr_bind_mutator(world->heap, world, &error);
  if (world->mutator == NULL ||
      tsr_root_add(world->heap, &world->table, 1, TSR_ROOT_PRECISE, "table", &error) != TSR_OK) {
    return complain(error.message);
  }
  size_t table_bytes = sizeof(struct table) + world->entries * sizeof(tsr_slot);
  struct table *table = tsr_alloc(world->mutator, table_bytes, TSR_OBJECT_ALIGN, 0, TSR_DEFAULT);
  if (table == NULL) return complain("out of memory");
  *table = (struct table){.header = TSR_HEADER(TABLE_LAYOUT), .length = world->entries};
  if (tsr_post_alloc(world->mutator, (tsr_ref)table, table_bytes, TSR_DEFAULT) != TSR_OK)
    return complain("the table is refused");
  world->table.word = (uint64_t)(uintptr_t)table;
  for (size_t i = 0; i < world->entries; i++) {
    if (!put_node(world, i, i)) return false;
  }
  return true;
}

static void close_heap(struct world *world) {
  if (world->mutator != NULL) tsr_unbind_mutator(world->mutator, NULL);
  if (world->heap != NULL) tsr_heap_destroy(world->heap, NULL);
}

/* ---- with malloc() ----------------------------------------------------------------------------------- */

static bool put_bare(struct world *world, size_t entry, uint64_t key) {
  struct node *node = calloc(1, sizeof *node);
  struct leaf *leaf = calloc(1, sizeof *leaf);
  if (node == NULL || leaf == NULL) {
    free(node);
    free(leaf);
    return complain("out of memory");
  }
  leaf->key = node->key = key;
  node->leaf.word = (uint64_t)(uintptr_t)leaf;
  world->bare[entry] = node;
  return true;
}

static void free_bare(struct node *node) {
  if (node != NULL) free(leaf_of(node));
  free(node);
}

static bool replace_and_exchange_bare(struct world *world, uint64_t key) {
  size_t entry = draw_entry(world), one = draw_entry(world), other = draw_entry(world);
  struct node *before = world->bare[entry];
  world->leaf_keys += key - leaf_of(before)->key;
  world->keys[entry] = key;
  if (!put_bare(world, entry, key)) return false;
  free_bare(before);
  tsr_slot leaf = world->bare[one]->leaf;
  world->bare[one]->leaf = world->bare[other]->leaf;
  world->bare[other]->leaf = leaf;
  return true;
}

static bool open_bare(struct world *world) {
  world->bare = calloc(world->entries, sizeof *world->bare);
  if (world->bare == NULL) return complain("out of memory");
  for (size_t i = 0; i < world->entries; i++) {
    if (!put_bare(world, i, i)) return false;
  }
  return true;
}

static void close_bare(struct world *world) {
  for (size_t i = 0; world->bare != NULL && i < world->entries; i++)
    free_bare(world->bare[i]);
  free(world->bare);
}

/* ---- a run -------------------------------------------------------------------------------------------- */

static bool operate(struct world *world, struct outcome *outcome) {
  bool (*operation)(struct world *, uint64_t) =
      world->heap != NULL ? replace_and_exchange : replace_and_exchange_bare;
  double begin_cpu_ns = bench_cpu_ns(), begin_ns = bench_wall_ns(), last_ns = begin_ns;
  for (uint64_t n = 0; n < world->settings->operations; n++) {
    if (!operation(world, world->entries + n)) return false;
    double now_ns = bench_wall_ns();
    histogram_add(&outcome->operations, now_ns - last_ns);
    last_ns = now_ns;
  }
  outcome->wall_ns = last_ns - begin_ns;
  outcome->cpu_ns = bench_cpu_ns() - begin_cpu_ns;
  return true;
}

static bool operate_beside_probe(struct world *world, struct outcome *outcome) {
  struct probe *probe = calloc(1, sizeof *probe);
  if (probe == NULL) return complain("out of memory");
  bool probes = pthread_create(&probe->thread, NULL, probe_main, probe) == 0;
  bool ok = probes ? operate(world, outcome) : complain("no thread for the probe");
  atomic_store(&probe->ending, true);
  if (probes) pthread_join(probe->thread, NULL);
  outcome->late = probe->late;
  free(probe);
  return ok;
}

/* NULL: malloc(). */
static bool run_once(const struct settings *settings, const char *plan, struct outcome *outcome) {
  struct world world = {.settings = settings, .outcome = outcome, .random = 88172645463325252u};
  *outcome = (struct outcome){.stats.size = sizeof outcome->stats};
  size_t entry_bytes = sizeof(struct node) + sizeof(struct leaf) + sizeof(tsr_slot);
  world.entries = ((size_t)settings->megabytes << 20) / entry_bytes;
  world.keys = calloc(world.entries, sizeof *world.keys);
  if (world.keys == NULL) return complain("out of memory");
  for (size_t i = 0; i < world.entries; i++)
    world.leaf_keys += world.keys[i] = i;
  bool ok = plan != NULL ? open_heap(&world, plan) : open_bare(&world);
  ok = ok && operate_beside_probe(&world, outcome);
  if (ok && plan != NULL) {
    ok = holds(&world) && tsr_heap_stats(world.heap, &outcome->stats, NULL) == TSR_OK;
  }
  close_heap(&world);
  close_bare(&world);
  free(world.keys);
  return ok;
}

/* ---- the report ------------------------------------------------------------------------------------------ */

enum {
  OPERATION,
  CPU,
  OP_P50,
  OP_P99,
  OP_P999,
  OP_P9999,
  OP_MAX,
  PAUSE_P99,
  PAUSE_P999,
  PAUSE_MAX,
  PAUSE_CPU_MAX,
  REMARK_CPU_P50,
  REMARK_CPU_MAX,
  PROBE_P999,
  PROBE_MAX,
  RATIO,
  COMMITTED,
  FIGURES
};

static const char *const figure_names[FIGURES] = {
    [OPERATION] = "wall_ns_per_operation",  [CPU] = "cpu_ns_per_operation",
    [OP_P50] = "operation_p50_us",          [OP_P99] = "operation_p99_us",
    [OP_P999] = "operation_p999_us",        [OP_P9999] = "operation_p9999_us",
    [OP_MAX] = "operation_max_us",          [PAUSE_P99] = "pause_p99_us",
    [PAUSE_P999] = "pause_p999_us",         [PAUSE_MAX] = "pause_max_us",
    [PAUSE_CPU_MAX] = "pause_cpu_max_us",   [REMARK_CPU_P50] = "remark_cpu_p50_us",
    [REMARK_CPU_MAX] = "remark_cpu_max_us", [PROBE_P999] = "probe_p999_us",
    [PROBE_MAX] = "probe_max_us",           [RATIO] = "wall_ratio_to_malloc",
    [COMMITTED] = "peak_committed_mb"};

/* A way's figures: [figure][round]. */
struct way {
  const char *plan; /* NULL: malloc() */
  double *figures;
  tsr_stats stats; /* of the last round */
};

enum { WAYS_MOST = 16 };

struct bench {
  const struct settings *settings;
  struct way ways[WAYS_MOST]; /* malloc() is the first */
  size_t count;
};

static bool take_round(void *context, unsigned round, size_t index) {
  struct bench *bench = context;
  const struct settings *settings = bench->settings;
  struct way *way = &bench->ways[index];
  struct outcome *o = malloc(sizeof *o);
  if (o == NULL) return complain("out of memory");
  bool ok = run_once(settings, way->plan, o);
  const struct histogram *op = &o->operations, *late = &o->late, *remarks = &o->remarks;
  double operations = settings->operations;
  const double *control = bench->ways[0].figures;
  double values[FIGURES] = {[OPERATION] = o->wall_ns / operations,
                            [CPU] = o->cpu_ns / operations,
                            [OP_P50] = histogram_at(op, 0.5) / 1e3,
                            [OP_P99] = histogram_at(op, 0.99) / 1e3,
                            [OP_P999] = histogram_at(op, 0.999) / 1e3,
                            [OP_P9999] = histogram_at(op, 0.9999) / 1e3,
                            [OP_MAX] = op->max_ns / 1e3,
                            [PAUSE_P99] = (double)o->stats.pause_ns.p99 / 1e3,
                            [PAUSE_P999] = (double)o->stats.pause_ns.p999 / 1e3,
                            [PAUSE_MAX] = (double)o->stats.pause_ns.max / 1e3,
                            [PAUSE_CPU_MAX] = (double)o->stats.pause_cpu_ns.max / 1e3,
                            [REMARK_CPU_P50] = histogram_at(remarks, 0.5) / 1e3,
                            [REMARK_CPU_MAX] = remarks->max_ns / 1e3,
                            [PROBE_P999] = histogram_at(late, 0.999) / 1e3,
                            [PROBE_MAX] = late->max_ns / 1e3,
                            [COMMITTED] = (double)o->stats.peak_committed_bytes / 1e6};
  values[RATIO] =
      index == 0 ? 1 : values[OPERATION] / control[OPERATION * settings->rounds + round];
  for (unsigned i = 0; i < FIGURES; i++)
    way->figures[i * settings->rounds + round] = values[i];
  way->stats = o->stats;
  free(o);
  return ok;
}

static void report_json(const struct way *way, const double *medians, bool first) {
  const tsr_stats *s = &way->stats;
  printf("%s\n  {\"way\":\"%s\"", first ? "" : ",", way->plan == NULL ? "malloc" : way->plan);
  for (unsigned i = 0; i < FIGURES; i++)
    bench_json_number(figure_names[i], medians[i]);
  bench_json_number("collections", (double)s->collections);
  bench_json_number("minor_collections", (double)s->minor_collections);
  bench_json_number("cycles", (double)s->cycles);
  bench_json_number("increments", (double)s->increments);
  bench_json_number("barrier_slow", (double)s->barrier_slow);
  bench_json_number("barrier_slots", (double)s->barrier_slots);
  bench_json_number("lazy_sweeps", (double)s->lazy_sweeps);
  bench_json_number("nursery_rests", (double)s->nursery_rests);
  printf("}");
}

static void report_line(const struct way *way, const double *medians) {
  static const int decimals[FIGURES] = {[OP_P50] = 2, [OP_P99] = 1, [RATIO] = 2};
  printf("%-12s", way->plan == NULL ? "malloc" : way->plan);
  for (unsigned i = 0; i < FIGURES; i++) {
    bool is_pause = i >= PAUSE_P99 && i <= REMARK_CPU_MAX;
    if (way->plan == NULL && (is_pause || i == COMMITTED)) {
      printf(" %9s", "-");
    } else {
      bench_column(medians[i], 9, decimals[i]);
    }
  }
  printf("\n");
}

static void report(const struct bench *bench) {
  const struct settings *settings = bench->settings;
  if (settings->json) {
    printf("{\"benchmark\":\"mutation\",\"rounds\":%u,\"megabytes\":%u,\"operations\":%u,"
           "\"results\":[",
           settings->rounds, settings->megabytes, settings->operations);
  } else {
    printf("%u MB live, %u operations, medians of %u rounds; operations and pauses in "
           "microseconds\n\n",
           settings->megabytes, settings->operations, settings->rounds);
    printf("%-12s %9s %9s %9s %9s %9s %9s %9s %9s %9s %9s %9s %9s %9s %9s %9s %9s %9s\n", "",
           "ns/op", "cpu/op", "op p50", "p99", "p99.9", "p99.99", "max", "pause p99", "p99.9",
           "max", "max cpu", "remark p50", "max", "prb p99.9", "max", "x malloc", "MB");
  }
  for (size_t w = 0; w < bench->count; w++) {
    double medians[FIGURES];
    for (unsigned i = 0; i < FIGURES; i++) {
      medians[i] =
          bench_figure(&bench->ways[w].figures[(size_t)i * settings->rounds], settings->rounds)
              .median;
    }
    if (settings->json) {
      report_json(&bench->ways[w], medians, w == 0);
    } else {
      report_line(&bench->ways[w], medians);
    }
  }
  if (settings->json) printf("\n]}\n");
}

/* ---- the command ------------------------------------------------------------------------------------------- */

static bool add_way(void *context, const char *plan) {
  struct bench *bench = context;
  if (bench->count == WAYS_MOST) return complain("too many plans");
  double *figures = calloc((size_t)FIGURES * bench->settings->rounds, sizeof *figures);
  if (figures == NULL) return complain("out of memory");
  bench->ways[bench->count++] = (struct way){.plan = plan, .figures = figures};
  return true;
}

static bool run_all(const struct settings *settings) {
  struct bench bench = {.settings = settings};
  bool ok = add_way(&bench, NULL) && graph_each_collecting_plan(settings->plan, add_way, &bench) &&
            bench_rounds(settings->rounds, bench.count, take_round, &bench);
  if (ok) report(&bench);
  for (size_t w = 0; w < bench.count; w++)
    free(bench.ways[w].figures);
  return ok;
}

int bench_mutation(int argc, char **argv) {
  struct settings settings = {
      .megabytes = 64, .operations = 1000000, .rounds = 5, .threads = 2, .sizes = 1};
  const struct bench_option options[] = {
      {"--plan", BENCH_TEXT, &settings.plan, "one plan that collects; default: all"},
      {"--megabytes", BENCH_NUMBER, &settings.megabytes, "that are live; default 64"},
      {"--sizes", BENCH_NUMBER, &settings.sizes,
       "so many, each eight times the one before; default 1"},
      {"--operations", BENCH_NUMBER, &settings.operations, "in a round; default 1000000"},
      {"--heap", BENCH_TEXT, &settings.heap,
       "the heap's maximum; default three times what is live"},
      {"--pause-goal", BENCH_TEXT, &settings.pause_goal, "of the plans that have one"},
      {"--threads", BENCH_NUMBER, &settings.threads, "that collect; default 2"},
      {"--rounds", BENCH_NUMBER, &settings.rounds, "rounds; default 5"},
      {"--json", BENCH_FLAG, &settings.json, "one JSON object a size instead of a table"},
  };
  int status = bench_parse(argc, argv, options, sizeof options / sizeof *options);
  if (status != BENCH_RUN) return status;
  for (unsigned i = 0; i < settings.sizes; i++, settings.megabytes *= 8) {
    if (!run_all(&settings)) return 1;
  }
  return 0;
}
