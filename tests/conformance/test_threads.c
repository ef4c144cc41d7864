/*
 * Mutators in threads under Tessera's own safepoints: binding and unbinding, native code, errors.
 *
 * "Waits while a collection is on" is observed from inside a collection: the root callback, with the
 * world stopped, lets another thread try to come in and sees for a while that it does not.
 */
#include "testvm.h"

#include <sched.h>
#include <time.h>

static void short_sleep(void) {
  struct timespec wait = {0, 20 * 1000 * 1000};
  nanosleep(&wait, NULL);
}

/* ---- coming and going ---------------------------------------------------------------------- */

static void build_and_check(vm_thread *self) {
  tsr_slot *list = tsr_local(self->m, 0);
  tsr_slot *tree = tsr_local(self->m, 0);
  unsigned rounds = vm_collects && vm_stress == NULL ? 20 : 1;
  size_t length = vm_stress != NULL ? 200 : 3000;
  for (unsigned i = 0; i < rounds; i++) {
    EXPECT(self, vm_list(self->m, list, length, self->index));
    EXPECT(self, vm_tree(self->m, tree, vm_stress != NULL ? 5 : 9));
    EXPECT(self, vm_list_holds(self->m, list->word, length, self->index));
    EXPECT(self, vm_tree_holds(self->m, tree->word, vm_stress != NULL ? 5 : 9));
    tsr_safepoint(self->m);
  }
}

START_TEST(threads_allocate_together) {
  testvm vm;
  vm_init(&vm);
  vm_pin(&vm, "heap_max", vm_collects ? "8M" : "16M");
  vm_start(&vm);
  vm_threads(&vm, 8, build_and_check, NULL);
  ck_assert(!vm_collects || vm_stress != NULL || vm.ended > 0);
  vm_alone(&vm); /* counts mutators */
  ck_assert_uint_eq(vm_stats(&vm).mutators, 1);
  vm_collect(&vm);
  if (vm_collects) ck_assert_uint_eq(vm_enumerate(vm.m).objects, 0);
  vm_stop(&vm);
}
END_TEST

/* Each thread binds a second mutator again and again while the others allocate and collect. */
static void bind_again(vm_thread *self) {
  EXPECT(self, self->m->vm_thread == self && self->m->heap == self->vm->heap);
  unsigned rounds = vm_collects && vm_stress == NULL ? 200 : 20;
  for (unsigned i = 0; i < rounds; i++) {
    tsr_slot *handle = tsr_handle_new(self->vm->heap, 0, TSR_STRONG, NULL);
    EXPECT(self, handle != NULL);
    EXPECT(self, vm_list(self->m, handle, 50, i));
    tsr_enter_native(self->m);
    tsr_mutator storage;
    tsr_mutator *m = &storage;
    if (i % 2 == 0) {
      EXPECT(self, tsr_bind_mutator_in(self->vm->heap, m, &storage, NULL) == TSR_OK);
    } else {
      m = tsr_bind_mutator(self->vm->heap, &storage, NULL);
      EXPECT(self, m != NULL);
    }
    tsr_scope scope;
    tsr_scope_open(m, &scope);
    tsr_slot *list = tsr_local(m, 0);
    EXPECT(self, vm_list(m, list, 100, i));
    EXPECT(self, vm_list_holds(m, list->word, 100, i));
    if (i % 20 == 0) {
      EXPECT(self, tsr_collect(m, NULL) == (vm_collects ? TSR_OK : TSR_UNSUPPORTED));
    }
    EXPECT(self, vm_list_holds(m, list->word, 100, i));
    tsr_scope_close(m, &scope);
    EXPECT(self, tsr_unbind_mutator(m, NULL) == TSR_OK);
    tsr_leave_native(self->m);
    EXPECT(self, vm_list_holds(self->m, handle->word, 50, i));
    EXPECT(self, tsr_handle_free(self->vm->heap, handle, NULL) == TSR_OK);
  }
}

START_TEST(mutators_come_and_go_during_collections) {
  testvm vm;
  vm_init(&vm);
  vm_start(&vm);
  vm_threads(&vm, 6, bind_again, NULL);
  vm_alone(&vm); /* counts mutators */
  ck_assert_uint_eq(vm_stats(&vm).mutators, 1);
  vm_stop(&vm);
}
END_TEST

/* Half of the threads do nothing but collect, one after the other without a pause between; the other
   half bind, allocate and unbind. Nobody may come in between the stop and the resume. */
static void collect_or_bind(vm_thread *self) {
  for (unsigned i = 0; i < 300; i++) {
    if (self->index % 2 == 0) {
      EXPECT(self, tsr_collect(self->m, NULL) == (vm_collects ? TSR_OK : TSR_UNSUPPORTED));
      continue;
    }
    tsr_enter_native(self->m);
    tsr_mutator storage;
    EXPECT(self, tsr_bind_mutator_in(self->vm->heap, &storage, &storage, NULL) == TSR_OK);
    tsr_scope scope;
    tsr_scope_open(&storage, &scope);
    tsr_slot *list = tsr_local(&storage, 0);
    bool ok = vm_list(&storage, list, 20, i) && vm_list_holds(&storage, list->word, 20, i);
    tsr_scope_close(&storage, &scope);
    ok = tsr_unbind_mutator(&storage, NULL) == TSR_OK && ok;
    tsr_leave_native(self->m);
    EXPECT(self, ok);
  }
}

/* World stopped: the number of mutators stands still. */
static void watch_mutators(testvm *vm, tsr_visitor *visitor) {
  (void)visitor;
  struct timespec wait = {0, 200 * 1000};
  tsr_stats before = {.size = sizeof before};
  tsr_stats after = {.size = sizeof after};
  tsr_heap_stats(vm->heap, &before, NULL);
  nanosleep(&wait, NULL);
  tsr_heap_stats(vm->heap, &after, NULL);
  if (before.mutators != after.mutators) ++*(unsigned *)vm->extra;
}

START_TEST(mutators_come_between_two_collections) {
  testvm vm;
  unsigned intruders = 0;
  vm_init_calm(&vm);
  vm.extra = &intruders;
  vm.on_heap_roots = watch_mutators;
  vm_pin(&vm, "heap_max", vm_collects ? "16M" : "128M");
  vm_start(&vm);
  vm_threads(&vm, 8, collect_or_bind, NULL);
  ck_assert_msg(intruders == 0, "the mutators changed during %u collections", intruders);
  vm_alone(&vm); /* counts mutators */
  ck_assert_uint_eq(vm_stats(&vm).mutators, 1);
  vm_stop(&vm);
}
END_TEST

START_TEST(an_identity_is_bound_once) {
  testvm vm;
  vm_open_alone(&vm, "16M"); /* counts mutators */
  tsr_error error = {0};
  tsr_mutator storage;
  int other;
  ck_assert_ptr_null(tsr_bind_mutator(vm.heap, &vm, &error));
  ck_assert_int_eq(error.status, TSR_BUSY);
  ck_assert(error.message[0] != 0);
  ck_assert_int_eq(tsr_bind_mutator_in(vm.heap, &storage, &vm, &error), TSR_BUSY);
  ck_assert_ptr_null(tsr_bind_mutator(vm.heap, NULL, &error));
  ck_assert_int_eq(error.status, TSR_INVALID_ARGUMENT);
  ck_assert_uint_eq(vm_stats(&vm).mutators, 1);
  ck_assert_int_eq(tsr_bind_mutator_in(vm.heap, &storage, &other, &error), TSR_OK);
  ck_assert_ptr_null(tsr_bind_mutator(vm.heap, &other, &error));
  ck_assert_int_eq(tsr_unbind_mutator(&storage, NULL), TSR_OK);
  ck_assert_int_eq(tsr_bind_mutator_in(vm.heap, &storage, &other, &error), TSR_OK);
  ck_assert_int_eq(tsr_unbind_mutator(&storage, NULL), TSR_OK);

  testvm second; /* the same identity in another heap is another mutator */
  vm_open(&second, "16M");
  tsr_mutator *m = tsr_bind_mutator(second.heap, &vm, NULL);
  ck_assert_ptr_nonnull(m);
  ck_assert_int_eq(tsr_unbind_mutator(m, NULL), TSR_OK);
  vm_stop(&second);
  vm_stop(&vm);
}
END_TEST

START_TEST(heaps_with_mutators_are_not_destroyed) {
  testvm vm;
  vm_open_alone(&vm, "16M"); /* destroying takes that no other thread is in a call */
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *list = tsr_local(vm.m, 0);
  ck_assert(vm_list(vm.m, list, 100, 0));
  tsr_error error = {0};
  ck_assert_int_eq(tsr_heap_destroy(vm.heap, &error), TSR_BUSY);
  ck_assert_int_eq(error.status, TSR_BUSY);
  ck_assert(error.message[0] != 0);
  vm_collect(&vm);
  ck_assert(vm_list_holds(vm.m, list->word, 100, 0));
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
  ck_assert_int_eq(tsr_heap_destroy(NULL, NULL), TSR_OK);
}
END_TEST

/* ---- native code --------------------------------------------------------------------------- */

typedef struct gate {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool inside, go; /* under lock */
  atomic_bool trying, came_back;
  bool came_back_early; /* written with the world stopped */
  unsigned collections;
} gate;

static void gate_init(gate *g) {
  memset(g, 0, sizeof *g);
  pthread_mutex_init(&g->lock, NULL);
  pthread_cond_init(&g->changed, NULL);
}

static void gate_set(gate *g, bool *flag) {
  pthread_mutex_lock(&g->lock);
  *flag = true;
  pthread_cond_broadcast(&g->changed);
  pthread_mutex_unlock(&g->lock);
}

static void gate_wait(gate *g, const bool *flag) {
  pthread_mutex_lock(&g->lock);
  while (!*flag) {
    pthread_cond_wait(&g->changed, &g->lock);
  }
  pthread_mutex_unlock(&g->lock);
}

static void gate_destroy(gate *g) {
  pthread_cond_destroy(&g->changed);
  pthread_mutex_destroy(&g->lock);
}

/* World stopped: lets the other thread go, waits until it tries, looks whether it comes through. */
static void open_gate(testvm *vm, tsr_visitor *visitor) {
  (void)visitor;
  gate *g = vm->extra;
  g->collections++;
  gate_set(g, &g->go);
  while (!g->trying) {
    sched_yield();
  }
  short_sleep();
  if (g->collections == 1 && g->came_back) g->came_back_early = true;
}

static void *blocked_in_native(void *arg) {
  testvm *vm = arg;
  gate *g = vm->extra;
  tsr_mutator *m = tsr_bind_mutator(vm->heap, g, NULL);
  tsr_scope scope;
  tsr_scope_open(m, &scope);
  tsr_slot *list = tsr_local(m, 0);
  bool ok = vm_list(m, list, 1000, 5);
  tsr_enter_native(m);
  gate_set(g, &g->inside);
  gate_wait(g, &g->go);
  g->trying = true;
  tsr_leave_native(m);
  g->came_back = true;
  ok = ok && vm_list_holds(m, list->word, 1000, 5);
  tsr_scope_close(m, &scope);
  tsr_unbind_mutator(m, NULL);
  return ok ? m : NULL;
}

/* What the thread returned. */
static void *join(tsr_mutator *m, pthread_t thread) {
  void *result;
  tsr_enter_native(m);
  pthread_join(thread, &result);
  tsr_leave_native(m);
  return result;
}

START_TEST(native_code_does_not_hold_up_a_collection) {
  testvm vm;
  gate g;
  gate_init(&g);
  vm_open(&vm, "16M");
  vm.extra = &g;
  pthread_t thread;
  pthread_create(&thread, NULL, blocked_in_native, &vm);
  gate_wait(&g, &g.inside);
  for (unsigned i = 0; i < 3; i++) {
    vm_collect(&vm); /* returns although the thread is blocked */
  }
  vm_garbage(vm.m, vm_collects ? 64 * MIB : MIB);
  gate_set(&g, &g.go);
  ck_assert_msg(join(vm.m, thread) != NULL, "the list of the thread in native code was lost");
  vm_stop(&vm);
  gate_destroy(&g);
}
END_TEST

static void *late_binder(void *arg) {
  testvm *vm = arg;
  gate *g = vm->extra;
  gate_set(g, &g->inside);
  gate_wait(g, &g->go);
  g->trying = true;
  tsr_mutator *m = tsr_bind_mutator(vm->heap, g, NULL);
  g->came_back = true;
  if (m != NULL) tsr_unbind_mutator(m, NULL);
  return m;
}

/* A thread that tries, while the world is stopped, to come back as a mutator. */
static void comes_back_afterwards(void *(*returning)(void *), const char *otherwise) {
  testvm vm;
  gate g;
  gate_init(&g);
  vm_init_calm(&vm);
  vm.on_heap_roots = open_gate;
  vm_start(&vm);
  vm.extra = &g;
  pthread_t thread;
  pthread_create(&thread, NULL, returning, &vm);
  gate_wait(&g, &g.inside);
  vm_collect(&vm);
  ck_assert_ptr_nonnull(join(vm.m, thread));
  ck_assert_msg(!g.came_back_early, "%s while the world was stopped", otherwise);
  vm_stop(&vm);
  gate_destroy(&g);
}

START_TEST(leaving_native_code_waits_for_the_collection) {
  if (vm_collects) comes_back_afterwards(blocked_in_native, "a mutator ran");
}
END_TEST

START_TEST(binding_waits_for_the_collection) {
  if (vm_collects) comes_back_afterwards(late_binder, "a mutator was bound");
}
END_TEST

START_TEST(native_regions_do_not_nest) {
  testvm vm;
  vm_open(&vm, "16M");
  tsr_error error;
  tsr_enter_native(vm.m);
  tsr_enter_native(vm.m);
  ck_assert_uint_eq(vm_take_errors(&vm, &error), 1);
  ck_assert(error.status != TSR_OK && error.message[0] != 0);
  tsr_leave_native(vm.m);
  ck_assert_ptr_nonnull(vm_new(vm.m, PAIR, 0, 0));
  vm_collect(&vm);
  vm_stop(&vm);
}
END_TEST

/* ---- everything at once -------------------------------------------------------------------- */

static void enumerate_quietly(void *context, tsr_ref object, size_t size) {
  (void)object;
  *(size_t *)context += size;
}

static void mixed_calls(vm_thread *self) {
  tsr_slot *list = tsr_local(self->m, 0);
  uint64_t seed = self->index + 1;
  unsigned rounds = vm_stress != NULL ? 30 : 150;
  for (unsigned i = 0; i < rounds; i++) {
    size_t bytes = 0;
    tsr_stats stats = {.size = sizeof stats};
    switch (vm_random(&seed) % 7) {
    case 0:
      EXPECT(self, tsr_collect(self->m, NULL) != TSR_INVALID_ARGUMENT);
      break;
    case 1:
      EXPECT(self, tsr_enumerate_objects(self->m, enumerate_quietly, &bytes, NULL) == TSR_OK);
      EXPECT(self, bytes >= (list->word != 0 ? 24u * 200u : 0u));
      break;
    case 2:
      tsr_enter_native(self->m);
      sched_yield();
      tsr_leave_native(self->m);
      break;
    case 3:
      EXPECT(self, tsr_heap_stats(self->vm->heap, &stats, NULL) == TSR_OK);
      break;
    case 4:
      tsr_safepoint(self->m);
      break;
    default:
      EXPECT(self, vm_list(self->m, list, 200, i));
      break;
    }
    if (list->word != 0) {
      EXPECT(self,
             vm_list_holds(self->m, list->word, 200, vm_get(self->m, vm_ref(list->word), 1) >> 3));
    }
  }
}

START_TEST(threads_collect_enumerate_and_wait_together) {
  testvm vm;
  vm_init(&vm);
  vm_start(&vm);
  vm_threads(&vm, 6, mixed_calls, NULL);
  vm_stop(&vm);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, threads_allocate_together);
  tcase_add_test(tests, mutators_come_and_go_during_collections);
  tcase_add_test(tests, mutators_come_between_two_collections);
  tcase_add_test(tests, an_identity_is_bound_once);
  tcase_add_test(tests, heaps_with_mutators_are_not_destroyed);
  tcase_add_test(tests, native_code_does_not_hold_up_a_collection);
  tcase_add_test(tests, leaving_native_code_waits_for_the_collection);
  tcase_add_test(tests, binding_waits_for_the_collection);
  tcase_add_test(tests, native_regions_do_not_nest);
  tcase_add_test(tests, threads_collect_enumerate_and_wait_together);
}

int main(void) {
  return vm_main("threads", add);
}
