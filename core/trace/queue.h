/*
 * The mark queue: objects that were reached and not scanned yet, last in, first out.
 *
 * Its memory is fixed when the heap is created and counts against the maximum. When it is full the entry
 * is dropped and its block flagged; flagged blocks are walked again when the queue is empty
 * [design: queue-overflow]. A long array is scanned in pieces: an entry may carry the position to
 * resume at, as a second word below the tagged first.
 */
#ifndef CORE_TRACE_QUEUE_H
#define CORE_TRACE_QUEUE_H

#include "core/heap/heap.h"

typedef struct mark_queue {
  memory_table table;
  uintptr_t *top; /* next free entry */
  uintptr_t *start, *end;
} mark_queue;

bool mark_queue_open(mark_queue *queue, tsr_heap *heap);
void mark_queue_close(mark_queue *queue);

#define MARK_QUEUE_RESUMES ((uintptr_t)1) /* tag of an entry that has a position below it */

/* False: full, and nothing changed. */
static inline bool mark_queue_push(mark_queue *queue, tsr_ref object) {
  if (TSR_UNLIKELY(queue->top == queue->end)) return false;
  *queue->top++ = (uintptr_t)object;
  return true;
}

static inline bool mark_queue_push_resume(mark_queue *queue, tsr_ref object, size_t position) {
  if (TSR_UNLIKELY(queue->end - queue->top < 2)) return false;
  *queue->top++ = position;
  *queue->top++ = (uintptr_t)object | MARK_QUEUE_RESUMES;
  return true;
}

/* NULL: empty. */
static inline tsr_ref mark_queue_pop(mark_queue *queue, size_t *position) {
  if (queue->top == queue->start) return NULL;
  uintptr_t entry = *--queue->top;
  *position = (entry & MARK_QUEUE_RESUMES) != 0 ? *--queue->top : 0;
  return (tsr_ref)(entry & ~MARK_QUEUE_RESUMES);
}

#endif
