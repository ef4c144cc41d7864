/*
 * Arenas.
 */
#include "core/space/arena.h"

#include <string.h>

#include "core/object/walk.h"
#include "core/os/machine.h"
#include "core/os/watch.h"
#include "core/space/seal.h"
#include "core/space/spaces.h"

/* Runs shorter than this are taken only where there is no longer one, and a rest shorter than this goes
   with the buffer before it. */
#define RUN_WORTHWHILE 32u /* granules */
/* Blocks of the one class in which some may be too short that a search looks at. */
#define SEARCH_BOUND   8u

/* ---- the bits of a block ---------------------------------------------------------------------- */

/* The bits of one block; positions in it are in granules. */
typedef struct block_bits {
  uint64_t *starts, *marks;
} block_bits;

static block_bits bits_of(const arena *a, uint32_t index) {
  const object_bits *bits = &a->heap->bits;
  return (block_bits){object_bits_of(bits->starts, index), object_bits_of(bits->marks, index)};
}

/*
 * A word of a bitmap. Collecting threads that promote set bits meanwhile, of each object the start bit first, so marks are
 * read before starts. ThreadSanitizer does not see it: sweeps read every word of every block, and under it an atomic load
 * takes as long as a hundred others.
 */
#if defined(__SANITIZE_THREAD__)
__attribute__((no_sanitize("thread"), noinline)) static uint64_t bits_load(const uint64_t *word) {
  return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}
#else
static inline uint64_t bits_load(const uint64_t *word) {
  return os_atomic64_load_acquire(word);
}
#endif

static uint64_t bits_word(block_bits bits, uint32_t word) {
  uint64_t marks = bits_load(&bits.marks[word]);
  return marks | bits_load(&bits.starts[word]);
}

static bool bits_is_start(block_bits bits, uint32_t at) {
  return (bits_load(&bits.starts[at / 64]) >> (at % 64) & 1) != 0;
}

/* The first position from `from` on with any of its bits set, or the block's end. */
static uint32_t bits_next(block_bits bits, uint32_t from) {
  if (from >= BLOCK_GRANULES) return BLOCK_GRANULES;
  uint32_t word = from / 64;
  uint64_t set = bits_word(bits, word) & (UINT64_MAX << (from % 64));
  while (set == 0) {
    if (++word == BLOCK_BIT_WORDS) return BLOCK_GRANULES;
    set = bits_word(bits, word);
  }
  return word * 64 + (uint32_t)__builtin_ctzll(set);
}

typedef struct free_run {
  uint32_t first, end;
} free_run;

/* Of a word's positions, those at which free runs begin. */
static uint64_t bits_runs(block_bits bits, uint32_t word) {
  uint64_t marks = bits_load(&bits.marks[word]);
  return marks & ~bits_load(&bits.starts[word]);
}

/* The first free run from `from` on. */
static bool bits_next_run(block_bits bits, uint32_t from, free_run *run) {
  if (from >= BLOCK_GRANULES) return false;
  uint32_t word = from / 64;
  uint64_t runs = bits_runs(bits, word) & (UINT64_MAX << (from % 64));
  while (runs == 0) {
    if (++word == BLOCK_BIT_WORDS) return false;
    runs = bits_runs(bits, word);
  }
  uint32_t first = word * 64 + (uint32_t)__builtin_ctzll(runs);
  *run = (free_run){.first = first, .end = bits_next(bits, first + 1)};
  return true;
}

static uint32_t granule_of(uintptr_t address) {
  return (uint32_t)((address & (BLOCK_BYTES - 1)) / TSR_GRANULE);
}

static uintptr_t address_of(const arena *a, uint32_t index, uint32_t granule) {
  return block_map_start(&a->heap->blocks, index) + (uintptr_t)granule * TSR_GRANULE;
}

/* ---- free runs ---------------------------------------------------------------------------------- */

static uint32_t page_granules(void) {
  return (uint32_t)(os_page_bytes() / TSR_GRANULE);
}

/* The part of a free run that can be taken: where objects have pages of their own, whole pages. */
static free_run run_usable(const arena *a, free_run run) {
  if (!a->sealable) return run;
  uint32_t page = page_granules();
  run.first = (run.first + page - 1) / page * page;
  run.end = run.end / page * page;
  if (run.end < run.first) run.end = run.first;
  return run;
}

static uint32_t run_length(free_run run) {
  return run.end - run.first;
}

/* The longest free run of a block; the first as long as `most`, where that is known. */
static uint32_t longest_run_of(const arena *a, uint32_t index, uint32_t most) {
  block_bits bits = bits_of(a, index);
  uint32_t longest = 0;
  free_run run;
  for (uint32_t from = 0; longest < most && bits_next_run(bits, from, &run); from = run.end) {
    uint32_t length = run_length(run_usable(a, run));
    if (length > longest) longest = length;
  }
  return longest;
}

static uint32_t longest_run(const arena *a, uint32_t index) {
  return longest_run_of(a, index, BLOCK_GRANULES);
}

static unsigned run_class(uint32_t granules) {
  return 31u - (unsigned)__builtin_clz(granules);
}

/* Takes a block out of the list of its class. */
static void runs_unfile(arena *a, uint32_t index) {
  const block_map *map = &a->heap->blocks;
  block *b = block_map_at(map, index);
  if (b->longest_run == 0) return;
  if (b->run_previous == BLOCK_NONE) {
    a->runs[run_class(b->longest_run)] = b->run_next;
  } else {
    block_map_at(map, b->run_previous)->run_next = b->run_next;
  }
  if (b->run_next != BLOCK_NONE) block_map_at(map, b->run_next)->run_previous = b->run_previous;
  b->longest_run = 0;
}

/* Files a block anew after its free runs have changed. */
static void runs_file(arena *a, uint32_t index, uint32_t longest) {
  runs_unfile(a, index);
  if (longest == 0) return;
  const block_map *map = &a->heap->blocks;
  uint32_t *head = &a->runs[run_class(longest)];
  block *b = block_map_at(map, index);
  b->longest_run = (uint16_t)longest;
  b->run_next = *head;
  b->run_previous = BLOCK_NONE;
  if (*head != BLOCK_NONE) block_map_at(map, *head)->run_previous = index;
  *head = index;
}

/* A block with a free run of so many granules, looking at `bound` blocks in the class where that is not sure. */
static uint32_t runs_find(const arena *a, uint32_t granules, uint32_t bound) {
  unsigned low = run_class(granules);
  unsigned sure = (granules & (granules - 1)) == 0 ? low : low + 1;
  for (unsigned k = sure; k < ARENA_RUN_CLASSES; k++) {
    if (a->runs[k] != BLOCK_NONE) return a->runs[k];
  }
  const block_map *map = &a->heap->blocks;
  uint32_t index = a->runs[low];
  for (uint32_t tries = 0; tries < bound && index != BLOCK_NONE; tries++) {
    if (block_map_at(map, index)->longest_run >= granules) return index;
    index = block_map_at(map, index)->run_next;
  }
  return BLOCK_NONE;
}

/* ---- blocks --------------------------------------------------------------------------------------- */

bool arena_open(arena *a, tsr_heap *heap, enum arena_id id) {
  *a = (arena){.heap = heap,
               .id = id,
               .immortal = id == ARENA_IMMORTAL || id == ARENA_SEALABLE_IMMORTAL,
               .sealable = id == ARENA_SEALABLE || id == ARENA_SEALABLE_IMMORTAL,
               .first = BLOCK_NONE,
               .unswept = BLOCK_NONE};
  for (unsigned k = 0; k < ARENA_RUN_CLASSES; k++)
    a->runs[k] = BLOCK_NONE;
  return os_mutex_create(&a->lock);
}

void arena_close(arena *a) {
  os_mutex_destroy(&a->lock);
}

enum block_space arena_space(const arena *a) {
  if (a->id == ARENA_MOVABLE) return BLOCK_MOVABLE;
  if (a->id == ARENA_LEAVES) return BLOCK_LEAVES;
  return a->sealable ? BLOCK_SEALED : BLOCK_ARENA;
}

static void arena_count_free(arena *a, uint32_t granules) {
  os_atomic_add_full(&a->free_granules, granules);
}

static void arena_count_taken(arena *a, uint32_t granules) {
  os_atomic_add_full(&a->free_granules, (uintptr_t)0 - granules);
}

static void arena_list(arena *a, uint32_t index) {
  block *b = block_map_at(&a->heap->blocks, index);
  b->next = a->first;
  b->sweep = a->sweep;
  a->first = index;
}

static void arena_link(arena *a, uint32_t index) {
  arena_list(a, index);
  os_atomic_store(&a->count, arena_blocks(a) + 1);
}

/* ---- sweeping ------------------------------------------------------------------------------------------ */

/*
 * The new bits of a block, from the old pair of each word: what died is free, and of free runs that lie side by side the first alone
 * keeps its bit. That is one for which the next bit before it is an object's, or which is the block's first. All of a word are
 * found by one addition: carries go from each object up through the positions where nothing begins, to the first where
 * something does; and on into the next word. Whether anything died.
 */
static bool sweep_words(const arena *a, block_bits bits) {
  uint64_t died = 0, carry = 1; /* what lies in front of the block passes for an object */
  for (uint32_t i = 0; i < BLOCK_BIT_WORDS; i++) {
    uint64_t starts = bits.starts[i], marks = bits.marks[i];
    uint64_t live = a->immortal ? starts : starts & marks;
    uint64_t begins = starts | marks;
    /* A gap at the block's beginning belongs to no object. */
    if (i == 0) begins |= 1;
    died |= starts & ~live;
    uint64_t behind = (live << 1) + ~begins;
    uint64_t first = behind + carry;
    carry = live >> 63 | (uint64_t)(behind < ~begins) | (uint64_t)(first < behind);
    bits.starts[i] = live;
    bits.marks[i] = begins & ~live & first;
  }
  return died != 0;
}

/* The granules that are free in a block that was swept, and the length of the longest run. */
static uint32_t sweep_runs(const arena *a, uint32_t index, block_bits bits, uint32_t *longest) {
  uint32_t free_granules = 0;
  free_run run;
  *longest = 0;
  for (uint32_t from = 0; bits_next_run(bits, from, &run); from = run.end) {
    free_granules += run_length(run);
    uint32_t usable = run_length(run_usable(a, run));
    if (usable > *longest) *longest = usable;
    os_memory_forbid(address_of(a, index, run.first), address_of(a, index, run.end));
    if (a->sealable) seal_forget(a->heap, index, run.first, run.end);
  }
  return free_granules;
}

static bool block_is_unswept(const arena *a, uint32_t index) {
  return block_map_at(&a->heap->blocks, index)->sweep != a->sweep;
}

/* Under the lock. */
static void sweep_block(arena *a, uint32_t index) {
  block_bits bits = bits_of(a, index);
  block *b = block_map_at(&a->heap->blocks, index);
  if (sweep_words(a, bits)) b->flags &= (uint8_t)~BLOCK_CLEAN;
  b->sweep = a->sweep;
  b->longest_run = 0; /* it was filed before, in lists that are no more */
  uint32_t longest;
  uint32_t free_granules = sweep_runs(a, index, bits, &longest);
  a->live_granules += BLOCK_GRANULES - free_granules;
  arena_count_free(a, free_granules);
  runs_file(a, index, longest);
}

/* The next block, which goes back to where it was, or to the map. Under the lock. */
static bool arena_sweep_one(arena *a) {
  tsr_heap *heap = a->heap;
  uint32_t index = a->unswept;
  if (index == BLOCK_NONE) return false;
  a->unswept = block_map_at(&heap->blocks, index)->next;
  if (block_is_unswept(a, index)) sweep_block(a, index);
  if (block_map_at(&heap->blocks, index)->longest_run < BLOCK_GRANULES) {
    arena_list(a, index);
    return true;
  }
  runs_unfile(a, index);
  arena_count_taken(a, BLOCK_GRANULES);
  os_mutex_lock(&heap->admission);
  os_atomic_store(&a->count, arena_blocks(a) - 1);
  block_map_release(&heap->blocks, index, 1);
  os_mutex_unlock(&heap->admission);
  return true;
}

/* In an immortal arena nothing dies but the ends of objects that were shrunk. They are freed while the world is stopped:
   they are known by their first words, and those of the objects beside them are the program's to change. */
static void arena_free_shrunk(const arena *a) {
  for (uint32_t i = a->first; i != BLOCK_NONE; i = block_map_at(&a->heap->blocks, i)->next) {
    block *b = block_map_at(&a->heap->blocks, i);
    if ((b->flags & BLOCK_SHRUNK) == 0) continue;
    b->flags &= (uint8_t)~BLOCK_SHRUNK;
    block_bits bits = bits_of(a, i);
    for (uint32_t at = bits_next(bits, 0); at < BLOCK_GRANULES; at = bits_next(bits, at + 1)) {
      if (!object_bit_get(bits.starts, at)) continue;
      if (header_load((tsr_ref)address_of(a, i, at)) != 0) continue;
      object_bit_clear(bits.starts, at);
      object_bit_set(bits.marks, at);
    }
  }
}

void arena_begin_sweep(arena *a) {
  TSR_CHECK(a->unswept == BLOCK_NONE, "a sweep has ended before the next one begins");
  if (a->immortal) arena_free_shrunk(a);
  a->unswept = a->first;
  a->first = BLOCK_NONE;
  a->sweep ^= 1;
  a->live_granules = 0;
  os_atomic_store(&a->free_granules, 0);
  for (unsigned k = 0; k < ARENA_RUN_CLASSES; k++)
    a->runs[k] = BLOCK_NONE;
}

bool arena_sweep_next(arena *a) {
  os_mutex_lock(&a->lock);
  bool swept = arena_sweep_one(a);
  os_mutex_unlock(&a->lock);
  return swept;
}

void arena_sweep_block(arena *a, uint32_t index) {
  os_mutex_lock(&a->lock);
  if (block_is_unswept(a, index)) sweep_block(a, index);
  os_mutex_unlock(&a->lock);
}

void arena_clear_marks(arena *a) {
  for (uint32_t i = a->first; i != BLOCK_NONE; i = block_map_at(&a->heap->blocks, i)->next) {
    block_bits bits = bits_of(a, i);
    for (uint32_t k = 0; k < BLOCK_BIT_WORDS; k++)
      bits.marks[k] &= ~bits.starts[k];
  }
}

/* ---- taking blocks --------------------------------------------------------------------------------------- */

static void arena_adopt(arena *a, uint32_t index) {
  block_map_at(&a->heap->blocks, index)->arena = (uint8_t)a->id;
  arena_link(a, index);
  object_bit_set(bits_of(a, index).marks, 0);
  arena_count_free(a, BLOCK_GRANULES);
  runs_file(a, index, BLOCK_GRANULES);
}

/* Has the tables that a block needs. */
static bool arena_cover(const arena *a, uint32_t index, memory_allowance allowance) {
  tsr_heap *heap = a->heap;
  return object_bits_cover(&heap->bits, index, allowance) &&
         (a->id != ARENA_MOVABLE || compaction_cover(&heap->spaces->compaction, index, allowance));
}

/* A new block, one free run; for copies of what a collection found, whatever the heap admits. Under the lock. */
static uint32_t arena_grow(arena *a, memory_allowance allowance, bool for_copies) {
  tsr_heap *heap = a->heap;
  os_mutex_lock(&heap->admission);
  uint32_t index = for_copies ? block_map_acquire(&heap->blocks, 1, arena_space(a), allowance)
                              : heap_acquire_staying(heap, 1, arena_space(a), allowance);
  if (index != BLOCK_NONE && !arena_cover(a, index, allowance)) {
    block_map_release(&heap->blocks, index, 1);
    index = BLOCK_NONE;
  }
  if (index != BLOCK_NONE) arena_adopt(a, index);
  os_mutex_unlock(&heap->admission);
  return index;
}

/* Whether the heap is full but for gaps between objects, and for the young, of which as many as fill the nursery may be left by
   a collection. */
static bool arena_fills_gaps(const arena *a, bool for_copies) {
  return !for_copies || !heap_fits_now(a->heap, 2 * nursery_blocks(a->heap), 1);
}

/* A block with a free run that is long enough: one with a run worth while, one with any, a new one, and
   only where there is none to be had, and no collection will help, whatever the rest of a sweep and a search
   without bound find. Under the lock. */
static uint32_t arena_find(arena *a, uint32_t granules, memory_allowance allowance,
                           bool for_copies) {
  uint32_t index =
      runs_find(a, granules < RUN_WORTHWHILE ? RUN_WORTHWHILE : granules, SEARCH_BOUND);
  if (index == BLOCK_NONE && granules < RUN_WORTHWHILE && arena_fills_gaps(a, for_copies)) {
    index = runs_find(a, granules, SEARCH_BOUND);
  }
  if (index == BLOCK_NONE) index = arena_grow(a, allowance, for_copies);
  while (index == BLOCK_NONE && allowance != MEMORY_WITHIN_SIZE && arena_sweep_one(a)) {
    index = runs_find(a, granules, SEARCH_BOUND);
    if (index == BLOCK_NONE) index = arena_grow(a, allowance, for_copies);
  }
  if (index == BLOCK_NONE) index = runs_find(a, granules, UINT32_MAX);
  bool may_refer = !for_copies && a->id != ARENA_LEAVES;
  if (index != BLOCK_NONE && may_refer) heap_note_born(a->heap, index);
  return index;
}

/* Takes the first run of a block that has `least` granules, or of a longer one `preferred`. */
static free_run arena_carve(arena *a, uint32_t index, uint32_t least, uint32_t preferred) {
  block_bits bits = bits_of(a, index);
  free_run run = {0, 0}, usable = {0, 0};
  uint32_t from = 0;
  do {
    bool found = bits_next_run(bits, from, &run);
    TSR_CHECK(found, "a block that is filed under a class has a run of that length");
    (void)found;
    usable = run_usable(a, run);
    from = run.end;
  } while (run_length(usable) < least);
  if (run_length(usable) >= preferred + (a->sealable ? 1 : RUN_WORTHWHILE)) {
    usable.end = usable.first + preferred;
  }
  /* What lies before whole pages stays free under the bit that is there. */
  if (usable.first == run.first) object_bit_change_shared(bits.marks, run.first, false);
  if (usable.end < run.end) object_bit_change_shared(bits.marks, usable.end, true);
  object_bit_change_shared(bits.starts, usable.first, true);
  arena_count_taken(a, run_length(usable));
  runs_file(a, index, longest_run_of(a, index, block_map_at(&a->heap->blocks, index)->longest_run));
  return usable;
}

/* ---- borrowed blocks of mutators --------------------------------------------------------------------- */

/* Takes the next run of the borrowed block that has `least` granules. Under the lock. */
static bool cursor_next(arena_cursor *cursor, uint32_t least, free_run *run) {
  block_bits bits = bits_of(cursor->arena, cursor->block);
  while (bits_next_run(bits, cursor->at, run)) {
    cursor->at = run->end;
    if (run_length(*run) < least) continue;
    object_bit_change_shared(bits.marks, run->first, false);
    object_bit_change_shared(bits.starts, run->first, true);
    arena_count_taken(cursor->arena, run_length(*run));
    return true;
  }
  return false;
}

static void cursor_begin(arena_cursor *cursor, arena *a, uint32_t index) {
  runs_unfile(a, index);
  block_map_at(&a->heap->blocks, index)->borrowed = 1;
  *cursor = (arena_cursor){.arena = a, .block = index};
}

/* Under the lock. */
static void cursor_end(arena_cursor *cursor) {
  arena *a = cursor->arena;
  block_map_at(&a->heap->blocks, cursor->block)->borrowed = 0;
  runs_file(a, cursor->block, longest_run(a, cursor->block));
  *cursor = (arena_cursor){.arena = NULL};
}

void arena_end(arena_cursor *cursor) {
  arena *a = cursor->arena;
  if (a == NULL) return;
  os_mutex_lock(&a->lock);
  cursor_end(cursor);
  os_mutex_unlock(&a->lock);
}

/* ---- mutators --------------------------------------------------------------------------------------- */

/* Memory that was free becomes the mutator's. */
static void arena_hand_out(uintptr_t start, uintptr_t end, bool clean) {
  os_memory_allow(start, end);
  if (!clean) memset((void *)start, 0, end - start);
}

static bool arena_is_clean(const arena *a, uint32_t index) {
  return (block_map_at(&a->heap->blocks, index)->flags & BLOCK_CLEAN) != 0;
}

static uint32_t granules_for(size_t bytes) {
  return (uint32_t)((bytes + TSR_GRANULE - 1) / TSR_GRANULE);
}

/* The next run of the block that is borrowed. BLOCK_NONE: none is, or it has nothing left and is given back. Under the lock. */
static uint32_t arena_take_borrowed(uint32_t least, arena_cursor *cursor, free_run *run) {
  if (cursor == NULL || cursor->arena == NULL) return BLOCK_NONE;
  if (cursor_next(cursor, least, run)) return cursor->block;
  cursor_end(cursor);
  return BLOCK_NONE;
}

/* A run of a block that is found, which is borrowed if all its runs are shorter than is preferred. Under the lock. */
static uint32_t arena_take_found(arena *a, uint32_t least, uint32_t preferred,
                                 memory_allowance allowance, arena_cursor *cursor, free_run *run) {
  uint32_t index = arena_find(a, least, allowance, false);
  if (index == BLOCK_NONE) return BLOCK_NONE;
  bool borrows = cursor != NULL && block_map_at(&a->heap->blocks, index)->longest_run < preferred;
  if (borrows) cursor_begin(cursor, a, index);
  if (!borrows || !cursor_next(cursor, least, run)) *run = arena_carve(a, index, least, preferred);
  return index;
}

/* Takes a run that was free; `clean`: it is zero. */
static bool arena_take_run(arena *a, size_t least, size_t preferred, memory_allowance allowance,
                           arena_cursor *cursor, bump_buffer *taken, bool *clean) {
  uint32_t least_granules = granules_for(least);
  uint32_t granules = preferred < least ? least_granules : granules_for(preferred);
  free_run run;
  if (cursor != NULL && cursor->arena != a) arena_end(cursor);
  os_mutex_lock(&a->lock);
  uint32_t index = arena_take_borrowed(least_granules, cursor, &run);
  if (index == BLOCK_NONE) {
    index = arena_take_found(a, least_granules, granules, allowance, cursor, &run);
  }
  if (index != BLOCK_NONE) {
    *taken = (bump_buffer){address_of(a, index, run.first), address_of(a, index, run.end)};
    *clean = arena_is_clean(a, index);
  }
  os_mutex_unlock(&a->lock);
  return index != BLOCK_NONE;
}

uint32_t arena_borrow(arena *a, size_t least, bool *gaps) {
  os_mutex_lock(&a->lock);
  uint32_t index = arena_find(a, granules_for(least), MEMORY_WITHIN_LIMIT, true);
  if (index != BLOCK_NONE) {
    *gaps = block_map_at(&a->heap->blocks, index)->longest_run < RUN_WORTHWHILE;
    runs_unfile(a, index);
  }
  os_mutex_unlock(&a->lock);
  return index;
}

bool arena_borrow_run(arena *a, uint32_t index, uintptr_t from, size_t least, bool any,
                      bump_buffer *taken) {
  block_bits bits = bits_of(a, index);
  uint32_t granules = granules_for(least);
  if (!any && granules < RUN_WORTHWHILE) granules = RUN_WORTHWHILE;
  free_run run;
  uint32_t at = (uint32_t)((from - block_map_start(&a->heap->blocks, index)) / TSR_GRANULE);
  while (bits_next_run(bits, at, &run)) {
    at = run.end;
    if (run_length(run) < granules) continue;
    object_bit_change_shared(bits.marks, run.first, false);
    arena_count_taken(a, run_length(run));
    *taken = (bump_buffer){address_of(a, index, run.first), address_of(a, index, run.end)};
    os_memory_allow(taken->start, taken->end);
    return true;
  }
  return false;
}

void arena_return_run(arena *a, bump_buffer rest) {
  if (rest.start == rest.end) return;
  uint32_t index = block_map_index(&a->heap->blocks, rest.start);
  object_bit_change_shared(bits_of(a, index).marks, granule_of(rest.start), true);
  arena_count_free(a, (uint32_t)((rest.end - rest.start) / TSR_GRANULE));
  os_memory_forbid(rest.start, rest.end);
}

void arena_return(arena *a, uint32_t index) {
  os_mutex_lock(&a->lock);
  runs_file(a, index, longest_run(a, index));
  os_mutex_unlock(&a->lock);
}

bool arena_take(arena *a, size_t least, size_t preferred, memory_allowance allowance,
                arena_cursor *cursor, bump_buffer *taken) {
  bool clean;
  if (!arena_take_run(a, least, preferred, allowance, cursor, taken, &clean)) return false;
  bump_buffer_count(a->heap, *taken);
  arena_hand_out(taken->start, taken->end, clean);
  return true;
}

uintptr_t arena_take_pages(arena *a, size_t bytes, size_t align, size_t offset, bool code,
                           memory_allowance allowance) {
  size_t padding = (size_t)-offset & (align - 1);
  size_t page = os_page_bytes();
  uint32_t granules = granules_for((padding + bytes + page - 1) / page * page);
  bool clean = false;
  uintptr_t start = 0;
  os_mutex_lock(&a->lock);
  uint32_t index = arena_find(a, granules, allowance, false);
  if (index != BLOCK_NONE) {
    free_run run = arena_carve(a, index, granules, granules);
    start = address_of(a, index, run.first);
    if (padding != 0) {
      /* The padding is free, though it is of no use before the object dies and joins it. */
      block_bits bits = bits_of(a, index);
      object_bit_clear(bits.starts, run.first);
      object_bit_set(bits.marks, run.first);
      object_bit_set(bits.starts, granule_of(start + padding));
    }
    seal_declare(a->heap, index, run.first, run.end, code);
    clean = arena_is_clean(a, index);
  }
  os_mutex_unlock(&a->lock);
  if (index == BLOCK_NONE) return 0;
  arena_hand_out(start + padding, start + padding + bytes, clean);
  return start + padding;
}

/* What lies in [start, end) becomes free, and one with a free run behind it; the ends of objects that were
   shrunk there are forgotten. Under the lock. */
static void arena_free(arena *a, uintptr_t start, uintptr_t end) {
  uint32_t index = block_map_index(&a->heap->blocks, end - 1);
  block_bits bits = bits_of(a, index);
  if (start < end) {
    uint32_t first = granule_of(start), behind = granule_of(end - 1) + 1;
    for (uint32_t at = bits_next(bits, first); at < behind; at = bits_next(bits, at + 1))
      object_bit_change_shared(bits.starts, at, false);
    object_bit_change_shared(bits.marks, first, true);
    arena_count_free(a, behind - first);
    if (behind < BLOCK_GRANULES && !bits_is_start(bits, behind)) {
      object_bit_change_shared(bits.marks, behind, false);
    }
    os_memory_forbid(start, end);
  }
  /* A run before it may have grown by the gap in front of a buffer's first object. */
  if (block_map_at(&a->heap->blocks, index)->borrowed == 0) {
    runs_file(a, index, longest_run(a, index));
  }
}

uintptr_t arena_retire(arena *a, bump_buffer buffer) {
  const tsr_heap *heap = a->heap;
  const object_bits *bits = &heap->bits;
  uintptr_t at = buffer.start;
  uintptr_t used_end = at;
  bool walkable = true;
  bool begins = header_load((tsr_ref)at) != 0; /* with an object */
  os_mutex_lock(&a->lock);
  object_bit_clear(bits->starts, object_bit_index(bits, buffer.start));
  object_bit_writer writer = {.bitmap = bits->starts};
  while (walkable && (at = object_walk_next(at, buffer.end)) < buffer.end) {
    object_bits_write(&writer, object_bit_index(bits, at));
    size_t bytes = object_walk_bytes_within(heap, (tsr_ref)at, buffer.end - at);
    walkable = bytes != 0;
    if (walkable) used_end = at += bytes;
  }
  object_bits_flush(&writer);
  if (walkable) {
    if (!begins || used_end < buffer.end) arena_free(a, used_end, buffer.end);
  } else {
    object_bit_set(bits->starts, object_bit_index(bits, buffer.start));
  }
  os_mutex_unlock(&a->lock);
  return walkable ? 0 : at;
}

void arena_trim(arena *a, bump_buffer *buffer, uintptr_t end) {
  os_mutex_lock(&a->lock);
  arena_free(a, end, buffer->end);
  os_mutex_unlock(&a->lock);
  buffer->end = end;
}

void arena_shrink(arena *a, uintptr_t tail) {
  /* An object without a header: walks pass over it, nobody reaches it, and the next sweep frees it. A
     free run here could be handed out while the buffer around it still is somebody's. */
  block_map *map = &a->heap->blocks;
  os_mutex_lock(&a->lock);
  object_bit_set(a->heap->bits.starts, object_bit_index(&a->heap->bits, tail));
  if (a->immortal) block_map_at(map, block_map_index(map, tail))->flags |= BLOCK_SHRUNK;
  os_mutex_unlock(&a->lock);
}

void arena_abandon(arena *a, bump_buffer buffer) {
  const block_map *map = &a->heap->blocks;
  os_mutex_lock(&a->lock);
  block *b = block_map_at(map, block_map_index(map, buffer.start));
  if ((b->flags & BLOCK_UNRETIRED) == 0) a->unretired++;
  b->flags |= BLOCK_UNRETIRED;
  os_mutex_unlock(&a->lock);
}

/* Every start bit of the block may be that of an abandoned buffer: what follows it up to the next bit is walked. What is left of
   it, and what lies in front of its first object, is an object without a header, as the end of one that was shrunk. False: an
   object's size is unknown, for its header is destroyed. */
static bool retire_block(const arena *a, uint32_t index) {
  const tsr_heap *heap = a->heap;
  block_bits bits = bits_of(a, index);
  for (uint32_t first = bits_next(bits, 0), next; first < BLOCK_GRANULES; first = next) {
    next = bits_next(bits, first + 1);
    if (!object_bit_get(bits.starts, first)) continue;
    uintptr_t at = address_of(a, index, first), end = address_of(a, index, next), rest = end;
    while ((at = object_walk_next(at, end)) < end) {
      object_bit_set(bits.starts, granule_of(at));
      size_t bytes = object_walk_bytes_within(heap, (tsr_ref)at, end - at);
      if (bytes == 0) return false;
      rest = at += bytes;
    }
    if (rest < end) object_bit_set(bits.starts, granule_of(rest));
  }
  return true;
}

/* Those of a list, as long as there are any. */
static void retire_blocks(arena *a, uint32_t first) {
  const block_map *map = &a->heap->blocks;
  for (uint32_t i = first; i != BLOCK_NONE && a->unretired > 0; i = block_map_at(map, i)->next) {
    block *b = block_map_at(map, i);
    if ((b->flags & BLOCK_UNRETIRED) == 0 || !retire_block(a, i)) continue;
    b->flags &= (uint8_t)~BLOCK_UNRETIRED;
    a->unretired--;
  }
}

void arena_retire_blocks(arena *a) {
  retire_blocks(a, a->first);
  /* Some of these were swept where they are, and have handed out memory. */
  retire_blocks(a, a->unswept);
}

void arena_begin_trace(arena *a, bool with_starts) {
  const block_map *map = &a->heap->blocks;
  a->has_starts = with_starts;
  if (with_starts) {
    arena_retire_blocks(a);
    return;
  }
  for (uint32_t i = a->first; i != BLOCK_NONE; i = block_map_at(map, i)->next)
    memset(bits_of(a, i).marks, 0, BLOCK_BIT_WORDS * sizeof(uint64_t));
}

/* ---- after compaction ----------------------------------------------------------------------------------- */

void arena_begin_relist(arena *a) {
  a->first = BLOCK_NONE;
  a->unretired = 0;
  os_atomic_store(&a->count, 0);
  os_atomic_store(&a->free_granules, 0);
  for (unsigned k = 0; k < ARENA_RUN_CLASSES; k++)
    a->runs[k] = BLOCK_NONE;
}

void arena_relist(arena *a, uint32_t index, bool used) {
  block_map *map = &a->heap->blocks;
  if (!used) {
    block_map_release(map, index, 1);
    return;
  }
  block *b = block_map_at(map, index);
  b->flags = 0;
  b->rescan = 0;
  b->longest_run = 0;
  arena_link(a, index);
  block_bits bits = bits_of(a, index);
  free_run run;
  for (uint32_t from = 0; bits_next_run(bits, from, &run); from = run.end)
    os_memory_forbid(address_of(a, index, run.first), address_of(a, index, run.end));
  runs_file(a, index, longest_run(a, index));
}

/* ---- blocks of others, and for others ------------------------------------------------------------------ */

void arena_give_up(arena *a, uint32_t *link) {
  uint32_t index = *link;
  block *b = block_map_at(&a->heap->blocks, index);
  block_bits bits = bits_of(a, index);
  uintptr_t start = address_of(a, index, 0);
  *link = b->next;
  os_atomic_store(&a->count, arena_blocks(a) - 1);
  runs_unfile(a, index);
  os_memory_allow(start, start + BLOCK_BYTES);
  free_run run;
  for (uint32_t from = 0; bits_next_run(bits, from, &run); from = run.end) {
    memset((void *)address_of(a, index, run.first), 0, (size_t)run_length(run) * TSR_GRANULE);
    arena_count_taken(a, run_length(run));
  }
}

void arena_take_back(arena *a, uint32_t index) {
  block_map *map = &a->heap->blocks;
  block_bits bits = bits_of(a, index);
  for (uint32_t at = bits_next(bits, 0); at < BLOCK_GRANULES; at = bits_next(bits, at + 1)) {
    tsr_ref object = (tsr_ref)address_of(a, index, at);
    if (!object_bit_get(bits.starts, at) || !header_stays(header_load(object))) continue;
    header_store(object, header_with_forward_bits(header_load(object), (enum gc_byte)0));
    object_bit_set(bits.marks, at);
  }
  block_map_at(map, index)->rescan = 0;
  block_map_spaces(map)[index] = (unsigned char)arena_space(a);
  arena_link(a, index);
}

void arena_take_over(arena *a, uint32_t index) {
  block_map *map = &a->heap->blocks;
  block *b = block_map_at(map, index);
  b->flags = 0;
  b->rescan = 0;
  b->longest_run = 0;
  b->arena = (uint8_t)a->id;
  os_atomic8_store(&block_map_spaces(map)[index], (unsigned char)arena_space(a));
  heap_note_born(a->heap, index);
  arena_link(a, index);
  runs_file(a, index, longest_run(a, index));
}

void arena_take_over_all(arena *a, arena *from) {
  uint32_t index = from->first;
  arena_begin_relist(from);
  while (index != BLOCK_NONE) {
    uint32_t next = block_map_at(&a->heap->blocks, index)->next;
    arena_take_over(a, index);
    arena_count_free(a, BLOCK_GRANULES - (uint32_t)(arena_used_bytes(a, index) / TSR_GRANULE));
    index = next;
  }
}

/* ---- walking -------------------------------------------------------------------------------------------- */

uintptr_t arena_next_object(const tsr_heap *heap, uintptr_t from, uintptr_t end,
                            bool reached_only) {
  const object_bits *bits = &heap->bits;
  size_t last = object_bit_index(bits, end);
  bool by_marks = block_map_space_of(&heap->blocks, from) == BLOCK_MOVABLE &&
                  !heap->spaces->arenas[ARENA_MOVABLE].has_starts;
  for (size_t i = object_bit_index(bits, from); i < last;) {
    uint64_t starts = bits->starts[i / 64], marks = bits->marks[i / 64];
    uint64_t set = !reached_only ? starts : by_marks ? marks : starts & marks;
    set >>= i % 64;
    if (set == 0) {
      i = (i / 64 + 1) * 64;
      continue;
    }
    i += (size_t)__builtin_ctzll(set);
    uintptr_t at = bits->heap_base + (i << OBJECT_BIT_SHIFT);
    if (header_load((tsr_ref)at) != 0) return at;
    i++; /* the end of an object that was shrunk */
  }
  return end;
}

/* The last position up to `granule` with any of its bits set; BLOCK_GRANULES: none. */
static uint32_t bits_last(block_bits bits, uint32_t granule) {
  uint32_t word = granule / 64;
  uint64_t set = bits_word(bits, word) & (UINT64_MAX >> (63 - granule % 64));
  while (set == 0) {
    if (word == 0) return BLOCK_GRANULES;
    word--;
    set = bits_word(bits, word);
  }
  return word * 64 + 63 - (uint32_t)__builtin_clzll(set);
}

tsr_ref arena_object_at(const arena *a, uintptr_t address) {
  uint32_t index = block_map_index(&a->heap->blocks, address);
  uint32_t first = bits_last(bits_of(a, index), granule_of(address));
  return (tsr_ref)address_of(a, index, first);
}

tsr_ref arena_object_of(arena *a, uintptr_t address) {
  const tsr_heap *heap = a->heap;
  uint32_t index = block_map_index(&heap->blocks, address);
  tsr_ref object = NULL;
  os_mutex_lock(&a->lock);
  if (block_map_space(&heap->blocks, index) != arena_space(a) ||
      block_map_at(&heap->blocks, index)->arena != a->id) {
    os_mutex_unlock(&a->lock); /* another mutator has swept it meanwhile */
    return NULL;
  }
  if (block_is_unswept(a, index)) sweep_block(a, index);
  /* The last bit is that of the object, of the buffer that it was bumped from, or of a free run. */
  block_bits bits = bits_of(a, index);
  uint32_t first = bits_last(bits, granule_of(address));
  if (first < BLOCK_GRANULES && object_bit_get(bits.starts, first)) {
    uintptr_t at = address_of(a, index, first);
    uintptr_t end = address_of(a, index, bits_next(bits, granule_of(address) + 1));
    /* Behind an object with pages of its own there is nothing to be walked. */
    if (a->sealable) {
      size_t bytes =
          header_load((tsr_ref)at) == 0 ? 0 : object_walk_bytes_within(heap, (tsr_ref)at, end - at);
      object = address - at < bytes ? (tsr_ref)at : NULL;
    } else {
      object = object_walk_find(heap, at, end, address);
    }
  }
  os_mutex_unlock(&a->lock);
  return object;
}

uintptr_t arena_object_limit(const arena *a, tsr_ref object) {
  uint32_t index = block_map_index(&a->heap->blocks, (uintptr_t)object);
  return address_of(a, index, bits_next(bits_of(a, index), granule_of((uintptr_t)object) + 1));
}

bool arena_next_free(const arena *a, uint32_t index, uintptr_t *start, uintptr_t *end) {
  uintptr_t base = block_map_start(&a->heap->blocks, index);
  free_run run;
  uint32_t from = (uint32_t)((*end - base) / TSR_GRANULE);
  if (!bits_next_run(bits_of(a, index), from, &run)) return false;
  *start = address_of(a, index, run.first);
  *end = address_of(a, index, run.end);
  return true;
}

void arena_each_object(const arena *a, void (*visit)(void *context, tsr_ref object),
                       void *context) {
  const tsr_heap *heap = a->heap;
  for (uint32_t i = a->first; i != BLOCK_NONE; i = block_map_at(&heap->blocks, i)->next) {
    uintptr_t end = block_map_start(&heap->blocks, i) + BLOCK_BYTES;
    for (uintptr_t at = end - BLOCK_BYTES; (at = arena_next_object(heap, at, end, false)) < end;
         at += TSR_GRANULE) {
      visit(context, (tsr_ref)at);
    }
  }
}

typedef struct sized_visit {
  const tsr_heap *heap;
  tsr_object_callback callback;
  void *context;
} sized_visit;

static void visit_with_size(void *context, tsr_ref object) {
  const sized_visit *v = context;
  size_t appended = layout_hash_bytes(v->heap, header_load(object));
  v->callback(v->context, object, object_walk_bytes(v->heap, object) - appended);
}

void arena_enumerate(const arena *a, tsr_object_callback callback, void *context) {
  sized_visit v = {.heap = a->heap, .callback = callback, .context = context};
  arena_each_object(a, visit_with_size, &v);
}

/* ---- reporting ------------------------------------------------------------------------------------------- */

const char *arena_name(enum arena_id id) {
  static const char *const names[] = {[ARENA_MOVABLE] = "movable arena",
                                      [ARENA_NON_MOVING] = "non-moving arena",
                                      [ARENA_IMMORTAL] = "immortal arena",
                                      [ARENA_SEALABLE] = "sealable arena",
                                      [ARENA_SEALABLE_IMMORTAL] = "sealable immortal arena",
                                      [ARENA_FROZEN] = "frozen arena",
                                      [ARENA_PROMOTED] = "promoted arena",
                                      [ARENA_LEAVES] = "leaf arena"};
  return names[id];
}

size_t arena_used_bytes(const arena *a, uint32_t index) {
  block_bits bits = bits_of(a, index);
  uint32_t used = BLOCK_GRANULES;
  free_run run;
  for (uint32_t from = 0; bits_next_run(bits, from, &run); from = run.end)
    used -= run_length(run);
  return (size_t)used * TSR_GRANULE;
}

/* ---- verifying ------------------------------------------------------------------------------------------- */

static const char *block_fault(const arena *a, uint32_t index) {
  const block *b = block_map_at(&a->heap->blocks, index);
  if (block_map_spaces(&a->heap->blocks)[index] != arena_space(a) || b->arena != a->id) {
    return "a block in an arena's list is the arena's";
  }
  bool is_unswept = block_is_unswept(a, index);
  if (!is_unswept && b->longest_run != longest_run(a, index)) {
    return "an arena's block is filed under its longest free run";
  }
  block_bits bits = bits_of(a, index);
  if (is_unswept || heap_is_marking(a->heap)) return NULL;
  for (uint32_t i = 0; i < BLOCK_BIT_WORDS; i++) {
    if ((bits.starts[i] & bits.marks[i]) != 0) {
      return "no object of an arena is marked outside a trace";
    }
  }
  return NULL;
}

static const char *list_fault(const arena *a, uint32_t first, size_t *count, uint32_t *at_block) {
  for (uint32_t i = first; i != BLOCK_NONE; i = block_map_at(&a->heap->blocks, i)->next) {
    *at_block = i;
    const char *fault = block_fault(a, i);
    if (fault != NULL) return fault;
    ++*count;
  }
  return NULL;
}

const char *arena_fault(const arena *a, uint32_t *at_block) {
  size_t count = 0;
  const char *fault = list_fault(a, a->first, &count, at_block);
  if (fault == NULL) fault = list_fault(a, a->unswept, &count, at_block);
  if (fault != NULL) return fault;
  return count == arena_blocks(a) ? NULL : "an arena counts its blocks";
}
