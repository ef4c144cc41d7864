/*
 * Safepoints: how mutators are stopped and resumed [design: stop-protocol].
 *
 * The collecting thread raises the poll flag of every mutator and then looks at their states; a
 * mutator changes its state by a sequentially consistent exchange and then looks at its poll flag. So either the
 * collecting thread sees a mutator in managed code and waits for it, or that mutator sees the flag
 * and stops: the two stores and the two loads cannot both miss (Dekker). States change to STOPPED and
 * back only under the lock, so a mutator that wakes late stays stopped for the next collection.
 *
 * A mutator that comes to no safepoint holds up all the others, and nothing would show why. So who has waited
 * for longer than the option stop_timeout says which threads it waits for, once in a stop, and goes on waiting.
 *
 * A VM with threads of its own replaces stop, resume and block through its binding.
 */
#include <inttypes.h>

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

/* Waits until all have stopped. False: that time has come. Under the lock. */
static bool safepoint_await(struct collector *collector, const tsr_mutator *self, uint64_t end_ns) {
  bool in_time = true;
  while (!safepoint_all_stopped(collector, self) && in_time) {
    in_time = os_condition_wait_until(&collector->stopped, &collector->lock, end_ns);
  }
  return in_time;
}

/* A stop that has waited for too long. */
typedef struct safepoint_delay {
  tsr_heap *heap;
  tsr_mutator *self;
  uint64_t waited_ns;
} safepoint_delay;

static void safepoint_report_mutator(const safepoint_delay *delay,
                                     const struct tsr_mutator_private *late) {
  tsr_error error;
  error_set(&error, TSR_BUSY,
            "thread %" PRIu64 " \"%s\" (vm_thread %p, mutator %p) has not stopped for %" PRIu64
            " ms, and all others wait: let it call tsr_safepoint(), and tsr_enter_native() before "
            "what may block",
            late->thread.id, late->thread.name, late->mutator->vm_thread, (void *)late->mutator,
            delay->waited_ns / 1000000);
  heap_report(delay->heap, delay->self, &error);
}

/* No mutator comes or goes in a stop. */
static void safepoint_report_late(void *context) {
  const safepoint_delay *delay = context;
  struct tsr_mutator_private *m = delay->heap->collector->mutators;
  for (; m != NULL; m = m->next) {
    if (m->mutator == delay->self || mutator_state_of(m) != MUTATOR_MANAGED) continue;
    safepoint_report_mutator(delay, m);
  }
}

/* Not under the lock, for a thread that the VM's callback waits for may need it; and on the collector's stack, for
   the thread's own may be too small to print from. */
static void safepoint_report_delay(tsr_heap *heap, tsr_mutator *self, uint64_t waited_ns) {
  struct collector *collector = heap->collector;
  safepoint_delay delay = {heap, self, waited_ns};
  os_mutex_unlock(&collector->lock);
  os_stack_call(&collector->stack, safepoint_report_late, &delay);
  os_mutex_lock(&collector->lock);
}

static void safepoint_stop_built_in(tsr_heap *heap, tsr_mutator *self) {
  struct collector *collector = heap->collector;
  uint64_t timeout_ns = heap->options.values.stop_timeout;
  uint64_t begin_ns = os_clock_ns();
  os_mutex_lock(&collector->lock);
  collector->stopping = true;
  safepoint_set_polls(collector, 1);
  if (!safepoint_await(collector, self, timeout_ns == 0 ? OS_CLOCK_NEVER : begin_ns + timeout_ns)) {
    safepoint_report_delay(heap, self, os_clock_ns() - begin_ns);
    (void)safepoint_await(collector, self, OS_CLOCK_NEVER);
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
  if (own->no_alloc != NULL) return mutator_check_stoppable(self, "tsr_enter_native", error);
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
