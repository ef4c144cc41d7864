/*
 * The lower part of a heap instance: its bounds, its account, its blocks. Its current size is in sizing.c.
 */
#include "core/heap/heap.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/os/error.h"
#include "core/os/machine.h"

/* ---- bounds ---------------------------------------------------------------------------------- */

static tsr_status heap_choose_bounds(tsr_heap *heap, tsr_error *error) {
  option_values *values = &heap->options.values;
  if (values->heap_max == 0) {
    values->heap_max =
        sizing_default_max_bytes(os_memory_available_bytes(), os_memory_group_bytes());
  }
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
  if (status == TSR_OK) status = sizing_open(heap, error);
  if (status != TSR_OK) return status;
  const option_values *values = &heap->options.values;
  heap->verifies = values->verify != 0;
  nursery_open(heap);
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
  if (!segment_charge(&heap->account, MEMORY_INSTANCE, sizeof *heap) ||
      !os_mutex_create(&heap->admission)) {
    goto no_memory;
  }
  if (os_mutex_create(&heap->holding)) return TSR_OK;
  os_mutex_destroy(&heap->admission);

no_memory:
  object_bits_destroy(&heap->bits);
  block_map_destroy(&heap->blocks);
  return heap_no_memory(heap, error);
}

tsr_status heap_no_memory(const tsr_heap *heap, tsr_error *error) {
  return error_set(error, TSR_OUT_OF_MEMORY,
                   "the heap's own tables do not fit a heap_max of %zu bytes, or the system has no "
                   "memory for them",
                   heap->account.limit_bytes);
}

void heap_close(tsr_heap *heap) {
  os_mutex_destroy(&heap->holding);
  os_mutex_destroy(&heap->admission);
  object_bits_destroy(&heap->bits);
  block_map_destroy(&heap->blocks);
}

/* ---- blocks that stay ------------------------------------------------------------------------ */

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
