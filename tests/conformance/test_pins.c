/*
 * F48, F49, A001-32. Pins: an object that is pinned stays where it is, and alive with all that it refers
 * to, until it is unpinned as often as it was pinned; everything around it goes on as before.
 *
 * Most objects here have no root: what is still in the heap after a collection is there for its pin. Under a
 * plan that never collects nothing moves and nothing goes; what is left to test is the counting.
 */

#define ROOTS 2048u
#include "children.h"
#include "made_objects.h"

static void pin(tsr_ref object) {
  tsr_error error = {0};
  tsr_status status = tsr_pin(vm.m, object, &error);
  ck_assert_msg(status == TSR_OK, "tsr_pin: %s", error.message);
}

static void pin_once(tsr_ref object) {
  tsr_error error = {0};
  tsr_status status = tsr_pin_once(vm.m, object, &error);
  ck_assert_msg(status == TSR_OK, "tsr_pin_once: %s", error.message);
}

static void unpin(tsr_ref object) {
  tsr_error error = {0};
  tsr_status status = tsr_unpin(vm.m, object, &error);
  ck_assert_msg(status == TSR_OK, "tsr_unpin: %s", error.message);
}

static void unpin_is_refused(tsr_ref object) {
  tsr_error error = {0};
  ck_assert_int_eq(tsr_unpin(vm.m, object, &error), TSR_INVALID_ARGUMENT);
  ck_assert_int_eq(error.status, TSR_INVALID_ARGUMENT);
  ck_assert_msg(vm_says(error.message, "pin"), "%s", error.message);
  ck_assert_int_eq(tsr_unpin(vm.m, object, NULL), TSR_INVALID_ARGUMENT);
}

/* ---- addresses ----------------------------------------------------------------------------- */

static const struct {
  unsigned kind;
  size_t count;
} shapes[] = {{PAIR, 0},   {RECORD, 0}, {VECTOR, 5}, {TABLE, 3},
              {CUSTOM, 4}, {WIDE, 0},   {PAIR, 0},   {VECTOR, 60}};
#define SHAPES (sizeof shapes / sizeof shapes[0])

#define CHAIN  1500u

/* A chain of objects of every kind that has slots, with garbage between them: each is rooted, and its first
   slot leads to the one before. */
static void build_chain(void) {
  for (unsigned i = 0; i < CHAIN; i++) {
    unsigned kind = shapes[i % SHAPES].kind;
    tsr_ref object = make(kind, i, shapes[i % SHAPES].count);
    if (i > 0) vm_set(vm.m, object, vm_slot_index(kind, 0), roots[i - 1].word);
    roots[i].word = vm_word(object);
    make(BYTES, 0, 300);
  }
}

static void check_chain(void) {
  for (unsigned i = 0; i < CHAIN; i++) {
    tsr_ref object = vm_ref(roots[i].word);
    unsigned kind = shapes[i % SHAPES].kind;
    ck_assert_msg(is_made(vm_word(object), kind, i), "object %u is not what it was", i);
    uint64_t before = vm_get(vm.m, object, vm_slot_index(kind, 0));
    ck_assert_msg(before == (i == 0 ? 0 : roots[i - 1].word), "object %u leads elsewhere", i);
  }
}

/* Some pins in each stretch of blocks, then a stretch without any: there objects move. */
static bool is_pinned(unsigned i) {
  return i % 50 == 0 && i / 300 % 2 == 0;
}

/* Slots that lead to pinned objects, and slots in pinned objects, are right after each collection. */
START_TEST(a001_32_addresses_of_pinned_objects_hold) {
  static uint64_t where[CHAIN];
  start("32M");
  build_chain();
  for (unsigned i = 0; i < CHAIN; i++) {
    if (is_pinned(i)) pin(vm_ref(roots[i].word));
  }
  size_t moved = 0;
  for (unsigned round = 0; round < 5; round++) {
    for (unsigned i = 0; i < CHAIN; i++)
      where[i] = roots[i].word;
    vm_garbage(vm.m, 512 * KIB);
    vm_collect(&vm);
    check_chain();
    for (unsigned i = 0; i < CHAIN; i++) {
      bool stayed = roots[i].word == where[i];
      ck_assert_msg(stayed || !is_pinned(i), "pinned object %u moved", i);
      moved += !stayed;
    }
  }
  ck_assert_msg(vm_moves_so_many(&vm, moved), "%zu objects moved", moved);
  for (unsigned i = 0; i < CHAIN; i++) {
    if (is_pinned(i)) unpin(vm_ref(roots[i].word));
  }
  vm_collect(&vm);
  check_chain();
  stop();
}
END_TEST

START_TEST(an_unpinned_object_moves_again) {
  start_alone("32M");
  unsigned moved = 0;
  build_chain();
  for (unsigned i = 0; i < CHAIN; i += 50)
    pin(vm_ref(roots[i].word));
  vm_collect(&vm);
  for (unsigned i = 0; i < CHAIN; i += 50)
    unpin(vm_ref(roots[i].word));
  for (unsigned i = 1; i < CHAIN; i += 2)
    roots[i].word = 0; /* what is in between goes, so that there is a reason to move */
  for (unsigned i = 0; i < CHAIN; i += 2) {
    tsr_ref object = vm_ref(roots[i].word);
    vm_set(vm.m, object, vm_slot_index(vm_kind_of(object), 0), 0);
  }
  uint64_t where[CHAIN];
  memcpy(where, roots, sizeof where);
  vm_collect(&vm);
  for (unsigned i = 0; i < CHAIN; i += 50) {
    ck_assert(is_made(roots[i].word, shapes[i % SHAPES].kind, i));
    moved += roots[i].word != where[i];
  }
  ck_assert_msg(vm_moves_so_many(&vm, moved), "%u objects moved", moved);
  stop();
}
END_TEST

/* ---- counts -------------------------------------------------------------------------------- */

START_TEST(pins_are_counted) {
  start("16M");
  tsr_ref object = make(RECORD, 5, 0);
  pin(object);
  pin(object);
  expect_objects(1);
  unpin(object);
  for (unsigned round = 0; round < 3; round++) {
    vm_garbage(vm.m, 100 * KIB);
    expect_objects(1);
    ck_assert(is_made(vm_word(object), RECORD, 5));
  }
  pin(object);
  unpin(object);
  expect_objects(1);
  ck_assert(is_made(vm_word(object), RECORD, 5));
  unpin(object);
  unpin_is_refused(object);
  expect_objects(0);
  stop();
}
END_TEST

#define CROWD 60u

/* The objects that still have pins are in the heap where they were, and, with no root, no others. */
static void check_crowd(tsr_ref *crowd, const unsigned *counts) {
  size_t pinned = 0;
  for (unsigned i = 0; i < CROWD; i++)
    pinned += counts[i] > 0;
  expect_objects(pinned);
  for (unsigned i = 0; i < CROWD; i++) {
    if (counts[i] > 0) ck_assert(is_made(vm_word(crowd[i]), RECORD, i));
  }
}

START_TEST(f49_pins_are_released_in_any_order) {
  for (uint64_t seed = 1; seed <= 5; seed++) {
    tsr_ref crowd[CROWD];
    unsigned counts[CROWD];
    unsigned pins = 0;
    uint64_t random = seed;
    start("16M");
    for (unsigned i = 0; i < CROWD; i++) {
      crowd[i] = make(RECORD, i, 0);
      counts[i] = 1 + (unsigned)(vm_random(&random) % 4);
      pins += counts[i];
      for (unsigned k = 0; k < counts[i]; k++)
        pin(crowd[i]);
      make(BYTES, 0, vm_random(&random) % 3000);
    }
    check_crowd(crowd, counts);
    while (pins > 0) {
      unsigned i = (unsigned)(vm_random(&random) % CROWD);
      if (counts[i] == 0) continue;
      unpin(crowd[i]);
      if (--counts[i] == 0) unpin_is_refused(crowd[i]);
      if (pins-- % 10 == 0) check_crowd(crowd, counts);
    }
    check_crowd(crowd, counts);
    stop();
  }
}
END_TEST

START_TEST(unpinning_without_a_pin_is_refused) {
  start("16M");
  static int outside;
  tsr_ref object = make(RECORD, 1, 0);
  roots[0].word = vm_word(object);
  unpin_is_refused(object); /* nothing was ever pinned */
  unpin_is_refused(NULL);
  tsr_ref other = make(RECORD, 2, 0);
  pin(other);
  object = vm_ref(roots[0].word);
  unpin_is_refused(object);
  unpin_is_refused(NULL);
  unpin_is_refused((tsr_ref)(void *)&outside);
  unpin_is_refused((tsr_ref)((uintptr_t)other + 8));
  unpin_is_refused((tsr_ref)((uintptr_t)other + 1));
  unpin_is_refused((tsr_ref)(uintptr_t)8);
  unpin_is_refused((tsr_ref)UINTPTR_MAX);
  unpin(other);
  unpin_is_refused(other);
  stop();
}
END_TEST

/* ---- pins for one collection --------------------------------------------------------------- */

START_TEST(a_pin_for_once_holds_for_one_collection) {
  start_calm("16M"); /* counts collections */
  for (unsigned round = 0; round < 3; round++) {
    tsr_ref object = make(RECORD, round, 0);
    pin_once(object);
    vm_garbage(vm.m, 100 * KIB);
    if (round == 1) pin_once(object); /* no more than one */
    expect_objects(1);
    ck_assert(is_made(vm_word(object), RECORD, round));
    unpin_is_refused(object);
    expect_objects(0);
  }
  stop();
}
END_TEST

START_TEST(pins_for_once_and_counted_ones_do_not_mix) {
  start_calm("16M");
  tsr_ref object = make(RECORD, 3, 0);
  pin_once(object);
  unpin_is_refused(object); /* it cannot be taken back, and is still there */
  pin(object);
  unpin(object);
  unpin_is_refused(object);
  expect_objects(1);
  ck_assert(is_made(vm_word(object), RECORD, 3));
  if (vm_collects) pin(object);
  if (vm_collects) pin_once(object);
  expect_objects(1);
  expect_objects(1); /* the counted one is left */
  ck_assert(is_made(vm_word(object), RECORD, 3));
  if (vm_collects) unpin(object);
  expect_objects(0);
  stop();
}
END_TEST

START_TEST(many_pins_for_once_go_together) {
  start_calm("16M");
  enum { N = 3000 };
  static tsr_ref objects[N];
  for (unsigned i = 0; i < N; i++) {
    objects[i] = make(PAIR, i, 0);
    pin_once(objects[i]);
    if (i % 3 == 0) pin(objects[i]);
  }
  expect_objects(N);
  for (unsigned i = 0; i < N; i++)
    ck_assert(is_made(vm_word(objects[i]), PAIR, i));
  expect_objects(N / 3);
  for (unsigned i = 0; i < N; i += 3) {
    ck_assert(is_made(vm_word(objects[i]), PAIR, i));
    unpin(objects[i]);
  }
  expect_objects(0);
  stop();
}
END_TEST

/* ---- what a pin keeps ------------------------------------------------------------------------ */

START_TEST(a_pin_keeps_what_its_object_refers_to) {
  start("16M");
  ck_assert(vm_list(vm.m, &roots[0], 1000, 7));
  tsr_ref head = vm_ref(roots[0].word);
  pin(head);
  roots[0].word = 0;
  for (unsigned round = 0; round < 4; round++) {
    vm_garbage(vm.m, 200 * KIB);
    expect_objects(1000);
    ck_assert(vm_list_holds(vm.m, vm_word(head), 1000, 7));
  }
  vm_set(vm.m, head, 2, 0); /* lets the rest go */
  expect_objects(1);
  ck_assert(vm_list_holds(vm.m, vm_word(head), 1, 7));
  unpin(head);
  expect_objects(0);
  stop();
}
END_TEST

/* A leaf keeps nothing but itself, pinned or not. */
START_TEST(a_pinned_leaf_keeps_nothing) {
  start("16M");
  roots[0].word = vm_word(make(PAIR, 1, 0));
  tsr_ref leaf = place_must(&vm, TSR_DEFAULT | TSR_LEAF, PAIR, 2, 0);
  pin(leaf);
  vm_slot(leaf, 1)->word = roots[0].word; /* not a reference: nobody will look */
  roots[0].word = 0;
  expect_objects(1);
  ck_assert(is_made(vm_word(leaf), PAIR, 2));
  unpin(leaf);
  expect_objects(0);
  stop();
}
END_TEST

START_TEST(objects_that_never_move_may_be_pinned) {
  start("64M");
  static const struct {
    unsigned kind;
    size_t count;
  } sizes[] = {{RECORD, 0}, {VECTOR, 900}, {VECTOR, 5000}};
  enum { SIZES = sizeof sizes / sizeof sizes[0], OBJECTS = PLACE_COMBINATIONS * SIZES };
  static tsr_ref objects[OBJECTS];
  place_set pinned = {0};
  place_set immortal = {0};
  for (unsigned i = 0; i < OBJECTS; i++) {
    tsr_semantics semantics = place_semantics(i / SIZES);
    unsigned kind = sizes[i % SIZES].kind;
    size_t size = vm_size(kind, sizes[i % SIZES].count);
    objects[i] = make_in(semantics, kind, i, sizes[i % SIZES].count);
    pin(objects[i]);
    if (place_sealable(semantics)) ck_assert_int_eq(tsr_seal(vm.m, objects[i], NULL), TSR_OK);
    place_set_add(&pinned, vm_word(objects[i]), size);
    if (place_of(semantics) == TSR_IMMORTAL) {
      place_set_add(&immortal, vm_word(objects[i]), size);
    }
  }
  for (unsigned round = 0; round < 3; round++) {
    vm_garbage(vm.m, 100 * KIB);
    vm_collect(&vm);
    place_heap_holds(&vm, &pinned, vm_collects, "pinned");
    for (unsigned i = 0; i < OBJECTS; i++)
      ck_assert(is_made(vm_word(objects[i]), sizes[i % SIZES].kind, i));
  }
  for (unsigned i = 0; i < OBJECTS; i++)
    unpin(objects[i]);
  vm_collect(&vm);
  place_heap_holds(&vm, &immortal, vm_collects, "unpinned");
  place_set_free(&pinned);
  place_set_free(&immortal);
  stop();
}
END_TEST

/* One object in each of 200 blocks keeps them all; without the pins a few blocks are enough. */
START_TEST(memory_comes_back_when_pins_go) {
  enum { BLOCKS = 200, BLOCK = 32 * 1024, EACH = 1000 };
  start_alone("64M"); /* measures memory */
  size_t between = BLOCK / vm_size(BYTES, EACH) + 1;
  for (unsigned i = 0; i < BLOCKS; i++) {
    roots[i].word = vm_word(make(BYTES, i, EACH));
    pin(vm_ref(roots[i].word));
    for (size_t k = 1; k < between; k++)
      make(BYTES, 0, EACH);
  }
  uint64_t where[BLOCKS];
  memcpy(where, roots, sizeof where);
  vm_collect(&vm);
  ck_assert(memcmp(where, roots, sizeof where) == 0);
  uint64_t pinned = vm_stats(&vm).used_bytes;
  ck_assert_uint_ge(pinned, (uint64_t)BLOCKS * BLOCK);
  unsigned moved = 0;
  for (unsigned i = 0; i < BLOCKS; i++)
    unpin(vm_ref(where[i]));
  vm_collect(&vm);
  for (unsigned i = 0; i < BLOCKS; i++) {
    ck_assert(is_made(roots[i].word, BYTES, i));
    moved += roots[i].word != where[i];
  }
  if (vm_moves(&vm)) {
    ck_assert_uint_gt(moved, BLOCKS / 2);
    ck_assert_uint_lt(vm_stats(&vm).used_bytes, pinned / 8);
  }
  stop();
}
END_TEST

/* Everything is pinned, and every byte is taken: by objects, and by the table of the pins. */
START_TEST(a_heap_full_of_pins) {
  enum { MOST = 1 << 20 };
  static tsr_ref objects[MOST];
  size_t n = 0;
  tsr_error error = {0};
  tsr_ref object;
  start_alone("4M"); /* fills its heap */
  while ((object = vm_new(vm.m, CELL, n & 0xffff, 0)) != NULL) {
    ck_assert_uint_lt(n, MOST);
    if (tsr_pin(vm.m, object, &error) != TSR_OK) break;
    objects[n++] = object;
  }
  ck_assert_msg(object == NULL || error.status == TSR_OUT_OF_MEMORY, "%s", error.message);
  ck_assert_uint_gt(n, 10000);
  vm_take_ooms(&vm, NULL);
  ck_assert_uint_le(vm_stats(&vm).peak_committed_bytes, 4 * MIB);
  expect_objects(n);
  for (size_t i = 0; i < n; i++)
    ck_assert(is_made(vm_word(objects[i]), CELL, i & 0xffff));
  place_verify(&vm);
  for (size_t i = 0; i < n; i++) /* 7919 is a prime, so this comes to each of them */
    unpin(objects[n % 7919 == 0 ? i : i * 7919 % n]);
  expect_objects(0);
  if (vm_collects) ck_assert(vm_list(vm.m, &roots[0], 1000, 0));
  stop();
}
END_TEST

/* ---- random pins in a random graph --------------------------------------------------------- */

/* A node is a vector: its number, then edges. */
#define EDGES      5u
#define ENTRIES    32u /* rooted nodes */
#define FIRST      1200u
#define FRESH      40u /* new nodes in each round */
#define ROUNDS     12u
#define NODES      (FIRST + FRESH * ROUNDS)
#define GRAPH_PINS 200u

typedef struct graph {
  uint64_t random;
  unsigned count; /* numbers given */
  struct {
    tsr_ref object; /* NULL: not in use */
    uint64_t number;
  } pins[GRAPH_PINS];
  /* The last walk: the nodes reached, by number, valid up to the next safepoint; and in its order. */
  uint64_t reached[NODES];
  uint64_t stack[NODES];
  uint64_t order[NODES];
  size_t length;
} graph;

static uint64_t graph_random(graph *g, uint64_t bound) {
  return vm_random(&g->random) % bound;
}

static uint64_t node_number(uint64_t word) {
  return vm_get(vm.m, vm_ref(word), 2) >> 3;
}

/* Whether a word is a reference to a node that was not reached before; then it is queued. */
static size_t graph_push(graph *g, size_t depth, uint64_t word) {
  if (word == 0 || (word & 7) != 0) return depth;
  ck_assert_uint_eq(vm_kind_of(vm_ref(word)), VECTOR);
  uint64_t number = node_number(word);
  ck_assert_uint_lt(number, g->count);
  if (g->reached[number] != 0) {
    ck_assert_msg(g->reached[number] == word, "node %u is in two places", (unsigned)number);
    return depth;
  }
  g->reached[number] = word;
  g->order[g->length++] = number;
  g->stack[depth] = word;
  return depth + 1;
}

/* Depth first from the roots and the pins: a sum over the order, and over what each edge leads to. */
static uint64_t graph_checksum(graph *g) {
  uint64_t sum = 1;
  size_t depth = 0;
  memset(g->reached, 0, sizeof g->reached);
  g->length = 0;
  for (unsigned i = 0; i < ENTRIES + GRAPH_PINS; i++) {
    depth =
        graph_push(g, depth, i < ENTRIES ? roots[i].word : vm_word(g->pins[i - ENTRIES].object));
    while (depth > 0) {
      tsr_ref node = vm_ref(g->stack[--depth]);
      sum = sum * 0x100000001b3u + node_number(vm_word(node));
      for (unsigned k = 0; k < EDGES; k++) {
        uint64_t word = vm_get(vm.m, node, 3 + k);
        bool leads = word != 0 && (word & 7) == 0;
        sum = sum * 0x100000001b3u + (leads ? node_number(word) : ~word);
        depth = graph_push(g, depth, word);
      }
    }
  }
  return sum;
}

/* A new node with edges to rooted nodes, in a random entry. */
static void graph_grow(graph *g) {
  tsr_ref node = vm_new(vm.m, VECTOR, 0, 1 + EDGES);
  ck_assert_ptr_nonnull(node);
  vm_set(vm.m, node, 2, FIXNUM(g->count));
  g->count++;
  for (unsigned k = 0; k < EDGES; k++) {
    uint64_t word = graph_random(g, 6) == 0 ? FIXNUM(k) : roots[graph_random(g, ENTRIES)].word;
    vm_set(vm.m, node, 3 + k, word);
  }
  roots[graph_random(g, ENTRIES)].word = vm_word(node);
  make(BYTES, 0, graph_random(g, 400));
}

/* Another edge for a random node that the last walk reached, and now and then for a root. */
static void graph_change(graph *g) {
  uint64_t from = g->reached[g->order[graph_random(g, g->length)]];
  uint64_t to = g->reached[g->order[graph_random(g, g->length)]];
  vm_set(vm.m, vm_ref(from), 3 + graph_random(g, EDGES), to);
  if (graph_random(g, 30) == 0) roots[graph_random(g, ENTRIES)].word = to;
}

/* Some pins go, and each free place pins a random node. */
static void graph_pin(graph *g) {
  for (unsigned i = 0; i < GRAPH_PINS; i++) {
    if (g->pins[i].object != NULL && graph_random(g, 4) != 0) continue;
    if (g->pins[i].object != NULL) unpin(g->pins[i].object);
    uint64_t number = g->order[graph_random(g, g->length)];
    g->pins[i].object = vm_ref(g->reached[number]);
    g->pins[i].number = number;
    pin(g->pins[i].object);
  }
}

START_TEST(random_pins_in_a_random_graph) {
  static graph g;
  g = (graph){.random = 0x2545f491u};
  start("32M");
  for (unsigned i = 0; i < FIRST; i++)
    graph_grow(&g);
  for (unsigned round = 0; round < ROUNDS; round++) {
    for (unsigned i = 0; i < FRESH; i++)
      graph_grow(&g);
    graph_checksum(&g);
    for (unsigned i = 0; i < 200; i++)
      graph_change(&g);
    graph_checksum(&g); /* what a change has cut off is no longer there to be pinned */
    graph_pin(&g);
    uint64_t sum = graph_checksum(&g);
    size_t nodes = g.length;
    vm_garbage(vm.m, 200 * KIB);
    vm_collect(&vm);
    ck_assert_msg(graph_checksum(&g) == sum, "round %u: the graph has changed", round);
    for (unsigned i = 0; i < GRAPH_PINS; i++)
      ck_assert_uint_eq(g.reached[g.pins[i].number], vm_word(g.pins[i].object));
    if (vm_collects) ck_assert_uint_eq(vm_enumerate(vm.m).objects, nodes);
  }
  for (unsigned i = 0; i < GRAPH_PINS; i++)
    unpin(g.pins[i].object);
  memset(g.pins, 0, sizeof g.pins);
  uint64_t sum = graph_checksum(&g);
  vm_collect(&vm);
  ck_assert_uint_eq(graph_checksum(&g), sum);
  stop();
}
END_TEST

/* ---- pins that are left ---------------------------------------------------------------------- */

/* Destroys the heap with pins on so many objects, some twice; and one more object has one that goes by
   itself. */
static tsr_error leak(unsigned left, unsigned *reports) {
  char where[32] = "";
  uintptr_t lowest = UINTPTR_MAX;
  start("16M");
  pin_once(make(BYTES, 0, 100));
  for (unsigned i = 0; i < left; i++) {
    tsr_ref object = make(RECORD, i, 0);
    pin(object);
    if (i % 2 == 1) pin(object);
    if ((uintptr_t)object < lowest) lowest = (uintptr_t)object;
    snprintf(where, sizeof where, "%p", (void *)lowest);
  }
  vm_alone(&vm);
  ck_assert_int_eq(tsr_unbind_mutator(vm.m, NULL), TSR_OK);
  ck_assert_int_eq(tsr_heap_destroy(vm.heap, NULL), TSR_OK);
  tsr_error error = {0};
  *reports = vm_take_errors(&vm, &error);
  vm_drop(&vm);
  ck_assert_msg(vm_says(error.message, where), "no %s in: %s", where, error.message);
  return error;
}

START_TEST(f49_pins_that_are_left_are_reported) {
  static const unsigned numbers[] = {1, 2, 137};
  for (size_t i = 0; i < 3; i++) {
    unsigned reports;
    char count[32];
    tsr_error error = leak(numbers[i], &reports);
    ck_assert_uint_eq(reports, 1);
    ck_assert_int_eq(error.status, TSR_BUSY);
    snprintf(count, sizeof count, "still pinned: %u, the first", numbers[i]);
    ck_assert_msg(vm_says(error.message, count), "no \"%s\" in: %s", count, error.message);
    ck_assert_msg(vm_says(error.message, "\"record\""), "%s", error.message);
  }
  unsigned reports;
  leak(0, &reports);
  ck_assert_msg(reports == 0, "a pin for one collection is none that was forgotten");
}
END_TEST

/* ---- what cannot be pinned --------------------------------------------------------------------- */

static void pin_is_refused(tsr_ref object, tsr_status wanted, const char *what) {
  static tsr_status (*const functions[])(tsr_mutator *, tsr_ref, tsr_error *) = {tsr_pin,
                                                                                 tsr_pin_once};
  static const char *const names[] = {"tsr_pin", "tsr_pin_once"};
  for (unsigned i = 0; i < 2; i++) {
    tsr_error error = {0};
    tsr_status status = functions[i](vm.m, object, &error);
    ck_assert_msg(status == wanted && error.status == wanted, "%s of %s: %s", names[i], what,
                  tsr_status_name(status));
    ck_assert_msg(vm_says(error.message, names[i]), "%s", error.message);
    ck_assert_int_eq(functions[i](vm.m, object, NULL), wanted);
  }
}

START_TEST(what_is_no_object_is_refused) {
  start_alone("16M"); /* where nothing is, another mutator could put something */
  testvm other;
  vm_open_alone(&other, "16M");
  static uint64_t outside[4];
  vm_init_object(outside, PAIR, 0, 0);
  roots[0].word = vm_word(make(RECORD, 1, 0));
  roots[1].word = vm_word(place_must(&vm, TSR_LARGE, BYTES, 2, 100 * KIB));
  roots[2].word = vm_word(place_must(&vm, TSR_LARGE, BYTES, 2, 100 * KIB));
  vm_fill(vm_ref(roots[1].word), 2);
  uint64_t dropped = roots[2].word;
  roots[2].word = 0;
  vm_collect(&vm);
  make(RECORD, 3, 0); /* so that the mutator has a buffer */
  tsr_ref large = vm_ref(roots[1].word);
  tsr_ref foreign = vm_new(other.m, PAIR, 0, 0);
  const struct {
    uintptr_t address;
    const char *what;
  } cases[] = {{0, "NULL"},
               {8, "a small number"},
               {UINTPTR_MAX - 7, "the end of all memory"},
               {(uintptr_t)outside, "memory of the VM"},
               {(uintptr_t)foreign, "another heap's object"},
               {(uintptr_t)roots[0].word + 1, "a misaligned address"},
               {(uintptr_t)roots[0].word + 4, "a misaligned address"},
               {(uintptr_t)large + 16, "the inside of a large object"},
               {(uintptr_t)large + 64 * KIB, "the inside of a large object"},
               {vm.m->bump[TSR_DEFAULT].cursor, "memory that is still free"},
               {vm_collects ? (uintptr_t)dropped : 0, "a free block"}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    pin_is_refused((tsr_ref)cases[i].address, TSR_INVALID_ARGUMENT, cases[i].what);
    unpin_is_refused((tsr_ref)cases[i].address);
  }
  expect_objects(2);
  vm_stop(&other);
  stop();
}
END_TEST

/* ---- native code, threads, fork ------------------------------------------------------------------ */

START_TEST(native_code_unpins_and_does_not_pin) {
  start("16M");
  tsr_ref object = make(RECORD, 1, 0);
  pin(object);
  pin(object);
  tsr_enter_native(vm.m);
  pin_is_refused(object, TSR_BUSY, "an object, in native code");
  unpin(object);
  unpin(object);
  unpin_is_refused(object);
  tsr_leave_native(vm.m);
  expect_objects(0);
  stop();
}
END_TEST

#define THREADS 4u
#define TURNS   200u

/* Each pins an object of its own, and one that all of them have, which it leaves with one pin more. */
static void pin_by_turns(vm_thread *self) {
  tsr_ref shared = self->arg;
  tsr_slot *slot = tsr_local(self->m, 0);
  for (unsigned turn = 0; turn < TURNS; turn++) {
    tsr_ref own = vm_new(self->m, RECORD, turn, 0);
    EXPECT(self, own != NULL);
    vm_fill(own, turn);
    slot->word = vm_word(own);
    EXPECT(self, tsr_pin(self->m, own, NULL) == TSR_OK);
    EXPECT(self, tsr_pin(self->m, shared, NULL) == TSR_OK);
    if (turn > 0) EXPECT(self, tsr_unpin(self->m, shared, NULL) == TSR_OK);
    EXPECT(self, vm_new(self->m, BYTES, 0, 500) != NULL);
    if (turn % 20 == self->index) {
      EXPECT(self, tsr_collect(self->m, NULL) == (vm_collects ? TSR_OK : TSR_UNSUPPORTED));
    }
    EXPECT(self, slot->word == vm_word(own) && is_made(vm_word(own), RECORD, turn));
    EXPECT(self, is_made(vm_word(shared), RECORD, 77));
    bool native = turn % 2 == 0; /* others may be collecting at the time */
    if (native) tsr_enter_native(self->m);
    tsr_status status = tsr_unpin(self->m, own, NULL);
    if (native) tsr_leave_native(self->m);
    EXPECT(self, status == TSR_OK);
  }
}

START_TEST(pins_of_several_threads_add_up) {
  start("32M");
  tsr_ref shared = make(RECORD, 77, 0);
  pin(shared);
  vm_threads(&vm, THREADS, pin_by_turns, shared);
  for (unsigned i = 0; i < THREADS; i++) {
    unpin(shared);
    expect_objects(1);
    ck_assert(is_made(vm_word(shared), RECORD, 77));
  }
  unpin(shared);
  unpin_is_refused(shared);
  expect_objects(0);
  stop();
}
END_TEST

/* The pin is the heap's: it outlives the mutator, and another one takes it back. */
static void pin_and_leave(vm_thread *self) {
  tsr_ref *kept = self->arg;
  kept[self->index] = vm_new(self->m, RECORD, self->index, 0);
  EXPECT(self, kept[self->index] != NULL);
  vm_fill(kept[self->index], self->index);
  EXPECT(self, tsr_pin(self->m, kept[self->index], NULL) == TSR_OK);
}

START_TEST(pins_outlive_their_mutators) {
  start("16M");
  tsr_ref kept[THREADS];
  vm_threads(&vm, THREADS, pin_and_leave, kept);
  expect_objects(THREADS);
  for (unsigned i = 0; i < THREADS; i++) {
    ck_assert(is_made(vm_word(kept[i]), RECORD, i));
    unpin(kept[i]);
  }
  expect_objects(0);
  stop();
}
END_TEST

/* In the child: the pin is there, holds, and can be taken back, once. */
static bool child_finds_pin(void *context) {
  tsr_ref object = context;
  tsr_status status = tsr_collect(vm.m, NULL);
  if (status != (vm_collects ? TSR_OK : TSR_UNSUPPORTED)) return false;
  if (!is_made(vm_word(object), RECORD, 9)) return false;
  if (tsr_unpin(vm.m, object, NULL) != TSR_OK) return false;
  if (tsr_unpin(vm.m, object, NULL) != TSR_INVALID_ARGUMENT) return false;
  tsr_ref another = vm_new(vm.m, RECORD, 9, 0);
  return another != NULL && tsr_pin(vm.m, another, NULL) == TSR_OK;
}

START_TEST(pins_go_to_both_sides_of_a_fork) {
  start("16M");
  tsr_ref object = make(RECORD, 9, 0);
  pin(object);
  assert_forked_child(vm.m, child_finds_pin, object);
  expect_objects(1);
  ck_assert(is_made(vm_word(object), RECORD, 9));
  unpin(object);
  expect_objects(0);
  stop();
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, a001_32_addresses_of_pinned_objects_hold);
  tcase_add_test(tests, an_unpinned_object_moves_again);
  tcase_add_test(tests, pins_are_counted);
  tcase_add_test(tests, f49_pins_are_released_in_any_order);
  tcase_add_test(tests, unpinning_without_a_pin_is_refused);
  tcase_add_test(tests, a_pin_for_once_holds_for_one_collection);
  tcase_add_test(tests, pins_for_once_and_counted_ones_do_not_mix);
  tcase_add_test(tests, many_pins_for_once_go_together);
  tcase_add_test(tests, a_pin_keeps_what_its_object_refers_to);
  tcase_add_test(tests, a_pinned_leaf_keeps_nothing);
  tcase_add_test(tests, objects_that_never_move_may_be_pinned);
  tcase_add_test(tests, memory_comes_back_when_pins_go);
  tcase_add_test(tests, a_heap_full_of_pins);
  tcase_add_test(tests, random_pins_in_a_random_graph);
  tcase_add_test(tests, f49_pins_that_are_left_are_reported);
  tcase_add_test(tests, what_is_no_object_is_refused);
  tcase_add_test(tests, native_code_unpins_and_does_not_pin);
  tcase_add_test(tests, pins_of_several_threads_add_up);
  tcase_add_test(tests, pins_outlive_their_mutators);
  tcase_add_test(tests, pins_go_to_both_sides_of_a_fork);
}

int main(void) {
  return vm_main("pins", add);
}
