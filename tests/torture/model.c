/*
 * Shadows, the walk over heap and model, the census. See model.h.
 */
#include "model.h"

#define GC_BYTE_MASK (0xffull << (8 * TSR_GC_BYTE_OFFSET))

/* ---- shapes -------------------------------------------------------------------------------- */

const tsr_layout aligned_pair_layout = {TSR_LAYOUT_INIT,          .name = "aligned pair",
                                        .kind = TSR_LAYOUT_FIXED, .fixed_bytes = 24,
                                        .fixed_refs = 6,          .align = 64,
                                        .align_offset = 8};
const tsr_layout aligned_bytes_layout = {TSR_LAYOUT_INIT,
                                         .name = "aligned bytes",
                                         .kind = TSR_LAYOUT_BYTES,
                                         .fixed_bytes = 16,
                                         .length = {.offset = 8, .width = 8, .unit = 1},
                                         .align = 32,
                                         .align_offset = 16};

void kind_alignment(unsigned kind, size_t *align, size_t *offset) {
  *align = TSR_OBJECT_ALIGN;
  *offset = 0;
  if (kind == ALIGNED_PAIR) {
    *align = aligned_pair_layout.align;
    *offset = aligned_pair_layout.align_offset;
  } else if (kind == ALIGNED_BYTES) {
    *align = aligned_bytes_layout.align;
    *offset = aligned_bytes_layout.align_offset;
  }
}

size_t shadow_slots(const shadow *s) {
  return (s->semantics & TSR_LEAF) != 0 ? 0 : vm_slots(shape_of(s->kind), s->count);
}

void shadow_write_header(const shadow *s, void *memory) {
  vm_init_object(memory, shape_of(s->kind), s->tag, s->count);
  *(uint64_t *)memory = vm_header(s->kind, s->tag);
}

size_t shadow_first_word(const shadow *s) {
  return is_array(s->kind) ? 2 : 1;
}

/* The bytes of an array that fill no word are left zero. */
size_t shadow_end_word(const shadow *s) {
  return shape_of(s->kind) == BYTES ? 2 + s->count / 8 : s->size / 8;
}

uint64_t shadow_checksum(const shadow *s, tsr_ref object) {
  size_t slots = shadow_slots(s);
  size_t end = shadow_end_word(s);
  uint64_t sum = s->tag;
  for (size_t word = shadow_first_word(s), slot = 0; word < end; word++) {
    if (slot < slots && shadow_slot_word(s, slot) == word) {
      slot++;
    } else {
      sum = (sum ^ vm_slot(object, word)->word) * 0x9e3779b97f4a7c15u;
    }
  }
  return sum;
}

/* ---- the walk ------------------------------------------------------------------------------ */

static void push(model *t, shadow *s) {
  if (t->pending_count == t->pending_capacity) {
    t->pending_capacity = t->pending_capacity == 0 ? 1024 : 2 * t->pending_capacity;
    t->pending = realloc(t->pending, t->pending_capacity * sizeof(shadow *));
    DEMAND(t->pending != NULL, "no memory for the model");
  }
  t->pending[t->pending_count++] = s;
}

/* An edge of both graphs. */
static void meet(model *t, edge e, uint64_t word) {
  shadow *s = shadow_at(e);
  if (s == NULL) {
    DEMAND(word == e, "a slot holds 0x%llx in place of the immediate 0x%llx",
           (unsigned long long)word, (unsigned long long)e);
    return;
  }
  if (s->walk == t->walk || s->stays || s->pins > 0) {
    DEMAND(word == s->address, "an object of %zu bytes, semantics 0x%x, is at 0x%llx and 0x%llx",
           s->size, s->semantics, (unsigned long long)s->address, (unsigned long long)word);
  }
  if (s->walk == t->walk) return;
  s->walk = t->walk;
  s->address = word;
  push(t, s);
}

static void check_header(const model *t, const shadow *s) {
  tsr_ref object = vm_ref(s->address);
  uint64_t expected[2];
  DEMAND(tsr_heap_contains(t->heap, object), "a slot leads out of the heap: 0x%llx",
         (unsigned long long)s->address);
  DEMAND((s->address + s->align_offset) % s->align == 0,
         "an object at 0x%llx has lost its alignment of %zu with offset %zu",
         (unsigned long long)s->address, s->align, s->align_offset);
  shadow_write_header(s, expected);
  uint64_t header = vm_slot(object, 0)->word & ~GC_BYTE_MASK;
  DEMAND(header == expected[0], "the header at 0x%llx is 0x%llx in place of 0x%llx",
         (unsigned long long)s->address, (unsigned long long)header,
         (unsigned long long)expected[0]);
  DEMAND(!is_array(s->kind) || vm_slot(object, 1)->word == expected[1],
         "the length at 0x%llx is not %zu", (unsigned long long)s->address, s->count);
}

static void check_object(model *t, const shadow *s) {
  tsr_ref object = vm_ref(s->address);
  check_header(t, s);
  DEMAND(shadow_checksum(s, object) == s->checksum,
         "words at 0x%llx that are no slots have changed (%zu bytes, kind %u, semantics 0x%x%s)",
         (unsigned long long)s->address, s->size, s->kind, s->semantics,
         s->sealed ? ", sealed" : "");
  size_t slots = shadow_slots(s);
  for (size_t i = 0; i < slots; i++) {
    meet(t, s->edges[i], tsr_load(t->m, vm_slot(object, shadow_slot_word(s, i))));
  }
}

static void walk(model *t) {
  t->walk++;
  for (size_t i = 0; i < ROOTS; i++) {
    if (t->roots[i].slot != NULL) meet(t, t->roots[i].to, t->roots[i].slot->word);
  }
  for (shadow *s = t->immortal; s != NULL; s = s->next_immortal) {
    meet(t, edge_to(s), s->address);
  }
  for (size_t i = 0; i < PINS; i++) {
    if (t->pinned[i] != NULL) meet(t, edge_to(t->pinned[i]), t->pinned[i]->address);
  }
  while (t->pending_count > 0) {
    check_object(t, t->pending[--t->pending_count]);
  }
}

static void count(model *t, const shadow *s) {
  t->live_objects++;
  if (s->own_blocks) {
    t->live_own_blocks++;
  } else {
    t->live_bytes += s->size;
  }
}

static void sweep(model *t) {
  t->live_objects = t->live_bytes = t->live_own_blocks = 0;
  for (shadow **link = &t->all; *link != NULL;) {
    shadow *s = *link;
    if (s->walk == t->walk) {
      count(t, s);
      link = &s->next;
    } else {
      *link = s->next;
      free(s);
    }
  }
}

void model_add(model *t, shadow *s) {
  s->next = t->all;
  t->all = s;
  if ((s->semantics & TSR_PLACEMENT_MASK) == TSR_IMMORTAL) {
    s->next_immortal = t->immortal;
    t->immortal = s;
  }
  count(t, s);
}

void model_check(model *t) {
  walk(t);
  sweep(t);
}

void model_free(model *t) {
  while (t->all != NULL) {
    shadow *s = t->all;
    t->all = s->next;
    free(s);
  }
  free(t->pending);
}

/* ---- the census ---------------------------------------------------------------------------- */

typedef struct census {
  model *model;
  shadow **table; /* live shadows by address: open addressing */
  size_t mask, live, seen, objects;
} census;

static size_t place_of(const census *c, uint64_t address) {
  return (size_t)((address >> 3) * 0x9e3779b97f4a7c15u >> 20) & c->mask;
}

/* Other threads may have collected up to the moment at which the world stopped, so the addresses
   are those of a walk from here on. */
static void begin(census *c) {
  model *t = c->model;
  model_check(t);
  c->live = t->live_objects;
  c->mask = 63;
  while (c->mask < 2 * c->live) {
    c->mask = 2 * c->mask + 1;
  }
  c->table = calloc(c->mask + 1, sizeof(shadow *));
  DEMAND(c->table != NULL, "no memory for the census");
  for (shadow *s = t->all; s != NULL; s = s->next) {
    size_t i = place_of(c, s->address);
    while (c->table[i] != NULL) {
      i = (i + 1) & c->mask;
    }
    c->table[i] = s;
  }
}

static void visit(void *context, tsr_ref object, size_t size) {
  census *c = context;
  if (c->table == NULL) begin(c);
  c->objects++;
  uint64_t address = vm_word(object);
  size_t i = place_of(c, address);
  while (c->table[i] != NULL && c->table[i]->address != address) {
    i = (i + 1) & c->mask;
  }
  shadow *s = c->table[i];
  if (s == NULL) return;
  DEMAND(s->size == size, "an object of %zu bytes is enumerated with %zu", s->size, size);
  DEMAND(s->walk == c->model->walk, "an object of %zu bytes is enumerated twice", s->size);
  s->walk = 0;
  c->seen++;
}

void model_census(model *t, bool exact, size_t others) {
  census c = {.model = t};
  tsr_error error = {0};
  DEMAND_OK(tsr_enumerate_objects(t->m, visit, &c, &error), error);
  if (c.table == NULL) begin(&c);
  DEMAND(c.seen == c.live, "%zu objects live, %zu of them enumerated", c.live, c.seen);
  DEMAND(!exact || c.objects == c.live + others,
         "a collection kept %zu objects, %zu of this program and %zu others are live", c.objects,
         c.live, others);
  free(c.table);
}
