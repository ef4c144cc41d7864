/**
 * @file limits.h
 * @brief What else counts towards the heap's limits: native memory that its objects keep alive.
 *
 * An object of a few words may keep megabytes alive that the heap doesn't see: a buffer of malloc(),
 * a mapped file, an image. The VM tells of them here, so that such objects are collected in time. The
 * counted bytes are not part of `heap_max`, which bounds what the heap itself holds; they do count
 * in `heap_soft`.
 */
#ifndef TESSERA_LIMITS_H
#define TESSERA_LIMITS_H

#include <tessera/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Counts native memory that objects of the heap keep alive: `bytes` more, or fewer where it is
 * negative, as when a finalizer has freed it. The total stands in tsr_stats.
 *
 * A collection is due once the total has risen by more than its room above the lowest that it has
 * been since the last collection. The room is what that collection left the heap itself for
 * allocation, or `room` percent of that lowest total, whichever is more; with `heap_soft` no more
 * than that leaves; but always an eighth of what the heap needs for what is live, and 16 KiB. So
 * each such collection is paid for by growth, and a total that stays the same causes none. (V8 counts
 * from the lowest total since a collection, too.)
 *
 * `mutator`, which may be NULL, collects when it is due, with the cause "external". Without one the
 * next allocation does that may collect and finds no place in a mutator's buffer. Under a plan that
 * never collects the bytes are only counted.
 *
 * Errors, at which nothing changes: more is taken back than is counted, the total would pass 2^63,
 * or the mutator is another heap's (TSR_INVALID_ARGUMENT); the mutator is in native code and
 * `bytes` are positive, or in a no-allocation section (TSR_BUSY).
 *
 * Thread: the mutator's own, in managed code; without a mutator any, in callbacks too. Collects:
 * with a mutator, where `bytes` are positive; not otherwise.
 */
TSR_API tsr_status tsr_adjust_external(tsr_heap *heap, tsr_mutator *mutator, int64_t bytes,
                                       tsr_error *error);

#ifdef __cplusplus
}
#endif

#endif
