/*
 * The counter of fault injection. Threads may reach it at once: exactly one of them is struck.
 */
#include "core/os/fault.h"

#ifdef TSR_FAULT_INJECTION

#include "core/os/atomic.h"

static os_atomic_word fault_kinds;
static os_atomic_word fault_countdown; /* operations up to the one that fails, itself included */
static os_atomic_word fault_done;

void os_fault_arm(unsigned kinds, unsigned long k) {
  os_atomic_store(&fault_kinds, 0);
  os_atomic_store(&fault_done, 0);
  os_atomic_store(&fault_countdown, k);
  os_atomic_store_release(&fault_kinds, k == 0 ? 0 : kinds);
}

bool os_fault_struck(void) {
  return os_atomic_load(&fault_done) != 0;
}

bool os_fault_strikes(enum os_fault_kind kind) {
  if ((os_atomic_load(&fault_kinds) & (unsigned)kind) == 0) return false;
  if (os_atomic_add_full(&fault_countdown, (uintptr_t)0 - 1) != 1) return false;
  os_atomic_store(&fault_kinds, 0);
  os_atomic_store(&fault_done, 1);
  return true;
}

#else

/* ISO C asks for a declaration in every unit. */
typedef int os_fault_is_compiled_out;

#endif
