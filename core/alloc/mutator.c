/*
 * What holds for every call that a mutator makes.
 */
#include "core/alloc/mutator.h"

#include "core/os/error.h"

tsr_status mutator_check_managed(const tsr_mutator *mutator, const char *what, tsr_error *error) {
  if (os_atomic_load(&mutator->private_part->state) == MUTATOR_MANAGED) return TSR_OK;
  return error_set(error, TSR_BUSY, "%s in native code: call tsr_leave_native() first", what);
}
