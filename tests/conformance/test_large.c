/*
 * A001-12. Large objects: what is above TSR_MAX_INLINE_BYTES, or asked for as TSR_LARGE.
 *
 * They lie outside every bump buffer and never move, they hold references to small objects and are
 * held by them, and their memory comes back.
 */
#include "testvm.h"

static bool inside(const tsr_bump_pointer *pair, const void *address) {
  return (uintptr_t)address >= pair->cursor && (uintptr_t)address < pair->limit;
}

START_TEST(a002_07_large_sizes_leave_the_buffer) {
  testvm vm;
  vm_open(&vm, "64M");
  tsr_bump_pointer cached;
  ck_assert_int_eq(tsr_register_bump_pointer(vm.m, &cached, NULL), TSR_OK);
  uint32_t pair_offset = tsr_allocator_mapping(vm.heap, TSR_DEFAULT).pair_offset;
  tsr_slot roots[16] = {{0}};
  uint64_t where[16];
  ck_assert_int_eq(tsr_root_add(vm.heap, roots, 16, TSR_ROOT_PRECISE, NULL, NULL), TSR_OK);
  static const size_t above[4] = {8, 1000, 32 * KIB, MIB};
  for (unsigned i = 0; i < 16; i++) {
    size_t size = TSR_MAX_INLINE_BYTES + above[i / 4];
    vm_init_filler(tsr_alloc_cached(vm.m, &cached, 16), 16);
    vm_init_filler(tsr_alloc_default(vm.m, 16), 16);
    tsr_bump_pointer before[2] = {cached, vm.m->bump[0]};
    void *memory = NULL;
    switch (i % 4) {
    case 0:
      memory = tsr_alloc_default(vm.m, size);
      break;
    case 1:
      memory = tsr_alloc_cached(vm.m, &cached, size);
      break;
    case 2:
      memory = tsr_alloc_by_offset(vm.m, pair_offset, size, 8, 0);
      break;
    default:
      memory = tsr_alloc(vm.m, size, 8, 0, TSR_DEFAULT);
      break;
    }
    ck_assert_ptr_nonnull(memory);
    ck_assert(!inside(&before[0], memory) && !inside(&before[1], memory));
    ck_assert(!inside(&cached, memory) && !inside(&vm.m->bump[0], memory));
    vm_init_filler(memory, size);
    tsr_post_alloc_default(vm.m, memory, size);
    vm_fill((tsr_ref)memory, i);
    roots[i].word = vm_word(memory);
    where[i] = roots[i].word;
  }
  for (unsigned round = 0; round < 3; round++) {
    vm_collect(&vm);
    for (unsigned i = 0; i < 16; i++) {
      ck_assert_msg(roots[i].word == where[i], "a large object moved");
      ck_assert(vm_filled(vm_ref(roots[i].word), i));
    }
  }
  ck_assert_int_eq(tsr_root_remove(vm.heap, roots, NULL), TSR_OK);
  vm_stop(&vm);
}
END_TEST

START_TEST(small_objects_on_request) {
  testvm vm;
  vm_open(&vm, "32M");
  tsr_slot root = {0};
  ck_assert_int_eq(tsr_root_add(vm.heap, &root, 1, TSR_ROOT_PRECISE, NULL, NULL), TSR_OK);
  void *memory = tsr_alloc(vm.m, 24, 8, 0, TSR_LARGE);
  ck_assert_ptr_nonnull(memory);
  vm_init_object(memory, PAIR, 3, 0);
  ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)memory, 24, TSR_LARGE), TSR_OK);
  root.word = vm_word(memory);
  tsr_ref child = vm_new(vm.m, RECORD, 9, 0);
  vm_set(vm.m, vm_ref(root.word), 1, vm_word(child));
  for (unsigned i = 0; i < 3; i++) {
    vm_collect(&vm);
    ck_assert_uint_eq(root.word, vm_word(memory));
    ck_assert_uint_eq(vm_tag_of(vm_ref(vm_get(vm.m, vm_ref(root.word), 1))), 9);
  }
  ck_assert_int_eq(tsr_root_remove(vm.heap, &root, NULL), TSR_OK);
  vm_stop(&vm);
}
END_TEST

/* Above the inline size each placement leads to the large space, and keeps what it means. */
START_TEST(large_in_every_placement) {
  testvm vm;
  vm_open(&vm, "64M");
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  uint64_t where[4 * TSR_PLACEMENTS];
  static const size_t above[4] = {8, 1000, 32 * KIB, MIB};
  for (unsigned i = 0; i < 4 * TSR_PLACEMENTS; i++) {
    size_t size = TSR_MAX_INLINE_BYTES + above[i / TSR_PLACEMENTS];
    tsr_semantics placement = i % TSR_PLACEMENTS;
    tsr_bump_pointer before[TSR_BUMP_POINTERS];
    memcpy(before, vm.m->bump, sizeof before);
    void *memory = tsr_alloc(vm.m, size, 8, 0, placement);
    ck_assert_ptr_nonnull(memory);
    ck_assert_msg(memcmp(before, vm.m->bump, sizeof before) == 0, "a large object uses no pair");
    vm_init_filler(memory, size);
    ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)memory, size, placement), TSR_OK);
    vm_fill((tsr_ref)memory, i);
    where[i] = vm_word(memory);
    tsr_local(vm.m, where[i]);
  }
  vm_collect(&vm);
  ck_assert_uint_eq(vm_enumerate(vm.m).objects, 4 * TSR_PLACEMENTS);
  for (unsigned i = 0; i < 4 * TSR_PLACEMENTS; i++) {
    ck_assert(vm_filled(vm_ref(where[i]), i));
  }
  tsr_scope_close(vm.m, &scope);
  for (unsigned round = 0; round < 2; round++) { /* nothing holds them: only the immortal stay */
    vm_collect(&vm);
    for (unsigned i = TSR_IMMORTAL; i < 4 * TSR_PLACEMENTS; i += TSR_PLACEMENTS) {
      ck_assert(vm_filled(vm_ref(where[i]), i));
    }
    if (vm_collects) ck_assert_uint_eq(vm_enumerate(vm.m).objects, 4);
  }
  vm_stop(&vm);
}
END_TEST

/* Under a plan that moves objects they do: without this the tests about moved objects would be empty. */
START_TEST(small_objects_do_move) {
  testvm vm;
  vm_open(&vm, "32M");
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *root = tsr_local(vm.m, vm_word(vm_new(vm.m, PAIR, 1, 0)));
  uint64_t before = root->word;
  vm_collect(&vm);
  ck_assert((root->word != before) == vm_moves(&vm));
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}
END_TEST

START_TEST(large_arrays_of_small_objects) {
  testvm vm;
  vm_open(&vm, "96M");
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  size_t n = 400000; /* 3.2 MB of slots */
  tsr_slot *array = tsr_local(vm.m, vm_word(vm_new(vm.m, VECTOR, 1, n)));
  ck_assert_uint_ne(array->word, 0);
  uint64_t where = array->word;
  for (size_t i = 0; i < n; i += 8) {
    tsr_ref pair = vm_new(vm.m, PAIR, 0, 0);
    ck_assert_ptr_nonnull(pair);
    vm_set(vm.m, pair, 1, FIXNUM(i));
    vm_set(vm.m, pair, 2, array->word); /* and back to the array */
    vm_set(vm.m, vm_ref(array->word), 2 + i, vm_word(pair));
  }
  for (unsigned round = 0; round < 3; round++) {
    vm_collect(&vm);
    ck_assert_uint_eq(array->word, where);
    for (size_t i = 0; i < n; i++) {
      uint64_t word = vm_get(vm.m, vm_ref(array->word), 2 + i);
      if (i % 8 != 0) {
        ck_assert_uint_eq(word, 0);
        continue;
      }
      ck_assert_uint_eq(vm_get(vm.m, vm_ref(word), 1), FIXNUM(i));
      ck_assert_uint_eq(vm_get(vm.m, vm_ref(word), 2), where);
    }
  }
  ck_assert_uint_eq(vm_enumerate(vm.m).by_kind[PAIR], n / 8);
  tsr_scope_close(vm.m, &scope);
  vm_collect(&vm);
  if (vm_collects) ck_assert_uint_eq(vm_enumerate(vm.m).objects, 0);
  vm_stop(&vm);
}
END_TEST

START_TEST(small_objects_hold_large_ones) {
  testvm vm;
  vm_open(&vm, "64M");
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *head = tsr_local(vm.m, 0);
  for (unsigned i = 0; i < 200; i++) {
    tsr_slot *bytes = tsr_local(vm.m, vm_word(vm_new(vm.m, BYTES, i, 50000)));
    ck_assert_uint_ne(bytes->word, 0);
    vm_fill(vm_ref(bytes->word), i);
    tsr_ref pair = vm_new(vm.m, PAIR, i, 0);
    vm_set(vm.m, pair, 1, bytes->word);
    vm_set(vm.m, pair, 2, head->word);
    head->word = vm_word(pair);
  }
  uint64_t list = head->word;
  tsr_scope_close(vm.m, &scope); /* only the list is a root from here on */
  tsr_scope_open(vm.m, &scope);
  head = tsr_local(vm.m, list);
  for (unsigned round = 0; round < 3; round++) {
    vm_collect(&vm);
    uint64_t pair = head->word;
    for (unsigned i = 200; i-- > 0; pair = vm_get(vm.m, vm_ref(pair), 2)) {
      tsr_ref bytes = vm_ref(vm_get(vm.m, vm_ref(pair), 1));
      ck_assert_uint_eq(vm_tag_of(bytes), i);
      ck_assert(vm_filled(bytes, i));
    }
  }
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}
END_TEST

START_TEST(large_garbage_comes_back) {
  testvm vm;
  vm_open(&vm, "16M");
  size_t through = vm_collects ? 50 * 16 * MIB : 10 * MIB;
  size_t done = 0;
  unsigned i = 0;
  while (done < through) {
    size_t count = (size_t)10000 << (i++ % 8);
    tsr_ref bytes = vm_new(vm.m, BYTES, 0, count);
    ck_assert_msg(bytes != NULL, "%zu bytes after %zu", count, done);
    ck_assert_msg(vm_slot(bytes, 1 + count / 16)->word == 0, "memory comes zeroed");
    memset(vm_slot(bytes, 2), 0xee, count);
    done += count;
  }
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), 0);
  ck_assert(!vm_collects || vm.ended > 10);
  vm_stop(&vm);
}
END_TEST

/* ---- scan callbacks ------------------------------------------------------------------------ */

/* Header, size in bytes, whether it is going to live, a slot. */
static size_t noted_size(void *data, tsr_ref object) {
  (void)data;
  return vm_slot(object, 1)->word;
}

/* On any worker. */
static size_t noted_scan(void *data, tsr_ref object, size_t resume, tsr_slot_buffer *out) {
  (void)resume;
  atomic_uint *scans = ((testvm *)data)->extra;
  atomic_fetch_add(&scans[vm_slot(object, 2)->word], 1);
  return tsr_slot_buffer_push(out, vm_slot(object, 3)) ? TSR_SCAN_DONE : 0;
}

/* A VM may have taken apart what an object that it has dropped needs to be scanned. */
START_TEST(what_is_dead_is_not_scanned) {
  testvm vm;
  vm_open(&vm, "64M");
  atomic_uint scans[2] = {0, 0};
  vm.extra = scans;
  tsr_layout layout = {TSR_LAYOUT_INIT, .name = "noted", .kind = TSR_LAYOUT_CUSTOM,
                       .object_size = noted_size, .scan = noted_scan};
  uint32_t id = tsr_layout_register(vm.heap, &layout, NULL);
  ck_assert_uint_ne(id, 0);
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  static const size_t sizes[] = {32, 1000, TSR_MAX_INLINE_BYTES + 8, 200 * KIB};
  for (unsigned i = 0; i < 40; i++) {
    size_t size = sizes[i / 2 % 4];
    uint64_t *words = tsr_alloc(vm.m, size, 8, 0, TSR_DEFAULT);
    ck_assert_ptr_nonnull(words);
    words[0] = vm_header(id, 0);
    words[1] = size;
    words[2] = i % 2;
    ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)(void *)words, size, TSR_DEFAULT), TSR_OK);
    if (i % 2 == 1) tsr_local(vm.m, vm_word(words));
  }
  for (unsigned round = 0; round < 2; round++) {
    vm_collect(&vm);
    unsigned of_dead = atomic_load(&scans[0]), of_live = atomic_load(&scans[1]);
    ck_assert_uint_eq(of_dead, 0);
    ck_assert(!vm_collects || of_live >= 20 * (round + 1));
  }
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, a002_07_large_sizes_leave_the_buffer);
  tcase_add_test(tests, small_objects_on_request);
  tcase_add_test(tests, large_in_every_placement);
  tcase_add_test(tests, small_objects_do_move);
  tcase_add_test(tests, large_arrays_of_small_objects);
  tcase_add_test(tests, small_objects_hold_large_ones);
  tcase_add_test(tests, large_garbage_comes_back);
  tcase_add_test(tests, what_is_dead_is_not_scanned);
}

int main(void) {
  return vm_main("large", add);
}
