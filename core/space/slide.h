/*
 * The slide: fills every destination of a compaction, by one thread or several.
 *
 * A block can be filled in its place once every other destination that takes something out of it has done
 * so. With a hole at the bottom of the heap that makes a chain: each waits for the one before. So a thread
 * that finds no such block puts the content of a blocked one together in a *shadow* block, elsewhere, which
 * frees its sources, and is copied into place later (as HotSpot's parallel compaction does). The
 * lowest block that is not finished can always be filled, so it works without shadow blocks too.
 *
 * Where what goes is decided before, so the result does not depend on who moves it.
 */
#ifndef CORE_SPACE_SLIDE_H
#define CORE_SPACE_SLIDE_H

#include "core/os/thread.h"
#include "core/space/compaction.h"

#define SLIDE_SHADOWS_MOST 64u

/* Of a destination. */
enum slide_state {
  SLIDE_BLOCKED = 0, /* waits for others to read it, or is in the list of those that are ready */
  SLIDE_TAKEN,       /* somebody fills it, or its shadow */
  SLIDE_SHADOWED     /* its content is in a shadow block */
};

typedef struct slide {
  compaction *c;
  char *shadows; /* memory of shadow blocks */
  uint32_t shadow_count;

  os_mutex
      lock; /* guards what follows, and `readers`, `state`, `next_ready` and `shadow` of the blocks */
  os_condition changed;
  uint32_t ready;        /* list of destinations that can be filled, or installed */
  uint32_t candidate;    /* no destination below it could still get a shadow */
  uint32_t left;         /* destinations that are not finished */
  uint64_t shadows_free; /* a bit for each */
  uint32_t shadowed;     /* blocks that went by a shadow, for figures */
} slide;

/* False: the system has no lock. */
bool slide_open(slide *s, compaction *c);
void slide_close(slide *s);

/* Before the threads start. `memory` is for shadow blocks, as many as fit and are useful to so many threads. */
void slide_begin(slide *s, char *memory, size_t bytes, uint32_t threads);
/* One thread's part; returns when all destinations are finished. */
void slide_work(slide *s);

#endif
