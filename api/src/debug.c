/*
 * tessera/debug.h.
 */
#include <tessera/debug.h>

#include "core/verify/explain.h"

bool tsr_explain_fault(const tsr_heap *heap, const void *address, char *text, size_t size) {
  return explain_fault(heap, (uintptr_t)address, text, size);
}
