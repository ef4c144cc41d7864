/* builtins.c: the list of tables, and the checks that their functions share. */
#include "builtins.h"
#include "bytecode.h"

/* ---- installation ---- */

static const struct builtin_table *const tables[] = {
    &number_builtins, &list_builtins,    &string_builtins, &char_builtins,
    &vector_builtins, &control_builtins, &io_builtins,     &weak_builtins,
};

static void define_global(struct vm *vm, const struct primitive_info *info) {
  uint32_t id = intern_c(vm, info->name);
  value primitive = make_primitive(vm, info);
  value symbol = symbol_by_id(vm, id);
  store(vm, symbol, &symbol_of(symbol)->value, primitive);
}

void builtins_install(struct vm *vm) {
  for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++) {
    for (unsigned i = 0; i < tables[t]->count; i++)
      define_global(vm, &tables[t]->rows[i]);
  }
}

static const struct integrable integrables[] = {
#define X(name, arguments, operation, test) {name, arguments, OP_##operation, OP_##test},
    INTEGRABLES(X)
#undef X
};

void integrables_install(struct vm *vm) {
  for (size_t i = 0; i < sizeof integrables / sizeof integrables[0]; i++) {
    struct symbol_info *info = &vm->symbols.info[intern_c(vm, integrables[i].name)];
    info->integrable = info->core_integrable = &integrables[i];
  }
}

/* ---- checks ---- */

struct string *check_string(struct vm *vm, const char *who, value v) {
  if (!is_string(v)) raise_type(vm, who, "string", v);
  return string_of(v);
}

struct vector *check_vector(struct vm *vm, const char *who, value v) {
  if (!is_vector(v)) raise_type(vm, who, "vector", v);
  return vector_of(v);
}

value check_symbol(struct vm *vm, const char *who, value v) {
  if (!is_symbol(v)) raise_type(vm, who, "symbol", v);
  return v;
}

value check_procedure(struct vm *vm, const char *who, value v) {
  if (!is_procedure(v)) raise_type(vm, who, "procedure", v);
  return v;
}

uint32_t check_char(struct vm *vm, const char *who, value v) {
  if (!is_character(v)) raise_type(vm, who, "character", v);
  return character_value(v);
}

uint64_t check_index(struct vm *vm, const char *who, value v, uint64_t end) {
  if (!is_fixnum(v)) raise_type(vm, who, "index", v);
  if (fixnum_value(v) < 0 || (uint64_t)fixnum_value(v) > end) {
    char message[64];
    snprintf(message, sizeof message, "%s: index out of range", who);
    raise_error_with(vm, message, v);
  }
  return (uint64_t)fixnum_value(v);
}

void check_range(struct vm *vm, const char *who, uint32_t count, const value *args, uint32_t first,
                 uint64_t length, uint64_t *start, uint64_t *end) {
  *end = count > first + 1 ? check_index(vm, who, args[first + 1], length) : length;
  *start = count > first ? check_index(vm, who, args[first], *end) : 0;
}

/** Floyd's two pointers: one walks twice as fast, and meets the other in a circle. */
uint64_t check_list(struct vm *vm, const char *who, value v) {
  uint64_t length = 0;
  value slow = v, fast = v;
  for (; is_pair(fast); length++) {
    fast = cdr(fast);
    if (length % 2 == 1) slow = cdr(slow);
    if (fast == slow && is_pair(fast)) raise_type(vm, who, "proper list", SCHEME_UNSPECIFIED);
  }
  if (fast != SCHEME_NIL) raise_type(vm, who, "proper list", v);
  return length;
}
