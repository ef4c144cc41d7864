/*
 * Roots of every kind, in one numbering: global handles, a registered range, slots that a callback
 * reports, a native stack, local handles in nested scopes. Range and stack also move about in
 * memory.
 */
#include "program.h"

/* ---- one root ------------------------------------------------------------------------------ */

size_t root_any(program *p) {
  size_t i;
  do {
    i = below(p, ROOTS);
  } while (p->model.roots[i].slot == NULL);
  return i;
}

void root_set(program *p, size_t i, edge e, uint64_t word) {
  root *r = &p->model.roots[i];
  r->slot->word = word;
  r->to = e;
  bool on_stack = i >= FIRST_STACK && i < FIRST_STACK + STACK;
  if (on_stack && p->clean_below > r->slot) p->clean_below = r->slot;
}

static void root_take(program *p, size_t i, tsr_slot *slot) {
  p->model.roots[i] = (root){.slot = slot};
}

/* ---- handles and ranges -------------------------------------------------------------------- */

void renew_handle(program *p) {
  size_t i = FIRST_HANDLE + below(p, HANDLES);
  tsr_error error = {0};
  edge e;
  uint64_t word;
  program_walk(p, &e, &word);
  tsr_slot *old = p->model.roots[i].slot;
  tsr_slot *new = tsr_handle_new(p->world->heap, word, TSR_STRONG, &error);
  if (new == NULL) {
    DEMAND(error.status == TSR_OUT_OF_MEMORY, "tsr_handle_new: %s", error.message);
    return;
  }
  DEMAND_OK(tsr_handle_free(p->world->heap, old, &error), error);
  p->model.roots[i] = (root){.slot = new, .to = e};
}

static void use_range(program *p, unsigned which) {
  tsr_error error = {0};
  p->range_in_use = which;
  DEMAND_OK(tsr_root_add(p->world->heap, p->range[which], RANGE, TSR_ROOT_PRECISE, "torture range",
                         &error),
            error);
  for (size_t i = 0; i < RANGE; i++) {
    p->model.roots[FIRST_RANGE + i].slot = &p->range[which][i];
  }
}

/* No safepoint comes between, so the words stay good while nobody reports them. */
void move_range(program *p) {
  unsigned old = p->range_in_use;
  tsr_error error = {0};
  DEMAND_OK(tsr_root_remove(p->world->heap, p->range[old], &error), error);
  memcpy(p->range[1 - old], p->range[old], sizeof p->range[old]);
  use_range(p, 1 - old);
}

/* ---- the native stack ---------------------------------------------------------------------- */

void move_stack_top(program *p) {
  size_t depth = (size_t)(p->top - p->stack_memory);
  size_t wanted = below(p, STACK + 1);
  for (; depth < wanted; depth++) {
    p->stack_memory[depth].word = 0;
    root_take(p, FIRST_STACK + depth, &p->stack_memory[depth]);
  }
  for (; depth > wanted; depth--) {
    root_take(p, FIRST_STACK + depth - 1, NULL);
  }
  p->top = p->stack_memory + wanted;
  if (p->clean_below > p->top) p->clean_below = p->top;
}

/* As a VM that reallocates its stack; at times it is registered anew, perhaps with clean_below. */
void move_stack_memory(program *p) {
  size_t depth = (size_t)(p->top - p->stack_memory);
  size_t clean = (size_t)(p->clean_below - p->stack_memory);
  tsr_slot *memory = malloc(STACK * sizeof(tsr_slot));
  DEMAND(memory != NULL, "no memory for a stack");
  memcpy(memory, p->stack_memory, depth * sizeof(tsr_slot));
  free(p->stack_memory);
  p->stack_memory = p->stack.base = memory;
  p->top = memory + depth;
  p->clean_below = memory + clean;
  for (size_t i = 0; i < depth; i++) {
    p->model.roots[FIRST_STACK + i].slot = &memory[i];
  }
  if (!chance(p, 4)) return;
  tsr_error error = {0};
  DEMAND_OK(tsr_stack_remove(p->world->heap, &p->stack, &error), error);
  p->stack.clean_below = chance(p, 2) ? &p->clean_below : NULL;
  p->clean_below = p->stack_memory;
  DEMAND_OK(tsr_stack_add(p->world->heap, &p->stack, &error), error);
}

/* ---- scopes -------------------------------------------------------------------------------- */

static size_t first_local(unsigned scope) {
  return FIRST_LOCAL + SCOPE_LOCALS * (size_t)scope;
}

void open_scope(program *p) {
  if (p->open_scopes == SCOPES) return;
  size_t first = first_local(p->open_scopes);
  tsr_scope_open(p->m, &p->scopes[p->open_scopes++]);
  for (size_t i = first; i < first + SCOPE_LOCALS; i++) {
    root *from = &p->model.roots[root_any(p)];
    edge e = from->to;
    p->model.roots[i] = (root){.slot = tsr_local(p->m, from->slot->word)};
    if (p->model.roots[i].slot != NULL) p->model.roots[i].to = e;
  }
}

void close_scope(program *p) {
  if (p->open_scopes == 0) return;
  tsr_scope_close(p->m, &p->scopes[--p->open_scopes]);
  size_t first = first_local(p->open_scopes);
  for (size_t i = first; i < first + SCOPE_LOCALS; i++) {
    root_take(p, i, NULL);
  }
}

/* ---- life ---------------------------------------------------------------------------------- */

void program_open_roots(program *p) {
  tsr_error error = {0};
  for (size_t i = FIRST_HANDLE; i < FIRST_HANDLE + HANDLES; i++) {
    root_take(p, i, tsr_handle_new(p->world->heap, 0, TSR_STRONG, &error));
    DEMAND(p->model.roots[i].slot != NULL, "tsr_handle_new: %s", error.message);
  }
  use_range(p, 0);
  for (size_t i = 0; i < CALLED; i++) {
    root_take(p, FIRST_CALLED + i, &p->called[i]);
  }
  p->stack_memory = malloc(STACK * sizeof(tsr_slot));
  DEMAND(p->stack_memory != NULL, "no memory for a stack");
  p->top = p->clean_below = p->stack_memory;
  p->stack = (tsr_native_stack){.base = p->stack_memory,
                                .top = &p->top,
                                .clean_below = &p->clean_below,
                                .name = "torture stack"};
  DEMAND_OK(tsr_stack_add(p->world->heap, &p->stack, &error), error);
}

void program_close_mutator_roots(program *p) {
  while (p->open_scopes > 0) {
    close_scope(p);
  }
  for (size_t i = 0; i < CALLED; i++) {
    root_set(p, FIRST_CALLED + i, 0, 0);
  }
}

void program_close_roots(program *p) {
  tsr_error error = {0};
  for (size_t i = FIRST_HANDLE; i < FIRST_HANDLE + HANDLES; i++) {
    DEMAND_OK(tsr_handle_free(p->world->heap, p->model.roots[i].slot, &error), error);
  }
  DEMAND_OK(tsr_root_remove(p->world->heap, p->range[p->range_in_use], &error), error);
  DEMAND_OK(tsr_stack_remove(p->world->heap, &p->stack, &error), error);
  free(p->stack_memory);
}
