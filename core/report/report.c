/*
 * Log, figures, statistics file.
 */
#include "core/report/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/heap/heap.h"
#include "core/os/error.h"
#include "core/report/histogram.h"

struct report {
  os_mutex lock; /* guards all that follows */
  uint64_t opened_ns;
  bool logs_collections;
  os_stack stack; /* for lines of the log: a mutator may have little of its own left */
  memory_mapping stack_mapping;
  uint64_t minor_collections, major_collections;
  uint64_t cycles, increments;
  uint64_t live_bytes_after_last;
  uint32_t workers;
  histogram pause_ns, pause_cpu_ns;
};

/* ---- opening --------------------------------------------------------------------------------------------- */

static tsr_status report_check_statistics_file(const char *name, tsr_error *error) {
  if (*name == '\0' || strcmp(name, "-") == 0) return TSR_OK;
  FILE *file = fopen(name, "a");
  if (file == NULL) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "stats: the file \"%.128s\" cannot be written: %s", name, strerror(errno));
  }
  fclose(file);
  return TSR_OK;
}

/* What formatting a line takes. */
#define REPORT_STACK_BYTES ((size_t)32 << 10)

tsr_status report_open(tsr_heap *heap, tsr_error *error) {
  const option_values *values = &heap->options.values;
  bool logs = strcmp(values->log, "gc") == 0;
  if (!logs && *values->log != '\0') {
    return error_set(error, TSR_INVALID_ARGUMENT, "log: \"%s\" is unknown; this version knows gc",
                     values->log);
  }
  tsr_status status = report_check_statistics_file(values->stats, error);
  if (status != TSR_OK) return status;
  struct report *report = segment_request(&heap->account, MEMORY_INSTANCE, sizeof *report);
  if (report == NULL) goto no_memory;
  if (!os_mutex_create(&report->lock)) goto no_lock;
  if (logs && !memory_stack_create(&report->stack, &report->stack_mapping, &heap->account,
                                   MEMORY_INSTANCE, "report's stack", REPORT_STACK_BYTES)) {
    goto no_stack;
  }
  report->opened_ns = os_clock_ns();
  report->logs_collections = logs;
  report->workers = heap->plan->collects ? 1 : 0;
  heap->report = report;
  return TSR_OK;

no_stack:
  os_mutex_destroy(&report->lock);
no_lock:
  segment_release(&heap->account, MEMORY_INSTANCE, report, sizeof *report);
no_memory:
  return heap_no_memory(heap, error);
}

void report_close(tsr_heap *heap) {
  memory_stack_destroy(&heap->report->stack, &heap->report->stack_mapping);
  os_mutex_destroy(&heap->report->lock);
  segment_release(&heap->account, MEMORY_INSTANCE, heap->report, sizeof *heap->report);
  heap->report = NULL;
}

void report_forget_threads(tsr_heap *heap) {
  os_stack_forget_thread(&heap->report->stack);
}

void report_fork(tsr_heap *heap, os_fork_stage stage) {
  os_mutex_fork(&heap->report->lock, stage);
}

/* ---- one collection ---------------------------------------------------------------------------------------- */

/* Bytes as the log shows them. */
static void report_format_bytes(char *text, size_t size, uint64_t bytes) {
  static const char units[] = "BKMGT";
  size_t unit = 0;
  double value = (double)bytes;
  for (; value >= 10000 && unit + 2 < sizeof units; unit++)
    value /= 1024;
  snprintf(text, size, "%.0f%c", value, units[unit]);
}

/* Shaped like unified logging's line, which many tools read; the plan and the workers follow it. */
typedef struct report_line {
  const tsr_heap *heap;
  const tsr_collection *collection;
  const char *kind;
} report_line;

static const char *report_kind(const tsr_collection *c, bool of_young) {
  if (c->remark != 0) return "Remark";
  if (c->minor == 0) return "Full";
  return of_young ? "Young" : "Roots";
}

static void report_log(void *context) {
  const report_line *line = context;
  const tsr_heap *heap = line->heap;
  const tsr_collection *c = line->collection;
  char before[32], after[32], committed[32];
  report_format_bytes(before, sizeof before, c->before_bytes);
  report_format_bytes(after, sizeof after, c->after_bytes);
  report_format_bytes(committed, sizeof committed, c->committed_bytes);
  double uptime_s = (double)(os_clock_ns() - heap->report->opened_ns) * 1e-9;
  const char *name = heap->options.heap_name;
  fprintf(stderr,
          "[%.3fs][info][gc] %s%sGC(%" PRIu64 ") Pause %s (%s) %s->%s(%s) %.3fms plan=%s "
          "workers=%" PRIu32 "\n",
          uptime_s, name, *name == '\0' ? "" : " ", c->number, line->kind, c->cause, before, after,
          committed, (double)c->pause_ns * 1e-6, c->plan, c->workers);
}

void report_collection(tsr_heap *heap, const tsr_collection *collection) {
  struct report *report = heap->report;
  os_mutex_lock(&report->lock);
  report->workers = collection->workers;
  if (collection->minor != 0) {
    report->minor_collections++;
  } else {
    report->major_collections++;
  }
  report->cycles += collection->remark;
  if (collection->minor == 0 || collection->swept != 0) {
    report->live_bytes_after_last = collection->live_bytes;
  }
  os_mutex_unlock(&report->lock);
}

/* Under the lock. */
static void report_add_pause(tsr_heap *heap, const tsr_collection *collection, const char *kind) {
  struct report *report = heap->report;
  histogram_add(&report->pause_ns, collection->pause_ns);
  histogram_add(&report->pause_cpu_ns, collection->pause_cpu_ns);
  if (!report->logs_collections) return;
  report_line line = {.heap = heap, .collection = collection, .kind = kind};
  os_stack_call(&report->stack, report_log, &line);
}

void report_pause(tsr_heap *heap, const tsr_collection *collection, bool of_young) {
  os_mutex_lock(&heap->report->lock);
  report_add_pause(heap, collection, report_kind(collection, of_young));
  os_mutex_unlock(&heap->report->lock);
}

void report_step(tsr_heap *heap, const tsr_collection *step) {
  os_mutex_lock(&heap->report->lock);
  heap->report->increments++;
  if (step->swept != 0) heap->report->live_bytes_after_last = step->live_bytes;
  report_add_pause(heap, step, step->swept != 0 ? "Sweep" : "Mark");
  os_mutex_unlock(&heap->report->lock);
}

/* ---- figures ------------------------------------------------------------------------------------------------ */

void report_fill(tsr_heap *heap, tsr_stats *stats) {
  struct report *report = heap->report;
  size_t size = stats->size;
  os_mutex_lock(&heap->blocks.lock);
  uint64_t used_bytes = (uint64_t)heap->blocks.used_blocks * BLOCK_BYTES;
  os_mutex_unlock(&heap->blocks.lock);
  os_mutex_lock(&report->lock);
  *stats = (tsr_stats){.size = size,
                       .plan = heap->plan->name,
                       .collections = report->minor_collections + report->major_collections,
                       .minor_collections = report->minor_collections,
                       .major_collections = report->major_collections,
                       .pause_ns = histogram_times(&report->pause_ns),
                       .pause_cpu_ns = histogram_times(&report->pause_cpu_ns),
                       .bytes_allocated = os_atomic_load(&heap->bytes_allocated),
                       .used_bytes = used_bytes,
                       .committed_bytes = os_atomic_load(&heap->account.total.bytes),
                       .peak_committed_bytes = os_atomic_load(&heap->account.total.peak),
                       .live_bytes_after_last = report->live_bytes_after_last,
                       .heap_max_bytes = heap->account.limit_bytes,
                       .heap_limit_bytes = os_atomic_load(&heap->limit_bytes),
                       .workers = report->workers,
                       .mutators = (uint32_t)os_atomic_load(&heap->bound_mutators),
                       .external_bytes = os_atomic_load(&heap->sizing.external_bytes),
                       .cycles = report->cycles,
                       .increments = report->increments,
                       .barrier_slow = os_atomic_load(&heap->slow_stores),
                       .barrier_slots = os_atomic_load(&heap->noted_slots),
                       .lazy_sweeps = os_atomic_load(&heap->lazy_sweeps),
                       .nursery_rests = os_atomic_load(&heap->nursery.rests)};
  os_mutex_unlock(&report->lock);
}

/* ---- the statistics file -------------------------------------------------------------------------------------- */

static void report_write_times(FILE *file, const char *name, const tsr_times *times) {
  fprintf(file,
          "\"%s\":{\"total\":%" PRIu64 ",\"max\":%" PRIu64 ",\"p50\":%" PRIu64 ",\"p99\":%" PRIu64
          ",\"p999\":%" PRIu64 "},",
          name, times->total, times->max, times->p50, times->p99, times->p999);
}

static void report_write(FILE *file, const tsr_stats *stats) {
  fprintf(file,
          "{\"plan\":\"%s\",\"collections\":%" PRIu64 ",\"minor_collections\":%" PRIu64
          ",\"major_collections\":%" PRIu64 ",",
          stats->plan, stats->collections, stats->minor_collections, stats->major_collections);
  report_write_times(file, "pause_ns", &stats->pause_ns);
  report_write_times(file, "pause_cpu_ns", &stats->pause_cpu_ns);
  fprintf(file,
          "\"bytes_allocated\":%" PRIu64 ",\"peak_committed_bytes\":%" PRIu64
          ",\"live_bytes_after_last\":%" PRIu64 ",\"heap_max_bytes\":%" PRIu64
          ",\"external_bytes\":%" PRIu64 ",\"workers\":%" PRIu32 ",\"cycles\":%" PRIu64
          ",\"increments\":%" PRIu64 ",\"barrier_slow\":%" PRIu64 ",\"barrier_slots\":%" PRIu64
          ",\"lazy_sweeps\":%" PRIu64 ",\"nursery_rests\":%" PRIu64 "}\n",
          stats->bytes_allocated, stats->peak_committed_bytes, stats->live_bytes_after_last,
          stats->heap_max_bytes, stats->external_bytes, stats->workers, stats->cycles,
          stats->increments, stats->barrier_slow, stats->barrier_slots, stats->lazy_sweeps,
          stats->nursery_rests);
}

static void report_statistics_lost(const char *name) {
  fprintf(stderr, "tessera: stats: the file \"%s\" cannot be written: %s\n", name, strerror(errno));
}

void report_statistics(tsr_heap *heap) {
  const char *name = heap->options.values.stats;
  if (*name == '\0') return;
  bool to_stderr = strcmp(name, "-") == 0;
  FILE *file = to_stderr ? stderr : fopen(name, "w");
  if (file == NULL) {
    report_statistics_lost(name);
    return;
  }
  tsr_stats stats = {.size = sizeof stats};
  report_fill(heap, &stats);
  report_write(file, &stats);
  if (!to_stderr && fclose(file) != 0) report_statistics_lost(name);
}
