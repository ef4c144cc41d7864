/*
 * bytecode.h: the instructions of the virtual machine, and the builtins that become instructions.
 *
 * An instruction has an operation, operands `a` (32 bits) and `b` (16 bits), and `k`, a Scheme
 * value. The machine has an accumulator and the stack. "slot a" is fp[a]: locals from 0 up,
 * arguments below -3. Operations on two values find the first on the stack, which they pop, and the
 * second in the accumulator.
 */
#ifndef SCHEME_BYTECODE_H
#define SCHEME_BYTECODE_H

#include "vm.h"

/* clang-format off */
#define OPERATIONS(X) \
  /* values */ \
  X(CONSTANT)        /* acc = k */ \
  X(LOCAL)           /* acc = slot a */ \
  X(FREE)            /* acc = captured value a of the running closure */ \
  X(LOCAL_BOX)       /* acc = content of the box in slot a */ \
  X(FREE_BOX)        /* acc = content of the captured box a */ \
  X(GLOBAL)          /* acc = value of symbol k */ \
  X(PUSH)            /* push acc */ \
  X(CONSTANT_PUSH)   /* push k; the accumulator is lost, here and below */ \
  X(LOCAL_PUSH)      /* push slot a */ \
  X(FREE_PUSH)       /* push captured value a */ \
  X(CHECK)           /* error where acc is a local variable k before its initialisation */ \
  X(POP)             /* forget a stack words */ \
  /* assignment; acc = unspecified */ \
  X(SET_LOCAL_BOX)   /* box in slot a */ \
  X(SET_FREE_BOX)    /* captured box a */ \
  X(SET_GLOBAL)      /* symbol k, which must be defined */ \
  X(DEFINE_GLOBAL)   /* symbol k */ \
  /* closures */ \
  X(BOX)             /* slot a = new box holding slot a */ \
  X(CLOSURE)         /* acc = closure of code k with the top a words captured, which are popped */ \
  X(PATCH)           /* captured value b of the closure in slot a = acc */ \
  /* control: a is relative to the next instruction */ \
  X(JUMP) \
  X(JUMP_IF_FALSE) \
  X(JUMP_IF_TRUE) \
  X(LOOP)            /* move the top b words to slot k and up, drop the rest above, jump */ \
  X(CALL)            /* acc with b arguments; execution goes on at instruction a */ \
  X(CALL_GLOBAL)     /* the value of symbol k */ \
  X(TAIL_CALL)       /* acc with b arguments, in place of the running frame of a arguments */ \
  X(RETURN)          /* acc, from a frame of a arguments */ \
  X(HALT) \
  /* jumps that test first: to the target where the test fails */ \
  X(UNLESS_NULL)     /* acc */ \
  X(UNLESS_PAIR) \
  X(UNLESS_EQ)       /* two values */ \
  X(UNLESS_NUMBER_EQUAL) \
  X(UNLESS_LESS) \
  X(UNLESS_GREATER) \
  X(UNLESS_LESS_EQUAL) \
  X(UNLESS_GREATER_EQUAL) \
  /* builtins on acc */ \
  X(CAR) X(CDR) X(CAAR) X(CADR) X(CDAR) X(CDDR) X(NULL_P) X(PAIR_P) X(NOT) X(SYMBOL_P) \
  X(STRING_P) X(VECTOR_P) X(CHAR_P) X(PROCEDURE_P) X(EOF_P) X(ZERO_P) X(VECTOR_LENGTH) \
  X(ADD_CONSTANT)    /* acc + k, a fixnum */ \
  /* on two values */ \
  X(CONS) X(EQ_P) X(EQV_P) X(ADD) X(SUBTRACT) X(MULTIPLY) X(QUOTIENT) X(REMAINDER) X(MODULO) \
  X(NUMBER_EQUAL) X(LESS) X(GREATER) X(LESS_EQUAL) X(GREATER_EQUAL) \
  X(VECTOR_REF) X(STRING_REF) X(SET_CAR) X(SET_CDR) X(CHAR_EQUAL) X(RECORD_P) \
  /* on three */ \
  X(VECTOR_SET) X(RECORD_REF) \
  /* on four */ \
  X(RECORD_SET)

/* Builtins that the compiler turns into instructions: name, arguments, operation, and the fused test
   (or OP_COUNT). From the form on in which a program defines or assigns the name, calls of it are
   calls; code compiled before that, the library's included, keeps the builtin. */
#define INTEGRABLES(X) \
  X("car", 1, CAR, COUNT) X("cdr", 1, CDR, COUNT) X("caar", 1, CAAR, COUNT) \
  X("cadr", 1, CADR, COUNT) X("cdar", 1, CDAR, COUNT) X("cddr", 1, CDDR, COUNT) \
  X("null?", 1, NULL_P, UNLESS_NULL) X("pair?", 1, PAIR_P, UNLESS_PAIR) X("not", 1, NOT, COUNT) \
  X("symbol?", 1, SYMBOL_P, COUNT) X("string?", 1, STRING_P, COUNT) \
  X("vector?", 1, VECTOR_P, COUNT) X("char?", 1, CHAR_P, COUNT) \
  X("procedure?", 1, PROCEDURE_P, COUNT) X("eof-object?", 1, EOF_P, COUNT) \
  X("zero?", 1, ZERO_P, COUNT) X("vector-length", 1, VECTOR_LENGTH, COUNT) \
  X("cons", 2, CONS, COUNT) X("eq?", 2, EQ_P, UNLESS_EQ) X("eqv?", 2, EQV_P, COUNT) \
  X("+", 2, ADD, COUNT) X("-", 2, SUBTRACT, COUNT) X("*", 2, MULTIPLY, COUNT) \
  X("quotient", 2, QUOTIENT, COUNT) X("remainder", 2, REMAINDER, COUNT) \
  X("modulo", 2, MODULO, COUNT) X("=", 2, NUMBER_EQUAL, UNLESS_NUMBER_EQUAL) \
  X("<", 2, LESS, UNLESS_LESS) X(">", 2, GREATER, UNLESS_GREATER) \
  X("<=", 2, LESS_EQUAL, UNLESS_LESS_EQUAL) X(">=", 2, GREATER_EQUAL, UNLESS_GREATER_EQUAL) \
  X("vector-ref", 2, VECTOR_REF, COUNT) X("string-ref", 2, STRING_REF, COUNT) \
  X("set-car!", 2, SET_CAR, COUNT) X("set-cdr!", 2, SET_CDR, COUNT) \
  X("char=?", 2, CHAR_EQUAL, COUNT) X("%record?", 2, RECORD_P, COUNT) \
  X("vector-set!", 3, VECTOR_SET, COUNT) X("%record-ref", 3, RECORD_REF, COUNT) \
  X("%record-set!", 4, RECORD_SET, COUNT)
/* clang-format on */

enum operation {
#define X(name) OP_##name,
  OPERATIONS(X)
#undef X
      OP_COUNT
};

struct integrable {
  const char *name;
  unsigned arguments;
  enum operation operation;
  enum operation test; /**< OP_COUNT: none */
};

/** Enters the names into the symbol table. */
void integrables_install(struct vm *vm);

#endif
