/*
 * Alignment, offsets, and sizes that wrap.
 *
 * An aligned allocation leaves gaps in the buffer. They must stay walkable, so each test enumerates
 * the heap and expects exactly its objects. Layouts that promise an alignment keep it in a
 * collection that moves them.
 */
#include "testvm.h"

#define CHAINS 12 /* align 8, 16, 32, 64 by offset 0, 8, 16 */

static size_t align_of(unsigned chain) {
  return (size_t)8 << chain / 3;
}
static size_t offset_of(unsigned chain) {
  return 8 * (size_t)(chain % 3);
}
static bool holds(const void *object, size_t align, size_t offset) {
  return ((uintptr_t)object + offset) % align == 0;
}

/* One layout for each combination, 40 bytes: header, chain link, 3 raw words. */
static void register_layouts(testvm *vm, uint32_t *ids) {
  for (unsigned chain = 0; chain < CHAINS; chain++) {
    tsr_layout layout = {TSR_LAYOUT_INIT,
                         .name = "aligned",
                         .kind = TSR_LAYOUT_FIXED,
                         .fixed_bytes = 40,
                         .fixed_refs = 2,
                         .align = (uint32_t)align_of(chain),
                         .align_offset = (uint32_t)offset_of(chain)};
    tsr_error error = {0};
    ids[chain] = tsr_layout_register(vm->heap, &layout, &error);
    ck_assert_msg(ids[chain] != 0, "%s", error.message);
  }
}

static void *allocate(testvm *vm, unsigned how, size_t align, size_t offset) {
  uint32_t pair_offset = tsr_allocator_mapping(vm->heap, TSR_DEFAULT).pair_offset;
  switch (how % 3) {
  case 0:
    return tsr_alloc(vm->m, 40, align, offset, TSR_DEFAULT);
  case 1:
    return tsr_alloc_by_offset(vm->m, pair_offset, 40, align, offset);
  default:
    return tsr_alloc_with(vm->m, 40, align, offset, TSR_DEFAULT, 0, NULL);
  }
}

static size_t check_chains(testvm *vm, const tsr_slot *heads) {
  size_t objects = 0;
  for (unsigned chain = 0; chain < CHAINS; chain++) {
    for (uint64_t word = heads[chain].word; word != 0; word = vm_get(vm->m, vm_ref(word), 1)) {
      ck_assert_msg(holds(vm_ref(word), align_of(chain), offset_of(chain)),
                    "align %zu, offset %zu, address %p", align_of(chain), offset_of(chain),
                    (void *)vm_ref(word));
      ck_assert_uint_eq(vm_slot(vm_ref(word), 2)->word, chain);
      objects++;
    }
  }
  return objects;
}

START_TEST(a002_04_matrix) {
  testvm vm;
  vm_open(&vm, "32M");
  uint32_t ids[CHAINS];
  register_layouts(&vm, ids);
  tsr_slot heads[CHAINS] = {{0}};
  ck_assert_int_eq(tsr_root_add(vm.heap, heads, CHAINS, TSR_ROOT_PRECISE, NULL, NULL), TSR_OK);
  size_t made = 0;
  uint64_t seed = 4;
  for (unsigned round = 0; round < 3; round++) {
    for (unsigned i = 0; i < 3000; i++) {
      unsigned chain = (unsigned)(vm_random(&seed) % CHAINS);
      void *memory = allocate(&vm, i, align_of(chain), offset_of(chain));
      ck_assert_ptr_nonnull(memory);
      ck_assert(holds(memory, align_of(chain), offset_of(chain)));
      uint64_t *words = memory;
      words[0] = vm_header(ids[chain], 0);
      words[2] = chain;
      ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)memory, 40, TSR_DEFAULT), TSR_OK);
      vm_set(vm.m, (tsr_ref)memory, 1, heads[chain].word);
      heads[chain].word = vm_word(memory);
      made++;
    }
    vm_census census = vm_enumerate(vm.m);
    ck_assert_uint_eq(census.objects, made);
    ck_assert_uint_eq(census.bytes, 40 * made);
    vm_collect(&vm);
    ck_assert_uint_eq(check_chains(&vm, heads), made);
    ck_assert_uint_eq(vm_enumerate(vm.m).objects, made);
  }
  ck_assert_int_eq(tsr_root_remove(vm.heap, heads, NULL), TSR_OK);
  vm_stop(&vm);
}
END_TEST

START_TEST(alignment_up_to_the_maximum) {
  testvm vm;
  vm_open(&vm, "32M");
  tsr_layout layout = {TSR_LAYOUT_INIT, .name = "page", .kind = TSR_LAYOUT_FIXED, .fixed_bytes = 64,
                       .align = TSR_MAX_ALIGN};
  uint32_t id = tsr_layout_register(vm.heap, &layout, NULL);
  ck_assert_uint_ne(id, 0);
  tsr_slot roots[50] = {{0}};
  ck_assert_int_eq(tsr_root_add(vm.heap, roots, 50, TSR_ROOT_PRECISE, NULL, NULL), TSR_OK);
  for (unsigned i = 0; i < 50; i++) {
    uint64_t *words = tsr_alloc(vm.m, 64, TSR_MAX_ALIGN, 0, TSR_DEFAULT);
    ck_assert_ptr_nonnull(words);
    ck_assert(holds(words, TSR_MAX_ALIGN, 0));
    words[0] = vm_header(id, i);
    ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)(void *)words, 64, TSR_DEFAULT), TSR_OK);
    roots[i].word = vm_word(words);
  }
  vm_collect(&vm);
  for (unsigned i = 0; i < 50; i++) {
    ck_assert(holds(vm_ref(roots[i].word), TSR_MAX_ALIGN, 0));
    ck_assert_uint_eq(vm_tag_of(vm_ref(roots[i].word)), i);
  }
  ck_assert_uint_eq(vm_enumerate(vm.m).objects, 50);
  ck_assert_int_eq(tsr_root_remove(vm.heap, roots, NULL), TSR_OK);
  vm_stop(&vm);
}
END_TEST

START_TEST(large_objects_are_aligned_too) {
  testvm vm;
  vm_open(&vm, "32M");
  for (size_t align = 8; align <= TSR_MAX_ALIGN; align *= 2) {
    for (size_t offset = 0; offset <= 16; offset += 8) {
      void *memory = tsr_alloc(vm.m, 20000, align, offset, TSR_LARGE);
      ck_assert_ptr_nonnull(memory);
      ck_assert(holds(memory, align, offset));
      vm_init_filler(memory, 20000);
      ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)memory, 20000, TSR_LARGE), TSR_OK);
    }
  }
  ck_assert_uint_eq(vm_enumerate(vm.m).objects, 30);
  vm_stop(&vm);
}
END_TEST

START_TEST(small_alignments_mean_the_objects_own) {
  testvm vm;
  vm_open(&vm, "16M");
  for (size_t align = 1; align <= 8; align *= 2) {
    void *memory = tsr_alloc(vm.m, 24, align, 0, TSR_DEFAULT);
    ck_assert(memory != NULL && holds(memory, 8, 0));
    vm_init_filler(memory, 24);
  }
  vm_stop(&vm);
}
END_TEST

/* ---- A002-11 ------------------------------------------------------------------------------- */

/* The heap refused, told so exactly once, and goes on. */
static void refused(testvm *vm, const void *result, size_t size, size_t align, size_t offset) {
  ck_assert_msg(result == NULL, "size %#zx, align %zu, offset %#zx gave %p", size, align, offset,
                result);
  unsigned told = vm_take_errors(vm, NULL) + vm_take_ooms(vm, NULL);
  ck_assert_msg(told == 1, "size %#zx, align %zu, offset %#zx: told %u times", size, align, offset,
                told);
}

START_TEST(a002_11_sizes_that_wrap) {
  testvm vm;
  vm_open(&vm, "16M");
  uint32_t pair_offset = tsr_allocator_mapping(vm.heap, TSR_DEFAULT).pair_offset;
  tsr_bump_pointer cached;
  ck_assert_int_eq(tsr_register_bump_pointer(vm.m, &cached, NULL), TSR_OK);
  static const size_t below[] = {0, 8, 16, 64, 4096, 32768, 65536, (size_t)1 << 22};
  uint64_t collections = vm_stats(&vm).collections;
  size_t made = 0;
  for (size_t i = 0; i < sizeof below / sizeof below[0]; i++) {
    size_t size = (SIZE_MAX & ~(size_t)7) - below[i];
    vm_init_filler(tsr_alloc_default(vm.m, 24), 24); /* a pair in use, so that the sum can wrap */
    vm_init_filler(tsr_alloc_cached(vm.m, &cached, 24), 24);
    made += 2;
    refused(&vm, tsr_alloc(vm.m, size, 8, 0, TSR_DEFAULT), size, 8, 0);
    refused(&vm, tsr_alloc(vm.m, size, 8, 0, TSR_LARGE), size, 8, 0);
    refused(&vm, tsr_alloc_default(vm.m, size), size, 8, 0);
    refused(&vm, tsr_alloc_cached(vm.m, &cached, size), size, 8, 0);
    refused(&vm, tsr_alloc_by_offset(vm.m, pair_offset, size, 8, 0), size, 8, 0);
    for (size_t align = 16; align <= TSR_MAX_ALIGN; align *= 4) {
      for (size_t offset = 0; offset <= 24; offset += 8) {
        refused(&vm, tsr_alloc(vm.m, size, align, offset, TSR_DEFAULT), size, align, offset);
        refused(&vm, tsr_alloc(vm.m, size, align, offset, TSR_LARGE), size, align, offset);
        refused(&vm, tsr_alloc_by_offset(vm.m, pair_offset, size, align, offset), size, align,
                offset);
      }
    }
  }
  size_t half = (size_t)1 << 63;
  refused(&vm, tsr_alloc(vm.m, half, 64, half, TSR_DEFAULT), half, 64, half);
  ck_assert_uint_eq(vm_stats(&vm).collections, collections);
  ck_assert_uint_eq(vm_enumerate(vm.m).objects, made);
  vm_stop(&vm);
}
END_TEST

START_TEST(a002_11_offsets_that_wrap) {
  testvm vm;
  vm_open(&vm, "16M");
  uint32_t pair_offset = tsr_allocator_mapping(vm.heap, TSR_DEFAULT).pair_offset;
  static const size_t offsets[] = {SIZE_MAX - 7, SIZE_MAX - 4095, (size_t)1 << 63, 4096, 65536};
  size_t made = 0;
  for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
    for (size_t align = 8; align <= 64; align *= 2) {
      for (unsigned how = 0; how < 3; how++) {
        void *memory = how == 0   ? tsr_alloc(vm.m, 64, align, offsets[i], TSR_DEFAULT)
                       : how == 1 ? tsr_alloc_by_offset(vm.m, pair_offset, 64, align, offsets[i])
                                  : tsr_alloc(vm.m, 64, align, offsets[i], TSR_LARGE);
        unsigned told = vm_take_errors(&vm, NULL) + vm_take_ooms(&vm, NULL);
        if (memory == NULL) {
          ck_assert_uint_eq(told, 1);
          continue;
        }
        ck_assert_uint_eq(told, 0);
        ck_assert(tsr_heap_contains(vm.heap, memory));
        ck_assert(holds(memory, align, offsets[i]));
        vm_init_filler(memory, 64);
        made++;
      }
    }
  }
  ck_assert_uint_eq(vm_enumerate(vm.m).objects, made);
  vm_stop(&vm);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, a002_04_matrix);
  tcase_add_test(tests, alignment_up_to_the_maximum);
  tcase_add_test(tests, large_objects_are_aligned_too);
  tcase_add_test(tests, small_alignments_mean_the_objects_own);
  tcase_add_test(tests, a002_11_sizes_that_wrap);
  tcase_add_test(tests, a002_11_offsets_that_wrap);
}

int main(void) {
  return vm_main("alignment", add);
}
