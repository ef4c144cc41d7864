/*
 * The system segment provider. Charge first, then ask the system, and undo the charge if it refuses:
 * the account never shows less than is held.
 */
#include "core/memory/provider.h"

#include <stdlib.h>
#include <string.h>

#include "core/os/check.h"
#include "core/os/fault.h"
#include "core/os/machine.h"
#include "core/os/memory.h"

/* The block tables are the exception: they grow under the lock of the very map that could make room, and
   see to it themselves. */
bool provider_charge(memory_account *account, memory_type type, size_t bytes,
                     memory_allowance allowance) {
  if (memory_charge(account, type, bytes, allowance)) return true;
  if (type == MEMORY_BLOCK_TABLES || account->reclaim == NULL) return false;
  return account->reclaim(account->reclaim_context, bytes) &&
         memory_charge(account, type, bytes, allowance);
}

bool segment_charge(memory_account *account, memory_type type, size_t bytes) {
  if (!provider_charge(account, type, bytes, MEMORY_WITHIN_LIMIT)) return false;
  os_atomic_add_full(&account->by_type[type].segment_bytes, bytes);
  return true;
}

static void segment_discharge(memory_account *account, memory_type type, size_t bytes) {
  os_atomic_add_full(&account->by_type[type].segment_bytes, (uintptr_t)0 - bytes);
  memory_discharge(account, type, bytes);
}

void *segment_request(memory_account *account, memory_type type, size_t bytes) {
  if (!segment_charge(account, type, bytes)) return NULL;
  void *segment = os_fault_strikes(OS_FAULT_SEGMENT) ? NULL : calloc(1, bytes);
  if (segment == NULL) segment_discharge(account, type, bytes);
  return segment;
}

void segment_release(memory_account *account, memory_type type, void *segment, size_t bytes) {
  if (segment == NULL) return;
  free(segment);
  segment_discharge(account, type, bytes);
}

void *segment_grow(memory_account *account, memory_type type, void *segment, size_t bytes,
                   size_t new_bytes) {
  void *grown = segment_request(account, type, new_bytes);
  if (grown == NULL) return NULL;
  if (segment != NULL) memcpy(grown, segment, bytes);
  segment_release(account, type, segment, bytes);
  return grown;
}

void memory_return(void *start, size_t bytes) {
  if (bytes >= MEMORY_LONG_RUN_BYTES) {
    os_memory_decommit(start, bytes);
  } else {
    os_memory_discard(start, bytes);
  }
}

bool memory_table_create(memory_table *table, memory_account *account, memory_type type,
                         const char *name, size_t reserved_bytes) {
  size_t reserved = os_page_round(reserved_bytes);
  memory_mapping *mapping = &table->mapping;
  if (!memory_mapping_reserve(mapping, account, type, name, reserved, os_page_bytes()))
    return false;
  table->base = mapping->base;
  return true;
}

void memory_table_destroy(memory_table *table) {
  memory_mapping *mapping = &table->mapping;
  if (mapping->base == NULL) return;
  memory_discharge(mapping->account, mapping->type, memory_table_committed(table));
  memory_mapping_release(mapping);
  table->base = NULL;
}

bool memory_table_extend(memory_table *table, size_t bytes, memory_allowance allowance) {
  memory_mapping *mapping = &table->mapping;
  size_t committed = memory_table_committed(table);
  if (bytes <= committed) return true;
  if (bytes > mapping->reserved_bytes) return false;
  size_t more = os_page_round(bytes) - committed;
  if (!provider_charge(mapping->account, mapping->type, more, allowance)) return false;
  if (!os_memory_commit(table->base + committed, more)) {
    memory_discharge(mapping->account, mapping->type, more);
    return false;
  }
  os_atomic_store(&mapping->committed_bytes, committed + more);
  return true;
}

void memory_table_cut(memory_table *table, size_t bytes) {
  memory_mapping *mapping = &table->mapping;
  size_t keep = os_page_round(bytes), committed = memory_table_committed(table);
  if (keep >= committed) return;
  os_memory_decommit(table->base + keep, committed - keep);
  memory_discharge(mapping->account, mapping->type, committed - keep);
  os_atomic_store(&mapping->committed_bytes, keep);
}

/* ---- stacks ----------------------------------------------------------------------------------- */

static void memory_stack_divide(void *owner, memory_stretch_visit *visit, void *context) {
  const memory_mapping *mapping = owner;
  size_t bytes = memory_mapping_committed(mapping), guard = mapping->reserved_bytes - bytes;
  memory_stretch stretch = {
      .name = "guard page", .start = (uintptr_t)mapping->base, .reserved_bytes = guard};
  visit(context, &stretch);
  stretch = (memory_stretch){.name = mapping->name,
                             .start = (uintptr_t)mapping->base + guard,
                             .reserved_bytes = bytes,
                             .committed_bytes = bytes,
                             .used_bytes = bytes};
  visit(context, &stretch);
}

bool memory_stack_create(os_stack *stack, memory_mapping *mapping, memory_account *account,
                         memory_type type, const char *name, size_t bytes) {
  if (!os_stack_create(stack, bytes)) return false;
  size_t committed = os_stack_bytes(stack);
  if (!memory_charge(account, type, committed, MEMORY_WITHIN_LIMIT)) {
    os_stack_destroy(stack);
    return false;
  }
  *mapping = (memory_mapping){.account = account, .type = type};
  if (committed == 0) return true;
  memory_mapping_enter(mapping, account, type, name, os_stack_base(stack),
                       os_page_bytes() + committed);
  os_atomic_store(&mapping->committed_bytes, committed);
  mapping->divide = memory_stack_divide;
  mapping->owner = mapping;
  return true;
}

void memory_stack_destroy(os_stack *stack, memory_mapping *mapping) {
  if (mapping->account == NULL) return;
  memory_discharge(mapping->account, mapping->type, os_stack_bytes(stack));
  memory_mapping_leave(mapping);
  os_stack_destroy(stack);
}
