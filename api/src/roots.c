/*
 * tessera/roots.h.
 */
#include "core/trace/roots.h"

#include "core/alloc/objects.h"
#include "core/os/error.h"
#include "core/trace/pins.h"

tsr_slot *tsr_local_slow(tsr_mutator *mutator, uint64_t word) {
  mutator_check_thread(mutator, "a local handle");
  if (locals_extend(mutator)) return tsr_local(mutator, word);
  tsr_heap *heap = mutator->heap;
  tsr_oom oom = {.kind = TSR_OOM_HEAP,
                 .requested_bytes = sizeof(tsr_slot),
                 .committed_bytes = os_atomic_load(&heap->account.total.bytes),
                 .heap_max_bytes = heap->account.limit_bytes};
  if (heap->binding->out_of_memory != NULL) heap->binding->out_of_memory(heap->vm, mutator, &oom);
  return NULL;
}

tsr_slot *tsr_handle_new(tsr_heap *heap, uint64_t word, tsr_strength strength, tsr_error *error) {
  if (strength == TSR_STRONG || strength == TSR_WEAK) {
    return roots_handle_new(heap, word, strength == TSR_WEAK, error);
  }
  error_set(error, TSR_INVALID_ARGUMENT, "a handle is TSR_STRONG or TSR_WEAK, not %d",
            (int)strength);
  return NULL;
}

tsr_status tsr_handle_free(tsr_heap *heap, tsr_slot *handle, tsr_error *error) {
  return roots_handle_free(heap, handle, error);
}

tsr_status tsr_root_add(tsr_heap *heap, tsr_slot *first, size_t count, tsr_root_kind kind,
                        const char *name, tsr_error *error) {
  return roots_add_range(heap, first, count, kind, name, error);
}

tsr_status tsr_root_remove(tsr_heap *heap, tsr_slot *first, tsr_error *error) {
  return roots_remove_range(heap, first, error);
}

tsr_status tsr_stack_add(tsr_heap *heap, tsr_native_stack *stack, tsr_error *error) {
  return roots_add_stack(heap, stack, error);
}

tsr_status tsr_stack_remove(tsr_heap *heap, tsr_native_stack *stack, tsr_error *error) {
  return roots_remove_stack(heap, stack, error);
}

void tsr_visit_slots(tsr_visitor *visitor, tsr_slot *first, size_t count) {
  visitor_visit(visitor, first, count);
}

/* ---- pins ---------------------------------------------------------------------------------- */

static tsr_status pin_checked(const tsr_mutator *mutator, tsr_ref object, bool once,
                              const char *function, tsr_error *error) {
  size_t bytes;
  tsr_status status = object_check(mutator, object, function, &bytes, error);
  return status == TSR_OK ? pins_add(mutator->heap, object, once, error) : status;
}

tsr_status tsr_pin(tsr_mutator *mutator, tsr_ref object, tsr_error *error) {
  return pin_checked(mutator, object, false, "tsr_pin", error);
}

tsr_status tsr_pin_once(tsr_mutator *mutator, tsr_ref object, tsr_error *error) {
  return pin_checked(mutator, object, true, "tsr_pin_once", error);
}

tsr_status tsr_unpin(tsr_mutator *mutator, tsr_ref object, tsr_error *error) {
  return pins_remove(mutator->heap, object, error);
}

/* ---- interior pointers --------------------------------------------------------------------- */

/* A binding with the need has a plan that can: no other heap is created. */
tsr_ref tsr_object_of(tsr_mutator *mutator, const void *address, tsr_error *error) {
  tsr_heap *heap = mutator->heap;
  if ((heap->binding->needs & TSR_NEEDS_INTERIOR_POINTERS) == 0) {
    error_set(error, TSR_MISMATCH,
              "tsr_object_of needs a binding that declares TSR_NEEDS_INTERIOR_POINTERS; this one "
              "does not");
    return NULL;
  }
  if (mutator_check_managed(mutator, "tsr_object_of", error) != TSR_OK) return NULL;
  return spaces_object_of(heap, (uintptr_t)address);
}
