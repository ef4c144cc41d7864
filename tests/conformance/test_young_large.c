/*
 * F22, A001-14. Large objects that die young go with the young; those that do not are what they were, where they were, and
 * what they refer to as well.
 *
 * Where a plan has one generation, a collection of everything takes the place of a minor one.
 */
#include "weak_fixture.h"

#define LARGE_BYTES  (100 * KIB)
#define LARGE_LENGTH ((size_t)12000)

/* The heap collects by itself only where its young generation is full. */
static void start_generations(const char *heap_max) {
  vm_init_calm(&vm);
  vm_alone(&vm);
  vm_pin(&vm, "heap_max", heap_max);
  vm_pin(&vm, "nursery", "256K");
  begin();
}

static uint64_t get(uint64_t word, unsigned kind, size_t slot) {
  return vm_get(vm.m, vm_ref(word), vm_slot_index(kind, slot));
}

static void set(uint64_t word, unsigned kind, size_t slot, uint64_t value) {
  vm_set(vm.m, vm_ref(word), vm_slot_index(kind, slot), value);
}

/* ---- large objects of every kind ------------------------------------------------------------------------- */

static const unsigned large_kinds[] = {BYTES, VECTOR, TABLE, CUSTOM};
#define LARGE_KINDS ((int)(sizeof large_kinds / sizeof large_kinds[0]))

static const size_t places[] = {0, 1, 300, 4095, 4096, LARGE_LENGTH - 1};
#define PLACES (sizeof places / sizeof places[0])

static size_t large_count(unsigned kind) {
  if (kind == BYTES) return LARGE_BYTES;
  return kind == TABLE ? LARGE_LENGTH / 2 : LARGE_LENGTH;
}

/* A fresh one in a root, with records in some places. Those are allocated after it, so it may be old already. */
static void make_large(tsr_slot *to, unsigned kind, unsigned tag) {
  to->word = vm_word(make(kind, tag, large_count(kind)));
  for (unsigned i = 0; kind != BYTES && i < PLACES; i++) {
    uint64_t record = vm_word(make(RECORD, tag + i, 0));
    set(to->word, kind, places[i], record);
  }
}

static bool is_large(uint64_t word, unsigned kind, unsigned tag) {
  if (!is_made(word, kind, tag) || vm_count_of(vm_ref(word)) != large_count(kind)) return false;
  for (unsigned i = 0; kind != BYTES && i < PLACES; i++) {
    if (!is_made(get(word, kind, places[i]), RECORD, tag + i)) return false;
  }
  return true;
}

/* ---- what dies ------------------------------------------------------------------------------------------- */

/* However many there are, no collection of everything is needed, and each minor one leaves none. */
START_TEST(a001_14_large_garbage_goes_with_the_young) {
  enum { COUNT = 2000 };
  start_generations("64M");
  ck_assert(vm_tree(vm.m, &roots[0], 14));
  vm_collect(&vm);
  uint64_t live = vm.last_collection.after_bytes;
  unsigned ended = vm.ended, minors = 0, late = 0;
  for (unsigned i = 0; i < COUNT; i++) {
    ck_assert_ptr_nonnull(vm_new(vm.m, i % 2 == 0 ? BYTES : VECTOR, 1, LARGE_LENGTH));
    if (vm.ended == ended) continue;
    ended = vm.ended;
    ck_assert(!vm_is_generational() || vm.last_collection.minor != 0);
    if (vm_is_still()) continue;
    ck_assert_uint_le(vm.last_collection.after_bytes, live + MIB);
    minors++;
    late += vm.last_collection.before_bytes > live + 5 * MIB;
  }
  /* A minor one comes when they take an eighth of the heap; later where the ones before took long to look at roots, be it for
     want of a processor. */
  if (vm_is_generational()) ck_assert_msg(late <= minors / 2, "%u of %u", late, minors);
  /* The memory of those that are gone is there for the next. */
  ck_assert_uint_le(vm.last_collection.committed_bytes, (vm_verifies ? 64 : 40) * MIB);
  ck_assert(vm_tree_holds(vm.m, roots[0].word, 14));
  stop();
}
END_TEST

/* Makes one that nobody refers to. Whether that took a collection of everything. */
static bool drop_one_by_major(size_t bytes) {
  unsigned ended = vm.ended;
  ck_assert_ptr_nonnull(vm_new(vm.m, BYTES, 3, bytes));
  return vm_is_generational() && vm.ended != ended && vm.last_collection.minor == 0;
}

/* Where the maximum is so small that two of them do not fit: what is freed makes room for the next. */
START_TEST(a001_14_large_garbage_in_a_small_heap) {
  start_generations("4M");
  for (unsigned i = 0; i < 400; i++) {
    ck_assert_msg(!drop_one_by_major(2000 * KIB), "of everything, at %u", i);
    roots[1].word = vm_word(make(RECORD, i, 0));
    ck_assert(is_made(roots[1].word, RECORD, i));
  }
  stop();
}
END_TEST

/* Where the heap has less room than they may take: they are the first to go, and what is old need not be looked at. */
START_TEST(a001_14_large_garbage_in_a_heap_that_is_nearly_full) {
  enum { LIVE = 290, COUNT = 1000 };
  start_generations("32M");
  roots[0].word = vm_word(make(VECTOR, 1, LIVE));
  for (unsigned i = 0; i < LIVE; i++)
    set(roots[0].word, VECTOR, i, vm_word(vm_new(vm.m, BYTES, 2, 90 * KIB)));
  vm_collect(&vm);
  for (unsigned i = 0; i < COUNT; i++)
    ck_assert_msg(!drop_one_by_major(64 * KIB), "of everything, at %u", i);
  stop();
}
END_TEST

/* A minor collection counts what of the young has survived; one that ends a sweep all that lives, once. */
START_TEST(a001_14_large_objects_count_once) {
  start_generations("64M");
  vm_collect(&vm);
  for (unsigned i = 0; i < 200; i++) {
    roots[i % 100].word = vm_word(vm_new(vm.m, BYTES, i, 90 * KIB));
    vm_garbage(vm.m, 64 * KIB);
    ck_assert_uint_le(vm.last_collection.live_bytes, vm.last_collection.after_bytes);
  }
  stop();
}
END_TEST

/* Those that have lost their end count as what is left. */
START_TEST(a001_14_large_objects_that_were_shrunk) {
  enum { COUNT = 600, LEFT = 9000 };
  start_generations("32M");
  vm_collect(&vm);
  uint64_t live = vm.last_collection.after_bytes;
  for (unsigned i = 0; i < COUNT; i++) {
    tsr_ref object = make(BYTES, i, 4 * LARGE_BYTES);
    ck_assert_int_eq(tsr_shrink(vm.m, object, vm_size(BYTES, LEFT), NULL), TSR_OK);
    ((uint64_t *)(void *)object)[1] = LEFT;
    ck_assert(vm_filled(object, i));
    roots[i % 8].word = vm_word(object);
  }
  collect_young();
  for (unsigned i = COUNT - 8; i < COUNT; i++)
    ck_assert(is_made(roots[i % 8].word, BYTES, i));
  ck_assert_uint_le(vm.last_collection.after_bytes, live + 2 * MIB);
  stop();
}
END_TEST

/* ---- what is reached ------------------------------------------------------------------------------------- */

enum {
  BY_ROOT,
  BY_OLD_PAIR,
  BY_OLD_ARRAY,
  BY_YOUNG,
  BY_LARGE,
  BY_STAYING,
  BY_HANDLE,
  BY_EPHEMERON,
  WAYS
};

/* Of the object of root 0 that refers to another by a slot: its kind, and which one. */
static unsigned referrer_kind(unsigned way) {
  return way == BY_OLD_ARRAY || way == BY_LARGE ? VECTOR : PAIR;
}

static size_t referrer_slot(unsigned way) {
  return way == BY_OLD_ARRAY ? 5000 : 1;
}

/* Makes root 0 refer to the object of root 1 in one way or another. */
static void refer(unsigned way, tsr_slot **handle) {
  if (way == BY_YOUNG) roots[0].word = vm_word(make(PAIR, 1, 0));
  if (way == BY_LARGE) roots[0].word = vm_word(make(VECTOR, 1, LARGE_LENGTH));
  if (way == BY_STAYING) roots[0].word = vm_word(make_in(TSR_NON_MOVING, PAIR, 1, 0));
  if (way == BY_EPHEMERON) {
    roots[0].word = vm_word(make_ephemeron(TSR_DEFAULT));
    set_pair(roots[0].word, roots[2].word, roots[1].word);
  } else if (way == BY_HANDLE) {
    *handle = handle_of(roots[1].word, TSR_STRONG);
  } else if (way == BY_ROOT) {
    roots[0].word = roots[1].word;
  } else {
    set(roots[0].word, referrer_kind(way), referrer_slot(way), roots[1].word);
  }
}

static uint64_t referred(unsigned way, const tsr_slot *handle) {
  if (way == BY_HANDLE) return handle->word;
  if (way == BY_EPHEMERON) return value_of(roots[0].word);
  if (way == BY_ROOT) return roots[0].word;
  return get(roots[0].word, referrer_kind(way), referrer_slot(way));
}

START_TEST(a001_14_large_objects_are_reached) {
  unsigned kind = large_kinds[_i % LARGE_KINDS], way = (unsigned)(_i / LARGE_KINDS);
  tsr_slot *handle = NULL;
  start_generations("64M");
  roots[2].word = vm_word(make(RECORD, 3, 0));
  if (way == BY_OLD_PAIR) roots[0].word = vm_word(make(PAIR, 1, 0));
  if (way == BY_OLD_ARRAY) roots[0].word = vm_word(make(VECTOR, 1, LARGE_LENGTH));
  vm_collect(&vm);
  make_large(&roots[1], kind, 40);
  uint64_t place = roots[1].word;
  refer(way, &handle);
  roots[1].word = 0;
  for (unsigned round = 0; round < 4; round++) {
    collect_young();
    uint64_t word = referred(way, handle);
    ck_assert_uint_eq(word, place);
    ck_assert_msg(is_large(word, kind, 40), "round %u", round);
    /* It is old now, and what is stored into it young. */
    if (kind != BYTES) set(word, kind, places[round], vm_word(make(RECORD, 40 + round, 0)));
  }
  vm_collect(&vm);
  ck_assert(is_large(referred(way, handle), kind, 40));
  stop();
}
END_TEST

START_TEST(a001_14_a_pinned_large_object_is_kept) {
  start_generations("64M");
  make_large(&roots[0], VECTOR, 5);
  uint64_t word = roots[0].word;
  ck_assert_int_eq(tsr_pin(vm.m, vm_ref(word), NULL), TSR_OK);
  roots[0].word = 0;
  for (unsigned round = 0; round < 3; round++) {
    collect_young();
    ck_assert(is_large(word, VECTOR, 5));
  }
  ck_assert_int_eq(tsr_unpin(vm.m, vm_ref(word), NULL), TSR_OK);
  stop();
}
END_TEST

/* What nobody refers to: immortal objects are never freed, nor is one that is sealed while it is in use. */
START_TEST(a001_14_large_objects_that_are_born_old) {
  start_generations("64M");
  tsr_ref immortal = make_in(TSR_IMMORTAL, VECTOR, 7, LARGE_LENGTH);
  roots[0].word = vm_word(make_in(TSR_READ_ONLY, VECTOR, 8, LARGE_LENGTH));
  uint64_t record = vm_word(make(RECORD, 9, 0));
  vm_set(vm.m, immortal, vm_slot_index(VECTOR, 11), record);
  set(roots[0].word, VECTOR, 11, record);
  ck_assert_int_eq(tsr_seal(vm.m, vm_ref(roots[0].word), NULL), TSR_OK);
  for (unsigned round = 0; round < 3; round++) {
    collect_young();
    ck_assert(is_made(vm_word(immortal), VECTOR, 7) && is_made(roots[0].word, VECTOR, 8));
    ck_assert(is_made(vm_get(vm.m, immortal, vm_slot_index(VECTOR, 11)), RECORD, 9));
    ck_assert(is_made(get(roots[0].word, VECTOR, 11), RECORD, 9));
  }
  stop();
}
END_TEST

/* ---- weak things ----------------------------------------------------------------------------------------- */

START_TEST(a001_17_weak_slots_and_keys_that_are_young_and_large) {
  unsigned kind = large_kinds[_i];
  start_generations("64M");
  roots[0].word = vm_word(make_box(1));
  roots[1].word = vm_word(make_ephemeron(TSR_DEFAULT));
  roots[2].word = vm_word(make_ephemeron(TSR_DEFAULT));
  if (_i % 2 == 0) vm_collect(&vm);
  make_large(&roots[3], kind, 40);
  make_large(&roots[4], kind, 50);
  vm_set(vm.m, vm_ref(roots[0].word), 3, roots[3].word);
  vm_set(vm.m, vm_ref(roots[0].word), 5, roots[4].word);
  set_pair(roots[1].word, roots[3].word, vm_word(make(RECORD, 3, 0)));
  set_pair(roots[2].word, roots[4].word, vm_word(make(RECORD, 4, 0)));
  roots[4].word = 0;
  if (_i % 2 != 0) vm_collect(&vm);
  for (unsigned round = 0; round < 3; round++) {
    collect_young();
    ck_assert(is_large(roots[3].word, kind, 40));
    ck_assert_uint_eq(weak_word(roots[0].word, 3), roots[3].word);
    ck_assert_uint_eq(key_of(roots[1].word), roots[3].word);
    ck_assert(is_made(value_of(roots[1].word), RECORD, 3));
    check_weak(weak_word(roots[0].word, 5), false, kind, 50, "word 5");
    expect_cleared(roots[2].word);
  }
  stop();
}
END_TEST

START_TEST(a001_17_a_finalizer_of_a_young_large_object) {
  unsigned kind = large_kinds[_i];
  tsr_finalizable ready = {0};
  start_generations("64M");
  make_large(&roots[0], kind, 60);
  ck_assert_int_eq(tsr_finalizer_attach(vm.m, vm_ref(roots[0].word), FIXNUM(4), 0, NULL), TSR_OK);
  roots[0].word = 0;
  collect_young();
  ck_assert_uint_eq(tsr_finalizers_ready(vm.heap), vm_collects ? 1 : 0);
  if (vm_collects) {
    ck_assert(tsr_finalizer_next(vm.m, &ready));
    ck_assert_uint_eq(ready.data, FIXNUM(4));
    roots[0].word = vm_word(ready.object);
    collect_young();
    ck_assert(is_large(roots[0].word, kind, 60));
  }
  stop();
}
END_TEST

/* It does not move, so nothing is noted for it. */
START_TEST(f22_the_identity_hash_of_a_young_large_object) {
  start_generations("64M");
  make_large(&roots[0], VECTOR, 70);
  uint64_t first, again;
  ck_assert_int_eq(tsr_identity_hash(vm.m, vm_ref(roots[0].word), &first, NULL), TSR_OK);
  for (unsigned round = 0; round < 3; round++) {
    collect_young();
    ck_assert_int_eq(tsr_identity_hash(vm.m, vm_ref(roots[0].word), &again, NULL), TSR_OK);
    ck_assert_uint_eq(again, first);
    ck_assert(is_large(roots[0].word, VECTOR, 70));
  }
  ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
  stop();
}
END_TEST

/* ---- beside a cycle of marking --------------------------------------------------------------------------- */

/* Those that grow old in a cycle are marked by it, and those that die old are freed. */
START_TEST(a001_07_large_objects_that_grow_old_in_a_cycle) {
  enum { HELD = 12 };
  unsigned rounds = VM_SANITIZED || vm_verifies ? 200 : 1000;
  unsigned tags[HELD] = {0};
  uint64_t random = 11, cycles;
  vm_init(&vm);
  vm_alone(&vm);
  vm_pin(&vm, "heap_max", "64M");
  vm_pin(&vm, "nursery", "64K");
  if (vm_stress == NULL) vm_pin(&vm, "stress", "24K");
  begin();
  roots[HELD].word = vm_word(make(VECTOR, 1, HELD));
  vm_collect(&vm);
  cycles = vm_stats(&vm).cycles;
  for (unsigned round = 0; round < many(rounds); round++) {
    size_t i = vm_random(&random) % HELD;
    unsigned kind = large_kinds[i % (size_t)LARGE_KINDS];
    uint64_t word = get(roots[HELD].word, VECTOR, i);
    ck_assert_msg(tags[i] == 0 || is_large(word, kind, tags[i]), "round %u, object %zu", round, i);
    tags[i] = 1 + round % 60000;
    make_large(&roots[0], kind, tags[i]);
    set(roots[HELD].word, VECTOR, i, roots[0].word);
    vm_garbage(vm.m, vm_random(&random) % (16 * KIB));
  }
  ck_assert(!vm_is_generational() || vm_stats(&vm).cycles > cycles);
  ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
  vm_collect(&vm);
  ck_assert(!vm_collects || vm.last_collection.after_bytes < (HELD + 8) * 8 * LARGE_BYTES);
  stop();
}
END_TEST

static void add(TCase *tests) {
  if (!vm_collects || vm_wants_threads()) return;
  tcase_add_test(tests, a001_14_large_garbage_goes_with_the_young);
  tcase_add_test(tests, a001_14_large_garbage_in_a_small_heap);
  tcase_add_test(tests, a001_14_large_garbage_in_a_heap_that_is_nearly_full);
  tcase_add_test(tests, a001_14_large_objects_count_once);
  tcase_add_test(tests, a001_14_large_objects_that_were_shrunk);
  tcase_add_loop_test(tests, a001_14_large_objects_are_reached, 0, WAYS * LARGE_KINDS);
  tcase_add_test(tests, a001_14_a_pinned_large_object_is_kept);
  tcase_add_test(tests, a001_14_large_objects_that_are_born_old);
  tcase_add_loop_test(tests, a001_17_weak_slots_and_keys_that_are_young_and_large, 0, LARGE_KINDS);
  tcase_add_loop_test(tests, a001_17_a_finalizer_of_a_young_large_object, 0, LARGE_KINDS);
  tcase_add_test(tests, f22_the_identity_hash_of_a_young_large_object);
  tcase_add_test(tests, a001_07_large_objects_that_grow_old_in_a_cycle);
}

int main(void) {
  return vm_main("young large", add);
}
