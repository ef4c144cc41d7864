/* main.c - bench-limits: what this machine allows, without the library (limits.h). */
#include "bench.h"
#include "limits.h"

#include <stdio.h>
#include <string.h>

struct settings {
  unsigned objects, rounds, threads;
  const char *shape;
  bool huge_pages, fresh;
};

static bool complain(const char *what) {
  fprintf(stderr, "bench-limits: %s\n", what);
  return false;
}

/* ---- reporting ------------------------------------------------------------------------------ */

static void print_heading(const struct settings *settings) {
  printf("%u objects of %zu bytes, two references each; medians of %u rounds in turns\n",
         settings->objects, sizeof(struct bare_object), settings->rounds);
  printf("ns per object found, by distance: how many wait between prefetch and access; * the best\n"
         "  objects  marked when pushed; objects wait between stack and scan\n"
         "  edges    marked when popped; edges wait between stack and mark\n"
         "  ring     marked when appended, without a branch, to 256 entries in front of the stack\n"
         "  queue    the same with a queue as long as need be, and no stack\n"
         "  breadth  copied by Cheney's algorithm, looking ahead in to-space\n"
         "  depth    copied from a stack of slots; slots wait between stack and copy\n"
         "marking together: %u threads, wall time; all else is CPU time of one\n",
         settings->threads);
}

/* One row for each variant, one column for each distance. */
static void print_sweep(const struct bare_sweep *sweep, uint64_t objects) {
  for (size_t i = 0; i < sweep->count; i++) {
    const struct bare_loop *loop = &sweep->loops[i];
    if (i % BARE_DISTANCES == 0) {
      printf("  %-24s %-8s", bare_work_name(sweep->work), bare_variant_name(loop->variant));
    }
    printf(" %8.2f%c", sweep->ns[i] / (double)objects, i == sweep->best ? '*' : ' ');
    if ((i + 1) % BARE_DISTANCES == 0) printf("\n");
  }
}

static void print_distances(const struct bare_sweep *sweep) {
  printf("  %-24s %-8s", "", "");
  for (size_t i = 0; i < BARE_DISTANCES; i++)
    printf(" %8u ", sweep->loops[i].distance);
  printf("\n");
}

/* ---- running -------------------------------------------------------------------------------- */

static bool run_works(const struct settings *settings, struct bare_heap *heap) {
  double best_ns = 0;
  for (enum bare_work work = 0; work < BARE_WORKS; work++) {
    if (work == BARE_MARKING_TOGETHER && settings->threads == 1) continue;
    struct bare_sweep sweep;
    if (!bare_sweep_run(&sweep, heap, work, settings->rounds)) {
      return complain("a loop failed, or did not find what can be reached");
    }
    if (work == BARE_MARKING) {
      print_distances(&sweep);
      best_ns = sweep.ns[sweep.best];
    }
    print_sweep(&sweep, heap->shape->reachable);
    if (work == BARE_MARKING_TOGETHER) {
      printf("  speed-up by %u threads: %.2f\n", settings->threads, best_ns / sweep.ns[sweep.best]);
    }
    fflush(stdout);
  }
  return true;
}

static bool run_shape(const struct settings *settings, enum shape_kind kind) {
  struct shape shape;
  struct bare_heap heap;
  if (!shape_build(&shape, kind, settings->objects)) return complain("out of memory");
  printf("\n%s: %s; %u found\n", shape_name(kind), shape_summary(kind), shape.reachable);
  bool ok = bare_heap_open(&heap, &shape, settings->threads, settings->huge_pages);
  if (ok) {
    heap.fresh = settings->fresh;
    ok = run_works(settings, &heap);
    bare_heap_close(&heap);
  } else {
    complain("out of memory");
  }
  shape_free(&shape);
  return ok;
}

static bool run_all(const struct settings *settings) {
  if (settings->threads > BARE_MOST_THREADS) return complain("--threads is at most 16");
  if (settings->shape != NULL && shape_named(settings->shape) == SHAPES) {
    return complain("no such shape: random, shuffled-tree, ordered-tree, list, array");
  }
  print_heading(settings);
  bool ok = true;
  for (enum shape_kind kind = 0; ok && kind < SHAPES; kind++) {
    bool wanted = settings->shape == NULL || strcmp(settings->shape, shape_name(kind)) == 0;
    if (wanted) ok = run_shape(settings, kind);
  }
  return ok;
}

int main(int argc, char **argv) {
  struct settings settings = {.objects = 10000000, .rounds = 3, .threads = 2};
  const struct bench_option options[] = {
      {"--objects", BENCH_NUMBER, &settings.objects, "objects of 32 bytes; default 10000000"},
      {"--shape", BENCH_TEXT, &settings.shape, "one shape; default: all"},
      {"--rounds", BENCH_NUMBER, &settings.rounds, "rounds; default 3"},
      {"--threads", BENCH_NUMBER, &settings.threads, "threads that mark together; default 2"},
      {"--huge-pages", BENCH_FLAG, &settings.huge_pages, "ask the system for huge pages"},
      {"--fresh", BENCH_FLAG, &settings.fresh, "copies are the first to touch to-space"},
  };
  int status = bench_parse(argc, argv, options, sizeof options / sizeof *options);
  if (status != BENCH_RUN) return status;
  return run_all(&settings) ? 0 : 1;
}
