/*
 * tessera/fibre.h.
 */
#include "core/trace/fibres.h"

tsr_fibre *tsr_fibre_create(tsr_heap *heap, const tsr_fibre_roots *roots, tsr_error *error) {
  return fibre_create(heap, roots, error);
}

tsr_status tsr_fibre_destroy(tsr_fibre *fibre, tsr_error *error) {
  return fibre_destroy(fibre, error);
}

tsr_status tsr_fibre_switch(tsr_mutator *mutator, tsr_fibre *fibre, tsr_error *error) {
  return fibre_switch(mutator, fibre, error);
}

tsr_fibre *tsr_fibre_current(const tsr_mutator *mutator) {
  return mutator->private_part->fibre;
}
