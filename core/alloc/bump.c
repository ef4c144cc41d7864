/*
 * The bump allocator.
 */
#include "core/alloc/bump.h"

#include "core/os/error.h"
#include "core/space/spaces.h"

#define BUFFER_LEAST_BYTES ((size_t)2 << 10)

uintptr_t bump_allocate(tsr_bump_pointer *pair, const allocation *a) {
  if (pair->cursor == 0) return 0;
  uintptr_t result = ((pair->cursor + a->offset + (a->align - 1)) & ~(a->align - 1)) - a->offset;
  if (result > pair->limit || a->bytes > pair->limit - result) return 0;
  pair->cursor = result + a->bytes;
  return result;
}

/* Buffers shrink as mutators share the heap, so that unused ends stay a small part of it. */
static size_t bump_buffer_bytes(const tsr_heap *heap) {
  size_t mutators = os_atomic_load(&heap->bound_mutators);
  size_t share = os_atomic_load(&heap->limit_bytes) / (8 * (mutators == 0 ? 1 : mutators));
  size_t bytes = share < BUFFER_LEAST_BYTES ? BUFFER_LEAST_BYTES : share;
  uint64_t stress = heap->options.values.stress;
  if (stress != 0 && stress < bytes) bytes = (size_t)stress;
  if (bytes > BLOCK_BYTES) bytes = BLOCK_BYTES;
  return bytes & ~(heap->object_align - 1);
}

void bump_retire(tsr_heap *heap, tsr_bump_pointer *pair) {
  os_atomic_add_full(&heap->bytes_allocated, (uintptr_t)0 - (pair->limit - pair->cursor));
  *pair = (tsr_bump_pointer){0, 0};
}

bool bump_take(tsr_mutator *mutator, const allocation *a, bump_buffer *taken) {
  tsr_heap *heap = mutator->heap;
  size_t least = a->bytes + (a->align - heap->object_align);
  if (!bump_blocks_take(spaces_default(heap), least, bump_buffer_bytes(heap), taken)) return false;
  os_atomic_add_full(&heap->bytes_allocated, taken->end - taken->start);
  mutator->private_part->stress_bytes += taken->end - taken->start;
  return true;
}

uintptr_t bump_install(tsr_mutator *mutator, tsr_bump_pointer *pair, bump_buffer taken,
                       const allocation *a) {
  tsr_heap *heap = mutator->heap;
  bump_retire(heap, pair);
  *pair = (tsr_bump_pointer){.cursor = taken.start, .limit = taken.end};
  uintptr_t result = bump_allocate(pair, a);
  TSR_CHECK(result != 0, "a buffer taken for an allocation has room for it");
  /* Under the strictest stress nothing is left over, so that no inline path hits. */
  if (heap->options.values.stress == 1) bump_retire(heap, pair);
  return result;
}

void bump_revoke_all(struct tsr_mutator_private *mutator) {
  tsr_heap *heap = mutator->mutator->heap;
  for (size_t i = 0; i < TSR_BUMP_POINTERS; i++)
    bump_retire(heap, &mutator->mutator->bump[i]);
  for (uint32_t i = 0; i < mutator->cached_count; i++)
    bump_retire(heap, mutator->cached[i]);
}

/* ---- pairs that the VM caches ------------------------------------------------------------------ */

static uint32_t bump_find(const struct tsr_mutator_private *mutator, const tsr_bump_pointer *pair) {
  uint32_t i = 0;
  while (i < mutator->cached_count && mutator->cached[i] != pair)
    i++;
  return i;
}

static bool bump_make_room(tsr_heap *heap, struct tsr_mutator_private *mutator) {
  if (mutator->cached_count < mutator->cached_capacity) return true;
  uint32_t capacity = mutator->cached_capacity == 0 ? 4 : 2 * mutator->cached_capacity;
  size_t entry = sizeof *mutator->cached;
  tsr_bump_pointer **grown = segment_grow(&heap->account, MEMORY_MUTATORS, mutator->cached,
                                          mutator->cached_capacity * entry, capacity * entry);
  if (grown == NULL) return false;
  mutator->cached = grown;
  mutator->cached_capacity = capacity;
  return true;
}

tsr_status bump_register(tsr_mutator *mutator, tsr_bump_pointer *pair, tsr_error *error) {
  struct tsr_mutator_private *own = mutator->private_part;
  if (pair == NULL) {
    return error_set(error, TSR_INVALID_ARGUMENT, "tsr_register_bump_pointer: the pair is NULL");
  }
  if (mutator_check_managed(mutator, "tsr_register_bump_pointer", error) != TSR_OK) return TSR_BUSY;
  if (bump_find(own, pair) < own->cached_count) {
    return error_set(error, TSR_BUSY, "the bump pair at %p is registered already", (void *)pair);
  }
  if (!bump_make_room(mutator->heap, own)) {
    return error_set(error, TSR_OUT_OF_MEMORY, "no memory to register another bump pair");
  }
  own->cached[own->cached_count++] = pair;
  *pair = (tsr_bump_pointer){0, 0};
  return TSR_OK;
}

tsr_status bump_unregister(tsr_mutator *mutator, tsr_bump_pointer *pair, tsr_error *error) {
  struct tsr_mutator_private *own = mutator->private_part;
  if (mutator_check_managed(mutator, "tsr_unregister_bump_pointer", error) != TSR_OK) {
    return TSR_BUSY;
  }
  uint32_t i = bump_find(own, pair);
  if (i == own->cached_count) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "the bump pair at %p is not registered with this mutator", (void *)pair);
  }
  bump_retire(mutator->heap, pair);
  own->cached[i] = own->cached[--own->cached_count];
  return TSR_OK;
}
