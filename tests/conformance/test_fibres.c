/*
 * F32. Fibres: handle scopes and stacks that are switched. Whatever is suspended keeps its objects alive and up to
 * date, on whichever thread it runs next, and nothing else of it does.
 *
 * Most tests switch fibres as a VM does whose coroutines are its own records. One runs real coroutines.
 */
#include "children.h"

#include <sched.h>
#include <signal.h>
#include <unistd.h>

static testvm vm;

static void start(void) {
  vm_init(&vm);
  vm_start(&vm);
}

static tsr_fibre *create(tsr_heap *heap, const tsr_fibre_roots *roots) {
  tsr_error error = {0};
  tsr_fibre *fibre = tsr_fibre_create(heap, roots, &error);
  ck_assert_msg(fibre != NULL, "tsr_fibre_create: %s", error.message);
  return fibre;
}

static void switch_to(tsr_fibre *fibre) {
  tsr_error error = {0};
  tsr_status status = tsr_fibre_switch(vm.m, fibre, &error);
  ck_assert_msg(status == TSR_OK, "tsr_fibre_switch: %s", error.message);
  ck_assert_ptr_eq(tsr_fibre_current(vm.m), fibre);
}

static void destroy(tsr_fibre *fibre) {
  tsr_error error = {0};
  tsr_status status = tsr_fibre_destroy(fibre, &error);
  ck_assert_msg(status == TSR_OK, "tsr_fibre_destroy: %s", error.message);
}

/* A handle in the innermost scope to a fresh pair that holds a number; NULL: out of memory. */
static tsr_slot *keep(tsr_mutator *m, uint64_t number) {
  tsr_slot *slot = tsr_local(m, 0);
  return slot != NULL && vm_list(m, slot, 1, number) ? slot : NULL;
}

static bool keeps(tsr_mutator *m, const tsr_slot *slot, uint64_t number) {
  return vm_list_holds(m, slot->word, 1, number);
}

static void expect_objects(size_t n) {
  vm_collect(&vm);
  if (vm_collects) ck_assert_uint_eq(vm_enumerate(vm.m).objects, n);
}

/* What fibres take: themselves and their handles. */
static uint64_t fibre_bytes(void) {
  tsr_memory_share shares[64];
  size_t count = tsr_heap_memory(vm.heap, shares, 64);
  uint64_t bytes = 0;
  for (size_t i = 0; i < count && i < 64; i++) {
    bool ours =
        strcmp(shares[i].name, "handles") == 0 || strcmp(shares[i].name, "root tables") == 0;
    if (ours) bytes += shares[i].bytes;
  }
  return bytes;
}

/* ---- one thread ---------------------------------------------------------------------------------- */

#define NESTS 9u /* the thread's own, and eight fibres */
#define DEPTH 6u
#define WIDTH 40u /* handles of a scope at most */

/* The scopes that are open on a fibre. */
typedef struct nest {
  tsr_fibre *fibre; /* NULL: the thread's own */
  unsigned depth;
  tsr_scope scopes[DEPTH];
  unsigned counts[DEPTH];
  tsr_slot *slots[DEPTH][WIDTH];
  uint64_t numbers[DEPTH][WIDTH];
} nest;

static uint64_t next_number = 1;

static void nest_open(nest *n, unsigned count) {
  unsigned level = n->depth++;
  tsr_scope_open(vm.m, &n->scopes[level]);
  n->counts[level] = count;
  for (unsigned i = 0; i < count; i++) {
    n->numbers[level][i] = next_number++;
    n->slots[level][i] = keep(vm.m, n->numbers[level][i]);
    ck_assert_ptr_nonnull(n->slots[level][i]);
  }
}

static void nest_close(nest *n) {
  tsr_scope_close(vm.m, &n->scopes[--n->depth]);
}

/* Returns the number of its handles. */
static size_t nest_check(const nest *n) {
  size_t handles = 0;
  for (unsigned level = 0; level < n->depth; level++) {
    for (unsigned i = 0; i < n->counts[level]; i++) {
      ck_assert(keeps(vm.m, n->slots[level][i], n->numbers[level][i]));
      handles++;
    }
  }
  return handles;
}

static void check_all(const nest *nests) {
  size_t handles = 0;
  vm_collect(&vm);
  for (unsigned i = 0; i < NESTS; i++)
    handles += nest_check(&nests[i]);
  expect_objects(handles);
}

/* Scopes are opened on one fibre and closed on another one's turn, in no order among the fibres. */
START_TEST(scopes_of_fibres_interleave) {
  start();
  static nest nests[NESTS];
  memset(nests, 0, sizeof nests);
  for (unsigned i = 1; i < NESTS; i++)
    nests[i].fibre = create(vm.heap, NULL);
  uint64_t random = 42;
  for (unsigned step = 0; step < 1500; step++) {
    nest *n = &nests[vm_random(&random) % NESTS];
    switch_to(n->fibre);
    bool opens = n->depth == 0 || (n->depth < DEPTH && vm_random(&random) % 2 == 0);
    if (opens) {
      nest_open(n, (unsigned)(vm_random(&random) % (WIDTH + 1)));
    } else {
      nest_close(n);
    }
    (void)nest_check(n);
    if (step % 100 == 0) check_all(nests);
  }
  check_all(nests);
  for (unsigned i = 0; i < NESTS; i++) {
    switch_to(nests[i].fibre);
    while (nests[i].depth > 0)
      nest_close(&nests[i]);
  }
  expect_objects(0);
  switch_to(NULL);
  for (unsigned i = 1; i < NESTS; i++)
    destroy(nests[i].fibre);
  vm_stop(&vm);
}
END_TEST

/* More handles than a fibre begins with room for; and memory is used again. */
START_TEST(many_handles_of_a_fibre) {
  enum { HANDLES = 1500 };
  static tsr_slot *slots[HANDLES];
  start();
  vm_alone(&vm); /* counts memory */
  uint64_t before_bytes = fibre_bytes(), bytes = 0;
  tsr_fibre *fibre = create(vm.heap, NULL);
  tsr_slot *first = NULL;
  for (unsigned round = 0; round < 4; round++) {
    switch_to(fibre);
    tsr_scope scope;
    tsr_scope_open(vm.m, &scope);
    for (unsigned i = 0; i < HANDLES; i++)
      ck_assert_ptr_nonnull(slots[i] = keep(vm.m, i));
    switch_to(NULL);
    expect_objects(HANDLES);
    switch_to(fibre);
    for (unsigned i = 0; i < HANDLES; i++)
      ck_assert(keeps(vm.m, slots[i], i));
    tsr_scope_close(vm.m, &scope);
    switch_to(NULL);
    expect_objects(0);
    if (round == 0) {
      first = slots[0];
      bytes = fibre_bytes();
    }
    ck_assert_ptr_eq(slots[0], first);
    ck_assert_uint_eq(fibre_bytes(), bytes);
  }
  destroy(fibre);
  ck_assert_uint_eq(fibre_bytes(), before_bytes);
  vm_stop(&vm);
}
END_TEST

/* Handles that a fibre makes outside any scope are there until it is destroyed. */
START_TEST(a_fibre_begins_with_a_scope) {
  start();
  tsr_fibre *fibre = create(vm.heap, NULL);
  switch_to(fibre);
  tsr_slot *slot = keep(vm.m, 1);
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  ck_assert_ptr_nonnull(keep(vm.m, 2));
  expect_objects(2);
  switch_to(NULL);
  expect_objects(2);
  switch_to(fibre);
  tsr_scope_close(vm.m, &scope);
  expect_objects(1);
  ck_assert(keeps(vm.m, slot, 1));
  switch_to(NULL);
  destroy(fibre);
  expect_objects(0);
  vm_stop(&vm);
}
END_TEST

/* ---- stacks -------------------------------------------------------------------------------------- */

#define VALUES 4

/* A coroutine of a VM that keeps its values on stacks of its own. */
typedef struct coroutine {
  tsr_fibre *fibre;
  tsr_slot values[2][VALUES];
  tsr_slot *tops[2], *clean[2];
  tsr_native_stack stacks[2];
  tsr_slot *handle;
} coroutine;

static void coroutine_open(coroutine *c, const char *name) {
  memset(c, 0, sizeof *c);
  for (unsigned i = 0; i < 2; i++) {
    c->tops[i] = c->values[i];
    c->clean[i] = c->values[i];
    c->stacks[i] = (tsr_native_stack){
        .base = c->values[i], .top = &c->tops[i], .clean_below = &c->clean[i], .name = name};
  }
  tsr_fibre_roots roots = {.name = name, .stacks = c->stacks, .stack_count = 2};
  c->fibre = create(vm.heap, &roots);
}

static void coroutine_push(coroutine *c, unsigned stack, uint64_t number) {
  ck_assert(vm_list(vm.m, c->tops[stack], 1, number));
  c->tops[stack]++;
}

/* The second stack holds one value less. */
static void coroutine_fill(coroutine *c, uint64_t number) {
  switch_to(c->fibre);
  c->handle = keep(vm.m, number);
  ck_assert_ptr_nonnull(c->handle);
  for (unsigned i = 0; i < VALUES; i++)
    coroutine_push(c, 0, number + i);
  for (unsigned i = 1; i < VALUES; i++)
    coroutine_push(c, 1, number + i);
  c->values[1][VALUES - 1].word = c->handle->word; /* above the top: no root */
}

#define COROUTINE_OBJECTS (2 * VALUES)

static bool coroutine_holds(const coroutine *c, uint64_t number) {
  bool holds = keeps(vm.m, c->handle, number);
  for (unsigned i = 0; i < VALUES; i++)
    holds = holds && keeps(vm.m, &c->values[0][i], number + i);
  for (unsigned i = 1; i < VALUES; i++)
    holds = holds && keeps(vm.m, &c->values[1][i - 1], number + i);
  return holds;
}

START_TEST(stacks_of_a_fibre_are_roots_whether_it_runs_or_not) {
  start();
  coroutine c;
  coroutine_open(&c, "one");
  coroutine_fill(&c, 100);
  for (unsigned round = 0; round < 4; round++) {
    switch_to(round % 2 == 0 ? c.fibre : NULL);
    expect_objects(COROUTINE_OBJECTS);
    ck_assert(coroutine_holds(&c, 100));
    for (unsigned i = 0; i < 2 && vm_collects; i++)
      ck_assert_ptr_eq(c.clean[i], c.tops[i]);
    c.clean[0] = c.clean[1] = NULL; /* as if it had popped everything, and pushed it again */
  }
  c.tops[0] -= 2;
  c.tops[1] = c.values[1];
  expect_objects(COROUTINE_OBJECTS - 2 - (VALUES - 1));
  ck_assert(keeps(vm.m, &c.values[0][1], 101));
  switch_to(NULL);
  destroy(c.fibre);
  expect_objects(0);
  vm_stop(&vm);
}
END_TEST

#define CROWD 3000u

static void check_crowd(const coroutine *crowd, unsigned every) {
  vm_collect(&vm);
  for (unsigned i = 0; i < CROWD; i += every)
    ck_assert(coroutine_holds(&crowd[i], 10 * (uint64_t)i));
  expect_objects((size_t)(CROWD / every) * COROUTINE_OBJECTS);
}

START_TEST(thousands_of_fibres_are_suspended) {
  start();
  coroutine *crowd = malloc(CROWD * sizeof *crowd);
  ck_assert_ptr_nonnull(crowd);
  for (unsigned i = 0; i < CROWD; i++) {
    coroutine_open(&crowd[i], "crowd");
    coroutine_fill(&crowd[i], 10 * (uint64_t)i);
  }
  switch_to(NULL);
  check_crowd(crowd, 1);
  for (unsigned i = 0; i < CROWD; i++) {
    if (i % 3 != 0) destroy(crowd[i].fibre);
  }
  check_crowd(crowd, 3);
  for (unsigned i = 0; i < CROWD; i += 3)
    destroy(crowd[i].fibre);
  expect_objects(0);
  free(crowd);
  vm_stop(&vm);
}
END_TEST

/* ---- C stacks --------------------------------------------------------------------------------------- */

/* Starts a VM with ambiguous roots; false: the plan refuses them. */
static bool start_ambiguous(void) {
  vm_init(&vm);
  vm.binding.needs = TSR_NEEDS_AMBIGUOUS_ROOTS;
  tsr_heap *heap = tsr_heap_create(&vm.binding, &vm, vm.options, NULL);
  if (heap == NULL) {
    vm_drop(&vm);
    return false;
  }
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
  vm_start(&vm);
  return true;
}

/* A word between the top and the base keeps its object where it is; no other word does anything. */
START_TEST(words_on_the_c_stack_of_a_fibre) {
  static uint64_t words[64];
  if (!start_ambiguous()) return;
  memset(words, 0, sizeof words);
  void *top = &words[20];
  tsr_c_stack c_stack = {.base = &words[40], .top = &top};
  tsr_fibre_roots roots = {.name = "frames", .c_stack = &c_stack};
  tsr_fibre *fibre = create(vm.heap, &roots);
  static const unsigned places[] = {19, 20, 30, 39, 40};
  for (unsigned i = 0; i < 5; i++) {
    tsr_slot list = {0};
    ck_assert(vm_list(vm.m, &list, 1, places[i]));
    words[places[i]] = list.word;
  }
  words[25] = FIXNUM(77);
  words[26] = UINT64_MAX;
  uint64_t before[64];
  memcpy(before, words, sizeof words);
  for (unsigned round = 0; round < 4; round++) {
    switch_to(round % 2 == 0 ? fibre : NULL);
    expect_objects(3);
    for (unsigned i = 1; i < 4; i++)
      ck_assert(vm_list_holds(vm.m, words[places[i]], 1, places[i]));
    ck_assert_mem_eq(words, before, sizeof words);
  }
  switch_to(NULL);
  top = (char *)&words[30] + 4; /* its word counts as a whole */
  expect_objects(2);
  c_stack.base = &words[39];
  expect_objects(1);
  ck_assert(vm_list_holds(vm.m, words[30], 1, 30));
  top = c_stack.base;
  expect_objects(0);
  top = NULL;
  expect_objects(0);
  destroy(fibre);
  vm_stop(&vm);
}
END_TEST

/* ---- several threads -------------------------------------------------------------------------------- */

static tsr_fibre *passed;
static tsr_scope passed_scope;
static tsr_slot *passed_slots[2];

static void resume_elsewhere(vm_thread *self) {
  EXPECT(self, tsr_fibre_switch(self->m, passed, NULL) == TSR_OK);
  EXPECT(self, keeps(self->m, passed_slots[0], 1));
  passed_slots[1] = keep(self->m, 2);
  EXPECT(self, passed_slots[1] != NULL);
  EXPECT(self, tsr_fibre_switch(self->m, NULL, NULL) == TSR_OK);
}

/* A scope is opened by one thread, filled by another that then ends, and closed by the first. */
START_TEST(a_fibre_goes_from_thread_to_thread) {
  start();
  passed = create(vm.heap, NULL);
  switch_to(passed);
  tsr_scope_open(vm.m, &passed_scope);
  passed_slots[0] = keep(vm.m, 1);
  switch_to(NULL);
  vm_threads(&vm, 1, resume_elsewhere, NULL);
  expect_objects(2);
  switch_to(passed);
  ck_assert(keeps(vm.m, passed_slots[0], 1));
  ck_assert(keeps(vm.m, passed_slots[1], 2));
  tsr_scope_close(vm.m, &passed_scope);
  expect_objects(0);
  switch_to(NULL);
  destroy(passed);
  vm_stop(&vm);
}
END_TEST

#define TRAVELLERS       16u
#define TRAVELLER_SLOTS  50u
#define TRAVELLING_ROUND (vm_verifies || VM_SANITIZED ? 150u : 600u)

/* All but the fibre belongs to whoever runs it. */
typedef struct traveller {
  tsr_fibre *fibre;
  tsr_scope scope;
  unsigned count;
  tsr_slot *slots[TRAVELLER_SLOTS];
} traveller;

static traveller travellers[TRAVELLERS];

static bool traveller_holds(tsr_mutator *m, const traveller *t) {
  for (unsigned i = 0; i < t->count; i++) {
    if (!keeps(m, t->slots[i], i)) return false;
  }
  return true;
}

static bool traveller_goes_on(tsr_mutator *m, traveller *t) {
  if (!traveller_holds(m, t)) return false;
  if (t->count == TRAVELLER_SLOTS) {
    tsr_scope_close(m, &t->scope);
    t->count = 0;
  }
  if (t->count == 0) tsr_scope_open(m, &t->scope);
  t->slots[t->count] = keep(m, t->count);
  return t->slots[t->count++] != NULL;
}

static void travel(vm_thread *self) {
  uint64_t random = self->index + 1;
  for (unsigned round = 0; round < TRAVELLING_ROUND; round++) {
    traveller *t = &travellers[vm_random(&random) % TRAVELLERS];
    tsr_status status = tsr_fibre_switch(self->m, t->fibre, NULL);
    EXPECT(self, status == TSR_OK || status == TSR_BUSY);
    if (status == TSR_OK) EXPECT(self, traveller_goes_on(self->m, t));
    if (round % 50 == self->index) tsr_collect(self->m, NULL);
    if (round % 3 == 0) EXPECT(self, tsr_fibre_switch(self->m, NULL, NULL) == TSR_OK);
    tsr_safepoint(self->m);
  }
  EXPECT(self, tsr_fibre_switch(self->m, NULL, NULL) == TSR_OK);
}

/* Six threads run sixteen fibres, each on whichever of them gets hold of it. */
START_TEST(fibres_wander_among_threads) {
  start();
  memset(travellers, 0, sizeof travellers);
  for (unsigned i = 0; i < TRAVELLERS; i++)
    travellers[i].fibre = create(vm.heap, NULL);
  vm_threads(&vm, 6, travel, NULL);
  size_t handles = 0;
  for (unsigned i = 0; i < TRAVELLERS; i++) {
    ck_assert(traveller_holds(vm.m, &travellers[i]));
    handles += travellers[i].count;
  }
  expect_objects(handles);
  for (unsigned i = 0; i < TRAVELLERS; i++)
    destroy(travellers[i].fibre);
  expect_objects(0);
  vm_stop(&vm);
}
END_TEST

#define BATONS      2u
#define BATON_SLOTS 20u
#define HAND_OVERS  (VM_SANITIZED ? 10000u : 100000u)

/* A fibre that knows where its next handle has to be. All but the fibre belongs to whoever runs it. */
typedef struct baton {
  tsr_fibre *fibre;
  tsr_scope scope;
  tsr_slot *first;
  unsigned count, turns;
} baton;

static baton batons[BATONS];

static bool baton_takes_a_turn(tsr_mutator *m, baton *b) {
  b->turns++;
  if (b->count == BATON_SLOTS) {
    tsr_scope_close(m, &b->scope);
    b->count = 0;
  }
  if (b->count == 0) tsr_scope_open(m, &b->scope);
  tsr_slot *slot = tsr_local(m, FIXNUM(b->turns));
  if (b->first == NULL) b->first = slot;
  return slot == b->first + b->count++;
}

/* Each turn lasts for a few instructions. */
static void take_turns(vm_thread *self) {
  unsigned turns = 0;
  for (unsigned i = 0; turns < HAND_OVERS; i++) {
    baton *b = &batons[(self->index + i) % BATONS];
    tsr_status status = tsr_fibre_switch(self->m, b->fibre, NULL);
    EXPECT(self, status == TSR_OK || status == TSR_BUSY);
    if (status == TSR_OK) {
      turns++;
      EXPECT(self, baton_takes_a_turn(self->m, b));
      EXPECT(self, tsr_fibre_switch(self->m, NULL, NULL) == TSR_OK);
    } else {
      sched_yield();
    }
    tsr_safepoint(self->m);
  }
}

START_TEST(fibres_are_handed_over_at_once) {
  start();
  memset(batons, 0, sizeof batons);
  for (unsigned i = 0; i < BATONS; i++)
    batons[i].fibre = create(vm.heap, NULL);
  vm_threads(&vm, 4, take_turns, NULL);
  unsigned turns = 0;
  for (unsigned i = 0; i < BATONS; i++) {
    turns += batons[i].turns;
    destroy(batons[i].fibre);
  }
  ck_assert_uint_eq(turns, 4 * HAND_OVERS);
  vm_stop(&vm);
}
END_TEST

static atomic_uint makers;
static atomic_uint made;

static void *make_and_destroy(void *arg) {
  (void)arg;
  tsr_slot value = {FIXNUM(1)};
  tsr_slot *top = &value + 1;
  tsr_native_stack stack = {.base = &value, .top = &top};
  tsr_fibre_roots roots = {.name = "short", .stacks = &stack, .stack_count = 1};
  while (atomic_load(&makers) > 0) {
    tsr_fibre *fibre = tsr_fibre_create(vm.heap, &roots, NULL);
    if (fibre != NULL && tsr_fibre_destroy(fibre, NULL) == TSR_OK) atomic_fetch_add(&made, 1);
  }
  return NULL;
}

/* By a thread without a mutator, which no collection stops. */
START_TEST(fibres_are_created_and_destroyed_in_collections) {
  start();
  tsr_fibre *fibre = create(vm.heap, NULL);
  switch_to(fibre);
  tsr_slot *slot = keep(vm.m, 5);
  pthread_t id;
  atomic_store(&made, 0);
  atomic_store(&makers, 1);
  ck_assert_int_eq(pthread_create(&id, NULL, make_and_destroy, NULL), 0);
  for (unsigned i = 0; i < 40 || atomic_load(&made) < 100; i++) {
    switch_to(i % 2 == 0 ? NULL : fibre);
    vm_collect(&vm);
    ck_assert(keeps(vm.m, slot, 5));
  }
  atomic_store(&makers, 0);
  pthread_join(id, NULL);
  switch_to(NULL);
  destroy(fibre);
  vm_stop(&vm);
}
END_TEST

/* ---- what is refused ---------------------------------------------------------------------------------- */

static void expect_refused(tsr_status status, tsr_status wanted, const tsr_error *error,
                           const char *part) {
  ck_assert_int_eq(status, wanted);
  ck_assert_int_eq(error->status, wanted);
  ck_assert_msg(vm_says(error->message, part), "%s", error->message);
}

static void find_it_running(vm_thread *self) {
  tsr_error error = {0};
  EXPECT(self, tsr_fibre_switch(self->m, passed, &error) == TSR_BUSY);
  EXPECT(self, error.status == TSR_BUSY && vm_says(error.message, "mutator"));
  EXPECT(self, tsr_fibre_current(self->m) == NULL);
  EXPECT(self, tsr_fibre_destroy(passed, &error) == TSR_BUSY);
  tsr_slot *slot = keep(self->m, 9); /* the thread's own scopes go on */
  EXPECT(self, slot != NULL && keeps(self->m, slot, 9));
}

START_TEST(a_fibre_that_runs_is_left_alone) {
  start();
  passed = create(vm.heap, NULL);
  switch_to(passed);
  tsr_slot *slot = keep(vm.m, 4);
  vm_threads(&vm, 1, find_it_running, NULL);
  tsr_error error = {0};
  expect_refused(tsr_fibre_destroy(passed, &error), TSR_BUSY, &error, "runs");
  expect_refused(tsr_unbind_mutator(vm.m, &error), TSR_BUSY, &error, "tsr_fibre_switch");
  switch_to(passed); /* runs already: nothing to do */
  expect_objects(1);
  ck_assert(keeps(vm.m, slot, 4));
  switch_to(NULL);
  switch_to(NULL);
  destroy(passed);
  expect_refused(tsr_fibre_destroy(NULL, &error), TSR_INVALID_ARGUMENT, &error, "NULL");
  vm_stop(&vm);
}
END_TEST

START_TEST(native_code_switches_no_fibres) {
  start();
  tsr_fibre *fibre = create(vm.heap, NULL);
  tsr_error error = {0};
  tsr_enter_native(vm.m);
  expect_refused(tsr_fibre_switch(vm.m, fibre, &error), TSR_BUSY, &error, "native");
  tsr_leave_native(vm.m);
  ck_assert_ptr_null(tsr_fibre_current(vm.m));
  switch_to(fibre);
  tsr_enter_native(vm.m);
  expect_refused(tsr_fibre_switch(vm.m, NULL, &error), TSR_BUSY, &error, "native");
  tsr_leave_native(vm.m);
  switch_to(NULL);
  destroy(fibre);
  vm_stop(&vm);
}
END_TEST

/* The section is one fibre's, and another one would allocate in it. */
START_TEST(a_no_allocation_section_switches_no_fibres) {
  start();
  tsr_fibre *fibre = create(vm.heap, NULL);
  tsr_error error = {0};
  tsr_no_alloc section;
  TSR_NO_ALLOC_BEGIN(vm.m, &section);
  expect_refused(tsr_fibre_switch(vm.m, fibre, &error), TSR_BUSY, &error, "no-allocation section");
  ck_assert_int_eq(tsr_no_alloc_end(vm.m, &section, NULL), TSR_OK);
  ck_assert_ptr_null(tsr_fibre_current(vm.m));
  switch_to(fibre);
  switch_to(NULL);
  destroy(fibre);
  vm_stop(&vm);
}
END_TEST

START_TEST(fibres_keep_to_their_heap) {
  start();
  testvm other;
  vm_open(&other, "16M");
  tsr_fibre *foreign = create(other.heap, NULL);
  tsr_error error = {0};
  expect_refused(tsr_fibre_switch(vm.m, foreign, &error), TSR_INVALID_ARGUMENT, &error, "heap");
  ck_assert_ptr_null(tsr_fibre_current(vm.m));
  ck_assert_int_eq(tsr_fibre_switch(other.m, foreign, NULL), TSR_OK);
  ck_assert_ptr_nonnull(keep(other.m, 1));
  ck_assert_int_eq(tsr_fibre_switch(other.m, NULL, NULL), TSR_OK);
  vm_stop(&other); /* a fibre that is left goes with the heap, its handles too */
  vm_stop(&vm);
}
END_TEST

START_TEST(impossible_stacks_are_refused) {
  start();
  tsr_slot values[2] = {{0}, {0}};
  tsr_slot *top = &values[1];
  tsr_slot *none = NULL;
  void *frame = NULL;
  tsr_native_stack good = {.base = values, .top = &top};
  tsr_native_stack bad[] = {
      {.base = values}, {.base = &values[2], .top = &top}, {.base = values, .top = &none}};
  tsr_native_stack one_bad[2] = {good, bad[0]};
  tsr_c_stack frames[] = {{.top = &frame}, {.base = values}, {.base = values, .top = &frame}};
  const tsr_fibre_roots refused[] = {{.stacks = NULL, .stack_count = 1},
                                     {.stacks = &bad[0], .stack_count = 1},
                                     {.stacks = &bad[1], .stack_count = 1},
                                     {.stacks = &bad[2], .stack_count = 1},
                                     {.stacks = one_bad, .stack_count = 2},
                                     {.c_stack = &frames[0]},
                                     {.c_stack = &frames[1]},
                                     {.c_stack = &frames[2]}};
  for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
    tsr_error error = {0};
    ck_assert_ptr_null(tsr_fibre_create(vm.heap, &refused[i], &error));
    bool undeclared = refused[i].c_stack == &frames[2];
    ck_assert_int_eq(error.status, undeclared ? TSR_MISMATCH : TSR_INVALID_ARGUMENT);
    ck_assert(vm_says(error.message, undeclared ? "TSR_NEEDS_AMBIGUOUS_ROOTS" : "stack"));
  }
  destroy(create(vm.heap, &(tsr_fibre_roots){.stacks = &good, .stack_count = 1}));
  destroy(create(vm.heap, &(tsr_fibre_roots){.stacks = &bad[0], .stack_count = 0}));
  vm_stop(&vm);
}
END_TEST

#define FIBRES_MOST 100000

START_TEST(fibres_fill_the_heap_and_leave_it) {
  static tsr_fibre *fibres[FIBRES_MOST];
  vm_open_alone(&vm, "4M");
  size_t count = 0;
  tsr_error error = {0};
  uint64_t before_bytes = fibre_bytes();
  while (count < FIBRES_MOST && (fibres[count] = tsr_fibre_create(vm.heap, NULL, &error)) != NULL)
    count++;
  ck_assert_uint_gt(count, 1000);
  ck_assert_uint_lt(count, FIBRES_MOST);
  ck_assert_int_eq(error.status, TSR_OUT_OF_MEMORY);
  ck_assert(error.message[0] != 0);
  ck_assert_uint_le(vm_stats(&vm).committed_bytes, 4 * MIB);
  for (size_t i = 0; i < count; i++) {
    switch_to(fibres[i]); /* which takes no memory */
    ck_assert_ptr_nonnull(tsr_local(vm.m, FIXNUM(i)));
  }
  switch_to(NULL);
  for (size_t i = 0; i < count; i++)
    destroy(fibres[i]);
  ck_assert_uint_eq(fibre_bytes(), before_bytes);
  ck_assert_ptr_nonnull(vm_new(vm.m, PAIR, 0, 0));
  vm_stop(&vm);
}
END_TEST

/* ---- scopes that are closed elsewhere ------------------------------------------------------------------ */

typedef enum closing {
  OWN_ON_FIBRE,
  EMPTY_OWN_ON_FIBRE,
  FIBRE_ON_OWN,
  FIBRE_ON_FIBRE,
  CLOSINGS
} closing;
typedef enum meeting { AT_SWITCH, AT_COLLECTION, AT_UNBINDING, AT_NEW_CHUNK, MEETINGS } meeting;

typedef struct misuse {
  closing closing;
  meeting meeting;
} misuse;

static void meet_misuse(meeting when, tsr_fibre *other) {
  switch (when) {
  case AT_SWITCH:
    tsr_fibre_switch(vm.m, other, NULL);
    break;
  case AT_COLLECTION:
    tsr_heap_verify(vm.m, NULL);
    break;
  case AT_UNBINDING:
    tsr_unbind_mutator(vm.m, NULL);
    break;
  default:
    for (unsigned i = 0; i < 1000; i++)
      tsr_local(vm.m, FIXNUM(i));
  }
}

static void close_elsewhere(void *context) {
  const misuse *wrong = context;
  vm_open_alone(&vm, "8M");
  tsr_fibre *fibres[3] = {create(vm.heap, NULL), create(vm.heap, NULL), create(vm.heap, NULL)};
  tsr_scope scope;
  if (wrong->closing == OWN_ON_FIBRE) tsr_local(vm.m, FIXNUM(1));
  bool on_fibre = wrong->closing == FIBRE_ON_OWN || wrong->closing == FIBRE_ON_FIBRE;
  switch_to(on_fibre ? fibres[0] : NULL);
  tsr_scope_open(vm.m, &scope);
  switch_to(wrong->closing == FIBRE_ON_OWN ? NULL : fibres[1]);
  tsr_local(vm.m, FIXNUM(2));
  tsr_scope_close(vm.m, &scope);
  meet_misuse(wrong->meeting, fibres[2]);
}

/* Each of them, whenever the library meets it first. (What runs a fibre is not unbound at all.) */
START_TEST(closing_the_scope_of_another_fibre_ends_the_program) {
  misuse wrong = {(closing)(_i / MEETINGS), (meeting)(_i % MEETINGS)};
  if (wrong.meeting == AT_UNBINDING && wrong.closing != FIBRE_ON_OWN) return;
  assert_dies_saying(close_elsewhere, &wrong, SIGABRT, "a scope closed elsewhere", "misuse",
                     "a handle scope was closed on another mutator or fibre");
}
END_TEST

/* ---- reports ----------------------------------------------------------------------------------------------- */

START_TEST(the_verifier_names_the_fibre) {
  vm_open_alone(&vm, "8M");
  coroutine c;
  coroutine_open(&c, "the-broken-one");
  coroutine_fill(&c, 1);
  switch_to(NULL);
  tsr_error error = {0};
  ck_assert_int_eq(tsr_heap_verify(vm.m, &error), TSR_OK);
  tsr_slot *slots[] = {c.handle, &c.values[0][0]};
  for (unsigned i = 0; i < 2; i++) {
    slots[i]->word += 8; /* the middle of an object */
    expect_refused(tsr_heap_verify(vm.m, &error), TSR_CORRUPT, &error, "the-broken-one");
    ck_assert_msg(vm_says(error.message, i == 0 ? "handle of fibre" : "native stack"), "%s",
                  error.message);
    slots[i]->word -= 8;
  }
  ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
  destroy(c.fibre);
  vm_stop(&vm);
}
END_TEST

/* ---- fork ---------------------------------------------------------------------------------------------------- */

typedef struct forking {
  coroutine running, suspended; /* the first on another thread */
  tsr_slot *own;                /* handle of that thread, below the fibre */
  atomic_bool ready, over;
  char failure[256];
} forking;

static forking f;

/* A thread that runs a fibre, in native code, while the process forks. */
static void *run_while_forking(void *arg) {
  (void)arg;
  tsr_mutator *m = tsr_bind_mutator(vm.heap, &f.running, NULL);
  tsr_scope scope;
  tsr_scope_open(m, &scope);
  f.own = keep(m, 70);
  bool ok = tsr_fibre_switch(m, f.running.fibre, NULL) == TSR_OK;
  f.running.handle = keep(m, 80);
  ok = ok && vm_list(m, f.running.tops[0], 1, 81);
  f.running.tops[0]++;
  tsr_enter_native(m);
  atomic_store(&f.ready, true);
  while (!atomic_load(&f.over))
    sched_yield();
  tsr_leave_native(m);
  ok = ok && keeps(m, f.own, 70) && keeps(m, f.running.handle, 80);
  ok = ok && tsr_fibre_switch(m, NULL, NULL) == TSR_OK;
  tsr_scope_close(m, &scope);
  if (!ok || tsr_unbind_mutator(m, NULL) != TSR_OK) strcpy(f.failure, "the running fibre");
  return NULL;
}

static bool child_collects_to(size_t objects) {
  if (!vm_collects) return true;
  return tsr_collect(vm.m, NULL) == TSR_OK && vm_enumerate(vm.m).objects == objects;
}

/* What is suspended is whole; what ran elsewhere has its stacks, and no handle. Both go on from there. */
static bool child_has_its_fibres(void *context) {
  (void)context;
  size_t suspended = COROUTINE_OBJECTS;
  if (!child_collects_to(suspended + 1) || !coroutine_holds(&f.suspended, 60)) return false;
  if (!keeps(vm.m, &f.running.values[0][0], 81)) return false;
  if (tsr_fibre_switch(vm.m, f.running.fibre, NULL) != TSR_OK) return false;
  tsr_slot *slot = keep(vm.m, 90);
  if (slot == NULL || !child_collects_to(suspended + 2) || !keeps(vm.m, slot, 90)) return false;
  if (tsr_fibre_switch(vm.m, f.suspended.fibre, NULL) != TSR_OK) return false;
  if (tsr_fibre_destroy(f.running.fibre, NULL) != TSR_OK) return false;
  if (!child_collects_to(suspended) || !coroutine_holds(&f.suspended, 60)) return false;
  return tsr_fibre_switch(vm.m, NULL, NULL) == TSR_OK &&
         tsr_fibre_destroy(f.suspended.fibre, NULL) == TSR_OK && child_collects_to(0);
}

START_TEST(fibres_in_the_child_of_a_fork) {
  memset(&f, 0, sizeof f);
  vm_init_calm(&vm);
  if (VM_SANITIZED) vm_pin(&vm, "threads", "1"); /* the child may start no threads */
  vm_start(&vm);
  coroutine_open(&f.suspended, "suspended");
  coroutine_fill(&f.suspended, 60);
  switch_to(NULL);
  coroutine_open(&f.running, "running");
  pthread_t id;
  ck_assert_int_eq(pthread_create(&id, NULL, run_while_forking, NULL), 0);
  tsr_enter_native(vm.m);
  while (!atomic_load(&f.ready))
    sched_yield();
  tsr_leave_native(vm.m);
  vm_collect(&vm);
  assert_forked_child(vm.m, child_has_its_fibres, NULL);
  expect_objects(COROUTINE_OBJECTS + 3);
  atomic_store(&f.over, true);
  tsr_enter_native(vm.m);
  pthread_join(id, NULL);
  tsr_leave_native(vm.m);
  ck_assert_msg(f.failure[0] == 0, "%s", f.failure);
  vm_stop(&vm);
}
END_TEST

/* ---- real coroutines ------------------------------------------------------------------------------------------ */

/* Sanitizers do not follow a program from one C stack to another unless they are told. */
#if !VM_SANITIZED && defined(__linux__)

#include <ucontext.h>

#define WALKER_STACK_BYTES (64 * KIB)

/* A generator of the leaves of a tree. Its recursion is on a stack of its own, with a scope in each frame. */
typedef struct walker {
  tsr_fibre *fibre;
  ucontext_t context, caller;
  tsr_slot *tree; /* a handle of the caller's */
  uint64_t leaf;  /* 0: there are no more */
} walker;

static walker *starting;

static void yield_leaf(walker *w, uint64_t leaf) {
  w->leaf = leaf;
  swapcontext(&w->context, &w->caller);
}

static void walk(walker *w, uint64_t word) {
  if (word == 0) return;
  if ((word & 1) != 0) {
    yield_leaf(w, word);
    return;
  }
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *pair = tsr_local(vm.m, word);
  walk(w, vm_get(vm.m, vm_ref(pair->word), 1));
  vm_garbage(vm.m, 200);
  walk(w, vm_get(vm.m, vm_ref(pair->word), 2));
  tsr_scope_close(vm.m, &scope);
}

static void walker_main(void) {
  walker *w = starting;
  walk(w, w->tree->word);
  yield_leaf(w, 0);
}

static void walker_open(walker *w, tsr_slot *tree, char *stack) {
  *w = (walker){.fibre = create(vm.heap, NULL), .tree = tree};
  ck_assert_int_eq(getcontext(&w->context), 0);
  w->context.uc_stack.ss_sp = stack;
  w->context.uc_stack.ss_size = WALKER_STACK_BYTES;
  makecontext(&w->context, walker_main, 0);
}

static uint64_t walker_next(walker *w) {
  switch_to(w->fibre);
  starting = w;
  swapcontext(&w->caller, &w->context);
  switch_to(NULL);
  return w->leaf;
}

/* A balanced tree of FIXNUM(first) to FIXNUM(first + count - 1). */
static bool grow(tsr_slot *to, uint64_t first, uint64_t count) {
  if (count == 1) {
    to->word = FIXNUM(first);
    return true;
  }
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *left = tsr_local(vm.m, 0);
  tsr_slot *right = tsr_local(vm.m, 0);
  bool ok = grow(left, first, count / 2) && grow(right, first + count / 2, count - count / 2);
  tsr_ref pair = ok ? vm_new(vm.m, PAIR, 0, 0) : NULL;
  if (pair != NULL) {
    vm_set(vm.m, pair, 1, left->word);
    vm_set(vm.m, pair, 2, right->word);
    to->word = vm_word(pair);
  }
  tsr_scope_close(vm.m, &scope);
  return pair != NULL;
}

#define LEAVES 100u

/* Two trees of unlike shapes have the same leaves: two generators tell, in step. */
START_TEST(two_generators_compare_the_leaves_of_trees) {
  start();
  static char stacks[2][WALKER_STACK_BYTES];
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *trees[2] = {tsr_local(vm.m, 0), tsr_local(vm.m, 0)};
  ck_assert(vm_list(vm.m, trees[0], LEAVES, 1));
  ck_assert(grow(trees[1], 1, LEAVES));
  walker walkers[2];
  for (unsigned i = 0; i < 2; i++)
    walker_open(&walkers[i], trees[i], stacks[i]);
  for (unsigned leaf = 1; leaf <= LEAVES; leaf++) {
    for (unsigned i = 0; i < 2; i++)
      ck_assert_uint_eq(walker_next(&walkers[i]), FIXNUM(leaf));
    vm_collect(&vm);
  }
  for (unsigned i = 0; i < 2; i++) {
    ck_assert_uint_eq(walker_next(&walkers[i]), 0);
    destroy(walkers[i].fibre);
  }
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}
END_TEST

#endif

static void add(TCase *tests) {
  tcase_add_test(tests, scopes_of_fibres_interleave);
  tcase_add_test(tests, many_handles_of_a_fibre);
  tcase_add_test(tests, a_fibre_begins_with_a_scope);
  tcase_add_test(tests, stacks_of_a_fibre_are_roots_whether_it_runs_or_not);
  tcase_add_test(tests, thousands_of_fibres_are_suspended);
  tcase_add_test(tests, words_on_the_c_stack_of_a_fibre);
  tcase_add_test(tests, a_fibre_goes_from_thread_to_thread);
  tcase_add_test(tests, fibres_wander_among_threads);
  tcase_add_test(tests, fibres_are_handed_over_at_once);
  tcase_add_test(tests, fibres_are_created_and_destroyed_in_collections);
  tcase_add_test(tests, a_fibre_that_runs_is_left_alone);
  tcase_add_test(tests, native_code_switches_no_fibres);
  tcase_add_test(tests, a_no_allocation_section_switches_no_fibres);
  tcase_add_test(tests, fibres_keep_to_their_heap);
  tcase_add_test(tests, impossible_stacks_are_refused);
  tcase_add_test(tests, fibres_fill_the_heap_and_leave_it);
  tcase_add_loop_test(tests, closing_the_scope_of_another_fibre_ends_the_program, 0,
                      CLOSINGS * MEETINGS);
  tcase_add_test(tests, the_verifier_names_the_fibre);
  tcase_add_test(tests, fibres_in_the_child_of_a_fork);
#if !VM_SANITIZED && defined(__linux__)
  tcase_add_test(tests, two_generators_compare_the_leaves_of_trees);
#endif
}

int main(void) {
  return vm_main("fibres", add);
}
