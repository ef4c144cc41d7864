/*
 * A list of blocks that are filled from the bottom. Mutators take buffers from the current block, each
 * in turn, until it is full.
 *
 * Everything below a block's top was handed out and can be walked; everything above was never
 * touched by this use of the block.
 */
#ifndef CORE_SPACE_BUMP_BLOCKS_H
#define CORE_SPACE_BUMP_BLOCKS_H

#include "core/heap/heap.h"

/* A piece of a block, given to one mutator: zeroed, free. */
typedef struct bump_buffer {
  uintptr_t start, end;
} bump_buffer;

/* Counts what a mutator is given. Before it is zeroed: on x86-64 an atomic addition waits until every store
   before it has left the processor. */
static inline void bump_buffer_count(tsr_heap *heap, bump_buffer given) {
  os_atomic_add_full(&heap->bytes_allocated, given.end - given.start);
}

typedef struct bump_blocks {
  tsr_heap *heap;
  enum block_space space; /* what the byte table says of these blocks */
  os_mutex lock;  /* guards what follows; the collector needs it not, the world is stopped */
  uint32_t first; /* list of blocks, newest first */
  os_atomic_word
      count;        /* of blocks; written under the lock, read by any thread that sizes the heap */
  uint32_t current; /* the block that buffers are taken from, or BLOCK_NONE */
} bump_blocks;

bool bump_blocks_open(bump_blocks *blocks, tsr_heap *heap, enum block_space space);
void bump_blocks_close(bump_blocks *blocks);

/* Acquires a block and puts it at the head of the list. BLOCK_NONE: there is none to be had. */
uint32_t bump_blocks_add(bump_blocks *blocks, memory_allowance allowance);
/* Takes a block over from another list. World stopped. */
void bump_blocks_adopt(bump_blocks *blocks, uint32_t index);
/* Empties the list, whose blocks now belong to somebody else. World stopped. */
void bump_blocks_reset(bump_blocks *blocks, enum block_space space);

static inline size_t bump_blocks_count(const bump_blocks *blocks) {
  return os_atomic_load(&blocks->count);
}

/*
 * Takes a buffer of `preferred` bytes, at least `least`, for a mutator. A new block is only taken
 * when the heap admits it without a collection, or may pass its maximum. False: it does not, or no
 * block can be had.
 */
bool bump_blocks_take(bump_blocks *blocks, size_t least, size_t preferred,
                      memory_allowance allowance, bump_buffer *taken);

/* Gives back a buffer that is a whole block and that nobody has used. */
void bump_blocks_give_back(bump_blocks *blocks, bump_buffer unused);

/* The object of a block that an address leads into, found by a walk from the block's beginning; NULL: none. World
   stopped. */
tsr_ref bump_blocks_object_of(const tsr_heap *heap, uint32_t index, uintptr_t address);

/* Calls back for every object below the tops. World stopped. */
void bump_blocks_enumerate(const bump_blocks *blocks, tsr_object_callback callback, void *context);

#endif
