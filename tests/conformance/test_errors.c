/*
 * Misuse of a heap that exists: each error is reported once, by name where a mechanism is missing,
 * and leaves everything as it was. What "as it was" means is checked after each: the same objects,
 * the same number of collections, and an allocation that works.
 */
#include "placement.h"

static testvm vm;
static tsr_scope scope;
static tsr_slot *list;
static tsr_stats before;
static size_t objects;

static void start(void) {
  vm_open_alone(&vm, "16M"); /* unchanged() compares the heap's books */
  tsr_scope_open(vm.m, &scope);
  list = tsr_local(vm.m, 0);
  ck_assert(vm_list(vm.m, list, 100, 0));
  before = vm_stats(&vm);
  objects = 100;
}

static void unchanged(void) {
  tsr_stats now = vm_stats(&vm);
  ck_assert_uint_eq(now.collections, before.collections);
  ck_assert_uint_eq(now.bytes_allocated, before.bytes_allocated);
  ck_assert_uint_eq(now.used_bytes, before.used_bytes);
  ck_assert_uint_eq(now.committed_bytes, before.committed_bytes);
  ck_assert(vm_list_holds(vm.m, list->word, 100, 0));
}

static void stop(void) {
  ck_assert_uint_eq(vm_enumerate(vm.m).objects, objects);
  ck_assert_ptr_nonnull(vm_new(vm.m, RECORD, 0, 0));
  vm_collect(&vm);
  ck_assert(vm_list_holds(vm.m, list->word, 100, 0));
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}

/* The request is refused by all entries alike; returns the error. */
static tsr_error refuses(size_t size, size_t align, size_t offset, tsr_semantics semantics) {
  tsr_error reported;
  tsr_error error = {0};
  void *memory = tsr_alloc(vm.m, size, align, offset, semantics);
  ck_assert_msg(memory == NULL, "size %zu, align %zu, offset %zu, semantics %#x", size, align,
                offset, semantics);
  ck_assert_uint_eq(vm_take_errors(&vm, &reported), 1);
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 0);
  ck_assert(reported.message[0] != 0);
  memory = tsr_alloc_with(vm.m, size, align, offset, semantics, 0, &error);
  ck_assert_ptr_null(memory);
  ck_assert_msg(vm_take_errors(&vm, NULL) == 0, "with errors handed over, nothing is reported");
  ck_assert_int_eq(error.status, reported.status);
  ck_assert_str_eq(error.message, reported.message);
  unchanged();
  return error;
}

static void refused_in_every_placement(size_t size, size_t align, size_t offset) {
  for (unsigned c = 0; c < PLACE_COMBINATIONS; c++) {
    ck_assert_int_eq(refuses(size, align, offset, place_semantics(c)).status, TSR_INVALID_ARGUMENT);
  }
}

START_TEST(impossible_sizes) {
  start();
  static const size_t sizes[] = {0, 1, 7, 12, 20, 4097, TSR_MAX_INLINE_BYTES + 4, SIZE_MAX};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    refused_in_every_placement(sizes[i], 8, 0);
    ck_assert_ptr_null(tsr_alloc_default(vm.m, sizes[i]));
    ck_assert_uint_eq(vm_take_errors(&vm, NULL), 1);
    ck_assert_ptr_null(tsr_alloc_by_offset(
        vm.m, tsr_allocator_mapping(vm.heap, TSR_DEFAULT).pair_offset, sizes[i], 32, 0));
    ck_assert_uint_eq(vm_take_errors(&vm, NULL), 1);
  }
  tsr_bump_pointer zero;
  ck_assert_int_eq(tsr_register_bump_pointer(vm.m, &zero, NULL), TSR_OK);
  ck_assert_msg(tsr_alloc_cached(vm.m, &zero, 0) == NULL, "size 0 misses on a zero pair");
  ck_assert_uint_eq(vm_take_errors(&vm, NULL), 1);
  ck_assert_int_eq(tsr_unregister_bump_pointer(vm.m, &zero, NULL), TSR_OK);
  stop();
}
END_TEST

START_TEST(impossible_alignments) {
  start();
  static const size_t aligns[] = {3, 12, 24, 48, 4095, 8192, (size_t)1 << 40, SIZE_MAX};
  for (size_t i = 0; i < sizeof aligns / sizeof aligns[0]; i++) {
    refused_in_every_placement(64, aligns[i], 0);
  }
  static const size_t offsets[] = {1, 4, 7, 12, 4095};
  for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
    refused_in_every_placement(64, 16, offsets[i]);
  }
  stop();
}
END_TEST

START_TEST(unknown_semantics) {
  start();
  for (tsr_semantics placement = TSR_PLACEMENTS; placement <= TSR_PLACEMENT_MASK; placement++) {
    ck_assert_int_eq(refuses(64, 8, 0, placement).status, TSR_INVALID_ARGUMENT);
    ck_assert_int_eq(tsr_allocator_mapping(vm.heap, placement).kind, TSR_ALLOCATOR_NONE);
  }
  for (unsigned bit = 7; bit < 32; bit++) {
    tsr_semantics unknown = (tsr_semantics)1 << bit;
    ck_assert_int_eq(refuses(64, 8, 0, unknown).status, TSR_INVALID_ARGUMENT);
    ck_assert_int_eq(refuses(64, 8, 0, unknown | TSR_NON_MOVING | TSR_LEAF).status,
                     TSR_INVALID_ARGUMENT);
    ck_assert_int_eq(tsr_allocator_mapping(vm.heap, unknown).kind, TSR_ALLOCATOR_NONE);
  }
  stop();
}
END_TEST

START_TEST(every_placement_and_flag_is_accepted) {
  start();
  for (unsigned c = 0; c < PLACE_COMBINATIONS; c++) {
    tsr_semantics semantics = place_semantics(c);
    tsr_error error = {0};
    static const uint32_t requests[] = {0, TSR_ALLOC_NO_COLLECT, TSR_ALLOC_NO_OOM_CALLBACK,
                                        TSR_ALLOC_OVERCOMMIT};
    for (unsigned r = 0; r < 4; r++) {
      void *memory = tsr_alloc_with(vm.m, 64, 8, 0, semantics, requests[r], &error);
      ck_assert_msg(memory != NULL, "%s: %s", place_name(semantics), error.message);
      vm_init_filler(memory, 64);
      ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)memory, 64, semantics), TSR_OK);
      objects++;
    }
    ck_assert_int_ne(tsr_allocator_mapping(vm.heap, semantics).kind, TSR_ALLOCATOR_NONE);
  }
  stop();
}
END_TEST

/* Each by name, and nothing changes. */
static void refused_by_name(tsr_status status, tsr_status wanted, tsr_error *error,
                            const char *name) {
  ck_assert_int_eq(status, wanted);
  ck_assert_int_eq(error->status, wanted);
  ck_assert_msg(vm_says(error->message, name), "%s: %s", name, error->message);
  *error = (tsr_error){0};
  unchanged();
}

/* What the binding would have to declare first. */
START_TEST(mechanisms_that_the_binding_has_not_declared) {
  start();
  tsr_error error = {0};
  tsr_slot ambiguous[2] = {{0}};
  tsr_status status = tsr_root_add(vm.heap, ambiguous, 2, TSR_ROOT_AMBIGUOUS, NULL, &error);
  refused_by_name(status, TSR_MISMATCH, &error, "TSR_NEEDS_AMBIGUOUS_ROOTS");
  ck_assert_ptr_null(tsr_object_of(vm.m, vm_ref(list->word), &error));
  refused_by_name(error.status, TSR_MISMATCH, &error, "TSR_NEEDS_INTERIOR_POINTERS");
  stop();
}
END_TEST

START_TEST(pins_of_nothing_and_of_too_little) {
  start();
  tsr_error error = {0};
  tsr_ref object = vm_ref(list->word);
  refused_by_name(tsr_unpin(vm.m, object, &error), TSR_INVALID_ARGUMENT, &error, "pin");
  refused_by_name(tsr_unpin(vm.m, NULL, &error), TSR_INVALID_ARGUMENT, &error, "pin");
  refused_by_name(tsr_pin(vm.m, NULL, &error), TSR_INVALID_ARGUMENT, &error, "tsr_pin");
  refused_by_name(tsr_pin_once(vm.m, NULL, &error), TSR_INVALID_ARGUMENT, &error, "tsr_pin_once");
  tsr_ref inside = (tsr_ref)(list->word + 4);
  refused_by_name(tsr_pin(vm.m, inside, &error), TSR_INVALID_ARGUMENT, &error, "tsr_pin");
  stop();
}
END_TEST

/* ---- tsr_alloc_slow ------------------------------------------------------------------------ */

/* A pair of the mutator serves its own placement, a pair of the VM the default one; nothing else. */
START_TEST(a_pair_serves_one_placement) {
  static const tsr_semantics bumped[] = {TSR_DEFAULT, TSR_NON_MOVING, TSR_IMMORTAL};
  start();
  tsr_bump_pointer cached = {0, 0};
  for (unsigned i = 0; i < 3; i++) {
    for (unsigned k = 0; k < 3; k++) {
      if (bumped[k] == TSR_DEFAULT || k == i) continue; /* default: whatever the pair serves */
      tsr_bump_pointer *pair = &vm.m->bump[bumped[i]];
      tsr_bump_pointer as_it_was = *pair;
      tsr_error error;
      ck_assert_ptr_null(tsr_alloc_slow(vm.m, pair, 64, 8, 0, bumped[k]));
      ck_assert_uint_eq(vm_take_errors(&vm, &error), 1);
      ck_assert_int_eq(error.status, TSR_INVALID_ARGUMENT);
      ck_assert(error.message[0] != 0);
      ck_assert_ptr_null(tsr_alloc_slow(vm.m, &cached, 64, 8, 0, bumped[k]));
      ck_assert_uint_eq(vm_take_errors(&vm, NULL), 1);
      ck_assert_msg(memcmp(pair, &as_it_was, sizeof as_it_was) == 0, "the pair was changed");
      ck_assert(cached.cursor == 0 && cached.limit == 0);
      unchanged();
    }
  }
  for (unsigned i = 0; i < 3; i++) {
    void *memory = tsr_alloc_slow(vm.m, &vm.m->bump[bumped[i]], 64, 8, 0, TSR_DEFAULT);
    ck_assert_ptr_nonnull(memory);
    vm_init_filler(memory, 64);
    ck_assert_uint_eq(vm.m->bump[bumped[i]].cursor, (uintptr_t)memory + 64);
    objects++;
  }
  stop();
}
END_TEST

/* ---- tsr_post_alloc ------------------------------------------------------------------------ */

static void post_refused(tsr_ref object, size_t size, tsr_semantics semantics) {
  tsr_error error;
  tsr_status status = tsr_post_alloc(vm.m, object, size, semantics);
  ck_assert_msg(status != TSR_OK, "object %p, size %zu", (void *)object, size);
  ck_assert_uint_eq(vm_take_errors(&vm, &error), 1);
  ck_assert_int_eq(error.status, status);
  ck_assert(error.message[0] != 0);
}

START_TEST(post_alloc_checks_the_object) {
  start();
  uint64_t local[4] = {vm_header(PAIR, 0), 0, 0, 0};
  uint64_t *native = calloc(4, 8);
  native[0] = vm_header(PAIR, 0);
  post_refused(NULL, 24, TSR_DEFAULT);
  post_refused((tsr_ref)(void *)local, 24, TSR_DEFAULT);
  post_refused((tsr_ref)(void *)native, 24, TSR_DEFAULT);
  post_refused(vm_ref(8), 24, TSR_DEFAULT);
  post_refused(vm_ref(~(uint64_t)7), 24, TSR_DEFAULT);
  free(native);

  uint64_t *words = tsr_alloc(vm.m, 24, 8, 0, TSR_DEFAULT);
  tsr_ref object = (tsr_ref)(void *)words;
  words[0] = vm_header(500, 0);
  post_refused(object, 24, TSR_DEFAULT); /* an unknown layout */
  words[0] = vm_header(0xffff, 0);
  post_refused(object, 24, TSR_DEFAULT);
  words[0] = vm_header(0, 7);
  post_refused(object, 24, TSR_DEFAULT); /* layout 0 is reserved */
  words[0] = vm_header(RECORD, 0);
  post_refused(object, 24, TSR_DEFAULT); /* another size than the layout's */
  words[0] = vm_header(PAIR, 0);
  post_refused(object, 32, TSR_DEFAULT);
  post_refused((tsr_ref)(void *)((char *)words + 4), 24, TSR_DEFAULT);
  ck_assert_int_eq(tsr_post_alloc(vm.m, object, 24, TSR_DEFAULT), TSR_OK);
  objects++;

  words = tsr_alloc(vm.m, 64, 8, 0, TSR_DEFAULT);
  vm_init_object(words, VECTOR, 0, 7); /* 72 bytes, were it so */
  post_refused((tsr_ref)(void *)words, 64, TSR_DEFAULT);
  words[1] = 6;
  ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)(void *)words, 64, TSR_DEFAULT), TSR_OK);
  objects++;
  stop();
}
END_TEST

START_TEST(foreign_pointers) {
  start();
  testvm other;
  vm_open(&other, "16M");
  tsr_ref stranger = vm_new(other.m, PAIR, 0, 0);
  post_refused(stranger, 24, TSR_DEFAULT);
  uint64_t local[4] = {vm_header(PAIR, 0), 0, 0, 0};
  const uint64_t foreign[] = {
      0, 8, vm_word(local), vm_word(stranger), ~(uint64_t)7, (uint64_t)1 << 47, vm_word(&vm)};
  for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++) {
    tsr_error error = {0};
    ck_assert_uint_eq(tsr_object_size(vm.heap, vm_ref(foreign[i]), &error), 0);
    ck_assert(error.status != TSR_OK && error.message[0] != 0);
    ck_assert(!tsr_heap_contains(vm.heap, vm_ref(foreign[i])));
  }
  ck_assert(tsr_heap_contains(vm.heap, vm_ref(list->word)));
  ck_assert(tsr_heap_contains(vm.heap, (char *)vm_ref(list->word) + 5));
  ck_assert(tsr_heap_contains(other.heap, stranger));
  unchanged();
  vm_stop(&other);
  stop();
}
END_TEST

/* ---- statistics, status names -------------------------------------------------------------- */

START_TEST(structures_of_an_impossible_size) {
  start();
  tsr_stats stats = {.size = 0};
  tsr_error error = {0};
  ck_assert_int_eq(tsr_heap_stats(vm.heap, &stats, &error), TSR_MISMATCH);
  ck_assert_int_eq(error.status, TSR_MISMATCH);
  stats.size = 100 * sizeof stats;
  ck_assert_int_eq(tsr_heap_stats(vm.heap, &stats, NULL), TSR_MISMATCH);
  unsigned char bytes[sizeof stats];
  memset(bytes, 0xab, sizeof bytes);
  tsr_stats *older = (tsr_stats *)(void *)&stats; /* a caller compiled with fewer fields */
  memcpy(older, bytes, sizeof bytes);
  older->size = offsetof(tsr_stats, pause_ns);
  ck_assert_int_eq(tsr_heap_stats(vm.heap, older, NULL), TSR_OK);
  ck_assert_str_eq(older->plan, vm_plan);
  ck_assert_msg(memcmp((char *)older + offsetof(tsr_stats, pause_ns), bytes,
                       sizeof stats - offsetof(tsr_stats, pause_ns)) == 0,
                "fields beyond the caller's size were written");
  stop();
}
END_TEST

START_TEST(statuses_have_names) {
  ck_assert_str_eq(tsr_status_name(TSR_OK), "TSR_OK");
  ck_assert_str_eq(tsr_status_name(TSR_INVALID_ARGUMENT), "TSR_INVALID_ARGUMENT");
  ck_assert_str_eq(tsr_status_name(TSR_OUT_OF_MEMORY), "TSR_OUT_OF_MEMORY");
  ck_assert_str_eq(tsr_status_name(TSR_UNSUPPORTED), "TSR_UNSUPPORTED");
  ck_assert_str_eq(tsr_status_name(TSR_BUSY), "TSR_BUSY");
  ck_assert_str_eq(tsr_status_name(TSR_MISMATCH), "TSR_MISMATCH");
  ck_assert_str_eq(tsr_status_name(TSR_CORRUPT), "TSR_CORRUPT");
  ck_assert_ptr_nonnull(tsr_status_name((tsr_status)99));
  char version[32];
  snprintf(version, sizeof version, "%d.%d.%d", TSR_VERSION_MAJOR, TSR_VERSION_MINOR,
           TSR_VERSION_PATCH);
  ck_assert_str_eq(tsr_version(), version);
}
END_TEST

/* Without report_error a misuse prints one line to stderr. */
START_TEST(the_default_report_is_one_line) {
  vm_init_calm(&vm);
  vm.binding.report_error = NULL;
  vm_start(&vm);
  vm_capture_begin();
  void *memory = tsr_alloc(vm.m, 12, 8, 0, TSR_DEFAULT);
  char *text = vm_capture_end();
  ck_assert_ptr_null(memory);
  ck_assert(text[0] != 0);
  char *end = strchr(text, '\n');
  ck_assert_msg(end != NULL && end[1] == 0, "not one line: %s", text);
  free(text);
  vm_stop(&vm);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, impossible_sizes);
  tcase_add_test(tests, impossible_alignments);
  tcase_add_test(tests, unknown_semantics);
  tcase_add_test(tests, every_placement_and_flag_is_accepted);
  tcase_add_test(tests, mechanisms_that_the_binding_has_not_declared);
  tcase_add_test(tests, pins_of_nothing_and_of_too_little);
  tcase_add_test(tests, a_pair_serves_one_placement);
  tcase_add_test(tests, post_alloc_checks_the_object);
  tcase_add_test(tests, foreign_pointers);
  tcase_add_test(tests, structures_of_an_impossible_size);
  tcase_add_test(tests, statuses_have_names);
  tcase_add_test(tests, the_default_report_is_one_line);
}

int main(void) {
  return vm_main("errors", add);
}
