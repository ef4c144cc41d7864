/*
 * Why an access to an address may have faulted, for signal handlers.
 */
#ifndef CORE_VERIFY_EXPLAIN_H
#define CORE_VERIFY_EXPLAIN_H

#include "core/heap/heap.h"

/* Writes a sentence. False, and an empty one: the address is outside the heap's range. */
bool explain_fault(const tsr_heap *heap, uintptr_t address, char *text, size_t size);

#endif
