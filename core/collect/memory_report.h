/*
 * The report of a heap's memory [design: heap-report].
 */
#ifndef CORE_COLLECT_MEMORY_REPORT_H
#define CORE_COLLECT_MEMORY_REPORT_H

#include <tessera/heap_report.h>

/* tsr_heap_report() for the function named, and tsr_heap_report_write(). */
tsr_status memory_report_run(tsr_mutator *self, const char *function, tsr_stretch_callback callback,
                             void *context, tsr_error *error);
tsr_status memory_report_write(tsr_mutator *self, FILE *file, tsr_error *error);

#endif
