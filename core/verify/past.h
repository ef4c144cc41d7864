/*
 * What lay in the heap before: where objects began that a collection has freed or moved away. By it a
 * reference that is left over is told from one that never led anywhere [design: fault-sentences].
 *
 * A bit per granule of the heap's range, and a few words per block. Brought up to date after each
 * collection, from where objects begin now and began right before it. Read by whoever explains a fault,
 * which may be a signal handler, so nothing here is ever moved.
 */
#ifndef CORE_VERIFY_PAST_H
#define CORE_VERIFY_PAST_H

#include "core/heap/heap.h"

typedef struct past_block {
  uint32_t collection; /* the last one in which an object went from here; 0: none did */
  uint32_t behind;     /* blocks behind the first of the large object that lies, or lay, here */
} past_block;

typedef struct past {
  const tsr_heap *heap;
  memory_account *account;
  uint64_t *gone;     /* an object began here, and none does now */
  past_block *blocks; /* as many as the range has */
} past;

/* A table of zeros, whose pages cost nothing before they are touched, among the mappings of the verifier's account; NULL:
   the system has no memory. */
void *verifier_table_open(memory_account *account, const char *name, size_t bytes);
void verifier_table_close(memory_account *account, void *table);

bool past_open(past *p, const tsr_heap *heap, memory_account *account);
void past_close(past *p);

/* After collection `collection`: where objects began in a block before it, and begin now. */
void past_note(past *p, uint32_t index, const uint64_t *before, const uint64_t *now,
               uint32_t collection);
void past_note_place(past *p, uint32_t index, uint32_t behind);

/* Whether an object began at an address of the range and is gone, and since when, at the latest. */
bool past_began(const past *p, uintptr_t address, uint32_t *collection);
/* The last object at or below an address of the range that is gone; 0: none is known. */
uintptr_t past_find(const past *p, uintptr_t address, uint32_t *collection);

#endif
