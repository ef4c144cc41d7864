/*
 * A worker's mark queue: what was reached and not scanned yet.
 *
 * It has two ends. The private one is a plain stack that only its worker touches. The shared one is a
 * ring, from which every worker, its own too, takes by compare-and-swap. Work moves there from the bottom of
 * the stack, the oldest entries, behind which most of the graph lies, and only while somebody is out of
 * work, so a worker that traces alone uses no atomic read-modify-write (after the two-ended queues of
 * Chase and Lev, Dynamic Circular Work-Stealing Deque, 2005; here the owner takes from the
 * shared end like a thief, which spares it the fence).
 *
 * The stack's memory is its share of a budget that counts against the heap's maximum. When it is full the entry
 * is dropped and its block flagged; flagged blocks are walked again when the queues are empty
 * [design: queue-overflow].
 *
 * An entry is an object, or an object with a position to resume at: then three words, of which the first
 * and the last are the tagged object, so that it can be taken from either end of the stack.
 */
#ifndef CORE_TRACE_QUEUE_H
#define CORE_TRACE_QUEUE_H

#include "core/heap/heap.h"

#define QUEUE_SHARED_ENTRIES 128u /* a power of two */

typedef struct mark_entry {
  uintptr_t object; /* 0: none. Tagged where there is a position */
  uintptr_t position;
} mark_entry;

/* Written by its owner before `tail` passes it; thieves may read it while it is overwritten, and then fail. */
typedef struct shared_entry {
  os_atomic_word object, position;
} shared_entry;

typedef struct mark_queue {
  uintptr_t *start, *end;  /* its memory; between collections nobody's */
  uintptr_t *bottom, *top; /* the private entries are [bottom, top) */
  os_atomic_word head;     /* entries ever taken from the shared end: by compare-and-swap */
  os_atomic_word tail;     /* entries ever moved there: by the owner */
  shared_entry shared[QUEUE_SHARED_ENTRIES];
} mark_queue;

#define QUEUE_RESUMES ((uintptr_t)1) /* tag of an object that has a position */

static inline bool mark_entry_resumes(mark_entry entry) {
  return (entry.object & QUEUE_RESUMES) != 0;
}

static inline tsr_ref mark_entry_object(mark_entry entry) {
  return (tsr_ref)(entry.object & ~QUEUE_RESUMES);
}

/* Gives the queue its memory for a collection; it is empty. */
void mark_queue_reset(mark_queue *queue, void *memory, size_t bytes);

/* ---- the private end ----------------------------------------------------------------------------- */

/* Makes room by moving the entries down over what was shared. False: there is none. */
bool mark_queue_close_up(mark_queue *queue, size_t words);

OS_ALWAYS_INLINE bool mark_queue_has_room(mark_queue *queue, size_t words) {
  return TSR_LIKELY((size_t)(queue->end - queue->top) >= words) ||
         mark_queue_close_up(queue, words);
}

/* False: full, and nothing changed. */
OS_ALWAYS_INLINE bool mark_queue_push(mark_queue *queue, tsr_ref object) {
  if (!mark_queue_has_room(queue, 1)) return false;
  *queue->top++ = (uintptr_t)object;
  return true;
}

static inline bool mark_queue_push_resume(mark_queue *queue, tsr_ref object, size_t position) {
  if (!mark_queue_has_room(queue, 3)) return false;
  queue->top[0] = (uintptr_t)object | QUEUE_RESUMES;
  queue->top[1] = position;
  queue->top[2] = (uintptr_t)object | QUEUE_RESUMES;
  queue->top += 3;
  return true;
}

/* False: empty. */
OS_ALWAYS_INLINE bool mark_queue_pop(mark_queue *queue, mark_entry *entry) {
  if (queue->top == queue->bottom) return false;
  entry->object = *--queue->top;
  if (TSR_UNLIKELY(mark_entry_resumes(*entry))) {
    entry->position = queue->top[-1];
    queue->top -= 2;
  }
  return true;
}

/* ---- the shared end ------------------------------------------------------------------------------ */

/* Moves half of the private entries, the oldest, to the shared end, unless something is there. Whether it moved any. */
bool mark_queue_share(mark_queue *queue);

static inline bool mark_queue_offers(const mark_queue *queue) {
  return os_atomic_load_acquire(&queue->head) != os_atomic_load_acquire(&queue->tail);
}

/* Takes up to half of what `from` offers. Any worker; `to` is its own, and its stack is empty. */
bool mark_queue_steal(mark_queue *to, mark_queue *from);

#endif
