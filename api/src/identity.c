/*
 * tessera/identity.h.
 */
#include <tessera/identity.h>

#include "core/alloc/objects.h"
#include "core/trace/identities.h"

tsr_status tsr_identity_hash(tsr_mutator *mutator, tsr_ref object, uint64_t *hash,
                             tsr_error *error) {
  size_t bytes;
  tsr_status status = object_check(mutator, object, "tsr_identity_hash", &bytes, error);
  if (status != TSR_OK) return status;
  return identities_hash(mutator->heap, object, bytes, hash, error);
}
