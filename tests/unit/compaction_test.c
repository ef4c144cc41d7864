/*
 * core/space/compaction and slide: where survivors go, and that they get there whole, whoever moves them.
 *
 * A real heap is filled with numbered arrays that refer to nothing; then a pattern says which of them are
 * alive and which blocks stay, and the phases are called one by one as a collection does. The model is
 * simple: survivors are packed one behind the other into the blocks that move, in the order of their
 * addresses, and an object that does not fit the rest of a block begins the next.
 */
#include <sched.h>
#include <string.h>

#include "core/collect/collector.h"
#include "tests/unit/unit.h"

/* As ck_assert_msg(), for places that are passed very often: Check notes each assertion that holds. */
#define REQUIRE(condition, ...)                                                                    \
  do {                                                                                             \
    if (!(condition)) ck_abort_msg(__VA_ARGS__);                                                   \
  } while (0)

#define OBJECTS_MOST 60000u
#define BLOCKS_MOST  256u
#define THREADS_MOST 8u
#define SHADOWS_MOST 40u

/* ---- a heap that is full of objects ------------------------------------------------------------- */

typedef struct object {
  uintptr_t address; /* before, and after the slide */
  uint32_t granules;
  bool lives;
} object;

typedef struct fixture {
  tsr_heap *heap;
  tsr_mutator *m;
  compaction *c;
  size_t count;
  object objects[OBJECTS_MOST]; /* in the order of their addresses */
  uintptr_t targets[OBJECTS_MOST];
  uint32_t blocks; /* of the movable arena */
} fixture;

static fixture f;

static uint32_t block_of(uintptr_t address) {
  return block_map_index(&f.heap->blocks, address);
}

/* The words of an object are odd, and tell its number. */
static void write_object(size_t i) {
  unit_array *array = (unit_array *)f.objects[i].address;
  array->header = TSR_HEADER(ARRAY);
  array->length = f.objects[i].granules - 2;
  for (uint64_t k = 0; k < array->length; k++)
    array->slots[k].word = 2 * (1000000 * k + i) + 1;
}

static bool is_whole(size_t i, uintptr_t address) {
  const unit_array *array = (const unit_array *)address;
  if (array->header != TSR_HEADER(ARRAY)) return false;
  if (array->length != f.objects[i].granules - 2) return false;
  for (uint64_t k = 0; k < array->length; k++) {
    if (array->slots[k].word != 2 * (1000000 * k + i) + 1) return false;
  }
  return true;
}

static int by_address(const void *a, const void *b) {
  uintptr_t x = ((const object *)a)->address, y = ((const object *)b)->address;
  return x < y ? -1 : x > y;
}

/* Fills so many blocks with objects of at most `most` granules. */
static void open_full(uint32_t blocks, uint32_t most, uint64_t *state) {
  memset(&f, 0, sizeof f);
  tsr_options *options = tsr_options_create();
  ck_assert_int_eq(tsr_options_set(options, "plan", "markcompact", NULL), TSR_OK);
  ck_assert_int_eq(tsr_options_set(options, "heap_max", "64M", NULL), TSR_OK);
  ck_assert_int_eq(tsr_options_set(options, "heap_min", "64M", NULL), TSR_OK);
  tsr_error error = {0};
  f.heap = tsr_heap_create(&unit_binding, NULL, options, &error);
  ck_assert_msg(f.heap != NULL, "%s", error.message);
  tsr_options_destroy(options);
  f.m = tsr_bind_mutator(f.heap, &f, NULL);
  ck_assert_ptr_nonnull(f.m);
  f.c = &f.heap->spaces->compaction;
  const arena *a = &f.heap->spaces->arenas[ARENA_MOVABLE];
  while (f.count < OBJECTS_MOST) {
    uint32_t granules = 2 + (uint32_t)(unit_random(state) % (most - 1));
    void *memory = tsr_alloc(f.m, (size_t)granules * TSR_GRANULE, 8, 0, TSR_DEFAULT);
    ck_assert_ptr_nonnull(memory);
    f.objects[f.count] = (object){.address = (uintptr_t)memory, .granules = granules};
    write_object(f.count++);
    if (arena_blocks(a) > blocks) break;
  }
  qsort(f.objects, f.count, sizeof f.objects[0], by_address);
  for (size_t i = 0; i < f.count; i++)
    write_object(i);
  world_revoke_pairs(f.heap, NULL);
  arena_begin_trace(&f.heap->spaces->arenas[ARENA_MOVABLE], true);
  f.blocks = (uint32_t)arena_blocks(a);
  ck_assert_uint_le(f.blocks, BLOCKS_MOST);
}

/* Nothing is a root, so a collection leaves an empty heap. */
static void close_full(void) {
  ck_assert_int_eq(tsr_collect(f.m, NULL), TSR_OK);
  ck_assert_uint_eq(arena_blocks(&f.heap->spaces->arenas[ARENA_MOVABLE]), 0);
  ck_assert_int_eq(tsr_unbind_mutator(f.m, NULL), TSR_OK);
  ck_assert_int_eq(tsr_heap_destroy(f.heap, NULL), TSR_OK);
}

/* ---- patterns: who lives, and what stays ----------------------------------------------------------- */

static void keep_at_random(uint64_t *state, uint64_t percent) {
  for (size_t i = 0; i < f.count; i++)
    f.objects[i].lives = unit_random(state) % 100 < percent;
}

/* Each block has a share of its own. */
static void keep_unevenly(uint64_t *state) {
  uint64_t percent[BLOCKS_MOST];
  for (size_t b = 0; b < BLOCKS_MOST; b++)
    percent[b] = unit_random(state) % 4 == 0 ? 0 : unit_random(state) % 101;
  for (size_t i = 0; i < f.count; i++)
    f.objects[i].lives = unit_random(state) % 100 < percent[block_of(f.objects[i].address)];
}

/* All live but what lies in the first blocks: so everything slides by as much, and each destination waits for
   the one before. */
static void keep_above_hole(uint32_t blocks) {
  uint32_t first = block_of(f.objects[0].address);
  for (size_t i = 0; i < f.count; i++)
    f.objects[i].lives = block_of(f.objects[i].address) >= first + blocks;
}

/* All live but an object or two at the very beginning: nearly every block goes to two. */
static void keep_all_but_first(size_t few) {
  for (size_t i = 0; i < f.count; i++)
    f.objects[i].lives = i >= few;
}

static void place_block(uint32_t index) {
  block_map_at(&f.heap->blocks, index)->flags |= BLOCK_PLACED;
}

static void place_at_random(uint64_t *state, unsigned one_in) {
  for (uint32_t i = 0; i < block_map_extent(&f.heap->blocks); i++) {
    if (block_map_spaces(&f.heap->blocks)[i] != BLOCK_MOVABLE) continue;
    if (unit_random(state) % one_in == 0) place_block(i);
  }
}

/* ---- the phases --------------------------------------------------------------------------------------- */

static void mark_survivors(void) {
  const object_bits *bits = &f.heap->bits;
  for (size_t i = 0; i < f.count; i++) {
    if (!f.objects[i].lives) continue;
    REQUIRE(arena_is_start(f.heap, (tsr_ref)f.objects[i].address), "no start bit");
    object_bit_set(bits->marks, object_bit_index(bits, f.objects[i].address));
  }
}

static bool is_movable(uint32_t index) {
  return block_map_spaces(&f.heap->blocks)[index] == BLOCK_MOVABLE;
}

static bool is_placed(uint32_t index) {
  return (block_map_at(&f.heap->blocks, index)->flags & BLOCK_PLACED) != 0;
}

static void measure_and_place(bool fully) {
  bool pinned[BLOCKS_MOST];
  uint32_t extent = block_map_extent(&f.heap->blocks);
  ck_assert_uint_le(extent, BLOCKS_MOST);
  size_t live = 0;
  for (size_t i = 0; i < f.count; i++)
    live += f.objects[i].lives ? f.objects[i].granules : 0;
  for (uint32_t i = 0; i < extent; i++) {
    pinned[i] = is_placed(i);
    if (is_movable(i)) compaction_measure(f.c, i);
  }
  ck_assert_uint_eq(compaction_place(f.c, fully), live * TSR_GRANULE);
  /* Beside pinned blocks only a dense beginning stays. */
  bool beginning = true;
  for (uint32_t i = 0; i < extent; i++) {
    if (!is_movable(i)) continue;
    uint32_t dead = BLOCK_GRANULES - compaction_block(f.c, i)->live;
    bool is_dense = dead < BLOCK_GRANULES / 4;
    if (is_placed(i) && !pinned[i]) ck_assert(beginning && is_dense && !fully);
    if (dead == 0 && beginning && !fully) ck_assert(is_placed(i));
    beginning &= is_placed(i) && is_dense;
  }
}

/* What the model says, into `targets`; returns the number of blocks that are in use afterwards. */
static uint32_t pack(void) {
  uint32_t next = 0, filled = BLOCK_GRANULES, used = 0, current = BLOCK_NONE,
           last_placed = BLOCK_NONE;
  for (size_t i = 0; i < f.count; i++) {
    object *o = &f.objects[i];
    if (!o->lives) continue;
    uint32_t index = block_of(o->address);
    f.targets[i] = o->address;
    if (is_placed(index)) {
      used += index != last_placed;
      last_placed = index;
      continue;
    }
    if (filled + o->granules > BLOCK_GRANULES) {
      while (!is_movable(next) || is_placed(next))
        next++;
      current = next++;
      filled = 0;
      used++;
    }
    f.targets[i] = block_map_start(&f.heap->blocks, current) + (uintptr_t)filled * TSR_GRANULE;
    filled += o->granules;
    REQUIRE(f.targets[i] <= o->address, "an object would go up");
  }
  return used;
}

static void assert_forwards(void) {
  for (size_t i = 0; i < f.count; i++) {
    if (!f.objects[i].lives) continue;
    uintptr_t forward = compaction_forward(f.c, f.objects[i].address);
    REQUIRE(forward == f.targets[i], "object %zu goes to %#zx and should go to %#zx", i,
            (size_t)forward, (size_t)f.targets[i]);
  }
}

static void slide_part(void *context) {
  slide_work(context);
}

static char shadow_memory[(SHADOWS_MOST + 1) * BLOCK_BYTES];

static void prepare_slide(slide *s, unsigned threads, size_t shadows) {
  memset(shadow_memory, 0x5a, sizeof shadow_memory);
  slide_begin(s, shadow_memory, shadows * BLOCK_BYTES + TSR_GRANULE, threads);
  ck_assert_uint_le(s->shadow_count, shadows);
  ck_assert(threads == 1 || shadows == 0 || s->shadow_count > 0);
}

/* No shadow block is lost: what was in one is in its place, and all are free again. */
static void finish_slide(const slide *s) {
  uint64_t all = s->shadow_count == 0 ? 0 : UINT64_MAX >> (64 - s->shadow_count);
  ck_assert_msg(s->shadows_free == all, "of %u shadow blocks these are free: %#llx",
                s->shadow_count, (unsigned long long)s->shadows_free);
  const char *rest = shadow_memory + s->shadow_count * BLOCK_BYTES + TSR_GRANULE;
  size_t bytes = (size_t)(shadow_memory + sizeof shadow_memory - rest);
  ck_assert_msg(rest[0] == 0x5a && memcmp(rest, rest + 1, bytes - 1) == 0,
                "a shadow block that nobody has was written");
  compaction_finish(f.c);
}

static void start_threads(os_thread *threads, unsigned count, slide *s) {
  for (unsigned i = 0; i < count; i++)
    ck_assert(os_thread_start(&threads[i], slide_part, s));
}

static void join_threads(os_thread *threads, unsigned count) {
  for (unsigned i = 0; i < count; i++)
    os_thread_join(&threads[i]);
}

/* Slides with so many threads and shadow blocks; returns how many blocks went by a shadow. */
static uint32_t slide_with(unsigned threads, size_t shadows) {
  slide *s = &f.heap->spaces->slide;
  os_thread others[THREADS_MOST];
  prepare_slide(s, threads, shadows);
  start_threads(others, threads - 1, s);
  slide_work(s);
  join_threads(others, threads - 1);
  finish_slide(s);
  return s->shadowed;
}

static uint32_t lowest_destination(void) {
  uint32_t index = 0;
  while (!compaction_moves(f.heap, index) ||
         compaction_block(f.c, index)->first_source == BLOCK_NONE)
    index++;
  return index;
}

/* Waits until so few destinations are left that only a slow reader can be what keeps them waiting. */
static void await_few_left(slide *s) {
  for (bool few = false; !few; sched_yield()) {
    os_mutex_lock(&s->lock);
    few = s->left <= 3;
    os_mutex_unlock(&s->lock);
  }
}

/* The same, while somebody reads the block of the lowest destination, and takes longer than all the others. */
static uint32_t slide_behind_slow_reader(unsigned threads, size_t shadows) {
  slide *s = &f.heap->spaces->slide;
  os_thread others[THREADS_MOST];
  uint32_t lowest = lowest_destination();
  move_block *m = compaction_block(f.c, lowest);
  m->readers++;
  prepare_slide(s, threads + 1, shadows);
  start_threads(others, threads, s);
  await_few_left(s);
  os_mutex_lock(&s->lock);
  m->readers--;
  if (m->state != SLIDE_TAKEN) { /* else whoever fills its shadow will see that it is free */
    m->next_ready = s->ready;
    s->ready = lowest;
    os_condition_wake_all(&s->changed);
  }
  os_mutex_unlock(&s->lock);
  join_threads(others, threads);
  finish_slide(s);
  return s->shadowed;
}

/* ---- afterwards ---------------------------------------------------------------------------------------- */

/* Every survivor is where the model says, whole; starts are theirs alone; free runs are what is between. */
static void assert_slid(uint32_t used) {
  const object_bits *bits = &f.heap->bits;
  const arena *a = &f.heap->spaces->arenas[ARENA_MOVABLE];
  size_t kept = 0;
  for (size_t i = 0; i < f.count; i++) {
    if (!f.objects[i].lives) continue;
    uintptr_t address = f.targets[i];
    REQUIRE(is_movable(block_of(address)), "the block of object %zu was released", i);
    REQUIRE(is_whole(i, address), "object %zu is not what it was", i);
    REQUIRE(arena_is_start(f.heap, (tsr_ref)address), "object %zu has no start bit", i);
    f.objects[i].address = address;
    f.objects[kept++] = f.objects[i];
  }
  f.count = kept;
  /* What moves may pass a block that stays. */
  qsort(f.objects, f.count, sizeof f.objects[0], by_address);
  uint32_t at_block = 0;
  const char *fault = arena_fault(a, &at_block);
  ck_assert_msg(fault == NULL, "block %u: not so: %s", at_block, fault);
  ck_assert_uint_eq(arena_blocks(a), used);
  size_t at = 0; /* the next survivor */
  for (uint32_t b = 0; b < block_map_extent(&f.heap->blocks); b++) {
    if (!is_movable(b)) continue;
    ck_assert(!is_placed(b));
    uintptr_t start = block_map_start(&f.heap->blocks, b), end = start;
    while (end < start + BLOCK_BYTES) {
      bool object_here = at < f.count && f.objects[at].address == end;
      size_t bit = object_bit_index(bits, end);
      REQUIRE(object_bit_get(bits->starts, bit) == object_here, "start bit at %#zx", (size_t)end);
      REQUIRE(object_bit_get(bits->marks, bit) == !object_here, "mark bit at %#zx", (size_t)end);
      uintptr_t behind = start + BLOCK_BYTES;
      if (object_here) {
        behind = end + (uintptr_t)f.objects[at++].granules * TSR_GRANULE;
      } else if (at < f.count && f.objects[at].address < behind) {
        behind = f.objects[at].address;
      }
      for (end += TSR_GRANULE; end < behind; end += TSR_GRANULE) {
        bit = object_bit_index(bits, end);
        REQUIRE(!object_bit_get(bits->starts, bit) && !object_bit_get(bits->marks, bit),
                "a bit within what begins before %#zx", (size_t)end);
      }
    }
  }
  ck_assert_uint_eq(at, f.count);
}

/* The survivors of one compaction can die in the next; the numbers in them are given anew. */
static void number_anew(void) {
  for (size_t i = 0; i < f.count; i++)
    write_object(i);
}

static uint32_t compact(bool fully, unsigned threads, size_t shadows) {
  mark_survivors();
  measure_and_place(fully);
  uint32_t used = pack();
  assert_forwards();
  uint32_t shadowed = slide_with(threads, shadows);
  assert_slid(used);
  ck_assert_int_eq(tsr_heap_verify(f.m, NULL), TSR_OK);
  number_anew();
  return shadowed;
}

/* ---- tests ----------------------------------------------------------------------------------------------- */

static const struct {
  unsigned threads;
  size_t shadows;
} movers[] = {{1, 0}, {1, 8}, {2, 0}, {2, 1}, {2, 8}, {3, 2}, {8, 0}, {8, 1}, {8, 40}};
#define MOVERS (sizeof movers / sizeof movers[0])

/* Again and again, out of what is left of it, until the heap is empty. */
START_TEST(random_survivors_slide_together) {
  uint64_t state = 1717u + (unsigned)_i;
  open_full(60, 60, &state);
  for (unsigned round = 0; f.count > 0; round++) {
    keep_at_random(&state, round == 0 ? 97 : round < 6 ? 70 : 20);
    compact(round % 2 == 0, movers[_i].threads, movers[_i].shadows);
  }
  close_full();
}
END_TEST

/* Objects of up to a quarter of a block leave larger gaps, and blocks with nothing alive are skipped. */
START_TEST(blocks_are_left_by_the_way) {
  uint64_t state = 2929u + (unsigned)_i;
  for (unsigned round = 0; round < 2; round++) {
    open_full(120, round % 2 == 0 ? 1024 : 200, &state);
    keep_unevenly(&state);
    compact(round % 2 == 0, movers[_i].threads, movers[_i].shadows);
    keep_unevenly(&state);
    compact(true, movers[_i].threads, movers[_i].shadows);
    close_full();
  }
}
END_TEST

/* Without shadow blocks each destination is filled in its place; a thread that is alone never needs one. */
START_TEST(a_chain_of_blocks_slides) {
  uint64_t state = 3131u + (unsigned)_i;
  uint32_t shadowed = 0;
  for (uint32_t hole = 1; hole < 4; hole++) {
    open_full(40, 30, &state);
    keep_above_hole(hole);
    shadowed += compact(true, movers[_i].threads, movers[_i].shadows);
    close_full();
  }
  bool may = movers[_i].threads > 1 && movers[_i].shadows > 0;
  ck_assert_msg(may || shadowed == 0, "%u blocks went by shadows", shadowed);
}
END_TEST

/* What cannot go to its place goes to a shadow block, however few there are, and from there to its place. */
START_TEST(shadow_blocks_hold_what_waits) {
  uint64_t state = 8181u + (unsigned)_i;
  unsigned threads = 1 + (unsigned)_i % 4;
  for (uint32_t hole = 1; hole < 4; hole++) {
    for (size_t shadows = 2; shadows < 12; shadows += 6) {
      open_full(50, 30, &state);
      keep_above_hole(hole);
      mark_survivors();
      measure_and_place(true);
      uint32_t used = pack();
      ck_assert_uint_gt(slide_behind_slow_reader(threads, shadows), 0);
      assert_slid(used);
      ck_assert_int_eq(tsr_heap_verify(f.m, NULL), TSR_OK);
      close_full();
    }
  }
}
END_TEST

START_TEST(every_block_goes_to_two) {
  uint64_t state = 4141u + (unsigned)_i;
  for (size_t few = 1; few < 6; few += 2) {
    open_full(60, 80, &state);
    keep_all_but_first(few * few);
    mark_survivors();
    measure_and_place(true);
    uint32_t used = pack(), two = 0;
    assert_forwards();
    for (uint32_t i = 0; i < block_map_extent(&f.heap->blocks); i++) {
      if (is_movable(i)) two += compaction_block(f.c, i)->second_destination != BLOCK_NONE;
    }
    ck_assert_msg(two >= 50, "%u of %u blocks go to two", two, f.blocks);
    slide_with(movers[_i].threads, movers[_i].shadows);
    assert_slid(used);
    ck_assert_int_eq(tsr_heap_verify(f.m, NULL), TSR_OK);
    close_full();
  }
}
END_TEST

/* What lies in them stays, what is dead there becomes free runs, and what moves passes over them. */
START_TEST(blocks_that_stay_lie_between) {
  uint64_t state = 5151u + (unsigned)_i;
  for (unsigned round = 0; round < 4; round += 3) {
    open_full(90, 100, &state);
    for (unsigned again = 0; again < 4; again++) {
      keep_at_random(&state, again == 0 ? 90 : 60);
      place_at_random(&state, 2 + round);
      compact(again % 2 == 0, movers[_i].threads, movers[_i].shadows);
    }
    close_full();
  }
}
END_TEST

START_TEST(a_heap_where_all_or_nothing_lives) {
  uint64_t state = 6161u + (unsigned)_i;
  open_full(40, 50, &state);
  for (unsigned round = 0; round < 2; round++) {
    keep_at_random(&state, 100);
    size_t count = f.count;
    compact(round == 0, movers[_i].threads, movers[_i].shadows);
    ck_assert_uint_eq(f.count, count);
  }
  keep_at_random(&state, 0);
  compact(true, movers[_i].threads, movers[_i].shadows);
  ck_assert_uint_eq(f.count, 0);
  close_full();
}
END_TEST

/* A free run that begins a block belongs to it: a block whose first objects died hands out their place. */
START_TEST(a_hole_in_front_of_what_stays_is_of_use) {
  uint64_t state = 7171;
  open_full(4, 40, &state);
  keep_above_hole(0);
  uint32_t first = block_of(f.objects[0].address);
  for (size_t i = 0; i < 20; i++)
    f.objects[i].lives = false;
  uintptr_t hole = f.objects[0].address, end = f.objects[20].address;
  place_block(first);
  compact(true, 1, 0);
  bump_buffer buffer;
  arena *a = &f.heap->spaces->arenas[ARENA_MOVABLE];
  ck_assert(arena_take(a, end - hole, end - hole, MEMORY_WITHIN_SIZE, NULL, &buffer));
  ck_assert(arena_retire(a, buffer) == 0);
  ck_assert_int_eq(tsr_heap_verify(f.m, NULL), TSR_OK);
  close_full();
}
END_TEST

int main(void) {
  Suite *suite = suite_create("compaction");
  TCase *tests = tcase_create("slide");
  tcase_set_timeout(tests, 0);
  tcase_add_loop_test(tests, random_survivors_slide_together, 0, (int)MOVERS);
  tcase_add_loop_test(tests, blocks_are_left_by_the_way, 0, (int)MOVERS);
  tcase_add_loop_test(tests, a_chain_of_blocks_slides, 0, (int)MOVERS);
  tcase_add_loop_test(tests, shadow_blocks_hold_what_waits, 0, 4);
  tcase_add_loop_test(tests, every_block_goes_to_two, 0, (int)MOVERS);
  tcase_add_loop_test(tests, blocks_that_stay_lie_between, 0, (int)MOVERS);
  tcase_add_loop_test(tests, a_heap_where_all_or_nothing_lives, 0, (int)MOVERS);
  tcase_add_test(tests, a_hole_in_front_of_what_stays_is_of_use);
  suite_add_tcase(suite, tests);
  return unit_run(suite);
}
