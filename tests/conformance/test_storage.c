/*
 * F21. Where the VM keeps its mutator: the pointer, the structure, or pairs of cursor and limit.
 *
 * What is checked is the arithmetic of the pair (a zero pair misses, an exact fit hits, a hit moves
 * the cursor by the size and nothing else) and the protocol between a cached pair and the mutator:
 * memory handed out twice is found by comparing the extents of everything allocated since the last
 * collection, a lost object by walking from the roots.
 */
#include "placement.h"

#define ROOTS 64

static bool is_zero(const tsr_bump_pointer *pair) {
  return pair->cursor == 0 && pair->limit == 0;
}

static bool all_zero(uintptr_t from, uintptr_t to) {
  for (const unsigned char *p = (const unsigned char *)from; (uintptr_t)p < to; p++) {
    if (*p != 0) return false;
  }
  return true;
}

START_TEST(a002_01_first_goes_slow_second_goes_fast) {
  testvm vm;
  vm_open(&vm, "32M");
  static const size_t sizes[] = {8, 16, 24, 128, TSR_MAX_INLINE_BYTES};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    size_t size = sizes[i];
    tsr_bump_pointer pair = {1, 1};
    ck_assert_int_eq(tsr_register_bump_pointer(vm.m, &pair, NULL), TSR_OK);
    ck_assert_msg(is_zero(&pair), "registering sets the pair to zero");

    void *first = tsr_alloc_cached(vm.m, &pair, size);
    ck_assert_ptr_nonnull(first);
    ck_assert_msg(!is_zero(&pair), "the slow path fills the pair");
    ck_assert_uint_eq(pair.cursor, (uintptr_t)first + size);
    ck_assert_uint_ge(pair.limit, pair.cursor);
    vm_init_filler(first, size);

    tsr_bump_pointer before = pair;
    if (before.limit - before.cursor >= size) {
      void *second = tsr_alloc_cached(vm.m, &pair, size);
      ck_assert_uint_eq((uintptr_t)second, before.cursor);
      ck_assert_uint_eq(pair.cursor, before.cursor + size);
      ck_assert_uint_eq(pair.limit, before.limit);
      vm_init_filler(second, size);
    } else {
      ck_assert_msg(size > 1024, "a buffer of 2 KiB or more serves the second object");
    }
    ck_assert_int_eq(tsr_unregister_bump_pointer(vm.m, &pair, NULL), TSR_OK);
    ck_assert(is_zero(&pair));
  }
  vm_stop(&vm);
}
END_TEST

START_TEST(a002_01_the_mutators_own_pair) {
  testvm vm;
  vm_open(&vm, "32M");
  void *first = tsr_alloc_default(vm.m, 8);
  vm_init_filler(first, 8);
  tsr_bump_pointer before = vm.m->bump[0];
  ck_assert_uint_eq(before.cursor, (uintptr_t)first + 8);
  void *second = tsr_alloc_default(vm.m, 8);
  vm_init_filler(second, 8);
  ck_assert_uint_eq((uintptr_t)second, (uintptr_t)first + 8);
  ck_assert_uint_eq(vm.m->bump[0].cursor, before.cursor + 8);
  ck_assert_uint_eq(vm.m->bump[0].limit, before.limit);

  vm.m->bump[0] = (tsr_bump_pointer){0, 0}; /* given up: the rest of the buffer is lost, no more */
  void *third = tsr_alloc_default(vm.m, 8);
  ck_assert_ptr_nonnull(third);
  ck_assert((uintptr_t)third < before.cursor || (uintptr_t)third >= before.limit);
  vm_init_filler(third, 8);
  vm_stop(&vm);
}
END_TEST

START_TEST(buffers_are_zeroed_also_after_collections) {
  testvm vm;
  vm_open(&vm, "8M");
  for (unsigned round = 0; round < 4; round++) {
    for (unsigned i = 0; i < 600; i++) {
      tsr_ref bytes = vm_new(vm.m, BYTES, 0, 1000);
      ck_assert_ptr_nonnull(bytes);
      ck_assert(all_zero((uintptr_t)bytes + 16, (uintptr_t)bytes + 1016));
      memset((unsigned char *)bytes + 16, 0xff, 1000);
      ck_assert(all_zero(vm.m->bump[0].cursor, vm.m->bump[0].limit));
    }
    vm_collect(&vm);
  }
  vm_stop(&vm);
}
END_TEST

/* ---- A002-02 ------------------------------------------------------------------------------- */

#define PROGRAM_STEPS 20000

/* One step's result: its distance from the start of its buffer, or -1 where a new buffer began. */
static void run_program(unsigned storage, int64_t *steps) {
  testvm vm;
  vm_init_calm(&vm);
  vm_alone(&vm); /* which buffer comes next depends on who else takes some */
  vm_pin(&vm, "heap_max", "64M");
  vm_start_heap(&vm);
  tsr_mutator embedded;
  memset(&embedded, 0xa5, sizeof embedded);
  tsr_bump_pointer cached = {0, 0};
  tsr_error error = {0};
  if (storage == 2) {
    ck_assert_int_eq(tsr_bind_mutator_in(vm.heap, &embedded, &vm, &error), TSR_OK);
    vm.m = &embedded;
  } else {
    vm.m = tsr_bind_mutator(vm.heap, &vm, &error);
  }
  ck_assert_ptr_nonnull(vm.m);
  ck_assert_ptr_eq(vm.m->heap, vm.heap);
  ck_assert_ptr_eq(vm.m->vm_thread, &vm);
  tsr_bump_pointer *pair = &vm.m->bump[0];
  if (storage == 3) {
    pair = &cached;
    ck_assert_int_eq(tsr_register_bump_pointer(vm.m, pair, &error), TSR_OK);
  }

  tsr_slot roots[ROOTS] = {{0}};
  ck_assert_int_eq(tsr_root_add(vm.heap, roots, ROOTS, TSR_ROOT_PRECISE, "table", &error), TSR_OK);
  uint64_t seed = 20200602;
  uintptr_t start = 0;
  for (unsigned i = 0; i < PROGRAM_STEPS; i++) {
    size_t size = 16 + 8 * (size_t)(vm_random(&seed) % 60);
    tsr_bump_pointer before = *pair;
    void *memory =
        storage == 3 ? tsr_alloc_cached(vm.m, pair, size) : tsr_alloc_default(vm.m, size);
    ck_assert_ptr_nonnull(memory);
    bool hit = (uintptr_t)memory == before.cursor && pair->limit == before.limit;
    if (!hit) start = (uintptr_t)memory;
    steps[i] = hit ? (int64_t)((uintptr_t)memory - start) : -1;
    vm_init_filler(memory, size);
    tsr_post_alloc_default(vm.m, memory, size);
    if (i % 7 == 0) roots[vm_random(&seed) % ROOTS].word = vm_word(memory);
    if (i % 3000 == 2999) {
      vm_collect(&vm);
      ck_assert(!vm_collects || is_zero(pair));
    }
  }
  ck_assert_int_eq(tsr_root_remove(vm.heap, roots, &error), TSR_OK);
  vm_stop(&vm);
}

START_TEST(a002_02_three_storages_same_addresses) {
  int64_t *steps[3];
  for (unsigned s = 0; s < 3; s++) {
    steps[s] = malloc(PROGRAM_STEPS * sizeof(int64_t));
    run_program(s + 1, steps[s]);
  }
  for (unsigned i = 0; i < PROGRAM_STEPS; i++) {
    ck_assert_msg(steps[0][i] == steps[1][i] && steps[0][i] == steps[2][i],
                  "step %u: %lld, %lld, %lld", i, (long long)steps[0][i], (long long)steps[1][i],
                  (long long)steps[2][i]);
  }
  for (unsigned s = 0; s < 3; s++) {
    free(steps[s]);
  }
}
END_TEST

/* ---- A002-03 ------------------------------------------------------------------------------- */

/* Allocates until less than `most` bytes are left in the mutator's pair; returns what is left. */
static size_t leave_at_most(testvm *vm, size_t most) {
  tsr_bump_pointer *pair = &vm->m->bump[0];
  vm_init_filler(tsr_alloc_default(vm->m, 64), 64);
  while (pair->limit - pair->cursor > most) {
    vm_init_filler(tsr_alloc_default(vm->m, 64), 64);
  }
  return pair->limit - pair->cursor;
}

START_TEST(a002_03_exact_fit_takes_the_last_byte) {
  testvm vm;
  vm_open(&vm, "32M");
  tsr_bump_pointer *pair = &vm.m->bump[0];
  size_t rest = leave_at_most(&vm, 512);
  if (rest < 64) rest = leave_at_most(&vm, 1024);
  ck_assert_uint_ge(rest, 16);
  tsr_bump_pointer before = *pair;
  void *last = tsr_alloc_default(vm.m, rest);
  ck_assert_uint_eq((uintptr_t)last, before.cursor);
  ck_assert_uint_eq(pair->cursor, before.limit);
  ck_assert_uint_eq(pair->limit, before.limit);
  vm_init_filler(last, rest);
  if (rest > 16) memset((unsigned char *)last + 16, 0x5a, rest - 16);

  void *next = tsr_alloc_default(vm.m, 8);
  ck_assert_ptr_nonnull(next);
  ck_assert_uint_ne(pair->limit, before.limit);
  vm_init_filler(next, 8);
  vm_stop(&vm);
}
END_TEST

START_TEST(a002_03_a_granule_more_goes_slow) {
  testvm vm;
  vm_open(&vm, "32M");
  tsr_bump_pointer *pair = &vm.m->bump[0];
  size_t rest = leave_at_most(&vm, 512);
  tsr_bump_pointer before = *pair;
  void *memory = tsr_alloc_default(vm.m, rest + TSR_GRANULE);
  ck_assert_ptr_nonnull(memory);
  ck_assert_uint_ne(pair->limit, before.limit);
  vm_init_filler(memory, rest + TSR_GRANULE);
  vm_enumerate(vm.m);
  vm_stop(&vm);
}
END_TEST

/* ---- A002-06 ------------------------------------------------------------------------------- */

/* Storage 3 by hand: the VM copies the mutator's pair out and in around the slow path. */
static void *cached_alloc(testvm *vm, tsr_bump_pointer *cache, size_t size, bool copy_in) {
  if (cache->cursor != 0 && cache->cursor + size <= cache->limit) {
    void *result = (void *)cache->cursor;
    cache->cursor += size;
    return result;
  }
  if (copy_in) vm->m->bump[0] = *cache;
  void *result = tsr_alloc(vm->m, size, 8, 0, TSR_DEFAULT);
  *cache = vm->m->bump[0];
  return result;
}

static void cached_record(testvm *vm, tsr_bump_pointer *cache, tsr_slot *root, uint64_t seed) {
  size_t size = vm_size(RECORD, 0);
  void *memory = cached_alloc(vm, cache, size, true);
  ck_assert_ptr_nonnull(memory);
  vm_init_object(memory, RECORD, (unsigned)seed, 0);
  tsr_post_alloc_default(vm->m, memory, size);
  vm_fill((tsr_ref)memory, seed);
  root->word = vm_word(memory);
}

START_TEST(a002_06_copy_in_and_copy_out) {
  testvm vm;
  vm_open(&vm, "16M");
  tsr_bump_pointer cache = {0, 0};
  tsr_slot roots[ROOTS] = {{0}};
  ck_assert_int_eq(tsr_root_add(vm.heap, roots, ROOTS, TSR_ROOT_PRECISE, NULL, NULL), TSR_OK);
  vm_extents extents = {0};
  uint64_t serial = 0;
  for (unsigned round = 0; round < 20; round++) {
    for (unsigned i = 0; i < ROOTS; i++) {
      cached_record(&vm, &cache, &roots[i], serial + i);
      vm_extents_add(&extents, vm_ref(roots[i].word), vm_size(RECORD, 0));
    }
    /* Most of a buffer is bumped by the cache alone; then a size that cannot fit goes slow. */
    while (cache.limit - cache.cursor >= 4 * KIB) {
      void *bumped = cached_alloc(&vm, &cache, 2 * KIB, true);
      ck_assert_ptr_nonnull(bumped);
      vm_init_filler(bumped, 2 * KIB);
      vm_extents_add(&extents, bumped, 2 * KIB);
    }
    size_t big = tsr_round_size(cache.limit - cache.cursor + 8);
    void *forced = cached_alloc(&vm, &cache, big, true);
    ck_assert_ptr_nonnull(forced);
    vm_init_filler(forced, big);
    vm_extents_add(&extents, forced, big);
    ck_assert_msg(!vm_extents_overlap(&extents), "memory was handed out twice");
    vm.m->bump[0] = cache;
    cache = (tsr_bump_pointer){0, 0};
    vm_collect(&vm);
    extents.count = 0;
    if (!vm_collects) cache = vm.m->bump[0];
    for (unsigned i = 0; i < ROOTS; i++) {
      ck_assert_uint_eq(vm_tag_of(vm_ref(roots[i].word)), (serial + i) & 0xffff);
      ck_assert(vm_filled(vm_ref(roots[i].word), serial + i));
    }
    serial += ROOTS;
  }
  ck_assert_int_eq(tsr_root_remove(vm.heap, roots, NULL), TSR_OK);
  vm_extents_free(&extents);
  vm_stop(&vm);
}
END_TEST

START_TEST(a002_06_without_the_copy_in_the_overlap_is_seen) {
  testvm vm;
  vm_init_calm(&vm);
  vm_unverified(&vm); /* the verifier would see it before the test does */
  vm_start(&vm);
  tsr_bump_pointer cache = {0, 0};
  vm_extents extents = {0};
  for (unsigned i = 0; i < 8; i++) {
    void *memory = cached_alloc(&vm, &cache, 64, true);
    vm_init_filler(memory, 64);
    vm_extents_add(&extents, memory, 64);
  }
  ck_assert(!vm_extents_overlap(&extents));
  /* The mutator still holds the pair as it was copied out, so it serves the same bytes again. */
  void *twice = tsr_alloc(vm.m, 64, 8, 0, TSR_DEFAULT);
  vm_extents_add(&extents, twice, 64);
  ck_assert_msg(vm_extents_overlap(&extents), "the check of these tests is blind");
  vm.m->bump[0] = cache;
  vm_extents_free(&extents);
  vm_stop(&vm);
}
END_TEST

START_TEST(a002_06_two_cached_pairs_and_the_generic_path) {
  testvm vm;
  vm_open(&vm, "8M");
  tsr_bump_pointer pairs[2];
  tsr_slot roots[ROOTS] = {{0}};
  uint64_t seeds[ROOTS] = {0};
  ck_assert_int_eq(tsr_root_add(vm.heap, roots, ROOTS, TSR_ROOT_PRECISE, NULL, NULL), TSR_OK);
  for (unsigned p = 0; p < 2; p++) {
    ck_assert_int_eq(tsr_register_bump_pointer(vm.m, &pairs[p], NULL), TSR_OK);
  }
  vm_extents extents = {0};
  unsigned ended = 0;
  unsigned steps = vm_collects ? 200000 : 20000;
  uint64_t random = 5;
  for (unsigned i = 1; i <= steps; i++) {
    size_t size = vm_size(RECORD, 0);
    void *memory = i % 3 < 2 ? tsr_alloc_cached(vm.m, &pairs[i % 3], size)
                             : tsr_alloc(vm.m, size, 8, 0, TSR_DEFAULT);
    ck_assert_ptr_nonnull(memory);
    vm_init_object(memory, RECORD, 0, 0);
    tsr_post_alloc_default(vm.m, memory, size);
    vm_fill((tsr_ref)memory, i);
    if (vm.ended != ended) {
      ended = vm.ended;
      extents.count = 0;
    }
    vm_extents_add(&extents, memory, size);
    size_t root = vm_random(&random) % ROOTS;
    roots[root].word = vm_word(memory);
    seeds[root] = i;
    if (i % 5000 == 0) {
      ck_assert_msg(!vm_extents_overlap(&extents), "memory was handed out twice");
      if (i % 20000 == 0) vm_collect(&vm);
      for (unsigned r = 0; r < ROOTS; r++) {
        ck_assert(roots[r].word == 0 || vm_filled(vm_ref(roots[r].word), seeds[r]));
      }
    }
  }
  ck_assert(!vm_collects || ended > 0);
  for (unsigned p = 0; p < 2; p++) {
    ck_assert_int_eq(tsr_unregister_bump_pointer(vm.m, &pairs[p], NULL), TSR_OK);
  }
  ck_assert_int_eq(tsr_root_remove(vm.heap, roots, NULL), TSR_OK);
  vm_extents_free(&extents);
  vm_stop(&vm);
}
END_TEST

START_TEST(pairs_are_registered_once_and_forgotten_once) {
  testvm vm;
  vm_open(&vm, "16M");
  tsr_bump_pointer pair;
  tsr_bump_pointer unknown = {0, 0};
  tsr_error error = {0};
  ck_assert_int_eq(tsr_unregister_bump_pointer(vm.m, &unknown, &error), TSR_INVALID_ARGUMENT);
  ck_assert(error.message[0] != 0);
  ck_assert_int_eq(tsr_register_bump_pointer(vm.m, &pair, NULL), TSR_OK);
  vm_init_filler(tsr_alloc_cached(vm.m, &pair, 64), 64);
  tsr_bump_pointer filled = pair;
  ck_assert_int_eq(tsr_register_bump_pointer(vm.m, &pair, &error), TSR_BUSY);
  ck_assert_int_eq(error.status, TSR_BUSY);
  ck_assert_msg(pair.cursor == filled.cursor && pair.limit == filled.limit, "a refusal changed it");
  size_t objects = vm_enumerate(vm.m).objects;
  ck_assert_int_eq(tsr_unregister_bump_pointer(vm.m, &pair, NULL), TSR_OK);
  ck_assert(is_zero(&pair));
  ck_assert_uint_eq(vm_enumerate(vm.m).objects, objects);
  ck_assert_int_eq(tsr_unregister_bump_pointer(vm.m, &pair, NULL), TSR_INVALID_ARGUMENT);
  ck_assert_int_eq(tsr_register_bump_pointer(vm.m, &pair, NULL), TSR_OK);
  vm_init_filler(tsr_alloc_cached(vm.m, &pair, 64), 64);
  vm_stop(&vm);
  ck_assert_msg(is_zero(&pair), "unbinding sets the registered pairs to zero");
}
END_TEST

/* ---- A002-08 ------------------------------------------------------------------------------- */

START_TEST(a002_08_facts_are_the_offsets_of_the_structures) {
  testvm vm;
  vm_open(&vm, "16M");
  tsr_facts facts;
  tsr_heap_facts(vm.heap, &facts);
  ck_assert_uint_eq(sizeof(tsr_mutator), 128);
  ck_assert_uint_eq(facts.version, TSR_ABI);
  ck_assert_uint_eq(facts.granule, TSR_GRANULE);
  ck_assert_uint_eq(facts.object_align, TSR_OBJECT_ALIGN);
  ck_assert_uint_eq(facts.gc_byte_offset, TSR_GC_BYTE_OFFSET);
  ck_assert_uint_eq(facts.gc_armed_mask, TSR_GC_ARMED);
  ck_assert_uint_eq(facts.poll_offset, offsetof(tsr_mutator, poll));
  ck_assert_uint_eq(facts.cursor_offset, offsetof(tsr_bump_pointer, cursor));
  ck_assert_uint_eq(facts.limit_offset, offsetof(tsr_bump_pointer, limit));
  ck_assert(facts.alloc_entry != NULL && facts.barrier_entry != NULL);
  ck_assert_ptr_nonnull((void *)(uintptr_t)facts.safepoint_entry);

  tsr_allocator_info info = tsr_allocator_mapping(vm.heap, TSR_DEFAULT);
  ck_assert_int_eq(info.kind, TSR_ALLOCATOR_BUMP);
  ck_assert_uint_eq(info.pair_offset, offsetof(tsr_mutator, bump));
  ck_assert_uint_eq(info.max_inline_bytes, TSR_MAX_INLINE_BYTES);
  ck_assert_int_eq(tsr_allocator_mapping(vm.heap, TSR_LARGE).kind, TSR_ALLOCATOR_CALL);
  place_check_facts(&vm);
  vm_stop(&vm);
}
END_TEST

/* Two heaps do the same, one by the generic call and one by offset: what counts is how far each object
   lies from the end of its buffer, and when a buffer ends. */
static void compare_by_offset(tsr_semantics placement) {
  testvm generic;
  testvm by_offset;
  vm_open_alone(&generic, "32M"); /* others would take their turns with buffers */
  vm_open_alone(&by_offset, "32M");
  tsr_allocator_info info = tsr_allocator_mapping(by_offset.heap, placement);
  ck_assert_int_eq(info.kind, TSR_ALLOCATOR_BUMP);
  ck_assert_uint_eq(info.pair_offset, offsetof(tsr_mutator, bump[placement]));
  uint64_t seed = 8;
  uintptr_t bases[2] = {0, 0};
  for (unsigned i = 0; i < 5000; i++) {
    size_t size = 16 + 8 * (size_t)(vm_random(&seed) % 100);
    size_t align = (size_t)8 << (i % 4);
    size_t offset = 8 * (size_t)(vm_random(&seed) % 3);
    uintptr_t limits[2] = {generic.m->bump[placement].limit, by_offset.m->bump[placement].limit};
    void *a = tsr_alloc(generic.m, size, align, offset, placement);
    void *b = tsr_alloc_by_offset(by_offset.m, info.pair_offset, size, align, offset);
    ck_assert(a != NULL && b != NULL);
    ck_assert_uint_eq(((uintptr_t)b + offset) % align, 0);
    bool fresh = generic.m->bump[placement].limit != limits[0];
    ck_assert_msg(fresh == (by_offset.m->bump[placement].limit != limits[1]),
                  "buffers end together");
    if (fresh) {
      bases[0] = generic.m->bump[placement].limit;
      bases[1] = by_offset.m->bump[placement].limit;
    }
    ck_assert_uint_eq(bases[0] - (uintptr_t)a, bases[1] - (uintptr_t)b);
    vm_init_filler(a, size);
    vm_init_filler(b, size);
    if (i == 2500) {
      vm_collect(&generic);
      vm_collect(&by_offset);
    }
  }
  ck_assert_uint_eq(vm_enumerate(generic.m).bytes, vm_enumerate(by_offset.m).bytes);
  vm_stop(&by_offset);
  vm_stop(&generic);
}

START_TEST(a002_08_by_offset_is_the_generic_allocator) {
  compare_by_offset(TSR_DEFAULT);
}
END_TEST

START_TEST(a002_08_by_offset_where_nothing_moves) {
  compare_by_offset(TSR_NON_MOVING);
  compare_by_offset(TSR_IMMORTAL);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, a002_01_first_goes_slow_second_goes_fast);
  tcase_add_test(tests, a002_01_the_mutators_own_pair);
  tcase_add_test(tests, buffers_are_zeroed_also_after_collections);
  tcase_add_test(tests, a002_02_three_storages_same_addresses);
  tcase_add_test(tests, a002_03_exact_fit_takes_the_last_byte);
  tcase_add_test(tests, a002_03_a_granule_more_goes_slow);
  tcase_add_test(tests, a002_06_copy_in_and_copy_out);
  tcase_add_test(tests, a002_06_without_the_copy_in_the_overlap_is_seen);
  tcase_add_test(tests, a002_06_two_cached_pairs_and_the_generic_path);
  tcase_add_test(tests, pairs_are_registered_once_and_forgotten_once);
  tcase_add_test(tests, a002_08_facts_are_the_offsets_of_the_structures);
  tcase_add_test(tests, a002_08_by_offset_is_the_generic_allocator);
  tcase_add_test(tests, a002_08_by_offset_where_nothing_moves);
}

int main(void) {
  return vm_main("storage", add);
}
