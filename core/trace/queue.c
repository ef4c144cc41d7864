/*
 * The memory of the mark queue.
 */
#include "core/trace/queue.h"

/* A hundredth of the heap or so, between bounds: what overflows costs time, never correctness. */
#define QUEUE_SHARE       128
#define QUEUE_LEAST_BYTES ((size_t)4 << 10)
#define QUEUE_MOST_BYTES  ((size_t)4 << 20)

bool mark_queue_open(mark_queue *queue, tsr_heap *heap) {
  size_t bytes = (size_t)heap->options.values.heap_max / QUEUE_SHARE;
  if (bytes < QUEUE_LEAST_BYTES) bytes = QUEUE_LEAST_BYTES;
  if (bytes > QUEUE_MOST_BYTES) bytes = QUEUE_MOST_BYTES;
  if (!memory_table_create(&queue->table, &heap->account, MEMORY_MARK_QUEUE, bytes)) return false;
  if (!memory_table_extend(&queue->table, bytes, MEMORY_WITHIN_LIMIT)) {
    memory_table_destroy(&queue->table);
    return false;
  }
  queue->start = (uintptr_t *)(void *)queue->table.base;
  queue->end = queue->start + queue->table.committed_bytes / sizeof *queue->start;
  queue->top = queue->start;
  return true;
}

void mark_queue_close(mark_queue *queue) {
  memory_table_destroy(&queue->table);
}
