/*
 * Faults that are injected into a binding, one for each rule that the verifier watches, and the sentence by which
 * each is reported: the table of docs/debugging.md, which this program writes when it is given a file.
 *
 * A fault is made by a child process with the option verify. What it then writes, but for addresses and the name of the
 * plan, is the sentence of its row, in every plan to which the row applies.
 */
#include "children.h"
#include "fault_handler.h"

#include <ctype.h>
#include <pthread.h>

/* ---- the binding that has the fault ------------------------------------------------------------ */

typedef struct subject {
  testvm vm;
  tsr_mutator *m;
  tsr_slot globals[4]; /* roots */
  unsigned visits;     /* of the callback below, in this collection */
  unsigned visits_all; /* 0: it reports to all; else, to the first and the last only */
} subject;

static subject s; /* of the child */

static void report_now_and_then(testvm *vm, tsr_visitor *visitor) {
  (void)vm;
  s.visits++;
  if (s.visits_all != 0 && s.visits != 1 && s.visits != s.visits_all) return;
  tsr_visit_slots(visitor, &s.globals[3], 1);
}

static void subject_open_as(bool verifies, uint32_t does_not) {
  vm_init_calm(&s.vm);
  vm_alone(&s.vm);
  s.vm.binding.does &= ~does_not;
  vm_pin(&s.vm, "verify", verifies ? "on" : "off");
  s.vm.on_heap_roots = report_now_and_then;
  vm_start(&s.vm);
  s.m = s.vm.m;
  ck_assert_int_eq(tsr_root_add(s.vm.heap, s.globals, 3, TSR_ROOT_PRECISE, "globals", NULL),
                   TSR_OK);
}

static void subject_open(bool verifies) {
  subject_open_as(verifies, 0);
}

static void subject_close(void) {
  vm_stop(&s.vm);
}

static tsr_ref make(unsigned kind, size_t count, tsr_semantics semantics) {
  size_t size = vm_size(kind, count);
  void *memory = tsr_alloc(s.m, size, TSR_OBJECT_ALIGN, 0, semantics);
  ck_assert_ptr_nonnull(memory);
  vm_init_object(memory, kind, 0, count);
  ck_assert_int_eq(tsr_post_alloc(s.m, (tsr_ref)memory, size, semantics), TSR_OK);
  return (tsr_ref)memory;
}

/* ---- the faults ---------------------------------------------------------------------------------- */

/* The pair that holds the slot lies below, so that nothing slides to where the other was. */
static void keep_in_a_variable(void) {
  s.globals[0].word = vm_word(make(PAIR, 0, TSR_DEFAULT));
  vm_garbage(s.m, 8 * KIB);
  uint64_t variable = vm_word(make(PAIR, 0, TSR_DEFAULT));
  vm_collect(&s.vm);
  vm_set(s.m, vm_ref(s.globals[0].word), 2, variable);
  vm_collect(&s.vm);
}

static void use_a_variable(void) {
  tsr_ref variable = make(PAIR, 0, TSR_DEFAULT);
  vm_collect(&s.vm);
  peek(vm_slot(variable, 1));
}

/* The first and the last visit are the verifier's. */
static void report_a_root_now_and_then(void) {
  s.visits = 0;
  vm_collect(&s.vm);
  s.visits_all = s.visits;
  s.visits = 0;
  vm_garbage(s.m, 8 * KIB);
  s.globals[3].word = vm_word(make(PAIR, 0, TSR_DEFAULT));
  vm_collect(&s.vm);
}

static void write_to_a_freed_block(void) {
  tsr_ref variable = make(BYTES, 100 * KIB, TSR_DEFAULT);
  vm_collect(&s.vm);
  poke(vm_slot(variable, 9000), 1);
}

static void write_between_objects(void) {
  s.globals[0].word = vm_word(make(RECORD, 0, TSR_NON_MOVING));
  tsr_ref variable = make(RECORD, 0, TSR_NON_MOVING);
  s.globals[1].word = vm_word(make(RECORD, 0, TSR_NON_MOVING));
  vm_collect(&s.vm);
  poke(vm_slot(variable, 2), FIXNUM(1));
  vm_collect(&s.vm);
}

static tsr_ref sealed_pair(void) {
  tsr_ref pair = make(PAIR, 0, TSR_READ_ONLY);
  s.globals[0].word = vm_word(pair);
  ck_assert_int_eq(tsr_seal(s.m, pair, NULL), TSR_OK);
  return pair;
}

static void store_without_barrier(void) {
  poke(vm_slot(sealed_pair(), 2), FIXNUM(1));
}

static void store_into_an_old_object(void) {
  s.globals[0].word = vm_word(make(PAIR, 0, TSR_DEFAULT));
  vm_collect(&s.vm);
  tsr_ref old = vm_ref(s.globals[0].word);
  vm_slot(old, 2)->word = vm_word(make(PAIR, 0, TSR_DEFAULT));
  vm_collect(&s.vm);
}

static void *allocate_unregistered(void *argument) {
  return tsr_alloc(argument, vm_size(PAIR, 0), TSR_OBJECT_ALIGN, 0, TSR_DEFAULT);
}

static void run_an_unregistered_thread(void) {
  pthread_t thread;
  ck_assert_int_eq(pthread_create(&thread, NULL, allocate_unregistered, s.m), 0);
  pthread_join(thread, NULL);
}

static void keep_a_pair(void) {
  make(PAIR, 0, TSR_DEFAULT);
  tsr_bump_pointer copy = s.m->bump[0];
  vm_collect(&s.vm);
  s.m->bump[0] = copy;
  make(PAIR, 0, TSR_DEFAULT);
}

static void drop_a_copy(void) {
  make(PAIR, 0, TSR_DEFAULT);
  vm_init_object((void *)s.m->bump[0].cursor, PAIR, 0, 0);
  make(PAIR, 0, TSR_DEFAULT);
}

typedef struct fault {
  const char *name, *how;
  void (*make)(void);
  int signal; /* that the child dies of */
  bool needs_collections;
  const char *sentence;
} fault;

#define BROKEN "tessera: verify: broken: "
#define MISUSE "tessera: misuse: "
#define A_PAIR "object 0x... (layout pair, 24 bytes)"

static const fault faults[] = {
    {"missed root, stored later",
     "a reference is kept in a C variable over a collection and stored into a live object",
     keep_in_a_variable, SIGABRT, true,
     BROKEN
     "a reference kept over a collection lies in a root: this one leads to where an object was, so "
     "the VM kept it in a place that is no root: " A_PAIR
     "; slot at offset 16 holds 0x..., where until collection 1, or one before it, an object "
     "began; path: root range \"globals\" -> " A_PAIR " (plan P, before the collection)"},
    {"missed root, used later",
     "a reference is kept in a C variable over a collection, and the object is read",
     use_a_variable, SIGSEGV, true,
     "address 0x... lies in memory that collection 1 has freed, or moved objects out of; one began "
     "8 "
     "bytes before: the VM kept a reference over that collection in a place that is no root, or "
     "did "
     "not load it anew after a safepoint"},
    {"root reported now and then",
     "a callback for roots leaves a slot out when the collector asks, and reports it to the "
     "verifier",
     report_a_root_now_and_then, SIGABRT, true,
     BROKEN
     "a reference that the VM reports is updated: this one leads to where an object was: root slot "
     "of scan_heap_roots; slot at 0x... holds 0x..., where until collection 2, or one before it, "
     "an "
     "object began; path: root slot of scan_heap_roots (plan P, after the collection)"},
    {"write to freed memory", "a store goes into a large object that a collection has freed",
     write_to_a_freed_block, SIGSEGV, true,
     "address 0x... lies in memory that collection 1 has freed, or moved objects out of; one began "
     "72000 bytes before: the VM kept a reference over that collection in a place that is no root, "
     "or "
     "did not load it anew after a safepoint"},
    {"write to freed memory between objects",
     "a store goes into an object that a collection has freed between two that live",
     write_between_objects, SIGABRT, true,
     BROKEN
     "nobody writes into freed memory: somebody has since the last collection: the word at 0x... "
     "is 0x..., where until collection 1, or one before it, an object began 16 bytes before "
     "(plan P, before the collection)"},
    {"missed barrier",
     "a reference is stored without tsr_write() into an object that a collection has seen",
     store_into_an_old_object, SIGABRT, true,
     BROKEN
     "a reference is stored through the write barrier: since the last collection one was stored "
     "here without: " A_PAIR
     "; slot at offset 16 holds 0x...; path: root range \"globals\" -> " A_PAIR
     " (plan P, before the collection)"},
    {"missed barrier, sealed object", "a store goes into a sealed object without tsr_write()",
     store_without_barrier, SIGSEGV, false,
     "address 0x... lies in the sealed object 0x... (layout pair), at offset 16, and nobody stores "
     "into "
     "sealed objects: no such store has come to the write barrier, which would have reported it, "
     "so a "
     "barrier is missing"},
    {"unregistered thread", "a thread allocates with the mutator of another one",
     run_an_unregistered_thread, SIGABRT, false,
     MISUSE
     "a mutator is used by the thread that runs it: this one, of the VM's thread 0x..., is run by "
     "thread 0x..., and an allocation came from thread 0x..., which has to bind its own with "
     "tsr_bind_mutator(), or to take this one over: that is, to leave with tsr_leave_native() "
     "the native code that the other has entered with it (plan P, phase none, object 0x...)"},
    {"stale pair", "a bump pair is restored after a collection from a copy made before it",
     keep_a_pair, SIGABRT, true,
     MISUSE
     "a stale bump pair: it holds a buffer that a collection took back, so a copy of it was not "
     "set to zero when mutators were resumed (plan P, phase none, object 0x...)"},
    {"two copies of a pair",
     "an object is bumped from a copy of a pair, and the next from the pair itself", drop_a_copy,
     SIGABRT, false,
     MISUSE
     "a bump pair hands out memory that is in use: two copies of it were used, and what the VM "
     "had taken from its own was not copied in before the call (plan P, phase none, object "
     "0x...)"}};

#define FAULTS (sizeof faults / sizeof faults[0])

/* ---- what is reported ------------------------------------------------------------------------------- */

static void make_fault(void *context) {
  const fault *f = context;
  subject_open(true);
  explain_faults(s.vm.heap);
  f->make();
}

/* With 0x... for each address and P for the plan. */
static char *without_particulars(const char *text) {
  char *result = calloc(1, strlen(text) + 4 * strlen(text) + 1);
  ck_assert_ptr_nonnull(result);
  char *to = result;
  size_t plan = strlen(vm_plan);
  while (*text != 0) {
    if (strncmp(text, "0x", 2) == 0) {
      to = stpcpy(to, "0x...");
      for (text += 2; isxdigit((unsigned char)*text);)
        text++;
    } else if (strncmp(text, "(plan ", 6) == 0 && strncmp(text + 6, vm_plan, plan) == 0) {
      to = stpcpy(to, "(plan P");
      text += 6 + plan;
    } else {
      *to++ = *text++;
    }
  }
  return result;
}

/* The line that Tessera wrote, to free. */
static char *reported_by(const fault *f) {
  ending end = in_child(make_fault, (void *)(uintptr_t)f);
  assert_died_of(&end, f->signal, f->name);
  char *text = without_particulars(end.text);
  free(end.text);
  return text;
}

START_TEST(an_injected_fault_is_reported_by_its_sentence) {
  const fault *f = &faults[_i];
  if (f->needs_collections && !vm_collects) return;
  char *text = reported_by(f);
  const char *line = strstr(text, f->sentence);
  ck_assert_msg(line != NULL && (line == text || line[-1] == '\n') &&
                    line[strlen(f->sentence)] == '\n',
                "%s: not\n%s\nbut\n%s", f->name, f->sentence, text);
  free(text);
}
END_TEST

/* ---- the table --------------------------------------------------------------------------------------- */

static const char *table_file;

/* The first line of a report. */
static void write_row(FILE *to, const fault *f) {
  char *text = reported_by(f);
  const char *line = strstr(text, "tessera: ");
  if (line == NULL) line = strstr(text, "address ");
  ck_assert_msg(line != NULL, "%s: %s", f->name, text);
  fprintf(to, "| %s | %s | `%.*s` |\n", f->name, f->how, (int)strcspn(line, "\n"), line);
  free(text);
}

START_TEST(the_table_is_written) {
  FILE *to = fopen(table_file, "w");
  ck_assert_ptr_nonnull(to);
  fputs("| fault | what the test does | report |\n| --- | --- | --- |\n", to);
  for (size_t i = 0; i < FAULTS; i++)
    write_row(to, &faults[i]);
  ck_assert_int_eq(fclose(to), 0);
}
END_TEST

static void add_table(TCase *tests) {
  tcase_add_test(tests, the_table_is_written);
}

/* ---- what is no fault ---------------------------------------------------------------------------------- */

static void *take_over(void *argument) {
  tsr_mutator *m = argument;
  tsr_leave_native(m);
  void *memory = tsr_alloc(m, vm_size(PAIR, 0), TSR_OBJECT_ALIGN, 0, TSR_DEFAULT);
  if (memory != NULL) vm_init_object(memory, PAIR, 0, 0);
  tsr_safepoint_slow(m);
  tsr_enter_native(m);
  return memory;
}

START_TEST(a_mutator_is_handed_over_in_native_code) {
  subject_open(true);
  for (unsigned i = 0; i < 3; i++) {
    make(PAIR, 0, TSR_DEFAULT);
    tsr_enter_native(s.m);
    pthread_t thread;
    void *memory = NULL;
    ck_assert_int_eq(pthread_create(&thread, NULL, take_over, s.m), 0);
    ck_assert_int_eq(pthread_join(thread, &memory), 0);
    ck_assert_ptr_nonnull(memory);
    tsr_leave_native(s.m);
    vm_collect(&s.vm);
  }
  subject_close();
}
END_TEST

/* Free memory that is handed out again is nobody's fault, and neither is what was never used in a buffer. */
START_TEST(free_memory_that_is_used_again_is_not_reported) {
  subject_open(true);
  for (unsigned i = 0; i < 200; i++) {
    s.globals[i % 3].word =
        vm_word(make(VECTOR, 10 + 7 * (i % 50), i % 2 == 0 ? TSR_NON_MOVING : 0));
    vm_garbage(s.m, 100);
    make(RECORD, 0, TSR_IMMORTAL);
    make(BYTES, 300, TSR_NON_MOVING);
    vm_collect(&s.vm);
    ck_assert_int_eq(tsr_heap_verify(s.m, NULL), TSR_OK);
  }
  subject_close();
}
END_TEST

/* An object of each kind with slots, which a collection has seen. */
static tsr_ref old_object(unsigned kind) {
  s.globals[0].word = vm_word(make(kind, 3, TSR_DEFAULT));
  vm_collect(&s.vm);
  return vm_ref(s.globals[0].word);
}

/* A word that is no reference; a reference behind a barrier, more than once; one into a new object. */
START_TEST(stores_in_order_are_not_reported) {
  static const unsigned kinds[] = {PAIR, RECORD, VECTOR, TABLE, CUSTOM, WIDE};
  subject_open(true);
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    size_t slot = vm_slot_index(kinds[i], 1);
    vm_slot(old_object(kinds[i]), slot)->word = FIXNUM(1);
    tsr_ref object = old_object(kinds[i]);
    s.globals[1].word = vm_word(make(PAIR, 0, TSR_DEFAULT));
    ck_assert_uint_eq(tsr_is_armed(object), vm_collects);
    vm_set(s.m, object, slot, s.globals[1].word);
    ck_assert(!tsr_is_armed(object));
    vm_set(s.m, object, slot, vm_word(object));
    vm_slot(vm_ref(s.globals[1].word), 2)->word = vm_word(object);
    ck_assert_int_eq(tsr_heap_verify(s.m, NULL), TSR_OK);
    vm_collect(&s.vm);
  }
  tsr_facts facts;
  tsr_heap_facts(s.vm.heap, &facts);
  ck_assert_uint_eq(facts.uses_barrier, vm_collects);
  subject_close();
}
END_TEST

START_TEST(a_vm_without_barriers_is_not_watched) {
  if (vm_is_incremental()) return; /* it is refused */
  subject_open_as(true, TSR_DOES_WRITE_BARRIER);
  tsr_ref object = old_object(PAIR);
  ck_assert(!tsr_is_armed(object));
  vm_slot(object, 2)->word = vm_word(make(PAIR, 0, TSR_DEFAULT));
  vm_collect(&s.vm);
  subject_close();
}
END_TEST

START_TEST(a_missed_barrier_is_found_on_request_and_in_each_kind) {
  static const unsigned kinds[] = {PAIR, RECORD, VECTOR, TABLE, CUSTOM, WIDE};
  subject_open(true);
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    tsr_ref object = old_object(kinds[i]);
    size_t slot = vm_slot_index(kinds[i], 1);
    uint64_t before = vm_slot(object, slot)->word;
    vm_slot(object, slot)->word = vm_word(object);
    char place[32];
    snprintf(place, sizeof place, "slot at offset %zu", 8 * slot);
    tsr_error error = {0};
    for (unsigned times = 0; times < 2; times++) {
      ck_assert_int_eq(tsr_heap_verify(s.m, &error), TSR_CORRUPT);
      ck_assert_msg(strstr(error.message, place) != NULL, "%s", error.message);
    }
    vm_slot(object, slot)->word = before;
    ck_assert_int_eq(tsr_heap_verify(s.m, &error), TSR_OK);
  }
  subject_close();
}
END_TEST

/* ---- explanations ---------------------------------------------------------------------------------------- */

static void assert_explained(const void *address, const char *part) {
  char text[TSR_EXPLANATION_BYTES];
  ck_assert(tsr_explain_fault(s.vm.heap, address, text, sizeof text));
  ck_assert_msg(strstr(text, part) != NULL, "%s", text);
}

START_TEST(an_address_outside_is_not_explained) {
  subject_open(_i == 0);
  char text[TSR_EXPLANATION_BYTES] = "before";
  int outside = 0;
  ck_assert(!tsr_explain_fault(s.vm.heap, &outside, text, sizeof text));
  ck_assert_str_eq(text, "");
  ck_assert(!tsr_explain_fault(s.vm.heap, NULL, text, sizeof text));
  subject_close();
}
END_TEST

START_TEST(an_address_in_use_is_said_to_be) {
  subject_open(_i == 0);
  static const char in_use[] = "in use and may be read and written";
  assert_explained(make(PAIR, 0, TSR_DEFAULT), in_use);
  assert_explained(vm_slot(make(BYTES, 100 * KIB, TSR_DEFAULT), 9000), in_use);
  assert_explained(make(PAIR, 0, TSR_NON_MOVING), in_use);
  tsr_ref unsealed = make(PAIR, 0, TSR_READ_ONLY);
  assert_explained(unsealed, in_use);
  subject_close();
}
END_TEST

START_TEST(an_address_of_free_memory_is_explained) {
  subject_open(_i == 0);
  tsr_ref pair = make(PAIR, 0, TSR_DEFAULT);
  tsr_ref large = make(BYTES, 200 * KIB, TSR_DEFAULT);
  s.globals[0].word = vm_word(large);
  const char *far = (const char *)pair + 20 * MIB;
  assert_explained(far, _i == 0 ? "no object was" : "TESSERA_VERIFY");
  ck_assert_int_eq(tsr_shrink(s.m, large, vm_size(BYTES, KIB), NULL), TSR_OK);
  vm_slot(large, 1)->word = KIB;
  if (vm_collects) {
    vm_collect(&s.vm);
    assert_explained(pair, _i == 0 ? "collection 1 has freed" : "free memory");
    assert_explained(vm_slot(large, 10000), _i == 0 ? "no object was" : "TESSERA_VERIFY");
  }
  subject_close();
}
END_TEST

START_TEST(a_sealed_object_is_explained) {
  subject_open(_i == 0);
  tsr_ref small = sealed_pair();
  tsr_ref large = make(BYTES, 100 * KIB, TSR_READ_ONLY);
  s.globals[1].word = vm_word(large);
  ck_assert_int_eq(tsr_seal(s.m, large, NULL), TSR_OK);
  assert_explained(vm_slot(small, 1), "(layout pair), at offset 8, ");
  assert_explained(vm_slot(large, 9000), "(layout bytes), at offset 72000, ");
  assert_explained(small, "a barrier is missing");
  assert_explained(large, "a barrier is missing");
  tsr_write_barrier(s.m, small, vm_slot(small, 1), FIXNUM(1));
  ck_assert_uint_eq(vm_take_errors(&s.vm, NULL), 1);
  assert_explained(small, "the write barrier has reported");
  assert_explained(vm_slot(large, 9000), "a barrier is missing");
  subject_close();
}
END_TEST

START_TEST(an_explanation_is_cut_to_its_place) {
  subject_open(true);
  tsr_ref pair = make(PAIR, 0, TSR_DEFAULT);
  char whole[TSR_EXPLANATION_BYTES], text[TSR_EXPLANATION_BYTES];
  ck_assert(tsr_explain_fault(s.vm.heap, pair, whole, sizeof whole));
  for (size_t size = 0; size <= strlen(whole) + 1; size++) {
    memset(text, '#', sizeof text);
    ck_assert(tsr_explain_fault(s.vm.heap, pair, text, size));
    ck_assert_int_eq(text[size], '#');
    if (size == 0) continue;
    ck_assert_uint_eq(strlen(text), size - 1);
    ck_assert_int_eq(strncmp(text, whole, size - 1), 0);
  }
  subject_close();
}
END_TEST

static void add(TCase *tests) {
  tcase_add_loop_test(tests, an_injected_fault_is_reported_by_its_sentence, 0, (int)FAULTS);
  tcase_add_test(tests, a_mutator_is_handed_over_in_native_code);
  tcase_add_test(tests, free_memory_that_is_used_again_is_not_reported);
  tcase_add_test(tests, stores_in_order_are_not_reported);
  tcase_add_test(tests, a_vm_without_barriers_is_not_watched);
  if (vm_collects) tcase_add_test(tests, a_missed_barrier_is_found_on_request_and_in_each_kind);
  tcase_add_loop_test(tests, an_address_outside_is_not_explained, 0, 2);
  tcase_add_loop_test(tests, an_address_in_use_is_said_to_be, 0, 2);
  tcase_add_loop_test(tests, an_address_of_free_memory_is_explained, 0, 2);
  tcase_add_loop_test(tests, a_sealed_object_is_explained, 0, 2);
  tcase_add_test(tests, an_explanation_is_cut_to_its_place);
}

/* test_debugging [FILE]: the tests, or the table into a file. */
int main(int count, char **arguments) {
  table_file = count > 1 ? arguments[1] : NULL;
  return vm_main("debugging", table_file != NULL ? add_table : add);
}
