/*
 * Calls in the wrong state: managed calls from native code, the poll's slow path where nothing was
 * requested, an enumeration of a heap whose VM cannot be stopped, and collection disabled from
 * within the end of a collection. Each is refused with its status, and nothing changes.
 */
#include "testvm.h"

#include <unistd.h>

/* A call that waits for a thread that never stops would wait forever: let it fail instead. */
#define WATCHDOG_S 60u

static void ignore_object(void *context, tsr_ref object, size_t size) {
  (void)object;
  (void)size;
  ++*(size_t *)context;
}

/* ---- native code ----------------------------------------------------------------------------- */

/* Where the plan has no collection at all, that may be said first. */
static void assert_busy_in_native(tsr_status status, const tsr_error *error) {
  bool unsupported = !vm_collects && status == TSR_UNSUPPORTED;
  ck_assert_msg(status == TSR_BUSY || unsupported, "%s", tsr_status_name(status));
  ck_assert_int_eq(error->status, status);
  ck_assert(error->message[0] != 0);
}

START_TEST(native_code_neither_collects_nor_enumerates) {
  testvm vm;
  vm_open(&vm, "8M");
  ck_assert_ptr_nonnull(vm_new(vm.m, PAIR, 0, 0));
  tsr_enter_native(vm.m);
  tsr_error error = {0};
  assert_busy_in_native(tsr_collect(vm.m, &error), &error);
  ck_assert_uint_eq(vm.ended, 0);
  size_t objects = 0;
  error = (tsr_error){0};
  tsr_status status = tsr_enumerate_objects(vm.m, ignore_object, &objects, &error);
  ck_assert_int_eq(status, TSR_BUSY);
  ck_assert_int_eq(error.status, TSR_BUSY);
  ck_assert_uint_eq(objects, 0);
  tsr_leave_native(vm.m);
  ck_assert_uint_eq(vm_take_errors(&vm, NULL), 0);
  ck_assert_uint_eq(vm_enumerate(vm.m).objects, 1);
  vm_collect(&vm);
  vm_stop(&vm);
}
END_TEST

START_TEST(native_code_does_not_allocate) {
  testvm vm;
  vm_open(&vm, "8M");
  ck_assert_ptr_nonnull(vm_new(vm.m, PAIR, 0, 0)); /* a buffer is at hand */
  tsr_enter_native(vm.m);
  static const size_t sizes[] = {24, 4 * KIB, 100 * KIB};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    tsr_error error = {0};
    size_t size = tsr_round_size(sizes[i]);
    ck_assert_ptr_null(tsr_alloc_with(vm.m, size, TSR_OBJECT_ALIGN, 0, TSR_DEFAULT, 0, &error));
    ck_assert_int_eq(error.status, TSR_BUSY);
    ck_assert(error.message[0] != 0);
  }
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 0);
  tsr_leave_native(vm.m);
  ck_assert_uint_eq(vm_enumerate(vm.m).objects, 1);
  vm_stop(&vm);
}
END_TEST

START_TEST(native_code_registers_no_pairs) {
  testvm vm;
  vm_open(&vm, "8M");
  tsr_bump_pointer known;
  tsr_bump_pointer other = {64, 128};
  ck_assert_int_eq(tsr_register_bump_pointer(vm.m, &known, NULL), TSR_OK);
  void *object = tsr_alloc_cached(vm.m, &known, tsr_round_size(24));
  ck_assert_ptr_nonnull(object);
  vm_init_object(object, PAIR, 0, 0);
  tsr_bump_pointer buffer = known;
  tsr_enter_native(vm.m);
  tsr_error error = {0};
  ck_assert_int_eq(tsr_register_bump_pointer(vm.m, &other, &error), TSR_BUSY);
  ck_assert_int_eq(error.status, TSR_BUSY);
  ck_assert(other.cursor == 64 && other.limit == 128);
  error = (tsr_error){0};
  ck_assert_int_eq(tsr_unregister_bump_pointer(vm.m, &known, &error), TSR_BUSY);
  ck_assert_int_eq(error.status, TSR_BUSY);
  ck_assert(known.cursor == buffer.cursor && known.limit == buffer.limit);
  tsr_leave_native(vm.m);
  ck_assert_int_eq(tsr_unregister_bump_pointer(vm.m, &other, NULL), TSR_INVALID_ARGUMENT);
  ck_assert_int_eq(tsr_unregister_bump_pointer(vm.m, &known, NULL), TSR_OK);
  ck_assert(known.cursor == 0 && known.limit == 0);
  vm_stop(&vm);
}
END_TEST

static void collect_once(vm_thread *self) {
  tsr_status wanted = vm_collects ? TSR_OK : TSR_UNSUPPORTED;
  EXPECT(self, tsr_collect(self->m, NULL) == wanted);
  size_t objects = 0;
  EXPECT(self, tsr_enumerate_objects(self->m, ignore_object, &objects, NULL) == TSR_OK);
}

START_TEST(the_poll_of_native_code_stays_in_native_code) {
  testvm vm;
  vm_open(&vm, "8M");
  alarm(WATCHDOG_S);
  for (unsigned i = 0; i < 3; i++) {
    tsr_enter_native(vm.m);
    tsr_safepoint_slow(vm.m);
    vm_take_errors(&vm, NULL);
    tsr_enter_native(vm.m); /* reported, since it is in native code still */
    ck_assert_uint_eq(vm_take_errors(&vm, NULL), 1);
    tsr_leave_native(vm.m);
    ck_assert_uint_eq(vm_take_errors(&vm, NULL), 0);
  }
  vm_stop(&vm);
}
END_TEST

START_TEST(nobody_waits_for_native_code_that_polled) {
  testvm vm;
  vm_open(&vm, "8M");
  alarm(WATCHDOG_S);
  tsr_mutator *m = vm.m;
  tsr_enter_native(m);
  tsr_safepoint_slow(m);
  vm_take_errors(&vm, NULL);
  vm.m = NULL; /* vm_threads() has nothing to put into native code */
  vm_threads(&vm, 4, collect_once, NULL);
  vm.m = m;
  tsr_leave_native(m);
  ck_assert_uint_eq(vm_take_errors(&vm, NULL), 0);
  ck_assert_ptr_nonnull(vm_new(m, PAIR, 0, 0));
  vm_stop(&vm);
}
END_TEST

START_TEST(a_poll_that_nobody_requested_returns) {
  testvm vm;
  vm_open(&vm, "8M");
  alarm(WATCHDOG_S);
  for (unsigned i = 0; i < 3; i++) {
    tsr_safepoint_slow(vm.m);
    ck_assert_ptr_nonnull(vm_new(vm.m, PAIR, 0, 0));
  }
  tsr_enter_native(vm.m);
  tsr_leave_native(vm.m);
  ck_assert_uint_eq(vm_take_errors(&vm, NULL), 0);
  vm_threads(&vm, 2, collect_once, NULL);
  vm_stop(&vm);
}
END_TEST

/* ---- a VM that cannot be stopped ------------------------------------------------------------- */

START_TEST(a_vm_without_safepoints_is_enumerated_by_its_only_mutator) {
  testvm vm;
  vm_init_calm(&vm);
  vm.binding.does = 0;
  vm_start(&vm);
  alarm(WATCHDOG_S);
  ck_assert_ptr_nonnull(vm_new(vm.m, PAIR, 0, 0));
  ck_assert_uint_eq(vm_enumerate(vm.m).objects, 1);

  int identity;
  tsr_error error = {0};
  tsr_mutator *second = tsr_bind_mutator(vm.heap, &identity, &error);
  ck_assert_msg(second != NULL, "%s", error.message);
  ck_assert_ptr_nonnull(vm_new(second, PAIR, 0, 0));
  tsr_enter_native(second); /* even so: it might leave at any moment */
  size_t objects = 0;
  tsr_status status = tsr_enumerate_objects(vm.m, ignore_object, &objects, &error);
  ck_assert_msg(status == TSR_MISMATCH, "%s", tsr_status_name(status));
  ck_assert_int_eq(error.status, TSR_MISMATCH);
  ck_assert(error.message[0] != 0);
  ck_assert_uint_eq(objects, 0);

  tsr_leave_native(second);
  ck_assert_int_eq(tsr_unbind_mutator(second, NULL), TSR_OK);
  ck_assert_uint_eq(vm_enumerate(vm.m).objects, 2);
  vm_stop(&vm);
}
END_TEST

/* ---- disabled from within -------------------------------------------------------------------- */

static void disable_at_the_first_end(void *data, const tsr_collection *collection) {
  testvm *vm = data;
  vm->last_collection = *collection;
  if (atomic_fetch_add(&vm->ended, 1) == 0) tsr_collection_disable(vm->heap);
}

START_TEST(a_collection_that_disables_collection_is_the_last) {
  testvm vm;
  vm_init_calm(&vm);
  vm.binding.collection_ended = disable_at_the_first_end;
  vm_pin(&vm, "heap_max", "4M");
  vm_start(&vm);
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *list = tsr_local(vm.m, 0);
  for (;;) {
    tsr_ref pair = vm_new(vm.m, PAIR, 0, 0);
    if (pair == NULL) break;
    vm_set(vm.m, pair, 2, list->word);
    list->word = vm_word(pair);
  }
  ck_assert_uint_eq(vm.ended, 1);
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 1);
  tsr_error error = {0};
  ck_assert_int_eq(tsr_collect(vm.m, &error), TSR_BUSY);
  ck_assert_uint_eq(vm.ended, 1);
  list->word = 0;
  ck_assert_int_eq(tsr_collection_enable(vm.heap, NULL), TSR_OK);
  ck_assert_int_eq(tsr_collection_enable(vm.heap, NULL), TSR_BUSY);
  ck_assert_int_eq(tsr_collect(vm.m, NULL), TSR_OK);
  ck_assert_uint_eq(vm.ended, 2);
  ck_assert_ptr_nonnull(vm_new(vm.m, PAIR, 0, 0));
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, native_code_neither_collects_nor_enumerates);
  tcase_add_test(tests, native_code_does_not_allocate);
  tcase_add_test(tests, native_code_registers_no_pairs);
  tcase_add_test(tests, the_poll_of_native_code_stays_in_native_code);
  tcase_add_test(tests, nobody_waits_for_native_code_that_polled);
  tcase_add_test(tests, a_poll_that_nobody_requested_returns);
  if (vm_collects) tcase_add_test(tests, a_collection_that_disables_collection_is_the_last);
  /* Every plan that collects needs safepoints. */
  if (!vm_collects) {
    tcase_add_test(tests, a_vm_without_safepoints_is_enumerated_by_its_only_mutator);
  }
}

int main(void) {
  return vm_main("misuse", add);
}
