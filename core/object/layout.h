/*
 * Layouts: how to find an object's size and slots.
 *
 * The public description is checked once, when it is registered, and compiled into the `layout`
 * below, which is all that tracing looks at. The table is append-only and grows in place, so a
 * reader needs no lock: an index reaches it only after the registration that made it.
 */
#ifndef CORE_OBJECT_LAYOUT_H
#define CORE_OBJECT_LAYOUT_H

#include <tessera/weak.h>

#include "core/heap/heap.h"
#include "core/object/header.h"
#include "core/os/compiler.h"

typedef struct layout {
  uint8_t kind; /* tsr_layout_kind */
  uint8_t length_width;
  uint8_t length_shift;
  bool goes_forward; /* TSR_BARRIER_FORWARD */
  uint32_t fixed_bytes;
  uint32_t length_offset;
  int32_t length_bias;
  uint32_t length_unit;
  uint32_t element_bytes;
  uint32_t align; /* at least the heap's object alignment */
  uint32_t align_offset;
  uint32_t weak_offset; /* of the collector's word, or of the tsr_ephemeron; 0: neither */
  uint64_t weak_refs;
  uint64_t fixed_refs;
  uint64_t element_refs;
  uint64_t *wide_refs; /* NULL, or the whole bitmap of a fixed part of more than 64 words */
  uint32_t wide_words; /* words of wide_refs */
  uint32_t name_bytes;
  char *name;
  size_t (*object_size)(void *vm, tsr_ref object);
  size_t (*scan)(void *vm, tsr_ref object, size_t resume, tsr_slot_buffer *out);
} layout;

typedef struct layout_table {
  tsr_heap *heap;
  tsr_layout_source source; /* checked and completed; fixed */
  uint32_t capacity;        /* layouts that the source can name, index 0 included */
  os_atomic_word count;     /* registered, index 0 included; written under the lock */
  os_mutex lock;
  memory_table table;
  memory_table traces; /* a word for each layout: where its slots are */
} layout_table;

/*
 * What the loops of a collection need to know of most objects, in one word: where the slots are if they are *plain*,
 * none or one run in the fixed part; and the size if all objects of the layout have the same and may lie at
 * every granule. From bit 0 on: the run's length, from bit 8 its first word, from bit 16 the size in granules.
 */
#define LAYOUT_NOT_PLAIN ((uint64_t)1 << 32)

static inline uint32_t layout_trace_slots(uint64_t trace) {
  return (uint8_t)trace;
}

static inline uint32_t layout_trace_first(uint64_t trace) {
  return (uint8_t)(trace >> 8);
}

/* 0: to be looked up. */
static inline size_t layout_trace_bytes(uint64_t trace) {
  return (size_t)(uint16_t)(trace >> 16) * TSR_GRANULE;
}

/* The same of an object whose size is to be looked up all the same. */
static inline uint64_t layout_trace_sizeless(uint64_t trace) {
  return trace & ~((uint64_t)UINT16_MAX << 16);
}

static inline bool layout_trace_is_plain(uint64_t trace) {
  return (trace & LAYOUT_NOT_PLAIN) == 0;
}

/* Whether objects of the layout are known to refer to nothing. */
static inline bool layout_trace_is_leaf(uint64_t trace) {
  return (trace & (LAYOUT_NOT_PLAIN | UINT8_MAX)) == 0;
}

/* Builds heap->layouts and registers the binding's own layouts. */
tsr_status layout_table_open(tsr_heap *heap, tsr_error *error);
void layout_table_close(tsr_heap *heap);

/* Takes and lets go the lock of the table around fork(). */
void layout_table_fork(tsr_heap *heap, os_fork_stage stage);

uint32_t layout_register(layout_table *layouts, const tsr_layout *given, tsr_error *error);

static inline const layout *layout_at(const layout_table *layouts, uint32_t index) {
  return &((const layout *)(const void *)layouts->table.base)[index];
}

/* The traces by index, from 1 on, and how many can be looked up by an index in the header, the unused 0 included:
   none where the index is elsewhere. */
static inline const uint64_t *layout_traces(const layout_table *layouts) {
  return (const uint64_t *)(const void *)layouts->traces.base;
}

static inline uint64_t layout_traced_count(const layout_table *layouts) {
  return layouts->source.kind == TSR_LAYOUT_IN_HEADER ? os_atomic_load(&layouts->count) : 0;
}

/* The index that an object names elsewhere than in its header. */
OS_NEVER_INLINE uint64_t layout_index_elsewhere(const layout_table *layouts, tsr_ref object,
                                                uint64_t header) {
  const tsr_layout_source *source = &layouts->source;
  if (source->kind != TSR_LAYOUT_IN_TYPE) {
    return layouts->heap->binding->layout_of(layouts->heap->vm, object);
  }
  const tsr_slot *type = (const tsr_slot *)((const char *)object + source->type_offset);
  uint64_t word = source->type_offset == 0 ? header : type->word;
  const char *type_object = (const char *)(uintptr_t)(word & source->type_mask);
  return *(const uint32_t *)(const void *)(type_object + source->index_offset);
}

/* The layout of an object whose first word is, or was, `header`, not a forwarding word; NULL where the
   index that it names was never registered. */
OS_ALWAYS_INLINE const layout *layout_of_header(const layout_table *layouts, tsr_ref object,
                                                uint64_t header) {
  const tsr_layout_source *source = &layouts->source;
  uint64_t index = TSR_LIKELY(source->kind == TSR_LAYOUT_IN_HEADER)
                       ? (header >> source->shift) & source->mask
                       : layout_index_elsewhere(layouts, object, header);
  if (TSR_UNLIKELY(index == 0 || index >= os_atomic_load(&layouts->count))) return NULL;
  return layout_at(layouts, (uint32_t)index);
}

/* The size of an object by its trace, if that tells; 0: it does not. */
OS_ALWAYS_INLINE size_t layout_traced_bytes(const layout_table *layouts, uint64_t header) {
  const tsr_layout_source *source = &layouts->source;
  uint64_t index = (header >> source->shift) & source->mask;
  bool known = index < layout_traced_count(layouts) && !header_has_stored_hash(header);
  return known ? layout_trace_bytes(layout_traces(layouts)[index]) : 0;
}

static inline const layout *layout_of(const layout_table *layouts, tsr_ref object) {
  return layout_of_header(layouts, object, header_load(object));
}

/* Bytes of the array part of an object. */
static inline size_t layout_array_bytes(const layout *l, tsr_ref object) {
  const char *place = (const char *)object + l->length_offset;
  uint64_t count;
  switch (l->length_width) {
  case 1:
    count = *(const uint8_t *)place;
    break;
  case 2:
    count = *(const TSR_MAY_ALIAS uint16_t *)(const void *)place;
    break;
  case 4:
    count = *(const TSR_MAY_ALIAS uint32_t *)(const void *)place;
    break;
  default:
    count = ((const tsr_slot *)(const void *)place)->word;
    break;
  }
  return (size_t)((count >> l->length_shift) + (uint64_t)(int64_t)l->length_bias) * l->length_unit;
}

/* The ephemeron in an object of a layout that has one. */
static inline tsr_ephemeron *layout_ephemeron(const layout *l, tsr_ref object) {
  return (tsr_ephemeron *)(void *)((char *)object + l->weak_offset);
}

/* The weak slots of an object's array, and how many there are, of a layout with weak slots. */
static inline tsr_slot *layout_weak_elements(const layout *l, tsr_ref object, size_t *count) {
  *count = l->length_width == 0 ? 0 : layout_array_bytes(l, object) / sizeof(tsr_slot);
  return (tsr_slot *)(void *)((char *)object + l->fixed_bytes);
}

/* Whether this is a slot of the array part of an object. */
static inline bool layout_has_element_slot(const layout *l, tsr_ref object, const tsr_slot *slot) {
  size_t offset = (uintptr_t)slot - ((uintptr_t)object + l->fixed_bytes);
  if (offset >= layout_array_bytes(l, object)) return false; /* also what lies before it */
  if (l->kind == TSR_LAYOUT_REFERENCES) return offset % sizeof(tsr_slot) == 0;
  size_t within = offset % l->element_bytes;
  return within % sizeof(tsr_slot) == 0 &&
         (l->element_refs >> (within / sizeof(tsr_slot)) & 1) != 0;
}

/* Whether objects of the layout have no slots, and no callback that might tell of some. */
static inline bool layout_is_leaf(const layout *l) {
  bool simple = l->kind == TSR_LAYOUT_FIXED || l->kind == TSR_LAYOUT_BYTES;
  return simple && l->wide_words == 0 && l->fixed_refs == 0;
}

/* Whether an object's references are not all in slots that the trace visits within the object: a callback tells where they
   are, or some are weak. */
static inline bool layout_hides_references(const layout *l) {
  return l->kind == TSR_LAYOUT_CUSTOM || l->weak_offset != 0;
}

/* What lies behind an object whose first word is, or was, `header`, and belongs to it: core/object/identity.h. */
static inline size_t layout_hash_bytes(const tsr_heap *heap, uint64_t header) {
  return header_has_stored_hash(header) ? heap->hash_word_bytes : 0;
}

/* Size of an object in bytes, a multiple of the object alignment, without that. */
static inline size_t layout_object_bytes(const tsr_heap *heap, const layout *l, tsr_ref object) {
  size_t bytes = l->fixed_bytes;
  if (l->kind == TSR_LAYOUT_CUSTOM) {
    bytes = l->object_size(heap->vm, object);
  } else if (l->length_width != 0) {
    bytes += layout_array_bytes(l, object);
  }
  return (bytes + (heap->object_align - 1)) & ~(heap->object_align - 1);
}

#endif
