/*
 * tessera/heap.h: the public functions, and the checks that come before a heap exists.
 */
#include <tessera/heap.h>

#include <string.h>

#include "core/collect/collector.h"
#include "core/collect/instance.h"
#include "core/os/error.h"
#include "plans/registry.h"

#define TEXT_(x) #x
#define TEXT(x)  TEXT_(x)

TSR_API const char TSR_GC_BYTE_SYMBOL = 0;

const char *tsr_version(void) {
  return TEXT(TSR_VERSION_MAJOR) "." TEXT(TSR_VERSION_MINOR) "." TEXT(TSR_VERSION_PATCH);
}

/* ---- creation ---------------------------------------------------------------------------------------------- */

static tsr_status binding_check_interface(const tsr_binding *binding, tsr_error *error) {
  if (binding == NULL) {
    return error_set(error, TSR_INVALID_ARGUMENT, "tsr_heap_create: the binding is NULL");
  }
  if (binding->size != sizeof *binding || binding->abi != TSR_ABI) {
    return error_set(
        error, TSR_MISMATCH,
        "the binding has interface %u and %zu bytes, this library has interface %u and "
        "%zu bytes; compile the VM with the headers of Tessera %s and begin the "
        "binding with TSR_BINDING_HEADER",
        binding->abi, binding->size, TSR_ABI, sizeof *binding, tsr_version());
  }
  if (binding->gc_byte_offset != TSR_GC_BYTE_OFFSET) {
    return error_set(error, TSR_MISMATCH,
                     "the VM's GC byte lies at offset %u, this library's at %d; compile both with "
                     "the same TSR_GC_BYTE_OFFSET",
                     binding->gc_byte_offset, TSR_GC_BYTE_OFFSET);
  }
  return TSR_OK;
}

static tsr_status binding_check(const tsr_binding *binding, tsr_error *error) {
  tsr_status status = binding_check_interface(binding, error);
  if (status != TSR_OK) return status;
  if (binding->object_align != 8 && binding->object_align != 16) {
    return error_set(error, TSR_INVALID_ARGUMENT, "object_align is %u; it must be 8 or 16",
                     binding->object_align);
  }
  if (binding->layouts == NULL && binding->layout_count != 0) {
    return error_set(error, TSR_INVALID_ARGUMENT, "layout_count is %zu, but layouts is NULL",
                     binding->layout_count);
  }
  int overrides = (binding->stop_all_mutators != NULL) + (binding->resume_mutators != NULL) +
                  (binding->block_for_gc != NULL);
  if (overrides != 0 && overrides != 3) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "stop_all_mutators, resume_mutators and block_for_gc replace one protocol: "
                     "give all three or none");
  }
  return TSR_OK;
}

tsr_heap *tsr_heap_create(const tsr_binding *binding, void *vm, const tsr_options *options,
                          tsr_error *error) {
  if (binding_check(binding, error) != TSR_OK) return NULL;
  tsr_options resolved;
  if (options_resolve(&resolved, options, error) != TSR_OK) return NULL;
  const struct plan *plan =
      plan_choose(binding, resolved.values.plan, options_without_nursery(&resolved), error);
  if (plan == NULL) return NULL;
  tsr_heap *heap = instance_create(binding, vm, &resolved, plan, error);
  if (heap != NULL && resolved.values.help != 0) options_print_help(&heap->options, plan);
  return heap;
}

tsr_status tsr_heap_destroy(tsr_heap *heap, tsr_error *error) {
  return heap == NULL ? TSR_OK : instance_destroy(heap, error);
}

/* ---- plain facts --------------------------------------------------------------------------------------------- */

const char *tsr_heap_plan(const tsr_heap *heap) {
  return heap->plan->name;
}

void *tsr_heap_vm(const tsr_heap *heap) {
  return heap->vm;
}

bool tsr_heap_contains(const tsr_heap *heap, const void *address) {
  /* The map's lock is the only thing that the question changes. */
  return block_map_contains((block_map *)(uintptr_t)&heap->blocks, (uintptr_t)address);
}

const char *const *tsr_plan_names(void) {
  return plan_names();
}

/* ---- collections ---------------------------------------------------------------------------------------------- */

tsr_status tsr_collect(tsr_mutator *mutator, tsr_error *error) {
  return collection_request(mutator, error);
}

void tsr_collection_disable(tsr_heap *heap) {
  collection_disable(heap);
}

tsr_status tsr_collection_enable(tsr_heap *heap, tsr_error *error) {
  return collection_enable(heap, error);
}

tsr_status tsr_enumerate_objects(tsr_mutator *mutator, tsr_object_callback callback, void *context,
                                 tsr_error *error) {
  if (callback == NULL) {
    return error_set(error, TSR_INVALID_ARGUMENT, "tsr_enumerate_objects: the callback is NULL");
  }
  return collection_enumerate(mutator, callback, context, error);
}

tsr_status tsr_heap_verify(tsr_mutator *mutator, tsr_error *error) {
  return collection_verify(mutator, error);
}

/* ---- figures ---------------------------------------------------------------------------------------------------- */

tsr_status tsr_heap_stats(tsr_heap *heap, tsr_stats *stats, tsr_error *error) {
  size_t size = stats == NULL ? 0 : stats->size;
  if (size < sizeof stats->size || size > sizeof *stats) {
    return error_set(error, TSR_MISMATCH,
                     "tsr_heap_stats: set stats.size to sizeof(tsr_stats); it is %zu", size);
  }
  tsr_stats all = {.size = size};
  mutators_fill(heap, &all);
  memcpy(stats, &all, size);
  return TSR_OK;
}

size_t tsr_heap_memory(tsr_heap *heap, tsr_memory_share *shares, size_t capacity) {
  for (size_t i = 0; i < MEMORY_TYPE_COUNT && i < capacity; i++) {
    const memory_share *share = &heap->account.by_type[i];
    shares[i] = (tsr_memory_share){.name = memory_type_name((memory_type)i),
                                   .bytes = os_atomic_load(&share->bytes),
                                   .peak_bytes = os_atomic_load(&share->peak)};
  }
  return MEMORY_TYPE_COUNT;
}
