/*
 * The system segment provider: where the library's own tables get their memory.
 *
 * Two shapes. A *segment* is a piece of exactly known size from the C allocator, zeroed, charged
 * under a type. A *table* is a reserved range of addresses whose first part is committed: it grows
 * in place, so that pointers into it hold and readers need no lock.
 */
#ifndef CORE_MEMORY_PROVIDER_H
#define CORE_MEMORY_PROVIDER_H

#include "core/memory/account.h"

/* memory_charge(), and where there is no room asks whoever can make some. */
bool provider_charge(memory_account *account, memory_type type, size_t bytes,
                     memory_allowance allowance);

/* NULL: the account's limit, or the system, refuses. */
void *segment_request(memory_account *account, memory_type type, size_t bytes);
void segment_release(memory_account *account, memory_type type, void *segment, size_t bytes);
/* Grows a segment, keeping its content; NULL leaves it as it is. */
void *segment_grow(memory_account *account, memory_type type, void *segment, size_t bytes,
                   size_t new_bytes);

typedef struct memory_table {
  memory_account *account;
  memory_type type;
  char *base;
  size_t reserved_bytes;
  size_t committed_bytes; /* grown under its owner's lock; [base, base + committed) is usable */
} memory_table;

bool memory_table_create(memory_table *table, memory_account *account, memory_type type,
                         size_t reserved_bytes);
void memory_table_destroy(memory_table *table);
/* Makes the first `bytes` usable. False: no memory, or past the reservation; nothing changed. */
bool memory_table_extend(memory_table *table, size_t bytes, memory_allowance allowance);
/* Gives back what lies above the first `bytes`, rounded up to pages: undoes an extension. */
void memory_table_cut(memory_table *table, size_t bytes);

#endif
