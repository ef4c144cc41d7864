/*
 * Marking in steps.
 */
#include "core/trace/marking.h"

#include "core/os/machine.h"
#include "core/trace/remembered.h"
#include "core/trace/team.h"
#include "core/trace/weak.h"

/* Entries of the log that are queued at once. */
#define MARKING_BATCH          128u
/* A cycle begins when so much of the room that the last one left is used up, and shall end before so much is. */
#define MARKING_BEGIN_SHARE    2
#define MARKING_END_SHARE      8
/* What a mutator may be given between two steps. */
#define MARKING_STEP_BYTES     ((uint64_t)512 << 10)
/* Pause goals that a pause may take in which a step is late; and where half of what it had then is used up, too, and the heap
   cannot grow for as long as that takes. */
#define MARKING_LATE_GOALS     2
#define MARKING_LAST_GOALS     4
/* Of the pause goal, what a step takes at least; and what one is worth waking others for. */
#define MARKING_LEAST_SHARE    16
#define MARKING_WAKE_SHARE     4
/* A step that is shared has to be so many times as fast, for each object takes longer then; else so many are not shared. */
#define MARKING_LEAST_SPEED_UP 1.25
#define MARKING_STEPS_ALONE    15
/* Of what mutators are given, what grows old at least. */
#define MARKING_LEAST_GROWTH   (1.0 / 16)
/* Before anything was measured, of small objects, 64 a turn; and what a cycle is expected to take at least of what the one
   before was. Of a heap that grows nearly everything is promoted while it is marked, which tells nothing about cycles to
   come. */
#define MARKING_NS_PER_BYTE    0.5
#define MARKING_TURNS_PER_BYTE (1.0 / 2048)
#define MARKING_FALL           0.9
/* Of the turns of a cycle, those that tell how long its turns are, as a share. */
#define MARKING_TELLING_SHARE  16
/* What is left of a cycle at least, as a share of what it has taken, or was to take; and what it may take more. */
#define MARKING_LEFT_SHARE     4
/* Blocks that a mutator sweeps for each that it fills. */
#define MARKING_SWEEP_SHARE    8u
/* The largest object counts as so many blocks. */
#define MARKING_SWEEP_BLOCKS   32u
/* With stress: by how much the steps of a cycle, of one turn of the kernel at first, grow. */
#define MARKING_STRESS_GROWTH  2

/* ---- opening ------------------------------------------------------------------------------------------ */

tsr_status marking_open(tsr_heap *heap, tsr_error *error) {
  if (!heap->plan->incremental) return TSR_OK;
  struct marking *m = segment_request(&heap->account, MEMORY_INSTANCE, sizeof *m);
  if (m == NULL) return heap_no_memory(heap, error);
  m->ns_per_byte = MARKING_NS_PER_BYTE;
  m->turns_per_byte = MARKING_TURNS_PER_BYTE;
  m->speed_up = 1;
  heap->marking = m;
  return TSR_OK;
}

static void marking_drop_logs(tsr_heap *heap) {
  word_log_drop(heap, &heap->marking->gray);
  word_log_drop(heap, &heap->marking->weak);
  word_log_drop(heap, &heap->marking->weak_young);
}

void marking_close(tsr_heap *heap) {
  if (heap->marking == NULL) return;
  marking_drop_logs(heap);
  segment_release(&heap->account, MEMORY_INSTANCE, heap->marking, sizeof *heap->marking);
  heap->marking = NULL;
}

/* ---- what workers find -------------------------------------------------------------------------------- */

static void marking_log(struct worker *worker, word_log *log, uintptr_t word) {
  if (!word_log_push(worker->heap, log, word)) os_atomic8_set(&worker->heap->marking->failed);
}

void marking_defer(struct worker *worker, tsr_ref object) {
  marking_log(worker, &worker->gray, (uintptr_t)object);
}

void marking_note_weak(struct worker *worker, tsr_ref object) {
  enum block_space space = block_map_space_of(&worker->heap->blocks, (uintptr_t)object);
  word_log *log = block_space_stays(space) ? &worker->weak : &worker->weak_young;
  marking_log(worker, log, (uintptr_t)object);
}

void marking_reach(struct worker *worker, tsr_ref object, enum block_space space, bool shared) {
  if (block_space_has_bits_only(space)) {
    if (!arena_reach(worker->heap, object, shared) || space == BLOCK_LEAVES) return;
    marking_defer(worker, object);
  } else if (worker_reach_special(worker, object, space, shared)) {
    marking_defer(worker, object);
  }
}

/* Marks what was stored behind a forward barrier, if a cycle is under way. */
static void marking_take_ahead(tsr_heap *heap) {
  tsr_ref stored;
  while (remembered_pop_ahead(heap, &stored)) {
    enum block_space space = block_map_space_of(&heap->blocks, (uintptr_t)stored);
    if (heap_is_marking(heap)) marking_reach(&heap->team->first, stored, space, false);
  }
}

void marking_prepare(tsr_heap *heap) {
  struct marking *m = heap->marking;
  marking_take_ahead(heap);
  m->is_rooted = heap_is_marking(heap);
  os_atomic64_store_release(&m->last_allocated, os_atomic_load(&heap->bytes_allocated));
  word_log_drop(heap, &m->weak_young);
  for (uint32_t i = 0; i < heap->team->active; i++)
    team_worker(heap->team, i)->marks_old = heap_is_marking(heap);
}

void marking_gather(tsr_heap *heap) {
  for (uint32_t i = 0; i < heap->team->active; i++) {
    struct worker *worker = team_worker(heap->team, i);
    worker->marks_old = false;
    word_log_take(&heap->marking->gray, &worker->gray);
    word_log_take(&heap->marking->weak, &worker->weak);
    word_log_take(&heap->marking->weak_young, &worker->weak_young);
  }
}

/* ---- pacing -------------------------------------------------------------------------------------------- */

static bool marking_is_stressed(const tsr_heap *heap) {
  return heap->options.values.stress != 0;
}

/* What a heap of some size can still take, gaps between old objects included. */
static size_t marking_room_within(const tsr_heap *heap, size_t bytes) {
  size_t most = heap_blocks_within(heap, bytes);
  size_t taken = heap_form(heap)->footprint_blocks(heap, 0, 0);
  size_t gaps = (size_t)heap_gap_bytes(heap) >> BLOCK_SHIFT;
  return most + gaps > taken ? most + gaps - taken : 0;
}

/* The size is the one that was chosen. Beyond that it has grown only until the cycle ends. */
static size_t marking_room(const tsr_heap *heap) {
  const sizing *s = &heap->sizing;
  size_t chosen = os_atomic_load(&s->live_bytes) + os_atomic_load(&s->room_bytes);
  size_t limit = os_atomic_load(&heap->limit_bytes);
  return marking_room_within(heap, limit < chosen ? limit : chosen);
}

/* It falls slowly. */
static void marking_learn(double *known, double measured) {
  double least = *known * MARKING_FALL;
  *known = measured > least ? measured : least;
}

void marking_note_end(tsr_heap *heap, const tsr_collection *record) {
  struct marking *m = heap->marking;
  m->cycle_room = marking_room(heap);
  double live_bytes = (double)record->live_bytes;
  if (record->live_bytes == 0) return;
  if (record->swept == 0) {
    marking_learn(&m->ns_per_byte, (double)record->trace_cpu_ns / live_bytes);
  } else {
    marking_learn(&m->ns_per_byte, (double)m->spent_cpu_ns / live_bytes);
    marking_learn(&m->turns_per_byte, (double)m->spent_turns / live_bytes);
  }
}

static size_t marking_cycle_room(const tsr_heap *heap) {
  size_t room = heap->marking->cycle_room;
  return room != 0 ? room : os_atomic_load(&heap->limit_bytes) >> BLOCK_SHIFT;
}

double marking_whole_ns(const tsr_heap *heap) {
  const struct marking *m = heap->marking;
  double bytes = (double)heap->blocks.used_blocks * BLOCK_BYTES - (double)heap_gap_bytes(heap);
  if (bytes <= 0) return 0;
  double ns = bytes * m->ns_per_byte, turns = bytes * m->turns_per_byte;
  double spent_turns = (double)m->spent_turns;
  if (!heap_is_marking(heap) || spent_turns * MARKING_TELLING_SHARE <= turns) return ns;
  double told_ns = turns * (double)m->spent_cpu_ns / spent_turns;
  return told_ns > ns ? told_ns : ns;
}

/* Blocks that mutators are given while a cycle runs whose steps all take as long as they may, and which takes somewhat more than
   is expected. */
static size_t marking_blocks_meanwhile(const tsr_heap *heap) {
  double whole_ns = marking_whole_ns(heap) * (1 + 1.0 / MARKING_LEFT_SHARE);
  double steps = whole_ns / (double)heap->options.values.pause_goal;
  return (size_t)(steps * (double)MARKING_STEP_BYTES) >> BLOCK_SHIFT;
}

bool marking_is_due(const tsr_heap *heap) {
  size_t room = marking_room(heap), cycle_room = marking_cycle_room(heap);
  size_t late = cycle_room / MARKING_END_SHARE + marking_blocks_meanwhile(heap);
  return marking_is_stressed(heap) || room <= cycle_room / MARKING_BEGIN_SHARE || room <= late;
}

/* Between two collections that look at roots for a cycle. */
static uint64_t marking_interval_bytes(const tsr_heap *heap) {
  if (!heap_form(heap)->generational) return MARKING_STEP_BYTES;
  return (uint64_t)nursery_blocks(heap) << BLOCK_SHIFT;
}

bool marking_collection_is_due(tsr_heap *heap) {
  const struct marking *m = heap->marking;
  if (m == NULL || heap_is_sweeping(heap) || marking_is_stressed(heap)) return false;
  uint64_t last = os_atomic64_load_acquire(&m->last_allocated);
  uint64_t young = (uint64_t)large_space_young_blocks(&heap->spaces->large) << BLOCK_SHIFT;
  uint64_t least =
      marking_interval_bytes(heap) + young; /* the next minor collection asks for itself */
  if (os_atomic_load(&heap->bytes_allocated) - last < least) return false;
  if (heap_is_marking(heap)) return marking_nears_end(heap);
  os_mutex_lock(&heap->admission);
  bool is_due = marking_is_due(heap);
  os_mutex_unlock(&heap->admission);
  return is_due;
}

bool marking_may_grow(tsr_heap *heap, size_t default_blocks) {
  if (heap_stretch(heap, default_blocks, heap->claim_blocks)) return true;
  if (!heap_is_sweeping(heap)) return marking_nears_end(heap);
  spaces_sweep_all(heap);
  return heap_stretch(heap, default_blocks, heap->claim_blocks);
}

static bool marking_is_in_bits(const tsr_heap *heap, tsr_ref object) {
  return block_space_has_bits_only(block_map_space_of(&heap->blocks, (uintptr_t)object));
}

static bool marking_bit(const tsr_heap *heap, tsr_ref object) {
  return object_bit_get_shared(heap->bits.marks, object_bit_index(&heap->bits, (uintptr_t)object));
}

bool marking_has(const tsr_heap *heap, tsr_ref object) {
  return marking_is_in_bits(heap, object) && marking_bit(heap, object);
}

bool marking_will_scan(const tsr_heap *heap, tsr_ref object) {
  return marking_is_in_bits(heap, object) && !marking_bit(heap, object);
}

bool marking_step_is_due(const tsr_heap *heap) {
  const struct marking *m = heap->marking;
  if (heap_is_sweeping(heap)) return os_atomic8_is_set(&m->is_swept);
  return heap_is_marking(heap) && os_atomic8_is_set(&m->has_work) &&
         os_atomic_load(&heap->bytes_allocated) - os_atomic64_load_acquire(&m->step_allocated) >=
             MARKING_STEP_BYTES;
}

/* How much of the room is used up with each byte that mutators are given. */
static double marking_growth(const tsr_heap *heap, size_t room) {
  const struct marking *m = heap->marking;
  double given = (double)(os_atomic_load(&heap->bytes_allocated) - m->begin_allocated);
  double used = room < m->begin_room ? (double)(m->begin_room - room) * BLOCK_BYTES : 0;
  double growth = given > 0 ? used / given : 0;
  return growth > MARKING_LEAST_GROWTH ? growth : MARKING_LEAST_GROWTH;
}

static double marking_left_ns(const tsr_heap *heap) {
  double whole_ns = marking_whole_ns(heap), spent_ns = (double)heap->marking->spent_cpu_ns;
  double least_ns = (spent_ns > whole_ns ? spent_ns : whole_ns) / MARKING_LEFT_SHARE;
  return whole_ns - spent_ns > least_ns ? whole_ns - spent_ns : least_ns;
}

/* Whether the heap may grow for as long as it takes to do what is left in steps of so much time each, if mutators are given as
   much between two steps as they were before this one; before the first of a cycle there may have been nothing to do. */
static bool marking_can_wait(const tsr_heap *heap, double step_ns) {
  double steps = 1 + marking_left_ns(heap) / step_ns;
  size_t room = marking_room_within(heap, (size_t)heap_stretched_bytes(heap));
  uint64_t given = os_atomic_load(&heap->bytes_allocated) - heap->marking->step_allocated;
  if (given < MARKING_STEP_BYTES || heap->marking->spent_ns == 0) given = MARKING_STEP_BYTES;
  return steps * (double)given <= (double)room * BLOCK_BYTES;
}

/* The share of what is left to do that mutators have used up of so much room that was left to use. */
static double marking_share_ns(const tsr_heap *heap, size_t room, size_t usable_room) {
  const struct marking *m = heap->marking;
  double left_ns = marking_left_ns(heap);
  double given = (double)(os_atomic_load(&heap->bytes_allocated) - m->step_allocated);
  double used = given * marking_growth(heap, room), usable = (double)usable_room * BLOCK_BYTES;
  return used < usable ? left_ns * used / usable : left_ns;
}

/* What is left of a pause, of which so much is over, for a step that is late: of two goals; or, where it is about the last, and the
   heap cannot grow for as long as such steps take, of four, all workers taken together. Where it can grow for as long as these
   take, they are enough: its share counts no more. */
static uint64_t marking_late_ns(const tsr_heap *heap, uint64_t elapsed_ns, double speed_up,
                                bool is_last, uint64_t *share_ns) {
  double goal_ns = (double)heap->options.values.pause_goal, late_ns = MARKING_LATE_GOALS * goal_ns;
  bool can_wait = marking_can_wait(heap, late_ns * speed_up);
  if (is_last && !can_wait) {
    double last_ns = MARKING_LAST_GOALS * goal_ns / speed_up;
    if (last_ns > late_ns) late_ns = last_ns;
    can_wait = marking_can_wait(heap, late_ns * speed_up);
  }
  if (can_wait) *share_ns = 0;
  return (uint64_t)late_ns > elapsed_ns ? (uint64_t)late_ns - elapsed_ns : 0;
}

uint64_t marking_budget_ns(const tsr_heap *heap, uint64_t elapsed_ns, double speed_up) {
  uint64_t goal_ns = heap->options.values.pause_goal;
  uint64_t least_ns = goal_ns / MARKING_LEAST_SHARE;
  size_t room = marking_room(heap);
  size_t end_room = marking_cycle_room(heap) / MARKING_END_SHARE;
  bool is_late = room <= end_room;
  size_t usable_room = is_late ? room : room - end_room;
  uint64_t share_ns = (uint64_t)(marking_share_ns(heap, room, usable_room) / speed_up);
  if (is_late) {
    uint64_t late_ns = marking_late_ns(heap, elapsed_ns, speed_up, room <= end_room / 2, &share_ns);
    if (late_ns > least_ns) least_ns = late_ns;
  } else if (share_ns > goal_ns) {
    share_ns = goal_ns;
  }
  return share_ns > least_ns ? share_ns : least_ns;
}

/* ---- steps ----------------------------------------------------------------------------------------------- */

/* Moves some of what is to be scanned from the log to a worker's queue, which is empty. How much. */
static size_t marking_take(struct worker *worker) {
  tsr_heap *heap = worker->heap;
  word_log *gray = &heap->marking->gray;
  mark_queue *queue = &worker->queue;
  uintptr_t word, position;
  size_t count = 0;
  word_log_take(gray, &worker->gray);
  while (count < MARKING_BATCH && mark_queue_has_room(queue, 3) &&
         word_log_pop(heap, gray, &word)) {
    if ((word & QUEUE_RESUMES) != 0 && word_log_pop(heap, gray, &position)) {
      mark_queue_push_resume(queue, (tsr_ref)(word & ~QUEUE_RESUMES), position);
    } else {
      mark_queue_push(queue, (tsr_ref)word);
    }
    count++;
  }
  return count;
}

bool marking_refill(struct worker *worker) {
  tsr_heap *heap = worker->heap;
  if (!worker->in_steps || os_atomic8_is_set(&heap->marking->failed)) return false;
  os_mutex_lock(&heap->team->lock);
  size_t count = marking_take(worker);
  os_mutex_unlock(&heap->team->lock);
  return count > 0;
}

/* What a step leaves goes back to the log: also what the worker offers to others, who have ended. */
static void marking_put_back(struct worker *worker) {
  mark_queue *queue = &worker->queue;
  do {
    for (const uintptr_t *at = queue->bottom; at != queue->top;) {
      if ((*at & QUEUE_RESUMES) != 0) {
        marking_log(worker, &worker->gray, at[1]);
        marking_log(worker, &worker->gray, at[0]);
        at += 3;
      } else {
        marking_log(worker, &worker->gray, *at++);
      }
    }
  } while (mark_queue_steal(queue, queue));
  queue->bottom = queue->top = queue->start;
}

/* Without a young generation what was stored into is the steps' business. */
static bool marking_reads_log(const tsr_heap *heap) {
  return !heap_form(heap)->generational;
}

static void marking_take_slots(struct worker *worker, bool shared) {
  worker->marks_old = true;
  remembered_take_slots(worker, shared);
  worker->marks_old = false;
}

/* Whether the next step has something to do. */
static bool marking_is_left(const tsr_heap *heap) {
  return !word_log_is_empty(&heap->marking->gray) ||
         (marking_reads_log(heap) && !remembered_is_read(heap));
}

/* A step as workers do it. */
typedef struct step_bounds {
  uint64_t deadline_ns; /* by the clock; WORKER_NEVER: none */
  uint64_t turns;       /* of each worker's kernel; WORKER_NEVER: any number */
  uint32_t workers;     /* all of the team, or the collecting thread alone */
} step_bounds;

static step_bounds marking_bounds(tsr_heap *heap, uint64_t elapsed_ns) {
  struct marking *m = heap->marking;
  uint32_t workers = heap->team->active;
  if (marking_is_stressed(heap)) {
    return (step_bounds){WORKER_NEVER, m->stress_turns, workers};
  }
  uint64_t budget_ns = marking_budget_ns(heap, elapsed_ns, 1);
  if (budget_ns < heap->options.values.pause_goal / MARKING_WAKE_SHARE) workers = 1;
  if (workers > 1 && m->steps_alone > 0) {
    m->steps_alone--;
    workers = 1;
  }
  if (workers > 1) budget_ns = marking_budget_ns(heap, elapsed_ns, m->speed_up);
  return (step_bounds){os_clock_ns() + budget_ns, WORKER_NEVER, workers};
}

/* Traces what is queued, stored into or in the log, until nothing is left or there is no time. Whoever has no time ends it for
   all. */
static void marking_step_part(struct worker *worker, void *context) {
  const step_bounds *bounds = context;
  bool is_shared = bounds->workers > 1;
  worker->in_steps = true;
  worker->is_late = false;
  worker->deadline_ns = bounds->deadline_ns;
  worker->turns_left = bounds->turns;
  if (marking_reads_log(worker->heap)) marking_take_slots(worker, is_shared);
  heap_form(worker->heap)->trace(worker, is_shared);
  if (is_shared) team_end_trace(worker->heap->team);
}

static void marking_end_part(struct worker *worker) {
  marking_put_back(worker);
  worker->in_steps = worker->is_late = false;
  worker->deadline_ns = worker->turns_left = WORKER_NEVER;
}

/* How many turns of the kernel a step was, all workers taken together. */
static uint64_t marking_turns(struct team *team, const step_bounds *bounds) {
  uint64_t turns = 0;
  for (uint32_t i = 0; i < bounds->workers; i++)
    turns += bounds->turns - team_worker(team, i)->turns_left;
  return turns;
}

/* What a part of a cycle has taken. That several workers share a step is worth what they get done: where the graph is narrow,
   or the processors are others', no more than one would. */
static void marking_count(tsr_heap *heap, uint64_t begin_ns, uint64_t begin_cpu_ns,
                          uint32_t workers) {
  struct marking *m = heap->marking;
  uint64_t ns = os_clock_ns() - begin_ns, cpu_ns = team_cpu_ns(heap->team) - begin_cpu_ns;
  m->spent_ns += ns;
  m->spent_cpu_ns += cpu_ns;
  if (workers == 1 || ns == 0) return;
  double speed_up = (double)cpu_ns / (double)ns;
  m->speed_up = sizing_smooth(m->speed_up, speed_up > 1 ? speed_up : 1);
  if (m->speed_up < MARKING_LEAST_SPEED_UP) m->steps_alone = MARKING_STEPS_ALONE;
}

bool marking_step(tsr_heap *heap, uint64_t elapsed_ns) {
  struct marking *m = heap->marking;
  struct team *team = heap->team;
  uint64_t begin_ns = os_clock_ns(), begin_cpu_ns = team_cpu_ns(team);
  heap->traces = TRACES_OLD;
  heap->phase = "marking";
  marking_take_ahead(heap);
  step_bounds bounds = marking_bounds(heap, elapsed_ns);
  if (marking_reads_log(heap)) remembered_begin_reading(heap);
  if (bounds.workers > 1) {
    team_begin_trace(team);
    team_run(team, marking_step_part, &bounds);
  } else {
    marking_step_part(&team->first, &bounds);
  }
  m->spent_turns += marking_turns(team, &bounds);
  for (uint32_t i = 0; i < team->active; i++)
    marking_end_part(team_worker(team, i));
  marking_gather(heap);
  m->step_workers = bounds.workers;
  m->stress_turns *= MARKING_STRESS_GROWTH;
  os_atomic8_store(&m->has_work, marking_is_left(heap));
  seal_close_again(heap);
  heap->phase = NULL;
  marking_count(heap, begin_ns, begin_cpu_ns, bounds.workers);
  os_atomic64_store_release(&m->step_allocated, os_atomic_load(&heap->bytes_allocated));
  if (m->failed != 0) marking_abandon(heap);
  return heap_is_marking(heap) && !marking_is_left(heap);
}

/* ---- cycles ------------------------------------------------------------------------------------------------ */

void marking_begin(tsr_heap *heap) {
  struct marking *m = heap->marking;
  os_atomic8_store(&heap->marking_is_on, 1);
  m->begin_room = marking_room(heap);
  m->begin_allocated = os_atomic_load(&heap->bytes_allocated);
  os_atomic64_store_release(&m->step_allocated, m->begin_allocated);
  m->spent_ns = m->spent_cpu_ns = m->spent_turns = 0;
  m->stress_turns = 1;
}

bool marking_nears_end(const tsr_heap *heap) {
  return heap_is_marking(heap) && !os_atomic8_is_set(&heap->marking->has_work);
}

uint64_t marking_spent_ns(const tsr_heap *heap) {
  bool is_on = heap_is_marking(heap) || heap_is_sweeping(heap);
  return is_on && heap->marking != NULL ? heap->marking->spent_ns : 0;
}

bool marking_may_finish(const tsr_heap *heap) {
  return heap_is_marking(heap) && heap->marking->is_rooted;
}

/* An object that a weak phase has to look at, unless it is dead itself. */
static void marking_find_weak(struct worker *worker, tsr_ref object) {
  const tsr_heap *heap = worker->heap;
  if (heap_form(heap)->survivor(heap, object) == NULL) return;
  worker_open(worker->heap, object);
  weak_find(worker, object, layout_of(heap->layouts, object));
}

void marking_finish(tsr_heap *heap, tsr_collection *record) {
  struct marking *m = heap->marking;
  struct worker *worker = &heap->team->first;
  uint64_t begin_ns = os_clock_ns(), begin_cpu_ns = team_cpu_ns(heap->team);
  uintptr_t object;
  heap->traces = TRACES_OLD;
  heap->phase = "remark";
  worker_reach_immortal(worker);
  while (word_log_pop(heap, &m->weak, &object) || word_log_pop(heap, &m->weak_young, &object))
    marking_find_weak(worker, (tsr_ref)object);
  team_trace(heap->team);
  weak_process(heap, record);
  weak_forward(heap);
  remembered_purge(heap);
  os_atomic8_store(&heap->marking_is_on, 0);
  m->remark_allocated = os_atomic_load(&heap->bytes_allocated);
  spaces_begin_release(heap);
  heap->phase = NULL;
  os_atomic8_store(&m->is_swept, 0);
  m->stress_turns = 1;
  marking_count(heap, begin_ns, begin_cpu_ns, 1);
}

/* ---- sweeping --------------------------------------------------------------------------------------------- */

void marking_sweep_share(tsr_heap *heap, size_t bytes) {
  size_t blocks = (bytes + BLOCK_BYTES - 1) >> BLOCK_SHIFT;
  uint32_t share = blocks < MARKING_SWEEP_BLOCKS ? (uint32_t)blocks : MARKING_SWEEP_BLOCKS;
  share *= MARKING_SWEEP_SHARE;
  uint32_t swept = spaces_sweep_some(heap, share);
  if (swept > 0) os_atomic_add_full(&heap->lazy_sweeps, 1);
  if (swept < share) os_atomic8_set(&heap->marking->is_swept);
}

/* Sweeps for as long as a step may take. Whether something is left. */
static bool marking_sweep_on(tsr_heap *heap) {
  uint64_t deadline_ns = os_clock_ns() + heap->options.values.pause_goal;
  while (spaces_sweep_some(heap, MARKING_SWEEP_SHARE) == MARKING_SWEEP_SHARE) {
    if (os_clock_ns() >= deadline_ns) return true;
  }
  return false;
}

static bool marking_sweep_stressed(tsr_heap *heap) {
  uint32_t turns = (uint32_t)heap->marking->stress_turns;
  heap->marking->stress_turns *= MARKING_STRESS_GROWTH;
  return spaces_sweep_some(heap, turns) == turns;
}

uint64_t marking_since_bytes(const tsr_heap *heap) {
  uint64_t bytes = spaces_since_sweep_bytes(heap);
  uint64_t given = os_atomic_load(&heap->bytes_allocated) - heap->marking->remark_allocated;
  return bytes < given ? bytes : given;
}

/* The verifier knows at once what is free. */
bool marking_sweep_step(tsr_heap *heap, size_t *live_bytes) {
  bool is_left;
  if (heap->verifies) {
    is_left = false;
  } else if (marking_is_stressed(heap)) {
    is_left = marking_sweep_stressed(heap);
  } else if (marking_room(heap) == 0) {
    is_left = marking_sweep_on(heap);
  } else {
    is_left = spaces_sweep_some(heap, 1) == 1;
  }
  if (!is_left) *live_bytes = spaces_finish_release(heap);
  return !is_left;
}

void marking_abandon(tsr_heap *heap) {
  struct marking *m = heap->marking;
  if (heap_is_sweeping(heap)) spaces_finish_release(heap);
  if (!heap_is_marking(heap)) return;
  marking_drop_logs(heap);
  spaces_clear_marks(heap);
  m->failed = 0;
  os_atomic8_store(&heap->marking_is_on, 0);
}
