/*
 * Virtual memory: reserve address space, commit and decommit parts of it, protect, release.
 *
 * Reserved memory costs no RSS and faults when touched. Committed memory is readable, writable and
 * zero at first. Decommitting gives the pages back and makes the range fault again; committing it once
 * more yields zeroes. All addresses and sizes are multiples of os_page_bytes().
 * Nothing here is ever writable and executable at once.
 */
#ifndef CORE_OS_MEMORY_H
#define CORE_OS_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

typedef enum os_access {
  OS_ACCESS_NONE,
  OS_ACCESS_READ,
  OS_ACCESS_READ_WRITE,
  OS_ACCESS_EXECUTE /* and read */
} os_access;

/* Address space of `bytes`, aligned to `alignment` (a power of two). NULL: the system refused. */
void *os_memory_reserve(size_t bytes, size_t alignment);
/* Gives back a whole reservation, committed or not. */
void os_memory_release(void *base, size_t bytes);

/* False: the system refused, and nothing changed. */
bool os_memory_commit(void *start, size_t bytes);
void os_memory_decommit(void *start, size_t bytes);
/* Gives the pages back, but leaves the range readable and writable: zero again when touched. Splits no
   mapping, so it serves short ranges. */
void os_memory_discard(void *start, size_t bytes);
/* Changes the access of committed memory; its content stays. */
bool os_memory_protect(void *start, size_t bytes, os_access access);
/* Makes the processor see as instructions what was written there as data. */
void os_memory_flush_instructions(void *start, size_t bytes);

#endif
