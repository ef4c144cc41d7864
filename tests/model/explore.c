/*
 * The explorer: an array of states in the order of discovery, a hash table of their places. See explore.h.
 */
#include "explore.h"

#include <stdlib.h>
#include <string.h>

#define NOWHERE UINT32_MAX

struct exploration {
  const model *model;
  packed *state;
  uint32_t *parent;
  size_t count, room, most;
  uint32_t
      *table; /* places of states, NOWHERE in between; a power of two of them, at most half full */
  size_t table_size;
  uint32_t current; /* the state that is being expanded */
  size_t transitions, successors;
  bool too_many;

  /* While a trace is told: the successor that is looked for, and how it was found. */
  const packed *wanted;
  bool found;
  happening how;
  uint8_t number[EXPLORE_NAMES];
};

static void *grown(void *memory, size_t bytes) {
  void *larger = realloc(memory, bytes);
  if (larger == NULL) {
    fprintf(stderr, "no memory for %zu bytes of states\n", bytes);
    exit(EXIT_FAILURE);
  }
  return larger;
}

static size_t hash(const packed *p) {
  uint64_t h = 0x9e3779b97f4a7c15u;
  for (unsigned i = 0; i < 4; i++) {
    h = (h ^ p->word[i]) * 0xff51afd7ed558ccdu;
    h ^= h >> 32;
  }
  return (size_t)h;
}

static bool same(const packed *a, const packed *b) {
  return memcmp(a, b, sizeof *a) == 0;
}

/* The place of a state in the table, or the gap where it belongs. */
static uint32_t *lookup(exploration *e, const packed *state) {
  size_t mask = e->table_size - 1;
  size_t i = hash(state) & mask;
  while (e->table[i] != NOWHERE && !same(&e->state[e->table[i]], state))
    i = (i + 1) & mask;
  return &e->table[i];
}

static void grow_table(exploration *e) {
  e->table_size = e->table_size == 0 ? 1024 : 2 * e->table_size;
  e->table = grown(e->table, e->table_size * sizeof *e->table);
  memset(e->table, 0xff, e->table_size * sizeof *e->table);
  for (size_t i = 0; i < e->count; i++)
    *lookup(e, &e->state[i]) = (uint32_t)i;
}

static void add(exploration *e, const packed *state) {
  if (2 * e->count >= e->table_size) grow_table(e);
  uint32_t *place = lookup(e, state);
  if (*place != NOWHERE) return;
  if (e->count == e->most) {
    e->too_many = true;
    return;
  }
  if (e->count == e->room) {
    e->room = e->room == 0 ? 1024 : 2 * e->room;
    e->state = grown(e->state, e->room * sizeof *e->state);
    e->parent = grown(e->parent, e->room * sizeof *e->parent);
  }
  e->state[e->count] = *state;
  e->parent[e->count] = e->current;
  *place = (uint32_t)e->count++;
}

void explore_found(exploration *e, const packed *state, happening what,
                   const uint8_t number[EXPLORE_NAMES]) {
  e->transitions++;
  e->successors++;
  if (e->wanted == NULL) {
    add(e, state);
  } else if (!e->found && same(e->wanted, state)) {
    e->found = true;
    e->how = what;
    memcpy(e->number, number, sizeof e->number);
  }
}

/* ---- telling how a state came about -------------------------------------------------------- */

static void tell_step(exploration *e, FILE *to, unsigned step, uint32_t before, uint32_t after,
                      char name[EXPLORE_NAMES], char *next_name) {
  packed from = e->state[before], wanted = e->state[after];
  e->wanted = &wanted;
  e->found = false;
  e->model->expand(&from, e);
  e->wanted = NULL;

  fprintf(to, "%3u  ", step);
  e->model->tell(to, &e->how, name);
  char renamed[EXPLORE_NAMES] = {0};
  for (unsigned n = 1; n < EXPLORE_NAMES; n++) {
    if (e->number[n] != 0) renamed[e->number[n]] = name[n];
  }
  for (unsigned n = 1; n < EXPLORE_NAMES; n++) {
    name[n] = renamed[n] != 0 ? renamed[n] : (*next_name)++;
  }
  fprintf(to, "\n       ");
  e->model->show(to, &wanted, name);
  fprintf(to, "\n");
}

static void tell(exploration *e, FILE *to, uint32_t last, unsigned depth) {
  uint32_t *path = grown(NULL, (depth + 1) * sizeof *path);
  for (unsigned i = depth + 1; i-- > 0; last = e->parent[last])
    path[i] = last;
  char name[EXPLORE_NAMES] = {0};
  char next_name = 'A';
  for (unsigned n = 1; n < EXPLORE_NAMES; n++)
    name[n] = next_name++;
  for (unsigned i = 1; i <= depth; i++) {
    tell_step(e, to, i, path[i - 1], path[i], name, &next_name);
  }
  free(path);
}

static unsigned depth_of(const exploration *e, uint32_t place) {
  unsigned depth = 0;
  for (; e->parent[place] != NOWHERE; place = e->parent[place])
    depth++;
  return depth;
}

outcome explore(const model *m, size_t most, FILE *trace) {
  exploration e = {.model = m, .most = most, .current = NOWHERE};
  outcome result = {0};
  m->initial(&e);
  e.transitions = 0;
  uint32_t last = 0;
  for (size_t i = 0; i < e.count && !e.too_many; i++) {
    last = e.current = (uint32_t)i;
    packed state = e.state[i]; /* the array moves */
    result.broken = m->check(&state, false);
    if (result.broken != NULL) break;
    e.successors = 0;
    m->expand(&state, &e);
    if (e.successors == 0) result.broken = m->check(&state, true);
    if (result.broken != NULL) break;
  }
  result.states = e.count;
  result.transitions = e.transitions;
  result.too_many = e.too_many;
  result.depth = depth_of(&e, last);
  if (result.broken != NULL && trace != NULL) tell(&e, trace, last, result.depth);
  free(e.state);
  free(e.parent);
  free(e.table);
  return result;
}
