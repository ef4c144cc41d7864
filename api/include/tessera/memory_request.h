/**
 * @file memory_request.h
 * @brief Asking for memory that may not be there yet: a request waits its turn, and is granted when there is room.
 *
 * For work that needs much memory at once and can begin later, such as a job of a batch. What is granted is held back from
 * everybody else, at most once and in the order of asking: while the oldest request does not fit, a smaller one
 * behind it waits too, so that none starves. Requests are looked at when one is made, cancelled or given back, when the emergency reserve changes, and
 * in each collection; one that has to wait makes the next mutator that needs a new buffer collect, once. Under a plan that never collects
 * only what was held back otherwise can serve them.
 */
#ifndef TESSERA_MEMORY_REQUEST_H
#define TESSERA_MEMORY_REQUEST_H

#include <tessera/mutator.h>
#include <tessera/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A request. Opaque; the caller's until tsr_request_end(), or until its heap is destroyed. */
typedef struct tsr_memory_request tsr_memory_request;

/**
 * Asks for room for allocations in default placement, `bytes` of them together and none larger than
 * `largest`, as tsr_reserve(); from one bump pair. Returns at once.
 *
 * Errors (NULL): sizes that are none (TSR_INVALID_ARGUMENT); more than the heap's maximum could ever hold, or than
 * the machine or its control group lets the process have, swap not counted; or no memory for the request
 * itself (TSR_OUT_OF_MEMORY).
 * Thread: any. Collects: never.
 */
TSR_API tsr_memory_request *tsr_request_memory(tsr_heap *heap, size_t bytes, size_t largest,
                                               tsr_error *error);

/**
 * Waits until the request is granted, for at most `timeout_ns`; UINT64_MAX: for ever, 0: only looks. TSR_OK: it is
 * granted. TSR_BUSY: not yet. TSR_CANCELLED: it was cancelled, or has been used.
 * Thread: any, several too; a mutator's in native code (tsr_enter_native()), else no collection could serve it.
 */
TSR_API tsr_status tsr_request_wait(tsr_memory_request *request, uint64_t timeout_ns,
                                    tsr_error *error);

/**
 * Makes what was granted a reservation of this mutator (reservation.h), and the request is used. Other threads are
 * stopped for a moment, so that nobody takes the memory between. Errors, and the request stays as it is: it is not granted
 * (TSR_BUSY), it was cancelled or used (TSR_CANCELLED), a mutator of another heap (TSR_INVALID_ARGUMENT), native code, a no-allocation section or a callback of low_memory.h (TSR_BUSY),
 * the system refuses the memory (TSR_OUT_OF_MEMORY: the request is used up).
 * Thread: the mutator's own, in managed code. Collects: no, but is a safepoint.
 */
TSR_API tsr_status tsr_request_use(tsr_memory_request *request, tsr_mutator *mutator,
                                   tsr_error *error);

/** Takes the request back, granted or not; who waits for it is told. Thread: any. Collects: never. */
TSR_API void tsr_request_cancel(tsr_memory_request *request);

/** Cancels the request if it is not used, and forgets it. NULL is allowed. Thread: any, when no other has it. */
TSR_API void tsr_request_end(tsr_memory_request *request);

#ifdef __cplusplus
}
#endif

#endif
