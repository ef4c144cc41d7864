/**
 * @file identity.h
 * @brief Identity hashes: a number that an object keeps for life, wherever it is moved.
 *
 * What tables keyed by the object itself need. No object pays for it whose hash nobody asks for: there is no word for it
 * in the header. While an object has not moved its address tells the hash. Where collections copy, an object
 * whose hash was asked for grows by one object alignment when it is moved next, for good; where they slide, a
 * table of the heap's takes 24 to 48 bytes for each such object, at once. (D. F. Bacon, S. J. Fink, D. Grove, Space-
 * and Time-Efficient Implementation of the Java Object Model, 2002.)
 */
#ifndef TESSERA_IDENTITY_H
#define TESSERA_IDENTITY_H

#include <tessera/mutator.h>
#include <tessera/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Stores the object's identity hash, in any placement: the same for every thread, at every time, after every
 * collection, and in the child of a fork. All 64 bits are mixed. Objects that both lie where they were
 * first asked never share a hash; an object that was moved may have the hash of one that came to lie there later:
 * equal hashes do not mean that two objects are the same. Hashes follow from where in the heap objects lie, wherever
 * the system puts the heap, and can be foreseen: a VM that lets strangers choose keys mixes in a secret.
 *
 * tsr_object_size() and tsr_enumerate_objects() tell the size without what the hash takes. The GC byte says how to find
 * the hash: a VM that copies an object's first word into another object clears it there, as always.
 *
 * @param object  initialised, and past tsr_post_alloc()
 * @param hash    receives it; untouched where the call fails
 * Errors, with nothing changed: no object of this heap (TSR_INVALID_ARGUMENT); native code (TSR_BUSY); no memory for
 * the table, under plans that slide (TSR_OUT_OF_MEMORY): a collection may help.
 * Thread: the mutator's own, in managed code. Collects: never.
 */
TSR_API tsr_status tsr_identity_hash(tsr_mutator *mutator, tsr_ref object, uint64_t *hash,
                                     tsr_error *error);

#ifdef __cplusplus
}
#endif

#endif
