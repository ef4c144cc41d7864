/*
 * derived.c: the forms that are built from the basic ones.
 *
 * Where a form becomes syntax, what it inserts is a core identifier or a temporary, so a program
 * that redefines `list` or calls a variable `if` changes nothing here.
 */
#include "expander.h"

/* ---- when, unless ---- */

static struct core *expand_when(struct expander *x, struct syntax *form,
                                const struct scope *scope) {
  check_form(x, form, 2);
  struct core *test = expand_expression(x, item(form, 1), scope);
  return core_if(x, form, test, expand_sequence(x, form, 2, scope), core_unspecified(x, form));
}

static struct core *expand_unless(struct expander *x, struct syntax *form,
                                  const struct scope *scope) {
  check_form(x, form, 2);
  struct core *test = expand_expression(x, item(form, 1), scope);
  return core_if(x, form, test, core_unspecified(x, form), expand_sequence(x, form, 2, scope));
}

/* ---- cond, case ---- */

/** (let ((t test)) (if t (receiver t) otherwise)) */
static struct core *arrow_clause(struct expander *x, struct syntax *clause,
                                 const struct scope *scope, struct core *otherwise) {
  struct core *test = expand_expression(x, item(clause, 0), scope);
  struct variable *variable = new_variable(x, temporary(x, clause)->as.identifier.symbol);
  struct core *call = new_core(x, CORE_CALL, clause);
  call->as.call.callee = expand_expression(x, item(clause, 2), scope);
  struct core *argument = core_read(x, clause, variable);
  ARENA_PUSH(x->arena, call->as.call.arguments, argument);
  return core_let(x, clause, variable, test,
                  core_if(x, clause, core_read(x, clause, variable), call, otherwise));
}

/** (test) alone: its value, where it is true. */
static struct core *test_clause(struct expander *x, struct syntax *clause,
                                const struct scope *scope, struct core *otherwise) {
  struct core *either = new_core(x, CORE_OR, clause);
  struct core *test = expand_expression(x, item(clause, 0), scope);
  ARENA_PUSH(x->arena, either->as.sequence, test);
  ARENA_PUSH(x->arena, either->as.sequence, otherwise);
  return either;
}

/** The clauses of `form` from `first` on, joined from the last to the first. */
static struct core *expand_clauses(struct expander *x, struct syntax *form, unsigned first,
                                   const struct scope *scope) {
  struct core *result = core_unspecified(x, form);
  for (unsigned i = length_of(form); i-- > first;) {
    struct syntax *clause = item(form, i);
    if (!is_list(clause) || length_of(clause) == 0) syntax_error(x, clause, "malformed clause");
    if (is_literal(x, item(clause, 0), "else", scope)) {
      if (i + 1 != length_of(form)) syntax_error(x, clause, "else is not the last clause");
      result = expand_sequence(x, clause, 1, scope);
    } else if (length_of(clause) == 1) {
      result = test_clause(x, clause, scope, result);
    } else if (length_of(clause) == 3 && is_literal(x, item(clause, 1), "=>", scope)) {
      result = arrow_clause(x, clause, scope, result);
    } else {
      struct core *test = expand_expression(x, item(clause, 0), scope);
      result = core_if(x, clause, test, expand_sequence(x, clause, 1, scope), result);
    }
  }
  return result;
}

static struct core *expand_cond(struct expander *x, struct syntax *form,
                                const struct scope *scope) {
  check_form(x, form, 2);
  return expand_clauses(x, form, 1, scope);
}

/** Whether `key` is one of the data of a case clause. */
static struct core *case_test(struct expander *x, struct syntax *clause, struct variable *key) {
  struct syntax *data = item(clause, 0);
  if (!is_list(data) || length_of(data) == 0) syntax_error(x, clause, "case: malformed clause");
  struct core *any = new_core(x, CORE_OR, clause);
  for (unsigned i = 0; i < length_of(data); i++) {
    bool identity = item(data, i)->kind != SYNTAX_FLONUM;
    struct core *test = core_builtin(x, clause, identity ? "eq?" : "eqv?",
                                     core_read(x, clause, key), core_constant(x, item(data, i)));
    ARENA_PUSH(x->arena, any->as.sequence, test);
  }
  return any->as.sequence.count == 1 ? any->as.sequence.items[0] : any;
}

static struct core *expand_case(struct expander *x, struct syntax *form,
                                const struct scope *scope) {
  check_form(x, form, 3);
  struct core *init = expand_expression(x, item(form, 1), scope);
  struct variable *key = new_variable(x, temporary(x, form)->as.identifier.symbol);
  struct core *result = core_unspecified(x, form);
  for (unsigned i = length_of(form); i-- > 2;) {
    struct syntax *clause = item(form, i);
    if (!is_list(clause) || length_of(clause) < 2) syntax_error(x, clause, "malformed clause");
    bool is_else = is_literal(x, item(clause, 0), "else", scope);
    if (is_else && i + 1 != length_of(form)) syntax_error(x, clause, "else is not the last clause");
    struct core *body;
    if (length_of(clause) == 3 && is_literal(x, item(clause, 1), "=>", scope)) {
      body = new_core(x, CORE_CALL, clause);
      body->as.call.callee = expand_expression(x, item(clause, 2), scope);
      struct core *argument = core_read(x, clause, key);
      ARENA_PUSH(x->arena, body->as.call.arguments, argument);
    } else {
      body = expand_sequence(x, clause, 1, scope);
    }
    result = is_else ? body : core_if(x, clause, case_test(x, clause, key), body, result);
  }
  return core_let(x, form, key, init, result);
}

/* ---- do ---- */

/** (do ((v init step) ...) (test result ...) command ...) is a named let. */
static struct core *expand_do(struct expander *x, struct syntax *form, const struct scope *scope) {
  check_form(x, form, 3);
  struct syntax *specs = item(form, 1), *end = item(form, 2);
  if (!is_list(specs)) syntax_error(x, form, "do: malformed");
  if (!is_list(end) || length_of(end) == 0) syntax_error(x, form, "do: malformed");
  struct syntax *loop = temporary(x, form);
  struct syntax *bindings = empty_list(x, form), *again = syntax_list(x, form, 1, loop);
  for (unsigned i = 0; i < length_of(specs); i++) {
    struct syntax *spec = item(specs, i);
    if (!is_list(spec) || length_of(spec) < 2 || length_of(spec) > 3) {
      syntax_error(x, spec, "do: malformed variable");
    }
    append_item(x, bindings, syntax_list(x, spec, 2, item(spec, 0), item(spec, 1)));
    append_item(x, again, item(spec, length_of(spec) == 3 ? 2 : 0));
  }
  struct syntax *commands = syntax_list(x, form, 1, core_identifier(x, form, "begin"));
  append_items(x, commands, form, 3);
  append_item(x, commands, again);
  struct syntax *result = syntax_list(x, end, 1, core_identifier(x, end, "begin"));
  append_items(x, result, end, 1);
  struct syntax *test =
      syntax_list(x, form, 4, core_identifier(x, form, "if"), item(end, 0), result, commands);
  return expand_expression(
      x, syntax_list(x, form, 4, core_identifier(x, form, "let"), loop, bindings, test), scope);
}

/* ---- quasiquote ---- */

static struct core *quasi(struct expander *x, struct syntax *datum, unsigned level,
                          const struct scope *scope);

/** (name datum)? */
static bool is_tagged(struct expander *x, const struct syntax *s, const char *name) {
  return is_list(s) && length_of(s) == 2 && is_identifier(item(s, 0)) &&
         item(s, 0)->as.identifier.symbol == intern_c(x->vm, name);
}

/** Whether a template has nothing to be computed in it: then it is a constant. */
static bool is_plain(struct expander *x, const struct syntax *s) {
  if (s->kind != SYNTAX_LIST && s->kind != SYNTAX_VECTOR) return true;
  for (unsigned i = 0; i < length_of(s); i++) {
    const struct syntax *datum = item(s, i);
    if (is_identifier(datum) &&
        (datum->as.identifier.symbol == intern_c(x->vm, "unquote") ||
         datum->as.identifier.symbol == intern_c(x->vm, "unquote-splicing"))) {
      return false;
    }
    if (!is_plain(x, datum)) return false;
  }
  return s->kind == SYNTAX_VECTOR || s->as.list.tail == NULL || is_plain(x, s->as.list.tail);
}

/** The items of a list or vector, consed up from the last. */
static struct core *quasi_items(struct expander *x, struct syntax *datum, unsigned level,
                                const struct scope *scope) {
  unsigned count = length_of(datum);
  struct core *result;
  struct syntax *tail = datum->kind == SYNTAX_LIST ? datum->as.list.tail : NULL;
  /* (a . ,b) reads as (a unquote b). */
  if (datum->kind == SYNTAX_LIST && count > 2 && is_identifier(item(datum, count - 2)) &&
      item(datum, count - 2)->as.identifier.symbol == intern_c(x->vm, "unquote")) {
    tail = syntax_list(x, datum, 2, item(datum, count - 2), item(datum, count - 1));
    count -= 2;
  }
  result = tail == NULL ? core_constant(x, empty_list(x, datum)) : quasi(x, tail, level, scope);
  while (count-- > 0) {
    struct syntax *element = item(datum, count);
    if (level == 1 && is_tagged(x, element, "unquote-splicing")) {
      struct core *spliced = expand_expression(x, item(element, 1), scope);
      result = core_builtin(x, element, "%append", spliced, result);
    } else {
      result = core_builtin(x, element, "cons", quasi(x, element, level, scope), result);
    }
  }
  return result;
}

static struct core *quasi(struct expander *x, struct syntax *datum, unsigned level,
                          const struct scope *scope) {
  if (is_plain(x, datum)) return core_constant(x, datum);
  if (datum->kind == SYNTAX_VECTOR) {
    return core_builtin(x, datum, "%list->vector", quasi_items(x, datum, level, scope), NULL);
  }
  if (is_tagged(x, datum, "unquote")) {
    if (level == 1) return expand_expression(x, item(datum, 1), scope);
    return quasi_items(x, datum, level - 1, scope);
  }
  if (is_tagged(x, datum, "unquote-splicing")) {
    if (level == 1) syntax_error(x, datum, "unquote-splicing outside a list");
    return quasi_items(x, datum, level - 1, scope);
  }
  if (is_tagged(x, datum, "quasiquote")) return quasi_items(x, datum, level + 1, scope);
  return quasi_items(x, datum, level, scope);
}

static struct core *expand_quasiquote(struct expander *x, struct syntax *form,
                                      const struct scope *scope) {
  check_form(x, form, 2);
  return quasi(x, item(form, 1), 1, scope);
}

static struct core *expand_unquote(struct expander *x, struct syntax *form,
                                   const struct scope *scope) {
  (void)scope;
  syntax_error(x, form, "unquote outside a quasiquote");
}

/* ---- several values ---- */

/** A copy of a parameter list in which every name is a temporary; the pairs (name temporary) are
    appended to `renamings`. */
static struct syntax *rename_parameters(struct expander *x, struct syntax *parameters,
                                        struct syntax *renamings) {
  if (is_identifier(parameters)) {
    struct syntax *fresh = temporary(x, parameters);
    append_item(x, renamings, syntax_list(x, parameters, 2, parameters, fresh));
    return fresh;
  }
  if (parameters->kind != SYNTAX_LIST) syntax_error(x, parameters, "malformed variables");
  struct syntax *copy = empty_list(x, parameters);
  for (unsigned i = 0; i < length_of(parameters); i++) {
    if (!is_identifier(item(parameters, i))) syntax_error(x, parameters, "malformed variables");
    append_item(x, copy, rename_parameters(x, item(parameters, i), renamings));
  }
  if (parameters->as.list.tail != NULL) {
    copy->as.list.tail = rename_parameters(x, parameters->as.list.tail, renamings);
  }
  return copy;
}

/** (call-with-values (lambda () producer) (lambda parameters body)) */
static struct syntax *receive(struct expander *x, struct syntax *parameters,
                              struct syntax *producer, struct syntax *body) {
  struct syntax *thunk = syntax_list(x, producer, 3, core_identifier(x, producer, "lambda"),
                                     empty_list(x, producer), producer);
  struct syntax *consumer =
      syntax_list(x, producer, 3, core_identifier(x, producer, "lambda"), parameters, body);
  return syntax_list(x, producer, 3, core_identifier(x, producer, "%call-with-values"), thunk,
                     consumer);
}

/** From the inside out; with `star` each expression sees the variables before it. */
static struct core *expand_values_binding(struct expander *x, struct syntax *form, bool star,
                                          const struct scope *scope) {
  check_form(x, form, 3);
  struct syntax *bindings = item(form, 1);
  if (!is_list(bindings)) syntax_error(x, form, "malformed bindings");
  struct syntax *renamings = empty_list(x, form);
  struct syntax *body = syntax_list(x, form, 2, core_identifier(x, form, "let"), renamings);
  append_items(x, body, form, 2);
  for (unsigned i = length_of(bindings); i-- > 0;) {
    struct syntax *binding = item(bindings, i);
    if (!is_list(binding) || length_of(binding) != 2) {
      syntax_error(x, binding, "malformed binding");
    }
    struct syntax *parameters = item(binding, 0);
    if (!star) parameters = rename_parameters(x, parameters, renamings);
    body = receive(x, parameters, item(binding, 1), body);
  }
  return expand_expression(x, body, scope);
}

static struct core *expand_let_values(struct expander *x, struct syntax *form,
                                      const struct scope *scope) {
  return expand_values_binding(x, form, false, scope);
}

static struct core *expand_let_star_values(struct expander *x, struct syntax *form,
                                           const struct scope *scope) {
  return expand_values_binding(x, form, true, scope);
}

/* ---- guard ---- */

/** (guard (e clause ...) body ...): the library's %guard gets the body and the clauses as
    procedures; the second argument of the latter raises the object again. */
static struct core *expand_guard(struct expander *x, struct syntax *form,
                                 const struct scope *scope) {
  check_form(x, form, 3);
  struct syntax *spec = item(form, 1);
  if (!is_list(spec) || length_of(spec) == 0) syntax_error(x, form, "guard: malformed");
  struct syntax *body =
      syntax_list(x, form, 2, core_identifier(x, form, "lambda"), empty_list(x, form));
  append_items(x, body, form, 2);
  struct syntax *again = temporary(x, form);
  struct syntax *clauses = syntax_list(x, form, 1, core_identifier(x, form, "cond"));
  append_items(x, clauses, spec, 1);
  struct syntax *last = item(spec, length_of(spec) - 1);
  if (length_of(spec) == 1 || !is_list(last) || length_of(last) == 0 ||
      !is_literal(x, item(last, 0), "else", scope)) {
    append_item(
        x, clauses,
        syntax_list(x, form, 2, core_identifier(x, form, "else"), syntax_list(x, form, 1, again)));
  }
  struct syntax *handler = syntax_list(x, form, 3, core_identifier(x, form, "lambda"),
                                       syntax_list(x, form, 2, item(spec, 0), again), clauses);
  return expand_expression(
      x, syntax_list(x, form, 3, core_identifier(x, form, "%guard"), body, handler), scope);
}

/* ---- define-record-type ---- */

static struct syntax *quoted(struct expander *x, struct syntax *datum) {
  return syntax_list(x, datum, 2, core_identifier(x, datum, "quote"), datum);
}

static void define(struct expander *x, struct syntax *definitions, struct syntax *name,
                   struct syntax *init) {
  append_item(x, definitions,
              syntax_list(x, name, 3, core_identifier(x, name, "define"), name, init));
}

static struct syntax *library_lambda(struct expander *x, struct syntax *parameters,
                                     struct syntax *body) {
  return syntax_list(x, body, 3, core_identifier(x, body, "%library-lambda"), parameters, body);
}

static struct syntax *field_name(struct expander *x, struct syntax *form, unsigned i) {
  struct syntax *field = item(form, i + 4);
  return is_identifier(field) ? field
         : is_list(field) && length_of(field) >= 1 && length_of(field) <= 3 &&
                 is_identifier(item(field, 0))
             ? item(field, 0)
             : (syntax_error(x, form, "define-record-type: malformed field"), NULL);
}

/** (define constructor (lambda (f ...) (%record type f-or-unspecified ...))) */
static void define_constructor(struct expander *x, struct syntax *form, struct syntax *type,
                               struct syntax *definitions) {
  struct syntax *constructor = item(form, 2);
  unsigned fields = length_of(form) - 4;
  if (constructor->kind == SYNTAX_CONSTANT) return; /* #f: none */
  struct syntax *parameters = empty_list(x, form), *name = constructor;
  struct syntax *body = syntax_list(x, form, 2, core_identifier(x, form, "%record"), type);
  if (!is_identifier(constructor)) {
    if (!is_list(constructor) || length_of(constructor) == 0) {
      syntax_error(x, form, "define-record-type: malformed constructor");
    }
    name = item(constructor, 0);
    for (unsigned i = 1; i < length_of(constructor); i++) {
      append_item(x, parameters, temporary(x, form));
    }
  }
  unsigned used = 0;
  for (unsigned i = 0; i < fields; i++) {
    struct syntax *init = is_identifier(constructor) ? temporary(x, form) : NULL;
    if (init != NULL) append_item(x, parameters, init);
    for (unsigned j = 1; init == NULL && j < length_of(constructor); j++) {
      struct syntax *parameter = item(constructor, j);
      if (is_identifier(parameter) &&
          parameter->as.identifier.symbol == field_name(x, form, i)->as.identifier.symbol) {
        init = item(parameters, j - 1);
        used++;
      }
    }
    append_item(x, body, init != NULL ? init : syntax_fixnum(x, form, 0));
    if (init == NULL) item(body, length_of(body) - 1)->as.constant = SCHEME_UNSPECIFIED;
  }
  if (!is_identifier(constructor) && used != length_of(constructor) - 1) {
    syntax_error(x, form, "define-record-type: the constructor names an unknown field");
  }
  define(x, definitions, name, library_lambda(x, parameters, body));
}

/** Accessor and modifier of field `i`. */
static void define_field(struct expander *x, struct syntax *form, unsigned i, struct syntax *type,
                         struct syntax *definitions) {
  struct syntax *field = item(form, i + 4);
  if (is_identifier(field)) return;
  struct syntax *record = temporary(x, form), *index = syntax_fixnum(x, form, i);
  if (length_of(field) > 1) {
    struct syntax *body =
        syntax_list(x, form, 4, core_identifier(x, form, "%record-ref"), record, type, index);
    define(x, definitions, item(field, 1),
           library_lambda(x, syntax_list(x, form, 1, record), body));
  }
  if (length_of(field) > 2) {
    struct syntax *content = temporary(x, form);
    struct syntax *body = syntax_list(x, form, 5, core_identifier(x, form, "%record-set!"), record,
                                      type, index, content);
    define(x, definitions, item(field, 2),
           library_lambda(x, syntax_list(x, form, 2, record, content), body));
  }
}

void expand_record_definition(struct expander *x, struct syntax *form, struct syntax *definitions) {
  check_form(x, form, 4);
  struct syntax *type = item(form, 1), *fields = empty_list(x, form);
  if (!is_identifier(type)) syntax_error(x, form, "define-record-type: malformed name");
  for (unsigned i = 0; i + 4 < length_of(form); i++)
    append_item(x, fields, field_name(x, form, i));
  define(x, definitions, type,
         syntax_list(x, form, 3, core_identifier(x, form, "%make-record-type"), quoted(x, type),
                     quoted(x, fields)));
  define_constructor(x, form, type, definitions);
  if (is_identifier(item(form, 3))) {
    struct syntax *any = temporary(x, form);
    struct syntax *body = syntax_list(x, form, 3, core_identifier(x, form, "%record?"), any, type);
    define(x, definitions, item(form, 3), library_lambda(x, syntax_list(x, form, 1, any), body));
  }
  for (unsigned i = 0; i + 4 < length_of(form); i++)
    define_field(x, form, i, type, definitions);
}

/* ---- what is not there ---- */

static struct core *expand_unsupported(struct expander *x, struct syntax *form,
                                       const struct scope *scope) {
  (void)scope;
  char name[64];
  symbol_name(symbol_by_id(x->vm, item(form, 0)->as.identifier.symbol), name, sizeof name);
  source_error(x->vm, x->file, form->line, "%s is not supported", name);
}

/* ---- the table ---- */

const struct special_form derived_forms[] = {
    {"when", ROLE_EXPRESSION, expand_when},
    {"unless", ROLE_EXPRESSION, expand_unless},
    {"cond", ROLE_EXPRESSION, expand_cond},
    {"case", ROLE_EXPRESSION, expand_case},
    {"do", ROLE_EXPRESSION, expand_do},
    {"quasiquote", ROLE_EXPRESSION, expand_quasiquote},
    {"unquote", ROLE_EXPRESSION, expand_unquote},
    {"unquote-splicing", ROLE_EXPRESSION, expand_unquote},
    {"let-values", ROLE_EXPRESSION, expand_let_values},
    {"let*-values", ROLE_EXPRESSION, expand_let_star_values},
    {"guard", ROLE_EXPRESSION, expand_guard},
    {"delay", ROLE_EXPRESSION, expand_unsupported},
    {"delay-force", ROLE_EXPRESSION, expand_unsupported},
    {"case-lambda", ROLE_EXPRESSION, expand_unsupported},
    {"define-values", ROLE_EXPRESSION, expand_unsupported},
    {"define-syntax", ROLE_EXPRESSION, expand_unsupported},
    {"let-syntax", ROLE_EXPRESSION, expand_unsupported},
    {"letrec-syntax", ROLE_EXPRESSION, expand_unsupported},
    {"parameterize", ROLE_EXPRESSION, expand_unsupported},
};

const unsigned derived_form_count = sizeof derived_forms / sizeof derived_forms[0];
