/*
 * The spaces of a heap: the copy space, which serves default placement, and those whose objects stay
 * where they are, which all plans share.
 */
#ifndef CORE_SPACE_SPACES_H
#define CORE_SPACE_SPACES_H

#include "core/space/arena.h"
#include "core/space/copy.h"
#include "core/space/large.h"
#include "core/space/slide.h"

struct spaces {
  copy_space copy;
  arena arenas[ARENAS];
  large_space large;
  compaction compaction; /* of the movable arena */
  slide slide;
  bool looks_into_leaves; /* some block of the leaf arena passes for another's; in a pause */
};

/* Builds heap->spaces. */
tsr_status spaces_open(tsr_heap *heap, tsr_error *error);
void spaces_close(tsr_heap *heap);

/* The arena that a block of an arena belongs to. */
static inline arena *spaces_arena_of(const tsr_heap *heap, uintptr_t address) {
  const block *b = block_map_at(&heap->blocks, block_map_index(&heap->blocks, address));
  return &heap->spaces->arenas[b->arena];
}

/* Blocks whose objects are marked, not copied. */
size_t spaces_marked_blocks(const tsr_heap *heap);

/* The object that any address leads into; NULL: none. For a mutator under a plan that offers interior pointers,
   and for the collector before it has copied anything. */
tsr_ref spaces_object_of(const tsr_heap *heap, uintptr_t address);

/* Whether an object that stays while the trace runs has been reached: one in an arena or large. Any worker. */
bool spaces_is_reached(const tsr_heap *heap, tsr_ref object);

/* Frees what was not reached among the objects that stay, and seals again what was opened; returns
   the bytes of what was reached. World stopped. */
size_t spaces_release_staying(tsr_heap *heap);
/* The same in parts. It begins and ends with the world stopped. */
void spaces_begin_release(tsr_heap *heap);
size_t spaces_finish_release(tsr_heap *heap);
/* Of what lies in arenas, what came after the last sweep had begun. World stopped, everything swept. */
size_t spaces_since_sweep_bytes(const tsr_heap *heap);
/* Sweeps what is left of it, or so many blocks; returns how many there were. Any thread. */
uint32_t spaces_sweep_some(tsr_heap *heap, uint32_t most);
void spaces_sweep_all(tsr_heap *heap);

/* Nothing that stays counts as reached any more. World stopped. */
void spaces_clear_marks(tsr_heap *heap);

/* Sets the start bits of objects in buffers that were abandoned. World stopped. */
void spaces_retire_blocks(tsr_heap *heap);

/* Before a trace of everything, all swept: leaves lie with other objects from now on, and the gaps between them serve all. */
void spaces_mix_leaves(tsr_heap *heap);

/* In a pause, of a leaf that has not been reached: whoever reaches an object of its block has to look at it. Until all such are
   passed by again. A large one is looked at from then on. */
void spaces_look_into_leaves(tsr_heap *heap, tsr_ref leaf);
void spaces_pass_by_leaves(tsr_heap *heap);

/* Calls back for every object of every space, or for every immortal one. World stopped, no buffer handed out. */
void spaces_enumerate(const tsr_heap *heap, tsr_object_callback callback, void *context);
void spaces_each_immortal(const tsr_heap *heap, void (*visit)(void *context, tsr_ref object),
                          void *context);

/* Whether an object is in an arena, of those whose objects have no pages of their own and are not slid together. */
static inline bool spaces_is_in(const tsr_heap *heap, tsr_ref object, enum arena_id id) {
  const block_map *map = &heap->blocks;
  return block_map_space_of(map, (uintptr_t)object) == BLOCK_ARENA &&
         spaces_arena_of(heap, (uintptr_t)object)->id == id;
}

/* Every object of default placement stays where it is from now on. World stopped, no buffer handed out. False: no
   memory for the tables, and nothing changed. */
bool spaces_freeze(tsr_heap *heap);

/* In a collection that looks at everything, before it has reached anything, all swept: sparse blocks of promoted objects
   become blocks of from-space, as many as there is room for the copies that so many workers make. */
void spaces_evacuate(tsr_heap *heap, uint32_t workers);

/* After each collection: gives memory that was not used for some time back to the system, after an idle one all that is
   free, and what the tables had for it. World stopped. */
void spaces_return_memory(tsr_heap *heap, bool is_idle);

/* Divides the range of the heap's blocks into stretches by what they are. World stopped, under the block map's lock. */
void spaces_divide(void *heap, memory_stretch_visit *visit, void *context);

/* Takes and lets go the locks of this room around fork(). */
void spaces_fork(tsr_heap *heap, os_fork_stage stage);

#endif
