/*
 * Saving every register that a C function may change, around tsr_write_barrier_slow().
 *
 * On entry the stack pointer is 8 below a multiple of 16, as at any function's entry; nine pushes
 * and 256 bytes for the vector registers bring it to a multiple of 16 for the call.
 */
#include "core/os/preserving_call.h"

#if OS_HAS_PRESERVING_CALL

__asm__(".text\n"
        ".globl os_write_barrier_entry\n"
        ".hidden os_write_barrier_entry\n"
        ".type os_write_barrier_entry, @function\n"
        "os_write_barrier_entry:\n"
        ".cfi_startproc\n"
        "  pushq %rax\n  pushq %rcx\n  pushq %rdx\n  pushq %rsi\n  pushq %rdi\n"
        "  pushq %r8\n  pushq %r9\n  pushq %r10\n  pushq %r11\n"
        "  subq $256, %rsp\n"
        ".cfi_adjust_cfa_offset 328\n"
        "  movups %xmm0, 0(%rsp)\n    movups %xmm1, 16(%rsp)\n"
        "  movups %xmm2, 32(%rsp)\n   movups %xmm3, 48(%rsp)\n"
        "  movups %xmm4, 64(%rsp)\n   movups %xmm5, 80(%rsp)\n"
        "  movups %xmm6, 96(%rsp)\n   movups %xmm7, 112(%rsp)\n"
        "  movups %xmm8, 128(%rsp)\n  movups %xmm9, 144(%rsp)\n"
        "  movups %xmm10, 160(%rsp)\n movups %xmm11, 176(%rsp)\n"
        "  movups %xmm12, 192(%rsp)\n movups %xmm13, 208(%rsp)\n"
        "  movups %xmm14, 224(%rsp)\n movups %xmm15, 240(%rsp)\n"
        "  call *tsr_write_barrier_slow@GOTPCREL(%rip)\n" /* bound when the program is loaded */
        "  movups 0(%rsp), %xmm0\n    movups 16(%rsp), %xmm1\n"
        "  movups 32(%rsp), %xmm2\n   movups 48(%rsp), %xmm3\n"
        "  movups 64(%rsp), %xmm4\n   movups 80(%rsp), %xmm5\n"
        "  movups 96(%rsp), %xmm6\n   movups 112(%rsp), %xmm7\n"
        "  movups 128(%rsp), %xmm8\n  movups 144(%rsp), %xmm9\n"
        "  movups 160(%rsp), %xmm10\n movups 176(%rsp), %xmm11\n"
        "  movups 192(%rsp), %xmm12\n movups 208(%rsp), %xmm13\n"
        "  movups 224(%rsp), %xmm14\n movups 240(%rsp), %xmm15\n"
        "  addq $256, %rsp\n"
        "  popq %r11\n  popq %r10\n  popq %r9\n  popq %r8\n"
        "  popq %rdi\n  popq %rsi\n  popq %rdx\n  popq %rcx\n  popq %rax\n"
        ".cfi_adjust_cfa_offset -328\n"
        "  ret\n"
        ".cfi_endproc\n"
        ".size os_write_barrier_entry, . - os_write_barrier_entry\n");

#else

void os_write_barrier_entry(tsr_mutator *mutator, tsr_ref object, tsr_slot *slot, uint64_t word) {
  tsr_write_barrier_slow(mutator, object, slot, word);
}

#endif
