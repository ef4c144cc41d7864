/*
 * A001-17: finalizers. An object that has one is handed to the VM when it has become unreachable, once, with all
 * that it refers to; in the order of priorities, and within a priority in that of attachment.
 *
 * Objects are rooted while a test builds, and what has been taken from the queue is rooted again until the
 * next objects are dropped, so that no collection but the one that is asked for makes anything ready. Under a
 * plan that never collects nothing becomes ready but by tsr_finalizers_run_all().
 */
#include "weak_fixture.h"

/* ---- fixture ----------------------------------------------------------------------------- */

static void attach(uint64_t word, uint64_t data, unsigned priority) {
  tsr_error error = {0};
  tsr_status status = tsr_finalizer_attach(vm.m, vm_ref(word), data, priority, &error);
  ck_assert_msg(status == TSR_OK, "tsr_finalizer_attach: %s", error.message);
}

static void expect_ready(size_t n) {
  ck_assert_uint_eq(tsr_finalizers_ready(vm.heap), vm_collects ? n : 0);
}

/* The next one that is ready; there is one. */
static tsr_finalizable take(void) {
  tsr_finalizable ready = {0};
  size_t before = tsr_finalizers_ready(vm.heap);
  ck_assert(tsr_finalizer_next(vm.m, &ready));
  ck_assert_uint_eq(tsr_finalizers_ready(vm.heap), before - 1);
  ck_assert_ptr_nonnull(ready.object);
  return ready;
}

/* There is none to be had, and nothing is written. */
static void take_none(void) {
  tsr_finalizable ready;
  tsr_finalizable untouched;
  memset(&ready, 0xa5, sizeof ready);
  memset(&untouched, 0xa5, sizeof untouched);
  ck_assert(!tsr_finalizer_next(vm.m, &ready));
  ck_assert_mem_eq(&ready, &untouched, sizeof ready);
}

static void expect_none(void) {
  expect_ready(0);
  take_none();
}

/* Takes the next one, which must be the RECORD of this tag, and puts the object into a root. */
static void take_record(unsigned tag, uint64_t data, unsigned priority, tsr_slot *to) {
  tsr_finalizable ready = take();
  ck_assert_msg(is_made(vm_word(ready.object), RECORD, tag), "not record %u but %u", tag,
                vm_tag_of(ready.object));
  ck_assert_uint_eq(ready.data, data);
  ck_assert_uint_eq(ready.priority, priority);
  to->word = vm_word(ready.object);
}

/* ---- one finalizer ----------------------------------------------------------------------- */

START_TEST(a001_17_an_unreachable_object_is_handed_out_once) {
  start("16M");
  roots[0].word = vm_word(make(RECORD, 7, 0));
  attach(roots[0].word, FIXNUM(70), 3);
  for (unsigned round = 0; round < 3; round++) { /* a reachable one never is */
    vm_garbage(vm.m, 50 * KIB);
    expect_objects(1);
    expect_none();
    ck_assert(is_made(roots[0].word, RECORD, 7));
  }
  roots[0].word = 0;
  for (unsigned round = 0; round < 3; round++) { /* it waits as long as it must */
    expect_objects(1);
    expect_ready(1);
    vm_garbage(vm.m, 50 * KIB);
  }
  if (vm_collects) take_record(7, FIXNUM(70), 3, &roots[0]);
  expect_none();
  for (unsigned round = 0; round < 2; round++) { /* from here on it is an ordinary object */
    expect_objects(1);
    expect_none();
    if (vm_collects) ck_assert(is_made(roots[0].word, RECORD, 7));
  }
  roots[0].word = 0;
  expect_objects(0);
  expect_none();
  stop();
}
END_TEST

START_TEST(a001_17_a_revived_object_keeps_what_it_refers_to) {
  start("16M");
  roots[0].word = vm_word(make(RECORD, 1, 0));
  ck_assert(vm_list(vm.m, &roots[1], 500, 3));
  ck_assert(vm_tree(vm.m, &roots[2], 6)); /* 63 pairs */
  vm_set(vm.m, vm_ref(roots[0].word), 2, roots[1].word);
  vm_set(vm.m, vm_ref(roots[0].word), 13, roots[2].word);
  attach(roots[0].word, 0, 0);
  memset(roots, 0, 3 * sizeof roots[0]);
  for (unsigned round = 0; round < 4; round++) {
    expect_objects(1 + 500 + 63);
    vm_garbage(vm.m, 50 * KIB);
    if (round == 1 && vm_collects) take_record(1, 0, 0, &roots[0]);
    if (round < 1 || !vm_collects) continue;
    ck_assert(is_made(roots[0].word, RECORD, 1));
    ck_assert(vm_list_holds(vm.m, vm_get(vm.m, vm_ref(roots[0].word), 2), 500, 3));
    ck_assert(vm_tree_holds(vm.m, vm_get(vm.m, vm_ref(roots[0].word), 13), 6));
  }
  roots[0].word = 0;
  expect_objects(0);
  expect_none();
  stop();
}
END_TEST

/* What `data` leads to is kept until the finalizer has been handed out, whether its object is reachable
   or not. */
START_TEST(a001_17_data_is_kept_until_it_is_handed_out) {
  start("16M");
  roots[0].word = vm_word(make(RECORD, 2, 0));
  ck_assert(vm_list(vm.m, &roots[1], 100, 9));
  attach(roots[0].word, roots[1].word, 1);
  roots[1].word = 0;
  for (unsigned round = 0; round < 4; round++) {
    if (round == 2) roots[0].word = 0;
    vm_garbage(vm.m, 50 * KIB);
    expect_objects(101);
    expect_ready(round < 2 ? 0 : 1);
  }
  if (vm_collects) {
    tsr_finalizable ready = take();
    roots[0].word = vm_word(ready.object);
    roots[1].word = ready.data;
    expect_objects(101);
    ck_assert(is_made(roots[0].word, RECORD, 2));
    ck_assert(vm_list_holds(vm.m, roots[1].word, 100, 9));
    roots[1].word = 0;
    expect_objects(1); /* handed out: it is nobody's any more */
  }
  roots[0].word = 0;
  expect_objects(0);
  stop();
}
END_TEST

START_TEST(a001_17_data_that_leads_to_its_object_keeps_it) {
  start("16M");
  roots[0].word = vm_word(make(RECORD, 0, 0));
  roots[1].word = vm_word(make(PAIR, 1, 0));
  vm_set(vm.m, vm_ref(roots[1].word), 2, roots[0].word);
  attach(roots[0].word, roots[0].word, 0);
  attach(roots[0].word, roots[1].word, 0);
  memset(roots, 0, 2 * sizeof roots[0]);
  for (unsigned round = 0; round < 3; round++) {
    expect_objects(2);
    expect_none();
  }
  stop();
}
END_TEST

/* Data is a slot's word: anything goes. */
START_TEST(a001_17_data_may_be_any_word) {
  static uint64_t outside[2];
  const uint64_t words[] = {0, FIXNUM(0), FIXNUM(123456789), vm_word(outside), UINT64_MAX};
  enum { N = sizeof words / sizeof words[0] };
  start("16M");
  for (unsigned i = 0; i < N; i++) {
    roots[i].word = vm_word(make(RECORD, i, 0));
    attach(roots[i].word, words[i], 0);
  }
  memset(roots, 0, N * sizeof roots[0]);
  expect_objects(N);
  for (unsigned i = 0; i < N && vm_collects; i++)
    take_record(i, words[i], 0, &roots[0]);
  expect_none();
  stop();
}
END_TEST

/* Objects come as addresses, data as the words that were attached, whatever references look like. */
START_TEST(a001_17_finalizers_of_a_vm_with_tagged_references) {
  enum { N = 100 };
  prepare("32M");
  vm.binding.references = tagged_references;
  begin();
  for (unsigned i = 0; i < N; i++) {
    make(BYTES, 0, 300);
    roots[i].word = tagged(make(RECORD, i, 0), TAG_A);
    roots[N].word = tagged(make(RECORD, 1000 + i, 0), TAG_B);
    attach(vm_word(untagged(roots[i].word, TAG_A)), roots[N].word, 0);
  }
  memset(roots, 0, (N + 1) * sizeof roots[0]);
  expect_objects(2 * N);
  expect_objects(2 * N);
  for (unsigned i = 0; i < N && vm_collects; i++) {
    tsr_finalizable ready = take();
    ck_assert(is_made(vm_word(ready.object), RECORD, i));
    ck_assert(is_tagged(ready.data, TAG_B, 1000 + i));
  }
  expect_none();
  expect_objects(0);
  stop();
}
END_TEST

START_TEST(a001_17_a_revived_object_may_be_attached_again) {
  start("16M");
  roots[0].word = vm_word(make(RECORD, 5, 0));
  for (unsigned round = 0; round < 6; round++) {
    if (round == 0 || vm_collects) attach(roots[0].word, FIXNUM(round), round);
    vm_garbage(vm.m, 20 * KIB);
    expect_objects(1);
    expect_none();
    roots[0].word = 0;
    expect_objects(1);
    expect_ready(1);
    if (vm_collects) take_record(5, FIXNUM(round), round, &roots[0]);
    expect_none();
  }
  roots[0].word = 0;
  expect_objects(0);
  expect_none();
  stop();
}
END_TEST

/* ---- several finalizers ------------------------------------------------------------------ */

/* In the order of attachment, which is neither that of birth nor that of addresses. */
START_TEST(a001_17_one_priority_goes_by_the_order_of_attachment) {
  unsigned long long from = first_seed(_i + 1);
  start("32M");
  unsigned n = many(2000);
  uint32_t order[2000];
  for (unsigned i = 0; i < n; i++) {
    roots[i].word = vm_word(make(RECORD, i, 0));
    order[i] = i;
  }
  shuffle(order, n);
  for (unsigned i = 0; i < n; i++)
    attach(roots[order[i]].word, FIXNUM(i), 4);
  memset(roots, 0, n * sizeof roots[0]);
  expect_objects(n);
  expect_ready(n);
  for (unsigned i = 0; i < n && vm_collects; i++) {
    tsr_finalizable ready = take();
    ck_assert_msg(ready.data == FIXNUM(i), "seed %llu: %u", from, i);
    ck_assert(is_made(vm_word(ready.object), RECORD, order[i]));
  }
  expect_none();
  expect_objects(0);
  stop();
}
END_TEST

START_TEST(a001_17_one_collection_goes_by_priority) {
  start("16M");
  for (unsigned i = 0; i < 24; i++) { /* three of each, the last priority first */
    roots[i].word = vm_word(make(RECORD, i, 0));
    attach(roots[i].word, FIXNUM(i), 7 - i % 8);
  }
  memset(roots, 0, 24 * sizeof roots[0]);
  expect_objects(24);
  expect_ready(24);
  for (unsigned k = 0; k < 24 && vm_collects; k++) {
    unsigned i = 7 - k / 3 + 8 * (k % 3);
    take_record(i, FIXNUM(i), k / 3, &roots[0]);
  }
  expect_none();
  stop();
}
END_TEST

/* Within a priority those of an earlier collection come first, whenever they were attached. Nothing is said of
   what different collections made ready in different priorities. */
START_TEST(a001_17_earlier_collections_come_first) {
  start("16M");
  for (unsigned i = 0; i < 12; i++) {
    roots[i].word = vm_word(make(RECORD, i, 0));
    attach(roots[i].word, FIXNUM(i), 5);
  }
  for (unsigned k = 3; k-- > 0;) { /* the last to be attached are the first to be ready */
    memset(&roots[4 * k], 0, 4 * sizeof roots[0]);
    expect_objects(12);
    expect_ready(12 - 4 * k);
  }
  for (unsigned k = 0; k < 12 && vm_collects; k++) {
    unsigned i = 4 * (2 - k / 4) + k % 4;
    take_record(i, FIXNUM(i), 5, &roots[0]);
  }
  expect_none();
  stop();
}
END_TEST

/* Finalizers of one priority become ready together; the first makes its object reachable for those of the
   next, in the queue and in a root. */
START_TEST(a001_17_several_finalizers_of_one_object) {
  start("16M");
  roots[0].word = vm_word(make(RECORD, 3, 0));
  attach(roots[0].word, FIXNUM(1), 6);
  attach(roots[0].word, FIXNUM(2), 2);
  attach(roots[0].word, FIXNUM(3), 6);
  attach(roots[0].word, FIXNUM(4), 2);
  roots[0].word = 0;
  for (unsigned round = 0; round < 2; round++) {
    expect_objects(1);
    expect_ready(2);
  }
  if (vm_collects) take_record(3, FIXNUM(2), 2, &roots[0]);
  if (vm_collects) take_record(3, FIXNUM(4), 2, &roots[0]);
  for (unsigned round = 0; round < 2; round++) {
    expect_objects(1);
    expect_none();
  }
  roots[0].word = 0;
  expect_objects(1);
  expect_ready(2);
  if (vm_collects) take_record(3, FIXNUM(1), 6, &roots[0]);
  roots[0].word = 0;
  expect_objects(1); /* the other one is in the queue */
  expect_ready(1);
  if (vm_collects) take_record(3, FIXNUM(3), 6, &roots[0]);
  roots[0].word = 0;
  expect_objects(0);
  expect_none();
  stop();
}
END_TEST

/* More than are looked at in one go. */
START_TEST(a001_17_many_finalizers_of_one_object) {
  enum { N = 500 };
  start("16M");
  roots[0].word = vm_word(make(RECORD, 3, 0));
  for (unsigned i = 0; i < N; i++)
    attach(roots[0].word, FIXNUM(i), 1);
  roots[0].word = 0;
  expect_objects(1);
  expect_ready(N);
  for (unsigned i = 0; i < N && vm_collects; i++)
    take_record(3, FIXNUM(i), 1, &roots[0]);
  expect_none();
  roots[0].word = 0;
  expect_objects(0);
  stop();
}
END_TEST

/* What has been taken keeps nothing alive, nor does what lies before the rest. */
START_TEST(a001_17_some_are_taken) {
  enum { N = 150 };
  start("16M");
  for (unsigned i = 0; i < N; i++) {
    roots[i].word = vm_word(make(RECORD, i, 0));
    attach(roots[i].word, FIXNUM(i), 6);
  }
  memset(roots, 0, N * sizeof roots[0]);
  for (unsigned i = 0; i < N; i++) {
    expect_objects(N - i);
    expect_ready(N - i);
    if (!vm_collects) break;
    take_record(i, FIXNUM(i), 6, &roots[0]);
    roots[0].word = 0;
  }
  if (vm_collects) expect_objects(0);
  expect_none();
  stop();
}
END_TEST

/* What an object needs for its own finalization, attached with a higher number, outlasts it. */
START_TEST(a001_17_an_object_of_a_later_priority_outlasts_what_needs_it) {
  start("16M");
  for (unsigned i = 0; i < 3; i++) { /* 0 needs 1, which needs 2 */
    roots[i].word = vm_word(make(RECORD, i, 0));
    if (i > 0) vm_set(vm.m, vm_ref(roots[i - 1].word), 8, roots[i].word);
  }
  for (unsigned i = 3; i-- > 0;)
    attach(roots[i].word, FIXNUM(i), i);
  memset(roots, 0, 3 * sizeof roots[0]);
  for (unsigned i = 0; i < 3; i++) {
    for (unsigned round = 0; round < 2; round++) { /* in the queue it is reachable */
      expect_objects(3 - i);
      expect_ready(1);
    }
    if (!vm_collects) break;
    take_record(i, FIXNUM(i), i, &roots[0]);
    expect_objects(3 - i); /* and in a root */
    expect_none();
    uint64_t next = vm_get(vm.m, vm_ref(roots[0].word), 8);
    ck_assert(i == 2 ? next == 0 : is_made(next, RECORD, i + 1));
    roots[0].word = 0;
  }
  if (vm_collects) expect_objects(0);
  expect_none();
  stop();
}
END_TEST

/* The other way round nothing has to wait; and nor does anything within a priority. */
START_TEST(a001_17_what_needs_no_other_becomes_ready_at_once) {
  start("16M");
  for (unsigned same = 0; same < 2; same++) {
    for (unsigned i = 0; i < 3; i++) {
      roots[i].word = vm_word(make(RECORD, i, 0));
      if (i > 0) vm_set(vm.m, vm_ref(roots[i - 1].word), 8, roots[i].word);
    }
    vm_set(vm.m, vm_ref(roots[2].word), 5, same ? roots[0].word : 0); /* a ring, too */
    for (unsigned i = 3; i-- > 0;)
      attach(roots[i].word, FIXNUM(i), same ? 1 : 2 - i);
    memset(roots, 0, 3 * sizeof roots[0]);
    vm_collect(&vm);
    expect_ready(3);
    for (unsigned i = 3; i-- > 0 && vm_collects;)
      take_record(i, FIXNUM(i), same ? 1 : 2 - i, &roots[i]);
    expect_none();
    vm_collect(&vm);
    if (vm_collects) ck_assert_uint_eq(vm_get(vm.m, vm_ref(roots[1].word), 8), roots[2].word);
    memset(roots, 0, 3 * sizeof roots[0]);
    expect_objects(0);
  }
  stop();
}
END_TEST

START_TEST(a001_17_a_collection_says_how_many_it_made_ready) {
  start_calm("16M"); /* looks at single collections */
  enum { N = 100 };
  for (unsigned i = 0; i < N; i++) {
    roots[i].word = vm_word(make(RECORD, i, 0));
    attach(roots[i].word, 0, i % TSR_FINALIZER_PRIORITIES);
  }
  for (unsigned i = 0; i < N; i += 4)
    roots[i].word = 0;
  vm_collect(&vm);
  if (vm_collects) ck_assert_uint_eq(vm.last_collection.finalizable, N / 4);
  vm_collect(&vm);
  if (vm_collects) ck_assert_uint_eq(vm.last_collection.finalizable, 0);
  expect_ready(N / 4);
  stop();
}
END_TEST

/* ---- placements -------------------------------------------------------------------------- */

START_TEST(a001_17_finalizers_in_every_placement) {
  enum { N = 2 * PLACE_COMBINATIONS };
  size_t dead = 0;
  start("64M");
  for (unsigned i = 0; i < N; i++) {
    tsr_semantics semantics = place_semantics(i / 2);
    tsr_ref object = make_record(semantics, i);
    roots[i].word = vm_word(object);
    attach(roots[i].word, FIXNUM(i), 0);
  }
  for (unsigned i = 0; i < N; i += 2) {
    roots[i].word = 0;
    dead += place_dies(place_semantics(i / 2));
  }
  vm_collect(&vm);
  expect_ready(dead);
  for (unsigned i = 0; i < N && vm_collects; i += 2) {
    if (!place_dies(place_semantics(i / 2))) continue;
    take_record(i, FIXNUM(i), 0, &roots[i]);
  }
  expect_none();
  vm_collect(&vm);
  for (unsigned i = 0; i < N; i++)
    ck_assert(roots[i].word == 0 || is_made(roots[i].word, RECORD, i));
  stop();
}
END_TEST

/* Large objects, with slots and without. */
START_TEST(a001_17_finalizers_of_large_objects) {
  start("64M");
  for (unsigned round = 0; round < 2; round++) {
    roots[0].word = vm_word(make(VECTOR, 0, 5000));
    for (unsigned i = 0; i < 5000; i += 100) {
      tsr_ref object = make(RECORD, i, 0);
      vm_set(vm.m, vm_ref(roots[0].word), 2 + i, vm_word(object));
    }
    roots[1].word = vm_word(make(BYTES, 1, 20000));
    attach(roots[0].word, 0, 0);
    attach(roots[1].word, 1, 0);
    memset(roots, 0, 2 * sizeof roots[0]);
    expect_objects(52);
    expect_ready(2);
    for (unsigned i = 0; i < 2 && vm_collects; i++)
      roots[i].word = vm_word(take().object);
    expect_objects(52);
    for (unsigned i = 0; i < 5000 && vm_collects; i += 100)
      ck_assert(is_made(vm_get(vm.m, vm_ref(roots[0].word), 2 + i), RECORD, i));
    if (vm_collects) ck_assert(is_made(roots[1].word, BYTES, 1));
    memset(roots, 0, 2 * sizeof roots[0]);
    expect_objects(0);
  }
  stop();
}
END_TEST

START_TEST(a001_17_a_pinned_object_is_reachable) {
  start("16M");
  tsr_ref object = make(RECORD, 6, 0);
  attach(vm_word(object), FIXNUM(6), 0);
  ck_assert_int_eq(tsr_pin(vm.m, object, NULL), TSR_OK);
  for (unsigned round = 0; round < 2; round++) {
    expect_objects(1);
    expect_none();
  }
  ck_assert_int_eq(tsr_unpin(vm.m, object, NULL), TSR_OK);
  expect_objects(1);
  expect_ready(1);
  if (vm_collects) take_record(6, FIXNUM(6), 0, &roots[0]);
  stop();
}
END_TEST

/* ---- finalizers and weak references ------------------------------------------------------ */

/* Weak references are cleared before the object is revived, also those to what it revives, and stay so. */
START_TEST(a001_17_weak_references_are_cleared_before_finalization) {
  begin_plainly("16M");
  roots[0].word = vm_word(make(RECORD, 0, 0));
  roots[1].word = vm_word(make(RECORD, 1, 0)); /* reached from the first only */
  vm_set(vm.m, vm_ref(roots[0].word), 2, roots[1].word);
  for (unsigned i = 0; i < 2; i++) {
    roots[2 + i].word = vm_word(make_box(0));
    vm_set(vm.m, vm_ref(roots[2 + i].word), 3, roots[i].word);
  }
  tsr_slot *handles[2] = {handle_of(roots[0].word, TSR_WEAK), handle_of(roots[1].word, TSR_WEAK)};
  attach(roots[0].word, FIXNUM(5), 0);
  expect_objects(4);
  for (unsigned i = 0; i < 2; i++) {
    ck_assert_uint_eq(handles[i]->word, roots[i].word);
    ck_assert_uint_eq(weak_word(roots[2 + i].word, 3), roots[i].word);
    roots[i].word = 0;
  }
  expect_objects(4);
  for (unsigned round = 0; round < 2 && vm_collects; round++) {
    for (unsigned i = 0; i < 2; i++) {
      ck_assert_uint_eq(handles[i]->word, 0);
      ck_assert_uint_eq(weak_word(roots[2 + i].word, 3), 0);
    }
    if (round == 1) break;
    take_record(0, FIXNUM(5), 0, &roots[0]);
    ck_assert(is_made(vm_get(vm.m, vm_ref(roots[0].word), 2), RECORD, 1));
    expect_objects(4);
  }
  /* From now on it is an ordinary object, also for weak references. */
  if (vm_collects) handles[0]->word = roots[0].word;
  expect_objects(4);
  if (vm_collects) ck_assert_uint_eq(handles[0]->word, roots[0].word);
  roots[0].word = 0;
  expect_objects(2);
  if (vm_collects) ck_assert_uint_eq(handles[0]->word, 0);
  expect_none();
  stop();
}
END_TEST

/* A key that waits for its finalizer has its value. The pair goes with the key, later. */
START_TEST(a001_17_an_ephemeron_keeps_its_value_for_the_finalizer) {
  begin_plainly("16M");
  roots[0].word = vm_word(make_ephemeron(TSR_DEFAULT));
  roots[1].word = vm_word(make(RECORD, 1, 0));
  ck_assert(vm_list(vm.m, &roots[2], 50, 2));
  set_pair(roots[0].word, roots[1].word, roots[2].word);
  attach(roots[1].word, FIXNUM(4), 0);
  roots[1].word = roots[2].word = 0;
  for (unsigned round = 0; round < 4; round++) {
    expect_objects(52);
    ck_assert(is_made(key_of(roots[0].word), RECORD, 1));
    ck_assert(vm_list_holds(vm.m, value_of(roots[0].word), 50, 2));
    if (round != 1 || !vm_collects) continue; /* it waits, and then it is ours */
    take_record(1, FIXNUM(4), 0, &roots[1]);
    ck_assert_uint_eq(key_of(roots[0].word), roots[1].word);
  }
  roots[1].word = 0;
  expect_objects(1);
  expect_cleared(roots[0].word);
  stop();
}
END_TEST

/* The ephemeron is reached by the revived object only, and its key too: the value comes along. An ephemeron whose
   key nothing revives is cleared. */
START_TEST(a001_17_ephemerons_behind_a_revived_object) {
  begin_plainly("16M");
  roots[0].word = vm_word(make(RECORD, 0, 0));
  for (unsigned i = 1; i < 3; i++) {
    roots[1].word = vm_word(make_ephemeron(TSR_DEFAULT));
    roots[2].word = vm_word(make(RECORD, 10 + i, 0));
    roots[3].word = vm_word(make(RECORD, 20 + i, 0));
    set_pair(roots[1].word, roots[2].word, roots[3].word);
    vm_set(vm.m, vm_ref(roots[0].word), 1 + i, roots[1].word);
    if (i == 2) roots[4].word = roots[2].word; /* for as long as the test builds */
    if (i == 1) vm_set(vm.m, vm_ref(roots[0].word), 5, roots[2].word);
  }
  attach(roots[0].word, FIXNUM(1), 0);
  memset(roots, 0, 5 * sizeof roots[0]);
  expect_objects(5); /* the object, two ephemerons, one key and one value */
  if (vm_collects) {
    take_record(0, FIXNUM(1), 0, &roots[0]);
    uint64_t kept = vm_get(vm.m, vm_ref(roots[0].word), 2);
    uint64_t other = vm_get(vm.m, vm_ref(roots[0].word), 3);
    ck_assert(is_made(key_of(kept), RECORD, 11));
    ck_assert(is_made(value_of(kept), RECORD, 21));
    expect_cleared(other);
  }
  roots[0].word = 0;
  expect_objects(0);
  stop();
}
END_TEST

/* A weak object that is revived keeps what is in its strong slot; its weak slot to an object that is gone is
   cleared, and one to an object that is reachable is not. */
START_TEST(a001_17_a_revived_weak_object) {
  begin_plainly("16M");
  for (unsigned i = 0; i < 2; i++) {
    roots[i].word = vm_word(make_box(0));
    for (unsigned k = 0; k < 2; k++) {
      roots[2 + 2 * i + k].word = vm_word(make(RECORD, 2 * i + k, 0));
      vm_set(vm.m, vm_ref(roots[i].word), 2 + k, roots[2 + 2 * i + k].word);
    }
    attach(roots[i].word, FIXNUM(i), i);
  }
  memset(roots, 0, 5 * sizeof roots[0]); /* root 5 stays: the weak slot's of the second box */
  expect_objects(5);
  expect_ready(2);
  for (unsigned i = 0; i < 2 && vm_collects; i++)
    roots[i].word = vm_word(take().object);
  expect_objects(5);
  for (unsigned i = 0; i < 2 && vm_collects; i++) {
    ck_assert(is_made(vm_get(vm.m, vm_ref(roots[i].word), 2), RECORD, 2 * i));
    ck_assert_uint_eq(weak_word(roots[i].word, 3), i == 0 ? 0 : roots[5].word);
  }
  stop();
}
END_TEST

/* Two weak references of the VM's own; the callbacks write to them with the world stopped. */
static struct own_references {
  tsr_slot at[2];
  bool keeps; /* the first, in process_weak */
  bool died[2];
} own;

static bool own_process(void *data, tsr_weak_phase *phase) {
  (void)data;
  if (own.keeps) tsr_weak_keep(phase, &own.at[0]);
  return false;
}

static void own_forward(void *data, tsr_weak_phase *phase) {
  (void)data;
  for (unsigned i = 0; i < 2; i++) {
    if (tsr_weak_forward(phase, &own.at[i])) continue;
    own.at[i].word = 0;
    own.died[i] = true;
  }
}

/* What process_weak keeps is not finalized; what is revived is alive in forward_weak. */
START_TEST(a001_17_finalizers_and_the_vms_own_weak_references) {
  vm_init(&vm);
  vm.binding.process_weak = own_process;
  vm.binding.forward_weak = own_forward;
  vm_start(&vm);
  open_roots();
  for (unsigned i = 0; i < 2; i++) {
    roots[i].word = vm_word(make(RECORD, i, 0));
    attach(roots[i].word, FIXNUM(i), 0);
    make(BYTES, 0, 1000);
  }
  own.at[0].word = roots[0].word;
  own.at[1].word = roots[1].word;
  own.keeps = true;
  memset(roots, 0, 2 * sizeof roots[0]);
  vm_collect(&vm);
  expect_ready(1);
  ck_assert(is_made(own.at[0].word, RECORD, 0) && is_made(own.at[1].word, RECORD, 1));
  ck_assert(!own.died[0] && !own.died[1]);
  if (vm_collects) take_record(1, FIXNUM(1), 0, &roots[1]);
  if (vm_collects) ck_assert_uint_eq(own.at[1].word, roots[1].word);
  expect_objects(2);
  expect_none();
  own.keeps = false;
  roots[1].word = 0;
  vm_collect(&vm);
  expect_ready(1);
  ck_assert(is_made(own.at[0].word, RECORD, 0) && !own.died[0]);
  ck_assert(own.died[1] == vm_collects);
  if (vm_collects) take_record(0, FIXNUM(0), 0, &roots[0]);
  roots[0].word = 0;
  expect_objects(0);
  ck_assert(own.died[0] == vm_collects);
  memset(own.at, 0, sizeof own.at);
  stop();
}
END_TEST

/* ---- many, against a model --------------------------------------------------------------- */

#define MOST_OBJECTS 100000u

/* An object's finalizers that have not been handed out are its number of times in this list. */
typedef struct attached {
  uint32_t object;
  unsigned priority;
  bool gone; /* handed out */
} attached;

static attached *list; /* in the order of attachment; data is FIXNUM(index) */
static size_t list_count;
static tsr_slot *objects; /* roots: each object, but between its death and its return */

static size_t object_count(void) {
  if (vm_stress != NULL) return 2000;
  return VM_SANITIZED || vm_verifies ? 10000 : MOST_OBJECTS;
}

static void attach_to(uint32_t object) {
  list[list_count] = (attached){.object = object, .priority = (unsigned)draw(4)};
  attach(objects[object].word, FIXNUM(list_count), list[list_count].priority);
  list_count++;
}

/* The lowest priority that an object has left. */
static void lowest_priorities(unsigned char *lowest, size_t n) {
  memset(lowest, TSR_FINALIZER_PRIORITIES, n);
  for (size_t i = 0; i < list_count; i++) {
    const attached *a = &list[i];
    if (!a->gone && a->priority < lowest[a->object]) lowest[a->object] = (unsigned char)a->priority;
  }
}

/* What the collection must have made ready, in its order; the objects are rooted again. */
static void check_drained(size_t n, unsigned long long from) {
  unsigned char *lowest = malloc(n);
  bool *dead = malloc(n * sizeof *dead);
  ck_assert(lowest != NULL && dead != NULL);
  lowest_priorities(lowest, n);
  for (size_t i = 0; i < n; i++)
    dead[i] = objects[i].word == 0;
  for (unsigned priority = 0; priority < TSR_FINALIZER_PRIORITIES; priority++) {
    for (size_t i = 0; i < list_count; i++) {
      attached *a = &list[i];
      if (a->gone || !dead[a->object] || a->priority != priority) continue;
      if (lowest[a->object] != priority) continue;
      tsr_finalizable ready = take();
      ck_assert_msg(ready.data == FIXNUM(i), "seed %llu: finalizer %zu is not the next", from, i);
      ck_assert_uint_eq(ready.priority, priority);
      ck_assert_uint_eq(vm_get(vm.m, ready.object, 1), FIXNUM(a->object));
      objects[a->object].word = vm_word(ready.object);
      a->gone = true;
    }
  }
  expect_none();
  free(lowest);
  free(dead);
}

static void new_object(uint32_t i) {
  tsr_ref pair = vm_new(vm.m, PAIR, 0, 0);
  ck_assert_ptr_nonnull(pair);
  vm_set(vm.m, pair, 1, FIXNUM(i));
  objects[i].word = vm_word(pair);
  attach_to(i);
  if (draw(4) == 0) attach_to(i);
}

START_TEST(a001_17_many_finalizers_and_random_deaths) {
  unsigned long long from = first_seed(_i + 1);
  enum { ROUNDS_OF_DEATH = 5 };
  size_t n = object_count();
  objects = calloc(n, sizeof *objects);
  list = calloc(n * 2 * (ROUNDS_OF_DEATH + 1), sizeof *list);
  ck_assert(objects != NULL && list != NULL);
  start("128M");
  ck_assert_int_eq(tsr_root_add(vm.heap, objects, n, TSR_ROOT_PRECISE, NULL, NULL), TSR_OK);
  for (unsigned round = 0; round < ROUNDS_OF_DEATH; round++) {
    for (uint32_t i = 0; i < n; i++) {
      if (objects[i].word == 0) {
        new_object(i); /* the one before had no finalizers left */
      } else if (draw(10) == 0) {
        attach_to(i);
      }
    }
    for (uint32_t i = 0; i < n; i++) {
      if (draw(2) == 0 && vm_collects) objects[i].word = 0;
    }
    vm_collect(&vm);
    check_drained(n, from);
  }
  ck_assert_int_eq(tsr_root_remove(vm.heap, objects, NULL), TSR_OK);
  stop(); /* whatever is still attached goes with the heap */
  free(objects);
  free(list);
}
END_TEST

/* Everything is full of finalizers; what they need in a collection was reserved when they were attached. */
START_TEST(a001_17_memory_for_finalizers_runs_out_in_attach) {
  enum { MOST = 1 << 20 };
  tsr_error error = {0};
  size_t n = 0;
  start_alone("4M"); /* fills its heap */
  roots[0].word = vm_word(make(RECORD, 4, 0));
  while (n < MOST && tsr_finalizer_attach(vm.m, vm_ref(roots[0].word), FIXNUM(n),
                                          n % 2 == 0 ? 0 : 3, &error) == TSR_OK)
    n++;
  ck_assert_msg(n == MOST || error.status == TSR_OUT_OF_MEMORY, "%s", error.message);
  ck_assert_msg(n == MOST || error.message[0] != 0, "no message");
  ck_assert_uint_gt(n, 1000);
  ck_assert_uint_le(vm_stats(&vm).peak_committed_bytes, 4 * MIB);
  roots[0].word = 0;
  for (unsigned pass = 0; pass < 2; pass++) {
    vm_collect(&vm);
    expect_ready(pass == 0 ? (n + 1) / 2 : n / 2);
    for (size_t i = pass; i < n && vm_collects; i += 2) {
      tsr_finalizable ready = take();
      ck_assert_uint_eq(ready.data, FIXNUM(i));
      ck_assert_uint_eq(ready.priority, pass == 0 ? 0 : 3);
      ck_assert(is_made(vm_word(ready.object), RECORD, 4));
    }
    expect_none();
  }
  expect_objects(0);
  vm_take_ooms(&vm, NULL);
  stop();
}
END_TEST

/* Of each priority something dies and something lives, in every collection, and nothing is attached in between. */
START_TEST(a001_17_a_collection_needs_no_memory_for_finalizers) {
  enum { EACH_PRIORITY = 20, N = EACH_PRIORITY * TSR_FINALIZER_PRIORITIES };
  start("16M");
  for (unsigned i = 0; i < N; i++) {
    roots[i].word = vm_word(make(RECORD, i, 0));
    attach(roots[i].word, FIXNUM(i), i / EACH_PRIORITY);
  }
  for (unsigned k = 0; k < EACH_PRIORITY; k++) {
    for (unsigned i = k; i < N; i += EACH_PRIORITY)
      roots[i].word = 0;
    expect_objects(N);
    expect_ready((k + 1) * TSR_FINALIZER_PRIORITIES);
  }
  for (unsigned i = 0; i < N && vm_collects; i++)
    take_record(i, FIXNUM(i), i / EACH_PRIORITY, &roots[0]);
  expect_none();
  roots[0].word = 0;
  expect_objects(0);
  stop();
}
END_TEST

/* ---- threads ----------------------------------------------------------------------------- */

#define TEAM    6u
#define EACH    400u /* finalizers of a thread */
#define NUMBERS (TEAM * EACH)

static atomic_uchar handed_out[NUMBERS];

/* Whether the finalizer is what it should be; counts it. */
static bool count_number(tsr_mutator *m, const tsr_finalizable *ready) {
  uint64_t number = ready->data >> 3;
  if (ready->data != FIXNUM(number) || number >= NUMBERS) return false;
  atomic_fetch_add(&handed_out[number], 1);
  return vm_kind_of(ready->object) == PAIR && vm_get(m, ready->object, 1) == FIXNUM(number) &&
         ready->priority == number % TSR_FINALIZER_PRIORITIES;
}

/* Makes objects, attaches to them, drops most of them, and takes whatever is ready, whoever made it. */
static void attach_and_take(vm_thread *self) {
  tsr_scope scope;
  tsr_scope_open(self->m, &scope);
  tsr_slot *kept = tsr_local(self->m, 0);
  for (unsigned i = 0; i < EACH; i++) {
    unsigned number = self->index * EACH + i;
    tsr_ref pair = vm_new(self->m, PAIR, 0, 0);
    EXPECT(self, pair != NULL);
    vm_set(self->m, pair, 1, FIXNUM(number));
    if (i % 5 == 0) kept->word = vm_word(pair);
    EXPECT(self, tsr_finalizer_attach(self->m, pair, FIXNUM(number),
                                      number % TSR_FINALIZER_PRIORITIES, NULL) == TSR_OK);
    EXPECT(self, vm_new(self->m, BYTES, 0, 500) != NULL);
    tsr_status expected = vm_collects ? TSR_OK : TSR_UNSUPPORTED;
    if (i % 40 == self->index) EXPECT(self, tsr_collect(self->m, NULL) == expected);
    tsr_finalizable ready;
    for (unsigned k = 0; k < 3 && tsr_finalizer_next(self->m, &ready); k++)
      EXPECT(self, count_number(self->m, &ready));
    unsigned last = self->index * EACH + i / 5 * 5;
    EXPECT(self, vm_get(self->m, vm_ref(kept->word), 1) == FIXNUM(last));
    EXPECT(self, atomic_load(&handed_out[last]) == 0);
  }
  tsr_scope_close(self->m, &scope);
}

static void run_number(void *context, tsr_mutator *m, const tsr_finalizable *ready) {
  unsigned *runs = context;
  ck_assert_ptr_eq(m, vm.m);
  ck_assert(count_number(m, ready));
  ++*runs;
}

START_TEST(a001_17_threads_attach_and_take_while_others_collect) {
  unsigned runs = 0;
  start("64M");
  vm_threads(&vm, TEAM, attach_and_take, NULL);
  vm_collect(&vm);
  tsr_finalizable ready;
  while (tsr_finalizer_next(vm.m, &ready))
    ck_assert(count_number(vm.m, &ready));
  ck_assert_uint_eq(tsr_finalizers_run_all(vm.m, 1, run_number, &runs), 0);
  ck_assert_uint_eq(runs, vm_collects ? 0 : NUMBERS);
  for (unsigned i = 0; i < NUMBERS; i++)
    ck_assert_msg(handed_out[i] == 1, "number %u was handed out %u times", i, handed_out[i]);
  expect_objects(0);
  stop();
}
END_TEST

/* ---- the end of a program ---------------------------------------------------------------- */

#define RUNS 4096u

/* What was run, in its order. */
static struct run_log {
  unsigned count;
  uint64_t data[RUNS];
  unsigned priority[RUNS];
  unsigned
      generations; /* a finalizer of an earlier one attaches one of the next, to a new object */
  bool collects;
} ran;

/* Data is FIXNUM(1000 * generation + number); the object is the RECORD of that tag. */
static void run_one(void *context, tsr_mutator *m, const tsr_finalizable *finalizable) {
  ck_assert_ptr_eq(context, &ran);
  ck_assert_ptr_eq(m, vm.m);
  ck_assert_uint_lt(ran.count, RUNS);
  unsigned number = (unsigned)(finalizable->data >> 3);
  uint64_t data = finalizable->data;
  unsigned priority = finalizable->priority;
  tsr_scope scope;
  tsr_scope_open(m, &scope);
  tsr_slot *object = tsr_local(m, vm_word(finalizable->object));
  ck_assert(is_made(object->word, RECORD, number));
  ran.data[ran.count] = data;
  ran.priority[ran.count++] = priority;
  if (ran.collects) vm_collect(&vm);
  if (number / 1000 + 1 < ran.generations) {
    tsr_ref next = make(RECORD, number + 1000, 0);
    attach(vm_word(next), FIXNUM(number + 1000), priority);
  }
  ck_assert(is_made(object->word, RECORD, number));
  tsr_scope_close(m, &scope);
}

static size_t run_all(unsigned rounds) {
  return tsr_finalizers_run_all(vm.m, rounds, run_one, &ran);
}

/* n finalizers, the last priority first, of objects that are reachable. */
static void attach_for_the_end(unsigned n) {
  for (unsigned i = 0; i < n; i++) {
    roots[i].word = vm_word(make(RECORD, i, 0));
    attach(roots[i].word, FIXNUM(i), 7 - i % 8);
  }
}

START_TEST(a001_17_the_end_runs_every_finalizer_in_its_order) {
  start("16M");
  unsigned n = 80;
  attach_for_the_end(n);
  ran.collects = _i == 1;
  ck_assert_uint_eq(run_all(1), 0);
  ck_assert_uint_eq(ran.count, n);
  for (unsigned k = 0; k < n; k++) {
    unsigned i = 7 - k / 10 + 8 * (k % 10);
    ck_assert_uint_eq(ran.data[k], FIXNUM(i));
    ck_assert_uint_eq(ran.priority[k], k / 10);
  }
  for (unsigned i = 0; i < n; i++)
    ck_assert(is_made(roots[i].word, RECORD, i));
  ck_assert_uint_eq(run_all(1), 0); /* each once */
  ck_assert_uint_eq(ran.count, n);
  memset(roots, 0, n * sizeof roots[0]);
  expect_objects(0);
  expect_none();
  stop();
}
END_TEST

/* Those that are ready are run like the others; those that were taken before are not. */
START_TEST(a001_17_the_end_runs_what_is_ready_too) {
  static unsigned times[60];
  start("16M");
  attach_for_the_end(60);
  for (unsigned i = 0; i < 30; i++)
    roots[i].word = 0;
  expect_objects(60);
  expect_ready(30);
  for (unsigned k = 0; k < 10 && vm_collects; k++)
    times[take().data >> 3]++;
  ran.collects = true;
  ck_assert_uint_eq(run_all(1), 0);
  ck_assert_uint_eq(ran.count, vm_collects ? 50 : 60);
  for (unsigned k = 0; k < ran.count; k++)
    times[ran.data[k] >> 3]++;
  for (unsigned i = 0; i < 60; i++)
    ck_assert_msg(times[i] == 1, "finalizer %u: %u times", i, times[i]);
  expect_none();
  stop();
}
END_TEST

/* What is attached in a round is run in the next one, and not in the same. */
START_TEST(a001_17_the_end_goes_in_rounds) {
  start("16M");
  ran.generations = 4;
  ran.collects = _i == 1;
  attach_for_the_end(10);
  memset(roots, 0, 10 * sizeof roots[0]);
  ck_assert_uint_eq(run_all(100), 0);
  ck_assert_uint_eq(ran.count, 40);
  for (unsigned k = 0; k < 40; k++)
    ck_assert_uint_eq((ran.data[k] >> 3) / 1000, k / 10);
  expect_objects(0);
  stop();
}
END_TEST

START_TEST(a001_17_the_end_has_no_more_rounds_than_it_may) {
  for (unsigned rounds = 0; rounds < 4; rounds++) {
    memset(&ran, 0, sizeof ran);
    start("16M");
    ran.generations = 1000; /* it would never end */
    ran.collects = _i == 1;
    attach_for_the_end(10);
    ck_assert_uint_eq(run_all(rounds), 10);
    ck_assert_uint_eq(ran.count, 10 * rounds);
    for (unsigned k = 0; k < ran.count; k++)
      ck_assert_uint_eq((ran.data[k] >> 3) / 1000, k / 10);
    stop(); /* and the rest is never run */
  }
}
END_TEST

START_TEST(a001_17_the_end_without_finalizers) {
  start("16M");
  ck_assert_uint_eq(run_all(0), 0);
  ck_assert_uint_eq(run_all(5), 0);
  ck_assert_uint_eq(ran.count, 0);
  stop();
}
END_TEST

/* ---- errors, and the end of a heap ------------------------------------------------------- */

static void attach_is_refused(tsr_ref object, unsigned priority, tsr_status expected) {
  tsr_error error = {0};
  ck_assert_int_eq(tsr_finalizer_attach(vm.m, object, 0, priority, &error), expected);
  ck_assert_int_eq(error.status, expected);
  ck_assert(error.message[0] != 0);
  ck_assert_int_eq(tsr_finalizer_attach(vm.m, object, 0, priority, NULL), expected);
}

START_TEST(a001_17_impossible_finalizers_are_refused) {
  static uint64_t outside[4];
  testvm other;
  start("16M");
  vm_open(&other, "16M");
  tsr_ref foreign = vm_new(other.m, RECORD, 0, 0);
  roots[0].word = vm_word(make(RECORD, 1, 0));
  tsr_ref object = vm_ref(roots[0].word);
  attach_is_refused(object, TSR_FINALIZER_PRIORITIES, TSR_INVALID_ARGUMENT);
  attach_is_refused(object, UINT32_MAX, TSR_INVALID_ARGUMENT);
  attach_is_refused(NULL, 0, TSR_INVALID_ARGUMENT);
  attach_is_refused((tsr_ref)(void *)outside, 0, TSR_INVALID_ARGUMENT);
  attach_is_refused((tsr_ref)(uintptr_t)8, 0, TSR_INVALID_ARGUMENT);
  attach_is_refused((tsr_ref)UINTPTR_MAX, 0, TSR_INVALID_ARGUMENT);
  attach_is_refused((tsr_ref)((uintptr_t)object + 1), 0, TSR_INVALID_ARGUMENT);
  attach_is_refused(foreign, 0, TSR_INVALID_ARGUMENT);
  vm_stop(&other);
  roots[0].word = 0;
  expect_objects(0); /* nothing was attached */
  expect_none();
  stop();
}
END_TEST

START_TEST(a001_17_finalizers_and_native_code) {
  start("16M");
  roots[0].word = vm_word(make(RECORD, 1, 0));
  roots[1].word = vm_word(make(RECORD, 2, 0));
  attach(roots[0].word, FIXNUM(1), 0);
  roots[0].word = 0;
  vm_collect(&vm);
  expect_ready(1);
  tsr_ref object = vm_ref(roots[1].word);
  tsr_enter_native(vm.m);
  attach_is_refused(object, 0, TSR_BUSY);
  take_none();
  expect_ready(1); /* any thread may ask */
  tsr_leave_native(vm.m);
  vm_take_errors(&vm, NULL); /* whether a call without a tsr_error was reported */
  if (vm_collects) take_record(1, FIXNUM(1), 0, &roots[0]);
  expect_none();
  stop();
}
END_TEST

/* Attached, ready, and both: all of it goes with the heap, and nobody complains. */
START_TEST(a001_17_a_heap_ends_with_its_finalizers) {
  start("16M");
  unsigned n = many(2000);
  for (unsigned i = 0; i < n; i++) {
    roots[i].word = vm_word(make(RECORD, i, 0));
    for (unsigned k = 0; k <= i % 3; k++)
      attach(roots[i].word, k == 1 ? roots[i / 2].word : FIXNUM(k), k);
  }
  for (unsigned i = _i == 0 ? n : 0; i < n; i += 3)
    roots[i].word = 0;
  vm_collect(&vm);
  if (_i == 0) expect_ready(0);
  if (_i == 1 && vm_collects) ck_assert_uint_gt(tsr_finalizers_ready(vm.heap), 0);
  stop();
}
END_TEST

static void add(TCase *tests) {
  /* A minor collection that another mutator asks for makes those ready first that died young. */
  if (vm_is_generational()) vm_mutators = 1;
  tcase_add_test(tests, a001_17_an_unreachable_object_is_handed_out_once);
  tcase_add_test(tests, a001_17_a_revived_object_keeps_what_it_refers_to);
  tcase_add_test(tests, a001_17_data_is_kept_until_it_is_handed_out);
  tcase_add_test(tests, a001_17_data_that_leads_to_its_object_keeps_it);
  tcase_add_test(tests, a001_17_data_may_be_any_word);
  tcase_add_test(tests, a001_17_finalizers_of_a_vm_with_tagged_references);
  tcase_add_test(tests, a001_17_a_revived_object_may_be_attached_again);
  tcase_add_loop_test(tests, a001_17_one_priority_goes_by_the_order_of_attachment, 0, 2);
  tcase_add_test(tests, a001_17_one_collection_goes_by_priority);
  tcase_add_test(tests, a001_17_earlier_collections_come_first);
  tcase_add_test(tests, a001_17_several_finalizers_of_one_object);
  tcase_add_test(tests, a001_17_many_finalizers_of_one_object);
  tcase_add_test(tests, a001_17_some_are_taken);
  tcase_add_test(tests, a001_17_an_object_of_a_later_priority_outlasts_what_needs_it);
  tcase_add_test(tests, a001_17_what_needs_no_other_becomes_ready_at_once);
  tcase_add_test(tests, a001_17_a_collection_says_how_many_it_made_ready);
  tcase_add_test(tests, a001_17_finalizers_in_every_placement);
  tcase_add_test(tests, a001_17_finalizers_of_large_objects);
  tcase_add_test(tests, a001_17_a_pinned_object_is_reachable);
  tcase_add_test(tests, a001_17_weak_references_are_cleared_before_finalization);
  tcase_add_test(tests, a001_17_an_ephemeron_keeps_its_value_for_the_finalizer);
  tcase_add_test(tests, a001_17_ephemerons_behind_a_revived_object);
  tcase_add_test(tests, a001_17_a_revived_weak_object);
  tcase_add_test(tests, a001_17_finalizers_and_the_vms_own_weak_references);
  tcase_add_loop_test(tests, a001_17_many_finalizers_and_random_deaths, 0, 2);
  tcase_add_test(tests, a001_17_memory_for_finalizers_runs_out_in_attach);
  tcase_add_test(tests, a001_17_a_collection_needs_no_memory_for_finalizers);
  tcase_add_test(tests, a001_17_threads_attach_and_take_while_others_collect);
  tcase_add_loop_test(tests, a001_17_the_end_runs_every_finalizer_in_its_order, 0, 2);
  tcase_add_test(tests, a001_17_the_end_runs_what_is_ready_too);
  tcase_add_loop_test(tests, a001_17_the_end_goes_in_rounds, 0, 2);
  tcase_add_loop_test(tests, a001_17_the_end_has_no_more_rounds_than_it_may, 0, 2);
  tcase_add_test(tests, a001_17_the_end_without_finalizers);
  tcase_add_test(tests, a001_17_impossible_finalizers_are_refused);
  tcase_add_test(tests, a001_17_finalizers_and_native_code);
  tcase_add_loop_test(tests, a001_17_a_heap_ends_with_its_finalizers, 0, 2);
}

int main(void) {
  return vm_main("finalizers", add);
}
