/*
 * Blocks: the unit in which a heap hands out, sweeps and returns memory.
 *
 * A byte per block says what the block is, so that "is this a reference into the heap, and into which
 * space" is one subtraction, one compare and one load [design: block-table]. A descriptor per
 * block holds the rest. Both tables are as long as the heap's extent, the part of its range that was
 * ever committed.
 */
#ifndef CORE_HEAP_BLOCK_H
#define CORE_HEAP_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tessera/types.h>

#define BLOCK_SHIFT 15
#define BLOCK_BYTES ((size_t)1 << BLOCK_SHIFT)
#define CHUNK_BYTES ((size_t)4 << 20)
#define BLOCK_NONE  UINT32_MAX

_Static_assert(TSR_MAX_INLINE_BYTES == BLOCK_BYTES / 4, "larger than a quarter block is large");

/* What a block is: the values of the byte table. */
enum block_space {
  BLOCK_UNCOMMITTED = 0,
  BLOCK_FREE,   /* committed, in no space */
  BLOCK_COPY_A, /* the copy space's two roles: which one is from-space changes */
  BLOCK_COPY_B,
  BLOCK_PINNED, /* from-space that a pin or an ambiguous word keeps in place, during a collection */
  BLOCK_LARGE_YOUNG, /* of a young large object, the first block; the others are as an old one's */
  /* From here on, objects stay where they are while the tracer runs, and are marked: block_space_stays(). */
  BLOCK_LARGE_REST, /* of a large object, the blocks behind the first */
  BLOCK_LARGE,
  BLOCK_SEALED, /* an arena's whose objects have pages of their own, and may be sealed */
  /* From here on, by their bit and nothing else: block_space_has_bits_only(). */
  BLOCK_LEAVES, /* an arena's whose objects refer to nothing: whoever marks them need not look at them */
  BLOCK_ARENA,  /* whose objects stay where they are */
  BLOCK_MOVABLE /* an arena's whose objects compaction may move */
};

static inline bool block_space_stays(enum block_space space) {
  return space >= BLOCK_LARGE_REST;
}

static inline bool block_space_is_copied(enum block_space space) {
  return space >= BLOCK_COPY_A && space <= BLOCK_PINNED;
}

/* A block with which a large object begins. */
static inline bool block_space_begins_large(enum block_space space) {
  return space == BLOCK_LARGE || space == BLOCK_LARGE_YOUNG;
}

static inline bool block_space_is_large(enum block_space space) {
  return block_space_begins_large(space) || space == BLOCK_LARGE_REST;
}

static inline bool block_space_has_bits_only(enum block_space space) {
  return space >= BLOCK_LEAVES;
}

enum block_flag {
  BLOCK_CLEAN = 1,    /* never written since it was committed: still zero */
  BLOCK_IMMORTAL = 2, /* large: never freed, and a root */
  BLOCK_SEALABLE = 4, /* large: may be sealed */
  BLOCK_OPENED = 8,   /* sealed pages are open for the collector, in this pause */
  BLOCK_SHRUNK = 16,  /* immortal arena: the end of an object here is free from the next sweep on */
  BLOCK_UNRETIRED = 32, /* arena: has buffers that nobody retires: the next collection walks them */
  BLOCK_LEAF = 32,      /* large: it refers to nothing, and is not looked at when it is reached */
  BLOCK_PLACED = 64,    /* arena: compaction leaves its objects where they are, in this pause */
  BLOCK_BORN_ARMED =
      64, /* large: while the object is young and armed, each slot that leads somewhere is noted */
  BLOCK_SLOTTED = 128 /* large: there are bits for the slots of its array */
};

typedef struct block {
  uint32_t top_bytes;  /* copy: [0, top) is handed out and can be walked; large: where in the
                           block the object begins */
  uint32_t next;       /* next block of its space's list, or BLOCK_NONE */
  uint32_t run_blocks; /* length of the run that the block was handed out in */
  union {
    uint16_t freed_at; /* free: low bits of the collection count when it was freed */
    uint8_t
        remembered; /* arena, large, with a young generation: objects here may refer to it, and not all that do
                           are in the log (core/trace/remembered.h). Set by any thread, cleared in a pause */
  };
  uint8_t flags; /* enum block_flag. Owned by the space while in use, by the map while free */
  union {
    uint8_t arena; /* arena: which one has it; from-space: the one that has given it up, if any */
    uint8_t
        stored; /* large, each block: some slots of an array in it are noted (core/trace/remembered.h). Set
                       by any thread, cleared in a pause */
  };

  uint32_t run_next, run_previous; /* arena: neighbours in the list of its class of free runs */
  uint16_t longest_run;            /* arena: its longest free run, in granules */
  uint8_t code_pages;    /* a bit per page whose object holds code; large: bit 0 for the run */
  uint8_t sealed_pages;  /* a bit per page that is sealed; large: bit 0 for the run */
  uint8_t refused_pages; /* of these, where a store has come to the write barrier */

  /* Each a byte of its own, set by several collecting threads during a trace and cleared after it. */
  uint8_t rescan; /* a mark-queue entry of this block was dropped: walk it again */
  union {
    uint8_t reached;  /* large: the tracer has reached the object */
    uint8_t borrowed; /* arena: a mutator goes through its free runs, and it is filed nowhere */
  };
  union {
    uint8_t kept; /* copy: survivors stay in place */
    uint8_t
        sweep; /* arena: the sweep that it was in last. Not the arena's: it has still to be swept */
  };
} block;

#endif
