/* sweep.c - running the bare loops, and finding the best (limits.h). */
#include "bench.h"
#include "limits.h"

#include <stdlib.h>

static const unsigned distances[BARE_DISTANCES] = {0, 4, 8, 16, 32, 64, BARE_MOST_DISTANCE};

static const char *const variant_names[BARE_VARIANTS] = {
    [BARE_MARK_OBJECTS] = "objects", [BARE_MARK_EDGES] = "edges",     [BARE_MARK_RING] = "ring",
    [BARE_MARK_QUEUE] = "queue",     [BARE_COPY_BREADTH] = "breadth", [BARE_COPY_DEPTH] = "depth",
};

/* The variants that do a work: [first, end). */
static const struct {
  const char *name;
  enum bare_variant first, end;
} works[BARE_WORKS] = {
    [BARE_MARKING] = {"marking", BARE_MARK_OBJECTS, BARE_MARK_QUEUE},
    [BARE_MARKING_UNBOUND] = {"marking, unbounded queue", BARE_MARK_QUEUE, BARE_COPY_BREADTH},
    [BARE_MARKING_TOGETHER] = {"marking together", BARE_MARK_OBJECTS, BARE_MARK_QUEUE},
    [BARE_COPYING] = {"copying", BARE_COPY_BREADTH, BARE_VARIANTS},
};

const char *bare_variant_name(enum bare_variant variant) {
  return variant_names[variant];
}

const char *bare_work_name(enum bare_work work) {
  return works[work].name;
}

/* ---- one loop ------------------------------------------------------------------------------- */

static uint64_t run_loop(struct bare_heap *heap, enum bare_work work, struct bare_loop loop,
                         double *wall_ns) {
  double start_ns = bench_wall_ns();
  uint64_t found;
  switch (work) {
  case BARE_MARKING_TOGETHER:
    return bare_mark_together(heap, loop, wall_ns);
  case BARE_COPYING:
    found = bare_copy(heap, loop);
    break;
  default:
    found = bare_mark(heap, loop);
    break;
  }
  *wall_ns = bench_wall_ns() - start_ns;
  return found;
}

bool bare_run(struct bare_heap *heap, enum bare_work work, struct bare_loop loop,
              struct bare_cost *cost) {
  if (work != BARE_COPYING) bare_heap_clear_marks(heap);
  double start_ns = bench_cpu_ns();
  uint64_t found = run_loop(heap, work, loop, &cost->wall_ns);
  cost->cpu_ns = bench_cpu_ns() - start_ns;
  return found == heap->shape->reachable;
}

/* ---- all of them ---------------------------------------------------------------------------- */

/* A sweep while it runs. */
struct sweeping {
  struct bare_sweep *sweep;
  struct bare_heap *heap;
  unsigned rounds;
  double *ns; /* [loop][round] */
};

static bool sweep_one(void *context, unsigned round, size_t index) {
  struct sweeping *sweeping = context;
  const struct bare_sweep *sweep = sweeping->sweep;
  struct bare_cost cost;
  if (sweep->work == BARE_COPYING) bare_heap_fill(sweeping->heap);
  if (!bare_run(sweeping->heap, sweep->work, sweep->loops[index], &cost)) return false;
  sweeping->ns[index * sweeping->rounds + round] =
      sweep->work == BARE_MARKING_TOGETHER ? cost.wall_ns : cost.cpu_ns;
  return true;
}

static void sweep_list_loops(struct bare_sweep *sweep, enum bare_work work) {
  *sweep = (struct bare_sweep){.work = work};
  for (enum bare_variant variant = works[work].first; variant < works[work].end; variant++) {
    for (size_t i = 0; i < BARE_DISTANCES; i++)
      sweep->loops[sweep->count++] = (struct bare_loop){variant, distances[i]};
  }
}

static void sweep_choose(struct bare_sweep *sweep, double *ns, unsigned rounds) {
  for (size_t i = 0; i < sweep->count; i++) {
    sweep->ns[i] = bench_figure(ns + i * rounds, rounds).median;
    if (sweep->ns[i] < sweep->ns[sweep->best]) sweep->best = i;
  }
}

bool bare_sweep_run(struct bare_sweep *sweep, struct bare_heap *heap, enum bare_work work,
                    unsigned rounds) {
  sweep_list_loops(sweep, work);
  struct sweeping sweeping = {.sweep = sweep, .heap = heap, .rounds = rounds};
  sweeping.ns = calloc(sweep->count * rounds, sizeof *sweeping.ns);
  if (sweeping.ns == NULL) return false;
  bare_heap_fill(heap);
  bool ok = bench_rounds(rounds, sweep->count, sweep_one, &sweeping);
  if (ok) sweep_choose(sweep, sweeping.ns, rounds);
  free(sweeping.ns);
  return ok;
}
