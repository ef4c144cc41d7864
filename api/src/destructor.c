/*
 * tessera/destructor.h.
 */
#include "core/heap/destructors.h"

#include "core/os/error.h"

/* ---- registries ------------------------------------------------------------------------------ */

tsr_destructors *tsr_destructors_new(tsr_heap *heap, tsr_error *error) {
  return destructors_new(heap, error);
}

tsr_status tsr_destructors_close(tsr_destructors *registry, size_t *leaks, tsr_error *error) {
  size_t count = 0;
  tsr_status status = registry == NULL ? TSR_OK : destructors_close(registry, &count, error);
  if (status == TSR_OK && leaks != NULL) *leaks = count;
  return status;
}

size_t tsr_destructors_use_all_forever(tsr_destructors *registry) {
  return destructors_keep_all(registry);
}

/* ---- destructors ----------------------------------------------------------------------------- */

static tsr_status destructor_check(const destructor_plan *plan, tsr_error *error) {
  if (plan->kind != TSR_PROMPT && plan->kind != TSR_RELAXED) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "a destructor is TSR_PROMPT or TSR_RELAXED, not %d", (int)plan->kind);
  }
  if (plan->operation.function == NULL && (plan->kind != TSR_PROMPT || plan->scope != 0)) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "destructor \"%.47s\" has no free operation; only a prompt one outside scopes "
                     "can do without, for it tells its user which use is the last",
                     plan->name);
  }
  return TSR_OK;
}

tsr_destructor tsr_destructor_new_at(tsr_destructors *registry, tsr_destructor_scope scope,
                                     tsr_destructor_kind kind, tsr_free_operation operation,
                                     const char *name, const char *file, int line,
                                     tsr_error *error) {
  destructor_plan plan = {.scope = scope,
                          .kind = kind,
                          .operation = operation,
                          .name = name == NULL ? "" : name,
                          .file = file == NULL ? "unknown file" : file,
                          .line = line};
  if (destructor_check(&plan, error) != TSR_OK) return 0;
  return destructors_add(registry, &plan, error);
}

tsr_status tsr_destructor_expect(tsr_destructors *registry, tsr_destructor destructor,
                                 uint64_t uses, tsr_error *error) {
  return destructors_expect(registry, destructor, uses, error);
}

tsr_status tsr_destructor_use(tsr_destructors *registry, tsr_destructor destructor, bool *last,
                              tsr_error *error) {
  bool is_last = false;
  tsr_status status = destructors_step(registry, DESTRUCTOR_USE, &destructor, 1, &is_last, error);
  if (status == TSR_OK && last != NULL) *last = is_last;
  return status;
}

tsr_status tsr_destructor_skip(tsr_destructors *registry, tsr_destructor destructor,
                               tsr_error *error) {
  bool last;
  return destructors_step(registry, DESTRUCTOR_SKIP, &destructor, 1, &last, error);
}

tsr_status tsr_destructor_use_each(tsr_destructors *registry, const tsr_destructor *destructors,
                                   size_t count, tsr_error *error) {
  bool last;
  return destructors_step(registry, DESTRUCTOR_USE, destructors, count, &last, error);
}

tsr_status tsr_destructor_skip_each(tsr_destructors *registry, const tsr_destructor *destructors,
                                    size_t count, tsr_error *error) {
  bool last;
  return destructors_step(registry, DESTRUCTOR_SKIP, destructors, count, &last, error);
}

tsr_status tsr_destructor_use_forever(tsr_destructors *registry, tsr_destructor destructor,
                                      tsr_free_operation *operation, tsr_error *error) {
  tsr_free_operation kept;
  tsr_status status = destructors_keep(registry, destructor, &kept, error);
  if (status == TSR_OK && operation != NULL) *operation = kept;
  return status;
}

/* ---- scopes ---------------------------------------------------------------------------------- */

tsr_destructor_scope tsr_destructor_scope_open(tsr_destructors *registry, tsr_error *error) {
  return destructors_open_scope(registry, error);
}

tsr_status tsr_destructor_scope_close(tsr_destructors *registry, tsr_destructor_scope scope,
                                      tsr_error *error) {
  return destructors_close_scope(registry, scope, error);
}

/* ---- record and replay ----------------------------------------------------------------------- */

tsr_status tsr_destructors_record(tsr_destructors *registry, tsr_error *error) {
  return destructors_record(registry, error);
}

tsr_status tsr_destructors_record_end(tsr_destructors *registry, tsr_error *error) {
  return destructors_record_end(registry, error);
}

size_t tsr_destructors_events(tsr_destructors *registry, uint32_t *events, size_t capacity) {
  return destructors_events(registry, events, capacity);
}

tsr_status tsr_destructors_replay(tsr_destructors *registry, const uint32_t *events, size_t count,
                                  tsr_error *error) {
  return destructors_replay(registry, events, count, error);
}

tsr_status tsr_destructors_replay_end(tsr_destructors *registry, tsr_error *error) {
  return destructors_replay_end(registry, error);
}
