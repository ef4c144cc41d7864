/*
 * Watching stores.
 */
#include "core/verify/stores.h"

#include <string.h>

#include "core/object/header.h"
#include "core/object/layout.h"
#include "core/object/reference.h"
#include "core/space/seal.h"
#include "core/trace/remembered.h"
#include "core/verify/past.h"
#include "core/verify/scan.h"

/* ---- tables ----------------------------------------------------------------------------------------- */

static size_t stores_noted_bytes(const tsr_heap *heap) {
  return (size_t)heap->blocks.block_count * BLOCK_GRANULES;
}

bool stores_open(stores *s, tsr_heap *heap, memory_account *account) {
  *s = (stores){.heap = heap, .account = account};
  bool has_barrier = (heap->binding->does & TSR_DOES_WRITE_BARRIER) != 0;
  if (!has_barrier || !heap->plan->collects) return true;
  s->noted = verifier_table_open(account, "verifier's noted stores", stores_noted_bytes(heap));
  heap->watched =
      verifier_table_open(account, "verifier's watched objects", heap->bits.reserved_bytes);
  if (s->noted != NULL && heap->watched != NULL) return true;
  stores_close(s);
  return false;
}

void stores_close(stores *s) {
  if (s->heap == NULL) return;
  verifier_table_close(s->account, s->heap->watched);
  s->heap->watched = NULL;
  verifier_table_close(s->account, s->noted);
  *s = (stores){.heap = NULL};
}

/* ---- notes ------------------------------------------------------------------------------------------ */

/* A byte of a word: 0 for what is no reference into the heap. Neighbours differ. */
static uint8_t stores_byte(const tsr_heap *heap, uint64_t word) {
  uintptr_t address = reference_address(&heap->references, word);
  if (address - heap->blocks.base >= (size_t)heap->blocks.block_count * BLOCK_BYTES) return 0;
  uint64_t mixed = (address - heap->blocks.base) / TSR_GRANULE * UINT64_C(0x9e3779b97f4a7c15);
  return (uint8_t)(1 + (mixed >> 32) % 255);
}

/* The note of a slot; NULL: the slot, of a layout with callbacks, is outside the heap. */
static uint8_t *stores_note(const stores *s, const tsr_slot *slot) {
  size_t granule = ((uintptr_t)slot - s->heap->blocks.base) / TSR_GRANULE;
  return granule < stores_noted_bytes(s->heap) ? &s->noted[granule] : NULL;
}

/* One object, and what is found out of its slots. */
typedef struct stores_scan {
  const stores *s;
  bool has_slots;
  bool is_new; /* every slot was empty */
  const tsr_slot *missed;
} stores_scan;

static void stores_note_slot(void *context, const tsr_slot *slot) {
  stores_scan *scan = context;
  uint8_t *note = stores_note(scan->s, slot);
  if (note == NULL) return;
  *note = stores_byte(scan->s->heap, slot->word);
  scan->has_slots = true;
}

static void stores_compare_slot(void *context, const tsr_slot *slot) {
  stores_scan *scan = context;
  const uint8_t *note = stores_note(scan->s, slot);
  if (note == NULL || scan->missed != NULL || remembered_has_slot(scan->s->heap, slot)) return;
  uint8_t now = stores_byte(scan->s->heap, slot->word);
  if (now != 0 && (scan->is_new || now != *note)) scan->missed = slot;
}

/* ---- objects ---------------------------------------------------------------------------------------- */

static size_t stores_bit(const stores *s, tsr_ref object) {
  return object_bit_index(&s->heap->bits, (uintptr_t)object);
}

static bool stores_is_armed(const stores *s, tsr_ref object) {
  return object_bit_get(s->heap->watched, stores_bit(s, object)) &&
         header_is_armed(header_load(object)) && !seal_is_closed(s->heap, object);
}

/* Under a plan with a barrier of its own: an old object is armed where a store has to be told of, and else gray. So is a young
   array that was born armed. */
static bool stores_is_old(const stores *s, tsr_ref object) {
  return s->heap->plan->barrier->arms_objects &&
         (block_space_stays(block_map_space_of(&s->heap->blocks, (uintptr_t)object)) ||
          large_space_is_armed_young(&s->heap->spaces->large, object));
}

void stores_watch(stores *s, tsr_ref object) {
  if (s->noted == NULL || seal_is_closed(s->heap, object)) return;
  uint64_t header = header_load(object);
  bool is_gray = stores_is_old(s, object) && !header_is_armed(header);
  bool is_logged = (header_gc_byte(header) & GC_LOGGED) != 0;
  /* Without a young generation the barrier may be on for any object; but what is in the log is gray. */
  if (is_gray && (is_logged || heap_form(s->heap)->generational)) return;
  stores_scan scan = {.s = s};
  scan_slots(s->heap, object, stores_note_slot, &scan);
  if (!scan.has_slots) return;
  header_set_gc_bits(object, GC_ARMED);
  object_bit_set(s->heap->watched, stores_bit(s, object));
}

/* An array that was born armed since the last pause. */
static bool stores_is_new(const stores *s, tsr_ref object) {
  return large_space_is_armed_young(&s->heap->spaces->large, object) &&
         header_is_armed(header_load(object)) &&
         !object_bit_get(s->heap->watched, stores_bit(s, object));
}

const tsr_slot *stores_missed(const stores *s, tsr_ref object) {
  if (s->noted == NULL) return NULL;
  stores_scan scan = {.s = s, .is_new = stores_is_new(s, object)};
  if (!scan.is_new && !stores_is_armed(s, object)) return NULL;
  scan_slots(s->heap, object, stores_compare_slot, &scan);
  return scan.missed;
}

static void stores_release_block(const stores *s, uint32_t index) {
  uint64_t *watched = object_bits_of(s->heap->watched, index);
  uintptr_t start = block_map_start(&s->heap->blocks, index);
  for (uint32_t i = 0; i < BLOCK_BIT_WORDS; i++) {
    for (; watched[i] != 0; watched[i] &= watched[i] - 1) {
      uint32_t granule = 64 * i + (uint32_t)__builtin_ctzll(watched[i]);
      tsr_ref object = (tsr_ref)(start + (uintptr_t)granule * TSR_GRANULE);
      if (!stores_is_armed(s, object) || stores_is_old(s, object)) continue;
      os_atomic_byte_change((unsigned char *)object + TSR_GC_BYTE_OFFSET, 0, GC_ARMED);
    }
  }
}

void stores_release(const stores *s) {
  if (s->noted == NULL) return;
  for (uint32_t i = 0; i < block_map_extent(&s->heap->blocks); i++)
    stores_release_block(s, i);
}
