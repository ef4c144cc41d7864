/*
 * numbers.h: fixnums and flonums.
 *
 * Exact integers are fixnums of 61 bits. An exact result that doesn't fit is an error, never a
 * wrong number and never silently inexact. There are no fractions: `(/ 7 2)` is 3.5, `(/ 6 2)`
 * is 3.
 */
#ifndef SCHEME_NUMBERS_H
#define SCHEME_NUMBERS_H

#include "vm.h"

#define INTEGER_TOO_LARGE "integer too large: bignums are not supported yet"

/* ---- text: number_text.c ---- */

enum number_text { NUMBER_NONE, NUMBER_FIXNUM, NUMBER_FLONUM, NUMBER_TOO_LARGE };

/** Reads a NUL-terminated token; fills one of the two results, or none where it is no number. */
enum number_text parse_number(const char *token, size_t length, int radix, value *exact,
                              double *inexact);

enum { NUMBER_TEXT_BYTES = 80 };
/** The shortest text that reads back as the same number. */
void format_flonum(double number, char text[static NUMBER_TEXT_BYTES]);
void format_fixnum(int64_t number, int radix, char text[static NUMBER_TEXT_BYTES]);

/** Whether a number is the code point of a character: surrogates are not. */
static inline bool is_character_point(int64_t n) {
  return n >= 0 && n <= 0x10ffff && (n < 0xd800 || n > 0xdfff);
}

/** The character called `name` ("space", "x41"). */
bool character_by_name(const char *name, size_t length, uint32_t *point);
/** Its name, or NULL. */
const char *character_name(uint32_t point);

/* ---- arithmetic.c: what the interpreter's fast paths leave over ---- */

value number_add(struct vm *vm, value a, value b);
value number_subtract(struct vm *vm, value a, value b);
value number_multiply(struct vm *vm, value a, value b);
value number_divide(struct vm *vm, value a, value b);
value number_quotient(struct vm *vm, value a, value b);
value number_remainder(struct vm *vm, value a, value b);
value number_modulo(struct vm *vm, value a, value b);

enum order { ORDER_LESS = -1, ORDER_EQUAL = 0, ORDER_GREATER = 1, ORDER_NONE = 2 };
/** Compares exactly, also a fixnum with a flonum. `who` is for errors. */
enum order number_compare(struct vm *vm, const char *who, value a, value b);

/** An exact integer that may not fit. */
value make_integer(struct vm *vm, int64_t n);
double number_to_double(struct vm *vm, const char *who, value v);

#endif
