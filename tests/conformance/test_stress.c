/*
 * TESSERA_STRESS=1: a collection at every allocation, and every inline path misses. An object that
 * nobody roots lives until the next allocation and no longer; whatever the VM forgot to root would
 * be found here at once.
 *
 * The number of collections is exact: one for each allocation that may collect, through whichever entry
 * and in whichever placement, and none for one that may not.
 */
#include "testvm.h"

static testvm vm;

static void prepare(const char *stress) {
  setenv("TESSERA_STRESS", stress, 1);
  vm_init_calm(&vm);
  vm_alone(&vm); /* counts collections, and other mutators' allocations are collections too */
  vm_pin(&vm, "heap_max", "16M");
}

static void start(const char *stress) {
  prepare(stress);
  vm_start(&vm);
  unsetenv("TESSERA_STRESS");
}

/* A plan that never collects holds everything, and each large object is a block at least. */
static void start_verified(const char *stress) {
  prepare(stress);
  vm_pin(&vm, "heap_max", vm_collects ? "16M" : "256M");
  vm_pin(&vm, "verify", "on");
  vm_start(&vm);
  unsetenv("TESSERA_STRESS");
}

/* ---- every allocation ------------------------------------------------------------------------ */

/* The ways to ask for an object of default placement. */
enum { GENERIC, WITH_OPTIONS, OWN_PAIR, CACHED_PAIR, BY_OFFSET, ENTRIES };

static void *allocate(unsigned entry, tsr_bump_pointer *cached, size_t size) {
  switch (entry) {
  case GENERIC:
    return tsr_alloc(vm.m, size, 8, 0, TSR_DEFAULT);
  case WITH_OPTIONS:
    return tsr_alloc_with(vm.m, size, 8, 0, TSR_DEFAULT, TSR_ALLOC_NO_OOM_CALLBACK, NULL);
  case OWN_PAIR:
    return tsr_alloc_default(vm.m, size);
  case CACHED_PAIR:
    return tsr_alloc_cached(vm.m, cached, size);
  default:
    return tsr_alloc_by_offset(vm.m, tsr_allocator_mapping(vm.heap, TSR_DEFAULT).pair_offset, size,
                               8, 0);
  }
}

/* A chain of which the last ten objects are reachable at any time. */
START_TEST(every_allocation_collects) {
  start("1");
  enum { N = 2000 };
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *root = tsr_local(vm.m, 0);
  tsr_bump_pointer cached;
  ck_assert_int_eq(tsr_register_bump_pointer(vm.m, &cached, NULL), TSR_OK);
  uint64_t before = vm_stats(&vm).collections;
  for (unsigned i = 0; i < N; i++) {
    void *memory = allocate(i % ENTRIES, &cached, 24);
    ck_assert_ptr_nonnull(memory);
    vm_init_object(memory, PAIR, i, 0);
    ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)memory, 24, TSR_DEFAULT), TSR_OK);
    vm_set(vm.m, (tsr_ref)memory, 1, i % 10 == 0 ? 0 : root->word);
    root->word = vm_word(memory);
  }
  ck_assert_uint_eq(vm_stats(&vm).collections - before, vm_collects ? N : 0);
  vm_collect(&vm);
  if (vm_collects) ck_assert_uint_eq(vm_enumerate(vm.m).objects, 10);
  uint64_t word = root->word;
  for (unsigned i = N; i-- > N - 10; word = vm_get(vm.m, vm_ref(word), 1)) {
    ck_assert_uint_eq(vm_tag_of(vm_ref(word)), i);
  }
  ck_assert_uint_eq(word, 0);
  ck_assert_int_eq(tsr_unregister_bump_pointer(vm.m, &cached, NULL), TSR_OK);
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}
END_TEST

START_TEST(large_allocations_collect_too) {
  start("1");
  uint64_t before = vm_stats(&vm).collections;
  for (unsigned i = 0; i < 200; i++) {
    ck_assert_ptr_nonnull(vm_new(vm.m, BYTES, 0, 20000));
  }
  ck_assert_uint_eq(vm_stats(&vm).collections - before, vm_collects ? 200 : 0);
  vm_stop(&vm);
}
END_TEST

/* ---- every placement ------------------------------------------------------------------------- */

static const tsr_semantics placements[] = {
    TSR_DEFAULT,
    TSR_NON_MOVING,
    TSR_LARGE,
    TSR_DEFAULT | TSR_LEAF,
    TSR_NON_MOVING | TSR_LEAF,
    TSR_DEFAULT | TSR_CODE,
    TSR_NON_MOVING | TSR_READ_ONLY,
    TSR_IMMORTAL,
};
#define PLACEMENTS (sizeof placements / sizeof placements[0])

/* Through the inline path where the placement has one. */
static tsr_ref new_pair(tsr_semantics semantics, bool is_inline) {
  size_t size = vm_size(PAIR, 0);
  tsr_allocator_info info = tsr_allocator_mapping(vm.heap, semantics);
  ck_assert_int_ne(info.kind, TSR_ALLOCATOR_NONE);
  void *memory = is_inline && info.kind == TSR_ALLOCATOR_BUMP
                     ? tsr_alloc_by_offset(vm.m, info.pair_offset, size, 8, 0)
                     : tsr_alloc(vm.m, size, 8, 0, semantics);
  ck_assert_ptr_nonnull(memory);
  vm_init_object(memory, PAIR, 0, 0);
  ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)memory, size, semantics), TSR_OK);
  return (tsr_ref)memory;
}

START_TEST(each_placement_collects_at_every_allocation) {
  start("1");
  for (size_t p = 0; p < PLACEMENTS; p++) {
    for (unsigned is_inline = 0; is_inline < 2; is_inline++) {
      uint64_t before = vm_stats(&vm).collections;
      for (unsigned i = 0; i < 100; i++)
        new_pair(placements[p], is_inline == 1);
      uint64_t collections = vm_stats(&vm).collections - before;
      ck_assert_msg(collections == (vm_collects ? 100 : 0),
                    "semantics %#x, inline %u: %llu collections at 100 allocations",
                    (unsigned)placements[p], is_inline, (unsigned long long)collections);
    }
  }
  vm_stop(&vm);
}
END_TEST

/* Ten thousand allocations over all placements, the heap verified around each; a window of them
   stays reachable, and each object refers to the one before. */
START_TEST(a002_10_ten_thousand_verified_collections) {
  enum { N = VM_SANITIZED ? 2000 : 10000, WINDOW = 32 };
  static tsr_slot window[WINDOW];
  memset(window, 0, sizeof window);
  start_verified("1");
  ck_assert_int_eq(tsr_root_add(vm.heap, window, WINDOW, TSR_ROOT_PRECISE, "window", NULL), TSR_OK);
  uint64_t before = vm_stats(&vm).collections;
  for (unsigned i = 0; i < N; i++) {
    /* Immortal objects stay, and every collection visits them: each 64th. Of those with pages of their
       own, few. */
    tsr_semantics semantics = i % 64 == 63 ? TSR_IMMORTAL : placements[i % (PLACEMENTS - 3)];
    if (i % 64 == 31) semantics = placements[5 + i / 64 % 2];
    tsr_ref pair = new_pair(semantics, i % 3 == 0);
    vm_set(vm.m, pair, 1, FIXNUM(i));
    bool is_leaf = (semantics & TSR_LEAF) != 0;
    vm_set(vm.m, pair, 2, is_leaf || i % 8 == 0 ? 0 : window[(i - 1) % WINDOW].word);
    window[i % WINDOW].word = vm_word(pair);
  }
  ck_assert_uint_eq(vm_stats(&vm).collections - before, vm_collects ? N : 0);
  for (unsigned i = N - WINDOW; i < N; i++) {
    ck_assert_uint_eq(vm_get(vm.m, vm_ref(window[i % WINDOW].word), 1), FIXNUM(i));
  }
  tsr_error error = {0};
  ck_assert_msg(tsr_heap_verify(vm.m, &error) == TSR_OK, "%s", error.message);
  ck_assert_int_eq(tsr_root_remove(vm.heap, window, NULL), TSR_OK);
  vm_stop(&vm);
}
END_TEST

/* ---- what does not collect ------------------------------------------------------------------- */

START_TEST(allocations_that_may_not_collect_do_not) {
  static const uint32_t requests[] = {TSR_ALLOC_NO_COLLECT, TSR_ALLOC_OVERCOMMIT,
                                      TSR_ALLOC_NO_COLLECT | TSR_ALLOC_OVERCOMMIT};
  start("1");
  uint64_t before = vm_stats(&vm).collections;
  for (size_t p = 0; p < PLACEMENTS; p++) {
    for (size_t r = 0; r < sizeof requests / sizeof requests[0]; r++) {
      for (unsigned i = 0; i < 20; i++) {
        size_t size = vm_size(PAIR, 0);
        void *memory = tsr_alloc_with(vm.m, size, 8, 0, placements[p], requests[r], NULL);
        ck_assert_ptr_nonnull(memory);
        vm_init_object(memory, PAIR, 0, 0);
        ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)memory, size, placements[p]), TSR_OK);
      }
    }
  }
  ck_assert_uint_eq(vm_stats(&vm).collections, before);
  tsr_collection_disable(vm.heap);
  ck_assert_ptr_nonnull(vm_new(vm.m, PAIR, 0, 0));
  ck_assert_uint_eq(vm_stats(&vm).collections, before);
  ck_assert_int_eq(tsr_collection_enable(vm.heap, NULL), TSR_OK);
  ck_assert_ptr_nonnull(vm_new(vm.m, PAIR, 0, 0));
  ck_assert_uint_eq(vm_stats(&vm).collections, before + vm_collects);
  vm_stop(&vm);
}
END_TEST

/* Nor does one that is refused. */
START_TEST(refused_requests_do_not_collect) {
  start("1");
  uint64_t before = vm_stats(&vm).collections;
  static const size_t sizes[] = {0, 7, 12};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    ck_assert_ptr_null(tsr_alloc(vm.m, sizes[i], 8, 0, TSR_DEFAULT));
    ck_assert_ptr_null(tsr_alloc_default(vm.m, sizes[i]));
    ck_assert_uint_eq(vm_take_errors(&vm, NULL), 2);
  }
  ck_assert_ptr_null(tsr_alloc(vm.m, (size_t)1 << 30, 8, 0, TSR_DEFAULT)); /* more than the heap */
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 1);
  ck_assert_uint_eq(vm_stats(&vm).collections, before);
  vm_stop(&vm);
}
END_TEST

START_TEST(an_interval_collects_about_so_often) {
  start("64K");
  uint64_t before = vm_stats(&vm).collections;
  vm_garbage(vm.m, 8 * MIB);
  uint64_t collections = vm_stats(&vm).collections - before;
  if (vm_collects) {
    ck_assert(collections >= 50 && collections <= 400);
  } else {
    ck_assert_uint_eq(collections, 0);
  }
  vm_stop(&vm);
}
END_TEST

/* ---- threads --------------------------------------------------------------------------------- */

static void stressed(vm_thread *self) {
  tsr_slot *tree = tsr_local(self->m, 0);
  tsr_slot *list = tsr_local(self->m, 0);
  EXPECT(self, vm_tree(self->m, tree, 7));
  EXPECT(self, vm_list(self->m, list, 200, self->index));
  EXPECT(self, vm_tree_holds(self->m, tree->word, 7));
  EXPECT(self, vm_list_holds(self->m, list->word, 200, self->index));
}

START_TEST(threads_under_stress) {
  start("1");
  vm_threads(&vm, 4, stressed, NULL);
  ck_assert(!vm_collects || vm.ended >= 300);
  vm_stop(&vm);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, every_allocation_collects);
  tcase_add_test(tests, large_allocations_collect_too);
  tcase_add_test(tests, each_placement_collects_at_every_allocation);
  tcase_add_test(tests, a002_10_ten_thousand_verified_collections);
  tcase_add_test(tests, allocations_that_may_not_collect_do_not);
  tcase_add_test(tests, refused_requests_do_not_collect);
  tcase_add_test(tests, an_interval_collects_about_so_often);
  tcase_add_test(tests, threads_under_stress);
}

int main(void) {
  return vm_main("stress", add);
}
