/*
 * One VM, and a table of roots outside its heap: the fixture of the tests of placements and flags. A file
 * defines ROOTS, the number of roots, before it includes this.
 */
#ifndef CONFORMANCE_PLACEMENT_FIXTURE_H
#define CONFORMANCE_PLACEMENT_FIXTURE_H

#include "placement.h"

static testvm vm;
static tsr_slot roots[ROOTS];

static inline void drop_roots(void) {
  memset(roots, 0, sizeof roots);
}

static inline void open_roots(void) {
  drop_roots();
  ck_assert_int_eq(tsr_root_add(vm.heap, roots, ROOTS, TSR_ROOT_PRECISE, "table", NULL), TSR_OK);
}

/* With stress, other mutators and whatever else the environment asks for. */
static inline void start(const char *heap_max) {
  vm_init(&vm);
  vm_pin(&vm, "heap_max", heap_max);
  vm_start(&vm);
  open_roots();
}

/* Without stress, for tests that count or measure. */
static inline void start_calm(const char *heap_max) {
  vm_open(&vm, heap_max);
  open_roots();
}

/* And without other mutators, for tests that measure memory or fill a heap. */
static inline void start_alone(const char *heap_max) {
  vm_open_alone(&vm, heap_max);
  open_roots();
}

static inline void stop(void) {
  place_verify(&vm);
  ck_assert_int_eq(tsr_root_remove(vm.heap, roots, NULL), TSR_OK);
  vm_stop(&vm);
}

/* Collects; then the heap holds so many objects, where anything is ever freed. */
static inline void expect_objects(size_t n) {
  vm_collect_to(&vm, n);
}

#endif
