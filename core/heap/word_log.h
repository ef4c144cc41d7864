/*
 * Logs of words: as long as they need to be, in chunks of native memory that count against the heap's maximum. What comes
 * last comes out first. Not thread-safe.
 */
#ifndef CORE_HEAP_WORD_LOG_H
#define CORE_HEAP_WORD_LOG_H

#include "core/heap/heap.h"

#define LOG_CHUNK_BYTES 4096u
#define LOG_CHUNK_WORDS ((LOG_CHUNK_BYTES - 2 * sizeof(void *)) / sizeof(uintptr_t))

typedef struct log_chunk {
  struct log_chunk *next;
  size_t count;
  uintptr_t words[LOG_CHUNK_WORDS];
} log_chunk;

typedef struct word_log {
  log_chunk *first; /* the newest; NULL: it is empty. No chunk is */
} word_log;

static inline bool word_log_is_empty(const word_log *log) {
  return log->first == NULL;
}

/* False: no memory, and nothing changed. */
bool word_log_push(tsr_heap *heap, word_log *log, uintptr_t word);
/* False: it is empty. */
bool word_log_pop(tsr_heap *heap, word_log *log, uintptr_t *word);

/* Takes over all that is in another log, which is empty then; it comes out first. */
void word_log_take(word_log *log, word_log *from);

/* Takes out all of a chunk; NULL: it is empty. And gives the chunk back. */
log_chunk *word_log_take_chunk(word_log *log);
void word_log_release_chunk(tsr_heap *heap, log_chunk *chunk);

/* Shows every word; those for which `keep` is false go. */
void word_log_filter(tsr_heap *heap, word_log *log, bool (*keep)(void *context, uintptr_t word),
                     void *context);

/* Empties it. */
void word_log_drop(tsr_heap *heap, word_log *log);

#endif
