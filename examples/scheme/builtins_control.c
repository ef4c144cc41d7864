/* builtins_control.c: procedures, records, errors, and the world outside. */
#include "builtins.h"
#include <time.h>

#define PREDICATE(function, test)                                                                  \
  static value function(struct vm *vm, uint32_t count, value *args) {                              \
    (void)vm, (void)count;                                                                         \
    return boolean(test);                                                                          \
  }
PREDICATE(builtin_procedure_p, is_procedure(args[0]))
PREDICATE(builtin_boolean_p, args[0] == SCHEME_TRUE || args[0] == SCHEME_FALSE)
PREDICATE(builtin_eof_object_p, args[0] == SCHEME_EOF)

static value builtin_values(struct vm *vm, uint32_t count, value *args) {
  return count == 1 ? args[0] : make_values(vm, count, args);
}

/* ---- records ---- */

static value builtin_make_record_type(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  (void)check_symbol(vm, "%make-record-type", args[0]);
  (void)check_list(vm, "%make-record-type", args[1]);
  return make_record_type(vm, args[0], args[1]);
}

static value check_record_type(struct vm *vm, const char *who, value v) {
  if (!is_record_type(v)) raise_type(vm, who, "record type", v);
  return v;
}

/** (%record type field ...) */
static value builtin_record(struct vm *vm, uint32_t count, value *args) {
  (void)check_record_type(vm, "%record", args[0]);
  if (count - 1 > HEADER_COUNT_MAX) raise_error(vm, "record with too many fields");
  return make_record(vm, args[0], count - 1, args + 1);
}

static value builtin_record_p(struct vm *vm, uint32_t count, value *args) {
  (void)vm, (void)count;
  return boolean(is_record(args[0]) && record_of(args[0])->type == args[1]);
}

static value *field_of(struct vm *vm, const char *who, const value *args) {
  if (!is_record(args[0]) || record_of(args[0])->type != args[1]) {
    raise_type(vm, who, "record", args[0]);
  }
  uint64_t fields = header_count(args[0]), i = check_index(vm, who, args[2], fields);
  if (i == fields) raise_type(vm, who, "field", args[2]);
  return &record_of(args[0])->fields[i];
}

static value builtin_record_ref(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  return *field_of(vm, "%record-ref", args);
}

static value builtin_record_set(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  store(vm, args[0], field_of(vm, "%record-set!", args), args[3]);
  return SCHEME_UNSPECIFIED;
}

/* ---- errors ---- */

/** (%make-condition message irritant ...): with the place where the program is. */
static value builtin_make_condition(struct vm *vm, uint32_t count, value *args) {
  value irritants = SCHEME_NIL;
  for (uint32_t i = count; i-- > 1;)
    irritants = scheme_cons(vm, args[i], irritants);
  return make_condition(vm, args[0], irritants);
}

static value builtin_error(struct vm *vm, uint32_t count, value *args) {
  raise_object(vm, builtin_make_condition(vm, count, args));
}

/** (raise object): through the same door as errors found by C code. */
static value builtin_raise(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  raise_object(vm, args[0]);
}

/** (%fatal object): no handler took it. */
static value builtin_fatal(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  raise_fatal(vm, args[0]);
}

PREDICATE(builtin_error_object_p, is_condition(args[0]))

static value builtin_error_message(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  if (!is_condition(args[0])) raise_type(vm, "error-object-message", "error object", args[0]);
  return condition_of(args[0])->message;
}

static value builtin_error_irritants(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  if (!is_condition(args[0])) raise_type(vm, "error-object-irritants", "error object", args[0]);
  return condition_of(args[0])->irritants;
}

/* ---- the world ---- */

/** Under a plan that never collects, nothing happens. */
static value builtin_gc(struct vm *vm, uint32_t count, value *args) {
  (void)count, (void)args;
  (void)tsr_collect(&vm->mutator, NULL);
  return SCHEME_UNSPECIFIED;
}

static value builtin_exit(struct vm *vm, uint32_t count, value *args) {
  if (count == 0 || args[0] == SCHEME_TRUE)
    vm->exit_status = 0;
  else if (args[0] == SCHEME_FALSE)
    vm->exit_status = 1;
  else if (is_fixnum(args[0]) && fixnum_value(args[0]) >= 0 && fixnum_value(args[0]) <= 255)
    vm->exit_status = (int)fixnum_value(args[0]);
  else
    raise_type(vm, "exit", "boolean or status from 0 to 255", args[0]);
  longjmp(*vm->top_escape, ESCAPE_EXIT);
}

enum { JIFFIES_PER_SECOND = 1000000 };

static int64_t jiffies(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (int64_t)now.tv_sec * JIFFIES_PER_SECOND + now.tv_nsec / (1000000000 / JIFFIES_PER_SECOND);
}

static value builtin_current_jiffy(struct vm *vm, uint32_t count, value *args) {
  (void)vm, (void)count, (void)args;
  return fixnum(jiffies(CLOCK_MONOTONIC));
}

static value builtin_jiffies_per_second(struct vm *vm, uint32_t count, value *args) {
  (void)vm, (void)count, (void)args;
  return fixnum(JIFFIES_PER_SECOND);
}

/** Processor time in seconds. */
static value builtin_runtime(struct vm *vm, uint32_t count, value *args) {
  (void)count, (void)args;
  return make_flonum(vm, (double)jiffies(CLOCK_PROCESS_CPUTIME_ID) / (double)JIFFIES_PER_SECOND);
}

static value builtin_command_line(struct vm *vm, uint32_t count, value *args) {
  (void)count, (void)args;
  return vm->registers[REGISTER_ARGUMENTS];
}

static value builtin_eof_object(struct vm *vm, uint32_t count, value *args) {
  (void)vm, (void)count, (void)args;
  return SCHEME_EOF;
}

/* ---- the table ---- */

static const struct primitive_info rows[] = {
    {"apply", NULL, 2, ANY_NUMBER, SPECIAL_APPLY},
    {"%call/cc", NULL, 1, 1, SPECIAL_CALL_CC},
    {"%apply-values", NULL, 2, 2, SPECIAL_APPLY_VALUES},
    {"values", builtin_values, 0, ANY_NUMBER, SPECIAL_NONE},
    {"procedure?", builtin_procedure_p, 1, 1, SPECIAL_NONE},
    {"boolean?", builtin_boolean_p, 1, 1, SPECIAL_NONE},
    {"eof-object?", builtin_eof_object_p, 1, 1, SPECIAL_NONE},
    {"eof-object", builtin_eof_object, 0, 0, SPECIAL_NONE},
    {"%make-record-type", builtin_make_record_type, 2, 2, SPECIAL_NONE},
    {"%record", builtin_record, 1, ANY_NUMBER, SPECIAL_NONE},
    {"%record?", builtin_record_p, 2, 2, SPECIAL_NONE},
    {"%record-ref", builtin_record_ref, 3, 3, SPECIAL_NONE},
    {"%record-set!", builtin_record_set, 4, 4, SPECIAL_NONE},
    {"%make-condition", builtin_make_condition, 1, ANY_NUMBER, SPECIAL_NONE},
    {"error", builtin_error, 1, ANY_NUMBER, SPECIAL_NONE},
    {"raise", builtin_raise, 1, 1, SPECIAL_NONE},
    {"%fatal", builtin_fatal, 1, 1, SPECIAL_NONE},
    {"error-object?", builtin_error_object_p, 1, 1, SPECIAL_NONE},
    {"error-object-message", builtin_error_message, 1, 1, SPECIAL_NONE},
    {"error-object-irritants", builtin_error_irritants, 1, 1, SPECIAL_NONE},
    {"gc", builtin_gc, 0, 0, SPECIAL_NONE},
    {"exit", builtin_exit, 0, 1, SPECIAL_NONE},
    {"current-jiffy", builtin_current_jiffy, 0, 0, SPECIAL_NONE},
    {"jiffies-per-second", builtin_jiffies_per_second, 0, 0, SPECIAL_NONE},
    {"runtime", builtin_runtime, 0, 0, SPECIAL_NONE},
    {"command-line", builtin_command_line, 0, 0, SPECIAL_NONE},
};

const struct builtin_table control_builtins = {rows, sizeof rows / sizeof rows[0]};
