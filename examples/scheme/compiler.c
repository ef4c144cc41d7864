/*
 * compiler.c: from the core language to instructions.
 *
 * One pass, which keeps count of the words that the code has on the stack, so every local variable
 * has a fixed slot. compile_core() leaves the value in the accumulator and the stack as it was; in
 * tail position the code ends by leaving the frame.
 *
 * Inner lambdas are compiled when they are met. That tells which variables they capture, and the
 * code that builds the closure pushes just those: a flat closure. Nothing here touches the heap:
 * assembler.c does, at the end.
 */
#include "compiler.h"
#include <stdio.h>

static void compile_core(struct function *f, const struct core *c, bool tail);

/* ---- emitting ---- */

static struct emitted *emit(struct function *f, enum operation op, int32_t a) {
  if (f->code.count >= INT32_MAX / 2) source_error(f->vm, f->file, f->line, "program too large");
  if (f->lines.count == 0 || f->lines.items[f->lines.count - 1].number != f->line) {
    struct line line = {.from = f->code.count, .number = f->line};
    ARENA_PUSH(f->arena, f->lines, line);
  }
  struct emitted e = {.op = op, .a = a, .kind = OPERAND_VALUE};
  ARENA_PUSH(f->arena, f->code, e);
  return &f->code.items[f->code.count - 1];
}

static void emit_symbol(struct function *f, enum operation op, uint32_t symbol) {
  struct emitted *e = emit(f, op, 0);
  e->kind = OPERAND_SYMBOL;
  e->k.symbol = symbol;
}

static void grow_depth(struct function *f, int32_t words) {
  f->depth += words;
  if (f->depth > f->most_depth) f->most_depth = f->depth;
}

/** Pushes the accumulator, together with the instruction that has just filled it if possible. */
static void emit_push(struct function *f) {
  grow_depth(f, 1);
  if (f->code.count > f->label) {
    struct emitted *last = &f->code.items[f->code.count - 1];
    switch (last->op) {
    case OP_CONSTANT:
      last->op = OP_CONSTANT_PUSH;
      return;
    case OP_LOCAL:
      last->op = OP_LOCAL_PUSH;
      return;
    case OP_FREE:
      last->op = OP_FREE_PUSH;
      return;
    default:
      break;
    }
  }
  emit(f, OP_PUSH, 0);
}

static void emit_pop(struct function *f, int32_t words) {
  f->depth -= words;
  if (words > 0) emit(f, OP_POP, words);
}

static void emit_return(struct function *f) {
  emit(f, OP_RETURN, (int32_t)f->lambda->parameters.count);
}

/* ---- labels ---- */

/** Jumps whose target is not known yet. */
struct jumps {
  uint32_t *items;
  unsigned count, capacity;
};

static void emit_jump(struct function *f, enum operation op, struct jumps *jumps) {
  uint32_t at = f->code.count;
  emit(f, op, 0);
  ARENA_PUSH(f->arena, *jumps, at);
}

/** The next instruction is the jumps' target. */
static void bind_jumps(struct function *f, const struct jumps *jumps) {
  f->label = f->code.count;
  for (unsigned i = 0; i < jumps->count; i++) {
    f->code.items[jumps->items[i]].a = (int32_t)(f->code.count - jumps->items[i] - 1);
  }
}

/* ---- variables ---- */

/** The closure's slot of a variable of an outer lambda. */
static int32_t captured_index(struct function *f, struct variable *v) {
  for (unsigned i = 0; i < f->captured.count; i++) {
    if (f->captured.items[i] == v) return (int32_t)i;
  }
  if (f->captured.count == HEADER_COUNT_MAX) {
    source_error(f->vm, f->file, f->line, "procedure with too many free variables");
  }
  ARENA_PUSH(f->arena, f->captured, v);
  return (int32_t)f->captured.count - 1;
}

/** What the slot holds: the value, or the box. */
static void emit_slot(struct function *f, struct variable *v) {
  if (v->owner == f->lambda)
    emit(f, OP_LOCAL, v->slot);
  else
    emit(f, OP_FREE, captured_index(f, v));
}

static void compile_local(struct function *f, struct variable *v) {
  if (!v->assigned)
    emit_slot(f, v);
  else if (v->owner == f->lambda)
    emit(f, OP_LOCAL_BOX, v->slot);
  else
    emit(f, OP_FREE_BOX, captured_index(f, v));
  if (v->checked) emit_symbol(f, OP_CHECK, v->symbol);
}

static void compile_set_local(struct function *f, const struct core *c) {
  struct variable *v = c->as.set.local;
  compile_core(f, c->as.set.value, false);
  f->line = c->line;
  if (v->owner == f->lambda)
    emit(f, OP_SET_LOCAL_BOX, v->slot);
  else
    emit(f, OP_SET_FREE_BOX, captured_index(f, v));
}

static void compile_set_global(struct function *f, const struct core *c, enum operation op) {
  compile_core(f, c->as.set.value, false);
  f->line = c->line;
  emit_symbol(f, op, c->as.set.global);
}

/** Whether a global is compiled as the value that it has now: in the library, so that no program can
    break the library by redefining a name. Names with % are the library's own: variables, some. */
static bool is_settled(const struct function *f, uint32_t symbol) {
  if (is_string(f->vm->registers[REGISTER_FILE])) return false;
  const struct symbol *s = symbol_of(symbol_by_id(f->vm, symbol));
  return s->value != SCHEME_UNBOUND && string_of(s->name)->chars[0] != '%';
}

static void compile_global(struct function *f, uint32_t symbol) {
  if (!is_settled(f, symbol)) {
    emit_symbol(f, OP_GLOBAL, symbol);
    return;
  }
  emit_symbol(f, OP_CONSTANT, symbol);
  f->code.items[f->code.count - 1].kind = OPERAND_GLOBAL;
}

static void compile_constant(struct function *f, const struct syntax *datum) {
  struct emitted *e = emit(f, OP_CONSTANT, 0);
  if (datum == NULL) {
    e->k.value = SCHEME_UNSPECIFIED;
  } else if (datum->kind == SYNTAX_CONSTANT) {
    e->k.value = datum->as.constant;
  } else {
    e->kind = OPERAND_DATUM;
    e->k.datum = datum;
  }
}

/** The accumulator becomes the variable's slot, on top of the stack. */
static void push_variable(struct function *f, struct variable *v) {
  v->slot = f->depth;
  emit_push(f);
}

static void box_variable(struct function *f, const struct variable *v) {
  if (v->assigned) emit(f, OP_BOX, v->slot);
}

/* ---- tests ---- */

static void compile_operands(struct function *f, const struct core_list *arguments) {
  for (unsigned i = 0; i < arguments->count; i++) {
    compile_core(f, arguments->items[i], false);
    if (i + 1 < arguments->count) emit_push(f);
  }
}

/** Falls through where `c` is true and jumps where it is false. */
static void compile_test(struct function *f, const struct core *c, struct jumps *if_false) {
  if (c->kind == CORE_AND) {
    for (unsigned i = 0; i < c->as.sequence.count; i++) {
      compile_test(f, c->as.sequence.items[i], if_false);
    }
    return;
  }
  if (c->kind == CORE_INTEGRATED && c->as.call.integrable->operation == OP_NOT) {
    compile_core(f, c->as.call.arguments.items[0], false);
    emit_jump(f, OP_JUMP_IF_TRUE, if_false);
    return;
  }
  if (c->kind == CORE_INTEGRATED && c->as.call.integrable->test != OP_COUNT) {
    compile_operands(f, &c->as.call.arguments);
    f->depth -= (int32_t)c->as.call.arguments.count - 1;
    f->line = c->line;
    emit_jump(f, c->as.call.integrable->test, if_false);
    return;
  }
  compile_core(f, c, false);
  emit_jump(f, OP_JUMP_IF_FALSE, if_false);
}

/** A chain of ifs, such as a long cond, is a loop here. */
static void compile_if(struct function *f, const struct core *c, bool tail) {
  struct jumps end = {0};
  while (c->kind == CORE_IF) {
    struct jumps otherwise = {0};
    compile_test(f, c->as.branch.test, &otherwise);
    compile_core(f, c->as.branch.then, tail);
    if (!tail) emit_jump(f, OP_JUMP, &end);
    bind_jumps(f, &otherwise);
    c = c->as.branch.otherwise;
  }
  compile_core(f, c, tail);
  bind_jumps(f, &end);
}

static void compile_logic(struct function *f, const struct core *c, enum operation leave,
                          bool tail) {
  struct jumps end = {0};
  unsigned last = c->as.sequence.count - 1;
  for (unsigned i = 0; i < last; i++) {
    compile_core(f, c->as.sequence.items[i], false);
    emit_jump(f, leave, &end);
  }
  compile_core(f, c->as.sequence.items[last], tail);
  bind_jumps(f, &end);
  if (tail) emit_return(f);
}

/* ---- calls ---- */

static uint32_t compile_arguments(struct function *f, const struct core_list *arguments,
                                  uint32_t line) {
  if (arguments->count > HEADER_COUNT_MAX) {
    source_error(f->vm, f->file, line, "call with too many arguments");
  }
  for (unsigned i = 0; i < arguments->count; i++) {
    compile_core(f, arguments->items[i], false);
    emit_push(f);
  }
  return arguments->count;
}

static void compile_call(struct function *f, const struct core *c, bool tail) {
  const struct core *callee = c->as.call.callee;
  uint32_t count = compile_arguments(f, &c->as.call.arguments, c->line);
  bool global = callee->kind == CORE_GLOBAL && !tail && !is_settled(f, callee->as.global);
  if (!global) compile_core(f, callee, false);
  f->line = c->line;
  if (global)
    emit_symbol(f, OP_CALL_GLOBAL, callee->as.global);
  else
    emit(f, tail ? OP_TAIL_CALL : OP_CALL, 0);
  struct emitted *call = &f->code.items[f->code.count - 1];
  call->b = count;
  call->a = (int32_t)(tail ? f->lambda->parameters.count : f->code.count);
  f->depth -= (int32_t)count;
  f->label = f->code.count; /* the next instruction is where the call returns to */
}

/** Whether `c` is a fixnum constant whose negation is one too. */
static bool is_small_constant(const struct core *c) {
  return c->kind == CORE_CONSTANT && c->as.constant != NULL &&
         c->as.constant->kind == SYNTAX_CONSTANT && is_fixnum(c->as.constant->as.constant) &&
         fixnum_value(c->as.constant->as.constant) != FIXNUM_MIN;
}

/** (+ x 1), (+ 1 x), (- x 1) */
static bool compile_constant_sum(struct function *f, const struct core *c) {
  enum operation op = c->as.call.integrable->operation;
  if (op != OP_ADD && op != OP_SUBTRACT) return false;
  const struct core *x = c->as.call.arguments.items[0], *k = c->as.call.arguments.items[1];
  if (op == OP_ADD && is_small_constant(x)) {
    const struct core *swap = x;
    x = k;
    k = swap;
  }
  if (!is_small_constant(k)) return false;
  compile_core(f, x, false);
  f->line = c->line;
  int64_t n = fixnum_value(k->as.constant->as.constant);
  emit(f, OP_ADD_CONSTANT, 0)->k.value = fixnum(op == OP_ADD ? n : -n);
  return true;
}

static void compile_integrated(struct function *f, const struct core *c) {
  if (compile_constant_sum(f, c)) return;
  compile_operands(f, &c->as.call.arguments);
  f->depth -= (int32_t)c->as.call.arguments.count - 1;
  f->line = c->line;
  emit(f, c->as.call.integrable->operation, 0);
}

/* ---- lambda ---- */

static struct function *compile_lambda(struct function *outer, struct lambda *lambda) {
  struct function *f = ARENA_NEW(outer->arena, struct function);
  f->vm = outer->vm;
  f->arena = outer->arena;
  f->file = outer->file;
  f->lambda = lambda;
  f->nesting = outer->nesting;
  f->line = lambda->line;
  int32_t count = (int32_t)lambda->parameters.count;
  for (int32_t i = 0; i < count; i++) {
    lambda->parameters.items[i]->slot = i - count - FRAME_LINK_WORDS;
    box_variable(f, lambda->parameters.items[i]);
  }
  compile_core(f, lambda->body, true);
  return f;
}

/** Index of a variable among those of a FIX, or the number of them. */
static unsigned sibling_index(const struct core *fix, const struct variable *v) {
  unsigned i = 0;
  while (i < fix->as.let.variables.count && fix->as.let.variables.items[i] != v)
    i++;
  return i;
}

/** Builds a closure. With `fix`, the variables that are not there yet, from `self` on, are left
 * out. */
static struct function *compile_closure(struct function *f, struct lambda *lambda,
                                        const struct core *fix, unsigned self) {
  struct function *inner = compile_lambda(f, lambda);
  for (unsigned i = 0; i < inner->captured.count; i++) {
    struct variable *v = inner->captured.items[i];
    unsigned sibling = fix == NULL ? 0 : sibling_index(fix, v);
    bool later = fix != NULL && sibling >= self && sibling < fix->as.let.variables.count;
    if (later)
      emit(f, OP_CONSTANT, 0)->k.value = SCHEME_UNSPECIFIED;
    else
      emit_slot(f, v);
    emit_push(f);
  }
  f->depth -= (int32_t)inner->captured.count;
  f->line = lambda->line;
  struct emitted *e = emit(f, OP_CLOSURE, (int32_t)inner->captured.count);
  e->kind = OPERAND_CODE;
  e->k.function = inner;
  return inner;
}

/* ---- let, fix, loop ---- */

/** The code of a tail position has left the frame. */
static void leave_variables(struct function *f, int32_t words, bool tail) {
  if (tail)
    f->depth -= words;
  else
    emit_pop(f, words);
}

static void compile_let_variables(struct function *f, const struct core *c) {
  for (unsigned i = 0; i < c->as.let.variables.count; i++) {
    struct variable *v = c->as.let.variables.items[i];
    compile_core(f, c->as.let.values.items[i], false);
    push_variable(f, v);
    box_variable(f, v);
  }
}

/** Fills the places for a closure's later siblings, now that they exist. */
static void patch_closure(struct function *f, const struct core *fix, unsigned self,
                          const struct function *inner) {
  for (unsigned i = 0; i < inner->captured.count; i++) {
    struct variable *v = inner->captured.items[i];
    unsigned sibling = sibling_index(fix, v);
    if (sibling < self || sibling == fix->as.let.variables.count) continue;
    emit(f, OP_LOCAL, v->slot);
    emit(f, OP_PATCH, fix->as.let.variables.items[self]->slot)->b = i;
  }
}

static void compile_fix_variables(struct function *f, const struct core *c) {
  unsigned count = c->as.let.variables.count;
  struct function **inner = arena_alloc(f->arena, count, sizeof(struct function *));
  for (unsigned i = 0; i < count; i++) {
    inner[i] = compile_closure(f, c->as.let.values.items[i]->as.lambda, c, i);
    push_variable(f, c->as.let.variables.items[i]);
  }
  for (unsigned i = 0; i < count; i++)
    patch_closure(f, c, i, inner[i]);
}

static void compile_sequence_before_last(struct function *f, const struct core *c) {
  for (unsigned i = 0; i + 1 < c->as.sequence.count; i++)
    compile_core(f, c->as.sequence.items[i], false);
}

/** Lets, fixes and sequences, each the end of the one before: a let* or a body with definitions.
    However long, it is a loop here. */
static void compile_body(struct function *f, const struct core *c, bool tail) {
  int32_t words = 0;
  for (;;) {
    f->line = c->line;
    if (c->kind == CORE_SEQUENCE) {
      compile_sequence_before_last(f, c);
      c = c->as.sequence.items[c->as.sequence.count - 1];
    } else if (c->kind == CORE_LET || c->kind == CORE_FIX) {
      (c->kind == CORE_LET ? compile_let_variables : compile_fix_variables)(f, c);
      words += (int32_t)c->as.let.variables.count;
      c = c->as.let.body;
    } else {
      break;
    }
  }
  compile_core(f, c, tail);
  leave_variables(f, words, tail);
}

/** A boxed variable of a loop gets a new box each time round. */
static void compile_loop(struct function *f, struct core *c, bool tail) {
  c->as.let.depth = f->depth;
  for (unsigned i = 0; i < c->as.let.variables.count; i++) {
    compile_core(f, c->as.let.values.items[i], false);
    push_variable(f, c->as.let.variables.items[i]);
  }
  c->as.let.head = f->label = f->code.count;
  for (unsigned i = 0; i < c->as.let.variables.count; i++) {
    box_variable(f, c->as.let.variables.items[i]);
  }
  compile_core(f, c->as.let.body, tail);
  leave_variables(f, (int32_t)c->as.let.variables.count, tail);
}

static void compile_continue(struct function *f, const struct core *c) {
  uint32_t count = compile_arguments(f, &c->as.call.arguments, c->line);
  const struct core *loop = c->as.call.loop;
  f->line = c->line;
  struct emitted *e = emit(f, OP_LOOP, 0);
  e->b = count;
  e->a = (int32_t)loop->as.let.head - (int32_t)f->code.count;
  e->k.value = fixnum(loop->as.let.depth);
  f->depth -= (int32_t)count;
}

/* ---- any core ---- */

static void compile_kind(struct function *f, const struct core *c, bool tail) {
  switch (c->kind) {
  case CORE_IF:
    compile_if(f, c, tail);
    return;
  case CORE_SEQUENCE:
  case CORE_LET:
  case CORE_FIX:
    compile_body(f, c, tail);
    return;
  case CORE_AND:
    compile_logic(f, c, OP_JUMP_IF_FALSE, tail);
    return;
  case CORE_OR:
    compile_logic(f, c, OP_JUMP_IF_TRUE, tail);
    return;
  case CORE_LOOP:
    compile_loop(f, (struct core *)(uintptr_t)c, tail);
    return;
  case CORE_CONTINUE:
    compile_continue(f, c);
    return;
  case CORE_CALL:
    compile_call(f, c, tail);
    if (tail) return;
    break;
  case CORE_CONSTANT:
    compile_constant(f, c->as.constant);
    break;
  case CORE_UNBOUND:
    emit(f, OP_CONSTANT, 0)->k.value = SCHEME_UNBOUND;
    break;
  case CORE_LOCAL:
    compile_local(f, c->as.local);
    break;
  case CORE_GLOBAL:
    compile_global(f, c->as.global);
    break;
  case CORE_SET_LOCAL:
    compile_set_local(f, c);
    break;
  case CORE_SET_GLOBAL:
    compile_set_global(f, c, OP_SET_GLOBAL);
    break;
  case CORE_DEFINE_GLOBAL:
    compile_set_global(f, c, OP_DEFINE_GLOBAL);
    break;
  case CORE_LAMBDA:
    (void)compile_closure(f, c->as.lambda, NULL, 0);
    break;
  case CORE_INTEGRATED:
    compile_integrated(f, c);
    break;
  }
  if (tail) emit_return(f);
}

static void compile_core(struct function *f, const struct core *c, bool tail) {
  f->line = c->line;
  if (++f->nesting > MAX_CORE_NESTING) source_error(f->vm, f->file, c->line, NESTED_TOO_DEEPLY);
  compile_kind(f, c, tail);
  f->nesting--;
}

value compile(struct vm *vm, struct lambda *lambda, const char *file, struct arena *arena) {
  struct function outside = {.vm = vm, .arena = arena, .file = file};
  return assemble(compile_lambda(&outside, lambda));
}
