/* threads.c - marking by several threads together (limits.h).
 *
 * Each thread has its own stack and ring, and sets mark bits atomically. There is one place where
 * work changes hands: a busy thread that sees another waiting puts the older half of its stack
 * there, which in a tree is the larger part of the work; the root array is handed out in pieces.
 * The lock is taken only then.
 */
#define _DEFAULT_SOURCE 1 /* sched_yield */
#include "bench.h"
#include "mark_loop.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#define TEAM_GIFT_ENTRIES  1024
#define TEAM_PIECE_EDGES   4096
#define TEAM_LEAST_ENTRIES 2

struct mark_team {
  struct bare_heap *heap;
  struct bare_loop loop;
  unsigned threads;
  unsigned started; /* atomic: the clock runs */

  pthread_mutex_t lock;
  unsigned idle; /* atomic, written under the lock */
  unsigned over; /* likewise: all threads are idle */
  size_t gift;   /* likewise: entries of `gifts` */
  struct bare_object *gifts[TEAM_GIFT_ENTRIES];
  struct bare_object **edge, **edges_end; /* under the lock */
};

struct team_member {
  struct mark_team *team;
  unsigned index;
  pthread_t thread;
  uint64_t count;
};

/* ---- giving and taking ---------------------------------------------------------------------- */

void marker_give(struct marker *marker) {
  struct mark_team *team = marker->team;
  size_t entries = (size_t)(marker->top - marker->bottom);
  if (entries < TEAM_LEAST_ENTRIES || __atomic_load_n(&team->gift, __ATOMIC_RELAXED) != 0) return;
  size_t given = entries / 2 < TEAM_GIFT_ENTRIES ? entries / 2 : TEAM_GIFT_ENTRIES;
  pthread_mutex_lock(&team->lock);
  if (team->gift == 0) {
    memcpy(team->gifts, marker->bottom, given * sizeof *team->gifts);
    marker->bottom += given;
    __atomic_store_n(&team->gift, given, __ATOMIC_RELAXED);
  }
  pthread_mutex_unlock(&team->lock);
}

/* Whether there was something. Under the lock. */
static bool team_take_now(struct mark_team *team, struct marker *marker) {
  marker->bottom = marker->top = marker->stack;
  if (team->gift != 0) {
    memcpy(marker->stack, team->gifts, team->gift * sizeof *team->gifts);
    marker->top += team->gift;
    __atomic_store_n(&team->gift, 0, __ATOMIC_RELAXED);
    return true;
  }
  size_t edges = (size_t)(team->edges_end - team->edge);
  if (edges == 0) return false;
  marker->edge = team->edge;
  team->edge += edges < TEAM_PIECE_EDGES ? edges : TEAM_PIECE_EDGES;
  marker->edges_end = team->edge;
  return true;
}

static void team_wait(const struct mark_team *team) {
  for (unsigned spins = 0; __atomic_load_n(&team->gift, __ATOMIC_RELAXED) == 0 &&
                           __atomic_load_n(&team->over, __ATOMIC_RELAXED) == 0;
       spins++) {
    if (spins % 1024 == 1023) sched_yield();
  }
}

/* Waits until there is work for the marker. False: there will be none. */
static bool team_take(struct mark_team *team, struct marker *marker) {
  pthread_mutex_lock(&team->lock);
  bool found;
  while (!(found = team_take_now(team, marker)) && team->over == 0) {
    unsigned idle = team->idle + 1;
    __atomic_store_n(&team->idle, idle, __ATOMIC_RELAXED);
    if (idle == team->threads) {
      __atomic_store_n(&team->over, 1, __ATOMIC_RELAXED);
      break;
    }
    pthread_mutex_unlock(&team->lock);
    team_wait(team);
    pthread_mutex_lock(&team->lock);
    __atomic_store_n(&team->idle, team->idle - 1, __ATOMIC_RELAXED);
  }
  pthread_mutex_unlock(&team->lock);
  return found;
}

/* ---- the threads ---------------------------------------------------------------------------- */

/* The two loops that work off a stack alone, and the ring. */
static uint64_t team_mark(struct marker *marker, struct bare_loop loop) {
  unsigned distance = loop.distance;
  switch (loop.variant) {
  case BARE_MARK_OBJECTS:
    return distance == 0 ? mark_objects_at_once(marker, true)
                         : mark_objects(marker, distance, true);
  case BARE_MARK_EDGES:
    return distance == 0 ? mark_edges_at_once(marker, true) : mark_edges(marker, distance, true);
  default:
    return mark_by_ring(marker, distance, true);
  }
}

static void team_member_mark(struct team_member *member) {
  struct mark_team *team = member->team;
  struct marker marker = marker_of(team->heap, member->index);
  marker.team = team;
  marker.idle = &team->idle;
  while (team_take(team, &marker))
    member->count += team_mark(&marker, team->loop);
}

static void *team_member_run(void *context) {
  struct team_member *member = context;
  while (__atomic_load_n(&member->team->started, __ATOMIC_ACQUIRE) == 0)
    sched_yield();
  team_member_mark(member);
  return NULL;
}

/* Marks by `team->threads` threads, of which the caller is one. Returns how long it took. */
static double team_run(struct mark_team *team, struct team_member *members) {
  double start_ns = bench_wall_ns();
  __atomic_store_n(&team->started, 1, __ATOMIC_RELEASE);
  team_member_mark(&members[0]);
  double wall_ns = bench_wall_ns() - start_ns;
  for (unsigned i = 1; i < team->threads; i++)
    pthread_join(members[i].thread, NULL);
  return wall_ns;
}

uint64_t bare_mark_together(struct bare_heap *heap, struct bare_loop loop, double *wall_ns) {
  struct mark_team team = {.heap = heap, .loop = loop, .edge = bare_heap_edges(heap)};
  team.edges_end = team.edge + bare_heap_edge_count(heap);
  struct team_member members[BARE_MOST_THREADS] = {{.team = &team}};
  if (pthread_mutex_init(&team.lock, NULL) != 0) return 0;
  for (team.threads = 1; team.threads < heap->threads; team.threads++) {
    struct team_member *member = &members[team.threads];
    *member = (struct team_member){.team = &team, .index = team.threads};
    if (pthread_create(&member->thread, NULL, team_member_run, member) != 0) break;
  }
  bool complete = team.threads == heap->threads;
  *wall_ns = team_run(&team, members);
  pthread_mutex_destroy(&team.lock);
  uint64_t count = 0;
  for (unsigned i = 0; i < team.threads; i++)
    count += members[i].count;
  return complete ? count : 0;
}
