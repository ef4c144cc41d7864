/*
 * Memory at its limits: a maximum that free blocks take up, a run over thousands of scattered free
 * blocks, requests that no heap could serve, and a process with little address space.
 */
#include "testvm.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* A sanitizer makes each call many times slower, and needs address space of its own. */
#define TABLE_BYTES (VM_SANITIZED ? 6 * MIB : 30 * MIB)

static void *alloc_large(testvm *vm, size_t bytes, uint32_t request) {
  size_t size = tsr_round_size(bytes);
  void *memory = tsr_alloc_with(vm->m, size, TSR_OBJECT_ALIGN, 0, TSR_LARGE, request, NULL);
  if (memory != NULL) vm_init_filler(memory, size);
  return memory;
}

/* ---- a maximum that free blocks take up ------------------------------------------------------ */

/* A heap of 64 MiB whose largest possible object was made and freed again. */
static void open_after_a_large_object(testvm *vm) {
  vm_init_calm(vm);
  vm_alone(vm); /* it fills the heap to the brim */
  vm_pin(vm, "heap_max", "64M");
  vm_pin(vm, "heap_min", "64M");
  vm_start(vm);
  uint32_t quiet = TSR_ALLOC_NO_COLLECT | TSR_ALLOC_NO_OOM_CALLBACK;
  size_t bytes = 64 * MIB;
  while (alloc_large(vm, bytes, quiet) == NULL)
    bytes -= 16 * KIB;
  ck_assert_uint_ge(bytes, 60 * MIB);
  vm_collect(vm);
  ck_assert_uint_le(vm_stats(vm).used_bytes, MIB);
}

static void close_and_check(testvm *vm) {
  vm_collect(vm);
  tsr_stats stats = vm_stats(vm);
  ck_assert_uint_le(stats.committed_bytes, stats.heap_max_bytes);
  ck_assert_uint_le(stats.peak_committed_bytes, stats.heap_max_bytes);
  vm_garbage(vm->m, 4 * MIB);
  ck_assert_uint_eq(vm_take_ooms(vm, NULL), 0);
  vm_stop(vm);
}

START_TEST(handles_find_memory_that_only_free_blocks_hold) {
  testvm vm;
  open_after_a_large_object(&vm);
  tsr_error error = {0};
  size_t wanted = TABLE_BYTES / sizeof(tsr_slot);
  for (size_t i = 0; i < wanted; i++) {
    tsr_slot *handle = tsr_handle_new(vm.heap, FIXNUM(i), TSR_STRONG, &error);
    if (handle == NULL) ck_abort_msg("handle %zu of %zu: %s", i, wanted, error.message);
  }
  close_and_check(&vm);
}
END_TEST

START_TEST(local_handles_find_memory_that_only_free_blocks_hold) {
  testvm vm;
  open_after_a_large_object(&vm);
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  size_t wanted = TABLE_BYTES / sizeof(tsr_slot);
  for (size_t i = 0; i < wanted; i++) {
    if (tsr_local(vm.m, FIXNUM(i)) == NULL) ck_abort_msg("local handle %zu of %zu", i, wanted);
  }
  tsr_scope_close(vm.m, &scope);
  close_and_check(&vm);
}
END_TEST

START_TEST(root_ranges_find_memory_that_only_free_blocks_hold) {
  testvm vm;
  open_after_a_large_object(&vm);
  tsr_error error = {0};
  size_t wanted = VM_SANITIZED ? 40000 : 200000;
  tsr_slot *slots = calloc(wanted, sizeof *slots);
  ck_assert_ptr_nonnull(slots);
  for (size_t i = 0; i < wanted; i++) {
    tsr_status status = tsr_root_add(vm.heap, &slots[i], 1, TSR_ROOT_PRECISE, "slot", &error);
    if (status != TSR_OK) ck_abort_msg("range %zu of %zu: %s", i, wanted, error.message);
  }
  vm_collect(&vm);
  for (size_t i = wanted; i-- > 0;) {
    ck_assert_int_eq(tsr_root_remove(vm.heap, &slots[i], NULL), TSR_OK);
  }
  free(slots);
  close_and_check(&vm);
}
END_TEST

/* More mutators than could be had from what the large object left over. */
START_TEST(mutators_find_memory_that_only_free_blocks_hold) {
  enum { MUTATORS = 500 };
  static char identities[MUTATORS];
  static tsr_mutator *mutators[MUTATORS];
  testvm vm;
  open_after_a_large_object(&vm);
  tsr_error error = {0};
  tsr_enter_native(vm.m); /* of a thread's mutators only one is in managed code */
  for (size_t i = 0; i < MUTATORS; i++) {
    mutators[i] = tsr_bind_mutator(vm.heap, &identities[i], &error);
    ck_assert_msg(mutators[i] != NULL, "mutator %zu: %s", i, error.message);
    tsr_enter_native(mutators[i]);
  }
  for (size_t i = 0; i < MUTATORS; i++) {
    tsr_leave_native(mutators[i]);
    ck_assert_int_eq(tsr_unbind_mutator(mutators[i], NULL), TSR_OK);
  }
  tsr_leave_native(vm.m);
  close_and_check(&vm);
}
END_TEST

/* ---- scattered free blocks ------------------------------------------------------------------- */

#define SINGLES 40000u

static size_t mappings_of_this_process(void) {
  FILE *maps = fopen("/proc/self/maps", "r");
  if (maps == NULL) return 0;
  size_t lines = 0;
  for (int c = getc(maps); c != EOF; c = getc(maps))
    lines += c == '\n';
  fclose(maps);
  return lines;
}

/*
 * Every second of 40,000 one-block objects is freed; the run that is then asked for is longer than
 * the rest of the maximum, so the scattered free blocks have to be given up for it. The system
 * allows a process some 65,000 mappings, and the VM's own ones are among them.
 */
START_TEST(a_run_over_scattered_free_blocks_makes_few_mappings) {
  testvm vm;
  vm_init_calm(&vm);
  vm_pin(&vm, "heap_max", "1300M");
  vm_pin(&vm, "heap_min", "1300M");
  vm_alone(&vm);      /* the same, and counts mappings: threads have some too */
  vm_unverified(&vm); /* what is freed would be made inaccessible, in mappings of its own */
  vm_start(&vm);
  tsr_slot *keep = calloc(SINGLES, sizeof *keep);
  ck_assert_ptr_nonnull(keep);
  ck_assert_int_eq(tsr_root_add(vm.heap, keep, SINGLES, TSR_ROOT_PRECISE, "keep", NULL), TSR_OK);
  size_t before = mappings_of_this_process();
  for (size_t i = 0; i < SINGLES; i++) {
    void *object = alloc_large(&vm, 128, 0);
    if (object == NULL) ck_abort_msg("object %zu of %u", i, SINGLES);
    if (i % 2 == 1) keep[i].word = vm_word(object);
  }
  vm_collect(&vm);
  ck_assert_ptr_nonnull(alloc_large(&vm, 575 * MIB, 0));
  size_t after = mappings_of_this_process();
  ck_assert_msg(after < 2000, "%zu mappings, %zu before", after, before);
  for (size_t i = 0; i < SINGLES; i++) {
    if (keep[i].word != 0) ck_assert_uint_eq(vm_kind_of(vm_ref(keep[i].word)), BYTES);
  }
  for (size_t i = 0; i < 1000; i++)
    ck_assert_ptr_nonnull(alloc_large(&vm, 128, 0));
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 0);
  ck_assert_int_eq(tsr_root_remove(vm.heap, keep, NULL), TSR_OK);
  free(keep);
  vm_stop(&vm);
}
END_TEST

/* ---- requests that no heap could serve ------------------------------------------------------- */

START_TEST(an_impossible_size_without_collecting_calls_nobody_back) {
  static const size_t sizes[] = {4 * MIB, (size_t)1 << 30, (size_t)1 << 46, SIZE_MAX / 2 + 1};
  static const tsr_semantics placements[] = {TSR_DEFAULT, TSR_LARGE};
  testvm vm;
  vm_open(&vm, "4M");
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    for (size_t k = 0; k < 2; k++) {
      tsr_error error = {0};
      void *memory = tsr_alloc_with(vm.m, sizes[i], TSR_OBJECT_ALIGN, 0, placements[k],
                                    TSR_ALLOC_NO_COLLECT, &error);
      ck_assert_msg(memory == NULL, "%zu bytes in a heap of 4 MiB", sizes[i]);
      ck_assert_int_eq(error.status, TSR_OUT_OF_MEMORY);
      ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 0);
      ck_assert_uint_eq(vm.ended, 0);
      /* The same, allowed to collect: the VM hears of it, once. */
      error = (tsr_error){0};
      memory = tsr_alloc_with(vm.m, sizes[i], TSR_OBJECT_ALIGN, 0, placements[k], 0, &error);
      ck_assert_ptr_null(memory);
      ck_assert_int_eq(error.status, TSR_OUT_OF_MEMORY);
      tsr_oom oom = {0};
      ck_assert_uint_eq(vm_take_ooms(&vm, &oom), 1);
      ck_assert_int_eq(oom.kind, TSR_OOM_HEAP);
      ck_assert_uint_eq(oom.requested_bytes, sizes[i]);
      vm.ended = 0;
    }
  }
  ck_assert_ptr_nonnull(vm_new(vm.m, PAIR, 0, 0));
  vm_stop(&vm);
}
END_TEST

/* Possible sizes, until the heap is full: no callback either, and no collection. */
START_TEST(a_full_heap_without_collecting_calls_nobody_back) {
  testvm vm;
  vm_open_alone(&vm, "4M"); /* it fills the heap to the brim */
  size_t size = vm_size(BYTES, 20000);
  tsr_error error = {0};
  for (;;) {
    void *memory =
        tsr_alloc_with(vm.m, size, TSR_OBJECT_ALIGN, 0, TSR_DEFAULT, TSR_ALLOC_NO_COLLECT, &error);
    if (memory == NULL) break;
    vm_init_object(memory, BYTES, 0, 20000);
  }
  ck_assert_int_eq(error.status, TSR_OUT_OF_MEMORY);
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 0);
  ck_assert_uint_eq(vm.ended, 0);
  vm_stop(&vm);
}
END_TEST

/* ---- little address space -------------------------------------------------------------------- */

#define ADDRESS_SPACE_BYTES (250 * MIB)

/* What the child does. NULL, or what went wrong. */
static const char *use_a_default_heap(testvm *vm) {
  static tsr_error error;
  vm->heap = tsr_heap_create(&vm->binding, vm, vm->options, &error);
  if (vm->heap == NULL) return error.message;
  vm->m = tsr_bind_mutator(vm->heap, vm, NULL);
  if (vm->m == NULL) return "tsr_bind_mutator";
  tsr_slot *handle = tsr_handle_new(vm->heap, 0, TSR_STRONG, NULL);
  if (handle == NULL) return "tsr_handle_new";
  if (!vm_list(vm->m, handle, 10000, 0)) return "a list";
  tsr_status wanted = vm_collects ? TSR_OK : TSR_UNSUPPORTED;
  if (tsr_collect(vm->m, NULL) != wanted) return "tsr_collect";
  if (!vm_list_holds(vm->m, handle->word, 10000, 0)) return "the list's content";
  if (tsr_unbind_mutator(vm->m, NULL) != TSR_OK) return "tsr_unbind_mutator";
  return tsr_heap_destroy(vm->heap, NULL) == TSR_OK ? NULL : "tsr_heap_destroy";
}

static void child(testvm *vm) {
  struct rlimit limit = {.rlim_cur = ADDRESS_SPACE_BYTES, .rlim_max = ADDRESS_SPACE_BYTES};
  const char *failure = setrlimit(RLIMIT_AS, &limit) == 0 ? use_a_default_heap(vm) : "setrlimit";
  if (failure != NULL) fprintf(stderr, "with %zu bytes: %s\n", ADDRESS_SPACE_BYTES, failure);
  vm_drop(vm);
  _exit(failure == NULL ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* Nothing is pinned but the plan. */
START_TEST(the_default_options_fit_a_process_with_little_address_space) {
  testvm vm;
  vm_init_calm(&vm);
  tsr_options_destroy(vm.options);
  vm.options = tsr_options_create();
  ck_assert_ptr_nonnull(vm.options);
  vm_pin(&vm, "plan", vm_plan);
  fflush(NULL);
  pid_t pid = fork();
  ck_assert_int_ge(pid, 0);
  if (pid == 0) child(&vm);
  int status = 0;
  ck_assert_int_eq(waitpid(pid, &status, 0), pid);
  ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS);
  vm_drop(&vm);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, an_impossible_size_without_collecting_calls_nobody_back);
  tcase_add_test(tests, a_full_heap_without_collecting_calls_nobody_back);
  if (!VM_SANITIZED)
    tcase_add_test(tests, the_default_options_fit_a_process_with_little_address_space);
  if (!vm_collects) return;
  tcase_add_test(tests, handles_find_memory_that_only_free_blocks_hold);
  tcase_add_test(tests, local_handles_find_memory_that_only_free_blocks_hold);
  tcase_add_test(tests, root_ranges_find_memory_that_only_free_blocks_hold);
  tcase_add_test(tests, mutators_find_memory_that_only_free_blocks_hold);
  tcase_add_test(tests, a_run_over_scattered_free_blocks_makes_few_mappings);
}

int main(void) {
  return vm_main("pressure", add);
}
