/*
 * A001-31, F52. Memory that is had beforehand, and sections in which none may be wanted.
 *
 * A heap is filled to the brim while a reservation is open: what was reserved is served all the same,
 * without a collection, and nothing that was there before is touched. What a section traps ends the process, so a child
 * does it.
 */
#include "children.h"

#include <signal.h>

#define BLOCK (32 * KIB)

static void open_reserving(testvm *vm, const char *heap_max) {
  vm_init_calm(vm);
  vm_alone(vm); /* its tests fill it to the brim, and count collections */
  vm_pin(vm, "heap_max", heap_max);
  vm_start(vm);
}

/* Takes whatever the heap has, without a safepoint, and not from what serves default placement. */
static void fill_up(testvm *vm) {
  static const size_t sizes[] = {256 * KIB, 32 * KIB, 4096, 256, 24};
  static const tsr_semantics placements[] = {TSR_NON_MOVING, TSR_LARGE};
  tsr_error error;
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    for (size_t p = 0; p < sizeof placements / sizeof placements[0]; p++) {
      for (;;) {
        void *memory =
            tsr_alloc_with(vm->m, sizes[i], 8, 0, placements[p], TSR_ALLOC_NO_COLLECT, &error);
        if (memory == NULL) break;
        vm_init_filler(memory, sizes[i]);
      }
    }
  }
}

/* ---- reservations ------------------------------------------------------------------------------ */

/* Objects of random sizes up to the largest, until so many bytes have been served; each is filled and found as it was. */
static void take_reserved(testvm *vm, size_t bytes, size_t largest, uint64_t *random) {
  static tsr_ref objects[MIB / 16];
  size_t taken = 0, count = 0;
  for (;;) {
    size_t size = tsr_round_size(1 + vm_random(random) % largest);
    if (size < 16) size = 16;
    if (vm_random(random) % 4 == 0) size = largest;
    if (taken + size > bytes) break;
    void *memory = tsr_alloc_default(vm->m, size);
    if (memory == NULL) {
      ck_abort_msg("object %zu of %zu bytes, behind %zu of %zu bytes", count, size, taken, bytes);
    }
    for (size_t i = 0; i < size / 8; i++) {
      if (((uint64_t *)memory)[i] != 0) ck_abort_msg("reserved memory is not zero");
    }
    vm_init_object(memory, BYTES, (unsigned)count & 0xffff, size - 16);
    vm_fill(memory, count);
    objects[count++] = memory;
    taken += size;
  }
  /* No safepoint has come: plain variables hold. */
  for (size_t i = 0; i < count; i++) {
    if (vm_tag_of(objects[i]) != (i & 0xffff) || !vm_filled(objects[i], i))
      ck_abort_msg("object %zu is not what it was", i);
  }
}

START_TEST(a001_31_what_is_reserved_is_served_in_a_full_heap) {
  static const size_t sizes[][2] = {{64, 64},           {100000, 24},     {200000, 8192},
                                    {8192, 8192},       {MIB, 3000},      {MIB, 8192},
                                    {BLOCK, BLOCK / 4}, {BLOCK + 8, 4104}};
  uint64_t random = 4711;
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    testvm vm;
    open_reserving(&vm, "16M");
    tsr_error error = {0};
    ck_assert_msg(tsr_reserve(vm.m, sizes[i][0], sizes[i][1], &error) == TSR_OK, "%s",
                  error.message);
    uint64_t collections = vm_stats(&vm).collections;
    fill_up(&vm);
    take_reserved(&vm, sizes[i][0], sizes[i][1], &random);
    tsr_stats stats = vm_stats(&vm);
    ck_assert_uint_eq(stats.collections, collections);
    ck_assert_uint_le(stats.peak_committed_bytes, stats.heap_max_bytes);
    tsr_reserve_end(vm.m);
    vm_collect(&vm);
    ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
    vm_stop(&vm);
  }
}
END_TEST

/* Also with a collection at every allocation: there is none at these. */
START_TEST(a_reservation_holds_under_stress) {
  testvm vm;
  vm_init(&vm);
  vm_alone(&vm);
  vm_pin(&vm, "stress", "1");
  vm_start(&vm);
  uint64_t random = 815;
  for (unsigned round = 0; round < 5; round++) {
    ck_assert_int_eq(tsr_reserve(vm.m, 100000, 5000, NULL), TSR_OK);
    unsigned ended = vm.ended;
    take_reserved(&vm, 100000, 5000, &random);
    ck_assert_uint_eq(vm.ended, ended);
    vm_new(vm.m, VECTOR, 0, 2000); /* of its own, not reserved */
    ck_assert_uint_eq(vm.ended, ended + (vm_collects ? 1 : 0));
  }
  vm_stop(&vm);
}
END_TEST

/* From several pairs at once, those that the VM caches included: each keeps one, with one object in it. */
START_TEST(each_pair_draws_on_the_reservation) {
  testvm vm;
  open_reserving(&vm, "8M");
  tsr_bump_pointer cached[3];
  for (unsigned i = 0; i < 3; i++)
    ck_assert_int_eq(tsr_register_bump_pointer(vm.m, &cached[i], NULL), TSR_OK);
  ck_assert_int_eq(tsr_reserve(vm.m, (size_t)4 * 8000, 8000, NULL), TSR_OK);
  fill_up(&vm);
  for (unsigned i = 0; i < 4; i++) {
    void *memory = tsr_alloc_from(vm.m, i == 3 ? &vm.m->bump[0] : &cached[i], 8000);
    ck_assert_msg(memory != NULL, "object %u", i);
    vm_init_filler(memory, 8000);
  }
  ck_assert_uint_eq(vm.ended, 0);
  for (unsigned i = 0; i < 3; i++)
    ck_assert_int_eq(tsr_unregister_bump_pointer(vm.m, &cached[i], NULL), TSR_OK);
  vm_stop(&vm);
}
END_TEST

/* A safepoint ends it, and so does its end: what was reserved is the heap's again. */
START_TEST(reservations_come_back) {
  testvm vm;
  open_reserving(&vm, "8M");
  unsigned rounds = vm_collects ? 100 : 1;
  for (unsigned i = 0; i < rounds; i++) {
    tsr_error error = {0};
    ck_assert_msg(tsr_reserve(vm.m, 2 * MIB, 64, &error) == TSR_OK, "round %u: %s", i,
                  error.message);
    if (i % 3 == 0) tsr_reserve_end(vm.m);
    if (i % 3 == 1) vm_collect(&vm);
  }
  tsr_reserve_end(vm.m);
  tsr_reserve_end(vm.m);
  if (vm_collects) {
    vm_collect(&vm);
    ck_assert_uint_le(vm_stats(&vm).used_bytes, MIB);
  }
  ck_assert_ptr_nonnull(vm_new(vm.m, PAIR, 0, 0));
  vm_stop(&vm);
}
END_TEST

/* It collects for what it wants, and calls the reclaimers, but not out_of_memory. */
static bool clear_root(void *vm, tsr_mutator *m, void *context, size_t requested_bytes) {
  (void)vm;
  (void)m;
  tsr_slot *root = context;
  ck_assert_uint_eq(requested_bytes, 4 * MIB / 2);
  bool gives = root->word != 0;
  root->word = 0;
  return gives;
}

START_TEST(a_reservation_climbs_the_ladder) {
  testvm vm;
  open_reserving(&vm, "6M");
  if (vm_collects) {
    vm_garbage(vm.m, 20 * MIB);
    ck_assert_int_eq(tsr_reserve(vm.m, 2 * MIB, 64, NULL), TSR_OK);
    tsr_reserve_end(vm.m);
  }
  tsr_slot root = {0};
  ck_assert_int_eq(tsr_root_add(vm.heap, &root, 1, TSR_ROOT_PRECISE, "cache", NULL), TSR_OK);
  uint32_t quiet = TSR_ALLOC_NO_OOM_CALLBACK;
  for (;;) {
    size_t size = vm_size(VECTOR, 1000);
    void *memory = tsr_alloc_with(vm.m, size, 8, 0, TSR_DEFAULT, quiet, NULL);
    if (memory == NULL) break;
    vm_init_object(memory, VECTOR, 0, 1000);
    vm_set(vm.m, memory, 2, root.word);
    root.word = vm_word(memory);
  }
  tsr_error error;
  ck_assert_int_eq(tsr_reserve(vm.m, 2 * MIB, 64, &error), TSR_OUT_OF_MEMORY);
  ck_assert_ptr_nonnull(tsr_reclaimer_add(vm.heap, clear_root, &root, NULL));
  tsr_status status = tsr_reserve(vm.m, 2 * MIB, 64, &error);
  ck_assert_int_eq(status, vm_collects ? TSR_OK : TSR_OUT_OF_MEMORY);
  ck_assert_uint_eq(root.word, 0);
  ck_assert_int_eq(tsr_root_remove(vm.heap, &root, NULL), TSR_OK);
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 0);
  vm_stop(&vm);
}
END_TEST

START_TEST(sizes_that_cannot_be_reserved) {
  testvm vm;
  open_reserving(&vm, "4M");
  tsr_error error;
  static const size_t none[][2] = {{0, 8}, {8, 0}, {64, 4}, {64, 128}, {MIB, 8193}, {0, 0}};
  for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
    ck_assert_int_eq(tsr_reserve(vm.m, none[i][0], none[i][1], &error), TSR_INVALID_ARGUMENT);
    ck_assert(error.message[0] != 0);
  }
  static const size_t too_many[] = {5 * MIB, SIZE_MAX, SIZE_MAX / 2, 4 * MIB};
  uint64_t collections = vm_stats(&vm).collections;
  for (size_t i = 0; i < 3; i++)
    ck_assert_int_eq(tsr_reserve(vm.m, too_many[i], 64, &error), TSR_OUT_OF_MEMORY);
  ck_assert_uint_eq(vm_stats(&vm).collections, collections);
  ck_assert_int_eq(tsr_reserve(vm.m, too_many[3], 64, &error), TSR_OUT_OF_MEMORY);
  tsr_enter_native(vm.m);
  ck_assert_int_eq(tsr_reserve(vm.m, 64, 64, &error), TSR_BUSY);
  tsr_leave_native(vm.m);
  ck_assert_ptr_nonnull(vm_new(vm.m, PAIR, 0, 0));
  vm_stop(&vm);
}
END_TEST

/* ---- no-allocation sections ---------------------------------------------------------------------- */

typedef struct trap {
  const char *name;
  void (*spring)(testvm *vm);
} trap;

static tsr_bump_pointer cached_pair;

static void spring_generic(testvm *vm) {
  (void)tsr_alloc(vm->m, 32, 8, 0, TSR_DEFAULT);
}
static void spring_inline(testvm *vm) {
  (void)tsr_alloc_default(vm->m, 32);
}
static void spring_by_offset(testvm *vm) {
  tsr_allocator_info info = tsr_allocator_mapping(vm->heap, TSR_NON_MOVING);
  (void)tsr_alloc_by_offset(vm->m, info.pair_offset, 32, 8, 0);
}
static void spring_cached(testvm *vm) {
  (void)tsr_alloc_cached(vm->m, &cached_pair, 32);
}
static void spring_no_collect(testvm *vm) {
  tsr_error error;
  (void)tsr_alloc_with(vm->m, 32, 8, 0, TSR_IMMORTAL, TSR_ALLOC_NO_COLLECT, &error);
}
static void spring_large(testvm *vm) {
  (void)tsr_alloc(vm->m, 100000, 8, 0, TSR_LARGE);
}

static const trap traps[] = {{"tsr_alloc", spring_generic},
                             {"the inline path", spring_inline},
                             {"by offset", spring_by_offset},
                             {"a cached pair", spring_cached},
                             {"without leave to collect", spring_no_collect},
                             {"a large object", spring_large}};
#define TRAPS        ((int)(sizeof traps / sizeof traps[0]))

#define SECTION_LINE 1234

/* In the inner one of two sections; the outer one alone would have another place. */
static void spring_in_section(void *context) {
  const trap *t = context;
  testvm vm;
  vm_init_calm(&vm);
  vm_alone(&vm);
  vm_start(&vm);
  (void)tsr_register_bump_pointer(vm.m, &cached_pair, NULL);
  vm_init_filler(tsr_alloc_default(vm.m, 32), 32);
  vm_init_filler(tsr_alloc_cached(vm.m, &cached_pair, 32), 32);
  vm_init_filler(tsr_alloc(vm.m, 32, 8, 0, TSR_NON_MOVING), 32);
  tsr_no_alloc outer, inner;
  tsr_no_alloc_begin(vm.m, &outer, "outer.c", 1);
  tsr_no_alloc_begin(vm.m, &inner, "inner.c", SECTION_LINE);
  t->spring(&vm);
}

START_TEST(a001_31_an_allocation_in_a_section_is_fatal) {
  trap t = traps[_i];
  assert_dies_saying(spring_in_section, &t, SIGABRT, t.name, "an allocation", "inner.c:1234");
}
END_TEST

static void allocate_behind_the_inner_section(void *context) {
  (void)context;
  testvm vm;
  vm_init_calm(&vm);
  vm_alone(&vm);
  vm_start(&vm);
  tsr_no_alloc outer, inner;
  TSR_NO_ALLOC_BEGIN(vm.m, &outer);
  tsr_no_alloc_begin(vm.m, &inner, "inner.c", SECTION_LINE);
  if (tsr_no_alloc_end(vm.m, &inner, NULL) != TSR_OK) _exit(EXIT_FAILURE);
  (void)tsr_alloc_default(vm.m, 32);
}

START_TEST(the_outer_section_goes_on_behind_the_inner_one) {
  assert_dies_saying(allocate_behind_the_inner_section, NULL, SIGABRT, "the outer section",
                     "an allocation", "test_reservations.c:");
}
END_TEST

/* Behind the section allocation goes on where it was. */
START_TEST(pairs_hold_behind_a_section_what_they_held_before) {
  testvm vm;
  open_reserving(&vm, "4M");
  ck_assert_int_eq(tsr_register_bump_pointer(vm.m, &cached_pair, NULL), TSR_OK);
  void *first = tsr_alloc_default(vm.m, 32);
  vm_init_filler(first, 32);
  void *other = tsr_alloc_cached(vm.m, &cached_pair, 32);
  vm_init_filler(other, 32);
  uint64_t allocated = vm_stats(&vm).bytes_allocated;
  for (unsigned i = 1; i < 100; i++) {
    tsr_no_alloc outer, inner;
    TSR_NO_ALLOC_BEGIN(vm.m, &outer);
    TSR_NO_ALLOC_BEGIN(vm.m, &inner);
    ck_assert_uint_eq(vm.m->bump[0].limit, 0);
    ck_assert_uint_eq(cached_pair.limit, 0);
    tsr_error error;
    ck_assert_int_eq(tsr_no_alloc_end(vm.m, &outer, &error), TSR_INVALID_ARGUMENT);
    ck_assert_int_eq(tsr_no_alloc_end(vm.m, NULL, &error), TSR_INVALID_ARGUMENT);
    ck_assert_int_eq(tsr_no_alloc_end(vm.m, &inner, &error), TSR_OK);
    ck_assert_int_eq(tsr_no_alloc_end(vm.m, &outer, &error), TSR_OK);
    ck_assert_int_eq(tsr_no_alloc_end(vm.m, &outer, &error), TSR_INVALID_ARGUMENT);
    void *next = tsr_alloc_default(vm.m, 32);
    ck_assert_ptr_eq(next, (char *)first + (size_t)i * 32);
    vm_init_filler(next, 32);
    next = tsr_alloc_cached(vm.m, &cached_pair, 32);
    ck_assert_ptr_eq(next, (char *)other + (size_t)i * 32);
    vm_init_filler(next, 32);
  }
  ck_assert_uint_eq(vm_stats(&vm).bytes_allocated, allocated);
  ck_assert_int_eq(tsr_unregister_bump_pointer(vm.m, &cached_pair, NULL), TSR_OK);
  vm_stop(&vm);
}
END_TEST

static void count_one(void *context, tsr_ref object, size_t bytes) {
  (void)object;
  (void)bytes;
  ++*(size_t *)context;
}

START_TEST(what_stops_the_world_is_refused_in_a_section) {
  testvm vm;
  open_reserving(&vm, "4M");
  tsr_no_alloc section;
  TSR_NO_ALLOC_BEGIN(vm.m, &section);
  tsr_error error = {0};
  tsr_status refused = vm_collects ? TSR_BUSY : TSR_UNSUPPORTED;
  ck_assert_int_eq(tsr_collect(vm.m, &error), refused);
  if (vm_collects)
    ck_assert_msg(strstr(error.message, "test_reservations.c:") != NULL, "%s", error.message);
  size_t objects = 0;
  ck_assert_int_eq(tsr_enumerate_objects(vm.m, count_one, &objects, &error), TSR_BUSY);
  ck_assert_uint_eq(objects, 0);
  ck_assert_int_eq(tsr_heap_verify(vm.m, &error), TSR_BUSY);
  ck_assert_int_eq(tsr_fork_prepare(vm.m, &error), TSR_BUSY);
  ck_assert_int_eq(tsr_unbind_mutator(vm.m, &error), TSR_BUSY);
  ck_assert_int_eq(tsr_reserve(vm.m, 64, 64, &error), TSR_BUSY);
  tsr_enter_native(vm.m);
  ck_assert_uint_eq(vm_take_errors(&vm, &error), 1);
  ck_assert_int_eq(error.status, TSR_BUSY);
  tsr_safepoint(vm.m); /* nobody asks to stop */
  ck_assert_int_eq(tsr_no_alloc_end(vm.m, &section, NULL), TSR_OK);
  vm_collect(&vm);
  vm_stop(&vm);
}
END_TEST

/* Another thread wants to collect, and the section's reaches a safepoint. */
typedef struct stop_in_section {
  testvm vm;
  pthread_t other;
} stop_in_section;

static void *collect_from_elsewhere(void *context) {
  stop_in_section *s = context;
  tsr_mutator *m = tsr_bind_mutator(s->vm.heap, &s->other, NULL);
  (void)tsr_collect(m, NULL);
  return NULL;
}

static void stop_within_a_section(void *context) {
  (void)context;
  static stop_in_section s;
  vm_init_calm(&s.vm);
  vm_alone(&s.vm);
  vm_start(&s.vm);
  tsr_no_alloc section;
  tsr_no_alloc_begin(s.vm.m, &section, "held.c", SECTION_LINE);
  if (pthread_create(&s.other, NULL, collect_from_elsewhere, &s) != 0) _exit(EXIT_FAILURE);
  while (atomic_load(&s.vm.ended) == 0)
    tsr_safepoint(s.vm.m);
}

START_TEST(a_stop_in_a_section_is_fatal) {
  assert_dies_saying(stop_within_a_section, NULL, SIGABRT, "a stop", "a safepoint", "held.c:1234");
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, a001_31_what_is_reserved_is_served_in_a_full_heap);
  tcase_add_test(tests, a_reservation_holds_under_stress);
  tcase_add_test(tests, each_pair_draws_on_the_reservation);
  tcase_add_test(tests, reservations_come_back);
  tcase_add_test(tests, a_reservation_climbs_the_ladder);
  tcase_add_test(tests, sizes_that_cannot_be_reserved);
  tcase_add_loop_test(tests, a001_31_an_allocation_in_a_section_is_fatal, 0, TRAPS);
  tcase_add_test(tests, the_outer_section_goes_on_behind_the_inner_one);
  tcase_add_test(tests, pairs_hold_behind_a_section_what_they_held_before);
  tcase_add_test(tests, what_stops_the_world_is_refused_in_a_section);
  if (!vm_collects) return;
  tcase_add_test(tests, a_stop_in_a_section_is_fatal);
}

int main(void) {
  return vm_main("reservations", add);
}
