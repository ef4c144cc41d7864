/*
 * Ephemerons that wait for their keys.
 *
 * While a collection does not know whether a key will be reached, the key's first word is *displaced*: it
 * leads to an ephemeron that waits for it, the chain's head, which keeps the word itself; the others hang in the chain
 * behind it. So whoever reaches the key finds what waits for it without a table: no memory, and no search. The head
 * keeps the word in the place that claims and copies then work on, as they do on an object that is not a key.
 * [design: displaced-header]
 */
#ifndef CORE_OBJECT_EPHEMERON_H
#define CORE_OBJECT_EPHEMERON_H

#include <tessera/weak.h>

#include "core/object/header.h"

/* The reserved words of a tsr_ephemeron. All are zero between collections. */
enum ephemeron_word {
  EPHEMERON_LINK,  /* next in the list of those found, or of those that wait; WEAK_END: the last */
  EPHEMERON_CHAIN, /* next with the same key; 0: it does not wait, or waits no more */
  EPHEMERON_HEADER /* of a chain's head: the key's first word */
};

/* The end of a list through words that are zero in what is not in the list. */
#define WEAK_END ((uint64_t)1)

static inline uint64_t displaced_word(const tsr_ephemeron *head) {
  return header_pack((uintptr_t)head / TSR_GRANULE, GC_DISPLACED);
}

static inline tsr_ephemeron *displaced_head(uint64_t header) {
  return (tsr_ephemeron *)(uintptr_t)(header_number(header) * TSR_GRANULE);
}

/* Where a displaced first word is kept, as if an object were there. */
static inline tsr_ref displaced_home(uint64_t header) {
  return (tsr_ref)(void *)&displaced_head(header)->reserved[EPHEMERON_HEADER];
}

/* An object's first word, wherever it is. */
static inline uint64_t header_load_anywhere(tsr_ref object) {
  uint64_t header = header_load(object);
  return header_is_displaced(header) ? header_load(displaced_home(header)) : header;
}

/* The first word as it was before somebody claimed the object, if so. */
static inline uint64_t header_unclaimed(uint64_t header) {
  return header_is_claimed(header) ? header_with_forward_bits(header, (enum gc_byte)0) : header;
}

#endif
