/* copy.c - copying everything reachable to another space (limits.h).
 *
 * BARE_CHENEY is C. J. Cheney's algorithm (A Nonrecursive List Compacting Algorithm, 1970):
 * to-space itself is the queue. With a distance, a second cursor runs ahead of the scan and
 * prefetches what the objects there refer to; to-space is a queue with its future in plain sight.
 * Depth first, slots of to-space are stacked, and wait in a ring for what they refer to.
 */
#include "limits.h"

#define COPY_INLINE static inline __attribute__((always_inline))

/* ---- one object ----------------------------------------------------------------------------- */

/* Moves an object to `*free`, unless it has been moved. Returns where it is now. */
COPY_INLINE struct bare_object *copy_forward(struct bare_object **free,
                                             struct bare_object *object) {
  uint64_t header = object->header;
  if ((header & BARE_FORWARDED) != 0) return (struct bare_object *)(header & ~BARE_FORWARDED);
  struct bare_object *now = (*free)++;
  *now = *object;
  object->header = (uintptr_t)now | BARE_FORWARDED;
  return now;
}

COPY_INLINE void copy_slot(struct bare_object **free, struct bare_object **slot) {
  if (*slot != NULL) *slot = copy_forward(free, *slot);
}

/* ---- breadth first -------------------------------------------------------------------------- */

COPY_INLINE void copy_prefetch_referents(const struct bare_object *object) {
  for (int i = 0; i < SHAPE_REFS; i++) {
    if (object->refs[i] != NULL) __builtin_prefetch(object->refs[i], 1);
  }
}

/* Scans what lies in to-space, but for the last `distance` objects. */
COPY_INLINE struct bare_object *copy_scan(struct bare_object *scan, struct bare_object **free,
                                          unsigned distance) {
  struct bare_object *ahead = scan;
  while (scan != *free) {
    while (ahead != *free && ahead - scan < (ptrdiff_t)distance)
      copy_prefetch_referents(ahead++);
    for (int i = 0; i < SHAPE_REFS; i++)
      copy_slot(free, &scan->refs[i]);
    scan++;
    if (distance == 0) ahead = scan;
  }
  return scan;
}

COPY_INLINE void copy_roots(struct bare_object **first, size_t count, struct bare_object **free,
                            unsigned distance) {
  for (size_t i = 0; i < count; i++) {
    if (distance != 0 && i + distance < count) __builtin_prefetch(first[i + distance], 1);
    copy_slot(free, &first[i]);
  }
}

COPY_INLINE struct bare_object *copy_breadth(struct bare_object *to, struct bare_object **roots,
                                             size_t count, unsigned distance) {
  struct bare_object *free = to;
  copy_roots(roots, count, &free, distance);
  return copy_scan(to, &free, distance);
}

/* ---- depth first ---------------------------------------------------------------------------- */

/* Slots that hold a reference: the stack, and behind it the roots. */
struct copy_work {
  struct bare_object ***stack, ***top;
  struct bare_object **root, **roots_end;
};

COPY_INLINE struct bare_object **copy_next_slot(struct copy_work *work) {
  if (work->top != work->stack) return *--work->top;
  return work->root != work->roots_end ? work->root++ : NULL;
}

/* Copies what the slot refers to; the slots of an object that is new in to-space are stacked. */
COPY_INLINE void copy_deep(struct copy_work *work, struct bare_object **free,
                           struct bare_object **slot) {
  struct bare_object *next = *free;
  struct bare_object *now = copy_forward(free, *slot);
  *slot = now;
  if (now != next) return;
  for (int i = SHAPE_REFS - 1; i >= 0; i--) {
    if (now->refs[i] != NULL) *work->top++ = &now->refs[i];
  }
}

COPY_INLINE struct bare_object *copy_depth(struct bare_object *to, struct copy_work *work,
                                           unsigned distance) {
  struct bare_object **ring[BARE_MOST_DISTANCE];
  unsigned first = 0, end = 0;
  struct bare_object *free = to;
  struct bare_object **slot;
  for (;;) {
    while (end - first < distance && (slot = copy_next_slot(work)) != NULL) {
      __builtin_prefetch(*slot, 1);
      ring[end++ % BARE_MOST_DISTANCE] = slot;
    }
    if (end == first) return free;
    copy_deep(work, &free, ring[first++ % BARE_MOST_DISTANCE]);
  }
}

COPY_INLINE struct bare_object *copy_depth_at_once(struct bare_object *to, struct copy_work *work) {
  struct bare_object *free = to;
  for (struct bare_object **slot; (slot = copy_next_slot(work)) != NULL;)
    copy_deep(work, &free, slot);
  return free;
}

/* ---- all ------------------------------------------------------------------------------------ */

uint64_t bare_copy(struct bare_heap *heap, struct bare_loop loop) {
  struct bare_object *to = heap->to_space;
  struct bare_object **roots = bare_heap_edges(heap);
  size_t count = bare_heap_edge_count(heap);
  struct bare_object ***stack = (struct bare_object ***)heap->stacks[0];
  struct copy_work work = {.stack = stack, .top = stack, .root = roots, .roots_end = roots + count};
  struct bare_object *end;
  if (loop.variant == BARE_COPY_BREADTH) {
    end = loop.distance == 0 ? copy_breadth(to, roots, count, 0)
                             : copy_breadth(to, roots, count, loop.distance);
  } else {
    end = loop.distance == 0 ? copy_depth_at_once(to, &work) : copy_depth(to, &work, loop.distance);
  }
  return (uint64_t)(end - to);
}
