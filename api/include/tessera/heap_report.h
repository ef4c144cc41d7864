/**
 * @file heap_report.h
 * @brief What a heap has from the system, byte by byte: each stretch of each mapping, and what it is for.
 *
 * A heap takes address space in a few *mappings*, commits parts of them, and takes its smaller tables from the C
 * allocator. The report divides every mapping into *stretches*, each with a name: the blocks of each space, free
 * blocks, what is reserved only, the collector's tables. So what a process's own view of its memory shows
 * (/proc/self/smaps, say) can be laid beside it: the stretches do not overlap, and together they are the mappings of
 * this heap, to the byte. Stacks of threads, the collector's workers among them, are the thread library's.
 */
#ifndef TESSERA_HEAP_REPORT_H
#define TESSERA_HEAP_REPORT_H

#include <stdio.h>

#include <tessera/mutator.h>
#include <tessera/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A stretch of memory of one kind. */
typedef struct tsr_stretch {
  const char *name; /**< what it is: "copy space", "free blocks", "mark queues", ... ; static */
  const char *
      purpose; /**< the share of tsr_heap_memory() that counts `committed_bytes`; static. NULL: none does,
                                as with the verifier's tables, which are not the heap's */
  const void *
      address; /**< where it begins; NULL: memory of the C allocator's, all that has this purpose */
  uint64_t reserved_bytes; /**< its length, whole pages; 0 where the C allocator has it */
  uint64_t
      committed_bytes; /**< of those, what may be in memory, and counts; or what the C allocator was asked for */
  uint64_t
      used_bytes; /**< of those, what is in use: in blocks all but their free parts, unreachable objects
                            that no collection has freed yet and mutators' buffers included; of other stretches all */
} tsr_stretch;

/** Receives one stretch. May call no function of this heap. */
typedef void (*tsr_stretch_callback)(void *context, const tsr_stretch *stretch);

/**
 * Calls `callback` for every stretch, mapping by mapping and upwards in each, with the world stopped; then for the C
 * allocator's memory. What is committed for one purpose adds up to its share of tsr_heap_memory(); only the emergency
 * reserve's share ("reserve") is nowhere, since it is room that is kept and not memory. Threads in native code may
 * make and drop handles meanwhile, which changes the tables of those.
 * TSR_MISMATCH where other mutators are bound and the binding does not declare TSR_DOES_SAFEPOINTS.
 * Thread: the mutator's own, in managed code. Collects: no, but is a safepoint.
 */
TSR_API tsr_status tsr_heap_report(tsr_mutator *mutator, tsr_stretch_callback callback,
                                   void *context, tsr_error *error);

/**
 * Writes the report as a table: a line for each name and purpose, with the number of stretches and their
 * bytes added up, and one with the sums. Errors, thread and collection as tsr_heap_report(). Errors of the file are left
 * to ferror().
 */
TSR_API tsr_status tsr_heap_report_write(tsr_mutator *mutator, FILE *file, tsr_error *error);

#ifdef __cplusplus
}
#endif

#endif
