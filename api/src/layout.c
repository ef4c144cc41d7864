/*
 * tessera/layout.h.
 */
#include "core/object/layout.h"

#include "core/os/error.h"

uint32_t tsr_layout_register(tsr_heap *heap, const tsr_layout *given, tsr_error *error) {
  return layout_register(heap->layouts, given, error);
}

size_t tsr_object_size(tsr_heap *heap, tsr_ref object, tsr_error *error) {
  if ((uintptr_t)object % TSR_GRANULE != 0 ||
      !block_map_contains(&heap->blocks, (uintptr_t)object)) {
    error_set(error, TSR_INVALID_ARGUMENT, "%p is no object of this heap", (void *)object);
    return 0;
  }
  const layout *l = header_load(object) == 0 ? NULL : layout_of(heap->layouts, object);
  if (l == NULL) {
    error_set(error, TSR_INVALID_ARGUMENT, "the header at %p names no registered layout",
              (void *)object);
    return 0;
  }
  return layout_object_bytes(heap, l, object);
}
