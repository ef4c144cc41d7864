/*
 * Telling the tools that watch memory, AddressSanitizer and Valgrind, which parts of the heap nobody
 * may touch. In a build without them the functions do nothing; Valgrind's requests cost a few
 * instructions where it is not running, so they come once for a block or a buffer, never for an object.
 */
#ifndef CORE_OS_WATCH_H
#define CORE_OS_WATCH_H

#include <stddef.h>
#include <stdint.h>

/* Free memory and from-space: a load or a store there is an error that the tools report. */
void os_memory_forbid(uintptr_t start, uintptr_t end);
/* Handed out: may be read and written; what it holds counts as written. */
void os_memory_allow(uintptr_t start, uintptr_t end);

#endif
