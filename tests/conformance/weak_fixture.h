/*
 * One heap with weak layouts and a table of roots: the fixture of the tests of weak things.
 *
 * What keeps an object alive in these tests is the table of roots. It holds everything while a test builds, as
 * a collection may come at any time; then roots go, without an allocation in between, and a collection shows
 * what was kept and what was cleared. Under a plan that never collects nothing is ever cleared.
 */
#ifndef CONFORMANCE_WEAK_FIXTURE_H
#define CONFORMANCE_WEAK_FIXTURE_H

#define ROOTS 8192u
#include "draws.h"
#include "made_objects.h"

/* Layouts of these tests, registered in every heap. */
enum { BOX_WORDS = 8, TALL_WORDS = 100, LINK_WORDS = 6, EPHEMERON_WORDS = 8 };
static uint32_t box_id;    /* WEAK: words 2 and 4 strong, 3, 5 and 6 weak, 7 raw */
static uint32_t vector_id; /* WEAK: length, a word of Tessera's, weak slots */
static uint32_t
    table_id;            /* WEAK: length, a word of Tessera's, strong slot, weak slot, weak slots */
static uint32_t tall_id; /* WEAK: 100 words, 3 and 63 weak, 62 and 90 strong, Tessera's the last */
static uint32_t ephemeron_id; /* EPHEMERON: word 1 strong, 2 raw, then the ephemeron */
static uint32_t link_id;      /* EPHEMERON: nothing else */

#define VECTOR_LENGTH .length = {.offset = 8, .width = 8, .unit = 8}

static const uint64_t tall_refs[2] = {(uint64_t)1 << 62, (uint64_t)1 << (90 - 64)};

static const tsr_layout box_layout = {TSR_LAYOUT_INIT,
                                      .name = "box",
                                      .kind = TSR_LAYOUT_WEAK,
                                      .fixed_bytes = 64,
                                      .fixed_refs = 1u << 2 | 1u << 4,
                                      .weak_refs = 1u << 3 | 1u << 5 | 1u << 6,
                                      .weak_offset = 8};
static const tsr_layout vector_layout = {TSR_LAYOUT_INIT,         .name = "weak vector",
                                         .kind = TSR_LAYOUT_WEAK, .fixed_bytes = 24,
                                         VECTOR_LENGTH,           .weak_offset = 16};
static const tsr_layout table_layout = {
    TSR_LAYOUT_INIT,       .name = "weak table", .kind = TSR_LAYOUT_WEAK, .fixed_bytes = 40,
    .fixed_refs = 1u << 3, .weak_refs = 1u << 4, VECTOR_LENGTH,           .weak_offset = 16};
static const tsr_layout tall_layout = {TSR_LAYOUT_INIT,
                                       .name = "tall",
                                       .kind = TSR_LAYOUT_WEAK,
                                       .fixed_bytes = 8 * TALL_WORDS,
                                       .wide_refs = tall_refs,
                                       .weak_refs = 1u << 3 | (uint64_t)1 << 63,
                                       .weak_offset = 8 * (TALL_WORDS - 1)};
static const tsr_layout ephemeron_layout = {TSR_LAYOUT_INIT,
                                            .name = "ephemeron",
                                            .kind = TSR_LAYOUT_EPHEMERON,
                                            .fixed_bytes = 8 * EPHEMERON_WORDS,
                                            .fixed_refs = 1u << 1,
                                            .weak_offset = 24};
static const tsr_layout link_layout = {TSR_LAYOUT_INIT, .name = "link",
                                       .kind = TSR_LAYOUT_EPHEMERON, .fixed_bytes = 8 * LINK_WORDS,
                                       .weak_offset = 8};

static const unsigned char box_words[5] = {2, 4, 3, 5, 6}; /* two strong ones, three weak ones */

/* ---- heaps ------------------------------------------------------------------------------- */

static inline uint32_t registered(const tsr_layout *layout) {
  tsr_error error = {0};
  uint32_t id = tsr_layout_register(vm.heap, layout, &error);
  ck_assert_msg(id != 0, "%s: %s", layout->name, error.message);
  return id;
}

static inline void register_layouts(void) {
  box_id = registered(&box_layout);
  vector_id = registered(&vector_layout);
  table_id = registered(&table_layout);
  tall_id = registered(&tall_layout);
  ephemeron_id = registered(&ephemeron_layout);
  link_id = registered(&link_layout);
}

/* Between the two a test may change the binding. */
static inline void prepare(const char *heap_max) {
  vm_init(&vm);
  vm_pin(&vm, "heap_max", heap_max);
}

static inline void begin(void) {
  vm_start(&vm);
  open_roots();
  register_layouts();
}

static inline void begin_plainly(const char *heap_max) {
  prepare(heap_max);
  begin();
}

/* What weak slots hold when their objects are gone, by the number of a loop test. */
#define CLEARED_WORDS 2
static inline uint64_t cleared_word(int i) {
  return i == 0 ? 0 : FIXNUM(0);
}

static inline void begin_with_cleared(const char *heap_max, int i) {
  prepare(heap_max);
  vm.binding.weak_cleared = cleared_word(i);
  begin();
}

/* ---- objects ----------------------------------------------------------------------------- */

/* A fresh object of one of the layouts above. */
static inline tsr_ref make_of(uint32_t id, tsr_semantics semantics, unsigned tag, size_t words,
                              size_t length) {
  uint64_t *memory = tsr_alloc(vm.m, 8 * words, TSR_OBJECT_ALIGN, 0, semantics);
  ck_assert_ptr_nonnull(memory);
  memory[0] = vm_header(id, tag & 0xffff);
  if (id == vector_id || id == table_id) memory[1] = length;
  tsr_ref object = (tsr_ref)(void *)memory;
  tsr_status status = tsr_post_alloc(vm.m, object, 8 * words, semantics);
  ck_assert_msg(status == TSR_OK, "tsr_post_alloc: %s", tsr_status_name(status));
  return object;
}

static inline tsr_ref make_box(unsigned tag) {
  return make_of(box_id, TSR_DEFAULT, tag, BOX_WORDS, 0);
}

#define VECTOR_FIRST 3u

static inline tsr_ref make_vector(tsr_semantics semantics, size_t length) {
  return make_of(vector_id, semantics, 0, VECTOR_FIRST + length, length);
}

#define KEY   3u
#define VALUE 4u

/* An ephemeron without key and value. */
static inline tsr_ref make_ephemeron(tsr_semantics semantics) {
  return make_of(ephemeron_id, semantics, 0, EPHEMERON_WORDS, 0);
}

static inline tsr_slot *handle_of(uint64_t word, tsr_strength strength) {
  tsr_error error = {0};
  tsr_slot *handle = tsr_handle_new(vm.heap, word, strength, &error);
  ck_assert_msg(handle != NULL, "tsr_handle_new: %s", error.message);
  ck_assert_uint_eq(handle->word, word);
  return handle;
}

/* ---- what a collection left -------------------------------------------------------------- */

static inline uint64_t weak_word(uint64_t object, size_t word) {
  return tsr_load_weak(vm.m, vm_slot(vm_ref(object), word));
}

/* A weak word: a made object, or cleared. Under a plan that never collects it is the object in any case. */
static inline void check_weak(uint64_t word, bool lives, unsigned kind, unsigned tag,
                              const char *what) {
  if (lives || !vm_collects) {
    ck_assert_msg(is_made(word, kind, tag), "%s %u: its object is not what it was", what, tag);
  } else {
    ck_assert_msg(word == vm.binding.weak_cleared, "%s %u: %#llx, not cleared", what, tag,
                  (unsigned long long)word);
  }
}

/* ---- ephemerons -------------------------------------------------------------------------- */

static inline void set_pair(uint64_t ephemeron, uint64_t key, uint64_t value) {
  vm_set(vm.m, vm_ref(ephemeron), KEY, key);
  vm_set(vm.m, vm_ref(ephemeron), VALUE, value);
}

static inline uint64_t key_of(uint64_t ephemeron) {
  return weak_word(ephemeron, KEY);
}

static inline uint64_t value_of(uint64_t ephemeron) {
  return weak_word(ephemeron, VALUE);
}

/* Both at once. */
static inline void expect_cleared(uint64_t ephemeron) {
  if (!vm_collects) return;
  ck_assert_uint_eq(key_of(ephemeron), vm.binding.weak_cleared);
  ck_assert_uint_eq(value_of(ephemeron), vm.binding.weak_cleared);
}

/* ---- tagged references ------------------------------------------------------------------- */

#define TAG_A 1u
#define TAG_B 5u
#define BIAS  16u

/* A reference has one of two tags, and is no address. */
static const tsr_reference_rule tagged_references = {
    .address_mask = ~(uint64_t)7, .low_tags = 1u << TAG_A | 1u << TAG_B, .bias = BIAS};

static inline uint64_t tagged(tsr_ref object, unsigned tag) {
  return vm_word(object) + BIAS + tag;
}

static inline tsr_ref untagged(uint64_t word, unsigned tag) {
  return vm_ref(word - BIAS - tag);
}

static inline bool is_tagged(uint64_t word, unsigned tag, unsigned number) {
  return (word & 7) == tag && is_made(vm_word(untagged(word, tag)), RECORD, number);
}

#endif
