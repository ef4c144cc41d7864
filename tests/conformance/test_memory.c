/*
 * The limits of memory: out of memory as a result, the maximum honoured exactly, the books in order,
 * mutators that end with half a buffer, collections switched off.
 *
 * Each test counts bytes or mutators, or fills its heap to the brim, so each is alone in it.
 */
#include "testvm.h"

/* Fills the heap with a live list of records behind `head`; returns how many fitted. */
static size_t fill_heap(testvm *vm, tsr_slot *head) {
  size_t n = 0;
  for (;; n++) {
    tsr_ref record = vm_new(vm->m, RECORD, (unsigned)n, 0);
    if (record == NULL) return n;
    vm_fill(record, n);
    vm_set(vm->m, record, 2, head->word);
    head->word = vm_word(record);
  }
}

static void check_records(testvm *vm, uint64_t word, size_t n) {
  while (n-- > 0) {
    ck_assert_uint_ne(word, 0);
    ck_assert_uint_eq(vm_tag_of(vm_ref(word)), n & 0xffff);
    ck_assert(vm_filled(vm_ref(word), n));
    word = vm_get(vm->m, vm_ref(word), 2);
  }
  ck_assert_uint_eq(word, 0);
}

START_TEST(a002_09_out_of_memory_is_a_result) {
  testvm vm;
  vm_open_alone(&vm, "8M");
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *head = tsr_local(vm.m, 0);
  tsr_oom oom;
  for (unsigned round = 0; round < 3; round++) {
    size_t n = fill_heap(&vm, head);
    ck_assert_uint_eq(vm_take_ooms(&vm, &oom), 1);
    ck_assert_int_eq(oom.kind, TSR_OOM_HEAP);
    ck_assert_uint_eq(oom.requested_bytes, vm_size(RECORD, 0));
    ck_assert_uint_eq(oom.heap_max_bytes, 8 * MIB);
    ck_assert_uint_le(oom.committed_bytes, oom.heap_max_bytes);
    if (round == 0 || vm_collects) ck_assert_uint_ge(n * vm_size(RECORD, 0), 2 * MIB);
    for (unsigned i = 0; i < 3; i++) {
      ck_assert_ptr_null(vm_new(vm.m, RECORD, 0, 0));
      ck_assert_msg(vm_take_ooms(&vm, NULL) == 1, "one callback for a failing request");
    }
    if (round == 0 || vm_collects) check_records(&vm, head->word, n);
    head->word = 0;
    if (vm_collects) ck_assert_msg(vm_new(vm.m, RECORD, 0, 0) != NULL, "released, still refused");
  }
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}
END_TEST

static void drop_list(testvm *vm, tsr_mutator *m) {
  (void)m;
  ((tsr_slot *)vm->extra)->word = 0;
}

START_TEST(a002_09_the_callback_may_release_roots) {
  testvm vm;
  vm_open_alone(&vm, "8M");
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  vm.extra = tsr_local(vm.m, 0);
  vm.on_oom = drop_list;
  fill_heap(&vm, vm.extra);
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 1);
  if (vm_collects) {
    for (unsigned i = 0; i < 1000; i++) {
      ck_assert_ptr_nonnull(vm_new(vm.m, RECORD, 0, 0));
    }
    ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 0);
  }
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}
END_TEST

START_TEST(a002_09_not_at_a_safepoint) {
  testvm vm;
  vm_open_alone(&vm, "8M");
  tsr_error error = {0};
  uint64_t collections = vm_stats(&vm).collections;
  size_t size = vm_size(BYTES, 1000);
  size_t made = 0;
  for (;; made++) {
    void *memory = tsr_alloc_with(vm.m, size, 8, 0, TSR_DEFAULT, TSR_ALLOC_NO_COLLECT, &error);
    if (memory == NULL) break;
    vm_init_object(memory, BYTES, 0, 1000);
  }
  ck_assert_uint_gt(made * size, MIB);
  ck_assert_int_eq(error.status, TSR_OUT_OF_MEMORY);
  ck_assert(error.message[0] != 0);
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 0); /* a collection might still help */
  ck_assert_uint_eq(vm_stats(&vm).collections, collections);
  void *large = tsr_alloc_with(vm.m, 4 * MIB, 8, 0, TSR_LARGE,
                               TSR_ALLOC_NO_COLLECT | TSR_ALLOC_NO_OOM_CALLBACK, &error);
  ck_assert_ptr_null(large);
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 0);
  ck_assert_uint_eq(vm_stats(&vm).collections, collections);
  if (vm_collects) {
    ck_assert_ptr_nonnull(vm_new(vm.m, BYTES, 0, 1000)); /* everything was garbage */
    ck_assert_uint_gt(vm_stats(&vm).collections, collections);
  }
  vm_stop(&vm);
}
END_TEST

START_TEST(a002_09_without_the_callback) {
  testvm vm;
  vm_open_alone(&vm, "8M");
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  size_t n = fill_heap(&vm, tsr_local(vm.m, 0));
  ck_assert_uint_gt(n, 0);
  vm_take_ooms(&vm, NULL);
  tsr_error error = {0};
  void *memory =
      tsr_alloc_with(vm.m, 64 * KIB, 8, 0, TSR_DEFAULT, TSR_ALLOC_NO_OOM_CALLBACK, &error);
  ck_assert_ptr_null(memory);
  ck_assert_int_eq(error.status, TSR_OUT_OF_MEMORY);
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 0);
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}
END_TEST

START_TEST(a002_09_larger_than_the_heap) {
  testvm vm;
  vm_open_alone(&vm, "8M");
  uint64_t collections = vm_stats(&vm).collections;
  static const size_t sizes[] = {8 * MIB + 8, 9 * MIB, 64 * MIB, (size_t)1 << 40};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    for (unsigned how = 0; how < 3; how++) {
      tsr_oom oom;
      void *memory = how == 0   ? tsr_alloc(vm.m, sizes[i], 8, 0, TSR_LARGE)
                     : how == 1 ? tsr_alloc(vm.m, sizes[i], 8, 0, TSR_DEFAULT)
                                : tsr_alloc_default(vm.m, sizes[i]);
      ck_assert_ptr_null(memory);
      ck_assert_uint_eq(vm_take_ooms(&vm, &oom), 1);
      ck_assert_int_eq(oom.kind, TSR_OOM_HEAP);
      ck_assert_uint_eq(oom.requested_bytes, sizes[i]);
    }
  }
  ck_assert_msg(vm_stats(&vm).collections == collections, "no collection can help");
  ck_assert_ptr_nonnull(vm_new(vm.m, PAIR, 0, 0));
  vm_stop(&vm);
}
END_TEST

/* ---- the maximum and the books ------------------------------------------------------------- */

static void check_books(testvm *vm, size_t max) {
  tsr_memory_share shares[64];
  tsr_stats stats = vm_stats(vm);
  size_t n = tsr_heap_memory(vm->heap, shares, 64);
  ck_assert(n > 0 && n <= 64);
  uint64_t sum = 0;
  for (size_t i = 0; i < n; i++) {
    ck_assert(shares[i].name != NULL && shares[i].name[0] != 0);
    ck_assert_uint_le(shares[i].bytes, shares[i].peak_bytes);
    sum += shares[i].bytes;
  }
  ck_assert_uint_eq(sum, stats.committed_bytes);
  ck_assert_uint_le(stats.used_bytes, stats.committed_bytes);
  ck_assert_uint_le(stats.committed_bytes, stats.peak_committed_bytes);
  ck_assert_msg(stats.peak_committed_bytes <= max, "peak %llu, maximum %zu",
                (unsigned long long)stats.peak_committed_bytes, max);
  ck_assert_uint_le(stats.heap_limit_bytes, max);
  ck_assert_uint_eq(stats.heap_max_bytes, max);
  ck_assert_uint_eq(tsr_heap_memory(vm->heap, shares, 0), n);
}

static bool open_with_max(testvm *vm, size_t max) {
  char text[32];
  snprintf(text, sizeof text, "%zu", max);
  vm_init_calm(vm);
  vm_pin(vm, "heap_max", text);
  tsr_error error = {0};
  vm->heap = tsr_heap_create(&vm->binding, vm, vm->options, &error);
  if (vm->heap == NULL) {
    ck_assert_msg(max < 4 * MIB, "%s: %s", text, error.message);
    ck_assert_int_eq(error.status, TSR_INVALID_ARGUMENT);
    ck_assert(vm_says(error.message, "minimum"));
    vm_drop(vm);
    return false;
  }
  vm->m = tsr_bind_mutator(vm->heap, vm, NULL);
  ck_assert_ptr_nonnull(vm->m);
  return true;
}

START_TEST(the_maximum_is_honoured_exactly) {
  static const size_t maxima[] = {
      MIB, 2 * MIB, 4 * MIB, 4 * MIB + 32 * KIB, 5 * MIB, 17 * MIB + 32 * KIB, 24 * MIB};
  for (size_t i = 0; i < sizeof maxima / sizeof maxima[0]; i++) {
    testvm vm;
    if (!open_with_max(&vm, maxima[i])) continue;
    check_books(&vm, maxima[i]);
    tsr_scope scope;
    tsr_scope_open(vm.m, &scope);
    tsr_slot *head = tsr_local(vm.m, 0);
    for (unsigned round = 0; round < (vm_verifies ? 1 : 3); round++) {
      ck_assert(round > 0 || fill_heap(&vm, head) > 0);
      check_books(&vm, maxima[i]);
      while (vm_new(vm.m, BYTES, 0, 20000) != NULL && vm.ended < 100) {
      }
      check_books(&vm, maxima[i]);
      for (unsigned k = 0; k < 20000 && tsr_handle_new(vm.heap, head->word, TSR_STRONG, NULL);
           k++) {
      }
      check_books(&vm, maxima[i]);
      head->word = 0;
      vm_collect(&vm);
      check_books(&vm, maxima[i]);
    }
    tsr_scope_close(vm.m, &scope);
    vm_stop(&vm);
  }
}
END_TEST

START_TEST(memory_below_the_minimum_is_refused) {
  static const char *const maxima[] = {"0", "1", "4096", "32K"};
  for (size_t i = 0; i < sizeof maxima / sizeof maxima[0]; i++) {
    testvm vm;
    vm_init_calm(&vm);
    if (tsr_options_set(vm.options, "heap_max", maxima[i], NULL) != TSR_OK) {
      vm_drop(&vm);
      continue;
    }
    tsr_error error = vm_refused(&vm);
    ck_assert_msg(vm_says(error.message, "minimum"), "%s", error.message);
  }
}
END_TEST

/* ---- A002-13 ------------------------------------------------------------------------------- */

static tsr_mutator *half_used(testvm *vm, void *identity, bool embedded, tsr_mutator *storage) {
  tsr_mutator *m = storage;
  if (embedded) {
    ck_assert_int_eq(tsr_bind_mutator_in(vm->heap, storage, identity, NULL), TSR_OK);
  } else {
    m = tsr_bind_mutator(vm->heap, identity, NULL);
  }
  ck_assert_ptr_nonnull(m);
  for (unsigned i = 0; i < 20; i++) {
    tsr_ref pair = vm_new(m, PAIR, i, 0);
    ck_assert_ptr_nonnull(pair);
  }
  return m;
}

START_TEST(a002_13_a_mutator_ends_with_half_a_buffer) {
  testvm vm;
  vm_open_alone(&vm, "16M");
  tsr_mutator storage;
  uint64_t committed = 0;
  size_t made = 0;
  unsigned rounds = 300;
  for (unsigned round = 0; round < rounds; round++) {
    int identity;
    tsr_mutator *m = half_used(&vm, &identity, round % 2 == 0, &storage);
    made += 20;
    ck_assert_uint_eq(vm_stats(&vm).mutators, 2);
    ck_assert_int_eq(tsr_unbind_mutator(m, NULL), TSR_OK);
    ck_assert_uint_eq(vm_stats(&vm).mutators, 1);
    vm_census census = vm_enumerate(vm.m);
    ck_assert_uint_eq(census.objects, made);
    ck_assert_uint_eq(census.by_kind[PAIR], made);
    if (!vm_collects) continue;
    if (round % 10 == 9) {
      vm_collect(&vm);
      made = 0;
      ck_assert_uint_eq(vm_enumerate(vm.m).objects, 0);
    }
    if (round == 99) committed = vm_stats(&vm).peak_committed_bytes;
  }
  /* (Under the verifier freed memory rests, and tables for more of the address space are in use.) */
  if (vm_collects && !vm_verifies) {
    ck_assert_uint_le(vm_stats(&vm).peak_committed_bytes, committed);
  }
  vm_stop(&vm);
}
END_TEST

/* ---- switching collections off ------------------------------------------------------------- */

START_TEST(disabled_collections_nest) {
  testvm vm;
  vm_open_alone(&vm, "8M");
  tsr_error error = {0};
  ck_assert_int_eq(tsr_collection_enable(vm.heap, &error), TSR_BUSY);
  ck_assert(error.message[0] != 0);
  tsr_collection_disable(vm.heap);
  tsr_collection_disable(vm.heap);
  if (vm_collects) {
    ck_assert_int_eq(tsr_collect(vm.m, &error), TSR_BUSY);
    ck_assert_int_eq(error.status, TSR_BUSY);
  }
  while (vm_new(vm.m, BYTES, 0, 1000) != NULL) {
  }
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 1);
  ck_assert_uint_eq(vm_stats(&vm).collections, 0);
  ck_assert_uint_ge(vm_stats(&vm).bytes_allocated, MIB);
  ck_assert_int_eq(tsr_collection_enable(vm.heap, NULL), TSR_OK);
  if (vm_collects) ck_assert_int_eq(tsr_collect(vm.m, NULL), TSR_BUSY);
  ck_assert_int_eq(tsr_collection_enable(vm.heap, NULL), TSR_OK);
  ck_assert_int_eq(tsr_collection_enable(vm.heap, NULL), TSR_BUSY);
  vm_collect(&vm);
  if (vm_collects) {
    ck_assert_uint_eq(vm_enumerate(vm.m).objects, 0);
    vm_garbage(vm.m, 32 * MIB);
    ck_assert_uint_gt(vm_stats(&vm).collections, 1);
  }
  vm_stop(&vm);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, a002_09_out_of_memory_is_a_result);
  tcase_add_test(tests, a002_09_the_callback_may_release_roots);
  tcase_add_test(tests, a002_09_not_at_a_safepoint);
  tcase_add_test(tests, a002_09_without_the_callback);
  tcase_add_test(tests, a002_09_larger_than_the_heap);
  tcase_add_test(tests, the_maximum_is_honoured_exactly);
  tcase_add_test(tests, memory_below_the_minimum_is_refused);
  tcase_add_test(tests, a002_13_a_mutator_ends_with_half_a_buffer);
  tcase_add_test(tests, disabled_collections_nest);
}

int main(void) {
  return vm_main("memory", add);
}
