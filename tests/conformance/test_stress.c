/*
 * TESSERA_STRESS=1: a collection at every allocation, and every inline path misses. An object that
 * nobody roots lives until the next allocation and no longer; whatever the VM forgot to root would
 * be found here at once.
 */
#include "testvm.h"

static testvm vm;

static void start(const char *stress) {
  setenv("TESSERA_STRESS", stress, 1);
  vm_init_calm(&vm);
  vm_pin(&vm, "heap_max", "16M");
  vm_start(&vm);
  unsetenv("TESSERA_STRESS");
}

START_TEST(every_allocation_collects) {
  start("1");
  enum { N = 2000 };
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *root = tsr_local(vm.m, 0);
  tsr_bump_pointer cached;
  ck_assert_int_eq(tsr_register_bump_pointer(vm.m, &cached, NULL), TSR_OK);
  uint32_t pair_offset = tsr_allocator_mapping(vm.heap, TSR_DEFAULT).pair_offset;
  uint64_t before = vm_stats(&vm).collections;
  for (unsigned i = 0; i < N; i++) {
    void *memory = NULL;
    switch (i % 4) {
    case 0:
      memory = tsr_alloc(vm.m, 24, 8, 0, TSR_DEFAULT);
      break;
    case 1:
      memory = tsr_alloc_default(vm.m, 24);
      break;
    case 2:
      memory = tsr_alloc_cached(vm.m, &cached, 24);
      break;
    default:
      memory = tsr_alloc_by_offset(vm.m, pair_offset, 24, 8, 0);
      break;
    }
    ck_assert_ptr_nonnull(memory);
    vm_init_object(memory, PAIR, i, 0);
    ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)memory, 24, TSR_DEFAULT), TSR_OK);
    vm_set(vm.m, (tsr_ref)memory, 1, i % 10 == 0 ? 0 : root->word);
    root->word = vm_word(memory);
  }
  uint64_t collections = vm_stats(&vm).collections - before;
  if (vm_is("semispace")) ck_assert_uint_eq(collections, N);
  if (!vm_collects) ck_assert_uint_eq(collections, 0);
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
  if (vm_is("semispace")) ck_assert_uint_eq(vm_stats(&vm).collections - before, 200);
  vm_stop(&vm);
}
END_TEST

START_TEST(allocations_that_may_not_collect_do_not) {
  start("1");
  uint64_t before = vm_stats(&vm).collections;
  for (unsigned i = 0; i < 500; i++) {
    void *memory = tsr_alloc_with(vm.m, 24, 8, 0, TSR_DEFAULT, TSR_ALLOC_NO_COLLECT, NULL);
    ck_assert_ptr_nonnull(memory);
    vm_init_object(memory, PAIR, 0, 0);
  }
  ck_assert_uint_eq(vm_stats(&vm).collections, before);
  tsr_collection_disable(vm.heap);
  ck_assert_ptr_nonnull(vm_new(vm.m, PAIR, 0, 0));
  ck_assert_uint_eq(vm_stats(&vm).collections, before);
  ck_assert_int_eq(tsr_collection_enable(vm.heap, NULL), TSR_OK);
  vm_stop(&vm);
}
END_TEST

START_TEST(an_interval_collects_about_so_often) {
  start("64K");
  uint64_t before = vm_stats(&vm).collections;
  vm_garbage(vm.m, 8 * MIB);
  uint64_t collections = vm_stats(&vm).collections - before;
  if (vm_is("semispace")) ck_assert(collections >= 50 && collections <= 400);
  vm_stop(&vm);
}
END_TEST

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
  tcase_add_test(tests, allocations_that_may_not_collect_do_not);
  tcase_add_test(tests, an_interval_collects_about_so_often);
  tcase_add_test(tests, threads_under_stress);
}

int main(void) {
  return vm_main("stress", add);
}
