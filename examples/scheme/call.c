/*
 * call.c: calls that are not "a closure with just the right number of arguments".
 *
 * Rest parameters are collected, builtins run, and the special procedures rewrite the call into
 * another one: `apply` spreads its list over the stack, `call/cc` copies the stack into the heap
 * and calls its argument with the copy. Calling a continuation copies it back. A continuation may
 * be called any number of times: the copy is never changed.
 */
#include "builtins.h"
#include <string.h>

/* ---- arity ---- */

NORETURN static void raise_arity(struct vm *vm, value procedure, uint32_t least, bool more,
                                 uint32_t most, uint32_t got) {
  char name[100] = "procedure", message[200];
  if (is_primitive(procedure)) {
    snprintf(name, sizeof name, "%s", primitive_of(procedure)->info->name);
  } else if (is_closure(procedure) && is_symbol(code_of(closure_of(procedure)->code)->name)) {
    symbol_name(code_of(closure_of(procedure)->code)->name, name, sizeof name);
  }
  if (more) {
    snprintf(message, sizeof message, "%s: expected at least %u argument%s, got %u", name, least,
             least == 1 ? "" : "s", got);
  } else if (most > least) {
    snprintf(message, sizeof message, "%s: expected %u to %u arguments, got %u", name, least, most,
             got);
  } else {
    snprintf(message, sizeof message, "%s: expected %u argument%s, got %u", name, least,
             least == 1 ? "" : "s", got);
  }
  raise_error(vm, message);
}

/** The stack has slack for the one word that an empty rest list adds. */
static void prepare_closure(struct vm *vm, uint32_t argc) {
  const struct code *code = code_of(closure_of(vm->registers[REGISTER_ACC])->code);
  uint32_t required = code->arity & 0xffff;
  bool has_rest = code->arity >= ARITY_REST;
  if (argc < required || (argc > required && !has_rest)) {
    raise_arity(vm, vm->registers[REGISTER_ACC], required, has_rest, required, argc);
  }
  if (!has_rest) return;
  tsr_slot *rest = vm->sp - (argc - required);
  value list = SCHEME_NIL;
  for (const tsr_slot *last = vm->sp; last > rest;) {
    last--;
    list = scheme_cons(vm, last->word, list);
  }
  rest->word = list;
  vm->sp = rest + 1;
}

/* ---- apply and values ---- */

/** (apply procedure argument ... list): returns the new number of arguments. */
static uint32_t prepare_apply(struct vm *vm, uint32_t argc) {
  value list = vm->sp[-1].word;
  uint64_t length = check_list(vm, "apply", list);
  if (length > UINT32_MAX / 2) raise_error(vm, "apply: list too long");
  stack_grow(vm, length);
  tsr_slot *args = vm->sp - argc;
  vm->registers[REGISTER_ACC] = args[0].word;
  memmove(args, args + 1, (argc - 2) * sizeof *args);
  vm->sp = args + (argc - 2);
  for (; list != SCHEME_NIL; list = cdr(list))
    (vm->sp++)->word = car(list);
  return argc - 2 + (uint32_t)length;
}

/** (%apply-values procedure values) */
static uint32_t prepare_apply_values(struct vm *vm) {
  value procedure = vm->sp[-2].word, results = vm->sp[-1].word;
  vm->registers[REGISTER_ACC] = procedure;
  vm->sp -= 2;
  if (!is_values(results)) {
    (vm->sp++)->word = results;
    return 1;
  }
  uint32_t count = (uint32_t)values_of(results)->length;
  stack_grow(vm, count);
  memcpy(vm->sp, values_of(results)->items, count * sizeof(value));
  vm->sp += count;
  return count;
}

/* ---- continuations ---- */

/** (%call/cc procedure): the rest of this frame, or of its caller in a tail call. */
static void prepare_call_cc(struct vm *vm, bool tail) {
  tsr_slot *fp = vm->fp;
  value k = tail ? make_continuation(vm, frame_start(fp), fp[-2].word, fp[-1].word)
                 : make_continuation(vm, vm->sp - 1, fixnum(vm->pc), fixnum(fp - vm->stack_base));
  vm->registers[REGISTER_ACC] = vm->sp[-1].word;
  vm->sp[-1].word = k;
}

static void resume(struct vm *vm, uint32_t argc) {
  if (argc != 1) {
    value results = make_values(vm, argc, (const value *)(const void *)(vm->sp - argc));
    vm->sp -= argc;
    (vm->sp++)->word = results;
  }
  size_t length = continuation_of(vm->registers[REGISTER_ACC])->length;
  if (length > vm->stack_words) stack_grow(vm, length);
  value result = vm->sp[-1].word;
  const struct continuation *k = continuation_of(vm->registers[REGISTER_ACC]);
  memcpy(vm->stack_base, k->slots, length * sizeof(value));
  vm->sp = vm->stack_base + length;
  vm->fp = vm->stack_base + fixnum_value(k->fp);
  vm->pc = fixnum_value(k->pc);
  vm->clean_below = vm->stack_base;
  if (length <= vm->stack_max_words) vm->stack_reserve_words = 0;
  vm->registers[REGISTER_ACC] = result;
}

/* ---- the slow path of every call ---- */

static void run_builtin(struct vm *vm, const struct primitive_info *info, uint32_t argc) {
  value *args = (value *)(void *)(vm->sp - argc);
  vm->registers[REGISTER_ACC] = info->function(vm, argc, args);
  vm->sp -= argc;
}

enum call_result call_prepare(struct vm *vm, uint32_t argc, bool tail) {
  for (;;) {
    value procedure = vm->registers[REGISTER_ACC];
    if (is_closure(procedure)) {
      prepare_closure(vm, argc);
      return CALL_ENTER;
    }
    if (is_continuation(procedure)) {
      resume(vm, argc);
      return CALL_RESUMED;
    }
    if (!is_primitive(procedure)) raise_error_with(vm, "not a procedure:", procedure);
    const struct primitive_info *info = primitive_of(procedure)->info;
    if (argc < (uint32_t)info->least || argc > (uint32_t)info->most) {
      raise_arity(vm, procedure, (uint32_t)info->least, info->most == ANY_NUMBER,
                  (uint32_t)info->most, argc);
    }
    switch (info->special) {
    case SPECIAL_NONE:
      run_builtin(vm, info, argc);
      return CALL_RETURN;
    case SPECIAL_APPLY:
      argc = prepare_apply(vm, argc);
      break;
    case SPECIAL_APPLY_VALUES:
      argc = prepare_apply_values(vm);
      break;
    case SPECIAL_CALL_CC:
      prepare_call_cc(vm, tail);
      break;
    }
  }
}
