/*
 * A thousand heaps, one after the other, leave nothing behind.
 *
 * Each has two mutators in two threads, a megabyte allocated by them and one collection, by as many
 * workers as the environment says, or by four. Between the hundredth and the last nothing may grow: resident
 * memory, descriptors, threads, mappings. Memory is given a tolerance for what malloc and the C library
 * keep; the others are counted exactly, and mappings with a small slack for the thread stacks that
 * the C library caches.
 */
#include "testvm.h"

#include <dirent.h>
#include <unistd.h>

typedef struct footprint {
  size_t resident_bytes, descriptors, threads, mappings;
} footprint;

static size_t entries(const char *folder) {
  DIR *dir = opendir(folder);
  if (dir == NULL) return 0;
  size_t n = 0;
  while (readdir(dir) != NULL) {
    n++;
  }
  closedir(dir);
  return n;
}

static size_t lines(const char *path) {
  FILE *file = fopen(path, "r");
  if (file == NULL) return 0;
  size_t n = 0;
  for (int c = getc(file); c != EOF; c = getc(file)) {
    n += c == '\n';
  }
  fclose(file);
  return n;
}

static footprint measure(void) {
  footprint now = {0};
  FILE *file = fopen("/proc/self/statm", "r");
  unsigned long total = 0;
  unsigned long resident = 0;
  if (file != NULL) {
    ck_assert_int_eq(fscanf(file, "%lu %lu", &total, &resident), 2);
    fclose(file);
  }
  now.resident_bytes = (size_t)resident * (size_t)sysconf(_SC_PAGESIZE);
  now.descriptors = entries("/proc/self/fd");
  now.threads = entries("/proc/self/task");
  now.mappings = lines("/proc/self/maps");
  return now;
}

static void half_a_megabyte(vm_thread *self) {
  tsr_slot *list = tsr_local(self->m, 0);
  EXPECT(self, vm_list(self->m, list, 5000, 0));
  for (size_t done = 5000 * 24; done < MIB / 2; done += 1016) {
    EXPECT(self, vm_new(self->m, BYTES, 0, 1000) != NULL);
  }
  if (self->index == 0) {
    EXPECT(self, tsr_collect(self->m, NULL) == (vm_collects ? TSR_OK : TSR_UNSUPPORTED));
  }
  EXPECT(self, vm_list_holds(self->m, list->word, 5000, 0));
}

static void one_life(const char *workers) {
  testvm vm;
  vm_init_calm(&vm);
  vm_alone(&vm); /* counts threads and their memory */
  vm_pin(&vm, "heap_max", "8M");
  if (workers != NULL) vm_pin(&vm, "threads", workers);
  vm_start_heap(&vm);
  tsr_slot *handle = tsr_handle_new(vm.heap, FIXNUM(1), TSR_STRONG, NULL);
  ck_assert_ptr_nonnull(handle);
  vm_threads(&vm, 2, half_a_megabyte, NULL);
  ck_assert_uint_eq(vm.ended, vm_collects ? 1 : 0);
  if (vm_collects && workers != NULL) {
    ck_assert_uint_eq(vm.last_collection.workers, strtoul(workers, NULL, 10));
  }
  vm_stop(&vm);
}

START_TEST(a_thousand_heaps_leave_nothing) {
  footprint early = {0};
  for (unsigned i = 1; i <= 1000; i++) {
    one_life(_i == 0 ? NULL : "4");
    if (i == 100) early = measure();
  }
  footprint late = measure();
  ck_assert_uint_eq(late.descriptors, early.descriptors);
  ck_assert_uint_eq(late.threads, early.threads);
  ck_assert_msg(late.mappings <= early.mappings + 8, "mappings: %zu, then %zu", early.mappings,
                late.mappings);
#if !VM_SANITIZED
  /* (A sanitizer keeps freed memory and thread records on purpose.) */
  ck_assert_msg(late.resident_bytes <= early.resident_bytes + MIB, "resident: %zu, then %zu",
                early.resident_bytes, late.resident_bytes);
#endif
}
END_TEST

/* A heap that could not be created leaves nothing either. */
START_TEST(a_thousand_refusals_leave_nothing) {
  footprint early = {0};
  for (unsigned i = 1; i <= 1000; i++) {
    testvm vm;
    vm_init_calm(&vm);
    if (i % 2 == 0) {
      vm.binding.references.bias = 3;
    } else {
      vm_pin(&vm, "heap_min", "64M");
    }
    vm_refused(&vm);
    if (i == 100) early = measure();
  }
  footprint late = measure();
  ck_assert_uint_eq(late.descriptors, early.descriptors);
  ck_assert_uint_eq(late.threads, early.threads);
  ck_assert_uint_le(late.mappings, early.mappings + 8);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_loop_test(tests, a_thousand_heaps_leave_nothing, 0, 2);
  tcase_add_test(tests, a_thousand_refusals_leave_nothing);
}

int main(void) {
  return vm_main("life cycle", add);
}
