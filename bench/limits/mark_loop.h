/* mark_loop.h - the marking loops, for one thread and for several (limits.h).
 *
 * Always inline, so that each caller's constants make a loop of their own. Every loop takes work
 * from the stack first, then from the edges that lead into the heap, the root or the root array,
 * and returns when there is neither. With several threads, `shared`, it may then be entered
 * again.
 */
#ifndef TESSERA_BENCH_MARK_LOOP_H
#define TESSERA_BENCH_MARK_LOOP_H

#include "limits.h"

#define MARK_INLINE static inline __attribute__((always_inline))

/** What several threads share (threads.c). */
struct mark_team;

/** One marking thread. */
struct marker {
  uintptr_t base;
  uint64_t *marks;                             /* a bit for each 8 bytes, in words of 64 */
  struct bare_object **stack, **bottom, **top; /* the entries are [bottom, top) */
  struct bare_object **edge, **edges_end;      /* leading into the heap, not looked at yet */
  struct mark_team *team;                      /* with several threads */
  const unsigned *idle;                        /* the team's threads that wait for work; atomic */
};

/** A marker with an empty stack, and no edges. */
struct marker marker_of(struct bare_heap *heap, unsigned thread);

/** Gives another thread some of the stack, if it still waits for that. */
void marker_give(struct marker *marker);

/* ---- marks ---------------------------------------------------------------------------------- */

MARK_INLINE size_t marker_bit(const struct marker *marker, const struct bare_object *object) {
  return ((uintptr_t)object - marker->base) / 8;
}

/* Whether this is the first time. */
MARK_INLINE bool marker_set(const struct marker *marker, const struct bare_object *object,
                            bool shared) {
  size_t bit = marker_bit(marker, object);
  uint64_t *word = &marker->marks[bit / 64];
  uint64_t mask = (uint64_t)1 << bit % 64;
  if (!shared) {
    uint64_t old = *word;
    if ((old & mask) != 0) return false;
    *word = old | mask;
    return true;
  }
  if ((__atomic_load_n(word, __ATOMIC_RELAXED) & mask) != 0) return false;
  return (__atomic_fetch_or(word, mask, __ATOMIC_RELAXED) & mask) == 0;
}

/* ---- what waits ----------------------------------------------------------------------------- */

/* The stack: last in, first out. */
MARK_INLINE void marker_push(struct marker *marker, struct bare_object *object) {
  *marker->top++ = object;
}

MARK_INLINE struct bare_object *marker_pop(struct marker *marker) {
  return marker->top != marker->bottom ? *--marker->top : NULL;
}

MARK_INLINE struct bare_object *marker_next_edge(struct marker *marker) {
  return marker->edge != marker->edges_end ? *marker->edge++ : NULL;
}

/* What is being prefetched: first in, first out. */
#define MARK_RING_ENTRIES 256u

struct mark_ring {
  struct bare_object *entries[MARK_RING_ENTRIES];
  unsigned first, end;
};

MARK_INLINE unsigned ring_count(const struct mark_ring *ring) {
  return ring->end - ring->first;
}

MARK_INLINE void ring_put(struct mark_ring *ring, struct bare_object *object) {
  ring->entries[ring->end++ % MARK_RING_ENTRIES] = object;
}

MARK_INLINE struct bare_object *ring_take(struct mark_ring *ring) {
  return ring->entries[ring->first++ % MARK_RING_ENTRIES];
}

/* Comes with each object that is scanned. */
MARK_INLINE void marker_answer(struct marker *marker, bool shared) {
  if (shared && __atomic_load_n(marker->idle, __ATOMIC_RELAXED) != 0) marker_give(marker);
}

/* ---- marked when pushed, objects wait ------------------------------------------------------- */

MARK_INLINE void marker_scan(struct marker *marker, const struct bare_object *object, bool shared) {
  marker_answer(marker, shared);
  for (int i = SHAPE_REFS - 1; i >= 0; i--) {
    struct bare_object *referent = object->refs[i];
    if (referent != NULL && marker_set(marker, referent, shared)) marker_push(marker, referent);
  }
}

/* An object to scan: from the stack, or the next that an edge leads to for the first time. */
MARK_INLINE struct bare_object *marker_next_object(struct marker *marker, bool shared) {
  struct bare_object *object = marker_pop(marker);
  while (object == NULL && marker->edge != marker->edges_end) {
    object = marker_next_edge(marker);
    if (!marker_set(marker, object, shared)) object = NULL;
  }
  return object;
}

MARK_INLINE uint64_t mark_objects(struct marker *marker, unsigned distance, bool shared) {
  struct mark_ring ring = {.first = 0};
  struct bare_object *object;
  for (uint64_t count = 0;; count++) {
    while (ring_count(&ring) < distance && (object = marker_next_object(marker, shared)) != NULL) {
      __builtin_prefetch(object);
      ring_put(&ring, object);
    }
    if (ring_count(&ring) == 0) return count;
    marker_scan(marker, ring_take(&ring), shared);
  }
}

MARK_INLINE uint64_t mark_objects_at_once(struct marker *marker, bool shared) {
  uint64_t count = 0;
  for (struct bare_object *o; (o = marker_next_object(marker, shared)) != NULL; count++)
    marker_scan(marker, o, shared);
  return count;
}

/* ---- marked when popped, edges wait --------------------------------------------------------- */

/* Whether it was not marked before. */
MARK_INLINE bool marker_scan_first(struct marker *marker, const struct bare_object *object,
                                   bool shared) {
  if (!marker_set(marker, object, shared)) return false;
  marker_answer(marker, shared);
  for (int i = SHAPE_REFS - 1; i >= 0; i--) {
    if (object->refs[i] != NULL) marker_push(marker, object->refs[i]);
  }
  return true;
}

MARK_INLINE struct bare_object *marker_next(struct marker *marker) {
  struct bare_object *object = marker_pop(marker);
  return object != NULL ? object : marker_next_edge(marker);
}

MARK_INLINE uint64_t mark_edges(struct marker *marker, unsigned distance, bool shared) {
  struct mark_ring ring = {.first = 0};
  struct bare_object *object;
  for (uint64_t count = 0;;) {
    while (ring_count(&ring) < distance && (object = marker_next(marker)) != NULL) {
      __builtin_prefetch(object);
      __builtin_prefetch(&marker->marks[marker_bit(marker, object) / 64], 1);
      ring_put(&ring, object);
    }
    if (ring_count(&ring) == 0) return count;
    count += marker_scan_first(marker, ring_take(&ring), shared);
  }
}

MARK_INLINE uint64_t mark_edges_at_once(struct marker *marker, bool shared) {
  uint64_t count = 0;
  for (struct bare_object *object; (object = marker_next(marker)) != NULL;)
    count += marker_scan_first(marker, object, shared);
  return count;
}

/* ---- marked when appended to a ring in front of the stack ----------------------------------- */

/*
 * Whether an edge of a graph leads to something new is a coin toss, and a wrong guess costs a
 * processor as much as several objects. So each edge's object is written behind the ring's end, and
 * the end moves by 0 or 1. With a stack this gains nothing: the next pop would wait for its top.
 */
MARK_INLINE void ring_append_new(struct mark_ring *ring, const struct marker *marker,
                                 struct bare_object *object, bool shared) {
  if (shared) {
    if (marker_set(marker, object, true)) ring_put(ring, object);
    return;
  }
  size_t bit = marker_bit(marker, object);
  uint64_t old = marker->marks[bit / 64];
  ring->entries[ring->end % MARK_RING_ENTRIES] = object;
  ring->end += (unsigned)(~old >> bit % 64 & 1);
  marker->marks[bit / 64] = old | (uint64_t)1 << bit % 64;
}

/* Moves the newest half to the stack. */
MARK_INLINE void ring_spill(struct mark_ring *ring, struct marker *marker) {
  unsigned kept = ring->end - MARK_RING_ENTRIES / 2;
  for (unsigned i = kept; i != ring->end; i++)
    marker_push(marker, ring->entries[i % MARK_RING_ENTRIES]);
  ring->end = kept;
}

MARK_INLINE void ring_refill(struct mark_ring *ring, struct marker *marker, unsigned distance,
                             bool shared) {
  unsigned wanted = distance + MARK_RING_ENTRIES / 4;
  struct bare_object *object;
  while (ring_count(ring) <= wanted && (object = marker_next_object(marker, shared)) != NULL) {
    if (ring_count(ring) <= distance) __builtin_prefetch(object);
    ring_put(ring, object);
  }
}

MARK_INLINE uint64_t mark_by_ring(struct marker *marker, unsigned distance, bool shared) {
  struct mark_ring ring = {.first = 0};
  for (uint64_t count = 0;; count++) {
    if (ring_count(&ring) > MARK_RING_ENTRIES - SHAPE_REFS) ring_spill(&ring, marker);
    if (ring_count(&ring) <= distance) ring_refill(&ring, marker, distance, shared);
    if (ring_count(&ring) == 0) return count;
    __builtin_prefetch(ring.entries[(ring.first + distance) % MARK_RING_ENTRIES]);
    const struct bare_object *object = ring_take(&ring);
    marker_answer(marker, shared);
    for (int i = 0; i < SHAPE_REFS; i++) {
      if (object->refs[i] != NULL) ring_append_new(&ring, marker, object->refs[i], shared);
    }
  }
}

/* ---- marked when appended to a queue without end -------------------------------------------- */

/* As above; each object is appended once, so the stack's memory holds them all. Alone. */
MARK_INLINE struct bare_object **queue_append_new(struct bare_object **end,
                                                  const struct marker *marker,
                                                  struct bare_object *object) {
  size_t bit = marker_bit(marker, object);
  uint64_t old = marker->marks[bit / 64];
  *end = object;
  marker->marks[bit / 64] = old | (uint64_t)1 << bit % 64;
  return end + (~old >> bit % 64 & 1);
}

MARK_INLINE uint64_t mark_by_queue(struct marker *marker, unsigned distance) {
  struct bare_object **first = marker->stack, **end = first;
  for (struct bare_object *object; (object = marker_next_edge(marker)) != NULL;)
    end = queue_append_new(end, marker, object);
  for (; first != end; first++) {
    if (first + distance < end) __builtin_prefetch(first[distance]);
    for (int i = 0; i < SHAPE_REFS; i++) {
      if ((*first)->refs[i] != NULL) end = queue_append_new(end, marker, (*first)->refs[i]);
    }
  }
  return (uint64_t)(end - marker->stack);
}

#endif
