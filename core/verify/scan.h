/*
 * The slots of an object, as its layout says. The verifier's own scan: one that it shared with the
 * tracing kernel would agree with that one's mistakes.
 */
#ifndef CORE_VERIFY_SCAN_H
#define CORE_VERIFY_SCAN_H

#include "core/heap/heap.h"

/* Calls back for each slot of an object whose header and size were checked; weak ones, too. A leaf has none. */
void scan_slots(const tsr_heap *heap, tsr_ref object,
                void (*visit)(void *context, const tsr_slot *slot), void *context);

#endif
