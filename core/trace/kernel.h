/*
 * The tracing kernel, written once as always-inline code over a plan's own "visit this reference".
 *
 * A plan's file calls kernel_visit_slots() and kernel_trace() with its visit function as a
 * constant, and so gets a copy of the kernel specialised to itself. Data layouts are scanned
 * without leaving the kernel. There is no recursion: what is reached is queued, long arrays are scanned
 * in pieces, and what the queue cannot take is found again by walking flagged blocks.
 */
#ifndef CORE_TRACE_KERNEL_H
#define CORE_TRACE_KERNEL_H

#include "core/object/reference.h"
#include "core/object/walk.h"
#include "core/trace/worker.h"

#if defined(__GNUC__)
#define KERNEL_INLINE static inline __attribute__((always_inline))
#define KERNEL_COLD   static __attribute__((noinline, unused))
#else
#define KERNEL_INLINE static inline
#define KERNEL_COLD   static
#endif

/* Slots of an array that are scanned before its rest is queued again. */
#define KERNEL_PIECE_SLOTS ((size_t)256)

/*
 * A plan's visit: reaches `object`, which lies in a block of `space`, queues it if this is the
 * first time, and returns where it is now.
 */
typedef tsr_ref kernel_visit(struct worker *worker, tsr_ref object, enum block_space space);

KERNEL_INLINE void kernel_visit_slot(struct worker *worker, tsr_slot *slot, kernel_visit *visit) {
  const tsr_heap *heap = worker->heap;
  uint64_t word = slot->word;
  uintptr_t address = reference_address(&heap->references, word);
  uintptr_t index = (address - heap->blocks.base) >> BLOCK_SHIFT;
  if (index >= block_map_extent(&heap->blocks)) return;
  enum block_space space = (enum block_space)block_map_spaces(&heap->blocks)[index];
  uintptr_t now = (uintptr_t)visit(worker, (tsr_ref)address, space);
  if (now != address) slot->word = reference_retarget(&heap->references, word, now);
}

KERNEL_INLINE void kernel_visit_slots(struct worker *worker, tsr_slot *first, size_t count,
                                      kernel_visit *visit) {
  for (size_t i = 0; i < count; i++)
    kernel_visit_slot(worker, &first[i], visit);
}

/* The slots that a bitmap names, of at most 64 words. */
KERNEL_INLINE void kernel_visit_bits(struct worker *worker, tsr_slot *words, uint64_t bits,
                                     kernel_visit *visit) {
  for (; bits != 0; bits &= bits - 1) {
    kernel_visit_slot(worker, &words[__builtin_ctzll(bits)], visit);
  }
}

KERNEL_INLINE void kernel_scan_fixed(struct worker *worker, tsr_ref object, const layout *l,
                                     kernel_visit *visit) {
  tsr_slot *words = (tsr_slot *)object;
  if (TSR_LIKELY(l->wide_refs == NULL)) {
    kernel_visit_bits(worker, words, l->fixed_refs, visit);
    return;
  }
  for (uint32_t i = 0; i < l->wide_words; i++) {
    kernel_visit_bits(worker, words + (size_t)64 * i, l->wide_refs[i], visit);
  }
}

/* The array of an object from element `position` on: one piece, and the rest goes to the queue. Where
   that is full the rest is scanned at once: another walk of the block would only come back here. */
KERNEL_INLINE void kernel_scan_array(struct worker *worker, tsr_ref object, const layout *l,
                                     size_t position, kernel_visit *visit) {
  bool elements = l->kind == TSR_LAYOUT_ELEMENTS;
  size_t stride_words = elements ? l->element_bytes / TSR_GRANULE : 1;
  size_t end = layout_array_bytes(l, object) / (stride_words * TSR_GRANULE);
  if (end - position > KERNEL_PIECE_SLOTS &&
      mark_queue_push_resume(&worker->queue, object, position + KERNEL_PIECE_SLOTS)) {
    end = position + KERNEL_PIECE_SLOTS;
  }
  tsr_slot *words = (tsr_slot *)(void *)((char *)object + l->fixed_bytes);
  if (!elements) {
    kernel_visit_slots(worker, words + position, end - position, visit);
    return;
  }
  for (size_t i = position; i < end; i++) {
    kernel_visit_bits(worker, words + i * stride_words, l->element_refs, visit);
  }
}

KERNEL_INLINE void kernel_scan_custom(struct worker *worker, tsr_ref object, const layout *l,
                                      size_t position, kernel_visit *visit) {
  bool queued = false;
  while (position != TSR_SCAN_DONE && !queued) {
    tsr_slot_buffer out = {worker->scan_slots, worker->scan_slots + WORKER_SCAN_SLOTS};
    position = l->scan(worker->heap->vm, object, position, &out);
    queued = position != TSR_SCAN_DONE && mark_queue_push_resume(&worker->queue, object, position);
    for (tsr_slot **slot = worker->scan_slots; slot < out.next; slot++) {
      kernel_visit_slot(worker, *slot, visit);
    }
  }
}

/* Visits the slots of an object, from `position` on where it was scanned in part. */
KERNEL_INLINE void kernel_scan(struct worker *worker, tsr_ref object, size_t position,
                               kernel_visit *visit) {
  const layout *l = layout_of(worker->heap->layouts, object);
  HEAP_ALWAYS_CHECK(worker->heap, l != NULL, object,
                    "a reachable object's layout is unknown: its header was never written, or "
                    "overwritten, or the reference does not point to an object");
  if (l->kind == TSR_LAYOUT_CUSTOM) {
    kernel_scan_custom(worker, object, l, position, visit);
    return;
  }
  if (position == 0) kernel_scan_fixed(worker, object, l, visit);
  if (l->kind == TSR_LAYOUT_REFERENCES || l->kind == TSR_LAYOUT_ELEMENTS) {
    kernel_scan_array(worker, object, l, position, visit);
  }
}

KERNEL_INLINE void kernel_drain(struct worker *worker, kernel_visit *visit) {
  size_t position;
  tsr_ref object;
  while ((object = mark_queue_pop(&worker->queue, &position)) != NULL) {
    kernel_scan(worker, object, position, visit);
  }
}

/* ---- after an overflow: rare, so one copy that calls the visit function will do -------------------------------------------------------------------------- */

/* Where the objects of a copy space's block end; it moves up while a to-block is being filled. */
KERNEL_INLINE uintptr_t kernel_block_end(const struct worker *worker, uint32_t index,
                                         enum block_space space) {
  const tsr_heap *heap = worker->heap;
  if (space == heap->spaces->copy.to.space) {
    return copy_space_block_end(&heap->spaces->copy, &worker->targets, index);
  }
  return block_map_start(&heap->blocks, index) + block_map_at(&heap->blocks, index)->top_bytes;
}

/* Whether an object in a flagged block of the copy space was reached and is here. */
KERNEL_INLINE bool kernel_is_reached(const struct worker *worker, tsr_ref object,
                                     enum block_space space) {
  return space != worker->heap->spaces->copy.from_space || header_stays(header_load(object));
}

/* Scans an object that was reached, and what it leads to. */
KERNEL_COLD void kernel_rescan_object(struct worker *worker, tsr_ref object, kernel_visit *visit) {
  if (header_is_leaf(header_load(object))) return;
  kernel_scan(worker, object, 0, visit);
  kernel_drain(worker, visit);
}

KERNEL_COLD void kernel_rescan_copied(struct worker *worker, uint32_t index, enum block_space space,
                                      kernel_visit *visit) {
  const tsr_heap *heap = worker->heap;
  uintptr_t at = block_map_start(&heap->blocks, index);
  for (;;) {
    at = object_walk_next(at, kernel_block_end(worker, index, space));
    if (at >= kernel_block_end(worker, index, space)) return;
    tsr_ref object = (tsr_ref)at;
    at += object_walk_bytes(heap, object);
    if (kernel_is_reached(worker, object, space)) kernel_rescan_object(worker, object, visit);
  }
}

KERNEL_COLD void kernel_rescan_arena(struct worker *worker, uint32_t index, kernel_visit *visit) {
  const tsr_heap *heap = worker->heap;
  uintptr_t at = block_map_start(&heap->blocks, index);
  uintptr_t end = at + BLOCK_BYTES;
  for (; (at = arena_next_object(heap, at, end, true)) < end; at += TSR_GRANULE) {
    kernel_rescan_object(worker, (tsr_ref)at, visit);
  }
}

KERNEL_COLD void kernel_rescan_block(struct worker *worker, uint32_t index, kernel_visit *visit) {
  const tsr_heap *heap = worker->heap;
  enum block_space space = (enum block_space)block_map_spaces(&heap->blocks)[index];
  switch (space) {
  case BLOCK_LARGE:
    kernel_rescan_object(worker, large_space_object(&heap->spaces->large, index), visit);
    return;
  case BLOCK_ARENA:
  case BLOCK_SEALED:
    kernel_rescan_arena(worker, index, visit);
    return;
  default:
    kernel_rescan_copied(worker, index, space, visit);
    return;
  }
}

KERNEL_COLD void kernel_rescan(struct worker *worker, kernel_visit *visit) {
  const block_map *map = &worker->heap->blocks;
  for (uint32_t i = 0; i < block_map_extent(map); i++) {
    block *b = block_map_at(map, i);
    if ((b->flags & BLOCK_RESCAN) == 0) continue;
    b->flags &= (uint8_t)~BLOCK_RESCAN;
    kernel_rescan_block(worker, i, visit);
  }
}

/* Traces everything reachable from what is queued. */
KERNEL_INLINE void kernel_trace(struct worker *worker, kernel_visit *visit) {
  kernel_drain(worker, visit);
  while (worker->overflowed) {
    worker->overflowed = false;
    kernel_rescan(worker, visit);
  }
}

#endif
