/*
 * Layouts that cannot be: whatever a table of them holds is refused by name, and leaves no trace.
 */
#ifndef CONFORMANCE_REFUSALS_H
#define CONFORMANCE_REFUSALS_H

#include "testvm.h"

typedef struct refusal {
  const char *what;
  tsr_layout layout;
} refusal;

/* Callbacks for custom layouts, of which there will be no object. */
static inline size_t any_size(void *data, tsr_ref object) {
  (void)data;
  (void)object;
  return 16;
}

static inline size_t any_scan(void *data, tsr_ref object, size_t resume, tsr_slot_buffer *out) {
  (void)data;
  (void)object;
  (void)resume;
  (void)out;
  return TSR_SCAN_DONE;
}

/* By name, unless it is of another size, when nothing in it is read. */
static inline void check_refusal(const refusal *refused, const tsr_error *error) {
  bool readable = refused->layout.size == sizeof refused->layout;
  ck_assert_msg(error->status == (readable ? TSR_INVALID_ARGUMENT : TSR_MISMATCH), "%s: %s",
                refused->what, tsr_status_name(error->status));
  ck_assert_msg(vm_says(error->message, readable ? refused->layout.name : "tsr_layout"), "%s: %s",
                refused->what, error->message);
}

/* Two layouts that can be are registered in turns, each after a refusal: each gets the next index. */
static inline void refuse_registrations(const refusal *refusals, size_t count,
                                        const tsr_layout *good, const tsr_layout *other) {
  testvm machine;
  vm_open(&machine, "16M");
  for (size_t i = 0; i < count; i++) {
    tsr_error error = {0};
    uint32_t id = tsr_layout_register(machine.heap, &refusals[i].layout, &error);
    ck_assert_msg(id == 0, "%s: registered as %u", refusals[i].what, id);
    check_refusal(&refusals[i], &error);
    ck_assert_uint_eq(tsr_layout_register(machine.heap, &refusals[i].layout, NULL), 0);
    ck_assert_uint_eq(tsr_layout_register(machine.heap, i % 2 == 0 ? good : other, NULL),
                      VM_KINDS + i);
  }
  ck_assert_ptr_nonnull(vm_new(machine.m, PAIR, 0, 0));
  vm_collect(&machine);
  vm_stop(&machine);
}

/* Among a binding's layouts each fails the creation of the heap. */
static inline void refuse_bindings(const refusal *refusals, size_t count, const tsr_layout *good) {
  for (size_t i = 0; i < count; i++) {
    tsr_layout layouts[2] = {*good, refusals[i].layout};
    testvm machine;
    vm_init_calm(&machine);
    machine.binding.layouts = layouts;
    machine.binding.layout_count = 2;
    tsr_error error = {0};
    tsr_heap *heap = tsr_heap_create(&machine.binding, &machine, machine.options, &error);
    ck_assert_msg(heap == NULL, "%s: the heap was created", refusals[i].what);
    check_refusal(&refusals[i], &error);
    vm_drop(&machine);
  }
}

#endif
