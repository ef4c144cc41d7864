/*
 * /proc/self/smaps, and arithmetic of ranges.
 */
#include "system_memory.h"

static void ranges_add(memory_ranges *ranges, memory_range range) {
  ck_assert_uint_lt(ranges->count, MEMORY_RANGES);
  ranges->at[ranges->count++] = range;
}

/* ---- the system's -------------------------------------------------------------------------------- */

/* The first line of a mapping: START-END ACCESS OFFSET DEVICE INODE NAME. */
static bool smaps_head(const char *line, memory_range *range) {
  unsigned long long start, end, inode;
  int name = 0;
  if (sscanf(line, "%llx-%llx %*s %*s %*s %llu %n", &start, &end, &inode, &name) != 3) return false;
  *range = (memory_range){
      .start = (uintptr_t)start, .end = (uintptr_t)end, .anonymous = inode == 0 && line[name] == 0};
  return true;
}

bool system_ranges(memory_ranges *ranges) {
  ranges->count = 0;
  FILE *file = fopen("/proc/self/smaps", "r");
  if (file == NULL) return false;
  char line[512];
  while (fgets(line, sizeof line, file) != NULL) {
    memory_range range;
    unsigned long long kib;
    if (smaps_head(line, &range)) {
      ranges_add(ranges, range);
    } else if (sscanf(line, "Rss: %llu kB", &kib) == 1) {
      ranges->at[ranges->count - 1].resident_bytes = kib * KIB;
    } else if (sscanf(line, "Private_Dirty: %llu kB", &kib) == 1) {
      ranges->at[ranges->count - 1].private_dirty_bytes = kib * KIB;
    } else if (sscanf(line, "AnonHugePages: %llu kB", &kib) == 1) {
      ranges->at[ranges->count - 1].huge = kib > 0;
    }
  }
  fclose(file);
  return true;
}

static size_t overlap(const memory_range *a, const memory_range *b) {
  uintptr_t start = a->start > b->start ? a->start : b->start;
  uintptr_t end = a->end < b->end ? a->end : b->end;
  return start < end ? end - start : 0;
}

system_sum system_sum_of(const memory_ranges *mappings, const memory_ranges *ranges) {
  system_sum sum = {0};
  for (size_t i = 0; i < mappings->count; i++) {
    const memory_range *mapping = &mappings->at[i];
    uint64_t bytes = 0;
    for (size_t k = 0; k < ranges->count; k++)
      bytes += overlap(mapping, &ranges->at[k]);
    if (bytes == 0) continue;
    sum.mappings++;
    sum.bytes += bytes;
    sum.resident_bytes += mapping->resident_bytes < bytes ? mapping->resident_bytes : bytes;
    sum.private_dirty_bytes +=
        mapping->private_dirty_bytes < bytes ? mapping->private_dirty_bytes : bytes;
    sum.huge |= mapping->huge;
  }
  return sum;
}

/* ---- arithmetic ---------------------------------------------------------------------------------- */

static int range_order(const void *a, const void *b) {
  const memory_range *left = a, *right = b;
  return left->start < right->start ? -1 : left->start > right->start;
}

void ranges_join(memory_ranges *ranges) {
  qsort(ranges->at, ranges->count, sizeof ranges->at[0], range_order);
  size_t joined = 0;
  for (size_t i = 0; i < ranges->count; i++) {
    memory_range range = ranges->at[i];
    if (joined == 0 || ranges->at[joined - 1].end != range.start) {
      ck_assert_msg(joined == 0 || ranges->at[joined - 1].end < range.start,
                    "two stretches share the address %#zx", (size_t)range.start);
      ranges->at[joined++] = range;
      continue;
    }
    ranges->at[joined - 1].end = range.end;
    ranges->at[joined - 1].resident_bytes += range.resident_bytes;
  }
  ranges->count = joined;
}

void ranges_without(const memory_ranges *all, const memory_ranges *except, memory_ranges *rest) {
  rest->count = 0;
  for (size_t i = 0; i < all->count; i++) {
    memory_range range = all->at[i];
    if (!range.anonymous) continue;
    for (size_t k = 0; k < except->count; k++) {
      const memory_range *hole = &except->at[k];
      if (overlap(&range, hole) == 0) continue;
      if (hole->start > range.start) {
        ranges_add(rest, (memory_range){.start = range.start, .end = hole->start});
      }
      range.start = hole->end < range.end ? hole->end : range.end;
    }
    if (range.start < range.end) ranges_add(rest, range);
  }
}

/* ---- the heap's ------------------------------------------------------------------------------------ */

static void reported_add(void *context, const tsr_stretch *stretch) {
  if (stretch->address == NULL) return;
  uintptr_t start = (uintptr_t)stretch->address;
  ranges_add(context, (memory_range){.start = start,
                                     .end = start + (uintptr_t)stretch->reserved_bytes,
                                     .resident_bytes = stretch->committed_bytes});
}

void reported_ranges(testvm *vm, memory_ranges *ranges) {
  ranges->count = 0;
  ck_assert_int_eq(tsr_heap_report(vm->m, reported_add, ranges, NULL), TSR_OK);
}
