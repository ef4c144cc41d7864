/*
 * A breadth-first explorer of small models.
 *
 * A model packs a state into 256 bits and knows its successors. The explorer keeps every state once, checks each,
 * and stops at the first that a check refuses: breadth first, so the trace that led there is a shortest one. A
 * model may rename what a state holds, to meet fewer of them; it hands the renaming along with each
 * successor, and the trace is told in names that stay.
 */
#ifndef TESSERA_MODEL_EXPLORE_H
#define TESSERA_MODEL_EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define EXPLORE_NAMES 8 /* things that have names, numbered from 1 */

typedef struct packed {
  uint64_t word[4];
} packed;

/* What happened, in the numbers of the state before. The model knows what the fields mean. */
typedef struct happening {
  uint8_t what, mutator, a, b, c;
} happening;

typedef struct exploration exploration;

typedef struct model {
  void (*initial)(exploration *e);
  void (*expand)(const packed *state, exploration *e);
  /* The broken invariant, in words, or NULL. `final`: the state has no successor. */
  const char *(*check)(const packed *state, bool final);
  /* `name[n]` is how the trace calls number n of the state before. */
  void (*tell)(FILE *to, const happening *what, const char *name);
  void (*show)(FILE *to, const packed *state, const char *name);
} model;

typedef struct outcome {
  size_t states, transitions;
  unsigned depth;     /* events from the beginning to the farthest state, or to the refused one */
  const char *broken; /* NULL: every state passed */
  bool too_many;      /* the limit of states was reached */
} outcome;

/* Called by a model's initial() and expand(): `number[n]` is the number that n of the state before has now. */
void explore_found(exploration *e, const packed *state, happening what,
                   const uint8_t number[EXPLORE_NAMES]);

/* Explores all that can be reached, up to `most` states. With `trace`, a refused state is told how it came about. */
outcome explore(const model *m, size_t most, FILE *trace);

#endif
