/*
 * The system fails once, at every place where it can (A000-15).
 *
 * Each operation is run again and again in a fresh heap, and at the k-th try the k-th request for
 * address space, memory, a segment, a protection or a lock fails, until the operation has come to its
 * end without meeting the failure. Whatever fails says so with its documented status and leaves the
 * account, every share of it and the VM's memory as they were; the same call with nothing armed then
 * works, the heap is sound and takes objects, and in the end nothing is left. How many places an
 * operation has is printed, so that a test which meets none is seen.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/heap/heap.h"
#include "core/os/fault.h"
#include "core/os/stack.h"
#include "tests/unit/unit.h"

#define PAGE_BYTES  ((size_t)4096)
#define PLACES_MOST 4000ul /* more would mean that an operation never ends */

/* As ck_assert_msg(), for places that are passed very often: Check notes each assertion that holds. */
#define REQUIRE(condition, ...)                                                                    \
  do {                                                                                             \
    if (!(condition)) ck_abort_msg(__VA_ARGS__);                                                   \
  } while (0)

static const char *const plans[] = {"nogc", "semispace"};
#define PLANS (sizeof plans / sizeof plans[0])

static unsigned out_of_memory_calls;
static unsigned reported_errors;

static void count_out_of_memory(void *vm, tsr_mutator *m, const tsr_oom *oom) {
  (void)vm;
  (void)m;
  ck_assert(oom->kind == TSR_OOM_HEAP || oom->kind == TSR_OOM_SYSTEM);
  out_of_memory_calls++;
}

static void count_error(void *vm, tsr_mutator *m, const tsr_error *error) {
  (void)vm;
  (void)m;
  (void)error;
  reported_errors++;
}

/* ---- the account ------------------------------------------------------------------------------ */

typedef struct books {
  size_t total;
  size_t shares[MEMORY_TYPE_COUNT];
  size_t mutators;
} books;

static books books_of(const tsr_heap *heap) {
  books now = {.total = os_atomic_load(&heap->account.total.bytes),
               .mutators = os_atomic_load(&heap->bound_mutators)};
  for (int type = 0; type < MEMORY_TYPE_COUNT; type++)
    now.shares[type] = os_atomic_load(&heap->account.by_type[type].bytes);
  return now;
}

static void assert_same_books(const books *before, const books *after, const char *name,
                              unsigned long k) {
  for (int type = 0; type < MEMORY_TYPE_COUNT; type++) {
    ck_assert_msg(before->shares[type] == after->shares[type],
                  "%s, failure %lu: the share \"%s\" went from %zu to %zu bytes", name, k,
                  memory_type_name((memory_type)type), before->shares[type], after->shares[type]);
  }
  ck_assert_msg(before->total == after->total, "%s, failure %lu: the total went from %zu to %zu",
                name, k, before->total, after->total);
  ck_assert_uint_eq(before->mutators, after->mutators);
}

/* The shares make up the total, whatever happened. */
static void assert_books_balance(const tsr_heap *heap, const char *name) {
  books now = books_of(heap);
  size_t sum = 0;
  for (int type = 0; type < MEMORY_TYPE_COUNT; type++)
    sum += now.shares[type];
  ck_assert_msg(sum == now.total, "%s: the shares sum to %zu, the total is %zu", name, sum,
                now.total);
}

/* Address space of this process, in bytes: a reservation that is forgotten shows here. */
static size_t mapped_bytes(void) {
  FILE *file = fopen("/proc/self/statm", "re");
  if (file == NULL) return 0;
  size_t pages = 0;
  int read = fscanf(file, "%zu", &pages);
  fclose(file);
  return read == 1 ? pages * PAGE_BYTES : 0;
}

/* ---- creating a heap ---------------------------------------------------------------------------- */

/* Names and values of options, in pairs. */
typedef struct creation {
  const char *name;
  const char *options[8];
} creation;

static const creation creations[] = {
    {"a small heap", {"heap_max", "4M"}},
    {"a large heap", {"heap_max", "128M", "heap_min", "128M"}},
    {"a heap that verifies", {"heap_max", "8M", "verify", "on"}},
    {"a heap under stress", {"heap_max", "8M", "stress", "1"}},
    {"a heap with a statistics file", {"heap_max", "8M", "stats", "-"}}};

#define CREATIONS  (sizeof creations / sizeof creations[0])

#define WIDE_WORDS 200u
static const uint64_t wide_bits[(WIDE_WORDS + 63) / 64] = {0x10, 0x10, 0x10, 0x10};

/* Beside the unit's pair and array a wide layout, whose bitmap is a segment of its own. */
enum { WIDE = 3, LAYOUTS = 3 };
static tsr_layout fault_layouts[LAYOUTS];

static const tsr_binding *fault_binding(void) {
  static tsr_binding binding;
  memcpy(fault_layouts, unit_layouts, sizeof unit_layouts);
  fault_layouts[2] = (tsr_layout){TSR_LAYOUT_INIT, .name = "wide", .kind = TSR_LAYOUT_FIXED,
                                  .fixed_bytes = 8 * WIDE_WORDS, .wide_refs = wide_bits};
  binding = unit_binding;
  binding.layouts = fault_layouts;
  binding.layout_count = LAYOUTS;
  binding.out_of_memory = count_out_of_memory;
  binding.report_error = count_error;
  return &binding;
}

static tsr_options *options_of(const char *plan, const creation *c) {
  tsr_options *options = tsr_options_create();
  ck_assert_ptr_nonnull(options);
  ck_assert_int_eq(tsr_options_set(options, "plan", plan, NULL), TSR_OK);
  for (size_t i = 0; i < 8 && c->options[i] != NULL; i += 2) {
    ck_assert_int_eq(tsr_options_set(options, c->options[i], c->options[i + 1], NULL), TSR_OK);
  }
  return options;
}

static tsr_heap *create(const char *plan, const creation *c, tsr_error *error) {
  tsr_options *options = options_of(plan, c);
  tsr_heap *heap = tsr_heap_create(fault_binding(), NULL, options, error);
  os_fault_arm(0, 0); /* what strikes later is another test's */
  tsr_options_destroy(options);
  return heap;
}

/* The statistics go to stderr: not here. */
static void destroy(tsr_heap *heap) {
  FILE *sink = fopen("/dev/null", "we");
  ck_assert_ptr_nonnull(sink);
  fflush(stderr);
  int saved = dup(2);
  dup2(fileno(sink), 2);
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
  fflush(stderr);
  dup2(saved, 2);
  close(saved);
  fclose(sink);
}

/* Every reservation of a heap is larger than this. */
#define FORGOTTEN_BYTES ((size_t)2 << 20)

START_TEST(a_heap_is_created_whole_or_not_at_all) {
  const char *plan = plans[_i / (int)CREATIONS];
  const creation *c = &creations[_i % (int)CREATIONS];
  tsr_error error = {0};
  destroy(create(plan, c, &error)); /* the C library's own first times */
  size_t mapped = mapped_bytes();
  for (unsigned long k = 1;; k++) {
    ck_assert_uint_le(k, PLACES_MOST);
    tsr_options *options = options_of(plan, c);
    const tsr_binding *binding = fault_binding();
    error = (tsr_error){0};
    os_fault_arm(OS_FAULT_ALL, k);
    tsr_heap *heap = tsr_heap_create(binding, NULL, options, &error);
    bool struck = os_fault_struck();
    os_fault_arm(0, 0);
    tsr_options_destroy(options);
    if (heap == NULL) {
      ck_assert_msg(struck, "%s: refused without a failure: %s", c->name, error.message);
      ck_assert_msg(error.status == TSR_OUT_OF_MEMORY && error.message[0] != 0,
                    "%s, failure %lu: %s (%s)", c->name, k, tsr_status_name(error.status),
                    error.message);
    } else { /* it may have done with less */
      tsr_mutator *m = tsr_bind_mutator(heap, &error, &error);
      ck_assert_msg(m != NULL, "%s", error.message);
      uint64_t *pair = tsr_alloc(m, 24, 8, 0, TSR_DEFAULT);
      ck_assert_ptr_nonnull(pair);
      pair[0] = TSR_HEADER(PAIR);
      ck_assert_int_eq(tsr_unbind_mutator(m, NULL), TSR_OK);
      destroy(heap);
    }
    ck_assert_msg(mapped_bytes() < mapped + FORGOTTEN_BYTES,
                  "%s, failure %lu: %zu bytes of address space are gone", c->name, k,
                  mapped_bytes() - mapped);
    if (!struck) {
      printf("%-10s %-34s %4lu\n", plan, c->name, k - 1);
      break;
    }
  }
}
END_TEST

/* ---- operations --------------------------------------------------------------------------------- */

#define MOST       1200u /* repetitions of an operation */
#define LIST_NODES 1000u

typedef struct fixture {
  tsr_heap *heap;
  tsr_mutator *m;
  tsr_scope scope;
  tsr_slot roots[4];
  uint64_t identities[MOST];
  tsr_mutator storage[MOST];
  tsr_mutator *bound[MOST];
  tsr_bump_pointer pairs[MOST];
  tsr_slot slots[MOST];
  tsr_slot *tops[MOST];
  tsr_native_stack stacks[MOST];
} fixture;

/* One of a kind, the i-th. */
typedef tsr_status operation(fixture *f, unsigned i, tsr_error *error);

/* The mutators of this thread but one are in native code. */
static tsr_status bind_one(fixture *f, unsigned i, tsr_error *error) {
  f->bound[i] = tsr_bind_mutator(f->heap, &f->identities[i], error);
  if (f->bound[i] == NULL) return error->status;
  tsr_enter_native(f->bound[i]);
  return TSR_OK;
}

static tsr_status bind_one_in_place(fixture *f, unsigned i, tsr_error *error) {
  tsr_status status = tsr_bind_mutator_in(f->heap, &f->storage[i], &f->identities[i], error);
  if (status != TSR_OK) return status;
  f->bound[i] = &f->storage[i];
  tsr_enter_native(f->bound[i]);
  return TSR_OK;
}

static tsr_status unbind_one(fixture *f, unsigned i, tsr_error *error) {
  tsr_leave_native(f->bound[i]);
  tsr_status status = tsr_unbind_mutator(f->bound[i], error);
  if (status == TSR_OK) f->bound[i] = NULL;
  return status;
}

static tsr_status register_pair(fixture *f, unsigned i, tsr_error *error) {
  return tsr_register_bump_pointer(f->m, &f->pairs[i], error);
}

static tsr_status register_one(fixture *f, const tsr_layout *layout, tsr_error *error) {
  return tsr_layout_register(f->heap, layout, error) != 0 ? TSR_OK : error->status;
}

static tsr_status register_layout(fixture *f, unsigned i, tsr_error *error) {
  (void)i;
  const tsr_layout layout = {TSR_LAYOUT_INIT, .name = "one of many", .kind = TSR_LAYOUT_FIXED,
                             .fixed_bytes = 16};
  return register_one(f, &layout, error);
}

static tsr_status register_wide_layout(fixture *f, unsigned i, tsr_error *error) {
  (void)i;
  return register_one(f, &fault_layouts[2], error);
}

static tsr_status new_handle(fixture *f, unsigned i, tsr_error *error) {
  (void)i;
  return tsr_handle_new(f->heap, 0, TSR_STRONG, error) != NULL ? TSR_OK : error->status;
}

static tsr_status add_range(fixture *f, unsigned i, tsr_error *error) {
  return tsr_root_add(f->heap, &f->slots[i], 1, TSR_ROOT_PRECISE, "range", error);
}

static tsr_status add_stack(fixture *f, unsigned i, tsr_error *error) {
  f->tops[i] = &f->slots[i];
  f->stacks[i] = (tsr_native_stack){.base = &f->slots[i], .top = &f->tops[i]};
  return tsr_stack_add(f->heap, &f->stacks[i], error);
}

/* It has no error to fill, but a callback. */
static tsr_status new_local(fixture *f, unsigned i, tsr_error *error) {
  (void)i;
  unsigned calls = out_of_memory_calls;
  if (tsr_local(f->m, 0) != NULL) return TSR_OK;
  ck_assert_uint_eq(out_of_memory_calls, calls + 1);
  *error = (tsr_error){.status = TSR_OUT_OF_MEMORY, .message = "tsr_local"};
  return TSR_OUT_OF_MEMORY;
}

static void write_array(void *memory, size_t slots) {
  unit_array *array = memory;
  array->header = TSR_HEADER(ARRAY);
  array->length = slots;
}

static tsr_status allocate_with(fixture *f, size_t slots, tsr_semantics semantics, uint32_t request,
                                tsr_error *error) {
  size_t bytes = 16 + 8 * slots;
  void *memory = tsr_alloc_with(f->m, bytes, 8, 0, semantics, request, error);
  if (memory == NULL) return error->status;
  for (size_t i = 0; i < bytes / 8; i++)
    REQUIRE(((const uint64_t *)memory)[i] == 0, "word %zu of new memory is not zero", i);
  write_array(memory, slots);
  return tsr_post_alloc(f->m, (tsr_ref)memory, bytes, semantics);
}

/* The placements and flags by turns, as often as `i` asks for: 32 combinations. */
static tsr_semantics semantics_of(unsigned i) {
  return (tsr_semantics)((i & 3u) | (i >> 2 & 7u) << 4);
}

static tsr_status allocate_small(fixture *f, unsigned i, tsr_error *error) {
  (void)i;
  return allocate_with(f, 4, TSR_DEFAULT, 0, error);
}

static tsr_status allocate_medium(fixture *f, unsigned i, tsr_error *error) {
  (void)i;
  return allocate_with(f, 1000, TSR_DEFAULT, 0, error);
}

static tsr_status allocate_large(fixture *f, unsigned i, tsr_error *error) {
  return allocate_with(f, 5000 + 3000 * (size_t)i, TSR_DEFAULT, 0, error);
}

static tsr_status allocate_anyhow(fixture *f, unsigned i, tsr_error *error) {
  return allocate_with(f, i < 32 ? 10 : 2000, semantics_of(i), 0, error);
}

static tsr_status allocate_without_collection(fixture *f, unsigned i, tsr_error *error) {
  unsigned calls = out_of_memory_calls;
  tsr_status status = allocate_with(f, 500, semantics_of(i), TSR_ALLOC_NO_COLLECT, error);
  ck_assert_uint_eq(out_of_memory_calls, calls);
  return status;
}

/* Past the maximum: the heap of 4 MiB is full after a few. */
static tsr_status allocate_overcommitted(fixture *f, unsigned i, tsr_error *error) {
  unsigned calls = out_of_memory_calls;
  tsr_semantics placement = i % 3 == 0 ? TSR_DEFAULT : i % 3 == 1 ? TSR_NON_MOVING : TSR_LARGE;
  tsr_status status = allocate_with(f, 30000, placement, TSR_ALLOC_OVERCOMMIT, error);
  ck_assert_uint_eq(out_of_memory_calls, calls);
  return status;
}

static tsr_status verify(fixture *f, unsigned i, tsr_error *error) {
  (void)i;
  return tsr_heap_verify(f->m, error);
}

static void count_object(void *context, tsr_ref object, size_t size) {
  (void)object;
  *(size_t *)context += size;
}

static tsr_status enumerate(fixture *f, unsigned i, tsr_error *error) {
  (void)i;
  size_t bytes = 0;
  return tsr_enumerate_objects(f->m, count_object, &bytes, error);
}

static tsr_status prepare_to_fork(fixture *f, unsigned i, tsr_error *error) {
  (void)i;
  tsr_status status = tsr_fork_prepare(f->m, error);
  if (status == TSR_OK) tsr_fork_parent(f->m);
  return status;
}

/* ---- operations on objects that the fixture holds --------------------------------------------------- */

static tsr_ref object_in(const fixture *f, unsigned slot) {
  return (tsr_ref)(uintptr_t)f->roots[slot].word;
}

static void keep(fixture *f, unsigned slot, size_t slots, tsr_semantics semantics) {
  tsr_error error = {0};
  size_t bytes = 16 + 8 * slots;
  void *memory = tsr_alloc_with(f->m, bytes, 8, 0, semantics, 0, &error);
  REQUIRE(memory != NULL, "%s", error.message);
  write_array(memory, slots);
  REQUIRE(tsr_post_alloc(f->m, (tsr_ref)memory, bytes, semantics) == TSR_OK, "tsr_post_alloc");
  f->roots[slot].word = (uint64_t)(uintptr_t)memory;
}

static void keep_sealable(fixture *f) {
  keep(f, 0, 10, TSR_READ_ONLY);
  keep(f, 1, 3000, TSR_CODE);
}

/* 0: seals data; 1: seals code; 2: unseals it. A system may refuse such pages altogether. */
static tsr_status seal(fixture *f, unsigned i, tsr_error *error) {
  tsr_status status =
      i == 2 ? tsr_unseal(f->m, object_in(f, 1), error) : tsr_seal(f->m, object_in(f, i), error);
  return status == TSR_UNSUPPORTED ? TSR_OUT_OF_MEMORY : status;
}

static void keep_arrays(fixture *f) {
  keep(f, 0, 900, TSR_DEFAULT);
  keep(f, 1, 40000, TSR_DEFAULT);
  keep(f, 2, 900, TSR_NON_MOVING);
  keep(f, 3, 900, TSR_IMMORTAL);
}

static tsr_status shrink(fixture *f, unsigned i, tsr_error *error) {
  unit_array *array = (unit_array *)(void *)object_in(f, i % 4);
  uint64_t half = array->length / 2;
  tsr_status status = tsr_shrink(f->m, object_in(f, i % 4), 16 + 8 * (size_t)half, error);
  if (status == TSR_OK) array->length = half;
  return status;
}

static bool list_node_stays(uint64_t n) {
  return n % 5 == 0;
}

/* A list of arrays of several sizes, so that survivors fill blocks. */
static void keep_list(fixture *f) {
  for (uint64_t n = 0; n < LIST_NODES; n++) {
    keep(f, 1, n % 8 == 0 ? 900 : 20, list_node_stays(n) ? TSR_NON_MOVING : TSR_DEFAULT);
    unit_array *array = (unit_array *)(void *)object_in(f, 1);
    array->slots[0].word = f->roots[0].word;
    array->slots[1].word = n << 3 | 1u;
    f->roots[0].word = f->roots[1].word;
  }
  f->roots[1].word = 0;
}

static void assert_list(const fixture *f, const char *name) {
  const unit_array *array = (const unit_array *)(const void *)object_in(f, 0);
  for (uint64_t n = LIST_NODES; n-- > 0;) {
    REQUIRE(array != NULL && array->slots[1].word == (n << 3 | 1u), "%s: the list is torn at %u",
            name, (unsigned)n);
    array = (const unit_array *)(uintptr_t)array->slots[0].word;
  }
  ck_assert_ptr_null(array);
}

static void bind_some(fixture *f) {
  for (unsigned i = 0; i < 3; i++) {
    tsr_error error = {0};
    ck_assert_int_eq(bind_one(f, i, &error), TSR_OK);
  }
}

static unsigned stayed_in_place; /* movable objects, in all collections */

/* Where no destination can be had, objects stay where they are. */
static tsr_status collect(fixture *f, unsigned i, tsr_error *error) {
  (void)i;
  uint64_t before[LIST_NODES];
  uint64_t word = f->roots[0].word;
  for (unsigned n = 0; n < LIST_NODES; n++) {
    before[n] = word;
    word = ((const unit_array *)(uintptr_t)word)->slots[0].word;
  }
  tsr_status status = tsr_collect(f->m, error);
  if (!f->heap->plan->collects) return status == TSR_UNSUPPORTED ? TSR_OK : status;
  word = f->roots[0].word;
  for (unsigned n = 0; n < LIST_NODES; n++) {
    stayed_in_place += word == before[n] && !list_node_stays(LIST_NODES - 1 - n);
    word = ((const unit_array *)(uintptr_t)word)->slots[0].word;
  }
  return status;
}

/* ---- the table ------------------------------------------------------------------------------------- */

typedef struct task {
  const char *name;
  operation *run;
  unsigned times;
  const char *heap_max;
  void (*prepare)(fixture *f);
  void (*check)(const fixture *f, const char *name);
  bool moves;  /* the account may change: a collection may have run */
  bool must;   /* needs nothing, or does with what it has: may not fail */
  bool verify; /* with the option of that name */
} task;

static const task tasks[] = {
    {"bind", bind_one, 20, "6M", NULL, NULL, false, false, false},
    {"bind in place", bind_one_in_place, 20, "6M", NULL, NULL, false, false, false},
    {"unbind", unbind_one, 3, "6M", bind_some, NULL, false, true, false},
    {"register pair", register_pair, 70, "6M", NULL, NULL, false, false, false},
    {"register layout", register_layout, 300, "6M", NULL, NULL, false, false, false},
    {"register wide layout", register_wide_layout, 40, "6M", NULL, NULL, false, false, false},
    {"handle", new_handle, MOST, "6M", NULL, NULL, false, false, false},
    {"add range", add_range, 100, "6M", NULL, NULL, false, false, false},
    {"add stack", add_stack, 100, "6M", NULL, NULL, false, false, false},
    {"local handle", new_local, MOST, "6M", NULL, NULL, false, false, false},
    {"allocate small", allocate_small, MOST, "6M", NULL, NULL, true, false, false},
    {"allocate in small blocks", allocate_small, MOST, "3M", NULL, NULL, true, false, false},
    {"allocate medium", allocate_medium, 60, "3M", NULL, NULL, true, false, false},
    {"allocate large", allocate_large, 6, "6M", NULL, NULL, true, false, false},
    {"allocate in each way", allocate_anyhow, 64, "6M", NULL, NULL, true, false, false},
    {"allocate, verifying", allocate_anyhow, 64, "6M", NULL, NULL, true, false, true},
    {"allocate without collecting", allocate_without_collection, 64, "6M", NULL, NULL, true, false,
     false},
    {"overcommit", allocate_overcommitted, 24, "4M", NULL, NULL, true, false, false},
    {"seal", seal, 3, "6M", keep_sealable, NULL, false, false, false},
    {"shrink", shrink, 12, "6M", keep_arrays, NULL, true, true, false},
    {"collect", collect, 3, "3M", keep_list, assert_list, true, true, false},
    {"collect, verifying", collect, 2, "6M", keep_list, assert_list, true, true, true},
    {"verify", verify, 2, "6M", keep_list, assert_list, false, false, false},
    {"enumerate", enumerate, 2, "6M", keep_list, assert_list, false, true, false},
    {"prepare to fork", prepare_to_fork, 3, "6M", keep_list, assert_list, false, true, false}};

#define TASKS (sizeof tasks / sizeof tasks[0])

static void fixture_open(fixture *f, const char *plan, const task *t) {
  memset(f, 0, sizeof *f);
  creation c = {t->name, {"heap_max", t->heap_max, "verify", t->verify ? "on" : "off"}};
  tsr_error error = {0};
  f->heap = create(plan, &c, &error);
  ck_assert_msg(f->heap != NULL, "%s", error.message);
  f->m = tsr_bind_mutator(f->heap, f, &error);
  ck_assert_msg(f->m != NULL, "%s", error.message);
  tsr_scope_open(f->m, &f->scope);
  tsr_status status = tsr_root_add(f->heap, f->roots, 4, TSR_ROOT_PRECISE, "roots", &error);
  ck_assert_msg(status == TSR_OK, "%s", error.message);
  if (t->prepare != NULL) t->prepare(f);
}

static void fixture_close(fixture *f) {
  for (unsigned i = 0; i < MOST; i++) {
    if (f->bound[i] != NULL) ck_assert_int_eq(unbind_one(f, i, NULL), TSR_OK);
  }
  tsr_scope_close(f->m, &f->scope);
  ck_assert_int_eq(tsr_unbind_mutator(f->m, NULL), TSR_OK);
  ck_assert_uint_eq(os_atomic_load(&f->heap->account.by_type[MEMORY_MUTATORS].bytes), 0);
  ck_assert_int_eq(tsr_heap_destroy(f->heap, NULL), TSR_OK);
}

/* The call that failed works once nothing is armed. */
static void assert_refused_well(fixture *f, const task *t, unsigned i, const books *before,
                                const tsr_error *error, unsigned long k) {
  ck_assert_msg(os_fault_struck(), "%s: call %u failed without a failure: %s", t->name, i,
                error->message);
  ck_assert_msg(!t->must, "%s, failure %lu: %s (%s)", t->name, k, tsr_status_name(error->status),
                error->message);
  ck_assert_msg(error->status == TSR_OUT_OF_MEMORY && error->message[0] != 0,
                "%s, failure %lu: %s (%s)", t->name, k, tsr_status_name(error->status),
                error->message);
  books after = books_of(f->heap);
  if (!t->moves) assert_same_books(before, &after, t->name, k);
  tsr_error second = {0};
  tsr_status status = t->run(f, i, &second);
  ck_assert_msg(status == TSR_OK, "%s, after failure %lu: %s (%s)", t->name, k,
                tsr_status_name(status), second.message);
}

/* The heap is sound, and usable. */
static void assert_sound(fixture *f, const task *t, unsigned long k) {
  tsr_error error = {0};
  tsr_status status = tsr_heap_verify(f->m, &error);
  ck_assert_msg(status == TSR_OK, "%s, after failure %lu: %s", t->name, k, error.message);
  if (t->check != NULL) t->check(f, t->name);
  assert_books_balance(f->heap, t->name);
  status = allocate_with(f, 10, TSR_DEFAULT, TSR_ALLOC_OVERCOMMIT, &error);
  ck_assert_msg(status == TSR_OK, "%s, after failure %lu: %s", t->name, k, error.message);
  if (f->heap->plan->collects) {
    status = tsr_collect(f->m, &error);
    ck_assert_msg(status == TSR_OK, "%s, after failure %lu: %s", t->name, k, error.message);
    if (t->check != NULL) t->check(f, t->name);
    ck_assert_int_eq(tsr_heap_verify(f->m, NULL), TSR_OK);
  }
}

/* Whether the k-th failure met the operation. */
static bool run_with_failure(const char *plan, const task *t, unsigned long k) {
  static fixture f;
  fixture_open(&f, plan, t);
  os_fault_arm(OS_FAULT_ALL, k);
  for (unsigned i = 0; i < t->times; i++) {
    tsr_error error = {0};
    books before = books_of(f.heap);
    tsr_status status = t->run(&f, i, &error);
    if (status == TSR_OK) continue;
    ck_assert_int_eq(error.status, status);
    assert_refused_well(&f, t, i, &before, &error, k);
  }
  bool struck = os_fault_struck();
  os_fault_arm(0, 0);
  assert_sound(&f, t, k);
  fixture_close(&f);
  return struck;
}

START_TEST(an_operation_meets_every_failure) {
  const char *plan = plans[_i / (int)TASKS];
  const task *t = &tasks[_i % (int)TASKS];
  fault_binding();
  stayed_in_place = 0;
  unsigned long k = 1;
  while (run_with_failure(plan, t, k)) {
    k++;
    ck_assert_msg(k <= PLACES_MOST, "%s never ends", t->name);
  }
  printf("%-10s %-34s %4lu\n", plan, t->name, k - 1);
  bool moves = t->run == collect && strcmp(plan, "semispace") == 0;
  ck_assert_msg(!moves || stayed_in_place > 0, "destinations were always to be had");
}
END_TEST

/* ---- seals that could not be closed again ----------------------------------------------------------- */

static const task sealing = {.name = "seal again", .heap_max = "6M"};

static unit_array *sealed_array(const fixture *f, unsigned slot) {
  return (unit_array *)(void *)object_in(f, slot);
}

/* Whether the system lets anybody write the last slot, which is zero and stays so. */
static bool is_writable(const unit_array *array) {
  int zeros = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  ck_assert_int_ge(zeros, 0);
  ssize_t got = read(zeros, (void *)(uintptr_t)&array->slots[array->length - 1], 8);
  close(zeros);
  return got == 8;
}

static void seal_array(const fixture *f, unsigned slot) {
  tsr_error error = {0};
  ck_assert_msg(tsr_seal(f->m, object_in(f, slot), &error) == TSR_OK, "%s", error.message);
}

static void collect_sealed(const fixture *f) {
  tsr_error error = {0};
  ck_assert_msg(tsr_collect(f->m, &error) == TSR_OK, "%s", error.message);
  for (unsigned slot = 0; slot < 2; slot++)
    ck_assert_uint_eq(sealed_array(f, slot)->slots[0].word, f->roots[2].word);
}

/* Two sealed arrays in one block, each on a page of its own, that refer to an object that moves. */
static void keep_two_sealable(fixture *f, size_t slots) {
  keep(f, 0, slots, TSR_READ_ONLY);
  keep(f, 3, slots, TSR_READ_ONLY); /* between the two: they are sealed each by itself */
  keep(f, 1, slots, TSR_READ_ONLY);
  f->roots[3].word = 0;
  keep(f, 2, 1, TSR_DEFAULT);
  for (unsigned slot = 0; slot < 2; slot++)
    sealed_array(f, slot)->slots[0].word = f->roots[2].word;
}

/* The k-th change of protection in a collection fails, so that something may stay open behind it; the next
   collection works with that, and behind it everything is sealed. Whether there was a k-th. */
static bool reseal_with_failure(size_t slots, bool second_is_new, unsigned long k) {
  static fixture f;
  fixture_open(&f, "semispace", &sealing);
  keep_two_sealable(&f, slots);
  seal_array(&f, 0);
  if (!second_is_new) seal_array(&f, 1);
  os_fault_arm(OS_FAULT_PROTECT, k);
  collect_sealed(&f);
  bool struck = os_fault_struck();
  os_fault_arm(0, 0);
  if (second_is_new) seal_array(&f, 1);
  ck_assert_int_eq(tsr_heap_verify(f.m, NULL), TSR_OK);
  for (unsigned round = 0; round < 3; round++) {
    collect_sealed(&f);
    for (unsigned slot = 0; slot < 2; slot++) {
      ck_assert_msg(!is_writable(sealed_array(&f, slot)), "failure %lu, round %u: %u is open", k,
                    round, slot);
    }
    ck_assert_int_eq(tsr_heap_verify(f.m, NULL), TSR_OK);
  }
  fixture_close(&f);
  return struck;
}

START_TEST(what_could_not_be_sealed_again_is_with_the_next_collection) {
  static const size_t slots[] = {4, 3000}; /* on a page, and large */
  bool second_is_new = _i % 2 != 0;
  unsigned long k = 1;
  while (reseal_with_failure(slots[_i / 2], second_is_new, k))
    k++;
  ck_assert_msg(k >= 3, "a collection opens and closes: %lu", k - 1);
  printf("%-10s %-34s %4lu\n", "semispace", sealing.name, k - 1);
}
END_TEST

/* ---- threads and stacks ------------------------------------------------------------------------------ */

static void set_true(void *context) {
  *(bool *)context = true;
}

START_TEST(a_thread_that_is_refused_does_not_run) {
  bool has_run = false;
  os_thread thread;
  os_fault_arm(OS_FAULT_THREAD, 2);
  ck_assert(os_thread_start(&thread, set_true, &has_run));
  os_thread_join(&thread);
  ck_assert(has_run);
  has_run = false;
  ck_assert(!os_thread_start(&thread, set_true, &has_run));
  ck_assert(os_fault_struck());
  ck_assert(!has_run);
  ck_assert(os_thread_start(&thread, set_true, &has_run));
  os_thread_join(&thread);
  ck_assert(has_run);
  os_fault_arm(0, 0);
}
END_TEST

/* Larger than what the C library maps for itself meanwhile. */
#define STACK_BYTES ((size_t)64 << 20)

START_TEST(a_stack_is_created_whole_or_not_at_all) {
  size_t mapped = mapped_bytes();
  for (unsigned long k = 1;; k++) {
    ck_assert_uint_le(k, PLACES_MOST);
    os_stack stack;
    os_fault_arm(OS_FAULT_ALL, k);
    bool created = os_stack_create(&stack, STACK_BYTES);
    bool struck = os_fault_struck();
    os_fault_arm(0, 0);
    ck_assert(created != struck);
    if (created) {
      bool has_run = false;
      os_stack_call(&stack, set_true, &has_run);
      ck_assert(has_run);
      os_stack_destroy(&stack);
    } else {
      ck_assert_uint_eq(os_stack_bytes(&stack), 0);
    }
    ck_assert_uint_lt(mapped_bytes(), mapped + STACK_BYTES);
    if (!created) continue;
    ck_assert_uint_ge(k, 3);
    printf("%-10s %-34s %4lu\n", "", "a stack", k - 1);
    break;
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("faults");
  TCase *tests = tcase_create("the system fails once");
  tcase_set_timeout(tests, 0);
  tcase_add_test(tests, a_thread_that_is_refused_does_not_run);
  tcase_add_test(tests, a_stack_is_created_whole_or_not_at_all);
  tcase_add_loop_test(tests, a_heap_is_created_whole_or_not_at_all, 0, (int)(PLANS * CREATIONS));
  tcase_add_loop_test(tests, an_operation_meets_every_failure, 0, (int)(PLANS * TASKS));
  tcase_add_loop_test(tests, what_could_not_be_sealed_again_is_with_the_next_collection, 0, 4);
  suite_add_tcase(suite, tests);
  return unit_run(suite);
}
