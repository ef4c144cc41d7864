/*
 * The lower part of a heap instance: its bounds, its account, its blocks, its current size.
 *
 * Sizing is proportional: a collection leaves room for as much again as the heap needs for
 * what is live. The current size counts everything the plan might come to hold at its worst moment
 * (under semispace, from-space and to-space together) plus the metadata held now.
 */
#include "core/heap/heap.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/os/error.h"
#include "core/os/machine.h"

#define HEAP_GROWTH_FACTOR 2

/* ---- bounds ---------------------------------------------------------------------------------- */

static tsr_status heap_choose_bounds(tsr_heap *heap, tsr_error *error) {
  option_values *values = &heap->options.values;
  if (values->heap_max == 0) values->heap_max = os_memory_available_bytes() / 2;
  if (values->heap_min > values->heap_max) {
    if (heap->options.origin[OPTION_heap_min] != ORIGIN_DEFAULT) {
      return error_set(error, TSR_INVALID_ARGUMENT,
                       "heap_max (%" PRIu64 " bytes) is below heap_min (%" PRIu64
                       " bytes); raise the one or lower the other",
                       values->heap_max, values->heap_min);
    }
    values->heap_min = values->heap_max;
  }
  return TSR_OK;
}

/* Free blocks give way to the tables that need their share of the maximum. */
static bool heap_reclaim(void *context, size_t bytes) {
  tsr_heap *heap = context;
  return block_map_reclaim(&heap->blocks, bytes);
}

static tsr_status heap_no_range(const tsr_heap *heap, tsr_error *error) {
  return error_set(error, TSR_OUT_OF_MEMORY,
                   "the system refused address space for a heap of %" PRIu64
                   " bytes; lower heap_max or raise the limit of the process",
                   heap->options.values.heap_max);
}

tsr_status heap_open(tsr_heap *heap, tsr_error *error) {
  tsr_status status = heap_choose_bounds(heap, error);
  if (status != TSR_OK) return status;
  const option_values *values = &heap->options.values;
  heap->verifies = values->verify != 0;
  if (os_page_bytes() > BLOCK_BYTES) {
    return error_set(error, TSR_UNSUPPORTED,
                     "pages of %zu bytes are larger than a block; this version needs pages of at "
                     "most %zu bytes",
                     os_page_bytes(), BLOCK_BYTES);
  }
  memory_account_open(&heap->account, (size_t)values->heap_max);
  heap->account.reclaim = heap_reclaim;
  heap->account.reclaim_context = heap;
  if (!block_map_create(&heap->blocks, &heap->account, (size_t)values->heap_max, heap->verifies)) {
    return heap_no_range(heap, error);
  }
  const block_map *map = &heap->blocks;
  if (!object_bits_create(&heap->bits, &heap->account, map->base, map->block_count)) {
    block_map_destroy(&heap->blocks);
    return heap_no_range(heap, error);
  }
  if (!memory_charge(&heap->account, MEMORY_INSTANCE, sizeof *heap, MEMORY_WITHIN_LIMIT) ||
      !os_mutex_create(&heap->admission)) {
    object_bits_destroy(&heap->bits);
    block_map_destroy(&heap->blocks);
    return heap_no_memory(heap, error);
  }
  /* A plan that never collects has nothing to gain from stopping short of its maximum. */
  size_t limit = (size_t)(heap->plan->collects ? values->heap_min : values->heap_max);
  os_atomic_store(&heap->limit_bytes, limit);
  return TSR_OK;
}

tsr_status heap_no_memory(const tsr_heap *heap, tsr_error *error) {
  return error_set(error, TSR_OUT_OF_MEMORY,
                   "the heap's own tables do not fit a heap_max of %zu bytes, or the system has no "
                   "memory for them",
                   heap->account.limit_bytes);
}

void heap_close(tsr_heap *heap) {
  os_mutex_destroy(&heap->admission);
  object_bits_destroy(&heap->bits);
  block_map_destroy(&heap->blocks);
}

/* ---- current size ---------------------------------------------------------------------------- */

#define HEAP_QUEUE_SHARE       96
#define HEAP_SLACK_SHARE       256
#define HEAP_QUEUE_LEAST_BYTES ((size_t)16 << 10)

size_t heap_queue_bytes(size_t heap_bytes) {
  size_t bytes = heap_bytes / HEAP_QUEUE_SHARE;
  return bytes < HEAP_QUEUE_LEAST_BYTES ? HEAP_QUEUE_LEAST_BYTES : bytes;
}

/* In a heap of this size. Added up by type: a difference of two totals could be caught between two
   threads' charges. */
static size_t heap_metadata_bytes(const tsr_heap *heap, size_t limit_bytes) {
  size_t bytes = 0;
  for (int type = 0; type < MEMORY_TYPE_COUNT; type++) {
    size_t held = os_atomic_load(&heap->account.by_type[type].bytes);
    if (type == MEMORY_BLOCKS) continue;
    /* The queues grow with the heap, at its next collection. */
    if (type == MEMORY_MARK_QUEUE && heap->plan->collects && held < heap_queue_bytes(limit_bytes)) {
      held = heap_queue_bytes(limit_bytes);
    }
    bytes += held;
  }
  return bytes;
}

static bool heap_fits(const tsr_heap *heap, size_t limit_bytes, size_t default_blocks,
                      size_t staying_blocks) {
  size_t blocks = heap->plan->footprint_blocks(heap, default_blocks, staying_blocks);
  /* Something is left for what mutators cannot wait for a collection to get: slots of handles, tables. */
  size_t metadata = heap_metadata_bytes(heap, limit_bytes) + limit_bytes / HEAP_SLACK_SHARE;
  return metadata <= limit_bytes && blocks <= (limit_bytes - metadata) >> BLOCK_SHIFT;
}

bool heap_could_admit(const tsr_heap *heap, size_t default_blocks, size_t staying_blocks) {
  return heap_fits(heap, heap->account.limit_bytes, default_blocks, staying_blocks);
}

void heap_resize(tsr_heap *heap) {
  const option_values *values = &heap->options.values;
  uint64_t needed = (uint64_t)heap->plan->footprint_blocks(heap, 0, 0) * BLOCK_BYTES +
                    heap_metadata_bytes(heap, 0);
  uint64_t size = needed * HEAP_GROWTH_FACTOR;
  if (size < values->heap_min) size = values->heap_min;
  if (size > values->heap_max) size = values->heap_max;
  os_atomic_store(&heap->limit_bytes, (uintptr_t)size);
}

/* Lets the heap grow so far that it admits this many more blocks, if its maximum allows. */
static bool heap_grow_to_admit(tsr_heap *heap, size_t default_blocks, size_t staying_blocks) {
  size_t most = heap->account.limit_bytes;
  if (!heap_fits(heap, most, default_blocks, staying_blocks)) return false;
  size_t needed = heap->plan->footprint_blocks(heap, default_blocks, staying_blocks) * BLOCK_BYTES +
                  heap_metadata_bytes(heap, 0);
  /* Some more than is asked for now, so that the next request does not come back at once. */
  size_t limit = needed + needed / 8 + HEAP_QUEUE_LEAST_BYTES;
  if (limit > most) limit = most;
  uintptr_t now = os_atomic_load(&heap->limit_bytes);
  while (limit > now && !os_atomic_compare_exchange_full(&heap->limit_bytes, now, limit)) {
    now = os_atomic_load(&heap->limit_bytes);
  }
  return true;
}

bool heap_admits(tsr_heap *heap, size_t default_blocks, size_t staying_blocks,
                 memory_allowance allowance) {
  if (allowance == MEMORY_OVER_LIMIT) return true;
  if (heap_fits(heap, os_atomic_load(&heap->limit_bytes), default_blocks, staying_blocks)) {
    return true;
  }
  return allowance == MEMORY_WITHIN_LIMIT &&
         heap_grow_to_admit(heap, default_blocks, staying_blocks);
}

uint32_t heap_acquire_staying(tsr_heap *heap, uint32_t count, enum block_space space,
                              memory_allowance allowance) {
  if (!heap_admits(heap, 0, count, allowance)) return BLOCK_NONE;
  return block_map_acquire(&heap->blocks, count, space, allowance);
}

void heap_fork(tsr_heap *heap, os_fork_stage stage) {
  os_mutex_fork(&heap->admission, stage);
  os_mutex_fork(&heap->blocks.lock, stage);
}

/* ---- messages -------------------------------------------------------------------------------- */

void heap_report(tsr_heap *heap, tsr_mutator *mutator, const tsr_error *error) {
  if (heap->binding->report_error != NULL) {
    heap->binding->report_error(heap->vm, mutator, error);
    return;
  }
  fprintf(stderr, "tessera: %s: %s\n", tsr_status_name(error->status), error->message);
}

static noreturn void heap_die(const tsr_heap *heap, const void *object, const char *what,
                              const char *sentence) {
  fprintf(stderr, "tessera: %s: %s (plan %s, phase %s, object %p)\n", what, sentence,
          heap->plan->name, heap->phase == NULL ? "none" : heap->phase, object);
  fflush(stderr);
  abort();
}

noreturn void heap_fatal(const tsr_heap *heap, const void *object, const char *sentence) {
  heap_die(heap, object, "internal check failed", sentence);
}

noreturn void heap_misuse(const tsr_heap *heap, const void *object, const char *sentence) {
  heap_die(heap, object, "misuse", sentence);
}
