/*
 * The team: the workers of a heap, their threads, and how they share a trace.
 *
 * The thread that collects is worker 0. The others have threads of their own, which are started when a
 * collection first needs them, wait between jobs, and do not survive a fork: in the child they are
 * started again. What cannot be started, for want of memory or threads, is not missed: fewer work.
 *
 * The mark queues' memory belongs to the team, and is divided among those that take part.
 *
 * The end of a shared trace: a worker whose queue is empty counts itself as idle before it looks for work
 * and takes that back before it tries to steal. A worker is only idle while both ends of its own queue are
 * empty, and only a worker that is not idle adds work; so when all are idle there is none, and whoever
 * counts itself as the last says that the trace is done [design: termination]. A worker that has no time left says so too.
 */
#ifndef CORE_TRACE_TEAM_H
#define CORE_TRACE_TEAM_H

#include "core/os/thread.h"
#include "core/trace/worker.h"

typedef void team_job(struct worker *worker, void *context);

typedef struct team_member {
  struct worker worker;
  os_thread thread;
  uint64_t job_number; /* of the job that it took part in last; under the team's lock */
} team_member;

#define TEAM_SHARE 64u /* parts of a whole */

/* What collections of a kind found: how many workers the next one is worth. */
typedef struct team_history {
  size_t live_bytes;  /* what the last one left; 0 before the first */
  uint32_t surviving; /* how much of what was fresh it found live, in TEAM_SHARE parts */
} team_history;

/* How long minor collections take for a byte that they copy, smoothed: with one worker, and with several. 0: not known. */
typedef struct team_pace {
  double alone_ns, shared_ns;
  uint32_t turns; /* how often it was asked */
} team_pace;

/* Whether the next one is to be shared: where that makes it shorter by a quarter and more. From time to time it is tried the
   other way. */
bool team_pace_shares(team_pace *pace);
void team_pace_note(team_pace *pace, bool is_shared, double ns);

struct team {
  tsr_heap *heap;
  uint32_t most;           /* option threads, or the processors; fixed */
  memory_table queues;     /* memory of the mark queues */
  struct worker first;     /* worker 0 */
  team_member **members;   /* the others: `most` - 1 places, the first `started` in use */
  uint32_t started;        /* threads that run */
  uint32_t active;         /* workers that take part in this collection, worker 0 included */
  team_history history[2]; /* collections of everything, and minor ones */
  bool of_young;           /* this one is of the second kind */
  size_t used_bytes;       /* before this one, of what it looks at */
  team_pace pace;          /* of those for which several workers might be worth their wake-up, */
  bool is_paced;           /* of which this one is */

  os_mutex lock;
  os_condition called; /* a job is there, or the end */
  os_condition idle;   /* work was shared, or the trace is done */
  os_condition ended;  /* a worker has ended its part of the job */
  /* Under the lock. */
  team_job *job;
  void *context;
  uint64_t job_number; /* counts jobs */
  uint32_t working;    /* workers that have not ended their part */
  bool closing;

  /* The shared trace. */
  os_atomic_word hungry; /* idle workers; by atomic addition */
  os_atomic_word done;   /* all were */
};

/* Builds heap->team. */
tsr_status team_open(tsr_heap *heap, tsr_error *error);
void team_close(tsr_heap *heap);

/* Takes and lets go the team's lock around fork(), with all threads waiting; in the child they are forgotten. */
void team_fork(tsr_heap *heap, os_fork_stage stage);
void team_forget_threads(tsr_heap *heap);

/* At the beginning of a collection, of what is young alone or of more, world stopped: decides how many take part, starts what
   is missing, and divides the queues' memory. */
void team_gather(struct team *team, bool of_young);
/* CPU time of the workers that take part; of those other than the caller, since the beginning. By the collecting thread, between
   jobs. */
uint64_t team_cpu_ns(struct team *team);
/* What was live, and what of it the next collection of this kind will look at again. How much of it was not there when the last
   one ended comes out. */
size_t team_note_live(struct team *team, size_t live_bytes, size_t left_bytes);
/* What the workers have copied in this collection. */
size_t team_copied_bytes(struct team *team);
/* What a minor collection took for that. */
void team_note_pace(struct team *team, uint64_t ns);
/* At its end: gives back what the queues took beyond their share. */
void team_disperse(struct team *team);

static inline bool team_is_shared(const struct team *team) {
  return team->active > 1;
}

static inline struct worker *team_worker(struct team *team, uint32_t index) {
  return index == 0 ? &team->first : &team->members[index - 1]->worker;
}

/* Every active worker does the job; returns when all have. By the collecting thread. */
void team_run(struct team *team, team_job *job, void *context);

/* Before a job that is a shared trace; and where it ends for all though something is left. */
void team_begin_trace(struct team *team);
void team_end_trace(struct team *team);
/* Shares a part of what the worker has queued, if somebody is idle. */
void team_share_slow(struct team *team, struct worker *worker);
/* Traces everything that can be reached from what the workers have queued: by all of them, or by the collecting
   thread alone. By the collecting thread. */
void team_trace(struct team *team);
void team_trace_alone(struct team *team);
/* Finds work for a worker that has none. False: the trace is done. */
bool team_find_work(struct team *team, struct worker *worker);

static inline void team_share(struct team *team, struct worker *worker) {
  if (TSR_UNLIKELY(os_atomic_load(&team->hungry) != 0)) team_share_slow(team, worker);
}

#endif
