/*
 * A001-17: ephemerons, and weak slots beside them.
 */
#include "weak_fixture.h"

/* ---- one ephemeron ----------------------------------------------------------------------- */

/* An ephemeron at root 0, its key at root 1, and its value, a list, at root 2. */
static void build_ephemeron(size_t length) {
  roots[0].word = vm_word(make_ephemeron(TSR_DEFAULT));
  roots[1].word = vm_word(make(RECORD, 11, 0));
  ck_assert(vm_list(vm.m, &roots[2], length, 5));
  set_pair(roots[0].word, roots[1].word, roots[2].word);
}

START_TEST(a001_17_a_value_lives_and_dies_with_its_key) {
  begin_with_cleared("16M", _i);
  build_ephemeron(100);
  roots[2].word = 0;
  for (unsigned round = 0; round < 3; round++) {
    expect_objects(102);
    ck_assert_uint_eq(key_of(roots[0].word), roots[1].word);
    ck_assert(vm_list_holds(vm.m, value_of(roots[0].word), 100, 5));
    vm_garbage(vm.m, 50 * KIB);
  }
  roots[1].word = 0;
  for (unsigned round = 0; round < 2; round++) {
    expect_objects(1);
    expect_cleared(roots[0].word);
    if (vm_collects) continue;
    ck_assert(is_made(key_of(roots[0].word), RECORD, 11));
    ck_assert(vm_list_holds(vm.m, value_of(roots[0].word), 100, 5));
  }
  stop();
}
END_TEST

START_TEST(a001_17_a_value_dies_with_its_ephemeron) {
  begin_plainly("16M");
  build_ephemeron(100);
  roots[2].word = 0;
  expect_objects(102);
  roots[0].word = 0; /* the key lives on */
  expect_objects(1);
  ck_assert(is_made(roots[1].word, RECORD, 11));
  stop();
}
END_TEST

/* The value is somebody else's too: the pair goes, the value stays. */
START_TEST(a001_17_a_value_with_another_owner_survives_its_key) {
  begin_with_cleared("16M", _i);
  build_ephemeron(20);
  roots[1].word = 0;
  expect_objects(21);
  expect_cleared(roots[0].word);
  ck_assert(vm_list_holds(vm.m, roots[2].word, 20, 5));
  stop();
}
END_TEST

START_TEST(a001_17_a_value_does_not_keep_its_own_key) {
  begin_with_cleared("16M", _i);
  for (unsigned way = 0; way < 3; way++) {
    build_ephemeron(10);
    uint64_t value = roots[2].word;
    if (way == 0) vm_set(vm.m, vm_ref(value), 1, roots[1].word); /* the list's head */
    if (way == 1) set_pair(roots[0].word, roots[1].word, roots[1].word);
    if (way == 2)
      vm_set(vm.m, vm_ref(roots[1].word), 2, roots[0].word); /* and the key knows both */
    if (way == 2) vm_set(vm.m, vm_ref(value), 1, roots[1].word);
    roots[2].word = 0;
    expect_objects(way == 1 ? 2 : 12);
    ck_assert_uint_eq(key_of(roots[0].word), roots[1].word);
    roots[1].word = 0;
    expect_objects(1);
    expect_cleared(roots[0].word);
    roots[0].word = 0;
    expect_objects(0);
  }
  stop();
}
END_TEST

/* The key is the ephemeron itself, or is kept by its strong slot: it lives as long as the ephemeron. */
START_TEST(a001_17_a_key_that_its_ephemeron_keeps) {
  begin_plainly("16M");
  build_ephemeron(10);
  vm_set(vm.m, vm_ref(roots[0].word), 1, roots[1].word);
  vm_slot(vm_ref(roots[0].word), 2)->word = 0xfedcba9876543210u; /* raw */
  roots[3].word = vm_word(make_ephemeron(TSR_DEFAULT));
  roots[4].word = vm_word(make(RECORD, 4, 0));
  set_pair(roots[3].word, roots[3].word, roots[4].word);
  roots[1].word = roots[2].word = roots[4].word = 0;
  for (unsigned round = 0; round < 2; round++) {
    expect_objects(14);
    ck_assert(is_made(key_of(roots[0].word), RECORD, 11));
    ck_assert_uint_eq(vm_get(vm.m, vm_ref(roots[0].word), 1), key_of(roots[0].word));
    ck_assert_uint_eq(vm_slot(vm_ref(roots[0].word), 2)->word, 0xfedcba9876543210u);
    ck_assert(vm_list_holds(vm.m, value_of(roots[0].word), 10, 5));
    ck_assert_uint_eq(key_of(roots[3].word), roots[3].word);
    ck_assert(is_made(value_of(roots[3].word), RECORD, 4));
  }
  roots[0].word = roots[3].word = 0;
  expect_objects(0);
  stop();
}
END_TEST

START_TEST(a001_17_a_key_that_is_no_reference_never_dies) {
  static uint64_t outside[2];
  const uint64_t keys[] = {FIXNUM(5), 0, FIXNUM(0), vm_word(outside)};
  enum { N = sizeof keys / sizeof keys[0] };
  begin_with_cleared("16M", _i);
  for (unsigned i = 0; i < N; i++) {
    roots[i].word = vm_word(make_ephemeron(TSR_DEFAULT));
    roots[N].word = vm_word(make(RECORD, i, 0));
    set_pair(roots[i].word, keys[i], roots[N].word);
  }
  roots[N].word = 0;
  for (unsigned round = 0; round < 3; round++) {
    expect_objects(2 * (size_t)N);
    for (unsigned i = 0; i < N; i++) {
      ck_assert_uint_eq(key_of(roots[i].word), keys[i]);
      ck_assert(is_made(value_of(roots[i].word), RECORD, i));
    }
  }
  stop();
}
END_TEST

/* A value that is no reference goes with its key all the same. */
START_TEST(a001_17_a_value_that_is_no_reference) {
  begin_with_cleared("16M", _i);
  build_ephemeron(0);
  vm_set(vm.m, vm_ref(roots[0].word), VALUE, FIXNUM(1234));
  expect_objects(2);
  ck_assert_uint_eq(value_of(roots[0].word), FIXNUM(1234));
  roots[1].word = 0;
  expect_objects(1);
  expect_cleared(roots[0].word);
  if (!vm_collects) ck_assert_uint_eq(value_of(roots[0].word), FIXNUM(1234));
  stop();
}
END_TEST

/* Keys and values may be stored as often as one likes, in any order, and also after the pair was cleared. */
START_TEST(a001_17_keys_and_values_change) {
  begin_with_cleared("16M", _i);
  roots[0].word = vm_word(make_ephemeron(TSR_DEFAULT));
  for (unsigned round = 0; round < 20; round++) {
    roots[1].word = vm_word(make(RECORD, round, 0));
    roots[2].word = vm_word(make(RECORD, round + 100, 0));
    if (round % 2 == 0) {
      set_pair(roots[0].word, roots[1].word, roots[2].word);
    } else {
      vm_set(vm.m, vm_ref(roots[0].word), VALUE, roots[2].word);
      vm_set(vm.m, vm_ref(roots[0].word), KEY, roots[1].word);
    }
    roots[2].word = 0;
    expect_objects(3);
    ck_assert_uint_eq(key_of(roots[0].word), roots[1].word);
    ck_assert(is_made(value_of(roots[0].word), RECORD, round + 100));
    if (round % 3 == 0) continue; /* the next key takes the place of a living one */
    roots[1].word = 0;
    expect_objects(1);
    expect_cleared(roots[0].word);
  }
  stop();
}
END_TEST

/* ---- ephemerons in every placement ------------------------------------------------------- */

START_TEST(a001_17_keys_and_values_in_every_placement) {
  enum { N = 2 * PLACE_COMBINATIONS };
  begin_with_cleared("64M", _i);
  tsr_slot *ephemerons = &roots[N];
  for (unsigned i = 0; i < N; i++) {
    tsr_semantics semantics = place_semantics(i / 2);
    ephemerons[i].word = vm_word(make_ephemeron(i % TSR_PLACEMENTS));
    roots[i].word = vm_word(make_record(semantics, i));
    roots[2 * N].word = vm_word(make_record(semantics, 1000 + i));
    set_pair(ephemerons[i].word, roots[i].word, roots[2 * N].word);
  }
  roots[2 * N].word = 0;
  for (unsigned i = 0; i < N; i += 2)
    roots[i].word = 0;
  for (unsigned round = 0; round < 2; round++) {
    vm_collect(&vm);
    for (unsigned i = 0; i < N; i++) {
      bool lives = i % 2 == 1 || !place_dies(place_semantics(i / 2));
      const char *name = place_name(place_semantics(i / 2));
      check_weak(key_of(ephemerons[i].word), lives, RECORD, i, name);
      check_weak(value_of(ephemerons[i].word), lives, RECORD, 1000 + i, name);
    }
  }
  stop();
}
END_TEST

/* Wherever the ephemeron lies; an immortal one needs no root, and keeps its value no longer than its key. */
START_TEST(a001_17_ephemerons_in_every_placement) {
  begin_with_cleared("16M", _i);
  uint64_t immortal = 0;
  tsr_slot *keys = &roots[TSR_PLACEMENTS];
  for (tsr_semantics p = 0; p < TSR_PLACEMENTS; p++) {
    roots[p].word = vm_word(make_ephemeron(p));
    keys[p].word = vm_word(make(RECORD, p, 0));
    tsr_ref value = make(RECORD, 10 + p, 0);
    set_pair(roots[p].word, keys[p].word, vm_word(value));
  }
  immortal = roots[TSR_IMMORTAL].word;
  roots[TSR_IMMORTAL].word = 0;
  for (unsigned round = 0; round < 3; round++) {
    bool living = round < 2;
    if (!living) memset(keys, 0, TSR_PLACEMENTS * sizeof *keys);
    expect_objects((living ? 3 : 1) * TSR_PLACEMENTS);
    for (unsigned p = 0; p < TSR_PLACEMENTS; p++) {
      uint64_t ephemeron = p == TSR_IMMORTAL ? immortal : roots[p].word;
      check_weak(key_of(ephemeron), living, RECORD, p, "key");
      check_weak(value_of(ephemeron), living, RECORD, 10 + p, "value");
    }
  }
  stop();
}
END_TEST

/* ---- several ephemerons ------------------------------------------------------------------ */

START_TEST(a001_17_many_ephemerons_with_one_key) {
  begin_with_cleared("32M", _i);
  unsigned n = many(3000);
  roots[n].word = vm_word(make(RECORD, 1, 0));
  for (unsigned i = 0; i < n; i++) {
    roots[i].word = vm_word(make_ephemeron(TSR_DEFAULT));
    tsr_ref value = make(RECORD, i, 0);
    set_pair(roots[i].word, roots[n].word, vm_word(value));
  }
  for (unsigned round = 0; round < 3; round++) {
    if (round == 2) roots[n].word = 0;
    expect_objects(round == 2 ? n : 2 * n + 1);
    for (unsigned i = 0; i < n; i++) {
      check_weak(key_of(roots[i].word), round < 2, RECORD, 1, "key");
      check_weak(value_of(roots[i].word), round < 2, RECORD, i, "value");
      if (round < 2) ck_assert_uint_eq(key_of(roots[i].word), roots[n].word);
    }
  }
  stop();
}
END_TEST

/* The value of each is the key of the next, in a ring. */
START_TEST(a001_17_a_ring_of_ephemerons) {
  begin_with_cleared("16M", _i);
  enum { N = 50 };
  tsr_slot *keys = &roots[N];
  for (unsigned i = 0; i < N; i++) {
    roots[i].word = vm_word(make_ephemeron(TSR_DEFAULT));
    keys[i].word = vm_word(make(RECORD, i, 0));
  }
  for (unsigned i = 0; i < N; i++)
    set_pair(roots[i].word, keys[i].word, keys[(i + 1) % N].word);
  for (unsigned round = 0; round < 2; round++) {
    for (unsigned i = 0; i < N; i++) {
      if (round == 1 || i != 17) keys[i].word = 0; /* at first one is enough for all */
    }
    expect_objects(round == 0 ? 2 * N : N);
    for (unsigned i = 0; i < N; i++) {
      check_weak(key_of(roots[i].word), round == 0, RECORD, i, "key");
      check_weak(value_of(roots[i].word), round == 0, RECORD, (i + 1) % N, "value");
    }
  }
  stop();
}
END_TEST

/* ---- chains ------------------------------------------------------------------------------ */

enum { FORWARD, BACKWARD, SHUFFLED, ORDERS };

static size_t chain_length(void) {
  bool slow = VM_SANITIZED || vm_verifies || vm_stress != NULL;
  return slow ? 20000 : vm_is_long() ? 1000000 : 200000;
}

/* In which order the links of a chain are built and found. To free. */
static uint32_t *chain_order(size_t n, int order) {
  uint32_t *links = malloc(n * sizeof *links);
  ck_assert_ptr_nonnull(links);
  for (size_t i = 0; i < n; i++)
    links[i] = (uint32_t)(order == BACKWARD ? n - 1 - i : i);
  if (order == SHUFFLED) shuffle(links, n);
  return links;
}

/* Into a vector at root 0; its keys are in one at root 1, n + 1 of them, the first also at root 2. */
static void build_chain(size_t n, const uint32_t *links) {
  roots[0].word = vm_word(make(VECTOR, 0, n));
  roots[1].word = vm_word(make(VECTOR, 0, n + 1));
  for (size_t i = 0; i <= n; i++) {
    tsr_ref key = make(CELL, (unsigned)(i & 0xffff), 0);
    vm_set(vm.m, vm_ref(roots[1].word), 2 + i, vm_word(key));
  }
  for (size_t i = 0; i < n; i++) {
    tsr_ref link = make_of(link_id, TSR_DEFAULT, 0, LINK_WORDS, 0);
    tsr_ref keys = vm_ref(roots[1].word);
    vm_set(vm.m, link, 1, vm_get(vm.m, keys, 2 + links[i]));
    vm_set(vm.m, link, 2, vm_get(vm.m, keys, 3 + links[i]));
    vm_set(vm.m, vm_ref(roots[0].word), 2 + i, vm_word(link));
  }
  roots[2].word = vm_get(vm.m, vm_ref(roots[1].word), 2);
}

/* Every link is there, with the right key, which is the value of the one before. */
static void check_chain(size_t n, const uint32_t *links) {
  uint64_t *keys = calloc(n + 1, sizeof *keys);
  ck_assert_ptr_nonnull(keys);
  keys[0] = roots[2].word;
  for (unsigned pass = 0; pass < 2; pass++) {
    for (size_t i = 0; i < n; i++) {
      uint64_t link = vm_get(vm.m, vm_ref(roots[0].word), 2 + i);
      uint64_t key = weak_word(link, 1);
      if (pass == 0) keys[links[i] + 1] = weak_word(link, 2);
      ck_assert_msg(pass == 0 || key == keys[links[i]], "link %u has another key", links[i]);
      ck_assert_msg(is_made(key, CELL, links[i] & 0xffff), "the key of link %u", links[i]);
    }
  }
  ck_assert(is_made(keys[n], CELL, (unsigned)(n & 0xffff)));
  free(keys);
}

static void check_chain_is_cleared(size_t n) {
  for (size_t i = 0; i < n && vm_collects; i++) {
    uint64_t link = vm_get(vm.m, vm_ref(roots[0].word), 2 + i);
    ck_assert_uint_eq(weak_word(link, 1), vm.binding.weak_cleared);
    ck_assert_uint_eq(weak_word(link, 2), vm.binding.weak_cleared);
  }
}

/* The time for n ephemerons is in proportion to n: so is the number of looks. */
static void expect_few_visits(size_t n) {
  uint64_t visits = vm.last_collection.ephemeron_visits;
  if (!vm_collects) return;
  ck_assert_msg(visits >= n && visits <= 3 * n + 64, "%llu looks at %zu ephemerons",
                (unsigned long long)visits, n);
}

START_TEST(a001_17_a_chain_in_any_order_takes_linear_time) {
  size_t n = chain_length();
  start_alone("1G"); /* counts what one collection does */
  register_layouts();
  first_seed(1);
  uint32_t *links = chain_order(n, _i);
  build_chain(n, links);
  expect_objects(2 + n + (n + 1));
  expect_few_visits(n);
  check_chain(n, links);
  roots[1].word = 0; /* the first key keeps all the others */
  expect_objects(1 + n + (n + 1));
  expect_few_visits(n);
  check_chain(n, links);
  roots[2].word = 0;
  expect_objects(1 + n);
  expect_few_visits(n);
  check_chain_is_cleared(n);
  free(links);
  stop();
}
END_TEST

#define DEPTH 20000u

/* An ephemeron that is reached through the value of another, which is reached through a third ... */
START_TEST(a001_17_ephemerons_deep_in_each_other) {
  start_alone("64M"); /* counts what one collection does */
  register_layouts();
  roots[1].word = vm_word(make(VECTOR, 0, DEPTH));
  for (size_t i = DEPTH; i-- > 0;) {
    tsr_ref key = make(CELL, (unsigned)(i & 0xffff), 0);
    vm_set(vm.m, vm_ref(roots[1].word), 2 + i, vm_word(key));
    tsr_ref link = make_of(link_id, TSR_DEFAULT, (unsigned)(i & 0xffff), LINK_WORDS, 0);
    vm_set(vm.m, link, 1, vm_get(vm.m, vm_ref(roots[1].word), 2 + i));
    vm_set(vm.m, link, 2, roots[0].word);
    roots[0].word = vm_word(link);
  }
  for (unsigned round = 0; round < 2; round++) {
    size_t last = round == 0 ? DEPTH - 1 : DEPTH / 3;
    if (round == 1) vm_set(vm.m, vm_ref(roots[1].word), 2 + last, 0); /* a key in the middle */
    expect_objects(round == 0 ? 1 + 2 * DEPTH : 1 + (DEPTH - 1) + (last + 1));
    expect_few_visits(round == 0 ? DEPTH : last + 1);
    uint64_t link = roots[0].word;
    for (size_t i = 0; i < last; i++, link = weak_word(link, 2)) {
      ck_assert_msg(link != 0 && vm_kind_of(vm_ref(link)) == link_id, "the %zuth is not there", i);
      ck_assert_uint_eq(vm_tag_of(vm_ref(link)), i & 0xffff);
      ck_assert_uint_eq(weak_word(link, 1), vm_get(vm.m, vm_ref(roots[1].word), 2 + i));
    }
    if (round == 0) ck_assert_uint_eq(weak_word(link, 2), 0); /* the last has no value */
    if (round == 1 && vm_collects) ck_assert_uint_eq(weak_word(link, 1), 0);
    if (round == 1 && vm_collects) ck_assert_uint_eq(weak_word(link, 2), 0);
  }
  stop();
}
END_TEST

/* ---- keys that wait ------------------------------------------------------------------------ */

#define WAITING_KEYS (24u * (VM_KINDS - 1u)) /* every placement but the immortal ones, every kind */

static tsr_semantics waiting_semantics(unsigned i) {
  unsigned combination = i % 24 / 3 * 4 + i % 3; /* flags, and one of the three placements */
  if (i % 3 == TSR_IMMORTAL) combination = i % 24 / 3 * 4 + TSR_NON_MOVING;
  return place_semantics(combination);
}

static unsigned waiting_kind(unsigned i) {
  return 1 + i / 24;
}

static void check_waiting_key(uint64_t word, unsigned i) {
  ck_assert_msg(is_made(word, waiting_kind(i), i), "key %u, %s, of kind %u", i,
                place_name(waiting_semantics(i)), waiting_kind(i));
}

/* The last of a chain comes first, so that every key is looked at before it is reached; and twice. A key is as it
   was afterwards, whatever kind it is of and wherever it lies. */
START_TEST(a001_17_keys_of_every_kind_that_are_reached_late) {
  enum { N = WAITING_KEYS };
  begin_with_cleared("128M", _i);
  tsr_slot *keys = &roots[2 * N];
  for (unsigned i = N; i-- > 0;) {
    tsr_ref key = make_in(waiting_semantics(i), waiting_kind(i), i, 5);
    if (place_sealable(waiting_semantics(i))) ck_assert_int_eq(tsr_seal(vm.m, key, NULL), TSR_OK);
    keys[i].word = vm_word(key);
    for (unsigned k = 0; k < 2; k++) {
      tsr_slot *ephemeron = &roots[2 * (N - 1 - i) + k];
      ephemeron->word = vm_word(make_ephemeron(TSR_DEFAULT));
      set_pair(ephemeron->word, keys[i].word, k == 0 && i + 1 < N ? keys[i + 1].word : FIXNUM(i));
    }
  }
  for (unsigned round = 0; round < 3; round++) {
    memset(&keys[round < 2 ? 1 : 0], 0, (round < 2 ? N - 1 : N) * sizeof keys[0]);
    expect_objects(round < 2 ? 3 * N : 2 * N);
    for (unsigned i = 0; i < 2 * N; i++) {
      unsigned n = N - 1 - i / 2;
      if (round == 2) expect_cleared(roots[i].word);
      if (round == 2 && vm_collects) continue;
      check_waiting_key(key_of(roots[i].word), n);
      if (i % 2 == 0 && n + 1 < N) {
        check_waiting_key(value_of(roots[i].word), n + 1);
      } else {
        ck_assert_uint_eq(value_of(roots[i].word), FIXNUM(n));
      }
    }
  }
  stop();
}
END_TEST

/* Dead keys leave nothing behind, also where what lies beside them stays: pinned, or in a space that does not
   move. Of the two objects of each index the first stays, and the second is a key. */
START_TEST(a001_17_dead_keys_beside_living_objects) {
  static const tsr_semantics placements[] = {TSR_DEFAULT, TSR_NON_MOVING, TSR_LARGE};
  unsigned n = many(600);
  begin_plainly("64M");
  for (unsigned round = 0; round < 3; round++) {
    for (unsigned i = 0; i < n; i++) {
      tsr_semantics semantics = placements[i % 50 == 49 ? 2 : i % 2];
      unsigned kind = waiting_kind(i % WAITING_KEYS);
      tsr_ref object = make_in(semantics, RECORD, i, 0);
      roots[i].word = vm_word(object);
      ck_assert_int_eq(tsr_pin(vm.m, object, NULL), TSR_OK);
      roots[2 * n].word = vm_word(place_must(&vm, semantics, kind, i, 3));
      roots[n + i].word = vm_word(make_ephemeron(semantics));
      set_pair(roots[n + i].word, roots[2 * n].word, roots[i].word);
    }
    roots[2 * n].word = 0;
    for (unsigned again = 0; again < 2; again++) {
      expect_objects(2 * (size_t)n);
      place_verify(&vm);
    }
    for (unsigned i = 0; i < n; i++) {
      expect_cleared(roots[n + i].word);
      ck_assert(is_made(roots[i].word, RECORD, i));
      ck_assert_int_eq(tsr_unpin(vm.m, vm_ref(roots[i].word), NULL), TSR_OK);
    }
    memset(roots, 0, 2 * n * sizeof roots[0]);
    expect_objects(0);
  }
  stop();
}
END_TEST

#if TSR_GC_BYTE_OFFSET == 0
/* For VMs with first words of their own. */
static tsr_ref make_with(uint64_t first_word, size_t words) {
  uint64_t *memory = tsr_alloc(vm.m, 8 * words, TSR_OBJECT_ALIGN, 0, TSR_DEFAULT);
  ck_assert_ptr_nonnull(memory);
  memory[0] = first_word;
  tsr_ref object = (tsr_ref)(void *)memory;
  ck_assert_int_eq(tsr_post_alloc(vm.m, object, 8 * words, TSR_DEFAULT), TSR_OK);
  return object;
}

/* Without the GC byte. */
static uint64_t first_word_of(uint64_t object) {
  return vm_slot(vm_ref(object), 0)->word & ~(uint64_t)0xff;
}

/* A VM whose first words are pointers to types. */
static _Alignas(256) struct vm_type {
  uint64_t name;
  uint32_t index;
} pair_type = {.name = 1, .index = 1}, link_type = {.name = 2, .index = 2};

/* Root i holds link i, whose key is at root N + i, and whose value is the key of link i - 1. */
START_TEST(a001_17_ephemerons_where_the_first_word_is_the_type) {
  enum { N = 500 };
  tsr_layout layouts[2] = {{TSR_LAYOUT_INIT, .name = "pair", .kind = TSR_LAYOUT_FIXED,
                            .fixed_bytes = 24, .fixed_refs = 6},
                           link_layout};
  prepare("32M");
  vm.binding.layouts = layouts;
  vm.binding.layout_count = 2;
  vm.binding.layout_source = (tsr_layout_source){.kind = TSR_LAYOUT_IN_TYPE,
                                                 .type_mask = ~(uint64_t)0xff,
                                                 .index_offset = offsetof(struct vm_type, index)};
  vm_start(&vm);
  open_roots();
  for (unsigned i = 0; i < N; i++) {
    roots[N + i].word = vm_word(make_with(vm_word(&pair_type), 3));
    vm_set(vm.m, vm_ref(roots[N + i].word), 1, FIXNUM(i));
    roots[i].word = vm_word(make_with(vm_word(&link_type), LINK_WORDS));
    vm_set(vm.m, vm_ref(roots[i].word), 1, roots[N + i].word);
    vm_set(vm.m, vm_ref(roots[i].word), 2, i > 0 ? roots[N + i - 1].word : FIXNUM(0));
  }
  for (unsigned round = 0; round < 3; round++) {
    memset(&roots[N], 0, (round < 2 ? N - 1 : N) * sizeof roots[0]); /* the last one stays */
    vm_collect(&vm);
    for (unsigned i = 0; i < N; i++) {
      uint64_t key = weak_word(roots[i].word, 1);
      ck_assert_uint_eq(first_word_of(roots[i].word), vm_word(&link_type));
      if (round == 2 && vm_collects) {
        ck_assert_uint_eq(key, 0);
        continue;
      }
      ck_assert_uint_eq(first_word_of(key), vm_word(&pair_type));
      ck_assert_uint_eq(vm_get(vm.m, vm_ref(key), 1), FIXNUM(i));
      if (i > 0) ck_assert_uint_eq(weak_word(roots[i].word, 2), weak_word(roots[i - 1].word, 1));
    }
  }
  stop();
}
END_TEST

/* A VM with the layout's index in the three bits above the GC byte. Where an ephemeron's address stands in place of
   a key's first word, they name any of the layouts, and half of these have no slots. */
enum { LOW_PAIR = 1, LOW_LINK, LOW_VECTOR, LOW_FLAT, LOW_END = 8 };
#define LOW_WORD(layout) ((uint64_t)(layout) << 8)

/* Keys are of all layouts that are fixed: pairs, and those without slots. */
static uint64_t low_key_word(unsigned number) {
  unsigned kind = number % (1 + LOW_END - LOW_FLAT);
  return LOW_WORD(kind == 0 ? LOW_PAIR : LOW_FLAT + kind - 1);
}

static void start_with_low_layouts(void) {
  static tsr_layout layouts[LOW_END - 1];
  layouts[LOW_PAIR - 1] = (tsr_layout){TSR_LAYOUT_INIT, .name = "pair", .kind = TSR_LAYOUT_FIXED,
                                       .fixed_bytes = 24, .fixed_refs = 6};
  layouts[LOW_LINK - 1] = link_layout;
  layouts[LOW_VECTOR - 1] =
      (tsr_layout){TSR_LAYOUT_INIT, .name = "vector", .kind = TSR_LAYOUT_REFERENCES,
                   .fixed_bytes = 16, VECTOR_LENGTH};
  for (unsigned i = LOW_FLAT; i < LOW_END; i++) {
    layouts[i - 1] =
        (tsr_layout){TSR_LAYOUT_INIT, .name = "flat", .kind = TSR_LAYOUT_FIXED, .fixed_bytes = 24};
  }
  prepare("32M");
  vm.binding.layouts = layouts;
  vm.binding.layout_count = LOW_END - 1;
  vm.binding.layout_source =
      (tsr_layout_source){.kind = TSR_LAYOUT_IN_HEADER, .shift = 8, .mask = LOW_END - 1};
  vm_start(&vm);
  open_roots();
}

/* How many of the ephemerons at the first n roots have an address that looks like a layout without slots. */
static unsigned count_misleading(unsigned n) {
  unsigned count = 0;
  for (unsigned i = 0; i < n; i++)
    count += (roots[i].word + link_layout.weak_offset) / 8 % LOW_END >= LOW_FLAT;
  return count;
}

/* Root i holds link links[i] of a chain, root N + i the key of link i, which is the value of the one before. Only the
   first key stays rooted: in some order of the links all the others wait before they are reached. */
START_TEST(a001_17_keys_whose_layout_is_in_low_bits) {
  enum { N = 500 };
  start_with_low_layouts();
  first_seed(1);
  uint32_t *links = chain_order(N, _i);
  for (unsigned i = 0; i < N; i++) {
    tsr_ref key = make_with(low_key_word(i), 3);
    vm_slot(key, 1)->word = FIXNUM(i);
    roots[N + i].word = vm_word(key);
  }
  for (unsigned i = 0; i < N; i++) {
    uint32_t link = links[i];
    roots[i].word = vm_word(make_with(LOW_WORD(LOW_LINK), LINK_WORDS));
    vm_set(vm.m, vm_ref(roots[i].word), 1, roots[N + link].word);
    vm_set(vm.m, vm_ref(roots[i].word), 2, link + 1 < N ? roots[N + link + 1].word : FIXNUM(0));
  }
  for (unsigned round = 0; round < 3; round++) {
    bool lives = round < 2 || !vm_collects;
    memset(&roots[round < 2 ? N + 1 : N], 0, (round < 2 ? N - 1 : N) * sizeof roots[0]);
    /* Before and after: keys wait either before their ephemerons move, or when these have moved. */
    ck_assert_uint_gt(count_misleading(N), N / 4);
    expect_objects(lives ? 2 * N : N);
    ck_assert_uint_gt(count_misleading(N), N / 4);
    uint64_t values[N + 1] = {roots[N].word};
    for (unsigned i = 0; i < N; i++)
      values[links[i] + 1] = weak_word(roots[i].word, 2);
    for (unsigned i = 0; i < N; i++) {
      uint64_t key = weak_word(roots[i].word, 1);
      ck_assert_uint_eq(first_word_of(roots[i].word), LOW_WORD(LOW_LINK));
      if (!lives) ck_assert_uint_eq(key, 0);
      if (!lives) ck_assert_uint_eq(values[links[i] + 1], 0);
      if (!lives) continue;
      ck_assert_msg(key != 0, "the key of link %u is gone", links[i]);
      ck_assert_uint_eq(first_word_of(key), low_key_word(links[i]));
      ck_assert_uint_eq(vm_slot(vm_ref(key), 1)->word, FIXNUM(links[i]));
      if (links[i] > 0 || round < 2) ck_assert_uint_eq(key, values[links[i]]);
    }
  }
  free(links);
  stop();
}
END_TEST
#endif

/* ---- random graphs against a model ------------------------------------------------------- */

enum { NODE_PAIR, NODE_BOX, NODE_EPHEMERON, NODE_TYPES };
enum { EMPTY = -1, CLEARED = -2, NUMBER = -3 };
#define ENTRIES 24u /* rooted nodes */
#define FIRST   1200u
#define FRESH   100u /* new nodes in each round */
#define ROUNDS  10u
#define NODES   (FIRST + FRESH * ROUNDS)
#define EDGES   5u

/* Where the edges of a node lie; the first ones are strong. An ephemeron's are: strong, key, value. */
static const unsigned char edge_count[NODE_TYPES] = {2, 5, 3};
static const unsigned char strong_edges[NODE_TYPES] = {2, 2, 1};
static const unsigned char edge_words[NODE_TYPES][EDGES] = {
    {1, 2}, {2, 4, 3, 5, 6}, {1, KEY, VALUE}};

typedef struct node {
  unsigned type;
  int32_t edges[EDGES]; /* the number of a node, or EMPTY, CLEARED, NUMBER */
  uint64_t where;       /* until the next safepoint; 0: not found */
  bool live;            /* as the model has it */
} node;

static node nodes[NODES];
static int32_t entries[ENTRIES];
static uint32_t node_count;
static int32_t pending[NODES]; /* found, and not yet looked into */
static uint32_t pending_count;

static void reach(int32_t n) {
  if (n < 0 || nodes[n].live) return;
  nodes[n].live = true;
  pending[pending_count++] = n;
}

static void reach_all(void) {
  while (pending_count > 0) {
    const node *from = &nodes[pending[--pending_count]];
    for (unsigned e = 0; e < strong_edges[from->type]; e++)
      reach(from->edges[e]);
  }
}

static bool is_gone(int32_t n) {
  return n >= 0 && !nodes[n].live;
}

/* One pass over the ephemerons; false: it changed nothing. */
static bool keep_values(void) {
  bool kept = false;
  for (uint32_t i = 0; i < node_count; i++) {
    const node *n = &nodes[i];
    if (n->type != NODE_EPHEMERON || !n->live || is_gone(n->edges[1])) continue;
    if (!is_gone(n->edges[2])) continue;
    reach(n->edges[2]);
    reach_all();
    kept = true;
  }
  return kept;
}

static void clear_node(node *n) {
  if (n->type == NODE_EPHEMERON) {
    if (is_gone(n->edges[1])) n->edges[1] = n->edges[2] = CLEARED;
    return;
  }
  for (unsigned e = strong_edges[n->type]; e < edge_count[n->type]; e++) {
    if (is_gone(n->edges[e])) n->edges[e] = CLEARED;
  }
}

/* What a collection does, by the book; returns how many objects are left. */
static size_t model_collects(void) {
  size_t left = 0;
  for (uint32_t i = 0; i < node_count; i++)
    nodes[i].live = false;
  for (unsigned i = 0; i < ENTRIES; i++)
    reach(entries[i]);
  reach_all();
  while (keep_values()) {
  }
  for (uint32_t i = 0; i < node_count; i++) {
    left += nodes[i].live;
    if (nodes[i].live) clear_node(&nodes[i]);
  }
  return left;
}

static unsigned layout_of_node(uint32_t n) {
  return nodes[n].type == NODE_PAIR ? PAIR : nodes[n].type == NODE_BOX ? box_id : ephemeron_id;
}

static uint64_t word_of_edge(int32_t edge) {
  if (edge >= 0) return nodes[edge].where;
  return edge == EMPTY ? 0 : edge == CLEARED ? vm.binding.weak_cleared : FIXNUM(99);
}

/* A word in the heap, where the model has this edge. */
static void find(uint64_t word, int32_t edge, unsigned long long from) {
  if (edge < 0) {
    ck_assert_msg(word == word_of_edge(edge), "seed %llu: %#llx instead of %d", from,
                  (unsigned long long)word, edge);
    return;
  }
  ck_assert_msg(word != 0 && word != vm.binding.weak_cleared, "seed %llu: node %d is gone", from,
                edge);
  if (nodes[edge].where == 0) {
    ck_assert_msg(vm_kind_of(vm_ref(word)) == layout_of_node((uint32_t)edge) &&
                      vm_tag_of(vm_ref(word)) == (unsigned)edge,
                  "seed %llu: not node %d", from, edge);
    nodes[edge].where = word;
    pending[pending_count++] = edge;
  }
  ck_assert_msg(nodes[edge].where == word, "seed %llu: two nodes %d", from, edge);
}

/* Compares all that can be found, and takes down where it is. */
static void compare_graph(unsigned long long from) {
  for (uint32_t i = 0; i < node_count; i++)
    nodes[i].where = 0;
  for (unsigned i = 0; i < ENTRIES; i++)
    find(roots[i].word, entries[i], from);
  while (pending_count > 0) {
    const node *n = &nodes[pending[--pending_count]];
    for (unsigned e = 0; e < edge_count[n->type]; e++)
      find(weak_word(n->where, edge_words[n->type][e]), n->edges[e], from);
  }
}

/* New nodes, which the roots behind the entries hold for the time being. */
static uint32_t add_nodes(uint32_t count) {
  uint32_t first = node_count;
  for (uint32_t i = 0; i < count; i++) {
    uint32_t n = node_count++;
    tsr_ref object;
    nodes[n].type = (unsigned)draw(NODE_TYPES);
    for (unsigned e = 0; e < EDGES; e++)
      nodes[n].edges[e] = EMPTY;
    if (nodes[n].type == NODE_PAIR) {
      object = make(PAIR, n, 0);
    } else {
      object = make_of(layout_of_node(n), TSR_DEFAULT, n, 8, 0);
    }
    roots[ENTRIES + i].word = vm_word(object);
  }
  return first;
}

/* A node that has been found, mostly; sometimes nothing, or a number. */
static int32_t any_target(void) {
  size_t kind = draw(20);
  if (kind < 4) return EMPTY;
  if (kind == 4) return NUMBER;
  for (unsigned tries = 0; tries < 100; tries++) {
    int32_t n = (int32_t)draw(node_count);
    if (nodes[n].where != 0) return n;
  }
  return EMPTY;
}

static void change_edges(uint32_t changes) {
  for (uint32_t i = 0; i < changes; i++) {
    node *n = &nodes[draw(node_count)];
    unsigned e = (unsigned)draw(edge_count[n->type]);
    if (n->where == 0) continue;
    n->edges[e] = any_target();
    vm_set(vm.m, vm_ref(n->where), edge_words[n->type][e], word_of_edge(n->edges[e]));
  }
}

static void change_entries(unsigned changes) {
  for (unsigned i = 0; i < changes; i++) {
    size_t entry = draw(ENTRIES);
    entries[entry] = any_target();
    roots[entry].word = word_of_edge(entries[entry]);
  }
}

START_TEST(a001_17_random_graphs_of_weak_objects_and_ephemerons) {
  unsigned long long from = first_seed(_i + 1);
  begin_with_cleared("32M", _i % 2);
  for (unsigned i = 0; i < ENTRIES; i++)
    entries[i] = EMPTY;
  for (unsigned round = 0; round < ROUNDS; round++) {
    uint32_t fresh = round == 0 ? FIRST : FRESH;
    uint32_t first = add_nodes(fresh);
    compare_graph(from); /* whatever was collected meanwhile changed nothing */
    for (uint32_t i = 0; i < fresh; i++)
      nodes[first + i].where = roots[ENTRIES + i].word;
    change_edges(round == 0 ? 8 * FIRST : 8 * FRESH);
    change_entries(round == 0 ? 2 * ENTRIES : 4);
    memset(&roots[ENTRIES], 0, fresh * sizeof roots[0]);
    if (vm_collects) {
      expect_objects(model_collects());
    } else {
      vm_collect(&vm);
    }
    compare_graph(from);
  }
  stop();
}
END_TEST

/* ---- weak slots and ephemerons together -------------------------------------------------- */

/* Weak slots and a weak handle on the key, the value, and what the value leads to: all go with the key, and
   none before it. */
START_TEST(a001_17_weak_slots_see_what_ephemerons_keep) {
  begin_with_cleared("16M", _i);
  build_ephemeron(1); /* its value is one pair */
  roots[3].word = vm_word(make(RECORD, 7, 0));
  vm_set(vm.m, vm_ref(roots[2].word), 1, roots[3].word);
  roots[4].word = vm_word(make_box(0));
  for (unsigned k = 0; k < 3; k++)
    vm_set(vm.m, vm_ref(roots[4].word), box_words[2 + k], roots[1 + k].word);
  tsr_slot *handle = handle_of(roots[3].word, TSR_WEAK);
  tsr_slot *to_ephemeron = handle_of(roots[0].word, TSR_WEAK);
  roots[2].word = roots[3].word = 0;
  for (unsigned round = 0; round < 3; round++) {
    expect_objects(5);
    uint64_t box = roots[4].word;
    uint64_t value = value_of(roots[0].word);
    ck_assert_uint_eq(weak_word(box, box_words[2]), roots[1].word);
    ck_assert_uint_eq(weak_word(box, box_words[3]), value);
    ck_assert_uint_eq(weak_word(box, box_words[4]), vm_get(vm.m, vm_ref(value), 1));
    ck_assert_uint_eq(handle->word, vm_get(vm.m, vm_ref(value), 1));
    ck_assert_uint_eq(to_ephemeron->word, roots[0].word);
    ck_assert(is_made(handle->word, RECORD, 7));
  }
  roots[1].word = 0;
  expect_objects(2);
  expect_cleared(roots[0].word);
  for (unsigned k = 0; k < 3 && vm_collects; k++)
    ck_assert_uint_eq(weak_word(roots[4].word, box_words[2 + k]), vm.binding.weak_cleared);
  check_weak(handle->word, false, RECORD, 7, "handle");
  ck_assert_uint_eq(to_ephemeron->word, roots[0].word);
  roots[0].word = 0;
  expect_objects(1);
  if (vm_collects) ck_assert_uint_eq(to_ephemeron->word, vm.binding.weak_cleared);
  stop();
}
END_TEST

/* A weak slot to the key does not keep it, nor does a weak vector that is itself a value. */
START_TEST(a001_17_a_weak_value_does_not_keep_the_key) {
  begin_with_cleared("16M", _i);
  roots[0].word = vm_word(make_ephemeron(TSR_DEFAULT));
  roots[1].word = vm_word(make(RECORD, 11, 0));
  roots[2].word = vm_word(make_vector(TSR_DEFAULT, 5));
  vm_set(vm.m, vm_ref(roots[2].word), VECTOR_FIRST + 2, roots[1].word);
  set_pair(roots[0].word, roots[1].word, roots[2].word);
  roots[2].word = 0;
  expect_objects(3);
  ck_assert_uint_eq(weak_word(value_of(roots[0].word), VECTOR_FIRST + 2), roots[1].word);
  roots[1].word = 0;
  expect_objects(1);
  expect_cleared(roots[0].word);
  stop();
}
END_TEST

/* A key that is reached only through a strong slot of something that an ephemeron keeps is alive. */
START_TEST(a001_17_a_key_behind_the_value_of_another) {
  begin_with_cleared("16M", _i);
  build_ephemeron(3); /* root 1 -> list */
  roots[3].word = vm_word(make_ephemeron(TSR_DEFAULT));
  roots[4].word = vm_word(make(RECORD, 4, 0));
  roots[5].word = vm_word(make(RECORD, 5, 0));
  set_pair(roots[3].word, roots[4].word, roots[5].word);
  vm_set(vm.m, vm_ref(roots[2].word), 1, roots[4].word); /* the list's head holds the second key */
  roots[2].word = roots[4].word = roots[5].word = 0;
  for (unsigned round = 0; round < 2; round++) {
    expect_objects(8);
    ck_assert(is_made(key_of(roots[3].word), RECORD, 4));
    ck_assert(is_made(value_of(roots[3].word), RECORD, 5));
  }
  roots[1].word = 0;
  expect_objects(2);
  expect_cleared(roots[0].word);
  expect_cleared(roots[3].word);
  stop();
}
END_TEST

static void add(TCase *tests) {
  tcase_add_loop_test(tests, a001_17_a_value_lives_and_dies_with_its_key, 0, CLEARED_WORDS);
  tcase_add_test(tests, a001_17_a_value_dies_with_its_ephemeron);
  tcase_add_loop_test(tests, a001_17_a_value_with_another_owner_survives_its_key, 0, CLEARED_WORDS);
  tcase_add_loop_test(tests, a001_17_a_value_does_not_keep_its_own_key, 0, CLEARED_WORDS);
  tcase_add_test(tests, a001_17_a_key_that_its_ephemeron_keeps);
  tcase_add_loop_test(tests, a001_17_a_key_that_is_no_reference_never_dies, 0, CLEARED_WORDS);
  tcase_add_loop_test(tests, a001_17_a_value_that_is_no_reference, 0, CLEARED_WORDS);
  tcase_add_loop_test(tests, a001_17_keys_and_values_change, 0, CLEARED_WORDS);
  tcase_add_loop_test(tests, a001_17_keys_and_values_in_every_placement, 0, CLEARED_WORDS);
  tcase_add_loop_test(tests, a001_17_ephemerons_in_every_placement, 0, CLEARED_WORDS);
  tcase_add_loop_test(tests, a001_17_many_ephemerons_with_one_key, 0, CLEARED_WORDS);
  tcase_add_loop_test(tests, a001_17_a_ring_of_ephemerons, 0, CLEARED_WORDS);
  tcase_add_loop_test(tests, a001_17_a_chain_in_any_order_takes_linear_time, 0, ORDERS);
  tcase_add_test(tests, a001_17_ephemerons_deep_in_each_other);
  tcase_add_loop_test(tests, a001_17_keys_of_every_kind_that_are_reached_late, 0, CLEARED_WORDS);
  tcase_add_test(tests, a001_17_dead_keys_beside_living_objects);
#if TSR_GC_BYTE_OFFSET == 0
  tcase_add_test(tests, a001_17_ephemerons_where_the_first_word_is_the_type);
  tcase_add_loop_test(tests, a001_17_keys_whose_layout_is_in_low_bits, 0, ORDERS);
#endif
  tcase_add_loop_test(tests, a001_17_random_graphs_of_weak_objects_and_ephemerons, 0, 8);
  tcase_add_loop_test(tests, a001_17_weak_slots_see_what_ephemerons_keep, 0, CLEARED_WORDS);
  tcase_add_loop_test(tests, a001_17_a_weak_value_does_not_keep_the_key, 0, CLEARED_WORDS);
  tcase_add_loop_test(tests, a001_17_a_key_behind_the_value_of_another, 0, CLEARED_WORDS);
}

int main(void) {
  return vm_main("ephemerons", add);
}
