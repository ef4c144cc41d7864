/* bench.h - what every benchmark of tessera-bench shares: options, clocks, counters, rounds.
 *
 * A benchmark compares several ways of doing the same work. On a shared machine the speed of the
 * same code drifts by tens of per cent within a minute, so ways are never measured one after the
 * other but in turns, A B C A B C ..., and judged by medians and by the ratio to a control of the same
 * round: drift then hits all alike. Every way runs the same amount of work in each round.
 *
 * Times are taken by CLOCK_MONOTONIC and by the CPU clock of the whole process, collector threads
 * included. Instructions and cache misses come from the processor's counters where the system grants
 * them, and are said to be missing where it does not.
 */
#ifndef TESSERA_BENCH_H
#define TESSERA_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- subcommands ----------------------------------------------------------------------------- */

/** One benchmark: a line in main.c's table. `argv[0]` is the program's name and its own; returns an
    exit status. */
struct bench_command {
  const char *name;
  const char *summary;
  int (*run)(int argc, char **argv);
};

int bench_alloc(int argc, char **argv);
int bench_trace(int argc, char **argv);
int bench_barrier(int argc, char **argv);
int bench_weak(int argc, char **argv);
int bench_requests(int argc, char **argv);
int bench_mutation(int argc, char **argv);

/* ---- options --------------------------------------------------------------------------------- */

/** How an option's value is read. */
enum bench_option_kind { BENCH_FLAG, BENCH_NUMBER, BENCH_TEXT };

/** One option: `--name value`, or `--name` alone for a flag. */
struct bench_option {
  const char *name; /* with its dashes */
  enum bench_option_kind kind;
  void *target; /* bool, unsigned (from 1 on) or const char * */
  const char *help;
};

/** What bench_parse() returns where it is no exit status. */
enum { BENCH_RUN = -1 };

/** Reads the options of a subcommand; `--help` prints them. Messages go to stderr. Returns BENCH_RUN, or the
    exit status where there is nothing to run: help was asked for, or an option is refused. */
int bench_parse(int argc, char **argv, const struct bench_option *options, size_t count);

/* ---- measuring ------------------------------------------------------------------------------- */

/** CLOCK_MONOTONIC, and the CPU time of the whole process. */
double bench_wall_ns(void);
double bench_cpu_ns(void);

enum { BENCH_INSTRUCTIONS, BENCH_CACHE_MISSES, BENCH_COUNTERS };

/** The processor's counters for this thread, user mode only. */
struct bench_counters {
  int descriptors[BENCH_COUNTERS]; /* -1: not available */
  char source[96];                 /* where the figures come from, or why there are none */
};

void bench_counters_open(struct bench_counters *counters);
void bench_counters_close(struct bench_counters *counters);
/** One counter now; a NaN where it is not available. */
double bench_counter_value(const struct bench_counters *counters, int which);

/** What one run cost. A counter that is not available is a NaN. */
struct bench_cost {
  double wall_ns;
  double cpu_ns;
  double counted[BENCH_COUNTERS];
};

/** Reads clocks and counters; the difference of two readings is a cost. */
struct bench_cost bench_read(const struct bench_counters *counters);
struct bench_cost bench_since(const struct bench_counters *counters, struct bench_cost start);

/** Runs `count` ways in turns for `rounds` rounds. Stops, with false, when one fails. */
bool bench_rounds(unsigned rounds, size_t count,
                  bool (*run)(void *context, unsigned round, size_t way), void *context);

/** Median, least and greatest of some values. */
struct bench_figure {
  double median, min, max;
};

/** Sorts the values. A NaN among them makes a figure of NaNs. */
struct bench_figure bench_figure(double *values, size_t count);

/* ---- reporting ------------------------------------------------------------------------------- */

/** Prints a member of a JSON object, behind others; what is no number is null. */
void bench_json_number(const char *name, double value);

/** Prints a table's number in so many columns, and a space before them; what is no number is
    "n/a". */
void bench_column(double value, int width, int decimals);

#endif
