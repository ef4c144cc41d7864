/*
 * What the programs of this folder share: the settings of a run, and the way to fail.
 *
 * A program runs for each plan of tsr_plan_names(), or only for the one that TESSERA_TEST_PLAN
 * names. Options of the library that a program does not pin come from the environment, so
 * TESSERA_STRESS, TESSERA_VERIFY, TESSERA_THREADS and TESSERA_LOG work as ever. A run begins with one line that
 * repeats it; a crash or a report of a sanitizer is repeated from that line. A failed demand prints
 * its own line, which may be of a shorter run, and ends the process at once: where the heap is
 * broken, nothing is left to tidy up.
 */
#ifndef TORTURE_HARNESS_H
#define TORTURE_HARNESS_H

#include <stdbool.h>
#include <stdint.h>

#include "../conformance/testvm.h"

/* The run that this process is in. Written while one thread runs. */
typedef struct torture_run {
  const char *program; /* as it was called */
  const char *plan;
  bool collects;               /* whether the plan has a collection */
  const char *length_variable; /* environment variable of `length` */
  unsigned threads;
  uint64_t length; /* in the program's own unit */
  uint64_t seed;
  const char *heap_max; /* TESSERA_TORTURE_HEAP_MAX; NULL: the program's own choice */
} torture_run;

extern torture_run run;

/* A number of the environment. */
uint64_t run_number(const char *variable, uint64_t otherwise);

/* The command line that repeats the run. */
void run_print_command(FILE *to);

_Noreturn void run_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* What must hold; the format says what does not. */
#define DEMAND(condition, ...)                                                                     \
  do {                                                                                             \
    if (!(condition)) run_fail(__FILE__, __LINE__, __VA_ARGS__);                                   \
  } while (0)

/* A call that must succeed; `error` is filled by it. */
#define DEMAND_OK(call, error)                                                                     \
  do {                                                                                             \
    tsr_status demanded_ = (call);                                                                 \
    if (demanded_ != TSR_OK) {                                                                     \
      run_fail(__FILE__, __LINE__, "%s: %s: %s", #call, tsr_status_name(demanded_),                \
               (error).message);                                                                   \
    }                                                                                              \
  } while (0)

/* Sets `run` from the environment and calls `one` for each plan; main's exit code. */
int run_plans(char **arguments, const char *length_variable, uint64_t length, void (*one)(void));

#endif
