/**
 * @file alloc.h
 * @brief Allocation: generic, inline, by offset, and from a cached pair.
 *
 * The protocol, in every plan: allocate; write the object's first word (its header, GC byte zero) and
 * whatever else its layout reads to tell its size, such as an array's length, before the next allocation
 * of any kind or safepoint; tsr_post_alloc(). Memory comes zeroed.
 *
 * A failing allocation returns NULL after the out_of_memory callback. Misuse (a size of zero, a
 * size that is not a multiple of the object alignment, an impossible alignment, unknown semantics)
 * returns NULL after report_error and changes nothing.
 */
#ifndef TESSERA_ALLOC_H
#define TESSERA_ALLOC_H

#include <tessera/mutator.h>
#include <tessera/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Rounds a size up to the object alignment. */
TSR_INLINE size_t tsr_round_size(size_t bytes) {
  return (bytes + (TSR_OBJECT_ALIGN - 1u)) & ~(size_t)(TSR_OBJECT_ALIGN - 1u);
}

/** Options of one request, for tsr_alloc_with(). */
enum {
  TSR_ALLOC_NO_COLLECT = 1u << 0,      /**< not at a safepoint: never collects; lets the heap grow
                                            instead; NULL, and no callback, when that is not enough */
  TSR_ALLOC_NO_OOM_CALLBACK = 1u << 1, /**< NULL without calling out_of_memory */
  TSR_ALLOC_OVERCOMMIT =
      1u << 2 /**< must not fail: never collects, lets the heap grow, and passes its
                                            maximum where that is not enough; NULL, and no callback, only
                                            where the system or the reserved address space has no more */
};

/**
 * Allocates `size` bytes such that (result + offset) % align == 0.
 *
 * @param size       a multiple of the object alignment, not zero. Default placement sends sizes
 *                   above TSR_MAX_INLINE_BYTES to the large space, and so do the others: what is
 *                   immortal there stays so
 * @param align      a power of two up to TSR_MAX_ALIGN; less than the object alignment means that,
 *                   and then the offset does not matter.
 *                   In default placement no more than the object's layout keeps after a move
 * @param offset     a multiple of the object alignment
 * @param semantics  placement and flags
 * Thread: the mutator's own, in managed code. Collects: may.
 */
TSR_API void *tsr_alloc(tsr_mutator *mutator, size_t size, size_t align, size_t offset,
                        tsr_semantics semantics);

/** tsr_alloc() with options of the request (TSR_ALLOC_...), and with errors handed to the caller
    instead of report_error; an out-of-memory also fills `error`. */
TSR_API void *tsr_alloc_with(tsr_mutator *mutator, size_t size, size_t align, size_t offset,
                             tsr_semantics semantics, uint32_t request, tsr_error *error);

/**
 * The slow path, for code that has its own fast path. `pair` is the pair that missed: one of the
 * mutator's own, whose placement then holds; or, for default placement, a registered one, or one that
 * the VM's own resume_mutators sets to zero. What is left in it is used or given up, and it leaves
 * holding the new buffer.
 *
 * Fatal misuse: a pair that still holds a buffer that a collection took back. It was copied, and not
 * set to zero in resume_mutators; what was allocated from it since has overwritten memory of others.
 */
TSR_API void *tsr_alloc_slow(tsr_mutator *mutator, tsr_bump_pointer *pair, size_t size,
                             size_t align, size_t offset, tsr_semantics semantics);

/**
 * After an object's header is written, and before a reference is stored into an object of more than
 * TSR_MAX_INLINE_BYTES: what the plan must know of a new object, and what it arms; and, as this is the checked entry,
 * that the object lies in this heap, that its layout is known and that
 * the layout agrees with `size`. Errors change nothing and go to report_error too.
 * Thread: the mutator's own, before its next safepoint. Collects: never.
 */
TSR_API tsr_status tsr_post_alloc(tsr_mutator *mutator, tsr_ref object, size_t size,
                                  tsr_semantics semantics);

/** True where the inline path may serve the size: not zero, aligned, not above the maximum. Folds to a constant for
    constant sizes. */
TSR_INLINE bool tsr_inline_size(size_t size) {
  return size - 1u < TSR_MAX_INLINE_BYTES && (size & (TSR_OBJECT_ALIGN - 1u)) == 0;
}

/**
 * The fast path: bumps `pair`, or takes the slow path. For a constant size this is a load, an
 * add, a compare, a branch and a store; an exact fit hits. `pair` may be one of the mutator's, whose
 * placement it then is, or for default placement a cached one.
 */
TSR_INLINE void *tsr_alloc_from(tsr_mutator *mutator, tsr_bump_pointer *pair, size_t size) {
  uintptr_t result = pair->cursor;
  uintptr_t end = result + size;
  if (TSR_LIKELY(tsr_inline_size(size)) && TSR_LIKELY(end <= pair->limit)) {
    pair->cursor = end;
    return (void *)result;
  }
  return tsr_alloc_slow(mutator, pair, size, TSR_OBJECT_ALIGN, 0, TSR_DEFAULT);
}

/** Default placement, storages 1 and 2. */
TSR_INLINE void *tsr_alloc_default(tsr_mutator *mutator, size_t size) {
  return tsr_alloc_from(mutator, &mutator->bump[0], size);
}

/** Default placement, storage 3: from a pair registered with tsr_register_bump_pointer(). */
TSR_INLINE void *tsr_alloc_cached(tsr_mutator *mutator, tsr_bump_pointer *cached, size_t size) {
  return tsr_alloc_from(mutator, cached, size);
}

/** By offset: `pair_offset` from tsr_allocator_mapping(), resolved once for a placement. Alignment and
    offset as tsr_alloc(), but not checked while the fast path hits. */
TSR_INLINE void *tsr_alloc_by_offset(tsr_mutator *mutator, uint32_t pair_offset, size_t size,
                                     size_t align, size_t offset) {
  tsr_bump_pointer *pair = (tsr_bump_pointer *)(void *)((char *)mutator + pair_offset);
  if (align <= TSR_OBJECT_ALIGN) return tsr_alloc_from(mutator, pair, size);
  uintptr_t result = ((pair->cursor + offset + (align - 1u)) & ~(uintptr_t)(align - 1u)) - offset;
  uintptr_t end = result + size;
  if (TSR_LIKELY(tsr_inline_size(size)) && TSR_LIKELY(pair->cursor != 0) &&
      TSR_LIKELY(end <= pair->limit)) {
    pair->cursor = end;
    return (void *)result;
  }
  return tsr_alloc_slow(mutator, pair, size, align, offset, TSR_DEFAULT);
}

/** tsr_post_alloc() for the inline path: nothing to do for an object that a bump buffer served, unless
    it is a leaf. */
TSR_INLINE void tsr_post_alloc_default(tsr_mutator *mutator, void *object, size_t size) {
  if (size > TSR_MAX_INLINE_BYTES) {
    (void)tsr_post_alloc(mutator, (tsr_ref)object, size, TSR_DEFAULT);
  }
}

/**
 * Trims an object's end. First this call, while the object's layout still tells its size; then, with no
 * safepoint in between, the VM stores the smaller length, so that the layout tells `new_size`. What lay
 * behind the new end is gone at once. Its memory comes back: whole blocks of a large object, and the end of
 * the mutator's newest object, at once; in default placement with the next collection; else with
 * the next sweep, so never under a plan that does not collect.
 *
 * @param new_size  a multiple of the object alignment, at least the layout's fixed part, at most the
 *                  object's size; the same size changes nothing
 * Errors, with nothing changed: no object of this heap, or no such size (TSR_INVALID_ARGUMENT); the
 * object is sealed (TSR_BUSY).
 * Thread: the mutator's own, in managed code, no other thread using the object. Collects: never.
 */
TSR_API tsr_status tsr_shrink(tsr_mutator *mutator, tsr_ref object, size_t new_size,
                              tsr_error *error);

/**
 * Seals an object that was allocated with TSR_READ_ONLY or TSR_CODE, after tsr_post_alloc(): its pages
 * can be read and no longer written; with TSR_CODE they can be executed. A store into it from then on
 * is a fault of the program; through the write barrier it is reported first. The collector
 * opens the pages for itself, mutators stopped, when it reaches the object, unless that is a leaf.
 * Sealing code flushes the instruction cache. While they are open, code on them cannot be executed: a
 * thread in native code may not run code that lies in the heap, so the calls that enter and leave native
 * code belong outside it.
 *
 * The object keeps whole pages for itself: sealing is for code and for what many processes share, not
 * for single constants.
 * Errors, with nothing changed: allocated without these flags (TSR_INVALID_ARGUMENT); sealed already
 * (TSR_BUSY); the system refuses such pages, or another mapping (TSR_OUT_OF_MEMORY).
 * Thread: a mutator's, in managed code. Collects: never.
 */
TSR_API tsr_status tsr_seal(tsr_mutator *mutator, tsr_ref object, tsr_error *error);

/** Takes the seal of a code object back, so that it can be patched: writable, not executable. Errors as
    tsr_seal(); an object without TSR_CODE stays sealed (TSR_UNSUPPORTED), one that is not sealed is
    TSR_BUSY. No thread may be executing it. */
TSR_API tsr_status tsr_unseal(tsr_mutator *mutator, tsr_ref object, tsr_error *error);

#ifdef __cplusplus
}
#endif

#endif
