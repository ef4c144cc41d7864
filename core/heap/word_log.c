/*
 * Logs of words.
 */
#include "core/heap/word_log.h"

_Static_assert(sizeof(log_chunk) == LOG_CHUNK_BYTES, "chunks have no gaps");

bool word_log_push(tsr_heap *heap, word_log *log, uintptr_t word) {
  log_chunk *chunk = log->first;
  if (chunk == NULL || chunk->count == LOG_CHUNK_WORDS) {
    chunk = segment_request(&heap->account, MEMORY_REMEMBERED, sizeof *chunk);
    if (chunk == NULL) return false;
    chunk->count = 0;
    chunk->next = log->first;
    log->first = chunk;
  }
  chunk->words[chunk->count++] = word;
  return true;
}

log_chunk *word_log_take_chunk(word_log *log) {
  log_chunk *chunk = log->first;
  if (chunk != NULL) log->first = chunk->next;
  return chunk;
}

void word_log_release_chunk(tsr_heap *heap, log_chunk *chunk) {
  segment_release(&heap->account, MEMORY_REMEMBERED, chunk, sizeof *chunk);
}

static void log_drop_first(tsr_heap *heap, word_log *log) {
  word_log_release_chunk(heap, word_log_take_chunk(log));
}

bool word_log_pop(tsr_heap *heap, word_log *log, uintptr_t *word) {
  log_chunk *chunk = log->first;
  if (chunk == NULL) return false;
  *word = chunk->words[--chunk->count];
  if (chunk->count == 0) log_drop_first(heap, log);
  return true;
}

void word_log_take(word_log *log, word_log *from) {
  log_chunk **end = &from->first;
  while (*end != NULL)
    end = &(*end)->next;
  *end = log->first;
  log->first = from->first;
  from->first = NULL;
}

void word_log_filter(tsr_heap *heap, word_log *log, bool (*keep)(void *context, uintptr_t word),
                     void *context) {
  for (log_chunk **link = &log->first; *link != NULL;) {
    log_chunk *chunk = *link;
    size_t count = 0;
    for (size_t i = 0; i < chunk->count; i++) {
      if (keep(context, chunk->words[i])) chunk->words[count++] = chunk->words[i];
    }
    chunk->count = count;
    if (count > 0) {
      link = &chunk->next;
      continue;
    }
    *link = chunk->next;
    word_log_release_chunk(heap, chunk);
  }
}

void word_log_drop(tsr_heap *heap, word_log *log) {
  while (log->first != NULL)
    log_drop_first(heap, log);
}
