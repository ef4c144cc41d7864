/*
 * core/trace/team: jobs and their workers, threads that are refused, fork(), the queues' memory, and the
 * end of a shared trace.
 *
 * What is traced here is no heap but *trees* that exist only as numbers: a node's children follow from
 * its own number, so that how many there are in all is known beforehand, and a worker that is done can
 * tell whether something is left.
 */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/os/fault.h"
#include "core/os/machine.h"
#include "core/trace/team.h"
#include "tests/unit/unit.h"

/* As ck_assert_msg(), for places that are passed very often: Check notes each assertion that holds. */
#define REQUIRE(condition, ...)                                                                    \
  do {                                                                                             \
    if (!(condition)) ck_abort_msg(__VA_ARGS__);                                                   \
  } while (0)

#define WORKERS_MOST 8u

/* ThreadSanitizer makes everything many times slower. */
#ifdef TSR_THREAD_SANITIZER
#define TREES 40u
#define JOBS  500u
#else
#define TREES 250u
#define JOBS  3000u
#endif

/* ---- heaps ------------------------------------------------------------------------------------- */

static const char *const plans[] = {"semispace", "markcompact"};
#define PLANS 2

static tsr_heap *open_heap(const char *plan, const char *max, unsigned threads) {
  char text[16];
  snprintf(text, sizeof text, "%u", threads);
  tsr_options *options = tsr_options_create();
  ck_assert_int_eq(tsr_options_set(options, "plan", plan, NULL), TSR_OK);
  ck_assert_int_eq(tsr_options_set(options, "heap_max", max, NULL), TSR_OK);
  ck_assert_int_eq(tsr_options_set(options, "heap_min", max, NULL), TSR_OK);
  if (threads != 0) ck_assert_int_eq(tsr_options_set(options, "threads", text, NULL), TSR_OK);
  tsr_error error = {0};
  tsr_heap *heap = tsr_heap_create(&unit_binding, NULL, options, &error);
  ck_assert_msg(heap != NULL, "%s", error.message);
  tsr_options_destroy(options);
  return heap;
}

static void close_heap(tsr_heap *heap) {
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
}

static size_t queue_bytes(const tsr_heap *heap) {
  return os_atomic_load(&heap->account.by_type[MEMORY_MARK_QUEUE].bytes);
}

/* ---- a graph that a collection has to keep ------------------------------------------------------- */

#define LISTS 600u

static uint64_t word_of(const void *object) {
  return (uint64_t)(uintptr_t)object;
}

/* An array of lists; the n-th has n % 30 pairs, numbered with odd words. */
static bool build(tsr_mutator *m, tsr_slot *root) {
  unit_array *array = tsr_alloc(m, 16 + LISTS * 8, 8, 0, TSR_DEFAULT);
  if (array == NULL) return false;
  array->header = TSR_HEADER(ARRAY);
  array->length = LISTS;
  root->word = word_of(array);
  for (uint64_t i = 0; i < LISTS; i++) {
    for (uint64_t j = 0; j < i % 30; j++) {
      unit_pair *pair = tsr_alloc_default(m, sizeof *pair);
      if (pair == NULL) return false;
      array = (unit_array *)(uintptr_t)root->word;
      pair->header = TSR_HEADER(PAIR);
      pair->first.word = 2 * (30 * i + j) + 1;
      pair->second = array->slots[i];
      array->slots[i].word = word_of(pair);
      tsr_alloc_default(m, 24); /* garbage, which has no header and so is a filler */
    }
  }
  return true;
}

static bool is_whole(const tsr_slot *root) {
  const unit_array *array = (const unit_array *)(uintptr_t)root->word;
  if (array->length != LISTS) return false;
  for (uint64_t i = 0; i < LISTS; i++) {
    const unit_pair *pair = (const unit_pair *)(uintptr_t)array->slots[i].word;
    for (uint64_t j = i % 30; j > 0; j--) {
      if (pair == NULL || pair->first.word != 2 * (30 * i + j - 1) + 1) return false;
      pair = (const unit_pair *)(uintptr_t)pair->second.word;
    }
    if (pair != NULL) return false;
  }
  return true;
}

typedef struct fixture {
  tsr_heap *heap;
  tsr_mutator *m;
  tsr_slot root;
} fixture;

static void fixture_open(fixture *f, const char *plan, unsigned threads) {
  *f = (fixture){.heap = open_heap(plan, "32M", threads)};
  f->m = tsr_bind_mutator(f->heap, f, NULL);
  ck_assert_ptr_nonnull(f->m);
  ck_assert_int_eq(tsr_root_add(f->heap, &f->root, 1, TSR_ROOT_PRECISE, "root", NULL), TSR_OK);
  ck_assert(build(f->m, &f->root));
}

static void fixture_close(fixture *f) {
  ck_assert_int_eq(tsr_root_remove(f->heap, &f->root, NULL), TSR_OK);
  ck_assert_int_eq(tsr_unbind_mutator(f->m, NULL), TSR_OK);
  close_heap(f->heap);
}

/* Collects with so many workers, and the graph is as it was. */
static bool collects_with(const fixture *f, unsigned workers) {
  if (tsr_collect(f->m, NULL) != TSR_OK) return false;
  return f->heap->team->active == workers && f->heap->team->started + 1 >= workers &&
         is_whole(&f->root) && tsr_heap_verify(f->m, NULL) == TSR_OK;
}

/* ---- jobs ---------------------------------------------------------------------------------------- */

typedef struct calls {
  unsigned of[WORKERS_MOST + 1]; /* how often each worker had a part in it */
} calls;

static void note_call(struct worker *worker, void *context) {
  calls *c = context;
  uint32_t index = worker->index < WORKERS_MOST ? worker->index : WORKERS_MOST;
  c->of[index]++;
}

START_TEST(a_job_reaches_every_worker_once) {
  for (unsigned most = 1; most <= WORKERS_MOST; most++) {
    tsr_heap *heap = open_heap(plans[_i], "32M", most);
    for (unsigned job = 0; job < JOBS; job++) {
      if (job % 100 == 0) team_gather(heap->team, false);
      ck_assert(job % 100 != 0 || heap->team->active == most);
      calls c = {{0}};
      team_run(heap->team, note_call, &c);
      for (unsigned i = 0; i <= WORKERS_MOST; i++)
        REQUIRE(c.of[i] == (i < most), "worker %u of %u: %u calls of job %u", i, most, c.of[i],
                job);
      if (job % 100 == 99) team_disperse(heap->team);
    }
    close_heap(heap);
  }
}
END_TEST

/* Jobs for fewer workers than there are threads: the others sleep, and are there when they are wanted. */
START_TEST(a_job_reaches_no_worker_that_takes_no_part) {
  tsr_heap *heap = open_heap(plans[_i], "32M", WORKERS_MOST);
  team_gather(heap->team, false);
  uint64_t state = 5;
  for (unsigned job = 0; job < JOBS; job++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    uint32_t active = 1 + (uint32_t)(state >> 33) % WORKERS_MOST;
    os_mutex_lock(&heap->team->lock);
    heap->team->active = active;
    os_mutex_unlock(&heap->team->lock);
    calls c = {{0}};
    team_run(heap->team, note_call, &c);
    for (unsigned i = 0; i <= WORKERS_MOST; i++)
      REQUIRE(c.of[i] == (i < active), "worker %u of %u: %u calls", i, active, c.of[i]);
  }
  close_heap(heap);
}
END_TEST

/* A small heap has no use for many workers, unless that many were asked for. */
START_TEST(workers_come_as_the_heap_grows) {
  fixture f;
  fixture_open(&f, plans[_i], 0);
  ck_assert_uint_eq(f.heap->team->most, os_processors());
  ck_assert(collects_with(&f, 1));
  ck_assert_uint_eq(f.heap->team->started, 0);
  unit_array *array = tsr_alloc(f.m, (size_t)6 << 20, 8, 0, TSR_DEFAULT);
  ck_assert_ptr_nonnull(array);
  array->header = TSR_HEADER(ARRAY);
  array->length = (((size_t)6 << 20) - 16) / 8;
  array->slots[0] = f.root;
  f.root.word = word_of(array);
  /* How much of what is new will live, the first one has to find out. */
  for (unsigned i = 0; i < 2; i++)
    ck_assert_int_eq(tsr_collect(f.m, NULL), TSR_OK);
  uint32_t most = f.heap->team->most;
  ck_assert_uint_eq(f.heap->team->active, most < 4 ? most : 4);
  f.root = ((unit_array *)(uintptr_t)f.root.word)->slots[0];
  ck_assert(is_whole(&f.root));
  /* Garbage is worth none: after a collection that found it dead, as much again is expected to be. */
  for (unsigned i = 0; i < 3; i++) {
    ck_assert_ptr_nonnull(tsr_alloc(f.m, (size_t)6 << 20, 8, 0, TSR_DEFAULT));
    ck_assert_int_eq(tsr_collect(f.m, NULL), TSR_OK);
  }
  ck_assert_uint_eq(f.heap->team->active, 1);
  fixture_close(&f);
}
END_TEST

/* ---- threads that are refused ------------------------------------------------------------------------ */

START_TEST(fewer_threads_collect_where_some_are_refused) {
  for (unsigned k = 1; k < WORKERS_MOST; k++) {
    fixture f;
    fixture_open(&f, plans[_i], WORKERS_MOST);
    os_fault_arm(OS_FAULT_THREAD, k);
    ck_assert_msg(collects_with(&f, k), "with %u workers", k);
    ck_assert(os_fault_struck());
    os_fault_arm(0, 0);
    tsr_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(tsr_heap_stats(f.heap, &stats, NULL), TSR_OK);
    ck_assert_uint_eq(stats.workers, k);
    ck_assert_msg(collects_with(&f, WORKERS_MOST), "with all workers, after %u", k);
    fixture_close(&f);
  }
}
END_TEST

/* Nor is there memory for all. */
START_TEST(fewer_threads_collect_where_memory_is_refused) {
  for (unsigned k = 1; k < WORKERS_MOST; k++) {
    fixture f;
    fixture_open(&f, plans[_i], WORKERS_MOST);
    os_fault_arm(OS_FAULT_SEGMENT, k);
    team_gather(f.heap->team, false);
    ck_assert(os_fault_struck());
    os_fault_arm(0, 0);
    ck_assert_uint_eq(f.heap->team->active, k);
    team_disperse(f.heap->team);
    ck_assert(collects_with(&f, WORKERS_MOST));
    fixture_close(&f);
  }
}
END_TEST

/* ---- fork ------------------------------------------------------------------------------------------- */

#ifndef TSR_THREAD_SANITIZER
/* Threads do not survive a fork: the child starts its own, and all goes on on both sides. */
START_TEST(a_child_starts_threads_of_its_own) {
  for (unsigned round = 0; round < 10; round++) {
    fixture f;
    fixture_open(&f, plans[_i], 4);
    if (round % 2 == 0) ck_assert(collects_with(&f, 4));
    ck_assert_int_eq(tsr_fork_prepare(f.m, NULL), TSR_OK);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
      alarm(60); /* a child that hangs is nobody's */
      tsr_fork_child(f.m);
      bool none = f.heap->team->started == 0;
      bool sound = collects_with(&f, 4) && collects_with(&f, 4) && build(f.m, &f.root);
      sound = sound && collects_with(&f, 4) && tsr_root_remove(f.heap, &f.root, NULL) == TSR_OK &&
              tsr_unbind_mutator(f.m, NULL) == TSR_OK && tsr_heap_destroy(f.heap, NULL) == TSR_OK;
      _exit(none && sound ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    tsr_fork_parent(f.m);
    ck_assert(collects_with(&f, 4));
    int status = -1;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(status == 0, "the child ended with status %#x", (unsigned)status);
    ck_assert(collects_with(&f, 4));
    fixture_close(&f);
  }
}
END_TEST
#endif

/* ---- the memory of the queues ----------------------------------------------------------------------- */

static void assert_queues_are_apart(struct team *team) {
  const char *end = team->queues.base;
  for (uint32_t i = 0; i < team->active; i++) {
    const mark_queue *queue = &team_worker(team, i)->queue;
    ck_assert((const char *)queue->start >= end);
    ck_assert_uint_ge((size_t)(queue->end - queue->start), 6);
    ck_assert(queue->bottom == queue->start && queue->top == queue->start);
    end = (const char *)queue->end;
  }
  ck_assert(end <= team->queues.base + memory_table_committed(&team->queues));
}

START_TEST(the_queues_give_back_what_they_borrowed) {
  tsr_heap *heap = open_heap(plans[_i], "64M", 3);
  struct team *team = heap->team;
  size_t before = os_atomic_load(&heap->account.total.bytes);
  /* A larger heap has larger queues, of which it keeps a share; when it is small again, so is that. */
  static const size_t limits[] = {64, 4, 40, 64, 1};
  for (unsigned i = 0; i < sizeof limits / sizeof limits[0]; i++) {
    size_t limit = limits[i] << 20;
    os_atomic_store(&heap->limit_bytes, limit);
    team_gather(team, false);
    assert_queues_are_apart(team);
    size_t borrowed = queue_bytes(heap);
    ck_assert_uint_eq(borrowed, memory_table_committed(&team->queues));
    team_disperse(team);
    ck_assert_uint_eq(queue_bytes(heap), memory_table_committed(&team->queues));
    ck_assert_uint_ge(queue_bytes(heap), heap_queue_bytes(limit));
    ck_assert_uint_le(queue_bytes(heap), heap_queue_bytes(limit) + os_page_bytes());
    if (limit > (size_t)4 << 20) ck_assert_uint_gt(borrowed, 2 * queue_bytes(heap));
  }
  team_gather(team, false);
  team_disperse(team);
  size_t members = 2 * sizeof(team_member);
  ck_assert_uint_eq(os_atomic_load(&heap->account.total.bytes), before + members);
  close_heap(heap);
}
END_TEST

/* What the heap's maximum does not leave is not borrowed. */
START_TEST(the_queues_borrow_no_more_than_there_is) {
  tsr_heap *heap = open_heap(plans[_i], "64M", 3);
  struct team *team = heap->team;
  os_atomic_store(&heap->limit_bytes, (size_t)64 << 20);
  size_t most = heap->account.limit_bytes;
  for (size_t room = 0; room < (size_t)3 << 20; room += (size_t)300 << 10) {
    size_t held = os_atomic_load(&heap->account.total.bytes);
    heap->account.limit_bytes = held + room;
    team_gather(team, false);
    assert_queues_are_apart(team);
    ck_assert_uint_le(os_atomic_load(&heap->account.total.bytes), held + room);
    team_disperse(team);
    heap->account.limit_bytes = most;
  }
  close_heap(heap);
}
END_TEST

/* Nor what a plan may come to need for survivors, which still finds room when the queues have borrowed all else. */
START_TEST(the_queues_leave_what_survivors_may_need) {
  static const size_t rooms[] = {0, (size_t)100 << 10, (size_t)1 << 20};
  for (unsigned i = 0; i < sizeof rooms / sizeof rooms[0]; i++) {
    fixture f;
    fixture_open(&f, "semispace", 3);
    team_gather(f.heap->team, false); /* starts the threads */
    team_disperse(f.heap->team);
    memory_account *account = &f.heap->account;
    size_t footprint = f.heap->plan->footprint_blocks(f.heap, 0, 0) * BLOCK_BYTES;
    size_t committed = os_atomic_load(&account->by_type[MEMORY_BLOCKS].bytes);
    ck_assert_uint_gt(footprint, committed + 4 * BLOCK_BYTES);
    size_t to_come = footprint - committed;
    account->limit_bytes = os_atomic_load(&account->total.bytes) + to_come + rooms[i];
    team_gather(f.heap->team, false);
    assert_queues_are_apart(f.heap->team);
    ck_assert_uint_ge(memory_headroom(account), to_come);
    team_disperse(f.heap->team);
    ck_assert(collects_with(&f, 3));
    ck_assert(!f.heap->spaces->copy.exhausted);
    fixture_close(&f);
  }
}
END_TEST

/* ---- the end of a shared trace ----------------------------------------------------------------------- */

/*
 * A node is a number: how many nodes there are in its tree, itself included, and a hash, from which the
 * shape of the tree follows. As an entry of a queue it is the address of no object.
 */
#define SIZE_BITS 20u
#define HASH_BITS 40u

typedef uint64_t node;

static node node_make(uint64_t hash, uint64_t size) {
  return (((hash & ((UINT64_C(1) << HASH_BITS) - 1)) << SIZE_BITS) | size) << 3;
}

static size_t node_size(node n) {
  return (n >> 3) & (((size_t)1 << SIZE_BITS) - 1);
}

static uint64_t node_mix(node n) {
  uint64_t x = n * 0x9e3779b97f4a7c15u;
  x ^= x >> 29;
  x *= 0xbf58476d1ce4e5b9u;
  return x ^ x >> 32;
}

/* Chains, bushes, and now and then a node with very many children. */
static size_t node_children(node n) {
  size_t below = node_size(n) - 1;
  uint64_t chance = node_mix(n) % 100;
  size_t children = chance < 40 ? 1 : chance < 98 ? 2 : 60;
  return children < below ? children : below;
}

/* Of two children the first has anything from one node to all but one, of many each as much as the others. */
static node node_child(node n, size_t i) {
  size_t below = node_size(n) - 1, children = node_children(n);
  size_t size = below / children + (i < below % children);
  if (children == 2) {
    size = 1 + (size_t)(node_mix(n) >> 20) % (below - 1);
    if (i == 1) size = below - size;
  }
  return node_make(node_mix(n + i), size);
}

typedef struct search {
  struct team *team;
  os_atomic_word left;          /* nodes that are queued, or being visited */
  os_atomic_word early;         /* workers that were told of an end that was none */
  size_t visited[WORKERS_MOST]; /* by each worker */
} search;

/* Queues the children from `first` on; a few at a time, and the rest as something to resume. */
#define CHILDREN_AT_ONCE 8u

static void queue_children(search *s, mark_queue *queue, node n, size_t first) {
  size_t children = node_children(n), end = first + CHILDREN_AT_ONCE;
  if (end > children) end = children;
  bool resumes = end < children;
  os_atomic_add_full(&s->left, end - first + resumes);
  if (resumes) REQUIRE(mark_queue_push_resume(queue, (tsr_ref)(uintptr_t)n, end), "no room");
  for (size_t i = first; i < end; i++)
    REQUIRE(mark_queue_push(queue, (tsr_ref)(uintptr_t)node_child(n, i)), "no room");
}

static void visit_entry(search *s, struct worker *worker, mark_entry entry) {
  bool resumes = mark_entry_resumes(entry);
  s->visited[worker->index] += !resumes;
  queue_children(s, &worker->queue, (node)(uintptr_t)mark_entry_object(entry),
                 resumes ? entry.position : 0);
  os_atomic_add_full(&s->left, (uintptr_t)-1);
}

static void search_part(struct worker *worker, void *context) {
  search *s = context;
  mark_entry entry;
  unsigned turns = 0;
  do {
    while (mark_queue_pop(&worker->queue, &entry)) {
      visit_entry(s, worker, entry);
      if (++turns % 4 == 0) team_share(s->team, worker);
    }
  } while (team_find_work(s->team, worker));
  if (os_atomic_load(&s->left) != 0) os_atomic_add_full(&s->early, 1);
}

/* One tree: every node is visited once, by whichever worker, and nobody ends before all is done. */
static void search_tree(struct team *team, uint64_t seed) {
  static search s;
  size_t count = 1 + (size_t)(node_mix(seed) % 12000);
  node root = node_make(seed, count);
  s = (search){.team = team};
  team_begin_trace(team);
  os_atomic_store(&s.left, 1);
  ck_assert(mark_queue_push(&team->first.queue, (tsr_ref)(uintptr_t)root));
  team_run(team, search_part, &s);
  size_t visited = 0;
  for (unsigned i = 0; i < WORKERS_MOST; i++)
    visited += s.visited[i];
  ck_assert_msg(visited == count, "seed %llu: %zu of %zu nodes", (unsigned long long)seed, visited,
                count);
  ck_assert_uint_eq(os_atomic_load(&s.left), 0);
  ck_assert_msg(os_atomic_load(&s.early) == 0, "seed %llu: %zu workers ended early",
                (unsigned long long)seed, (size_t)os_atomic_load(&s.early));
  for (uint32_t i = 0; i < team->active; i++) {
    const mark_queue *queue = &team_worker(team, i)->queue;
    ck_assert(queue->bottom == queue->top && !mark_queue_offers(queue));
  }
}

/* Of a large heap whose young objects all die, a minor collection is one worker's work, and one of everything is not. */
START_TEST(each_kind_of_collection_has_a_past_of_its_own) {
  tsr_heap *heap = open_heap("semispace", "256M", 4);
  struct team *team = heap->team;
  uint32_t used_blocks = heap->blocks.used_blocks;
  os_atomic_store(&heap->limit_bytes, (size_t)256 << 20);
  heap->options.values.threads = 0; /* as many as it is worth */
  heap->blocks.used_blocks = (64 << 20) / BLOCK_BYTES;
  for (unsigned round = 0; round < 3; round++) {
    team_gather(team, false);
    ck_assert_uint_eq(team->active, 4);
    team_note_live(team, (size_t)60 << 20, (size_t)60 << 20);
    for (unsigned i = 0; i < 5; i++) {
      team_gather(team, true);
      ck_assert_uint_eq(team->active, 1);
      team_note_live(team, 0, 0);
    }
  }
  heap->blocks.used_blocks = used_blocks;
  team_disperse(team);
  close_heap(heap);
}
END_TEST

/* So many answers of the same kind. */
static void pace_says(team_pace *pace, bool shares, unsigned times) {
  for (unsigned i = 0; i < times; i++)
    ck_assert_int_eq(team_pace_shares(pace), shares);
}

/* Each way is tried once; then what is faster by a quarter, and now and then the other. */
START_TEST(minor_collections_are_shared_where_that_pays) {
  team_pace pace = {0};
  pace_says(&pace, true, 3);
  team_pace_note(&pace, true, 0.8);
  pace_says(&pace, false, 3);
  team_pace_note(&pace, false, 0.99);
  pace_says(&pace, false, 31);
  pace_says(&pace, true, 1);
  team_pace_note(&pace, false, 1.05); /* 1.02 on the average */
  pace_says(&pace, true, 31);
  pace_says(&pace, false, 1);
  team_pace_note(&pace, true, 0.9);
  pace_says(&pace, false, 31);
  pace_says(&pace, true, 1);
}
END_TEST

static void copy_with(struct team *team, size_t bytes, uint64_t ns) {
  team->first.targets.live_bytes = bytes;
  team_note_pace(team, ns);
}

/* Of what was copied in a collection that several might have shared, unless that was little. */
START_TEST(the_pace_is_what_a_byte_takes) {
  tsr_heap *heap = unit_heap("semispace", "64M");
  struct team *team = heap->team;
  copy_with(team, 4 << 20, 1 << 20);
  team->is_paced = true;
  copy_with(team, 1 << 10, 1 << 20);
  ck_assert_double_eq(team->pace.alone_ns, 0);
  copy_with(team, 4 << 20, 1 << 20);
  ck_assert_double_eq(team->pace.alone_ns, 0.25);
  copy_with(team, 4 << 20, 3 << 20);
  ck_assert_double_eq(team->pace.alone_ns, 0.5);
  ck_assert_double_eq(team->pace.shared_ns, 0);
  copy_with(team, 0, 0);
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
}
END_TEST

START_TEST(a_trace_ends_when_nothing_is_left) {
  unsigned workers = 2 + (unsigned)_i;
  tsr_heap *heap = open_heap("semispace", "64M", workers);
  os_atomic_store(&heap->limit_bytes, (size_t)64 << 20);
  team_gather(heap->team, false);
  ck_assert_uint_eq(heap->team->active, workers);
  for (uint64_t seed = 0; seed < TREES; seed++)
    search_tree(heap->team, 1000 * workers + seed);
  team_disperse(heap->team);
  close_heap(heap);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("team");
  TCase *tests = tcase_create("workers");
  tcase_set_timeout(tests, 0);
  tcase_add_loop_test(tests, a_job_reaches_every_worker_once, 0, PLANS);
  tcase_add_loop_test(tests, a_job_reaches_no_worker_that_takes_no_part, 0, PLANS);
  tcase_add_loop_test(tests, workers_come_as_the_heap_grows, 0, PLANS);
  tcase_add_loop_test(tests, fewer_threads_collect_where_some_are_refused, 0, PLANS);
  tcase_add_loop_test(tests, fewer_threads_collect_where_memory_is_refused, 0, PLANS);
#ifndef TSR_THREAD_SANITIZER /* whose table of threads a child inherits as it was */
  tcase_add_loop_test(tests, a_child_starts_threads_of_its_own, 0, PLANS);
#endif
  tcase_add_loop_test(tests, the_queues_give_back_what_they_borrowed, 0, PLANS);
  tcase_add_loop_test(tests, the_queues_borrow_no_more_than_there_is, 0, PLANS);
  tcase_add_test(tests, the_queues_leave_what_survivors_may_need);
  tcase_add_test(tests, each_kind_of_collection_has_a_past_of_its_own);
  tcase_add_test(tests, minor_collections_are_shared_where_that_pays);
  tcase_add_test(tests, the_pace_is_what_a_byte_takes);
  tcase_add_loop_test(tests, a_trace_ends_when_nothing_is_left, 0, (int)WORKERS_MOST - 1);
  suite_add_tcase(suite, tests);
  return unit_run(suite);
}
