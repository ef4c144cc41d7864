/*
 * reader.c: from characters to syntax objects.
 *
 * A recursive descent over the source, one line at a time, so that a prompt can be read and
 * every datum knows its line and column. Nesting is limited: a hostile source gets an
 * error, not a crash.
 */
#include "numbers.h"
#include "syntax.h"
#include "utf8.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NESTING = 2000, MAX_TOKEN = 1024 };

struct reader {
  struct vm *vm;
  struct source *source;
  struct arena *arena;
  unsigned nesting;
};

#define END_OF_SOURCE (-1)

/* ---- characters ---- */

/** What a file may begin with that is no Scheme: a byte order mark, and a line for the system that
    names the interpreter. Returns where the rest starts; a line's break is kept, for the count. */
static size_t skip_preamble(const struct source *s) {
  size_t at = s->length >= 3 && memcmp(s->text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
  if (s->length < at + 2 || memcmp(s->text + at, "#!", 2) != 0) return at;
  return s->text[s->length - 1] == '\n' ? s->length - 1 : s->length;
}

/** Loads the next line. A prompt waits in native code: a collection need not wait for the user. */
static bool next_line(struct reader *r) {
  struct source *s = r->source;
  if (s->file == NULL) return false;
  if (s->interactive) {
    fputs("> ", stdout);
    fflush(stdout);
    tsr_enter_native(&r->vm->mutator);
  }
  ssize_t got = getline(&s->buffer, &s->buffer_size, s->file);
  int reason = errno;
  if (s->interactive) tsr_leave_native(&r->vm->mutator);
  if (got < 0 && feof(s->file)) return false;
  if (got < 0) source_error(r->vm, s->name, s->line, "cannot be read: %s", strerror(reason));
  s->text = s->buffer;
  s->length = (size_t)got;
  s->at = s->line == 1 ? skip_preamble(s) : 0;
  return true;
}

static int peek(struct reader *r) {
  while (r->source->at == r->source->length) {
    if (!next_line(r)) return END_OF_SOURCE;
  }
  return (unsigned char)r->source->text[r->source->at];
}

/** The character after the next one, in the same line. */
static int peek_second(struct reader *r) {
  struct source *s = r->source;
  return s->at + 1 < s->length ? (unsigned char)s->text[s->at + 1] : END_OF_SOURCE;
}

static int next(struct reader *r) {
  int c = peek(r);
  if (c == END_OF_SOURCE) return c;
  r->source->at++;
  r->source->column++;
  if (c == '\n') {
    r->source->line++;
    r->source->column = 1;
  }
  return c;
}

void source_skip_line(struct source *source) {
  if (source->at < source->length) source->line++;
  source->at = source->length;
  source->column = 1;
}

NORETURN static void reader_error(struct reader *r, const char *message) {
  source_error(r->vm, r->source->name, r->source->line, "%s", message);
}

static struct syntax *new_syntax(struct reader *r, enum syntax_kind kind) {
  struct syntax *s = ARENA_NEW(r->arena, struct syntax);
  s->kind = kind;
  s->line = r->source->line;
  s->column = r->source->column;
  return s;
}

static bool is_delimiter(int c) {
  return c == END_OF_SOURCE || c <= ' ' || strchr("()[]\";'`,", c) != NULL;
}

/* ---- space and comments ---- */

static struct syntax *read_datum(struct reader *r);
static struct syntax *read_required(struct reader *r);

static void enter(struct reader *r) {
  if (++r->nesting > MAX_NESTING) reader_error(r, "data nested too deeply");
}

static void skip_block_comment(struct reader *r) {
  uint32_t begun = r->source->line;
  unsigned depth = 1;
  while (depth > 0) {
    int c = next(r);
    if (c == END_OF_SOURCE) {
      source_error(r->vm, r->source->name, begun, "block comment without end");
    }
    if (c == '|' && peek(r) == '#') {
      next(r);
      depth--;
    } else if (c == '#' && peek(r) == '|') {
      next(r);
      depth++;
    }
  }
}

/** Skips space and comments; returns the next character without taking it. */
static int skip_space(struct reader *r) {
  for (;;) {
    int c = peek(r);
    if (c == ';') {
      while (c != '\n' && c != END_OF_SOURCE)
        c = next(r);
    } else if (c == '#' && peek_second(r) == '|') {
      next(r);
      next(r);
      skip_block_comment(r);
    } else if (c == '#' && peek_second(r) == ';') {
      next(r);
      next(r);
      enter(r);
      (void)read_required(r);
      r->nesting--;
    } else if (c == END_OF_SOURCE || c > ' ') {
      return c;
    } else {
      next(r);
    }
  }
}

/* ---- compound data ---- */

static void read_items(struct reader *r, struct syntax *list, int close) {
  enter(r);
  for (;;) {
    int c = skip_space(r);
    if (c == END_OF_SOURCE) {
      source_error(r->vm, r->source->name, list->line, "missing `%c' for the one opened here",
                   close);
    }
    if (c == ')' || c == ']') {
      if (c != close) reader_error(r, "mismatched bracket");
      next(r);
      break;
    }
    if (c == '.' && is_delimiter(peek_second(r))) {
      next(r);
      if (list->kind == SYNTAX_VECTOR || length_of(list) == 0) reader_error(r, "misplaced dot");
      list->as.list.tail = read_required(r);
      if (skip_space(r) != close) reader_error(r, "misplaced dot");
      continue;
    }
    struct syntax *datum = read_datum(r);
    ARENA_PUSH(r->arena, list->as.list.items, datum);
  }
  r->nesting--;
}

/** `(a . (b c))` is `(a b c)`. */
static void flatten_tail(struct reader *r, struct syntax *list) {
  struct syntax *tail = list->as.list.tail;
  if (tail == NULL || tail->kind != SYNTAX_LIST) return;
  for (unsigned i = 0; i < length_of(tail); i++) {
    ARENA_PUSH(r->arena, list->as.list.items, item(tail, i));
  }
  list->as.list.tail = tail->as.list.tail;
}

static struct syntax *read_list(struct reader *r) {
  struct syntax *list = new_syntax(r, SYNTAX_LIST);
  read_items(r, list, next(r) == '[' ? ']' : ')');
  flatten_tail(r, list);
  return list;
}

static struct syntax *new_identifier(struct reader *r, const char *name) {
  struct syntax *s = new_syntax(r, SYNTAX_IDENTIFIER);
  s->as.identifier.symbol = intern_c(r->vm, name);
  return s;
}

/** 'x is (quote x), and so on. */
static struct syntax *read_abbreviation(struct reader *r, const char *name) {
  struct syntax *list = new_syntax(r, SYNTAX_LIST);
  struct syntax *keyword = new_identifier(r, name);
  ARENA_PUSH(r->arena, list->as.list.items, keyword);
  enter(r);
  struct syntax *datum = read_required(r);
  r->nesting--;
  ARENA_PUSH(r->arena, list->as.list.items, datum);
  return list;
}

/* ---- strings and characters ---- */

/** The code point that starts with byte `c`, which was taken. */
static uint32_t finish_code_point(struct reader *r, int c) {
  char bytes[UTF8_MAX_BYTES] = {(char)c};
  size_t count = 1, at = 0;
  while (c >= 0xc0 && count < UTF8_MAX_BYTES && peek(r) != END_OF_SOURCE &&
         (peek(r) & 0xc0) == 0x80) {
    bytes[count++] = (char)next(r);
  }
  return utf8_next(bytes, count, &at);
}

static uint32_t read_hex_escape(struct reader *r) {
  uint32_t point = 0;
  unsigned digits = 0;
  for (int c = next(r); c != ';'; c = next(r), digits++) {
    const char *hex = "0123456789abcdef";
    const char *digit = c > 0 ? strchr(hex, c | 0x20) : NULL;
    if (digit == NULL || digits == 6) reader_error(r, "malformed \\x escape");
    point = point * 16 + (uint32_t)(digit - hex);
  }
  if (digits == 0 || !is_character_point(point)) reader_error(r, "malformed \\x escape");
  return point;
}

/** After a backslash at the end of a line: the break and the spaces around it don't count. */
static void skip_line_break(struct reader *r) {
  while (peek(r) == ' ' || peek(r) == '\t')
    next(r);
  if (peek(r) != '\n') reader_error(r, "unknown escape in a string");
  next(r);
  while (peek(r) == ' ' || peek(r) == '\t')
    next(r);
}

static struct syntax *read_string(struct reader *r) {
  struct syntax *s = new_syntax(r, SYNTAX_STRING);
  next(r);
  for (;;) {
    int c = next(r);
    uint32_t point;
    if (c == END_OF_SOURCE) {
      source_error(r->vm, r->source->name, s->line, "string without end");
    }
    if (c == '"') return s;
    if (c != '\\') {
      point = finish_code_point(r, c);
    } else if (peek(r) == ' ' || peek(r) == '\t' || peek(r) == '\n') {
      skip_line_break(r);
      continue;
    } else {
      static const char letters[] = "ntrab\"\\", meanings[] = "\n\t\r\a\b\"\\";
      c = next(r);
      const char *letter = c > 0 ? strchr(letters, c) : NULL;
      if (letter == NULL && c != 'x') reader_error(r, "unknown escape in a string");
      point = letter != NULL ? (unsigned char)meanings[letter - letters] : read_hex_escape(r);
    }
    ARENA_PUSH(r->arena, s->as.string, point);
  }
}

/** Takes characters up to a delimiter. */
static size_t read_token(struct reader *r, char *token) {
  size_t length = 0;
  while (!is_delimiter(peek(r))) {
    if (length == MAX_TOKEN - 1) reader_error(r, "token too long");
    token[length++] = (char)next(r);
  }
  token[length] = '\0';
  return length;
}

static struct syntax *constant(struct reader *r, struct syntax *place, value v) {
  (void)r;
  place->kind = SYNTAX_CONSTANT;
  place->as.constant = v;
  return place;
}

static struct syntax *read_character(struct reader *r, struct syntax *place) {
  int first = next(r);
  if (first == END_OF_SOURCE) reader_error(r, "character missing after #\\");
  uint32_t point = finish_code_point(r, first);
  if (is_delimiter(peek(r))) return constant(r, place, character(point));

  char token[MAX_TOKEN + 1];
  token[0] = (char)first;
  size_t length = 1 + read_token(r, token + 1);
  if (!character_by_name(token, length, &point)) {
    source_error(r->vm, r->source->name, place->line, "unknown character #\\%s", token);
  }
  return constant(r, place, character(point));
}

/* ---- numbers and symbols ---- */

/** Makes the datum the number that a token reads as. False: it is none. */
static bool reads_as_number(struct reader *r, struct syntax *s, const char *token, size_t length) {
  switch (parse_number(token, length, 10, &s->as.constant, &s->as.flonum)) {
  case NUMBER_FIXNUM:
    constant(r, s, s->as.constant);
    return true;
  case NUMBER_FLONUM:
    s->kind = SYNTAX_FLONUM;
    return true;
  case NUMBER_TOO_LARGE:
    reader_error(r, INTEGER_TOO_LARGE);
  case NUMBER_NONE:
    break;
  }
  return false;
}

/** What a token is when it is not a number: a symbol. */
static struct syntax *read_atom(struct reader *r) {
  struct syntax *s = new_syntax(r, SYNTAX_IDENTIFIER);
  char token[MAX_TOKEN];
  size_t length = read_token(r, token);
  if (length == 0) reader_error(r, "unexpected character");
  if (reads_as_number(r, s, token, length)) return s;
  s->as.identifier.symbol = intern(r->vm, token, length);
  s->as.identifier.scope = NULL;
  return s;
}

/** |any characters at all| */
static struct syntax *read_quoted_symbol(struct reader *r) {
  struct syntax *s = new_syntax(r, SYNTAX_IDENTIFIER);
  char name[MAX_TOKEN];
  size_t length = 0;
  next(r);
  for (int c = next(r); c != '|'; c = next(r)) {
    if (c == END_OF_SOURCE || length == MAX_TOKEN) reader_error(r, "symbol without end");
    name[length++] = (char)c;
  }
  s->as.identifier.symbol = intern(r->vm, name, length);
  return s;
}

/** What begins with `#`. */
static struct syntax *read_hash(struct reader *r) {
  int c = peek_second(r);
  struct syntax *s = new_syntax(r, SYNTAX_VECTOR);
  if (c == '(') {
    next(r);
    next(r);
    read_items(r, s, ')');
    return s;
  }
  if (c == '\\') {
    next(r);
    next(r);
    return read_character(r, s);
  }
  char token[MAX_TOKEN];
  size_t length = read_token(r, token);
  if (strcmp(token, "#t") == 0 || strcmp(token, "#true") == 0) return constant(r, s, SCHEME_TRUE);
  if (strcmp(token, "#f") == 0 || strcmp(token, "#false") == 0) return constant(r, s, SCHEME_FALSE);
  if (reads_as_number(r, s, token, length)) return s;
  source_error(r->vm, r->source->name, s->line, "unknown syntax %s", token);
}

/* ---- any datum ---- */

static struct syntax *read_datum(struct reader *r) {
  switch (skip_space(r)) {
  case END_OF_SOURCE:
    return NULL;
  case '(':
  case '[':
    return read_list(r);
  case ')':
  case ']':
    reader_error(r, "closing bracket without an opening one");
  case '"':
    return read_string(r);
  case '#':
    return read_hash(r);
  case '|':
    return read_quoted_symbol(r);
  case '\'':
    next(r);
    return read_abbreviation(r, "quote");
  case '`':
    next(r);
    return read_abbreviation(r, "quasiquote");
  case ',':
    next(r);
    if (peek(r) != '@') return read_abbreviation(r, "unquote");
    next(r);
    return read_abbreviation(r, "unquote-splicing");
  default:
    return read_atom(r);
  }
}

static struct syntax *read_required(struct reader *r) {
  struct syntax *datum = read_datum(r);
  if (datum == NULL) reader_error(r, "end of the source in the middle of a datum");
  return datum;
}

struct syntax *read_syntax(struct vm *vm, struct source *source, struct arena *arena) {
  struct reader r = {.vm = vm, .source = source, .arena = arena};
  return read_datum(&r);
}
