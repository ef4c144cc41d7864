/*
 * Fault injection: makes a chosen operation of this room, or of the segment provider above it, fail
 * as the system would make it fail. Compiled in only where TSR_FAULT_INJECTION is defined, which no
 * library that is shipped does; elsewhere the questions below fold to "no" [design: fault-injection].
 *
 * The counter belongs to the process, not to a heap: what fails may come before there is a heap.
 */
#ifndef CORE_OS_FAULT_H
#define CORE_OS_FAULT_H

#include <stdbool.h>

/* Kinds of operations that can fail. */
enum os_fault_kind {
  OS_FAULT_RESERVE = 1, /* address space */
  OS_FAULT_COMMIT = 2,  /* memory in it */
  OS_FAULT_SEGMENT = 4, /* a piece from the C allocator */
  OS_FAULT_PROTECT = 8, /* another access to pages */
  OS_FAULT_LOCK = 16,   /* creation of a mutex or a condition */
  OS_FAULT_THREAD = 32, /* start of a thread */
  OS_FAULT_ALL = 63
};

#ifdef TSR_FAULT_INJECTION

/* The k-th operation of these kinds from now on fails, once; 0: none does any more. */
void os_fault_arm(unsigned kinds, unsigned long k);
/* Whether the armed failure has happened. */
bool os_fault_struck(void);
/* Asked by each operation: whether it is the one. */
bool os_fault_strikes(enum os_fault_kind kind);

#else

static inline bool os_fault_strikes(enum os_fault_kind kind) {
  (void)kind;
  return false;
}

#endif

#endif
