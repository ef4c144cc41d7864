/*
 * The verifier: whether a heap keeps its rules, while the world is stopped and no buffer is handed out.
 *
 * It shares no code with the tracing kernel. First it walks every block in use and notes where objects
 * begin; then, breadth first from the roots, it checks that each reference leads to such a place, and
 * remembers which object it came from, so that a fault is reported with the path that leads there. Then
 * it asks the spaces whether their tables agree [design: verifier].
 *
 * Its tables do not count against the heap's maximum: who verifies a full heap should learn of a fault,
 * not of a lack of memory. (The buffers that mutators got are noted within it, by core/alloc/bump.c.)
 */
#ifndef CORE_VERIFY_VERIFY_H
#define CORE_VERIFY_VERIFY_H

#include "core/trace/roots.h"

struct verifier;

/* NULL: the system has no memory. */
struct verifier *verifier_create(tsr_heap *heap);
void verifier_destroy(struct verifier *verifier);

/* heap->verifier, where the option asks for it. */
tsr_status verifier_open(tsr_heap *heap, tsr_error *error);
void verifier_close(tsr_heap *heap);

/* Walks the blocks. */
void verifier_begin(struct verifier *verifier);
/* Takes roots, between beginning and end. */
/* An object that is a root by itself. */
void verifier_visit_object(struct verifier *v, tsr_ref object, const char *root);
void verifier_visit_roots(tsr_visitor *visitor, tsr_slot *first, size_t count);
/* Follows them to the end. TSR_CORRUPT with the first fault; TSR_OUT_OF_MEMORY: not all was verified. */
tsr_status verifier_end(struct verifier *verifier, tsr_error *error);

/* Prints the whole report of a fault, then aborts. */
noreturn void verifier_abort(const struct verifier *verifier);

#endif
