/*
 * Graphs outside the heap. See blueprint.h.
 */
#include "blueprint.h"

/* ---- drawing ----------------------------------------------------------------------------------- */

static void *grown(void *memory, size_t *capacity, size_t wanted, size_t size) {
  if (wanted <= *capacity) return memory;
  while (*capacity < wanted)
    *capacity = *capacity == 0 ? 1024 : 2 * *capacity;
  memory = realloc(memory, *capacity * size);
  ck_assert_ptr_nonnull(memory);
  return memory;
}

uint32_t blueprint_add(blueprint *b, unsigned kind, size_t count) {
  size_t slots = vm_slots(kind, count);
  b->nodes = grown(b->nodes, &b->node_capacity, b->node_count + 1, sizeof *b->nodes);
  b->edges = grown(b->edges, &b->edge_capacity, b->edge_count + slots, sizeof *b->edges);
  b->nodes[b->node_count] =
      (blueprint_node){.kind = kind, .count = (uint32_t)count, .first_edge = b->edge_count};
  for (size_t i = 0; i < slots; i++)
    b->edges[b->edge_count++] = BLUEPRINT_NONE;
  return (uint32_t)b->node_count++;
}

size_t blueprint_slots(const blueprint *b, uint32_t node) {
  return vm_slots(b->nodes[node].kind, b->nodes[node].count);
}

void blueprint_link(blueprint *b, uint32_t from, size_t slot, uint32_t to) {
  ck_assert(slot < blueprint_slots(b, from) && (to == BLUEPRINT_NONE || to < b->node_count));
  b->edges[b->nodes[from].first_edge + slot] = to;
}

size_t blueprint_bytes(const blueprint *b) {
  size_t bytes = 0;
  for (size_t i = 0; i < b->node_count; i++)
    bytes += vm_size(b->nodes[i].kind, b->nodes[i].count);
  return bytes;
}

void blueprint_free(blueprint *b) {
  free(b->nodes);
  free(b->edges);
  free(b->where);
  *b = (blueprint){0};
}

/* ---- building ---------------------------------------------------------------------------------- */

static uint64_t table_get(tsr_mutator *m, const tsr_slot *table, size_t i) {
  return vm_get(m, vm_ref(table->word), 2 + i);
}

/* A table in the heap holds every object until all are linked. */
void blueprint_build(const blueprint *b, tsr_mutator *m, tsr_slot *root) {
  tsr_scope scope;
  tsr_scope_open(m, &scope);
  tsr_slot *table = tsr_local(m, vm_word(vm_new(m, VECTOR, 0, b->node_count)));
  ck_assert_msg(table->word != 0, "no memory for %zu nodes", b->node_count);
  for (size_t i = 0; i < b->node_count; i++) {
    tsr_ref object = vm_new(m, b->nodes[i].kind, (unsigned)i & 0xffff, b->nodes[i].count);
    ck_assert_msg(object != NULL, "no memory for node %zu of %zu", i, b->node_count);
    vm_fill(object, i);
    vm_set(m, vm_ref(table->word), 2 + i, vm_word(object));
  }
  for (size_t i = 0; i < b->node_count; i++) {
    const blueprint_node *node = &b->nodes[i];
    tsr_ref object = vm_ref(table_get(m, table, i));
    for (size_t k = 0; k < vm_slots(node->kind, node->count); k++) {
      uint32_t to = b->edges[node->first_edge + k];
      if (to == BLUEPRINT_NONE) continue;
      vm_set(m, object, vm_slot_index(node->kind, k), table_get(m, table, to));
    }
  }
  root->word = table_get(m, table, 0);
  tsr_scope_close(m, &scope);
}

/* ---- comparing ----------------------------------------------------------------------------------- */

/* Nodes that were met and not looked at yet. */
typedef struct comparison {
  blueprint *b;
  uint32_t *pending;
  size_t pending_count, met;
} comparison;

static void meet(comparison *c, uint32_t node, uint64_t word) {
  uint64_t *where = &c->b->where[node];
  ck_assert_msg(word != 0, "node %u is missing", node);
  if (*where == 0) {
    *where = word;
    c->pending[c->pending_count++] = node;
    c->met++;
  }
  ck_assert_msg(*where == word, "node %u is in two places", node);
}

static void look_at(comparison *c, tsr_mutator *m, uint32_t number) {
  const blueprint_node *node = &c->b->nodes[number];
  tsr_ref object = vm_ref(c->b->where[number]);
  ck_assert_msg(vm_kind_of(object) == node->kind && vm_tag_of(object) == (number & 0xffff) &&
                    vm_count_of(object) == node->count && vm_filled(object, number),
                "node %u is not what it was", number);
  for (size_t k = 0; k < vm_slots(node->kind, node->count); k++) {
    uint64_t word = vm_get(m, object, vm_slot_index(node->kind, k));
    uint32_t to = c->b->edges[node->first_edge + k];
    if (to != BLUEPRINT_NONE) {
      meet(c, to, word);
    } else {
      ck_assert_msg(word == 0, "slot %zu of node %u is no longer empty", k, number);
    }
  }
}

static int by_address(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a;
  uint64_t y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

/* No two nodes are one object. */
static void assert_distinct(const blueprint *b) {
  uint64_t *sorted = malloc((b->node_count + 1) * sizeof *sorted);
  ck_assert_ptr_nonnull(sorted);
  size_t n = 0;
  for (size_t i = 0; i < b->node_count; i++) {
    if (b->where[i] != 0) sorted[n++] = b->where[i];
  }
  qsort(sorted, n, sizeof *sorted, by_address);
  for (size_t i = 1; i < n; i++)
    ck_assert_msg(sorted[i - 1] != sorted[i], "two nodes are one object");
  free(sorted);
}

size_t blueprint_compare(blueprint *b, tsr_mutator *m, uint64_t word) {
  b->where = realloc(b->where, b->node_count * sizeof *b->where);
  comparison c = {.b = b, .pending = malloc(b->node_count * sizeof *c.pending)};
  ck_assert(b->where != NULL && c.pending != NULL);
  memset(b->where, 0, b->node_count * sizeof *b->where);
  meet(&c, 0, word);
  while (c.pending_count > 0)
    look_at(&c, m, c.pending[--c.pending_count]);
  free(c.pending);
  assert_distinct(b);
  return c.met;
}

void blueprint_relink(blueprint *b, tsr_mutator *m, uint32_t from, size_t slot, uint32_t to) {
  ck_assert(b->where[from] != 0 && (to == BLUEPRINT_NONE || b->where[to] != 0));
  blueprint_link(b, from, slot, to);
  vm_set(m, vm_ref(b->where[from]), vm_slot_index(b->nodes[from].kind, slot),
         to == BLUEPRINT_NONE ? 0 : b->where[to]);
}
