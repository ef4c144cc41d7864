/*
 * Typed accounting: every byte that a heap holds is charged to one account under one type.
 *
 * The account's limit is the heap's maximum, so "the maximum is honoured exactly" is one rule at
 * one place: a charge that would pass the limit is refused, and nothing is taken from the system.
 * One kind of request may pass the limit, and says so with each charge [design: overcommit]. Totals are kept by atomic
 * additions; charging takes no lock.
 */
#ifndef CORE_MEMORY_ACCOUNT_H
#define CORE_MEMORY_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>

#include "core/os/atomic.h"

/* The purposes, and the names under which statistics show them. */
#define MEMORY_TYPES(X)                                                                            \
  X(MEMORY_BLOCKS, "heap blocks")                                                                  \
  X(MEMORY_BLOCK_TABLES, "block tables")                                                           \
  X(MEMORY_OBJECT_BITS, "start and mark bits")                                                     \
  X(MEMORY_MARK_QUEUE, "mark queue")                                                               \
  X(MEMORY_HANDLES, "handles")                                                                     \
  X(MEMORY_ROOTS, "root tables")                                                                   \
  X(MEMORY_PINS, "pins")                                                                           \
  X(MEMORY_IDENTITIES, "identity hashes")                                                          \
  X(MEMORY_FINALIZERS, "finalizers")                                                               \
  X(MEMORY_REMEMBERED, "remembered set")                                                           \
  X(MEMORY_WEAK_TABLES, "weak tables")                                                             \
  X(MEMORY_DESTRUCTORS, "destructors")                                                             \
  X(MEMORY_RESERVE, "reserve")                                                                     \
  X(MEMORY_MUTATORS, "mutators")                                                                   \
  X(MEMORY_LAYOUTS, "layouts")                                                                     \
  X(MEMORY_INSTANCE, "heap instance")

#define MEMORY_TYPE_ENUM(symbol, name) symbol,
typedef enum memory_type { MEMORY_TYPES(MEMORY_TYPE_ENUM) MEMORY_TYPE_COUNT } memory_type;

typedef struct memory_share {
  os_atomic_word bytes; /* any thread, by atomic addition */
  os_atomic_word peak;  /* any thread, raised by compare-and-swap */
  os_atomic_word
      segment_bytes; /* of `bytes`, those from the C allocator; any thread, by atomic addition */
} memory_share;

typedef struct memory_account {
  size_t limit_bytes; /* fixed once the account is open */
  /* Asked to discharge something when a table finds no headroom; NULL: nobody can. Fixed after opening. */
  bool (*reclaim)(void *context, size_t bytes);
  void *reclaim_context;
  struct memory_mapping *mappings; /* core/memory/mapping.h */
  memory_share total;
  memory_share by_type[MEMORY_TYPE_COUNT];
} memory_account;

void memory_account_open(memory_account *account, size_t limit_bytes);

/* How far memory may be taken. */
typedef enum memory_allowance {
  MEMORY_WITHIN_SIZE, /* as far as the heap has grown: for its spaces; an account takes it as the next */
  MEMORY_WITHIN_LIMIT, /* up to the maximum */
  MEMORY_OVER_LIMIT
} memory_allowance;

/* False: the limit would be passed, or is, and nothing changed. */
bool memory_charge(memory_account *account, memory_type type, size_t bytes,
                   memory_allowance allowance);
void memory_discharge(memory_account *account, memory_type type, size_t bytes);

/* Bytes that may still be charged; and once so many have been given back. */
size_t memory_headroom(const memory_account *account);
size_t memory_headroom_after(const memory_account *account, size_t returned_bytes);

const char *memory_type_name(memory_type type);

#endif
