/*
 * The nursery.
 */
#include "core/heap/nursery.h"

#include "core/heap/heap.h"

#define NURSERY_MOST_BYTES        ((size_t)4 << 20)
/* Before anything was measured. */
#define NURSERY_FIRST_BYTES       ((size_t)1 << 20)
/* Smaller, what a pause takes in any case would be too large a part of it. */
#define NURSERY_LEAST_BYTES       ((size_t)512 << 10)
#define NURSERY_HEAP_SHARE        8 /* of the heap's size, at most */
#define NURSERY_LEAST_BLOCKS      4
/* Pause goals that a minor collection may take: of what is younger more survives, and is copied, so smaller nurseries make more
   work. */
#define NURSERY_GOALS             3

/* What young large objects may take of the heap's room, where the roots are many. */
#define NURSERY_LARGE_SHARE       2
/* What it takes to make them: their memory is cleared. */
#define NURSERY_LARGE_BYTES_PER_S 4e9

/* Ageing ends where three quarters of what is young survive, and begins again where half of it dies. */
#define NURSERY_NO_AGEING         0.75
#define NURSERY_AGEING            0.5

uint64_t nursery_bytes_for(double bytes_per_s, double seconds) {
  double bytes = bytes_per_s * seconds;
  if (bytes < (double)NURSERY_LEAST_BYTES) return NURSERY_LEAST_BYTES;
  return bytes < (double)NURSERY_MOST_BYTES ? (uint64_t)bytes : NURSERY_MOST_BYTES;
}

static size_t nursery_chosen_bytes(const tsr_heap *heap) {
  size_t bytes = os_atomic_load(&heap->limit_bytes) / NURSERY_HEAP_SHARE;
  size_t goal_bytes = os_atomic_load(&heap->nursery.goal_bytes);
  if (goal_bytes == 0) goal_bytes = NURSERY_FIRST_BYTES;
  return bytes < goal_bytes ? bytes : goal_bytes;
}

size_t nursery_blocks(const tsr_heap *heap) {
  size_t asked_bytes = (size_t)heap->options.values.nursery;
  size_t bytes = asked_bytes != 0 ? asked_bytes : nursery_chosen_bytes(heap);
  size_t blocks = bytes >> BLOCK_SHIFT;
  return blocks < NURSERY_LEAST_BLOCKS ? NURSERY_LEAST_BLOCKS : blocks;
}

size_t nursery_large_blocks(const tsr_heap *heap) {
  size_t live = os_atomic_load(&heap->sizing.live_bytes),
         limit = os_atomic_load(&heap->limit_bytes);
  size_t least = limit / NURSERY_HEAP_SHARE;
  size_t most = (limit > live ? limit - live : 0) / NURSERY_LARGE_SHARE;
  size_t bytes = os_atomic_load(&heap->nursery.large_bytes);
  if (bytes > most) bytes = most;
  return (bytes > least ? bytes : least) >> BLOCK_SHIFT;
}

size_t nursery_filled_blocks(const tsr_heap *heap, size_t young_blocks) {
  size_t left_blocks = os_atomic_load(&heap->nursery.left_blocks);
  return young_blocks > left_blocks ? young_blocks - left_blocks : 0;
}

void nursery_learn(tsr_heap *heap, size_t blocks, size_t survived_bytes, uint64_t roots_ns,
                   uint64_t rest_ns) {
  nursery *n = &heap->nursery;
  n->roots_s = sizing_smooth(n->roots_s, (double)roots_ns * 1e-9);
  os_atomic_store(&n->large_bytes, (uintptr_t)(n->roots_s * NURSERY_LARGE_BYTES_PER_S));
  if (blocks == 0) return;
  double most = n->promotes_at_once ? NURSERY_AGEING : NURSERY_NO_AGEING;
  n->promotes_at_once = (double)survived_bytes >= most * (double)blocks * BLOCK_BYTES;
  sizing_rate_add(&n->rate, (double)blocks * BLOCK_BYTES, (double)rest_ns * 1e-9);
  double seconds = NURSERY_GOALS * (double)heap->options.values.pause_goal * 1e-9;
  if (seconds < n->roots_s) seconds = n->roots_s;
  uint64_t bytes = nursery_bytes_for(sizing_rate_bytes_per_s(&n->rate), seconds);
  os_atomic_store(&n->goal_bytes, (uintptr_t)bytes);
}
