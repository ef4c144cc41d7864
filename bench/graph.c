/* graph.c - a shape built in a heap of the library's (graph.h). */
#include "graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what the library is told --------------------------------------------------------------- */

/* As the objects: header, two slots, a word. The array: header, length, slots. */
enum { OBJECT_LAYOUT = 1, ARRAY_LAYOUT = 2, LAYOUTS = 2 };

struct array_object {
  uint64_t header;
  uint64_t length;
  tsr_slot slots[];
};

static const tsr_layout layouts[LAYOUTS] = {
    {TSR_LAYOUT_INIT, .name = "object", .kind = TSR_LAYOUT_FIXED,
     .fixed_bytes = sizeof(struct bare_object), .fixed_refs = 0x6},
    {TSR_LAYOUT_INIT, .name = "array", .kind = TSR_LAYOUT_REFERENCES,
     .fixed_bytes = sizeof(struct array_object), .length = {.offset = 8, .width = 8, .unit = 8}}};

static void graph_collection_ended(void *vm, const tsr_collection *collection) {
  struct graph *graph = vm;
  graph->last = *collection;
}

static const tsr_binding binding = {TSR_BINDING_HEADER,
                                    .name = "bench",
                                    .does = TSR_DOES_WRITE_BARRIER | TSR_DOES_SAFEPOINTS |
                                            TSR_DOES_UPDATABLE_SLOTS,
                                    .layouts = layouts,
                                    .layout_count = LAYOUTS,
                                    .collection_ended = graph_collection_ended};

static bool complain(const char *what) {
  fprintf(stderr, "tessera-bench: %s\n", what);
  return false;
}

bool graph_plan_exists(const char *plan) {
  for (const char *const *name = tsr_plan_names(); *name != NULL; name++) {
    if (strcmp(*name, plan) == 0) return true;
  }
  return false;
}

bool graph_each_collecting_plan(const char *only, bool (*run)(void *context, const char *plan),
                                void *context) {
  bool ok = true;
  bool found = false;
  for (const char *const *name = tsr_plan_names(); ok && *name != NULL; name++) {
    if (strcmp(*name, "nogc") == 0 || (only != NULL && strcmp(*name, only) != 0)) continue;
    found = true;
    ok = run(context, *name);
  }
  if (!found) fprintf(stderr, "tessera-bench: --plan is one that collects\n");
  return ok && found;
}

/* ---- sizes ---------------------------------------------------------------------------------- */

static size_t array_bytes(const struct shape *shape) {
  return sizeof(struct array_object) + shape->count * sizeof(tsr_slot);
}

static uint64_t graph_bytes(const struct shape *shape, uint64_t objects) {
  return objects * sizeof(struct bare_object) + (shape->is_array ? array_bytes(shape) : 0);
}

uint64_t graph_live_bytes(const struct shape *shape) {
  return graph_bytes(shape, shape->reachable);
}

static uint64_t graph_hole_objects(const struct shape *shape,
                                   const struct graph_settings *settings) {
  return (uint64_t)shape->count * settings->hole / 100;
}

/* The graph and the hole below it. */
static uint64_t graph_built_bytes(const struct shape *shape,
                                  const struct graph_settings *settings) {
  return graph_bytes(shape, shape->count) +
         graph_hole_objects(shape, settings) * sizeof(struct bare_object);
}

/* What is allocated before the graph, and is garbage: a copying plan needs less than this for the
   graph and its copy. */
static uint64_t graph_warm_up_bytes(const struct shape *shape,
                                    const struct graph_settings *settings) {
  return graph_built_bytes(shape, settings) / 4 * 9 + ((uint64_t)1 << 20);
}

/* No plan collects unasked in a heap of this size: copying plans count everything twice. */
static uint64_t graph_heap_bytes(const struct shape *shape, const struct graph_settings *settings) {
  return 5 * graph_built_bytes(shape, settings) + ((uint64_t)64 << 20);
}

/* ---- the heap ------------------------------------------------------------------------------- */

static bool graph_pin_options(const struct graph *graph, tsr_options *options,
                              const struct graph_settings *settings, tsr_error *error) {
  char bytes[32], threads[16];
  snprintf(bytes, sizeof bytes, "%llu",
           (unsigned long long)graph_heap_bytes(graph->shape, settings));
  snprintf(threads, sizeof threads, "%u", settings->threads);
  return tsr_options_set(options, "plan", settings->plan, error) == TSR_OK &&
         tsr_options_set(options, "threads", threads, error) == TSR_OK &&
         tsr_options_set(options, "heap_max", bytes, error) == TSR_OK &&
         tsr_options_set(options, "heap_min", bytes, error) == TSR_OK;
}

static bool graph_create_heap(struct graph *graph, const struct graph_settings *settings) {
  tsr_error error;
  tsr_options *options = tsr_options_create();
  if (options == NULL) return complain("out of memory");
  if (graph_pin_options(graph, options, settings, &error)) {
    graph->heap = tsr_heap_create(&binding, graph, options, &error);
  }
  tsr_options_destroy(options);
  if (graph->heap != NULL) graph->mutator = tsr_bind_mutator(graph->heap, graph, &error);
  return graph->mutator != NULL || complain(error.message);
}

static struct bare_object *graph_allocate(const struct graph *graph) {
  struct bare_object *object = tsr_alloc_default(graph->mutator, sizeof *object);
  if (object == NULL) return NULL;
  object->header = TSR_HEADER(OBJECT_LAYOUT);
  tsr_post_alloc_default(graph->mutator, object, sizeof *object);
  return object;
}

static bool graph_allocate_garbage(const struct graph *graph, uint64_t objects) {
  for (uint64_t i = 0; i < objects; i++) {
    if (graph_allocate(graph) == NULL) return complain("out of memory");
  }
  return true;
}

/* Makes the heap touch as much memory as it will use, so that page faults are no part of what is
   measured. */
static bool graph_warm_up(const struct graph *graph, const struct graph_settings *settings) {
  uint64_t objects = graph_warm_up_bytes(graph->shape, settings) / sizeof(struct bare_object);
  if (!graph_allocate_garbage(graph, objects)) return false;
  tsr_error error;
  return tsr_collect(graph->mutator, &error) == TSR_OK || complain(error.message);
}

/* ---- the graph ------------------------------------------------------------------------------ */

static struct array_object *graph_allocate_array(const struct graph *graph) {
  size_t bytes = array_bytes(graph->shape);
  struct array_object *array = tsr_alloc(graph->mutator, bytes, TSR_OBJECT_ALIGN, 0, TSR_DEFAULT);
  if (array == NULL) return NULL;
  array->header = TSR_HEADER(ARRAY_LAYOUT);
  array->length = graph->shape->count;
  tsr_status status = tsr_post_alloc(graph->mutator, (tsr_ref)array, bytes, TSR_DEFAULT);
  return status == TSR_OK ? array : NULL;
}

static int by_address(const void *a, const void *b) {
  const char *const *x = a;
  const char *const *y = b;
  return (*x > *y) - (*x < *y);
}

/* The buffers of an allocator may come in any order; position i is the i-th in order of memory. */
static bool graph_allocate_objects(struct graph *graph) {
  uint32_t count = graph->shape->count;
  graph->objects = malloc(count * sizeof *graph->objects);
  if (graph->objects == NULL) return false;
  bool ordered = true;
  for (uint32_t i = 0; i < count; i++) {
    graph->objects[i] = graph_allocate(graph);
    if (graph->objects[i] == NULL) return false;
    ordered = ordered && (i == 0 || by_address(&graph->objects[i - 1], &graph->objects[i]) < 0);
  }
  if (!ordered) qsort(graph->objects, count, sizeof *graph->objects, by_address);
  return true;
}

static void graph_store(const struct graph *graph, void *object, void *slot, uint32_t position) {
  if (position == SHAPE_NONE) return;
  tsr_write(graph->mutator, object, slot, (uintptr_t)graph->objects[position]);
}

static void graph_connect(const struct graph *graph, struct array_object *array) {
  const struct shape *shape = graph->shape;
  for (uint32_t i = 0; i < shape->count; i++) {
    struct bare_object *object = graph->objects[i];
    for (size_t k = 0; k < SHAPE_REFS; k++)
      graph_store(graph, object, &object->refs[k], shape->refs[SHAPE_REFS * (size_t)i + k]);
    if (array != NULL) graph_store(graph, array, &array->slots[i], i);
  }
}

static bool graph_build(struct graph *graph) {
  struct array_object *array = NULL;
  if (graph->shape->is_array && (array = graph_allocate_array(graph)) == NULL) {
    return complain("out of memory");
  }
  if (!graph_allocate_objects(graph)) return complain("out of memory");
  graph_connect(graph, array);
  void *root = array != NULL ? (void *)array : graph->objects[graph->shape->root];
  tsr_error error;
  graph->root = tsr_handle_new(graph->heap, (uintptr_t)root, TSR_STRONG, &error);
  return graph->root != NULL || complain(error.message);
}

bool graph_open(struct graph *graph, const struct shape *shape,
                const struct graph_settings *settings) {
  *graph = (struct graph){.shape = shape};
  if (!graph_create_heap(graph, settings)) return false;
  if (!settings->fresh && !graph_warm_up(graph, settings)) return false;
  tsr_collection_disable(graph->heap);
  return graph_allocate_garbage(graph, graph_hole_objects(shape, settings)) && graph_build(graph);
}

void graph_close(struct graph *graph) {
  if (graph->mutator != NULL) tsr_unbind_mutator(graph->mutator, NULL);
  tsr_heap_destroy(graph->heap, NULL);
  free(graph->objects);
}

/* ---- collecting ----------------------------------------------------------------------------- */

bool graph_collect(struct graph *graph) {
  tsr_error error;
  if (tsr_collection_enable(graph->heap, &error) != TSR_OK ||
      tsr_collect(graph->mutator, &error) != TSR_OK) {
    return complain(error.message);
  }
  if (graph->last.live_bytes == graph_live_bytes(graph->shape)) return true;
  fprintf(stderr, "tessera-bench: plan %s found %llu bytes live where %llu can be reached\n",
          graph->last.plan, (unsigned long long)graph->last.live_bytes,
          (unsigned long long)graph_live_bytes(graph->shape));
  return false;
}

struct bare_object *const *graph_edges(const struct graph *graph) {
  if (!graph->shape->is_array) return (struct bare_object *const *)(const void *)graph->root;
  const struct array_object *array = (const struct array_object *)(uintptr_t)graph->root->word;
  return (struct bare_object *const *)(const void *)array->slots;
}
