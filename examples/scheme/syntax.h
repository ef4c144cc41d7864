/*
 * syntax.h: programs as the reader delivers them and the expander takes them apart.
 *
 * A syntax object is a datum that knows its place in the source. An identifier may also carry the
 * scope in which it is to be looked up: the expander gives one to the identifiers that it inserts
 * itself, so that `(let ((if list)) (when #t 1))` works. A hygienic macro would do the same to the
 * identifiers of its template.
 */
#ifndef SCHEME_SYNTAX_H
#define SCHEME_SYNTAX_H

#include "arena.h"
#include "vm.h"
#include <stdio.h>

enum syntax_kind {
  SYNTAX_CONSTANT, /**< fixnum, character, boolean: anything that is not in the heap */
  SYNTAX_FLONUM,
  SYNTAX_STRING,
  SYNTAX_IDENTIFIER,
  SYNTAX_LIST, /**< also the empty one */
  SYNTAX_VECTOR
};

struct scope;

struct syntax_items {
  struct syntax **items;
  unsigned count, capacity;
};

struct syntax {
  enum syntax_kind kind;
  uint32_t line, column;
  union {
    value constant;
    double flonum;
    struct {
      uint32_t *items;
      unsigned count, capacity;
    } string;
    struct {
      uint32_t symbol;
      const struct scope *scope; /**< NULL: where it stands */
    } identifier;
    struct {
      struct syntax_items items;
      struct syntax *tail; /**< of a dotted list, else NULL */
    } list;
  } as; /**< vectors use list.items */
};

static inline bool is_list(const struct syntax *s) {
  return s->kind == SYNTAX_LIST && s->as.list.tail == NULL;
}
static inline bool is_identifier(const struct syntax *s) {
  return s->kind == SYNTAX_IDENTIFIER;
}
static inline unsigned length_of(const struct syntax *s) {
  return s->as.list.items.count;
}
static inline struct syntax *item(const struct syntax *s, unsigned i) {
  return s->as.list.items.items[i];
}

/** Where characters come from. */
struct source {
  const char *name; /**< for messages */
  FILE *file;       /**< NULL: text only */
  const char *text; /**< a string, or the line being read */
  size_t length, at;
  char *buffer; /**< of the line */
  size_t buffer_size;
  uint32_t line, column;
  bool interactive; /**< shows a prompt, and waits outside the heap */
};

/** The next datum, in `arena`; NULL at the end. Errors go to source_error(). */
struct syntax *read_syntax(struct vm *vm, struct source *source, struct arena *arena);
/** Forgets the rest of the current line. */
void source_skip_line(struct source *source);

#endif
