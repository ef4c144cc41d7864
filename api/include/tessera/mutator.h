/**
 * @file mutator.h
 * @brief Mutators, bump pairs, and the facts that inline code and JIT compilers are built from.
 *
 * The three ways to store a mutator, as in MMTk's guide "Optimizing Allocation":
 *  1. keep the pointer that tsr_bind_mutator() returns;
 *  2. embed the whole `tsr_mutator` in the VM's thread structure and bind it in place;
 *  3. embed only pairs of cursor and limit, one or several, each told to Tessera once
 *     with tsr_register_bump_pointer().
 *
 * MMTk's protocol for the third also works by hand: on a miss copy the pair into `mutator->bump[0]`,
 * call tsr_alloc(), copy it out again. The copy in must then come before anything else that allocates
 * through the mutator or may collect, and the VM's resume_mutators revokes the copy.
 */
#ifndef TESSERA_MUTATOR_H
#define TESSERA_MUTATOR_H

#include <tessera/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * The rest of a thread-local buffer: [cursor, limit) is free and zeroed. Both zero: empty, every
 * allocation misses. Owned by the mutator's thread; the collector sets it to zero while the world is stopped.
 */
typedef struct tsr_bump_pointer {
  uintptr_t cursor;
  uintptr_t limit;
} tsr_bump_pointer;

#define TSR_BUMP_POINTERS 4

/**
 * A mutator. The 128 bytes are frozen for an ABI number: inline code and JIT compilers use the
 * offsets, which tsr_facts repeats as data.
 */
struct tsr_mutator {
  tsr_bump_pointer bump[TSR_BUMP_POINTERS]; /**< by placement; [TSR_LARGE] stays empty */
  uint32_t poll;     /**< not zero: call tsr_safepoint(). Written by the collecting thread at any
                              time; read relaxed by the mutator */
  uint32_t reserved; /**< zero */
  void **log_cursor; /**< barrier log; both NULL under plans without a barrier */
  void **log_limit;
  tsr_heap *heap;         /**< NULL: not bound */
  void *vm_thread;        /**< identity given when bound */
  tsr_slot *local_cursor; /**< next free slot of the open handle scope (roots.h) */
  tsr_slot *local_limit;
  struct tsr_mutator_private *private_part;
};

/**
 * Binds a mutator for a VM thread. Its memory belongs to Tessera until tsr_unbind_mutator().
 * NULL with an error: `vm_thread` is bound in this heap already (TSR_BUSY), or no memory.
 *
 * @param vm_thread  the VM's identity of the thread, not NULL; given back as mutator->vm_thread
 * Thread: the one that will run the mutator. Collects: never; waits while a collection is on.
 * The mutator starts in managed code. A thread with several mutators of one heap keeps all but one of
 * them in native code: a collection waits for each that is not. A mutator changes its thread only in native
 * code: one calls tsr_enter_native(), another tsr_leave_native(), and it runs the mutator from then on.
 * With TESSERA_VERIFY=1 the slow paths and all other calls abort where another thread makes them.
 */
TSR_API tsr_mutator *tsr_bind_mutator(tsr_heap *heap, void *vm_thread, tsr_error *error);

/**
 * The same, in memory of the VM's (storage 2), which must stay where it is until unbound.
 * Any content of `storage` is overwritten.
 */
TSR_API tsr_status tsr_bind_mutator_in(tsr_heap *heap, tsr_mutator *storage, void *vm_thread,
                                       tsr_error *error);

/**
 * Ends a mutator: its buffers are retired, its registered pairs are set to zero, its handle scopes go.
 * TSR_BUSY, and nothing happens, where handle scopes are still open and hold a handle, or a fibre runs (fibre.h).
 * Thread: the mutator's own, in managed code. Collects: never; is a safepoint.
 */
TSR_API tsr_status tsr_unbind_mutator(tsr_mutator *mutator, tsr_error *error);

/**
 * Tells Tessera of a bump pair that the VM caches for default placement (storage 3). Sets it to
 * zero. From then on Tessera sets it to zero after every collection, before any mutator runs, and
 * when the mutator ends; unregister a pair before its memory goes. A pair belongs to one mutator and is
 * filled by tsr_alloc_cached().
 * Errors: registered already (TSR_BUSY), no memory.
 * Thread: the mutator's own. Collects: never.
 */
TSR_API tsr_status tsr_register_bump_pointer(tsr_mutator *mutator, tsr_bump_pointer *pair,
                                             tsr_error *error);

/** Retires the pair's buffer, sets it to zero and forgets it. TSR_INVALID_ARGUMENT where it is unknown. */
TSR_API tsr_status tsr_unregister_bump_pointer(tsr_mutator *mutator, tsr_bump_pointer *pair,
                                               tsr_error *error);

/** How a placement is served. */
typedef enum tsr_allocator_kind {
  TSR_ALLOCATOR_NONE = 0, /**< no such semantics */
  TSR_ALLOCATOR_BUMP,     /**< inline: cursor and limit at `pair_offset` */
  TSR_ALLOCATOR_CALL      /**< no fast path: call tsr_alloc() */
} tsr_allocator_kind;

/** What the allocation sequence of one placement needs. */
typedef struct tsr_allocator_info {
  tsr_allocator_kind kind;
  uint32_t pair_offset;      /**< BUMP: byte offset of the tsr_bump_pointer in tsr_mutator */
  uint32_t max_inline_bytes; /**< BUMP: larger objects must call */
} tsr_allocator_info;

/**
 * The facts as plain values, for code that is generated at run time. They hold for the life of
 * the heap. examples/jit emits the sequences from them.
 */
typedef struct tsr_facts {
  uint32_t version; /**< TSR_ABI */
  uint32_t granule;
  uint32_t object_align;
  uint32_t gc_byte_offset; /**< of the byte in the object's first word */
  uint32_t gc_armed_mask;  /**< barrier: test this mask in that byte */
  uint32_t poll_offset;    /**< of the poll flag (uint32_t) in tsr_mutator */
  uint32_t cursor_offset;  /**< of cursor and limit in tsr_bump_pointer */
  uint32_t limit_offset;
  uint32_t moves_objects; /**< 1: references must be reloaded after a safepoint */
  /** 1: the plan arms objects, or the verifier does, to find missing barriers; 0: sealed ones alone are. */
  uint32_t uses_barrier;
  /** 1: tsr_post_alloc() may arm new large arrays, so stores into large objects use the barrier from the start. */
  uint32_t large_born_armed;
  uint32_t
      barrier_preserves; /**< 1: barrier_entry keeps general and xmm registers; 0: plain C call */
  tsr_allocator_info allocators[TSR_PLACEMENTS];
  /** Slow path of every pair: the arguments and result of tsr_alloc_slow(). A plain C call. */
  void *(*alloc_entry)(tsr_mutator *, tsr_bump_pointer *, size_t size, size_t align, size_t offset,
                       tsr_semantics);
  /** Slow path of the barrier: the arguments of tsr_write_barrier_slow(). */
  void (*barrier_entry)(tsr_mutator *, tsr_ref object, tsr_slot *slot, uint64_t word);
  /** Slow path of the poll: tsr_safepoint_slow(). A plain C call. */
  void (*safepoint_entry)(tsr_mutator *);
} tsr_facts;

/** Copies the facts. Any thread; never collects. */
TSR_API void tsr_heap_facts(const tsr_heap *heap, tsr_facts *facts);

/**
 * Which allocator serves a semantics; resolve once, then use the offset. TSR_ALLOCATOR_NONE for a
 * value that is no semantics. Any thread; never collects.
 */
TSR_API tsr_allocator_info tsr_allocator_mapping(const tsr_heap *heap, tsr_semantics semantics);

#ifdef __cplusplus
}
#endif

#endif
