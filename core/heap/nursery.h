/*
 * The nursery: how much is allocated between two collections of the young generation.
 *
 * Such a collection takes time for what survives of what was allocated since the last one, and for what was stored into old
 * objects meanwhile. Both grow with the nursery. So its size is what a collection gets through within a few pause
 * goals, as fast as the last ones were, between two bounds, of which the upper one is a share of the processor's cache.
 * What the roots take is the same however small the nursery is. Where they take longer than that, the rest may take as long
 * as they [design: nursery-size].
 *
 * What survives is to survive another collection before it is promoted, for much of it is dead by then. Where nearly all that
 * is young survives, it is promoted at once, and copied once instead of twice [design: ageing]. Where that goes on, the nursery
 * *rests*: what is new is born old, until a cycle of marking has ended. Then a small nursery is tried again
 * [design: resting-nursery].
 */
#ifndef CORE_HEAP_NURSERY_H
#define CORE_HEAP_NURSERY_H

#include "core/heap/sizing.h"

typedef struct nursery {
  size_t most_bytes; /* fixed */
  /* Of the collecting thread. */
  sizing_rate rate;      /* of bytes allocated, and what minor collections took but for the roots */
  double roots_s;        /* for which a collection took these, smoothed */
  bool promotes_at_once; /* what survives its first collection is promoted */
  uint32_t useless;      /* so many collections in a row have found nearly nothing dead, */
  uint32_t patience;     /* and so many have to before it rests; 0: as at first */
  bool tried;            /* no collection has told yet what it is good for since it rested */
  uint32_t stressed;     /* with stress: collections since it rested last */
  /* Set in a pause, read by any thread. */
  os_atomic_word goal_bytes;  /* what would do for the pause goal; 0: not known yet */
  os_atomic_word left_blocks; /* of the young generation, that the last collection has left */
  os_atomic_word
      large_bytes;      /* of young large objects, that are worth another visit to the roots */
  os_atomic_word rests; /* how often it began to rest */
} nursery;

/* The most that a nursery has, for a cache of that size; 0: it is not known. */
size_t nursery_most_bytes(size_t cache_bytes);

void nursery_open(tsr_heap *heap);

/* What can be collected in so many seconds. */
uint64_t nursery_bytes_for(double bytes_per_s, double seconds, size_t most_bytes);

/* How many blocks may be filled between two collections. Any thread. */
size_t nursery_blocks(const tsr_heap *heap);

/* The least room of a heap for a nursery whose size is given, as far as the heap's maximum allows. */
uint64_t nursery_room_bytes(const tsr_heap *heap);

/* How many blocks of young large objects there may be beside that, before a collection is due. Any thread. */
size_t nursery_large_blocks(const tsr_heap *heap);

/* Of so many blocks that the young generation has now, how many were filled since the last collection. */
size_t nursery_filled_blocks(const tsr_heap *heap, size_t young_blocks);

/* What a minor collection found. */
typedef struct nursery_sample {
  size_t blocks;              /* filled since the one before */
  size_t large_blocks;        /* of young large objects, dead or not */
  size_t survived_bytes;      /* of what was in `blocks` */
  uint64_t roots_ns, rest_ns; /* what it took for the roots, and for the rest */
} nursery_sample;

/* In its pause. */
void nursery_learn(tsr_heap *heap, const nursery_sample *sample);

/* Whether what is new may as well be born old. In a pause. */
bool nursery_may_rest(const tsr_heap *heap);
/* It rests from now on, or not any more. The same. */
void nursery_rest(tsr_heap *heap);
void nursery_wake(tsr_heap *heap);

#endif
