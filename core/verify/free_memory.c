/*
 * Free memory under the verifier.
 */
#include "core/verify/free_memory.h"

#include "core/os/watch.h"
#include "core/space/spaces.h"

#define FREE_WORD UINT64_C(0xf4eef4eef4eef4ee)

/* ---- one run -------------------------------------------------------------------------------------- */

static void free_run_fill(uintptr_t start, uintptr_t end) {
  os_memory_allow(start, end);
  for (uint64_t *word = (uint64_t *)start; word < (uint64_t *)end; word++)
    *word = FREE_WORD;
  os_memory_forbid(start, end);
}

static uintptr_t free_run_written(uintptr_t start, uintptr_t end, uint64_t *word) {
  uintptr_t at = start;
  os_memory_allow(start, end);
  for (; at < end; at += sizeof *word) {
    *word = *(const uint64_t *)at;
    if (*word != FREE_WORD && *word != 0) break;
  }
  os_memory_forbid(start, end);
  return at < end ? at : 0;
}

/* ---- arenas --------------------------------------------------------------------------------------- */

/* Free memory beside sealed objects is as read-only as they are. */
static bool free_arena_is_watched(const arena *a) {
  return !a->sealable;
}

static void free_arena_fill(const arena *a) {
  const block_map *map = &a->heap->blocks;
  if (!free_arena_is_watched(a)) return;
  for (uint32_t i = a->first; i != BLOCK_NONE; i = block_map_at(map, i)->next) {
    if ((block_map_at(map, i)->flags & BLOCK_CLEAN) != 0) continue; /* is handed out as it is */
    uintptr_t end = block_map_start(map, i);
    for (uintptr_t start; arena_next_free(a, i, &start, &end);)
      free_run_fill(start, end);
  }
}

static uintptr_t free_arena_written(const arena *a, uint64_t *word) {
  const block_map *map = &a->heap->blocks;
  if (!free_arena_is_watched(a)) return 0;
  for (uint32_t i = a->first; i != BLOCK_NONE; i = block_map_at(map, i)->next) {
    uintptr_t end = block_map_start(map, i);
    for (uintptr_t start; arena_next_free(a, i, &start, &end);) {
      uintptr_t written = free_run_written(start, end, word);
      if (written != 0) return written;
    }
  }
  return 0;
}

/* ---- all ------------------------------------------------------------------------------------------ */

/* A block of the copy space is filled from the bottom; behind its top it has been zero since it was committed. */
static uintptr_t free_copy_written(const bump_blocks *blocks, uint64_t *word) {
  const block_map *map = &blocks->heap->blocks;
  for (uint32_t i = blocks->first; i != BLOCK_NONE; i = block_map_at(map, i)->next) {
    uintptr_t start = block_map_start(map, i);
    uintptr_t written =
        free_run_written(start + block_map_at(map, i)->top_bytes, start + BLOCK_BYTES, word);
    if (written != 0) return written;
  }
  return 0;
}

void free_memory_fill(const tsr_heap *heap) {
  for (unsigned i = 0; i < ARENAS; i++)
    free_arena_fill(&heap->spaces->arenas[i]);
}

uintptr_t free_memory_written(const tsr_heap *heap, uint64_t *word) {
  uintptr_t written = free_copy_written(&heap->spaces->copy.to, word);
  for (unsigned i = 0; i < ARENAS && written == 0; i++)
    written = free_arena_written(&heap->spaces->arenas[i], word);
  return written;
}
