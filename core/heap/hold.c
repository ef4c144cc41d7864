/*
 * Holds on memory.
 */
#include "core/heap/hold.h"

/* The blocks bring start and mark bits with them, a 32nd, and their part of tables. */
#define HOLD_METADATA_SHARE 16

/* As the plan counts them when its nursery does not rest: a hold outlasts pauses. */
static size_t hold_bytes_for(const tsr_heap *heap, size_t blocks) {
  size_t more = heap_growth_blocks(heap, heap->plan, blocks);
  return (more + more / HOLD_METADATA_SHARE + 1) * BLOCK_BYTES;
}

static size_t hold_blocks(size_t bytes) {
  return bytes / BLOCK_BYTES + (bytes % BLOCK_BYTES != 0);
}

bool hold_is_possible(const tsr_heap *heap, size_t bytes) {
  size_t most = heap->account.limit_bytes;
  size_t least = heap_least_bytes(heap);
  return bytes <= most && least <= most && hold_bytes_for(heap, hold_blocks(bytes)) <= most - least;
}

/* Charges more room, if the heap has it. Under the admission lock. */
static bool hold_charge(tsr_heap *heap, size_t bytes) {
  if (!provider_charge(&heap->account, MEMORY_RESERVE, bytes, MEMORY_WITHIN_LIMIT)) return false;
  if (heap_admits(heap, 0, 0, MEMORY_WITHIN_LIMIT)) return true;
  memory_discharge(&heap->account, MEMORY_RESERVE, bytes);
  return false;
}

bool hold_change(tsr_heap *heap, size_t bytes, memory_hold *hold) {
  if (!hold_is_possible(heap, bytes)) return false;
  memory_hold changed = {.blocks = (uint32_t)hold_blocks(bytes)};
  bool held = true;
  os_mutex_lock(&heap->holding);
  os_mutex_lock(&heap->admission);
  if (bytes > 0) changed.charged_bytes = hold_bytes_for(heap, changed.blocks);
  if (changed.charged_bytes > hold->charged_bytes) {
    held = hold_charge(heap, changed.charged_bytes - hold->charged_bytes);
  } else {
    memory_discharge(&heap->account, MEMORY_RESERVE, hold->charged_bytes - changed.charged_bytes);
  }
  os_mutex_unlock(&heap->admission);
  os_mutex_unlock(&heap->holding);
  if (held) *hold = changed;
  return held;
}

void hold_fork(tsr_heap *heap, os_fork_stage stage) {
  os_mutex_fork(&heap->holding, stage);
}

void hold_release(tsr_heap *heap, memory_hold *hold) {
  memory_discharge(&heap->account, MEMORY_RESERVE, hold->charged_bytes);
  *hold = (memory_hold){.blocks = 0};
}
