/*
 * A001-37, F45, F46: a thread that has 4 KiB of its stack left collects, however deep or wide what it reaches.
 *
 * The thread's stack is a mapping of a known size above a page that faults. It goes down by
 * calling itself until no more than that is left, and then asks for a collection, or allocates until
 * there is one.
 *
 * A list of 100,000 objects and an array of 1 MB; with TESSERA_TEST_LONG=1 ten million and 100 MB. The frames of
 * sanitizers are larger than what the library documents for its own, so there more stack is left, and a
 * long run is shorter.
 */
#include "testvm.h"

#include <sys/mman.h>
#include <unistd.h>

#if VM_SANITIZED
#define LEFT_BYTES  (64 * KIB)
#define STACK_BYTES (8 * MIB) /* with what the sanitizer keeps there */
#define LONG_LENGTH ((size_t)1000000)
#else
#define LEFT_BYTES  (4 * KIB)
#define STACK_BYTES (512 * KIB)
#define LONG_LENGTH ((size_t)10000000)
#endif

/* ---- a thread with a stack of its own --------------------------------------------------------- */

typedef struct diver {
  testvm vm;
  tsr_mutator *m;
  size_t length, elements; /* of list and array */
  tsr_slot *list, *array;
  char *stack;                  /* the lowest byte above the page that faults */
  void (*act)(struct diver *d); /* at the bottom */
  size_t left_bytes;            /* of the stack when it was called */
  char failure[256];
} diver;

#define DEMAND(d, condition)                                                                       \
  do {                                                                                             \
    if (!(condition) && (d)->failure[0] == 0) {                                                    \
      snprintf((d)->failure, sizeof(d)->failure, "%s:%d: %s", __FILE__, __LINE__, #condition);     \
    }                                                                                              \
  } while (0)

/* Never inlined, and never the last thing that its caller does. */
#define FRAME __attribute__((noinline))

FRAME static void act_here(diver *d) {
  d->left_bytes = (size_t)((char *)__builtin_frame_address(0) - d->stack);
  d->act(d);
}

/* A little at a time, to the very place. */
FRAME static unsigned go_down(diver *d, volatile unsigned depth) {
  size_t left = (size_t)((char *)__builtin_frame_address(0) - d->stack);
  if (left > LEFT_BYTES) return go_down(d, depth + 1) + depth;
  act_here(d);
  return depth;
}

/* In long steps, since tools keep a record of every call. */
FRAME static unsigned dive_down(diver *d, volatile unsigned depth) {
  volatile char step[4 * KIB];
  step[depth % sizeof step] = 1;
  size_t left = (size_t)((char *)__builtin_frame_address(0) - d->stack);
  if (left < LEFT_BYTES + 4 * sizeof step) return go_down(d, 0);
  return dive_down(d, depth + 1) + (unsigned)step[depth % sizeof step];
}

/* ---- what it does down there ------------------------------------------------------------------- */

static void collect_here(diver *d) {
  DEMAND(d, tsr_collect(d->m, NULL) == (vm_collects ? TSR_OK : TSR_UNSUPPORTED));
}

/* Until somebody has collected, which is this thread alone. */
static void allocate_here(diver *d) {
  unsigned before = atomic_load(&d->vm.ended);
  while (vm_collects && atomic_load(&d->vm.ended) == before) {
    void *memory = tsr_alloc(d->m, vm_size(BYTES, 4000), TSR_OBJECT_ALIGN, 0, TSR_DEFAULT);
    DEMAND(d, memory != NULL);
    if (memory == NULL) return;
    vm_init_object(memory, BYTES, 0, 4000);
  }
}

/* ---- what it keeps ----------------------------------------------------------------------------- */

/* A list, and an array whose elements are the list's pairs in their order, from the first one again when they have
   all been named. */
static void build(diver *d) {
  DEMAND(d, vm_list(d->m, d->list, d->length, 0));
  d->array->word = vm_word(vm_new(d->m, VECTOR, 0, d->elements));
  DEMAND(d, d->array->word != 0);
  if (d->failure[0] != 0) return;
  uint64_t pair = 0;
  for (size_t i = 0; i < d->elements; i++) {
    pair = i % d->length == 0 ? d->list->word : vm_get(d->m, vm_ref(pair), 2);
    vm_set(d->m, vm_ref(d->array->word), 2 + i, pair);
  }
}

static void check(diver *d) {
  DEMAND(d, vm_list_holds(d->m, d->list->word, d->length, 0));
  uint64_t pair = 0;
  for (size_t i = 0; i < d->elements && d->failure[0] == 0; i++) {
    pair = i % d->length == 0 ? d->list->word : vm_get(d->m, vm_ref(pair), 2);
    DEMAND(d, vm_get(d->m, vm_ref(d->array->word), 2 + i) == pair);
  }
}

/* ---- its life ---------------------------------------------------------------------------------- */

static void *dive(void *arg) {
  diver *d = arg;
  d->m = tsr_bind_mutator(d->vm.heap, d, NULL);
  DEMAND(d, d->m != NULL);
  if (d->m == NULL) return NULL;
  tsr_scope scope;
  tsr_scope_open(d->m, &scope);
  d->list = tsr_local(d->m, 0);
  d->array = tsr_local(d->m, 0);
  build(d);
  for (unsigned round = 0; round < 2 && d->failure[0] == 0; round++) {
    dive_down(d, 0);
    DEMAND(d, d->left_bytes <= LEFT_BYTES);
    check(d);
  }
  tsr_scope_close(d->m, &scope);
  DEMAND(d, tsr_unbind_mutator(d->m, NULL) == TSR_OK);
  return NULL;
}

static void run_diver(diver *d) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  char *memory = mmap(NULL, page + STACK_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  ck_assert(memory != MAP_FAILED && mprotect(memory, page, PROT_NONE) == 0);
  d->stack = memory + page;
  pthread_attr_t attributes;
  pthread_t thread;
  ck_assert_int_eq(pthread_attr_init(&attributes), 0);
  ck_assert_int_eq(pthread_attr_setstack(&attributes, d->stack, STACK_BYTES), 0);
  ck_assert_int_eq(pthread_create(&thread, &attributes, dive, d), 0);
  pthread_join(thread, NULL);
  pthread_attr_destroy(&attributes);
  munmap(memory, page + STACK_BYTES);
  ck_assert_msg(d->failure[0] == 0, "%s", d->failure);
}

static void run(void (*act)(diver *d), const char *log) {
  static diver d;
  memset(&d, 0, sizeof d);
  d.act = act;
  d.length = vm_is_long() ? LONG_LENGTH : 100000;
  d.elements = vm_is_long() ? LONG_LENGTH / 10 * 13 : MIB / 8;
  vm_init_calm(&d.vm);
  vm_pin(&d.vm, "heap_max", vm_is_long() ? "1G" : "32M");
  if (log != NULL) vm_pin(&d.vm, "log", log);
  vm_start_heap(&d.vm);
  run_diver(&d);
  ck_assert(vm_collects ? d.vm.ended >= 2 : d.vm.ended == 0);
  vm_stop(&d.vm);
}

START_TEST(a001_37_a_request_with_little_stack_left) {
  run(collect_here, NULL);
}
END_TEST

START_TEST(a001_37_an_allocation_with_little_stack_left) {
  run(allocate_here, NULL);
}
END_TEST

START_TEST(a001_37_a_line_of_the_log_with_little_stack_left) {
  vm_capture_begin();
  run(collect_here, "gc");
  char *text = vm_capture_end();
  ck_assert_msg(!vm_collects || strstr(text, "Pause") != NULL, "no log: %s", text);
  free(text);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, a001_37_a_request_with_little_stack_left);
  tcase_add_test(tests, a001_37_an_allocation_with_little_stack_left);
  tcase_add_test(tests, a001_37_a_line_of_the_log_with_little_stack_left);
}

int main(void) {
#if VM_SANITIZED
  printf("a sanitizer's frames are larger: 64 KiB of stack are left instead of 4\n");
#endif
  return vm_main("deep", add);
}
