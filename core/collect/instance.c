/*
 * Heap instances: the rooms are opened from the lowest to the highest and closed in reverse.
 */
#include "core/collect/instance.h"

#include <stdlib.h>

#include "core/collect/collector.h"
#include "core/collect/low_memory.h"
#include "core/collect/memory_requests.h"
#include "core/object/layout.h"
#include "core/object/reference.h"
#include "core/os/error.h"
#include "core/os/machine.h"
#include "core/trace/fibres.h"
#include "core/trace/finalizers.h"
#include "core/trace/identities.h"
#include "core/trace/marking.h"
#include "core/trace/pins.h"
#include "core/trace/remembered.h"
#include "core/trace/weak_tables.h"
#include "core/verify/verify.h"

/* The maximum must leave room for the first blocks, and for the first pages of the tables that grow. */
static tsr_status instance_check_maximum(tsr_heap *heap, tsr_error *error) {
  size_t tables = os_atomic_load(&heap->account.total.bytes) + 4 * os_page_bytes();
  size_t needed = tables + heap->plan->least_blocks * BLOCK_BYTES;
  if (heap->account.limit_bytes >= needed) return TSR_OK;
  return error_set(error, TSR_INVALID_ARGUMENT,
                   "heap_max (%zu bytes) is below the minimum of plan %s, %zu bytes",
                   heap->account.limit_bytes, heap->plan->name, needed);
}

typedef struct instance_room {
  tsr_status (*open)(tsr_heap *heap, tsr_error *error);
  void (*close)(tsr_heap *heap); /* NULL: opening it takes nothing */
} instance_room;

/* The report comes last: it may make a file, which a heap that was refused should not leave. */
static const instance_room instance_rooms[] = {{heap_open, heap_close},
                                               {layout_table_open, layout_table_close},
                                               {spaces_open, spaces_close},
                                               {roots_open, roots_close},
                                               {fibres_open, fibres_close},
                                               {pins_open, pins_close},
                                               {identities_open, identities_close},
                                               {finalizers_open, finalizers_close},
                                               {weak_tables_open, weak_tables_close},
                                               {remembered_open, remembered_close},
                                               {marking_open, marking_close},
                                               {team_open, team_close},
                                               {collector_open, collector_close},
                                               {memory_requests_open, memory_requests_close},
                                               {low_memory_open, low_memory_close},
                                               {verifier_open, verifier_close},
                                               {instance_check_maximum, NULL},
                                               {report_open, report_close}};

#define INSTANCE_ROOMS (sizeof instance_rooms / sizeof instance_rooms[0])

static void instance_close_rooms(tsr_heap *heap, size_t opened) {
  while (opened > 0) {
    const instance_room *room = &instance_rooms[--opened];
    if (room->close != NULL) room->close(heap);
  }
}

static tsr_status instance_open_rooms(tsr_heap *heap, tsr_error *error) {
  for (size_t i = 0; i < INSTANCE_ROOMS; i++) {
    tsr_status status = instance_rooms[i].open(heap, error);
    if (status != TSR_OK) {
      instance_close_rooms(heap, i);
      return status;
    }
  }
  return TSR_OK;
}

tsr_heap *instance_create(const tsr_binding *binding, void *vm, const tsr_options *options,
                          const struct plan *plan, tsr_error *error) {
  tsr_heap *heap = calloc(1, sizeof *heap);
  if (heap == NULL) {
    error_set(error, TSR_OUT_OF_MEMORY, "the system has no memory for a heap instance");
    return NULL;
  }
  heap->binding = binding;
  heap->vm = vm;
  heap->plan = plan;
  heap->options = *options;
  heap->object_align = binding->object_align;
  if (reference_rule_set(&heap->references, &binding->references, error) != TSR_OK) goto no_heap;
  if (instance_open_rooms(heap, error) != TSR_OK) goto no_heap;
  return heap;

no_heap:
  free(heap);
  return NULL;
}

tsr_status instance_destroy(tsr_heap *heap, tsr_error *error) {
  size_t mutators = os_atomic_load(&heap->bound_mutators);
  if (mutators > 0) {
    return error_set(error, TSR_BUSY,
                     "%zu mutators are bound to the heap; unbind them before destroying it",
                     mutators);
  }
  report_statistics(heap);
  instance_close_rooms(heap, INSTANCE_ROOMS);
  free(heap);
  return TSR_OK;
}
