/*
 * core.h: the small language between expander and compiler.
 *
 * A dozen forms, with every name resolved: a local variable is a pointer, a global one a symbol id.
 * The expander makes them; the analysis turns some calls of local procedures into loops; the
 * compiler emits code.
 */
#ifndef SCHEME_CORE_H
#define SCHEME_CORE_H

#include "bytecode.h"
#include "syntax.h"

struct core;
struct lambda;

struct variable {
  uint32_t symbol;
  uint32_t references;  /**< how often it is read */
  bool assigned;        /**< by set! or letrec: lives in a box, which all copies of a frame share */
  bool checked;         /**< may be read before its initialisation: every read is checked */
  struct lambda *owner; /**< in whose frame it lies. Set by the analysis */
  int32_t slot;         /**< set by the compiler */
};

enum core_kind {
  CORE_CONSTANT,
  CORE_UNBOUND, /**< what a checked variable holds at first */
  CORE_LOCAL,
  CORE_GLOBAL,
  CORE_SET_LOCAL,
  CORE_SET_GLOBAL,
  CORE_DEFINE_GLOBAL,
  CORE_IF,
  CORE_AND,
  CORE_OR,
  CORE_SEQUENCE,
  CORE_LAMBDA,
  CORE_CALL,
  CORE_INTEGRATED, /**< a call of a builtin that becomes an instruction */
  CORE_LET,
  CORE_FIX,  /**< letrec whose values are all lambdas and whose variables are never assigned */
  CORE_LOOP, /**< let to which CORE_CONTINUE, in tail position in the body, jumps back */
  CORE_CONTINUE
};

struct core_list {
  struct core **items;
  unsigned count, capacity;
};

struct variable_list {
  struct variable **items;
  unsigned count, capacity;
};

struct core {
  enum core_kind kind;
  uint32_t line;
  union {
    const struct syntax *constant; /**< NULL: the unspecified value */
    struct variable *local;
    uint32_t global;
    struct {
      struct variable *local;
      uint32_t global;
      struct core *value;
    } set;
    struct {
      struct core *test, *then, *otherwise;
    } branch;
    struct core_list sequence; /**< AND, OR, SEQUENCE */
    struct lambda *lambda;
    struct {
      struct core *callee;                 /**< CALL */
      const struct integrable *integrable; /**< INTEGRATED */
      struct core *loop;                   /**< CONTINUE */
      struct core_list arguments;
    } call;
    struct {
      struct variable_list variables;
      struct core_list values;
      struct core *body;
      int32_t depth; /**< LOOP: set by the compiler: stack words below the variables, */
      uint32_t head; /**< and the first instruction of the body */
    } let;           /**< LET, FIX, LOOP */
  } as;
};

#define NO_SYMBOL UINT32_MAX

/** Analysis and compiler refuse deeper trees, before they overflow the stack of C. A form of little
    nesting can expand to one: each item of a quasiquote lies one level below the item before it. */
enum { MAX_CORE_NESTING = 6000 };
#define NESTED_TOO_DEEPLY "program nested too deeply"

struct lambda {
  uint32_t name; /**< symbol id or NO_SYMBOL */
  uint32_t line;
  struct variable_list parameters; /**< the rest parameter is the last */
  bool has_rest;
  bool is_library; /**< errors in it are shown at its caller */
  struct core *body;
};

/** Errors go to source_error(). The whole form becomes a lambda without parameters. */
struct lambda *expand(struct vm *vm, struct syntax *form, const char *file, struct arena *arena);
void keywords_install(struct vm *vm);
/** Finds loops, and where variables live. */
void analyse(struct vm *vm, struct lambda *lambda, const char *file);
/** Compiles to a code object. */
value compile(struct vm *vm, struct lambda *lambda, const char *file, struct arena *arena);

#endif
