/*
 * The remembered set.
 */
#include "core/trace/remembered.h"

#include "core/object/reference.h"
#include "core/object/walk.h"

#define CHUNK_LOG_BYTES 4096u
#define CHUNK_OBJECTS   ((CHUNK_LOG_BYTES - 2 * sizeof(void *)) / sizeof(tsr_ref))

typedef struct log_chunk {
  struct log_chunk *next;
  size_t count;
  tsr_ref objects[CHUNK_OBJECTS];
} log_chunk;

_Static_assert(sizeof(log_chunk) == CHUNK_LOG_BYTES, "chunks have no gaps");

struct remembered {
  os_mutex lock;    /* guards what follows while mutators run */
  log_chunk *first; /* all but the first are full */
};

/* ---- the log ----------------------------------------------------------------------------------------- */

tsr_status remembered_open(tsr_heap *heap, tsr_error *error) {
  if (!heap->plan->generational) return TSR_OK;
  struct remembered *all = segment_request(&heap->account, MEMORY_INSTANCE, sizeof *all);
  if (all == NULL) return heap_no_memory(heap, error);
  if (!os_mutex_create(&all->lock)) {
    segment_release(&heap->account, MEMORY_INSTANCE, all, sizeof *all);
    return heap_no_memory(heap, error);
  }
  heap->remembered = all;
  return TSR_OK;
}

static void log_drop(tsr_heap *heap, log_chunk *chunk) {
  while (chunk != NULL) {
    log_chunk *next = chunk->next;
    segment_release(&heap->account, MEMORY_REMEMBERED, chunk, sizeof *chunk);
    chunk = next;
  }
}

void remembered_close(tsr_heap *heap) {
  struct remembered *all = heap->remembered;
  if (all == NULL) return;
  log_drop(heap, all->first);
  os_mutex_destroy(&all->lock);
  segment_release(&heap->account, MEMORY_INSTANCE, all, sizeof *all);
  heap->remembered = NULL;
}

void remembered_fork(tsr_heap *heap, os_fork_stage stage) {
  if (heap->remembered != NULL) os_mutex_fork(&heap->remembered->lock, stage);
}

static block *remembered_block(const tsr_heap *heap, tsr_ref object) {
  return block_map_at(&heap->blocks, block_map_index(&heap->blocks, (uintptr_t)object));
}

static bool log_add(tsr_heap *heap, tsr_ref object) {
  struct remembered *all = heap->remembered;
  log_chunk *chunk = all->first;
  if (chunk == NULL || chunk->count == CHUNK_OBJECTS) {
    chunk = segment_request(&heap->account, MEMORY_REMEMBERED, sizeof *chunk);
    if (chunk == NULL) return false;
    chunk->count = 0;
    chunk->next = all->first;
    all->first = chunk;
  }
  chunk->objects[chunk->count++] = object;
  return true;
}

void remembered_add(tsr_heap *heap, tsr_ref object) {
  os_mutex_lock(&heap->remembered->lock);
  if (!log_add(heap, object)) os_atomic8_set(&remembered_block(heap, object)->remembered);
  os_mutex_unlock(&heap->remembered->lock);
}

/* ---- objects ------------------------------------------------------------------------------------------ */

/* What is armed is not written to: its pages may be sealed, or shared with another process. */
static void object_arm(tsr_ref object) {
  if ((header_gc_byte(header_load(object)) & GC_ARMED) == 0) header_set_gc_bits(object, GC_ARMED);
}

/* What is sealed stays armed, and is in the log all the same. */
static void object_make_gray(tsr_heap *heap, tsr_ref object) {
  if (!seal_is_closed(heap, object)) {
    os_atomic_byte_change((unsigned char *)object + TSR_GC_BYTE_OFFSET, 0, GC_ARMED);
  }
  remembered_add(heap, object);
}

static bool word_is_young(const tsr_heap *heap, uint64_t word) {
  uintptr_t address = reference_address(&heap->references, word);
  enum block_space space = block_map_space_of(&heap->blocks, address);
  return space > BLOCK_FREE && !block_space_stays(space);
}

/* Whether an object may refer to a young one. Any word that looks so counts; of one that tells its slots by a
   callback nobody knows where they are. */
static bool object_is_young_referrer(const tsr_heap *heap, tsr_ref object) {
  size_t bytes;
  const layout *l = object_walk_layout(heap, object, &bytes);
  if (l->kind == TSR_LAYOUT_CUSTOM) return true;
  const tsr_slot *words = (const tsr_slot *)object;
  for (size_t i = 0; i < bytes / sizeof(tsr_slot); i++) {
    if (word_is_young(heap, words[i].word)) return true;
  }
  return false;
}

typedef void object_visit(void *context, tsr_ref object);

/* Takes everything out of the log. */
static void log_empty(tsr_heap *heap, object_visit *visit, void *context) {
  log_chunk *log = heap->remembered->first;
  heap->remembered->first = NULL;
  for (log_chunk *chunk = log; chunk != NULL; chunk = chunk->next) {
    for (size_t i = 0; i < chunk->count; i++)
      visit(context, chunk->objects[i]);
  }
  log_drop(heap, log);
}

/* ---- blocks ------------------------------------------------------------------------------------------- */

static bool block_is_old(enum block_space space) {
  return space == BLOCK_ARENA || space == BLOCK_SEALED || space == BLOCK_LARGE;
}

/* The objects of an old block, or those that are marked. */
static void block_each(tsr_heap *heap, uint32_t index, bool marked_only, object_visit *visit,
                       void *context) {
  if (block_map_space(&heap->blocks, index) == BLOCK_LARGE) {
    tsr_ref object = large_space_object(&heap->spaces->large, index);
    bool wanted = !marked_only || block_map_at(&heap->blocks, index)->reached != 0;
    if (wanted && header_load(object) != 0) visit(context, object);
    return;
  }
  uintptr_t at = block_map_start(&heap->blocks, index), end = at + BLOCK_BYTES;
  for (; (at = arena_next_object(heap, at, end, marked_only)) < end; at += TSR_GRANULE)
    visit(context, (tsr_ref)at);
}

/* Takes each remembered block; it is not remembered any more, but for what the visits do. */
static void remembered_each(tsr_heap *heap, bool marked_only, object_visit *visit, void *context) {
  const block_map *map = &heap->blocks;
  for (uint32_t i = 0; i < block_map_extent(map); i++) {
    block *b = block_map_at(map, i);
    if (!block_is_old(block_map_space(map, i)) || b->remembered == 0) continue;
    b->remembered = 0;
    block_each(heap, i, marked_only, visit, context);
  }
}

/* ---- minor collections ----------------------------------------------------------------------------------- */

/* Marks and queues an object as if it were reached by a collection of everything. */
static void reach_remembered(void *context, tsr_ref object) {
  struct worker *worker = context;
  tsr_heap *heap = worker->heap;
  if (header_is_leaf(header_load(object))) return;
  remembered_block(heap, object)->remembered = 1;
  enum block_space space = block_map_space_of(&heap->blocks, (uintptr_t)object);
  worker_reach_staying(worker, object, space, false);
}

void remembered_reach(struct worker *worker) {
  tsr_heap *heap = worker->heap;
  remembered_each(heap, false, reach_remembered, worker);
  log_empty(heap, reach_remembered, worker);
}

static void renew_object(void *context, tsr_ref object) {
  tsr_heap *heap = context;
  block *b = remembered_block(heap, object);
  if (block_map_space_of(&heap->blocks, (uintptr_t)object) == BLOCK_LARGE) {
    b->reached = 0;
  } else {
    object_bit_clear(heap->bits.marks, object_bit_index(&heap->bits, (uintptr_t)object));
  }
  if (header_is_leaf(header_load(object))) return;
  if (object_is_young_referrer(heap, object)) {
    object_make_gray(heap, object);
  } else {
    object_arm(object);
  }
}

void remembered_renew(tsr_heap *heap) {
  remembered_each(heap, true, renew_object, heap);
}

/* ---- collections of everything ----------------------------------------------------------------------------- */

static void arm_object(void *context, tsr_ref object) {
  (void)context;
  if (!header_is_leaf(header_load(object))) object_arm(object);
}

void remembered_forget(tsr_heap *heap) {
  log_empty(heap, arm_object, NULL);
}

void remembered_rebuild(tsr_heap *heap, bool is_young_left) {
  const block_map *map = &heap->blocks;
  for (uint32_t i = 0; is_young_left && i < block_map_extent(map); i++) {
    if (block_is_old(block_map_space(map, i))) block_map_at(map, i)->remembered = 1;
  }
  remembered_each(heap, false, is_young_left ? renew_object : arm_object, heap);
}
