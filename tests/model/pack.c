/*
 * States as 256 bits. Objects are sorted by what can be said of them without a number, so that states that
 * differ in numbering alone mostly become one; where two look the same, either order is right.
 */
#include "state.h"

#include <string.h>

#define OBJECT_BITS(X)                                                                             \
  X(space, 2)                                                                                      \
  X(kind, 3)                                                                                       \
  X(age, 1)                                                                                        \
  X(marked, 1)                                                                                     \
  X(armed, 1)                                                                                      \
  X(log, 2)                                                                                        \
  X(twice, 1)                                                                                      \
  X(queued, 2)                                                                                     \
  X(block, 1)                                                                                      \
  X(listed, 1)                                                                                     \
  X(final, 2)                                                                                      \
  X(pinned, 1)                                                                                     \
  X(sealed, 1)                                                                                     \
  X(card[0], 2)                                                                                    \
  X(card[1], 2)                                                                                    \
  X(recorded[0], 1)                                                                                \
  X(recorded[1], 1)                                                                                \
  X(dead, 3)                                                                                       \
  X(ahead, 1)

#define MUTATOR_BITS(X)                                                                            \
  X(root[0], 3)                                                                                    \
  X(root[1], 3)                                                                                    \
  X(clean[0], 1)                                                                                   \
  X(clean[1], 1)                                                                                   \
  X(seen[0], 1)                                                                                    \
  X(seen[1], 1)                                                                                    \
  X(buffer, 2)                                                                                     \
  X(run_logged, 1)                                                                                 \
  X(barrier, 2)                                                                                    \
  X(target, 3)                                                                                     \
  X(slot, 1)                                                                                       \
  X(value, 3)                                                                                      \
  X(gone, 1)

#define STATE_BITS(X)                                                                              \
  X(phase, 2) X(unswept, 2) X(flagged, 2) X(candidate, 2) X(broken, 4) X(rests, 1)

typedef struct cursor {
  packed *p;
  unsigned at;
} cursor;

static void put(cursor *c, uint64_t value, unsigned bits) {
  unsigned word = c->at >> 6, shift = c->at & 63;
  c->p->word[word] |= value << shift;
  if (shift + bits > 64) c->p->word[word + 1] |= value >> (64 - shift);
  c->at += bits;
}

static uint8_t get(cursor *c, unsigned bits) {
  unsigned word = c->at >> 6, shift = c->at & 63;
  uint64_t value = c->p->word[word] >> shift;
  if (shift + bits > 64) value |= c->p->word[word + 1] << (64 - shift);
  c->at += bits;
  return (uint8_t)(value & ((1u << bits) - 1));
}

/* ---- a numbering that does not depend on the numbers --------------------------------------------- */

static uint64_t mix(uint64_t h, uint64_t value) {
  h = (h ^ value) * 0xff51afd7ed558ccdu;
  return h ^ (h >> 29);
}

/* All of an object but its references. */
static uint64_t own_bits(const object *x) {
  uint64_t all = 0;
  unsigned at = 0;
#define PUT(member, bits)                                                                          \
  all |= (uint64_t)x->member << at;                                                                \
  at += bits;
  OBJECT_BITS(PUT)
#undef PUT
  return all;
}

static void add_root(uint64_t *signature, unsigned o, uint64_t which) {
  if (o != 0 && o <= OBJECTS) signature[o] += mix(which, 5); /* in any order */
}

static uint8_t root_bits(const mutator *mu, unsigned r) {
  return (uint8_t)(2 * mu->clean[r] + mu->seen[r]);
}

static void first_signatures(const state *s, const uint64_t *own, uint64_t *signature) {
  for (unsigned o = 1; o <= current->objects; o++)
    signature[o] = mix(1, own[o]);
  for (unsigned m = 0; m < current->mutators; m++) {
    const mutator *mu = &s->mutator[m];
    for (unsigned r = 0; r < current->roots; r++) {
      add_root(signature, mu->root[r], 100 + 10 * m + root_bits(mu, r));
    }
    add_root(signature, mu->target, 200 + m);
    add_root(signature, mu->value, 300 + m);
  }
}

static void refine(const state *s, uint64_t *signature) {
  uint64_t next[8];
  memcpy(next, signature, sizeof next);
  for (unsigned o = 1; o <= current->objects; o++) {
    for (unsigned f = 0; f < FIELDS; f++) {
      unsigned to = s->object[o].field[f];
      next[o] = mix(next[o], to == DANGLING ? 7 : to == 0 ? 3 : signature[to] + f);
      if (to != 0 && to != DANGLING) next[to] += mix(signature[o], 17 + f); /* in any order */
    }
  }
  memcpy(signature, next, sizeof next);
}

static void renumber(const state *s, const uint64_t *own, uint8_t number[EXPLORE_NAMES]) {
  uint64_t signature[8] = {0};
  first_signatures(s, own, signature);
  refine(s, signature);
  refine(s, signature);
  for (unsigned o = 1; o < EXPLORE_NAMES; o++)
    number[o] = (uint8_t)o;
  for (unsigned o = 1; o <= current->objects; o++) {
    bool free = s->object[o].space == FREE;
    uint8_t place = 1;
    for (unsigned i = 1; i <= current->objects; i++) {
      bool other_free = s->object[i].space == FREE;
      bool before = other_free != free ? free : signature[i] < signature[o];
      if (other_free == free && signature[i] == signature[o]) before = i < o;
      place = (uint8_t)(place + before);
    }
    number[o] = place;
  }
  number[0] = 0;
}

/* ---- packing --------------------------------------------------------------------------------------- */

enum {
  OWN_BITS = 0
#define ADD(member, bits) +bits
  OBJECT_BITS(ADD)
#undef ADD
};

static unsigned rank_of_root(const mutator *x, unsigned r) {
  return 4u * x->root[r] + root_bits(x, r);
}

/* Which root is which makes no difference. */
static void sort_roots(mutator *x) {
  if (current->roots < 2 || rank_of_root(x, 0) <= rank_of_root(x, 1)) return;
  mutator old = *x;
  for (unsigned r = 0; r < 2; r++) {
    x->root[r] = old.root[1 - r];
    x->clean[r] = old.clean[1 - r];
    x->seen[r] = old.seen[1 - r];
  }
}

static void put_mutator(cursor *c, const mutator *original, const uint8_t *number) {
  mutator x = *original;
  for (unsigned r = 0; r < ROOTS; r++)
    x.root[r] = number[x.root[r]];
  sort_roots(&x);
  x.target = number[x.target];
  x.value = number[x.value];
#define PUT(member, bits) put(c, x.member, bits);
  MUTATOR_BITS(PUT)
#undef PUT
}

void pack(const state *s, packed *p, uint8_t number[EXPLORE_NAMES]) {
  memset(p, 0, sizeof *p);
  uint64_t own[OBJECTS + 1] = {0};
  for (unsigned o = 1; o <= current->objects; o++)
    own[o] = own_bits(&s->object[o]);
  renumber(s, own, number);
  unsigned which[OBJECTS + 1] = {0};
  for (unsigned o = 1; o <= current->objects; o++)
    which[number[o]] = o;
  cursor c = {p, 0};
#define PUT(member, bits) put(&c, s->member, bits);
  STATE_BITS(PUT)
#undef PUT
  for (unsigned m = 0; m < current->mutators; m++)
    put_mutator(&c, &s->mutator[m], number);
  for (unsigned o = 1; o <= current->objects; o++) {
    const object *x = &s->object[which[o]];
    put(&c, own[which[o]], OWN_BITS);
    for (unsigned f = 0; f < FIELDS; f++)
      put(&c, number[x->field[f]], 3);
  }
}

void unpack(const packed *p, state *s) {
  memset(s, 0, sizeof *s);
  packed copy = *p;
  cursor c = {&copy, 0};
#define GET(member, bits) s->member = get(&c, bits);
  STATE_BITS(GET)
#undef GET
  for (unsigned m = 0; m < current->mutators; m++) {
    mutator *mu = &s->mutator[m];
#define GET(member, bits) mu->member = get(&c, bits);
    MUTATOR_BITS(GET)
#undef GET
  }
  for (unsigned o = 1; o <= current->objects; o++) {
    object *x = &s->object[o];
#define GET(member, bits) x->member = get(&c, bits);
    OBJECT_BITS(GET)
#undef GET
    for (unsigned f = 0; f < FIELDS; f++)
      x->field[f] = get(&c, 3);
  }
}
