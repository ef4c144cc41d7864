/*
 * What the unit tests share: a main that runs one suite, and a binding with a pair and an array.
 * Unit tests look inside the library; everything that the public headers promise is tested in
 * tests/conformance instead.
 */
#ifndef TESTS_UNIT_UNIT_H
#define TESTS_UNIT_UNIT_H

#include <check.h>
#include <stdlib.h>
#include <tessera/tessera.h>

enum { PAIR = 1, ARRAY = 2 };

typedef struct unit_pair {
  uint64_t header;
  tsr_slot first, second;
} unit_pair;

typedef struct unit_array {
  uint64_t header, length;
  tsr_slot slots[];
} unit_array;

static const tsr_layout unit_layouts[] = {
    {TSR_LAYOUT_INIT, .name = "pair", .kind = TSR_LAYOUT_FIXED, .fixed_bytes = 24, .fixed_refs = 6},
    {TSR_LAYOUT_INIT, .name = "array", .kind = TSR_LAYOUT_REFERENCES, .fixed_bytes = 16,
     .length = {.offset = 8, .width = 8, .unit = 8}}};

static const tsr_binding unit_binding = {TSR_BINDING_HEADER, .name = "unit",
                                         .does = TSR_DOES_SAFEPOINTS | TSR_DOES_UPDATABLE_SLOTS,
                                         .layouts = unit_layouts, .layout_count = 2};

/* A heap of `max` under `plan`; the test fails where it cannot be had. */
static inline tsr_heap *unit_heap(const char *plan, const char *max) {
  tsr_options *options = tsr_options_create();
  ck_assert_int_eq(tsr_options_set(options, "plan", plan, NULL), TSR_OK);
  ck_assert_int_eq(tsr_options_set(options, "heap_max", max, NULL), TSR_OK);
  tsr_error error;
  tsr_heap *heap = tsr_heap_create(&unit_binding, NULL, options, &error);
  ck_assert_msg(heap != NULL, "%s", error.message);
  tsr_options_destroy(options);
  return heap;
}

/* A small generator of pseudo-random numbers (xorshift64). The state may not be zero. */
static inline uint64_t unit_random(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state >> 8;
}

/* Runs one suite in this process, so that sanitizers see all of it. */
static inline int unit_run(Suite *suite) {
  SRunner *runner = srunner_create(suite);
  srunner_set_fork_status(runner, CK_NOFORK);
  srunner_run_all(runner, CK_NORMAL);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
