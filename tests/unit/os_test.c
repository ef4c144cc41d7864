/*
 * core/os: reserved, committed, decommitted and protected memory (F01).
 */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "core/os/machine.h"
#include "core/os/memory.h"
#include "core/os/thread.h"
#include "tests/unit/unit.h"

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
  return unit_run(suite);
}
