/*
 * What a heap tells about itself: one log line per collection, figures on request, one JSON object
 * at its end. The collector calls in; nothing here calls back.
 */
#ifndef CORE_REPORT_REPORT_H
#define CORE_REPORT_REPORT_H

#include <tessera/heap.h>

#include "core/os/thread.h"

/* Builds heap->report. Errors: an unknown word in the log option, a statistics file that cannot be opened. */
tsr_status report_open(tsr_heap *heap, tsr_error *error);
void report_close(tsr_heap *heap);
/* Takes and lets go the lock of this room around fork(). */
void report_fork(tsr_heap *heap, os_fork_stage stage);
/* In the child of a fork(). */
void report_forget_threads(tsr_heap *heap);

/* A collection is over: counted before any mutator runs again, so that all of them see it. */
void report_collection(tsr_heap *heap, const tsr_collection *collection);
/* A pause for a step of marking is over. */
void report_step(tsr_heap *heap, const tsr_collection *step);
/* The pause is over too; only now is its length known. `of_young`: there was a young generation to be collected. */
void report_pause(tsr_heap *heap, const tsr_collection *collection, bool of_young);

void report_fill(tsr_heap *heap, tsr_stats *stats);

/* Writes the statistics where the option asks for them. */
void report_statistics(tsr_heap *heap);

#endif
