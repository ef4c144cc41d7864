/*
 * binding.c: everything that Tessera has to be told about this VM.
 *
 * A binding answers four questions, and this file answers them in this order:
 *
 *  1. What do objects look like?       A table of layouts: data, no callbacks.
 *  2. Which words are references?      The reference rule of the value tagging in value.h.
 *  3. Where are the roots?             The stack, the registers, the symbol table; C code adds
 *                                      handle scopes where it needs them.
 *  4. What does the VM promise?        A write barrier on every store, polls in loops and calls,
 *                                      and no reference anywhere but in slots and roots. In
 *                                      return objects may move.
 *
 * The other half of a binding is discipline, kept by heap.h (allocate, write the header,
 * post-alloc) and by store() (the barrier).
 */
#include "heap.h"
#include <stdio.h>
#include <string.h>

/* ---- 1. objects ---- */

/** Bit of a slot in a layout's bitmap: bit i stands for word i of the object. */
#define SLOT(struct_name, field) (1ull << (offsetof(struct struct_name, field) / sizeof(value)))

/** The length word that vectors, strings and the like share, and the count in a header. */
#define LENGTH(struct_name, unit_bytes)                                                            \
  { .offset = offsetof(struct struct_name, length), .width = 8, .unit = (unit_bytes) }
#define HEADER_COUNT                                                                               \
  { .offset = 6, .width = 2, .unit = sizeof(value) }

#define FIXED(struct_name)                                                                         \
  TSR_LAYOUT_INIT, .name = #struct_name, .kind = TSR_LAYOUT_FIXED,                                 \
                   .fixed_bytes = sizeof(struct struct_name)
#define ARRAY(struct_name, array_kind)                                                             \
  TSR_LAYOUT_INIT, .name = #struct_name, .kind = (array_kind),                                     \
                   .fixed_bytes = sizeof(struct struct_name)

/* A type's number is its layout's: they count from 1 in the same order. */
static const tsr_layout layouts[TYPE_LAST] = {
    [TYPE_PAIR - 1] = {FIXED(pair), .fixed_refs = SLOT(pair, car) | SLOT(pair, cdr)},
    [TYPE_FLONUM - 1] = {FIXED(flonum)},
    [TYPE_STRING - 1] = {ARRAY(string, TSR_LAYOUT_BYTES),
                         .length = LENGTH(string, sizeof(uint32_t))},
    [TYPE_SYMBOL - 1] = {FIXED(symbol), .fixed_refs = SLOT(symbol, name) | SLOT(symbol, value)},
    [TYPE_VECTOR - 1] = {ARRAY(vector, TSR_LAYOUT_REFERENCES),
                         .length = LENGTH(vector, sizeof(value))},
    [TYPE_CLOSURE - 1] = {ARRAY(closure, TSR_LAYOUT_REFERENCES), .fixed_refs = SLOT(closure, code),
                          .length = HEADER_COUNT},
    [TYPE_BOX - 1] = {FIXED(box), .fixed_refs = SLOT(box, content)},
    [TYPE_CODE - 1] = {ARRAY(code, TSR_LAYOUT_ELEMENTS),
                       .fixed_refs = SLOT(code, name) | SLOT(code, file) | SLOT(code, lines),
                       .length = LENGTH(code, sizeof(struct instruction)),
                       .element_bytes = sizeof(struct instruction),
                       .element_refs = SLOT(instruction, k)},
    [TYPE_BYTES - 1] = {ARRAY(bytes, TSR_LAYOUT_BYTES), .length = LENGTH(bytes, 1)},
    [TYPE_RECORD_TYPE - 1] = {FIXED(record_type),
                              .fixed_refs = SLOT(record_type, name) | SLOT(record_type, fields)},
    [TYPE_RECORD - 1] = {ARRAY(record, TSR_LAYOUT_REFERENCES), .fixed_refs = SLOT(record, type),
                         .length = HEADER_COUNT},
    [TYPE_CONTINUATION - 1] = {ARRAY(continuation, TSR_LAYOUT_REFERENCES),
                               .length = LENGTH(continuation, sizeof(value))},
    [TYPE_VALUES - 1] = {TSR_LAYOUT_INIT, .name = "values", .kind = TSR_LAYOUT_REFERENCES,
                         .fixed_bytes = sizeof(struct vector),
                         .length = LENGTH(vector, sizeof(value))},
    [TYPE_PRIMITIVE - 1] = {FIXED(primitive)},
    [TYPE_CONDITION - 1] = {FIXED(condition),
                            .fixed_refs = SLOT(condition, message) | SLOT(condition, irritants) |
                                          SLOT(condition, file) | SLOT(condition, line)},
    [TYPE_EPHEMERON - 1] = {TSR_LAYOUT_INIT, .name = "ephemeron", .kind = TSR_LAYOUT_EPHEMERON,
                            .fixed_bytes = sizeof(struct ephemeron),
                            .weak_offset = offsetof(struct ephemeron, pair)},
};

/* ---- 3. roots that no registration describes ---- */

/** The symbol table moves when it grows, so it is reported anew at each collection. */
static void scan_heap_roots(void *context, tsr_visitor *visitor) {
  struct vm *vm = context;
  if (vm->symbols.count > 0) tsr_visit_slots(visitor, vm->symbols.symbols, vm->symbols.count);
}

/** The running activation goes on changing its part of the stack. The memory set aside for a full
    heap is due again when a quarter of that heap's data is gone. */
static void collection_ended(void *context, const tsr_collection *collection) {
  struct vm *vm = context;
  stack_lower_clean(vm, vm->fp);
  vm->live_bytes = collection->live_bytes;
  vm->reserve_due = vm->registers[REGISTER_RESERVE] == SCHEME_FALSE &&
                    vm->live_bytes < vm->live_bytes_at_full / 4 * 3;
}

/* ---- the binding ---- */

static const tsr_binding scheme_binding = {
    TSR_BINDING_HEADER,
    .name = "scheme",
    /* 4. promises */
    .does = TSR_DOES_WRITE_BARRIER | TSR_DOES_SAFEPOINTS | TSR_DOES_UPDATABLE_SLOTS |
            TSR_DOES_WEAK_LOADS,
    /* 2. references */
    .references = {.address_mask = ~(uint64_t)TAG_MASK, .low_tags = 1u << TAG_REFERENCE},
    .layouts = layouts,
    .layout_count = TYPE_LAST,
    .scan_heap_roots = scan_heap_roots,
    .weak_cleared = WEAK_CLEARED,
    .collection_ended = collection_ended,
};

static bool add_roots(struct vm *vm, tsr_error *error) {
  for (int i = 0; i < REGISTER_COUNT; i++)
    vm->registers[i] = SCHEME_FALSE;
  return tsr_root_add(vm->heap, slot_of(vm->registers), REGISTER_COUNT, TSR_ROOT_PRECISE,
                      "registers", error) == TSR_OK &&
         stack_create(vm, error);
}

bool vm_open(struct vm *vm) {
  memset(vm, 0, sizeof *vm);
  tsr_error error = {.message = "out of native memory"};
  vm->heap = tsr_heap_create(&scheme_binding, vm, NULL, &error);
  if (vm->heap == NULL) goto no_heap;
  if (!add_roots(vm, &error)) goto no_roots;
  if (tsr_bind_mutator_in(vm->heap, &vm->mutator, vm, &error) != TSR_OK) goto no_roots;
  return true;

no_roots:
  (void)tsr_heap_destroy(vm->heap, NULL);
  stack_destroy(vm);
no_heap:
  fprintf(stderr, "tessera-scheme: %s\n", error.message);
  return false;
}

void vm_close(struct vm *vm) {
  tsr_error error;
  if (tsr_unbind_mutator(&vm->mutator, &error) != TSR_OK ||
      tsr_heap_destroy(vm->heap, &error) != TSR_OK) {
    fprintf(stderr, "tessera-scheme: %s\n", error.message);
  }
  stack_destroy(vm);
  symbol_table_free(vm);
}
