/*
 * core/heap/sizing: the policies' arithmetic against numbers worked out by hand, and the window of time that
 * makes a heap overloaded.
 */
#include <math.h>

#include "core/heap/heap.h"
#include "core/os/thread.h"
#include "core/trace/marking.h"
#include "tests/unit/unit.h"

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define MS  ((uint64_t)1000000)

static void assert_near(uint64_t value, uint64_t expected, uint64_t tolerance) {
  uint64_t difference = value > expected ? value - expected : expected - value;
  ck_assert_msg(difference <= tolerance, "%llu, expected %llu", (unsigned long long)value,
                (unsigned long long)expected);
}

/* ---- rates ----------------------------------------------------------------------------------- */

/*
 * Samples of 100 bytes in 2 s, 300 in 2 s, 0 in 4 s, 640 in 1 s. Bytes: 100; (100 + 300) / 2 = 200;
 * (200 + 0) / 2 = 100; (100 + 640) / 2 = 370. Seconds: 2; 2; 3; 2. Were the samples themselves kept for
 * the next turn, the third rate would be (300 + 0) / 2 / 3 = 50, the fourth 320 / 2.5 = 128.
 */
START_TEST(a_rate_is_smoothed_from_the_smoothed_value) {
  static const struct {
    double bytes, seconds, rate;
  } samples[] = {{100, 2, 50}, {300, 2, 100}, {0, 4, 100.0 / 3}, {640, 1, 185}};
  sizing_rate rate = {0};
  for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
    sizing_rate_add(&rate, samples[i].bytes, samples[i].seconds);
    ck_assert_double_eq_tol(sizing_rate_bytes_per_s(&rate), samples[i].rate, 1e-9);
  }
}
END_TEST

/* 1000 bytes/s three times, then nothing in 1 s each time: a half is left each time. */
START_TEST(what_has_stopped_is_forgotten_by_halves) {
  sizing_rate rate = {0};
  for (unsigned i = 0; i < 3; i++)
    sizing_rate_add(&rate, 1000, 1);
  double expected = 1000;
  for (unsigned i = 0; i < 10; i++) {
    ck_assert_double_eq_tol(sizing_rate_bytes_per_s(&rate), expected, 1e-9);
    sizing_rate_add(&rate, 0, 1);
    expected /= 2;
  }
}
END_TEST

START_TEST(a_rate_without_time_is_not_known) {
  sizing_rate rate = {0};
  ck_assert_double_eq(sizing_rate_bytes_per_s(&rate), 0);
  sizing_rate_add(&rate, 0, 0);
  ck_assert_double_eq(sizing_rate_bytes_per_s(&rate), 0);
  sizing_rate_add(&rate, 500, 0);
  ck_assert_double_eq(sizing_rate_bytes_per_s(&rate), 0);
  sizing_rate_add(&rate, 500, 1); /* 500 bytes in half a second */
  ck_assert_double_eq_tol(sizing_rate_bytes_per_s(&rate), 1000, 1e-9);
}
END_TEST

/* ---- policies -------------------------------------------------------------------------------- */

START_TEST(proportional_room_is_a_share_of_what_is_live) {
  ck_assert_uint_eq(sizing_proportional_room_bytes(10 * MIB, 100), 10 * MIB);
  ck_assert_uint_eq(sizing_proportional_room_bytes(10 * MIB, 50), 5 * MIB);
  ck_assert_uint_eq(sizing_proportional_room_bytes(10 * MIB, 350), 35 * MIB);
  ck_assert_uint_eq(sizing_proportional_room_bytes(0, 100), 0);
  ck_assert_uint_eq(sizing_proportional_room_bytes(32768 * GIB, 10000), 3276800 * GIB);
  ck_assert_uint_eq(sizing_proportional_room_bytes(UINT64_MAX, 100), SIZING_MOST_BYTES);
}
END_TEST

/*
 * 1000 millionths for a MiB are 0.001 / MiB.
 * 40 MiB live, 100 MiB/s allocated, 400 MiB/s collected:
 *   sqrt(40 MiB * 100 / (0.001 / MiB * 400)) = sqrt(10000 MiB^2) = 100 MiB;
 *   there is one collection a second, of 0.1 s; and 100 MiB at 0.001 / MiB are worth 0.1, too.
 * 1024 MiB live, as much allocated as collected: sqrt(1024 MiB * 1000 MiB) = 1011.93 MiB.
 * 9 MiB live, 640 MiB/s, 160 MiB/s, 10000 millionths: sqrt(9 * 4 * 100) MiB = 60 MiB.
 * 1 byte live, 1 byte/s, 1 byte/s, 1 millionth: sqrt(2^20 * 10^6) bytes = 2^10 * 10^3 bytes.
 */
START_TEST(balanced_room_is_the_papers) {
  double mib = (double)MIB;
  assert_near(sizing_balanced_room_bytes(40 * MIB, 100 * mib, 400 * mib, 1000), 100 * MIB, 16);
  assert_near(sizing_balanced_room_bytes(GIB, 7 * mib, 7 * mib, 1000), 1061084307, 16);
  assert_near(sizing_balanced_room_bytes(9 * MIB, 640 * mib, 160 * mib, 10000), 60 * MIB, 16);
  assert_near(sizing_balanced_room_bytes(1, 1, 1, 1), 1024000, 1);
}
END_TEST

/* At the room that comes out collecting takes as much time as the room is worth; a tenth more or less
   room costs more. */
START_TEST(balanced_room_costs_least) {
  double live = 200 * (double)MIB, g = 3e8, s = 7e8, c = 500e-6 / (double)MIB;
  double room = (double)sizing_balanced_room_bytes(200 * MIB, g, s, 500);
  ck_assert_double_eq_tol(g * live / (s * room), c * room, 1e-6);
  double least = g * live / (s * room) + c * room;
  static const double others[] = {0.9, 1.1};
  for (size_t i = 0; i < 2; i++) {
    double other = room * others[i];
    ck_assert_double_gt(g * live / (s * other) + c * other, least);
  }
}
END_TEST

START_TEST(balanced_room_goes_the_right_way) {
  double allocated = (double)MIB;
  const double collected = 1e6 * (double)MIB;
  for (unsigned i = 0; i < 6; i++) {
    uint64_t room = sizing_balanced_room_bytes(MIB, allocated, collected, 1000);
    ck_assert_uint_gt(sizing_balanced_room_bytes(2 * MIB, allocated, collected, 1000), room);
    ck_assert_uint_gt(sizing_balanced_room_bytes(MIB, 2 * allocated, collected, 1000), room);
    ck_assert_uint_lt(sizing_balanced_room_bytes(MIB, allocated, 2 * collected, 1000), room);
    ck_assert_uint_lt(sizing_balanced_room_bytes(MIB, allocated, collected, 2000), room);
    allocated *= 10;
  }
}
END_TEST

START_TEST(balanced_room_bears_extremes) {
  ck_assert_uint_eq(sizing_balanced_room_bytes(MIB, 0, 1e9, 1000), 0);
  ck_assert_uint_eq(sizing_balanced_room_bytes(0, 1e9, 1e9, 1000), 0);
  ck_assert_uint_eq(sizing_balanced_room_bytes(MIB, 1e9, 0, 1000), SIZING_MOST_BYTES);
  ck_assert_uint_eq(sizing_balanced_room_bytes(UINT64_MAX, 1e300, 1, 1), SIZING_MOST_BYTES);
  ck_assert_uint_eq(sizing_balanced_room_bytes(UINT64_MAX, 1e308, 1e-300, 1), SIZING_MOST_BYTES);
  ck_assert_uint_eq(sizing_balanced_room_bytes(1, 1e-300, 1e300, 1000000), 0);
  ck_assert_uint_eq(sizing_balanced_room_bytes(MIB, 1e9, INFINITY, 1000), 0);
}
END_TEST

/*
 * 80 MiB live: the least room is 10 MiB and 16 KiB.
 */
START_TEST(the_size_keeps_to_its_bounds) {
  static const struct {
    uint64_t room, least, most, soft, size;
  } cases[] = {
      {40 * MIB, 32 * MIB, GIB, SIZING_MOST_BYTES, 120 * MIB},       /* the policy's */
      {40 * MIB, 256 * MIB, GIB, SIZING_MOST_BYTES, 256 * MIB},      /* the minimum */
      {40 * MIB, 32 * MIB, 100 * MIB, SIZING_MOST_BYTES, 100 * MIB}, /* the maximum */
      {40 * MIB, 32 * MIB, GIB, 100 * MIB, 100 * MIB},               /* heap_soft */
      {40 * MIB, 256 * MIB, GIB, 100 * MIB, 100 * MIB},              /* below the minimum */
      {40 * MIB, 32 * MIB, GIB, 84 * MIB, 90 * MIB + 16 * KIB},      /* what is live passes it */
      {40 * MIB, 32 * MIB, GIB, 0, 90 * MIB + 16 * KIB}, /* external memory took it all */
      {MIB, 32 * MIB, GIB, SIZING_MOST_BYTES, 90 * MIB + 16 * KIB}, /* the least room */
      {0, 32 * MIB, 84 * MIB, 84 * MIB, 84 * MIB},                  /* which is not there */
      {SIZING_MOST_BYTES, 32 * MIB, GIB, SIZING_MOST_BYTES, GIB},   /* all */
      {SIZING_MOST_BYTES, 32 * MIB, GIB, 200 * MIB, 200 * MIB}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    sizing_bounds bounds = {cases[i].least, cases[i].most, cases[i].soft};
    uint64_t size = sizing_size_bytes(80 * MIB, cases[i].room, &bounds);
    ck_assert_msg(size == cases[i].size, "case %zu: %llu", i, (unsigned long long)size);
  }
}
END_TEST

START_TEST(heap_soft_counts_external_memory) {
  ck_assert_uint_eq(sizing_soft_bytes(64 * MIB, 0), 64 * MIB);
  ck_assert_uint_eq(sizing_soft_bytes(64 * MIB, 24 * MIB), 40 * MIB);
  ck_assert_uint_eq(sizing_soft_bytes(64 * MIB, 65 * MIB), 0);
  ck_assert_uint_eq(sizing_soft_bytes(0, 24 * MIB), SIZING_MOST_BYTES);
}
END_TEST

/* Half; in a group all but an eighth and all but 4 MiB; never less than half. */
START_TEST(F55_a_group_leaves_more_than_a_machine) {
  ck_assert_uint_eq(sizing_default_max_bytes(64 * MIB, UINT64_MAX), 32 * MIB);
  ck_assert_uint_eq(sizing_default_max_bytes(64 * MIB, 64 * MIB), 56 * MIB);
  ck_assert_uint_eq(sizing_default_max_bytes(64 * MIB, 64 * MIB + 1), 32 * MIB);
  ck_assert_uint_eq(sizing_default_max_bytes(16 * GIB, 16 * GIB), 14 * GIB);
  ck_assert_uint_eq(sizing_default_max_bytes(16 * MIB, 16 * MIB), 12 * MIB);
  ck_assert_uint_eq(sizing_default_max_bytes(6 * MIB, 6 * MIB), 3 * MIB);
  ck_assert_uint_eq(sizing_default_max_bytes(2 * MIB, 2 * MIB), MIB);
}
END_TEST

/* ---- time spent collecting ------------------------------------------------------------------- */

static void add_cycles(sizing_window *window, unsigned count, uint64_t running_ns,
                       uint64_t collecting_ns) {
  while (count-- > 0) {
    sizing_window_run(window, running_ns);
    sizing_window_collect(window, collecting_ns);
  }
}

START_TEST(a_window_judges_when_it_is_full) {
  sizing_window window = {.count = 0};
  add_cycles(&window, SIZING_WINDOW - 1, 0, MS);
  ck_assert(!sizing_window_exceeds(&window, 1));
  add_cycles(&window, 1, 0, MS);
  ck_assert(sizing_window_exceeds(&window, 99));
  ck_assert(!sizing_window_exceeds(&window, 100));
  sizing_window_clear(&window);
  ck_assert(!sizing_window_exceeds(&window, 1));
}
END_TEST

/* Eight times 1 ms of running and 19 ms of collecting: 152 ms of 160 are 95 %, which is not more than 95 %. */
START_TEST(a_share_is_exceeded_or_not) {
  sizing_window window = {.count = 0};
  add_cycles(&window, SIZING_WINDOW, MS, 19 * MS);
  ck_assert(!sizing_window_exceeds(&window, 95));
  ck_assert(sizing_window_exceeds(&window, 94));
  add_cycles(&window, 1, MS, 19 * MS + 1);
  ck_assert(sizing_window_exceeds(&window, 95));
}
END_TEST

/* The ninth takes the place of the first: seven times 1 ms of 10, and 30 ms of 40, are 37 ms of 110. */
START_TEST(a_window_forgets_the_oldest) {
  sizing_window window = {.count = 0};
  add_cycles(&window, 1, 0, 1000 * MS);
  add_cycles(&window, SIZING_WINDOW - 1, 9 * MS, MS);
  ck_assert(sizing_window_exceeds(&window, 90));
  add_cycles(&window, 1, 10 * MS, 30 * MS);
  /* 37 of 63 + 10 + 37 = 110: 33.6 % */
  ck_assert(sizing_window_exceeds(&window, 33));
  ck_assert(!sizing_window_exceeds(&window, 34));
}
END_TEST

/* Time between collections that do not count goes to the next that does. */
START_TEST(a_window_counts_all_running) {
  sizing_window window = {.count = 0};
  for (unsigned i = 0; i < SIZING_WINDOW; i++) {
    sizing_window_run(&window, 2 * MS);
    sizing_window_run(&window, MS);
    sizing_window_collect(&window, MS);
  }
  ck_assert(sizing_window_exceeds(&window, 24)); /* 8 of 32: 25 % */
  ck_assert(!sizing_window_exceeds(&window, 25));
}
END_TEST

/* 9 MiB live in a maximum of 13 MiB: room for 4 MiB is less than half, in 14 MiB 5 MiB are more. */
START_TEST(a_heap_is_full_at_its_maximum_alone) {
  ck_assert(sizing_is_full(9 * MIB, 13 * MIB, 13 * MIB));
  ck_assert(!sizing_is_full(9 * MIB, 13 * MIB - 1, 13 * MIB));
  ck_assert(!sizing_is_full(9 * MIB, 14 * MIB, 14 * MIB));
  ck_assert(sizing_is_full(15 * MIB, 14 * MIB, 14 * MIB)); /* it was overcommitted */
}
END_TEST

START_TEST(a_heap_that_is_not_full_is_not_overloaded) {
  sizing_window window = {.count = 0};
  for (unsigned i = 0; i < 10 * SIZING_WINDOW; i++) {
    bool is_full = i % 14 != 0; /* thirteen in a row are */
    ck_assert(!sizing_is_overload(&window, is_full, true, 0, 1000 * MS, 95));
  }
}
END_TEST

/* The eighth fills the window. Of its second, and of each that follows, an eighth counts: the fifteenth makes it
   a second. Then all begins again. */
START_TEST(each_overload_is_told_once) {
  sizing_window window = {.count = 0};
  for (unsigned i = 1; i <= 60; i++) {
    bool overload = sizing_is_overload(&window, true, true, MS, 1000 * MS, 95);
    ck_assert_int_eq(overload, i % 15 == 0);
  }
}
END_TEST

/* 10 ms each: the eighth is the first of a hundred. */
START_TEST(short_collections_are_an_overload_after_a_second) {
  sizing_window window = {.count = 0};
  for (unsigned i = 1; i <= 107; i++)
    ck_assert_int_eq(sizing_is_overload(&window, true, true, 0, 10 * MS, 95), i == 107);
}
END_TEST

/* One collection that takes 100 s, with 50 ms of running before each, stays in the window for eight turns. */
START_TEST(one_long_collection_is_no_overload) {
  sizing_window window = {.count = 0};
  for (unsigned i = 0; i < 100; i++) {
    uint64_t collecting_ns = i % 20 == 10 ? 100000 * MS : 50 * MS;
    ck_assert(!sizing_is_overload(&window, true, true, 50 * MS, collecting_ns, 95));
  }
}
END_TEST

START_TEST(collections_that_nothing_allocated_for_do_not_count) {
  sizing_window window = {.count = 0};
  for (unsigned i = 1; i <= 15; i++) {
    ck_assert(!sizing_is_overload(&window, true, false, 0, 1000 * MS, 95));
    ck_assert_int_eq(sizing_is_overload(&window, true, true, 0, 1000 * MS, 95), i == 15);
  }
}
END_TEST

/* ---- external memory ------------------------------------------------------------------------- */

/* 80 MiB live: the least room is 10 MiB and 16 KiB. */
START_TEST(external_memory_has_room) {
  static const struct {
    uint64_t heap_room, low, soft, percent, room;
  } cases[] = {{40 * MIB, 0, 0, 100, 40 * MIB},          /* the heap's own */
               {40 * MIB, 100 * MIB, 0, 100, 100 * MIB}, /* a share of the total */
               {40 * MIB, 100 * MIB, 0, 50, 50 * MIB},
               {40 * MIB, 100 * MIB, 0, 20, 40 * MIB},
               {40 * MIB, 100 * MIB, 210 * MIB, 100, 30 * MIB}, /* what heap_soft leaves */
               {40 * MIB, 100 * MIB, 181 * MIB, 100, 10 * MIB + 16 * KIB},
               {40 * MIB, 100 * MIB, MIB, 100, 10 * MIB + 16 * KIB}, /* passed already */
               {0, 0, 0, 100, 10 * MIB + 16 * KIB},
               {40 * MIB, 32768 * GIB, 0, 100, 32768 * GIB}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    sizing_outside outside = {.live_bytes = 80 * MIB,
                              .heap_room_bytes = cases[i].heap_room,
                              .low_bytes = cases[i].low,
                              .soft_bytes = cases[i].soft,
                              .room_percent = cases[i].percent};
    uint64_t room = sizing_external_room_bytes(&outside);
    ck_assert_msg(room == cases[i].room, "case %zu: %llu", i, (unsigned long long)room);
  }
}
END_TEST

/* ---- a heap ---------------------------------------------------------------------------------- */

/* As unit_binding; nothing is stored into an object that is not new. */
static const tsr_binding barrier_binding = {TSR_BINDING_HEADER, .name = "unit",
                                            .does = TSR_DOES_SAFEPOINTS | TSR_DOES_UPDATABLE_SLOTS |
                                                    TSR_DOES_WRITE_BARRIER,
                                            .layouts = unit_layouts, .layout_count = 2};

static tsr_heap *heap_with(const char *plan, const char *const (*pinned)[2], size_t count) {
  tsr_options *options = tsr_options_create();
  ck_assert_int_eq(tsr_options_set(options, "plan", plan, NULL), TSR_OK);
  for (size_t i = 0; i < count; i++)
    ck_assert_int_eq(tsr_options_set(options, pinned[i][0], pinned[i][1], NULL), TSR_OK);
  tsr_heap *heap = tsr_heap_create(&barrier_binding, NULL, options, NULL);
  ck_assert_ptr_nonnull(heap);
  tsr_options_destroy(options);
  return heap;
}

/* What a collection does at its end that took so long, after mutators ran for so long. */
static void pretend_collection(tsr_heap *heap, bool for_allocation, uint64_t running_ns,
                               uint64_t collecting_ns) {
  uint64_t now_ns = os_clock_ns();
  ck_assert_uint_gt(now_ns, running_ns + collecting_ns + MS);
  sizing_pause pause = {.for_allocation = for_allocation,
                        .begin_ns = now_ns - collecting_ns - MS,
                        .apart_ns = MS}; /* the verifier's */
  heap->sizing.resumed_ns = pause.begin_ns - running_ns;
  heap_resize(heap, &pause);
}

static void pretend_collections(tsr_heap *heap, unsigned count, uint64_t running_ns,
                                uint64_t collecting_ns) {
  while (count-- > 0)
    pretend_collection(heap, true, running_ns, collecting_ns);
}

/* Takes as much of a heap as a large object of so many bytes does. */
static void occupy(tsr_heap *heap, size_t bytes) {
  tsr_mutator *m = tsr_bind_mutator(heap, heap, NULL);
  ck_assert_ptr_nonnull(m);
  unit_array *array = tsr_alloc(m, bytes, 8, 0, TSR_LARGE);
  ck_assert_ptr_nonnull(array);
  *array = (unit_array){.header = TSR_HEADER(ARRAY), .length = bytes / 8 - 2};
  tsr_post_alloc(m, (tsr_ref)array, bytes, TSR_LARGE);
  ck_assert_int_eq(tsr_unbind_mutator(m, NULL), TSR_OK);
}

/* Eight fill a window, and with the eighth begin eight that are too much. */
#define OVERLOAD (2 * SIZING_WINDOW - 1)

START_TEST(a_heap_that_only_collects_is_overloaded) {
  static const char *const pinned[][2] = {{"heap_max", "4M"}};
  tsr_heap *heap = heap_with("markcompact", pinned, 1);
  occupy(heap, 3 * MIB);
  pretend_collections(heap, 3 * OVERLOAD, 1000 * MS, 500 * MS);
  ck_assert(!heap_take_overload(heap));
  heap_forget_overload(heap); /* the next collection begins another window */
  pretend_collections(heap, OVERLOAD - 1, 0, 500 * MS);
  ck_assert(!heap_take_overload(heap));
  pretend_collection(heap, false, 0, 500 * MS); /* a request */
  ck_assert(!heap_take_overload(heap));
  pretend_collections(heap, 1, 0, 500 * MS);
  ck_assert(heap_take_overload(heap));
  ck_assert(!heap_take_overload(heap)); /* once */
  pretend_collections(heap, OVERLOAD - 1, 0, 500 * MS);
  heap_forget_overload(heap);
  pretend_collections(heap, OVERLOAD - 1, 0, 500 * MS);
  ck_assert(!heap_take_overload(heap));
  pretend_collections(heap, 1, 0, 500 * MS);
  heap_forget_overload(heap);
  ck_assert(!heap_take_overload(heap));
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
}
END_TEST

/* One that is nearly empty, and one that is not at its maximum. */
START_TEST(a_heap_with_room_is_not_overloaded) {
  static const char *const pinned[][2] = {{"heap_max", "16M"}, {"heap_min", "4M"}};
  tsr_heap *heap = heap_with("markcompact", pinned, 1);
  pretend_collections(heap, OVERLOAD, 0, 500 * MS);
  ck_assert(!heap_take_overload(heap));
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
  heap = heap_with("markcompact", pinned, 2);
  occupy(heap, 3 * MIB);
  pretend_collections(heap, OVERLOAD, 0, 500 * MS);
  ck_assert(!heap_take_overload(heap));
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
}
END_TEST

/*
 * 64 MiB allocated in 2 s, and 4 s of collecting: with n for what the heap has come to need by that,
 * g / s is (n / 2 s) / (live / 4 s), and the room is sqrt(live * g / (c * s)) = sqrt(2 * n / c); with 1000
 * millionths for a MiB, sqrt(2000 * n / MiB) MiB. Under markcompact n is 64 MiB: sqrt(128000) = 357.77. Under
 * semispace a copy may be needed, and a sixteenth of it more: n is 64 * (2 + 1 / 16) = 132 MiB, and
 * sqrt(264000) = 513.81.
 */
START_TEST(a_balanced_heap_counts_as_its_plan_does) {
  static const struct {
    const char *plan;
    double room_mib;
  } cases[] = {{"markcompact", 357.77}, {"semispace", 513.81}};
  static const char *const pinned[][2] = {
      {"heap_max", "4G"}, {"heap_min", "1M"}, {"sizing", "membalancer"}};
  for (size_t i = 0; i < 2; i++) {
    tsr_heap *heap = heap_with(cases[i].plan, pinned, 3);
    os_atomic_store(&heap->bytes_allocated, 64 * MIB);
    pretend_collection(heap, true, 2000 * MS, 4000 * MS);
    uint64_t room = os_atomic_load(&heap->limit_bytes) - os_atomic_load(&heap->sizing.live_bytes);
    assert_near(room, (uint64_t)(cases[i].room_mib * (double)MIB), 2 * MIB);
    ck_assert_uint_eq(room, os_atomic_load(&heap->sizing.room_bytes));
    ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
  }
}
END_TEST

/* 4 MiB were room before the first collection, so 8 MiB may be held until one has ended; never more than the maximum. */
START_TEST(a_heap_stretches_by_its_room) {
  static const char *const nurseries[] = {"512K", "0"};
  static const struct {
    const char *max;
    size_t fits, fits_not; /* blocks more */
  } cases[] = {{"64M", 60, 260}, {"6M", 30, 160}};
  for (size_t i = 0; i < 2; i++) {
    const char *const pinned[][2] = {
        {"heap_max", cases[i].max}, {"heap_min", "4M"}, {"nursery", nurseries[_i]}};
    tsr_heap *heap = heap_with("quadcolor", pinned, 3);
    occupy(heap, 4 * MIB - 256 * KIB);
    uintptr_t limit = os_atomic_load(&heap->limit_bytes);
    ck_assert(!heap_fits_now(heap, 0, cases[i].fits));
    ck_assert(!heap_stretch(heap, 0, cases[i].fits_not));
    heap->claim_blocks = 0;
    ck_assert(!marking_may_grow(heap, cases[i].fits_not));
    ck_assert_uint_eq(os_atomic_load(&heap->limit_bytes), limit);
    ck_assert(marking_may_grow(heap, cases[i].fits / 2));
    ck_assert(heap_fits_now(heap, cases[i].fits / 2, 0));
    ck_assert_uint_gt(os_atomic_load(&heap->limit_bytes), limit);
    ck_assert_uint_le(os_atomic_load(&heap->limit_bytes), 8 * MIB);
    ck_assert_uint_le(os_atomic_load(&heap->limit_bytes), heap->account.limit_bytes);
    ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
  }
}
END_TEST

/* ---- the nursery ------------------------------------------------------------------------------ */

/* What it admits beyond its size, for it is needed at once, leaves the room, and by how much it stretches, as they were. */
START_TEST(a_heap_that_must_grow_has_room) {
  static const char *const pinned[][2] = {
      {"heap_max", "64M"}, {"heap_min", "4M"}, {"nursery", "0"}};
  tsr_heap *heap = heap_with("quadcolor", pinned, 3);
  uintptr_t room = os_atomic_load(&heap->sizing.room_bytes);
  size_t blocks = 40 * MIB / BLOCK_BYTES;
  ck_assert(!heap_admits(heap, 0, blocks, MEMORY_WITHIN_SIZE));
  ck_assert(heap_admits(heap, 0, blocks, MEMORY_WITHIN_LIMIT));
  uintptr_t limit = os_atomic_load(&heap->limit_bytes);
  ck_assert_uint_gt(limit, 40 * MIB);
  ck_assert_uint_eq(os_atomic_load(&heap->sizing.room_bytes), room);
  ck_assert_uint_eq(os_atomic_load(&heap->sizing.live_bytes), limit - room);
  ck_assert_uint_eq(heap_stretched_bytes(heap), limit + room);
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
}
END_TEST

START_TEST(F24_the_nursery_is_what_the_goal_allows) {
  ck_assert_uint_eq(nursery_bytes_for(1e9, 0.002, 4 * MIB), 2000000);
  ck_assert_uint_eq(nursery_bytes_for(1e9, 0.0001, 4 * MIB), 512 * KIB);
  ck_assert_uint_eq(nursery_bytes_for(1e9, 1, 4 * MIB), 4 * MIB);
  ck_assert_uint_eq(nursery_bytes_for(0, 1, 4 * MIB), 512 * KIB);
}
END_TEST

/* At most a quarter of the cache, within 4 and 8 MiB. */
START_TEST(F24_the_nursery_fits_the_cache) {
  ck_assert_uint_eq(nursery_most_bytes(0), 4 * MIB);
  ck_assert_uint_eq(nursery_most_bytes(16 * MIB), 4 * MIB);
  ck_assert_uint_eq(nursery_most_bytes(24 * MIB), 6 * MIB);
  ck_assert_uint_eq(nursery_most_bytes(32 * MIB), 8 * MIB);
  ck_assert_uint_eq(nursery_most_bytes(256 * MIB), 8 * MIB);
}
END_TEST

static void learn_ns(tsr_heap *heap, size_t blocks, uint64_t roots_ns, uint64_t rest_ns) {
  nursery_learn(heap,
                &(nursery_sample){.blocks = blocks, .roots_ns = roots_ns, .rest_ns = rest_ns});
}

/* 64 blocks in 2 ms are 2^20 bytes a ms, so three goals of 0.5 ms are worth 1.5 MiB. */
START_TEST(F24_roots_make_no_smaller_nursery) {
  static const char *const pinned[][2] = {
      {"heap_max", "64M"}, {"heap_min", "64M"}, {"pause_goal", "500us"}};
  tsr_heap *heap = heap_with("quadcolor", pinned, 3);
  heap->nursery.most_bytes = 4 * MIB;
  ck_assert_uint_eq(nursery_blocks(heap), 32);
  ck_assert_uint_eq(nursery_filled_blocks(heap, 5), 5);
  learn_ns(heap, 0, 0, 100 * MS); /* nothing was allocated */
  ck_assert_uint_eq(nursery_blocks(heap), 32);
  learn_ns(heap, 64, 0, 2 * MS);
  ck_assert_uint_eq(nursery_blocks(heap), 48);
  learn_ns(heap, 64, 4 * MS, 2 * MS); /* two on the average: as long for the rest */
  ck_assert_uint_eq(nursery_blocks(heap), 64);
  learn_ns(heap, 64, 1000 * MS, 2 * MS);
  ck_assert_uint_eq(nursery_blocks(heap), 128);
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
}
END_TEST

/* Of so many blocks this percentage survived. */
static void learn_survived(tsr_heap *heap, size_t blocks, size_t percent, unsigned times) {
  nursery_sample sample = {
      .blocks = blocks, .survived_bytes = blocks * BLOCK_BYTES / 100 * percent, .rest_ns = MS};
  for (unsigned i = 0; i < times; i++)
    nursery_learn(heap, &sample);
}

/* 64 blocks in 2 ms, of which three quarters survive: one goal of 2 ms is worth as many, and three are when half of it dies. */
START_TEST(F24_where_all_survives_a_goal_is_enough) {
  static const char *const pinned[][2] = {
      {"heap_max", "64M"}, {"heap_min", "64M"}, {"pause_goal", "2ms"}};
  tsr_heap *heap = heap_with("quadcolor", pinned, 3);
  heap->nursery.most_bytes = 8 * MIB;
  nursery_sample sample = {.blocks = 64, .rest_ns = 2 * MS};
  sample.survived_bytes = 48 * BLOCK_BYTES;
  nursery_learn(heap, &sample);
  ck_assert_uint_eq(nursery_blocks(heap), 64);
  sample.survived_bytes = 31 * BLOCK_BYTES;
  nursery_learn(heap, &sample);
  ck_assert_uint_eq(nursery_blocks(heap), 192);
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
}
END_TEST

START_TEST(F24_a_nursery_that_is_no_use_rests) {
  static const char *const pinned[][2] = {{"heap_max", "64M"}, {"heap_min", "64M"}};
  tsr_heap *heap = heap_with("quadcolor", pinned, 2);
  size_t whole = nursery_blocks(heap);
  learn_survived(heap, whole, 90, 3);
  ck_assert(!nursery_may_rest(heap));
  learn_survived(heap, whole, 70, 1); /* some has died */
  learn_survived(heap, 128, 90, 3);
  learn_survived(heap, 1, 90, 3); /* which had no time to die */
  ck_assert(!nursery_may_rest(heap));
  nursery_learn(heap, &(nursery_sample){.blocks = 128,
                                        .large_blocks = 129, /* which die young, if ever */
                                        .survived_bytes = 128 * BLOCK_BYTES});
  learn_survived(heap, 128, 90, 3);
  ck_assert(!nursery_may_rest(heap));
  learn_survived(heap, 128, 90, 1);
  ck_assert(nursery_may_rest(heap));
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
}
END_TEST

/* It is tried again, and has to be of less use from time to time before it rests again where it was of some. */
START_TEST(F24_a_nursery_that_has_rested_is_tried) {
  static const char *const pinned[][2] = {{"heap_max", "64M"}, {"heap_min", "64M"}};
  tsr_heap *heap = heap_with("quadcolor", pinned, 2);
  learn_survived(heap, 128, 90, 4);
  nursery_rest(heap);
  ck_assert(!heap_form(heap)->generational);
  nursery_wake(heap);
  ck_assert(heap_form(heap)->generational);
  ck_assert_uint_eq(nursery_blocks(heap), 16);
  ck_assert(!nursery_may_rest(heap));
  learn_survived(heap, 16, 90, 1);
  ck_assert(nursery_may_rest(heap));
  for (unsigned patience = 8; patience <= 512; patience *= 2) {
    nursery_rest(heap);
    nursery_wake(heap);
    learn_survived(heap, 16, 50, 1);
    learn_survived(heap, 128, 90, (patience < 256 ? patience : 256) - 1);
    ck_assert(!nursery_may_rest(heap));
    learn_survived(heap, 128, 90, 1);
    ck_assert(nursery_may_rest(heap));
  }
  nursery_rest(heap);
  nursery_wake(heap);
  learn_survived(heap, 128, 90, 1);
  learn_survived(heap, 128, 50, 1);
  learn_survived(heap, 128, 90, 4);
  ck_assert(nursery_may_rest(heap));
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
}
END_TEST

START_TEST(F24_a_nursery_of_a_given_size_does_not_rest) {
  static const char *const pinned[][2] = {{"heap_max", "64M"}, {"nursery", "1M"}};
  tsr_heap *heap = heap_with("quadcolor", pinned, 2);
  learn_survived(heap, 128, 100, 100);
  ck_assert(!nursery_may_rest(heap));
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
}
END_TEST

/* An eighth of the heap; more where to clear it takes less than the roots, up to half of what is not live. */
START_TEST(F24_many_roots_make_large_objects_wait) {
  tsr_heap *heap = heap_with("quadcolor", NULL, 0);
  size_t blocks = os_atomic_load(&heap->limit_bytes) >> BLOCK_SHIFT;
  ck_assert_uint_eq(nursery_large_blocks(heap), blocks / 8);
  learn_ns(heap, 0, MS / 10, 0);
  ck_assert_uint_eq(nursery_large_blocks(heap), blocks / 8);
  for (unsigned i = 0; i < 50; i++)
    learn_ns(heap, 0, 2 * MS, 0); /* in which 8 MB are cleared */
  ck_assert_uint_ge(nursery_large_blocks(heap), 8 * 1000 * 1000 / BLOCK_BYTES - 1);
  ck_assert_uint_le(nursery_large_blocks(heap), 8 * 1000 * 1000 / BLOCK_BYTES);
  for (unsigned i = 0; i < 50; i++)
    learn_ns(heap, 0, 1000 * MS, 0);
  ck_assert_uint_eq(nursery_large_blocks(heap), blocks / 2);
  os_atomic_store(&heap->sizing.live_bytes, blocks * BLOCK_BYTES / 2);
  ck_assert_uint_eq(nursery_large_blocks(heap), blocks / 4);
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("sizing");
  TCase *tests = tcase_create("all");
  tcase_add_test(tests, a_rate_is_smoothed_from_the_smoothed_value);
  tcase_add_test(tests, what_has_stopped_is_forgotten_by_halves);
  tcase_add_test(tests, a_rate_without_time_is_not_known);
  tcase_add_test(tests, proportional_room_is_a_share_of_what_is_live);
  tcase_add_test(tests, balanced_room_is_the_papers);
  tcase_add_test(tests, balanced_room_costs_least);
  tcase_add_test(tests, balanced_room_goes_the_right_way);
  tcase_add_test(tests, balanced_room_bears_extremes);
  tcase_add_test(tests, the_size_keeps_to_its_bounds);
  tcase_add_test(tests, heap_soft_counts_external_memory);
  tcase_add_test(tests, F55_a_group_leaves_more_than_a_machine);
  tcase_add_test(tests, a_window_judges_when_it_is_full);
  tcase_add_test(tests, a_share_is_exceeded_or_not);
  tcase_add_test(tests, a_window_forgets_the_oldest);
  tcase_add_test(tests, a_window_counts_all_running);
  tcase_add_test(tests, a_heap_that_is_not_full_is_not_overloaded);
  tcase_add_test(tests, a_heap_is_full_at_its_maximum_alone);
  tcase_add_test(tests, each_overload_is_told_once);
  tcase_add_test(tests, short_collections_are_an_overload_after_a_second);
  tcase_add_test(tests, one_long_collection_is_no_overload);
  tcase_add_test(tests, collections_that_nothing_allocated_for_do_not_count);
  tcase_add_test(tests, external_memory_has_room);
  tcase_add_test(tests, a_heap_that_only_collects_is_overloaded);
  tcase_add_test(tests, a_heap_with_room_is_not_overloaded);
  tcase_add_test(tests, a_balanced_heap_counts_as_its_plan_does);
  tcase_add_loop_test(tests, a_heap_stretches_by_its_room, 0, 2);
  tcase_add_test(tests, a_heap_that_must_grow_has_room);
  tcase_add_test(tests, F24_the_nursery_is_what_the_goal_allows);
  tcase_add_test(tests, F24_the_nursery_fits_the_cache);
  tcase_add_test(tests, F24_roots_make_no_smaller_nursery);
  tcase_add_test(tests, F24_many_roots_make_large_objects_wait);
  tcase_add_test(tests, F24_where_all_survives_a_goal_is_enough);
  tcase_add_test(tests, F24_a_nursery_that_is_no_use_rests);
  tcase_add_test(tests, F24_a_nursery_that_has_rested_is_tried);
  tcase_add_test(tests, F24_a_nursery_of_a_given_size_does_not_rest);
  suite_add_tcase(suite, tests);
  return unit_run(suite);
}
