/*
 * What each stretch of a heap's range of blocks is: for the report [design: heap-report].
 */
#include "core/space/spaces.h"

static const char *divide_name(const tsr_heap *heap, uint32_t index) {
  const block_map *map = &heap->blocks;
  if (index >= block_map_extent(map)) return "uncommitted";
  switch (block_map_space(map, index)) {
  case BLOCK_UNCOMMITTED:
    return "uncommitted";
  case BLOCK_FREE:
    return "free blocks";
  case BLOCK_COPY_A:
  case BLOCK_COPY_B:
  case BLOCK_PINNED:
    return "copy space";
  case BLOCK_LARGE_YOUNG:
  case BLOCK_LARGE_REST:
  case BLOCK_LARGE:
    return "large objects";
  default:
    return arena_name((enum arena_id)block_map_at(map, index)->arena);
  }
}

/* Adds a block to the stretch that it goes on. */
static void divide_add(const tsr_heap *heap, memory_stretch *stretch, uint32_t index) {
  const block_map *map = &heap->blocks;
  stretch->reserved_bytes += BLOCK_BYTES;
  if (index >= block_map_extent(map)) return;
  enum block_space space = block_map_space(map, index);
  if (space == BLOCK_UNCOMMITTED) return;
  stretch->committed_bytes += BLOCK_BYTES;
  if (space == BLOCK_FREE) return;
  const block *b = block_map_at(map, index);
  if (block_space_is_large(space)) {
    stretch->used_bytes += BLOCK_BYTES;
  } else if (!block_space_stays(space)) {
    stretch->used_bytes += b->top_bytes;
  } else {
    stretch->used_bytes += arena_used_bytes(&heap->spaces->arenas[b->arena], index);
  }
}

void spaces_divide(void *owner, memory_stretch_visit *visit, void *context) {
  const tsr_heap *heap = owner;
  const block_map *map = &heap->blocks;
  for (uint32_t first = 0, end; first < map->block_count; first = end) {
    memory_stretch stretch = {.name = divide_name(heap, first),
                              .start = block_map_start(map, first)};
    for (end = first; end < map->block_count && divide_name(heap, end) == stretch.name; end++)
      divide_add(heap, &stretch, end);
    visit(context, &stretch);
  }
}
