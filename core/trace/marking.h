/*
 * Marking of the old generation in steps, under a plan that is incremental.
 *
 * A *cycle* begins at the end of a minor collection, or, where there is no young generation, at the beginning of what takes
 * its place. From then on each minor collection marks what it meets that is old:
 * what roots, remembered objects, survivors and objects that it promotes refer to, and the promoted objects themselves.
 * What was marked and not scanned yet is in a log; *steps* scan it, for as long as a budget allows, with the
 * world stopped. A store into an old object needs nothing beyond what it does for minor collections: the object is
 * gray, and the next minor collection looks at what it refers to then; without a young generation the next step does.
 *
 * When a step at the end of a minor collection leaves nothing to be scanned, everything that can be reached is marked: that minor
 * collection has just looked at all that is not old or was stored into. So the *remark* follows in the same pause: weak
 * things, finalizers, and then what is not marked leaves the logs. It is swept from then on: by mutators, a few blocks
 * for each that they fill, and in pauses where that is not fast enough. Only then the next cycle may begin.
 *
 * A collection of everything, and memory that cannot be had for the log, give the marking of a cycle up: it marks
 * anew. What is left to be swept it sweeps first [design: marking-in-steps, lazy-sweep].
 */
#ifndef CORE_TRACE_MARKING_H
#define CORE_TRACE_MARKING_H

#include "core/trace/worker.h"

struct marking {
  bool is_rooted;   /* the minor collection of this pause has marked what it met */
  uint8_t failed;   /* no memory for an entry; set by any worker */
  uint8_t has_work; /* there is something to be scanned; set in a pause, read by any thread */
  uint8_t is_swept; /* a mutator has found nothing left to be swept */
  word_log gray; /* marked, not scanned: objects, or tagged ones on top of positions to resume at */
  word_log
      weak; /* old objects with weak slots and ephemerons, all that this cycle has scanned, once or more often */
  word_log weak_young; /* young ones that this pause has */

  /* When, and how fast. Rooms are blocks that the heap can still take. */
  size_t cycle_room; /* after the last cycle, or collection of everything; 0: before the first */
  size_t begin_room; /* when this cycle began */
  uint64_t begin_allocated;  /* bytes that mutators were given until then, */
  uint64_t step_allocated;   /* until the last step, */
  uint64_t last_allocated;   /* and until the last collection. These two are read by any thread */
  uint64_t remark_allocated; /* and until the last remark */
  uint64_t spent_cpu_ns;     /* on this cycle, in steps, */
  uint64_t spent_ns;         /* and by the clock */
  uint64_t spent_turns;      /* of the kernel, in its steps */
  double speed_up;       /* of steps that are shared: CPU time for time by the clock, smoothed */
  uint32_t steps_alone;  /* that are one worker's before sharing is tried again */
  uint32_t step_workers; /* that took part in the last step */
  uint64_t stress_turns; /* with stress: of the kernel in the next step; or blocks to be swept */
  double ns_per_byte;    /* of CPU time, for what is live, in the last cycle that ended; */
  double turns_per_byte; /* and of the kernel */
};

/* Builds heap->marking where the plan is incremental. */
tsr_status marking_open(tsr_heap *heap, tsr_error *error);
void marking_close(tsr_heap *heap);

/* ---- minor collections ----------------------------------------------------------------------------------- */

/* Before the trace: whether workers mark what they meet that is old. */
void marking_prepare(tsr_heap *heap);
/* After it: takes over what they found. */
void marking_gather(tsr_heap *heap);

/* Marks an old object. */
void marking_reach(struct worker *worker, tsr_ref object, enum block_space space, bool shared);
/* Notes an object with weak slots, or an ephemeron, that is being scanned. */
void marking_note_weak(struct worker *worker, tsr_ref object);
/* An object that was marked and has to be scanned. */
void marking_defer(struct worker *worker, tsr_ref object);

/* ---- steps ------------------------------------------------------------------------------------------------ */

/* In a step: queues some of what is to be scanned, for a worker whose queue is empty. False: there is nothing. */
bool marking_refill(struct worker *worker);

/* ---- pacing, world stopped --------------------------------------------------------------------------------- */

/* What it takes to mark all that is there: as long as in the last cycle; and for each turn of the kernel as long as in this one, as
   soon as that can be told, if that is more. */
double marking_whole_ns(const tsr_heap *heap);
/* What a step may take that goes on so many times as fast as one worker's: its share, but for a time no more than the goal; where
   it is late, what the pause, of which so much is over, has not used of the goals that it may then take, and where the heap
   cannot grow for long enough its share at least. */
uint64_t marking_budget_ns(const tsr_heap *heap, uint64_t elapsed_ns, double speed_up);

/* ---- cycles, world stopped ---------------------------------------------------------------------------------- */

/* Whether it is time for another cycle. */
bool marking_is_due(const tsr_heap *heap);
void marking_begin(tsr_heap *heap);
/* Scans for as long as the pacer says, in a pause of which so much is over: by the workers of the team, if that is long enough.
   Whether nothing is left. */
bool marking_step(tsr_heap *heap, uint64_t elapsed_ns);
/* Whether one is under way, and nothing was left to be scanned by its last step. */
bool marking_nears_end(const tsr_heap *heap);
/* Time that the cycle under way has taken in steps and remark; 0: there is none. */
uint64_t marking_spent_ns(const tsr_heap *heap);
/* Whether the cycle can end in this pause, with nothing left. */
bool marking_may_finish(const tsr_heap *heap);
/* The remark. */
void marking_finish(tsr_heap *heap, tsr_collection *record);
/* Sweeps what is left, for as long as a step may take where the heap has no room; else one block, to learn whether one is left.
   Whether everything is swept; then the bytes of what was old and live at the remark come out. */
bool marking_sweep_step(tsr_heap *heap, size_t *live_bytes);
/* When everything is swept: of what lies in arenas, what came after the remark; at most what mutators were given. */
uint64_t marking_since_bytes(const tsr_heap *heap);
/* Gives a cycle up, if one is under way: nothing is marked, and everything is swept. */
void marking_abandon(tsr_heap *heap);
/* What a cycle left is swept, or a collection of everything has ended, and the heap has its size for the time until the next. */
void marking_note_end(tsr_heap *heap, const tsr_collection *record);

/* Whether a full heap shall grow for a while, until a cycle has freed what is dead, or can end the cycle at once, rather than that
   everything is swept or even collected in one pause. It has grown then, by so many blocks of default placement and what is
   claimed. */
bool marking_may_grow(tsr_heap *heap, size_t default_blocks);

/* Whether a collection is due that is to begin a cycle, or to end one whose steps have nothing left, though there is memory: what
   mutators are given may be old from the beginning, and ask for no collection of the young. Any mutator. */
bool marking_collection_is_due(tsr_heap *heap);

/* While a cycle is under way, of an old object: whether it is marked; whether it is not, and so will be scanned, if ever. As
   far as that is easily seen; else the answer is no. Any mutator. */
bool marking_has(const tsr_heap *heap, tsr_ref object);
bool marking_will_scan(const tsr_heap *heap, tsr_ref object);

/* Whether a step is due without a collection, or the end of a sweep. Any mutator. */
bool marking_step_is_due(const tsr_heap *heap);

/* A mutator's share of the sweep, for memory that it is about to take. */
void marking_sweep_share(tsr_heap *heap, size_t bytes);

#endif
