/*
 * Internal checks. A check states a rule of this library in a sentence; a broken one is a bug
 * here, never bad input (bad input gets a tsr_error). TSR_CHECK runs where TSR_CHECKS is defined
 * (every build but release); TSR_ALWAYS_CHECK runs in every build, for rules whose violation would
 * corrupt the VM's data in silence. core/heap/heap.h adds the forms that print plan, phase and object.
 */
#ifndef CORE_OS_CHECK_H
#define CORE_OS_CHECK_H

#include <stdnoreturn.h>

/* Prints the sentence and where it stands, then aborts. */
noreturn void os_fatal(const char *file, int line, const char *sentence);

#define TSR_ALWAYS_CHECK(condition, sentence)                                                      \
  do {                                                                                             \
    if (!(condition)) os_fatal(__FILE__, __LINE__, sentence);                                      \
  } while (0)

#ifdef TSR_CHECKS
#define TSR_CHECK(condition, sentence) TSR_ALWAYS_CHECK(condition, sentence)
#else
#define TSR_CHECK(condition, sentence) ((void)sizeof((condition) ? 1 : 0))
#endif

#endif
