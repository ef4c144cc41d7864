/*
 * core/space, core/trace, core/collect: the paths that a sound heap rarely takes. A mark queue too
 * small for anything, and no memory left to copy into.
 */
#include <stdio.h>

#include "core/collect/collector.h"
#include "tests/unit/unit.h"

#define LEAVES 3000

static uint64_t random_state = 4711;

static uint32_t random_below(uint32_t bound) {
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(random_state >> 33) % bound;
}

static uint64_t word_of(const void *object) {
  return (uint64_t)(uintptr_t)object;
}

static unit_pair *new_pair(tsr_mutator *m) {
  unit_pair *pair = tsr_alloc_default(m, sizeof *pair);
  ck_assert_ptr_nonnull(pair);
  pair->header = TSR_HEADER(PAIR);
  return pair;
}

/* An array of lists: leaf i is a list of i % 7 pairs whose `first` words are odd numbers. */
static tsr_slot *build(tsr_mutator *m) {
  tsr_slot *root = tsr_local(m, 0);
  unit_array *array = tsr_alloc(m, 16 + LEAVES * 8, 8, 0, TSR_DEFAULT);
  ck_assert_ptr_nonnull(array);
  array->header = TSR_HEADER(ARRAY);
  array->length = LEAVES;
  root->word = word_of(array);
  for (uint32_t i = 0; i < LEAVES; i++) {
    for (uint32_t j = 0; j < i % 7; j++) {
      unit_pair *pair = new_pair(m);
      array = (unit_array *)root->word;
      pair->first.word = (uint64_t)(i * 7 + j) * 2 + 1;
      pair->second = array->slots[i];
      array->slots[i].word = word_of(pair);
      for (uint32_t garbage = random_below(3); garbage > 0; garbage--)
        new_pair(m);
    }
  }
  return root;
}

static void check(const tsr_slot *root) {
  const unit_array *array = (const unit_array *)root->word;
  ck_assert_uint_eq(array->length, LEAVES);
  for (uint32_t i = 0; i < LEAVES; i++) {
    const unit_pair *pair = (const unit_pair *)array->slots[i].word;
    for (uint32_t j = i % 7; j > 0; j--) {
      ck_assert_uint_eq(pair->header, TSR_HEADER(PAIR));
      ck_assert_uint_eq(pair->first.word, (uint64_t)(i * 7 + j - 1) * 2 + 1);
      pair = (const unit_pair *)pair->second.word;
    }
    ck_assert_ptr_null(pair);
  }
}

typedef struct count {
  size_t objects;
} count;

static void count_object(void *context, tsr_ref object, size_t bytes) {
  (void)object;
  ck_assert(bytes == sizeof(unit_pair) || bytes == 16 + LEAVES * 8);
  ((count *)context)->objects++;
}

static size_t objects_in(tsr_mutator *m) {
  count all = {0};
  ck_assert_int_eq(tsr_enumerate_objects(m, count_object, &all, NULL), TSR_OK);
  return all.objects;
}

static size_t objects_reachable(void) {
  size_t pairs = 0;
  for (uint32_t i = 0; i < LEAVES; i++)
    pairs += i % 7;
  return pairs + 1;
}

START_TEST(a_queue_that_overflows_loses_nothing) {
  tsr_heap *heap = unit_heap("semispace", "32M");
  tsr_mutator *m = tsr_bind_mutator(heap, heap, NULL);
  tsr_scope scope;
  tsr_scope_open(m, &scope);
  tsr_slot *root = build(m);
  mark_queue *queue = &heap->team->first.queue;
  for (size_t entries = 0; entries < 40; entries = entries * 2 + 1) {
    queue->end = queue->start + entries;
    ck_assert_int_eq(tsr_collect(m, NULL), TSR_OK);
    check(root);
    ck_assert_uint_eq(objects_in(m), objects_reachable());
  }
  tsr_scope_close(m, &scope);
  tsr_unbind_mutator(m, NULL);
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
}
END_TEST

/* Gives back the blocks that squeeze() took. */
static void relax(tsr_heap *heap, size_t limit_bytes) {
  heap->account.limit_bytes = limit_bytes;
  for (uint32_t i = 0; i < block_map_extent(&heap->blocks); i++) {
    if (block_map_spaces(&heap->blocks)[i] == BLOCK_ARENA) {
      block_map_release(&heap->blocks, i, 1);
    }
  }
}

static void take(tsr_heap *heap) {
  ck_assert_uint_ne(block_map_acquire(&heap->blocks, 1, BLOCK_ARENA, MEMORY_WITHIN_LIMIT),
                    BLOCK_NONE);
}

/* Leaves a collection just `blocks` blocks to copy into, by taking the others for nobody. */
static void squeeze(tsr_heap *heap, size_t blocks) {
  for (size_t i = 0; i < blocks; i++)
    take(heap);
  relax(heap, heap->account.limit_bytes);
  heap->account.limit_bytes = os_atomic_load(&heap->account.total.bytes);
  while (heap->blocks.free_blocks > blocks)
    take(heap);
  ck_assert_uint_eq(heap->blocks.free_blocks, blocks);
}

START_TEST(survivors_without_a_destination_stay_in_place) {
  for (size_t blocks = 0; blocks < 6; blocks++) {
    tsr_heap *heap = unit_heap("semispace", "32M");
    size_t limit_bytes = heap->account.limit_bytes;
    tsr_mutator *m = tsr_bind_mutator(heap, heap, NULL);
    tsr_scope scope;
    tsr_scope_open(m, &scope);
    tsr_slot *root = build(m);
    size_t before = copy_space_blocks(&heap->spaces->copy);
    ck_assert_uint_gt(before, 12);
    squeeze(heap, blocks);
    ck_assert_int_eq(tsr_collect(m, NULL), TSR_OK);
    check(root);
    ck_assert_uint_eq(objects_in(m), objects_reachable());
    ck_assert(heap->spaces->copy.exhausted);
    relax(heap, limit_bytes);
    /* With room again, the next collection moves everything together. */
    ck_assert_int_eq(tsr_collect(m, NULL), TSR_OK);
    check(root);
    ck_assert_uint_eq(objects_in(m), objects_reachable());
    ck_assert_uint_lt(copy_space_blocks(&heap->spaces->copy), before);
    tsr_scope_close(m, &scope);
    tsr_unbind_mutator(m, NULL);
    ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
  }
}
END_TEST

START_TEST(staying_and_overflowing_together_lose_nothing) {
  for (size_t blocks = 0; blocks < 6; blocks++) {
    tsr_heap *heap = unit_heap("semispace", "32M");
    tsr_mutator *m = tsr_bind_mutator(heap, heap, NULL);
    tsr_scope scope;
    tsr_scope_open(m, &scope);
    tsr_slot *root = build(m);
    mark_queue *queue = &heap->team->first.queue;
    queue->end = queue->start + blocks;
    squeeze(heap, blocks);
    for (int i = 0; i < 3; i++) {
      ck_assert_int_eq(tsr_collect(m, NULL), TSR_OK);
      check(root);
      ck_assert_uint_eq(objects_in(m), objects_reachable());
    }
    relax(heap, (size_t)32 << 20);
    tsr_scope_close(m, &scope);
    tsr_unbind_mutator(m, NULL);
    ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
  }
}
END_TEST

/* Fills the heap to its last byte with live arrays of up to `most` slots, then collects: everything
   survives, and packs in another order than it was allocated in. */
static void fill_and_collect(uint32_t most) {
  tsr_heap *heap = unit_heap("semispace", "4M");
  tsr_mutator *m = tsr_bind_mutator(heap, heap, NULL);
  tsr_scope scope;
  tsr_scope_open(m, &scope);
  tsr_slot *table = tsr_local(m, 0);
  tsr_slot *list = tsr_local(m, 0);
  for (;;) {
    uint32_t length = 1 + random_below(most);
    unit_array *array = tsr_alloc(m, 16 + (size_t)length * 8, 8, 0, TSR_DEFAULT);
    if (array == NULL) break;
    array->header = TSR_HEADER(ARRAY);
    array->length = length;
    /* Two lists through the first slots, so that neighbours in memory part in the trace. */
    tsr_slot *head = random_below(2) == 0 ? table : list;
    array->slots[0] = *head;
    head->word = word_of(array);
  }
  for (int i = 0; i < 4; i++) {
    ck_assert_int_eq(tsr_collect(m, NULL), TSR_OK);
    ck_assert_msg(!heap->spaces->copy.exhausted, "arrays of up to %u slots, collection %d", most,
                  i);
  }
  tsr_scope_close(m, &scope);
  tsr_unbind_mutator(m, NULL);
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
}

START_TEST(a_heap_filled_with_live_data_finds_a_destination_for_all_of_it) {
  printf("full heaps: seed %llu\n", (unsigned long long)random_state);
  static const uint32_t most[] = {1, 2, 6, 30, 100, 250, 500, 700, 900, 1022};
  for (size_t i = 0; i < sizeof most / sizeof most[0]; i++)
    fill_and_collect(most[i]);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("collect");
  TCase *tests = tcase_create("rare paths");
  tcase_set_timeout(tests, 120);
  tcase_add_test(tests, a_queue_that_overflows_loses_nothing);
  tcase_add_test(tests, survivors_without_a_destination_stay_in_place);
  tcase_add_test(tests, staying_and_overflowing_together_lose_nothing);
  tcase_add_test(tests, a_heap_filled_with_live_data_finds_a_destination_for_all_of_it);
  suite_add_tcase(suite, tests);
  return unit_run(suite);
}
