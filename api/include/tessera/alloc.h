/**
 * @file alloc.h
 * @brief Allocation: generic, inline, by offset, and from a cached pair.
 *
 * The protocol, in every plan: allocate; write the object's first word (its header, GC byte zero)
 * before the next allocation or safepoint; tsr_post_alloc(). Memory comes zeroed.
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
  TSR_ALLOC_OVERCOMMIT = 1u << 2       /**< pass the heap's maximum; refused in this version */
};

/**
 * Allocates `size` bytes such that (result + offset) % align == 0.
 *
 * @param size       a multiple of the object alignment, not zero. Default placement sends sizes
 *                   above TSR_MAX_INLINE_BYTES to the large space
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
 * The slow path of default placement, for code that has its own fast path. `pair` is the pair that
 * missed: one of the mutator's own, or a cached one; what is left in it is used or given up, and it
 * leaves holding the new buffer.
 */
TSR_API void *tsr_alloc_slow(tsr_mutator *mutator, tsr_bump_pointer *pair, size_t size,
                             size_t align, size_t offset, tsr_semantics semantics);

/**
 * After an object's header is written: what the plan must know of a new object, and, as this is
 * the checked entry, that the object lies in this heap, that its layout is known and that
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
 * add, a compare, a branch and a store; an exact fit hits. `pair` may be any pair for default
 * placement: `&mutator->bump[0]`, one found by offset, or a registered cached one.
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

/** By offset: `pair_offset` from tsr_allocator_mapping(), resolved once. Alignment and offset as
    tsr_alloc(), but not checked while the fast path hits. */
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

/** tsr_post_alloc() for the inline path: nothing to do for an object that a bump buffer served. */
TSR_INLINE void tsr_post_alloc_default(tsr_mutator *mutator, void *object, size_t size) {
  if (size > TSR_MAX_INLINE_BYTES) {
    (void)tsr_post_alloc(mutator, (tsr_ref)object, size, TSR_DEFAULT);
  }
}

#ifdef __cplusplus
}
#endif

#endif
