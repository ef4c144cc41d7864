/*
 * heap.h: making objects.
 *
 * Every allocation may collect, and every collection may move every object. So whoever calls one
 * of these functions keeps the values that it needs afterwards in roots: the VM's stack and
 * registers, or a handle scope. The functions themselves look after their arguments.
 *
 * They never return failure: where there is no room they raise the error "out of memory".
 */
#ifndef SCHEME_HEAP_H
#define SCHEME_HEAP_H

#include "vm.h"

/** Whether a bump allocation of so many bytes will hit. The compiler joins this test with the one
    inside tsr_alloc_default(). */
static inline bool room_for(const struct vm *vm, size_t bytes) {
  return vm->mutator.bump[0].cursor + bytes <= vm->mutator.bump[0].limit;
}

value cons_slow(struct vm *vm, value car, value cdr);
value flonum_slow(struct vm *vm, double number);

/** A new pair; false where the slow path is needed. For the interpreter, which saves its state only
    then. */
static inline bool cons_fast(struct vm *vm, value car, value cdr, value *result) {
  if (TSR_UNLIKELY(!room_for(vm, sizeof(struct pair)))) return false;
  struct pair *pair = tsr_alloc_default(&vm->mutator, sizeof(struct pair));
  pair->header = HEADER(TYPE_PAIR, 0);
  pair->car = car;
  pair->cdr = cdr;
  tsr_post_alloc_default(&vm->mutator, pair, sizeof(struct pair));
  *result = reference_to(pair);
  return true;
}

static inline bool flonum_fast(struct vm *vm, double number, value *result) {
  if (TSR_UNLIKELY(!room_for(vm, sizeof(struct flonum)))) return false;
  struct flonum *flonum = tsr_alloc_default(&vm->mutator, sizeof(struct flonum));
  flonum->header = HEADER(TYPE_FLONUM, 0);
  flonum->number = number;
  tsr_post_alloc_default(&vm->mutator, flonum, sizeof(struct flonum));
  *result = reference_to(flonum);
  return true;
}

static inline value make_flonum(struct vm *vm, double number) {
  value v;
  return TSR_LIKELY(flonum_fast(vm, number, &v)) ? v : flonum_slow(vm, number);
}

/** Stores into a field of an object that may be old. */
static inline void store(struct vm *vm, value object, value *field, value v) {
  tsr_write(&vm->mutator, ref_of(object), slot_of(field), v);
}

/** A slot that keeps `v` until the open handle scope closes. */
tsr_slot *handle(struct vm *vm, value v);

/* The two whose machine code the tests count. The interpreter inlines the same functions. */

value scheme_cons(struct vm *vm, value car, value cdr);
void scheme_set_car(struct vm *vm, value pair, value v);

static inline void set_car(struct vm *vm, value pair, value v) {
  store(vm, pair, &pair_of(pair)->car, v);
}
static inline void set_cdr(struct vm *vm, value pair, value v) {
  store(vm, pair, &pair_of(pair)->cdr, v);
}

value make_string(struct vm *vm, uint64_t length, uint32_t fill);
/** From UTF-8; bytes that are not become U+FFFD. */
value make_string_utf8(struct vm *vm, const char *text, size_t bytes);
/** A vector filled with `fill`. */
value make_vector(struct vm *vm, uint64_t length, value fill);
/** TYPE_VALUES; `items` lie on the stack. */
value make_values(struct vm *vm, uint32_t count, const value *items);
/** `items`, the captured values, lie on the stack. */
value make_closure(struct vm *vm, value code, uint32_t captured, const value *items);
value make_box(struct vm *vm, value content);
value make_code(struct vm *vm, uint32_t instructions, uint32_t lines);
value make_symbol(struct vm *vm, value name, uint32_t id);
value make_record_type(struct vm *vm, value name, value fields);
/** `items`, the fields, lie on the stack. */
value make_record(struct vm *vm, value type, uint32_t fields, const value *items);
/** Copies the stack below `top`. */
value make_continuation(struct vm *vm, tsr_slot *top, value pc, value fp);
value make_primitive(struct vm *vm, const struct primitive_info *info);
value make_condition_object(struct vm *vm);
value make_ephemeron(struct vm *vm, value key, value datum);

/** Sets memory aside for the handler of an "out of memory". */
void reserve_fill(struct vm *vm);
/** Gives it to the handler. */
void reserve_release(struct vm *vm);

#endif
