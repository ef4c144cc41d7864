/**
 * @file destructor.h
 * @brief Destructors: native resources of the VM are freed at their last use, deterministically.
 *
 * A destructor stands for one resource, with the operation that frees it. The program announces
 * each use of the resource; the use that is known to be the last one frees it. This has nothing to
 * do with collections or with objects: the order is the program's, and the same in each run. (For
 * what a collection finds unreachable see finalize.h.)
 *
 * Three ways to know which use is the last, one for each destructor:
 *  - *a declared count*: tsr_destructor_expect() says how many uses there are;
 *  - *a scope*: what is created in one is used for the last time when the scope is closed, also if
 *    it never was;
 *  - *a record*: one run of a program writes down its uses, and a second run of the same program
 *    knows from it which is the last.
 * Of a destructor with none of these no use is the last.
 *
 * Each destructor is *done* exactly once, or kept *for ever*; one that is neither when its registry
 * is closed is a leak, and reported with its name and where it was created. From the moment when
 * its free operation is due a destructor is done, whatever the operation returns: its handle is
 * dead, each call with it is an error, and nothing brings it back.
 *
 * Handles are numbers, never 0: equality and hash are the number's. A registry gives no number
 * twice. One of another registry is not always told from one of its own.
 *
 * Unless a function says otherwise: any thread, in managed or in native code; collects only as the
 * free operations and `report_error` do that it calls; a failure changes nothing, and a handle that
 * is dead or unknown is TSR_INVALID_ARGUMENT. Free operations run in the thread whose call made
 * them due, before that call returns, with no lock held, and may call all functions here but
 * tsr_destructors_close(); while the registry records or replays, though, they may neither create
 * nor use destructors of the record (TSR_BUSY). Around fork() no thread but a mutator in managed
 * code may be in a call on a registry.
 */
#ifndef TESSERA_DESTRUCTOR_H
#define TESSERA_DESTRUCTOR_H

#include <tessera/types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tsr_destructors tsr_destructors; /**< A registry of destructors. Opaque. */
typedef uint64_t tsr_destructor;                /**< A handle. */
typedef uint64_t tsr_destructor_scope;          /**< A scope; 0: none. */

/** What a destructor promises about uses that depend on a condition. */
typedef enum tsr_destructor_kind {
  /**
   * Freed within the last use, so the answer "not the last" stays true: taking a declared use back
   * (tsr_destructor_skip()) is an error where the last use would have been one that is over.
   */
  TSR_PROMPT = 0,
  /** Freed as soon as it is known that no use will follow: uses that may not come delay it. */
  TSR_RELAXED
} tsr_destructor_kind;

/**
 * How to free a resource. What it returns other than TSR_OK is reported (`report_error`), with its
 * message.
 */
typedef struct tsr_free_operation {
  tsr_status (*function)(void *context, tsr_error *error);
  void *context;
} tsr_free_operation;

/* ---- registries ---------------------------------------------------------------------------- */

/**
 * A registry, whose memory is of the heap's account. NULL: TSR_OUT_OF_MEMORY. To be closed before
 * the heap is destroyed. What it has taken for many destructors at once stays until then.
 */
TSR_API tsr_destructors *tsr_destructors_new(tsr_heap *heap, tsr_error *error);

/**
 * Closes a registry. Each destructor that is neither done nor kept for ever is reported
 * (`report_error`, TSR_BUSY); `leaks`, which may be NULL, receives how many they are. They are not
 * freed. TSR_BUSY: a free operation is running, this call perhaps within it. NULL is allowed.
 * Thread: any, with no other thread in a call on this registry.
 */
TSR_API tsr_status tsr_destructors_close(tsr_destructors *registry, size_t *leaks,
                                         tsr_error *error);

/**
 * Keeps all that are not done for ever, as tsr_destructor_use_forever(), without a word about their
 * free operations: for a program that ends and leaves the rest to the system. Returns how many they
 * were; one for which that fails stays as it is.
 */
TSR_API size_t tsr_destructors_use_all_forever(tsr_destructors *registry);

/* ---- destructors --------------------------------------------------------------------------- */

/**
 * Creates a destructor; see TSR_DESTRUCTOR_NEW(). `name`, of which 47 bytes are kept, may be NULL;
 * `file` is kept as a pointer. An `operation` without a function frees nothing, and its owner acts
 * on the answer of tsr_destructor_use(): for TSR_PROMPT outside scopes only. 0 with an error: a
 * kind, scope or operation that is none (TSR_INVALID_ARGUMENT), no memory (TSR_OUT_OF_MEMORY), a
 * departure from the record (TSR_MISMATCH); the resource is the caller's then. A replay frees at
 * once what its program never uses: then the handle is dead already.
 */
TSR_API tsr_destructor tsr_destructor_new_at(tsr_destructors *registry, tsr_destructor_scope scope,
                                             tsr_destructor_kind kind, tsr_free_operation operation,
                                             const char *name, const char *file, int line,
                                             tsr_error *error);

/** A destructor that knows where in the source it was created. */
#define TSR_DESTRUCTOR_NEW(registry, kind, operation, name, error)                                 \
  tsr_destructor_new_at((registry), 0, (kind), (operation), (name), __FILE__, __LINE__, (error))

/** As TSR_DESTRUCTOR_NEW(), in a scope. */
#define TSR_DESTRUCTOR_NEW_IN(registry, scope, kind, operation, name, error)                       \
  tsr_destructor_new_at((registry), (scope), (kind), (operation), (name), __FILE__, __LINE__,      \
                        (error))

/**
 * Declares that there are `uses` uses in all, those included that have been: the last of them
 * frees. Where they have been already it is done now; TSR_MISMATCH for TSR_PROMPT, unless `uses` is
 * 0. Errors: fewer than there were (TSR_INVALID_ARGUMENT), declared before, in a scope, kept for
 * ever, or in the record of a registry that records or replays (TSR_BUSY).
 */
TSR_API tsr_status tsr_destructor_expect(tsr_destructors *registry, tsr_destructor destructor,
                                         uint64_t uses, tsr_error *error);

/**
 * Announces a use; `last`, which may be NULL, receives whether it is the last one. If so the
 * destructor is done, and freed before this returns. Errors in a record or replay: see there.
 */
TSR_API tsr_status tsr_destructor_use(tsr_destructors *registry, tsr_destructor destructor,
                                      bool *last, tsr_error *error);

/**
 * Takes one declared use back, for a condition under which it doesn't happen. Where that was the
 * only one left, the destructor is done now; TSR_MISMATCH for TSR_PROMPT, if there was a use: that
 * one should have been the last. Without a declared count: TSR_BUSY.
 */
TSR_API tsr_status tsr_destructor_skip(tsr_destructors *registry, tsr_destructor destructor,
                                       tsr_error *error);

/**
 * One statement that uses several, or a condition that takes a use of several back: those that
 * become due by it are freed together, the most recently created first. At an error: what stands in
 * front of the handle that it concerns has been used, and freed where due.
 */
TSR_API tsr_status tsr_destructor_use_each(tsr_destructors *registry,
                                           const tsr_destructor *destructors, size_t count,
                                           tsr_error *error);
TSR_API tsr_status tsr_destructor_skip_each(tsr_destructors *registry,
                                            const tsr_destructor *destructors, size_t count,
                                            tsr_error *error);

/**
 * Keeps a destructor for ever: it is never freed and is no leak. `operation`, which may be NULL,
 * receives the free operation, now the caller's to call or not. One that is TSR_RELAXED is done by
 * this. One that is TSR_PROMPT may still be used, and no use is the last. Errors: it is for ever
 * already (TSR_BUSY).
 */
TSR_API tsr_status tsr_destructor_use_forever(tsr_destructors *registry, tsr_destructor destructor,
                                              tsr_free_operation *operation, tsr_error *error);

/* ---- scopes -------------------------------------------------------------------------------- */

/** Opens a scope; 0: TSR_OUT_OF_MEMORY. Scopes don't know of each other, or of threads. */
TSR_API tsr_destructor_scope tsr_destructor_scope_open(tsr_destructors *registry, tsr_error *error);

/**
 * Closes a scope: all in it that are not done, or for ever, are freed, the most recently created
 * first.
 */
TSR_API tsr_status tsr_destructor_scope_close(tsr_destructors *registry, tsr_destructor_scope scope,
                                              tsr_error *error);

/* ---- record and replay --------------------------------------------------------------------- */

/**
 * For a program that does the same in each run. Between tsr_destructors_record() and
 * tsr_destructors_record_end() each creation outside scopes, and what then happens to the
 * destructor, is written down as an event. The end frees those that are left, the most recently
 * created first. tsr_destructors_replay() is told the events, and from then to
 * tsr_destructors_replay_end() the same program frees each within its last use.
 *
 * A program that departs from its record gets TSR_MISMATCH, with the place, from the call that
 * departs and from each after it; only tsr_destructor_use_forever() goes on. What is left at the
 * end of a replay has no last use, and may be declared one. Both ends without their beginning, and
 * a beginning within another, are TSR_BUSY. An event that finds no memory to be written fails
 * (TSR_OUT_OF_MEMORY).
 */
TSR_API tsr_status tsr_destructors_record(tsr_destructors *registry, tsr_error *error);
TSR_API tsr_status tsr_destructors_record_end(tsr_destructors *registry, tsr_error *error);

/**
 * The events of the last record, or replay: copies at most `capacity` of them, and returns how many
 * there are. They may be kept in a file, from one run of a program to the next.
 */
TSR_API size_t tsr_destructors_events(tsr_destructors *registry, uint32_t *events, size_t capacity);

/** Copies the events. Errors: events that no record can have (TSR_INVALID_ARGUMENT), no memory. */
TSR_API tsr_status tsr_destructors_replay(tsr_destructors *registry, const uint32_t *events,
                                          size_t count, tsr_error *error);

/**
 * TSR_MISMATCH where the program has departed from its record, or ends before it; the replay is
 * over in any case.
 */
TSR_API tsr_status tsr_destructors_replay_end(tsr_destructors *registry, tsr_error *error);

#ifdef __cplusplus
}
#endif

#endif
