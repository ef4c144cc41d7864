/*
 * Handle scopes: the slots of local handles, in chunks that never move. Each nest of scopes, a thread's or a
 * fibre's, has chunks of its own.
 *
 * A chunk is left only when it is full, so every chunk before the one that holds the cursor is in
 * use to its end, and closing a scope is setting the cursor back.
 */
#include "core/trace/roots.h"

#define LOCAL_CHUNK_SLOTS       510
#define LOCAL_CHUNK_SLOTS_FIBRE 30 /* of a fibre's first: there may be many, and most need few */

struct local_chunk {
  struct local_chunk *next;
  uint64_t count; /* of slots, which are 16-byte aligned */
  tsr_slot slots[];
};

/* ---- chunks -------------------------------------------------------------------------------------- */

static size_t local_chunk_bytes(uint64_t count) {
  return sizeof(struct local_chunk) + (size_t)count * sizeof(tsr_slot);
}

static struct local_chunk *local_chunk_new(tsr_heap *heap, uint64_t count) {
  struct local_chunk *chunk =
      segment_request(&heap->account, MEMORY_HANDLES, local_chunk_bytes(count));
  if (chunk != NULL) chunk->count = count;
  return chunk;
}

/* The chunk that holds the cursor; NULL before the first. */
static struct local_chunk *locals_current(const local_scopes *scopes) {
  struct local_chunk *chunk = scopes->first;
  while (chunk != NULL && chunk->slots + chunk->count != scopes->limit)
    chunk = chunk->next;
  return chunk;
}

void locals_free(tsr_heap *heap, struct local_chunk *first) {
  while (first != NULL) {
    struct local_chunk *next = first->next;
    segment_release(&heap->account, MEMORY_HANDLES, first, local_chunk_bytes(first->count));
    first = next;
  }
}

/* ---- the scopes that a mutator uses ---------------------------------------------------------------- */

/* A fibre has a chunk from the beginning, so what is closed there never has its cursor before the first. */
static local_scopes locals_in_use(const tsr_mutator *mutator) {
  const struct tsr_mutator_private *own = mutator->private_part;
  local_scopes scopes = {own->locals, mutator->local_cursor, mutator->local_limit};
  bool is_empty = scopes.limit == NULL && own->fibre == NULL;
  if (!is_empty && locals_current(&scopes) == NULL) {
    heap_misuse(mutator->heap, (const void *)scopes.cursor,
                "a handle scope was closed on another mutator or fibre than it was opened on");
  }
  return scopes;
}

bool locals_extend(tsr_mutator *mutator) {
  local_scopes scopes = locals_in_use(mutator);
  struct local_chunk *current = locals_current(&scopes);
  struct local_chunk **link = current == NULL ? &mutator->private_part->locals : &current->next;
  if (*link == NULL) *link = local_chunk_new(mutator->heap, LOCAL_CHUNK_SLOTS);
  if (*link == NULL) return false;
  mutator->local_cursor = (*link)->slots;
  mutator->local_limit = (*link)->slots + (*link)->count;
  return true;
}

bool locals_are_open(const tsr_mutator *mutator) {
  local_scopes scopes = locals_in_use(mutator);
  return scopes.cursor != NULL && scopes.cursor != scopes.first->slots;
}

/* ---- scopes that wait ------------------------------------------------------------------------------ */

local_scopes locals_emptied(struct local_chunk *first) {
  return (local_scopes){first, first->slots, first->slots + first->count};
}

bool locals_begin(tsr_heap *heap, local_scopes *scopes) {
  struct local_chunk *first = local_chunk_new(heap, LOCAL_CHUNK_SLOTS_FIBRE);
  if (first != NULL) *scopes = locals_emptied(first);
  return first != NULL;
}

void locals_exchange(tsr_mutator *mutator, local_scopes *leaving, const local_scopes *entering) {
  *leaving = locals_in_use(mutator);
  mutator->private_part->locals = entering->first;
  mutator->local_cursor = entering->cursor;
  mutator->local_limit = entering->limit;
}

/* ---- visiting -------------------------------------------------------------------------------------- */

void locals_visit(const local_scopes *scopes, tsr_visitor *visitor) {
  const struct local_chunk *current = locals_current(scopes);
  if (current == NULL) return;
  struct local_chunk *chunk = scopes->first;
  for (; chunk != current; chunk = chunk->next)
    visitor_visit(visitor, chunk->slots, (size_t)chunk->count);
  size_t used = (size_t)(scopes->cursor - chunk->slots);
  if (used > 0) visitor_visit(visitor, chunk->slots, used);
}

void locals_visit_mutator(const tsr_mutator *mutator, tsr_visitor *visitor) {
  local_scopes scopes = locals_in_use(mutator);
  locals_visit(&scopes, visitor);
  if (mutator->private_part->fibre != NULL) locals_visit(&mutator->private_part->parked, visitor);
}
