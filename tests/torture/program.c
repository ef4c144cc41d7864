/*
 * The operations of a torture program and its life. See program.h.
 *
 * Checking the whole model is dear, so it comes at intervals and after collections. A program that
 * keeps more than its share of the heap drops roots until it does not, and what it keeps swings
 * between nothing and that share.
 */
#include "program.h"

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIVE_BYTES      (384 * KIB)
#define LIVE_OWN_BLOCKS 24
#define CHILD_STEPS     300

/* ---- getting about ------------------------------------------------------------------------- */

static size_t random_start(program *p, edge *e, uint64_t *word) {
  if (p->model.immortal != NULL && chance(p, 16)) {
    shadow *s = p->model.immortal;
    for (uint64_t n = below(p, 8); n > 0 && s->next_immortal != NULL; n--) {
      s = s->next_immortal;
    }
    *e = edge_to(s);
    *word = s->address;
  } else {
    const root *r = &p->model.roots[root_any(p)];
    *e = r->to;
    *word = r->slot->word;
  }
  return below(p, 5);
}

shadow *program_walk(program *p, edge *e, uint64_t *word) {
  size_t steps = random_start(p, e, word);
  shadow *s = shadow_at(*e);
  for (; s != NULL && steps > 0; steps--) {
    size_t slots = shadow_slots(s);
    if (slots == 0) break;
    size_t i = below(p, slots);
    if (shadow_at(s->edges[i]) == NULL) break;
    *e = s->edges[i];
    *word = tsr_load(p->m, vm_slot(vm_ref(*word), shadow_slot_word(s, i)));
    s = shadow_at(*e);
  }
  return s;
}

/* What may be stored into a slot: null, an immediate, or a reference. */
static void random_value(program *p, edge *e, uint64_t *word) {
  if (chance(p, 5)) {
    *e = *word = chance(p, 2) ? 0 : FIXNUM(below(p, 100000));
  } else {
    program_walk(p, e, word);
  }
}

/* ---- stores and drops ---------------------------------------------------------------------- */

static void link_objects(program *p) {
  edge from;
  edge to;
  uint64_t from_word;
  uint64_t to_word;
  shadow *s = program_walk(p, &from, &from_word);
  random_value(p, &to, &to_word);
  if (s == NULL || s->sealed || shadow_slots(s) == 0) return;
  size_t i = below(p, shadow_slots(s));
  tsr_ref object = vm_ref(from_word);
  s->edges[i] = to;
  tsr_write(p->m, object, vm_slot(object, shadow_slot_word(s, i)), to_word);
}

/* An object whose slots are consecutive words; NULL: none found. */
static shadow *find_run(program *p, tsr_ref *object, tsr_slot **first) {
  edge e;
  uint64_t word;
  shadow *s = program_walk(p, &e, &word);
  if (s == NULL || shadow_slots(s) == 0) return NULL;
  if (shape_of(s->kind) != VECTOR && shape_of(s->kind) != PAIR) return NULL;
  *object = vm_ref(word);
  *first = vm_slot(*object, shadow_slot_word(s, 0));
  return s;
}

static void copy_from_range(program *p, shadow *s, tsr_ref object, tsr_slot *first) {
  size_t slots = shadow_slots(s);
  size_t n = 1 + below(p, slots < RANGE ? slots : RANGE);
  size_t from = below(p, RANGE - n + 1);
  size_t to = below(p, slots - n + 1);
  for (size_t i = 0; i < n; i++) {
    s->edges[to + i] = p->model.roots[FIRST_RANGE + from + i].to;
  }
  tsr_copy_slots(p->m, object, first + to, &p->range[p->range_in_use][from], n);
}

/* From another object, or within one: then the runs may overlap. */
static void copy_slots(program *p) {
  tsr_ref object;
  tsr_slot *first;
  shadow *s = find_run(p, &object, &first);
  if (s == NULL || s->sealed) return;
  if (chance(p, 4)) {
    copy_from_range(p, s, object, first);
    return;
  }
  tsr_ref source_object;
  tsr_slot *source_first;
  shadow *source = find_run(p, &source_object, &source_first);
  if (source == NULL) return;
  size_t slots = shadow_slots(s);
  size_t source_slots = shadow_slots(source);
  size_t n = 1 + below(p, slots < source_slots ? slots : source_slots);
  size_t to = below(p, slots - n + 1);
  size_t from = below(p, source_slots - n + 1);
  memmove(&s->edges[to], &source->edges[from], n * sizeof(edge));
  tsr_copy_slots(p->m, object, first + to, source_first + from, n);
}

static void fill_slots(program *p) {
  tsr_ref object;
  tsr_slot *first;
  edge e;
  uint64_t word;
  shadow *s = find_run(p, &object, &first);
  random_value(p, &e, &word);
  if (s == NULL || s->sealed) return;
  size_t slots = shadow_slots(s);
  size_t n = 1 + below(p, slots);
  size_t to = below(p, slots - n + 1);
  for (size_t i = to; i < to + n; i++) {
    s->edges[i] = e;
  }
  tsr_fill_slots(p->m, object, first + to, n, word);
}

/* Words that are no slots need no barrier. */
static void write_raw_words(program *p) {
  edge e;
  uint64_t word;
  shadow *s = program_walk(p, &e, &word);
  if (s == NULL || s->sealed || s->size > KIB) return;
  fill_with_lookalikes(p, s, vm_ref(word));
}

static void load_to_root(program *p) {
  edge e;
  uint64_t word;
  random_value(p, &e, &word);
  root_set(p, root_any(p), e, word);
}

static void clear_root(program *p) {
  root_set(p, root_any(p), 0, 0);
}

static void unpin(program *p, size_t i) {
  shadow *s = p->model.pinned[i];
  tsr_error error = {0};
  bool natively = chance(p, 4);
  if (natively) tsr_enter_native(p->m);
  DEMAND_OK(tsr_unpin(p->m, vm_ref(s->address), &error), error);
  if (natively) tsr_leave_native(p->m);
  s->pins--;
  p->model.pinned[i] = NULL;
}

void program_shed(program *p) {
  for (size_t i = 0; i < PINS; i++) {
    if (p->model.pinned[i] != NULL && !chance(p, 4)) unpin(p, i);
  }
  for (size_t i = 0; i < ROOTS; i++) {
    if (p->model.roots[i].slot != NULL && !chance(p, 4)) root_set(p, i, 0, 0);
  }
  for (shadow *s = p->model.immortal; s != NULL; s = s->next_immortal) {
    tsr_ref object = vm_ref(s->address);
    for (size_t i = 0; i < shadow_slots(s) && !s->sealed; i++) {
      if (s->edges[i] == 0 || chance(p, 4)) continue;
      s->edges[i] = 0;
      tsr_write(p->m, object, vm_slot(object, shadow_slot_word(s, i)), 0);
    }
  }
}

/* ---- objects that change their size or their protection -------------------------------------- */

static void set_count(shadow *s, tsr_ref object, size_t new_count) {
  uint64_t words[2];
  s->count = new_count;
  s->size = torture_size(s->kind, new_count);
  shadow_write_header(s, words);
  vm_slot(object, 1)->word = words[1];
}

static void shrink(program *p) {
  edge e;
  uint64_t word;
  tsr_error error = {0};
  shadow *s = program_walk(p, &e, &word);
  if (s == NULL || !is_array(s->kind)) return;
  tsr_ref object = vm_ref(word);
  if (s->sealed) {
    tsr_status status = tsr_shrink(p->m, object, s->size, &error);
    DEMAND(status == TSR_BUSY, "shrinking a sealed object: %s", tsr_status_name(status));
    return;
  }
  DEMAND(shadow_checksum(s, object) == s->checksum, "words that are no slots have changed");
  size_t new_count = below(p, s->count + 1);
  DEMAND_OK(tsr_shrink(p->m, object, torture_size(s->kind, new_count), &error), error);
  set_count(s, object, new_count);
  s->checksum = shadow_checksum(s, object);
  p->tally.shrinks++;
}

static void seal(program *p, shadow *s, tsr_ref object) {
  tsr_error error = {0};
  bool sealable = (s->semantics & (TSR_CODE | TSR_READ_ONLY)) != 0;
  tsr_status expected = s->sealed ? TSR_BUSY : sealable ? TSR_OK : TSR_INVALID_ARGUMENT;
  tsr_status status = tsr_seal(p->m, object, &error);
  DEMAND(status == expected, "tsr_seal, semantics 0x%x, sealed %d: %s: %s", s->semantics, s->sealed,
         tsr_status_name(status), error.message);
  if (status == TSR_OK) {
    s->sealed = true;
    p->tally.seals++;
  }
}

/* Code can be opened again, read-only code too; what is read-only alone stays sealed. */
static void unseal(program *p, shadow *s, tsr_ref object) {
  tsr_error error = {0};
  bool opens = (s->semantics & TSR_CODE) != 0;
  tsr_status status = tsr_unseal(p->m, object, &error);
  DEMAND(status == (opens ? TSR_OK : TSR_UNSUPPORTED), "tsr_unseal, semantics 0x%x: %s: %s",
         s->semantics, tsr_status_name(status), error.message);
  if (opens) s->sealed = false;
}

/* Looks where allocation leaves what can be sealed; whatever else lies there must be refused. */
static void seal_or_unseal(program *p) {
  const root *r = &p->model.roots[FIRST_HANDLE + below(p, SEALABLE_ROOTS)];
  shadow *s = shadow_at(r->to);
  if (s == NULL) return;
  if (s->sealed && chance(p, 2)) {
    unseal(p, s, vm_ref(r->slot->word));
  } else {
    seal(p, s, vm_ref(r->slot->word));
  }
}

/* An object may be pinned several times. */
static void pin_or_unpin(program *p) {
  size_t i = below(p, PINS);
  if (p->model.pinned[i] != NULL) {
    unpin(p, i);
    return;
  }
  edge e;
  uint64_t word;
  shadow *s = program_walk(p, &e, &word);
  if (s == NULL) return;
  tsr_error error = {0};
  if (s->pins == 0) {
    tsr_status status = tsr_unpin(p->m, vm_ref(word), &error);
    DEMAND(status == TSR_INVALID_ARGUMENT, "tsr_unpin without a pin: %s", tsr_status_name(status));
  }
  if (tsr_pin(p->m, vm_ref(word), &error) != TSR_OK) {
    DEMAND(error.status == TSR_OUT_OF_MEMORY, "tsr_pin: %s", error.message);
    return;
  }
  p->tally.pins++;
  s->pins++;
  s->address = word;
  p->model.pinned[i] = s;
}

/* ---- checks and collections ---------------------------------------------------------------- */

static bool keeps_too_much(const program *p) {
  return p->model.live_bytes > LIVE_BYTES || p->model.live_own_blocks > LIVE_OWN_BLOCKS;
}

void program_check(program *p) {
  model_check(&p->model);
  p->collections_checked = p->world->collections;
  for (unsigned tries = 0; keeps_too_much(p); tries++) {
    if (tries == 20) {
      atomic_store(&p->world->over, true); /* sealed or immortal objects hold it all: a new heap */
      return;
    }
    program_shed(p);
    model_check(&p->model);
  }
}

static void census(program *p, bool exact) {
  p->tally.censuses++;
  size_t parcels = exact ? world_parcel_objects(p->world) : 0;
  model_census(&p->model, exact, parcels);
}

static void collect(program *p) {
  tsr_error error = {0};
  tsr_status expected = run.collects ? TSR_OK : TSR_UNSUPPORTED;
  tsr_status status = tsr_collect(p->m, &error);
  DEMAND(status == expected, "tsr_collect: %s: %s", tsr_status_name(status), error.message);
  DEMAND(!run.collects || p->stack.clean_below == NULL || p->clean_below == p->top,
         "a collection has not raised clean_below to the stack's top");
}

void program_collect(program *p) {
  collect(p);
  program_check(p);
}

/* Nothing is dropped in between, so what the collection found live is what the model finds live. */
static void collect_and_count(program *p) {
  collect(p);
  if (run.collects && is_alone(p)) census(p, true);
  program_check(p);
}

static void count_objects(program *p) {
  census(p, false);
}

static void verify_heap(program *p) {
  tsr_error error = {0};
  DEMAND_OK(tsr_heap_verify(p->m, &error), error);
}

static void allocate_without_collections(program *p) {
  if (!is_alone(p)) return;
  tsr_error error = {0};
  uint64_t collections = p->world->collections;
  tsr_collection_disable(p->world->heap);
  p->no_collection = true;
  for (uint64_t n = below(p, 40); n > 0; n--) {
    allocate_object(p);
  }
  tsr_status status = tsr_collect(p->m, &error);
  DEMAND(status == (run.collects ? TSR_BUSY : TSR_UNSUPPORTED), "tsr_collect while disabled: %s",
         tsr_status_name(status));
  DEMAND(p->world->collections == collections, "a collection while disabled");
  p->no_collection = false;
  DEMAND_OK(tsr_collection_enable(p->world->heap, &error), error);
}

/* ---- threads, native code, processes ------------------------------------------------------- */

static void reach_safepoint(program *p) {
  tsr_safepoint(p->m);
}

static void run_natively(program *p) {
  tsr_enter_native(p->m);
  if (chance(p, 4)) {
    tsr_error error = {0};
    tsr_status status = tsr_collect(p->m, &error);
    DEMAND(status == TSR_BUSY || (!run.collects && status == TSR_UNSUPPORTED),
           "tsr_collect in native code: %s", tsr_status_name(status));
  }
  if (chance(p, 8)) {
    usleep((useconds_t)below(p, 100));
  } else {
    sched_yield();
  }
  tsr_leave_native(p->m);
}

/* False: a full heap has no room for a mutator either. */
static bool bind(program *p) {
  tsr_error error = {0};
  tsr_heap *heap = p->world->heap;
  if (chance(p, 2)) {
    memset(&p->embedded, 0x5a, sizeof p->embedded);
    bool bound = tsr_bind_mutator_in(heap, &p->embedded, p, &error) == TSR_OK;
    p->m = bound ? &p->embedded : NULL;
  } else {
    p->m = tsr_bind_mutator(heap, p, &error);
  }
  DEMAND(p->m != NULL || error.status == TSR_OUT_OF_MEMORY, "binding: %s", error.message);
  p->model.m = p->m;
  p->tally.bindings += p->m != NULL;
  return p->m != NULL;
}

/* Binding waits for collections, so a thread that has a mutator does it in native code. */
static void bind_twice(program *p) {
  tsr_error error = {0};
  tsr_enter_native(p->m);
  tsr_mutator *second = tsr_bind_mutator(p->world->heap, p, &error);
  tsr_leave_native(p->m);
  DEMAND(second == NULL && error.status == TSR_BUSY, "one identity is bound twice");
}

/* Of open scopes the library sees the handles. In a full heap a scope may have none. */
static bool has_locals(const program *p) {
  for (size_t i = FIRST_LOCAL; i < ROOTS; i++) {
    if (p->model.roots[i].slot != NULL) return true;
  }
  return false;
}

static void unbind(program *p) {
  tsr_error error = {0};
  if (has_locals(p)) {
    tsr_status status = tsr_unbind_mutator(p->m, &error);
    DEMAND(status == TSR_BUSY, "unbinding with open scopes: %s", tsr_status_name(status));
  }
  program_close_mutator_roots(p);
  DEMAND_OK(tsr_unbind_mutator(p->m, &error), error);
  for (size_t i = 0; i < CACHED_PAIRS; i++) {
    DEMAND(!p->registered[i] || (p->cached[i].cursor == 0 && p->cached[i].limit == 0),
           "a mutator has ended and its pair is not zero");
    p->registered[i] = false;
  }
  p->m = p->model.m = NULL;
}

static void detach_and_attach(program *p) {
  unbind(p);
  sched_yield();
  if (!bind(p)) {
    atomic_store(&p->world->over, true);
  } else if (chance(p, 4)) {
    bind_twice(p);
  }
}

/* A parcel of this program's for the one that lies there, which it takes over. */
static void exchange_parcels(program *p) {
  world *w = p->world;
  tsr_scope scope;
  tsr_scope_open(p->m, &scope);
  tsr_slot *head = tsr_local(p->m, 0);
  if (head == NULL) { /* the heap is full */
    tsr_scope_close(p->m, &scope);
    return;
  }
  parcel given = allocate_parcel(p, head);
  size_t place = below(p, EXCHANGE);
  world_lock(w, p->m, chance(p, 2));
  parcel taken = w->parcels[place];
  uint64_t word = w->slots[place].word;
  w->parcels[place] = given;
  w->slots[place].word = head->word;
  world_unlock(w);
  tsr_scope_close(p->m, &scope);
  p->tally.parcels++;
  if (taken.first == NULL) return;
  while (taken.members != NULL) {
    shadow *s = taken.members;
    taken.members = s->next;
    s->walk = 0;
    model_add(&p->model, s);
  }
  root_set(p, root_any(p), edge_to(taken.first), word);
}

/* The child has this program alone, whatever the world had. */
static _Noreturn void live_as_child(program *p) {
  tsr_error error = {0};
  tsr_stats stats = {.size = sizeof stats};
  tsr_fork_child(p->m);
  DEMAND_OK(tsr_heap_stats(p->world->heap, &stats, &error), error);
  DEMAND(stats.mutators == 1, "the child has %u mutators", stats.mutators);
  program_check(p);
  for (unsigned i = 0; i < CHILD_STEPS && !p->world->over; i++) {
    allocate_object(p);
    link_objects(p);
    clear_root(p);
  }
  collect_and_count(p);
  verify_heap(p);
  atomic_store(&p->world->leaves_pins, true);
  unbind(p);
  DEMAND_OK(tsr_heap_destroy(p->world->heap, &error), error);
  _exit(EXIT_SUCCESS);
}

static void fork_child(program *p) {
  tsr_error error = {0};
  DEMAND_OK(tsr_fork_prepare(p->m, &error), error);
  pid_t child = fork();
  if (child == 0) live_as_child(p);
  tsr_fork_parent(p->m);
  DEMAND(child > 0, "fork failed");
  int status = -1;
  tsr_enter_native(p->m);
  pid_t ended = waitpid(child, &status, 0);
  tsr_leave_native(p->m);
  DEMAND(ended == child && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS,
         "a forked child ended with status 0x%x", (unsigned)status);
  p->tally.forks++;
}

/* ---- steps --------------------------------------------------------------------------------- */

/* Weights, the frequent ones first. The rest of STEP_WEIGHTS allocates. */
#define STEP_WEIGHTS 100000u

static const struct {
  unsigned weight;
  void (*run)(program *p);
} steps[] = {
    {22000, link_objects},
    {10000, load_to_root},
    {9000, clear_root},
    {4000, copy_slots},
    {3000, reach_safepoint},
    {3000, move_stack_top},
    {2000, fill_slots},
    {2000, renew_handle},
    {2000, open_scope},
    {2000, close_scope},
    {1000, write_raw_words},
    {1000, shrink},
    {1000, seal_or_unseal},
    {600, pin_or_unpin},
    {400, run_natively},
    {400, allocate_by_hand},
    {300, exchange_parcels},
    {200, register_or_unregister_pair},
    {150, move_stack_memory},
    {150, move_range},
    {100, detach_and_attach},
    {100, program_check},
    {20, allocate_without_collections},
    {20, collect_and_count},
    {30, count_objects},
    {30, verify_heap},
    {10, program_shed},
    {10, allocate_hoard},
};

static void step(program *p) {
  uint64_t choice = below(p, STEP_WEIGHTS);
  for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
    if (choice < steps[i].weight) {
      steps[i].run(p);
      return;
    }
    choice -= steps[i].weight;
  }
  allocate_object(p);
}

/* ---- life ---------------------------------------------------------------------------------- */

static void begin(program *p, world *w, uint64_t seed, uint64_t share) {
  p->world = w;
  p->model.heap = w->heap;
  p->random = seed * 0x9e3779b97f4a7c15u | 1;
  p->share = share;
  for (tsr_semantics placement = 0; placement < TSR_PLACEMENTS; placement++) {
    p->allocators[placement] = tsr_allocator_mapping(w->heap, placement);
  }
  DEMAND(bind(p), "no memory for a mutator in a new heap");
  program_open_roots(p);
}

/* Every root is dropped: only immortal objects and what they refer to are left. */
static void drop_everything(program *p) {
  program_check(p);
  while (p->open_scopes > 0) {
    close_scope(p);
  }
  for (size_t i = 0; i < ROOTS; i++) {
    if (p->model.roots[i].slot != NULL) root_set(p, i, 0, 0);
  }
  for (size_t i = 0; i < PINS; i++) {
    if (p->model.pinned[i] != NULL) unpin(p, i);
  }
  collect_and_count(p);
  verify_heap(p);
  unbind(p);
}

void program_run(program *p, world *w, uint64_t seed, uint64_t share) {
  begin(p, w, seed, share);
  while (p->tally.operations < share && !atomic_load(&w->over)) {
    if (p->tally.operations == p->fork_at) fork_child(p);
    step(p);
    p->tally.operations++;
    if (p->m != NULL && p->collections_checked != w->collections) program_check(p);
  }
  if (p->m != NULL) {
    drop_everything(p);
  } else { /* there was no memory to bind again */
    atomic_store(&p->world->leaves_pins, true);
  }
  program_close_roots(p);
}

void program_free(program *p) {
  model_free(&p->model);
}
