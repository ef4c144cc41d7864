/*
 * The system segment provider: where the library's own tables get their memory.
 *
 * Three shapes. A *segment* is a piece of exactly known size from the C allocator, zeroed, charged
 * under a type. A *table* is a reserved range of addresses whose first part is committed: it grows
 * in place, so that pointers into it hold and readers need no lock. A *stack* is one to call on (core/os/stack.h).
 */
#ifndef CORE_MEMORY_PROVIDER_H
#define CORE_MEMORY_PROVIDER_H

#include "core/memory/mapping.h"
#include "core/os/stack.h"

/* memory_charge(), and where there is no room asks whoever can make some. */
bool provider_charge(memory_account *account, memory_type type, size_t bytes,
                     memory_allowance allowance);

/* Charges a segment that its owner has from elsewhere. False: the account's limit refuses. */
bool segment_charge(memory_account *account, memory_type type, size_t bytes);
/* NULL: the account's limit, or the system, refuses. */
void *segment_request(memory_account *account, memory_type type, size_t bytes);
void segment_release(memory_account *account, memory_type type, void *segment, size_t bytes);
/* Grows a segment, keeping its content; NULL leaves it as it is. */
void *segment_grow(memory_account *account, memory_type type, void *segment, size_t bytes,
                   size_t new_bytes);

/* Runs of committed memory shorter than this are given back without a mapping of their own. */
#define MEMORY_LONG_RUN_BYTES ((size_t)256 << 10)

/* Gives the pages of a range back. Taking access away costs mappings, of which a process has few: only long runs are
   worth them. Committed again it is zero. */
void memory_return(void *start, size_t bytes);

typedef struct memory_table {
  memory_mapping mapping; /* what is committed of it is usable; grown under its owner's lock */
  char *base;             /* its beginning */
} memory_table;

bool memory_table_create(memory_table *table, memory_account *account, memory_type type,
                         const char *name, size_t reserved_bytes);
void memory_table_destroy(memory_table *table);
/* Makes the first `bytes` usable. False: no memory, or past the reservation; nothing changed. */
bool memory_table_extend(memory_table *table, size_t bytes, memory_allowance allowance);
/* Gives back what lies above the first `bytes`, rounded up to pages. */
void memory_table_cut(memory_table *table, size_t bytes);

static inline size_t memory_table_committed(const memory_table *table) {
  return memory_mapping_committed(&table->mapping);
}

/* As os_stack_create(), charged, with its guard page among the account's mappings; none is entered where a helper thread
   has the stack. Both structures stay where they are. False: the account's limit, or the system, refuses. */
bool memory_stack_create(os_stack *stack, memory_mapping *mapping, memory_account *account,
                         memory_type type, const char *name, size_t bytes);
/* Zeroed ones may be destroyed. */
void memory_stack_destroy(os_stack *stack, memory_mapping *mapping);

#endif
