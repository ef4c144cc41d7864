/*
 * The part of a mutator that the VM does not see.
 */
#ifndef CORE_ALLOC_MUTATOR_H
#define CORE_ALLOC_MUTATOR_H

#include <tessera/mutator.h>

#include "core/os/atomic.h"

/* What a mutator is doing, for the safepoint protocol. */
enum mutator_state {
  MUTATOR_MANAGED = 0, /* may touch the heap; a collection waits for it */
  MUTATOR_NATIVE,      /* in native code: may not touch the heap */
  MUTATOR_STOPPED      /* parked in the library until the collection is over */
};

/* A piece of a mutator's handle slots; pieces never move. */
struct local_chunk;

struct tsr_mutator_private {
  tsr_mutator *mutator;
  struct tsr_mutator_private *next; /* list of the heap's mutators, under the collector's lock */
  os_atomic_word state;      /* enum mutator_state: written by the mutator's thread by exchange or
                                       under the collector's lock; read by the collecting thread */
  bool owned;                /* Tessera allocated the tsr_mutator too */
  tsr_bump_pointer **cached; /* pairs that the VM registered; owned by the mutator's thread, and
                                       by the collecting thread in a pause */
  uint32_t cached_count, cached_capacity;
  struct local_chunk *locals; /* first chunk; core/trace */
  uint64_t stress_bytes;      /* allocated since the last collection that stress asked for */
};

/* TSR_BUSY where the mutator is in native code and so may not do `what`. */
tsr_status mutator_check_managed(const tsr_mutator *mutator, const char *what, tsr_error *error);

#endif
