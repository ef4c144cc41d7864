/*
 * The verifier: whether a heap keeps its rules, while the world is stopped and no buffer is handed out.
 *
 * It shares no code with the tracing kernel. First it walks every block in use and notes where objects
 * begin; then, breadth first from the roots, it checks that each reference leads to such a place, and
 * remembers which object it came from, so that a fault is reported with the path that leads there. Then
 * it asks the spaces whether their tables agree [design: verifier].
 *
 * With the option it lives as long as the heap, and watches from one collection to the next: where objects
 * were (past.h), what is free (free_memory.h), and which stores come to the barrier (stores.h). explain.h makes
 * a sentence of a fault that the processor found.
 *
 * Its tables do not count against the heap's maximum: who verifies a full heap should learn of a fault,
 * not of a lack of memory. (The buffers that mutators got are noted within it, by core/alloc/bump.c.)
 */
#ifndef CORE_VERIFY_VERIFY_H
#define CORE_VERIFY_VERIFY_H

#include "core/trace/roots.h"
#include "core/verify/past.h"

struct verifier;

/* NULL: the system has no memory. */
struct verifier *verifier_create(tsr_heap *heap);
void verifier_destroy(struct verifier *verifier);

/* What it holds, and its mappings. */
const memory_account *verifier_account(const struct verifier *verifier);

/* heap->verifier, where the option asks for it. */
tsr_status verifier_open(tsr_heap *heap, tsr_error *error);
void verifier_close(tsr_heap *heap);

/* What it remembers from before the last collection. */
const past *verifier_past(const struct verifier *verifier);

/* Walks the blocks, when so many collections are over. */
void verifier_begin(struct verifier *verifier, uint32_t collections);
/* Takes roots, between beginning and end. */
/* An object that is a root by itself. */
void verifier_visit_object(struct verifier *v, tsr_ref object, const char *root);
void verifier_visit_roots(tsr_visitor *visitor, tsr_slot *first, size_t count);
/* Follows them to the end. TSR_CORRUPT with the first fault; TSR_OUT_OF_MEMORY: not all was verified. */
tsr_status verifier_end(struct verifier *verifier, tsr_error *error);

/* From now on it watches stores into what it found last. World stopped, and nothing has moved since. */
void verifier_watch(struct verifier *verifier);

/* Prints the whole report of a fault, then aborts. */
noreturn void verifier_abort(const struct verifier *verifier);

#endif
