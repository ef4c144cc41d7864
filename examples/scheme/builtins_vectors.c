/* builtins_vectors.c: vectors. Bulk stores go through tsr_copy_slots() and tsr_fill_slots(). */
#include "builtins.h"

static value builtin_vector_p(struct vm *vm, uint32_t count, value *args) {
  (void)vm, (void)count;
  return boolean(is_vector(args[0]));
}

static value builtin_make_vector(struct vm *vm, uint32_t count, value *args) {
  uint64_t length = check_index(vm, "make-vector", args[0], (uint64_t)FIXNUM_MAX);
  return make_vector(vm, length, count > 1 ? args[1] : SCHEME_UNSPECIFIED);
}

static void copy_items(struct vm *vm, value to, uint64_t at, const value *from, uint64_t count) {
  if (count == 0) return;
  tsr_copy_slots(&vm->mutator, ref_of(to), slot_of(vector_of(to)->items + at),
                 (const tsr_slot *)(const void *)from, count);
}

static value builtin_vector(struct vm *vm, uint32_t count, value *args) {
  value v = make_vector(vm, count, SCHEME_UNSPECIFIED);
  copy_items(vm, v, 0, args, count);
  return v;
}

static value builtin_vector_length(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  return fixnum((int64_t)check_vector(vm, "vector-length", args[0])->length);
}

static value *item_at(struct vm *vm, const char *who, value vector, value index) {
  struct vector *v = check_vector(vm, who, vector);
  uint64_t i = check_index(vm, who, index, v->length);
  if (i == v->length) (void)check_index(vm, who, index, v->length - 1);
  return &v->items[i];
}

static value builtin_vector_ref(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  return *item_at(vm, "vector-ref", args[0], args[1]);
}

static value builtin_vector_set(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  store(vm, args[0], item_at(vm, "vector-set!", args[0], args[1]), args[2]);
  return SCHEME_UNSPECIFIED;
}

static value builtin_vector_fill(struct vm *vm, uint32_t count, value *args) {
  uint64_t start, end;
  struct vector *vector = check_vector(vm, "vector-fill!", args[0]);
  check_range(vm, "vector-fill!", count, args, 2, vector->length, &start, &end);
  if (end > start) {
    tsr_fill_slots(&vm->mutator, ref_of(args[0]), slot_of(vector->items + start), end - start,
                   args[1]);
  }
  return SCHEME_UNSPECIFIED;
}

static value copy_part(struct vm *vm, const char *who, uint32_t count, value *args) {
  uint64_t start, end;
  check_range(vm, who, count, args, 1, check_vector(vm, who, args[0])->length, &start, &end);
  value v = make_vector(vm, end - start, SCHEME_UNSPECIFIED);
  copy_items(vm, v, 0, vector_of(args[0])->items + start, end - start);
  return v;
}

static value builtin_vector_copy(struct vm *vm, uint32_t count, value *args) {
  return copy_part(vm, "vector-copy", count, args);
}

static value builtin_subvector(struct vm *vm, uint32_t count, value *args) {
  return copy_part(vm, "subvector", count, args);
}

/** (vector-copy! to at from [start end]) */
static value builtin_vector_copy_into(struct vm *vm, uint32_t count, value *args) {
  static const char who[] = "vector-copy!";
  uint64_t start, end;
  uint64_t room = check_vector(vm, who, args[0])->length;
  uint64_t at = check_index(vm, who, args[1], room);
  check_range(vm, who, count, args, 3, check_vector(vm, who, args[2])->length, &start, &end);
  if (end - start > room - at) raise_error_with(vm, "vector-copy!: no room at index", args[1]);
  copy_items(vm, args[0], at, vector_of(args[2])->items + start, end - start);
  return SCHEME_UNSPECIFIED;
}

static value builtin_vector_append(struct vm *vm, uint32_t count, value *args) {
  uint64_t length = 0, at = 0;
  for (uint32_t i = 0; i < count; i++) {
    length += check_vector(vm, "vector-append", args[i])->length;
  }
  value v = make_vector(vm, length, SCHEME_UNSPECIFIED);
  for (uint32_t i = 0; i < count; i++) {
    copy_items(vm, v, at, vector_of(args[i])->items, vector_of(args[i])->length);
    at += vector_of(args[i])->length;
  }
  return v;
}

static value builtin_vector_to_list(struct vm *vm, uint32_t count, value *args) {
  uint64_t start, end;
  uint64_t length = check_vector(vm, "vector->list", args[0])->length;
  check_range(vm, "vector->list", count, args, 1, length, &start, &end);
  value list = SCHEME_NIL;
  while (end-- > start)
    list = scheme_cons(vm, vector_of(args[0])->items[end], list);
  return list;
}

static value builtin_list_to_vector(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  value v = make_vector(vm, check_list(vm, "list->vector", args[0]), SCHEME_UNSPECIFIED);
  value *to = vector_of(v)->items;
  for (value rest = args[0]; rest != SCHEME_NIL; rest = cdr(rest))
    store(vm, v, to++, car(rest));
  return v;
}

static const struct primitive_info rows[] = {
    {"vector?", builtin_vector_p, 1, 1, SPECIAL_NONE},
    {"make-vector", builtin_make_vector, 1, 2, SPECIAL_NONE},
    {"vector", builtin_vector, 0, ANY_NUMBER, SPECIAL_NONE},
    {"vector-length", builtin_vector_length, 1, 1, SPECIAL_NONE},
    {"vector-ref", builtin_vector_ref, 2, 2, SPECIAL_NONE},
    {"vector-set!", builtin_vector_set, 3, 3, SPECIAL_NONE},
    {"vector-fill!", builtin_vector_fill, 2, 4, SPECIAL_NONE},
    {"vector-copy", builtin_vector_copy, 1, 3, SPECIAL_NONE},
    {"subvector", builtin_subvector, 3, 3, SPECIAL_NONE},
    {"vector-copy!", builtin_vector_copy_into, 3, 5, SPECIAL_NONE},
    {"vector-append", builtin_vector_append, 0, ANY_NUMBER, SPECIAL_NONE},
    {"vector->list", builtin_vector_to_list, 1, 3, SPECIAL_NONE},
    {"list->vector", builtin_list_to_vector, 1, 1, SPECIAL_NONE},
    {"%list->vector", builtin_list_to_vector, 1, 1, SPECIAL_NONE},
};

const struct builtin_table vector_builtins = {rows, sizeof rows / sizeof rows[0]};
