/*
 * The register-preserving entry to the barrier's slow path, for code generated at run time: such
 * code need not save its registers around a call that is almost never made.
 */
#ifndef CORE_OS_PRESERVING_CALL_H
#define CORE_OS_PRESERVING_CALL_H

#include <tessera/barrier.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(_WIN32)
#define OS_HAS_PRESERVING_CALL 1
#else
#define OS_HAS_PRESERVING_CALL 0
#endif

/* Takes the arguments of tsr_write_barrier_slow(). Where OS_HAS_PRESERVING_CALL, keeps every general
   register and xmm0 to xmm15 (not the upper halves of wider ones); elsewhere a plain call. */
void os_write_barrier_entry(tsr_mutator *mutator, tsr_ref object, tsr_slot *slot, uint64_t word);

#endif
