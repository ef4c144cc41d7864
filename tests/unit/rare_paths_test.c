/*
 * The collector against a model, on the paths that a sound heap rarely takes.
 *
 * A random graph of every kind of layout and placement is kept twice: in the heap, and as numbers beside it. The
 * mark queues are cut to a few entries, destinations are used up, custom layouts report a few slots
 * at a time, and in every second model objects want to lie on multiples of 256. After each collection
 * the graph that can be reached must be the same in both, and the heap must hold nothing else.
 */
#include <stdio.h>
#include <string.h>

#include "core/collect/collector.h"
#include "tests/unit/unit.h"

/* For each seed; ThreadSanitizer makes it many times slower. */
#ifdef TSR_THREAD_SANITIZER
#define ROUNDS 100u
#else
#define ROUNDS 300u
#endif

#define NODES      6000u
#define ROOTS      64u
#define NO_EDGE    UINT32_MAX
#define ALIGNMENT  256u
#define HEAD_BYTES 24u /* header, number, count; then the slots */

enum { REFERENCES = 1, CUSTOM, ELEMENTS, HEADED, ALIGNED, KINDS = ALIGNED };

typedef struct node {
  uint64_t header, number, count;
  tsr_slot slots[];
} node;

/* What the model knows of a node. */
typedef struct shadow {
  uint32_t count, kind;
  uint32_t *edges; /* NULL: the number is free */
  uint64_t word;   /* where the node is, as the last walk found; 0: not reached */
  uint64_t place;  /* where it was made, if it has to stay there; 0: it has not */
} shadow;

#define EATEN_MOST 1024u

typedef struct model {
  tsr_heap *heap;
  tsr_mutator *m;
  tsr_slot roots[ROOTS];
  uint32_t root_numbers[ROOTS];
  shadow nodes[NODES];
  uint32_t free_numbers[NODES], free_count;
  uint32_t reached; /* by the last walk */
  uint32_t kinds;   /* of the nodes that it makes, the first so many */
  uint32_t stack[NODES];
  uint32_t eaten[EATEN_MOST], eaten_count; /* blocks that nobody has */
  size_t queue_entries; /* what each queue of the next collection has room for, or QUEUE_WHOLE */
} model;

#define QUEUE_WHOLE SIZE_MAX
#define QUEUE_LEAST ((size_t)6) /* of a queue from which others steal */

static uint64_t random_state;

static uint32_t random_below(uint32_t bound) {
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(random_state >> 33) % bound;
}

static uint64_t word_of(const void *object) {
  return (uint64_t)(uintptr_t)object;
}

static node *node_at(uint64_t word) {
  return (node *)(uintptr_t)word;
}

/* ---- the binding ----------------------------------------------------------------------------- */

static size_t node_bytes(uint64_t count) {
  return HEAD_BYTES + 8 * (size_t)count;
}

static size_t custom_size(void *vm, tsr_ref object) {
  (void)vm;
  return node_bytes(((const node *)(const void *)object)->count);
}

/* Gives up now and then before the buffer is full, as a VM may that walks its own structures. On any worker. */
static size_t custom_scan(void *vm, tsr_ref object, size_t resume, tsr_slot_buffer *out) {
  (void)vm;
  node *n = (node *)(void *)object;
  size_t reported = 0;
  for (size_t i = resume; i < n->count; i++) {
    if (reported++ == 3 && (n->number + i) % 3 != 0) return i;
    if (!tsr_slot_buffer_push(out, &n->slots[i])) return i;
  }
  return TSR_SCAN_DONE;
}

#define COUNT_LENGTH                                                                               \
  { .offset = 16, .width = 8, .unit = 8 }

static const tsr_layout layouts[] = {
    {TSR_LAYOUT_INIT, .name = "references", .kind = TSR_LAYOUT_REFERENCES,
     .fixed_bytes = HEAD_BYTES, .length = COUNT_LENGTH},
    {TSR_LAYOUT_INIT, .name = "custom", .kind = TSR_LAYOUT_CUSTOM, .object_size = custom_size,
     .scan = custom_scan},
    {TSR_LAYOUT_INIT, .name = "elements", .kind = TSR_LAYOUT_ELEMENTS, .fixed_bytes = HEAD_BYTES,
     .length = COUNT_LENGTH, .element_bytes = 8, .element_refs = 1},
    /* whose first slot belongs to the fixed part */
    {TSR_LAYOUT_INIT, .name = "headed", .kind = TSR_LAYOUT_REFERENCES,
     .fixed_bytes = HEAD_BYTES + 8, .fixed_refs = 8,
     .length = {.offset = 16, .width = 8, .unit = 8, .bias = -1}},
    {TSR_LAYOUT_INIT, .name = "aligned", .kind = TSR_LAYOUT_REFERENCES, .fixed_bytes = HEAD_BYTES,
     .length = COUNT_LENGTH, .align = ALIGNMENT, .align_offset = HEAD_BYTES}};

/* The collector asks when the queues have their memory, and nothing is traced yet. */
static void cut_queues(model *all) {
  struct team *team = all->heap->team;
  for (uint32_t i = 0; i < team->active && all->queue_entries != QUEUE_WHOLE; i++) {
    mark_queue *queue = &team_worker(team, i)->queue;
    if (all->queue_entries < (size_t)(queue->end - queue->top))
      queue->end = queue->top + all->queue_entries;
  }
  all->queue_entries = QUEUE_WHOLE;
}

static void scan_roots(void *vm, tsr_visitor *visitor) {
  model *all = vm;
  cut_queues(all);
  tsr_visit_slots(visitor, all->roots, ROOTS);
}

static const tsr_binding binding = {TSR_BINDING_HEADER,
                                    .name = "model",
                                    .does = TSR_DOES_SAFEPOINTS | TSR_DOES_UPDATABLE_SLOTS,
                                    .layouts = layouts,
                                    .layout_count = KINDS,
                                    .scan_heap_roots = scan_roots};

static model *model_open(const char *plan, const char *workers) {
  model *all = calloc(1, sizeof *all);
  ck_assert_ptr_nonnull(all);
  all->queue_entries = QUEUE_WHOLE;
  for (uint32_t i = 0; i < ROOTS; i++)
    all->root_numbers[i] = NO_EDGE;
  for (uint32_t i = 0; i < NODES; i++)
    all->free_numbers[all->free_count++] = i;
  tsr_options *options = tsr_options_create();
  ck_assert_int_eq(tsr_options_set(options, "plan", plan, NULL), TSR_OK);
  ck_assert_int_eq(tsr_options_set(options, "heap_max", "16M", NULL), TSR_OK);
  ck_assert_int_eq(tsr_options_set(options, "heap_min", "16M", NULL), TSR_OK);
  ck_assert_int_eq(tsr_options_set(options, "threads", workers, NULL), TSR_OK);
  tsr_error error = {0};
  all->heap = tsr_heap_create(&binding, all, options, &error);
  ck_assert_msg(all->heap != NULL, "%s", error.message);
  tsr_options_destroy(options);
  all->m = tsr_bind_mutator(all->heap, all, &error);
  ck_assert_ptr_nonnull(all->m);
  return all;
}

static void model_close(model *all) {
  ck_assert_int_eq(tsr_unbind_mutator(all->m, NULL), TSR_OK);
  ck_assert_int_eq(tsr_heap_destroy(all->heap, NULL), TSR_OK);
  for (uint32_t i = 0; i < NODES; i++)
    free(all->nodes[i].edges);
  free(all);
}

/* ---- changing the graph ---------------------------------------------------------------------- */

/* Mostly short, some long enough to be scanned in pieces, a few large. */
static uint32_t random_count(void) {
  uint32_t percent = random_below(100);
  if (percent < 80) return random_below(6);
  if (percent < 97) return random_below(120);
  return percent < 99 ? random_below(1000) : 1000 + random_below(5000);
}

/* A third stays where it is made, a few of these on pages of their own. */
static tsr_semantics random_placement(size_t bytes) {
  if (random_below(3) != 0) return TSR_DEFAULT;
  bool own_pages = bytes < 4096 && random_below(30) == 0;
  return own_pages ? TSR_NON_MOVING | TSR_READ_ONLY : TSR_NON_MOVING;
}

/* A node without edges, put into a random root. The allocation may collect, which frees no number:
   the model learns of it at its next walk. */
static void make_node(model *all) {
  if (all->free_count == 0) return;
  uint32_t count = random_count();
  uint32_t kind = REFERENCES + random_below(all->kinds);
  if (kind == ALIGNED && node_bytes(count) > 4000) kind = REFERENCES;
  if (kind == HEADED && count == 0) kind = REFERENCES;
  bool aligned = kind == ALIGNED;
  tsr_semantics placement = random_placement(node_bytes(count));
  node *n = tsr_alloc(all->m, node_bytes(count), aligned ? ALIGNMENT : 8, aligned ? HEAD_BYTES : 0,
                      placement);
  if (n == NULL) return;
  uint32_t number = all->free_numbers[--all->free_count];
  n->header = TSR_HEADER(kind);
  n->number = number;
  n->count = count;
  ck_assert_int_eq(tsr_post_alloc(all->m, (tsr_ref)(void *)n, node_bytes(count), placement),
                   TSR_OK);
  uint32_t *edges = malloc((count + 1) * sizeof *edges);
  ck_assert_ptr_nonnull(edges);
  for (uint32_t i = 0; i < count; i++)
    edges[i] = NO_EDGE;
  all->nodes[number] = (shadow){.count = count, .kind = kind, .edges = edges};
  if (placement != TSR_DEFAULT) all->nodes[number].place = word_of(n);
  uint32_t root = random_below(ROOTS);
  all->roots[root].word = word_of(n);
  all->root_numbers[root] = number;
}

static void drop_root(model *all) {
  uint32_t root = random_below(ROOTS);
  all->roots[root].word = 0;
  all->root_numbers[root] = NO_EDGE;
}

/* From some node a few steps below one root, to another root's or to nothing. */
static void change_edge(model *all) {
  uint32_t from = all->root_numbers[random_below(ROOTS)];
  uint32_t to = all->root_numbers[random_below(ROOTS)];
  if (from == NO_EDGE || to == NO_EDGE) return;
  for (uint32_t steps = random_below(5); steps > 0 && all->nodes[from].count > 0; steps--) {
    uint32_t next = all->nodes[from].edges[random_below(all->nodes[from].count)];
    if (next != NO_EDGE) from = next;
  }
  shadow *s = &all->nodes[from];
  if (s->count == 0) return;
  /* The first slot, which may be no element of the array, often enough in long ones too. */
  uint32_t i = random_below(4) == 0 ? 0 : random_below(s->count);
  if (random_below(8) == 0) to = NO_EDGE;
  s->edges[i] = to;
  tsr_write(all->m, (tsr_ref)(uintptr_t)s->word, &node_at(s->word)->slots[i],
            to == NO_EDGE ? 0 : all->nodes[to].word);
}

/* ---- comparing ------------------------------------------------------------------------------- */

/* A word of the heap against a number of the model; new ones are put on the stack. */
static uint32_t meet(model *all, uint32_t top, uint64_t word, uint32_t number) {
  if (number == NO_EDGE) {
    if (word != 0) ck_abort_msg("0x%llx where nothing should be", (unsigned long long)word);
    return top;
  }
  shadow *s = &all->nodes[number];
  if (s->word == 0) {
    s->word = word;
    all->stack[top++] = number;
  }
  if (s->word != word) {
    ck_abort_msg("node %u is at 0x%llx and at 0x%llx", number, (unsigned long long)s->word,
                 (unsigned long long)word);
  }
  return top;
}

static void compare_node(const shadow *s, uint32_t number) {
  const node *n = node_at(s->word);
  bool same = n->header == TSR_HEADER(s->kind) && n->number == number && n->count == s->count;
  bool in_place = s->kind != ALIGNED || (s->word + HEAD_BYTES) % ALIGNMENT == 0;
  in_place &= s->place == 0 || s->place == s->word;
  if (!same || !in_place) {
    ck_abort_msg("node %u of %u slots at 0x%llx: header 0x%llx, number %llu, %llu slots", number,
                 s->count, (unsigned long long)s->word, (unsigned long long)n->header,
                 (unsigned long long)n->number, (unsigned long long)n->count);
  }
}

/* Walks both graphs side by side, and notes where each node is. */
static void compare(model *all) {
  for (uint32_t i = 0; i < NODES; i++)
    all->nodes[i].word = 0;
  all->reached = 0;
  uint32_t top = 0;
  for (uint32_t i = 0; i < ROOTS; i++)
    top = meet(all, top, all->roots[i].word, all->root_numbers[i]);
  while (top > 0) {
    uint32_t number = all->stack[--top];
    const shadow *s = &all->nodes[number];
    compare_node(s, number);
    all->reached++;
    for (uint32_t i = 0; i < s->count; i++)
      top = meet(all, top, node_at(s->word)->slots[i].word, s->edges[i]);
  }
}

static void forget_the_unreached(model *all) {
  for (uint32_t i = 0; i < NODES; i++) {
    shadow *s = &all->nodes[i];
    if (s->edges == NULL || s->word != 0) continue;
    free(s->edges);
    s->edges = NULL;
    all->free_numbers[all->free_count++] = i;
  }
}

static void count_node(void *context, tsr_ref object, size_t bytes) {
  const node *n = (const node *)(const void *)object;
  if (bytes != node_bytes(n->count)) ck_abort_msg("%zu bytes of node %p", bytes, (const void *)n);
  ++*(uint32_t *)context;
}

/* ---- collecting in want ---------------------------------------------------------------------- */

/* Takes free blocks for nobody, and lets the account admit only a few more. What no list has, and no slot leads
   into, is nothing to the collector, if only it calls itself by the name of no space. */
static void leave_few_blocks(model *all) {
  tsr_heap *heap = all->heap;
  if (random_below(2) == 0) {
    heap->account.limit_bytes =
        os_atomic_load(&heap->account.total.bytes) + random_below(3) * BLOCK_BYTES;
  }
  if (random_below(2) == 0) return;
  while (heap->blocks.free_blocks > random_below(6)) {
    uint32_t index = block_map_acquire(&heap->blocks, 1, BLOCK_PINNED, MEMORY_WITHIN_LIMIT);
    if (index == BLOCK_NONE) return;
    ck_assert_uint_lt(all->eaten_count, EATEN_MOST);
    all->eaten[all->eaten_count++] = index;
  }
}

static void give_blocks_back(model *all) {
  while (all->eaten_count > 0)
    block_map_release(&all->heap->blocks, all->eaten[--all->eaten_count], 1);
}

/* Returns whether some object had to stay in place. */
static bool collect_in_want(model *all) {
  tsr_heap *heap = all->heap;
  size_t limit_bytes = heap->account.limit_bytes;
  size_t least = heap->options.values.threads > 1 ? QUEUE_LEAST : 0;
  if (random_below(2) == 0) all->queue_entries = least + random_below(20);
  leave_few_blocks(all);
  ck_assert_int_eq(tsr_collect(all->m, NULL), TSR_OK);
  heap->account.limit_bytes = limit_bytes;
  give_blocks_back(all);
  return heap->spaces->copy.exhausted;
}

static void run_model(const char *plan, const char *workers, uint64_t seed, unsigned rounds) {
  random_state = seed;
  model *all = model_open(plan, workers);
  /* A block with an aligned object is not slid, and where each block has one, nothing moves. */
  all->kinds = seed % 2 == 0 ? KINDS : KINDS - 1;
  unsigned stayed = 0;
  for (unsigned round = 0; round < rounds; round++) {
    for (uint32_t more = random_below(40); more > 0; more--)
      make_node(all);
    if (random_below(3) == 0) drop_root(all);
    compare(all);
    for (unsigned i = 0; i < 60; i++)
      change_edge(all);
    if (random_below(4) != 0) continue;
    stayed += collect_in_want(all);
    compare(all);
    forget_the_unreached(all);
    uint32_t found = 0;
    ck_assert_int_eq(tsr_enumerate_objects(all->m, count_node, &found, NULL), TSR_OK);
    ck_assert_uint_eq(found, all->reached);
  }
  printf("rare paths: %s, %s workers, seed %llu, %u collections with objects that stayed\n", plan,
         workers, (unsigned long long)seed, stayed);
  model_close(all);
}

static const struct {
  const char *plan, *workers;
} collectors[] = {
    {"semispace", "1"}, {"markcompact", "1"}, {"semispace", "3"}, {"markcompact", "3"}};
#define COLLECTORS (sizeof collectors / sizeof collectors[0])

START_TEST(the_heap_is_as_the_model_says) {
  const char *plan = collectors[_i].plan, *workers = collectors[_i].workers;
  const char *text = getenv("TESSERA_TEST_SEED");
  if (text != NULL) {
    run_model(plan, workers, strtoull(text, NULL, 0), 2000);
    return;
  }
  for (uint64_t seed = 1; seed <= 4; seed++)
    run_model(plan, workers, seed, ROUNDS);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("rare paths");
  TCase *tests = tcase_create("model");
  tcase_set_timeout(tests, 0);
  tcase_add_loop_test(tests, the_heap_is_as_the_model_says, 0, (int)COLLECTORS);
  suite_add_tcase(suite, tests);
  return unit_run(suite);
}
