/**
 * @file finalize.h
 * @brief Finalizers: the VM is told which objects have become unreachable, and does what it likes at its own pace.
 *
 * Nothing of the VM runs in a collection. A collection that finds an object with a finalizer unreachable *revives*
 * it, with all that it refers to, and puts it into a queue; the VM takes it from there when it wants to (after
 * Dybvig, Bruggeman and Eby, Guardians in a Generation-Based Garbage Collector, 1993). From then on it is an
 * ordinary object: it lives while it is reachable, and is finalized again only if another finalizer is attached.
 *
 * Each attached finalizer is handed out once; an object may have several. One collection makes those ready that
 * have the lowest priority number first, and only then looks whether objects of the next are still unreachable: so
 * what an object needs for its own finalization, attached with a higher number, outlasts it. Within a
 * priority all that are unreachable become ready together, and are handed out in the order in which
 * they were attached, behind those of the priority that an earlier collection has made ready. Immortal objects never
 * become unreachable.
 *
 * See weak.h for the order against weak references. Under a plan that never collects nothing becomes ready but by
 * tsr_finalizers_run_all().
 */
#ifndef TESSERA_FINALIZE_H
#define TESSERA_FINALIZE_H

#include <tessera/mutator.h>
#include <tessera/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Priorities are 0, which is first, to this less one. */
#define TSR_FINALIZER_PRIORITIES 8u

/** A finalizer that is ready. */
typedef struct tsr_finalizable {
  tsr_ref object;
  uint64_t data; /**< the word that was attached with it */
  unsigned priority;
} tsr_finalizable;

/**
 * Attaches a finalizer to an object. `data` is a slot's word: what it refers to is kept alive until
 * the finalizer has been handed out, so an object that `data` leads to never becomes unreachable.
 * Errors: no object of this heap, or a priority out of range (TSR_INVALID_ARGUMENT), no memory within the heap's
 * maximum, which is reserved here and not in a collection (TSR_OUT_OF_MEMORY), native code (TSR_BUSY).
 * Thread: the mutator's own, in managed code. Never collects.
 */
TSR_API tsr_status tsr_finalizer_attach(tsr_mutator *mutator, tsr_ref object, uint64_t data,
                                        unsigned priority, tsr_error *error);

/**
 * Takes the next finalizer that is ready; false, and `ready` untouched: there is none, or the thread is in native
 * code. Object and data are the caller's to keep in a root before its next safepoint, as from tsr_alloc().
 * Thread: the mutator's own, in managed code. Never collects.
 */
TSR_API bool tsr_finalizer_next(tsr_mutator *mutator, tsr_finalizable *ready);

/** How many finalizers are ready. Any thread. */
TSR_API size_t tsr_finalizers_ready(tsr_heap *heap);

/**
 * For the end of a program: hands every finalizer to `run`, of reachable objects too, by priority, those that are
 * ready before those that are attached; tsr_finalizer_next() of other threads may take some of them. Those that are
 * attached meanwhile come in another round, and so on, at most `rounds` times. Returns how many are left then. `run`
 * may allocate and collect; what it is given it keeps in a root itself. In native code nothing is run.
 * Thread: the mutator's own, in managed code. Collects: as `run` does.
 */
TSR_API size_t tsr_finalizers_run_all(tsr_mutator *mutator, unsigned rounds,
                                      void (*run)(void *context, tsr_mutator *mutator,
                                                  const tsr_finalizable *finalizable),
                                      void *context);

#ifdef __cplusplus
}
#endif

#endif
