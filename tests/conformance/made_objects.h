/*
 * Objects whose content their tag tells, in a heap with a table of roots.
 */
#ifndef CONFORMANCE_MADE_OBJECTS_H
#define CONFORMANCE_MADE_OBJECTS_H

#include "placement_fixture.h"

/* With stress, other mutators and whatever else the environment asks for. */
static inline void start(const char *heap_max) {
  vm_init(&vm);
  vm_pin(&vm, "heap_max", heap_max);
  vm_start(&vm);
  open_roots();
}

/* Fewer where a collection comes every few objects. */
static inline unsigned many(unsigned n) {
  return vm_stress != NULL ? n / 10 : n;
}

/* A fresh object of a standard kind, with a content that its tag tells. */
static inline tsr_ref make(unsigned kind, unsigned tag, size_t count) {
  tsr_ref object = vm_new(vm.m, kind, tag & 0xffff, count);
  ck_assert_ptr_nonnull(object);
  vm_fill(object, tag & 0xffff);
  return object;
}

static inline bool is_made(uint64_t word, unsigned kind, unsigned tag) {
  tsr_ref object = vm_ref(word);
  return object != NULL && vm_kind_of(object) == kind && vm_tag_of(object) == (tag & 0xffff) &&
         vm_filled(object, tag & 0xffff);
}

#endif
