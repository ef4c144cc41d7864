/*
 * tessera/roots.h.
 */
#include "core/trace/roots.h"

#include "core/os/error.h"

tsr_slot *tsr_local_slow(tsr_mutator *mutator, uint64_t word) {
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
  if (strength == TSR_STRONG) return roots_handle_new(heap, word, error);
  if (strength == TSR_WEAK) {
    error_set(error, TSR_UNSUPPORTED, "weak handles (TSR_WEAK) are not in this version");
  } else {
    error_set(error, TSR_INVALID_ARGUMENT, "a handle is TSR_STRONG or TSR_WEAK, not %d",
              (int)strength);
  }
  return NULL;
}

tsr_status tsr_handle_free(tsr_heap *heap, tsr_slot *handle, tsr_error *error) {
  return roots_handle_free(heap, handle, error);
}

tsr_status tsr_root_add(tsr_heap *heap, tsr_slot *first, size_t count, tsr_root_kind kind,
                        const char *name, tsr_error *error) {
  if (kind == TSR_ROOT_PRECISE) return roots_add_range(heap, first, count, name, error);
  if (kind == TSR_ROOT_AMBIGUOUS) {
    return error_set(error, TSR_UNSUPPORTED,
                     "ambiguous root ranges (TSR_ROOT_AMBIGUOUS) are not in this version");
  }
  return error_set(error, TSR_INVALID_ARGUMENT, "%d is no kind of root range", (int)kind);
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

static tsr_status pins_unsupported(const char *function, tsr_error *error) {
  return error_set(error, TSR_UNSUPPORTED, "%s: pins are not in this version", function);
}

tsr_status tsr_pin(tsr_mutator *mutator, tsr_ref object, tsr_error *error) {
  (void)mutator;
  (void)object;
  return pins_unsupported("tsr_pin", error);
}

tsr_status tsr_unpin(tsr_mutator *mutator, tsr_ref object, tsr_error *error) {
  (void)mutator;
  (void)object;
  return pins_unsupported("tsr_unpin", error);
}
