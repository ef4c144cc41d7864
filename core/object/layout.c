/*
 * Registering layouts: every rule of tessera/layout.h is checked here, once, so that tracing need
 * not check anything.
 */
#include "core/object/layout.h"

#include <stdlib.h>
#include <string.h>

#include "core/os/error.h"

#define LAYOUT_CAPACITY_MOST 65536u
#define LAYOUT_NAME_MOST     63

/* ---- the layout source ------------------------------------------------------------------------ */

static const char *layout_source_fault(const tsr_binding *binding) {
  const tsr_layout_source *source = &binding->layout_source;
  switch (source->kind) {
  case TSR_LAYOUT_IN_HEADER:
    if (source->mask == 0) return source->shift == 0 ? NULL : "a header shift needs a mask";
    if (source->shift > 63) return "the header shift must be below 64";
    if ((source->mask & (source->mask + 1)) != 0) return "the header mask must be 2^n - 1";
    if (source->shift != 0 && (source->mask >> (64 - source->shift)) != 0) {
      return "the header mask reaches past the first word";
    }
    if (((source->mask << source->shift) & ((uint64_t)0xff << GC_BYTE_SHIFT)) != 0) {
      return "the header mask covers the GC byte";
    }
    return NULL;
  case TSR_LAYOUT_IN_TYPE:
    if (source->type_offset % TSR_GRANULE != 0) return "type_offset must be a multiple of 8";
    if (source->type_offset > 4096) return "type_offset must be at most 4096";
    if (source->index_offset % 4 != 0) return "index_offset must be a multiple of 4";
    if (source->type_offset == 0 &&
        (source->type_mask == 0 || (source->type_mask & ((uint64_t)0xff << GC_BYTE_SHIFT)) != 0)) {
      return "the type's address shares the first word with the GC byte: mask that byte out";
    }
    return NULL;
  case TSR_LAYOUT_BY_CALLBACK:
    return binding->layout_of == NULL ? "TSR_LAYOUT_BY_CALLBACK needs layout_of" : NULL;
  }
  return "unknown kind";
}

static void layout_source_complete(layout_table *layouts) {
  tsr_layout_source *source = &layouts->source;
  if (source->kind == TSR_LAYOUT_IN_HEADER && source->mask == 0) {
    source->shift = TSR_HEADER_SHIFT;
    source->mask = TSR_HEADER_MASK;
  }
  if (source->type_mask == 0) source->type_mask = UINT64_MAX;
  layouts->capacity = LAYOUT_CAPACITY_MOST;
  if (source->kind == TSR_LAYOUT_IN_HEADER && source->mask < LAYOUT_CAPACITY_MOST) {
    layouts->capacity = (uint32_t)source->mask + 1;
  }
}

/* ---- the table -------------------------------------------------------------------------------- */

tsr_status layout_table_open(tsr_heap *heap, tsr_error *error) {
  const char *fault = layout_source_fault(heap->binding);
  if (fault != NULL) return error_set(error, TSR_INVALID_ARGUMENT, "layout source: %s", fault);
  layout_table *layouts = segment_request(&heap->account, MEMORY_LAYOUTS, sizeof *layouts);
  if (layouts == NULL) goto no_memory;
  layouts->heap = heap;
  layouts->source = heap->binding->layout_source;
  layout_source_complete(layouts);
  if (!os_mutex_create(&layouts->lock)) goto no_lock;
  if (!memory_table_create(&layouts->table, &heap->account, MEMORY_LAYOUTS, "layouts",
                           layouts->capacity * sizeof(layout))) {
    goto no_table;
  }
  if (!memory_table_create(&layouts->traces, &heap->account, MEMORY_LAYOUTS, "layout traces",
                           layouts->capacity * sizeof(uint64_t))) {
    goto no_traces;
  }
  os_atomic_store(&layouts->count, 1);
  heap->layouts = layouts;
  for (size_t i = 0; i < heap->binding->layout_count; i++) {
    if (layout_register(layouts, &heap->binding->layouts[i], error) == 0) {
      layout_table_close(heap);
      return error == NULL ? TSR_INVALID_ARGUMENT : error->status;
    }
  }
  return TSR_OK;

no_traces:
  memory_table_destroy(&layouts->table);
no_table:
  os_mutex_destroy(&layouts->lock);
no_lock:
  segment_release(&heap->account, MEMORY_LAYOUTS, layouts, sizeof *layouts);
no_memory:
  return heap_no_memory(heap, error);
}

void layout_table_fork(tsr_heap *heap, os_fork_stage stage) {
  os_mutex_fork(&heap->layouts->lock, stage);
}

static void layout_free_copies(layout_table *layouts, layout *l) {
  memory_account *account = &layouts->heap->account;
  segment_release(account, MEMORY_LAYOUTS, l->name, l->name_bytes);
  segment_release(account, MEMORY_LAYOUTS, l->wide_refs, l->wide_words * sizeof(uint64_t));
}

void layout_table_close(tsr_heap *heap) {
  layout_table *layouts = heap->layouts;
  for (uint32_t i = 1; i < os_atomic_load(&layouts->count); i++) {
    layout_free_copies(layouts, &((layout *)(void *)layouts->table.base)[i]);
  }
  memory_table_destroy(&layouts->traces);
  memory_table_destroy(&layouts->table);
  os_mutex_destroy(&layouts->lock);
  segment_release(&heap->account, MEMORY_LAYOUTS, layouts, sizeof *layouts);
  heap->layouts = NULL;
}

/* ---- checking one layout ------------------------------------------------------------------------ */

static bool layout_is_power_of_two(uint64_t value) {
  return value != 0 && (value & (value - 1)) == 0;
}

static bool layout_has_array(const tsr_layout *given) {
  tsr_layout_kind kind = given->kind;
  return kind == TSR_LAYOUT_REFERENCES || kind == TSR_LAYOUT_BYTES || kind == TSR_LAYOUT_ELEMENTS ||
         (kind == TSR_LAYOUT_WEAK && given->length.width != 0);
}

/* Whether a bitmap has bits at or above `words`. */
static bool layout_bits_outside(uint64_t bits, uint64_t words) {
  return words < 64 && (bits >> words) != 0;
}

static const char *layout_length_fault(const tsr_layout *given) {
  const tsr_length *length = &given->length;
  if (!layout_is_power_of_two(length->width) || length->width > 8) {
    return "length.width must be 1, 2, 4 or 8";
  }
  if (length->offset % length->width != 0) return "length.offset must be aligned to length.width";
  if ((uint64_t)length->offset + length->width > given->fixed_bytes) {
    return "the length must lie in the fixed part";
  }
  if (length->offset <= TSR_GC_BYTE_OFFSET && length->offset + length->width > TSR_GC_BYTE_OFFSET) {
    return "the length covers the GC byte";
  }
  if (length->shift >= 8 * length->width) return "length.shift is wider than the length";
  if (length->unit == 0) return "length.unit must be at least 1";
  return NULL;
}

static const char *layout_array_fault(const tsr_layout *given) {
  const char *fault = layout_length_fault(given);
  if (fault != NULL) return fault;
  if (given->kind == TSR_LAYOUT_BYTES) return NULL;
  if (given->fixed_bytes % TSR_GRANULE != 0) return "fixed_bytes must be a multiple of 8";
  if (given->kind == TSR_LAYOUT_REFERENCES || given->kind == TSR_LAYOUT_WEAK) {
    return TSR_GRANULE % given->length.unit != 0 ? "length.unit must be 8 or divide it" : NULL;
  }
  if (given->element_bytes == 0 || given->element_bytes % TSR_GRANULE != 0 ||
      given->element_bytes > 512) {
    return "element_bytes must be a multiple of 8 from 8 to 512";
  }
  if (given->element_bytes % given->length.unit != 0)
    return "length.unit must divide element_bytes";
  if (layout_bits_outside(given->element_refs, given->element_bytes / TSR_GRANULE)) {
    return "element_refs has bits outside the element";
  }
  return NULL;
}

static const char *layout_fixed_fault(const tsr_layout *given) {
  if (given->fixed_bytes < TSR_GRANULE) return "fixed_bytes must hold the first word";
  /* A word counts only if it lies in the fixed part whole. */
  uint64_t words = given->fixed_bytes / TSR_GRANULE;
  if (given->wide_refs == NULL) {
    if ((given->fixed_refs & 1) != 0) return "bit 0 of fixed_refs is the object's first word";
    return layout_bits_outside(given->fixed_refs, words)
               ? "fixed_refs has bits outside the fixed part"
               : NULL;
  }
  if (given->fixed_refs != 0) return "give fixed_refs or wide_refs, not both";
  if ((given->wide_refs[0] & 1) != 0) return "bit 0 of wide_refs is the object's first word";
  uint64_t last = words / 64;
  if (words % 64 != 0 && layout_bits_outside(given->wide_refs[last], words % 64)) {
    return "wide_refs has bits outside the fixed part";
  }
  return NULL;
}

/* Whether some of `count` words from `offset` on lie outside the fixed part, or are its first word, or hold
   something. */
static bool layout_words_taken(const tsr_layout *given, uint64_t offset, uint64_t count) {
  uint64_t first = offset / TSR_GRANULE;
  if (offset % TSR_GRANULE != 0 || first == 0 || first + count > given->fixed_bytes / TSR_GRANULE) {
    return true;
  }
  uint64_t length = given->length.offset / TSR_GRANULE;
  if (layout_has_array(given) && length >= first && length < first + count) return true;
  for (uint64_t i = first; i < first + count; i++) {
    uint64_t word = given->wide_refs == NULL ? 0 : given->wide_refs[i / 64] >> (i % 64);
    if (i < 64) word |= (given->fixed_refs | given->weak_refs) >> i;
    if ((word & 1) != 0) return true;
  }
  return false;
}

static bool layout_is_weak(tsr_layout_kind kind) {
  return kind == TSR_LAYOUT_WEAK || kind == TSR_LAYOUT_EPHEMERON;
}

/* What is particular to weak objects, and may not be given for others. */
static const char *layout_weak_fault(const tsr_layout *given) {
  if (given->weak_refs != 0 && given->kind != TSR_LAYOUT_WEAK) {
    return "weak_refs is for TSR_LAYOUT_WEAK only";
  }
  if (!layout_is_weak(given->kind)) {
    return given->weak_offset != 0
               ? "weak_offset is for TSR_LAYOUT_WEAK and TSR_LAYOUT_EPHEMERON only"
               : NULL;
  }
  if ((given->weak_refs & 1) != 0) return "bit 0 of weak_refs is the object's first word";
  if (layout_bits_outside(given->weak_refs, given->fixed_bytes / TSR_GRANULE)) {
    return "weak_refs has bits outside the fixed part";
  }
  uint64_t strong = given->wide_refs == NULL ? given->fixed_refs : given->wide_refs[0];
  if ((given->weak_refs & strong) != 0) return "a slot is weak or strong, not both";
  size_t words = given->kind == TSR_LAYOUT_WEAK ? 1 : sizeof(tsr_ephemeron) / TSR_GRANULE;
  if (layout_words_taken(given, given->weak_offset, words)) {
    return given->kind == TSR_LAYOUT_WEAK
               ? "weak_offset must name a word of the fixed part: not the first, no slot, and not "
                 "the length"
               : "weak_offset must name a place for a tsr_ephemeron in the fixed part, behind the "
                 "first word and without slots of a bitmap";
  }
  return NULL;
}

static const char *layout_kind_fault(const tsr_layout *given) {
  switch (given->kind) {
  case TSR_LAYOUT_FIXED:
  case TSR_LAYOUT_EPHEMERON:
    return layout_fixed_fault(given);
  case TSR_LAYOUT_WEAK:
  case TSR_LAYOUT_REFERENCES:
  case TSR_LAYOUT_BYTES:
  case TSR_LAYOUT_ELEMENTS: {
    const char *fault = layout_fixed_fault(given);
    return fault != NULL || !layout_has_array(given) ? fault : layout_array_fault(given);
  }
  case TSR_LAYOUT_CUSTOM:
    return given->object_size == NULL || given->scan == NULL
               ? "a custom layout needs object_size and scan"
               : NULL;
  }
  return "unknown kind";
}

static const char *layout_barrier_fault(const tsr_layout *given) {
  if (given->barrier == TSR_BARRIER_BACKWARD) return NULL;
  if (given->barrier != TSR_BARRIER_FORWARD) return "unknown barrier";
  return layout_is_weak(given->kind)
             ? "barrier: TSR_BARRIER_FORWARD is not for TSR_LAYOUT_WEAK and TSR_LAYOUT_EPHEMERON"
             : NULL;
}

static tsr_status layout_check(const tsr_layout *given, size_t object_align, tsr_error *error) {
  if (given == NULL || given->size != sizeof *given) {
    return error_set(error, TSR_MISMATCH,
                     "layout: its size is not that of this library's tsr_layout; begin it with "
                     "TSR_LAYOUT_INIT and compile with the library's headers");
  }
  const char *name = given->name == NULL ? "(no name)" : given->name;
  const char *fault = layout_kind_fault(given);
  if (fault == NULL) fault = layout_weak_fault(given);
  if (fault == NULL && given->align != 0 &&
      (!layout_is_power_of_two(given->align) || given->align > TSR_MAX_ALIGN)) {
    fault = "align must be a power of two, at most 4096";
  }
  if (fault == NULL &&
      (given->align_offset % object_align != 0 || given->align_offset > TSR_MAX_ALIGN)) {
    fault = "align_offset must be a multiple of the VM's object alignment, at most 4096";
  }
  if (fault == NULL) fault = layout_barrier_fault(given);
  if (fault == NULL) return TSR_OK;
  return error_set(error, TSR_INVALID_ARGUMENT, "layout %.48s: %s", name, fault);
}

/* ---- registering --------------------------------------------------------------------------------- */

static size_t layout_wide_words(const tsr_layout *given) {
  if (given->wide_refs == NULL || given->kind == TSR_LAYOUT_CUSTOM) return 0;
  return (given->fixed_bytes / TSR_GRANULE + 63) / 64;
}

/* Copies name and wide bitmap. False: no memory, nothing kept. */
static bool layout_copy_parts(layout_table *layouts, layout *l, const tsr_layout *given) {
  memory_account *account = &layouts->heap->account;
  const char *name = given->name == NULL ? "" : given->name;
  size_t name_length = strlen(name);
  l->name_bytes = (uint32_t)(name_length < LAYOUT_NAME_MOST ? name_length : LAYOUT_NAME_MOST) + 1;
  l->name = segment_request(account, MEMORY_LAYOUTS, l->name_bytes);
  if (l->name == NULL) return false;
  memcpy(l->name, name, l->name_bytes - 1);
  l->wide_words = (uint32_t)layout_wide_words(given);
  if (l->wide_words == 0) return true;
  l->wide_refs = segment_request(account, MEMORY_LAYOUTS, l->wide_words * sizeof(uint64_t));
  if (l->wide_refs == NULL) {
    segment_release(account, MEMORY_LAYOUTS, l->name, l->name_bytes);
    return false;
  }
  memcpy(l->wide_refs, given->wide_refs, l->wide_words * sizeof(uint64_t));
  return true;
}

static layout layout_compile(const tsr_layout *given, size_t object_align) {
  bool array = layout_has_array(given);
  return (layout){.kind = (uint8_t)given->kind,
                  .length_width = array ? given->length.width : 0,
                  .length_shift = array ? given->length.shift : 0,
                  .fixed_bytes = given->fixed_bytes,
                  .length_offset = array ? given->length.offset : 0,
                  .length_bias = array ? given->length.bias : 0,
                  .length_unit = array ? given->length.unit : 0,
                  .element_bytes = given->element_bytes,
                  .align = given->align > object_align ? given->align : (uint32_t)object_align,
                  .align_offset = given->align_offset,
                  .weak_offset = given->weak_offset,
                  .goes_forward = given->barrier == TSR_BARRIER_FORWARD,
                  .weak_refs = given->weak_refs,
                  .fixed_refs = given->fixed_refs,
                  .element_refs = given->element_refs,
                  .object_size = given->object_size,
                  .scan = given->scan};
}

static uint64_t layout_trace_of_slots(const layout *l) {
  bool simple = l->kind == TSR_LAYOUT_FIXED || l->kind == TSR_LAYOUT_BYTES;
  if (layout_is_leaf(l)) return 0;
  if (!simple || l->wide_words != 0) return LAYOUT_NOT_PLAIN;
  uint64_t first = (uint64_t)__builtin_ctzll(l->fixed_refs);
  uint64_t run = l->fixed_refs >> first;
  if ((run & (run + 1)) != 0) return LAYOUT_NOT_PLAIN;
  return first << 8 | (uint64_t)__builtin_popcountll(run);
}

static uint64_t layout_trace(const layout *l) {
  uint64_t granules = l->fixed_bytes / TSR_GRANULE;
  bool same = l->kind != TSR_LAYOUT_CUSTOM && l->length_width == 0 && l->align == TSR_GRANULE &&
              l->fixed_bytes % TSR_GRANULE == 0 && granules <= UINT16_MAX;
  return layout_trace_of_slots(l) | (same ? granules << 16 : 0);
}

static uint32_t layout_append(layout_table *layouts, const tsr_layout *given, tsr_error *error) {
  uint32_t index = (uint32_t)os_atomic_load(&layouts->count);
  if (index == layouts->capacity) {
    error_set(error, TSR_INVALID_ARGUMENT,
              "the layout source can name %u layouts and all are taken; widen its mask",
              layouts->capacity - 1);
    return 0;
  }
  layout compiled = layout_compile(given, layouts->heap->object_align);
  size_t table_bytes = memory_table_committed(&layouts->table);
  size_t trace_bytes = memory_table_committed(&layouts->traces);
  if (!memory_table_extend(&layouts->table, (index + 1) * sizeof(layout), MEMORY_WITHIN_LIMIT) ||
      !memory_table_extend(&layouts->traces, (index + 1) * sizeof(uint64_t), MEMORY_WITHIN_LIMIT) ||
      !layout_copy_parts(layouts, &compiled, given)) {
    memory_table_cut(&layouts->traces, trace_bytes);
    memory_table_cut(&layouts->table, table_bytes);
    error_set(error, TSR_OUT_OF_MEMORY, "no memory for another layout");
    return 0;
  }
  ((layout *)(void *)layouts->table.base)[index] = compiled;
  uint64_t *traces = (uint64_t *)(void *)layouts->traces.base;
  traces[index] = layout_trace(&compiled);
  os_atomic_store_release(&layouts->count, index + 1);
  return index;
}

/* Whether the collector's words of a weak object cover the one that leads to its type. */
static bool layout_covers_type(const tsr_layout_source *source, const tsr_layout *given) {
  size_t bytes = given->kind == TSR_LAYOUT_EPHEMERON ? sizeof(tsr_ephemeron) : TSR_GRANULE;
  return source->kind == TSR_LAYOUT_IN_TYPE && layout_is_weak(given->kind) &&
         source->type_offset >= given->weak_offset &&
         source->type_offset < given->weak_offset + bytes;
}

uint32_t layout_register(layout_table *layouts, const tsr_layout *given, tsr_error *error) {
  if (layout_check(given, layouts->heap->object_align, error) != TSR_OK) return 0;
  if (layout_covers_type(&layouts->source, given)) {
    error_set(error, TSR_INVALID_ARGUMENT,
              "layout %.48s: weak_offset names the word that leads to the object's type",
              given->name == NULL ? "(no name)" : given->name);
    return 0;
  }
  os_mutex_lock(&layouts->lock);
  uint32_t index = layout_append(layouts, given, error);
  os_mutex_unlock(&layouts->lock);
  return index;
}
