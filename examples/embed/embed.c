/* The smallest program that embeds Tessera: describe one kind of object, build a list of a million
   pairs in whatever heap the environment asks for, add it up, leave nothing behind. */
#include <stdio.h>
#include <tessera/tessera.h>

struct pair {
  uint64_t header, number;
  tsr_slot next; /* word 2 of the object, its only slot */
};
static const tsr_layout layouts[] = {{TSR_LAYOUT_INIT, .name = "pair", .kind = TSR_LAYOUT_FIXED,
                                      .fixed_bytes = sizeof(struct pair), .fixed_refs = 1 << 2}};
static const tsr_binding binding = {
    TSR_BINDING_HEADER, .name = "embed", .layouts = layouts, .layout_count = 1,
    .does = TSR_DOES_WRITE_BARRIER | TSR_DOES_SAFEPOINTS | TSR_DOES_UPDATABLE_SLOTS};

int main(void) {
  tsr_error error;
  tsr_heap *heap = tsr_heap_create(&binding, NULL, NULL, &error);
  tsr_mutator *mutator = heap ? tsr_bind_mutator(heap, &heap, &error) : NULL;
  if (mutator == NULL) return fprintf(stderr, "embed: %s\n", error.message), 1;

  tsr_scope scope;
  tsr_scope_open(mutator, &scope);
  tsr_slot *list = tsr_local(mutator, 0); /* a root: kept up to date when objects move */
  for (uint64_t i = 1; i <= 1000000; i++) {
    struct pair *pair = list ? tsr_alloc_default(mutator, sizeof *pair) : NULL; /* may collect */
    if (pair == NULL) return fprintf(stderr, "embed: out of memory\n"), 1;
    *pair = (struct pair){TSR_HEADER(1), i, *list};
    list->word = (uintptr_t)pair;
  }
  uint64_t sum = 0;
  for (struct pair *p = (struct pair *)list->word; p; p = (struct pair *)p->next.word)
    sum += p->number;
  printf("sum %llu\n", (unsigned long long)sum);

  tsr_scope_close(mutator, &scope);
  tsr_unbind_mutator(mutator, NULL);
  return tsr_heap_destroy(heap, NULL) == TSR_OK ? 0 : 1;
}
