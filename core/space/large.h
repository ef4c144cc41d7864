/*
 * The large space: each object has a run of blocks of its own and never moves. Flags in the first
 * block's descriptor say whether the trace has reached it, and what kind of object it is; what was
 * not reached is freed, but for immortal objects, which are roots.
 *
 * With a young generation most are born *young*: one that the next minor collection does not reach is freed by it; one that
 * it does reach is old from then on, where it is [design: young-large].
 */
#ifndef CORE_SPACE_LARGE_H
#define CORE_SPACE_LARGE_H

#include "core/heap/heap.h"

/* Young arrays of so many bytes are born armed: to read one of this size takes about half a millisecond. */
#define LARGE_ARMED_BYTES ((size_t)4 << 20)

typedef struct large_space {
  tsr_heap *heap;
  uint32_t first; /* list of first blocks, newest first; under the heap's admission lock, or by
                            the collecting thread in a pause */
  uint32_t
      first_old; /* what is in front of it in the list was born after the last collection; the same */
  os_atomic_word blocks;       /* in all runs; read by any thread that sizes the heap */
  os_atomic_word young_blocks; /* of these, in runs of young objects */
  size_t live_bytes;           /* after the last trace */
} large_space;

void large_space_open(large_space *space, tsr_heap *heap);

/* Blocks that an object would take; 0: more than any heap has. */
size_t large_space_blocks_for(size_t bytes, size_t align, size_t offset);

/* What a large object is. */
typedef struct large_kind {
  bool immortal, sealable, code;
} large_kind;

/* A zeroed object such that (result + offset) % align == 0, or 0 when the heap does not admit it
   without a collection, or no run can be had. */
uintptr_t large_space_allocate(large_space *space, size_t bytes, size_t align, size_t offset,
                               large_kind kind, memory_allowance allowance);

/* Has bits for the slots of a new object's array, if there is memory for them; BLOCK_SLOTTED says so. A young one that takes
   long to read is armed, for its slots are empty still. */
void large_space_add_slot_bits(large_space *space, tsr_ref object);

/* Of a new object: it refers to nothing, and whoever reaches it need not look at it. */
void large_space_note_leaf(large_space *space, tsr_ref object);
bool large_space_is_leaf(const large_space *space, tsr_ref object);
/* In a pause: whoever reaches it has to, from now on. */
void large_space_look_into(large_space *space, tsr_ref object);

/* Whether an object is young and was born armed. While it still is, each slot that refers to something is noted. */
bool large_space_is_armed_young(const large_space *space, tsr_ref object);

/* In a minor collection, before a young object is reached, by the collecting thread between traces: it will be read whole, if at
   all, whatever is noted of it. Before anything is reached: so will all that are not armed any more. */
void large_space_read_whole(large_space *space, tsr_ref object);
void large_space_prepare_young(large_space *space);

/* Whether so many more blocks of young objects are to wait for a minor collection. Any thread. */
bool large_space_is_due(const large_space *space, size_t blocks);

static inline size_t large_space_young_blocks(const large_space *space) {
  return os_atomic_load(&space->young_blocks);
}

/* Bytes between an object and the end of its run. */
size_t large_space_room(const large_space *space, tsr_ref object);

/* Gives back the blocks behind an object that now has `bytes`. */
void large_space_shrink(large_space *space, tsr_ref object, size_t bytes);

/* The object whose first block this is. */
tsr_ref large_space_object(const large_space *space, uint32_t first);

/* The first block of the run that a later block belongs to. */
static inline uint32_t large_space_head(const tsr_heap *heap, uint32_t index) {
  return block_map_at(&heap->blocks, index)->run_next;
}

/* The object in the run that begins with this block, if the address leads into it; NULL: it does not. */
tsr_ref large_space_object_of(const large_space *space, uint32_t first, uintptr_t address);

/* Whether `object` is the start of a large object that the trace reaches now for the first time. */
bool large_space_reach(large_space *space, tsr_ref object, bool shared);

static inline size_t large_space_blocks(const large_space *space) {
  return os_atomic_load(&space->blocks);
}

/* The same for a young object in a minor collection, which is old then: its block is BLOCK_LARGE. */
bool large_space_promote(large_space *space, tsr_ref object, bool shared);

/* Before a collection of everything: what is young counts as old. World stopped. */
void large_space_promote_all(large_space *space);

/* After the trace of a minor collection: frees what is still young. What was promoted stays reached if a cycle of marking is
   under way. World stopped. */
void large_space_release_young(large_space *space);

/* No object counts as reached any more. World stopped. */
void large_space_clear_marks(large_space *space);

/* Frees what was not reached; returns the bytes of what was. World stopped. */
void large_space_release(large_space *space);

/* Calls back for every object, with its size; for every immortal one. */
void large_space_enumerate(const large_space *space, tsr_object_callback callback, void *context);
void large_space_each_immortal(const large_space *space,
                               void (*visit)(void *context, tsr_ref object), void *context);

#endif
