/*
 * One mutable graph, many threads: TESSERA_TORTURE_THREADS of them (8) over one table of nodes with
 * four edges each, until there have been TESSERA_TORTURE_COLLECTIONS collections, of which every
 * thread has asked for some (F87).
 *
 * Threads walk along edges and check each node that they meet, store nodes into edges, and put
 * fresh nodes in the place of others all the time. No lock guards an edge. A node that is replaced
 * loses its edges, so that what is live stays about as large as the table.
 *
 * What the memory model asks of a VM whose threads share objects like this:
 *
 *  - An edge is loaded with tsr_load() and stored with tsr_write(): relaxed accesses, which never
 *    race with each other and never tear. They order nothing else.
 *  - So the words of an object that is published by such a store (its header, its id, its first
 *    edges) would be read by others without anything that puts the reading after the writing. The
 *    VM supplies that order: each node has a word, its seal, which its maker stores last, with
 *    release, and which every thread loads with acquire before it looks at anything else in the
 *    node. The load sees what that store wrote, so it comes after everything that the maker did,
 *    however many relaxed edges the reference went through. A VM whose objects all have such a word
 *    (a type, a length) needs no more.
 *  - That the load cannot see the word as it was before the maker's store is up to the first store
 *    of the reference: publish() calls the barrier and then stores with release. On a machine that
 *    keeps stores in order it is the same instruction; on others it keeps the reference from being
 *    seen before the node, and loads through a reference come after the load of the reference.
 *  - Collections need nothing of the kind: stopping and resuming orders all that mutators and
 *    collector did.
 */
#include "harness.h"

#include <inttypes.h>
#include <sched.h>
#include <unistd.h>

#define EDGES                     4
#define NODES                     2048 /* so the table is a large object */
#define DEFAULT_COLLECTIONS       100
#define MOST_THREADS              64
#define STEPS_WITHOUT_COLLECTIONS 40000 /* of each thread, under a plan that never collects */

/* Words of a node. */
enum { ID = 1, SEAL = 2, EDGE = 3, NODE_WORDS = EDGE + EDGES };
enum { NODE = 1, TABLE_OF_NODES, FORWARD_NODE };
#define FIRST_NODE 2 /* word of the table */

static const tsr_layout layouts[] = {
    {TSR_LAYOUT_INIT, .name = "node", .kind = TSR_LAYOUT_FIXED, .fixed_bytes = 8 * NODE_WORDS,
     .fixed_refs = 0xfu << EDGE},
    {TSR_LAYOUT_INIT, .name = "nodes", .kind = TSR_LAYOUT_REFERENCES, .fixed_bytes = 16,
     .length = {.offset = 8, .width = 8, .unit = 8}},
    {TSR_LAYOUT_INIT, .name = "forward node", .kind = TSR_LAYOUT_FIXED,
     .fixed_bytes = 8 * NODE_WORDS, .fixed_refs = 0xfu << EDGE, .barrier = TSR_BARRIER_FORWARD},
};

typedef struct graph {
  tsr_binding binding;
  tsr_heap *heap;
  tsr_slot *table; /* a global handle */
  atomic_uint_fast64_t collections;
  atomic_bool done;
} graph;

typedef struct walker {
  graph *graph;
  tsr_mutator *m;
  pthread_t thread;
  unsigned index;
  uint64_t random, born;
  atomic_uint_fast64_t asked; /* collections; read by the main thread */
  uint64_t steps, met, replaced, relinked, native, bindings;
} walker;

static uint64_t below(walker *w, uint64_t n) {
  return (vm_random(&w->random) >> 11) % n;
}

/* ---- callbacks ----------------------------------------------------------------------------- */

static void on_error(void *vm, tsr_mutator *m, const tsr_error *error) {
  (void)vm;
  (void)m;
  run_fail(__FILE__, __LINE__, "reported: %s", error->message);
}

static void on_collection_ended(void *vm, const tsr_collection *collection) {
  (void)collection;
  graph *g = vm;
  atomic_fetch_add(&g->collections, 1);
}

/* ---- nodes --------------------------------------------------------------------------------- */

static uint64_t seal_for(uint64_t id) {
  uint64_t mixed = (id ^ id >> 29) * 0x9e3779b97f4a7c15u;
  return (mixed ^ mixed >> 32) | 1; /* never zero, as fresh memory is */
}

/* The header's half that holds the layout. To read the GC byte beside it would race with barriers
   of other threads. */
static unsigned layout_of(tsr_ref object) {
  uint16_t layout;
  memcpy(&layout, (const char *)object + TSR_HEADER_SHIFT / 8, sizeof layout);
  return layout;
}

/* The id of a node that anybody may have made; first of all its seal is loaded. */
static uint64_t check_node(uint64_t word) {
  tsr_ref node = vm_ref(word);
  uint64_t seal = __atomic_load_n(&vm_slot(node, SEAL)->word, __ATOMIC_ACQUIRE);
  uint64_t id = vm_slot(node, ID)->word;
  DEMAND(layout_of(node) == NODE || layout_of(node) == FORWARD_NODE,
         "0x%" PRIx64 " is no node: its layout is %u", word, layout_of(node));
  DEMAND(seal == seal_for(id),
         "the node 0x%" PRIx64 " has the id 0x%" PRIx64 " and the seal 0x%" PRIx64, word, id, seal);
  return id;
}

static tsr_ref table_of(walker *w) {
  return vm_ref(tsr_load(w->m, w->graph->table));
}
static tsr_slot *place_in(tsr_ref table, uint64_t i) {
  return vm_slot(table, FIRST_NODE + i);
}
static tsr_slot *edge_of(uint64_t node, uint64_t i) {
  return vm_slot(vm_ref(node), EDGE + i);
}

/* The first store of a reference to a node that others do not know. */
static void publish(walker *w, tsr_ref object, tsr_slot *slot, uint64_t node) {
  tsr_write_barrier(w->m, object, slot, node);
  __atomic_store_n(&slot->word, node, __ATOMIC_RELEASE);
}

/* Collects, perhaps. Its edges are nodes of the table, or none: what is old does not pile up. */
static uint64_t new_node(walker *w) {
  tsr_ref node = (tsr_ref)tsr_alloc_default(w->m, 8 * NODE_WORDS);
  DEMAND(node != NULL, "no memory for a node, though little is live");
  vm_slot(node, 0)->word = vm_header(w->born % 2 == 0 ? NODE : FORWARD_NODE, 0);
  tsr_post_alloc_default(w->m, node, 8 * NODE_WORDS);
  uint64_t id = (uint64_t)w->index << 48 | ++w->born;
  vm_slot(node, ID)->word = id;
  tsr_ref table = table_of(w);
  for (unsigned i = 0; i < EDGES; i++) {
    edge_of(vm_word(node), i)->word = tsr_load(w->m, place_in(table, below(w, NODES)));
  }
  __atomic_store_n(&vm_slot(node, SEAL)->word, seal_for(id), __ATOMIC_RELEASE);
  return vm_word(node);
}

/* ---- what a thread does -------------------------------------------------------------------- */

/* Along random edges from a random place of the table; the node at the end. No safepoint. */
static uint64_t wander(walker *w) {
  uint64_t node = tsr_load(w->m, place_in(table_of(w), below(w, NODES)));
  check_node(node);
  for (uint64_t steps = below(w, 16); steps > 0; steps--) {
    uint64_t next = tsr_load(w->m, edge_of(node, below(w, EDGES)));
    if (next == 0) break;
    node = next;
    check_node(node);
    w->met++;
  }
  return node;
}

static void relink(walker *w) {
  uint64_t from = wander(w);
  uint64_t to = tsr_load(w->m, place_in(table_of(w), below(w, NODES)));
  check_node(to);
  tsr_write(w->m, vm_ref(from), edge_of(from, below(w, EDGES)), to);
  w->relinked++;
}

static void replace(walker *w) {
  uint64_t fresh = new_node(w);
  tsr_ref table = table_of(w);
  tsr_slot *place = place_in(table, below(w, NODES));
  uint64_t old = tsr_load(w->m, place);
  check_node(old);
  publish(w, table, place, fresh);
  for (unsigned i = 0; i < EDGES; i++) {
    tsr_write(w->m, vm_ref(old), edge_of(old, i), 0);
  }
  w->replaced++;
}

static void collect(walker *w) {
  tsr_error error = {0};
  tsr_status expected = run.collects ? TSR_OK : TSR_UNSUPPORTED;
  tsr_status status = tsr_collect(w->m, &error);
  DEMAND(status == expected, "tsr_collect: %s: %s", tsr_status_name(status), error.message);
  atomic_fetch_add(&w->asked, 1);
}

static void bind(walker *w) {
  tsr_error error = {0};
  w->m = tsr_bind_mutator(w->graph->heap, w, &error);
  DEMAND(w->m != NULL, "tsr_bind_mutator: %s", error.message);
  w->bindings++;
}

static void unbind(walker *w) {
  tsr_error error = {0};
  DEMAND_OK(tsr_unbind_mutator(w->m, &error), error);
}

static void run_natively(walker *w) {
  tsr_enter_native(w->m);
  usleep((useconds_t)below(w, 200));
  tsr_leave_native(w->m);
  w->native++;
}

/* Every fourth thread goes native now and then, every fourth comes and goes. */
static void change_state(walker *w) {
  if (w->index % 4 == 1) run_natively(w);
  if (w->index % 4 == 2) {
    unbind(w);
    sched_yield();
    bind(w);
  }
}

static void step(walker *w) {
  uint64_t choice = below(w, 1000);
  if (choice < 500) {
    wander(w);
  } else if (choice < 700) {
    relink(w);
  } else if (choice < 980) {
    replace(w);
  } else if (choice < 995) {
    change_state(w);
  } else {
    collect(w);
  }
  tsr_safepoint(w->m);
  w->steps++;
}

/* Enough collections, and a fair part of them asked for by this thread: whoever comes and goes
   waits for those of others, and would be starved by them. */
static bool has_done_its_share(const walker *w) {
  if (!run.collects) return w->steps >= STEPS_WITHOUT_COLLECTIONS;
  return w->graph->collections >= run.length && w->asked > run.length / (16 * run.threads);
}

static void *walker_main(void *context) {
  walker *w = context;
  bind(w);
  while (!has_done_its_share(w)) {
    step(w);
  }
  unbind(w);
  return NULL;
}

/* ---- building and judging ------------------------------------------------------------------ */

static void open_graph(graph *g) {
  tsr_error error = {0};
  memset(g, 0, sizeof *g);
  g->binding = *vm_standard_binding();
  g->binding.name = "shared graph";
  g->binding.layouts = layouts;
  g->binding.layout_count = sizeof layouts / sizeof layouts[0];
  g->binding.scan_heap_roots = NULL;
  g->binding.scan_mutator_roots = NULL;
  g->binding.out_of_memory = NULL;
  g->binding.report_error = on_error;
  g->binding.collection_ended = on_collection_ended;
  tsr_options *options = tsr_options_create();
  const char *heap_max = run.heap_max != NULL ? run.heap_max : run.collects ? "6M" : "256M";
  DEMAND_OK(tsr_options_set(options, "plan", run.plan, &error), error);
  DEMAND_OK(tsr_options_set(options, "heap_max", heap_max, &error), error);
  g->heap = tsr_heap_create(&g->binding, g, options, &error);
  DEMAND(g->heap != NULL, "tsr_heap_create: %s", error.message);
  tsr_options_destroy(options);
}

/* The first nodes have few edges, and nobody else is there yet. */
static void build_graph(graph *g, walker *w) {
  size_t size = 8 * (FIRST_NODE + (size_t)NODES);
  void *table = tsr_alloc(w->m, size, TSR_OBJECT_ALIGN, 0, TSR_DEFAULT);
  DEMAND(table != NULL, "no memory for the table");
  ((uint64_t *)table)[0] = vm_header(TABLE_OF_NODES, 0);
  ((uint64_t *)table)[1] = NODES;
  DEMAND(tsr_post_alloc(w->m, (tsr_ref)table, size, TSR_DEFAULT) == TSR_OK, "tsr_post_alloc");
  g->table = tsr_handle_new(g->heap, vm_word(table), TSR_STRONG, NULL);
  DEMAND(g->table != NULL, "tsr_handle_new");
  for (uint64_t i = 0; i < NODES; i++) {
    uint64_t node = new_node(w);
    publish(w, table_of(w), place_in(table_of(w), i), node);
  }
}

typedef struct tour {
  uint64_t *nodes; /* met, in order; also the queue */
  size_t count, capacity;
  uint64_t *set; /* open addressing */
  size_t set_mask;
} tour;

static void tour_meet(tour *t, uint64_t node) {
  if (node == 0) return;
  size_t i = (size_t)((node >> 3) * 0x9e3779b97f4a7c15u >> 20) & t->set_mask;
  while (t->set[i] != 0 && t->set[i] != node) {
    i = (i + 1) & t->set_mask;
  }
  if (t->set[i] == node) return;
  DEMAND(t->count < t->capacity, "more than %zu nodes can be reached", t->capacity);
  t->set[i] = node;
  t->nodes[t->count++] = node;
}

/* Checks every node that can be reached; returns how many there are. */
static size_t tour_graph(walker *w) {
  tour t = {.capacity = (size_t)1 << 22, .set_mask = ((size_t)1 << 23) - 1};
  t.nodes = malloc(t.capacity * sizeof(uint64_t));
  t.set = calloc(t.set_mask + 1, sizeof(uint64_t));
  DEMAND(t.nodes != NULL && t.set != NULL, "no memory for the tour");
  for (uint64_t i = 0; i < NODES; i++) {
    tour_meet(&t, tsr_load(w->m, place_in(table_of(w), i)));
  }
  for (size_t next = 0; next < t.count; next++) {
    check_node(t.nodes[next]);
    for (unsigned i = 0; i < EDGES; i++) {
      tour_meet(&t, tsr_load(w->m, edge_of(t.nodes[next], i)));
    }
  }
  free(t.nodes);
  free(t.set);
  return t.count;
}

static void judge(graph *g, walker *w) {
  tsr_error error = {0};
  if (run.collects) collect(w);
  DEMAND_OK(tsr_heap_verify(w->m, &error), error);
  size_t reachable = tour_graph(w);
  DEMAND(reachable >= NODES, "%zu nodes can be reached, the table has %d", reachable, NODES);
  printf("  %zu nodes can be reached, all intact\n", reachable);
  DEMAND_OK(tsr_handle_free(g->heap, g->table, &error), error);
}

static void report(const graph *g, const walker *walkers) {
  printf("%s, %u threads, seed %" PRIu64 ": %" PRIu64 " collections\n", run.plan, run.threads,
         run.seed, (uint64_t)g->collections);
  for (unsigned i = 0; i < run.threads; i++) {
    const walker *w = &walkers[i];
    printf("  thread %u: %" PRIu64 " steps, %" PRIu64 " nodes met, %" PRIu64 " replaced, %" PRIu64
           " linked, %" PRIu64 " collections asked for, %" PRIu64 " times native, %" PRIu64
           " bindings\n",
           i, w->steps, w->met, w->replaced, w->relinked, (uint64_t)w->asked, w->native,
           w->bindings);
  }
  fflush(stdout);
}

static void share_graph(void) {
  graph g;
  walker *walkers = calloc(MOST_THREADS + 1, sizeof *walkers);
  run.threads = (unsigned)run_number("TESSERA_TORTURE_THREADS", 8);
  DEMAND(walkers != NULL && run.threads >= 1 && run.threads <= MOST_THREADS, "1 to %d threads",
         MOST_THREADS);
  walker *main_walker = &walkers[run.threads];
  run_print_command(stdout);
  open_graph(&g);
  for (unsigned i = 0; i <= run.threads; i++) {
    walkers[i].graph = &g;
    walkers[i].index = i;
    walkers[i].random = (run.seed * (MOST_THREADS + 1) + i) * 0x9e3779b97f4a7c15u | 1;
  }
  bind(main_walker);
  build_graph(&g, main_walker);
  tsr_enter_native(main_walker->m);
  for (unsigned i = 0; i < run.threads; i++) {
    DEMAND(pthread_create(&walkers[i].thread, NULL, walker_main, &walkers[i]) == 0, "no thread");
  }
  for (unsigned i = 0; i < run.threads; i++) {
    pthread_join(walkers[i].thread, NULL);
  }
  tsr_leave_native(main_walker->m);
  report(&g, walkers);
  judge(&g, main_walker);
  unbind(main_walker);
  DEMAND(tsr_heap_destroy(g.heap, NULL) == TSR_OK, "tsr_heap_destroy");
  free(walkers);
}

int main(int count, char **arguments) {
  (void)count;
  return run_plans(arguments, "TESSERA_TORTURE_COLLECTIONS", DEFAULT_COLLECTIONS, share_graph);
}
