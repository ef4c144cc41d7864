/* equality.c: eqv? and equal?, the latter with a stack of its own for what is nested. */
#include "builtins.h"
#include <stdlib.h>
#include <string.h>

bool is_eqv(value a, value b) {
  if (a == b) return true;
  if (!is_flonum(a) || !is_flonum(b)) return false;
  return memcmp(&flonum_of(a)->number, &flonum_of(b)->number, sizeof(double)) == 0;
}

static bool strings_equal(const struct string *a, const struct string *b) {
  return a->length == b->length && memcmp(a->chars, b->chars, a->length * sizeof(uint32_t)) == 0;
}

/** Pairs of values that must be equal too. */
struct pending {
  struct vm *vm;
  value *items;
  size_t count, capacity;
};

/** As many as data have that are not circular. */
#define MAX_PENDING ((size_t)1 << 25)

static void push(struct pending *p, value a, value b) {
  if (p->count + 2 > p->capacity) {
    if (p->capacity >= MAX_PENDING) {
      free(p->items);
      raise_error(p->vm, "equal?: data nested too deeply");
    }
    p->capacity = p->capacity == 0 ? 64 : p->capacity * 2;
    p->items = checked_realloc(p->items, p->capacity, sizeof *p->items);
  }
  p->items[p->count++] = a;
  p->items[p->count++] = b;
}

/** Compares what needs no descent, and pushes the rest. */
static bool equal_outside(struct pending *p, value a, value b) {
  while (is_pair(a) && is_pair(b)) {
    if (car(a) != car(b)) push(p, car(a), car(b));
    a = cdr(a);
    b = cdr(b);
    if (a == b) return true;
  }
  if (is_vector(a) && is_vector(b)) {
    const struct vector *x = vector_of(a), *y = vector_of(b);
    if (x->length != y->length) return false;
    for (uint64_t i = 0; i < x->length; i++) {
      if (x->items[i] != y->items[i]) push(p, x->items[i], y->items[i]);
    }
    return true;
  }
  if (is_string(a) && is_string(b)) return strings_equal(string_of(a), string_of(b));
  return is_eqv(a, b);
}

bool is_equal(struct vm *vm, value a, value b) {
  if (!is_pair(a) && !is_vector(a)) return equal_outside(NULL, a, b);
  struct pending p = {.vm = vm};
  push(&p, a, b);
  bool equal = true;
  while (equal && p.count > 0) {
    p.count -= 2;
    equal = equal_outside(&p, p.items[p.count], p.items[p.count + 1]);
  }
  free(p.items);
  return equal;
}
