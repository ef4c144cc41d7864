/*
 * The remembered set.
 */
#include "core/trace/remembered.h"

#include "core/object/reference.h"
#include "core/object/walk.h"

struct remembered {
  os_mutex lock; /* guards what follows while mutators run, or workers */
  word_log log;
  word_log doubtful; /* in a minor collection: objects that refer to young ones, or do not */
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

void remembered_close(tsr_heap *heap) {
  struct remembered *all = heap->remembered;
  if (all == NULL) return;
  word_log_drop(heap, &all->log);
  word_log_drop(heap, &all->doubtful);
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

static void remembered_log(tsr_heap *heap, word_log *log, tsr_ref object) {
  os_mutex_lock(&heap->remembered->lock);
  if (!word_log_push(heap, log, (uintptr_t)object)) {
    os_atomic8_set(&remembered_block(heap, object)->remembered);
  }
  os_mutex_unlock(&heap->remembered->lock);
}

void remembered_add(tsr_heap *heap, tsr_ref object) {
  remembered_log(heap, &heap->remembered->log, object);
}

/* ---- objects ------------------------------------------------------------------------------------------ */

/* What is armed is not written to: its pages may be sealed, or shared with another process. */
static void object_arm(tsr_ref object) {
  if ((header_gc_byte(header_load(object)) & GC_ARMED) == 0) header_set_gc_bits(object, GC_ARMED);
}

/* It is in the log then. So is what is sealed, which stays armed. */
static void object_make_gray(tsr_heap *heap, tsr_ref object) {
  unsigned char *byte = (unsigned char *)object + TSR_GC_BYTE_OFFSET;
  if (seal_is_closed(heap, object) || (os_atomic_byte_change(byte, 0, GC_ARMED) & GC_ARMED) != 0) {
    remembered_add(heap, object);
  }
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

bool remembered_is_gray(tsr_heap *heap, tsr_ref object) {
  return (header_gc_byte(header_load_anywhere(object)) & GC_ARMED) == 0 ||
         seal_is_closed(heap, object);
}

typedef void object_visit(void *context, tsr_ref object);

/* ---- blocks ------------------------------------------------------------------------------------------- */

static bool block_is_old(enum block_space space) {
  return space == BLOCK_ARENA || space == BLOCK_SEALED || space == BLOCK_LARGE;
}

/* The objects of an old block, or the gray ones. */
static void block_each(tsr_heap *heap, uint32_t index, bool gray_only, object_visit *visit,
                       void *context) {
  if (block_map_space(&heap->blocks, index) == BLOCK_LARGE) {
    tsr_ref object = large_space_object(&heap->spaces->large, index);
    if (header_load(object) == 0) return;
    if (!gray_only || remembered_is_gray(heap, object)) visit(context, object);
    return;
  }
  uintptr_t at = block_map_start(&heap->blocks, index), end = at + BLOCK_BYTES;
  for (; (at = arena_next_object(heap, at, end, false)) < end; at += TSR_GRANULE) {
    if (!gray_only || remembered_is_gray(heap, (tsr_ref)at)) visit(context, (tsr_ref)at);
  }
}

/* Takes each remembered block. It is not remembered any more then, but for what the visits do. */
static void remembered_each(tsr_heap *heap, bool gray_only, object_visit *visit, void *context) {
  const block_map *map = &heap->blocks;
  for (uint32_t i = 0; i < block_map_extent(map); i++) {
    block *b = block_map_at(map, i);
    if (!block_is_old(block_map_space(map, i)) || b->remembered == 0) continue;
    b->remembered = 0;
    block_each(heap, i, gray_only, visit, context);
  }
}

/* Takes the objects of a log out. Those in remembered blocks are passed by: all that are gray there are looked at. */
static void log_empty(tsr_heap *heap, word_log *log, object_visit *visit, void *context) {
  word_log taken = *log;
  log->first = NULL;
  for (const log_chunk *chunk = taken.first; chunk != NULL; chunk = chunk->next) {
    for (size_t i = 0; i < chunk->count; i++) {
      tsr_ref object = (tsr_ref)chunk->words[i];
      if (remembered_block(heap, object)->remembered == 0) visit(context, object);
    }
  }
  word_log_drop(heap, &taken);
}

/* ---- minor collections ----------------------------------------------------------------------------------- */

/* Queues an object as if it were reached by a collection of everything. */
static void reach_remembered(void *context, tsr_ref object) {
  worker_queue_staying(context, object);
}

void remembered_reach(struct worker *worker) {
  tsr_heap *heap = worker->heap;
  log_empty(heap, &heap->remembered->log, reach_remembered, worker);
  remembered_each(heap, true, reach_remembered, worker);
}

void remembered_note_slot(tsr_heap *heap, const tsr_slot *slot) {
  uint32_t index = block_map_index(&heap->blocks, (uintptr_t)slot);
  enum block_space space = block_map_space(&heap->blocks, index);
  if (space == BLOCK_LARGE_REST) index = large_space_head(heap, index);
  object_make_gray(heap, space == BLOCK_LARGE || space == BLOCK_LARGE_REST
                             ? large_space_object(&heap->spaces->large, index)
                             : arena_object_at(heap, (uintptr_t)slot));
}

void remembered_doubt(tsr_heap *heap, tsr_ref object) {
  remembered_log(heap, &heap->remembered->doubtful, object);
}

/* The object is in no log. */
static void settle_object(void *context, tsr_ref object) {
  tsr_heap *heap = context;
  object_arm(object);
  if (object_is_young_referrer(heap, object)) object_make_gray(heap, object);
}

void remembered_settle(tsr_heap *heap) {
  log_empty(heap, &heap->remembered->doubtful, settle_object, heap);
}

/* ---- collections of everything ----------------------------------------------------------------------------- */

static void arm_object(void *context, tsr_ref object) {
  (void)context;
  if (!header_is_leaf(header_load(object))) object_arm(object);
}

static void rebuild_object(void *context, tsr_ref object) {
  if (!header_is_leaf(header_load(object))) settle_object(context, object);
}

void remembered_forget(tsr_heap *heap) {
  log_empty(heap, &heap->remembered->log, arm_object, NULL);
}

void remembered_rebuild(tsr_heap *heap, bool is_young_left) {
  const block_map *map = &heap->blocks;
  for (uint32_t i = 0; is_young_left && i < block_map_extent(map); i++) {
    if (block_is_old(block_map_space(map, i))) block_map_at(map, i)->remembered = 1;
  }
  remembered_each(heap, false, is_young_left ? rebuild_object : arm_object, heap);
}

/* ---- the end of a cycle ----------------------------------------------------------------------------------- */

static bool log_keeps(void *context, uintptr_t word) {
  return spaces_is_reached(context, (tsr_ref)word);
}

void remembered_purge(tsr_heap *heap) {
  word_log_filter(heap, &heap->remembered->log, log_keeps, heap);
}

/* ---- verifying -------------------------------------------------------------------------------------------- */

static bool is_old_object(const tsr_heap *heap, tsr_ref object) {
  uint32_t index = block_map_index(&heap->blocks, (uintptr_t)object);
  enum block_space space = block_map_space_of(&heap->blocks, (uintptr_t)object);
  if (space == BLOCK_LARGE) return large_space_object(&heap->spaces->large, index) == object;
  return block_is_old(space) && arena_is_start(heap, object);
}

tsr_ref remembered_fault(const tsr_heap *heap) {
  if (heap->remembered == NULL) return NULL;
  for (const log_chunk *chunk = heap->remembered->log.first; chunk != NULL; chunk = chunk->next) {
    for (size_t i = 0; i < chunk->count; i++) {
      tsr_ref object = (tsr_ref)chunk->words[i];
      if (!is_old_object(heap, object)) return object;
    }
  }
  return NULL;
}
