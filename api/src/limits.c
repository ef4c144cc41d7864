/*
 * tessera/limits.h.
 */
#include <tessera/limits.h>

#include "core/collect/collector.h"
#include "core/os/error.h"

static tsr_status external_check_mutator(const tsr_heap *heap, const tsr_mutator *mutator,
                                         int64_t bytes, tsr_error *error) {
  if (mutator->heap != heap) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "tsr_adjust_external: the mutator is bound to another heap");
  }
  return bytes > 0 ? mutator_check_stoppable(mutator, "tsr_adjust_external", error) : TSR_OK;
}

tsr_status tsr_adjust_external(tsr_heap *heap, tsr_mutator *mutator, int64_t bytes,
                               tsr_error *error) {
  tsr_status status = TSR_OK;
  if (mutator != NULL) status = external_check_mutator(heap, mutator, bytes, error);
  if (status == TSR_OK) status = heap_adjust_external(heap, bytes, error);
  if (status == TSR_OK && mutator != NULL && bytes > 0 && heap_external_is_due(heap)) {
    (void)collection_run(mutator, COLLECTION_EXTERNAL, NULL, NULL);
  }
  return status;
}
