/*
 * The copy space.
 */
#include "core/space/copy.h"

#include <string.h>

#include "core/object/identity.h"
#include "core/object/walk.h"
#include "core/os/watch.h"
#include "core/space/spaces.h"

/* A rest of a destination block smaller than this is given up. */
#define TARGET_LEAST_REST 512

bool copy_space_open(copy_space *space, tsr_heap *heap) {
  *space = (copy_space){.from_space = BLOCK_COPY_B, .from_first = BLOCK_NONE};
  return bump_blocks_open(&space->to, heap, BLOCK_COPY_A);
}

void copy_space_close(copy_space *space) {
  bump_blocks_close(&space->to);
}

/* ---- prepare: the roles change --------------------------------------------------------------- */

void copy_space_prepare(copy_space *space) {
  enum block_space to_space = space->from_space;
  space->from_space = space->to.space;
  space->from_first = space->to.first;
  bump_blocks_reset(&space->to, to_space);
  space->exhausted = space->old_stays = 0;
  os_atomic_store(&space->hash_bytes, 0);
}

void copy_space_add_source(copy_space *space, uint32_t index) {
  block_map *map = &space->to.heap->blocks;
  block *b = block_map_at(map, index);
  b->top_bytes = BLOCK_BYTES;
  b->kept = b->rescan = 0;
  b->next = space->from_first;
  space->from_first = index;
  block_map_spaces(map)[index] = (unsigned char)space->from_space;
}

void copy_space_pin(copy_space *space, uintptr_t address) {
  block_map *map = &space->to.heap->blocks;
  uint32_t index = block_map_index(map, address);
  block_map_spaces(map)[index] = BLOCK_PINNED;
  block_map_at(map, index)->kept = 1;
}

/* ---- trace: copying --------------------------------------------------------------------------- */

static void copy_target_flush(const block_map *map, const copy_target *target) {
  if (target->block == BLOCK_NONE) return;
  uintptr_t start = block_map_start(map, target->block);
  block_map_at(map, target->block)->top_bytes = (uint32_t)(target->cursor - start);
}

static void copy_target_retire(const copy_buffer *targets, copy_target *target) {
  if (target->block == BLOCK_NONE) return;
  if (targets->arena == NULL) {
    copy_target_flush(&targets->space->to.heap->blocks, target);
    os_memory_forbid(target->cursor, target->end);
  } else {
    arena_return_run(targets->arena, (bump_buffer){target->cursor, target->end});
    arena_return(targets->arena, target->block);
  }
  *target = (copy_target){.block = BLOCK_NONE};
}

/* Another run of an arena, of `least` bytes or more: of the block that is there already, or of another one. */
static bool copy_target_renew_promoting(const copy_buffer *targets, copy_target *target,
                                        size_t least) {
  arena *a = targets->arena;
  bump_buffer taken;
  if (target->block != BLOCK_NONE &&
      arena_borrow_run(a, target->block, target->end, least, target->gaps, &taken)) {
    arena_return_run(a, (bump_buffer){target->cursor, target->end});
    target->cursor = taken.start;
    target->end = taken.end;
    return true;
  }
  bool gaps;
  uint32_t index = arena_borrow(a, least, &gaps);
  if (index == BLOCK_NONE) return false;
  copy_target_retire(targets, target);
  uintptr_t start = block_map_start(&targets->space->to.heap->blocks, index);
  bool found = arena_borrow_run(a, index, start, least, true, &taken);
  TSR_CHECK(found, "a block that is borrowed has a run of that length");
  (void)found;
  *target = (copy_target){.block = index, .gaps = gaps, .cursor = taken.start, .end = taken.end};
  return true;
}

static bool copy_target_renew(const copy_buffer *targets, copy_target *target, size_t least) {
  if (targets->arena != NULL) return copy_target_renew_promoting(targets, target, least);
  copy_space *space = targets->space;
  if (os_atomic8_is_set(&space->exhausted)) return false;
  os_mutex_lock(&space->to.lock);
  uint32_t index = bump_blocks_add(&space->to, MEMORY_WITHIN_LIMIT);
  os_mutex_unlock(&space->to.lock);
  if (index == BLOCK_NONE) {
    os_atomic8_set(&space->exhausted);
    return false;
  }
  copy_target_retire(targets, target);
  uintptr_t start = block_map_start(&space->to.heap->blocks, index);
  *target = (copy_target){.block = index, .cursor = start, .end = start + BLOCK_BYTES};
  os_memory_allow(target->cursor, target->end);
  return true;
}

/* Room for an object, or 0. The gap before it is made of fillers. */
static uintptr_t copy_target_fit(copy_target *target, const layout *l, size_t bytes) {
  uintptr_t align = l->align;
  uintptr_t result =
      ((target->cursor + l->align_offset + (align - 1)) & ~(align - 1)) - l->align_offset;
  if (TSR_UNLIKELY(result > target->end || bytes > target->end - result)) return 0;
  if (TSR_UNLIKELY(result != target->cursor)) {
    memset((void *)target->cursor, 0, result - target->cursor);
  }
  target->cursor = result + bytes;
  return result;
}

static uintptr_t copy_find_room(copy_buffer *targets, const layout *l, size_t bytes) {
  copy_target *main = &targets->main;
  bool main_is_full = main->end - main->cursor < TARGET_LEAST_REST;
  copy_target *target = main_is_full ? main : &targets->overflow;
  uintptr_t result = main_is_full ? 0 : copy_target_fit(target, l, bytes);
  if (result == 0 && copy_target_renew(targets, target, bytes + l->align)) {
    result = copy_target_fit(target, l, bytes);
  }
  /* Without another block, a smaller rest may still do. */
  return result != 0 ? result : copy_target_fit(&targets->overflow, l, bytes);
}

/* Room for a survivor of any layout and `grown` bytes behind it, or 0; its size comes out. */
static uintptr_t copy_find(copy_buffer *targets, tsr_ref object, uint64_t header, size_t grown,
                           size_t *bytes) {
  const tsr_heap *heap = targets->space->to.heap;
  const layout *l = layout_of_header(heap->layouts, object, header);
  HEAP_ALWAYS_CHECK(heap, l != NULL, object,
                    "a reachable object's layout is unknown: its header was never written, or "
                    "overwritten, or the reference does not point to an object");
  *bytes = layout_object_bytes(heap, l, object) + layout_hash_bytes(heap, header);
  HEAP_ALWAYS_CHECK(heap, *bytes - 1 < BLOCK_BYTES && copy_stays_in_block(object, *bytes), object,
                    "a reachable object's size runs past its block: its length was overwritten, "
                    "or the reference does not point to an object");
  uintptr_t target = copy_target_fit(&targets->main, l, *bytes + grown);
  return target != 0 ? target : copy_find_room(targets, l, *bytes + grown);
}

/* Whether a block of from-space is one that an arena has given up. */
static bool copy_block_is_old(const block *b) {
  return arena_is_evacuated((enum arena_id)b->arena);
}

static bool copy_is_old(const copy_space *space, tsr_ref object) {
  const block_map *map = &space->to.heap->blocks;
  return copy_block_is_old(block_map_at(map, block_map_index(map, (uintptr_t)object)));
}

/* Where an object goes that finds no room; NULL: it stays. What is old does not become young; and more of it than what finds
   room at once stays from then on, for each search would be a long one. */
static copy_buffer *copy_otherwise(const copy_buffer *targets, tsr_ref object) {
  if (!copy_is_old(targets->space, object)) return targets->otherwise;
  os_atomic8_set(&targets->space->old_stays);
  return NULL;
}

/* Where an object of any layout goes. */
static copy_buffer *copy_choose(copy_buffer *targets, tsr_ref object, uint64_t header) {
  if (targets->leaves == NULL) return targets;
  const layout *l = layout_of_header(targets->space->to.heap->layouts, object, header);
  bool is_leaf = header_is_leaf(header) || (l != NULL && layout_is_leaf(l));
  return is_leaf ? targets->leaves : targets;
}

/* Whether an object stays without a search. */
static bool copy_stays(const copy_space *space, tsr_ref object) {
  return os_atomic8_is_set(&space->old_stays) && copy_is_old(space, object);
}

tsr_ref copy_evacuate_any(copy_buffer *wanted, tsr_ref object, uint64_t header, bool shared) {
  copy_buffer *targets = copy_choose(wanted, object, header);
  const tsr_heap *heap = targets->space->to.heap;
  size_t grown = header_is_hashed(header) ? heap->hash_word_bytes : 0;
  size_t bytes;
  bool stays = copy_stays(targets->space, object);
  uintptr_t target = stays ? 0 : copy_find(targets, object, header, grown, &bytes);
  if (target == 0) {
    copy_buffer *otherwise = copy_otherwise(targets, object);
    if (otherwise != NULL) return copy_evacuate_any(otherwise, object, header, shared);
    copy_keep(targets->space, object, header);
    return object;
  }
  targets->live_bytes += bytes + grown;
  copy_words(target, object, bytes);
  uint64_t forwarding = forwarding_word(heap->blocks.base, target);
  if (grown != 0) {
    memset((void *)(target + bytes), 0, grown);
    *identity_word(heap, (tsr_ref)target, bytes + grown) = identity_of_place(heap, object);
    header = header_with_stored_hash(header);
    forwarding = forwarding_word_grown(heap->blocks.base, target);
  }
  header_store((tsr_ref)target, header);
  if (targets->arena != NULL) copy_note_promoted(targets, target, shared);
  copy_publish(object, forwarding, shared);
  return (tsr_ref)target;
}

void copy_keep(const copy_space *space, tsr_ref object, uint64_t header) {
  const block_map *map = &space->to.heap->blocks;
  os_atomic8_set(&block_map_at(map, block_map_index(map, (uintptr_t)object))->kept);
  header_store_shared(object, header_with_forward_bits(header, GC_STAYS));
}

uintptr_t copy_block_end(const copy_buffer *targets, uint32_t index) {
  if (index == targets->main.block) return targets->main.cursor;
  if (index == targets->overflow.block) return targets->overflow.cursor;
  const block_map *map = &targets->space->to.heap->blocks;
  return block_map_start(map, index) + block_map_at(map, index)->top_bytes;
}

void copy_flush(const copy_buffer *targets) {
  const block_map *map = &targets->space->to.heap->blocks;
  copy_target_flush(map, &targets->main);
  copy_target_flush(map, &targets->overflow);
}

/* ---- release: from-space is freed, kept blocks change sides ------------------------------------- */

/* Leaves only those objects in a kept block that stay; the rest becomes filler. Returns their bytes. */
static size_t copy_block_rewrite(copy_space *space, uint32_t index) {
  const tsr_heap *heap = space->to.heap;
  size_t kept_bytes = 0, hash_bytes = 0;
  uintptr_t at = block_map_start(&heap->blocks, index);
  uintptr_t end = at + block_map_at(&heap->blocks, index)->top_bytes;
  while ((at = object_walk_next(at, end)) < end) {
    tsr_ref object = (tsr_ref)at;
    size_t bytes = object_walk_bytes(heap, object);
    uint64_t header = header_load(object);
    if (header_stays(header)) {
      header_store(object, header_with_forward_bits(header, (enum gc_byte)0));
      kept_bytes += bytes;
      if (header_is_hashed(header)) hash_bytes += heap->hash_word_bytes;
    } else {
      memset((void *)at, 0, bytes);
    }
    at += bytes;
  }
  os_atomic_store(&space->hash_bytes, os_atomic_load(&space->hash_bytes) + hash_bytes);
  return kept_bytes;
}

/* Returns the bytes of what stays there and is young. */
static size_t copy_space_release_block(copy_space *space, uint32_t index) {
  block_map *map = &space->to.heap->blocks;
  block *b = block_map_at(map, index);
  if (b->kept == 0) {
    block_map_release(map, index, 1);
    return 0;
  }
  if (copy_block_is_old(b)) {
    /* It was none of the old when its objects were scanned. */
    if (b->arena != ARENA_LEAVES) heap_note_block(space->to.heap, index);
    arena_take_back(&space->to.heap->spaces->arenas[b->arena], index);
    return 0;
  }
  size_t kept_bytes = copy_block_rewrite(space, index);
  b->kept = 0;
  b->rescan = 0;
  if (kept_bytes == 0) {
    block_map_release(map, index, 1);
  } else {
    bump_blocks_adopt(&space->to, index);
  }
  return kept_bytes;
}

void copy_retire(copy_buffer *targets) {
  copy_space *space = targets->space;
  /* Mutators go on with a block that is partly filled: the fullest of those that are left would do as well. */
  if (targets->main.block != BLOCK_NONE && targets->arena == NULL) {
    space->to.current = targets->main.block;
  }
  copy_target_retire(targets, &targets->main);
  copy_target_retire(targets, &targets->overflow);
}

size_t copy_space_release(copy_space *space) {
  /* A kept block is read through forwarding words, which lead into to-space alone: freeing its
     neighbours first does no harm. */
  size_t kept_bytes = 0;
  const block_map *map = &space->to.heap->blocks;
  for (uint32_t i = space->from_first, next; i != BLOCK_NONE; i = next) {
    next = block_map_at(map, i)->next;
    kept_bytes += copy_space_release_block(space, i);
  }
  space->from_first = BLOCK_NONE;
  return kept_bytes;
}
