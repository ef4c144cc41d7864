/*
 * Layouts that cannot be: each documented constraint, broken alone.
 *
 * A refusal leaves no trace: the next good registration gets the next index, and the same layout
 * among `binding->layouts` fails the creation of the heap.
 */
#include "refusals.h"

static const uint64_t bit_200[4] = {0, 0, 0, (uint64_t)1 << 8};
static const uint64_t bit_0[4] = {1, 0, 0, 0};

#define L           TSR_LAYOUT_INIT, .name = "impossible"
#define GOOD_LENGTH .length = {.offset = 8, .width = 8, .unit = 8}
#define FIXED(...)                                                                                 \
  { L, .kind = TSR_LAYOUT_FIXED, __VA_ARGS__ }
#define ARRAY(...)                                                                                 \
  { L, .kind = TSR_LAYOUT_REFERENCES, .fixed_bytes = 16, __VA_ARGS__ }
#define RAW(...)                                                                                   \
  { L, .kind = TSR_LAYOUT_BYTES, .fixed_bytes = 16, __VA_ARGS__ }
#define ELEMENTS(...)                                                                              \
  { L, .kind = TSR_LAYOUT_ELEMENTS, .fixed_bytes = 16, __VA_ARGS__ }

static const refusal refusals[] = {
    {"kind 0", {L, .fixed_bytes = 24}},
    {"unknown kind", {L, .kind = (tsr_layout_kind)99, .fixed_bytes = 24}},
    {"structure size", {4, .name = "small", .kind = TSR_LAYOUT_FIXED, .fixed_bytes = 24}},
    {"fixed: no bytes", FIXED(.fixed_bytes = 0)},
    {"fixed: bit 0", FIXED(.fixed_bytes = 24, .fixed_refs = 1)},
    {"fixed: bit outside", FIXED(.fixed_bytes = 24, .fixed_refs = 1u << 3)},
    {"fixed: bit far outside", FIXED(.fixed_bytes = 24, .fixed_refs = (uint64_t)1 << 63)},
    {"fixed: bit in half a word", FIXED(.fixed_bytes = 20, .fixed_refs = 1u << 2)},
    {"wide: bit outside", FIXED(.fixed_bytes = 1600, .wide_refs = bit_200)},
    {"wide: bit 0", FIXED(.fixed_bytes = 1600, .wide_refs = bit_0)},
    {"references: fixed part of 12",
     {L, .kind = TSR_LAYOUT_REFERENCES, .fixed_bytes = 12, GOOD_LENGTH}},
    {"references: no fixed part", {L, .kind = TSR_LAYOUT_REFERENCES, GOOD_LENGTH}},
    {"references: bit outside", ARRAY(.fixed_refs = 4, GOOD_LENGTH)},
    {"references: bit 0", ARRAY(.fixed_refs = 1, GOOD_LENGTH)},
    {"references: unit 16", ARRAY(.length = {.offset = 8, .width = 8, .unit = 16})},
    {"references: unit 3", ARRAY(.length = {.offset = 8, .width = 8, .unit = 3})},
    {"length: no unit", ARRAY(.length = {.offset = 8, .width = 8, .unit = 0})},
    {"length: no width", ARRAY(.length = {.offset = 8, .width = 0, .unit = 8})},
    {"length: width 3", ARRAY(.length = {.offset = 8, .width = 3, .unit = 8})},
    {"length: width 16", ARRAY(.length = {.offset = 8, .width = 16, .unit = 8})},
    {"length: offset 10, width 4", ARRAY(.length = {.offset = 10, .width = 4, .unit = 8})},
    {"length: offset 9, width 2", ARRAY(.length = {.offset = 9, .width = 2, .unit = 8})},
    {"length: offset 4, width 8", ARRAY(.length = {.offset = 4, .width = 8, .unit = 8})},
    {"length: shift 8 of 1", RAW(.length = {.offset = 8, .width = 1, .shift = 8, .unit = 1})},
    {"length: shift 32 of 4", RAW(.length = {.offset = 8, .width = 4, .shift = 32, .unit = 1})},
    {"length: shift 64 of 8", RAW(.length = {.offset = 8, .width = 8, .shift = 64, .unit = 1})},
    {"bytes: no unit", RAW(.length = {.offset = 8, .width = 8})},
    {"bytes: bit outside", RAW(.fixed_refs = 4, .length = {.offset = 8, .width = 8, .unit = 1})},
    {"elements: no size", ELEMENTS(GOOD_LENGTH, .element_bytes = 0)},
    {"elements: size 12", ELEMENTS(GOOD_LENGTH, .element_bytes = 12)},
    {"elements: size 520", ELEMENTS(GOOD_LENGTH, .element_bytes = 520)},
    {"elements: bit outside", ELEMENTS(GOOD_LENGTH, .element_bytes = 24, .element_refs = 8)},
    {"elements: unit 5",
     ELEMENTS(.length = {.offset = 8, .width = 8, .unit = 5}, .element_bytes = 24)},
    {"elements: unit 48",
     ELEMENTS(.length = {.offset = 8, .width = 8, .unit = 48}, .element_bytes = 24)},
    {"elements: fixed part of 20",
     {L, .kind = TSR_LAYOUT_ELEMENTS, .fixed_bytes = 20, GOOD_LENGTH, .element_bytes = 8}},
    {"align 24", FIXED(.fixed_bytes = 24, .align = 24)},
    {"align 8192", FIXED(.fixed_bytes = 24, .align = 8192)},
    {"align offset 4", FIXED(.fixed_bytes = 24, .align = 16, .align_offset = 4)},
    {"custom: no callbacks", {L, .kind = TSR_LAYOUT_CUSTOM}},
    {"custom: no size", {L, .kind = TSR_LAYOUT_CUSTOM, .scan = any_scan}},
    {"weak: no place for the collector's word", {L, .kind = TSR_LAYOUT_WEAK, .fixed_bytes = 24}},
    {"unknown barrier", FIXED(.fixed_bytes = 24, .barrier = (tsr_layout_barrier)2)},
    {"weak: forward barrier",
     {L, .kind = TSR_LAYOUT_WEAK, .fixed_bytes = 24, .weak_offset = 8,
      .barrier = TSR_BARRIER_FORWARD}},
    {"ephemeron: forward barrier",
     {L, .kind = TSR_LAYOUT_EPHEMERON, .fixed_bytes = 8 + sizeof(tsr_ephemeron), .weak_offset = 8,
      .barrier = TSR_BARRIER_FORWARD}},
};

#define REFUSALS (sizeof refusals / sizeof refusals[0])

static const tsr_layout good = {TSR_LAYOUT_INIT, .name = "good", .kind = TSR_LAYOUT_FIXED,
                                .fixed_bytes = 16, .fixed_refs = 2};

START_TEST(each_is_refused_and_leaves_no_trace) {
  refuse_registrations(refusals, REFUSALS, &good, &good);
}
END_TEST

START_TEST(each_fails_the_creation_of_a_heap) {
  refuse_bindings(refusals, REFUSALS, &good);
}
END_TEST

START_TEST(more_than_the_source_can_name) {
  testvm vm;
  vm_init_calm(&vm);
  vm.binding.layouts = NULL;
  vm.binding.layout_count = 0;
  vm.binding.layout_source.shift = TSR_HEADER_SHIFT;
  vm.binding.layout_source.mask = 7;
  vm_start(&vm);
  for (uint32_t expected = 1; expected <= 7; expected++) {
    ck_assert_uint_eq(tsr_layout_register(vm.heap, &good, NULL), expected);
  }
  tsr_error error = {0};
  ck_assert_uint_eq(tsr_layout_register(vm.heap, &good, &error), 0);
  ck_assert(error.message[0] != 0);
  vm_stop(&vm);
}
END_TEST

START_TEST(what_is_at_the_edge_is_accepted) {
  static const tsr_layout edges[] = {
      FIXED(.fixed_bytes = 8),
      FIXED(.fixed_bytes = 512, .fixed_refs = ~(uint64_t)1),
      FIXED(.fixed_bytes = 24, .fixed_refs = 6, .align = TSR_MAX_ALIGN, .align_offset = 8),
      ARRAY(.length = {.offset = 12, .width = 4, .shift = 31, .unit = 1}),
      ELEMENTS(.length = {.offset = 8, .width = 8, .unit = 512}, .element_bytes = 512,
               .element_refs = ~(uint64_t)0),
      ELEMENTS(.length = {.offset = 8, .width = 8, .unit = 8}, .element_bytes = 24),
      {L, .kind = TSR_LAYOUT_CUSTOM, .object_size = any_size, .scan = any_scan},
  };
  testvm vm;
  vm_open(&vm, "16M");
  for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++) {
    tsr_error error = {0};
    ck_assert_msg(tsr_layout_register(vm.heap, &edges[i], &error) == VM_KINDS + i, "edge %zu: %s",
                  i, error.message);
  }
  vm_stop(&vm);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, each_is_refused_and_leaves_no_trace);
  tcase_add_test(tests, each_fails_the_creation_of_a_heap);
  tcase_add_test(tests, more_than_the_source_can_name);
  tcase_add_test(tests, what_is_at_the_edge_is_accepted);
}

int main(void) {
  return vm_main("layout errors", add);
}
