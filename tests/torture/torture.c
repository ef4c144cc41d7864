/*
 * Torture: random programs over a shadow model of the heap.
 *
 * TESSERA_TORTURE_OPS operations in all, by TESSERA_TORTURE_THREADS programs at a time (1, then 4,
 * where it is not set), in rounds. A round has a heap of its own and a seed of its own, so that
 * what fails in a long run is repeated by its round alone. With one program a round does the same
 * again from the same seed. In each round the first program forks once, except under ThreadSanitizer where
 * several threads collect.
 *
 * With several programs it is one of the proofs that the library is safe under threads (F87); a
 * refused allocation is judged as A002-09 asks.
 *
 * Under a plan that never collects, a round ends where memory does, and the next one goes on.
 */
#include "program.h"

#include <inttypes.h>

#define ROUND_OPERATIONS   50000 /* of one program */
#define DEFAULT_OPERATIONS 20000
#define MOST_PROGRAMS      64

typedef struct thread_start {
  program *program;
  world *world;
  uint64_t seed, share;
} thread_start;

static void *thread_main(void *context) {
  thread_start *start = context;
  program_run(start->program, start->world, start->seed, start->share);
  return NULL;
}

static void run_threads(thread_start *starts, unsigned programs) {
  pthread_t threads[MOST_PROGRAMS];
  for (unsigned i = 0; i < programs; i++) {
    DEMAND(pthread_create(&threads[i], NULL, thread_main, &starts[i]) == 0, "no thread");
  }
  for (unsigned i = 0; i < programs; i++) {
    pthread_join(threads[i], NULL);
  }
}

static void add_up(tally *sum, const tally *t) {
  sum->operations += t->operations;
  sum->allocations += t->allocations;
  sum->refusals += t->refusals;
  sum->forks += t->forks;
  sum->bindings += t->bindings;
  sum->parcels += t->parcels;
  sum->seals += t->seals;
  sum->shrinks += t->shrinks;
  sum->censuses += t->censuses;
  sum->pins += t->pins;
}

/* The operation before which the first program forks: in the first half of its share, which
   seldom is the part that a round without collections leaves out. ThreadSanitizer ends children that start
   threads, so there is none where several collect. */
static uint64_t fork_at(uint64_t share) {
#ifdef TSR_THREAD_SANITIZER
  if (run_number("TESSERA_THREADS", 2) > 1) return share;
#endif
  return (run.seed * 0x9e3779b97f4a7c15u >> 32) % (share / 2 + 1);
}

/* Up to `operations` in a heap of its own; returns its collections. */
static uint64_t run_round(unsigned programs, uint64_t operations, tally *sum) {
  world w;
  thread_start starts[MOST_PROGRAMS];
  world_open(&w, programs);
  for (unsigned i = 0; i < programs; i++) {
    uint64_t share = operations / programs + (i < operations % programs);
    program *p = calloc(1, sizeof *p);
    DEMAND(p != NULL, "no memory for a program");
    p->fork_at = i == 0 ? fork_at(share) : share;
    starts[i] = (thread_start){p, &w, run.seed * MOST_PROGRAMS + i, share};
  }
  if (programs == 1) {
    thread_main(&starts[0]);
  } else {
    run_threads(starts, programs);
  }
  uint64_t collections = world_close(&w);
  for (unsigned i = 0; i < programs; i++) {
    add_up(sum, &starts[i].program->tally);
    program_free(starts[i].program);
    free(starts[i].program);
  }
  return collections;
}

static void report(const tally *sum, uint64_t collections, uint64_t rounds, uint64_t first_seed) {
  printf("%s, %u threads, seed %" PRIu64 ": %" PRIu64 " operations, %" PRIu64
         " allocations (%" PRIu64 " refused), %" PRIu64 " collections, %" PRIu64 " heaps, %" PRIu64
         " forks, %" PRIu64 " bindings, %" PRIu64 " parcels, %" PRIu64 " seals, %" PRIu64
         " shrinks, %" PRIu64 " enumerations, %" PRIu64 " pins\n",
         run.plan, run.threads, first_seed, sum->operations, sum->allocations, sum->refusals,
         collections, rounds, sum->forks, sum->bindings, sum->parcels, sum->seals, sum->shrinks,
         sum->censuses, sum->pins);
  fflush(stdout);
}

static void torture(unsigned programs) {
  const torture_run whole = run;
  tally sum = {0};
  uint64_t collections = 0;
  uint64_t rounds = 0;
  run.threads = programs;
  run_print_command(stdout);
  while (sum.operations < whole.length) {
    uint64_t operations = whole.length - sum.operations;
    uint64_t most = ROUND_OPERATIONS * (uint64_t)programs;
    run.length = operations < most ? operations : most;
    run.seed = whole.seed + rounds++;
    uint64_t before = sum.operations;
    collections += run_round(programs, run.length, &sum);
    DEMAND(sum.operations > before, "a round without an operation");
  }
  report(&sum, collections, rounds, whole.seed);
  run = whole;
}

static void torture_plan(void) {
  unsigned programs = (unsigned)run_number("TESSERA_TORTURE_THREADS", 0);
  DEMAND(programs <= MOST_PROGRAMS, "at most %d threads", MOST_PROGRAMS);
  if (programs != 0) {
    torture(programs);
    return;
  }
  torture(1);
  torture(4);
}

int main(int count, char **arguments) {
  (void)count;
  return run_plans(arguments, "TESSERA_TORTURE_OPS", DEFAULT_OPERATIONS, torture_plan);
}
