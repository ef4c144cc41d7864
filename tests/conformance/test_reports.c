/*
 * What a heap tells: counters, the collection_ended event, the log line, the statistics file.
 */
#include "testvm.h"

#include <unistd.h>

static testvm vm;

START_TEST(collections_are_counted) {
  vm_open_alone(&vm, "16M"); /* counts mutators */
  tsr_stats stats = vm_stats(&vm);
  ck_assert_str_eq(stats.plan, vm_plan);
  ck_assert_str_eq(tsr_heap_plan(vm.heap), vm_plan);
  ck_assert_uint_eq(stats.collections, 0);
  ck_assert_uint_eq(stats.live_bytes_after_last, 0);
  ck_assert_uint_eq(stats.mutators, 1);
  ck_assert_uint_eq(stats.heap_max_bytes, 16 * MIB);
  for (unsigned i = 1; i <= 5; i++) {
    vm_collect(&vm);
    stats = vm_stats(&vm);
    ck_assert_uint_eq(stats.collections, vm_collects ? i : 0);
    ck_assert_uint_eq(stats.minor_collections + stats.major_collections, stats.collections);
    ck_assert_uint_eq(vm.ended, stats.collections);
  }
  if (vm_collects) {
    ck_assert_uint_ge(stats.workers, 1);
    ck_assert_uint_gt(stats.pause_ns.total, 0);
    ck_assert_uint_ge(stats.pause_ns.total, stats.pause_ns.max);
    ck_assert_uint_ge(stats.pause_ns.p999, stats.pause_ns.p99);
    ck_assert_uint_ge(stats.pause_ns.p99, stats.pause_ns.p50);
    ck_assert_uint_ge(stats.pause_ns.p999 + stats.pause_ns.p999 / 25 + 1, stats.pause_ns.max);
    ck_assert_uint_le(stats.pause_ns.p50, stats.pause_ns.max + stats.pause_ns.max / 25 + 1);
  }
  vm_stop(&vm);
}
END_TEST

/* Whether a text names the cause of a collection that allocating has led to: that there was no room, or that a cycle of marking
   was to begin or to end. */
static bool tells_cause(const char *text) {
  if (vm_is_incremental() && strstr(text, "marking") != NULL) return true;
  return !vm_is_still() && strstr(text, "allocation") != NULL;
}

START_TEST(collections_describe_themselves) {
  if (!vm_collects) return;
  vm_open(&vm, "8M");
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *list = tsr_local(vm.m, 0);
  ck_assert(vm_list(vm.m, list, 5000, 0));
  vm_collect(&vm);
  const tsr_collection *last = &vm.last_collection;
  ck_assert_uint_eq(last->number, 1);
  ck_assert_str_eq(last->plan, vm_plan);
  ck_assert_str_eq(last->cause, "request");
  ck_assert_uint_ge(last->live_bytes, 5000 * 24);
  ck_assert_uint_eq(last->live_bytes, vm_stats(&vm).live_bytes_after_last);
  ck_assert_uint_ge(last->before_bytes, 5000 * 24);
  ck_assert_uint_ge(last->after_bytes, 5000 * 24);
  ck_assert_uint_ge(last->committed_bytes, last->after_bytes);
  ck_assert_uint_ge(last->workers, 1);
  while (vm.ended < 3) {
    ck_assert_ptr_nonnull(vm_new(vm.m, BYTES, 0, 1000));
  }
  ck_assert_uint_eq(last->number, 3);
  ck_assert(tells_cause(last->cause));
  if (!vm_is_still()) ck_assert_uint_gt(last->before_bytes, last->after_bytes);
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}
END_TEST

START_TEST(allocated_bytes_are_counted) {
  vm_open_alone(&vm, "32M"); /* counts bytes */
  uint64_t before = vm_stats(&vm).bytes_allocated;
  for (unsigned i = 0; i < 1000; i++) {
    ck_assert_ptr_nonnull(vm_new(vm.m, BYTES, 0, 1000));
  }
  ck_assert_ptr_nonnull(vm_new(vm.m, BYTES, 0, MIB));
  uint64_t made = 1000 * vm_size(BYTES, 1000) + vm_size(BYTES, MIB);
  uint64_t counted = vm_stats(&vm).bytes_allocated - before;
  ck_assert_uint_ge(counted + 32 * KIB, made); /* the buffer in use was counted before, or is now */
  ck_assert_uint_le(counted, made + made / 8 + 64 * KIB);
  vm_collect(&vm); /* a buffer in use counts whole, a retired one as far as it was used */
  ck_assert_uint_ge(vm_stats(&vm).bytes_allocated - before + 32 * KIB, counted);
  vm_stop(&vm);
}
END_TEST

/* ---- TESSERA_LOG=gc ------------------------------------------------------------------------ */

START_TEST(the_log_has_a_line_for_each_collection) {
  setenv("TESSERA_LOG", "gc", 1);
  vm_open(&vm, "8M");
  vm_capture_begin();
  vm_collect(&vm);
  vm_garbage(vm.m, vm_collects ? 20 * MIB : MIB);
  char *text = vm_capture_end();
  unsetenv("TESSERA_LOG");
  unsigned lines = 0;
  for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
    if (strstr(line, "Pause Mark") != NULL || strstr(line, "Pause Sweep") != NULL) continue;
    lines++;
    char number[16];
    snprintf(number, sizeof number, "%u", lines);
    ck_assert_msg(strstr(line, number) != NULL, "no number %u: %s", lines, line);
    ck_assert_msg(strstr(line, vm_plan) != NULL, "no plan: %s", line);
    ck_assert_msg(lines == 1 ? strstr(line, "request") != NULL : tells_cause(line), "cause: %s",
                  line);
    ck_assert_msg(strstr(line, "ms") != NULL, "no pause in ms: %s", line);
    ck_assert_msg(strstr(line, "worker") != NULL, "no workers: %s", line);
  }
  ck_assert_uint_eq(lines, vm.ended);
  ck_assert(!vm_collects || lines > 1);
  free(text);
  vm_stop(&vm);
}
END_TEST

START_TEST(without_the_log_nothing_is_printed) {
  vm_capture_begin();
  vm_open(&vm, "8M");
  vm_collect(&vm);
  vm_garbage(vm.m, MIB);
  vm_stop(&vm);
  char *text = vm_capture_end();
  ck_assert_str_eq(text, "");
  free(text);
}
END_TEST

/* ---- TESSERA_STATS ------------------------------------------------------------------------- */

/* The number behind "name": in `json`; fails where it is missing. */
static uint64_t field(const char *json, const char *name) {
  char key[64];
  snprintf(key, sizeof key, "\"%s\"", name);
  const char *at = strstr(json, key);
  ck_assert_msg(at != NULL, "no field %s in %s", name, json);
  unsigned long long value = 0;
  ck_assert_msg(sscanf(at + strlen(key), " : %llu", &value) == 1, "%s is no number in %s", name,
                json);
  return value;
}

static void check_times(const char *json, const char *name) {
  char key[64];
  snprintf(key, sizeof key, "\"%s\"", name);
  const char *at = strstr(json, key);
  ck_assert_msg(at != NULL, "no field %s in %s", name, json);
  const char *open = strchr(at, '{');
  const char *close = strchr(at, '}');
  ck_assert(open != NULL && close != NULL && open < close);
  char object[512];
  snprintf(object, sizeof object, "%.*s", (int)(close - open) + 1, open);
  uint64_t max = field(object, "max");
  ck_assert_uint_ge(field(object, "total"), max);
  ck_assert_uint_le(field(object, "p50"), field(object, "p99"));
  ck_assert_uint_le(field(object, "p99"), field(object, "p999"));
}

/* Braces and quotes balance, and there is one object only. */
static void check_shape(const char *json) {
  int depth = 0;
  unsigned objects = 0;
  bool quoted = false;
  for (const char *p = json; *p != 0; p++) {
    if (*p == '"') quoted = !quoted;
    if (quoted) continue;
    if (*p == '{' && depth++ == 0) objects++;
    if (*p == '}') depth--;
    ck_assert_int_ge(depth, 0);
  }
  ck_assert(depth == 0 && !quoted && objects == 1);
}

/* What the VM has counted and not taken back when the heap is destroyed. */
#define EXTERNAL_BYTES 12345

static void check_statistics(const char *json, const tsr_stats *stats) {
  check_shape(json);
  char plan[64];
  snprintf(plan, sizeof plan, "\"%s\"", vm_plan);
  ck_assert(strstr(json, "\"plan\"") != NULL && strstr(json, plan) != NULL);
  ck_assert_uint_eq(field(json, "collections"), stats->collections);
  ck_assert_uint_eq(field(json, "minor_collections"), stats->minor_collections);
  ck_assert_uint_eq(field(json, "major_collections"), stats->major_collections);
  check_times(json, "pause_ns");
  check_times(json, "pause_cpu_ns");
  ck_assert_uint_ge(field(json, "bytes_allocated"), stats->bytes_allocated - 64 * KIB);
  ck_assert_uint_ge(field(json, "peak_committed_bytes"), stats->peak_committed_bytes);
  ck_assert_uint_eq(field(json, "live_bytes_after_last"), stats->live_bytes_after_last);
  ck_assert_uint_eq(field(json, "heap_max_bytes"), stats->heap_max_bytes);
  ck_assert_uint_eq(field(json, "external_bytes"), EXTERNAL_BYTES);
  ck_assert_uint_eq(field(json, "workers"), stats->workers);
}

static tsr_stats run_something(void) {
  vm_open_alone(&vm, "8M"); /* bytes are compared over the end of all mutators */
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  ck_assert(vm_list(vm.m, tsr_local(vm.m, 0), 1000, 0));
  vm_garbage(vm.m, vm_collects ? 20 * MIB : MIB);
  vm_collect(&vm);
  ck_assert_int_eq(tsr_adjust_external(vm.heap, NULL, EXTERNAL_BYTES, NULL), TSR_OK);
  tsr_scope_close(vm.m, &scope);
  return vm_stats(&vm);
}

START_TEST(statistics_go_to_a_file) {
  char path[] = "/tmp/tessera-stats-XXXXXX";
  int fd = mkstemp(path);
  ck_assert_int_ge(fd, 0);
  close(fd);
  setenv("TESSERA_STATS", path, 1);
  tsr_stats stats = run_something();
  vm_stop(&vm);
  unsetenv("TESSERA_STATS");
  FILE *file = fopen(path, "r");
  char text[4096];
  size_t size = fread(text, 1, sizeof text - 1, file);
  text[size] = 0;
  fclose(file);
  remove(path);
  check_statistics(text, &stats);
}
END_TEST

START_TEST(statistics_go_to_stderr) {
  setenv("TESSERA_STATS", "-", 1);
  tsr_stats stats = run_something();
  vm_capture_begin();
  vm_stop(&vm);
  char *text = vm_capture_end();
  unsetenv("TESSERA_STATS");
  check_statistics(text, &stats);
  free(text);
}
END_TEST

/* A file that cannot be written is no reason to fail or to leak the heap. */
START_TEST(statistics_to_nowhere) {
  setenv("TESSERA_STATS", "/no/such/folder/statistics.json", 1);
  vm_init_calm(&vm);
  tsr_error error = {0};
  vm.heap = tsr_heap_create(&vm.binding, &vm, vm.options, &error);
  if (vm.heap == NULL) { /* refusing at once would be as good */
    ck_assert(error.message[0] != 0);
  } else {
    vm_capture_begin();
    tsr_heap_destroy(vm.heap, &error);
    free(vm_capture_end());
  }
  vm_drop(&vm);
  unsetenv("TESSERA_STATS");
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, collections_are_counted);
  tcase_add_test(tests, collections_describe_themselves);
  tcase_add_test(tests, allocated_bytes_are_counted);
  tcase_add_test(tests, the_log_has_a_line_for_each_collection);
  tcase_add_test(tests, without_the_log_nothing_is_printed);
  tcase_add_test(tests, statistics_go_to_a_file);
  tcase_add_test(tests, statistics_go_to_stderr);
  tcase_add_test(tests, statistics_to_nowhere);
}

int main(void) {
  return vm_main("reports", add);
}
