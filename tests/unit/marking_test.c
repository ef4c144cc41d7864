/*
 * F18, A001-02, A001-05, A001-08, A001-13. What marking writes: a start bit for each object, a mark bit for each that is reached,
 * and an entry of the log for each that waits to be scanned; and the colours of old objects, through all that happens to them.
 * How long it takes, what is live then, and how it is swept.
 */
#include <string.h>

#include "core/alloc/mutator.h"
#include "core/heap/heap.h"
#include "core/object/header.h"
#include "core/space/spaces.h"
#include "core/trace/marking.h"
#include "core/trace/queue.h"
#include "core/trace/remembered.h"
#include "tests/unit/unit.h"

typedef struct fixture {
  tsr_heap *heap;
  tsr_mutator *m;
  tsr_slot root;
  void (*when_traced)(void);
} fixture;

static fixture f;

static bool process_weak(void *vm, tsr_weak_phase *phase) {
  (void)vm;
  (void)phase;
  if (f.when_traced != NULL) f.when_traced();
  return false;
}

static const tsr_binding binding = {TSR_BINDING_HEADER,
                                    .name = "unit",
                                    .does = TSR_DOES_SAFEPOINTS | TSR_DOES_UPDATABLE_SLOTS |
                                            TSR_DOES_WRITE_BARRIER,
                                    .layouts = unit_layouts,
                                    .layout_count = 2,
                                    .process_weak = process_weak};

static void fixture_open_team(const char *young, const char *stress, const char *threads) {
  const char *const settings[][2] = {{"plan", "quadcolor"},
                                     {"heap_max", "32M"},
                                     {"threads", threads},
                                     {"nursery", young},
                                     {"stress", stress}};
  tsr_error error = {0};
  tsr_options *options = tsr_options_create();
  for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
    ck_assert_int_eq(tsr_options_set(options, settings[i][0], settings[i][1], &error), TSR_OK);
  f = (fixture){.heap = tsr_heap_create(&binding, &f, options, &error)};
  ck_assert_msg(f.heap != NULL, "%s", error.message);
  tsr_options_destroy(options);
  f.m = tsr_bind_mutator(f.heap, &f, &error);
  ck_assert_msg(f.m != NULL, "%s", error.message);
  ck_assert_int_eq(tsr_root_add(f.heap, &f.root, 1, TSR_ROOT_PRECISE, "root", NULL), TSR_OK);
}

static void fixture_open(const char *young, const char *stress) {
  fixture_open_team(young, stress, "1");
}

static void fixture_close(void) {
  ck_assert_int_eq(tsr_root_remove(f.heap, &f.root, NULL), TSR_OK);
  ck_assert_int_eq(tsr_unbind_mutator(f.m, NULL), TSR_OK);
  ck_assert_int_eq(tsr_heap_destroy(f.heap, NULL), TSR_OK);
}

/* An assertion writes to a file; this is asked too often for that. */
static void *there_is(void *memory) {
  if (memory != NULL) return memory;
  ck_abort_msg("no memory");
  abort();
}

static unit_pair *new_pair(void) {
  unit_pair *pair = there_is(tsr_alloc_default(f.m, sizeof *pair));
  pair->header = TSR_HEADER(PAIR);
  return pair;
}

static void *new_old(size_t bytes, unsigned kind, tsr_semantics flags) {
  tsr_semantics semantics = TSR_NON_MOVING | flags;
  uint64_t *memory = there_is(tsr_alloc(f.m, bytes, 8, 0, semantics));
  memory[0] = TSR_HEADER(kind);
  if (kind == ARRAY) memory[1] = (bytes - sizeof(unit_array)) / sizeof(tsr_slot);
  ck_assert_int_eq(tsr_post_alloc(f.m, (tsr_ref)(void *)memory, bytes, semantics), TSR_OK);
  return memory;
}

/* Option `nursery`. */
static const char *const forms[] = {"128K", "0"};

/* ---- the bits of one block ------------------------------------------------------------------------------- */

#define PAIRS 60u

/* What begins at a granule, in the two bits of the bitmaps: a start bit, a mark bit. */
enum { NOTHING = 0, UNREACHED = 1, FREE = 2, REACHED = 3 };

static unit_pair *pairs[PAIRS];

static uint32_t block_of(const void *object) {
  return block_map_index(&f.heap->blocks, (uintptr_t)object);
}

static unsigned bits_at(uintptr_t address) {
  const object_bits *bits = &f.heap->bits;
  size_t index = object_bit_index(bits, address);
  return (unsigned)object_bit_get(bits->starts, index) |
         (unsigned)object_bit_get(bits->marks, index) << 1;
}

/* How many granules of a block something begins at, by what that is. */
static void count_bits(uint32_t index, size_t counts[4]) {
  memset(counts, 0, 4 * sizeof counts[0]);
  uintptr_t start = block_map_start(&f.heap->blocks, index);
  for (size_t i = 0; i < BLOCK_GRANULES; i++)
    counts[bits_at(start + i * TSR_GRANULE)]++;
}

/* Every other pair is reached. */
static void pairs_are_marked(void) {
  for (size_t i = 0; i < PAIRS; i++)
    ck_assert_uint_eq(bits_at((uintptr_t)pairs[i]), i % 2 == 0 ? REACHED : UNREACHED);
}

/* Allocating sets no bit; retiring the buffer sets a start bit for each object, and one mark bit where what is free begins;
   marking sets a mark bit for each object that is reached; and the sweep joins what is not with what is free. */
START_TEST(a001_02_a_bit_for_each_object) {
  size_t before[4], counts[4];
  fixture_open("0", "0");
  pairs[0] = new_pair();
  count_bits(block_of(pairs[0]), before);
  for (size_t i = 1; i < PAIRS; i++) {
    pairs[i] = new_pair();
    ck_assert_uint_eq(block_of(pairs[i]), block_of(pairs[0]));
    ck_assert_ptr_eq(pairs[i], pairs[i - 1] + 1);
  }
  count_bits(block_of(pairs[0]), counts);
  ck_assert_int_eq(memcmp(counts, before, sizeof counts), 0);

  ck_assert_int_eq(tsr_heap_verify(f.m, NULL), TSR_OK); /* which retires buffers */
  count_bits(block_of(pairs[0]), counts);
  ck_assert_uint_eq(counts[UNREACHED], PAIRS);
  ck_assert_uint_eq(counts[FREE], 1);
  ck_assert_uint_eq(counts[REACHED], 0);
  for (size_t i = 0; i < PAIRS; i++)
    ck_assert_uint_eq(bits_at((uintptr_t)pairs[i]), UNREACHED);
  uintptr_t rest = (uintptr_t)(pairs[PAIRS - 1] + 1);
  ck_assert_uint_eq(bits_at(rest), FREE);
  uintptr_t end = block_map_start(&f.heap->blocks, block_of(pairs[0])) + BLOCK_BYTES;
  ck_assert_uint_eq(arena_free_bytes(&f.heap->spaces->arenas[ARENA_PROMOTED]), end - rest);

  for (size_t i = 0; i + 2 < PAIRS; i += 2)
    pairs[i]->first.word = (uint64_t)(uintptr_t)pairs[i + 2];
  f.root.word = (uint64_t)(uintptr_t)pairs[0];
  f.when_traced = pairs_are_marked;
  ck_assert_int_eq(tsr_collect(f.m, NULL), TSR_OK);
  f.when_traced = NULL;
  count_bits(block_of(pairs[0]), counts);
  ck_assert_uint_eq(counts[UNREACHED], PAIRS / 2);
  ck_assert_uint_eq(counts[FREE], PAIRS / 2); /* the last one is joined with the rest */
  ck_assert_uint_eq(counts[REACHED], 0);
  fixture_close();
}
END_TEST

/* ---- the log ----------------------------------------------------------------------------------------------- */

#define TABLE  300u
#define ROUNDS 20000u

static int by_address(const void *a, const void *b) {
  uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;
  return x < y ? -1 : x > y;
}

/* The objects that wait for a step; those that were scanned in part lie over the positions to resume at. */
static size_t gray_objects(uintptr_t *objects, size_t most) {
  size_t count = 0;
  bool is_position = false;
  for (const log_chunk *chunk = f.heap->marking->gray.first; chunk != NULL; chunk = chunk->next) {
    for (size_t i = chunk->count; i-- > 0;) {
      uintptr_t word = chunk->words[i];
      bool was_position = is_position;
      is_position = !was_position && (word & QUEUE_RESUMES) != 0;
      if (was_position || is_position) continue;
      if (count == most) ck_abort_msg("more than %zu objects wait", most);
      objects[count++] = word;
    }
  }
  return count;
}

static unit_array *table(void) {
  return (unit_array *)(uintptr_t)f.root.word;
}

static const char *const teams[] = {"1", "4"};

/* Pairs refer to others at random, so that there are many ways to each, and are stored into all the time. A step is one worker's
   or several workers'; what they leave waits for the next one. */
START_TEST(a001_08_no_object_waits_twice) {
  static uintptr_t gray[100000];
  uint64_t random = 77;
  size_t most = 0;
  fixture_open_team(forms[_i % 2], "16K", teams[_i / 2]);
  f.root.word =
      (uint64_t)(uintptr_t)new_old(sizeof(unit_array) + TABLE * sizeof(tsr_slot), ARRAY, 0);
  for (unsigned round = 0; round < ROUNDS; round++) {
    unit_pair *fresh = new_pair();
    tsr_slot *place = &table()->slots[unit_random(&random) % TABLE];
    fresh->first.word = table()->slots[unit_random(&random) % TABLE].word;
    fresh->second.word = round % 4 == 0 ? place->word : 0;
    tsr_write(f.m, (tsr_ref)table(), place, (uint64_t)(uintptr_t)fresh);
    unit_pair *other = (unit_pair *)(uintptr_t)table()->slots[unit_random(&random) % TABLE].word;
    if (other != NULL) {
      uint64_t word = table()->slots[unit_random(&random) % TABLE].word;
      tsr_write(f.m, (tsr_ref)other, &other->first, word);
    }
    if (!heap_is_marking(f.heap)) continue;
    size_t count = gray_objects(gray, sizeof gray / sizeof gray[0]);
    qsort(gray, count, sizeof gray[0], by_address);
    for (size_t i = 1; i < count; i++) {
      if (gray[i] == gray[i - 1]) ck_abort_msg("round %u: an object waits twice", round);
    }
    if (count > most) most = count;
  }
  ck_assert_uint_gt(most, TABLE / 4);
  ck_assert_uint_eq(f.heap->marking->step_workers, _i / 2 == 0 ? 1 : 4);
  fixture_close();
}
END_TEST

/* ---- how fast ---------------------------------------------------------------------------------------------- */

static void assert_near(double value, double expected) {
  ck_assert_msg(value > 0.99 * expected && value < 1.01 * expected, "%f instead of %f", value,
                expected);
}

static double bytes_to_mark(void) {
  return (double)f.heap->blocks.used_blocks * BLOCK_BYTES - (double)heap_gap_bytes(f.heap);
}

/* A megabyte, of which the last cycle had a turn for each KiB, and took 1 ns for each byte. In this one turns take twice as
   long, which is believed after a sixteenth of them; or half as long, which is not. */
START_TEST(a_cycle_takes_as_long_as_its_turns) {
  fixture_open("0", "0");
  new_old(1 << 20, ARRAY, TSR_LARGE);
  struct marking *m = f.heap->marking;
  double bytes = bytes_to_mark();
  m->ns_per_byte = 1;
  m->turns_per_byte = 1.0 / 1024;
  assert_near(marking_whole_ns(f.heap), bytes);
  marking_begin(f.heap);
  m->spent_turns = (uint64_t)(bytes / 1024 / 16) - 1;
  m->spent_cpu_ns = 2048 * m->spent_turns;
  assert_near(marking_whole_ns(f.heap), bytes);
  m->spent_turns += 2;
  m->spent_cpu_ns = 2048 * m->spent_turns;
  assert_near(marking_whole_ns(f.heap), 2 * bytes);
  m->spent_cpu_ns /= 4;
  assert_near(marking_whole_ns(f.heap), bytes);
  marking_abandon(f.heap);
  assert_near(marking_whole_ns(f.heap), bytes);
  fixture_close();
}
END_TEST

/* So much is there to be marked that the heap can stretch until it is done in steps of so many goals. */
static void make_work(unsigned goals) {
  size_t most = heap_blocks_within(f.heap, (size_t)heap_stretched_bytes(f.heap));
  double steps = (double)(most - spaces_marked_blocks(f.heap)) * BLOCK_BYTES / (512 << 10) - 1;
  double ns = goals * (double)f.heap->options.values.pause_goal * steps;
  double bytes = bytes_to_mark();
  f.heap->marking->ns_per_byte = ns / bytes;
}

/* Two goals; or, where half of what was left is used up and the heap cannot stretch for as long as it takes in steps of two, four
   of all workers together; less what the pause has taken. */
START_TEST(what_is_late_has_goals_for_all_workers_together) {
  fixture_open("0", "0");
  new_pair();
  struct marking *m = f.heap->marking;
  uint64_t goal_ns = f.heap->options.values.pause_goal;
  size_t room = heap_blocks_within(f.heap, os_atomic_load(&f.heap->limit_bytes));
  marking_begin(f.heap);
  m->cycle_room = 12 * room;
  ck_assert_uint_eq(marking_budget_ns(f.heap, 0, 1), 2 * goal_ns);
  ck_assert_uint_eq(marking_budget_ns(f.heap, goal_ns / 2, 1), 2 * goal_ns - goal_ns / 2);
  ck_assert_uint_eq(marking_budget_ns(f.heap, 0, 2), 2 * goal_ns);
  m->cycle_room = 24 * room;
  ck_assert_uint_eq(marking_budget_ns(f.heap, 0, 1), 2 * goal_ns);
  make_work(3);
  ck_assert_uint_eq(marking_budget_ns(f.heap, 0, 1), 4 * goal_ns);
  ck_assert_uint_eq(marking_budget_ns(f.heap, goal_ns, 1), 3 * goal_ns);
  ck_assert_uint_eq(marking_budget_ns(f.heap, 0, 2), 2 * goal_ns);
  make_work(5);
  ck_assert_uint_eq(marking_budget_ns(f.heap, 0, 2), 2 * goal_ns);
  marking_abandon(f.heap);
  fixture_close();
}
END_TEST

/* ---- what is live ------------------------------------------------------------------------------------------ */

#define LIVE_PAIRS 100000u

/* Old objects, and what the heap needs beside them. */
static size_t needed_bytes(void) {
  const memory_account *account = &f.heap->account;
  size_t blocks_bytes = os_atomic_load(&account->by_type[MEMORY_BLOCKS].bytes);
  return spaces_marked_blocks(f.heap) * BLOCK_BYTES - (size_t)heap_gap_bytes(f.heap) +
         os_atomic_load(&account->total.bytes) - blocks_bytes;
}

/* Makes a list of so many pairs, and nothing that lasts from then on. However slow the machine is, no cycle is late, so that nothing
   is swept in the pause of its remark. */
static void until_sweeping(size_t pairs_in_list) {
  f.heap->options.values.pause_goal = UINT64_C(60000000000);
  for (size_t i = 0; i < pairs_in_list; i++) {
    unit_pair *pair = new_pair();
    pair->first.word = f.root.word;
    f.root.word = (uint64_t)(uintptr_t)pair;
  }
  while (!heap_is_sweeping(f.heap))
    new_pair();
}

/* The room for the next cycle is chosen when everything is swept. What was given meanwhile takes of it, and does not count as
   live. */
START_TEST(what_comes_during_a_sweep_is_not_live) {
  fixture_open("0", "0");
  until_sweeping(LIVE_PAIRS);
  uint64_t begin = os_atomic_load(&f.heap->bytes_allocated);
  while (heap_is_sweeping(f.heap))
    new_pair();
  uint64_t given = os_atomic_load(&f.heap->bytes_allocated) - begin;
  size_t live_bytes = os_atomic_load(&f.heap->sizing.live_bytes);
  ck_assert_uint_ge(given, 8 * BLOCK_BYTES);
  ck_assert_uint_ge(live_bytes, LIVE_PAIRS * sizeof(unit_pair));
  ck_assert_uint_le(live_bytes, needed_bytes() - given / 4);
  ck_assert(heap_fits_now(f.heap, 1, 0));
  fixture_close();
}
END_TEST

/* ---- the sweep -------------------------------------------------------------------------------------------- */

#define SWEPT_PAIRS 400000u
#define SHARES      6u

static size_t unswept_blocks(void) {
  size_t count = 0;
  for (unsigned i = 0; i < ARENAS; i++) {
    uint32_t index = f.heap->spaces->arenas[i].unswept;
    for (; index != BLOCK_NONE; index = block_map_at(&f.heap->blocks, index)->next)
      count++;
  }
  return count;
}

static size_t swept_by_share(size_t bytes) {
  size_t before = unswept_blocks();
  marking_sweep_share(f.heap, bytes);
  return before - unswept_blocks();
}

/* Who takes memory sweeps eight blocks for each block of it, and never more than for 32. Whatever is swept by then, a collection of
   everything, the verifier and the program find a sound heap. */
START_TEST(a001_13_a_share_of_a_sweep_is_bounded) {
  unsigned shares = (unsigned)_i % SHARES;
  fixture_open("0", "0");
  until_sweeping(SWEPT_PAIRS);
  for (unsigned i = 0; i < shares; i++)
    ck_assert_uint_eq(swept_by_share(1), 8);
  if (shares > 3) ck_assert_uint_eq(swept_by_share(3 * BLOCK_BYTES), 24);
  if (shares > 4) ck_assert_uint_eq(swept_by_share(1 << 30), 256);
  ck_assert_uint_gt(unswept_blocks(), 0);
  if ((unsigned)_i >= SHARES) ck_assert_int_eq(tsr_collect(f.m, NULL), TSR_OK);
  ck_assert_int_eq(tsr_heap_verify(f.m, NULL), TSR_OK);
  ck_assert_uint_eq(unswept_blocks(), 0);
  size_t count = 0;
  for (uint64_t word = f.root.word; word != 0; count++)
    word = ((unit_pair *)(uintptr_t)word)->first.word;
  ck_assert_uint_eq(count, SWEPT_PAIRS);
  for (unsigned i = 0; i < SWEPT_PAIRS; i++)
    new_pair();
  fixture_close();
}
END_TEST

#define STORED_MOST (LOG_CHUNK_WORDS + 1)

static size_t stored_by(const tsr_mutator *m) {
  size_t count = 0;
  for (const log_chunk *chunk = m->private_part->stored.first; chunk != NULL; chunk = chunk->next)
    count += chunk->count;
  return count;
}

static unit_pair *nth_pair(size_t i) {
  return (unit_pair *)(uintptr_t)table()->slots[i].word;
}

/* The mutator's log has as many entries as there are places, or one less or more. A minor collection looks at what each
   names, whether the mutator is still there or has gone; then it is empty. */
START_TEST(a001_10_each_mutator_has_a_log) {
  size_t count = LOG_CHUNK_WORDS - 1 + (unsigned)_i / 2;
  bool goes = _i % 2 == 1;
  int other_thread;
  fixture_open("128K", "0");
  f.root.word =
      (uint64_t)(uintptr_t)new_old(sizeof(unit_array) + STORED_MOST * sizeof(tsr_slot), ARRAY, 0);
  for (size_t i = 0; i < count; i++)
    tsr_write(f.m, (tsr_ref)table(), &table()->slots[i],
              (uint64_t)(uintptr_t)new_old(sizeof(unit_pair), PAIR, 0));
  ck_assert_int_eq(tsr_collect(f.m, NULL), TSR_OK); /* which arms them */

  tsr_mutator *other = tsr_bind_mutator(f.heap, &other_thread, NULL);
  ck_assert_ptr_nonnull(other);
  for (size_t i = 0; i < count; i++) {
    unit_pair *young = new_pair();
    young->first.word = (uint64_t)(uintptr_t)nth_pair(i);
    tsr_write(other, (tsr_ref)nth_pair(i), &nth_pair(i)->first, (uint64_t)(uintptr_t)young);
    tsr_write(other, (tsr_ref)nth_pair(i), &nth_pair(i)->second, (uint64_t)(uintptr_t)nth_pair(i));
  }
  ck_assert_uint_eq(stored_by(other), count);
  ck_assert_uint_eq(stored_by(f.m), 0);
  if (goes) {
    ck_assert_int_eq(tsr_unbind_mutator(other, NULL), TSR_OK);
  } else {
    tsr_enter_native(other);
  }
  tsr_stats now = {.size = sizeof now};
  do {
    (void)new_pair();
    ck_assert_int_eq(tsr_heap_stats(f.heap, &now, NULL), TSR_OK);
  } while (now.minor_collections == 0);
  ck_assert_uint_eq(now.barrier_slow, count);
  if (!goes) ck_assert_uint_eq(stored_by(other), 0);
  ck_assert_int_eq(tsr_heap_verify(f.m, NULL), TSR_OK);
  for (size_t i = 0; i < count; i++) {
    const unit_pair *child = (const unit_pair *)(uintptr_t)nth_pair(i)->first.word;
    ck_assert_uint_eq(child->first.word, (uint64_t)(uintptr_t)nth_pair(i));
  }
  if (!goes) {
    tsr_leave_native(other);
    ck_assert_int_eq(tsr_unbind_mutator(other, NULL), TSR_OK);
  }
  fixture_close();
}
END_TEST

/* ---- colours ------------------------------------------------------------------------------------------------- */

/* As docs/design/quadcolor.md has them. */
enum colour { WHITE, LIGHT_GRAY, BLACK, DARK_GRAY, COLOURS };

/* A chain so long that its end is reached some steps later than what hangs on the root itself. */
#define CHAIN 4000u

/* Two old pairs with a referrer each, and two leaves. While a cycle is young the early ones are marked, the late ones are not. */
typedef struct scene {
  unit_pair *early, *late;
  unit_pair *early_leaf, *late_leaf;
  unit_array *early_holder, *late_holder;
} scene;

static bool is_young_form(void) {
  return f.heap->plan->generational;
}

static tsr_stats stats(void) {
  tsr_stats result = {.size = sizeof result};
  ck_assert_int_eq(tsr_heap_stats(f.heap, &result, NULL), TSR_OK);
  return result;
}

static bool is_marked(const unit_pair *pair) {
  return (bits_at((uintptr_t)pair) & FREE) != 0;
}

static enum colour colour_of(const unit_pair *pair) {
  bool armed = header_is_armed(header_load((tsr_ref)(uintptr_t)pair));
  return is_marked(pair) ? (armed ? BLACK : DARK_GRAY) : (armed ? WHITE : LIGHT_GRAY);
}

static bool is_logged(const unit_pair *pair) {
  return (header_gc_byte(header_load((tsr_ref)(uintptr_t)pair)) & GC_LOGGED) != 0;
}

static void store(void *object, tsr_slot *slot, const void *value) {
  tsr_write(f.m, (tsr_ref)object, slot, (uint64_t)(uintptr_t)value);
}

/* A pair and a leaf in an array of their own on top of the root's. */
static unit_array *hang(unit_array *root, size_t place, unit_pair **pair, unit_pair **leaf) {
  unit_array *holder = new_old(sizeof *holder + 2 * sizeof(tsr_slot), ARRAY, 0);
  store(root, &root->slots[place], holder);
  *pair = new_old(sizeof **pair, PAIR, 0);
  store(holder, &holder->slots[0], *pair);
  *leaf = new_old(sizeof **leaf, PAIR, TSR_LEAF);
  store(holder, &holder->slots[1], *leaf);
  return holder;
}

static scene scene_open(const char *young) {
  scene s;
  fixture_open(young, "8K");
  unit_array *root = new_old(sizeof *root + 3 * sizeof(tsr_slot), ARRAY, 0);
  f.root.word = (uint64_t)(uintptr_t)root;
  s.early_holder = hang(root, 0, &s.early, &s.early_leaf);
  s.late_holder = hang(root, 1, &s.late, &s.late_leaf);
  store(root, &root->slots[1], NULL);
  const void *next = s.late_holder;
  for (unsigned i = 0; i < CHAIN; i++) {
    unit_pair *link = new_old(sizeof *link, PAIR, 0);
    store(link, &link->first, next);
    next = link;
    store(root, &root->slots[2], link);
  }
  return s;
}

static tsr_stats then;

static bool paused(const scene *s) {
  (void)s;
  tsr_stats now = stats();
  return now.increments != then.increments || now.collections != then.collections;
}

static bool collected_young(const scene *s) {
  (void)s;
  return stats().minor_collections != then.minor_collections;
}

static bool cycle_ended(const scene *s) {
  (void)s;
  return stats().cycles != then.cycles;
}

static bool cycle_is_young(const scene *s) {
  return heap_is_marking(f.heap) && colour_of(s->early) == BLACK && colour_of(s->late) == WHITE;
}

static void wait_for(bool (*condition)(const scene *s), const scene *s, const char *what) {
  then = stats();
  for (unsigned i = 0; !condition(s); i++) {
    if (i > 1000000) ck_abort_msg("%s is never so", what);
    (void)new_pair();
  }
}

/* A pair of this colour, with its holder. */
static unit_pair *make(const scene *s, enum colour colour, unit_array **holder) {
  wait_for(cycle_ended, s, "a cycle's end");
  wait_for(cycle_is_young, s, "an early cycle");
  bool marked = colour == BLACK || colour == DARK_GRAY;
  unit_pair *pair = marked ? s->early : s->late;
  *holder = marked ? s->early_holder : s->late_holder;
  if (colour == LIGHT_GRAY || colour == DARK_GRAY) store(pair, &pair->second, *holder);
  ck_assert_int_eq(colour_of(pair), colour);
  return pair;
}

/* A store: an armed object becomes gray and is logged, once; a gray one stays as it is. */
static void colour_is_stored_into(const scene *s, enum colour colour) {
  static const enum colour after[] = {LIGHT_GRAY, LIGHT_GRAY, DARK_GRAY, DARK_GRAY};
  unit_array *holder;
  unit_pair *pair = make(s, colour, &holder);
  bool was_armed = colour == WHITE || colour == BLACK;
  ck_assert_int_eq(is_logged(pair), !was_armed);
  uint64_t slow = stats().barrier_slow;
  for (unsigned i = 0; i < 3; i++) {
    store(pair, &pair->second, i == 1 ? NULL : (const void *)holder);
    ck_assert_int_eq(colour_of(pair), after[colour]);
    ck_assert(is_logged(pair));
  }
  ck_assert_uint_eq(stats().barrier_slow - slow, was_armed ? 1 : 0);
}

/* A pause that reads the log: who is marked is armed again. With a nursery all are, for the young are looked at; without one
   what is not marked waits for its scan. */
static void colour_is_paused_upon(const scene *s, enum colour colour) {
  unit_array *holder;
  const unit_pair *pair = make(s, colour, &holder);
  wait_for(is_young_form() ? collected_young : paused, s, "a pause");
  ck_assert(!is_logged(pair));
  if (!heap_is_marking(f.heap)) return; /* the cycle has ended in it */
  enum colour now = colour_of(pair);
  ck_assert_int_ne(now, DARK_GRAY);
  if (colour == BLACK || colour == DARK_GRAY) ck_assert_int_eq(now, BLACK);
  if (is_young_form() || colour == WHITE) ck_assert_int_ne(now, LIGHT_GRAY);
}

/* A store of what is young: gray until that is old, or dead. */
static void colour_gets_young(const scene *s, enum colour colour) {
  unit_array *holder;
  unit_pair *pair = make(s, colour, &holder);
  store(pair, &pair->first, new_pair());
  unsigned collections = 0;
  do {
    ck_assert(is_logged(pair));
    wait_for(collected_young, s, "a minor collection");
    collections++;
    uint64_t child = pair->first.word;
    bool is_old = block_space_stays(block_map_space_of(&f.heap->blocks, child));
    ck_assert_int_eq(is_logged(pair), !is_old);
    if (is_old) break;
  } while (collections < 4);
  ck_assert_uint_eq(collections, 2); /* it has aged */
  store(pair, &pair->first, NULL);
}

/* The last reference goes, and so does the object. */
static void drop(const scene *s, const unit_pair *pair, unit_array *holder, size_t place) {
  tsr_slot *weak = tsr_handle_new(f.heap, (uint64_t)(uintptr_t)pair, TSR_WEAK, NULL);
  ck_assert_ptr_nonnull(weak);
  ck_assert_uint_eq(holder->slots[place].word, (uint64_t)(uintptr_t)pair);
  store(holder, &holder->slots[place], NULL);
  for (unsigned i = 0; i < (is_young_form() ? 4u : 2u); i++)
    wait_for(cycle_ended, s, "a cycle's end");
  ck_assert_uint_eq(weak->word, 0);
  ck_assert_int_eq(tsr_handle_free(f.heap, weak, NULL), TSR_OK);
}

static void colour_dies(const scene *s, enum colour colour) {
  unit_array *holder;
  const unit_pair *pair = make(s, colour, &holder);
  drop(s, pair, holder, 0);
}

static void (*const events[])(const scene *s, enum colour colour) = {
    colour_is_stored_into, colour_is_paused_upon, colour_gets_young, colour_dies};
#define EVENTS (sizeof events / sizeof events[0])

START_TEST(a001_05_every_colour_meets_every_event) {
  unsigned form = (unsigned)_i % 2, event = (unsigned)_i / 2 % EVENTS;
  enum colour colour = (enum colour)((unsigned)_i / 2 / EVENTS);
  if (form == 1 && events[event] == colour_gets_young) return; /* nothing is young */
  scene s = scene_open(forms[form]);
  events[event](&s, colour);
  ck_assert_int_eq(tsr_heap_verify(f.m, NULL), TSR_OK);
  fixture_close();
}
END_TEST

/* A leaf is marked, or not; it is in no log. */
START_TEST(a001_05_leaves_are_marked_or_not) {
  bool early = _i / 2 == 0;
  scene s = scene_open(forms[_i % 2]);
  for (unsigned round = 0; round < 10; round++) {
    wait_for(cycle_ended, &s, "a cycle's end");
    wait_for(cycle_is_young, &s, "an early cycle");
    ck_assert(is_marked(s.early_leaf));
    ck_assert(!is_marked(s.late_leaf));
    while (heap_is_marking(f.heap)) {
      wait_for(paused, &s, "a pause");
      ck_assert(!is_logged(s.early_leaf) && !is_logged(s.late_leaf));
      if (heap_is_marking(f.heap)) ck_assert(is_marked(s.early_leaf));
    }
  }
  wait_for(cycle_is_young, &s, "an early cycle");
  drop(&s, early ? s.early_leaf : s.late_leaf, early ? s.early_holder : s.late_holder, 1);
  ck_assert_int_eq(tsr_heap_verify(f.m, NULL), TSR_OK);
  fixture_close();
}
END_TEST

/* A sealed object that a cycle has looked at is unsealed, and gets the only reference to what the cycle has not come to. */
START_TEST(a001_05_what_was_unsealed_is_looked_at_again) {
  scene s = scene_open(forms[_i]);
  unit_pair *code = new_old(sizeof *code, PAIR, TSR_CODE);
  store(table(), &table()->slots[1], code);
  ck_assert_int_eq(tsr_seal(f.m, (tsr_ref)(void *)code, NULL), TSR_OK);
  wait_for(cycle_ended, &s, "a cycle's end");
  wait_for(cycle_is_young, &s, "an early cycle");
  ck_assert(is_marked(code));
  ck_assert_int_eq(tsr_unseal(f.m, (tsr_ref)(void *)code, NULL), TSR_OK);
  store(code, &code->first, s.late);
  store(s.late_holder, &s.late_holder->slots[0], NULL);
  wait_for(cycle_ended, &s, "a cycle's end");
  ck_assert_int_eq(tsr_heap_verify(f.m, NULL), TSR_OK);
  fixture_close();
}
END_TEST

/* ---- the verifier ------------------------------------------------------------------------------------------ */

static void verify_finds(const char *rule) {
  tsr_error error = {0};
  tsr_status status = tsr_heap_verify(f.m, &error);
  ck_assert_int_eq(status, rule == NULL ? TSR_OK : TSR_CORRUPT);
  if (rule != NULL) ck_assert_msg(strstr(error.message, rule) != NULL, "%s", error.message);
}

/* An old object that counts as logged is in the log, and there once. */
START_TEST(a001_08_the_verifier_knows_the_log) {
  fixture_open(forms[0], "0");
  unit_pair *pair = new_old(sizeof *pair, PAIR, 0);
  f.root.word = (uint64_t)(uintptr_t)pair;
  for (unsigned i = 0; i < 2; i++)
    ck_assert_int_eq(tsr_collect(f.m, NULL), TSR_OK);
  ck_assert_int_eq(colour_of(pair), WHITE);
  tsr_ref object = (tsr_ref)(void *)pair;
  unsigned char *byte = (unsigned char *)pair + TSR_GC_BYTE_OFFSET;

  *byte ^= GC_ARMED | GC_LOGGED;
  verify_finds("an object that counts as logged");
  *byte ^= GC_ARMED | GC_LOGGED;
  verify_finds(NULL);

  store(pair, &pair->first, NULL);
  ck_assert(is_logged(pair));
  verify_finds(NULL);
  remembered_add(f.m, object);
  verify_finds("has an object once");
  verify_finds("has an object once");
  fixture_close();
}
END_TEST

int main(void) {
  Suite *suite = suite_create("marking");
  TCase *tests = tcase_create("marking");
  tcase_set_timeout(tests, 0);
  tcase_add_test(tests, a001_02_a_bit_for_each_object);
  tcase_add_test(tests, a_cycle_takes_as_long_as_its_turns);
  tcase_add_test(tests, what_is_late_has_goals_for_all_workers_together);
  tcase_add_loop_test(tests, a001_13_a_share_of_a_sweep_is_bounded, 0, 2 * SHARES);
  tcase_add_test(tests, what_comes_during_a_sweep_is_not_live);
  tcase_add_loop_test(tests, a001_05_every_colour_meets_every_event, 0,
                      (int)(2 * EVENTS * COLOURS));
  tcase_add_loop_test(tests, a001_05_leaves_are_marked_or_not, 0, 4);
  tcase_add_loop_test(tests, a001_05_what_was_unsealed_is_looked_at_again, 0, 2);
  tcase_add_loop_test(tests, a001_10_each_mutator_has_a_log, 0, 6);
  tcase_add_loop_test(tests, a001_08_no_object_waits_twice, 0, 4);
  tcase_add_test(tests, a001_08_the_verifier_knows_the_log);
  suite_add_tcase(suite, tests);
  return unit_run(suite);
}
