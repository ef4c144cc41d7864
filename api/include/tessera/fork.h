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
 * objects. Storage that belongs to the VM, embedded mutators and cached pairs of threads that the child does not have,
 * is forgotten, not touched. resume_mutators is not called in the child: a VM with its own
 * stop_all_mutators resets its own lists of threads before. The caller's pairs hold what they held.
 */
TSR_API void tsr_fork_child(tsr_mutator *mutator);

#ifdef __cplusplus
}
#endif

#endif
