/*
 * heap.c: making objects, out of line.
 *
 * One function, allocate(), asks Tessera; the rest fill in what it returns. Arguments that are
 * values wait in two registers of the VM, which are roots, until the object is there.
 *
 * An object above the inline limit is armed from birth, so the fields of objects that may be
 * large are stored with tsr_fill_slots() and tsr_copy_slots(), which know.
 */
#include "heap.h"
#include "utf8.h"
#include <string.h>

/** More bytes than any heap holds, and few enough that no size computed from it overflows. */
#define OBJECT_BYTES_MAX ((uint64_t)1 << 46)

/* ---- the reserve ---- */

/* When the heap is full, the program's handler must run in it. So a sixteenth of a small heap, at
 * most a megabyte, is kept back from the start and let go with the error; binding.c notes when
 * there is room to set it aside anew. */

enum { RESERVE_LEAST = 1 << 16, RESERVE_MOST = 1 << 20 };

static size_t reserve_bytes(struct vm *vm) {
  tsr_stats stats = {.size = sizeof stats};
  if (tsr_heap_stats(vm->heap, &stats, NULL) != TSR_OK) return RESERVE_LEAST;
  uint64_t bytes = stats.heap_max_bytes / 16;
  if (bytes < RESERVE_LEAST) return RESERVE_LEAST;
  return bytes > RESERVE_MOST ? RESERVE_MOST : tsr_round_size((size_t)bytes);
}

void reserve_fill(struct vm *vm) {
  vm->reserve_due = false;
  size_t bytes = reserve_bytes(vm);
  struct bytes *reserve = tsr_alloc_with(&vm->mutator, bytes, TSR_OBJECT_ALIGN, 0, TSR_DEFAULT,
                                         TSR_ALLOC_NO_COLLECT | TSR_ALLOC_NO_OOM_CALLBACK, NULL);
  if (reserve == NULL) return;
  reserve->header = HEADER(TYPE_BYTES, 0);
  reserve->length = bytes - sizeof *reserve;
  (void)tsr_post_alloc(&vm->mutator, (tsr_ref)(void *)reserve, bytes, TSR_DEFAULT);
  vm->registers[REGISTER_RESERVE] = reference_to(reserve);
}

void reserve_release(struct vm *vm) {
  vm->registers[REGISTER_RESERVE] = SCHEME_FALSE;
  vm->live_bytes_at_full = vm->live_bytes;
}

/* ---- allocation ---- */

/** Zeroed memory; the caller writes the header and the length, then calls born(). */
static void *allocate(struct vm *vm, uint64_t bytes) {
  if (bytes > OBJECT_BYTES_MAX) raise_out_of_memory(vm);
  if (TSR_UNLIKELY(vm->reserve_due)) reserve_fill(vm);
  void *object = tsr_alloc_default(&vm->mutator, tsr_round_size(bytes));
  if (object == NULL) {
    if (bytes <= RESERVE_MOST) reserve_release(vm);
    raise_out_of_memory(vm);
  }
  return object;
}

static value born(struct vm *vm, void *object, uint64_t bytes) {
  tsr_post_alloc_default(&vm->mutator, object, tsr_round_size(bytes));
  return reference_to(object);
}

/** What waited in a register, which forgets it: roots should not outlive their purpose. */
static value take(struct vm *vm, enum vm_register name) {
  value v = vm->registers[name];
  vm->registers[name] = SCHEME_FALSE;
  return v;
}

tsr_slot *handle(struct vm *vm, value v) {
  tsr_slot *slot = tsr_local(&vm->mutator, v);
  if (slot == NULL) raise_out_of_memory(vm);
  return slot;
}

/* ---- pairs and flonums ---- */

__attribute__((noinline, cold)) value cons_slow(struct vm *vm, value car, value cdr) {
  vm->registers[REGISTER_A] = car;
  vm->registers[REGISTER_B] = cdr;
  struct pair *pair = allocate(vm, sizeof *pair);
  pair->header = HEADER(TYPE_PAIR, 0);
  pair->car = take(vm, REGISTER_A);
  pair->cdr = take(vm, REGISTER_B);
  return born(vm, pair, sizeof *pair);
}

__attribute__((noinline)) value scheme_cons(struct vm *vm, value car, value cdr) {
  value pair;
  return TSR_LIKELY(cons_fast(vm, car, cdr, &pair)) ? pair : cons_slow(vm, car, cdr);
}

__attribute__((noinline)) void scheme_set_car(struct vm *vm, value pair, value v) {
  set_car(vm, pair, v);
}

__attribute__((noinline, cold)) value flonum_slow(struct vm *vm, double number) {
  struct flonum *flonum = allocate(vm, sizeof *flonum);
  flonum->header = HEADER(TYPE_FLONUM, 0);
  flonum->number = number;
  return born(vm, flonum, sizeof *flonum);
}

/* ---- strings and symbols ---- */

value make_string(struct vm *vm, uint64_t length, uint32_t fill) {
  if (length > OBJECT_BYTES_MAX / 8) raise_out_of_memory(vm);
  uint64_t bytes = sizeof(struct string) + length * sizeof(uint32_t);
  struct string *string = allocate(vm, bytes);
  string->header = HEADER(TYPE_STRING, 0);
  string->length = length;
  for (uint64_t i = 0; i < length; i++)
    string->chars[i] = fill;
  return born(vm, string, bytes);
}

value make_string_utf8(struct vm *vm, const char *text, size_t bytes) {
  value string = make_string(vm, utf8_count(text, bytes), 0);
  uint32_t *chars = string_of(string)->chars;
  for (size_t at = 0; at < bytes;)
    *chars++ = utf8_next(text, bytes, &at);
  return string;
}

value make_symbol(struct vm *vm, value name, uint32_t id) {
  vm->registers[REGISTER_A] = name;
  struct symbol *symbol = allocate(vm, sizeof *symbol);
  symbol->header = HEADER(TYPE_SYMBOL, 0);
  symbol->name = take(vm, REGISTER_A);
  symbol->value = SCHEME_UNBOUND;
  symbol->id = id;
  return born(vm, symbol, sizeof *symbol);
}

/* ---- arrays of slots ---- */

/** Stores into consecutive fields of a new object. */
static void fill(struct vm *vm, value object, value *fields, uint32_t count, const value *items) {
  if (fields + count <= (value *)object_of(object) + TSR_MAX_INLINE_BYTES / sizeof(value)) {
    for (uint32_t i = 0; i < count; i++)
      fields[i] = items[i];
  } else {
    tsr_copy_slots(&vm->mutator, ref_of(object), slot_of(fields),
                   (const tsr_slot *)(const void *)items, count);
  }
}

static value make_slots(struct vm *vm, enum type type, uint64_t length, value fill) {
  if (length > OBJECT_BYTES_MAX / 8) raise_out_of_memory(vm);
  vm->registers[REGISTER_A] = fill;
  uint64_t bytes = sizeof(struct vector) + length * sizeof(value);
  struct vector *vector = allocate(vm, bytes);
  vector->header = HEADER(type, 0);
  vector->length = length;
  value v = born(vm, vector, bytes);
  if (length > 0) {
    tsr_fill_slots(&vm->mutator, ref_of(v), slot_of(vector->items), length, take(vm, REGISTER_A));
  }
  return v;
}

value make_vector(struct vm *vm, uint64_t length, value fill) {
  return make_slots(vm, TYPE_VECTOR, length, fill);
}

value make_values(struct vm *vm, uint32_t count, const value *items) {
  value v = make_slots(vm, TYPE_VALUES, count, SCHEME_UNSPECIFIED);
  fill(vm, v, values_of(v)->items, count, items);
  return v;
}

value make_continuation(struct vm *vm, tsr_slot *top, value pc, value fp) {
  size_t length = (size_t)(top - vm->stack_base);
  uint64_t bytes = sizeof(struct continuation) + length * sizeof(value);
  struct continuation *continuation = allocate(vm, bytes);
  continuation->header = HEADER(TYPE_CONTINUATION, 0);
  continuation->length = length;
  continuation->pc = pc;
  continuation->fp = fp;
  value v = born(vm, continuation, bytes);
  tsr_copy_slots(&vm->mutator, ref_of(v), slot_of(continuation->slots), vm->stack_base, length);
  return v;
}

/* ---- code and closures ---- */

/** Its instructions are all zero, its values all #f. */
value make_code(struct vm *vm, uint32_t instructions, uint32_t lines) {
  tsr_scope scope;
  tsr_scope_open(&vm->mutator, &scope);
  uint64_t table_bytes = sizeof(struct bytes) + lines * sizeof(struct line);
  struct bytes *table = allocate(vm, table_bytes);
  table->header = HEADER(TYPE_BYTES, 0);
  table->length = lines * sizeof(struct line);
  tsr_slot *table_handle = handle(vm, born(vm, table, table_bytes));

  uint64_t bytes = sizeof(struct code) + instructions * sizeof(struct instruction);
  struct code *code = allocate(vm, bytes);
  code->header = HEADER(TYPE_CODE, 0);
  code->length = instructions;
  code->name = SCHEME_FALSE;
  value v = born(vm, code, bytes);
  store(vm, v, &code->file, vm->registers[REGISTER_FILE]);
  store(vm, v, &code->lines, table_handle->word);
  tsr_scope_close(&vm->mutator, &scope);
  return v;
}

value make_closure(struct vm *vm, value code, uint32_t captured, const value *items) {
  vm->registers[REGISTER_A] = code;
  uint64_t bytes = sizeof(struct closure) + captured * sizeof(value);
  struct closure *closure = allocate(vm, bytes);
  closure->header = HEADER(TYPE_CLOSURE, captured);
  value v = born(vm, closure, bytes);
  store(vm, v, &closure->code, take(vm, REGISTER_A));
  fill(vm, v, closure->captured, captured, items);
  return v;
}

value make_box(struct vm *vm, value content) {
  vm->registers[REGISTER_A] = content;
  struct box *box = allocate(vm, sizeof *box);
  box->header = HEADER(TYPE_BOX, 0);
  box->content = take(vm, REGISTER_A);
  return born(vm, box, sizeof *box);
}

value make_primitive(struct vm *vm, const struct primitive_info *info) {
  struct primitive *primitive = allocate(vm, sizeof *primitive);
  primitive->header = HEADER(TYPE_PRIMITIVE, 0);
  primitive->info = info;
  return born(vm, primitive, sizeof *primitive);
}

/* ---- records and conditions ---- */

value make_record_type(struct vm *vm, value name, value fields) {
  vm->registers[REGISTER_A] = name;
  vm->registers[REGISTER_B] = fields;
  struct record_type *type = allocate(vm, sizeof *type);
  type->header = HEADER(TYPE_RECORD_TYPE, 0);
  type->name = take(vm, REGISTER_A);
  type->fields = take(vm, REGISTER_B);
  return born(vm, type, sizeof *type);
}

value make_record(struct vm *vm, value type, uint32_t fields, const value *items) {
  vm->registers[REGISTER_A] = type;
  uint64_t bytes = sizeof(struct record) + fields * sizeof(value);
  struct record *record = allocate(vm, bytes);
  record->header = HEADER(TYPE_RECORD, fields);
  value v = born(vm, record, bytes);
  store(vm, v, &record->type, take(vm, REGISTER_A));
  fill(vm, v, record->fields, fields, items);
  return v;
}

value make_condition_object(struct vm *vm) {
  struct condition *condition = allocate(vm, sizeof *condition);
  condition->header = HEADER(TYPE_CONDITION, 0);
  condition->message = SCHEME_FALSE;
  condition->irritants = SCHEME_NIL;
  condition->file = SCHEME_FALSE;
  condition->line = fixnum(0);
  return born(vm, condition, sizeof *condition);
}

value make_ephemeron(struct vm *vm, value key, value datum) {
  vm->registers[REGISTER_A] = key;
  vm->registers[REGISTER_B] = datum;
  struct ephemeron *ephemeron = allocate(vm, sizeof *ephemeron);
  ephemeron->header = HEADER(TYPE_EPHEMERON, 0);
  ephemeron->pair.key.word = take(vm, REGISTER_A);
  ephemeron->pair.value.word = take(vm, REGISTER_B);
  return born(vm, ephemeron, sizeof *ephemeron);
}
