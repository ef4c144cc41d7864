/**
 * @file types.h
 * @brief The words every other header uses: references, slots, status, errors, semantics, the GC byte.
 *
 * Sizes are in bytes unless a name says otherwise. A *granule* is 8 bytes, the unit of object size
 * and alignment. A *slot* is an 8-byte word of the VM that may hold a reference; what counts as a
 * reference is the heap's reference rule (layout.h).
 *
 * Every header compiles as C11 and as C++17 and includes no header of a third party.
 */
#ifndef TESSERA_TYPES_H
#define TESSERA_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Marks what the shared library exports; everything else stays inside it. */
#ifndef TSR_API
#if defined(__GNUC__)
#define TSR_API __attribute__((visibility("default")))
#else
#define TSR_API
#endif
#endif

#if defined(__GNUC__)
#define TSR_LIKELY(x)      __builtin_expect(!!(x), 1)
#define TSR_UNLIKELY(x)    __builtin_expect(!!(x), 0)
#define TSR_INLINE         static inline __attribute__((always_inline, unused))
#define TSR_MAY_ALIAS      __attribute__((may_alias))
#define TSR_IS_CONSTANT(x) __builtin_constant_p(x)
#else
#define TSR_LIKELY(x)   (x)
#define TSR_UNLIKELY(x) (x)
#define TSR_INLINE      static inline
#define TSR_MAY_ALIAS
#define TSR_IS_CONSTANT(x) 0
#endif

#if defined(__SANITIZE_THREAD__)
#define TSR_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TSR_THREAD_SANITIZER 1
#endif
#endif

/** Version of the library that these headers belong to. */
#define TSR_VERSION_MAJOR 0
#define TSR_VERSION_MINOR 1
#define TSR_VERSION_PATCH 0

/** Number of the binary interface; tsr_heap_create() refuses a binding compiled with another one. */
#define TSR_ABI           2u

/**
 * Which byte (0-7, in memory order) of an object's first word belongs to Tessera. The VM fixes it
 * for its whole build; the library must be built with the same value (CMake option
 * TESSERA_GC_BYTE_OFFSET), and a translation unit that disagrees with the library does not link.
 */
#ifndef TSR_GC_BYTE_OFFSET
#define TSR_GC_BYTE_OFFSET 0
#endif
#if TSR_GC_BYTE_OFFSET < 0 || TSR_GC_BYTE_OFFSET > 7
#error "TSR_GC_BYTE_OFFSET must lie between 0 and 7: it names a byte of the object's first word"
#endif

/** Bit of the GC byte that arms the write barrier. A zero byte is a correct new object. */
#define TSR_GC_ARMED 0x01u

/** Unit of size and alignment. Every object size is a multiple of it. */
#define TSR_GRANULE  8u

/**
 * Alignment of every object of this VM: 8, or 16 where the VM defines it so before including
 * Tessera. Copied into the binding by TSR_BINDING_HEADER.
 */
#ifndef TSR_OBJECT_ALIGN
#define TSR_OBJECT_ALIGN 8u
#endif

/** Largest object that default placement serves from a bump buffer; larger ones go to the large space. */
#define TSR_MAX_INLINE_BYTES 8192u

/** Largest alignment that an allocation or a layout may ask for. */
#define TSR_MAX_ALIGN        4096u

/** A reference: the address of an object's first word. The type is never completed. */
typedef struct tsr_object *tsr_ref;

/** A word of the VM that may hold a reference. Any 8-byte field may be viewed as one. */
struct TSR_MAY_ALIAS tsr_slot {
  uint64_t word;
};
typedef struct tsr_slot tsr_slot;

typedef struct tsr_heap tsr_heap;       /**< One heap. Opaque. */
typedef struct tsr_mutator tsr_mutator; /**< One VM thread's context in a heap (mutator.h). */
typedef struct tsr_options tsr_options; /**< Options pinned by the VM (options.h). Opaque. */
typedef struct tsr_visitor tsr_visitor; /**< Receives roots from callbacks (roots.h). Opaque. */
typedef struct tsr_weak_phase tsr_weak_phase; /**< In weak callbacks (weak.h). Opaque. */

/** What a function that can fail returns. */
typedef enum tsr_status {
  TSR_OK = 0,
  TSR_INVALID_ARGUMENT, /**< a value is out of its documented range; nothing changed */
  TSR_OUT_OF_MEMORY,    /**< the heap's maximum, or the system, leaves no room; nothing changed */
  TSR_UNSUPPORTED,      /**< well-formed, but this version or this plan has no such mechanism */
  TSR_BUSY,             /**< refused in this state: mutators bound, identity bound twice, ... */
  TSR_MISMATCH,         /**< ABI, structure size or capability does not fit */
  TSR_CORRUPT,          /**< the heap breaks a rule: what tsr_heap_verify() found */
  TSR_CANCELLED         /**< what was asked for has been taken back */
} tsr_status;

/** Name of a status, such as "TSR_BUSY". Any thread; never collects. */
TSR_API const char *tsr_status_name(tsr_status status);

/**
 * A message, owned by the caller: what was wrong and what to do. Functions that take a
 * `tsr_error *` accept NULL, and leave the error untouched when they succeed.
 */
typedef struct tsr_error {
  tsr_status status;
  char message[252];
} tsr_error;

/**
 * What an allocation asks for: one placement, plus flags. Every plan serves all of them.
 */
enum {
  TSR_DEFAULT = 0,    /**< wherever the plan likes; may move */
  TSR_LARGE = 1,      /**< the large space: own blocks, never moves */
  TSR_IMMORTAL = 2,   /**< never freed, never moves, and keeps alive what it refers to */
  TSR_NON_MOVING = 3, /**< freed when unreachable, never moves */
  TSR_PLACEMENTS = 4,
  TSR_PLACEMENT_MASK = 0x0f,

  TSR_LEAF = 0x10, /**< holds no references, whatever its layout says: never scanned. To be told to
                            the allocation and to tsr_post_alloc() alike: what only the first was
                            told may lie where nobody looks for references */
  TSR_CODE = 0x20, /**< holds machine code: has pages of its own, so it never moves;
                            tsr_seal() makes them executable */
  TSR_READ_ONLY =
      0x40 /**< has pages of its own, so it never moves; tsr_seal() write-protects them */
};
typedef uint32_t tsr_semantics;

/** Version of the library in use, such as "0.1.0". Any thread; never collects. */
TSR_API const char *tsr_version(void);

/*
 * The anchor below makes every translation unit refer to a symbol that carries the offset of the
 * GC byte. The library defines just the one it was built for, so a mixture does not link.
 */
#define TSR_PASTE_(a, b)   a##b
#define TSR_PASTE(a, b)    TSR_PASTE_(a, b)
#define TSR_GC_BYTE_SYMBOL TSR_PASTE(tsr_gc_byte_offset_is_, TSR_GC_BYTE_OFFSET)
TSR_API extern const char TSR_GC_BYTE_SYMBOL;
#if defined(__GNUC__)
static const char *const tsr_gc_byte_anchor __attribute__((used)) = &TSR_GC_BYTE_SYMBOL;
#endif

#ifdef __cplusplus
}
#endif

#endif
