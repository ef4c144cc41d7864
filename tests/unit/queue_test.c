/*
 * core/trace/queue: every entry comes out once, whole, of whichever end.
 *
 * Objects are addresses that nobody follows but this test: items of a table, which note what has become
 * of them. An item with a *position* is an entry of three words.
 */
#include <signal.h>
#include <string.h>

#include "core/os/machine.h"
#include "core/os/memory.h"
#include "core/os/thread.h"
#include "core/trace/queue.h"
#include "tests/unit/unit.h"

/* As ck_assert_msg(), for places that are passed very often: Check notes each assertion that holds. */
#define REQUIRE(condition, ...)                                                                    \
  do {                                                                                             \
    if (!(condition)) ck_abort_msg(__VA_ARGS__);                                                   \
  } while (0)

/* ---- items ------------------------------------------------------------------------------------- */

typedef struct item {
  uint64_t content;     /* written before it is queued, and read by who takes it out */
  os_atomic_word taken; /* how often it came out */
} item;

#define ITEMS 200000u
static item items[ITEMS];

/* Some items are queued with a position, which is never 0. */
static size_t position_of(size_t i) {
  return i % 5 == 3 ? 7 * i + 1 : 0;
}

static size_t words_of(size_t i) {
  return position_of(i) != 0 ? 3 : 1;
}

static tsr_ref reference(size_t i) {
  return (tsr_ref)(void *)&items[i];
}

static bool push(mark_queue *queue, size_t i) {
  size_t position = position_of(i);
  items[i].content = ~(uint64_t)i;
  return position != 0 ? mark_queue_push_resume(queue, reference(i), position)
                       : mark_queue_push(queue, reference(i));
}

/* The number of the item in an entry, which is whole. */
static size_t item_in(mark_entry entry) {
  size_t offset = (size_t)((char *)mark_entry_object(entry) - (char *)items);
  size_t i = offset / sizeof(item);
  REQUIRE(i < ITEMS && offset % sizeof(item) == 0, "%#zx is no entry", (size_t)entry.object);
  REQUIRE(mark_entry_resumes(entry) == (position_of(i) != 0), "item %zu is of the wrong kind", i);
  REQUIRE(!mark_entry_resumes(entry) || entry.position == position_of(i),
          "item %zu has position %zu", i, (size_t)entry.position);
  REQUIRE(items[i].content == ~(uint64_t)i, "item %zu is not yet written", i);
  return i;
}

static void take(mark_entry entry) {
  os_atomic_add_full(&items[item_in(entry)].taken, 1);
}

static size_t pop_all(mark_queue *queue) {
  mark_entry entry;
  size_t popped = 0;
  for (; mark_queue_pop(queue, &entry); popped++)
    take(entry);
  return popped;
}

/* Each of the first `count` items came out once, and no other. */
static void assert_taken_once(size_t count) {
  for (size_t i = 0; i < ITEMS; i++) {
    size_t taken = os_atomic_load(&items[i].taken);
    REQUIRE(taken == (i < count), "item %zu of %zu came out %zu times", i, count, taken);
    os_atomic_store(&items[i].taken, 0);
  }
}

/* ---- a queue with a word behind its memory --------------------------------------------------------- */

#define CANARY     ((uintptr_t)0x5a5a5a5a5a5a5a5a)
#define MOST_WORDS 4096u

typedef struct fixture {
  mark_queue queue;
  uintptr_t memory[MOST_WORDS + 1];
} fixture;

static void reset(fixture *f, size_t words) {
  for (size_t i = 0; i <= MOST_WORDS; i++)
    f->memory[i] = CANARY;
  mark_queue_reset(&f->queue, f->memory, words * sizeof(uintptr_t));
  ck_assert(!mark_queue_offers(&f->queue));
}

static void assert_within(const fixture *f, size_t words) {
  for (size_t i = words; i <= MOST_WORDS; i++)
    REQUIRE(f->memory[i] == CANARY, "word %zu of %zu was written", i, words);
}

/* ---- the private end ----------------------------------------------------------------------------- */

START_TEST(the_private_end_is_a_stack) {
  static fixture f;
  reset(&f, MOST_WORDS);
  mark_entry entry;
  ck_assert(!mark_queue_pop(&f.queue, &entry));
  for (size_t i = 0; i < 1000; i++)
    ck_assert(push(&f.queue, i));
  for (size_t i = 1000; i-- > 0;) {
    ck_assert(mark_queue_pop(&f.queue, &entry));
    ck_assert_uint_eq(item_in(entry), i);
  }
  ck_assert(!mark_queue_pop(&f.queue, &entry));
  assert_within(&f, MOST_WORDS);
}
END_TEST

START_TEST(a_full_queue_takes_nothing_and_loses_nothing) {
  static fixture f;
  for (size_t words = 0; words < 40; words++) {
    reset(&f, words);
    size_t pushed = 0;
    while (push(&f.queue, pushed))
      pushed++;
    size_t used = (size_t)(f.queue.top - f.queue.bottom);
    ck_assert_uint_gt(used + words_of(pushed), words);
    const uintptr_t *top = f.queue.top;
    ck_assert(!push(&f.queue, pushed));
    ck_assert_ptr_eq(f.queue.top, top);
    ck_assert_uint_eq(pop_all(&f.queue), pushed);
    assert_taken_once(pushed);
    assert_within(&f, words);
  }
}
END_TEST

/* What three words do not fit may fit one. */
START_TEST(the_last_words_of_a_queue_are_of_use) {
  static fixture f;
  reset(&f, 4);
  ck_assert(mark_queue_push(&f.queue, reference(0)));
  ck_assert(mark_queue_push(&f.queue, reference(1)));
  ck_assert(!mark_queue_push_resume(&f.queue, reference(3), position_of(3)));
  ck_assert(mark_queue_push(&f.queue, reference(2)));
  ck_assert(mark_queue_push(&f.queue, reference(4)));
  ck_assert(!mark_queue_push(&f.queue, reference(5)));
  assert_within(&f, 4);
}
END_TEST

/* ---- the shared end -------------------------------------------------------------------------------- */

/* What was pushed first is shared first, at most half of it, and what is left is still a stack. */
START_TEST(the_oldest_half_is_shared) {
  static fixture f, thief;
  for (size_t count = 0; count < 150; count++) {
    reset(&f, MOST_WORDS);
    reset(&thief, MOST_WORDS);
    size_t words = 0;
    for (size_t i = 0; i < count; words += words_of(i++))
      ck_assert(push(&f.queue, i));
    bool shared = mark_queue_share(&f.queue);
    ck_assert(shared == (words >= 2));
    ck_assert(mark_queue_offers(&f.queue) == shared);
    size_t offered = os_atomic_load(&f.queue.tail), offered_words = 0;
    for (size_t i = 0; i < offered; i++)
      offered_words += words_of(i);
    ck_assert_uint_le(offered_words, words / 2 + 2);
    ck_assert_uint_ge(offered_words, words / 2);
    for (size_t i = count; i-- > offered;) {
      mark_entry entry;
      ck_assert(mark_queue_pop(&f.queue, &entry));
      ck_assert_uint_eq(item_in(entry), i);
      take(entry);
    }
    ck_assert_uint_eq(pop_all(&f.queue), 0);
    while (mark_queue_offers(&f.queue)) {
      size_t left = offered - os_atomic_load(&f.queue.head);
      ck_assert(mark_queue_steal(&thief.queue, &f.queue));
      ck_assert_uint_eq(pop_all(&thief.queue), (left + 1) / 2);
    }
    ck_assert(!mark_queue_steal(&thief.queue, &f.queue));
    assert_taken_once(count);
  }
}
END_TEST

START_TEST(no_more_is_shared_than_the_ring_holds) {
  static fixture f, thief;
  reset(&f, MOST_WORDS);
  reset(&thief, MOST_WORDS);
  size_t pushed = 0;
  while (push(&f.queue, pushed))
    pushed++;
  size_t taken = 0;
  while (mark_queue_share(&f.queue)) {
    size_t offered = os_atomic_load(&f.queue.tail) - os_atomic_load(&f.queue.head);
    ck_assert_uint_le(offered, QUEUE_SHARED_ENTRIES);
    ck_assert(!mark_queue_share(&f.queue)); /* while something is there */
    while (mark_queue_steal(&thief.queue, &f.queue))
      taken += pop_all(&thief.queue);
  }
  ck_assert_uint_gt(taken, 2 * QUEUE_SHARED_ENTRIES);
  taken += pop_all(&f.queue);
  ck_assert_uint_eq(taken, pushed);
  assert_taken_once(pushed);
}
END_TEST

/* An owner whose stack is empty takes back what it has shared. */
START_TEST(a_worker_steals_from_itself) {
  static fixture f;
  reset(&f, 512);
  for (size_t i = 0; i < 100; i++)
    ck_assert(push(&f.queue, i));
  ck_assert(mark_queue_share(&f.queue));
  pop_all(&f.queue);
  while (mark_queue_offers(&f.queue)) {
    ck_assert(mark_queue_steal(&f.queue, &f.queue));
    ck_assert_uint_gt(pop_all(&f.queue), 0);
  }
  assert_taken_once(100);
  assert_within(&f, 512);
}
END_TEST

/* Where there is no room for the half, less is stolen, and where there is none at all, nothing. */
START_TEST(a_thief_with_little_room_steals_less) {
  static fixture f, thief;
  for (size_t words = 0; words < 60; words++) {
    reset(&f, MOST_WORDS);
    reset(&thief, words);
    for (size_t i = 0; i < 200; i++)
      ck_assert(mark_queue_push_resume(&f.queue, reference(5 * i + 3), position_of(5 * i + 3)));
    ck_assert(mark_queue_share(&f.queue));
    bool stole = mark_queue_steal(&thief.queue, &f.queue);
    ck_assert(stole == (words >= 3));
    ck_assert_uint_eq(os_atomic_load(&f.queue.head), pop_all(&thief.queue));
    assert_within(&thief, words);
  }
  for (size_t i = 0; i < ITEMS; i++)
    os_atomic_store(&items[i].taken, 0);
}
END_TEST

/* The counters of the shared end go round the ring many times, and at the end of their numbers start again. */
START_TEST(the_ring_goes_round) {
  static fixture f, thief;
  reset(&f, MOST_WORDS);
  reset(&thief, MOST_WORDS);
  os_atomic_store(&f.queue.head, (uintptr_t)0 - 1000);
  os_atomic_store(&f.queue.tail, (uintptr_t)0 - 1000);
  uint64_t state = 99;
  size_t pushed = 0, taken = 0;
  for (unsigned round = 0; round < 3000; round++) {
    for (uint64_t more = unit_random(&state) % 30; more > 0; more--)
      pushed += push(&f.queue, pushed);
    if (unit_random(&state) % 2 == 0) mark_queue_share(&f.queue);
    if (unit_random(&state) % 2 == 0 && mark_queue_steal(&thief.queue, &f.queue)) {
      taken += pop_all(&thief.queue);
    }
    mark_entry entry;
    for (uint64_t fewer = unit_random(&state) % 20; fewer > 0; fewer--) {
      if (!mark_queue_pop(&f.queue, &entry)) break;
      take(entry);
      taken++;
    }
  }
  ck_assert_uint_gt(os_atomic_load(&f.queue.head), 1000);
  ck_assert_uint_lt(os_atomic_load(&f.queue.head), ITEMS); /* it has started again */
  taken += pop_all(&f.queue);
  while (mark_queue_steal(&thief.queue, &f.queue))
    taken += pop_all(&thief.queue);
  ck_assert_uint_eq(taken, pushed);
  assert_taken_once(pushed);
}
END_TEST

/* ---- a thief that is too late ------------------------------------------------------------------------- */

static fixture robbed, quicker;
static void *closed_page;

/* On the slower thief's first store, which goes to a page that is closed: another is through in the meantime.
   If that fails the signal ends the test. */
static void come_between(int number) {
  bool stole = mark_queue_steal(&quicker.queue, &robbed.queue);
  bool opened = os_memory_protect(closed_page, os_page_bytes(), OS_ACCESS_READ_WRITE);
  if (!stole || !opened) signal(number, SIG_DFL);
}

START_TEST(a_thief_that_is_too_late_has_nothing) {
  size_t bytes = os_page_bytes();
  closed_page = os_memory_reserve(bytes, bytes);
  ck_assert_ptr_nonnull(closed_page);
  ck_assert(os_memory_commit(closed_page, bytes));
  ck_assert(os_memory_protect(closed_page, bytes, OS_ACCESS_NONE));
  mark_queue slower;
  mark_queue_reset(&slower, closed_page, bytes);
  reset(&robbed, MOST_WORDS);
  reset(&quicker, MOST_WORDS);
  for (size_t i = 0; i < 100; i++)
    ck_assert(push(&robbed.queue, i));
  ck_assert(mark_queue_share(&robbed.queue));
  void (*on_segv)(int) = signal(SIGSEGV, come_between);
  void (*on_bus)(int) = signal(SIGBUS, come_between);
  bool stole = mark_queue_steal(&slower, &robbed.queue);
  signal(SIGSEGV, on_segv);
  signal(SIGBUS, on_bus);
  ck_assert(!stole);
  ck_assert_uint_eq(pop_all(&slower), 0);
  ck_assert_uint_gt(pop_all(&quicker.queue), 0);
  while (mark_queue_steal(&slower, &robbed.queue))
    pop_all(&slower);
  pop_all(&robbed.queue);
  assert_taken_once(100);
  os_memory_release(closed_page, bytes);
}
END_TEST

/* ---- closing up ------------------------------------------------------------------------------------- */

/* What sharing frees at the bottom is of use: only as much is refused as does not fit. */
START_TEST(a_queue_closes_up_over_what_was_shared) {
  static fixture f, thief;
  for (size_t words = 6; words < 300; words += 7) {
    reset(&f, words);
    reset(&thief, MOST_WORDS);
    size_t pushed = 0, taken = 0, used;
    for (unsigned round = 0; round < 8; round++) {
      while (push(&f.queue, pushed))
        pushed++;
      used = (size_t)(f.queue.top - f.queue.bottom);
      ck_assert_uint_gt(used + words_of(pushed), words);
      ck_assert(mark_queue_share(&f.queue));
      while (mark_queue_steal(&thief.queue, &f.queue))
        taken += pop_all(&thief.queue);
    }
    taken += pop_all(&f.queue);
    ck_assert_uint_eq(taken, pushed);
    ck_assert_uint_gt(pushed, words);
    assert_taken_once(pushed);
    assert_within(&f, words);
  }
}
END_TEST

/* ---- several threads ---------------------------------------------------------------------------------- */

#define THIEVES_MOST 7u

typedef struct crew {
  fixture owner;
  fixture thieves[THIEVES_MOST];
  os_atomic_word ended; /* the owner has pushed all, and its stack is empty */
  os_atomic_word begun; /* thieves that are there */
} crew;

static crew all;

typedef struct thief {
  os_thread thread;
  unsigned index;
  size_t thefts;
  size_t kept; /* entries that it had after a theft that failed */
} thief;

static void steal_all(void *context) {
  thief *t = context;
  mark_queue *own = &all.thieves[t->index].queue;
  os_atomic_add_full(&all.begun, 1);
  for (;;) {
    bool ended = os_atomic_load_acquire(&all.ended) != 0;
    if (mark_queue_steal(own, &all.owner.queue)) {
      t->thefts++;
      pop_all(own);
      continue;
    }
    t->kept += pop_all(own);
    if (ended && !mark_queue_offers(&all.owner.queue)) return;
  }
}

/* The owner pushes and pops, and shares whenever it may. */
static void own_all(uint64_t *state, size_t count) {
  mark_queue *queue = &all.owner.queue;
  mark_entry entry;
  for (size_t i = 0; i < count;) {
    for (uint64_t more = unit_random(state) % 40; more > 0 && i < count; more--) {
      if (!push(queue, i)) break;
      i++;
    }
    mark_queue_share(queue);
    for (uint64_t fewer = unit_random(state) % 24; fewer > 0; fewer--) {
      if (mark_queue_pop(queue, &entry)) take(entry);
    }
  }
  pop_all(queue);
  os_atomic_store_release(&all.ended, 1);
}

START_TEST(of_many_thieves_one_gets_an_entry) {
  thief thieves[THIEVES_MOST];
  uint64_t state = 31337u + (unsigned)_i;
  unsigned count = 1 + (unsigned)_i % THIEVES_MOST;
  reset(&all.owner, 600);
  os_atomic_store(&all.ended, 0);
  os_atomic_store(&all.begun, 0);
  for (unsigned i = 0; i < count; i++) {
    reset(&all.thieves[i], 600);
    thieves[i] = (thief){.index = i};
    ck_assert(os_thread_start(&thieves[i].thread, steal_all, &thieves[i]));
  }
  while (os_atomic_load_acquire(&all.begun) < count)
    os_pause();
  own_all(&state, ITEMS);
  size_t thefts = 0;
  for (unsigned i = 0; i < count; i++) {
    os_thread_join(&thieves[i].thread);
    thefts += thieves[i].thefts;
    ck_assert_uint_eq(thieves[i].kept, 0);
    assert_within(&all.thieves[i], 600);
  }
  ck_assert_uint_gt(thefts, 0);
  ck_assert(!mark_queue_offers(&all.owner.queue));
  assert_taken_once(ITEMS);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("queue");
  TCase *tests = tcase_create("mark queues");
  tcase_set_timeout(tests, 0);
  tcase_add_test(tests, the_private_end_is_a_stack);
  tcase_add_test(tests, a_full_queue_takes_nothing_and_loses_nothing);
  tcase_add_test(tests, the_last_words_of_a_queue_are_of_use);
  tcase_add_test(tests, the_oldest_half_is_shared);
  tcase_add_test(tests, no_more_is_shared_than_the_ring_holds);
  tcase_add_test(tests, a_worker_steals_from_itself);
  tcase_add_test(tests, a_thief_with_little_room_steals_less);
  tcase_add_test(tests, the_ring_goes_round);
  tcase_add_test(tests, a_thief_that_is_too_late_has_nothing);
  tcase_add_test(tests, a_queue_closes_up_over_what_was_shared);
  tcase_add_loop_test(tests, of_many_thieves_one_gets_an_entry, 0, 2 * (int)THIEVES_MOST);
  suite_add_tcase(suite, tests);
  return unit_run(suite);
}
