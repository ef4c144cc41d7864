/*
 * The nursery: how much is allocated between two collections of the young generation.
 *
 * Such a collection takes time for what survives of what was allocated since the last one, and for what was stored into old
 * objects meanwhile. Both grow with the nursery. So its size is what a collection gets through within a few pause
 * goals, as fast as the last ones were, between two bounds. What the roots take is the same however small the nursery is. Where
 * they take longer than that, the rest may take as long as they [design: nursery-size].
 *
 * What survives is to survive another collection before it is promoted, for much of it is dead by then. Where nearly all that
 * is young survives, it is promoted at once, and copied once instead of twice [design: ageing].
 */
#ifndef CORE_HEAP_NURSERY_H
#define CORE_HEAP_NURSERY_H

#include "core/heap/sizing.h"

typedef struct nursery {
  /* Of the collecting thread. */
  sizing_rate rate;      /* of bytes allocated, and what minor collections took but for the roots */
  double roots_s;        /* for which a collection took these, smoothed */
  bool promotes_at_once; /* what survives its first collection is promoted */
  /* Set in a pause, read by any thread. */
  os_atomic_word goal_bytes;  /* what would do for the pause goal; 0: not known yet */
  os_atomic_word left_blocks; /* of the young generation, that the last collection has left */
  os_atomic_word
      large_bytes; /* of young large objects, that are worth another visit to the roots */
} nursery;

/* What can be collected in so many seconds. */
uint64_t nursery_bytes_for(double bytes_per_s, double seconds);

/* How many blocks may be filled between two collections. Any thread. */
size_t nursery_blocks(const tsr_heap *heap);

/* How many blocks of young large objects there may be beside that, before a collection is due. Any thread. */
size_t nursery_large_blocks(const tsr_heap *heap);

/* Of so many blocks that the young generation has now, how many were filled since the last collection. */
size_t nursery_filled_blocks(const tsr_heap *heap, size_t young_blocks);

/* A minor collection after so many blocks, of which so many bytes survived, took this long, the roots and the rest. In its
   pause. */
void nursery_learn(tsr_heap *heap, size_t blocks, size_t survived_bytes, uint64_t roots_ns,
                   uint64_t rest_ns);

#endif
