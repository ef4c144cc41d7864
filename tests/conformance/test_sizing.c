/*
 * The size of the heap: policies, heap_soft, external memory, and that data which is too much ends in an
 * error within a bounded number of collections.
 *
 * Each test looks at sizes or counts collections, so each is alone in its heap, but for one with threads.
 */
#include "testvm.h"

static testvm vm;

static void open_sized(const char *heap_min, const char *heap_max) {
  vm_init_calm(&vm);
  vm_alone(&vm);
  vm_pin(&vm, "heap_min", heap_min);
  vm_pin(&vm, "heap_max", heap_max);
  vm_pin(&vm, "nursery", "512K"); /* a larger one makes a larger heap */
}

static uint64_t heap_limit(void) {
  return vm_stats(&vm).heap_limit_bytes;
}

/* A list of PAIRs of about so many bytes. */
static void keep_list(tsr_slot *head, size_t bytes) {
  ck_assert(vm_list(vm.m, head, bytes / vm_size(PAIR, 0), 0));
}

/* ---- policies -------------------------------------------------------------------------------- */

START_TEST(an_unknown_policy_is_refused) {
  vm_init_calm(&vm);
  vm_pin(&vm, "sizing", "generous");
  tsr_error error = vm_refused(&vm);
  ck_assert_int_eq(error.status, TSR_INVALID_ARGUMENT);
  static const char *const words[] = {"sizing", "generous", "proportional", "fixed", "membalancer"};
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
    ck_assert_msg(strstr(error.message, words[i]) != NULL, "no %s in: %s", words[i], error.message);
}
END_TEST

START_TEST(the_first_size_is_the_minimum_or_fixed) {
  static const char *const policies[] = {"proportional", "membalancer", "fixed"};
  for (size_t i = 0; i < 3; i++) {
    open_sized("4M", "16M");
    vm_pin(&vm, "sizing", policies[i]);
    vm_start(&vm);
    bool smaller = vm_collects && i < 2;
    ck_assert_uint_eq(heap_limit(), smaller ? 4 * MIB : 16 * MIB);
    vm_stop(&vm);
  }
}
END_TEST

/* Garbage of half the maximum needs no collection, or as much as the nursery may take of it, and the size stays. */
START_TEST(a_fixed_heap_is_filled) {
  open_sized("1M", "16M");
  vm_pin(&vm, "sizing", "fixed");
  vm_pin(&vm, "nursery", "4M");
  vm_start(&vm);
  vm_garbage(vm.m, vm_is_generational() ? 3 * MIB : 6 * MIB);
  ck_assert_uint_eq(vm.ended, 0);
  if (vm_collects) {
    vm_garbage(vm.m, 64 * MIB);
    ck_assert_uint_gt(vm.ended, 0);
    ck_assert_uint_eq(heap_limit(), 16 * MIB);
  }
  vm_stop(&vm);
}
END_TEST

/* The size after a collection with the same live data. */
static uint64_t size_with(const char *policy, const char *option, const char *value,
                          size_t live_bytes) {
  open_sized("1M", "128M");
  vm_pin(&vm, "sizing", policy);
  vm_pin(&vm, option, value);
  vm_start(&vm);
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  keep_list(tsr_local(vm.m, 0), live_bytes);
  for (unsigned i = 0; i < 4; i++) {
    vm_garbage(vm.m, 2 * MIB);
    vm_collect(&vm);
  }
  uint64_t size = heap_limit();
  ck_assert_uint_gt(size, vm_stats(&vm).used_bytes);
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
  return size;
}

/* 1.5 times what is needed, and 5 times. */
START_TEST(room_is_a_share_of_what_is_needed) {
  uint64_t small = size_with("proportional", "room", "50", 4 * MIB);
  uint64_t large = size_with("proportional", "room", "400", 4 * MIB);
  ck_assert_uint_gt(small, 6 * MIB);
  ck_assert_msg(large > 3 * small && large < 4 * small, "%llu and %llu", (unsigned long long)small,
                (unsigned long long)large);
}
END_TEST

/* Memory that is a million times dearer is used less, whatever the machine's rates are. */
START_TEST(dear_memory_is_spared) {
  uint64_t dear = size_with("membalancer", "memory_worth", "1000000", 4 * MIB);
  uint64_t cheap = size_with("membalancer", "memory_worth", "1", 4 * MIB);
  ck_assert_uint_lt(dear, cheap);
  ck_assert_uint_le(cheap, 128 * MIB);
  ck_assert_uint_gt(dear, 4 * MIB + 4 * MIB / 8);
}
END_TEST

/* ---- heap_soft ------------------------------------------------------------------------------- */

/* Those after which the heap gets its size. */
static uint64_t sized_collections(void) {
  tsr_stats stats = vm_stats(&vm);
  return stats.major_collections + stats.cycles;
}

/* The largest size that 40 collections leave, with a list of 3 MiB, a policy that wants eleven times what
   is needed, and a heap_soft of 8 MiB. */
static uint64_t largest_soft_size(const char *yields) {
  open_sized("1M", "64M");
  vm_pin(&vm, "room", "1000");
  vm_pin(&vm, "heap_soft", "8M");
  vm_pin(&vm, "soft_yields", yields);
  vm_pin(&vm, "nursery", "0"); /* what dies young fills no heap */
  vm_start(&vm);
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  keep_list(tsr_local(vm.m, 0), 3 * MIB);
  uint64_t largest = 0;
  for (unsigned seen = 0; sized_collections() < 40;) {
    vm_garbage(vm.m, 16 * KIB);
    if (seen == vm.ended) continue;
    seen = vm.ended;
    if (heap_limit() > largest) largest = heap_limit();
  }
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
  return largest;
}

START_TEST(a_heap_keeps_to_heap_soft) {
  ck_assert_uint_le(largest_soft_size("100"), 8 * MIB);
}
END_TEST

/* Of the time of such a heap more than a hundredth goes into collecting. */
START_TEST(heap_soft_yields_to_time) {
  ck_assert_uint_gt(largest_soft_size("1"), 16 * MIB);
}
END_TEST

START_TEST(live_data_passes_heap_soft) {
  open_sized("1M", "64M");
  vm_pin(&vm, "heap_soft", "4M");
  vm_pin(&vm, "soft_yields", "100");
  vm_start(&vm);
  ck_assert_uint_le(heap_limit(), vm_collects ? 4 * MIB : 64 * MIB);
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *list = tsr_local(vm.m, 0);
  keep_list(list, 16 * MIB);
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 0);
  ck_assert_uint_ge(heap_limit(), 16 * MIB);
  ck_assert_uint_le(vm.ended, 60);
  if (vm_collects) {
    list->word = 0;
    vm_collect(&vm);
    ck_assert_uint_le(heap_limit(), 4 * MIB);
  }
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}
END_TEST

/* ---- external memory ------------------------------------------------------------------------- */

static tsr_status adjust(tsr_mutator *m, int64_t bytes) {
  return tsr_adjust_external(vm.heap, m, bytes, NULL);
}

static void grow(int64_t bytes) {
  ck_assert_int_eq(adjust(vm.m, bytes), TSR_OK);
}

static const int64_t mib = 1 << 20;

START_TEST(external_memory_is_counted) {
  open_sized("4M", "16M");
  vm_start(&vm);
  ck_assert_uint_eq(vm_stats(&vm).external_bytes, 0);
  ck_assert_int_eq(adjust(NULL, 3000), TSR_OK);
  ck_assert_int_eq(adjust(vm.m, -1000), TSR_OK);
  ck_assert_int_eq(adjust(vm.m, 0), TSR_OK);
  ck_assert_uint_eq(vm_stats(&vm).external_bytes, 2000);
  uint64_t committed = vm_stats(&vm).committed_bytes;
  ck_assert_int_eq(adjust(NULL, INT64_MAX - 2000), TSR_OK); /* no part of the maximum */
  ck_assert_uint_eq(vm_stats(&vm).committed_bytes, committed);
  ck_assert_ptr_nonnull(vm_new(vm.m, PAIR, 0, 0));
  /* A VM that was compiled before the figure was there. */
  tsr_stats older = {.size = offsetof(tsr_stats, external_bytes), .external_bytes = 1};
  ck_assert_int_eq(tsr_heap_stats(vm.heap, &older, NULL), TSR_OK);
  ck_assert_uint_eq(older.external_bytes, 1);
  vm_stop(&vm);
}
END_TEST

START_TEST(impossible_external_memory_is_refused) {
  open_sized("4M", "16M");
  vm_start(&vm);
  testvm other;
  vm_open(&other, "16M");
  ck_assert_int_eq(adjust(NULL, 1000), TSR_OK);
  tsr_error error = {0};
  ck_assert_int_eq(tsr_adjust_external(vm.heap, NULL, -1001, &error), TSR_INVALID_ARGUMENT);
  ck_assert_msg(strstr(error.message, "1000 bytes") != NULL, "%s", error.message);
  ck_assert_int_eq(adjust(NULL, INT64_MIN), TSR_INVALID_ARGUMENT);
  ck_assert_int_eq(adjust(NULL, INT64_MAX), TSR_INVALID_ARGUMENT);
  ck_assert_int_eq(adjust(NULL, INT64_MAX - 999), TSR_INVALID_ARGUMENT);
  ck_assert_int_eq(adjust(other.m, 1), TSR_INVALID_ARGUMENT);
  tsr_enter_native(vm.m);
  ck_assert_int_eq(adjust(vm.m, 1), TSR_BUSY);
  ck_assert_int_eq(adjust(vm.m, -1), TSR_OK); /* it cannot collect */
  tsr_leave_native(vm.m);
  ck_assert_uint_eq(vm_stats(&vm).external_bytes, 999);
  ck_assert_uint_eq(vm.ended, 0);
  vm_stop(&other);
  vm_stop(&vm);
}
END_TEST

/* At first there is room for as much as the heap's size. */
START_TEST(external_memory_that_outgrows_its_room_collects) {
  open_sized("4M", "16M");
  vm_start(&vm);
  for (unsigned i = 0; i < 4; i++)
    grow(mib);
  ck_assert_uint_eq(vm.ended, 0);
  grow(1);
  ck_assert_uint_eq(vm.ended, vm_collects);
  if (vm_collects) ck_assert_str_eq(vm.last_collection.cause, "external");
  vm_stop(&vm);
}
END_TEST

START_TEST(a_steady_total_does_not_collect) {
  open_sized("4M", "16M");
  vm_start(&vm);
  grow(200 * mib);
  ck_assert_uint_eq(vm.ended, vm_collects);
  for (unsigned i = 0; i < 1000; i++) {
    grow(3 * mib);
    grow(-3 * mib);
  }
  ck_assert_uint_eq(vm.ended, vm_collects);
  ck_assert_uint_eq(vm_stats(&vm).external_bytes, 200 * MIB);
  vm_stop(&vm);
}
END_TEST

/* Each collection is paid for by as much growth as there was before. */
START_TEST(a_growing_total_collects_ever_less) {
  open_sized("4M", "16M");
  vm_start(&vm);
  for (unsigned i = 0; i < 1024; i++)
    grow(mib);
  if (vm_collects) ck_assert_uint_ge(vm.ended, 8);
  ck_assert_uint_le(vm.ended, 12);
  vm_stop(&vm);
}
END_TEST

/* What each collection finds unreachable is freed after it: then the next is due no later. */
START_TEST(external_memory_of_garbage_stays_bounded) {
  if (!vm_collects) return;
  open_sized("4M", "16M");
  vm_start(&vm);
  unsigned seen = 0;
  for (unsigned i = 0; i < 100; i++) {
    grow(mib);
    ck_assert_uint_le(vm_stats(&vm).external_bytes, 5 * MIB);
    if (seen != vm.ended) grow(-(int64_t)vm_stats(&vm).external_bytes);
    seen = vm.ended;
  }
  ck_assert_uint_ge(vm.ended, 20);
  vm_stop(&vm);
}
END_TEST

START_TEST(without_a_mutator_the_next_buffer_collects) {
  open_sized("4M", "16M");
  vm_start(&vm);
  ck_assert_ptr_nonnull(vm_new(vm.m, PAIR, 0, 0));
  ck_assert_int_eq(adjust(NULL, 64 * mib), TSR_OK);
  ck_assert_uint_eq(vm.ended, 0);
  vm_garbage(vm.m, 128 * KIB);
  ck_assert_uint_eq(vm.ended, vm_collects);
  if (vm_collects) ck_assert_str_eq(vm.last_collection.cause, "external");
  vm_garbage(vm.m, 128 * KIB);
  ck_assert_uint_eq(vm.ended, vm_collects);
  vm_stop(&vm);
}
END_TEST

START_TEST(disabled_collections_wait) {
  if (!vm_collects) return;
  open_sized("4M", "16M");
  vm_start(&vm);
  tsr_collection_disable(vm.heap);
  grow(64 * mib);
  vm_garbage(vm.m, MIB);
  ck_assert_uint_eq(vm.ended, 0);
  ck_assert_int_eq(tsr_collection_enable(vm.heap, NULL), TSR_OK);
  vm_garbage(vm.m, 128 * KIB);
  ck_assert_uint_eq(vm.ended, 1);
  vm_stop(&vm);
}
END_TEST

/* The heap gives way at once, and has its size back with the collection that finds less outside. */
START_TEST(heap_soft_holds_for_both_together) {
  if (!vm_collects) return;
  open_sized("16M", "64M");
  vm_pin(&vm, "heap_soft", "16M");
  vm_pin(&vm, "soft_yields", "100");
  vm_start(&vm);
  ck_assert_uint_eq(heap_limit(), 16 * MIB);
  ck_assert_int_eq(adjust(NULL, 10 * mib), TSR_OK);
  ck_assert_uint_eq(heap_limit(), 6 * MIB);
  vm_garbage(vm.m, 8 * MIB);
  ck_assert_uint_ge(vm.ended, 1);
  ck_assert_uint_eq(heap_limit(), 6 * MIB);
  ck_assert_int_eq(adjust(NULL, 50 * mib), TSR_OK);
  vm_collect(&vm);
  ck_assert_uint_lt(heap_limit(), 6 * MIB);
  ck_assert_uint_gt(heap_limit(), vm_stats(&vm).used_bytes);
  vm_garbage(vm.m, 8 * MIB);
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 0);
  ck_assert_int_eq(adjust(NULL, -60 * mib), TSR_OK);
  vm_collect(&vm);
  ck_assert_uint_eq(heap_limit(), 16 * MIB);
  vm_stop(&vm);
}
END_TEST

static void adjust_and_allocate(vm_thread *self) {
  for (unsigned i = 0; i < 500; i++) {
    tsr_mutator *m = i % 2 == 0 ? self->m : NULL;
    EXPECT(self, tsr_adjust_external(self->vm->heap, m, 100000 + i, NULL) == TSR_OK);
    EXPECT(self, vm_new(self->m, BYTES, 0, 100) != NULL);
    if (i % 5 != 4) continue;
    EXPECT(self, tsr_adjust_external(self->vm->heap, self->m, -500000 - 5 * (int64_t)i + 10,
                                     NULL) == TSR_OK);
  }
}

START_TEST(threads_count_together) {
  vm_init(&vm);
  vm_pin(&vm, "heap_min", "1M");
  vm_start(&vm);
  vm_threads(&vm, 8, adjust_and_allocate, NULL);
  ck_assert_uint_eq(vm_stats(&vm).external_bytes, 0);
  vm_stop(&vm);
}
END_TEST

/* ---- too much live data ---------------------------------------------------------------------- */

static void fill_and_recover(const char *policy, const char *soft) {
  open_sized("1M", "8M");
  vm_pin(&vm, "sizing", policy);
  vm_pin(&vm, "room", "20");
  if (soft != NULL) vm_pin(&vm, "heap_soft", soft);
  vm_start(&vm);
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *head = tsr_local(vm.m, 0);
  for (unsigned round = 0; round < (vm_collects ? 2 : 1); round++) {
    vm.ended = 0;
    ck_assert(!vm_list(vm.m, head, 8 * MIB / vm_size(PAIR, 0), 0));
    ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 1);
    ck_assert_msg(vm.ended <= 60, "%u collections", vm.ended);
    ck_assert_uint_le(vm_stats(&vm).peak_committed_bytes, 8 * MIB);
    head->word = 0;
    if (vm_collects) keep_list(head, 3 * MIB / 2);
    head->word = 0;
  }
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}

START_TEST(too_much_live_data_ends_in_an_error) {
  static const char *const policies[] = {"proportional", "membalancer", "fixed"};
  for (size_t i = 0; i < (VM_SANITIZED || vm_verifies ? 1 : 3); i++) {
    fill_and_recover(policies[i], NULL);
    fill_and_recover(policies[i], "2M");
  }
}
END_TEST

/* ---- a heap that does nothing but collect -------------------------------------------------------- */

/*
 * What lives leaves little room, and the program makes garbage for ever: in the end an allocation is out of memory,
 * though there is some. When what lives has gone there is plenty again. A collection is far longer than the time in
 * which a program fills so little, whatever else the machine does; 1 % is the least that can be asked for.
 */
START_TEST(a_heap_that_only_collects_is_out_of_memory) {
  open_sized("1M", "16M");
  vm_alone(&vm);
  vm_pin(&vm, "collecting_most", "1");
  vm_start(&vm);
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *head = tsr_local(vm.m, 0), *spare = tsr_local(vm.m, 0);
  ck_assert(vm_list(vm.m, spare, MIB / vm_size(PAIR, 0), 0));
  ck_assert(!vm_list(vm.m, head, 16 * MIB / vm_size(PAIR, 0), 0));
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 1);
  spare->word = 0;
  unsigned ended = vm.ended;
  while (vm_new(vm.m, PAIR, 0, 0) != NULL)
    continue;
  ck_assert_uint_eq(vm.oom_calls, 1);
  ck_assert_int_eq(vm.last_oom.kind, TSR_OOM_OVERLOAD);
  ck_assert_uint_ge(vm.ended, ended + 8);
  vm_take_ooms(&vm, NULL);
  head->word = 0;
  vm_garbage(vm.m, 100 * MIB);
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 0);
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, threads_count_together);
  if (vm_wants_threads()) return;
  tcase_add_test(tests, an_unknown_policy_is_refused);
  tcase_add_test(tests, the_first_size_is_the_minimum_or_fixed);
  tcase_add_test(tests, a_fixed_heap_is_filled);
  tcase_add_test(tests, live_data_passes_heap_soft);
  tcase_add_test(tests, external_memory_is_counted);
  tcase_add_test(tests, impossible_external_memory_is_refused);
  tcase_add_test(tests, external_memory_that_outgrows_its_room_collects);
  tcase_add_test(tests, a_steady_total_does_not_collect);
  tcase_add_test(tests, a_growing_total_collects_ever_less);
  tcase_add_test(tests, external_memory_of_garbage_stays_bounded);
  tcase_add_test(tests, without_a_mutator_the_next_buffer_collects);
  tcase_add_test(tests, disabled_collections_wait);
  tcase_add_test(tests, heap_soft_holds_for_both_together);
  tcase_add_test(tests, too_much_live_data_ends_in_an_error);
  if (!vm_collects) return;
  tcase_add_test(tests, room_is_a_share_of_what_is_needed);
  tcase_add_test(tests, dear_memory_is_spared);
  tcase_add_test(tests, a_heap_keeps_to_heap_soft);
  tcase_add_test(tests, heap_soft_yields_to_time);
  if (vm_verifies) return; /* its time is not counted, and there is much of it */
  tcase_add_test(tests, a_heap_that_only_collects_is_out_of_memory);
}

int main(void) {
  return vm_main("sizing", add);
}
