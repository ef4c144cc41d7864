/*
 * Identity hashes, found and kept.
 *
 * Where survivors slide, a table has an entry for every object whose hash was asked for: from then on, so that no
 * collection needs memory for it. The collecting thread takes out what is dead and moves the rest along.
 */
#ifndef CORE_TRACE_IDENTITIES_H
#define CORE_TRACE_IDENTITIES_H

#include "core/heap/heap.h"

struct identities;

/* Builds heap->identities, where the plan needs it. */
tsr_status identities_open(tsr_heap *heap, tsr_error *error);
void identities_close(tsr_heap *heap);

/* Whether collections may move the object. */
bool identities_move(const tsr_heap *heap, tsr_ref object);

/* The hash of an object of `bytes`, all told. Errors: TSR_OUT_OF_MEMORY. Thread: see tsr_identity_hash(). */
tsr_status identities_hash(tsr_heap *heap, tsr_ref object, size_t bytes, uint64_t *hash,
                           tsr_error *error);

/* When it is decided where survivors slide to, before they do. World stopped. */
void identities_forward(tsr_heap *heap);

/* Takes and lets go the lock of the table around fork(). */
void identities_fork(tsr_heap *heap, os_fork_stage stage);

#endif
