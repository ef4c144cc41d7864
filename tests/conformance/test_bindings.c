/*
 * Bindings that a heap refuses, and capabilities: what a plan needs of a VM, by name, and the
 * default plan that a poorer VM gets.
 */
#include "testvm.h"

static testvm vm;

static void refused_as(tsr_status status, const char *word) {
  tsr_error error = vm_refused(&vm);
  ck_assert_msg(error.status == status, "%s: %s, not %s", error.message,
                tsr_status_name(error.status), tsr_status_name(status));
  ck_assert_msg(word == NULL || vm_says(error.message, word), "no \"%s\" in: %s", word,
                error.message);
}

START_TEST(another_abi_or_size) {
  vm_init_calm(&vm);
  vm.binding.abi = TSR_ABI + 1;
  refused_as(TSR_MISMATCH, "TSR_BINDING_HEADER");
  vm_init_calm(&vm);
  vm.binding.abi = 0;
  refused_as(TSR_MISMATCH, "TSR_BINDING_HEADER");
  static const size_t sizes[] = {0, 8, sizeof(tsr_binding) - 8, sizeof(tsr_binding) + 8, SIZE_MAX};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    vm_init_calm(&vm);
    vm.binding.size = sizes[i];
    refused_as(TSR_MISMATCH, "bytes");
  }
  vm_init_calm(&vm);
  vm.binding.gc_byte_offset = (TSR_GC_BYTE_OFFSET + 1) % 8;
  refused_as(TSR_MISMATCH, "GC byte");
}
END_TEST

START_TEST(impossible_object_alignments) {
  static const uint32_t aligns[] = {0, 1, 4, 12, 24, 32, 4096};
  for (size_t i = 0; i < sizeof aligns / sizeof aligns[0]; i++) {
    vm_init_calm(&vm);
    vm.binding.object_align = aligns[i];
    tsr_error error = vm_refused(&vm);
    ck_assert(vm_says(error.message, "align"));
  }
}
END_TEST

START_TEST(impossible_layout_sources) {
  vm_init_calm(&vm);
  vm.binding.layout_source = (tsr_layout_source){.shift = 8u * TSR_GC_BYTE_OFFSET, .mask = 0xff};
  refused_as(TSR_INVALID_ARGUMENT, "GC byte");
  vm_init_calm(&vm); /* one bit of it is enough */
  uint32_t below = TSR_GC_BYTE_OFFSET == 0 ? 0u : 8u * TSR_GC_BYTE_OFFSET - 7u;
  vm.binding.layout_source = (tsr_layout_source){.shift = below, .mask = 0xff};
  refused_as(TSR_INVALID_ARGUMENT, "GC byte");
  vm_init_calm(&vm);
  vm.binding.layout_source = (tsr_layout_source){.shift = 64, .mask = 0xff};
  refused_as(TSR_INVALID_ARGUMENT, NULL);
  vm_init_calm(&vm);
  vm.binding.layout_source.kind = (tsr_layout_source_kind)9;
  refused_as(TSR_INVALID_ARGUMENT, NULL);
  vm_init_calm(&vm);
  vm.binding.layout_source.kind = TSR_LAYOUT_BY_CALLBACK;
  vm.binding.layout_of = NULL;
  refused_as(TSR_INVALID_ARGUMENT, "layout_of");
}
END_TEST

START_TEST(no_binding_at_all) {
  tsr_error error = {0};
  ck_assert_ptr_null(tsr_heap_create(NULL, NULL, NULL, &error));
  ck_assert_int_eq(error.status, TSR_INVALID_ARGUMENT);
  ck_assert_ptr_null(tsr_heap_create(NULL, NULL, NULL, NULL));
}
END_TEST

/* "Every member may be zero: each has a working default." */
START_TEST(the_bare_header_is_a_binding) {
  static const tsr_layout layouts[] = {{TSR_LAYOUT_INIT, .name = "pair", .kind = TSR_LAYOUT_FIXED,
                                        .fixed_bytes = 24, .fixed_refs = 6}};
  tsr_binding bare = {TSR_BINDING_HEADER, .name = NULL};
  tsr_error error = {0};
  tsr_heap *heap = tsr_heap_create(&bare, NULL, NULL, &error);
  ck_assert_msg(heap != NULL, "%s", error.message);
  ck_assert_str_eq(tsr_heap_plan(heap), "nogc");
  ck_assert_ptr_null(tsr_heap_vm(heap));
  ck_assert_uint_eq(tsr_layout_register(heap, layouts, &error), 1);
  int identity;
  tsr_mutator *m = tsr_bind_mutator(heap, &identity, NULL);
  ck_assert_ptr_nonnull(m);
  for (unsigned i = 0; i < 1000; i++) {
    uint64_t *words = tsr_alloc(m, 24, 8, 0, TSR_DEFAULT);
    ck_assert_ptr_nonnull(words);
    words[0] = TSR_HEADER(1);
    ck_assert_int_eq(tsr_post_alloc(m, (tsr_ref)(void *)words, 24, TSR_DEFAULT), TSR_OK);
  }
  vm_census census = vm_enumerate(m);
  ck_assert_uint_eq(census.objects, 1000);
  ck_assert_int_eq(tsr_unbind_mutator(m, NULL), TSR_OK);
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
}
END_TEST

/* ---- capabilities -------------------------------------------------------------------------- */

static bool plan_moves(void) {
  vm_init(&vm);
  vm_alone(&vm);
  vm_start_heap(&vm);
  bool moves = vm_moves(&vm);
  vm_stop(&vm);
  return moves;
}

START_TEST(an_explicit_plan_names_what_is_lacking) {
  bool moves = plan_moves();
  static const struct {
    uint32_t lacks, needs;
    const char *name;
  } cases[] = {{TSR_DOES_UPDATABLE_SLOTS, 0, "updatable slots"},
               {TSR_DOES_SAFEPOINTS, 0, "safepoints"},
               {0, TSR_NEEDS_NON_MOVING, "non-moving"}};
  for (size_t i = 0; i < 3; i++) {
    vm_init_calm(&vm);
    vm.binding.does &= ~cases[i].lacks;
    vm.binding.needs = cases[i].needs;
    bool form = vm_is_incremental() && cases[i].lacks != TSR_DOES_SAFEPOINTS;
    if (form) { /* the one without a nursery moves nothing */
      vm_start_heap(&vm);
      ck_assert_str_eq(tsr_heap_plan(vm.heap), vm_plan);
      ck_assert(!vm_moves(&vm));
      vm_stop(&vm);
    } else if (moves || vm_is_incremental()) {
      refused_as(TSR_MISMATCH, cases[i].name);
    } else if (!vm_collects) {
      vm_start(&vm); /* what never collects needs nothing of the VM */
      vm_stop(&vm);
    } else {
      vm_drop(&vm);
    }
  }
}
END_TEST

/* A heap without a plan pinned; returns the plan it got, or NULL. */
static const char *default_plan(uint32_t lacks, uint32_t needs) {
  vm_init_calm(&vm);
  tsr_options_destroy(vm.options);
  vm.options = tsr_options_create();
  vm_pin(&vm, "heap_max", "16M");
  vm.binding.does &= ~lacks;
  vm.binding.needs = needs;
  tsr_error error = {0};
  tsr_heap *heap = tsr_heap_create(&vm.binding, &vm, vm.options, &error);
  const char *plan = heap != NULL ? tsr_heap_plan(heap) : NULL;
  ck_assert(plan != NULL || error.message[0] != 0);
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
  vm_drop(&vm);
  return plan;
}

START_TEST(the_default_plan_fits_the_binding) {
  ck_assert_str_eq(default_plan(0, 0), "quadcolor");
  ck_assert_str_eq(default_plan(TSR_DOES_WRITE_BARRIER, 0), "semispace");
  ck_assert_str_eq(default_plan(0, TSR_NEEDS_INTERIOR_POINTERS), "quadcolor");
  ck_assert_str_eq(default_plan(TSR_DOES_WRITE_BARRIER, TSR_NEEDS_INTERIOR_POINTERS),
                   "markcompact");
  ck_assert_str_eq(default_plan(TSR_DOES_UPDATABLE_SLOTS, 0), "quadcolor");
  ck_assert_str_eq(default_plan(TSR_DOES_SAFEPOINTS, 0), "nogc");
  ck_assert_str_eq(default_plan(0, TSR_NEEDS_NON_MOVING), "quadcolor");
  ck_assert_str_eq(default_plan(TSR_DOES_WRITE_BARRIER, TSR_NEEDS_NON_MOVING), "nogc");
  ck_assert_str_eq(default_plan(~0u, 0), "nogc");
}
END_TEST

/* Of the plan that has a form without a nursery; others have no use for the option. */
START_TEST(without_a_nursery_no_object_moves) {
  vm_init(&vm);
  vm_alone(&vm);
  vm_pin(&vm, "nursery", "0");
  vm_start(&vm);
  ck_assert_str_eq(tsr_heap_plan(vm.heap), vm_plan);
  if (vm_is_incremental()) ck_assert(!vm_moves(&vm));
  vm_stop(&vm);
}
END_TEST

static bool plan_is_in(const char *const *plans) {
  while (*plans != NULL && !vm_is(*plans))
    plans++;
  return *plans != NULL;
}

/* A plan that is in neither list may do either, but refuses by name too. */
START_TEST(needs_are_served_or_refused_by_name) {
  static const struct {
    uint32_t needs;
    const char *name;
    const char *serve[5], *refuse[5];
  } cases[] = {{TSR_NEEDS_AMBIGUOUS_ROOTS,
                "TSR_NEEDS_AMBIGUOUS_ROOTS",
                {"nogc", "semispace", "markcompact", "quadcolor"},
                {NULL}},
               {TSR_NEEDS_INTERIOR_POINTERS,
                "TSR_NEEDS_INTERIOR_POINTERS",
                {"markcompact", "quadcolor"},
                {"nogc", "semispace"}},
               {TSR_NEEDS_NON_MOVING,
                "TSR_NEEDS_NON_MOVING",
                {"nogc", "quadcolor"},
                {"semispace", "markcompact"}}};
  for (size_t i = 0; i < 3; i++) {
    vm_init_calm(&vm);
    vm.binding.needs = cases[i].needs;
    tsr_error error = {0};
    tsr_heap *heap = tsr_heap_create(&vm.binding, &vm, vm.options, &error);
    ck_assert_msg(heap != NULL || !plan_is_in(cases[i].serve), "%s", error.message);
    ck_assert_msg(heap == NULL || !plan_is_in(cases[i].refuse), "%s is served", cases[i].name);
    ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
    if (heap != NULL) {
      vm_drop(&vm);
    } else {
      refused_as(TSR_MISMATCH, cases[i].name);
    }
  }
}
END_TEST

START_TEST(unknown_plans_list_the_known_ones) {
  vm_init_calm(&vm);
  vm_drop(&vm);
  tsr_options *options = tsr_options_create();
  tsr_error error = {0};
  if (tsr_options_set(options, "plan", "mystery", &error) == TSR_OK) {
    ck_assert_ptr_null(tsr_heap_create(&vm.binding, &vm, options, &error));
  }
  ck_assert(error.status == TSR_INVALID_ARGUMENT);
  for (const char *const *plan = tsr_plan_names(); *plan != NULL; plan++) {
    ck_assert_msg(strstr(error.message, *plan) != NULL, "%s", error.message);
  }
  tsr_options_destroy(options);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, another_abi_or_size);
  tcase_add_test(tests, impossible_object_alignments);
  tcase_add_test(tests, impossible_layout_sources);
  tcase_add_test(tests, no_binding_at_all);
  tcase_add_test(tests, the_bare_header_is_a_binding);
  tcase_add_test(tests, an_explicit_plan_names_what_is_lacking);
  tcase_add_test(tests, the_default_plan_fits_the_binding);
  tcase_add_test(tests, without_a_nursery_no_object_moves);
  tcase_add_test(tests, needs_are_served_or_refused_by_name);
  tcase_add_test(tests, unknown_plans_list_the_known_ones);
}

int main(void) {
  return vm_main("bindings", add);
}
