/* graph.h - a shape built in a heap of the library's, through its public interface alone.
 *
 * Objects are the bare loops' (limits.h): a header, two references, a value, 32 bytes. They are
 * allocated one after the other in the shape's order of memory; no collection can come while they
 * are.
 */
#ifndef TESSERA_BENCH_GRAPH_H
#define TESSERA_BENCH_GRAPH_H

#include "limits/limits.h"

#include <tessera/tessera.h>

/** How a heap is made. */
struct graph_settings {
  const char *plan;
  unsigned threads; /* that collect */
  unsigned hole;    /* garbage below the graph, percent of its objects: whatever slides slides it */
  bool fresh; /* memory is not touched before; any plan will do, also one that never collects */
};

struct graph {
  const struct shape *shape;
  tsr_heap *heap;
  tsr_mutator *mutator;
  struct bare_object **objects; /* in order of memory, until the collection */
  tsr_slot *root;               /* the one root: an object, or the array */
  tsr_collection last;          /* the last collection */
};

/** Whether the library has a plan of that name. */
bool graph_plan_exists(const char *plan);

/** Calls back for each plan that collects, or only for the one that `only` names. False: `only` names none, and
    nothing is called; or a call has returned false, and was the last. */
bool graph_each_collecting_plan(const char *only, bool (*run)(void *context, const char *plan),
                                void *context);

/** What a shape's reachable objects take. */
uint64_t graph_live_bytes(const struct shape *shape);

/** Makes a heap and builds the shape in it. Says why where it fails; close the graph even then. */
bool graph_open(struct graph *graph, const struct shape *shape,
                const struct graph_settings *settings);
void graph_close(struct graph *graph);

/** Collects, and checks that what is live is what can be reached. Says so where it is not. */
bool graph_collect(struct graph *graph);

/** The references that lead into the graph: the root, or the array's. */
struct bare_object *const *graph_edges(const struct graph *graph);

#endif
