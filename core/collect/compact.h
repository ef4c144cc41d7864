/*
 * Compaction as phases of a collection: the movable arena slides down, and every slot of the heap follows.
 * Whoever traces by marks can use it.
 */
#ifndef CORE_COLLECT_COMPACT_H
#define CORE_COLLECT_COMPACT_H

#include "core/heap/heap.h"

struct worker;

/* Before the trace: keeps the block of an object of the movable arena as it is. */
void compact_pin(tsr_heap *heap, tsr_ref object);

/* After the trace, in this order; the workers of the team take part. */
void compact_relocate(
    tsr_heap *heap); /* decides where survivors go, and updates the slots of all objects */
void compact_update_slots(struct worker *worker, tsr_slot *first, size_t count); /* of roots */
size_t compact_slide(tsr_heap *heap); /* moves them; returns their bytes */

#endif
