/*
 * tessera/heap_report.h.
 */
#include <tessera/heap_report.h>

#include "core/collect/memory_report.h"
#include "core/os/error.h"

tsr_status tsr_heap_report(tsr_mutator *mutator, tsr_stretch_callback callback, void *context,
                           tsr_error *error) {
  if (callback == NULL) {
    return error_set(error, TSR_INVALID_ARGUMENT, "tsr_heap_report: the callback is NULL");
  }
  return memory_report_run(mutator, "tsr_heap_report", callback, context, error);
}

tsr_status tsr_heap_report_write(tsr_mutator *mutator, FILE *file, tsr_error *error) {
  return memory_report_write(mutator, file, error);
}
