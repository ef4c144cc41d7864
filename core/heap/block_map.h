/*
 * The block map: one contiguous range of addresses, divided into blocks; which are committed, which
 * are free, which space has which.
 *
 * Committing is charged to the heap's account before the system is asked, so the heap's maximum
 * holds at every instant. Single blocks come lowest address first, which keeps the heap dense at
 * its lower end and lets the upper end go back to the system.
 *
 * With guards, for the verifier, a block that is released is inaccessible until it is handed out
 * again, and blocks are handed out in turn, so that this is not soon: who still uses a reference from
 * before a collection faults.
 */
#ifndef CORE_HEAP_BLOCK_MAP_H
#define CORE_HEAP_BLOCK_MAP_H

#include "core/heap/block.h"
#include "core/memory/provider.h"
#include "core/os/thread.h"

typedef struct block_map {
  uintptr_t base;       /* of the range; aligned to a chunk; fixed */
  uint32_t block_count; /* in the range; fixed */
  uint32_t step_blocks; /* how many blocks are committed at a time; fixed */
  bool guards;          /* released blocks are inaccessible; fixed */
  memory_account *account;
  memory_mapping range; /* its owner, who knows the spaces, divides it (core/space/divide.c) */

  /* Everything below is written under the lock, or by the collecting threads in a pause. */
  os_mutex lock;
  os_atomic_word
      extent; /* blocks below it have table entries; shrinks in a pause only; read without the lock */
  uint32_t lowest_free; /* no block below it is free and committed */
  uint32_t run_cursor;  /* where the search for a run begins; collections move it back */
  uint32_t copy_cursor, staying_cursor; /* guards: where the search for a block begins */
  uint32_t collection;                  /* collections so far, the clock of ageing */
  bool system_refused;  /* the last commit was refused by the system, not by the account */
  uint32_t free_blocks; /* committed and in no space */
  uint32_t used_blocks;
  memory_table spaces; /* a byte per block: enum block_space */
  memory_table blocks; /* a descriptor per block */
} block_map;

/*
 * Reserves a range for `max_bytes` of blocks, twice that where the system allows. False: not even
 * what the maximum needs can be had.
 */
bool block_map_create(block_map *map, memory_account *account, size_t max_bytes, bool guards);
void block_map_destroy(block_map *map);

/* `count` adjacent blocks for a space, BLOCK_NONE when the account or the system refuses. Their
   descriptors are reset, except for BLOCK_CLEAN, and know the run. Nobody may touch them before their
   space has allowed it (core/os/watch.h). */
uint32_t block_map_acquire(block_map *map, uint32_t count, enum block_space space,
                           memory_allowance allowance);
void block_map_release(block_map *map, uint32_t first, uint32_t count);

/* The next search for a run begins no further up than here, where a collection frees one: each goes on behind the one before, so
   that a program which frees runs itself does not send it over the same blocks again and again. */
void block_map_rewind(block_map *map, uint32_t first);

/* A block that is in use becomes another space's. Any collecting thread. */
void block_map_change(block_map *map, uint32_t index, enum block_space space);

/* After each collection: gives blocks back to the system that were not used between the last ones, or every free one,
   in long runs only, and the ends of the tables that no block needs. World stopped. */
void block_map_end_collection(block_map *map, bool returns_all);

/* Gives free blocks back until the account has headroom for `bytes`. False: that is not enough. */
bool block_map_reclaim(block_map *map, size_t bytes);

/* Whether it was the system that refused the last blocks. */
bool block_map_system_refused(block_map *map);

static inline unsigned char *block_map_spaces(const block_map *map) {
  return (unsigned char *)map->spaces.base;
}

static inline block *block_map_at(const block_map *map, uint32_t index) {
  return &((block *)(void *)map->blocks.base)[index];
}

static inline uintptr_t block_map_start(const block_map *map, uint32_t index) {
  return map->base + ((uintptr_t)index << BLOCK_SHIFT);
}

static inline uint32_t block_map_index(const block_map *map, uintptr_t address) {
  return (uint32_t)((address - map->base) >> BLOCK_SHIFT);
}

static inline uint32_t block_map_extent(const block_map *map) {
  return (uint32_t)os_atomic_load(&map->extent);
}

/* What a block is. For walks over the whole table in a pause, while a thread in native code may give free blocks
   back. */
static inline enum block_space block_map_space(const block_map *map, uint32_t index) {
  return (enum block_space)os_atomic8_load(&block_map_spaces(map)[index]);
}

/* What the block at `address` is; BLOCK_UNCOMMITTED for any address outside the extent. For the
   collector, and for addresses that the caller knows to be an object's; others ask block_map_contains(). */
static inline enum block_space block_map_space_of(const block_map *map, uintptr_t address) {
  uintptr_t index = (address - map->base) >> BLOCK_SHIFT;
  if (index >= block_map_extent(map)) return BLOCK_UNCOMMITTED;
  return block_map_space(map, (uint32_t)index);
}

/* Whether any address at all lies in a block that a space has. */
bool block_map_contains(block_map *map, uintptr_t address);

#endif
