/*
 * core/report: quantiles of the histogram against sorted values.
 */
#include <stdio.h>

#include "core/report/histogram.h"
#include "tests/unit/unit.h"

#define VALUES 20000

static int compare(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a;
  uint64_t y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

START_TEST(quantiles_lie_at_most_a_thirtysecond_above_the_truth) {
  uint64_t seed = 77;
  printf("histogram: seed %llu\n", (unsigned long long)seed);
  static uint64_t values[VALUES];
  static histogram h;
  uint64_t total = 0;
  for (size_t i = 0; i < VALUES; i++) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    values[i] = (seed >> 20) >> (seed % 44);
    total += values[i];
    histogram_add(&h, values[i]);
  }
  qsort(values, VALUES, sizeof values[0], compare);
  ck_assert_uint_eq(h.total, total);
  ck_assert_uint_eq(h.max, values[VALUES - 1]);
  for (uint32_t parts = 1; parts <= 1000; parts++) {
    uint64_t truth = values[((uint64_t)VALUES * parts + 999) / 1000 - 1];
    uint64_t quantile = histogram_quantile(&h, parts);
    ck_assert_uint_ge(quantile, truth);
    ck_assert_uint_le(quantile, truth + truth / 32);
  }
}
END_TEST

START_TEST(no_values_give_zeroes_and_extremes_are_held) {
  static histogram empty, extreme;
  ck_assert_uint_eq(histogram_quantile(&empty, 999), 0);
  histogram_add(&extreme, 0);
  histogram_add(&extreme, UINT64_MAX);
  ck_assert_uint_eq(histogram_quantile(&extreme, 500), 0);
  ck_assert_uint_eq(histogram_quantile(&extreme, 1000), UINT64_MAX);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("report");
  TCase *tests = tcase_create("histogram");
  tcase_add_test(tests, quantiles_lie_at_most_a_thirtysecond_above_the_truth);
  tcase_add_test(tests, no_values_give_zeroes_and_extremes_are_held);
  suite_add_tcase(suite, tests);
  return unit_run(suite);
}
