/*
 * Checking allocation requests and new objects.
 */
#include "core/alloc/request.h"

#include "core/object/layout.h"
#include "core/os/error.h"

static const char *const placement_names[TSR_PLACEMENTS] = {"TSR_DEFAULT", "TSR_LARGE",
                                                            "TSR_IMMORTAL", "TSR_NON_MOVING"};

static tsr_status semantics_refuse(const tsr_heap *heap, tsr_semantics semantics,
                                   tsr_error *error) {
  uint32_t placement = semantics & TSR_PLACEMENT_MASK;
  uint32_t flags = semantics & ~(uint32_t)TSR_PLACEMENT_MASK;
  uint32_t known = TSR_LEAF | TSR_CODE | TSR_READ_ONLY;
  if (placement >= TSR_PLACEMENTS || (flags & ~known) != 0) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "semantics 0x%x is none: a placement is below %d, and flags are TSR_LEAF, "
                     "TSR_CODE and TSR_READ_ONLY",
                     semantics, TSR_PLACEMENTS);
  }
  if (flags != 0) {
    return error_set(error, TSR_UNSUPPORTED,
                     "the flags TSR_LEAF, TSR_CODE and TSR_READ_ONLY are not in this version "
                     "(semantics 0x%x)",
                     semantics);
  }
  return error_set(error, TSR_UNSUPPORTED, "plan %s has no placement %s in this version",
                   heap->plan->name, placement_names[placement]);
}

static tsr_status semantics_check(const tsr_heap *heap, tsr_semantics semantics, tsr_error *error) {
  if (semantics < TSR_PLACEMENTS && heap->plan->allocators[semantics] != TSR_ALLOCATOR_NONE) {
    return TSR_OK;
  }
  return semantics_refuse(heap, semantics, error);
}

static tsr_status request_check(uint32_t request, tsr_error *error) {
  uint32_t known = TSR_ALLOC_NO_COLLECT | TSR_ALLOC_NO_OOM_CALLBACK;
  if ((request & TSR_ALLOC_OVERCOMMIT) != 0) {
    return error_set(error, TSR_UNSUPPORTED, "TSR_ALLOC_OVERCOMMIT is not in this version");
  }
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
  tsr_status status = semantics_check(heap, a->semantics, error);
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
  tsr_status status = semantics_check(heap, semantics, error);
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
