/*
 * A stack to collect on. Whoever triggers a collection may have little of its own stack left, so that
 * the thread which collects does so on a stack that the heap keeps for this.
 *
 * A call on another stack is no switch between coroutines: the same thread goes on, what it called
 * returns, and its calls and returns stay in pairs (a processor's shadow stack sees nothing unusual).
 * On x86-64 and arm64 it is a few instructions around a call. Elsewhere, and in a build with
 * TSR_STACK_BY_THREAD, a helper thread runs the function on its own stack while the caller waits:
 * thread-local variables and the thread's CPU clock are then the helper's.
 */
#ifndef CORE_OS_STACK_H
#define CORE_OS_STACK_H

#include <stdbool.h>
#include <stddef.h>

#include "core/os/thread.h"

/* OpenBSD allows no stack in memory that is not mapped as one. */
#if !defined(TSR_STACK_BY_THREAD) && defined(__GNUC__) && defined(__LP64__) &&                     \
    (defined(__x86_64__) || defined(__aarch64__)) && !defined(__OpenBSD__)
#define OS_STACK_SWITCHES 1
#else
#define OS_STACK_SWITCHES 0
#endif

/* Stack that os_stack_call() takes of the caller's, return address and all, where no sanitizer widens its
   frames. By thread the first call in the child of a fork() starts another helper, for which C libraries
   have been seen to take 4 KiB. */
#if OS_STACK_SWITCHES
#define OS_STACK_CALLER_BYTES ((size_t)256)
#else
#define OS_STACK_CALLER_BYTES ((size_t)1024)
#endif

typedef struct os_stack {
  bool is_taken; /* the caller's, from the call to the return */
#if OS_STACK_SWITCHES
  char *base;         /* a guard page, and above it the stack; NULL: there is none */
  size_t bytes;       /* without the guard page */
  unsigned watch_tag; /* Valgrind's number for it */
#else
  bool is_created, has_thread; /* the caller's */
  os_mutex mutex;              /* guards what follows */
  os_condition changed; /* there is a function to run, or none any more, or the end has come */
  bool is_closed;
  void (*function)(void *context); /* to be run; NULL: none, or it has returned */
  void *context;
  os_thread thread;
#endif
} os_stack;

/*
 * Reserves and commits `bytes` of stack, a multiple of os_page_bytes(), above a guard page that faults.
 * By thread it starts the helper, with the stack that the system gives its threads, and `bytes` plays
 * no part. False: the system refused, and there is nothing to destroy. The structure stays where it is.
 */
bool os_stack_create(os_stack *stack, size_t bytes);
/* Nobody is on it. A zeroed one may be destroyed. */
void os_stack_destroy(os_stack *stack);

/* The bytes that it holds committed, for its owner's account; by thread none, as with every thread's stack. */
size_t os_stack_bytes(const os_stack *stack);
/* Where its memory begins, with the guard page; by thread NULL. */
void *os_stack_base(const os_stack *stack);

/*
 * Runs function(context) on the stack, and returns when that has returned. It must return: no longjmp
 * and no exception passes the end of the stack. It may block, and may lock; what it unlocks was locked
 * on this stack too (by thread, another thread would own it). One caller at a time, which the owner's
 * lock sees to; a call from the stack itself is a second caller.
 */
void os_stack_call(os_stack *stack, void (*function)(void *context), void *context);

/* In the child of a fork(), where the helper is not: the next call starts another one. If it is refused, the
   function runs on the caller's own stack. */
void os_stack_forget_thread(os_stack *stack);

#endif
