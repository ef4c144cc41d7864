/*
 * tessera/low_memory.h, tessera/reservation.h and tessera/memory_request.h.
 */
#include <tessera/low_memory.h>
#include <tessera/memory_request.h>
#include <tessera/reservation.h>

#include "core/alloc/reservation.h"
#include "core/collect/allocate.h"
#include "core/collect/low_memory.h"
#include "core/collect/memory_requests.h"
#include "core/os/error.h"

/* ---- low memory ------------------------------------------------------------------------------------ */

tsr_reclaimer *tsr_reclaimer_add(tsr_heap *heap, tsr_reclaim reclaim, void *context,
                                 tsr_error *error) {
  if (reclaim != NULL) return reclaimer_add(heap, reclaim, context, error);
  error_set(error, TSR_INVALID_ARGUMENT, "tsr_reclaimer_add: the callback is NULL");
  return NULL;
}

tsr_status tsr_reclaimer_remove(tsr_heap *heap, tsr_reclaimer *reclaimer, tsr_error *error) {
  return reclaimer_remove(heap, reclaimer, error);
}

tsr_status tsr_emergency_reserve_hold(tsr_heap *heap, size_t bytes, tsr_error *error) {
  return emergency_hold(heap, bytes, error);
}

size_t tsr_emergency_reserve(tsr_heap *heap) {
  return emergency_bytes(heap);
}

/* ---- sections and reservations ----------------------------------------------------------------------- */

void tsr_no_alloc_begin(tsr_mutator *mutator, tsr_no_alloc *section, const char *file, int line) {
  section->file = file == NULL ? "unknown file" : file;
  section->line = line;
  no_alloc_begin(mutator, section);
}

tsr_status tsr_no_alloc_end(tsr_mutator *mutator, tsr_no_alloc *section, tsr_error *error) {
  return no_alloc_end(mutator, section, error);
}

static tsr_status reservation_check(const tsr_heap *heap, const char *function, size_t bytes,
                                    size_t largest, tsr_error *error) {
  size_t most = TSR_MAX_INLINE_BYTES;
  if (largest >= heap->object_align && largest <= most && largest <= bytes) return TSR_OK;
  return error_set(
      error, TSR_INVALID_ARGUMENT,
      "%s: %zu bytes in objects of at most %zu cannot be reserved: the largest object has "
      "from %zu to %zu bytes, and no more than all together",
      function, bytes, largest, heap->object_align, most);
}

tsr_status tsr_reserve(tsr_mutator *mutator, size_t bytes, size_t largest, tsr_error *error) {
  tsr_status status = reservation_check(mutator->heap, "tsr_reserve", bytes, largest, error);
  return status == TSR_OK ? allocate_reserve(mutator, bytes, largest, error) : status;
}

void tsr_reserve_end(tsr_mutator *mutator) {
  reservation_end(mutator);
}

/* ---- memory requests ---------------------------------------------------------------------------------- */

tsr_memory_request *tsr_request_memory(tsr_heap *heap, size_t bytes, size_t largest,
                                       tsr_error *error) {
  tsr_status status = reservation_check(heap, "tsr_request_memory", bytes, largest, error);
  return status == TSR_OK ? memory_request_new(heap, bytes, largest, error) : NULL;
}

tsr_status tsr_request_wait(tsr_memory_request *request, uint64_t timeout_ns, tsr_error *error) {
  return memory_request_wait(request, timeout_ns, error);
}

tsr_status tsr_request_use(tsr_memory_request *request, tsr_mutator *mutator, tsr_error *error) {
  return memory_request_use(request, mutator, error);
}

void tsr_request_cancel(tsr_memory_request *request) {
  memory_request_cancel(request);
}

void tsr_request_end(tsr_memory_request *request) {
  if (request != NULL) memory_request_end(request);
}
