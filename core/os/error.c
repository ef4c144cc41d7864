/*
 * Errors and fatal checks: the two ways in which the library says that something is wrong.
 */
#include "core/os/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/os/check.h"

const char *tsr_status_name(tsr_status status) {
  static const char *const names[] = {
      "TSR_OK",   "TSR_INVALID_ARGUMENT", "TSR_OUT_OF_MEMORY", "TSR_UNSUPPORTED",
      "TSR_BUSY", "TSR_MISMATCH",         "TSR_CORRUPT",       "TSR_CANCELLED"};
  return (size_t)status < sizeof names / sizeof names[0] ? names[status] : "unknown status";
}

tsr_status error_set(tsr_error *error, tsr_status status, const char *format, ...) {
  if (error == NULL) return status;
  error->status = status;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error->message, sizeof error->message, format, arguments);
  va_end(arguments);
  return status;
}

noreturn void os_fatal(const char *file, int line, const char *sentence) {
  fprintf(stderr, "tessera: internal check failed: %s (%s:%d)\n", sentence, file, line);
  fflush(stderr);
  abort();
}
