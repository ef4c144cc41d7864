/*
 * What lay in the heap before.
 */
#include "core/verify/past.h"

#include "core/os/machine.h"
#include "core/os/memory.h"

/* ---- tables -------------------------------------------------------------------------------------- */

static bool verifier_table_reserve(memory_mapping *mapping, memory_account *account,
                                   const char *name, size_t bytes) {
  size_t rounded = os_page_round(bytes);
  if (!memory_mapping_reserve(mapping, account, MEMORY_INSTANCE, name, rounded, TSR_MAX_ALIGN)) {
    return false;
  }
  if (os_memory_commit(mapping->base, rounded)) {
    os_atomic_store(&mapping->committed_bytes, rounded);
    return true;
  }
  memory_mapping_release(mapping);
  return false;
}

void *verifier_table_open(memory_account *account, const char *name, size_t bytes) {
  memory_mapping *mapping = segment_request(account, MEMORY_INSTANCE, sizeof *mapping);
  if (mapping == NULL) return NULL;
  if (verifier_table_reserve(mapping, account, name, bytes)) return mapping->base;
  segment_release(account, MEMORY_INSTANCE, mapping, sizeof *mapping);
  return NULL;
}

void verifier_table_close(memory_account *account, void *table) {
  memory_mapping *mapping = account->mappings;
  if (table == NULL) return;
  while (mapping->base != table)
    mapping = mapping->next;
  memory_mapping_release(mapping);
  segment_release(account, MEMORY_INSTANCE, mapping, sizeof *mapping);
}

static size_t past_block_bytes(const past *p) {
  return (size_t)p->heap->blocks.block_count * sizeof *p->blocks;
}

bool past_open(past *p, const tsr_heap *heap, memory_account *account) {
  *p = (past){.heap = heap, .account = account};
  p->gone = verifier_table_open(account, "verifier's past starts", heap->bits.reserved_bytes);
  if (p->gone != NULL) {
    p->blocks = verifier_table_open(account, "verifier's past blocks", past_block_bytes(p));
  }
  if (p->blocks != NULL) return true;
  past_close(p);
  return false;
}

void past_close(past *p) {
  if (p->heap == NULL) return;
  verifier_table_close(p->account, p->blocks);
  verifier_table_close(p->account, p->gone);
  *p = (past){.heap = NULL};
}

/* ---- after a collection --------------------------------------------------------------------------- */

void past_note(past *p, uint32_t index, const uint64_t *before, const uint64_t *now,
               uint32_t collection) {
  uint64_t *gone = object_bits_of(p->gone, index);
  for (uint32_t i = 0; i < BLOCK_BIT_WORDS; i++) {
    uint64_t lost = before[i] & ~now[i];
    if ((lost | (gone[i] & now[i])) == 0) continue;
    gone[i] = (gone[i] | lost) & ~now[i];
    if (lost != 0) p->blocks[index].collection = collection;
  }
}

void past_note_place(past *p, uint32_t index, uint32_t behind) {
  if (p->blocks[index].behind != behind) p->blocks[index].behind = behind;
}

/* ---- questions ------------------------------------------------------------------------------------ */

bool past_began(const past *p, uintptr_t address, uint32_t *collection) {
  if (p->gone == NULL || address % TSR_GRANULE != 0) return false;
  *collection = p->blocks[block_map_index(&p->heap->blocks, address)].collection;
  return object_bit_get(p->gone, object_bit_index(&p->heap->bits, address));
}

uintptr_t past_find(const past *p, uintptr_t address, uint32_t *collection) {
  if (p->gone == NULL) return 0;
  const block_map *map = &p->heap->blocks;
  uint32_t index = block_map_index(map, address);
  uint32_t behind = p->blocks[index].behind;
  if (behind != 0) address = block_map_start(map, index -= behind) + BLOCK_BYTES - 1;
  *collection = p->blocks[index].collection;
  uintptr_t start = block_map_start(map, index);
  for (uintptr_t at = address & ~(uintptr_t)(TSR_GRANULE - 1); at >= start; at -= TSR_GRANULE) {
    if (object_bit_get(p->gone, object_bit_index(&p->heap->bits, at))) return at;
  }
  return 0;
}
