/**
 * @file layout.h
 * @brief How Tessera finds an object's size and slots: reference rule, layout source, layouts.
 *
 * A VM describes its objects as data. Data layouts are traced without leaving the collector's
 * kernel; a custom layout calls back. Layout 0 is reserved: a zero word at an object boundary is a
 * one-word filler, which is how free space inside a block stays walkable. Therefore **the first
 * word of an initialised object is never zero**.
 */
#ifndef TESSERA_LAYOUT_H
#define TESSERA_LAYOUT_H

#include <tessera/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Which words are references, for every slot of the heap. A word is a reference when its low three
 * bits are in `low_tags`, its high bits are in the span, and its address lies in the heap; all other
 * words are ignored. Tag bits, low and high, survive an update of the slot.
 *
 *     address = (word & address_mask) - bias
 *
 * All zero means "every word is a reference or null" (mask ~0, low tag 0, no high tags).
 * Low tagging:  `.address_mask = ~7ull, .low_tags = 1u << 1`.
 * NaN boxing:   `.address_mask = 0xffffffffffffull, .low_tags = 1, .high_shift = 48,
 *                .high_first = 0xfffc, .high_span = 1`.
 */
typedef struct tsr_reference_rule {
  uint64_t address_mask; /**< bits of the word that are the address; contiguous above the low tag */
  uint8_t low_tags;      /**< bit t set: words whose low three bits are t may be references */
  uint8_t high_shift;    /**< 0: the high bits are not tested; otherwise word >> high_shift is */
  uint64_t high_first;   /**< first high tag that is a reference */
  uint64_t high_span;    /**< how many consecutive high tags are references */
  uint64_t bias;         /**< bytes between an object's first word and where references point;
                              a multiple of the granule, at most 4096 */
} tsr_reference_rule;

/** Where the index of an object's layout is found. */
typedef enum tsr_layout_source_kind {
  TSR_LAYOUT_IN_HEADER = 0, /**< (first word >> shift) & mask */
  TSR_LAYOUT_IN_TYPE,       /**< in a type object that a word of the object points to */
  TSR_LAYOUT_BY_CALLBACK    /**< binding->layout_of() */
} tsr_layout_source_kind;

/**
 * All zero means: the low 16 bits of the first word's upper half (of its lower half when the GC
 * byte lies in the upper one); TSR_HEADER(id) makes such a word.
 */
typedef struct tsr_layout_source {
  tsr_layout_source_kind kind;
  uint32_t shift; /**< IN_HEADER: right shift */
  uint64_t mask;  /**< IN_HEADER: applied after the shift; 2^n - 1; may not cover the GC byte */
  uint32_t type_offset;  /**< IN_TYPE: where in the object the pointer to its type lies */
  uint64_t type_mask;    /**< IN_TYPE: bits of that word that are the address; 0 means all */
  uint32_t index_offset; /**< IN_TYPE: where in the type object a uint32_t layout index lies.
                              Type objects lie outside the heap: they must not move. */
} tsr_layout_source;

#define TSR_HEADER_SHIFT      (TSR_GC_BYTE_OFFSET < 4 ? 32 : 0)
#define TSR_HEADER_MASK       0xffffull
/** The first word of a new object, for a binding that leaves its layout source zero. */
#define TSR_HEADER(layout_id) ((uint64_t)(layout_id) << TSR_HEADER_SHIFT)

/** The kinds of layout. */
typedef enum tsr_layout_kind {
  TSR_LAYOUT_FIXED = 1,  /**< `fixed_bytes` long; slots by bitmap */
  TSR_LAYOUT_REFERENCES, /**< fixed part, then an array of slots */
  TSR_LAYOUT_BYTES,      /**< fixed part, then an array without slots */
  TSR_LAYOUT_ELEMENTS,   /**< fixed part, then elements of several words with a bitmap each */
  TSR_LAYOUT_WEAK,   /**< fixed part, some of its slots weak; then, with a length, an array of weak
                              slots: weak boxes and weak vectors (weak.h) */
  TSR_LAYOUT_CUSTOM, /**< callbacks of the VM */
  TSR_LAYOUT_EPHEMERON /**< like FIXED, and somewhere in it a tsr_ephemeron (weak.h) */
} tsr_layout_kind;

/**
 * Where the length of an array lies and how to read it.
 *
 *     count = (unsigned value at `offset`, `width` bytes >> shift) + bias
 *     bytes of the array = count * unit
 */
typedef struct tsr_length {
  uint32_t offset; /**< from the object's first word; aligned to `width` */
  uint8_t width;   /**< 1, 2, 4 or 8 */
  uint8_t shift;   /**< of a tagged fixnum, for instance; less than 8 * width */
  int32_t bias;    /**< added to the count; the sum may not be negative */
  uint32_t unit;   /**< bytes that one unit of the count stands for; at least 1 */
} tsr_length;

/**
 * Receives the slots of one object from a custom layout. Valid during the callback only.
 */
typedef struct tsr_slot_buffer {
  tsr_slot **next;
  tsr_slot **end;
} tsr_slot_buffer;

/** Appends a slot. False: the buffer is full and the slot was not taken. Inside scan callbacks only. */
TSR_INLINE bool tsr_slot_buffer_push(tsr_slot_buffer *buffer, tsr_slot *slot) {
  if (TSR_UNLIKELY(buffer->next == buffer->end)) return false;
  *buffer->next++ = slot;
  return true;
}

/** What a scan callback returns when it has reported every slot. */
#define TSR_SCAN_DONE SIZE_MAX

/** What the write barrier does about a store into an old object of a layout, under a plan that marks in steps. */
typedef enum tsr_layout_barrier {
  TSR_BARRIER_BACKWARD =
      0,              /**< the object is looked at once more; stores until then cost nothing */
  TSR_BARRIER_FORWARD /**< what is stored is marked, and the object is not looked at again; every store
                                 takes the slow path. For objects that are long to look at and seldom
                                 stored into. Where what is stored is young, or a call copies several
                                 slots, it is as BACKWARD. Not for WEAK and EPHEMERON. (The barrier of
                                 Dijkstra and others, 1978.) */
} tsr_layout_barrier;

/**
 * One layout. The object's size is rounded up to the heap's object alignment.
 *
 * Bitmaps: bit i stands for word i, counted from the object's first word (for `element_refs`, from
 * the element's). Bit 0 of an object's bitmap may not be set.
 */
typedef struct tsr_layout {
  size_t size;      /**< sizeof(tsr_layout), set by TSR_LAYOUT_INIT */
  const char *name; /**< for messages and snapshots; copied */
  tsr_layout_kind kind;
  uint32_t fixed_bytes; /**< the fixed part, first word included, so at least 8; a multiple of 8 for
                                  REFERENCES and ELEMENTS; the whole object for FIXED */
  uint64_t fixed_refs;  /**< slots among the first 64 words of the fixed part */
  const uint64_t *wide_refs; /**< for a longer fixed part: its whole bitmap, ceil(words / 64) words;
                                  copied; NULL: `fixed_refs` is all */
  tsr_length length;      /**< array kinds: how long the array is. For REFERENCES the unit is 8 or
                                  a divisor of it; for ELEMENTS it divides `element_bytes` or equals it */
  uint32_t element_bytes; /**< ELEMENTS: size of one element, a multiple of 8, at most 512 */
  uint64_t element_refs;  /**< ELEMENTS: slots of one element */
  uint64_t weak_refs;     /**< WEAK: weak slots among the first 64 words of the fixed part */
  /** WEAK: where in the fixed part a word lies that belongs to Tessera: zero in a new object, and left
      alone. EPHEMERON: where the tsr_ephemeron lies. A multiple of 8; no slot of a bitmap. */
  uint32_t weak_offset;
  uint32_t align;        /**< alignment that holds after a move, a power of two; 0: the heap's */
  uint32_t align_offset; /**< (address + align_offset) % align == 0; a multiple of the
                                  heap's object alignment */
  tsr_layout_barrier barrier; /**< for stores into old objects */

  /** CUSTOM: size in bytes. Reads only the object and memory that does not move, of other objects there all but the
      first word, which a collection may use for its own ends; any thread of the collector; may not allocate. */
  size_t (*object_size)(void *vm, tsr_ref object);
  /**
   * CUSTOM: reports the slots of `object` from position `resume` on (0 at first; what a position
   * means is the callback's own affair) until it is done or the buffer is full. Returns
   * TSR_SCAN_DONE, or the position to resume at. Where marking goes on in steps the VM may have changed the object
   * since then, or shrunk it. A collection may ask more than once. Progress must be made at each call. Same rules as
   * object_size.
   */
  size_t (*scan)(void *vm, tsr_ref object, size_t resume, tsr_slot_buffer *out);
} tsr_layout;

/** First member of a `tsr_layout` initialiser: `{TSR_LAYOUT_INIT, .name = "pair", ...}` in C and in C++20.
    In C++17, which has no such initialisers, assign the members. */
#define TSR_LAYOUT_INIT .size = sizeof(tsr_layout)

/**
 * Registers a layout and returns its index (1, 2, 3, ... in order of registration, after those of
 * `binding->layouts`), or 0 with an error: unknown kind, impossible sizes, bits outside the object,
 * a kind that this version refuses, more layouts than the layout source can name.
 * Layouts are never removed.
 * Thread: any. Collects: never. Objects of a layout may be created once this has returned.
 */
TSR_API uint32_t tsr_layout_register(tsr_heap *heap, const tsr_layout *layout, tsr_error *error);

/**
 * Size in bytes of an initialised object, as its layout says. 0 with an error where `object` does
 * not lie in the heap or its layout is unknown.
 * Thread: a mutator, or any thread while mutators are stopped. Collects: never.
 */
TSR_API size_t tsr_object_size(tsr_heap *heap, tsr_ref object, tsr_error *error);

#ifdef __cplusplus
}
#endif

#endif
