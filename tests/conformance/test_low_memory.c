/*
 * A001-30, F50, F51. The ladder of an allocation that finds no memory: collections, reclaimers in their order, out_of_memory with the
 * emergency reserve, NULL. Every heap here is filled to the brim by its test.
 *
 * The VM keeps what it needs in one list and what it could do without, its caches, in others.
 */
#include "testvm.h"

#define CACHES    3u
#define STEPS     32u
#define CACHE     8000u /* pairs of a cache: 192 KiB */
#define MOST_KEPT 200000u

typedef struct scene {
  testvm vm;
  tsr_slot kept; /* a list, newest first */
  size_t kept_count;
  tsr_slot caches[CACHES];
  tsr_reclaimer *reclaimers[CACHES];
  char steps[STEPS +
             1]; /* what was called, in order: the caches' numbers, and ! for out_of_memory */
  uint64_t collections_then; /* when the last step began */
  size_t requested_bytes;
  size_t served_from_reserve;                         /* bytes that out_of_memory allocated */
  size_t object_bytes;                                /* of the objects that it tries to allocate */
  void (*meanwhile)(struct scene *s, tsr_mutator *m); /* in each callback */
} scene;

static scene *scene_of(testvm *vm) {
  return (scene *)(void *)vm;
}

static void note(scene *s, char step) {
  size_t count = strlen(s->steps);
  ck_assert_uint_lt(count, STEPS);
  s->steps[count] = step;
  s->collections_then = vm_stats(&s->vm).collections;
}

/* ---- the callbacks ---------------------------------------------------------------------------- */

static bool clear_cache(void *vm, tsr_mutator *m, void *context, size_t requested_bytes) {
  scene *s = scene_of(vm);
  tsr_slot *cache = context;
  note(s, (char)('1' + (cache - s->caches)));
  s->requested_bytes = requested_bytes;
  if (s->meanwhile != NULL) s->meanwhile(s, m);
  bool gives = cache->word != 0;
  cache->word = 0;
  return gives;
}

static void use_reserve(testvm *vm, tsr_mutator *m) {
  scene *s = scene_of(vm);
  note(s, '!');
  if (s->meanwhile != NULL) s->meanwhile(s, m);
  size_t reserve = s->vm.last_oom.reserve_bytes;
  s->served_from_reserve = 0;
  while (s->object_bytes > 0 && s->served_from_reserve + s->object_bytes <= reserve) {
    void *memory = tsr_alloc_default(m, s->object_bytes);
    if (memory == NULL) return;
    vm_init_filler(memory, s->object_bytes);
    s->served_from_reserve += s->object_bytes;
  }
}

/* ---- a heap, and how it fills -------------------------------------------------------------------- */

static void open_scene(scene *s, const char *heap_max) {
  *s = (scene){.object_bytes = 64};
  vm_init_calm(&s->vm);
  vm_alone(&s->vm); /* its tests fill it to the brim, and count collections */
  vm_pin(&s->vm, "heap_max", heap_max);
  s->vm.on_oom = use_reserve;
  vm_start(&s->vm);
  ck_assert_int_eq(tsr_root_add(s->vm.heap, &s->kept, 1, TSR_ROOT_PRECISE, "what is needed", NULL),
                   TSR_OK);
  ck_assert_int_eq(tsr_root_add(s->vm.heap, s->caches, CACHES, TSR_ROOT_PRECISE, "caches", NULL),
                   TSR_OK);
}

static void fill_caches(scene *s) {
  for (unsigned i = 0; i < CACHES; i++)
    ck_assert(vm_list(s->vm.m, &s->caches[i], CACHE, 0));
}

static void add_reclaimers(scene *s) {
  for (unsigned i = 0; i < CACHES; i++) {
    s->reclaimers[i] = tsr_reclaimer_add(s->vm.heap, clear_cache, &s->caches[i], NULL);
    ck_assert_ptr_nonnull(s->reclaimers[i]);
  }
}

static bool keep_one(scene *s) {
  tsr_ref pair = vm_new(s->vm.m, PAIR, 0, 0);
  if (pair == NULL) return false;
  ck_assert_uint_lt(s->kept_count, 64 * MOST_KEPT);
  vm_set(s->vm.m, pair, 1, FIXNUM(s->kept_count));
  vm_set(s->vm.m, pair, 2, s->kept.word);
  s->kept.word = vm_word(pair);
  s->kept_count++;
  return true;
}

static void assert_kept(scene *s) {
  uint64_t word = s->kept.word;
  for (size_t i = s->kept_count; i-- > 0; word = vm_get(s->vm.m, vm_ref(word), 2)) {
    if (word == 0 || vm_get(s->vm.m, vm_ref(word), 1) != FIXNUM(i))
      ck_abort_msg("object %zu of %zu is not what it was", i, s->kept_count);
  }
  ck_assert_uint_eq(word, 0);
}

/* Keeps objects until a callback has come. Returns whether that allocation was served. */
static bool keep_until_called(scene *s) {
  size_t steps = strlen(s->steps);
  bool served = true;
  while (served && strlen(s->steps) == steps)
    served = keep_one(s);
  return served;
}

static void close_scene(scene *s) {
  assert_kept(s);
  vm_take_ooms(&s->vm, NULL);
  s->kept.word = 0;
  s->kept_count = 0;
  memset(s->caches, 0, sizeof s->caches);
  s->vm.on_oom = NULL;
  vm_collect(&s->vm);
  tsr_stats stats = vm_stats(&s->vm);
  ck_assert_uint_le(stats.peak_committed_bytes, stats.heap_max_bytes);
  ck_assert_int_eq(tsr_heap_verify(s->vm.m, NULL), TSR_OK);
  ck_assert_int_eq(tsr_root_remove(s->vm.heap, &s->kept, NULL), TSR_OK);
  ck_assert_int_eq(tsr_root_remove(s->vm.heap, s->caches, NULL), TSR_OK);
  vm_stop(&s->vm);
}

/* ---- the ladder ----------------------------------------------------------------------------------- */

#define RESERVE (256 * KIB)

/*
 * First a cache is given up and the allocation is served; when there are no more caches, the reserve is
 * opened, once, and NULL comes; and so again, without a reserve.
 */
START_TEST(a001_30_caches_then_the_reserve_once_then_null) {
  scene s;
  open_scene(&s, "16M");
  ck_assert_int_eq(tsr_emergency_reserve_hold(s.vm.heap, RESERVE, NULL), TSR_OK);
  ck_assert_uint_ge(tsr_emergency_reserve(s.vm.heap), RESERVE);
  add_reclaimers(&s);
  fill_caches(&s);
  if (vm_collects) {
    for (unsigned i = 0; i < CACHES; i++) {
      ck_assert_msg(keep_until_called(&s), "cache %u did not help", i);
      ck_assert_uint_eq(s.requested_bytes, vm_size(PAIR, 0));
      ck_assert_uint_gt(vm_stats(&s.vm).collections, s.collections_then);
    }
    /* Those that had nothing left were asked first, each time. */
    ck_assert_str_eq(s.steps, "112123");
  }
  ck_assert_uint_eq(s.vm.oom_calls, 0);
  memset(s.steps, 0, sizeof s.steps);
  ck_assert(!keep_until_called(&s));
  ck_assert_str_eq(s.steps, "123!");
  ck_assert_uint_eq(s.vm.oom_calls, 1);
  ck_assert_uint_ge(s.vm.last_oom.reserve_bytes, RESERVE);
  ck_assert_uint_ge(s.served_from_reserve, RESERVE);
  ck_assert_uint_eq(tsr_emergency_reserve(s.vm.heap), 0);
  while (keep_one(&s)) /* what was left of it is the heap's again */
    continue;
  ck_assert_uint_eq(s.vm.oom_calls, 2);
  ck_assert_uint_eq(s.vm.last_oom.reserve_bytes, 0);
  ck_assert_uint_eq(s.served_from_reserve, 0);
  close_scene(&s);
}
END_TEST

/* Nobody is called while a collection helps, and none behind the one that did. */
START_TEST(reclaimers_are_called_only_where_collections_did_not_help) {
  scene s;
  open_scene(&s, "4M");
  add_reclaimers(&s);
  if (vm_collects) {
    vm_garbage(s.vm.m, 32 * MIB);
    ck_assert_str_eq(s.steps, "");
    fill_caches(&s);
    ck_assert(keep_until_called(&s));
    ck_assert_str_eq(s.steps, "1");
    ck_assert_uint_eq(s.caches[0].word, 0);
    ck_assert_uint_ne(s.caches[1].word, 0);
  }
  memset(s.caches, 0, sizeof s.caches);
  /* A larger object than there could be. */
  memset(s.steps, 0, sizeof s.steps);
  ck_assert_ptr_null(tsr_alloc(s.vm.m, 8 * MIB, 8, 0, TSR_DEFAULT));
  ck_assert_str_eq(s.steps, "!");
  /* Requests that want none of it, or not all. */
  while (keep_one(&s))
    continue;
  memset(s.steps, 0, sizeof s.steps);
  tsr_error error;
  size_t size = 1024 * KIB;
  ck_assert_ptr_null(tsr_alloc_with(s.vm.m, size, 8, 0, TSR_DEFAULT, TSR_ALLOC_NO_COLLECT, &error));
  ck_assert_str_eq(s.steps, "");
  ck_assert_ptr_null(
      tsr_alloc_with(s.vm.m, size, 8, 0, TSR_DEFAULT, TSR_ALLOC_NO_OOM_CALLBACK, &error));
  ck_assert_str_eq(s.steps, "123");
  close_scene(&s);
}
END_TEST

/* What the callbacks allocate is served from what is there, or not: no collection, no callback in a callback. */
static void allocate_much(scene *s, tsr_mutator *m) {
  uint64_t collections = vm_stats(&s->vm).collections;
  size_t steps = strlen(s->steps);
  unsigned served = 0;
  while (vm_new(m, BYTES, 0, 4000) != NULL)
    ck_assert_uint_lt(served++, 2000);
  ck_assert_ptr_null(vm_new(m, BYTES, 0, 300000));
  ck_assert_uint_eq(vm_stats(&s->vm).collections, collections);
  ck_assert_uint_eq(strlen(s->steps), steps);
  tsr_error error;
  ck_assert_int_eq(tsr_reserve(m, 4096, 64, &error), TSR_BUSY);
  tsr_memory_request *r = tsr_request_memory(s->vm.heap, 64, 64, &error);
  ck_assert_ptr_nonnull(r);
  ck_assert_int_eq(tsr_request_use(r, m, &error), TSR_BUSY);
  tsr_request_end(r);
}

START_TEST(callbacks_that_allocate_do_not_climb) {
  scene s;
  open_scene(&s, "2M");
  s.meanwhile = allocate_much;
  add_reclaimers(&s);
  ck_assert(!keep_until_called(&s));
  ck_assert_str_eq(s.steps, "123!");
  close_scene(&s);
}
END_TEST

/* One that collects itself, takes itself out and adds another behind the last. */
static bool replace_itself(void *vm, tsr_mutator *m, void *context, size_t requested_bytes) {
  scene *s = scene_of(vm);
  (void)context;
  (void)requested_bytes;
  note(s, 'r');
  if (vm_collects) ck_assert_int_eq(tsr_collect(m, NULL), TSR_OK);
  ck_assert_int_eq(tsr_reclaimer_remove(s->vm.heap, s->reclaimers[0], NULL), TSR_OK);
  s->reclaimers[0] = tsr_reclaimer_add(s->vm.heap, clear_cache, &s->caches[0], NULL);
  return false;
}

START_TEST(the_list_of_reclaimers_changes_under_way) {
  scene s;
  open_scene(&s, "2M");
  s.reclaimers[0] = tsr_reclaimer_add(s.vm.heap, replace_itself, NULL, NULL);
  s.reclaimers[1] = tsr_reclaimer_add(s.vm.heap, clear_cache, &s.caches[1], NULL);
  ck_assert(!keep_until_called(&s));
  ck_assert_str_eq(s.steps, "r21!");
  memset(s.steps, 0, sizeof s.steps);
  ck_assert_int_eq(tsr_reclaimer_remove(s.vm.heap, s.reclaimers[1], NULL), TSR_OK);
  ck_assert(!keep_one(&s));
  ck_assert_str_eq(s.steps, "1!");
  tsr_error error;
  ck_assert_int_eq(tsr_reclaimer_remove(s.vm.heap, s.reclaimers[1], &error), TSR_INVALID_ARGUMENT);
  ck_assert_int_eq(tsr_reclaimer_remove(s.vm.heap, NULL, &error), TSR_INVALID_ARGUMENT);
  ck_assert_ptr_null(tsr_reclaimer_add(s.vm.heap, NULL, NULL, &error));
  ck_assert_int_eq(error.status, TSR_INVALID_ARGUMENT);
  close_scene(&s);
}
END_TEST

/* ---- the reserve ----------------------------------------------------------------------------------- */

/* What another mutator is served without a collection. */
static size_t free_for_another(scene *s) {
  size_t bytes = 0;
  tsr_enter_native(s->vm.m);
  tsr_mutator *other = tsr_bind_mutator(s->vm.heap, &s->object_bytes, NULL);
  ck_assert_ptr_nonnull(other);
  for (void *memory;
       (memory = tsr_alloc_with(other, 64, 8, 0, TSR_DEFAULT, TSR_ALLOC_NO_COLLECT, NULL)) != NULL;
       bytes += 64)
    vm_init_filler(memory, 64);
  ck_assert_int_eq(tsr_unbind_mutator(other, NULL), TSR_OK);
  tsr_leave_native(s->vm.m);
  return bytes;
}

static size_t fill_with_reserve(size_t reserve, unsigned *ooms) {
  scene s;
  open_scene(&s, "8M");
  s.object_bytes = 0;
  if (reserve > 0) ck_assert_int_eq(tsr_emergency_reserve_hold(s.vm.heap, reserve, NULL), TSR_OK);
  while (keep_one(&s))
    continue;
  size_t bytes = s.kept_count * vm_size(PAIR, 0);
  *ooms = s.vm.oom_calls;
  size_t free_bytes = free_for_another(&s);
  ck_assert_msg(free_bytes >= reserve && free_bytes <= 2 * reserve + 64 * KIB,
                "%zu bytes behind a reserve of %zu that was not used", free_bytes, reserve);
  close_scene(&s);
  return bytes;
}

START_TEST(nothing_but_out_of_memory_uses_the_reserve) {
  unsigned ooms;
  size_t without = fill_with_reserve(0, &ooms);
  size_t with = fill_with_reserve(MIB, &ooms);
  ck_assert_uint_eq(ooms, 1);
  /* What is promoted lies in other blocks than what is not: some more are filled in part. */
  size_t filled_in_part = vm_is_generational() ? 256 * KIB : 0;
  ck_assert_msg(with + MIB - 256 * KIB <= without && with + 2 * MIB + filled_in_part >= without,
                "%zu bytes without a reserve, %zu with 1 MiB", without, with);
}
END_TEST

static size_t share(testvm *vm, const char *name) {
  tsr_memory_share shares[64];
  size_t count = tsr_heap_memory(vm->heap, shares, 64);
  for (size_t i = 0; i < count; i++) {
    if (strcmp(shares[i].name, name) == 0) return shares[i].bytes;
  }
  ck_abort_msg("no share is called %s", name);
}

START_TEST(a_reserve_is_held_replaced_and_given_up) {
  scene s;
  open_scene(&s, "8M");
  tsr_error error;
  uint64_t committed = vm_stats(&s.vm).committed_bytes;
  ck_assert_int_eq(tsr_emergency_reserve_hold(s.vm.heap, MIB, &error), TSR_OK);
  ck_assert_uint_ge(share(&s.vm, "reserve"), MIB);
  ck_assert_uint_eq(vm_stats(&s.vm).committed_bytes, committed + share(&s.vm, "reserve"));
  ck_assert_uint_eq(tsr_emergency_reserve(s.vm.heap), MIB);
  ck_assert_int_eq(tsr_emergency_reserve_hold(s.vm.heap, 1, &error), TSR_OK);
  ck_assert_uint_ge(tsr_emergency_reserve(s.vm.heap), 1);
  ck_assert_uint_lt(tsr_emergency_reserve(s.vm.heap), MIB);
  static const size_t impossible[] = {9 * MIB, SIZE_MAX, SIZE_MAX / 2, 8 * MIB};
  for (size_t i = 0; i < sizeof impossible / sizeof impossible[0]; i++) {
    size_t before = tsr_emergency_reserve(s.vm.heap);
    ck_assert_int_eq(tsr_emergency_reserve_hold(s.vm.heap, impossible[i], &error),
                     TSR_OUT_OF_MEMORY);
    ck_assert_uint_eq(tsr_emergency_reserve(s.vm.heap), before);
  }
  ck_assert_int_eq(tsr_emergency_reserve_hold(s.vm.heap, 0, &error), TSR_OK);
  ck_assert_uint_eq(share(&s.vm, "reserve"), 0);
  ck_assert_uint_eq(vm_stats(&s.vm).committed_bytes, committed);
  /* Full of what lives, the heap has no room for one; what dies makes room again. */
  while (keep_one(&s))
    continue;
  ck_assert_int_eq(tsr_emergency_reserve_hold(s.vm.heap, MIB, &error), TSR_OUT_OF_MEMORY);
  if (vm_collects) {
    assert_kept(&s);
    s.kept.word = 0;
    s.kept_count = 0;
    vm_collect(&s.vm);
    ck_assert_int_eq(tsr_emergency_reserve_hold(s.vm.heap, MIB, &error), TSR_OK);
    s.served_from_reserve = 0;
    while (keep_one(&s))
      continue;
    ck_assert_uint_ge(s.served_from_reserve, MIB);
  }
  close_scene(&s);
}
END_TEST

/* A smaller one takes the place of a larger in a heap that is full. */
START_TEST(a_smaller_reserve_needs_no_room) {
  scene s;
  open_scene(&s, "8M");
  ck_assert_int_eq(tsr_emergency_reserve_hold(s.vm.heap, MIB, NULL), TSR_OK);
  for (void *m;
       (m = tsr_alloc_with(s.vm.m, 64 * KIB, 8, 0, TSR_LARGE, TSR_ALLOC_NO_COLLECT, NULL));)
    vm_init_filler(m, 64 * KIB);
  tsr_error error = {0};
  ck_assert_msg(tsr_emergency_reserve_hold(s.vm.heap, MIB / 2, &error) == TSR_OK, "%s",
                error.message);
  ck_assert_uint_eq(tsr_emergency_reserve(s.vm.heap), MIB / 2);
  close_scene(&s);
}
END_TEST

/* Tables take what spaces leave them, but nothing of the reserve. */
START_TEST(tables_that_fill_the_heap_leave_the_reserve) {
  scene s;
  open_scene(&s, "8M");
  ck_assert_int_eq(tsr_emergency_reserve_hold(s.vm.heap, RESERVE, NULL), TSR_OK);
  while (tsr_handle_new(s.vm.heap, 0, TSR_STRONG, NULL) != NULL)
    continue;
  s.vm.oom_calls = 0;
  while (keep_one(&s))
    continue;
  ck_assert_uint_eq(s.vm.oom_calls, 1);
  ck_assert_uint_ge(s.vm.last_oom.reserve_bytes, RESERVE);
  ck_assert_uint_ge(s.served_from_reserve, RESERVE);
  close_scene(&s);
}
END_TEST

/* ---- many mutators that find no memory at the same time --------------------------------------------- */

#define THREADS 6u

typedef struct crowd {
  testvm vm;
  atomic_uint calls, opened;
  atomic_size_t promised, served;
  pthread_barrier_t begin; /* nobody fills the heap before each has what takes memory to be there */
} crowd;

static void use_reserve_in_crowd(void *data, tsr_mutator *m, const tsr_oom *oom) {
  crowd *c = data;
  atomic_fetch_add(&c->calls, 1);
  if (oom->reserve_bytes == 0) return;
  atomic_fetch_add(&c->opened, 1);
  atomic_fetch_add(&c->promised, oom->reserve_bytes);
  size_t served = 0;
  for (void *memory; served < oom->reserve_bytes; served += 64) {
    memory = tsr_alloc_default(m, 64);
    if (memory == NULL) break;
    vm_init_filler(memory, 64);
  }
  atomic_fetch_add(&c->served, served);
}

static void fill_together(vm_thread *self) {
  crowd *c = self->arg;
  tsr_slot *head = tsr_local(self->m, 0);
  vm_wait(self->m, &c->begin);
  EXPECT(self, head != NULL);
  for (tsr_ref pair; (pair = vm_new(self->m, PAIR, 0, 0)) != NULL; head->word = vm_word(pair)) {
    vm_set(self->m, pair, 1, FIXNUM(1));
    vm_set(self->m, pair, 2, head->word);
  }
}

/* One of them opens the reserve, and the others, who want every block that they can get, get none of it. */
START_TEST(the_reserve_is_one_mutators_alone) {
  crowd c = {.calls = 0};
  vm_init_calm(&c.vm);
  vm_alone(&c.vm); /* its threads are the others */
  c.vm.binding.out_of_memory = use_reserve_in_crowd;
  vm_pin(&c.vm, "heap_max", VM_SANITIZED || vm_verifies ? "4M" : "8M");
  vm_start(&c.vm);
  ck_assert_int_eq(tsr_emergency_reserve_hold(c.vm.heap, 1 * MIB, NULL), TSR_OK);
  pthread_barrier_init(&c.begin, NULL, THREADS);
  vm_threads(&c.vm, THREADS, fill_together, &c);
  pthread_barrier_destroy(&c.begin);
  ck_assert_uint_ge(c.calls, THREADS);
  ck_assert_uint_eq(c.opened, 1);
  ck_assert_uint_ge(c.promised, 1 * MIB);
  ck_assert_uint_eq(c.served, c.promised);
  tsr_stats stats = vm_stats(&c.vm);
  ck_assert_uint_le(stats.peak_committed_bytes, stats.heap_max_bytes);
  vm_stop(&c.vm);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, the_reserve_is_one_mutators_alone);
  if (vm_wants_threads()) return;
  tcase_add_test(tests, a001_30_caches_then_the_reserve_once_then_null);
  tcase_add_test(tests, reclaimers_are_called_only_where_collections_did_not_help);
  tcase_add_test(tests, callbacks_that_allocate_do_not_climb);
  tcase_add_test(tests, the_list_of_reclaimers_changes_under_way);
  tcase_add_test(tests, nothing_but_out_of_memory_uses_the_reserve);
  tcase_add_test(tests, a_reserve_is_held_replaced_and_given_up);
  tcase_add_test(tests, a_smaller_reserve_needs_no_room);
  tcase_add_test(tests, tables_that_fill_the_heap_leave_the_reserve);
}

int main(void) {
  return vm_main("low_memory", add);
}
