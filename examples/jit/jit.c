/* jit.c - a just-in-time compiler's view of Tessera: emits the inline sequences and runs them.
 *
 * Three checks, each of which ends the program with a message when it fails:
 *
 *   1. emitted and C allocations, taken in turns from the same buffer, return the addresses that the
 *      buffer's cursor foretells, with the header in place;
 *   2. the barrier and the poll take their slow paths just when their bit is set. No plan arms an
 *      object yet, so this runs on an object and a mutator made of plain memory, with facts whose
 *      two entry points are replaced by functions that count: to the emitter they are only values;
 *   3. an emitted loop with a poll, an allocation and a barrier in it builds lists across real
 *      collections, hung on an object that moves meanwhile; C code checks every list.
 *
 * The program takes the number of lists, 2000 if none is given.
 */
#include "emit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pair {
  uint64_t header;
  uint64_t number;
  tsr_slot next;
};

enum { NUMBER = 8, NEXT = 16 };
_Static_assert(offsetof(struct pair, number) == NUMBER && offsetof(struct pair, next) == NEXT,
               "the emitted code and the C code see the same pair");

static const tsr_layout layouts[] = {{TSR_LAYOUT_INIT, .name = "pair", .kind = TSR_LAYOUT_FIXED,
                                      .fixed_bytes = sizeof(struct pair), .fixed_refs = 1 << 2}};

static const tsr_binding binding = {
    TSR_BINDING_HEADER,
    .name = "jit",
    .does = TSR_DOES_WRITE_BARRIER | TSR_DOES_SAFEPOINTS | TSR_DOES_UPDATABLE_SLOTS,
    .layouts = layouts,
    .layout_count = 1,
};

static void require(bool ok, const char *message) {
  if (ok) return;
  fprintf(stderr, "jit: %s\n", message);
  exit(1);
}

/* ---- 1: the same addresses -------------------------------------------------------------------- */

static uint64_t allocate_in_c(tsr_mutator *mutator) {
  struct pair *pair = tsr_alloc_default(mutator, sizeof *pair);
  if (pair != NULL) pair->header = TSR_HEADER(1);
  return (uintptr_t)pair;
}

static emit_function *compile_allocation(struct emitter *e, tsr_allocator_info allocator) {
  emit_prologue(e);
  require(emit_allocation(e, allocator, sizeof(struct pair), TSR_HEADER(1)),
          "this plan has no inline path for a pair");
  emit_return(e);
  return emit_end(e);
}

/* The address that a bump of the mutator's buffer returns next; 0 when it must miss. */
static uintptr_t foretold(const tsr_mutator *mutator, tsr_allocator_info allocator) {
  const tsr_bump_pointer *buffer =
      (const tsr_bump_pointer *)(const void *)((const char *)mutator + allocator.pair_offset);
  bool fits = buffer->cursor + sizeof(struct pair) <= buffer->limit;
  return fits ? buffer->cursor : 0;
}

static void check_addresses(tsr_mutator *mutator, const tsr_facts *facts,
                            tsr_allocator_info allocator) {
  enum { OBJECTS = 10000 };
  struct emitter e;
  require(emit_begin(&e, facts), "no page for code");
  emit_function *allocate = compile_allocation(&e, allocator);
  require(allocate != NULL, "the allocation could not be emitted");

  int hits = 0;
  for (int i = 0; i < OBJECTS; i++) {
    uintptr_t expected = foretold(mutator, allocator);
    uint64_t object = i % 2 == 0 ? allocate(mutator, NULL, 0) : allocate_in_c(mutator);
    require(object != 0, "out of memory");
    require(expected == 0 || object == expected, "an allocation returned another address");
    require(((struct pair *)object)->header == TSR_HEADER(1), "an object without its header");
    if (expected != 0) hits++;
  }
  printf("addresses: %d objects, %d on the fast path\n", OBJECTS, hits);
  emit_free(&e);
}

/* ---- 2: the slow paths ------------------------------------------------------------------------ */

static struct {
  int barriers, polls;
  tsr_ref object;
  tsr_slot *slot;
  uint64_t word;
} seen;

static void count_barrier(tsr_mutator *mutator, tsr_ref object, tsr_slot *slot, uint64_t word) {
  (void)mutator;
  seen.barriers++;
  seen.object = object;
  seen.slot = slot;
  seen.word = word;
}

static void count_poll(tsr_mutator *mutator) {
  (void)mutator;
  seen.polls++;
}

/* rsi, rdx and rcx become the object of slots[0], its `next` slot, and `word`; then the store. */
static void emit_write_next(struct emitter *e) {
  emit_address(e, RDX, RSI, NEXT);
  emit_barrier(e);
  emit_store(e, RDX, 0, RCX);
}

static emit_function *compile_probe(struct emitter *e) {
  emit_prologue(e);
  emit_poll(e);
  emit_load(e, RSI, R12, 0);
  emit_move(e, RCX, R13);
  emit_write_next(e);
  emit_constant(e, RAX, 1);
  emit_return(e);
  return emit_end(e);
}

static void probe_once(emit_function *probe, const tsr_facts *facts, bool armed, bool stopping) {
  struct pair object = {.header = TSR_HEADER(1)};
  unsigned char *gc_byte = (unsigned char *)&object + facts->gc_byte_offset;
  *gc_byte = (unsigned char)(armed ? facts->gc_armed_mask : 0);
  tsr_mutator mutator = {.poll = stopping};
  tsr_slot slot = {(uintptr_t)&object};
  const uint64_t word = 0x1234567887654321;

  memset(&seen, 0, sizeof seen);
  require(probe(&mutator, &slot, word) == 1, "the probe did not return");
  require(object.next.word == word, "the store after the barrier is lost");
  require(seen.polls == stopping, "the poll took the wrong path");
  require(seen.barriers == armed, "the barrier took the wrong path");
  require(!armed ||
              (seen.object == (tsr_ref)&object && seen.slot == &object.next && seen.word == word),
          "the barrier's slow path got other arguments");
}

static void check_slow_paths(const tsr_facts *heap_facts) {
  tsr_facts facts = *heap_facts;
  facts.barrier_entry = count_barrier;
  facts.barrier_preserves = 0;
  facts.safepoint_entry = count_poll;
  struct emitter e;
  require(emit_begin(&e, &facts), "no page for code");
  emit_function *probe = compile_probe(&e);
  require(probe != NULL, "the probe could not be emitted");
  for (int i = 0; i < 4; i++)
    probe_once(probe, &facts, i & 1, i & 2);
  printf("slow paths: barrier and poll called exactly when asked for\n");
  emit_free(&e);
}

/* ---- 3: lists across collections -------------------------------------------------------------- */

/* do { poll; pair = new pair(count, keeper.next); keeper.next = pair } while (--count);
   slots[0] is the keeper. It is loaded after the allocation, which may have moved it. */
static emit_function *compile_builder(struct emitter *e, tsr_allocator_info allocator) {
  emit_prologue(e);
  size_t loop = emit_label(e);
  emit_poll(e);
  emit_allocation(e, allocator, sizeof(struct pair), TSR_HEADER(1));
  emit_store(e, RAX, NUMBER, R13);
  emit_load(e, RSI, R12, 0);
  emit_load(e, RCX, RSI, NEXT);
  emit_store(e, RAX, NEXT, RCX); /* into a new object: no barrier */
  emit_move(e, RCX, RAX);
  emit_write_next(e);
  emit_loop(e, loop);
  emit_constant(e, RAX, 1);
  emit_return(e);
  return emit_end(e);
}

static void check_list(const struct pair *keeper, uint64_t length) {
  const struct pair *pair = (const struct pair *)keeper->next.word;
  for (uint64_t i = 1; i <= length; i++) {
    require(pair != NULL && pair->number == i, "a list is not what was built");
    pair = (const struct pair *)pair->next.word;
  }
  require(pair == NULL, "a list is too long");
}

static void check_lists(tsr_mutator *mutator, const tsr_facts *facts, tsr_allocator_info allocator,
                        int lists) {
  enum { LENGTH = 1000 };
  struct emitter e;
  require(emit_begin(&e, facts), "no page for code");
  emit_function *build = compile_builder(&e, allocator);
  require(build != NULL, "the loop could not be emitted");

  tsr_slot keeper = {allocate_in_c(mutator)};
  require(keeper.word != 0, "out of memory");
  require(tsr_root_add(mutator->heap, &keeper, 1, TSR_ROOT_PRECISE, "keeper", NULL) == TSR_OK,
          "the keeper could not be registered");
  for (int i = 0; i < lists; i++) {
    require(build(mutator, &keeper, LENGTH) == 1, "out of memory");
    struct pair *pair = (struct pair *)keeper.word;
    check_list(pair, LENGTH);
    tsr_write(mutator, (tsr_ref)pair, &pair->next, 0);
  }
  tsr_root_remove(mutator->heap, &keeper, NULL);

  tsr_stats stats = {.size = sizeof stats};
  tsr_heap_stats(mutator->heap, &stats, NULL);
  printf("lists: %d of %d pairs, all correct; plan %s, collections %d\n", lists, LENGTH, stats.plan,
         (int)stats.collections);
  emit_free(&e);
}

static void run(int lists) {
  tsr_error error;
  tsr_heap *heap = tsr_heap_create(&binding, NULL, NULL, &error);
  require(heap != NULL, error.message);
  tsr_mutator *mutator = tsr_bind_mutator(heap, &heap, &error);
  require(mutator != NULL, error.message);
  tsr_facts facts;
  tsr_heap_facts(heap, &facts);
  tsr_allocator_info allocator = tsr_allocator_mapping(heap, TSR_DEFAULT);

  check_addresses(mutator, &facts, allocator);
  check_slow_paths(&facts);
  check_lists(mutator, &facts, allocator, lists);

  require(tsr_unbind_mutator(mutator, &error) == TSR_OK, error.message);
  require(tsr_heap_destroy(heap, &error) == TSR_OK, error.message);
}

int main(int argc, char **argv) {
  if (!EMIT_RUNS_HERE) {
    printf("jit: skipped: this example emits code for x86-64 on a Unix\n");
    return 77;
  }
  run(argc > 1 ? atoi(argv[1]) : 2000);
  return 0;
}
