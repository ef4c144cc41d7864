/*
 * Whether the VM stores references through the write barrier: found out under the verifier in each plan
 * that arms no objects itself, so that a VM learns of a missing barrier before it meets a plan that relies on it
 * [design: watched-stores].
 *
 * After a collection every object that was reached is armed, and a byte of each of its references is noted. The slow path
 * of the barrier disarms. Before the next collection an object that is armed still has been stored into by nobody
 * who asked: its slots hold the references that were noted, or no references. Then all are disarmed, so that
 * the collector meets none. heap->watched has a bit for each object that was armed.
 */
#ifndef CORE_VERIFY_STORES_H
#define CORE_VERIFY_STORES_H

#include "core/heap/heap.h"

typedef struct stores {
  tsr_heap *heap;
  memory_account *account;
  uint8_t *noted; /* a byte for each granule of the heap's range; 0: no reference */
} stores;

/* Watches where the binding has a barrier, and the plan collects and has none that arms. False: the system has no memory. */
bool stores_open(stores *s, tsr_heap *heap, memory_account *account);
void stores_close(stores *s);

/* World stopped. Notes and arms an object, sealed ones excepted. */
void stores_watch(stores *s, tsr_ref object);
/* A slot of the object into which a reference was stored without a barrier; NULL: none. */
const tsr_slot *stores_missed(const stores *s, tsr_ref object);
/* Disarms all. */
void stores_release(const stores *s);

#endif
