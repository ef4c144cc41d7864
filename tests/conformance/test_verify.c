/*
 * The verifier finds what is planted, and says what it found.
 *
 * A fault is planted twice. In a child process with the option verify=1 the next collection must end
 * the process with a report on stderr; in this process tsr_heap_verify() must answer TSR_CORRUPT with the
 * same facts in its message, change nothing, and be content again once the word is mended. What the
 * report has to name (object, layout, slot, root, path) is written down by the plant itself, in memory
 * that both processes share, because only the plant knows the addresses.
 */
#include "children.h"
#include "own_threads.h"

#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>

/* ---- scenes -------------------------------------------------------------------------------- */

#define PARTS_MOST 12

/* A heap with one root of each kind, and what a plant says of its fault. */
typedef struct scene {
  testvm vm;
  tsr_mutator *m;
  bool verifies;       /* option verify */
  const char *buffers; /* option stress, which bounds a buffer; NULL: none */
  tsr_scope scope;
  tsr_slot *handle, *local;
  tsr_slot range[4];
  tsr_slot stack_memory[8], *top;
  tsr_native_stack stack;
  tsr_slot heap_slot, mutator_slot; /* reported by the callbacks */

  char parts[PARTS_MOST][64]; /* in the report, */
  unsigned part_count;
  char path[PARTS_MOST][64]; /* and these in this order */
  unsigned path_count;
  void *place; /* the word that was changed, and what it was */
  uint64_t before;
} scene;

__attribute__((format(printf, 2, 3))) static void expect(scene *s, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(s->parts[s->part_count], sizeof s->parts[0], format, arguments);
  va_end(arguments);
  s->part_count++;
}

/* "object 0x... (layout NAME, SIZE bytes)" */
static void expect_object(scene *s, tsr_ref object, const char *layout, size_t bytes) {
  expect(s, "object 0x%zx (layout %s, %zu bytes)", (size_t)(uintptr_t)object, layout, bytes);
}

static void expect_slot(scene *s, size_t word) {
  expect(s, "slot at offset %zu", 8 * word);
}

static void expect_path(scene *s, tsr_ref object) {
  snprintf(s->path[s->path_count++], sizeof s->path[0], "0x%zx", (size_t)(uintptr_t)object);
}

static void break_word(scene *s, void *place, uint64_t word) {
  s->place = place;
  s->before = peek(place);
  poke(place, word);
}

static void break_slot(scene *s, tsr_ref object, size_t word, uint64_t value) {
  break_word(s, vm_slot(object, word), value);
  expect_slot(s, word);
}

static void report_heap_slot(testvm *vm, tsr_visitor *visitor) {
  scene *s = vm->extra;
  tsr_visit_slots(visitor, &s->heap_slot, 1);
}

static void report_mutator_slot(testvm *vm, tsr_mutator *m, tsr_visitor *visitor) {
  scene *s = vm->extra;
  if (m == s->m) tsr_visit_slots(visitor, &s->mutator_slot, 1);
}

/* A scene outlives its process, so that the parent reads what the child wrote down. */
static scene *scene_create(bool verifies) {
  scene *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ck_assert(s != MAP_FAILED);
  memset(s, 0, sizeof *s);
  s->verifies = verifies;
  return s;
}

static void scene_destroy(scene *s) {
  munmap(s, sizeof *s);
}

static void scene_open(scene *s) {
  vm_init_calm(&s->vm);
  vm_alone(&s->vm); /* what a broken heap does to other mutators is not the question */
  vm_pin(&s->vm, "verify", s->verifies ? "on" : "off");
  if (s->buffers != NULL) vm_pin(&s->vm, "stress", s->buffers);
  s->vm.on_heap_roots = report_heap_slot;
  s->vm.on_mutator_roots = report_mutator_slot;
  s->vm.extra = s;
  vm_start(&s->vm);
  s->m = s->vm.m;
  tsr_scope_open(s->m, &s->scope);
  s->local = tsr_local(s->m, 0);
  s->handle = tsr_handle_new(s->vm.heap, 0, TSR_STRONG, NULL);
  ck_assert_ptr_nonnull(s->handle);
  tsr_status added = tsr_root_add(s->vm.heap, s->range, 4, TSR_ROOT_PRECISE, "constants", NULL);
  ck_assert_int_eq(added, TSR_OK);
  s->top = s->stack_memory;
  s->stack = (tsr_native_stack){.base = s->stack_memory, .top = &s->top, .name = "operands"};
  ck_assert_int_eq(tsr_stack_add(s->vm.heap, &s->stack, NULL), TSR_OK);
}

static void scene_close(scene *s) {
  tsr_scope_close(s->m, &s->scope);
  vm_stop(&s->vm);
}

/* A pair that the handle holds. */
static tsr_ref rooted_pair(scene *s) {
  tsr_ref pair = vm_new(s->m, PAIR, 0, 0);
  ck_assert_ptr_nonnull(pair);
  s->handle->word = vm_word(pair);
  return pair;
}

/* An object that the range's first slot holds. */
static tsr_ref kept_object(scene *s, unsigned kind, size_t count, tsr_semantics semantics) {
  tsr_ref object = vm_new_with(s->m, kind, 0, count, semantics);
  ck_assert_ptr_nonnull(object);
  s->range[0].word = vm_word(object);
  return object;
}

/* ---- plants ---------------------------------------------------------------------------------- */

enum when { ANY_PLAN, COLLECTING_PLAN, MOVING_PLAN, BARRIER_FREE_PLAN, NOT_STILL };

/* A row of the table below: a plant, and what it is about. */
typedef struct fault {
  const char *name;
  void (*plant)(scene *s, const struct fault *f);
  unsigned kind; /* the object, */
  size_t count;
  tsr_semantics semantics;
  size_t slot;   /* its slot, or a root */
  uint64_t word; /* what is written, or a distance */
  enum when when;
} fault;

/* A pair's slot leads into the middle of the object. */
static void slot_into(scene *s, const fault *f) {
  tsr_ref target = kept_object(s, f->kind, f->count, f->semantics);
  tsr_ref pair = rooted_pair(s);
  expect_object(s, pair, "pair", 24);
  break_slot(s, pair, 1 + f->slot, vm_word(target) + f->word);
}

/* The range of a heap of 32 MiB has blocks there, and none was ever used. */
static void slot_to_an_unused_block(scene *s, const fault *f) {
  tsr_ref pair = rooted_pair(s);
  expect_object(s, pair, "pair", 24);
  break_slot(s, pair, 2, vm_word(pair) + f->word);
}

/* The object's slot leads into the middle of another. */
static void slot_of(scene *s, const fault *f) {
  static const char *const names[] = {[PAIR] = "pair",   [RECORD] = "record", [VECTOR] = "vector",
                                      [TABLE] = "table", [CUSTOM] = "custom", [WIDE] = "wide"};
  s->local->word = vm_word(kept_object(s, BYTES, 200, TSR_DEFAULT));
  tsr_ref object = vm_new_with(s->m, f->kind, 0, f->count, f->semantics);
  ck_assert_ptr_nonnull(object);
  s->handle->word = vm_word(object);
  expect_object(s, object, names[f->kind], vm_size(f->kind, f->count));
  break_slot(s, object, vm_slot_index(f->kind, f->slot), s->local->word + 40);
}

/* What is immortal is a root by itself. */
static void slot_of_an_unrooted(scene *s, const fault *f) {
  slot_of(s, f);
  s->handle->word = 0;
}

static void slot_of_a_sealed(scene *s, const fault *f) {
  slot_of(s, f);
  ck_assert_int_eq(tsr_seal(s->m, vm_ref(s->handle->word), NULL), TSR_OK);
  s->place = NULL; /* cannot be mended */
}

/* The pair lies below, so that nothing slides to where the object was. */
static void slot_to_a_freed_object(scene *s, const fault *f) {
  rooted_pair(s);
  uint64_t freed = vm_word(kept_object(s, f->kind, f->count, f->semantics));
  s->range[0].word = 0;
  vm_collect(&s->vm);
  tsr_ref pair = vm_ref(s->handle->word);
  expect_object(s, pair, "pair", 24);
  break_slot(s, pair, 1, freed);
}

/* The object lives, but the variable that held it before the collection was no root. There is garbage below
   for it to slide into. */
static void slot_to_where_an_object_was(scene *s, const fault *f) {
  vm_garbage(s->m, 8 * KIB);
  uint64_t unregistered = vm_word(kept_object(s, f->kind, f->count, f->semantics));
  rooted_pair(s);
  vm_collect(&s->vm);
  ck_assert(s->range[0].word != unregistered);
  tsr_ref pair = vm_ref(s->handle->word);
  expect_object(s, pair, "pair", 24);
  break_slot(s, pair, 2, unregistered);
}

/* What has no header when its buffer is taken back is no object for good, so a safepoint takes it before. */
static void header(scene *s, const fault *f) {
  tsr_ref object = kept_object(s, f->kind, f->count, f->semantics);
  if (f->word == 0) ck_assert_int_eq(tsr_heap_verify(s->m, NULL), TSR_OK);
  expect(s, "%zx", (size_t)(uintptr_t)object);
  break_word(s, object, f->word);
}

/* Without that safepoint. */
static void header_in_a_buffer(scene *s, const fault *f) {
  tsr_ref object = kept_object(s, f->kind, f->count, f->semantics);
  expect(s, "%zx", (size_t)(uintptr_t)object);
  break_word(s, object, f->word);
  s->place = NULL; /* cannot be mended */
}

static void length(scene *s, const fault *f) {
  tsr_ref object = kept_object(s, f->kind, f->count, f->semantics);
  expect(s, "%zx", (size_t)(uintptr_t)object);
  expect(s, "layout %s", f->kind == BYTES ? "bytes" : "vector");
  expect(s, "root");
  expect(s, "constants");
  break_word(s, vm_slot(object, 1), f->word);
}

/* The scene's buffers are shorter than a block. */
static void length_past_a_buffer(scene *s, const fault *f) {
  length(s, f);
}

/* A row of three, which a safepoint has taken out of the mutator's hands; the middle one lives only until
   the collection that the plant may begin with. */
static void length_in_a_row(scene *s, const fault *f) {
  tsr_ref object = kept_object(s, f->kind, f->count, f->semantics);
  vm_new_with(s->m, BYTES, 0, 800, f->semantics);
  s->range[1].word = vm_word(vm_new_with(s->m, BYTES, 0, 32, f->semantics));
  ck_assert_uint_eq(s->range[1].word - vm_word(object),
                    vm_size(f->kind, f->count) + vm_size(BYTES, 800));
  if (f->when == COLLECTING_PLAN) {
    vm_collect(&s->vm);
  } else {
    ck_assert_int_eq(tsr_heap_verify(s->m, NULL), TSR_OK);
  }
  expect_object(s, object, f->kind == BYTES ? "bytes" : "vector", vm_size(f->kind, f->word));
  expect(s, "root");
  expect(s, "constants");
  break_word(s, vm_slot(object, 1), f->word);
}

/* No plan of this version arms an object, so no bit of the byte is set while mutators run. */
static void gc_byte(scene *s, const fault *f) {
  tsr_ref object = kept_object(s, f->kind, f->count, f->semantics);
  expect_object(s, object, "record", vm_size(RECORD, 0));
  uint64_t header = peek(object);
  ((unsigned char *)&header)[TSR_GC_BYTE_OFFSET] = (unsigned char)f->word;
  break_word(s, object, header);
}

enum root { RANGE, HANDLE, LOCAL, STACK, HEAP_CALLBACK, MUTATOR_CALLBACK };

/* The root leads into the middle of an object. */
static void root(scene *s, const fault *f) {
  static const char *const names[] = {"constants", "handle",          "local handle",
                                      "operands",  "scan_heap_roots", "scan_mutator_roots"};
  s->top = s->stack_memory + 5;
  tsr_slot *const slots[] = {&s->range[2],        s->handle,     tsr_local(s->m, 0),
                             &s->stack_memory[3], &s->heap_slot, &s->mutator_slot};
  s->local->word = vm_word(vm_new(s->m, RECORD, 0, 0));
  expect(s, "root");
  expect(s, "%s", names[f->slot]);
  break_word(s, slots[f->slot], s->local->word + 16);
}

/* root -> record -> vector -> pair -> bad */
static void path_of_three(scene *s, const fault *f) {
  (void)f;
  s->top = s->stack_memory + 1;
  tsr_slot *first = s->stack_memory;
  first->word = vm_word(vm_new(s->m, RECORD, 0, 0));
  tsr_ref vector = vm_new(s->m, VECTOR, 0, 10);
  vm_set(s->m, vm_ref(first->word), 5, vm_word(vector));
  tsr_ref pair = vm_new(s->m, PAIR, 0, 0);
  vector = vm_ref(vm_get(s->m, vm_ref(first->word), 5));
  vm_set(s->m, vector, 7, vm_word(pair));
  expect_object(s, pair, "pair", 24);
  expect(s, "operands");
  expect_path(s, vm_ref(first->word));
  expect_path(s, vector);
  break_slot(s, pair, 1, vm_word(vector) + 16);
}

#define HEADER(id, tag) (TSR_HEADER(id) | (uint64_t)(tag) << (TSR_HEADER_SHIFT + 16))

static const fault faults[] = {
    {"slot into an object", slot_into, BYTES, 200, TSR_DEFAULT, 0, 40, ANY_PLAN},
    {"slot into a large object", slot_into, BYTES, 100 * KIB, TSR_DEFAULT, 1, 64 * KIB, ANY_PLAN},
    {"slot into a non-moving one", slot_into, BYTES, 200, TSR_NON_MOVING, 0, 40, ANY_PLAN},
    {"slot into an immortal one", slot_into, BYTES, 200, TSR_IMMORTAL, 1, 40, ANY_PLAN},
    {"slot behind a non-moving one", slot_into, BYTES, 208, TSR_NON_MOVING, 0, 4 * KIB, ANY_PLAN},
    {"slot to an unused block", slot_to_an_unused_block, .word = 20 * MIB},

    {"slot of a vector", slot_of, VECTOR, 100, TSR_DEFAULT, 99, 0, ANY_PLAN},
    {"slot of a large vector", slot_of, VECTOR, 20000, TSR_DEFAULT, 19999, 0, ANY_PLAN},
    {"slot of a table", slot_of, TABLE, 30, TSR_DEFAULT, 60, 0, ANY_PLAN},
    {"slot of a custom object", slot_of, CUSTOM, 300, TSR_DEFAULT, 299, 0, ANY_PLAN},
    {"slot of a wide object", slot_of, WIDE, 0, TSR_DEFAULT, 65, 0, ANY_PLAN},
    {"slot of a non-moving object", slot_of, RECORD, 0, TSR_NON_MOVING, 4, 0, ANY_PLAN},
    {"slot of an immortal object", slot_of, RECORD, 0, TSR_IMMORTAL, 0, 0, ANY_PLAN},
    {"slot of an unrooted one", slot_of_an_unrooted, RECORD, 0, TSR_IMMORTAL, 1, 0, ANY_PLAN},
    {"slot of a sealed object", slot_of_a_sealed, PAIR, 0, TSR_READ_ONLY, 1, 0, ANY_PLAN},

    {"slot to a freed large object", slot_to_a_freed_object, BYTES, 100 * KIB, TSR_DEFAULT, 0, 0,
     COLLECTING_PLAN},
    {"slot to a freed object", slot_to_a_freed_object, RECORD, 0, TSR_DEFAULT, 0, 0,
     COLLECTING_PLAN},
    {"slot to a freed non-moving object", slot_to_a_freed_object, RECORD, 0, TSR_NON_MOVING, 0, 0,
     COLLECTING_PLAN},
    {"slot to where an object was", slot_to_where_an_object_was, RECORD, 0, TSR_DEFAULT, 0, 0,
     MOVING_PLAN},

    {"header of zero", header, PAIR, 0, TSR_DEFAULT, 0, 0, ANY_PLAN},
    {"header of layout 0", header, PAIR, 0, TSR_DEFAULT, 0, HEADER(0, 7), ANY_PLAN},
    {"header of an unknown layout", header, PAIR, 0, TSR_DEFAULT, 0, HEADER(999, 7), ANY_PLAN},
    {"header of a large object", header, PAIR, 0, TSR_LARGE, 0, HEADER(999, 7), ANY_PLAN},
    {"header of a non-moving object", header, PAIR, 0, TSR_NON_MOVING, 0, HEADER(999, 7), ANY_PLAN},
    {"header of an immortal object", header, PAIR, 0, TSR_IMMORTAL, 0, HEADER(0, 7), ANY_PLAN},
    {"header of zero in a buffer", header_in_a_buffer, PAIR, 0, TSR_DEFAULT, 0, 0, ANY_PLAN},
    {"header in an immortal buffer", header_in_a_buffer, PAIR, 0, TSR_IMMORTAL, 0, 0, ANY_PLAN},

    {"length past the block", length, BYTES, 200, TSR_DEFAULT, 0, MIB, ANY_PLAN},
    {"length past the run", length, BYTES, 100 * KIB, TSR_DEFAULT, 0, MIB, ANY_PLAN},
    {"length of references past the run", length, VECTOR, 20000, TSR_DEFAULT, 0, 40000, ANY_PLAN},
    {"length past a non-moving block", length, BYTES, 200, TSR_NON_MOVING, 0, MIB, ANY_PLAN},
    {"length past an immortal block", length, VECTOR, 20, TSR_IMMORTAL, 0, 40000, ANY_PLAN},

    {"length past a buffer", length_past_a_buffer, BYTES, 32, TSR_NON_MOVING, 0, 8000, ANY_PLAN},
    {"length past an immortal one's", length_past_a_buffer, VECTOR, 4, TSR_IMMORTAL, 0, 1000,
     ANY_PLAN},
    {"length into a free run", length_in_a_row, BYTES, 32, TSR_NON_MOVING, 0, 400, COLLECTING_PLAN},
    {"length over a free run", length_in_a_row, VECTOR, 4, TSR_NON_MOVING, 0, 106, COLLECTING_PLAN},
    {"length into the next object", length_in_a_row, BYTES, 32, TSR_NON_MOVING, 0, 400, ANY_PLAN},
    {"length over the next object", length_in_a_row, BYTES, 32, TSR_NON_MOVING, 0, 848, ANY_PLAN},
    {"length over an immortal one", length_in_a_row, VECTOR, 4, TSR_IMMORTAL, 0, 104, ANY_PLAN},

    {"armed", gc_byte, RECORD, 0, TSR_DEFAULT, 0, TSR_GC_ARMED, NOT_STILL},
    {"both hash bits", gc_byte, RECORD, 0, TSR_DEFAULT, 0, 0x18, ANY_PLAN},
    {"a hashed non-moving object", gc_byte, RECORD, 0, TSR_NON_MOVING, 0, 0x08, ANY_PLAN},
    {"a hash of an immortal object", gc_byte, RECORD, 0, TSR_IMMORTAL, 0, 0x10, ANY_PLAN},
    {"forwarded", gc_byte, RECORD, 0, TSR_DEFAULT, 0, 0x20, ANY_PLAN},
    {"the other forwarding bit", gc_byte, RECORD, 0, TSR_DEFAULT, 0, 0x40, ANY_PLAN},
    {"a full GC byte", gc_byte, RECORD, 0, TSR_DEFAULT, 0, 0xff, ANY_PLAN},
    {"a forwarded large object", gc_byte, RECORD, 0, TSR_LARGE, 0, 0x20, ANY_PLAN},
    {"a forwarded non-moving object", gc_byte, RECORD, 0, TSR_NON_MOVING, 0, 0x20, ANY_PLAN},
    {"an armed immortal object", gc_byte, RECORD, 0, TSR_IMMORTAL, 0, TSR_GC_ARMED,
     BARRIER_FREE_PLAN},

    {"root range", root, .slot = RANGE},
    {"root handle", root, .slot = HANDLE},
    {"root local handle", root, .slot = LOCAL},
    {"root native stack", root, .slot = STACK},
    {"root of the heap's callback", root, .slot = HEAP_CALLBACK},
    {"root of the mutator's callback", root, .slot = MUTATOR_CALLBACK},

    {"path of three", path_of_three, .when = ANY_PLAN}};

#define FAULTS (sizeof faults / sizeof faults[0])

/* ---- judging -------------------------------------------------------------------------------- */

static bool plan_moves(void) {
  testvm vm;
  vm_open(&vm, "8M");
  bool moves = vm_moves(&vm);
  vm_stop(&vm);
  return moves;
}

static bool fault_applies(const fault *f) {
  return f->when == ANY_PLAN || (f->when == COLLECTING_PLAN && vm_collects) ||
         (f->when == MOVING_PLAN && plan_moves()) ||
         (f->when == BARRIER_FREE_PLAN && !vm_is_incremental()) ||
         (f->when == NOT_STILL && !vm_is_still());
}

static const char *buffers_for(const fault *f) {
  return f->plant == length_past_a_buffer ? "4096" : NULL;
}

static void assert_parts(const scene *s, const char *name, const char *text) {
  for (unsigned i = 0; i < s->part_count; i++) {
    ck_assert_msg(strstr(text, s->parts[i]) != NULL, "%s: nothing of \"%s\" in:\n%s", name,
                  s->parts[i], text);
  }
}

/* Behind the root come the objects of the path in their order. A tsr_error may be too short for it. */
static void assert_path(const scene *s, const char *name, const char *text) {
  const char *at = strstr(text, "root");
  for (unsigned i = 0; i < s->path_count; i++) {
    at = at == NULL ? NULL : strstr(at, s->path[i]);
    ck_assert_msg(at != NULL, "%s: the path does not lead over %s in:\n%s", name, s->path[i], text);
  }
}

typedef struct trial {
  const fault *f;
  scene *s;
} trial;

static void plant_and_collect(void *context) {
  trial *t = context;
  scene_open(t->s);
  t->f->plant(t->s, t->f);
  vm_collect(&t->s->vm);
}

/* The collection after the plant ends the process, and says why. */
static void judge_collection(const fault *f) {
  trial t = {f, scene_create(true)};
  t.s->buffers = buffers_for(f);
  ending end = in_child(plant_and_collect, &t);
  assert_died_of(&end, SIGABRT, f->name);
  assert_parts(t.s, f->name, end.text);
  assert_path(t.s, f->name, end.text);
  free(end.text);
  scene_destroy(t.s);
}

/* tsr_heap_verify() says the same, as often as it is asked, and changes nothing. */
static void judge_request(const fault *f) {
  scene *s = scene_create(false);
  s->buffers = buffers_for(f);
  scene_open(s);
  tsr_error error = {0};
  ck_assert_msg(tsr_heap_verify(s->m, &error) == TSR_OK, "%s: too early: %s", f->name,
                error.message);
  f->plant(s, f);
  for (unsigned i = 0; i < 2; i++) {
    error = (tsr_error){0};
    tsr_status status = tsr_heap_verify(s->m, &error);
    ck_assert_msg(status == TSR_CORRUPT && error.status == TSR_CORRUPT, "%s: %s (%s)", f->name,
                  tsr_status_name(status), error.message);
    assert_parts(s, f->name, error.message);
  }
  ck_assert_int_eq(tsr_heap_verify(s->m, NULL), TSR_CORRUPT);
  if (s->place != NULL) {
    poke(s->place, s->before);
    error = (tsr_error){0};
    ck_assert_msg(tsr_heap_verify(s->m, &error) == TSR_OK, "%s: mended, and still: %s", f->name,
                  error.message);
    vm_collect(&s->vm);
  }
  scene_close(s);
  scene_destroy(s);
}

START_TEST(a_planted_fault_is_found) {
  const fault *f = &faults[_i];
  if (!fault_applies(f)) return;
  judge_request(f);
  if (vm_collects) judge_collection(f);
}
END_TEST

/* ---- what verifying leaves alone ------------------------------------------------------------- */

static void bind_and_verify(vm_thread *self) {
  EXPECT(self, tsr_heap_verify(self->m, NULL) == TSR_OK);
}

START_TEST(verifying_is_a_safepoint_and_no_collection) {
  testvm vm;
  vm_open(&vm, "8M");
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *list = tsr_local(vm.m, 0);
  ck_assert(vm_list(vm.m, list, 1000, 0));
  uint64_t word = list->word;
  for (unsigned i = 0; i < 10; i++)
    ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
  ck_assert_uint_eq(list->word, word);
  ck_assert_uint_eq(vm.ended, 0);
  ck_assert(vm_list_holds(vm.m, list->word, 1000, 0));
  vm_threads(&vm, 4, bind_and_verify, NULL);
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}
END_TEST

#define SCATTERED 64

/* The blocks that are guarded leave a run for an object of half the heap, as they would without guards. */
START_TEST(half_the_heap_for_one_object) {
  testvm vm;
  vm_init_calm(&vm);
  vm_alone(&vm); /* they would need the other half */
  vm_pin(&vm, "heap_max", "16M");
  vm_pin(&vm, "verify", _i == 0 ? "off" : "on");
  vm_start(&vm);
  tsr_slot few[SCATTERED] = {{0}};
  ck_assert_int_eq(tsr_root_add(vm.heap, few, SCATTERED, TSR_ROOT_PRECISE, "few", NULL), TSR_OK);
  for (unsigned i = 0; i < SCATTERED; i++) {
    few[i].word = vm_word(vm_new_with(vm.m, BYTES, i, 16000, TSR_LARGE));
    ck_assert_uint_ne(few[i].word, 0);
    vm_garbage(vm.m, 400 * KIB);
  }
  vm_collect(&vm);
  for (size_t bytes = MIB; bytes <= 8 * MIB; bytes *= 2) {
    ck_assert_msg(vm_new_with(vm.m, BYTES, 0, bytes - 16, TSR_LARGE) != NULL, "%zu bytes", bytes);
    vm_collect(&vm);
  }
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 0);
  ck_assert_int_eq(tsr_root_remove(vm.heap, few, NULL), TSR_OK);
  vm_stop(&vm);
}
END_TEST

START_TEST(verifying_is_refused_in_native_code) {
  testvm vm;
  vm_open(&vm, "8M");
  tsr_enter_native(vm.m);
  tsr_error error = {0};
  ck_assert_int_eq(tsr_heap_verify(vm.m, &error), TSR_BUSY);
  ck_assert_int_eq(error.status, TSR_BUSY);
  ck_assert(error.message[0] != 0);
  tsr_leave_native(vm.m);
  ck_assert_int_eq(tsr_heap_verify(vm.m, &error), TSR_OK);
  vm_stop(&vm);
}
END_TEST

START_TEST(verifying_needs_mutators_that_can_be_stopped) {
  testvm vm;
  vm_init_calm(&vm);
  vm_alone(&vm); /* mutators that cannot be stopped have no company */
  vm.binding.does = 0;
  vm_start(&vm);
  ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
  int identity;
  tsr_mutator *second = tsr_bind_mutator(vm.heap, &identity, NULL);
  ck_assert_ptr_nonnull(second);
  tsr_error error = {0};
  ck_assert_int_eq(tsr_heap_verify(vm.m, &error), TSR_MISMATCH);
  ck_assert_int_eq(error.status, TSR_MISMATCH);
  ck_assert_int_eq(tsr_unbind_mutator(second, NULL), TSR_OK);
  ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
  vm_stop(&vm);
}
END_TEST

/* ---- stale pairs ---------------------------------------------------------------------------- */

typedef struct stale {
  scene *s;
  unsigned placement; /* of the mutator's own pair; TSR_PLACEMENTS: a registered one */
  bool misses;        /* the pair meets its end in an allocation, not in the verifier */
} stale;

static tsr_bump_pointer registered_pair;

static tsr_bump_pointer *pair_of(const stale *t) {
  return t->placement < TSR_PLACEMENTS ? &t->s->m->bump[t->placement] : &registered_pair;
}

static tsr_semantics placement_of(const stale *t) {
  return t->placement < TSR_PLACEMENTS ? t->placement : TSR_DEFAULT;
}

/* A pair with a buffer, its copy from before a collection written over it afterwards. */
static void make_pair_stale(stale *t) {
  tsr_mutator *m = t->s->m;
  tsr_bump_pointer *pair = pair_of(t);
  if (pair == &registered_pair) {
    ck_assert_int_eq(tsr_register_bump_pointer(m, pair, NULL), TSR_OK);
  }
  void *memory = tsr_alloc_slow(m, pair, 24, TSR_OBJECT_ALIGN, 0, placement_of(t));
  ck_assert_ptr_nonnull(memory);
  vm_init_object(memory, PAIR, 0, 0);
  ck_assert(pair->cursor < pair->limit);
  tsr_bump_pointer copy = *pair;
  vm_collect(&t->s->vm);
  ck_assert(pair->cursor == 0 && pair->limit == 0);
  *pair = copy;
}

/* More than is left in the pair. */
static void miss(const stale *t) {
  tsr_bump_pointer *pair = pair_of(t);
  size_t rest = pair->limit - pair->cursor;
  if (rest >= TSR_MAX_INLINE_BYTES) pair->cursor = pair->limit - 64;
  tsr_alloc_slow(t->s->m, pair, TSR_MAX_INLINE_BYTES, TSR_OBJECT_ALIGN, 0, placement_of(t));
}

static void use_stale_pair(void *context) {
  stale *t = context;
  scene_open(t->s);
  make_pair_stale(t);
  if (t->misses) {
    miss(t);
  } else {
    vm_collect(&t->s->vm);
  }
}

static const unsigned paired_placements[] = {TSR_DEFAULT, TSR_IMMORTAL, TSR_NON_MOVING,
                                             TSR_PLACEMENTS};

#define PAIRED (sizeof paired_placements / sizeof paired_placements[0])

static void judge_stale_pair(unsigned placement, bool misses, bool verifies) {
  stale t = {scene_create(verifies), placement, misses};
  assert_dies_saying(use_stale_pair, &t, SIGABRT,
                     misses ? "a miss with a stale pair" : "a stale pair", "stale", "pair");
  scene_destroy(t.s);
}

/* A002-05: fatal with the verifier and without. */
START_TEST(a002_05_a_stale_pair_is_found_at_the_next_miss) {
  judge_stale_pair(paired_placements[_i], true, false);
  judge_stale_pair(paired_placements[_i], true, true);
}
END_TEST

START_TEST(a002_05_a_stale_pair_is_found_by_the_next_collection) {
  judge_stale_pair(paired_placements[_i], false, true);
}
END_TEST

START_TEST(a002_05_a_stale_pair_is_found_on_request) {
  stale t = {scene_create(false), paired_placements[_i], false};
  scene_open(t.s);
  make_pair_stale(&t);
  tsr_error error = {0};
  ck_assert_int_eq(tsr_heap_verify(t.s->m, &error), TSR_CORRUPT);
  ck_assert_msg(strstr(error.message, "pair") != NULL, "%s", error.message);
  *pair_of(&t) = (tsr_bump_pointer){0, 0};
  ck_assert_int_eq(tsr_heap_verify(t.s->m, &error), TSR_OK);
  scene_close(t.s);
  scene_destroy(t.s);
}
END_TEST

/* ---- a copy-in that was dropped ------------------------------------------------------------- */

#define COPIED_CELLS 6

/*
 * A002-06: the VM bumps a copy of the mutator's pair and then allocates through the mutator without
 * having copied it in, so the new object lies over the ones that came from the copy.
 */
static void drop_copy_in(scene *s) {
  s->top = s->stack_memory;
  ck_assert_ptr_nonnull(vm_new(s->m, PAIR, 0, 0)); /* a buffer is at hand */
  tsr_bump_pointer copy = s->m->bump[0];
  for (unsigned i = 0; i < COPIED_CELLS; i++) {
    ck_assert_uint_le(copy.cursor + 24, copy.limit);
    vm_init_object((void *)copy.cursor, PAIR, i, 0);
    *s->top++ = (tsr_slot){copy.cursor};
    copy.cursor += 24;
  }
  s->local->word = vm_word(vm_new(s->m, RECORD, 0, 0));
}

static void drop_copy_in_and_collect(void *context) {
  scene *s = context;
  scene_open(s);
  drop_copy_in(s);
  vm_collect(&s->vm);
}

START_TEST(a002_06_a_dropped_copy_in_is_found) {
  scene *s = scene_create(false);
  scene_open(s);
  drop_copy_in(s);
  tsr_error error = {0};
  ck_assert_int_eq(tsr_heap_verify(s->m, &error), TSR_CORRUPT);
  ck_assert_msg(strstr(error.message, "operands") != NULL, "%s", error.message);
  s->top = s->stack_memory;
  scene_close(s);
  scene_destroy(s);
  if (!vm_collects) return;
  s = scene_create(true);
  assert_dies_saying(drop_copy_in_and_collect, s, SIGABRT, "a dropped copy-in", "copied in", "");
  scene_destroy(s);
}
END_TEST

/* ---- a survivor's size, without the verifier ------------------------------------------------- */

/* The least length that reaches past a block from anywhere in it, and two whose sizes wrap: to 0, and to
   just below. */
static const uint64_t overwritten_lengths[] = {32 * KIB / 8, (uint64_t)-2, (uint64_t)-3};

#define LENGTHS (sizeof overwritten_lengths / sizeof overwritten_lengths[0])

typedef struct overwritten {
  scene *s;
  uint64_t length;
} overwritten;

static void overwrite_a_length(void *context) {
  overwritten *o = context;
  scene_open(o->s);
  ck_assert_ptr_nonnull(vm_new(o->s->m, PAIR, 0, 0)); /* not first in its block */
  void *vector = vm_new(o->s->m, VECTOR, 5, 0);
  o->s->local->word = vm_word(vector);
  poke((char *)vector + 8, o->length);
  vm_collect(&o->s->vm);
}

/* Whoever copies an object looks at its size first. */
START_TEST(a_survivor_larger_than_its_block_is_not_copied) {
  overwritten o = {scene_create(false), overwritten_lengths[_i]};
  assert_dies_saying(overwrite_a_length, &o, SIGABRT, "an overwritten length",
                     "runs past its block", "");
  scene_destroy(o.s);
}
END_TEST

/* ---- stray accesses ------------------------------------------------------------------------- */

typedef struct stray {
  scene *s;
  unsigned kind;
  size_t count;
  tsr_semantics semantics;
  bool writes;
} stray;

/* The last access in the child goes through a reference from before the collection that freed what
   it led to. */
static void stray_access(void *context) {
  stray *t = context;
  scene_open(t->s);
  tsr_ref old = vm_new_with(t->s->m, t->kind, 0, t->count, t->semantics);
  ck_assert_ptr_nonnull(old);
  vm_collect(&t->s->vm);
  for (unsigned i = 0; i < 100; i++) { /* freed memory is not handed out again soon */
    ck_assert_ptr_nonnull(vm_new_with(t->s->m, t->kind, 0, t->count, t->semantics));
  }
  fprintf(stderr, "access\n");
  fflush(NULL);
  if (t->writes) {
    poke(vm_slot(old, 1), 0);
  } else {
    peek(old);
  }
}

START_TEST(a_stray_access_faults) {
  const stray strays[] = {{NULL, PAIR, 0, TSR_DEFAULT, true},
                          {NULL, PAIR, 0, TSR_DEFAULT, false},
                          {NULL, BYTES, 100 * KIB, TSR_DEFAULT, true},
                          {NULL, PAIR, 0, TSR_LARGE, false},
                          {NULL, BYTES, 100 * KIB, TSR_NON_MOVING, true}};
  for (size_t i = 0; i < sizeof strays / sizeof strays[0]; i++) {
    stray t = strays[i];
    t.s = scene_create(true);
    assert_dies_saying(stray_access, &t, SIGSEGV, "a stray access", "access", "");
    scene_destroy(t.s);
  }
}
END_TEST

/* ---- a missing revoke ----------------------------------------------------------------------- */

#define THREADS 8

/* A002-05: in a VM that resumes its threads by itself, each with a pair that Tessera was never told
   of. The VM forgets to revoke the pair of one thread. */
typedef struct forgetful {
  own_threads own;
  pthread_barrier_t barrier;
  bool forgets, misses;
} forgetful;

static void allocate_around_a_collection(vm_thread *self) {
  forgetful *run = self->arg;
  tsr_bump_pointer pair = {0, 0};
  own_attach(&run->own, self->m, self->index);
  bool forgotten = run->forgets && self->index == 3;
  if (!forgotten) run->own.unregistered[self->index] = &pair;
  own_wait(&run->own, &run->barrier);
  for (unsigned i = 0; i < 10; i++) {
    void *memory = own_alloc(self->m, &pair, 24);
    EXPECT(self, memory != NULL);
    vm_init_object(memory, PAIR, 0, 0);
  }
  own_wait(&run->own, &run->barrier);
  if (self->index == 0) EXPECT(self, tsr_collect(self->m, NULL) == TSR_OK);
  own_safepoint(&run->own);
  own_wait(&run->own, &run->barrier);
  size_t size = run->misses ? TSR_MAX_INLINE_BYTES : 24;
  for (unsigned i = 0; i < 10; i++) {
    if (forgotten && run->misses) pair.cursor = pair.limit - 24;
    void *memory = own_alloc(self->m, &pair, size);
    EXPECT(self, memory != NULL);
    poke(memory, vm_header(BYTES, 0));
    poke((char *)memory + 8, size - 16);
  }
  own_wait(&run->own, &run->barrier);
  run->own.unregistered[self->index] = NULL;
  own_detach(&run->own, self->index);
}

static void run_forgetful(void *context) {
  forgetful *run = context;
  testvm vm;
  vm_init_calm(&vm);
  vm_alone(&vm); /* the barrier is for its threads */
  vm_pin(&vm, "verify", "on");
  own_install(&run->own, &vm);
  pthread_barrier_init(&run->barrier, NULL, THREADS);
  vm_start_heap(&vm);
  vm_threads(&vm, THREADS, allocate_around_a_collection, run);
  vm_stop(&vm);
}

START_TEST(a002_05_an_injected_missing_revoke_is_found) {
  static forgetful run;
  ending end = in_child(run_forgetful, &run);
  assert_survived(&end, "every pair revoked");
  free(end.text);
  run = (forgetful){.forgets = true};
  end = in_child(run_forgetful, &run);
  assert_died_of(&end, SIGSEGV, "a store through the pair that was forgotten");
  free(end.text);
  run = (forgetful){.forgets = true, .misses = true};
  assert_dies_saying(run_forgetful, &run, SIGABRT, "a miss with the pair that was forgotten",
                     "stale", "pair");
}
END_TEST

static void add(TCase *tests) {
  tcase_add_loop_test(tests, a_planted_fault_is_found, 0, (int)FAULTS);
  tcase_add_test(tests, verifying_is_a_safepoint_and_no_collection);
  tcase_add_test(tests, verifying_is_refused_in_native_code);
  tcase_add_test(tests, a002_06_a_dropped_copy_in_is_found);
  if (!vm_collects) {
    tcase_add_test(tests, verifying_needs_mutators_that_can_be_stopped);
    return;
  }
  tcase_add_loop_test(tests, a002_05_a_stale_pair_is_found_at_the_next_miss, 0, (int)PAIRED);
  tcase_add_loop_test(tests, a002_05_a_stale_pair_is_found_by_the_next_collection, 0, (int)PAIRED);
  tcase_add_loop_test(tests, a002_05_a_stale_pair_is_found_on_request, 0, (int)PAIRED);
  tcase_add_test(tests, a_stray_access_faults);
  if (vm_is("semispace")) {
    tcase_add_loop_test(tests, a_survivor_larger_than_its_block_is_not_copied, 0, (int)LENGTHS);
  }
  tcase_add_loop_test(tests, half_the_heap_for_one_object, 0, 2);
  tcase_add_test(tests, a002_05_an_injected_missing_revoke_is_found);
}

int main(void) {
  return vm_main("verify", add);
}
