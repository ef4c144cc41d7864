/*
 * Options: what can be written, what is refused, and who wins among the VM's pins, a named heap's
 * environment, the environment, and the defaults.
 */
#include "testvm.h"

static testvm vm;

static const char *const names[] = {
    "plan",         "heap_max",        "heap_min", "heap_soft",   "soft_yields", "sizing", "room",
    "memory_worth", "collecting_most", "nursery",  "threads",     "pause_goal",  "stress", "verify",
    "log",          "stats",           "help",     "stop_timeout"};
#define NAMES (sizeof names / sizeof names[0])

static void start_unpinned(void) {
  vm_init_calm(&vm);
  tsr_options_destroy(vm.options);
  vm.options = tsr_options_create();
  ck_assert_ptr_nonnull(vm.options);
}

/* The maximum of a heap made from the options and the environment as they are. */
static uint64_t heap_max(void) {
  vm_start_heap(&vm);
  uint64_t max = vm_stats(&vm).heap_max_bytes;
  vm_stop(&vm);
  return max;
}

START_TEST(sizes_are_read) {
  static const struct {
    const char *text;
    uint64_t bytes;
  } sizes[] = {{"16777216", 16 * MIB}, {"16384k", 16 * MIB}, {"16384K", 16 * MIB},
               {"16m", 16 * MIB},      {"16M", 16 * MIB},    {"1g", 1024 * MIB},
               {"1G", 1024 * MIB},     {"1GiB", 1024 * MIB}, {"16MiB", 16 * MIB},
               {"16384KiB", 16 * MIB}, {"8421376", 8421376}};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    start_unpinned();
    vm_pin(&vm, "heap_max", sizes[i].text);
    uint64_t max = heap_max();
    ck_assert_msg(max == sizes[i].bytes, "%s read as %llu", sizes[i].text, (unsigned long long)max);
  }
}
END_TEST

START_TEST(unreadable_values_are_refused) {
  static const struct {
    const char *name, *value;
  } bad[] = {{"heap_max", ""},
             {"heap_max", "M"},
             {"heap_max", "64Q"},
             {"heap_max", "64MM"},
             {"heap_max", "-4M"},
             {"heap_max", "4M x"},
             {"heap_max", "lots"},
             {"heap_max", "0x"},
             {"heap_max", "99999999999999999999"},
             {"heap_max", "99999999999G"},
             {"pause_goal", "fast"},
             {"pause_goal", "-1ms"},
             {"pause_goal", "1 year"},
             {"stop_timeout", "0"},
             {"stop_timeout", "2 h"},
             {"stop_timeout", "3601s"},
             {"room", "double"},
             {"room", "19"},
             {"soft_yields", "101"},
             {"collecting_most", "0"},
             {"memory_worth", "0"},
             {"threads", "many"},
             {"threads", "-1"},
             {"stress", "yes?"},
             {"verify", "perhaps"}};
  start_unpinned();
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    tsr_error error = {0};
    tsr_status status = tsr_options_set(vm.options, bad[i].name, bad[i].value, &error);
    ck_assert_msg(status == TSR_INVALID_ARGUMENT, "%s=%s was taken", bad[i].name, bad[i].value);
    ck_assert_int_eq(error.status, TSR_INVALID_ARGUMENT);
    ck_assert_msg(vm_says(error.message, bad[i].name), "%s", error.message);
  }
  vm_pin(&vm, "heap_max", "16M");
  ck_assert_int_ne(tsr_options_set(vm.options, "heap_max", "bad", NULL), TSR_OK);
  ck_assert_msg(heap_max() == 16 * MIB, "a refused value changed the pinned one");
}
END_TEST

START_TEST(unknown_names_list_the_known_ones) {
  start_unpinned();
  tsr_error error = {0};
  ck_assert_int_eq(tsr_options_set(vm.options, "heapmax", "16M", &error), TSR_INVALID_ARGUMENT);
  for (size_t i = 0; i < NAMES; i++) {
    if (strcmp(names[i], "help") == 0) continue;
    ck_assert_msg(strstr(error.message, names[i]) != NULL, "no %s in: %s", names[i], error.message);
  }
  ck_assert_int_eq(tsr_options_set(vm.options, "", "16M", NULL), TSR_INVALID_ARGUMENT);
  vm_drop(&vm);
}
END_TEST

START_TEST(impossible_combinations_are_refused) {
  start_unpinned();
  vm_pin(&vm, "heap_max", "16M");
  vm_pin(&vm, "heap_min", "32M");
  tsr_error error = vm_refused(&vm);
  ck_assert_int_eq(error.status, TSR_INVALID_ARGUMENT);
  ck_assert_msg(vm_says(error.message, "heap_min") && vm_says(error.message, "heap_max"), "%s",
                error.message);
}
END_TEST

START_TEST(switches_are_read) {
  static const char *const values[] = {"0", "1", "on", "off"};
  for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
    start_unpinned();
    vm_pin(&vm, "plan", vm_plan);
    setenv("TESSERA_VERIFY", values[i], 1);
    vm_start(&vm);
    vm_collect(&vm);
    vm_stop(&vm);
    unsetenv("TESSERA_VERIFY");
  }
}
END_TEST

/* ---- the environment ----------------------------------------------------------------------- */

START_TEST(the_environment_is_read) {
  setenv("TESSERA_HEAP_MAX", "24M", 1);
  setenv("TESSERA_PLAN", vm_plan, 1);
  start_unpinned();
  vm_start_heap(&vm);
  ck_assert_uint_eq(vm_stats(&vm).heap_max_bytes, 24 * MIB);
  ck_assert_str_eq(tsr_heap_plan(vm.heap), vm_plan);
  vm_stop(&vm);
  vm_init_calm(&vm); /* no options at all */
  tsr_heap *heap = tsr_heap_create(&vm.binding, &vm, NULL, NULL);
  ck_assert_ptr_nonnull(heap);
  ck_assert_str_eq(tsr_heap_plan(heap), vm_plan);
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
  vm_drop(&vm);
  unsetenv("TESSERA_HEAP_MAX");
  unsetenv("TESSERA_PLAN");
}
END_TEST

START_TEST(unreadable_environments_are_errors) {
  static const char *const variables[][2] = {
      {"TESSERA_HEAP_MAX", "plenty"}, {"TESSERA_HEAP_MAX", "1"},   {"TESSERA_HEAP_MIN", "-1"},
      {"TESSERA_PAUSE_GOAL", "soon"}, {"TESSERA_STRESS", "a lot"}, {"TESSERA_PLAN", "mystery"}};
  for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
    start_unpinned();
    setenv(variables[i][0], variables[i][1], 1);
    tsr_error error = vm_refused(&vm);
    unsetenv(variables[i][0]);
    ck_assert_msg(error.status == TSR_INVALID_ARGUMENT, "%s", error.message);
    if (strcmp(variables[i][0], "TESSERA_PLAN") != 0) continue;
    for (const char *const *plan = tsr_plan_names(); *plan != NULL; plan++) {
      ck_assert_msg(strstr(error.message, *plan) != NULL, "%s", error.message);
    }
  }
}
END_TEST

START_TEST(pinned_beats_named_beats_general) {
  setenv("TESSERA_HEAP_MAX", "20M", 1);
  setenv("TESSERA_JIT_2_HEAP_MAX", "24M", 1);
  start_unpinned();
  ck_assert_uint_eq(heap_max(), 20 * MIB);
  start_unpinned();
  ck_assert_int_eq(tsr_options_set_heap_name(vm.options, "jit_2", NULL), TSR_OK);
  ck_assert_uint_eq(heap_max(), 24 * MIB);
  start_unpinned();
  ck_assert_int_eq(tsr_options_set_heap_name(vm.options, "other", NULL), TSR_OK);
  ck_assert_uint_eq(heap_max(), 20 * MIB);
  start_unpinned();
  ck_assert_int_eq(tsr_options_set_heap_name(vm.options, "jit_2", NULL), TSR_OK);
  vm_pin(&vm, "heap_max", "28M");
  ck_assert_uint_eq(heap_max(), 28 * MIB);
  start_unpinned();
  vm_pin(&vm, "heap_max", "28M");
  ck_assert_uint_eq(heap_max(), 28 * MIB);
  unsetenv("TESSERA_HEAP_MAX");
  unsetenv("TESSERA_JIT_2_HEAP_MAX");
}
END_TEST

START_TEST(heap_names) {
  start_unpinned();
  static const char *const bad[] = {"",           "a-b", "a b",
                                    "p\xc3\xa4r", "x.y", "abcdefghijklmnopqrstuvwxyz012345"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    tsr_error error = {0};
    ck_assert_msg(tsr_options_set_heap_name(vm.options, bad[i], &error) == TSR_INVALID_ARGUMENT,
                  "%s", bad[i]);
    ck_assert(error.message[0] != 0);
  }
  ck_assert_int_eq(tsr_options_set_heap_name(vm.options, "abcdefghijklmnopqrstuvwxyz01234", NULL),
                   TSR_OK);
  ck_assert_int_eq(tsr_options_set_heap_name(vm.options, "A_1", NULL), TSR_OK);
  vm_drop(&vm);
  tsr_options_destroy(NULL);
}
END_TEST

START_TEST(heaps_keep_their_values) {
  start_unpinned();
  vm_pin(&vm, "heap_max", "16M");
  vm_start_heap(&vm);
  vm_pin(&vm, "heap_max", "32M");
  ck_assert_uint_eq(vm_stats(&vm).heap_max_bytes, 16 * MIB);
  tsr_options_destroy(vm.options);
  vm.options = NULL;
  ck_assert_uint_eq(vm_stats(&vm).heap_max_bytes, 16 * MIB);
  vm_stop(&vm);
}
END_TEST

START_TEST(help_lists_every_option) {
  start_unpinned();
  setenv("TESSERA_HELP", "1", 1);
  vm_capture_begin();
  tsr_heap *heap = tsr_heap_create(&vm.binding, &vm, vm.options, NULL);
  char *text = vm_capture_end();
  unsetenv("TESSERA_HELP");
  ck_assert_ptr_nonnull(heap);
  for (size_t i = 0; i < NAMES; i++) {
    char variable[64] = "TESSERA_";
    for (size_t k = 0; names[i][k] != 0; k++) {
      variable[8 + k] = (char)(names[i][k] == '_' ? '_' : names[i][k] - 32);
    }
    ck_assert_msg(strstr(text, variable) || strstr(text, names[i]), "no %s in:\n%s", names[i],
                  text);
  }
  free(text);
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
  vm_drop(&vm);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, sizes_are_read);
  tcase_add_test(tests, unreadable_values_are_refused);
  tcase_add_test(tests, unknown_names_list_the_known_ones);
  tcase_add_test(tests, impossible_combinations_are_refused);
  tcase_add_test(tests, switches_are_read);
  tcase_add_test(tests, the_environment_is_read);
  tcase_add_test(tests, unreadable_environments_are_errors);
  tcase_add_test(tests, pinned_beats_named_beats_general);
  tcase_add_test(tests, heap_names);
  tcase_add_test(tests, heaps_keep_their_values);
  tcase_add_test(tests, help_lists_every_option);
}

int main(void) {
  return vm_main("options", add);
}
