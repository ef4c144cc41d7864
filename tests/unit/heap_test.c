/*
 * core/heap: the block map against a plain model of it.
 */
#include <stdio.h>
#include <string.h>

#include "core/heap/heap.h"
#include "core/os/machine.h"
#include "core/os/watch.h"
#include "tests/unit/unit.h"

#define MODEL_BLOCKS 512

typedef struct model {
  block_map map;
  memory_account account;
  uint32_t run[MODEL_BLOCKS]; /* length of the run that begins here; 0: none does */
  bool used[MODEL_BLOCKS];
} model;

static uint64_t random_state;

static uint32_t random_below(uint32_t bound) {
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(random_state >> 33) % bound;
}

static model *model_open(size_t limit_bytes) {
  model *m = calloc(1, sizeof *m);
  memory_account_open(&m->account, limit_bytes);
  ck_assert(block_map_create(&m->map, &m->account, (size_t)MODEL_BLOCKS / 2 * BLOCK_BYTES, false));
  ck_assert_uint_eq(m->map.block_count, MODEL_BLOCKS);
  return m;
}

static void model_close(model *m) {
  block_map_destroy(&m->map);
  ck_assert_uint_eq(os_atomic_load(&m->account.total.bytes), 0);
  free(m);
}

/* Takes a run, checks that it overlaps none, and that blocks said to be clean are zero. */
static bool model_acquire(model *m, uint32_t count, enum block_space space) {
  uint32_t first = block_map_acquire(&m->map, count, space, MEMORY_WITHIN_LIMIT);
  if (first == BLOCK_NONE) return false;
  os_memory_allow(block_map_start(&m->map, first), block_map_start(&m->map, first + count));
  for (uint32_t i = first; i < first + count; i++) {
    ck_assert(!m->used[i]);
    m->used[i] = true;
    char *memory = (char *)block_map_start(&m->map, i);
    if ((block_map_at(&m->map, i)->flags & BLOCK_CLEAN) != 0) {
      for (size_t j = 0; j < BLOCK_BYTES; j += 512)
        ck_assert_int_eq(memory[j], 0);
    }
    memset(memory, 0xa5, BLOCK_BYTES);
  }
  m->run[first] = count;
  return true;
}

static void model_release(model *m, uint32_t first) {
  block_map_release(&m->map, first, m->run[first]);
  memset(m->used + first, 0, m->run[first]);
  m->run[first] = 0;
}

START_TEST(blocks_are_handed_out_once_and_never_past_the_limit) {
  uint64_t seed = 20240607;
  printf("block map: seed %llu\n", (unsigned long long)seed);
  random_state = seed;
  size_t limit = (size_t)200 * BLOCK_BYTES;
  model *m = model_open(limit);
  for (int step = 0; step < 20000; step++) {
    uint32_t at = random_below(MODEL_BLOCKS);
    uint32_t choice = random_below(100);
    if (choice < 45) {
      model_acquire(m, 1, BLOCK_COPY_A);
    } else if (choice < 55) {
      model_acquire(m, 1 + random_below(40), BLOCK_LARGE);
    } else if (choice < 98) {
      if (m->run[at] != 0) model_release(m, at);
    } else {
      block_map_end_collection(&m->map, false);
    }
    ck_assert_uint_le(os_atomic_load(&m->account.total.bytes), limit);
  }
  model_close(m);
}
END_TEST

START_TEST(a_run_can_be_had_when_free_blocks_elsewhere_hold_the_budget) {
  model *m = model_open((size_t)20 * BLOCK_BYTES);
  size_t blocks = 0;
  while (model_acquire(m, 1, BLOCK_ARENA))
    blocks++;
  ck_assert_uint_ge(blocks, 16);
  /* Every other one is freed: enough budget, but no two free blocks side by side. */
  for (uint32_t i = 0; i < blocks; i += 2)
    model_release(m, i);
  ck_assert(model_acquire(m, (uint32_t)blocks / 2, BLOCK_LARGE));
  model_close(m);
}
END_TEST

START_TEST(blocks_that_stay_unused_go_back_in_long_runs) {
  model *m = model_open((size_t)128 * BLOCK_BYTES);
  for (int i = 0; i < 64; i++)
    ck_assert(model_acquire(m, 1, BLOCK_COPY_A));
  for (uint32_t i = 16; i < 64; i++)
    model_release(m, i);
  size_t before = os_atomic_load(&m->account.by_type[MEMORY_BLOCKS].bytes);
  block_map_end_collection(&m->map, false);
  ck_assert_uint_eq(os_atomic_load(&m->account.by_type[MEMORY_BLOCKS].bytes), before);
  block_map_end_collection(&m->map, false);
  ck_assert_uint_le(os_atomic_load(&m->account.by_type[MEMORY_BLOCKS].bytes),
                    (size_t)16 * BLOCK_BYTES + ((size_t)256 << 10));
  /* What came back is zero again when it is committed once more. */
  for (int i = 0; i < 48; i++)
    ck_assert(model_acquire(m, 1, BLOCK_COPY_A));
  model_close(m);
}
END_TEST

START_TEST(free_blocks_go_back_at_any_age_when_all_shall) {
  model *m = model_open((size_t)128 * BLOCK_BYTES);
  for (int i = 0; i < 64; i++)
    ck_assert(model_acquire(m, 1, BLOCK_COPY_A));
  for (uint32_t i = 16; i < 64; i++)
    model_release(m, i);
  block_map_end_collection(&m->map, true);
  ck_assert_uint_le(os_atomic_load(&m->account.by_type[MEMORY_BLOCKS].bytes),
                    (size_t)16 * BLOCK_BYTES + ((size_t)256 << 10));
  for (int i = 0; i < 48; i++)
    ck_assert(model_acquire(m, 1, BLOCK_COPY_A));
  model_close(m);
}
END_TEST

START_TEST(short_runs_stay_committed) {
  model *m = model_open((size_t)128 * BLOCK_BYTES);
  for (int i = 0; i < 64; i++)
    ck_assert(model_acquire(m, 1, BLOCK_COPY_A));
  for (uint32_t i = 0; i < 64; i += 4)
    model_release(m, i);
  size_t before = os_atomic_load(&m->account.by_type[MEMORY_BLOCKS].bytes);
  for (int i = 0; i < 5; i++)
    block_map_end_collection(&m->map, false);
  ck_assert_uint_eq(os_atomic_load(&m->account.by_type[MEMORY_BLOCKS].bytes), before);
  model_close(m);
}
END_TEST

START_TEST(membership_holds_for_any_address) {
  model *m = model_open((size_t)128 * BLOCK_BYTES);
  ck_assert(model_acquire(m, 3, BLOCK_LARGE));
  uintptr_t base = m->map.base;
  ck_assert(block_map_contains(&m->map, base));
  ck_assert(block_map_contains(&m->map, base + 3 * BLOCK_BYTES - 1));
  ck_assert(!block_map_contains(&m->map, base + 3 * BLOCK_BYTES));
  ck_assert(!block_map_contains(&m->map, base - 1));
  ck_assert(!block_map_contains(&m->map, 0));
  ck_assert(!block_map_contains(&m->map, UINTPTR_MAX));
  ck_assert_int_eq((int)block_map_space_of(&m->map, base), BLOCK_LARGE);
  ck_assert_int_eq((int)block_map_space_of(&m->map, base + BLOCK_BYTES), BLOCK_LARGE_REST);
  model_close(m);
}
END_TEST

/* ---- what the tables cost ---------------------------------------------------------------------------------- */

static size_t share_of(tsr_heap *heap, const char *name) {
  tsr_memory_share shares[32];
  size_t count = tsr_heap_memory(heap, shares, sizeof shares / sizeof shares[0]);
  for (size_t i = 0; i < count; i++) {
    if (strcmp(shares[i].name, name) == 0) return shares[i].bytes;
  }
  ck_abort_msg("no share is called %s", name);
  abort();
}

/* So many bytes of objects in arenas, none of which dies. */
static void fill_arenas(tsr_heap *heap, size_t bytes) {
  tsr_error error = {0};
  tsr_mutator *m = tsr_bind_mutator(heap, heap, &error);
  ck_assert_msg(m != NULL, "%s", error.message);
  for (size_t i = 0; i < bytes / sizeof(unit_pair); i++) {
    unit_pair *pair = tsr_alloc(m, sizeof *pair, 8, 0, TSR_IMMORTAL);
    if (pair == NULL) ck_abort_msg("no memory");
    pair->header = TSR_HEADER(PAIR);
  }
  ck_assert_int_eq(tsr_unbind_mutator(m, NULL), TSR_OK);
}

/* Any address inside tells its block, and that block's place in each table, by a subtraction and a shift. */
static void look_up_addresses(const tsr_heap *heap) {
  const block_map *map = &heap->blocks;
  for (unsigned i = 0; i < 10000; i++) {
    uint32_t index = random_below(block_map_extent(map));
    uintptr_t address = map->base + (uintptr_t)index * BLOCK_BYTES + random_below(BLOCK_BYTES);
    uint32_t granule = (uint32_t)(address % BLOCK_BYTES) / TSR_GRANULE;
    ck_assert_uint_eq(block_map_index(map, address), index);
    ck_assert_uint_eq(block_map_start(map, index), address / BLOCK_BYTES * BLOCK_BYTES);
    ck_assert_ptr_eq(block_map_at(map, index), block_map_at(map, 0) + index);
    size_t bit = object_bit_index(&heap->bits, address);
    ck_assert_ptr_eq(&heap->bits.starts[bit / 64],
                     object_bits_of(heap->bits.starts, index) + granule / 64);
    ck_assert_uint_eq(bit % 64, granule % 64);
  }
}

/* What each table may have of a heap that is full of arenas, and all of them together. */
START_TEST(a001_01_tables_keep_to_their_shares) {
  static const size_t filled[] = {(size_t)24 << 20, (size_t)96 << 20};
  static const char *const sizes[] = {"64M", "256M"};
  random_state = 1 + (uint64_t)_i;
  tsr_heap *heap = unit_heap("semispace", sizes[_i]);
  fill_arenas(heap, filled[_i]);
  size_t blocks = share_of(heap, "heap blocks"), page = os_page_bytes();
  size_t extent = block_map_extent(&heap->blocks), limit = os_atomic_load(&heap->limit_bytes);
  ck_assert_uint_ge(blocks, filled[_i]);
  look_up_addresses(heap);
  ck_assert_uint_le(share_of(heap, "block tables"), extent * 33 + 2 * page);
  ck_assert_uint_le(share_of(heap, "start and mark bits"), blocks / 32 + 4 * page);
  ck_assert_uint_le(share_of(heap, "mark queue"), limit / 96 + 5 * page);
  ck_assert_uint_le(share_of(heap, "block tables") + share_of(heap, "start and mark bits") +
                        share_of(heap, "mark queue"),
                    blocks / 20);
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("heap");
  TCase *tests = tcase_create("block map");
  tcase_set_timeout(tests, 60);
  tcase_add_test(tests, blocks_are_handed_out_once_and_never_past_the_limit);
  tcase_add_test(tests, a_run_can_be_had_when_free_blocks_elsewhere_hold_the_budget);
  tcase_add_test(tests, blocks_that_stay_unused_go_back_in_long_runs);
  tcase_add_test(tests, free_blocks_go_back_at_any_age_when_all_shall);
  tcase_add_test(tests, short_runs_stay_committed);
  tcase_add_test(tests, membership_holds_for_any_address);
  tcase_add_loop_test(tests, a001_01_tables_keep_to_their_shares, 0, 2);
  suite_add_tcase(suite, tests);
  return unit_run(suite);
}
