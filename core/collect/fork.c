/*
 * fork(): the heap as it goes to a child that has one thread.
 *
 * Before the fork every mutator but the forking one is stopped, its buffers are retired while its thread
 * still exists, and every lock of the heap is taken, in the order in which they nest elsewhere. So the
 * child's copy of each table is whole, each block can be walked, and what the child must not
 * touch, the storage of threads that it does not have, it need not touch [design: fork].
 */
#include "core/collect/collector.h"
#include "core/collect/low_memory.h"
#include "core/collect/memory_requests.h"
#include "core/heap/hold.h"
#include "core/object/layout.h"
#include "core/os/error.h"
#include "core/trace/fibres.h"
#include "core/trace/finalizers.h"
#include "core/trace/identities.h"
#include "core/trace/pins.h"
#include "core/trace/remembered.h"
#include "core/trace/weak_tables.h"

static void fork_locks(tsr_heap *heap, os_fork_stage stage) {
  os_mutex_fork(&heap->collector->lock, stage);
  low_memory_fork(heap, stage);
  memory_requests_fork(heap, stage);
  hold_fork(heap, stage);
  roots_fork(heap, stage);
  fibres_fork(heap, stage);
  pins_fork(heap, stage);
  identities_fork(heap, stage);
  finalizers_fork(heap, stage);
  weak_tables_fork(heap, stage);
  remembered_fork(heap, stage);
  team_fork(heap, stage);
  layout_table_fork(heap, stage);
  spaces_fork(heap, stage);
  heap_fork(heap, stage);
  report_fork(heap, stage);
}

tsr_status fork_prepare(tsr_mutator *self, tsr_error *error) {
  if (self->private_part->forking) {
    return error_set(error, TSR_BUSY, "tsr_fork_prepare: the heap is prepared already");
  }
  tsr_status status = world_stop(self, "tsr_fork_prepare", error);
  if (status != TSR_OK) return status;
  world_revoke_pairs(self->heap, self);
  fork_locks(self->heap, OS_FORK_BEFORE);
  self->private_part->forking = true;
  return TSR_OK;
}

static tsr_status fork_end(tsr_mutator *self, const char *function, tsr_error *error) {
  if (!self->private_part->forking) {
    return error_set(error, TSR_BUSY, "%s without tsr_fork_prepare() on this mutator", function);
  }
  self->private_part->forking = false;
  return TSR_OK;
}

tsr_status fork_parent(tsr_mutator *self, tsr_error *error) {
  tsr_status status = fork_end(self, "tsr_fork_parent", error);
  if (status != TSR_OK) return status;
  fork_locks(self->heap, OS_FORK_AFTER);
  world_yield(self);
  return TSR_OK;
}

tsr_status fork_child(tsr_mutator *self, tsr_error *error) {
  tsr_status status = fork_end(self, "tsr_fork_child", error);
  if (status != TSR_OK) return status;
  struct collector *collector = self->heap->collector;
  mutators_forget_others(self);
  os_atomic32_exchange_full(&self->poll, 0);
  collector->in_progress = false;
  collector->stopping = false;
  collector->claims = 0;
  collector->passers = 0;
  collector->finished = collector->started;
  team_forget_threads(self->heap);
  os_stack_forget_thread(&collector->stack);
  report_forget_threads(self->heap);
  memory_requests_forget_waiters(self->heap);
  os_condition_forget_waiters(&collector->stopped);
  os_condition_forget_waiters(&collector->resumed);
  fork_locks(self->heap, OS_FORK_AFTER);
  return TSR_OK;
}
