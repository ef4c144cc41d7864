/*
 * The members of a heap's company. See company.h.
 *
 * A member works in rounds. In managed code it builds a list and some garbage over several
 * placements, polls, and checks the list; it hangs the list on an immortal object that it remembers
 * as a bare address, and sleeps in native code, longer the more time the round took of a processor,
 * so that the test keeps them. When it comes back it checks what the immortal object kept. Now and
 * then it unbinds and binds again, in its own memory and in Tessera's by turns. In a brisk heap it
 * collects in its 2nd, 4th, 8th, ... round.
 */
#include "company.h"

#include <time.h>
#include <unistd.h>

#define SHARE_BYTES    (48 * KIB)
#define LARGE_COST     (32 * KIB) /* of the smallest large object */
#define LIST_LENGTH    16u
#define STRESSED_NODES 4u /* each node may be a collection */
#define LEAST_NAP_NS   100000u
#define MOST_NAP_NS    10000000u

/* A bit of the first word that is neither the GC byte, nor the layout's index, nor the tests' tag. */
#define MARK_BIT                                                                                   \
  (TSR_GC_BYTE_OFFSET < 4 ? (TSR_GC_BYTE_OFFSET == 3 ? 16 : 24)                                    \
                          : (TSR_GC_BYTE_OFFSET == 7 ? 48 : 56))
#define MARK ((uint64_t)1 << MARK_BIT)

/* A list of pairs with FIXNUM(first), FIXNUM(first + 1), ... */
typedef struct numbered_list {
  uint64_t first;
  unsigned length;
} numbered_list;

typedef struct member {
  pthread_t id;
  company *company;
  unsigned index;
  tsr_mutator *m; /* NULL: not bound */
  tsr_mutator storage;
  tsr_bump_pointer cached;
  unsigned rounds, bindings;
  uint64_t serial; /* of the next number in a list */
  size_t spent_bytes;
  uint64_t collections; /* when spent_bytes was 0 */
  tsr_ref immortal;     /* a bare address: it never moves and is never freed */
  numbered_list kept;   /* behind `immortal`, which holds its head */
  char failure[COMPANY_FAILURE_BYTES];
} member;

struct company {
  testvm *vm;
  bool brisk;
  pid_t process;
  unsigned count;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool ending;      /* under lock */
  unsigned settled; /* under lock: members that have been through a round */
  member members[];
};

static void member_fails(member *self, const char *what) {
  if (self->failure[0] != 0) return;
  snprintf(self->failure, sizeof self->failure, "company, mutator %u, round %u: %.120s",
           self->index, self->rounds, what);
  fprintf(stderr, "%s\n", self->failure); /* at once: the test may hang from here on */
}

/* ---- words under any reference rule ---------------------------------------------------------- */

static uint64_t word_under(const tsr_reference_rule *rule, tsr_ref object) {
  uint64_t word = vm_word(object) + rule->bias;
  for (unsigned tag = 1; tag < 8 && (rule->low_tags & 1u) == 0; tag++) {
    if ((rule->low_tags >> tag & 1u) != 0) return word | tag;
  }
  return rule->high_shift == 0 ? word : word | rule->high_first << rule->high_shift;
}

static uint64_t word_of(const member *self, tsr_ref object) {
  return word_under(&self->company->vm->binding.references, object);
}

static tsr_ref ref_of(const member *self, uint64_t word) {
  const tsr_reference_rule *rule = &self->company->vm->binding.references;
  uint64_t mask = rule->address_mask == 0 ? ~(uint64_t)0 : rule->address_mask;
  return vm_ref((word & mask) - rule->bias);
}

/* ---- allocation ------------------------------------------------------------------------------ */

/* A collection gives each member a new share. */
static void renew_share(member *self) {
  tsr_stats stats = {.size = sizeof stats};
  if (tsr_heap_stats(self->company->vm->heap, &stats, NULL) != TSR_OK) {
    member_fails(self, "tsr_heap_stats");
  }
  if (stats.collections == self->collections) return;
  self->collections = stats.collections;
  self->spent_bytes = 0;
}

static void *take_memory(member *self, size_t size, tsr_semantics semantics) {
  bool brisk = self->company->brisk;
  if (brisk && semantics == TSR_DEFAULT && self->serial % 2 == 0) {
    return tsr_alloc_cached(self->m, &self->cached, size);
  }
  tsr_error error = {0};
  void *memory = tsr_alloc_with(self->m, size, TSR_OBJECT_ALIGN, 0, semantics,
                                brisk ? TSR_ALLOC_NO_OOM_CALLBACK : TSR_ALLOC_NO_COLLECT, &error);
  if (memory == NULL && error.status != TSR_OUT_OF_MEMORY) member_fails(self, error.message);
  return memory;
}

/* NULL where the share is used up or the test has filled the heap; neither is a failure. */
static tsr_ref new_object(member *self, unsigned kind, size_t count, tsr_semantics semantics) {
  size_t size = vm_size(kind, count);
  size_t cost = semantics == TSR_LARGE ? LARGE_COST : size;
  if (self->spent_bytes + cost > SHARE_BYTES) return NULL;
  void *memory = take_memory(self, size, semantics);
  if (memory == NULL) return NULL;
  self->spent_bytes += cost;
  vm_init_object(memory, kind, 0, count);
  tsr_ref object = (tsr_ref)memory;
  vm_slot(object, 0)->word |= MARK;
  if (tsr_post_alloc(self->m, object, size, semantics) != TSR_OK) {
    member_fails(self, "tsr_post_alloc");
  }
  return object;
}

static tsr_semantics placement_of(const member *self) {
  if (self->serial % 97 == 0) return TSR_LARGE;
  return self->serial % 4 == 1 ? TSR_NON_MOVING : TSR_DEFAULT;
}

/* ---- lists ----------------------------------------------------------------------------------- */

static bool build_list(member *self, tsr_slot *head, unsigned length) {
  for (unsigned i = 0; i < length; i++) {
    tsr_ref pair = new_object(self, PAIR, 0, placement_of(self));
    if (pair == NULL) return false;
    vm_set(self->m, pair, 1, FIXNUM(self->serial++));
    vm_set(self->m, pair, 2, head->word);
    head->word = word_of(self, pair);
  }
  return true;
}

static bool list_holds(const member *self, uint64_t word, const numbered_list *list) {
  for (unsigned i = list->length; i-- > 0;) {
    if (word == 0) return false;
    tsr_ref pair = ref_of(self, word);
    if (vm_kind_of(pair) != PAIR || !company_owns(pair)) return false;
    if (vm_get(self->m, pair, 1) != FIXNUM(list->first + i)) return false;
    word = vm_get(self->m, pair, 2);
  }
  return word == 0;
}

static void check_list(member *self, uint64_t word, const numbered_list *list) {
  if (!list_holds(self, word, list)) member_fails(self, "a list holds something else");
}

static void check_kept_list(member *self) {
  if (self->kept.length > 0) check_list(self, vm_get(self->m, self->immortal, 1), &self->kept);
}

/* From here on the immortal object keeps the list, and nothing else does. */
static void keep_list(member *self, uint64_t head, const numbered_list *list) {
  if (self->immortal == NULL) return;
  vm_set(self->m, self->immortal, 1, head);
  self->kept = *list;
}

/* ---- rounds ---------------------------------------------------------------------------------- */

static void collect_now_and_then(member *self) {
  unsigned round = self->rounds;
  if (!self->company->brisk || round < 2 || (round & (round - 1)) != 0) return;
  tsr_error error = {0};
  tsr_status status = tsr_collect(self->m, &error);
  if (status != TSR_OK && status != TSR_UNSUPPORTED && status != TSR_BUSY) {
    member_fails(self, error.message);
  }
}

static void work(member *self) {
  renew_share(self);
  if (self->immortal == NULL) self->immortal = new_object(self, PAIR, 0, TSR_IMMORTAL);
  tsr_scope scope;
  tsr_scope_open(self->m, &scope);
  tsr_slot *head = tsr_local(self->m, 0);
  numbered_list list = {.first = self->serial,
                        .length = vm_stress != NULL ? STRESSED_NODES : LIST_LENGTH};
  if (head != NULL && build_list(self, head, list.length)) {
    (void)new_object(self, BYTES, self->serial % 200, TSR_DEFAULT); /* garbage */
    collect_now_and_then(self);
    check_list(self, head->word, &list);
    keep_list(self, head->word, &list);
  }
  tsr_scope_close(self->m, &scope);
  tsr_safepoint(self->m);
}

static void join_heap(member *self) {
  tsr_heap *heap = self->company->vm->heap;
  tsr_error error = {0};
  if (self->bindings++ % 2 == self->index % 2) {
    self->m = tsr_bind_mutator(heap, self, &error);
  } else if (tsr_bind_mutator_in(heap, &self->storage, self, &error) == TSR_OK) {
    self->m = &self->storage;
  }
  if (self->m == NULL && error.status != TSR_OUT_OF_MEMORY) member_fails(self, error.message);
  if (self->m == NULL) return;
  tsr_status status = tsr_register_bump_pointer(self->m, &self->cached, &error);
  if (status != TSR_OK) member_fails(self, error.message);
}

static void leave_heap(member *self) {
  tsr_error error = {0};
  if (tsr_unbind_mutator(self->m, &error) != TSR_OK) member_fails(self, error.message);
  if (self->cached.cursor != 0 || self->cached.limit != 0) {
    member_fails(self, "a cached pair outlives its mutator");
  }
  self->m = NULL;
}

/* ---- threads --------------------------------------------------------------------------------- */

static uint64_t now_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Sleeps until the time has come or the company ends. False: it ends. */
static bool nap_until(company *c, uint64_t until_ns) {
  struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000u),
                           .tv_nsec = (long)(until_ns % 1000000000u)};
  pthread_mutex_lock(&c->lock);
  int woken = 0;
  while (!c->ending && woken == 0) {
    woken = pthread_cond_timedwait(&c->changed, &c->lock, &until);
  }
  bool goes_on = !c->ending;
  pthread_mutex_unlock(&c->lock);
  return goes_on;
}

static bool nap(member *self, uint64_t worked_ns) {
  uint64_t nap_ns = 3 * worked_ns;
  if (nap_ns < LEAST_NAP_NS) nap_ns = LEAST_NAP_NS;
  if (nap_ns > MOST_NAP_NS) nap_ns = MOST_NAP_NS;
  if (self->m == NULL) return nap_until(self->company, now_ns(CLOCK_MONOTONIC) + nap_ns);
  tsr_enter_native(self->m);
  bool goes_on = nap_until(self->company, now_ns(CLOCK_MONOTONIC) + nap_ns);
  tsr_leave_native(self->m);
  check_kept_list(self);
  return goes_on;
}

static void member_settles(company *c) {
  pthread_mutex_lock(&c->lock);
  c->settled++;
  pthread_cond_broadcast(&c->changed);
  pthread_mutex_unlock(&c->lock);
}

static void *member_main(void *arg) {
  member *self = arg;
  bool goes_on = true;
  while (goes_on && self->failure[0] == 0) {
    uint64_t began_ns = now_ns(CLOCK_THREAD_CPUTIME_ID);
    if (self->m == NULL) join_heap(self);
    if (self->m != NULL) work(self);
    if (self->rounds++ == 0) member_settles(self->company);
    if (self->m != NULL && self->rounds % 16 == self->index % 16) leave_heap(self);
    goes_on = nap(self, now_ns(CLOCK_THREAD_CPUTIME_ID) - began_ns);
  }
  if (self->m != NULL) leave_heap(self);
  return NULL;
}

/* ---- ballast --------------------------------------------------------------------------------- */

/* Enough that where one was a block is no longer densely filled. */
#define BALLAST_BYTES (4 * KIB)

static bool objects_fit(const testvm *vm) {
  const tsr_binding *standard = vm_standard_binding();
  const tsr_binding *own = &vm->binding;
  return own->layouts == standard->layouts && own->layout_count == standard->layout_count &&
         own->layout_source.kind == TSR_LAYOUT_IN_HEADER && own->layout_source.mask == 0;
}

void company_lay_ballast(testvm *vm) {
  if (!vm_collects || vm->alone || !objects_fit(vm)) return;
  tsr_mutator *m = tsr_bind_mutator(vm->heap, vm->ballast, NULL);
  ck_assert_ptr_nonnull(m);
  for (unsigned i = 0; i < VM_BALLAST; i++) {
    void *memory = tsr_alloc_with(m, BALLAST_BYTES, TSR_OBJECT_ALIGN, 0, TSR_DEFAULT,
                                  TSR_ALLOC_NO_COLLECT, NULL);
    if (memory == NULL) break; /* a very small heap */
    vm_init_object(memory, BYTES, 0, BALLAST_BYTES - vm_size(BYTES, 0));
    vm_slot((tsr_ref)memory, 0)->word |= MARK;
    vm->ballast[i].word = word_under(&vm->binding.references, (tsr_ref)memory);
  }
  ck_assert_int_eq(tsr_unbind_mutator(m, NULL), TSR_OK);
  ck_assert_int_eq(
      tsr_root_add(vm->heap, vm->ballast, VM_BALLAST, TSR_ROOT_PRECISE, "ballast", NULL), TSR_OK);
  vm->ballast[0].word = 0;
  vm->ballast_gone = 1;
  vm->had_company = true;
}

/* After the 1st, 2nd, 4th, 7th, 11th, ... collection, so that it lasts for some hundreds. */
void company_drop_ballast(testvm *vm) {
  unsigned gone = vm->ballast_gone;
  if (gone == 0 || gone == VM_BALLAST || vm->ended <= gone * (gone - 1) / 2) return;
  vm->ballast[vm->ballast_gone++].word = 0;
}

/* ---- the company ----------------------------------------------------------------------------- */

bool company_fits(const testvm *vm) {
  return objects_fit(vm) && vm->binding.stop_all_mutators == NULL &&
         (vm->binding.does & TSR_DOES_SAFEPOINTS) != 0;
}

bool company_owns(tsr_ref object) {
  return (vm_slot(object, 0)->word & MARK) != 0;
}

company *company_begin(testvm *vm, unsigned members, bool brisk) {
  company *c = calloc(1, sizeof *c + members * sizeof c->members[0]);
  ck_assert_ptr_nonnull(c);
  c->vm = vm;
  c->brisk = brisk;
  c->process = getpid();
  c->count = members;
  pthread_mutex_init(&c->lock, NULL);
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&c->changed, &attributes);
  pthread_condattr_destroy(&attributes);
  for (unsigned i = 0; i < members; i++) {
    c->members[i].company = c;
    c->members[i].index = i + 1;
    ck_assert_int_eq(pthread_create(&c->members[i].id, NULL, member_main, &c->members[i]), 0);
  }
  pthread_mutex_lock(&c->lock);
  while (c->settled < c->count)
    pthread_cond_wait(&c->changed, &c->lock);
  pthread_mutex_unlock(&c->lock);
  return c;
}

void company_end(company *c, char *failure) {
  failure[0] = 0;
  if (c->process == getpid()) { /* a child of fork() has only the thread that forked */
    pthread_mutex_lock(&c->lock);
    c->ending = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    for (unsigned i = 0; i < c->count; i++) {
      pthread_join(c->members[i].id, NULL);
      if (failure[0] == 0) memcpy(failure, c->members[i].failure, COMPANY_FAILURE_BYTES);
    }
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
  }
  free(c);
}
