/*
 * expander.h: what the files of the expander share: expander.c, body.c and derived.c.
 */
#ifndef SCHEME_EXPANDER_H
#define SCHEME_EXPANDER_H

#include "core.h"
#include <string.h>

/** Deeper programs are refused, before they overflow the stack of C. */
enum { MAX_EXPANSION_NESTING = 5000 };

struct expander {
  struct vm *vm;
  struct arena *arena;
  const char *file;
  unsigned nesting;
  uint32_t temporaries; /**< made so far */
};

struct binding {
  struct binding *next;
  struct variable *variable;
};

/** The local variables of one construct. */
struct scope {
  const struct scope *outer; /**< NULL: the global scope */
  struct binding *bindings;
};

/** The global scope as the language defines it, whatever the program has redefined. */
extern const struct scope core_scope;

/** How a keyword matters to the body that it stands in. */
enum form_role { ROLE_EXPRESSION, ROLE_BEGIN, ROLE_DEFINE, ROLE_DEFINE_RECORD };

struct special_form {
  const char *name;
  enum form_role role;
  /** Only for expressions. */
  struct core *(*expand)(struct expander *, struct syntax *form, const struct scope *);
};

extern const struct special_form derived_forms[];
extern const unsigned derived_form_count;

/* ---- errors and checks ---- */

NORETURN void syntax_error(struct expander *x, const struct syntax *where, const char *message);
/** The form must be a proper list with at least `least` items, the keyword counted. */
void check_form(struct expander *x, const struct syntax *form, unsigned least);

/* ---- names ---- */

const struct special_form *keyword_of(struct expander *x, const struct syntax *form,
                                      const struct scope *scope);
struct scope *new_scope(struct expander *x, const struct scope *outer);
struct variable *bind(struct expander *x, struct scope *scope, const struct syntax *name);
struct variable *new_variable(struct expander *x, uint32_t symbol);
/** Whether `s` is the literal `name` ("else"), not a local variable of that name. */
bool is_literal(struct expander *x, const struct syntax *s, const char *name,
                const struct scope *scope);

/* ---- making syntax ---- */

/** An identifier that means what `name` means in the core scope. */
struct syntax *core_identifier(struct expander *x, const struct syntax *where, const char *name);
/** An identifier that no program can write. */
struct syntax *temporary(struct expander *x, const struct syntax *where);
/** A list of the `count` items that follow. */
struct syntax *syntax_list(struct expander *x, const struct syntax *where, unsigned count, ...);
struct syntax *empty_list(struct expander *x, const struct syntax *where);
void append_item(struct expander *x, struct syntax *list, struct syntax *datum);
/** Appends the items of `from`, starting with the given one. */
void append_items(struct expander *x, struct syntax *list, const struct syntax *from,
                  unsigned first);
struct syntax *syntax_fixnum(struct expander *x, const struct syntax *where, int64_t n);

/* ---- making core ---- */

struct core *new_core(struct expander *x, enum core_kind kind, const struct syntax *where);
struct core *core_constant(struct expander *x, const struct syntax *datum);
struct core *core_unspecified(struct expander *x, const struct syntax *where);
struct core *core_if(struct expander *x, const struct syntax *where, struct core *test,
                     struct core *then, struct core *otherwise);
struct core *core_read(struct expander *x, const struct syntax *where, struct variable *variable);
/** A let of one variable. */
struct core *core_let(struct expander *x, const struct syntax *where, struct variable *variable,
                      struct core *init, struct core *body);
struct core *core_set(struct expander *x, const struct syntax *where, struct variable *variable,
                      struct core *init);
/** Adds a variable to a LET or FIX. */
void let_add(struct expander *x, struct core *let, struct variable *variable, struct core *init);
struct core *sequence_of(struct expander *x, const struct syntax *where,
                         const struct core_list *list);
/** Gives a lambda the name of the variable that it is the value of. */
void name_lambda(struct core *c, uint32_t symbol);
/** A lambda with these parameters; its body is the form's items from `first` on. */
struct core *make_lambda(struct expander *x, struct syntax *form, const struct syntax *parameters,
                         unsigned first, const struct scope *outer);
/** A call of a builtin under its core meaning. */
struct core *core_builtin(struct expander *x, const struct syntax *where, const char *name,
                          struct core *first, struct core *second);

/* ---- expansion ---- */

struct core *expand_expression(struct expander *x, struct syntax *form, const struct scope *scope);
/** The items of `form` from `first` on, as a sequence of expressions. */
struct core *expand_sequence(struct expander *x, struct syntax *form, unsigned first,
                             const struct scope *scope);
/** The same as a body, in which definitions may stand. */
struct core *expand_body(struct expander *x, struct syntax *form, unsigned first,
                         const struct scope *scope);
/** What a definition gives to its name. */
struct definition {
  struct syntax *value;      /**< NULL for (define (f . parameters) ...), which is described by */
  struct syntax *procedure;  /**< the whole form, and */
  struct syntax *parameters; /**< its parameters */
};

struct definition parse_definition(struct expander *x, struct syntax *form, struct syntax **name);
struct core *expand_definition_value(struct expander *x, const struct definition *definition,
                                     const struct scope *scope);
struct core *expand_let(struct expander *x, struct syntax *form, const struct scope *outer);
struct core *expand_let_star(struct expander *x, struct syntax *form, const struct scope *scope);
struct core *expand_letrec(struct expander *x, struct syntax *form, const struct scope *outer);
/** Appends the definitions that a define-record-type stands for. */
void expand_record_definition(struct expander *x, struct syntax *form, struct syntax *definitions);

#endif
