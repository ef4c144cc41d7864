/*
 * The barrier of plans with a young generation, or that mark in steps: the first store into an old object since the last
 * collection that looked at it makes it gray and logs it; what comes after takes the fast path. A large array stays armed, and
 * the slot is noted. So does an object whose layout asks for a forward barrier: what is stored into it is logged, to be
 * marked, unless it is young [design: forward-barrier].
 *
 * Without a young generation that is for marking alone: between two cycles an object just becomes gray, and is armed again
 * when it is scanned.
 */
#include "barriers/barriers.h"
#include "core/alloc/mutator.h"
#include "core/heap/heap.h"
#include "core/object/layout.h"
#include "core/object/reference.h"
#include "core/trace/marking.h"
#include "core/trace/remembered.h"

/* The mutator's thread alone adds to its counts. */
static void count_more(os_atomic_word *count, size_t more) {
  os_atomic_store(count, os_atomic_load(count) + more);
}

/* Whether nothing more is to be done about a store into an old object: it stays armed. */
static bool goes_forward(tsr_mutator *mutator, tsr_ref object, const uint64_t *word) {
  tsr_heap *heap = mutator->heap;
  const layout *l = layout_of_header(heap->layouts, object, header_load_shared(object));
  if (word == NULL || l == NULL || !l->goes_forward) return false;
  uintptr_t stored = reference_address(&heap->references, *word);
  enum block_space space = block_map_space_of(&heap->blocks, stored);
  if (space > BLOCK_FREE) {
    if (!block_space_stays(space)) return false;
    /* What has to be scanned still is no matter, nor what is marked. */
    if (heap_is_marking(heap) && !marking_will_scan(heap, object) &&
        !marking_has(heap, (tsr_ref)stored)) {
      if (!remembered_add_ahead(mutator, (tsr_ref)stored)) return false;
      count_more(&mutator->private_part->slow_stores, 1);
    }
  }
  heap_unwatch(heap, object);
  return true;
}

static void barrier_quadcolor_slow(tsr_mutator *mutator, tsr_ref object, const tsr_slot *first,
                                   size_t count, const uint64_t *word) {
  tsr_heap *heap = mutator->heap;
  size_t noted;
  if (barrier_refuses(mutator, object)) return;
  bool logs = heap_form(heap)->generational || heap_is_marking(heap);
  if (logs && remembered_add_slots(heap, object, first, count, &noted)) {
    count_more(&mutator->private_part->noted_slots, noted);
    return;
  }
  /* The verifier arms young objects too. */
  bool is_old = block_space_stays(block_map_space_of(&heap->blocks, (uintptr_t)object));
  if (is_old && goes_forward(mutator, object, word)) return;
  unsigned before = os_atomic_byte_change((unsigned char *)object + TSR_GC_BYTE_OFFSET,
                                          logs && is_old ? GC_LOGGED : 0, GC_ARMED);
  /* Another mutator may have been quicker. */
  if ((before & GC_ARMED) == 0 || !is_old) return;
  if (logs) remembered_add(mutator, object);
  count_more(&mutator->private_part->slow_stores, 1);
}

const struct barrier barrier_quadcolor = {
    .arms_objects = true, .large_born_armed = true, .slow = barrier_quadcolor_slow};
