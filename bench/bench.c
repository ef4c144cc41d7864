/* bench.c - options, clocks, rounds and medians (bench.h). */
#define _DEFAULT_SOURCE 1 /* clock_gettime */
#include "bench.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- options --------------------------------------------------------------------------------- */

static void show_options(const char *command, const struct bench_option *options, size_t count) {
  static const char *const operand[] = {"", " N", " TEXT"};
  printf("usage: %s [options]\n\n", command);
  for (size_t i = 0; i < count; i++) {
    printf("  %s%-*s %s\n", options[i].name, (int)(16 - strlen(options[i].name)),
           operand[options[i].kind], options[i].help);
  }
}

static const struct bench_option *find_option(const char *name, const struct bench_option *options,
                                              size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (strcmp(options[i].name, name) == 0) return &options[i];
  }
  return NULL;
}

static bool read_number(const char *text, unsigned *number) {
  char *end;
  errno = 0;
  unsigned long value = strtoul(text, &end, 10);
  if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0) return false;
  if (value == 0 || value > UINT_MAX) return false;
  *number = (unsigned)value;
  return true;
}

static bool set_option(const struct bench_option *option, const char *value) {
  switch (option->kind) {
  case BENCH_FLAG:
    *(bool *)option->target = true;
    return true;
  case BENCH_TEXT:
    *(const char **)option->target = value;
    return value != NULL;
  case BENCH_NUMBER:
    return value != NULL && read_number(value, option->target);
  }
  return false;
}

int bench_parse(int argc, char **argv, const struct bench_option *options, size_t count) {
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--help") == 0) {
      show_options(argv[0], options, count);
      return 0;
    }
    const struct bench_option *option = find_option(argv[i], options, count);
    if (option == NULL) {
      fprintf(stderr, "%s: unknown option %s; --help lists them\n", argv[0], argv[i]);
      return 2;
    }
    const char *value = option->kind == BENCH_FLAG ? NULL : argv[i + 1];
    if (!set_option(option, value)) {
      fprintf(stderr, "%s: %s wants %s\n", argv[0], option->name,
              option->kind == BENCH_NUMBER ? "a number from 1 on" : "a value");
      return 2;
    }
    if (option->kind != BENCH_FLAG) i++;
  }
  return BENCH_RUN;
}

/* ---- measuring ------------------------------------------------------------------------------- */

static double clock_ns(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

double bench_wall_ns(void) {
  return clock_ns(CLOCK_MONOTONIC);
}

double bench_cpu_ns(void) {
  return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

bool bench_rounds(unsigned rounds, size_t count,
                  bool (*run)(void *context, unsigned round, size_t way), void *context) {
  for (unsigned round = 0; round < rounds; round++) {
    for (size_t way = 0; way < count; way++) {
      if (!run(context, round, way)) return false;
    }
  }
  return true;
}

struct bench_cost bench_since(const struct bench_counters *counters, struct bench_cost start) {
  struct bench_cost cost = bench_read(counters);
  cost.wall_ns -= start.wall_ns;
  cost.cpu_ns -= start.cpu_ns;
  for (int i = 0; i < BENCH_COUNTERS; i++)
    cost.counted[i] -= start.counted[i];
  return cost;
}

struct bench_cost bench_read(const struct bench_counters *counters) {
  struct bench_cost cost;
  for (int i = 0; i < BENCH_COUNTERS; i++)
    cost.counted[i] = bench_counter_value(counters, i);
  cost.cpu_ns = bench_cpu_ns();
  cost.wall_ns = bench_wall_ns();
  return cost;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a;
  double y = *(const double *)b;
  return (x > y) - (x < y);
}

struct bench_figure bench_figure(double *values, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (isnan(values[i])) return (struct bench_figure){NAN, NAN, NAN};
  }
  qsort(values, count, sizeof *values, by_value);
  double median = (values[(count - 1) / 2] + values[count / 2]) / 2;
  return (struct bench_figure){median, values[0], values[count - 1]};
}

/* ---- reporting ------------------------------------------------------------------------------- */

void bench_json_number(const char *name, double value) {
  if (!isfinite(value)) {
    printf(",\"%s\":null", name);
  } else {
    printf(",\"%s\":%.6g", name, value);
  }
}

void bench_column(double value, int width, int decimals) {
  if (!isfinite(value)) {
    printf(" %*s", width, "n/a");
  } else {
    printf(" %*.*f", width, decimals, value);
  }
}
