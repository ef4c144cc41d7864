/*
 * The nursery.
 */
#include "core/heap/nursery.h"

#include "core/heap/heap.h"
#include "core/os/machine.h"

/* A share of the processor's cache, between two bounds. */
#define NURSERY_CACHE_SHARE       4
#define NURSERY_MOST_BYTES        ((size_t)8 << 20)
#define NURSERY_LEAST_MOST_BYTES  ((size_t)4 << 20)
/* Before anything was measured. */
#define NURSERY_FIRST_BYTES       ((size_t)1 << 20)
/* Smaller, what a pause takes in any case would be too large a part of it. */
#define NURSERY_LEAST_BYTES       ((size_t)512 << 10)
#define NURSERY_HEAP_SHARE        8 /* of the heap's size, at most */
#define NURSERY_LEAST_BLOCKS      4
/* Where it is given, of the heap's room at most, for it is copied, and what it leaves grows old. */
#define NURSERY_GIVEN_SHARE       4
/* Pause goals that a minor collection may take: of what is younger more survives, and is copied, so smaller nurseries make more
   work; but not where ageing has ended, for nearly all survives. */
#define NURSERY_GOALS             3

/* What young large objects may take of the heap's room, where the roots are many. */
#define NURSERY_LARGE_SHARE       2
/* What it takes to make them: their memory is cleared. */
#define NURSERY_LARGE_BYTES_PER_S 4e9

/* Ageing ends where three quarters of what is young survive, and begins again where half of it dies. */
#define NURSERY_NO_AGEING         0.75
#define NURSERY_AGEING            0.5
/* Collections in a row that find nearly nothing dead, before it rests; and at most, where resting has not been good for much. */
#define NURSERY_PATIENCE          4
#define NURSERY_MOST_PATIENCE     256
/* Of the nursery, at least so much was filled where a collection says something about what it is good for. */
#define NURSERY_TELLING_SHARE     2
/* With stress: after so many collections what survives is promoted at once, and from the next one on the nursery may rest. */
#define NURSERY_STRESSED          14

size_t nursery_most_bytes(size_t cache_bytes) {
  size_t bytes = cache_bytes / NURSERY_CACHE_SHARE;
  if (bytes < NURSERY_LEAST_MOST_BYTES) return NURSERY_LEAST_MOST_BYTES;
  return bytes < NURSERY_MOST_BYTES ? bytes : NURSERY_MOST_BYTES;
}

void nursery_open(tsr_heap *heap) {
  heap->nursery.most_bytes = nursery_most_bytes(os_cache_bytes());
}

uint64_t nursery_bytes_for(double bytes_per_s, double seconds, size_t most_bytes) {
  double bytes = bytes_per_s * seconds;
  if (bytes < (double)NURSERY_LEAST_BYTES) return NURSERY_LEAST_BYTES;
  return bytes < (double)most_bytes ? (uint64_t)bytes : most_bytes;
}

static size_t nursery_chosen_bytes(const tsr_heap *heap) {
  size_t bytes = os_atomic_load(&heap->limit_bytes) / NURSERY_HEAP_SHARE;
  size_t goal_bytes = os_atomic_load(&heap->nursery.goal_bytes);
  if (goal_bytes == 0) goal_bytes = NURSERY_FIRST_BYTES;
  return bytes < goal_bytes ? bytes : goal_bytes;
}

static size_t nursery_given_bytes(const tsr_heap *heap) {
  size_t live = os_atomic_load(&heap->sizing.live_bytes),
         limit = os_atomic_load(&heap->limit_bytes);
  size_t bytes = (limit > live ? limit - live : 0) / NURSERY_GIVEN_SHARE;
  size_t asked_bytes = (size_t)heap->options.values.nursery;
  if (bytes < NURSERY_LEAST_BYTES) bytes = NURSERY_LEAST_BYTES;
  return bytes < asked_bytes ? bytes : asked_bytes;
}

uint64_t nursery_room_bytes(const tsr_heap *heap) {
  return heap->plan->generational ? NURSERY_GIVEN_SHARE * heap->options.values.nursery : 0;
}

size_t nursery_blocks(const tsr_heap *heap) {
  bool is_given = heap->options.values.nursery != 0;
  size_t bytes = is_given ? nursery_given_bytes(heap) : nursery_chosen_bytes(heap);
  size_t blocks = bytes >> BLOCK_SHIFT;
  return blocks < NURSERY_LEAST_BLOCKS ? NURSERY_LEAST_BLOCKS : blocks;
}

size_t nursery_large_blocks(const tsr_heap *heap) {
  size_t live = os_atomic_load(&heap->sizing.live_bytes),
         limit = os_atomic_load(&heap->limit_bytes);
  size_t least = limit / NURSERY_HEAP_SHARE;
  size_t most = (limit > live ? limit - live : 0) / NURSERY_LARGE_SHARE;
  size_t bytes = os_atomic_load(&heap->nursery.large_bytes);
  if (bytes > most) bytes = most;
  return (bytes > least ? bytes : least) >> BLOCK_SHIFT;
}

size_t nursery_filled_blocks(const tsr_heap *heap, size_t young_blocks) {
  size_t left_blocks = os_atomic_load(&heap->nursery.left_blocks);
  return young_blocks > left_blocks ? young_blocks - left_blocks : 0;
}

/* Whether its size is not given. */
static bool nursery_is_adaptive(const tsr_heap *heap) {
  return heap->options.values.nursery == 0;
}

static uint32_t nursery_patience(const nursery *n) {
  return n->patience != 0 ? n->patience : NURSERY_PATIENCE;
}

/* Of the first collection after a rest: whether it might have gone on. */
static void nursery_judge_rest(nursery *n, bool is_useful) {
  if (!n->tried) return;
  n->tried = false;
  uint32_t patience = is_useful ? 2 * nursery_patience(n) : NURSERY_PATIENCE;
  n->patience = patience < NURSERY_MOST_PATIENCE ? patience : NURSERY_MOST_PATIENCE;
}

/* How old what survives has to be, and whether anything young dies. */
static void nursery_learn_age(tsr_heap *heap, const nursery_sample *sample) {
  nursery *n = &heap->nursery;
  double filled_bytes = (double)sample->blocks * BLOCK_BYTES;
  double survived = (double)sample->survived_bytes / filled_bytes;
  n->promotes_at_once = survived >= (n->promotes_at_once ? NURSERY_AGEING : NURSERY_NO_AGEING);
  bool is_useful = survived < NURSERY_NO_AGEING || sample->large_blocks > sample->blocks;
  bool is_telling = sample->blocks * NURSERY_TELLING_SHARE >= nursery_blocks(heap);
  if (!is_useful && !is_telling) return;
  n->useless = is_useful ? 0 : n->useless + 1;
  nursery_judge_rest(n, is_useful);
}

static void nursery_learn_stressed(nursery *n) {
  n->stressed++;
  n->promotes_at_once = n->stressed > NURSERY_STRESSED;
  n->useless = n->stressed > NURSERY_STRESSED + 1 ? nursery_patience(n) : 0;
}

void nursery_learn(tsr_heap *heap, const nursery_sample *sample) {
  nursery *n = &heap->nursery;
  n->roots_s = sizing_smooth(n->roots_s, (double)sample->roots_ns * 1e-9);
  os_atomic_store(&n->large_bytes, (uintptr_t)(n->roots_s * NURSERY_LARGE_BYTES_PER_S));
  bool is_stressed = heap->options.values.stress != 0 && nursery_is_adaptive(heap);
  if (is_stressed) nursery_learn_stressed(n);
  if (sample->blocks == 0) return;
  if (!is_stressed) nursery_learn_age(heap, sample);
  sizing_rate_add(&n->rate, (double)sample->blocks * BLOCK_BYTES, (double)sample->rest_ns * 1e-9);
  double goals = n->promotes_at_once ? 1 : NURSERY_GOALS;
  double seconds = goals * (double)heap->options.values.pause_goal * 1e-9;
  if (seconds < n->roots_s) seconds = n->roots_s;
  uint64_t bytes = nursery_bytes_for(sizing_rate_bytes_per_s(&n->rate), seconds, n->most_bytes);
  os_atomic_store(&n->goal_bytes, (uintptr_t)bytes);
}

bool nursery_may_rest(const tsr_heap *heap) {
  return nursery_is_adaptive(heap) && heap->nursery.useless >= nursery_patience(&heap->nursery);
}

void nursery_rest(tsr_heap *heap) {
  os_atomic8_store(&heap->nursery_rests, 1);
  os_atomic_store(&heap->nursery.rests, os_atomic_load(&heap->nursery.rests) + 1);
}

/* If the first collection finds nearly nothing dead, it rests again. */
void nursery_wake(tsr_heap *heap) {
  os_atomic8_store(&heap->nursery_rests, 0);
  heap->nursery.useless = nursery_patience(&heap->nursery) - 1;
  heap->nursery.tried = true;
  heap->nursery.stressed = 0;
  os_atomic_store(&heap->nursery.goal_bytes, NURSERY_LEAST_BYTES);
}
