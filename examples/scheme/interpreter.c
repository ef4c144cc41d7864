/*
 * interpreter.c: the virtual machine's loop.
 *
 * The machine's registers are C variables here: acc, sp, fp and pc. Before anything that can
 * allocate, raise an error or look at the stack, SAVE() writes them to the VM; afterwards the code
 * object may have moved, and LOAD_PC() finds the next instruction again. Code that takes the inline
 * allocation path needs neither.
 *
 * Dispatch is a computed goto, one indirect jump per instruction; that is the only thing here that
 * isn't C11.
 */
#include "builtins.h"
#include "bytecode.h"
#include "numbers.h"

static inline const struct code *running_code(const value *fp) {
  return code_of(closure_of(fp[-FRAME_LINK_WORDS])->code);
}

NORETURN static void raise_index(struct vm *vm, const char *who, const char *what, bool right_type,
                                 value object, value index) {
  if (!right_type) raise_type(vm, who, what, object);
  if (!is_fixnum(index)) raise_type(vm, who, "index", index);
  char message[64];
  snprintf(message, sizeof message, "%s: index out of range", who);
  raise_error_with(vm, message, index);
}

/** A record operation that met something else: the accessor is the running procedure. */
NORETURN static void raise_record(struct vm *vm, const value *fp, value type, value got) {
  char who[64] = "record accessor", what[64] = "record";
  value name = running_code(fp)->name;
  if (is_symbol(name)) symbol_name(name, who, sizeof who);
  if (is_record_type(type)) symbol_name(record_type_of(type)->name, what, sizeof what);
  raise_type(vm, who, what, got);
}

NORETURN static void raise_unbound(struct vm *vm, value symbol) {
  raise_error_with(vm, "unbound variable:", symbol);
}

#define SAVE()                                                                                     \
  (vm->sp = (tsr_slot *)(void *)sp, vm->fp = (tsr_slot *)(void *)fp,                               \
   vm->pc = pc - running_code(fp)->instructions)
#define LOAD_PC()   (pc = running_code(fp)->instructions + vm->pc)
#define LOAD()      (sp = (value *)(void *)vm->sp, fp = (value *)(void *)vm->fp, LOAD_PC())

#define NEXT()      __extension__({ goto *labels[pc++->op]; })
#define I           (pc[-1])

#define FAIL(raise) (SAVE(), raise)
#define EXPECT(test, who, what, v)                                                                 \
  if (TSR_UNLIKELY(!(test))) FAIL(raise_type(vm, who, what, v))

/* One instruction of each common shape. */
#define PREDICATE(op, test)                                                                        \
  op_##op : acc = boolean(test);                                                                   \
  NEXT();
#define ACCESS(op, who, expression)                                                                \
  op_##op : EXPECT(is_pair(acc), who, "pair", acc);                                                \
  acc = (expression);                                                                              \
  NEXT();
#define ACCESS_TWICE(op, who, first, second)                                                       \
  op_##op : EXPECT(is_pair(acc) && is_pair(first(acc)), who, "list of that shape", acc);           \
  acc = second(first(acc));                                                                        \
  NEXT();
#define ARITHMETIC(op, builtin_overflow, left, slow)                                               \
  op_##op : {                                                                                      \
    int64_t result;                                                                                \
    if (TSR_LIKELY(both_fixnums(sp[-1], acc)) &&                                                   \
        TSR_LIKELY(!builtin_overflow(left, (int64_t)acc, &result))) {                              \
      acc = (value)result;                                                                         \
    } else {                                                                                       \
      SAVE();                                                                                      \
      acc = slow(vm, sp[-1], acc);                                                                 \
      LOAD_PC();                                                                                   \
    }                                                                                              \
    sp--;                                                                                          \
    NEXT();                                                                                        \
  }
#define DIVISION(op, expression, slow)                                                             \
  op_##op : {                                                                                      \
    if (TSR_LIKELY(both_fixnums(sp[-1], acc)) && TSR_LIKELY((int64_t)acc > 0)) {                   \
      int64_t n = fixnum_value(sp[-1]), d = fixnum_value(acc);                                     \
      acc = fixnum(expression);                                                                    \
    } else {                                                                                       \
      SAVE();                                                                                      \
      acc = slow(vm, sp[-1], acc);                                                                 \
      LOAD_PC();                                                                                   \
    }                                                                                              \
    sp--;                                                                                          \
    NEXT();                                                                                        \
  }
#define COMPARISON(op, who, operator, slow_test)                                                   \
  op_##op : {                                                                                      \
    if (TSR_LIKELY(both_fixnums(sp[-1], acc))) {                                                   \
      acc = boolean((int64_t)sp[-1] operator(int64_t) acc);                                        \
    } else {                                                                                       \
      SAVE();                                                                                      \
      enum order order = number_compare(vm, who, sp[-1], acc);                                     \
      acc = boolean(slow_test);                                                                    \
    }                                                                                              \
    sp--;                                                                                          \
    NEXT();                                                                                        \
  }                                                                                                \
  op_UNLESS_##op : {                                                                               \
    bool holds;                                                                                    \
    if (TSR_LIKELY(both_fixnums(sp[-1], acc))) {                                                   \
      holds = (int64_t)sp[-1] operator(int64_t) acc;                                               \
    } else {                                                                                       \
      SAVE();                                                                                      \
      enum order order = number_compare(vm, who, sp[-1], acc);                                     \
      holds = (slow_test);                                                                         \
    }                                                                                              \
    sp--;                                                                                          \
    if (!holds) pc += I.a;                                                                         \
    NEXT();                                                                                        \
  }

value interpret(struct vm *vm, uint32_t argc) {
  static const void *const labels[] = {
#define X(name) __extension__ &&op_##name,
      OPERATIONS(X)
#undef X
  };
  value *sp, *fp, acc = vm->registers[REGISTER_ACC], return_pc;
  const struct instruction *pc;
  const struct code *code;
  LOAD();
  goto call_slow;

  /* ---- values ---- */

op_CONSTANT:
  acc = I.k;
  NEXT();
op_LOCAL:
  acc = fp[I.a];
  NEXT();
op_FREE:
  acc = closure_of(fp[-FRAME_LINK_WORDS])->captured[I.a];
  NEXT();
op_LOCAL_BOX:
  acc = box_of(fp[I.a])->content;
  NEXT();
op_FREE_BOX:
  acc = box_of(closure_of(fp[-FRAME_LINK_WORDS])->captured[I.a])->content;
  NEXT();
op_GLOBAL:
  acc = symbol_of(I.k)->value;
  if (TSR_UNLIKELY(acc == SCHEME_UNBOUND)) FAIL(raise_unbound(vm, I.k));
  NEXT();
op_PUSH:
  *sp++ = acc;
  NEXT();
op_CONSTANT_PUSH:
  *sp++ = I.k;
  NEXT();
op_LOCAL_PUSH:
  *sp++ = fp[I.a];
  NEXT();
op_FREE_PUSH:
  *sp++ = closure_of(fp[-FRAME_LINK_WORDS])->captured[I.a];
  NEXT();
op_CHECK:
  if (TSR_UNLIKELY(acc == SCHEME_UNBOUND)) {
    FAIL(raise_error_with(vm, "variable used before its definition:", I.k));
  }
  NEXT();
op_POP:
  sp -= I.a;
  NEXT();

  /* ---- assignment ---- */

op_SET_LOCAL_BOX:
  store(vm, fp[I.a], &box_of(fp[I.a])->content, acc);
  acc = SCHEME_UNSPECIFIED;
  NEXT();
op_SET_FREE_BOX : {
  value box = closure_of(fp[-FRAME_LINK_WORDS])->captured[I.a];
  store(vm, box, &box_of(box)->content, acc);
  acc = SCHEME_UNSPECIFIED;
  NEXT();
}
op_SET_GLOBAL:
  if (TSR_UNLIKELY(symbol_of(I.k)->value == SCHEME_UNBOUND)) FAIL(raise_unbound(vm, I.k));
op_DEFINE_GLOBAL:
  store(vm, I.k, &symbol_of(I.k)->value, acc);
  acc = SCHEME_UNSPECIFIED;
  NEXT();

  /* ---- closures ---- */

op_BOX : {
  SAVE();
  int32_t slot = I.a;
  fp[slot] = make_box(vm, fp[slot]);
  LOAD_PC();
  NEXT();
}
op_CLOSURE:
  SAVE();
  acc = make_closure(vm, I.k, (uint32_t)I.a, sp - I.a);
  LOAD_PC();
  sp -= I.a;
  NEXT();
op_PATCH:
  store(vm, fp[I.a], &closure_of(fp[I.a])->captured[I.b], acc);
  NEXT();

  /* ---- jumps ---- */

op_JUMP:
  pc += I.a;
  NEXT();
op_JUMP_IF_FALSE:
  if (acc == SCHEME_FALSE) pc += I.a;
  NEXT();
op_JUMP_IF_TRUE:
  if (acc != SCHEME_FALSE) pc += I.a;
  NEXT();
op_LOOP : {
  value *to = fp + fixnum_value(I.k), *from = sp - I.b;
  for (uint32_t i = I.b; i > 0; i--)
    *to++ = *from++;
  sp = to;
  pc += I.a;
  if (TSR_UNLIKELY(tsr_safepoint_requested(&vm->mutator))) {
    SAVE();
    tsr_safepoint_slow(&vm->mutator);
    LOAD_PC();
  }
  NEXT();
}
op_UNLESS_NULL:
  if (acc != SCHEME_NIL) pc += I.a;
  NEXT();
op_UNLESS_PAIR:
  if (!is_pair(acc)) pc += I.a;
  NEXT();
op_UNLESS_EQ:
  if (*--sp != acc) pc += I.a;
  NEXT();

  /* ---- calls ---- */

op_CALL_GLOBAL:
  acc = symbol_of(I.k)->value;
  if (TSR_UNLIKELY(acc == SCHEME_UNBOUND)) FAIL(raise_unbound(vm, I.k));
op_CALL:
  argc = I.b;
  if (TSR_LIKELY(is_closure(acc))) {
    code = code_of(closure_of(acc)->code);
    return_pc = fixnum(I.a);
    if (TSR_LIKELY(code->arity == argc)) goto enter;
  } else if (is_primitive(acc)) {
    const struct primitive_info *info = primitive_of(acc)->info;
    if (TSR_LIKELY(info->function != NULL && argc >= (uint32_t)info->least &&
                   argc <= (uint32_t)info->most)) {
      SAVE();
      acc = info->function(vm, argc, sp - argc);
      LOAD_PC();
      sp -= argc;
      NEXT();
    }
  }
call_slow:
  SAVE();
  vm->registers[REGISTER_ACC] = acc;
  switch (call_prepare(vm, argc, false)) {
  case CALL_ENTER:
    break;
  case CALL_RETURN:
  case CALL_RESUMED:
    LOAD();
    acc = vm->registers[REGISTER_ACC];
    NEXT();
  }
  LOAD();
  acc = vm->registers[REGISTER_ACC];
  code = code_of(closure_of(acc)->code);
  return_pc = fixnum(vm->pc);

enter:
  if (TSR_UNLIKELY(sp + code->frame_words > (value *)(void *)vm->stack_limit)) {
    SAVE();
    stack_grow(vm, code->frame_words);
    LOAD();
  }
  sp[0] = acc;
  sp[1] = return_pc;
  sp[2] = fixnum(fp - (value *)(void *)vm->stack_base);
  sp += FRAME_LINK_WORDS;

begin: /* the frame is complete: sp is the new fp */
  fp = sp;
  pc = code->instructions;
  if (TSR_UNLIKELY(tsr_safepoint_requested(&vm->mutator))) {
    SAVE();
    tsr_safepoint_slow(&vm->mutator);
    LOAD_PC();
  }
  NEXT();

op_TAIL_CALL:
  argc = I.b;
  if (TSR_UNLIKELY(!is_closure(acc)) ||
      TSR_UNLIKELY((code = code_of(closure_of(acc)->code))->arity != argc)) {
    SAVE();
    vm->registers[REGISTER_ACC] = acc;
    enum call_result result = call_prepare(vm, argc, true);
    LOAD();
    acc = vm->registers[REGISTER_ACC];
    if (result == CALL_RETURN) goto op_RETURN;
    if (result == CALL_RESUMED) NEXT();
    code = code_of(closure_of(acc)->code);
    argc = frame_arguments(code);
  }
  if (TSR_UNLIKELY(sp + code->frame_words > (value *)(void *)vm->stack_limit)) {
    SAVE();
    stack_grow(vm, code->frame_words);
    LOAD();
  }
  {
    value caller_pc = fp[-2], caller_fp = fp[-1];
    const value *from = sp - argc;
    sp = fp - FRAME_LINK_WORDS - I.a;
    for (uint32_t i = argc; i > 0; i--)
      *sp++ = *from++;
    sp[0] = acc;
    sp[1] = caller_pc;
    sp[2] = caller_fp;
    sp += FRAME_LINK_WORDS;
  }
  goto begin;

op_RETURN : { /* also at a TAIL_CALL: both know the frame's arguments */
  int64_t index = fixnum_value(fp[-2]);
  sp = fp - FRAME_LINK_WORDS - I.a;
  fp = (value *)(void *)vm->stack_base + fixnum_value(fp[-1]);
  if (TSR_UNLIKELY(fp <= (value *)(void *)vm->clean_below)) {
    stack_lower_clean(vm, (tsr_slot *)(void *)fp);
  }
  pc = running_code(fp)->instructions + index;
  NEXT();
}
op_HALT:
  SAVE();
  return acc;

  /* ---- builtins on one value ---- */

  ACCESS(CAR, "car", car(acc))
  ACCESS(CDR, "cdr", cdr(acc))
  ACCESS_TWICE(CAAR, "caar", car, car)
  ACCESS_TWICE(CADR, "cadr", cdr, car)
  ACCESS_TWICE(CDAR, "cdar", car, cdr)
  ACCESS_TWICE(CDDR, "cddr", cdr, cdr)
  PREDICATE(NULL_P, acc == SCHEME_NIL)
  PREDICATE(PAIR_P, is_pair(acc))
  PREDICATE(NOT, acc == SCHEME_FALSE)
  PREDICATE(SYMBOL_P, is_symbol(acc))
  PREDICATE(STRING_P, is_string(acc))
  PREDICATE(VECTOR_P, is_vector(acc))
  PREDICATE(CHAR_P, is_character(acc))
  PREDICATE(PROCEDURE_P, is_procedure(acc))
  PREDICATE(EOF_P, acc == SCHEME_EOF)
op_ZERO_P:
  EXPECT(is_number(acc), "zero?", "number", acc);
  acc = boolean(is_fixnum(acc) ? acc == fixnum(0) : flonum_of(acc)->number == 0);
  NEXT();
op_VECTOR_LENGTH:
  EXPECT(is_vector(acc), "vector-length", "vector", acc);
  acc = fixnum((int64_t)vector_of(acc)->length);
  NEXT();
op_ADD_CONSTANT : {
  int64_t result;
  if (TSR_LIKELY(is_fixnum(acc)) &&
      TSR_LIKELY(!__builtin_add_overflow((int64_t)acc, (int64_t)I.k, &result))) {
    acc = (value)result;
    NEXT();
  }
  SAVE();
  acc = number_add(vm, acc, I.k);
  LOAD_PC();
  NEXT();
}

  /* ---- on two ---- */

op_CONS : {
  if (TSR_UNLIKELY(!cons_fast(vm, sp[-1], acc, &acc))) {
    SAVE();
    acc = cons_slow(vm, sp[-1], acc);
    LOAD_PC();
  }
  sp--;
  NEXT();
}
op_EQ_P:
  acc = boolean(*--sp == acc);
  NEXT();
op_EQV_P:
  sp--;
  acc = boolean(is_eqv(*sp, acc));
  NEXT();
  ARITHMETIC(ADD, __builtin_add_overflow, (int64_t)sp[-1], number_add)
  ARITHMETIC(SUBTRACT, __builtin_sub_overflow, (int64_t)sp[-1], number_subtract)
  ARITHMETIC(MULTIPLY, __builtin_mul_overflow, fixnum_value(sp[-1]), number_multiply)
  DIVISION(QUOTIENT, n / d, number_quotient)
  DIVISION(REMAINDER, n % d, number_remainder)
  DIVISION(MODULO, n % d < 0 ? n % d + d : n % d, number_modulo)
  COMPARISON(NUMBER_EQUAL, "=", ==, order == ORDER_EQUAL)
  COMPARISON(LESS, "<", <, order == ORDER_LESS)
  COMPARISON(GREATER, ">", >, order == ORDER_GREATER)
  COMPARISON(LESS_EQUAL, "<=", <=, order == ORDER_LESS || order == ORDER_EQUAL)
  COMPARISON(GREATER_EQUAL, ">=", >=, order == ORDER_GREATER || order == ORDER_EQUAL)
op_VECTOR_REF : {
  value vector = sp[-1];
  if (TSR_UNLIKELY(!is_vector(vector) || !is_fixnum(acc) ||
                   (uint64_t)fixnum_value(acc) >= vector_of(vector)->length)) {
    FAIL(raise_index(vm, "vector-ref", "vector", is_vector(vector), vector, acc));
  }
  acc = vector_of(vector)->items[fixnum_value(acc)];
  sp--;
  NEXT();
}
op_STRING_REF : {
  value string = sp[-1];
  if (TSR_UNLIKELY(!is_string(string) || !is_fixnum(acc) ||
                   (uint64_t)fixnum_value(acc) >= string_of(string)->length)) {
    FAIL(raise_index(vm, "string-ref", "string", is_string(string), string, acc));
  }
  acc = character(string_of(string)->chars[fixnum_value(acc)]);
  sp--;
  NEXT();
}
op_SET_CAR:
  EXPECT(is_pair(sp[-1]), "set-car!", "pair", sp[-1]);
  set_car(vm, sp[-1], acc);
  acc = SCHEME_UNSPECIFIED;
  sp--;
  NEXT();
op_SET_CDR:
  EXPECT(is_pair(sp[-1]), "set-cdr!", "pair", sp[-1]);
  set_cdr(vm, sp[-1], acc);
  acc = SCHEME_UNSPECIFIED;
  sp--;
  NEXT();
op_CHAR_EQUAL:
  EXPECT(is_character(sp[-1]), "char=?", "character", sp[-1]);
  EXPECT(is_character(acc), "char=?", "character", acc);
  acc = boolean(*--sp == acc);
  NEXT();
op_RECORD_P:
  sp--;
  acc = boolean(is_record(*sp) && record_of(*sp)->type == acc);
  NEXT();

  /* ---- on three and four ---- */

op_VECTOR_SET : {
  value vector = sp[-2], index = sp[-1];
  if (TSR_UNLIKELY(!is_vector(vector) || !is_fixnum(index) ||
                   (uint64_t)fixnum_value(index) >= vector_of(vector)->length)) {
    FAIL(raise_index(vm, "vector-set!", "vector", is_vector(vector), vector, index));
  }
  store(vm, vector, &vector_of(vector)->items[fixnum_value(index)], acc);
  acc = SCHEME_UNSPECIFIED;
  sp -= 2;
  NEXT();
}
op_RECORD_REF : {
  value record = sp[-2];
  if (TSR_UNLIKELY(!is_record(record) || record_of(record)->type != sp[-1])) {
    FAIL(raise_record(vm, fp, sp[-1], record));
  }
  acc = record_of(record)->fields[fixnum_value(acc)];
  sp -= 2;
  NEXT();
}
op_RECORD_SET : {
  value record = sp[-3];
  if (TSR_UNLIKELY(!is_record(record) || record_of(record)->type != sp[-2])) {
    FAIL(raise_record(vm, fp, sp[-2], record));
  }
  store(vm, record, &record_of(record)->fields[fixnum_value(sp[-1])], acc);
  acc = SCHEME_UNSPECIFIED;
  sp -= 3;
  NEXT();
}
}
