/*
 * builtins_lists.c: pairs, lists and equivalence.
 *
 * Where a loop allocates, the list being walked is kept in its argument's slot, which is a root,
 * and the one being built is only in the hands of scheme_cons().
 */
#include "builtins.h"

/* ---- pairs ---- */

static value builtin_cons(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  return scheme_cons(vm, args[0], args[1]);
}

static value builtin_set_car(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  scheme_set_car(vm, check_pair(vm, "set-car!", args[0]), args[1]);
  return SCHEME_UNSPECIFIED;
}

static value builtin_set_cdr(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  set_cdr(vm, check_pair(vm, "set-cdr!", args[0]), args[1]);
  return SCHEME_UNSPECIFIED;
}

/** Follows a path such as "dda": first the last letter. */
static value follow(struct vm *vm, const char *who, value v, const char *path) {
  for (; *path != '\0'; path++) {
    (void)check_pair(vm, who, v);
    v = *path == 'a' ? car(v) : cdr(v);
  }
  return v;
}

#define ACCESSOR(function, who, path)                                                              \
  static value function(struct vm *vm, uint32_t count, value *args) {                              \
    (void)count;                                                                                   \
    return follow(vm, who, args[0], path);                                                         \
  }
ACCESSOR(builtin_car, "car", "a")
ACCESSOR(builtin_cdr, "cdr", "d")
ACCESSOR(builtin_caar, "caar", "aa")
ACCESSOR(builtin_cadr, "cadr", "da")
ACCESSOR(builtin_cdar, "cdar", "ad")
ACCESSOR(builtin_cddr, "cddr", "dd")
ACCESSOR(builtin_caaar, "caaar", "aaa")
ACCESSOR(builtin_caadr, "caadr", "daa")
ACCESSOR(builtin_cadar, "cadar", "ada")
ACCESSOR(builtin_caddr, "caddr", "dda")
ACCESSOR(builtin_cdaar, "cdaar", "aad")
ACCESSOR(builtin_cdadr, "cdadr", "dad")
ACCESSOR(builtin_cddar, "cddar", "add")
ACCESSOR(builtin_cdddr, "cdddr", "ddd")
ACCESSOR(builtin_cadddr, "cadddr", "ddda")
ACCESSOR(builtin_cddddr, "cddddr", "dddd")

/* ---- predicates ---- */

/** A proper list, found by two pointers of which one is twice as fast. */
static bool is_proper_list(value v) {
  value slow = v;
  for (bool odd = false; is_pair(v); odd = !odd) {
    v = cdr(v);
    if (odd) slow = cdr(slow);
    if (v == slow && is_pair(v)) return false;
  }
  return v == SCHEME_NIL;
}

#define PREDICATE(function, test)                                                                  \
  static value function(struct vm *vm, uint32_t count, value *args) {                              \
    (void)vm, (void)count;                                                                         \
    return boolean(test);                                                                          \
  }
PREDICATE(builtin_pair_p, is_pair(args[0]))
PREDICATE(builtin_null_p, args[0] == SCHEME_NIL)
PREDICATE(builtin_list_p, is_proper_list(args[0]))
PREDICATE(builtin_eq_p, args[0] == args[1])
PREDICATE(builtin_eqv_p, is_eqv(args[0], args[1]))
PREDICATE(builtin_equal_p, is_equal(vm, args[0], args[1]))
PREDICATE(builtin_not, args[0] == SCHEME_FALSE)

/* ---- making lists ---- */

static value builtin_list(struct vm *vm, uint32_t count, value *args) {
  value list = SCHEME_NIL;
  while (count-- > 0)
    list = scheme_cons(vm, args[count], list);
  return list;
}

static value builtin_cons_star(struct vm *vm, uint32_t count, value *args) {
  value list = args[--count];
  while (count-- > 0)
    list = scheme_cons(vm, args[count], list);
  return list;
}

static value builtin_make_list(struct vm *vm, uint32_t count, value *args) {
  value list = SCHEME_NIL;
  uint64_t length = check_index(vm, "make-list", args[0], (uint64_t)FIXNUM_MAX);
  while (length-- > 0) {
    list = scheme_cons(vm, count > 1 ? args[1] : SCHEME_UNSPECIFIED, list);
  }
  return list;
}

/** Turns a list around in place, in front of `tail`. */
static value reverse_onto(struct vm *vm, value list, value tail) {
  while (list != SCHEME_NIL) {
    value next = cdr(list);
    set_cdr(vm, list, tail);
    tail = list;
    list = next;
  }
  return tail;
}

/** A copy of the list in *from, in reverse; *from ends up empty. */
static value copy_reversed(struct vm *vm, value *from) {
  value copy = SCHEME_NIL;
  while (*from != SCHEME_NIL) {
    copy = scheme_cons(vm, car(*from), copy);
    *from = cdr(*from);
  }
  return copy;
}

static value builtin_reverse(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  (void)check_list(vm, "reverse", args[0]);
  return copy_reversed(vm, &args[0]);
}

/** Copies all but the last, which becomes the end. */
static value builtin_append(struct vm *vm, uint32_t count, value *args) {
  if (count == 0) return SCHEME_NIL;
  value *result = &args[count - 1];
  for (uint32_t i = count - 1; i-- > 0;) {
    (void)check_list(vm, "append", args[i]);
    value copy = copy_reversed(vm, &args[i]);
    *result = reverse_onto(vm, copy, *result);
  }
  return *result;
}

/** Of an improper list too; what is no pair is returned as it is. */
static value builtin_list_copy(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  value copy = SCHEME_NIL;
  while (is_pair(args[0])) {
    copy = scheme_cons(vm, car(args[0]), copy);
    args[0] = cdr(args[0]);
  }
  return reverse_onto(vm, copy, args[0]);
}

/* ---- looking into lists ---- */

static value builtin_length(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  return fixnum((int64_t)check_list(vm, "length", args[0]));
}

static value tail_of(struct vm *vm, const char *who, value list, value index) {
  uint64_t left = check_index(vm, who, index, (uint64_t)FIXNUM_MAX);
  while (left-- > 0)
    list = cdr(check_pair(vm, who, list));
  return list;
}

static value builtin_list_tail(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  return tail_of(vm, "list-tail", args[0], args[1]);
}

static value builtin_list_ref(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  return car(check_pair(vm, "list-ref", tail_of(vm, "list-ref", args[0], args[1])));
}

static value builtin_last_pair(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  value list = check_pair(vm, "last-pair", args[0]);
  while (is_pair(cdr(list)))
    list = cdr(list);
  return list;
}

#define MEMBER(function, who, same)                                                                \
  static value function(struct vm *vm, uint32_t count, value *args) {                              \
    (void)count;                                                                                   \
    value list = args[1];                                                                          \
    for (; is_pair(list); list = cdr(list)) {                                                      \
      if (same(args[0], car(list))) return list;                                                   \
    }                                                                                              \
    if (list != SCHEME_NIL) raise_type(vm, who, "proper list", args[1]);                           \
    return SCHEME_FALSE;                                                                           \
  }
#define ASSOCIATION(function, who, same)                                                           \
  static value function(struct vm *vm, uint32_t count, value *args) {                              \
    (void)count;                                                                                   \
    value list = args[1];                                                                          \
    for (; is_pair(list); list = cdr(list)) {                                                      \
      if (same(args[0], car(check_pair(vm, who, car(list))))) return car(list);                    \
    }                                                                                              \
    if (list != SCHEME_NIL) raise_type(vm, who, "proper list", args[1]);                           \
    return SCHEME_FALSE;                                                                           \
  }
#define IS_EQ(a, b)    ((a) == (b))
#define IS_EQUAL(a, b) is_equal(vm, (a), (b))
MEMBER(builtin_memq, "memq", IS_EQ)
MEMBER(builtin_memv, "memv", is_eqv)
MEMBER(builtin_member, "member", IS_EQUAL)
ASSOCIATION(builtin_assq, "assq", IS_EQ)
ASSOCIATION(builtin_assv, "assv", is_eqv)
ASSOCIATION(builtin_assoc, "assoc", IS_EQUAL)

/* ---- the table ---- */

static const struct primitive_info rows[] = {
    {"cons", builtin_cons, 2, 2, SPECIAL_NONE},
    {"set-car!", builtin_set_car, 2, 2, SPECIAL_NONE},
    {"set-cdr!", builtin_set_cdr, 2, 2, SPECIAL_NONE},
    {"car", builtin_car, 1, 1, SPECIAL_NONE},
    {"cdr", builtin_cdr, 1, 1, SPECIAL_NONE},
    {"caar", builtin_caar, 1, 1, SPECIAL_NONE},
    {"cadr", builtin_cadr, 1, 1, SPECIAL_NONE},
    {"cdar", builtin_cdar, 1, 1, SPECIAL_NONE},
    {"cddr", builtin_cddr, 1, 1, SPECIAL_NONE},
    {"caaar", builtin_caaar, 1, 1, SPECIAL_NONE},
    {"caadr", builtin_caadr, 1, 1, SPECIAL_NONE},
    {"cadar", builtin_cadar, 1, 1, SPECIAL_NONE},
    {"caddr", builtin_caddr, 1, 1, SPECIAL_NONE},
    {"cdaar", builtin_cdaar, 1, 1, SPECIAL_NONE},
    {"cdadr", builtin_cdadr, 1, 1, SPECIAL_NONE},
    {"cddar", builtin_cddar, 1, 1, SPECIAL_NONE},
    {"cdddr", builtin_cdddr, 1, 1, SPECIAL_NONE},
    {"cadddr", builtin_cadddr, 1, 1, SPECIAL_NONE},
    {"cddddr", builtin_cddddr, 1, 1, SPECIAL_NONE},
    {"pair?", builtin_pair_p, 1, 1, SPECIAL_NONE},
    {"null?", builtin_null_p, 1, 1, SPECIAL_NONE},
    {"list?", builtin_list_p, 1, 1, SPECIAL_NONE},
    {"eq?", builtin_eq_p, 2, 2, SPECIAL_NONE},
    {"eqv?", builtin_eqv_p, 2, 2, SPECIAL_NONE},
    {"equal?", builtin_equal_p, 2, 2, SPECIAL_NONE},
    {"not", builtin_not, 1, 1, SPECIAL_NONE},
    {"list", builtin_list, 0, ANY_NUMBER, SPECIAL_NONE},
    {"cons*", builtin_cons_star, 1, ANY_NUMBER, SPECIAL_NONE},
    {"make-list", builtin_make_list, 1, 2, SPECIAL_NONE},
    {"length", builtin_length, 1, 1, SPECIAL_NONE},
    {"append", builtin_append, 0, ANY_NUMBER, SPECIAL_NONE},
    {"%append", builtin_append, 0, ANY_NUMBER, SPECIAL_NONE},
    {"reverse", builtin_reverse, 1, 1, SPECIAL_NONE},
    {"list-copy", builtin_list_copy, 1, 1, SPECIAL_NONE},
    {"list-tail", builtin_list_tail, 2, 2, SPECIAL_NONE},
    {"list-ref", builtin_list_ref, 2, 2, SPECIAL_NONE},
    {"last-pair", builtin_last_pair, 1, 1, SPECIAL_NONE},
    {"memq", builtin_memq, 2, 2, SPECIAL_NONE},
    {"memv", builtin_memv, 2, 2, SPECIAL_NONE},
    {"%member", builtin_member, 2, 2, SPECIAL_NONE},
    {"assq", builtin_assq, 2, 2, SPECIAL_NONE},
    {"assv", builtin_assv, 2, 2, SPECIAL_NONE},
    {"%assoc", builtin_assoc, 2, 2, SPECIAL_NONE},
};

const struct builtin_table list_builtins = {rows, sizeof rows / sizeof rows[0]};
