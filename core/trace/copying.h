/*
 * Visiting objects that are copied: what plans with a copy space share.
 *
 * A plan says how a survivor moves; what else may be found in from-space is the same for all: objects that were
 * moved before, that stay since their block is kept in place, that another worker has claimed, and keys that
 * ephemerons wait for.
 */
#ifndef CORE_TRACE_COPYING_H
#define CORE_TRACE_COPYING_H

#include "core/trace/kernel.h"

/* Moves an object as copy_evacuate() does, or lets it stay. `trace` is what is known of its layout (core/object/layout.h). */
typedef tsr_ref copying_move(struct worker *worker, uintptr_t base, tsr_ref object, uint64_t header,
                             uint64_t trace, bool shared);

/*
 * An object that ephemerons wait for, in the copy space. Claims are made on its first word where that is kept. It
 * is moved, or stays, and is queued, leaf or not, with its first word displaced as before: whoever
 * scans it lets the ephemerons go. Where it is now comes out. False: another worker has it.
 */
bool copying_visit_key(copying_move *move, struct worker *worker, tsr_ref object,
                       uint64_t displaced, bool shared, tsr_ref *result);

/* The same with whatever the kernel keeps in registers. */
OS_ALWAYS_INLINE bool copying_meet_key(copying_move *move, kernel_run *run, tsr_ref object,
                                       uint64_t displaced, bool shared, tsr_ref *result) {
  kernel_save(run);
  bool met = copying_visit_key(move, run->worker, object, displaced, shared, result);
  kernel_restore(run);
  return met;
}

/* An object of from-space: moved before, kept before, or reached now. */
OS_ALWAYS_INLINE tsr_ref copying_visit_copied(copying_move *move, kernel_run *run, tsr_ref object,
                                              bool shared) {
  uint64_t header = shared ? header_load_shared(object) : header_load(object);
  for (;;) {
    if (!header_is_unreached(header)) {
      if (header_is_forwarded(header)) return (tsr_ref)forwarding_target(run->base, header);
      if (header_stays(header)) return object;
      if (header_is_displaced(header)) {
        tsr_ref now;
        if (copying_meet_key(move, run, object, header, shared, &now)) return now;
        header = header_load_shared(object);
        continue;
      }
    }
    if (!shared) break;
    uint64_t claimed = header_with_forward_bits(header, GC_CLAIMED);
    if (!header_is_claimed(header) && header_exchange_shared(object, header, claimed)) break;
    /* Another worker has it, for as long as it takes to copy it. */
    os_pause();
    header = header_load_shared(object);
  }
  uint64_t trace = kernel_layout(run, header);
  tsr_ref now = move(run->worker, run->base, object, header, trace, shared);
  if (!kernel_is_leaf(header, trace)) kernel_push(run, now);
  return now;
}

/* An object in a block that is kept in place. */
OS_ALWAYS_INLINE tsr_ref copying_visit_pinned(copying_move *move, kernel_run *run, tsr_ref object,
                                              bool shared) {
  uint64_t header;
  for (;;) {
    header = shared ? header_load_shared(object) : header_load(object);
    if (header_stays(header)) return object;
    if (header_is_displaced(header)) {
      tsr_ref now; /* where it was */
      if (copying_meet_key(move, run, object, header, shared, &now)) return object;
      continue;
    }
    uint64_t staying = header_with_forward_bits(header, GC_STAYS);
    if (shared && !header_exchange_shared(object, header, staying)) continue;
    if (!shared) header_store(object, staying);
    break;
  }
  if (!header_is_leaf(header)) kernel_push(run, object);
  return object;
}

/* Where an object of the copy space is that the trace has reached so far; NULL: it has not. */
tsr_ref copying_survivor(const tsr_heap *heap, tsr_ref object, enum block_space space);

/* A pin: keeps a block of from-space in place. */
void copying_pin(tsr_heap *heap, tsr_ref object);

/* What a plan with a copy space may come to hold: from-space and to-space at once, and what stays. */
size_t copying_footprint_blocks(const tsr_heap *heap, size_t default_blocks, size_t staying_blocks);
#define COPYING_LEAST_BLOCKS 4 /* for one of from-space */

/* After the trace: retires every worker's destinations, and frees from-space. Returns the bytes of what was copied
   or stays there. */
size_t copying_release(tsr_heap *heap);

#endif
