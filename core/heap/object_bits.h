/*
 * Two bits for each granule of the heap's range, in two bitmaps at a fixed shift from its base: what
 * lies where in the blocks of arenas, without a look at them [design: object-bits].
 *
 *     start mark
 *       0    0    goes on from before
 *       0    1    a free run starts here
 *       1    0    an object starts here, not reached yet
 *       1    1    an object starts here, and the tracer has reached it
 *
 * In the blocks of a large object a start bit means a slot of an array that was stored into (core/trace/remembered.h).
 *
 * So a sweep is two operations on each pair of words (LuaJIT's arenas have the same four states,
 * M. Pall's notes on its new collector). Words are committed with the first block that needs them.
 */
#ifndef CORE_HEAP_OBJECT_BITS_H
#define CORE_HEAP_OBJECT_BITS_H

#include <tessera/types.h>

#include "core/heap/block.h"
#include "core/memory/provider.h"
#include "core/os/atomic.h"
#include "core/os/compiler.h"

#define BLOCK_GRANULES   ((uint32_t)(BLOCK_BYTES / TSR_GRANULE))
#define BLOCK_BIT_WORDS  (BLOCK_GRANULES / 64)
#define OBJECT_BIT_SHIFT 3 /* bytes to granules */

struct block_map;

typedef struct object_bits {
  memory_account *account;
  uintptr_t heap_base;
  uint64_t *starts, *marks;
  size_t reserved_bytes; /* of each */
  memory_mapping starts_mapping, marks_mapping;
  memory_table
      covered; /* a byte per page of either bitmap: committed; under the heap's admission lock */
} object_bits;

/* False: the system refuses address space. */
bool object_bits_create(object_bits *bits, memory_account *account, uintptr_t heap_base,
                        uint32_t block_count);
void object_bits_destroy(object_bits *bits);

/* Makes a block's words usable, and clears them. Under the heap's admission lock. False: no memory. */
bool object_bits_cover(object_bits *bits, uint32_t block_index, memory_allowance allowance);

/* After each collection: gives back what blocks that are not committed had. World stopped. */
void object_bits_end_collection(object_bits *bits, const struct block_map *map);

/* The words of a block. */
static inline uint64_t *object_bits_of(uint64_t *bitmap, uint32_t block_index) {
  return bitmap + (size_t)block_index * BLOCK_BIT_WORDS;
}

static inline size_t object_bit_index(const object_bits *bits, uintptr_t address) {
  return (address - bits->heap_base) >> OBJECT_BIT_SHIFT;
}

static inline bool object_bit_get(const uint64_t *bitmap, size_t index) {
  return ((bitmap[index / 64] >> (index % 64)) & 1) != 0;
}

static inline bool object_bit_get_shared(const uint64_t *bitmap, size_t index) {
  return ((os_atomic64_load_acquire(&bitmap[index / 64]) >> (index % 64)) & 1) != 0;
}

static inline void object_bit_set(uint64_t *bitmap, size_t index) {
  bitmap[index / 64] |= (uint64_t)1 << (index % 64);
}

/* Sets a bit that is not set; false: it was. `shared`: other threads set bits of the same word. */
OS_ALWAYS_INLINE bool object_bit_set_first(uint64_t *bitmap, size_t index, bool shared) {
  uint64_t *word = &bitmap[index / 64];
  uint64_t bit = (uint64_t)1 << (index % 64);
  if (!shared) {
    uint64_t old = *word;
    /* Not `old & bit`: this way compilers find the processor's bit instructions. */
    if ((old >> (index % 64) & 1) != 0) return false;
    *word = old | bit;
    return true;
  }
  uint64_t old;
  do {
    old = os_atomic64_load_acquire(word);
    if ((old & bit) != 0) return false;
  } while (!os_atomic64_compare_exchange_full(word, old, old | bit));
  return true;
}

/* Changes a bit while other threads change bits of the same word. */
static inline void object_bit_change_shared(uint64_t *bitmap, size_t index, bool set) {
  uint64_t *word = &bitmap[index / 64];
  uint64_t bit = (uint64_t)1 << (index % 64), old;
  do {
    old = os_atomic64_load_acquire(word);
  } while (!os_atomic64_compare_exchange_full(word, old, set ? old | bit : old & ~bit));
}

static inline void object_bit_clear(uint64_t *bitmap, size_t index) {
  bitmap[index / 64] &= ~((uint64_t)1 << (index % 64));
}

/* Sets bits in rising order. Those of a word are stored together: one store each would wait for the one before. */
typedef struct object_bit_writer {
  uint64_t *bitmap;
  size_t word;
  uint64_t bits; /* of that word, to be stored */
} object_bit_writer;

static inline void object_bits_flush(object_bit_writer *writer) {
  if (writer->bits != 0) writer->bitmap[writer->word] |= writer->bits;
  writer->bits = 0;
}

static inline void object_bits_write(object_bit_writer *writer, size_t index) {
  if (index / 64 != writer->word) object_bits_flush(writer);
  writer->word = index / 64;
  writer->bits |= (uint64_t)1 << (index % 64);
}

#endif
