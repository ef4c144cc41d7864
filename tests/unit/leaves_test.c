/*
 * A001-09. Objects that refer to nothing have blocks of their own, which marking does not look into; and sweeping looks into
 * none: what they are not to touch is inaccessible meanwhile.
 */
#include <string.h>
#include <sys/mman.h>

#include "core/heap/heap.h"
#include "core/object/header.h"
#include "core/space/spaces.h"
#include "tests/unit/unit.h"

enum { BYTES = 3 };

static const tsr_layout layouts[] = {
    {TSR_LAYOUT_INIT, .name = "pair", .kind = TSR_LAYOUT_FIXED, .fixed_bytes = 24, .fixed_refs = 6},
    {TSR_LAYOUT_INIT, .name = "array", .kind = TSR_LAYOUT_REFERENCES, .fixed_bytes = 16,
     .length = {.offset = 8, .width = 8, .unit = 8}},
    {TSR_LAYOUT_INIT, .name = "bytes", .kind = TSR_LAYOUT_BYTES, .fixed_bytes = 16,
     .length = {.offset = 8, .width = 8, .unit = 1}}};

static uint32_t index_of(void *vm, tsr_ref object) {
  (void)vm;
  return (uint32_t)(*(const uint64_t *)(const void *)object >> TSR_HEADER_SHIFT & TSR_HEADER_MASK);
}

/* Where the index of an object's layout is: in its header, or nowhere that the collector knows. */
static const tsr_binding bindings[] = {
    {TSR_BINDING_HEADER, .name = "unit",
     .does = TSR_DOES_SAFEPOINTS | TSR_DOES_UPDATABLE_SLOTS | TSR_DOES_WRITE_BARRIER,
     .layouts = layouts, .layout_count = 3},
    {TSR_BINDING_HEADER, .name = "unit",
     .does = TSR_DOES_SAFEPOINTS | TSR_DOES_UPDATABLE_SLOTS | TSR_DOES_WRITE_BARRIER,
     .layout_source = {.kind = TSR_LAYOUT_BY_CALLBACK}, .layout_of = index_of, .layouts = layouts,
     .layout_count = 3}};

static struct {
  tsr_heap *heap;
  tsr_mutator *m;
  tsr_slot root;
  const struct plan *own; /* the plan as it is, */
  struct plan guarded,
      still; /* and with traces that may not look at leaves; the form without a nursery */
  size_t traces, most_blocks; /* how often one ran, and how many blocks it could not look into */
} f;

/* ---- what is out of reach ---------------------------------------------------------------------------------- */

typedef bool block_choice(uint32_t index);

static bool is_leaf_block(uint32_t index) {
  const block_map *map = &f.heap->blocks;
  enum block_space space = block_map_space(map, index);
  if (space == BLOCK_LARGE_REST) return is_leaf_block(large_space_head(f.heap, index));
  return space == BLOCK_LEAVES ||
         (space == BLOCK_LARGE && (block_map_at(map, index)->flags & BLOCK_LEAF) != 0);
}

static bool is_old_block(uint32_t index) {
  return block_space_stays(block_map_space(&f.heap->blocks, index));
}

/* Which blocks are inaccessible: as many as the test's heap can have. */
static unsigned char closed[4096];

/* All that are marked as closed become accessible, or inaccessible: neighbours in one go. */
static void change_access(int access) {
  uint32_t end = block_map_extent(&f.heap->blocks);
  for (uint32_t i = 0, behind; i < end; i = behind) {
    behind = i + 1;
    if (closed[i] == 0) continue;
    while (behind < end && closed[behind] != 0)
      behind++;
    void *start = (void *)block_map_start(&f.heap->blocks, i);
    ck_assert_int_eq(mprotect(start, (behind - i) * BLOCK_BYTES, access), 0);
  }
}

static size_t close_blocks(block_choice *choice) {
  size_t count = 0;
  uint32_t extent = block_map_extent(&f.heap->blocks);
  ck_assert_uint_le(extent, sizeof closed);
  for (uint32_t i = 0; i < extent; i++) {
    closed[i] = choice(i);
    count += closed[i];
  }
  change_access(PROT_NONE);
  return count;
}

/* The heap does not shrink meanwhile. */
static void open_blocks(void) {
  change_access(PROT_READ | PROT_WRITE);
  memset(closed, 0, sizeof closed);
}

/* Of one worker. In a collection of the young what survives is copied, leaves too; so it is in one of everything where objects
   move. */
static void guarded_trace(struct worker *worker, bool shared) {
  const struct plan *form = heap_form(f.heap) == &f.still ? f.own->without_nursery : f.own;
  bool marks_only =
      f.heap->traces == TRACES_OLD || (f.heap->traces == TRACES_ALL && !form->moves_objects);
  if (marks_only) {
    size_t blocks = close_blocks(is_leaf_block);
    f.traces++;
    if (blocks > f.most_blocks) f.most_blocks = blocks;
  }
  form->trace(worker, shared);
  open_blocks();
}

static void open_heap(unsigned source, const char *young) {
  const char *const settings[][2] = {{"plan", "quadcolor"},
                                     {"heap_max", "64M"},
                                     {"threads", "1"},
                                     {"nursery", young},
                                     {"stress", "256K"}};
  tsr_error error = {0};
  tsr_options *options = tsr_options_create();
  for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
    ck_assert_int_eq(tsr_options_set(options, settings[i][0], settings[i][1], &error), TSR_OK);
  memset(&f, 0, sizeof f);
  f.heap = tsr_heap_create(&bindings[source], &f, options, &error);
  ck_assert_msg(f.heap != NULL, "%s", error.message);
  tsr_options_destroy(options);
  f.m = tsr_bind_mutator(f.heap, &f, &error);
  ck_assert_msg(f.m != NULL, "%s", error.message);
  ck_assert_int_eq(tsr_root_add(f.heap, &f.root, 1, TSR_ROOT_PRECISE, "root", NULL), TSR_OK);
  f.own = f.heap->plan;
  f.guarded = *f.own;
  f.guarded.trace = guarded_trace;
  if (f.own->without_nursery != NULL) {
    f.still = *f.own->without_nursery;
    f.still.trace = guarded_trace;
    f.guarded.without_nursery = &f.still;
  }
  f.heap->plan = &f.guarded;
}

static void close_heap(void) {
  f.heap->plan = f.own;
  ck_assert_int_eq(tsr_root_remove(f.heap, &f.root, NULL), TSR_OK);
  ck_assert_int_eq(tsr_unbind_mutator(f.m, NULL), TSR_OK);
  ck_assert_int_eq(tsr_heap_destroy(f.heap, NULL), TSR_OK);
}

/* ---- leaves ------------------------------------------------------------------------------------------------ */

#define LARGE 20000u

/* What the objects are, by their place in the table. */
enum kind { LEAF_PAIR, SHORT_BYTES, LONG_BYTES, LEAF_ARRAY, NO_LEAF, KINDS };

static enum kind kind_at(size_t i) {
  return i % 16 == 0   ? LONG_BYTES
         : i % 64 == 1 ? LEAF_ARRAY
                       : (enum kind)(i % 3 == 0 ? NO_LEAF : i % 3 - 1);
}

static tsr_semantics flags_of(enum kind kind) {
  return kind == LEAF_PAIR || kind == LEAF_ARRAY ? TSR_LEAF : 0;
}

static size_t size_of(enum kind kind) {
  return kind == LEAF_PAIR || kind == NO_LEAF ? sizeof(unit_pair)
         : kind == SHORT_BYTES                ? 64
                                              : LARGE;
}

/* What is in the words of a leaf: nothing that a trace could follow. */
static uint64_t pattern(size_t i, size_t word) {
  return 0x0101010101010101u * (unsigned char)(i * 7 + word) | 1;
}

static size_t first_word(enum kind kind) {
  return size_of(kind) == sizeof(unit_pair) ? 1 : 2;
}

static uint64_t *make(size_t i) {
  enum kind kind = kind_at(i);
  size_t bytes = size_of(kind);
  uint64_t *words = tsr_alloc(f.m, bytes, 8, 0, flags_of(kind));
  if (words == NULL) ck_abort_msg("no memory");
  static const unsigned layout_of_kind[] = {PAIR, BYTES, BYTES, ARRAY, PAIR};
  words[0] = TSR_HEADER(layout_of_kind[kind]);
  if (kind == LEAF_ARRAY) words[1] = (bytes - 16) / 8;
  if (kind == SHORT_BYTES || kind == LONG_BYTES) words[1] = bytes - 16;
  if (tsr_post_alloc(f.m, (tsr_ref)(void *)words, bytes, flags_of(kind)) != TSR_OK)
    ck_abort_msg("no object");
  for (size_t w = first_word(kind); w < bytes / 8 && kind != NO_LEAF; w++)
    words[w] = pattern(i, w);
  return words;
}

static void check(size_t i, const uint64_t *words) {
  enum kind kind = kind_at(i);
  for (size_t w = first_word(kind); w < size_of(kind) / 8; w++) {
    if (words[w] != (kind == NO_LEAF ? 0 : pattern(i, w)))
      ck_abort_msg("object %zu, word %zu", i, w);
  }
}

#define TABLE 20000u

static unit_array *table(void) {
  return (unit_array *)(uintptr_t)f.root.word;
}

static void put(size_t i) {
  uint64_t *made = make(i);
  tsr_write(f.m, (tsr_ref)table(), &table()->slots[i], (uint64_t)(uintptr_t)made);
}

static const uint64_t *element(size_t i) {
  return (const uint64_t *)(uintptr_t)table()->slots[i].word;
}

static void make_table(void) {
  size_t bytes = sizeof(unit_array) + TABLE * sizeof(tsr_slot);
  unit_array *array = tsr_alloc(f.m, bytes, 8, 0, TSR_NON_MOVING);
  array->header = TSR_HEADER(ARRAY);
  array->length = TABLE;
  ck_assert_int_eq(tsr_post_alloc(f.m, (tsr_ref)array, bytes, TSR_NON_MOVING), TSR_OK);
  f.root.word = (uint64_t)(uintptr_t)array;
  for (size_t i = 0; i < TABLE; i++)
    put(i);
}

/* ---- tests --------------------------------------------------------------------------------------------------- */

/* Sweeps all that is left while nothing that is old can be read or written. How many blocks there were. */
static uint32_t sweep_blindly(void) {
  close_blocks(is_old_block);
  uint32_t swept = spaces_sweep_some(f.heap, UINT32_MAX);
  open_blocks();
  return swept;
}

static tsr_stats stats(void) {
  tsr_stats result = {.size = sizeof result};
  ck_assert_int_eq(tsr_heap_stats(f.heap, &result, NULL), TSR_OK);
  return result;
}

static const char *const nurseries[] = {"128K", "0"};

/* Leaves are replaced all the time, through several cycles and a collection of everything. */
START_TEST(a001_09_nobody_looks_at_what_he_need_not) {
  uint64_t random = 5;
  uint32_t swept = 0;
  open_heap(0, nurseries[_i]);
  make_table();
  uint64_t cycles = stats().cycles;
  while (stats().cycles < cycles + 3) {
    size_t i = unit_random(&random) % TABLE;
    check(i, element(i));
    put(i);
    if (heap_is_sweeping(f.heap)) swept += sweep_blindly();
  }
  ck_assert_uint_gt(f.traces, 3);
  ck_assert_uint_gt(f.most_blocks, TABLE / 64);
  ck_assert_uint_gt(swept, 10);
  for (unsigned round = 0; round < 3; round++)
    ck_assert_int_eq(tsr_collect(f.m, NULL), TSR_OK);
  for (size_t i = 0; i < TABLE; i++)
    check(i, element(i));
  ck_assert_int_eq(tsr_heap_verify(f.m, NULL), TSR_OK);
  close_heap();
}
END_TEST

/* What was promoted, or born old and said to be a leaf, lies with its like, and nothing else does. */
START_TEST(a001_09_leaves_lie_apart) {
  unsigned form = (unsigned)_i % 2;
  open_heap((unsigned)_i / 2, nurseries[form]);
  make_table();
  for (unsigned round = 0; round < 3; round++)
    ck_assert_int_eq(tsr_collect(f.m, NULL), TSR_OK);
  for (size_t i = 0; i < TABLE; i++) {
    enum kind kind = kind_at(i);
    uint32_t index = block_map_index(&f.heap->blocks, (uintptr_t)element(i));
    bool is_apart = kind != NO_LEAF && (form == 0 || kind != SHORT_BYTES);
    ck_assert_msg(is_leaf_block(index) == is_apart, "object %zu", i);
  }
  close_heap();
}
END_TEST

static size_t leaf_blocks(void) {
  return arena_blocks(&f.heap->spaces->arenas[ARENA_LEAVES]);
}

/* One of ten is left, and some of them are pinned. */
START_TEST(a001_09_sparse_blocks_of_leaves_are_evacuated) {
  open_heap(0, "128K");
  make_table();
  for (unsigned round = 0; round < 2; round++)
    ck_assert_int_eq(tsr_collect(f.m, NULL), TSR_OK);
  size_t before = leaf_blocks();
  const uint64_t *pinned = element(20);
  ck_assert_int_eq(kind_at(20), SHORT_BYTES);
  ck_assert_int_eq(tsr_pin(f.m, (tsr_ref)(void *)(uintptr_t)pinned, NULL), TSR_OK);
  for (size_t i = 0; i < TABLE; i++) {
    if (i % 10 != 0) table()->slots[i].word = 0;
  }
  for (unsigned round = 0; round < 3; round++) {
    ck_assert_int_eq(tsr_collect(f.m, NULL), TSR_OK);
    ck_assert_int_eq(tsr_heap_verify(f.m, NULL), TSR_OK);
    ck_assert_ptr_eq(element(20), pinned);
  }
  ck_assert_uint_lt(leaf_blocks(), before / 2);
  for (size_t i = 0; i < TABLE; i += 10)
    check(i, element(i));
  ck_assert_int_eq(tsr_unpin(f.m, (tsr_ref)(void *)(uintptr_t)pinned, NULL), TSR_OK);
  close_heap();
}
END_TEST

/* Where memory runs out, room comes first. */
START_TEST(a001_09_leaves_lie_with_others_in_an_emergency) {
  open_heap(0, nurseries[_i]);
  make_table();
  for (unsigned round = 0; round < 2; round++)
    ck_assert_int_eq(tsr_collect(f.m, NULL), TSR_OK);
  ck_assert_uint_gt(leaf_blocks(), 3);
  for (size_t i = 0; i < TABLE; i++) {
    if (i % 2 != 0) table()->slots[i].word = 0;
  }
  ck_assert_ptr_null(tsr_alloc_with(f.m, 60 << 20, 8, 0, TSR_LARGE, 0, NULL));
  ck_assert_uint_eq(leaf_blocks(), 0);
  for (size_t i = 0; i < TABLE; i += 2)
    check(i, element(i));
  ck_assert_int_eq(tsr_heap_verify(f.m, NULL), TSR_OK);
  close_heap();
}
END_TEST

/* Nothing of them moves any more, however sparse their blocks are. */
START_TEST(a001_09_leaves_are_frozen_with_the_rest) {
  static const uint64_t *where[TABLE];
  open_heap(0, "128K");
  make_table();
  ck_assert_int_eq(tsr_freeze(f.m, NULL), TSR_OK);
  ck_assert_uint_eq(leaf_blocks(), 0);
  for (size_t i = 0; i < TABLE; i++)
    where[i] = element(i);
  for (size_t i = 0; i < TABLE; i++) {
    if (i % 10 != 0) table()->slots[i].word = 0;
  }
  for (unsigned round = 0; round < 2; round++)
    ck_assert_int_eq(tsr_collect(f.m, NULL), TSR_OK);
  for (size_t i = 0; i < TABLE; i += 10) {
    ck_assert_ptr_eq(element(i), where[i]);
    check(i, element(i));
  }
  close_heap();
}
END_TEST

/* It may be armed, for it was scanned before it was known to be one, and a VM may tell of stores into it. The log is given up where
   everything is collected; what is scanned then is in it no more, but this is not scanned. */
START_TEST(a001_09_a_large_leaf_is_not_logged) {
  open_heap(0, "128K");
  make_table();
  for (unsigned round = 0; round < 2; round++)
    ck_assert_int_eq(tsr_collect(f.m, NULL), TSR_OK);
  tsr_ref leaf = (tsr_ref)(void *)(uintptr_t)element(64);
  ck_assert_int_eq(kind_at(64), LONG_BYTES);
  header_set_gc_bits(leaf, GC_ARMED);
  tsr_slot *word = (tsr_slot *)leaf + 2;
  tsr_write(f.m, leaf, word, word->word);
  ck_assert_int_eq(tsr_heap_verify(f.m, NULL), TSR_OK);
  ck_assert_int_eq(tsr_collect(f.m, NULL), TSR_OK);
  ck_assert_int_eq(tsr_heap_verify(f.m, NULL), TSR_OK);
  check(64, element(64));
  close_heap();
}
END_TEST

/* Something young is left by a collection of everything, for it is pinned; and what is old is searched for references to it. */
START_TEST(a001_09_the_words_of_a_leaf_are_no_references) {
  open_heap(0, "128K");
  make_table();
  for (unsigned round = 0; round < 2; round++)
    ck_assert_int_eq(tsr_collect(f.m, NULL), TSR_OK);
  uint64_t *leaf = (uint64_t *)(uintptr_t)element(64);
  uint64_t *young = make(3);
  ck_assert_int_eq(kind_at(3), NO_LEAF);
  leaf[2] = (uint64_t)(uintptr_t)young;
  ck_assert_int_eq(tsr_pin(f.m, (tsr_ref)(void *)young, NULL), TSR_OK);
  for (unsigned round = 0; round < 3; round++) {
    ck_assert_int_eq(tsr_collect(f.m, NULL), TSR_OK);
    ck_assert_int_eq(tsr_heap_verify(f.m, NULL), TSR_OK);
    ck_assert_ptr_eq((void *)(uintptr_t)leaf[2], young);
    if (round == 1) ck_assert_int_eq(tsr_unpin(f.m, (tsr_ref)(void *)young, NULL), TSR_OK);
  }
  close_heap();
}
END_TEST

/* Who says it to the allocation says it to tsr_post_alloc() too. */
START_TEST(a001_09_the_verifier_knows_leaf_blocks) {
  tsr_error error;
  open_heap(0, "0");
  unit_pair *pair = tsr_alloc(f.m, sizeof *pair, 8, 0, TSR_LEAF);
  pair->header = TSR_HEADER(PAIR);
  ck_assert_int_eq(tsr_post_alloc(f.m, (tsr_ref)(void *)pair, sizeof *pair, 0), TSR_OK);
  ck_assert_int_eq(tsr_heap_verify(f.m, &error), TSR_CORRUPT);
  ck_assert_msg(strstr(error.message, "TSR_LEAF") != NULL, "%s", error.message);
  header_set_gc_bits((tsr_ref)(void *)pair, GC_LEAF);
  ck_assert_int_eq(tsr_heap_verify(f.m, NULL), TSR_OK);
  close_heap();
}
END_TEST

int main(void) {
  Suite *suite = suite_create("leaves");
  TCase *tests = tcase_create("leaves");
  tcase_set_timeout(tests, 0);
  tcase_add_loop_test(tests, a001_09_nobody_looks_at_what_he_need_not, 0, 2);
  tcase_add_loop_test(tests, a001_09_leaves_lie_apart, 0, 4);
  tcase_add_test(tests, a001_09_sparse_blocks_of_leaves_are_evacuated);
  tcase_add_loop_test(tests, a001_09_leaves_lie_with_others_in_an_emergency, 0, 2);
  tcase_add_test(tests, a001_09_leaves_are_frozen_with_the_rest);
  tcase_add_test(tests, a001_09_a_large_leaf_is_not_logged);
  tcase_add_test(tests, a001_09_the_words_of_a_leaf_are_no_references);
  tcase_add_test(tests, a001_09_the_verifier_knows_leaf_blocks);
  suite_add_tcase(suite, tests);
  return unit_run(suite);
}
