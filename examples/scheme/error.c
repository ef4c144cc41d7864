/*
 * error.c: errors, from the place where they are found to the line that the user reads.
 *
 * An error in a running program is an object that is raised: C code leaves by longjmp() to
 * vm_run(), which calls the library's handler procedure in the frame that failed; if no handler
 * wants it, the machine is left and the error printed. Errors in the source are printed straight
 * away: nothing runs yet.
 *
 * The place shown is the innermost activation of code that the user wrote: an error inside the
 * library's `map` is reported where `map` was called.
 */
#include "builtins.h"
#include "utf8.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- native memory ---- */

void native_memory_exhausted(void) {
  fputs("tessera-scheme: out of native memory\n", stderr);
  exit(70);
}

void *checked_realloc(void *memory, size_t count, size_t size) {
  if (count > SIZE_MAX / size) native_memory_exhausted();
  void *bigger = realloc(memory, count * size);
  if (bigger == NULL) native_memory_exhausted();
  return bigger;
}

/* ---- where the program is ---- */

static uint32_t line_of(const struct code *code, int64_t instruction) {
  const struct bytes *table = bytes_of(code->lines);
  const struct line *lines = (const struct line *)(const void *)table->data;
  uint32_t number = 0;
  for (size_t i = 0; i < table->length / sizeof *lines && lines[i].from <= instruction; i++) {
    number = lines[i].number;
  }
  return number;
}

/** The innermost activation of user code, and its line; NULL where there is none. */
static const struct code *user_code(const struct vm *vm, uint32_t *line) {
  if (!vm->running) return NULL;
  int64_t pc = vm->pc;
  for (const tsr_slot *fp = vm->fp; fp > vm->stack_base;) {
    const struct code *code = code_of(closure_of(fp[-FRAME_LINK_WORDS].word)->code);
    if (is_string(code->file)) {
      *line = line_of(code, pc - 1);
      return code;
    }
    pc = fixnum_value(fp[-2].word);
    fp = vm->stack_base + fixnum_value(fp[-1].word);
  }
  return NULL;
}

static void copy_file_name(char *to, size_t size, value file) {
  const struct string *string = string_of(file);
  size_t used = 0;
  for (uint64_t i = 0; i < string->length && used + UTF8_MAX_BYTES < size; i++) {
    used += utf8_put(to + used, string->chars[i]);
  }
  to[used] = '\0';
}

/** Remembers the place of an error in native memory. */
static void note_location(struct vm *vm) {
  uint32_t line = 0;
  const struct code *code = user_code(vm, &line);
  vm->error_location = vm->form;
  if (code == NULL) return;
  copy_file_name(vm->error_location.file, sizeof vm->error_location.file, code->file);
  vm->error_location.line = line;
}

/** The same in a condition. */
static void locate_condition(struct vm *vm, value condition) {
  uint32_t line = 0;
  const struct code *code = user_code(vm, &line);
  if (code == NULL) return;
  store(vm, condition, &condition_of(condition)->file, code->file);
  store(vm, condition, &condition_of(condition)->line, fixnum(line));
}

/* ---- raising ---- */

value make_condition(struct vm *vm, value message, value irritants) {
  tsr_scope scope;
  tsr_scope_open(&vm->mutator, &scope);
  tsr_slot *message_handle = handle(vm, message), *irritants_handle = handle(vm, irritants);
  value v = make_condition_object(vm);
  store(vm, v, &condition_of(v)->message, message_handle->word);
  store(vm, v, &condition_of(v)->irritants, irritants_handle->word);
  locate_condition(vm, v);
  tsr_scope_close(&vm->mutator, &scope);
  return v;
}

void raise_fatal(struct vm *vm, value object) {
  vm->registers[REGISTER_RAISED] = object;
  if (!is_condition(object) || !is_string(condition_of(object)->file)) note_location(vm);
  longjmp(*vm->top_escape, ESCAPE_ERROR);
}

void raise_object(struct vm *vm, value object) {
  if (vm->raise_escape == NULL || vm->registers[REGISTER_SIGNAL] == SCHEME_FALSE) {
    raise_fatal(vm, object);
  }
  note_location(vm);
  vm->registers[REGISTER_RAISED] = object;
  longjmp(*vm->raise_escape, 1);
}

static value text_value(struct vm *vm, const char *text) {
  return make_string_utf8(vm, text, strlen(text));
}

void raise_error(struct vm *vm, const char *message) {
  raise_object(vm, make_condition(vm, text_value(vm, message), SCHEME_NIL));
}

void raise_error_with(struct vm *vm, const char *message, value irritant) {
  tsr_slot *irritants = handle(vm, scheme_cons(vm, irritant, SCHEME_NIL));
  value text = text_value(vm, message);
  raise_object(vm, make_condition(vm, text, irritants->word));
}

void raise_type(struct vm *vm, const char *who, const char *what, value got) {
  char message[200];
  snprintf(message, sizeof message, "%s: expected %s, got", who, what);
  raise_error_with(vm, message, got);
}

/** Uses the condition that was made for this at the start. */
void raise_out_of_memory(struct vm *vm) {
  vm->registers[REGISTER_A] = vm->registers[REGISTER_B] = SCHEME_FALSE;
  value condition = vm->registers[REGISTER_OOM];
  if (!is_condition(condition)) {
    snprintf(vm->message, sizeof vm->message, "out of memory");
    longjmp(*vm->top_escape, ESCAPE_ERROR);
  }
  store(vm, condition, &condition_of(condition)->file, SCHEME_FALSE);
  locate_condition(vm, condition);
  raise_object(vm, condition);
}

void source_error(struct vm *vm, const char *file, uint32_t line, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(vm->message, sizeof vm->message, format, arguments);
  va_end(arguments);
  snprintf(vm->error_location.file, sizeof vm->error_location.file, "%s", file);
  vm->error_location.line = line;
  longjmp(*vm->top_escape, ESCAPE_ERROR);
}

/* ---- reporting ---- */

static void report_location(const struct location *location) {
  if (location->line > 0) fprintf(stderr, "%s:%u: ", location->file, location->line);
}

static void report_condition(struct vm *vm, value condition) {
  struct condition *c = condition_of(condition);
  if (is_string(c->file)) {
    copy_file_name(vm->error_location.file, sizeof vm->error_location.file, c->file);
    vm->error_location.line = (uint32_t)fixnum_value(c->line);
  }
  report_location(&vm->error_location);
  fputs("error: ", stderr);
  print_value(vm, stderr, c->message, !is_string(c->message));
  for (value rest = c->irritants; is_pair(rest); rest = cdr(rest)) {
    fputc(' ', stderr);
    print_value(vm, stderr, car(rest), true);
  }
}

void report_last_error(struct vm *vm) {
  fflush(stdout);
  value raised = vm->registers[REGISTER_RAISED];
  vm->registers[REGISTER_RAISED] = SCHEME_FALSE;
  if (vm->message[0] != '\0') {
    report_location(&vm->error_location);
    fprintf(stderr, "error: %s", vm->message);
  } else if (is_condition(raised)) {
    report_condition(vm, raised);
  } else {
    report_location(&vm->error_location);
    fputs("error: uncaught object ", stderr);
    print_value(vm, stderr, raised, true);
  }
  vm->message[0] = '\0';
  fputc('\n', stderr);
}
