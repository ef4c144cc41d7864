/*
 * The block map. Searches run over the byte table; `lowest_free` makes handing out single
 * blocks one pass over the table per collection.
 */
#include "core/heap/block_map.h"

#include <string.h>

#include "core/os/check.h"
#include "core/os/machine.h"
#include "core/os/memory.h"
#include "core/os/watch.h"

/* Collections that a block stays committed without being used. */
#define RETURN_AGE        2
/* Runs shorter than this stay committed. */
#define RETURN_RUN_BLOCKS ((uint32_t)(MEMORY_LONG_RUN_BYTES / BLOCK_BYTES))

static void block_map_check(const block_map *map) {
  TSR_CHECK(block_map_extent(map) <= map->block_count, "the extent lies within the range");
  TSR_CHECK((size_t)map->free_blocks + map->used_blocks <= block_map_extent(map),
            "free and used blocks lie within the extent");
  TSR_CHECK(((size_t)map->free_blocks + map->used_blocks) * BLOCK_BYTES ==
                os_atomic_load(&map->account->by_type[MEMORY_BLOCKS].bytes),
            "every committed block is charged, and nothing else is");
}

/* ---- creation -------------------------------------------------------------------------------- */

static size_t block_map_round(size_t bytes, size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

static bool block_map_reserve(block_map *map, size_t max_bytes) {
  size_t least = block_map_round(max_bytes, CHUNK_BYTES);
  for (size_t bytes = 2 * least; bytes >= least; bytes = bytes == least ? 0 : least) {
    if (!memory_mapping_reserve(&map->range, map->account, MEMORY_BLOCKS, "blocks", bytes,
                                CHUNK_BYTES)) {
      continue;
    }
    map->base = (uintptr_t)map->range.base;
    map->block_count = (uint32_t)(bytes / BLOCK_BYTES);
    return true;
  }
  return false;
}

bool block_map_create(block_map *map, memory_account *account, size_t max_bytes, bool guards) {
  memset(map, 0, sizeof *map);
  map->account = account;
  map->guards = guards;
  if (!os_mutex_create(&map->lock)) return false;
  if (!block_map_reserve(map, max_bytes)) goto no_range;
  /* Small heaps commit a run of blocks at a time, large ones a chunk. */
  size_t step = max_bytes / 64;
  if (step > CHUNK_BYTES) step = CHUNK_BYTES;
  if (guards) step = BLOCK_BYTES;
  map->step_blocks = (uint32_t)(step < BLOCK_BYTES ? 1 : step / BLOCK_BYTES);
  if (!memory_table_create(&map->spaces, account, MEMORY_BLOCK_TABLES, "block spaces",
                           map->block_count)) {
    goto no_spaces;
  }
  if (!memory_table_create(&map->blocks, account, MEMORY_BLOCK_TABLES, "block descriptors",
                           map->block_count * sizeof(block))) {
    goto no_blocks;
  }
  return true;

no_blocks:
  memory_table_destroy(&map->spaces);
no_spaces:
  memory_mapping_release(&map->range);
no_range:
  os_mutex_destroy(&map->lock);
  return false;
}

void block_map_destroy(block_map *map) {
  /* The addresses may serve somebody else. */
  os_memory_allow(map->base, block_map_start(map, block_map_extent(map)));
  memory_table_destroy(&map->blocks);
  memory_table_destroy(&map->spaces);
  memory_discharge(map->account, MEMORY_BLOCKS,
                   ((size_t)map->free_blocks + map->used_blocks) * BLOCK_BYTES);
  memory_mapping_release(&map->range);
  os_mutex_destroy(&map->lock);
}

/* ---- committing ------------------------------------------------------------------------------ */

static enum block_space block_map_state(const block_map *map, uint32_t index) {
  return index < block_map_extent(map) ? (enum block_space)block_map_spaces(map)[index]
                                       : BLOCK_UNCOMMITTED;
}

static bool block_map_extend(block_map *map, uint32_t extent, memory_allowance allowance) {
  if (extent <= block_map_extent(map)) return true;
  if (!memory_table_extend(&map->spaces, extent, allowance)) return false;
  if (!memory_table_extend(&map->blocks, extent * sizeof(block), allowance)) return false;
  os_atomic_store_release(&map->extent, extent);
  return true;
}

/* Commits blocks that are not; they become free. */
static bool block_map_commit(block_map *map, uint32_t first, uint32_t count,
                             memory_allowance allowance) {
  size_t bytes = (size_t)count * BLOCK_BYTES;
  if (!block_map_extend(map, first + count, allowance)) return false;
  if (!memory_charge(map->account, MEMORY_BLOCKS, bytes, allowance)) return false;
  if (!os_memory_commit((void *)block_map_start(map, first), bytes)) {
    memory_discharge(map->account, MEMORY_BLOCKS, bytes);
    map->system_refused = true;
    return false;
  }
  map->system_refused = false;
  os_memory_forbid(block_map_start(map, first), block_map_start(map, first + count));
  memset(block_map_spaces(map) + first, BLOCK_FREE, count);
  for (uint32_t i = 0; i < count; i++) {
    *block_map_at(map, first + i) =
        (block){.flags = BLOCK_CLEAN, .freed_at = (uint16_t)map->collection};
  }
  map->free_blocks += count;
  if (first < map->lowest_free) map->lowest_free = first;
  return true;
}

static void block_map_decommit(block_map *map, uint32_t first, uint32_t count) {
  size_t bytes = (size_t)count * BLOCK_BYTES;
  void *start = (void *)block_map_start(map, first);
  if (map->guards) {
    os_memory_decommit(start, bytes);
  } else {
    memory_return(start, bytes);
  }
  memory_discharge(map->account, MEMORY_BLOCKS, bytes);
  for (uint32_t i = 0; i < count; i++)
    os_atomic8_store(&block_map_spaces(map)[first + i], BLOCK_UNCOMMITTED);
  map->free_blocks -= count;
}

/* Length of the run of blocks in `state` from `first` on, at most `most`. */
static uint32_t block_map_run(const block_map *map, uint32_t first, enum block_space state,
                              uint32_t most) {
  uint32_t length = 0;
  while (length < most && first + length < map->block_count &&
         block_map_state(map, first + length) == state) {
    length++;
  }
  return length;
}

/* ---- single blocks --------------------------------------------------------------------------- */

static uint32_t block_map_find_free(block_map *map) {
  if (map->free_blocks == 0) return BLOCK_NONE;
  const unsigned char *table = block_map_spaces(map);
  const unsigned char *found =
      memchr(table + map->lowest_free, BLOCK_FREE, block_map_extent(map) - map->lowest_free);
  TSR_CHECK(found != NULL, "a counted free block is found");
  map->lowest_free = (uint32_t)(found - table);
  return map->lowest_free;
}

/* The lowest block in [start, end) that is not committed, or `end`. */
static uint32_t block_map_find_uncommitted(const block_map *map, uint32_t start, uint32_t end) {
  uint32_t extent = block_map_extent(map);
  uint32_t known_end = end < extent ? end : extent;
  const unsigned char *table = block_map_spaces(map);
  const unsigned char *found =
      start < known_end ? memchr(table + start, BLOCK_UNCOMMITTED, known_end - start) : NULL;
  if (found != NULL) return (uint32_t)(found - table);
  return start > known_end ? start : known_end;
}

/*
 * With guards single blocks come in turn through half of the range, and so does their reuse. Those of the copy
 * space, all of which change in each collection, have the upper half; the others, which stay scattered over
 * theirs, leave room for long runs there.
 */
static uint32_t block_map_find_guarded(const block_map *map, bool copied, uint32_t cursor) {
  uint32_t half = map->block_count / 2;
  uint32_t start = copied ? half : 0, end = copied ? map->block_count : half;
  if (cursor < start || cursor >= end) cursor = start;
  uint32_t first = block_map_find_uncommitted(map, cursor, end);
  if (first == end) first = block_map_find_uncommitted(map, start, end);
  return first < end ? first : block_map_find_uncommitted(map, 0, map->block_count);
}

/* Commits the next step of blocks, or less where the account has less room; past its limit one alone. */
static uint32_t block_map_grow(block_map *map, enum block_space space, memory_allowance allowance) {
  bool copied = space == BLOCK_COPY_A || space == BLOCK_COPY_B;
  uint32_t *cursor = copied ? &map->copy_cursor : &map->staying_cursor;
  uint32_t first = map->guards ? block_map_find_guarded(map, copied, *cursor)
                               : block_map_find_uncommitted(map, 0, map->block_count);
  uint32_t most = allowance == MEMORY_OVER_LIMIT ? 1 : map->step_blocks;
  uint32_t count = block_map_run(map, first, BLOCK_UNCOMMITTED, most);
  for (; count > 0; count /= 2) {
    if (!block_map_commit(map, first, count, allowance)) continue;
    *cursor = first + count;
    return first;
  }
  return BLOCK_NONE;
}

/* ---- runs ------------------------------------------------------------------------------------ */

static bool block_map_is_available(const block_map *map, uint32_t index) {
  enum block_space state = block_map_state(map, index);
  return state == BLOCK_UNCOMMITTED || state == BLOCK_FREE;
}

/* The lowest run of blocks at or above `start` that no space has. */
static uint32_t block_map_find_run(const block_map *map, uint32_t start, uint32_t count) {
  uint32_t first = start;
  for (uint32_t i = start; i < map->block_count; i++) {
    if (!block_map_is_available(map, i)) {
      first = i + 1;
    } else if (i - first + 1 == count) {
      return first;
    }
  }
  return BLOCK_NONE;
}

/* Gives committed free blocks outside [first, first + count) back, from the top down, until the account
   has headroom for `bytes`. */
static void block_map_make_headroom(block_map *map, size_t bytes, uint32_t first, uint32_t count) {
  uint32_t run = 0;
  for (uint32_t i = block_map_extent(map); i > 0; i--) {
    if (memory_headroom_after(map->account, (size_t)run * BLOCK_BYTES) >= bytes) {
      if (run > 0) block_map_decommit(map, i, run);
      return;
    }
    uint32_t index = i - 1;
    bool inside = index >= first && index - first < count;
    if (!inside && block_map_state(map, index) == BLOCK_FREE) {
      run++;
    } else {
      if (run > 0) block_map_decommit(map, i, run);
      run = 0;
    }
  }
  if (run > 0) block_map_decommit(map, 0, run);
}

bool block_map_reclaim(block_map *map, size_t bytes) {
  os_mutex_lock(&map->lock);
  block_map_make_headroom(map, bytes, 0, 0);
  bool enough = memory_headroom(map->account) >= bytes;
  os_mutex_unlock(&map->lock);
  return enough;
}

static bool block_map_commit_run(block_map *map, uint32_t first, uint32_t count,
                                 memory_allowance allowance) {
  uint32_t missing = 0;
  for (uint32_t i = first; i < first + count; i++) {
    missing += block_map_state(map, i) == BLOCK_UNCOMMITTED;
  }
  /* The tables may grow too, by whole pages. */
  size_t tables = (size_t)count * (1 + sizeof(block)) + 2 * os_page_bytes();
  block_map_make_headroom(map, (size_t)missing * BLOCK_BYTES + tables, first, count);
  for (uint32_t i = first; i < first + count;) {
    uint32_t length = block_map_run(map, i, BLOCK_UNCOMMITTED, first + count - i);
    if (length > 0 && !block_map_commit(map, i, length, allowance)) return false;
    i += length > 0 ? length : 1;
  }
  return true;
}

static uint32_t block_map_prepare_run(block_map *map, uint32_t count, memory_allowance allowance) {
  if (count > map->block_count) return BLOCK_NONE;
  uint32_t first = block_map_find_run(map, map->run_cursor, count);
  if (first == BLOCK_NONE) first = block_map_find_run(map, 0, count);
  if (first == BLOCK_NONE || !block_map_commit_run(map, first, count, allowance)) return BLOCK_NONE;
  map->run_cursor = first + count;
  return first;
}

/* ---- acquire, release, trim ------------------------------------------------------------------ */

static void block_map_assign(block_map *map, uint32_t first, uint32_t count,
                             enum block_space space) {
  enum block_space rest = block_space_begins_large(space) ? BLOCK_LARGE_REST : space;
  memset(block_map_spaces(map) + first, (int)rest, count);
  block_map_spaces(map)[first] = (unsigned char)space;
  for (uint32_t i = first; i < first + count; i++) {
    block *b = block_map_at(map, i);
    *b = (block){.next = BLOCK_NONE, .run_blocks = count, .flags = b->flags & BLOCK_CLEAN};
  }
  map->free_blocks -= count;
  map->used_blocks += count;
}

uint32_t block_map_acquire(block_map *map, uint32_t count, enum block_space space,
                           memory_allowance allowance) {
  os_mutex_lock(&map->lock);
  uint32_t first;
  if (count == 1) {
    first = block_map_find_free(map);
    if (first == BLOCK_NONE) first = block_map_grow(map, space, allowance);
  } else {
    first = block_map_prepare_run(map, count, allowance);
  }
  if (first != BLOCK_NONE) block_map_assign(map, first, count, space);
  block_map_check(map);
  os_mutex_unlock(&map->lock);
  return first;
}

void block_map_release(block_map *map, uint32_t first, uint32_t count) {
  os_mutex_lock(&map->lock);
  memset(block_map_spaces(map) + first, BLOCK_FREE, count);
  for (uint32_t i = first; i < first + count; i++) {
    *block_map_at(map, i) = (block){.freed_at = (uint16_t)map->collection};
  }
  map->used_blocks -= count;
  map->free_blocks += count;
  if (first < map->lowest_free) map->lowest_free = first;
  os_memory_forbid(block_map_start(map, first), block_map_start(map, first + count));
  if (map->guards) block_map_decommit(map, first, count);
  block_map_check(map);
  os_mutex_unlock(&map->lock);
}

void block_map_rewind(block_map *map, uint32_t first) {
  os_mutex_lock(&map->lock);
  if (first < map->run_cursor && !map->guards) map->run_cursor = first;
  os_mutex_unlock(&map->lock);
}

void block_map_change(block_map *map, uint32_t index, enum block_space space) {
  os_mutex_lock(&map->lock); /* whoever looks for free blocks reads the bytes of the others too */
  os_atomic8_store(&block_map_spaces(map)[index], (uint8_t)space);
  os_mutex_unlock(&map->lock);
}

bool block_map_contains(block_map *map, uintptr_t address) {
  os_mutex_lock(&map->lock);
  bool contains = block_map_space_of(map, address) > BLOCK_FREE;
  os_mutex_unlock(&map->lock);
  return contains;
}

bool block_map_system_refused(block_map *map) {
  os_mutex_lock(&map->lock);
  bool refused = map->system_refused;
  os_mutex_unlock(&map->lock);
  return refused;
}

static bool block_map_is_old(const block_map *map, uint32_t index, uint32_t age) {
  return block_map_state(map, index) == BLOCK_FREE &&
         (uint16_t)(map->collection - block_map_at(map, index)->freed_at) >= age;
}

/* The tables end with the last block that is committed. What lies behind is nobody's concern any more: once the range
   is released, the addresses may serve somebody else. */
static void block_map_shrink(block_map *map) {
  uint32_t before = block_map_extent(map);
  uint32_t extent = before;
  while (extent > 0 && block_map_state(map, extent - 1) == BLOCK_UNCOMMITTED)
    extent--;
  os_memory_allow(block_map_start(map, extent), block_map_start(map, before));
  os_atomic_store(&map->extent, extent);
  memory_table_cut(&map->blocks, extent * sizeof(block));
  memory_table_cut(&map->spaces, extent);
}

void block_map_end_collection(block_map *map, bool returns_all) {
  uint32_t age = returns_all ? 0 : RETURN_AGE;
  os_mutex_lock(&map->lock);
  map->collection++;
  if (!map->guards) map->run_cursor = 0;
  uint32_t run = 0;
  for (uint32_t i = 0; i <= block_map_extent(map); i++) {
    if (i < block_map_extent(map) && block_map_is_old(map, i, age)) {
      run++;
    } else {
      if (run >= RETURN_RUN_BLOCKS) block_map_decommit(map, i - run, run);
      run = 0;
    }
  }
  if (!map->guards) block_map_shrink(map);
  block_map_check(map);
  os_mutex_unlock(&map->lock);
}
