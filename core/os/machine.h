/*
 * Facts about the machine and the process: pages, processors, memory, environment.
 */
#ifndef CORE_OS_MACHINE_H
#define CORE_OS_MACHINE_H

#include <stddef.h>
#include <stdint.h>

size_t os_page_bytes(void);

/* A size rounded up to whole pages. */
static inline size_t os_page_round(size_t bytes) {
  size_t page = os_page_bytes();
  return (bytes + page - 1) & ~(page - 1);
}

/* The processors that this process may use: those that the calling thread may run on, at most as many as the
   CPU quotas of its cgroup allow for (versions 1 and 2, every ancestor; rounded up). At least 1. */
uint32_t os_processors(void);

/* The largest cache of a processor; 0: the system does not say. */
size_t os_cache_bytes(void);

/* The memory that this process may use: the least of physical memory, the limits of its cgroups
   (versions 1 and 2, every ancestor) and the address-space limit of the process. */
uint64_t os_memory_available_bytes(void);
/* Of these the limits of the cgroups alone; UINT64_MAX: there are none. */
uint64_t os_memory_group_bytes(void);

/* A variable of the environment, or NULL; always NULL in programs that run with raised privileges. */
const char *os_environment(const char *name);

#endif
