/*
 * Evacuation: what lies in sparse blocks of promoted objects is promoted again, elsewhere.
 *
 * A sparse block becomes a block of from-space before a trace of everything begins, and whatever the trace does with
 * from-space it does with this: what is reached is copied. Where something is pinned there, or finds no room, the block goes
 * back to its arena as it is [design: evacuation]. The sparsest go first.
 */
#include "core/space/spaces.h"

/* A block of which more is used stays; and in an emergency. */
#define EVACUATE_MOST_USED     (BLOCK_BYTES / 2)
#define EVACUATE_EMERGENCY     (BLOCK_BYTES / 8 * 7)
/* By their used bytes, blocks fall into so many classes. */
#define EVACUATE_CLASSES       16

/* Of the room, so much is left for what copies take more than objects: ends of blocks, and identity hashes. */
#define EVACUATE_MARGIN_SHARE  16
#define EVACUATE_MARGIN_BLOCKS 2 /* for each worker */

/* Blocks for copies: those that the heap may take yet, less what the young may need. Gaps do not count: which objects fit them is
   known when these come. */
static size_t evacuate_room_blocks(const tsr_heap *heap, uint32_t workers) {
  size_t blocks = (memory_headroom(&heap->account) >> BLOCK_SHIFT) + heap->blocks.free_blocks;
  size_t taken = (size_t)EVACUATE_MARGIN_BLOCKS * workers;
  for (uint32_t i = heap->spaces->copy.from_first; i != BLOCK_NONE;
       i = block_map_at(&heap->blocks, i)->next)
    taken++;
  taken += (taken > blocks ? taken : blocks) / EVACUATE_MARGIN_SHARE;
  return blocks > taken ? blocks - taken : 0;
}

/* Which blocks have room for their copies. */
typedef struct evacuate_choice {
  size_t most;       /* of which less is used: all of them */
  size_t some_most;  /* of which less is used than this: some of them, */
  size_t some_bytes; /* with so much in use together */
} evacuate_choice;

/* What is in use in an arena's blocks, by the class of each, of those below the last class's end. */
static void evacuate_count(const arena *a, size_t step, size_t *used_bytes) {
  for (uint32_t i = a->first; i != BLOCK_NONE; i = block_map_at(&a->heap->blocks, i)->next) {
    size_t used = arena_used_bytes(a, i);
    if (used < step * EVACUATE_CLASSES) used_bytes[used / step] += used;
  }
}

static evacuate_choice evacuate_choose(const tsr_heap *heap, uint32_t workers) {
  size_t most = heap->emergency ? EVACUATE_EMERGENCY : EVACUATE_MOST_USED;
  size_t step = most / EVACUATE_CLASSES, used_bytes[EVACUATE_CLASSES] = {0};
  size_t room = evacuate_room_blocks(heap, workers) * BLOCK_BYTES;
  evacuate_count(&heap->spaces->arenas[ARENA_PROMOTED], step, used_bytes);
  evacuate_count(&heap->spaces->arenas[ARENA_LEAVES], step, used_bytes);
  size_t k = 0;
  while (k < EVACUATE_CLASSES && used_bytes[k] <= room)
    room -= used_bytes[k++];
  size_t more = k < EVACUATE_CLASSES ? step : 0;
  return (evacuate_choice){.most = k * step, .some_most = k * step + more, .some_bytes = room};
}

static bool evacuate_takes(evacuate_choice *choice, size_t used) {
  if (used < choice->most) return true;
  if (used >= choice->some_most || used > choice->some_bytes) return false;
  choice->some_bytes -= used;
  return true;
}

static void evacuate_some(arena *a, evacuate_choice *choice) {
  for (uint32_t *link = &a->first; *link != BLOCK_NONE;) {
    uint32_t index = *link;
    if (evacuate_takes(choice, arena_used_bytes(a, index))) {
      arena_give_up(a, link);
      copy_space_add_source(&a->heap->spaces->copy, index);
    } else {
      link = &block_map_at(&a->heap->blocks, index)->next;
    }
  }
}

void spaces_evacuate(tsr_heap *heap, uint32_t workers) {
  evacuate_choice choice = evacuate_choose(heap, workers);
  evacuate_some(&heap->spaces->arenas[ARENA_PROMOTED], &choice);
  evacuate_some(&heap->spaces->arenas[ARENA_LEAVES], &choice);
}
