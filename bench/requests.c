/* requests.c - how long it takes to be refused memory, to be granted it, and to learn that it is there.
 *
 * Four ways, in a heap of a given size. A request for more than the heap could ever hold is refused. A request
 * for which there is room is granted, used, and given back. A request waits in a heap full of what lives, in a
 * thread of its own; then that dies, and a collection frees it: measured is the time from the end of that
 * collection, which is that of tsr_collect(), to when the thread goes on. And an allocation for which there is no memory climbs the whole
 * ladder, two collections, to NULL; beside it, as its control, one collection of the same heap.
 *
 * Wall time: what counts is how long somebody waits.
 */
#include "bench.h"
#include "graph.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum way { REFUSED, GRANTED, AWAITED, COLLECTED, FAILED, WAYS };

static const char *const way_names[WAYS] = {[REFUSED] = "refused",
                                            [GRANTED] = "granted, used, ended",
                                            [AWAITED] = "freed until known",
                                            [COLLECTED] = "one collection",
                                            [FAILED] = "no memory, NULL"};

struct settings {
  const char *plan;
  unsigned rounds, mebibytes;
  bool json;
};

enum { CELL_LAYOUT = 1 };

struct cell {
  uint64_t header;
  tsr_slot next;
};

static const tsr_layout layouts[] = {{TSR_LAYOUT_INIT, .name = "cell", .kind = TSR_LAYOUT_FIXED,
                                      .fixed_bytes = sizeof(struct cell), .fixed_refs = 0x2}};

static const tsr_binding binding = {TSR_BINDING_HEADER, .name = "bench",
                                    .does = TSR_DOES_WRITE_BARRIER | TSR_DOES_SAFEPOINTS |
                                            TSR_DOES_UPDATABLE_SLOTS,
                                    .layouts = layouts, .layout_count = 1};

/* One heap, and the table of all times: [way][round]. */
struct world {
  const struct settings *settings;
  const char *plan;
  double *wall_ns;

  tsr_heap *heap;
  tsr_mutator *mutator;
  tsr_slot list; /* what lives */

  tsr_memory_request *request; /* that a thread waits for */
  double woken_ns;
};

static bool complain(const char *what) {
  fprintf(stderr, "tessera-bench requests: %s\n", what);
  return false;
}

/* ---- a heap ----------------------------------------------------------------------------------- */

static bool world_open(struct world *world) {
  tsr_error error;
  char bytes[32];
  snprintf(bytes, sizeof bytes, "%uM", world->settings->mebibytes);
  tsr_options *options = tsr_options_create();
  if (options == NULL) return complain("out of memory");
  if (tsr_options_set(options, "plan", world->plan, &error) == TSR_OK &&
      tsr_options_set(options, "heap_max", bytes, &error) == TSR_OK) {
    world->heap = tsr_heap_create(&binding, world, options, &error);
  }
  tsr_options_destroy(options);
  if (world->heap != NULL) world->mutator = tsr_bind_mutator(world->heap, world, &error);
  if (world->mutator == NULL ||
      tsr_root_add(world->heap, &world->list, 1, TSR_ROOT_PRECISE, "list", &error) != TSR_OK) {
    return complain(error.message);
  }
  return true;
}

static void world_close(struct world *world) {
  if (world->mutator != NULL) tsr_unbind_mutator(world->mutator, NULL);
  tsr_heap_destroy(world->heap, NULL);
  world->heap = NULL;
  world->mutator = NULL;
  world->list.word = 0;
}

static bool push_cell(struct world *world) {
  struct cell *cell = tsr_alloc_with(world->mutator, sizeof *cell, TSR_OBJECT_ALIGN, 0, TSR_DEFAULT,
                                     TSR_ALLOC_NO_OOM_CALLBACK, NULL);
  if (cell == NULL) return false;
  *cell = (struct cell){.header = TSR_HEADER(CELL_LAYOUT), .next = world->list};
  world->list.word = (uint64_t)(uintptr_t)cell;
  return true;
}

static void fill(struct world *world) {
  while (push_cell(world))
    continue;
}

/* ---- the ways ----------------------------------------------------------------------------------- */

static bool refuse(struct world *world, double *ns) {
  double begin_ns = bench_wall_ns();
  bool refused = tsr_request_memory(world->heap, (size_t)1 << 50, 64, NULL) == NULL;
  *ns = bench_wall_ns() - begin_ns;
  return refused || complain("a petabyte was not refused");
}

static bool grant(struct world *world, double *ns) {
  double begin_ns = bench_wall_ns();
  tsr_memory_request *request = tsr_request_memory(world->heap, (size_t)1 << 20, 64, NULL);
  bool used = request != NULL && tsr_request_use(request, world->mutator, NULL) == TSR_OK;
  tsr_request_end(request);
  tsr_reserve_end(world->mutator);
  *ns = bench_wall_ns() - begin_ns;
  return used || complain("a request was not granted");
}

static void *wait_in_thread(void *context) {
  struct world *world = context;
  tsr_status status = tsr_request_wait(world->request, UINT64_MAX, NULL);
  world->woken_ns = status == TSR_OK ? bench_wall_ns() : -1;
  return NULL;
}

static bool await(struct world *world, double *ns) {
  fill(world);
  world->request = tsr_request_memory(world->heap, (size_t)1 << 20, 64, NULL);
  if (world->request == NULL || tsr_request_wait(world->request, 0, NULL) != TSR_BUSY)
    return complain("a full heap has granted a request");
  pthread_t thread;
  if (pthread_create(&thread, NULL, wait_in_thread, world) != 0) return complain("no thread");
  world->list.word = 0;
  bool collected = tsr_collect(world->mutator, NULL) == TSR_OK;
  double freed_ns = bench_wall_ns();
  pthread_join(thread, NULL);
  tsr_request_end(world->request);
  if (!collected || world->woken_ns < 0) return complain("what was freed was not granted");
  *ns = world->woken_ns > freed_ns ? world->woken_ns - freed_ns : 0;
  return true;
}

static bool collect_full(struct world *world, double *ns) {
  fill(world);
  double begin_ns = bench_wall_ns();
  bool collected = tsr_collect(world->mutator, NULL) == TSR_OK;
  *ns = bench_wall_ns() - begin_ns;
  return collected || complain("no collection");
}

static bool fail(struct world *world, double *ns) {
  fill(world);
  double begin_ns = bench_wall_ns();
  bool failed = !push_cell(world);
  *ns = bench_wall_ns() - begin_ns;
  return failed || complain("a full heap had memory");
}

static bool run_way(void *context, unsigned round, size_t way) {
  static bool (*const run[WAYS])(struct world * world, double *ns) = {[REFUSED] = refuse,
                                                                      [GRANTED] = grant,
                                                                      [AWAITED] = await,
                                                                      [COLLECTED] = collect_full,
                                                                      [FAILED] = fail};
  struct world *world = context;
  double *ns = &world->wall_ns[way * world->settings->rounds + round];
  bool ok = world_open(world) && run[way](world, ns);
  world_close(world);
  return ok;
}

/* ---- the report --------------------------------------------------------------------------------- */

static void report_way(const struct world *world, enum way way, bool first) {
  unsigned rounds = world->settings->rounds;
  struct bench_figure ns = bench_figure(&world->wall_ns[way * rounds], rounds);
  if (!world->settings->json) {
    printf("%-12s %-22s", world->plan, way_names[way]);
    bench_column(ns.median / 1000, 12, 1);
    bench_column(ns.min / 1000, 12, 1);
    bench_column(ns.max / 1000, 12, 1);
    printf("\n");
    return;
  }
  printf("%s\n  {\"plan\":\"%s\",\"way\":\"%s\"", first ? "" : ",", world->plan, way_names[way]);
  bench_json_number("wall_ns", ns.median);
  bench_json_number("wall_ns_min", ns.min);
  bench_json_number("wall_ns_max", ns.max);
  printf("}");
}

static void print_heading(const struct settings *settings) {
  if (settings->json) {
    printf("{\"benchmark\":\"requests\",\"rounds\":%u,\"mebibytes\":%u,\"results\":[",
           settings->rounds, settings->mebibytes);
    return;
  }
  printf("%u rounds, heaps of %u MiB; microseconds of wall time\n\n%-12s %-22s %12s %12s %12s\n",
         settings->rounds, settings->mebibytes, "plan", "way", "median", "least", "greatest");
}

struct run {
  const struct settings *settings;
  bool first; /* nothing has been reported yet */
};

static bool run_plan(void *context, const char *plan) {
  struct run *run = context;
  const struct settings *settings = run->settings;
  if (run->first) print_heading(settings);
  struct world world = {.settings = settings, .plan = plan};
  world.wall_ns = calloc((size_t)WAYS * settings->rounds, sizeof *world.wall_ns);
  if (world.wall_ns == NULL) return complain("out of memory");
  bool ok = bench_rounds(settings->rounds, WAYS, run_way, &world);
  for (enum way way = 0; ok && way < WAYS; way++) {
    report_way(&world, way, run->first);
    run->first = false;
  }
  free(world.wall_ns);
  return ok;
}

static bool run_all(const struct settings *settings) {
  struct run run = {.settings = settings, .first = true};
  bool ok = graph_each_collecting_plan(settings->plan, run_plan, &run);
  if (settings->json && !run.first) printf("\n]}\n");
  return ok;
}

int bench_requests(int argc, char **argv) {
  struct settings settings = {.rounds = 15, .mebibytes = 64};
  const struct bench_option options[] = {
      {"--plan", BENCH_TEXT, &settings.plan, "one plan that collects; default: all"},
      {"--rounds", BENCH_NUMBER, &settings.rounds, "rounds; default 15"},
      {"--mebibytes", BENCH_NUMBER, &settings.mebibytes,
       "the heaps' maximum, at least 8; default 64"},
      {"--json", BENCH_FLAG, &settings.json, "one JSON object instead of tables"},
  };
  int status = bench_parse(argc, argv, options, sizeof options / sizeof *options);
  if (status != BENCH_RUN) return status;
  return run_all(&settings) ? 0 : 1;
}
