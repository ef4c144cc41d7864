/*
 * Arenas: blocks whose objects stay where they are, or are moved by compaction (core/space/compaction.h).
 *
 * What lies where is in the object bits (core/heap/object_bits.h): objects and free runs each have a bit
 * at their first granule. Mutators take *buffers* out of free runs, to bump in. A buffer has a start
 * bit too, so that no free run before it seems to reach into it; the start bits of its objects
 * are set when it is retired, by a walk [design: arenas].
 *
 * Blocks are filed by the class (the logarithm) of their longest free run, so a search looks at the
 * heads of a few lists and at a bounded number of blocks.
 *
 * A sweep may be put off. Blocks that it has not come to yet are in a list of their own, are filed nowhere and hand out
 * nothing. Mutators go on with it, a few blocks at a time, and whoever wants to know which objects of a block there are
 * sweeps it first. It ends before another trace marks anything [design: lazy-sweep].
 *
 * There are eight, all the same but for four properties. The *movable* one is for plans that compact. An
 * *immortal* arena's sweep clears the marks and frees nothing, and its objects are roots. A *sealable* arena's
 * objects have whole pages for themselves, so that each can be sealed (core/space/seal.h). Nobody takes buffers
 * from the *frozen* one, whose blocks come from where default placement bumps (core/space/freeze.c). And what was young
 * is *promoted* into the last two, under a plan with two generations, to stay there until its block is found to be sparse
 * (core/space/evacuate.c): what refers to nothing into blocks of its own, which a trace never looks into
 * [design: leaf-blocks].
 */
#ifndef CORE_SPACE_ARENA_H
#define CORE_SPACE_ARENA_H

#include "core/space/bump_blocks.h"

enum arena_id {
  ARENA_MOVABLE,
  ARENA_NON_MOVING,
  ARENA_IMMORTAL,
  ARENA_SEALABLE,
  ARENA_SEALABLE_IMMORTAL,
  ARENA_FROZEN,
  ARENA_PROMOTED,
  ARENA_LEAVES,
  ARENAS
};

/* Whether a collection of everything may move what is in it. */
static inline bool arena_is_evacuated(enum arena_id id) {
  return id >= ARENA_PROMOTED;
}

#define ARENA_RUN_CLASSES 13

typedef struct arena {
  tsr_heap *heap;
  enum arena_id id;
  bool immortal, sealable; /* fixed */
  bool has_starts;         /* movable: arena_begin_trace(); by the collecting thread */
  uint32_t unretired;      /* blocks with abandoned buffers */
  os_mutex lock;           /* guards what follows, and the bits of its blocks outside a pause */
  uint32_t first;          /* list of its blocks, newest first */
  uint32_t unswept;        /* and of those that have still to be swept */
  uint8_t sweep;           /* the last one, 0 or 1 */
  size_t live_granules;    /* that it has found, gaps between objects included */
  os_atomic_word
      free_granules; /* of free runs in blocks that were swept; any thread, by addition */
  uint32_t runs
      [ARENA_RUN_CLASSES]; /* class k: blocks whose longest run has 2^k granules, and less than twice that */
  os_atomic_word
      count; /* of blocks; written under the lock, read by any thread that sizes the heap */
} arena;

/* What its blocks are. */
enum block_space arena_space(const arena *a);

/* A block whose free runs a mutator goes through, one after the other. */
typedef struct arena_cursor {
  arena *arena; /* NULL: none */
  uint32_t block;
  uint32_t at; /* granules of it that are behind */
} arena_cursor;

bool arena_open(arena *a, tsr_heap *heap, enum arena_id id);
void arena_close(arena *a);

/* ---- mutators -------------------------------------------------------------------------------- */

/* Takes a buffer of `preferred` bytes, at least `least`. A free run may yield less than is preferred; a new
   block is only taken when no run serves. False: as bump_blocks_take(). A block whose runs are all shorter than is preferred
   is borrowed, so that the next buffers come from there without a search; NULL: not. */
bool arena_take(arena *a, size_t least, size_t preferred, memory_allowance allowance,
                arena_cursor *cursor, bump_buffer *taken);
/* Gives a block back that was borrowed so, if there is one. */
void arena_end(arena_cursor *cursor);
/* Takes a block with a free run of `least` bytes for copies of survivors, in a pause: it is the caller's until
   arena_return(). While the heap has room that is one with runs worth while, or a new one; else any, whose
   `gaps` are to be filled. BLOCK_NONE: no memory. */
uint32_t arena_borrow(arena *a, size_t least, bool *gaps);
/* Takes the first free run at or behind `from` of such a block that is worth while, or any, and has `least` bytes, whole and
   not zeroed. False: there is none. */
bool arena_borrow_run(arena *a, uint32_t index, uintptr_t from, size_t least, bool any,
                      bump_buffer *taken);
/* Gives the rest of such a run back; and the block. */
void arena_return_run(arena *a, bump_buffer rest);
void arena_return(arena *a, uint32_t index);
/* Takes pages for one object; zeroed. 0: as arena_take(). For sealable arenas. */
uintptr_t arena_take_pages(arena *a, size_t bytes, size_t align, size_t offset, bool code,
                           memory_allowance allowance);
/* The buffer's objects, which all have their headers, get their start bits; what is left behind the last
   of them is free again. Returns 0, or an object whose header is destroyed: its size is unknown, and the
   buffer is not retired. */
uintptr_t arena_retire(arena *a, bump_buffer buffer);
/* Nobody will retire the buffer: its objects get no start bits before arena_retire_blocks(). */
void arena_abandon(arena *a, bump_buffer buffer);
/* Gives the end of a buffer back, from `end` on. */
void arena_trim(arena *a, bump_buffer *buffer, uintptr_t end);
/* What an object no longer needs, zeroed: from the next sweep on it is free. */
void arena_shrink(arena *a, uintptr_t tail);

/* ---- the collector, world stopped, no buffer handed out ------------------------------------------ */

static inline bool arena_is_start(const tsr_heap *heap, tsr_ref object) {
  const object_bits *bits = &heap->bits;
  return (uintptr_t)object % TSR_GRANULE == 0 &&
         object_bit_get_shared(bits->starts, object_bit_index(bits, (uintptr_t)object));
}

/* Whether the trace reaches the object now for the first time. `shared`: several workers trace. */
OS_ALWAYS_INLINE bool arena_reach(const tsr_heap *heap, tsr_ref object, bool shared) {
  const object_bits *bits = &heap->bits;
  size_t index = object_bit_index(bits, (uintptr_t)object);
  HEAP_CHECK(heap, arena_is_start(heap, object), object,
             "a reference into an arena does not lead to the start of an object");
  return object_bit_set_first(bits->marks, index, shared);
}

/* Sets the start bits of objects in buffers that were abandoned. */
void arena_retire_blocks(arena *a);

/*
 * Before a trace of the movable arena. With starts, every object gets its start bit; that looks at dead ones too.
 * Else no bit is a mark any more, not even that of a free run, and objects that were reached are found by their marks
 * alone.
 */
void arena_begin_trace(arena *a, bool with_starts);

/* Builds the lists anew, one block after the other, lowest last: those that are in use are kept and filed by
   their bits, the others released. */
void arena_begin_relist(arena *a);
void arena_relist(arena *a, uint32_t index, bool used);

/* Takes a block with its objects over, and their bits with it; or all blocks of another arena. */
void arena_take_over(arena *a, uint32_t index);
void arena_take_over_all(arena *a, arena *from);

/* Nothing in it counts as reached any more. */
void arena_clear_marks(arena *a);

/* A sweep frees what was not reached. To begin one is a matter of a few words. World stopped. */
void arena_begin_sweep(arena *a);
/* Sweeps one block. False: there is none. Any thread. */
bool arena_sweep_next(arena *a);
/* The same with a certain block, if it has still to be swept. */
void arena_sweep_block(arena *a, uint32_t index);
/* Bytes of what was reached, gaps between objects included, once a sweep has ended. */
static inline size_t arena_live_bytes(const arena *a) {
  return a->live_granules * TSR_GRANULE;
}

/* Calls back for every object, with its size or without. */
void arena_enumerate(const arena *a, tsr_object_callback callback, void *context);
void arena_each_object(const arena *a, void (*visit)(void *context, tsr_ref object), void *context);

/* Gives up the block that a link of its list leads to, all swept. Its gaps are zero from then on. And takes it back before the
   next sweep: those of its objects that stay have been reached. */
void arena_give_up(arena *a, uint32_t *link);
void arena_take_back(arena *a, uint32_t index);

/* The object that an address leads into, where every object has its start bit. In a collection, any worker. */
tsr_ref arena_object_at(const arena *a, uintptr_t address);

/* The first object in [from, end) of a block, of those that were reached only or of all; `end`: there is
   none. */
uintptr_t arena_next_object(const tsr_heap *heap, uintptr_t from, uintptr_t end, bool reached_only);

/* The object that an address in one of its blocks leads into; NULL: none. For mutators too. */
tsr_ref arena_object_of(arena *a, uintptr_t address);

/* The first free run at or behind `*end` of a block, for walks that begin with the block's start there. False: there
   is none. World stopped. */
bool arena_next_free(const arena *a, uint32_t index, uintptr_t *start, uintptr_t *end);

/* Where an object of the arena has to end: the next one, or a free run, begins there. */
uintptr_t arena_object_limit(const arena *a, tsr_ref object);

/* A rule of the arena's tables that is broken, as a sentence, and the block where; NULL: none is. */
const char *arena_fault(const arena *a, uint32_t *at_block);

/* For messages and reports. */
const char *arena_name(enum arena_id id);

/* Bytes of one of its blocks that are not free runs, buffers among them. World stopped. */
size_t arena_used_bytes(const arena *a, uint32_t index);

/* Bytes of its free runs, but for blocks that have still to be swept: about, for a run may grow by the gap in front of an
   aligned object. Any thread. */
static inline size_t arena_free_bytes(const arena *a) {
  intptr_t granules = (intptr_t)os_atomic_load(&a->free_granules);
  return granules > 0 ? (size_t)granules * TSR_GRANULE : 0;
}

static inline size_t arena_blocks(const arena *a) {
  return os_atomic_load(&a->count);
}

#endif
