/*
 * Roots: global handles, registered ranges and native stacks of a heap, and the handle scopes of its
 * mutators. All of them are slots outside the heap.
 */
#ifndef CORE_TRACE_ROOTS_H
#define CORE_TRACE_ROOTS_H

#include <tessera/roots.h>

#include "core/alloc/mutator.h"
#include "core/heap/heap.h"

struct worker;

struct tsr_visitor {
  struct worker *worker;
  const struct plan *plan;
};

static inline void visitor_visit(tsr_visitor *visitor, tsr_slot *first, size_t count) {
  visitor->plan->visit_slots(visitor->worker, first, count);
}

/* Builds heap->roots. */
tsr_status roots_open(tsr_heap *heap, tsr_error *error);
void roots_close(tsr_heap *heap);

tsr_slot *roots_handle_new(tsr_heap *heap, uint64_t word, tsr_error *error);
tsr_status roots_handle_free(tsr_heap *heap, tsr_slot *handle, tsr_error *error);
tsr_status roots_add_range(tsr_heap *heap, tsr_slot *first, size_t count, const char *name,
                           tsr_error *error);
tsr_status roots_remove_range(tsr_heap *heap, const tsr_slot *first, tsr_error *error);
tsr_status roots_add_stack(tsr_heap *heap, tsr_native_stack *stack, tsr_error *error);
tsr_status roots_remove_stack(tsr_heap *heap, const tsr_native_stack *stack, tsr_error *error);

/* Reports every root that belongs to no mutator. World stopped. */
void roots_visit(tsr_heap *heap, tsr_visitor *visitor);

/* ---- handle scopes ------------------------------------------------------------------------------ */

/* Room for more local handles: enters the next chunk. False: no memory. */
bool locals_extend(tsr_mutator *mutator);
bool locals_are_open(const tsr_mutator *mutator);
void locals_visit(tsr_mutator *mutator, tsr_visitor *visitor);
void locals_free(tsr_mutator *mutator);

#endif
