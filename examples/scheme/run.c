/*
 * run.c: running programs: the library at the start, then forms one after the other.
 *
 * Every form is read, expanded, analysed, compiled and run before the next one is read, so
 * a definition can change how what follows it is compiled. The trees of a form live in an arena
 * that is emptied after it.
 */
#include "builtins.h"
#include "core.h"
#include "prelude.h"
#include <string.h>

/* ---- entering and leaving the machine ---- */

enum escape vm_protect(struct vm *vm, void (*body)(struct vm *, void *), void *context) {
  jmp_buf escape, *outer = vm->top_escape;
  tsr_scope scope;
  tsr_scope_open(&vm->mutator, &scope);
  vm->top_escape = &escape;
  volatile enum escape result = ESCAPE_NONE;
  switch (setjmp(escape)) {
  case ESCAPE_NONE:
    body(vm, context);
    break;
  case ESCAPE_EXIT:
    result = ESCAPE_EXIT;
    break;
  default:
    result = ESCAPE_ERROR;
    break;
  }
  vm->top_escape = outer;
  vm->raise_escape = NULL;
  vm->running = false;
  stack_reset(vm);
  tsr_scope_close(&vm->mutator, &scope);
  return result;
}

/** The frame at the bottom of the stack: a closure whose first instruction stops the machine. */
static void push_boot_frame(struct vm *vm) {
  stack_reset(vm);
  vm->sp[0].word = vm->registers[REGISTER_BOOT];
  vm->sp[1].word = vm->sp[2].word = fixnum(0);
  vm->sp = vm->fp = vm->sp + FRAME_LINK_WORDS;
  vm->pc = 0;
  vm->running = true;
}

value vm_run(struct vm *vm, value procedure) {
  jmp_buf escape;
  tsr_scope scope;
  tsr_scope_open(&vm->mutator, &scope);
  push_boot_frame(vm);
  vm->registers[REGISTER_ACC] = procedure;
  uint32_t argc = 0;
  /* C code that raises an object comes back here, and the frame that failed calls the library. */
  if (setjmp(escape) != 0) {
    tsr_scope_close(&vm->mutator, &scope);
    (vm->sp++)->word = vm->registers[REGISTER_RAISED];
    vm->registers[REGISTER_ACC] = vm->registers[REGISTER_SIGNAL];
    argc = 1;
  }
  vm->raise_escape = &escape;
  value result = interpret(vm, argc);
  vm->raise_escape = NULL;
  vm->running = false;
  tsr_scope_close(&vm->mutator, &scope);
  return result;
}

/* ---- forms ---- */

/** Compiles and runs one form. */
static value run_form(struct vm *vm, struct syntax *form, const char *file, struct arena *arena) {
  struct lambda *lambda = expand(vm, form, file, arena);
  analyse(vm, lambda, file);
  value code = compile(vm, lambda, file, arena);
  return vm_run(vm, make_closure(vm, code, 0, NULL));
}

static void print_result(struct vm *vm, value v) {
  if (v == SCHEME_UNSPECIFIED) return;
  print_value(vm, stdout, v, true);
  putchar('\n');
}

struct load {
  struct source *source;
  struct arena arena;
  bool print;
};

static void load_forms(struct vm *vm, void *context) {
  struct load *load = context;
  struct syntax *form;
  while ((form = read_syntax(vm, load->source, &load->arena)) != NULL) {
    snprintf(vm->form.file, sizeof vm->form.file, "%s", load->source->name);
    vm->form.line = form->line;
    value result = run_form(vm, form, load->source->name, &load->arena);
    if (load->print) print_result(vm, result);
    arena_reset(&load->arena);
  }
}

void vm_load(struct vm *vm, struct source *source, bool print) {
  struct load load = {.source = source, .print = print};
  enum escape escape = vm_protect(vm, load_forms, &load);
  arena_reset(&load.arena);
  if (escape != ESCAPE_NONE) longjmp(*vm->top_escape, (int)escape);
}

void vm_abandon(struct vm *vm) {
  static const char *const names[] = {"%winders", "%handlers"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    value symbol = symbol_by_id(vm, intern_c(vm, names[i]));
    store(vm, symbol, &symbol_of(symbol)->value, SCHEME_NIL);
  }
}

/* ---- the start ---- */

static value boot_closure(struct vm *vm) {
  value code = make_code(vm, 1, 0);
  code_of(code)->instructions[0].op = OP_HALT;
  return make_closure(vm, code, 0, NULL);
}

static void make_out_of_memory_condition(struct vm *vm) {
  static const char message[] = "out of memory";
  vm->registers[REGISTER_OOM] =
      make_condition(vm, make_string_utf8(vm, message, sizeof message - 1), SCHEME_NIL);
}

void vm_boot(struct vm *vm) {
  vm->registers[REGISTER_BOOT] = boot_closure(vm);
  make_out_of_memory_condition(vm);
  reserve_fill(vm);
  keywords_install(vm);
  builtins_install(vm);
  integrables_install(vm);
  struct source source = {.name = "the library",
                          .text = (const char *)prelude_text,
                          .length = prelude_length,
                          .line = 1,
                          .column = 1};
  vm_load(vm, &source, false);
  vm->registers[REGISTER_SIGNAL] = symbol_of(symbol_by_id(vm, intern_c(vm, "%signal")))->value;
}
