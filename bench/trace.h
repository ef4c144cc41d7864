/* trace.h - what trace.c measures and trace_report.c tells. */
#ifndef TESSERA_BENCH_TRACE_H
#define TESSERA_BENCH_TRACE_H

#include "bench.h"
#include "limits/limits.h"

/** The ways to trace a graph; the bare loops first. */
enum trace_way {
  TRACE_MARK,
  TRACE_MARK_UNBOUND,
  TRACE_MARK_TOGETHER,
  TRACE_CHENEY,
  TRACE_COPY,
  TRACE_MARKCOMPACT,
  TRACE_MARKCOMPACT_TOGETHER,
  TRACE_SEMISPACE,
  TRACE_SEMISPACE_TOGETHER,
  TRACE_WAYS,
  TRACE_NONE = TRACE_WAYS
};

/** What is fixed for a way. */
struct trace_way_facts {
  const char *name;
  const char *summary;
  const char *plan;       /* NULL: a bare loop */
  enum bare_work work;    /* of a bare loop */
  bool together;          /* with all threads, else with one */
  enum trace_way control; /* what it is compared with */
  enum trace_way alone;   /* together: the same with one thread */
};

extern const struct trace_way_facts trace_ways[TRACE_WAYS];

/** The command line. */
struct trace_settings {
  const char *plan, *shape;
  unsigned objects, rounds, sweep_rounds, threads, hole;
  bool fresh, json;
};

/** Whether a way is measured: its plan exists and is wanted, and there are threads for it. */
bool trace_way_runs(const struct trace_settings *settings, enum trace_way way);

/** What one run of a way took. */
struct trace_sample {
  double cpu_ns, wall_ns; /* marking or copying */
  double release_ns;      /* a collection's rest: compaction, sweep */
  double walk_ns;         /* a mutator's walk over the outcome */
  double faults;          /* page faults meanwhile */
};

/** What was found for one shape. */
struct trace_results {
  const struct trace_settings *settings;
  const struct shape *shape;
  struct bare_loop loops[TRACE_WAYS]; /* of the bare ways */
  unsigned workers[TRACE_WAYS];       /* threads that took part */
  struct trace_sample *samples;       /* [way][round] */
};

static inline struct trace_sample *trace_samples(const struct trace_results *results,
                                                 enum trace_way way) {
  return results->samples + (size_t)way * results->settings->rounds;
}

void trace_print_heading(const struct trace_settings *settings);
void trace_print_table(const struct trace_results *results, double *scratch);
void trace_print_json(const struct trace_results *results, double *scratch, bool first);
void trace_print_end(const struct trace_settings *settings);

#endif
