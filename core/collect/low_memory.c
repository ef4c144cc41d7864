/*
 * Reclaimers and the emergency reserve.
 *
 * No lock is held while the VM is called back.
 */
#include "core/collect/low_memory.h"

#include "core/alloc/mutator.h"
#include "core/collect/allocate.h"
#include "core/collect/memory_requests.h"
#include "core/heap/hold.h"
#include "core/os/error.h"

struct tsr_reclaimer {
  tsr_reclaimer *next;
  tsr_reclaim reclaim;
  void *context;
  uint64_t number; /* from 1, in the order in which they were added */
};

struct low_memory {
  os_mutex lock; /* guards what follows */
  tsr_reclaimer *first;
  uint64_t added;
  memory_hold reserve;
};

tsr_status low_memory_open(tsr_heap *heap, tsr_error *error) {
  struct low_memory *low = segment_request(&heap->account, MEMORY_INSTANCE, sizeof *low);
  if (low == NULL) return heap_no_memory(heap, error);
  if (!os_mutex_create(&low->lock)) {
    segment_release(&heap->account, MEMORY_INSTANCE, low, sizeof *low);
    return heap_no_memory(heap, error);
  }
  heap->low_memory = low;
  return TSR_OK;
}

void low_memory_close(tsr_heap *heap) {
  struct low_memory *low = heap->low_memory;
  while (low->first != NULL)
    (void)reclaimer_remove(heap, low->first, NULL);
  hold_release(heap, &low->reserve);
  os_mutex_destroy(&low->lock);
  segment_release(&heap->account, MEMORY_INSTANCE, low, sizeof *low);
  heap->low_memory = NULL;
}

void low_memory_fork(tsr_heap *heap, os_fork_stage stage) {
  os_mutex_fork(&heap->low_memory->lock, stage);
}

/* ---- reclaimers ------------------------------------------------------------------------------- */

tsr_reclaimer *reclaimer_add(tsr_heap *heap, tsr_reclaim reclaim, void *context, tsr_error *error) {
  struct low_memory *low = heap->low_memory;
  tsr_reclaimer *added = segment_request(&heap->account, MEMORY_INSTANCE, sizeof *added);
  if (added == NULL) {
    error_set(error, TSR_OUT_OF_MEMORY, "tsr_reclaimer_add: no memory for another reclaimer");
    return NULL;
  }
  os_mutex_lock(&low->lock);
  *added = (tsr_reclaimer){.reclaim = reclaim, .context = context, .number = ++low->added};
  tsr_reclaimer **link = &low->first;
  while (*link != NULL)
    link = &(*link)->next;
  *link = added;
  os_mutex_unlock(&low->lock);
  return added;
}

tsr_status reclaimer_remove(tsr_heap *heap, tsr_reclaimer *reclaimer, tsr_error *error) {
  struct low_memory *low = heap->low_memory;
  os_mutex_lock(&low->lock);
  tsr_reclaimer **link = &low->first;
  while (*link != NULL && *link != reclaimer)
    link = &(*link)->next;
  bool found = *link != NULL;
  if (found) *link = reclaimer->next;
  os_mutex_unlock(&low->lock);
  if (!found) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "tsr_reclaimer_remove: %p is no reclaimer of this heap", (void *)reclaimer);
  }
  segment_release(&heap->account, MEMORY_INSTANCE, reclaimer, sizeof *reclaimer);
  return TSR_OK;
}

/* A copy of the first one with a number above `last`; without a function: there is none. */
static tsr_reclaimer reclaimer_after(struct low_memory *low, uint64_t last) {
  tsr_reclaimer found = {.reclaim = NULL};
  os_mutex_lock(&low->lock);
  const tsr_reclaimer *at = low->first;
  while (at != NULL && at->number <= last)
    at = at->next;
  if (at != NULL) found = *at;
  os_mutex_unlock(&low->lock);
  return found;
}

bool reclaimers_call(tsr_mutator *mutator, size_t requested_bytes, uint64_t *last) {
  tsr_heap *heap = mutator->heap;
  struct tsr_mutator_private *own = mutator->private_part;
  for (;;) {
    tsr_reclaimer next = reclaimer_after(heap->low_memory, *last);
    if (next.reclaim == NULL) return false;
    *last = next.number;
    own->calls_back = true;
    bool gave = next.reclaim(heap->vm, mutator, next.context, requested_bytes);
    own->calls_back = false;
    if (gave) return true;
  }
}

/* ---- the emergency reserve ------------------------------------------------------------------------- */

tsr_status emergency_hold(tsr_heap *heap, size_t bytes, tsr_error *error) {
  struct low_memory *low = heap->low_memory;
  os_mutex_lock(&low->lock);
  bool held = hold_change(heap, bytes, &low->reserve);
  os_mutex_unlock(&low->lock);
  if (!held) {
    return error_set(
        error, TSR_OUT_OF_MEMORY,
        "tsr_emergency_reserve_hold: the heap has no room for a reserve of %zu bytes now "
        "(%zu of %zu bytes committed); collect first, or ask for less",
        bytes, os_atomic_load(&heap->account.total.bytes), heap->account.limit_bytes);
  }
  memory_requests_serve(heap);
  return TSR_OK;
}

size_t emergency_bytes(tsr_heap *heap) {
  struct low_memory *low = heap->low_memory;
  os_mutex_lock(&low->lock);
  size_t bytes = hold_bytes(&low->reserve);
  os_mutex_unlock(&low->lock);
  return bytes;
}

size_t emergency_open(tsr_mutator *mutator) {
  struct low_memory *low = mutator->heap->low_memory;
  os_mutex_lock(&low->lock);
  memory_hold reserve = low->reserve;
  low->reserve = (memory_hold){.blocks = 0};
  os_mutex_unlock(&low->lock);
  size_t bytes = hold_bytes(&reserve);
  return bytes > 0 && allocate_from_hold(mutator, &reserve) ? bytes : 0;
}
