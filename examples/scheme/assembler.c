/*
 * assembler.c: from emitted instructions to code objects in the heap.
 *
 * The one part of the compiler that allocates. An object under construction waits in a handle, and
 * every reference is stored through the barrier, because building a constant may collect.
 */
#include "compiler.h"
#include "heap.h"
#include <string.h>

/* ---- constants ---- */

static value datum_value(struct vm *vm, const struct syntax *datum);

static value string_value(struct vm *vm, const struct syntax *datum) {
  value v = make_string(vm, datum->as.string.count, 0);
  if (datum->as.string.count > 0) {
    memcpy(string_of(v)->chars, datum->as.string.items, datum->as.string.count * sizeof(uint32_t));
  }
  return v;
}

static value list_value(struct vm *vm, const struct syntax *datum) {
  tsr_scope scope;
  tsr_scope_open(&vm->mutator, &scope);
  tsr_slot *list = handle(vm, SCHEME_NIL);
  if (datum->as.list.tail != NULL) list->word = datum_value(vm, datum->as.list.tail);
  for (unsigned i = length_of(datum); i-- > 0;) {
    value first = datum_value(vm, item(datum, i));
    list->word = scheme_cons(vm, first, list->word);
  }
  value v = list->word;
  tsr_scope_close(&vm->mutator, &scope);
  return v;
}

static value vector_value(struct vm *vm, const struct syntax *datum) {
  tsr_scope scope;
  tsr_scope_open(&vm->mutator, &scope);
  tsr_slot *vector = handle(vm, make_vector(vm, length_of(datum), SCHEME_FALSE));
  for (unsigned i = 0; i < length_of(datum); i++) {
    value element = datum_value(vm, item(datum, i));
    store(vm, vector->word, &vector_of(vector->word)->items[i], element);
  }
  value v = vector->word;
  tsr_scope_close(&vm->mutator, &scope);
  return v;
}

static value datum_value(struct vm *vm, const struct syntax *datum) {
  switch (datum->kind) {
  case SYNTAX_CONSTANT:
    return datum->as.constant;
  case SYNTAX_FLONUM:
    return make_flonum(vm, datum->as.flonum);
  case SYNTAX_STRING:
    return string_value(vm, datum);
  case SYNTAX_IDENTIFIER:
    return symbol_by_id(vm, datum->as.identifier.symbol);
  case SYNTAX_LIST:
    return list_value(vm, datum);
  case SYNTAX_VECTOR:
    return vector_value(vm, datum);
  }
  return SCHEME_UNSPECIFIED;
}

/* ---- code ---- */

static value operand_value(struct function *f, const struct emitted *e) {
  switch (e->kind) {
  case OPERAND_VALUE:
    return e->k.value;
  case OPERAND_SYMBOL:
    return e->k.symbol < f->vm->symbols.count ? symbol_by_id(f->vm, e->k.symbol) : SCHEME_FALSE;
  case OPERAND_GLOBAL:
    return symbol_of(symbol_by_id(f->vm, e->k.symbol))->value;
  case OPERAND_DATUM:
    return datum_value(f->vm, e->k.datum);
  case OPERAND_CODE:
    return assemble(e->k.function);
  }
  return SCHEME_UNSPECIFIED;
}

/** Everything that is not a reference. */
static void fill_plain(struct function *f, struct code *code) {
  const struct lambda *lambda = f->lambda;
  code->arity = lambda->parameters.count + (lambda->has_rest ? ARITY_REST - 1 : 0);
  code->frame_words = (uint32_t)f->most_depth + FRAME_LINK_WORDS;
  for (unsigned i = 0; i < f->code.count; i++) {
    const struct emitted *e = &f->code.items[i];
    struct instruction *instruction = &code->instructions[i];
    instruction->op = (uint16_t)e->op;
    instruction->b = (uint16_t)e->b;
    instruction->a = e->a;
  }
  memcpy(bytes_of(code->lines)->data, f->lines.items, f->lines.count * sizeof(struct line));
}

value assemble(struct function *f) {
  struct vm *vm = f->vm;
  tsr_scope scope;
  tsr_scope_open(&vm->mutator, &scope);
  tsr_slot *code = handle(vm, make_code(vm, f->code.count, f->lines.count));
  fill_plain(f, code_of(code->word));
  if (f->lambda->name != NO_SYMBOL) {
    store(vm, code->word, &code_of(code->word)->name, symbol_by_id(vm, f->lambda->name));
  }
  if (f->lambda->is_library) store(vm, code->word, &code_of(code->word)->file, SCHEME_FALSE);
  for (unsigned i = 0; i < f->code.count; i++) {
    value operand = operand_value(f, &f->code.items[i]);
    store(vm, code->word, &code_of(code->word)->instructions[i].k, operand);
  }
  value v = code->word;
  tsr_scope_close(&vm->mutator, &scope);
  return v;
}
