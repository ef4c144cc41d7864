/*
 * tessera/mutator.h and tessera/safepoint.h.
 */
#include <tessera/mutator.h>
#include <tessera/safepoint.h>

#include <string.h>

#include <tessera/alloc.h>
#include <tessera/fork.h>

#include "core/alloc/bump.h"
#include "core/collect/collector.h"
#include "core/os/error.h"
#include "core/os/preserving_call.h"

_Static_assert(sizeof(tsr_mutator) == 128, "the mutator's layout is frozen for an ABI number");
_Static_assert(offsetof(tsr_mutator, bump) == 0, "default placement's pair comes first");
_Static_assert(offsetof(tsr_mutator, poll) == 64, "the poll flag's place is frozen");
_Static_assert(sizeof(tsr_bump_pointer) == 2 * sizeof(uintptr_t), "a pair is two words");

/* ---- binding ------------------------------------------------------------------------------------------------- */

tsr_mutator *tsr_bind_mutator(tsr_heap *heap, void *vm_thread, tsr_error *error) {
  return mutator_bind(heap, NULL, vm_thread, error);
}

tsr_status tsr_bind_mutator_in(tsr_heap *heap, tsr_mutator *storage, void *vm_thread,
                               tsr_error *error) {
  if (storage == NULL) {
    return error_set(error, TSR_INVALID_ARGUMENT, "tsr_bind_mutator_in: the storage is NULL");
  }
  tsr_error why = {.status = TSR_OK};
  if (mutator_bind(heap, storage, vm_thread, &why) != NULL) return TSR_OK;
  return error_set(error, why.status, "%s", why.message);
}

tsr_status tsr_unbind_mutator(tsr_mutator *mutator, tsr_error *error) {
  return mutator_unbind(mutator, error);
}

tsr_status tsr_register_bump_pointer(tsr_mutator *mutator, tsr_bump_pointer *pair,
                                     tsr_error *error) {
  return bump_register(mutator, pair, error);
}

tsr_status tsr_unregister_bump_pointer(tsr_mutator *mutator, tsr_bump_pointer *pair,
                                       tsr_error *error) {
  return bump_unregister(mutator, pair, error);
}

/* ---- facts ----------------------------------------------------------------------------------------------------- */

tsr_allocator_info tsr_allocator_mapping(const tsr_heap *heap, tsr_semantics semantics) {
  (void)heap; /* the same in every plan of this version */
  return semantics_allocator(semantics);
}

void tsr_heap_facts(const tsr_heap *heap, tsr_facts *facts) {
  const struct barrier *barrier = heap->plan->barrier;
  *facts = (tsr_facts){.version = TSR_ABI,
                       .granule = TSR_GRANULE,
                       .object_align = (uint32_t)heap->object_align,
                       .gc_byte_offset = TSR_GC_BYTE_OFFSET,
                       .gc_armed_mask = TSR_GC_ARMED,
                       .poll_offset = (uint32_t)offsetof(tsr_mutator, poll),
                       .cursor_offset = (uint32_t)offsetof(tsr_bump_pointer, cursor),
                       .limit_offset = (uint32_t)offsetof(tsr_bump_pointer, limit),
                       .moves_objects = heap->plan->moves_objects,
                       .uses_barrier = barrier->arms_objects || heap->watched != NULL,
                       .large_born_armed = barrier->large_born_armed,
                       .barrier_preserves = OS_HAS_PRESERVING_CALL,
                       .alloc_entry = tsr_alloc_slow,
                       .barrier_entry = os_write_barrier_entry,
                       .safepoint_entry = tsr_safepoint_slow};
  for (uint32_t i = 0; i < TSR_PLACEMENTS; i++)
    facts->allocators[i] = semantics_allocator(i);
}

/* ---- safepoints -------------------------------------------------------------------------------------------------- */

void tsr_safepoint_slow(tsr_mutator *mutator) {
  no_alloc_check(mutator, "a safepoint that has to stop");
  mutator_check_thread(mutator, "a safepoint");
  safepoint_park(mutator);
}

void tsr_enter_native(tsr_mutator *mutator) {
  tsr_error error;
  mutator_check_thread(mutator, "tsr_enter_native");
  if (safepoint_enter_native(mutator, &error) != TSR_OK) {
    heap_report(mutator->heap, mutator, &error);
  }
}

void tsr_leave_native(tsr_mutator *mutator) {
  tsr_error error;
  if (safepoint_leave_native(mutator, &error) == TSR_OK) {
    mutator_take_over(mutator->private_part);
  } else {
    heap_report(mutator->heap, mutator, &error);
  }
}

/* ---- fork -------------------------------------------------------------------------------------------------------- */

tsr_status tsr_freeze(tsr_mutator *mutator, tsr_error *error) {
  return collection_freeze(mutator, error);
}

tsr_status tsr_fork_prepare(tsr_mutator *mutator, tsr_error *error) {
  return fork_prepare(mutator, error);
}

void tsr_fork_parent(tsr_mutator *mutator) {
  tsr_error error;
  if (fork_parent(mutator, &error) != TSR_OK) heap_report(mutator->heap, mutator, &error);
}

void tsr_fork_child(tsr_mutator *mutator) {
  tsr_error error;
  if (fork_child(mutator, &error) != TSR_OK) heap_report(mutator->heap, mutator, &error);
}
