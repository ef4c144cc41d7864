/* number_text.c: numbers and characters as text, both ways. */
#include "numbers.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading ---- */

static int digit_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'z') return c - 'a' + 10;
  if (c >= 'A' && c <= 'Z') return c - 'A' + 10;
  return 99;
}

/** [sign] digits */
static enum number_text parse_integer(const char *text, int radix, value *exact) {
  bool negative = *text == '-', too_large = false;
  if (*text == '-' || *text == '+') text++;
  if (*text == '\0') return NUMBER_NONE;
  int64_t n = 0;
  for (; *text != '\0'; text++) {
    int digit = digit_value(*text);
    if (digit >= radix) return NUMBER_NONE;
    if (__builtin_mul_overflow(n, radix, &n) || __builtin_sub_overflow(n, digit, &n)) {
      too_large = true;
    }
  }
  if (too_large || !fits_fixnum(n) || (!negative && !fits_fixnum(-n))) return NUMBER_TOO_LARGE;
  *exact = fixnum(negative ? n : -n);
  return NUMBER_FIXNUM;
}

static const char *skip_digits(const char *text) {
  while (*text >= '0' && *text <= '9')
    text++;
  return text;
}

/** [sign] digits [. digits] [e [sign] digits], with a digit before the exponent. */
static bool is_decimal(const char *text) {
  if (*text == '-' || *text == '+') text++;
  const char *begin = text;
  text = skip_digits(text);
  bool digits = text > begin;
  if (*text == '.') {
    begin = ++text;
    text = skip_digits(text);
    digits = digits || text > begin;
  }
  if (!digits) return false;
  if (*text == 'e' || *text == 'E') {
    text++;
    if (*text == '-' || *text == '+') text++;
    begin = text;
    text = skip_digits(text);
    if (text == begin) return false;
  }
  return *text == '\0';
}

static bool parse_special(const char *text, double *inexact) {
  if (strcmp(text, "+inf.0") == 0)
    *inexact = HUGE_VAL;
  else if (strcmp(text, "-inf.0") == 0)
    *inexact = -HUGE_VAL;
  else if (strcmp(text, "+nan.0") == 0 || strcmp(text, "-nan.0") == 0)
    *inexact = nan("");
  else
    return false;
  return true;
}

static int prefix_radix(char letter) {
  switch (letter) {
  case 'b':
    return 2;
  case 'o':
    return 8;
  case 'd':
    return 10;
  case 'x':
    return 16;
  default:
    return 0;
  }
}

enum number_text parse_number(const char *token, size_t length, int radix, value *exact,
                              double *inexact) {
  if (strlen(token) != length) return NUMBER_NONE;
  if (token[0] == '#') {
    radix = prefix_radix(token[1]);
    if (radix == 0) return NUMBER_NONE;
    token += 2;
  }
  enum number_text integer = parse_integer(token, radix, exact);
  if (integer != NUMBER_NONE || radix != 10) return integer;
  if (parse_special(token, inexact)) return NUMBER_FLONUM;
  if (!is_decimal(token)) return NUMBER_NONE;
  *inexact = strtod(token, NULL);
  return NUMBER_FLONUM;
}

/* ---- writing ---- */

void format_fixnum(int64_t number, int radix, char text[static NUMBER_TEXT_BYTES]) {
  char digits[NUMBER_TEXT_BYTES];
  int count = 0, at = 0;
  uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
  do {
    digits[count++] = "0123456789abcdefghijklmnopqrstuvwxyz"[rest % (uint64_t)radix];
    rest /= (uint64_t)radix;
  } while (rest > 0);
  if (number < 0) text[at++] = '-';
  while (count > 0)
    text[at++] = digits[--count];
  text[at] = '\0';
}

/** "1e+07" becomes "1e7", "12" becomes "12.0". */
static void polish(char *text) {
  char *exponent = strchr(text, 'e');
  if (exponent == NULL) {
    if (strchr(text, '.') == NULL) strcat(text, ".0");
    return;
  }
  char *from = exponent + 1, *to = exponent + 1;
  if (*from == '-') to++;
  from++;
  while (*from == '0')
    from++;
  memmove(to, from, strlen(from) + 1);
}

void format_flonum(double number, char text[static NUMBER_TEXT_BYTES]) {
  if (isnan(number)) {
    strcpy(text, "+nan.0");
  } else if (isinf(number)) {
    strcpy(text, number > 0 ? "+inf.0" : "-inf.0");
  } else {
    /* 15 digits always survive a round trip from text, and %g drops zeros; 17 always suffice. */
    int precision = 15;
    do {
      snprintf(text, NUMBER_TEXT_BYTES, "%.*g", precision, number);
    } while (strtod(text, NULL) != number && ++precision <= 17);
    polish(text);
  }
}

/* ---- characters ---- */

static const struct {
  const char *name;
  uint32_t point;
} character_names[] = {{"space", ' '},  {"newline", '\n'}, {"tab", '\t'},   {"return", '\r'},
                       {"null", 0},     {"nul", 0},        {"alarm", 7},    {"backspace", 8},
                       {"delete", 127}, {"escape", 27},    {"altmode", 27}, {"linefeed", '\n'},
                       {"rubout", 127}};

enum { CHARACTER_NAMES = sizeof character_names / sizeof character_names[0] };

bool character_by_name(const char *name, size_t length, uint32_t *point) {
  for (int i = 0; i < CHARACTER_NAMES; i++) {
    if (strcmp(name, character_names[i].name) == 0) {
      *point = character_names[i].point;
      return true;
    }
  }
  value number;
  double unused;
  if (name[0] != 'x' || digit_value(name[1]) >= 16 ||
      parse_number(name + 1, length - 1, 16, &number, &unused) != NUMBER_FIXNUM ||
      !is_character_point(fixnum_value(number))) {
    return false;
  }
  *point = (uint32_t)fixnum_value(number);
  return true;
}

const char *character_name(uint32_t point) {
  for (int i = 0; i < CHARACTER_NAMES; i++) {
    if (character_names[i].point == point) return character_names[i].name;
  }
  return NULL;
}
