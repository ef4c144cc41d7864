/*
 * The copy space: blocks in two roles. It serves default placement; a plan that never collects just
 * fills its blocks. Mutators fill blocks of the to-role; a collection turns
 * these into from-space, copies what is reached into fresh to-blocks, and frees the rest.
 *
 * Each collecting thread copies into buffers of its own. When no destination can be had, the object
 * *stays*: its block is kept in place, and after the trace everything in it that was not reached, or
 * was copied out before, becomes filler [design: keep-in-place]. So a collection never fails
 * for want of space.
 *
 * Cheney's idea of two roles (C. J. Cheney, A Nonrecursive List Compacting Algorithm, 1970), over blocks
 * instead of halves.
 */
#ifndef CORE_SPACE_COPY_H
#define CORE_SPACE_COPY_H

#include "core/object/header.h"
#include "core/space/bump_blocks.h"

typedef struct copy_space {
  bump_blocks to;              /* what mutators take buffers from */
  enum block_space from_space; /* what the byte table calls from-space; fixed during a collection */
  uint32_t from_first;         /* list of from-blocks, during a collection */
  bool exhausted;              /* this collection found no destination once */
} copy_space;

/* Where one collecting thread copies to: a block, filled from the bottom. */
typedef struct copy_target {
  uint32_t block; /* BLOCK_NONE: none yet */
  uintptr_t cursor, end;
} copy_target;

/*
 * A collecting thread's destinations. An object that does not fit the rest of `main` goes to
 * `overflow` while that rest is worth filling, so that a few middle-sized objects do not waste the
 * ends of many blocks.
 */
typedef struct copy_buffer {
  copy_target main, overflow;
  size_t live_bytes; /* copied or kept */
} copy_buffer;

bool copy_space_open(copy_space *space, tsr_heap *heap);
void copy_space_close(copy_space *space);

/* Phases of a collection, world stopped. */
void copy_space_prepare(copy_space *space);
void copy_space_release(copy_space *space, copy_buffer *targets);

/* Moves an object of from-space that was not reached before, or marks it as staying. Returns where it
   is now. */
tsr_ref copy_space_evacuate(copy_space *space, copy_buffer *targets, tsr_ref object);

/* Where the objects of a to-block end, also while the block is being filled. */
uintptr_t copy_space_block_end(const copy_space *space, const copy_buffer *targets, uint32_t index);

static inline size_t copy_space_blocks(const copy_space *space) {
  return bump_blocks_count(&space->to);
}

#endif
