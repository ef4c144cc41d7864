/*
 * The list of an account's mappings, in the order in which they were made.
 */
#include "core/memory/mapping.h"

#include "core/os/check.h"
#include "core/os/memory.h"

bool memory_mapping_reserve(memory_mapping *mapping, memory_account *account, memory_type type,
                            const char *name, size_t bytes, size_t alignment) {
  void *base = os_memory_reserve(bytes, alignment);
  if (base == NULL) return false;
  memory_mapping_enter(mapping, account, type, name, base, bytes);
  return true;
}

void memory_mapping_enter(memory_mapping *mapping, memory_account *account, memory_type type,
                          const char *name, void *base, size_t bytes) {
  *mapping = (memory_mapping){
      .account = account, .type = type, .name = name, .base = base, .reserved_bytes = bytes};
  memory_mapping **last = &account->mappings;
  while (*last != NULL)
    last = &(*last)->next;
  *last = mapping;
}

void memory_mapping_leave(memory_mapping *mapping) {
  if (mapping->base == NULL) return;
  memory_mapping **place = &mapping->account->mappings;
  while (*place != NULL && *place != mapping)
    place = &(*place)->next;
  TSR_CHECK(*place == mapping, "a mapping that is released is in its account's list");
  *place = mapping->next;
  mapping->base = NULL;
}

void memory_mapping_release(memory_mapping *mapping) {
  char *base = mapping->base;
  if (base == NULL) return;
  memory_mapping_leave(mapping);
  os_memory_release(base, mapping->reserved_bytes);
}

void memory_mapping_divide(const memory_mapping *mapping, memory_stretch_visit *visit,
                           void *context) {
  if (mapping->divide != NULL) {
    mapping->divide(mapping->owner, visit, context);
    return;
  }
  size_t committed = memory_mapping_committed(mapping);
  memory_stretch stretch = {.name = mapping->name,
                            .start = (uintptr_t)mapping->base,
                            .reserved_bytes = mapping->reserved_bytes,
                            .committed_bytes = committed,
                            .used_bytes = committed};
  visit(context, &stretch);
}
