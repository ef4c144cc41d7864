/*
 * core/collect: whose turn it is. Threads that collect without a pause and threads that come and go share the world, and
 * a test outside the library could only count how many collections pass while somebody comes.
 */
#include <sched.h>

#include "core/collect/collector.h"
#include "tests/unit/unit.h"

#define COLLECTING 3u
#define WAITS      20u /* of the binder in each way, each seen by a collection */

typedef struct turns {
  tsr_heap *heap;
  char binder;             /* whose address is the binder's vm_thread */
  os_atomic_word bound;    /* of the threads that collect: nobody but the binder comes later */
  os_atomic_word came;     /* how often the binder has come, or begun to */
  os_atomic_word ended;    /* collections */
  os_atomic_word waits[2]; /* of the binder, to bind and to unbind, each seen by a collection */
  os_atomic_word passed;   /* collections that began between such a wait and its end */

  /* At the end of the collection before; world stopped. */
  bool was_waiting, was_bound;
  uintptr_t had_come;
} turns;

static bool have_begun(const turns *t) {
  return os_atomic_load(&t->bound) == COLLECTING;
}

static bool are_over(const turns *t) {
  return os_atomic_load(&t->waits[0]) >= WAITS && os_atomic_load(&t->waits[1]) >= WAITS;
}

/* Until they are over the binder stays for a collection whenever it has come: a wait to bind that the collection before has
   seen has ended if it is bound, and one to unbind if it is not, or has come again. */
static void look_at_turns(void *vm, const tsr_collection *collection) {
  (void)collection;
  turns *t = vm;
  os_atomic_add_full(&t->ended, 1);
  if (!have_begun(t) || are_over(t)) return;
  struct collector *collector = t->heap->collector;
  bool is_bound = false;
  os_mutex_lock(&collector->lock);
  for (const struct tsr_mutator_private *m = collector->mutators; m != NULL; m = m->next)
    is_bound |= m->mutator->vm_thread == &t->binder;
  bool waits = collector->passers > 0;
  os_mutex_unlock(&collector->lock);
  uintptr_t came = os_atomic_load(&t->came);
  bool goes_on = is_bound == t->was_bound && came == t->had_come;
  os_atomic_add_full(&t->passed, t->was_waiting && goes_on);
  os_atomic_add_full(&t->waits[is_bound], waits);
  t->was_waiting = waits;
  t->was_bound = is_bound;
  t->had_come = came;
}

static void collect_without_a_pause(void *context) {
  turns *t = context;
  int self;
  tsr_mutator *m = tsr_bind_mutator(t->heap, &self, NULL);
  os_atomic_add_full(&t->bound, 1);
  while (!are_over(t)) {
    if (tsr_collect(m, NULL) != TSR_OK) abort();
  }
  tsr_unbind_mutator(m, NULL);
}

static void come_and_go(void *context) {
  turns *t = context;
  while (!have_begun(t))
    sched_yield();
  while (!are_over(t)) {
    os_atomic_add_full(&t->came, 1);
    tsr_mutator *m = tsr_bind_mutator(t->heap, &t->binder, NULL);
    uintptr_t seen = os_atomic_load(&t->ended);
    while (os_atomic_load(&t->ended) == seen && !are_over(t)) {
      tsr_safepoint(m);
      sched_yield();
    }
    tsr_unbind_mutator(m, NULL);
  }
}

/* Once a collection has seen that somebody waits to bind, or to unbind, none begins before that one has done so. */
START_TEST(who_waits_to_bind_or_unbind_is_passed_by_no_collection) {
  tsr_binding binding = unit_binding;
  binding.collection_ended = look_at_turns;
  turns t = {.binder = 0};
  tsr_options *options = tsr_options_create();
  ck_assert_int_eq(tsr_options_set(options, "plan", _i == 0 ? "semispace" : "markcompact", NULL),
                   TSR_OK);
  ck_assert_int_eq(tsr_options_set(options, "heap_max", "8M", NULL), TSR_OK);
  t.heap = tsr_heap_create(&binding, &t, options, NULL);
  tsr_options_destroy(options);
  ck_assert_ptr_nonnull(t.heap);
  os_thread threads[COLLECTING + 1];
  for (unsigned i = 0; i <= COLLECTING; i++) {
    void (*what)(void *context) = i < COLLECTING ? collect_without_a_pause : come_and_go;
    ck_assert(os_thread_start(&threads[i], what, &t));
  }
  for (unsigned i = 0; i <= COLLECTING; i++)
    os_thread_join(&threads[i]);
  ck_assert_uint_eq(os_atomic_load(&t.passed), 0);
  ck_assert_int_eq(tsr_heap_destroy(t.heap, NULL), TSR_OK);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("mutators");
  TCase *tests = tcase_create("turns");
  tcase_set_timeout(tests, 0);
  tcase_add_loop_test(tests, who_waits_to_bind_or_unbind_is_passed_by_no_collection, 0, 2);
  suite_add_tcase(suite, tests);
  return unit_run(suite);
}
