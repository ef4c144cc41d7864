/* trace.c - what it costs to trace a graph, per object and per byte.
 *
 * The library collects a heap that holds one graph; beside it the bare loops of limits/ do the
 * same to a graph of the same shape, with the same objects in the same order of memory. The
 * control of marking is the best such loop with a stack, its variant and distance chosen anew for
 * each shape on the machine at hand; the control of copying is Cheney's algorithm. Two more loops
 * tell what else the machine allows: marking with a queue of any length, which no library can
 * promise memory for, and the best copying loop.
 *
 * For the library the heap is built anew for each round, through the public interface, and its
 * first collection is measured: what tsr_collection reports for roots and trace. Whatever is
 * compared was built, and its memory touched, before the clock starts. Each collection is
 * checked: what it found live is what a search of the shape finds.
 *
 * A walk over the outcome by a mutator, depth first, tells what the new order of memory is worth.
 */
#define _DEFAULT_SOURCE 1 /* getrusage, sysconf */
#include "trace.h"
#include "graph.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

const struct trace_way_facts trace_ways[TRACE_WAYS] = {
    [TRACE_MARK] = {"bare mark", "the best bare loop with a stack", NULL, BARE_MARKING, false,
                    TRACE_MARK, TRACE_NONE},
    [TRACE_MARK_UNBOUND] = {"bare mark, queue", "the best bare loop with a queue of any length",
                            NULL, BARE_MARKING_UNBOUND, false, TRACE_MARK, TRACE_NONE},
    [TRACE_MARK_TOGETHER] = {"bare mark, threads",
                             "the best bare loop for threads that share marks", NULL,
                             BARE_MARKING_TOGETHER, true, TRACE_NONE, TRACE_MARK},
    [TRACE_CHENEY] = {"bare Cheney", "Cheney's algorithm as published", NULL, BARE_COPYING, false,
                      TRACE_CHENEY, TRACE_NONE},
    [TRACE_COPY] = {"bare copy", "the best bare copying loop", NULL, BARE_COPYING, false,
                    TRACE_CHENEY, TRACE_NONE},
    [TRACE_MARKCOMPACT] = {"markcompact", "the library, one thread", "markcompact", BARE_WORKS,
                           false, TRACE_MARK, TRACE_NONE},
    [TRACE_MARKCOMPACT_TOGETHER] = {"markcompact, threads", "the library, all threads",
                                    "markcompact", BARE_WORKS, true, TRACE_MARK_TOGETHER,
                                    TRACE_MARKCOMPACT},
    [TRACE_SEMISPACE] = {"semispace", "the library, one thread", "semispace", BARE_WORKS, false,
                         TRACE_CHENEY, TRACE_NONE},
    [TRACE_SEMISPACE_TOGETHER] = {"semispace, threads", "the library, all threads", "semispace",
                                  BARE_WORKS, true, TRACE_NONE, TRACE_SEMISPACE},
};

static bool complain(const char *what) {
  fprintf(stderr, "tessera-bench trace: %s\n", what);
  return false;
}

bool trace_way_runs(const struct trace_settings *settings, enum trace_way way) {
  const struct trace_way_facts *facts = &trace_ways[way];
  if (facts->together && settings->threads == 1) return false;
  if (facts->plan == NULL) return true;
  bool wanted = settings->plan == NULL || strcmp(settings->plan, facts->plan) == 0;
  return wanted && graph_plan_exists(facts->plan);
}

/* ---- one run -------------------------------------------------------------------------------- */

/* Everything that the ways of one shape run on. */
struct trace {
  const struct trace_settings *settings;
  struct bare_heap bare;
  struct trace_results results;
};

static double faults_now(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)usage.ru_minflt;
}

static bool walk(const struct trace *trace, struct bare_object *const *edges, double *walk_ns) {
  const struct bare_heap *bare = &trace->bare;
  double start_ns = bench_cpu_ns();
  uint64_t found = bare_walk(edges, bare_heap_edge_count(bare), bare->stacks[0]);
  *walk_ns = bench_cpu_ns() - start_ns;
  return found == bare->shape->reachable || complain("a walk did not find what can be reached");
}

static bool run_bare(struct trace *trace, enum trace_way way, struct trace_sample *sample) {
  struct bare_heap *bare = &trace->bare;
  struct bare_cost cost;
  bare_heap_fill(bare);
  double faults = faults_now();
  if (!bare_run(bare, trace_ways[way].work, trace->results.loops[way], &cost)) {
    return complain("a bare loop did not find what can be reached, or had no threads");
  }
  *sample = (struct trace_sample){.cpu_ns = cost.cpu_ns,
                                  .wall_ns = cost.wall_ns,
                                  .release_ns = NAN,
                                  .walk_ns = NAN,
                                  .faults = faults_now() - faults};
  trace->results.workers[way] = trace_ways[way].together ? trace->settings->threads : 1;
  bool new_order = trace_ways[way].work == BARE_COPYING;
  if (way != TRACE_MARK && !new_order) return true;
  return walk(trace, bare_heap_edges(bare), &sample->walk_ns);
}

static bool collect_graph(struct trace *trace, enum trace_way way, struct graph *graph,
                          struct trace_sample *sample) {
  double faults = faults_now();
  if (!graph_collect(graph)) return false;
  *sample = (struct trace_sample){.cpu_ns = (double)graph->last.trace_cpu_ns,
                                  .wall_ns = (double)graph->last.trace_ns,
                                  .release_ns = (double)graph->last.release_ns,
                                  .faults = faults_now() - faults};
  trace->results.workers[way] = graph->last.workers;
  return walk(trace, graph_edges(graph), &sample->walk_ns);
}

static bool run_plan(struct trace *trace, enum trace_way way, struct trace_sample *sample) {
  const struct trace_settings *settings = trace->settings;
  const struct graph_settings how = {.plan = trace_ways[way].plan,
                                     .threads = trace_ways[way].together ? settings->threads : 1,
                                     .hole = settings->hole,
                                     .fresh = settings->fresh};
  struct graph graph;
  bool ok =
      graph_open(&graph, trace->results.shape, &how) && collect_graph(trace, way, &graph, sample);
  graph_close(&graph);
  return ok;
}

static bool run_way(void *context, unsigned round, size_t index) {
  struct trace *trace = context;
  enum trace_way way = (enum trace_way)index;
  struct trace_sample *sample = &trace_samples(&trace->results, way)[round];
  if (!trace_way_runs(trace->settings, way)) return true;
  return trace_ways[way].plan != NULL ? run_plan(trace, way, sample) : run_bare(trace, way, sample);
}

/* ---- one shape ------------------------------------------------------------------------------ */

/* The best loop for each bare way. */
static bool choose_loops(struct trace *trace) {
  for (enum trace_way way = 0; way < TRACE_WAYS; way++) {
    if (trace_ways[way].plan != NULL || !trace_way_runs(trace->settings, way)) continue;
    trace->results.loops[way] = BARE_CHENEY;
    if (way == TRACE_CHENEY) continue;
    struct bare_sweep sweep;
    if (!bare_sweep_run(&sweep, &trace->bare, trace_ways[way].work,
                        trace->settings->sweep_rounds)) {
      return complain("a bare loop failed");
    }
    trace->results.loops[way] = sweep.loops[sweep.best];
  }
  return true;
}

static bool run_rounds(struct trace *trace) {
  unsigned rounds = trace->settings->rounds;
  trace->results.samples = calloc((size_t)TRACE_WAYS * rounds, sizeof *trace->results.samples);
  if (trace->results.samples == NULL) return complain("out of memory");
  return choose_loops(trace) && bench_rounds(rounds, TRACE_WAYS, run_way, trace);
}

static void report(const struct trace_results *results, double *scratch, bool first) {
  if (results->settings->json) {
    trace_print_json(results, scratch, first);
  } else {
    trace_print_table(results, scratch);
  }
  fflush(stdout);
}

static bool run_shape(const struct trace_settings *settings, const struct shape *shape,
                      double *scratch, bool first) {
  struct trace trace = {.settings = settings, .results = {.settings = settings, .shape = shape}};
  if (!bare_heap_open(&trace.bare, shape, settings->threads, false)) {
    return complain("out of memory");
  }
  trace.bare.fresh = settings->fresh;
  bool ok = run_rounds(&trace);
  if (ok) report(&trace.results, scratch, first);
  free(trace.results.samples);
  bare_heap_close(&trace.bare);
  return ok;
}

/* ---- all ------------------------------------------------------------------------------------ */

static bool run_kind(const struct trace_settings *settings, enum shape_kind kind, bool first) {
  struct shape shape;
  double *scratch = calloc(settings->rounds, sizeof *scratch);
  bool built = shape_build(&shape, kind, settings->objects);
  bool ok = scratch != NULL && built ? run_shape(settings, &shape, scratch, first)
                                     : complain("out of memory");
  if (built) shape_free(&shape);
  free(scratch);
  return ok;
}

static bool known_plan(const char *plan) {
  for (enum trace_way way = 0; way < TRACE_WAYS; way++) {
    if (trace_ways[way].plan != NULL && strcmp(trace_ways[way].plan, plan) == 0) return true;
  }
  return false;
}

static bool check(const struct trace_settings *settings) {
  if (settings->threads > BARE_MOST_THREADS) return complain("--threads is at most 16");
  if (settings->plan != NULL && !known_plan(settings->plan)) {
    return complain("--plan is one of markcompact and semispace");
  }
  return settings->shape == NULL || shape_named(settings->shape) != SHAPES ||
         complain("--shape is one of random, shuffled-tree, ordered-tree, list and array");
}

static bool run_all(const struct trace_settings *settings) {
  if (!check(settings)) return false;
  bool ok = true;
  bool first = true;
  trace_print_heading(settings);
  fflush(stdout);
  for (enum shape_kind kind = 0; ok && kind < SHAPES; kind++) {
    if (settings->shape != NULL && shape_named(settings->shape) != kind) continue;
    ok = run_kind(settings, kind, first);
    first = false;
  }
  trace_print_end(settings);
  return ok;
}

int bench_trace(int argc, char **argv) {
  struct trace_settings settings = {.objects = 10000000, .rounds = 5, .sweep_rounds = 3};
  settings.threads = sysconf(_SC_NPROCESSORS_ONLN) > 1 ? 2 : 1;
  const struct bench_option options[] = {
      {"--plan", BENCH_TEXT, &settings.plan, "markcompact or semispace; default: both"},
      {"--shape", BENCH_TEXT, &settings.shape, "one shape; default: all"},
      {"--objects", BENCH_NUMBER, &settings.objects,
       "objects of 32 bytes; default 10000000, which take 2.5 GB"},
      {"--rounds", BENCH_NUMBER, &settings.rounds, "rounds; default 5"},
      {"--sweep", BENCH_NUMBER, &settings.sweep_rounds,
       "rounds that choose the bare loops; default 3"},
      {"--threads", BENCH_NUMBER, &settings.threads,
       "threads for the rows with several; 1: none; default 2 where there are"},
      {"--hole", BENCH_NUMBER, &settings.hole,
       "garbage below the graph, in percent of its objects; default 0"},
      {"--fresh", BENCH_FLAG, &settings.fresh, "copies are the first to touch their memory"},
      {"--json", BENCH_FLAG, &settings.json, "one JSON object instead of tables"},
  };
  int status = bench_parse(argc, argv, options, sizeof options / sizeof *options);
  if (status != BENCH_RUN) return status;
  return run_all(&settings) ? 0 : 1;
}
