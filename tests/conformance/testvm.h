/*
 * The virtual machine that every conformance test embeds a heap in.
 *
 * A `testvm` is a heap, a mutator for the test's own thread, and counters behind the callbacks. Its
 * binding declares one layout of each kind. Tests are generic over the plan: vm_main() runs a file's
 * tests once for each plan of tsr_plan_names(), or only for the one that TESSERA_TEST_PLAN names,
 * and vm_collect() asserts what the plan documents, a collection or its refusal.
 *
 * A run has a mode, from the environment: TESSERA_STRESS, TESSERA_VERIFY, TESSERA_THREADS, and with
 * TESSERA_TEST_MUTATORS=8 seven more mutators in every heap (company.h). A test that cannot bear the
 * others says so with vm_alone(), and why in a comment.
 *
 * Two rules keep the helpers honest. A reference is never kept in a C variable across an allocation:
 * it goes to a handle. An unexpected report_error fails the test in vm_stop(), so a test that
 * provokes one takes it with vm_take_errors().
 */
#ifndef CONFORMANCE_TESTVM_H
#define CONFORMANCE_TESTVM_H

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tessera/tessera.h>

/* Whether ThreadSanitizer or AddressSanitizer is compiled in: calls are slow, frames large, and what
   they keep for themselves counts. */
#if defined(TSR_THREAD_SANITIZER) || defined(__SANITIZE_ADDRESS__)
#define VM_SANITIZED 1
#elif defined(__has_feature)
#define VM_SANITIZED __has_feature(address_sanitizer)
#else
#define VM_SANITIZED 0
#endif

/*
 * At each assertion that holds, Check writes the place into a pipe, which costs far more than most of
 * what is asserted in loops. Here each line does so the first few times only; what an assertion
 * that fails says is the same.
 */
#define VM_MARKED_LINES 4096
#define VM_MARKS        4

static inline void vm_mark(const char *file, int line) {
  static atomic_uchar marks[VM_MARKED_LINES];
  atomic_uchar *mark = &marks[line % VM_MARKED_LINES];
  unsigned char count = atomic_load_explicit(mark, memory_order_relaxed);
  if (count == VM_MARKS) return;
  atomic_store_explicit(mark, (unsigned char)(count + 1), memory_order_relaxed);
  _mark_point(file, line);
}

#undef ck_assert_msg
#define ck_assert_msg(expr, ...)                                                                   \
  ((expr) ? vm_mark(__FILE__, __LINE__)                                                            \
          : _ck_assert_failed(__FILE__, __LINE__, "Assertion '" #expr "' failed", __VA_ARGS__))

#define KIB        ((size_t)1024)
#define MIB        (KIB * KIB)

#define VM_BALLAST 32u /* pieces; see company.h */

/* The standard binding's layouts: the numbers are their indices. */
enum vm_kind {
  CELL = 1, /* a header alone */
  PAIR,     /* header, two slots */
  RECORD,   /* 14 words, slots at 2, 3, 5, 8 and 13; the other words are raw */
  VECTOR,   /* header, length, slots */
  BYTES,    /* header, length, bytes */
  TABLE,    /* header, tagged 32-bit length, slot; elements of slot, raw, slot */
  CUSTOM,   /* header, length; then slot, raw, slot, raw, ... through callbacks */
  WIDE,     /* 200 words, each third one a slot */
  VM_KINDS
};

#define VM_RECORD_WORDS 14u
#define VM_WIDE_WORDS   200u

/* A word that no reference rule of the tests takes for a reference in a plain heap. */
#define FIXNUM(n)       (((uint64_t)(n) << 3) | 1u)

typedef struct testvm {
  tsr_binding binding;
  tsr_options *options;
  tsr_heap *heap;
  tsr_mutator *m; /* of the test's own thread */

  atomic_uint oom_calls;
  atomic_uint errors;
  atomic_uint ended; /* collections, as collection_ended counts them */
  pthread_mutex_t lock;
  tsr_oom last_oom;               /* under lock */
  tsr_error last_error;           /* under lock */
  tsr_collection last_collection; /* written with the world stopped */

  void (*on_oom)(struct testvm *vm, tsr_mutator *m);
  void (*on_heap_roots)(struct testvm *vm, tsr_visitor *visitor);
  void (*on_mutator_roots)(struct testvm *vm, tsr_mutator *m, tsr_visitor *visitor);
  void *extra; /* the test's own */

  bool calm;               /* made by vm_init_calm() */
  bool alone;              /* vm_alone() */
  struct company *company; /* the other mutators; NULL: none */
  bool had_company;        /* or has ballast */
  tsr_slot ballast[VM_BALLAST];
  unsigned ballast_gone;
} testvm;

/* The plan under test, whether it has a collection, and what the environment asked for: the stress
   interval (NULL: none), the verifier, the workers that collect (NULL: as the heap thinks best), the
   number of mutators in each heap. */
extern const char *vm_plan;
extern bool vm_collects;
extern const char *vm_stress;
extern bool vm_verifies;
extern const char *vm_workers;
extern unsigned vm_mutators;

/* Whether it asked for long runs: TESSERA_TEST_LONG=1. */
static inline bool vm_is_long(void) {
  const char *text = getenv("TESSERA_TEST_LONG");
  return text != NULL && strcmp(text, "1") == 0;
}

/* Whether only tests that start threads are worth running: ThreadSanitizer looks, and nobody else is in the heap. */
bool vm_wants_threads(void);

/* ---- running ------------------------------------------------------------------------------- */

/* Runs the tests that `add` puts into a case, for each plan; returns main's exit code. */
int vm_main(const char *name, void (*add)(TCase *tests));

/* ---- life of a VM -------------------------------------------------------------------------- */

/* The binding that vm_init() copies. */
const tsr_binding *vm_standard_binding(void);
/* Standard binding, plan under test, heap_max 32M, stress, verifier and workers as the environment says. */
void vm_init(testvm *vm);
/* As vm_init(), but nothing collects unless the test or a lack of memory makes it: stress is off
   whatever the environment says. For tests that count collections. */
void vm_init_calm(testvm *vm);
/* From here on the heap has no mutators but the test's own: none will come, and those that came have
   gone, which is a safepoint. */
void vm_alone(testvm *vm);
/* The heap about to be created has no verifier, whatever the environment says. */
void vm_unverified(testvm *vm);
void vm_pin(testvm *vm, const char *name, const char *value);
/* Creates heap and mutator, opens no scope. */
void vm_start(testvm *vm);
/* Creates the heap only. */
void vm_start_heap(testvm *vm);
/* vm_init_calm, heap_max, vm_start in one; and the same with vm_alone from the beginning. */
void vm_open(testvm *vm, const char *heap_max);
void vm_open_alone(testvm *vm, const char *heap_max);
/* Unbinds, destroys, and asserts that nothing unexpected was reported. */
void vm_stop(testvm *vm);
/* Frees what vm_init() made where no heap was created. */
void vm_drop(testvm *vm);
/* The error of a creation that must fail; frees the VM. */
tsr_error vm_refused(testvm *vm);
/* Whether a plan name is the one under test. */
bool vm_is(const char *plan);
/* Whether the plan under test copies, and so needs room for the copies; whether it has a young generation, which it has not where
   the environment says TESSERA_NURSERY=0; whether it marks in steps. */
bool vm_copies(void);
bool vm_is_generational(void);
bool vm_is_incremental(void);
/* Whether it is one that marks in steps and moves nothing. */
bool vm_is_still(void);

/* The number of errors reported since the last call; `last`, where not NULL, receives the last. */
unsigned vm_take_errors(testvm *vm, tsr_error *last);
unsigned vm_take_ooms(testvm *vm, tsr_oom *last);

tsr_stats vm_stats(testvm *vm);
/* Collects, or asserts the documented refusal. */
void vm_collect(testvm *vm);
/* Collects; then the heap holds so many objects, where anything is ever freed. */
void vm_collect_to(testvm *vm, size_t objects);
/* Whether collections of this heap move objects. */
bool vm_moves(const testvm *vm);
/* Whether it is right that so many of some new objects were moved by one of everything: with stress the nursery may rest, and
   what is new be old. */
bool vm_moves_so_many(const testvm *vm, size_t moved);
/* Whether `text` contains `part`, both without case and punctuation: "Non-moving" has "nonmoving". */
bool vm_says(const char *text, const char *part);

/* Everything that is written to stdout and stderr between the two, as a string to free. */
void vm_capture_begin(void);
char *vm_capture_end(void);

/* ---- objects ------------------------------------------------------------------------------- */

static inline uint64_t vm_word(const void *object) {
  return (uint64_t)(uintptr_t)object;
}
static inline tsr_ref vm_ref(uint64_t word) {
  return (tsr_ref)(uintptr_t)word;
}
static inline tsr_slot *vm_slot(tsr_ref object, size_t word) {
  return (tsr_slot *)(void *)object + word;
}
static inline uint64_t vm_get(tsr_mutator *m, tsr_ref object, size_t word) {
  return tsr_load(m, vm_slot(object, word));
}
static inline void vm_set(tsr_mutator *m, tsr_ref object, size_t word, uint64_t value) {
  tsr_write(m, object, vm_slot(object, word), value);
}

/* A header of a kind, with a 16-bit tag of the VM in the bits that nobody else uses. */
uint64_t vm_header(unsigned kind, unsigned tag);
unsigned vm_kind_of(tsr_ref object);
unsigned vm_tag_of(tsr_ref object);
/* Size of an object of a kind with `count` elements (0 for kinds without). */
size_t vm_size(unsigned kind, size_t count);
size_t vm_count_of(tsr_ref object);
/* Number of slots, and the word index of the i-th. */
size_t vm_slots(unsigned kind, size_t count);
size_t vm_slot_index(unsigned kind, size_t i);

/* Writes header and length into fresh memory. */
void vm_init_object(void *memory, unsigned kind, unsigned tag, size_t count);
/* tsr_alloc, vm_init_object, tsr_post_alloc; NULL when out of memory. */
tsr_ref vm_new(tsr_mutator *m, unsigned kind, unsigned tag, size_t count);
/* The same with any semantics. */
tsr_ref vm_new_with(tsr_mutator *m, unsigned kind, unsigned tag, size_t count,
                    tsr_semantics semantics);
/* An object of exactly `size` bytes without slots. */
void vm_init_filler(void *memory, size_t size);

/* Fills and checks the contents of BYTES and the raw words of the others from a seed. */
void vm_fill(tsr_ref object, uint64_t seed);
bool vm_filled(tsr_ref object, uint64_t seed);

/* A list of `n` PAIRs with FIXNUM(first), FIXNUM(first + 1), ... into `head`; false: out of memory. */
bool vm_list(tsr_mutator *m, tsr_slot *head, size_t n, uint64_t first);
bool vm_list_holds(tsr_mutator *m, uint64_t head, size_t n, uint64_t first);
/* A binary tree of PAIRs, leaves FIXNUM(depth); `to` must be a root. */
bool vm_tree(tsr_mutator *m, tsr_slot *to, unsigned depth);
bool vm_tree_holds(tsr_mutator *m, uint64_t tree, unsigned depth);

/* Allocates `bytes` of garbage in small objects. */
void vm_garbage(tsr_mutator *m, size_t bytes);

/* ---- what the heap holds ------------------------------------------------------------------- */

typedef struct vm_census {
  size_t objects, bytes;
  size_t by_kind[VM_KINDS];
  size_t unknown; /* objects of other layouts */
} vm_census;

/* Counts everything but the objects of the company. */
vm_census vm_enumerate(tsr_mutator *m);

/* Stretches of memory handed out since the last collection; they must be disjoint. */
typedef struct vm_extents {
  uintptr_t (*at)[2];
  size_t count, capacity;
} vm_extents;

void vm_extents_add(vm_extents *extents, const void *start, size_t size);
bool vm_extents_overlap(vm_extents *extents);
void vm_extents_free(vm_extents *extents);

/* ---- threads ------------------------------------------------------------------------------- */

/* A thread with a mutator of its own. Check's assertions belong to the main thread only; these
   bodies use EXPECT, and vm_threads() asserts for them. */
typedef struct vm_thread {
  pthread_t id;
  testvm *vm;
  tsr_mutator *m;
  unsigned index;
  void *arg;
  void (*body)(struct vm_thread *self);
  char failure[256];
} vm_thread;

#define EXPECT(self, condition)                                                                    \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      vm_expect_failed((self), __FILE__, __LINE__, #condition);                                    \
      return;                                                                                      \
    }                                                                                              \
  } while (0)

void vm_expect_failed(vm_thread *self, const char *file, int line, const char *condition);
/* Runs `body` in n threads, each with a mutator bound and a scope open; joins; asserts. The main
   mutator is in native code meanwhile. */
void vm_threads(testvm *vm, unsigned n, void (*body)(vm_thread *self), void *arg);
/* A barrier that counts as native code. */
void vm_wait(tsr_mutator *m, pthread_barrier_t *barrier);

/* A small generator of pseudo-random numbers (xorshift64*). The state may not be zero. */
uint64_t vm_random(uint64_t *state);

#endif
