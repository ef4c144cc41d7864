/*
 * F32, F72. Ambiguous roots and interior pointers: a word that may be the address of an object keeps that
 * object alive and where it is; every other word does nothing; and no word is ever changed.
 *
 * Each test that comes twice runs with TSR_NEEDS_AMBIGUOUS_ROOTS alone, and with TSR_NEEDS_INTERIOR_POINTERS
 * too. A plan that does not offer one of them refuses the binding by name, which is then all there
 * is to see.
 */
#include <sys/mman.h>

#define ROOTS 256u
#include "made_objects.h"

#define WORDS 256u
static tsr_slot words[WORDS]; /* the ambiguous range */

static const uint32_t test_needs[] = {TSR_NEEDS_AMBIGUOUS_ROOTS,
                                      TSR_NEEDS_AMBIGUOUS_ROOTS | TSR_NEEDS_INTERIOR_POINTERS};
#define NEEDS (sizeof test_needs / sizeof test_needs[0])

static bool finds_interiors(void) {
  return (vm.binding.needs & TSR_NEEDS_INTERIOR_POINTERS) != 0;
}

/* Whether plans of this name offer what the binding needs; -1: a plan that this test does not know. */
static int offers(uint32_t needs) {
  if (vm_is("nogc") || vm_is("semispace")) return (needs & TSR_NEEDS_INTERIOR_POINTERS) == 0;
  if (vm_is("markcompact") || vm_is("quadcolor")) return true;
  return -1;
}

/* Whether the plan refuses the binding of the VM that has been initialised; by name, then. */
static bool is_refused(void) {
  tsr_error error = {0};
  tsr_heap *heap = tsr_heap_create(&vm.binding, &vm, vm.options, &error);
  int offered = offers(vm.binding.needs);
  ck_assert_msg(offered < 0 || offered == (heap != NULL), "plan %s, needs %#x: %s", vm_plan,
                vm.binding.needs, error.message);
  if (heap != NULL) {
    ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
    return false;
  }
  ck_assert_int_eq(error.status, TSR_MISMATCH);
  ck_assert_msg(vm_says(error.message, "TSR_NEEDS_INTERIOR_POINTERS") ||
                    vm_says(error.message, "TSR_NEEDS_AMBIGUOUS_ROOTS"),
                "%s", error.message);
  ck_assert_msg(vm_says(error.message, vm_plan), "%s", error.message);
  vm_drop(&vm);
  return true;
}

static void add_words(tsr_slot *first, size_t count) {
  tsr_error error = {0};
  tsr_status status = tsr_root_add(vm.heap, first, count, TSR_ROOT_AMBIGUOUS, "words", &error);
  ck_assert_msg(status == TSR_OK, "%s", error.message);
}

/* Starts the VM that has been initialised. False: refused, and nothing more to do. */
static bool start_initialised(uint32_t needs) {
  vm.binding.needs = needs;
  if (is_refused()) return false;
  vm_start(&vm);
  open_roots();
  memset(words, 0, sizeof words);
  if ((needs & TSR_NEEDS_AMBIGUOUS_ROOTS) != 0) add_words(words, WORDS);
  return true;
}

static bool start_needing(uint32_t needs) {
  vm_init(&vm);
  return start_initialised(needs);
}

/* Whether an object of this test begins at the address. */
static bool is_there(tsr_ref object) {
  place_set found = place_enumerate(&vm);
  const place_entry key = {.word = vm_word(object)};
  bool there = found.count > 0 &&
               bsearch(&key, found.at, found.count, sizeof found.at[0], place_by_word) != NULL;
  place_set_free(&found);
  return there;
}

/* ---- exact words ------------------------------------------------------------------------------- */

#define KEPT 100u

/* Vectors, each of which leads to a pair, with garbage between them; roots lead to some more. */
static void make_vectors(tsr_slot *to) {
  for (unsigned i = 0; i < KEPT; i++) {
    to[i].word = vm_word(make(VECTOR, i, 3));
    tsr_ref pair = make(PAIR, 1000 + i, 0);
    vm_set(vm.m, vm_ref(to[i].word), 3, vm_word(pair));
    make(BYTES, 0, 700);
  }
}

static bool is_vector(uint64_t word, unsigned i) {
  return is_made(word, VECTOR, i) && is_made(vm_get(vm.m, vm_ref(word), 3), PAIR, 1000 + i);
}

START_TEST(exact_words_keep_their_objects) {
  if (!start_needing(test_needs[_i])) return;
  static tsr_slot as_they_were[WORDS];
  make_vectors(words); /* each word keeps its vector as soon as it is there */
  make_vectors(roots);
  for (unsigned round = 0; round < 4; round++) {
    memcpy(as_they_were, words, sizeof words);
    vm_garbage(vm.m, 200 * KIB);
    expect_objects((size_t)4 * KEPT);
    ck_assert_msg(memcmp(as_they_were, words, sizeof words) == 0, "a word was changed");
    for (unsigned i = 0; i < KEPT; i++) {
      ck_assert(is_vector(words[i].word, i));
      ck_assert(is_vector(roots[i].word, i));
    }
  }
  for (unsigned i = 0; i < KEPT; i += 2)
    words[i].word = 0;
  expect_objects((size_t)3 * KEPT);
  ck_assert_int_eq(tsr_root_remove(vm.heap, words, NULL), TSR_OK);
  expect_objects((size_t)2 * KEPT);
  for (unsigned i = 0; i < KEPT; i++)
    ck_assert(is_vector(roots[i].word, i));
  stop();
}
END_TEST

/* What moves for its roots stays for a word, and its roots and slots stay right. */
START_TEST(a_word_beside_roots_keeps_an_object_in_place) {
  if (!start_needing(test_needs[_i])) return;
  static tsr_slot where[KEPT];
  make_vectors(roots);
  for (unsigned i = 0; i < KEPT; i += 3)
    words[i].word = roots[i].word;
  for (unsigned round = 0; round < 3; round++) {
    memcpy(where, roots, sizeof where);
    for (unsigned i = 0; i < KEPT; i++)
      vm_set(vm.m, vm_ref(roots[i].word), 2, roots[(i + 1) % KEPT].word);
    vm_garbage(vm.m, 200 * KIB);
    expect_objects((size_t)2 * KEPT);
    for (unsigned i = 0; i < KEPT; i++) {
      ck_assert(i % 3 != 0 || roots[i].word == where[i].word);
      ck_assert(is_vector(roots[i].word, i));
      ck_assert_uint_eq(vm_get(vm.m, vm_ref(roots[i].word), 2), roots[(i + 1) % KEPT].word);
    }
  }
  stop();
}
END_TEST

/* The range lies in memory that faults when it is written. */
START_TEST(words_are_only_read) {
  if (!start_needing(test_needs[_i])) return;
  size_t bytes = 64 * KIB;
  tsr_slot *page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ck_assert(page != MAP_FAILED);
  make_vectors(words);
  memcpy(page, words, sizeof words);
  memset(words, 0, sizeof words);
  ck_assert_int_eq(mprotect(page, bytes, PROT_READ), 0);
  add_words(page, bytes / sizeof *page);
  for (unsigned round = 0; round < 3; round++) {
    vm_garbage(vm.m, 100 * KIB);
    expect_objects((size_t)2 * KEPT);
    for (unsigned i = 0; i < KEPT; i++)
      ck_assert(is_vector(page[i].word, i));
  }
  ck_assert_int_eq(tsr_root_remove(vm.heap, page, NULL), TSR_OK);
  expect_objects(0);
  munmap(page, bytes);
  stop();
}
END_TEST

START_TEST(words_keep_objects_of_every_placement) {
  vm_init(&vm);
  vm_pin(&vm, "heap_max", "64M");
  if (!start_initialised(test_needs[_i])) return;
  static const size_t counts[] = {3, 900, 5000};
  place_set kept = {0};
  place_set immortal = {0};
  unsigned n = 0;
  for (unsigned c = 0; c < PLACE_COMBINATIONS; c++) {
    for (unsigned k = 0; k < 3; k++, n++) {
      tsr_semantics semantics = place_semantics(c);
      tsr_ref object = make_in(semantics, VECTOR, n, counts[k]);
      words[n].word = vm_word(object);
      if (place_sealable(semantics)) ck_assert_int_eq(tsr_seal(vm.m, object, NULL), TSR_OK);
      place_set_add(&kept, vm_word(object), vm_size(VECTOR, counts[k]));
      if (place_of(semantics) == TSR_IMMORTAL) {
        place_set_add(&immortal, vm_word(object), vm_size(VECTOR, counts[k]));
      }
    }
  }
  for (unsigned round = 0; round < 3; round++) {
    vm_garbage(vm.m, 100 * KIB);
    vm_collect(&vm);
    place_heap_holds(&vm, &kept, vm_collects, "with words");
    for (unsigned i = 0; i < n; i++)
      ck_assert(is_made(words[i].word, VECTOR, i));
  }
  memset(words, 0, sizeof words);
  vm_collect(&vm);
  place_heap_holds(&vm, &immortal, vm_collects, "without words");
  place_set_free(&kept);
  place_set_free(&immortal);
  stop();
}
END_TEST

/* ---- the reference rule -------------------------------------------------------------------------- */

#define HIGH(tag) ((uint64_t)(tag) << 48)

#define PLAIN                                                                                      \
  { .low_tags = 0 }
#define BIASED                                                                                     \
  { .bias = 16 }
#define TAGGED                                                                                     \
  { .address_mask = ~7ull, .low_tags = 1 << 1 }
#define BOXED                                                                                      \
  {                                                                                                \
    .address_mask = 0xffffffffffff, .low_tags = 1, .high_shift = 48, .high_first = 0xfffc,         \
    .high_span = 1                                                                                 \
  }

/* A word is read as it is, and by the rule: here it is the address plus `add`, and leads to the object by one
   of the two, or only as an interior pointer, or not at all. */
static const struct {
  const char *what;
  tsr_reference_rule rule;
  uint64_t add;
  bool starts, inside;
} readings[] = {{"a plain address", PLAIN, 0, true, true},
                {"low tag 1, where 1 is a reference", TAGGED, 1, true, true},
                {"no tag, where 1 is a reference", TAGGED, 0, true, true},
                {"low tag 2, where 1 is a reference", TAGGED, 2, false, true},
                {"a boxed reference", BOXED, HIGH(0xfffc), true, true},
                {"a bare address, where references are boxed", BOXED, 0, true, true},
                {"a box of another kind", BOXED, HIGH(0xfffd), false, false},
                {"an address with the bias", BIASED, 16, true, true},
                {"an address without the bias", BIASED, 0, true, true},
                {"an address with another bias", BIASED, 24, false, true},
                {"half a granule too far", PLAIN, 4, false, true},
                {"a double that is no address", PLAIN, HIGH(0x4037), false, false}};
#define READINGS (sizeof readings / sizeof readings[0])

START_TEST(words_are_read_as_they_are_and_by_the_rule) {
  for (size_t i = 0; i < READINGS; i++) {
    vm_init(&vm);
    vm.binding.references = readings[i].rule;
    if (!start_initialised(test_needs[_i])) return;
    for (unsigned round = 0; round < 3; round++) {
      tsr_ref object = make_in(round == 1 ? TSR_NON_MOVING : TSR_DEFAULT, RECORD, 3, 0);
      uint64_t word = vm_word(object) + readings[i].add;
      words[100].word = word;
      make(BYTES, 0, 500);
      vm_collect(&vm);
      bool kept = readings[i].starts || (readings[i].inside && finds_interiors());
      ck_assert_msg(!vm_collects || is_there(object) == kept, "%s: the object %s", readings[i].what,
                    kept ? "went" : "is still there");
      ck_assert(!kept || is_made(vm_word(object), RECORD, 3));
      ck_assert_uint_eq(words[100].word, word);
      words[100].word = 0;
      expect_objects(0);
    }
    stop();
  }
}
END_TEST

/* ---- interior words -------------------------------------------------------------------------------- */

static const struct {
  tsr_semantics semantics;
  unsigned kind;
  size_t count;
} bodies[] = {
    {TSR_DEFAULT, RECORD, 0},      {TSR_DEFAULT, BYTES, 501},         {TSR_DEFAULT, PAIR, 0},
    {TSR_DEFAULT, VECTOR, 800},    {TSR_DEFAULT | TSR_LEAF, PAIR, 0}, {TSR_NON_MOVING, RECORD, 0},
    {TSR_NON_MOVING, BYTES, 3001}, {TSR_READ_ONLY, VECTOR, 100},      {TSR_LARGE, BYTES, 100},
    {TSR_DEFAULT, VECTOR, 40000}};
#define BODIES  (sizeof bodies / sizeof bodies[0])

#define INSIDES 7u

/* Distances from the start of an object to places in it; the last one is just past it. */
static size_t inside(size_t size, unsigned i) {
  const size_t places[INSIDES + 1] = {1,        7,        8,   size / 2, size / 3 * 2 + 1,
                                      size - 8, size - 1, size};
  return places[i];
}

START_TEST(interior_words_keep_where_that_is_declared) {
  for (size_t b = 0; b < BODIES; b++) {
    if (!start_needing(test_needs[_i])) return;
    for (unsigned i = 0; i <= INSIDES; i++) {
      make_in(bodies[b].semantics, RECORD, 1, 0);
      tsr_ref object = make_in(bodies[b].semantics, bodies[b].kind, 2, bodies[b].count);
      size_t size = tsr_object_size(vm.heap, object, NULL);
      uint64_t word = vm_word(object) + inside(size, i);
      words[3].word = word;
      make_in(bodies[b].semantics, RECORD, 3, 0);
      vm_collect(&vm);
      bool kept = i < INSIDES && finds_interiors();
      ck_assert_msg(!vm_collects || is_there(object) == kept,
                    "%s, %zu bytes, the word %zu behind its start: the object %s",
                    place_name(bodies[b].semantics), size, inside(size, i),
                    kept ? "went" : "is still there");
      ck_assert(!kept || is_made(vm_word(object), bodies[b].kind, 2));
      ck_assert_uint_eq(words[3].word, word);
      words[3].word = 0;
      expect_objects(0);
    }
    stop();
  }
}
END_TEST

/* ---- words that are no references ------------------------------------------------------------------ */

#define DEAD 400u

typedef struct strangers {
  uint64_t random;
  uint64_t lowest, highest; /* of all objects that there have been */
  uint64_t dead[DEAD];      /* where objects were that collections freed */
} strangers;

static void strangers_see(strangers *s, tsr_ref object) {
  uint64_t word = vm_word(object);
  if (word < s->lowest) s->lowest = word;
  if (word > s->highest) s->highest = word;
  s->dead[vm_random(&s->random) % DEAD] = word;
}

static uint64_t a_double(strangers *s) {
  double value =
      (double)(int64_t)vm_random(&s->random) / (double)(1 + vm_random(&s->random) % 1000);
  uint64_t word;
  memcpy(&word, &value, sizeof word);
  return word;
}

static uint64_t a_strange_word(strangers *s) {
  static const uint64_t constants[] = {
      0,          1,          UINT64_MAX,       UINT64_MAX << 3,
      1ull << 47, 1ull << 63, (1ull << 47) - 8, 0xfffc000000000000};
  uint64_t random = vm_random(&s->random);
  tsr_bump_pointer pair = vm.m->bump[random / 8 % TSR_BUMP_POINTERS];
  switch (random % 8) {
  case 0:
    return vm_random(&s->random);
  case 1:
    return random >> 50;
  case 2:
    return a_double(s);
  case 3: /* in and around the heap, in any position */
    return s->lowest - MIB + vm_random(&s->random) % (s->highest - s->lowest + 2 * MIB);
  case 4: /* the same, where an object could begin */
    return (s->lowest + vm_random(&s->random) % (s->highest - s->lowest + 2 * MIB)) & ~7ull;
  case 5:
    return s->dead[random / 8 % DEAD];
  case 6: /* the free end of a buffer */
    return pair.cursor + (pair.limit > pair.cursor ? random / 64 % (pair.limit - pair.cursor) : 0);
  default:
    return constants[random / 8 % 8];
  }
}

/* Garbage of all placements, with references among it; holes and gaps come by themselves. */
static void make_strangers(strangers *s) {
  static const tsr_semantics placements[] = {TSR_DEFAULT, TSR_NON_MOVING, TSR_DEFAULT | TSR_LEAF,
                                             TSR_LARGE};
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *last = tsr_local(vm.m, 0);
  for (unsigned i = 0; i < 300; i++) {
    tsr_semantics semantics = placements[vm_random(&s->random) % 40 == 0 ? 3 : i % 3];
    unsigned kind = i % 5 == 0 ? VECTOR : PAIR;
    tsr_ref object = make_in(semantics, kind, 1, kind == PAIR ? 0 : vm_random(&s->random) % 200);
    if (i % 10 != 0 && vm_slots(kind, vm_count_of(object)) > 0 && (semantics & TSR_LEAF) == 0) {
      vm_set(vm.m, object, vm_slot_index(kind, 0), last->word);
    }
    last->word = vm_word(object);
    strangers_see(s, object);
    if (i % 50 == 0) { /* a gap, where the alignment is not met by chance */
      void *memory = tsr_alloc(vm.m, 64, 256, 8, TSR_NON_MOVING);
      ck_assert_ptr_nonnull(memory);
      vm_init_filler(memory, 64);
      ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)memory, 64, TSR_NON_MOVING), TSR_OK);
    }
  }
  tsr_scope_close(vm.m, &scope);
}

START_TEST(words_that_are_no_references_do_no_harm) {
  if (!start_needing(test_needs[_i])) return;
  strangers s = {.random = 88172645463325252u + (unsigned)_i, .lowest = UINT64_MAX};
  static tsr_slot as_they_were[WORDS];
  ck_assert(vm_list(vm.m, &roots[0], 500, 3));
  ck_assert(vm_tree(vm.m, &roots[1], 7));
  for (unsigned round = 0; round < 40; round++) {
    make_strangers(&s);
    for (unsigned i = 0; i < WORDS; i++)
      words[i].word = a_strange_word(&s);
    memcpy(as_they_were, words, sizeof words);
    vm_collect(&vm);
    ck_assert_msg(memcmp(as_they_were, words, sizeof words) == 0, "a word was changed");
    ck_assert(vm_list_holds(vm.m, roots[0].word, 500, 3));
    ck_assert(vm_tree_holds(vm.m, roots[1].word, 7));
    place_verify(&vm);
  }
  memset(words, 0, sizeof words);
  expect_objects(500 + 127);
  stop();
}
END_TEST

/* What a collection has freed does not come back when somebody finds its address again, whatever is
   still written there. */
START_TEST(the_dead_stay_dead) {
  static const tsr_semantics placements[] = {TSR_DEFAULT, TSR_NON_MOVING, TSR_LARGE, TSR_READ_ONLY};
  for (unsigned p = 0; p < 4; p++) {
    vm_init_calm(&vm);
    if (!start_initialised(test_needs[_i])) return;
    for (unsigned i = 0; i < 100; i++) {
      tsr_ref object = make_in(placements[p], VECTOR, i, 20);
      if (i > 0) vm_set(vm.m, object, 2, words[i - 1].word);
      words[i].word = vm_word(object);
      if (i % 10 == 0) roots[i / 10].word = vm_word(make_in(placements[p], RECORD, i, 0));
    }
    static tsr_slot dead[100];
    memcpy(dead, words, sizeof dead);
    memset(words, 0, sizeof words);
    expect_objects(10);
    memcpy(words, dead, sizeof dead);
    for (unsigned i = 0; i < 100; i++)
      words[100 + i].word = dead[i].word + 24;
    for (unsigned round = 0; round < 3; round++) {
      expect_objects(10);
      place_verify(&vm);
    }
    for (unsigned i = 0; i < 10; i++)
      ck_assert(is_made(roots[i].word, RECORD, 10 * i));
    stop();
  }
}
END_TEST

/* ---- what is refused ----------------------------------------------------------------------------------- */

START_TEST(plans_offer_what_is_documented) {
  for (size_t i = 0; i < NEEDS; i++) {
    vm_init_calm(&vm);
    vm.binding.needs = test_needs[i];
    if (!is_refused()) vm_drop(&vm);
  }
}
END_TEST

START_TEST(an_undeclared_range_is_refused) {
  static const uint32_t cases[] = {0, TSR_NEEDS_INTERIOR_POINTERS};
  for (unsigned i = 0; i < 2; i++) {
    if (!start_needing(cases[i])) return;
    tsr_error error = {0};
    ck_assert_int_eq(tsr_root_add(vm.heap, words, WORDS, TSR_ROOT_AMBIGUOUS, NULL, &error),
                     TSR_MISMATCH);
    ck_assert_int_eq(error.status, TSR_MISMATCH);
    ck_assert_msg(vm_says(error.message, "TSR_NEEDS_AMBIGUOUS_ROOTS"), "%s", error.message);
    ck_assert_int_eq(tsr_root_remove(vm.heap, words, NULL), TSR_INVALID_ARGUMENT);
    words[0].word = vm_word(make(RECORD, 1, 0));
    expect_objects(0);
    stop();
  }
}
END_TEST

START_TEST(ranges_of_both_kinds_are_checked_alike) {
  if (!start_needing(test_needs[0])) return;
  static tsr_slot table[20];
  memset(table, 0, sizeof table);
  tsr_error error = {0};
  tsr_slot *misaligned = (tsr_slot *)((uintptr_t)table + 4);
  ck_assert_int_eq(tsr_root_add(vm.heap, misaligned, 2, TSR_ROOT_AMBIGUOUS, NULL, &error),
                   TSR_INVALID_ARGUMENT);
  ck_assert_int_eq(tsr_root_add(vm.heap, NULL, 2, TSR_ROOT_AMBIGUOUS, NULL, &error),
                   TSR_INVALID_ARGUMENT);
  ck_assert_int_eq(tsr_root_add(vm.heap, table, 0, TSR_ROOT_AMBIGUOUS, NULL, &error),
                   TSR_INVALID_ARGUMENT);
  ck_assert_int_eq(tsr_root_add(vm.heap, table, 2, (tsr_root_kind)2, NULL, &error),
                   TSR_INVALID_ARGUMENT);
  ck_assert_int_eq(tsr_root_add(vm.heap, words + 5, 2, TSR_ROOT_PRECISE, NULL, &error), TSR_BUSY);
  ck_assert_int_eq(tsr_root_add(vm.heap, roots + 5, 2, TSR_ROOT_AMBIGUOUS, NULL, &error), TSR_BUSY);
  ck_assert_msg(vm_says(error.message, "table"), "%s", error.message); /* the name of the roots */

  /* Side by side, and each is read as what it is. */
  add_words(table, 10);
  ck_assert_int_eq(tsr_root_add(vm.heap, table + 10, 10, TSR_ROOT_PRECISE, NULL, NULL), TSR_OK);
  for (unsigned i = 0; i < 20; i++) {
    table[i].word = vm_word(make(RECORD, i, 0));
    make(BYTES, 0, 4000);
  }
  tsr_slot where[20];
  memcpy(where, table, sizeof where);
  expect_objects(20);
  ck_assert_int_eq(memcmp(where, table, 10 * sizeof where[0]), 0);
  for (unsigned i = 0; i < 20; i++)
    ck_assert(is_made(table[i].word, RECORD, i));
  ck_assert_int_eq(tsr_root_remove(vm.heap, table, NULL), TSR_OK);
  expect_objects(10);
  ck_assert_int_eq(tsr_root_remove(vm.heap, table + 10, NULL), TSR_OK);
  expect_objects(0);
  stop();
}
END_TEST

/* ---- tsr_object_of --------------------------------------------------------------------------------------- */

static tsr_ref object_of(uint64_t address) {
  tsr_error error = {.status = TSR_OK};
  tsr_ref object = tsr_object_of(vm.m, (const void *)(uintptr_t)address, &error);
  ck_assert_msg(error.status == TSR_OK, "tsr_object_of: %s", error.message);
  return object;
}

static void check_insides(tsr_ref object, size_t size) {
  ck_assert_ptr_eq(object_of(vm_word(object)), object);
  for (unsigned i = 0; i < INSIDES; i++)
    ck_assert_ptr_eq(object_of(vm_word(object) + inside(size, i)), object);
  if (vm.company != NULL) return; /* what lies behind it may be in another thread's making */
  tsr_ref next = object_of(vm_word(object) + size);
  ck_assert(next == NULL || vm_word(next) == vm_word(object) + size);
}

START_TEST(f72_addresses_lead_to_their_objects) {
  if (!start_needing(TSR_NEEDS_INTERIOR_POINTERS)) return;
  for (unsigned round = 0; round < 3; round++) {
    for (unsigned b = 0; b < BODIES; b++) {
      tsr_ref object = make_in(bodies[b].semantics, bodies[b].kind, b, bodies[b].count);
      roots[b].word = vm_word(object);
      check_insides(object, tsr_object_size(vm.heap, object, NULL)); /* its buffer is in use */
    }
    for (unsigned b = 0; b < BODIES; b++) {
      tsr_ref object = vm_ref(roots[b].word);
      check_insides(object, tsr_object_size(vm.heap, object, NULL));
    }
    vm_collect(&vm);
    for (unsigned b = 0; b < BODIES; b++) {
      tsr_ref object = vm_ref(roots[b].word);
      check_insides(object, tsr_object_size(vm.heap, object, NULL));
      ck_assert(is_made(vm_word(object), bodies[b].kind, b));
    }
  }
  stop();
}
END_TEST

/* Every address in the heap, and some around it, agree with a walk of the whole heap. */
START_TEST(addresses_agree_with_an_enumeration) {
  vm_init_calm(&vm);
  vm_alone(&vm); /* nobody else allocates */
  if (!start_initialised(test_needs[1])) return;
  strangers s = {.random = 5, .lowest = UINT64_MAX};
  for (unsigned round = 0; round < 6; round++) {
    make_strangers(&s);
    for (unsigned i = 0; i < WORDS; i++)
      words[i].word = round % 2 == 0 ? 0 : a_strange_word(&s);
    if (round > 0) vm_collect(&vm);
    make_strangers(&s);
    place_set found = place_enumerate(&vm);
    uint64_t at = s.lowest - 40 * KIB;
    for (size_t k = 0; at < s.highest + 40 * KIB; at += 1 + vm_random(&s.random) % 32) {
      while (k < found.count && found.at[k].word + found.at[k].size <= at)
        k++;
      bool inside_one = k < found.count && found.at[k].word <= at;
      tsr_ref wanted = inside_one ? vm_ref(found.at[k].word) : NULL;
      tsr_ref got = object_of(at);
      if (got != wanted)
        ck_abort_msg("%#llx: %p, not %p", (unsigned long long)at, (void *)got, (void *)wanted);
    }
    place_set_free(&found);
  }
  stop();
}
END_TEST

START_TEST(addresses_that_lead_nowhere) {
  vm_init_calm(&vm);
  vm_alone(&vm);
  if (!start_initialised(TSR_NEEDS_INTERIOR_POINTERS)) return;
  int outside;
  uint64_t freed[3];
  static const tsr_semantics placements[] = {TSR_NON_MOVING, TSR_LARGE, TSR_READ_ONLY};
  make(RECORD, 1, 0);
  for (unsigned i = 0; i < 3; i++)
    freed[i] = vm_word(make_in(placements[i], BYTES, 1, 300));
  ck_assert_ptr_null(object_of(0));
  ck_assert_ptr_null(object_of(8));
  ck_assert_ptr_null(object_of(UINT64_MAX));
  ck_assert_ptr_null(object_of(vm_word(&outside)));
  ck_assert_ptr_null(object_of(vm.m->bump[TSR_DEFAULT].cursor));
  ck_assert_ptr_null(object_of(vm.m->bump[TSR_DEFAULT].limit - 1));
  vm_collect(&vm);
  for (unsigned i = 0; i < 3; i++) {
    ck_assert(!vm_collects || object_of(freed[i]) == NULL);
    ck_assert(!vm_collects || object_of(freed[i] + 100) == NULL);
  }
  stop();
}
END_TEST

START_TEST(object_of_is_refused_where_it_cannot_be) {
  start_needing(0);
  tsr_ref object = make(RECORD, 1, 0);
  tsr_error error = {0};
  ck_assert_ptr_null(tsr_object_of(vm.m, object, &error));
  ck_assert_int_eq(error.status, TSR_MISMATCH);
  ck_assert_msg(vm_says(error.message, "TSR_NEEDS_INTERIOR_POINTERS"), "%s", error.message);
  ck_assert_ptr_null(tsr_object_of(vm.m, object, NULL));
  stop();
  if (!start_needing(TSR_NEEDS_INTERIOR_POINTERS)) return;
  object = make(RECORD, 1, 0);
  roots[0].word = vm_word(object);
  tsr_enter_native(vm.m);
  ck_assert_ptr_null(tsr_object_of(vm.m, object, &error));
  ck_assert_int_eq(error.status, TSR_BUSY);
  ck_assert_msg(vm_says(error.message, "tsr_object_of"), "%s", error.message);
  tsr_leave_native(vm.m);
  ck_assert_ptr_eq(object_of(roots[0].word + 9), vm_ref(roots[0].word));
  stop();
}
END_TEST

/* Each finds its own objects, whatever the others are doing in the same blocks. */
static void find_own_objects(vm_thread *self) {
  tsr_slot *slot = tsr_local(self->m, 0);
  for (unsigned turn = 0; turn < 400; turn++) {
    tsr_semantics semantics = turn % 3 == 0 ? TSR_NON_MOVING : TSR_DEFAULT;
    size_t count = (size_t)20 * (turn % 7);
    size_t size = vm_size(VECTOR, count);
    void *memory = tsr_alloc(self->m, size, TSR_OBJECT_ALIGN, 0, semantics);
    EXPECT(self, memory != NULL);
    vm_init_object(memory, VECTOR, turn, count);
    EXPECT(self, tsr_post_alloc(self->m, (tsr_ref)memory, size, semantics) == TSR_OK);
    slot->word = vm_word(memory);
    EXPECT(self, tsr_object_of(self->m, (char *)memory + size - 1, NULL) == (tsr_ref)memory);
    if (turn % 40 == self->index) {
      EXPECT(self, tsr_collect(self->m, NULL) == (vm_collects ? TSR_OK : TSR_UNSUPPORTED));
    }
    const char *now = (const char *)(uintptr_t)slot->word;
    EXPECT(self, tsr_object_of(self->m, now + size / 2, NULL) == vm_ref(slot->word));
    tsr_safepoint(self->m);
  }
}

START_TEST(threads_find_their_objects) {
  if (!start_needing(TSR_NEEDS_INTERIOR_POINTERS)) return;
  vm_threads(&vm, 4, find_own_objects, NULL);
  stop();
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, plans_offer_what_is_documented);
  tcase_add_loop_test(tests, exact_words_keep_their_objects, 0, NEEDS);
  tcase_add_loop_test(tests, a_word_beside_roots_keeps_an_object_in_place, 0, NEEDS);
  tcase_add_loop_test(tests, words_are_only_read, 0, NEEDS);
  tcase_add_loop_test(tests, words_keep_objects_of_every_placement, 0, NEEDS);
  tcase_add_loop_test(tests, words_are_read_as_they_are_and_by_the_rule, 0, NEEDS);
  tcase_add_loop_test(tests, interior_words_keep_where_that_is_declared, 0, NEEDS);
  tcase_add_loop_test(tests, words_that_are_no_references_do_no_harm, 0, NEEDS);
  tcase_add_loop_test(tests, the_dead_stay_dead, 0, NEEDS);
  tcase_add_test(tests, an_undeclared_range_is_refused);
  tcase_add_test(tests, ranges_of_both_kinds_are_checked_alike);
  tcase_add_test(tests, f72_addresses_lead_to_their_objects);
  tcase_add_test(tests, addresses_agree_with_an_enumeration);
  tcase_add_test(tests, addresses_that_lead_nowhere);
  tcase_add_test(tests, object_of_is_refused_where_it_cannot_be);
  tcase_add_test(tests, threads_find_their_objects);
}

int main(void) {
  return vm_main("ambiguous", add);
}
