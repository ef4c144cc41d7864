/*
 * Arenas from inside: how their blocks are filed.
 *
 * A block is filed under the longest of its free runs, which every take, retire, trim and sweep
 * changes. Buffers that lie side by side in one block are the hard part, because one that is retired may
 * join what its neighbour left. The buffers here are half a block, so that two mutators share one.
 */
#include <stdio.h>

#include "core/heap/heap.h"
#include "core/space/spaces.h"
#include "tests/unit/unit.h"

static const char *const plans[] = {"nogc", "semispace"};
#define PLANS        2

#define HALF_A_BLOCK "16384"
#define BUFFER_BYTES ((size_t)16384)

#define MUTATORS     2u

typedef struct fixture {
  tsr_heap *heap;
  tsr_mutator *m[MUTATORS]; /* the newest comes first where the heap walks its mutators */
  tsr_slot roots[64];
} fixture;

static void fixture_open(fixture *f, const char *plan) {
  *f = (fixture){0};
  tsr_options *options = tsr_options_create();
  ck_assert_int_eq(tsr_options_set(options, "plan", plan, NULL), TSR_OK);
  ck_assert_int_eq(tsr_options_set(options, "heap_max", "32M", NULL), TSR_OK);
  ck_assert_int_eq(tsr_options_set(options, "stress", HALF_A_BLOCK, NULL), TSR_OK);
  tsr_error error = {0};
  f->heap = tsr_heap_create(&unit_binding, NULL, options, &error);
  ck_assert_msg(f->heap != NULL, "%s", error.message);
  tsr_options_destroy(options);
  for (unsigned i = 0; i < MUTATORS; i++) {
    f->m[i] = tsr_bind_mutator(f->heap, &f->m[i], &error);
    ck_assert_msg(f->m[i] != NULL, "%s", error.message);
    tsr_enter_native(f->m[i]);
  }
  ck_assert_int_eq(tsr_root_add(f->heap, f->roots, 64, TSR_ROOT_PRECISE, "roots", NULL), TSR_OK);
}

static void fixture_close(fixture *f) {
  ck_assert_int_eq(tsr_root_remove(f->heap, f->roots, NULL), TSR_OK);
  for (unsigned i = 0; i < MUTATORS; i++) {
    tsr_leave_native(f->m[i]);
    ck_assert_int_eq(tsr_unbind_mutator(f->m[i], NULL), TSR_OK);
  }
  ck_assert_int_eq(tsr_heap_destroy(f->heap, NULL), TSR_OK);
}

/* An array of `bytes`, by a mutator that is in managed code. */
static unit_array *make_array(tsr_mutator *m, size_t bytes, size_t align, size_t offset,
                              tsr_semantics semantics) {
  unit_array *array = tsr_alloc(m, bytes, align, offset, semantics);
  ck_assert_ptr_nonnull(array);
  array->header = TSR_HEADER(ARRAY);
  array->length = (bytes - 16) / 8;
  ck_assert_int_eq(tsr_post_alloc(m, (tsr_ref)array, bytes, semantics), TSR_OK);
  return array;
}

static void assert_filed(tsr_heap *heap, const char *when) {
  for (unsigned i = 0; i < ARENAS; i++) {
    uint32_t at_block = 0;
    const char *fault = arena_fault(&heap->spaces->arenas[i], &at_block);
    ck_assert_msg(fault == NULL, "%s: arena %u, block %u: not so: %s", when, i, at_block, fault);
  }
}

/* Retires every buffer, and looks. */
static void verify(const fixture *f, tsr_mutator *m, const char *when) {
  tsr_error error = {0};
  ck_assert_msg(tsr_heap_verify(m, &error) == TSR_OK, "%s: %s", when, error.message);
  assert_filed(f->heap, when);
}

static const tsr_semantics placements[] = {TSR_NON_MOVING, TSR_IMMORTAL};
#define PLACEMENTS 2

/* ---- a gap in front of a full buffer ---------------------------------------------------------------- */

/* The rest of the pair, to the last byte. */
static void fill_up(tsr_mutator *m, tsr_semantics placement) {
  const tsr_bump_pointer *pair = &m->bump[placement];
  while (pair->cursor < pair->limit) {
    size_t room = pair->limit - pair->cursor;
    make_array(m, room > 4000 ? 2000 : room, 8, 0, placement);
  }
}

/*
 * One mutator has an object in the first half of a block. The other fills the second half to its
 * end, but its first object leaves a gap for its alignment, which joins the first half's free rest
 * when that has been retired before.
 */
static void leave_gap_before_full_buffer(const fixture *f, tsr_semantics placement) {
  tsr_leave_native(f->m[1]);
  make_array(f->m[1], 24, 8, 0, placement);
  uintptr_t border = f->m[1]->bump[placement].limit;
  tsr_enter_native(f->m[1]);
  tsr_leave_native(f->m[0]);
  const unit_array *second = make_array(f->m[0], 24, 64, 8, placement);
  ck_assert_msg((uintptr_t)second > border && (uintptr_t)second < border + 64,
                "the second buffer lies behind the first: %p", (const void *)second);
  fill_up(f->m[0], placement);
}

START_TEST(a_gap_before_a_full_buffer_joins_the_run_before_it) {
  fixture f;
  fixture_open(&f, plans[_i % PLANS]);
  leave_gap_before_full_buffer(&f, placements[_i / PLANS]);
  for (unsigned i = 0; i < 3; i++)
    verify(&f, f.m[0], "retired");
  if (f.heap->plan->collects) {
    ck_assert_int_eq(tsr_collect(f.m[0], NULL), TSR_OK);
    verify(&f, f.m[0], "swept");
  }
  tsr_enter_native(f.m[0]);
  fixture_close(&f);
}
END_TEST

/* ---- everything at once ------------------------------------------------------------------------------ */

/* To a random size, sometimes twice, by whichever mutator is there. */
static void shrink_at_random(tsr_mutator *m, tsr_slot *root, uint64_t *state) {
  unit_array *array = (unit_array *)(uintptr_t)root->word;
  uint64_t length = unit_random(state) % (array->length + 1);
  tsr_error error = {0};
  tsr_status status = tsr_shrink(m, (tsr_ref)array, 16 + 8 * (size_t)length, &error);
  ck_assert_msg(status == TSR_OK, "%s", error.message);
  array->length = length;
}

START_TEST(blocks_stay_filed_whatever_happens) {
  uint64_t state = 77001u + (unsigned)_i;
  printf("seed %u\n", (unsigned)state);
  fixture f;
  fixture_open(&f, plans[_i % PLANS]);
  for (unsigned step = 0; step < 4000; step++) {
    tsr_mutator *m = f.m[unit_random(&state) % MUTATORS];
    tsr_slot *root = &f.roots[unit_random(&state) % 64];
    tsr_semantics semantics = placements[unit_random(&state) % 8 == 0];
    if (unit_random(&state) % 16 == 0) semantics |= TSR_READ_ONLY;
    size_t bytes = 16 + 8 * (unit_random(&state) % (unit_random(&state) % 8 == 0 ? 900 : 40));
    size_t align = (size_t)8 << unit_random(&state) % 5;
    size_t offset = 8 * (unit_random(&state) % 8);
    tsr_leave_native(m);
    if (root->word != 0 && unit_random(&state) % 2 == 0) {
      shrink_at_random(m, root, &state);
      if (unit_random(&state) % 2 == 0) shrink_at_random(m, root, &state);
    } else {
      root->word = (uint64_t)(uintptr_t)make_array(m, bytes, align, offset, semantics);
    }
    if (step % 50 == 0) verify(&f, m, "on the way");
    tsr_enter_native(m);
  }
  fixture_close(&f);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("arena");
  TCase *tests = tcase_create("filing");
  tcase_set_timeout(tests, 0);
  tcase_add_loop_test(tests, a_gap_before_a_full_buffer_joins_the_run_before_it, 0,
                      PLANS * PLACEMENTS);
  tcase_add_loop_test(tests, blocks_stay_filed_whatever_happens, 0, 3 * PLANS);
  suite_add_tcase(suite, tests);
  return unit_run(suite);
}
