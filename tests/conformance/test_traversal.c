/*
 * Walking the heap, and asking whether an address lies in it.
 *
 * The objects that an enumeration finds are compared with those that the test made, address by
 * address and size by size: after each allocation in each combination of placement and flags, and
 * around collections, where what is unreachable may be found before and may not after.
 * tsr_heap_contains() is asked for words of every sort. tsr_heap_verify() agrees at every step.
 */
#define ROOTS 600u
#include "placement_fixture.h"

static size_t random_count(uint64_t *seed) {
  return vm_random(seed) % 16 == 0 ? vm_random(seed) % 40000 : vm_random(seed) % 300;
}

/* ---- enumeration --------------------------------------------------------------------------- */

START_TEST(what_was_allocated_is_what_is_found) {
  place_set made = {0};
  uint64_t seed = 77;
  start_calm("64M");
  place_heap_holds(&vm, &made, true, "an empty heap");
  place_verify(&vm);
  for (unsigned i = 0; i < 12 * PLACE_COMBINATIONS; i++) {
    tsr_semantics semantics = place_semantics(i % PLACE_COMBINATIONS);
    size_t count = random_count(&seed);
    tsr_ref object = place_must(&vm, semantics, BYTES, i, count);
    place_set_add(&made, vm_word(object), vm_size(BYTES, count));
    place_heap_holds(&vm, &made, true, place_name(semantics));
    if (i % 16 == 0) place_verify(&vm);
  }
  place_set_free(&made);
  stop();
}
END_TEST

/* The three pairs are half used: what lies in them counts, their rests do not, and bumping goes on. */
START_TEST(buffers_in_use_are_walked) {
  static const tsr_semantics placements[] = {TSR_DEFAULT, TSR_IMMORTAL, TSR_NON_MOVING};
  place_set made = {0};
  start_calm("32M");
  for (unsigned i = 0; i < 900; i++) {
    tsr_semantics p = placements[i % 3];
    uint32_t pair = tsr_allocator_mapping(vm.heap, p).pair_offset;
    size_t size = 16 + 8 * (size_t)(i % 40);
    size_t align = (size_t)8 << (p == TSR_DEFAULT ? 0 : i % 7); /* gaps, where nothing moves */
    void *memory = tsr_alloc_by_offset(vm.m, pair, size, align, 0);
    ck_assert_ptr_nonnull(memory);
    vm_init_filler(memory, size);
    tsr_post_alloc_default(vm.m, memory, size);
    place_set_add(&made, vm_word(memory), size);
    if (i % 10 == 0 || i < 30) place_heap_holds(&vm, &made, true, place_name(p));
    if (i % 100 == 0) place_verify(&vm);
  }
  place_set_free(&made);
  stop();
}
END_TEST

typedef struct life {
  size_t size;
  tsr_semantics semantics;
} life;

/* Of the objects that are still rooted, and of those that are for ever, the addresses as they are now. */
static place_set living(const life *lives, const place_set *immortal) {
  place_set live = {0};
  for (unsigned i = 0; i < ROOTS; i++) {
    bool for_ever = place_of(lives[i].semantics) == TSR_IMMORTAL;
    if (roots[i].word != 0 && !for_ever) place_set_add(&live, roots[i].word, lives[i].size);
  }
  for (size_t i = 0; i < immortal->count; i++) {
    place_set_add(&live, immortal->at[i].word, immortal->at[i].size);
  }
  return live;
}

static void expect_living(const life *lives, const place_set *immortal, bool exactly,
                          const char *when) {
  place_set live = living(lives, immortal);
  place_heap_holds(&vm, &live, exactly, when);
  place_verify(&vm);
  place_set_free(&live);
}

static void new_life(unsigned i, life *lives, place_set *immortal, uint64_t *seed) {
  size_t count = random_count(seed) / 4;
  lives[i].semantics = place_semantics((unsigned)(vm_random(seed) % PLACE_COMBINATIONS));
  bool full = immortal->count >= 100;
  if (full && place_of(lives[i].semantics) == TSR_IMMORTAL) lives[i].semantics ^= TSR_IMMORTAL;
  lives[i].size = vm_size(BYTES, count);
  roots[i].word = vm_word(place_must(&vm, lives[i].semantics, BYTES, i, count));
  if (place_of(lives[i].semantics) == TSR_IMMORTAL) {
    place_set_add(immortal, roots[i].word, lives[i].size);
  }
}

START_TEST(the_live_set_before_and_after_collections) {
  static life lives[ROOTS];
  memset(lives, 0, sizeof lives);
  place_set immortal = {0};
  uint64_t seed = 4;
  start_calm("96M");
  unsigned rounds = vm_collects ? 12 : 2;
  for (unsigned round = 0; round < rounds; round++) {
    for (unsigned i = 0; i < ROOTS; i++) { /* a third lives on */
      if (roots[i].word == 0) new_life(i, lives, &immortal, &seed);
    }
    expect_living(lives, &immortal, round == 0, "before a collection, all rooted");
    for (unsigned i = 0; i < ROOTS; i++) {
      if (vm_random(&seed) % 3 != 0) roots[i].word = 0;
    }
    expect_living(lives, &immortal, false, "before a collection");
    vm_collect(&vm);
    expect_living(lives, &immortal, vm_collects, "after a collection");
  }
  place_set_free(&immortal);
  stop();
}
END_TEST

/* Small objects between holes: every granule of the blocks is walked right. */
START_TEST(neighbours_in_every_size) {
  static life lives[ROOTS];
  place_set immortal = {0};
  start_calm("32M");
  for (unsigned step = 1; step <= 7; step++) {
    for (unsigned i = 0; i < ROOTS; i++) {
      size_t count = 8 * (size_t)((i * step) % 23);
      lives[i] = (life){.size = vm_size(BYTES, count), .semantics = TSR_NON_MOVING};
      roots[i].word = vm_word(place_must(&vm, TSR_NON_MOVING, BYTES, i, count));
      memset(vm_slot(vm_ref(roots[i].word), 2), 0xff, count);
    }
    for (unsigned i = 0; i < ROOTS; i++) {
      if (i % (step + 1) == 0) roots[i].word = 0;
    }
    vm_collect(&vm);
    expect_living(lives, &immortal, vm_collects, "neighbours");
  }
  stop();
}
END_TEST

/* ---- tsr_heap_contains --------------------------------------------------------------------- */

static bool contains(uint64_t word) {
  return tsr_heap_contains(vm.heap, vm_ref(word));
}

START_TEST(words_that_are_no_addresses) {
  start_calm("16M");
  vm_new(vm.m, PAIR, 0, 0);
  for (unsigned collected = 0; collected < 2; collected++) {
    ck_assert(!tsr_heap_contains(vm.heap, NULL));
    for (uint64_t word = 0; word < 4096; word++) {
      ck_assert_msg(!contains(word) && !contains(~word), "near null or the largest address: %llu",
                    (unsigned long long)word);
    }
    for (unsigned bit = 48; bit < 64; bit++) {
      ck_assert(!contains((uint64_t)1 << bit) && !contains(~(uint64_t)0 << bit));
    }
    int local = 0;
    void *allocated = malloc(100);
    ck_assert(!contains(vm_word(&local)) && !contains(vm_word(allocated)));
    ck_assert(!contains(vm_word(&vm)) && !contains(vm_word(vm.heap)));
    ck_assert(!contains((uint64_t)(uintptr_t)tsr_heap_contains));
    free(allocated);
    vm_collect(&vm);
  }
  stop();
}
END_TEST

static void check_inside(uint64_t word, size_t size) {
  for (size_t offset = 0; offset<size; offset += size> 4096 ? 509 : 1) {
    ck_assert_msg(contains(word + offset), "byte %zu of an object of %zu", offset, size);
  }
  ck_assert(contains(word + size - 1));
}

/* Any answer, but an answer: around the object, and as far away as words go. */
static void ask_around(uint64_t word, size_t size) {
  (void)contains(word + size);
  for (unsigned bit = 0; bit < 64; bit++) {
    uint64_t offset = (uint64_t)1 << bit;
    (void)contains(word + offset);
    (void)contains(word - offset);
    if (bit >= 42 && bit < 63) { /* farther than this heap reaches */
      ck_assert(!contains(word + offset) && !contains(word - offset));
    }
  }
  for (uint64_t offset = 1; offset < 300; offset++) {
    (void)contains(word - offset);
    (void)contains(word + size + offset);
  }
}

START_TEST(every_byte_of_every_object_is_in_the_heap) {
  static const size_t counts[] = {0, 8, 100, 8176, 8177, 16 * KIB, 32 * KIB - 16, 32 * KIB, 100000};
  size_t shapes = sizeof counts / sizeof counts[0];
  start_calm("96M");
  for (unsigned i = 0; i < PLACE_COMBINATIONS * shapes; i++) {
    size_t count = counts[i / PLACE_COMBINATIONS];
    roots[i].word =
        vm_word(place_must(&vm, place_semantics(i % PLACE_COMBINATIONS), BYTES, i, count));
  }
  for (unsigned round = 0; round < 3; round++) {
    for (unsigned i = 0; i < PLACE_COMBINATIONS * shapes; i++) {
      size_t size = vm_size(BYTES, counts[i / PLACE_COMBINATIONS]);
      check_inside(roots[i].word, size);
      ask_around(roots[i].word, size);
    }
    vm_collect(&vm);
  }
  stop();
}
END_TEST

/* With no object left no block is in use: the old addresses lie outside, moved from or freed. */
START_TEST(addresses_of_what_is_gone) {
  uint64_t where[3 * ROOTS];
  start_alone("64M");
  for (unsigned round = 0; round < 3; round++) {
    unsigned n = 0;
    for (unsigned i = 0; i < ROOTS; i++) {
      unsigned c = i % PLACE_COMBINATIONS;
      if (place_of(place_semantics(c)) == TSR_IMMORTAL) c ^= TSR_IMMORTAL;
      roots[i].word =
          vm_word(place_must(&vm, place_semantics(c), BYTES, i, i % 16 == 0 ? 20000 : 100));
      where[n++] = roots[i].word;
    }
    vm_collect(&vm);
    for (unsigned i = 0; i < ROOTS; i++) {
      where[n++] = roots[i].word;
      ck_assert(contains(roots[i].word));
    }
    drop_roots();
    vm_collect(&vm);
    for (unsigned i = 0; vm_collects && i < n; i++) {
      ck_assert_msg(!contains(where[i]), "round %u, address %#llx, %llu bytes in use", round,
                    (unsigned long long)where[i], (unsigned long long)vm_stats(&vm).used_bytes);
    }
    if (!vm_collects) break;
  }
  stop();
}
END_TEST

/* One large object after another goes; its neighbours stay inside. */
START_TEST(a_large_object_that_is_gone) {
  if (!vm_collects) return;
  start_alone("32M");
  uint64_t where[100];
  for (unsigned i = 0; i < 100; i++) {
    where[i] = roots[i].word = vm_word(place_must(&vm, TSR_LARGE, BYTES, i, 100 * KIB));
  }
  for (unsigned gone = 0; gone < 100; gone += 9) {
    roots[gone].word = 0;
    vm_collect(&vm);
    for (unsigned i = 0; i < 100; i++) {
      bool expected = roots[i].word != 0;
      ck_assert(contains(where[i]) == expected);
      if (expected) check_inside(where[i], vm_size(BYTES, 100 * KIB));
    }
  }
  stop();
}
END_TEST

/* Two heaps never contain each other's objects. */
START_TEST(each_heap_contains_its_own) {
  testvm other;
  start_calm("16M");
  vm_open(&other, "16M");
  for (unsigned c = 0; c < PLACE_COMBINATIONS; c++) {
    tsr_ref mine = place_must(&vm, place_semantics(c), BYTES, 0, 40);
    tsr_ref theirs = place_must(&other, place_semantics(c), BYTES, 0, 40);
    ck_assert(tsr_heap_contains(vm.heap, mine) && !tsr_heap_contains(vm.heap, theirs));
    ck_assert(tsr_heap_contains(other.heap, theirs) && !tsr_heap_contains(other.heap, mine));
  }
  vm_stop(&other);
  stop();
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, what_was_allocated_is_what_is_found);
  tcase_add_test(tests, buffers_in_use_are_walked);
  tcase_add_test(tests, the_live_set_before_and_after_collections);
  tcase_add_test(tests, neighbours_in_every_size);
  tcase_add_test(tests, words_that_are_no_addresses);
  tcase_add_test(tests, every_byte_of_every_object_is_in_the_heap);
  tcase_add_test(tests, addresses_of_what_is_gone);
  tcase_add_test(tests, a_large_object_that_is_gone);
  tcase_add_test(tests, each_heap_contains_its_own);
}

int main(void) {
  return vm_main("traversal", add);
}
