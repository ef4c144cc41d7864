/**
 * @file reservation.h
 * @brief Code that may not be interrupted by a collection: sections that allocate nothing, and allocations whose memory
 * is had beforehand.
 *
 * Between two safepoints no object moves and none is freed, so references may be kept in plain variables there. A
 * *no-allocation section* says where a VM relies on that, and traps what would break it. A *reservation* has the
 * memory of coming allocations ready, so that they succeed, and without a safepoint.
 */
#ifndef TESSERA_RESERVATION_H
#define TESSERA_RESERVATION_H

#include <tessera/mutator.h>
#include <tessera/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** An open no-allocation section, on the C stack. Opaque. */
typedef struct tsr_no_alloc {
  const char *file;
  int line;
  struct tsr_no_alloc *outer;
} tsr_no_alloc;

/** Opens a no-allocation section, which knows where. */
#define TSR_NO_ALLOC_BEGIN(mutator, section)                                                       \
  tsr_no_alloc_begin((mutator), (section), __FILE__, __LINE__)

/**
 * Opens a section within which this mutator may not allocate; `file` is static. Sections nest. Costs a few stores for
 * each bump pair: they are emptied, so that inline allocation misses too, and get their contents back at the
 * end. Pairs that the VM caches and has not registered are not seen.
 *
 * Fatal misuse within it, with file and line of the innermost section: an allocation of any kind; a safepoint at
 * which this mutator has to stop. Errors within it: tsr_collect() and whatever else stops the world, and
 * tsr_enter_native(), each TSR_BUSY.
 * Thread: the mutator's own, in managed code. Collects: never.
 */
TSR_API void tsr_no_alloc_begin(tsr_mutator *mutator, tsr_no_alloc *section, const char *file,
                                int line);

/** Closes the innermost section. TSR_INVALID_ARGUMENT, and nothing happens, where `section` is another.
    Thread: as tsr_no_alloc_begin(). */
TSR_API tsr_status tsr_no_alloc_end(tsr_mutator *mutator, tsr_no_alloc *section, tsr_error *error);

/**
 * Has memory ready for allocations of this mutator in default placement: at least `bytes` of them together, none larger
 * than `largest`, which is at most TSR_MAX_INLINE_BYTES. They succeed, neither collect nor stop, however full the
 * heap is meanwhile: until the bytes are used, or this mutator reaches a safepoint, for a safepoint
 * ends its reservation. An alignment above the VM's own takes as many bytes more. Zeroed memory is taken now, in
 * whole blocks as a rule; a reservation that is open is replaced.
 *
 * Errors: sizes that are none (TSR_INVALID_ARGUMENT); no memory, after what low_memory.h says of allocations, but
 * without `out_of_memory` (TSR_OUT_OF_MEMORY), and an open reservation has ended then; native code or a no-allocation section (TSR_BUSY).
 * Thread: the mutator's own, in managed code. Collects: may.
 */
TSR_API tsr_status tsr_reserve(tsr_mutator *mutator, size_t bytes, size_t largest,
                               tsr_error *error);

/** Gives back what is left of the mutator's reservation, if it has one. Thread: the mutator's own, in managed
    code. Collects: never. */
TSR_API void tsr_reserve_end(tsr_mutator *mutator);

#ifdef __cplusplus
}
#endif

#endif
