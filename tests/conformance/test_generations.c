/*
 * A001-14, F22. Young and old: what old objects refer to survives a collection of the young, however the
 * reference came there, and what grows old is promoted.
 *
 * Where a plan has one generation, a collection of everything takes the place of a minor one; what is promised
 * holds there too.
 */
#define ROOTS 256u
#include "made_objects.h"

static void start_young(const char *nursery) {
  vm_init(&vm);
  vm_alone(&vm);
  vm_pin(&vm, "heap_max", "64M");
  vm_pin(&vm, "nursery", nursery);
  vm_start(&vm);
  open_roots();
}

/* Whether an object's header has the state that a plan with generations gives it. */
static bool armed_is(uint64_t word, bool armed) {
  if (!vm_is_generational() || vm_verifies || vm_stress != NULL) return true;
  return tsr_is_armed(vm_ref(word)) == armed;
}

static uint64_t make_old(tsr_slot *root, unsigned kind, unsigned tag, size_t count) {
  root->word = vm_word(make(kind, tag, count));
  vm_collect(&vm);
  return root->word;
}

static const unsigned referrers[] = {PAIR, RECORD, VECTOR, TABLE, CUSTOM, WIDE};
#define REFERRERS (sizeof referrers / sizeof referrers[0])

START_TEST(a001_14_what_an_old_object_refers_to_survives) {
  start_young("256K");
  unsigned kind = referrers[_i];
  for (unsigned slot = 0; slot < 2; slot++) {
    uint64_t old = make_old(&roots[0], kind, 1, 20);
    size_t word = vm_slot_index(kind, slot);
    ck_assert(armed_is(old, true));
    uint64_t young = vm_word(make(BYTES, 7 + slot, 100));
    vm_set(vm.m, vm_ref(roots[0].word), word, young);
    ck_assert(armed_is(roots[0].word, false));
    for (unsigned round = 0; round < 4; round++) {
      collect_young();
      old = roots[0].word;
      ck_assert(is_made(vm_get(vm.m, vm_ref(old), word), BYTES, 7 + slot));
      ck_assert(armed_is(old, round > 0)); /* it is gray for as long as the other is young */
    }
    vm_set(vm.m, vm_ref(old), word, FIXNUM(1));
  }
  stop();
}
END_TEST

/* Of a large array any element may be stored into. */
#define LARGE_LENGTH 80000u /* twenty blocks */

START_TEST(a001_14_what_a_large_array_refers_to_survives) {
  static const unsigned kinds[] = {VECTOR, TABLE, CUSTOM};
  static const size_t places[] = {0, 1, 5000, 5001, 36000, LARGE_LENGTH / 2 - 1};
  start_young("256K");
  unsigned kind = kinds[_i];
  uint64_t old = make_old(&roots[0], kind, 1, kind == TABLE ? LARGE_LENGTH / 2 : LARGE_LENGTH);
  for (unsigned round = 0; round < 6; round++) {
    size_t slot = vm_slot_index(kind, places[round]);
    vm_set(vm.m, vm_ref(old), slot, vm_word(make(BYTES, 7 + round, 100)));
    collect_young();
    for (unsigned i = 0; i <= round; i++) {
      uint64_t word = vm_get(vm.m, vm_ref(old), vm_slot_index(kind, places[i]));
      ck_assert_msg(is_made(word, BYTES, 7 + i), "element %zu, round %u", places[i], round);
    }
  }
  stop();
}
END_TEST

/* Of a large array, a store has its slot noted; nothing more happens until a minor collection. */
START_TEST(f22_a_large_array_stays_armed) {
  start_young("256K");
  make_old(&roots[0], VECTOR, 1, LARGE_LENGTH);
  roots[1].word = vm_word(make(BYTES, 2, 40));
  tsr_stats before = vm_stats(&vm);
  for (unsigned i = 0; i < 20; i++)
    vm_set(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, 7999 * (i / 2)), roots[1].word);
  ck_assert(armed_is(roots[0].word, true));
  if (vm_is_generational() && !vm_verifies && vm_stress == NULL) {
    ck_assert_uint_eq(vm_stats(&vm).barrier_slots - before.barrier_slots, 10);
    ck_assert_uint_eq(vm_stats(&vm).barrier_slow, before.barrier_slow);
  }
  stop();
}
END_TEST

/* Across words of bits, and across blocks. */
START_TEST(a001_14_bulk_stores_into_a_large_array) {
  enum { COUNT = 300, FIRST = 4000 };
  start_young("256K");
  make_old(&roots[0], VECTOR, 1, LARGE_LENGTH);
  roots[1].word = vm_word(make(VECTOR, 2, COUNT));
  for (unsigned i = 0; i < COUNT; i++)
    vm_set(vm.m, vm_ref(roots[1].word), vm_slot_index(VECTOR, i), vm_word(make(BYTES, 5 + i, 9)));
  tsr_ref array = vm_ref(roots[0].word), from = vm_ref(roots[1].word);
  tsr_slot *slots = vm_slot(array, vm_slot_index(VECTOR, 0));
  tsr_copy_slots(vm.m, array, &slots[FIRST], vm_slot(from, vm_slot_index(VECTOR, 0)), COUNT);
  tsr_fill_slots(vm.m, array, &slots[FIRST + COUNT], COUNT, slots[FIRST].word);
  roots[1].word = 0;
  for (unsigned round = 0; round < 4; round++) {
    collect_young();
    for (unsigned i = 0; i < 2 * COUNT; i++) {
      unsigned tag = 5 + (i < COUNT ? i : 0);
      ck_assert_msg(is_made(slots[FIRST + i].word, BYTES, tag), "element %u, round %u", i, round);
    }
  }
  stop();
}
END_TEST

START_TEST(a001_14_a_large_array_that_has_lost_its_end) {
  start_young("256K");
  make_old(&roots[0], VECTOR, 1, LARGE_LENGTH);
  tsr_ref array = vm_ref(roots[0].word);
  for (unsigned i = 0; i < LARGE_LENGTH; i += 200)
    vm_set(vm.m, array, vm_slot_index(VECTOR, i), vm_word(make(BYTES, 5 + i, 9)));
  for (unsigned i = 1; i < 9; i++)
    vm_set(vm.m, array, vm_slot_index(VECTOR, LARGE_LENGTH / 2 + i), vm_word(make(RECORD, i, 0)));
  ck_assert_int_eq(tsr_shrink(vm.m, array, vm_size(VECTOR, LARGE_LENGTH / 2), NULL), TSR_OK);
  vm_slot(array, 1)->word = LARGE_LENGTH / 2;
  for (unsigned round = 0; round < 4; round++) {
    collect_young();
    if (vm_collects) ck_assert_uint_eq(vm_enumerate(vm.m).by_kind[RECORD], 0);
    for (unsigned i = 0; i < LARGE_LENGTH / 2; i += 200)
      ck_assert(is_made(vm_get(vm.m, array, vm_slot_index(VECTOR, i)), BYTES, 5 + i));
  }
  stop();
}
END_TEST

/* Their first stores need no barrier. */
START_TEST(a001_14_what_is_born_old_is_looked_at) {
  start_young("256K");
  unsigned made = 0;
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *child = tsr_local(vm.m, 0);
  for (unsigned c = 0; c < PLACE_COMBINATIONS; c++) {
    tsr_semantics semantics = place_semantics(c);
    if ((semantics & (TSR_LEAF | TSR_CODE)) != 0) continue;
    child->word = vm_word(make(BYTES, c, 60));
    tsr_ref object = place_must(&vm, semantics, VECTOR, c, 12);
    for (unsigned i = 0; i < 12; i++)
      vm_slot(object, vm_slot_index(VECTOR, i))->word = i == 5 ? child->word : FIXNUM(i);
    child->word = 0;
    if (place_sealable(semantics)) ck_assert_int_eq(tsr_seal(vm.m, object, NULL), TSR_OK);
    roots[made++].word = vm_word(object);
  }
  tsr_scope_close(vm.m, &scope);
  for (unsigned round = 0; round < 4; round++) {
    for (unsigned i = 0; i < made; i++) {
      tsr_ref object = vm_ref(roots[i].word);
      ck_assert(is_made(vm_get(vm.m, object, vm_slot_index(VECTOR, 5)), BYTES, vm_tag_of(object)));
    }
    collect_young();
  }
  stop();
}
END_TEST

static tsr_ref make_sealable(unsigned tag, size_t count) {
  tsr_ref object = place_must(&vm, TSR_NON_MOVING | TSR_READ_ONLY, VECTOR, tag, count);
  for (size_t i = 0; i < count; i++)
    vm_slot(object, vm_slot_index(VECTOR, i))->word = FIXNUM(0);
  return object;
}

START_TEST(a001_14_what_is_sealed_after_a_store) {
  start_young("256K");
  roots[0].word = vm_word(make_sealable(1, 12));
  vm_collect(&vm);
  vm_set(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, 3), vm_word(make(BYTES, 7, 100)));
  ck_assert_int_eq(tsr_seal(vm.m, vm_ref(roots[0].word), NULL), TSR_OK);
  for (unsigned round = 0; round < 4; round++) {
    collect_young();
    ck_assert(is_made(vm_get(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, 3)), BYTES, 7));
  }
  stop();
}
END_TEST

static uint64_t remembered_bytes(void) {
  static tsr_memory_share shares[64];
  size_t count = tsr_heap_memory(vm.heap, shares, 64);
  for (size_t i = 0; i < count && i < 64; i++) {
    if (strcmp(shares[i].name, "remembered set") == 0) return shares[i].bytes;
  }
  return 0;
}

/* An object that is sealed for good refers to young ones that stay where they are, and so stay young, for good. */
START_TEST(a001_08_what_is_remembered_is_remembered_once) {
  enum { COUNT = 20 };
  start_young("256K");
  roots[0].word = vm_word(make_sealable(1, COUNT));
  for (unsigned i = 0; i < COUNT; i++) {
    tsr_ref young = make(RECORD, i, 0);
    ck_assert_int_eq(tsr_pin(vm.m, young, NULL), TSR_OK);
    vm_set(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, i), vm_word(young));
  }
  ck_assert_int_eq(tsr_seal(vm.m, vm_ref(roots[0].word), NULL), TSR_OK);
  for (unsigned round = 0; round < 12; round++)
    collect_young();
  ck_assert_uint_le(remembered_bytes(), 16 * KIB);
  for (unsigned i = 0; i < COUNT; i++) {
    uint64_t word = vm_get(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, i));
    ck_assert(is_made(word, RECORD, i));
    ck_assert_int_eq(tsr_unpin(vm.m, vm_ref(word), NULL), TSR_OK);
  }
  stop();
}
END_TEST

START_TEST(f22_a_survivor_of_two_is_promoted) {
  start_young("256K");
  roots[0].word = vm_word(make(RECORD, 3, 0));
  uint64_t where[5];
  for (unsigned round = 0; round < 5; round++) {
    where[round] = roots[0].word;
    ck_assert(is_made(roots[0].word, RECORD, 3));
    collect_young();
  }
  if (vm_is_generational() && vm_stress == NULL) {
    ck_assert_uint_ne(where[0], where[1]);
    ck_assert_uint_ne(where[1], where[2]);
    ck_assert_uint_eq(where[2], where[3]);
    ck_assert_uint_eq(where[3], where[4]);
    ck_assert(armed_is(where[4], true));
  }
  stop();
}
END_TEST

/* Allocates until a minor collection has ended, and keeps all of it. */
static void collect_with_survivors(void) {
  unsigned ended = vm.ended;
  while (vm.ended == ended || vm.last_collection.minor == 0) {
    tsr_ref fresh = vm_new(vm.m, PAIR, 1, 0);
    vm_set(vm.m, fresh, vm_slot_index(PAIR, 0), roots[1].word);
    vm_set(vm.m, fresh, vm_slot_index(PAIR, 1), FIXNUM(0));
    roots[1].word = vm_word(fresh);
  }
}

/* Where all that is young survives, it is promoted at once; and no longer when much dies again. */
START_TEST(f22_ageing_ends_where_all_survive) {
  start_young("256K");
  if (vm_is_generational() && vm_stress == NULL) {
    collect_with_survivors();
    roots[0].word = vm_word(make(RECORD, 3, 0));
    uint64_t born = roots[0].word;
    collect_with_survivors();
    uint64_t promoted = roots[0].word;
    ck_assert_uint_ne(promoted, born);
    collect_with_survivors();
    ck_assert_uint_eq(roots[0].word, promoted);
    ck_assert(armed_is(promoted, true));
    collect_young();
    roots[0].word = vm_word(make(RECORD, 4, 0));
    collect_young();
    uint64_t aged = roots[0].word;
    collect_young();
    ck_assert_uint_ne(roots[0].word, aged);
    ck_assert(is_made(roots[0].word, RECORD, 4));
  }
  stop();
}
END_TEST

/* ---- what is traced, with a nursery and without ------------------------------------------------------------- */

#define KEPT 20000u

static size_t counted_size(void *data, tsr_ref object) {
  (void)data;
  (void)object;
  return 32;
}

/* On any worker. */
static size_t counted_scan(void *data, tsr_ref object, size_t resume, tsr_slot_buffer *out) {
  (void)resume;
  atomic_uint *scans = ((testvm *)data)->extra;
  atomic_fetch_add(scans, 1);
  return tsr_slot_buffer_push(out, vm_slot(object, 1)) ? TSR_SCAN_DONE : 0;
}

typedef struct tracing {
  unsigned scans;
  uint64_t peak_bytes;
} tracing;

/* An object of 32 bytes for a place of the table. */
static void make_counted(uint32_t layout, size_t place) {
  uint64_t *words = tsr_alloc_default(vm.m, 32);
  ck_assert_ptr_nonnull(words);
  words[0] = vm_header(layout, 0);
  tsr_post_alloc_default(vm.m, words, 32);
  if (place < KEPT)
    vm_set(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, place), vm_word(words));
}

/* What is traced while a million are made, of which one in a hundred takes the place of another. */
static tracing trace_a_million(const char *nursery) {
  atomic_uint scans = 0;
  uint64_t random = 4;
  vm_init_calm(&vm);
  vm_alone(&vm);
  vm_pin(&vm, "heap_min", "4M");
  vm_pin(&vm, "heap_max", "64M");
  vm_pin(&vm, "nursery", nursery);
  /* Cycles come by what is allocated, and not by the time that they take. */
  vm_pin(&vm, "pause_goal", "60s");
  vm_start(&vm);
  open_roots();
  vm.extra = &scans;
  tsr_layout layout = {TSR_LAYOUT_INIT, .name = "counted", .kind = TSR_LAYOUT_CUSTOM,
                       .object_size = counted_size, .scan = counted_scan};
  uint32_t id = tsr_layout_register(vm.heap, &layout, NULL);
  ck_assert_uint_ne(id, 0);
  roots[0].word = vm_word(vm_new(vm.m, VECTOR, 1, KEPT));
  for (unsigned i = 0; i < KEPT; i++)
    make_counted(id, i);
  vm_collect(&vm);
  atomic_store(&scans, 0);
  for (unsigned i = 0; i < 1000000; i++)
    make_counted(id, i % 100 == 0 ? vm_random(&random) % KEPT : KEPT);
  tsr_stats stats = vm_stats(&vm);
  tracing result = {atomic_load(&scans), stats.peak_committed_bytes};
  stop();
  return result;
}

/* Where most die young, minor collections and cycles trace less than cycles alone, and the heap is not larger. */
START_TEST(a001_14_less_is_traced_where_most_die_young) {
  tracing young = trace_a_million("512K"), old = trace_a_million("0");
  if (!vm_is_generational() || vm_stress != NULL || vm_verifies) return;
  ck_assert_msg(young.scans < old.scans / 4, "%u objects with a nursery, %u without", young.scans,
                old.scans);
  ck_assert_uint_le(young.peak_bytes, old.peak_bytes + old.peak_bytes / 8);
}
END_TEST

/* With a nursery whose size the library chooses. */
static void start_with(const char *heap_min, const char *heap_max, const char *pause_goal) {
  vm_init(&vm);
  vm_alone(&vm);
  vm_pin(&vm, "heap_min", heap_min);
  vm_pin(&vm, "heap_max", heap_max);
  vm_pin(&vm, "pause_goal", pause_goal);
  vm_start(&vm);
  open_roots();
}

/* Minor collections while some MiB are allocated of which half live on. */
static uint64_t minors_with_goal(const char *goal) {
  start_with("128M", "256M", goal);
  uint64_t begun = vm_stats(&vm).collections;
  for (unsigned i = 0; i < 16 * 1024; i++) {
    tsr_ref fresh = vm_new(vm.m, VECTOR, 1, 128);
    for (unsigned k = 0; k < 128; k++)
      vm_set(vm.m, fresh, vm_slot_index(VECTOR, k), k == 0 ? roots[0].word : FIXNUM(k));
    roots[0].word = vm_word(fresh);
    vm_garbage(vm.m, KIB);
  }
  uint64_t minors = vm_stats(&vm).collections - begun;
  stop();
  return minors;
}

START_TEST(f24_the_nursery_follows_the_pause_goal) {
  uint64_t short_ones = minors_with_goal("10us"), long_ones = minors_with_goal("60s");
  if (vm_is_generational() && vm_stress == NULL) {
    ck_assert_uint_ge(short_ones, 48);
    ck_assert_uint_ge(long_ones, 6);
    ck_assert_uint_le(long_ones, 16);
  }
}
END_TEST

/* A nursery that is larger than what is live, or than the heap may be: the heap makes room for it as far as it may, and what is
   live is not looked at again whenever it is full. */
START_TEST(f24_a_large_nursery_has_room) {
  static const struct {
    const char *nursery, *heap_max;
    unsigned least, most;
  } cases[] = {{"16M", "256M", 4, 8}, {"1G", "32M", 10, 30}};
  vm_init_calm(&vm);
  vm_pin(&vm, "heap_min", "8M");
  vm_pin(&vm, "heap_max", cases[_i].heap_max);
  vm_pin(&vm, "nursery", cases[_i].nursery);
  vm_start(&vm);
  open_roots();
  ck_assert(vm_list(vm.m, &roots[0], 20000, 0));
  vm_collect(&vm);
  tsr_stats before = vm_stats(&vm);
  vm_garbage(vm.m, 96 * MIB);
  tsr_stats after = vm_stats(&vm);
  ck_assert(vm_list_holds(vm.m, roots[0].word, 20000, 0));
  if (vm_is_generational() && vm_stress == NULL) {
    ck_assert_uint_eq(after.major_collections, before.major_collections);
    ck_assert_uint_ge(after.minor_collections, before.minor_collections + cases[_i].least);
    ck_assert_uint_le(after.minor_collections, before.minor_collections + cases[_i].most);
  }
  stop();
}
END_TEST

/* Whatever is allocated is born old, and dies soon. Minor collections begin cycles, and end them, also where the heap may not
   grow: before it is full, where objects are small; and where one is too large for what is left. Returns how many cycles were
   ended by a collection that was there to do so. */
static unsigned allocate_old(size_t live, size_t bytes, tsr_semantics semantics) {
  unsigned majors = 0, ends = 0, seen = vm.ended;
  unsigned made = (unsigned)(100 * MIB / bytes);
  roots[0].word = vm_word(vm_new(vm.m, VECTOR, 1, live));
  for (unsigned i = 0; i < made; i++) {
    uint64_t word = vm_word(make_in(semantics, BYTES, i, bytes));
    vm_set(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, i % live), word);
    if (vm.ended != seen) {
      const tsr_collection *last = &vm.last_collection;
      majors += last->minor == 0;
      ends += last->remark != 0 && strcmp(last->cause, "marking") == 0;
    }
    seen = vm.ended;
  }
  for (unsigned i = made - (unsigned)live; i < made; i++)
    ck_assert(
        is_made(vm_get(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, i % live)), BYTES, i));
  if (vm_is_generational() && vm_stress == NULL) {
    ck_assert_uint_eq(majors, 0);
    ck_assert_uint_ge(vm_stats(&vm).cycles, 3);
    ck_assert_uint_lt(vm_stats(&vm).peak_committed_bytes, 40 * MIB);
  }
  stop();
  return ends;
}

static const char *const small_and_large[] = {"20M", "256M"};

START_TEST(a001_14_the_old_begin_cycles) {
  start_with("4M", small_and_large[_i], "60s");
  unsigned ends = allocate_old(2500, 4 * KIB, TSR_NON_MOVING);
  if (vm_is_generational() && vm_stress == NULL) ck_assert_uint_gt(ends, 0);
}
END_TEST

START_TEST(a001_14_a_full_heap_grows_until_a_cycle_has_ended) {
  start_with("4M", small_and_large[_i], "60s");
  allocate_old(4, 2 * MIB, TSR_LARGE | TSR_READ_ONLY);
}
END_TEST

/* Some that are old live on, and what is allocated is large and dies when it is old: what a cycle leaves is swept in time,
   so garbage does not count as live when the heap gets its size. */
START_TEST(f30_large_garbage_makes_no_larger_heap) {
  uint64_t random = 1;
  start_with("4M", "512M", "60s");
  for (unsigned i = 0; i < 2500; i++) {
    uint64_t word = vm_word(make_in(TSR_NON_MOVING, VECTOR, i, 500));
    if (i > 0) vm_set(vm.m, vm_ref(word), vm_slot_index(VECTOR, 0), roots[0].word);
    roots[0].word = word;
  }
  uint64_t majors = vm_stats(&vm).major_collections;
  for (unsigned i = 0; i < many(1000); i++)
    roots[1 + i % 10].word =
        vm_word(make_in(TSR_LARGE, BYTES, i, 100 * KIB + vm_random(&random) % (2 * MIB)));
  if (vm_is_generational() && vm_stress == NULL) {
    ck_assert_uint_lt(vm_stats(&vm).heap_limit_bytes, 56 * MIB);
    ck_assert_uint_le(vm_stats(&vm).major_collections, majors + 1);
  }
  stop();
}
END_TEST

/* Objects of two sizes die at random among the old, so that what is free lies in gaps, each of a few objects. They are filled
   before the heap takes more than it has, or collects everything. */
#define SCATTERED 40000u

START_TEST(f22_a_heap_full_of_gaps_goes_on) {
  static const char *const most[] = {"8M", "64M"};
  uint64_t random = 3;
  vm_init(&vm);
  vm_alone(&vm);
  vm_pin(&vm, "heap_max", most[_i]);
  vm_pin(&vm, "heap_min", "4M");
  vm_pin(&vm, "nursery", "256K");
  vm_pin(&vm, "pause_goal", "60s");
  vm_start(&vm);
  open_roots();
  roots[0].word = vm_word(vm_new(vm.m, VECTOR, 1, SCATTERED));
  for (unsigned i = 0; i < SCATTERED; i++)
    vm_set(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, i), FIXNUM(0));
  for (unsigned n = 0; n < many(VM_SANITIZED ? 30 : 60) * SCATTERED; n++) {
    unsigned i = (unsigned)(vm_random(&random) % SCATTERED);
    uint64_t fresh = vm_word(n % 2 == 0 ? make(PAIR, i, 0) : make(BYTES, i, 60));
    if (n % 2 == 0) {
      vm_set(vm.m, vm_ref(fresh), vm_slot_index(PAIR, 0), FIXNUM(i));
      vm_set(vm.m, vm_ref(fresh), vm_slot_index(PAIR, 1), FIXNUM(0));
    }
    vm_set(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, i), fresh);
  }
  for (unsigned i = 0; i < SCATTERED; i++) {
    uint64_t word = vm_get(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, i));
    if (word != FIXNUM(0)) ck_assert_uint_eq(vm_tag_of(vm_ref(word)), i & 0xffff);
  }
  if (vm_is_generational() && vm_stress == NULL) {
    ck_assert_uint_le(vm_stats(&vm).major_collections, 1);
    ck_assert_uint_le(vm_stats(&vm).peak_committed_bytes, 12 * MIB);
  }
  stop();
}
END_TEST

/* What dies young goes at the next collection; what dies old when everything is collected. */
START_TEST(the_old_die_when_everything_is_collected) {
  start_young("256K");
  for (unsigned i = 0; i < 100; i++)
    roots[i].word = vm_word(make(RECORD, i, 0));
  vm_collect(&vm);
  size_t objects = vm_enumerate(vm.m).by_kind[RECORD];
  for (unsigned i = 0; i < 100; i++)
    roots[i].word = 0;
  for (unsigned i = 0; i < 50; i++)
    (void)make(TABLE, i, 4);
  collect_young();
  vm_census left = vm_enumerate(vm.m);
  if (vm_is_generational() && vm_stress == NULL) ck_assert_uint_eq(left.by_kind[RECORD], objects);
  if (vm_collects) ck_assert_uint_eq(left.by_kind[TABLE], 0);
  vm_collect(&vm);
  if (vm_collects) ck_assert_uint_eq(vm_enumerate(vm.m).by_kind[RECORD], 0);
  stop();
}
END_TEST

START_TEST(weak_handles_follow_the_young) {
  start_young("256K");
  roots[0].word = vm_word(make(RECORD, 1, 0));
  tsr_slot *kept = tsr_handle_new(vm.heap, roots[0].word, TSR_WEAK, NULL);
  tsr_slot *lost = tsr_handle_new(vm.heap, vm_word(make(RECORD, 2, 0)), TSR_WEAK, NULL);
  ck_assert(kept != NULL && lost != NULL);
  for (unsigned round = 0; round < 3; round++) {
    collect_young();
    ck_assert_uint_eq(kept->word, roots[0].word);
    if (vm_collects) ck_assert_uint_eq(lost->word, 0);
  }
  ck_assert_int_eq(tsr_handle_free(vm.heap, kept, NULL), TSR_OK);
  ck_assert_int_eq(tsr_handle_free(vm.heap, lost, NULL), TSR_OK);
  stop();
}
END_TEST

START_TEST(a_pinned_young_object_stays) {
  start_young("256K");
  uint64_t old = make_old(&roots[0], VECTOR, 1, 4);
  tsr_ref young = make(RECORD, 9, 0);
  vm_set(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, 2), vm_word(young));
  ck_assert_int_eq(tsr_pin(vm.m, young, NULL), TSR_OK);
  for (unsigned round = 0; round < 4; round++) {
    if (round == 2) vm_collect(&vm);
    collect_young();
    old = roots[0].word;
    ck_assert_uint_eq(vm_get(vm.m, vm_ref(old), vm_slot_index(VECTOR, 2)), vm_word(young));
    ck_assert(is_made(vm_word(young), RECORD, 9));
  }
  ck_assert_int_eq(tsr_unpin(vm.m, young, NULL), TSR_OK);
  for (unsigned round = 0; round < 3; round++) {
    collect_young();
    ck_assert(is_made(vm_get(vm.m, vm_ref(roots[0].word), vm_slot_index(VECTOR, 2)), RECORD, 9));
  }
  stop();
}
END_TEST

/* ---- a table of old vectors, and what a shadow says that they hold ------------------------------------- */

#define VECTORS  64u
#define ELEMENTS 40u

static unsigned shadow[VECTORS][ELEMENTS]; /* tags; 0: no object */

static void check_shadow(unsigned vector) {
  tsr_ref object = vm_ref(roots[vector].word);
  for (unsigned i = 0; i < ELEMENTS; i++) {
    uint64_t word = vm_get(vm.m, object, vm_slot_index(VECTOR, i));
    unsigned tag = shadow[vector][i];
    ck_assert_msg(tag == 0 ? word == FIXNUM(0) : is_made(word, BYTES, tag), "vector %u, element %u",
                  vector, i);
  }
}

START_TEST(random_stores_into_old_objects) {
  uint64_t seed = 1 + (uint64_t)_i;
  start_young("64K");
  memset(shadow, 0, sizeof shadow);
  static const tsr_semantics placements[] = {TSR_DEFAULT, TSR_NON_MOVING, TSR_IMMORTAL, TSR_LARGE};
  for (unsigned v = 0; v < VECTORS; v++) {
    tsr_ref object = place_must(&vm, placements[v % 4], VECTOR, v, ELEMENTS);
    for (unsigned i = 0; i < ELEMENTS; i++)
      vm_slot(object, vm_slot_index(VECTOR, i))->word = FIXNUM(0);
    roots[v].word = vm_word(object);
  }
  vm_collect(&vm);
  for (unsigned n = 0; n < many(60000); n++) {
    unsigned vector = (unsigned)(vm_random(&seed) % VECTORS);
    unsigned i = (unsigned)(vm_random(&seed) % ELEMENTS);
    unsigned tag = vm_random(&seed) % 8 == 0 ? 0 : 1 + (unsigned)(vm_random(&seed) % 60000);
    uint64_t word = tag == 0 ? FIXNUM(0) : vm_word(make(BYTES, tag, vm_random(&seed) % 90));
    vm_set(vm.m, vm_ref(roots[vector].word), vm_slot_index(VECTOR, i), word);
    shadow[vector][i] = tag;
    if (n % 64 == 0) check_shadow((unsigned)(vm_random(&seed) % VECTORS));
    if (n % 20000 == 19999) vm_collect(&vm);
  }
  for (unsigned v = 0; v < VECTORS; v++)
    check_shadow(v);
  stop();
}
END_TEST

/* Many threads store into the same old objects. */
static void store_and_look(vm_thread *self) {
  uint64_t seed = 100 + self->index;
  for (unsigned n = 0; n < many(4000); n++) {
    tsr_ref vector = vm_ref(roots[vm_random(&seed) % VECTORS].word);
    size_t word = vm_slot_index(VECTOR, self->index);
    tsr_ref fresh = vm_new(self->m, RECORD, self->index, 0);
    EXPECT(self, fresh != NULL);
    vm_fill(fresh, self->index);
    vector = vm_ref(roots[vm_random(&seed) % VECTORS].word);
    vm_set(self->m, vector, word, vm_word(fresh));
    vector = vm_ref(roots[vm_random(&seed) % VECTORS].word);
    uint64_t found = vm_get(self->m, vector, word);
    EXPECT(self, found == FIXNUM(0) || is_made(found, RECORD, self->index));
  }
}

START_TEST(many_threads_store_into_old_objects) {
  start_young("128K");
  for (unsigned v = 0; v < VECTORS; v++) {
    tsr_ref object = place_must(&vm, v % 2 == 0 ? TSR_DEFAULT : TSR_LARGE, VECTOR, v, ELEMENTS);
    for (unsigned i = 0; i < ELEMENTS; i++)
      vm_slot(object, vm_slot_index(VECTOR, i))->word = FIXNUM(0);
    roots[v].word = vm_word(object);
  }
  vm_collect(&vm);
  vm_threads(&vm, 4, store_and_look, NULL);
  stop();
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, many_threads_store_into_old_objects);
  if (vm_wants_threads()) return;
  tcase_add_loop_test(tests, a001_14_what_an_old_object_refers_to_survives, 0, (int)REFERRERS);
  tcase_add_loop_test(tests, a001_14_what_a_large_array_refers_to_survives, 0, 3);
  tcase_add_test(tests, a001_14_what_is_born_old_is_looked_at);
  tcase_add_test(tests, f22_a_large_array_stays_armed);
  tcase_add_test(tests, a001_14_bulk_stores_into_a_large_array);
  tcase_add_test(tests, a001_14_a_large_array_that_has_lost_its_end);
  tcase_add_test(tests, a001_14_what_is_sealed_after_a_store);
  tcase_add_test(tests, a001_08_what_is_remembered_is_remembered_once);
  tcase_add_test(tests, f22_a_survivor_of_two_is_promoted);
  tcase_add_test(tests, f22_ageing_ends_where_all_survive);
  tcase_add_test(tests, a001_14_less_is_traced_where_most_die_young);
  tcase_add_test(tests, f24_the_nursery_follows_the_pause_goal);
  if (vm_collects) tcase_add_loop_test(tests, f24_a_large_nursery_has_room, 0, 2);
  if (vm_collects) tcase_add_loop_test(tests, a001_14_the_old_begin_cycles, 0, 2);
  if (vm_collects)
    tcase_add_loop_test(tests, a001_14_a_full_heap_grows_until_a_cycle_has_ended, 0, 2);
  tcase_add_test(tests, the_old_die_when_everything_is_collected);
  tcase_add_test(tests, weak_handles_follow_the_young);
  tcase_add_test(tests, a_pinned_young_object_stays);
  tcase_add_loop_test(tests, random_stores_into_old_objects, 0, 2);
  if (!vm_collects || vm_verifies) return; /* the verifier takes too long for what it shows */
  tcase_add_test(tests, f30_large_garbage_makes_no_larger_heap);
  tcase_add_loop_test(tests, f22_a_heap_full_of_gaps_goes_on, 0, 2);
}

int main(void) {
  return vm_main("generations", add);
}
