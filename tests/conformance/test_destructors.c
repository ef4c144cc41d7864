/*
 * A001-20 to A001-27, F14, F28. Destructors: a resource is freed in its last use, as a count, a scope or a
 * record tells which that is; exactly once; in an order that the program alone decides. Collections
 * have no part in it.
 *
 * A resource of the tests is its number. What is freed is noted in `freed`, in its order.
 */
#include "testvm.h"

#define RESOURCES 64u

typedef struct resource {
  unsigned number;
  bool fails;
  void (*on_free)(struct resource *self);
} resource;

static testvm vm;
static tsr_destructors *registry;
static resource resources[RESOURCES];
static tsr_destructor handles[RESOURCES];
static unsigned freed[4 * RESOURCES];
static size_t freed_count;

/* ---- fixture --------------------------------------------------------------------------------- */

static tsr_status free_resource(void *context, tsr_error *error) {
  resource *r = context;
  freed[freed_count++] = r->number;
  if (r->on_free != NULL) r->on_free(r);
  if (!r->fails) return TSR_OK;
  error->status = TSR_CORRUPT;
  snprintf(error->message, sizeof error->message, "resource %u is stuck", r->number);
  return TSR_CORRUPT;
}

static tsr_free_operation freeing(unsigned number) {
  return (tsr_free_operation){free_resource, &resources[number]};
}

static tsr_destructors *open_registry(void) {
  tsr_error error = {0};
  tsr_destructors *opened = tsr_destructors_new(vm.heap, &error);
  ck_assert_msg(opened != NULL, "%s", error.message);
  return opened;
}

static void start(void) {
  for (unsigned i = 0; i < RESOURCES; i++)
    resources[i] = (resource){.number = i};
  freed_count = 0;
  vm_open(&vm, "16M");
  registry = open_registry();
}

static uint64_t memory_of_destructors(void) {
  tsr_memory_share shares[64];
  size_t count = tsr_heap_memory(vm.heap, shares, 64);
  for (size_t i = 0; i < count && i < 64; i++) {
    if (strcmp(shares[i].name, "destructors") == 0) return shares[i].bytes;
  }
  ck_abort_msg("no share of memory is called destructors");
}

static void close_registry(size_t expected_leaks) {
  tsr_error error = {0};
  size_t leaks = SIZE_MAX;
  ck_assert_msg(tsr_destructors_close(registry, &leaks, &error) == TSR_OK, "%s", error.message);
  ck_assert_uint_eq(leaks, expected_leaks);
  ck_assert_uint_eq(vm_take_errors(&vm, NULL), expected_leaks);
  ck_assert_uint_eq(memory_of_destructors(), 0);
}

static void stop(void) {
  close_registry(0);
  vm_stop(&vm);
}

/* A destructor of resource `number`, whose name is the number. */
static tsr_destructor make_in(tsr_destructor_scope scope, tsr_destructor_kind kind,
                              unsigned number) {
  char name[16];
  snprintf(name, sizeof name, "%u", number);
  tsr_error error = {0};
  tsr_destructor d = TSR_DESTRUCTOR_NEW_IN(registry, scope, kind, freeing(number), name, &error);
  ck_assert_msg(d != 0, "%s", error.message);
  handles[number] = d;
  return d;
}

static tsr_destructor make(tsr_destructor_kind kind, unsigned number) {
  return make_in(0, kind, number);
}

static void expect(tsr_destructor d, uint64_t uses) {
  tsr_error error = {0};
  ck_assert_msg(tsr_destructor_expect(registry, d, uses, &error) == TSR_OK, "%s", error.message);
}

static tsr_destructor make_counted(tsr_destructor_kind kind, unsigned number, uint64_t uses) {
  tsr_destructor d = make(kind, number);
  expect(d, uses);
  return d;
}

static bool use(tsr_destructor d) {
  tsr_error error = {0};
  bool last = false;
  ck_assert_msg(tsr_destructor_use(registry, d, &last, &error) == TSR_OK, "%s", error.message);
  return last;
}

static void skip(tsr_destructor d) {
  tsr_error error = {0};
  ck_assert_msg(tsr_destructor_skip(registry, d, &error) == TSR_OK, "%s", error.message);
}

static tsr_free_operation keep(tsr_destructor d) {
  tsr_error error = {0};
  tsr_free_operation operation = {NULL, NULL};
  ck_assert_msg(tsr_destructor_use_forever(registry, d, &operation, &error) == TSR_OK, "%s",
                error.message);
  return operation;
}

static tsr_destructor_scope open_scope(void) {
  tsr_error error = {0};
  tsr_destructor_scope scope = tsr_destructor_scope_open(registry, &error);
  ck_assert_msg(scope != 0, "%s", error.message);
  return scope;
}

static void close_scope(tsr_destructor_scope scope) {
  tsr_error error = {0};
  ck_assert_msg(tsr_destructor_scope_close(registry, scope, &error) == TSR_OK, "%s", error.message);
}

/* The resources that were freed since the last call, in their order: "2 0 1". */
static void expect_freed(const char *numbers) {
  char text[8 * RESOURCES] = "";
  for (size_t i = 0, at = 0; i < freed_count; i++) {
    at += (size_t)snprintf(text + at, sizeof text - at, i == 0 ? "%u" : " %u", freed[i]);
  }
  ck_assert_str_eq(text, numbers);
  freed_count = 0;
}

#define REFUSED(call, expected_status, part)                                                       \
  do {                                                                                             \
    tsr_error refusal = {0};                                                                       \
    tsr_error *error_of_call = &refusal;                                                           \
    ck_assert_int_eq((call), (expected_status));                                                   \
    ck_assert_int_eq(refusal.status, (expected_status));                                           \
    ck_assert_msg(vm_says(refusal.message, part), "\"%s\" says nothing of \"%s\"",                 \
                  refusal.message, part);                                                          \
    error_of_call = NULL;                                                                          \
    ck_assert_int_eq((call), (expected_status));                                                   \
  } while (0)

/* Whatever is asked of it. */
static void expect_dead(tsr_destructor d, const char *part) {
  REFUSED(tsr_destructor_use(registry, d, NULL, error_of_call), TSR_INVALID_ARGUMENT, part);
  REFUSED(tsr_destructor_skip(registry, d, error_of_call), TSR_INVALID_ARGUMENT, part);
  REFUSED(tsr_destructor_expect(registry, d, 5, error_of_call), TSR_INVALID_ARGUMENT, part);
  REFUSED(tsr_destructor_use_forever(registry, d, NULL, error_of_call), TSR_INVALID_ARGUMENT, part);
  REFUSED(tsr_destructor_use_each(registry, &d, 1, error_of_call), TSR_INVALID_ARGUMENT, part);
  REFUSED(tsr_destructor_scope_close(registry, d, error_of_call), TSR_INVALID_ARGUMENT, part);
}

static const tsr_destructor_kind kinds[] = {TSR_PROMPT, TSR_RELAXED};
#define KINDS (sizeof kinds / sizeof kinds[0])

/* ---- declared counts ------------------------------------------------------------------------- */

START_TEST(a001_20_the_last_declared_use_frees) {
  start();
  for (size_t k = 0; k < KINDS; k++) {
    tsr_destructor_kind kind = kinds[k];
    for (unsigned uses = 1; uses <= 6; uses++) {
      tsr_destructor d = make_counted(kind, uses, uses);
      for (unsigned i = 1; i < uses; i++) {
        ck_assert(!use(d));
        ck_assert_uint_eq(freed_count, 0);
      }
      ck_assert(use(d));
      ck_assert_uint_eq(freed_count, 1);
      ck_assert_uint_eq(freed[0], uses);
      expect_dead(d, "is done");
      ck_assert_uint_eq(freed_count, 1);
      freed_count = 0;
    }
    expect(make(kind, 7), 0);
    expect_freed("7");
  }
  stop();
}
END_TEST

START_TEST(a001_20_the_answer_alone_is_enough) {
  start();
  tsr_free_operation none = {NULL, NULL};
  tsr_destructor d = TSR_DESTRUCTOR_NEW(registry, TSR_PROMPT, none, "mine", NULL);
  ck_assert_uint_ne(d, 0);
  expect(d, 3);
  ck_assert(!use(d));
  ck_assert(!use(d));
  ck_assert(use(d));
  expect_dead(d, "\"mine\"");
  stop();
}
END_TEST

/* Uses before the declaration count too. */
START_TEST(a001_20_counts_may_be_declared_late) {
  start();
  for (size_t k = 0; k < KINDS; k++) {
    tsr_destructor_kind kind = kinds[k];
    tsr_destructor d = make(kind, 1);
    for (unsigned i = 0; i < 3; i++)
      ck_assert(!use(d));
    REFUSED(tsr_destructor_expect(registry, d, 2, error_of_call), TSR_INVALID_ARGUMENT, "3 have");
    REFUSED(tsr_destructor_skip(registry, d, error_of_call), TSR_BUSY, "no declared use");
    expect(d, 5);
    REFUSED(tsr_destructor_expect(registry, d, 6, error_of_call), TSR_BUSY, "declared once");
    ck_assert(!use(d));
    ck_assert(use(d));
    expect_freed("1");
  }
  stop();
}
END_TEST

/* Of a relaxed one a use that doesn't come is just taken back. A prompt one has said before that
   another follows. */
START_TEST(a001_20_a_prompt_one_does_not_travel_in_time) {
  start();
  tsr_destructor relaxed = make_counted(TSR_RELAXED, 1, 3);
  ck_assert(!use(relaxed));
  skip(relaxed);
  expect_freed("");
  skip(relaxed);
  expect_freed("1");
  expect_dead(relaxed, "is done");

  tsr_destructor late = make(TSR_RELAXED, 2);
  ck_assert(!use(late));
  expect(late, 1);
  expect_freed("2");

  tsr_destructor prompt = make_counted(TSR_PROMPT, 3, 3);
  ck_assert(!use(prompt));
  skip(prompt);
  REFUSED(tsr_destructor_skip(registry, prompt, error_of_call), TSR_MISMATCH, "prompt");
  expect_freed("");
  ck_assert(use(prompt));
  expect_freed("3");

  tsr_destructor prompt_late = make(TSR_PROMPT, 4);
  ck_assert(!use(prompt_late));
  REFUSED(tsr_destructor_expect(registry, prompt_late, 1, error_of_call), TSR_MISMATCH, "prompt");
  expect(prompt_late, 2);
  ck_assert(use(prompt_late));
  expect_freed("4");

  skip(make_counted(TSR_PROMPT, 5, 1));
  expect_freed("5");
  stop();
}
END_TEST

/* ---- for ever -------------------------------------------------------------------------------- */

START_TEST(a001_21_for_ever_cancels_and_hands_out_the_free_operation) {
  start();
  tsr_destructor relaxed = make_counted(TSR_RELAXED, 1, 2);
  ck_assert(!use(relaxed));
  tsr_free_operation operation = keep(relaxed);
  expect_dead(relaxed, "for ever");
  expect_freed("");
  ck_assert_int_eq(operation.function(operation.context, NULL), TSR_OK);
  expect_freed("1");

  tsr_destructor prompt = make_counted(TSR_PROMPT, 2, 2);
  operation = keep(prompt);
  for (unsigned i = 0; i < 5; i++)
    ck_assert(!use(prompt));
  REFUSED(tsr_destructor_use_forever(registry, prompt, &operation, error_of_call), TSR_BUSY,
          "given out");
  REFUSED(tsr_destructor_expect(registry, prompt, 9, error_of_call), TSR_BUSY, "for ever");
  REFUSED(tsr_destructor_skip(registry, prompt, error_of_call), TSR_BUSY, "no declared use");
  expect_freed("");
  ck_assert(operation.function == free_resource && operation.context == &resources[2]);
  stop();
  expect_freed("");
}
END_TEST

START_TEST(a001_21_all_at_once_for_the_end_of_a_program) {
  start();
  tsr_destructor_scope scope = open_scope();
  make(TSR_PROMPT, 1);
  make(TSR_RELAXED, 2);
  make_counted(TSR_PROMPT, 3, 3);
  make_in(scope, TSR_RELAXED, 4);
  make_in(scope, TSR_PROMPT, 5);
  keep(make(TSR_PROMPT, 6));
  keep(make(TSR_RELAXED, 7));
  use(make_counted(TSR_RELAXED, 8, 1));
  expect_freed("8");
  ck_assert_uint_eq(tsr_destructors_use_all_forever(registry), 5);
  ck_assert_uint_eq(tsr_destructors_use_all_forever(registry), 0);
  close_scope(scope);
  expect_freed("");
  stop();
}
END_TEST

/* ---- order ----------------------------------------------------------------------------------- */

START_TEST(a001_22_the_youngest_of_those_that_are_due_goes_first) {
  start();
  for (size_t k = 0; k < KINDS; k++) {
    tsr_destructor_kind kind = kinds[k];
    for (unsigned i = 0; i < 4; i++)
      make_counted(kind, i, 2);
    const tsr_destructor mixed[] = {handles[1], handles[3], handles[0], handles[2]};
    ck_assert_int_eq(tsr_destructor_use_each(registry, mixed, 4, NULL), TSR_OK);
    expect_freed("");
    ck_assert_int_eq(tsr_destructor_use_each(registry, mixed, 4, NULL), TSR_OK);
    expect_freed("3 2 1 0");
  }
  stop();
}
END_TEST

/* The conditions under which three are used turn out: first that of the youngest, then one for both
   others. */
START_TEST(a001_22_a_condition_delays_what_it_concerns) {
  start();
  for (unsigned i = 0; i < 3; i++) {
    make_counted(TSR_RELAXED, i, 2);
    ck_assert(!use(handles[i]));
  }
  skip(handles[2]);
  expect_freed("2");
  ck_assert_int_eq(tsr_destructor_skip_each(registry, handles, 2, NULL), TSR_OK);
  expect_freed("1 0");
  stop();
}
END_TEST

/* What stands in front of a mistake has been used. */
START_TEST(several_uses_end_at_the_first_error) {
  start();
  for (unsigned i = 0; i < 4; i++)
    make_counted(TSR_PROMPT, i, i == 3 ? 2 : 1);
  ck_assert(use(handles[2]));
  expect_freed("2");
  tsr_error error = {0};
  ck_assert_int_eq(tsr_destructor_use_each(registry, handles, 4, &error), TSR_INVALID_ARGUMENT);
  ck_assert_msg(vm_says(error.message, "\"2\""), "%s", error.message);
  expect_freed("1 0");
  ck_assert(!use(handles[3]));
  ck_assert(use(handles[3]));
  stop();
}
END_TEST

/* ---- failures -------------------------------------------------------------------------------- */

START_TEST(a001_23_a_failing_free_is_reported_once) {
  start();
  tsr_error error;
  resources[1].fails = resources[3].fails = true;
  tsr_destructor d = make_counted(TSR_PROMPT, 1, 1);
  ck_assert(use(d));
  expect_freed("1");
  ck_assert_uint_eq(vm_take_errors(&vm, &error), 1);
  ck_assert_int_eq(error.status, TSR_CORRUPT);
  ck_assert_msg(vm_says(error.message, "destructor \"1\""), "%s", error.message);
  ck_assert_msg(vm_says(error.message, "test_destructors.c"), "%s", error.message);
  ck_assert_msg(vm_says(error.message, "resource 1 is stuck"), "%s", error.message);
  expect_dead(d, "is done");

  tsr_destructor_scope scope = open_scope();
  for (unsigned i = 2; i < 5; i++)
    make_in(scope, TSR_RELAXED, i);
  close_scope(scope);
  expect_freed("4 3 2");
  ck_assert_uint_eq(vm_take_errors(&vm, NULL), 1);
  stop();
}
END_TEST

/* ---- record and replay ----------------------------------------------------------------------- */

#define PROGRAM_STEPS 200u

/* Step i allocates a resource that was not there, or touches one that is. */
typedef struct program {
  size_t count;
  unsigned touches[PROGRAM_STEPS];
} program;

/* After which step which resource is freed; the order counts. */
typedef struct free_points {
  size_t count;
  size_t after[RESOURCES];
  unsigned number[RESOURCES];
} free_points;

static void note_frees(free_points *points, size_t step) {
  for (size_t i = 0; i < freed_count; i++) {
    points->after[points->count] = step;
    points->number[points->count++] = freed[i];
  }
  freed_count = 0;
}

static bool is_last_touch(const program *p, size_t step) {
  for (size_t i = step + 1; i < p->count; i++) {
    if (p->touches[i] == p->touches[step]) return false;
  }
  return true;
}

/* malloc, and free behind the last line that needs the memory. */
static free_points run_by_hand(const program *p) {
  free_points points = {.count = 0};
  void *memory[RESOURCES] = {NULL};
  for (size_t i = 0; i < p->count; i++) {
    unsigned number = p->touches[i];
    if (memory[number] == NULL) memory[number] = malloc(16);
    memset(memory[number], (int)i, 16);
    if (!is_last_touch(p, i)) continue;
    free(memory[number]);
    freed[freed_count++] = number;
    note_frees(&points, i);
  }
  return points;
}

/* The same without a free: a destructor for each malloc, a use for each touch. */
static free_points run_translated(const program *p, tsr_destructor_kind kind) {
  free_points points = {.count = 0};
  bool made[RESOURCES] = {false};
  for (size_t i = 0; i < p->count; i++) {
    unsigned number = p->touches[i];
    if (made[number]) use(handles[number]);
    if (!made[number]) make(kind, number);
    made[number] = true;
    note_frees(&points, i);
  }
  return points;
}

static size_t recorded(uint32_t *events, size_t capacity) {
  size_t count = tsr_destructors_events(registry, events, capacity);
  ck_assert_uint_le(count, capacity);
  return count;
}

static void begin_replay(const uint32_t *events, size_t count) {
  tsr_error error = {0};
  ck_assert_msg(tsr_destructors_replay(registry, events, count, &error) == TSR_OK, "%s",
                error.message);
}

static void check_program(const program *p, tsr_destructor_kind kind) {
  uint32_t events[PROGRAM_STEPS];
  free_points by_hand = run_by_hand(p);
  ck_assert_int_eq(tsr_destructors_record(registry, NULL), TSR_OK);
  free_points first = run_translated(p, kind);
  ck_assert_uint_eq(first.count, 0);
  ck_assert_int_eq(tsr_destructors_record_end(registry, NULL), TSR_OK);
  ck_assert_uint_eq(freed_count, by_hand.count);
  freed_count = 0;
  size_t count = recorded(events, PROGRAM_STEPS);
  ck_assert_uint_eq(count, p->count);

  begin_replay(events, count);
  free_points second = run_translated(p, kind);
  tsr_error error = {0};
  ck_assert_msg(tsr_destructors_replay_end(registry, &error) == TSR_OK, "%s", error.message);
  ck_assert_uint_eq(second.count, by_hand.count);
  for (size_t i = 0; i < second.count; i++) {
    ck_assert_uint_eq(second.after[i], by_hand.after[i]);
    ck_assert_uint_eq(second.number[i], by_hand.number[i]);
  }
}

START_TEST(a001_24_a_replay_frees_where_free_would) {
  start();
  program small = {8, {0, 1, 2, 0, 3, 1, 0, 1}}; /* 2 and 3 are never touched again */
  uint64_t random = 24;
  for (size_t k = 0; k < KINDS; k++) {
    tsr_destructor_kind kind = kinds[k];
    check_program(&small, kind);
    for (unsigned round = 0; round < 20; round++) {
      program p = {.count = PROGRAM_STEPS - round};
      for (size_t i = 0; i < p.count; i++)
        p.touches[i] = (unsigned)(vm_random(&random) >> 32) % (round < 10 ? RESOURCES : 5);
      check_program(&p, kind);
    }
  }
  check_program(&(program){.count = 0}, TSR_PROMPT);
  stop();
}
END_TEST

/* A program that keeps some for ever, as the record goes to another registry. */
static void keep_some(bool knows) {
  make(TSR_PROMPT, 0);
  make(TSR_RELAXED, 1);
  make(TSR_PROMPT, 2);
  make(TSR_RELAXED, 3);
  make(TSR_RELAXED, 4);
  keep(handles[0]);
  ck_assert(!use(handles[0]));
  keep(handles[1]);
  ck_assert(!use(handles[3]));
  ck_assert_int_eq(use(handles[2]), knows);
  expect_freed(knows ? "2" : "");
}

START_TEST(a001_24_a_record_has_what_is_kept_for_ever) {
  start();
  uint32_t events[32];
  ck_assert_int_eq(tsr_destructors_record(registry, NULL), TSR_OK);
  keep_some(false);
  keep(handles[4]);
  keep(handles[3]);
  ck_assert_int_eq(tsr_destructors_record_end(registry, NULL), TSR_OK);
  expect_freed("2");
  size_t count = recorded(events, 32);
  close_registry(0);

  registry = open_registry();
  begin_replay(events, count);
  keep_some(true);
  ck_assert_uint_eq(tsr_destructors_use_all_forever(registry), 2); /* the younger one first */
  ck_assert_int_eq(tsr_destructors_replay_end(registry, NULL), TSR_OK);
  expect_freed("");
  stop();
}
END_TEST

/* Record of: create 0, create 1, use 0, use 1, use 0, for ever 1. */
static size_t record_two(uint32_t *events, size_t capacity) {
  ck_assert_int_eq(tsr_destructors_record(registry, NULL), TSR_OK);
  make(TSR_PROMPT, 0);
  make(TSR_RELAXED, 1);
  use(handles[0]);
  use(handles[1]);
  use(handles[0]);
  keep(handles[1]);
  ck_assert_int_eq(tsr_destructors_record_end(registry, NULL), TSR_OK);
  expect_freed("0");
  return recorded(events, capacity);
}

START_TEST(a001_24_a_departure_from_the_record_is_an_error) {
  start();
  uint32_t events[8];
  size_t count = record_two(events, 8);
  ck_assert_uint_eq(count, 6);

  begin_replay(events, count); /* another destructor is used */
  make(TSR_PROMPT, 0);
  make(TSR_RELAXED, 1);
  REFUSED(tsr_destructor_use(registry, handles[1], NULL, error_of_call), TSR_MISMATCH,
          "at event 2");
  REFUSED(tsr_destructor_use(registry, handles[0], NULL, error_of_call), TSR_MISMATCH, "before");
  tsr_error error = {0};
  ck_assert_uint_eq(TSR_DESTRUCTOR_NEW(registry, TSR_PROMPT, freeing(2), "2", &error), 0);
  ck_assert_int_eq(error.status, TSR_MISMATCH);
  keep(handles[0]);
  ck_assert_int_eq(tsr_destructors_replay_end(registry, &error), TSR_MISMATCH);
  ck_assert_msg(vm_says(error.message, "departed"), "%s", error.message);
  expect_freed("");
  expect(handles[1], 1); /* no longer the record's */
  ck_assert(use(handles[1]));
  expect_freed("1");

  begin_replay(events, count); /* it ends early */
  make(TSR_PROMPT, 0);
  make(TSR_RELAXED, 1);
  ck_assert(!use(handles[0]));
  ck_assert_int_eq(tsr_destructors_replay_end(registry, &error), TSR_MISMATCH);
  ck_assert_msg(vm_says(error.message, "ends before"), "%s", error.message);
  expect_freed("");
  for (unsigned i = 0; i < 2; i++)
    keep(handles[i]);

  begin_replay(events, count); /* it goes on */
  make(TSR_PROMPT, 0);
  make(TSR_RELAXED, 1);
  ck_assert(!use(handles[0]));
  ck_assert(!use(handles[1]));
  ck_assert(use(handles[0]));
  expect_freed("0");
  expect_dead(handles[0], "is done");
  keep(handles[1]);
  ck_assert_uint_eq(TSR_DESTRUCTOR_NEW(registry, TSR_PROMPT, freeing(2), "2", &error), 0);
  ck_assert_msg(vm_says(error.message, "its end"), "%s", error.message);
  ck_assert_int_eq(tsr_destructors_replay_end(registry, NULL), TSR_MISMATCH);
  stop();
}
END_TEST

START_TEST(a001_24_events_of_no_record_are_refused) {
  start();
  uint32_t events[8];
  size_t count = record_two(events, 8);
  for (size_t i = 0; i < count; i++) {
    const uint32_t changes[] = {events[i] | 3u, events[i] ^ 4u, UINT32_MAX, 7u << 3, 7u << 3 | 1u};
    for (size_t j = 0; j < sizeof changes / sizeof changes[0]; j++) {
      uint32_t good = events[i];
      events[i] = changes[j];
      tsr_error error = {0};
      ck_assert_int_eq(tsr_destructors_replay(registry, events, count, &error),
                       TSR_INVALID_ARGUMENT);
      ck_assert_msg(vm_says(error.message, "event"), "%s", error.message);
      events[i] = good;
    }
  }
  ck_assert_int_eq(tsr_destructors_replay(registry, events + 1, count - 1, NULL),
                   TSR_INVALID_ARGUMENT);

  /* Any words that pass are a record of some program: nothing worse than a departure follows. */
  uint64_t random = 7;
  for (unsigned round = 0; round < 2000; round++) {
    for (unsigned i = 0; i < 8; i++)
      events[i] = (uint32_t)(vm_random(&random) >> 40) % 32;
    if (tsr_destructors_replay(registry, events, round % 8, NULL) != TSR_OK) continue;
    tsr_destructor d[2];
    for (unsigned i = 0; i < 2; i++)
      d[i] = TSR_DESTRUCTOR_NEW(registry, TSR_RELAXED, freeing(i), "some", NULL);
    for (unsigned i = 0; i < 4; i++)
      tsr_destructor_use(registry, d[i % 2], NULL, NULL);
    tsr_destructors_replay_end(registry, NULL);
    freed_count = 0;
    tsr_destructors_use_all_forever(registry);
  }
  stop();
}
END_TEST

START_TEST(record_and_replay_begin_and_end_in_turn) {
  start();
  REFUSED(tsr_destructors_record_end(registry, error_of_call), TSR_BUSY, "records");
  REFUSED(tsr_destructors_replay_end(registry, error_of_call), TSR_BUSY, "replays");
  tsr_destructor before = make(TSR_RELAXED, 0);
  ck_assert_int_eq(tsr_destructors_record(registry, NULL), TSR_OK);
  REFUSED(tsr_destructors_record(registry, error_of_call), TSR_BUSY, "records");
  REFUSED(tsr_destructors_replay(registry, NULL, 0, error_of_call), TSR_BUSY, "records");
  REFUSED(tsr_destructors_replay_end(registry, error_of_call), TSR_BUSY, "replays");
  make(TSR_PROMPT, 1);
  REFUSED(tsr_destructor_expect(registry, handles[1], 1, error_of_call), TSR_BUSY, "record");
  make(TSR_RELAXED, 2);
  tsr_destructor_scope scope = open_scope();
  make_in(scope, TSR_RELAXED, 3);
  use(before);        /* not of the record */
  close_scope(scope); /* nor this */
  expect_freed("3");
  ck_assert_int_eq(tsr_destructors_record_end(registry, NULL), TSR_OK);
  expect_freed("2 1");
  ck_assert_uint_eq(tsr_destructors_events(registry, NULL, 0), 2);
  expect(before, 2);
  ck_assert(use(before));
  expect_freed("0");
  stop();
}
END_TEST

static void create_another(resource *self) {
  tsr_error error = {0};
  tsr_free_operation operation = freeing(self->number + 1);
  ck_assert_uint_eq(TSR_DESTRUCTOR_NEW(registry, TSR_PROMPT, operation, "x", &error), 0);
  ck_assert_int_eq(error.status, TSR_BUSY);
}

START_TEST(free_operations_have_no_part_in_a_record) {
  start();
  uint32_t events[4];
  ck_assert_int_eq(tsr_destructors_record(registry, NULL), TSR_OK);
  make(TSR_PROMPT, 0);
  use(handles[0]);
  ck_assert_int_eq(tsr_destructors_record_end(registry, NULL), TSR_OK);
  expect_freed("0");
  begin_replay(events, recorded(events, 4));
  resources[0].on_free = create_another;
  make(TSR_PROMPT, 0);
  ck_assert(use(handles[0]));
  expect_freed("0");
  ck_assert_int_eq(tsr_destructors_replay_end(registry, NULL), TSR_OK);
  stop();
}
END_TEST

/* ---- scopes ---------------------------------------------------------------------------------- */

START_TEST(a001_25_leaving_a_scope_frees_without_any_use) {
  start();
  tsr_destructor_scope outer = open_scope();
  make_in(outer, TSR_PROMPT, 0);
  make_in(outer, TSR_RELAXED, 1);
  tsr_destructor_scope inner = open_scope();
  make_in(inner, TSR_RELAXED, 2);
  make_in(outer, TSR_RELAXED, 3);
  make_in(inner, TSR_PROMPT, 4);
  make_in(inner, TSR_RELAXED, 5);
  make_in(inner, TSR_PROMPT, 6);
  make(TSR_RELAXED, 7);
  for (unsigned i = 0; i < 3; i++)
    ck_assert(!use(handles[2]));
  REFUSED(tsr_destructor_expect(registry, handles[2], 4, error_of_call), TSR_BUSY, "scope");
  REFUSED(tsr_destructor_skip(registry, handles[2], error_of_call), TSR_BUSY, "no declared use");
  keep(handles[4]);
  keep(handles[5]);
  expect_freed("");
  close_scope(inner);
  expect_freed("6 2");
  expect_dead(inner, "no handle");
  expect_dead(handles[2], "dead");
  ck_assert(!use(handles[4]));
  close_scope(outer);
  expect_freed("3 1 0");
  close_scope(open_scope());
  keep(handles[7]);
  stop();
}
END_TEST

START_TEST(a001_25_scopes_and_destructors_are_not_mistaken) {
  start();
  tsr_destructor_scope scope = open_scope();
  tsr_destructor d = make(TSR_RELAXED, 0);
  expect_dead(0, "no handle");
  expect_dead(UINT64_MAX, "no handle");
  REFUSED(tsr_destructor_scope_close(registry, d, error_of_call), TSR_INVALID_ARGUMENT,
          "another kind");
  REFUSED(tsr_destructor_use(registry, scope, NULL, error_of_call), TSR_INVALID_ARGUMENT,
          "another kind");
  tsr_error error = {0};
  ck_assert_uint_eq(TSR_DESTRUCTOR_NEW_IN(registry, d, TSR_RELAXED, freeing(1), "1", &error), 0);
  ck_assert_int_eq(error.status, TSR_INVALID_ARGUMENT);
  keep(d);
  close_scope(scope);
  expect_freed("");
  stop();
}
END_TEST

/* ---- the dead stay dead ---------------------------------------------------------------------- */

/* Its own free operation, and that of another which is due with it, find it done. */
static void try_to_save(resource *self) {
  size_t before = freed_count;
  (void)self;
  for (unsigned i = 0; i < 3; i++)
    expect_dead(handles[i], "dead");
  ck_assert_uint_eq(freed_count, before);
}

START_TEST(a001_26_nothing_brings_a_destructor_back) {
  start();
  for (unsigned i = 0; i < 3; i++)
    resources[i].on_free = try_to_save;
  for (size_t k = 0; k < KINDS; k++) {
    tsr_destructor_kind kind = kinds[k];
    for (unsigned i = 0; i < 3; i++)
      make_counted(kind, i, 1);
    ck_assert_int_eq(tsr_destructor_use_each(registry, handles, 3, NULL), TSR_OK);
    expect_freed("2 1 0");
    tsr_destructor_scope scope = open_scope();
    for (unsigned i = 0; i < 3; i++)
      make_in(scope, kind, i);
    close_scope(scope);
    expect_freed("2 1 0");
  }
  stop();
}
END_TEST

START_TEST(a001_26_no_handle_is_given_twice) {
  enum { ROUNDS = 2000 };
  static tsr_destructor given[ROUNDS];
  start();
  for (unsigned i = 0; i < ROUNDS; i++) {
    given[i] = make_counted(TSR_PROMPT, 1, 1);
    for (unsigned j = i < 20 ? 0 : i - 20; j < i; j++) {
      ck_assert_uint_ne(given[i], given[j]);
      ck_assert_int_eq(tsr_destructor_use(registry, given[j], NULL, NULL), TSR_INVALID_ARGUMENT);
    }
    ck_assert(use(given[i]));
    freed_count = 0;
  }
  ck_assert_uint_lt(memory_of_destructors(), 8 * KIB); /* entries are used again */
  stop();
}
END_TEST

/* ---- leaks ----------------------------------------------------------------------------------- */

START_TEST(a001_27_what_is_left_is_reported_with_its_creation_site) {
  start();
  tsr_error error;
  make(TSR_RELAXED, 0);
  tsr_destructor leak = TSR_DESTRUCTOR_NEW(registry, TSR_PROMPT, freeing(1), "a socket", NULL);
  char site[64];
  snprintf(site, sizeof site, "test_destructors.c:%d", __LINE__ - 2);
  expect(leak, 3);
  use(leak);
  keep(handles[0]);
  use(make_counted(TSR_PROMPT, 2, 1));
  expect_freed("2");
  tsr_destructors_close(registry, NULL, NULL);
  ck_assert_uint_eq(vm_take_errors(&vm, &error), 1);
  ck_assert_int_eq(error.status, TSR_BUSY);
  ck_assert_msg(strstr(error.message, "\"a socket\"") != NULL, "%s", error.message);
  ck_assert_msg(strstr(error.message, site) != NULL, "no %s: %s", site, error.message);
  ck_assert_msg(strstr(error.message, "1 of 3") != NULL, "%s", error.message);
  expect_freed("");

  registry = open_registry();
  tsr_destructor_scope scope = open_scope();
  make_in(scope, TSR_RELAXED, 1);
  make(TSR_RELAXED, 2);
  make(TSR_PROMPT, 3);
  ck_assert_int_eq(tsr_destructors_record(registry, NULL), TSR_OK);
  make(TSR_PROMPT, 4);
  close_registry(4);
  expect_freed("");
  ck_assert_int_eq(tsr_destructors_close(NULL, NULL, NULL), TSR_OK);
  vm_stop(&vm);
}
END_TEST

START_TEST(long_names_and_paths_are_cut) {
  start();
  char path[400], name[400];
  memset(path, 'p', sizeof path);
  memset(name, 'n', sizeof name);
  path[sizeof path - 1] = name[sizeof name - 1] = '\0';
  memcpy(path + sizeof path - 8, "/tail.c", 7);
  ck_assert_uint_ne(
      tsr_destructor_new_at(registry, 0, TSR_PROMPT, freeing(0), name, path, 77, NULL), 0);
  ck_assert_uint_ne(tsr_destructor_new_at(registry, 0, TSR_PROMPT, freeing(0), NULL, NULL, 0, NULL),
                    0);
  tsr_error error;
  ck_assert_int_eq(tsr_destructors_close(registry, NULL, NULL), TSR_OK);
  ck_assert_uint_eq(vm_take_errors(&vm, &error), 2);
  ck_assert_msg(strstr(error.message, "unknown file") != NULL, "%s", error.message);
  vm_stop(&vm);
}
END_TEST

/* ---- what is refused ------------------------------------------------------------------------- */

START_TEST(impossible_destructors_are_refused) {
  start();
  tsr_free_operation none = {NULL, NULL};
  tsr_destructor_scope scope = open_scope();
  const struct {
    tsr_destructor_scope scope;
    int kind;
    tsr_free_operation operation;
    const char *part;
  } cases[] = {{0, 2, freeing(0), "TSR_RELAXED"},
               {0, -1, freeing(0), "TSR_RELAXED"},
               {0, TSR_RELAXED, none, "free operation"},
               {scope, TSR_PROMPT, none, "free operation"},
               {scope + 1, TSR_PROMPT, freeing(0), "no handle"},
               {7, TSR_PROMPT, freeing(0), "no handle"}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    tsr_error error = {0};
    tsr_destructor_kind kind = (tsr_destructor_kind)cases[i].kind;
    tsr_destructor d = TSR_DESTRUCTOR_NEW_IN(registry, cases[i].scope, kind, cases[i].operation,
                                             "refused", &error);
    ck_assert_uint_eq(d, 0);
    ck_assert_int_eq(error.status, TSR_INVALID_ARGUMENT);
    ck_assert_msg(vm_says(error.message, cases[i].part), "%s", error.message);
  }
  close_scope(scope);
  stop();
}
END_TEST

/* Until there is no memory: then nothing has changed, and all that was there works. */
START_TEST(without_memory_nothing_is_created) {
  enum { MOST = 200000 };
  tsr_destructor *made = calloc(MOST, sizeof *made);
  ck_assert_ptr_nonnull(made);
  vm_open_alone(&vm, "8M"); /* the others need memory too */
  registry = open_registry();
  tsr_free_operation none = {NULL, NULL};
  tsr_error error = {0};
  unsigned count = 0;
  while (count < MOST) {
    made[count] = TSR_DESTRUCTOR_NEW(registry, TSR_PROMPT, none, "one of many", &error);
    if (made[count] == 0) break;
    count++;
  }
  ck_assert_uint_lt(count, MOST);
  ck_assert_uint_gt(count, 1000);
  ck_assert_int_eq(error.status, TSR_OUT_OF_MEMORY);
  error.status = TSR_OK;
  ck_assert_uint_eq(tsr_destructor_scope_open(registry, &error), 0);
  ck_assert_int_eq(error.status, TSR_OUT_OF_MEMORY);
  for (unsigned i = 0; i < count; i++) {
    expect(made[i], 1);
    ck_assert(use(made[i]));
  }
  ck_assert_uint_ne(TSR_DESTRUCTOR_NEW(registry, TSR_PROMPT, none, "again", &error), 0);
  ck_assert_uint_eq(tsr_destructors_use_all_forever(registry), 1);
  close_registry(0);
  vm_stop(&vm);
  free(made);
}
END_TEST

START_TEST(without_memory_nothing_is_recorded) {
  enum { MOST = 4000000 };
  vm_open_alone(&vm, "4M"); /* the others need memory too */
  registry = open_registry();
  ck_assert_int_eq(tsr_destructors_record(registry, NULL), TSR_OK);
  tsr_destructor d = make(TSR_PROMPT, 0);
  tsr_error error = {0};
  unsigned uses = 0;
  while (uses < MOST && tsr_destructor_use(registry, d, NULL, &error) == TSR_OK)
    uses++;
  ck_assert_uint_lt(uses, MOST);
  ck_assert_int_eq(error.status, TSR_OUT_OF_MEMORY);
  ck_assert_uint_eq(tsr_destructors_events(registry, NULL, 0), uses + 1);
  error.status = TSR_OK;
  ck_assert_uint_eq(TSR_DESTRUCTOR_NEW(registry, TSR_PROMPT, freeing(1), "1", &error), 0);
  ck_assert_int_eq(error.status, TSR_OUT_OF_MEMORY);
  ck_assert_uint_eq(tsr_destructors_use_all_forever(registry), 0);

  uint32_t *events = calloc(uses + 1, sizeof *events);
  ck_assert_ptr_nonnull(events);
  ck_assert_uint_eq(tsr_destructors_events(registry, events, uses + 1), uses + 1);
  freed_count = 0;
  ck_assert_int_eq(tsr_destructors_record_end(registry, NULL), TSR_OK);
  expect_freed("0");
  REFUSED(tsr_destructors_replay(registry, events, uses + 1, error_of_call), TSR_OUT_OF_MEMORY,
          "memory");
  free(events);
  stop();
}
END_TEST

/* ---- free operations that call the registry -------------------------------------------------- */

static void use_the_next(resource *self) {
  REFUSED(tsr_destructors_close(registry, NULL, error_of_call), TSR_BUSY, "running");
  unsigned next = self->number + 1;
  if (next < 10) ck_assert(use(handles[next]));
  if (next == 10) expect(make(TSR_RELAXED, 20), 0);
}

START_TEST(a_free_operation_may_use_and_create) {
  start();
  for (unsigned i = 0; i < 10; i++) {
    make_counted(i % 2 == 0 ? TSR_PROMPT : TSR_RELAXED, i, 1);
    resources[i].on_free = use_the_next;
  }
  ck_assert(use(handles[0]));
  expect_freed("0 1 2 3 4 5 6 7 8 9 20");
  stop();
}
END_TEST

/* ---- threads --------------------------------------------------------------------------------- */

#define THREADS 8u
#define TURNS   500u

typedef struct counts {
  atomic_uint frees, shared_frees, lasts;
  tsr_destructor shared;
} counts;

static counts counted;

static tsr_status count_free(void *context, tsr_error *error) {
  (void)error;
  atomic_fetch_add((atomic_uint *)context, 1);
  return TSR_OK;
}

/* Each counts down destructors of its own, closes scopes, and has its part of the uses of one that
   all share. */
static void destruct_by_turns(vm_thread *self) {
  const tsr_free_operation operation = {count_free, &counted.frees};
  for (unsigned turn = 0; turn < TURNS; turn++) {
    tsr_destructor_scope scope = tsr_destructor_scope_open(registry, NULL);
    EXPECT(self, scope != 0);
    tsr_destructor_kind kind = turn % 2 == 0 ? TSR_PROMPT : TSR_RELAXED;
    EXPECT(self, TSR_DESTRUCTOR_NEW_IN(registry, scope, kind, operation, "scoped", NULL) != 0);
    tsr_destructor d = TSR_DESTRUCTOR_NEW(registry, kind, operation, "own", NULL);
    EXPECT(self, tsr_destructor_expect(registry, d, 2, NULL) == TSR_OK);
    bool last = true;
    EXPECT(self, tsr_destructor_use(registry, d, &last, NULL) == TSR_OK && !last);
    EXPECT(self, vm_new(self->m, BYTES, 0, 100) != NULL);
    EXPECT(self, tsr_destructor_use(registry, counted.shared, &last, NULL) == TSR_OK);
    if (last) atomic_fetch_add(&counted.lasts, 1);
    EXPECT(self, tsr_destructor_use(registry, d, &last, NULL) == TSR_OK && last);
    EXPECT(self, tsr_destructor_use(registry, d, NULL, NULL) == TSR_INVALID_ARGUMENT);
    EXPECT(self, tsr_destructor_scope_close(registry, scope, NULL) == TSR_OK);
  }
}

START_TEST(eight_threads_share_a_registry) {
  start();
  atomic_init(&counted.frees, 0);
  atomic_init(&counted.shared_frees, 0);
  atomic_init(&counted.lasts, 0);
  const tsr_free_operation operation = {count_free, &counted.shared_frees};
  counted.shared = TSR_DESTRUCTOR_NEW(registry, TSR_PROMPT, operation, "shared", NULL);
  expect(counted.shared, THREADS * TURNS);
  vm_threads(&vm, THREADS, destruct_by_turns, NULL);
  ck_assert_uint_eq(counted.frees, THREADS * TURNS * 2);
  ck_assert_uint_eq(counted.shared_frees, 1);
  ck_assert_uint_eq(counted.lasts, 1);
  expect_dead(counted.shared, "dead");
  stop();
}
END_TEST

/* Collections and native code have no part in it. */
START_TEST(collections_do_not_matter) {
  start();
  make_counted(TSR_RELAXED, 0, 2);
  ck_assert(!use(handles[0]));
  vm_garbage(vm.m, MIB);
  vm_collect(&vm);
  expect_freed("");
  tsr_enter_native(vm.m);
  ck_assert(use(handles[0]));
  tsr_leave_native(vm.m);
  expect_freed("0");
  stop();
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, eight_threads_share_a_registry);
  if (vm_wants_threads()) return;
  tcase_add_test(tests, a001_20_the_last_declared_use_frees);
  tcase_add_test(tests, a001_20_the_answer_alone_is_enough);
  tcase_add_test(tests, a001_20_counts_may_be_declared_late);
  tcase_add_test(tests, a001_20_a_prompt_one_does_not_travel_in_time);
  tcase_add_test(tests, a001_21_for_ever_cancels_and_hands_out_the_free_operation);
  tcase_add_test(tests, a001_21_all_at_once_for_the_end_of_a_program);
  tcase_add_test(tests, a001_22_the_youngest_of_those_that_are_due_goes_first);
  tcase_add_test(tests, a001_22_a_condition_delays_what_it_concerns);
  tcase_add_test(tests, several_uses_end_at_the_first_error);
  tcase_add_test(tests, a001_23_a_failing_free_is_reported_once);
  tcase_add_test(tests, a001_24_a_replay_frees_where_free_would);
  tcase_add_test(tests, a001_24_a_record_has_what_is_kept_for_ever);
  tcase_add_test(tests, a001_24_a_departure_from_the_record_is_an_error);
  tcase_add_test(tests, a001_24_events_of_no_record_are_refused);
  tcase_add_test(tests, record_and_replay_begin_and_end_in_turn);
  tcase_add_test(tests, free_operations_have_no_part_in_a_record);
  tcase_add_test(tests, a001_25_leaving_a_scope_frees_without_any_use);
  tcase_add_test(tests, a001_25_scopes_and_destructors_are_not_mistaken);
  tcase_add_test(tests, a001_26_nothing_brings_a_destructor_back);
  tcase_add_test(tests, a001_26_no_handle_is_given_twice);
  tcase_add_test(tests, a001_27_what_is_left_is_reported_with_its_creation_site);
  tcase_add_test(tests, long_names_and_paths_are_cut);
  tcase_add_test(tests, impossible_destructors_are_refused);
  tcase_add_test(tests, without_memory_nothing_is_created);
  tcase_add_test(tests, without_memory_nothing_is_recorded);
  tcase_add_test(tests, a_free_operation_may_use_and_create);
  tcase_add_test(tests, collections_do_not_matter);
}

int main(void) {
  return vm_main("destructors", add);
}
