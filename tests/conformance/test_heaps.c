/*
 * Several heaps in one process: in one thread, in several, under different plans. They share nothing,
 * and a word that points into another heap is no reference.
 */
#include "testvm.h"

#include <sched.h>

#define HEAPS 6

static unsigned plan_count(void) {
  unsigned n = 0;
  while (tsr_plan_names()[n] != NULL) {
    n++;
  }
  return n;
}

/* The i-th heap of a group: the plan under test first, then all the others in turn. */
static void open_nth(testvm *vm, unsigned i) {
  vm_init_calm(vm);
  vm_pin(vm, "plan", i == 0 ? vm_plan : tsr_plan_names()[i % plan_count()]);
  vm_pin(vm, "heap_max", "16M");
  vm_start(vm);
}

/* tsr_collect of a heap whose plan may be another than the one under test. */
static bool collect(testvm *vm) {
  tsr_status status = tsr_collect(vm->m, NULL);
  ck_assert(status == TSR_OK || status == TSR_UNSUPPORTED);
  return status == TSR_OK;
}

START_TEST(many_heaps_in_one_thread) {
  static testvm vms[HEAPS];
  tsr_scope scopes[HEAPS];
  tsr_slot *lists[HEAPS];
  for (unsigned i = 0; i < HEAPS; i++) {
    open_nth(&vms[i], i);
    tsr_scope_open(vms[i].m, &scopes[i]);
    lists[i] = tsr_local(vms[i].m, 0);
  }
  for (unsigned round = 0; round < 5; round++) {
    for (unsigned i = 0; i < HEAPS; i++) {
      ck_assert(vm_list(vms[i].m, lists[i], 1000 + i, 100 * i));
    }
    for (unsigned i = 0; i < HEAPS; i++) {
      if (i % 2 == round % 2 && collect(&vms[i])) {
        ck_assert_uint_eq(vm_enumerate(vms[i].m).objects, 1000 + i);
      }
      for (unsigned k = 0; k < HEAPS; k++) {
        ck_assert(vm_list_holds(vms[k].m, lists[k]->word, 1000 + k, 100 * k));
        ck_assert(tsr_heap_contains(vms[i].heap, vm_ref(lists[k]->word)) == (i == k));
      }
    }
  }
  for (unsigned i = 0; i < HEAPS; i++) {
    tsr_scope_close(vms[i].m, &scopes[i]);
    vm_stop(&vms[i]);
  }
}
END_TEST

START_TEST(references_between_heaps_are_ignored) {
  testvm a;
  testvm b;
  open_nth(&a, 0);
  vm_open(&b, "16M");
  tsr_scope scope_a;
  tsr_scope scope_b;
  tsr_scope_open(a.m, &scope_a);
  tsr_scope_open(b.m, &scope_b);
  tsr_slot *holder = tsr_local(a.m, vm_word(vm_new(a.m, PAIR, 0, 0)));
  tsr_slot *foreign_root = tsr_local(a.m, 0);
  uint64_t stranger = vm_word(vm_new(b.m, PAIR, 5, 0));
  tsr_slot *kept = tsr_local(b.m, stranger);
  vm_set(a.m, vm_ref(holder->word), 1, stranger);
  foreign_root->word = stranger;
  for (unsigned i = 0; i < 3; i++) {
    if (collect(&a)) ck_assert_uint_eq(vm_enumerate(a.m).objects, 1);
    ck_assert_uint_eq(vm_get(a.m, vm_ref(holder->word), 1), stranger);
    ck_assert_uint_eq(foreign_root->word, stranger);
    ck_assert_uint_eq(vm_tag_of(vm_ref(kept->word)), 5);
  }
  kept->word = 0; /* the words in `a` do not keep it */
  if (collect(&b)) ck_assert_uint_eq(vm_enumerate(b.m).objects, 0);
  ck_assert_uint_eq(foreign_root->word, stranger);
  tsr_scope_close(b.m, &scope_b);
  tsr_scope_close(a.m, &scope_a);
  vm_stop(&b);
  vm_stop(&a);
}
END_TEST

/* A thread with a heap of its own, created and destroyed there, several times. */
static void *heap_of_ones_own(void *arg) {
  unsigned index = *(unsigned *)arg;
  for (unsigned round = 0; round < 5; round++) {
    testvm vm;
    open_nth(&vm, index + round);
    tsr_scope scope;
    tsr_scope_open(vm.m, &scope);
    tsr_slot *list = tsr_local(vm.m, 0);
    tsr_slot *tree = tsr_local(vm.m, 0);
    bool ok = vm_list(vm.m, list, 2000, index) && vm_tree(vm.m, tree, 10);
    for (unsigned i = 0; i < 10 && ok; i++) {
      tsr_collect(vm.m, NULL);
      ok = vm_list_holds(vm.m, list->word, 2000, index) && vm_tree_holds(vm.m, tree->word, 10);
    }
    tsr_scope_close(vm.m, &scope);
    vm_alone(&vm); /* the heap is destroyed by hand */
    if (tsr_unbind_mutator(vm.m, NULL) != TSR_OK) ok = false;
    if (tsr_heap_destroy(vm.heap, NULL) != TSR_OK) ok = false;
    vm_drop(&vm);
    if (!ok) return NULL;
  }
  return arg;
}

START_TEST(a_heap_for_each_thread) {
  pthread_t threads[HEAPS];
  unsigned indices[HEAPS];
  for (unsigned i = 0; i < HEAPS; i++) {
    indices[i] = i;
    pthread_create(&threads[i], NULL, heap_of_ones_own, &indices[i]);
  }
  bool ok = true;
  for (unsigned i = 0; i < HEAPS; i++) {
    void *result;
    pthread_join(threads[i], &result);
    if (result == NULL) ok = false;
  }
  ck_assert(ok);
}
END_TEST

/*
 * Two heaps shared by threads that work in both: a collection of one stops the mutators of that one.
 * A thread is in managed code of one heap at most, or two collections could wait for each other.
 */
static void work_in_both(vm_thread *self) {
  testvm *other = self->arg;
  tsr_slot *here = tsr_local(self->m, 0);
  tsr_enter_native(self->m);
  tsr_mutator *m = tsr_bind_mutator(other->heap, self, NULL);
  EXPECT(self, m != NULL);
  tsr_scope scope;
  tsr_scope_open(m, &scope);
  tsr_slot *there = tsr_local(m, 0);
  for (unsigned i = 0; i < 20; i++) {
    EXPECT(self, vm_list(m, there, 500, i));
    if (i % 6 == self->index + 1) tsr_collect(m, NULL);
    tsr_enter_native(m);
    tsr_leave_native(self->m);
    EXPECT(self, vm_list(self->m, here, 500, i + 7));
    if (i % 6 == self->index) tsr_collect(self->m, NULL);
    EXPECT(self, vm_list_holds(self->m, here->word, 500, i + 7));
    tsr_enter_native(self->m);
    tsr_leave_native(m);
    EXPECT(self, vm_list_holds(m, there->word, 500, i));
  }
  tsr_scope_close(m, &scope);
  EXPECT(self, tsr_unbind_mutator(m, NULL) == TSR_OK);
  tsr_leave_native(self->m);
}

START_TEST(threads_in_two_heaps) {
  testvm a;
  testvm b;
  open_nth(&a, 0);
  vm_init_calm(&b);
  vm_start_heap(&b);
  vm_threads(&a, 4, work_in_both, &b);
  vm_alone(&b); /* counts mutators */
  ck_assert_uint_eq(vm_stats(&b).mutators, 0);
  vm_stop(&b);
  vm_stop(&a);
}
END_TEST

START_TEST(plans_have_names) {
  ck_assert_uint_ge(plan_count(), 2);
  for (unsigned i = 0; i < plan_count(); i++) {
    ck_assert(tsr_plan_names()[i][0] != 0);
    for (unsigned k = 0; k < i; k++) {
      ck_assert_str_ne(tsr_plan_names()[i], tsr_plan_names()[k]);
    }
  }
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, many_heaps_in_one_thread);
  tcase_add_test(tests, references_between_heaps_are_ignored);
  tcase_add_test(tests, a_heap_for_each_thread);
  tcase_add_test(tests, threads_in_two_heaps);
  tcase_add_test(tests, plans_have_names);
}

int main(void) {
  return vm_main("heaps", add);
}
