/*
 * F23. What lies in sparse blocks of the old generation is put together when everything is collected: the memory between
 * survivors comes back, and they are what they were.
 *
 * Plans that move everything at each collection promise it too; one that never collects is not asked.
 */
#include "weak_fixture.h"

#define OBJECTS 60000u

static tsr_slot *table; /* one root, a vector of all that is made */

static uint64_t element(size_t i) {
  return vm_get(vm.m, vm_ref(table->word), vm_slot_index(VECTOR, i));
}

static void set_element(size_t i, uint64_t word) {
  vm_set(vm.m, vm_ref(table->word), vm_slot_index(VECTOR, i), word);
}

static const unsigned kinds[] = {PAIR, RECORD, BYTES, VECTOR, CUSTOM};
#define KIND_COUNT (sizeof kinds / sizeof kinds[0])

static unsigned kind_of(size_t i) {
  return kinds[i % KIND_COUNT];
}

/* Whether an element is what make_old() has made of it. */
static bool is_whole(size_t i) {
  return is_made(element(i), kind_of(i), (unsigned)i);
}

/* For a VM that has been initialised: a heap with a vector. */
static void start_table(const char *heap_max, size_t count) {
  vm_alone(&vm);
  vm_pin(&vm, "heap_max", heap_max);
  vm_pin(&vm, "nursery", "128K");
  vm_start(&vm);
  open_roots();
  table = &roots[ROOTS - 1];
  table->word = vm_word(vm_new(vm.m, VECTOR, 1, count));
  for (size_t i = 0; i < count; i++)
    set_element(i, FIXNUM(0));
}

/* And with so many old objects, in the order of the vector. */
static void start_initialised(const char *heap_max, size_t count) {
  start_table(heap_max, count);
  for (size_t i = 0; i < count; i++)
    set_element(i, vm_word(make(kind_of(i), (unsigned)i, i % 7)));
  vm_collect(&vm);
}

static void start_old(const char *heap_max, size_t count) {
  vm_init_calm(&vm);
  start_initialised(heap_max, count);
}

/* Only every n-th is left. */
static void thin_out(size_t count, size_t n) {
  for (size_t i = 0; i < count; i++) {
    if (i % n != 0) set_element(i, FIXNUM(0));
  }
}

static void check_left(size_t count, size_t n) {
  for (size_t i = 0; i < count; i += n)
    ck_assert_msg(is_whole(i), "object %zu", i);
  ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
}

static uint64_t used_bytes(void) {
  return vm.last_collection.after_bytes;
}

/* ---- tests -------------------------------------------------------------------------------------------------- */

START_TEST(f23_sparse_blocks_are_evacuated) {
  start_old("64M", OBJECTS);
  thin_out(OBJECTS, 9);
  vm_collect(&vm);
  check_left(OBJECTS, 9);
  vm_collect(&vm);
  check_left(OBJECTS, 9);
  uint64_t live = vm_stats(&vm).live_bytes_after_last;
  ck_assert_msg(used_bytes() < 2 * live, "%llu bytes are used, for %llu",
                (unsigned long long)used_bytes(), (unsigned long long)live);
  stop();
}
END_TEST

/* The objects refer to each other, and are referred to by young ones and by large ones. */
START_TEST(f23_references_follow_what_is_evacuated) {
  enum { COUNT = 20000, STEP = 10, LEFT = COUNT / STEP };
  start_old("64M", COUNT);
  thin_out(COUNT, STEP);
  for (size_t i = 0; i < COUNT; i += STEP) {
    uint64_t to = element(i * 7 % COUNT);
    if (kind_of(i) != BYTES) vm_set(vm.m, vm_ref(element(i)), vm_slot_index(kind_of(i), 0), to);
  }
  for (size_t i = 0; i < LEFT / 2; i++) {
    roots[i].word = vm_word(make(PAIR, (unsigned)i, 0));
    vm_set(vm.m, vm_ref(roots[i].word), vm_slot_index(PAIR, 0), element(i * STEP));
  }
  for (unsigned round = 0; round < 2; round++) {
    vm_collect(&vm);
    for (size_t i = 0; i < COUNT; i += STEP) {
      if (kind_of(i) == BYTES) continue;
      uint64_t to = vm_get(vm.m, vm_ref(element(i)), vm_slot_index(kind_of(i), 0));
      ck_assert_uint_eq(to, element(i * 7 % COUNT));
    }
    for (size_t i = 0; i < LEFT / 2; i++) {
      ck_assert_uint_eq(vm_get(vm.m, vm_ref(roots[i].word), vm_slot_index(PAIR, 0)),
                        element(i * STEP));
    }
  }
  ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
  stop();
}
END_TEST

/* What is asked for when it is old stays its hash wherever it goes. */
START_TEST(f23_hashes_of_evacuated_objects_stay) {
  enum { COUNT = 20000, STEP = 8 };
  static uint64_t hashes[COUNT / STEP];
  start_old("64M", COUNT);
  for (size_t i = 0; i < COUNT / STEP; i++) {
    if (i % 2 == 0) {
      ck_assert_int_eq(tsr_identity_hash(vm.m, vm_ref(element(i * STEP)), &hashes[i], NULL),
                       TSR_OK);
    }
  }
  thin_out(COUNT, STEP);
  for (unsigned round = 0; round < 3; round++) {
    vm_collect(&vm);
    for (size_t i = 0; i < COUNT / STEP; i += 2) {
      uint64_t hash;
      ck_assert_int_eq(tsr_identity_hash(vm.m, vm_ref(element(i * STEP)), &hash, NULL), TSR_OK);
      ck_assert_uint_eq(hash, hashes[i]);
    }
    check_left(COUNT, STEP);
  }
  stop();
}
END_TEST

/* A block with a pinned object stays as it is, with what lives there; later stores into its objects are seen. */
START_TEST(f23_pinned_objects_keep_their_blocks) {
  enum { COUNT = 20000, STEP = 9, PINS = 112 * STEP };
  static uint64_t where[COUNT];
  start_old("64M", COUNT);
  for (size_t i = 0; i < COUNT; i += PINS) {
    where[i] = element(i);
    ck_assert_int_eq(tsr_pin(vm.m, vm_ref(where[i]), NULL), TSR_OK);
  }
  thin_out(COUNT, STEP);
  for (unsigned round = 0; round < 3; round++) {
    vm_collect(&vm);
    for (size_t i = 0; i < COUNT; i += PINS)
      ck_assert_uint_eq(element(i), where[i]);
    check_left(COUNT, STEP);
    for (size_t i = 0; i < COUNT; i += STEP) {
      if (kind_of(i) != PAIR) continue;
      vm_set(vm.m, vm_ref(element(i)), vm_slot_index(PAIR, 1), vm_word(make(BYTES, 7, 30)));
    }
    vm_garbage(vm.m, 2 * MIB);
    for (size_t i = 0; i < COUNT; i += STEP) {
      if (kind_of(i) != PAIR) continue;
      ck_assert(is_made(vm_get(vm.m, vm_ref(element(i)), vm_slot_index(PAIR, 1)), BYTES, 7));
    }
  }
  for (size_t i = 0; i < COUNT; i += PINS)
    ck_assert_int_eq(tsr_unpin(vm.m, vm_ref(where[i]), NULL), TSR_OK);
  vm_collect(&vm);
  check_left(COUNT, STEP);
  stop();
}
END_TEST

/* Weak handles, weak slots and ephemerons; every other one's referent dies. */
START_TEST(f23_weak_references_follow_what_is_evacuated) {
  enum { COUNT = 20000, STEP = 10, LEFT = 1000 };
  static tsr_slot *handles[LEFT];
  start_old("64M", COUNT);
  register_layouts();
  tsr_slot *boxes = &roots[0], *ephemerons = &roots[LEFT];
  for (size_t i = 0; i < LEFT; i++) {
    boxes[i].word = vm_word(make_box((unsigned)i));
    ephemerons[i].word = vm_word(make_ephemeron(TSR_DEFAULT));
    uint64_t to = element(i * STEP + i % 2);
    vm_set(vm.m, vm_ref(boxes[i].word), 3, to);
    vm_set(vm.m, vm_ref(ephemerons[i].word), KEY, to);
    vm_set(vm.m, vm_ref(ephemerons[i].word), VALUE, to);
    handles[i] = tsr_handle_new(vm.heap, to, TSR_WEAK, NULL);
    ck_assert_ptr_nonnull(handles[i]);
  }
  thin_out(COUNT, STEP);
  for (unsigned round = 0; round < 3; round++) {
    vm_collect(&vm);
    for (size_t i = 0; i < LEFT; i++) {
      uint64_t to = i % 2 == 0 ? element(i * STEP) : 0;
      ck_assert_uint_eq(handles[i]->word, to);
      ck_assert_uint_eq(vm_get(vm.m, vm_ref(boxes[i].word), 3), to);
      ck_assert_uint_eq(vm_get(vm.m, vm_ref(ephemerons[i].word), KEY), to);
      ck_assert_uint_eq(vm_get(vm.m, vm_ref(ephemerons[i].word), VALUE), to);
    }
    check_left(COUNT, STEP);
  }
  for (size_t i = 0; i < LEFT; i++)
    ck_assert_int_eq(tsr_handle_free(vm.heap, handles[i], NULL), TSR_OK);
  stop();
}
END_TEST

/* Small objects die here and there, until their blocks are nearly empty, or, in the second round, still half full and more:
   then there is room for what needs blocks side by side, up to a heap's maximum. */
START_TEST(f23_a_fragmented_heap_has_room_for_a_large_object) {
  static const struct {
    size_t count, dropped; /* one of so many stays, or goes */
    bool stays;
    size_t large_bytes;
  } rounds[] = {{OBJECTS, 10, true, 10 * MIB}, {180000, 3, false, 11 * MIB / 2}};
  if (_i == 1 && vm_copies() && !vm_is_generational()) return; /* a copy of so much has no room */
  start_old("16M", rounds[_i].count);
  for (size_t i = 0; i < rounds[_i].count; i++) {
    if ((i % rounds[_i].dropped == 0) != rounds[_i].stays) set_element(i, FIXNUM(0));
  }
  uint64_t large = vm_word(vm_new(vm.m, BYTES, 3, rounds[_i].large_bytes));
  ck_assert_msg(large != 0 || (vm_copies() && !vm_is_generational()), "%llu bytes are used",
                (unsigned long long)used_bytes());
  vm_take_ooms(&vm, NULL);
  for (size_t i = 0; i < rounds[_i].count; i++)
    ck_assert_msg(element(i) == FIXNUM(0) || is_whole(i), "object %zu", i);
  stop();
}
END_TEST

/* Words that may be references keep objects where they are; words that lead to where a dead one was do nothing, nor does what
   it referred to come back. */
START_TEST(f23_ambiguous_words_keep_blocks) {
  enum { COUNT = 20000, STEP = 10, WORDS = 400 };
  static tsr_slot words[WORDS], dead[WORDS];
  memset(words, 0, sizeof words);
  vm_init_calm(&vm);
  vm.binding.needs = TSR_NEEDS_AMBIGUOUS_ROOTS;
  start_initialised("64M", COUNT);
  tsr_status status = tsr_root_add(vm.heap, words, WORDS, TSR_ROOT_AMBIGUOUS, "words", NULL);
  ck_assert_int_eq(status, TSR_OK);
  for (size_t i = 0; i < WORDS; i++) {
    words[i].word = element(i * STEP);
    size_t doomed = i * STEP + 3;
    dead[i].word = element(doomed);
    ck_assert_uint_eq(kind_of(doomed), VECTOR);
    if (doomed % 7 > 0)
      vm_set(vm.m, vm_ref(element(doomed)), vm_slot_index(VECTOR, 0), element(doomed + COUNT / 2));
  }
  for (size_t i = 3; i < COUNT; i += STEP)
    set_element(i, FIXNUM(0));
  vm_collect_to(&vm, COUNT - COUNT / STEP + 1); /* most blocks are full yet */
  for (size_t i = 1; i < WORDS; i += 2)
    words[i].word = dead[i].word;
  thin_out(COUNT, STEP);
  for (unsigned round = 0; round < 3; round++) {
    vm_collect_to(&vm, COUNT / STEP + 1);
    for (size_t i = 0; i < WORDS; i += 2)
      ck_assert_uint_eq(element(i * STEP), words[i].word);
    check_left(COUNT, STEP);
  }
  stop();
}
END_TEST

/* Makes so many bytes, without a collection. */
static void *make_now(size_t bytes) {
  void *memory =
      tsr_alloc_with(vm.m, bytes, TSR_OBJECT_ALIGN, 0, TSR_DEFAULT, TSR_ALLOC_NO_COLLECT, NULL);
  if (memory == NULL) return NULL;
  vm_init_object(memory, BYTES, 1, bytes - 16);
  ck_assert_int_eq(tsr_post_alloc(vm.m, memory, bytes, TSR_DEFAULT), TSR_OK);
  return memory;
}

/* An old object is in the log, and its block is looked at as a whole, since something beside it was born old in a full heap. It is
   evacuated while what it refers to stays young; it is logged again then. */
START_TEST(f23_logged_objects_are_evacuated) {
  enum { COUNT = 5000, STEP = 60, WORDS = 29 };
  vm_init_calm(&vm);
  start_table("8M", COUNT);
  for (size_t i = 0; i < COUNT; i++)
    set_element(i, vm_word(make(VECTOR, (unsigned)i, WORDS)));
  vm_collect(&vm);
  thin_out(COUNT, STEP);
  roots[0].word = vm_word(make(BYTES, 77, 100));
  ck_assert_int_eq(tsr_pin(vm.m, vm_ref(roots[0].word), NULL), TSR_OK);
  vm_collect(&vm);
  ck_assert_int_eq(tsr_emergency_reserve_hold(vm.heap, 2 * MIB, NULL), TSR_OK);
  while (make_now(60 * KIB) != NULL || make_now(28 * KIB) != NULL)
    continue;
  if (vm_is_generational()) ck_assert_ptr_nonnull(make_now(64));
  for (size_t i = 0; i < COUNT; i += STEP)
    vm_set(vm.m, vm_ref(element(i)), vm_slot_index(VECTOR, 1), roots[0].word);
  ck_assert_int_eq(tsr_emergency_reserve_hold(vm.heap, 0, NULL), TSR_OK);
  vm_collect(&vm); /* there is room for copies now */
  ck_assert_int_eq(tsr_unpin(vm.m, vm_ref(roots[0].word), NULL), TSR_OK);
  roots[0].word = 0;
  for (unsigned round = 0; round < 3; round++) {
    vm_garbage(vm.m, 2 * MIB);
    for (size_t i = 0; i < COUNT; i += STEP)
      ck_assert(is_made(vm_get(vm.m, vm_ref(element(i)), vm_slot_index(VECTOR, 1)), BYTES, 77));
  }
  stop();
}
END_TEST

/* Gaps elsewhere that are too short for what lies in sparse blocks are no room: copies take no blocks if none comes free. */
START_TEST(f23_evacuation_takes_no_more_than_it_gives) {
  enum { SMALL = 40000, LARGER = 5000, COUNT = SMALL + LARGER };
  uint64_t random = 7;
  vm_init_calm(&vm);
  start_table("40M", COUNT);
  for (size_t i = 0; i < COUNT; i++)
    set_element(i, vm_word(make(BYTES, (unsigned)i, i < SMALL ? 240 : 1008)));
  vm_collect(&vm);
  for (size_t i = COUNT; i-- > SMALL + 1;) {
    size_t other = SMALL + vm_random(&random) % (i - SMALL + 1);
    uint64_t word = element(i);
    set_element(i, element(other));
    set_element(other, word);
  }
  for (size_t i = 0; i < COUNT; i++) {
    if (i < SMALL ? i % 3 == 0 : vm_random(&random) % 3 > 0) set_element(i, FIXNUM(0));
  }
  roots[0].word = vm_word(vm_new(vm.m, VECTOR, 2, 4000));
  for (size_t i = 0; i < 4000; i++)
    vm_set(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, i), FIXNUM(0));
  size_t made = 0;
  for (void *memory; made < 4000 && (memory = make_now(60 * KIB)) != NULL; made++)
    vm_set(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, made), vm_word(memory));
  for (size_t i = 0; i < 15; i++)
    vm_set(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, i), FIXNUM(0));
  vm_collect(&vm);
  uint64_t before = used_bytes();
  vm_collect(&vm);
  ck_assert_uint_le(used_bytes(), before + 16 * 32 * KIB); /* two blocks that each worker fills */
  stop();
}
END_TEST

START_TEST(f23_what_is_frozen_is_not_evacuated) {
  enum { COUNT = 20000, STEP = 10 };
  static uint64_t where[COUNT];
  start_old("64M", COUNT);
  ck_assert_int_eq(tsr_freeze(vm.m, NULL), TSR_OK);
  for (size_t i = 0; i < COUNT; i += STEP)
    where[i] = element(i);
  thin_out(COUNT, STEP);
  for (unsigned round = 0; round < 2; round++) {
    vm_collect(&vm);
    for (size_t i = 0; i < COUNT; i += STEP)
      ck_assert_uint_eq(element(i), where[i]);
    check_left(COUNT, STEP);
  }
  stop();
}
END_TEST

/* In a heap that is full there is no room for copies but in gaps: what finds none stays. */
START_TEST(f23_a_full_heap_is_evacuated_in_part) {
  uint64_t random = 5;
  start_old("12M", OBJECTS);
  unsigned refused = 0;
  for (unsigned round = 0; round < 20; round++) {
    for (unsigned n = 0; n < OBJECTS / 4; n++)
      set_element(vm_random(&random) % OBJECTS, FIXNUM(0));
    for (size_t i = 0; i < OBJECTS; i++) {
      if (element(i) != FIXNUM(0)) continue;
      tsr_ref fresh = vm_new(vm.m, kind_of(i), i & 0xffff, i % 7);
      if (fresh == NULL) {
        refused++;
        break;
      }
      vm_fill(fresh, i & 0xffff);
      set_element(i, vm_word(fresh));
    }
    for (size_t i = 0; i < OBJECTS; i++)
      ck_assert_msg(element(i) == FIXNUM(0) || is_whole(i), "object %zu", i);
    ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
  }
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), refused);
  stop();
}
END_TEST

static void add(TCase *tests) {
  if (!vm_collects || vm_is_still() || vm_wants_threads()) return;
  tcase_add_test(tests, f23_sparse_blocks_are_evacuated);
  tcase_add_test(tests, f23_references_follow_what_is_evacuated);
  tcase_add_test(tests, f23_hashes_of_evacuated_objects_stay);
  tcase_add_test(tests, f23_pinned_objects_keep_their_blocks);
  tcase_add_test(tests, f23_weak_references_follow_what_is_evacuated);
  tcase_add_loop_test(tests, f23_a_fragmented_heap_has_room_for_a_large_object, 0, 2);
  tcase_add_test(tests, f23_ambiguous_words_keep_blocks);
  tcase_add_test(tests, f23_logged_objects_are_evacuated);
  tcase_add_test(tests, f23_evacuation_takes_no_more_than_it_gives);
  tcase_add_test(tests, f23_what_is_frozen_is_not_evacuated);
  tcase_add_test(tests, f23_a_full_heap_is_evacuated_in_part);
}

int main(void) {
  return vm_main("evacuation", add);
}
