/*
 * The GC byte and the forwarding word.
 *
 * One byte of an object's first word belongs to the collector [design: gc-byte]. While the world
 * is stopped, a copied object's first word is replaced by the forwarding word [design: forwarding-word]: the
 * forwarding bits stay where the GC byte lies, whatever its offset, and the other seven bytes hold the
 * new address as a distance from the heap's base in granules. So one load tells whether an object has
 * moved, and one compare-and-swap can move it. The first word of an object that ephemerons wait for is replaced
 * likewise (core/object/ephemeron.h).
 */
#ifndef CORE_OBJECT_HEADER_H
#define CORE_OBJECT_HEADER_H

#include <stdbool.h>
#include <tessera/types.h>

#include "core/os/atomic.h"

/* Bits of the GC byte. */
enum gc_byte {
  GC_ARMED = TSR_GC_ARMED,
  GC_AGE_BITS = 0x06,
  GC_LOGGED = 0x04, /* of an old object: it is in the remembered set's log */
  GC_HASH_BITS = 0x18,
  GC_HASHED = 0x08, /* its identity hash was asked for, and is its address's */
  GC_HASH_STORED =
      0x10, /* it was, and it has moved since: the hash is kept (core/object/identity.h) */
  GC_FORWARD_BITS = 0x60,
  GC_LEAF = 0x80, /* holds no references, whatever the layout says */

  GC_FORWARDED = 0x20, /* the first word is a forwarding word */
  GC_STAYS = 0x40,     /* reached, and stays where it is */
  GC_CLAIMED = 0x60,   /* one of several collecting threads is copying it */
  GC_DISPLACED =
      0xff /* the whole byte: the first word is with an ephemeron; no object has all ages and hash states */
};

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define GC_BYTE_SHIFT (8 * (7 - TSR_GC_BYTE_OFFSET))
#else
#define GC_BYTE_SHIFT (8 * TSR_GC_BYTE_OFFSET)
#endif

/* Bits of the first word below the GC byte. */
#define GC_LOW_MASK (((uint64_t)1 << GC_BYTE_SHIFT) - 1)

static inline uint64_t header_load(tsr_ref object) {
  return ((const tsr_slot *)object)->word;
}

static inline void header_store(tsr_ref object, uint64_t word) {
  ((tsr_slot *)object)->word = word;
}

/* The same where other collecting threads may be changing it. */
static inline uint64_t header_load_shared(tsr_ref object) {
  return os_atomic64_load_acquire((const uint64_t *)object);
}

static inline void header_store_shared(tsr_ref object, uint64_t word) {
  os_atomic64_store_release((uint64_t *)object, word);
}

/*
 * Replaces it, if it still is `expected`. ThreadSanitizer takes an exchange that fails for a store, and would report
 * it against the plain loads of whoever has claimed the object, a callback of the VM among them: so it does not see
 * this one. What orders the copy is the store that publishes it.
 */
#if defined(__SANITIZE_THREAD__)
__attribute__((no_sanitize("thread"), noinline, unused)) static bool
header_exchange_shared(tsr_ref object, uint64_t expected, uint64_t word) {
  return __atomic_compare_exchange_n((uint64_t *)object, &expected, word, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST);
}
#else
static inline bool header_exchange_shared(tsr_ref object, uint64_t expected, uint64_t word) {
  return os_atomic64_compare_exchange_full((uint64_t *)object, expected, word);
}
#endif

static inline unsigned header_gc_byte(uint64_t header) {
  return (unsigned)(header >> GC_BYTE_SHIFT) & 0xffu;
}

static inline bool header_is_armed(uint64_t header) {
  return (header_gc_byte(header) & GC_ARMED) != 0;
}

static inline bool header_is_leaf(uint64_t header) {
  return (header_gc_byte(header) & GC_LEAF) != 0;
}

static inline bool header_is_hashed(uint64_t header) {
  return (header_gc_byte(header) & GC_HASHED) != 0;
}

static inline bool header_has_stored_hash(uint64_t header) {
  return (header_gc_byte(header) & GC_HASH_STORED) != 0;
}

/* Of one that is hashed: its hash is no more its address's. */
static inline uint64_t header_with_stored_hash(uint64_t header) {
  return header ^ ((uint64_t)GC_HASH_BITS << GC_BYTE_SHIFT);
}

static inline bool header_is_forwarded(uint64_t header) {
  return (header_gc_byte(header) & GC_FORWARD_BITS) == GC_FORWARDED;
}

/* Neither forwarded nor staying nor claimed. */
static inline bool header_is_unreached(uint64_t header) {
  return (header_gc_byte(header) & GC_FORWARD_BITS) == 0;
}

static inline bool header_stays(uint64_t header) {
  return (header_gc_byte(header) & GC_FORWARD_BITS) == GC_STAYS;
}

/* The first word is kept elsewhere. It passes for a leaf, so that whoever makes no use of leaves need not ask. */
static inline bool header_is_displaced(uint64_t header) {
  return header_gc_byte(header) == GC_DISPLACED;
}

/* Of one whose word is not displaced. */
static inline bool header_is_claimed(uint64_t header) {
  return (header_gc_byte(header) & GC_FORWARD_BITS) == GC_CLAIMED;
}

/* The GC byte of an object that only the caller uses, or while the world is stopped. */
static inline void header_set_gc_bits(tsr_ref object, enum gc_byte bits) {
  ((unsigned char *)object)[TSR_GC_BYTE_OFFSET] |= (unsigned char)bits;
}

static inline uint64_t header_with_forward_bits(uint64_t header, enum gc_byte bits) {
  return (header & ~((uint64_t)GC_FORWARD_BITS << GC_BYTE_SHIFT)) |
         ((uint64_t)bits << GC_BYTE_SHIFT);
}

/* A GC byte, and a number in the seven bytes beside it. The shifts by eight and then by GC_BYTE_SHIFT keep each
   count below 64 for every offset. */
static inline uint64_t header_pack(uint64_t number, enum gc_byte bits) {
  return (number & GC_LOW_MASK) | (number >> GC_BYTE_SHIFT << 8 << GC_BYTE_SHIFT) |
         ((uint64_t)bits << GC_BYTE_SHIFT);
}

static inline uint64_t header_number(uint64_t header) {
  return (header & GC_LOW_MASK) | (header >> 8 >> GC_BYTE_SHIFT << GC_BYTE_SHIFT);
}

static inline uint64_t forwarding_word(uintptr_t base, uintptr_t target) {
  return header_pack((target - base) / TSR_GRANULE, GC_FORWARDED);
}

/* To a copy that is larger than the object was, by the word of its identity hash. */
static inline uint64_t forwarding_word_grown(uintptr_t base, uintptr_t target) {
  return forwarding_word(base, target) | (uint64_t)GC_HASHED << GC_BYTE_SHIFT;
}

static inline bool forwarding_is_grown(uint64_t header) {
  return header_is_hashed(header);
}

static inline uintptr_t forwarding_target(uintptr_t base, uint64_t header) {
  return base + header_number(header) * TSR_GRANULE;
}

#endif
