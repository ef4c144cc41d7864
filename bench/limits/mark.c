/* mark.c - marking by one thread (limits.h). */
#include "mark_loop.h"

struct marker marker_of(struct bare_heap *heap, unsigned thread) {
  struct bare_object **stack = (struct bare_object **)heap->stacks[thread];
  return (struct marker){.base = (uintptr_t)heap->objects,
                         .marks = heap->marks,
                         .stack = stack,
                         .bottom = stack,
                         .top = stack};
}

uint64_t bare_mark(struct bare_heap *heap, struct bare_loop loop) {
  struct marker marker = marker_of(heap, 0);
  unsigned distance = loop.distance;
  marker.edge = bare_heap_edges(heap);
  marker.edges_end = marker.edge + bare_heap_edge_count(heap);
  switch (loop.variant) {
  case BARE_MARK_OBJECTS:
    return distance == 0 ? mark_objects_at_once(&marker, false)
                         : mark_objects(&marker, distance, false);
  case BARE_MARK_EDGES:
    return distance == 0 ? mark_edges_at_once(&marker, false)
                         : mark_edges(&marker, distance, false);
  case BARE_MARK_RING:
    return mark_by_ring(&marker, distance, false);
  default:
    return mark_by_queue(&marker, distance);
  }
}
