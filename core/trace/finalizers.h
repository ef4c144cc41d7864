/*
 * Finalizers: which objects have one, and which are ready to be handed to the VM.
 */
#ifndef CORE_TRACE_FINALIZERS_H
#define CORE_TRACE_FINALIZERS_H

#include <tessera/finalize.h>

#include "core/trace/roots.h"

struct worker;

/* Builds heap->finalizers. */
tsr_status finalizers_open(tsr_heap *heap, tsr_error *error);
void finalizers_close(tsr_heap *heap);

/* ---- mutators ---------------------------------------------------------------------------------- */

tsr_status finalizers_attach(tsr_heap *heap, tsr_ref object, uint64_t data, unsigned priority,
                             tsr_error *error);
/* False: none is ready, or none that has expired. */
bool finalizers_next(tsr_heap *heap, bool expired, tsr_finalizable *ready);
size_t finalizers_ready(const tsr_heap *heap);
size_t finalizers_attached(tsr_heap *heap);
/* All that are there now expire: those that are ready, and those whose objects may still be reachable. Whether there
   are any. */
bool finalizers_expire(tsr_heap *heap);

/* ---- the collecting thread, world stopped -------------------------------------------------------- */

/* Makes those of a priority ready whose objects the trace has not reached, and reaches the objects; returns
   how many. Of the others it notes where their objects are now. */
size_t finalizers_revive(struct worker *worker, unsigned priority);
/* Gives memory back that is not likely to be needed. */
void finalizers_trim(tsr_heap *heap);

/* Shows the slots that keep what they refer to: the data, and the objects that are ready. */
void finalizers_visit(tsr_heap *heap, tsr_visitor *visitor);
/* Shows the slots of the objects that are not ready. */
void finalizers_visit_weak(tsr_heap *heap, tsr_visitor *visitor);

/* Takes and lets go the lock of this room around fork(). */
void finalizers_fork(tsr_heap *heap, os_fork_stage stage);

#endif
