/*
 * Sealed objects: constants that nothing may change, and machine code.
 *
 * What may be done to an object's pages is found out the hard way, by a child process that does it:
 * it stores, through the write barrier or without, or calls the object's bytes as a function, and the parent
 * looks at how it ended. The child catches its own fault, to tell it from any other way to die
 * and to count what was reported before, which also keeps a sanitizer from printing it.
 */
#define ROOTS 256u
#include "placement_fixture.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- children ------------------------------------------------------------------------------ */

/* How a child ended: its exit code. A fault is told apart by FAULTED, with the number of reports in the bits below. */
#define FAULTED 0x40

static void on_fault(int signal_number) {
  (void)signal_number;
  unsigned reports = atomic_load(&vm.errors);
  _exit(FAULTED | (reports < 0x3f ? (int)reports : 0x3f));
}

static void catch_faults(void) {
  struct sigaction action = {.sa_handler = on_fault};
  sigaction(SIGSEGV, &action, NULL);
  sigaction(SIGBUS, &action, NULL);
}

/* Runs `body` in a child and returns its exit code. */
static int in_child(int (*body)(tsr_ref object), tsr_ref object) {
  tsr_error error = {0};
  ck_assert_msg(tsr_fork_prepare(vm.m, &error) == TSR_OK, "%s", error.message);
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    tsr_fork_child(vm.m);
    catch_faults();
    _exit(body(object));
  }
  tsr_fork_parent(vm.m);
  ck_assert_int_gt(child, 0);
  int status = 0;
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  ck_assert_msg(WIFEXITED(status), "the child ended with signal %d", WTERMSIG(status));
  return WEXITSTATUS(status);
}

static int store_header(tsr_ref object) {
  *(volatile uint64_t *)(void *)object = vm_slot(object, 0)->word;
  return 0;
}

static int store_last_word(tsr_ref object) {
  size_t words = vm_size(vm_kind_of(object), vm_count_of(object)) / 8;
  *((volatile uint64_t *)(void *)object + words - 1) = FIXNUM(1);
  return 0;
}

static int store_through_barrier(tsr_ref object) {
  vm_set(vm.m, object, 2, FIXNUM(1));
  return 0;
}

static int read_everything(tsr_ref object) {
  size_t words = vm_size(vm_kind_of(object), vm_count_of(object)) / 8;
  uint64_t sum = 0;
  for (size_t i = 0; i < words; i++) {
    sum += *((volatile const uint64_t *)(const void *)object + i);
  }
  return sum == 0;
}

static void expect_writable(tsr_ref object, const char *what) {
  ck_assert_msg(in_child(store_header, object) == 0, "%s: a store faults", what);
  ck_assert_msg(in_child(store_last_word, object) == 0, "%s: a store at the end faults", what);
  ck_assert_msg(in_child(store_through_barrier, object) == 0, "%s: tsr_write faults", what);
}

static void expect_sealed(tsr_ref object, const char *what) {
  ck_assert_msg(in_child(read_everything, object) == 0, "%s: reading fails", what);
  int ended = in_child(store_header, object);
  ck_assert_msg(ended == FAULTED, "%s: a store ends with %#x", what, ended);
  ended = in_child(store_last_word, object);
  ck_assert_msg(ended == FAULTED, "%s: a store at the end ends with %#x", what, ended);
  ended = in_child(store_through_barrier, object);
  ck_assert_msg(ended == (FAULTED | 1), "%s: through tsr_write: %#x", what, ended);
}

static void seal(tsr_ref object) {
  tsr_error error = {0};
  tsr_status status = tsr_seal(vm.m, object, &error);
  ck_assert_msg(status == TSR_OK, "%s", error.message);
}

static void unseal(tsr_ref object) {
  tsr_error error = {0};
  tsr_status status = tsr_unseal(vm.m, object, &error);
  ck_assert_msg(status == TSR_OK, "%s", error.message);
}

/* ---- sealing ------------------------------------------------------------------------------- */

/* The i-th combination whose objects can be sealed. */
#define SEALABLE 24u
static tsr_semantics sealable(unsigned i) {
  return place_semantics((i & 7u) | (i / 8 + 1) << 3);
}

START_TEST(a_store_into_a_sealed_object_faults) {
  static const size_t counts[] = {3, 2000};
  start_calm("32M");
  for (unsigned i = 0; i < 2 * SEALABLE; i++) {
    tsr_semantics semantics = sealable(i % SEALABLE);
    ck_assert(place_sealable(semantics));
    tsr_ref object = place_must(&vm, semantics, VECTOR, i, counts[i / SEALABLE]);
    roots[i].word = vm_word(object);
    if (i % 5 == 0) expect_writable(object, place_name(semantics));
    tsr_fill_slots(vm.m, object, vm_slot(object, 2), counts[i / SEALABLE], FIXNUM(i));
    seal(object);
    expect_sealed(object, place_name(semantics));
  }
  for (unsigned round = 0; round < 2; round++) {
    vm_collect(&vm);
    for (unsigned i = 0; i < 2 * SEALABLE; i++) {
      tsr_ref object = vm_ref(roots[i].word);
      ck_assert_uint_eq(vm_tag_of(object), i);
      ck_assert_uint_eq(vm_get(vm.m, object, 1 + counts[i / SEALABLE]), FIXNUM(i));
      ck_assert_uint_eq(tsr_object_size(vm.heap, object, NULL),
                        vm_size(VECTOR, counts[i / SEALABLE]));
    }
    for (unsigned i = 0; i < 2 * SEALABLE; i += 7) {
      expect_sealed(vm_ref(roots[i].word), place_name(sealable(i % SEALABLE)));
    }
  }
  ck_assert_uint_eq(vm_enumerate(vm.m).by_kind[VECTOR], 2 * SEALABLE);
  stop();
}
END_TEST

/* Every second object is sealed, among ordinary ones: the others stay as they are. */
START_TEST(neighbours_stay_writable) {
  start_calm("32M");
  for (unsigned i = 0; i < 96; i++) {
    tsr_semantics semantics = i % 3 == 2 ? i / 3 % TSR_PLACEMENTS : sealable(i % SEALABLE);
    size_t count = i % 7 == 0 ? 3000 : i % 11;
    roots[i].word = vm_word(place_must(&vm, semantics, BYTES, i, 8 + count));
    vm_fill(vm_ref(roots[i].word), i);
  }
  for (unsigned i = 0; i < 96; i += 2) {
    if (i % 3 != 2) seal(vm_ref(roots[i].word));
  }
  for (unsigned round = 0; round < 2; round++) {
    for (unsigned i = 0; i < 96; i++) {
      tsr_ref object = vm_ref(roots[i].word);
      ck_assert(vm_filled(object, i));
      if (i % 2 == 0 && i % 3 != 2) continue;
      vm_fill(object, ~(uint64_t)i); /* would fault */
      ck_assert(vm_filled(object, ~(uint64_t)i));
      vm_fill(object, i);
    }
    for (unsigned i = 0; i < 96; i += 12) {
      expect_sealed(vm_ref(roots[i].word), "between neighbours");
    }
    vm_garbage(vm.m, 64 * KIB);
    vm_collect(&vm);
  }
  stop();
}
END_TEST

/* References in sealed objects are as good as others; the pages are closed again behind an update. */
START_TEST(references_in_sealed_objects_stay_up_to_date) {
  static const size_t counts[] = {8, 1500};
  tsr_facts facts;
  start_calm("32M");
  tsr_heap_facts(vm.heap, &facts);
  unsigned made = 0;
  for (unsigned i = 0; i < 2 * SEALABLE; i++) {
    tsr_semantics semantics = sealable(i % SEALABLE);
    if ((semantics & TSR_LEAF) != 0) continue;
    size_t count = counts[i / SEALABLE];
    roots[made].word = vm_word(place_must(&vm, semantics, VECTOR, i, count));
    for (unsigned k = 0; k < 8; k++) {
      tsr_ref child = place_must(&vm, k % TSR_PLACEMENTS, RECORD, 8 * i + k, 0);
      vm_fill(child, k);
      vm_set(vm.m, vm_ref(roots[made].word), k == 7 ? 1 + count : 2 + k, vm_word(child));
    }
    seal(vm_ref(roots[made].word));
    made++;
  }
  for (unsigned round = 0; round < 4; round++) {
    uint64_t before = vm_get(vm.m, vm_ref(roots[0].word), 2);
    vm_garbage(vm.m, 100 * KIB);
    vm_collect(&vm);
    uint64_t after = vm_get(vm.m, vm_ref(roots[0].word), 2);
    bool moves = round == 0 ? facts.moves_objects != 0 : vm_is("semispace");
    ck_assert_msg(!moves || before != after, "nothing moved: the test is empty");
    if (!facts.moves_objects) ck_assert_uint_eq(before, after);
    for (unsigned i = 0; i < made; i++) {
      tsr_ref object = vm_ref(roots[i].word);
      size_t count = vm_count_of(object);
      for (unsigned k = 0; k < 8; k++) {
        tsr_ref child = vm_ref(vm_get(vm.m, object, k == 7 ? 1 + count : 2 + k));
        ck_assert_uint_eq(vm_kind_of(child), RECORD);
        ck_assert_uint_eq(vm_tag_of(child), 8 * vm_tag_of(object) + k);
        ck_assert(vm_filled(child, k));
      }
    }
    expect_sealed(vm_ref(roots[round].word), "after an update");
    expect_sealed(vm_ref(roots[made - 1 - round].word), "large, after an update");
    place_verify(&vm);
  }
  stop();
}
END_TEST

/* A sealed object that nobody refers to is freed, and its pages serve others as any would. */
START_TEST(pages_of_what_was_sealed_serve_again) {
  static const tsr_semantics others[] = {TSR_DEFAULT, TSR_LARGE, TSR_NON_MOVING};
  start_alone("8M");
  size_t through = vm_collects ? 20 * 8 * MIB : 2 * MIB;
  size_t done = 0;
  for (unsigned i = 0; done < through; i++) {
    tsr_semantics semantics = sealable(i % SEALABLE);
    if (place_of(semantics) == TSR_IMMORTAL) semantics ^= TSR_IMMORTAL;
    size_t count = i % 9 == 0 ? 100000 : 2000;
    tsr_ref object = place_must(&vm, semantics, BYTES, i, count);
    vm_fill(object, i);
    seal(object);
    roots[i % 16].word = vm_word(object);
    tsr_ref plain = place_must(&vm, others[i % 3], BYTES, i, count);
    ck_assert_uint_eq(vm_slot(plain, 2)->word, 0);
    vm_fill(plain, ~(uint64_t)i);
    done += 2 * count + 16 * KIB;
  }
  if (vm_collects) ck_assert_uint_gt(vm.ended, 5);
  drop_roots();
  vm_collect(&vm);
  stop();
}
END_TEST

START_TEST(immortal_and_sealed) {
  start_calm("16M");
  tsr_ref constant = place_must(&vm, TSR_IMMORTAL | TSR_READ_ONLY, VECTOR, 1, 4);
  tsr_ref child = place_must(&vm, TSR_DEFAULT, RECORD, 2, 0);
  vm_fill(child, 9);
  vm_set(vm.m, constant, 2, vm_word(child));
  seal(constant);
  for (unsigned round = 0; round < 3; round++) {
    vm_garbage(vm.m, MIB);
    vm_collect(&vm);
    ck_assert(vm_filled(vm_ref(vm_get(vm.m, constant, 2)), 9));
  }
  expect_sealed(constant, "immortal");
  ck_assert_uint_eq(vm_enumerate(vm.m).by_kind[RECORD], 1);
  stop();
}
END_TEST

/* ---- code ---------------------------------------------------------------------------------- */

#if defined(__x86_64__)
#define HAVE_CODE true
/* mov eax, NUMBER; ret */
static void write_code(tsr_ref object, uint32_t number) {
  unsigned char *code = (unsigned char *)vm_slot(object, 2);
  code[0] = 0xb8;
  memcpy(code + 1, &number, 4);
  code[5] = 0xc3;
}
#else
#define HAVE_CODE false
static void write_code(tsr_ref object, uint32_t number) {
  (void)object;
  (void)number;
}
#endif

typedef uint32_t (*function)(void);

static uint32_t call(tsr_ref object) {
  function f = (function)(uintptr_t)vm_slot(object, 2);
  return f();
}

static int call_in_child(tsr_ref object) {
  return (int)(call(object) & 0x3f);
}

static bool have_code(void) {
  if (!HAVE_CODE) printf("skipped: no machine code for this processor\n");
  return HAVE_CODE;
}

START_TEST(code_runs_once_it_is_sealed) {
  if (!have_code()) return;
  static const size_t counts[] = {8, 20000};
  start_calm("32M");
  for (unsigned i = 0; i < 2 * SEALABLE; i++) {
    tsr_semantics semantics = sealable(i % SEALABLE);
    tsr_ref object = place_must(&vm, semantics, BYTES, i, counts[i / SEALABLE]);
    roots[i].word = vm_word(object);
    write_code(object, i);
    ck_assert_msg(in_child(call_in_child, object) == FAULTED, "executable before the seal");
    seal(object);
    bool code = (semantics & TSR_CODE) != 0;
    int ended = in_child(call_in_child, object);
    ck_assert_msg(ended == (code ? (int)(i & 0x3f) : FAULTED), "%s: %#x", place_name(semantics),
                  ended);
    if (code) ck_assert_uint_eq(call(object), i);
  }
  vm_collect(&vm);
  for (unsigned i = 0; i < 2 * SEALABLE; i++) {
    if ((sealable(i % SEALABLE) & TSR_CODE) == 0) continue;
    ck_assert_uint_eq(call(vm_ref(roots[i].word)), i);
  }
  stop();
}
END_TEST

START_TEST(code_is_unsealed_patched_and_sealed_again) {
  if (!have_code()) return;
  start_calm("16M");
  for (unsigned p = 0; p < TSR_PLACEMENTS; p++) {
    for (unsigned large = 0; large < 2; large++) {
      tsr_ref object = place_must(&vm, p | TSR_CODE, BYTES, p, large ? 50000 : 64);
      roots[2 * p + large].word = vm_word(object);
      for (uint32_t number = 0; number < 4; number++) {
        write_code(object, number);
        seal(object);
        ck_assert_uint_eq(call(object), number);
        expect_sealed(object, "code");
        if (number % 2 == 1) vm_collect(&vm);
        unseal(object);
        ck_assert_msg(in_child(call_in_child, object) == FAULTED, "executable while writable");
        expect_writable(object, "unsealed code");
        ck_assert_uint_eq(vm_take_errors(&vm, NULL), 0);
      }
    }
  }
  stop();
}
END_TEST

/* Code that is gone cannot be run, and what takes its place is not executable. */
START_TEST(pages_of_code_lose_their_right) {
  if (!have_code() || !vm_collects) return;
  start_alone("2M");
  tsr_ref code = place_must(&vm, TSR_CODE, BYTES, 0, 60000);
  uint64_t where = vm_word(code);
  write_code(code, 11);
  seal(code);
  ck_assert_uint_eq(call(code), 11);
  vm_collect(&vm);
  unsigned tries = 0;
  for (; tries < 2000; tries++) { /* until an object covers the place */
    tsr_ref data = place_must(&vm, TSR_LARGE, BYTES, 0, 300000);
    if (vm_word(data) > where || where + 64 > vm_word(data) + 300000) continue;
    write_code(vm_ref(where), 12);
    ck_assert_int_eq(in_child(call_in_child, vm_ref(where)), FAULTED);
    break;
  }
  if (tries == 2000) printf("skipped: the memory of the code did not serve again\n");
  stop();
}
END_TEST

/* ---- errors -------------------------------------------------------------------------------- */

typedef tsr_status (*sealing)(tsr_mutator *, tsr_ref, tsr_error *);

static void refuses(sealing function_under_test, tsr_ref object, tsr_status wanted,
                    const char *what) {
  tsr_stats before = vm_stats(&vm);
  tsr_error error = {0};
  tsr_status status = function_under_test(vm.m, object, &error);
  ck_assert_msg(status == wanted, "%s: %s, %s", what, tsr_status_name(status), error.message);
  ck_assert_int_eq(error.status, status);
  ck_assert(error.message[0] != 0);
  ck_assert_int_eq(function_under_test(vm.m, object, NULL), wanted);
  ck_assert_uint_eq(vm_take_errors(&vm, NULL), 0);
  tsr_stats after = vm_stats(&vm);
  ck_assert_uint_eq(before.used_bytes, after.used_bytes);
  ck_assert_uint_eq(before.committed_bytes, after.committed_bytes);
}

START_TEST(what_was_not_made_to_be_sealed) {
  static const size_t counts[] = {40, 20000};
  start_alone("16M");
  for (unsigned i = 0; i < 4 * TSR_PLACEMENTS; i++) {
    tsr_semantics semantics = i % TSR_PLACEMENTS | (i / TSR_PLACEMENTS % 2 == 1 ? TSR_LEAF : 0);
    tsr_ref object = place_must(&vm, semantics, BYTES, i, counts[i / (2 * TSR_PLACEMENTS)]);
    refuses(tsr_seal, object, TSR_INVALID_ARGUMENT, place_name(semantics));
    refuses(tsr_unseal, object, TSR_INVALID_ARGUMENT, place_name(semantics));
    vm_fill(object, i); /* still writable */
  }
  testvm other;
  vm_open(&other, "16M");
  tsr_ref stranger = place_must(&other, TSR_READ_ONLY, BYTES, 0, 8);
  uint64_t local[4] = {vm_header(BYTES, 0), 8};
  const uint64_t foreign[] = {0, 8, ~(uint64_t)7, vm_word(local), vm_word(stranger)};
  for (unsigned i = 0; i < 5; i++) {
    refuses(tsr_seal, vm_ref(foreign[i]), TSR_INVALID_ARGUMENT, "no object of this heap");
    refuses(tsr_unseal, vm_ref(foreign[i]), TSR_INVALID_ARGUMENT, "no object of this heap");
  }
  vm_stop(&other);
  stop();
}
END_TEST

START_TEST(sealing_twice_and_breaking_seals) {
  static const size_t counts[] = {40, 20000};
  start_alone("16M");
  for (unsigned i = 0; i < 2; i++) {
    tsr_ref constant = place_must(&vm, TSR_READ_ONLY, BYTES, i, counts[i]);
    roots[2 * i].word = vm_word(constant);
    seal(constant);
    refuses(tsr_seal, constant, TSR_BUSY, "sealed already");
    refuses(tsr_unseal, constant, TSR_UNSUPPORTED, "read-only stays sealed");
    expect_sealed(constant, "after the refusals");
    tsr_ref code = place_must(&vm, TSR_CODE, BYTES, i, counts[i]);
    roots[2 * i + 1].word = vm_word(code);
    tsr_error error = {0};
    ck_assert_msg(tsr_unseal(vm.m, code, &error) != TSR_OK, "there is no seal yet");
    seal(code);
    refuses(tsr_seal, code, TSR_BUSY, "sealed already");
    unseal(code);
    ck_assert_msg(tsr_unseal(vm.m, code, &error) != TSR_OK, "there is no seal any more");
    expect_writable(code, "unsealed");
  }
  stop();
}
END_TEST

/* A sealed object cannot shrink: its length cannot even be written. Unsealed code can. */
START_TEST(sealed_objects_do_not_shrink) {
  static const size_t counts[] = {64, 8000, 200000}; /* on one page, on two, large */
  start_alone("16M");
  for (unsigned i = 0; i < 3; i++) {
    size_t size = vm_size(BYTES, counts[i]);
    tsr_ref code = place_must(&vm, TSR_CODE, BYTES, i, counts[i]);
    roots[i].word = vm_word(code);
    seal(code);
    tsr_error error = {0};
    ck_assert_int_eq(tsr_shrink(vm.m, code, size, &error), TSR_BUSY);
    ck_assert(error.message[0] != 0);
    ck_assert_uint_eq(tsr_object_size(vm.heap, code, NULL), size);
    unseal(code);
    ck_assert_msg(tsr_shrink(vm.m, code, 24, &error) == TSR_OK, "%s", error.message);
    vm_slot(code, 1)->word = 8;
    ck_assert_uint_eq(tsr_object_size(vm.heap, code, NULL), 24);
    seal(code);
    expect_sealed(code, "shrunk");
  }
  vm_collect(&vm);
  ck_assert_uint_eq(vm_enumerate(vm.m).bytes, 72);
  stop();
}
END_TEST

/* ---- several threads ----------------------------------------------------------------------- */

#define SEALING_THREADS 4u
#define SEALED_EACH     300u

/* The objects of all threads share blocks, and what each page is for is told apart nevertheless. */
static void make_and_seal(vm_thread *self) {
  size_t size = vm_size(BYTES, 64);
  for (unsigned i = 0; i < SEALED_EACH; i++) {
    bool is_code = (i + self->index) % 2 == 0;
    tsr_semantics semantics = is_code ? TSR_CODE : TSR_READ_ONLY;
    void *memory = tsr_alloc(self->m, size, TSR_OBJECT_ALIGN, 0, semantics);
    EXPECT(self, memory != NULL);
    vm_init_object(memory, BYTES, i, 64);
    tsr_ref object = (tsr_ref)memory;
    EXPECT(self, tsr_post_alloc(self->m, object, size, semantics) == TSR_OK);
    vm_fill(object, i);
    EXPECT(self, tsr_seal(self->m, object, NULL) == TSR_OK);
    EXPECT(self, tsr_seal(self->m, object, NULL) == TSR_BUSY);
    EXPECT(self, tsr_unseal(self->m, object, NULL) == (is_code ? TSR_OK : TSR_UNSUPPORTED));
    if (is_code) vm_fill(object, i); /* would fault */
    EXPECT(self, vm_filled(object, i));
    tsr_safepoint(self->m);
  }
}

START_TEST(threads_allocate_and_seal_side_by_side) {
  start_calm("32M");
  vm_threads(&vm, SEALING_THREADS, make_and_seal, NULL);
  stop();
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, threads_allocate_and_seal_side_by_side);
  if (vm_wants_threads()) return;
  tcase_add_test(tests, a_store_into_a_sealed_object_faults);
  tcase_add_test(tests, neighbours_stay_writable);
  tcase_add_test(tests, references_in_sealed_objects_stay_up_to_date);
  tcase_add_test(tests, pages_of_what_was_sealed_serve_again);
  tcase_add_test(tests, immortal_and_sealed);
  tcase_add_test(tests, code_runs_once_it_is_sealed);
  tcase_add_test(tests, code_is_unsealed_patched_and_sealed_again);
  tcase_add_test(tests, pages_of_code_lose_their_right);
  tcase_add_test(tests, what_was_not_made_to_be_sealed);
  tcase_add_test(tests, sealing_twice_and_breaking_seals);
  tcase_add_test(tests, sealed_objects_do_not_shrink);
}

int main(void) {
  return vm_main("seal", add);
}
