/*
 * F73. Every kind of layout and every source of a layout's index, over collections.
 *
 * The raw words of an object are filled with patterns, some of them addresses of real objects: a
 * collector that read one word too many would change it or keep its referent.
 */
#include "testvm.h"

static testvm vm;
static tsr_scope scope;

static void start(void) {
  vm_start(&vm);
  tsr_scope_open(vm.m, &scope);
}

static void stop(void) {
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}

/* An object of a kind whose every slot holds a cell tagged with the slot's number. Dead cells lie
   between them, so that a plan that slides has to move them. */
static tsr_slot *full_object(unsigned kind, size_t count) {
  tsr_slot *object = tsr_local(vm.m, vm_word(vm_new(vm.m, kind, 77, count)));
  ck_assert_uint_ne(object->word, 0);
  vm_fill(vm_ref(object->word), count + 1);
  for (size_t i = 0; i < vm_slots(kind, count); i++) {
    if (i % 4 == 0) ck_assert_ptr_nonnull(vm_new(vm.m, CELL, 0, 0));
    tsr_ref cell = vm_new(vm.m, CELL, (unsigned)(i & 0xffff), 0);
    ck_assert_ptr_nonnull(cell);
    vm_set(vm.m, vm_ref(object->word), vm_slot_index(kind, i), vm_word(cell));
  }
  return object;
}

static void check_object(const tsr_slot *root, unsigned kind, size_t count) {
  tsr_ref object = vm_ref(root->word);
  ck_assert_uint_eq(vm_kind_of(object), kind);
  ck_assert_uint_eq(vm_tag_of(object), 77);
  ck_assert_uint_eq(vm_count_of(object), count);
  ck_assert(vm_filled(object, count + 1));
  ck_assert_uint_eq(tsr_object_size(vm.heap, object, NULL), vm_size(kind, count));
  for (size_t i = 0; i < vm_slots(kind, count); i++) {
    tsr_ref cell = vm_ref(vm_get(vm.m, object, vm_slot_index(kind, i)));
    ck_assert_uint_eq(vm_kind_of(cell), CELL);
    ck_assert_uint_eq(vm_tag_of(cell), i & 0xffff);
  }
}

START_TEST(each_kind) {
  vm_init(&vm);
  vm_pin(&vm, "heap_max", "64M");
  start();
  static const size_t counts[] = {0, 1, 2, 7, 100, 3000};
  tsr_slot *objects[VM_KINDS][6];
  size_t expected = 0;
  for (unsigned kind = CELL; kind < VM_KINDS; kind++) {
    bool array = vm_size(kind, 1) != vm_size(kind, 100);
    for (size_t c = 0; c < (array ? 6 : 1); c++) {
      objects[kind][c] = full_object(kind, array ? counts[c] : 0);
      expected += 1 + vm_slots(kind, array ? counts[c] : 0);
    }
  }
  for (unsigned round = 0; round < 3; round++) {
    vm_collect(&vm);
    if (vm_collects) ck_assert_uint_eq(vm_enumerate(vm.m).objects, expected);
    for (unsigned kind = CELL; kind < VM_KINDS; kind++) {
      bool array = vm_size(kind, 1) != vm_size(kind, 100);
      for (size_t c = 0; c < (array ? 6 : 1); c++) {
        check_object(objects[kind][c], kind, array ? counts[c] : 0);
      }
    }
  }
  stop();
}
END_TEST

START_TEST(raw_words_are_no_references) {
  vm_init_calm(&vm);
  start();
  tsr_slot *holder = tsr_local(vm.m, vm_word(vm_new(vm.m, RECORD, 0, 0)));
  uint64_t dead = vm_word(vm_new(vm.m, PAIR, 0, 0));
  static const unsigned char raw[] = {1, 4, 6, 7, 9, 10, 11, 12};
  for (size_t i = 0; i < sizeof raw; i++) {
    vm_slot(vm_ref(holder->word), raw[i])->word = dead;
  }
  vm_collect(&vm);
  for (size_t i = 0; i < sizeof raw; i++) {
    ck_assert_uint_eq(vm_slot(vm_ref(holder->word), raw[i])->word, dead);
  }
  if (vm_collects) ck_assert_uint_eq(vm_enumerate(vm.m).objects, 1);
  stop();
}
END_TEST

START_TEST(custom_layouts_resume) {
  vm_init(&vm);
  vm_pin(&vm, "heap_max", "64M");
  start();
  size_t n = vm_stress != NULL ? 2000 : 50000; /* more slots than any buffer holds */
  tsr_slot *object = full_object(CUSTOM, n);
  for (unsigned round = 0; round < 2; round++) {
    vm_collect(&vm);
    check_object(object, CUSTOM, n);
    if (vm_collects) ck_assert_uint_eq(vm_enumerate(vm.m).objects, n + 1);
  }
  stop();
}
END_TEST

/* ---- lengths ------------------------------------------------------------------------------- */

START_TEST(lengths_of_every_width) {
  vm_init(&vm);
  start();
  struct {
    uint8_t width, shift;
    uint32_t unit;
    int32_t bias;
  } cases[] = {{1, 0, 8, 0}, {2, 0, 8, 0}, {4, 0, 8, 0}, {8, 0, 8, 0},
               {1, 2, 8, 0}, {2, 3, 8, 1}, {4, 1, 8, 3}, {8, 32, 8, 0},
               {4, 0, 4, 0}, {8, 0, 1, 0}, {2, 0, 2, 4}, {4, 4, 8, -2}};
  for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
    tsr_layout layout = {TSR_LAYOUT_INIT, .name = "measured", .kind = TSR_LAYOUT_REFERENCES,
                         .fixed_bytes = 16,
                         .length = {.offset = 8,
                                    .width = cases[c].width,
                                    .shift = cases[c].shift,
                                    .bias = cases[c].bias,
                                    .unit = cases[c].unit}};
    tsr_error error = {0};
    uint32_t id = tsr_layout_register(vm.heap, &layout, &error);
    ck_assert_msg(id != 0, "case %zu: %s", c, error.message);
    size_t slots = 16; /* count * unit = 128 bytes */
    size_t count = 8 * slots / cases[c].unit;
    uint64_t field = ((uint64_t)((int64_t)count - cases[c].bias) << cases[c].shift) |
                     (((uint64_t)1 << cases[c].shift) - 1); /* the bits below the shift are tags */
    size_t size = 16 + 8 * slots;
    uint64_t *words = tsr_alloc(vm.m, size, 8, 0, TSR_DEFAULT);
    ck_assert_ptr_nonnull(words);
    words[0] = vm_header(id, 5);
    memset(&words[1], 0xff, 8); /* bytes beside the length do not count */
    memcpy(&words[1], &field, cases[c].width);
    ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)(void *)words, size, TSR_DEFAULT), TSR_OK);
    ck_assert_uint_eq(tsr_object_size(vm.heap, (tsr_ref)(void *)words, NULL), size);
    tsr_slot *root = tsr_local(vm.m, vm_word(words));
    for (size_t i = 0; i < slots; i++) {
      tsr_ref cell = vm_new(vm.m, CELL, (unsigned)i, 0);
      vm_set(vm.m, vm_ref(root->word), 2 + i, vm_word(cell));
    }
    vm_collect(&vm);
    for (size_t i = 0; i < slots; i++) {
      tsr_ref cell = vm_ref(vm_get(vm.m, vm_ref(root->word), 2 + i));
      ck_assert_uint_eq(vm_tag_of(cell), i);
    }
  }
  stop();
}
END_TEST

START_TEST(fixed_sizes_are_rounded_up) {
  vm_init(&vm);
  start();
  tsr_layout layout = {TSR_LAYOUT_INIT, .name = "odd", .kind = TSR_LAYOUT_FIXED, .fixed_bytes = 21,
                       .fixed_refs = 2};
  uint32_t id = tsr_layout_register(vm.heap, &layout, NULL);
  ck_assert_uint_ne(id, 0);
  uint64_t *words = tsr_alloc(vm.m, 24, 8, 0, TSR_DEFAULT);
  words[0] = vm_header(id, 0);
  memcpy(&words[2], "five!", 5);
  ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)(void *)words, 24, TSR_DEFAULT), TSR_OK);
  tsr_slot *root = tsr_local(vm.m, vm_word(words));
  ck_assert_uint_eq(tsr_object_size(vm.heap, vm_ref(root->word), NULL), 24);
  vm_collect(&vm);
  ck_assert_mem_eq(vm_slot(vm_ref(root->word), 2), "five!", 5);
  stop();
}
END_TEST

START_TEST(indices_count_up_from_one) {
  vm_init(&vm);
  vm_start(&vm);
  tsr_layout layout = {TSR_LAYOUT_INIT, .name = "cell", .kind = TSR_LAYOUT_FIXED, .fixed_bytes = 8};
  for (uint32_t expected = VM_KINDS; expected < 1000; expected++) {
    ck_assert_uint_eq(tsr_layout_register(vm.heap, &layout, NULL), expected);
  }
  vm_stop(&vm);
}
END_TEST

/* ---- sources ------------------------------------------------------------------------------- */

static void expect_move(uint64_t from, uint64_t to) {
  ck_assert(vm_moves_so_many(&vm, from != to));
}

typedef struct vm_type {
  uint64_t name;
  uint32_t other, index;
} vm_type;

/* A chain of `n` objects of 3 words: header, type, link; `init` writes the first two. */
static void build_chain(tsr_slot *head, unsigned n, void (*init)(uint64_t *words, unsigned i)) {
  for (unsigned i = 0; i < n; i++) {
    uint64_t *words = tsr_alloc(vm.m, 24, 8, 0, TSR_DEFAULT);
    ck_assert_ptr_nonnull(words);
    init(words, i);
    ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)(void *)words, 24, TSR_DEFAULT), TSR_OK);
    vm_set(vm.m, (tsr_ref)(void *)words, 2, head->word);
    head->word = vm_word(words);
  }
}

/* The first word of an object, but for what the collector or the verifier writes into the GC byte. */
static uint64_t first_word(uint64_t object) {
  uint64_t word = vm_slot(vm_ref(object), 0)->word;
  bool arms = vm_verifies || vm_is_incremental();
  if (arms) ((unsigned char *)&word)[TSR_GC_BYTE_OFFSET] &= (unsigned char)~TSR_GC_ARMED;
  return word;
}

/* A chain above another one, which goes so that it may slide. */
static void run_chain(unsigned n, void (*init)(uint64_t *words, unsigned i)) {
  tsr_slot *below = tsr_local(vm.m, 0);
  tsr_slot *head = tsr_local(vm.m, 0);
  build_chain(below, n, init);
  build_chain(head, n, init);
  below->word = 0;
  uint64_t where = head->word;
  for (unsigned round = 0; round < 3; round++) {
    vm_collect(&vm);
    if (round == 0) expect_move(where, head->word);
    uint64_t word = head->word;
    for (unsigned i = n; i-- > 0; word = vm_get(vm.m, vm_ref(word), 2)) {
      uint64_t expected[2];
      init(expected, i);
      ck_assert_uint_ne(word, 0);
      ck_assert_uint_eq(first_word(word), expected[0]);
      ck_assert_uint_eq(vm_slot(vm_ref(word), 1)->word, expected[1]);
      ck_assert_uint_eq(tsr_object_size(vm.heap, vm_ref(word), NULL), 24);
    }
    ck_assert_uint_eq(word, 0);
  }
}

static const tsr_layout link_layouts[] = {
    {TSR_LAYOUT_INIT, .name = "unused", .kind = TSR_LAYOUT_FIXED, .fixed_bytes = 512},
    {TSR_LAYOUT_INIT, .name = "link", .kind = TSR_LAYOUT_FIXED, .fixed_bytes = 24, .fixed_refs = 4},
};

static void use_links(tsr_layout_source source) {
  vm_init(&vm);
  vm.binding.layouts = link_layouts;
  vm.binding.layout_count = 2;
  vm.binding.layout_source = source;
}

static vm_type link_type = {.name = 1, .other = 0xffffffff, .index = 2};

static void init_typed(uint64_t *words, unsigned i) {
  words[0] = TSR_HEADER(0x100 + i % 100);
  words[1] = vm_word(&link_type) | (uint64_t)(i & 7) | (uint64_t)(i & 0xff) << 56;
}

START_TEST(index_in_a_type_object) {
  use_links((tsr_layout_source){.kind = TSR_LAYOUT_IN_TYPE,
                                .type_offset = 8,
                                .type_mask = 0x00fffffffffffff8u,
                                .index_offset = offsetof(vm_type, index)});
  start();
  run_chain(500, init_typed);
  stop();
}
END_TEST

static void init_plain_typed(uint64_t *words, unsigned i) {
  words[0] = TSR_HEADER(0x200 + i % 100);
  words[1] = vm_word(&link_type);
}

START_TEST(index_in_a_type_object_without_a_mask) {
  use_links((tsr_layout_source){
      .kind = TSR_LAYOUT_IN_TYPE, .type_offset = 8, .index_offset = offsetof(vm_type, index)});
  start();
  run_chain(500, init_plain_typed);
  stop();
}
END_TEST

#if TSR_GC_BYTE_OFFSET == 0
/* The first word itself is the pointer; the type is aligned so that the GC byte of it is zero. */
static _Alignas(256) vm_type aligned_type = {.index = 2};

static void init_header_typed(uint64_t *words, unsigned i) {
  words[0] = vm_word(&aligned_type);
  words[1] = i;
}

START_TEST(the_first_word_is_the_type) {
  use_links((tsr_layout_source){.kind = TSR_LAYOUT_IN_TYPE,
                                .type_mask = ~(uint64_t)0xff,
                                .index_offset = offsetof(vm_type, index)});
  start();
  run_chain(500, init_header_typed);
  stop();
}
END_TEST
#endif

static uint32_t layout_of(void *data, tsr_ref object) {
  ck_assert_ptr_eq(data, &vm);
  return (uint32_t)(vm_slot(object, 1)->word >> 40);
}

static void init_called(uint64_t *words, unsigned i) {
  words[0] = TSR_HEADER(1 + i % 1000);
  words[1] = (uint64_t)2 << 40 | i;
}

START_TEST(index_by_callback) {
  use_links((tsr_layout_source){.kind = TSR_LAYOUT_BY_CALLBACK});
  vm.binding.layout_of = layout_of;
  start();
  run_chain(500, init_called);
  stop();
}
END_TEST

#define OWN_SHIFT (TSR_GC_BYTE_OFFSET < 4 ? 41 : 7)

static void init_shifted(uint64_t *words, unsigned i) {
  words[0] = (uint64_t)2 << OWN_SHIFT | (uint64_t)(i & 7) << (OWN_SHIFT + 5);
  words[1] = i;
}

START_TEST(index_in_the_vms_own_bits) {
  use_links((tsr_layout_source){.kind = TSR_LAYOUT_IN_HEADER, .shift = OWN_SHIFT, .mask = 0x1f});
  start();
  run_chain(500, init_shifted);
  stop();
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, each_kind);
  tcase_add_test(tests, raw_words_are_no_references);
  tcase_add_test(tests, custom_layouts_resume);
  tcase_add_test(tests, lengths_of_every_width);
  tcase_add_test(tests, fixed_sizes_are_rounded_up);
  tcase_add_test(tests, indices_count_up_from_one);
  tcase_add_test(tests, index_in_a_type_object);
  tcase_add_test(tests, index_in_a_type_object_without_a_mask);
#if TSR_GC_BYTE_OFFSET == 0
  tcase_add_test(tests, the_first_word_is_the_type);
#endif
  tcase_add_test(tests, index_by_callback);
  tcase_add_test(tests, index_in_the_vms_own_bits);
}

int main(void) {
  return vm_main("layouts", add);
}
