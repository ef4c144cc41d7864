/*
 * A001-07, A001-13, A001-17. Marking in steps: what the program does between two steps loses nothing, and what is
 * dead is freed by the third cycle, or by the first one without a nursery.
 *
 * Each heap here has a stress interval of its own, under which a plan that marks in steps always does, in steps of a
 * few objects at first. Where a plan collects in one go, a collection takes the place of a cycle.
 */
#include "weak_fixture.h"

#define NURSERY "64K"

static void start_marking(void) {
  vm_init(&vm);
  vm_alone(&vm);
  vm_pin(&vm, "heap_max", "64M");
  vm_pin(&vm, "nursery", NURSERY);
  if (vm_stress == NULL) vm_pin(&vm, "stress", "24K");
  begin();
}

static unsigned often(unsigned n) {
  return many(VM_SANITIZED || vm_verifies ? n / 8 : n);
}

static bool marks_in_steps(void) {
  return vm_is_incremental();
}

/* Allocates, until a cycle ends. */
static void end_cycle(void) {
  if (!marks_in_steps()) {
    vm_collect(&vm);
    return;
  }
  uint64_t cycles = vm_stats(&vm).cycles;
  while (vm_stats(&vm).cycles == cycles)
    vm_garbage(vm.m, 4 * KIB);
}

/* So many that what is dead now is gone: the third that begins from now on has ended, without a nursery the first. */
static void end_enough(void) {
  for (unsigned i = 0; i < (vm_is_still() ? 2u : 4u); i++)
    end_cycle();
}

/* So that roots lead to old objects. */
static void grow_old(void) {
  vm_collect(&vm);
  vm_collect(&vm);
}

/* ---- what is kept ---------------------------------------------------------------------------------------- */

#define HOLDERS 40u
#define PLACES  50u

static unsigned held[HOLDERS][PLACES]; /* tags; 0: nothing */

static uint64_t place_word(unsigned holder, unsigned place) {
  return vm_get(vm.m, vm_ref(roots[holder].word), vm_slot_index(VECTOR, place));
}

static void set_place(unsigned holder, unsigned place, uint64_t word, unsigned tag) {
  vm_set(vm.m, vm_ref(roots[holder].word), vm_slot_index(VECTOR, place), word);
  held[holder][place] = tag;
}

static void check_place(unsigned holder, unsigned place) {
  uint64_t word = place_word(holder, place);
  unsigned tag = held[holder][place];
  ck_assert_msg(tag == 0 ? word == FIXNUM(0) : is_made(word, RECORD, tag),
                "place %u of holder %u is not what it was", place, holder);
}

static void check_places(void) {
  for (unsigned h = 0; h < HOLDERS; h++) {
    for (unsigned p = 0; p < PLACES; p++)
      check_place(h, p);
  }
}

/* Each record is held by one place; old records move from place to place, and now and then one is new. */
START_TEST(a001_07_what_moves_about_between_steps_is_kept) {
  static const tsr_semantics placements[] = {TSR_DEFAULT, TSR_NON_MOVING, TSR_IMMORTAL, TSR_LARGE};
  seed = 1 + (uint64_t)_i;
  start_marking();
  for (unsigned h = 0; h < HOLDERS; h++) {
    tsr_ref holder = place_must(&vm, placements[h % 4], VECTOR, h, PLACES);
    for (unsigned p = 0; p < PLACES; p++)
      vm_slot(holder, vm_slot_index(VECTOR, p))->word = FIXNUM(0);
    roots[h].word = vm_word(holder);
    for (unsigned p = 0; p < PLACES; p++)
      set_place(h, p, vm_word(make(RECORD, 1 + h * PLACES + p, 0)), 1 + h * PLACES + p);
  }
  grow_old();
  uint64_t cycles = vm_stats(&vm).cycles;
  for (unsigned n = 0; n < often(80000); n++) {
    unsigned from = (unsigned)(vm_random(&seed) % HOLDERS),
             to = (unsigned)(vm_random(&seed) % HOLDERS);
    unsigned at = (unsigned)(vm_random(&seed) % PLACES),
             there = (unsigned)(vm_random(&seed) % PLACES);
    uint64_t word = place_word(from, at), other = place_word(to, there);
    unsigned tag = held[from][at], other_tag = held[to][there];
    set_place(to, there, word, tag);
    set_place(from, at, other, other_tag);
    if (n % 16 == 0) {
      unsigned fresh = 1 + n % 60000;
      set_place(from, at, vm_word(make(RECORD, fresh, 0)), fresh);
    }
    if (n % 64 == 0) check_place(to, there);
    if (n % 5000 == 4999 && n % 3 == 0) vm_collect(&vm); /* which gives a cycle up */
  }
  check_places();
  end_enough();
  check_places();
  if (marks_in_steps()) ck_assert_uint_gt(vm_stats(&vm).cycles, cycles + (vm_is_still() ? 1 : 3));
  stop();
}
END_TEST

/* However often old objects are stored into, cycles end. */
START_TEST(a001_13_stores_keep_no_cycle_from_its_end) {
  seed = 17;
  start_marking();
  for (unsigned h = 0; h < HOLDERS; h++) {
    roots[h].word = vm_word(make_in(TSR_NON_MOVING, VECTOR, h, PLACES));
    for (unsigned p = 0; p < PLACES; p++)
      vm_set(vm.m, vm_ref(roots[h].word), vm_slot_index(VECTOR, p), FIXNUM(0));
  }
  grow_old();
  uint64_t cycles = vm_stats(&vm).cycles, begun = vm_stats(&vm).bytes_allocated;
  while (marks_in_steps() && vm_stats(&vm).cycles < cycles + 3) {
    vm_set(vm.m, vm_ref(roots[draw(HOLDERS)].word), vm_slot_index(VECTOR, draw(PLACES)),
           roots[draw(HOLDERS)].word);
    vm_garbage(vm.m, 200);
    ck_assert_uint_lt(vm_stats(&vm).bytes_allocated, begun + 16 * MIB);
  }
  stop();
}
END_TEST

/* However short the pauses are that are asked for: what is late takes longer, rather than that everything is collected in
   one. */
#define REPLACED 40000u

START_TEST(a001_13_a_short_goal_ends_cycles) {
  seed = 23;
  vm_init(&vm);
  vm_alone(&vm);
  vm_pin(&vm, "heap_min", "24M");
  vm_pin(&vm, "heap_max", "32M");
  vm_pin(&vm, "nursery", NURSERY);
  vm_pin(&vm, "pause_goal", "10us");
  begin();
  roots[0].word = vm_word(make_in(TSR_NON_MOVING, VECTOR, 1, REPLACED));
  for (unsigned n = 0; n < often(20 * REPLACED); n++) {
    unsigned i = n < REPLACED ? n : (unsigned)draw(REPLACED);
    tsr_ref fresh = make(RECORD, i % 60000, 0);
    vm_set(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, i), vm_word(fresh));
  }
  if (marks_in_steps() && vm_stress == NULL) {
    ck_assert_uint_eq(vm_stats(&vm).major_collections, 0);
    ck_assert_uint_ge(vm_stats(&vm).cycles, VM_SANITIZED || vm_verifies ? 0 : 4);
  }
  stop();
}
END_TEST

/* An old object that only young ones refer to, none of which gets old. */
START_TEST(a001_07_what_the_young_hold_is_kept) {
  start_marking();
  roots[0].word = vm_word(make(RECORD, 7, 0));
  grow_old();
  uint64_t cycles = vm_stats(&vm).cycles;
  for (unsigned n = 0; n < often(40000); n++) {
    tsr_ref holder = vm_new(vm.m, PAIR, 0, 0);
    uint64_t held_word =
        n == 0 ? roots[0].word : vm_get(vm.m, vm_ref(roots[0].word), vm_slot_index(PAIR, 0));
    vm_set(vm.m, holder, vm_slot_index(PAIR, 0), held_word);
    vm_set(vm.m, holder, vm_slot_index(PAIR, 1), FIXNUM(0));
    roots[0].word = vm_word(holder);
    ck_assert(is_made(held_word, RECORD, 7));
  }
  if (marks_in_steps()) ck_assert_uint_gt(vm_stats(&vm).cycles, cycles);
  stop();
}
END_TEST

/* Among them one that is born while a cycle is under way, and one that nobody else knows. */
START_TEST(a001_07_what_the_immortal_hold_is_kept) {
  start_marking();
  for (unsigned n = 0; n < 60; n++) {
    roots[0].word = vm_word(make(RECORD, n + 1, 0));
    if (n % 2 == 0) grow_old();
    tsr_ref holder = place_must(&vm, TSR_IMMORTAL | (n % 3 == 0 ? TSR_LARGE : 0), PAIR, n, 0);
    vm_set(vm.m, holder, vm_slot_index(PAIR, 0), roots[0].word);
    vm_set(vm.m, holder, vm_slot_index(PAIR, 1), roots[1].word);
    roots[1].word = vm_word(holder);
    vm_garbage(vm.m, 8 * KIB);
  }
  uint64_t first = roots[1].word;
  roots[0].word = roots[1].word = 0;
  for (unsigned round = 0; round < 4; round++) {
    end_cycle();
    uint64_t at = first;
    for (unsigned n = 60; n-- > 0;) {
      ck_assert(is_made(vm_get(vm.m, vm_ref(at), vm_slot_index(PAIR, 0)), RECORD, n + 1));
      at = vm_get(vm.m, vm_ref(at), vm_slot_index(PAIR, 1));
    }
  }
  stop();
}
END_TEST

/* Longer than a step, and than the mark queue: scanned in pieces. */
START_TEST(a001_13_a_long_array_is_marked_piece_by_piece) {
  start_marking();
  size_t count = often(30000);
  roots[0].word = vm_word(place_must(&vm, TSR_DEFAULT, VECTOR, 1, count));
  for (size_t i = 0; i < count; i++) {
    vm_set(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, i),
           vm_word(make(PAIR, (unsigned)i, 0)));
  }
  for (unsigned round = 0; round < 3; round++) {
    end_cycle();
    for (size_t i = 0; i < count; i++) {
      ck_assert(is_made(vm_get(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, i)), PAIR,
                        (unsigned)i));
    }
  }
  stop();
}
END_TEST

/* What a step has left of them is gone when the next one comes. */
START_TEST(a001_13_arrays_are_shrunk_between_steps) {
  start_marking();
  size_t header = vm_size(VECTOR, 0);
  for (unsigned round = 0; round < 30; round++) {
    for (unsigned k = 0; k < 8; k++) {
      size_t count = 900;
      roots[k].word = vm_word(place_must(&vm, TSR_NON_MOVING, VECTOR, k, count));
      for (size_t i = 0; i < count; i++) {
        vm_set(vm.m, vm_ref(roots[k].word), vm_slot_index(VECTOR, i),
               vm_word(make(PAIR, (unsigned)i, 0)));
      }
    }
    for (unsigned k = 0; k < 8; k++) {
      vm_garbage(vm.m, 1 * KIB + draw(8) * KIB);
      tsr_ref vector = vm_ref(roots[k].word);
      ck_assert_int_eq(tsr_shrink(vm.m, vector, header + 10 * sizeof(tsr_slot), NULL), TSR_OK);
      vm_slot(vector, 1)->word = 10;
      for (size_t i = 0; i < 10; i++) {
        ck_assert(is_made(vm_get(vm.m, vm_ref(roots[k].word), vm_slot_index(VECTOR, i)), PAIR,
                          (unsigned)i));
      }
    }
  }
  end_cycle();
  ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
  stop();
}
END_TEST

/* ---- what is freed --------------------------------------------------------------------------------------- */

START_TEST(a001_07_the_dead_are_gone_after_some_cycles) {
  start_marking();
  for (unsigned i = 0; i < 2000; i++) {
    tsr_ref pair = make(PAIR, i, 0);
    vm_set(vm.m, pair, vm_slot_index(PAIR, 0),
           roots[i % 4].word == 0 ? FIXNUM(0) : roots[i % 4].word);
    vm_set(vm.m, pair, vm_slot_index(PAIR, 1), vm_word(pair));
    roots[i % 4].word = vm_word(pair);
  }
  roots[4].word = vm_word(place_must(&vm, TSR_LARGE, VECTOR, 1, 10));
  grow_old();
  ck_assert_uint_ge(vm_enumerate(vm.m).by_kind[PAIR], 2000);
  for (unsigned i = 0; i < 5; i++)
    roots[i].word = 0;
  end_enough();
  if (vm_collects) {
    ck_assert_uint_eq(vm_enumerate(vm.m).by_kind[PAIR], 0);
    ck_assert_uint_eq(vm_enumerate(vm.m).by_kind[VECTOR], 0);
  }
  stop();
}
END_TEST

/* No cycle is under way when an object dies that was stored into before, or unsealed. Nor is what it refers to kept for it. */
START_TEST(a001_07_what_the_dead_refer_to_is_gone) {
  static const tsr_semantics kinds[] = {TSR_DEFAULT, TSR_NON_MOVING, TSR_LARGE, TSR_CODE};
  start_marking();
  for (unsigned round = 0; round < 8; round++) {
    tsr_semantics kind = kinds[round % 4];
    roots[0].word = vm_word(place_must(&vm, kind, VECTOR, 1, 20));
    roots[1].word = vm_word(make(RECORD, 2, 0));
    grow_old();
    end_cycle();
    vm_set(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, 7), roots[1].word);
    if (kind == TSR_CODE) {
      ck_assert_int_eq(tsr_seal(vm.m, vm_ref(roots[0].word), NULL), TSR_OK);
      ck_assert_int_eq(tsr_unseal(vm.m, vm_ref(roots[0].word), NULL), TSR_OK);
    }
    roots[0].word = roots[1].word = 0;
    end_cycle();
    if (!vm_is_still()) end_enough();
    if (vm_collects) {
      ck_assert_uint_eq(vm_enumerate(vm.m).by_kind[VECTOR], 0);
      ck_assert_uint_eq(vm_enumerate(vm.m).by_kind[RECORD], 0);
    }
  }
  stop();
}
END_TEST

#define BRANCHES 60u

/* roots[0]: a tree of vectors, all old, with vectors of five as its leaves. */
static void make_old_tree(void) {
  roots[0].word = vm_word(make_in(TSR_NON_MOVING, VECTOR, 0, BRANCHES));
  for (unsigned i = 0; i < BRANCHES; i++) {
    uint64_t branch = vm_word(make_in(TSR_NON_MOVING, VECTOR, i, BRANCHES));
    vm_set(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, i), branch);
    for (unsigned k = 0; k < BRANCHES; k++) {
      uint64_t leaf = vm_word(make_in(TSR_NON_MOVING, VECTOR, k, 5));
      branch = vm_get(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, i));
      vm_set(vm.m, vm_ref(branch), vm_slot_index(VECTOR, k), leaf);
    }
  }
  grow_old();
}

/* Leaves anywhere in the tree are stored into and dropped at once. Some have not been marked when the cycle ends after
   that; and then others take their place. */
START_TEST(a001_07_the_dead_leave_the_log) {
  seed = 5;
  start_marking();
  for (unsigned round = 0; round < 4; round++) {
    make_old_tree();
    for (unsigned n = 0; n < often(4000); n++) {
      roots[1].word = vm_word(make(BYTES, n, draw(40)));
      uint64_t branch = vm_get(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, draw(BRANCHES)));
      size_t k = vm_slot_index(VECTOR, draw(BRANCHES));
      uint64_t leaf = vm_get(vm.m, vm_ref(branch), k);
      if (leaf != FIXNUM(0)) vm_set(vm.m, vm_ref(leaf), vm_slot_index(VECTOR, 2), roots[1].word);
      vm_set(vm.m, vm_ref(branch), k, FIXNUM(0));
      roots[2 + n % 100].word = vm_word(make_in(TSR_NON_MOVING, BYTES, n, draw(90)));
    }
    ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
  }
  end_enough();
  stop();
}
END_TEST

/* ---- what is swept later: F06, F30 --------------------------------------------------------------------------- */

#define SPARSE 200u

static void start_sized(const char *heap_min, const char *heap_max, const char *pause_goal) {
  vm_init(&vm);
  vm_alone(&vm);
  vm_pin(&vm, "heap_max", heap_max);
  vm_pin(&vm, "heap_min", heap_min);
  vm_pin(&vm, "nursery", "256K");
  vm_pin(&vm, "pause_goal", pause_goal);
  begin();
}

/* Marking takes one step. */
static void start_sweeping(const char *heap_max) {
  start_sized("16M", heap_max, "60s");
}

/* Vectors of 1 KiB, more than ten MiB of them, of which few are kept. */
static void make_sparse(tsr_semantics semantics) {
  for (unsigned i = 0; i < 64 * SPARSE; i++) {
    uint64_t word = vm_word(make_in(semantics, VECTOR, i, 127));
    if (i % 64 == 0) roots[i / 64].word = word;
  }
}

/* Allocates among the old, until a cycle ends. */
static void end_cycle_by_filling(void) {
  if (!marks_in_steps()) {
    vm_collect(&vm);
    return;
  }
  uint64_t cycles = vm_stats(&vm).cycles;
  while (vm_stats(&vm).cycles == cycles) {
    make_in(TSR_NON_MOVING, BYTES, 1, KIB);
    vm_garbage(vm.m, KIB);
  }
}

static void check_sparse(void) {
  for (unsigned i = 0; i < SPARSE; i++)
    ck_assert(is_made(roots[i].word, VECTOR, 64 * i));
}

/* Whether blocks wait to be swept. */
static bool sweeps_later(void) {
  return marks_in_steps() && vm_stress == NULL;
}

/* Right after a cycle whoever looks at all objects finds those that live. */
START_TEST(f30_what_is_not_swept_yet_is_not_there) {
  start_sweeping("256M");
  make_sparse(TSR_NON_MOVING);
  end_cycle_by_filling();
  if (vm_collects && vm_stress == NULL) {
    ck_assert_uint_eq(vm_enumerate(vm.m).by_kind[VECTOR], SPARSE);
  }
  ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
  check_sparse();
  stop();
}
END_TEST

/* What is allocated after a cycle makes room for itself: mutators sweep, and what is free is used before new blocks are. */
START_TEST(f06_mutators_sweep) {
  start_sweeping("256M");
  make_sparse(TSR_NON_MOVING);
  end_cycle_by_filling();
  tsr_stats before = vm_stats(&vm);
  for (unsigned i = 0; i < 32 * SPARSE; i++)
    make_in(TSR_NON_MOVING, VECTOR, 1 + i, 127);
  vm_garbage(vm.m, 2 * MIB);
  tsr_stats after = vm_stats(&vm);
  check_sparse();
  if (sweeps_later()) {
    ck_assert_uint_gt(after.lazy_sweeps, before.lazy_sweeps);
    ck_assert_uint_ge(after.live_bytes_after_last, SPARSE * KIB);
    ck_assert_uint_le(after.used_bytes, before.used_bytes + 2 * MIB);
    ck_assert_uint_eq(after.major_collections, before.major_collections);
  }
  ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
  stop();
}
END_TEST

/* Without a nursery, where marking takes one step: the pause that begins a cycle looks at roots, and so can end it. */
START_TEST(a001_07_one_look_at_roots_is_a_cycle) {
  start_sweeping("256M");
  ck_assert(vm_list(vm.m, &roots[0], 5000, 0));
  end_cycle_by_filling();
  tsr_stats before = vm_stats(&vm);
  for (unsigned i = 0; i < 3; i++)
    end_cycle_by_filling();
  tsr_stats after = vm_stats(&vm);
  ck_assert(vm_list_holds(vm.m, roots[0].word, 5000, 0));
  if (vm_is_still() && sweeps_later()) {
    ck_assert_uint_eq(after.cycles, before.cycles + 3);
    ck_assert_uint_eq(after.collections, before.collections + 3);
  }
  stop();
}
END_TEST

/* Nobody asks for old memory; blocks in which nothing lives go back all the same, and the heap gets its size. */
START_TEST(f30_the_young_sweep_for_the_old) {
  start_sweeping("256M");
  make_sparse(TSR_NON_MOVING);
  for (unsigned i = 0; i < SPARSE; i++)
    roots[i].word = 0;
  end_cycle_by_filling();
  tsr_stats before = vm_stats(&vm);
  for (unsigned i = 0; i < 2 * SPARSE; i++)
    vm_garbage(vm.m, 16 * KIB);
  if (sweeps_later() && !vm_is_still()) {
    ck_assert_uint_gt(vm_stats(&vm).lazy_sweeps, before.lazy_sweeps);
    ck_assert_uint_lt(vm_stats(&vm).used_bytes, 4 * MIB);
    ck_assert_uint_lt(vm_stats(&vm).live_bytes_after_last, 4 * MIB);
  }
  stop();
}
END_TEST

/* What waits to be swept is found before everything is collected, and by whoever may not collect. */
#define FULL_BYTES (37 * MIB)

START_TEST(f30_a_full_heap_is_swept_first) {
  start_sized("48M", "48M", "60s");
  make_sparse(TSR_NON_MOVING);
  end_cycle_by_filling();
  tsr_stats before = vm_stats(&vm);
  size_t size = vm_size(BYTES, FULL_BYTES);
  uint32_t request = _i == 0 || !sweeps_later() ? 0 : TSR_ALLOC_NO_COLLECT;
  void *memory = tsr_alloc_with(vm.m, size, TSR_OBJECT_ALIGN, 0, TSR_LARGE, request, NULL);
  ck_assert_ptr_nonnull(memory);
  vm_init_object(memory, BYTES, 7, FULL_BYTES);
  vm_fill((tsr_ref)memory, 7);
  uint64_t large = vm_word((tsr_ref)memory);
  if (sweeps_later()) {
    /* More than what is swept for one large object. */
    ck_assert_uint_gt(before.used_bytes + FULL_BYTES, (48 + 9) * MIB);
    ck_assert_uint_eq(vm_stats(&vm).major_collections, before.major_collections);
  }
  check_sparse();
  ck_assert(is_made(large, BYTES, 7));
  stop();
}
END_TEST

/* Objects are born among others that are dead and not swept yet, are promoted to where those are, and stored into. */
START_TEST(f30_what_is_born_before_the_sweep_has_ended_is_kept) {
  static const tsr_semantics placements[] = {TSR_NON_MOVING, TSR_DEFAULT, TSR_IMMORTAL};
  unsigned tags[SPARSE] = {0};
  seed = 11;
  start_sweeping("256M");
  for (unsigned round = 0; round < (VM_SANITIZED ? 3 : 8); round++) {
    make_sparse(placements[round % 2]);
    end_cycle_by_filling();
    memset(tags, 0, sizeof tags);
    for (unsigned n = 1; n < many(8000); n++) {
      uint64_t fresh = vm_word(make_in(placements[n % 64 == 0 ? 2 : n % 2], RECORD, n, 0));
      size_t i = draw(SPARSE), k = draw(SPARSE);
      tags[i] = n & 0xffff;
      vm_set(vm.m, vm_ref(roots[i].word), vm_slot_index(VECTOR, 5), fresh);
      uint64_t found = vm_get(vm.m, vm_ref(roots[k].word), vm_slot_index(VECTOR, 5));
      if (tags[k] != 0) ck_assert(is_made(found, RECORD, tags[k]));
    }
    ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
  }
  stop();
}
END_TEST

/* With stress the next cycle is due as soon as one has ended, and many blocks have not been swept then. */
START_TEST(f30_the_next_cycle_waits_for_the_sweep) {
  enum { LIVE = 8000 };
  seed = 13;
  start_marking();
  roots[0].word = vm_word(make_in(TSR_NON_MOVING, VECTOR, 1, LIVE));
  for (unsigned i = 0; i < LIVE; i++)
    vm_set(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, i), FIXNUM(0));
  for (unsigned n = 0; n < often(12000); n++) {
    unsigned i = (unsigned)draw(LIVE);
    uint64_t old = vm_get(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, i));
    if (old != FIXNUM(0)) ck_assert(is_made(vm_get(vm.m, vm_ref(old), 2), RECORD, i));
    roots[1].word = vm_word(make_in(TSR_NON_MOVING, VECTOR, i, 20));
    vm_set(vm.m, vm_ref(roots[1].word), 2, vm_word(make_in(TSR_NON_MOVING, RECORD, i, 0)));
    vm_set(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, i), roots[1].word);
    vm_garbage(vm.m, 500);
  }
  ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
  stop();
}
END_TEST

/* Keeps one of four, in old memory and in young. */
static void fill_and_look(vm_thread *self) {
  tsr_slot *own = &roots[SPARSE + 500 * self->index];
  for (unsigned n = 0; n < 2000; n++) {
    tsr_ref fresh = vm_new_with(self->m, RECORD, n, 0, n % 8 == 0 ? TSR_NON_MOVING : TSR_DEFAULT);
    EXPECT(self, fresh != NULL);
    vm_fill(fresh, n);
    if (n % 4 == 0) own[n / 4].word = vm_word(fresh);
    EXPECT(self, is_made(own[n / 8].word, RECORD, n / 8 * 4));
  }
}

START_TEST(f30_many_threads_sweep) {
  start_sweeping("256M");
  for (unsigned round = 0; round < 4; round++) {
    make_sparse(TSR_NON_MOVING);
    end_cycle_by_filling();
    vm_threads(&vm, 4, fill_and_look, NULL);
    check_sparse();
  }
  ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
  stop();
}
END_TEST

START_TEST(cycles_and_steps_are_counted) {
  start_marking();
  roots[0].word = vm_word(make(PAIR, 1, 0));
  vm_set(vm.m, vm_ref(roots[0].word), vm_slot_index(PAIR, 0), FIXNUM(1));
  grow_old();
  tsr_stats before = vm_stats(&vm);
  vm_set(vm.m, vm_ref(roots[0].word), vm_slot_index(PAIR, 0), FIXNUM(2));
  vm_set(vm.m, vm_ref(roots[0].word), vm_slot_index(PAIR, 0), FIXNUM(3));
  uint64_t slow = vm_stats(&vm).barrier_slow - before.barrier_slow;
  ck_assert_uint_eq(slow, marks_in_steps() ? 1 : 0);
  end_enough();
  uint64_t cycles = vm_stats(&vm).cycles - before.cycles;
  if (marks_in_steps()) {
    ck_assert_uint_ge(cycles, vm_is_still() ? 2 : 4);
  } else {
    ck_assert_uint_eq(cycles, 0);
    ck_assert_uint_eq(vm_stats(&vm).increments, 0);
  }
  stop();
}
END_TEST

/* ---- weak things ----------------------------------------------------------------------------------------- */

/* Of `WEAK_OBJECTS` old records every second one stays. */
#define WEAK_OBJECTS 200u

static bool lives(unsigned i) {
  return i % 2 == 0;
}

/* roots[i]: the records; boxes and ephemerons hold them from behind. */
static void make_weak_things(void) {
  for (unsigned i = 0; i < WEAK_OBJECTS; i++) {
    roots[i].word = vm_word(make(RECORD, i + 1, 0));
    roots[WEAK_OBJECTS + i].word = vm_word(make_box(i));
    vm_set(vm.m, vm_ref(roots[WEAK_OBJECTS + i].word), 3, roots[i].word);
    roots[2 * WEAK_OBJECTS + i].word = vm_word(make_ephemeron(TSR_DEFAULT));
    roots[3 * WEAK_OBJECTS].word = vm_word(make(PAIR, i + 1, 0));
    vm_set(vm.m, vm_ref(roots[3 * WEAK_OBJECTS].word), vm_slot_index(PAIR, 0), roots[i].word);
    set_pair(roots[2 * WEAK_OBJECTS + i].word, roots[i].word, roots[3 * WEAK_OBJECTS].word);
  }
  roots[3 * WEAK_OBJECTS].word = 0;
}

static void check_weak_things(void) {
  for (unsigned i = 0; i < WEAK_OBJECTS; i++) {
    check_weak(weak_word(roots[WEAK_OBJECTS + i].word, 3), lives(i), RECORD, i + 1, "box");
    uint64_t ephemeron = roots[2 * WEAK_OBJECTS + i].word;
    check_weak(key_of(ephemeron), lives(i), RECORD, i + 1, "key");
    if (lives(i)) {
      uint64_t value = value_of(ephemeron);
      ck_assert(vm_kind_of(vm_ref(value)) == PAIR &&
                vm_get(vm.m, vm_ref(value), vm_slot_index(PAIR, 0)) == roots[i].word);
    } else {
      expect_cleared(ephemeron);
    }
  }
}

static void drop_every_second(void) {
  for (unsigned i = 0; i < WEAK_OBJECTS; i++) {
    if (!lives(i)) roots[i].word = 0;
  }
}

START_TEST(a001_17_old_weak_things_are_cleared_by_cycles) {
  start_marking();
  make_weak_things();
  grow_old();
  drop_every_second();
  end_enough();
  check_weak_things();
  stop();
}
END_TEST

/* The collector writes to them nevertheless. */
START_TEST(a001_17_sealed_weak_things_are_cleared_by_cycles) {
  start_marking();
  for (unsigned i = 0; i < WEAK_OBJECTS; i++) {
    roots[i].word = vm_word(make(RECORD, i + 1, 0));
    roots[WEAK_OBJECTS + i].word = vm_word(make_of(box_id, TSR_READ_ONLY, i, BOX_WORDS, 0));
    vm_set(vm.m, vm_ref(roots[WEAK_OBJECTS + i].word), 3, roots[i].word);
    ck_assert_int_eq(tsr_seal(vm.m, vm_ref(roots[WEAK_OBJECTS + i].word), NULL), TSR_OK);
  }
  grow_old();
  drop_every_second();
  end_enough();
  for (unsigned i = 0; i < WEAK_OBJECTS; i++)
    check_weak(weak_word(roots[WEAK_OBJECTS + i].word, 3), lives(i), RECORD, i + 1, "sealed box");
  stop();
}
END_TEST

/* Copies all into new ones. */
static void renew_weak_things(void) {
  for (unsigned i = 0; i < WEAK_OBJECTS; i++) {
    tsr_ref box = make_box(i);
    vm_set(vm.m, box, 3, weak_word(roots[WEAK_OBJECTS + i].word, 3));
    roots[WEAK_OBJECTS + i].word = vm_word(box);
    tsr_ref ephemeron = make_ephemeron(TSR_DEFAULT);
    uint64_t before = roots[2 * WEAK_OBJECTS + i].word;
    set_pair(vm_word(ephemeron), key_of(before), value_of(before));
    roots[2 * WEAK_OBJECTS + i].word = vm_word(ephemeron);
  }
}

/* Until so many cycles have ended. False: a collection of everything came between. */
static bool renew_for_cycles(unsigned count) {
  tsr_stats before = vm_stats(&vm);
  if (!marks_in_steps()) vm_collect(&vm);
  while (marks_in_steps() && vm_stats(&vm).cycles < before.cycles + count)
    renew_weak_things();
  return !marks_in_steps() || vm_stats(&vm).major_collections == before.major_collections;
}

/* They are young whenever a cycle ends: the one that was under way, and the next. */
START_TEST(a001_17_young_weak_things_are_cleared_by_cycles) {
  start_marking();
  bool undisturbed = false;
  for (unsigned tries = 0; tries < 20 && !undisturbed; tries++) {
    make_weak_things();
    grow_old();
    drop_every_second();
    undisturbed = renew_for_cycles(2);
    check_weak_things();
  }
  ck_assert(undisturbed);
  stop();
}
END_TEST

START_TEST(a001_17_finalizers_of_the_old_are_ready_after_a_cycle) {
  start_marking();
  for (unsigned i = 0; i < WEAK_OBJECTS; i++) {
    roots[i].word = vm_word(make(RECORD, i + 1, 0));
    ck_assert_int_eq(tsr_finalizer_attach(vm.m, vm_ref(roots[i].word), FIXNUM(i), i % 2, NULL),
                     TSR_OK);
  }
  grow_old();
  ck_assert_uint_eq(tsr_finalizers_ready(vm.heap), 0);
  drop_every_second();
  end_enough();
  unsigned ready = 0;
  tsr_finalizable next;
  while (tsr_finalizer_next(vm.m, &next)) {
    unsigned i = (unsigned)(next.data >> 3);
    ck_assert(next.data == FIXNUM(i) && !lives(i) && is_made(vm_word(next.object), RECORD, i + 1));
    ready++;
  }
  ck_assert_uint_eq(ready, vm_collects ? WEAK_OBJECTS / 2 : 0);
  end_enough();
  ck_assert_uint_eq(tsr_finalizers_ready(vm.heap), 0);
  stop();
}
END_TEST

static void add_sweeping(TCase *tests) {
  tcase_add_test(tests, f30_many_threads_sweep);
  if (vm_wants_threads()) return;
  tcase_add_test(tests, f30_what_is_not_swept_yet_is_not_there);
  tcase_add_test(tests, f06_mutators_sweep);
  tcase_add_test(tests, a001_07_one_look_at_roots_is_a_cycle);
  tcase_add_test(tests, f30_the_next_cycle_waits_for_the_sweep);
  tcase_add_test(tests, f30_the_young_sweep_for_the_old);
  tcase_add_loop_test(tests, f30_a_full_heap_is_swept_first, 0, 2);
  tcase_add_test(tests, f30_what_is_born_before_the_sweep_has_ended_is_kept);
}

static void add(TCase *tests) {
  tcase_set_timeout(tests, 600);
  /* With the option verify everything is swept at once. */
  if (vm_collects && !vm_verifies) add_sweeping(tests);
  tcase_add_loop_test(tests, a001_07_what_moves_about_between_steps_is_kept, 0, 2);
  tcase_add_test(tests, a001_13_stores_keep_no_cycle_from_its_end);
  if (vm_collects) tcase_add_test(tests, a001_13_a_short_goal_ends_cycles);
  tcase_add_test(tests, a001_07_what_the_young_hold_is_kept);
  tcase_add_test(tests, a001_07_what_the_immortal_hold_is_kept);
  tcase_add_test(tests, a001_13_a_long_array_is_marked_piece_by_piece);
  tcase_add_test(tests, a001_13_arrays_are_shrunk_between_steps);
  tcase_add_test(tests, a001_07_the_dead_are_gone_after_some_cycles);
  tcase_add_test(tests, a001_07_what_the_dead_refer_to_is_gone);
  tcase_add_test(tests, a001_07_the_dead_leave_the_log);
  tcase_add_test(tests, cycles_and_steps_are_counted);
  tcase_add_test(tests, a001_17_old_weak_things_are_cleared_by_cycles);
  tcase_add_test(tests, a001_17_sealed_weak_things_are_cleared_by_cycles);
  tcase_add_test(tests, a001_17_young_weak_things_are_cleared_by_cycles);
  tcase_add_test(tests, a001_17_finalizers_of_the_old_are_ready_after_a_cycle);
}

int main(void) {
  return vm_main("marking", add);
}
