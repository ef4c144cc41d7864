/**
 * @file fork.h
 * @brief fork() in a process that has heaps.
 *
 *     tsr_fork_prepare(mutator, &error);
 *     pid_t child = fork();
 *     if (child == 0) tsr_fork_child(mutator);
 *     else            tsr_fork_parent(mutator);   // also where fork() failed
 *
 * Explicit, so that the VM decides in which order its own locks, its heaps and its threads are
 * prepared; a VM that likes may call these from pthread_atfork() handlers. One call for each heap that
 * the child shall use, each on a mutator of the forking thread, resumed in reverse order; a heap that was
 * not prepared may not be touched in the child. A prepared heap does not count where safepoint.h asks a
 * thread to be in managed code of one heap only; threads that fork prepare several heaps in one order.
 */
#ifndef TESSERA_FORK_H
#define TESSERA_FORK_H

#include <tessera/mutator.h>
#include <tessera/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Collects and compacts, and *freezes* what is live: from now on these objects stay where they are, and a collection does
 * not write into them, unless a slot has to be updated since what it refers to has moved. So the pages of
 * a server's warmed-up heap stay shared with the children that it forks afterwards, full collections
 * in them included. Frozen objects are used as before; those that die are found, but the memory of a block comes back
 * only when all in it are dead. Objects that collections list in passing are written into all the same: weak
 * objects, ephemerons, and their keys. May be called again, for what is new.
 *
 * Objects that never move anyway, such as large and immortal ones, are traced in place without it. Under a plan that
 * does not collect, what is there is frozen as it lies: nothing is allocated beside it any more.
 * Errors: collection is disabled, native code, a no-allocation section (TSR_BUSY); no memory for the tables, a 32nd of
 * what is frozen (TSR_OUT_OF_MEMORY: it has collected, and nothing is frozen); as tsr_enumerate_objects()
 * under a plan that does not collect (TSR_MISMATCH).
 * Thread: the mutator's own, in managed code. Collects: yes.
 */
TSR_API tsr_status tsr_freeze(tsr_mutator *mutator, tsr_error *error);

/**
 * Stops the other mutators of the heap at safepoints, takes back their buffers, and takes every lock of
 * the heap, so that the child's copy is whole. From here to tsr_fork_parent() or
 * tsr_fork_child() the thread calls nothing of this heap, and other threads that do wait.
 * Errors, with nothing changed: in native code, or prepared already (TSR_BUSY); other mutators are bound
 * and the binding does not declare TSR_DOES_SAFEPOINTS (TSR_MISMATCH).
 * Thread: the mutator's own, in managed code. Collects: no, but is a safepoint.
 */
TSR_API tsr_status tsr_fork_prepare(tsr_mutator *mutator, tsr_error *error);

/** In the parent, or where fork() failed: everything goes on. */
TSR_API void tsr_fork_parent(tsr_mutator *mutator);

/**
 * In the child: of the heap's mutators only this one is left. The handle scopes of the others are
 * gone, and with them what only they kept alive; global handles, ranges and stacks stay, and so do all
 * objects. Fibres that were suspended are as they were; one that ran on another mutator is suspended, has its
 * stacks, and no handle. Storage that belongs to the VM, embedded mutators and cached pairs of threads that the child does not have,
 * is forgotten, not touched. resume_mutators is not called in the child: a VM with its own
 * stop_all_mutators resets its own lists of threads before. The caller's pairs hold what they held.
 */
TSR_API void tsr_fork_child(tsr_mutator *mutator);

#ifdef __cplusplus
}
#endif

#endif
