/*
 * What a mutator may do to the memory of an object that it has: trim its end, seal it.
 */
#ifndef CORE_ALLOC_OBJECTS_H
#define CORE_ALLOC_OBJECTS_H

#include "core/alloc/mutator.h"

/* tsr_shrink(), tsr_seal(), tsr_unseal(). */
tsr_status object_shrink(tsr_mutator *mutator, tsr_ref object, size_t new_bytes, tsr_error *error);
tsr_status object_seal(tsr_mutator *mutator, tsr_ref object, tsr_error *error);
tsr_status object_unseal(tsr_mutator *mutator, tsr_ref object, tsr_error *error);

#endif
