/*
 * Destructors: which native resources of the VM there are, and which use of each is the last.
 *
 * They stand beside the collector, and know nothing of objects. What they need is the heap's
 * account and its way to report, so this is their room. The functions are those of
 * tessera/destructor.h; arguments that depend on nothing but themselves are checked there.
 */
#ifndef CORE_HEAP_DESTRUCTORS_H
#define CORE_HEAP_DESTRUCTORS_H

#include <tessera/destructor.h>

#include "core/heap/heap.h"

/* What a destructor is created with. */
typedef struct destructor_plan {
  tsr_destructor_scope scope;
  tsr_destructor_kind kind;
  tsr_free_operation operation;
  const char *name; /* never NULL */
  const char *file;
  int line;
} destructor_plan;

/* What may be done to one destructor, or to several at once. */
typedef enum destructor_step { DESTRUCTOR_USE, DESTRUCTOR_SKIP } destructor_step;

tsr_destructors *destructors_new(tsr_heap *heap, tsr_error *error);
tsr_status destructors_close(tsr_destructors *registry, size_t *leaks, tsr_error *error);
size_t destructors_keep_all(tsr_destructors *registry);

tsr_destructor destructors_add(tsr_destructors *registry, const destructor_plan *plan,
                               tsr_error *error);
tsr_status destructors_expect(tsr_destructors *registry, tsr_destructor handle, uint64_t uses,
                              tsr_error *error);
/* `last` is that of the last one of them. */
tsr_status destructors_step(tsr_destructors *registry, destructor_step step,
                            const tsr_destructor *handles, size_t count, bool *last,
                            tsr_error *error);
tsr_status destructors_keep(tsr_destructors *registry, tsr_destructor handle,
                            tsr_free_operation *operation, tsr_error *error);

tsr_destructor_scope destructors_open_scope(tsr_destructors *registry, tsr_error *error);
tsr_status destructors_close_scope(tsr_destructors *registry, tsr_destructor_scope scope,
                                   tsr_error *error);

tsr_status destructors_record(tsr_destructors *registry, tsr_error *error);
tsr_status destructors_record_end(tsr_destructors *registry, tsr_error *error);
size_t destructors_events(tsr_destructors *registry, uint32_t *events, size_t capacity);
tsr_status destructors_replay(tsr_destructors *registry, const uint32_t *events, size_t count,
                              tsr_error *error);
tsr_status destructors_replay_end(tsr_destructors *registry, tsr_error *error);

#endif
