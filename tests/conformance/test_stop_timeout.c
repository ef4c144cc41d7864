/*
 * The option stop_timeout: who waits too long for a mutator reports which, once in a stop, and waits on.
 *
 * No test measures. A thread that is to be late stays in managed code until the report has come, and one
 * that is to be in time is not waited for by a short timeout.
 */
#include "own_threads.h"

#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define REPORTS_MOST 8

typedef struct lateness {
  own_threads own; /* first: the VM's `extra` points to both */
  testvm vm;

  tsr_error reports[REPORTS_MOST]; /* by the thread that stops the others */
  tsr_mutator *callers[REPORTS_MOST];
  atomic_uint reported;
  bool waits_for_exit; /* the callback returns when the late threads have entered native code */
  unsigned late;       /* threads that are late */

  char *stack; /* of the thread that makes the heap, and its size */
  size_t stack_bytes;
  bool reported_on_own_stack; /* when that thread was the caller */

  atomic_uint ready; /* threads that have begun what the stop meets them in */
  atomic_uint over;  /* threads that have ended it */
  atomic_bool done;
  atomic_bool stays;          /* a late thread is still in managed code */
  unsigned objects, soon;     /* enumerated, and of these while it was */
  long numbers[REPORTS_MOST]; /* of the threads, by index */
  tsr_mutator *mutators[REPORTS_MOST];
} lateness;

static lateness t;

static void note_report(void *vm, tsr_mutator *m, const tsr_error *error) {
  (void)vm;
  unsigned i = atomic_load(&t.reported);
  size_t above = (size_t)((char *)__builtin_frame_address(0) - t.stack);
  if (m == t.vm.m && above < t.stack_bytes) t.reported_on_own_stack = true;
  if (i < REPORTS_MOST) {
    t.reports[i] = *error;
    t.callers[i] = m;
  }
  atomic_store(&t.reported, i + 1);
  while (t.waits_for_exit && i + 1 == t.late && atomic_load(&t.over) < t.late)
    sched_yield();
}

static void find_own_stack(void) {
  pthread_attr_t attributes;
  void *stack;
  ck_assert_int_eq(pthread_getattr_np(pthread_self(), &attributes), 0);
  ck_assert_int_eq(pthread_attr_getstack(&attributes, &stack, &t.stack_bytes), 0);
  pthread_attr_destroy(&attributes);
  t.stack = stack;
  char *frame = __builtin_frame_address(0);
  ck_assert(frame >= t.stack && (size_t)(frame - t.stack) < t.stack_bytes);
}

/* Alone: a member of the company may be late, too. */
static void open_heap(const char *timeout, bool overrides) {
  memset(&t, 0, sizeof t);
  vm_init_calm(&t.vm);
  vm_alone(&t.vm);
  vm_pin(&t.vm, "stop_timeout", timeout);
  if (overrides) own_install(&t.own, &t.vm);
  t.vm.extra = &t;
  t.vm.binding.report_error = note_report;
  find_own_stack();
  vm_start(&t.vm);
  if (overrides) own_attach(&t.own, t.vm.m, 0);
}

/* ---- stops -------------------------------------------------------------------------------------- */

static void count_object(void *context, tsr_ref object, size_t size) {
  (void)context, (void)object, (void)size;
  t.objects++;
  if (atomic_load(&t.stays)) t.soon++;
}

/* The ways to stop the world; one of them in every plan. */
static void stop_to_enumerate(void) {
  ck_assert_int_eq(tsr_enumerate_objects(t.vm.m, count_object, NULL, NULL), TSR_OK);
}

static void stop_to_collect(void) {
  vm_collect(&t.vm);
}

static void stop_to_fork(void) {
  ck_assert_int_eq(tsr_fork_prepare(t.vm.m, NULL), TSR_OK);
  tsr_fork_parent(t.vm.m);
}

static void stop_to_verify(void) {
  ck_assert_int_eq(tsr_heap_verify(t.vm.m, NULL), TSR_OK);
}

static void (*const stops[])(void) = {stop_to_enumerate, stop_to_collect, stop_to_fork,
                                      stop_to_verify};
#define STOPS ((int)(sizeof stops / sizeof stops[0]))

static bool stops_the_world(int stop) {
  return vm_collects || stops[stop] != stop_to_collect;
}

/* ---- threads ------------------------------------------------------------------------------------ */

static void *run_thread(void *arg) {
  vm_thread *self = arg;
  char name[16];
  snprintf(name, sizeof name, "sleeper-%u", self->index);
  pthread_setname_np(pthread_self(), name);
  self->m = tsr_bind_mutator(t.vm.heap, self, NULL);
  t.mutators[self->index] = self->m;
  t.numbers[self->index] = syscall(SYS_gettid);
  self->body(self);
  if (tsr_unbind_mutator(self->m, NULL) != TSR_OK) vm_expect_failed(self, __FILE__, __LINE__, "");
  return NULL;
}

static void begin(vm_thread *threads, unsigned first, unsigned n, void (*body)(vm_thread *self)) {
  for (unsigned i = first; i < first + n; i++) {
    threads[i] = (vm_thread){.index = i, .body = body};
    ck_assert_int_eq(pthread_create(&threads[i].id, NULL, run_thread, &threads[i]), 0);
  }
  tsr_enter_native(t.vm.m); /* a thread that binds, or that is late, is not held up by this one */
  while (atomic_load(&t.ready) < first + n)
    sched_yield();
  tsr_leave_native(t.vm.m);
}

static void end(vm_thread *threads, unsigned n) {
  atomic_store(&t.done, true);
  tsr_enter_native(t.vm.m);
  for (unsigned i = 0; i < n; i++)
    pthread_join(threads[i].id, NULL);
  tsr_leave_native(t.vm.m);
  for (unsigned i = 0; i < n; i++)
    ck_assert_msg(threads[i].failure[0] == 0, "%s", threads[i].failure);
}

/* Stays in managed code, without a safepoint, until as many reports have come as there are late threads. */
static void wait_for_reports(unsigned reports) {
  while (atomic_load(&t.reported) < reports)
    sched_yield();
}

static void stay_until_reported(vm_thread *self) {
  atomic_fetch_add(&t.ready, 1);
  wait_for_reports(t.late);
  tsr_safepoint(self->m);
}

static void enter_native_once_reported(vm_thread *self) {
  atomic_fetch_add(&t.ready, 1);
  wait_for_reports(t.late);
  tsr_enter_native(self->m);
  atomic_fetch_add(&t.over, 1);
  tsr_leave_native(self->m);
}

static void stay_in_native(vm_thread *self) {
  tsr_enter_native(self->m);
  atomic_fetch_add(&t.ready, 1);
  while (!atomic_load(&t.done))
    sched_yield();
  tsr_leave_native(self->m);
}

/* Whether just one of the reports names the thread, by all that it is known by. */
static bool is_reported_once(const vm_thread *thread) {
  char name[16], number[32], vm_thread_address[32], mutator[32];
  snprintf(name, sizeof name, "\"sleeper-%u\"", thread->index);
  snprintf(number, sizeof number, "thread %ld ", t.numbers[thread->index]);
  snprintf(vm_thread_address, sizeof vm_thread_address, "vm_thread %p,", (const void *)thread);
  snprintf(mutator, sizeof mutator, "mutator %p)", (void *)t.mutators[thread->index]);
  unsigned named = 0;
  for (unsigned i = 0; i < t.reported; i++) {
    const char *message = t.reports[i].message;
    if (strstr(message, name) == NULL) continue;
    named++;
    if (strstr(message, number) == NULL || strstr(message, vm_thread_address) == NULL ||
        strstr(message, mutator) == NULL) {
      return false;
    }
  }
  return named == 1;
}

/* ---- who is late is reported -------------------------------------------------------------------- */

/* Three are late, one is in native code: each of the three is named, once, and the stop succeeds. */
START_TEST(threads_that_are_late_are_named_once) {
  if (!stops_the_world(_i)) return;
  open_heap("1ms", false);
  vm_thread threads[4];
  t.late = 3;
  begin(threads, 0, 3, stay_until_reported);
  begin(threads, 3, 1, stay_in_native);
  stops[_i]();
  end(threads, 4);
  ck_assert_uint_eq(t.reported, 3);
  for (unsigned i = 0; i < 3; i++) {
    ck_assert_msg(is_reported_once(&threads[i]), "%s", t.reports[i].message);
    ck_assert_int_eq(t.reports[i].status, TSR_BUSY);
    ck_assert_ptr_eq(t.callers[i], t.vm.m);
    ck_assert(vm_says(t.reports[i].message, "tsr_safepoint()"));
    ck_assert(vm_says(t.reports[i].message, "tsr_enter_native()"));
    ck_assert_uint_lt(strlen(t.reports[i].message), sizeof t.reports[i].message - 1);
  }
  ck_assert_msg(!t.reported_on_own_stack, "little may be left of the thread's own");
  vm_stop(&t.vm);
}
END_TEST

/* The callback waits for a thread that enters native code, for which the collector's lock is needed. */
START_TEST(the_collector_is_not_locked_meanwhile) {
  open_heap("1ms", false);
  vm_thread threads[2];
  t.late = 2;
  t.waits_for_exit = true;
  begin(threads, 0, 2, enter_native_once_reported);
  stop_to_enumerate();
  end(threads, 2);
  ck_assert_uint_eq(t.reported, 2);
  vm_stop(&t.vm);
}
END_TEST

static void stay_long_after_the_report(vm_thread *self) {
  atomic_store(&t.stays, true);
  atomic_fetch_add(&t.ready, 1);
  wait_for_reports(1);
  nanosleep(&(struct timespec){.tv_nsec = 30000000}, NULL);
  atomic_store(&t.stays, false);
  tsr_safepoint(self->m);
  enter_native_once_reported(self);
}

/* However long it is waited for; and in the next stop again. */
START_TEST(each_stop_reports_a_thread_once_and_waits_on) {
  open_heap("1ms", false);
  ck_assert_ptr_nonnull(vm_new(t.vm.m, CELL, 0, 0));
  vm_thread thread;
  t.late = 2;
  begin(&thread, 0, 1, stay_long_after_the_report);
  stop_to_enumerate();
  ck_assert_uint_eq(t.reported, 1);
  ck_assert_uint_eq(t.objects, 1);
  ck_assert_msg(t.soon == 0, "the world was not waited for");
  tsr_enter_native(t.vm.m);
  while (atomic_load(&t.ready) < 2) /* it is late once more */
    sched_yield();
  tsr_leave_native(t.vm.m);
  stop_to_enumerate();
  end(&thread, 1);
  ck_assert_uint_eq(t.reported, 2);
  vm_stop(&t.vm);
}
END_TEST

static void *stop_from_aside(void *arg) {
  tsr_mutator *m = tsr_bind_mutator(t.vm.heap, arg, NULL);
  tsr_enumerate_objects(m, count_object, NULL, NULL);
  tsr_unbind_mutator(m, NULL);
  return NULL;
}

/* Whether another thread, which waits for this one, knows it by its number. */
static bool is_reported_in_child(void) {
  pthread_t other;
  if (pthread_create(&other, NULL, stop_from_aside, &t) != 0) return false;
  wait_for_reports(1);
  tsr_enter_native(t.vm.m);
  pthread_join(other, NULL);
  tsr_leave_native(t.vm.m);
  char number[32];
  snprintf(number, sizeof number, "thread %ld ", syscall(SYS_gettid));
  return strstr(t.reports[0].message, number) != NULL;
}

START_TEST(a_forked_thread_has_its_new_number) {
  open_heap("1ms", false);
  ck_assert_int_eq(tsr_fork_prepare(t.vm.m, NULL), TSR_OK);
  pid_t child = fork();
  if (child == 0) {
    tsr_fork_child(t.vm.m);
    _exit(is_reported_in_child() ? EXIT_SUCCESS : EXIT_FAILURE);
  }
  tsr_fork_parent(t.vm.m);
  int status = 0;
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  ck_assert(WIFEXITED(status));
  ck_assert_int_eq(WEXITSTATUS(status), EXIT_SUCCESS);
  vm_stop(&t.vm);
}
END_TEST

/* ---- who is not -------------------------------------------------------------------------------- */

static void poll(vm_thread *self) {
  atomic_fetch_add(&t.ready, 1);
  while (!atomic_load(&t.done))
    tsr_safepoint(self->m);
}

START_TEST(threads_that_stop_are_not_reported) {
  if (!stops_the_world(_i)) return;
  open_heap("3600s", false);
  vm_thread threads[4];
  begin(threads, 0, 2, poll);
  begin(threads, 2, 2, stay_in_native);
  for (unsigned i = 0; i < 20; i++)
    stops[_i]();
  end(threads, 4);
  ck_assert_uint_eq(t.reported, 0);
  vm_stop(&t.vm);
}
END_TEST

static void stay_for_a_while(vm_thread *self) {
  atomic_fetch_add(&t.ready, 1);
  while (!tsr_safepoint_requested(self->m))
    sched_yield();
  nanosleep(&(struct timespec){.tv_nsec = 30000000}, NULL);
  tsr_safepoint(self->m);
}

START_TEST(without_a_timeout_nobody_is_reported) {
  open_heap("0s", false);
  vm_thread threads[2];
  begin(threads, 0, 2, stay_for_a_while);
  stop_to_enumerate();
  end(threads, 2);
  ck_assert_uint_eq(t.reported, 0);
  vm_stop(&t.vm);
}
END_TEST

/* ---- the VM's own threads ------------------------------------------------------------------------ */

static void *stay_in_own_code(void *arg) {
  vm_thread *self = arg;
  self->m = tsr_bind_mutator(t.vm.heap, self, NULL);
  own_attach(&t.own, self->m, self->index);
  atomic_fetch_add(&t.ready, 1);
  while (!atomic_load(&t.own.stopping))
    sched_yield();
  nanosleep(&(struct timespec){.tv_nsec = 30000000}, NULL);
  own_safepoint(&t.own);
  if (own_unbind(&t.own, self->m, self->index) != TSR_OK) {
    vm_expect_failed(self, __FILE__, __LINE__, "own_unbind");
  }
  return NULL;
}

/* The VM waits for them, in its own way. */
START_TEST(a_vm_that_stops_its_threads_itself_is_left_alone) {
  open_heap("1ms", true);
  vm_thread thread = {.index = 1};
  ck_assert_int_eq(pthread_create(&thread.id, NULL, stay_in_own_code, &thread), 0);
  own_enter_native(&t.own);
  while (atomic_load(&t.ready) < 1)
    sched_yield();
  own_leave_native(&t.own);
  stop_to_enumerate();
  own_enter_native(&t.own);
  pthread_join(thread.id, NULL);
  own_leave_native(&t.own);
  ck_assert_msg(thread.failure[0] == 0, "%s", thread.failure);
  ck_assert_uint_eq(t.own.stops, 1);
  ck_assert_uint_eq(t.reported, 0);
  own_detach(&t.own, 0);
  vm_stop(&t.vm);
  own_destroy(&t.own);
}
END_TEST

static void add(TCase *tests) {
  tcase_set_timeout(tests, 120);
  tcase_add_loop_test(tests, threads_that_are_late_are_named_once, 0, STOPS);
  tcase_add_test(tests, the_collector_is_not_locked_meanwhile);
  tcase_add_test(tests, each_stop_reports_a_thread_once_and_waits_on);
  tcase_add_test(tests, a_forked_thread_has_its_new_number);
  tcase_add_loop_test(tests, threads_that_stop_are_not_reported, 0, STOPS);
  tcase_add_test(tests, without_a_timeout_nobody_is_reported);
  tcase_add_test(tests, a_vm_that_stops_its_threads_itself_is_left_alone);
}

int main(void) {
  return vm_main("stop_timeout", add);
}
