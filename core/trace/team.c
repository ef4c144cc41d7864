/*
 * Threads, jobs, and the end of a shared trace.
 */
#include "core/trace/team.h"

#include "core/os/machine.h"

/* A worker is worth its wake-up for so much that may be live, unless the option says how many there are. */
#define TEAM_BYTES_PER_WORKER  ((size_t)2 << 20)
/* But for so many or more what is young is not tried with one. */
#define TEAM_PACED_WORKERS     8u
#define TEAM_LEAST_GAIN        1.25
#define TEAM_PACE_TURNS        32u
/* The least memory of one queue. */
#define TEAM_LEAST_QUEUE_BYTES ((size_t)512)
/* The most that the queues take for the time of a trace, where the heap's maximum leaves so much: enough for a
   random graph of small objects. */
#define TEAM_MOST_QUEUE_SHARE  24
/* How often an idle worker looks for work before it waits. */
#define TEAM_LOOKS             200

/* ---- opening ---------------------------------------------------------------------------------- */

static bool team_open_queues(struct team *team, tsr_heap *heap) {
  size_t most = (size_t)heap->options.values.heap_max / TEAM_MOST_QUEUE_SHARE;
  size_t bytes = os_page_round(most + heap_queue_bytes(0));
  if (!memory_table_create(&team->queues, &heap->account, MEMORY_MARK_QUEUE, "mark queues", bytes))
    return false;
  if (memory_table_extend(&team->queues, heap_queue_bytes(0), MEMORY_WITHIN_LIMIT)) return true;
  memory_table_destroy(&team->queues);
  return false;
}

static bool team_open_locks(struct team *team) {
  if (!os_mutex_create(&team->lock)) goto no_lock;
  if (!os_condition_create(&team->called)) goto no_called;
  if (!os_condition_create(&team->idle)) goto no_idle;
  if (os_condition_create(&team->ended)) return true;
  os_condition_destroy(&team->idle);
no_idle:
  os_condition_destroy(&team->called);
no_called:
  os_mutex_destroy(&team->lock);
no_lock:
  return false;
}

static void team_close_locks(struct team *team) {
  os_condition_destroy(&team->ended);
  os_condition_destroy(&team->idle);
  os_condition_destroy(&team->called);
  os_mutex_destroy(&team->lock);
}

tsr_status team_open(tsr_heap *heap, tsr_error *error) {
  memory_account *account = &heap->account;
  struct team *team = segment_request(account, MEMORY_INSTANCE, sizeof *team);
  if (team == NULL) goto no_memory;
  team->heap = heap;
  team->active = 1;
  team->history[false].surviving = team->history[true].surviving = TEAM_SHARE;
  team->first.heap = heap;
  uint64_t asked = heap->options.values.threads;
  team->most = asked != 0 ? (uint32_t)asked : os_processors();
  team->members = segment_request(account, MEMORY_INSTANCE, team->most * sizeof *team->members);
  if (team->members == NULL) goto no_members;
  if (!team_open_queues(team, heap)) goto no_queues;
  if (!team_open_locks(team)) goto no_locks;
  heap->team = team;
  return TSR_OK;

no_locks:
  memory_table_destroy(&team->queues);
no_queues:
  segment_release(account, MEMORY_INSTANCE, team->members, team->most * sizeof *team->members);
no_members:
  segment_release(account, MEMORY_INSTANCE, team, sizeof *team);
no_memory:
  return heap_no_memory(heap, error);
}

void team_close(tsr_heap *heap) {
  struct team *team = heap->team;
  memory_account *account = &heap->account;
  os_mutex_lock(&team->lock);
  team->closing = true;
  os_condition_wake_all(&team->called);
  os_mutex_unlock(&team->lock);
  for (uint32_t i = 0; i < team->started; i++)
    os_thread_join(&team->members[i]->thread);
  for (uint32_t i = 0; i + 1 < team->most && team->members[i] != NULL; i++)
    segment_release(account, MEMORY_INSTANCE, team->members[i], sizeof *team->members[i]);
  team_close_locks(team);
  memory_table_destroy(&team->queues);
  segment_release(account, MEMORY_INSTANCE, team->members, team->most * sizeof *team->members);
  segment_release(account, MEMORY_INSTANCE, team, sizeof *team);
  heap->team = NULL;
}

/* ---- fork ----------------------------------------------------------------------------------------- */

void team_fork(tsr_heap *heap, os_fork_stage stage) {
  os_mutex_fork(&heap->team->lock, stage);
}

void team_forget_threads(tsr_heap *heap) {
  struct team *team = heap->team;
  team->started = 0;
  os_condition_forget_waiters(&team->called);
  os_condition_forget_waiters(&team->idle);
  os_condition_forget_waiters(&team->ended);
}

/* ---- threads -------------------------------------------------------------------------------------- */

static void team_work(struct worker *worker, team_job *job, void *context) {
  uint64_t begin_ns = os_thread_cpu_ns();
  job(worker, context);
  worker->cpu_ns += os_thread_cpu_ns() - begin_ns;
}

/* Waits for a job that this member takes part in. False: the heap is being destroyed. Under the lock. */
static bool team_await(struct team *team, team_member *member) {
  while (!team->closing && (team->job == NULL || member->job_number == team->job_number ||
                            member->worker.index >= team->active)) {
    os_condition_wait(&team->called, &team->lock);
  }
  member->job_number = team->job_number;
  return !team->closing;
}

static void team_main(void *context) {
  team_member *member = context;
  struct team *team = member->worker.heap->team;
  os_mutex_lock(&team->lock);
  while (team_await(team, member)) {
    team_job *job = team->job;
    void *job_context = team->context;
    os_mutex_unlock(&team->lock);
    team_work(&member->worker, job, job_context);
    os_mutex_lock(&team->lock);
    if (--team->working == 0) os_condition_wake_all(&team->ended);
  }
  os_mutex_unlock(&team->lock);
}

/* Starts another thread. False: no memory for it, or the system refuses. */
static bool team_start(struct team *team) {
  tsr_heap *heap = team->heap;
  team_member **place = &team->members[team->started];
  if (*place == NULL) {
    *place = segment_request(&heap->account, MEMORY_INSTANCE, sizeof **place);
    if (*place == NULL) return false;
  }
  team_member *member = *place;
  member->worker.heap = heap;
  member->worker.index = team->started + 1;
  member->job_number = team->job_number;
  if (!os_thread_start(&member->thread, team_main, member)) return false;
  team->started++;
  return true;
}

/* ---- gathering ------------------------------------------------------------------------------------- */

static team_history *team_history_now(struct team *team) {
  return &team->history[team->of_young];
}

/* What a collection looks at. */
static size_t team_used_bytes(const struct team *team) {
  const tsr_heap *heap = team->heap;
  size_t young = copy_space_blocks(&heap->spaces->copy);
  return (team->of_young ? young : heap->blocks.used_blocks) * BLOCK_BYTES;
}

/* What came after the collection before this one. */
static size_t team_fresh_bytes(struct team *team) {
  size_t before = team_history_now(team)->live_bytes;
  return team->used_bytes > before ? team->used_bytes - before : 0;
}

bool team_pace_shares(team_pace *pace) {
  if (pace->shared_ns == 0) return true;
  if (pace->alone_ns == 0) return false;
  bool pays = pace->shared_ns * TEAM_LEAST_GAIN <= pace->alone_ns;
  return ++pace->turns % TEAM_PACE_TURNS == 0 ? !pays : pays;
}

void team_pace_note(team_pace *pace, bool is_shared, double ns) {
  double *known = is_shared ? &pace->shared_ns : &pace->alone_ns;
  *known = *known == 0 ? ns : sizing_smooth(*known, ns);
}

void team_note_pace(struct team *team, uint64_t ns) {
  size_t bytes = team_copied_bytes(team);
  if (!team->is_paced || bytes < TEAM_BYTES_PER_WORKER / 2) return;
  team_pace_note(&team->pace, team_is_shared(team), (double)ns / (double)bytes);
}

static uint32_t team_wanted(struct team *team) {
  team->is_paced = false;
  if (team->heap->options.values.threads != 0) return team->most;
  const team_history *history = team_history_now(team);
  size_t expected = history->live_bytes + team_fresh_bytes(team) / TEAM_SHARE * history->surviving;
  size_t worthwhile = 1 + expected / TEAM_BYTES_PER_WORKER;
  team->is_paced = team->of_young && worthwhile > 1 && worthwhile < TEAM_PACED_WORKERS;
  if (team->is_paced && !team_pace_shares(&team->pace)) return 1;
  return worthwhile < team->most ? (uint32_t)worthwhile : team->most;
}

size_t team_note_live(struct team *team, size_t live_bytes, size_t left_bytes) {
  team_history *history = team_history_now(team);
  size_t fresh = team_fresh_bytes(team);
  size_t more = live_bytes > history->live_bytes ? live_bytes - history->live_bytes : 0;
  history->surviving = more < fresh ? (uint32_t)(more / (fresh / TEAM_SHARE + 1)) : TEAM_SHARE;
  history->live_bytes = left_bytes;
  return more;
}

uint64_t team_cpu_ns(struct team *team) {
  uint64_t cpu_ns = os_thread_cpu_ns();
  for (uint32_t i = 1; i < team->active; i++)
    cpu_ns += team_worker(team, i)->cpu_ns;
  return cpu_ns;
}

size_t team_copied_bytes(struct team *team) {
  size_t bytes = 0;
  for (uint32_t i = 0; i < team->active; i++) {
    const struct worker *worker = team_worker(team, i);
    bytes += worker->targets.live_bytes + worker->promotions.live_bytes + worker->leaves.live_bytes;
  }
  return bytes;
}

/* Memory that neither the heap's blocks nor those that the plan may come to need will take. */
static size_t team_spare_bytes(const tsr_heap *heap) {
  size_t blocks = heap_form(heap)->footprint_blocks(heap, 0, 0) * BLOCK_BYTES;
  size_t committed = os_atomic_load(&heap->account.by_type[MEMORY_BLOCKS].bytes);
  size_t to_come = blocks > committed ? blocks - committed : 0;
  size_t headroom = memory_headroom(&heap->account);
  return headroom > to_come ? headroom - to_come : 0;
}

/* The queues' share of the heap, and for the time of the trace as much more as is useful and nobody misses. */
static void team_extend_queues(struct team *team) {
  size_t limit_bytes = os_atomic_load(&team->heap->limit_bytes);
  memory_table *queues = &team->queues;
  (void)memory_table_extend(queues, heap_queue_bytes(limit_bytes), MEMORY_WITHIN_LIMIT);
  size_t wanted = limit_bytes / TEAM_MOST_QUEUE_SHARE;
  size_t spare = team_spare_bytes(team->heap);
  size_t committed = memory_table_committed(queues);
  if (wanted < committed) return;
  if (wanted - committed > spare) wanted = committed + spare;
  (void)memory_table_extend(queues, wanted / os_page_bytes() * os_page_bytes(),
                            MEMORY_WITHIN_LIMIT);
}

void team_disperse(struct team *team) {
  size_t kept = os_page_round(heap_queue_bytes(os_atomic_load(&team->heap->limit_bytes)));
  memory_table_cut(&team->queues, kept);
}

void team_gather(struct team *team, bool of_young) {
  team_extend_queues(team);
  team->of_young = of_young;
  team->used_bytes = team_used_bytes(team);
  uint32_t wanted = team_wanted(team);
  size_t queues = memory_table_committed(&team->queues) / TEAM_LEAST_QUEUE_BYTES;
  if (wanted > queues) wanted = (uint32_t)queues;
  os_mutex_lock(&team->lock);
  while (team->started + 1 < wanted && team_start(team)) {
  }
  team->active = team->started + 1 < wanted ? team->started + 1 : wanted;
  team->job = NULL;
  os_mutex_unlock(&team->lock);
  size_t share = memory_table_committed(&team->queues) / team->active / 64 * 64;
  for (uint32_t i = 0; i < team->active; i++) {
    struct worker *worker = team_worker(team, i);
    worker_reset(worker);
    mark_queue_reset(&worker->queue, team->queues.base + i * share, share);
  }
}

void team_run(struct team *team, team_job *job, void *context) {
  if (!team_is_shared(team)) {
    team_work(&team->first, job, context);
    return;
  }
  os_mutex_lock(&team->lock);
  team->job = job;
  team->context = context;
  team->job_number++;
  team->working = team->active - 1;
  os_condition_wake_all(&team->called);
  os_mutex_unlock(&team->lock);
  team_work(&team->first, job, context);
  os_mutex_lock(&team->lock);
  while (team->working > 0)
    os_condition_wait(&team->ended, &team->lock);
  team->job = NULL;
  os_mutex_unlock(&team->lock);
}

/* ---- a shared trace ---------------------------------------------------------------------------------- */

void team_begin_trace(struct team *team) {
  os_atomic_store(&team->hungry, 0);
  os_atomic_store(&team->done, 0);
}

void team_share_slow(struct team *team, struct worker *worker) {
  if (!mark_queue_share(&worker->queue)) return;
  os_mutex_lock(&team->lock);
  os_condition_wake_all(&team->idle);
  os_mutex_unlock(&team->lock);
}

static bool team_offers(struct team *team) {
  for (uint32_t i = 0; i < team->active; i++) {
    if (mark_queue_offers(&team_worker(team, i)->queue)) return true;
  }
  return false;
}

/* Steals from the others, each in turn, beginning with the next. */
static bool team_steal(struct team *team, struct worker *worker) {
  for (uint32_t i = 1; i < team->active; i++) {
    struct worker *other = team_worker(team, (worker->index + i) % team->active);
    if (mark_queue_steal(&worker->queue, &other->queue)) return true;
  }
  return false;
}

/* Waits until somebody offers work. False: the trace is done. */
static bool team_await_offer(struct team *team) {
  for (unsigned looks = 0; looks < TEAM_LOOKS; looks++) {
    if (os_atomic_load_acquire(&team->done) != 0) return false;
    if (team_offers(team)) return true;
    os_pause();
  }
  os_mutex_lock(&team->lock);
  while (os_atomic_load(&team->done) == 0 && !team_offers(team))
    os_condition_wait(&team->idle, &team->lock);
  os_mutex_unlock(&team->lock);
  return os_atomic_load(&team->done) == 0;
}

void team_end_trace(struct team *team) {
  os_mutex_lock(&team->lock);
  os_atomic_store(&team->done, 1);
  os_condition_wake_all(&team->idle);
  os_mutex_unlock(&team->lock);
}

bool team_find_work(struct team *team, struct worker *worker) {
  mark_queue *own = &worker->queue;
  while (mark_queue_offers(own)) {
    if (mark_queue_steal(own, own)) return true;
  }
  for (;;) {
    if (os_atomic_add_full(&team->hungry, 1) + 1 == team->active) {
      team_end_trace(team);
      return false;
    }
    if (!team_await_offer(team)) return false;
    os_atomic_add_full(&team->hungry, (uintptr_t)-1);
    if (team_steal(team, worker)) return true;
  }
}

static void team_trace_part(struct worker *worker, void *context) {
  (void)context;
  heap_form(worker->heap)->trace(worker, team_is_shared(worker->heap->team));
}

void team_trace(struct team *team) {
  team_begin_trace(team);
  team_run(team, team_trace_part, NULL);
  heap_form(team->heap)->rescan(&team->first);
}

void team_trace_alone(struct team *team) {
  heap_form(team->heap)->trace(&team->first, false);
  heap_form(team->heap)->rescan(&team->first);
}
