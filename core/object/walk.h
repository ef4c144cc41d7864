/*
 * Walking memory object by object. Between objects lie zero words, each a one-word filler
 * [design: walkable-blocks]: alignment gaps, and the unused ends of buffers, which were zeroed when
 * they were handed out.
 */
#ifndef CORE_OBJECT_WALK_H
#define CORE_OBJECT_WALK_H

#include "core/object/ephemeron.h"
#include "core/object/layout.h"

/* Layout and size of an object that has not been copied away, without the hash that may be appended. */
static inline const layout *object_walk_layout(const tsr_heap *heap, tsr_ref object,
                                               size_t *bytes) {
  const layout *l = layout_of(heap->layouts, object);
  HEAP_ALWAYS_CHECK(heap, l != NULL, object,
                    "an object's layout is unknown: its header was never written, or overwritten");
  *bytes = layout_object_bytes(heap, l, object);
  HEAP_ALWAYS_CHECK(heap, *bytes != 0, object, "an object's size is zero");
  return l;
}

/* Size of an object that may have been copied away: a forwarded one is as large as its copy, unless that has grown. One
   whose first word is displaced has it back while its size is asked for, for callbacks of the VM look at it. */
static inline size_t object_walk_bytes(const tsr_heap *heap, tsr_ref object) {
  uint64_t header = header_load(object);
  size_t grown = 0;
  if (header_is_forwarded(header)) {
    object = (tsr_ref)forwarding_target(heap->blocks.base, header);
    grown = forwarding_is_grown(header) ? heap->hash_word_bytes : 0;
  }
  uint64_t first = header_load(object);
  bool displaced = header_is_displaced(first);
  if (TSR_UNLIKELY(displaced)) header_store(object, header_load(displaced_home(first)));
  size_t bytes;
  object_walk_layout(heap, object, &bytes);
  bytes += layout_hash_bytes(heap, header_load(object));
  if (TSR_UNLIKELY(displaced)) header_store(object, first);
  return bytes - grown;
}

static inline size_t object_walk_bytes_looked_up(const tsr_heap *heap, tsr_ref object,
                                                 uint64_t header) {
  const layout *l = layout_of_header(heap->layouts, object, header);
  size_t bytes = l == NULL ? 0 : layout_object_bytes(heap, l, object);
  return bytes != 0 ? bytes + layout_hash_bytes(heap, header) : 0;
}

/* The same of an object that nothing vouches for and that has not been copied, in a place of `room` bytes, with this
   first word; 0: there is no such object. */
OS_ALWAYS_INLINE size_t object_walk_bytes_by(const tsr_heap *heap, tsr_ref object, uint64_t header,
                                             size_t room) {
  size_t bytes = layout_traced_bytes(heap->layouts, header);
  if (TSR_UNLIKELY(bytes == 0)) bytes = object_walk_bytes_looked_up(heap, object, header);
  return bytes <= room ? bytes : 0;
}

OS_ALWAYS_INLINE size_t object_walk_bytes_within(const tsr_heap *heap, tsr_ref object,
                                                 size_t room) {
  return object_walk_bytes_by(heap, object, header_load(object), room);
}

/* The first object at or after `at`, or `end`. */
static inline uintptr_t object_walk_next(uintptr_t at, uintptr_t end) {
  while (at < end && header_load((tsr_ref)at) == 0)
    at += TSR_GRANULE;
  return at;
}

/* The object in [at, end) that an address leads into; NULL: none, or a walk cannot get there. */
static inline tsr_ref object_walk_find(const tsr_heap *heap, uintptr_t at, uintptr_t end,
                                       uintptr_t address) {
  while ((at = object_walk_next(at, end)) < end && at <= address) {
    size_t bytes = object_walk_bytes_within(heap, (tsr_ref)at, end - at);
    if (bytes == 0) return NULL;
    if (address - at < bytes) return (tsr_ref)at;
    at += bytes;
  }
  return NULL;
}

/* Calls back for every object in [at, end), with the size that its layout tells. */
static inline void object_walk(const tsr_heap *heap, uintptr_t at, uintptr_t end,
                               tsr_object_callback callback, void *context) {
  while ((at = object_walk_next(at, end)) < end) {
    size_t bytes = object_walk_bytes(heap, (tsr_ref)at);
    callback(context, (tsr_ref)at, bytes - layout_hash_bytes(heap, header_load((tsr_ref)at)));
    at += bytes;
  }
}

#endif
