/*
 * What a mutator may do to the memory of an object that it has: trim its end, seal it. And whether it has
 * it.
 */
#ifndef CORE_ALLOC_OBJECTS_H
#define CORE_ALLOC_OBJECTS_H

#include "core/alloc/mutator.h"

/*
 * Checks that a mutator may touch objects (TSR_BUSY: it is in native code), and that `object` is one of its
 * heap, whose size is stored; TSR_INVALID_ARGUMENT names `function`. An address inside an object, or
 * where one was, is told from an object's only where the words there do not look like one.
 */
tsr_status object_check(const tsr_mutator *mutator, tsr_ref object, const char *function,
                        size_t *bytes, tsr_error *error);

/* tsr_shrink(), tsr_seal(), tsr_unseal(). */
tsr_status object_shrink(tsr_mutator *mutator, tsr_ref object, size_t new_bytes, tsr_error *error);
tsr_status object_seal(tsr_mutator *mutator, tsr_ref object, tsr_error *error);
tsr_status object_unseal(tsr_mutator *mutator, tsr_ref object, tsr_error *error);

/* Of a new object, if it is large: that it is a leaf; or, of an array with references, bits for its slots. */
void object_note_large(tsr_heap *heap, tsr_ref object);

#endif
