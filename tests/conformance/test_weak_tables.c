/*
 * A001-17, F25: weak tables, of interned names too. Entries go when, and only when, what their table's mode names is
 * dead; the others are found wherever their objects have moved.
 *
 * What keeps an object alive in these tests is a table of roots. It holds everything while a test builds, as
 * a collection may come at any time; then roots go, without an allocation in between, and collections show
 * which entries are left. Under a plan that never collects nothing ever goes.
 */
#include "weak_fixture.h"

#define MODES 3

/* ---- fixture ----------------------------------------------------------------------------- */

/* What dies when something else has gone takes collections of its own. */
static void collect_twice(void) {
  vm_collect(&vm);
  vm_collect(&vm);
}

/* Collects; then the heap holds so many objects, where anything is ever freed. */
static void expect_left(size_t n) {
  vm_collect(&vm);
  expect_objects(n);
}

/* ---- tables ------------------------------------------------------------------------------ */

static tsr_weak_table *make_table(int mode) {
  tsr_error error = {0};
  tsr_weak_table *table = tsr_weak_table_new(vm.heap, (tsr_weak_mode)mode, &error);
  ck_assert_msg(table != NULL, "tsr_weak_table_new: %s", error.message);
  ck_assert_uint_eq(tsr_weak_table_count(table), 0);
  return table;
}

/* The hash of a number, which is a tag as a rule. */
static uint64_t hash_of(uint64_t number) {
  return (number + 1) * 0x9e3779b97f4a7c15u;
}

static tsr_weak_key by_word(uint64_t word, uint64_t hash) {
  return (tsr_weak_key){.word = word, .hash = hash};
}

static bool has_tag(void *context, uint64_t key) {
  const unsigned *tag = context;
  return vm_tag_of(vm_ref(key)) == *tag;
}

/* Finds an object by its content. */
static tsr_weak_key by_tag(unsigned *tag) {
  return (tsr_weak_key){.hash = hash_of(*tag), .equal = has_tag, .context = tag};
}

static void put_key(tsr_weak_table *table, const tsr_weak_key *key, uint64_t value) {
  tsr_error error = {0};
  uint64_t held = value;
  tsr_status status = tsr_weak_table_put(vm.m, table, key, &held, TSR_WEAK_REPLACE, &error);
  ck_assert_msg(status == TSR_OK, "tsr_weak_table_put: %s", error.message);
  ck_assert_uint_eq(held, value);
}

static void put(tsr_weak_table *table, uint64_t word, uint64_t hash, uint64_t value) {
  tsr_weak_key key = by_word(word, hash);
  put_key(table, &key, value);
}

/* An object as the key, with the hash of its tag. */
static void put_object(tsr_weak_table *table, uint64_t object, uint64_t value) {
  put(table, object, hash_of(vm_tag_of(vm_ref(object))), value);
}

/* With what is to be stored where the key is new; what the entry holds then. */
static uint64_t keep(tsr_weak_table *table, const tsr_weak_key *key, uint64_t value) {
  tsr_error error = {0};
  tsr_status status = tsr_weak_table_put(vm.m, table, key, &value, TSR_WEAK_KEEP, &error);
  ck_assert_msg(status == TSR_OK, "tsr_weak_table_put: %s", error.message);
  return value;
}

#define UNTOUCHED 0xa5a5a5a5a5a5a5a5u

static void expect_key(tsr_weak_table *table, const tsr_weak_key *key, uint64_t value) {
  uint64_t found = UNTOUCHED;
  ck_assert(tsr_weak_table_get(vm.m, table, key, &found));
  ck_assert_uint_eq(found, value);
}

static void expect_no_key(tsr_weak_table *table, const tsr_weak_key *key) {
  uint64_t found = UNTOUCHED;
  ck_assert(!tsr_weak_table_get(vm.m, table, key, &found));
  ck_assert_uint_eq(found, UNTOUCHED);
}

static void expect(tsr_weak_table *table, uint64_t word, uint64_t hash, uint64_t value) {
  tsr_weak_key key = by_word(word, hash);
  expect_key(table, &key, value);
}

static void expect_none(tsr_weak_table *table, uint64_t word, uint64_t hash) {
  tsr_weak_key key = by_word(word, hash);
  expect_no_key(table, &key);
}

static void take_out(tsr_weak_table *table, uint64_t word, uint64_t hash) {
  tsr_weak_key key = by_word(word, hash);
  ck_assert(tsr_weak_table_remove(vm.m, table, &key));
  ck_assert(!tsr_weak_table_remove(vm.m, table, &key));
  expect_no_key(table, &key);
}

/* So many, where anything ever goes; else `all`. */
static void expect_count(tsr_weak_table *table, size_t left, size_t all) {
  ck_assert_uint_eq(tsr_weak_table_count(table), vm_collects ? left : all);
}

/* The value of the key of a tag; 0: there is no such entry. */
static uint64_t value_of_tag(tsr_weak_table *table, unsigned tag) {
  tsr_weak_key key = by_tag(&tag);
  uint64_t value = 0;
  tsr_weak_table_get(vm.m, table, &key, &value);
  return value;
}

/* An entry of two records is there, or not: then under a plan that never collects it is there all the same. */
static void check_entry(tsr_weak_table *table, bool lives, unsigned key, unsigned value) {
  uint64_t word = value_of_tag(table, key);
  if (lives || !vm_collects) {
    ck_assert_msg(is_made(word, RECORD, value), "the value of %u is not what it was", key);
  } else {
    ck_assert_msg(word == 0, "the entry of %u is still there", key);
  }
}

/* Bytes that the heap holds for its tables. */
static uint64_t memory_of_tables(void) {
  tsr_memory_share shares[64];
  size_t n = tsr_heap_memory(vm.heap, shares, 64);
  ck_assert_uint_le(n, 64);
  for (size_t i = 0; i < n; i++) {
    if (strcmp(shares[i].name, "weak tables") == 0) return shares[i].bytes;
  }
  ck_abort_msg("the heap has no memory of type \"weak tables\"");
}

/* ---- modes ------------------------------------------------------------------------------- */

static bool mode_keeps(int mode, bool key_lives, bool value_lives) {
  if (mode == TSR_WEAK_KEYS) return key_lives;
  if (mode == TSR_WEAK_VALUES) return value_lives;
  return key_lives && value_lives;
}

/* Key i is the record 2 * i, and its value the one after. What is kept: neither, key, value, both, and so on. */
static void build_four_cases(tsr_weak_table *table, unsigned n) {
  for (unsigned i = 0; i < n; i++) {
    roots[2 * i].word = vm_word(make(RECORD, 2 * i, 0));
    roots[2 * i + 1].word = vm_word(make(RECORD, 2 * i + 1, 0));
    put_object(table, roots[2 * i].word, roots[2 * i + 1].word);
    make(BYTES, 0, 200); /* garbage, so that there is a reason to move */
  }
  ck_assert_uint_eq(tsr_weak_table_count(table), n);
}

static void check_four_cases(tsr_weak_table *table, int mode, unsigned n) {
  for (unsigned i = 0; i < n; i++) {
    check_entry(table, mode_keeps(mode, i % 4 & 1, i % 4 & 2), 2 * i, 2 * i + 1);
    uint64_t key = roots[2 * i].word;
    uint64_t value = roots[2 * i + 1].word;
    if (key != 0 && value != 0) expect(table, key, hash_of(2 * i), value);
  }
}

START_TEST(a001_17_entries_go_with_what_their_mode_names) {
  start("32M");
  unsigned n = many(800) / 4 * 4;
  tsr_weak_table *table = make_table(_i);
  build_four_cases(table, n);
  for (unsigned round = 0; round < 3; round++) { /* as long as all live nothing goes */
    vm_collect(&vm);
    vm_garbage(vm.m, 100 * KIB);
    ck_assert_uint_eq(tsr_weak_table_count(table), n);
    for (unsigned i = 0; i < n; i++) {
      check_entry(table, true, 2 * i, 2 * i + 1);
      expect(table, roots[2 * i].word, hash_of(2 * i), roots[2 * i + 1].word);
    }
  }
  for (unsigned i = 0; i < n; i++) {
    if ((i % 4 & 1) == 0) roots[2 * i].word = 0;
    if ((i % 4 & 2) == 0) roots[2 * i + 1].word = 0;
  }
  /* Keys: the values of living keys live; values: the keys of living values do. */
  expect_left(_i == TSR_WEAK_BOTH ? n : n / 4 * 5);
  expect_count(table, _i == TSR_WEAK_BOTH ? n / 4 : n / 2, n);
  for (unsigned round = 0; round < 3; round++) {
    check_four_cases(table, _i, n);
    vm_garbage(vm.m, 100 * KIB);
    vm_collect(&vm);
  }
  drop_roots();
  expect_left(0);
  expect_count(table, 0, n);
  stop();
}
END_TEST

/* One collection is enough to drop what a mode drops. */
START_TEST(a001_17_the_next_collection_drops_an_entry) {
  start_calm("16M");
  tsr_weak_table *table = make_table(_i);
  for (unsigned round = 0; round < 20; round++) {
    roots[0].word = vm_word(make(RECORD, 1, 0));
    roots[1].word = vm_word(make(RECORD, 2, 0));
    put_object(table, roots[0].word, roots[1].word);
    roots[_i == TSR_WEAK_VALUES].word = 0;
    vm_collect(&vm);
    expect_count(table, 0, round + 1);
    check_entry(table, false, 1, 2);
  }
  drop_roots();
  expect_left(0);
  stop();
}
END_TEST

/* A pair that refers to a key, or the key itself, is the value: it keeps the key neither in an ephemeron nor
   where nothing is kept. In a table of weak values keys are strong until the value is dead, and keep it. */
START_TEST(a001_17_keys_and_values_that_refer_to_each_other) {
  enum { CASES = 3, MOST = 1500 };
  start("32M");
  unsigned n = many(MOST);
  tsr_weak_table *table = make_table(_i);
  for (unsigned i = 0; i < n; i++) {
    roots[0].word = vm_word(make(PAIR, i, 0));
    roots[1].word = vm_word(make(PAIR, i + MOST, 0));
    if (i % CASES == 0) vm_set(vm.m, vm_ref(roots[1].word), 1, roots[0].word);
    if (i % CASES == 1) vm_set(vm.m, vm_ref(roots[0].word), 2, roots[1].word);
    if (i % CASES == 2) roots[1].word = roots[0].word;
    if (i >= n / 2) roots[2 + i].word = roots[0].word;
    put_object(table, roots[0].word, roots[1].word);
    if (i >= n / 2) roots[2 + MOST + i].word = roots[1].word;
  }
  roots[0].word = roots[1].word = 0;
  for (unsigned round = 0; round < 3; round++) {
    collect_twice();
    for (unsigned i = 0; i < n; i++) {
      uint64_t value = value_of_tag(table, i);
      bool key_keeps = _i == TSR_WEAK_VALUES && i % CASES != 0;
      if (i >= n / 2) {
        ck_assert_uint_eq(value, roots[2 + MOST + i].word);
      } else {
        ck_assert_msg((value != 0) == (key_keeps || !vm_collects), "entry %u, case %u", i,
                      i % CASES);
      }
    }
  }
  tsr_weak_table_free(table);
  drop_roots();
  expect_left(0);
  stop();
}
END_TEST

/* What one table keeps of an entry may be what another goes by. */
START_TEST(a001_17_entries_across_tables) {
  start("16M");
  tsr_weak_table *one = make_table(TSR_WEAK_KEYS);
  tsr_weak_table *other = make_table(TSR_WEAK_KEYS);
  tsr_weak_table *values = make_table(TSR_WEAK_VALUES);
  tsr_weak_table *both = make_table(TSR_WEAK_BOTH);
  for (unsigned i = 0; i < 3; i++)
    roots[i].word = vm_word(make(RECORD, i, 0));
  put_object(one, roots[0].word, roots[1].word);
  put_object(other, roots[1].word, roots[0].word);
  put_object(other, roots[2].word, roots[2].word);
  put_object(both, roots[0].word, roots[1].word);
  put_object(values, roots[2].word, roots[1].word);
  roots[1].word = roots[2].word = 0;
  expect_left(3); /* 0 keeps 1, which keeps 2 */
  check_entry(one, true, 0, 1);
  check_entry(other, true, 1, 0);
  check_entry(other, true, 2, 2);
  check_entry(both, true, 0, 1);
  check_entry(values, true, 2, 1);
  roots[1].word = value_of_tag(one, 0);
  roots[0].word = 0;
  expect_left(3);
  check_entry(both, true, 0, 1);
  roots[1].word = 0;
  expect_left(0);
  expect_count(one, 0, 1);
  expect_count(other, 0, 2);
  expect_count(both, 0, 1);
  expect_count(values, 0, 1);
  stop();
}
END_TEST

/* A value that has another owner, and one that is replaced, or whose entry is removed. */
START_TEST(a001_17_values_change) {
  start("16M");
  unsigned n = many(1000);
  tsr_weak_table *table = make_table(_i);
  for (unsigned i = 0; i < n; i++) {
    roots[i].word = vm_word(make(RECORD, i, 0));
    roots[ROOTS - 1].word = vm_word(make(RECORD, 10000 + i, 0));
    put_object(table, roots[i].word, roots[ROOTS - 1].word);
    roots[n + i].word = vm_word(make(RECORD, 20000 + i, 0));
    if (i % 2 == 0) put_object(table, roots[i].word, roots[n + i].word);
    if (i % 2 == 1) take_out(table, roots[i].word, hash_of(i));
  }
  roots[ROOTS - 1].word = 0;
  expect_left(2 * n);
  ck_assert_uint_eq(tsr_weak_table_count(table), n / 2);
  for (unsigned i = 0; i < n; i++) {
    if (i % 2 == 0) check_entry(table, true, i, 20000 + i);
    if (i % 2 == 1) ck_assert_uint_eq(value_of_tag(table, i), 0);
  }
  drop_roots();
  expect_left(0);
  expect_count(table, 0, n / 2);
  stop();
}
END_TEST

/* ---- chains ------------------------------------------------------------------------------ */

#define CHAIN 20000u

/* Key i is the cell of tag i, and the value of key i - 1. The first is at root 1, all are in a vector at 0. */
static void build_chain(tsr_weak_table *table) {
  static uint32_t order[CHAIN];
  roots[0].word = vm_word(make(VECTOR, 0, CHAIN + 1));
  for (unsigned i = 0; i <= CHAIN; i++) {
    tsr_ref cell = make(CELL, i, 0);
    vm_set(vm.m, vm_ref(roots[0].word), 2 + i, vm_word(cell));
    if (i < CHAIN) order[i] = i;
  }
  shuffle(order, CHAIN);
  for (uint32_t i = 0; i < CHAIN; i++) {
    tsr_ref keys = vm_ref(roots[0].word);
    put_object(table, vm_get(vm.m, keys, 2 + order[i]), vm_get(vm.m, keys, 3 + order[i]));
  }
  roots[1].word = vm_get(vm.m, vm_ref(roots[0].word), 2);
}

static void check_chain(tsr_weak_table *table) {
  uint64_t word = roots[1].word;
  ck_assert_uint_eq(tsr_weak_table_count(table), CHAIN);
  for (unsigned i = 0; i < CHAIN; i++) {
    tsr_weak_key key = by_word(word, hash_of(i));
    ck_assert_msg(tsr_weak_table_get(vm.m, table, &key, &word), "link %u is not there", i);
    ck_assert(is_made(word, CELL, i + 1));
  }
}

static void expect_few_visits(void) {
  uint64_t visits = vm.last_collection.ephemeron_visits;
  if (!vm_collects) return;
  ck_assert_msg(visits >= CHAIN && visits <= 3 * CHAIN, "%llu looks at %u entries",
                (unsigned long long)visits, CHAIN);
}

START_TEST(a001_17_a_chain_of_entries_takes_linear_time) {
  first_seed(_i + 1);
  start_alone("64M"); /* counts what one collection does */
  tsr_weak_table *table = make_table(TSR_WEAK_KEYS);
  build_chain(table);
  vm_collect(&vm);
  expect_few_visits();
  roots[0].word = 0; /* the first key keeps all the others */
  vm_collect(&vm);
  expect_few_visits();
  check_chain(table);
  expect_left(CHAIN + 1);
  check_chain(table);
  roots[1].word = 0;
  vm_collect(&vm);
  expect_few_visits();
  expect_count(table, 0, CHAIN);
  expect_left(0);
  stop();
}
END_TEST

/* ---- entries and ephemerons ---------------------------------------------------------------- */

/* An ephemeron is the value of key i, which is its key too, and key i + 1 is its value. A second table has the
   same keys, and the other's values: so a key that is reached late has several that wait for it. */
START_TEST(a001_17_entries_and_ephemerons_wait_for_the_same_keys) {
  begin_plainly("32M");
  unsigned n = many(1000);
  tsr_weak_table *one = make_table(TSR_WEAK_KEYS);
  tsr_weak_table *other = make_table(TSR_WEAK_KEYS);
  for (unsigned i = 0; i <= n; i++)
    roots[i].word = vm_word(make(RECORD, i, 0));
  for (unsigned i = n; i-- > 0;) {
    uint64_t link = roots[ROOTS - 1 - i].word = vm_word(make_ephemeron(TSR_DEFAULT));
    set_pair(link, roots[i].word, roots[i + 1].word);
    put_object(i % 2 == 0 ? one : other, roots[i].word, link);
    put_object(i % 2 == 0 ? other : one, roots[i].word, FIXNUM(i));
  }
  memset(&roots[1], 0, sizeof roots - sizeof roots[0]);
  for (unsigned round = 0; round < 3; round++) {
    expect_left(2 * n + 1);
    uint64_t key = roots[0].word;
    for (unsigned i = 0; i < n; i++) {
      uint64_t link = value_of_tag(i % 2 == 0 ? one : other, i);
      ck_assert_msg(link != 0, "the entry of %u has gone", i);
      expect(i % 2 == 0 ? other : one, key, hash_of(i), FIXNUM(i));
      ck_assert_uint_eq(key_of(link), key);
      key = value_of(link);
      ck_assert(is_made(key, RECORD, i + 1));
    }
  }
  roots[0].word = 0;
  expect_left(0);
  expect_count(one, 0, n);
  expect_count(other, 0, n);
  stop();
}
END_TEST

/* Of each kind in turn, and every fifth is sealed. */
static tsr_ref make_of_any_kind(unsigned i) {
  unsigned kind = CELL + i % (VM_KINDS - CELL);
  size_t count = kind >= VECTOR && kind <= CUSTOM ? 3 + i % 50 : 0;
  bool sealed = i % 5 == 0;
  tsr_ref object = make_in(sealed ? TSR_READ_ONLY : TSR_DEFAULT, kind, i, count);
  if (sealed) ck_assert_int_eq(tsr_seal(vm.m, object, NULL), TSR_OK);
  return object;
}

/* The value of each object is the next one. */
START_TEST(a001_17_keys_of_every_kind_that_entries_wait_for) {
  enum { N = 80 };
  start("32M");
  tsr_weak_table *table = make_table(TSR_WEAK_KEYS);
  for (unsigned i = 0; i < N; i++)
    roots[i].word = vm_word(make_of_any_kind(i));
  for (unsigned i = N - 1; i-- > 0;)
    put_object(table, roots[i].word, roots[i + 1].word);
  memset(&roots[1], 0, sizeof roots - sizeof roots[0]);
  for (unsigned round = 0; round < 3; round++) {
    expect_left(N);
    for (unsigned i = 0; i + 1 < N; i++)
      ck_assert(is_made(value_of_tag(table, i), CELL + (i + 1) % (VM_KINDS - CELL), i + 1));
  }
  roots[0].word = 0;
  expect_left(0);
  expect_count(table, 0, N - 1);
  stop();
}
END_TEST

/* ---- the VM's own weak things, and its references ------------------------------------------ */

static tsr_slot kept_by_vm;

static bool keep_one(void *data, tsr_weak_phase *phase) {
  (void)data;
  if (kept_by_vm.word != 0) tsr_weak_keep(phase, &kept_by_vm);
  return false;
}

static void forward_one(void *data, tsr_weak_phase *phase) {
  (void)data;
  if (kept_by_vm.word != 0) tsr_weak_forward(phase, &kept_by_vm);
}

/* What process_weak keeps is alive for every table. */
START_TEST(a001_17_entries_of_what_process_weak_keeps) {
  vm_init(&vm);
  vm.binding.process_weak = keep_one;
  vm.binding.forward_weak = forward_one;
  vm_start(&vm);
  open_roots();
  tsr_weak_table *table = make_table(_i);
  roots[0].word = vm_word(make(RECORD, 0, 0));
  roots[1].word = vm_word(make(RECORD, 1, 0));
  roots[2].word = vm_word(make(RECORD, 2, 0));
  put_object(table, roots[0].word, roots[1].word);
  put_object(table, roots[1].word, roots[2].word);
  put_object(table, roots[2].word, roots[0].word);
  kept_by_vm.word = roots[0].word;
  drop_roots();
  /* Keys: 0 keeps all others. Values: each is kept as the key of another. Both: none is kept but 0. */
  size_t left = _i == TSR_WEAK_BOTH ? 0 : 3;
  for (unsigned round = 0; round < 2; round++) {
    expect_left(left == 0 ? 1 : 3);
    expect_count(table, left, 3);
    for (unsigned i = 0; i < 3; i++)
      check_entry(table, left > 0, i, (i + 1) % 3);
    if (left > 0) ck_assert_uint_eq(value_of_tag(table, 2), kept_by_vm.word);
    ck_assert(is_made(kept_by_vm.word, RECORD, 0));
  }
  kept_by_vm.word = 0;
  tsr_weak_table_free(table);
  expect_left(0);
  stop();
}
END_TEST

/* Tags survive. Object i is at root 2 * i, and is a key under the other tag; its value is the one after. */
START_TEST(a001_17_entries_of_a_vm_with_tagged_references) {
  enum { N = 300 };
  prepare("32M");
  vm.binding.references = tagged_references;
  vm.binding.weak_cleared = 6;
  begin();
  tsr_weak_table *table = make_table(_i);
  for (unsigned i = 0; i < N; i++) {
    roots[2 * i].word = tagged(make(RECORD, 2 * i, 0), TAG_A);
    roots[2 * i + 1].word = tagged(make(RECORD, 2 * i + 1, 0), TAG_B);
    make(BYTES, 0, 300);
    put(table, roots[2 * i].word - TAG_A + TAG_B, hash_of(i), roots[2 * i + 1].word);
  }
  for (unsigned i = 0; i < N; i += 2)
    roots[2 * i].word = roots[2 * i + 1].word = 0;
  for (unsigned round = 0; round < 2; round++) {
    collect_twice();
    expect_count(table, N / 2, N);
    for (unsigned i = 1; i < N; i += 2) {
      tsr_weak_key key = by_word(roots[2 * i].word - TAG_A + TAG_B, hash_of(i));
      expect_key(table, &key, roots[2 * i + 1].word);
      ck_assert(is_tagged(roots[2 * i + 1].word, TAG_B, 2 * i + 1));
      expect_none(table, roots[2 * i].word, hash_of(i)); /* another word */
    }
  }
  stop();
}
END_TEST

/* ---- words ------------------------------------------------------------------------------- */

/* Words that are no references never die, and what they are the keys of lives on in a table of weak keys. */
START_TEST(a001_17_words_never_die) {
  static uint64_t outside[2];
  const uint64_t words[] = {0,         FIXNUM(0), FIXNUM(77), FIXNUM(1u << 20), vm_word(outside),
                            UINT64_MAX};
  enum { N = sizeof words / sizeof words[0] };
  start("16M");
  tsr_weak_table *table = make_table(_i);
  tsr_weak_table *objects = make_table(_i);
  for (unsigned i = 0; i < N; i++) {
    put(table, words[i], hash_of(i), words[N - 1 - i]);
    roots[i].word = vm_word(make(RECORD, i, 0));
    put(objects, words[i], hash_of(i), roots[i].word);
  }
  roots[0].word = roots[1].word = 0;
  for (unsigned round = 0; round < 2; round++) {
    expect_left(_i == TSR_WEAK_KEYS ? N : N - 2);
    ck_assert_uint_eq(tsr_weak_table_count(table), N);
    expect_count(objects, _i == TSR_WEAK_KEYS ? N : N - 2, N);
    for (unsigned i = 0; i < N; i++) {
      tsr_weak_key key = by_word(words[i], hash_of(i));
      uint64_t value = 0;
      expect_key(table, &key, words[N - 1 - i]);
      bool lives = i >= 2 || _i == TSR_WEAK_KEYS || !vm_collects;
      ck_assert(tsr_weak_table_get(vm.m, objects, &key, &value) == lives);
      if (lives) ck_assert(is_made(value, RECORD, i));
    }
  }
  stop();
}
END_TEST

/* Objects as keys of words. */
START_TEST(a001_17_words_are_values_of_objects) {
  start("16M");
  tsr_weak_table *table = make_table(_i);
  unsigned n = many(1000);
  for (unsigned i = 0; i < n; i++) {
    roots[i].word = vm_word(make(RECORD, i, 0));
    put_object(table, roots[i].word, FIXNUM(i));
  }
  for (unsigned i = 0; i < n; i += 2)
    roots[i].word = 0;
  bool strong = _i == TSR_WEAK_VALUES; /* the value never dies, so the key is kept */
  expect_left(strong ? n : n / 2);
  expect_count(table, strong ? n : n / 2, n);
  for (unsigned i = 0; i < n; i++) {
    bool lives = strong || i % 2 == 1 || !vm_collects;
    ck_assert_uint_eq(value_of_tag(table, i), lives ? FIXNUM(i) : 0);
    if (i % 2 == 1) expect(table, roots[i].word, hash_of(i), FIXNUM(i));
  }
  stop();
}
END_TEST

/* ---- put --------------------------------------------------------------------------------- */

START_TEST(a001_17_put_replaces_or_keeps) {
  start("16M");
  tsr_weak_table *table = make_table(_i);
  tsr_weak_key key = by_word(FIXNUM(1), 7);
  ck_assert_uint_eq(keep(table, &key, FIXNUM(10)), FIXNUM(10));
  ck_assert_uint_eq(keep(table, &key, FIXNUM(11)), FIXNUM(10));
  expect_key(table, &key, FIXNUM(10));
  put_key(table, &key, FIXNUM(12));
  expect_key(table, &key, FIXNUM(12));
  ck_assert_uint_eq(keep(table, &key, FIXNUM(13)), FIXNUM(12));
  ck_assert_uint_eq(tsr_weak_table_count(table), 1);
  ck_assert(tsr_weak_table_remove(vm.m, table, &key));
  ck_assert(!tsr_weak_table_remove(vm.m, table, &key));
  expect_no_key(table, &key);
  ck_assert_uint_eq(keep(table, &key, FIXNUM(14)), FIXNUM(14));
  expect_key(table, &key, FIXNUM(14));
  stop();
}
END_TEST

/* Two objects are equal keys: the entry keeps the first, and goes with it. */
START_TEST(a001_17_an_entry_keeps_its_first_key) {
  start("16M");
  tsr_weak_table *table = make_table(TSR_WEAK_KEYS);
  unsigned tag = 5;
  roots[0].word = vm_word(make(RECORD, tag, 0));
  roots[1].word = vm_word(make(RECORD, tag, 0));
  put_object(table, roots[0].word, FIXNUM(1));
  tsr_weak_key key = by_tag(&tag);
  key.word = roots[1].word;
  put_key(table, &key, FIXNUM(2));
  ck_assert_uint_eq(keep(table, &key, FIXNUM(3)), FIXNUM(2));
  ck_assert_uint_eq(tsr_weak_table_count(table), 1);
  expect(table, roots[0].word, hash_of(tag), FIXNUM(2));
  expect_none(table, roots[1].word, hash_of(tag));
  roots[1].word = 0;
  expect_left(1);
  expect_count(table, 1, 1);
  roots[1].word = vm_word(make(RECORD, tag, 0));
  roots[0].word = 0;
  expect_left(1);
  expect_count(table, 0, 1);
  stop();
}
END_TEST

/* ---- interning --------------------------------------------------------------------------- */

typedef struct name {
  unsigned number;
  size_t length;
} name;

static name name_of(unsigned number) {
  return (name){number, 5 + number % 40};
}

static bool is_name(void *context, uint64_t key) {
  const name *wanted = context;
  tsr_ref object = vm_ref(key);
  return vm_count_of(object) == wanted->length && vm_filled(object, wanted->number);
}

/* A fresh object with the name in it; NULL: out of memory. */
static tsr_ref new_name(tsr_mutator *m, const name *text) {
  tsr_ref object = vm_new(m, BYTES, 0, text->length);
  if (object != NULL) vm_fill(object, text->number);
  return object;
}

static tsr_weak_key by_name(name *text, uint64_t word) {
  return (tsr_weak_key){
      .word = word, .hash = hash_of(text->number), .equal = is_name, .context = text};
}

/* The symbol of a number: the name object itself, or a pair that refers to it. */
static uint64_t intern(tsr_weak_table *table, unsigned number, bool pairs) {
  name text = name_of(number);
  tsr_ref object = new_name(vm.m, &text);
  ck_assert_ptr_nonnull(object);
  if (!pairs) {
    tsr_weak_key own = by_name(&text, vm_word(object));
    return keep(table, &own, own.word);
  }
  tsr_slot *scratch = &roots[ROOTS - 1];
  scratch->word = vm_word(object);
  tsr_ref pair = make(PAIR, number, 0);
  vm_set(vm.m, pair, 1, scratch->word);
  tsr_weak_key key = by_name(&text, scratch->word);
  scratch->word = 0;
  return keep(table, &key, vm_word(pair));
}

static bool is_symbol(uint64_t word, unsigned number, bool pairs) {
  name text = name_of(number);
  return word != 0 && is_name(&text, pairs ? vm_get(vm.m, vm_ref(word), 1) : word);
}

enum { INTERN_BOTH, INTERN_BOTH_PAIRS, INTERN_VALUES, INTERN_KEYS, INTERN_WAYS };
static const unsigned char intern_mode[INTERN_WAYS] = {TSR_WEAK_BOTH, TSR_WEAK_BOTH,
                                                       TSR_WEAK_VALUES, TSR_WEAK_KEYS};

/* The names of all that are held; and those that nobody holds are gone, and made anew. */
START_TEST(a001_17_interned_names) {
  start("32M");
  bool pairs = _i != INTERN_BOTH;
  unsigned n = many(1500);
  tsr_weak_table *table = make_table(intern_mode[_i]);
  for (unsigned round = 0; round < 4; round++) {
    for (unsigned i = 0; i < n; i++) {
      uint64_t symbol = intern(table, i, pairs);
      ck_assert(is_symbol(symbol, i, pairs));
      if (roots[i].word != 0) ck_assert_uint_eq(symbol, roots[i].word);
      roots[i].word = symbol;
    }
    ck_assert_uint_eq(tsr_weak_table_count(table), n);
    unsigned held = 0;
    for (unsigned i = 0; i < n; i++) {
      if (i % 4 == round) roots[i].word = 0;
      held += i % 4 != round;
    }
    expect_left(pairs ? 2 * held : held);
    expect_count(table, held, n);
    for (unsigned i = 0; i < n; i++) {
      name text = name_of(i);
      tsr_weak_key key = by_name(&text, 0);
      if (roots[i].word != 0) expect_key(table, &key, roots[i].word);
      if (roots[i].word == 0 && vm_collects) expect_no_key(table, &key);
    }
  }
  stop();
}
END_TEST

#define NAMES 1000u
#define TEAM  8u

/* What the threads of a team share. */
typedef struct name_team {
  tsr_weak_table *table;
  tsr_slot *symbols[TEAM]; /* handles: each a vector of what a thread has got */
  pthread_barrier_t all;
} name_team;

/* Interns one name, and puts the symbol into the thread's vector. False: something failed. */
static bool intern_one(vm_thread *self, tsr_slot *scratch, unsigned number) {
  name_team *team = self->arg;
  name text = name_of(number);
  tsr_ref object = new_name(self->m, &text);
  if (object == NULL) return false;
  scratch->word = vm_word(object);
  tsr_ref pair = vm_new(self->m, PAIR, 0, 0);
  if (pair == NULL) return false;
  vm_set(self->m, pair, 1, scratch->word);
  vm_set(self->m, pair, 2, FIXNUM(number));
  tsr_weak_key key = by_name(&text, scratch->word);
  uint64_t value = vm_word(pair);
  if (tsr_weak_table_put(self->m, team->table, &key, &value, TSR_WEAK_KEEP, NULL) != TSR_OK)
    return false;
  tsr_ref vector = vm_ref(team->symbols[self->index]->word);
  vm_set(self->m, vector, 2 + number, value);
  return vm_get(self->m, vm_ref(value), 2) == FIXNUM(number);
}

/* Whether the table still has what the thread holds. */
static bool all_are_found(vm_thread *self) {
  name_team *team = self->arg;
  for (unsigned i = 0; i < NAMES; i++) {
    name text = name_of(i);
    tsr_weak_key key = by_name(&text, 0);
    uint64_t value = 0;
    tsr_ref vector = vm_ref(team->symbols[self->index]->word);
    if (!tsr_weak_table_get(self->m, team->table, &key, &value)) return false;
    if (value != vm_get(self->m, vector, 2 + i)) return false;
  }
  return true;
}

/* Each in an order of its own; and each collects now and then. */
static void intern_all(vm_thread *self) {
  name_team *team = self->arg;
  tsr_scope scope;
  tsr_scope_open(self->m, &scope);
  tsr_slot *scratch = tsr_local(self->m, 0);
  tsr_ref vector = vm_new(self->m, VECTOR, 0, NAMES);
  EXPECT(self, vector != NULL);
  team->symbols[self->index] = tsr_handle_new(self->vm->heap, vm_word(vector), TSR_STRONG, NULL);
  EXPECT(self, team->symbols[self->index] != NULL);
  vm_wait(self->m, &team->all);
  for (unsigned i = 0; i < NAMES; i++) {
    unsigned number = self->index % 2 == 0 ? i : (i * 7 + self->index * 100) % NAMES;
    EXPECT(self, intern_one(self, scratch, number));
    tsr_status expected = vm_collects ? TSR_OK : TSR_UNSUPPORTED;
    if (i % 250 == self->index) EXPECT(self, tsr_collect(self->m, NULL) == expected);
  }
  EXPECT(self, all_are_found(self));
  tsr_scope_close(self->m, &scope);
}

static atomic_bool counting;

/* A thread that is not bound may count. */
static void *count_all_the_time(void *arg) {
  tsr_weak_table *table = arg;
  size_t most = 0;
  while (atomic_load(&counting)) {
    size_t n = tsr_weak_table_count(table);
    if (n > most) most = n;
  }
  return (void *)(uintptr_t)most;
}

static void check_that_all_got_the_same(const name_team *team) {
  for (unsigned i = 0; i < NAMES; i++) {
    uint64_t first = vm_get(vm.m, vm_ref(team->symbols[0]->word), 2 + i);
    ck_assert(is_symbol(first, i, true));
    for (unsigned k = 1; k < TEAM; k++)
      ck_assert_uint_eq(vm_get(vm.m, vm_ref(team->symbols[k]->word), 2 + i), first);
  }
}

START_TEST(a001_17_threads_intern_the_same_names) {
  name_team team = {0};
  pthread_t counter;
  void *most;
  start("64M");
  team.table = make_table(_i);
  pthread_barrier_init(&team.all, NULL, TEAM);
  atomic_store(&counting, true);
  ck_assert_int_eq(pthread_create(&counter, NULL, count_all_the_time, team.table), 0);
  vm_threads(&vm, TEAM, intern_all, &team);
  atomic_store(&counting, false);
  pthread_join(counter, &most);
  ck_assert_uint_le((uintptr_t)most, NAMES);
  pthread_barrier_destroy(&team.all);
  ck_assert_uint_eq(tsr_weak_table_count(team.table), NAMES);
  expect_left(TEAM + 2 * NAMES); /* nobody else's copies are left */
  check_that_all_got_the_same(&team);
  for (unsigned k = 0; k < TEAM; k++)
    ck_assert_int_eq(tsr_handle_free(vm.heap, team.symbols[k], NULL), TSR_OK);
  /* An ephemeron's value does not keep its key; a key that is kept does not keep the pair. */
  expect_left(0);
  expect_count(team.table, 0, NAMES);
  stop();
}
END_TEST

/* ---- hashes ------------------------------------------------------------------------------ */

/* So many words as keys, with the hashes of a list by turns; a third goes, and comes again. */
static void keys_with_hashes(const uint64_t *hashes, size_t hash_count, unsigned n) {
  tsr_weak_table *table = make_table((int)draw(MODES));
  for (unsigned i = 0; i < n; i++)
    put(table, FIXNUM(i), hashes[i % hash_count], FIXNUM(2 * i));
  for (unsigned round = 0; round < 3; round++) {
    ck_assert_uint_eq(tsr_weak_table_count(table), n);
    for (unsigned i = 0; i < n; i++)
      expect(table, FIXNUM(i), hashes[i % hash_count], FIXNUM(2 * i));
    for (unsigned k = 0; k < hash_count; k++)
      expect_none(table, FIXNUM(n + k), hashes[k]);
    for (unsigned i = round; i < n; i += 3)
      take_out(table, FIXNUM(i), hashes[i % hash_count]);
    for (unsigned i = 0; i < n; i++) {
      if (i % 3 == round) expect_none(table, FIXNUM(i), hashes[i % hash_count]);
      if (i % 3 != round) expect(table, FIXNUM(i), hashes[i % hash_count], FIXNUM(2 * i));
    }
    vm_collect(&vm);
    for (unsigned i = round; i < n; i += 3)
      put(table, FIXNUM(i), hashes[i % hash_count], FIXNUM(2 * i));
  }
  tsr_weak_table_free(table);
}

static const uint64_t edge_hashes[] = {0, 1, 2, 3, UINT64_MAX};
#define EDGE_HASHES (sizeof edge_hashes / sizeof edge_hashes[0])

START_TEST(a001_17_keys_whose_hashes_collide) {
  static const uint64_t three[] = {17, UINT64_C(1) << 32, UINT64_C(0xffff0000ffff0000)};
  first_seed(_i + 1);
  start("16M");
  keys_with_hashes(edge_hashes, 1, 300);
  keys_with_hashes(edge_hashes, EDGE_HASHES, EDGE_HASHES);
  keys_with_hashes(edge_hashes, EDGE_HASHES, 500);
  keys_with_hashes(three, 3, 1000);
  stop();
}
END_TEST

/* What `equal` knows of the key it is asked for: records, whose hashes are those of the list, by tag. */
typedef struct question {
  unsigned tag;
  unsigned asked, wrong;
} question;

static bool is_asked_for(void *context, uint64_t key) {
  question *q = context;
  unsigned tag = vm_tag_of(vm_ref(key));
  q->asked++;
  q->wrong += edge_hashes[tag % EDGE_HASHES] != edge_hashes[q->tag % EDGE_HASHES];
  return tag == q->tag;
}

/* `equal` is asked for keys whose hash is the same, and hardly for others: here for those of one other hash. */
START_TEST(a001_17_equal_is_asked_for_keys_of_the_same_hash) {
  enum { N = 100 };
  start("16M");
  tsr_weak_table *table = make_table(_i);
  for (unsigned i = 0; i < N; i++) {
    question q = {.tag = i};
    roots[i].word = vm_word(make(RECORD, i, 0));
    tsr_weak_key key = {roots[i].word, edge_hashes[i % EDGE_HASHES], is_asked_for, &q};
    put_key(table, &key, roots[i].word);
    ck_assert_msg(q.wrong <= N / EDGE_HASHES, "asked for %u keys of other hashes", q.wrong);
  }
  vm_collect(&vm);
  for (unsigned i = 0; i < N; i++) {
    question q = {.tag = i};
    tsr_weak_key key = {0, edge_hashes[i % EDGE_HASHES], is_asked_for, &q};
    expect_key(table, &key, roots[i].word);
    ck_assert_uint_ge(q.asked, 1);
    ck_assert_msg(q.wrong <= N / EDGE_HASHES, "asked for %u keys of other hashes", q.wrong);
  }
  stop();
}
END_TEST

/* Objects with three hashes; half of them die, in the midst of the others. */
START_TEST(a001_17_dead_entries_among_entries_of_the_same_hash) {
  start("16M");
  unsigned n = many(1000);
  tsr_weak_table *table = make_table(_i);
  for (unsigned round = 0; round < 3; round++) {
    for (unsigned i = 0; i < n; i++) {
      if (roots[i].word == 0) roots[i].word = vm_word(make(RECORD, i, 0));
      uint64_t value = roots[i].word;
      put(table, roots[i].word, i % 3, _i == TSR_WEAK_VALUES ? FIXNUM(i) : value);
    }
    for (unsigned i = 0; i < n; i++)
      expect(table, roots[i].word, i % 3, _i == TSR_WEAK_VALUES ? FIXNUM(i) : roots[i].word);
    for (unsigned i = round; i < n; i += 2)
      roots[i].word = 0;
    collect_twice();
    for (unsigned i = 0; i < n; i++) {
      if (roots[i].word == 0) continue;
      expect(table, roots[i].word, i % 3, _i == TSR_WEAK_VALUES ? FIXNUM(i) : roots[i].word);
    }
    unsigned held = 0;
    for (unsigned i = 0; i < n; i++)
      held += roots[i].word != 0;
    if (_i != TSR_WEAK_VALUES) expect_count(table, held, tsr_weak_table_count(table));
  }
  stop();
}
END_TEST

/* ---- growth ------------------------------------------------------------------------------ */

static size_t growth(void) {
  return VM_SANITIZED || vm_verifies ? 20000 : 100000;
}

static void put_words(tsr_weak_table *table, size_t from, size_t to) {
  for (size_t i = from; i < to; i++)
    put(table, FIXNUM(i), hash_of(i), FIXNUM(3 * i));
}

static void expect_words(tsr_weak_table *table, size_t from, size_t to) {
  for (size_t i = from; i < to; i++)
    expect(table, FIXNUM(i), hash_of(i), FIXNUM(3 * i));
}

/* Words come and go until the table has become as small as this; it has a few turns for each word there was. */
static void use_until_small(tsr_weak_table *table, uint64_t bytes, size_t words) {
  for (size_t i = 0; i < 8 * words && memory_of_tables() > bytes; i++) {
    uint64_t number = 1000 * 1000 + i;
    put(table, FIXNUM(number), hash_of(number), FIXNUM(1));
    take_out(table, FIXNUM(number), hash_of(number));
  }
  ck_assert_msg(memory_of_tables() <= bytes, "the tables still hold %llu bytes, not %llu",
                (unsigned long long)memory_of_tables(), (unsigned long long)bytes);
}

START_TEST(a001_17_a_table_grows_and_shrinks) {
  size_t n = growth();
  start_alone("64M"); /* measures memory */
  uint64_t without = memory_of_tables();
  tsr_weak_table *table = make_table(_i);
  for (unsigned round = 0; round < 3; round++) {
    put_words(table, 0, n);
    ck_assert_uint_eq(tsr_weak_table_count(table), n);
    expect_words(table, 0, n);
    uint64_t full = memory_of_tables();
    ck_assert_uint_ge(full, n * 16);
    vm_collect(&vm);
    for (size_t i = 100; i < n; i++)
      take_out(table, FIXNUM(i), hash_of(i));
    ck_assert_uint_eq(tsr_weak_table_count(table), 100);
    expect_words(table, 0, 100);
    vm_collect(&vm);
    use_until_small(table, full / 16, n);
    expect_words(table, 0, 100);
    ck_assert_uint_eq(tsr_weak_table_count(table), 100);
  }
  tsr_weak_table_free(table);
  ck_assert_uint_eq(memory_of_tables(), without);
  stop();
}
END_TEST

/* The same where entries go with their keys and values. */
START_TEST(a001_17_a_table_shrinks_after_deaths) {
  enum { N = 20000 };
  start_alone("64M"); /* measures memory */
  tsr_weak_table *table = make_table(_i);
  for (unsigned round = 0; round < 2; round++) {
    roots[0].word = vm_word(make(VECTOR, 0, N));
    for (unsigned i = 0; i < N; i++) {
      tsr_ref cell = make(CELL, i, 0);
      vm_set(vm.m, vm_ref(roots[0].word), 2 + i, vm_word(cell));
      uint64_t key = _i == TSR_WEAK_VALUES ? FIXNUM(i) : vm_word(cell);
      put(table, key, hash_of(i), vm_word(cell));
    }
    uint64_t full = memory_of_tables();
    roots[0].word = 0;
    expect_left(0);
    expect_count(table, 0, tsr_weak_table_count(table));
    if (!vm_collects) continue;
    ck_assert_uint_lt(memory_of_tables(), full / 16); /* without another entry */
    use_until_small(table, full / 16, N);
  }
  stop();
}
END_TEST

/* An emptied table that is used for ten words, always the same ones, does not keep what it once needed. */
START_TEST(a001_17_an_emptied_table_shrinks_in_use) {
  size_t n = growth();
  start_alone("64M"); /* measures memory */
  tsr_weak_table *table = make_table(_i);
  put_words(table, 0, n);
  uint64_t full = memory_of_tables();
  for (size_t i = 0; i < n; i++)
    take_out(table, FIXNUM(i), hash_of(i));
  vm_collect(&vm);
  for (size_t i = 0; i < 2 * n && memory_of_tables() > full / 16; i++) {
    put_words(table, i % 10, i % 10 + 1);
    take_out(table, FIXNUM(i % 10), hash_of(i % 10));
    if (i % n == 0) vm_collect(&vm);
  }
  ck_assert_msg(memory_of_tables() <= full / 16, "an empty table still holds %llu bytes of %llu",
                (unsigned long long)memory_of_tables(), (unsigned long long)full);
  stop();
}
END_TEST

/* What a table holds counts as the heap's: it is in the sum of what is committed. */
START_TEST(a001_17_the_memory_of_tables_is_the_heaps) {
  start_alone("64M"); /* measures memory */
  tsr_memory_share shares[64];
  tsr_weak_table *table = make_table(TSR_WEAK_BOTH);
  uint64_t before = vm_stats(&vm).committed_bytes;
  uint64_t tables = memory_of_tables();
  put_words(table, 0, growth());
  uint64_t after = vm_stats(&vm).committed_bytes;
  ck_assert_uint_ge(after - before, memory_of_tables() - tables);
  size_t n = tsr_heap_memory(vm.heap, shares, 64);
  uint64_t sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += shares[i].bytes;
  ck_assert_uint_eq(sum, after);
  stop();
}
END_TEST

/* ---- each -------------------------------------------------------------------------------- */

typedef struct visits {
  unsigned count;
  unsigned char times[4096];
  bool objects;
} visits;

static void count_visit(void *context, uint64_t key, uint64_t value) {
  visits *v = context;
  uint64_t number = v->objects ? vm_tag_of(vm_ref(key)) : key >> 3;
  v->count++;
  ck_assert_uint_lt(number, sizeof v->times);
  ck_assert_uint_eq(value, v->objects ? key : FIXNUM(3 * number));
  v->times[number]++;
}

START_TEST(a001_17_each_sees_every_entry_once) {
  static visits v;
  start("16M");
  tsr_weak_table *table = make_table(_i);
  tsr_weak_table_each(vm.m, table, count_visit, &v);
  ck_assert_uint_eq(v.count, 0);
  put_words(table, 0, 4000);
  for (unsigned i = 0; i < 4000; i += 3)
    take_out(table, FIXNUM(i), hash_of(i));
  for (unsigned round = 0; round < 2; round++) {
    memset(&v, 0, sizeof v);
    tsr_weak_table_each(vm.m, table, count_visit, &v);
    ck_assert_uint_eq(v.count, tsr_weak_table_count(table));
    for (unsigned i = 0; i < 4000; i++)
      ck_assert_uint_eq(v.times[i], i % 3 != 0);
    vm_collect(&vm);
  }
  stop();
}
END_TEST

START_TEST(a001_17_each_sees_what_is_left) {
  static visits v;
  start("16M");
  unsigned n = many(2000);
  tsr_weak_table *table = make_table(_i);
  for (unsigned i = 0; i < n; i++) {
    roots[i].word = vm_word(make(RECORD, i, 0));
    put_object(table, roots[i].word, roots[i].word);
  }
  for (unsigned i = 0; i < n; i += 3)
    roots[i].word = 0;
  vm_collect(&vm);
  memset(&v, 0, sizeof v);
  v.objects = true;
  tsr_weak_table_each(vm.m, table, count_visit, &v);
  ck_assert_uint_eq(v.count, tsr_weak_table_count(table));
  for (unsigned i = 0; i < n; i++) {
    bool lives = i % 3 != 0 || _i == TSR_WEAK_VALUES || !vm_collects;
    ck_assert_msg(v.times[i] == lives, "entry %u was seen %u times", i, v.times[i]);
  }
  stop();
}
END_TEST

/* ---- random operations against a model ---------------------------------------------------- */

enum { POOL = 150, TABLES = 6 };

/* Object i is at root i, a pair of the number i and another object. Between two rounds everything that lives is at
   its root; so nothing goes but when a round ends. -1: nothing. */
static struct model {
  tsr_weak_table *tables[TABLES];
  uint64_t hash_bits[TABLES];
  int value[TABLES][POOL]; /* of the entry whose key is the object */
  int other[POOL];
  bool exists[POOL], rooted[POOL], live[POOL];
} model;

static int mode_of(unsigned t) {
  return (int)(t % MODES);
}

static uint64_t model_hash(unsigned t, unsigned i) {
  return hash_of(i) & model.hash_bits[t];
}

static tsr_weak_key model_key(unsigned t, unsigned *i) {
  tsr_weak_key key = {.word = roots[*i].word, .hash = model_hash(t, *i)};
  if (draw(2) == 0) {
    key.equal = has_tag;
    key.context = i;
  }
  return key;
}

static void model_begin(void) {
  memset(&model, 0, sizeof model);
  memset(model.value, -1, sizeof model.value);
  memset(model.other, -1, sizeof model.other);
  for (unsigned t = 0; t < TABLES; t++) {
    model.tables[t] = make_table(mode_of(t));
    model.hash_bits[t] = t < MODES ? UINT64_MAX : UINT64_C(7) << 40;
  }
}

static void model_make(unsigned i) {
  tsr_ref pair = make(PAIR, i, 0);
  vm_set(vm.m, pair, 1, FIXNUM(i));
  roots[i].word = vm_word(pair);
  model.exists[i] = true;
  model.other[i] = -1;
}

static void model_refer(unsigned i, unsigned k) {
  vm_set(vm.m, vm_ref(roots[i].word), 2, roots[k].word);
  model.other[i] = (int)k;
}

/* One operation on one entry, and what it must say. */
static void model_step(unsigned t, unsigned i, unsigned k) {
  tsr_weak_key key = model_key(t, &i);
  int *value = &model.value[t][i];
  uint64_t held = *value >= 0 ? roots[*value].word : 0;
  switch (draw(6)) {
  case 0:
  case 1:
    put_key(model.tables[t], &key, roots[k].word);
    *value = (int)k;
    break;
  case 2:
    ck_assert_uint_eq(keep(model.tables[t], &key, roots[k].word),
                      *value >= 0 ? held : roots[k].word);
    if (*value < 0) *value = (int)k;
    break;
  case 3:
    ck_assert(tsr_weak_table_remove(vm.m, model.tables[t], &key) == (*value >= 0));
    *value = -1;
    break;
  default:
    if (*value >= 0) expect_key(model.tables[t], &key, held);
    if (*value < 0) expect_no_key(model.tables[t], &key);
  }
}

/* Whether the mark is new. */
static bool model_mark(int i) {
  if (i < 0 || model.live[i]) return false;
  model.live[i] = true;
  return true;
}

static bool model_trace(void) {
  bool changed = false;
  for (unsigned i = 0; i < POOL; i++) {
    if (!model.live[i]) continue;
    changed |= model_mark(model.other[i]);
    for (unsigned t = 0; t < TABLES; t++) {
      if (mode_of(t) == TSR_WEAK_KEYS) changed |= model_mark(model.value[t][i]);
    }
  }
  return changed;
}

/* One collection; whether an entry went. */
static bool model_collect(void) {
  memcpy(model.live, model.rooted, sizeof model.live);
  for (unsigned t = 0; t < TABLES; t++) {
    for (unsigned i = 0; i < POOL && mode_of(t) == TSR_WEAK_VALUES; i++) {
      if (model.value[t][i] >= 0) model_mark((int)i);
    }
  }
  while (model_trace())
    ;
  bool gone = false;
  for (unsigned t = 0; t < TABLES; t++) {
    for (unsigned i = 0; i < POOL; i++) {
      int value = model.value[t][i];
      if (value < 0 || mode_keeps(mode_of(t), model.live[i], model.live[value])) continue;
      model.value[t][i] = -1;
      gone = true;
    }
  }
  return gone;
}

/* An entry's key and value are at their roots again. */
static void find_again(void *context, uint64_t key, uint64_t value) {
  unsigned t = *(const unsigned *)context;
  unsigned i = vm_tag_of(vm_ref(key));
  unsigned k = vm_tag_of(vm_ref(value));
  ck_assert_uint_lt(i, POOL);
  ck_assert_msg(model.value[t][i] == (int)k, "table %u has %u for %u, not %d", t, k, i,
                model.value[t][i]);
  roots[i].word = key;
  roots[k].word = value;
}

/* What lives and is neither a root nor in a table is what another refers to. */
static void model_find_all(void) {
  for (unsigned t = 0; t < TABLES; t++) {
    tsr_weak_table_each(vm.m, model.tables[t], find_again, &t);
    size_t count = 0;
    for (unsigned i = 0; i < POOL; i++)
      count += model.value[t][i] >= 0;
    ck_assert_uint_eq(tsr_weak_table_count(model.tables[t]), count);
  }
  for (unsigned pass = 0; pass < POOL; pass++) {
    for (unsigned i = 0; i < POOL; i++) {
      if (roots[i].word == 0 || model.other[i] < 0) continue;
      uint64_t other = vm_get(vm.m, vm_ref(roots[i].word), 2);
      uint64_t known = roots[model.other[i]].word;
      ck_assert(known == 0 || known == other);
      roots[model.other[i]].word = other;
    }
  }
  for (unsigned i = 0; i < POOL; i++) {
    ck_assert_msg((roots[i].word != 0) == model.exists[i], "object %u", i);
    if (roots[i].word != 0) ck_assert(is_made(roots[i].word, PAIR, i));
  }
}

/* Some roots go; when nothing goes any more, exactly what the model says is left. */
static void model_end_round(void) {
  if (vm_collects) {
    for (unsigned i = 0; i < POOL; i++) {
      model.rooted[i] = model.exists[i] && draw(3) != 0;
      if (!model.rooted[i]) roots[i].word = 0;
    }
    while (model_collect())
      vm_collect(&vm);
    collect_twice();
    memcpy(model.exists, model.live, sizeof model.live);
  }
  model_find_all();
}

START_TEST(a001_17_random_operations_against_a_model) {
  unsigned long long from = first_seed(_i + 1);
  printf("a001_17_random_operations_against_a_model: seed %llu\n", from);
  fflush(stdout);
  start("64M");
  model_begin();
  for (unsigned round = 0; round < 12; round++) {
    for (unsigned i = 0; i < POOL; i++) {
      if (!model.exists[i]) model_make(i);
    }
    for (unsigned i = 0; i < POOL; i++) {
      if (draw(4) == 0) model_refer(i, (unsigned)draw(POOL));
    }
    for (unsigned step = 0; step < 1500; step++) {
      model_step((unsigned)draw(TABLES), (unsigned)draw(POOL), (unsigned)draw(POOL));
      if (draw(400) == 0) vm_collect(&vm);
      if (draw(10) == 0) make(BYTES, 0, 300);
    }
    model_end_round();
  }
  stop();
}
END_TEST

/* ---- no memory --------------------------------------------------------------------------- */

/* With nothing changed. */
static void put_is_refused(tsr_weak_table *table, uint64_t word, uint64_t hash,
                           tsr_status expected) {
  tsr_error error = {0};
  tsr_weak_key key = by_word(word, hash);
  uint64_t value = UNTOUCHED;
  size_t before = tsr_weak_table_count(table);
  ck_assert_int_eq(tsr_weak_table_put(vm.m, table, &key, &value, TSR_WEAK_REPLACE, &error),
                   expected);
  ck_assert_int_eq(error.status, expected);
  ck_assert(error.message[0] != 0);
  ck_assert_uint_eq(value, UNTOUCHED);
  ck_assert_uint_eq(tsr_weak_table_count(table), before);
  value = UNTOUCHED;
  ck_assert_int_eq(tsr_weak_table_put(vm.m, table, &key, &value, TSR_WEAK_KEEP, NULL), expected);
  ck_assert_uint_eq(value, UNTOUCHED);
}

/* Puts words until there is no memory; how many. */
static size_t fill_table(tsr_weak_table *table) {
  enum { MOST = 1 << 20 };
  for (size_t i = 0; i < MOST; i++) {
    tsr_weak_key key = by_word(FIXNUM(i), hash_of(i));
    tsr_error error = {0};
    uint64_t value = FIXNUM(3 * i);
    tsr_status status = tsr_weak_table_put(vm.m, table, &key, &value, TSR_WEAK_REPLACE, &error);
    if (status == TSR_OK) continue;
    ck_assert_int_eq(status, TSR_OUT_OF_MEMORY);
    return i;
  }
  ck_abort_msg("a million entries in 4 MiB");
}

START_TEST(a001_17_a_table_in_a_full_heap) {
  start_alone("4M"); /* fills its heap */
  tsr_weak_table *table = make_table(_i);
  size_t n = fill_table(table);
  ck_assert_uint_gt(n, 1000);
  ck_assert_uint_eq(tsr_weak_table_count(table), n);
  put_is_refused(table, FIXNUM(n), hash_of(n), TSR_OUT_OF_MEMORY);
  expect_none(table, FIXNUM(n), hash_of(n));
  ck_assert_uint_le(vm_stats(&vm).peak_committed_bytes, 4 * MIB);
  for (unsigned round = 0; round < 2; round++) {
    expect_words(table, 0, n);
    put_words(table, 0, 100); /* they are there already */
    tsr_weak_key key = by_word(FIXNUM(5), hash_of(5));
    ck_assert_uint_eq(keep(table, &key, FIXNUM(1)), FIXNUM(15));
    vm_collect(&vm);
  }
  for (size_t i = 100; i < n; i++) {
    tsr_weak_key key = by_word(FIXNUM(i), hash_of(i));
    ck_assert(tsr_weak_table_remove(vm.m, table, &key));
    if (i % 64 == 0) expect_no_key(table, &key); /* slow: there is no memory to tidy up in */
  }
  put_words(table, 100, n / 4);
  expect_words(table, 0, n / 4);
  ck_assert_uint_eq(tsr_weak_table_count(table), n / 4);
  vm_take_errors(&vm, NULL); /* calls without a tsr_error */
  vm_take_ooms(&vm, NULL);
  stop();
}
END_TEST

/* As many as were removed may come again. */
START_TEST(a001_17_a_full_table_takes_what_it_gave) {
  start_alone("4M"); /* fills its heap */
  tsr_weak_table *table = make_table(_i);
  size_t n = fill_table(table);
  for (size_t i = 0; i < 10; i++)
    take_out(table, FIXNUM(i), hash_of(i));
  put_words(table, 0, 10);
  expect_words(table, 0, n);
  vm_take_errors(&vm, NULL);
  vm_take_ooms(&vm, NULL);
  stop();
}
END_TEST

/* The table finds no memory as objects have it, until they are gone. */
START_TEST(a001_17_a_table_grows_when_objects_have_gone) {
  start_alone("4M"); /* fills its heap */
  tsr_weak_table *table = make_table(_i);
  for (;;) {
    tsr_ref vector = vm_new(vm.m, VECTOR, 0, 100);
    if (vector == NULL) break;
    vm_set(vm.m, vector, 2, roots[0].word);
    roots[0].word = vm_word(vector);
  }
  size_t n = fill_table(table);
  put_is_refused(table, FIXNUM(n), hash_of(n), TSR_OUT_OF_MEMORY);
  expect_words(table, 0, n);
  roots[0].word = 0;
  expect_left(0);
  if (vm_collects) {
    put_words(table, n, n + 1000);
    expect_words(table, 0, n + 1000);
  }
  vm_take_errors(&vm, NULL);
  vm_take_ooms(&vm, NULL);
  stop();
}
END_TEST

START_TEST(a001_17_tables_until_there_is_no_memory) {
  enum { MOST = 100000 };
  static tsr_weak_table *tables[MOST];
  start_alone("4M"); /* fills its heap */
  for (unsigned round = 0; round < 2; round++) {
    tsr_error error = {0};
    size_t n = 0;
    while (n < MOST && (tables[n] = tsr_weak_table_new(vm.heap, n % MODES, &error)) != NULL)
      n++;
    ck_assert_uint_gt(n, 100);
    ck_assert_msg(n == MOST || error.status == TSR_OUT_OF_MEMORY, "%s", error.message);
    while (n > 0)
      tsr_weak_table_free(tables[--n]);
  }
  tsr_weak_table *table = make_table(_i);
  put_words(table, 0, 100);
  expect_words(table, 0, 100);
  vm_take_errors(&vm, NULL);
  stop();
}
END_TEST

/* ---- beginning and end ------------------------------------------------------------------- */

/* In any order; keys that a table kept alive die with it. */
START_TEST(a001_17_tables_are_freed_with_their_entries) {
  enum { N = 30, ENTRIES = 20 };
  static tsr_weak_table *tables[N];
  first_seed(1);
  start("16M");
  for (unsigned t = 0; t < N; t++) {
    tables[t] = make_table((int)(t % MODES));
    for (unsigned i = 0; i < ENTRIES; i++) {
      if (t == 0) roots[i].word = vm_word(make(RECORD, i, 0));
      put_object(tables[t], roots[i].word,
                 roots[ENTRIES - 1 - i].word == 0 ? FIXNUM(1) : roots[ENTRIES - 1 - i].word);
    }
  }
  tsr_weak_table_free(NULL);
  for (unsigned left = N; left > 0; left--) {
    unsigned t = (unsigned)draw(left);
    tsr_weak_table_free(tables[t]);
    tables[t] = tables[left - 1];
    vm_collect(&vm);
    for (unsigned k = 0; k + 1 < left; k++)
      ck_assert_uint_eq(tsr_weak_table_count(tables[k]), ENTRIES);
  }
  drop_roots();
  expect_left(0);
  stop();
}
END_TEST

/* Its objects may be reachable or not. */
START_TEST(a001_17_a_heap_ends_with_its_tables) {
  start("16M");
  for (unsigned t = 0; t < 9; t++) {
    tsr_weak_table *table = make_table((int)(t % MODES));
    for (unsigned i = 0; i < 50 * t; i++) {
      roots[i].word = vm_word(make(RECORD, i, 0));
      put_object(table, roots[i].word, i % 2 == 0 ? FIXNUM(i) : roots[i].word);
    }
  }
  if (_i == 1) drop_roots();
  vm_collect(&vm);
  stop();
}
END_TEST

static void *make_unbound(void *arg) {
  int mode = *(const int *)arg;
  return tsr_weak_table_new(vm.heap, (tsr_weak_mode)mode, NULL);
}

/* Any thread may make one; where the heap has no mutators any may free one. */
START_TEST(a001_17_tables_of_threads_without_mutators) {
  pthread_t maker;
  void *made;
  int mode = _i;
  start("16M");
  ck_assert_int_eq(pthread_create(&maker, NULL, make_unbound, &mode), 0);
  pthread_join(maker, &made);
  ck_assert_ptr_nonnull(made);
  put(made, FIXNUM(1), 1, FIXNUM(2));
  expect(made, FIXNUM(1), 1, FIXNUM(2));
  vm_alone(&vm);
  ck_assert_int_eq(tsr_unbind_mutator(vm.m, NULL), TSR_OK);
  ck_assert_uint_eq(tsr_weak_table_count(made), 1);
  tsr_weak_table_free(made);
  tsr_weak_table *table = make_table(mode);
  vm.m = tsr_bind_mutator(vm.heap, &vm, NULL);
  ck_assert_ptr_nonnull(vm.m);
  put(table, FIXNUM(1), 1, FIXNUM(2));
  stop();
}
END_TEST

START_TEST(a001_17_unknown_modes_are_refused) {
  start("16M");
  uint64_t before = memory_of_tables();
  const int modes[] = {MODES, MODES + 1, 255, INT32_MAX, -1};
  for (unsigned i = 0; i < sizeof modes / sizeof modes[0]; i++) {
    tsr_error error = {0};
    ck_assert_ptr_null(tsr_weak_table_new(vm.heap, (tsr_weak_mode)modes[i], &error));
    ck_assert_int_eq(error.status, TSR_INVALID_ARGUMENT);
    ck_assert(error.message[0] != 0);
    ck_assert_ptr_null(tsr_weak_table_new(vm.heap, (tsr_weak_mode)modes[i], NULL));
  }
  ck_assert_uint_eq(memory_of_tables(), before);
  vm_take_errors(&vm, NULL); /* whether a call without a tsr_error was reported */
  stop();
}
END_TEST

START_TEST(a001_17_tables_and_native_code) {
  start("16M");
  static visits v;
  tsr_weak_table *table = make_table(_i);
  put(table, FIXNUM(1), 1, FIXNUM(3));
  tsr_weak_key key = by_word(FIXNUM(1), 1);
  tsr_enter_native(vm.m);
  put_is_refused(table, FIXNUM(1), 1, TSR_BUSY);
  put_is_refused(table, FIXNUM(2), 2, TSR_BUSY);
  expect_no_key(table, &key);
  ck_assert(!tsr_weak_table_remove(vm.m, table, &key));
  tsr_weak_table_each(vm.m, table, count_visit, &v);
  ck_assert_uint_eq(v.count, 0);
  ck_assert_uint_eq(tsr_weak_table_count(table), 1); /* any thread may ask */
  tsr_leave_native(vm.m);
  vm_take_errors(&vm, NULL); /* whether a call without a tsr_error was reported */
  expect_key(table, &key, FIXNUM(3));
  ck_assert_uint_eq(tsr_weak_table_count(table), 1);
  stop();
}
END_TEST

/* ---- finalizers -------------------------------------------------------------------------- */

static void attach(uint64_t word) {
  tsr_error error = {0};
  tsr_status status = tsr_finalizer_attach(vm.m, vm_ref(word), 0, 0, &error);
  ck_assert_msg(status == TSR_OK, "tsr_finalizer_attach: %s", error.message);
}

/* A key that waits for its finalizer has its value, until it dies in the end. */
START_TEST(a001_17_a_key_with_a_finalizer_has_its_entry) {
  start("16M");
  unsigned n = many(200);
  tsr_weak_table *table = make_table(TSR_WEAK_KEYS);
  for (unsigned i = 0; i < n; i++) {
    roots[i].word = vm_word(make(RECORD, i, 0));
    roots[ROOTS - 1].word = vm_word(make(RECORD, 1000 + i, 0));
    put_object(table, roots[i].word, roots[ROOTS - 1].word);
    attach(roots[i].word);
  }
  drop_roots();
  expect_left(2 * n);
  tsr_finalizable ready;
  for (unsigned i = 0; i < n; i++) {
    check_entry(table, true, i, 1000 + i);
    if (!vm_collects) continue;
    ck_assert(tsr_finalizer_next(vm.m, &ready));
    roots[vm_tag_of(ready.object)].word = vm_word(ready.object);
  }
  expect_left(2 * n);
  for (unsigned i = 0; i < n; i++) {
    if (vm_collects) ck_assert_uint_eq(vm_tag_of(vm_ref(roots[i].word)), i);
    check_entry(table, true, i, 1000 + i);
    roots[i].word = 0;
  }
  expect_left(0);
  expect_count(table, 0, n);
  stop();
}
END_TEST

/* The entry of a value is gone when the value is handed out; a stored object gets no entry back. */
START_TEST(a001_17_a_value_with_a_finalizer_has_lost_its_entry) {
  start("16M");
  unsigned n = many(200);
  tsr_weak_table *table = make_table(_i == 0 ? TSR_WEAK_VALUES : TSR_WEAK_BOTH);
  for (unsigned i = 0; i < n; i++) {
    roots[i].word = vm_word(make(RECORD, i, 0));
    roots[n + i].word = vm_word(make(RECORD, 1000 + i, 0));
    put_object(table, roots[i].word, roots[n + i].word);
    attach(roots[n + i].word);
  }
  for (unsigned i = 0; i < n; i++)
    roots[n + i].word = 0;
  vm_collect(&vm);
  expect_count(table, 0, n);
  tsr_finalizable ready;
  for (unsigned i = 0; i < n && vm_collects; i++) {
    ck_assert(tsr_finalizer_next(vm.m, &ready));
    roots[n + i].word = vm_word(ready.object);
  }
  expect_left(2 * n);
  expect_count(table, 0, n);
  for (unsigned i = 0; i < n; i++)
    check_entry(table, false, i, 1000 + i);
  stop();
}
END_TEST

/* What a revived object refers to is a key or a value again. */
START_TEST(a001_17_entries_behind_a_revived_object) {
  start("16M");
  tsr_weak_table *keys = make_table(TSR_WEAK_KEYS);
  tsr_weak_table *values = make_table(TSR_WEAK_VALUES);
  roots[0].word = vm_word(make(PAIR, 0, 0));
  roots[1].word = vm_word(make(RECORD, 1, 0));
  vm_set(vm.m, vm_ref(roots[0].word), 1, roots[1].word);
  roots[2].word = vm_word(make(RECORD, 2, 0));
  roots[3].word = vm_word(make(RECORD, 3, 0));
  put_object(keys, roots[1].word, roots[2].word);
  put_object(keys, roots[2].word, roots[3].word);
  put(values, FIXNUM(1), hash_of(1), roots[3].word);
  attach(roots[0].word);
  drop_roots();
  expect_left(4);
  check_entry(keys, true, 1, 2);
  check_entry(keys, true, 2, 3);
  expect_count(values, 0, 1);
  tsr_finalizable ready;
  ck_assert(tsr_finalizer_next(vm.m, &ready) == vm_collects);
  expect_left(0);
  expect_count(keys, 0, 2);
  stop();
}
END_TEST

/* ---- pins and placements ----------------------------------------------------------------- */

START_TEST(a001_17_pinned_keys_and_values_stay) {
  start("16M");
  tsr_weak_table *table = make_table(_i);
  roots[0].word = vm_word(make(RECORD, 1, 0));
  roots[1].word = vm_word(make(RECORD, 2, 0));
  uint64_t key = roots[0].word;
  uint64_t value = roots[1].word;
  put_object(table, key, value);
  if (_i != TSR_WEAK_VALUES) ck_assert_int_eq(tsr_pin(vm.m, vm_ref(key), NULL), TSR_OK);
  if (_i != TSR_WEAK_KEYS) ck_assert_int_eq(tsr_pin(vm.m, vm_ref(value), NULL), TSR_OK);
  drop_roots();
  for (unsigned round = 0; round < 3; round++) {
    vm_garbage(vm.m, 50 * KIB);
    expect_left(2);
    expect_count(table, 1, 1);
    check_entry(table, true, 1, 2);
    if (_i != TSR_WEAK_VALUES) expect(table, key, hash_of(1), value_of_tag(table, 1));
    if (_i != TSR_WEAK_KEYS) ck_assert_uint_eq(value_of_tag(table, 1), value);
  }
  if (_i != TSR_WEAK_VALUES) ck_assert_int_eq(tsr_unpin(vm.m, vm_ref(key), NULL), TSR_OK);
  if (_i != TSR_WEAK_KEYS) ck_assert_int_eq(tsr_unpin(vm.m, vm_ref(value), NULL), TSR_OK);
  expect_left(0);
  expect_count(table, 0, 1);
  stop();
}
END_TEST

/* Keys of each placement with values of each; an immortal object never dies. */
START_TEST(a001_17_entries_in_every_placement) {
  static const tsr_semantics placements[] = {TSR_DEFAULT, TSR_LARGE, TSR_IMMORTAL, TSR_NON_MOVING};
  enum { N = 4 * 4 * 4 };
  start("64M");
  tsr_weak_table *table = make_table(_i);
  for (unsigned i = 0; i < N; i++) {
    roots[2 * i].word = vm_word(make_record(placements[i / 4 % 4], 2 * i));
    roots[2 * i + 1].word = vm_word(make_record(placements[i / 16], 2 * i + 1));
    put_object(table, roots[2 * i].word, roots[2 * i + 1].word);
  }
  for (unsigned i = 0; i < N; i++) {
    if ((i % 4 & 1) == 0) roots[2 * i].word = 0;
    if ((i % 4 & 2) == 0) roots[2 * i + 1].word = 0;
  }
  for (unsigned round = 0; round < 3; round++) {
    collect_twice();
    for (unsigned i = 0; i < N; i++) {
      bool key = (i % 4 & 1) != 0 || placements[i / 4 % 4] == TSR_IMMORTAL;
      bool value = (i % 4 & 2) != 0 || placements[i / 16] == TSR_IMMORTAL;
      check_entry(table, mode_keeps(_i, key, value), 2 * i, 2 * i + 1);
    }
    vm_garbage(vm.m, 100 * KIB);
  }
  stop();
}
END_TEST

/* Objects that are large because of their size. */
START_TEST(a001_17_entries_of_large_objects) {
  enum { N = 12 };
  start("64M");
  tsr_weak_table *table = make_table(_i);
  for (unsigned i = 0; i < N; i++) {
    roots[2 * i].word = vm_word(make(BYTES, 2 * i, 100 * KIB));
    roots[2 * i + 1].word = vm_word(make(BYTES, 2 * i + 1, 60 * KIB));
    put_object(table, roots[2 * i].word, roots[2 * i + 1].word);
  }
  for (unsigned i = 0; i < N; i++) {
    if ((i % 4 & 1) == 0) roots[2 * i].word = 0;
    if ((i % 4 & 2) == 0) roots[2 * i + 1].word = 0;
  }
  collect_twice();
  for (unsigned i = 0; i < N; i++) {
    uint64_t value = value_of_tag(table, 2 * i);
    bool lives = mode_keeps(_i, i % 4 & 1, i % 4 & 2) || !vm_collects;
    ck_assert_msg((value != 0) == lives, "entry %u", i);
    if (lives) ck_assert(is_made(value, BYTES, 2 * i + 1));
  }
  drop_roots();
  expect_left(0);
  expect_count(table, 0, N);
  stop();
}
END_TEST

static void add(TCase *tests) {
  tcase_add_loop_test(tests, a001_17_entries_go_with_what_their_mode_names, 0, MODES);
  tcase_add_loop_test(tests, a001_17_the_next_collection_drops_an_entry, 0, MODES);
  tcase_add_loop_test(tests, a001_17_keys_and_values_that_refer_to_each_other, 0, MODES);
  tcase_add_test(tests, a001_17_entries_across_tables);
  tcase_add_loop_test(tests, a001_17_values_change, 0, MODES);
  tcase_add_loop_test(tests, a001_17_a_chain_of_entries_takes_linear_time, 0, 2);
  tcase_add_test(tests, a001_17_entries_and_ephemerons_wait_for_the_same_keys);
  tcase_add_test(tests, a001_17_keys_of_every_kind_that_entries_wait_for);
  tcase_add_loop_test(tests, a001_17_entries_of_what_process_weak_keeps, 0, MODES);
  tcase_add_loop_test(tests, a001_17_entries_of_a_vm_with_tagged_references, 0, MODES);
  tcase_add_loop_test(tests, a001_17_words_never_die, 0, MODES);
  tcase_add_loop_test(tests, a001_17_words_are_values_of_objects, 0, MODES);
  tcase_add_loop_test(tests, a001_17_put_replaces_or_keeps, 0, MODES);
  tcase_add_test(tests, a001_17_an_entry_keeps_its_first_key);
  tcase_add_loop_test(tests, a001_17_interned_names, 0, INTERN_WAYS);
  tcase_add_loop_test(tests, a001_17_threads_intern_the_same_names, 0, MODES);
  tcase_add_loop_test(tests, a001_17_keys_whose_hashes_collide, 0, 2);
  tcase_add_loop_test(tests, a001_17_equal_is_asked_for_keys_of_the_same_hash, 0, MODES);
  tcase_add_loop_test(tests, a001_17_dead_entries_among_entries_of_the_same_hash, 0, MODES);
  tcase_add_loop_test(tests, a001_17_a_table_grows_and_shrinks, 0, MODES);
  tcase_add_loop_test(tests, a001_17_a_table_shrinks_after_deaths, 0, MODES);
  tcase_add_loop_test(tests, a001_17_an_emptied_table_shrinks_in_use, 0, MODES);
  tcase_add_loop_test(tests, a001_17_a_full_table_takes_what_it_gave, 0, MODES);
  tcase_add_test(tests, a001_17_the_memory_of_tables_is_the_heaps);
  tcase_add_loop_test(tests, a001_17_each_sees_every_entry_once, 0, MODES);
  tcase_add_loop_test(tests, a001_17_each_sees_what_is_left, 0, MODES);
  tcase_add_loop_test(tests, a001_17_random_operations_against_a_model, 0, 4);
  tcase_add_loop_test(tests, a001_17_a_table_in_a_full_heap, 0, MODES);
  tcase_add_loop_test(tests, a001_17_a_table_grows_when_objects_have_gone, 0, MODES);
  tcase_add_loop_test(tests, a001_17_tables_until_there_is_no_memory, 0, MODES);
  tcase_add_test(tests, a001_17_tables_are_freed_with_their_entries);
  tcase_add_loop_test(tests, a001_17_a_heap_ends_with_its_tables, 0, 2);
  tcase_add_loop_test(tests, a001_17_tables_of_threads_without_mutators, 0, MODES);
  tcase_add_test(tests, a001_17_unknown_modes_are_refused);
  tcase_add_loop_test(tests, a001_17_tables_and_native_code, 0, MODES);
  tcase_add_test(tests, a001_17_a_key_with_a_finalizer_has_its_entry);
  tcase_add_loop_test(tests, a001_17_a_value_with_a_finalizer_has_lost_its_entry, 0, 2);
  tcase_add_test(tests, a001_17_entries_behind_a_revived_object);
  tcase_add_loop_test(tests, a001_17_pinned_keys_and_values_stay, 0, MODES);
  tcase_add_loop_test(tests, a001_17_entries_in_every_placement, 0, MODES);
  tcase_add_loop_test(tests, a001_17_entries_of_large_objects, 0, MODES);
}

int main(void) {
  return vm_main("weak tables", add);
}
