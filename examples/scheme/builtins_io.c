/* builtins_io.c: output to the terminal. */
#include "builtins.h"

static value builtin_display(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  print_value(vm, stdout, args[0], false);
  return SCHEME_UNSPECIFIED;
}

static value builtin_write(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  print_value(vm, stdout, args[0], true);
  return SCHEME_UNSPECIFIED;
}

static value builtin_newline(struct vm *vm, uint32_t count, value *args) {
  (void)vm, (void)count, (void)args;
  putchar('\n');
  return SCHEME_UNSPECIFIED;
}

static value builtin_write_string(struct vm *vm, uint32_t count, value *args) {
  (void)check_string(vm, "write-string", args[0]);
  return builtin_display(vm, count, args);
}

static value builtin_write_char(struct vm *vm, uint32_t count, value *args) {
  (void)check_char(vm, "write-char", args[0]);
  return builtin_display(vm, count, args);
}

static value builtin_flush_output(struct vm *vm, uint32_t count, value *args) {
  (void)vm, (void)count, (void)args;
  fflush(stdout);
  return SCHEME_UNSPECIFIED;
}

static const struct primitive_info rows[] = {
    {"display", builtin_display, 1, 1, SPECIAL_NONE},
    {"write", builtin_write, 1, 1, SPECIAL_NONE},
    {"newline", builtin_newline, 0, 0, SPECIAL_NONE},
    {"write-string", builtin_write_string, 1, 1, SPECIAL_NONE},
    {"write-char", builtin_write_char, 1, 1, SPECIAL_NONE},
    {"flush-output", builtin_flush_output, 0, 0, SPECIAL_NONE},
};

const struct builtin_table io_builtins = {rows, sizeof rows / sizeof rows[0]};
