/*
 * What the tests of placements and flags share: every combination that a request may ask for, an
 * object in each of them, and sets of objects to compare with what an enumeration finds.
 *
 * A combination has a number, 0 to PLACE_COMBINATIONS - 1: the placement in the low two bits, the
 * flags leaf, code and read-only above them.
 */
#ifndef CONFORMANCE_PLACEMENT_H
#define CONFORMANCE_PLACEMENT_H

#include "company.h"

#define PLACE_COMBINATIONS 32u

static inline tsr_semantics place_semantics(unsigned combination) {
  return (tsr_semantics)((combination & 3u) | (combination >> 2) << 4);
}

static inline tsr_semantics place_of(tsr_semantics semantics) {
  return semantics & TSR_PLACEMENT_MASK;
}

/* For messages; the next call overwrites it. */
static inline const char *place_name(tsr_semantics semantics) {
  static const char *const placements[] = {"default", "large", "immortal", "non-moving"};
  static char name[64];
  snprintf(name, sizeof name, "%s%s%s%s", placements[place_of(semantics)],
           (semantics & TSR_LEAF) != 0 ? " leaf" : "", (semantics & TSR_CODE) != 0 ? " code" : "",
           (semantics & TSR_READ_ONLY) != 0 ? " read-only" : "");
  return name;
}

/* Whether the object has pages of its own, which tsr_seal() protects. */
static inline bool place_sealable(tsr_semantics semantics) {
  return (semantics & (TSR_CODE | TSR_READ_ONLY)) != 0;
}

/* Whether the object goes when nothing leads to it. */
static inline bool place_dies(tsr_semantics semantics) {
  return place_of(semantics) != TSR_IMMORTAL;
}

/* Whether the documentation promises that the object keeps its address. */
static inline bool place_stays(tsr_semantics semantics, size_t size) {
  return place_of(semantics) != TSR_DEFAULT || place_sealable(semantics) ||
         size > TSR_MAX_INLINE_BYTES;
}

/* Allocation, header and tsr_post_alloc() of one object; NULL when out of memory. */
static inline tsr_ref place_new(testvm *vm, tsr_semantics semantics, unsigned kind, unsigned tag,
                                size_t count) {
  size_t size = vm_size(kind, count);
  void *memory = tsr_alloc(vm->m, size, TSR_OBJECT_ALIGN, 0, semantics);
  if (memory == NULL) return NULL;
  vm_init_object(memory, kind, tag, count);
  tsr_status status = tsr_post_alloc(vm->m, (tsr_ref)memory, size, semantics);
  ck_assert_msg(status == TSR_OK, "tsr_post_alloc, %s: %s", place_name(semantics),
                tsr_status_name(status));
  return (tsr_ref)memory;
}

/* The same for an object that must fit. */
static inline tsr_ref place_must(testvm *vm, tsr_semantics semantics, unsigned kind, unsigned tag,
                                 size_t count) {
  tsr_ref object = place_new(vm, semantics, kind, tag, count);
  ck_assert_msg(object != NULL, "no memory for %zu bytes, %s", vm_size(kind, count),
                place_name(semantics));
  return object;
}

/* The whole heap keeps its rules. */
static inline void place_verify(testvm *vm) {
  tsr_error error = {0};
  tsr_status status = tsr_heap_verify(vm->m, &error);
  ck_assert_msg(status == TSR_OK, "%s: %s", tsr_status_name(status), error.message);
}

/* The heap's facts say of each placement what its mapping says. */
static inline void place_check_facts(const testvm *vm) {
  tsr_facts facts;
  tsr_heap_facts(vm->heap, &facts);
  for (tsr_semantics p = 0; p < TSR_PLACEMENTS; p++) {
    tsr_allocator_info mapped = tsr_allocator_mapping(vm->heap, p);
    ck_assert_int_eq(facts.allocators[p].kind, mapped.kind);
    if (mapped.kind != TSR_ALLOCATOR_BUMP) continue;
    ck_assert_uint_eq(facts.allocators[p].pair_offset, mapped.pair_offset);
    ck_assert_uint_eq(facts.allocators[p].max_inline_bytes, mapped.max_inline_bytes);
  }
}

/* ---- sets of objects ----------------------------------------------------------------------- */

typedef struct place_entry {
  uint64_t word;
  size_t size;
} place_entry;

typedef struct place_set {
  place_entry *at;
  size_t count, capacity;
} place_set;

static inline void place_set_add(place_set *set, uint64_t word, size_t size) {
  if (set->count == set->capacity) {
    set->capacity = set->capacity == 0 ? 256 : 2 * set->capacity;
    set->at = realloc(set->at, set->capacity * sizeof set->at[0]);
    ck_assert_ptr_nonnull(set->at);
  }
  set->at[set->count++] = (place_entry){word, size};
}

static inline void place_set_free(place_set *set) {
  free(set->at);
  *set = (place_set){0};
}

static inline int place_by_word(const void *a, const void *b) {
  uint64_t x = ((const place_entry *)a)->word;
  uint64_t y = ((const place_entry *)b)->word;
  return x < y ? -1 : x > y;
}

static inline void place_set_sort(place_set *set) {
  if (set->count > 1) qsort(set->at, set->count, sizeof set->at[0], place_by_word);
}

typedef struct place_gathering {
  place_set found;
  bool had_company;
} place_gathering;

static inline void place_gather(void *context, tsr_ref object, size_t size) {
  place_gathering *g = context;
  if (g->had_company && company_owns(object)) return;
  place_set_add(&g->found, vm_word(object), size);
}

/* Everything that an enumeration reports but the company's objects, sorted. */
static inline place_set place_enumerate(testvm *vm) {
  place_gathering g = {.had_company = vm->had_company};
  tsr_error error = {0};
  tsr_status status = tsr_enumerate_objects(vm->m, place_gather, &g, &error);
  ck_assert_msg(status == TSR_OK, "tsr_enumerate_objects: %s", error.message);
  place_set_sort(&g.found);
  return g.found;
}

/* Asserts that each member of `wanted` is in `found` with its size, and, where `exactly`, nothing else. */
static inline void place_set_within(place_set *wanted, const place_set *found, bool exactly,
                                    const char *when) {
  place_set_sort(wanted);
  size_t k = 0;
  for (size_t i = 0; i < wanted->count; i++, k++) {
    uint64_t word = wanted->at[i].word;
    while (k < found->count && found->at[k].word < word) {
      ck_assert_msg(!exactly, "%s: an object at %#llx that should not be", when,
                    (unsigned long long)found->at[k].word);
      k++;
    }
    ck_assert_msg(k < found->count && found->at[k].word == word, "%s: %#llx was not reported", when,
                  (unsigned long long)word);
    ck_assert_msg(found->at[k].size == wanted->at[i].size, "%s: %#llx has %zu bytes, not %zu", when,
                  (unsigned long long)word, found->at[k].size, wanted->at[i].size);
  }
  ck_assert_msg(!exactly || k == found->count, "%s: %zu objects, not %zu", when, found->count,
                wanted->count);
}

/* The heap holds the wanted objects, and, where `exactly`, no others. */
static inline void place_heap_holds(testvm *vm, place_set *wanted, bool exactly, const char *when) {
  place_set found = place_enumerate(vm);
  place_set_within(wanted, &found, exactly, when);
  place_set_free(&found);
}

#endif
