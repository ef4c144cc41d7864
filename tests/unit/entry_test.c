/*
 * The register-preserving entry to the barrier: generated code calls it with live values in every
 * register that a C function may change, and must find them again.
 */
#include "core/os/preserving_call.h"
#include "tests/unit/unit.h"

static unsigned reports;

static void count_report(void *vm, tsr_mutator *m, const tsr_error *error) {
  (void)vm;
  (void)m;
  (void)error;
  reports++;
}

/* A heap under a plan that arms nothing: its barrier's slow path reports the object as armed by the VM. */
static void with_armed_object(void (*use)(const tsr_facts *facts, tsr_mutator *m, tsr_ref object)) {
  tsr_binding binding = unit_binding;
  binding.report_error = count_report;
  tsr_heap *heap = tsr_heap_create(&binding, NULL, NULL, NULL);
  ck_assert_ptr_nonnull(heap);
  tsr_mutator *m = tsr_bind_mutator(heap, heap, NULL);
  unit_pair *pair = tsr_alloc_default(m, sizeof *pair);
  pair->header = TSR_HEADER(PAIR);
  ((unsigned char *)pair)[TSR_GC_BYTE_OFFSET] |= TSR_GC_ARMED;
  tsr_facts facts;
  tsr_heap_facts(heap, &facts);
  reports = 0;
  use(&facts, m, (tsr_ref)pair);
  ((unsigned char *)pair)[TSR_GC_BYTE_OFFSET] = 0;
  tsr_unbind_mutator(m, NULL);
  ck_assert_int_eq(tsr_heap_destroy(heap, NULL), TSR_OK);
}

static void call_as_function(const tsr_facts *facts, tsr_mutator *m, tsr_ref object) {
  tsr_slot slot = {0};
  facts->barrier_entry(m, object, &slot, 7);
  ck_assert_uint_eq(reports, 1);
  ck_assert_uint_eq(facts->barrier_preserves, OS_HAS_PRESERVING_CALL);
}

START_TEST(the_entry_reaches_the_slow_path) {
  with_armed_object(call_as_function);
}
END_TEST

#if OS_HAS_PRESERVING_CALL

/* Calls the entry with a pattern in every register and stores what the registers hold afterwards. */
void unit_probe_entry(void (*entry)(tsr_mutator *, tsr_ref, tsr_slot *, uint64_t), tsr_mutator *m,
                      tsr_ref object, tsr_slot *slot, uint64_t word, uint64_t registers[11]);

__asm__(".text\n"
        "unit_probe_entry:\n"
        "  pushq %rbx\n  pushq %rbp\n  pushq %r12\n"
        "  movq %rdi, %rbx\n  movq %r9, %r12\n"
        "  movq %rsi, %rdi\n  movq %rdx, %rsi\n  movq %rcx, %rdx\n  movq %r8, %rcx\n"
        "  movq $0x1111, %rax\n  movq $0x8888, %r8\n  movq $0x9999, %r9\n"
        "  movq $0xaaaa, %r10\n  movq $0xbbbb, %r11\n"
        "  movq %rax, %xmm0\n  movq %r10, %xmm15\n"
        "  call *%rbx\n"
        "  movq %rax, 0(%r12)\n  movq %rdi, 8(%r12)\n  movq %rsi, 16(%r12)\n"
        "  movq %rdx, 24(%r12)\n  movq %rcx, 32(%r12)\n  movq %r8, 40(%r12)\n"
        "  movq %r9, 48(%r12)\n  movq %r10, 56(%r12)\n  movq %r11, 64(%r12)\n"
        "  movq %xmm0, 72(%r12)\n  movq %xmm15, 80(%r12)\n"
        "  popq %r12\n  popq %rbp\n  popq %rbx\n  ret\n");

static void call_from_generated_code(const tsr_facts *facts, tsr_mutator *m, tsr_ref object) {
  tsr_slot slot = {0};
  uint64_t held[11] = {0};
  unit_probe_entry(facts->barrier_entry, m, object, &slot, 7, held);
  const uint64_t expected[11] = {
      0x1111, (uintptr_t)m, (uintptr_t)object, (uintptr_t)&slot, 7, 0x8888, 0x9999, 0xaaaa, 0xbbbb,
      0x1111, 0xaaaa};
  ck_assert_uint_eq(reports, 1);
  for (size_t i = 0; i < 11; i++)
    ck_assert_uint_eq(held[i], expected[i]);
}

START_TEST(the_entry_keeps_every_register) {
  with_armed_object(call_from_generated_code);
}
END_TEST

#endif

int main(void) {
  Suite *suite = suite_create("entry");
  TCase *tests = tcase_create("barrier");
  tcase_add_test(tests, the_entry_reaches_the_slow_path);
#if OS_HAS_PRESERVING_CALL
  tcase_add_test(tests, the_entry_keeps_every_register);
#endif
  suite_add_tcase(suite, tests);
  return unit_run(suite);
}
