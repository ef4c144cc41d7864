/* builtins_weak.c: ephemerons (SRFI 124) and finalizers. */
#include "builtins.h"

/* ---- ephemerons ---- */

static value builtin_make_ephemeron(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  return make_ephemeron(vm, args[0], args[1]);
}

static value builtin_ephemeron_p(struct vm *vm, uint32_t count, value *args) {
  (void)vm, (void)count;
  return boolean(is_ephemeron(args[0]));
}

static struct ephemeron *check_ephemeron(struct vm *vm, const char *who, value v) {
  if (!is_ephemeron(v)) raise_type(vm, who, "ephemeron", v);
  return ephemeron_of(v);
}

/** What a slot of an ephemeron holds: #f where the key has died. */
static value content(struct vm *vm, const tsr_slot *slot) {
  value v = tsr_load_weak(&vm->mutator, slot);
  return v == WEAK_CLEARED ? SCHEME_FALSE : v;
}

static value builtin_ephemeron_broken_p(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  const struct ephemeron *e = check_ephemeron(vm, "ephemeron-broken?", args[0]);
  return boolean(tsr_load_weak(&vm->mutator, &e->pair.key) == WEAK_CLEARED);
}

static value builtin_ephemeron_key(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  return content(vm, &check_ephemeron(vm, "ephemeron-key", args[0])->pair.key);
}

static value builtin_ephemeron_datum(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  return content(vm, &check_ephemeron(vm, "ephemeron-datum", args[0])->pair.value);
}

/** Its argument is alive until here: it lies on the stack. */
static value builtin_reference_barrier(struct vm *vm, uint32_t count, value *args) {
  (void)vm, (void)count, (void)args;
  return SCHEME_UNSPECIFIED;
}

/* ---- finalizers ---- */

/** (finalize object datum): when nothing leads to the object any more, next-finalized returns it. */
static value builtin_finalize(struct vm *vm, uint32_t count, value *args) {
  (void)count;
  if (!is_reference(args[0])) raise_type(vm, "finalize", "object of the heap", args[0]);
  tsr_status status = tsr_finalizer_attach(&vm->mutator, ref_of(args[0]), args[1], 0, NULL);
  if (status != TSR_OK) raise_out_of_memory(vm);
  return SCHEME_UNSPECIFIED;
}

/** (next-finalized): a pair of an object and its datum, or #f. */
static value builtin_next_finalized(struct vm *vm, uint32_t count, value *args) {
  (void)count, (void)args;
  tsr_finalizable ready;
  if (!tsr_finalizer_next(&vm->mutator, &ready)) return SCHEME_FALSE;
  return scheme_cons(vm, reference_to(ready.object), ready.data);
}

/* ---- the table ---- */

static const struct primitive_info rows[] = {
    {"make-ephemeron", builtin_make_ephemeron, 2, 2, SPECIAL_NONE},
    {"ephemeron?", builtin_ephemeron_p, 1, 1, SPECIAL_NONE},
    {"ephemeron-broken?", builtin_ephemeron_broken_p, 1, 1, SPECIAL_NONE},
    {"ephemeron-key", builtin_ephemeron_key, 1, 1, SPECIAL_NONE},
    {"ephemeron-datum", builtin_ephemeron_datum, 1, 1, SPECIAL_NONE},
    {"reference-barrier", builtin_reference_barrier, 1, 1, SPECIAL_NONE},
    {"finalize", builtin_finalize, 2, 2, SPECIAL_NONE},
    {"next-finalized", builtin_next_finalized, 0, 0, SPECIAL_NONE},
};

const struct builtin_table weak_builtins = {rows, sizeof rows / sizeof rows[0]};
