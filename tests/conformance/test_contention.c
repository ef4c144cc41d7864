/*
 * Many threads at the allocator's and the collector's doors at once.
 *
 * Each test lets threads compete for one thing: the last free buffer, the heap's growth, the claim
 * of the world, the tables of roots, the switch that disables collection. Nothing is live in most
 * of them, so whoever is told "out of memory" is told something wrong.
 */
#include "own_threads.h"

#include <sched.h>
#include <time.h>

/* One object of `size` bytes in all, garbage at once; false: out of memory. */
static bool make_garbage(tsr_mutator *m, size_t size) {
  void *memory = tsr_alloc(m, size, TSR_OBJECT_ALIGN, 0, TSR_DEFAULT);
  if (memory == NULL) return false;
  vm_init_filler(memory, size);
  return tsr_post_alloc(m, (tsr_ref)memory, size, TSR_DEFAULT) == TSR_OK;
}

/* Threads that allocate garbage in step, and how often one of them was refused. */
typedef struct race {
  own_threads own;
  void (*stop)(void *vm, tsr_heap *heap, tsr_mutator *self); /* the VM's real stop */
  pthread_barrier_t begin, end;
  atomic_uint refused;
} race;

static void race_open(race *r, unsigned threads) {
  pthread_barrier_init(&r->begin, NULL, threads);
  pthread_barrier_init(&r->end, NULL, threads);
  r->refused = 0;
}

static void race_close(race *r) {
  pthread_barrier_destroy(&r->begin);
  pthread_barrier_destroy(&r->end);
}

/* ---- a VM whose threads are parked late ------------------------------------------------------ */

/* The VM reaches its own lock late: until then block_for_gc finds nothing to wait for. */
static void stop_after_a_while(void *data, tsr_heap *heap, tsr_mutator *self) {
  race *r = ((testvm *)data)->extra;
  nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
  r->stop(data, heap, self);
}

static void allocate_in_own_threads(vm_thread *self) {
  race *r = self->arg;
  pthread_barrier_wait(&r->begin);
  own_attach(&r->own, self->m, self->index);
  for (unsigned i = 0; i < 30000; i++) {
    if (!make_garbage(self->m, 2016)) r->refused++;
    own_safepoint(&r->own);
  }
  own_detach(&r->own, self->index);
  pthread_barrier_wait(&r->end); /* nobody collects from here on: unbinding needs no stop */
}

START_TEST(a_slow_stop_costs_nobody_memory) {
  testvm vm;
  race r;
  vm_init_calm(&vm);
  own_install(&r.own, &vm);
  vm.extra = &r; /* own_threads is its first member */
  r.stop = vm.binding.stop_all_mutators;
  vm.binding.stop_all_mutators = stop_after_a_while;
  vm_pin(&vm, "heap_max", "4M");
  race_open(&r, 2);
  vm_start_heap(&vm);
  vm_threads(&vm, 2, allocate_in_own_threads, &r);
  ck_assert_uint_eq(r.refused, 0);
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 0);
  ck_assert_uint_eq(r.own.overlapping_stops, 0);
  ck_assert_uint_eq(r.own.pairs_left, 0);
  ck_assert_uint_eq(r.own.stops, r.own.resumes);
  ck_assert_uint_gt(vm.ended, 10);
  race_close(&r);
  vm_stop(&vm);
  own_destroy(&r.own);
}
END_TEST

/* ---- growth without a collection ------------------------------------------------------------- */

#define GROWERS 6u

static void allocate_while_disabled(vm_thread *self) {
  race *r = self->arg;
  vm_wait(self->m, &r->begin);
  for (unsigned i = 0; i < 300; i++) {
    if (!make_garbage(self->m, 8000)) r->refused++;
    tsr_safepoint(self->m);
  }
}

/* Whoever loses a race for the heap's growth finds that it has grown. */
START_TEST(all_grow_a_heap_together_while_collection_is_disabled) {
  for (unsigned round = 0; round < (VM_SANITIZED ? 20 : 60); round++) {
    testvm vm;
    race r;
    vm_init_calm(&vm);
    vm_pin(&vm, "heap_max", "256M");
    vm_pin(&vm, "heap_min", "1M");
    vm_start_heap(&vm);
    tsr_collection_disable(vm.heap);
    race_open(&r, GROWERS);
    vm_threads(&vm, GROWERS, allocate_while_disabled, &r);
    race_close(&r);
    tsr_oom oom = {0};
    unsigned ooms = vm_take_ooms(&vm, &oom);
    ck_assert_msg(r.refused == 0 && ooms == 0,
                  "round %u: %u refused, the last with %zu of %zu bytes committed", round,
                  r.refused, oom.committed_bytes, oom.heap_max_bytes);
    ck_assert_uint_eq(vm.ended, 0);
    ck_assert_int_eq(tsr_collection_enable(vm.heap, NULL), TSR_OK);
    vm_stop(&vm);
  }
}
END_TEST

/* ---- more threads than blocks ---------------------------------------------------------------- */

#define CROWD_REQUESTS 32000u

static const unsigned crowds[] = {16, 48};

typedef struct crowd {
  unsigned threads;
  pthread_barrier_t begin;
  atomic_uint refused;
} crowd;

static void allocate_in_a_crowd(vm_thread *self) {
  crowd *c = self->arg;
  vm_wait(self->m, &c->begin);
  for (unsigned i = 0; i < CROWD_REQUESTS / c->threads; i++) {
    if (!make_garbage(self->m, 4000)) c->refused++;
    tsr_safepoint(self->m);
  }
}

/* Others may take what a collection freed, again and again; that is no lack of memory. */
START_TEST(a_crowd_in_the_smallest_heap_is_served) {
  testvm vm;
  crowd c = {.threads = crowds[_i]};
  vm_init_calm(&vm);
  vm_pin(&vm, "heap_max", "1M");
  vm_alone(&vm); /* it fills the heap with buffers */
  vm_start_heap(&vm);
  pthread_barrier_init(&c.begin, NULL, c.threads);
  vm_threads(&vm, c.threads, allocate_in_a_crowd, &c);
  pthread_barrier_destroy(&c.begin);
  ck_assert_msg(c.refused == 0, "%u threads: %u of %u requests refused with nothing live",
                c.threads, c.refused, CROWD_REQUESTS);
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 0);
  ck_assert_uint_gt(vm.ended, 10);
  vm_stop(&vm);
}
END_TEST

/* ---- roots from a thread that has no mutator ------------------------------------------------- */

#define ROOTS 500u

typedef struct stranger {
  pthread_t id;
  tsr_heap *heap;
  atomic_bool done;
  const char *failure; /* read after the thread was joined */
  /* Registered while they hold nothing but zero. */
  tsr_slot ranges[ROOTS][2];
  tsr_slot frames[ROOTS][2];
  tsr_slot *tops[ROOTS];
  tsr_native_stack stacks[ROOTS];
  tsr_slot *handles[ROOTS];
} stranger;

static const char *add_roots(stranger *s) {
  for (size_t i = 0; i < ROOTS; i++) {
    /* From both ends, so that the sorted table moves. */
    tsr_slot *first = s->ranges[i % 2 == 0 ? i : ROOTS - i];
    if (tsr_root_add(s->heap, first, 2, TSR_ROOT_PRECISE, "stranger", NULL) != TSR_OK) {
      return "tsr_root_add";
    }
    s->tops[i] = s->frames[i] + i % 3;
    s->stacks[i] = (tsr_native_stack){.base = s->frames[i], .top = &s->tops[i]};
    if (tsr_stack_add(s->heap, &s->stacks[i], NULL) != TSR_OK) return "tsr_stack_add";
    s->handles[i] = tsr_handle_new(s->heap, FIXNUM(i), TSR_STRONG, NULL);
    if (s->handles[i] == NULL) return "tsr_handle_new";
  }
  return NULL;
}

static const char *remove_roots(stranger *s) {
  for (size_t i = ROOTS; i-- > 0;) {
    tsr_slot *first = s->ranges[i % 2 == 0 ? i : ROOTS - i];
    if (s->handles[i]->word != FIXNUM(i)) return "a handle's word";
    if (tsr_handle_free(s->heap, s->handles[i], NULL) != TSR_OK) return "tsr_handle_free";
    if (tsr_stack_remove(s->heap, &s->stacks[i], NULL) != TSR_OK) return "tsr_stack_remove";
    if (tsr_root_remove(s->heap, first, NULL) != TSR_OK) return "tsr_root_remove";
    if (tsr_root_remove(s->heap, first, NULL) != TSR_INVALID_ARGUMENT) return "removed twice";
  }
  return NULL;
}

static void *stranger_main(void *arg) {
  stranger *s = arg;
  for (unsigned round = 0; round < 40 && s->failure == NULL; round++) {
    s->failure = add_roots(s);
    if (s->failure == NULL) s->failure = remove_roots(s);
  }
  atomic_store(&s->done, true);
  return NULL;
}

START_TEST(an_unbound_thread_adds_and_removes_roots_while_others_collect) {
  testvm vm;
  vm_open(&vm, "8M");
  stranger *s = calloc(1, sizeof *s);
  ck_assert_ptr_nonnull(s);
  s->heap = vm.heap;
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *list = tsr_local(vm.m, 0);
  ck_assert(vm_list(vm.m, list, 200, 0));
  pthread_create(&s->id, NULL, stranger_main, s);
  while (!atomic_load(&s->done)) {
    vm_collect(&vm);
    ck_assert(vm_list_holds(vm.m, list->word, 200, 0));
  }
  pthread_join(s->id, NULL);
  ck_assert_msg(s->failure == NULL, "%s", s->failure);
  free(s);
  vm_collect(&vm);
  ck_assert(vm_list_holds(vm.m, list->word, 200, 0));
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}
END_TEST

/* ---- disabling ------------------------------------------------------------------------------- */

#define BUSY_THREADS 4u

typedef struct switching {
  atomic_bool done;
  atomic_ullong requests[BUSY_THREADS];
} switching;

static unsigned long long requests_of_all(switching *s) {
  unsigned long long all = 0;
  for (unsigned i = 0; i < BUSY_THREADS; i++)
    all += atomic_load(&s->requests[i]);
  return all;
}

static void allocate_without_end(switching *s, vm_thread *self, unsigned index) {
  while (!atomic_load(&s->done)) {
    /* While collection is disabled the heap may fill up: then there is nothing to do but wait. */
    if (!make_garbage(self->m, 1000)) sched_yield();
    atomic_fetch_add(&s->requests[index], 1);
    tsr_safepoint(self->m);
  }
}

/* Returns when no collection is on: binding waits for the end of one. */
static bool wait_for_a_running_collection(testvm *vm) {
  int identity;
  tsr_mutator *m = tsr_bind_mutator(vm->heap, &identity, NULL);
  return m != NULL && tsr_unbind_mutator(m, NULL) == TSR_OK;
}

static const char *switch_off_and_on(testvm *vm, switching *s) {
  for (unsigned round = 0; round < 20; round++) {
    tsr_collection_disable(vm->heap);
    if (!wait_for_a_running_collection(vm)) return "tsr_bind_mutator";
    unsigned before = vm->ended;
    for (unsigned long long until = requests_of_all(s) + 8000; requests_of_all(s) < until;)
      sched_yield();
    if (vm->ended != before) return "a collection was carried out while disabled";
    if (tsr_collection_enable(vm->heap, NULL) != TSR_OK) return "tsr_collection_enable";
    for (unsigned long long until = requests_of_all(s) + 8000; requests_of_all(s) < until;)
      sched_yield();
  }
  return NULL;
}

/* Thread 0 turns the switch, from native code; the others allocate. */
static void switch_or_allocate(vm_thread *self) {
  switching *s = self->arg;
  if (self->index > 0) {
    allocate_without_end(s, self, self->index - 1);
    return;
  }
  tsr_enter_native(self->m);
  const char *failure = switch_off_and_on(self->vm, s);
  tsr_leave_native(self->m);
  atomic_store(&s->done, true);
  if (failure != NULL) vm_expect_failed(self, __FILE__, __LINE__, failure);
}

START_TEST(nothing_collects_once_collection_is_disabled) {
  testvm vm;
  switching s = {0};
  vm_init_calm(&vm);
  vm_pin(&vm, "heap_max", "48M");
  vm_pin(&vm, "heap_min", "1M");
  vm_start_heap(&vm);
  vm_threads(&vm, 1 + BUSY_THREADS, switch_or_allocate, &s);
  ck_assert_uint_gt(vm.ended, 0);
  vm_take_ooms(&vm, NULL);
  vm_stop(&vm);
}
END_TEST

/* ---- requests at once ------------------------------------------------------------------------ */

#define REQUESTERS 8u
#define REQUESTS   200u

static uint64_t collections_of(testvm *vm) {
  tsr_stats stats = {.size = sizeof stats};
  return tsr_heap_stats(vm->heap, &stats, NULL) == TSR_OK ? stats.collections : UINT64_MAX;
}

static void request_collections(vm_thread *self) {
  race *r = self->arg;
  tsr_slot *list = tsr_local(self->m, 0);
  bool built = vm_list(self->m, list, 30, self->index);
  vm_wait(self->m, &r->begin);
  EXPECT(self, built);
  for (unsigned i = 0; i < REQUESTS; i++) {
    uint64_t before = collections_of(self->vm);
    EXPECT(self, tsr_collect(self->m, NULL) == TSR_OK);
    EXPECT(self, collections_of(self->vm) >= before + 1);
    EXPECT(self, vm_list_holds(self->m, list->word, 30, self->index));
  }
}

/* A request is served by a collection that begins after it; one may serve several. */
START_TEST(simultaneous_requests_are_all_served) {
  testvm vm;
  race r;
  vm_init_calm(&vm);
  vm_pin(&vm, "heap_max", "8M");
  vm_start_heap(&vm);
  race_open(&r, REQUESTERS);
  vm_threads(&vm, REQUESTERS, request_collections, &r);
  race_close(&r);
  uint64_t collections = collections_of(&vm);
  ck_assert_uint_ge(collections, REQUESTS);
  ck_assert_uint_le(collections, REQUESTERS * REQUESTS);
  ck_assert_uint_eq(collections, vm.ended);
  vm_stop(&vm);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, all_grow_a_heap_together_while_collection_is_disabled);
  if (!vm_collects) return;
  tcase_add_test(tests, a_slow_stop_costs_nobody_memory);
  tcase_add_loop_test(tests, a_crowd_in_the_smallest_heap_is_served, 0,
                      sizeof crowds / sizeof crowds[0]);
  tcase_add_test(tests, an_unbound_thread_adds_and_removes_roots_while_others_collect);
  tcase_add_test(tests, nothing_collects_once_collection_is_disabled);
  tcase_add_test(tests, simultaneous_requests_are_all_served);
}

int main(void) {
  return vm_main("contention", add);
}
