/*
 * Checking allocation requests and new objects.
 */
#include "core/alloc/request.h"

#include "core/object/layout.h"
#include "core/os/error.h"

static bool semantics_are_known(tsr_semantics semantics) {
  uint32_t flags = semantics & ~(uint32_t)TSR_PLACEMENT_MASK;
  uint32_t known = TSR_LEAF | TSR_CODE | TSR_READ_ONLY;
  return (semantics & TSR_PLACEMENT_MASK) < TSR_PLACEMENTS && (flags & ~known) == 0;
}

tsr_allocator_info semantics_allocator(tsr_semantics semantics) {
  uint32_t placement = semantics & TSR_PLACEMENT_MASK;
  bool sealable = (semantics & (TSR_CODE | TSR_READ_ONLY)) != 0;
  if (!semantics_are_known(semantics)) return (tsr_allocator_info){.kind = TSR_ALLOCATOR_NONE};
  if (placement == TSR_LARGE || sealable) return (tsr_allocator_info){.kind = TSR_ALLOCATOR_CALL};
  size_t pair = placement * sizeof(tsr_bump_pointer);
  return (tsr_allocator_info){.kind = TSR_ALLOCATOR_BUMP,
                              .pair_offset = (uint32_t)(offsetof(tsr_mutator, bump) + pair),
                              .max_inline_bytes = TSR_MAX_INLINE_BYTES};
}

static tsr_status semantics_check(tsr_semantics semantics, tsr_error *error) {
  if (semantics_are_known(semantics)) return TSR_OK;
  return error_set(error, TSR_INVALID_ARGUMENT,
                   "semantics 0x%x is none: a placement is below %d, and flags are TSR_LEAF, "
                   "TSR_CODE and TSR_READ_ONLY",
                   semantics, TSR_PLACEMENTS);
}

static tsr_status request_check(uint32_t request, tsr_error *error) {
  uint32_t known = TSR_ALLOC_NO_COLLECT | TSR_ALLOC_NO_OOM_CALLBACK | TSR_ALLOC_OVERCOMMIT;
  if ((request & ~known) != 0) {
    return error_set(error, TSR_INVALID_ARGUMENT, "request options 0x%x hold unknown bits",
                     request);
  }
  return TSR_OK;
}

tsr_status allocation_check(const tsr_heap *heap, allocation *a, tsr_error *error) {
  size_t object_mask = heap->object_align - 1;
  if (a->bytes == 0 || (a->bytes & object_mask) != 0) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "a size of %zu bytes cannot be allocated: sizes are multiples of %zu and not "
                     "zero; round up with tsr_round_size()",
                     a->bytes, heap->object_align);
  }
  if (a->align == 0 || (a->align & (a->align - 1)) != 0 || a->align > TSR_MAX_ALIGN) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "an alignment of %zu is impossible: it must be a power of two, at most %u",
                     a->align, TSR_MAX_ALIGN);
  }
  if ((a->offset & object_mask) != 0) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "an offset of %zu would put the object off the VM's alignment of %zu",
                     a->offset, heap->object_align);
  }
  tsr_status status = semantics_check(a->semantics, error);
  if (status == TSR_OK) status = request_check(a->request, error);
  if (status != TSR_OK) return status;
  if (a->align < heap->object_align) {
    a->align = heap->object_align;
    a->offset = 0;
  }
  return TSR_OK;
}

tsr_status new_object_check(const tsr_heap *heap, tsr_ref object, size_t bytes,
                            tsr_semantics semantics, tsr_error *error) {
  tsr_status status = semantics_check(semantics, error);
  if (status != TSR_OK) return status;
  if (((uintptr_t)object & (heap->object_align - 1)) != 0 ||
      block_map_space_of(&heap->blocks, (uintptr_t)object) <= BLOCK_FREE) {
    return error_set(error, TSR_INVALID_ARGUMENT, "tsr_post_alloc: %p is no object of this heap",
                     (void *)object);
  }
  const layout *l = header_load(object) == 0 ? NULL : layout_of(heap->layouts, object);
  if (l == NULL) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "tsr_post_alloc: the header of the object at %p names no registered layout; "
                     "write the header first",
                     (void *)object);
  }
  size_t layout_bytes = layout_object_bytes(heap, l, object);
  if (layout_bytes != bytes) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "tsr_post_alloc: layout %s says that the object at %p has %zu bytes, not %zu",
                     l->name, (void *)object, layout_bytes, bytes);
  }
  if (header_gc_byte(header_load(object)) != 0) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "tsr_post_alloc: the GC byte of the new object at %p is not zero; byte %d of "
                     "the first word belongs to the collector",
                     (void *)object, TSR_GC_BYTE_OFFSET);
  }
  if ((((uintptr_t)object + l->align_offset) & (l->align - 1)) != 0) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "tsr_post_alloc: the object at %p was not allocated with the alignment of %u "
                     "that its layout %s promises",
                     (void *)object, l->align, l->name);
  }
  return TSR_OK;
}
