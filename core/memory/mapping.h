/*
 * Mappings: each reservation of address space that a heap makes, in a list of its account.
 *
 * The list says what is the library's and for what, so that a report can name every byte of it [design: heap-report].
 * A mapping enters the list where it is reserved and leaves it where it is released, and there is no other way to
 * reserve; so none can be forgotten. What of it is committed its owner says: a mapping is divided into *stretches*.
 *
 * Mappings are made when a heap is opened and released when it is closed, or with the world stopped; so the list needs
 * no lock.
 */
#ifndef CORE_MEMORY_MAPPING_H
#define CORE_MEMORY_MAPPING_H

#include "core/memory/account.h"

/* A part of a mapping that serves one purpose. */
typedef struct memory_stretch {
  const char *name;
  uintptr_t start;
  size_t reserved_bytes;
  size_t committed_bytes;
  size_t used_bytes; /* of those that are committed */
} memory_stretch;

typedef void memory_stretch_visit(void *context, const memory_stretch *stretch);

typedef struct memory_mapping {
  struct memory_mapping *next; /* in the account's list */
  memory_account *account;     /* what is committed is charged to it */
  memory_type type;            /* under this */
  const char *name;
  char *base; /* NULL: there is none */
  size_t reserved_bytes;
  os_atomic_word committed_bytes; /* written under the owner's lock */
  /* Who owns it divides it: visits stretches that cover it, lowest first. NULL: its first bytes are committed. */
  void (*divide)(void *owner, memory_stretch_visit *visit, void *context);
  void *owner;
} memory_mapping;

/* Reserves a number of pages. False: the system refuses, and nothing changed. The structure stays where it is until the
   mapping is released. */
bool memory_mapping_reserve(memory_mapping *mapping, memory_account *account, memory_type type,
                            const char *name, size_t bytes, size_t alignment);
/* The same for a reservation that is there already. */
void memory_mapping_enter(memory_mapping *mapping, memory_account *account, memory_type type,
                          const char *name, void *base, size_t bytes);
/* One that there is not is left alone. What was charged for it the owner has given back. */
void memory_mapping_release(memory_mapping *mapping);
/* The same for a reservation that somebody else releases. */
void memory_mapping_leave(memory_mapping *mapping);

static inline size_t memory_mapping_committed(const memory_mapping *mapping) {
  return os_atomic_load(&mapping->committed_bytes);
}

/* Visits the stretches of a mapping. World stopped. */
void memory_mapping_divide(const memory_mapping *mapping, memory_stretch_visit *visit,
                           void *context);

#endif
