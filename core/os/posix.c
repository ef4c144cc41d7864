/*
 * The POSIX side of core/os: mmap for memory, pthreads for threads, and Linux's cgroup files, where
 * they exist, for limits. A port to another system is another file like this one.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

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

_Static_assert(sizeof(pthread_mutex_t) <= sizeof(os_mutex), "os_mutex holds a pthread mutex");
_Static_assert(sizeof(pthread_cond_t) <= sizeof(os_condition), "os_condition holds a pthread one");

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

bool os_condition_create(os_condition *condition) {
  return !os_fault_strikes(OS_FAULT_LOCK) &&
         pthread_cond_init(posix_condition(condition), NULL) == 0;
}

void os_condition_destroy(os_condition *condition) {
  pthread_cond_destroy(posix_condition(condition));
}

void os_condition_forget_waiters(os_condition *condition) {
  int result = pthread_cond_init(posix_condition(condition), NULL);
  TSR_ALWAYS_CHECK(result == 0, "a condition can be made anew where one was");
}

void os_condition_wait(os_condition *condition, os_mutex *mutex) {
  pthread_cond_wait(posix_condition(condition), posix_mutex(mutex));
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

size_t os_page_bytes(void) {
  return (size_t)sysconf(_SC_PAGESIZE);
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

/* The number in a one-line file; UINT64_MAX where there is none ("max", or no such file). */
static uint64_t posix_read_number(const char *path) {
  FILE *file = fopen(path, "re");
  if (file == NULL) return UINT64_MAX;
  char text[64];
  char *line = fgets(text, sizeof text, file);
  fclose(file);
  if (line == NULL || *line < '0' || *line > '9') return UINT64_MAX;
  return strtoull(text, NULL, 10);
}

/* The least limit of a cgroup and its ancestors. `group` is cut short on the way up. */
static uint64_t posix_cgroup_walk(const char *root, char *group, const char *file_name) {
  uint64_t least = UINT64_MAX;
  for (;;) {
    char path[640];
    int length = snprintf(path, sizeof path, "%s%s/%s", root, group, file_name);
    if (length > 0 && (size_t)length < sizeof path) {
      least = posix_least(least, posix_read_number(path));
    }
    char *slash = strrchr(group, '/');
    if (slash == NULL) return least;
    *slash = '\0';
  }
}

static uint64_t posix_cgroup_limit(void) {
  FILE *file = fopen("/proc/self/cgroup", "re");
  if (file == NULL) return UINT64_MAX;
  uint64_t least = UINT64_MAX;
  char line[512];
  while (fgets(line, sizeof line, file) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':');
    char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
    if (group == NULL) continue;
    *group++ = '\0';
    if (controllers[1] == '\0') {
      least = posix_least(least, posix_cgroup_walk("/sys/fs/cgroup", group, "memory.max"));
    } else if (strstr(controllers + 1, "memory") != NULL) {
      least = posix_least(
          least, posix_cgroup_walk("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes"));
    }
  }
  fclose(file);
  return least;
}

uint64_t os_memory_available_bytes(void) {
  uint64_t least = (uint64_t)sysconf(_SC_PHYS_PAGES) * os_page_bytes();
  struct rlimit space;
  if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY) {
    least = posix_least(least, space.rlim_cur);
  }
  return posix_least(least, posix_cgroup_limit());
}
