/*
 * A VM that stops, resumes and blocks its threads by itself (own_threads.c), alone and with many
 * threads; and bindings that give only a part of the three callbacks.
 */
#include "own_threads.h"

START_TEST(one_thread) {
  testvm vm;
  own_threads own;
  vm_init(&vm);
  own_install(&own, &vm);
  vm_pin(&vm, "heap_max", "8M");
  vm_start(&vm);
  own_attach(&own, vm.m, 0);
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *list = tsr_local(vm.m, 0);
  ck_assert(vm_list(vm.m, list, 1000, 0));
  vm_garbage(vm.m, vm_collects ? 40 * MIB : 4 * MIB);
  vm_collect(&vm);
  ck_assert(vm_list_holds(vm.m, list->word, 1000, 0));
  ck_assert_uint_eq(own.stops, own.resumes);
  ck_assert_uint_ge(own.stops, vm.ended);
  ck_assert(!vm_collects || vm.ended > 1);
  ck_assert_uint_eq(own.pairs_left, 0);
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
  own_destroy(&own);
}
END_TEST

/* What a VM copied of a pair is emptied at each resume, so the pair is empty too: else it would hand out again what was
   taken from the copy. */
START_TEST(a_request_that_is_used_leaves_no_pair) {
  testvm vm;
  own_threads own;
  vm_init_calm(&vm);
  vm_alone(&vm);
  own_install(&own, &vm);
  vm_start(&vm);
  own_attach(&own, vm.m, 0);
  tsr_memory_request *r = tsr_request_memory(vm.heap, 64 * KIB, 64, NULL);
  ck_assert_ptr_nonnull(r);
  vm_init_filler(tsr_alloc_default(vm.m, 32), 32);
  ck_assert_int_eq(tsr_request_use(r, vm.m, NULL), TSR_OK);
  ck_assert_uint_eq(own.resumes, 1);
  ck_assert_uint_eq(own.pairs_left, 0);
  tsr_request_end(r);
  vm_stop(&vm);
  own_destroy(&own);
}
END_TEST

typedef struct shared {
  own_threads own;
  pthread_barrier_t bound, done;
} shared;

static void allocate_and_poll(vm_thread *self) {
  shared *s = self->arg;
  tsr_slot *list = tsr_local(self->m, 0);
  pthread_barrier_wait(&s->bound);
  own_attach(&s->own, self->m, self->index);
  unsigned rounds = vm_collects && vm_stress == NULL ? 100 : 2;
  size_t length = vm_stress != NULL ? 100 : 1000;
  for (unsigned i = 0; i < rounds; i++) {
    EXPECT(self, vm_list(self->m, list, length, i));
    own_safepoint(&s->own);
    EXPECT(self, vm_list_holds(self->m, list->word, length, i));
    if (i % 10 == self->index) {
      EXPECT(self, tsr_collect(self->m, NULL) == (vm_collects ? TSR_OK : TSR_UNSUPPORTED));
    }
    if (i % 7 == 0) {
      own_enter_native(&s->own);
      own_leave_native(&s->own);
    }
    EXPECT(self, vm_list_holds(self->m, list->word, length, i));
  }
  own_detach(&s->own, self->index);
  pthread_barrier_wait(&s->done); /* nobody collects from here on: unbinding needs no stop */
}

START_TEST(many_threads) {
  testvm vm;
  shared s;
  vm_init(&vm);
  own_install(&s.own, &vm);
  vm_pin(&vm, "heap_max", "8M");
  pthread_barrier_init(&s.bound, NULL, 6);
  pthread_barrier_init(&s.done, NULL, 6);
  vm_start_heap(&vm);
  vm_threads(&vm, 6, allocate_and_poll, &s);
  ck_assert_uint_eq(s.own.pairs_left, 0);
  ck_assert_uint_eq(s.own.overlapping_stops, 0);
  ck_assert_uint_eq(s.own.stops, s.own.resumes);
  ck_assert(!vm_collects || vm.ended > 1);
  pthread_barrier_destroy(&s.bound);
  pthread_barrier_destroy(&s.done);
  vm_stop(&vm);
  own_destroy(&s.own);
}
END_TEST

START_TEST(two_of_three_are_refused) {
  for (unsigned given = 1; given < 7; given++) {
    testvm vm;
    own_threads own;
    vm_init_calm(&vm);
    own_install(&own, &vm);
    if ((given & 1) == 0) vm.binding.stop_all_mutators = NULL;
    if ((given & 2) == 0) vm.binding.resume_mutators = NULL;
    if ((given & 4) == 0) vm.binding.block_for_gc = NULL;
    tsr_error error = vm_refused(&vm);
    ck_assert_msg(vm_says(error.message, "stop_all_mutators") ||
                      vm_says(error.message, "resume_mutators") ||
                      vm_says(error.message, "block_for_gc"),
                  "%s", error.message);
    own_destroy(&own);
  }
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, one_thread);
  tcase_add_test(tests, a_request_that_is_used_leaves_no_pair);
  tcase_add_test(tests, many_threads);
  tcase_add_test(tests, two_of_three_are_refused);
}

int main(void) {
  return vm_main("own threads", add);
}
