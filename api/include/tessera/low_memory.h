/**
 * @file low_memory.h
 * @brief What comes before an allocation fails: callbacks that give memory up, and an emergency reserve.
 *
 * An allocation that finds no memory climbs this ladder, and stops where it has been served:
 *  1. it takes memory, as long as the heap may grow without a collection;
 *  2. it collects;
 *  3. it collects once more, as an emergency;
 *  4. it calls the *reclaimers*, in the order in which they were added, each once: behind one that says that it gave
 *     something up it collects and tries again, and the next is called only if that was not enough;
 *  5. it calls `out_of_memory` (binding.h), and opens the *emergency reserve* for that call;
 *  6. it returns NULL.
 * A heap in which collections take nearly all the time (option collecting_most) goes from 1 to 4. Where nothing can be collected, under a plan that never does or while that is disabled, 2 and 3 and the
 * collections in 4 are left out. An allocation larger than the heap's maximum goes to 5 at once, where the reserve stays closed to it, and one with
 * TSR_ALLOC_NO_COLLECT or TSR_ALLOC_OVERCOMMIT has a ladder of its own (alloc.h).
 *
 * What the callbacks of 4 and 5 allocate themselves neither collects nor calls back: it is served from what is there,
 * in 5 from the reserve first, or is NULL.
 */
#ifndef TESSERA_LOW_MEMORY_H
#define TESSERA_LOW_MEMORY_H

#include <tessera/mutator.h>
#include <tessera/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Gives up what the VM can do without: clears roots of caches, say. Returns whether it gave anything up.
 * Runs on the allocating mutator, in managed code, world running; on several mutators at the same time, where several
 * find no memory. May collect, which is a safepoint. The allocation that waits for it needs
 * `requested_bytes`.
 */
typedef bool (*tsr_reclaim)(void *vm, tsr_mutator *mutator, void *context, size_t requested_bytes);

/** A reclaimer that was added. Opaque; the heap's. */
typedef struct tsr_reclaimer tsr_reclaimer;

/**
 * Adds a reclaimer behind those that there are. Errors (NULL): no callback, no memory.
 * Thread: any. Collects: never. Goes with its heap.
 */
TSR_API tsr_reclaimer *tsr_reclaimer_add(tsr_heap *heap, tsr_reclaim reclaim, void *context,
                                         tsr_error *error);

/**
 * Takes a reclaimer out, from within its own call too. A call on another thread that has begun may
 * still be under way when this returns. TSR_INVALID_ARGUMENT where it is none of the heap's.
 * Thread: any. Collects: never.
 */
TSR_API tsr_status tsr_reclaimer_remove(tsr_heap *heap, tsr_reclaimer *reclaimer, tsr_error *error);

/**
 * Holds an emergency reserve back: so many bytes of the heap's maximum that nothing else may use (under a plan that
 * copies, twice that). It is opened once, for the first `out_of_memory` that comes: while that runs its mutator, and no
 * other, allocates `bytes` in default placement, in objects of at most TSR_MAX_INLINE_BYTES, ends of blocks
 * included. When the call returns, what it left is the heap's again, and the reserve is used up until it is
 * held again: by this function, when there is room.
 *
 * Replaces the reserve that is held; 0: holds none. Shown as "reserve" by tsr_heap_memory() and counted as
 * committed; no page is touched.
 * Errors, with nothing changed: the heap has no such room now (TSR_OUT_OF_MEMORY): collect first, or ask for less.
 * Thread: any. Collects: never.
 */
TSR_API tsr_status tsr_emergency_reserve_hold(tsr_heap *heap, size_t bytes, tsr_error *error);

/** The bytes that the emergency reserve holds; 0: there is none, or it is used up. Any thread; never collects. */
TSR_API size_t tsr_emergency_reserve(tsr_heap *heap);

#ifdef __cplusplus
}
#endif

#endif
