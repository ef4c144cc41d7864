/*
 * The smoke test of every way to get the library: a heap, one layout, a long list with a collection
 * in the middle of building it, and the list is still right. Written in what C11 and C++17 share, so
 * that one file tests both languages.
 *
 *   smoke [PAIRS]    a million pairs unless said otherwise; prints OK
 */
#ifdef SMOKE_ONE_FILE
#include "tessera.h"
#else
#include <tessera/tessera.h>
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pair {
  uint64_t header;
  uint64_t number;
  tsr_slot next; /* word 2 of the object, its only slot */
};

static const uint32_t pair_layout_id = 1;

static int fail(const char *what, const tsr_error *error) {
  fprintf(stderr, "smoke: %s: %s\n", what, error->message);
  return 1;
}

static void describe_pair(tsr_layout *layout) {
  memset(layout, 0, sizeof *layout);
  layout->size = sizeof *layout;
  layout->name = "pair";
  layout->kind = TSR_LAYOUT_FIXED;
  layout->fixed_bytes = sizeof(struct pair);
  layout->fixed_refs = 1u << 2;
}

static void describe_vm(tsr_binding *binding, const tsr_layout *layouts, size_t layout_count) {
  memset(binding, 0, sizeof *binding);
  binding->size = sizeof *binding; /* C writes TSR_BINDING_HEADER; C++17 has no such initialisers */
  binding->abi = TSR_ABI;
  binding->gc_byte_offset = TSR_GC_BYTE_OFFSET;
  binding->object_align = TSR_OBJECT_ALIGN;
  binding->name = "smoke";
  binding->does = TSR_DOES_WRITE_BARRIER | TSR_DOES_SAFEPOINTS | TSR_DOES_UPDATABLE_SLOTS;
  binding->layouts = layouts;
  binding->layout_count = layout_count;
}

/* Puts `count` pairs with the numbers count-1 ... 0 in front of each other; collects half way. */
static tsr_status build_list(tsr_mutator *mutator, tsr_slot *list, uint64_t count,
                             tsr_error *error) {
  for (uint64_t i = 0; i < count; i++) {
    struct pair *pair = (struct pair *)tsr_alloc_default(mutator, sizeof(struct pair));
    if (pair == NULL) {
      snprintf(error->message, sizeof error->message, "no room for pair %lu", (unsigned long)i);
      return TSR_OUT_OF_MEMORY;
    }
    pair->header = TSR_HEADER(pair_layout_id);
    pair->number = i;
    tsr_post_alloc_default(mutator, pair, sizeof(struct pair));
    tsr_write(mutator, (tsr_ref)pair, &pair->next, list->word);
    list->word = (uintptr_t)pair;
    if (i == count / 2) {
      tsr_status status = tsr_collect(mutator, error);
      if (status != TSR_OK) return status;
    }
  }
  return TSR_OK;
}

static tsr_status check_list(tsr_mutator *mutator, const tsr_slot *list, uint64_t count,
                             tsr_error *error) {
  uint64_t word = list->word;
  for (uint64_t expected = count; expected-- > 0;) {
    const struct pair *pair = (const struct pair *)(uintptr_t)word;
    if (pair == NULL || pair->number != expected) {
      snprintf(error->message, sizeof error->message, "pair %lu is missing",
               (unsigned long)expected);
      return TSR_INVALID_ARGUMENT;
    }
    word = tsr_load(mutator, &pair->next);
  }
  return word == 0 ? TSR_OK : TSR_INVALID_ARGUMENT;
}

static int run(tsr_heap *heap, uint64_t count) {
  tsr_error error = {TSR_OK, "the list has no end"};
  tsr_mutator *mutator = tsr_bind_mutator(heap, &error, &error);
  if (mutator == NULL) return fail("bind", &error);

  tsr_scope scope;
  tsr_scope_open(mutator, &scope);
  tsr_slot *list = tsr_local(mutator, 0);
  if (list == NULL) return fail("root", &error);
  if (build_list(mutator, list, count, &error) != TSR_OK) return fail("build", &error);
  if (check_list(mutator, list, count, &error) != TSR_OK) return fail("check", &error);
  tsr_scope_close(mutator, &scope);

  tsr_stats stats;
  memset(&stats, 0, sizeof stats);
  stats.size = sizeof stats;
  if (tsr_heap_stats(heap, &stats, &error) != TSR_OK) return fail("statistics", &error);
  if (tsr_unbind_mutator(mutator, &error) != TSR_OK) return fail("unbind", &error);
  printf("tessera %s, %s, GC byte %d: %lu pairs, %lu collections\n", tsr_version(), stats.plan,
         TSR_GC_BYTE_OFFSET, (unsigned long)count, (unsigned long)stats.collections);
  return stats.collections > 0 ? 0 : fail("statistics say", &error);
}

int main(int argc, char **argv) {
  uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
  tsr_error error = {TSR_OK, ""};
  tsr_layout layout;
  tsr_binding binding;
  describe_pair(&layout);
  describe_vm(&binding, &layout, 1);

  tsr_heap *heap = tsr_heap_create(&binding, NULL, NULL, &error);
  if (heap == NULL) return fail("create", &error);
  if (run(heap, count) != 0) return 1;
  if (tsr_heap_destroy(heap, &error) != TSR_OK) return fail("destroy", &error);
  printf("OK\n");
  return 0;
}
