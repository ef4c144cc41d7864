/*
 * core/space, core/trace, core/collect: the paths that a sound heap rarely takes. Mark queues too
 * small for anything, no memory left to copy into, and workers that meet at one object.
 */
#include <sched.h>
#include <stdio.h>

#include "core/collect/collector.h"
#include "tests/unit/unit.h"

/* As ck_assert_msg(), for places that are passed very often: Check notes each assertion that holds. */
#define REQUIRE(condition, ...)                                                                    \
  do {                                                                                             \
    if (!(condition)) ck_abort_msg(__VA_ARGS__);                                                   \
  } while (0)

#define LEAVES 3000

/* Of collections whose workers meet at random; ThreadSanitizer makes each many times slower. */
#ifdef TSR_THREAD_SANITIZER
#define ROUNDS 12u
#else
#define ROUNDS 60u
#endif

static uint64_t random_state = 4711;

static uint32_t random_below(uint32_t bound) {
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(random_state >> 33) % bound;
}

static uint64_t word_of(const void *object) {
  return (uint64_t)(uintptr_t)object;
}

/* ---- heaps whose queues are cut ------------------------------------------------------------------ */

static const char *const plans[] = {"semispace", "markcompact"};
#define PLANS     2

#define WHOLE     SIZE_MAX    /* entries of a queue that is not cut */
#define LEAST_CUT ((size_t)6) /* of a queue from which others steal */

/* How many entries the queues of the next collection have room for. */
static struct cut {
  tsr_heap *heap;
  size_t first, others; /* the first worker's, and that of each other one */
} cut;

static void cut_queue(mark_queue *queue, size_t entries) {
  if (entries < (size_t)(queue->end - queue->top)) queue->end = queue->top + entries;
}

/* The collector asks for roots when the queues have their memory, and nothing is traced yet. */
static void cut_queues(void *vm, tsr_visitor *visitor) {
  (void)vm;
  (void)visitor;
  if (cut.heap == NULL) return;
  struct team *team = cut.heap->team;
  for (uint32_t i = 0; i < team->active; i++)
    cut_queue(&team_worker(team, i)->queue, i == 0 ? cut.first : cut.others);
  cut.heap = NULL;
}

static void collect_with_queues(tsr_mutator *m, size_t first, size_t others) {
  cut = (struct cut){.heap = m->heap, .first = first, .others = others};
  ck_assert_int_eq(tsr_collect(m, NULL), TSR_OK);
  ck_assert_ptr_null(cut.heap);
}

static tsr_heap *heap_with(const char *plan, const char *max, unsigned workers) {
  static tsr_binding binding;
  binding = unit_binding;
  binding.scan_heap_roots = cut_queues;
  char text[16];
  snprintf(text, sizeof text, "%u", workers);
  tsr_options *options = tsr_options_create();
  ck_assert_int_eq(tsr_options_set(options, "plan", plan, NULL), TSR_OK);
  ck_assert_int_eq(tsr_options_set(options, "heap_max", max, NULL), TSR_OK);
  ck_assert_int_eq(tsr_options_set(options, "threads", text, NULL), TSR_OK);
  tsr_error error = {0};
  tsr_heap *heap = tsr_heap_create(&binding, NULL, options, &error);
  ck_assert_msg(heap != NULL, "%s", error.message);
  tsr_options_destroy(options);
  return heap;
}

/* ---- a graph ------------------------------------------------------------------------------------- */

static unit_pair *new_pair(tsr_mutator *m) {
  unit_pair *pair = tsr_alloc_default(m, sizeof *pair);
  REQUIRE(pair != NULL, "no memory for a pair");
  pair->header = TSR_HEADER(PAIR);
  return pair;
}

/* An array of lists: leaf i is a list of i % 7 pairs whose `first` words are odd numbers. */
static tsr_slot *build(tsr_mutator *m) {
  tsr_slot *root = tsr_local(m, 0);
  unit_array *array = tsr_alloc(m, 16 + LEAVES * 8, 8, 0, TSR_DEFAULT);
  ck_assert_ptr_nonnull(array);
  array->header = TSR_HEADER(ARRAY);
  array->length = LEAVES;
  root->word = word_of(array);
  for (uint32_t i = 0; i < LEAVES; i++) {
    for (uint32_t j = 0; j < i % 7; j++) {
      unit_pair *pair = new_pair(m);
      array = (unit_array *)root->word;
      pair->first.word = (uint64_t)(i * 7 + j) * 2 + 1;
      pair->second = array->slots[i];
      array->slots[i].word = word_of(pair);
      for (uint32_t garbage = random_below(3); garbage > 0; garbage--)
        new_pair(m);
    }
  }
  return root;
}

static void check(const tsr_slot *root) {
  const unit_array *array = (const unit_array *)root->word;
  ck_assert_uint_eq(array->length, LEAVES);
  for (uint32_t i = 0; i < LEAVES; i++) {
    const unit_pair *pair = (const unit_pair *)array->slots[i].word;
    for (uint32_t j = i % 7; j > 0; j--) {
      REQUIRE(pair != NULL && pair->header == TSR_HEADER(PAIR) &&
                  pair->first.word == (uint64_t)(i * 7 + j - 1) * 2 + 1,
              "pair %u of list %u is not what it was", j - 1, i);
      pair = (const unit_pair *)pair->second.word;
    }
    REQUIRE(pair == NULL, "list %u is too long", i);
  }
}

typedef struct count {
  size_t objects;
} count;

static void count_object(void *context, tsr_ref object, size_t bytes) {
  (void)object;
  REQUIRE(bytes == sizeof(unit_pair) || bytes == 16 + LEAVES * 8, "an object of %zu bytes", bytes);
  ((count *)context)->objects++;
}

static size_t objects_in(tsr_mutator *m) {
  count all = {0};
  ck_assert_int_eq(tsr_enumerate_objects(m, count_object, &all, NULL), TSR_OK);
  return all.objects;
}

static size_t objects_reachable(void) {
  size_t pairs = 0;
  for (uint32_t i = 0; i < LEAVES; i++)
    pairs += i % 7;
  return pairs + 1;
}

/* ---- queues that overflow ------------------------------------------------------------------------ */

static void assert_whole(tsr_mutator *m, const tsr_slot *root) {
  check(root);
  ck_assert_uint_eq(objects_in(m), objects_reachable());
}

START_TEST(a_queue_that_overflows_loses_nothing) {
  tsr_heap *heap = heap_with(plans[_i], "32M", 1);
  tsr_mutator *m = tsr_bind_mutator(heap, heap, NULL);
  tsr_scope scope;
  tsr_scope_open(m, &scope);
  tsr_slot *root = build(m);
  for (size_t entries = 0; entries < 40; entries = entries * 2 + 1) {
    collect_with_queues(m, entries, WHOLE);
    assert_whole(m, root);
  }
  tsr_scope_close(m, &scope);
  tsr_unbind_mutator(m, NULL);
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
}
END_TEST

/* Those of all workers, and those of all but the first. */
START_TEST(queues_of_several_workers_that_overflow_lose_nothing) {
  tsr_heap *heap = heap_with(plans[_i], "32M", 4);
  tsr_mutator *m = tsr_bind_mutator(heap, heap, NULL);
  tsr_scope scope;
  tsr_scope_open(m, &scope);
  tsr_slot *root = build(m);
  for (unsigned round = 0; round < ROUNDS; round++) {
    collect_with_queues(m, round % 4 == 0 ? LEAST_CUT + round : WHOLE, LEAST_CUT + round % 7);
    assert_whole(m, root);
  }
  tsr_scope_close(m, &scope);
  tsr_unbind_mutator(m, NULL);
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
}
END_TEST

/* ---- blocks that are kept in place ----------------------------------------------------------------- */

/* Gives back the blocks that squeeze() took. */
static void relax(tsr_heap *heap, size_t limit_bytes) {
  heap->account.limit_bytes = limit_bytes;
  for (uint32_t i = 0; i < block_map_extent(&heap->blocks); i++) {
    if (block_map_spaces(&heap->blocks)[i] == BLOCK_ARENA) {
      block_map_release(&heap->blocks, i, 1);
    }
  }
}

static void take(tsr_heap *heap) {
  ck_assert_uint_ne(block_map_acquire(&heap->blocks, 1, BLOCK_ARENA, MEMORY_WITHIN_LIMIT),
                    BLOCK_NONE);
}

/* Leaves a collection just `blocks` blocks to copy into, by taking the others for nobody. */
static void squeeze(tsr_heap *heap, size_t blocks) {
  for (size_t i = 0; i < blocks; i++)
    take(heap);
  relax(heap, heap->account.limit_bytes);
  heap->account.limit_bytes = os_atomic_load(&heap->account.total.bytes);
  while (heap->blocks.free_blocks > blocks)
    take(heap);
  ck_assert_uint_eq(heap->blocks.free_blocks, blocks);
}

START_TEST(survivors_without_a_destination_stay_in_place) {
  for (size_t blocks = 0; blocks < 6; blocks++) {
    tsr_heap *heap = heap_with("semispace", "32M", 1 + 2 * (unsigned)_i);
    size_t limit_bytes = heap->account.limit_bytes;
    tsr_mutator *m = tsr_bind_mutator(heap, heap, NULL);
    tsr_scope scope;
    tsr_scope_open(m, &scope);
    tsr_slot *root = build(m);
    size_t before = copy_space_blocks(&heap->spaces->copy);
    ck_assert_uint_gt(before, 12);
    squeeze(heap, blocks);
    ck_assert_int_eq(tsr_collect(m, NULL), TSR_OK);
    check(root);
    ck_assert_uint_eq(objects_in(m), objects_reachable());
    ck_assert(heap->spaces->copy.exhausted);
    relax(heap, limit_bytes);
    /* With room again, the next collection moves everything together. */
    ck_assert_int_eq(tsr_collect(m, NULL), TSR_OK);
    check(root);
    ck_assert_uint_eq(objects_in(m), objects_reachable());
    ck_assert_uint_lt(copy_space_blocks(&heap->spaces->copy), before);
    tsr_scope_close(m, &scope);
    tsr_unbind_mutator(m, NULL);
    ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
  }
}
END_TEST

START_TEST(staying_and_overflowing_together_lose_nothing) {
  for (size_t blocks = 0; blocks < 6; blocks++) {
    unsigned workers = 1 + 2 * (unsigned)_i;
    size_t least = workers > 1 ? LEAST_CUT : 0;
    tsr_heap *heap = heap_with("semispace", "32M", workers);
    tsr_mutator *m = tsr_bind_mutator(heap, heap, NULL);
    tsr_scope scope;
    tsr_scope_open(m, &scope);
    tsr_slot *root = build(m);
    squeeze(heap, blocks);
    for (int i = 0; i < 3; i++) {
      collect_with_queues(m, least + blocks, least + blocks);
      check(root);
      ck_assert_uint_eq(objects_in(m), objects_reachable());
    }
    relax(heap, (size_t)32 << 20);
    tsr_scope_close(m, &scope);
    tsr_unbind_mutator(m, NULL);
    ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
  }
}
END_TEST

/* Fills the heap to its last byte with live arrays of up to `most` slots, then collects: everything
   survives, and packs in another order than it was allocated in. */
static void fill_and_collect(uint32_t most) {
  tsr_heap *heap = unit_heap("semispace", "4M");
  tsr_mutator *m = tsr_bind_mutator(heap, heap, NULL);
  tsr_scope scope;
  tsr_scope_open(m, &scope);
  tsr_slot *table = tsr_local(m, 0);
  tsr_slot *list = tsr_local(m, 0);
  for (;;) {
    uint32_t length = 1 + random_below(most);
    unit_array *array = tsr_alloc(m, 16 + (size_t)length * 8, 8, 0, TSR_DEFAULT);
    if (array == NULL) break;
    array->header = TSR_HEADER(ARRAY);
    array->length = length;
    /* Two lists through the first slots, so that neighbours in memory part in the trace. */
    tsr_slot *head = random_below(2) == 0 ? table : list;
    array->slots[0] = *head;
    head->word = word_of(array);
  }
  for (int i = 0; i < 4; i++) {
    ck_assert_int_eq(tsr_collect(m, NULL), TSR_OK);
    ck_assert_msg(!heap->spaces->copy.exhausted, "arrays of up to %u slots, collection %d", most,
                  i);
  }
  tsr_scope_close(m, &scope);
  tsr_unbind_mutator(m, NULL);
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
}

START_TEST(a_heap_filled_with_live_data_finds_a_destination_for_all_of_it) {
  printf("full heaps: seed %llu\n", (unsigned long long)random_state);
  static const uint32_t most[] = {1, 2, 6, 30, 100, 250, 500, 700, 900, 1022};
  for (size_t i = 0; i < sizeof most / sizeof most[0]; i++)
    fill_and_collect(most[i]);
}
END_TEST

/* ---- workers that meet ---------------------------------------------------------------------------- */

/* A collection by hand: one worker traces as if it were one of several, in a thread of its own. */
typedef struct tracing {
  tsr_heap *heap;
  tsr_slot root;
  os_thread thread;
} tracing;

static void trace_as_one_of_several(void *context) {
  const tracing *t = context;
  t->heap->plan->trace(&t->heap->team->first, true);
}

static unit_pair *pair_in(const tsr_slot *slot) {
  return (unit_pair *)(uintptr_t)slot->word;
}

/* Waits until an object has been copied; returns the copy. */
static const unit_pair *await_forwarded(const tsr_heap *heap, unit_pair *pair) {
  uint64_t header;
  while (!header_is_forwarded(header = header_load_shared((tsr_ref)(void *)pair)))
    sched_yield();
  return (const unit_pair *)forwarding_target(heap->blocks.base, header);
}

/*
 * The root leads to a pair, whose second slot leads to one that this test has claimed, as a worker does that is about
 * to copy it, and whose first slot leads to another. When the tracing worker has seen the other it is at the
 * claimed one: until that is copied, there is no right answer.
 */
START_TEST(a_worker_waits_for_an_object_that_another_copies) {
  tracing t = {.heap = heap_with("semispace", "8M", 1)};
  tsr_mutator *m = tsr_bind_mutator(t.heap, &t, NULL);
  unit_pair *claimed = new_pair(m), *other = new_pair(m), *top = new_pair(m);
  claimed->first.word = 12345;
  other->first.word = 6789;
  top->first.word = word_of(_i == 0 ? claimed : other);
  top->second.word = word_of(_i == 0 ? other : claimed);
  t.root.word = word_of(top);
  world_revoke_pairs(t.heap, NULL);
  team_gather(t.heap->team, false);
  t.heap->plan->prepare(t.heap);
  t.heap->plan->visit_slots(&t.heap->team->first, &t.root, 1);
  tsr_ref object = (tsr_ref)(void *)claimed;
  uint64_t header = header_load(object);
  header_store_shared(object, header_with_forward_bits(header, GC_CLAIMED));
  team_begin_trace(t.heap->team);
  ck_assert(os_thread_start(&t.thread, trace_as_one_of_several, &t));
  /* Whoever sees where the copy is may read it. */
  if (_i == 0) ck_assert_uint_eq(await_forwarded(t.heap, other)->first.word, 6789);
  for (unsigned i = 0; i < 2000; i++)
    sched_yield();
  ck_assert(header_is_claimed(header_load_shared(object)));
  copy_buffer targets = copy_buffer_empty(&t.heap->spaces->copy);
  uint64_t now = word_of(copy_evacuate(&targets, t.heap->blocks.base, object, header, 0, true));
  os_thread_join(&t.thread);
  copy_retire(&targets);
  t.heap->plan->release(t.heap);
  const tsr_slot *slot = _i == 0 ? &pair_in(&t.root)->first : &pair_in(&t.root)->second;
  ck_assert_uint_eq(slot->word, now);
  ck_assert_uint_eq(pair_in(slot)->first.word, 12345);
  ck_assert_uint_eq(pair_in(slot)->header, TSR_HEADER(PAIR));
  ck_assert_int_eq(tsr_heap_verify(m, NULL), TSR_OK);
  tsr_unbind_mutator(m, NULL);
  ck_assert_int_eq(tsr_heap_destroy(t.heap, NULL), TSR_OK);
}
END_TEST

#define TARGETS 20000u
#define VISITS  10u

/* Many arrays that lead to the same objects, which lie side by side: workers reach them at the same time. */
START_TEST(what_several_workers_reach_is_reached_once) {
  tsr_heap *heap = heap_with(plans[_i], "32M", 4);
  tsr_mutator *m = tsr_bind_mutator(heap, heap, NULL);
  tsr_scope scope;
  tsr_scope_open(m, &scope);
  tsr_slot *root = tsr_local(m, 0);
  unit_array *array = tsr_alloc(m, 16 + TARGETS * VISITS * 8, 8, 0, TSR_DEFAULT);
  ck_assert_ptr_nonnull(array);
  array->header = TSR_HEADER(ARRAY);
  array->length = TARGETS * VISITS;
  root->word = word_of(array);
  for (uint32_t i = 0; i < TARGETS; i++) {
    unit_pair *pair = new_pair(m);
    pair->first.word = 2 * (uint64_t)i + 1;
    array->slots[i].word = word_of(pair);
  }
  for (uint32_t i = TARGETS; i < TARGETS * VISITS; i++)
    array->slots[i] = array->slots[(uint64_t)i * 7919 % TARGETS];
  for (unsigned round = 0; round < ROUNDS; round++) {
    collect_with_queues(m, WHOLE, WHOLE);
    array = (unit_array *)root->word;
    for (uint32_t i = 0; i < TARGETS; i++) {
      if (pair_in(&array->slots[i])->first.word != 2 * (uint64_t)i + 1)
        ck_abort_msg("round %u: object %u is another", round, i);
    }
    for (uint32_t i = TARGETS; i < TARGETS * VISITS; i++) {
      if (array->slots[i].word != array->slots[(uint64_t)i * 7919 % TARGETS].word)
        ck_abort_msg("round %u: slot %u leads elsewhere", round, i);
    }
    ck_assert_int_eq(tsr_heap_verify(m, NULL), TSR_OK);
  }
  tsr_scope_close(m, &scope);
  tsr_unbind_mutator(m, NULL);
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("collect");
  TCase *tests = tcase_create("rare paths");
  tcase_set_timeout(tests, 0);
  tcase_add_loop_test(tests, a_queue_that_overflows_loses_nothing, 0, PLANS);
  tcase_add_loop_test(tests, queues_of_several_workers_that_overflow_lose_nothing, 0, PLANS);
  tcase_add_loop_test(tests, survivors_without_a_destination_stay_in_place, 0, 2);
  tcase_add_loop_test(tests, staying_and_overflowing_together_lose_nothing, 0, 2);
  tcase_add_loop_test(tests, a_worker_waits_for_an_object_that_another_copies, 0, 2);
  tcase_add_loop_test(tests, what_several_workers_reach_is_reached_once, 0, PLANS);
  tcase_add_test(tests, a_heap_filled_with_live_data_finds_a_destination_for_all_of_it);
  suite_add_tcase(suite, tests);
  return unit_run(suite);
}
