/**
 * @file debug.h
 * @brief Help with faults: what an address that was touched is to a heap.
 *
 * Tessera takes no signal for itself: signals belong to the VM, and two handlers in one process that do not know of
 * each other lose each other's. A VM that has a handler for SIGSEGV and SIGBUS, or installs one while it is being
 * debugged, lets it ask here. docs/debugging.md has such a handler, and says what each answer means.
 */
#ifndef TESSERA_DEBUG_H
#define TESSERA_DEBUG_H

#include <tessera/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What a sentence of tsr_explain_fault() needs at most, with its end. */
#define TSR_EXPLANATION_BYTES 512

/**
 * Says in one sentence why an access to `address` may have faulted: it lies in memory that a collection has freed or
 * moved objects out of (with the option verify: which collection, and where an object began); or in a sealed object (and
 * whether a store into it has come to the write barrier); or neither.
 *
 * Async-signal-safe: takes no lock and no memory, and calls nothing of the C library. What other threads do
 * meanwhile may make the sentence wrong, but does no harm.
 *
 * @param text  receives the sentence and its end; cut where `size` bytes do not hold it
 * @return whether the address lies in the heap's range; if not, the text is empty
 * Thread: any, also in a signal handler, while the heap exists. Collects: never.
 */
TSR_API bool tsr_explain_fault(const tsr_heap *heap, const void *address, char *text, size_t size);

#ifdef __cplusplus
}
#endif

#endif
