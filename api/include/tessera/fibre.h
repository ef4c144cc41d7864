/**
 * @file fibre.h
 * @brief Fibres: coroutines, generators and green threads, each with handle scopes and stacks of its own.
 *
 * Handle scopes (roots.h) nest within a mutator. Where a VM leaves one C stack for another, scopes that are open
 * on the first are not closed before those of the second: they need a nest of their own. A *fibre* is one. It
 * switches no stack: the VM does, by its own means, and tells the heap with tsr_fibre_switch().
 *
 *     tsr_fibre_switch(mutator, fibre, &error);   // before its code runs, from whichever thread
 *     swapcontext(...);
 *     tsr_fibre_switch(mutator, NULL, &error);    // or to another fibre
 *
 * A suspended fibre keeps its handles alive and up to date, as if it ran; so it does with its stacks. It
 * takes up about 350 bytes, and more for more than 30 handles. Most VMs need one for each coroutine in which C
 * code may hold handles; a coroutine that lives in memory of the VM alone needs just a tsr_native_stack.
 *
 * To the code of a fibre a switch to another one is a safepoint: what it keeps in C variables is stale when it
 * runs again, also its mutator where another thread may resume it. To the mutator it is none, so an
 * object is written and announced before (alloc.h), and it never collects.
 */
#ifndef TESSERA_FIBRE_H
#define TESSERA_FIBRE_H

#include <tessera/mutator.h>
#include <tessera/roots.h>
#include <tessera/types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tsr_fibre tsr_fibre; /**< One fibre. Opaque. */

/**
 * A C stack, which grows downwards: the words of [*top, base) may be references, as those of a range that is
 * TSR_ROOT_AMBIGUOUS. The structure belongs to the VM and stays where it is until the fibre is destroyed; the
 * VM may change both while the fibre's thread is in managed code. They are read at every collection, so where the fibre
 * is left, or does what may collect, its registers are saved in the stack and `*top` is set before.
 */
typedef struct tsr_c_stack {
  void *base; /**< its end, where the first frame begins */
  void **top; /**< place of the lowest address in use; NULL there: nothing is read */
} tsr_c_stack;

/** What a fibre has besides handle scopes. Copied; what it points to stays until the fibre is destroyed. */
typedef struct tsr_fibre_roots {
  const char *name;         /**< for the verifier's reports and for snapshots; may be NULL */
  tsr_native_stack *stacks; /**< NULL, or stacks of slots that nobody registers elsewhere */
  size_t stack_count;
  tsr_c_stack *c_stack; /**< NULL, or for bindings that declare TSR_NEEDS_AMBIGUOUS_ROOTS */
} tsr_fibre_roots;

/**
 * A fibre that runs nowhere. It begins with a scope: handles that it makes outside any other are there until it is
 * destroyed. `roots` may be NULL: scopes only. From now on its stacks are roots, whether it runs or not.
 * NULL with an error: a stack as tsr_stack_add() refuses it, a C stack without a base or a place for its top
 * (TSR_INVALID_ARGUMENT), one that the binding has not declared (TSR_MISMATCH), no memory.
 * Thread: any that may touch the stacks; never collects.
 */
TSR_API tsr_fibre *tsr_fibre_create(tsr_heap *heap, const tsr_fibre_roots *roots, tsr_error *error);

/**
 * Ends a fibre: its scopes, open or not, and their handles are gone, and its stacks are no roots any more. A heap that is
 * destroyed takes its fibres with it.
 * TSR_BUSY, and nothing happens, where it runs. Thread: any; never collects.
 */
TSR_API tsr_status tsr_fibre_destroy(tsr_fibre *fibre, tsr_error *error);

/**
 * From here on the mutator opens, fills and closes the scopes of `fibre`; NULL: those that are the thread's own. What it
 * leaves, a fibre or the thread's own scopes, is suspended as it is. A switch to what runs already
 * does nothing. Of several threads that switch to one fibre at a time one succeeds; what the others did before
 * they left it is seen by who runs it next.
 *
 * A scope is closed where it was opened. Closing one on another fibre is a misuse that ends the program, when
 * the library meets it: at the latest at the next switch or collection.
 *
 * Errors, with nothing changed: the fibre runs on another mutator, or the mutator is in native code or in a
 * no-allocation section (TSR_BUSY); a fibre of another heap (TSR_INVALID_ARGUMENT).
 * Thread: the mutator's own, in managed code. Never collects; needs no memory.
 */
TSR_API tsr_status tsr_fibre_switch(tsr_mutator *mutator, tsr_fibre *fibre, tsr_error *error);

/** The fibre that runs on a mutator, or NULL. Thread: the mutator's own; never collects. */
TSR_API tsr_fibre *tsr_fibre_current(const tsr_mutator *mutator);

#ifdef __cplusplus
}
#endif

#endif
