/*
 * core/trace/pins: the table, against a model that counts.
 *
 * The table never looks at an object before its heap is destroyed, so any granule of the heap's range will do
 * for one; each test has taken all pins back by then. Collections are those that the table is told
 * of. What pins do for objects is tested in tests/conformance.
 */
#include <string.h>

#include "core/trace/pins.h"
#include "tests/unit/unit.h"

#define OBJECTS 4096u

/* As ck_assert_msg(), for places that are passed very often: Check notes each assertion that holds. */
#define REQUIRE(condition, ...)                                                                    \
  do {                                                                                             \
    if (!(condition)) ck_abort_msg(__VA_ARGS__);                                                   \
  } while (0)

typedef struct shadow {
  unsigned count;
  bool once;
  bool seen; /* by the last look */
} shadow;

typedef struct model {
  tsr_heap *heap;
  uint32_t distance_granules; /* between objects */
  shadow objects[OBJECTS];
} model;

static uint64_t pins_random;

static uint32_t pins_random_below(uint32_t bound) {
  pins_random = pins_random * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(pins_random >> 33) % bound;
}

static tsr_ref object_of(const model *m, uint32_t i) {
  return (tsr_ref)(m->heap->blocks.base + (uintptr_t)i * m->distance_granules * TSR_GRANULE);
}

static size_t held_bytes(const tsr_heap *heap) {
  return os_atomic_load(&heap->account.by_type[MEMORY_PINS].bytes);
}

static void look(void *context, tsr_ref object) {
  model *m = context;
  uintptr_t distance = (uintptr_t)object - m->heap->blocks.base;
  uintptr_t step = (uintptr_t)m->distance_granules * TSR_GRANULE;
  REQUIRE(distance % step == 0 && distance / step < OBJECTS, "no object lies at %#zx", distance);
  shadow *s = &m->objects[distance / step];
  REQUIRE(!s->seen, "object %zu was shown twice", (size_t)(distance / step));
  s->seen = true;
}

static void check_table(model *m) {
  pins_each(m->heap->pins, look, m);
  for (uint32_t i = 0; i < OBJECTS; i++) {
    shadow *s = &m->objects[i];
    REQUIRE(s->seen == (s->count > 0 || s->once), "object %u has %u pins", i, s->count);
    s->seen = false;
  }
}

static void pin_one(model *m, uint32_t i, bool once) {
  REQUIRE(pins_add(m->heap, object_of(m, i), once, NULL) == TSR_OK, "no pin for object %u", i);
  m->objects[i].count += !once;
  m->objects[i].once |= once;
}

static void unpin_one(model *m, uint32_t i) {
  tsr_error error = {0};
  tsr_status status = pins_remove(m->heap, object_of(m, i), &error);
  REQUIRE(status == (m->objects[i].count > 0 ? TSR_OK : TSR_INVALID_ARGUMENT) &&
              error.status == status,
          "object %u had %u pins, and taking one back gave %s", i, m->objects[i].count,
          tsr_status_name(status));
  m->objects[i].count -= m->objects[i].count > 0;
}

static void end_collection(model *m) {
  pins_end_collection(m->heap);
  for (uint32_t i = 0; i < OBJECTS; i++)
    m->objects[i].once = false;
}

static void unpin_all(model *m) {
  end_collection(m);
  for (uint32_t i = 0; i < OBJECTS; i++) {
    while (m->objects[i].count > 0)
      unpin_one(m, i);
  }
  check_table(m);
}

/* Random pins among the first `objects`, which lie side by side or far apart. */
static void run_model(uint32_t objects, uint32_t distance_granules, unsigned steps) {
  model *m = calloc(1, sizeof *m);
  ck_assert_ptr_nonnull(m);
  m->heap = unit_heap("nogc", "32M");
  m->distance_granules = distance_granules;
  for (unsigned step = 0; step < steps; step++) {
    uint32_t i = pins_random_below(objects);
    switch (pins_random_below(16)) {
    case 0:
      pin_one(m, i, true);
      break;
    case 1:
      if (step % 8 == 0) end_collection(m);
      break;
    default:
      /* Waves: now the table fills, now it empties. */
      if (pins_random_below(8) < (step / 1024 % 2 == 0 ? 5 : 3)) {
        pin_one(m, i, false);
      } else {
        unpin_one(m, i);
      }
      break;
    }
    if (step % 16 == 0) check_table(m);
  }
  unpin_all(m);
  ck_assert_int_eq(tsr_heap_destroy(m->heap, NULL), TSR_OK);
  free(m);
}

/* As many as one small table holds: it is often nearly full, and runs of entries reach round its end. */
START_TEST(small_tables_agree_with_the_model) {
  pins_random = 1;
  for (unsigned round = 0; round < 20; round++)
    run_model(20 + 7 * (round % 5), 1 + round * 37, 4000);
}
END_TEST

START_TEST(growing_and_shrinking_tables_agree_with_the_model) {
  pins_random = 2;
  run_model(OBJECTS, 1, 40000);
  run_model(OBJECTS, 512, 40000);
}
END_TEST

/* ---- order --------------------------------------------------------------------------------------- */

typedef struct sequence {
  const tsr_heap *heap;
  uintptr_t distances[OBJECTS];
  size_t length;
} sequence;

static void note(void *context, tsr_ref object) {
  sequence *s = context;
  s->distances[s->length++] = (uintptr_t)object - s->heap->blocks.base;
}

/* Two heaps lie at different addresses: the same pins come in the same order. */
START_TEST(the_order_does_not_depend_on_the_base) {
  static sequence sequences[2];
  static model models[2];
  for (unsigned k = 0; k < 2; k++) {
    models[k] = (model){.heap = unit_heap("nogc", "32M"), .distance_granules = 3};
    sequences[k] = (sequence){.heap = models[k].heap};
    pins_random = 3;
    for (unsigned step = 0; step < 3000; step++) {
      uint32_t i = pins_random_below(OBJECTS);
      if (step % 4 == 3) {
        unpin_one(&models[k], i);
      } else {
        pin_one(&models[k], i, false);
      }
    }
    pins_each(models[k].heap->pins, note, &sequences[k]);
  }
  ck_assert_uint_ne(models[0].heap->blocks.base, models[1].heap->blocks.base);
  ck_assert_uint_gt(sequences[0].length, 1000);
  ck_assert_uint_eq(sequences[0].length, sequences[1].length);
  size_t bytes = sequences[0].length * sizeof sequences[0].distances[0];
  ck_assert_int_eq(memcmp(sequences[0].distances, sequences[1].distances, bytes), 0);
  for (unsigned k = 0; k < 2; k++) {
    unpin_all(&models[k]);
    ck_assert_int_eq(tsr_heap_destroy(models[k].heap, NULL), TSR_OK);
  }
}
END_TEST

/* ---- memory ---------------------------------------------------------------------------------------- */

START_TEST(a_table_takes_memory_with_the_first_pin_and_gives_it_back) {
  static model m;
  m = (model){.heap = unit_heap("nogc", "32M"), .distance_granules = 1};
  ck_assert_uint_eq(held_bytes(m.heap), 0);
  end_collection(&m);
  ck_assert_uint_eq(held_bytes(m.heap), 0);
  pin_one(&m, 0, false);
  size_t least = held_bytes(m.heap);
  ck_assert_uint_gt(least, 0);
  for (uint32_t i = 1; i < OBJECTS; i++)
    pin_one(&m, i, i % 2 == 0);
  size_t most = held_bytes(m.heap);
  ck_assert_uint_ge(most, OBJECTS * 16u);
  end_collection(&m); /* half of them go: no reason to shrink */
  check_table(&m);
  ck_assert_uint_eq(held_bytes(m.heap), most);
  for (uint32_t i = 0; i < OBJECTS - 20; i++)
    unpin_one(&m, i);
  ck_assert_uint_eq(held_bytes(m.heap), most);
  end_collection(&m);
  ck_assert_uint_eq(held_bytes(m.heap), least);
  check_table(&m);
  unpin_all(&m);
  ck_assert_int_eq(tsr_heap_destroy(m.heap, NULL), TSR_OK);
}
END_TEST

/* The table has to fit the heap's maximum; who is refused finds all others as they were. */
START_TEST(pins_beyond_the_maximum_are_refused) {
  tsr_heap *heap = unit_heap("nogc", "4M");
  uintptr_t base = heap->blocks.base;
  tsr_error error = {0};
  size_t pinned = 0;
  while (pins_add(heap, (tsr_ref)(base + pinned * TSR_GRANULE), false, &error) == TSR_OK)
    pinned++;
  ck_assert_int_eq(error.status, TSR_OUT_OF_MEMORY);
  ck_assert_uint_gt(pinned, 10000);
  ck_assert_uint_le(os_atomic_load(&heap->account.total.peak), (size_t)4 << 20);
  ck_assert_int_eq(pins_add(heap, (tsr_ref)base, false, NULL), TSR_OK); /* one that is there */
  ck_assert_int_eq(pins_remove(heap, (tsr_ref)base, NULL), TSR_OK);
  tsr_ref refused = (tsr_ref)(base + pinned * TSR_GRANULE);
  ck_assert_int_eq(pins_remove(heap, refused, NULL), TSR_INVALID_ARGUMENT);
  for (size_t i = 0; i < pinned; i++) {
    tsr_status status = pins_remove(heap, (tsr_ref)(base + i * TSR_GRANULE), NULL);
    REQUIRE(status == TSR_OK, "object %zu of %zu has no pin", i, pinned);
  }
  pins_end_collection(heap);
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("pins");
  TCase *tests = tcase_create("table");
  tcase_set_timeout(tests, 0);
  tcase_add_test(tests, small_tables_agree_with_the_model);
  tcase_add_test(tests, growing_and_shrinking_tables_agree_with_the_model);
  tcase_add_test(tests, the_order_does_not_depend_on_the_base);
  tcase_add_test(tests, a_table_takes_memory_with_the_first_pin_and_gives_it_back);
  tcase_add_test(tests, pins_beyond_the_maximum_are_refused);
  suite_add_tcase(suite, tests);
  return unit_run(suite);
}
