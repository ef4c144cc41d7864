/*
 * Tests whose subject ends the process: what it does is done by a child, and the parent looks at how that ended
 * and what it wrote.
 */
#ifndef CONFORMANCE_CHILDREN_H
#define CONFORMANCE_CHILDREN_H

#include "testvm.h"

/* A child that waits for something that never comes shall fail, not hang. */
#define WATCHDOG_S 300u

/* Stray accesses are raw ones: a sanitizer that reports them first would hide what the library does. */
#define RAW_ACCESS __attribute__((noinline, no_sanitize_address))

void poke(void *address, uint64_t word);
uint64_t peek(const void *address);

/* How a child ended, and what it wrote to stdout and stderr. */
typedef struct ending {
  int status;
  char *text; /* to free */
} ending;

/* Forks the process with the mutator's heap, whose child does the body, and waits for it: the body was right. */
void assert_forked_child(tsr_mutator *mutator, bool (*body)(void *context), void *context);

ending in_child(void (*body)(void *context), void *context);
void assert_died_of(const ending *end, int wanted, const char *what);
void assert_survived(const ending *end, const char *what);
/* The child dies of `signal`, and what it wrote contains both phrases. */
void assert_dies_saying(void (*body)(void *context), void *context, int wanted, const char *what,
                        const char *phrase, const char *other_phrase);

#endif
