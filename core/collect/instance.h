/*
 * Building and taking down a heap instance, room by room.
 */
#ifndef CORE_COLLECT_INSTANCE_H
#define CORE_COLLECT_INSTANCE_H

#include "core/heap/heap.h"

/* `options` are resolved, the plan is chosen, the binding is checked. NULL with an error: nothing is left. */
tsr_heap *instance_create(const tsr_binding *binding, void *vm, const tsr_options *options,
                          const struct plan *plan, tsr_error *error);
tsr_status instance_destroy(tsr_heap *heap, tsr_error *error);

#endif
