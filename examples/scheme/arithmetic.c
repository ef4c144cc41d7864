/* arithmetic.c: the two-argument operations on numbers, exact and inexact. */
#include "heap.h"
#include "numbers.h"
#include <math.h>

value make_integer(struct vm *vm, int64_t n) {
  if (!fits_fixnum(n)) raise_error(vm, INTEGER_TOO_LARGE);
  return fixnum(n);
}

double number_to_double(struct vm *vm, const char *who, value v) {
  if (is_fixnum(v)) return (double)fixnum_value(v);
  if (!is_flonum(v)) raise_type(vm, who, "number", v);
  return flonum_of(v)->number;
}

/* ---- + - * / ---- */

/* Tagged fixnums overflow exactly where the fixnum range ends. */

value number_add(struct vm *vm, value a, value b) {
  if (both_fixnums(a, b)) {
    int64_t sum;
    if (__builtin_add_overflow((int64_t)a, (int64_t)b, &sum)) raise_error(vm, INTEGER_TOO_LARGE);
    return (value)sum;
  }
  double x = number_to_double(vm, "+", a), y = number_to_double(vm, "+", b);
  return make_flonum(vm, x + y);
}

value number_subtract(struct vm *vm, value a, value b) {
  if (both_fixnums(a, b)) {
    int64_t difference;
    if (__builtin_sub_overflow((int64_t)a, (int64_t)b, &difference)) {
      raise_error(vm, INTEGER_TOO_LARGE);
    }
    return (value)difference;
  }
  double x = number_to_double(vm, "-", a), y = number_to_double(vm, "-", b);
  return make_flonum(vm, x - y);
}

value number_multiply(struct vm *vm, value a, value b) {
  if (both_fixnums(a, b)) {
    int64_t product;
    if (__builtin_mul_overflow(fixnum_value(a), (int64_t)b, &product)) {
      raise_error(vm, INTEGER_TOO_LARGE);
    }
    return (value)product;
  }
  double x = number_to_double(vm, "*", a), y = number_to_double(vm, "*", b);
  return make_flonum(vm, x * y);
}

value number_divide(struct vm *vm, value a, value b) {
  if (both_fixnums(a, b)) {
    int64_t n = fixnum_value(a), d = fixnum_value(b);
    if (d == 0) raise_error_with(vm, "/: division by zero", a);
    if (n % d == 0) return make_integer(vm, n / d);
    return make_flonum(vm, (double)n / (double)d);
  }
  double x = number_to_double(vm, "/", a), y = number_to_double(vm, "/", b);
  if (b == fixnum(0)) raise_error_with(vm, "/: division by zero", a);
  return make_flonum(vm, x / y);
}

/* ---- integer division ---- */

/** Fetches two integers as doubles, for the case that one is inexact. */
static void inexact_integers(struct vm *vm, const char *who, value a, value b, double *x,
                             double *y) {
  *x = number_to_double(vm, who, a);
  *y = number_to_double(vm, who, b);
  if (trunc(*x) != *x || isinf(*x)) raise_type(vm, who, "integer", a);
  if (trunc(*y) != *y || isinf(*y)) raise_type(vm, who, "integer", b);
  if (*y == 0) raise_error_with(vm, "division by zero", a);
}

static void check_divisor(struct vm *vm, const char *message, value a, value b) {
  if (b == fixnum(0)) raise_error_with(vm, message, a);
}

value number_quotient(struct vm *vm, value a, value b) {
  if (both_fixnums(a, b)) {
    check_divisor(vm, "quotient: division by zero", a, b);
    return make_integer(vm, fixnum_value(a) / fixnum_value(b));
  }
  double x, y;
  inexact_integers(vm, "quotient", a, b, &x, &y);
  return make_flonum(vm, trunc(x / y));
}

value number_remainder(struct vm *vm, value a, value b) {
  if (both_fixnums(a, b)) {
    check_divisor(vm, "remainder: division by zero", a, b);
    return fixnum(fixnum_value(a) % fixnum_value(b));
  }
  double x, y;
  inexact_integers(vm, "remainder", a, b, &x, &y);
  return make_flonum(vm, fmod(x, y));
}

value number_modulo(struct vm *vm, value a, value b) {
  if (both_fixnums(a, b)) {
    check_divisor(vm, "modulo: division by zero", a, b);
    int64_t d = fixnum_value(b), r = fixnum_value(a) % d;
    return fixnum(r != 0 && (r < 0) != (d < 0) ? r + d : r);
  }
  double x, y;
  inexact_integers(vm, "modulo", a, b, &x, &y);
  double r = fmod(x, y);
  return make_flonum(vm, r != 0 && (r < 0) != (y < 0) ? r + y : r);
}

/* ---- comparison ---- */

static enum order compare_doubles(double x, double y) {
  return x < y ? ORDER_LESS : x > y ? ORDER_GREATER : x == y ? ORDER_EQUAL : ORDER_NONE;
}

/** A 61-bit integer needn't have a double: compare whole parts as integers, then the fraction. */
static enum order compare_mixed(int64_t n, double y) {
  if (isnan(y)) return ORDER_NONE;
  if (y >= 0x1p60) return ORDER_LESS;
  if (y < -0x1p60) return ORDER_GREATER;
  int64_t whole = (int64_t)y;
  if (n != whole) return n < whole ? ORDER_LESS : ORDER_GREATER;
  return compare_doubles((double)whole, y);
}

enum order number_compare(struct vm *vm, const char *who, value a, value b) {
  if (both_fixnums(a, b)) {
    return (int64_t)a < (int64_t)b ? ORDER_LESS : a == b ? ORDER_EQUAL : ORDER_GREATER;
  }
  double x = number_to_double(vm, who, a), y = number_to_double(vm, who, b);
  if (is_fixnum(a)) return compare_mixed(fixnum_value(a), y);
  if (is_fixnum(b)) {
    enum order reversed = compare_mixed(fixnum_value(b), x);
    return reversed == ORDER_NONE ? ORDER_NONE : (enum order)(-(int)reversed);
  }
  return compare_doubles(x, y);
}
