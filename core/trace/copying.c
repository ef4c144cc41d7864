/*
 * What plans with a copy space share.
 *
 * At its worst moment, when everything survives, a collection holds from-space and to-space at once,
 * and to-space may need a little more blocks, since objects pack in another order and those whose identity hash was
 * asked for grow. The footprint counts both. Keeping blocks in place (core/space/copy.h) is for what the margin does not cover: it is
 * sound, but it frees little, because the last survivors lie scattered over many blocks.
 */
#include "core/trace/copying.h"

/* By how much to-space may outgrow from-space: a share for the ends of full blocks, and the two blocks
   that are being filled. */
#define COPYING_MARGIN_SHARE  16
#define COPYING_MARGIN_BLOCKS 2

_Static_assert(COPYING_LEAST_BLOCKS == 1 + 1 + COPYING_MARGIN_BLOCKS, "one block and its copy");

size_t copying_footprint_blocks(const tsr_heap *heap, size_t default_blocks,
                                size_t staying_blocks) {
  size_t from = copy_space_blocks(&heap->spaces->copy) + default_blocks;
  size_t copied = from + copy_space_growth_blocks(&heap->spaces->copy);
  size_t to = copied + copied / COPYING_MARGIN_SHARE + COPYING_MARGIN_BLOCKS;
  return from + to + spaces_marked_blocks(heap) + staying_blocks;
}

void copying_pin(tsr_heap *heap, tsr_ref object) {
  copy_space *copy = &heap->spaces->copy;
  if (block_map_space_of(&heap->blocks, (uintptr_t)object) != copy->from_space) return;
  copy_space_pin(copy, (uintptr_t)object);
}

bool copying_visit_key(copying_move *move, struct worker *worker, tsr_ref object,
                       uint64_t displaced, bool shared, tsr_ref *result) {
  const tsr_heap *heap = worker->heap;
  tsr_ref home = displaced_home(displaced);
  OS_FETCH(displaced_head(displaced)); /* which may begin in the line before */
  uint64_t header = header_load_shared(home);
  *result = object;
  if (header_stays(header)) return true;
  if (header_is_claimed(header)) return false;
  uint64_t claimed = header_with_forward_bits(header, GC_CLAIMED);
  if (!header_exchange_shared(home, header, claimed)) return false;
  tsr_ref now = object;
  if (block_map_space_of(&heap->blocks, (uintptr_t)object) == heap->spaces->copy.from_space) {
    header_store_shared(object, claimed);
    now = move(worker, heap->blocks.base, object, header, LAYOUT_NOT_PLAIN, shared);
  }
  if (now == object) {
    header_store_shared(home, header_with_forward_bits(header, GC_STAYS));
  } else {
    /* The copy's may differ in the other bits of the GC byte. */
    header_store_shared(home, header_with_forward_bits(header_load(now), GC_CLAIMED));
  }
  header_store_shared(now, displaced);
  worker_enqueue(worker, now);
  *result = now;
  return true;
}

tsr_ref copying_survivor(const tsr_heap *heap, tsr_ref object, enum block_space space) {
  if (space == heap->spaces->copy.to.space) return object;
  uint64_t header = header_load(object);
  if (header_is_forwarded(header)) {
    return (tsr_ref)forwarding_target(heap->blocks.base, header);
  }
  return header_stays(header_load_anywhere(object)) ? object : NULL;
}

size_t copying_release(tsr_heap *heap) {
  size_t live_bytes = 0;
  for (uint32_t i = 0; i < heap->team->active; i++) {
    struct worker *worker = team_worker(heap->team, i);
    live_bytes += worker->targets.live_bytes;
    copy_retire(&worker->promotions);
    copy_retire(&worker->leaves);
    copy_retire(&worker->targets);
  }
  return live_bytes + copy_space_release(&heap->spaces->copy);
}
