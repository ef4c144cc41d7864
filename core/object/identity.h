/*
 * Identity hashes: where an object's is [design: identity-hash].
 *
 * No object has a word for it from the beginning. While an object has not moved since it was first asked for,
 * its address tells the hash; when it moves for the first time the hash has to be kept. A copy is made one word
 * larger, and has the hash at its end; what slides finds no room there, and has it in a table
 * (core/trace/identities.h). Two bits of the GC byte tell which. (D. F. Bacon, S. J. Fink, D. Grove, Space- and
 * Time-Efficient Implementation of the Java Object Model, 2002.)
 */
#ifndef CORE_OBJECT_IDENTITY_H
#define CORE_OBJECT_IDENTITY_H

#include "core/heap/heap.h"
#include "core/object/header.h"

/*
 * The hash of the object that lies at a place. From its distance to the heap's base, which makes a run repeatable.
 * Multiplications by odd numbers and shifted additions modulo 2 can each be undone, so no two places have the
 * same (D. E. Knuth, The Art of Computer Programming 3, 6.4, on multiplicative hashing).
 */
static inline uint64_t identity_of_place(const tsr_heap *heap, tsr_ref object) {
  uint64_t hash = ((uintptr_t)object - heap->blocks.base) / TSR_GRANULE + 1;
  hash *= 0x9e3779b97f4a7c15u; /* 2^64 divided by the golden ratio */
  hash ^= hash >> 32;
  hash *= 0x9e3779b97f4a7c15u;
  return hash ^ hash >> 29;
}

/* Where an object of `bytes`, all told, has the hash that was appended. */
static inline uint64_t *identity_word(const tsr_heap *heap, tsr_ref object, size_t bytes) {
  return &((tsr_slot *)(void *)((char *)object + bytes - heap->hash_word_bytes))->word;
}

#endif
