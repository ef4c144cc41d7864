/*
 * The POSIX side of core/os: mmap for memory, pthreads for threads, and what the system says about the
 * machine and the process. A port to another system is another file like this one.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/os/atomic.h"
#include "core/os/cgroup.h"
#include "core/os/check.h"
#include "core/os/fault.h"
#include "core/os/machine.h"
#include "core/os/memory.h"
#include "core/os/thread.h"

/* ---- memory -------------------------------------------------------------------------------- */

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

static void *posix_map(size_t bytes) {
  if (os_fault_strikes(OS_FAULT_RESERVE)) return NULL;
  void *base = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return base == MAP_FAILED ? NULL : base;
}

void *os_memory_reserve(size_t bytes, size_t alignment) {
  if (alignment <= os_page_bytes()) return posix_map(bytes);
  if (bytes > SIZE_MAX - alignment) return NULL;
  char *base = posix_map(bytes + alignment);
  if (base == NULL) return NULL;
  size_t skip = (size_t)(-(uintptr_t)base & (alignment - 1));
  if (skip != 0) munmap(base, skip);
  if (alignment != skip) munmap(base + skip + bytes, alignment - skip);
  return base + skip;
}

void os_memory_release(void *base, size_t bytes) {
  int result = munmap(base, bytes);
  TSR_CHECK(result == 0, "a reservation that is released was made by os_memory_reserve");
  (void)result;
}

bool os_memory_commit(void *start, size_t bytes) {
  if (os_fault_strikes(OS_FAULT_COMMIT)) return false;
  return mprotect(start, bytes, PROT_READ | PROT_WRITE) == 0;
}

void os_memory_decommit(void *start, size_t bytes) {
  /* A fixed mapping over the old one drops the pages and their commit charge in one call. */
  void *result =
      mmap(start, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  if (result != MAP_FAILED) return;
  /* The table of mappings is full. */
  os_memory_discard(start, bytes);
}

void os_memory_discard(void *start, size_t bytes) {
  madvise(start, bytes, MADV_DONTNEED);
}

bool os_memory_protect(void *start, size_t bytes, os_access access) {
  static const int protection[] = {[OS_ACCESS_NONE] = PROT_NONE,
                                   [OS_ACCESS_READ] = PROT_READ,
                                   [OS_ACCESS_READ_WRITE] = PROT_READ | PROT_WRITE,
                                   [OS_ACCESS_EXECUTE] = PROT_READ | PROT_EXEC};
  if (os_fault_strikes(OS_FAULT_PROTECT)) return false;
  return mprotect(start, bytes, protection[access]) == 0;
}

void os_memory_flush_instructions(void *start, size_t bytes) {
  __builtin___clear_cache((char *)start, (char *)start + bytes);
}

/* ---- threads ------------------------------------------------------------------------------- */

/* A thread, and what it begins with. */
typedef struct posix_thread {
  pthread_t id;
  void (*main)(void *context);
  void *context;
} posix_thread;

_Static_assert(sizeof(posix_thread) <= sizeof(os_thread), "os_thread holds a pthread and its main");
_Static_assert(sizeof(pthread_mutex_t) <= sizeof(os_mutex), "os_mutex holds a pthread mutex");
_Static_assert(sizeof(pthread_cond_t) <= sizeof(os_condition), "os_condition holds a pthread one");

static void *posix_thread_main(void *argument) {
  posix_thread *thread = argument;
#if defined(__linux__)
  pthread_setname_np(pthread_self(), "tessera-gc");
#endif
  thread->main(thread->context);
  return NULL;
}

/* Every signal but those by which the processor answers an instruction of the thread itself. */
static void posix_signals_of_others(sigset_t *set) {
  static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
  sigfillset(set);
  for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
    sigdelset(set, own[i]);
}

bool os_thread_start(os_thread *thread, void (*main)(void *context), void *context) {
  posix_thread *started = (posix_thread *)(void *)thread;
  *started = (posix_thread){.main = main, .context = context};
  if (os_fault_strikes(OS_FAULT_THREAD)) return false;
  sigset_t blocked, before;
  posix_signals_of_others(&blocked);
  pthread_sigmask(SIG_BLOCK, &blocked, &before); /* a thread begins with its parent's */
  int result = pthread_create(&started->id, NULL, posix_thread_main, started);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return result == 0;
}

void os_thread_join(os_thread *thread) {
  int result = pthread_join(((posix_thread *)(void *)thread)->id, NULL);
  TSR_ALWAYS_CHECK(result == 0, "a thread is joined once, by another one");
}

void os_thread_identify(os_thread_identity *identity) {
  *identity = (os_thread_identity){.id = 0};
#if defined(__linux__)
  identity->id = (uint64_t)syscall(SYS_gettid);
  pthread_getname_np(pthread_self(), identity->name, sizeof identity->name);
#else
  identity->id = (uint64_t)(uintptr_t)pthread_self();
#endif
}

uintptr_t os_thread_self(void) {
  return (uintptr_t)pthread_self();
}

static pthread_mutex_t *posix_mutex(os_mutex *mutex) {
  return (pthread_mutex_t *)(void *)mutex;
}

static pthread_cond_t *posix_condition(os_condition *condition) {
  return (pthread_cond_t *)(void *)condition;
}

bool os_mutex_create(os_mutex *mutex) {
  return !os_fault_strikes(OS_FAULT_LOCK) && pthread_mutex_init(posix_mutex(mutex), NULL) == 0;
}

void os_mutex_destroy(os_mutex *mutex) {
  pthread_mutex_destroy(posix_mutex(mutex));
}

void os_mutex_lock(os_mutex *mutex) {
  int result = pthread_mutex_lock(posix_mutex(mutex));
  TSR_ALWAYS_CHECK(result == 0, "a mutex of a live heap can be locked");
}

void os_mutex_unlock(os_mutex *mutex) {
  pthread_mutex_unlock(posix_mutex(mutex));
}

void os_mutex_forget_owner(os_mutex *mutex) {
  int result = pthread_mutex_init(posix_mutex(mutex), NULL);
  TSR_ALWAYS_CHECK(result == 0, "a mutex can be made anew where one was");
}

/* A condition whose times are those of os_clock_ns(). */
static bool posix_condition_init(os_condition *condition) {
  pthread_condattr_t attributes;
  if (pthread_condattr_init(&attributes) != 0) return false;
  bool made = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
              pthread_cond_init(posix_condition(condition), &attributes) == 0;
  pthread_condattr_destroy(&attributes);
  return made;
}

bool os_condition_create(os_condition *condition) {
  return !os_fault_strikes(OS_FAULT_LOCK) && posix_condition_init(condition);
}

void os_condition_destroy(os_condition *condition) {
  pthread_cond_destroy(posix_condition(condition));
}

void os_condition_forget_waiters(os_condition *condition) {
  bool made = posix_condition_init(condition);
  TSR_ALWAYS_CHECK(made, "a condition can be made anew where one was");
}

void os_condition_wait(os_condition *condition, os_mutex *mutex) {
  pthread_cond_wait(posix_condition(condition), posix_mutex(mutex));
}

bool os_condition_wait_until(os_condition *condition, os_mutex *mutex, uint64_t end_ns) {
  if (end_ns == OS_CLOCK_NEVER) {
    os_condition_wait(condition, mutex);
    return true;
  }
  struct timespec end = {.tv_sec = (time_t)(end_ns / 1000000000u),
                         .tv_nsec = (long)(end_ns % 1000000000u)};
  return pthread_cond_timedwait(posix_condition(condition), posix_mutex(mutex), &end) == 0;
}

void os_condition_wake_one(os_condition *condition) {
  pthread_cond_signal(posix_condition(condition));
}

void os_condition_wake_all(os_condition *condition) {
  pthread_cond_broadcast(posix_condition(condition));
}

static uint64_t posix_clock_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t os_clock_ns(void) {
  return posix_clock_ns(CLOCK_MONOTONIC);
}

uint64_t os_thread_cpu_ns(void) {
  return posix_clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

/* ---- machine ------------------------------------------------------------------------------- */

#define POSIX_PROCESSORS_MOST ((size_t)1 << 20) /* a system with more is taken for a mistake */

size_t os_page_bytes(void) {
  static os_atomic_word known; /* any thread, the same value; 0: not asked yet */
  uintptr_t bytes = os_atomic_load(&known);
  if (bytes != 0) return bytes;
  bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
  os_atomic_store(&known, bytes);
  return bytes;
}

const char *os_environment(const char *name) {
#if defined(__GLIBC__)
  return secure_getenv(name);
#else
  return getuid() == geteuid() && getgid() == getegid() ? getenv(name) : NULL;
#endif
}

static uint64_t posix_least(uint64_t a, uint64_t b) {
  return a < b ? a : b;
}

uint64_t os_memory_group_bytes(void) {
  return os_cgroup_limit(OS_CGROUP_MEMORY, "");
}

uint64_t os_memory_available_bytes(void) {
  uint64_t least = (uint64_t)sysconf(_SC_PHYS_PAGES) * os_page_bytes();
  struct rlimit space;
  if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY) {
    least = posix_least(least, space.rlim_cur);
  }
  return posix_least(least, os_memory_group_bytes());
}

/* Processors that the calling thread may run on, and with it every thread that it starts. */
static uint32_t posix_affinity(void) {
#if defined(CPU_ALLOC)
  /* The system refuses a set that is smaller than its own, and does not say how large that is. */
  for (size_t size = CPU_SETSIZE; size <= POSIX_PROCESSORS_MOST; size *= 2) {
    cpu_set_t *set = CPU_ALLOC(size);
    if (set == NULL) break;
    size_t bytes = CPU_ALLOC_SIZE(size);
    int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return (uint32_t)count;
  }
#endif
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? (uint32_t)online : 1;
}

size_t os_cache_bytes(void) {
#if defined(_SC_LEVEL2_CACHE_SIZE) && defined(_SC_LEVEL3_CACHE_SIZE)
  long second = sysconf(_SC_LEVEL2_CACHE_SIZE), third = sysconf(_SC_LEVEL3_CACHE_SIZE);
  long most = third > second ? third : second;
  return most > 0 ? (size_t)most : 0;
#else
  return 0;
#endif
}

uint32_t os_processors(void) {
  uint64_t quota = os_cgroup_limit(OS_CGROUP_PROCESSORS, "");
  uint32_t processors = (uint32_t)posix_least(posix_affinity(), quota);
  return processors == 0 ? 1 : processors;
}
