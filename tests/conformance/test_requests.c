/*
 * The options of one request, and how a request that cannot be served ends.
 *
 * A small heap is filled to the brim, in each placement, with and without leave to collect, to call
 * back and to pass the maximum. What may not happen is counted: collections, callbacks, reports, bytes
 * above the maximum. Every test ends with a heap that serves again, as far as its plan can.
 */
#include "placement.h"

#define KEPT 4096u

static testvm vm;
static tsr_slot kept[KEPT];
static size_t kept_count;

static void start(const char *heap_max) {
  vm_open_alone(&vm, heap_max); /* the tests fill the heap and count bytes */
  memset(kept, 0, sizeof kept);
  kept_count = 0;
  ck_assert_int_eq(tsr_root_add(vm.heap, kept, KEPT, TSR_ROOT_PRECISE, "kept", NULL), TSR_OK);
}

static void stop(void) {
  place_verify(&vm);
  ck_assert_int_eq(tsr_root_remove(vm.heap, kept, NULL), TSR_OK);
  vm_stop(&vm);
}

static void drop_kept(void) {
  memset(kept, 0, sizeof kept);
  kept_count = 0;
}

/* Initialises fresh memory as bytes whose content tells their number, and roots it. */
static void keep(void *memory, size_t size, tsr_semantics semantics) {
  ck_assert_uint_lt(kept_count, KEPT);
  vm_init_filler(memory, size);
  ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)memory, size, semantics), TSR_OK);
  vm_fill((tsr_ref)memory, kept_count);
  kept[kept_count++].word = vm_word(memory);
}

static void check_kept(void) {
  for (size_t i = 0; i < kept_count; i++) {
    ck_assert_msg(vm_filled(vm_ref(kept[i].word), i), "the content of %zu changed", i);
  }
}

/* Keeps objects until one is refused; returns how many. */
static size_t keep_until_refused(size_t size, tsr_semantics semantics) {
  size_t n = 0;
  for (;; n++) {
    void *memory = tsr_alloc(vm.m, size, 8, 0, semantics);
    if (memory == NULL) return n;
    keep(memory, size, semantics);
  }
}

static void *request(size_t size, tsr_semantics semantics, uint32_t options, tsr_error *error) {
  tsr_error own = {0};
  if (error == NULL) error = &own;
  void *memory = tsr_alloc_with(vm.m, size, 8, 0, semantics, options, error);
  ck_assert_msg((memory == NULL) == (error->status != TSR_OK), "NULL and an error go together");
  return memory;
}

/* Ordinary allocations work: as many as fit easily, and with a collection where they do not. */
static void serves_again(void) {
  for (unsigned p = 0; p < TSR_PLACEMENTS; p++) {
    if (p == TSR_IMMORTAL) continue;
    for (unsigned i = 0; i < 8; i++) {
      ck_assert_msg(place_new(&vm, p, BYTES, 0, 1000) != NULL, "%s", place_name(p));
    }
  }
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 0);
}

/* ---- collection disabled ------------------------------------------------------------------- */

START_TEST(non_moving_with_collection_disabled) {
  start("1M");
  tsr_collection_disable(vm.heap);
  void *movable = tsr_alloc(vm.m, 16, 8, 0, TSR_DEFAULT);
  ck_assert_ptr_nonnull(movable);
  keep(movable, 16, TSR_DEFAULT);
  void *fixed = tsr_alloc(vm.m, 16, 8, 0, TSR_NON_MOVING);
  ck_assert_ptr_nonnull(fixed);
  keep(fixed, 16, TSR_NON_MOVING);
  ck_assert_ptr_ne(movable, fixed);
  ck_assert_int_eq(tsr_collection_enable(vm.heap, NULL), TSR_OK);
  vm_collect(&vm);
  ck_assert_uint_eq(kept[1].word, vm_word(fixed));
  stop();
}
END_TEST

/* Two large objects fit; what needs their room fails, and is served once collections may run again. */
START_TEST(disabled_the_heap_grows_to_its_maximum) {
  start("2M");
  size_t part = 600 * KIB;
  tsr_collection_disable(vm.heap);
  for (unsigned i = 0; i < 2; i++) {
    void *memory = tsr_alloc(vm.m, part, 8, 0, TSR_DEFAULT);
    ck_assert_ptr_nonnull(memory);
    vm_init_filler(memory, part);
    ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)memory, part, TSR_DEFAULT), TSR_OK);
  }
  ck_assert_ptr_null(tsr_alloc(vm.m, 2 * part, 8, 0, TSR_DEFAULT));
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 1);
  ck_assert_uint_eq(vm_stats(&vm).collections, 0);
  ck_assert_int_eq(tsr_collection_enable(vm.heap, NULL), TSR_OK);
  void *memory = tsr_alloc(vm.m, 2 * part, 8, 0, TSR_DEFAULT);
  ck_assert_msg((memory != NULL) == vm_collects, "enabled, a collection makes room");
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), vm_collects ? 0 : 1);
  if (memory != NULL) {
    vm_init_filler(memory, 2 * part);
    ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)memory, 2 * part, TSR_DEFAULT), TSR_OK);
    ck_assert_uint_gt(vm_stats(&vm).collections, 0);
  }
  stop();
}
END_TEST

/* Enabled, disabled, enabled: garbage of several heaps passes only where collections may run. */
START_TEST(disabling_and_enabling_again) {
  start("2M");
  for (unsigned round = 0; round < 3; round++) {
    uint64_t collections = vm_stats(&vm).collections;
    if (vm_collects) {
      for (unsigned i = 0; i < 6000; i++) {
        ck_assert_ptr_nonnull(
            place_new(&vm, i % 2 == 0 ? TSR_DEFAULT : TSR_NON_MOVING, BYTES, 0, 1000));
      }
      ck_assert_uint_gt(vm_stats(&vm).collections, collections);
    }
    collections = vm_stats(&vm).collections;
    tsr_collection_disable(vm.heap);
    unsigned served = 0;
    while (place_new(&vm, TSR_NON_MOVING, BYTES, 0, 1000) != NULL) {
      ck_assert_uint_lt(served++, 2100);
    }
    ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 1);
    ck_assert_uint_eq(vm_stats(&vm).collections, collections);
    ck_assert_int_eq(tsr_collection_enable(vm.heap, NULL), TSR_OK);
  }
  if (vm_collects) serves_again();
  stop();
}
END_TEST

/* ---- TSR_ALLOC_NO_COLLECT ------------------------------------------------------------------ */

START_TEST(a002_09_not_at_a_safepoint_ends_with_null) {
  for (unsigned p = 0; p < TSR_PLACEMENTS; p++) {
    start("1M");
    unsigned served = 0;
    tsr_error error = {0};
    while (served < 1100) {
      void *memory = request(KIB, p, TSR_ALLOC_NO_COLLECT, &error);
      if (memory == NULL) break;
      vm_init_filler(memory, KIB);
      ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)memory, KIB, p), TSR_OK);
      served++;
    }
    ck_assert_msg(served < 1100, "%s: more than the heap holds", place_name(p));
    ck_assert_msg(served >= 8, "%s: only %u", place_name(p), served);
    ck_assert_int_eq(error.status, TSR_OUT_OF_MEMORY);
    ck_assert(error.message[0] != 0);
    ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 0);
    ck_assert_uint_eq(vm_stats(&vm).collections, 0);
    ck_assert_uint_le(vm_stats(&vm).peak_committed_bytes, MIB);
    if (vm_collects && p != TSR_IMMORTAL) serves_again();
    stop();
  }
}
END_TEST

/* ---- TSR_ALLOC_NO_OOM_CALLBACK ------------------------------------------------------------- */

START_TEST(a002_09_no_callback_on_request) {
  for (unsigned p = 0; p < TSR_PLACEMENTS; p++) {
    start("1M");
    keep_until_refused(KIB, p);
    ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 1);
    tsr_error error = {0};
    for (unsigned i = 0; i < 3; i++) {
      ck_assert_ptr_null(request(64 * KIB, p, TSR_ALLOC_NO_OOM_CALLBACK, &error));
      ck_assert_int_eq(error.status, TSR_OUT_OF_MEMORY);
      ck_assert_ptr_null(request(16 * MIB, p, TSR_ALLOC_NO_OOM_CALLBACK, NULL));
      ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 0);
      ck_assert_ptr_null(request(64 * KIB, p, 0, NULL));
      ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 1);
    }
    check_kept();
    stop();
  }
}
END_TEST

START_TEST(unknown_options_are_refused) {
  start("2M");
  for (unsigned bit = 3; bit < 32; bit++) {
    tsr_error error = {0};
    ck_assert_ptr_null(request(64, TSR_DEFAULT, 1u << bit, &error));
    ck_assert_int_eq(error.status, TSR_INVALID_ARGUMENT);
  }
  ck_assert_uint_eq(vm_enumerate(vm.m).objects, 0);
  stop();
}
END_TEST

/* ---- TSR_ALLOC_OVERCOMMIT ------------------------------------------------------------------ */

/* Whole blocks, of which a large object has its own, and the tables that go with them. */
static size_t overcommit_allowance(size_t bytes) {
  return bytes + bytes / 16 + 128 * KIB;
}

static size_t overcommit(size_t size, tsr_semantics semantics, bool kept_alive) {
  void *memory = request(size, semantics, TSR_ALLOC_OVERCOMMIT, NULL);
  ck_assert_msg(memory != NULL, "%s, %zu bytes", place_name(semantics), size);
  if (kept_alive) {
    keep(memory, size, semantics);
  } else {
    vm_init_filler(memory, size);
    ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)memory, size, semantics), TSR_OK);
  }
  bool own_blocks = place_of(semantics) == TSR_LARGE || size > TSR_MAX_INLINE_BYTES;
  return own_blocks ? (size + 32 * KIB - 1) & ~(32 * KIB - 1) : size;
}

static void passed_the_maximum_quietly(size_t taken) {
  tsr_stats stats = vm_stats(&vm);
  ck_assert_uint_eq(stats.collections, 0);
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 0);
  ck_assert_uint_eq(stats.heap_max_bytes, MIB);
  ck_assert_msg(stats.committed_bytes <= MIB + overcommit_allowance(taken),
                "%llu bytes committed, %zu taken over and above",
                (unsigned long long)stats.committed_bytes, taken);
}

START_TEST(overcommitted_garbage_passes_the_maximum_and_comes_back) {
  for (unsigned p = 0; p < TSR_PLACEMENTS; p++) {
    start("1M");
    unsigned n = p == TSR_LARGE ? 110 : 1100; /* a large object has 32 KiB to itself */
    size_t taken = 0;
    for (unsigned i = 0; i < n; i++) {
      taken += overcommit(KIB, p, false);
    }
    taken += overcommit(300 * KIB, p, false) + overcommit(3 * MIB, p, false);
    passed_the_maximum_quietly(taken);
    ck_assert_uint_gt(vm_stats(&vm).committed_bytes, 4 * MIB);
    ck_assert_uint_eq(vm_enumerate(vm.m).objects, n + 2);
    place_verify(&vm);
    if (vm_collects && p != TSR_IMMORTAL) {
      serves_again(); /* by collecting: the heap is over its maximum */
      ck_assert_uint_gt(vm_stats(&vm).collections, 0);
      vm_collect(&vm);
      ck_assert_uint_eq(vm_enumerate(vm.m).objects, 0);
      ck_assert_uint_le(vm_stats(&vm).committed_bytes, MIB);
      vm_garbage(vm.m, 8 * MIB);
      ck_assert_uint_le(vm_stats(&vm).committed_bytes, MIB);
    } else { /* nothing can come back: ordinary requests fail, and leave what there is */
      ck_assert_ptr_null(vm_new(vm.m, BYTES, 0, 5000));
      ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 1);
      ck_assert_ptr_null(place_new(&vm, TSR_LARGE, BYTES, 0, 50000));
      ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 1);
      ck_assert_msg(overcommit(64 * KIB, p, false) > 0, "and overcommitting works still");
    }
    stop();
  }
}
END_TEST

/* What was overcommitted is alive: ordinary requests fail cleanly until it is dropped. */
START_TEST(overcommitted_and_alive) {
  for (unsigned p = 0; p < TSR_PLACEMENTS; p++) {
    if (p == TSR_IMMORTAL) continue;
    start("1M");
    unsigned n = p == TSR_LARGE ? 60 : 1100;
    size_t taken = 0;
    for (unsigned i = 0; i < n; i++) {
      taken += overcommit(KIB, p, true);
    }
    taken += overcommit(300 * KIB, p, true);
    passed_the_maximum_quietly(taken);
    for (unsigned i = 0; i < 3; i++) {
      tsr_oom oom;
      ck_assert_ptr_null(place_new(&vm, TSR_LARGE, BYTES, 0, 40000));
      ck_assert_uint_eq(vm_take_ooms(&vm, &oom), 1);
      ck_assert_int_eq(oom.kind, TSR_OOM_HEAP);
      ck_assert_uint_eq(oom.heap_max_bytes, MIB);
      check_kept();
      place_verify(&vm);
    }
    taken += overcommit(KIB, p, true);
    check_kept();
    vm_collect(&vm);
    check_kept();
    if (vm_collects) {
      ck_assert_uint_le(vm_stats(&vm).committed_bytes, MIB + overcommit_allowance(taken));
      ck_assert_uint_eq(vm_enumerate(vm.m).objects, n + 2);
      drop_kept();
      serves_again();
      vm_collect(&vm);
      ck_assert_uint_eq(vm_enumerate(vm.m).objects, 0);
      ck_assert_uint_le(vm_stats(&vm).committed_bytes, MIB);
    }
    stop();
  }
}
END_TEST

/* Growing comes first: below the maximum an overcommitting request changes no more than any other. */
START_TEST(overcommit_below_the_maximum) {
  start("8M");
  for (unsigned i = 0; i < 1000; i++) {
    overcommit(KIB, i % TSR_PLACEMENTS == TSR_LARGE ? TSR_DEFAULT : i % TSR_PLACEMENTS, true);
  }
  ck_assert_uint_le(vm_stats(&vm).peak_committed_bytes, 8 * MIB);
  ck_assert_uint_eq(vm_stats(&vm).collections, 0);
  vm_collect(&vm);
  check_kept();
  stop();
}
END_TEST

/* Blocks that were overcommitted and are free again stand in nobody's way: not in that of the tables,
   which are no blocks. */
START_TEST(overcommitted_and_free_blocks_make_room_for_tables) {
  for (unsigned p = 0; p < TSR_PLACEMENTS; p++) {
    if (p == TSR_IMMORTAL) continue;
    start("4M");
    size_t size = p == TSR_LARGE ? 5 * MIB : 4 * KIB;
    for (size_t done = 0; done < 5 * MIB; done += size)
      overcommit(size, p, false);
    vm_collect(&vm);
    tsr_error error = {0};
    for (unsigned i = 0; i < 2000; i++) {
      ck_assert_msg(tsr_handle_new(vm.heap, 0, TSR_STRONG, &error) != NULL, "%s, handle %u: %s",
                    place_name(p), i, error.message);
    }
    int identities[8];
    tsr_mutator *more[8];
    for (unsigned i = 0; i < 8; i++) {
      more[i] = tsr_bind_mutator(vm.heap, &identities[i], &error);
      ck_assert_msg(more[i] != NULL, "%s, mutator %u: %s", place_name(p), i, error.message);
      tsr_enter_native(more[i]);
    }
    ck_assert_uint_le(vm_stats(&vm).committed_bytes, 4 * MIB);
    for (unsigned i = 0; i < 8; i++) {
      tsr_leave_native(more[i]);
      ck_assert_int_eq(tsr_unbind_mutator(more[i], NULL), TSR_OK);
    }
    serves_again();
    stop();
  }
}
END_TEST

/* Everything that fits without a collection, from whole blocks down to the smallest object. */
static void fill_without_collecting(void) {
  static const struct {
    size_t size;
    tsr_semantics placement;
  } shapes[] = {{32 * KIB - 8, TSR_LARGE}, {8000, TSR_NON_MOVING}, {24, TSR_NON_MOVING}};
  for (unsigned i = 0; i < 3; i++) {
    void *memory;
    tsr_error error = {0};
    while ((memory = tsr_alloc_with(vm.m, shapes[i].size, 8, 0, shapes[i].placement,
                                    TSR_ALLOC_NO_COLLECT, &error)) != NULL) {
      vm_init_filler(memory, shapes[i].size);
    }
  }
}

/* A heap that takes a MiB at a time up to its maximum takes what it needs from there on. */
START_TEST(overcommit_passes_the_maximum_by_what_it_needs) {
  static const tsr_semantics ways[] = {TSR_DEFAULT, TSR_NON_MOVING, TSR_IMMORTAL, TSR_READ_ONLY,
                                       TSR_LARGE};
  for (unsigned w = 0; w < sizeof ways / sizeof ways[0]; w++) {
    start("64M");
    fill_without_collecting();
    ck_assert_uint_le(vm_stats(&vm).committed_bytes, 64 * MIB);
    void *memory = NULL;
    for (size_t blocks = 1; blocks <= 3; blocks++) {
      do { /* until the first that passes the maximum, or the block before */
        memory = request(8000, ways[w], TSR_ALLOC_OVERCOMMIT, NULL);
        ck_assert_ptr_nonnull(memory);
        vm_init_filler(memory, 8000);
        size_t committed = vm_stats(&vm).committed_bytes;
        ck_assert_msg(committed <= 64 * MIB + blocks * 32 * KIB + 32 * KIB,
                      "%s: %zu bytes above the maximum for %zu blocks", place_name(ways[w]),
                      committed - 64 * MIB, blocks);
        if (committed > 64 * MIB + (blocks - 1) * 32 * KIB) break;
      } while (true);
    }
    ck_assert_uint_eq(vm_stats(&vm).collections, 0);
    stop();
  }
}
END_TEST

/* More than any heap's address space: NULL, with an error and no callback. */
START_TEST(overcommit_ends_where_the_system_does) {
  start("1M");
  tsr_error error = {0};
  ck_assert_ptr_null(request((size_t)1 << 46, TSR_LARGE, TSR_ALLOC_OVERCOMMIT, &error));
  ck_assert_int_eq(error.status, TSR_OUT_OF_MEMORY);
  ck_assert_ptr_null(request(~(size_t)7, TSR_DEFAULT, TSR_ALLOC_OVERCOMMIT, NULL));
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 0);
  ck_assert_uint_eq(vm_stats(&vm).collections, 0);
  serves_again();
  stop();
}
END_TEST

/* ---- A002-09 ------------------------------------------------------------------------------- */

START_TEST(a002_09_a_full_heap_of_each_placement) {
  for (unsigned p = 0; p < TSR_PLACEMENTS; p++) {
    size_t size = p == TSR_LARGE ? 40 * KIB : 2 * KIB;
    start("4M");
    for (unsigned round = 0; round < 3; round++) {
      size_t n = keep_until_refused(size, p);
      tsr_oom oom;
      ck_assert_uint_eq(vm_take_ooms(&vm, &oom), 1);
      ck_assert_int_eq(oom.kind, TSR_OOM_HEAP);
      ck_assert_uint_eq(oom.requested_bytes, size);
      ck_assert_uint_eq(oom.heap_max_bytes, 4 * MIB);
      ck_assert_uint_le(oom.committed_bytes, 4 * MIB);
      bool again = vm_collects && p != TSR_IMMORTAL;
      if (round == 0 || again) {
        /* Semispace keeps half of the heap for copies of what moves. */
        ck_assert_msg(n * size >= (p == TSR_DEFAULT ? 1 : 2) * MIB, "%s: %zu", place_name(p), n);
        check_kept();
      }
      ck_assert_uint_le(vm_stats(&vm).peak_committed_bytes, 4 * MIB);
      place_verify(&vm);
      drop_kept();
      if (again) {
        ck_assert_msg(place_new(&vm, p, BYTES, 0, size - 16) != NULL, "dropped, still refused");
        ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 0);
      }
    }
    stop();
  }
}
END_TEST

/* One callback and NULL, whatever the placement that is asked for and the one that filled the heap. */
START_TEST(a002_09_a_full_heap_refuses_every_combination) {
  for (unsigned first = 0; first < TSR_PLACEMENTS; first++) {
    start("4M");
    for (unsigned i = 0; i < TSR_PLACEMENTS; i++) {
      tsr_semantics p = (first + i) % TSR_PLACEMENTS;
      keep_until_refused(p == TSR_LARGE ? 40 * KIB : 2 * KIB, p);
      ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 1);
    }
    for (unsigned c = 0; c < PLACE_COMBINATIONS; c++) {
      void *memory = tsr_alloc(vm.m, 40 * KIB, 8, 0, place_semantics(c));
      ck_assert_msg(memory == NULL, "%s", place_name(place_semantics(c)));
      ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 1);
    }
    check_kept();
    ck_assert_uint_eq(vm_enumerate(vm.m).objects, kept_count);
    ck_assert_uint_le(vm_stats(&vm).peak_committed_bytes, 4 * MIB);
    stop();
  }
}
END_TEST

static unsigned callbacks;

static void count_and_return(testvm *data, tsr_mutator *m) {
  (void)data;
  (void)m;
  callbacks++;
}

/* A callback that only returns: once for each request, and the request ends. */
START_TEST(a002_09_a_callback_that_returns_does_not_loop) {
  start("1M");
  vm.on_oom = count_and_return;
  callbacks = 0;
  ck_assert_ptr_null(tsr_alloc(vm.m, 2 * MIB, 8, 0, TSR_DEFAULT));
  ck_assert_uint_eq(callbacks, 1);
  keep_until_refused(KIB, TSR_NON_MOVING);
  ck_assert_uint_eq(callbacks, 2);
  for (unsigned i = 0; i < 10; i++) {
    ck_assert_ptr_null(tsr_alloc(vm.m, 8 * KIB, 8, 0, i % TSR_PLACEMENTS));
    ck_assert_uint_eq(callbacks, 3 + i);
  }
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), callbacks);
  stop();
}
END_TEST

static void drop_in_callback(testvm *data, tsr_mutator *m) {
  (void)data;
  (void)m;
  drop_kept();
}

START_TEST(a002_09_roots_released_in_the_callback) {
  for (unsigned p = 0; p < TSR_PLACEMENTS; p++) {
    start("4M");
    vm.on_oom = drop_in_callback;
    keep_until_refused(2 * KIB, p);
    ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 1);
    if (vm_collects && p != TSR_IMMORTAL) serves_again();
    stop();
  }
}
END_TEST

START_TEST(a002_09_larger_than_the_heap_without_a_collection) {
  start("4M");
  static const size_t sizes[] = {4 * MIB + 8, 5 * MIB, 64 * MIB, (size_t)1 << 40, (size_t)1 << 62};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    for (unsigned c = 0; c < PLACE_COMBINATIONS; c++) {
      tsr_oom oom;
      ck_assert_ptr_null(tsr_alloc(vm.m, sizes[i], 8, 0, place_semantics(c)));
      ck_assert_uint_eq(vm_take_ooms(&vm, &oom), 1);
      ck_assert_int_eq(oom.kind, TSR_OOM_HEAP);
      ck_assert_uint_eq(oom.requested_bytes, sizes[i]);
    }
  }
  ck_assert_msg(vm_stats(&vm).collections == 0, "no collection can help");
  serves_again();
  stop();
}
END_TEST

/* ---- A002-11 ------------------------------------------------------------------------------- */

/* Sizes that would wrap round with the alignment, the offset, a header or a block added. */
START_TEST(a002_11_sizes_near_the_largest_number) {
  start("2M");
  static const size_t below[] = {0, 8, 16, 64, 4088, 4096, 32 * KIB, 64 * KIB, 4 * MIB};
  static const size_t aligns[] = {8, 16, 4096};
  for (size_t i = 0; i < sizeof below / sizeof below[0]; i++) {
    size_t size = ~(size_t)7 - below[i];
    for (unsigned c = 0; c < PLACE_COMBINATIONS; c++) {
      for (unsigned a = 0; a < 3; a++) {
        size_t offset = a == 2 ? 8 : 0;
        ck_assert_ptr_null(tsr_alloc(vm.m, size, aligns[a], offset, place_semantics(c)));
        ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 1);
        tsr_error error = {0};
        ck_assert_ptr_null(tsr_alloc_with(vm.m, size, aligns[a], offset, place_semantics(c),
                                          TSR_ALLOC_NO_OOM_CALLBACK, &error));
        ck_assert_int_eq(error.status, TSR_OUT_OF_MEMORY);
      }
    }
    for (unsigned p = 0; p < TSR_PLACEMENTS; p++) {
      tsr_allocator_info info = tsr_allocator_mapping(vm.heap, p);
      if (info.kind != TSR_ALLOCATOR_BUMP) continue;
      vm_init_filler(tsr_alloc_by_offset(vm.m, info.pair_offset, 64, 8, 0), 64);
      tsr_bump_pointer before = vm.m->bump[p];
      for (unsigned a = 0; a < 3; a++) {
        ck_assert_ptr_null(tsr_alloc_by_offset(vm.m, info.pair_offset, size, aligns[a], 0));
        ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 1);
      }
      ck_assert_uint_eq(vm.m->bump[p].cursor, before.cursor);
      ck_assert_uint_eq(vm.m->bump[p].limit, before.limit);
    }
  }
  ck_assert_uint_eq(vm_stats(&vm).collections, 0);
  stop();
}
END_TEST

/* An offset that wraps round is an offset all the same. */
START_TEST(a002_11_offsets_near_the_largest_number) {
  unsigned made = 0;
  start("8M");
  for (unsigned c = 0; c < PLACE_COMBINATIONS; c++) {
    tsr_semantics semantics = place_semantics(c);
    if (!place_stays(semantics, 64)) continue; /* no layout of this test keeps an alignment */
    size_t offset = ~(size_t)7 - 8 * (size_t)(c % 4);
    void *memory = tsr_alloc(vm.m, 64, 64, offset, semantics);
    ck_assert_msg(memory != NULL, "%s", place_name(semantics));
    ck_assert_uint_eq(((uintptr_t)memory + offset) % 64, 0);
    vm_init_filler(memory, 64);
    ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)memory, 64, semantics), TSR_OK);
    made++;
  }
  ck_assert_uint_eq(vm_enumerate(vm.m).objects, made);
  stop();
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, non_moving_with_collection_disabled);
  tcase_add_test(tests, disabled_the_heap_grows_to_its_maximum);
  tcase_add_test(tests, disabling_and_enabling_again);
  tcase_add_test(tests, a002_09_not_at_a_safepoint_ends_with_null);
  tcase_add_test(tests, a002_09_no_callback_on_request);
  tcase_add_test(tests, unknown_options_are_refused);
  tcase_add_test(tests, overcommitted_garbage_passes_the_maximum_and_comes_back);
  tcase_add_test(tests, overcommitted_and_alive);
  tcase_add_test(tests, overcommit_below_the_maximum);
  if (vm_collects) tcase_add_test(tests, overcommitted_and_free_blocks_make_room_for_tables);
  tcase_add_test(tests, overcommit_passes_the_maximum_by_what_it_needs);
  tcase_add_test(tests, overcommit_ends_where_the_system_does);
  tcase_add_test(tests, a002_09_a_full_heap_of_each_placement);
  tcase_add_test(tests, a002_09_a_full_heap_refuses_every_combination);
  tcase_add_test(tests, a002_09_a_callback_that_returns_does_not_loop);
  tcase_add_test(tests, a002_09_roots_released_in_the_callback);
  tcase_add_test(tests, a002_09_larger_than_the_heap_without_a_collection);
  tcase_add_test(tests, a002_11_sizes_near_the_largest_number);
  tcase_add_test(tests, a002_11_offsets_near_the_largest_number);
}

int main(void) {
  return vm_main("requests", add);
}
