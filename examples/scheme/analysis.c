/*
 * analysis.c: two passes over the core language before code is emitted.
 *
 * The first finds loops. `(let loop ((v i) ...) body)` is a local procedure and a call; where all
 * other uses of the procedure are calls in tail position of its own body, no procedure is needed:
 * the variables become locals of the surrounding lambda and the calls become jumps. Inner loops are
 * converted first, since a call of the outer one may stand in an inner one.
 *
 * The second pass notes for each variable the lambda whose frame it now lies in.
 */
#include "core.h"

/* ---- loops ---- */

/** A FIX of one lambda whose body is a call of it with the right number of arguments. */
static bool has_loop_shape(const struct core *c) {
  if (c->kind != CORE_FIX || c->as.let.values.count != 1) return false;
  const struct core *body = c->as.let.body;
  const struct lambda *lambda = c->as.let.values.items[0]->as.lambda;
  return body->kind == CORE_CALL && body->as.call.callee->kind == CORE_LOCAL &&
         body->as.call.callee->as.local == c->as.let.variables.items[0] && !lambda->has_rest &&
         body->as.call.arguments.count == lambda->parameters.count;
}

/**
 * Counts the calls of `procedure` with `arguments` arguments in tail positions of `c`; with `loop`
 * also turns them into jumps there.
 */
static uint32_t tail_calls(struct core *c, const struct variable *procedure, uint32_t arguments,
                           struct core *loop) {
  uint32_t count = 0;
  for (;;) {
    switch (c->kind) {
    case CORE_IF:
      count += tail_calls(c->as.branch.then, procedure, arguments, loop);
      c = c->as.branch.otherwise;
      continue;
    case CORE_AND:
    case CORE_OR:
    case CORE_SEQUENCE:
      c = c->as.sequence.items[c->as.sequence.count - 1];
      continue;
    case CORE_LET:
    case CORE_FIX:
    case CORE_LOOP:
      c = c->as.let.body;
      continue;
    case CORE_CALL:
      if (c->as.call.callee->kind != CORE_LOCAL || c->as.call.callee->as.local != procedure ||
          c->as.call.arguments.count != arguments) {
        return count;
      }
      if (loop != NULL) {
        c->kind = CORE_CONTINUE;
        c->as.call.loop = loop;
      }
      return count + 1;
    default:
      return count;
    }
  }
}

static void convert_loop(struct core *c) {
  const struct variable *procedure = c->as.let.variables.items[0];
  struct lambda *lambda = c->as.let.values.items[0]->as.lambda;
  struct core *entry = c->as.let.body;
  uint32_t parameters = lambda->parameters.count;
  if (tail_calls(lambda->body, procedure, parameters, NULL) + 1 != procedure->references) return;
  (void)tail_calls(lambda->body, procedure, parameters, c);
  c->kind = CORE_LOOP;
  c->as.let.variables = lambda->parameters;
  c->as.let.values = entry->as.call.arguments;
  c->as.let.body = lambda->body;
}

struct analysis {
  struct vm *vm;
  const char *file;
  unsigned nesting;
};

static void find_loops(struct analysis *a, struct core *c);

static void find_loops_in(struct analysis *a, const struct core_list *list) {
  for (unsigned i = 0; i < list->count; i++)
    find_loops(a, list->items[i]);
}

/** Returns the last item, for the caller to go on with. */
static struct core *find_loops_before_last(struct analysis *a, const struct core_list *list) {
  for (unsigned i = 0; i + 1 < list->count; i++)
    find_loops(a, list->items[i]);
  return list->items[list->count - 1];
}

static void find_loops_below(struct analysis *a, struct core *c) {
  for (;;) {
    switch (c->kind) {
    case CORE_CONSTANT:
    case CORE_UNBOUND:
    case CORE_LOCAL:
    case CORE_GLOBAL:
      return;
    case CORE_SET_LOCAL:
    case CORE_SET_GLOBAL:
    case CORE_DEFINE_GLOBAL:
      c = c->as.set.value;
      continue;
    case CORE_IF:
      find_loops(a, c->as.branch.test);
      find_loops(a, c->as.branch.then);
      c = c->as.branch.otherwise;
      continue;
    case CORE_AND:
    case CORE_OR:
    case CORE_SEQUENCE:
      c = find_loops_before_last(a, &c->as.sequence);
      continue;
    case CORE_LAMBDA:
      c = c->as.lambda->body;
      continue;
    case CORE_CALL:
      find_loops(a, c->as.call.callee);
      find_loops_in(a, &c->as.call.arguments);
      return;
    case CORE_INTEGRATED:
    case CORE_CONTINUE:
      find_loops_in(a, &c->as.call.arguments);
      return;
    case CORE_LET:
    case CORE_LOOP:
      find_loops_in(a, &c->as.let.values);
      c = c->as.let.body;
      continue;
    case CORE_FIX:
      find_loops_in(a, &c->as.let.values);
      if (!has_loop_shape(c)) {
        c = c->as.let.body;
        continue;
      }
      find_loops(a, c->as.let.body);
      convert_loop(c);
      return;
    }
  }
}

/** The pass that goes first looks after the depth for itself and for the second one. */
static void find_loops(struct analysis *a, struct core *c) {
  if (++a->nesting > MAX_CORE_NESTING) {
    source_error(a->vm, a->file, c->line, NESTED_TOO_DEEPLY);
  }
  find_loops_below(a, c);
  a->nesting--;
}

/* ---- owners ---- */

static void find_owners(struct core *c, struct lambda *here);

static void find_owners_in(const struct core_list *list, struct lambda *here) {
  for (unsigned i = 0; i < list->count; i++)
    find_owners(list->items[i], here);
}

static struct core *find_owners_before_last(const struct core_list *list, struct lambda *here) {
  for (unsigned i = 0; i + 1 < list->count; i++)
    find_owners(list->items[i], here);
  return list->items[list->count - 1];
}

static void own(const struct variable_list *variables, struct lambda *owner) {
  for (unsigned i = 0; i < variables->count; i++)
    variables->items[i]->owner = owner;
}

static void find_owners(struct core *c, struct lambda *here) {
  for (;;) {
    switch (c->kind) {
    case CORE_CONSTANT:
    case CORE_UNBOUND:
    case CORE_GLOBAL:
    case CORE_LOCAL:
      return;
    case CORE_SET_LOCAL:
    case CORE_SET_GLOBAL:
    case CORE_DEFINE_GLOBAL:
      c = c->as.set.value;
      continue;
    case CORE_IF:
      find_owners(c->as.branch.test, here);
      find_owners(c->as.branch.then, here);
      c = c->as.branch.otherwise;
      continue;
    case CORE_AND:
    case CORE_OR:
    case CORE_SEQUENCE:
      c = find_owners_before_last(&c->as.sequence, here);
      continue;
    case CORE_LAMBDA:
      here = c->as.lambda;
      own(&here->parameters, here);
      c = here->body;
      continue;
    case CORE_CALL:
      find_owners(c->as.call.callee, here);
      find_owners_in(&c->as.call.arguments, here);
      return;
    case CORE_INTEGRATED:
    case CORE_CONTINUE:
      find_owners_in(&c->as.call.arguments, here);
      return;
    case CORE_LET:
    case CORE_FIX:
    case CORE_LOOP:
      own(&c->as.let.variables, here);
      find_owners_in(&c->as.let.values, here);
      c = c->as.let.body;
      continue;
    }
  }
}

void analyse(struct vm *vm, struct lambda *lambda, const char *file) {
  struct analysis analysis = {.vm = vm, .file = file};
  find_loops(&analysis, lambda->body);
  own(&lambda->parameters, lambda);
  find_owners(lambda->body, lambda);
}
