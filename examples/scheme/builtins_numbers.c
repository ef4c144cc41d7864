/* builtins_numbers.c: numbers. The operations on two numbers are in arithmetic.c. */
#include "builtins.h"
#include "numbers.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- arithmetic on any number of arguments ---- */

static value builtin_add(struct vm *vm, uint32_t count, value *args) {
  value sum = count > 0 ? number_add(vm, fixnum(0), args[0]) : fixnum(0);
  for (uint32_t i = 1; i < count; i++)
    sum = number_add(vm, sum, args[i]);
  return sum;
}

static value builtin_multiply(struct vm *vm, uint32_t count, value *args) {
  value product = count > 0 ? number_multiply(vm, fixnum(1), args[0]) : fixnum(1);
  for (uint32_t i = 1; i < count; i++)
    product = number_multiply(vm, product, args[i]);
  return product;
}

static value builtin_subtract(struct vm *vm, uint32_t count, value *args) {
  if (count == 1 && is_flonum(args[0])) return make_flonum(vm, -flonum_of(args[0])->number);
  if (count == 1) return number_subtract(vm, fixnum(0), args[0]);
  value difference = args[0];
  for (uint32_t i = 1; i < count; i++)
    difference = number_subtract(vm, difference, args[i]);
  return difference;
}

static value builtin_divide(struct vm *vm, uint32_t count, value *args) {
  if (count == 1) return number_divide(vm, fixnum(1), args[0]);
  value quotient = args[0];
  for (uint32_t i = 1; i < count; i++)
    quotient = number_divide(vm, quotient, args[i]);
  return quotient;
}

#define COMPARE_ALL(function, who, test)                                                           \
  static value function(struct vm *vm, uint32_t count, value *args) {                              \
    bool holds = true;                                                                             \
    if (count == 1) (void)number_to_double(vm, who, args[0]);                                      \
    for (uint32_t i = 1; i < count; i++) {                                                         \
      enum order order = number_compare(vm, who, args[i - 1], args[i]);                            \
      holds = holds && (test);                                                                     \
    }                                                                                              \
    return boolean(holds);                                                                         \
  }
COMPARE_ALL(builtin_equal, "=", order == ORDER_EQUAL)
COMPARE_ALL(builtin_less, "<", order == ORDER_LESS)
COMPARE_ALL(builtin_greater, ">", order == ORDER_GREATER)
COMPARE_ALL(builtin_less_equal, "<=", order == ORDER_LESS || order == ORDER_EQUAL)
COMPARE_ALL(builtin_greater_equal, ">=", order == ORDER_GREATER || order == ORDER_EQUAL)

#define TWO(function, operation)                                                                   \
  static value function(struct vm *vm, uint32_t count, value *args) {                              \
    (void)count;                                                                                   \
    return operation(vm, args[0], args[1]);                                                        \
  }
TWO(builtin_quotient, number_quotient)
TWO(builtin_remainder, number_remainder)
TWO(builtin_modulo, number_modulo)

static bool is_nan(value v) {
  return is_flonum(v) && isnan(flonum_of(v)->number);
}

/** The least or the greatest; inexact where any argument is, and +nan.0 where any is that. */
static value extreme(struct vm *vm, const char *who, uint32_t count, const value *args,
                     enum order wanted) {
  value best = args[0];
  bool inexact = false;
  for (uint32_t i = 0; i < count; i++) {
    enum order order = number_compare(vm, who, args[i], best);
    if (order == wanted || (order == ORDER_NONE && is_nan(args[i]))) best = args[i];
    inexact = inexact || is_flonum(args[i]);
  }
  return inexact && is_fixnum(best) ? make_flonum(vm, (double)fixnum_value(best)) : best;
}

static value builtin_min(struct vm *vm, uint32_t count, value *args) {
  return extreme(vm, "min", count, args, ORDER_LESS);
}
static value builtin_max(struct vm *vm, uint32_t count, value *args) {
  return extreme(vm, "max", count, args, ORDER_GREATER);
}

/* ---- predicates ---- */

static bool is_integral(value v) {
  return is_fixnum(v) || (is_flonum(v) && trunc(flonum_of(v)->number) == flonum_of(v)->number &&
                          !isinf(flonum_of(v)->number));
}

#define PREDICATE(function, test)                                                                  \
  static value function(struct vm *vm, uint32_t count, value *args) {                              \
    (void)vm, (void)count;                                                                         \
    return boolean(test);                                                                          \
  }
PREDICATE(builtin_number_p, is_number(args[0]))
PREDICATE(builtin_integer_p, is_integral(args[0]))
PREDICATE(builtin_rational_p,
          is_fixnum(args[0]) || (is_flonum(args[0]) && isfinite(flonum_of(args[0])->number)))
PREDICATE(builtin_exact_integer_p, is_fixnum(args[0]))
PREDICATE(builtin_nan_p,
          number_to_double(vm, "nan?", args[0]) != number_to_double(vm, "nan?", args[0]))
PREDICATE(builtin_infinite_p, isinf(number_to_double(vm, "infinite?", args[0])))
PREDICATE(builtin_zero_p, number_to_double(vm, "zero?", args[0]) == 0)
PREDICATE(builtin_positive_p, number_to_double(vm, "positive?", args[0]) > 0)
PREDICATE(builtin_negative_p, number_to_double(vm, "negative?", args[0]) < 0)
PREDICATE(builtin_odd_p,
          fmod(number_to_double(vm, "odd?", number_remainder(vm, args[0], fixnum(2))), 2) != 0)
PREDICATE(builtin_even_p,
          fmod(number_to_double(vm, "even?", number_remainder(vm, args[0], fixnum(2))), 2) == 0)

static value builtin_exact_p(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  (void)number_to_double(vm, "exact?", args[0]);
  return boolean(is_fixnum(args[0]));
}

static value builtin_inexact_p(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  (void)number_to_double(vm, "inexact?", args[0]);
  return boolean(is_flonum(args[0]));
}

/* ---- integers ---- */

static value builtin_abs(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  if (is_fixnum(args[0])) {
    int64_t n = fixnum_value(args[0]);
    return make_integer(vm, n < 0 ? -n : n);
  }
  return make_flonum(vm, fabs(number_to_double(vm, "abs", args[0])));
}

static int64_t exact_integer(struct vm *vm, const char *who, value v) {
  if (!is_fixnum(v)) raise_type(vm, who, "exact integer", v);
  return fixnum_value(v);
}

static int64_t greatest_common_divisor(int64_t a, int64_t b) {
  while (b != 0) {
    int64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a < 0 ? -a : a;
}

static value builtin_gcd(struct vm *vm, uint32_t count, value *args) {
  int64_t result = 0;
  for (uint32_t i = 0; i < count; i++) {
    result = greatest_common_divisor(result, exact_integer(vm, "gcd", args[i]));
  }
  return make_integer(vm, result);
}

static value builtin_lcm(struct vm *vm, uint32_t count, value *args) {
  int64_t result = 1;
  for (uint32_t i = 0; i < count; i++) {
    int64_t n = exact_integer(vm, "lcm", args[i]);
    if (n == 0) return fixnum(0);
    int64_t factor = n / greatest_common_divisor(result, n);
    if (__builtin_mul_overflow(result, factor, &result)) raise_error(vm, INTEGER_TOO_LARGE);
  }
  return make_integer(vm, result < 0 ? -result : result);
}

/** By squaring. */
static value exact_power(struct vm *vm, int64_t base, int64_t exponent) {
  int64_t result = 1;
  bool overflow = false;
  while (exponent > 0 && !overflow) {
    if (exponent & 1) overflow = __builtin_mul_overflow(result, base, &result);
    exponent >>= 1;
    if (exponent > 0) overflow = __builtin_mul_overflow(base, base, &base) || overflow;
  }
  if (overflow) raise_error(vm, INTEGER_TOO_LARGE);
  return make_integer(vm, result);
}

static value builtin_expt(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  if (both_fixnums(args[0], args[1]) && fixnum_value(args[1]) >= 0) {
    int64_t base = fixnum_value(args[0]), exponent = fixnum_value(args[1]);
    if (base == 0 || base == 1) return exponent == 0 ? fixnum(1) : args[0];
    if (base == -1) return fixnum(exponent % 2 == 0 ? 1 : -1);
    return exact_power(vm, base, exponent);
  }
  if (args[0] == fixnum(0) && is_fixnum(args[1])) {
    raise_error_with(vm, "expt: division by zero", args[0]);
  }
  double base = number_to_double(vm, "expt", args[0]);
  return make_flonum(vm, pow(base, number_to_double(vm, "expt", args[1])));
}

/* ---- exactness and rounding ---- */

static value builtin_inexact(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  if (is_flonum(args[0])) return args[0];
  return make_flonum(vm, number_to_double(vm, "inexact", args[0]));
}

static value builtin_exact(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  if (is_fixnum(args[0])) return args[0];
  double number = number_to_double(vm, "exact", args[0]);
  if (!is_integral(args[0])) raise_type(vm, "exact", "integer", args[0]);
  if (number < -0x1p60 || number >= 0x1p60) raise_error(vm, INTEGER_TOO_LARGE);
  return fixnum((int64_t)number);
}

#define ROUNDING(function, who, operation)                                                         \
  static value function(struct vm *vm, uint32_t count, value *args) {                              \
    (void)count;                                                                                   \
    if (is_fixnum(args[0])) return args[0];                                                        \
    return make_flonum(vm, operation(number_to_double(vm, who, args[0])));                         \
  }
ROUNDING(builtin_floor, "floor", floor)
ROUNDING(builtin_ceiling, "ceiling", ceil)
ROUNDING(builtin_truncate, "truncate", trunc)
ROUNDING(builtin_round, "round", nearbyint)

/* ---- functions ---- */

#define FUNCTION(function, who, operation)                                                         \
  static value function(struct vm *vm, uint32_t count, value *args) {                              \
    (void)count;                                                                                   \
    return make_flonum(vm, operation(number_to_double(vm, who, args[0])));                         \
  }
FUNCTION(builtin_exp, "exp", exp)
FUNCTION(builtin_sin, "sin", sin)
FUNCTION(builtin_cos, "cos", cos)
FUNCTION(builtin_tan, "tan", tan)
FUNCTION(builtin_asin, "asin", asin)
FUNCTION(builtin_acos, "acos", acos)

static value builtin_log(struct vm *vm, uint32_t count, value *args) {
  double result = log(number_to_double(vm, "log", args[0]));
  if (count == 2) result /= log(number_to_double(vm, "log", args[1]));
  return make_flonum(vm, result);
}

static value builtin_atan(struct vm *vm, uint32_t count, value *args) {
  double y = number_to_double(vm, "atan", args[0]);
  return make_flonum(vm, count == 1 ? atan(y) : atan2(y, number_to_double(vm, "atan", args[1])));
}

/** Exact for perfect squares. */
static value builtin_sqrt(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  double number = number_to_double(vm, "sqrt", args[0]), root = sqrt(number);
  if (number < 0) raise_type(vm, "sqrt", "number that is not negative", args[0]);
  if (is_fixnum(args[0])) {
    int64_t whole = (int64_t)root;
    if (whole * whole == fixnum_value(args[0])) return fixnum(whole);
  }
  return make_flonum(vm, root);
}

/* ---- text ---- */

static int check_radix(struct vm *vm, const char *who, uint32_t count, const value *args) {
  if (count < 2) return 10;
  if (!is_fixnum(args[1]) || fixnum_value(args[1]) < 2 || fixnum_value(args[1]) > 36) {
    raise_type(vm, who, "radix from 2 to 36", args[1]);
  }
  return (int)fixnum_value(args[1]);
}

static value builtin_number_to_string(struct vm *vm, uint32_t count, value *args) {
  int radix = check_radix(vm, "number->string", count, args);
  char text[NUMBER_TEXT_BYTES];
  if (is_fixnum(args[0]))
    format_fixnum(fixnum_value(args[0]), radix, text);
  else if (is_flonum(args[0]) && radix != 10)
    raise_type(vm, "number->string", "radix 10 for an inexact number", args[1]);
  else
    format_flonum(number_to_double(vm, "number->string", args[0]), text);
  return make_string_utf8(vm, text, strlen(text));
}

/** As parse_number(), which wants the string's characters as bytes. */
static enum number_text parse_string(const struct string *string, int radix, value *exact,
                                     double *inexact) {
  if (string->length == 0) return NUMBER_NONE;
  char few[64], *text = few;
  if (string->length >= sizeof few) text = checked_realloc(NULL, string->length + 1, 1);
  for (uint64_t i = 0; i < string->length; i++) {
    text[i] = string->chars[i] > 127 ? '?' : (char)string->chars[i];
  }
  text[string->length] = '\0';
  enum number_text result = parse_number(text, string->length, radix, exact, inexact);
  if (text != few) free(text);
  return result;
}

static value builtin_string_to_number(struct vm *vm, uint32_t count, value *args) {
  const struct string *string = check_string(vm, "string->number", args[0]);
  int radix = check_radix(vm, "string->number", count, args);
  value exact;
  double inexact;
  switch (parse_string(string, radix, &exact, &inexact)) {
  case NUMBER_FIXNUM:
    return exact;
  case NUMBER_FLONUM:
    return make_flonum(vm, inexact);
  case NUMBER_TOO_LARGE:
    raise_error(vm, INTEGER_TOO_LARGE);
  case NUMBER_NONE:
    break;
  }
  return SCHEME_FALSE;
}

/* ---- the table ---- */

static const struct primitive_info rows[] = {
    {"+", builtin_add, 0, ANY_NUMBER, SPECIAL_NONE},
    {"*", builtin_multiply, 0, ANY_NUMBER, SPECIAL_NONE},
    {"-", builtin_subtract, 1, ANY_NUMBER, SPECIAL_NONE},
    {"/", builtin_divide, 1, ANY_NUMBER, SPECIAL_NONE},
    {"=", builtin_equal, 1, ANY_NUMBER, SPECIAL_NONE},
    {"<", builtin_less, 1, ANY_NUMBER, SPECIAL_NONE},
    {">", builtin_greater, 1, ANY_NUMBER, SPECIAL_NONE},
    {"<=", builtin_less_equal, 1, ANY_NUMBER, SPECIAL_NONE},
    {">=", builtin_greater_equal, 1, ANY_NUMBER, SPECIAL_NONE},
    {"quotient", builtin_quotient, 2, 2, SPECIAL_NONE},
    {"remainder", builtin_remainder, 2, 2, SPECIAL_NONE},
    {"modulo", builtin_modulo, 2, 2, SPECIAL_NONE},
    {"truncate-quotient", builtin_quotient, 2, 2, SPECIAL_NONE},
    {"truncate-remainder", builtin_remainder, 2, 2, SPECIAL_NONE},
    {"floor-remainder", builtin_modulo, 2, 2, SPECIAL_NONE},
    {"min", builtin_min, 1, ANY_NUMBER, SPECIAL_NONE},
    {"max", builtin_max, 1, ANY_NUMBER, SPECIAL_NONE},
    {"number?", builtin_number_p, 1, 1, SPECIAL_NONE},
    {"complex?", builtin_number_p, 1, 1, SPECIAL_NONE},
    {"real?", builtin_number_p, 1, 1, SPECIAL_NONE},
    {"rational?", builtin_rational_p, 1, 1, SPECIAL_NONE},
    {"integer?", builtin_integer_p, 1, 1, SPECIAL_NONE},
    {"exact?", builtin_exact_p, 1, 1, SPECIAL_NONE},
    {"inexact?", builtin_inexact_p, 1, 1, SPECIAL_NONE},
    {"exact-integer?", builtin_exact_integer_p, 1, 1, SPECIAL_NONE},
    {"nan?", builtin_nan_p, 1, 1, SPECIAL_NONE},
    {"infinite?", builtin_infinite_p, 1, 1, SPECIAL_NONE},
    {"zero?", builtin_zero_p, 1, 1, SPECIAL_NONE},
    {"positive?", builtin_positive_p, 1, 1, SPECIAL_NONE},
    {"negative?", builtin_negative_p, 1, 1, SPECIAL_NONE},
    {"odd?", builtin_odd_p, 1, 1, SPECIAL_NONE},
    {"even?", builtin_even_p, 1, 1, SPECIAL_NONE},
    {"abs", builtin_abs, 1, 1, SPECIAL_NONE},
    {"magnitude", builtin_abs, 1, 1, SPECIAL_NONE},
    {"gcd", builtin_gcd, 0, ANY_NUMBER, SPECIAL_NONE},
    {"lcm", builtin_lcm, 0, ANY_NUMBER, SPECIAL_NONE},
    {"expt", builtin_expt, 2, 2, SPECIAL_NONE},
    {"inexact", builtin_inexact, 1, 1, SPECIAL_NONE},
    {"exact->inexact", builtin_inexact, 1, 1, SPECIAL_NONE},
    {"exact", builtin_exact, 1, 1, SPECIAL_NONE},
    {"inexact->exact", builtin_exact, 1, 1, SPECIAL_NONE},
    {"floor", builtin_floor, 1, 1, SPECIAL_NONE},
    {"ceiling", builtin_ceiling, 1, 1, SPECIAL_NONE},
    {"truncate", builtin_truncate, 1, 1, SPECIAL_NONE},
    {"round", builtin_round, 1, 1, SPECIAL_NONE},
    {"exp", builtin_exp, 1, 1, SPECIAL_NONE},
    {"sin", builtin_sin, 1, 1, SPECIAL_NONE},
    {"cos", builtin_cos, 1, 1, SPECIAL_NONE},
    {"tan", builtin_tan, 1, 1, SPECIAL_NONE},
    {"asin", builtin_asin, 1, 1, SPECIAL_NONE},
    {"acos", builtin_acos, 1, 1, SPECIAL_NONE},
    {"atan", builtin_atan, 1, 2, SPECIAL_NONE},
    {"log", builtin_log, 1, 2, SPECIAL_NONE},
    {"sqrt", builtin_sqrt, 1, 1, SPECIAL_NONE},
    {"number->string", builtin_number_to_string, 1, 2, SPECIAL_NONE},
    {"string->number", builtin_string_to_number, 1, 2, SPECIAL_NONE},
};

const struct builtin_table number_builtins = {rows, sizeof rows / sizeof rows[0]};
