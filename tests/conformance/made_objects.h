/*
 * Objects whose content their tag tells, in a heap with a table of roots.
 */
#ifndef CONFORMANCE_MADE_OBJECTS_H
#define CONFORMANCE_MADE_OBJECTS_H

#include "placement_fixture.h"

/* Fewer where a collection comes every few objects. */
static inline unsigned many(unsigned n) {
  return vm_stress != NULL ? n / 10 : n;
}

/* A fresh object of a standard kind, with a content that its tag tells. */
static inline tsr_ref make_in(tsr_semantics semantics, unsigned kind, unsigned tag, size_t count) {
  tsr_ref object = place_must(&vm, semantics, kind, tag & 0xffff, count);
  vm_fill(object, tag & 0xffff);
  return object;
}

static inline tsr_ref make(unsigned kind, unsigned tag, size_t count) {
  return make_in(TSR_DEFAULT, kind, tag, count);
}

/* A record, sealed where that can be. */
static inline tsr_ref make_record(tsr_semantics semantics, unsigned tag) {
  tsr_ref object = make_in(semantics, RECORD, tag, 0);
  if (place_sealable(semantics)) ck_assert_int_eq(tsr_seal(vm.m, object, NULL), TSR_OK);
  return object;
}

static inline bool is_made(uint64_t word, unsigned kind, unsigned tag) {
  tsr_ref object = vm_ref(word);
  return object != NULL && vm_kind_of(object) == kind && vm_tag_of(object) == (tag & 0xffff) &&
         vm_filled(object, tag & 0xffff);
}

/* One collection of the young; where stress collects too, one at least. */
static inline void collect_young(void) {
  if (!vm_is_generational()) {
    vm_collect(&vm);
    return;
  }
  unsigned ended = vm.ended;
  while (vm.ended == ended || vm.last_collection.minor == 0)
    vm_garbage(vm.m, 4 * KIB);
}

#endif
