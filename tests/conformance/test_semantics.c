/*
 * Placements and flags: what each combination promises, under every plan.
 *
 * The promises are those of the headers. Everything but plain default placement keeps its address;
 * immortal objects are never freed and are roots; non-moving ones are freed and their memory serves
 * again, in whatever sizes; leaf objects are never scanned, whatever their layout says; references
 * lead from each placement to each other and stay up to date. Objects are rooted in a native table,
 * so that nothing but the objects under test lies in the heap.
 */
#define ROOTS 512u
#include "placement_fixture.h"

/* Fills every slot of the rooted object with a fresh pair tagged with the slot's number. */
static void give_children(tsr_slot *root, size_t slots) {
  for (size_t i = 0; i < slots; i++) {
    tsr_ref child = vm_new(vm.m, PAIR, (unsigned)i, 0);
    ck_assert_ptr_nonnull(child);
    tsr_ref parent = vm_ref(root->word);
    vm_set(vm.m, parent, vm_slot_index(vm_kind_of(parent), i), vm_word(child));
  }
}

static void check_children(tsr_ref parent, size_t slots) {
  for (size_t i = 0; i < slots; i++) {
    uint64_t word = vm_get(vm.m, parent, vm_slot_index(vm_kind_of(parent), i));
    ck_assert_uint_ne(word, 0);
    ck_assert_uint_eq(vm_kind_of(vm_ref(word)), PAIR);
    ck_assert_uint_eq(vm_tag_of(vm_ref(word)), i & 0xffff);
  }
}

/* ---- each combination ---------------------------------------------------------------------- */

static const struct {
  unsigned kind;
  size_t count;
} shapes[] = {{CELL, 0},   {PAIR, 0}, {RECORD, 0},    {VECTOR, 7},   {BYTES, 77},   {TABLE, 3},
              {CUSTOM, 5}, {WIDE, 0}, {VECTOR, 1500}, {BYTES, 9000}, {CUSTOM, 600}, {BYTES, 50000}};
#define SHAPES (sizeof shapes / sizeof shapes[0])

static void check_shape(unsigned i, tsr_semantics semantics, uint64_t where) {
  size_t size = vm_size(shapes[i].kind, shapes[i].count);
  tsr_ref object = vm_ref(roots[i].word);
  if (place_stays(semantics, size)) {
    ck_assert_msg(roots[i].word == where, "%s: an object of %zu bytes moved", place_name(semantics),
                  size);
  }
  ck_assert_uint_eq(vm_kind_of(object), shapes[i].kind);
  ck_assert_uint_eq(vm_tag_of(object), i);
  ck_assert_uint_eq(tsr_object_size(vm.heap, object, NULL), size);
  ck_assert_msg(vm_filled(object, i), "%s: the content changed", place_name(semantics));
  if ((semantics & TSR_LEAF) == 0) {
    check_children(object, vm_slots(shapes[i].kind, shapes[i].count));
  }
}

START_TEST(every_combination_allocates_and_survives) {
  for (unsigned c = 0; c < PLACE_COMBINATIONS; c++) {
    tsr_semantics semantics = place_semantics(c);
    uint64_t where[SHAPES];
    start("32M");
    for (unsigned i = 0; i < SHAPES; i++) {
      tsr_ref object = place_must(&vm, semantics, shapes[i].kind, i, shapes[i].count);
      roots[i].word = where[i] = vm_word(object);
      vm_fill(object, i);
      bool scanned = (semantics & TSR_LEAF) == 0;
      if (scanned) give_children(&roots[i], vm_slots(shapes[i].kind, shapes[i].count));
    }
    for (unsigned round = 0; round < 3; round++) {
      vm_collect(&vm);
      vm_garbage(vm.m, 100 * KIB);
      for (unsigned i = 0; i < SHAPES; i++) {
        check_shape(i, semantics, where[i]);
      }
    }
    stop();
  }
}
END_TEST

/* "Memory comes zeroed", also where it served before. */
START_TEST(memory_comes_zeroed_in_every_combination) {
  start("16M");
  size_t count = 3000;
  unsigned rounds = vm_collects ? 60 : 3;
  for (unsigned round = 0; round < rounds; round++) {
    for (unsigned c = 0; c < PLACE_COMBINATIONS; c++) {
      tsr_semantics semantics = place_semantics(c);
      if (place_of(semantics) == TSR_IMMORTAL && round > 2) continue;
      tsr_ref bytes = place_must(&vm, semantics, BYTES, 0, count);
      const unsigned char *content = (const unsigned char *)bytes + 16;
      for (size_t i = 0; i < count; i++) {
        ck_assert_msg(content[i] == 0, "%s: byte %zu is not zero", place_name(semantics), i);
      }
      memset(vm_slot(bytes, 2), 0xee, count);
    }
    if (round % 8 == 7) vm_collect(&vm);
  }
  stop();
}
END_TEST

/* ---- A002-04: alignment and offset --------------------------------------------------------- */

#define ALIGNS  10u /* 8 to TSR_MAX_ALIGN */
#define OFFSETS 4u
#define SIZES   4u

static const size_t matrix_sizes[SIZES] = {24, 1000, TSR_MAX_INLINE_BYTES,
                                           TSR_MAX_INLINE_BYTES + 8};

static size_t matrix_align(unsigned i) {
  return (size_t)8 << i % ALIGNS;
}

static size_t matrix_offset(unsigned i) {
  size_t align = matrix_align(i);
  const size_t offsets[OFFSETS] = {0, 8, align > 8 ? align / 2 : 0, align - 8};
  return offsets[i / ALIGNS % OFFSETS];
}

/* An array of bytes that keeps its alignment where it moves; one layout for each pair. */
static void register_matrix(uint32_t *ids) {
  for (unsigned i = 0; i < ALIGNS * OFFSETS; i++) {
    tsr_layout layout = {TSR_LAYOUT_INIT,
                         .name = "aligned",
                         .kind = TSR_LAYOUT_BYTES,
                         .fixed_bytes = 16,
                         .length = {.offset = 8, .width = 8, .unit = 1},
                         .align = (uint32_t)matrix_align(i),
                         .align_offset = (uint32_t)matrix_offset(i)};
    tsr_error error = {0};
    ids[i] = tsr_layout_register(vm.heap, &layout, &error);
    ck_assert_msg(ids[i] != 0, "%s", error.message);
  }
}

static void check_aligned(uint64_t word, unsigned i, tsr_semantics semantics, const char *when) {
  ck_assert_msg((word + matrix_offset(i)) % matrix_align(i) == 0,
                "%s, %s: align %zu, offset %zu, address %#llx", place_name(semantics), when,
                matrix_align(i), matrix_offset(i), (unsigned long long)word);
}

START_TEST(a002_04_every_alignment_in_every_combination) {
  for (unsigned c = 0; c < PLACE_COMBINATIONS; c++) {
    tsr_semantics semantics = place_semantics(c);
    uint32_t ids[ALIGNS * OFFSETS];
    uint64_t where[ALIGNS * OFFSETS * SIZES];
    start("64M");
    register_matrix(ids);
    for (unsigned i = 0; i < ALIGNS * OFFSETS * SIZES; i++) {
      size_t size = matrix_sizes[i / (ALIGNS * OFFSETS)];
      uint64_t *words = tsr_alloc(vm.m, size, matrix_align(i), matrix_offset(i), semantics);
      ck_assert_msg(words != NULL, "%s, size %zu", place_name(semantics), size);
      check_aligned(vm_word(words), i, semantics, "new");
      words[0] = vm_header(ids[i % (ALIGNS * OFFSETS)], i);
      words[1] = size - 16;
      ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)(void *)words, size, semantics), TSR_OK);
      roots[i].word = where[i] = vm_word(words);
    }
    for (unsigned round = 0; round < 2; round++) {
      vm_collect(&vm);
      for (unsigned i = 0; i < ALIGNS * OFFSETS * SIZES; i++) {
        check_aligned(roots[i].word, i, semantics, "after a collection");
        ck_assert_uint_eq(vm_tag_of(vm_ref(roots[i].word)), i);
        size_t size = matrix_sizes[i / (ALIGNS * OFFSETS)];
        if (place_stays(semantics, size)) ck_assert_uint_eq(roots[i].word, where[i]);
      }
    }
    ck_assert_uint_eq(vm_enumerate(vm.m).objects, ALIGNS * OFFSETS * SIZES);
    stop();
  }
}
END_TEST

/* ---- references between placements --------------------------------------------------------- */

/* An array in each combination that can hold references, each with references to an object in each combination. */
static unsigned hubs_make(size_t count, uint64_t *where) {
  unsigned hubs = 0;
  for (unsigned c = 0; c < PLACE_COMBINATIONS; c++) {
    tsr_semantics semantics = place_semantics(c);
    if ((semantics & TSR_LEAF) != 0) continue;
    roots[hubs].word = where[hubs] = vm_word(place_must(&vm, semantics, VECTOR, c, count));
    hubs++;
  }
  return hubs;
}

static void hubs_refer(unsigned hubs, size_t slot, uint64_t word) {
  for (unsigned h = 0; h < hubs; h++) {
    vm_set(vm.m, vm_ref(roots[h].word), 2 + slot, word);
  }
}

/* All hubs agree on each target, and the targets lead back to a hub. */
static void hubs_check(unsigned hubs, const uint64_t *where, const uint64_t *targets) {
  for (unsigned h = 0; h < hubs; h++) {
    tsr_ref hub = vm_ref(roots[h].word);
    tsr_semantics from = place_semantics(vm_tag_of(hub));
    size_t size = tsr_object_size(vm.heap, hub, NULL);
    if (place_stays(from, size)) ck_assert_uint_eq(roots[h].word, where[h]);
    for (unsigned c = 0; c < PLACE_COMBINATIONS; c++) {
      tsr_semantics to = place_semantics(c);
      uint64_t word = vm_get(vm.m, hub, 2 + c);
      ck_assert_msg(word == vm_get(vm.m, vm_ref(roots[0].word), 2 + c),
                    "%s: the reference to a target (combination %u) is out of date",
                    place_name(from), c);
      if (place_stays(to, 24)) ck_assert_uint_eq(word, targets[c]);
      ck_assert_uint_eq(vm_kind_of(vm_ref(word)), PAIR);
      ck_assert_uint_eq(vm_tag_of(vm_ref(word)), c);
      if ((to & TSR_LEAF) != 0) continue;
      ck_assert_uint_eq(vm_get(vm.m, vm_ref(word), 1), roots[c % hubs].word);
    }
  }
}

START_TEST(references_lead_from_and_to_every_combination) {
  static const size_t counts[] = {PLACE_COMBINATIONS, 1500};
  for (unsigned k = 0; k < 2; k++) {
    uint64_t where[PLACE_COMBINATIONS];
    uint64_t targets[PLACE_COMBINATIONS];
    start("32M");
    unsigned hubs = hubs_make(counts[k], where);
    for (unsigned round = 0; round < 4; round++) {
      for (unsigned c = 0; c < PLACE_COMBINATIONS; c++) { /* other targets each round */
        tsr_semantics to = place_semantics(c);
        tsr_ref target = place_must(&vm, to, PAIR, c, 0);
        targets[c] = vm_word(target);
        hubs_refer(hubs, c, targets[c]);
        if ((to & TSR_LEAF) == 0) vm_set(vm.m, target, 1, roots[c % hubs].word);
      }
      for (unsigned collections = 0; collections < 3; collections++) {
        vm_collect(&vm);
        hubs_check(hubs, where, targets);
        place_verify(&vm);
      }
    }
    stop();
  }
}
END_TEST

/* A chain that changes placement at each link, held at one end. */
START_TEST(chains_through_all_placements) {
  start("32M");
  unsigned links = 2000;
  for (unsigned i = 0; i < links; i++) {
    tsr_ref link = place_must(&vm,
                              i % 101 == 7 ? TSR_LARGE
                              : i % 2 == 0 ? TSR_DEFAULT
                                           : TSR_NON_MOVING,
                              RECORD, i, 0);
    vm_fill(link, i);
    vm_set(vm.m, link, 2, roots[0].word);
    roots[0].word = vm_word(link);
  }
  for (unsigned round = 0; round < 3; round++) {
    vm_collect(&vm);
    uint64_t word = roots[0].word;
    for (unsigned i = links; i-- > 0; word = vm_get(vm.m, vm_ref(word), 2)) {
      ck_assert_uint_eq(vm_tag_of(vm_ref(word)), i);
      ck_assert(vm_filled(vm_ref(word), i));
    }
    ck_assert_uint_eq(word, 0);
  }
  ck_assert_uint_eq(vm_enumerate(vm.m).by_kind[RECORD], links);
  drop_roots();
  vm_collect(&vm);
  ck_assert_uint_eq(vm_enumerate(vm.m).objects, vm_collects ? 0 : links);
  stop();
}
END_TEST

/* ---- immortal ------------------------------------------------------------------------------ */

static const tsr_semantics immortal_flags[] = {0, TSR_CODE, TSR_READ_ONLY,
                                               TSR_CODE | TSR_READ_ONLY};

/* Nothing refers to the immortal objects: the test holds their addresses, as a C static would. */
START_TEST(immortal_objects_stay_and_keep_alive) {
  static const size_t counts[] = {4, 1500}; /* below and above the inline size */
  uint64_t immortal[8];
  start_calm("32M");
  for (unsigned i = 0; i < 8; i++) {
    tsr_semantics semantics = TSR_IMMORTAL | immortal_flags[i % 4];
    tsr_ref object = place_must(&vm, semantics, VECTOR, i, counts[i / 4]);
    immortal[i] = vm_word(object);
    for (unsigned k = 0; k < 4; k++) { /* a child in each placement */
      tsr_ref child = place_must(&vm, k, RECORD, 10 * i + k, 0);
      vm_fill(child, 10 * i + k);
      vm_set(vm.m, object, k == 3 ? 1 + counts[i / 4] : 2 + k, vm_word(child));
    }
  }
  for (unsigned round = 0; round < 4; round++) {
    vm_collect(&vm);
    vm_garbage(vm.m, MIB);
    for (unsigned i = 0; i < 8; i++) {
      tsr_ref object = vm_ref(immortal[i]);
      ck_assert_uint_eq(vm_tag_of(object), i);
      for (unsigned k = 0; k < 4; k++) {
        tsr_ref child = vm_ref(vm_get(vm.m, object, k == 3 ? 1 + counts[i / 4] : 2 + k));
        ck_assert_uint_eq(vm_tag_of(child), 10 * i + k);
        ck_assert(vm_filled(child, 10 * i + k));
      }
    }
  }
  for (unsigned i = 0; i < 8; i++) {
    tsr_fill_slots(vm.m, vm_ref(immortal[i]), vm_slot(vm_ref(immortal[i]), 2), counts[i / 4], 0);
  }
  vm_collect(&vm);
  vm_census census = vm_enumerate(vm.m);
  ck_assert_uint_eq(census.by_kind[VECTOR], 8);
  if (vm_collects) { /* of the children only the immortal ones are left */
    ck_assert_uint_eq(census.by_kind[RECORD], 8);
    ck_assert_uint_eq(census.objects, 16);
  }
  stop();
}
END_TEST

START_TEST(many_small_immortal_objects) {
  enum { MANY = 20000 };
  static uint64_t where[MANY];
  start_calm("32M");
  for (unsigned i = 0; i < MANY; i++) {
    tsr_ref object =
        place_must(&vm, i % 5 == 0 ? TSR_IMMORTAL | TSR_LEAF : TSR_IMMORTAL, RECORD, i, 0);
    vm_fill(object, i);
    where[i] = vm_word(object);
    if (i % 7 == 0) ck_assert_ptr_nonnull(vm_new(vm.m, BYTES, 0, 700));
    if (i % 4000 == 0) vm_collect(&vm);
  }
  for (unsigned round = 0; round < 3; round++) {
    vm_collect(&vm);
    for (unsigned i = 0; i < MANY; i++) {
      ck_assert_uint_eq(vm_tag_of(vm_ref(where[i])), i & 0xffff);
      ck_assert(vm_filled(vm_ref(where[i]), i));
    }
    ck_assert_uint_eq(vm_enumerate(vm.m).by_kind[RECORD], MANY);
  }
  stop();
}
END_TEST

/* ---- non-moving ---------------------------------------------------------------------------- */

START_TEST(non_moving_garbage_lowers_used_memory) {
  start_alone("32M");
  for (unsigned i = 0; i < ROOTS; i++) {
    roots[i].word = vm_word(place_must(&vm, TSR_NON_MOVING, BYTES, i, 8000));
  }
  vm_collect(&vm);
  uint64_t full = vm_stats(&vm).used_bytes;
  ck_assert_uint_ge(full, ROOTS * 8000);
  ck_assert_uint_eq(vm_enumerate(vm.m).by_kind[BYTES], ROOTS);
  drop_roots();
  vm_collect(&vm);
  if (vm_collects) {
    ck_assert_uint_eq(vm_enumerate(vm.m).objects, 0);
    ck_assert_uint_le(vm_stats(&vm).used_bytes, full / 8);
    ck_assert_uint_eq(vm_stats(&vm).live_bytes_after_last, 0);
  }
  stop();
}
END_TEST

/* Sizes from 16 bytes to the inline size, the small ones more often. */
static size_t mixed_count(uint64_t *seed) {
  size_t most = (size_t)8 << vm_random(seed) % 11;
  size_t count = vm_random(seed) % most;
  return count <= TSR_MAX_INLINE_BYTES - 16 ? count : TSR_MAX_INLINE_BYTES - 16;
}

static void replace_root(unsigned r, tsr_semantics semantics, uint64_t *seeds, uint64_t seed,
                         size_t count) {
  if (roots[r].word != 0) ck_assert(vm_filled(vm_ref(roots[r].word), seeds[r]));
  tsr_ref object = place_must(&vm, semantics, BYTES, r, count);
  for (size_t w = 2; w < 2 + count / 8; w++) {
    ck_assert_msg(vm_slot(object, w)->word == 0, "memory comes zeroed");
  }
  seeds[r] = seed;
  vm_fill(object, seed);
  roots[r].word = vm_word(object);
}

/* A hundred heaps full of non-moving objects pass through one, in mixed sizes, some of them living on. */
START_TEST(non_moving_churn_of_a_hundred_heaps) {
  size_t heap = 2 * MIB;
  size_t through = vm_collects ? 100 * heap : heap / 2;
  uint64_t seeds[ROOTS] = {0};
  uint64_t seed = 41;
  start_alone("2M");
  for (size_t done = 0; done < through;) {
    size_t count = mixed_count(&seed);
    replace_root((unsigned)(vm_random(&seed) % ROOTS), TSR_NON_MOVING, seeds, seed, count);
    done += vm_size(BYTES, count);
  }
  if (vm_collects) ck_assert_uint_gt(vm.ended, 50);
  stop();
}
END_TEST

START_TEST(non_moving_objects_of_one_size_after_another) {
  size_t through = vm_collects ? 8 * MIB : 100 * KIB;
  uint64_t seeds[ROOTS] = {0};
  start_alone("4M");
  for (size_t count = 0; count <= TSR_MAX_INLINE_BYTES - 16; count = 2 * count + 8) {
    for (size_t done = 0; done < through; done += vm_size(BYTES, count)) {
      unsigned r = (unsigned)(done / vm_size(BYTES, count)) % 64;
      replace_root(r, TSR_NON_MOVING, seeds, done + count, count);
    }
  }
  stop();
}
END_TEST

#define HOLES 20000u

/* Objects of random sizes, rooted in `table`; returns what every second of them takes. */
static size_t make_holes(tsr_slot *table, size_t least, size_t most) {
  uint64_t seed = least + most;
  size_t bytes = 0;
  for (unsigned i = 0; i < HOLES; i++) {
    size_t count = least + 8 * (vm_random(&seed) % ((most - least) / 8 + 1));
    tsr_ref object = place_must(&vm, TSR_NON_MOVING, BYTES, i, count);
    vm_fill(object, i);
    table[i].word = vm_word(object);
    if (i % 2 == 1) bytes += vm_size(BYTES, count);
  }
  return bytes;
}

static void check_table(const tsr_slot *table, size_t n) {
  for (size_t i = 0; i < n; i++) {
    ck_assert(table[i].word == 0 || vm_filled(vm_ref(table[i].word), i));
  }
}

static tsr_slot *open_table(size_t n) {
  tsr_slot *table = calloc(n, sizeof *table);
  ck_assert_ptr_nonnull(table);
  ck_assert_int_eq(tsr_root_add(vm.heap, table, n, TSR_ROOT_PRECISE, NULL, NULL), TSR_OK);
  return table;
}

static void close_table(tsr_slot *table) {
  ck_assert_int_eq(tsr_root_remove(vm.heap, table, NULL), TSR_OK);
  free(table);
}

/* A001-15. Every second object goes; small ones then fill nine tenths of the holes, and the heap does not grow.
   Larger ones need other memory, and get it. */
static void fill_holes(size_t least, size_t most, size_t small) {
  if (!vm_collects) return;
  start_alone("64M");
  tsr_slot *table = open_table(HOLES);
  size_t holes = make_holes(table, least, most);
  vm_collect(&vm);
  uint64_t used = vm_stats(&vm).used_bytes;
  for (unsigned i = 1; i < HOLES; i += 2) {
    table[i].word = 0;
  }
  vm_collect(&vm);
  size_t fillers = holes / 10 * 9 / vm_size(BYTES, small);
  tsr_slot *filled = open_table(fillers);
  for (size_t i = 0; i < fillers; i++) {
    filled[i].word = vm_word(place_must(&vm, TSR_NON_MOVING, BYTES, 0, small));
    vm_fill(vm_ref(filled[i].word), i);
  }
  ck_assert_msg(vm_stats(&vm).used_bytes <= used, "%llu bytes before, %llu with the holes filled",
                (unsigned long long)used, (unsigned long long)vm_stats(&vm).used_bytes);
  for (unsigned i = 0; i < ROOTS; i++) {
    roots[i].word = vm_word(place_must(&vm, TSR_NON_MOVING, BYTES, i, most + 1000 + 8 * i));
    vm_fill(vm_ref(roots[i].word), i);
  }
  vm_collect(&vm);
  check_table(table, HOLES);
  check_table(filled, fillers);
  check_table(roots, ROOTS);
  close_table(filled);
  close_table(table);
  stop();
}

START_TEST(holes_of_one_size_serve_again) {
  fill_holes(88, 88, 88);
}
END_TEST

START_TEST(holes_of_one_size_serve_smaller_objects) {
  fill_holes(240, 240, 16); /* 256 bytes make eight of 32 */
}
END_TEST

START_TEST(holes_of_many_sizes_serve_small_objects) {
  fill_holes(8, 1000, 8);
}
END_TEST

/* ---- leaf ---------------------------------------------------------------------------------- */

static const struct {
  unsigned kind;
  size_t count;
} slotted[] = {{PAIR, 0}, {RECORD, 0},    {VECTOR, 6},  {TABLE, 2},   {CUSTOM, 6},
               {WIDE, 0}, {VECTOR, 1500}, {TABLE, 400}, {CUSTOM, 600}};
#define SLOTTED (sizeof slotted / sizeof slotted[0])
#define LEAVES  (16u * (unsigned)SLOTTED)
#define TARGETS 3u /* default, large, non-moving: roots behind the leaves */

/* The sixteen combinations with the leaf flag. */
static tsr_semantics leaf_semantics(unsigned i) {
  return place_semantics((i & 3u) | (i & 12u) << 1) | TSR_LEAF;
}

static void leaf_write(tsr_ref leaf, uint64_t word) {
  unsigned kind = vm_kind_of(leaf);
  for (size_t s = 0; s < vm_slots(kind, vm_count_of(leaf)); s++) {
    vm_set(vm.m, leaf, vm_slot_index(kind, s), word);
  }
}

static void leaf_check(unsigned i, uint64_t word) {
  tsr_ref leaf = vm_ref(roots[i].word);
  unsigned kind = vm_kind_of(leaf);
  ck_assert_uint_eq(kind, slotted[i % SLOTTED].kind);
  for (size_t s = 0; s < vm_slots(kind, vm_count_of(leaf)); s++) {
    ck_assert_uint_eq(vm_get(vm.m, leaf, vm_slot_index(kind, s)), word);
  }
}

/* The targets are cells: no leaf is one. Each leaf is full of one target's address. */
START_TEST(leaf_objects_are_never_scanned) {
  static const tsr_semantics target_placements[TARGETS] = {TSR_DEFAULT, TSR_LARGE, TSR_NON_MOVING};
  uint64_t words[16u * SLOTTED];
  tsr_slot *targets = &roots[LEAVES];
  start_calm("64M");
  for (unsigned i = 0; i < LEAVES; i++) {
    tsr_semantics semantics = leaf_semantics(i / (unsigned)SLOTTED);
    tsr_ref leaf =
        place_must(&vm, semantics, slotted[i % SLOTTED].kind, i, slotted[i % SLOTTED].count);
    roots[i].word = vm_word(leaf);
  }
  for (unsigned t = 0; t < TARGETS; t++) {
    targets[t].word = vm_word(place_must(&vm, target_placements[t], CELL, t, 0));
  }
  for (unsigned i = 0; i < LEAVES; i++) {
    words[i] = targets[i % TARGETS].word;
    leaf_write(vm_ref(roots[i].word), words[i]);
  }
  for (unsigned round = 0; round < 3; round++) {
    vm_collect(&vm);
    place_verify(&vm);
    for (unsigned i = 0; i < LEAVES; i++) {
      leaf_check(i, words[i]);
    }
    if (vm_collects) ck_assert_uint_eq(vm_enumerate(vm.m).by_kind[CELL], round == 0 ? TARGETS : 0);
    memset(targets, 0, TARGETS * sizeof *targets); /* after the first round only leaves hold them */
  }
  drop_roots();
  vm_collect(&vm);
  if (vm_collects) ck_assert_uint_eq(vm_enumerate(vm.m).objects, LEAVES / 4); /* the immortal */
  stop();
}
END_TEST

/* Words of every bit pattern, where a scanned object would be an error of the VM. */
START_TEST(leaf_objects_may_hold_anything) {
  start("32M");
  uint64_t seeds[PLACE_COMBINATIONS];
  for (unsigned c = 0; c < PLACE_COMBINATIONS; c++) {
    tsr_semantics semantics = place_semantics(c) | TSR_LEAF;
    tsr_ref leaf = place_must(&vm, semantics, VECTOR, c, 500);
    roots[c].word = vm_word(leaf);
    uint64_t base = vm_word(leaf) & ~(uint64_t)0xfffff;
    seeds[c] = base;
    for (unsigned i = 0; i < 500; i++) { /* addresses all around the object, aligned or not */
      vm_set(vm.m, leaf, 2 + i, base + (uint64_t)i * 0x1537);
    }
  }
  for (unsigned round = 0; round < 3; round++) {
    vm_collect(&vm);
    for (unsigned c = 0; c < PLACE_COMBINATIONS; c++) {
      for (unsigned i = 0; i < 500; i++) {
        ck_assert_uint_eq(vm_get(vm.m, vm_ref(roots[c].word), 2 + i),
                          seeds[c] + (uint64_t)i * 0x1537);
      }
    }
  }
  stop();
}
END_TEST

/* What was a leaf is gone: an object in the same memory is scanned. */
START_TEST(leaf_is_forgotten_with_its_object) {
  start_calm("16M");
  unsigned rounds = vm_collects ? 12 : 2;
  for (unsigned round = 0; round < rounds; round++) {
    tsr_semantics leaf = round % 2 == 0 ? TSR_LEAF : 0;
    for (unsigned i = 0; i < 200; i++) {
      static const tsr_semantics placements[] = {TSR_NON_MOVING, TSR_DEFAULT, TSR_NON_MOVING,
                                                 TSR_LARGE};
      roots[i].word = vm_word(place_must(&vm, placements[i % 4] | leaf, VECTOR, i, 20));
      if (leaf == 0) give_children(&roots[i], 20);
    }
    vm_collect(&vm);
    for (unsigned i = 0; i < 200 && leaf == 0; i++) {
      check_children(vm_ref(roots[i].word), 20);
    }
    drop_roots();
    vm_collect(&vm);
    if (vm_collects) ck_assert_uint_eq(vm_enumerate(vm.m).objects, 0);
  }
  stop();
}
END_TEST

#define HUBS       600u
#define HUB_SLOTS  200u
#define HUB_LEAVES ((HUB_SLOTS - 2) / 2)

/* A chain of hubs, each with pairs in two placements, every second one a leaf full of `word`. The next
   hub comes first or last, by turns, so that whichever end a tracer begins at, in every second hub it goes
   on to the next before it is through with the pairs: more of them wait than it can remember. */
static size_t next_slot(unsigned hub) {
  return hub % 2 == 0 ? 0 : HUB_SLOTS - 1;
}

static void make_hubs(uint64_t word) {
  for (unsigned h = 0; h < HUBS; h++) {
    roots[1].word = vm_word(place_must(&vm, TSR_DEFAULT, VECTOR, h, HUB_SLOTS));
    vm_set(vm.m, vm_ref(roots[1].word), 2 + next_slot(h), roots[0].word);
    for (unsigned i = 1; i < HUB_SLOTS - 1; i++) {
      bool leaf = i % 2 == 0;
      tsr_semantics placement = i % 4 < 2 ? TSR_DEFAULT : TSR_NON_MOVING;
      tsr_ref pair = place_must(&vm, placement | (leaf ? TSR_LEAF : 0), PAIR, i, 0);
      vm_set(vm.m, pair, 1, leaf ? word : FIXNUM(i));
      vm_set(vm.m, pair, 2, leaf ? word : FIXNUM(h));
      vm_set(vm.m, vm_ref(roots[1].word), 2 + i, vm_word(pair));
    }
    roots[0].word = roots[1].word;
  }
  roots[1].word = 0;
}

static void check_hubs(uint64_t word) {
  uint64_t at = roots[0].word;
  for (unsigned h = HUBS; h-- > 0; at = vm_get(vm.m, vm_ref(at), 2 + next_slot(h))) {
    ck_assert_uint_eq(vm_tag_of(vm_ref(at)), h);
    for (unsigned i = 1; i < HUB_SLOTS - 1; i++) {
      tsr_ref pair = vm_ref(vm_get(vm.m, vm_ref(at), 2 + i));
      ck_assert_uint_eq(vm_tag_of(pair), i);
      ck_assert_uint_eq(vm_get(vm.m, pair, 1), i % 2 == 0 ? word : FIXNUM(i));
      ck_assert_uint_eq(vm_get(vm.m, pair, 2), i % 2 == 0 ? word : FIXNUM(h));
    }
  }
  ck_assert_uint_eq(at, 0);
}

START_TEST(leaf_objects_stay_unscanned_where_tracing_is_hard) {
  start_calm("16M");
  roots[2].word = vm_word(place_must(&vm, TSR_NON_MOVING, CELL, 0, 0));
  uint64_t word = roots[2].word;
  make_hubs(word);
  for (unsigned round = 0; round < 3; round++) {
    vm_collect(&vm);
    place_verify(&vm);
    check_hubs(word);
    vm_census census = vm_enumerate(vm.m);
    ck_assert_uint_eq(census.by_kind[PAIR], HUBS * 2 * HUB_LEAVES);
    if (vm_collects) ck_assert_uint_eq(census.by_kind[CELL], round == 0 ? 1 : 0);
    roots[2].word = 0; /* from here on only leaves hold it */
  }
  stop();
}
END_TEST

/* ---- A002-08: which allocator serves what -------------------------------------------------- */

_Static_assert(offsetof(tsr_mutator, bump) == 0, "the pairs come first");
_Static_assert(sizeof(tsr_bump_pointer) == 16, "two words");
_Static_assert(offsetof(tsr_mutator, bump[TSR_DEFAULT]) == 0, "the pair of default placement");
_Static_assert(offsetof(tsr_mutator, bump[TSR_IMMORTAL]) == 32, "the pair of immortal placement");
_Static_assert(offsetof(tsr_mutator, bump[TSR_NON_MOVING]) == 48,
               "the pair of non-moving placement");
_Static_assert(TSR_PLACEMENTS <= TSR_BUMP_POINTERS, "the placement is the index of its pair");

START_TEST(a002_08_every_combination_has_an_allocator) {
  start("16M");
  for (unsigned c = 0; c < PLACE_COMBINATIONS; c++) {
    tsr_semantics semantics = place_semantics(c);
    tsr_allocator_info info = tsr_allocator_mapping(vm.heap, semantics);
    if (place_of(semantics) == TSR_LARGE || place_sealable(semantics)) {
      ck_assert_msg(info.kind == TSR_ALLOCATOR_CALL, "%s", place_name(semantics));
      continue;
    }
    ck_assert_msg(info.kind == TSR_ALLOCATOR_BUMP, "%s", place_name(semantics));
    ck_assert_uint_eq(info.pair_offset,
                      offsetof(tsr_mutator, bump) + place_of(semantics) * sizeof(tsr_bump_pointer));
    ck_assert_uint_eq(info.max_inline_bytes, TSR_MAX_INLINE_BYTES);
  }
  place_check_facts(&vm);
  stop();
}
END_TEST

static const tsr_semantics bumped[] = {TSR_DEFAULT, TSR_IMMORTAL, TSR_NON_MOVING};

static tsr_ref by_offset_new(tsr_semantics placement, unsigned tag, size_t count, bool checked) {
  size_t size = vm_size(BYTES, count);
  uint32_t pair = tsr_allocator_mapping(vm.heap, placement).pair_offset;
  void *memory = tsr_alloc_by_offset(vm.m, pair, size, TSR_OBJECT_ALIGN, 0);
  ck_assert_ptr_nonnull(memory);
  vm_init_object(memory, BYTES, tag, count);
  if (checked || size > TSR_MAX_INLINE_BYTES) {
    ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)memory, size, placement), TSR_OK);
  } else {
    tsr_post_alloc_default(vm.m, memory, size);
  }
  vm_fill((tsr_ref)memory, tag);
  return (tsr_ref)memory;
}

/* The first misses, the second hits the pair that the first left: as in default placement. */
START_TEST(a002_08_hits_move_the_pair_of_the_placement_alone) {
  start_calm("32M");
  for (unsigned b = 0; b < 3; b++) {
    tsr_bump_pointer *pair = &vm.m->bump[bumped[b]];
    ck_assert_msg(pair->cursor == 0 && pair->limit == 0, "a new mutator's pairs are empty");
    roots[b].word = vm_word(by_offset_new(bumped[b], b, 48, true));
    ck_assert_uint_eq(pair->cursor, roots[b].word + 64);
    ck_assert_uint_ge(pair->limit, pair->cursor);
    ck_assert_msg(pair->limit - pair->cursor >= KIB, "a buffer of 2 KiB or more");
    tsr_bump_pointer before[TSR_BUMP_POINTERS];
    memcpy(before, vm.m->bump, sizeof before);
    tsr_ref second = by_offset_new(bumped[b], b, 48, true);
    ck_assert_uint_eq(vm_word(second), before[bumped[b]].cursor);
    before[bumped[b]].cursor += 64;
    ck_assert_msg(memcmp(before, vm.m->bump, sizeof before) == 0, "another pair changed");
  }
  vm_collect(&vm);
  for (unsigned p = 0; vm_collects && p < TSR_BUMP_POINTERS; p++) {
    ck_assert_msg(vm.m->bump[p].cursor == 0 && vm.m->bump[p].limit == 0, "pair %u is left over", p);
  }
  stop();
}
END_TEST

START_TEST(a002_08_objects_by_offset_are_those_of_the_placement) {
  enum { EACH = 400 };
  uint64_t where[3 * EACH];
  start_calm("32M");
  tsr_slot table[3 * EACH] = {{0}};
  ck_assert_int_eq(tsr_root_add(vm.heap, table, 3 * EACH, TSR_ROOT_PRECISE, NULL, NULL), TSR_OK);
  for (unsigned i = 0; i < 3 * EACH; i++) {
    size_t count = i % 97 < 3 ? TSR_MAX_INLINE_BYTES + 8 * (size_t)i : 8 * (size_t)(i % 50);
    table[i].word = where[i] = vm_word(by_offset_new(bumped[i % 3], i, count, i % 2 == 0));
  }
  for (unsigned round = 0; round < 3; round++) {
    vm_collect(&vm);
    for (unsigned i = 0; i < 3 * EACH; i++) {
      tsr_ref object = vm_ref(table[i].word);
      ck_assert_uint_eq(vm_tag_of(object), i);
      ck_assert(vm_filled(object, i));
      size_t size = tsr_object_size(vm.heap, object, NULL);
      if (place_stays(bumped[i % 3], size)) ck_assert_uint_eq(table[i].word, where[i]);
    }
  }
  memset(table, 0, sizeof table);
  for (unsigned round = 0; round < 2; round++) {
    vm_collect(&vm);
    vm_garbage(vm.m, MIB);
    for (unsigned i = 1; i < 3 * EACH; i += 3) { /* immortal, of any size, and nobody's */
      ck_assert_uint_eq(vm_tag_of(vm_ref(where[i])), i);
      ck_assert(vm_filled(vm_ref(where[i]), i));
    }
  }
  vm_collect(&vm);
  if (vm_collects) ck_assert_uint_eq(vm_enumerate(vm.m).objects, EACH);
  ck_assert_int_eq(tsr_root_remove(vm.heap, table, NULL), TSR_OK);
  stop();
}
END_TEST

START_TEST(a002_04_alignment_by_offset_where_nothing_moves) {
  start("32M");
  for (unsigned b = 1; b < 3; b++) { /* default placement has a matrix of its own */
    uint32_t pair = tsr_allocator_mapping(vm.heap, bumped[b]).pair_offset;
    for (unsigned i = 0; i < ALIGNS * OFFSETS; i++) {
      for (unsigned k = 0; k < 3; k++) {
        void *memory = tsr_alloc_by_offset(vm.m, pair, 40, matrix_align(i), matrix_offset(i));
        ck_assert_ptr_nonnull(memory);
        check_aligned(vm_word(memory), i, bumped[b], "by offset");
        vm_init_filler(memory, 40);
        ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)memory, 40, bumped[b]), TSR_OK);
      }
    }
  }
  if (!vm_collects) ck_assert_uint_eq(vm_enumerate(vm.m).objects, 6 * ALIGNS * OFFSETS);
  stop();
}
END_TEST

/* ---- all together -------------------------------------------------------------------------- */

START_TEST(lives_of_all_kinds_side_by_side) {
  enum { LIVES = 128, IMMORTALS = 64 };
  uint64_t seeds[LIVES] = {0};
  uint64_t where[LIVES] = {0};
  tsr_semantics semantics[LIVES] = {0};
  uint64_t immortal[IMMORTALS];
  unsigned immortals = 0;
  uint64_t seed = 20250101;
  printf("seed %llu\n", (unsigned long long)seed);
  start("32M");
  unsigned steps = vm_collects ? 20000 : 300;
  for (unsigned i = 0; i < steps; i++) {
    unsigned r = (unsigned)(vm_random(&seed) % LIVES);
    if (roots[r].word != 0) {
      size_t size = tsr_object_size(vm.heap, vm_ref(roots[r].word), NULL);
      ck_assert(vm_filled(vm_ref(roots[r].word), seeds[r]));
      if (place_stays(semantics[r], size)) ck_assert_uint_eq(roots[r].word, where[r]);
    }
    semantics[r] = place_semantics((unsigned)(vm_random(&seed) % PLACE_COMBINATIONS));
    bool full = immortals == IMMORTALS;
    if (place_of(semantics[r]) == TSR_IMMORTAL && full) semantics[r] ^= TSR_IMMORTAL;
    seeds[r] = i;
    size_t count = vm_random(&seed) % 64 == 0 ? vm_random(&seed) % 100000 : mixed_count(&seed);
    roots[r].word = 0;
    tsr_ref object = place_must(&vm, semantics[r], BYTES, i, count);
    vm_fill(object, i);
    roots[r].word = where[r] = vm_word(object);
    if (place_of(semantics[r]) == TSR_IMMORTAL) immortal[immortals++] = where[r];
    if (i % 2000 == 1999) place_verify(&vm);
  }
  drop_roots();
  vm_collect(&vm);
  if (vm_collects) {
    vm_census census = vm_enumerate(vm.m);
    ck_assert_uint_eq(census.objects, immortals);
    ck_assert_uint_eq(census.by_kind[BYTES], immortals);
  }
  for (unsigned i = 0; i < immortals; i++) {
    ck_assert(tsr_heap_contains(vm.heap, vm_ref(immortal[i])));
    ck_assert_uint_eq(vm_kind_of(vm_ref(immortal[i])), BYTES);
  }
  stop();
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, every_combination_allocates_and_survives);
  tcase_add_test(tests, memory_comes_zeroed_in_every_combination);
  tcase_add_test(tests, a002_04_every_alignment_in_every_combination);
  tcase_add_test(tests, references_lead_from_and_to_every_combination);
  tcase_add_test(tests, chains_through_all_placements);
  tcase_add_test(tests, immortal_objects_stay_and_keep_alive);
  tcase_add_test(tests, many_small_immortal_objects);
  tcase_add_test(tests, non_moving_garbage_lowers_used_memory);
  tcase_add_test(tests, non_moving_churn_of_a_hundred_heaps);
  tcase_add_test(tests, non_moving_objects_of_one_size_after_another);
  tcase_add_test(tests, holes_of_one_size_serve_again);
  tcase_add_test(tests, holes_of_one_size_serve_smaller_objects);
  tcase_add_test(tests, holes_of_many_sizes_serve_small_objects);
  tcase_add_test(tests, leaf_objects_are_never_scanned);
  tcase_add_test(tests, leaf_objects_may_hold_anything);
  tcase_add_test(tests, leaf_is_forgotten_with_its_object);
  tcase_add_test(tests, leaf_objects_stay_unscanned_where_tracing_is_hard);
  tcase_add_test(tests, a002_08_every_combination_has_an_allocator);
  tcase_add_test(tests, a002_08_hits_move_the_pair_of_the_placement_alone);
  tcase_add_test(tests, a002_08_objects_by_offset_are_those_of_the_placement);
  tcase_add_test(tests, a002_04_alignment_by_offset_where_nothing_moves);
  tcase_add_test(tests, lives_of_all_kinds_side_by_side);
}

int main(void) {
  return vm_main("semantics", add);
}
