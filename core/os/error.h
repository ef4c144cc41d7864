/*
 * Filling in a caller's tsr_error. Every failing function ends in `return error_set(...)`, so that the
 * status and the sentence are decided at one place.
 */
#ifndef CORE_OS_ERROR_H
#define CORE_OS_ERROR_H

#include <tessera/types.h>

#if defined(__GNUC__)
#define ERROR_PRINTF __attribute__((format(printf, 3, 4)))
#else
#define ERROR_PRINTF
#endif

/* Formats the message into `error`, which may be NULL, and returns `status`. */
ERROR_PRINTF tsr_status error_set(tsr_error *error, tsr_status status, const char *format, ...);

#endif
