/*
 * core/os: reserved, committed, decommitted and protected memory (F01), threads, processors and the
 * limits of control groups, and calls on another stack (F47).
 */
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <unwind.h>

#include "core/os/cgroup.h"
#include "core/os/machine.h"
#include "core/os/memory.h"
#include "core/os/stack.h"
#include "core/os/thread.h"
#include "tests/unit/unit.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ADDRESS_SANITIZER 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define UNDER_ADDRESS_SANITIZER 1
#endif

/* A sanitizer widens frames, and answers faults itself. */
#if defined(UNDER_ADDRESS_SANITIZER) || defined(TSR_THREAD_SANITIZER)
#define UNDER_SANITIZER 1
#else
#define UNDER_SANITIZER 0
#endif

/* ---- memory ----------------------------------------------------------------------------------- */

static sigjmp_buf fault_return;

static void on_fault(int signal_number) {
  (void)signal_number;
  siglongjmp(fault_return, 1);
}

/* Whether a write to the address faults. */
static bool faults(char *address) {
  struct sigaction action = {.sa_handler = on_fault}, old_segv, old_bus;
  sigaction(SIGSEGV, &action, &old_segv);
  sigaction(SIGBUS, &action, &old_bus);
  volatile bool faulted = true;
  if (sigsetjmp(fault_return, 1) == 0) {
    *(volatile char *)address = 1;
    faulted = false;
  }
  sigaction(SIGSEGV, &old_segv, NULL);
  sigaction(SIGBUS, &old_bus, NULL);
  return faulted;
}

static size_t resident_bytes(void) {
  FILE *file = fopen("/proc/self/statm", "r");
  if (file == NULL) return 0;
  unsigned long pages = 0;
  if (fscanf(file, "%*u %lu", &pages) != 1) pages = 0;
  fclose(file);
  return pages * os_page_bytes();
}

START_TEST(F01_reserved_memory_faults_and_committed_memory_is_zero) {
  size_t bytes = (size_t)16 << 20;
  char *base = os_memory_reserve(bytes, (size_t)4 << 20);
  ck_assert_ptr_nonnull(base);
  ck_assert_uint_eq((uintptr_t)base % ((size_t)4 << 20), 0);
  ck_assert(faults(base));
  ck_assert(os_memory_commit(base, 65536));
  for (size_t i = 0; i < 65536; i++)
    ck_assert_int_eq(base[i], 0);
  ck_assert(!faults(base + 65535));
  ck_assert(faults(base + 65536));
  os_memory_release(base, bytes);
}
END_TEST

START_TEST(F01_decommitting_gives_pages_back_and_faults) {
  size_t bytes = (size_t)64 << 20;
  char *base = os_memory_reserve(bytes, os_page_bytes());
  ck_assert(os_memory_commit(base, bytes));
  memset(base, 1, bytes);
  size_t before = resident_bytes();
  os_memory_decommit(base, bytes);
  size_t after = resident_bytes();
  if (before != 0) ck_assert_uint_le(after, before - bytes / 2);
  ck_assert(faults(base));
  ck_assert(os_memory_commit(base, os_page_bytes()));
  ck_assert_int_eq(base[0], 0);
  os_memory_release(base, bytes);
}
END_TEST

START_TEST(F01_protected_memory_keeps_its_content) {
  size_t page = os_page_bytes();
  char *base = os_memory_reserve(page, page);
  ck_assert(os_memory_commit(base, page));
  base[7] = 42;
  ck_assert(os_memory_protect(base, page, OS_ACCESS_READ));
  ck_assert_int_eq(base[7], 42);
  ck_assert(faults(base));
  ck_assert(os_memory_protect(base, page, OS_ACCESS_NONE));
  ck_assert(faults(base));
  ck_assert(os_memory_protect(base, page, OS_ACCESS_READ_WRITE));
  ck_assert_int_eq(base[7], 42);
  os_memory_release(base, page);
}
END_TEST

/* Whether the mapping that holds the address may be executed. */
static bool is_executable(const void *address) {
  FILE *maps = fopen("/proc/self/maps", "r");
  if (maps == NULL) return false;
  char line[512];
  bool executable = false;
  while (fgets(line, sizeof line, maps) != NULL) {
    unsigned long start, end;
    char access[8];
    if (sscanf(line, "%lx-%lx %7s", &start, &end, access) != 3) continue;
    if ((uintptr_t)address >= start && (uintptr_t)address < end) executable = access[2] == 'x';
  }
  fclose(maps);
  return executable;
}

START_TEST(F67_heap_memory_is_never_executable) {
  ck_assert(is_executable((const void *)(uintptr_t)&is_executable));
  size_t page = os_page_bytes();
  char *base = os_memory_reserve(4 * page, page);
  ck_assert(!is_executable(base));
  ck_assert(os_memory_commit(base, 4 * page));
  ck_assert(!is_executable(base));
  ck_assert(os_memory_protect(base, page, OS_ACCESS_READ));
  ck_assert(!is_executable(base));
  os_memory_release(base, 4 * page);
}
END_TEST

START_TEST(F01_a_large_reservation_costs_no_resident_memory) {
  size_t before = resident_bytes();
  size_t bytes = (size_t)1 << 34;
  void *base = os_memory_reserve(bytes, (size_t)4 << 20);
  ck_assert_ptr_nonnull(base);
  ck_assert_uint_le(resident_bytes(), before + ((size_t)1 << 20));
  os_memory_release(base, bytes);
}
END_TEST

START_TEST(impossible_reservations_are_refused) {
  ck_assert_ptr_null(os_memory_reserve(SIZE_MAX - 4095, (size_t)4 << 20));
  ck_assert_ptr_null(os_memory_reserve((size_t)1 << 62, 4096));
}
END_TEST

START_TEST(clocks_do_not_step_back) {
  uint64_t wall = os_clock_ns();
  uint64_t cpu = os_thread_cpu_ns();
  for (int i = 0; i < 1000; i++) {
    uint64_t next_wall = os_clock_ns();
    uint64_t next_cpu = os_thread_cpu_ns();
    ck_assert_uint_ge(next_wall, wall);
    ck_assert_uint_ge(next_cpu, cpu);
    wall = next_wall;
    cpu = next_cpu;
  }
  ck_assert_uint_gt(os_memory_available_bytes(), 0);
}
END_TEST

/* ---- threads ---------------------------------------------------------------------------------- */

typedef struct started {
  pthread_t id;
  sigset_t blocked;
  char name[16];
} started;

static void note_thread(void *context) {
  started *s = context;
  s->id = pthread_self();
  pthread_sigmask(SIG_BLOCK, NULL, &s->blocked);
  pthread_getname_np(s->id, s->name, sizeof s->name);
}

START_TEST(a_thread_runs_beside_the_others_and_is_joined) {
  started s[3];
  os_thread threads[3];
  for (int i = 0; i < 3; i++)
    ck_assert(os_thread_start(&threads[i], note_thread, &s[i]));
  for (int i = 0; i < 3; i++)
    os_thread_join(&threads[i]);
  for (int i = 0; i < 3; i++) {
    ck_assert(!pthread_equal(s[i].id, pthread_self()));
    ck_assert_str_eq(s[i].name, "tessera-gc");
  }
}
END_TEST

static bool is_fault_signal(int number) {
  return number == SIGSEGV || number == SIGBUS || number == SIGFPE || number == SIGILL ||
         number == SIGTRAP || number == SIGSYS;
}

START_TEST(signals_are_for_the_threads_of_the_vm) {
  sigset_t all, one, before, after;
  sigfillset(&all);
  sigemptyset(&one);
  sigaddset(&one, SIGUSR2);
  pthread_sigmask(SIG_SETMASK, &one, &before);
  started s;
  os_thread thread;
  ck_assert(os_thread_start(&thread, note_thread, &s));
  os_thread_join(&thread);
  pthread_sigmask(SIG_SETMASK, &before, &after);
  for (int number = 1; number < NSIG; number++) {
    ck_assert_int_eq(sigismember(&after, number), number == SIGUSR2);
    if (number == SIGKILL || number == SIGSTOP || is_fault_signal(number)) continue;
    ck_assert_msg(sigismember(&s.blocked, number) == sigismember(&all, number), "signal %d",
                  number);
  }
  for (int number = 1; number < NSIG; number++) {
    if (is_fault_signal(number)) ck_assert_int_eq(sigismember(&s.blocked, number), 0);
  }
}
END_TEST

/* Takers wait until something is there, and take it. */
typedef struct exchange {
  os_mutex lock;
  os_condition filled;
  unsigned items, taken;
} exchange;

static void take_one(void *context) {
  exchange *e = context;
  os_mutex_lock(&e->lock);
  while (e->items == 0)
    os_condition_wait(&e->filled, &e->lock);
  e->items--;
  e->taken++;
  os_mutex_unlock(&e->lock);
}

static void exchange_open(exchange *e) {
  *e = (exchange){.items = 0};
  ck_assert(os_mutex_create(&e->lock));
  ck_assert(os_condition_create(&e->filled));
}

static void exchange_close(exchange *e) {
  os_condition_destroy(&e->filled);
  os_mutex_destroy(&e->lock);
}

static void put_one(exchange *e) {
  os_mutex_lock(&e->lock);
  e->items++;
  os_condition_wake_one(&e->filled);
  os_mutex_unlock(&e->lock);
}

static void put_one_for(void *context) {
  put_one(context);
}

START_TEST(a_condition_wakes_one_waiter_for_each_call) {
  exchange e;
  exchange_open(&e);
  os_thread takers[4];
  for (int i = 0; i < 4; i++)
    ck_assert(os_thread_start(&takers[i], take_one, &e));
  for (int i = 0; i < 4; i++)
    put_one(&e);
  for (int i = 0; i < 4; i++)
    os_thread_join(&takers[i]);
  ck_assert_uint_eq(e.taken, 4);
  ck_assert_uint_eq(e.items, 0);
  exchange_close(&e);
}
END_TEST

/* A wait ends when its time has come, and before when there is something. */
START_TEST(a_condition_waits_until_a_time) {
  exchange e;
  exchange_open(&e);
  os_mutex_lock(&e.lock);
  uint64_t end_ns = os_clock_ns() + 1000000;
  while (os_condition_wait_until(&e.filled, &e.lock, end_ns))
    continue;
  ck_assert_uint_ge(os_clock_ns(), end_ns);
  ck_assert(!os_condition_wait_until(&e.filled, &e.lock, 0));
  os_condition_forget_waiters(&e.filled); /* made anew, it has the same clock */
  ck_assert(!os_condition_wait_until(&e.filled, &e.lock, os_clock_ns()));

  static const uint64_t ends_s[] = {3600, 0};
  for (size_t i = 0; i < sizeof ends_s / sizeof ends_s[0]; i++) {
    os_thread giver;
    ck_assert(os_thread_start(&giver, put_one_for, &e));
    end_ns = ends_s[i] == 0 ? OS_CLOCK_NEVER : os_clock_ns() + ends_s[i] * 1000000000;
    while (e.items == 0)
      ck_assert(os_condition_wait_until(&e.filled, &e.lock, end_ns));
    e.items--;
    os_mutex_unlock(&e.lock);
    os_thread_join(&giver);
    os_mutex_lock(&e.lock);
  }
  os_mutex_unlock(&e.lock);
  exchange_close(&e);
}
END_TEST

static void identify(void *context) {
  os_thread_identify(context);
}

START_TEST(threads_are_told_apart) {
  os_thread_identity main, again, others[2];
  os_thread_identify(&main);
  os_thread threads[2];
  for (int i = 0; i < 2; i++)
    ck_assert(os_thread_start(&threads[i], identify, &others[i]));
  for (int i = 0; i < 2; i++)
    os_thread_join(&threads[i]);
  os_thread_identify(&again);
  ck_assert_uint_eq(main.id, again.id);
  ck_assert_uint_ne(main.id, others[0].id);
  ck_assert_uint_ne(main.id, others[1].id);
#if defined(__linux__)
  ck_assert_int_eq((long)main.id, (long)getpid()); /* of the first thread */
  ck_assert_str_eq(others[0].name, "tessera-gc");
#endif
}
END_TEST

/* ---- the machine ------------------------------------------------------------------------------ */

START_TEST(pages_are_those_of_the_system) {
  for (int i = 0; i < 2; i++)
    ck_assert_int_eq((long)os_page_bytes(), sysconf(_SC_PAGESIZE));
}
END_TEST

START_TEST(a_process_bound_to_one_processor_has_one) {
  uint32_t before = os_processors();
  ck_assert_uint_ge(before, 1);
  ck_assert_int_le((long)before, sysconf(_SC_NPROCESSORS_CONF));
  cpu_set_t all, one;
  if (sched_getaffinity(0, sizeof all, &all) != 0) return; /* more than fit into it */
  int first = 0;
  while (!CPU_ISSET((size_t)first, &all))
    first++;
  CPU_ZERO(&one);
  CPU_SET((size_t)first, &one);
  ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
  ck_assert_uint_eq(os_processors(), 1);
  ck_assert_int_eq(sched_setaffinity(0, sizeof all, &all), 0);
  ck_assert_uint_eq(os_processors(), before);
}
END_TEST

/* ---- control groups, in a planted tree -------------------------------------------------------- */

#define NO_LIMIT UINT64_MAX

typedef struct planted_file {
  const char *path, *text;
} planted_file;

typedef struct planted_machine {
  const char *what;
  const char *membership; /* /proc/self/cgroup; NULL: no such file */
  planted_file files[8];  /* below /sys/fs/cgroup */
  uint64_t memory, processors;
} planted_machine;

static const planted_machine machines[] = {
    {"no groups", NULL, {{"memory.max", "4096\n"}}, NO_LIMIT, NO_LIMIT},
    {"groups without files", "0::/a\n4:cpu:/a\n5:memory:/a\n", {{NULL, NULL}}, NO_LIMIT, NO_LIMIT},
    {"version 2",
     "0::/a/b\n",
     {{"a/b/cpu.max", "150000 100000\n"}, {"a/b/memory.max", "8192\n"}},
     8192,
     2},
    {"version 2, no limit",
     "0::/a\n",
     {{"a/cpu.max", "max 100000\n"}, {"a/memory.max", "max\n"}},
     NO_LIMIT,
     NO_LIMIT},
    {"version 2, slowed down below its limit",
     "0::/a/b\n",
     {{"a/b/memory.max", "8192\n"}, {"a/b/memory.high", "max\n"}, {"a/memory.high", "6144\n"}},
     6144,
     NO_LIMIT},
    {"version 2, the parent has less",
     "0::/a/b/c\n",
     {{"a/b/c/cpu.max", "800000 100000\n"},
      {"a/b/c/memory.max", "8192\n"},
      {"a/cpu.max", "300000 100000\n"},
      {"a/memory.max", "4096\n"}},
     4096,
     3},
    {"version 2, the parent has more",
     "0::/a/b\n",
     {{"a/b/cpu.max", "10000 100000\n"},
      {"a/b/memory.max", "4096\n"},
      {"a/cpu.max", "300000 100000\n"},
      {"a/memory.max", "max\n"}},
     4096,
     1},
    {"version 2, in a container: the mount is the group",
     "0::/not/seen\n",
     {{"cpu.max", "200000 50000\n"}, {"memory.max", "4096\n"}},
     4096,
     4},
    {"version 2, the root group",
     "0::/\n",
     {{"cpu.max", "200001 50000\n"}, {"memory.max", "4096\n"}},
     4096,
     5},
    {"version 2, three groups, and the middle one sets no limit",
     "0::/a/b/c\n",
     {{"a/b/c/cpu.max", "max 100000\n"},
      {"a/b/c/memory.max", "8192\n"},
      {"a/b/cpu.max", "max 100000\n"},
      {"a/b/memory.max", "max\n"},
      {"a/cpu.max", "100000 100000\n"},
      {"a/memory.max", "6144\n"}},
     6144,
     1},
    {"version 2, the controllers end above the group",
     "0::/a/b/c\n",
     {{"a/b/c/cgroup.procs", "1\n"}, {"a/memory.max", "4096\n"}, {"a/cpu.max", "200000 100000\n"}},
     4096,
     2},
    {"version 2, a namespace: its root is the group",
     "0::/\n",
     {{"cpu.max", "max 100000\n"}, {"memory.max", "4096\n"}, {"memory.high", "max\n"}},
     4096,
     NO_LIMIT},
    {"version 2, beside the root of the namespace",
     "0::/../x\n",
     {{"../x/memory.max", "1024\n"}, {"../x/cpu.max", "100000 100000\n"}, {"memory.max", "4096\n"}},
     4096,
     NO_LIMIT},
    {"version 2, above the namespace",
     "0::/..\n",
     {{"../memory.max", "1024\n"}, {"cpu.max", "300000 100000\n"}},
     NO_LIMIT,
     3},
    {"version 2, a group whose name begins with dots",
     "0::/..a\n",
     {{"..a/memory.max", "4096\n"}},
     4096,
     NO_LIMIT},
    {"version 1",
     "7:memory:/m\n6:cpu,cpuacct:/c\n3:cpuset:/s\n",
     {{"memory/m/memory.limit_in_bytes", "4096\n"},
      {"cpu/c/cpu.cfs_quota_us", "250000\n"},
      {"cpu/c/cpu.cfs_period_us", "100000\n"}},
     4096,
     3},
    {"version 1, no limit",
     "6:cpuacct,cpu:/c\n",
     {{"cpu/c/cpu.cfs_quota_us", "-1\n"}, {"cpu/c/cpu.cfs_period_us", "100000\n"}},
     NO_LIMIT,
     NO_LIMIT},
    {"version 1, the parent has less",
     "6:cpu:/c/d\n7:memory:/c/d\n",
     {{"cpu/c/d/cpu.cfs_quota_us", "-1\n"},
      {"cpu/c/d/cpu.cfs_period_us", "100000\n"},
      {"cpu/c/cpu.cfs_quota_us", "40000\n"},
      {"cpu/c/cpu.cfs_period_us", "20000\n"},
      {"memory/c/d/memory.limit_in_bytes", "9223372036854771712\n"},
      {"memory/memory.limit_in_bytes", "4096\n"}},
     4096,
     2},
    {"version 1, controllers of like names",
     "6:cpuset,cpuacct:/c\n7:hugememory,memory2:/c\n8:name=memory:/c\n",
     {{"cpu/c/cpu.cfs_quota_us", "40000\n"},
      {"cpu/c/cpu.cfs_period_us", "20000\n"},
      {"memory/c/memory.limit_in_bytes", "4096\n"}},
     NO_LIMIT,
     NO_LIMIT},
    {"both versions: the least counts",
     "6:cpu:/c\n7:memory:/c\n0::/c\n",
     {{"cpu/c/cpu.cfs_quota_us", "40000\n"},
      {"cpu/c/cpu.cfs_period_us", "20000\n"},
      {"memory/c/memory.limit_in_bytes", "4096\n"},
      {"c/cpu.max", "100 100\n"},
      {"c/memory.max", "8192\n"}},
     4096,
     1},
    {"files that cannot be read as limits",
     "nothing\n1:\n0::/a/b/c/d\n",
     {{"a/cpu.max", "100000\n"},
      {"a/memory.max", "much\n"},
      {"a/b/cpu.max", "100000 0\n"},
      {"a/b/memory.max", ""},
      {"a/b/c/cpu.max", "100000 max\n"},
      {"a/b/c/d/cpu.max", ""}},
     NO_LIMIT,
     NO_LIMIT}};

#define MACHINES (sizeof machines / sizeof machines[0])

static void plant(const char *root, const char *directory, const char *path, const char *text) {
  char name[512];
  int length = snprintf(name, sizeof name, "%s/%s/%s", root, directory, path);
  ck_assert_int_lt(length, (int)sizeof name);
  for (char *slash = strchr(name + strlen(root) + 1, '/'); slash != NULL;
       slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    mkdir(name, 0700);
    *slash = '/';
  }
  FILE *file = fopen(name, "we");
  ck_assert_ptr_nonnull(file);
  ck_assert_int_ge(fputs(text, file), 0);
  fclose(file);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk) {
  (void)status;
  (void)type;
  (void)walk;
  return remove(path);
}

START_TEST(limits_are_the_least_of_the_groups_and_their_ancestors) {
  const planted_machine *machine = &machines[_i];
  char root[] = "/tmp/tessera-os-test-XXXXXX";
  ck_assert_ptr_nonnull(mkdtemp(root));
  if (machine->membership != NULL) plant(root, "proc/self", "cgroup", machine->membership);
  for (size_t i = 0; i < 8 && machine->files[i].path != NULL; i++)
    plant(root, "sys/fs/cgroup", machine->files[i].path, machine->files[i].text);
  uint64_t memory = os_cgroup_limit(OS_CGROUP_MEMORY, root);
  uint64_t processors = os_cgroup_limit(OS_CGROUP_PROCESSORS, root);
  nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
  ck_assert_msg(memory == machine->memory, "%s: %llu bytes", machine->what,
                (unsigned long long)memory);
  ck_assert_msg(processors == machine->processors, "%s: %llu processors", machine->what,
                (unsigned long long)processors);
}
END_TEST

/* ---- calls on another stack ------------------------------------------------------------------- */

#define STACK_BYTES ((size_t)256 << 10)

static uintptr_t here(void) {
  return (uintptr_t)__builtin_frame_address(0);
}

static bool is_on(const os_stack *stack, uintptr_t address) {
#if OS_STACK_SWITCHES
  uintptr_t bottom = (uintptr_t)stack->base + os_page_bytes();
  return address >= bottom && address < bottom + stack->bytes;
#else
  (void)stack;
  (void)address;
  return true;
#endif
}

typedef struct visit {
  const os_stack *stack;
  pthread_t thread;
  uintptr_t address;
  int given, result;
} visit;

static void note_place(void *context) {
  visit *v = context;
  v->thread = pthread_self();
  v->address = here();
  v->result = v->given + 1;
}

START_TEST(a_call_on_a_stack_runs_there_and_returns) {
  os_stack stack;
  ck_assert(os_stack_create(&stack, STACK_BYTES));
  ck_assert_uint_eq(os_stack_bytes(&stack), OS_STACK_SWITCHES ? STACK_BYTES : 0);
  uintptr_t first = 0;
  for (int i = 0; i < 1000; i++) {
    visit v = {.given = i};
    os_stack_call(&stack, note_place, &v);
    ck_assert_int_eq(v.result, i + 1);
    ck_assert(is_on(&stack, v.address));
    ck_assert_int_eq(pthread_equal(v.thread, pthread_self()) != 0, OS_STACK_SWITCHES);
    if (i == 0) first = v.address;
    ck_assert_uint_eq(v.address, first);
  }
  ck_assert(!OS_STACK_SWITCHES || !is_on(&stack, here()));
  os_stack_destroy(&stack);
}
END_TEST

START_TEST(a_stack_that_is_none_may_be_destroyed) {
  os_stack stack;
  memset(&stack, 0, sizeof stack);
  ck_assert_uint_eq(os_stack_bytes(&stack), 0);
  os_stack_destroy(&stack);
  os_stack_forget_thread(&stack);
  ck_assert(os_stack_create(&stack, os_page_bytes() * 16));
  os_stack_destroy(&stack);
  ck_assert_uint_eq(os_stack_bytes(&stack), 0);
  os_stack_destroy(&stack);
}
END_TEST

typedef struct descent {
  uintptr_t top;
  size_t bytes; /* how deep it goes, and went */
  unsigned frames, sum;
} descent;

/* Calls itself until so many bytes of stack are in use; each frame is read again on the way back. */
__attribute__((noinline)) static unsigned descend(descent *d, unsigned depth) {
  volatile unsigned area[64];
  for (unsigned i = 0; i < 64; i++)
    area[i] = depth + i;
  unsigned below = d->top - here() < d->bytes ? descend(d, depth + 1) : depth;
  for (unsigned i = 0; i < 64; i++)
    d->sum += area[i] - depth - i;
  return below;
}

static void descend_from_top(void *context) {
  descent *d = context;
  d->top = here();
  d->frames = descend(d, 1);
}

static void *call_from_small_stack(void *context) {
  descent d = {.bytes = (size_t)200 << 10};
  os_stack_call(context, descend_from_top, &d);
  return d.frames > 100 && d.sum == 0 ? context : NULL;
}

START_TEST(the_stack_is_deep_where_the_callers_is_not) {
  os_stack stack;
  ck_assert(os_stack_create(&stack, STACK_BYTES));
  size_t small = (size_t)PTHREAD_STACK_MIN + (UNDER_SANITIZER ? (size_t)64 << 10 : 0);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  ck_assert_int_eq(pthread_attr_setstacksize(&attributes, small), 0);
  pthread_t thread;
  ck_assert_int_eq(pthread_create(&thread, &attributes, call_from_small_stack, &stack), 0);
  void *result;
  pthread_join(thread, &result);
  ck_assert_ptr_eq(result, &stack);
  pthread_attr_destroy(&attributes);
  os_stack_destroy(&stack);
}
END_TEST

/* Threads that call on a stack of their own, or take turns on one. */
typedef struct crew {
  os_mutex turns; /* of those that share the stack */
  os_stack *shared;
  unsigned count;
} crew;

#define CREW_THREADS 4
#define CREW_CALLS   200

static void count_up(void *context) {
  descent d = {.bytes = 4096};
  descend_from_top(&d);
  *(unsigned *)context += d.sum + 1;
}

static void *call_on_own_stack(void *context) {
  (void)context;
  os_stack stack;
  if (!os_stack_create(&stack, STACK_BYTES)) return NULL;
  unsigned count = 0;
  for (int i = 0; i < CREW_CALLS; i++)
    os_stack_call(&stack, count_up, &count);
  os_stack_destroy(&stack);
  return count == CREW_CALLS ? context : NULL;
}

static void *call_in_turn(void *context) {
  crew *c = context;
  for (int i = 0; i < CREW_CALLS; i++) {
    os_mutex_lock(&c->turns);
    os_stack_call(c->shared, count_up, &c->count);
    os_mutex_unlock(&c->turns);
  }
  return context;
}

static void run_crew(void *(*main)(void *context), crew *c) {
  pthread_t threads[CREW_THREADS];
  for (int i = 0; i < CREW_THREADS; i++)
    ck_assert_int_eq(pthread_create(&threads[i], NULL, main, c), 0);
  for (int i = 0; i < CREW_THREADS; i++) {
    void *result;
    pthread_join(threads[i], &result);
    ck_assert_ptr_eq(result, c);
  }
}

START_TEST(threads_have_a_stack_each) {
  crew c = {.count = 0};
  run_crew(call_on_own_stack, &c);
}
END_TEST

START_TEST(threads_take_turns_on_a_stack) {
  os_stack stack;
  ck_assert(os_stack_create(&stack, STACK_BYTES));
  crew c = {.shared = &stack};
  ck_assert(os_mutex_create(&c.turns));
  run_crew(call_in_turn, &c);
  ck_assert_uint_eq(c.count, CREW_THREADS * CREW_CALLS);
  os_mutex_destroy(&c.turns);
  os_stack_destroy(&stack);
}
END_TEST

START_TEST(a_function_on_a_stack_may_wait_for_another_thread) {
  os_stack stack;
  ck_assert(os_stack_create(&stack, STACK_BYTES));
  exchange e;
  exchange_open(&e);
  os_thread other;
  ck_assert(os_thread_start(&other, take_one, &e));
  put_one(&e);
  put_one(&e);
  os_stack_call(&stack, take_one, &e);
  os_thread_join(&other);
  ck_assert_uint_eq(e.taken, 2);
  exchange_close(&e);
  os_stack_destroy(&stack);
}
END_TEST

/* Runs on the outer stack and calls on the inner one. */
typedef struct pair_of_stacks {
  os_stack outer, inner;
  visit at_inner;
} pair_of_stacks;

static void call_on_inner(void *context) {
  pair_of_stacks *stacks = context;
  os_stack_call(&stacks->inner, note_place, &stacks->at_inner);
}

static void pair_open(pair_of_stacks *stacks) {
  *stacks = (pair_of_stacks){.at_inner = {.given = 1}};
  ck_assert(os_stack_create(&stacks->outer, STACK_BYTES));
  ck_assert(os_stack_create(&stacks->inner, STACK_BYTES));
}

static void pair_close(pair_of_stacks *stacks) {
  os_stack_destroy(&stacks->inner);
  os_stack_destroy(&stacks->outer);
}

START_TEST(a_function_on_a_stack_may_call_on_another) {
  pair_of_stacks stacks;
  pair_open(&stacks);
  for (int i = 0; i < 100; i++) {
    stacks.at_inner = (visit){.given = i};
    os_stack_call(&stacks.outer, call_on_inner, &stacks);
    ck_assert_int_eq(stacks.at_inner.result, i + 1);
    ck_assert(is_on(&stacks.inner, stacks.at_inner.address));
  }
  pair_close(&stacks);
}
END_TEST

#if OS_STACK_SWITCHES

START_TEST(below_a_stack_lies_a_page_that_faults) {
  os_stack stack;
  ck_assert(os_stack_create(&stack, STACK_BYTES));
  size_t page = os_page_bytes();
  ck_assert(faults(stack.base));
  ck_assert(faults(stack.base + page - 1));
  ck_assert(!faults(stack.base + page));
  ck_assert(!faults(stack.base + page + STACK_BYTES - 1));
  os_stack_destroy(&stack);
}
END_TEST

typedef struct trace {
  uintptr_t sought;
  unsigned frames;
  bool found;
} trace;

static _Unwind_Reason_Code look_at_frame(struct _Unwind_Context *frame, void *context) {
  trace *t = context;
  t->found = t->found || (uintptr_t)_Unwind_GetIP(frame) == t->sought;
  return ++t->frames < 50 && !t->found ? _URC_NO_REASON : _URC_END_OF_STACK;
}

static void trace_back(void *context) {
  _Unwind_Backtrace(look_at_frame, context);
}

__attribute__((noinline)) static bool trace_finds_caller(os_stack *stack) {
  trace t = {.sought = (uintptr_t)__builtin_return_address(0)};
  os_stack_call(stack, trace_back, &t);
  return t.found;
}

START_TEST(an_unwinder_passes_from_the_stack_to_the_callers) {
  os_stack stack;
  ck_assert(os_stack_create(&stack, STACK_BYTES));
  volatile bool found = trace_finds_caller(&stack);
  ck_assert(found);
  os_stack_destroy(&stack);
}
END_TEST

#endif

#if !UNDER_SANITIZER

#define PATTERN   0x5a
#define UNPAINTED 128 /* below the painter's frame, for what the compiler keeps there */

typedef struct painted {
  os_stack stack;
  char *bottom; /* of the caller's stack */
  size_t taken; /* of it by the call */
  visit v;
} painted;

/* Fills the caller's stack with the pattern; returns where a function that is called next has its frame. */
__attribute__((noinline)) static char *paint(const painted *p) {
  char *frame = __builtin_frame_address(0);
  for (volatile char *byte = p->bottom; byte < frame - UNPAINTED; byte++)
    *byte = PATTERN;
  return frame;
}

static void *call_from_painted_stack(void *context) {
  painted *p = context;
  char *frame = paint(p);
  os_stack_call(&p->stack, note_place, &p->v);
  const char *lowest = p->bottom;
  while (*lowest == PATTERN)
    lowest++;
  p->taken = (size_t)(frame - lowest) + 2 * sizeof(void *); /* return address and link */
  return context;
}

START_TEST(a_call_takes_little_of_the_callers_stack) {
  painted p = {.v = {.given = 1}};
  ck_assert(os_stack_create(&p.stack, STACK_BYTES));
  p.bottom = os_memory_reserve(STACK_BYTES, os_page_bytes());
  ck_assert(os_memory_commit(p.bottom, STACK_BYTES));
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  ck_assert_int_eq(pthread_attr_setstack(&attributes, p.bottom, STACK_BYTES), 0);
  pthread_t thread;
  ck_assert_int_eq(pthread_create(&thread, &attributes, call_from_painted_stack, &p), 0);
  pthread_join(thread, NULL);
  pthread_attr_destroy(&attributes);
  os_memory_release(p.bottom, STACK_BYTES);
  os_stack_destroy(&p.stack);
  ck_assert_int_eq(p.v.result, 2);
  ck_assert_uint_le(p.taken, OS_STACK_CALLER_BYTES);
}
END_TEST

#endif

/* ---- in a child of fork() --------------------------------------------------------------------- */

/* ThreadSanitizer starts no thread in the child of a process that had several. */
#if OS_STACK_SWITCHES || !defined(TSR_THREAD_SANITIZER)

/* How a child ends that runs the function. */
static int run_in_child(void (*function)(void *context), void *context) {
  fflush(NULL);
  pid_t child = fork();
  ck_assert_int_ge(child, 0);
  if (child == 0) {
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    function(context);
    _exit(EXIT_FAILURE);
  }
  int status;
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  return status;
}

static void call_twice_in_child(void *context) {
  os_stack *stack = context;
  os_stack_forget_thread(stack);
  for (int i = 0; i < 2; i++) {
    descent d = {.bytes = (size_t)100 << 10};
    os_stack_call(stack, descend_from_top, &d);
    if (d.frames < 50 || d.sum != 0) return;
  }
  os_stack_destroy(stack);
  _exit(EXIT_SUCCESS);
}

START_TEST(a_stack_serves_in_the_child_of_a_fork) {
  os_stack stack;
  ck_assert(os_stack_create(&stack, STACK_BYTES));
  for (int calls = 0; calls < 2; calls++) {
    int status = run_in_child(call_twice_in_child, &stack);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), EXIT_SUCCESS);
    visit v = {.given = calls};
    os_stack_call(&stack, note_place, &v);
    ck_assert_int_eq(v.result, calls + 1);
  }
  os_stack_destroy(&stack);
}
END_TEST

#endif

#if !UNDER_SANITIZER

static void descend_too_deep(void *context) {
  descent d = {.bytes = (size_t)1 << 30};
  os_stack_call(context, descend_from_top, &d);
}

static void descend_too_deep_in_child(void *context) {
  os_stack_forget_thread(context);
  signal(SIGSEGV, SIG_DFL);
  descend_too_deep(context);
}

START_TEST(who_needs_more_stack_than_there_is_meets_a_fault) {
  os_stack stack;
  ck_assert(os_stack_create(&stack, STACK_BYTES));
  int status = run_in_child(descend_too_deep_in_child, &stack);
  ck_assert(WIFSIGNALED(status));
  ck_assert_int_eq(WTERMSIG(status), SIGSEGV);
  os_stack_destroy(&stack);
}
END_TEST

#endif

static TCase *thread_tests(void) {
  TCase *tests = tcase_create("threads");
  tcase_add_test(tests, a_thread_runs_beside_the_others_and_is_joined);
  tcase_add_test(tests, signals_are_for_the_threads_of_the_vm);
  tcase_add_test(tests, a_condition_wakes_one_waiter_for_each_call);
  tcase_add_test(tests, a_condition_waits_until_a_time);
  tcase_add_test(tests, threads_are_told_apart);
  return tests;
}

static TCase *machine_tests(void) {
  TCase *tests = tcase_create("machine");
  tcase_add_test(tests, pages_are_those_of_the_system);
  tcase_add_test(tests, a_process_bound_to_one_processor_has_one);
  tcase_add_loop_test(tests, limits_are_the_least_of_the_groups_and_their_ancestors, 0,
                      (int)MACHINES);
  return tests;
}

static TCase *stack_tests(void) {
  TCase *tests = tcase_create("stack");
  tcase_add_test(tests, a_call_on_a_stack_runs_there_and_returns);
  tcase_add_test(tests, a_stack_that_is_none_may_be_destroyed);
  tcase_add_test(tests, the_stack_is_deep_where_the_callers_is_not);
  tcase_add_test(tests, threads_have_a_stack_each);
  tcase_add_test(tests, threads_take_turns_on_a_stack);
  tcase_add_test(tests, a_function_on_a_stack_may_wait_for_another_thread);
  tcase_add_test(tests, a_function_on_a_stack_may_call_on_another);
#if OS_STACK_SWITCHES
  tcase_add_test(tests, below_a_stack_lies_a_page_that_faults);
  tcase_add_test(tests, an_unwinder_passes_from_the_stack_to_the_callers);
#endif
#if OS_STACK_SWITCHES || !defined(TSR_THREAD_SANITIZER)
  tcase_add_test(tests, a_stack_serves_in_the_child_of_a_fork);
#endif
#if !UNDER_SANITIZER
  tcase_add_test(tests, a_call_takes_little_of_the_callers_stack);
  tcase_add_test(tests, who_needs_more_stack_than_there_is_meets_a_fault);
#endif
  return tests;
}

int main(void) {
  Suite *suite = suite_create("os");
  TCase *tests = tcase_create("memory");
  tcase_add_test(tests, F01_reserved_memory_faults_and_committed_memory_is_zero);
  tcase_add_test(tests, F01_decommitting_gives_pages_back_and_faults);
  tcase_add_test(tests, F01_protected_memory_keeps_its_content);
  tcase_add_test(tests, F67_heap_memory_is_never_executable);
  tcase_add_test(tests, F01_a_large_reservation_costs_no_resident_memory);
  tcase_add_test(tests, impossible_reservations_are_refused);
  tcase_add_test(tests, clocks_do_not_step_back);
  suite_add_tcase(suite, tests);
  suite_add_tcase(suite, thread_tests());
  suite_add_tcase(suite, machine_tests());
  suite_add_tcase(suite, stack_tests());
  return unit_run(suite);
}
