/*
 * builtins.h: procedures written in C.
 *
 * A builtin gets its arguments as a part of the VM's stack. They are roots, so after an allocation
 * args[i] is still right, while a copy of it in a C variable may not be. The count was
 * checked against the table's row.
 */
#ifndef SCHEME_BUILTINS_H
#define SCHEME_BUILTINS_H

#include "heap.h"

typedef value (*builtin)(struct vm *vm, uint32_t count, value *args);

/** Builtins that change the course of the machine; call.c knows them. */
enum special { SPECIAL_NONE = 0, SPECIAL_APPLY, SPECIAL_CALL_CC, SPECIAL_APPLY_VALUES };

enum { ANY_NUMBER = -1 };

struct primitive_info {
  const char *name;
  builtin function; /**< NULL: special */
  int16_t least, most;
  enum special special;
};

struct builtin_table {
  const struct primitive_info *rows;
  unsigned count;
};

extern const struct builtin_table number_builtins, list_builtins, string_builtins, char_builtins,
    vector_builtins, control_builtins, io_builtins, weak_builtins;

/** Defines them all as globals. */
void builtins_install(struct vm *vm);

/* ---- argument checks: each returns the checked value or raises ---- */

static inline value check_pair(struct vm *vm, const char *who, value v) {
  if (TSR_UNLIKELY(!is_pair(v))) raise_type(vm, who, "pair", v);
  return v;
}
struct string *check_string(struct vm *vm, const char *who, value v);
struct vector *check_vector(struct vm *vm, const char *who, value v);
value check_symbol(struct vm *vm, const char *who, value v);
value check_procedure(struct vm *vm, const char *who, value v);
uint32_t check_char(struct vm *vm, const char *who, value v);
/** An index from 0 to `end`, which is included. */
uint64_t check_index(struct vm *vm, const char *who, value v, uint64_t end);
/** Optional arguments `start` and `end` at args[first], for something of this length. */
void check_range(struct vm *vm, const char *who, uint32_t count, const value *args, uint32_t first,
                 uint64_t length, uint64_t *start, uint64_t *end);
/** Length of a proper list; raises an error for anything else, circles included. */
uint64_t check_list(struct vm *vm, const char *who, value v);

/* ---- equivalence: equality.c ---- */

bool is_eqv(value a, value b);
bool is_equal(struct vm *vm, value a, value b);

#endif
