/*
 * A001-03, A001-04. The sweep of a block, which works on words of its two bitmaps, against a walk from granule to
 * granule: on every pattern of six granules, wherever in a word it lies, and on a million words at random.
 *
 * The patterns are written into the bits of one block. A sweep looks at nothing else.
 */
#include <stdio.h>
#include <string.h>

#include "core/heap/heap.h"
#include "core/space/spaces.h"
#include "tests/unit/unit.h"

/* What begins at a granule, in the two bits of the bitmaps: a start bit, a mark bit. */
enum { NOTHING = 0, UNREACHED = 1, FREE = 2, REACHED = 3 };

enum { STARTS, MARKS };

typedef struct fixture {
  tsr_heap *heap;
  tsr_mutator *m;
  arena *arena;
  uint32_t index;                       /* of its one block */
  unsigned char before[BLOCK_GRANULES]; /* what begins where */
  uint64_t expected[2][BLOCK_BIT_WORDS];
  uint32_t expected_free, expected_longest;
} fixture;

static fixture f;

/* ---- the block ------------------------------------------------------------------------------------------- */

static void fixture_open(tsr_semantics placement) {
  f = (fixture){0};
  tsr_error error = {0};
  f.heap = unit_heap("semispace", "8M");
  f.m = tsr_bind_mutator(f.heap, &f.m, &error);
  ck_assert_msg(f.m != NULL, "%s", error.message);
  unit_array *array = tsr_alloc(f.m, 16, 8, 0, placement);
  ck_assert_ptr_nonnull(array);
  array->header = TSR_HEADER(ARRAY);
  array->length = 0;
  ck_assert_int_eq(tsr_post_alloc(f.m, (tsr_ref)array, 16, placement), TSR_OK);
  ck_assert_int_eq(tsr_heap_verify(f.m, NULL), TSR_OK); /* its buffer is retired */
  f.arena = &f.heap->spaces->arenas[placement == TSR_IMMORTAL ? ARENA_IMMORTAL : ARENA_NON_MOVING];
  ck_assert_uint_eq(arena_blocks(f.arena), 1);
  f.index = f.arena->first;
}

static uint64_t *bitmap(unsigned which) {
  const object_bits *bits = &f.heap->bits;
  return object_bits_of(which == STARTS ? bits->starts : bits->marks, f.index);
}

static void set_bits(uint64_t *starts, uint64_t *marks, uint32_t at, unsigned begins) {
  if ((begins & UNREACHED) != 0) object_bit_set(starts, at);
  if ((begins & FREE) != 0) object_bit_set(marks, at);
}

static unsigned bits_at(const uint64_t *starts, const uint64_t *marks, uint32_t at) {
  return (unsigned)object_bit_get(starts, at) | (unsigned)object_bit_get(marks, at) << 1;
}

static void write_bits(void) {
  uint64_t *starts = bitmap(STARTS), *marks = bitmap(MARKS);
  memset(starts, 0, BLOCK_BIT_WORDS * sizeof *starts);
  memset(marks, 0, BLOCK_BIT_WORDS * sizeof *marks);
  for (uint32_t i = 0; i < BLOCK_GRANULES; i++)
    set_bits(starts, marks, i, f.before[i]);
}

/* All of it is free, and goes back to the heap. */
static void fixture_close(void) {
  memset(f.before, NOTHING, sizeof f.before);
  write_bits();
  arena_begin_sweep(f.arena);
  while (arena_sweep_next(f.arena)) {
  }
  ck_assert_uint_eq(arena_blocks(f.arena), 0);
  ck_assert_int_eq(tsr_unbind_mutator(f.m, NULL), TSR_OK);
  ck_assert_int_eq(tsr_heap_destroy(f.heap, NULL), TSR_OK);
}

/* ---- the walk ---------------------------------------------------------------------------------------------- */

/* What a sweep shall leave. */
static void walk(void) {
  bool in_free = false;
  uint32_t length = 0;
  f.expected_free = f.expected_longest = 0;
  memset(f.expected, 0, sizeof f.expected);
  for (uint32_t i = 0; i < BLOCK_GRANULES; i++) {
    unsigned begins = f.before[i];
    if (i == 0 && begins == NOTHING) begins = FREE; /* belongs to no object */
    if (begins == REACHED || (begins == UNREACHED && f.arena->immortal)) {
      set_bits(f.expected[STARTS], f.expected[MARKS], i, UNREACHED); /* until the next trace */
      in_free = false;
    } else if (begins != NOTHING && !in_free) {
      set_bits(f.expected[STARTS], f.expected[MARKS], i, FREE);
      length = 0;
      in_free = true;
    }
    if (!in_free) continue;
    f.expected_free++;
    if (++length > f.expected_longest) f.expected_longest = length;
  }
}

/* Sweeps the block, and compares. One of which nothing is left would be given back. */
static void sweep_as_walked(const char *what, unsigned number) {
  walk();
  if (f.expected_free == BLOCK_GRANULES) return;
  write_bits();
  arena_begin_sweep(f.arena);
  ck_assert(arena_sweep_next(f.arena));
  ck_assert(!arena_sweep_next(f.arena));
  bool is_same = memcmp(bitmap(STARTS), f.expected[STARTS], sizeof f.expected[STARTS]) == 0 &&
                 memcmp(bitmap(MARKS), f.expected[MARKS], sizeof f.expected[MARKS]) == 0;
  for (uint32_t i = 0; !is_same && i < BLOCK_GRANULES; i++) {
    unsigned begins = bits_at(bitmap(STARTS), bitmap(MARKS), i);
    unsigned expected = bits_at(f.expected[STARTS], f.expected[MARKS], i);
    ck_assert_msg(begins == expected, "%s %u: granule %u: %u begins there, not %u", what, number, i,
                  begins, expected);
  }
  ck_assert_msg(block_map_at(&f.heap->blocks, f.index)->longest_run == f.expected_longest,
                "%s %u: the longest run has %u granules", what, number, f.expected_longest);
  ck_assert_uint_eq(arena_free_bytes(f.arena), (size_t)f.expected_free * TSR_GRANULE);
  ck_assert_uint_eq(arena_live_bytes(f.arena),
                    (size_t)(BLOCK_GRANULES - f.expected_free) * TSR_GRANULE);
  uint32_t at_block;
  const char *fault = arena_fault(f.arena, &at_block);
  ck_assert_msg(fault == NULL, "%s %u: not so: %s", what, number, fault);
}

/* ---- tests ------------------------------------------------------------------------------------------------ */

static const tsr_semantics placements[] = {TSR_NON_MOVING, TSR_IMMORTAL};
#define PLACEMENTS 2

#define PATTERN    6u
#define PATTERNS   (1u << 2 * PATTERN)
#define APART      11u /* odd, so that they lie differently in their words */

/* Behind what is free, what is not reached, and what is reached. */
START_TEST(a001_03_every_pattern_of_six_granules) {
  fixture_open(placements[_i % PLACEMENTS]);
  unsigned char in_front = (unsigned char)(1 + _i / PLACEMENTS);
  for (uint32_t shift = 0; shift < 64; shift++) {
    unsigned pattern = 0;
    while (pattern < PATTERNS) {
      memset(f.before, NOTHING, sizeof f.before);
      for (uint32_t at = shift; at + PATTERN < BLOCK_GRANULES; at += APART, pattern++) {
        f.before[at] = in_front;
        for (unsigned i = 0; i < PATTERN; i++)
          f.before[at + 1 + i] = (unsigned char)(pattern >> 2 * i & 3);
      }
      sweep_as_walked("up to pattern", pattern);
    }
  }
  fixture_close();
}
END_TEST

/* How often something begins differs from block to block, and how often it is reached. */
START_TEST(a001_04_a_million_words_at_random) {
  enum { ROUNDS = 1000000 / BLOCK_BIT_WORDS };
  uint64_t state = 4711u + (unsigned)_i;
  printf("seed %u\n", (unsigned)state);
  fixture_open(placements[_i]);
  for (unsigned round = 0; round < ROUNDS; round++) {
    unsigned sparse = (unsigned)unit_random(&state) % 7, kinds[4];
    for (unsigned i = 0; i < 4; i++)
      kinds[i] = 1 + (unsigned)unit_random(&state) % 3;
    for (uint32_t i = 0; i < BLOCK_GRANULES; i++) {
      uint64_t random = unit_random(&state);
      bool begins = (random & ((1u << sparse) - 1)) == 0;
      f.before[i] = begins ? (unsigned char)kinds[random >> 16 & 3] : NOTHING;
    }
    sweep_as_walked("round", round);
  }
  fixture_close();
}
END_TEST

int main(void) {
  Suite *suite = suite_create("sweep");
  TCase *tests = tcase_create("sweep");
  tcase_set_timeout(tests, 0);
  tcase_add_loop_test(tests, a001_03_every_pattern_of_six_granules, 0, PLACEMENTS * REACHED);
  tcase_add_loop_test(tests, a001_04_a_million_words_at_random, 0, PLACEMENTS);
  suite_add_tcase(suite, tests);
  return unit_run(suite);
}
