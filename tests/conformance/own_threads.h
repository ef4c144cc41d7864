/*
 * A VM with threads of its own: stop, resume and block over one mutex and one condition variable,
 * in place of Tessera's cooperative safepoints. `running` counts the mutators in managed code; a
 * mutator that stops, parks or goes native takes itself out of the count.
 */
#ifndef CONFORMANCE_OWN_THREADS_H
#define CONFORMANCE_OWN_THREADS_H

#include "testvm.h"

#define OWN_MAX 16

typedef struct own_threads {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  atomic_bool stopping;
  unsigned running;               /* under lock */
  unsigned parked;                /* threads that wait for the end of a stop; the same */
  unsigned stops, resumes;        /* under lock */
  unsigned blocks;                /* under lock */
  unsigned overlapping_stops;     /* under lock: must stay 0 */
  unsigned pairs_left;            /* registered or own pairs that were not zero at resume */
  tsr_mutator *mutators[OWN_MAX]; /* under lock; looked at with the world stopped */
  tsr_bump_pointer *registered[OWN_MAX];
  tsr_bump_pointer *unregistered[OWN_MAX]; /* revoked by the VM itself, in resume */
} own_threads;

/* Puts the three callbacks into the VM's binding, and itself into vm->extra. */
void own_install(own_threads *own, testvm *vm);
void own_destroy(own_threads *own);

/* The calling thread's mutator enters and leaves managed code; `index` is its place in the table. */
void own_attach(own_threads *own, tsr_mutator *m, unsigned index);
void own_detach(own_threads *own, unsigned index);
/* Unbinds the mutator and detaches, whatever the others do meanwhile. Whether somebody waits for the
   thread to stop is `stopping`. */
tsr_status own_unbind(own_threads *own, tsr_mutator *m, unsigned index);
void own_enter_native(own_threads *own);
void own_leave_native(own_threads *own);
void own_safepoint(own_threads *own);
/* A barrier that counts as native code. */
void own_wait(own_threads *own, pthread_barrier_t *barrier);
/* Allocates from a pair that is the VM's alone: it takes over what is left in the mutator's own pair, which is
   then empty, and hands it back when it misses. */
void *own_alloc(tsr_mutator *m, tsr_bump_pointer *pair, size_t size);

#endif
