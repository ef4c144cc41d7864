/*
 * body.c: bodies with definitions, and the let family.
 *
 * A body is a letrec*: each definition may mention all others, and they are computed in order. Made
 * literally so, every variable would be assigned, hence boxed, and checked at each use. But most
 * definitions are lambdas, whose making mentions nothing, or values that are not used before they
 * are there. So a body is cut into groups:
 *
 *     (define a 1) (define (f) ... g ...) (define b (f)) (define (g) ... b ...) expression
 *
 * becomes (let a) and then, because f mentions g before b is computed, one group: b starts unbound,
 * f and g are made together, b is set, the expression follows. A variable is only slow if something
 * that precedes its initialisation mentions it or a later one.
 */
#include "expander.h"

/* ---- definitions and letrec ---- */

/** One item of a body or one binding of a letrec, in order. */
struct body_item {
  struct variable *variable; /**< NULL: an expression */
  struct definition source;
  struct core *core;
  bool independent; /**< nothing so far mentions its variable or a later one */
};

struct body {
  struct body_item *items;
  unsigned count, capacity;
};

/** Binds the names that a body defines and lists its items. */
static void scan_body(struct expander *x, struct syntax *form, unsigned first, struct scope *scope,
                      struct body *body) {
  for (unsigned i = first; i < length_of(form); i++) {
    struct syntax *s = item(form, i);
    const struct special_form *keyword = keyword_of(x, s, scope);
    enum form_role role = keyword == NULL ? ROLE_EXPRESSION : keyword->role;
    struct body_item entry = {.source.value = s};
    struct syntax *name, *definitions;
    switch (role) {
    case ROLE_BEGIN:
      if (++x->nesting > MAX_EXPANSION_NESTING) syntax_error(x, s, NESTED_TOO_DEEPLY);
      check_form(x, s, 1);
      scan_body(x, s, 1, scope, body);
      x->nesting--;
      continue;
    case ROLE_DEFINE_RECORD:
      definitions = empty_list(x, s);
      expand_record_definition(x, s, definitions);
      scan_body(x, definitions, 0, scope, body);
      continue;
    case ROLE_DEFINE:
      entry.source = parse_definition(x, s, &name);
      entry.variable = bind(x, scope, name);
      break;
    case ROLE_EXPRESSION:
      break;
    }
    ARENA_PUSH(x->arena, *body, entry);
  }
}

/** Whether anything mentions a variable of the items from `first` on. */
static bool unmentioned(const struct body *body, unsigned first) {
  for (unsigned i = first; i < body->count; i++) {
    const struct variable *v = body->items[i].variable;
    if (v != NULL && (v->references > 0 || v->assigned)) return false;
  }
  return true;
}

static void expand_items(struct expander *x, struct body *body, const struct scope *scope) {
  for (unsigned i = 0; i < body->count; i++) {
    struct body_item *entry = &body->items[i];
    entry->core = expand_definition_value(x, &entry->source, scope);
    if (entry->variable != NULL) name_lambda(entry->core, entry->variable->symbol);
    entry->independent = unmentioned(body, i);
  }
}

static bool is_fixed(const struct body_item *entry) {
  return entry->variable != NULL && entry->core->kind == CORE_LAMBDA && !entry->variable->assigned;
}

/** The items [first, end) that must be made together, around `rest`. */
static struct core *join_group(struct expander *x, const struct syntax *where,
                               const struct body *body, unsigned first, unsigned end,
                               struct core *rest) {
  struct core *unbound = new_core(x, CORE_LET, where), *fix = new_core(x, CORE_FIX, where);
  struct core_list steps = {0};
  for (unsigned i = first; i < end; i++) {
    const struct body_item *entry = &body->items[i];
    if (is_fixed(entry)) {
      let_add(x, fix, entry->variable, entry->core);
    } else if (entry->variable == NULL) {
      ARENA_PUSH(x->arena, steps, entry->core);
    } else {
      let_add(x, unbound, entry->variable, new_core(x, CORE_UNBOUND, where));
      struct core *set = core_set(x, where, entry->variable, entry->core);
      set->line = entry->core->line;
      ARENA_PUSH(x->arena, steps, set);
      entry->variable->checked = true;
    }
  }
  ARENA_PUSH(x->arena, steps, rest);
  struct core *result = sequence_of(x, where, &steps);
  if (fix->as.let.values.count > 0) {
    fix->as.let.body = result;
    result = fix;
  }
  if (unbound->as.let.values.count > 0) {
    unbound->as.let.body = result;
    result = unbound;
  }
  return result;
}

/** All items around `rest`, which is NULL where the last item is the body's value. */
static struct core *join_items(struct expander *x, const struct syntax *where, struct body *body,
                               struct core *rest) {
  unsigned end = body->count;
  if (rest == NULL) rest = body->items[--end].core;
  while (end > 0) {
    struct body_item *last = &body->items[end - 1];
    if (last->independent && !is_fixed(last)) {
      end--;
      if (last->variable != NULL) {
        rest = core_let(x, where, last->variable, last->core, rest);
      } else {
        struct core_list pair = {0};
        ARENA_PUSH(x->arena, pair, last->core);
        ARENA_PUSH(x->arena, pair, rest);
        rest = sequence_of(x, where, &pair);
      }
      continue;
    }
    unsigned first = end;
    while (first > 0 &&
           (is_fixed(&body->items[first - 1]) || !body->items[first - 1].independent)) {
      first--;
    }
    rest = join_group(x, where, body, first, end, rest);
    end = first;
  }
  return rest;
}

struct core *expand_body(struct expander *x, struct syntax *form, unsigned first,
                         const struct scope *outer) {
  struct scope *scope = new_scope(x, outer);
  struct body body = {0};
  scan_body(x, form, first, scope, &body);
  if (body.count == 0 || body.items[body.count - 1].variable != NULL) {
    syntax_error(x, form, "body without an expression at its end");
  }
  if (scope->bindings == NULL) {
    struct core_list list = {0};
    for (unsigned i = 0; i < body.count; i++) {
      struct core *e = expand_expression(x, body.items[i].source.value, outer);
      ARENA_PUSH(x->arena, list, e);
    }
    return sequence_of(x, form, &list);
  }
  expand_items(x, &body, scope);
  return join_items(x, form, &body, NULL);
}

/** Checks ((name value) ...) and returns it. */
static struct syntax *check_bindings(struct expander *x, struct syntax *form, unsigned at) {
  struct syntax *bindings = item(form, at);
  if (!is_list(bindings)) syntax_error(x, form, "malformed bindings");
  for (unsigned i = 0; i < length_of(bindings); i++) {
    struct syntax *b = item(bindings, i);
    if (!is_list(b) || length_of(b) != 2) syntax_error(x, b, "malformed binding");
  }
  return bindings;
}

struct core *expand_letrec(struct expander *x, struct syntax *form, const struct scope *outer) {
  check_form(x, form, 3);
  struct syntax *bindings = check_bindings(x, form, 1);
  struct scope *scope = new_scope(x, outer);
  struct body body = {0};
  for (unsigned i = 0; i < length_of(bindings); i++) {
    struct syntax *b = item(bindings, i);
    struct body_item entry = {.variable = bind(x, scope, item(b, 0)), .source.value = item(b, 1)};
    ARENA_PUSH(x->arena, body, entry);
  }
  expand_items(x, &body, scope);
  struct core *rest = expand_body(x, form, 2, scope);
  return join_items(x, form, &body, rest);
}

/* ---- let ---- */

/** (let name ((variable value) ...) body ...) */
static struct core *expand_named_let(struct expander *x, struct syntax *form,
                                     const struct scope *outer) {
  check_form(x, form, 4);
  struct syntax *bindings = check_bindings(x, form, 2);
  struct syntax *parameters = empty_list(x, form);
  struct core *call = new_core(x, CORE_CALL, form);
  for (unsigned i = 0; i < length_of(bindings); i++) {
    append_item(x, parameters, item(item(bindings, i), 0));
    struct core *init = expand_expression(x, item(item(bindings, i), 1), outer);
    ARENA_PUSH(x->arena, call->as.call.arguments, init);
  }
  struct scope *scope = new_scope(x, outer);
  struct body_item loop = {.variable = bind(x, scope, item(form, 1))};
  loop.core = make_lambda(x, form, parameters, 3, scope);
  name_lambda(loop.core, loop.variable->symbol);
  call->as.call.callee = core_read(x, form, loop.variable);
  struct body body = {0};
  ARENA_PUSH(x->arena, body, loop);
  return join_items(x, form, &body, call);
}

struct core *expand_let(struct expander *x, struct syntax *form, const struct scope *outer) {
  check_form(x, form, 3);
  if (is_identifier(item(form, 1))) return expand_named_let(x, form, outer);
  struct syntax *bindings = check_bindings(x, form, 1);
  struct scope *scope = new_scope(x, outer);
  struct core *let = new_core(x, CORE_LET, form);
  for (unsigned i = 0; i < length_of(bindings); i++) {
    struct syntax *b = item(bindings, i);
    struct core *init = expand_expression(x, item(b, 1), outer);
    struct variable *variable = bind(x, scope, item(b, 0));
    name_lambda(init, variable->symbol);
    let_add(x, let, variable, init);
  }
  let->as.let.body = expand_body(x, form, 2, scope);
  return let;
}

/** Nested lets, from the outside in: each value sees the variables before it. */
struct core *expand_let_star(struct expander *x, struct syntax *form, const struct scope *scope) {
  check_form(x, form, 3);
  struct syntax *bindings = check_bindings(x, form, 1);
  struct core *outermost = NULL, **hole = &outermost;
  for (unsigned i = 0; i < length_of(bindings); i++) {
    struct syntax *b = item(bindings, i);
    struct core *init = expand_expression(x, item(b, 1), scope);
    struct scope *inner = new_scope(x, scope);
    struct variable *variable = bind(x, inner, item(b, 0));
    name_lambda(init, variable->symbol);
    *hole = core_let(x, form, variable, init, NULL);
    hole = &(*hole)->as.let.body;
    scope = inner;
  }
  *hole = expand_body(x, form, 2, scope);
  return outermost;
}
