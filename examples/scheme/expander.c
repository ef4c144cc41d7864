/*
 * expander.c: from syntax to the core language: names, the basic forms, the top level.
 *
 * Each expression is looked at once. If it is a list whose first item is an identifier that means a
 * keyword, the keyword's function takes it; otherwise it is a call, a variable or a constant.
 * Keywords are found through the scopes like variables, so a local variable or a definition of the
 * same name hides them.
 *
 * Derived forms (derived.c) rewrite themselves into syntax whose own identifiers carry the core
 * scope, or into core directly.
 */
#include "expander.h"
#include <stdarg.h>

const struct scope core_scope;

/* ---- errors and checks ---- */

NORETURN void syntax_error(struct expander *x, const struct syntax *where, const char *message) {
  source_error(x->vm, x->file, where->line, "%s", message);
}

void check_form(struct expander *x, const struct syntax *form, unsigned least) {
  if (is_list(form) && length_of(form) >= least) return;
  char name[64] = "form";
  if (length_of(form) > 0 && is_identifier(item(form, 0))) {
    symbol_name(symbol_by_id(x->vm, item(form, 0)->as.identifier.symbol), name, sizeof name);
  }
  source_error(x->vm, x->file, form->line, "%s: malformed", name);
}

/* ---- names ---- */

/** Ids of temporaries, which are no symbols, lie above those of symbols. */
#define FIRST_TEMPORARY 0x80000000u

struct scope *new_scope(struct expander *x, const struct scope *outer) {
  struct scope *scope = ARENA_NEW(x->arena, struct scope);
  scope->outer = outer;
  return scope;
}

struct variable *new_variable(struct expander *x, uint32_t symbol) {
  struct variable *variable = ARENA_NEW(x->arena, struct variable);
  variable->symbol = symbol;
  return variable;
}

static void add_binding(struct expander *x, struct scope *scope, struct variable *variable) {
  struct binding *binding = ARENA_NEW(x->arena, struct binding);
  *binding = (struct binding){.next = scope->bindings, .variable = variable};
  scope->bindings = binding;
}

struct variable *bind(struct expander *x, struct scope *scope, const struct syntax *name) {
  if (!is_identifier(name)) syntax_error(x, name, "expected the name of a variable");
  for (const struct binding *b = scope->bindings; b != NULL; b = b->next) {
    if (b->variable->symbol == name->as.identifier.symbol) {
      syntax_error(x, name, "variable bound twice in the same form");
    }
  }
  struct variable *variable = new_variable(x, name->as.identifier.symbol);
  add_binding(x, scope, variable);
  return variable;
}

/** Where an identifier is to be looked up. */
static const struct scope *scope_of(const struct syntax *name, const struct scope *here) {
  return name->as.identifier.scope != NULL ? name->as.identifier.scope : here;
}

/** The local variable that an identifier means, or NULL: it is global. */
static struct variable *find_local(const struct syntax *name, const struct scope *scope) {
  for (scope = scope_of(name, scope); scope != NULL; scope = scope->outer) {
    for (const struct binding *b = scope->bindings; b != NULL; b = b->next) {
      if (b->variable->symbol == name->as.identifier.symbol) return b->variable;
    }
  }
  return NULL;
}

static struct symbol_info *info_of(struct expander *x, const struct syntax *name) {
  return &x->vm->symbols.info[name->as.identifier.symbol];
}

static const struct special_form *find_keyword(struct expander *x, const struct syntax *name,
                                               const struct scope *scope) {
  if (find_local(name, scope) != NULL) return NULL;
  const struct symbol_info *info = info_of(x, name);
  return name->as.identifier.scope == &core_scope ? info->core_syntax : info->syntax;
}

const struct special_form *keyword_of(struct expander *x, const struct syntax *form,
                                      const struct scope *scope) {
  if (form->kind != SYNTAX_LIST || length_of(form) == 0 || !is_identifier(item(form, 0))) {
    return NULL;
  }
  return find_keyword(x, item(form, 0), scope);
}

static const struct integrable *find_integrable(struct expander *x, const struct syntax *name,
                                                const struct scope *scope) {
  if (!is_identifier(name) || find_local(name, scope) != NULL) return NULL;
  const struct symbol_info *info = info_of(x, name);
  return name->as.identifier.scope == &core_scope ? info->core_integrable : info->integrable;
}

bool is_literal(struct expander *x, const struct syntax *s, const char *name,
                const struct scope *scope) {
  return is_identifier(s) && s->as.identifier.symbol == intern_c(x->vm, name) &&
         find_local(s, scope) == NULL;
}

/* ---- making syntax ---- */

static struct syntax *new_syntax(struct expander *x, enum syntax_kind kind,
                                 const struct syntax *where) {
  struct syntax *s = ARENA_NEW(x->arena, struct syntax);
  s->kind = kind;
  s->line = where->line;
  s->column = where->column;
  return s;
}

struct syntax *core_identifier(struct expander *x, const struct syntax *where, const char *name) {
  struct syntax *s = new_syntax(x, SYNTAX_IDENTIFIER, where);
  s->as.identifier.symbol = intern_c(x->vm, name);
  s->as.identifier.scope = &core_scope;
  return s;
}

struct syntax *temporary(struct expander *x, const struct syntax *where) {
  struct syntax *s = new_syntax(x, SYNTAX_IDENTIFIER, where);
  s->as.identifier.symbol = FIRST_TEMPORARY + x->temporaries++;
  return s;
}

struct syntax *empty_list(struct expander *x, const struct syntax *where) {
  return new_syntax(x, SYNTAX_LIST, where);
}

void append_item(struct expander *x, struct syntax *list, struct syntax *datum) {
  ARENA_PUSH(x->arena, list->as.list.items, datum);
}

void append_items(struct expander *x, struct syntax *list, const struct syntax *from,
                  unsigned first) {
  for (unsigned i = first; i < length_of(from); i++)
    append_item(x, list, item(from, i));
}

struct syntax *syntax_list(struct expander *x, const struct syntax *where, unsigned count, ...) {
  struct syntax *list = empty_list(x, where);
  va_list items;
  va_start(items, count);
  while (count-- > 0)
    append_item(x, list, va_arg(items, struct syntax *));
  va_end(items);
  return list;
}

struct syntax *syntax_fixnum(struct expander *x, const struct syntax *where, int64_t n) {
  struct syntax *s = new_syntax(x, SYNTAX_CONSTANT, where);
  s->as.constant = fixnum(n);
  return s;
}

/* ---- making core ---- */

struct core *new_core(struct expander *x, enum core_kind kind, const struct syntax *where) {
  struct core *c = ARENA_NEW(x->arena, struct core);
  c->kind = kind;
  c->line = where->line;
  return c;
}

struct core *core_constant(struct expander *x, const struct syntax *datum) {
  struct core *c = new_core(x, CORE_CONSTANT, datum);
  c->as.constant = datum;
  return c;
}

struct core *core_unspecified(struct expander *x, const struct syntax *where) {
  return new_core(x, CORE_CONSTANT, where);
}

struct core *core_if(struct expander *x, const struct syntax *where, struct core *test,
                     struct core *then, struct core *otherwise) {
  struct core *c = new_core(x, CORE_IF, where);
  c->as.branch.test = test;
  c->as.branch.then = then;
  c->as.branch.otherwise = otherwise;
  return c;
}

struct core *core_read(struct expander *x, const struct syntax *where, struct variable *variable) {
  struct core *c = new_core(x, CORE_LOCAL, where);
  c->as.local = variable;
  variable->references++;
  return c;
}

struct core *core_set(struct expander *x, const struct syntax *where, struct variable *variable,
                      struct core *init) {
  struct core *c = new_core(x, CORE_SET_LOCAL, where);
  c->as.set.local = variable;
  c->as.set.value = init;
  variable->assigned = true;
  return c;
}

void let_add(struct expander *x, struct core *let, struct variable *variable, struct core *init) {
  ARENA_PUSH(x->arena, let->as.let.variables, variable);
  ARENA_PUSH(x->arena, let->as.let.values, init);
}

struct core *core_let(struct expander *x, const struct syntax *where, struct variable *variable,
                      struct core *init, struct core *body) {
  struct core *let = new_core(x, CORE_LET, where);
  let_add(x, let, variable, init);
  let->as.let.body = body;
  return let;
}

struct core *core_builtin(struct expander *x, const struct syntax *where, const char *name,
                          struct core *first, struct core *second) {
  const struct syntax *identifier = core_identifier(x, where, name);
  const struct integrable *integrable = info_of(x, identifier)->core_integrable;
  struct core *c = new_core(x, integrable != NULL ? CORE_INTEGRATED : CORE_CALL, where);
  c->as.call.integrable = integrable;
  if (integrable == NULL) {
    c->as.call.callee = new_core(x, CORE_GLOBAL, where);
    c->as.call.callee->as.global = identifier->as.identifier.symbol;
  }
  ARENA_PUSH(x->arena, c->as.call.arguments, first);
  if (second != NULL) ARENA_PUSH(x->arena, c->as.call.arguments, second);
  return c;
}

/* ---- variables and calls ---- */

static struct core *expand_identifier(struct expander *x, struct syntax *name,
                                      const struct scope *scope) {
  struct variable *variable = find_local(name, scope);
  if (variable != NULL) return core_read(x, name, variable);
  if (find_keyword(x, name, scope) != NULL) syntax_error(x, name, "keyword used as a variable");
  struct core *c = new_core(x, CORE_GLOBAL, name);
  c->as.global = name->as.identifier.symbol;
  return c;
}

/** (+ a b c) is (+ (+ a b) c), while there are few. */
static struct core *fold_operation(struct expander *x, const struct syntax *form,
                                   const struct integrable *integrable,
                                   const struct core_list *arguments) {
  struct core *left = arguments->items[0];
  for (unsigned i = 1; i < arguments->count; i++) {
    struct core *c = new_core(x, CORE_INTEGRATED, form);
    c->as.call.integrable = integrable;
    ARENA_PUSH(x->arena, c->as.call.arguments, left);
    ARENA_PUSH(x->arena, c->as.call.arguments, arguments->items[i]);
    left = c;
  }
  return left;
}

static bool folds(const struct integrable *integrable, unsigned arguments) {
  enum { MOST = 8 };
  enum operation op = integrable->operation;
  return (op == OP_ADD || op == OP_SUBTRACT || op == OP_MULTIPLY) && arguments > 2 &&
         arguments <= MOST;
}

static struct core *expand_call(struct expander *x, struct syntax *form,
                                const struct scope *scope) {
  if (!is_list(form)) syntax_error(x, form, "a call must be a proper list");
  const struct integrable *integrable = find_integrable(x, item(form, 0), scope);
  struct core_list arguments = {0};
  for (unsigned i = 1; i < length_of(form); i++) {
    struct core *argument = expand_expression(x, item(form, i), scope);
    ARENA_PUSH(x->arena, arguments, argument);
  }
  if (integrable != NULL && folds(integrable, arguments.count)) {
    return fold_operation(x, form, integrable, &arguments);
  }
  bool integrate = integrable != NULL && integrable->arguments == arguments.count;
  struct core *call = new_core(x, integrate ? CORE_INTEGRATED : CORE_CALL, form);
  if (integrate)
    call->as.call.integrable = integrable;
  else
    call->as.call.callee = expand_expression(x, item(form, 0), scope);
  call->as.call.arguments = arguments;
  return call;
}

struct core *expand_expression(struct expander *x, struct syntax *form, const struct scope *scope) {
  if (x->nesting >= MAX_EXPANSION_NESTING) syntax_error(x, form, NESTED_TOO_DEEPLY);
  x->nesting++;
  struct core *result;
  const struct special_form *keyword = keyword_of(x, form, scope);
  if (is_identifier(form)) {
    result = expand_identifier(x, form, scope);
  } else if (form->kind != SYNTAX_LIST) {
    result = core_constant(x, form);
  } else if (length_of(form) == 0) {
    syntax_error(x, form, "empty call: write '() for the empty list");
  } else if (keyword == NULL) {
    result = expand_call(x, form, scope);
  } else if (keyword->expand != NULL) {
    result = keyword->expand(x, form, scope);
  } else {
    syntax_error(x, form, "definition where an expression is expected");
  }
  x->nesting--;
  return result;
}

struct core *sequence_of(struct expander *x, const struct syntax *where,
                         const struct core_list *list) {
  if (list->count == 0) return core_unspecified(x, where);
  if (list->count == 1) return list->items[0];
  struct core *c = new_core(x, CORE_SEQUENCE, where);
  c->as.sequence = *list;
  return c;
}

struct core *expand_sequence(struct expander *x, struct syntax *form, unsigned first,
                             const struct scope *scope) {
  if (first == length_of(form)) return core_unspecified(x, form);
  if (first + 1 == length_of(form)) return expand_expression(x, item(form, first), scope);
  struct core *c = new_core(x, CORE_SEQUENCE, form);
  for (unsigned i = first; i < length_of(form); i++) {
    struct core *e = expand_expression(x, item(form, i), scope);
    ARENA_PUSH(x->arena, c->as.sequence, e);
  }
  return c;
}

/* ---- lambda ---- */

void name_lambda(struct core *c, uint32_t symbol) {
  if (c->kind == CORE_LAMBDA && c->as.lambda->name == NO_SYMBOL && symbol < FIRST_TEMPORARY) {
    c->as.lambda->name = symbol;
  }
}

static void bind_parameter(struct expander *x, struct lambda *lambda, struct scope *scope,
                           const struct syntax *name) {
  if (lambda->parameters.count == HEADER_COUNT_MAX) syntax_error(x, name, "too many parameters");
  struct variable *variable = bind(x, scope, name);
  ARENA_PUSH(x->arena, lambda->parameters, variable);
}

static void bind_parameters(struct expander *x, struct lambda *lambda, struct scope *scope,
                            const struct syntax *parameters) {
  const struct syntax *rest = parameters;
  if (parameters->kind == SYNTAX_LIST) {
    for (unsigned i = 0; i < length_of(parameters); i++) {
      bind_parameter(x, lambda, scope, item(parameters, i));
    }
    rest = parameters->as.list.tail;
  }
  if (rest == NULL) return;
  lambda->has_rest = true;
  bind_parameter(x, lambda, scope, rest);
}

struct core *make_lambda(struct expander *x, struct syntax *form, const struct syntax *parameters,
                         unsigned first, const struct scope *outer) {
  struct lambda *lambda = ARENA_NEW(x->arena, struct lambda);
  lambda->name = NO_SYMBOL;
  lambda->line = form->line;
  struct scope *scope = new_scope(x, outer);
  bind_parameters(x, lambda, scope, parameters);
  lambda->body = expand_body(x, form, first, scope);
  struct core *c = new_core(x, CORE_LAMBDA, form);
  c->as.lambda = lambda;
  return c;
}

static struct core *expand_lambda(struct expander *x, struct syntax *form,
                                  const struct scope *scope) {
  check_form(x, form, 3);
  return make_lambda(x, form, item(form, 1), 2, scope);
}

/** As lambda; errors inside are shown where it was called. For procedures that no user wrote. */
static struct core *expand_library_lambda(struct expander *x, struct syntax *form,
                                          const struct scope *scope) {
  struct core *c = expand_lambda(x, form, scope);
  c->as.lambda->is_library = true;
  return c;
}

/* ---- quote, if, set!, begin ---- */

static struct core *expand_quote(struct expander *x, struct syntax *form,
                                 const struct scope *scope) {
  (void)scope;
  check_form(x, form, 2);
  if (length_of(form) != 2) syntax_error(x, form, "quote: malformed");
  return core_constant(x, item(form, 1));
}

static struct core *expand_if(struct expander *x, struct syntax *form, const struct scope *scope) {
  check_form(x, form, 3);
  if (length_of(form) > 4) syntax_error(x, form, "if: malformed");
  struct core *test = expand_expression(x, item(form, 1), scope);
  struct core *then = expand_expression(x, item(form, 2), scope);
  struct core *otherwise =
      length_of(form) == 4 ? expand_expression(x, item(form, 3), scope) : core_unspecified(x, form);
  return core_if(x, form, test, then, otherwise);
}

/** From here on the program's own definition counts, not the builtin or the keyword. */
static void redefine_global(struct expander *x, uint32_t symbol) {
  x->vm->symbols.info[symbol].integrable = NULL;
  x->vm->symbols.info[symbol].syntax = NULL;
}

static struct core *expand_set(struct expander *x, struct syntax *form, const struct scope *scope) {
  check_form(x, form, 3);
  const struct syntax *name = item(form, 1);
  if (length_of(form) != 3 || !is_identifier(name)) syntax_error(x, form, "set!: malformed");
  struct variable *variable = find_local(name, scope);
  if (variable == NULL) {
    if (find_keyword(x, name, scope) != NULL) syntax_error(x, form, "set!: assigns a keyword");
    redefine_global(x, name->as.identifier.symbol);
  }
  struct core *init = expand_expression(x, item(form, 2), scope);
  if (variable != NULL) return core_set(x, form, variable, init);
  struct core *c = new_core(x, CORE_SET_GLOBAL, form);
  c->as.set.global = name->as.identifier.symbol;
  c->as.set.value = init;
  return c;
}

static struct core *expand_begin(struct expander *x, struct syntax *form,
                                 const struct scope *scope) {
  check_form(x, form, 1);
  return expand_sequence(x, form, 1, scope);
}

static struct core *expand_logic(struct expander *x, struct syntax *form, enum core_kind kind,
                                 value empty, const struct scope *scope) {
  check_form(x, form, 1);
  if (length_of(form) == 1) {
    struct syntax *s = syntax_fixnum(x, form, 0);
    s->as.constant = empty;
    return core_constant(x, s);
  }
  if (length_of(form) == 2) return expand_expression(x, item(form, 1), scope);
  struct core *c = expand_sequence(x, form, 1, scope);
  c->kind = kind;
  return c;
}

static struct core *expand_and(struct expander *x, struct syntax *form, const struct scope *scope) {
  return expand_logic(x, form, CORE_AND, SCHEME_TRUE, scope);
}

static struct core *expand_or(struct expander *x, struct syntax *form, const struct scope *scope) {
  return expand_logic(x, form, CORE_OR, SCHEME_FALSE, scope);
}

/* ---- definitions ---- */

/** Splits a definition: name, and value or lambda. */
struct definition parse_definition(struct expander *x, struct syntax *form, struct syntax **name) {
  struct definition definition = {0};
  check_form(x, form, 2);
  struct syntax *target = item(form, 1);
  if (target->kind == SYNTAX_LIST && length_of(target) > 0) {
    check_form(x, form, 3);
    *name = item(target, 0);
    definition.procedure = form;
    definition.parameters = empty_list(x, target);
    append_items(x, definition.parameters, target, 1);
    definition.parameters->as.list.tail = target->as.list.tail;
  } else {
    if (length_of(form) != 3) syntax_error(x, form, "define: malformed");
    *name = target;
    definition.value = item(form, 2);
  }
  if (!is_identifier(*name)) syntax_error(x, form, "define: expected the name of a variable");
  return definition;
}

struct core *expand_definition_value(struct expander *x, const struct definition *definition,
                                     const struct scope *scope) {
  if (definition->value != NULL) return expand_expression(x, definition->value, scope);
  return make_lambda(x, definition->procedure, definition->parameters, 2, scope);
}

/* ---- the top level ---- */

static struct core *expand_top_level(struct expander *x, struct syntax *form);

static struct core *expand_top_level_sequence(struct expander *x, struct syntax *form,
                                              unsigned first) {
  struct core_list list = {0};
  if (++x->nesting > MAX_EXPANSION_NESTING) syntax_error(x, form, NESTED_TOO_DEEPLY);
  for (unsigned i = first; i < length_of(form); i++) {
    struct core *e = expand_top_level(x, item(form, i));
    ARENA_PUSH(x->arena, list, e);
  }
  x->nesting--;
  return sequence_of(x, form, &list);
}

static struct core *expand_global_definition(struct expander *x, struct syntax *form) {
  struct syntax *name;
  struct definition definition = parse_definition(x, form, &name);
  redefine_global(x, name->as.identifier.symbol);
  struct core *c = new_core(x, CORE_DEFINE_GLOBAL, form);
  c->as.set.global = name->as.identifier.symbol;
  c->as.set.value = expand_definition_value(x, &definition, NULL);
  name_lambda(c->as.set.value, c->as.set.global);
  return c;
}

static struct core *expand_top_level(struct expander *x, struct syntax *form) {
  const struct special_form *keyword = keyword_of(x, form, NULL);
  struct syntax *definitions;
  switch (keyword == NULL ? ROLE_EXPRESSION : keyword->role) {
  case ROLE_BEGIN:
    check_form(x, form, 1);
    return expand_top_level_sequence(x, form, 1);
  case ROLE_DEFINE:
    return expand_global_definition(x, form);
  case ROLE_DEFINE_RECORD:
    definitions = empty_list(x, form);
    expand_record_definition(x, form, definitions);
    return expand_top_level_sequence(x, definitions, 0);
  case ROLE_EXPRESSION:
    break;
  }
  return expand_expression(x, form, NULL);
}

struct lambda *expand(struct vm *vm, struct syntax *form, const char *file, struct arena *arena) {
  struct expander x = {.vm = vm, .arena = arena, .file = file};
  struct lambda *lambda = ARENA_NEW(arena, struct lambda);
  lambda->name = NO_SYMBOL;
  lambda->line = form->line;
  lambda->body = expand_top_level(&x, form);
  return lambda;
}

/* ---- the table of keywords ---- */

static const struct special_form basic_forms[] = {
    {"quote", ROLE_EXPRESSION, expand_quote},
    {"if", ROLE_EXPRESSION, expand_if},
    {"set!", ROLE_EXPRESSION, expand_set},
    {"lambda", ROLE_EXPRESSION, expand_lambda},
    {"%library-lambda", ROLE_EXPRESSION, expand_library_lambda},
    {"begin", ROLE_BEGIN, expand_begin},
    {"define", ROLE_DEFINE, NULL},
    {"define-record-type", ROLE_DEFINE_RECORD, NULL},
    {"let", ROLE_EXPRESSION, expand_let},
    {"let*", ROLE_EXPRESSION, expand_let_star},
    {"letrec", ROLE_EXPRESSION, expand_letrec},
    {"letrec*", ROLE_EXPRESSION, expand_letrec},
    {"and", ROLE_EXPRESSION, expand_and},
    {"or", ROLE_EXPRESSION, expand_or},
};

static void install(struct vm *vm, const struct special_form *forms, unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    uint32_t id = intern_c(vm, forms[i].name);
    vm->symbols.info[id].syntax = vm->symbols.info[id].core_syntax = &forms[i];
  }
}

void keywords_install(struct vm *vm) {
  install(vm, basic_forms, sizeof basic_forms / sizeof basic_forms[0]);
  install(vm, derived_forms, derived_form_count);
}
