/*
 * Safepoints: how mutators are stopped and resumed [design: stop-protocol].
 *
 * The collecting thread raises the poll flag of every mutator and then looks at their states; a
 * mutator changes its state by a sequentially consistent exchange and then looks at its poll flag. So either the
 * collecting thread sees a mutator in managed code and waits for it, or that mutator sees the flag
 * and stops: the two stores and the two loads cannot both miss (Dekker). States change to STOPPED and
 * back only under the lock, so a mutator that wakes late stays stopped for the next collection.
 *
 * A VM with threads of its own replaces stop, resume and block through its binding.
 */
#include "core/collect/collector.h"
#include "core/os/error.h"

static enum mutator_state mutator_state_of(struct tsr_mutator_private *mutator) {
  return (enum mutator_state)os_atomic_load_full(&mutator->state);
}

/* ---- the built-in protocol --------------------------------------------------------------------------- */

static bool safepoint_all_stopped(const struct collector *collector, const tsr_mutator *self) {
  for (struct tsr_mutator_private *m = collector->mutators; m != NULL; m = m->next) {
    if (m->mutator != self && mutator_state_of(m) == MUTATOR_MANAGED) return false;
  }
  return true;
}

static void safepoint_set_polls(struct collector *collector, uint32_t value) {
  for (struct tsr_mutator_private *m = collector->mutators; m != NULL; m = m->next) {
    os_atomic32_exchange_full(&m->mutator->poll, value);
  }
}

static void safepoint_stop_built_in(tsr_heap *heap, tsr_mutator *self) {
  struct collector *collector = heap->collector;
  os_mutex_lock(&collector->lock);
  collector->stopping = true;
  safepoint_set_polls(collector, 1);
  while (!safepoint_all_stopped(collector, self)) {
    os_condition_wait(&collector->stopped, &collector->lock);
  }
  os_mutex_unlock(&collector->lock);
}

static void safepoint_resume_built_in(tsr_heap *heap) {
  struct collector *collector = heap->collector;
  os_mutex_lock(&collector->lock);
  collector->stopping = false;
  safepoint_set_polls(collector, 0);
  os_condition_wake_all(&collector->resumed);
  os_mutex_unlock(&collector->lock);
}

void safepoint_park(tsr_mutator *self) {
  struct collector *collector = self->heap->collector;
  struct tsr_mutator_private *own = self->private_part;
  os_mutex_lock(&collector->lock);
  uintptr_t state = os_atomic_load(&own->state);
  os_atomic_store_release(&own->state, MUTATOR_STOPPED);
  os_condition_wake_all(&collector->stopped);
  while (collector->stopping || collector->in_progress) {
    os_condition_wait(&collector->resumed, &collector->lock);
  }
  os_atomic_store_release(&own->state, state);
  os_mutex_unlock(&collector->lock);
}

/* ---- built in or the VM's ---------------------------------------------------------------------------- */

void safepoint_stop_all(tsr_heap *heap, tsr_mutator *self) {
  if (heap->binding->stop_all_mutators != NULL) {
    heap->binding->stop_all_mutators(heap->vm, heap, self);
  } else {
    safepoint_stop_built_in(heap, self);
  }
}

void safepoint_resume_all(tsr_heap *heap, tsr_mutator *self) {
  if (heap->binding->resume_mutators != NULL) {
    heap->binding->resume_mutators(heap->vm, heap, self);
  } else {
    safepoint_resume_built_in(heap);
  }
}

void safepoint_block(tsr_mutator *self) {
  const tsr_heap *heap = self->heap;
  if (heap->binding->block_for_gc != NULL) {
    heap->binding->block_for_gc(heap->vm, self);
  } else {
    safepoint_park(self);
  }
}

/* ---- native code ---------------------------------------------------------------------------------------- */

tsr_status safepoint_enter_native(tsr_mutator *self, tsr_error *error) {
  struct tsr_mutator_private *own = self->private_part;
  if (!os_atomic_compare_exchange_full(&own->state, MUTATOR_MANAGED, MUTATOR_NATIVE)) {
    return error_set(
        error, TSR_BUSY,
        "tsr_enter_native: the mutator is in native code already; regions do not nest");
  }
  if (os_atomic32_load_full(&self->poll) != 0) {
    /* Somebody may be waiting for this mutator to stop touching the heap: now it has. */
    struct collector *collector = self->heap->collector;
    os_mutex_lock(&collector->lock);
    os_condition_wake_all(&collector->stopped);
    os_mutex_unlock(&collector->lock);
  }
  return TSR_OK;
}

tsr_status safepoint_leave_native(tsr_mutator *self, tsr_error *error) {
  struct tsr_mutator_private *own = self->private_part;
  if (!os_atomic_compare_exchange_full(&own->state, MUTATOR_NATIVE, MUTATOR_MANAGED)) {
    return error_set(error, TSR_BUSY, "tsr_leave_native: the mutator is not in native code");
  }
  /* A zero that the last resume stored orders what that collection did before what follows here. */
  if (os_atomic32_load_full(&self->poll) != 0) safepoint_park(self);
  return TSR_OK;
}
