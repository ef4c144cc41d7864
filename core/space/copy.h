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
 * An object whose identity hash was asked for grows when it is copied for the first time: the hash is appended.
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
  os_atomic_word
      hash_bytes; /* by which hashed objects will grow when they are copied; any thread, by atomic
                                  addition; set anew in a pause */
  uint8_t exhausted; /* this collection found no destination once; set by any worker */
  uint8_t old_stays; /* nor one for an object that was promoted before: set likewise */
} copy_space;

/* Where one collecting thread copies to: a block, filled from the bottom. */
typedef struct copy_target {
  uint32_t block; /* BLOCK_NONE: none yet */
  bool gaps;      /* in an arena: its runs are short, and all to be filled */
  uintptr_t cursor, end;
} copy_target;

/*
 * A collecting thread's destinations. An object that does not fit the rest of `main` goes to
 * `overflow` while that rest is worth filling, so that a few middle-sized objects do not waste the
 * ends of many blocks.
 */
typedef struct copy_buffer {
  copy_space *space;
  struct arena
      *arena; /* NULL: it copies into the space; else objects are promoted into this arena */
  struct copy_buffer *otherwise; /* where an object goes that finds no room here; NULL: it stays */
  struct copy_buffer *leaves;    /* NULL, or: where objects go that refer to nothing */
  bool marks;                    /* what is promoted has been reached */
  copy_target main, overflow;
  size_t live_bytes; /* copied */
} copy_buffer;

/* Destinations that have no block yet. */
static inline copy_buffer copy_buffer_empty(copy_space *space) {
  return (copy_buffer){
      .space = space, .main = {.block = BLOCK_NONE}, .overflow = {.block = BLOCK_NONE}};
}
/* The same in an arena, for objects that leave the space. */
static inline copy_buffer copy_buffer_promoting(copy_space *space, struct arena *into,
                                                copy_buffer *otherwise) {
  copy_buffer buffer = copy_buffer_empty(space);
  buffer.arena = into;
  buffer.otherwise = otherwise;
  return buffer;
}

bool copy_space_open(copy_space *space, tsr_heap *heap);
void copy_space_close(copy_space *space);

/* Phases of a collection, world stopped. Each thread's destinations are retired before the space is
   released; release returns the bytes of what was kept. */
void copy_space_prepare(copy_space *space);
/* A block that an arena has given up is a from-block of this collection. What is kept in place goes back to the arena. */
void copy_space_add_source(copy_space *space, uint32_t index);
/* Keeps the whole from-block of an address in place. Before the trace has reached anything. */
void copy_space_pin(copy_space *space, uintptr_t address);
void copy_retire(copy_buffer *targets);
size_t copy_space_release(copy_space *space);

/* Where the objects of a to-block end, also while the block is being filled by the caller. */
uintptr_t copy_block_end(const copy_buffer *targets, uint32_t index);
/* Notes how far the caller has filled its blocks. */
void copy_flush(const copy_buffer *targets);

/* As copy_evacuate(), of any object. */
tsr_ref copy_evacuate_any(copy_buffer *wanted, tsr_ref object, uint64_t header, bool shared);
/* Marks an object of from-space as staying where it is. `header` is its first word, unclaimed. */
void copy_keep(const copy_space *space, tsr_ref object, uint64_t header);

typedef struct copy_pair {
  tsr_slot words[2];
} copy_pair;

OS_ALWAYS_INLINE void copy_pair_at(uintptr_t target, tsr_ref object, size_t offset) {
  copy_pair pair;
  memcpy(&pair, (const char *)object + offset, sizeof pair);
  memcpy((char *)target + offset, &pair, sizeof pair);
}

/* All words of an object but the first, which may be copied too. Most objects are a few words long: moves that
   overlap beat a loop, and a loop a call. */
OS_ALWAYS_INLINE void copy_words(uintptr_t target, tsr_ref object, size_t bytes) {
  if (TSR_UNLIKELY(bytes > 2 * sizeof(copy_pair))) {
    memcpy((void *)target, (const void *)object, bytes);
  } else if (TSR_LIKELY(bytes >= sizeof(copy_pair))) {
    copy_pair_at(target, object, 0);
    copy_pair_at(target, object, bytes - sizeof(copy_pair));
  }
}

/* Whether `bytes` from an object's address on, at least one and at most a block, end in its block. */
static inline bool copy_stays_in_block(tsr_ref object, size_t bytes) {
  uintptr_t last = (uintptr_t)object + bytes - 1;
  return ((uintptr_t)object ^ last) < BLOCK_BYTES;
}

/* The bits of an object that was promoted, before anybody learns where it is. The start bit comes first: a
   mark bit without one would be a free run for who looks for some. */
OS_ALWAYS_INLINE void copy_note_promoted(const copy_buffer *targets, uintptr_t target,
                                         bool shared) {
  const object_bits *bits = &targets->space->to.heap->bits;
  size_t index = object_bit_index(bits, target);
  object_bit_set_first(bits->starts, index, shared);
  if (targets->marks) object_bit_set_first(bits->marks, index, shared);
}

/* What is stored into an object's first word publishes the copy, where it is `shared`. */
OS_ALWAYS_INLINE void copy_publish(tsr_ref object, uint64_t forwarding, bool shared) {
  if (shared) {
    header_store_shared(object, forwarding);
  } else {
    header_store(object, forwarding);
  }
}

/*
 * Moves an object of from-space that nobody reached before, or marks it as staying. Returns where it is
 * now. `header` is its first word, `bytes` its size as layout_trace_bytes() says, 0 where its identity hash was
 * asked for; `base` where the heap begins. `shared`: several threads copy; the caller has claimed the object.
 */
OS_ALWAYS_INLINE tsr_ref copy_evacuate_to(copy_buffer *targets, uintptr_t base, tsr_ref object,
                                          uint64_t header, size_t bytes, bool promotes,
                                          bool shared) {
  copy_target *main = &targets->main;
  uintptr_t target = main->cursor;
  if (TSR_UNLIKELY(bytes - 1 >= main->end - target || !copy_stays_in_block(object, bytes))) {
    return copy_evacuate_any(targets, object, header, shared);
  }
  main->cursor += bytes;
  targets->live_bytes += bytes;
  copy_words(target, object, bytes);
  header_store((tsr_ref)target, header);
  if (promotes) copy_note_promoted(targets, target, shared);
  copy_publish(object, forwarding_word(base, target), shared);
  return (tsr_ref)target;
}

OS_ALWAYS_INLINE tsr_ref copy_evacuate(copy_buffer *targets, uintptr_t base, tsr_ref object,
                                       uint64_t header, size_t bytes, bool shared) {
  return copy_evacuate_to(targets, base, object, header, bytes, false, shared);
}

/* The same with destinations in an arena: the object has its start bit, and its mark where the buffer marks. */
OS_ALWAYS_INLINE tsr_ref copy_promote(copy_buffer *targets, uintptr_t base, tsr_ref object,
                                      uint64_t header, size_t bytes, bool shared) {
  return copy_evacuate_to(targets, base, object, header, bytes, true, shared);
}

static inline size_t copy_space_blocks(const copy_space *space) {
  return bump_blocks_count(&space->to);
}

/* By how many blocks at most the next collection's copies are larger than the objects. */
static inline size_t copy_space_growth_blocks(const copy_space *space) {
  return (os_atomic_load(&space->hash_bytes) + BLOCK_BYTES - 1) >> BLOCK_SHIFT;
}

#endif
