/*
 * What every barrier does about stores into sealed objects.
 */
#include "barriers/barriers.h"
#include "core/heap/heap.h"
#include "core/os/error.h"
#include "core/space/seal.h"

bool barrier_refuses(tsr_mutator *mutator, tsr_ref object) {
  if (!seal_is_closed(mutator->heap, object)) return false;
  tsr_error error;
  seal_note_refused(mutator->heap, object);
  error_set(&error, TSR_BUSY, "a store into the object at %p, which is sealed", (void *)object);
  heap_report(mutator->heap, mutator, &error);
  return true;
}
