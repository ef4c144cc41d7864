/*
 * Requests for memory that wait their turn.
 */
#ifndef CORE_COLLECT_MEMORY_REQUESTS_H
#define CORE_COLLECT_MEMORY_REQUESTS_H

#include <tessera/memory_request.h>

#include "core/heap/heap.h"
#include "core/os/thread.h"

/* Builds heap->memory_requests. */
tsr_status memory_requests_open(tsr_heap *heap, tsr_error *error);
void memory_requests_close(tsr_heap *heap);
/* Takes and lets go the lock of this part around fork(). */
void memory_requests_fork(tsr_heap *heap, os_fork_stage stage);
/* In the child of a fork(), where nobody waits. */
void memory_requests_forget_waiters(tsr_heap *heap);

tsr_memory_request *memory_request_new(tsr_heap *heap, size_t bytes, size_t largest,
                                       tsr_error *error);
tsr_status memory_request_wait(tsr_memory_request *request, uint64_t timeout_ns, tsr_error *error);
tsr_status memory_request_use(tsr_memory_request *request, tsr_mutator *mutator, tsr_error *error);
void memory_request_cancel(tsr_memory_request *request);
void memory_request_end(tsr_memory_request *request);

/* Grants what there is room for now. Any thread. */
void memory_requests_serve(tsr_heap *heap);
/* The same in the pause of a collection: who waits then wants no other. */
void memory_requests_end_collection(tsr_heap *heap);
/* Whether one waits that no collection has tried to serve. */
bool memory_requests_want_collection(const tsr_heap *heap);

#endif
