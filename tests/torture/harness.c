/*
 * Settings from the environment, the loop over the plans, the end of a failed run. See harness.h.
 */
#include "harness.h"

#include <inttypes.h>
#include <stdarg.h>
#include <time.h>

torture_run run;

uint64_t run_number(const char *variable, uint64_t otherwise) {
  const char *text = getenv(variable);
  if (text == NULL || *text == 0) return otherwise;
  char *end;
  uint64_t value = strtoull(text, &end, 0);
  if (*end != 0) {
    fprintf(stderr, "%s=%s: a number is needed\n", variable, text);
    exit(EXIT_FAILURE);
  }
  return value;
}

/* What the library itself reads from the environment and the run does not pin. */
static void print_modes(FILE *to) {
  static const char *const modes[] = {"TESSERA_STRESS", "TESSERA_VERIFY", "TESSERA_THREADS",
                                      "TESSERA_NURSERY"};
  for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
    const char *value = getenv(modes[i]);
    if (value != NULL) fprintf(to, "%s=%s ", modes[i], value);
  }
}

void run_print_command(FILE *to) {
  print_modes(to);
  if (run.heap_max != NULL) fprintf(to, "TESSERA_TORTURE_HEAP_MAX=%s ", run.heap_max);
  fprintf(to,
          "TESSERA_TEST_PLAN=%s TESSERA_TORTURE_THREADS=%u %s=%" PRIu64
          " TESSERA_TORTURE_SEED=%" PRIu64 " %s\n",
          run.plan, run.threads, run.length_variable, run.length, run.seed, run.program);
  fflush(to);
}

void run_fail(const char *file, int line, const char *format, ...) {
  char sentence[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(sentence, sizeof sentence, format, arguments);
  va_end(arguments);
  fprintf(stderr, "%s:%d: %s\nseed %" PRIu64 "; again with: ", file, line, sentence, run.seed);
  run_print_command(stderr);
  _Exit(EXIT_FAILURE);
}

/* What tsr_collect() says in a heap that is thrown away. */
static bool plan_collects(const char *plan) {
  tsr_binding binding = {TSR_BINDING_HEADER, .does = vm_standard_binding()->does};
  tsr_options *options = tsr_options_create();
  tsr_options_set(options, "plan", plan, NULL);
  tsr_options_set(options, "heap_max", "16M", NULL);
  tsr_error error = {0};
  tsr_heap *heap = tsr_heap_create(&binding, NULL, options, &error);
  DEMAND(heap != NULL, "no heap under plan %s: %s", plan, error.message);
  tsr_mutator *m = tsr_bind_mutator(heap, &binding, &error);
  DEMAND(m != NULL, "no mutator under plan %s: %s", plan, error.message);
  bool collects = tsr_collect(m, NULL) == TSR_OK;
  DEMAND_OK(tsr_unbind_mutator(m, &error), error);
  DEMAND_OK(tsr_heap_destroy(heap, &error), error);
  tsr_options_destroy(options);
  return collects;
}

int run_plans(char **arguments, const char *length_variable, uint64_t length, void (*one)(void)) {
  const char *only = getenv("TESSERA_TEST_PLAN");
  unsigned ran = 0;
  run.program = arguments[0];
  run.length_variable = length_variable;
  run.length = run_number(length_variable, length);
  run.seed = run_number("TESSERA_TORTURE_SEED", (uint64_t)time(NULL));
  run.heap_max = getenv("TESSERA_TORTURE_HEAP_MAX");
  for (const char *const *plan = tsr_plan_names(); *plan != NULL; plan++) {
    if (only != NULL && strcmp(only, *plan) != 0) continue;
    run.plan = *plan;
    run.collects = plan_collects(*plan);
    one();
    ran++;
  }
  if (ran == 0) fprintf(stderr, "TESSERA_TEST_PLAN: no plan is called %s\n", only);
  return ran > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
