/*
 * Binding and unbinding mutators. The list only changes while no collection is on.
 */
#include <string.h>

#include "core/alloc/bump.h"
#include "core/collect/collector.h"
#include "core/os/error.h"
#include "core/trace/fibres.h"
#include "core/trace/remembered.h"

/* ---- bind -------------------------------------------------------------------------------------------- */

static bool mutator_is_bound(const struct collector *collector, const tsr_mutator *storage,
                             const void *vm_thread) {
  for (const struct tsr_mutator_private *m = collector->mutators; m != NULL; m = m->next) {
    if (m->mutator->vm_thread == vm_thread || m->mutator == storage) return true;
  }
  return false;
}

static void mutator_link(tsr_heap *heap, struct tsr_mutator_private *own) {
  own->next = heap->collector->mutators;
  heap->collector->mutators = own;
  os_atomic_store(&heap->bound_mutators, os_atomic_load(&heap->bound_mutators) + 1);
}

/* Who would claim the world may go on. Under the lock. */
static void mutator_pass(struct collector *collector) {
  if (--collector->passers == 0) os_condition_wake_all(&collector->resumed);
}

/* The mutator joins when no collection is on. */
static tsr_status mutator_join(tsr_heap *heap, struct tsr_mutator_private *own,
                               tsr_mutator *storage, void *vm_thread, tsr_error *error) {
  struct collector *collector = heap->collector;
  os_mutex_lock(&collector->lock);
  /* Asked before the wait, too: a mutator of this thread would be waited for by the collection. */
  bool bound = mutator_is_bound(collector, storage, vm_thread);
  collector->passers++;
  while (!bound && collector->claims > 0) {
    os_condition_wait(&collector->resumed, &collector->lock);
    bound = mutator_is_bound(collector, storage, vm_thread);
  }
  mutator_pass(collector);
  if (!bound) {
    memset(storage, 0, sizeof *storage);
    *storage = (tsr_mutator){.heap = heap, .vm_thread = vm_thread, .private_part = own};
    own->mutator = storage;
    bump_open(storage);
    mutator_link(heap, own);
  }
  os_mutex_unlock(&collector->lock);
  if (!bound) return TSR_OK;
  return error_set(error, TSR_BUSY, "a mutator for thread %p, or in this storage, is bound already",
                   vm_thread);
}

tsr_mutator *mutator_bind(tsr_heap *heap, tsr_mutator *storage, void *vm_thread, tsr_error *error) {
  if (vm_thread == NULL) {
    error_set(error, TSR_INVALID_ARGUMENT,
              "vm_thread is NULL; give an address that tells the VM's threads apart");
    return NULL;
  }
  memory_account *account = &heap->account;
  bool owned = storage == NULL;
  struct tsr_mutator_private *own = segment_request(account, MEMORY_MUTATORS, sizeof *own);
  if (own == NULL) goto no_memory;
  own->heap = heap;
  own->owned = owned;
  os_thread_identify(&own->thread);
  mutator_take_over(own);
  if (owned) {
    storage = segment_request(account, MEMORY_MUTATORS, sizeof *storage);
    if (storage == NULL) goto no_storage;
  }
  if (mutator_join(heap, own, storage, vm_thread, error) == TSR_OK) return storage;

  if (owned) segment_release(account, MEMORY_MUTATORS, storage, sizeof *storage);
  segment_release(account, MEMORY_MUTATORS, own, sizeof *own);
  return NULL;

no_storage:
  segment_release(account, MEMORY_MUTATORS, own, sizeof *own);
no_memory:
  error_set(error, TSR_OUT_OF_MEMORY, "no memory for another mutator within the heap's maximum");
  return NULL;
}

/* ---- unbind ------------------------------------------------------------------------------------------- */

static void mutator_unlink(tsr_heap *heap, const struct tsr_mutator_private *own) {
  struct tsr_mutator_private **link = &heap->collector->mutators;
  while (*link != own)
    link = &(*link)->next;
  *link = own->next;
  os_atomic_store(&heap->bound_mutators, os_atomic_load(&heap->bound_mutators) - 1);
}

/* What the mutator has noted and counted is the heap's. Under the lock. */
static void mutator_hand_over(struct tsr_mutator_private *own) {
  tsr_heap *heap = own->heap;
  remembered_take_over(own);
  uintptr_t slow_stores = os_atomic_load(&heap->slow_stores);
  uintptr_t noted_slots = os_atomic_load(&heap->noted_slots);
  os_atomic_store(&heap->slow_stores, slow_stores + os_atomic_load(&own->slow_stores));
  os_atomic_store(&heap->noted_slots, noted_slots + os_atomic_load(&own->noted_slots));
}

/* Leaves the list at a moment when no collection is on: a safepoint. */
static void mutator_leave(tsr_mutator *mutator) {
  struct collector *collector = mutator->heap->collector;
  os_mutex_lock(&collector->lock);
  collector->passers++;
  while (collector->in_progress) {
    os_mutex_unlock(&collector->lock);
    safepoint_block(mutator);
    os_mutex_lock(&collector->lock);
  }
  bump_revoke_all(mutator);
  bump_check_revoked(mutator);
  mutator_unlink(mutator->heap, mutator->private_part);
  mutator_hand_over(mutator->private_part);
  mutator_pass(collector);
  os_mutex_unlock(&collector->lock);
}

/* Frees what belongs to Tessera; touches no storage of the VM's. */
static void mutator_free(struct tsr_mutator_private *own) {
  memory_account *account = &own->heap->account;
  locals_free(own->heap, own->locals);
  bump_close(own);
  if (own->owned) {
    segment_release(account, MEMORY_MUTATORS, own->mutator, sizeof *own->mutator);
  }
  segment_release(account, MEMORY_MUTATORS, own, sizeof *own);
}

void mutators_forget_others(tsr_mutator *self) {
  struct collector *collector = self->heap->collector;
  struct tsr_mutator_private *m = collector->mutators;
  while (m != NULL) {
    struct tsr_mutator_private *next = m->next;
    if (m->mutator != self) {
      fibre_leave_behind(m);
      mutator_hand_over(m);
      mutator_free(m);
    }
    m = next;
  }
  self->private_part->next = NULL;
  os_thread_identify(&self->private_part->thread); /* the system counts it anew */
  collector->mutators = self->private_part;
  os_atomic_store(&self->heap->bound_mutators, 1);
}

tsr_status mutator_unbind(tsr_mutator *mutator, tsr_error *error) {
  struct tsr_mutator_private *own = mutator->private_part;
  if (own->fibre != NULL) {
    return error_set(error, TSR_BUSY,
                     "the mutator runs the fibre at %p; tsr_fibre_switch() to NULL first",
                     (void *)own->fibre);
  }
  if (locals_are_open(mutator)) {
    return error_set(error, TSR_BUSY, "the mutator has open handle scopes; close them first");
  }
  tsr_status status = mutator_check_stoppable(mutator, "tsr_unbind_mutator", error);
  if (status != TSR_OK) return status;
  mutator_leave(mutator);
  bool owned = own->owned;
  mutator_free(own);
  if (!owned) memset(mutator, 0, sizeof *mutator);
  return TSR_OK;
}

/* ---- figures ------------------------------------------------------------------------------------------ */

void mutators_fill(tsr_heap *heap, tsr_stats *stats) {
  struct collector *collector = heap->collector;
  os_mutex_lock(&collector->lock);
  report_fill(heap, stats);
  for (const struct tsr_mutator_private *m = collector->mutators; m != NULL; m = m->next) {
    stats->barrier_slow += os_atomic_load(&m->slow_stores);
    stats->barrier_slots += os_atomic_load(&m->noted_slots);
  }
  os_mutex_unlock(&collector->lock);
}
