/* counters.c - instructions and cache misses from the processor, where the system grants them.
 *
 * Virtual machines and containers often do not: then every value is a NaN and `source` says why, so
 * that a report never shows a figure of unknown origin.
 */
#define _GNU_SOURCE 1 /* syscall */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#if defined(__linux__)

#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_counter(uint64_t event) {
  struct perf_event_attr attributes = {.size = sizeof attributes,
                                       .type = PERF_TYPE_HARDWARE,
                                       .config = event,
                                       .exclude_kernel = 1,
                                       .exclude_hv = 1};
  return (int)syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0);
}

void bench_counters_open(struct bench_counters *counters) {
  static const uint64_t events[BENCH_COUNTERS] = {[BENCH_INSTRUCTIONS] = PERF_COUNT_HW_INSTRUCTIONS,
                                                  [BENCH_CACHE_MISSES] =
                                                      PERF_COUNT_HW_CACHE_MISSES};
  snprintf(counters->source, sizeof counters->source, "perf_event_open, user mode");
  for (int i = 0; i < BENCH_COUNTERS; i++) {
    counters->descriptors[i] = open_counter(events[i]);
    if (counters->descriptors[i] < 0) {
      snprintf(counters->source, sizeof counters->source, "n/a: hardware counters refused (%s)",
               strerror(errno));
    }
  }
}

void bench_counters_close(struct bench_counters *counters) {
  for (int i = 0; i < BENCH_COUNTERS; i++) {
    if (counters->descriptors[i] >= 0) close(counters->descriptors[i]);
  }
}

double bench_counter_value(const struct bench_counters *counters, int which) {
  uint64_t value;
  int descriptor = counters->descriptors[which];
  if (descriptor < 0 || read(descriptor, &value, sizeof value) != sizeof value) return NAN;
  return (double)value;
}

#else

void bench_counters_open(struct bench_counters *counters) {
  for (int i = 0; i < BENCH_COUNTERS; i++)
    counters->descriptors[i] = -1;
  snprintf(counters->source, sizeof counters->source,
           "n/a: hardware counters are read on Linux only");
}

void bench_counters_close(struct bench_counters *counters) {
  (void)counters;
}

double bench_counter_value(const struct bench_counters *counters, int which) {
  (void)counters, (void)which;
  return NAN;
}

#endif
