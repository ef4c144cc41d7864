/*
 * The barrier of plans that arm no object but sealed ones. Otherwise its fast path never fires; when it
 * does, the VM has written into the GC byte, and learns it here rather than in another plan.
 */
#include "barriers/barriers.h"
#include "core/heap/heap.h"
#include "core/os/error.h"
#include "core/space/seal.h"

static void barrier_none_slow(tsr_mutator *mutator, tsr_ref object, tsr_slot *slot, uint64_t word) {
  (void)slot;
  (void)word;
  tsr_error error;
  if (seal_is_closed(mutator->heap, object)) {
    error_set(&error, TSR_BUSY, "a store into the object at %p, which is sealed", (void *)object);
    heap_report(mutator->heap, mutator, &error);
    return;
  }
  error_set(&error, TSR_INVALID_ARGUMENT,
            "the object at %p is armed, but plan %s arms none: the VM wrote into byte %d of its "
            "first word, which belongs to the collector",
            (void *)object, mutator->heap->plan->name, TSR_GC_BYTE_OFFSET);
  heap_report(mutator->heap, mutator, &error);
}

const struct barrier barrier_none = {.slow = barrier_none_slow};
