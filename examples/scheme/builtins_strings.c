/* builtins_strings.c: strings and symbols. */
#include "builtins.h"
#include "utf8.h"
#include <string.h>

/* ---- making and changing ---- */

static value builtin_make_string(struct vm *vm, uint32_t count, value *args) {
  uint64_t length = check_index(vm, "make-string", args[0], (uint64_t)FIXNUM_MAX);
  return make_string(vm, length, count > 1 ? check_char(vm, "make-string", args[1]) : ' ');
}

static value builtin_string(struct vm *vm, uint32_t count, value *args) {
  for (uint32_t i = 0; i < count; i++)
    (void)check_char(vm, "string", args[i]);
  value v = make_string(vm, count, 0);
  for (uint32_t i = 0; i < count; i++)
    string_of(v)->chars[i] = character_value(args[i]);
  return v;
}

static value builtin_string_length(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  return fixnum((int64_t)check_string(vm, "string-length", args[0])->length);
}

/** The address of one character, checked. */
static uint32_t *char_at(struct vm *vm, const char *who, value string, value index) {
  struct string *s = check_string(vm, who, string);
  uint64_t i = check_index(vm, who, index, s->length);
  if (i == s->length) (void)check_index(vm, who, index, s->length - 1);
  return &s->chars[i];
}

static value builtin_string_ref(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  return character(*char_at(vm, "string-ref", args[0], args[1]));
}

static value builtin_string_set(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  uint32_t point = check_char(vm, "string-set!", args[2]);
  *char_at(vm, "string-set!", args[0], args[1]) = point;
  return SCHEME_UNSPECIFIED;
}

static value builtin_string_fill(struct vm *vm, uint32_t count, value *args) {
  uint64_t start, end;
  struct string *string = check_string(vm, "string-fill!", args[0]);
  uint32_t point = check_char(vm, "string-fill!", args[1]);
  check_range(vm, "string-fill!", count, args, 2, string->length, &start, &end);
  for (uint64_t i = start; i < end; i++)
    string->chars[i] = point;
  return SCHEME_UNSPECIFIED;
}

/* ---- parts and sums ---- */

static value copy_part(struct vm *vm, const char *who, uint32_t count, value *args) {
  uint64_t start, end;
  check_range(vm, who, count, args, 1, check_string(vm, who, args[0])->length, &start, &end);
  value v = make_string(vm, end - start, 0);
  memcpy(string_of(v)->chars, string_of(args[0])->chars + start, (end - start) * sizeof(uint32_t));
  return v;
}

static value builtin_substring(struct vm *vm, uint32_t count, value *args) {
  return copy_part(vm, "substring", count, args);
}

static value builtin_string_copy(struct vm *vm, uint32_t count, value *args) {
  return copy_part(vm, "string-copy", count, args);
}

static value builtin_string_append(struct vm *vm, uint32_t count, value *args) {
  uint64_t length = 0;
  for (uint32_t i = 0; i < count; i++) {
    length += check_string(vm, "string-append", args[i])->length;
  }
  value v = make_string(vm, length, 0);
  uint32_t *to = string_of(v)->chars;
  for (uint32_t i = 0; i < count; i++) {
    const struct string *part = string_of(args[i]);
    memcpy(to, part->chars, part->length * sizeof(uint32_t));
    to += part->length;
  }
  return v;
}

/* ---- comparison ---- */

static uint32_t fold_case(uint32_t point) {
  return point >= 'A' && point <= 'Z' ? point + ('a' - 'A') : point;
}

static int compare(const struct string *a, const struct string *b, bool ignore_case) {
  uint64_t shorter = a->length < b->length ? a->length : b->length;
  for (uint64_t i = 0; i < shorter; i++) {
    uint32_t x = ignore_case ? fold_case(a->chars[i]) : a->chars[i];
    uint32_t y = ignore_case ? fold_case(b->chars[i]) : b->chars[i];
    if (x != y) return x < y ? -1 : 1;
  }
  return a->length < b->length ? -1 : a->length > b->length;
}

#define COMPARISON(function, who, relation, ignore_case)                                           \
  static value function(struct vm *vm, uint32_t count, value *args) {                              \
    bool holds = true;                                                                             \
    for (uint32_t i = 0; i < count; i++) {                                                         \
      const struct string *string = check_string(vm, who, args[i]);                                \
      if (i > 0) {                                                                                 \
        holds = holds && compare(string_of(args[i - 1]), string, ignore_case) relation 0;          \
      }                                                                                            \
    }                                                                                              \
    return boolean(holds);                                                                         \
  }
COMPARISON(builtin_string_equal, "string=?", ==, false)
COMPARISON(builtin_string_less, "string<?", <, false)
COMPARISON(builtin_string_greater, "string>?", >, false)
COMPARISON(builtin_string_less_equal, "string<=?", <=, false)
COMPARISON(builtin_string_greater_equal, "string>=?", >=, false)
COMPARISON(builtin_string_ci_equal, "string-ci=?", ==, true)

/* ---- conversion ---- */

static value builtin_string_to_list(struct vm *vm, uint32_t count, value *args) {
  uint64_t start, end;
  uint64_t length = check_string(vm, "string->list", args[0])->length;
  check_range(vm, "string->list", count, args, 1, length, &start, &end);
  value list = SCHEME_NIL;
  while (end-- > start) {
    list = scheme_cons(vm, character(string_of(args[0])->chars[end]), list);
  }
  return list;
}

static value builtin_list_to_string(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  uint64_t length = check_list(vm, "list->string", args[0]);
  for (value rest = args[0]; rest != SCHEME_NIL; rest = cdr(rest)) {
    (void)check_char(vm, "list->string", car(rest));
  }
  value v = make_string(vm, length, 0);
  uint32_t *to = string_of(v)->chars;
  for (value rest = args[0]; rest != SCHEME_NIL; rest = cdr(rest)) {
    *to++ = character_value(car(rest));
  }
  return v;
}

static value change_case(struct vm *vm, const char *who, value *args, uint32_t first, uint32_t last,
                         uint32_t distance) {
  uint64_t length = check_string(vm, who, args[0])->length;
  value v = make_string(vm, length, 0);
  const struct string *from = string_of(args[0]);
  for (uint64_t i = 0; i < length; i++) {
    uint32_t c = from->chars[i];
    string_of(v)->chars[i] = c >= first && c <= last ? c + distance : c;
  }
  return v;
}

static value builtin_string_upcase(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  return change_case(vm, "string-upcase", args, 'a', 'z', (uint32_t)('A' - 'a'));
}

static value builtin_string_downcase(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  return change_case(vm, "string-downcase", args, 'A', 'Z', 'a' - 'A');
}

/* ---- symbols ---- */

static value builtin_string_to_symbol(struct vm *vm, uint32_t count, value *args) {
  enum { MOST = 1024 };
  (void)count;
  const struct string *string = check_string(vm, "string->symbol", args[0]);
  char name[MOST * UTF8_MAX_BYTES];
  size_t used = 0;
  if (string->length > MOST) raise_error(vm, "string->symbol: string too long");
  for (uint64_t i = 0; i < string->length; i++)
    used += utf8_put(name + used, string->chars[i]);
  return symbol_by_id(vm, intern(vm, name, used));
}

/** A copy: changing it must not change the symbol. */
static value builtin_symbol_to_string(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  args[0] = symbol_of(check_symbol(vm, "symbol->string", args[0]))->name;
  return copy_part(vm, "symbol->string", 1, args);
}

#define PREDICATE(function, test)                                                                  \
  static value function(struct vm *vm, uint32_t count, value *args) {                              \
    (void)vm, (void)count;                                                                         \
    return boolean(test);                                                                          \
  }
PREDICATE(builtin_string_p, is_string(args[0]))
PREDICATE(builtin_symbol_p, is_symbol(args[0]))

/* ---- the table ---- */

static const struct primitive_info rows[] = {
    {"string?", builtin_string_p, 1, 1, SPECIAL_NONE},
    {"symbol?", builtin_symbol_p, 1, 1, SPECIAL_NONE},
    {"make-string", builtin_make_string, 1, 2, SPECIAL_NONE},
    {"string", builtin_string, 0, ANY_NUMBER, SPECIAL_NONE},
    {"string-length", builtin_string_length, 1, 1, SPECIAL_NONE},
    {"string-ref", builtin_string_ref, 2, 2, SPECIAL_NONE},
    {"string-set!", builtin_string_set, 3, 3, SPECIAL_NONE},
    {"string-fill!", builtin_string_fill, 2, 4, SPECIAL_NONE},
    {"substring", builtin_substring, 2, 3, SPECIAL_NONE},
    {"string-copy", builtin_string_copy, 1, 3, SPECIAL_NONE},
    {"string-append", builtin_string_append, 0, ANY_NUMBER, SPECIAL_NONE},
    {"string=?", builtin_string_equal, 1, ANY_NUMBER, SPECIAL_NONE},
    {"string<?", builtin_string_less, 1, ANY_NUMBER, SPECIAL_NONE},
    {"string>?", builtin_string_greater, 1, ANY_NUMBER, SPECIAL_NONE},
    {"string<=?", builtin_string_less_equal, 1, ANY_NUMBER, SPECIAL_NONE},
    {"string>=?", builtin_string_greater_equal, 1, ANY_NUMBER, SPECIAL_NONE},
    {"string-ci=?", builtin_string_ci_equal, 1, ANY_NUMBER, SPECIAL_NONE},
    {"string->list", builtin_string_to_list, 1, 3, SPECIAL_NONE},
    {"list->string", builtin_list_to_string, 1, 1, SPECIAL_NONE},
    {"string-upcase", builtin_string_upcase, 1, 1, SPECIAL_NONE},
    {"string-downcase", builtin_string_downcase, 1, 1, SPECIAL_NONE},
    {"string->symbol", builtin_string_to_symbol, 1, 1, SPECIAL_NONE},
    {"symbol->string", builtin_symbol_to_string, 1, 1, SPECIAL_NONE},
};

const struct builtin_table string_builtins = {rows, sizeof rows / sizeof rows[0]};
