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

#include <string.h>

#include "core/object/layout.h"
#include "core/space/bump_blocks.h"

typedef struct copy_space {
  bump_blocks to;              /* what mutators take buffers from */
  enum block_space from_space; /* what the byte table calls from-space; fixed during a collection */
  uint32_t from_first;         /* list of from-blocks, during a collection */
  uint8_t exhausted;           /* this collection found no destination once; set by any worker */
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
  size_t live_bytes; /* copied */
} copy_buffer;

bool copy_space_open(copy_space *space, tsr_heap *heap);
void copy_space_close(copy_space *space);

/* Phases of a collection, world stopped. Each thread's destinations are retired before the space is
   released; release returns the bytes of what was kept. */
void copy_space_prepare(copy_space *space);
/* Keeps the whole from-block of an address in place. Before the trace has reached anything. */
void copy_space_pin(copy_space *space, uintptr_t address);
void copy_space_retire(copy_space *space, copy_buffer *targets);
size_t copy_space_release(copy_space *space);

/* Where the objects of a to-block end, also while the block is being filled by the caller. */
uintptr_t copy_space_block_end(const copy_space *space, const copy_buffer *targets, uint32_t index);
/* Notes how far the caller has filled its blocks. */
void copy_space_flush(const copy_space *space, const copy_buffer *targets);

/* Room for a survivor of any layout, whose size comes out, or 0. */
uintptr_t copy_space_find(copy_space *space, copy_buffer *targets, tsr_ref object, uint64_t header,
                          size_t *bytes);
/* Marks an object of from-space as staying where it is. `header` is its first word, unclaimed. */
void copy_space_keep(copy_space *space, tsr_ref object, uint64_t header);

/* All but the first word. Most objects are a few words long: a loop beats a call. */
OS_ALWAYS_INLINE void copy_words(uintptr_t target, tsr_ref object, size_t bytes) {
  const tsr_slot *from = (const tsr_slot *)object;
  tsr_slot *to = (tsr_slot *)target;
  if (TSR_UNLIKELY(bytes > 128)) {
    memcpy(to + 1, from + 1, bytes - TSR_GRANULE);
    return;
  }
  for (size_t i = 1; i < bytes / TSR_GRANULE; i++)
    to[i].word = from[i].word;
}

/*
 * Moves an object of from-space that nobody reached before, or marks it as staying. Returns where it is
 * now. `header` is its first word, `bytes` what layout_trace_bytes() says. `shared`: several threads copy; the
 * caller has claimed the object, and what is stored into its first word publishes the copy.
 */
OS_ALWAYS_INLINE tsr_ref copy_space_evacuate(copy_space *space, copy_buffer *targets,
                                             tsr_ref object, uint64_t header, size_t bytes,
                                             bool shared) {
  copy_target *main = &targets->main;
  size_t to_block_end = BLOCK_BYTES - ((uintptr_t)object & (BLOCK_BYTES - 1));
  size_t room = main->end - main->cursor;
  uintptr_t target = main->cursor;
  if (TSR_LIKELY(bytes - 1 < (room < to_block_end ? room : to_block_end))) {
    main->cursor += bytes;
  } else {
    target = copy_space_find(space, targets, object, header, &bytes);
    if (TSR_UNLIKELY(target == 0)) {
      copy_space_keep(space, object, header);
      return object;
    }
  }
  targets->live_bytes += bytes;
  header_store((tsr_ref)target, header);
  copy_words(target, object, bytes);
  uint64_t word = forwarding_word(space->to.heap->blocks.base, target);
  if (shared) {
    header_store_shared(object, word);
  } else {
    header_store(object, word);
  }
  return (tsr_ref)target;
}

static inline size_t copy_space_blocks(const copy_space *space) {
  return bump_blocks_count(&space->to);
}

#endif
