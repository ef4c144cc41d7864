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

void *segment_request(memory_account *account, memory_type type, size_t bytes) {
  if (!provider_charge(account, type, bytes, MEMORY_WITHIN_LIMIT)) return NULL;
  void *segment = os_fault_strikes(OS_FAULT_SEGMENT) ? NULL : calloc(1, bytes);
  if (segment == NULL) memory_discharge(account, type, bytes);
  return segment;
}

void segment_release(memory_account *account, memory_type type, void *segment, size_t bytes) {
  if (segment == NULL) return;
  free(segment);
  memory_discharge(account, type, bytes);
}

void *segment_grow(memory_account *account, memory_type type, void *segment, size_t bytes,
                   size_t new_bytes) {
  void *grown = segment_request(account, type, new_bytes);
  if (grown == NULL) return NULL;
  if (segment != NULL) memcpy(grown, segment, bytes);
  segment_release(account, type, segment, bytes);
  return grown;
}

static size_t memory_table_round(size_t bytes) {
  size_t page = os_page_bytes();
  return (bytes + page - 1) & ~(page - 1);
}

bool memory_table_create(memory_table *table, memory_account *account, memory_type type,
                         size_t reserved_bytes) {
  size_t reserved = memory_table_round(reserved_bytes);
  void *base = os_memory_reserve(reserved, os_page_bytes());
  if (base == NULL) return false;
  *table =
      (memory_table){.account = account, .type = type, .base = base, .reserved_bytes = reserved};
  return true;
}

void memory_table_destroy(memory_table *table) {
  if (table->base == NULL) return;
  os_memory_release(table->base, table->reserved_bytes);
  memory_discharge(table->account, table->type, table->committed_bytes);
  table->base = NULL;
}

bool memory_table_extend(memory_table *table, size_t bytes, memory_allowance allowance) {
  if (bytes <= table->committed_bytes) return true;
  if (bytes > table->reserved_bytes) return false;
  size_t more = memory_table_round(bytes) - table->committed_bytes;
  if (!provider_charge(table->account, table->type, more, allowance)) return false;
  if (!os_memory_commit(table->base + table->committed_bytes, more)) {
    memory_discharge(table->account, table->type, more);
    return false;
  }
  table->committed_bytes += more;
  return true;
}

void memory_table_cut(memory_table *table, size_t bytes) {
  size_t keep = memory_table_round(bytes);
  if (keep >= table->committed_bytes) return;
  size_t less = table->committed_bytes - keep;
  os_memory_decommit(table->base + keep, less);
  memory_discharge(table->account, table->type, less);
  table->committed_bytes = keep;
}
