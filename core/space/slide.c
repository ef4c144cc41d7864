/*
 * Who fills which destination, and when. One lock for all: a block is some microseconds of work.
 */
#include "core/space/slide.h"

#include <string.h>

#include "core/os/watch.h"

bool slide_open(slide *s, compaction *c) {
  *s = (slide){.c = c, .ready = BLOCK_NONE};
  if (!os_mutex_create(&s->lock)) return false;
  if (os_condition_create(&s->changed)) return true;
  os_mutex_destroy(&s->lock);
  return false;
}

void slide_close(slide *s) {
  os_condition_destroy(&s->changed);
  os_mutex_destroy(&s->lock);
}

/* ---- sources and readers ---------------------------------------------------------------------- */

static bool slide_reads_itself(const move_block *m, uint32_t index) {
  return m->first_destination == index || m->second_destination == index;
}

/* Whether a destination's place may be written: nobody but itself still reads it. */
static bool slide_is_free(const move_block *m, uint32_t index) {
  uint32_t own = m->state == SLIDE_BLOCKED && slide_reads_itself(m, index);
  return m->readers == own;
}

/* Under the lock. */
static void slide_push_ready(slide *s, uint32_t index) {
  move_block *m = compaction_block(s->c, index);
  m->next_ready = s->ready;
  s->ready = index;
  os_condition_wake_all(&s->changed);
}

/* A destination has been put together: its sources have one reader less. Under the lock. */
static void slide_release_sources(slide *s, uint32_t index) {
  for (uint32_t i = compaction_block(s->c, index)->first_source; i != BLOCK_NONE;
       i = compaction_next_source(s->c, i, index)) {
    move_block *m = compaction_block(s->c, i);
    m->readers--;
    bool waits = m->first_source != BLOCK_NONE && i != index && m->state != SLIDE_TAKEN;
    if (waits && slide_is_free(m, i)) slide_push_ready(s, i);
  }
}

static void slide_fill(const slide *s, uint32_t index, char *content) {
  for (uint32_t i = compaction_block(s->c, index)->first_source; i != BLOCK_NONE;
       i = compaction_next_source(s->c, i, index))
    compaction_copy(s->c, i, index, content);
}

/* ---- a destination's three ways ------------------------------------------------------------------ */

/* What lies free there is forbidden until now. */
static char *slide_place(const slide *s, uint32_t index) {
  uintptr_t start = block_map_start(&s->c->heap->blocks, index);
  os_memory_allow(start, start + BLOCK_BYTES);
  return (char *)start;
}

static char *slide_shadow(const slide *s, const move_block *m) {
  return s->shadows + (size_t)m->shadow * BLOCK_BYTES;
}

/* Each is called under the lock, and lets it go while it moves memory. */

static void slide_fill_in_place(slide *s, uint32_t index) {
  compaction_block(s->c, index)->state = SLIDE_TAKEN;
  os_mutex_unlock(&s->lock);
  slide_fill(s, index, slide_place(s, index));
  os_mutex_lock(&s->lock);
  slide_release_sources(s, index);
}

static void slide_install(slide *s, uint32_t index) {
  move_block *m = compaction_block(s->c, index);
  m->state = SLIDE_TAKEN;
  os_mutex_unlock(&s->lock);
  memcpy(slide_place(s, index), slide_shadow(s, m), (size_t)m->filled * TSR_GRANULE);
  os_mutex_lock(&s->lock);
  s->shadows_free |= (uint64_t)1 << m->shadow;
  m->shadow = BLOCK_NONE;
}

static void slide_fill_shadow(slide *s, uint32_t index) {
  move_block *m = compaction_block(s->c, index);
  m->shadow = (uint32_t)__builtin_ctzll(s->shadows_free);
  s->shadows_free &= s->shadows_free - 1;
  s->shadowed++;
  m->state = SLIDE_TAKEN;
  os_mutex_unlock(&s->lock);
  slide_fill(s, index, slide_shadow(s, m));
  os_mutex_lock(&s->lock);
  slide_release_sources(s, index);
  m->state = SLIDE_SHADOWED;
  if (slide_is_free(m, index)) slide_push_ready(s, index);
}

/* ---- the work ------------------------------------------------------------------------------------- */

/* A blocked destination, for a shadow block that is free; BLOCK_NONE. Under the lock. */
static uint32_t slide_find_candidate(slide *s) {
  if (s->shadows_free == 0) return BLOCK_NONE;
  uint32_t extent = block_map_extent(&s->c->heap->blocks);
  for (; s->candidate < extent; s->candidate++) {
    if (!compaction_moves(s->c->heap, s->candidate)) continue;
    const move_block *m = compaction_block(s->c, s->candidate);
    if (m->first_source != BLOCK_NONE && m->state == SLIDE_BLOCKED) return s->candidate++;
  }
  return BLOCK_NONE;
}

/* Under the lock. */
static void slide_finish(slide *s, uint32_t index) {
  os_mutex_unlock(&s->lock);
  compaction_finish_block(s->c, index);
  os_mutex_lock(&s->lock);
  if (--s->left == 0) os_condition_wake_all(&s->changed);
}

/* Does the next piece of work, if there is any. Under the lock. */
static bool slide_step(slide *s) {
  uint32_t index = s->ready;
  if (index != BLOCK_NONE) {
    const move_block *m = compaction_block(s->c, index);
    s->ready = m->next_ready;
    if (m->shadow != BLOCK_NONE) {
      slide_install(s, index);
    } else {
      slide_fill_in_place(s, index);
    }
    slide_finish(s, index);
    return true;
  }
  index = slide_find_candidate(s);
  if (index == BLOCK_NONE) return false;
  slide_fill_shadow(s, index);
  return true;
}

void slide_begin(slide *s, char *memory, size_t bytes, uint32_t threads) {
  uintptr_t skip = (uintptr_t) - (uintptr_t)memory & (TSR_GRANULE - 1);
  uint32_t fit = (uint32_t)((bytes - skip) / BLOCK_BYTES);
  uint32_t useful = threads > 1 ? 4 * threads : 0;
  uint32_t count = fit < useful ? fit : useful;
  if (count > SLIDE_SHADOWS_MOST) count = SLIDE_SHADOWS_MOST;
  s->shadows = memory + skip;
  s->shadow_count = count;
  s->shadows_free = count == 0 ? 0 : UINT64_MAX >> (64 - count);
  s->ready = BLOCK_NONE;
  s->candidate = 0;
  s->shadowed = 0;
  s->left = s->c->destinations;
  /* From the top down, so that the lowest is the first of the list. */
  for (uint32_t i = block_map_extent(&s->c->heap->blocks); i-- > 0;) {
    if (!compaction_moves(s->c->heap, i)) continue;
    move_block *m = compaction_block(s->c, i);
    if (m->first_source == BLOCK_NONE || !slide_is_free(m, i)) continue;
    m->next_ready = s->ready;
    s->ready = i;
  }
}

void slide_work(slide *s) {
  os_mutex_lock(&s->lock);
  while (s->left > 0) {
    if (!slide_step(s)) os_condition_wait(&s->changed, &s->lock);
  }
  os_mutex_unlock(&s->lock);
}
