/*
 * Pins: which objects have to stay where they are, and how often that was asked for.
 *
 * A side table from objects to counts: a pin takes no bit of an object's header, and any object can have
 * one. The table knows nothing of what a pin is for. The collector asks it for every pinned object
 * before it traces, keeps each in place and alive, whole blocks at a time [design: keep-in-place], and tells
 * it when the collection is over.
 */
#ifndef CORE_TRACE_PINS_H
#define CORE_TRACE_PINS_H

#include "core/heap/heap.h"

struct pins;

/* Builds heap->pins. */
tsr_status pins_open(tsr_heap *heap, tsr_error *error);
/* Reports what is still pinned, but for what the next collection would have unpinned. The spaces and the
   layouts are still there. */
void pins_close(tsr_heap *heap);

/*
 * One pin more for an object of the heap: one that pins_remove() takes back or, with `once`, one that the
 * next collection does. Errors: TSR_OUT_OF_MEMORY. Threads: see tsr_pin() and tsr_unpin().
 */
tsr_status pins_add(tsr_heap *heap, tsr_ref object, bool once, tsr_error *error);
/* TSR_INVALID_ARGUMENT: the object has no pin that can be taken back. */
tsr_status pins_remove(tsr_heap *heap, tsr_ref object, tsr_error *error);

/*
 * Shows every pinned object, each once. World stopped; `visit` may not come back to this table. The
 * order depends on where the objects lie in the heap and on what was pinned before, and not on where
 * the system put the heap. Threads in native code may take pins back at any time: who asks twice in
 * a pause may see fewer objects the second time, but never one that is new.
 */
void pins_each(struct pins *pins, void (*visit)(void *context, tsr_ref object), void *context);

/* A collection is over: the pins that were for one go, and a table that has become too large shrinks. World
   stopped. */
void pins_end_collection(tsr_heap *heap);

/* Takes and lets go the lock of the table around fork(). */
void pins_fork(tsr_heap *heap, os_fork_stage stage);

#endif
