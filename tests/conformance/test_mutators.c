/*
 * Many mutators: they come and go, stay in native code, trigger collections and end, all at any
 * time. Every test runs twice, under Tessera's own safepoints and under a VM that stops and resumes
 * its threads by itself (own_threads.h).
 *
 * The threads of a team bind and unbind by themselves; the main thread has no mutator. What each
 * thread knows of its own objects is a list of numbers, which a collection that missed a root, or
 * ran beside a mutator, would tear.
 */
#include "own_threads.h"

#include <sched.h>
#include <time.h>

#define THREADS 8u

typedef struct team {
  own_threads own; /* first: the VM's `extra` points to both */
  testvm vm;
  bool overrides; /* the VM's own protocol */
  vm_thread threads[THREADS];
  tsr_mutator storage[THREADS]; /* of the embedded mutators */
  tsr_bump_pointer cached[THREADS][2];
  unsigned running;
  pthread_barrier_t all;

  atomic_uint busy;   /* threads that still do what the others wait for */
  atomic_uint native; /* threads known to be in native code */
  atomic_uint phase;

  /* World stopped, or before the threads have met at `all`. */
  tsr_bump_pointer *pairs[THREADS][TSR_BUMP_POINTERS + 2];
  unsigned pairs_seen, pairs_left;
  tsr_slot *watched;
  tsr_slot *dropped; /* holds what lies between the objects of the watched list */
  uint64_t last_word;
  unsigned moves;
} team;

static team *team_of(const vm_thread *self) {
  return self->arg;
}

static bool is_zero(const tsr_bump_pointer *pair) {
  return pair->cursor == 0 && pair->limit == 0;
}

/* ---- the protocol: Tessera's or the VM's ----------------------------------------------------- */

/* Binds the thread's mutator, in memory of the team's where it is to be embedded. */
static bool come_as(vm_thread *self, bool embedded) {
  team *t = team_of(self);
  tsr_mutator *storage = &t->storage[self->index];
  if (!embedded) {
    self->m = tsr_bind_mutator(t->vm.heap, self, NULL);
  } else {
    self->m = tsr_bind_mutator_in(t->vm.heap, storage, self, NULL) == TSR_OK ? storage : NULL;
  }
  if (self->m == NULL) return false;
  if (t->overrides) own_attach(&t->own, self->m, self->index);
  return true;
}

static bool come(vm_thread *self) {
  return come_as(self, false);
}

static bool go(vm_thread *self) {
  team *t = team_of(self);
  return (t->overrides ? own_unbind(&t->own, self->m, self->index)
                       : tsr_unbind_mutator(self->m, NULL)) == TSR_OK;
}

static void enter_native(vm_thread *self) {
  team *t = team_of(self);
  if (t->overrides) {
    own_enter_native(&t->own);
  } else {
    tsr_enter_native(self->m);
  }
}

static void leave_native(vm_thread *self) {
  team *t = team_of(self);
  if (t->overrides) {
    own_leave_native(&t->own);
  } else {
    tsr_leave_native(self->m);
  }
}

static void reach_safepoint(vm_thread *self) {
  team *t = team_of(self);
  if (t->overrides) {
    own_safepoint(&t->own);
  } else {
    tsr_safepoint(self->m);
  }
}

/* Whether a collection waits for this thread. */
static bool is_asked_to_stop(vm_thread *self) {
  team *t = team_of(self);
  return t->overrides ? atomic_load(&t->own.stopping) : tsr_safepoint_requested(self->m);
}

static bool collects(vm_thread *self) {
  return tsr_collect(self->m, NULL) == (vm_collects ? TSR_OK : TSR_UNSUPPORTED);
}

/* All threads of the team meet, in native code. */
static void meet(vm_thread *self) {
  enter_native(self);
  pthread_barrier_wait(&team_of(self)->all);
  leave_native(self);
}

static void wait_in_native(vm_thread *self, atomic_uint *counter, unsigned value) {
  enter_native(self);
  while (atomic_load(counter) != value)
    sched_yield();
  leave_native(self);
}

/* ---- teams ----------------------------------------------------------------------------------- */

static void team_init(team *t, bool overrides, void (*init)(testvm *vm)) {
  memset(t, 0, sizeof *t);
  t->overrides = overrides;
  init(&t->vm);
  vm_pin(&t->vm, "heap_max", vm_collects ? "16M" : "128M");
  if (overrides) own_install(&t->own, &t->vm);
  t->vm.extra = t;
}

static void team_open(team *t, bool overrides) {
  team_init(t, overrides, vm_init);
  vm_start_heap(&t->vm);
}

static void *thread_main(void *arg) {
  vm_thread *self = arg;
  self->body(self);
  return NULL;
}

static void team_start(team *t, unsigned first, unsigned n, void (*body)(vm_thread *self)) {
  for (unsigned i = first; i < first + n; i++) {
    t->threads[i] = (vm_thread){.vm = &t->vm, .index = i, .arg = t, .body = body};
    ck_assert_int_eq(pthread_create(&t->threads[i].id, NULL, thread_main, &t->threads[i]), 0);
  }
}

static void team_join(team *t, unsigned first, unsigned n) {
  for (unsigned i = first; i < first + n; i++)
    pthread_join(t->threads[i].id, NULL);
  for (unsigned i = first; i < first + n; i++)
    ck_assert_msg(t->threads[i].failure[0] == 0, "%s", t->threads[i].failure);
}

static void team_run(team *t, unsigned n, void (*body)(vm_thread *self)) {
  pthread_barrier_init(&t->all, NULL, n);
  team_start(t, 0, n, body);
  team_join(t, 0, n);
  pthread_barrier_destroy(&t->all);
}

static void team_close(team *t) {
  vm_alone(&t->vm);
  ck_assert_uint_eq(vm_stats(&t->vm).mutators, 0);
  vm_stop(&t->vm);
  if (!t->overrides) return;
  ck_assert_uint_eq(t->own.pairs_left, 0);
  ck_assert_uint_eq(t->own.overlapping_stops, 0);
  ck_assert_uint_eq(t->own.stops, t->own.resumes);
  ck_assert_uint_eq(t->own.running, 0);
  own_destroy(&t->own);
}

/* ---- coming and going ------------------------------------------------------------------------ */

/* Collects until nobody is busy any more. Who comes needs a moment at which no collection is on. */
static void collect_while_others_are_busy(vm_thread *self) {
  team *t = team_of(self);
  EXPECT(self, come(self));
  do {
    EXPECT(self, collects(self));
    enter_native(self);
    nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
    leave_native(self);
  } while (atomic_load(&t->busy) > 0);
  EXPECT(self, go(self));
}

/* One life of a mutator: a list from its own pair and one from a cached pair. */
static bool live_once(vm_thread *self, bool embedded, unsigned length, uint64_t first) {
  tsr_bump_pointer *cached = team_of(self)->cached[self->index];
  if (!come_as(self, embedded)) return false;
  if (tsr_register_bump_pointer(self->m, cached, NULL) != TSR_OK) return false;
  tsr_scope scope;
  tsr_scope_open(self->m, &scope);
  tsr_slot *list = tsr_local(self->m, 0);
  bool ok = vm_list(self->m, list, length, first);
  reach_safepoint(self);
  size_t size = vm_size(CELL, 0);
  void *cell = tsr_alloc_cached(self->m, cached, size);
  if (cell != NULL) vm_init_object(cell, CELL, 0, 0);
  ok = ok && cell != NULL && vm_list_holds(self->m, list->word, length, first);
  tsr_scope_close(self->m, &scope);
  return go(self) && ok && is_zero(cached);
}

static void come_and_go(vm_thread *self) {
  team *t = team_of(self);
  bool ok = true;
  for (unsigned i = 0; i < 150 && ok; i++)
    ok = live_once(self, i % 2 == 0, 20, i);
  atomic_fetch_sub(&t->busy, 1);
  EXPECT(self, ok);
}

/* 600 mutators come and go while three threads do little but collect. */
START_TEST(mutators_come_and_go_under_load) {
  team t;
  team_open(&t, _i == 1);
  t.busy = 4;
  team_start(&t, 0, 4, come_and_go);
  team_start(&t, 4, 3, collect_while_others_are_busy);
  team_join(&t, 0, 7);
  ck_assert(!vm_collects || t.vm.ended > 0);
  team_close(&t);
}
END_TEST

static void live_once_and_end(vm_thread *self) {
  EXPECT(self, live_once(self, self->index % 2 == 0, 10, self->index));
}

/* Threads begin and end; one that has ended is waited for by nobody. */
START_TEST(threads_end_without_holding_up_others) {
  team t;
  team_open(&t, _i == 1);
  t.busy = 1;
  team_start(&t, 0, 2, collect_while_others_are_busy);
  for (unsigned wave = 0; wave < 40; wave++) {
    team_start(&t, 2, 6, live_once_and_end);
    team_join(&t, 2, 6);
  }
  atomic_store(&t.busy, 0);
  team_join(&t, 0, 2);
  team_close(&t);
}
END_TEST

/* ---- binding while others collect ------------------------------------------------------------ */

#define BINDS        (vm_verifies || VM_SANITIZED ? 20u : 200u) /* each takes three collections at least */
#define COPIED_PAIRS 2000u /* so that a collection takes longer than a bind */

static void collect_back_to_back(vm_thread *self) {
  const team *t = team_of(self);
  EXPECT(self, come(self));
  tsr_scope scope;
  tsr_scope_open(self->m, &scope);
  tsr_slot *list = tsr_local(self->m, 0);
  bool ok = vm_list(self->m, list, COPIED_PAIRS, 0);
  while (atomic_load(&t->busy) > 0 && ok)
    ok = collects(self);
  ok = ok && vm_list_holds(self->m, list->word, COPIED_PAIRS, 0);
  tsr_scope_close(self->m, &scope);
  EXPECT(self, go(self) && ok);
}

/* Comes and goes amid the collections. */
static void bind_again_and_again(vm_thread *self) {
  team *t = team_of(self);
  bool ok = true;
  for (unsigned i = 0; i < BINDS && ok; i++) {
    unsigned seen = atomic_load(&t->vm.ended);
    while (atomic_load(&t->vm.ended) < seen + 3)
      sched_yield();
    ok = come_as(self, i % 2 == 0) && go(self);
  }
  atomic_store(&t->busy, 0);
  EXPECT(self, ok);
}

/* Whose turn it is when is the collector's own matter, and tested there. */
START_TEST(collections_back_to_back_keep_nobody_out) {
  team t;
  team_init(&t, _i == 1, vm_init_calm);
  vm_start_heap(&t.vm);
  t.busy = 1;
  team_start(&t, 0, 3, collect_back_to_back);
  team_start(&t, 3, 1, bind_again_and_again);
  team_join(&t, 0, 4);
  team_close(&t);
}
END_TEST

/* The collection waits for this thread, so this thread may not wait for the collection. */
static void bind_twice_amid_a_collection(vm_thread *self) {
  team *t = team_of(self);
  EXPECT(self, come(self));
  for (unsigned i = 0; i < 50; i++) {
    if (self->index == 0) {
      wait_in_native(self, &t->phase, i + 1);
      EXPECT(self, collects(self));
      continue;
    }
    atomic_store(&t->phase, i + 1);
    while (!is_asked_to_stop(self))
      sched_yield();
    unsigned before = atomic_load(&t->vm.ended);
    tsr_error error = {0};
    EXPECT(self, tsr_bind_mutator(t->vm.heap, self, &error) == NULL);
    EXPECT(self, error.status == TSR_BUSY && error.message[0] != 0);
    tsr_mutator *storage = &t->storage[0];
    EXPECT(self, tsr_bind_mutator_in(t->vm.heap, storage, self, NULL) == TSR_BUSY);
    EXPECT(self, atomic_load(&t->vm.ended) == before);
    while (atomic_load(&t->vm.ended) == before)
      reach_safepoint(self);
  }
  EXPECT(self, go(self));
}

START_TEST(a_second_bind_is_refused_amid_a_collection) {
  team t;
  team_init(&t, _i == 1, vm_init_calm);
  vm_start_heap(&t.vm);
  team_run(&t, 2, bind_twice_amid_a_collection);
  ck_assert_uint_ge(t.vm.ended, 50);
  team_close(&t);
}
END_TEST

/* ---- answering a stop ------------------------------------------------------------------------ */

enum { BY_POLLING, BY_NATIVE_CODE, BY_ENDING, BY_ALLOCATING, ANSWERS };

static bool answer(vm_thread *self, unsigned how) {
  const team *t = team_of(self);
  unsigned before = t->vm.ended;
  switch (how) {
  case BY_NATIVE_CODE:
    enter_native(self);
    while (t->vm.ended == before)
      sched_yield();
    leave_native(self);
    return true;
  case BY_ENDING:
    return go(self) && come(self);
  case BY_ALLOCATING:
    while (t->vm.ended == before) {
      if (vm_new(self->m, BYTES, 0, 5000) == NULL) return false;
    }
    return true;
  default:
    while (t->vm.ended == before)
      reach_safepoint(self);
    return true;
  }
}

/* Thread 0 collects; thread 1 runs on until it sees that somebody waits for it. */
static void trigger_or_answer(vm_thread *self) {
  team *t = team_of(self);
  EXPECT(self, come(self));
  for (unsigned i = 0; i < 25 * ANSWERS; i++) {
    if (self->index == 0) {
      wait_in_native(self, &t->phase, i + 1); /* the other is in managed code, and stays there */
      EXPECT(self, collects(self));
      continue;
    }
    atomic_store(&t->phase, i + 1);
    while (!is_asked_to_stop(self))
      sched_yield();
    EXPECT(self, answer(self, i % ANSWERS));
  }
  EXPECT(self, go(self));
}

START_TEST(a_stop_is_answered_in_every_way) {
  team t;
  team_init(&t, _i == 1, vm_init_calm);
  vm_start_heap(&t.vm);
  team_run(&t, 2, trigger_or_answer);
  ck_assert_uint_ge(t.vm.ended, 25 * ANSWERS);
  team_close(&t);
}
END_TEST

/* ---- native code ----------------------------------------------------------------------------- */

static void cross_the_border(vm_thread *self) {
  team *t = team_of(self);
  EXPECT(self, come(self));
  tsr_scope scope;
  tsr_scope_open(self->m, &scope);
  tsr_slot *list = tsr_local(self->m, 0);
  bool ok = true;
  for (unsigned i = 0; i < 2000 && ok; i++) {
    if (i % 50 == 0) ok = vm_list(self->m, list, 20, i);
    enter_native(self);
    if (i % 8 == 0) sched_yield();
    leave_native(self);
    ok = ok && vm_list_holds(self->m, list->word, 20, i - i % 50);
  }
  tsr_scope_close(self->m, &scope);
  ok = go(self) && ok;
  atomic_fetch_sub(&t->busy, 1);
  EXPECT(self, ok);
}

START_TEST(native_regions_while_collections_run) {
  team t;
  team_open(&t, _i == 1);
  t.busy = 5;
  team_start(&t, 0, 5, cross_the_border);
  team_start(&t, 5, 1, collect_while_others_are_busy);
  team_join(&t, 0, 6);
  team_close(&t);
}
END_TEST

/* Phase 0: half of the others are in native code, the rest polls; phase 1: all are in native code. */
static void trigger_among_native_threads(vm_thread *self) {
  team *t = team_of(self);
  EXPECT(self, come(self));
  tsr_scope scope;
  tsr_scope_open(self->m, &scope);
  tsr_slot *list = tsr_local(self->m, 0);
  EXPECT(self, vm_list(self->m, list, 50, self->index));
  for (unsigned phase = 0; phase < 2; phase++) {
    if (self->index == 0) {
      wait_in_native(self, &t->native, phase == 0 ? THREADS / 2 : THREADS - 1);
      unsigned before = t->vm.ended;
      for (unsigned i = 0; i < 30; i++)
        EXPECT(self, collects(self));
      EXPECT(self, !vm_collects || t->vm.ended >= before + 30);
      atomic_store(&t->native, 0);
      atomic_store(&t->phase, phase + 1);
    } else if (phase == 1 || self->index % 2 == 1) {
      enter_native(self);
      atomic_fetch_add(&t->native, 1);
      while (atomic_load(&t->phase) == phase)
        sched_yield();
      leave_native(self);
    } else {
      while (atomic_load(&t->phase) == phase)
        reach_safepoint(self);
    }
    EXPECT(self, vm_list_holds(self->m, list->word, 50, self->index));
    meet(self);
  }
  tsr_scope_close(self->m, &scope);
  EXPECT(self, go(self));
}

START_TEST(a_thread_triggers_while_others_are_in_native_code) {
  team t;
  team_open(&t, _i == 1);
  team_run(&t, THREADS, trigger_among_native_threads);
  team_close(&t);
}
END_TEST

/* World stopped: whether the list of the thread in native code has moved since the last time; and what lies
   below it dies, so that it has where to move to. */
static void watch_moves(void *data, const tsr_collection *collection) {
  testvm *vm = data;
  team *t = vm->extra;
  (void)collection;
  atomic_fetch_add(&vm->ended, 1);
  if (t->watched == NULL) return;
  t->moves += t->watched->word != t->last_word;
  t->last_word = t->watched->word;
  t->dropped->word = 0;
}

/* Two lists of n pairs each, whose objects lie by turns. */
static bool lists_by_turns(tsr_mutator *m, tsr_slot *one, tsr_slot *other, size_t n,
                           uint64_t first) {
  one->word = other->word = 0;
  for (size_t i = n; i-- > 0;) {
    for (unsigned k = 0; k < 2; k++) {
      tsr_slot *list = k == 0 ? one : other;
      tsr_ref pair = vm_new(m, PAIR, 0, 0);
      if (pair == NULL) return false;
      vm_set(m, pair, 1, FIXNUM(first + i));
      vm_set(m, pair, 2, list->word);
      list->word = vm_word(pair);
    }
  }
  return true;
}

/* Every kind of root holds the same list when the thread goes, and when it comes back. */
static void stay_in_native_code(vm_thread *self) {
  team *t = team_of(self);
  tsr_heap *heap = t->vm.heap;
  tsr_slot range[2] = {{0}};
  tsr_slot frames[2] = {{0}};
  tsr_slot *top = frames + 2;
  tsr_native_stack stack = {.base = frames, .top = &top};
  EXPECT(self, come(self));
  EXPECT(self, tsr_root_add(heap, range, 2, TSR_ROOT_PRECISE, NULL, NULL) == TSR_OK);
  EXPECT(self, tsr_stack_add(heap, &stack, NULL) == TSR_OK);
  tsr_slot *handle = tsr_handle_new(heap, 0, TSR_STRONG, NULL);
  tsr_scope scope;
  tsr_scope_open(self->m, &scope);
  tsr_slot *dropped = tsr_local(self->m, 0);
  tsr_slot *local = tsr_local(self->m, 0);
  EXPECT(self, handle != NULL && lists_by_turns(self->m, dropped, local, 300, 5));
  handle->word = range[1].word = frames[1].word = local->word;
  t->last_word = local->word;
  t->dropped = dropped;
  t->watched = handle;

  enter_native(self);
  atomic_store(&t->native, 1);
  while (atomic_load(&t->busy) > 0)
    sched_yield();
  leave_native(self);

  t->watched = NULL;
  EXPECT(self, vm_list_holds(self->m, local->word, 300, 5));
  EXPECT(self, handle->word == local->word);
  EXPECT(self, range[1].word == local->word && frames[1].word == local->word);
  tsr_scope_close(self->m, &scope);
  EXPECT(self, tsr_handle_free(heap, handle, NULL) == TSR_OK);
  EXPECT(self, tsr_stack_remove(heap, &stack, NULL) == TSR_OK);
  EXPECT(self, tsr_root_remove(heap, range, NULL) == TSR_OK);
  EXPECT(self, go(self));
}

static void collect_meanwhile(vm_thread *self) {
  team *t = team_of(self);
  EXPECT(self, come(self));
  wait_in_native(self, &t->native, 1);
  bool ok = true;
  for (unsigned i = 0; i < 60 && ok; i++) {
    ok = vm_new(self->m, BYTES, 0, 3000) != NULL && collects(self);
  }
  ok = go(self) && ok;
  atomic_fetch_sub(&t->busy, 1);
  EXPECT(self, ok);
}

START_TEST(a_long_stay_in_native_code_finds_handles_updated) {
  team t;
  team_init(&t, _i == 1, vm_init);
  t.vm.binding.collection_ended = watch_moves;
  vm_start_heap(&t.vm);
  t.busy = 3;
  team_start(&t, 0, 1, stay_in_native_code);
  team_start(&t, 1, 3, collect_meanwhile);
  team_join(&t, 0, 4);
  tsr_facts facts;
  tsr_heap_facts(t.vm.heap, &facts);
  ck_assert_uint_ge(t.vm.ended, 60);
  ck_assert(!facts.moves_objects || t.moves > 0);
  team_close(&t);
}
END_TEST

/* ---- A002-05: the pairs ---------------------------------------------------------------------- */

/* World stopped, the last moment before the resume. */
static void look_at_all_pairs(void *data, const tsr_collection *collection) {
  testvm *vm = data;
  team *t = vm->extra;
  (void)collection;
  atomic_fetch_add(&vm->ended, 1);
  for (unsigned i = 0; i < THREADS; i++) {
    for (unsigned k = 0; k < TSR_BUMP_POINTERS + 2; k++) {
      if (t->pairs[i][k] == NULL) continue;
      t->pairs_seen++;
      t->pairs_left += !is_zero(t->pairs[i][k]);
    }
  }
}

/* A pair of objects from each of the thread's pairs: all are in use afterwards. */
static bool use_every_pair(vm_thread *self, tsr_bump_pointer *cached) {
  tsr_heap *heap = self->m->heap;
  size_t size = vm_size(PAIR, 0);
  for (unsigned k = 0; k < 5; k++) {
    static const tsr_semantics placements[] = {TSR_DEFAULT, TSR_NON_MOVING, TSR_IMMORTAL};
    void *memory = NULL;
    if (k < 2) {
      memory = tsr_alloc_cached(self->m, &cached[k], size);
    } else {
      tsr_allocator_info info = tsr_allocator_mapping(heap, placements[k - 2]);
      if (info.kind != TSR_ALLOCATOR_BUMP) return false;
      memory = tsr_alloc_by_offset(self->m, info.pair_offset, size, TSR_OBJECT_ALIGN, 0);
    }
    if (memory == NULL) return false;
    vm_init_object(memory, PAIR, k, 0);
    tsr_semantics placement = k < 2 ? TSR_DEFAULT : placements[k - 2];
    if (tsr_post_alloc(self->m, (tsr_ref)memory, size, placement) != TSR_OK) return false;
  }
  return !is_zero(&self->m->bump[TSR_DEFAULT]) && !is_zero(&self->m->bump[TSR_NON_MOVING]) &&
         !is_zero(&self->m->bump[TSR_IMMORTAL]) && !is_zero(&cached[0]) && !is_zero(&cached[1]);
}

static bool every_pair_is_zero(vm_thread *self, const tsr_bump_pointer *cached) {
  for (unsigned k = 0; k < TSR_BUMP_POINTERS; k++) {
    if (!is_zero(&self->m->bump[k])) return false;
  }
  return is_zero(&cached[0]) && is_zero(&cached[1]);
}

/*
 * Half of the mutators are embedded. One thread collects; of the others some poll, some are in native
 * code, and each looks at its own pairs right afterwards.
 */
static void use_pairs_and_look(vm_thread *self) {
  team *t = team_of(self);
  tsr_bump_pointer *cached = t->cached[self->index];
  EXPECT(self, come_as(self, self->index % 2 == 0));
  for (unsigned k = 0; k < TSR_BUMP_POINTERS; k++)
    t->pairs[self->index][k] = &self->m->bump[k];
  for (unsigned k = 0; k < 2; k++) {
    EXPECT(self, tsr_register_bump_pointer(self->m, &cached[k], NULL) == TSR_OK);
    t->pairs[self->index][TSR_BUMP_POINTERS + k] = &cached[k];
  }
  for (unsigned turn = 0; turn < 2 * THREADS; turn++) {
    EXPECT(self, use_every_pair(self, cached));
    meet(self);
    if (turn % THREADS == self->index) {
      EXPECT(self, collects(self));
    } else if (self->index % 3 == 0) {
      wait_in_native(self, &t->vm.ended, vm_collects ? turn + 1 : 0);
    } else if (vm_collects) {
      while (t->vm.ended <= turn)
        reach_safepoint(self);
    }
    EXPECT(self, !vm_collects || every_pair_is_zero(self, cached));
    meet(self);
  }
  memset(t->pairs[self->index], 0, sizeof t->pairs[self->index]);
  EXPECT(self, go(self));
}

START_TEST(a002_05_every_pair_of_every_mutator_is_zero_at_resume) {
  team t;
  team_init(&t, _i == 1, vm_init_calm);
  t.vm.binding.collection_ended = look_at_all_pairs;
  vm_start_heap(&t.vm);
  team_run(&t, THREADS, use_pairs_and_look);
  unsigned collections = vm_collects ? 2 * THREADS : 0;
  ck_assert_uint_eq(t.vm.ended, collections);
  ck_assert_uint_eq(t.pairs_seen, collections * THREADS * (TSR_BUMP_POINTERS + 2));
  ck_assert_uint_eq(t.pairs_left, 0);
  team_close(&t);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_loop_test(tests, mutators_come_and_go_under_load, 0, 2);
  tcase_add_loop_test(tests, threads_end_without_holding_up_others, 0, 2);
  tcase_add_loop_test(tests, native_regions_while_collections_run, 0, 2);
  tcase_add_loop_test(tests, a_thread_triggers_while_others_are_in_native_code, 0, 2);
  tcase_add_loop_test(tests, a002_05_every_pair_of_every_mutator_is_zero_at_resume, 0, 2);
  if (!vm_collects) return;
  tcase_add_loop_test(tests, a_stop_is_answered_in_every_way, 0, 2);
  tcase_add_loop_test(tests, collections_back_to_back_keep_nobody_out, 0, 2);
  tcase_add_loop_test(tests, a_second_bind_is_refused_amid_a_collection, 0, 2);
  tcase_add_loop_test(tests, a_long_stay_in_native_code_finds_handles_updated, 0, 2);
}

int main(void) {
  return vm_main("mutators", add);
}
