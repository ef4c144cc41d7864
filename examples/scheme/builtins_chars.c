/* builtins_chars.c: characters. Case and classes are those of ASCII. */
#include "builtins.h"

static value builtin_char_p(struct vm *vm, uint32_t count, value *args) {
  (void)vm, (void)count;
  return boolean(is_character(args[0]));
}

static value builtin_char_to_integer(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  return fixnum(check_char(vm, "char->integer", args[0]));
}

static value builtin_integer_to_char(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  uint64_t point = check_index(vm, "integer->char", args[0], 0x10ffff);
  if (point >= 0xd800 && point < 0xe000) raise_type(vm, "integer->char", "code point", args[0]);
  return character((uint32_t)point);
}

static uint32_t upcase(uint32_t c) {
  return c >= 'a' && c <= 'z' ? c - ('a' - 'A') : c;
}
static uint32_t downcase(uint32_t c) {
  return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
}
static uint32_t same(uint32_t c) {
  return c;
}
static bool is_digit(uint32_t c) {
  return c >= '0' && c <= '9';
}
static bool is_upper(uint32_t c) {
  return c >= 'A' && c <= 'Z';
}
static bool is_lower(uint32_t c) {
  return c >= 'a' && c <= 'z';
}
static bool is_space(uint32_t c) {
  return c == ' ' || (c >= 9 && c <= 13);
}
static bool is_letter(uint32_t c) {
  return is_upper(c) || is_lower(c);
}

#define COMPARISON(function, who, relation, fold)                                                  \
  static value function(struct vm *vm, uint32_t count, value *args) {                              \
    bool holds = true;                                                                             \
    for (uint32_t i = 0; i < count; i++) {                                                         \
      uint32_t c = fold(check_char(vm, who, args[i]));                                             \
      if (i > 0) holds = holds && fold(character_value(args[i - 1])) relation c;                   \
    }                                                                                              \
    return boolean(holds);                                                                         \
  }
COMPARISON(builtin_char_equal, "char=?", ==, same)
COMPARISON(builtin_char_less, "char<?", <, same)
COMPARISON(builtin_char_greater, "char>?", >, same)
COMPARISON(builtin_char_less_equal, "char<=?", <=, same)
COMPARISON(builtin_char_greater_equal, "char>=?", >=, same)
COMPARISON(builtin_char_ci_equal, "char-ci=?", ==, downcase)

#define CLASS(function, who, test)                                                                 \
  static value function(struct vm *vm, uint32_t count, value *args) {                              \
    (void)count;                                                                                   \
    return boolean(test(check_char(vm, who, args[0])));                                            \
  }
CLASS(builtin_char_alphabetic_p, "char-alphabetic?", is_letter)
CLASS(builtin_char_numeric_p, "char-numeric?", is_digit)
CLASS(builtin_char_whitespace_p, "char-whitespace?", is_space)
CLASS(builtin_char_upper_case_p, "char-upper-case?", is_upper)
CLASS(builtin_char_lower_case_p, "char-lower-case?", is_lower)

static value builtin_char_upcase(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  return character(upcase(check_char(vm, "char-upcase", args[0])));
}

static value builtin_char_downcase(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  return character(downcase(check_char(vm, "char-downcase", args[0])));
}

static value builtin_digit_value(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  uint32_t c = check_char(vm, "digit-value", args[0]);
  return is_digit(c) ? fixnum(c - '0') : SCHEME_FALSE;
}

static const struct primitive_info rows[] = {
    {"char?", builtin_char_p, 1, 1, SPECIAL_NONE},
    {"char->integer", builtin_char_to_integer, 1, 1, SPECIAL_NONE},
    {"integer->char", builtin_integer_to_char, 1, 1, SPECIAL_NONE},
    {"char=?", builtin_char_equal, 1, ANY_NUMBER, SPECIAL_NONE},
    {"char<?", builtin_char_less, 1, ANY_NUMBER, SPECIAL_NONE},
    {"char>?", builtin_char_greater, 1, ANY_NUMBER, SPECIAL_NONE},
    {"char<=?", builtin_char_less_equal, 1, ANY_NUMBER, SPECIAL_NONE},
    {"char>=?", builtin_char_greater_equal, 1, ANY_NUMBER, SPECIAL_NONE},
    {"char-ci=?", builtin_char_ci_equal, 1, ANY_NUMBER, SPECIAL_NONE},
    {"char-alphabetic?", builtin_char_alphabetic_p, 1, 1, SPECIAL_NONE},
    {"char-numeric?", builtin_char_numeric_p, 1, 1, SPECIAL_NONE},
    {"char-whitespace?", builtin_char_whitespace_p, 1, 1, SPECIAL_NONE},
    {"char-upper-case?", builtin_char_upper_case_p, 1, 1, SPECIAL_NONE},
    {"char-lower-case?", builtin_char_lower_case_p, 1, 1, SPECIAL_NONE},
    {"char-upcase", builtin_char_upcase, 1, 1, SPECIAL_NONE},
    {"char-downcase", builtin_char_downcase, 1, 1, SPECIAL_NONE},
    {"digit-value", builtin_digit_value, 1, 1, SPECIAL_NONE},
};

const struct builtin_table char_builtins = {rows, sizeof rows / sizeof rows[0]};
