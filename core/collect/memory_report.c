/*
 * The report walks the mappings of the heap's account, and of the verifier's, which is no part of the heap. Each
 * mapping is divided by its owner; what has none of its own is counted by the account.
 */
#include "core/collect/memory_report.h"

#include <inttypes.h>
#include <string.h>

#include "core/collect/collector.h"
#include "core/verify/verify.h"

/* ---- every stretch ------------------------------------------------------------------------------ */

typedef struct memory_report_walk {
  tsr_stretch_callback callback;
  void *context;
  const char *purpose;
} memory_report_walk;

static void memory_report_stretch(void *context, const memory_stretch *stretch) {
  const memory_report_walk *walk = context;
  tsr_stretch reported = {.name = stretch->name,
                          .purpose = walk->purpose,
                          .address = (const void *)stretch->start,
                          .reserved_bytes = stretch->reserved_bytes,
                          .committed_bytes = stretch->committed_bytes,
                          .used_bytes = stretch->used_bytes};
  walk->callback(walk->context, &reported);
}

/* `purposes`: the account is the one that tsr_heap_memory() shows. */
static void memory_report_account(const memory_account *account, const char *segments,
                                  bool purposes, memory_report_walk *walk) {
  for (const memory_mapping *m = account->mappings; m != NULL; m = m->next) {
    walk->purpose = purposes ? memory_type_name(m->type) : NULL;
    memory_mapping_divide(m, memory_report_stretch, walk);
  }
  for (int type = 0; type < MEMORY_TYPE_COUNT; type++) {
    size_t bytes = os_atomic_load(&account->by_type[type].segment_bytes);
    if (bytes == 0) continue;
    walk->purpose = purposes ? memory_type_name((memory_type)type) : NULL;
    memory_stretch stretch = {.name = segments, .committed_bytes = bytes, .used_bytes = bytes};
    memory_report_stretch(walk, &stretch);
  }
}

tsr_status memory_report_run(tsr_mutator *self, const char *function, tsr_stretch_callback callback,
                             void *context, tsr_error *error) {
  tsr_heap *heap = self->heap;
  tsr_status status = world_stop(self, function, error);
  if (status != TSR_OK) return status;
  memory_report_walk walk = {.callback = callback, .context = context};
  /* Threads in native code may give free blocks back. */
  os_mutex_lock(&heap->blocks.lock);
  memory_report_account(&heap->account, "segments", true, &walk);
  if (heap->verifier != NULL) {
    memory_report_account(verifier_account(heap->verifier), "verifier's segments", false, &walk);
  }
  os_mutex_unlock(&heap->blocks.lock);
  world_yield(self);
  return TSR_OK;
}

/* ---- as a table --------------------------------------------------------------------------------- */

#define MEMORY_REPORT_LINES 64

typedef struct memory_report_line {
  tsr_stretch sum; /* of all with its name and purpose */
  uint64_t stretches;
} memory_report_line;

typedef struct memory_report_table {
  memory_report_line lines[MEMORY_REPORT_LINES], all;
  size_t count;
} memory_report_table;

static void memory_report_line_add(memory_report_line *line, const tsr_stretch *stretch) {
  line->stretches++;
  line->sum.reserved_bytes += stretch->reserved_bytes;
  line->sum.committed_bytes += stretch->committed_bytes;
  line->sum.used_bytes += stretch->used_bytes;
}

static void memory_report_table_add(void *context, const tsr_stretch *stretch) {
  memory_report_table *table = context;
  size_t i = 0;
  while (i < table->count && (strcmp(table->lines[i].sum.name, stretch->name) != 0 ||
                              table->lines[i].sum.purpose != stretch->purpose)) {
    i++;
  }
  TSR_CHECK(i < MEMORY_REPORT_LINES, "a heap's memory has a few dozen names");
  if (i == table->count) {
    table->lines[i] =
        (memory_report_line){.sum = {.name = stretch->name, .purpose = stretch->purpose}};
    table->count++;
  }
  memory_report_line_add(&table->lines[i], stretch);
  memory_report_line_add(&table->all, stretch);
}

static void memory_report_line_write(const memory_report_line *line, FILE *file) {
  const tsr_stretch *sum = &line->sum;
  fprintf(file, "%-24s %-20s %9" PRIu64 " %15" PRIu64 " %15" PRIu64 " %15" PRIu64 "\n", sum->name,
          sum->purpose == NULL ? "-" : sum->purpose, line->stretches, sum->reserved_bytes,
          sum->committed_bytes, sum->used_bytes);
}

tsr_status memory_report_write(tsr_mutator *self, FILE *file, tsr_error *error) {
  memory_report_table table = {.all = {.sum = {.name = "all"}}};
  tsr_status status =
      memory_report_run(self, "tsr_heap_report_write", memory_report_table_add, &table, error);
  if (status != TSR_OK) return status;
  fprintf(file, "%-24s %-20s %9s %15s %15s %15s\n", "name", "purpose", "stretches", "reserved",
          "committed", "used");
  for (size_t i = 0; i < table.count; i++)
    memory_report_line_write(&table.lines[i], file);
  memory_report_line_write(&table.all, file);
  return TSR_OK;
}
