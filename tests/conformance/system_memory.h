/*
 * What the system says about the memory of the test's process, beside what a heap reports of its own.
 */
#ifndef CONFORMANCE_SYSTEM_MEMORY_H
#define CONFORMANCE_SYSTEM_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "testvm.h"

/* A range of addresses, and what is known of it. */
typedef struct memory_range {
  uintptr_t start, end;
  uint64_t resident_bytes;      /* smaps: in memory; report: committed */
  uint64_t private_dirty_bytes; /* smaps: of these, written and shared with no other process */
  bool anonymous; /* smaps: no file has it, and the system gives it no name, as to a stack */
  bool huge;      /* smaps: some of it lies in huge pages, which come as a whole */
} memory_range;

#define MEMORY_RANGES 16384

typedef struct memory_ranges {
  memory_range at[MEMORY_RANGES];
  size_t count;
} memory_ranges;

/* Every mapping of the process, from /proc/self/smaps, in the order of addresses. False: the system has no such file. */
bool system_ranges(memory_ranges *ranges);

/* The bytes of the process's mappings that lie in `ranges`, what is resident of those, and how many mappings there are;
   where a mapping lies in it in part, what is resident, or private and dirty, counts up to that part. */
typedef struct system_sum {
  uint64_t bytes, resident_bytes, private_dirty_bytes;
  size_t mappings;
  bool huge;
} system_sum;

system_sum system_sum_of(const memory_ranges *mappings, const memory_ranges *ranges);

/* Sorts them, and joins those that touch. They may not overlap. */
void ranges_join(memory_ranges *ranges);
/* The anonymous part of `all` that lies outside of `except`; both sorted. */
void ranges_without(const memory_ranges *all, const memory_ranges *except, memory_ranges *rest);

/* The stretches of a heap's report that have addresses, as reported. */
void reported_ranges(testvm *vm, memory_ranges *ranges);

#endif
