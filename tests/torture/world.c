/*
 * Heap, callbacks and exchange of one round. See world.h.
 */
#include "world.h"

#include <sched.h>

#include "program.h"

/* ---- callbacks ----------------------------------------------------------------------------- */

static void on_heap_roots(void *vm, tsr_visitor *visitor) {
  world *w = vm;
  tsr_visit_slots(visitor, w->slots, EXCHANGE);
}

static void on_mutator_roots(void *vm, tsr_mutator *m, tsr_visitor *visitor) {
  (void)vm;
  program *p = m->vm_thread;
  tsr_visit_slots(visitor, p->called, CALLED);
}

/* On the program's own thread. */
static void on_oom(void *vm, tsr_mutator *m, const tsr_oom *oom) {
  (void)vm;
  program *p = m->vm_thread;
  DEMAND(oom->requested_bytes > 0 && oom->committed_bytes > 0, "out of memory without figures");
  p->oom_calls++;
}

static void on_error(void *vm, tsr_mutator *m, const tsr_error *error) {
  world *w = vm;
  if (m == NULL && atomic_load(&w->leaves_pins) && vm_says(error->message, "pin")) return;
  run_fail(__FILE__, __LINE__, "reported: %s: %s", tsr_status_name(error->status), error->message);
}

static void on_collection_ended(void *vm, const tsr_collection *collection) {
  (void)collection;
  world *w = vm;
  atomic_fetch_add(&w->collections, 1);
}

/* ---- life ---------------------------------------------------------------------------------- */

static void describe(world *w) {
  const tsr_binding *standard = vm_standard_binding();
  DEMAND(standard->layout_count == VM_KINDS - 1, "the test VM has other layouts");
  memcpy(w->layouts, standard->layouts, standard->layout_count * sizeof(tsr_layout));
  w->layouts[ALIGNED_PAIR - 1] = aligned_pair_layout;
  w->layouts[ALIGNED_BYTES - 1] = aligned_bytes_layout;
  for (unsigned kind = 1; kind < TORTURE_KINDS; kind++) {
    if ((run.seed >> kind % 4 & 1) != 0) w->layouts[kind - 1].barrier = TSR_BARRIER_FORWARD;
  }
  w->binding = *standard;
  w->binding.name = "torture";
  w->binding.layouts = w->layouts;
  w->binding.layout_count = TORTURE_KINDS - 1;
  w->binding.scan_heap_roots = on_heap_roots;
  w->binding.scan_mutator_roots = on_mutator_roots;
  w->binding.out_of_memory = on_oom;
  w->binding.report_error = on_error;
  w->binding.collection_ended = on_collection_ended;
}

/* Small, and of one of four sizes: from one that collects all the time, and is full at times, to
   one that holds a few times what the programs keep. */
static void choose_heap_max(char *text, size_t size, unsigned programs) {
  static const unsigned mib_for_one[] = {3, 4, 6, 12};
  unsigned mib = mib_for_one[run.seed % 4];
  if (programs > 1) mib = mib * (programs + 1) / 2;
  if (!run.collects) mib *= 2;
  snprintf(text, size, "%uM", mib);
}

void world_open(world *w, unsigned programs) {
  tsr_error error = {0};
  char heap_max[16];
  memset(w, 0, sizeof *w);
  w->programs = programs;
  describe(w);
  pthread_mutex_init(&w->lock, NULL);
  w->options = tsr_options_create();
  DEMAND(w->options != NULL, "tsr_options_create");
  DEMAND_OK(tsr_options_set(w->options, "plan", run.plan, &error), error);
  choose_heap_max(heap_max, sizeof heap_max, programs);
  DEMAND_OK(tsr_options_set(w->options, "heap_max", run.heap_max != NULL ? run.heap_max : heap_max,
                            &error),
            error);
  w->heap = tsr_heap_create(&w->binding, w, w->options, &error);
  DEMAND(w->heap != NULL, "tsr_heap_create: %s", error.message);
}

static void free_parcels(world *w) {
  for (size_t i = 0; i < EXCHANGE; i++) {
    while (w->parcels[i].members != NULL) {
      shadow *s = w->parcels[i].members;
      w->parcels[i].members = s->next;
      free(s);
    }
  }
}

uint64_t world_close(world *w) {
  tsr_stats stats = {.size = sizeof stats};
  tsr_error error = {0};
  DEMAND_OK(tsr_heap_stats(w->heap, &stats, &error), error);
  DEMAND(stats.mutators == 0, "%u mutators are left", stats.mutators);
  DEMAND(stats.collections == w->collections, "%llu collections, %llu of them announced",
         (unsigned long long)stats.collections, (unsigned long long)w->collections);
  DEMAND_OK(tsr_heap_destroy(w->heap, &error), error);
  tsr_options_destroy(w->options);
  pthread_mutex_destroy(&w->lock);
  free_parcels(w);
  return stats.collections;
}

/* ---- the exchange -------------------------------------------------------------------------- */

void world_lock(world *w, tsr_mutator *m, bool natively) {
  if (natively) {
    tsr_enter_native(m);
    pthread_mutex_lock(&w->lock);
    tsr_leave_native(m);
    return;
  }
  while (pthread_mutex_trylock(&w->lock) != 0) {
    tsr_safepoint(m);
    sched_yield();
  }
}

void world_unlock(world *w) {
  pthread_mutex_unlock(&w->lock);
}

size_t world_parcel_objects(const world *w) {
  size_t objects = 0;
  for (size_t i = 0; i < EXCHANGE; i++) {
    objects += w->parcels[i].count;
  }
  return objects;
}
