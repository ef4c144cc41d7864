/*
 * A002-05: after a collection every cached pair of every mutator is zero before any mutator runs.
 *
 * The points of observation are free of races. Under Tessera's own safepoints each thread looks at
 * its own pairs when it comes out of the collection; under a VM's own resume_mutators all pairs of
 * all threads are looked at with the world still stopped (own_threads.c), and that function also
 * revokes the pairs that Tessera was never told of. A second reading is the memory itself: each
 * thread keeps a list that a buffer used twice would tear. A third is the verifier, which knows the
 * buffers of every registered pair; that it finds a pair which was not revoked is shown in
 * test_verify.c.
 */
#include "own_threads.h"

#include <sched.h>

#define THREADS 8
#define ROUNDS  5

static bool is_zero(const tsr_bump_pointer *pair) {
  return pair->cursor == 0 && pair->limit == 0;
}

static bool own_pairs_are_zero(const tsr_mutator *m) {
  for (unsigned k = 0; k < TSR_BUMP_POINTERS; k++) {
    if (!is_zero(&m->bump[k])) return false;
  }
  return true;
}

/* A pair in front of the list that `head` roots, allocated from `pair`. */
static bool push_pair(vm_thread *self, tsr_bump_pointer *pair, tsr_slot *head, uint64_t value) {
  void *memory = tsr_alloc_cached(self->m, pair, 24);
  if (memory == NULL) return false;
  vm_init_object(memory, PAIR, 0, 0);
  tsr_post_alloc_default(self->m, memory, 24);
  vm_set(self->m, (tsr_ref)memory, 1, FIXNUM(value));
  vm_set(self->m, (tsr_ref)memory, 2, head->word);
  head->word = vm_word(memory);
  return true;
}

/* The list counts down from n - 1 to 0. */
static bool counts_down(vm_thread *self, uint64_t head, uint64_t n) {
  while (n-- > 0) {
    if (head == 0 || vm_get(self->m, vm_ref(head), 1) != FIXNUM(n)) return false;
    head = vm_get(self->m, vm_ref(head), 2);
  }
  return head == 0;
}

static void take_turns(vm_thread *self) {
  pthread_barrier_t *barrier = self->arg;
  testvm *vm = self->vm;
  tsr_slot *head = tsr_local(self->m, 0);
  tsr_bump_pointer cached;
  uint64_t n = 0;
  EXPECT(self, tsr_register_bump_pointer(self->m, &cached, NULL) == TSR_OK);
  for (unsigned turn = 0; turn < ROUNDS * THREADS; turn++) {
    for (unsigned i = 0; i < 100; i++) {
      EXPECT(self, push_pair(self, i % 2 == 0 ? &cached : &self->m->bump[0], head, n++));
    }
    EXPECT(self, !is_zero(&cached) && !is_zero(&self->m->bump[0]));
    vm_wait(self->m, barrier);
    if (turn % THREADS == self->index) {
      tsr_status status = tsr_collect(self->m, NULL);
      EXPECT(self, status == (vm_collects ? TSR_OK : TSR_UNSUPPORTED));
      EXPECT(self, tsr_heap_verify(self->m, NULL) == TSR_OK);
    } else if (vm_collects) {
      while (vm->ended <= turn) {
        tsr_safepoint(self->m);
        sched_yield();
      }
      tsr_safepoint(self->m);
    }
    EXPECT(self, !vm_collects || (is_zero(&cached) && own_pairs_are_zero(self->m)));
    EXPECT(self, counts_down(self, head->word, n));
    vm_wait(self->m, barrier);
  }
  EXPECT(self, tsr_unregister_bump_pointer(self->m, &cached, NULL) == TSR_OK);
}

START_TEST(a002_05_each_thread_triggers_in_turn) {
  testvm vm;
  vm_open(&vm, "64M");
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, NULL, THREADS);
  vm_threads(&vm, THREADS, take_turns, &barrier);
  ck_assert_uint_eq(vm.ended, vm_collects ? ROUNDS * THREADS : 0);
  pthread_barrier_destroy(&barrier);
  vm_stop(&vm);
}
END_TEST

/* ---- a VM that resumes by itself ----------------------------------------------------------- */

typedef struct own_run {
  own_threads own;
  pthread_barrier_t barrier;
} own_run;

static void own_turns(vm_thread *self) {
  own_run *run = self->arg;
  tsr_slot *head = tsr_local(self->m, 0);
  tsr_bump_pointer registered;
  tsr_bump_pointer unregistered = {0, 0};
  uint64_t n = 0;
  EXPECT(self, tsr_register_bump_pointer(self->m, &registered, NULL) == TSR_OK);
  own_attach(&run->own, self->m, self->index);
  run->own.registered[self->index] = &registered;
  run->own.unregistered[self->index] = &unregistered;
  own_wait(&run->own, &run->barrier);
  for (unsigned turn = 0; turn < ROUNDS * THREADS; turn++) {
    for (unsigned i = 0; i < 50; i++) {
      EXPECT(self, push_pair(self, &registered, head, n++));
      void *memory = own_alloc(self->m, &unregistered, 24);
      EXPECT(self, memory != NULL);
      vm_init_object(memory, PAIR, 0, 0);
      vm_set(self->m, (tsr_ref)memory, 1, FIXNUM(n++));
      vm_set(self->m, (tsr_ref)memory, 2, head->word);
      head->word = vm_word(memory);
      own_safepoint(&run->own);
    }
    own_wait(&run->own, &run->barrier);
    if (turn % THREADS == self->index) {
      EXPECT(self, tsr_collect(self->m, NULL) == (vm_collects ? TSR_OK : TSR_UNSUPPORTED));
      EXPECT(self, !vm_collects || (is_zero(&registered) && is_zero(&unregistered)));
    }
    own_safepoint(&run->own);
    EXPECT(self, counts_down(self, head->word, n));
    own_wait(&run->own, &run->barrier);
  }
  EXPECT(self, tsr_unregister_bump_pointer(self->m, &registered, NULL) == TSR_OK);
  own_detach(&run->own, self->index);
}

START_TEST(a002_05_every_pair_at_the_vms_own_resume) {
  testvm vm;
  own_run run;
  vm_init_calm(&vm);
  vm_pin(&vm, "heap_max", "64M");
  own_install(&run.own, &vm);
  pthread_barrier_init(&run.barrier, NULL, THREADS);
  vm_start_heap(&vm);
  vm_threads(&vm, THREADS, own_turns, &run);
  ck_assert_uint_eq(run.own.pairs_left, 0);
  ck_assert_uint_eq(run.own.overlapping_stops, 0);
  ck_assert_uint_eq(run.own.stops, vm_collects ? ROUNDS * THREADS : 0);
  ck_assert_uint_eq(run.own.resumes, run.own.stops);
  pthread_barrier_destroy(&run.barrier);
  vm_stop(&vm);
  own_destroy(&run.own);
}
END_TEST

/* Several pairs that the VM hands in and Tessera was never told of. What they have left when the VM empties them is free again. */
#define PAIRS 4u

START_TEST(a002_05_pairs_that_only_the_vm_knows) {
  testvm vm;
  own_threads own;
  tsr_bump_pointer pairs[PAIRS] = {{0, 0}};
  tsr_slot *heads[PAIRS];
  uint64_t lengths[PAIRS] = {0}, random = 9;
  vm_init(&vm);
  vm_alone(&vm);
  vm_pin(&vm, "heap_max", "16M");
  own_install(&own, &vm);
  vm_start_heap(&vm);
  vm_thread self = {.vm = &vm, .m = tsr_bind_mutator(vm.heap, &vm, NULL)};
  ck_assert_ptr_nonnull(self.m);
  vm.m = self.m;
  own_attach(&own, self.m, 0);
  tsr_scope scope;
  tsr_scope_open(self.m, &scope);
  for (unsigned k = 0; k < PAIRS; k++) {
    heads[k] = tsr_local(self.m, 0);
    own.unregistered[k] = &pairs[k];
  }
  for (unsigned n = 0; n < (vm_collects ? 200000u : 20000u); n++) {
    unsigned k = (unsigned)(vm_random(&random) % PAIRS);
    ck_assert(push_pair(&self, &pairs[k], heads[k], lengths[k]++));
    if (n % 5000 == 0 && vm_collects) ck_assert_int_eq(tsr_collect(self.m, NULL), TSR_OK);
    if (n % 20000 == 0) ck_assert_int_eq(tsr_heap_verify(self.m, NULL), TSR_OK);
    if (lengths[k] < 3000) continue;
    ck_assert(counts_down(&self, heads[k]->word, lengths[k]));
    heads[k]->word = 0;
    lengths[k] = 0;
  }
  for (unsigned k = 0; k < PAIRS; k++) {
    heads[k]->word = 0;
    lengths[k] = 0;
  }
  for (unsigned n = 0; n < 4000 && vm_collects; n++) { /* of each vector two elements are left */
    void *memory = tsr_alloc_cached(self.m, &pairs[n % PAIRS], vm_size(VECTOR, 60));
    ck_assert_ptr_nonnull(memory);
    vm_init_object(memory, VECTOR, 0, 60);
    ck_assert_int_eq(tsr_shrink(self.m, (tsr_ref)memory, vm_size(VECTOR, 2), NULL), TSR_OK);
    vm_slot((tsr_ref)memory, 1)->word = 2;
    vm_slot((tsr_ref)memory, 2)->word = heads[0]->word;
    heads[0]->word = vm_word((tsr_ref)memory);
  }
  if (vm_collects) {
    ck_assert_int_eq(tsr_collect(self.m, NULL), TSR_OK);
    ck_assert_int_eq(tsr_collect(self.m, NULL), TSR_OK);
    ck_assert_uint_le(vm_stats(&vm).live_bytes_after_last, MIB);
  }
  heads[0]->word = 0;
  for (unsigned n = 0; n < 100 && vm_collects; n++) {
    for (unsigned k = 0; k < PAIRS; k++)
      ck_assert(push_pair(&self, &pairs[k], heads[k], lengths[k]++));
    ck_assert_int_eq(tsr_collect(self.m, NULL), TSR_OK);
    ck_assert_uint_le(vm_stats(&vm).used_bytes, MIB);
  }
  tsr_scope_close(self.m, &scope);
  for (unsigned k = 0; k < PAIRS; k++)
    own.unregistered[k] = NULL;
  ck_assert_int_eq(own_unbind(&own, self.m, 0), TSR_OK);
  vm.m = NULL;
  vm_stop(&vm);
  own_destroy(&own);
}
END_TEST

/* A cycle has ended and little is swept, but blocks in which somebody has asked for an object. A pair that only the VM knows
   has its buffers there. */
#define SPREAD 9000u
#define OWN    40u

START_TEST(a002_05_pairs_in_blocks_that_were_swept_ahead) {
  static uint64_t spread[SPREAD];
  testvm vm;
  own_threads own;
  tsr_bump_pointer pair = {0, 0};
  vm_init_calm(&vm);
  vm_alone(&vm);
  vm_pin(&vm, "heap_max", "64M");
  vm_pin(&vm, "heap_min", "16M");
  vm_pin(&vm, "pause_goal", "60s"); /* marking takes one step */
  vm.binding.needs = TSR_NEEDS_INTERIOR_POINTERS;
  own_install(&own, &vm);
  tsr_error error = {0};
  vm.heap = tsr_heap_create(&vm.binding, &vm, vm.options, &error);
  if (vm.heap == NULL) {
    ck_assert_int_eq(error.status, TSR_MISMATCH); /* the plan cannot */
    vm_drop(&vm);
    own_destroy(&own);
    return;
  }
  vm_thread self = {.vm = &vm, .m = tsr_bind_mutator(vm.heap, &vm, NULL)};
  ck_assert_ptr_nonnull(self.m);
  vm.m = self.m;
  own_attach(&own, self.m, 0);
  own.unregistered[0] = &pair;
  tsr_scope scope;
  tsr_scope_open(self.m, &scope);
  tsr_slot *head = tsr_local(self.m, 0), *list = tsr_local(self.m, 0);
  for (unsigned i = 0; i < SPREAD; i++) {
    tsr_ref object = vm_new(self.m, VECTOR, 0, 28);
    vm_set(self.m, object, 2, list->word);
    list->word = vm_word(object);
    spread[i] = list->word;
    vm_garbage(self.m, 500);
  }
  uint64_t cycles = vm_stats(&vm).cycles;
  while (vm_is_incremental() && vm_stats(&vm).cycles == cycles)
    vm_garbage(self.m, KIB);
  if (vm_is_still()) {
    for (unsigned i = SPREAD; i-- > 0;)
      ck_assert_ptr_eq(tsr_object_of(self.m, vm_ref(spread[i]), NULL), vm_ref(spread[i]));
  }
  for (unsigned n = 0; n < OWN; n++)
    ck_assert(push_pair(&self, &pair, head, n));
  ck_assert_int_eq(tsr_heap_verify(self.m, NULL), TSR_OK);
  for (unsigned round = 0; round < 2; round++) {
    ck_assert_int_eq(tsr_collect(self.m, NULL), TSR_OK);
    vm_garbage(self.m, 4 * MIB);
    ck_assert(counts_down(&self, head->word, OWN));
  }
  tsr_scope_close(self.m, &scope);
  own.unregistered[0] = NULL;
  ck_assert_int_eq(own_unbind(&own, self.m, 0), TSR_OK);
  vm.m = NULL;
  vm_stop(&vm);
  own_destroy(&own);
}
END_TEST

/* Collections that nobody asked for: the thread that runs out of memory triggers. */
static void allocate_much(vm_thread *self) {
  tsr_slot *head = tsr_local(self->m, 0);
  tsr_bump_pointer cached;
  EXPECT(self, tsr_register_bump_pointer(self->m, &cached, NULL) == TSR_OK);
  unsigned lists = vm_collects ? (vm_stress == NULL ? 40 : 10) : 1;
  for (unsigned list = 0; list < lists; list++) {
    head->word = 0;
    for (uint64_t n = 0; n < 5000; n++) {
      EXPECT(self, push_pair(self, n % 3 == 0 ? &self->m->bump[0] : &cached, head, n));
      tsr_safepoint(self->m);
    }
    EXPECT(self, counts_down(self, head->word, 5000));
  }
  EXPECT(self, tsr_unregister_bump_pointer(self->m, &cached, NULL) == TSR_OK);
}

START_TEST(a002_05_collections_from_misses) {
  testvm vm;
  vm_init(&vm);
  vm_pin(&vm, "heap_max", "8M");
  vm_start(&vm);
  vm_threads(&vm, THREADS, allocate_much, NULL);
  ck_assert(!vm_collects || vm.ended > 1);
  vm_stop(&vm);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, a002_05_each_thread_triggers_in_turn);
  tcase_add_test(tests, a002_05_every_pair_at_the_vms_own_resume);
  tcase_add_test(tests, a002_05_collections_from_misses);
  if (vm_wants_threads()) return;
  tcase_add_test(tests, a002_05_pairs_that_only_the_vm_knows);
  if (vm_collects) tcase_add_test(tests, a002_05_pairs_in_blocks_that_were_swept_ahead);
}

int main(void) {
  return vm_main("revoke", add);
}
