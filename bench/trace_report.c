/* trace_report.c - tables and JSON of tessera-bench trace (trace.h). */
#include "graph.h"
#include "trace.h"

#include <math.h>
#include <stdio.h>

/* ---- figures -------------------------------------------------------------------------------- */

/* One way's figures; times are per object found. */
struct row {
  struct bench_figure cpu_ns, wall_ns, release_ns, walk_ns, faults;
  struct bench_figure ratio;    /* to the control of the same round: CPU time, together wall time */
  struct bench_figure speed_up; /* of several threads: wall time of one, by that of all */
  struct bench_figure release_speed_up; /* the same of a collection's rest */
};

/* The times of a sample, by their place in it. */
static double sample_value(const struct trace_sample *sample, size_t offset) {
  return *(const double *)(const void *)((const char *)sample + offset);
}

static struct bench_figure figure_per_object(const struct trace_results *results,
                                             enum trace_way way, size_t offset, double *scratch) {
  const struct trace_sample *samples = trace_samples(results, way);
  for (size_t i = 0; i < results->settings->rounds; i++)
    scratch[i] = sample_value(&samples[i], offset) / results->shape->reachable;
  return bench_figure(scratch, results->settings->rounds);
}

/* Of two ways in the same round. */
static struct bench_figure figure_ratio(const struct trace_results *results, enum trace_way way,
                                        enum trace_way by, size_t offset, double *scratch) {
  if (way == TRACE_NONE || by == TRACE_NONE) return (struct bench_figure){NAN, NAN, NAN};
  const struct trace_sample *over = trace_samples(results, way);
  const struct trace_sample *under = trace_samples(results, by);
  for (size_t i = 0; i < results->settings->rounds; i++)
    scratch[i] = sample_value(&over[i], offset) / sample_value(&under[i], offset);
  return bench_figure(scratch, results->settings->rounds);
}

static struct row summarise(const struct trace_results *results, enum trace_way way,
                            double *scratch) {
  const struct trace_way_facts *facts = &trace_ways[way];
  size_t cpu_ns = offsetof(struct trace_sample, cpu_ns);
  size_t wall_ns = offsetof(struct trace_sample, wall_ns);
  size_t walk_ns = offsetof(struct trace_sample, walk_ns);
  size_t release_ns = offsetof(struct trace_sample, release_ns);
  size_t faults = offsetof(struct trace_sample, faults);
  return (struct row){
      .cpu_ns = figure_per_object(results, way, cpu_ns, scratch),
      .wall_ns = figure_per_object(results, way, wall_ns, scratch),
      .release_ns = figure_per_object(results, way, release_ns, scratch),
      .walk_ns = figure_per_object(results, way, walk_ns, scratch),
      .faults = figure_per_object(results, way, faults, scratch),
      .ratio =
          figure_ratio(results, way, facts->control, facts->together ? wall_ns : cpu_ns, scratch),
      .speed_up = figure_ratio(results, facts->alone, way, wall_ns, scratch),
      .release_speed_up = figure_ratio(results, facts->alone, way, release_ns, scratch),
  };
}

static double bytes_per_object(const struct trace_results *results) {
  return (double)graph_live_bytes(results->shape) / results->shape->reachable;
}

/* ---- tables --------------------------------------------------------------------------------- */

static void print_plans_missing(void) {
  static const enum trace_way of_plans[] = {TRACE_MARKCOMPACT, TRACE_SEMISPACE};
  for (size_t i = 0; i < sizeof of_plans / sizeof *of_plans; i++) {
    const char *plan = trace_ways[of_plans[i]].plan;
    if (!graph_plan_exists(plan)) printf("  there is no plan %s in this library\n", plan);
  }
}

static void print_table_heading(const struct trace_settings *settings) {
  printf("%u objects of %zu bytes with two references; %u rounds in turns; %s\n", settings->objects,
         sizeof(struct bare_object), settings->rounds,
         settings->fresh ? "copies touch their memory first" : "memory was touched before");
  printf(
      "medians per object found; x control: CPU time against the control's of the same round, with "
      "several threads wall time\n");
  for (enum trace_way way = 0; way < TRACE_WAYS; way++) {
    if (!trace_way_runs(settings, way)) continue;
    const struct trace_way_facts *facts = &trace_ways[way];
    printf("  %-20s %s%s\n", facts->name, facts->summary,
           facts->control == way ? "; the control" : "");
  }
  print_plans_missing();
}

static void print_row(const struct trace_results *results, enum trace_way way,
                      const struct row *row) {
  printf("  %-20s %7u", trace_ways[way].name, results->workers[way]);
  bench_column(row->cpu_ns.median, 8, 2);
  bench_column(row->cpu_ns.min, 8, 2);
  bench_column(row->cpu_ns.max, 8, 2);
  bench_column(row->cpu_ns.median / bytes_per_object(results), 8, 3);
  bench_column(row->ratio.median, 9, 2);
  bench_column(row->wall_ns.median, 8, 2);
  bench_column(row->speed_up.median, 8, 2);
  bench_column(row->release_ns.median, 8, 2);
  bench_column(row->release_speed_up.median, 8, 2);
  bench_column(row->walk_ns.median, 8, 2);
  bench_column(row->faults.median, 7, 3);
  if (trace_ways[way].plan == NULL) {
    struct bare_loop loop = results->loops[way];
    printf("  %s %u", bare_variant_name(loop.variant), loop.distance);
  }
  printf("\n");
}

void trace_print_table(const struct trace_results *results, double *scratch) {
  const struct shape *shape = results->shape;
  printf("\n%s: %s; %u found, %llu bytes\n", shape_name(shape->kind), shape_summary(shape->kind),
         shape->reachable, (unsigned long long)graph_live_bytes(shape));
  printf("  %-20s %7s %8s %8s %8s %8s %9s %8s %8s %8s %8s %8s %7s  %s\n", "way", "threads",
         "cpu ns", "min", "max", "ns/byte", "x control", "wall ns", "speed-up", "release",
         "speed-up", "walk", "faults", "loop");
  for (enum trace_way way = 0; way < TRACE_WAYS; way++) {
    if (!trace_way_runs(results->settings, way)) continue;
    struct row row = summarise(results, way, scratch);
    print_row(results, way, &row);
  }
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static void print_json_heading(const struct trace_settings *settings) {
  printf("{\"benchmark\":\"trace\",\"objects\":%u,\"object_bytes\":%zu,\"rounds\":%u,"
         "\"threads\":%u,\"fresh\":%s,\"missing\":[",
         settings->objects, sizeof(struct bare_object), settings->rounds, settings->threads,
         settings->fresh ? "true" : "false");
  bool markcompact = graph_plan_exists(trace_ways[TRACE_MARKCOMPACT].plan);
  bool semispace = graph_plan_exists(trace_ways[TRACE_SEMISPACE].plan);
  printf("%s%s%s],\"rows\":[", markcompact ? "" : "\"markcompact\"",
         markcompact || semispace ? "" : ",", semispace ? "" : "\"semispace\"");
}

static void print_json_row(const struct trace_results *results, enum trace_way way,
                           const struct row *row) {
  const struct shape *shape = results->shape;
  printf("\n  {\"shape\":\"%s\",\"way\":\"%s\",\"threads\":%u,\"found\":%u,\"live_bytes\":%llu",
         shape_name(shape->kind), trace_ways[way].name, results->workers[way], shape->reachable,
         (unsigned long long)graph_live_bytes(shape));
  if (trace_ways[way].plan == NULL) {
    struct bare_loop loop = results->loops[way];
    printf(",\"loop\":\"%s\",\"distance\":%u", bare_variant_name(loop.variant), loop.distance);
  }
  bench_json_number("cpu_ns", row->cpu_ns.median);
  bench_json_number("cpu_ns_min", row->cpu_ns.min);
  bench_json_number("cpu_ns_max", row->cpu_ns.max);
  bench_json_number("cpu_ns_per_byte", row->cpu_ns.median / bytes_per_object(results));
  bench_json_number("to_control", row->ratio.median);
  bench_json_number("wall_ns", row->wall_ns.median);
  bench_json_number("speed_up", row->speed_up.median);
  bench_json_number("release_ns", row->release_ns.median);
  bench_json_number("release_speed_up", row->release_speed_up.median);
  bench_json_number("walk_ns", row->walk_ns.median);
  bench_json_number("faults", row->faults.median);
  printf("}");
}

void trace_print_json(const struct trace_results *results, double *scratch, bool first) {
  for (enum trace_way way = 0; way < TRACE_WAYS; way++) {
    if (!trace_way_runs(results->settings, way)) continue;
    struct row row = summarise(results, way, scratch);
    if (!first) printf(",");
    print_json_row(results, way, &row);
    first = false;
  }
}

void trace_print_heading(const struct trace_settings *settings) {
  if (settings->json) {
    print_json_heading(settings);
  } else {
    print_table_heading(settings);
  }
}

void trace_print_end(const struct trace_settings *settings) {
  if (settings->json) printf("\n]}\n");
}
