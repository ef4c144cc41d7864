/*
 * A VM with threads of its own. See own_threads.h.
 */
#include "own_threads.h"

static own_threads *own_of(void *data) {
  return ((testvm *)data)->extra;
}

static void park(own_threads *own) {
  own->parked++;
  while (atomic_load(&own->stopping)) {
    pthread_cond_wait(&own->changed, &own->lock);
  }
  if (--own->parked == 0) pthread_cond_broadcast(&own->changed);
}

static void stop_all(void *data, tsr_heap *heap, tsr_mutator *self) {
  (void)heap;
  (void)self;
  own_threads *own = own_of(data);
  pthread_mutex_lock(&own->lock);
  own->stops++;
  /* Whoever waited for the end of the last stop goes first. */
  while (own->parked > 0 && !atomic_load(&own->stopping)) {
    pthread_cond_wait(&own->changed, &own->lock);
  }
  if (atomic_exchange(&own->stopping, true)) own->overlapping_stops++;
  while (own->running > 1) {
    pthread_cond_wait(&own->changed, &own->lock);
  }
  pthread_mutex_unlock(&own->lock);
}

static bool is_zero(const tsr_bump_pointer *pair) {
  return pair->cursor == 0 && pair->limit == 0;
}

static void revoke_and_check(own_threads *own) {
  for (unsigned i = 0; i < OWN_MAX; i++) {
    for (unsigned k = 0; own->mutators[i] != NULL && k < TSR_BUMP_POINTERS; k++) {
      if (!is_zero(&own->mutators[i]->bump[k])) own->pairs_left++;
    }
    if (own->registered[i] != NULL && !is_zero(own->registered[i])) own->pairs_left++;
    if (own->unregistered[i] != NULL) *own->unregistered[i] = (tsr_bump_pointer){0, 0};
  }
}

static void resume(void *data, tsr_heap *heap, tsr_mutator *self) {
  (void)heap;
  (void)self;
  own_threads *own = own_of(data);
  pthread_mutex_lock(&own->lock);
  revoke_and_check(own);
  own->resumes++;
  atomic_store(&own->stopping, false);
  pthread_cond_broadcast(&own->changed);
  pthread_mutex_unlock(&own->lock);
}

static void block(void *data, tsr_mutator *self) {
  (void)self;
  own_threads *own = own_of(data);
  pthread_mutex_lock(&own->lock);
  own->blocks++;
  own->running--;
  pthread_cond_broadcast(&own->changed);
  park(own);
  own->running++;
  pthread_mutex_unlock(&own->lock);
}

void own_install(own_threads *own, testvm *vm) {
  memset(own, 0, sizeof *own);
  pthread_mutex_init(&own->lock, NULL);
  pthread_cond_init(&own->changed, NULL);
  vm->binding.stop_all_mutators = stop_all;
  vm->binding.resume_mutators = resume;
  vm->binding.block_for_gc = block;
  vm->extra = own;
}

void own_destroy(own_threads *own) {
  pthread_cond_destroy(&own->changed);
  pthread_mutex_destroy(&own->lock);
}

void own_attach(own_threads *own, tsr_mutator *m, unsigned index) {
  pthread_mutex_lock(&own->lock);
  park(own);
  own->mutators[index] = m;
  own->running++;
  pthread_mutex_unlock(&own->lock);
}

/* The mutator's pairs are no longer looked at. Under the lock. */
static void forget(own_threads *own, unsigned index) {
  own->mutators[index] = NULL;
  own->registered[index] = NULL;
  own->unregistered[index] = NULL;
}

void own_detach(own_threads *own, unsigned index) {
  pthread_mutex_lock(&own->lock);
  forget(own, index);
  own->running--;
  pthread_cond_broadcast(&own->changed);
  pthread_mutex_unlock(&own->lock);
}

/* Running until it is unbound, for unbinding may call block_for_gc; but its memory may go with it. */
tsr_status own_unbind(own_threads *own, tsr_mutator *m, unsigned index) {
  pthread_mutex_lock(&own->lock);
  forget(own, index);
  pthread_mutex_unlock(&own->lock);
  tsr_status status = tsr_unbind_mutator(m, NULL);
  own_detach(own, index);
  return status;
}

void own_enter_native(own_threads *own) {
  pthread_mutex_lock(&own->lock);
  own->running--;
  pthread_cond_broadcast(&own->changed);
  pthread_mutex_unlock(&own->lock);
}

void own_leave_native(own_threads *own) {
  pthread_mutex_lock(&own->lock);
  park(own);
  own->running++;
  pthread_mutex_unlock(&own->lock);
}

void own_safepoint(own_threads *own) {
  if (!atomic_load(&own->stopping)) return;
  own_enter_native(own);
  own_leave_native(own);
}

void own_wait(own_threads *own, pthread_barrier_t *barrier) {
  own_enter_native(own);
  pthread_barrier_wait(barrier);
  own_leave_native(own);
}

void *own_alloc(tsr_mutator *m, tsr_bump_pointer *pair, size_t size) {
  if (pair->cursor != 0 && pair->cursor + size <= pair->limit) {
    void *result = (void *)pair->cursor;
    pair->cursor += size;
    return result;
  }
  if (pair->cursor != 0) m->bump[0] = *pair;
  *pair = (tsr_bump_pointer){0, 0};
  void *result = tsr_alloc(m, size, TSR_OBJECT_ALIGN, 0, TSR_DEFAULT);
  *pair = m->bump[0];
  m->bump[0] = (tsr_bump_pointer){0, 0};
  return result;
}
