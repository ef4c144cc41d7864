/*
 * F32. Roots: scopes, handles, ranges, native stacks and callbacks. Each kind keeps its objects alive and
 * up to date for as long as documented, and not a collection longer.
 */
#include "testvm.h"

static testvm vm;

static void start(void) {
  vm_init(&vm);
  vm_start(&vm);
}

/* A fresh pair that holds FIXNUM(n). */
static uint64_t new_pair(unsigned n) {
  tsr_ref pair = vm_new(vm.m, PAIR, n & 0xffff, 0);
  ck_assert_ptr_nonnull(pair);
  vm_set(vm.m, pair, 1, FIXNUM(n));
  return vm_word(pair);
}

static bool is_pair(uint64_t word, unsigned n) {
  return word != 0 && vm_kind_of(vm_ref(word)) == PAIR &&
         vm_get(vm.m, vm_ref(word), 1) == FIXNUM(n);
}

/* ---- scopes -------------------------------------------------------------------------------- */

static void nest(unsigned level, unsigned count) {
  if (level == 0) {
    vm_collect_to(&vm, (size_t)4 * count);
    return;
  }
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot **slots = malloc(count * sizeof *slots);
  for (unsigned i = 0; i < count; i++) {
    slots[i] = tsr_local(vm.m, 0);
    slots[i]->word = new_pair(level * 10000 + i);
  }
  nest(level - 1, count);
  vm_collect_to(&vm, (size_t)(5 - level) * count); /* this level's and the outer ones' */
  for (unsigned i = 0; i < count; i++) {
    ck_assert(is_pair(slots[i]->word, level * 10000 + i));
  }
  free(slots);
  tsr_scope_close(vm.m, &scope);
}

START_TEST(scopes_nest_and_spill) {
  start();
  for (unsigned round = 0; round < 3; round++) {
    nest(4, vm_stress != NULL ? 50 : 3000);
    vm_collect_to(&vm, 0);
  }
  vm_stop(&vm);
}
END_TEST

START_TEST(scopes_in_a_loop_use_no_memory) {
  start();
  vm_alone(&vm); /* counts memory */
  uint64_t committed = 0;
  for (unsigned i = 0; i < 20000; i++) {
    tsr_scope scope;
    tsr_scope_open(vm.m, &scope);
    for (unsigned k = 0; k < 50; k++) {
      ck_assert_ptr_nonnull(tsr_local(vm.m, FIXNUM(k)));
    }
    tsr_scope_close(vm.m, &scope);
    if (i == 100) committed = vm_stats(&vm).committed_bytes;
  }
  ck_assert_uint_le(vm_stats(&vm).committed_bytes, committed);
  vm_stop(&vm);
}
END_TEST

START_TEST(unbinding_with_an_open_scope_is_refused) {
  start();
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *slot = tsr_local(vm.m, 0);
  slot->word = new_pair(1);
  tsr_error error = {0};
  ck_assert_int_eq(tsr_unbind_mutator(vm.m, &error), TSR_BUSY);
  ck_assert(error.message[0] != 0);
  vm_collect(&vm);
  ck_assert(is_pair(slot->word, 1));
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}
END_TEST

/* ---- handles ------------------------------------------------------------------------------- */

START_TEST(handles_live_until_freed) {
  start();
  enum { N = 5000 };
  static tsr_slot *handles[N];
  for (unsigned i = 0; i < N; i++) {
    handles[i] = tsr_handle_new(vm.heap, new_pair(i), TSR_STRONG, NULL);
    ck_assert_ptr_nonnull(handles[i]);
  }
  vm_collect_to(&vm, N);
  for (unsigned i = 0; i < N; i += 2) {
    ck_assert_int_eq(tsr_handle_free(vm.heap, handles[i], NULL), TSR_OK);
    handles[i] = NULL;
  }
  vm_collect_to(&vm, N / 2);
  vm_alone(&vm); /* counts memory from here on */
  uint64_t committed = vm_stats(&vm).committed_bytes;
  for (unsigned round = 0; round < 50; round++) { /* freed slots are used again */
    for (unsigned i = 0; i < N; i += 2) {
      handles[i] = tsr_handle_new(vm.heap, FIXNUM(i), TSR_STRONG, NULL);
      ck_assert_ptr_nonnull(handles[i]);
    }
    for (unsigned i = 0; i < N; i += 2) {
      ck_assert_uint_eq(handles[i]->word, FIXNUM(i));
      ck_assert_int_eq(tsr_handle_free(vm.heap, handles[i], NULL), TSR_OK);
    }
  }
  ck_assert_uint_le(vm_stats(&vm).committed_bytes, committed);
  vm_collect(&vm);
  for (unsigned i = 1; i < N; i += 2) {
    ck_assert(is_pair(handles[i]->word, i));
    ck_assert_int_eq(tsr_handle_free(vm.heap, handles[i], NULL), TSR_OK);
  }
  vm_collect_to(&vm, 0);
  vm_stop(&vm);
}
END_TEST

START_TEST(handles_are_checked_when_freed) {
  start();
  tsr_slot *handle = tsr_handle_new(vm.heap, new_pair(3), TSR_STRONG, NULL);
  tsr_slot *gone = tsr_handle_new(vm.heap, FIXNUM(4), TSR_STRONG, NULL);
  ck_assert_int_eq(tsr_handle_free(vm.heap, gone, NULL), TSR_OK);
  tsr_slot local = {0};
  tsr_slot *foreign[] = {gone,
                         NULL,
                         &local,
                         vm_slot(vm_ref(handle->word), 1),
                         (tsr_slot *)((uintptr_t)handle + 1),
                         (tsr_slot *)(uintptr_t)8};
  for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++) {
    tsr_error error = {0};
    ck_assert_int_eq(tsr_handle_free(vm.heap, foreign[i], &error), TSR_INVALID_ARGUMENT);
    ck_assert_int_eq(error.status, TSR_INVALID_ARGUMENT);
    ck_assert(error.message[0] != 0);
  }
  testvm other;
  vm_open(&other, "16M");
  ck_assert_int_eq(tsr_handle_free(other.heap, handle, NULL), TSR_INVALID_ARGUMENT);
  vm_stop(&other);
  vm_collect(&vm);
  ck_assert(is_pair(handle->word, 3));
  ck_assert_int_eq(tsr_handle_free(vm.heap, handle, NULL), TSR_OK);
  ck_assert_int_eq(tsr_handle_free(vm.heap, handle, NULL), TSR_INVALID_ARGUMENT);
  vm_stop(&vm);
}
END_TEST

START_TEST(handles_may_be_written_and_may_hold_anything) {
  start();
  tsr_slot *handle = tsr_handle_new(vm.heap, 0, TSR_STRONG, NULL);
  ck_assert_ptr_nonnull(handle);
  for (unsigned i = 0; i < 100; i++) {
    handle->word = new_pair(i);
    vm_collect_to(&vm, 1);
    ck_assert(is_pair(handle->word, i));
    handle->word = i % 2 == 0 ? FIXNUM(i) : vm_word(&vm);
    uint64_t word = handle->word;
    vm_collect_to(&vm, 0);
    ck_assert_uint_eq(handle->word, word);
  }
  tsr_error error = {0};
  ck_assert_ptr_null(tsr_handle_new(vm.heap, 0, (tsr_strength)2, &error));
  ck_assert_int_eq(error.status, TSR_INVALID_ARGUMENT);
  ck_assert(vm_says(error.message, "weak"));
  vm_stop(&vm);
}
END_TEST

START_TEST(handles_before_any_mutator) {
  vm_init(&vm);
  vm_start_heap(&vm);
  tsr_slot *handle = tsr_handle_new(vm.heap, 0, TSR_STRONG, NULL);
  ck_assert_ptr_nonnull(handle);
  vm.m = tsr_bind_mutator(vm.heap, &vm, NULL);
  handle->word = new_pair(9);
  vm_collect_to(&vm, 1);
  ck_assert(is_pair(handle->word, 9));
  vm_stop(&vm); /* a handle still alive goes with the heap */
}
END_TEST

/* A word inside the heap's range where no object is: refused, or harmless. */
START_TEST(handles_to_nowhere) {
  start();
  vm_alone(&vm); /* where nothing is, another mutator could put something */
  uint64_t pair = new_pair(1);
  for (int64_t distance = -(int64_t)(24 * MIB); distance <= (int64_t)(24 * MIB);
       distance += (int64_t)(512 * KIB)) {
    uint64_t word = pair + (uint64_t)distance;
    if (tsr_heap_contains(vm.heap, vm_ref(word))) continue;
    tsr_error error = {0};
    tsr_slot *handle = tsr_handle_new(vm.heap, word, TSR_STRONG, &error);
    if (handle == NULL) {
      ck_assert_int_eq(error.status, TSR_INVALID_ARGUMENT);
      continue;
    }
    ck_assert_uint_eq(handle->word, word);
    ck_assert_int_eq(tsr_handle_free(vm.heap, handle, NULL), TSR_OK);
  }
  vm_stop(&vm);
}
END_TEST

/* ---- ranges -------------------------------------------------------------------------------- */

START_TEST(ranges_are_read_until_removed) {
  start();
  static tsr_slot table[1000];
  tsr_slot single = {0};
  memset(table, 0, sizeof table);
  ck_assert_int_eq(tsr_root_add(vm.heap, table, 1000, TSR_ROOT_PRECISE, "table", NULL), TSR_OK);
  ck_assert_int_eq(tsr_root_add(vm.heap, &single, 1, TSR_ROOT_PRECISE, NULL, NULL), TSR_OK);
  for (unsigned i = 0; i < 1000; i += 3) {
    table[i].word = new_pair(i);
  }
  single.word = new_pair(7777);
  for (unsigned round = 0; round < 3; round++) {
    vm_collect_to(&vm, 335);
    for (unsigned i = 0; i < 1000; i++) {
      ck_assert(i % 3 == 0 ? is_pair(table[i].word, i) : table[i].word == 0);
    }
    ck_assert(is_pair(single.word, 7777));
  }
  ck_assert_int_eq(tsr_root_remove(vm.heap, table, NULL), TSR_OK);
  vm_collect_to(&vm, 1);
  ck_assert_int_eq(tsr_root_remove(vm.heap, table, NULL), TSR_INVALID_ARGUMENT);
  ck_assert_int_eq(tsr_root_remove(vm.heap, &single, NULL), TSR_OK);
  vm_collect_to(&vm, 0);
  memset(table, 0, sizeof table);
  ck_assert_int_eq(tsr_root_add(vm.heap, table, 10, TSR_ROOT_PRECISE, NULL, NULL), TSR_OK);
  vm_stop(&vm); /* ranges go with the heap */
}
END_TEST

START_TEST(impossible_ranges_are_refused) {
  start();
  static tsr_slot table[100];
  memset(table, 0, sizeof table);
  tsr_error error = {0};
  tsr_slot *misaligned = (tsr_slot *)((uintptr_t)table + 4);
  ck_assert_int_eq(tsr_root_add(vm.heap, NULL, 1, TSR_ROOT_PRECISE, NULL, &error),
                   TSR_INVALID_ARGUMENT);
  ck_assert_int_eq(tsr_root_add(vm.heap, misaligned, 1, TSR_ROOT_PRECISE, NULL, &error),
                   TSR_INVALID_ARGUMENT);
  ck_assert_int_eq(tsr_root_add(vm.heap, table, 0, TSR_ROOT_PRECISE, NULL, &error),
                   TSR_INVALID_ARGUMENT);
  ck_assert_int_eq(tsr_root_add(vm.heap, table, 10, TSR_ROOT_AMBIGUOUS, NULL, &error),
                   TSR_MISMATCH); /* the binding has not declared that it has some */
  ck_assert_msg(vm_says(error.message, "TSR_NEEDS_AMBIGUOUS_ROOTS"), "%s", error.message);
  ck_assert_int_eq(tsr_root_remove(vm.heap, table, &error), TSR_INVALID_ARGUMENT);

  ck_assert_int_eq(tsr_root_add(vm.heap, table + 10, 10, TSR_ROOT_PRECISE, NULL, NULL), TSR_OK);
  ck_assert_int_eq(tsr_root_add(vm.heap, table + 10, 10, TSR_ROOT_PRECISE, NULL, &error), TSR_BUSY);
  ck_assert_int_eq(tsr_root_add(vm.heap, table + 5, 10, TSR_ROOT_PRECISE, NULL, &error), TSR_BUSY);
  ck_assert_int_eq(error.status, TSR_BUSY);
  ck_assert_int_eq(tsr_root_add(vm.heap, table, 10, TSR_ROOT_PRECISE, NULL, NULL), TSR_OK);
  ck_assert_int_eq(tsr_root_add(vm.heap, table + 20, 10, TSR_ROOT_PRECISE, NULL, NULL), TSR_OK);
  for (unsigned i = 0; i < 30; i++) {
    table[i].word = new_pair(i);
  }
  vm_collect_to(&vm, 30);
  ck_assert_int_eq(tsr_root_remove(vm.heap, table + 5, NULL), TSR_INVALID_ARGUMENT);
  ck_assert_int_eq(tsr_root_remove(vm.heap, table + 10, NULL), TSR_OK);
  vm_collect_to(&vm, 20);
  vm_stop(&vm);
}
END_TEST

START_TEST(long_names_are_cut) {
  start();
  static tsr_slot slot;
  char name[200];
  memset(name, 'n', sizeof name - 1);
  name[sizeof name - 1] = 0;
  ck_assert_int_eq(tsr_root_add(vm.heap, &slot, 1, TSR_ROOT_PRECISE, name, NULL), TSR_OK);
  vm_collect(&vm);
  vm_stop(&vm);
}
END_TEST

/* ---- native stacks ------------------------------------------------------------------------- */

START_TEST(native_stacks_grow_move_and_shrink) {
  start();
  size_t capacity = 4;
  tsr_slot *memory = malloc(capacity * sizeof *memory);
  tsr_slot *top = memory;
  tsr_native_stack stack = {.base = memory, .top = &top, .name = "stack"};
  ck_assert_int_eq(tsr_stack_add(vm.heap, &stack, NULL), TSR_OK);
  vm_collect_to(&vm, 0);
  size_t n = vm_stress != NULL ? 300 : 10000;
  for (size_t i = 0; i < n; i++) {
    if ((size_t)(top - stack.base) == capacity) {
      capacity *= 2;
      memory = realloc(stack.base, capacity * sizeof *memory);
      stack.base = memory;
      top = memory + i;
    }
    uint64_t pair = new_pair((unsigned)i);
    top++->word = pair;
    if (i % 1000 == 500) vm_collect_to(&vm, i + 1);
  }
  vm_collect_to(&vm, n);
  for (size_t i = 0; i < n; i++) {
    ck_assert(is_pair(stack.base[i].word, (unsigned)i));
  }
  top -= n / 2; /* what is above the top is no root */
  vm_collect_to(&vm, n - n / 2);
  top = stack.base;
  vm_collect_to(&vm, 0);
  ck_assert_int_eq(tsr_stack_remove(vm.heap, &stack, NULL), TSR_OK);
  ck_assert_int_eq(tsr_stack_remove(vm.heap, &stack, NULL), TSR_INVALID_ARGUMENT);
  free(stack.base);
  vm_stop(&vm);
}
END_TEST

START_TEST(native_stacks_with_a_clean_mark) {
  start();
  static tsr_slot memory[1000];
  tsr_slot *top = memory;
  tsr_slot *clean = memory;
  tsr_native_stack stack = {.base = memory, .top = &top, .clean_below = &clean};
  ck_assert_int_eq(tsr_stack_add(vm.heap, &stack, NULL), TSR_OK);
  for (unsigned round = 0; round < 20; round++) {
    for (unsigned i = 0; i < 40; i++) {
      uint64_t pair = new_pair((unsigned)(top - memory));
      top++->word = pair;
    }
    vm_collect_to(&vm, (size_t)(top - memory));
    ck_assert(!vm_collects || clean <= top);
    top -= 20;
    if (clean > top) clean = top;
    memory[10 * round].word = new_pair(10 * round); /* changed below: lower the mark */
    if (clean > memory + 10 * round) clean = memory + 10 * round;
    vm_collect_to(&vm, (size_t)(top - memory));
    for (unsigned i = 0; i < (unsigned)(top - memory); i++) {
      ck_assert(is_pair(memory[i].word, i));
    }
  }
  ck_assert_int_eq(tsr_stack_remove(vm.heap, &stack, NULL), TSR_OK);
  vm_stop(&vm);
}
END_TEST

START_TEST(impossible_stacks_are_refused) {
  start();
  static tsr_slot memory[10];
  tsr_slot *top = memory;
  tsr_native_stack stack = {.base = memory, .top = &top};
  tsr_native_stack no_top = {.base = memory};
  tsr_native_stack no_base = {.top = &top};
  tsr_error error = {0};
  ck_assert_int_eq(tsr_stack_add(vm.heap, NULL, &error), TSR_INVALID_ARGUMENT);
  ck_assert_int_eq(tsr_stack_add(vm.heap, &no_top, &error), TSR_INVALID_ARGUMENT);
  ck_assert_int_eq(tsr_stack_add(vm.heap, &no_base, &error), TSR_INVALID_ARGUMENT);
  ck_assert_int_eq(tsr_stack_remove(vm.heap, &stack, &error), TSR_INVALID_ARGUMENT);
  ck_assert_int_eq(tsr_stack_add(vm.heap, &stack, NULL), TSR_OK);
  ck_assert_int_eq(tsr_stack_add(vm.heap, &stack, &error), TSR_BUSY);
  ck_assert_int_eq(error.status, TSR_BUSY);
  vm_collect(&vm);
  vm_stop(&vm);
}
END_TEST

/* ---- callbacks ----------------------------------------------------------------------------- */

static tsr_slot heap_table[50];
static tsr_slot mutator_table[2][20];
static tsr_mutator *mutators[2];
static unsigned heap_scans, mutator_scans[2];

static void report_heap(testvm *data, tsr_visitor *visitor) {
  (void)data;
  heap_scans++;
  tsr_visit_slots(visitor, heap_table, 30);
  for (unsigned i = 30; i < 50; i++) {
    tsr_visit_slots(visitor, &heap_table[i], 1);
  }
}

static void report_mutator(testvm *data, tsr_mutator *m, tsr_visitor *visitor) {
  (void)data;
  for (unsigned k = 0; k < 2; k++) {
    if (m != mutators[k]) continue;
    mutator_scans[k]++;
    tsr_visit_slots(visitor, mutator_table[k], 20);
  }
}

START_TEST(callbacks_report_roots) {
  vm_init_calm(&vm);
  vm.on_heap_roots = report_heap;
  vm.on_mutator_roots = report_mutator;
  memset(heap_table, 0, sizeof heap_table);
  memset(mutator_table, 0, sizeof mutator_table);
  heap_scans = mutator_scans[0] = mutator_scans[1] = 0;
  vm_start(&vm);
  int second;
  mutators[0] = vm.m;
  mutators[1] = tsr_bind_mutator(vm.heap, &second, NULL);
  ck_assert_ptr_nonnull(mutators[1]);
  tsr_enter_native(mutators[1]); /* a thread with two mutators: the other one stands still */
  for (unsigned i = 0; i < 50; i++) {
    heap_table[i].word = new_pair(i);
  }
  for (unsigned i = 0; i < 40; i++) {
    mutator_table[i / 20][i % 20].word = new_pair(100 + i);
  }
  for (unsigned round = 1; round <= 3; round++) {
    vm_collect_to(&vm, 90);
    for (unsigned i = 0; i < 50; i++) {
      ck_assert(is_pair(heap_table[i].word, i));
    }
    for (unsigned i = 0; i < 40; i++) {
      ck_assert(is_pair(mutator_table[i / 20][i % 20].word, 100 + i));
    }
    ck_assert_uint_ge(heap_scans, vm_collects ? round : 0);
    ck_assert_uint_ge(mutator_scans[0], vm_collects ? round : 0);
    ck_assert_uint_ge(mutator_scans[1], vm_collects ? round : 0);
  }
  tsr_leave_native(mutators[1]);
  ck_assert_int_eq(tsr_unbind_mutator(mutators[1], NULL), TSR_OK);
  vm_collect_to(&vm, 70); /* an unbound mutator's roots are not asked for */
  vm_stop(&vm);
}
END_TEST

/* Pins are roots without a slot; more of them is in test_pins.c. */
START_TEST(pins_are_roots) {
  start();
  uint64_t pairs[10];
  tsr_error error = {0};
  for (unsigned i = 0; i < 10; i++) {
    pairs[i] = new_pair(i);
    ck_assert_int_eq(tsr_pin(vm.m, vm_ref(pairs[i]), &error), TSR_OK);
  }
  vm_collect_to(&vm, 10);
  for (unsigned i = 0; i < 10; i++) {
    ck_assert(is_pair(pairs[i], i));
  }
  for (unsigned i = 0; i < 10; i += 2) {
    ck_assert_int_eq(tsr_unpin(vm.m, vm_ref(pairs[i]), &error), TSR_OK);
    ck_assert_int_eq(tsr_unpin(vm.m, vm_ref(pairs[i]), &error), TSR_INVALID_ARGUMENT);
    ck_assert_msg(vm_says(error.message, "pin"), "%s", error.message);
  }
  vm_collect_to(&vm, 5);
  for (unsigned i = 1; i < 10; i += 2) {
    ck_assert(is_pair(pairs[i], i));
    ck_assert_int_eq(tsr_unpin(vm.m, vm_ref(pairs[i]), NULL), TSR_OK);
  }
  vm_collect_to(&vm, 0);
  vm_stop(&vm);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, scopes_nest_and_spill);
  tcase_add_test(tests, scopes_in_a_loop_use_no_memory);
  tcase_add_test(tests, unbinding_with_an_open_scope_is_refused);
  tcase_add_test(tests, handles_live_until_freed);
  tcase_add_test(tests, handles_are_checked_when_freed);
  tcase_add_test(tests, handles_may_be_written_and_may_hold_anything);
  tcase_add_test(tests, handles_before_any_mutator);
  tcase_add_test(tests, handles_to_nowhere);
  tcase_add_test(tests, ranges_are_read_until_removed);
  tcase_add_test(tests, impossible_ranges_are_refused);
  tcase_add_test(tests, long_names_are_cut);
  tcase_add_test(tests, native_stacks_grow_move_and_shrink);
  tcase_add_test(tests, native_stacks_with_a_clean_mark);
  tcase_add_test(tests, impossible_stacks_are_refused);
  tcase_add_test(tests, callbacks_report_roots);
  tcase_add_test(tests, pins_are_roots);
}

int main(void) {
  return vm_main("roots", add);
}
