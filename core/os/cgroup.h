/*
 * Limits that Linux's control groups set for this process, versions 1 and 2. Where there are no such
 * groups there is no limit.
 */
#ifndef CORE_OS_CGROUP_H
#define CORE_OS_CGROUP_H

#include <stdint.h>

typedef enum os_cgroup_resource {
  OS_CGROUP_MEMORY,    /* in bytes */
  OS_CGROUP_PROCESSORS /* as many as the quota of CPU time keeps busy, rounded up */
} os_cgroup_resource;

/* The least limit of the process's groups and of every ancestor; UINT64_MAX: there is none. `root` stands
   before the paths of the system's files: "" for this machine, another directory in tests. */
uint64_t os_cgroup_limit(os_cgroup_resource resource, const char *root);

#endif
