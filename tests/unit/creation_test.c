/*
 * What a heap's maximum leaves no room for: each operation that needs memory of its own, tried with
 * every amount of room from none upwards. It works, or it says TSR_OUT_OF_MEMORY and leaves the
 * account as it was; in the end everything has been given back.
 */
#include <stdio.h>
#include <string.h>

#include "core/heap/heap.h"
#include "tests/unit/unit.h"

#define PAGE_BYTES   ((size_t)4096)
#define FINE_BYTES   ((size_t)64)     /* steps up to two pages: tables from the C allocator */
#define MOST_BYTES   (8 * PAGE_BYTES) /* then page by page: tables that grow in place */
#define REPETITIONS  80
#define MOST_THREADS 100

static const char *const plans[] = {"nogc", "semispace"};

static unsigned out_of_memory_calls;

static void count_out_of_memory(void *vm, tsr_mutator *m, const tsr_oom *oom) {
  (void)vm;
  (void)m;
  ck_assert_uint_le(oom->committed_bytes, oom->heap_max_bytes);
  out_of_memory_calls++;
}

/* ---- heaps of every size --------------------------------------------------------------------- */

static tsr_heap *heap_of(const tsr_binding *binding, const char *plan, size_t max_bytes,
                         tsr_error *error) {
  char text[32];
  snprintf(text, sizeof text, "%zu", max_bytes);
  tsr_options *options = tsr_options_create();
  ck_assert_ptr_nonnull(options);
  ck_assert_int_eq(tsr_options_set(options, "plan", plan, NULL), TSR_OK);
  ck_assert_int_eq(tsr_options_set(options, "heap_max", text, NULL), TSR_OK);
  tsr_heap *heap = tsr_heap_create(binding, NULL, options, error);
  tsr_options_destroy(options);
  return heap;
}

static void use_and_destroy(tsr_heap *heap, size_t max_bytes) {
  tsr_error error = {0};
  tsr_mutator *m = tsr_bind_mutator(heap, heap, &error);
  ck_assert_msg(m != NULL, "heap_max %zu: %s", max_bytes, error.message);
  uint64_t *pair = tsr_alloc(m, 24, 8, 0, TSR_DEFAULT);
  ck_assert_msg(pair != NULL, "heap_max %zu: no room for one object", max_bytes);
  pair[0] = TSR_HEADER(PAIR);
  ck_assert_uint_le(os_atomic_load(&heap->account.total.bytes), max_bytes);
  ck_assert_int_eq(tsr_unbind_mutator(m, NULL), TSR_OK);
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
}

/* What many layouts take of the first pages, so that creation itself runs out on the way. */
#define MANY_LAYOUTS 12000u

static void create_at_every_maximum(size_t layout_count) {
  tsr_layout *layouts = calloc(layout_count, sizeof *layouts);
  ck_assert_ptr_nonnull(layouts);
  for (size_t i = 0; i < layout_count; i++)
    layouts[i] = unit_layouts[i % 2];
  tsr_binding binding = unit_binding;
  binding.layouts = layouts;
  binding.layout_count = layout_count;
  size_t least = (size_t)1 << 20;
  size_t step = layout_count > 2 ? 8 * PAGE_BYTES : PAGE_BYTES;
  for (size_t plan = 0; plan < 2; plan++) {
    bool created_before = false;
    unsigned refused = 0;
    for (size_t bytes = least; bytes <= 3 * least; bytes += step) {
      tsr_error error = {0};
      tsr_heap *heap = heap_of(&binding, plans[plan], bytes + plan, &error);
      if (heap != NULL) {
        use_and_destroy(heap, bytes + plan);
        created_before = true;
        continue;
      }
      refused++;
      ck_assert_msg(error.status == TSR_OUT_OF_MEMORY || error.status == TSR_INVALID_ARGUMENT, "%s",
                    tsr_status_name(error.status));
      ck_assert(error.message[0] != 0);
      ck_assert_msg(!created_before, "%s: refused at %zu, not below: %s", plans[plan], bytes,
                    error.message);
    }
    ck_assert_msg(created_before, "%s: no heap up to %zu bytes", plans[plan], 3 * least);
    ck_assert(layout_count <= 2 || refused > 0);
  }
  free(layouts);
}

START_TEST(a_heap_of_any_maximum_is_whole_or_refused) {
  create_at_every_maximum(2);
}
END_TEST

START_TEST(a_heap_whose_layouts_do_not_fit_leaves_nothing) {
  create_at_every_maximum(MANY_LAYOUTS);
}
END_TEST

/* ---- one operation at every limit ------------------------------------------------------------ */

typedef struct fixture {
  tsr_heap *heap;
  tsr_mutator *m;
  tsr_scope scope;
  tsr_mutator *bound[MOST_THREADS];
  tsr_mutator storage[MOST_THREADS];
  char identities[MOST_THREADS];
  tsr_bump_pointer pairs[REPETITIONS];
  tsr_slot slots[REPETITIONS];
  tsr_slot *tops[REPETITIONS];
  tsr_native_stack stacks[REPETITIONS];
} fixture;

/* One of a kind, the i-th; the status is what the VM is told. */
typedef tsr_status (*operation)(fixture *f, size_t i, tsr_error *error);

static tsr_status bind_one(fixture *f, size_t i, tsr_error *error) {
  f->bound[i] = tsr_bind_mutator(f->heap, &f->identities[i], error);
  return f->bound[i] != NULL ? TSR_OK : error->status;
}

static tsr_status bind_one_in_place(fixture *f, size_t i, tsr_error *error) {
  tsr_status status = tsr_bind_mutator_in(f->heap, &f->storage[i], &f->identities[i], error);
  f->bound[i] = status == TSR_OK ? &f->storage[i] : NULL;
  return status;
}

static tsr_status register_pair(fixture *f, size_t i, tsr_error *error) {
  return tsr_register_bump_pointer(f->m, &f->pairs[i], error);
}

static tsr_status register_layout(fixture *f, size_t i, tsr_error *error) {
  static const uint64_t wide[20] = {2, 1};
  tsr_layout layout = {TSR_LAYOUT_INIT, .name = "one of many with a name of some length",
                       .kind = TSR_LAYOUT_FIXED, .fixed_bytes = 20 * 64 * 8, .wide_refs = wide};
  uint32_t index = tsr_layout_register(f->heap, &layout, error);
  if (index == 0) return error->status;
  ck_assert_uint_eq(index, 3 + i);
  return TSR_OK;
}

static tsr_status add_range(fixture *f, size_t i, tsr_error *error) {
  return tsr_root_add(f->heap, &f->slots[i], 1, TSR_ROOT_PRECISE, "range", error);
}

static tsr_status add_stack(fixture *f, size_t i, tsr_error *error) {
  f->tops[i] = &f->slots[i];
  f->stacks[i] = (tsr_native_stack){.base = &f->slots[i], .top = &f->tops[i]};
  return tsr_stack_add(f->heap, &f->stacks[i], error);
}

/* As many as fill a page, so that each repetition needs the next. */
static tsr_status make_handles(fixture *f, size_t i, tsr_error *error) {
  (void)i;
  for (size_t k = 0; k < PAGE_BYTES / sizeof(tsr_slot); k++) {
    size_t before = os_atomic_load(&f->heap->account.total.bytes);
    if (tsr_handle_new(f->heap, 0, TSR_STRONG, error) != NULL) continue;
    ck_assert_uint_eq(os_atomic_load(&f->heap->account.total.bytes), before);
    return error->status;
  }
  return TSR_OK;
}

static tsr_status make_locals(fixture *f, size_t i, tsr_error *error) {
  (void)i;
  for (size_t k = 0; k < PAGE_BYTES / sizeof(tsr_slot); k++) {
    unsigned calls = out_of_memory_calls;
    if (tsr_local(f->m, 0) != NULL) continue;
    ck_assert_uint_eq(out_of_memory_calls, calls + 1);
    *error = (tsr_error){.status = TSR_OUT_OF_MEMORY, .message = "tsr_local"};
    return TSR_OUT_OF_MEMORY;
  }
  return TSR_OK;
}

static const struct {
  const char *name;
  operation run;
  bool in_pages; /* what it made before it failed may be more than nothing */
} operations[] = {{"bind", bind_one, false},
                  {"bind in place", bind_one_in_place, false},
                  {"register pair", register_pair, false},
                  {"register layout", register_layout, false},
                  {"add range", add_range, false},
                  {"add stack", add_stack, false},
                  {"handle", make_handles, true},
                  {"local handle", make_locals, true}};

#define OPERATIONS (sizeof operations / sizeof operations[0])

static void fixture_open(fixture *f, const char *plan) {
  static tsr_binding binding;
  binding = unit_binding;
  binding.out_of_memory = count_out_of_memory;
  memset(f, 0, sizeof *f);
  tsr_error error = {0};
  f->heap = heap_of(&binding, plan, (size_t)4 << 20, &error);
  ck_assert_msg(f->heap != NULL, "%s", error.message);
  f->m = tsr_bind_mutator(f->heap, f, &error);
  ck_assert_msg(f->m != NULL, "%s", error.message);
  tsr_scope_open(f->m, &f->scope);
}

static void fixture_close(fixture *f) {
  for (size_t i = 0; i < MOST_THREADS; i++) {
    if (f->bound[i] != NULL) ck_assert_int_eq(tsr_unbind_mutator(f->bound[i], NULL), TSR_OK);
  }
  tsr_scope_close(f->m, &f->scope);
  ck_assert_int_eq(tsr_unbind_mutator(f->m, NULL), TSR_OK);
  ck_assert_uint_eq(os_atomic_load(&f->heap->account.by_type[MEMORY_MUTATORS].bytes), 0);
  ck_assert_int_eq(tsr_heap_destroy(f->heap, NULL), TSR_OK);
}

/* Repeats an operation until the room is used up. Returns how often it worked. */
static size_t repeat(fixture *f, size_t which, size_t room_bytes) {
  memory_account *account = &f->heap->account;
  for (size_t i = 0; i < REPETITIONS; i++) {
    tsr_error error = {0};
    size_t before = os_atomic_load(&account->total.bytes);
    tsr_status status = operations[which].run(f, i, &error);
    if (status == TSR_OK) continue;
    size_t after = os_atomic_load(&account->total.bytes);
    ck_assert_msg(status == TSR_OUT_OF_MEMORY && error.status == TSR_OUT_OF_MEMORY &&
                      error.message[0] != 0,
                  "%s, %zu bytes of room: %s (%s)", operations[which].name, room_bytes,
                  tsr_status_name(status), error.message);
    ck_assert_msg(operations[which].in_pages || after == before,
                  "%s, the %zu-th with %zu bytes of room: failed and kept %zu bytes",
                  operations[which].name, i + 1, room_bytes, after - before);
    return i;
  }
  return REPETITIONS;
}

/* The operation that failed works once there is room again. */
static size_t try_with_room(const char *plan, size_t which, size_t room_bytes) {
  static fixture f;
  fixture_open(&f, plan);
  memory_account *account = &f.heap->account;
  size_t limit_bytes = account->limit_bytes;
  account->limit_bytes = os_atomic_load(&account->total.bytes) + room_bytes;
  size_t worked = repeat(&f, which, room_bytes);
  ck_assert_uint_le(os_atomic_load(&account->total.bytes), account->limit_bytes);
  account->limit_bytes = limit_bytes;
  if (worked < REPETITIONS) {
    tsr_error error = {0};
    tsr_status status = operations[which].run(&f, worked, &error);
    ck_assert_msg(status == TSR_OK, "%s with all the room again: %s", operations[which].name,
                  error.message);
  }
  fixture_close(&f);
  return worked;
}

START_TEST(an_operation_works_or_leaves_the_account_as_it_was) {
  const char *plan = plans[_i / (int)OPERATIONS];
  size_t which = (size_t)_i % OPERATIONS;
  size_t worked = try_with_room(plan, which, 0);
  ck_assert_msg(worked < REPETITIONS, "%s needs no memory?", operations[which].name);
  size_t room_bytes = 0;
  while (room_bytes < MOST_BYTES) {
    room_bytes += room_bytes < 2 * PAGE_BYTES ? FINE_BYTES : PAGE_BYTES;
    size_t now = try_with_room(plan, which, room_bytes);
    ck_assert_msg(now >= worked, "%s: worked %zu times, and with more room (%zu bytes) %zu times",
                  operations[which].name, worked, room_bytes, now);
    worked = now;
  }
  ck_assert_uint_gt(worked, 0);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("creation");
  TCase *tests = tcase_create("no room");
  tcase_set_timeout(tests, 0);
  tcase_add_test(tests, a_heap_of_any_maximum_is_whole_or_refused);
  tcase_add_test(tests, a_heap_whose_layouts_do_not_fit_leaves_nothing);
  tcase_add_loop_test(tests, an_operation_works_or_leaves_the_account_as_it_was, 0,
                      (int)(2 * OPERATIONS));
  suite_add_tcase(suite, tests);
  return unit_run(suite);
}
