/*
 * A VM whose objects are aligned to 16 bytes: this file and the test VM are compiled with
 * TSR_OBJECT_ALIGN=16, against the same library.
 */
#include "testvm.h"

_Static_assert(TSR_OBJECT_ALIGN == 16, "compile this test with TSR_OBJECT_ALIGN=16");

static testvm vm;

static bool aligned(uint64_t word) {
  return word % 16 == 0;
}

START_TEST(sizes_and_addresses_are_multiples_of_16) {
  vm_open(&vm, "32M");
  tsr_facts facts;
  tsr_heap_facts(vm.heap, &facts);
  ck_assert_uint_eq(facts.object_align, 16);
  ck_assert_uint_eq(tsr_round_size(17), 32);
  ck_assert_uint_eq(vm_size(PAIR, 0), 32);
  for (unsigned i = 0; i < 1000; i++) {
    void *memory = tsr_alloc_default(vm.m, 16 + 16 * (i % 40));
    ck_assert(memory != NULL && aligned(vm_word(memory)));
    vm_init_filler(memory, 16 + 16 * (i % 40));
  }
  static const size_t odd[] = {0, 8, 24, 40, TSR_MAX_INLINE_BYTES + 8};
  for (size_t i = 0; i < 5; i++) {
    ck_assert_ptr_null(tsr_alloc(vm.m, odd[i], 16, 0, TSR_DEFAULT));
    ck_assert_ptr_null(tsr_alloc_default(vm.m, odd[i]));
    ck_assert_uint_eq(vm_take_errors(&vm, NULL), 2);
  }
  for (size_t align = 1; align <= 64; align *= 2) {
    void *memory = tsr_alloc(vm.m, 32, align, 0, TSR_DEFAULT);
    ck_assert(memory != NULL && aligned(vm_word(memory)) && vm_word(memory) % align == 0);
    vm_init_filler(memory, 32);
  }
  vm_stop(&vm);
}
END_TEST

START_TEST(objects_stay_aligned_over_collections) {
  vm_init(&vm);
  vm_start(&vm);
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  enum { N = 500 };
  tsr_slot *array = tsr_local(vm.m, vm_word(vm_new(vm.m, VECTOR, 0, N)));
  for (size_t i = 0; i < N; i++) {
    unsigned kind = CELL + (unsigned)(i % (VM_KINDS - 1));
    tsr_ref object = vm_new(vm.m, kind, kind, i);
    ck_assert_ptr_nonnull(object);
    vm_fill(object, i);
    vm_set(vm.m, vm_ref(array->word), 2 + i, vm_word(object));
    vm_new(vm.m, BYTES, 0, i); /* garbage between them */
  }
  for (unsigned round = 0; round < 3; round++) {
    vm_collect(&vm);
    if (vm_collects) ck_assert_uint_eq(vm_enumerate(vm.m).objects, N + 1);
    for (size_t i = 0; i < N; i++) {
      uint64_t word = vm_get(vm.m, vm_ref(array->word), 2 + i);
      ck_assert(aligned(word));
      unsigned kind = CELL + (unsigned)(i % (VM_KINDS - 1));
      ck_assert_uint_eq(vm_kind_of(vm_ref(word)), kind);
      ck_assert(vm_filled(vm_ref(word), i));
      ck_assert_uint_eq(tsr_object_size(vm.heap, vm_ref(word), NULL) % 16, 0);
    }
  }
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}
END_TEST

START_TEST(offsets_are_granules) {
  vm_open(&vm, "32M");
  uint32_t pair_offset = tsr_allocator_mapping(vm.heap, TSR_DEFAULT).pair_offset;
  size_t made = 0;
  for (size_t align = 32; align <= 128; align *= 2) {
    for (size_t offset = 0; offset <= 48; offset += 16) {
      for (unsigned how = 0; how < 2; how++) {
        void *memory = how == 0 ? tsr_alloc(vm.m, 48, align, offset, TSR_DEFAULT)
                                : tsr_alloc_by_offset(vm.m, pair_offset, 48, align, offset);
        ck_assert_ptr_nonnull(memory);
        ck_assert_uint_eq((vm_word(memory) + offset) % align, 0);
        ck_assert(aligned(vm_word(memory)));
        vm_init_filler(memory, 48);
        made++;
      }
    }
  }
  ck_assert_uint_eq(vm_enumerate(vm.m).objects, made);
  vm_stop(&vm);
}
END_TEST

START_TEST(lists_and_trees) {
  vm_init(&vm);
  vm_pin(&vm, "heap_max", "32M");
  vm_start(&vm);
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *list = tsr_local(vm.m, 0);
  tsr_slot *tree = tsr_local(vm.m, 0);
  ck_assert(vm_list(vm.m, list, 5000, 1) && vm_tree(vm.m, tree, 10));
  vm_garbage(vm.m, vm_collects ? 64 * MIB : MIB);
  ck_assert(vm_list_holds(vm.m, list->word, 5000, 1) && vm_tree_holds(vm.m, tree->word, 10));
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, sizes_and_addresses_are_multiples_of_16);
  tcase_add_test(tests, objects_stay_aligned_over_collections);
  tcase_add_test(tests, offsets_are_granules);
  tcase_add_test(tests, lists_and_trees);
}

int main(void) {
  return vm_main("alignment to 16", add);
}
