/*
 * Explaining a fault. Everything here may run in a signal handler, on a thread that was stopped anywhere: it
 * reads tables that are never moved, takes no lock, and formats by itself.
 */
#include "core/verify/explain.h"

#include "core/object/layout.h"
#include "core/space/seal.h"
#include "core/space/spaces.h"
#include "core/verify/verify.h"

/* ---- text ----------------------------------------------------------------------------------------- */

typedef struct explanation {
  char *at;
  size_t left; /* with the end */
} explanation;

static void explain_add(explanation *e, const char *text) {
  for (; *text != 0 && e->left > 1; text++, e->left--)
    *e->at++ = *text;
  if (e->left > 0) *e->at = 0;
}

static void explain_add_number(explanation *e, uint64_t number, unsigned base) {
  char digits[24];
  char *first = digits + sizeof digits;
  *--first = 0;
  do {
    *--first = "0123456789abcdef"[number % base];
    number /= base;
  } while (number != 0);
  explain_add(e, first);
}

static void explain_add_address(explanation *e, uintptr_t address) {
  explain_add(e, "0x");
  explain_add_number(e, address, 16);
}

/* ---- free memory ------------------------------------------------------------------------------------ */

/* Whether the block at an address is the rest of a large object that is still there. */
static bool explain_was_cut_off(const tsr_heap *heap, uintptr_t start, uintptr_t address) {
  return block_map_index(&heap->blocks, start) != block_map_index(&heap->blocks, address) &&
         block_map_space_of(&heap->blocks, start) > BLOCK_FREE;
}

static void explain_free(explanation *e, const tsr_heap *heap, uintptr_t address) {
  uint32_t collection = 0;
  uintptr_t start =
      heap->verifier == NULL ? 0 : past_find(verifier_past(heap->verifier), address, &collection);
  if (heap->verifier == NULL) {
    explain_add(e, " lies in free memory of the heap; with TESSERA_VERIFY=1 it can be said which "
                   "collection has freed it");
    return;
  }
  if (start == 0 || explain_was_cut_off(heap, start, address)) {
    explain_add(e, " lies in memory of the heap where no object was at any collection");
    return;
  }
  explain_add(e, " lies in memory that collection ");
  explain_add_number(e, collection, 10);
  explain_add(e, " has freed, or moved objects out of; one began ");
  if (start == address) {
    explain_add(e, "there");
  } else {
    explain_add_number(e, address - start, 10);
    explain_add(e, " bytes before");
  }
  explain_add(e,
              ": the VM kept a reference over that collection in a place that is no root, or did "
              "not load it anew after a safepoint");
}

/* ---- sealed objects --------------------------------------------------------------------------------- */

/* The object on the sealed page at an address. */
static tsr_ref explain_sealed_object(const tsr_heap *heap, uintptr_t address) {
  const object_bits *bits = &heap->bits;
  uint32_t index = block_map_index(&heap->blocks, address);
  if (block_map_space(&heap->blocks, index) == BLOCK_LARGE) {
    return large_space_object(&heap->spaces->large, index);
  }
  uintptr_t at = address & ~(uintptr_t)(TSR_GRANULE - 1);
  while (at > block_map_start(&heap->blocks, index) &&
         !object_bit_get(bits->starts, object_bit_index(bits, at)))
    at -= TSR_GRANULE;
  return (tsr_ref)at;
}

static void explain_sealed(explanation *e, const tsr_heap *heap, uintptr_t address,
                           uintptr_t sealed) {
  tsr_ref object = explain_sealed_object(heap, sealed);
  const layout *l = layout_of(heap->layouts, object);
  explain_add(e, " lies in the sealed object ");
  explain_add_address(e, (uintptr_t)object);
  if (l != NULL) {
    explain_add(e, " (layout ");
    explain_add(e, l->name);
    explain_add(e, ")");
  }
  explain_add(e, ", at offset ");
  explain_add_number(e, address - (uintptr_t)object, 10);
  explain_add(e, ", and nobody stores into sealed objects: ");
  explain_add(e, seal_was_refused(heap, object)
                     ? "the write barrier has reported such a store"
                     : "no such store has come to the write barrier, which would have reported it, "
                       "so a barrier is missing");
}

/* ---- all -------------------------------------------------------------------------------------------- */

/* An address in the block that holds the descriptor: the first of a large object's. */
static uintptr_t explain_head(const tsr_heap *heap, uintptr_t address) {
  const block_map *map = &heap->blocks;
  if (block_map_space_of(map, address) != BLOCK_LARGE_REST) return address;
  return block_map_start(map, block_map_at(map, block_map_index(map, address))->run_next);
}

bool explain_fault(const tsr_heap *heap, uintptr_t address, char *text, size_t size) {
  const block_map *map = &heap->blocks;
  explanation e = {.at = text, .left = size};
  explain_add(&e, "");
  if (address - map->base >= (size_t)map->block_count * BLOCK_BYTES) return false;
  uintptr_t head = explain_head(heap, address);
  explain_add(&e, "address ");
  explain_add_address(&e, address);
  if (block_map_space_of(map, head) <= BLOCK_FREE) {
    explain_free(&e, heap, address);
  } else if (seal_is_read_only(heap, head)) {
    explain_sealed(&e, heap, address, head);
  } else {
    explain_add(&e, " lies in memory of the heap that is in use and may be read and written");
  }
  return true;
}
