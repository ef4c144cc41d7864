/*
 * The heap's current size, below its maximum: how far it is filled before it is collected.
 *
 * After each collection a policy sets the size from what the heap *needs*: the blocks that the plan may
 * come to hold at its worst moment (under semispace, from-space and to-space together) plus the metadata
 * held now, without the gaps between old objects that will be filled. This is what `live` means in all that
 * follows, what sizes are compared with, and what memory costs; so one formula serves every plan. What is left
 * of the size is room for allocation.
 *
 *   fixed         the maximum, from the start
 *   proportional  live * (1 + room share)
 *   membalancer   live + sqrt(live * g / (c * s)): the square-root rule of M. Kirisame, P. Shenoy and
 *                 P. Panchekha, "Optimal Heap Limits for Reducing Browser Memory Use" (OOPSLA 2022)
 *
 * In the square-root rule g bytes are needed more in a second of running, and s bytes of what is live are
 * gone through in a second of collecting. With r bytes of room there are g / r collections in a second
 * of running, of live / s seconds each. So collecting takes the share g * live / (s * r) of the running
 * time. Where a byte of memory is worth the share c of it, the whole cost, g * live / (s * r) + c * r, is
 * least at r = sqrt(live * g / (c * s)). There collecting takes the share c * r [design: sizing].
 *
 * The first part of this file is arithmetic on its arguments alone.
 */
#ifndef CORE_HEAP_SIZING_H
#define CORE_HEAP_SIZING_H

#include <tessera/types.h>

#include "core/memory/account.h"

struct plan;

#define SIZING_POLICIES(X)                                                                         \
  X(SIZING_PROPORTIONAL, "proportional")                                                           \
  X(SIZING_FIXED, "fixed")                                                                         \
  X(SIZING_MEMBALANCER, "membalancer")

#define SIZING_POLICY_ENUM(symbol, name) symbol,
typedef enum sizing_policy {
  SIZING_POLICIES(SIZING_POLICY_ENUM) SIZING_POLICY_COUNT
} sizing_policy;

/* ---- rates ----------------------------------------------------------------------------------- */

/* Bytes in seconds, both smoothed exponentially: each sample counts as much as all before it together. A
   long sample weighs more than a short one. All zero: no sample yet. */
typedef struct sizing_rate {
  double bytes, seconds;
} sizing_rate;

double sizing_smooth(double before, double sample);

void sizing_rate_add(sizing_rate *rate, double bytes, double seconds);
/* 0: not known. */
double sizing_rate_bytes_per_s(const sizing_rate *rate);

/* ---- policies -------------------------------------------------------------------------------- */

#define SIZING_MOST_BYTES ((uint64_t)1 << 62)

/* Half of what a process may use, since it may have use for the rest; but where it is a control group
   that sets the limit, all but an eighth and at least 4 MiB. `group_bytes`: of the group alone. */
uint64_t sizing_default_max_bytes(uint64_t available_bytes, uint64_t group_bytes);

uint64_t sizing_proportional_room_bytes(uint64_t live_bytes, uint64_t room_percent);

/* `worth_ppm_per_mib`: the millionths of the running time that a MiB is worth. 0 where nothing is
   allocated, SIZING_MOST_BYTES where collecting makes no headway. */
uint64_t sizing_balanced_room_bytes(uint64_t live_bytes, double allocated_bytes_per_s,
                                    double collected_bytes_per_s, uint64_t worth_ppm_per_mib);

/* Room without which collections would come too close to each other, whatever a policy says: an eighth of
   what is live, and 16 KiB. */
uint64_t sizing_least_room_bytes(uint64_t live_bytes);

/* Between what sizes a heap may be. */
typedef struct sizing_bounds {
  uint64_t min_bytes, max_bytes;
  uint64_t soft_bytes; /* heap_soft without what is held outside; SIZING_MOST_BYTES: none */
} sizing_bounds;

/* The size for a wanted room. The maximum comes first, then the least room, heap_soft, the minimum. */
uint64_t sizing_size_bytes(uint64_t live_bytes, uint64_t room_bytes, const sizing_bounds *bounds);

/* What heap_soft leaves for the heap; a heap_soft of 0 is none. */
uint64_t sizing_soft_bytes(uint64_t soft_bytes, uint64_t external_bytes);

/* ---- time spent collecting ------------------------------------------------------------------- */

#define SIZING_WINDOW 8

/* The last collections that count, each with the time for which mutators ran before it. */
typedef struct sizing_window {
  uint64_t running_ns[SIZING_WINDOW], collecting_ns[SIZING_WINDOW];
  uint64_t waiting_ns; /* of running, for the next collection that counts */
  uint64_t spell_ns;   /* of collecting, while there is too much of it */
  uint32_t count;      /* since the window was cleared */
} sizing_window;

void sizing_window_clear(sizing_window *window);
/* Every stretch between two collections, and then the second, if it counts. */
void sizing_window_run(sizing_window *window, uint64_t running_ns);
void sizing_window_collect(sizing_window *window, uint64_t collecting_ns);
/* Whether the window is full, and more than so much of its time went into collecting. */
bool sizing_window_exceeds(const sizing_window *window, uint64_t percent);

/* Whether the maximum is what keeps a heap from having more room: at it, with less than half as much room
   as what is live. Where collections leave more, it is their number that costs time, not what is live. */
bool sizing_is_full(uint64_t live_bytes, uint64_t size_bytes, uint64_t max_bytes);

#define SIZING_SPELL_NS ((uint64_t)1000000000)

/* A collection of a heap that may be overloaded; `counts`: an allocation asked for it. True, and another
   window begins: the last that counted, eight and more, found the heap full, and there has been too much
   collecting for a second of it, to which none adds more than an eighth. Less may be an accident of a
   busy machine [design: collecting-time]. */
bool sizing_is_overload(sizing_window *window, bool is_full, bool counts, uint64_t running_ns,
                        uint64_t collecting_ns, uint64_t percent);

/* ---- external memory ------------------------------------------------------------------------- */

/* What the room for external memory depends on. */
typedef struct sizing_outside {
  uint64_t live_bytes, heap_room_bytes; /* after the last collection */
  uint64_t low_bytes;                   /* the lowest total since then */
  uint64_t soft_bytes;                  /* heap_soft; 0: none */
  uint64_t room_percent;
} sizing_outside;

/* How far the total may rise above its lowest before the heap is collected for it: the larger of the heap's
   own room and a share of the total, within heap_soft, and the least room in any case. */
uint64_t sizing_external_room_bytes(const sizing_outside *outside);

/* ---- the heap's ------------------------------------------------------------------------------ */

enum sizing_overload {
  SIZING_BEARABLE,
  SIZING_OVERLOADED,
  SIZING_FORGET /* for the next collection: begin another window */
};

typedef struct sizing {
  sizing_policy policy; /* fixed at creation */

  /* Of the collecting thread, in a pause. */
  sizing_rate allocation, collection;
  sizing_window soft_window, max_window;
  uint64_t resumed_ns;      /* when mutators ran again */
  uint64_t allocated_bytes; /* by mutators, until then */

  /* Set in a pause, read by any thread. */
  os_atomic_word
      live_bytes; /* after the last collection; raised by any thread where the heap has to grow at once */
  os_atomic_word room_bytes;  /* after the last collection */
  os_atomic_word soft_yields; /* heap_soft does not hold now */

  os_atomic_word overload;           /* enum sizing_overload: set in a pause, and by any thread */
  os_atomic_word external_bytes;     /* any thread, by compare-and-swap */
  os_atomic_word external_low_bytes; /* set in a pause, lowered by any thread */
  os_atomic_word external_is_due;    /* set by any thread, cleared in a pause */
} sizing;

/* One collection, as its pause tells it. */
typedef struct sizing_pause {
  bool for_allocation; /* an allocation could not be served without it */
  bool for_external;   /* external memory outgrew its room */
  uint64_t begin_ns;
  uint64_t apart_ns;    /* of the pause until now, what was no collecting: verifying */
  uint64_t steps_ns;    /* what the cycle that ends here took in pauses before */
  uint64_t since_bytes; /* of what is old, what came after it was found out what lives */
} sizing_pause;

/* Reads the options, and sets the first size. An unknown policy is an error. */
tsr_status sizing_open(tsr_heap *heap, tsr_error *error);

/* Whether so many more blocks may be handed out without a collection first. Grows the heap for them where
   the allowance is more than its size. */
bool heap_admits(tsr_heap *heap, size_t default_blocks, size_t staying_blocks,
                 memory_allowance allowance);
/* Lets the heap pass the size that was chosen for it until it is collected in steps, so that so many blocks fit: by as
   much again as it was given room, at most. False: that would not do. World stopped. */
bool heap_stretch(tsr_heap *heap, size_t default_blocks, size_t staying_blocks);
/* The size that it may get so. */
uint64_t heap_stretched_bytes(const tsr_heap *heap);
/* How many blocks a heap of this size can have beside everything else. */
size_t heap_blocks_within(const tsr_heap *heap, size_t limit_bytes);
/* Whether that many fit into a heap of the size that it has now. */
bool heap_fits_now(const tsr_heap *heap, size_t default_blocks, size_t staying_blocks);
/* Whether that many would fit into a heap grown to its maximum. */
bool heap_could_admit(const tsr_heap *heap, size_t default_blocks, size_t staying_blocks);

/* What of its maximum a heap needs with nothing in it: tables that it never gives back, and slack. */
size_t heap_least_bytes(const tsr_heap *heap);

/* By how much the footprint grows, as a form of the plan counts it, with so many more blocks of default placement. */
size_t heap_growth_blocks(const tsr_heap *heap, const struct plan *form, size_t default_blocks);

/* The budget of the mark queues in a heap of this size: a share that keeps all metadata together below a
   twentieth of the heap. What overflows costs time, never correctness [design: queue-overflow]. */
size_t heap_queue_bytes(size_t heap_bytes);

/* What of the heap's blocks lies free between old objects, and will be used again. */
uint64_t heap_gap_bytes(const tsr_heap *heap);

/* What mutators were given since the last collection. In a pause, before the heap is resized. */
uint64_t heap_allocated_since(const tsr_heap *heap);
/* In a pause, once what died is free: learns from this collection, and sets the current size. What came since it was known what
   lives is not expected to, for it would be given room; but it fits. */
void heap_resize(tsr_heap *heap, const sizing_pause *pause);
/* The pause of a resize ends: from now on mutators run, until the next, but for shorter pauses between. */
void heap_resume_clock(tsr_heap *heap);

/*
 * Whether the heap is overloaded: of the time of the last collections, all for allocations and in a heap
 * that is full, more than `collecting_most` went into collecting. Says so once; another window has begun.
 * Whoever allocates asks before it collects, and is out of memory instead. Any thread.
 */
bool heap_take_overload(tsr_heap *heap);
/* An allocation has failed: the VM may give something up now, so another window begins. Any thread. */
void heap_forget_overload(tsr_heap *heap);

/* Counts native memory that objects keep alive [design: external-memory]. Any thread. */
tsr_status heap_adjust_external(tsr_heap *heap, int64_t bytes, tsr_error *error);
/* Whether it has outgrown its room since the last collection. */
bool heap_external_is_due(const tsr_heap *heap);

#endif
