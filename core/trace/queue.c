/*
 * The rare operations of mark queues: sharing, stealing, closing up.
 */
#include "core/trace/queue.h"

#include <string.h>

void mark_queue_reset(mark_queue *queue, void *memory, size_t bytes) {
  queue->start = memory;
  queue->end = queue->start + bytes / sizeof *queue->start;
  queue->bottom = queue->top = queue->start;
  os_atomic_store(&queue->head, 0);
  os_atomic_store(&queue->tail, 0);
}

bool mark_queue_close_up(mark_queue *queue, size_t words) {
  size_t used = (size_t)(queue->top - queue->bottom);
  if (queue->bottom == queue->start) return false;
  memmove(queue->start, queue->bottom, used * sizeof *queue->start);
  queue->bottom = queue->start;
  queue->top = queue->start + used;
  return (size_t)(queue->end - queue->top) >= words;
}

/* Takes the oldest private entry. There is one. */
static mark_entry queue_take_bottom(mark_queue *queue) {
  mark_entry entry = {.object = *queue->bottom++};
  if (mark_entry_resumes(entry)) {
    entry.position = *queue->bottom;
    queue->bottom += 2;
  }
  if (queue->bottom == queue->top) queue->bottom = queue->top = queue->start;
  return entry;
}

bool mark_queue_share(mark_queue *queue) {
  size_t words = (size_t)(queue->top - queue->bottom);
  if (words < 2 || mark_queue_offers(queue)) return false;
  /* At least one entry, and never the last words: they are this worker's next. */
  const uintptr_t *middle = queue->bottom + words / 2;
  uintptr_t tail = os_atomic_load(&queue->tail);
  size_t moved = 0;
  while (moved < QUEUE_SHARED_ENTRIES && queue->bottom < middle && queue->bottom != queue->top) {
    mark_entry entry = queue_take_bottom(queue);
    shared_entry *place = &queue->shared[(tail + moved++) % QUEUE_SHARED_ENTRIES];
    os_atomic_store(&place->object, entry.object);
    os_atomic_store(&place->position, entry.position);
    if (queue->top == queue->start) break;
  }
  os_atomic_store_release(&queue->tail, tail + moved);
  return moved > 0;
}

static void queue_put(mark_queue *queue, mark_entry entry) {
  if (mark_entry_resumes(entry)) {
    *queue->top++ = entry.object;
    *queue->top++ = entry.position;
  }
  *queue->top++ = entry.object;
}

bool mark_queue_steal(mark_queue *to, mark_queue *from) {
  uintptr_t head = os_atomic_load_acquire(&from->head);
  uintptr_t tail = os_atomic_load_acquire(&from->tail);
  size_t count = (tail - head + 1) / 2;
  size_t room = (size_t)(to->end - to->start) / 3;
  if (count > room) count = room;
  if (count == 0) return false;
  to->bottom = to->top = to->start;
  for (size_t i = 0; i < count; i++) {
    shared_entry *place = &from->shared[(head + i) % QUEUE_SHARED_ENTRIES];
    mark_entry entry = {.object = os_atomic_load(&place->object),
                        .position = os_atomic_load(&place->position)};
    queue_put(to, entry);
  }
  if (os_atomic_compare_exchange_full(&from->head, head, head + count)) return true;
  to->top = to->start;
  return false;
}
