/*
 * A blueprint: a graph of objects described outside the heap, built in it, and compared with it.
 *
 * Its nodes are numbered; node 0 is the one that a root holds. An object carries the number of its node in
 * its tag and in the content of its raw words. What cannot be reached from node 0 is garbage in the
 * heap, and is not looked at.
 */
#ifndef CONFORMANCE_BLUEPRINT_H
#define CONFORMANCE_BLUEPRINT_H

#include "testvm.h"

#define BLUEPRINT_NONE UINT32_MAX

typedef struct blueprint_node {
  unsigned kind;
  uint32_t count;
  size_t first_edge;
} blueprint_node;

typedef struct blueprint {
  blueprint_node *nodes;
  size_t node_count, node_capacity;
  uint32_t *edges; /* numbers of nodes, or BLUEPRINT_NONE */
  size_t edge_count, edge_capacity;
  /* Written by a comparison, for each node; 0: not reached. Good until the next safepoint. */
  uint64_t *where;
} blueprint;

/* Adds a node without links and returns its number. */
uint32_t blueprint_add(blueprint *b, unsigned kind, size_t count);
size_t blueprint_slots(const blueprint *b, uint32_t node);
/* `to` may be BLUEPRINT_NONE. */
void blueprint_link(blueprint *b, uint32_t from, size_t slot, uint32_t to);
/* The bytes of all nodes. */
size_t blueprint_bytes(const blueprint *b);
void blueprint_free(blueprint *b);

/* Builds the graph, in the order of its numbers; asserts that there is room. `root` is one already. */
void blueprint_build(const blueprint *b, tsr_mutator *m, tsr_slot *root);
/* Asserts that the graph behind `word` is the blueprint's; returns how many nodes can be reached. */
size_t blueprint_compare(blueprint *b, tsr_mutator *m, uint64_t word);
/* Changes a link in both, after a comparison that reached the nodes. */
void blueprint_relink(blueprint *b, tsr_mutator *m, uint32_t from, size_t slot, uint32_t to);

#endif
