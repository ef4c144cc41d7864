/*
 * Identity hashes: an object's stays the same, wherever collections take the object; objects that have
 * not moved have different ones; and what dead objects took comes back.
 */

#include "children.h"
#include "weak_fixture.h"

static uint64_t hash_of(tsr_ref object) {
  tsr_error error = {0};
  uint64_t hash = 0;
  tsr_status status = tsr_identity_hash(vm.m, object, &hash, &error);
  ck_assert_msg(status == TSR_OK, "tsr_identity_hash: %s", error.message);
  return hash;
}

/* Of the object at each root, as it was first told. */
static uint64_t hashes[ROOTS];

static void hash_roots(unsigned first, unsigned end) {
  for (unsigned i = first; i < end; i++)
    hashes[i] = hash_of(vm_ref(roots[i].word));
}

static void check_hashes(unsigned first, unsigned end) {
  for (unsigned i = first; i < end; i++) {
    uint64_t hash = hash_of(vm_ref(roots[i].word));
    ck_assert_msg(hash == hashes[i], "object %u: %#llx, not %#llx", i, (unsigned long long)hash,
                  (unsigned long long)hashes[i]);
  }
}

/* ---- for life ------------------------------------------------------------------------------- */

#define KINDS (VM_KINDS - 1u)
#define SETS  4u

/* Of every placement and kind, some small and one large. */
static unsigned make_all(void) {
  static const size_t counts[SETS] = {0, 1, 7, 2500};
  unsigned made = 0;
  for (unsigned combination = 0; combination < PLACE_COMBINATIONS; combination++) {
    tsr_semantics semantics = place_semantics(combination);
    for (unsigned k = 0; k < KINDS * SETS; k++) {
      unsigned kind = 1 + k % KINDS;
      if (k / KINDS > 0 && vm_size(kind, 1) == vm_size(kind, 2)) continue;
      if (k / KINDS == SETS - 1 && combination % 4 != 0) continue;
      tsr_ref object = make_in(semantics, kind, made, counts[k / KINDS]);
      if (place_sealable(semantics)) ck_assert_int_eq(tsr_seal(vm.m, object, NULL), TSR_OK);
      roots[made++].word = vm_word(object);
      make(BYTES, 0, 100);
    }
  }
  return made;
}

/* The sizes that the heap tells are those of the layouts. */
static void check_sizes(unsigned count) {
  place_set wanted = {0};
  for (unsigned i = 0; i < count; i++)
    place_set_add(&wanted, roots[i].word, tsr_object_size(vm.heap, vm_ref(roots[i].word), NULL));
  place_heap_holds(&vm, &wanted, false, "hashed");
  place_set_free(&wanted);
}

START_TEST(a_hash_stays_in_every_placement) {
  begin_plainly("64M");
  unsigned made = make_all();
  hash_roots(0, made);
  for (unsigned round = 0; round < 5; round++) {
    check_hashes(0, made);
    for (unsigned i = 0; i < made; i++)
      ck_assert(is_made(roots[i].word, vm_kind_of(vm_ref(roots[i].word)), i));
    vm_garbage(vm.m, 300 * KIB);
    vm_collect(&vm);
  }
  check_hashes(0, made);
  stop();
}
END_TEST

/* No collection comes in between, so addresses can be compared. */
START_TEST(sizes_are_the_layouts) {
  start_calm("64M");
  unsigned made = make_all();
  hash_roots(0, made);
  for (unsigned round = 0; round < 3; round++) {
    check_sizes(made);
    vm_collect(&vm);
    check_hashes(0, made);
  }
  stop();
}
END_TEST

/* Some are asked before each collection; in the end all have been, after different numbers of moves. */
START_TEST(a_hash_may_be_asked_for_at_any_time) {
  enum { OBJECTS = 4000, STEP = 500 };
  begin_plainly("64M");
  for (unsigned i = 0; i < OBJECTS; i++) {
    roots[i].word = vm_word(make(1 + i % KINDS, i, i % 5));
    if (i % 3 == 0) make(BYTES, 0, 40);
  }
  for (unsigned asked = 0; asked < OBJECTS; asked += STEP) {
    /* Those of one step lie far apart, and between others that have none. */
    for (unsigned i = asked; i < asked + STEP; i++) {
      unsigned other = (i * 1237u) % OBJECTS;
      uint64_t swap = roots[i].word;
      roots[i].word = roots[other >= i ? other : i].word;
      roots[other >= i ? other : i].word = swap;
    }
    hash_roots(asked, asked + STEP);
    vm_garbage(vm.m, 100 * KIB);
    vm_collect(&vm);
    check_hashes(0, asked + STEP);
    place_verify(&vm);
  }
  stop();
}
END_TEST

START_TEST(pinned_objects_and_their_neighbours_keep_their_hashes) {
  enum { OBJECTS = 3000 };
  begin_plainly("32M");
  for (unsigned i = 0; i < OBJECTS; i++)
    roots[i].word = vm_word(make(i % 2 == 0 ? RECORD : CELL, i, 0));
  hash_roots(0, OBJECTS / 2);
  for (unsigned i = 0; i < OBJECTS; i += 100)
    ck_assert_int_eq(tsr_pin(vm.m, vm_ref(roots[i].word), NULL), TSR_OK);
  vm_collect(&vm);
  check_hashes(0, OBJECTS / 2);
  hash_roots(OBJECTS / 2, OBJECTS);
  for (unsigned round = 0; round < 3; round++) {
    vm_garbage(vm.m, 100 * KIB);
    vm_collect(&vm);
    check_hashes(0, OBJECTS);
  }
  for (unsigned i = 0; i < OBJECTS; i += 100)
    ck_assert_int_eq(tsr_unpin(vm.m, vm_ref(roots[i].word), NULL), TSR_OK);
  for (unsigned round = 0; round < 3; round++) {
    vm_collect(&vm);
    check_hashes(0, OBJECTS);
  }
  stop();
}
END_TEST

/*
 * While an ephemeron waits, its key's first word is elsewhere. The key is found through the value of another: of the one
 * before in the first half, and in the second half of the one behind, for which of them waits depends on the order.
 */
START_TEST(keys_of_ephemerons_keep_their_hashes) {
  enum { LINKS = 1000, HALF = LINKS / 2, KEYS = LINKS };
  begin_plainly("32M");
  for (unsigned i = 0; i < LINKS; i++) {
    roots[i].word = vm_word(make_ephemeron(TSR_DEFAULT));
    roots[KEYS + i].word = vm_word(make(i % 2 == 0 ? RECORD : CELL, i, 0));
  }
  for (unsigned i = 0; i < LINKS; i++) {
    unsigned leads_to = i < HALF ? i + 1 : i - 1;
    set_pair(roots[i].word, roots[KEYS + i].word, roots[KEYS + leads_to].word);
  }
  hash_roots(KEYS, KEYS + LINKS);
  memset(&roots[KEYS + 1], 0, (LINKS - 2) * sizeof roots[0]);
  for (unsigned round = 0; round < 4; round++) {
    vm_garbage(vm.m, 100 * KIB);
    vm_collect(&vm);
    for (unsigned i = 0; i < LINKS; i++) {
      unsigned leads_to = i < HALF ? i + 1 : i - 1;
      ck_assert_uint_eq(hash_of(vm_ref(key_of(roots[i].word))), hashes[KEYS + i]);
      ck_assert_uint_eq(hash_of(vm_ref(value_of(roots[i].word))), hashes[KEYS + leads_to]);
    }
  }
  stop();
}
END_TEST

START_TEST(keys_of_weak_tables_keep_their_hashes) {
  enum { KEYS = 2000 };
  begin_plainly("32M");
  tsr_error error = {0};
  tsr_weak_table *table = tsr_weak_table_new(vm.heap, TSR_WEAK_KEYS, &error);
  ck_assert_msg(table != NULL, "%s", error.message);
  for (unsigned i = 0; i < KEYS; i++) {
    roots[i].word = vm_word(make(RECORD, i, 0));
    hashes[i] = hash_of(vm_ref(roots[i].word));
    uint64_t value = FIXNUM(i);
    tsr_weak_key key = {.word = roots[i].word, .hash = hashes[i]};
    tsr_status status = tsr_weak_table_put(vm.m, table, &key, &value, TSR_WEAK_REPLACE, &error);
    ck_assert_msg(status == TSR_OK, "%s", error.message);
  }
  for (unsigned round = 0; round < 4; round++) {
    vm_collect(&vm);
    check_hashes(0, KEYS);
    for (unsigned i = 0; i < KEYS; i++) {
      uint64_t value = 0;
      tsr_weak_key key = {.word = roots[i].word, .hash = hash_of(vm_ref(roots[i].word))};
      ck_assert(tsr_weak_table_get(vm.m, table, &key, &value));
      ck_assert_uint_eq(value, FIXNUM(i));
    }
  }
  tsr_weak_table_free(table);
  stop();
}
END_TEST

/* ---- a table by identity -------------------------------------------------------------------- */

/* In a vector of vectors, as many as a program's table may have; beside the heap a table by hash. */
START_TEST(a_table_by_identity_finds_everything) {
  enum { ROW = 500 };
  unsigned rows = many(200), places = 4 * rows * ROW;
  begin_plainly("96M");
  uint64_t *table = calloc(places, sizeof *table), *numbers = calloc(places, sizeof *numbers);
  ck_assert(table != NULL && numbers != NULL);
  for (unsigned i = 0; i < rows * ROW; i++) {
    if (i % ROW == 0) roots[i / ROW].word = vm_word(make(VECTOR, 0, ROW));
    tsr_ref object = make(i % 3 == 0 ? CELL : PAIR, i, 0);
    vm_set(vm.m, vm_ref(roots[i / ROW].word), vm_slot_index(VECTOR, i % ROW), vm_word(object));
    uint64_t hash = hash_of(object);
    unsigned at = (unsigned)(hash % places);
    while (numbers[at] != 0)
      at = (at + 1) % places;
    table[at] = hash;
    numbers[at] = i + 1;
  }
  for (unsigned round = 0; round < 3; round++) {
    vm_garbage(vm.m, 200 * KIB);
    vm_collect(&vm);
    for (unsigned i = 0; i < rows * ROW; i++) {
      tsr_ref row = vm_ref(roots[i / ROW].word);
      tsr_ref object = vm_ref(vm_get(vm.m, row, vm_slot_index(VECTOR, i % ROW)));
      ck_assert_uint_eq(vm_tag_of(object), i & 0xffff);
      uint64_t hash = hash_of(object);
      unsigned at = (unsigned)(hash % places);
      while (numbers[at] != 0 && (table[at] != hash || numbers[at] != i + 1))
        at = (at + 1) % places;
      ck_assert_msg(numbers[at] == i + 1, "round %u: object %u is not found", round, i);
    }
  }
  free(table);
  free(numbers);
  stop();
}
END_TEST

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

/* Each eight bits of them are spread well enough for a table, from whichever end it takes them. */
START_TEST(hashes_differ_and_spread) {
  enum { OBJECTS = 8192, BUCKETS = 256, EVEN = OBJECTS / BUCKETS };
  unsigned buckets[8][BUCKETS] = {{0}};
  start_calm("32M");
  for (unsigned i = 0; i < OBJECTS; i++)
    roots[i].word = vm_word(make(i % 2 == 0 ? CELL : RECORD, i, 0));
  vm_collect(&vm);
  hash_roots(0, OBJECTS);
  for (unsigned i = 0; i < OBJECTS; i++) {
    for (unsigned byte = 0; byte < 8; byte++)
      buckets[byte][hashes[i] >> (8 * byte) & (BUCKETS - 1)]++;
  }
  qsort(hashes, OBJECTS, sizeof hashes[0], by_value);
  for (unsigned i = 1; i < OBJECTS; i++)
    ck_assert_msg(hashes[i] != hashes[i - 1], "two objects have %#llx",
                  (unsigned long long)hashes[i]);
  for (unsigned i = 0; i < 8 * BUCKETS; i++) {
    unsigned got = buckets[i / BUCKETS][i % BUCKETS];
    ck_assert_msg(got > 0 && got < 4 * EVEN, "byte %u is %#x in %u hashes", i / BUCKETS,
                  i % BUCKETS, got);
  }
  stop();
}
END_TEST

/* ---- threads -------------------------------------------------------------------------------- */

#define THREADS 4u
#define SHARED  2000u
#define ROUNDS  4u

typedef struct asking {
  pthread_barrier_t barrier;
  uint64_t hashes[THREADS][SHARED];
} asking;

/* All ask for the same objects at the same time, and the first of them collects in between. */
static void ask_together(vm_thread *self) {
  asking *a = self->arg;
  for (unsigned round = 0; round < ROUNDS; round++) {
    unsigned known = (round + 1) * SHARED / ROUNDS;
    vm_wait(self->m, &a->barrier);
    for (unsigned i = 0; i < known; i++) {
      uint64_t hash = 0;
      EXPECT(self, tsr_identity_hash(self->m, vm_ref(roots[i].word), &hash, NULL) == TSR_OK);
      EXPECT(self, i >= known - SHARED / ROUNDS || hash == a->hashes[self->index][i]);
      a->hashes[self->index][i] = hash;
    }
    vm_wait(self->m, &a->barrier);
    if (self->index != 0 || !vm_collects) continue;
    EXPECT(self, tsr_collect(self->m, NULL) == TSR_OK);
  }
}

START_TEST(threads_get_the_same_hash) {
  static asking a;
  start("32M");
  for (unsigned i = 0; i < SHARED; i++)
    roots[i].word = vm_word(make(i % 2 == 0 ? RECORD : CELL, i, 0));
  pthread_barrier_init(&a.barrier, NULL, THREADS);
  vm_threads(&vm, THREADS, ask_together, &a);
  pthread_barrier_destroy(&a.barrier);
  for (unsigned i = 0; i < SHARED; i++) {
    uint64_t hash = hash_of(vm_ref(roots[i].word));
    for (unsigned t = 0; t < THREADS; t++)
      ck_assert_uint_eq(a.hashes[t][i], hash);
  }
  stop();
}
END_TEST

/* ---- memory --------------------------------------------------------------------------------- */

static uint64_t table_bytes(void) {
  tsr_memory_share shares[64];
  size_t count = tsr_heap_memory(vm.heap, shares, 64);
  for (size_t i = 0; i < count; i++) {
    if (strcmp(shares[i].name, "identity hashes") == 0) return shares[i].bytes;
  }
  ck_abort_msg("no share of the heap's memory is called \"identity hashes\"");
}

START_TEST(what_dead_objects_took_comes_back) {
  enum { OBJECTS = 5000, LASTING = 10 };
  start_alone("32M");
  for (unsigned i = 0; i < LASTING; i++)
    roots[i].word = vm_word(make(PAIR, i, 0));
  hash_roots(0, LASTING);
  for (unsigned round = 0; round < 10; round++) {
    for (unsigned i = 0; i < OBJECTS; i++)
      hash_of(make(PAIR, i, 0));
    ck_assert_uint_le(table_bytes(), 64 * OBJECTS);
    vm_collect(&vm);
    ck_assert_uint_le(table_bytes(), 8 * KIB);
    check_hashes(0, LASTING);
  }
  stop();
}
END_TEST

/* Fills the heap with rows of the smallest objects, up to the last; returns how many rows are whole. */
static unsigned fill_with_cells(unsigned row) {
  unsigned rows = 0;
  for (; rows < ROOTS; rows++) {
    tsr_ref vector = vm_new(vm.m, VECTOR, 0, row);
    if (vector == NULL) break;
    roots[rows].word = vm_word(vector);
    unsigned i = 0;
    for (; i < row; i++) {
      tsr_ref cell = vm_new(vm.m, CELL, i, 0);
      if (cell == NULL) break;
      vm_set(vm.m, vm_ref(roots[rows].word), vm_slot_index(VECTOR, i), vm_word(cell));
    }
    if (i < row) break;
  }
  ck_assert_uint_lt(rows, ROOTS);
  return rows;
}

/*
 * Every object of a heap that is full is asked for its hash: copies double, or there is no memory for the table. The
 * collections that follow keep every object and every hash that was told.
 */
START_TEST(a_full_heap_is_hashed) {
  enum { ROW = 100 };
  start_alone("2M");
  unsigned rows = fill_with_cells(ROW), refused = 0;
  uint64_t *known = calloc((size_t)rows * ROW, sizeof *known);
  bool *told = calloc((size_t)rows * ROW, sizeof *told);
  ck_assert(known != NULL && told != NULL);
  for (unsigned round = 0; round < 4; round++) {
    for (unsigned i = 0; i < rows * ROW; i++) {
      tsr_ref cell =
          vm_ref(vm_get(vm.m, vm_ref(roots[i / ROW].word), vm_slot_index(VECTOR, i % ROW)));
      tsr_error error = {0};
      uint64_t hash = 12345;
      tsr_status status = tsr_identity_hash(vm.m, cell, &hash, &error);
      ck_assert_uint_eq(vm_tag_of(cell), i % ROW);
      if (status != TSR_OK) {
        ck_assert_int_eq(status, TSR_OUT_OF_MEMORY);
        ck_assert_uint_eq(hash, 12345);
        ck_assert_msg(vm_says(error.message, "identity hash"), "%s", error.message);
        ck_assert(!told[i]);
        refused++;
        continue;
      }
      ck_assert_msg(!told[i] || hash == known[i], "round %u, object %u", round, i);
      told[i] = true;
      known[i] = hash;
    }
    tsr_stats stats = vm_stats(&vm);
    ck_assert_uint_le(stats.committed_bytes, 2 * MIB);
    vm_collect(&vm);
    place_verify(&vm);
  }
  /* With most of them gone there is room for the rest. */
  for (unsigned i = 0; i < rows; i++) {
    if (i % 16 != 0) roots[i].word = 0;
  }
  vm_collect(&vm);
  vm_collect(&vm);
  for (unsigned i = 0; i < rows * ROW && vm_collects; i++) {
    if (i / ROW % 16 != 0) continue;
    tsr_ref cell =
        vm_ref(vm_get(vm.m, vm_ref(roots[i / ROW].word), vm_slot_index(VECTOR, i % ROW)));
    ck_assert(hash_of(cell) == known[i] || !told[i]);
  }
  (void)vm_take_ooms(&vm, NULL);
  free(known);
  free(told);
  stop();
}
END_TEST

/*
 * Copies that are twice as large as the objects have room: what was asked for counts. The heap is as full as it
 * lets itself become before it collects; still no object has to be kept in place.
 */
START_TEST(copies_that_grow_have_room) {
  enum { CELLS = 225000 };
  start_alone("8M");
  roots[0].word = vm_word(make_in(TSR_LARGE, VECTOR, 0, CELLS));
  for (unsigned i = 0; i < CELLS; i++) {
    tsr_ref cell = make(CELL, i, 0);
    vm_set(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, i), vm_word(cell));
  }
  vm_collect(&vm);
  uint64_t *where = calloc(CELLS, sizeof *where), *known = calloc(CELLS, sizeof *known);
  ck_assert(where != NULL && known != NULL);
  for (unsigned i = 0; i < CELLS && vm_is("semispace"); i++) {
    where[i] = vm_get(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, i));
    known[i] = hash_of(vm_ref(where[i]));
  }
  tsr_collection_disable(vm.heap);
  while (vm_new(vm.m, CELL, 0, 0) != NULL) {
  }
  (void)vm_take_ooms(&vm, NULL);
  ck_assert_int_eq(tsr_collection_enable(vm.heap, NULL), TSR_OK);
  vm_collect(&vm);
  for (unsigned i = 0; i < CELLS && vm_is("semispace"); i++) {
    uint64_t now = vm_get(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, i));
    ck_assert_uint_eq(hash_of(vm_ref(now)), known[i]);
    ck_assert_msg(now != where[i], "object %u was kept in place", i);
  }
  free(where);
  free(known);
  stop();
}
END_TEST

/* ---- objects that shrink ---------------------------------------------------------------------- */

START_TEST(a_shrunk_object_keeps_its_hash) {
  enum { OBJECTS = 400, COUNT = 40 };
  start_calm("32M");
  for (unsigned i = 0; i < OBJECTS; i++)
    roots[i].word = vm_word(make(i % 2 == 0 ? VECTOR : BYTES, i, COUNT));
  hash_roots(0, OBJECTS / 2);
  for (size_t count = COUNT; count > 0; count -= 8) {
    vm_collect(&vm);
    check_hashes(0, OBJECTS / 2);
    for (unsigned i = 0; i < OBJECTS; i++) {
      tsr_ref object = vm_ref(roots[i].word);
      tsr_error error = {0};
      tsr_status status = tsr_shrink(vm.m, object, vm_size(vm_kind_of(object), count - 8), &error);
      ck_assert_msg(status == TSR_OK, "%s", error.message);
      vm_slot(object, 1)->word = count - 8;
      ck_assert_uint_eq(tsr_object_size(vm.heap, object, NULL),
                        vm_size(vm_kind_of(object), count - 8));
      ck_assert(vm_filled(object, i));
    }
    check_hashes(0, OBJECTS / 2);
    check_sizes(OBJECTS);
    place_verify(&vm);
  }
  /* Its size is still the layout's: no object can be "shrunk" to what it has with the hash. */
  tsr_ref object = vm_ref(roots[0].word);
  ck_assert_int_eq(tsr_shrink(vm.m, object, vm_size(VECTOR, 1), NULL), TSR_INVALID_ARGUMENT);
  stop();
}
END_TEST

/* ---- misuse, fork ------------------------------------------------------------------------------ */

static void expect_refusal(tsr_ref object, tsr_status wanted) {
  tsr_error error = {0};
  uint64_t hash = 12345;
  ck_assert_int_eq(tsr_identity_hash(vm.m, object, &hash, &error), wanted);
  ck_assert_int_eq(error.status, wanted);
  ck_assert_msg(vm_says(error.message, "tsr_identity_hash"), "%s", error.message);
  ck_assert_uint_eq(hash, 12345);
  ck_assert_int_eq(tsr_identity_hash(vm.m, object, &hash, NULL), wanted);
}

START_TEST(what_is_no_object_has_no_hash) {
  start("16M");
  uint64_t local[4] = {vm_header(PAIR, 0), 0, 0, 0};
  roots[0].word = vm_word(make(RECORD, 1, 0));
  expect_refusal(NULL, TSR_INVALID_ARGUMENT);
  expect_refusal((tsr_ref)(void *)local, TSR_INVALID_ARGUMENT);
  expect_refusal(vm_ref(roots[0].word + 4), TSR_INVALID_ARGUMENT);
  expect_refusal(vm_ref(~(uint64_t)7), TSR_INVALID_ARGUMENT);
  uint64_t hash = hash_of(vm_ref(roots[0].word));
  tsr_enter_native(vm.m);
  tsr_error error = {0};
  uint64_t untouched = 12345;
  ck_assert_int_eq(tsr_identity_hash(vm.m, NULL, &untouched, &error), TSR_BUSY);
  ck_assert_msg(vm_says(error.message, "tsr_identity_hash"), "%s", error.message);
  ck_assert_uint_eq(untouched, 12345);
  tsr_leave_native(vm.m);
  vm_collect(&vm);
  ck_assert_uint_eq(hash_of(vm_ref(roots[0].word)), hash);
  stop();
}
END_TEST

#define FAMILY 500u

/* In the child: hashes are as they were, and new ones can be had. */
static bool child_knows(void *context) {
  (void)context;
  for (unsigned round = 0; round < 3; round++) {
    for (unsigned i = 0; i < FAMILY; i++) {
      uint64_t hash = 0;
      if (tsr_identity_hash(vm.m, vm_ref(roots[i].word), &hash, NULL) != TSR_OK) return false;
      if (i < FAMILY / 2 ? hash != hashes[i] : round > 0 && hash != hashes[i]) return false;
      hashes[i] = hash;
    }
    if (tsr_collect(vm.m, NULL) != (vm_collects ? TSR_OK : TSR_UNSUPPORTED)) return false;
  }
  return true;
}

START_TEST(both_sides_of_a_fork_know_the_hashes) {
  vm_init(&vm);
  vm_pin(&vm, "heap_max", "16M");
  if (VM_SANITIZED) vm_pin(&vm, "threads", "1"); /* the child may start no threads */
  vm_start(&vm);
  open_roots();
  for (unsigned i = 0; i < FAMILY; i++)
    roots[i].word = vm_word(make(RECORD, i, 0));
  hash_roots(0, FAMILY / 2);
  vm_collect(&vm);
  assert_forked_child(vm.m, child_knows, NULL);
  vm_collect(&vm);
  check_hashes(0, FAMILY / 2);
  stop();
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, threads_get_the_same_hash);
  if (vm_wants_threads()) return;
  tcase_add_test(tests, a_hash_stays_in_every_placement);
  tcase_add_test(tests, sizes_are_the_layouts);
  tcase_add_test(tests, a_hash_may_be_asked_for_at_any_time);
  tcase_add_test(tests, pinned_objects_and_their_neighbours_keep_their_hashes);
  tcase_add_test(tests, keys_of_ephemerons_keep_their_hashes);
  tcase_add_test(tests, keys_of_weak_tables_keep_their_hashes);
  tcase_add_test(tests, a_table_by_identity_finds_everything);
  tcase_add_test(tests, hashes_differ_and_spread);
  tcase_add_test(tests, what_dead_objects_took_comes_back);
  tcase_add_test(tests, a_full_heap_is_hashed);
  tcase_add_test(tests, copies_that_grow_have_room);
  tcase_add_test(tests, a_shrunk_object_keeps_its_hash);
  tcase_add_test(tests, what_is_no_object_has_no_hash);
  tcase_add_test(tests, both_sides_of_a_fork_know_the_hashes);
}

int main(void) {
  return vm_main("identity", add);
}
