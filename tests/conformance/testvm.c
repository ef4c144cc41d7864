/*
 * The test VM: its binding, its objects, its threads. See testvm.h.
 */
#include "company.h"

#include <ctype.h>
#include <sched.h>
#include <unistd.h>

extern char **environ;

const char *vm_plan;
static bool no_nursery; /* the plan's form without one */
bool vm_collects;
const char *vm_stress;
bool vm_verifies;
const char *vm_workers;
unsigned vm_mutators;

/* ---- the binding --------------------------------------------------------------------------- */

static const uint64_t wide_refs[4] = {0x4924924924924924u, 0x2492492492492492u, 0x9249249249249249u,
                                      0x24u};

static size_t custom_size(void *vm, tsr_ref object) {
  (void)vm;
  return vm_size(CUSTOM, vm_count_of(object));
}

static size_t custom_scan(void *vm, tsr_ref object, size_t resume, tsr_slot_buffer *out) {
  (void)vm;
  size_t count = vm_count_of(object);
  for (size_t i = resume; i < count; i++) {
    if (!tsr_slot_buffer_push(out, vm_slot(object, vm_slot_index(CUSTOM, i)))) return i;
  }
  return TSR_SCAN_DONE;
}

static const tsr_layout standard_layouts[] = {
    {TSR_LAYOUT_INIT, .name = "cell", .kind = TSR_LAYOUT_FIXED, .fixed_bytes = 8},
    {TSR_LAYOUT_INIT, .name = "pair", .kind = TSR_LAYOUT_FIXED, .fixed_bytes = 24, .fixed_refs = 6},
    {TSR_LAYOUT_INIT, .name = "record", .kind = TSR_LAYOUT_FIXED,
     .fixed_bytes = 8 * VM_RECORD_WORDS,
     .fixed_refs = 1u << 2 | 1u << 3 | 1u << 5 | 1u << 8 | 1u << 13},
    {TSR_LAYOUT_INIT, .name = "vector", .kind = TSR_LAYOUT_REFERENCES, .fixed_bytes = 16,
     .length = {.offset = 8, .width = 8, .unit = 8}},
    {TSR_LAYOUT_INIT, .name = "bytes", .kind = TSR_LAYOUT_BYTES, .fixed_bytes = 16,
     .length = {.offset = 8, .width = 8, .unit = 1}},
    {TSR_LAYOUT_INIT, .name = "table", .kind = TSR_LAYOUT_ELEMENTS, .fixed_bytes = 24,
     .fixed_refs = 1u << 2, .length = {.offset = 8, .width = 4, .shift = 3, .unit = 24},
     .element_bytes = 24, .element_refs = 5},
    {TSR_LAYOUT_INIT, .name = "custom", .kind = TSR_LAYOUT_CUSTOM, .object_size = custom_size,
     .scan = custom_scan},
    {TSR_LAYOUT_INIT, .name = "wide", .kind = TSR_LAYOUT_FIXED, .fixed_bytes = 8 * VM_WIDE_WORDS,
     .wide_refs = wide_refs},
};

static void on_oom(void *data, tsr_mutator *m, const tsr_oom *oom) {
  testvm *vm = data;
  pthread_mutex_lock(&vm->lock);
  vm->last_oom = *oom;
  pthread_mutex_unlock(&vm->lock);
  atomic_fetch_add(&vm->oom_calls, 1);
  if (vm->on_oom != NULL) vm->on_oom(vm, m);
}

static void on_error(void *data, tsr_mutator *m, const tsr_error *error) {
  (void)m;
  testvm *vm = data;
  pthread_mutex_lock(&vm->lock);
  vm->last_error = *error;
  pthread_mutex_unlock(&vm->lock);
  atomic_fetch_add(&vm->errors, 1);
}

static void on_collection_ended(void *data, const tsr_collection *collection) {
  testvm *vm = data;
  vm->last_collection = *collection;
  atomic_fetch_add(&vm->ended, 1);
  company_drop_ballast(vm);
}

static void on_heap_roots(void *data, tsr_visitor *visitor) {
  testvm *vm = data;
  if (vm->on_heap_roots != NULL) vm->on_heap_roots(vm, visitor);
}

static void on_mutator_roots(void *data, tsr_mutator *m, tsr_visitor *visitor) {
  testvm *vm = data;
  if (vm->on_mutator_roots != NULL) vm->on_mutator_roots(vm, m, visitor);
}

static const tsr_binding standard_binding = {
    TSR_BINDING_HEADER,
    .name = "testvm",
    .does = TSR_DOES_WRITE_BARRIER | TSR_DOES_SAFEPOINTS | TSR_DOES_UPDATABLE_SLOTS |
            TSR_DOES_WEAK_LOADS,
    .layouts = standard_layouts,
    .layout_count = sizeof standard_layouts / sizeof standard_layouts[0],
    .scan_mutator_roots = on_mutator_roots,
    .scan_heap_roots = on_heap_roots,
    .out_of_memory = on_oom,
    .report_error = on_error,
    .collection_ended = on_collection_ended,
};

const tsr_binding *vm_standard_binding(void) {
  return &standard_binding;
}

/* ---- running ------------------------------------------------------------------------------- */

/* The suite pins what it needs; only the run's mode is let in from outside. */
static void take_environment(void) {
  const char *stress = getenv("TESSERA_STRESS");
  const char *verify = getenv("TESSERA_VERIFY");
  const char *workers = getenv("TESSERA_THREADS");
  const char *nursery = getenv("TESSERA_NURSERY");
  const char *mutators = getenv("TESSERA_TEST_MUTATORS");
  vm_stress = stress != NULL ? strdup(stress) : NULL;
  vm_workers = workers != NULL ? strdup(workers) : NULL;
  no_nursery = nursery != NULL && strcmp(nursery, "0") == 0;
  vm_verifies = verify != NULL && strcmp(verify, "0") != 0 && strcmp(verify, "off") != 0;
  vm_mutators = mutators != NULL ? (unsigned)strtoul(mutators, NULL, 10) : 1;
  for (char **entry = environ; *entry != NULL;) {
    char name[64];
    size_t length = strcspn(*entry, "=");
    bool ours = strncmp(*entry, "TESSERA_", 8) == 0 && strncmp(*entry, "TESSERA_TEST_", 13) != 0 &&
                strncmp(*entry, "TESSERA_TORTURE_", 16) != 0 && length < sizeof name;
    if (!ours) {
      entry++;
      continue;
    }
    memcpy(name, *entry, length);
    name[length] = 0;
    unsetenv(name);
    entry = environ;
  }
}

/* Whether the plan has a collection at all: what tsr_collect() says in a throw-away heap. */
static bool plan_collects(const char *plan) {
  tsr_binding binding = standard_binding;
  binding.out_of_memory = NULL;
  binding.collection_ended = NULL;
  binding.scan_heap_roots = NULL;
  binding.scan_mutator_roots = NULL;
  binding.report_error = NULL;
  tsr_options *options = tsr_options_create();
  tsr_options_set(options, "plan", plan, NULL);
  tsr_options_set(options, "heap_max", "16M", NULL);
  tsr_heap *heap = tsr_heap_create(&binding, NULL, options, NULL);
  tsr_mutator *m = heap != NULL ? tsr_bind_mutator(heap, &binding, NULL) : NULL;
  bool collects = m != NULL && tsr_collect(m, NULL) == TSR_OK;
  if (m != NULL) tsr_unbind_mutator(m, NULL);
  tsr_heap_destroy(heap, NULL);
  tsr_options_destroy(options);
  return collects;
}

static int run_plan(const char *name, const char *plan, void (*add)(TCase *tests)) {
  char title[96];
  snprintf(title, sizeof title, "%s under %s", name, plan);
  vm_plan = plan;
  vm_collects = plan_collects(plan);
  Suite *suite = suite_create(title);
  TCase *tests = tcase_create(name);
  tcase_set_timeout(tests, 0);
  add(tests);
  suite_add_tcase(suite, tests);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_NORMAL);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed;
}

bool vm_wants_threads(void) {
#ifdef TSR_THREAD_SANITIZER
  return vm_mutators == 1 && vm_workers != NULL && strcmp(vm_workers, "1") == 0;
#else
  return false;
#endif
}

int vm_main(const char *name, void (*add)(TCase *tests)) {
  take_environment();
  const char *only = getenv("TESSERA_TEST_PLAN");
  int failed = 0;
  unsigned ran = 0;
  for (const char *const *plan = tsr_plan_names(); *plan != NULL; plan++) {
    if (only != NULL && strcmp(only, *plan) != 0) continue;
    failed += run_plan(name, *plan, add);
    ran++;
  }
  if (ran == 0) fprintf(stderr, "TESSERA_TEST_PLAN: no plan is called %s\n", only);
  free((char *)(uintptr_t)vm_stress);
  free((char *)(uintptr_t)vm_workers);
  return ran > 0 && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* ---- life of a VM -------------------------------------------------------------------------- */

void vm_pin(testvm *vm, const char *name, const char *value) {
  tsr_error error = {0};
  if (no_nursery && strcmp(name, "nursery") == 0) value = "0";
  tsr_status status = tsr_options_set(vm->options, name, value, &error);
  ck_assert_msg(status == TSR_OK, "option %s=%s: %s", name, value, error.message);
}

static void vm_init_options(testvm *vm) {
  memset(vm, 0, sizeof *vm);
  vm->binding = standard_binding;
  pthread_mutex_init(&vm->lock, NULL);
  vm->options = tsr_options_create();
  ck_assert_ptr_nonnull(vm->options);
  vm_pin(vm, "plan", vm_plan);
  vm_pin(vm, "heap_max", "32M");
  if (vm_verifies) vm_pin(vm, "verify", "on");
  if (vm_workers != NULL) vm_pin(vm, "threads", vm_workers);
  if (no_nursery) vm_pin(vm, "nursery", "0");
}

void vm_init_calm(testvm *vm) {
  vm_init_options(vm);
  vm_pin(vm, "nursery", "1T"); /* few collections before the heap is full */
  vm->calm = true;
}

void vm_init(testvm *vm) {
  vm_init_options(vm);
  if (vm_stress != NULL) vm_pin(vm, "stress", vm_stress);
}

void vm_alone(testvm *vm) {
  vm->alone = true;
  if (vm->company == NULL) return;
  char failure[COMPANY_FAILURE_BYTES];
  if (vm->m != NULL) tsr_enter_native(vm->m);
  company_end(vm->company, failure);
  if (vm->m != NULL) tsr_leave_native(vm->m);
  vm->company = NULL;
  ck_assert_msg(failure[0] == 0, "%s", failure);
}

void vm_unverified(testvm *vm) {
  vm_pin(vm, "verify", "off");
}

void vm_start_heap(testvm *vm) {
  tsr_error error = {0};
  vm->heap = tsr_heap_create(&vm->binding, vm, vm->options, &error);
  ck_assert_msg(vm->heap != NULL, "tsr_heap_create: %s", error.message);
  ck_assert_ptr_eq(tsr_heap_vm(vm->heap), vm);
  company_lay_ballast(vm);
  if (vm_mutators <= 1 || vm->alone || !company_fits(vm)) return;
  vm->company = company_begin(vm, vm_mutators - 1, !vm->calm);
  vm->had_company = true;
}

void vm_start(testvm *vm) {
  tsr_error error = {0};
  vm_start_heap(vm);
  vm->m = tsr_bind_mutator(vm->heap, vm, &error);
  ck_assert_msg(vm->m != NULL, "tsr_bind_mutator: %s", error.message);
}

void vm_open(testvm *vm, const char *heap_max) {
  vm_init_calm(vm);
  vm_pin(vm, "heap_max", heap_max);
  vm_start(vm);
}

void vm_open_alone(testvm *vm, const char *heap_max) {
  vm_init_calm(vm);
  vm_alone(vm);
  vm_pin(vm, "heap_max", heap_max);
  vm_start(vm);
}

void vm_drop(testvm *vm) {
  ck_assert_msg(vm->company == NULL, "the heap has gone before its company: vm_alone() first");
  tsr_options_destroy(vm->options);
  pthread_mutex_destroy(&vm->lock);
}

void vm_stop(testvm *vm) {
  tsr_error error = {0};
  vm_alone(vm);
  if (vm->m != NULL) {
    tsr_status status = tsr_unbind_mutator(vm->m, &error);
    ck_assert_msg(status == TSR_OK, "tsr_unbind_mutator: %s", error.message);
  }
  tsr_status status = tsr_heap_destroy(vm->heap, &error);
  ck_assert_msg(status == TSR_OK, "tsr_heap_destroy: %s", error.message);
  unsigned errors = vm_take_errors(vm, &error);
  ck_assert_msg(errors == 0, "%u unexpected errors, the last: %s", errors, error.message);
  vm_drop(vm);
}

tsr_error vm_refused(testvm *vm) {
  tsr_error error = {0};
  tsr_heap *heap = tsr_heap_create(&vm->binding, vm, vm->options, &error);
  ck_assert_msg(heap == NULL, "the heap was created");
  ck_assert_msg(error.status != TSR_OK && error.message[0] != 0, "refused without a message");
  vm_drop(vm);
  return error;
}

bool vm_is(const char *plan) {
  return strcmp(vm_plan, plan) == 0;
}

bool vm_copies(void) {
  return vm_is("semispace") || vm_is_generational();
}

bool vm_is_generational(void) {
  return vm_is_incremental() && !no_nursery;
}

bool vm_is_still(void) {
  return vm_is_incremental() && no_nursery;
}

bool vm_is_incremental(void) {
  return vm_is("quadcolor");
}

unsigned vm_take_errors(testvm *vm, tsr_error *last) {
  pthread_mutex_lock(&vm->lock);
  if (last != NULL) *last = vm->last_error;
  pthread_mutex_unlock(&vm->lock);
  return atomic_exchange(&vm->errors, 0);
}

unsigned vm_take_ooms(testvm *vm, tsr_oom *last) {
  pthread_mutex_lock(&vm->lock);
  if (last != NULL) *last = vm->last_oom;
  pthread_mutex_unlock(&vm->lock);
  return atomic_exchange(&vm->oom_calls, 0);
}

tsr_stats vm_stats(testvm *vm) {
  tsr_stats stats = {.size = sizeof stats};
  tsr_error error = {0};
  tsr_status status = tsr_heap_stats(vm->heap, &stats, &error);
  ck_assert_msg(status == TSR_OK, "tsr_heap_stats: %s", error.message);
  return stats;
}

void vm_collect(testvm *vm) {
  tsr_error error = {0};
  tsr_status status = tsr_collect(vm->m, &error);
  if (vm_collects) {
    ck_assert_msg(status == TSR_OK, "tsr_collect: %s", error.message);
  } else {
    ck_assert_msg(status == TSR_UNSUPPORTED, "%s", tsr_status_name(status));
    ck_assert_msg(error.status == TSR_UNSUPPORTED && error.message[0] != 0, "no message");
  }
}

void vm_collect_to(testvm *vm, size_t objects) {
  vm_collect(vm);
  if (vm_collects) ck_assert_uint_eq(vm_enumerate(vm->m).objects, objects);
}

bool vm_moves(const testvm *vm) {
  tsr_facts facts;
  tsr_heap_facts(vm->heap, &facts);
  return facts.moves_objects != 0;
}

bool vm_moves_so_many(const testvm *vm, size_t moved) {
  if (!vm_moves(vm)) return moved == 0;
  return moved > 0 || (vm_is_generational() && vm_stress != NULL);
}

static void squeeze(const char *text, char *to, size_t size) {
  size_t n = 0;
  for (; *text != 0 && n + 1 < size; text++) {
    if (isalnum((unsigned char)*text)) to[n++] = (char)tolower((unsigned char)*text);
  }
  to[n] = 0;
}

bool vm_says(const char *text, const char *part) {
  char all[1024];
  char wanted[128];
  squeeze(text, all, sizeof all);
  squeeze(part, wanted, sizeof wanted);
  return strstr(all, wanted) != NULL;
}

static FILE *captured;
static int saved_fds[2];

void vm_capture_begin(void) {
  captured = tmpfile();
  ck_assert_ptr_nonnull(captured);
  fflush(stdout);
  fflush(stderr);
  for (int fd = 1; fd <= 2; fd++) {
    saved_fds[fd - 1] = dup(fd);
    dup2(fileno(captured), fd);
  }
}

char *vm_capture_end(void) {
  fflush(stdout);
  fflush(stderr);
  for (int fd = 1; fd <= 2; fd++) {
    dup2(saved_fds[fd - 1], fd);
    close(saved_fds[fd - 1]);
  }
  fseek(captured, 0, SEEK_END);
  size_t size = (size_t)ftell(captured);
  char *text = malloc(size + 1);
  rewind(captured);
  size_t got = fread(text, 1, size, captured);
  text[got] = 0;
  fclose(captured);
  return text;
}

/* ---- objects ------------------------------------------------------------------------------- */

uint64_t vm_header(unsigned kind, unsigned tag) {
  return TSR_HEADER(kind) | (uint64_t)(tag & 0xffffu) << (TSR_HEADER_SHIFT + 16);
}

/* Without the GC byte, which other threads may be changing: custom layouts ask while objects are being
   moved. */
static unsigned header_part(tsr_ref object, unsigned shift) {
  uint16_t part;
  memcpy(&part, (const char *)object + shift / 8, sizeof part);
  return part;
}

unsigned vm_kind_of(tsr_ref object) {
  return header_part(object, TSR_HEADER_SHIFT) & TSR_HEADER_MASK;
}

unsigned vm_tag_of(tsr_ref object) {
  return header_part(object, TSR_HEADER_SHIFT + 16);
}

size_t vm_size(unsigned kind, size_t count) {
  size_t size = 8;
  switch (kind) {
  case PAIR:
    size = 24;
    break;
  case RECORD:
    size = 8 * (size_t)VM_RECORD_WORDS;
    break;
  case VECTOR:
    size = 16 + 8 * count;
    break;
  case BYTES:
    size = 16 + count;
    break;
  case TABLE:
    size = 24 + 24 * count;
    break;
  case CUSTOM:
    size = 16 + 16 * count;
    break;
  case WIDE:
    size = 8 * (size_t)VM_WIDE_WORDS;
    break;
  default:
    break;
  }
  return tsr_round_size(size);
}

/* A cell has no second word to look at: it may be the last of all memory. */
size_t vm_count_of(tsr_ref object) {
  switch (vm_kind_of(object)) {
  case VECTOR:
  case BYTES:
  case CUSTOM:
    return (size_t)vm_slot(object, 1)->word;
  case TABLE:
    return (size_t)((vm_slot(object, 1)->word & 0xffffffffu) >> 3);
  default:
    return 0;
  }
}

size_t vm_slots(unsigned kind, size_t count) {
  switch (kind) {
  case PAIR:
    return 2;
  case RECORD:
    return 5;
  case VECTOR:
    return count;
  case TABLE:
    return 1 + 2 * count;
  case CUSTOM:
    return count;
  case WIDE:
    return 66;
  default:
    return 0;
  }
}

size_t vm_slot_index(unsigned kind, size_t i) {
  static const unsigned char record_slots[5] = {2, 3, 5, 8, 13};
  switch (kind) {
  case PAIR:
    return 1 + i;
  case RECORD:
    return record_slots[i];
  case VECTOR:
    return 2 + i;
  case TABLE:
    return i == 0 ? 2 : 3 + 3 * ((i - 1) / 2) + 2 * ((i - 1) % 2);
  case CUSTOM:
    return 2 + 2 * i;
  default:
    return 2 + 3 * i;
  }
}

void vm_init_object(void *memory, unsigned kind, unsigned tag, size_t count) {
  uint64_t *words = memory;
  words[0] = vm_header(kind, tag);
  if (kind == VECTOR || kind == BYTES || kind == CUSTOM) words[1] = count;
  if (kind == TABLE) words[1] = (uint64_t)count << 3 | 5u;
}

tsr_ref vm_new(tsr_mutator *m, unsigned kind, unsigned tag, size_t count) {
  return vm_new_with(m, kind, tag, count, TSR_DEFAULT);
}

tsr_ref vm_new_with(tsr_mutator *m, unsigned kind, unsigned tag, size_t count,
                    tsr_semantics semantics) {
  size_t size = vm_size(kind, count);
  void *memory = tsr_alloc(m, size, TSR_OBJECT_ALIGN, 0, semantics);
  if (memory == NULL) return NULL;
  vm_init_object(memory, kind, tag, count);
  tsr_ref object = (tsr_ref)memory;
  if (tsr_post_alloc(m, object, size, semantics) != TSR_OK) return NULL;
  return object;
}

void vm_init_filler(void *memory, size_t size) {
  if (size == tsr_round_size(8)) {
    vm_init_object(memory, CELL, 0, 0);
  } else {
    vm_init_object(memory, BYTES, 0, size - 16);
  }
}

/* Which words are raw, for vm_fill(): everything that is neither header, length nor slot. */
static bool is_raw(unsigned kind, size_t word) {
  switch (kind) {
  case RECORD:
    return word != 0 && (1u << word & (1u << 2 | 1u << 3 | 1u << 5 | 1u << 8 | 1u << 13)) == 0;
  case BYTES:
    return word >= 2;
  case TABLE:
    return word >= 3 && (word - 3) % 3 == 1;
  case CUSTOM:
    return word >= 2 && word % 2 == 1;
  case WIDE:
    return word != 0 && word % 3 != 2;
  default:
    return false;
  }
}

static size_t words_with_content(tsr_ref object) {
  unsigned kind = vm_kind_of(object);
  size_t count = vm_count_of(object);
  if (kind == BYTES) return 2 + count / 8;
  return vm_size(kind, count) / 8;
}

void vm_fill(tsr_ref object, uint64_t seed) {
  unsigned kind = vm_kind_of(object);
  for (size_t i = 0; i < words_with_content(object); i++) {
    if (is_raw(kind, i)) vm_slot(object, i)->word = (seed + i) * 0x9e3779b97f4a7c15u;
  }
}

bool vm_filled(tsr_ref object, uint64_t seed) {
  unsigned kind = vm_kind_of(object);
  for (size_t i = 0; i < words_with_content(object); i++) {
    if (is_raw(kind, i) && vm_slot(object, i)->word != (seed + i) * 0x9e3779b97f4a7c15u) {
      return false;
    }
  }
  return true;
}

bool vm_list(tsr_mutator *m, tsr_slot *head, size_t n, uint64_t first) {
  head->word = 0;
  for (size_t i = n; i-- > 0;) {
    tsr_ref pair = vm_new(m, PAIR, 0, 0);
    if (pair == NULL) return false;
    vm_set(m, pair, 1, FIXNUM(first + i));
    vm_set(m, pair, 2, head->word);
    head->word = vm_word(pair);
  }
  return true;
}

bool vm_list_holds(tsr_mutator *m, uint64_t head, size_t n, uint64_t first) {
  for (size_t i = 0; i < n; i++) {
    if (head == 0 || vm_kind_of(vm_ref(head)) != PAIR) return false;
    if (vm_get(m, vm_ref(head), 1) != FIXNUM(first + i)) return false;
    head = vm_get(m, vm_ref(head), 2);
  }
  return head == 0;
}

bool vm_tree(tsr_mutator *m, tsr_slot *to, unsigned depth) {
  if (depth == 0) {
    to->word = FIXNUM(7);
    return true;
  }
  tsr_scope scope;
  tsr_scope_open(m, &scope);
  tsr_slot *left = tsr_local(m, 0);
  tsr_slot *right = tsr_local(m, 0);
  bool ok = vm_tree(m, left, depth - 1) && vm_tree(m, right, depth - 1);
  tsr_ref pair = ok ? vm_new(m, PAIR, depth, 0) : NULL;
  if (pair != NULL) {
    vm_set(m, pair, 1, left->word);
    vm_set(m, pair, 2, right->word);
    to->word = vm_word(pair);
  }
  tsr_scope_close(m, &scope);
  return pair != NULL;
}

bool vm_tree_holds(tsr_mutator *m, uint64_t tree, unsigned depth) {
  if (depth == 0) return tree == FIXNUM(7);
  if (tree == 0 || vm_kind_of(vm_ref(tree)) != PAIR || vm_tag_of(vm_ref(tree)) != depth) {
    return false;
  }
  return vm_tree_holds(m, vm_get(m, vm_ref(tree), 1), depth - 1) &&
         vm_tree_holds(m, vm_get(m, vm_ref(tree), 2), depth - 1);
}

void vm_garbage(tsr_mutator *m, size_t bytes) {
  size_t size = vm_size(BYTES, 1000);
  for (size_t done = 0; done < bytes; done += size) {
    ck_assert_ptr_nonnull(vm_new(m, BYTES, 0, 1000));
  }
}

/* ---- what the heap holds ------------------------------------------------------------------- */

typedef struct counting {
  vm_census census;
  bool had_company;
} counting;

static void count_object(void *context, tsr_ref object, size_t size) {
  counting *c = context;
  if (c->had_company && company_owns(object)) return;
  vm_census *census = &c->census;
  unsigned kind = vm_kind_of(object);
  census->objects++;
  census->bytes += size;
  if (kind < VM_KINDS) {
    census->by_kind[kind]++;
  } else {
    census->unknown++;
  }
}

vm_census vm_enumerate(tsr_mutator *m) {
  const testvm *vm = tsr_heap_vm(m->heap);
  counting c = {.had_company = vm != NULL && vm->had_company};
  tsr_error error = {0};
  tsr_status status = tsr_enumerate_objects(m, count_object, &c, &error);
  ck_assert_msg(status == TSR_OK, "tsr_enumerate_objects: %s", error.message);
  return c.census;
}

void vm_extents_add(vm_extents *extents, const void *start, size_t size) {
  if (extents->count == extents->capacity) {
    extents->capacity = extents->capacity == 0 ? 1024 : 2 * extents->capacity;
    extents->at = realloc(extents->at, extents->capacity * sizeof extents->at[0]);
  }
  extents->at[extents->count][0] = (uintptr_t)start;
  extents->at[extents->count][1] = (uintptr_t)start + size;
  extents->count++;
}

static int by_start(const void *a, const void *b) {
  uintptr_t x = *(const uintptr_t *)a;
  uintptr_t y = *(const uintptr_t *)b;
  return x < y ? -1 : x > y;
}

bool vm_extents_overlap(vm_extents *extents) {
  if (extents->count == 0) return false;
  qsort(extents->at, extents->count, sizeof extents->at[0], by_start);
  for (size_t i = 1; i < extents->count; i++) {
    if (extents->at[i][0] < extents->at[i - 1][1]) return true;
  }
  return false;
}

void vm_extents_free(vm_extents *extents) {
  free(extents->at);
  memset(extents, 0, sizeof *extents);
}

/* ---- threads ------------------------------------------------------------------------------- */

void vm_expect_failed(vm_thread *self, const char *file, int line, const char *condition) {
  snprintf(self->failure, sizeof self->failure, "%s:%d: thread %u: %s", file, line, self->index,
           condition);
  fprintf(stderr, "%s\n", self->failure); /* at once: the others may wait for this thread */
}

static void *thread_main(void *arg) {
  vm_thread *self = arg;
  tsr_error error = {0};
  self->m = tsr_bind_mutator(self->vm->heap, self, &error);
  if (self->m == NULL) {
    vm_expect_failed(self, __FILE__, __LINE__, "tsr_bind_mutator");
    return NULL;
  }
  tsr_scope scope;
  tsr_scope_open(self->m, &scope);
  self->body(self);
  tsr_scope_close(self->m, &scope);
  if (tsr_unbind_mutator(self->m, &error) != TSR_OK && self->failure[0] == 0) {
    vm_expect_failed(self, __FILE__, __LINE__, "tsr_unbind_mutator");
  }
  return NULL;
}

void vm_threads(testvm *vm, unsigned n, void (*body)(vm_thread *self), void *arg) {
  vm_thread *threads = calloc(n, sizeof *threads);
  ck_assert_ptr_nonnull(threads);
  if (vm->m != NULL) tsr_enter_native(vm->m);
  for (unsigned i = 0; i < n; i++) {
    threads[i].vm = vm;
    threads[i].index = i;
    threads[i].arg = arg;
    threads[i].body = body;
    pthread_create(&threads[i].id, NULL, thread_main, &threads[i]);
  }
  for (unsigned i = 0; i < n; i++) {
    pthread_join(threads[i].id, NULL);
  }
  if (vm->m != NULL) tsr_leave_native(vm->m);
  char failure[256] = "";
  for (unsigned i = 0; i < n && failure[0] == 0; i++) {
    memcpy(failure, threads[i].failure, sizeof failure);
  }
  free(threads);
  ck_assert_msg(failure[0] == 0, "%s", failure);
}

void vm_wait(tsr_mutator *m, pthread_barrier_t *barrier) {
  tsr_enter_native(m);
  pthread_barrier_wait(barrier);
  tsr_leave_native(m);
}

uint64_t vm_random(uint64_t *state) {
  uint64_t x = *state;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  *state = x;
  return x * 0x2545f4914f6cdd1du;
}
