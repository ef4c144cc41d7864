/*
 * What a program drops goes back to the system (F05): two idle collections later the heap's resident memory is what is live
 * and the collector's buffers, in few mappings. What it uses in turn stays committed.
 *
 * The system's own view counts, /proc/self/smaps over the mappings that the heap reports. TESSERA_TEST_LONG=1: with
 * 500 MB.
 */
#include "system_memory.h"

#define OBJECT_BYTES   112u /* of a RECORD */
#define OBJECTS_A_LIST 100000u
#define LIST_BYTES     ((size_t)OBJECT_BYTES * OBJECTS_A_LIST)
#define MAPPINGS_MOST  200u

static memory_ranges mappings, reported;

/* Bytes that are live at once before they are dropped. */
static size_t dropped_bytes(void) {
  if (vm_is_long()) return VM_SANITIZED ? 100 * MIB : 500 * MIB;
  return VM_SANITIZED ? 20 * MIB : 60 * MIB;
}

/* The others' stacks would be mappings too, and with the verifier each block that is freed is one. */
static bool open_sized_heap(testvm *vm, const char *sizing) {
  vm_init_calm(vm);
  vm_alone(vm);
  vm_unverified(vm);
  vm_pin(vm, "heap_max", vm_is_long() ? "2G" : "256M");
  vm_pin(vm, "sizing", sizing);
  vm_start(vm);
  if (vm_collects && system_ranges(&mappings)) return true;
  vm_stop(vm); /* nothing is ever dropped, or nobody could say */
  return false;
}

static bool open_heap(testvm *vm) {
  return open_sized_heap(vm, "proportional");
}

/* ---- what is resident ------------------------------------------------------------------------------------- */

/* What is committed: for objects, for tables that grow with them, and for everything else; and the stretch of the
   heap's range up to the last block that is. */
typedef struct committed_bytes {
  uint64_t blocks, tables, buffers;
  uintptr_t start, end;
} committed_bytes;

static void committed_add(void *context, const tsr_stretch *stretch) {
  committed_bytes *sums = context;
  if (stretch->address == NULL) return;
  const char *purpose = stretch->purpose;
  bool is_table =
      strcmp(purpose, "block tables") == 0 || strcmp(purpose, "start and mark bits") == 0;
  uint64_t *sum = strcmp(purpose, "heap blocks") == 0 ? &sums->blocks
                  : is_table                          ? &sums->tables
                                                      : &sums->buffers;
  *sum += stretch->committed_bytes;
  if (sum != &sums->blocks) return;
  uintptr_t start = (uintptr_t)stretch->address;
  if (sums->start == 0) sums->start = start;
  if (stretch->committed_bytes > 0) sums->end = start + stretch->reserved_bytes;
}

static void check_resident(testvm *vm) {
  uint64_t live = vm_stats(vm).live_bytes_after_last;
  committed_bytes sums = {0};
  ck_assert_int_eq(tsr_heap_report(vm->m, committed_add, &sums, NULL), TSR_OK);
  /* What describes blocks, 41 bytes each, reaches up to the last that is committed. */
  uint64_t below = sums.end > sums.start ? sums.end - sums.start : 0;
  ck_assert_uint_le(sums.tables, sums.blocks / 20 + below / 512 + 8 * 4 * KIB);
  reported_ranges(vm, &reported);
  ranges_join(&reported);
  ck_assert(system_ranges(&mappings));
  system_sum sum = system_sum_of(&mappings, &reported);
  uint64_t most = live + sums.buffers;
  /* The short runs of free blocks between are kept. */
  uint64_t between = most / 5;
  ck_assert_msg(sum.resident_bytes <= most + between,
                "%llu bytes are resident; %llu are live, and %llu buffers",
                (unsigned long long)sum.resident_bytes, (unsigned long long)live,
                (unsigned long long)sums.buffers);
  ck_assert_uint_lt(sum.mappings, MAPPINGS_MOST);
}

static void collect_idle(testvm *vm) {
  vm_collect(vm);
  vm_collect(vm);
}

/* ---- tests ------------------------------------------------------------------------------------------------- */

/* Makes a vector of lists, in a root. */
static void make_lists(testvm *vm, tsr_slot *root, size_t lists) {
  tsr_ref vector = vm_new(vm->m, VECTOR, 0, lists);
  ck_assert_ptr_nonnull(vector);
  root->word = vm_word(vector);
  for (size_t i = 0; i < lists; i++) {
    for (size_t n = 0; n < OBJECTS_A_LIST; n++) {
      tsr_ref object = vm_new(vm->m, RECORD, (unsigned)(n % 1000), 0);
      ck_assert_ptr_nonnull(object);
      size_t word = vm_slot_index(VECTOR, i);
      vm_set(vm->m, object, vm_slot_index(RECORD, 0), vm_get(vm->m, vm_ref(root->word), word));
      vm_set(vm->m, vm_ref(root->word), word, vm_word(object));
    }
  }
}

/* The same, whose objects come to that many bytes. Returns how many lists. */
static size_t make_objects(testvm *vm, tsr_slot *root, size_t bytes) {
  size_t lists = bytes / LIST_BYTES + 1;
  make_lists(vm, root, lists);
  return lists;
}

/* Drops all but every 1000th object. */
static void thin_out(testvm *vm, tsr_slot *root, size_t lists) {
  size_t next_word = vm_slot_index(RECORD, 0);
  for (size_t i = 0; i < lists; i++) {
    tsr_ref vector = vm_ref(root->word);
    uint64_t kept = 0;
    for (uint64_t at = vm_get(vm->m, vector, vm_slot_index(VECTOR, i)); at != 0;) {
      uint64_t next = vm_get(vm->m, vm_ref(at), next_word);
      if (vm_tag_of(vm_ref(at)) == 0) {
        vm_set(vm->m, vm_ref(at), next_word, kept);
        kept = at;
      }
      at = next;
    }
    vm_set(vm->m, vector, vm_slot_index(VECTOR, i), kept);
  }
}

START_TEST(what_is_dropped_goes_back) {
  testvm vm;
  if (!open_heap(&vm)) return;
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *kept = tsr_local(vm.m, 0), *dropped = tsr_local(vm.m, 0);
  make_objects(&vm, kept, dropped_bytes() / 10);
  make_objects(&vm, dropped, dropped_bytes());
  dropped->word = 0;
  collect_idle(&vm);
  check_resident(&vm);
  kept->word = 0;
  collect_idle(&vm);
  check_resident(&vm);
  /* And the heap grows again. */
  make_objects(&vm, dropped, dropped_bytes());
  vm_collect(&vm);
  dropped->word = 0;
  collect_idle(&vm);
  check_resident(&vm);
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}
END_TEST

START_TEST(what_lies_between_survivors_goes_back) {
  testvm vm;
  if (vm_is_generational()) return; /* its survivors lie where they are */
  if (!open_heap(&vm)) return;
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *root = tsr_local(vm.m, 0);
  size_t lists = make_objects(&vm, root, dropped_bytes());
  vm_collect(&vm);
  thin_out(&vm, root, lists);
  collect_idle(&vm);
  check_resident(&vm);
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}
END_TEST

START_TEST(large_objects_go_back) {
  testvm vm;
  if (!open_heap(&vm)) return;
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  size_t count = dropped_bytes() / (100 * KIB);
  tsr_slot *root = tsr_local(vm.m, 0);
  root->word = vm_word(vm_new(vm.m, VECTOR, 0, count));
  for (size_t i = 0; i < count; i++) {
    tsr_ref object = vm_new_with(vm.m, BYTES, 0, 100 * KIB - 64, TSR_LARGE);
    ck_assert_ptr_nonnull(object);
    vm_fill(object, i);
    vm_set(vm.m, vm_ref(root->word), vm_slot_index(VECTOR, i), vm_word(object));
  }
  for (size_t i = 0; i < count; i++) {
    if (i % 100 < 10) continue; /* every tenth part stays */
    vm_set(vm.m, vm_ref(root->word), vm_slot_index(VECTOR, i), 0);
  }
  collect_idle(&vm);
  check_resident(&vm);
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}
END_TEST

/* Single blocks stay in use between long runs that go back, and share pages of the object bits with these. */
START_TEST(what_stays_in_place_keeps_its_bits) {
  testvm vm;
  if (!open_heap(&vm)) return;
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  size_t kept = dropped_bytes() / (8000 * 61);
  tsr_slot *root = tsr_local(vm.m, 0);
  root->word = vm_word(vm_new(vm.m, VECTOR, 0, kept));
  for (size_t i = 0; i < kept * 61; i++) {
    tsr_ref object = vm_new_with(vm.m, BYTES, 0, 8000, TSR_NON_MOVING);
    ck_assert_ptr_nonnull(object);
    vm_fill(object, i);
    if (i % 61 == 60) {
      vm_set(vm.m, vm_ref(root->word), vm_slot_index(VECTOR, i / 61), vm_word(object));
    }
  }
  for (unsigned round = 0; round < 2; round++) {
    collect_idle(&vm);
    ck_assert_uint_eq(vm_enumerate(vm.m).by_kind[BYTES], kept);
    for (size_t i = 0; i < kept; i++) {
      uint64_t word = vm_get(vm.m, vm_ref(root->word), vm_slot_index(VECTOR, i));
      ck_assert(vm_filled(vm_ref(word), i * 61 + 60));
    }
  }
  ck_assert_uint_lt(vm_stats(&vm).committed_bytes, dropped_bytes() / 4);
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}
END_TEST

/* ---- what is used again and again: the heap's size makes no collection of its own ------------------------------- */

#define LIVE_LISTS 2

/* Blocks for so many lists are committed. */
static void check_committed(testvm *vm, size_t lists) {
  committed_bytes sums = {0};
  ck_assert_int_eq(tsr_heap_report(vm->m, committed_add, &sums, NULL), TSR_OK);
  ck_assert_uint_ge(sums.blocks, lists * LIST_BYTES);
}

START_TEST(a_program_that_allocates_keeps_its_room) {
  testvm vm;
  if (!open_sized_heap(&vm, "fixed")) return;
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *kept = tsr_local(vm.m, 0), *dropped = tsr_local(vm.m, 0);
  make_lists(&vm, kept, LIVE_LISTS);
  for (unsigned round = 0; round < 4; round++) {
    make_lists(&vm, dropped, 1);
    dropped->word = 0;
    vm_collect(&vm);
    /* A copy leaves behind what it has read, a slide what died. */
    size_t left = vm_is("semispace") ? LIVE_LISTS + 1 : 1;
    check_committed(&vm, LIVE_LISTS + left);
  }
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}
END_TEST

/* Nothing was allocated in the heap, but the VM has not asked either. */
START_TEST(a_collection_for_external_memory_keeps_the_room) {
  testvm vm;
  if (!open_sized_heap(&vm, "fixed")) return;
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *kept = tsr_local(vm.m, 0);
  make_lists(&vm, kept, LIVE_LISTS);
  vm_collect(&vm);
  uint64_t collections = vm_stats(&vm).collections;
  ck_assert_int_eq(tsr_adjust_external(vm.heap, vm.m, INT64_C(1) << 40, NULL), TSR_OK);
  ck_assert_uint_eq(vm_stats(&vm).collections, collections + 1);
  check_committed(&vm, vm_is("semispace") ? 2 * LIVE_LISTS : LIVE_LISTS);
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}
END_TEST

static void add(TCase *tests) {
  tcase_set_timeout(tests, 600);
  tcase_add_test(tests, what_is_dropped_goes_back);
  if (!vm_is_still()) tcase_add_test(tests, what_lies_between_survivors_goes_back);
  tcase_add_test(tests, large_objects_go_back);
  tcase_add_test(tests, what_stays_in_place_keeps_its_bits);
  tcase_add_test(tests, a_program_that_allocates_keeps_its_room);
  tcase_add_test(tests, a_collection_for_external_memory_keeps_the_room);
}

int main(void) {
  return vm_main("memory_back", add);
}
