/*
 * Histogram of durations.
 */
#include "core/report/histogram.h"

/* Values below HISTOGRAM_SUBS have a bucket each; above, the leading bits choose. */
static uint32_t histogram_bucket(uint64_t value) {
  if (value < HISTOGRAM_SUBS) return (uint32_t)value;
  uint32_t magnitude = 63u - (uint32_t)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
  uint32_t sub = (uint32_t)(value >> magnitude) - HISTOGRAM_SUBS;
  return (magnitude + 1) * HISTOGRAM_SUBS + sub;
}

/* The largest value that falls into a bucket. */
static uint64_t histogram_bound(uint32_t bucket) {
  if (bucket < HISTOGRAM_SUBS) return bucket;
  uint32_t magnitude = bucket / HISTOGRAM_SUBS - 1;
  uint64_t sub = bucket % HISTOGRAM_SUBS + HISTOGRAM_SUBS;
  return ((sub + 1) << magnitude) - 1;
}

void histogram_add(histogram *h, uint64_t value) {
  h->count++;
  h->total += value;
  if (value > h->max) h->max = value;
  h->buckets[histogram_bucket(value)]++;
}

uint64_t histogram_quantile(const histogram *h, uint32_t parts_per_thousand) {
  if (h->count == 0) return 0;
  uint64_t wanted = (h->count * parts_per_thousand + 999) / 1000;
  uint64_t seen = 0;
  uint32_t bucket = 0;
  for (; bucket < HISTOGRAM_BUCKETS - 1; bucket++) {
    seen += h->buckets[bucket];
    if (seen >= wanted) break;
  }
  uint64_t bound = histogram_bound(bucket);
  return bound < h->max ? bound : h->max;
}

tsr_times histogram_times(const histogram *h) {
  return (tsr_times){.total = h->total,
                     .max = h->max,
                     .p50 = histogram_quantile(h, 500),
                     .p99 = histogram_quantile(h, 990),
                     .p999 = histogram_quantile(h, 999)};
}
