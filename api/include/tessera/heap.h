/**
 * @file heap.h
 * @brief The heap: creation, collection requests, enumeration, plain facts, statistics.
 *
 * Any number of heaps live side by side in a process; they share nothing.
 */
#ifndef TESSERA_HEAP_H
#define TESSERA_HEAP_H

#include <tessera/binding.h>
#include <tessera/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Creates a heap. The plan is the one that `options` or TESSERA_PLAN names, else the best one
 * that the binding's capabilities allow.
 *
 * Errors (NULL, nothing left behind): a binding of another ABI or size; an impossible reference
 * rule, layout source or layout; an unreadable option; an unknown plan (the message lists the known
 * ones); a plan that needs a capability that the binding lacks, or lacks what the binding needs; a
 * maximum below the minimum; the system refusing address space or memory.
 *
 * @param binding  must outlive the heap
 * @param vm       handed to every callback
 * @param options  NULL: nothing pinned; the heap copies what it needs
 * Thread: any. Collects: never.
 */
TSR_API tsr_heap *tsr_heap_create(const tsr_binding *binding, void *vm, const tsr_options *options,
                                  tsr_error *error);

/**
 * Destroys a heap and gives all its memory back. TSR_BUSY, and nothing happens, while mutators
 * are bound. Writes the statistics file when one was asked for. Handles, roots and layouts go with it.
 * Thread: any, with no other thread in a call on this heap. NULL is allowed.
 */
TSR_API tsr_status tsr_heap_destroy(tsr_heap *heap, tsr_error *error);

/** Name of the plan in use. Any thread; never collects. */
TSR_API const char *tsr_heap_plan(const tsr_heap *heap);

/** The `vm` pointer of tsr_heap_create(). Any thread; never collects. */
TSR_API void *tsr_heap_vm(const tsr_heap *heap);

/** Whether an address lies in a block of this heap that is in use. Any thread; never collects. */
TSR_API bool tsr_heap_contains(const tsr_heap *heap, const void *address);

/** Names of all plans: NULL after the last. Static. */
TSR_API const char *const *tsr_plan_names(void);

/**
 * Collects and returns when a collection that began after the call is over. TSR_UNSUPPORTED under a plan that never
 * collects, TSR_BUSY while collection is disabled. Where next to nothing was allocated since the collection before,
 * all memory that is free goes back to the system, in long runs; else only what was not used for two collections.
 * Thread: the mutator's own, in managed code. Collects: yes.
 */
TSR_API tsr_status tsr_collect(tsr_mutator *mutator, tsr_error *error);

/** Until enabled as often as disabled, no collection starts and allocations grow the heap up to its
    maximum, then fail. One that has started already runs to its end. Any thread. */
TSR_API void tsr_collection_disable(tsr_heap *heap);
/** Takes one disable back. TSR_BUSY where there is none. Any thread. */
TSR_API tsr_status tsr_collection_enable(tsr_heap *heap, tsr_error *error);

/** Receives one object. May not allocate and may not store references. */
typedef void (*tsr_object_callback)(void *context, tsr_ref object, size_t size_bytes);

/**
 * Calls `callback` for every object in the heap, in no particular order, with the world stopped.
 * Includes unreachable objects that no collection has freed yet. Objects must be initialised: it
 * is an error of the VM to reach a safepoint with a header unwritten.
 * TSR_MISMATCH where other mutators are bound and the binding does not declare TSR_DOES_SAFEPOINTS.
 * Thread: the mutator's own, in managed code. Collects: no, but is a safepoint.
 */
TSR_API tsr_status tsr_enumerate_objects(tsr_mutator *mutator, tsr_object_callback callback,
                                         void *context, tsr_error *error);

/**
 * Checks the whole heap, with the world stopped: that every object is well formed, lies in a block in
 * use and is not forwarded; that every reference that can be reached from the roots leads to the start
 * of an object; that no bump pair is left over from before a collection; that the spaces' tables
 * agree with the objects. TSR_CORRUPT with the first violation: its rule, object, layout, slot, and
 * as much as the message holds of the root and path that lead there. With TESSERA_VERIFY=1 the same
 * check, and some more, runs before and after every collection, prints all of what it finds and aborts;
 * docs/debugging.md has the sentences.
 *
 * Takes memory beyond the heap's maximum: a 32nd of the heap's range, and 32 to 64 bytes for each
 * object reached. TSR_OUT_OF_MEMORY where the system has none. TSR_MISMATCH as tsr_enumerate_objects().
 * Thread: the mutator's own, in managed code. Collects: no, but is a safepoint.
 */
TSR_API tsr_status tsr_heap_verify(tsr_mutator *mutator, tsr_error *error);

/** Times of one kind, in nanoseconds. Percentiles are within 4 % above the true value. */
typedef struct tsr_times {
  uint64_t total, max, p50, p99, p999;
} tsr_times;

/** A heap's figures. `size` is set by the caller: sizeof(tsr_stats). */
typedef struct tsr_stats {
  size_t size;
  const char *plan;
  uint64_t collections; /**< minor and major together */
  uint64_t minor_collections;
  uint64_t major_collections;
  tsr_times pause_ns;       /**< wall time from stop request to last resume */
  tsr_times pause_cpu_ns;   /**< CPU time of the collecting threads within pauses */
  uint64_t bytes_allocated; /**< by mutators since creation; a buffer in use counts whole */
  uint64_t used_bytes;      /**< blocks handed out now */
  uint64_t committed_bytes; /**< everything the heap holds now: blocks, metadata, queues, handles */
  uint64_t peak_committed_bytes;
  uint64_t
      live_bytes_after_last; /**< 0 before the first collection; what minor collections keep does not count */
  uint64_t heap_max_bytes;
  uint64_t heap_limit_bytes; /**< current size: a collection starts before used memory passes it */
  uint32_t workers;        /**< threads that took part in the last collection; 1 before the first */
  uint32_t mutators;       /**< bound now */
  uint64_t external_bytes; /**< as tsr_adjust_external() counts them */
  uint64_t cycles;         /**< of marking in steps that have ended */
  uint64_t increments;     /**< pauses for a step of marking alone */
  uint64_t barrier_slow;   /**< stores that took the write barrier's slow path and were noted */
  uint64_t
      barrier_slots; /**< slots of large arrays that were noted one by one, and don't count above */
  uint64_t lazy_sweeps;   /**< times that a mutator swept some of what the last cycle has left */
  uint64_t nursery_rests; /**< times that the nursery was left empty, since nearly all survived */
} tsr_stats;

/** Fills `stats` up to the size the caller gave. TSR_MISMATCH for an impossible size. Any thread;
    never collects. */
TSR_API tsr_status tsr_heap_stats(tsr_heap *heap, tsr_stats *stats, tsr_error *error);

/** Bytes that the heap holds for one purpose. */
typedef struct tsr_memory_share {
  const char *name; /**< "heap blocks", "block tables", "mark queue", ... ; static */
  uint64_t bytes;
  uint64_t peak_bytes;
} tsr_memory_share;

/**
 * The heap's memory by purpose; the shares add up to `committed_bytes`. Writes at most `capacity`
 * entries and returns how many there are. Any thread; never collects.
 */
TSR_API size_t tsr_heap_memory(tsr_heap *heap, tsr_memory_share *shares, size_t capacity);

#ifdef __cplusplus
}
#endif

#endif
