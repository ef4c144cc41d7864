/*
 * Roots: global handles, registered ranges and native stacks of a heap, and the handle scopes of its
 * mutators. All of them are slots outside the heap, but for the words of ambiguous ranges, of which
 * nobody knows whether they are slots, and which are only read.
 */
#ifndef CORE_TRACE_ROOTS_H
#define CORE_TRACE_ROOTS_H

#include <tessera/roots.h>

#include "core/alloc/mutator.h"
#include "core/heap/heap.h"

/* Who is shown the roots, in runs of slots; and of what kind those are that come now. */
struct tsr_visitor {
  void (*visit)(tsr_visitor *visitor, tsr_slot *first, size_t count);
  void *context;
  const char *root; /* "handle", "range", ... */
  const char *name; /* the VM's name of it, or NULL */
};

static inline void visitor_visit(tsr_visitor *visitor, tsr_slot *first, size_t count) {
  visitor->visit(visitor, first, count);
}

static inline void visitor_name(tsr_visitor *visitor, const char *root, const char *name) {
  visitor->root = root;
  visitor->name = name;
}

/* Builds heap->roots. */
tsr_status roots_open(tsr_heap *heap, tsr_error *error);
void roots_close(tsr_heap *heap);

tsr_slot *roots_handle_new(tsr_heap *heap, uint64_t word, bool weak, tsr_error *error);
tsr_status roots_handle_free(tsr_heap *heap, tsr_slot *handle, tsr_error *error);
/* TSR_MISMATCH: an ambiguous range, and the binding does not declare that it has some. */
tsr_status roots_add_range(tsr_heap *heap, tsr_slot *first, size_t count, tsr_root_kind kind,
                           const char *name, tsr_error *error);
tsr_status roots_remove_range(tsr_heap *heap, const tsr_slot *first, tsr_error *error);
tsr_status roots_add_stack(tsr_heap *heap, tsr_native_stack *stack, tsr_error *error);
tsr_status roots_remove_stack(tsr_heap *heap, const tsr_native_stack *stack, tsr_error *error);

/* Shows every weak handle. World stopped. */
void roots_visit_weak(tsr_heap *heap, tsr_visitor *visitor);

/* Shows every precise root that belongs to no mutator, or those of one. World stopped. */
void roots_visit(tsr_heap *heap, tsr_visitor *visitor);
void roots_visit_mutator(tsr_mutator *mutator, tsr_visitor *visitor);

/* Shows every word of the ambiguous ranges, with the range's name. World stopped; `visit` may not come back
   to the roots. */
void roots_each_ambiguous(tsr_heap *heap,
                          void (*visit)(void *context, uint64_t word, const char *name),
                          void *context);

/* After a collection has visited them: every native stack is clean up to its top. */
void roots_clean_stacks(tsr_heap *heap);

/* Takes and lets go the lock of this room around fork(). */
void roots_fork(tsr_heap *heap, os_fork_stage stage);

/* ---- what a heap's own roots share with those of fibres ------------------------------------------------ */

tsr_status native_stack_check(const tsr_native_stack *stack, tsr_error *error);
void native_stack_visit(const tsr_native_stack *stack, tsr_visitor *visitor);
void native_stack_clean(const tsr_native_stack *stack);

/* TSR_MISMATCH: the binding does not declare that it has ambiguous roots. */
tsr_status ambiguous_check(const tsr_heap *heap, const char *what, tsr_error *error);
/* Shows words that may be references. They may lie on a C stack. */
void ambiguous_visit(const tsr_slot *first, size_t count, const char *name,
                     void (*visit)(void *context, uint64_t word, const char *name), void *context);

/* ---- handle scopes ------------------------------------------------------------------------------ */

/* Room for more local handles: enters the next chunk. False: no memory. */
bool locals_extend(tsr_mutator *mutator);
/* Whether those in use hold a handle. */
bool locals_are_open(const tsr_mutator *mutator);
/* Those in use, and with a fibre the thread's own too. */
void locals_visit_mutator(const tsr_mutator *mutator, tsr_visitor *visitor);
void locals_visit(const local_scopes *scopes, tsr_visitor *visitor);
void locals_free(tsr_heap *heap, struct local_chunk *first);

/* New ones, for a fibre. False: no memory. */
bool locals_begin(tsr_heap *heap, local_scopes *scopes);
/* The mutator uses other ones from here on; those that it used are noted. */
void locals_exchange(tsr_mutator *mutator, local_scopes *leaving, const local_scopes *entering);
/* All handles in them are gone. */
local_scopes locals_emptied(struct local_chunk *first);

#endif
