/*
 * The verifier is silent about correct programs.
 *
 * A program is random: it allocates in every placement with every flag, through the generic call, a
 * cached pair and overcommitted requests, fills what it gets, stores references, drops, shrinks, seals, goes
 * native, collects and verifies. Its roots are a native stack, and for each it knows kind, tag, size
 * and content. Slots of leaf objects receive references too; they go stale, and nobody may mind.
 */
#include "testvm.h"

#define THREADS       8

#define ROOTS         64
#define IMMORTAL_MOST 100
#define ANY_COUNT     SIZE_MAX

/* What a root leads to, as the program knows it. */
typedef struct known {
  unsigned kind, tag;
  size_t size;
  uint64_t seed;
  tsr_semantics semantics;
  bool sealed;
} known;

typedef struct program {
  testvm *vm;
  tsr_mutator *m;
  uint64_t random;
  tsr_slot roots[ROOTS]; /* a native stack that is always full */
  tsr_slot *top;
  tsr_native_stack stack;
  known known[ROOTS];
  tsr_bump_pointer cached;
  size_t count_most; /* elements of an object */
  size_t allocations, immortals, budget_bytes;
  const char *failure;
} program;

static size_t below(program *p, size_t n) {
  return (size_t)(vm_random(&p->random) % n);
}

static tsr_semantics random_semantics(program *p) {
  static const tsr_semantics placements[] = {TSR_DEFAULT,    TSR_DEFAULT,    TSR_DEFAULT, TSR_LARGE,
                                             TSR_NON_MOVING, TSR_NON_MOVING, TSR_IMMORTAL};
  static const tsr_semantics flags[] = {0,        0, 0, 0, 0,        0,
                                        TSR_LEAF, 0, 0, 0, TSR_CODE, TSR_READ_ONLY};
  tsr_semantics placement = placements[below(p, sizeof placements / sizeof placements[0])];
  if (placement == TSR_IMMORTAL && p->immortals >= IMMORTAL_MOST) placement = TSR_DEFAULT;
  p->immortals += placement == TSR_IMMORTAL;
  return placement | flags[below(p, sizeof flags / sizeof flags[0])];
}

static size_t random_count(program *p) {
  static const size_t most[] = {4, 4, 20, 100, 100, 900, 5000};
  size_t count = below(p, most[below(p, sizeof most / sizeof most[0])] + 1);
  return count < p->count_most ? count : p->count_most;
}

static void program_set(program *p, size_t i, tsr_ref object, const known *k) {
  p->roots[i].word = vm_word(object);
  p->known[i] = *k;
}

/* Slots of a leaf are no references: what they hold may go stale. */
static void program_store(program *p) {
  size_t to = below(p, ROOTS);
  tsr_ref object = vm_ref(p->roots[to].word);
  if (object == NULL || p->known[to].sealed) return;
  size_t slots = vm_slots(vm_kind_of(object), vm_count_of(object));
  if (slots == 0) return;
  size_t word = vm_slot_index(vm_kind_of(object), below(p, slots));
  vm_set(p->m, object, word, p->roots[below(p, ROOTS)].word);
}

static void *program_memory(program *p, size_t size, tsr_semantics semantics) {
  bool inline_path = semantics == TSR_DEFAULT && size <= TSR_MAX_INLINE_BYTES;
  if (inline_path && below(p, 2) == 0) return tsr_alloc_cached(p->m, &p->cached, size);
  if (below(p, 20) == 0) {
    return tsr_alloc_with(p->m, size, TSR_OBJECT_ALIGN, 0, semantics, TSR_ALLOC_OVERCOMMIT, NULL);
  }
  return tsr_alloc(p->m, size, TSR_OBJECT_ALIGN, 0, semantics);
}

static void program_allocate(program *p) {
  static const unsigned kinds[] = {CELL, PAIR, PAIR, RECORD, VECTOR, BYTES, TABLE, CUSTOM, WIDE};
  known k = {.kind = kinds[below(p, sizeof kinds / sizeof kinds[0])],
             .tag = (unsigned)below(p, 0x10000),
             .seed = vm_random(&p->random),
             .semantics = random_semantics(p)};
  size_t count = random_count(p);
  k.size = vm_size(k.kind, count);
  if (k.size > p->budget_bytes) return;
  if (!vm_collects) p->budget_bytes -= k.size + (k.size > TSR_MAX_INLINE_BYTES ? 32 * KIB : 0);
  void *memory = program_memory(p, k.size, k.semantics);
  if (memory == NULL) {
    p->failure = "an allocation failed";
    return;
  }
  p->allocations++;
  vm_init_object(memory, k.kind, k.tag, count);
  if (tsr_post_alloc(p->m, (tsr_ref)memory, k.size, k.semantics) != TSR_OK) {
    p->failure = "tsr_post_alloc refused";
    return;
  }
  vm_fill((tsr_ref)memory, k.seed);
  program_set(p, below(p, ROOTS), (tsr_ref)memory, &k);
}

static void program_seal(program *p) {
  size_t i = below(p, ROOTS);
  known *k = &p->known[i];
  if (p->roots[i].word == 0) return;
  tsr_status status;
  if (k->sealed) {
    status = tsr_unseal(p->m, vm_ref(p->roots[i].word), NULL);
    if ((status == TSR_OK) != ((k->semantics & TSR_CODE) != 0)) p->failure = "tsr_unseal";
    k->sealed = status != TSR_OK;
  } else {
    status = tsr_seal(p->m, vm_ref(p->roots[i].word), NULL);
    bool may = (k->semantics & (TSR_CODE | TSR_READ_ONLY)) != 0;
    if (status == TSR_OK && !may) p->failure = "tsr_seal";
    k->sealed = status == TSR_OK;
  }
}

static void program_shrink(program *p) {
  size_t i = below(p, ROOTS);
  tsr_ref object = vm_ref(p->roots[i].word);
  known *k = &p->known[i];
  if (object == NULL || k->sealed || (k->kind != VECTOR && k->kind != BYTES)) return;
  size_t count = below(p, vm_count_of(object) + 1);
  k->size = vm_size(k->kind, count);
  if (tsr_shrink(p->m, object, k->size, NULL) != TSR_OK) p->failure = "tsr_shrink";
  vm_slot(object, 1)->word = count;
}

static void program_check(program *p) {
  for (size_t i = 0; i < ROOTS; i++) {
    tsr_ref object = vm_ref(p->roots[i].word);
    if (object == NULL) continue;
    const known *k = &p->known[i];
    bool same = vm_kind_of(object) == k->kind && vm_tag_of(object) == k->tag &&
                vm_size(k->kind, vm_count_of(object)) == k->size && vm_filled(object, k->seed);
    if (!same) p->failure = "an object is not what it was";
  }
}

static void program_step(program *p) {
  switch (below(p, 40)) {
  case 0:
    program_check(p);
    break;
  case 1:
    p->roots[below(p, ROOTS)].word = 0;
    break;
  case 2:
  case 3:
    program_seal(p);
    break;
  case 4:
  case 5:
    program_shrink(p);
    break;
  case 7:
    tsr_enter_native(p->m);
    tsr_leave_native(p->m);
    break;
  case 8:
    if (below(p, 8) == 0 && tsr_heap_verify(p->m, NULL) != TSR_OK) p->failure = "tsr_heap_verify";
    break;
  case 9:
    if (vm_collects && below(p, 8) == 0 && tsr_collect(p->m, NULL) != TSR_OK) {
      p->failure = "tsr_collect";
    }
    break;
  default:
    if (below(p, 3) == 0) {
      program_allocate(p);
    } else {
      program_store(p);
    }
  }
}

/* Runs until so many objects were made; a plan without a collection may run out of bytes before. NULL,
   or what went wrong. */
static const char *program_run(testvm *vm, tsr_mutator *m, uint64_t seed, size_t allocations,
                               size_t count_most, size_t budget_bytes) {
  program *p = calloc(1, sizeof *p);
  if (p == NULL) return "no memory for the program";
  *p = (program){
      .vm = vm, .m = m, .random = seed, .count_most = count_most, .budget_bytes = budget_bytes};
  p->top = p->roots + ROOTS;
  p->stack = (tsr_native_stack){.base = p->roots, .top = &p->top, .name = "roots"};
  if (tsr_stack_add(vm->heap, &p->stack, NULL) != TSR_OK) p->failure = "tsr_stack_add";
  if (tsr_register_bump_pointer(m, &p->cached, NULL) != TSR_OK) p->failure = "register";
  for (size_t step = 0; p->failure == NULL && p->allocations < allocations; step++) {
    if (step > 20 * allocations) break; /* four steps or so make one object */
    program_step(p);
  }
  if (p->failure == NULL) program_check(p);
  const char *failure = p->failure;
  tsr_unregister_bump_pointer(m, &p->cached, NULL);
  tsr_stack_remove(vm->heap, &p->stack, NULL);
  free(p);
  return failure;
}

static void run_programs(const char *stress, size_t programs, size_t allocations) {
  for (uint64_t seed = 1; seed <= programs; seed++) {
    printf("seed %llu\n", (unsigned long long)seed);
    fflush(stdout);
    testvm vm;
    vm_init_calm(&vm);
    vm_pin(&vm, "heap_max", "64M");
    vm_pin(&vm, "verify", "on");
    if (stress != NULL) vm_pin(&vm, "stress", stress);
    vm_start(&vm);
    const char *failure = program_run(&vm, vm.m, seed * 0x9e3779b97f4a7c15u, allocations, ANY_COUNT,
                                      vm_collects ? SIZE_MAX : 40 * MIB);
    ck_assert_msg(failure == NULL, "seed %llu: %s", (unsigned long long)seed, failure);
    ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
    vm_stop(&vm);
  }
}

START_TEST(correct_programs_raise_no_alarm) {
  run_programs(NULL, 5, 2000);
}
END_TEST

START_TEST(correct_programs_raise_no_alarm_under_stress) {
  run_programs("64K", 3, 1000);
}
END_TEST

/* Small objects: it is the number of collections that counts, not what each has to look at. */
START_TEST(correct_programs_raise_no_alarm_when_each_allocation_collects) {
  testvm vm;
  vm_init_calm(&vm);
  vm_pin(&vm, "heap_max", "64M");
  vm_pin(&vm, "verify", "on");
  vm_pin(&vm, "stress", "1");
  vm_start(&vm);
  const char *failure = program_run(&vm, vm.m, 4711, 1000, 40, vm_collects ? SIZE_MAX : 40 * MIB);
  ck_assert_msg(failure == NULL, "%s", failure);
  ck_assert(!vm_collects || vm.ended >= 900); /* overcommitted requests do not collect */
  vm_stop(&vm);
}
END_TEST

static void run_one_program(vm_thread *self) {
  const char *failure = program_run(self->vm, self->m, 1000u + self->index, 400, ANY_COUNT,
                                    vm_collects ? SIZE_MAX : 4 * MIB);
  if (failure != NULL) vm_expect_failed(self, __FILE__, __LINE__, failure);
}

START_TEST(correct_threads_raise_no_alarm) {
  testvm vm;
  vm_init_calm(&vm);
  vm_pin(&vm, "heap_max", "64M");
  vm_pin(&vm, "verify", "on");
  vm_start(&vm);
  vm_threads(&vm, THREADS, run_one_program, NULL);
  ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
  vm_stop(&vm);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, correct_programs_raise_no_alarm);
  tcase_add_test(tests, correct_threads_raise_no_alarm);
  if (!vm_collects) return;
  tcase_add_test(tests, correct_programs_raise_no_alarm_under_stress);
  tcase_add_test(tests, correct_programs_raise_no_alarm_when_each_allocation_collects);
}

int main(void) {
  return vm_main("verify quiet", add);
}
