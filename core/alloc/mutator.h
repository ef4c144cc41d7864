/*
 * The part of a mutator that the VM does not see.
 */
#ifndef CORE_ALLOC_MUTATOR_H
#define CORE_ALLOC_MUTATOR_H

#include <tessera/fibre.h>
#include <tessera/mutator.h>
#include <tessera/reservation.h>

#include "core/heap/word_log.h"
#include "core/os/thread.h"
#include "core/space/spaces.h"

/* What a mutator is doing, for the safepoint protocol. */
enum mutator_state {
  MUTATOR_MANAGED = 0, /* may touch the heap; a collection waits for it */
  MUTATOR_NATIVE,      /* in native code: may not touch the heap */
  MUTATOR_STOPPED      /* parked in the library until the collection is over */
};

/* A piece of handle slots; pieces never move. */
struct local_chunk;

/* The handle scopes that were opened in one nest: on a thread, or on a fibre. */
typedef struct local_scopes {
  struct local_chunk *first;
  tsr_slot *cursor,
      *limit; /* the next free slot, and where its chunk ends; NULL: before the first chunk */
} local_scopes;

/* A bump pair, and what the library knows of the buffer that it stands for. */
typedef struct bump_slot {
  tsr_bump_pointer *pair;
  arena *arena;           /* that its buffer is of; NULL: the copy space */
  bool is_default;        /* it serves default placement, from wherever that is served; */
  bool is_for_leaves;     /* and this one what refers to nothing, from leaf blocks */
  bump_buffer buffer;     /* handed out last, and not retired; empty: none */
  arena_cursor cursor;    /* where the next ones come from, between old objects */
  tsr_bump_pointer aside; /* what the pair holds, while a no-allocation section is open */
} bump_slot;

struct tsr_mutator_private {
  tsr_heap *heap;
  tsr_mutator *mutator;
  struct tsr_mutator_private *next; /* list of the heap's mutators, under the collector's lock */
  os_atomic_word state; /* enum mutator_state: written by the mutator's thread by exchange or
                                       under the collector's lock; read by the collecting thread */
  os_atomic_word
      running; /* the thread that runs it: by the one that binds it or leaves native code with it */
  bool forking; /* between fork_prepare() and what ends it; owned by the mutator's thread */
  bool owned;   /* Tessera allocated the tsr_mutator too */
  os_thread_identity thread; /* that bound it; fixed, but for the child of a fork() */
  /* The four of the mutator, by placement, and those that the VM registered. All that follows is
     owned by the mutator's thread, and by the collecting thread in a pause. */
  bump_slot pairs[TSR_BUMP_POINTERS];
  /* Default placement again, of leaves that are born old. */
  bump_slot leaves;
  tsr_bump_pointer leaves_pair;
  uintptr_t
      unwalkable; /* an object that kept a buffer from being retired when pairs were revoked last; 0: none */
  bump_slot foreign; /* for the time of a call: a pair that the VM itself sees to */
  bump_slot *cached;
  uint32_t cached_count, cached_capacity;
  /* Verifying: every buffer handed out since the last collection. */
  bump_buffer *buffers;
  uint32_t buffer_count, buffer_capacity;
  bool buffers_lost;     /* there was no memory to note them all */
  bump_buffer *reserved; /* a reservation's buffers that are left; core/alloc/reservation.h */
  size_t reserved_count, reserved_capacity;
  bool reserves;          /* a reservation is open */
  bool calls_back;        /* one of low_memory.h's callbacks runs: allocations do not collect */
  tsr_no_alloc *no_alloc; /* the innermost no-allocation section; NULL: none is open */
  /* core/trace: the scopes in use, whose cursor and limit are the mutator's, and those that wait for them. */
  struct local_chunk *locals;
  tsr_fibre *fibre;    /* that the scopes in use belong to; NULL: to the thread */
  local_scopes parked; /* with a fibre: the thread's */
  word_log stored;     /* objects that it has made gray, and the heap's log has not taken over */
  word_log ahead;      /* what it has stored behind a forward barrier; the same */
  size_t ahead_count;  /* how much */
  os_atomic_word slow_stores; /* that it had noted, */
  os_atomic_word noted_slots; /* and slots of large arrays: by its thread; read by any */
  uint64_t stress_bytes;      /* allocated since the last collection that stress asked for */
  size_t claim_blocks;        /* that the allocation needs which collects, where its object stays */
};

/* The calling thread runs the mutator from here on. */
void mutator_take_over(struct tsr_mutator_private *own);
/* Under the verifier: aborts where another thread runs the mutator. */
void mutator_check_thread(const tsr_mutator *mutator, const char *what);

/* TSR_BUSY where the mutator is in native code and so may not do `what`. */
tsr_status mutator_check_managed_slow(const tsr_mutator *mutator, const char *what,
                                      tsr_error *error);
static inline tsr_status mutator_check_managed(const tsr_mutator *mutator, const char *what,
                                               tsr_error *error) {
  const struct tsr_mutator_private *own = mutator->private_part;
  bool plain = os_atomic_load(&own->state) == MUTATOR_MANAGED && !own->heap->verifies;
  return TSR_LIKELY(plain) ? TSR_OK : mutator_check_managed_slow(mutator, what, error);
}
/* The same for what may be a safepoint: TSR_BUSY in a no-allocation section too. */
tsr_status mutator_check_stoppable(const tsr_mutator *mutator, const char *what, tsr_error *error);

/* ---- no-allocation sections -------------------------------------------------------------------- */

void no_alloc_begin(tsr_mutator *mutator, tsr_no_alloc *section);
tsr_status no_alloc_end(tsr_mutator *mutator, const tsr_no_alloc *section, tsr_error *error);
/* Fatal where a section is open; `what` is what was done in it. */
void no_alloc_check(const tsr_mutator *mutator, const char *what);

#endif
