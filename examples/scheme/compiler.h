/*
 * compiler.h: code on its way from the compiler to the assembler. All of it is native memory.
 */
#ifndef SCHEME_COMPILER_H
#define SCHEME_COMPILER_H

#include "core.h"

struct function;

/** What an instruction's value operand will be. */
enum operand_kind {
  OPERAND_VALUE,  /**< no heap object */
  OPERAND_SYMBOL, /**< by id */
  OPERAND_GLOBAL, /**< the value of a symbol, by id */
  OPERAND_DATUM,  /**< a quoted constant */
  OPERAND_CODE    /**< of an inner lambda */
};

struct emitted {
  enum operation op;
  uint32_t b;
  int32_t a;
  enum operand_kind kind;
  union {
    value value;
    uint32_t symbol;
    const struct syntax *datum;
    struct function *function;
  } k;
};

struct emitted_list {
  struct emitted *items;
  unsigned count, capacity;
};

struct line_list {
  struct line *items;
  unsigned count, capacity;
};

/** A lambda being compiled. */
struct function {
  struct vm *vm;
  struct arena *arena;
  const char *file;
  struct lambda *lambda;
  struct emitted_list code;
  struct line_list lines;
  struct variable_list captured; /**< in the order of the closure's slots */
  uint32_t line;                 /**< of the core being compiled */
  unsigned nesting;              /**< of the core being compiled, outer lambdas included */
  uint32_t label;                /**< last jump target: instructions before it stay as they are */
  int32_t depth, most_depth;     /**< stack words above fp */
};

/** Makes the code object of a function, and of those inside it. */
value assemble(struct function *f);

#endif
