/*
 * Requests for memory. Those that wait are a queue, and only its head is ever granted.
 */
#include "core/collect/memory_requests.h"

#include "core/alloc/reservation.h"
#include "core/collect/allocate.h"
#include "core/collect/collector.h"
#include "core/heap/hold.h"
#include "core/os/error.h"
#include "core/os/machine.h"

enum request_state { REQUEST_WAITS, REQUEST_GRANTED, REQUEST_GONE };

struct tsr_memory_request {
  tsr_heap *heap;
  tsr_memory_request *next_made; /* of all that have not ended */
  tsr_memory_request *next;      /* in the queue */
  enum request_state state;
  size_t bytes;
  memory_hold hold; /* once it is granted */
};

struct memory_requests {
  os_mutex lock; /* guards what follows */
  os_condition changed;
  tsr_memory_request *made;
  tsr_memory_request *first, **end; /* the queue */
  os_atomic_word wants_collection;  /* written under the lock, read by any thread */
};

tsr_status memory_requests_open(tsr_heap *heap, tsr_error *error) {
  struct memory_requests *all = segment_request(&heap->account, MEMORY_INSTANCE, sizeof *all);
  if (all == NULL) goto no_memory;
  if (!os_mutex_create(&all->lock)) goto no_lock;
  if (!os_condition_create(&all->changed)) goto no_condition;
  all->end = &all->first;
  heap->memory_requests = all;
  return TSR_OK;

no_condition:
  os_mutex_destroy(&all->lock);
no_lock:
  segment_release(&heap->account, MEMORY_INSTANCE, all, sizeof *all);
no_memory:
  return heap_no_memory(heap, error);
}

void memory_requests_close(tsr_heap *heap) {
  struct memory_requests *all = heap->memory_requests;
  while (all->made != NULL)
    memory_request_end(all->made);
  os_condition_destroy(&all->changed);
  os_mutex_destroy(&all->lock);
  segment_release(&heap->account, MEMORY_INSTANCE, all, sizeof *all);
  heap->memory_requests = NULL;
}

void memory_requests_fork(tsr_heap *heap, os_fork_stage stage) {
  os_mutex_fork(&heap->memory_requests->lock, stage);
}

void memory_requests_forget_waiters(tsr_heap *heap) {
  os_condition_forget_waiters(&heap->memory_requests->changed);
}

/* ---- the queue -------------------------------------------------------------------------------- */

static void memory_requests_serve_locked(tsr_heap *heap) {
  struct memory_requests *all = heap->memory_requests;
  for (tsr_memory_request *head; (head = all->first) != NULL;) {
    if (!hold_change(heap, head->bytes, &head->hold)) return;
    head->state = REQUEST_GRANTED;
    all->first = head->next;
    if (all->first == NULL) all->end = &all->first;
    os_condition_wake_all(&all->changed);
  }
}

void memory_requests_serve(tsr_heap *heap) {
  struct memory_requests *all = heap->memory_requests;
  os_mutex_lock(&all->lock);
  memory_requests_serve_locked(heap);
  os_mutex_unlock(&all->lock);
}

void memory_requests_end_collection(tsr_heap *heap) {
  struct memory_requests *all = heap->memory_requests;
  os_mutex_lock(&all->lock);
  memory_requests_serve_locked(heap);
  os_atomic_store(&all->wants_collection, 0);
  os_mutex_unlock(&all->lock);
}

bool memory_requests_want_collection(const tsr_heap *heap) {
  return os_atomic_load(&heap->memory_requests->wants_collection) != 0;
}

static void memory_request_leave_queue(struct memory_requests *all,
                                       const tsr_memory_request *request) {
  tsr_memory_request **link = &all->first;
  while (*link != request)
    link = &(*link)->next;
  *link = request->next;
  if (*link == NULL) all->end = link;
}

/* ---- one request ------------------------------------------------------------------------------- */

static bool memory_request_is_hopeless(const tsr_heap *heap, size_t bytes) {
  return bytes > os_memory_available_bytes() || !hold_is_possible(heap, bytes);
}

tsr_memory_request *memory_request_new(tsr_heap *heap, size_t bytes, size_t largest,
                                       tsr_error *error) {
  struct memory_requests *all = heap->memory_requests;
  size_t whole = reservation_blocks(heap, bytes, largest);
  bool hopeless =
      whole > SIZE_MAX / BLOCK_BYTES || memory_request_is_hopeless(heap, whole * BLOCK_BYTES);
  tsr_memory_request *made = NULL;
  if (!hopeless) made = segment_request(&heap->account, MEMORY_INSTANCE, sizeof *made);
  if (made == NULL) {
    error_set(error, TSR_OUT_OF_MEMORY, "tsr_request_memory: %s for %zu bytes",
              hopeless ? "neither the heap nor the machine could ever have room"
                       : "the heap has no memory to note a request",
              bytes);
    return NULL;
  }
  *made = (tsr_memory_request){.heap = heap, .bytes = whole * BLOCK_BYTES};
  os_mutex_lock(&all->lock);
  made->next_made = all->made;
  all->made = made;
  *all->end = made;
  all->end = &made->next;
  memory_requests_serve_locked(heap);
  if (made->state == REQUEST_WAITS) os_atomic_store(&all->wants_collection, 1);
  os_mutex_unlock(&all->lock);
  return made;
}

static tsr_status memory_request_gone(tsr_error *error) {
  return error_set(error, TSR_CANCELLED, "the memory request was cancelled, or has been used");
}

/* TSR_OK: it is granted. */
static tsr_status memory_request_check(const tsr_memory_request *request, tsr_error *error) {
  if (request->state == REQUEST_GRANTED) return TSR_OK;
  if (request->state == REQUEST_GONE) return memory_request_gone(error);
  return error_set(error, TSR_BUSY,
                   "the memory request for %zu bytes is not granted yet; cancel it, or wait longer",
                   request->bytes);
}

tsr_status memory_request_wait(tsr_memory_request *request, uint64_t timeout_ns, tsr_error *error) {
  struct memory_requests *all = request->heap->memory_requests;
  uint64_t now_ns = os_clock_ns();
  uint64_t end_ns = timeout_ns < OS_CLOCK_NEVER - now_ns ? now_ns + timeout_ns : OS_CLOCK_NEVER;
  os_mutex_lock(&all->lock);
  while (request->state == REQUEST_WAITS && timeout_ns > 0 &&
         os_condition_wait_until(&all->changed, &all->lock, end_ns)) {
  }
  tsr_status status = memory_request_check(request, error);
  os_mutex_unlock(&all->lock);
  return status;
}

/* What was granted, if it was: the request is used, or cancelled. Under the lock. */
static memory_hold memory_request_take_hold(tsr_memory_request *request) {
  memory_hold hold = request->hold;
  request->hold = (memory_hold){.blocks = 0};
  request->state = REQUEST_GONE;
  return hold;
}

tsr_status memory_request_use(tsr_memory_request *request, tsr_mutator *mutator, tsr_error *error) {
  struct memory_requests *all = request->heap->memory_requests;
  tsr_status status = allocate_check_reserving(mutator, "tsr_request_use", error);
  if (status != TSR_OK) return status;
  if (mutator->heap != request->heap) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "tsr_request_use: the mutator and the request are of different heaps");
  }
  memory_hold hold = {.blocks = 0};
  os_mutex_lock(&all->lock);
  status = memory_request_check(request, error);
  if (status == TSR_OK) hold = memory_request_take_hold(request);
  os_mutex_unlock(&all->lock);
  if (status != TSR_OK || allocate_from_hold(mutator, &hold)) return status;
  memory_requests_serve(request->heap);
  return error_set(error, TSR_OUT_OF_MEMORY,
                   "tsr_request_use: the system has no memory for %zu bytes that were granted",
                   request->bytes);
}

void memory_request_cancel(tsr_memory_request *request) {
  tsr_heap *heap = request->heap;
  struct memory_requests *all = heap->memory_requests;
  os_mutex_lock(&all->lock);
  if (request->state == REQUEST_WAITS) memory_request_leave_queue(all, request);
  memory_hold hold = memory_request_take_hold(request);
  hold_release(heap, &hold);
  os_condition_wake_all(&all->changed);
  memory_requests_serve_locked(heap);
  if (all->first == NULL) os_atomic_store(&all->wants_collection, 0);
  os_mutex_unlock(&all->lock);
}

void memory_request_end(tsr_memory_request *request) {
  tsr_heap *heap = request->heap;
  struct memory_requests *all = heap->memory_requests;
  memory_request_cancel(request);
  os_mutex_lock(&all->lock);
  tsr_memory_request **link = &all->made;
  while (*link != request)
    link = &(*link)->next_made;
  *link = request->next_made;
  os_mutex_unlock(&all->lock);
  segment_release(&heap->account, MEMORY_INSTANCE, request, sizeof *request);
}
