/* shapes.c - object graphs as tables of indices (shapes.h). */
#include "shapes.h"

#include <stdlib.h>
#include <string.h>

static const struct {
  const char *name;
  const char *summary;
} kinds[SHAPES] = {
    [SHAPE_RANDOM] = {"random", "two random references each; about 80 % can be reached"},
    [SHAPE_SHUFFLED_TREE] = {"shuffled-tree", "a complete binary tree in random order of memory"},
    [SHAPE_ORDERED_TREE] = {"ordered-tree", "the same tree in depth-first order of memory"},
    [SHAPE_LIST] = {"list", "one list in order of memory"},
    [SHAPE_ARRAY] = {"array", "one array with a reference to each object, in order of memory"},
};

const char *shape_name(enum shape_kind kind) {
  return kinds[kind].name;
}

const char *shape_summary(enum shape_kind kind) {
  return kinds[kind].summary;
}

enum shape_kind shape_named(const char *name) {
  enum shape_kind kind = 0;
  while (kind < SHAPES && strcmp(kinds[kind].name, name) != 0)
    kind++;
  return kind;
}

/* SplitMix64 (G. Steele, D. Lea and C. Flood, Fast Splittable Pseudorandom Number Generators,
   2014); the upper half of each number, scaled down. */
uint32_t shape_random(uint64_t *state, uint32_t limit) {
  uint64_t mixed = *state += 0x9e3779b97f4a7c15;
  mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
  mixed ^= mixed >> 31;
  return (uint32_t)((mixed >> 32) * limit >> 32);
}

/* ---- what refers to what -------------------------------------------------------------------- */

static void shape_connect_randomly(struct shape *shape) {
  uint64_t state = 1;
  for (size_t i = 0; i < (size_t)SHAPE_REFS * shape->count; i++) {
    shape->refs[i] = shape_random(&state, shape->count);
  }
}

static void shape_connect_list(struct shape *shape) {
  for (uint32_t i = 0; i + 1 < shape->count; i++)
    shape->refs[(size_t)SHAPE_REFS * i] = i + 1;
}

/* Node i of a complete binary tree has the children 2i + 1 and 2i + 2; the next two functions say
   where in memory each node lies. */

static void tree_shuffle(uint32_t *positions, uint32_t count) {
  uint64_t state = 1;
  for (uint32_t i = 0; i < count; i++) {
    uint32_t other = shape_random(&state, i + 1);
    positions[i] = i;
    positions[i] = positions[other];
    positions[other] = i;
  }
}

static void tree_order_by_depth(uint32_t *positions, uint32_t count) {
  uint64_t pending[64]; /* one node of each level at most, and a second of the lowest */
  size_t top = 0;
  pending[top++] = 0;
  for (uint32_t position = 0; position < count; position++) {
    uint64_t node = pending[--top];
    positions[node] = position;
    if (2 * node + 2 < count) pending[top++] = 2 * node + 2;
    if (2 * node + 1 < count) pending[top++] = 2 * node + 1;
  }
}

static bool shape_connect_tree(struct shape *shape,
                               void (*place)(uint32_t *positions, uint32_t count)) {
  uint32_t *positions = malloc(shape->count * sizeof *positions);
  if (positions == NULL) return false;
  place(positions, shape->count);
  for (size_t child = 1; child < shape->count; child++) {
    size_t parent = (child - 1) / SHAPE_REFS;
    size_t which = (child - 1) % SHAPE_REFS;
    shape->refs[SHAPE_REFS * positions[parent] + which] = positions[child];
  }
  shape->root = positions[0];
  free(positions);
  return true;
}

static bool shape_connect(struct shape *shape) {
  switch (shape->kind) {
  case SHAPE_RANDOM:
    shape_connect_randomly(shape);
    return true;
  case SHAPE_SHUFFLED_TREE:
    return shape_connect_tree(shape, tree_shuffle);
  case SHAPE_ORDERED_TREE:
    return shape_connect_tree(shape, tree_order_by_depth);
  case SHAPE_LIST:
    shape_connect_list(shape);
    return true;
  default:
    shape->is_array = true;
    return true;
  }
}

/* ---- what can be reached -------------------------------------------------------------------- */

static void shape_reach(unsigned char *reached, uint32_t *pending, size_t *top, uint32_t object) {
  if (object == SHAPE_NONE || reached[object]) return;
  reached[object] = 1;
  pending[(*top)++] = object;
}

/* Counts by a search of its own: what the collectors find is checked against it. */
static bool shape_count_reachable(struct shape *shape) {
  shape->reachable = shape->count;
  if (shape->kind != SHAPE_RANDOM) return true;
  unsigned char *reached = calloc(shape->count, 1);
  uint32_t *pending = malloc(shape->count * sizeof *pending);
  bool ok = reached != NULL && pending != NULL;
  if (ok) {
    size_t top = 0;
    shape->reachable = 0;
    for (shape_reach(reached, pending, &top, shape->root); top > 0; shape->reachable++) {
      const uint32_t *refs = &shape->refs[(size_t)SHAPE_REFS * pending[--top]];
      for (int i = 0; i < SHAPE_REFS; i++)
        shape_reach(reached, pending, &top, refs[i]);
    }
  }
  free(pending);
  free(reached);
  return ok;
}

/* ---- building ------------------------------------------------------------------------------- */

bool shape_build(struct shape *shape, enum shape_kind kind, uint32_t count) {
  *shape = (struct shape){.kind = kind, .count = count};
  size_t bytes = (size_t)SHAPE_REFS * count * sizeof *shape->refs;
  shape->refs = malloc(bytes);
  if (shape->refs == NULL) return false;
  memset(shape->refs, 0xff, bytes); /* SHAPE_NONE */
  if (shape_connect(shape) && shape_count_reachable(shape)) return true;
  shape_free(shape);
  return false;
}

void shape_free(struct shape *shape) {
  free(shape->refs);
  shape->refs = NULL;
}
