/*
 * tsr_heap_report: every byte of every mapping of a heap has a name, and what is committed agrees with the
 * heap's books and with what the system says.
 */
#include "system_memory.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

static memory_ranges before, after, reported, rest;

/* A heap with something in every placement, some of it garbage, and with handles. */
static void populate(testvm *vm) {
  static const tsr_semantics placements[] = {TSR_DEFAULT,   TSR_NON_MOVING,
                                             TSR_IMMORTAL,  TSR_LARGE,
                                             TSR_READ_ONLY, TSR_READ_ONLY | TSR_IMMORTAL};
  for (size_t i = 0; i < sizeof placements / sizeof placements[0]; i++) {
    for (unsigned n = 0; n < 20; n++) {
      tsr_ref object = vm_new_with(vm->m, BYTES, n, 3000, placements[i]);
      ck_assert_ptr_nonnull(object);
      if (n % 2 == 0)
        ck_assert_ptr_nonnull(tsr_handle_new(vm->heap, vm_word(object), TSR_STRONG, NULL));
    }
  }
}

/* With one worker: the stacks of others are mappings too, and none of the heap's. */
static void open_heap(testvm *vm) {
  vm_init_calm(vm);
  vm_alone(vm);
  vm_pin(vm, "heap_max", "64M");
  vm_pin(vm, "threads", "1");
  vm_start(vm);
}

/* ---- the system's view ------------------------------------------------------------------------------ */

/* All that is mapped now and was not before, but for what malloc has. */
static void check_new_mappings(testvm *vm) {
  ck_assert(system_ranges(&after));
  ranges_without(&after, &before, &rest);
  ranges_join(&rest);
  reported_ranges(vm, &reported);
  ranges_join(&reported);
  ck_assert_uint_gt(rest.count, 0);
  for (size_t i = 0; i < rest.count && i < reported.count; i++) {
    ck_assert_msg(rest.at[i].start == reported.at[i].start && rest.at[i].end == reported.at[i].end,
                  "mapped [%#zx, %#zx), reported [%#zx, %#zx)", (size_t)rest.at[i].start,
                  (size_t)rest.at[i].end, (size_t)reported.at[i].start, (size_t)reported.at[i].end);
  }
  ck_assert_uint_eq(rest.count, reported.count);
}

START_TEST(no_mapping_of_the_library_is_missing) {
#if defined(__GLIBC__)
  if (VM_SANITIZED) return; /* they map memory of their own */
  mallopt(M_MMAP_MAX, 0);   /* malloc's memory is the one that has a name, [heap] */
#else
  return;
#endif
  free(malloc(4 * MIB));
  if (!system_ranges(&before)) return;
  testvm vm;
  open_heap(&vm);
  check_new_mappings(&vm);
  populate(&vm);
  check_new_mappings(&vm);
  vm_collect(&vm);
  vm_collect(&vm);
  check_new_mappings(&vm);
  vm_stop(&vm);
  ck_assert(system_ranges(&after));
  ranges_without(&after, &before, &rest);
  ck_assert_uint_eq(rest.count, 0);
}
END_TEST

static void check_smaps(testvm *vm) {
  reported_ranges(vm, &reported);
  uint64_t bytes = 0, committed = 0;
  for (size_t i = 0; i < reported.count; i++) {
    bytes += reported.at[i].end - reported.at[i].start;
    committed += reported.at[i].resident_bytes;
  }
  ranges_join(&reported);
  if (!system_ranges(&after)) return;
  system_sum sum = system_sum_of(&after, &reported);
  ck_assert_uint_eq(sum.bytes, bytes);
  if (!sum.huge) ck_assert_uint_le(sum.resident_bytes, committed);
}

START_TEST(the_sum_is_that_of_the_systems_view) {
  testvm vm;
  open_heap(&vm);
  check_smaps(&vm);
  populate(&vm);
  check_smaps(&vm);
  vm_garbage(vm.m, 16 * MIB);
  check_smaps(&vm);
  for (unsigned i = 0; i < 4; i++) {
    vm_collect(&vm);
    check_smaps(&vm);
  }
  vm_stop(&vm);
}
END_TEST

/* ---- the heap's books ---------------------------------------------------------------------------------- */

typedef struct reported_shares {
  tsr_memory_share shares[64];
  uint64_t bytes[64]; /* committed by the report */
  size_t count;
  uint64_t unnamed; /* of no share */
  uint64_t block_bytes, used_bytes;
} reported_shares;

static void share_add(void *context, const tsr_stretch *stretch) {
  reported_shares *books = context;
  ck_assert(stretch->name != NULL && stretch->name[0] != 0);
  ck_assert_uint_le(stretch->used_bytes, stretch->committed_bytes);
  if (stretch->address == NULL) {
    ck_assert_uint_eq(stretch->reserved_bytes, 0);
    ck_assert_uint_gt(stretch->committed_bytes, 0);
  } else {
    ck_assert_uint_gt(stretch->reserved_bytes, 0);
    ck_assert_uint_eq(((uintptr_t)stretch->address | stretch->reserved_bytes) % (4 * KIB), 0);
    ck_assert_uint_le(stretch->committed_bytes, stretch->reserved_bytes);
  }
  if (stretch->purpose == NULL) {
    books->unnamed += stretch->committed_bytes;
    return;
  }
  if (strcmp(stretch->purpose, "heap blocks") == 0) {
    books->block_bytes += stretch->committed_bytes;
    books->used_bytes += stretch->used_bytes;
  }
  size_t i = 0;
  while (i < books->count && strcmp(books->shares[i].name, stretch->purpose) != 0)
    i++;
  ck_assert_msg(i < books->count, "%s is no share", stretch->purpose);
  books->bytes[i] += stretch->committed_bytes;
}

static void check_report_books(testvm *vm) {
  static reported_shares books;
  vm_census census = vm_enumerate(vm->m); /* sweeps */
  memset(&books, 0, sizeof books);
  books.count = tsr_heap_memory(vm->heap, books.shares, 64);
  ck_assert_int_eq(tsr_heap_report(vm->m, share_add, &books, NULL), TSR_OK);
  for (size_t i = 0; i < books.count; i++) {
    const tsr_memory_share *share = &books.shares[i];
    uint64_t expected = strcmp(share->name, "reserve") == 0 ? 0 : share->bytes;
    ck_assert_msg(books.bytes[i] == expected, "%s: %llu bytes, reported %llu", share->name,
                  (unsigned long long)expected, (unsigned long long)books.bytes[i]);
  }
  ck_assert_int_eq(books.unnamed > 0, vm_verifies);
  ck_assert_uint_le(census.bytes, books.used_bytes);
  ck_assert_uint_le(books.used_bytes, vm_stats(vm).used_bytes);
  ck_assert_uint_le(vm_stats(vm).used_bytes, books.block_bytes);
}

START_TEST(what_is_committed_agrees_with_the_books) {
  testvm vm;
  open_heap(&vm);
  check_report_books(&vm);
  populate(&vm);
  check_report_books(&vm);
  ck_assert_int_eq(tsr_emergency_reserve_hold(vm.heap, MIB, NULL), TSR_OK);
  check_report_books(&vm);
  vm_garbage(vm.m, 16 * MIB);
  check_report_books(&vm);
  for (unsigned i = 0; i < 4; i++) {
    vm_collect(&vm);
    check_report_books(&vm);
  }
  vm_stop(&vm);
}
END_TEST

/* ---- names ------------------------------------------------------------------------------------------------ */

typedef struct search {
  const char *name;
  uint64_t bytes;
} search;

static void search_add(void *context, const tsr_stretch *stretch) {
  search *s = context;
  if (strcmp(stretch->name, s->name) == 0) s->bytes += stretch->used_bytes;
}

static uint64_t used_by(testvm *vm, const char *name) {
  search s = {.name = name};
  ck_assert_int_eq(tsr_heap_report(vm->m, search_add, &s, NULL), TSR_OK);
  return s.bytes;
}

/* Of what was promoted. */
static uint64_t old_used(testvm *vm) {
  return used_by(vm, "promoted arena") + used_by(vm, "leaf arena");
}

START_TEST(each_space_and_table_has_its_name) {
  static const char *const names[] = {
      "non-moving arena", "immortal arena",   "sealable arena",    "sealable immortal arena",
      "large objects",    "start bits",       "mark bits",         "mark queues",
      "handles",          "block spaces",     "block descriptors", "layouts",
      "segments",         "collector's stack"};
  testvm vm;
  open_heap(&vm);
  for (size_t i = 0; i < 5; i++)
    ck_assert_uint_eq(used_by(&vm, names[i]), 0);
  populate(&vm);
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    ck_assert_msg(used_by(&vm, names[i]) > 0, "%s", names[i]);
  uint64_t movable = used_by(&vm, "copy space") + used_by(&vm, "movable arena");
  ck_assert_uint_ge(movable + old_used(&vm), 20 * 3000);
  if (vm_collects) {
    vm_collect(&vm);
    uint64_t used = used_by(&vm, "non-moving arena");
    ck_assert_uint_ge(used, 10 * 3000);
    ck_assert_uint_lt(used, 20 * 3000); /* nothing is promoted to it */
    if (vm_is_generational()) ck_assert_uint_ge(old_used(&vm), 10 * 3000);
  }
  vm_stop(&vm);
}
END_TEST

START_TEST(the_table_has_a_line_for_each_name) {
  testvm vm;
  open_heap(&vm);
  populate(&vm);
  FILE *file = tmpfile();
  ck_assert_ptr_nonnull(file);
  ck_assert_int_eq(tsr_heap_report_write(vm.m, file, NULL), TSR_OK);
  rewind(file);
  char line[256], name[64];
  unsigned lines = 0, large = 0;
  while (fgets(line, sizeof line, file) != NULL) {
    lines++;
    large += strncmp(line, "large objects ", 14) == 0;
    ck_assert_int_eq(sscanf(line, "%63s", name), 1);
  }
  fclose(file);
  ck_assert_str_eq(name, "all");
  ck_assert_uint_eq(large, 1);
  ck_assert_uint_gt(lines, 15);
  vm_stop(&vm);
}
END_TEST

START_TEST(a_report_that_cannot_be_made_says_why) {
  testvm vm;
  open_heap(&vm);
  tsr_error error = {0};
  ck_assert_int_eq(tsr_heap_report(vm.m, NULL, NULL, &error), TSR_INVALID_ARGUMENT);
  ck_assert(vm_says(error.message, "callback"));
  tsr_enter_native(vm.m);
  ck_assert_int_eq(tsr_heap_report(vm.m, search_add, &(search){.name = ""}, &error), TSR_BUSY);
  ck_assert(vm_says(error.message, "tsr_heap_report"));
  ck_assert_int_eq(tsr_heap_report_write(vm.m, stderr, &error), TSR_BUSY);
  tsr_leave_native(vm.m);
  vm_stop(&vm);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, no_mapping_of_the_library_is_missing);
  tcase_add_test(tests, the_sum_is_that_of_the_systems_view);
  tcase_add_test(tests, what_is_committed_agrees_with_the_books);
  tcase_add_test(tests, each_space_and_table_has_its_name);
  tcase_add_test(tests, the_table_has_a_line_for_each_name);
  tcase_add_test(tests, a_report_that_cannot_be_made_says_why);
}

int main(void) {
  return vm_main("heap_report", add);
}
