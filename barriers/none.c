/*
 * The barrier of plans that arm no object but sealed ones. The verifier arms others, to learn which stores
 * come here. Otherwise its fast path never fires; when it does, the VM has written into the GC byte, and learns it
 * here rather than in another plan.
 */
#include "barriers/barriers.h"
#include "core/heap/heap.h"
#include "core/object/header.h"
#include "core/os/error.h"

static void barrier_none_slow(tsr_mutator *mutator, tsr_ref object, const tsr_slot *first,
                              size_t count, const uint64_t *word) {
  (void)first;
  (void)count;
  (void)word;
  tsr_error error;
  if (barrier_refuses(mutator, object)) return;
  if (heap_watches(mutator->heap, object)) {
    os_atomic_byte_change((unsigned char *)object + TSR_GC_BYTE_OFFSET, 0, GC_ARMED);
    return;
  }
  error_set(&error, TSR_INVALID_ARGUMENT,
            "the object at %p is armed, but plan %s arms none: the VM wrote into byte %d of its "
            "first word, which belongs to the collector",
            (void *)object, mutator->heap->plan->name, TSR_GC_BYTE_OFFSET);
  heap_report(mutator->heap, mutator, &error);
}

const struct barrier barrier_none = {.slow = barrier_none_slow};
