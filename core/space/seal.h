/*
 * Sealed pages: objects that nobody writes any more, and code.
 *
 * An object that may be sealed lies alone on its pages: in a sealable arena, or, where it is large,
 * in blocks of its own. Which pages hold code and which are sealed is in the descriptors of their blocks,
 * under the lock of the block map while mutators run. The collector, which
 * must update the references in sealed objects, opens them when it reaches such an object, and closes
 * them before mutators run. It opens a whole region at once, every block up to the next that
 * is never sealed: so no mapping is split, which a process at its limit of mappings could not do
 * [design: sealed-pages].
 */
#ifndef CORE_SPACE_SEAL_H
#define CORE_SPACE_SEAL_H

#include "core/heap/heap.h"

/* The granules [first, end) of a sealable arena's block are an object's pages. */
void seal_declare(tsr_heap *heap, uint32_t block_index, uint32_t first, uint32_t end, bool code);

/* Whether the object was allocated to be sealed, and whether it is. It lies in the heap. */
bool seal_is_possible(const tsr_heap *heap, tsr_ref object);
bool seal_is_closed(tsr_heap *heap, tsr_ref object);
bool seal_is_code(tsr_heap *heap, tsr_ref object);

/* By a mutator. `bytes` is the object's size. False: the system refuses, and nothing changed. */
bool seal_close(tsr_heap *heap, tsr_ref object, size_t bytes);
bool seal_open(tsr_heap *heap, tsr_ref object, size_t bytes);

/* Whether the page at an address is sealed; of a large object, its first block is asked. Takes no lock: for a signal
   handler. */
bool seal_is_read_only(const tsr_heap *heap, uintptr_t address);

/* A store into a sealed object has come to the write barrier; whether one has. */
void seal_note_refused(tsr_heap *heap, tsr_ref object);
bool seal_was_refused(const tsr_heap *heap, tsr_ref object);

/* ---- the collector, world stopped ----------------------------------------------------------------- */

/* Makes the pages around a sealed object writable until seal_close_again(). */
void seal_open_region(tsr_heap *heap, tsr_ref object);
/* The granules [first, end) of a sealable arena's block are free: what is sealed there no longer is. */
void seal_forget(tsr_heap *heap, uint32_t block_index, uint32_t first, uint32_t end);
/* Seals all that was opened, and what could not be sealed before for want of a mapping. */
void seal_close_again(tsr_heap *heap);

/* Whether some page around the object is sealed, so that seal_open_reached() has to be called. */
static inline bool seal_is_to_open(const tsr_heap *heap, tsr_ref object) {
  return block_map_at(&heap->blocks, block_map_index(&heap->blocks, (uintptr_t)object))
             ->sealed_pages != 0;
}

/* Opens a sealed object that the trace has reached and whose slots it will write. One thread at a time. */
static inline void seal_open_reached(tsr_heap *heap, tsr_ref object) {
  const block *b = block_map_at(&heap->blocks, block_map_index(&heap->blocks, (uintptr_t)object));
  if (TSR_UNLIKELY(b->sealed_pages != 0) && (b->flags & BLOCK_OPENED) == 0) {
    seal_open_region(heap, object);
  }
}

#endif
