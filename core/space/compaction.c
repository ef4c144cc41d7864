/*
 * Compaction: live words, destinations, and the bits afterwards. The slide itself is in slide.c.
 */
#include "core/space/compaction.h"

#include <string.h>

#include "core/object/walk.h"
#include "core/space/spaces.h"

/* A block belongs to the dense beginning while so small a share of it is free. */
#define DENSE_FREE_GRANULES (BLOCK_GRANULES / 16)

bool compaction_open(compaction *c, tsr_heap *heap) {
  *c = (compaction){.heap = heap};
  if (!heap->plan->movable_arena) return true;
  return memory_table_create(&c->table, &heap->account, MEMORY_BLOCK_TABLES, "compaction table",
                             (size_t)heap->blocks.block_count * sizeof(move_block));
}

void compaction_close(compaction *c) {
  if (c->heap->plan->movable_arena) memory_table_destroy(&c->table);
}

bool compaction_cover(compaction *c, uint32_t index, memory_allowance allowance) {
  return memory_table_extend(&c->table, ((size_t)index + 1) * sizeof(move_block), allowance);
}

void compaction_cut(compaction *c) {
  if (!c->heap->plan->movable_arena) return;
  memory_table_cut(&c->table, block_map_extent(&c->heap->blocks) * sizeof(move_block));
}

/* ---- measuring -------------------------------------------------------------------------------- */

static void live_words_set(uint64_t *words, uint32_t first, uint32_t end) {
  uint32_t word = first / 64, last = (end - 1) / 64;
  uint64_t from = UINT64_MAX << (first % 64), to = UINT64_MAX >> (63 - (end - 1) % 64);
  if (word == last) {
    words[word] |= from & to;
    return;
  }
  words[word] |= from;
  while (++word < last)
    words[word] = UINT64_MAX;
  words[last] |= to;
}

/* Sets the live words of every object that was reached. Whether a slide keeps their alignment. */
static bool live_words_collect(const tsr_heap *heap, uint32_t index, uint64_t *live) {
  const uint64_t *marks = object_bits_of(heap->bits.marks, index);
  uintptr_t start = block_map_start(&heap->blocks, index);
  bool slides = true;
  for (uint32_t word = 0; word < BLOCK_BIT_WORDS; word++) {
    for (uint64_t bits = marks[word]; bits != 0; bits &= bits - 1) {
      uint32_t granule = word * 64 + (uint32_t)__builtin_ctzll(bits);
      tsr_ref object = (tsr_ref)(start + (uintptr_t)granule * TSR_GRANULE);
      size_t bytes;
      const layout *l = object_walk_layout(heap, object, &bytes);
      uint32_t granules = (uint32_t)(bytes / TSR_GRANULE);
      HEAP_ALWAYS_CHECK(heap, granules <= BLOCK_GRANULES - granule, object,
                        "a reachable object's size runs past its block: its length was "
                        "overwritten, or the reference does not point to an object");
      slides &= l->align <= heap->object_align;
      live_words_set(live, granule, granule + granules);
    }
  }
  return slides;
}

/* With starts, what is marked besides objects is free runs. */
static void marks_keep_objects(const tsr_heap *heap, uint32_t index) {
  const uint64_t *starts = object_bits_of(heap->bits.starts, index);
  uint64_t *marks = object_bits_of(heap->bits.marks, index);
  for (uint32_t i = 0; i < BLOCK_BIT_WORDS; i++)
    marks[i] &= starts[i];
}

static bool marks_are_clear(const tsr_heap *heap, uint32_t index) {
  const uint64_t *marks = object_bits_of(heap->bits.marks, index);
  uint64_t any = 0;
  for (uint32_t i = 0; i < BLOCK_BIT_WORDS; i++)
    any |= marks[i];
  return any == 0;
}

void compaction_measure(compaction *c, uint32_t index) {
  const tsr_heap *heap = c->heap;
  move_block *m = compaction_block(c, index);
  if (heap->spaces->arenas[ARENA_MOVABLE].has_starts) marks_keep_objects(heap, index);
  m->live = 0;
  if (marks_are_clear(heap, index)) return;
  uint64_t live[BLOCK_BIT_WORDS] = {0};
  bool slides = live_words_collect(heap, index, live);
  block *b = block_map_at(&heap->blocks, index);
  if (!slides) b->flags |= BLOCK_PLACED;
  uint32_t count = 0;
  for (uint32_t i = 0; i < BLOCK_BIT_WORDS; i++) {
    m->before[i] = (uint16_t)count;
    count += compaction_count_bits(live[i]);
  }
  m->live = (uint16_t)count;
  memcpy(object_bits_of(heap->bits.starts, index), live, sizeof live);
}

/* ---- placing ------------------------------------------------------------------------------------ */

/* The next destination and how far it will be filled. */
typedef struct placing {
  compaction *c;
  uint32_t destination; /* BLOCK_NONE: none yet */
  uint32_t filled;
} placing;

static uint32_t next_moving_block(const compaction *c, uint32_t from) {
  while (from < block_map_extent(&c->heap->blocks) && !compaction_moves(c->heap, from))
    from++;
  return from;
}

/* The granule of a block before which the most objects lie that fit `room` granules together. */
static uint32_t split_for(const compaction *c, uint32_t index, uint32_t room) {
  const uint64_t *marks = object_bits_of(c->heap->bits.marks, index);
  const move_block *m = compaction_block(c, index);
  uint32_t word = BLOCK_BIT_WORDS - 1;
  /* From the last word whose beginning fits back to the last object whose beginning does. */
  while (m->before[word] > room)
    word--;
  for (;; word--) {
    for (uint64_t bits = marks[word]; bits != 0;) {
      uint32_t bit = 63 - (uint32_t)__builtin_clzll(bits);
      uint32_t granule = word * 64 + bit;
      if (compaction_live_before(c, index, granule) <= room) return granule;
      bits &= ~((uint64_t)1 << bit);
    }
  }
}

/* Sends the next part of a source, `granules` of it, to the destination. Returns where that begins. */
static uintptr_t placing_send(placing *p, uint32_t source, uint32_t granules) {
  const block_map *map = &p->c->heap->blocks;
  move_block *d = compaction_block(p->c, p->destination);
  if (d->first_source == BLOCK_NONE) {
    d->first_source = source;
    p->c->destinations++;
  }
  uintptr_t target = block_map_start(map, p->destination) + (uintptr_t)p->filled * TSR_GRANULE;
  p->filled += granules;
  d->filled = (uint16_t)p->filled;
  compaction_block(p->c, source)->readers++;
  return target;
}

static void placing_next(placing *p) {
  p->destination = next_moving_block(p->c, p->destination == BLOCK_NONE ? 0 : p->destination + 1);
  p->filled = 0;
}

static void place_block(placing *p, uint32_t source) {
  move_block *m = compaction_block(p->c, source);
  if (m->live == 0) return;
  if (p->destination == BLOCK_NONE) placing_next(p);
  uint32_t room = BLOCK_GRANULES - p->filled;
  uint32_t split = m->live <= room ? BLOCK_GRANULES : split_for(p->c, source, room);
  uint32_t first_part =
      split == BLOCK_GRANULES ? m->live : compaction_live_before(p->c, source, split);
  m->split = (uint16_t)split;
  if (first_part > 0) {
    m->first_destination = p->destination;
    m->first_target = placing_send(p, source, first_part);
  }
  if (first_part < m->live) {
    placing_next(p);
    m->second_destination = p->destination;
    m->second_target =
        placing_send(p, source, m->live - first_part) - (uintptr_t)first_part * TSR_GRANULE;
  }
}

static void place_reset(move_block *m) {
  m->first_destination = m->second_destination = BLOCK_NONE;
  m->first_source = BLOCK_NONE;
  m->next_ready = BLOCK_NONE;
  m->filled = 0;
  m->readers = 0;
  m->state = 0;
  m->shadow = BLOCK_NONE;
}

size_t compaction_place(compaction *c, bool fully) {
  const block_map *map = &c->heap->blocks;
  uint32_t extent = block_map_extent(map);
  size_t live_granules = 0;
  bool dense = !fully;
  c->destinations = 0;
  for (uint32_t i = 0; i < extent; i++) {
    if (block_map_space(map, i) != BLOCK_MOVABLE) continue;
    move_block *m = compaction_block(c, i);
    place_reset(m);
    live_granules += m->live;
    dense &= BLOCK_GRANULES - m->live <= DENSE_FREE_GRANULES;
    if (dense) block_map_at(map, i)->flags |= BLOCK_PLACED;
  }
  placing p = {.c = c, .destination = BLOCK_NONE};
  for (uint32_t i = next_moving_block(c, 0); i < extent; i = next_moving_block(c, i + 1))
    place_block(&p, i);
  return live_granules * TSR_GRANULE;
}

/* ---- moving ---------------------------------------------------------------------------------------- */

/* The granules of a source that go to a destination: [first, end). */
static bool part_for(const move_block *m, uint32_t index, uint32_t *first, uint32_t *end) {
  bool is_first = m->first_destination == index, is_second = m->second_destination == index;
  *first = is_first ? 0 : m->split;
  *end = is_second ? BLOCK_GRANULES : m->split;
  return is_first || is_second;
}

/* The first granule from `from` on whose bit is `set`, at most `end`. */
static uint32_t live_next(const uint64_t *live, uint32_t from, uint32_t end, bool set) {
  while (from < end) {
    uint64_t bits = (set ? live[from / 64] : ~live[from / 64]) >> (from % 64);
    if (bits != 0) {
      from += (uint32_t)__builtin_ctzll(bits);
      return from < end ? from : end;
    }
    from = (from / 64 + 1) * 64;
  }
  return end;
}

/* Downwards, also where the two overlap. */
static void move_words(char *target, const char *source, size_t bytes) {
  if (bytes > 256) {
    memmove(target, source, bytes);
    return;
  }
  tsr_slot *to = (tsr_slot *)(void *)target;
  const tsr_slot *from = (const tsr_slot *)(const void *)source;
  for (size_t i = 0; i < bytes / TSR_GRANULE; i++)
    to[i].word = from[i].word;
}

void compaction_copy(const compaction *c, uint32_t source, uint32_t index, char *content) {
  const block_map *map = &c->heap->blocks;
  const move_block *m = compaction_block(c, source);
  const uint64_t *live = object_bits_of(c->heap->bits.starts, source);
  const char *from = (const char *)block_map_start(map, source);
  uint32_t first, end;
  if (!part_for(m, index, &first, &end)) return;
  /* The second part begins its destination. */
  size_t offset = m->first_destination == index ? m->first_target - block_map_start(map, index) : 0;
  for (uint32_t at = live_next(live, first, end, true); at < end;) {
    uint32_t behind = live_next(live, at, end, false);
    size_t bytes = (size_t)(behind - at) * TSR_GRANULE;
    move_words(content + offset, from + (size_t)at * TSR_GRANULE, bytes);
    offset += bytes;
    at = live_next(live, behind, end, true);
  }
}

uint32_t compaction_next_source(const compaction *c, uint32_t source, uint32_t index) {
  uint32_t extent = block_map_extent(&c->heap->blocks);
  for (source = next_moving_block(c, source + 1); source < extent;
       source = next_moving_block(c, source + 1)) {
    const move_block *m = compaction_block(c, source);
    if (m->live == 0) continue;
    return m->first_destination == index || m->second_destination == index ? source : BLOCK_NONE;
  }
  return BLOCK_NONE;
}

/* ---- the bits afterwards --------------------------------------------------------------------------- */

void compaction_finish_block(const compaction *c, uint32_t index) {
  const tsr_heap *heap = c->heap;
  uint32_t filled = compaction_block(c, index)->filled;
  uint64_t *starts = object_bits_of(heap->bits.starts, index);
  uint64_t *marks = object_bits_of(heap->bits.marks, index);
  memset(starts, 0, BLOCK_BIT_WORDS * sizeof *starts);
  memset(marks, 0, BLOCK_BIT_WORDS * sizeof *marks);
  uintptr_t start = block_map_start(&heap->blocks, index);
  uintptr_t end = start + (uintptr_t)filled * TSR_GRANULE;
  for (uintptr_t at = start; at < end;) {
    object_bit_set(starts, (at - start) / TSR_GRANULE);
    at += object_walk_bytes(heap, (tsr_ref)at);
  }
  if (filled < BLOCK_GRANULES) object_bit_set(marks, filled);
}

/* A block whose objects stayed: its marks become its starts, and the gaps between live words free runs. */
static void placed_bits(const tsr_heap *heap, uint32_t index) {
  uint64_t *starts = object_bits_of(heap->bits.starts, index);
  uint64_t *marks = object_bits_of(heap->bits.marks, index);
  uint64_t last_live = 1; /* a free run begins where what is before it is not free */
  for (uint32_t i = 0; i < BLOCK_BIT_WORDS; i++) {
    uint64_t live = starts[i];
    starts[i] = marks[i];
    marks[i] = ~live & (live << 1 | last_live);
    last_live = live >> 63;
  }
}

void compaction_finish(compaction *c) {
  tsr_heap *heap = c->heap;
  arena *a = &heap->spaces->arenas[ARENA_MOVABLE];
  arena_begin_relist(a);
  /* The lowest blocks come first in the list, and in the lists of free runs. */
  for (uint32_t i = block_map_extent(&heap->blocks); i-- > 0;) {
    if (block_map_space(&heap->blocks, i) != BLOCK_MOVABLE) continue;
    const move_block *m = compaction_block(c, i);
    bool placed = (block_map_at(&heap->blocks, i)->flags & BLOCK_PLACED) != 0;
    if (placed && m->live > 0) placed_bits(heap, i);
    arena_relist(a, i, placed ? m->live > 0 : m->first_source != BLOCK_NONE);
  }
}
