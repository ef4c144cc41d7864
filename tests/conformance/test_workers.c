/*
 * Several workers collect: whatever the shape of a graph, and however little of it fits the queues, it is
 * afterwards what it was, and nothing is left beside it.
 *
 * Graphs are blueprints (blueprint.h), some of which are hard to share: a list, of which there is only
 * ever one end to follow; one array that leads to everything. Each test sets the number of workers itself.
 */
#include "blueprint.h"

static testvm vm;
static blueprint plot;

static const unsigned worker_counts[] = {1, 2, 8};
#define WORKER_COUNTS (sizeof worker_counts / sizeof worker_counts[0])

/* ---- shapes ------------------------------------------------------------------------------------ */

static uint32_t below(uint64_t *seed, size_t n) {
  return (uint32_t)((vm_random(seed) >> 11) % n);
}

/* `n` is about the number of nodes, here and in what follows. */
static void draw_list(size_t n) {
  for (size_t i = 0; i < n; i++) {
    blueprint_add(&plot, PAIR, 0);
    if (i > 0) blueprint_link(&plot, (uint32_t)i - 1, 1, (uint32_t)i);
  }
}

/* A list whose elements are objects too. Whichever of the two slots a worker follows first, in half of the
   list the other one is left for later. */
static void draw_comb(size_t n) {
  uint32_t last = blueprint_add(&plot, PAIR, 0);
  for (size_t i = 1; i + 1 < n; i += 2) {
    uint32_t tooth = blueprint_add(&plot, CELL, 0);
    uint32_t next = blueprint_add(&plot, PAIR, 0);
    bool first = i < n / 2;
    blueprint_link(&plot, last, first ? 0 : 1, tooth);
    blueprint_link(&plot, last, first ? 1 : 0, next);
    last = next;
  }
}

static void draw_wide_array(size_t n) {
  uint32_t array = blueprint_add(&plot, VECTOR, n);
  for (size_t i = 0; i < n; i++)
    blueprint_link(&plot, array, i, blueprint_add(&plot, CELL, 0));
}

/* Each level has arrays of `n` to the power of a third. */
static void draw_arrays_of_arrays(size_t n) {
  size_t side = 1;
  while ((side + 1) * (side + 1) * (side + 1) <= n)
    side++;
  uint32_t top = blueprint_add(&plot, VECTOR, side);
  for (size_t i = 0; i < side; i++) {
    uint32_t middle = blueprint_add(&plot, VECTOR, side);
    blueprint_link(&plot, top, i, middle);
    for (size_t k = 0; k < side; k++) {
      uint32_t inner = blueprint_add(&plot, VECTOR, side);
      blueprint_link(&plot, middle, k, inner);
      for (size_t e = 0; e < side; e++)
        blueprint_link(&plot, inner, e, blueprint_add(&plot, PAIR, 0));
    }
  }
}

/* Every kind of object, and any of them in any slot. */
static void draw_random_graph(size_t n) {
  static const struct {
    unsigned kind;
    size_t count;
  } kinds[] = {{RECORD, 0}, {PAIR, 0}, {VECTOR, 9}, {RECORD, 0}, {TABLE, 3},
               {CUSTOM, 5}, {WIDE, 0}, {RECORD, 0}, {BYTES, 40}, {CELL, 0}};
  uint64_t seed = n;
  for (size_t i = 0; i < n; i++) {
    unsigned choice = i == 0 ? 0 : (unsigned)(i % (i % 50 == 0 ? 10 : 6));
    blueprint_add(&plot, kinds[choice].kind, kinds[choice].count);
  }
  for (uint32_t i = 0; i < n; i++) {
    for (size_t k = 0; k < blueprint_slots(&plot, i); k++)
      blueprint_link(&plot, i, k, below(&seed, n));
  }
}

static void draw_tree(size_t n) {
  for (size_t i = 0; i < n; i++) {
    blueprint_add(&plot, PAIR, 0);
    if (i > 0) blueprint_link(&plot, (uint32_t)(i - 1) / 2, (i - 1) % 2, (uint32_t)i);
  }
}

/* Custom layouts that report more slots than a buffer holds, inline and large. */
static void draw_custom_objects(size_t n) {
  enum { LARGE_SLOTS = 5000, SMALL_SLOTS = 500 };
  size_t each = LARGE_SLOTS + 2 * SMALL_SLOTS, sets = n / each;
  uint32_t top = blueprint_add(&plot, CUSTOM, 3 * sets);
  for (size_t i = 0; i < 3 * sets; i++) {
    size_t slots = i % 3 == 0 ? LARGE_SLOTS : SMALL_SLOTS;
    uint32_t object = blueprint_add(&plot, CUSTOM, slots);
    blueprint_link(&plot, top, i, object);
    for (size_t k = 0; k < slots; k++) {
      if (k % 100 != 0) blueprint_link(&plot, object, k, blueprint_add(&plot, PAIR, 0));
    }
    blueprint_link(&plot, object, slots - 1, top);
  }
}

/* Large objects of every kind that refer to small ones, to each other and to themselves. */
static void draw_large_objects(size_t n) {
  static const struct {
    unsigned kind;
    size_t count;
  } kinds[] = {{VECTOR, 3000}, {TABLE, 1500}, {CUSTOM, 2000}, {BYTES, 60000}};
  size_t objects = n / 2000;
  uint64_t seed = n;
  for (size_t i = 0; i < objects; i++)
    blueprint_add(&plot, kinds[i % 4].kind, kinds[i % 4].count);
  for (uint32_t i = 0; i < objects; i++) {
    size_t slots = blueprint_slots(&plot, i);
    for (size_t k = 0; k < slots; k++) {
      uint32_t to = k < 8 ? below(&seed, objects) : blueprint_add(&plot, RECORD, 0);
      blueprint_link(&plot, i, k, to);
      if (k >= 8) blueprint_link(&plot, to, k % 5, below(&seed, objects));
    }
    if (slots > 0 && i + 1 < objects) blueprint_link(&plot, i, slots - 1, i + 1);
    if (slots > 0 && i + 2 < objects) blueprint_link(&plot, i, slots - 2, i + 2);
  }
}

static const struct {
  const char *name;
  void (*draw)(size_t n);
  size_t nodes;
} shapes[] = {{"a list", draw_list, 200000},
              {"a comb", draw_comb, 200000},
              {"a wide array", draw_wide_array, 1000000},
              {"arrays of arrays", draw_arrays_of_arrays, 216000},
              {"a random graph", draw_random_graph, 60000},
              {"a tree", draw_tree, 200000},
              {"custom objects", draw_custom_objects, 100000},
              {"large objects", draw_large_objects, 80000}};
#define SHAPES (sizeof shapes / sizeof shapes[0])

/* ---- heaps ------------------------------------------------------------------------------------- */

static tsr_scope scope;
static tsr_slot *root;

static void start(const char *heap_max, unsigned workers) {
  char text[16];
  snprintf(text, sizeof text, "%u", workers);
  vm_pin(&vm, "heap_max", heap_max);
  vm_pin(&vm, "threads", text);
  vm_start(&vm);
  tsr_scope_open(vm.m, &scope);
  root = tsr_local(vm.m, 0);
  ck_assert_ptr_nonnull(root);
}

static void stop(void) {
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
  blueprint_free(&plot);
}

/* Collects; then the heap holds the graph and, where the plan collects, nothing else. Returns how many nodes
   there are. */
static size_t collect_and_compare(void) {
  vm_collect(&vm);
  size_t met = blueprint_compare(&plot, vm.m, root->word);
  if (vm_collects) ck_assert_uint_eq(vm_enumerate(vm.m).objects, met);
  return met;
}

/* Other links between nodes that are reached. */
static void relink_some(uint64_t *seed) {
  for (size_t i = 0; i < plot.node_count / 200; i++) {
    uint32_t from = below(seed, plot.node_count), to = below(seed, plot.node_count);
    size_t slots = blueprint_slots(&plot, from);
    if (slots == 0 || plot.where[from] == 0 || plot.where[to] == 0) continue;
    blueprint_relink(&plot, vm.m, from, below(seed, slots), to);
  }
}

/* ---- tests ----------------------------------------------------------------------------------- */

START_TEST(every_shape_survives) {
  unsigned workers = worker_counts[(size_t)_i % WORKER_COUNTS];
  size_t shape = (size_t)_i / WORKER_COUNTS;
  vm_init_calm(&vm);
  start("128M", workers);
  shapes[shape].draw(VM_SANITIZED || vm_verifies ? shapes[shape].nodes / 8 : shapes[shape].nodes);
  blueprint_build(&plot, vm.m, root);
  uint64_t seed = 1 + (uint64_t)_i;
  for (unsigned round = 0; round < 4; round++) {
    vm_garbage(vm.m, 256 * KIB);
    size_t met = collect_and_compare();
    ck_assert_msg(round > 0 || 2 * met > plot.node_count, "%s: only %zu nodes", shapes[shape].name,
                  met);
    if (vm_collects) ck_assert_uint_eq(vm.last_collection.workers, workers);
    ck_assert_uint_eq(vm_stats(&vm).workers, vm_collects ? workers : 0);
    relink_some(&seed);
  }
  stop();
}
END_TEST

/* The heap's share for mark queues, in bytes. */
static size_t queue_bytes(void) {
  tsr_memory_share shares[32];
  size_t n = tsr_heap_memory(vm.heap, shares, 32);
  for (size_t i = 0; i < n && i < 32; i++) {
    if (vm_says(shares[i].name, "mark queue")) return (size_t)shares[i].bytes;
  }
  ck_abort_msg("no mark queues among %zu kinds of memory", n);
  return 0;
}

static const struct {
  const char *heap_max;
  size_t bytes;
} small_heaps[] = {{"1M", MIB}, {"2M", 2 * MIB}, {"4M", 4 * MIB}};
#define SMALL_HEAPS (sizeof small_heaps / sizeof small_heaps[0])

static void (*const overflowing[])(size_t n) = {draw_list, draw_comb, draw_wide_array,
                                                draw_random_graph, draw_tree};
#define OVERFLOWING (sizeof overflowing / sizeof overflowing[0])

/* As vm_garbage(). Under semispace each worker copies into blocks of its own, for which a very small heap may not
   have enough; survivors then stay where they are, and what is free between them may not suffice. */
static void waste_memory(size_t bytes) {
  size_t size = vm_size(BYTES, 1000);
  for (size_t done = 0; done < bytes; done += size) {
    bool made = vm_new(vm.m, BYTES, 0, 1000) != NULL;
    ck_assert(made || vm_is("semispace"));
  }
}

/* Graphs of a fifth of the heap, of which a queue could hold a small part. */
START_TEST(what_overflows_the_queues_survives) {
  size_t heap = (size_t)_i % SMALL_HEAPS;
  unsigned workers = worker_counts[(size_t)_i / SMALL_HEAPS % WORKER_COUNTS];
  size_t shape = (size_t)_i / SMALL_HEAPS / WORKER_COUNTS;
  size_t nodes = small_heaps[heap].bytes / 5 / 40;
  if (overflowing[shape] == draw_random_graph) nodes /= 2; /* of larger objects */
  vm_init_calm(&vm);
  vm_alone(&vm); /* there is little room */
  start(small_heaps[heap].heap_max, workers);
  overflowing[shape](nodes);
  blueprint_build(&plot, vm.m, root);
  ck_assert_uint_gt(blueprint_bytes(&plot), small_heaps[heap].bytes / 16);
  uint64_t seed = 1 + (uint64_t)_i;
  for (unsigned round = 0; round < 6; round++) {
    if (vm_collects) waste_memory(small_heaps[heap].bytes / 4);
    collect_and_compare();
    if (vm_collects) {
      ck_assert_uint_eq(vm.last_collection.workers, workers);
      ck_assert_uint_gt(nodes, queue_bytes() / sizeof(tsr_ref) / workers);
    }
    relink_some(&seed);
  }
  stop();
}
END_TEST

/* More than a small heap's queues can be divided among: fewer take part, at most as many as were asked for. */
START_TEST(sixty_four_workers) {
  static const char *const sizes[] = {"1M", "4M", "64M"};
  vm_init_calm(&vm);
  vm_alone(&vm); /* there is little room */
  start(sizes[_i], 64);
  draw_random_graph(500);
  blueprint_build(&plot, vm.m, root);
  uint64_t seed = 64;
  for (unsigned round = 0; round < 10; round++) {
    collect_and_compare();
    tsr_stats stats = vm_stats(&vm);
    ck_assert_uint_le(stats.peak_committed_bytes, stats.heap_max_bytes);
    if (vm_collects) {
      uint32_t workers = vm.last_collection.workers;
      ck_assert_uint_eq(stats.workers, workers);
      ck_assert_msg(workers > 8 && workers <= 64, "%u workers", workers);
      ck_assert(_i < 2 || workers == 64);
    }
    relink_some(&seed);
  }
  stop();
}
END_TEST

/* Every thread collects in turn, with the same workers, and all allocate meanwhile. */
static void collect_in_turn(vm_thread *self) {
  tsr_slot *list = tsr_local(self->m, 0);
  tsr_slot *tree = tsr_local(self->m, 0);
  for (unsigned i = 0; i < 30; i++) {
    EXPECT(self, vm_list(self->m, list, 2000, self->index));
    EXPECT(self, vm_tree(self->m, tree, 8));
    EXPECT(self, tsr_collect(self->m, NULL) == (vm_collects ? TSR_OK : TSR_UNSUPPORTED));
    EXPECT(self, vm_list_holds(self->m, list->word, 2000, self->index));
    EXPECT(self, vm_tree_holds(self->m, tree->word, 8));
  }
}

START_TEST(any_thread_may_lead_the_workers) {
  vm_init_calm(&vm);
  start(vm_collects ? "32M" : "128M", 4);
  vm_threads(&vm, 6, collect_in_turn, NULL);
  if (vm_collects) ck_assert_uint_eq(vm.last_collection.workers, 4);
  draw_tree(1000);
  blueprint_build(&plot, vm.m, root);
  collect_and_compare();
  stop();
}
END_TEST

static void add(TCase *tests) {
  /* Where nobody works, one shape is enough. */
  tcase_add_loop_test(tests, every_shape_survives, 0,
                      vm_collects ? (int)(SHAPES * WORKER_COUNTS) : 1);
  tcase_add_loop_test(tests, what_overflows_the_queues_survives, 0,
                      (int)(SMALL_HEAPS * WORKER_COUNTS * OVERFLOWING));
  tcase_add_loop_test(tests, sixty_four_workers, 0, 3);
  tcase_add_test(tests, any_thread_may_lead_the_workers);
}

int main(void) {
  return vm_main("workers", add);
}
