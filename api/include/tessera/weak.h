/**
 * @file weak.h
 * @brief Weak references, ephemerons, weak tables, and what a VM does about weak things of its own.
 *
 * A *weak* slot keeps nothing alive. A collection that finds its object unreachable stores
 * `binding->weak_cleared` into it; else it is updated like any slot. Weak are the slots that a layout of kind
 * TSR_LAYOUT_WEAK names, and handles of strength TSR_WEAK. They are read with tsr_load_weak() and written
 * with tsr_write(); a handle, which lies in no object, is written like any variable. An object with weak slots
 * may not be allocated TSR_LEAF: nobody would clear them.
 *
 * An *ephemeron* (B. Hayes, Ephemerons: A New Finalization Mechanism, 1997) keeps its value alive for as long
 * as both the ephemeron and its key are reachable otherwise than through the value. When the key dies, key and
 * value are cleared together, the value also where it is no reference; a value that is stored afterwards is kept, for
 * what a cleared key holds never dies. A chain of any length, in any order, costs time in proportion to its length.
 *
 * **The order**, in every plan that collects, once roots have been traced:
 *
 * 1. ephemerons whose keys are reachable keep their values, to a fixpoint;
 * 2. `binding->process_weak` may keep more, again and again, each time followed by 1;
 * 3. weak slots and weak handles of objects that are not reachable are cleared, and entries of tables go that are
 *    not TSR_WEAK_KEYS;
 * 4. objects with finalizers that are not reachable are revived (finalize.h), with what they refer to, and 1
 *    is repeated for what that reaches; when all are revived, weak slots that this has brought are cleared or updated;
 * 5. ephemerons whose keys are still not reachable are cleared, and entries of TSR_WEAK_KEYS tables go: a key that
 *    waits for its finalizer has its value;
 * 6. `binding->forward_weak` takes note of what is left.
 *
 * Under a plan that marks in steps there are two such rounds in the pause in which a cycle ends: one for
 * what is young, to which all that is old is reachable, and then one for what is old. The first is in each pause that looks
 * at roots, also where nothing is young.
 *
 * A weak slot that was cleared in 3 stays so when a finalizer stores its object somewhere again. Under a plan that
 * never collects nothing is ever cleared.
 */
#ifndef TESSERA_WEAK_H
#define TESSERA_WEAK_H

#include <tessera/mutator.h>
#include <tessera/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * The part of an object that makes it an ephemeron; its layout says where it lies. All zero in a new object. The
 * VM stores a key and a value with tsr_write(), in any order and as often as it likes. A key that is no
 * reference never dies.
 */
typedef struct tsr_ephemeron {
  tsr_slot key;
  tsr_slot value;
  uint64_t reserved[3]; /**< Tessera's: zero in a new object, and left alone */
} tsr_ephemeron;

/* ---- weak tables: for the VM's own C code ------------------------------------------------------- */

/**
 * A hash table in native memory whose entries go when something dies: for symbols and interned constants, and for
 * what the VM wants to know of objects without a word in them. Counts against the heap's maximum. Grows as it needs,
 * and shrinks. Thread-safe: each call below is one step for the others.
 */
typedef struct tsr_weak_table tsr_weak_table;

/** Which entries go. A word that is no reference never dies. */
typedef enum tsr_weak_mode {
  TSR_WEAK_KEYS = 0, /**< those whose key is dead; each entry is an ephemeron */
  TSR_WEAK_VALUES,   /**< those whose value is dead; keys are kept alive until then */
  TSR_WEAK_BOTH      /**< those whose key or value is dead; neither is kept alive */
} tsr_weak_mode;

/**
 * Whether a key of the table is the one that is looked for. Asked for keys of the same hash, and perhaps for some
 * others. Reads the key's object and memory that does not move; may not call Tessera. NULL instead of the function:
 * the words are compared.
 */
typedef bool (*tsr_weak_equal)(void *context, uint64_t key);

/** What is looked for. The hash is the VM's, any 64 bits, and must stay the same where objects move. */
typedef struct tsr_weak_key {
  uint64_t word; /**< what `put` stores, and what is compared where there is no `equal` */
  uint64_t hash;
  tsr_weak_equal equal;
  void *context;
} tsr_weak_key;

/** Makes an empty table. NULL with an error: an unknown mode, no memory. Any thread; never collects. */
TSR_API tsr_weak_table *tsr_weak_table_new(tsr_heap *heap, tsr_weak_mode mode, tsr_error *error);

/** Frees a table that nobody uses; NULL: nothing happens. Tables that are left go with the heap. A mutator's thread in
    managed code, or any while the heap has no mutators; never collects. */
TSR_API void tsr_weak_table_free(tsr_weak_table *table);

/** What `put` does where the key is there already. */
typedef enum tsr_weak_put {
  TSR_WEAK_REPLACE = 0, /**< stores the value */
  TSR_WEAK_KEEP         /**< leaves it, and returns it in `value` */
} tsr_weak_put;

/**
 * Stores an entry, or meets one. `value` is both: what to store, and then what the entry holds. With
 * TSR_WEAK_KEEP it interns: of several threads that come with equal keys, one stores its own and all get that.
 * Errors: no memory, with nothing changed (TSR_OUT_OF_MEMORY), native code (TSR_BUSY).
 * Thread: the mutator's own, in managed code. Never collects.
 */
TSR_API tsr_status tsr_weak_table_put(tsr_mutator *mutator, tsr_weak_table *table,
                                      const tsr_weak_key *key, uint64_t *value, tsr_weak_put put,
                                      tsr_error *error);

/** The value of a key; false, and `value` untouched: there is none, or native code. As tsr_weak_table_put(). */
TSR_API bool tsr_weak_table_get(tsr_mutator *mutator, tsr_weak_table *table,
                                const tsr_weak_key *key, uint64_t *value);

/** Removes an entry; false: there was none, or native code. As tsr_weak_table_put(). */
TSR_API bool tsr_weak_table_remove(tsr_mutator *mutator, tsr_weak_table *table,
                                   const tsr_weak_key *key);

/** Entries now. Any thread. */
TSR_API size_t tsr_weak_table_count(tsr_weak_table *table);

/** Calls back for every entry, in no particular order. `visit` may not call Tessera. As tsr_weak_table_put(). */
TSR_API void tsr_weak_table_each(tsr_mutator *mutator, tsr_weak_table *table,
                                 void (*visit)(void *context, uint64_t key, uint64_t value),
                                 void *context);

/* ---- the VM's own weak things: inside process_weak and forward_weak ------------------------------- */

/** Whether the object has been reached, or is none of this heap; also asked with what tsr_weak_keep() has made of a
    slot. One that has not been reached may not be read: its first word may be elsewhere. In process_weak only. */
TSR_API bool tsr_weak_is_live(const tsr_weak_phase *phase, tsr_ref object);

/** Keeps alive what the slot refers to, if anything, and all that follows from it, and updates the slot. The slot
    lies outside the heap and need not be a root; in forward_weak it is to be forwarded. In process_weak only. */
TSR_API void tsr_weak_keep(tsr_weak_phase *phase, tsr_slot *slot);

/**
 * Whether what the slot refers to is alive; then the slot is updated, else it is left as it is. A slot that refers to
 * nothing is left as it is, and counts as alive. Each slot once. In forward_weak only.
 */
TSR_API bool tsr_weak_forward(tsr_weak_phase *phase, tsr_slot *slot);

#ifdef __cplusplus
}
#endif

#endif
