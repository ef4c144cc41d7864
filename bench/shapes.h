/* shapes.h - object graphs as tables of indices, so that bare loops and the library build the same
 * objects in the same order of memory.
 *
 * An object has two references. It is known by its position in memory, from 0 on; a shape is the
 * table of which position refers to which. The shapes bound what a tracer may meet: two in which
 * each step leads to an address that no processor foresees, two in which the next address is
 * nearly always the next object's, and one without any chain.
 */
#ifndef TESSERA_BENCH_SHAPES_H
#define TESSERA_BENCH_SHAPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum shape_kind {
  SHAPE_RANDOM,
  SHAPE_SHUFFLED_TREE,
  SHAPE_ORDERED_TREE,
  SHAPE_LIST,
  SHAPE_ARRAY,
  SHAPES
};

enum { SHAPE_REFS = 2 };

/** No reference. */
#define SHAPE_NONE UINT32_MAX

/** One graph of `count` objects. */
struct shape {
  enum shape_kind kind;
  uint32_t count;
  uint32_t *refs;     /* SHAPE_REFS positions for each object */
  bool is_array;      /* the root is an array with a reference to each object, in order of memory */
  uint32_t root;      /* otherwise this object */
  uint32_t reachable; /* objects */
};

const char *shape_name(enum shape_kind kind);
const char *shape_summary(enum shape_kind kind);

/** The kind of that name; SHAPES where there is none. */
enum shape_kind shape_named(const char *name);

/** False: no memory. The same kind and count make the same shape, each time. */
bool shape_build(struct shape *shape, enum shape_kind kind, uint32_t count);
void shape_free(struct shape *shape);

/** A random number below `limit`; `state` is any number at first. */
uint32_t shape_random(uint64_t *state, uint32_t limit);

#endif
