/*
 * F22. The nursery rests where nearly all that is young survives: what is new is born old, until a cycle of
 * marking has ended. Nothing is lost on the way there and back.
 *
 * Where a plan has one generation, or none rests since stress decides when, what is promised to the VM holds too.
 */
#define ROOTS 256u
#include "draws.h"
#include "made_objects.h"

#define KEPT 1u /* the root of what is kept: a list of pairs */

static unsigned kept;

static void start_resting(const char *heap_min, const char *heap_max) {
  vm_init(&vm);
  vm_alone(&vm); /* its figures tell whether the nursery rests */
  vm_pin(&vm, "heap_min", heap_min);
  vm_pin(&vm, "pause_goal", "200us"); /* so that the nursery is a small one */
  vm_pin(&vm, "heap_max", heap_max);
  vm_start(&vm);
  open_roots();
  kept = 0;
}

static bool rests_are_seen(void) {
  return vm_is_generational() && vm_stress == NULL;
}

#define KEPT_BYTES 400u

static void keep_one(void) {
  roots[0].word = vm_word(make(BYTES, kept, KEPT_BYTES));
  tsr_ref fresh = vm_new(vm.m, PAIR, 0, 0);
  vm_set(vm.m, fresh, vm_slot_index(PAIR, 0), roots[KEPT].word);
  vm_set(vm.m, fresh, vm_slot_index(PAIR, 1), roots[0].word);
  roots[KEPT].word = vm_word(fresh);
  kept++;
}

static void keep(size_t bytes) {
  size_t each = vm_size(PAIR, 0) + vm_size(BYTES, KEPT_BYTES);
  for (size_t done = 0; done < bytes; done += each)
    keep_one();
}

static void check_kept(void) {
  uint64_t word = roots[KEPT].word;
  for (unsigned i = kept; i > 0; i--) {
    tsr_ref pair = vm_ref(word);
    ck_assert(pair != NULL && is_made(vm_get(vm.m, pair, vm_slot_index(PAIR, 1)), BYTES, i - 1));
    word = vm_get(vm.m, pair, vm_slot_index(PAIR, 0));
  }
}

static void drop_kept(void) {
  roots[KEPT].word = 0;
  kept = 0;
}

/* Keeps all until the nursery rests. */
static void until_rest(void) {
  uint64_t before = vm_stats(&vm).nursery_rests;
  unsigned most = rests_are_seen() ? 48 : 2;
  for (unsigned i = 0; i < most && vm_stats(&vm).nursery_rests == before; i++)
    keep(many(MIB));
  if (rests_are_seen()) ck_assert_uint_eq(vm_stats(&vm).nursery_rests, before + 1);
}

/* The minor collections that came as garbage asked for them: a cycle asks for one when it begins and one when it ends. */
static uint64_t minors_for_garbage(const tsr_stats *from, const tsr_stats *to) {
  uint64_t minors = to->minor_collections - from->minor_collections;
  uint64_t for_cycles = 2 * (to->cycles - from->cycles) + 1;
  return minors > for_cycles ? minors - for_cycles : 0;
}

/* Keeps nothing until collections come as garbage asks for them. */
static void until_awake(void) {
  for (unsigned i = 0; i < 20; i++) {
    tsr_stats before = vm_stats(&vm);
    vm_garbage(vm.m, rests_are_seen() ? 32 * MIB : MIB);
    tsr_stats after = vm_stats(&vm);
    if (!rests_are_seen() || minors_for_garbage(&before, &after) >= 2) return;
  }
  ck_abort_msg("the nursery rests for ever");
}

START_TEST(f22_a_nursery_that_is_no_use_rests) {
  start_resting("160M", "256M");
  until_rest();
  tsr_stats before = vm_stats(&vm);
  keep(many(8 * MIB));
  tsr_stats resting = vm_stats(&vm);
  until_awake();
  vm_garbage(vm.m, many(2 * MIB));
  tsr_stats awake = vm_stats(&vm);
  vm_garbage(vm.m, many(48 * MIB));
  tsr_stats after = vm_stats(&vm);
  if (rests_are_seen()) {
    ck_assert_uint_le(resting.minor_collections, before.minor_collections + 2);
    ck_assert_uint_eq(after.nursery_rests, before.nursery_rests);
    ck_assert_uint_ge(minors_for_garbage(&awake, &after), 4);
  }
  check_kept();
  stop();
}
END_TEST

/* ---- what is born meanwhile ---------------------------------------------------------------------------------- */

static const unsigned referrers[] = {PAIR, RECORD, VECTOR, TABLE, CUSTOM, WIDE};
#define REFERRERS (sizeof referrers / sizeof referrers[0])

static const tsr_semantics places[] = {TSR_DEFAULT, TSR_NON_MOVING, TSR_IMMORTAL, TSR_LARGE};
#define PLACES         (sizeof places / sizeof places[0])

#define FIRST_REFERRER 8u

static void make_referrers(unsigned round) {
  for (unsigned r = 0; r < REFERRERS; r++) {
    for (unsigned p = 0; p < PLACES; p++) {
      unsigned root = FIRST_REFERRER + (round * (unsigned)REFERRERS + r) * (unsigned)PLACES + p;
      roots[root].word = vm_word(make_in(places[p], referrers[r], 1, 20));
      keep(2 * KIB);
    }
  }
}

/* Of the referrers of so many rounds, each is made to refer to something young. */
static void check_referrers(unsigned rounds) {
  unsigned end = FIRST_REFERRER + rounds * (unsigned)(REFERRERS * PLACES);
  for (unsigned root = FIRST_REFERRER; root < end; root++) {
    uint64_t young = vm_word(make(BYTES, 7 + root, 100));
    tsr_ref object = vm_ref(roots[root].word);
    vm_set(vm.m, object, vm_slot_index(vm_kind_of(object), 0), young);
  }
  for (unsigned round = 0; round < 3; round++) {
    collect_young();
    for (unsigned root = FIRST_REFERRER; root < end; root++) {
      tsr_ref object = vm_ref(roots[root].word);
      uint64_t word = vm_get(vm.m, object, vm_slot_index(vm_kind_of(object), 0));
      ck_assert_msg(is_made(word, BYTES, 7 + root), "root %u, collection %u", root, round);
    }
  }
}

/* Some before a cycle begins, and some while it runs. */
START_TEST(a001_14_what_is_born_in_a_rest_is_remembered) {
  start_resting("16M", "128M");
  until_rest();
  make_referrers(0);
  uint64_t steps = vm_stats(&vm).increments;
  while (rests_are_seen() && vm_stats(&vm).increments == steps)
    keep(64 * KIB);
  make_referrers(1);
  until_awake();
  check_referrers(2);
  check_kept();
  stop();
}
END_TEST

/* A collection of everything ends it too, whatever the cycle has done. */
START_TEST(a001_14_a_collection_of_everything_ends_a_rest) {
  start_resting("16M", "128M");
  for (unsigned round = 0; round < 2; round++) {
    until_rest();
    make_referrers(round);
    uint64_t steps = vm_stats(&vm).increments;
    while (round > 0 && rests_are_seen() && vm_stats(&vm).increments == steps)
      keep(64 * KIB);
    vm_collect(&vm);
    check_referrers(round + 1);
  }
  check_kept();
  stop();
}
END_TEST

/* One rest after another, with cycles that begin in one form and end in the other where it so happens. */
START_TEST(a001_07_a_cycle_goes_on_in_a_rest) {
  start_resting("16M", "128M");
  until_rest();
  make_referrers(0);
  until_awake();
  until_rest();
  until_awake();
  check_referrers(1);
  check_kept();
  stop();
}
END_TEST

/* Weak references to what is born old. */
START_TEST(a001_17_weak_things_in_a_rest) {
  enum { COUNT = 40 };
  tsr_slot *weak[COUNT];
  start_resting("16M", "128M");
  until_rest();
  for (unsigned i = 0; i < COUNT; i++) {
    uint64_t word = vm_word(make(RECORD, i, 0));
    if (i % 2 == 0) roots[FIRST_REFERRER + i].word = word;
    weak[i] = tsr_handle_new(vm.heap, word, TSR_WEAK, NULL);
    ck_assert_ptr_nonnull(weak[i]);
  }
  until_awake();
  for (unsigned i = 0; i < COUNT; i++) {
    if (i % 2 == 0) {
      ck_assert_uint_eq(weak[i]->word, roots[FIRST_REFERRER + i].word);
      ck_assert(is_made(weak[i]->word, RECORD, i));
    } else if (rests_are_seen()) {
      ck_assert_uint_eq(weak[i]->word, 0);
    }
    ck_assert_int_eq(tsr_handle_free(vm.heap, weak[i], NULL), TSR_OK);
  }
  stop();
}
END_TEST

/* What could ever be had is the same in a rest and before it: it may have ended when memory is used that was promised. */
START_TEST(a001_33_a_rest_promises_no_more) {
  bool possible[16];
  start_resting("16M", "64M");
  for (unsigned round = 0; round < 2; round++) {
    for (unsigned i = 0; i < 16; i++) {
      tsr_memory_request *request = tsr_request_memory(vm.heap, i * 4 * MIB + MIB, 64, NULL);
      if (round == 0) possible[i] = request != NULL;
      ck_assert_msg((request != NULL) == possible[i], "%u MiB, round %u", 4 * i + 1, round);
      tsr_request_end(request);
    }
    if (round == 0) until_rest();
  }
  if (vm_is_generational()) ck_assert(possible[4] && !possible[12]);
  stop();
}
END_TEST

/* What was promised in a rest is used when it has ended, and filled with what lives. */
START_TEST(a001_33_what_a_rest_has_promised) {
  start_resting("16M", "64M");
  until_rest();
  drop_kept();
  tsr_memory_request *request = tsr_request_memory(vm.heap, 16 * MIB, 1 * KIB, NULL);
  ck_assert_ptr_nonnull(request);
  vm_collect(&vm);
  vm_collect(&vm);
  if (vm_collects || vm_stats(&vm).used_bytes < 32 * MIB) {
    ck_assert_int_eq(tsr_request_wait(request, 0, NULL), TSR_OK);
    ck_assert_int_eq(tsr_request_use(request, vm.m, NULL), TSR_OK);
    keep(many(15 * MIB));
    keep(many(4 * MIB));
    check_kept();
  }
  tsr_request_end(request);
  stop();
}
END_TEST

/* While something young is pinned nothing rests. */
START_TEST(f48_pinned_before_a_rest) {
  start_resting("16M", "128M");
  roots[FIRST_REFERRER].word = vm_word(make(RECORD, 9, 0));
  uint64_t pinned = roots[FIRST_REFERRER].word;
  ck_assert_int_eq(tsr_pin(vm.m, vm_ref(pinned), NULL), TSR_OK);
  keep(many(24 * MIB));
  ck_assert_uint_eq(vm_stats(&vm).nursery_rests, 0);
  ck_assert_uint_eq(roots[FIRST_REFERRER].word, pinned);
  ck_assert(is_made(pinned, RECORD, 9));
  ck_assert_int_eq(tsr_unpin(vm.m, vm_ref(pinned), NULL), TSR_OK);
  until_rest();
  ck_assert(is_made(roots[FIRST_REFERRER].word, RECORD, 9));
  check_kept();
  stop();
}
END_TEST

/* What is pinned while the nursery rests does not move when it has ended. */
START_TEST(f48_pinned_in_a_rest) {
  start_resting("16M", "128M");
  until_rest();
  roots[FIRST_REFERRER].word = vm_word(make(RECORD, 9, 0));
  size_t slot = vm_slot_index(RECORD, 0);
  uint64_t content = vm_get(vm.m, vm_ref(roots[FIRST_REFERRER].word), slot);
  uint64_t pinned = roots[FIRST_REFERRER].word;
  ck_assert_int_eq(tsr_pin(vm.m, vm_ref(pinned), NULL), TSR_OK);
  drop_kept(); /* so that its block is sparse */
  for (unsigned i = 0; i < 3; i++) {
    vm_collect(&vm);
    ck_assert_uint_eq(roots[FIRST_REFERRER].word, pinned);
    ck_assert(is_made(pinned, RECORD, 9));
    vm_set(vm.m, vm_ref(pinned), slot, vm_word(make(BYTES, 7, 90)));
    collect_young();
    ck_assert(is_made(vm_get(vm.m, vm_ref(pinned), slot), BYTES, 7));
    vm_set(vm.m, vm_ref(pinned), slot, content);
  }
  ck_assert_int_eq(tsr_unpin(vm.m, vm_ref(pinned), NULL), TSR_OK);
  stop();
}
END_TEST

/* ---- a table of vectors, and what a shadow says that they hold --------------------------------------------- */

#define VECTORS        64u
#define ELEMENTS       40u
#define VECTOR_ROOT(v) (&roots[FIRST_REFERRER + (v)])

static unsigned shadow[VECTORS][ELEMENTS]; /* tags; 0: no object */

static void make_vector(unsigned v) {
  tsr_ref object = place_must(&vm, places[v % PLACES], VECTOR, v, ELEMENTS);
  for (unsigned i = 0; i < ELEMENTS; i++)
    vm_slot(object, vm_slot_index(VECTOR, i))->word = FIXNUM(0);
  VECTOR_ROOT(v)->word = vm_word(object);
  memset(shadow[v], 0, sizeof shadow[v]);
}

static void check_vector(unsigned v) {
  for (unsigned i = 0; i < ELEMENTS; i++) {
    uint64_t word = vm_get(vm.m, vm_ref(VECTOR_ROOT(v)->word), vm_slot_index(VECTOR, i));
    unsigned tag = shadow[v][i];
    ck_assert_msg(tag == 0 ? word == FIXNUM(0) : is_made(word, BYTES, tag), "vector %u, element %u",
                  v, i);
  }
}

/* Phases in which all is kept, and others in which nothing is; stores, and vectors that are replaced, in both. */
START_TEST(a001_14_random_stores_through_rests) {
  seed = 1 + (uint64_t)_i;
  start_resting("16M", "64M");
  for (unsigned v = 0; v < VECTORS; v++)
    make_vector(v);
  for (unsigned phase = 0; phase < 6; phase++) {
    unsigned turns = many(vm_verifies ? 4000 : 10000);
    for (unsigned n = 0; n < turns; n++) {
      unsigned v = (unsigned)draw(VECTORS), i = (unsigned)draw(ELEMENTS);
      unsigned tag = draw(8) == 0 ? 0 : 1 + (unsigned)draw(60000);
      uint64_t word = tag == 0 ? FIXNUM(0) : vm_word(make(BYTES, tag, draw(90)));
      vm_set(vm.m, vm_ref(VECTOR_ROOT(v)->word), vm_slot_index(VECTOR, i), word);
      shadow[v][i] = tag;
      if (n % 64 == 0) check_vector((unsigned)draw(VECTORS));
      if (n % 64 == 32 && v % PLACES != 2) make_vector(v); /* what is immortal stays */
      if (phase % 2 == 0) {
        keep(2 * KIB);
      } else if (n % 8 == 0) {
        vm_garbage(vm.m, 8 * KIB);
      }
    }
    check_kept();
    if (phase % 2 == 1) drop_kept();
  }
  for (unsigned v = 0; v < VECTORS; v++)
    check_vector(v);
  stop();
}
END_TEST

/* ---- many threads ------------------------------------------------------------------------------------------------ */

static void keep_and_drop(vm_thread *self) {
  tsr_slot *own = &roots[FIRST_REFERRER + self->index];
  for (unsigned phase = 0; phase < 4; phase++) {
    unsigned count = many(vm_verifies && VM_SANITIZED ? 1000 : vm_verifies ? 3000 : 10000);
    own->word = FIXNUM(0);
    for (unsigned n = 0; n < count; n++) {
      tsr_ref fresh = vm_new(self->m, VECTOR, n & 0xff, 64);
      EXPECT(self, fresh != NULL);
      vm_set(self->m, fresh, vm_slot_index(VECTOR, 0), own->word);
      for (unsigned i = 1; i < 64; i++)
        vm_set(self->m, fresh, vm_slot_index(VECTOR, i), FIXNUM(n));
      own->word = vm_word(fresh);
    }
    uint64_t word = own->word;
    for (unsigned n = count; n > 0; n--) {
      EXPECT(self, vm_get(self->m, vm_ref(word), vm_slot_index(VECTOR, 63)) == FIXNUM(n - 1));
      word = vm_get(self->m, vm_ref(word), vm_slot_index(VECTOR, 0));
    }
    if (phase % 2 == 0) vm_garbage(self->m, many(4 * MIB));
  }
}

START_TEST(a001_14_many_threads_through_rests) {
  start_resting("16M", "128M");
  vm_threads(&vm, 4, keep_and_drop, NULL);
  stop();
}
END_TEST

static void add(TCase *tests) {
  if (vm_collects) tcase_add_test(tests, a001_14_many_threads_through_rests);
  if (vm_wants_threads()) return;
  if (vm_collects) tcase_add_loop_test(tests, a001_14_random_stores_through_rests, 0, 2);
  tcase_add_test(tests, f22_a_nursery_that_is_no_use_rests);
  tcase_add_test(tests, a001_14_what_is_born_in_a_rest_is_remembered);
  tcase_add_test(tests, a001_14_a_collection_of_everything_ends_a_rest);
  tcase_add_test(tests, a001_07_a_cycle_goes_on_in_a_rest);
  tcase_add_test(tests, a001_17_weak_things_in_a_rest);
  tcase_add_test(tests, a001_33_a_rest_promises_no_more);
  tcase_add_test(tests, a001_33_what_a_rest_has_promised);
  tcase_add_test(tests, f48_pinned_in_a_rest);
  tcase_add_test(tests, f48_pinned_before_a_rest);
}

int main(void) {
  return vm_main("resting", add);
}
