/*
 * A001-17: weak slots, weak handles, and the VM's own weak things.
 */
#include "refusals.h"
#include "weak_fixture.h"

/* ---- weak handles ------------------------------------------------------------------------ */

static void free_handle(tsr_slot *handle) {
  ck_assert_int_eq(tsr_handle_free(vm.heap, handle, NULL), TSR_OK);
}

START_TEST(a001_17_a_weak_handle_follows_its_object_and_is_cleared_with_it) {
  begin_with_cleared("32M", _i);
  enum { N = 500 };
  static tsr_slot *handles[N];
  static uint64_t where[N];
  unsigned moved = 0;
  for (unsigned i = 0; i < N; i++) {
    roots[i].word = vm_word(make(RECORD, i, 0));
    handles[i] = handle_of(roots[i].word, TSR_WEAK);
    make(BYTES, 0, 300); /* garbage, so that there is a reason to move */
  }
  for (unsigned i = 0; i < N; i++)
    where[i] = roots[i].word;
  for (unsigned round = 0; round < 3; round++) {
    vm_collect(&vm);
    for (unsigned i = 0; i < N; i++) {
      check_weak(handles[i]->word, true, RECORD, i, "handle");
      ck_assert_uint_eq(handles[i]->word, roots[i].word);
      moved += where[i] != roots[i].word;
    }
    vm_garbage(vm.m, 100 * KIB);
  }
  if (!vm_moves(&vm)) ck_assert_uint_eq(moved, 0);
  drop_roots();
  expect_objects(0);
  for (unsigned i = 0; i < N; i++) {
    check_weak(handles[i]->word, false, RECORD, i, "handle");
    free_handle(handles[i]);
    ck_assert_int_eq(tsr_handle_free(vm.heap, handles[i], NULL), TSR_INVALID_ARGUMENT);
  }
  stop();
}
END_TEST

START_TEST(a001_17_a_weak_handle_moves_with_its_object) {
  start_alone("32M");
  enum { N = 1000 };
  static tsr_slot *handles[N];
  static uint64_t where[N];
  unsigned moved = 0;
  for (unsigned i = 0; i < N; i++) {
    make(BYTES, 0, 300);
    roots[i].word = vm_word(make(RECORD, i, 0));
    where[i] = roots[i].word;
    handles[i] = handle_of(roots[i].word, TSR_WEAK);
  }
  vm_collect(&vm);
  for (unsigned i = 0; i < N; i++) {
    check_weak(handles[i]->word, true, RECORD, i, "handle");
    ck_assert_uint_eq(handles[i]->word, roots[i].word);
    moved += where[i] != handles[i]->word;
  }
  ck_assert_msg(vm_moves_so_many(&vm, moved), "%u handles moved", moved);
  stop(); /* the handles go with the heap */
}
END_TEST

/* Words that are no references, or lead outside, are nobody's business. */
START_TEST(a001_17_a_weak_handle_may_hold_anything) {
  static uint64_t outside[2];
  begin_with_cleared("16M", _i);
  const uint64_t words[] = {0, FIXNUM(0), FIXNUM(77), vm_word(outside), UINT64_MAX};
  enum { N = sizeof words / sizeof words[0] };
  tsr_slot *handles[N];
  for (unsigned i = 0; i < N; i++)
    handles[i] = handle_of(words[i], TSR_WEAK);
  for (unsigned round = 0; round < 2; round++) {
    expect_objects(0);
    for (unsigned i = 0; i < N; i++)
      ck_assert_uint_eq(handles[i]->word, words[i]);
  }
  for (unsigned i = 0; i < N; i++)
    free_handle(handles[i]);
  stop();
}
END_TEST

/* As strong slots do, weak ones ignore what leads into a large object, into its first block or a later one; a
   key of that kind is no reference. The verifier would take offence. */
START_TEST(a001_17_words_that_lead_into_a_large_object_are_ignored) {
  if (vm_verifies) return;
  begin_with_cleared("16M", _i);
  roots[0].word = vm_word(make(BYTES, 1, 100 * KIB));
  roots[1].word = vm_word(make_ephemeron(TSR_DEFAULT));
  const uint64_t words[] = {roots[0].word + 64, roots[0].word + 40 * KIB};
  tsr_slot *handles[] = {handle_of(words[0], TSR_WEAK), handle_of(words[1], TSR_WEAK)};
  for (unsigned i = 0; i < 2; i++) {
    set_pair(roots[1].word, words[i], FIXNUM(i));
    expect_objects(2);
    ck_assert(is_made(roots[0].word, BYTES, 1));
    ck_assert_uint_eq(key_of(roots[1].word), words[i]);
    ck_assert_uint_eq(value_of(roots[1].word), FIXNUM(i));
    for (unsigned k = 0; k < 2; k++)
      ck_assert_uint_eq(handles[k]->word, words[k]);
  }
  roots[0].word = 0;
  expect_objects(1);
  set_pair(roots[1].word, 0, 0);
  for (unsigned k = 0; k < 2; k++)
    free_handle(handles[k]);
  stop();
}
END_TEST

/* A slot that was a weak handle is a strong one when it is used again, and the other way round. */
START_TEST(a001_17_thousands_of_weak_handles) {
  enum { MOST = 6000 };
  static tsr_slot *handles[MOST];
  static bool strong[MOST];
  static unsigned content[MOST];
  unsigned long long from = first_seed(_i + 1);
  unsigned n = many(MOST);
  begin_with_cleared("64M", _i % 2);
  for (unsigned round = 0; round < 6; round++) {
    for (unsigned i = 0; i < n; i++) { /* every entry has a handle, a root and an object */
      uint64_t word = handles[i] != NULL ? handles[i]->word : 0;
      if (word == 0 || word == vm.binding.weak_cleared) {
        content[i] = round * 1000 + i % 1000;
        word = vm_word(make(RECORD, content[i], 0));
      }
      roots[i].word = word;
      if (handles[i] == NULL) {
        strong[i] = draw(3) == 0;
        handles[i] = handle_of(word, strong[i] ? TSR_STRONG : TSR_WEAK);
      }
      handles[i]->word = word;
    }
    for (unsigned i = 0; i < n; i++) {
      if (draw(2) == 0) roots[i].word = 0;
    }
    vm_collect(&vm);
    for (unsigned i = 0; i < n; i++) {
      bool lives = strong[i] || roots[i].word != 0 || !vm_collects;
      if (lives) {
        ck_assert_msg(is_made(handles[i]->word, RECORD, content[i]), "seed %llu, round %u, %u",
                      from, round, i);
        ck_assert(roots[i].word == 0 || roots[i].word == handles[i]->word);
      } else {
        ck_assert_msg(handles[i]->word == vm.binding.weak_cleared, "seed %llu, round %u, %u", from,
                      round, i);
      }
      if (draw(3) == 0) {
        free_handle(handles[i]);
        handles[i] = NULL;
      }
    }
  }
  for (unsigned i = 0; i < n; i++) {
    if (handles[i] != NULL) free_handle(handles[i]);
  }
  drop_roots();
  expect_objects(0);
  stop();
}
END_TEST

#define WEAK_THREADS 6u
#define HELD         30u

/* Each thread has objects and weak handles of its own, while all of them collect. */
static void hold_weakly(vm_thread *self) {
  tsr_scope scope;
  tsr_scope_open(self->m, &scope);
  tsr_slot *locals[HELD];
  tsr_slot *handles[HELD];
  for (unsigned i = 0; i < HELD; i++) {
    locals[i] = tsr_local(self->m, 0);
    handles[i] = tsr_handle_new(self->vm->heap, 0, TSR_WEAK, NULL);
    EXPECT(self, handles[i] != NULL);
  }
  for (unsigned round = 0; round < 20; round++) {
    for (unsigned i = 0; i < HELD; i++) {
      tsr_ref object = vm_new(self->m, RECORD, self->index * HELD + i, 0);
      EXPECT(self, object != NULL);
      handles[i]->word = locals[i]->word = vm_word(object);
    }
    for (unsigned i = round % 3; i < HELD; i += 3)
      locals[i]->word = 0;
    EXPECT(self, tsr_collect(self->m, NULL) == (vm_collects ? TSR_OK : TSR_UNSUPPORTED));
    for (unsigned i = 0; i < HELD; i++) {
      bool dead = vm_collects && i % 3 == round % 3;
      EXPECT(self, handles[i]->word == (dead ? 0 : locals[i]->word) || !vm_collects);
      EXPECT(self, dead || vm_tag_of(vm_ref(handles[i]->word)) == self->index * HELD + i);
    }
  }
  for (unsigned i = 0; i < HELD; i++)
    EXPECT(self, tsr_handle_free(self->vm->heap, handles[i], NULL) == TSR_OK);
  tsr_scope_close(self->m, &scope);
}

START_TEST(a001_17_weak_handles_of_many_threads) {
  begin_plainly("32M");
  vm_threads(&vm, WEAK_THREADS, hold_weakly, NULL);
  expect_objects(0);
  stop();
}
END_TEST

/* ---- weak slots of a fixed part ---------------------------------------------------------- */

/* The box and its five objects, of tags 5 * n, 5 * n + 1, ...; the weak slot at 6 shares a strong one's. */
static void build_box(tsr_slot *to, unsigned n) {
  to->word = vm_word(make_box(n));
  vm_slot(vm_ref(to->word), 7)->word = 0x123456789abcdef0u + n; /* raw */
  for (unsigned k = 0; k < 4; k++) {
    /* Between its birth and the store no safepoint: a weak slot does not keep it. */
    tsr_ref object = make(RECORD, 5 * n + k, 0);
    vm_set(vm.m, vm_ref(to->word), box_words[k], vm_word(object));
    roots[4 * n + k].word = vm_word(object);
  }
  vm_set(vm.m, vm_ref(to->word), 6, vm_get(vm.m, vm_ref(to->word), 2));
}

static void check_box(uint64_t box, unsigned n, bool weak_at_3_lives) {
  ck_assert_uint_eq(vm_kind_of(vm_ref(box)), box_id);
  ck_assert_uint_eq(vm_tag_of(vm_ref(box)), n);
  ck_assert_uint_eq(vm_slot(vm_ref(box), 7)->word, 0x123456789abcdef0u + n);
  ck_assert(is_made(vm_get(vm.m, vm_ref(box), 2), RECORD, 5 * n));
  ck_assert(is_made(vm_get(vm.m, vm_ref(box), 4), RECORD, 5 * n + 1));
  check_weak(weak_word(box, 3), weak_at_3_lives, RECORD, 5 * n + 2, "word 3");
  check_weak(weak_word(box, 5), false, RECORD, 5 * n + 3, "word 5");
  ck_assert_uint_eq(weak_word(box, 6), vm_get(vm.m, vm_ref(box), 2));
}

START_TEST(a001_17_strong_slots_keep_and_weak_slots_do_not) {
  begin_with_cleared("32M", _i);
  unsigned n = many(1000);
  tsr_slot *boxes = &roots[4 * n];
  for (unsigned i = 0; i < n; i++)
    build_box(&boxes[i], i);
  for (unsigned i = 0; i < 4 * n; i++) {
    if (i % 8 != 2) roots[i].word = 0; /* of every other box the object at word 3 stays */
  }
  for (unsigned round = 0; round < 3; round++) {
    expect_objects(3 * n + (n + 1) / 2);
    for (unsigned i = 0; i < n; i++)
      check_box(boxes[i].word, i, i % 2 == 0);
    vm_garbage(vm.m, 50 * KIB);
  }
  memset(roots, 0, 4 * n * sizeof roots[0]);
  expect_objects(3 * n);
  for (unsigned i = 0; i < n; i++)
    check_box(boxes[i].word, i, false);
  drop_roots();
  expect_objects(0);
  stop();
}
END_TEST

START_TEST(a001_17_weak_objects_that_refer_to_each_other) {
  begin_with_cleared("16M", _i);
  for (unsigned round = 0; round < 3; round++) {
    for (unsigned i = 0; i < 4; i++)
      roots[i].word = vm_word(make_box(i));
    vm_set(vm.m, vm_ref(roots[0].word), 3, roots[1].word); /* 0 and 1: weakly, both ways */
    vm_set(vm.m, vm_ref(roots[1].word), 3, roots[0].word);
    vm_set(vm.m, vm_ref(roots[2].word), 2, roots[3].word); /* 2 keeps 3, which knows it weakly */
    vm_set(vm.m, vm_ref(roots[3].word), 3, roots[2].word);
    vm_set(vm.m, vm_ref(roots[3].word), 5, roots[3].word); /* and itself */
    expect_objects(4);
    ck_assert_uint_eq(weak_word(roots[0].word, 3), roots[1].word);
    ck_assert_uint_eq(weak_word(roots[1].word, 3), roots[0].word);
    ck_assert_uint_eq(weak_word(roots[3].word, 3), roots[2].word);
    ck_assert_uint_eq(weak_word(roots[3].word, 5), roots[3].word);
    roots[1].word = roots[3].word = 0;
    expect_objects(3);
    uint64_t kept = vm_get(vm.m, vm_ref(roots[2].word), 2);
    check_weak(weak_word(roots[0].word, 3), false, box_id, 1, "other");
    ck_assert_uint_eq(vm_tag_of(vm_ref(kept)), 3);
    ck_assert_uint_eq(weak_word(kept, 3), roots[2].word);
    ck_assert_uint_eq(weak_word(kept, 5), kept);
    roots[3].word = kept;
    roots[2].word = 0;
    expect_objects(2);
    check_weak(weak_word(roots[3].word, 3), false, box_id, 2, "keeper");
    ck_assert_uint_eq(weak_word(roots[3].word, 5), roots[3].word);
    roots[0].word = roots[3].word = 0;
    expect_objects(0);
  }
  stop();
}
END_TEST

/* Weak objects die by the thousand, in front of and behind those that stay. */
START_TEST(a001_17_weak_objects_die_themselves) {
  begin_plainly("32M");
  unsigned n = many(2000);
  unsigned long long from = first_seed(_i + 1);
  for (unsigned i = 0; i < n; i++)
    roots[n + i].word = vm_word(make(RECORD, i, 0));
  for (unsigned round = 0; round < 5; round++) {
    size_t boxes = 0;
    for (unsigned i = 0; i < n; i++) {
      if (roots[i].word == 0) roots[i].word = vm_word(make_box(i));
      for (unsigned k = 2; k < 5; k++)
        vm_set(vm.m, vm_ref(roots[i].word), box_words[k], roots[n + draw(n)].word);
    }
    for (unsigned i = 0; i < n; i++) {
      if (draw(2) == 0) roots[i].word = 0;
      boxes += roots[i].word != 0;
    }
    expect_objects(n + boxes);
    for (unsigned i = 0; i < n; i++) {
      for (unsigned k = 2; k < 5 && roots[i].word != 0; k++) {
        uint64_t word = weak_word(roots[i].word, box_words[k]);
        unsigned tag = vm_tag_of(vm_ref(word));
        ck_assert_msg(tag < n && word == roots[n + tag].word, "seed %llu: box %u", from, i);
      }
    }
  }
  stop();
}
END_TEST

START_TEST(a001_17_a_fixed_part_of_more_than_64_words) {
  static const unsigned char words[4] = {62, 90, 3, 63}; /* two strong ones, two weak ones */
  begin_with_cleared("16M", _i);
  roots[0].word = vm_word(make_of(tall_id, TSR_DEFAULT, 1, TALL_WORDS, 0));
  for (unsigned k = 0; k < 4; k++) {
    roots[1 + k].word = vm_word(make(RECORD, k, 0));
    vm_set(vm.m, vm_ref(roots[0].word), words[k], roots[1 + k].word);
  }
  expect_objects(5);
  for (unsigned k = 0; k < 4; k++) {
    ck_assert_uint_eq(weak_word(roots[0].word, words[k]), roots[1 + k].word);
    roots[1 + k].word = 0;
  }
  expect_objects(3);
  for (unsigned k = 0; k < 4; k++)
    check_weak(weak_word(roots[0].word, words[k]), k < 2, RECORD, k, "word");
  stop();
}
END_TEST

/* ---- weak vectors ------------------------------------------------------------------------ */

static const size_t lengths[] = {0, 1, 2, 7, 60, 61, 900, 1021, 1022, 5000};
#define LENGTHS  (sizeof lengths / sizeof lengths[0])
#define ELEMENTS 5000u

/* What the i-th slot of each vector holds: an object, or a word that is no reference. */
static bool holds_object(size_t i) {
  return i % 4 != 1;
}

static uint64_t plain_word(size_t i) {
  return i % 8 == 1 ? FIXNUM(i) : 0;
}

static void fill_vectors(unsigned n) {
  for (size_t v = 0; v < LENGTHS; v++) {
    for (size_t i = 0; i < lengths[v] && i < n; i++) {
      uint64_t word = holds_object(i) ? roots[i].word : plain_word(i);
      vm_set(vm.m, vm_ref(roots[ELEMENTS + v].word), VECTOR_FIRST + i, word);
    }
  }
}

/* True of a root that is gone: so is what the vectors say of it. */
static void check_vectors(unsigned n, unsigned long long from) {
  for (size_t v = 0; v < LENGTHS; v++) {
    uint64_t vector = roots[ELEMENTS + v].word;
    ck_assert_uint_eq(vm_slot(vm_ref(vector), 1)->word, lengths[v]);
    for (unsigned i = 0; i < lengths[v]; i++) {
      uint64_t word = weak_word(vector, VECTOR_FIRST + i);
      if (i >= n) {
        ck_assert_uint_eq(word, 0);
      } else if (!holds_object(i)) {
        ck_assert_msg(word == plain_word(i), "seed %llu: slot %u holds no reference", from, i);
      } else {
        check_weak(word, roots[i].word != 0, RECORD, i, "slot");
        ck_assert(roots[i].word == 0 || roots[i].word == word);
      }
    }
  }
}

START_TEST(a001_17_weak_vectors_of_every_size) {
  unsigned long long from = first_seed(_i + 1);
  begin_with_cleared("64M", _i % 2);
  unsigned n = many(ELEMENTS);
  for (size_t v = 0; v < LENGTHS; v++)
    roots[ELEMENTS + v].word = vm_word(make_vector(TSR_DEFAULT, lengths[v]));
  for (unsigned round = 0; round < 4; round++) {
    for (unsigned i = 0; i < n; i++) {
      if (holds_object(i) && roots[i].word == 0) roots[i].word = vm_word(make(RECORD, i, 0));
    }
    fill_vectors(n);
    size_t living = LENGTHS;
    for (unsigned i = 0; i < n; i++) {
      if (draw(round + 2) == 0) roots[i].word = 0;
      living += roots[i].word != 0;
    }
    expect_objects(living);
    check_vectors(n, from);
    expect_objects(living); /* once more: cleared slots stay so */
    check_vectors(n, from);
  }
  stop();
}
END_TEST

/* A weak array behind a fixed part that has slots of both kinds. */
START_TEST(a001_17_a_weak_array_behind_strong_and_weak_slots) {
  begin_with_cleared("16M", _i);
  static const size_t counts[] = {1, 50, 3000};
  for (size_t c = 0; c < 3; c++) {
    size_t count = counts[c];
    roots[0].word = vm_word(make_of(table_id, TSR_DEFAULT, 3, 5 + count, count));
    for (unsigned k = 0; k < 3; k++) { /* the strong slot, the weak one, the last of the array */
      size_t word = k < 2 ? 3 + k : 4 + count;
      roots[1 + k].word = vm_word(make(RECORD, k, 0));
      vm_set(vm.m, vm_ref(roots[0].word), word, roots[1 + k].word);
    }
    if (count > 1) vm_set(vm.m, vm_ref(roots[0].word), 5, roots[1].word);
    roots[1].word = roots[2].word = roots[3].word = 0;
    expect_objects(2);
    check_weak(vm_get(vm.m, vm_ref(roots[0].word), 3), true, RECORD, 0, "strong slot");
    check_weak(weak_word(roots[0].word, 4), false, RECORD, 1, "weak slot");
    check_weak(weak_word(roots[0].word, 4 + count), false, RECORD, 2, "last element");
    if (count > 1) check_weak(weak_word(roots[0].word, 5), true, RECORD, 0, "first element");
    roots[0].word = 0;
    expect_objects(0);
  }
  stop();
}
END_TEST

/* What lies behind the new end is gone, and nobody looks at it. */
START_TEST(a001_17_a_weak_vector_may_shrink) {
  begin_plainly("16M");
  roots[0].word = vm_word(make_vector(TSR_DEFAULT, 100));
  for (unsigned i = 0; i < 100; i++) {
    roots[1 + i].word = vm_word(make(RECORD, i, 0));
    vm_set(vm.m, vm_ref(roots[0].word), VECTOR_FIRST + i, roots[1 + i].word);
  }
  tsr_ref vector = vm_ref(roots[0].word);
  ck_assert_int_eq(tsr_shrink(vm.m, vector, 8 * (VECTOR_FIRST + 10), NULL), TSR_OK);
  vm_slot(vector, 1)->word = 10;
  for (unsigned i = 0; i < 100; i += 2)
    roots[1 + i].word = 0;
  expect_objects(51);
  for (unsigned i = 0; i < 10; i++)
    check_weak(weak_word(roots[0].word, VECTOR_FIRST + i), i % 2 == 1, RECORD, i, "slot");
  stop();
}
END_TEST

/* ---- placements -------------------------------------------------------------------------- */

/* A weak vector in each placement refers to two objects in each placement with all flags; one of the two is
   dropped. */
START_TEST(a001_17_weak_slots_and_their_objects_in_every_placement) {
  enum { N = 2 * PLACE_COMBINATIONS };
  begin_with_cleared("64M", _i);
  tsr_slot *holders = &roots[N];
  for (tsr_semantics p = 0; p < TSR_PLACEMENTS; p++)
    holders[p].word = vm_word(make_vector(p, N));
  for (unsigned i = 0; i < N; i++) {
    roots[i].word = vm_word(make_record(place_semantics(i / 2), i));
    for (unsigned p = 0; p < TSR_PLACEMENTS; p++)
      vm_set(vm.m, vm_ref(holders[p].word), VECTOR_FIRST + i, roots[i].word);
  }
  for (unsigned i = 0; i < N; i += 2)
    roots[i].word = 0;
  uint64_t immortal_holder = holders[TSR_IMMORTAL].word;
  holders[TSR_IMMORTAL].word = 0; /* needs no root */
  for (unsigned round = 0; round < 2; round++) {
    vm_collect(&vm);
    for (unsigned p = 0; p < TSR_PLACEMENTS; p++) {
      uint64_t holder = p == TSR_IMMORTAL ? immortal_holder : holders[p].word;
      for (unsigned i = 0; i < N; i++) {
        bool lives = roots[i].word != 0 || !place_dies(place_semantics(i / 2));
        check_weak(weak_word(holder, VECTOR_FIRST + i), lives, RECORD, i,
                   place_name(place_semantics(i / 2)));
      }
    }
  }
  stop();
}
END_TEST

/* Boxes whose strong slot keeps and whose weak slot does not, wherever they lie. */
START_TEST(a001_17_weak_objects_in_every_placement) {
  begin_with_cleared("16M", _i);
  uint64_t immortal = 0;
  for (tsr_semantics p = 0; p < TSR_PLACEMENTS; p++) {
    roots[p].word = vm_word(make_of(box_id, p, 0, BOX_WORDS, 0));
    for (unsigned k = 0; k < 2; k++) {
      tsr_ref object = make(RECORD, 10 * p + k, 0);
      vm_set(vm.m, vm_ref(roots[p].word), 2 + k, vm_word(object));
    }
  }
  immortal = roots[TSR_IMMORTAL].word;
  roots[TSR_IMMORTAL].word = 0;
  expect_objects(2 * TSR_PLACEMENTS);
  for (unsigned p = 0; p < TSR_PLACEMENTS; p++) {
    uint64_t box = p == TSR_IMMORTAL ? immortal : roots[p].word;
    ck_assert(is_made(vm_get(vm.m, vm_ref(box), 2), RECORD, 10 * p));
    check_weak(weak_word(box, 3), false, RECORD, 10 * p + 1, "weak slot");
  }
  drop_roots();
  expect_objects(2); /* the immortal one, and what it keeps */
  stop();
}
END_TEST

/* The pages of a sealed object are opened for the collector. */
START_TEST(a001_17_weak_slots_of_a_sealed_object) {
  begin_plainly("16M");
  tsr_semantics semantics = TSR_NON_MOVING | TSR_READ_ONLY;
  roots[0].word = vm_word(make(RECORD, 0, 0));
  roots[1].word = vm_word(make(RECORD, 1, 0));
  roots[2].word = vm_word(make_of(box_id, semantics, 0, BOX_WORDS, 0));
  vm_set(vm.m, vm_ref(roots[2].word), 3, roots[0].word);
  vm_set(vm.m, vm_ref(roots[2].word), 5, roots[1].word);
  ck_assert_int_eq(tsr_seal(vm.m, vm_ref(roots[2].word), NULL), TSR_OK);
  roots[0].word = 0;
  for (unsigned round = 0; round < 2; round++) {
    expect_objects(2);
    check_weak(weak_word(roots[2].word, 3), false, RECORD, 0, "word 3");
    check_weak(weak_word(roots[2].word, 5), true, RECORD, 1, "word 5");
    ck_assert_uint_eq(weak_word(roots[2].word, 5), roots[1].word);
  }
  stop();
}
END_TEST

/* However little the collections look at that come by themselves. */
START_TEST(a001_17_weak_slots_of_an_old_object_follow_the_young) {
  prepare("32M");
  vm_alone(&vm);
  vm_pin(&vm, "nursery", "256K");
  begin();
  roots[0].word = vm_word(make_box(1));
  vm_collect(&vm);
  roots[1].word = vm_word(make(RECORD, 7, 0));
  vm_set(vm.m, vm_ref(roots[0].word), 3, roots[1].word);
  vm_set(vm.m, vm_ref(roots[0].word), 5, vm_word(make(RECORD, 8, 0)));
  for (unsigned round = 0; round < 6; round++) {
    vm_garbage(vm.m, 512 * KIB);
    ck_assert_uint_eq(weak_word(roots[0].word, 3), roots[1].word);
    check_weak(weak_word(roots[0].word, 3), true, RECORD, 7, "word 3");
  }
  vm_collect(&vm);
  check_weak(weak_word(roots[0].word, 5), false, RECORD, 8, "word 5");
  stop();
}
END_TEST

START_TEST(a001_17_a_pinned_object_is_not_cleared) {
  begin_plainly("16M");
  roots[0].word = vm_word(make_box(1));
  tsr_ref object = make(RECORD, 9, 0);
  vm_set(vm.m, vm_ref(roots[0].word), 3, vm_word(object));
  tsr_slot *handle = handle_of(vm_word(object), TSR_WEAK);
  ck_assert_int_eq(tsr_pin(vm.m, object, NULL), TSR_OK);
  for (unsigned round = 0; round < 3; round++) {
    expect_objects(2);
    ck_assert_uint_eq(weak_word(roots[0].word, 3), vm_word(object));
    ck_assert_uint_eq(handle->word, vm_word(object));
    ck_assert(is_made(handle->word, RECORD, 9));
  }
  ck_assert_int_eq(tsr_unpin(vm.m, object, NULL), TSR_OK);
  expect_objects(1);
  check_weak(weak_word(roots[0].word, 3), false, RECORD, 9, "slot");
  check_weak(handle->word, false, RECORD, 9, "handle");
  stop();
}
END_TEST

/* ---- tagged references --------------------------------------------------------------------- */

/* Tags survive; a word without one is no reference, though it be an address. Root i holds object i, strongly,
   box i is at root N + i; its words 3 and 5 refer to the object under either tag, and 6 does not. */
START_TEST(a001_17_weak_things_of_a_vm_with_tagged_references) {
  enum { N = 200 };
  static tsr_slot *handles[N];
  prepare("32M");
  vm.binding.references = tagged_references;
  vm.binding.weak_cleared = _i == 0 ? 0 : 6;
  begin();
  static uint64_t plain[N];
  for (unsigned i = 0; i < N; i++) {
    make(BYTES, 0, 300);
    roots[i].word = tagged(make(RECORD, i, 0), TAG_A);
    roots[N + i].word = tagged(make_box(i), TAG_B);
    roots[2 * N + i].word = tagged(make_ephemeron(TSR_DEFAULT), TAG_A);
    tsr_ref box = untagged(roots[N + i].word, TAG_B);
    tsr_ref ephemeron = untagged(roots[2 * N + i].word, TAG_A);
    plain[i] = roots[i].word - TAG_A; /* an address now, and nothing later */
    vm_set(vm.m, box, 3, roots[i].word);
    vm_set(vm.m, box, 5, roots[i].word - TAG_A + TAG_B);
    vm_set(vm.m, box, 6, plain[i]);
    vm_set(vm.m, ephemeron, KEY, roots[i].word - TAG_A + TAG_B);
    vm_set(vm.m, ephemeron, VALUE, roots[N + i].word - TAG_B + TAG_A);
    handles[i] = handle_of(roots[i].word - TAG_A + TAG_B, TSR_WEAK);
  }
  for (unsigned i = 0; i < N; i += 2)
    roots[i].word = 0;
  uint64_t cleared = vm.binding.weak_cleared;
  for (unsigned round = 0; round < 2; round++) {
    vm_collect(&vm);
    for (unsigned i = 0; i < N; i++) {
      bool lives = i % 2 == 1 || !vm_collects;
      tsr_ref box = untagged(roots[N + i].word, TAG_B);
      tsr_ref ephemeron = untagged(roots[2 * N + i].word, TAG_A);
      uint64_t words[4] = {vm_get(vm.m, box, 3), vm_get(vm.m, box, 5), handles[i]->word,
                           vm_get(vm.m, ephemeron, KEY)};
      for (unsigned k = 0; k < 4; k++) {
        bool right = lives ? is_tagged(words[k], k == 0 ? TAG_A : TAG_B, i) : words[k] == cleared;
        ck_assert_msg(right, "word %u of %u: %#llx", k, i, (unsigned long long)words[k]);
      }
      uint64_t value = vm_get(vm.m, ephemeron, VALUE);
      ck_assert_uint_eq(value, lives ? roots[N + i].word - TAG_B + TAG_A : cleared);
      ck_assert_uint_eq(vm_get(vm.m, box, 6), plain[i]);
    }
  }
  stop();
}
END_TEST

/* ---- the VM's own weak things ------------------------------------------------------------ */

#define TABLE 120u

/* A table of the VM's, outside the heap and no root. The callbacks write to it with the world stopped. */
static struct own_table {
  tsr_slot at[TABLE];
  unsigned objects;           /* the entries before this one are objects, or 0 */
  unsigned keep_in[TABLE];    /* the call of process_weak that keeps it; 0: none */
  bool ask_when_kept;         /* whether tsr_weak_is_live() is asked about what was kept, too */
  unsigned calls_wanted;      /* in each collection */
  unsigned call;              /* in this collection */
  unsigned live_since[TABLE]; /* the call that found it live first; 0: none */
  bool died[TABLE];
  unsigned last_calls;  /* of process_weak in the last collection */
  unsigned collections; /* calls of forward_weak */
  unsigned surprises;   /* what should not have happened */
} own;

static void own_looks(tsr_weak_phase *phase, unsigned i) {
  uint64_t word = own.at[i].word;
  bool kept = own.keep_in[i] != 0 && own.keep_in[i] < own.call;
  if (i >= own.objects || word == 0) return;
  if (kept && !own.ask_when_kept) return;
  bool live = tsr_weak_is_live(phase, vm_ref(word));
  if (live && own.live_since[i] == 0) own.live_since[i] = own.call;
  if (!live && own.live_since[i] != 0) own.surprises++; /* it has died again */
  if (!live && kept) own.surprises++;
}

static bool own_process(void *data, tsr_weak_phase *phase) {
  if (data != &vm || phase == NULL) own.surprises++;
  if (own.call++ == 0) memset(own.live_since, 0, sizeof own.live_since);
  for (unsigned i = 0; i < TABLE; i++)
    own_looks(phase, i);
  for (unsigned i = 0; i < TABLE; i++) {
    if (own.keep_in[i] == own.call) tsr_weak_keep(phase, &own.at[i]);
  }
  return own.call < own.calls_wanted;
}

static void own_forward(void *data, tsr_weak_phase *phase) {
  if (data != &vm || phase == NULL) own.surprises++;
  for (unsigned i = 0; i < TABLE; i++) {
    uint64_t before = own.at[i].word;
    if (tsr_weak_forward(phase, &own.at[i])) continue;
    if (own.at[i].word != before) own.surprises++;
    own.died[i] = true;
    own.at[i].word = 0;
  }
  own.last_calls = own.call;
  own.call = 0;
  own.collections++;
}

static void begin_with_own_table(const char *heap_max, unsigned calls_wanted) {
  prepare(heap_max);
  vm.binding.process_weak = own_process;
  vm.binding.forward_weak = own_forward;
  memset(&own, 0, sizeof own);
  own.calls_wanted = calls_wanted;
  begin();
}

/* Entries follow the roots while these are there, for nothing else keeps them while the test builds. */
static void fill_own_table(unsigned n) {
  own.objects = n;
  for (unsigned i = 0; i < n; i++)
    own.at[i].word = roots[i].word;
}

static void check_own_calls(void) {
  ck_assert_uint_eq(own.surprises, 0);
  if (vm_collects) {
    ck_assert_uint_gt(own.collections, 0);
    ck_assert_uint_eq(own.last_calls, own.calls_wanted);
  } else {
    ck_assert_uint_eq(own.collections + own.call, 0);
  }
}

/* `since`: the call that must have found it live, where the table was asked. */
static void check_own(unsigned i, bool lives, unsigned tag, unsigned since) {
  bool stays = lives || !vm_collects;
  ck_assert_msg(own.died[i] == !stays, "entry %u: died %d", i, own.died[i]);
  ck_assert_msg(own.at[i].word == 0 ? !stays : is_made(own.at[i].word, RECORD, tag), "entry %u", i);
  /* A minor collection, which other mutators may have asked for since, finds what is old live at once. */
  bool seen_again = vm_is_generational() && vm_mutators > 1;
  if (vm_collects && !seen_again)
    ck_assert_msg(own.live_since[i] == since, "entry %u: live since call %u", i, own.live_since[i]);
}

/* Of 40 objects, each with another one behind it, some are rooted, some are kept, and some die. */
START_TEST(a001_17_process_weak_keeps_what_it_likes) {
  enum { N = 40 };
  begin_with_own_table("16M", 2);
  for (unsigned i = 0; i < N; i++) {
    roots[i].word = vm_word(make(RECORD, i, 0));
    roots[N + i].word = vm_word(make(RECORD, N + i, 0));
    vm_set(vm.m, vm_ref(roots[i].word), 2, roots[N + i].word);
    make(BYTES, 0, 300);
  }
  for (unsigned i = 0; i < N; i++)
    own.keep_in[i] = i % 4 == 1;
  fill_own_table(2 * N);
  for (unsigned i = 0; i < 2 * N; i++) {
    if (i % 4 != 0 || i >= N) roots[i].word = 0;
  }
  for (unsigned round = 0; round < 3; round++) {
    expect_objects(N); /* half of the pairs */
    check_own_calls();
    for (unsigned i = 0; i < N; i++) {
      bool rooted = i % 4 == 0;
      bool kept = i % 4 == 1;
      check_own(i, rooted || kept, i, rooted);
      check_own(N + i, rooted || kept, N + i, rooted ? 1 : kept ? 2 : 0);
      if (rooted) ck_assert_uint_eq(own.at[i].word, roots[i].word);
      if (rooted || kept)
        ck_assert_uint_eq(own.at[N + i].word, vm_get(vm.m, vm_ref(own.at[i].word), 2));
    }
  }
  memset(own.keep_in, 0, sizeof own.keep_in);
  expect_objects(N / 2);
  for (unsigned i = 0; i < N; i++)
    check_own(i, i % 4 == 0, i, i % 4 == 0);
  memset(own.at, 0, sizeof own.at);
  stop();
}
END_TEST

/* In each call one object is kept, which the call before has not kept. */
START_TEST(a001_17_process_weak_is_called_as_often_as_it_asks) {
  enum { N = 50 };
  begin_with_own_table("16M", N);
  for (unsigned i = 0; i < N; i++) {
    roots[i].word = vm_word(make(RECORD, i, 0));
    roots[N + i].word = vm_word(make(RECORD, N + i, 0));
    vm_set(vm.m, vm_ref(roots[i].word), 2, roots[N + i].word);
    own.keep_in[i] = i + 1;
  }
  fill_own_table(2 * N);
  drop_roots();
  for (unsigned round = 0; round < 3; round++) {
    expect_objects(2 * (size_t)N);
    check_own_calls();
    for (unsigned i = 0; i < N; i++) {
      check_own(i, true, i, 0);
      /* The last one's has been traced, but nobody has looked since. */
      check_own(N + i, true, N + i, i + 1 < N ? i + 2 : 0);
    }
  }
  memset(own.at, 0, sizeof own.at);
  stop();
}
END_TEST

/* What has been kept is live from the next call on, also when it is asked for by the slot that was kept. */
START_TEST(a001_17_what_process_weak_has_kept_is_live) {
  enum { N = 40 };
  begin_with_own_table("16M", 3);
  own.ask_when_kept = true;
  for (unsigned i = 0; i < N; i++) {
    roots[i].word = vm_word(make(RECORD, i, 0));
    own.keep_in[i] = 1 + i % 2;
    make(BYTES, 0, 300);
  }
  fill_own_table(N);
  drop_roots();
  for (unsigned round = 0; round < 2; round++) {
    expect_objects(N);
    check_own_calls();
    for (unsigned i = 0; i < N; i++)
      check_own(i, true, i, 2 + i % 2);
  }
  memset(own.at, 0, sizeof own.at);
  stop();
}
END_TEST

/*
 * Ephemerons have kept their values when process_weak is called, and do so again after it has kept a
 * key. Weak slots and handles are cleared after it.
 */
START_TEST(a001_17_process_weak_and_ephemerons_and_weak_slots) {
  begin_with_own_table("16M", 2);
  for (unsigned i = 0; i < 5; i++)
    roots[i].word = vm_word(make(RECORD, i, 0));
  for (unsigned i = 0; i < 2; i++) { /* 0 -> 1 and 2 -> 3; nothing leads to 4 */
    roots[5 + i].word = vm_word(make_ephemeron(TSR_DEFAULT));
    set_pair(roots[5 + i].word, roots[2 * i].word, roots[2 * i + 1].word);
  }
  roots[7].word = vm_word(make_vector(TSR_DEFAULT, 5));
  tsr_slot *handles[5];
  for (unsigned i = 0; i < 5; i++) {
    vm_set(vm.m, vm_ref(roots[7].word), VECTOR_FIRST + i, roots[i].word);
    handles[i] = handle_of(roots[i].word, TSR_WEAK);
  }
  own.keep_in[2] = 1;
  fill_own_table(5);
  memset(&roots[1], 0, 4 * sizeof roots[0]); /* only 0 is rooted, and 2 will be kept */
  static const unsigned since[5] = {1, 1, 0, 2, 0};
  for (unsigned round = 0; round < 2; round++) {
    expect_objects(7);
    check_own_calls();
    for (unsigned i = 0; i < 5; i++) {
      check_own(i, i < 4, i, since[i]);
      check_weak(handles[i]->word, i < 4, RECORD, i, "handle");
      check_weak(weak_word(roots[7].word, VECTOR_FIRST + i), i < 4, RECORD, i, "slot");
      if (i < 4) ck_assert_uint_eq(handles[i]->word, own.at[i].word);
    }
    ck_assert_uint_eq(value_of(roots[6].word), own.at[3].word);
  }
  own.keep_in[2] = 0;
  expect_objects(5);
  expect_cleared(roots[6].word);
  check_weak(handles[2]->word, false, RECORD, 2, "handle");
  memset(own.at, 0, sizeof own.at);
  stop();
}
END_TEST

/* Without process_weak: each survivor's entry is updated, each other's is reported. */
START_TEST(a001_17_forward_weak_updates_a_table) {
  enum { HALF = TABLE / 2 };
  unsigned moved = 0;
  vm_init_calm(&vm);
  vm.binding.forward_weak = own_forward;
  memset(&own, 0, sizeof own);
  begin();
  for (unsigned round = 0; round < 4; round++) {
    uint64_t where[TABLE];
    for (unsigned i = 0; i < TABLE; i++) {
      if (own.at[i].word == 0) {
        make(BYTES, 0, 3000);
        own.at[i].word = vm_word(make(RECORD, i, 0));
      }
      roots[i].word = own.at[i].word;
    }
    memcpy(where, roots, sizeof where);
    memset(own.died, 0, sizeof own.died);
    for (unsigned i = round % 2; i < TABLE; i += 2)
      roots[i].word = 0;
    expect_objects(HALF);
    check_own_calls();
    for (unsigned i = 0; i < TABLE; i++) {
      check_own(i, i % 2 != round % 2, i, 0);
      if (roots[i].word != 0) ck_assert_uint_eq(own.at[i].word, roots[i].word);
      moved += roots[i].word != 0 && own.at[i].word != where[i];
    }
  }
  ck_assert_msg(vm_moves_so_many(&vm, moved), "%u entries moved", moved);
  memset(own.at, 0, sizeof own.at);
  stop();
}
END_TEST

/* Slots that refer to nothing are left alone and count as alive; keeping them keeps nothing. */
START_TEST(a001_17_the_vms_own_slots_may_hold_anything) {
  static uint64_t outside[2];
  begin_with_own_table("16M", 1);
  for (unsigned i = 0; i < TABLE; i++) {
    const uint64_t words[] = {0, FIXNUM(i), vm_word(outside)};
    own.at[i].word = words[i % 3];
    own.keep_in[i] = i % 2;
  }
  for (unsigned round = 0; round < 2; round++) {
    expect_objects(0);
    check_own_calls();
    for (unsigned i = 0; i < TABLE; i++) {
      const uint64_t words[] = {0, FIXNUM(i), vm_word(outside)};
      ck_assert_uint_eq(own.at[i].word, words[i % 3]);
      ck_assert(!own.died[i]);
    }
  }
  stop();
}
END_TEST

/* Objects of every placement in the VM's own table; every other one is dropped, and half of those kept. */
START_TEST(a001_17_the_vms_own_table_and_every_placement) {
  begin_with_own_table("64M", 2);
  for (unsigned i = 0; i < 3 * PLACE_COMBINATIONS; i++) {
    roots[i].word = vm_word(make_record(place_semantics(i / 3), i));
    own.keep_in[i] = i % 3 == 1;
  }
  fill_own_table(3 * PLACE_COMBINATIONS);
  for (unsigned i = 0; i < 3 * PLACE_COMBINATIONS; i++) {
    if (i % 3 != 0) roots[i].word = 0;
  }
  for (unsigned round = 0; round < 2; round++) {
    vm_collect(&vm);
    check_own_calls();
    for (unsigned i = 0; i < 3 * PLACE_COMBINATIONS; i++) {
      bool lives = i % 3 != 2 || !place_dies(place_semantics(i / 3));
      ck_assert_msg(own.died[i] == (vm_collects && !lives), "%s",
                    place_name(place_semantics(i / 3)));
      if (!own.died[i]) ck_assert(is_made(own.at[i].word, RECORD, i));
    }
  }
  memset(own.at, 0, sizeof own.at);
  stop();
}
END_TEST

/* ---- layouts that cannot be -------------------------------------------------------------- */

static const uint64_t bit_70[2] = {0, 1u << 6};
static const uint64_t bit_3[2] = {1u << 3, 0};

#define L(kind_, bytes_, ...)                                                                      \
  { TSR_LAYOUT_INIT, .name = "wispy", .kind = kind_, .fixed_bytes = bytes_, __VA_ARGS__ }
#define WEAKLY(...)    L(TSR_LAYOUT_WEAK, 32, __VA_ARGS__)
#define EPHEMERAL(...) L(TSR_LAYOUT_EPHEMERON, 64, __VA_ARGS__)

static const refusal refusals[] = {
    {"weak: no word for Tessera", WEAKLY(.weak_refs = 1u << 3)},
    {"weak: the word at 12", WEAKLY(.weak_refs = 1u << 3, .weak_offset = 12)},
    {"weak: the word outside", WEAKLY(.weak_refs = 1u << 3, .weak_offset = 32)},
    {"weak: the word far outside", WEAKLY(.weak_refs = 1u << 3, .weak_offset = 0xfffffff8u)},
    {"weak: the word is a strong slot",
     WEAKLY(.fixed_refs = 1u << 2, .weak_refs = 1u << 3, .weak_offset = 16)},
    {"weak: the word is a weak slot", WEAKLY(.weak_refs = 1u << 3, .weak_offset = 24)},
    {"weak: the word is a slot of the wide bitmap",
     L(TSR_LAYOUT_WEAK, 800, .wide_refs = bit_70, .weak_refs = 1u << 3, .weak_offset = 8 * 70)},
    {"weak: the word in the array", L(TSR_LAYOUT_WEAK, 16, VECTOR_LENGTH, .weak_offset = 16)},
    {"weak: bit 0", WEAKLY(.weak_refs = 1u << 0 | 1u << 3, .weak_offset = 8)},
    {"weak: bit outside", WEAKLY(.weak_refs = 1u << 4, .weak_offset = 8)},
    {"weak: bit far outside", WEAKLY(.weak_refs = (uint64_t)1 << 63, .weak_offset = 8)},
    {"weak: bit of the array",
     L(TSR_LAYOUT_WEAK, 24, VECTOR_LENGTH, .weak_refs = 1u << 3, .weak_offset = 16)},
    {"weak: a slot is strong and weak",
     WEAKLY(.fixed_refs = 1u << 2 | 1u << 3, .weak_refs = 1u << 3, .weak_offset = 8)},
    {"weak: a slot of the wide bitmap is weak",
     L(TSR_LAYOUT_WEAK, 800, .wide_refs = bit_3, .weak_refs = 1u << 3, .weak_offset = 8)},
    {"weak: strong bit outside",
     WEAKLY(.fixed_refs = 1u << 4, .weak_refs = 1u << 3, .weak_offset = 8)},
    {"ephemeron: no place", EPHEMERAL(.fixed_refs = 1u << 1)},
    {"ephemeron: at 12", EPHEMERAL(.weak_offset = 12)},
    {"ephemeron: its end outside", EPHEMERAL(.weak_offset = 32)},
    {"ephemeron: outside", EPHEMERAL(.weak_offset = 64)},
    {"ephemeron: far outside", EPHEMERAL(.weak_offset = 0xfffffff8u)},
    {"ephemeron: its key is a slot", EPHEMERAL(.fixed_refs = 1u << 3, .weak_offset = 24)},
    {"ephemeron: its value is a slot", EPHEMERAL(.fixed_refs = 1u << 4, .weak_offset = 24)},
    {"ephemeron: its last word is a slot", EPHEMERAL(.fixed_refs = 1u << 7, .weak_offset = 24)},
    {"ephemeron: in the wide bitmap",
     L(TSR_LAYOUT_EPHEMERON, 800, .wide_refs = bit_70, .weak_offset = 8 * 66)},
    {"ephemeron: weak slots", EPHEMERAL(.weak_refs = 1u << 1, .weak_offset = 24)},
    {"fixed: weak slots", L(TSR_LAYOUT_FIXED, 64, .weak_refs = 1u << 3)},
    {"fixed: a word for Tessera", L(TSR_LAYOUT_FIXED, 64, .weak_offset = 16)},
    {"references: weak slots", L(TSR_LAYOUT_REFERENCES, 64, VECTOR_LENGTH, .weak_refs = 1u << 3)},
    {"references: a word for Tessera",
     L(TSR_LAYOUT_REFERENCES, 64, VECTOR_LENGTH, .weak_offset = 16)},
    {"bytes: weak slots", L(TSR_LAYOUT_BYTES, 64, VECTOR_LENGTH, .weak_refs = 1u << 3)},
    {"bytes: a word for Tessera", L(TSR_LAYOUT_BYTES, 64, VECTOR_LENGTH, .weak_offset = 16)},
    {"elements: weak slots",
     L(TSR_LAYOUT_ELEMENTS, 64, VECTOR_LENGTH, .element_bytes = 8, .weak_refs = 1u << 3)},
    {"elements: a word for Tessera",
     L(TSR_LAYOUT_ELEMENTS, 64, VECTOR_LENGTH, .element_bytes = 8, .weak_offset = 16)},
    {"custom: weak slots",
     L(TSR_LAYOUT_CUSTOM, 0, .object_size = any_size, .scan = any_scan, .weak_refs = 1u << 3)},
    {"custom: a word for Tessera",
     L(TSR_LAYOUT_CUSTOM, 0, .object_size = any_size, .scan = any_scan, .weak_offset = 16)},
};
#define REFUSALS (sizeof refusals / sizeof refusals[0])

START_TEST(a001_17_impossible_weak_layouts) {
  refuse_registrations(refusals, REFUSALS, &box_layout, &link_layout);
}
END_TEST

START_TEST(a001_17_impossible_weak_layouts_of_a_binding) {
  refuse_bindings(refusals, REFUSALS, &box_layout);
}
END_TEST

/* What is at the edge of the rules is accepted, and works. */
START_TEST(a001_17_weak_layouts_at_the_edge) {
  static const tsr_layout edges[] = {
      {TSR_LAYOUT_INIT, .name = "last word", .kind = TSR_LAYOUT_WEAK, .fixed_bytes = 24,
       .weak_refs = 1u << 1, .weak_offset = 16},
      {TSR_LAYOUT_INIT, .name = "64 words", .kind = TSR_LAYOUT_WEAK, .fixed_bytes = 512,
       .weak_refs = ~(uint64_t)5, .weak_offset = 16},
      {TSR_LAYOUT_INIT, .name = "long ephemeron", .kind = TSR_LAYOUT_EPHEMERON, .fixed_bytes = 800,
       .fixed_refs = ~(uint64_t)1, .weak_offset = 760},
      {TSR_LAYOUT_INIT, .name = "aligned", .kind = TSR_LAYOUT_EPHEMERON, .fixed_bytes = 64,
       .weak_offset = 8, .align = 64},
  };
  static const size_t words[] = {3, 64, 100, 8};
  static const size_t slots[] = {1, 63, 95, 1}; /* the last is a weak one, or the key */
  begin_plainly("16M");
  for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++) {
    uint32_t id = registered(&edges[i]);
    size_t align = edges[i].align == 0 ? TSR_OBJECT_ALIGN : edges[i].align;
    uint64_t *memory = tsr_alloc(vm.m, 8 * words[i], align, 0, TSR_DEFAULT);
    ck_assert_ptr_nonnull(memory);
    memory[0] = vm_header(id, 0);
    tsr_ref object = (tsr_ref)(void *)memory;
    ck_assert_int_eq(tsr_post_alloc(vm.m, object, 8 * words[i], TSR_DEFAULT), TSR_OK);
    roots[0].word = vm_word(object);
    roots[1].word = vm_word(make(RECORD, (unsigned)i, 0));
    vm_set(vm.m, vm_ref(roots[0].word), slots[i], roots[1].word);
    expect_objects(2);
    ck_assert_uint_eq(weak_word(roots[0].word, slots[i]), roots[1].word);
    ck_assert_uint_eq(roots[0].word % align, 0);
    roots[1].word = 0;
    expect_objects(1);
    check_weak(weak_word(roots[0].word, slots[i]), false, RECORD, (unsigned)i, "edge");
    roots[0].word = 0;
    expect_objects(0);
  }
  stop();
}
END_TEST

/* A binding may bring its weak layouts along. */
START_TEST(a001_17_weak_layouts_of_a_binding) {
  tsr_layout layouts[VM_KINDS];
  vm_init(&vm);
  memcpy(layouts, vm.binding.layouts, vm.binding.layout_count * sizeof layouts[0]);
  layouts[vm.binding.layout_count] = box_layout;
  vm.binding.layouts = layouts;
  vm.binding.layout_count++;
  vm_start(&vm);
  open_roots();
  box_id = VM_KINDS;
  roots[0].word = vm_word(make_box(1));
  roots[1].word = vm_word(make(RECORD, 1, 0));
  vm_set(vm.m, vm_ref(roots[0].word), 3, roots[1].word);
  expect_objects(2);
  ck_assert_uint_eq(weak_word(roots[0].word, 3), roots[1].word);
  roots[1].word = 0;
  expect_objects(1);
  check_weak(weak_word(roots[0].word, 3), false, RECORD, 1, "slot");
  stop();
}
END_TEST

static void add(TCase *tests) {
  tcase_add_loop_test(tests, a001_17_a_weak_handle_follows_its_object_and_is_cleared_with_it, 0,
                      CLEARED_WORDS);
  tcase_add_test(tests, a001_17_a_weak_handle_moves_with_its_object);
  tcase_add_loop_test(tests, a001_17_a_weak_handle_may_hold_anything, 0, CLEARED_WORDS);
  tcase_add_loop_test(tests, a001_17_words_that_lead_into_a_large_object_are_ignored, 0,
                      CLEARED_WORDS);
  tcase_add_loop_test(tests, a001_17_thousands_of_weak_handles, 0, 4);
  tcase_add_test(tests, a001_17_weak_handles_of_many_threads);
  tcase_add_loop_test(tests, a001_17_strong_slots_keep_and_weak_slots_do_not, 0, CLEARED_WORDS);
  tcase_add_loop_test(tests, a001_17_weak_objects_that_refer_to_each_other, 0, CLEARED_WORDS);
  tcase_add_loop_test(tests, a001_17_weak_objects_die_themselves, 0, 2);
  tcase_add_loop_test(tests, a001_17_a_fixed_part_of_more_than_64_words, 0, CLEARED_WORDS);
  tcase_add_loop_test(tests, a001_17_weak_vectors_of_every_size, 0, 4);
  tcase_add_loop_test(tests, a001_17_a_weak_array_behind_strong_and_weak_slots, 0, CLEARED_WORDS);
  tcase_add_test(tests, a001_17_a_weak_vector_may_shrink);
  tcase_add_loop_test(tests, a001_17_weak_slots_and_their_objects_in_every_placement, 0,
                      CLEARED_WORDS);
  tcase_add_loop_test(tests, a001_17_weak_objects_in_every_placement, 0, CLEARED_WORDS);
  tcase_add_test(tests, a001_17_weak_slots_of_a_sealed_object);
  tcase_add_test(tests, a001_17_weak_slots_of_an_old_object_follow_the_young);
  tcase_add_test(tests, a001_17_a_pinned_object_is_not_cleared);
  tcase_add_loop_test(tests, a001_17_weak_things_of_a_vm_with_tagged_references, 0, 2);
  tcase_add_test(tests, a001_17_process_weak_keeps_what_it_likes);
  tcase_add_test(tests, a001_17_process_weak_is_called_as_often_as_it_asks);
  tcase_add_test(tests, a001_17_what_process_weak_has_kept_is_live);
  tcase_add_test(tests, a001_17_process_weak_and_ephemerons_and_weak_slots);
  tcase_add_test(tests, a001_17_forward_weak_updates_a_table);
  tcase_add_test(tests, a001_17_the_vms_own_slots_may_hold_anything);
  tcase_add_test(tests, a001_17_the_vms_own_table_and_every_placement);
  tcase_add_test(tests, a001_17_impossible_weak_layouts);
  tcase_add_test(tests, a001_17_impossible_weak_layouts_of_a_binding);
  tcase_add_test(tests, a001_17_weak_layouts_at_the_edge);
  tcase_add_test(tests, a001_17_weak_layouts_of_a_binding);
}

int main(void) {
  return vm_main("weak", add);
}
