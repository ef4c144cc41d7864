/**
 * @file roots.h
 * @brief Roots: handle scopes, global handles, registered ranges, native stacks, callbacks, pins.
 *
 * Every root but two is a slot: an 8-byte word under the heap's reference rule, so tagged words are fine.
 * A collection that moves an object updates the slots that point to it. The two are pins and the words of
 * ambiguous ranges: what they lead to is not moved.
 */
#ifndef TESSERA_ROOTS_H
#define TESSERA_ROOTS_H

#include <tessera/mutator.h>
#include <tessera/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- local handles: C code of the VM ------------------------------------------------------- */

/** A handle scope, on the C stack. Opaque. */
typedef struct tsr_scope {
  tsr_slot *cursor;
  tsr_slot *limit;
} tsr_scope;

/** Opens a scope. Scopes nest; close them in reverse order. Coroutines, whose scopes do not nest in those of their
    thread, have fibres (fibre.h). Mutator's own thread; never collects. */
TSR_INLINE void tsr_scope_open(tsr_mutator *mutator, tsr_scope *scope) {
  scope->cursor = mutator->local_cursor;
  scope->limit = mutator->local_limit;
}

/** Closes a scope: its handles are gone. */
TSR_INLINE void tsr_scope_close(tsr_mutator *mutator, tsr_scope *scope) {
  mutator->local_cursor = scope->cursor;
  mutator->local_limit = scope->limit;
}

/** The slow path of tsr_local(). */
TSR_API tsr_slot *tsr_local_slow(tsr_mutator *mutator, uint64_t word);

/**
 * A slot that keeps `word` alive and up to date until the innermost open scope closes; one must be
 * open. Slots never move. NULL, after out_of_memory, when no memory for slots is left.
 * Mutator's own thread; never collects.
 */
TSR_INLINE tsr_slot *tsr_local(tsr_mutator *mutator, uint64_t word) {
  tsr_slot *slot = mutator->local_cursor;
  if (TSR_UNLIKELY(slot == mutator->local_limit)) return tsr_local_slow(mutator, word);
  mutator->local_cursor = slot + 1;
  slot->word = word;
  return slot;
}

/* ---- global handles ------------------------------------------------------------------------ */

/** Strength of a global handle. */
typedef enum tsr_strength {
  TSR_STRONG = 0,
  TSR_WEAK /**< keeps nothing alive; cleared with the object (weak.h) */
} tsr_strength;

/**
 * A slot that lives until tsr_handle_free(), also where it was weak and has been cleared. NULL with an
 * error: no memory, or a word that
 * the reference rule reads as an address inside the heap's range where no object can be.
 * A word that is a reference: a mutator's thread in managed code. Any other word: any thread. Never
 * collects.
 */
TSR_API tsr_slot *tsr_handle_new(tsr_heap *heap, uint64_t word, tsr_strength strength,
                                 tsr_error *error);

/** Frees a handle. TSR_INVALID_ARGUMENT for a slot that is not a live handle of this heap. Any thread. */
TSR_API tsr_status tsr_handle_free(tsr_heap *heap, tsr_slot *handle, tsr_error *error);

/* ---- registered memory of the VM ----------------------------------------------------------- */

/** How the words of a range are read. */
typedef enum tsr_root_kind {
  TSR_ROOT_PRECISE = 0, /**< each word is a slot */
  /**
   * Each word may be a reference, or anything else. Where it is the address of an object, as it is or
   * by the reference rule, the object is kept alive and where it is, as by a pin, for as long as the
   * word is there; with TSR_NEEDS_INTERIOR_POINTERS also where it is the address of any byte of one. Any
   * other word is without effect, and no word is ever changed. For C stacks and saved registers.
   */
  TSR_ROOT_AMBIGUOUS
} tsr_root_kind;

/**
 * Registers `count` consecutive slots, a global variable or a table, as roots. They are read at
 * every collection until removed. `name` (may be NULL; copied, at most 47 bytes kept) is for the
 * verifier's reports and for snapshots.
 * Errors: NULL or misaligned memory, a count of 0, an overlap with a registered range (TSR_BUSY), an
 * ambiguous range where the binding does not declare TSR_NEEDS_AMBIGUOUS_ROOTS (TSR_MISMATCH), no memory.
 * Thread: any that may touch the slots; never collects.
 */
TSR_API tsr_status tsr_root_add(tsr_heap *heap, tsr_slot *first, size_t count, tsr_root_kind kind,
                                const char *name, tsr_error *error);

/** Forgets the range that begins at `first`. TSR_INVALID_ARGUMENT where there is none. */
TSR_API tsr_status tsr_root_remove(tsr_heap *heap, tsr_slot *first, tsr_error *error);

/**
 * A stack of slots that the VM keeps in native memory, growing upwards: [base, *top) are slots.
 * The structure belongs to the VM and stays where it is until removed; the VM may change `base`
 * (a stack that was reallocated) and `*top` while it runs.
 */
typedef struct tsr_native_stack {
  tsr_slot *base;
  tsr_slot **top;
  /**
   * NULL, or a word kept by both sides: everything below it is as the last collection left it. The
   * collector raises it to *top; the VM lowers it to the new top whenever it pops below it, and to
   * a slot that it changes below. A minor collection may then skip that part.
   */
  tsr_slot **clean_below;
  const char *name; /**< for the verifier's reports and for snapshots; may be NULL */
} tsr_native_stack;

/** Registers a stack. Errors: no place for the top, a top below the base, registered already (TSR_BUSY), no
    memory. An empty stack may have a NULL base and top. As tsr_root_add(). */
TSR_API tsr_status tsr_stack_add(tsr_heap *heap, tsr_native_stack *stack, tsr_error *error);

/** Forgets a stack. TSR_INVALID_ARGUMENT where it is unknown. */
TSR_API tsr_status tsr_stack_remove(tsr_heap *heap, tsr_native_stack *stack, tsr_error *error);

/* ---- callbacks ----------------------------------------------------------------------------- */

/** Reports `count` consecutive slots from scan_mutator_roots or scan_heap_roots; nowhere else. */
TSR_API void tsr_visit_slots(tsr_visitor *visitor, tsr_slot *first, size_t count);

/* ---- pins ---------------------------------------------------------------------------------- */

/**
 * Keeps an object where it is, and alive with all that it refers to, until it is unpinned as often as it
 * was pinned; in any order with other pins. Under every plan, and in every placement: an object that
 * never moves is just kept alive. A pin belongs to the heap and outlives the mutator that made it.
 * Native code may read and write a pinned object, but for its first word and its slots.
 *
 * A collection leaves the whole 32 KiB block around a pinned object in place. So pins that lie far apart
 * keep more memory from being compacted than as many in one block, and an object that is known to be
 * pinned for long is better allocated TSR_NON_MOVING.
 *
 * Errors: no object of this heap (TSR_INVALID_ARGUMENT; an address inside an object, or where one was,
 * cannot always be told from an object's), no memory for the count (TSR_OUT_OF_MEMORY), native code
 * (TSR_BUSY). Thread: the mutator's own, in managed code. Never collects.
 */
TSR_API tsr_status tsr_pin(tsr_mutator *mutator, tsr_ref object, tsr_error *error);

/**
 * Takes one pin back, no matter which mutator made it. TSR_INVALID_ARGUMENT where the object has none
 * that tsr_pin() made. Pins that are left when the heap is destroyed are reported (`report_error`), and go
 * with it.
 * Thread: the mutator's own, in managed code or in native code. Never collects.
 */
TSR_API tsr_status tsr_unpin(tsr_mutator *mutator, tsr_ref object, tsr_error *error);

/**
 * As tsr_pin(), but the pin goes by itself at the end of the next collection, and cannot be taken back:
 * for an address that is handed to a call which at most one collection may interrupt. Several such pins
 * of an object are like one; beside those of tsr_pin() it does not count.
 */
TSR_API tsr_status tsr_pin_once(tsr_mutator *mutator, tsr_ref object, tsr_error *error);

/* ---- interior pointers --------------------------------------------------------------------- */

/**
 * The object that an address leads to: where it begins, or any byte of it. NULL, and `error` untouched,
 * where there is none: outside the heap, between objects, in memory that is free, or in what another
 * thread is allocating now. One that no root reaches is there until a collection has freed it.
 *
 * For bindings that declare TSR_NEEDS_INTERIOR_POINTERS, and so under plans that can; NULL with
 * TSR_MISMATCH for others, with TSR_BUSY in native code. Looks through one block at most.
 * Thread: the mutator's own, in managed code. Never collects.
 */
TSR_API tsr_ref tsr_object_of(tsr_mutator *mutator, const void *address, tsr_error *error);

#ifdef __cplusplus
}
#endif

#endif
