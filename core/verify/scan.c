/*
 * The slots of an object.
 */
#include "core/verify/scan.h"

#include "core/object/header.h"
#include "core/object/layout.h"

#define SCAN_SLOTS 64

/* One object, and who wants its slots. */
typedef struct slot_scan {
  const tsr_heap *heap;
  tsr_ref object;
  const layout *layout;
  void (*visit)(void *context, const tsr_slot *slot);
  void *context;
} slot_scan;

static void scan_bits(const slot_scan *scan, const tsr_slot *words, uint64_t bits) {
  for (unsigned i = 0; bits != 0; i++, bits >>= 1) {
    if ((bits & 1) != 0) scan->visit(scan->context, &words[i]);
  }
}

static void scan_fixed(const slot_scan *scan) {
  const layout *l = scan->layout;
  const tsr_slot *words = (const tsr_slot *)scan->object;
  if (l->wide_refs == NULL) {
    scan_bits(scan, words, l->fixed_refs);
    return;
  }
  for (uint32_t i = 0; i < l->wide_words; i++)
    scan_bits(scan, words + 64 * (size_t)i, l->wide_refs[i]);
}

static void scan_array(const slot_scan *scan) {
  const layout *l = scan->layout;
  size_t stride = l->kind == TSR_LAYOUT_ELEMENTS ? l->element_bytes : sizeof(tsr_slot);
  uint64_t refs = l->kind == TSR_LAYOUT_ELEMENTS ? l->element_refs : 1;
  const char *at = (const char *)scan->object + l->fixed_bytes;
  const char *end = at + layout_array_bytes(l, scan->object) / stride * stride;
  for (; at < end; at += stride)
    scan_bits(scan, (const tsr_slot *)(const void *)at, refs);
}

/* Weak slots that were not cleared lead to objects as others do. */
static void scan_weak(const slot_scan *scan) {
  const layout *l = scan->layout;
  const tsr_slot *words = (const tsr_slot *)scan->object;
  scan_fixed(scan);
  if (l->kind == TSR_LAYOUT_EPHEMERON) {
    scan_bits(scan, words + l->weak_offset / sizeof(tsr_slot), 3);
    return;
  }
  scan_bits(scan, words, l->weak_refs);
  if (l->length_width != 0) scan_array(scan);
}

static void scan_custom(const slot_scan *scan) {
  tsr_slot *slots[SCAN_SLOTS];
  size_t position = 0;
  while (position != TSR_SCAN_DONE) {
    tsr_slot_buffer out = {slots, slots + SCAN_SLOTS};
    position = scan->layout->scan(scan->heap->vm, scan->object, position, &out);
    for (tsr_slot **slot = slots; slot < out.next; slot++)
      scan->visit(scan->context, *slot);
  }
}

void scan_slots(const tsr_heap *heap, tsr_ref object,
                void (*visit)(void *context, const tsr_slot *slot), void *context) {
  const layout *l = layout_of(heap->layouts, object);
  if (l == NULL || header_is_leaf(header_load(object))) return;
  slot_scan scan = {heap, object, l, visit, context};
  switch (l->kind) {
  case TSR_LAYOUT_CUSTOM:
    scan_custom(&scan);
    return;
  case TSR_LAYOUT_WEAK:
  case TSR_LAYOUT_EPHEMERON:
    scan_weak(&scan);
    return;
  case TSR_LAYOUT_REFERENCES:
  case TSR_LAYOUT_ELEMENTS:
    scan_array(&scan);
    scan_fixed(&scan);
    return;
  default:
    scan_fixed(&scan);
    return;
  }
}
