/*
 * F34, F35. Collections over object graphs of every shape: what is reachable survives with its content, its
 * sharing and its cycles; what is not is gone, which enumeration shows.
 */
#include "testvm.h"

static testvm vm;
static tsr_scope scope;

static void open_big(const char *heap_max) {
  vm_init(&vm);
  vm_pin(&vm, "heap_max", heap_max);
  vm_start(&vm);
  tsr_scope_open(vm.m, &scope);
}

static void close_all(void) {
  tsr_scope_close(vm.m, &scope);
  vm_collect(&vm);
  if (vm_collects) ck_assert_msg(vm_enumerate(vm.m).objects == 0, "garbage stays");
  vm_stop(&vm);
}

/* Collects and expects exactly so many objects afterwards, where the plan collects. */
START_TEST(lists) {
  open_big("32M");
  tsr_slot *a = tsr_local(vm.m, 0);
  tsr_slot *b = tsr_local(vm.m, 0);
  ck_assert(vm_list(vm.m, a, 1000, 0));
  ck_assert(vm_list(vm.m, b, 3000, 5000));
  for (unsigned round = 0; round < 5; round++) {
    vm_garbage(vm.m, 100 * KIB);
    vm_collect_to(&vm, 4000);
    ck_assert(vm_list_holds(vm.m, a->word, 1000, 0));
    ck_assert(vm_list_holds(vm.m, b->word, 3000, 5000));
  }
  b->word = 0;
  vm_collect_to(&vm, 1000);
  ck_assert(vm_list_holds(vm.m, a->word, 1000, 0));
  close_all();
}
END_TEST

START_TEST(a_long_list) {
  if (vm_stress != NULL) return; /* as many collections of as many objects */
  size_t n = VM_SANITIZED || vm_verifies ? 50000 : 300000;
  open_big("128M");
  tsr_slot *head = tsr_local(vm.m, 0);
  ck_assert(vm_list(vm.m, head, n, 1));
  vm_collect_to(&vm, n);
  ck_assert(vm_list_holds(vm.m, head->word, n, 1));
  vm_collect_to(&vm, n);
  ck_assert(vm_list_holds(vm.m, head->word, n, 1));
  close_all();
}
END_TEST

START_TEST(trees) {
  open_big("64M");
  tsr_slot *tree = tsr_local(vm.m, 0);
  for (unsigned depth = 1; depth <= 15; depth += 2) {
    ck_assert(vm_tree(vm.m, tree, depth));
    vm_collect_to(&vm, ((size_t)1 << depth) - 1);
    ck_assert(vm_tree_holds(vm.m, tree->word, depth));
  }
  close_all();
}
END_TEST

START_TEST(cycles) {
  open_big("32M");
  tsr_slot *a = tsr_local(vm.m, vm_word(vm_new(vm.m, RECORD, 1, 0)));
  tsr_slot *b = tsr_local(vm.m, vm_word(vm_new(vm.m, RECORD, 2, 0)));
  tsr_slot *c = tsr_local(vm.m, vm_word(vm_new(vm.m, RECORD, 3, 0)));
  vm_set(vm.m, vm_ref(a->word), 2, b->word);
  vm_set(vm.m, vm_ref(b->word), 3, c->word);
  vm_set(vm.m, vm_ref(c->word), 13, a->word);
  vm_set(vm.m, vm_ref(c->word), 5, c->word);
  b->word = c->word = 0;
  for (unsigned round = 0; round < 3; round++) {
    vm_collect_to(&vm, 3);
    tsr_ref x = vm_ref(a->word);
    tsr_ref y = vm_ref(vm_get(vm.m, x, 2));
    tsr_ref z = vm_ref(vm_get(vm.m, y, 3));
    ck_assert(vm_tag_of(x) == 1 && vm_tag_of(y) == 2 && vm_tag_of(z) == 3);
    ck_assert_uint_eq(vm_get(vm.m, z, 13), a->word);
    ck_assert_uint_eq(vm_get(vm.m, z, 5), vm_word(z));
  }
  a->word = 0; /* a cycle does not keep itself */
  vm_collect_to(&vm, 0);
  close_all();
}
END_TEST

START_TEST(shared_structure_stays_shared) {
  open_big("32M");
  tsr_slot *array = tsr_local(vm.m, vm_word(vm_new(vm.m, VECTOR, 0, 500)));
  tsr_slot *shared = tsr_local(vm.m, vm_word(vm_new(vm.m, PAIR, 99, 0)));
  for (size_t i = 0; i < 500; i++) {
    tsr_ref pair = vm_new(vm.m, PAIR, (unsigned)i, 0);
    vm_set(vm.m, pair, 1, shared->word);
    vm_set(vm.m, pair, 2, array->word);
    vm_set(vm.m, vm_ref(array->word), 2 + i, vm_word(pair));
  }
  vm_collect_to(&vm, 502);
  for (size_t i = 0; i < 500; i++) {
    tsr_ref pair = vm_ref(vm_get(vm.m, vm_ref(array->word), 2 + i));
    ck_assert_uint_eq(vm_tag_of(pair), i);
    ck_assert_uint_eq(vm_get(vm.m, pair, 1), shared->word);
    ck_assert_uint_eq(vm_get(vm.m, pair, 2), array->word);
  }
  close_all();
}
END_TEST

START_TEST(wide_arrays) {
  if (vm_stress != NULL) return;
  open_big("64M");
  size_t n = 100000;
  tsr_slot *array = tsr_local(vm.m, vm_word(vm_new(vm.m, VECTOR, 0, n)));
  for (size_t i = 0; i < n; i++) {
    tsr_ref cell = vm_new(vm.m, CELL, (unsigned)(i % 60000), 0);
    ck_assert_ptr_nonnull(cell);
    vm_set(vm.m, vm_ref(array->word), 2 + i, vm_word(cell));
  }
  vm_collect_to(&vm, n + 1);
  vm_collect_to(&vm, n + 1);
  for (size_t i = 0; i < n; i++) {
    ck_assert_uint_eq(vm_tag_of(vm_ref(vm_get(vm.m, vm_ref(array->word), 2 + i))), i % 60000);
  }
  close_all();
}
END_TEST

START_TEST(arrays_of_arrays) {
  open_big("64M");
  tsr_slot *outer = tsr_local(vm.m, vm_word(vm_new(vm.m, VECTOR, 0, 300)));
  size_t objects = 1;
  for (size_t i = 0; i < 300; i++) {
    tsr_ref inner = vm_new(vm.m, VECTOR, (unsigned)i, i * 7); /* 0 to 2093 slots: both spaces */
    ck_assert_ptr_nonnull(inner);
    vm_set(vm.m, vm_ref(outer->word), 2 + i, vm_word(inner));
    objects++;
  }
  for (size_t i = 0; i < 300; i++) {
    tsr_ref inner = vm_ref(vm_get(vm.m, vm_ref(outer->word), 2 + i));
    uint64_t next = vm_get(vm.m, vm_ref(outer->word), 2 + (i + 1) % 300);
    tsr_fill_slots(vm.m, inner, vm_slot(inner, 2), i * 7, next);
  }
  vm_collect_to(&vm, objects);
  for (size_t i = 0; i < 300; i++) {
    tsr_ref inner = vm_ref(vm_get(vm.m, vm_ref(outer->word), 2 + i));
    ck_assert_uint_eq(vm_tag_of(inner), i);
    ck_assert_uint_eq(vm_count_of(inner), i * 7);
    uint64_t next = vm_get(vm.m, vm_ref(outer->word), 2 + (i + 1) % 300);
    for (size_t k = 0; k < i * 7; k++) {
      ck_assert_uint_eq(vm_get(vm.m, inner, 2 + k), next);
    }
  }
  close_all();
}
END_TEST

START_TEST(bytes_keep_their_content) {
  open_big("64M");
  tsr_slot *array = tsr_local(vm.m, vm_word(vm_new(vm.m, VECTOR, 0, 200)));
  for (size_t i = 0; i < 200; i++) {
    tsr_ref bytes = vm_new(vm.m, BYTES, 0, i * i); /* odd sizes, small and large */
    ck_assert_ptr_nonnull(bytes);
    vm_fill(bytes, i);
    vm_set(vm.m, vm_ref(array->word), 2 + i, vm_word(bytes));
  }
  for (unsigned round = 0; round < 4; round++) {
    vm_collect_to(&vm, 201);
    for (size_t i = 0; i < 200; i++) {
      tsr_ref bytes = vm_ref(vm_get(vm.m, vm_ref(array->word), 2 + i));
      ck_assert_uint_eq(vm_count_of(bytes), i * i);
      ck_assert(vm_filled(bytes, i));
      ck_assert_uint_eq(tsr_object_size(vm.heap, bytes, NULL), vm_size(BYTES, i * i));
    }
  }
  close_all();
}
END_TEST

START_TEST(bulk_copies_and_fills) {
  open_big("32M");
  tsr_slot *array = tsr_local(vm.m, vm_word(vm_new(vm.m, VECTOR, 0, 3000)));
  for (size_t i = 0; i < 1000; i++) {
    tsr_ref cell = vm_new(vm.m, CELL, (unsigned)i, 0);
    vm_set(vm.m, vm_ref(array->word), 2 + i, vm_word(cell));
  }
  tsr_ref a = vm_ref(array->word);
  tsr_copy_slots(vm.m, a, vm_slot(a, 2 + 500), vm_slot(a, 2), 1000); /* upwards, overlapping */
  tsr_copy_slots(vm.m, a, vm_slot(a, 2 + 400), vm_slot(a, 2 + 500), 1000); /* and down again */
  tsr_fill_slots(vm.m, a, vm_slot(a, 2 + 2000), 1000, vm_get(vm.m, a, 2));
  tsr_copy_slots(vm.m, a, vm_slot(a, 2), vm_slot(a, 2), 0);
  vm_collect_to(&vm, 1001);
  a = vm_ref(array->word);
  for (size_t i = 0; i < 1000; i++) {
    ck_assert_uint_eq(vm_tag_of(vm_ref(vm_get(vm.m, a, 2 + 400 + i))), i);
    ck_assert_uint_eq(vm_get(vm.m, a, 2 + 2000 + i), vm_get(vm.m, a, 2));
  }
  close_all();
}
END_TEST

START_TEST(garbage_is_reclaimed) {
  vm_init(&vm);
  vm_pin(&vm, "heap_max", "8M");
  vm_start(&vm);
  tsr_scope_open(vm.m, &scope);
  tsr_slot *kept = tsr_local(vm.m, 0);
  ck_assert(vm_list(vm.m, kept, 2000, 0));
  vm_garbage(vm.m, vm_collects ? 30 * 8 * MIB : 4 * MIB);
  ck_assert(vm_list_holds(vm.m, kept->word, 2000, 0));
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 0);
  if (vm_collects) ck_assert_uint_gt(vm_stats(&vm).collections, 20);
  close_all();
}
END_TEST

START_TEST(live_bytes_are_what_is_live) {
  vm_init_calm(&vm);
  vm_alone(&vm); /* counts live bytes */
  vm_start(&vm);
  tsr_scope_open(vm.m, &scope);
  ck_assert_uint_eq(vm_stats(&vm).live_bytes_after_last, 0);
  tsr_slot *head = tsr_local(vm.m, 0);
  ck_assert(vm_list(vm.m, head, 10000, 0));
  tsr_local(vm.m, vm_word(vm_new(vm.m, BYTES, 0, 100000)));
  vm_garbage(vm.m, MIB);
  vm_collect(&vm);
  if (vm_collects) {
    uint64_t live = 10000 * vm_size(PAIR, 0) + vm_size(BYTES, 100000);
    ck_assert_uint_ge(vm_stats(&vm).live_bytes_after_last, live);
    ck_assert_uint_le(vm_stats(&vm).live_bytes_after_last, live + 64 * KIB);
    ck_assert_uint_ge(vm_stats(&vm).used_bytes, live);
    ck_assert_uint_eq(vm_enumerate(vm.m).bytes, live);
  }
  close_all();
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, lists);
  tcase_add_test(tests, a_long_list);
  tcase_add_test(tests, trees);
  tcase_add_test(tests, cycles);
  tcase_add_test(tests, shared_structure_stays_shared);
  tcase_add_test(tests, wide_arrays);
  tcase_add_test(tests, arrays_of_arrays);
  tcase_add_test(tests, bytes_keep_their_content);
  tcase_add_test(tests, bulk_copies_and_fills);
  tcase_add_test(tests, garbage_is_reclaimed);
  tcase_add_test(tests, live_bytes_are_what_is_live);
}

int main(void) {
  return vm_main("graphs", add);
}
