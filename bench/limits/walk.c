/* walk.c - a mutator's depth-first walk: how well the order of memory serves it (limits.h). */
#include "limits.h"

static uint64_t walk_from(struct bare_object *root, struct bare_object **stack) {
  uint64_t count = 0;
  size_t top = 0;
  stack[top++] = root;
  while (top > 0) {
    struct bare_object *object = stack[--top];
    if (object->value != 0) continue;
    object->value = 1;
    count++;
    for (int i = SHAPE_REFS - 1; i >= 0; i--) {
      if (object->refs[i] != NULL) stack[top++] = object->refs[i];
    }
  }
  return count;
}

uint64_t bare_walk(struct bare_object *const *edges, size_t count, void **stack) {
  uint64_t walked = 0;
  for (size_t i = 0; i < count; i++)
    walked += walk_from(edges[i], (struct bare_object **)stack);
  return walked;
}
