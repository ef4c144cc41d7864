/*
 * Trimmed objects, sealed objects.
 */
#include "core/alloc/objects.h"

#include <string.h>

#include "core/alloc/bump.h"
#include "core/object/identity.h"
#include "core/object/walk.h"
#include "core/os/error.h"
#include "core/space/seal.h"

/* ---- an object that a call names -------------------------------------------------------------------- */

/* The space of the block where an object may begin; BLOCK_UNCOMMITTED: none can begin there. */
static enum block_space object_space(const tsr_heap *heap, tsr_ref object) {
  uintptr_t address = (uintptr_t)object;
  if ((address & (heap->object_align - 1)) != 0) return BLOCK_UNCOMMITTED;
  enum block_space space = block_map_space_of(&heap->blocks, address);
  return space <= BLOCK_FREE || space == BLOCK_LARGE_REST ? BLOCK_UNCOMMITTED : space;
}

/* Bytes that an object at this place could have; 0: none can begin there. */
static size_t object_room(const tsr_heap *heap, tsr_ref object) {
  enum block_space space = object_space(heap, object);
  if (space == BLOCK_UNCOMMITTED) return 0;
  if (!block_space_begins_large(space))
    return BLOCK_BYTES - ((uintptr_t)object & (BLOCK_BYTES - 1));
  const large_space *large = &heap->spaces->large;
  uint32_t first = block_map_index(&heap->blocks, (uintptr_t)object);
  return large_space_object(large, first) == object ? large_space_room(large, object) : 0;
}

tsr_status object_check(const tsr_mutator *mutator, tsr_ref object, const char *function,
                        size_t *bytes, tsr_error *error) {
  const tsr_heap *heap = mutator->heap;
  tsr_status status = mutator_check_managed(mutator, function, error);
  if (status != TSR_OK) return status;
  size_t room = object_room(heap, object);
  /* Another thread may be asking for its identity hash. */
  uint64_t header = room == 0 ? 0 : header_load_shared(object);
  *bytes = header != 0 ? object_walk_bytes_by(heap, object, header, room) : 0;
  if (*bytes != 0) return TSR_OK;
  return error_set(error, TSR_INVALID_ARGUMENT, "%s: %p is no object of this heap", function,
                   (void *)object);
}

void object_note_large(tsr_heap *heap, tsr_ref object) {
  if (!block_space_begins_large(object_space(heap, object))) return;
  large_space *large = &heap->spaces->large;
  const layout *l = layout_of(heap->layouts, object);
  bool is_array = l->kind == TSR_LAYOUT_REFERENCES || l->kind == TSR_LAYOUT_ELEMENTS;
  if (layout_is_leaf(l) || header_is_leaf(header_load(object))) {
    large_space_note_leaf(large, object);
  } else if (is_array && heap->plan->barrier->arms_objects) {
    large_space_add_slot_bits(large, object);
  }
}

/* ---- shrinking --------------------------------------------------------------------------------------- */

/* Sizes are whole: with what is appended, which moves to the new end. */
static void object_cut(tsr_mutator *mutator, tsr_ref object, enum block_space space,
                       size_t old_bytes, size_t bytes) {
  tsr_heap *heap = mutator->heap;
  uintptr_t tail = (uintptr_t)object + bytes;
  if (layout_hash_bytes(heap, header_load(object)) != 0) {
    *identity_word(heap, object, bytes) = *identity_word(heap, object, old_bytes);
  }
  if (block_space_begins_large(space)) {
    large_space_shrink(&heap->spaces->large, object, bytes);
    return;
  }
  memset((void *)tail, 0, old_bytes - bytes);
  if (bump_cut_last(mutator, (uintptr_t)object + old_bytes, tail)) return;
  if (block_space_has_bits_only(space) || space == BLOCK_SEALED) {
    arena_shrink(spaces_arena_of(heap, tail), tail);
  }
}

/* The least size that an object of this layout can have. */
static size_t object_least_bytes(const tsr_heap *heap, tsr_ref object) {
  size_t bytes = layout_of(heap->layouts, object)->fixed_bytes;
  size_t least = bytes < TSR_GRANULE ? TSR_GRANULE : bytes;
  return (least + heap->object_align - 1) & ~(heap->object_align - 1);
}

tsr_status object_shrink(tsr_mutator *mutator, tsr_ref object, size_t new_bytes, tsr_error *error) {
  tsr_heap *heap = mutator->heap;
  size_t bytes = 0;
  tsr_status status = object_check(mutator, object, "tsr_shrink", &bytes, error);
  if (status != TSR_OK) return status;
  size_t least = object_least_bytes(heap, object);
  size_t appended = layout_hash_bytes(heap, header_load(object));
  bytes -= appended;
  if (new_bytes > bytes || new_bytes < least || (new_bytes & (heap->object_align - 1)) != 0) {
    return error_set(
        error, TSR_INVALID_ARGUMENT,
        "tsr_shrink: the object at %p has %zu bytes and cannot have %zu: the new size is "
        "a multiple of %zu from %zu to the old one, and the new length is stored afterwards",
        (void *)object, bytes, new_bytes, heap->object_align, least);
  }
  if (seal_is_closed(heap, object)) {
    return error_set(error, TSR_BUSY, "tsr_shrink: the object at %p is sealed", (void *)object);
  }
  if (new_bytes < bytes) {
    enum block_space space = object_space(heap, object);
    object_cut(mutator, object, space, bytes + appended, new_bytes + appended);
  }
  return TSR_OK;
}

/* ---- sealing ------------------------------------------------------------------------------------------- */

static tsr_status object_check_sealable(const tsr_mutator *mutator, tsr_ref object,
                                        const char *function, size_t *bytes, tsr_error *error) {
  tsr_status status = object_check(mutator, object, function, bytes, error);
  if (status != TSR_OK || seal_is_possible(mutator->heap, object)) return status;
  return error_set(error, TSR_INVALID_ARGUMENT,
                   "%s: the object at %p was allocated without TSR_READ_ONLY and TSR_CODE",
                   function, (void *)object);
}

static unsigned char *object_gc_byte(tsr_ref object) {
  return (unsigned char *)object + TSR_GC_BYTE_OFFSET;
}

static uint32_t object_block(const tsr_heap *heap, tsr_ref object) {
  return block_map_index(&heap->blocks, (uintptr_t)object);
}

/* No store into it is told of from now on. */
static void object_disarm(tsr_heap *heap, tsr_ref object) {
  os_atomic_byte_change(object_gc_byte(object), 0, GC_ARMED);
  heap_note_block(heap, object_block(heap, object));
}

tsr_status object_seal(tsr_mutator *mutator, tsr_ref object, tsr_error *error) {
  tsr_heap *heap = mutator->heap;
  size_t bytes = 0;
  tsr_status status = object_check_sealable(mutator, object, "tsr_seal", &bytes, error);
  if (status != TSR_OK) return status;
  if (seal_is_closed(heap, object)) {
    return error_set(error, TSR_BUSY, "tsr_seal: the object at %p is sealed already",
                     (void *)object);
  }
  /* Armed for good: the write barrier's slow path says what is wrong before the store faults. In the log only what can
     be written to may be. */
  unsigned before = os_atomic_byte_change(object_gc_byte(object), GC_ARMED, GC_LOGGED);
  if ((before & GC_LOGGED) != 0) heap_note_block(heap, object_block(heap, object));
  if (seal_close(heap, object, bytes)) return TSR_OK;
  object_disarm(heap, object);
  return error_set(error, TSR_OUT_OF_MEMORY,
                   "tsr_seal: the system refuses to protect the pages of the object at %p: the "
                   "process has too many mappings, or may not have executable memory",
                   (void *)object);
}

tsr_status object_unseal(tsr_mutator *mutator, tsr_ref object, tsr_error *error) {
  tsr_heap *heap = mutator->heap;
  size_t bytes = 0;
  tsr_status status = object_check_sealable(mutator, object, "tsr_unseal", &bytes, error);
  if (status != TSR_OK) return status;
  if (!seal_is_closed(heap, object)) {
    return error_set(error, TSR_BUSY, "tsr_unseal: the object at %p is not sealed", (void *)object);
  }
  if (!seal_is_code(heap, object)) {
    return error_set(error, TSR_UNSUPPORTED,
                     "tsr_unseal: the object at %p is read-only, and stays sealed", (void *)object);
  }
  if (!seal_open(heap, object, bytes)) {
    return error_set(error, TSR_OUT_OF_MEMORY,
                     "tsr_unseal: the system refuses to make the pages of the object at %p "
                     "writable: the process has too many mappings",
                     (void *)object);
  }
  object_disarm(heap, object);
  return TSR_OK;
}
