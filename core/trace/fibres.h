/*
 * Fibres: handle scopes that are no mutator's, with the stacks that come with them [design: fibres].
 */
#ifndef CORE_TRACE_FIBRES_H
#define CORE_TRACE_FIBRES_H

#include <tessera/fibre.h>

#include "core/trace/roots.h"

/* Builds heap->fibres. */
tsr_status fibres_open(tsr_heap *heap, tsr_error *error);
/* Fibres that are left go. */
void fibres_close(tsr_heap *heap);

tsr_fibre *fibre_create(tsr_heap *heap, const tsr_fibre_roots *roots, tsr_error *error);
tsr_status fibre_destroy(tsr_fibre *fibre, tsr_error *error);
tsr_status fibre_switch(tsr_mutator *self, tsr_fibre *fibre, tsr_error *error);

/* Shows the handles of every fibre that is suspended, and the slots on the stacks of all. World stopped. */
void fibres_visit(tsr_heap *heap, tsr_visitor *visitor);
/* Shows every word of their C stacks. As roots_each_ambiguous(), whose part it is. */
void fibres_each_ambiguous(tsr_heap *heap,
                           void (*visit)(void *context, uint64_t word, const char *name),
                           void *context);
/* After a collection has visited them. */
void fibres_clean_stacks(tsr_heap *heap);

/* In the child of a fork(): the mutator's thread is not there. A fibre that ran on it is suspended without a
   handle. */
void fibre_leave_behind(struct tsr_mutator_private *own);

/* Takes and lets go the lock of this room around fork(). */
void fibres_fork(tsr_heap *heap, os_fork_stage stage);

#endif
