/*
 * The bump allocator.
 */
#include "core/alloc/reservation.h"

#include "core/object/walk.h"
#include "core/os/error.h"

#define BUFFER_LEAST_BYTES ((size_t)2 << 10)

static const bump_buffer no_buffer = {0, 0};

/* ---- slots ------------------------------------------------------------------------------------- */

/* What default placement is served from; NULL: the copy space, while that has room. */
static arena *bump_default_arena(const tsr_heap *heap) {
  arena *arenas = heap->spaces->arenas;
  if (heap->plan->movable_arena) return &arenas[ARENA_MOVABLE];
  return heap_form(heap)->promoted_arena ? &arenas[ARENA_PROMOTED] : NULL;
}

/* Leaves that are born old have blocks of their own, like those that are promoted. What a reservation holds serves all alike. */
bump_slot *bump_slot_for(tsr_mutator *mutator, const allocation *a) {
  struct tsr_mutator_private *own = mutator->private_part;
  uint32_t placement = allocation_placement(a);
  bool is_leaf = placement == TSR_DEFAULT && (a->semantics & TSR_LEAF) != 0;
  return is_leaf && heap_form(mutator->heap)->promoted_arena && !own->reserves
             ? &own->leaves
             : &own->pairs[placement];
}

static bump_slot bump_default_slot(const tsr_heap *heap, tsr_bump_pointer *pair) {
  return (bump_slot){.pair = pair, .arena = bump_default_arena(heap), .is_default = true};
}

/* Whether default placement is served from among the old: when the last collection has left no room for a single block
   of the young, nor could the heap grow [design: born-old]. A pair that the VM itself sees to is told from a stale one by
   its space. */
static bool bump_is_born_old(const tsr_mutator *mutator, const bump_slot *slot) {
  tsr_heap *heap = mutator->heap;
  return heap_form(heap)->generational && slot != &mutator->private_part->foreign &&
         copy_space_blocks(&heap->spaces->copy) <= os_atomic_load(&heap->nursery.left_blocks) &&
         !heap_could_admit(heap, 1, 0);
}

/* Whether nobody retires a pair's buffers. A slide finds objects by their marks, so the many that die there are never looked at;
   and what the VM has taken from a pair that it sees to itself is not known. */
static bool bump_is_abandoned(const tsr_mutator *mutator, const bump_slot *slot) {
  return slot->arena != NULL &&
         (slot->arena->id == ARENA_MOVABLE || slot == &mutator->private_part->foreign);
}

/* Where a buffer lies; NULL: in the copy space. */
static arena *bump_arena_at(const tsr_heap *heap, bump_buffer buffer) {
  bool stays = block_space_stays(block_map_space_of(&heap->blocks, buffer.start));
  return stays ? spaces_arena_of(heap, buffer.start) : NULL;
}

void bump_open(tsr_mutator *mutator) {
  arena *arenas = mutator->heap->spaces->arenas;
  bump_slot *pairs = mutator->private_part->pairs;
  for (size_t i = 0; i < TSR_BUMP_POINTERS; i++)
    pairs[i] = (bump_slot){.pair = &mutator->bump[i]};
  pairs[TSR_DEFAULT] = bump_default_slot(mutator->heap, pairs[TSR_DEFAULT].pair);
  mutator->private_part->leaves =
      (bump_slot){.pair = &mutator->private_part->leaves_pair, .is_for_leaves = true};
  pairs[TSR_IMMORTAL].arena = &arenas[ARENA_IMMORTAL];
  pairs[TSR_NON_MOVING].arena = &arenas[ARENA_NON_MOVING];
}

void bump_close(struct tsr_mutator_private *own) {
  memory_account *account = &own->heap->account;
  segment_release(account, MEMORY_MUTATORS, own->cached,
                  own->cached_capacity * sizeof *own->cached);
  segment_release(account, MEMORY_MUTATORS, own->buffers,
                  own->buffer_capacity * sizeof *own->buffers);
  segment_release(account, MEMORY_MUTATORS, own->reserved,
                  own->reserved_capacity * sizeof *own->reserved);
}

/* Those of the mutator's own, by placement, the one for leaves, and behind them those that the VM registered. */
static uint32_t bump_slots(const struct tsr_mutator_private *own) {
  return (uint32_t)TSR_BUMP_POINTERS + 1 + own->cached_count;
}

static bump_slot *bump_slot_at(struct tsr_mutator_private *own, uint32_t i) {
  if (i < TSR_BUMP_POINTERS) return &own->pairs[i];
  return i == TSR_BUMP_POINTERS ? &own->leaves : &own->cached[i - TSR_BUMP_POINTERS - 1];
}

static uint32_t bump_find_cached(const struct tsr_mutator_private *own,
                                 const tsr_bump_pointer *pair) {
  uint32_t i = 0;
  while (i < own->cached_count && own->cached[i].pair != pair)
    i++;
  return i;
}

bump_slot *bump_slot_of(tsr_mutator *mutator, tsr_bump_pointer *pair) {
  struct tsr_mutator_private *own = mutator->private_part;
  for (uint32_t i = 0; i < bump_slots(own); i++) {
    if (bump_slot_at(own, i)->pair == pair) return bump_slot_at(own, i);
  }
  arena_cursor cursor = own->foreign.cursor;
  own->foreign = bump_default_slot(mutator->heap, pair);
  own->foreign.cursor = cursor;
  return &own->foreign;
}

/* ---- verifying ------------------------------------------------------------------------------------ */

/* Remembers a buffer, so that a pair can be told from a stale one. Where there is no memory to, every
   pair passes. */
static void bump_remember(tsr_mutator *mutator, bump_buffer buffer) {
  struct tsr_mutator_private *own = mutator->private_part;
  if (own->buffer_count == own->buffer_capacity) {
    uint32_t capacity = own->buffer_capacity == 0 ? 16 : 2 * own->buffer_capacity;
    bump_buffer *grown =
        segment_grow(&mutator->heap->account, MEMORY_MUTATORS, own->buffers,
                     own->buffer_capacity * sizeof buffer, capacity * sizeof buffer);
    if (grown == NULL) {
      own->buffers_lost = true;
      return;
    }
    own->buffers = grown;
    own->buffer_capacity = capacity;
  }
  own->buffers[own->buffer_count++] = buffer;
}

static bool bump_is_remembered(const struct tsr_mutator_private *own,
                               const tsr_bump_pointer *pair) {
  if (own->buffers_lost) return true;
  for (uint32_t i = own->buffer_count; i > 0; i--) {
    bump_buffer buffer = own->buffers[i - 1];
    if (pair->limit <= buffer.end && pair->cursor >= buffer.start) return true;
  }
  return false;
}

/* Whether what a pair holds is its mutator's. Without the verifier a stale pair may pass: its block may be in use
   again. */
static bool bump_pair_is_good(const tsr_mutator *mutator, const bump_slot *slot) {
  const tsr_heap *heap = mutator->heap;
  const tsr_bump_pointer *pair = slot->pair;
  if (pair->cursor > pair->limit) return false;
  bool foreign = slot == &mutator->private_part->foreign;
  if (slot->arena != NULL && !foreign) {
    return pair->limit == slot->buffer.end && pair->cursor >= slot->buffer.start;
  }
  if (heap->verifies) return bump_is_remembered(mutator->private_part, pair);
  enum block_space space =
      slot->arena == NULL ? heap->spaces->copy.to.space : arena_space(slot->arena);
  return block_map_space_of(&heap->blocks, pair->limit - 1) == space;
}

static bool bump_is_stale(const tsr_mutator *mutator, const bump_slot *slot) {
  bool empty = slot->pair->limit == 0 && slot->pair->cursor == 0;
  return !empty && !bump_pair_is_good(mutator, slot);
}

static void bump_check_pair(const tsr_mutator *mutator, const bump_slot *slot) {
  if (TSR_LIKELY(!bump_is_stale(mutator, slot))) return;
  heap_misuse(
      mutator->heap, (const void *)slot->pair->cursor,
      "a stale bump pair: it holds a buffer that a collection took back, so a copy of it was "
      "not set to zero when mutators were resumed");
}

static void bump_check_zero(const tsr_mutator *mutator, uintptr_t start, uintptr_t end) {
  if (object_walk_next(start, end) == end) return;
  heap_misuse(mutator->heap, (const void *)start,
              "a bump pair hands out memory that is in use: two copies of it were used, and what "
              "the VM had taken from its own was not copied in before the call");
}

/* ---- allocation ------------------------------------------------------------------------------------ */

uintptr_t bump_allocate(tsr_mutator *mutator, bump_slot *slot, const allocation *a) {
  tsr_bump_pointer *pair = slot->pair;
  bump_check_pair(mutator, slot);
  if (pair->cursor == 0) return 0;
  uintptr_t result = ((pair->cursor + a->offset + (a->align - 1)) & ~(a->align - 1)) - a->offset;
  if (result > pair->limit || a->bytes > pair->limit - result) return 0;
  pair->cursor = result + a->bytes;
  if (mutator->heap->verifies) bump_check_zero(mutator, result, pair->cursor);
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

static bool bump_find_buffer(tsr_mutator *mutator, const bump_slot *slot, size_t least,
                             size_t preferred, memory_allowance allowance, arena_cursor *cursor,
                             bump_buffer *taken) {
  tsr_heap *heap = mutator->heap;
  arena *arenas = heap->spaces->arenas;
  if (slot->is_for_leaves &&
      arena_take(&arenas[ARENA_LEAVES], least, preferred, allowance, cursor, taken)) {
    return true;
  }
  arena *a = slot->is_default || slot->is_for_leaves ? bump_default_arena(heap) : slot->arena;
  if (a == NULL) {
    if (bump_blocks_take(&heap->spaces->copy.to, least, preferred, allowance, taken)) return true;
    if (!bump_is_born_old(mutator, slot)) return false;
    a = &arenas[ARENA_PROMOTED];
  }
  return arena_take(a, least, preferred, allowance, cursor, taken);
}

bool bump_take_buffer(tsr_mutator *mutator, const bump_slot *slot, size_t least, size_t preferred,
                      memory_allowance allowance, arena_cursor *cursor, bump_buffer *taken) {
  if (!bump_find_buffer(mutator, slot, least, preferred, allowance, cursor, taken)) return false;
  mutator->private_part->stress_bytes += taken->end - taken->start;
  return true;
}

bool bump_take(tsr_mutator *mutator, bump_slot *slot, const allocation *a,
               memory_allowance allowance, bump_buffer *taken) {
  const tsr_heap *heap = mutator->heap;
  size_t least = a->bytes + (a->align - heap->object_align);
  return bump_take_buffer(mutator, slot, least, bump_buffer_bytes(heap), allowance, &slot->cursor,
                          taken);
}

void bump_give_back(tsr_heap *heap, bump_buffer taken) {
  arena *a = bump_arena_at(heap, taken);
  os_atomic_add_full(&heap->bytes_allocated, taken.start - taken.end);
  if (a == NULL) {
    bump_blocks_give_back(&heap->spaces->copy.to, taken);
  } else {
    arena_trim(a, &taken, taken.start);
  }
}

/* Empties a pair; its buffer can be walked. Where an object's header is destroyed, returns that, and keeps
   the buffer for another attempt. */
static uintptr_t bump_retire(tsr_heap *heap, bump_slot *slot) {
  tsr_bump_pointer *pair = slot->pair;
  uintptr_t cursor = pair->cursor;
  os_atomic_add_full(&heap->bytes_allocated, (uintptr_t)0 - (pair->limit - cursor));
  *pair = (tsr_bump_pointer){0, 0};
  uintptr_t unwalkable = 0;
  if (slot->arena != NULL && slot->arena->id == ARENA_MOVABLE) {
    if (cursor != 0 && cursor < slot->buffer.end) arena_trim(slot->arena, &slot->buffer, cursor);
  } else if (slot->arena != NULL && slot->buffer.end != 0) {
    unwalkable = arena_retire(slot->arena, slot->buffer);
  }
  if (unwalkable == 0) slot->buffer = no_buffer;
  return unwalkable;
}

static void bump_check_walkable(const tsr_heap *heap, uintptr_t unwalkable) {
  HEAP_ALWAYS_CHECK(
      heap, unwalkable == 0, (const void *)unwalkable,
      "an object's layout is unknown, or its size runs past its buffer: its header was "
      "never written, or overwritten");
}

/* Leaves nothing over behind an allocation, so that no inline path hits. Its buffer is retired when
   the object has its header. */
static void bump_leave_nothing(tsr_heap *heap, bump_slot *slot) {
  tsr_bump_pointer *pair = slot->pair;
  os_atomic_add_full(&heap->bytes_allocated, (uintptr_t)0 - (pair->limit - pair->cursor));
  if (slot->arena != NULL) arena_trim(slot->arena, &slot->buffer, pair->cursor);
  *pair = (tsr_bump_pointer){0, 0};
}

uintptr_t bump_install(tsr_mutator *mutator, bump_slot *slot, bump_buffer taken,
                       const allocation *a) {
  tsr_heap *heap = mutator->heap;
  bump_check_walkable(heap, bump_retire(heap, slot));
  slot->buffer = taken;
  slot->arena = bump_arena_at(heap, taken);
  if (bump_is_abandoned(mutator, slot)) arena_abandon(slot->arena, taken);
  *slot->pair = (tsr_bump_pointer){.cursor = taken.start, .limit = taken.end};
  if (heap->verifies) bump_remember(mutator, taken);
  uintptr_t result = bump_allocate(mutator, slot, a);
  TSR_CHECK(result != 0, "a buffer taken for an allocation has room for it");
  bool reserves = mutator->private_part->reserves; /* which a collection is not to touch */
  if (heap->options.values.stress == 1 && !reserves) bump_leave_nothing(heap, slot);
  return result;
}

static void bump_revoke(tsr_mutator *mutator, bump_slot *slot) {
  bump_check_pair(mutator, slot);
  uintptr_t unwalkable = bump_retire(mutator->heap, slot);
  if (unwalkable != 0) mutator->private_part->unwalkable = unwalkable;
  arena_end(&slot->cursor);
}

const tsr_bump_pointer *bump_stale_pair(const tsr_mutator *mutator) {
  struct tsr_mutator_private *own = mutator->private_part;
  for (uint32_t i = 0; i < bump_slots(own); i++) {
    const bump_slot *slot = bump_slot_at(own, i);
    if (bump_is_stale(mutator, slot)) return slot->pair;
  }
  return NULL;
}

void bump_revoke_all(tsr_mutator *mutator) {
  struct tsr_mutator_private *own = mutator->private_part;
  own->unwalkable = 0;
  bump_put_back(mutator);
  reservation_end(mutator);
  for (uint32_t i = 0; i < bump_slots(own); i++)
    bump_revoke(mutator, bump_slot_at(own, i));
  arena_end(&own->foreign.cursor);
  own->buffer_count = 0;
  own->buffers_lost = false;
}

void bump_check_revoked(const tsr_mutator *mutator) {
  bump_check_walkable(mutator->heap, mutator->private_part->unwalkable);
}

/* ---- no-allocation sections --------------------------------------------------------------------- */

static void bump_slot_set_aside(bump_slot *slot) {
  slot->aside = *slot->pair;
  *slot->pair = (tsr_bump_pointer){0, 0};
}

static void bump_slot_put_back(bump_slot *slot) {
  if (slot->aside.limit == 0) return;
  *slot->pair = slot->aside;
  slot->aside = (tsr_bump_pointer){0, 0};
}

void bump_set_aside(tsr_mutator *mutator) {
  struct tsr_mutator_private *own = mutator->private_part;
  for (uint32_t i = 0; i < bump_slots(own); i++)
    bump_slot_set_aside(bump_slot_at(own, i));
}

void bump_put_back(tsr_mutator *mutator) {
  struct tsr_mutator_private *own = mutator->private_part;
  for (uint32_t i = 0; i < bump_slots(own); i++)
    bump_slot_put_back(bump_slot_at(own, i));
}

/* ---- trimming ------------------------------------------------------------------------------------- */

static bool bump_cut_slot(bump_slot *slot, uintptr_t old_end, uintptr_t end) {
  if (slot->pair->cursor != old_end || end < slot->buffer.start || old_end > slot->buffer.end) {
    return false;
  }
  slot->pair->cursor = end;
  return true;
}

bool bump_cut_last(tsr_mutator *mutator, uintptr_t old_end, uintptr_t end) {
  struct tsr_mutator_private *own = mutator->private_part;
  for (uint32_t i = 0; i < bump_slots(own); i++) {
    if (bump_cut_slot(bump_slot_at(own, i), old_end, end)) return true;
  }
  return false;
}

/* ---- pairs that the VM caches ------------------------------------------------------------------ */

static bool bump_make_room(tsr_heap *heap, struct tsr_mutator_private *own) {
  if (own->cached_count < own->cached_capacity) return true;
  uint32_t capacity = own->cached_capacity == 0 ? 4 : 2 * own->cached_capacity;
  size_t entry = sizeof *own->cached;
  bump_slot *grown = segment_grow(&heap->account, MEMORY_MUTATORS, own->cached,
                                  own->cached_capacity * entry, capacity * entry);
  if (grown == NULL) return false;
  own->cached = grown;
  own->cached_capacity = capacity;
  return true;
}

tsr_status bump_register(tsr_mutator *mutator, tsr_bump_pointer *pair, tsr_error *error) {
  struct tsr_mutator_private *own = mutator->private_part;
  if (pair == NULL) {
    return error_set(error, TSR_INVALID_ARGUMENT, "tsr_register_bump_pointer: the pair is NULL");
  }
  if (mutator_check_managed(mutator, "tsr_register_bump_pointer", error) != TSR_OK) return TSR_BUSY;
  if (bump_slot_of(mutator, pair) != &own->foreign) {
    return error_set(error, TSR_BUSY, "the bump pair at %p is registered already", (void *)pair);
  }
  if (!bump_make_room(mutator->heap, own)) {
    return error_set(error, TSR_OUT_OF_MEMORY, "no memory to register another bump pair");
  }
  own->cached[own->cached_count++] = bump_default_slot(mutator->heap, pair);
  *pair = (tsr_bump_pointer){0, 0};
  return TSR_OK;
}

tsr_status bump_unregister(tsr_mutator *mutator, tsr_bump_pointer *pair, tsr_error *error) {
  struct tsr_mutator_private *own = mutator->private_part;
  if (mutator_check_managed(mutator, "tsr_unregister_bump_pointer", error) != TSR_OK) {
    return TSR_BUSY;
  }
  uint32_t i = bump_find_cached(own, pair);
  if (i == own->cached_count) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "the bump pair at %p is not registered with this mutator", (void *)pair);
  }
  bump_slot_put_back(&own->cached[i]); /* in a no-allocation section */
  bump_revoke(mutator, &own->cached[i]);
  own->cached[i] = own->cached[--own->cached_count];
  return TSR_OK;
}
