/*
 * tsr_freeze(): what lives stays where it is, keeps its content, and still dies when nobody refers to it; and a full
 * collection in a child leaves its pages shared with the parent.
 */
#include "children.h"
#include "system_memory.h"
#include "weak_fixture.h"

static void freeze(void) {
  tsr_error error = {0};
  ck_assert_msg(tsr_freeze(vm.m, &error) == TSR_OK, "%s", error.message);
}

/* ---- frozen objects are objects ---------------------------------------------------------------- */

static const unsigned kinds[] = {CELL, PAIR, RECORD, VECTOR, BYTES, TABLE, CUSTOM, WIDE};
#define KINDS (sizeof kinds / sizeof kinds[0])

static void make_roots(unsigned first, unsigned end) {
  for (unsigned i = first; i < end; i++) {
    unsigned kind = kinds[i % KINDS];
    roots[i].word = vm_word(make(kind, i, i % 23));
    vm_garbage(vm.m, 100);
  }
}

static uint64_t places[ROOTS];

static void note_places(unsigned first, unsigned end) {
  for (unsigned i = first; i < end; i++)
    places[i] = roots[i].word;
}

static void check_frozen(unsigned first, unsigned end) {
  for (unsigned i = first; i < end; i++) {
    if (!is_made(roots[i].word, kinds[i % KINDS], i)) ck_abort_msg("object %u is another", i);
    if (roots[i].word != places[i]) ck_abort_msg("object %u has moved", i);
  }
}

START_TEST(what_is_frozen_stays_and_keeps_its_content) {
  start("32M");
  unsigned count = many(2000);
  make_roots(0, count);
  freeze();
  note_places(0, count);
  for (unsigned round = 0; round < 3; round++) {
    make_roots(count, 2 * count); /* others go on moving */
    vm_collect(&vm);
    check_frozen(0, count);
  }
  /* Again, for what is new. */
  freeze();
  note_places(0, 2 * count);
  vm_garbage(vm.m, MIB);
  vm_collect(&vm);
  check_frozen(0, 2 * count);
  stop();
}
END_TEST

/* A frozen object refers to one that moves, and that one back. */
START_TEST(slots_of_frozen_objects_are_updated) {
  start("32M");
  unsigned count = many(1000);
  for (unsigned i = 0; i < count; i++)
    roots[i].word = vm_word(make(PAIR, i, 0));
  freeze();
  for (unsigned i = 0; i < count; i++) {
    vm_garbage(vm.m, 200);
    tsr_ref pair = make(PAIR, i, 0);
    vm_set(vm.m, vm_ref(roots[i].word), 1, vm_word(pair));
    vm_set(vm.m, pair, 2, roots[i].word);
  }
  for (unsigned round = 0; round < 4; round++) {
    vm_garbage(vm.m, MIB);
    vm_collect(&vm);
    for (unsigned i = 0; i < count; i++) {
      tsr_ref frozen = vm_ref(roots[i].word);
      tsr_ref pair = vm_ref(vm_get(vm.m, frozen, 1));
      if (pair == NULL || vm_tag_of(pair) != i || vm_get(vm.m, pair, 2) != roots[i].word)
        ck_abort_msg("pair %u is torn", i);
    }
  }
  stop();
}
END_TEST

/* Nobody refers to them any more: they are gone, and so is the memory of blocks that had nothing else. */
START_TEST(frozen_objects_die) {
  start_alone("64M");
  unsigned count = ROOTS;
  for (unsigned i = 0; i < count; i++)
    roots[i].word = vm_word(make(BYTES, i, 2000));
  freeze();
  expect_objects(count);
  uint64_t used = vm_stats(&vm).used_bytes;
  for (unsigned i = 0; i < count; i++) {
    if (i % 1000 != 0) roots[i].word = 0;
  }
  expect_objects((count + 999) / 1000);
  for (unsigned i = 0; i < count; i += 1000)
    ck_assert(is_made(roots[i].word, BYTES, i));
  if (vm_collects) ck_assert_uint_lt(vm_stats(&vm).used_bytes, used / 4);
  stop();
}
END_TEST

START_TEST(weak_things_pins_and_hashes_outlast_freezing) {
  start_calm("32M");
  unsigned count = many(200);
  static uint64_t hashes[ROOTS];
  for (unsigned i = 0; i < count; i++) {
    roots[i].word = vm_word(make(RECORD, i, 0));
    ck_assert_int_eq(tsr_identity_hash(vm.m, vm_ref(roots[i].word), &hashes[i], NULL), TSR_OK);
  }
  ck_assert_int_eq(tsr_pin(vm.m, vm_ref(roots[0].word), NULL), TSR_OK);
  if (vm_collects && _i == 0) vm_collect(&vm); /* hashes are kept already, or come to be kept */
  for (unsigned i = 0; i < count; i++) {
    tsr_slot *weak = tsr_handle_new(vm.heap, roots[i].word, TSR_WEAK, NULL);
    ck_assert_ptr_nonnull(weak);
    places[i] = (uint64_t)(uintptr_t)weak;
    ck_assert_int_eq(tsr_finalizer_attach(vm.m, vm_ref(roots[i].word), FIXNUM(i), 0, NULL), TSR_OK);
  }
  freeze();
  ck_assert_int_eq(tsr_unpin(vm.m, vm_ref(roots[0].word), NULL), TSR_OK);
  for (unsigned round = 0; round < 3; round++) {
    vm_garbage(vm.m, MIB);
    vm_collect(&vm);
    for (unsigned i = 0; i < count; i++) {
      uint64_t hash = 0;
      ck_assert_int_eq(tsr_identity_hash(vm.m, vm_ref(roots[i].word), &hash, NULL), TSR_OK);
      ck_assert_uint_eq(hash, hashes[i]);
      ck_assert_uint_eq(((tsr_slot *)(uintptr_t)places[i])->word, roots[i].word);
    }
  }
  ck_assert_uint_eq(tsr_finalizers_ready(vm.heap), 0);
  for (unsigned i = 0; i < count; i++)
    roots[i].word = 0;
  vm_collect(&vm);
  ck_assert_uint_eq(tsr_finalizers_ready(vm.heap), vm_collects ? count : 0);
  stop();
}
END_TEST

/* Frozen ephemerons and weak boxes, whose keys and referents are frozen too, or have come since and move. */
START_TEST(frozen_weak_objects_are_cleared) {
  begin_plainly("32M");
  enum { PAIRS = 200, KEYS = 1000, BOXES = 2000 };
  for (unsigned i = 0; i < PAIRS; i++) {
    roots[i].word = vm_word(make_ephemeron(TSR_DEFAULT));
    roots[BOXES + i].word = vm_word(make_box(i));
    roots[KEYS + i].word = vm_word(make(RECORD, i, 0));
    if (i % 2 == 1) continue;
    set_pair(roots[i].word, roots[KEYS + i].word, FIXNUM(i));
    vm_set(vm.m, vm_ref(roots[BOXES + i].word), 3, roots[KEYS + i].word);
  }
  freeze();
  for (unsigned i = 1; i < PAIRS; i += 2) {
    vm_garbage(vm.m, 500);
    roots[KEYS + i].word = vm_word(make(RECORD, i, 0));
    set_pair(roots[i].word, roots[KEYS + i].word, FIXNUM(i));
    vm_set(vm.m, vm_ref(roots[BOXES + i].word), 3, roots[KEYS + i].word);
  }
  for (unsigned round = 0; round < 3; round++) {
    vm_garbage(vm.m, MIB);
    vm_collect(&vm);
    for (unsigned i = 0; i < PAIRS; i++) {
      bool lives = i % 3 != 0 || round == 0;
      ck_assert(!lives || is_made(roots[KEYS + i].word, RECORD, i));
      check_weak(weak_word(roots[BOXES + i].word, 3), lives, RECORD, i, "box");
      check_weak(key_of(roots[i].word), lives, RECORD, i, "key");
      if (i % 3 == 0) roots[KEYS + i].word = 0;
    }
  }
  stop();
}
END_TEST

/* A heap without room for the tables says so, and goes on as it was. */
START_TEST(a_full_heap_is_frozen_or_not) {
  for (unsigned spare = 0; spare < 6; spare++) {
    start_alone("4M");
    size_t count = 0;
    while (vm_list(vm.m, &roots[1 + count], 1000, count))
      count++;
    ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 1);
    roots[1 + count].word = 0;
    for (unsigned i = 0; i < spare; i++)
      roots[1 + --count].word = 0;
    tsr_error error;
    tsr_status status = tsr_freeze(vm.m, &error);
    ck_assert_msg(status == TSR_OK || status == TSR_OUT_OF_MEMORY, "%s", error.message);
    vm_collect(&vm);
    for (size_t i = 0; i < count; i++)
      ck_assert(vm_list_holds(vm.m, roots[1 + i].word, 1000, i));
    tsr_stats stats = vm_stats(&vm);
    ck_assert_uint_le(stats.peak_committed_bytes, stats.heap_max_bytes);
    stop();
  }
}
END_TEST

/* ---- errors ---------------------------------------------------------------------------------------- */

START_TEST(freezing_is_refused_where_nothing_may_stop) {
  start("8M");
  tsr_error error;
  tsr_no_alloc section;
  TSR_NO_ALLOC_BEGIN(vm.m, &section);
  ck_assert_int_eq(tsr_freeze(vm.m, &error), TSR_BUSY);
  ck_assert_int_eq(tsr_no_alloc_end(vm.m, &section, NULL), TSR_OK);
  tsr_enter_native(vm.m);
  ck_assert_int_eq(tsr_freeze(vm.m, &error), TSR_BUSY);
  tsr_leave_native(vm.m);
  tsr_collection_disable(vm.heap);
  ck_assert_int_eq(tsr_freeze(vm.m, &error), vm_collects ? TSR_BUSY : TSR_OK);
  ck_assert_int_eq(tsr_collection_enable(vm.heap, NULL), TSR_OK);
  freeze();
  stop();
}
END_TEST

/* ---- children ----------------------------------------------------------------------------------------- */

/* Bytes of the heap's mappings that this process has written and shares with nobody. */
static uint64_t private_dirty_bytes(void) {
  static memory_ranges system, reported;
  reported_ranges(&vm, &reported);
  ranges_join(&reported);
  return system_ranges(&system) ? system_sum_of(&system, &reported).private_dirty_bytes
                                : UINT64_MAX;
}

#define FAMILY_BYTES (VM_SANITIZED || vm_verifies ? 4 * MIB : 40 * MIB)

static bool child_collects(void *context) {
  (void)context;
  if (tsr_collect(vm.m, NULL) != (vm_collects ? TSR_OK : TSR_UNSUPPORTED)) return false;
  if (!vm_list_holds(vm.m, roots[0].word, FAMILY_BYTES / 24, 0)) return false;
  uint64_t dirty = vm_verifies ? 0 : private_dirty_bytes();
  if (dirty > FAMILY_BYTES / 10) {
    fprintf(stderr, "%llu bytes of %zu are dirty\n", (unsigned long long)dirty, FAMILY_BYTES);
  }
  return dirty <= FAMILY_BYTES / 10;
}

START_TEST(a_child_that_collects_shares_what_was_frozen) {
  vm_init_calm(&vm);
  vm_alone(&vm); /* it measures memory */
  vm_pin(&vm, "heap_max", "192M");
  if (VM_SANITIZED) vm_pin(&vm, "threads", "1"); /* the child may start no threads */
  vm_start(&vm);
  open_roots();
  ck_assert(vm_list(vm.m, &roots[0], FAMILY_BYTES / 24, 0));
  freeze();
  for (unsigned child = 0; child < 3; child++)
    assert_forked_child(vm.m, child_collects, NULL);
  stop();
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, what_is_frozen_stays_and_keeps_its_content);
  tcase_add_test(tests, slots_of_frozen_objects_are_updated);
  tcase_add_test(tests, frozen_objects_die);
  tcase_add_loop_test(tests, weak_things_pins_and_hashes_outlast_freezing, 0, 2);
  tcase_add_test(tests, frozen_weak_objects_are_cleared);
  tcase_add_test(tests, a_full_heap_is_frozen_or_not);
  tcase_add_test(tests, freezing_is_refused_where_nothing_may_stop);
  tcase_add_test(tests, a_child_that_collects_shares_what_was_frozen);
}

int main(void) {
  return vm_main("freeze", add);
}
