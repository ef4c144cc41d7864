/**
 * @file binding.h
 * @brief What a VM supplies: its capabilities, its object model and its callbacks, in one const struct.
 *
 * Every member may be zero: each has a working default. The shape (a table of callbacks with a
 * working default each, and stop/resume/block with the same meaning) follows MMTk's VM binding
 * traits; ours is data wherever data is enough.
 */
#ifndef TESSERA_BINDING_H
#define TESSERA_BINDING_H

#include <tessera/layout.h>
#include <tessera/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What the VM does, for `tsr_binding.does`. */
enum {
  TSR_DOES_WRITE_BARRIER = 1u << 0, /**< every store of a reference goes through barrier.h */
  TSR_DOES_SAFEPOINTS = 1u << 1,    /**< its threads reach safepoints in bounded time */
  TSR_DOES_UPDATABLE_SLOTS =
      1u << 2,                  /**< every reference it keeps across a safepoint lies in a slot or
                                           root that Tessera knows, so objects may move */
  TSR_DOES_WEAK_LOADS = 1u << 3 /**< weak slots are read through tsr_load_weak() */
};

/** What the VM needs from a plan, for `tsr_binding.needs`. */
enum {
  TSR_NEEDS_NON_MOVING = 1u << 0, /**< no object may ever move */
  /** An address inside an object leads to it: tsr_object_of(), and the words of ambiguous roots. */
  TSR_NEEDS_INTERIOR_POINTERS = 1u << 1,
  /** Words that may or may not be references are roots: TSR_ROOT_AMBIGUOUS. */
  TSR_NEEDS_AMBIGUOUS_ROOTS = 1u << 2
};

/** Why an allocation failed for good, for `out_of_memory`. */
typedef enum tsr_oom_kind {
  TSR_OOM_HEAP = 0, /**< the heap's maximum is reached */
  TSR_OOM_SYSTEM,   /**< the operating system refused memory below that maximum */
  TSR_OOM_OVERLOAD /**< what lives nearly fills the maximum, and collections take nearly all the time:
                         the option collecting_most */
} tsr_oom_kind;

/** One failed allocation. */
typedef struct tsr_oom {
  tsr_oom_kind kind;
  size_t requested_bytes;
  size_t committed_bytes;
  size_t heap_max_bytes;
  size_t reserve_bytes; /**< emergency reserve that is open for this call (low_memory.h); 0: none */
} tsr_oom;

/** What a collection was, for `collection_ended` and the log. */
typedef struct tsr_collection {
  uint64_t number;          /**< counted from 1 */
  const char *plan;         /**< static string */
  const char *cause;        /**< static string: "allocation", "request", "emergency",
                                 "reclaim", "memory request", "external", "freeze", "stress",
                                 "marking" */
  uint64_t before_bytes;    /**< used when it began: blocks handed out */
  uint64_t after_bytes;     /**< used when it ended */
  uint64_t live_bytes;      /**< bytes of objects found live */
  uint64_t committed_bytes; /**< everything the heap holds, metadata included, at its end */
  uint64_t pause_ns; /**< from the stop request to the last resume; in `collection_ended`, so far */
  uint64_t pause_cpu_ns;     /**< CPU time of the collecting threads within it */
  uint64_t finalizable;      /**< finalizers that it made ready */
  uint64_t ephemeron_visits; /**< how often it looked at an ephemeron */
  uint64_t trace_ns;         /**< wall time of roots and trace within the pause */
  uint64_t trace_cpu_ns;     /**< CPU time of the collecting threads for these */
  uint64_t release_ns;       /**< wall time of what comes after: compaction, sweeping, freeing */
  uint32_t workers;          /**< threads that took part */
  uint32_t
      minor; /**< 1: of the young generation; `live_bytes` is what survived of it. Without one: of
                                  roots, for a cycle of marking */
  uint32_t
      remark; /**< 1: a cycle of marking has ended in it; what was old and dead is freed from now on */
  uint32_t swept; /**< 1: and that has ended: `live_bytes` is all that is live */
} tsr_collection;

/**
 * The binding. One const object, alive as long as its heaps. All callbacks receive the `vm` pointer
 * of tsr_heap_create() first. "World stopped" means that no mutator of the heap runs.
 */
typedef struct tsr_binding {
  /* The first four come from TSR_BINDING_HEADER. */
  size_t size;             /**< sizeof(tsr_binding) */
  uint32_t abi;            /**< TSR_ABI */
  uint32_t gc_byte_offset; /**< TSR_GC_BYTE_OFFSET */
  uint32_t object_align;   /**< TSR_OBJECT_ALIGN: 8 or 16 */

  const char *name; /**< of the VM, for messages; NULL: "vm" */
  uint32_t does;    /**< TSR_DOES_... */
  uint32_t needs;   /**< TSR_NEEDS_... */

  tsr_reference_rule references;
  tsr_layout_source layout_source;
  const tsr_layout *layouts; /**< registered at creation, as indices 1, 2, 3, ... */
  size_t layout_count;

  /** TSR_LAYOUT_BY_CALLBACK: index of the object's layout. World stopped or not; may not allocate, and reads of
      other objects what tsr_layout's callbacks may. */
  uint32_t (*layout_of)(void *vm, tsr_ref object);

  /** Reports roots of one mutator through roots.h's tsr_visit_slots(). World stopped; may not allocate. May come
      several times in a pause: the verifier asks too. Default: none. */
  void (*scan_mutator_roots)(void *vm, tsr_mutator *mutator, tsr_visitor *visitor);
  /** Reports roots that belong to no mutator. As scan_mutator_roots. */
  void (*scan_heap_roots)(void *vm, tsr_visitor *visitor);

  /**
   * The three below replace Tessera's own cooperative safepoints; give all three or none.
   *
   * stop_all_mutators: called by the mutator `self` that collects, enumerates, verifies or forks, or makes what was
   * held back its reservation (memory_request.h, low_memory.h); returns when every other mutator of the heap has stopped at a safepoint or is in native code, and keeps them so.
   */
  void (*stop_all_mutators)(void *vm, tsr_heap *heap, tsr_mutator *self);
  /** Lets every mutator run again. Must first set every bump pair to zero that the VM caches and
      did not register with tsr_register_bump_pointer(). */
  void (*resume_mutators)(void *vm, tsr_heap *heap, tsr_mutator *self);
  /** Called on a mutator that wants to allocate while another one collects: parks it until
      resume_mutators. May come shortly before stop_all_mutators, and may then return at once: it is
      called again. */
  void (*block_for_gc)(void *vm, tsr_mutator *self);

  /** An allocation is about to return NULL: the end of low_memory.h's ladder. Runs on the allocating mutator, world
      running; returns. It may release roots, and may allocate what needs no collection. Default: nothing. */
  void (*out_of_memory)(void *vm, tsr_mutator *mutator, const tsr_oom *oom);
  /** Receives the message of a failed call that takes no `tsr_error *`, or of one that waits for a thread that does
      not stop (safepoint.h). `mutator` is the caller's, or NULL. Must not call Tessera. Default: prints one
      line to stderr. */
  void (*report_error)(void *vm, tsr_mutator *mutator, const tsr_error *error);
  /**
   * The VM's own weak things, once all that is reachable has been traced and ephemerons have kept what they keep
   * (weak.h). May ask tsr_weak_is_live() and call tsr_weak_keep(); returns whether it wants to be called again
   * when what it kept has been traced with all that follows from it (as MMTk's process_weak_refs). On the
   * collecting thread, world stopped; may not allocate. Default: nothing, and false.
   */
  bool (*process_weak)(void *vm, tsr_weak_phase *phase);
  /** Once in each collection, when it is known where every survivor will be: calls tsr_weak_forward() for each weak
      reference that the VM keeps itself. As process_weak. Default: nothing. */
  void (*forward_weak)(void *vm, tsr_weak_phase *phase);
  /** What a weak slot holds when its object is gone; no reference. Default: 0. */
  uint64_t weak_cleared;

  /** After each collection, mutators still stopped; may not allocate. Default: nothing. */
  void (*collection_ended)(void *vm, const tsr_collection *collection);
} tsr_binding;

/** First members of a `tsr_binding` initialiser: `{TSR_BINDING_HEADER, .name = "lisp", ...}` in C and in
    C++20. In C++17 assign the members. */
#define TSR_BINDING_HEADER                                                                         \
  .size = sizeof(tsr_binding), .abi = TSR_ABI, .gc_byte_offset = TSR_GC_BYTE_OFFSET,               \
  .object_align = TSR_OBJECT_ALIGN

#ifdef __cplusplus
}
#endif

#endif
