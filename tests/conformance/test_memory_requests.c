/*
 * A001-33, F54. Requests for memory that wait their turn: what can never be had is refused at once, the rest is granted
 * in the order of asking, when there is room, and can be taken back.
 *
 * The heap is full of one list where a request is to wait. No time is measured here; a benchmark does.
 */
#include "testvm.h"

#include <sched.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define FOR_EVER UINT64_MAX

typedef struct scene {
  testvm vm;
  tsr_slot kept; /* a list that fills the heap */
  tsr_error error;
} scene;

static void open_scene(scene *s, const char *heap_max) {
  memset(s, 0, sizeof *s);
  vm_init_calm(&s->vm);
  vm_alone(&s->vm); /* its tests fill it to the brim, and count collections */
  vm_pin(&s->vm, "heap_max", heap_max);
  vm_start(&s->vm);
  ck_assert_int_eq(tsr_root_add(s->vm.heap, &s->kept, 1, TSR_ROOT_PRECISE, "kept", NULL), TSR_OK);
}

static void fill_scene(scene *s) {
  uint32_t quiet = TSR_ALLOC_NO_OOM_CALLBACK;
  for (;;) {
    void *pair = tsr_alloc_with(s->vm.m, vm_size(PAIR, 0), 8, 0, TSR_DEFAULT, quiet, NULL);
    if (pair == NULL) return;
    vm_init_object(pair, PAIR, 0, 0);
    vm_set(s->vm.m, pair, 2, s->kept.word);
    s->kept.word = vm_word(pair);
  }
}

static void empty_scene(scene *s) {
  s->kept.word = 0;
  vm_collect(&s->vm);
}

static void close_scene(scene *s) {
  empty_scene(s);
  ck_assert_int_eq(tsr_heap_verify(s->vm.m, NULL), TSR_OK);
  tsr_stats stats = vm_stats(&s->vm);
  ck_assert_uint_le(stats.peak_committed_bytes, stats.heap_max_bytes);
  ck_assert_int_eq(tsr_root_remove(s->vm.heap, &s->kept, NULL), TSR_OK);
  vm_stop(&s->vm);
}

static tsr_memory_request *request(scene *s, size_t bytes) {
  tsr_memory_request *made = tsr_request_memory(s->vm.heap, bytes, 64, &s->error);
  ck_assert_msg(made != NULL, "%s", s->error.message);
  return made;
}

static tsr_status state_of(tsr_memory_request *r) {
  return tsr_request_wait(r, 0, NULL);
}

static void assert_states(tsr_memory_request *const requests[], size_t count, tsr_status wanted) {
  for (size_t i = 0; i < count; i++) {
    tsr_status state = state_of(requests[i]);
    ck_assert_msg(state == wanted, "request %zu: %s", i, tsr_status_name(state));
  }
}

/* Allocates the bytes that were asked for, without a collection. */
static void assert_serves(scene *s, size_t bytes) {
  unsigned ended = s->vm.ended;
  for (size_t served = 0; served < bytes; served += 64) {
    void *memory = tsr_alloc_default(s->vm.m, 64);
    if (memory == NULL) ck_abort_msg("behind %zu of %zu bytes", served, bytes);
    vm_init_filler(memory, 64);
  }
  ck_assert_uint_eq(s->vm.ended, ended);
}

/* ---- what is refused ------------------------------------------------------------------------------ */

START_TEST(a001_33_what_can_never_be_had_is_refused_at_once) {
  scene s;
  open_scene(&s, "8M");
  static const size_t too_many[] = {8 * MIB, 9 * MIB, (size_t)1 << 40, SIZE_MAX, SIZE_MAX - 64};
  for (size_t i = 0; i < sizeof too_many / sizeof too_many[0]; i++) {
    ck_assert_ptr_null(tsr_request_memory(s.vm.heap, too_many[i], 64, &s.error));
    ck_assert_int_eq(s.error.status, TSR_OUT_OF_MEMORY);
  }
  static const size_t none[][2] = {{0, 0}, {64, 0}, {64, 65}, {64, 128}, {MIB, 8200}, {0, 64}};
  for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
    ck_assert_ptr_null(tsr_request_memory(s.vm.heap, none[i][0], none[i][1], &s.error));
    ck_assert_int_eq(s.error.status, TSR_INVALID_ARGUMENT);
  }
  ck_assert_uint_eq(s.vm.ended, 0);
  close_scene(&s);
}
END_TEST

/* More than the machine has, in a heap that would be allowed to hold it. */
START_TEST(a001_33_more_than_the_machine_has_is_refused_at_once) {
  struct sysinfo machine;
  ck_assert_int_eq(sysinfo(&machine), 0);
  size_t bytes = machine.totalram * machine.mem_unit;
  char text[32];
  snprintf(text, sizeof text, "%zuM", bytes / MIB * 4);
  testvm vm;
  vm_init_calm(&vm);
  vm_unverified(&vm); /* its tables would be as large */
  vm_pin(&vm, "heap_max", text);
  vm.heap = tsr_heap_create(&vm.binding, &vm, vm.options, NULL);
  if (vm.heap != NULL) { /* else the system has no such address space */
    tsr_error error;
    ck_assert_ptr_null(tsr_request_memory(vm.heap, bytes + MIB, 64, &error));
    ck_assert_int_eq(error.status, TSR_OUT_OF_MEMORY);
    ck_assert_int_eq(tsr_heap_destroy(vm.heap, NULL), TSR_OK);
    vm.heap = NULL;
  }
  vm_drop(&vm);
}
END_TEST

/* ---- what is granted -------------------------------------------------------------------------------- */

START_TEST(what_there_is_room_for_is_granted_at_once) {
  scene s;
  open_scene(&s, "8M");
  uint64_t committed = vm_stats(&s.vm).committed_bytes;
  tsr_memory_request *r = request(&s, MIB);
  ck_assert_int_eq(state_of(r), TSR_OK);
  ck_assert_int_eq(tsr_request_wait(r, FOR_EVER, NULL), TSR_OK);
  ck_assert_uint_ge(vm_stats(&s.vm).committed_bytes, committed + MIB);
  fill_scene(&s);
  ck_assert_int_eq(tsr_request_use(r, s.vm.m, NULL), TSR_OK);
  assert_serves(&s, MIB);
  ck_assert_int_eq(state_of(r), TSR_CANCELLED);
  ck_assert_int_eq(tsr_request_use(r, s.vm.m, &s.error), TSR_CANCELLED);
  tsr_request_end(r);
  tsr_request_end(NULL);
  close_scene(&s);
}
END_TEST

START_TEST(what_is_taken_back_is_the_heaps_again) {
  scene s;
  open_scene(&s, "8M");
  uint64_t committed = vm_stats(&s.vm).committed_bytes;
  for (unsigned i = 0; i < 20; i++) {
    tsr_memory_request *r = request(&s, MIB);
    ck_assert_int_eq(state_of(r), TSR_OK);
    if (i % 2 == 0) tsr_request_cancel(r);
    if (i % 2 == 0) ck_assert_int_eq(state_of(r), TSR_CANCELLED);
    tsr_request_cancel(r);
    tsr_request_end(r);
  }
  ck_assert_uint_eq(vm_stats(&s.vm).committed_bytes, committed);
  close_scene(&s);
}
END_TEST

typedef struct waiting {
  tsr_memory_request *request;
  pthread_t thread;
  atomic_long number; /* the system's of the thread, as soon as it runs */
  tsr_status status;
} waiting;

static void *wait_for_ever(void *context) {
  waiting *w = context;
  atomic_store(&w->number, syscall(SYS_gettid));
  w->status = tsr_request_wait(w->request, FOR_EVER, NULL);
  return NULL;
}

/* Whether a thread of this process sleeps, as the system says. */
static bool sleeps(long number) {
  char path[64], state = 0;
  snprintf(path, sizeof path, "/proc/self/task/%ld/stat", number);
  FILE *file = fopen(path, "r");
  if (file == NULL) return false;
  int read = fscanf(file, "%*d (%*[^)]) %c", &state);
  fclose(file);
  return read == 1 && state == 'S';
}

/* Returns when the thread waits: nothing but its request makes it sleep. */
static void start_waiting(waiting *w, tsr_memory_request *r) {
  w->request = r;
  atomic_init(&w->number, 0);
  ck_assert_int_eq(pthread_create(&w->thread, NULL, wait_for_ever, w), 0);
  while (!sleeps(atomic_load(&w->number)))
    sched_yield();
}

static tsr_status end_waiting(waiting *w) {
  ck_assert_int_eq(pthread_join(w->thread, NULL), 0);
  return w->status;
}

/* The heap is full; what fills it dies, and the next that any mutator needs brings the collection that the request wants. */
START_TEST(a001_33_a_request_waits_until_memory_is_free) {
  scene s;
  open_scene(&s, "8M");
  fill_scene(&s);
  tsr_memory_request *r = request(&s, MIB);
  ck_assert_int_eq(tsr_request_wait(r, 0, &s.error), TSR_BUSY);
  ck_assert_int_eq(tsr_request_wait(r, 1000000, &s.error), TSR_BUSY);
  ck_assert_int_eq(tsr_request_use(r, s.vm.m, &s.error), TSR_BUSY);
  waiting w;
  start_waiting(&w, r);
  unsigned ended = s.vm.ended;
  s.kept.word = 0;
  for (unsigned i = 0; i < 4 && vm_collects; i++)
    ck_assert_ptr_nonnull(vm_new(s.vm.m, BYTES, 0, 8000)); /* no pair has room for four of them */
  if (vm_collects) {
    ck_assert_uint_eq(s.vm.ended, ended + 1);
    ck_assert_str_eq(s.vm.last_collection.cause, "memory request");
  } else {
    tsr_request_cancel(r);
  }
  ck_assert_int_eq(end_waiting(&w), vm_collects ? TSR_OK : TSR_CANCELLED);
  if (vm_collects) {
    fill_scene(&s);
    ck_assert_int_eq(tsr_request_use(r, s.vm.m, NULL), TSR_OK);
    assert_serves(&s, MIB);
  }
  tsr_request_end(r);
  close_scene(&s);
}
END_TEST

/* One collection for a request that it does not help, and no more. */
START_TEST(a_request_in_vain_collects_once) {
  scene s;
  open_scene(&s, "8M");
  tsr_slot half = {0};
  ck_assert_int_eq(tsr_root_add(s.vm.heap, &half, 1, TSR_ROOT_PRECISE, "half", NULL), TSR_OK);
  ck_assert(
      vm_list(s.vm.m, &half, 100000, 0)); /* 2.4 MB: more than that is free, twice as much is not */
  unsigned ended = s.vm.ended;
  tsr_memory_request *first = request(&s, vm_copies() ? 2 * MIB : 5 * MIB);
  tsr_memory_request *r = request(&s, vm_copies() ? 2 * MIB : 5 * MIB);
  ck_assert_int_eq(state_of(r), TSR_BUSY);
  for (unsigned i = 0; i < 40; i++)
    (void)vm_new(s.vm.m, BYTES, 0, 8000);
  ck_assert_uint_le(s.vm.ended, ended + (vm_collects ? 2 : 0));
  ck_assert_uint_ge(s.vm.ended, ended + (vm_collects ? 1 : 0));
  ck_assert_int_eq(state_of(r), TSR_BUSY);
  tsr_request_end(first);
  tsr_request_end(r);
  ck_assert_int_eq(tsr_root_remove(s.vm.heap, &half, NULL), TSR_OK);
  close_scene(&s);
}
END_TEST

/* ---- the order --------------------------------------------------------------------------------------- */

#define QUEUE 5u

/* The first wants more than there is, the others little; none passes it. When it goes they come. */
START_TEST(a001_33_first_come_first_served) {
  scene s;
  open_scene(&s, "8M");
  tsr_memory_request *held = request(&s, vm_copies() ? 2 * MIB : 4 * MIB);
  ck_assert_int_eq(state_of(held), TSR_OK);
  tsr_memory_request *queue[QUEUE];
  for (unsigned i = 0; i < QUEUE; i++)
    queue[i] = request(&s, i == 0 ? (vm_copies() ? 2 * MIB : 4 * MIB) : 64 * KIB);
  assert_states(queue, QUEUE, TSR_BUSY);
  waiting w[QUEUE];
  for (unsigned i = 0; i < QUEUE; i++)
    start_waiting(&w[i], queue[i]);
  vm_collect(&s.vm);
  assert_states(queue, QUEUE, TSR_BUSY);
  tsr_request_cancel(queue[2]); /* from the middle */
  ck_assert_int_eq(end_waiting(&w[2]), TSR_CANCELLED);
  assert_states(queue, 2, TSR_BUSY);
  if (_i == 0) {
    tsr_request_cancel(queue[0]);
  } else {
    tsr_request_end(held);
  }
  static const tsr_status wanted[2][QUEUE] = {
      {TSR_CANCELLED, TSR_OK, TSR_CANCELLED, TSR_OK, TSR_OK},
      {TSR_OK, TSR_OK, TSR_CANCELLED, TSR_OK, TSR_OK}};
  for (unsigned i = 0; i < QUEUE; i++) {
    if (i != 2) ck_assert_int_eq(end_waiting(&w[i]), wanted[_i][i]);
    tsr_request_end(queue[i]);
  }
  if (_i == 0) tsr_request_end(held);
  /* The queue's end is whole. */
  tsr_memory_request *last = request(&s, 64);
  ck_assert_int_eq(state_of(last), TSR_OK);
  tsr_request_end(last);
  close_scene(&s);
}
END_TEST

/* The last of the queue is cancelled, and others come behind it. */
START_TEST(a_queue_whose_end_was_cancelled_goes_on) {
  scene s;
  open_scene(&s, "8M");
  fill_scene(&s);
  tsr_memory_request *queue[3];
  for (unsigned i = 0; i < 3; i++) {
    queue[i] = request(&s, 64 * KIB);
    tsr_memory_request *other = request(&s, 64 * KIB);
    tsr_request_end(other);
  }
  assert_states(queue, 3, TSR_BUSY);
  empty_scene(&s);
  if (vm_collects) assert_states(queue, 3, TSR_OK);
  for (unsigned i = 0; i < 3; i++)
    tsr_request_end(queue[i]);
  close_scene(&s);
}
END_TEST

/* Many threads ask, wait, use and give back: all are served in the end, and the maximum holds. */
static void ask_and_use(vm_thread *self) {
  for (unsigned round = 0; round < 20; round++) {
    size_t bytes = (1 + (self->index + round) % 4) * 256 * KIB;
    tsr_memory_request *r = tsr_request_memory(self->vm->heap, bytes, 64, NULL);
    EXPECT(self, r != NULL);
    if ((round + self->index) % 5 == 0) tsr_request_cancel(r);
    tsr_enter_native(self->m);
    tsr_status status = TSR_BUSY;
    /* Where all wait, nobody allocates: one of them collects. */
    while ((status = tsr_request_wait(r, 2000000, NULL)) == TSR_BUSY) {
      tsr_leave_native(self->m);
      EXPECT(self, tsr_collect(self->m, NULL) == TSR_OK);
      tsr_enter_native(self->m);
    }
    tsr_leave_native(self->m);
    EXPECT(self, status == TSR_OK || status == TSR_CANCELLED);
    if (status == TSR_OK) {
      EXPECT(self, tsr_request_use(r, self->m, NULL) == TSR_OK);
      for (size_t served = 0; served < bytes; served += 64) {
        void *memory = tsr_alloc_default(self->m, 64);
        EXPECT(self, memory != NULL);
        vm_init_filler(memory, 64);
      }
    }
    tsr_reserve_end(self->m);
    tsr_request_end(r);
  }
}

START_TEST(many_threads_ask_and_each_is_served) {
  scene s;
  open_scene(&s, "8M");
  vm_threads(&s.vm, 6, ask_and_use, NULL);
  close_scene(&s);
}
END_TEST

/* ---- the rest ------------------------------------------------------------------------------------------ */

START_TEST(requests_that_are_misused) {
  scene s, other;
  open_scene(&s, "8M");
  open_scene(&other, "8M");
  tsr_memory_request *r = request(&s, 64);
  ck_assert_int_eq(tsr_request_use(r, other.vm.m, &s.error), TSR_INVALID_ARGUMENT);
  tsr_enter_native(s.vm.m);
  ck_assert_int_eq(tsr_request_use(r, s.vm.m, &s.error), TSR_BUSY);
  tsr_leave_native(s.vm.m);
  tsr_no_alloc section;
  TSR_NO_ALLOC_BEGIN(s.vm.m, &section);
  ck_assert_int_eq(tsr_request_use(r, s.vm.m, &s.error), TSR_BUSY);
  ck_assert_int_eq(tsr_no_alloc_end(s.vm.m, &section, NULL), TSR_OK);
  ck_assert_int_eq(tsr_request_use(r, s.vm.m, &s.error), TSR_OK);
  tsr_request_end(r);
  close_scene(&other);
  /* Those that are open go with their heap. */
  for (unsigned i = 0; i < 3; i++)
    (void)request(&s, (size_t)2 * MIB);
  close_scene(&s);
}
END_TEST

/* What an emergency reserve held goes to who waits. */
START_TEST(a_reserve_that_is_given_up_serves_a_request) {
  scene s;
  open_scene(&s, "8M");
  ck_assert_int_eq(tsr_emergency_reserve_hold(s.vm.heap, MIB, NULL), TSR_OK);
  fill_scene(&s);
  ck_assert_uint_ge(tsr_emergency_reserve(s.vm.heap), MIB);
  tsr_memory_request *r = request(&s, 512 * KIB);
  ck_assert_int_eq(state_of(r), TSR_BUSY);
  ck_assert_int_eq(tsr_emergency_reserve_hold(s.vm.heap, 0, NULL), TSR_OK);
  ck_assert_int_eq(state_of(r), TSR_OK);
  tsr_request_end(r);
  close_scene(&s);
}
END_TEST

/* Nobody who looks for room before it takes away the collection that a request wants. */
START_TEST(a_reserve_that_changes_does_not_end_what_a_request_wants) {
  scene s;
  open_scene(&s, "8M");
  ck_assert(vm_list(s.vm.m, &s.kept, 100000, 0)); /* 2.4 MB */
  tsr_memory_request *r = request(&s, vm_copies() ? 2 * MIB : 5 * MIB);
  ck_assert_int_eq(state_of(r), TSR_BUSY);
  ck_assert_int_eq(tsr_emergency_reserve_hold(s.vm.heap, 0, NULL), TSR_OK);
  s.kept.word = 0;
  unsigned ended = s.vm.ended;
  for (unsigned i = 0; i < 10; i++)
    ck_assert_ptr_nonnull(vm_new(s.vm.m, BYTES, 0, 8000));
  ck_assert_uint_eq(s.vm.ended, ended + 1);
  ck_assert_str_eq(s.vm.last_collection.cause, "memory request");
  ck_assert_int_eq(state_of(r), TSR_OK);
  tsr_request_end(r);
  close_scene(&s);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, a001_33_what_can_never_be_had_is_refused_at_once);
  tcase_add_test(tests, a001_33_more_than_the_machine_has_is_refused_at_once);
  tcase_add_test(tests, what_there_is_room_for_is_granted_at_once);
  tcase_add_test(tests, what_is_taken_back_is_the_heaps_again);
  tcase_add_test(tests, a001_33_a_request_waits_until_memory_is_free);
  tcase_add_test(tests, a_request_in_vain_collects_once);
  tcase_add_loop_test(tests, a001_33_first_come_first_served, 0, 2);
  tcase_add_test(tests, a_queue_whose_end_was_cancelled_goes_on);
  tcase_add_test(tests, requests_that_are_misused);
  tcase_add_test(tests, a_reserve_that_is_given_up_serves_a_request);
  if (!vm_collects) return;
  tcase_add_test(tests, a_reserve_that_changes_does_not_end_what_a_request_wants);
  tcase_add_test(tests, many_threads_ask_and_each_is_served);
}

int main(void) {
  return vm_main("memory_requests", add);
}
