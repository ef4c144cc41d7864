/*
 * Compaction of the movable arena: survivors slide down in address order, and keep their order.
 *
 * After the trace the start bits of each block are rewritten as the bitmap of live words. With how many live
 * words lie before each word of that bitmap, and where the block's first one goes, the new address of any
 * object is a sum; no header takes part (after H. Abuaiadh et al., An Efficient Parallel Heap
 * Compaction Algorithm, 2004, and H. Kermany and E. Petrank, The Compressor, 2006). No object lies across the
 * end of a block, before or after, so a block's survivors go to at most two blocks: those before the *split*
 * fill up one, the others begin the next. Destinations are blocks of the same arena in the same order, so they
 * lie at or below their sources.
 *
 * Some blocks are *placed*: their objects stay. Those that hold a pinned object, or one with an alignment that
 * a slide does not keep, and a dense beginning of the heap, where moving all would free little.
 *
 * The order of calls: prepare; measure each block; place; forward any reference; slide (core/space/slide.h);
 * finish. World stopped.
 */
#ifndef CORE_SPACE_COMPACTION_H
#define CORE_SPACE_COMPACTION_H

#include "core/space/arena.h"

/* What compaction knows of one block of the movable arena. */
typedef struct move_block {
  /* As a source. An object goes to a target plus all live bytes of the block before it. */
  uintptr_t first_target, second_target;
  uint32_t first_destination, second_destination; /* BLOCK_NONE: nothing goes there */
  uint16_t split;                   /* granule from which on the second target holds */
  uint16_t live;                    /* live granules */
  uint16_t before[BLOCK_BIT_WORDS]; /* live granules before each word of the bitmap */
  /* As a destination. */
  uint32_t first_source; /* BLOCK_NONE: it is none */
  uint32_t next_ready;   /* list of those that can be filled, or BLOCK_NONE */
  uint16_t filled;       /* granules that will be filled */
  uint8_t readers;       /* destinations that have not yet read it as a source */
  uint8_t state;         /* core/space/slide.c */
  uint32_t shadow;       /* number of the shadow block that holds its content, or BLOCK_NONE */
} move_block;

typedef struct compaction {
  tsr_heap *heap;
  memory_table
      table; /* a move_block for each block of the heap's extent; empty in plans without movable arena */
  uint32_t destinations; /* blocks to fill */
  size_t live_bytes;     /* of the last trace */
} compaction;

bool compaction_open(compaction *c, tsr_heap *heap);
void compaction_close(compaction *c);

/* Makes room for what is known of a block. Under the heap's admission lock. False: no memory. */
bool compaction_cover(compaction *c, uint32_t index, memory_allowance allowance);
/* Gives back what is known of blocks beyond the heap's extent. */
void compaction_cut(compaction *c);

static inline move_block *compaction_block(const compaction *c, uint32_t index) {
  return &((move_block *)(void *)c->table.base)[index];
}

/* Whether compaction may move the objects of a block. */
static inline bool compaction_moves(const tsr_heap *heap, uint32_t index) {
  return block_map_space(&heap->blocks, index) == BLOCK_MOVABLE &&
         (block_map_at(&heap->blocks, index)->flags & BLOCK_PLACED) == 0;
}

/* Rewrites the start bits of a movable block as live words, and counts them. Any worker. */
void compaction_measure(compaction *c, uint32_t index);
/* Decides where everything goes. `fully`: also out of a dense beginning. Returns the live bytes. */
size_t compaction_place(compaction *c, bool fully);

static inline uint32_t compaction_count_bits(uint64_t word) {
  word -= (word >> 1) & 0x5555555555555555u;
  word = (word & 0x3333333333333333u) + ((word >> 2) & 0x3333333333333333u);
  return (uint32_t)((((word + (word >> 4)) & 0x0f0f0f0f0f0f0f0fu) * 0x0101010101010101u) >> 56);
}

/* Live granules of a block before one. */
static inline uint32_t compaction_live_before(const compaction *c, uint32_t index,
                                              uint32_t granule) {
  uint32_t word = granule / 64;
  uint64_t below = ((uint64_t)1 << (granule % 64)) - 1;
  uint64_t live = object_bits_of(c->heap->bits.starts, index)[word];
  return compaction_block(c, index)->before[word] + compaction_count_bits(live & below);
}

/* Where a live object of the movable arena will be. */
static inline uintptr_t compaction_forward(const compaction *c, uintptr_t address) {
  const tsr_heap *heap = c->heap;
  uint32_t index = block_map_index(&heap->blocks, address);
  if ((block_map_at(&heap->blocks, index)->flags & BLOCK_PLACED) != 0) return address;
  const move_block *m = compaction_block(c, index);
  uint32_t granule = (uint32_t)(address & (BLOCK_BYTES - 1)) / TSR_GRANULE;
  uintptr_t target = granule < m->split ? m->first_target : m->second_target;
  return target + (uintptr_t)compaction_live_before(c, index, granule) * TSR_GRANULE;
}

/* Copies the live words of a source that go to destination `index`, to where that block's content is being put
   together: in its place or in a shadow block. */
void compaction_copy(const compaction *c, uint32_t source, uint32_t index, char *content);
/* The next source after `source` that has something for the destination; BLOCK_NONE: none. */
uint32_t compaction_next_source(const compaction *c, uint32_t source, uint32_t index);
/* A destination has its content: sets its bits. No other block reads it any more. */
void compaction_finish_block(const compaction *c, uint32_t index);

/* After the slide: blocks that are empty are released, the others filed. */
void compaction_finish(compaction *c);

#endif
