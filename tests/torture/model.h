/*
 * The shadow model: what one torture program knows of its part of the heap.
 *
 * Each object has a shadow in malloc memory, with the same shape, contents and edges. model_check()
 * walks heap and model side by side from the same roots and demands that they are the same graph:
 * an edge is null in one where it is null in the other, immediates are equal, a shadow that is met
 * twice has one address, contents agree. Shadows that the walk did not meet are freed by it: the
 * model's own garbage collection, which tells what a collection of the heap may keep.
 *
 * Words that are no slots (all of them in a leaf) hold numbers that look like references. The
 * shadow keeps only their checksum.
 *
 * Objects that never move have their address in the model, and so do pinned ones while they are. Immortal and
 * pinned ones are roots of the walk.
 */
#ifndef TORTURE_MODEL_H
#define TORTURE_MODEL_H

#include "harness.h"

/* Beyond the kinds of the test VM: as PAIR and BYTES, with an alignment that holds after a move. */
enum { ALIGNED_PAIR = VM_KINDS, ALIGNED_BYTES, TORTURE_KINDS };

extern const tsr_layout aligned_pair_layout, aligned_bytes_layout;

/* The kind of the test VM that has the same shape. */
static inline unsigned shape_of(unsigned kind) {
  return kind == ALIGNED_PAIR ? PAIR : kind == ALIGNED_BYTES ? BYTES : kind;
}
/* Whether it has a length; its word is word 1. */
static inline bool is_array(unsigned kind) {
  unsigned shape = shape_of(kind);
  return shape == VECTOR || shape == BYTES || shape == TABLE || shape == CUSTOM;
}
static inline size_t torture_size(unsigned kind, size_t count) {
  return vm_size(shape_of(kind), count);
}
/* The alignment that the kind's layout keeps. */
void kind_alignment(unsigned kind, size_t *align, size_t *offset);

/* What a slot holds in the model: 0, an immediate (odd, as FIXNUM), or a pointer to a shadow. */
typedef uint64_t edge;

typedef struct shadow {
  struct shadow *next; /* of a model or a parcel */
  struct shadow *next_immortal;
  uint64_t walk;    /* number of the walk that met it last */
  uint64_t address; /* where that walk met it; where `stays`, from birth on */
  uint64_t checksum;
  size_t count, size, align, align_offset;
  tsr_semantics semantics;
  unsigned kind, tag;
  unsigned pins;   /* of tsr_pin() */
  bool stays;      /* never moves */
  bool own_blocks; /* in the large space or on pages of its own */
  bool sealed;
  edge edges[];
} shadow;

static inline edge edge_to(const shadow *s) {
  return (edge)(uintptr_t)s;
}
/* NULL for null and immediates. */
static inline shadow *shadow_at(edge e) {
  return (e & 1) != 0 ? NULL : (shadow *)(uintptr_t)e;
}
/* Number of slots: none in a leaf. */
size_t shadow_slots(const shadow *s);
static inline size_t shadow_slot_word(const shadow *s, size_t slot) {
  return vm_slot_index(shape_of(s->kind), slot);
}
/* Header and length as they are in the object's memory, GC byte zero. */
void shadow_write_header(const shadow *s, void *memory);
/* Over the object's words that are no slots. */
uint64_t shadow_checksum(const shadow *s, tsr_ref object);
/* The first word that is not header or length, and the end of the words that the VM may use. */
size_t shadow_first_word(const shadow *s);
size_t shadow_end_word(const shadow *s);

/* The roots, of every kind in one numbering. */
enum {
  HANDLES = 16,
  RANGE = 16,
  CALLED = 8,
  STACK = 32,
  SCOPES = 8,
  SCOPE_LOCALS = 8,
  PINS = 12,
  FIRST_HANDLE = 0,
  FIRST_RANGE = FIRST_HANDLE + HANDLES,
  FIRST_CALLED = FIRST_RANGE + RANGE,
  FIRST_STACK = FIRST_CALLED + CALLED,
  FIRST_LOCAL = FIRST_STACK + STACK,
  ROOTS = FIRST_LOCAL + SCOPES * SCOPE_LOCALS
};

typedef struct root {
  tsr_slot *slot; /* NULL: a local whose scope is not open, a slot above the stack's top */
  edge to;
} root;

typedef struct model {
  tsr_heap *heap;
  tsr_mutator *m;
  root roots[ROOTS];
  shadow *all;
  shadow *immortal;
  shadow *pinned[PINS]; /* once for each pin; NULL: none */
  uint64_t walk;
  shadow **pending; /* met, not yet looked at */
  size_t pending_count, pending_capacity;
  /* What is live: as the last check found it, and what was born since. */
  size_t live_objects, live_bytes, live_own_blocks;
} model;

/* Adds a shadow of a new object. */
void model_add(model *t, shadow *s);
/* Demands that heap and model are the same graph, and frees the shadows that are garbage. */
void model_check(model *t);
/*
 * Demands that tsr_enumerate_objects() reports each live object once, with its size. Where `exact`,
 * nothing else but `others` objects may be there. The walk before is done with the world stopped.
 */
void model_census(model *t, bool exact, size_t others);
/* Frees everything; the heap's objects are left alone. */
void model_free(model *t);

#endif
