/*
 * A histogram of durations with bounded relative error: for each power of two, 32 buckets of equal
 * width. A percentile is the upper end of its bucket, at most 1/32 above the true value. (The shape of
 * G. Tene's HdrHistogram.)
 */
#ifndef CORE_REPORT_HISTOGRAM_H
#define CORE_REPORT_HISTOGRAM_H

#include <stdint.h>
#include <tessera/heap.h>

#define HISTOGRAM_SUB_BITS 5
#define HISTOGRAM_SUBS     (1u << HISTOGRAM_SUB_BITS)
#define HISTOGRAM_BUCKETS  ((64 - HISTOGRAM_SUB_BITS + 1) * HISTOGRAM_SUBS)

typedef struct histogram {
  uint64_t count, total, max;
  uint32_t buckets[HISTOGRAM_BUCKETS];
} histogram;

void histogram_add(histogram *h, uint64_t value);
/* The least bound that at least `parts_per_thousand` of the values do not exceed; 0 without values. */
uint64_t histogram_quantile(const histogram *h, uint32_t parts_per_thousand);
tsr_times histogram_times(const histogram *h);

#endif
