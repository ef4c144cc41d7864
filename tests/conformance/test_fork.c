/*
 * fork() in a process that has heaps and threads.
 *
 * The parent has four mutators beside its own: two in managed loops, one in native code with handles,
 * cached pairs and objects in its buffers, one that comes and goes. What they build for others hangs
 * on global handles in links (see below) that carry their own check sums, in all placements. Each
 * child finds those graphs whole, allocates over everything that looks free, collects, and finds
 * them whole again.
 *
 * "Forgotten, not touched": mutators and pairs that the VM keeps in memory of its own lie in pages
 * that the child makes inaccessible before it calls tsr_fork_child(). Children start no threads but those
 * that collect for them; under a sanitizer, whose own locks and tables of threads a child inherits as
 * they were, one thread collects everywhere.
 */
#include "own_threads.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FORKS          10
#define WORKERS        4
#define CHAINS         8 /* global handles of each worker */
#define CHAIN_LENGTH   12
#define OWN_BYTES      ((size_t)4096) /* the pages that a worker keeps its mutator and pairs in */
#define WATCHDOG_S     300u

/* How much a worker builds where nothing is ever freed, and how many immortal links anywhere. */
#define LINKS_NOGC     400u
#define LINKS_IMMORTAL 60u

/* ---- links ----------------------------------------------------------------------------------- */

/*
 * A link is a vector (next, FIXNUM(n), payload, FIXNUM(~n)) whose next has the number n - 1; number 0
 * ends the chain. The payload is a BYTES of a length and content that n tells.
 */
static size_t payload_count(uint64_t n) {
  return n % 9 == 8 ? 20 * KIB : 16 + n * 37 % 700;
}

/* Puts link `n` in front of the chain, which ends with n - 1. */
static bool push_link(tsr_mutator *m, tsr_slot *chain, uint64_t n, tsr_semantics of_link,
                      tsr_semantics of_payload) {
  tsr_scope scope;
  tsr_scope_open(m, &scope);
  tsr_slot *payload = tsr_local(m, 0);
  payload->word = vm_word(vm_new_with(m, BYTES, 1, payload_count(n), of_payload | TSR_LEAF));
  if (payload->word != 0) vm_fill(vm_ref(payload->word), n);
  tsr_ref link = payload->word != 0 ? vm_new_with(m, VECTOR, 1, 4, of_link) : NULL;
  if (link != NULL) {
    vm_set(m, link, 2, chain->word);
    vm_set(m, link, 3, FIXNUM(n));
    vm_set(m, link, 4, payload->word);
    vm_set(m, link, 5, FIXNUM(~n));
    chain->word = vm_word(link);
  }
  tsr_scope_close(m, &scope);
  return link != NULL;
}

static bool chain_holds(tsr_mutator *m, uint64_t word) {
  if (word == 0) return true;
  uint64_t n = vm_get(m, vm_ref(word), 3) >> 3;
  for (;; n--) {
    tsr_ref link = vm_ref(word);
    if (link == NULL || vm_kind_of(link) != VECTOR || vm_count_of(link) != 4) return false;
    if (vm_get(m, link, 3) != FIXNUM(n) || vm_get(m, link, 5) != FIXNUM(~n)) return false;
    tsr_ref payload = vm_ref(vm_get(m, link, 4));
    if (payload == NULL || vm_kind_of(payload) != BYTES) return false;
    if (vm_count_of(payload) != payload_count(n) || !vm_filled(payload, n)) return false;
    word = vm_get(m, link, 2);
    if (n == 0) return word == 0;
  }
}

/* ---- the workers ----------------------------------------------------------------------------- */

typedef struct parent parent;

/* What a worker keeps in pages of its own: storage 2 and storage 3. */
typedef struct own_pages {
  tsr_mutator mutator;
  tsr_bump_pointer cached[3];
} own_pages;

typedef struct worker {
  parent *of;
  pthread_t id;
  unsigned index;
  own_pages *own;
  tsr_mutator *m;
  tsr_slot *chains[CHAINS];
  unsigned links, immortals;
  uint64_t random;
  const char *_Atomic failure;
} worker;

struct parent {
  testvm vm;
  own_threads own; /* of a VM that stops its threads by itself */
  bool stops_by_itself;
  worker workers[WORKERS];
  atomic_bool ending;
  atomic_uint ready;
  tsr_slot *chains[CHAINS]; /* the forking thread's own */
};

/* Native regions and polls, under either protocol. */
static void go_native(worker *w) {
  if (w->of->stops_by_itself) {
    own_enter_native(&w->of->own);
  } else {
    tsr_enter_native(w->m);
  }
}

static void go_managed(worker *w) {
  if (w->of->stops_by_itself) {
    own_leave_native(&w->of->own);
  } else {
    tsr_leave_native(w->m);
  }
}

static void poll_safepoint(worker *w) {
  if (w->of->stops_by_itself) {
    own_safepoint(&w->of->own);
  } else {
    tsr_safepoint(w->m);
  }
}

static tsr_semantics some_placement(worker *w) {
  tsr_semantics placement = (tsr_semantics)(vm_random(&w->random) % TSR_PLACEMENTS);
  if (placement == TSR_LARGE && vm_random(&w->random) % 4 != 0) placement = TSR_NON_MOVING;
  if (placement != TSR_IMMORTAL) return placement;
  return w->immortals++ < LINKS_IMMORTAL ? TSR_IMMORTAL : TSR_DEFAULT;
}

/* One more link on one of the chains; a chain that is long enough begins anew. */
static bool build(worker *w) {
  if (!vm_collects && w->links >= LINKS_NOGC) return true;
  w->links++;
  tsr_slot *chain = w->chains[vm_random(&w->random) % CHAINS];
  uint64_t n = chain->word == 0 ? 0 : (vm_get(w->m, vm_ref(chain->word), 3) >> 3) + 1;
  if (n == CHAIN_LENGTH) {
    chain->word = 0;
    n = 0;
  }
  return push_link(w->m, chain, n, some_placement(w), some_placement(w));
}

static bool own_chains_hold(worker *w) {
  for (unsigned i = 0; i < CHAINS; i++) {
    if (!chain_holds(w->m, w->chains[i]->word)) return false;
  }
  return true;
}

static bool use_cached_pairs(worker *w) {
  for (unsigned i = 0; i < 3; i++) {
    void *memory = tsr_alloc_cached(w->m, &w->own->cached[i], 24);
    if (memory == NULL) return false;
    vm_init_object(memory, PAIR, 2, 0);
  }
  return true;
}

static void wait_a_little(void) {
  struct timespec wait = {0, 200 * 1000};
  nanosleep(&wait, NULL);
}

/* Worker 0 and 1: managed all the time. */
static bool managed_loop(worker *w) {
  for (unsigned i = 0; i < 20; i++) {
    if (!build(w)) return false;
    poll_safepoint(w);
  }
  return vm_collects ? use_cached_pairs(w) : true;
}

/* Worker 2: in native code, holding a buffer in every pair, handles and a large object. */
static bool native_holder(worker *w, tsr_slot *kept) {
  if (vm_collects || kept->word == 0) {
    kept->word = vm_word(vm_new(w->m, BYTES, 3, 100 * KIB));
    if (kept->word == 0 || !use_cached_pairs(w)) return false;
  }
  for (unsigned i = 0; i < TSR_PLACEMENTS; i++) {
    if (!build(w)) return false;
  }
  go_native(w);
  for (unsigned i = 0; i < 20 && !atomic_load(&w->of->ending); i++)
    wait_a_little();
  go_managed(w);
  return vm_kind_of(vm_ref(kept->word)) == BYTES && vm_tag_of(vm_ref(kept->word)) == 3;
}

/* Worker 3: in and out. */
static bool native_and_back(worker *w) {
  for (unsigned i = 0; i < 10; i++) {
    if (!build(w)) return false;
    go_native(w);
    sched_yield();
    go_managed(w);
  }
  return true;
}

static bool work(worker *w, tsr_slot *kept) {
  switch (w->index) {
  case 2:
    return native_holder(w, kept);
  case 3:
    return native_and_back(w);
  default:
    return managed_loop(w);
  }
}

static void worker_open(worker *w) {
  tsr_heap *heap = w->of->vm.heap;
  if (tsr_bind_mutator_in(heap, &w->own->mutator, w, NULL) != TSR_OK) w->failure = "bind";
  w->m = &w->own->mutator;
  if (w->of->stops_by_itself) own_attach(&w->of->own, w->m, w->index + 1);
  for (unsigned i = 0; i < 3; i++) {
    tsr_status status = tsr_register_bump_pointer(w->m, &w->own->cached[i], NULL);
    if (status != TSR_OK) w->failure = "register";
  }
}

static void worker_close(worker *w) {
  for (unsigned i = 0; i < 3; i++)
    tsr_unregister_bump_pointer(w->m, &w->own->cached[i], NULL);
  tsr_status status = w->of->stops_by_itself ? own_unbind(&w->of->own, w->m, w->index + 1)
                                             : tsr_unbind_mutator(w->m, NULL);
  if (status != TSR_OK && w->failure == NULL) w->failure = "unbind";
}

static void *worker_main(void *arg) {
  worker *w = arg;
  worker_open(w);
  tsr_scope scope;
  tsr_scope_open(w->m, &scope);
  tsr_slot *kept = tsr_local(w->m, 0);
  for (unsigned round = 0; w->failure == NULL && !atomic_load(&w->of->ending); round++) {
    if (!work(w, kept)) w->failure = "an allocation failed, or an object is not what it was";
    if (round == 2) atomic_fetch_add(&w->of->ready, 1);
    if (!own_chains_hold(w)) w->failure = "a chain is torn";
    poll_safepoint(w);
  }
  atomic_fetch_add(&w->of->ready, 1); /* whoever waits for this one shall see its failure */
  tsr_scope_close(w->m, &scope);
  worker_close(w);
  return NULL;
}

/* ---- the parent ------------------------------------------------------------------------------- */

/* A thread with a mutator waits in native code, as all do. */
static void main_native(parent *p, bool enter) {
  if (p->stops_by_itself) {
    if (enter) {
      own_enter_native(&p->own);
    } else {
      own_leave_native(&p->own);
    }
  } else if (enter) {
    tsr_enter_native(p->vm.m);
  } else {
    tsr_leave_native(p->vm.m);
  }
}

static void parent_start_worker(parent *p, unsigned index) {
  worker *w = &p->workers[index];
  *w = (worker){.of = p, .index = index, .random = 77u + index};
  w->own = mmap(NULL, OWN_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ck_assert(w->own != MAP_FAILED);
  for (unsigned i = 0; i < CHAINS; i++) {
    w->chains[i] = tsr_handle_new(p->vm.heap, 0, TSR_STRONG, NULL);
    ck_assert_ptr_nonnull(w->chains[i]);
  }
  ck_assert_int_eq(pthread_create(&w->id, NULL, worker_main, w), 0);
}

static void parent_open(parent *p, bool stops_by_itself, const char *verify) {
  memset(p, 0, sizeof *p);
  alarm(WATCHDOG_S);
  p->stops_by_itself = stops_by_itself;
  vm_init_calm(&p->vm);
  vm_alone(&p->vm); /* children have no company: its threads are not there */
  vm_pin(&p->vm, "heap_max", "128M");
  vm_pin(&p->vm, "verify", verify);
  if (stops_by_itself) own_install(&p->own, &p->vm);
  vm_start(&p->vm);
  if (stops_by_itself) own_attach(&p->own, p->vm.m, 0);
  p->own.mutators[0] = NULL; /* who forks keeps its buffers: not looked at when all resume */
  for (unsigned i = 0; i < CHAINS; i++) {
    p->chains[i] = tsr_handle_new(p->vm.heap, 0, TSR_STRONG, NULL);
    for (uint64_t n = 0; n < CHAIN_LENGTH; n++) {
      ck_assert(push_link(p->vm.m, p->chains[i], n, (tsr_semantics)(n % TSR_PLACEMENTS),
                          (tsr_semantics)(i % TSR_PLACEMENTS)));
    }
  }
  for (unsigned i = 0; i < WORKERS; i++)
    parent_start_worker(p, i);
  main_native(p, true);
  while (atomic_load(&p->ready) < WORKERS)
    wait_a_little();
  main_native(p, false);
}

static void parent_close(parent *p) {
  atomic_store(&p->ending, true);
  main_native(p, true);
  for (unsigned i = 0; i < WORKERS; i++)
    pthread_join(p->workers[i].id, NULL);
  main_native(p, false);
  for (unsigned i = 0; i < WORKERS; i++) {
    const worker *w = &p->workers[i];
    ck_assert_msg(w->failure == NULL, "worker %u: %s", i, w->failure);
    munmap(w->own, OWN_BYTES);
  }
  if (p->stops_by_itself) {
    own_detach(&p->own, 0);
    own_destroy(&p->own);
  }
  vm_stop(&p->vm);
}

/* Every graph that hangs on a global handle, the workers' too: only while they stand still. */
static bool all_chains_hold(parent *p) {
  for (unsigned i = 0; i < CHAINS; i++) {
    if (!chain_holds(p->vm.m, p->chains[i]->word)) return false;
    for (unsigned w = 0; w < WORKERS; w++) {
      if (!chain_holds(p->vm.m, p->workers[w].chains[i]->word)) return false;
    }
  }
  return true;
}

static bool parents_chains_hold(parent *p) {
  for (unsigned i = 0; i < CHAINS; i++) {
    if (!chain_holds(p->vm.m, p->chains[i]->word)) return false;
  }
  return true;
}

static void parent_goes_on(parent *p) {
  ck_assert(parents_chains_hold(p));
  for (unsigned i = 0; i < 20; i++) {
    tsr_ref object = vm_new_with(p->vm.m, BYTES, 4, 500, (tsr_semantics)(i % 2 == 0 ? 0 : 3));
    ck_assert_ptr_nonnull(object);
  }
  for (unsigned w = 0; w < WORKERS; w++) {
    const char *failure = p->workers[w].failure;
    ck_assert_msg(failure == NULL, "worker %u: %s", w, failure);
  }
}

/* ---- the child -------------------------------------------------------------------------------- */

/* Check's assertions belong to the parent; a child says what failed and ends. */
#define CHILD(condition)                                                                           \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      fprintf(stderr, "%s:%d: in the child: %s\n", __FILE__, __LINE__, #condition);                \
      fflush(stderr);                                                                              \
      _exit(EXIT_FAILURE);                                                                         \
    }                                                                                              \
  } while (0)

static void child_verifies(tsr_mutator *m) {
  tsr_error error = {0};
  tsr_status status = tsr_heap_verify(m, &error);
  if (status != TSR_OK) fprintf(stderr, "%s\n", error.message);
  CHILD(status == TSR_OK);
}

static void child_collects(parent *p) {
  tsr_status status = tsr_collect(p->vm.m, NULL);
  CHILD(status == (vm_collects ? TSR_OK : TSR_UNSUPPORTED));
}

/* The VM's own memory of the threads that are not there. */
static void child_hides_pages(parent *p) {
  for (unsigned w = 0; w < WORKERS; w++) {
    CHILD(mprotect(p->workers[w].own, OWN_BYTES, PROT_NONE) == 0);
  }
}

/* The VM's own list of threads, before tsr_fork_child(): only this thread is left. */
static void child_resets_threads(parent *p) {
  if (!p->stops_by_itself) return;
  pthread_mutex_init(&p->own.lock, NULL);
  pthread_cond_init(&p->own.changed, NULL);
  memset(p->own.mutators, 0, sizeof p->own.mutators);
  p->own.running = 1;
  p->own.parked = 0;
  atomic_store(&p->own.stopping, false);
}

/* Overwrites what is free: garbage in every placement, each byte of it set. */
static void child_allocates(parent *p, unsigned objects) {
  for (unsigned i = 0; i < objects; i++) {
    tsr_semantics placement = (tsr_semantics)(i % TSR_PLACEMENTS);
    size_t count = i % 50 == 0 ? 30 * KIB : 8 + i * 29 % 900;
    if (placement == TSR_LARGE && i % 20 != 1) placement = TSR_DEFAULT;
    tsr_ref object = vm_new_with(p->vm.m, BYTES, 5, count, placement);
    CHILD(object != NULL);
    memset(vm_slot(object, 2), 0xee, count);
  }
}

static void find_lost_object(void *context, tsr_ref object, size_t size) {
  (void)size;
  if (vm_kind_of(object) == BYTES && vm_tag_of(object) == 3) ++*(size_t *)context;
}

/* What only the handle scopes of others kept alive goes at the first collection. */
static void child_forgets_scopes(parent *p) {
  size_t lost = 0;
  CHILD(tsr_enumerate_objects(p->vm.m, find_lost_object, &lost, NULL) == TSR_OK);
  CHILD(!vm_collects || lost == 0);
}

static void child_binds_another(parent *p) {
  int identity;
  tsr_mutator *second = tsr_bind_mutator(p->vm.heap, &identity, NULL);
  CHILD(second != NULL);
  tsr_enter_native(p->vm.m);
  if (p->stops_by_itself) p->own.running--; /* no other thread is there */
  if (p->stops_by_itself) own_attach(&p->own, second, 1);
  for (unsigned i = 0; i < 100; i++) {
    CHILD(vm_new_with(second, PAIR, 6, 0,
                      (tsr_semantics)(i % 2 == 0 ? TSR_DEFAULT : TSR_NON_MOVING)));
  }
  CHILD(tsr_collect(second, NULL) == (vm_collects ? TSR_OK : TSR_UNSUPPORTED));
  CHILD(vm_new(second, PAIR, 6, 0) != NULL);
  tsr_status status =
      p->stops_by_itself ? own_unbind(&p->own, second, 1) : tsr_unbind_mutator(second, NULL);
  CHILD(status == TSR_OK);
  if (p->stops_by_itself) p->own.running++;
  tsr_leave_native(p->vm.m);
}

static void child_uses_everything(parent *p) {
  tsr_slot *handle = tsr_handle_new(p->vm.heap, 0, TSR_STRONG, NULL);
  CHILD(handle != NULL);
  CHILD(push_link(p->vm.m, handle, 0, TSR_DEFAULT, TSR_NON_MOVING));
  tsr_layout layout = {TSR_LAYOUT_INIT, .name = "of the child", .kind = TSR_LAYOUT_FIXED,
                       .fixed_bytes = 16};
  CHILD(tsr_layout_register(p->vm.heap, &layout, NULL) != 0);
  tsr_slot slot = {0};
  CHILD(tsr_root_add(p->vm.heap, &slot, 1, TSR_ROOT_PRECISE, "of the child", NULL) == TSR_OK);
  CHILD(tsr_root_remove(p->vm.heap, &slot, NULL) == TSR_OK);
  CHILD(chain_holds(p->vm.m, handle->word));
  CHILD(tsr_handle_free(p->vm.heap, handle, NULL) == TSR_OK);
}

static void child_checks_stats(parent *p) {
  tsr_stats stats = {.size = sizeof stats};
  CHILD(tsr_heap_stats(p->vm.heap, &stats, NULL) == TSR_OK);
  CHILD(stats.mutators == 1);
  tsr_memory_share shares[32];
  size_t count = tsr_heap_memory(p->vm.heap, shares, 32);
  uint64_t sum = 0;
  for (size_t i = 0; i < count && i < 32; i++)
    sum += shares[i].bytes;
  CHILD(sum == stats.committed_bytes);
}

static void child_waits_for(pid_t grandchild) {
  int status = 0;
  while (waitpid(grandchild, &status, 0) < 0)
    CHILD(errno == EINTR);
  CHILD(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS);
}

static void child_lives(parent *p) {
  alarm(WATCHDOG_S);
  child_hides_pages(p);
  child_resets_threads(p);
  tsr_fork_child(p->vm.m);
  child_checks_stats(p);
  child_verifies(p->vm.m);
  CHILD(all_chains_hold(p));
  child_allocates(p, 200);
  CHILD(all_chains_hold(p));
  child_collects(p);
  child_verifies(p->vm.m);
  CHILD(all_chains_hold(p));
  child_forgets_scopes(p);
  child_allocates(p, 200);
  child_uses_everything(p);
  child_binds_another(p);
}

static _Noreturn void child_ends(parent *p) {
  child_allocates(p, 100);
  child_collects(p);
  CHILD(all_chains_hold(p));
  child_verifies(p->vm.m);
  if (p->stops_by_itself) own_detach(&p->own, 0);
  CHILD(atomic_load(&p->vm.errors) == 0);
  CHILD(tsr_unbind_mutator(p->vm.m, NULL) == TSR_OK);
  CHILD(tsr_heap_destroy(p->vm.heap, NULL) == TSR_OK);
  _exit(EXIT_SUCCESS);
}

/* From fork() on: the whole of a child's life. `nested`: so many generations follow. */
static _Noreturn void child_main(parent *p, unsigned nested) {
  child_lives(p);
  while (nested-- > 0) {
    CHILD(tsr_fork_prepare(p->vm.m, NULL) == TSR_OK);
    pid_t grandchild = fork();
    CHILD(grandchild >= 0);
    if (grandchild != 0) {
      tsr_fork_parent(p->vm.m);
      child_waits_for(grandchild);
      break;
    }
    child_lives(p);
  }
  child_ends(p);
}

/* One fork; the child has ended well when this returns. */
static void fork_once(parent *p, unsigned nested) {
  tsr_error error = {0};
  tsr_status status = tsr_fork_prepare(p->vm.m, &error);
  ck_assert_msg(status == TSR_OK, "tsr_fork_prepare: %s", error.message);
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) child_main(p, nested);
  tsr_fork_parent(p->vm.m);
  ck_assert_int_gt(child, 0);
  parent_goes_on(p);
  main_native(p, true);
  int ended = 0;
  while (waitpid(child, &ended, 0) < 0)
    ck_assert_int_eq(errno, EINTR);
  main_native(p, false);
  ck_assert_msg(WIFEXITED(ended) && WEXITSTATUS(ended) == EXIT_SUCCESS, "child: %s %d",
                WIFSIGNALED(ended) ? "signal" : "exit",
                WIFSIGNALED(ended) ? WTERMSIG(ended) : WEXITSTATUS(ended));
}

START_TEST(children_of_a_process_with_threads) {
  static parent p;
  parent_open(&p, false, "off");
  for (unsigned i = 0; i < FORKS; i++) {
    fork_once(&p, 0);
    if (vm_collects && i % 3 == 0) vm_collect(&p.vm);
  }
  parent_close(&p);
}
END_TEST

START_TEST(children_of_a_process_that_verifies) {
  static parent p;
  parent_open(&p, false, "on");
  for (unsigned i = 0; i < 3; i++)
    fork_once(&p, 0);
  parent_close(&p);
}
END_TEST

START_TEST(children_of_a_vm_that_stops_its_threads_itself) {
  static parent p;
  parent_open(&p, true, "off");
  for (unsigned i = 0; i < 5; i++) {
    fork_once(&p, i % 2);
    vm_collect(&p.vm);
  }
  parent_close(&p);
  ck_assert_uint_eq(p.own.stops, p.own.resumes);
  ck_assert_uint_eq(p.own.pairs_left, 0);
}
END_TEST

START_TEST(children_have_children) {
  static parent p;
  parent_open(&p, false, "off");
  for (unsigned i = 0; i < 3; i++)
    fork_once(&p, 2);
  parent_close(&p);
}
END_TEST

/* ---- where fork() fails --------------------------------------------------------------------- */

START_TEST(a_fork_that_failed_leaves_everything_as_it_was) {
  static parent p;
  parent_open(&p, false, "off");
  uint64_t collections = vm_stats(&p.vm).collections;
  for (unsigned i = 0; i < 100; i++) {
    ck_assert_int_eq(tsr_fork_prepare(p.vm.m, NULL), TSR_OK);
    tsr_fork_parent(p.vm.m);
    parent_goes_on(&p);
    tsr_safepoint(p.vm.m);
  }
  ck_assert(vm_collects || vm_stats(&p.vm).collections == collections);
  ck_assert_uint_eq(vm_stats(&p.vm).mutators, 1 + WORKERS);
  ck_assert_int_eq(tsr_heap_verify(p.vm.m, NULL), TSR_OK);
  fork_once(&p, 0);
  parent_close(&p);
}
END_TEST

START_TEST(prepare_alone_is_no_collection) {
  testvm vm;
  vm_open(&vm, "8M");
  tsr_scope scope;
  tsr_scope_open(vm.m, &scope);
  tsr_slot *list = tsr_local(vm.m, 0);
  ck_assert(vm_list(vm.m, list, 1000, 0));
  uint64_t word = list->word;
  for (unsigned i = 0; i < 50; i++) {
    ck_assert_int_eq(tsr_fork_prepare(vm.m, NULL), TSR_OK);
    tsr_fork_parent(vm.m);
    ck_assert_ptr_nonnull(vm_new(vm.m, PAIR, 0, 0));
  }
  ck_assert_uint_eq(vm.ended, 0);
  ck_assert_uint_eq(list->word, word);
  ck_assert(vm_list_holds(vm.m, list->word, 1000, 0));
  ck_assert_uint_eq(vm_enumerate(vm.m).objects, 1050);
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}
END_TEST

/* ---- errors ---------------------------------------------------------------------------------- */

START_TEST(prepare_is_refused_in_native_code) {
  testvm vm;
  vm_open(&vm, "8M");
  tsr_enter_native(vm.m);
  tsr_error error = {0};
  ck_assert_int_eq(tsr_fork_prepare(vm.m, &error), TSR_BUSY);
  ck_assert_int_eq(error.status, TSR_BUSY);
  ck_assert(error.message[0] != 0);
  ck_assert_int_eq(tsr_fork_prepare(vm.m, NULL), TSR_BUSY);
  tsr_leave_native(vm.m);
  ck_assert_uint_eq(vm_take_errors(&vm, NULL), 0);
  vm_collect(&vm); /* nothing is held */
  ck_assert_int_eq(tsr_fork_prepare(vm.m, &error), TSR_OK);
  tsr_fork_parent(vm.m);
  vm_stop(&vm);
}
END_TEST

START_TEST(prepare_needs_mutators_that_can_be_stopped) {
  testvm vm;
  vm_init_calm(&vm);
  vm_alone(&vm); /* mutators that cannot be stopped have no company */
  vm.binding.does = 0;
  vm_start(&vm);
  ck_assert_int_eq(tsr_fork_prepare(vm.m, NULL), TSR_OK); /* alone */
  tsr_fork_parent(vm.m);
  int identity;
  tsr_mutator *second = tsr_bind_mutator(vm.heap, &identity, NULL);
  ck_assert_ptr_nonnull(second);
  tsr_error error = {0};
  ck_assert_int_eq(tsr_fork_prepare(vm.m, &error), TSR_MISMATCH);
  ck_assert_int_eq(error.status, TSR_MISMATCH);
  ck_assert(error.message[0] != 0);
  ck_assert_ptr_nonnull(vm_new(second, PAIR, 0, 0));
  ck_assert_int_eq(tsr_unbind_mutator(second, NULL), TSR_OK);
  ck_assert_int_eq(tsr_fork_prepare(vm.m, NULL), TSR_OK);
  tsr_fork_parent(vm.m);
  ck_assert_uint_eq(vm_enumerate(vm.m).objects, 1);
  vm_stop(&vm);
}
END_TEST

/* ---- locks ------------------------------------------------------------------------------------ */

#define MEDDLERS 3

/* Threads without a mutator that hold the heap's locks most of the time. No safepoint stops them. */
typedef struct meddler {
  pthread_t id;
  testvm *vm;
  atomic_bool *ending;
  unsigned index;
  bool failed;
} meddler;

static bool meddle_with_handles(testvm *vm) {
  tsr_slot *handles[32];
  for (unsigned i = 0; i < 32; i++) {
    handles[i] = tsr_handle_new(vm->heap, FIXNUM(i), TSR_STRONG, NULL);
    if (handles[i] == NULL) return false;
  }
  for (unsigned i = 0; i < 32; i++) {
    if (tsr_handle_free(vm->heap, handles[i], NULL) != TSR_OK) return false;
  }
  return true;
}

/* The registrations of most rounds are refused: there is an end to layouts. */
static bool meddle_with_layouts(testvm *vm, unsigned round) {
  tsr_layout layout = {TSR_LAYOUT_INIT, .name = "one of many", .kind = TSR_LAYOUT_FIXED,
                       .fixed_bytes = 16};
  if (round < 3000) return tsr_layout_register(vm->heap, &layout, NULL) != 0;
  tsr_slot range[2] = {{0}, {0}};
  return tsr_root_add(vm->heap, range, 2, TSR_ROOT_PRECISE, "meddler", NULL) == TSR_OK &&
         tsr_root_remove(vm->heap, range, NULL) == TSR_OK;
}

static bool meddle_with_stats(testvm *vm) {
  tsr_stats stats = {.size = sizeof stats};
  tsr_memory_share shares[32];
  tsr_collection_disable(vm->heap);
  bool ok = tsr_heap_stats(vm->heap, &stats, NULL) == TSR_OK &&
            tsr_heap_memory(vm->heap, shares, 32) > 0 && !tsr_heap_contains(vm->heap, &stats);
  return tsr_collection_enable(vm->heap, NULL) == TSR_OK && ok;
}

static void *meddler_main(void *arg) {
  meddler *self = arg;
  for (unsigned round = 0; !self->failed && !atomic_load(self->ending); round++) {
    switch (self->index) {
    case 0:
      self->failed = !meddle_with_handles(self->vm);
      break;
    case 1:
      self->failed = !meddle_with_layouts(self->vm, round);
      break;
    default:
      self->failed = !meddle_with_stats(self->vm);
    }
  }
  return NULL;
}

/* Each lock of the heap is taken once. */
static _Noreturn void child_takes_every_lock(testvm *vm) {
  alarm(WATCHDOG_S);
  tsr_fork_child(vm->m);
  while (tsr_collection_enable(vm->heap, NULL) == TSR_OK) {
    /* what the third meddler had disabled */
  }
  CHILD(meddle_with_handles(vm) && meddle_with_layouts(vm, 0) && meddle_with_layouts(vm, 5000) &&
        meddle_with_stats(vm));
  for (unsigned i = 0; i < 200; i++) {
    CHILD(vm_new_with(vm->m, BYTES, 0, i % 20 == 0 ? 20000 : 100,
                      (tsr_semantics)(i % TSR_PLACEMENTS)));
  }
  tsr_status status = tsr_collect(vm->m, NULL);
  CHILD(status == (vm_collects ? TSR_OK : TSR_UNSUPPORTED));
  child_verifies(vm->m);
  CHILD(tsr_unbind_mutator(vm->m, NULL) == TSR_OK);
  CHILD(tsr_heap_destroy(vm->heap, NULL) == TSR_OK);
  _exit(EXIT_SUCCESS);
}

START_TEST(children_find_every_lock_free) {
  testvm vm;
  vm_open_alone(&vm, "64M"); /* the children's heap is to be destroyed */
  alarm(WATCHDOG_S);
  atomic_bool ending = false;
  meddler meddlers[MEDDLERS];
  for (unsigned i = 0; i < MEDDLERS; i++) {
    meddlers[i] = (meddler){.vm = &vm, .ending = &ending, .index = i};
    ck_assert_int_eq(pthread_create(&meddlers[i].id, NULL, meddler_main, &meddlers[i]), 0);
  }
  for (unsigned i = 0; i < FORKS; i++) {
    ck_assert_int_eq(tsr_fork_prepare(vm.m, NULL), TSR_OK);
    pid_t child = fork();
    if (child == 0) child_takes_every_lock(&vm);
    tsr_fork_parent(vm.m);
    ck_assert_int_gt(child, 0);
    int ended = 0;
    while (waitpid(child, &ended, 0) < 0)
      ck_assert_int_eq(errno, EINTR);
    ck_assert_msg(WIFEXITED(ended) && WEXITSTATUS(ended) == EXIT_SUCCESS, "child %u: %x", i,
                  (unsigned)ended);
    ck_assert_ptr_nonnull(vm_new(vm.m, PAIR, 0, 0));
  }
  atomic_store(&ending, true);
  for (unsigned i = 0; i < MEDDLERS; i++) {
    pthread_join(meddlers[i].id, NULL);
    ck_assert_msg(!meddlers[i].failed, "meddler %u", i);
  }
  vm_stop(&vm);
}
END_TEST

/* ---- threads that collect ----------------------------------------------------------------------- */

#define FORKS_WITH_WORKERS (VM_SANITIZED || vm_verifies ? 15u : 50u)
#define FORKS_UNDER_LOAD   (VM_SANITIZED || vm_verifies ? 25u : 100u)
#define OTHERS             3
#define COLLECTING_MOST    (VM_SANITIZED ? 1u : 4u)

/* What another mutator of the parent does again and again. */
typedef bool others_task(tsr_mutator *m, tsr_slot *chain, unsigned round);

/* What parent and children keep and check: the root of a graph of all placements. */
typedef struct kept {
  testvm vm;
  unsigned workers; /* that collect, in each process */
  tsr_slot *chains[CHAINS], *tree;
  pthread_t others[OTHERS];
  others_task *task;
  atomic_bool ending;
  atomic_uint rounds; /* of all of them */
  const char *_Atomic failure;
} kept;

static bool kept_holds(kept *k) {
  for (unsigned i = 0; i < CHAINS; i++) {
    if (!chain_holds(k->vm.m, k->chains[i]->word)) return false;
  }
  return vm_tree_holds(k->vm.m, k->tree->word, 12);
}

static void kept_open(kept *k, unsigned workers) {
  memset(k, 0, sizeof *k);
  k->workers = workers < COLLECTING_MOST ? workers : COLLECTING_MOST;
  alarm(WATCHDOG_S);
  vm_init_calm(&k->vm);
  vm_alone(&k->vm); /* the children's heap is to be destroyed */
  vm_pin(&k->vm, "heap_max", "64M");
  char threads[16];
  snprintf(threads, sizeof threads, "%u", k->workers);
  vm_pin(&k->vm, "threads", threads);
  vm_start(&k->vm);
  for (unsigned i = 0; i < CHAINS; i++) {
    k->chains[i] = tsr_handle_new(k->vm.heap, 0, TSR_STRONG, NULL);
    for (uint64_t n = 0; n < CHAIN_LENGTH; n++) {
      ck_assert(push_link(k->vm.m, k->chains[i], n, (tsr_semantics)(n % TSR_PLACEMENTS),
                          (tsr_semantics)(i % TSR_PLACEMENTS)));
    }
  }
  k->tree = tsr_handle_new(k->vm.heap, 0, TSR_STRONG, NULL);
  ck_assert(k->tree != NULL && vm_tree(k->vm.m, k->tree, 12));
}

/* Garbage, a collection by all workers, and everything is as it was. */
static bool collects_with_workers(kept *k) {
  for (unsigned i = 0; i < 20; i++) {
    if (vm_new(k->vm.m, BYTES, 7, 3000) == NULL) return false;
  }
  tsr_status status = tsr_collect(k->vm.m, NULL);
  if (!vm_collects) return status == TSR_UNSUPPORTED && kept_holds(k);
  return status == TSR_OK && k->vm.last_collection.workers == k->workers && kept_holds(k);
}

/* The child's workers are threads of its own, which end with its heap. */
static _Noreturn void child_uses_workers(kept *k) {
  alarm(WATCHDOG_S);
  tsr_fork_child(k->vm.m);
  CHILD(kept_holds(k));
  for (unsigned i = 0; i < 3; i++)
    CHILD(collects_with_workers(k));
  child_verifies(k->vm.m);
  CHILD(vm_tree(k->vm.m, k->tree, 12) && collects_with_workers(k));
  CHILD(tsr_unbind_mutator(k->vm.m, NULL) == TSR_OK);
  CHILD(tsr_heap_destroy(k->vm.heap, NULL) == TSR_OK);
  _exit(EXIT_SUCCESS);
}

/* Parent and child go on side by side. */
static void fork_and_collect(kept *k, bool collects_before) {
  if (collects_before) ck_assert(collects_with_workers(k));
  ck_assert_int_eq(tsr_fork_prepare(k->vm.m, NULL), TSR_OK);
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) child_uses_workers(k);
  tsr_fork_parent(k->vm.m);
  ck_assert_int_gt(child, 0);
  ck_assert(collects_with_workers(k));
  tsr_enter_native(k->vm.m);
  int ended = 0;
  while (waitpid(child, &ended, 0) < 0)
    ck_assert_int_eq(errno, EINTR);
  tsr_leave_native(k->vm.m);
  ck_assert_msg(WIFEXITED(ended) && WEXITSTATUS(ended) == EXIT_SUCCESS, "child: %x",
                (unsigned)ended);
  ck_assert(kept_holds(k));
}

START_TEST(children_with_workers_of_their_own) {
  static kept k;
  kept_open(&k, COLLECTING_MOST);
  for (unsigned i = 0; i < FORKS_WITH_WORKERS; i++)
    fork_and_collect(&k, i % 5 != 0);
  if (vm_collects) ck_assert_uint_ge(k.vm.ended, FORKS_WITH_WORKERS);
  vm_stop(&k.vm);
}
END_TEST

static void *other_main(void *arg) {
  kept *k = arg;
  int identity;
  tsr_mutator *m = tsr_bind_mutator(k->vm.heap, &identity, NULL);
  if (m == NULL) {
    k->failure = "bind";
    return NULL;
  }
  tsr_scope scope;
  tsr_scope_open(m, &scope);
  tsr_slot *list = tsr_local(m, 0), *chain = tsr_local(m, 0);
  if (!vm_list(m, list, 500, 3)) k->failure = "a list";
  for (unsigned round = 0; !atomic_load(&k->ending) && k->failure == NULL; round++) {
    if (!k->task(m, chain, round)) k->failure = "a collection, or an allocation";
    if (!vm_list_holds(m, list->word, 500, 3)) k->failure = "a list is torn";
    atomic_fetch_add(&k->rounds, 1);
    tsr_safepoint(m);
  }
  tsr_scope_close(m, &scope);
  if (tsr_unbind_mutator(m, NULL) != TSR_OK) k->failure = "unbind";
  return NULL;
}

static void others_start(kept *k, others_task *task) {
  k->task = task;
  for (unsigned i = 0; i < OTHERS; i++)
    ck_assert_int_eq(pthread_create(&k->others[i], NULL, other_main, k), 0);
}

/* Forks while the others are at work: they come on between any two forks. */
static void others_fork(kept *k, unsigned forks) {
  for (unsigned i = 0; i < forks; i++) {
    unsigned before = atomic_load(&k->rounds);
    tsr_enter_native(k->vm.m);
    while (atomic_load(&k->rounds) < before + OTHERS && k->failure == NULL)
      wait_a_little();
    tsr_leave_native(k->vm.m);
    fork_and_collect(k, false);
  }
}

static void others_end(kept *k) {
  atomic_store(&k->ending, true);
  tsr_enter_native(k->vm.m);
  for (unsigned i = 0; i < OTHERS; i++)
    pthread_join(k->others[i], NULL);
  tsr_leave_native(k->vm.m);
  ck_assert_msg(k->failure == NULL, "%s", k->failure);
}

static bool collect_again(tsr_mutator *m, tsr_slot *chain, unsigned round) {
  (void)chain;
  (void)round;
  return tsr_collect(m, NULL) == (vm_collects ? TSR_OK : TSR_UNSUPPORTED);
}

START_TEST(children_of_a_process_in_which_others_collect) {
  static kept k;
  kept_open(&k, COLLECTING_MOST);
  others_start(&k, collect_again);
  others_fork(&k, FORKS_WITH_WORKERS);
  others_end(&k);
  vm_stop(&k.vm);
}
END_TEST

/* Builds a chain of links that move, stay or are large; the one before is garbage. Then the children may have a
   processor. */
static bool allocate_again(tsr_mutator *m, tsr_slot *chain, unsigned round) {
  static const tsr_semantics placements[] = {TSR_DEFAULT, TSR_NON_MOVING, TSR_DEFAULT, TSR_LARGE};
  bool allocates = vm_collects || round < LINKS_NOGC / CHAIN_LENGTH;
  if (allocates) chain->word = 0;
  for (uint64_t n = 0; allocates && n < CHAIN_LENGTH; n++) {
    if (!push_link(m, chain, n, placements[n % 2], placements[n % 4])) return false;
  }
  tsr_enter_native(m);
  wait_a_little();
  tsr_leave_native(m);
  return chain_holds(m, chain->word);
}

START_TEST(children_of_a_process_in_which_others_allocate) {
  static kept k;
  kept_open(&k, 2);
  others_start(&k, allocate_again);
  others_fork(&k, FORKS_UNDER_LOAD);
  others_end(&k);
  if (vm_collects) ck_assert_uint_ge(k.vm.ended, FORKS_UNDER_LOAD);
  vm_stop(&k.vm);
}
END_TEST

/* ---- several heaps ------------------------------------------------------------------------------ */

/* One call for each heap that the child shall use; what was prepared last goes on first, as the
   handlers of pthread_atfork() would have it. */
START_TEST(two_heaps_are_prepared_each) {
  testvm vms[2];
  for (unsigned i = 0; i < 2; i++)
    vm_open_alone(&vms[i], "8M"); /* the child's heaps are to be destroyed */
  for (unsigned i = 0; i < 2; i++)
    ck_assert_int_eq(tsr_fork_prepare(vms[i].m, NULL), TSR_OK);
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    for (unsigned i = 2; i-- > 0;)
      tsr_fork_child(vms[i].m);
    for (unsigned i = 0; i < 2; i++) {
      CHILD(vm_new(vms[i].m, PAIR, 0, 0) != NULL);
      child_verifies(vms[i].m);
      CHILD(tsr_unbind_mutator(vms[i].m, NULL) == TSR_OK);
      CHILD(tsr_heap_destroy(vms[i].heap, NULL) == TSR_OK);
    }
    _exit(EXIT_SUCCESS);
  }
  for (unsigned i = 2; i-- > 0;)
    tsr_fork_parent(vms[i].m);
  ck_assert_int_gt(child, 0);
  int ended = 0;
  while (waitpid(child, &ended, 0) < 0)
    ck_assert_int_eq(errno, EINTR);
  ck_assert_int_eq(ended, 0);
  for (unsigned i = 0; i < 2; i++)
    vm_stop(&vms[i]);
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, children_of_a_process_with_threads);
  tcase_add_test(tests, children_of_a_process_that_verifies);
  tcase_add_test(tests, children_of_a_vm_that_stops_its_threads_itself);
  tcase_add_test(tests, children_have_children);
  tcase_add_test(tests, a_fork_that_failed_leaves_everything_as_it_was);
  tcase_add_test(tests, prepare_alone_is_no_collection);
  tcase_add_test(tests, prepare_is_refused_in_native_code);
  tcase_add_test(tests, children_find_every_lock_free);
  tcase_add_test(tests, children_with_workers_of_their_own);
  tcase_add_test(tests, children_of_a_process_in_which_others_collect);
  tcase_add_test(tests, children_of_a_process_in_which_others_allocate);
  tcase_add_test(tests, two_heaps_are_prepared_each);
  /* Every plan that collects needs safepoints. */
  if (!vm_collects) tcase_add_test(tests, prepare_needs_mutators_that_can_be_stopped);
}

int main(void) {
#if VM_SANITIZED
  setenv("TESSERA_THREADS", "1", 1);
  printf("a sanitizer's own locks and tables do not survive a fork: one thread collects\n");
#endif
  return vm_main("fork", add);
}
