/*
 * Threads, mutexes, conditions and clocks of threads. The storage is opaque so that no system header
 * reaches the rest of the library; the platform file asserts that it is large enough.
 */
#ifndef CORE_OS_THREAD_H
#define CORE_OS_THREAD_H

#include <stdbool.h>
#include <stdint.h>

typedef struct os_thread {
  uint64_t storage[4];
} os_thread;

typedef struct os_mutex {
  uint64_t storage[8];
} os_mutex;

typedef struct os_condition {
  uint64_t storage[8];
} os_condition;

/*
 * Starts a thread that runs main(context) and ends with it. False: the system refused. The structure stays
 * where it is until the thread is joined. All signals are blocked in it, for they belong to the VM's
 * threads; but a fault that it raises itself (SIGSEGV and the like) comes to the process's handler.
 */
bool os_thread_start(os_thread *thread, void (*main)(void *context), void *context);
/* Waits for its end. Every thread that was started is joined, once. */
void os_thread_join(os_thread *thread);

/* How the system, and so its tools, know a thread. */
typedef struct os_thread_identity {
  uint64_t id;
  char name[16]; /* at the time of asking; empty where the system has no names */
} os_thread_identity;

/* Of the calling thread. */
void os_thread_identify(os_thread_identity *identity);

/* The calling thread, as debuggers show it; never 0. Another one may have the same when this one has ended. */
uintptr_t os_thread_self(void);

/* False: the system is out of resources. */
bool os_mutex_create(os_mutex *mutex);
void os_mutex_destroy(os_mutex *mutex);
void os_mutex_lock(os_mutex *mutex);
void os_mutex_unlock(os_mutex *mutex);

/* In the child of a fork(), where the thread that held it is not. */
void os_mutex_forget_owner(os_mutex *mutex);

/* What happens to a lock around fork(). */
typedef enum os_fork_stage {
  OS_FORK_BEFORE, /* take it: nobody is within what it guards when the process is copied */
  OS_FORK_AFTER /* in the parent and in the child, which both have a copy that is locked: let it go */
} os_fork_stage;

static inline void os_mutex_fork(os_mutex *mutex, os_fork_stage stage) {
  if (stage == OS_FORK_BEFORE) {
    os_mutex_lock(mutex);
  } else {
    os_mutex_unlock(mutex);
  }
}

bool os_condition_create(os_condition *condition);
void os_condition_destroy(os_condition *condition);
/* In the child of a fork(), where the threads that waited are not. */
void os_condition_forget_waiters(os_condition *condition);
/* Releases the mutex while it waits; may wake without reason. */
void os_condition_wait(os_condition *condition, os_mutex *mutex);
/* The same until os_clock_ns() says `end_ns`, or for ever where that is OS_CLOCK_NEVER. False: the time has come. */
bool os_condition_wait_until(os_condition *condition, os_mutex *mutex, uint64_t end_ns);
void os_condition_wake_one(os_condition *condition);
void os_condition_wake_all(os_condition *condition);

/* Nanoseconds of a clock that never steps back. */
uint64_t os_clock_ns(void);
/* A time that it does not reach. */
#define OS_CLOCK_NEVER UINT64_MAX
/* CPU time of the calling thread, in nanoseconds. */
uint64_t os_thread_cpu_ns(void);

#endif
