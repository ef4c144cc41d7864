/*
 * Trimming an object's end.
 *
 * Arrays of each kind, in each combination of placement and flags, small and large, lose a granule, all
 * that they have, or bit by bit everything. After each step the heap walks, with the sizes
 * as they are now; what is left of the object, and what lies around it, is as it was; what only the
 * cut slots referred to is garbage; and the memory serves others.
 */
#define ROOTS 256u
#include "placement_fixture.h"

/* The VM's own part, after the call: a smaller length. */
static void set_count(tsr_ref object, size_t count) {
  bool tagged = vm_kind_of(object) == TABLE;
  vm_slot(object, 1)->word = tagged ? (uint64_t)count << 3 | 5u : count;
}

static void shrink(tsr_ref object, size_t count) {
  size_t old_size = tsr_object_size(vm.heap, object, NULL);
  size_t new_size = vm_size(vm_kind_of(object), count);
  tsr_error error = {0};
  tsr_status status = tsr_shrink(vm.m, object, new_size, &error);
  ck_assert_msg(status == TSR_OK, "from %zu bytes to %zu elements: %s", old_size, count,
                error.message);
  set_count(object, count);
  ck_assert_uint_eq(tsr_object_size(vm.heap, object, NULL), new_size);
}

/* ---- small objects, each between two neighbours -------------------------------------------- */

static const unsigned arrays[] = {VECTOR, BYTES, TABLE, CUSTOM};
#define ARRAYS 4u

/* roots[3 * i + 1] is shrunk, the two around it are not. */
static void make_rows(tsr_semantics semantics, size_t count) {
  for (unsigned i = 0; i < 3 * ARRAYS; i++) {
    roots[i].word = vm_word(place_must(&vm, semantics, arrays[i / 3], i, count));
    vm_fill(vm_ref(roots[i].word), i);
  }
}

static void check_rows(size_t outer, size_t inner, bool exactly, const char *when) {
  place_set wanted = {0};
  for (unsigned i = 0; i < 3 * ARRAYS; i++) {
    tsr_ref object = vm_ref(roots[i].word);
    size_t count = i % 3 == 1 ? inner : outer;
    ck_assert_uint_eq(vm_tag_of(object), i);
    ck_assert_uint_eq(vm_count_of(object), count);
    ck_assert_msg(vm_filled(object, i), "%s: the content changed", when);
    place_set_add(&wanted, roots[i].word, vm_size(arrays[i / 3], count));
  }
  place_heap_holds(&vm, &wanted, exactly, when);
  place_verify(&vm);
  place_set_free(&wanted);
}

static void shrink_rows(size_t count) {
  for (unsigned i = 0; i < ARRAYS; i++) {
    shrink(vm_ref(roots[3 * i + 1].word), count);
  }
}

/* From `count` elements to each of `to`, one after the other, with a collection behind each. */
static void shrink_in_steps(tsr_semantics semantics, size_t count, const size_t *to, size_t steps) {
  uint64_t where[3 * ARRAYS];
  start_calm("32M");
  make_rows(semantics, count);
  for (unsigned i = 0; i < 3 * ARRAYS; i++) {
    where[i] = roots[i].word;
  }
  for (size_t step = 0; step < steps; step++) {
    shrink_rows(to[step]);
    check_rows(count, to[step], true, place_name(semantics));
    vm_collect(&vm);
    check_rows(count, to[step], true, place_name(semantics));
  }
  for (unsigned i = 0; i < 3 * ARRAYS; i++) {
    size_t size = vm_size(arrays[i / 3], count);
    if (place_stays(semantics, size)) ck_assert_uint_eq(roots[i].word, where[i]);
  }
  stop();
}

START_TEST(by_one_element) {
  static const size_t to[] = {39};
  for (unsigned c = 0; c < PLACE_COMBINATIONS; c++) {
    shrink_in_steps(place_semantics(c), 40, to, 1);
  }
}
END_TEST

START_TEST(to_the_minimum) {
  static const size_t to[] = {0};
  for (unsigned c = 0; c < PLACE_COMBINATIONS; c++) {
    shrink_in_steps(place_semantics(c), 40, to, 1);
    shrink_in_steps(place_semantics(c), 1, to, 1);
  }
}
END_TEST

START_TEST(again_and_again) {
  static const size_t to[] = {40, 39, 39, 38, 30, 29, 17, 16, 15, 8, 3, 2, 1, 0, 0};
  for (unsigned c = 0; c < PLACE_COMBINATIONS; c++) {
    shrink_in_steps(place_semantics(c), 40, to, sizeof to / sizeof to[0]);
  }
}
END_TEST

START_TEST(large_to_small_in_steps) {
  static const size_t to[] = {4999, 4000, 2048, 2047, 1100, 500, 20, 0};
  for (unsigned c = 0; c < PLACE_COMBINATIONS; c++) {
    shrink_in_steps(place_semantics(c), 5000, to, sizeof to / sizeof to[0]);
  }
}
END_TEST

/* Fewer bytes that make no granule: the object's size stays, and the call succeeds. */
START_TEST(by_less_than_a_granule) {
  start_calm("16M");
  tsr_ref bytes = place_must(&vm, TSR_NON_MOVING, BYTES, 1, 104);
  roots[0].word = vm_word(bytes);
  for (size_t count = 104; count > 96; count--) {
    ck_assert_int_eq(tsr_shrink(vm.m, bytes, 120, NULL), TSR_OK);
    set_count(bytes, count);
    ck_assert_uint_eq(tsr_object_size(vm.heap, bytes, NULL), 120);
  }
  ck_assert_int_eq(tsr_shrink(vm.m, bytes, 112, NULL), TSR_OK);
  set_count(bytes, 96);
  ck_assert_uint_eq(tsr_object_size(vm.heap, bytes, NULL), 112);
  ck_assert_uint_eq(vm_enumerate(vm.m).bytes, 112);
  stop();
}
END_TEST

/* The newest object of a buffer, with bumping going on behind it. */
START_TEST(the_newest_object) {
  start_calm("16M");
  place_set made = {0};
  for (unsigned i = 0; i < 2000; i++) {
    static const tsr_semantics placements[] = {TSR_DEFAULT, TSR_NON_MOVING, TSR_IMMORTAL};
    tsr_ref object = place_must(&vm, placements[i % 3], arrays[i % ARRAYS], i, 30);
    vm_fill(object, i);
    shrink(object, i % 31);
    ck_assert(vm_filled(object, i));
    place_set_add(&made, vm_word(object), vm_size(arrays[i % ARRAYS], i % 31));
  }
  place_heap_holds(&vm, &made, true, "the newest object");
  place_set_free(&made);
  stop();
}
END_TEST

/* ---- twice, before its buffer is retired ---------------------------------------------------- */

/* The newest object of its owner's buffer has lost its end twice, and the walks find it alone. */
static void trimmed_twice_is_found_alone(tsr_semantics placement) {
  place_set wanted = {0};
  place_set_add(&wanted, roots[0].word, vm_size(VECTOR, 5));
  place_verify(&vm);
  place_heap_holds(&vm, &wanted, true, "trimmed twice");
  vm_collect(&vm);
  place_verify(&vm);
  place_heap_holds(&vm, &wanted, true, "trimmed twice, and swept");
  for (unsigned i = 1; i < 20; i++) {
    roots[i].word = vm_word(place_must(&vm, placement, VECTOR, i, 7));
    vm_fill(vm_ref(roots[i].word), i);
    place_set_add(&wanted, roots[i].word, vm_size(VECTOR, 7));
  }
  vm_collect(&vm);
  place_heap_holds(&vm, &wanted, true, "trimmed twice, and its end in use");
  for (unsigned i = 1; i < 20; i++)
    ck_assert(vm_filled(vm_ref(roots[i].word), i));
  place_set_free(&wanted);
}

static const tsr_semantics staying[] = {TSR_NON_MOVING, TSR_IMMORTAL};

/* The one that trims has no buffer there, and so cannot move its cursor back. */
START_TEST(twice_by_another_mutator) {
  start_alone("16M");
  tsr_mutator *owner = vm.m;
  tsr_mutator *other = tsr_bind_mutator(vm.heap, roots, NULL);
  ck_assert_ptr_nonnull(other);
  tsr_enter_native(other);
  roots[0].word = vm_word(place_must(&vm, staying[_i], VECTOR, 0, 20));
  tsr_enter_native(owner);
  tsr_leave_native(other);
  vm.m = other;
  shrink(vm_ref(roots[0].word), 10);
  shrink(vm_ref(roots[0].word), 5);
  trimmed_twice_is_found_alone(staying[_i]);
  vm.m = owner;
  ck_assert_int_eq(tsr_unbind_mutator(other, NULL), TSR_OK);
  tsr_leave_native(owner);
  stop();
}
END_TEST

/* Under the greatest stress no buffer outlives its first object. */
START_TEST(twice_under_stress) {
  vm_init_calm(&vm);
  vm_alone(&vm); /* every allocation of theirs would collect, too */
  vm_pin(&vm, "heap_max", "16M");
  vm_pin(&vm, "stress", "1");
  vm_start(&vm);
  open_roots();
  roots[0].word = vm_word(place_must(&vm, staying[_i], VECTOR, 0, 20));
  shrink(vm_ref(roots[0].word), 10);
  shrink(vm_ref(roots[0].word), 5);
  trimmed_twice_is_found_alone(staying[_i]);
  stop();
}
END_TEST

/* ---- references ---------------------------------------------------------------------------- */

START_TEST(references_in_the_cut_part_keep_nothing_alive) {
  static const unsigned kinds[] = {VECTOR, TABLE, CUSTOM};
  static const size_t counts[] = {60, 1600};
  for (unsigned k = 0; k < 2; k++) {
    start_calm("32M");
    size_t left = 0;
    for (unsigned i = 0; i < 3 * TSR_PLACEMENTS; i++) {
      unsigned kind = kinds[i / TSR_PLACEMENTS];
      roots[i].word = vm_word(place_must(&vm, i % TSR_PLACEMENTS, kind, i, counts[k]));
      for (size_t s = 0; s < vm_slots(kind, counts[k]); s++) {
        uint64_t child = vm_word(place_must(&vm, TSR_DEFAULT, CELL, (unsigned)s, 0));
        vm_set(vm.m, vm_ref(roots[i].word), vm_slot_index(kind, s), child);
      }
      left += vm_slots(kind, counts[k] / 4);
    }
    vm_collect(&vm);
    for (unsigned i = 0; i < 3 * TSR_PLACEMENTS; i++) {
      shrink(vm_ref(roots[i].word), counts[k] / 4);
    }
    for (unsigned round = 0; round < 2; round++) {
      vm_collect(&vm);
      if (vm_collects) ck_assert_uint_eq(vm_enumerate(vm.m).by_kind[CELL], left);
      for (unsigned i = 0; i < 3 * TSR_PLACEMENTS; i++) {
        unsigned kind = kinds[i / TSR_PLACEMENTS];
        for (size_t s = 0; s < vm_slots(kind, counts[k] / 4); s++) {
          uint64_t child = vm_get(vm.m, vm_ref(roots[i].word), vm_slot_index(kind, s));
          ck_assert_uint_eq(vm_kind_of(vm_ref(child)), CELL);
          ck_assert_uint_eq(vm_tag_of(vm_ref(child)), s);
        }
      }
    }
    stop();
  }
}
END_TEST

/* ---- the memory behind the new end --------------------------------------------------------- */

START_TEST(large_blocks_come_back_at_once) {
  for (unsigned c = 0; c < PLACE_COMBINATIONS; c++) {
    start_alone("32M");
    tsr_semantics semantics = place_semantics(c);
    tsr_ref object = place_must(&vm, semantics, BYTES, 5, 8 * MIB);
    roots[0].word = vm_word(object);
    vm_fill(object, 5);
    for (size_t count = 4 * MIB; count >= 64; count /= 4) {
      size_t cut = tsr_object_size(vm.heap, object, NULL) - vm_size(BYTES, count);
      uint64_t used = vm_stats(&vm).used_bytes;
      shrink(object, count);
      uint64_t now = vm_stats(&vm).used_bytes;
      ck_assert_uint_le(now, used);
      ck_assert_msg(used - now + 64 * KIB >= cut, "%s: %zu cut, %llu given back",
                    place_name(semantics), cut, (unsigned long long)(used - now));
      ck_assert(vm_filled(object, 5));
      place_verify(&vm);
    }
    ck_assert_uint_le(vm_stats(&vm).used_bytes, 64 * KIB);
    ck_assert_uint_eq(vm_enumerate(vm.m).objects, 1);
    vm_collect(&vm);
    ck_assert_uint_eq(roots[0].word, vm_word(object));
    ck_assert(vm_filled(object, 5));
    stop();
  }
}
END_TEST

/* Without a collection: what was cut off serves the next large object. */
START_TEST(large_blocks_serve_the_next_object) {
  start_alone("8M");
  tsr_ref first = place_must(&vm, TSR_LARGE, VECTOR, 1, 700000);
  roots[0].word = vm_word(first);
  tsr_fill_slots(vm.m, first, vm_slot(first, 2), 700000, FIXNUM(3));
  tsr_error error = {0};
  size_t size = vm_size(BYTES, 5 * MIB);
  ck_assert_ptr_null(tsr_alloc_with(vm.m, size, 8, 0, TSR_LARGE, TSR_ALLOC_NO_COLLECT, &error));
  shrink(first, 10);
  unsigned char *memory = tsr_alloc_with(vm.m, size, 8, 0, TSR_LARGE, TSR_ALLOC_NO_COLLECT, &error);
  ck_assert_msg(memory != NULL, "%s", error.message);
  for (size_t i = 0; i < size; i++) {
    ck_assert_msg(memory[i] == 0, "memory comes zeroed");
  }
  vm_init_filler(memory, size);
  ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)(void *)memory, size, TSR_LARGE), TSR_OK);
  for (size_t i = 0; i < 10; i++) {
    ck_assert_uint_eq(vm_get(vm.m, first, 2 + i), FIXNUM(3));
  }
  ck_assert_uint_eq(vm_enumerate(vm.m).objects, 2);
  stop();
}
END_TEST

#define MANY 2048u

static size_t fill_heap(tsr_slot *table, tsr_semantics semantics, size_t count) {
  for (size_t n = 0; n < MANY; n++) {
    tsr_ref object = place_new(&vm, semantics, BYTES, (unsigned)n, count);
    if (object == NULL) return n;
    memset(vm_slot(object, 2), 0xcc, count);
    table[n].word = vm_word(object);
  }
  ck_abort_msg("the heap does not fill up");
  return 0;
}

/* A full heap of objects of 2 KiB, each cut down to 128 bytes, serves as many of 1 KiB: between them
   where nothing moves. */
static void tails_serve_others(tsr_semantics semantics) {
  if (!vm_collects) return;
  static tsr_slot table[2 * MANY];
  memset(table, 0, sizeof table);
  start_alone("4M");
  ck_assert_int_eq(tsr_root_add(vm.heap, table, 2 * MANY, TSR_ROOT_PRECISE, NULL, NULL), TSR_OK);
  size_t n = fill_heap(table, semantics, 2032);
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 1);
  for (size_t i = 0; i < n; i++) {
    shrink(vm_ref(table[i].word), 112);
  }
  vm_collect(&vm);
  for (size_t i = 0; i < n / 10 * 9; i++) {
    tsr_ref object = place_new(&vm, semantics, BYTES, (unsigned)i, 1008);
    ck_assert_msg(object != NULL, "%s: the tails of %zu objects serve only %zu",
                  place_name(semantics), n, i);
    for (size_t w = 2; w < 128; w++) {
      ck_assert_msg(vm_slot(object, w)->word == 0, "memory comes zeroed");
    }
    vm_fill(object, i);
    table[MANY + i].word = vm_word(object);
  }
  vm_collect(&vm);
  for (size_t i = 0; i < n / 10 * 9; i++) {
    ck_assert(vm_filled(vm_ref(table[MANY + i].word), i));
    ck_assert_uint_eq(vm_slot(vm_ref(table[i].word), 15)->word, 0xccccccccccccccccu);
  }
  ck_assert_int_eq(tsr_root_remove(vm.heap, table, NULL), TSR_OK);
  stop();
}

START_TEST(default_tails_serve_others) {
  tails_serve_others(TSR_DEFAULT);
}
END_TEST

START_TEST(non_moving_tails_serve_others) {
  tails_serve_others(TSR_NON_MOVING);
}
END_TEST

START_TEST(immortal_tails_serve_others) {
  tails_serve_others(TSR_IMMORTAL);
}
END_TEST

/* ---- errors -------------------------------------------------------------------------------- */

/* The call fails, reports nothing besides, and leaves the heap's books as they were. */
static void refuses(tsr_ref object, size_t new_size, tsr_status wanted, const char *what) {
  tsr_stats before = vm_stats(&vm);
  tsr_error error = {0};
  tsr_status status = tsr_shrink(vm.m, object, new_size, &error);
  ck_assert_msg(status == wanted, "%s: %s, %s", what, tsr_status_name(status), error.message);
  ck_assert_int_eq(error.status, status);
  ck_assert(error.message[0] != 0);
  ck_assert_int_eq(tsr_shrink(vm.m, object, new_size, NULL), wanted);
  ck_assert_uint_eq(vm_take_errors(&vm, NULL), 0);
  tsr_stats after = vm_stats(&vm);
  ck_assert_uint_eq(before.used_bytes, after.used_bytes);
  ck_assert_uint_eq(before.committed_bytes, after.committed_bytes);
  ck_assert_uint_eq(before.bytes_allocated, after.bytes_allocated);
}

START_TEST(no_object_of_this_heap) {
  testvm other;
  start_alone("16M");
  vm_open(&other, "16M");
  uint64_t local[8] = {vm_header(BYTES, 0), 16};
  tsr_ref stranger = vm_new(other.m, BYTES, 0, 100);
  refuses(NULL, 64, TSR_INVALID_ARGUMENT, "null");
  refuses((tsr_ref)(void *)local, 64, TSR_INVALID_ARGUMENT, "on the stack");
  refuses(stranger, 120, TSR_INVALID_ARGUMENT, "of another heap");
  refuses(vm_ref(8), 64, TSR_INVALID_ARGUMENT, "near null");
  refuses(vm_ref(~(uint64_t)7), 64, TSR_INVALID_ARGUMENT, "the largest address");
  vm_stop(&other);
  stop();
}
END_TEST

/* Three arrays in a row, full of fixnums that tell which is which; the middle one is to be shrunk. */
static void make_row(tsr_ref *row, tsr_semantics semantics, size_t count) {
  for (unsigned k = 0; k < 3; k++) {
    row[k] = place_must(&vm, semantics, VECTOR, k, count);
    tsr_fill_slots(vm.m, row[k], vm_slot(row[k], 2), count, FIXNUM(k));
  }
}

static void check_row(tsr_ref *row, size_t count) {
  for (unsigned k = 0; k < 3; k++) {
    ck_assert_uint_eq(tsr_object_size(vm.heap, row[k], NULL), vm_size(VECTOR, count));
    for (size_t s = 0; s < count; s++) {
      ck_assert_uint_eq(vm_get(vm.m, row[k], 2 + s), FIXNUM(k));
    }
  }
}

/* In each placement, small and large. */
START_TEST(sizes_that_cannot_be) {
  static const size_t counts[] = {40, 3000};
  start_alone("32M");
  for (unsigned i = 0; i < 2 * PLACE_COMBINATIONS; i++) {
    tsr_semantics semantics = place_semantics(i % PLACE_COMBINATIONS);
    size_t count = counts[i / PLACE_COMBINATIONS];
    size_t size = vm_size(VECTOR, count);
    tsr_ref row[3];
    make_row(row, semantics, count);
    const char *what = place_name(semantics);
    refuses(row[1], size + 8, TSR_INVALID_ARGUMENT, what); /* more than it has */
    refuses(row[1], size - 4, TSR_INVALID_ARGUMENT, what); /* no object's size */
    refuses(row[1], 0, TSR_INVALID_ARGUMENT, what);
    refuses(row[1], 8, TSR_INVALID_ARGUMENT, what); /* less than the fixed part */
    static const size_t more[] = {64 * KIB, MIB, (size_t)1 << 40, (size_t)1 << 63};
    for (unsigned k = 0; k < 4; k++) {
      refuses(row[1], size + more[k], TSR_INVALID_ARGUMENT, what);
    }
    refuses(row[1], ~(size_t)7, TSR_INVALID_ARGUMENT, what);
    check_row(row, count);
  }
  ck_assert_uint_eq(vm_enumerate(vm.m).objects, 6 * PLACE_COMBINATIONS);
  stop();
}
END_TEST

/* ---- all together -------------------------------------------------------------------------- */

START_TEST(shrinking_amid_allocation_and_collections) {
  uint64_t seed = 990;
  uint64_t seeds[ROOTS] = {0};
  start_calm("32M");
  unsigned steps = vm_collects ? 30000 : 1500;
  for (unsigned step = 0; step < steps; step++) {
    unsigned r = (unsigned)(vm_random(&seed) % ROOTS);
    if (roots[r].word != 0) {
      tsr_ref object = vm_ref(roots[r].word);
      ck_assert(vm_filled(object, seeds[r]));
      size_t count = vm_count_of(object);
      if (count > 0) shrink(object, vm_random(&seed) % (count + 1));
      if (vm_random(&seed) % 3 != 0) continue;
    }
    tsr_semantics p = vm_random(&seed) % 20 == 0  ? TSR_LARGE
                      : vm_random(&seed) % 2 == 0 ? TSR_NON_MOVING
                                                  : TSR_DEFAULT;
    size_t count = vm_random(&seed) % 100 == 0 ? vm_random(&seed) % 5000 : vm_random(&seed) % 100;
    roots[r].word = vm_word(place_must(&vm, p, arrays[step % ARRAYS], r, count));
    seeds[r] = step;
    vm_fill(vm_ref(roots[r].word), step);
    if (step % 1000 == 0) vm_collect(&vm);
    if (step % 3000 == 0) place_verify(&vm);
  }
  stop();
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, by_one_element);
  tcase_add_test(tests, to_the_minimum);
  tcase_add_test(tests, again_and_again);
  tcase_add_test(tests, large_to_small_in_steps);
  tcase_add_test(tests, by_less_than_a_granule);
  tcase_add_test(tests, the_newest_object);
  tcase_add_loop_test(tests, twice_by_another_mutator, 0, 2);
  tcase_add_loop_test(tests, twice_under_stress, 0, 2);
  tcase_add_test(tests, references_in_the_cut_part_keep_nothing_alive);
  tcase_add_test(tests, large_blocks_come_back_at_once);
  tcase_add_test(tests, large_blocks_serve_the_next_object);
  tcase_add_test(tests, default_tails_serve_others);
  tcase_add_test(tests, non_moving_tails_serve_others);
  tcase_add_test(tests, immortal_tails_serve_others);
  tcase_add_test(tests, no_object_of_this_heap);
  tcase_add_test(tests, sizes_that_cannot_be);
  tcase_add_test(tests, shrinking_amid_allocation_and_collections);
}

int main(void) {
  return vm_main("shrink", add);
}
