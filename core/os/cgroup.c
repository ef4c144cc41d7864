/*
 * Reading the limits of control groups. /proc/self/cgroup names the process's group in each
 * hierarchy; a group is a directory below the hierarchy's mount point, and so are its ancestors, each of which
 * may set a limit. Inside a container the named directories may not be there to be seen: the walk up
 * then still ends at the mount point, which is the container's own group.
 */
#include "core/os/cgroup.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CGROUP_NO_LIMIT   UINT64_MAX
#define CGROUP_PATH_BYTES 2048u

/* ---- the files of one group ------------------------------------------------------------------- */

/* The first line of a file of the group. */
static bool cgroup_read_line(const char *directory, const char *file_name, char *line, int bytes) {
  char path[CGROUP_PATH_BYTES + 32];
  int length = snprintf(path, sizeof path, "%s/%s", directory, file_name);
  if (length < 0 || (size_t)length >= sizeof path) return false;
  FILE *file = fopen(path, "re");
  if (file == NULL) return false;
  bool has_line = fgets(line, bytes, file) != NULL;
  fclose(file);
  return has_line;
}

/* The number that the text begins with; none where it begins otherwise ("max", "-1"). `rest`, which may be
   NULL, is what follows it. */
static uint64_t cgroup_number(const char *text, char **rest) {
  if (rest != NULL) *rest = NULL;
  return *text < '0' || *text > '9' ? CGROUP_NO_LIMIT : strtoull(text, rest, 10);
}

static uint64_t cgroup_file_number(const char *directory, const char *file_name) {
  char line[64];
  if (!cgroup_read_line(directory, file_name, line, (int)sizeof line)) return CGROUP_NO_LIMIT;
  return cgroup_number(line, NULL);
}

static uint64_t cgroup_memory_1(const char *directory) {
  return cgroup_file_number(directory, "memory.limit_in_bytes");
}

/* Above memory.high a group is slowed down until it is hardly of use. */
static uint64_t cgroup_memory_2(const char *directory) {
  uint64_t most = cgroup_file_number(directory, "memory.max");
  uint64_t high = cgroup_file_number(directory, "memory.high");
  return high < most ? high : most;
}

/* Processors that are busy for `quota` of every `period`. */
static uint64_t cgroup_quota(uint64_t quota, uint64_t period) {
  if (quota == CGROUP_NO_LIMIT || period == CGROUP_NO_LIMIT || period == 0) return CGROUP_NO_LIMIT;
  return quota / period + (quota % period != 0);
}

static uint64_t cgroup_processors_1(const char *directory) {
  return cgroup_quota(cgroup_file_number(directory, "cpu.cfs_quota_us"),
                      cgroup_file_number(directory, "cpu.cfs_period_us"));
}

/* "QUOTA PERIOD", where the quota may be "max". */
static uint64_t cgroup_processors_2(const char *directory) {
  char line[64];
  if (!cgroup_read_line(directory, "cpu.max", line, (int)sizeof line)) return CGROUP_NO_LIMIT;
  char *rest;
  uint64_t quota = cgroup_number(line, &rest);
  if (rest == NULL || *rest != ' ') return CGROUP_NO_LIMIT;
  return cgroup_quota(quota, cgroup_number(rest + 1, NULL));
}

/* ---- the groups of the process ---------------------------------------------------------------- */

typedef uint64_t cgroup_reader(const char *directory);

typedef struct cgroup_controller {
  const char *name;
  cgroup_reader *version_1, *version_2;
} cgroup_controller;

static const cgroup_controller cgroup_controllers[] = {
    [OS_CGROUP_MEMORY] = {"memory", cgroup_memory_1, cgroup_memory_2},
    [OS_CGROUP_PROCESSORS] = {"cpu", cgroup_processors_1, cgroup_processors_2}};

/* Whether a name is one of those that a list has with commas between them. */
static bool cgroup_lists(const char *list, const char *name) {
  size_t length = strlen(name);
  while (list != NULL) {
    if (strncmp(list, name, length) == 0 && (list[length] == ',' || list[length] == '\0'))
      return true;
    list = strchr(list, ',');
    if (list != NULL) list++;
  }
  return false;
}

/* The least limit of a group and its ancestors: its directory is cut short on the way up to the mount point. */
static uint64_t cgroup_walk(char *directory, size_t mount_length, cgroup_reader *read) {
  uint64_t least = CGROUP_NO_LIMIT;
  for (;;) {
    uint64_t limit = read(directory);
    if (limit < least) least = limit;
    char *slash = strrchr(directory + mount_length, '/');
    if (slash == NULL) return least;
    *slash = '\0';
  }
}

/* Whether the group lies outside of the process's namespace: of the way to it only the mount point can be seen. */
static bool cgroup_is_outside(const char *group) {
  return strncmp(group, "/..", 3) == 0 && (group[3] == '/' || group[3] == '\0');
}

/* The limit that a line of the form HIERARCHY:CONTROLLERS:GROUP leads to. Version 2 has one hierarchy for all
   controllers and names none. */
static uint64_t cgroup_line_limit(char *line, const cgroup_controller *controller,
                                  const char *root) {
  line[strcspn(line, "\n")] = '\0';
  char *controllers = strchr(line, ':');
  if (controllers == NULL) return CGROUP_NO_LIMIT;
  char *group = strchr(++controllers, ':');
  if (group == NULL) return CGROUP_NO_LIMIT;
  *group++ = '\0';
  if (cgroup_is_outside(group)) group = "";
  bool is_version_2 = *controllers == '\0';
  if (!is_version_2 && !cgroup_lists(controllers, controller->name)) return CGROUP_NO_LIMIT;
  char directory[CGROUP_PATH_BYTES];
  int mount_length = snprintf(directory, sizeof directory, "%s/sys/fs/cgroup%s%s", root,
                              is_version_2 ? "" : "/", is_version_2 ? "" : controller->name);
  if (mount_length < 0 || (size_t)mount_length + strlen(group) >= sizeof directory) {
    return CGROUP_NO_LIMIT;
  }
  memcpy(directory + mount_length, group, strlen(group) + 1);
  return cgroup_walk(directory, (size_t)mount_length,
                     is_version_2 ? controller->version_2 : controller->version_1);
}

uint64_t os_cgroup_limit(os_cgroup_resource resource, const char *root) {
  char line[CGROUP_PATH_BYTES];
  int length = snprintf(line, sizeof line, "%s/proc/self/cgroup", root);
  if (length < 0 || (size_t)length >= sizeof line) return CGROUP_NO_LIMIT;
  FILE *file = fopen(line, "re");
  if (file == NULL) return CGROUP_NO_LIMIT;
  uint64_t least = CGROUP_NO_LIMIT;
  while (fgets(line, sizeof line, file) != NULL) {
    uint64_t limit = cgroup_line_limit(line, &cgroup_controllers[resource], root);
    if (limit < least) least = limit;
  }
  fclose(file);
  return least;
}
