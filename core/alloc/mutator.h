/*
 * The part of a mutator that the VM does not see.
 */
#ifndef CORE_ALLOC_MUTATOR_H
#define CORE_ALLOC_MUTATOR_H

#include <tessera/mutator.h>

#include "core/space/spaces.h"

/* What a mutator is doing, for the safepoint protocol. */
enum mutator_state {
  MUTATOR_MANAGED = 0, /* may touch the heap; a collection waits for it */
  MUTATOR_NATIVE,      /* in native code: may not touch the heap */
  MUTATOR_STOPPED      /* parked in the library until the collection is over */
};

/* A piece of a mutator's handle slots; pieces never move. */
struct local_chunk;

/* A bump pair, and what the library knows of the buffer that it stands for. */
typedef struct bump_slot {
  tsr_bump_pointer *pair;
  arena *arena;       /* NULL: the copy space */
  bump_buffer buffer; /* handed out last, and not retired; empty: none */
} bump_slot;

struct tsr_mutator_private {
  tsr_heap *heap;
  tsr_mutator *mutator;
  struct tsr_mutator_private *next; /* list of the heap's mutators, under the collector's lock */
  os_atomic_word state; /* enum mutator_state: written by the mutator's thread by exchange or
                                       under the collector's lock; read by the collecting thread */
  bool forking;         /* between fork_prepare() and what ends it; owned by the mutator's thread */
  bool owned;           /* Tessera allocated the tsr_mutator too */
  /* The four of the mutator, by placement, and those that the VM registered. All that follows is
     owned by the mutator's thread, and by the collecting thread in a pause. */
  bump_slot pairs[TSR_BUMP_POINTERS];
  uintptr_t
      unwalkable; /* an object that kept a buffer from being retired when pairs were revoked last; 0: none */
  bump_slot foreign; /* for the time of a call: a pair that the VM itself sees to */
  bump_slot *cached;
  uint32_t cached_count, cached_capacity;
  /* Verifying: every buffer handed out since the last collection. */
  bump_buffer *buffers;
  uint32_t buffer_count, buffer_capacity;
  bool buffers_lost;          /* there was no memory to note them all */
  struct local_chunk *locals; /* first chunk; core/trace */
  uint64_t stress_bytes;      /* allocated since the last collection that stress asked for */
};

/* TSR_BUSY where the mutator is in native code and so may not do `what`. */
tsr_status mutator_check_managed(const tsr_mutator *mutator, const char *what, tsr_error *error);

#endif
