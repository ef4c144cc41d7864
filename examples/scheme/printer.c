/*
 * printer.c: values as text.
 *
 * Nested data are printed with a stack of our own, so a list a million levels deep is no danger to
 * C's. Nothing is allocated in the heap meanwhile, so plain values are safe here.
 */
#include "builtins.h"
#include "numbers.h"
#include "utf8.h"
#include <stdlib.h>

/** More nesting than data have that are not circular. */
#define MAX_PRINT_NESTING ((size_t)1 << 24)

/** What is left of a list or vector. */
struct level {
  value rest;
  uint64_t next; /**< index in a vector */
};

struct printer {
  struct vm *vm;
  FILE *out;
  bool write;
  struct level *levels;
  size_t depth, capacity;
};

/* ---- things without parts ---- */

static void put_point(FILE *out, uint32_t point) {
  char bytes[UTF8_MAX_BYTES];
  fwrite(bytes, 1, utf8_put(bytes, point), out);
}

static void put_chars(FILE *out, const struct string *string) {
  for (uint64_t i = 0; i < string->length; i++)
    put_point(out, string->chars[i]);
}

static void write_string(FILE *out, const struct string *string) {
  fputc('"', out);
  for (uint64_t i = 0; i < string->length; i++) {
    uint32_t c = string->chars[i];
    switch (c) {
    case '"':
      fputs("\\\"", out);
      break;
    case '\\':
      fputs("\\\\", out);
      break;
    case '\n':
      fputs("\\n", out);
      break;
    case '\t':
      fputs("\\t", out);
      break;
    case '\r':
      fputs("\\r", out);
      break;
    default:
      if (c < ' ' || c == 127)
        fprintf(out, "\\x%x;", c);
      else
        put_point(out, c);
    }
  }
  fputc('"', out);
}

static void write_character(FILE *out, uint32_t point) {
  const char *name = character_name(point);
  fputs("#\\", out);
  if (name != NULL)
    fputs(name, out);
  else if (point < ' ')
    fprintf(out, "x%x", point);
  else
    put_point(out, point);
}

/** Whether a symbol needs bars to read back as itself. */
static bool needs_bars(const struct string *name) {
  char text[NUMBER_TEXT_BYTES];
  value exact;
  double inexact;
  if (name->length == 0) return true;
  for (uint64_t i = 0; i < name->length; i++) {
    uint32_t c = name->chars[i];
    if (c <= ' ' || c == '(' || c == ')' || c == '"' || c == ';' || c == '\'' || c == '|' ||
        c == '[' || c == ']' || c == '`' || c == ',') {
      return true;
    }
    if (i + 1 < sizeof text) text[i] = (char)c;
  }
  if (name->length == 1 && name->chars[0] == '.') return true;
  if (name->chars[0] == '#') return true;
  if (name->length + 1 > sizeof text) return false;
  text[name->length] = '\0';
  return parse_number(text, name->length, 10, &exact, &inexact) != NUMBER_NONE;
}

static void put_symbol(FILE *out, value symbol, bool write) {
  const struct string *name = string_of(symbol_of(symbol)->name);
  bool bars = write && needs_bars(name);
  if (bars) fputc('|', out);
  put_chars(out, name);
  if (bars) fputc('|', out);
}

static void put_named(FILE *out, const char *what, value name) {
  fprintf(out, "#<%s", what);
  if (is_symbol(name)) {
    fputc(' ', out);
    put_symbol(out, name, false);
  }
  fputc('>', out);
}

static void put_immediate(FILE *out, value v, bool write) {
  if (is_character(v)) {
    if (write)
      write_character(out, character_value(v));
    else
      put_point(out, character_value(v));
    return;
  }
  fputs(v == SCHEME_FALSE     ? "#f"
        : v == SCHEME_TRUE    ? "#t"
        : v == SCHEME_NIL     ? "()"
        : v == SCHEME_EOF     ? "#<eof>"
        : v == SCHEME_UNBOUND ? "#<unbound>"
                              : "#<unspecified>",
        out);
}

static void put_number(FILE *out, value v) {
  char text[NUMBER_TEXT_BYTES];
  if (is_fixnum(v))
    format_fixnum(fixnum_value(v), 10, text);
  else
    format_flonum(flonum_of(v)->number, text);
  fputs(text, out);
}

static void put_object(struct printer *p, value v) {
  switch (type_of(v)) {
  case TYPE_FLONUM:
    put_number(p->out, v);
    break;
  case TYPE_STRING:
    if (p->write)
      write_string(p->out, string_of(v));
    else
      put_chars(p->out, string_of(v));
    break;
  case TYPE_SYMBOL:
    put_symbol(p->out, v, p->write);
    break;
  case TYPE_CLOSURE:
    put_named(p->out, "procedure", code_of(closure_of(v)->code)->name);
    break;
  case TYPE_PRIMITIVE:
    fprintf(p->out, "#<procedure %s>", primitive_of(v)->info->name);
    break;
  case TYPE_CONTINUATION:
    fputs("#<continuation>", p->out);
    break;
  case TYPE_RECORD_TYPE:
    put_named(p->out, "record-type", record_type_of(v)->name);
    break;
  case TYPE_RECORD:
    fputs("#<", p->out);
    put_symbol(p->out, record_type_of(record_of(v)->type)->name, false);
    fputc('>', p->out);
    break;
  case TYPE_CONDITION:
    fputs("#<condition>", p->out);
    break;
  case TYPE_EPHEMERON:
    fputs("#<ephemeron>", p->out);
    break;
  case TYPE_VALUES:
    fputs("#<values>", p->out);
    break;
  default:
    fputs("#<object>", p->out);
    break;
  }
}

/* ---- lists and vectors ---- */

static void push_level(struct printer *p, value rest, uint64_t next) {
  if (p->depth == MAX_PRINT_NESTING) {
    free(p->levels);
    raise_error(p->vm, "datum nested too deeply to be printed");
  }
  if (p->depth == p->capacity) {
    p->capacity = p->capacity == 0 ? 64 : p->capacity * 2;
    p->levels = checked_realloc(p->levels, p->capacity, sizeof *p->levels);
  }
  p->levels[p->depth++] = (struct level){.rest = rest, .next = next};
}

/** Prints everything of `v` up to its first innermost part. */
static void put_begin(struct printer *p, value v) {
  for (;;) {
    if (is_pair(v)) {
      fputc('(', p->out);
      push_level(p, cdr(v), 0);
      v = car(v);
    } else if (is_vector(v)) {
      fputs("#(", p->out);
      push_level(p, v, 1);
      if (vector_of(v)->length == 0) return;
      v = vector_of(v)->items[0];
    } else {
      if (is_fixnum(v))
        put_number(p->out, v);
      else if (is_reference(v))
        put_object(p, v);
      else
        put_immediate(p->out, v, p->write);
      return;
    }
  }
}

/** Goes on with the innermost level, which it may close. */
static void put_more(struct printer *p) {
  struct level *level = &p->levels[p->depth - 1];
  if (is_vector(level->rest) && level->next > 0) {
    const struct vector *vector = vector_of(level->rest);
    if (level->next < vector->length) {
      fputc(' ', p->out);
      put_begin(p, vector->items[level->next++]);
      return;
    }
  } else if (is_pair(level->rest)) {
    value first = car(level->rest);
    level->rest = cdr(level->rest);
    fputc(' ', p->out);
    put_begin(p, first);
    return;
  } else if (level->rest != SCHEME_NIL) {
    value tail = level->rest;
    level->rest = SCHEME_NIL;
    fputs(" . ", p->out);
    put_begin(p, tail);
    return;
  }
  fputc(')', p->out);
  p->depth--;
}

void print_value(struct vm *vm, FILE *out, value v, bool write) {
  struct printer p = {.vm = vm, .out = out, .write = write};
  put_begin(&p, v);
  while (p.depth > 0)
    put_more(&p);
  free(p.levels);
}
