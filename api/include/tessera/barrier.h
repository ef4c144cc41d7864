/**
 * @file barrier.h
 * @brief The write barrier, loads, and bulk copies.
 *
 * The barrier runs *before* the store, with no safepoint in between. Its fast path is one test of
 * the object's own GC byte, the same in every plan: a plan without a barrier arms sealed objects alone, and with
 * TESSERA_VERIFY=1 those whose stores are watched.
 * Stores into a new object need no barrier until its next safepoint, up to TSR_MAX_INLINE_BYTES. Into a larger one references
 * are stored after tsr_post_alloc(), through the barrier.
 *
 * Shape: armed byte in the object, slow path logs it (quad-colour barrier, after M. Pall's design
 * for LuaJIT 3.0).
 */
#ifndef TESSERA_BARRIER_H
#define TESSERA_BARRIER_H

#include <tessera/mutator.h>
#include <tessera/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The barrier's slow path. Call it only where the GC byte is armed. Never collects. */
TSR_API void tsr_write_barrier_slow(tsr_mutator *mutator, tsr_ref object, tsr_slot *slot,
                                    uint64_t word);

/** Whether a store into the object must take the slow path. A plain load, atomic under TSan. */
TSR_INLINE bool tsr_is_armed(tsr_ref object) {
  const unsigned char *byte = (const unsigned char *)object + TSR_GC_BYTE_OFFSET;
#ifdef TSR_THREAD_SANITIZER
  return (__atomic_load_n(byte, __ATOMIC_RELAXED) & TSR_GC_ARMED) != 0;
#else
  return (*byte & TSR_GC_ARMED) != 0;
#endif
}

/**
 * To be called before `word` is stored into `slot` of `object`.
 * Thread: the mutator's own, in managed code. Collects: never.
 */
TSR_INLINE void tsr_write_barrier(tsr_mutator *mutator, tsr_ref object, tsr_slot *slot,
                                  uint64_t word) {
  if (TSR_UNLIKELY(tsr_is_armed(object))) tsr_write_barrier_slow(mutator, object, slot, word);
}

/** Barrier and store in one. */
TSR_INLINE void tsr_write(tsr_mutator *mutator, tsr_ref object, tsr_slot *slot, uint64_t word) {
  tsr_write_barrier(mutator, object, slot, word);
#ifdef TSR_THREAD_SANITIZER
  __atomic_store_n(&slot->word, word, __ATOMIC_RELAXED);
#else
  slot->word = word;
#endif
}

/** Loads a word from a slot of an object. A plain load in the plans of this version. */
TSR_INLINE uint64_t tsr_load(tsr_mutator *mutator, const tsr_slot *slot) {
  (void)mutator;
#ifdef TSR_THREAD_SANITIZER
  return __atomic_load_n(&slot->word, __ATOMIC_RELAXED);
#else
  return slot->word;
#endif
}

/** Loads from a weak slot. */
TSR_INLINE uint64_t tsr_load_weak(tsr_mutator *mutator, const tsr_slot *slot) {
  return tsr_load(mutator, slot);
}

/**
 * Copies `count` words into consecutive slots of `object`, as memmove: the ranges may overlap.
 * Thread: the mutator's own, in managed code. Collects: never.
 */
TSR_API void tsr_copy_slots(tsr_mutator *mutator, tsr_ref object, tsr_slot *to,
                            const tsr_slot *from, size_t count);

/** Stores one word into `count` consecutive slots of `object`. As tsr_copy_slots(). */
TSR_API void tsr_fill_slots(tsr_mutator *mutator, tsr_ref object, tsr_slot *to, size_t count,
                            uint64_t word);

#ifdef __cplusplus
}
#endif

#endif
