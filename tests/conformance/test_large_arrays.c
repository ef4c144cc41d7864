/*
 * F22, F24, A001-14. Large arrays are armed when they are born, where there is a young generation: the minor collection that
 * makes one old looks at what was stored into it, not at all of it.
 *
 * Where a plan has one generation, a collection of everything takes the place of a minor one.
 */
#include "weak_fixture.h"

#define ARRAY_BYTES (5 * MIB)
#define STORES      400u

static const unsigned array_kinds[] = {VECTOR, TABLE};
#define ARRAY_KINDS ((int)(sizeof array_kinds / sizeof array_kinds[0]))

static size_t array_count(unsigned kind) {
  return kind == TABLE ? ARRAY_BYTES / 24 : ARRAY_BYTES / 8;
}

static size_t slot_count(unsigned kind) {
  return kind == TABLE ? 2 * array_count(kind) : array_count(kind);
}

/* The heap collects by itself only where its young generation is full. */
static void start_generations(void) {
  vm_init_calm(&vm);
  vm_alone(&vm);
  vm_pin(&vm, "heap_max", "96M");
  vm_pin(&vm, "nursery", "256K");
  begin();
}

static void make_array(tsr_slot *to, unsigned kind) {
  to->word = vm_word(vm_new(vm.m, kind, 1, array_count(kind)));
}

/* ---- what an array holds, beside what it should ----------------------------------------------------------- */

typedef struct held {
  tsr_slot *array;
  unsigned kind;
  uint64_t random;
  size_t places[STORES];
  unsigned tags[STORES];
  unsigned count;
} held;

/* In a table, the slot before the first element is the object's own. */
static size_t held_index(const held *h, size_t place) {
  return vm_slot_index(h->kind, h->kind == TABLE ? place + 1 : place);
}

static uint64_t held_word(const held *h, size_t place) {
  return vm_get(vm.m, vm_ref(h->array->word), held_index(h, place));
}

static void held_set(const held *h, size_t place, uint64_t word) {
  vm_set(vm.m, vm_ref(h->array->word), held_index(h, place), word);
}

/* New records in so many more places, which may lie beside each other; all lie in the first `slots`. */
static void held_add(held *h, unsigned count, size_t slots) {
  for (unsigned i = 0; i < count; i++, h->count++) {
    size_t place =
        i % 4 == 3 ? (h->places[h->count - 1] + 1) % slots : vm_random(&h->random) % slots;
    uint64_t record = vm_word(make(RECORD, h->count, 0));
    held_set(h, place, record);
    h->places[h->count] = place;
    for (unsigned j = 0; j <= h->count; j++) {
      if (h->places[j] == place) h->tags[j] = h->count;
    }
  }
}

static void held_check(const held *h, const char *when) {
  for (unsigned i = 0; i < h->count; i++) {
    ck_assert_msg(is_made(held_word(h, h->places[i]), RECORD, h->tags[i]),
                  "%s, the record %u at %zu", when, h->tags[i], h->places[i]);
  }
}

/* ---- minor collections ------------------------------------------------------------------------------------ */

START_TEST(a001_14_a_large_new_array_is_not_read_whole) {
  held h = {.array = &roots[0], .kind = array_kinds[_i], .random = 5};
  start_generations();
  uint64_t before = vm_stats(&vm).barrier_slots;
  make_array(&roots[0], h.kind);
  held_add(&h, STORES / 4, slot_count(h.kind));
  if (vm_is_generational()) ck_assert_uint_ge(vm_stats(&vm).barrier_slots - before, STORES / 5);
  held_check(&h, "at first");
  for (unsigned round = 0; round < 3; round++) {
    collect_young();
    ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
    held_check(&h, "after a minor collection");
    held_add(&h, STORES / 4, slot_count(h.kind));
  }
  vm_collect(&vm);
  held_check(&h, "after a collection of everything");
  stop();
}
END_TEST

/* Its slots are no roots, nor are those of one that has taken its place. */
START_TEST(a001_14_what_a_dead_array_held_goes) {
  held h = {.array = &roots[0], .kind = array_kinds[_i], .random = 6};
  start_generations();
  for (unsigned round = 0; round < 4; round++) {
    make_array(&roots[0], h.kind);
    h.count = 0;
    held_add(&h, 8, slot_count(h.kind));
    tsr_slot *weak = tsr_handle_new(vm.heap, held_word(&h, h.places[0]), TSR_WEAK, NULL);
    ck_assert_ptr_nonnull(weak);
    roots[0].word = 0;
    collect_young();
    ck_assert_uint_eq(weak->word, 0);
    ck_assert_int_eq(tsr_handle_free(vm.heap, weak, NULL), TSR_OK);
    ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
  }
  stop();
}
END_TEST

static void shrink(tsr_ref vector, size_t count) {
  ck_assert_int_eq(tsr_shrink(vm.m, vector, vm_size(VECTOR, count), NULL), TSR_OK);
  vm_slot(vector, 1)->word = count;
}

/* A large array that is no array to speak of any more; what it has lost is not looked at. */
START_TEST(f22_a_large_new_array_is_shrunk) {
  static const size_t lengths[] = {1, 100, 5000, 500000};
  held h = {.array = &roots[0], .kind = VECTOR, .random = 7};
  start_generations();
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    make_array(&roots[0], VECTOR);
    h.count = 0;
    held_add(&h, 1, 1);
    held_add(&h, 20, lengths[i]);
    held_set(&h, ARRAY_BYTES / 8 - 1, vm_word(make(RECORD, 1, 0)));
    shrink(vm_ref(roots[0].word), lengths[i]);
    for (unsigned round = 0; round < 3; round++) {
      held_check(&h, "shrunk");
      collect_young();
      ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
    }
  }
  stop();
}
END_TEST

/* A slot beside the array is no slot of the array: it is read whole then, and what was and is stored there is found. */
START_TEST(f24_a_slot_beside_a_large_new_array) {
  held h = {.array = &roots[0], .kind = TABLE, .random = 8};
  start_generations();
  make_array(&roots[0], TABLE);
  held_add(&h, 20, slot_count(TABLE));
  vm_set(vm.m, vm_ref(roots[0].word), 2, vm_word(make(RECORD, 77, 0)));
  held_add(&h, 20, slot_count(TABLE));
  ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
  held_add(&h, 20, slot_count(TABLE));
  for (unsigned round = 0; round < 3; round++) {
    collect_young();
    held_check(&h, "after a minor collection");
    ck_assert(is_made(vm_get(vm.m, vm_ref(roots[0].word), 2), RECORD, 77));
  }
  stop();
}
END_TEST

/* Arrays that lead to each other, in the order in which they are born or against it, and to all else. */
START_TEST(a001_14_large_new_arrays_in_a_row) {
  enum { ROW = 5 };
  held h[ROW];
  start_generations();
  for (unsigned n = 0; n < ROW; n++) {
    unsigned i = _i == 0 ? n : ROW - 1 - n;
    h[i] = (held){.array = &roots[i], .kind = array_kinds[i % 2], .random = i};
    make_array(&roots[i], h[i].kind);
    held_add(&h[i], 10, 9);
  }
  for (unsigned i = 0; i + 1 < ROW; i++)
    held_set(&h[i], 1000 * i + 9, roots[i + 1].word);
  for (unsigned i = 1; i < ROW; i++)
    roots[i].word = 0;
  for (unsigned round = 0; round < 3; round++) {
    collect_young();
    for (unsigned i = 0; i < ROW; i++) {
      if (i > 0) roots[i].word = held_word(&h[i - 1], 1000 * (i - 1) + 9);
      held_check(&h[i], "in a row");
    }
    for (unsigned i = 1; i < ROW; i++)
      roots[i].word = 0;
  }
  stop();
}
END_TEST

/* Several workers reach arrays that are armed, that are not any more, and that an ephemeron has waited for, all at once. */
START_TEST(a001_17_large_new_arrays_that_several_workers_reach) {
  enum { LISTS = 60, ARRAYS = 4 };
  unsigned rounds = VM_SANITIZED || vm_verifies ? 3 : 12;
  held h[ARRAYS];
  start_generations();
  for (unsigned round = 0; round < rounds; round++) {
    collect_young();
    roots[0].word = vm_word(vm_new(vm.m, VECTOR, 1, LISTS + ARRAYS));
    for (unsigned i = 0; i < LISTS; i++) {
      ck_assert(vm_list(vm.m, &roots[1], 40, i));
      vm_set(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, i), roots[1].word);
    }
    for (unsigned i = 0; i < ARRAYS; i++) {
      h[i] = (held){.array = &roots[10 + i], .kind = array_kinds[i % 2], .random = i + 1};
      make_array(h[i].array, h[i].kind);
      held_add(&h[i], 60, slot_count(h[i].kind));
      vm_set(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, LISTS + i), h[i].array->word);
    }
    vm_set(vm.m, vm_ref(roots[11].word), 2, vm_word(make(RECORD, 7, 0)));
    roots[2].word = vm_word(make_ephemeron(TSR_DEFAULT));
    roots[3].word = vm_word(make_ephemeron(TSR_DEFAULT));
    set_pair(roots[2].word, roots[12].word, vm_word(make(RECORD, 8, 0)));
    roots[4].word = vm_word(make(RECORD, 9, 0));
    set_pair(roots[3].word, roots[4].word, roots[0].word);
    for (unsigned i = 0; i < ARRAYS; i++)
      roots[10 + i].word = 0;
    roots[0].word = roots[1].word = 0;
    for (unsigned i = 0; i < 3; i++) {
      collect_young();
      ck_assert(is_made(value_of(roots[2].word), RECORD, 8));
      for (unsigned k = 0; k < ARRAYS; k++) {
        uint64_t all = value_of(roots[3].word);
        h[k].array->word = vm_get(vm.m, vm_ref(all), vm_slot_index(VECTOR, LISTS + k));
        held_check(&h[k], "by several workers");
        h[k].array->word = 0;
      }
    }
  }
  stop();
}
END_TEST

/* A store without a barrier is found though no collection has seen the array. */
START_TEST(f36_a_store_into_a_large_new_array_without_a_barrier) {
  tsr_error error = {0};
  vm_init_calm(&vm);
  vm_alone(&vm);
  vm_pin(&vm, "heap_max", "64M");
  vm_pin(&vm, "nursery", "256K");
  vm_pin(&vm, "verify", "on");
  begin();
  make_array(&roots[0], VECTOR);
  roots[1].word = vm_word(make(RECORD, 1, 0));
  vm_set(vm.m, vm_ref(roots[0].word), 600, roots[1].word);
  ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
  if (vm_is_generational()) {
    vm_slot(vm_ref(roots[0].word), 700)->word = roots[1].word;
    ck_assert_int_eq(tsr_heap_verify(vm.m, &error), TSR_CORRUPT);
    ck_assert_msg(strstr(error.message, "through the write barrier") != NULL, "%s", error.message);
    vm_slot(vm_ref(roots[0].word), 700)->word = 0;
  }
  ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
  stop();
}
END_TEST

/* ---- beside a cycle of marking --------------------------------------------------------------------------- */

/* What is old moves from array to array, so that a new one alone holds it while the cycle looks elsewhere. Into every other
   a slot beside the array is stored as well, at some time. */
START_TEST(a001_07_old_objects_move_into_large_new_arrays) {
  enum { MOVED = 64 };
  unsigned rounds = VM_SANITIZED || vm_verifies ? 16 : 60, kind = array_kinds[_i];
  uint64_t random = 12;
  vm_init(&vm);
  vm_alone(&vm);
  vm_pin(&vm, "heap_max", "96M");
  vm_pin(&vm, "nursery", "64K");
  if (vm_stress == NULL) vm_pin(&vm, "stress", "24K");
  begin();
  held h = {.array = &roots[0], .kind = kind, .random = 9};
  const held next = {.array = &roots[1], .kind = kind};
  make_array(&roots[0], kind);
  held_add(&h, MOVED, slot_count(kind));
  vm_collect(&vm);
  uint64_t cycles = vm_stats(&vm).cycles;
  for (unsigned round = 0; round < rounds; round++) {
    make_array(&roots[1], kind);
    for (unsigned i = 0; i < MOVED; i++) {
      size_t to = vm_random(&random) % slot_count(kind);
      while (held_word(&next, to) != 0)
        to = (to + 1) % slot_count(kind);
      if (kind == TABLE && i == round) vm_set(vm.m, vm_ref(roots[1].word), 2, roots[0].word);
      held_set(&next, to, held_word(&h, h.places[i]));
      held_set(&h, h.places[i], 0);
      h.places[i] = to;
      vm_garbage(vm.m, vm_random(&random) % KIB);
    }
    if (kind == TABLE && round < MOVED) vm_set(vm.m, vm_ref(roots[1].word), 2, 0);
    roots[0].word = roots[1].word;
    roots[1].word = 0;
    vm_garbage(vm.m, vm_random(&random) % (64 * KIB));
    held_check(&h, "moved");
  }
  ck_assert(!vm_is_generational() || vm_stats(&vm).cycles > cycles);
  ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
  stop();
}
END_TEST

/* The same, in steps between minor collections that look at no more than a few objects each. */
START_TEST(a001_07_large_arrays_are_born_between_two_steps) {
  enum { ROUNDS = 12 };
  vm_init_calm(&vm);
  vm_alone(&vm);
  vm_pin(&vm, "heap_max", "160M");
  vm_pin(&vm, "nursery", "4M");
  vm_pin(&vm, "pause_goal", "10us");
  begin();
  ck_assert(vm_tree(vm.m, &roots[1], 15));
  for (unsigned round = 0; round < ROUNDS; round++) {
    held h = {.array = &roots[0], .kind = TABLE, .random = round + 1};
    make_array(&roots[0], TABLE);
    vm_set(vm.m, vm_ref(roots[0].word), 2, roots[1].word);
    for (unsigned i = 0; i < 10; i++) {
      held_add(&h, 4, slot_count(TABLE));
      vm_garbage(vm.m, MIB);
    }
    held_check(&h, "between two steps");
  }
  ck_assert(vm_tree_holds(vm.m, roots[1].word, 15));
  stop();
}
END_TEST

static void add(TCase *tests) {
  if (!vm_collects) return;
  tcase_add_test(tests, a001_17_large_new_arrays_that_several_workers_reach);
  if (vm_wants_threads()) return;
  tcase_add_loop_test(tests, a001_14_a_large_new_array_is_not_read_whole, 0, ARRAY_KINDS);
  tcase_add_loop_test(tests, a001_14_what_a_dead_array_held_goes, 0, ARRAY_KINDS);
  tcase_add_test(tests, f22_a_large_new_array_is_shrunk);
  tcase_add_test(tests, f24_a_slot_beside_a_large_new_array);
  tcase_add_loop_test(tests, a001_14_large_new_arrays_in_a_row, 0, 2);
  tcase_add_test(tests, f36_a_store_into_a_large_new_array_without_a_barrier);
  tcase_add_loop_test(tests, a001_07_old_objects_move_into_large_new_arrays, 0, ARRAY_KINDS);
  tcase_add_test(tests, a001_07_large_arrays_are_born_between_two_steps);
}

int main(void) {
  return vm_main("large arrays", add);
}
