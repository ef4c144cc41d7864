/*
 * Offsets and alignments in a VM whose objects are aligned to 16 bytes: an offset that would leave
 * an object between two multiples of 16 is refused, every other one holds at birth and after moves.
 * Compiled with TSR_OBJECT_ALIGN=16.
 */
#include "testvm.h"

_Static_assert(TSR_OBJECT_ALIGN == 16, "compile this test with TSR_OBJECT_ALIGN=16");

#define LEAST_ALIGN  16u
#define MOST_ALIGN   256u
#define ALIGNMENTS   5u /* 16, 32, ... 256 */
#define OFFSETS      3u /* 0, 16, 32 */
#define OBJECT_BYTES 48u

static bool holds(uint64_t word, size_t align, size_t offset) {
  return word != 0 && word % 16 == 0 && (word + offset) % align == 0;
}

/* Odd offsets are refused by name, and nothing of the heap moves. */
static void assert_odd_offsets_are_refused(testvm *vm) {
  for (size_t align = LEAST_ALIGN; align <= MOST_ALIGN; align *= 2) {
    for (size_t offset = 8; offset <= align + 8; offset += 16) {
      tsr_error error = {0};
      void *memory = tsr_alloc_with(vm->m, OBJECT_BYTES, align, offset, TSR_DEFAULT, 0, &error);
      ck_assert_msg(memory == NULL, "alignment %zu, offset %zu: %p", align, offset, memory);
      ck_assert_int_eq(error.status, TSR_INVALID_ARGUMENT);
      memory = tsr_alloc_with(vm->m, 20 * KIB, align, offset, TSR_DEFAULT, 0, &error);
      ck_assert_msg(memory == NULL, "large: alignment %zu, offset %zu", align, offset);
      ck_assert_int_eq(error.status, TSR_INVALID_ARGUMENT);
      ck_assert_ptr_null(tsr_alloc(vm->m, OBJECT_BYTES, align, offset, TSR_DEFAULT));
      ck_assert_uint_eq(vm_take_errors(vm, NULL), 1);
      /* What comes next is where it should be. */
      memory = tsr_alloc_default(vm->m, 32);
      ck_assert(holds(vm_word(memory), 16, 0));
      vm_init_filler(memory, 32);
    }
  }
  ck_assert_uint_eq(vm_take_ooms(vm, NULL), 0);
}

static void assert_even_offsets_hold(testvm *vm) {
  uint32_t pair = tsr_allocator_mapping(vm->heap, TSR_DEFAULT).pair_offset;
  for (size_t align = LEAST_ALIGN; align <= MOST_ALIGN; align *= 2) {
    for (size_t offset = 0; offset <= 32; offset += 16) {
      for (unsigned how = 0; how < 3; how++) {
        size_t size = how == 2 ? 20 * KIB : OBJECT_BYTES;
        void *memory = how == 1 ? tsr_alloc_by_offset(vm->m, pair, size, align, offset)
                                : tsr_alloc(vm->m, size, align, offset, TSR_DEFAULT);
        ck_assert_msg(holds(vm_word(memory), align, offset),
                      "way %u, alignment %zu, offset %zu: %p", how, align, offset, memory);
        vm_init_filler(memory, size);
      }
    }
  }
  ck_assert_uint_eq(vm_take_ooms(vm, NULL), 0);
}

START_TEST(an_odd_offset_is_refused) {
  testvm vm;
  vm_init(&vm);
  vm_pin(&vm, "heap_max", "4M");
  vm_start(&vm);
  assert_odd_offsets_are_refused(&vm);
  vm_stop(&vm);
}
END_TEST

START_TEST(an_even_offset_holds) {
  testvm vm;
  vm_init(&vm);
  vm_pin(&vm, "heap_max", "4M");
  vm_start(&vm);
  assert_even_offsets_hold(&vm);
  vm_stop(&vm);
}
END_TEST

/* A collection before every allocation, and buffers of just one object. */
START_TEST(offsets_under_the_strictest_stress) {
  testvm vm;
  vm_init_calm(&vm);
  vm_pin(&vm, "stress", "1");
  vm_pin(&vm, "heap_max", "4M");
  vm_start(&vm);
  assert_odd_offsets_are_refused(&vm);
  assert_even_offsets_hold(&vm);
  ck_assert(!vm_collects || vm.ended > 20);
  vm_stop(&vm);
}
END_TEST

/* ---- layouts --------------------------------------------------------------------------------- */

static tsr_layout aligned_layout(uint32_t align, uint32_t offset) {
  return (tsr_layout){
      TSR_LAYOUT_INIT, .name = "aligned", .kind = TSR_LAYOUT_FIXED, .fixed_bytes = OBJECT_BYTES,
      .fixed_refs = 6, .align = align,    .align_offset = offset};
}

START_TEST(a_layout_with_an_odd_offset_is_refused) {
  testvm vm;
  vm_open(&vm, "4M");
  for (uint32_t align = 0; align <= MOST_ALIGN; align = align == 0 ? LEAST_ALIGN : 2 * align) {
    for (uint32_t offset = 8; offset <= 40; offset += 16) {
      tsr_layout layout = aligned_layout(align, offset);
      tsr_error error = {0};
      uint32_t index = tsr_layout_register(vm.heap, &layout, &error);
      ck_assert_msg(index == 0, "alignment %u, offset %u: layout %u", align, offset, index);
      ck_assert_int_eq(error.status, TSR_INVALID_ARGUMENT);
    }
  }
  vm_stop(&vm);
}
END_TEST

START_TEST(a_binding_with_an_odd_offset_is_refused) {
  testvm vm;
  vm_init_calm(&vm);
  tsr_layout layout = aligned_layout(32, 8);
  vm.binding.layouts = &layout;
  vm.binding.layout_count = 1;
  ck_assert_int_eq(vm_refused(&vm).status, TSR_INVALID_ARGUMENT);
}
END_TEST

/* Objects of each layout with an even offset, chained, with garbage of odd lengths in between. */
static void keep_what_layouts_promise(const char *stress) {
  testvm vm;
  vm_init(&vm);
  if (stress != NULL) vm_pin(&vm, "stress", stress);
  vm_start(&vm);
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  enum { COPIES = 20, KINDS = ALIGNMENTS * OFFSETS, OBJECTS = KINDS * COPIES };
  uint32_t layouts[KINDS];
  tsr_slot *objects[OBJECTS];
  for (uint32_t k = 0; k < KINDS; k++) {
    tsr_layout layout = aligned_layout(LEAST_ALIGN << k / OFFSETS, 16 * (k % OFFSETS));
    tsr_error error = {0};
    layouts[k] = tsr_layout_register(vm.heap, &layout, &error);
    ck_assert_msg(layouts[k] != 0, "layout %u: %s", k, error.message);
  }
  for (uint32_t i = 0; i < OBJECTS; i++) {
    uint32_t k = i % KINDS;
    uint64_t *memory =
        tsr_alloc(vm.m, OBJECT_BYTES, LEAST_ALIGN << k / OFFSETS, 16 * (k % OFFSETS), TSR_DEFAULT);
    ck_assert_ptr_nonnull(memory);
    memory[0] = TSR_HEADER(layouts[k]);
    memory[1] = i == 0 ? 0 : objects[i - 1]->word;
    memory[3] = i;
    ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)(void *)memory, OBJECT_BYTES, TSR_DEFAULT),
                     TSR_OK);
    objects[i] = tsr_local(vm.m, vm_word(memory));
    ck_assert_ptr_nonnull(vm_new(vm.m, BYTES, 0, i % 100));
  }
  for (unsigned round = 0; round < 4; round++) {
    if (round > 0) vm_collect(&vm);
    for (uint32_t i = 0; i < OBJECTS; i++) {
      uint32_t k = i % KINDS;
      ck_assert_msg(holds(objects[i]->word, LEAST_ALIGN << k / OFFSETS, 16 * (k % OFFSETS)),
                    "round %u, object %u of layout %u at 0x%llx", round, i, k,
                    (unsigned long long)objects[i]->word);
      ck_assert_uint_eq(vm_get(vm.m, vm_ref(objects[i]->word), 3), i);
      ck_assert_uint_eq(vm_get(vm.m, vm_ref(objects[i]->word), 1),
                        i == 0 ? 0 : objects[i - 1]->word);
    }
    void *next = tsr_alloc_default(vm.m, 32);
    ck_assert(holds(vm_word(next), 16, 0));
    vm_init_filler(next, 32);
  }
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}

START_TEST(layouts_with_even_offsets_hold_over_collections) {
  keep_what_layouts_promise(NULL);
}
END_TEST

START_TEST(layouts_with_even_offsets_hold_under_stress) {
  keep_what_layouts_promise("1");
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, an_odd_offset_is_refused);
  tcase_add_test(tests, an_even_offset_holds);
  tcase_add_test(tests, offsets_under_the_strictest_stress);
  tcase_add_test(tests, a_layout_with_an_odd_offset_is_refused);
  tcase_add_test(tests, a_binding_with_an_odd_offset_is_refused);
  tcase_add_test(tests, layouts_with_even_offsets_hold_over_collections);
  tcase_add_test(tests, layouts_with_even_offsets_hold_under_stress);
}

int main(void) {
  return vm_main("offsets with alignment to 16", add);
}
