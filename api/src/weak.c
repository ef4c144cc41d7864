/*
 * tessera/weak.h and tessera/finalize.h.
 */
#include "core/trace/weak.h"

#include "core/alloc/objects.h"
#include "core/os/error.h"
#include "core/trace/finalizers.h"
#include "core/trace/weak_tables.h"

/* ---- weak things of the VM ------------------------------------------------------------------- */

bool tsr_weak_is_live(const tsr_weak_phase *phase, tsr_ref object) {
  return weak_is_live(phase->heap, object);
}

void tsr_weak_keep(tsr_weak_phase *phase, tsr_slot *slot) {
  weak_keep(phase->heap, slot, 1);
}

bool tsr_weak_forward(tsr_weak_phase *phase, tsr_slot *slot) {
  tsr_heap *heap = phase->heap;
  if (!weak_update(heap, slot)) return false;
  if (heap->plan->update_slots != NULL) heap->plan->update_slots(&heap->team->first, slot, 1);
  return true;
}

/* ---- finalizers ------------------------------------------------------------------------------ */

tsr_status tsr_finalizer_attach(tsr_mutator *mutator, tsr_ref object, uint64_t data,
                                unsigned priority, tsr_error *error) {
  size_t bytes;
  tsr_status status = object_check(mutator, object, "tsr_finalizer_attach", &bytes, error);
  if (status != TSR_OK) return status;
  if (priority >= TSR_FINALIZER_PRIORITIES) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "tsr_finalizer_attach: a priority is below %u; got %u",
                     TSR_FINALIZER_PRIORITIES, priority);
  }
  return finalizers_attach(mutator->heap, object, data, priority, error);
}

bool tsr_finalizer_next(tsr_mutator *mutator, tsr_finalizable *ready) {
  if (mutator_check_managed(mutator, "tsr_finalizer_next", NULL) != TSR_OK) return false;
  return finalizers_next(mutator->heap, false, ready);
}

size_t tsr_finalizers_ready(tsr_heap *heap) {
  return finalizers_ready(heap);
}

size_t tsr_finalizers_run_all(tsr_mutator *mutator, unsigned rounds,
                              void (*run)(void *context, tsr_mutator *mutator,
                                          const tsr_finalizable *finalizable),
                              void *context) {
  tsr_heap *heap = mutator->heap;
  tsr_finalizable expired;
  if (mutator_check_managed(mutator, "tsr_finalizers_run_all", NULL) != TSR_OK) rounds = 0;
  for (; rounds > 0 && finalizers_expire(heap); rounds--) {
    while (finalizers_next(heap, true, &expired))
      run(context, mutator, &expired);
  }
  return finalizers_attached(heap) + finalizers_ready(heap);
}

/* ---- weak tables ----------------------------------------------------------------------------- */

tsr_weak_table *tsr_weak_table_new(tsr_heap *heap, tsr_weak_mode mode, tsr_error *error) {
  return weak_table_new(heap, mode, error);
}

void tsr_weak_table_free(tsr_weak_table *table) {
  if (table != NULL) weak_table_free(table);
}

tsr_status tsr_weak_table_put(tsr_mutator *mutator, tsr_weak_table *table, const tsr_weak_key *key,
                              uint64_t *value, tsr_weak_put put, tsr_error *error) {
  tsr_status status = mutator_check_managed(mutator, "tsr_weak_table_put", error);
  return status == TSR_OK ? weak_table_put(table, key, value, put, error) : status;
}

bool tsr_weak_table_get(tsr_mutator *mutator, tsr_weak_table *table, const tsr_weak_key *key,
                        uint64_t *value) {
  return mutator_check_managed(mutator, "tsr_weak_table_get", NULL) == TSR_OK &&
         weak_table_get(table, key, value);
}

bool tsr_weak_table_remove(tsr_mutator *mutator, tsr_weak_table *table, const tsr_weak_key *key) {
  return mutator_check_managed(mutator, "tsr_weak_table_remove", NULL) == TSR_OK &&
         weak_table_remove(table, key);
}

size_t tsr_weak_table_count(tsr_weak_table *table) {
  return weak_table_count(table);
}

void tsr_weak_table_each(tsr_mutator *mutator, tsr_weak_table *table,
                         void (*visit)(void *context, uint64_t key, uint64_t value),
                         void *context) {
  if (mutator_check_managed(mutator, "tsr_weak_table_each", NULL) != TSR_OK) return;
  weak_table_each(table, visit, context);
}
