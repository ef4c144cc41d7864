/*
 * Handle scopes: the slots of a mutator's local handles, in chunks that never move.
 *
 * A chunk is left only when it is full, so every chunk before the one that holds the cursor is in
 * use to its end, and closing a scope is setting the cursor back.
 */
#include "core/trace/roots.h"

#define LOCAL_CHUNK_SLOTS 510

struct local_chunk {
  struct local_chunk *next;
  uint64_t reserved; /* keeps the slots 16-byte aligned */
  tsr_slot slots[LOCAL_CHUNK_SLOTS];
};

/* The chunk that holds the cursor; NULL before the first. */
static struct local_chunk *locals_current(const tsr_mutator *mutator) {
  struct local_chunk *chunk = mutator->private_part->locals;
  while (chunk != NULL && chunk->slots + LOCAL_CHUNK_SLOTS != mutator->local_limit) {
    chunk = chunk->next;
  }
  return chunk;
}

bool locals_extend(tsr_mutator *mutator) {
  struct local_chunk *current = locals_current(mutator);
  struct local_chunk **link = current == NULL ? &mutator->private_part->locals : &current->next;
  if (*link == NULL) {
    *link = segment_request(&mutator->heap->account, MEMORY_HANDLES, sizeof **link);
    if (*link == NULL) return false;
  }
  mutator->local_cursor = (*link)->slots;
  mutator->local_limit = (*link)->slots + LOCAL_CHUNK_SLOTS;
  return true;
}

bool locals_are_open(const tsr_mutator *mutator) {
  const struct local_chunk *first = mutator->private_part->locals;
  return mutator->local_cursor != NULL && first != NULL && mutator->local_cursor != first->slots;
}

void locals_visit(tsr_mutator *mutator, tsr_visitor *visitor) {
  const struct local_chunk *current = locals_current(mutator);
  if (current == NULL) return;
  struct local_chunk *chunk = mutator->private_part->locals;
  for (; chunk != current; chunk = chunk->next) {
    visitor_visit(visitor, chunk->slots, LOCAL_CHUNK_SLOTS);
  }
  size_t used = (size_t)(mutator->local_cursor - chunk->slots);
  if (used > 0) visitor_visit(visitor, chunk->slots, used);
}

void locals_free(struct tsr_mutator_private *own) {
  struct local_chunk *chunk = own->locals;
  while (chunk != NULL) {
    struct local_chunk *next = chunk->next;
    segment_release(&own->heap->account, MEMORY_HANDLES, chunk, sizeof *chunk);
    chunk = next;
  }
  own->locals = NULL;
}
