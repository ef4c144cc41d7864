/*
 * Torture: a random program and a shadow of its heap in malloc memory.
 *
 * Every object has a shadow with the same kind, tag, contents and edges. Operations are done on
 * both; verify() walks both from the same roots and demands an isomorphism: an edge is null in one
 * where it is null in the other, and a shadow met twice has one address. The shadow is swept by the
 * same walk, so after a collection the numbers of objects must agree as well.
 *
 * The roots are of every kind, in one numbering: local handles in nested scopes, global handles, a
 * registered range, a native stack. The seed is printed; TESSERA_TORTURE_SEED sets it, and
 * TESSERA_TORTURE_OPS the length.
 */
#include "testvm.h"

#include <time.h>

#define HANDLES 16
#define RANGE   16
#define STACK   32
#define LOCALS  64
#define ROOTS   (HANDLES + RANGE + STACK + LOCALS)

typedef struct shadow {
  unsigned kind, tag;
  size_t count;
  uint64_t seed, epoch, address;
  struct shadow *next_all;
  struct shadow *edges[];
} shadow;

typedef struct torture {
  testvm *vm;
  tsr_mutator *m;
  uint64_t random, epoch;
  shadow *all;
  size_t live;            /* shadows, after the last sweep */
  tsr_slot *roots[ROOTS]; /* NULL: a local whose scope is not open, a slot above the stack's top */
  shadow *targets[ROOTS];
  tsr_slot range[RANGE];
  tsr_slot stack_memory[STACK];
  tsr_slot *top;
  tsr_native_stack stack;
  tsr_scope scopes[LOCALS / 8];
  unsigned open_scopes;
  bool alone; /* no other mutator: the heap holds this graph and nothing else */
  const char *failure;
} torture;

static size_t below(torture *t, size_t n) {
  return (size_t)(vm_random(&t->random) % n);
}

/* ---- verification -------------------------------------------------------------------------- */

typedef struct pending {
  shadow **items;
  size_t count, capacity;
} pending;

static void push(pending *p, shadow *s) {
  if (p->count == p->capacity) {
    p->capacity = p->capacity == 0 ? 256 : 2 * p->capacity;
    p->items = realloc(p->items, p->capacity * sizeof(shadow *));
  }
  p->items[p->count++] = s;
}

/* An edge of both graphs: null in both, or the same object as ever in this walk. */
static bool same_edge(torture *t, pending *p, shadow *s, uint64_t word) {
  if (s == NULL) return word == 0;
  if (word == 0) return false;
  if (s->epoch == t->epoch) return s->address == word;
  s->epoch = t->epoch;
  s->address = word;
  push(p, s);
  return true;
}

static bool same_object(torture *t, pending *p, shadow *s) {
  tsr_ref object = vm_ref(s->address);
  if (vm_kind_of(object) != s->kind || vm_tag_of(object) != s->tag) return false;
  if (vm_count_of(object) != s->count || !vm_filled(object, s->seed)) return false;
  for (size_t i = 0; i < vm_slots(s->kind, s->count); i++) {
    uint64_t word = vm_get(t->m, object, vm_slot_index(s->kind, i));
    if (!same_edge(t, p, s->edges[i], word)) return false;
  }
  return true;
}

static void sweep_shadows(torture *t) {
  t->live = 0;
  for (shadow **link = &t->all; *link != NULL;) {
    shadow *s = *link;
    if (s->epoch == t->epoch) {
      t->live++;
      link = &s->next_all;
    } else {
      *link = s->next_all;
      free(s);
    }
  }
}

static bool verify(torture *t) {
  pending p = {0};
  bool same = true;
  t->epoch++;
  for (unsigned i = 0; i < ROOTS && same; i++) {
    if (t->roots[i] != NULL) same = same_edge(t, &p, t->targets[i], t->roots[i]->word);
  }
  while (p.count > 0 && same) {
    same = same_object(t, &p, p.items[--p.count]);
  }
  free(p.items);
  if (same) sweep_shadows(t);
  if (!same) t->failure = "the heap differs from its shadow";
  return same;
}

static void count_objects(void *context, tsr_ref object, size_t size) {
  (void)object;
  (void)size;
  ++*(size_t *)context;
}

static bool collect_and_verify(torture *t) {
  tsr_status status = tsr_collect(t->m, NULL);
  if (status != (vm_collects ? TSR_OK : TSR_UNSUPPORTED)) {
    t->failure = "tsr_collect";
    return false;
  }
  if (!verify(t)) return false;
  if (!t->alone || !vm_collects) return true;
  size_t objects = 0;
  tsr_enumerate_objects(t->m, count_objects, &objects, NULL);
  if (objects != t->live) t->failure = "a collection kept garbage";
  return objects == t->live;
}

/* ---- operations ---------------------------------------------------------------------------- */

static void set_root(torture *t, size_t root, shadow *s, uint64_t word) {
  t->roots[root]->word = word;
  t->targets[root] = s;
}

static size_t any_root(torture *t) {
  size_t root;
  do {
    root = below(t, ROOTS);
  } while (t->roots[root] == NULL);
  return root;
}

static size_t random_count(torture *t) {
  switch (below(t, 40)) {
  case 0:
    return below(t, 3000);
  case 1:
    return below(t, 400);
  default:
    return below(t, 12);
  }
}

static void drop_half(torture *t) {
  for (size_t i = 0; i < ROOTS; i++) {
    if (t->roots[i] != NULL && below(t, 2) == 0) set_root(t, i, NULL, 0);
  }
}

static void allocate(torture *t) {
  unsigned kind = CELL + (unsigned)below(t, VM_KINDS - CELL);
  bool array = kind == VECTOR || kind == BYTES || kind == TABLE || kind == CUSTOM;
  size_t count = array ? random_count(t) * (kind == BYTES ? 13 : 1) : 0;
  unsigned tag = (unsigned)below(t, 65536);
  tsr_ref object = vm_new(t->m, kind, tag, count);
  if (object == NULL) {
    drop_half(t);
    return;
  }
  size_t slots = vm_slots(kind, count);
  shadow *s = calloc(1, sizeof *s + slots * sizeof(shadow *));
  s->kind = kind;
  s->tag = tag;
  s->count = count;
  s->seed = vm_random(&t->random);
  s->next_all = t->all;
  t->all = s;
  vm_fill(object, s->seed);
  for (size_t i = 0; i < slots; i++) {
    if (i > 20 && below(t, 50) != 0) continue;
    size_t from = any_root(t);
    s->edges[i] = t->targets[from];
    vm_set(t->m, object, vm_slot_index(kind, i), t->roots[from]->word);
  }
  set_root(t, any_root(t), s, vm_word(object));
}

/* A random object: some steps along random edges from a random root. */
static shadow *walk(torture *t, uint64_t *word) {
  size_t root = any_root(t);
  shadow *s = t->targets[root];
  *word = t->roots[root]->word;
  for (size_t steps = below(t, 8); s != NULL && steps > 0; steps--) {
    size_t slots = vm_slots(s->kind, s->count);
    if (slots == 0) break;
    size_t i = below(t, slots);
    if (s->edges[i] == NULL) break;
    *word = vm_get(t->m, vm_ref(*word), vm_slot_index(s->kind, i));
    s = s->edges[i];
  }
  return s;
}

static void link_objects(torture *t) {
  uint64_t from_word;
  uint64_t to_word;
  shadow *from = walk(t, &from_word);
  shadow *to = walk(t, &to_word);
  if (from == NULL || vm_slots(from->kind, from->count) == 0) return;
  size_t i = below(t, vm_slots(from->kind, from->count));
  if (below(t, 5) == 0) {
    to = NULL;
    to_word = 0;
  }
  from->edges[i] = to;
  vm_set(t->m, vm_ref(from_word), vm_slot_index(from->kind, i), to_word);
}

static void copy_slots(torture *t) {
  uint64_t word;
  shadow *s = walk(t, &word);
  if (s == NULL || s->kind != VECTOR || s->count == 0) return;
  size_t n = below(t, s->count) + 1;
  size_t from = below(t, s->count - n + 1);
  size_t to = below(t, s->count - n + 1);
  memmove(&s->edges[to], &s->edges[from], n * sizeof(shadow *));
  tsr_ref object = vm_ref(word);
  tsr_copy_slots(t->m, object, vm_slot(object, 2 + to), vm_slot(object, 2 + from), n);
}

static void load_to_root(torture *t) {
  uint64_t word;
  shadow *s = walk(t, &word);
  set_root(t, any_root(t), s, word);
}

/* Scopes hold 8 locals each. */
static void open_scope(torture *t) {
  if (t->open_scopes == LOCALS / 8) return;
  size_t first = HANDLES + RANGE + STACK + 8 * (size_t)t->open_scopes;
  tsr_scope_open(t->m, &t->scopes[t->open_scopes++]);
  for (size_t i = first; i < first + 8; i++) {
    size_t from = any_root(t);
    uint64_t word = t->roots[from]->word;
    t->targets[i] = t->targets[from];
    t->roots[i] = tsr_local(t->m, word);
  }
}

static void close_scope(torture *t) {
  if (t->open_scopes == 0) return;
  tsr_scope_close(t->m, &t->scopes[--t->open_scopes]);
  size_t first = HANDLES + RANGE + STACK + 8 * (size_t)t->open_scopes;
  for (size_t i = first; i < first + 8; i++) {
    t->roots[i] = NULL;
    t->targets[i] = NULL;
  }
}

static void move_stack(torture *t) {
  size_t depth = (size_t)(t->top - t->stack_memory);
  size_t wanted = below(t, STACK + 1);
  for (; depth < wanted; depth++) {
    t->stack_memory[depth].word = 0;
    t->roots[HANDLES + RANGE + depth] = &t->stack_memory[depth];
  }
  for (; depth > wanted; depth--) {
    t->roots[HANDLES + RANGE + depth - 1] = NULL;
    t->targets[HANDLES + RANGE + depth - 1] = NULL;
  }
  t->top = t->stack_memory + wanted;
}

static bool renew_handle(torture *t) {
  size_t i = below(t, HANDLES);
  uint64_t word;
  shadow *s = walk(t, &word);
  bool freed = tsr_handle_free(t->vm->heap, t->roots[i], NULL) == TSR_OK;
  t->roots[i] = tsr_handle_new(t->vm->heap, word, TSR_STRONG, NULL);
  t->targets[i] = s;
  if (!freed || t->roots[i] == NULL) t->failure = "a handle";
  return freed && t->roots[i] != NULL;
}

static bool step(torture *t) {
  size_t choice = below(t, 1000);
  if (choice < 450) {
    allocate(t);
  } else if (choice < 700) {
    link_objects(t);
  } else if (choice < 800) {
    load_to_root(t);
  } else if (choice < 880) {
    set_root(t, any_root(t), NULL, 0);
  } else if (choice < 910) {
    copy_slots(t);
  } else if (choice < 930) {
    open_scope(t);
  } else if (choice < 950) {
    close_scope(t);
  } else if (choice < 965) {
    move_stack(t);
  } else if (choice < 980) {
    return renew_handle(t);
  } else if (choice < 990) {
    tsr_safepoint(t->m);
  } else if (choice < 992) {
    drop_half(t);
  } else if (choice < 996) {
    return verify(t);
  } else if (choice < 998) {
    return collect_and_verify(t);
  } else {
    tsr_enter_native(t->m);
    tsr_leave_native(t->m);
  }
  return true;
}

/* ---- a run --------------------------------------------------------------------------------- */

static bool begin(torture *t, testvm *vm, tsr_mutator *m, uint64_t seed) {
  memset(t, 0, sizeof *t);
  t->vm = vm;
  t->m = m;
  t->random = seed;
  t->top = t->stack_memory;
  t->stack = (tsr_native_stack){.base = t->stack_memory, .top = &t->top, .name = "torture"};
  for (size_t i = 0; i < HANDLES; i++) {
    t->roots[i] = tsr_handle_new(vm->heap, 0, TSR_STRONG, NULL);
  }
  for (size_t i = 0; i < RANGE; i++) {
    t->roots[HANDLES + i] = &t->range[i];
  }
  return tsr_root_add(vm->heap, t->range, RANGE, TSR_ROOT_PRECISE, "torture", NULL) == TSR_OK &&
         tsr_stack_add(vm->heap, &t->stack, NULL) == TSR_OK;
}

static void end(torture *t) {
  while (t->open_scopes > 0) {
    close_scope(t);
  }
  for (size_t i = 0; i < HANDLES; i++) {
    tsr_handle_free(t->vm->heap, t->roots[i], NULL);
  }
  tsr_root_remove(t->vm->heap, t->range, NULL);
  tsr_stack_remove(t->vm->heap, &t->stack, NULL);
  t->epoch++;
  sweep_shadows(t);
}

static uint64_t from_environment(const char *name, uint64_t otherwise) {
  const char *text = getenv(name);
  return text != NULL ? strtoull(text, NULL, 0) : otherwise;
}

static uint64_t operations(void) {
  return from_environment("TESSERA_TORTURE_OPS", vm_stress != NULL ? 2000 : 30000);
}

static uint64_t first_seed(void) {
  uint64_t seed = from_environment("TESSERA_TORTURE_SEED", (uint64_t)time(NULL));
  printf("TESSERA_TORTURE_SEED=%llu TESSERA_TORTURE_OPS=%llu\n", (unsigned long long)seed,
         (unsigned long long)operations());
  fflush(stdout);
  return seed;
}

/* Runs a whole program; NULL, or what failed. */
static const char *run(testvm *vm, tsr_mutator *m, uint64_t seed, bool alone) {
  torture *t = malloc(sizeof *t);
  const char *failure = "roots";
  if (begin(t, vm, m, seed * 0x9e3779b97f4a7c15u | 1)) {
    t->alone = alone;
    bool ok = true;
    for (uint64_t i = operations(); i > 0 && ok; i--) {
      ok = step(t);
    }
    if (ok) collect_and_verify(t);
    failure = t->failure;
  }
  end(t);
  free(t);
  return failure;
}

START_TEST(torture_alone) {
  testvm vm;
  uint64_t seed = first_seed();
  for (unsigned i = 0; i < 3; i++) {
    vm_init(&vm);
    vm_pin(&vm, "heap_max", vm_collects ? "12M" : "256M");
    vm_start(&vm);
    const char *failure = run(&vm, vm.m, seed + i, true);
    ck_assert_msg(failure == NULL, "TESSERA_TORTURE_SEED=%llu: %s", (unsigned long long)(seed + i),
                  failure);
    vm_stop(&vm);
  }
}
END_TEST

static void torture_thread(vm_thread *self) {
  const char *failure = run(self->vm, self->m, *(uint64_t *)self->arg + self->index, false);
  if (failure != NULL) vm_expect_failed(self, __FILE__, __LINE__, failure);
}

START_TEST(torture_in_four_threads) {
  testvm vm;
  uint64_t seed = first_seed();
  vm_init(&vm);
  vm_pin(&vm, "heap_max", vm_collects ? "48M" : "512M");
  vm_start(&vm);
  vm_threads(&vm, 4, torture_thread, &seed);
  vm_stop(&vm);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, torture_alone);
  tcase_add_test(tests, torture_in_four_threads);
}

int main(void) {
  return vm_main("torture", add);
}
