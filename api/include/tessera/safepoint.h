/**
 * @file safepoint.h
 * @brief Where mutators may be stopped: polls, and regions of native code.
 *
 * A mutator is in *managed* code (it may touch the heap, and a collection waits for it) or in
 * *native* code (it may not touch the heap, and a collection does not wait). Entering and leaving
 * native code is one sequentially consistent exchange on one state word and a load of the poll flag.
 * In native code tsr_collect(), tsr_enumerate_objects(), tsr_heap_verify(), tsr_fork_prepare(), tsr_shrink(),
 * tsr_seal(), tsr_unseal(), registering pairs and the slow path of allocation answer TSR_BUSY; fast paths do
 * not look.
 * A thread with mutators in several heaps is in managed code of at most one of them while it may block,
 * allocate or collect; otherwise two collections can wait for each other.
 * Where a thread in managed code does not come to a safepoint for as long as the option `stop_timeout` says (ten
 * seconds), whoever waits for it reports it (`report_error`) by its number and name in the system, and waits on.
 * A VM with its own threads replaces the protocol through the three callbacks of its binding. Then Tessera does
 * not wait, and reports nothing.
 */
#ifndef TESSERA_SAFEPOINT_H
#define TESSERA_SAFEPOINT_H

#include <tessera/mutator.h>
#include <tessera/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The slow path of tsr_safepoint(): stops until the collection that asked for it is over. A mutator in
    native code stays there. */
TSR_API void tsr_safepoint_slow(tsr_mutator *mutator);

/** Whether somebody waits for this mutator to stop. */
TSR_INLINE bool tsr_safepoint_requested(const tsr_mutator *mutator) {
#if defined(__GNUC__)
  return __atomic_load_n(&mutator->poll, __ATOMIC_RELAXED) != 0;
#else
  return *(const volatile uint32_t *)&mutator->poll != 0;
#endif
}

/**
 * A place where this mutator may be stopped and objects may move: loop heads, calls, returns.
 * Thread: the mutator's own, in managed code. Collects: waits for collections of others.
 */
TSR_INLINE void tsr_safepoint(tsr_mutator *mutator) {
  if (TSR_UNLIKELY(tsr_safepoint_requested(mutator))) tsr_safepoint_slow(mutator);
}

/** Before a blocking call: the mutator's roots must be in known slots. Regions do not nest: a second
    entry is reported and changes nothing. Thread: the mutator's own. */
TSR_API void tsr_enter_native(tsr_mutator *mutator);

/** After it: waits while a collection is on. References must be reloaded. Thread: any; it is the mutator's own from
    then on. */
TSR_API void tsr_leave_native(tsr_mutator *mutator);

#ifdef __cplusplus
}
#endif

#endif
