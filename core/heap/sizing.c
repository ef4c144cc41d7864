/*
 * Sizing: the policies' arithmetic, then the heap's current size.
 */
#include "core/heap/sizing.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/heap/heap.h"
#include "core/os/error.h"
#include "core/os/thread.h"

/* ---- rates ----------------------------------------------------------------------------------- */

/* What is kept of the value before, at each sample. */
#define SIZING_KEPT 0.5

double sizing_smooth(double before, double sample) {
  return SIZING_KEPT * before + (1 - SIZING_KEPT) * sample;
}

void sizing_rate_add(sizing_rate *rate, double bytes, double seconds) {
  bool first = rate->bytes == 0 && rate->seconds == 0;
  rate->bytes = first ? bytes : sizing_smooth(rate->bytes, bytes);
  rate->seconds = first ? seconds : sizing_smooth(rate->seconds, seconds);
}

double sizing_rate_bytes_per_s(const sizing_rate *rate) {
  return rate->seconds > 0 ? rate->bytes / rate->seconds : 0;
}

/* ---- policies -------------------------------------------------------------------------------- */

#define SIZING_GROUP_RESERVE_SHARE 8
#define SIZING_GROUP_RESERVE_BYTES ((uint64_t)4 << 20)
#define SIZING_LEAST_ROOM_SHARE    8
#define SIZING_LEAST_ROOM_BYTES    ((uint64_t)16 << 10)

static uint64_t sizing_larger(uint64_t a, uint64_t b) {
  return a > b ? a : b;
}

static uint64_t sizing_smaller(uint64_t a, uint64_t b) {
  return a < b ? a : b;
}

static uint64_t sizing_without(uint64_t all, uint64_t part) {
  return all > part ? all - part : 0;
}

uint64_t sizing_default_max_bytes(uint64_t available_bytes, uint64_t group_bytes) {
  uint64_t half = available_bytes / 2;
  if (group_bytes > available_bytes) return half;
  uint64_t reserve =
      sizing_larger(available_bytes / SIZING_GROUP_RESERVE_SHARE, SIZING_GROUP_RESERVE_BYTES);
  return sizing_larger(half, sizing_without(available_bytes, reserve));
}

uint64_t sizing_proportional_room_bytes(uint64_t live_bytes, uint64_t room_percent) {
  if (live_bytes > SIZING_MOST_BYTES / room_percent) return SIZING_MOST_BYTES;
  return live_bytes * room_percent / 100;
}

/* The greatest whole number whose square is at most this, up to SIZING_MOST_BYTES. */
static uint64_t sizing_root(double square) {
  uint64_t low = 0, high = SIZING_MOST_BYTES + 1;
  while (high - low > 1) {
    uint64_t middle = low + (high - low) / 2;
    if ((double)middle * (double)middle <= square) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

uint64_t sizing_balanced_room_bytes(uint64_t live_bytes, double allocated_bytes_per_s,
                                    double collected_bytes_per_s, uint64_t worth_ppm_per_mib) {
  double worth_per_byte = (double)worth_ppm_per_mib * 1e-6 / (double)(1u << 20);
  double cost = worth_per_byte * collected_bytes_per_s;
  double gain = (double)live_bytes * allocated_bytes_per_s;
  if (gain <= 0) return 0;
  return cost > 0 ? sizing_root(gain / cost) : SIZING_MOST_BYTES;
}

uint64_t sizing_least_room_bytes(uint64_t live_bytes) {
  return live_bytes / SIZING_LEAST_ROOM_SHARE + SIZING_LEAST_ROOM_BYTES;
}

uint64_t sizing_size_bytes(uint64_t live_bytes, uint64_t room_bytes, const sizing_bounds *bounds) {
  uint64_t size = sizing_larger(live_bytes + room_bytes, bounds->min_bytes);
  size = sizing_smaller(size, bounds->soft_bytes);
  size = sizing_larger(size, live_bytes + sizing_least_room_bytes(live_bytes));
  return sizing_smaller(size, bounds->max_bytes);
}

uint64_t sizing_soft_bytes(uint64_t soft_bytes, uint64_t external_bytes) {
  return soft_bytes == 0 ? SIZING_MOST_BYTES : sizing_without(soft_bytes, external_bytes);
}

/* ---- time spent collecting ------------------------------------------------------------------- */

void sizing_window_clear(sizing_window *window) {
  *window = (sizing_window){.count = 0};
}

void sizing_window_run(sizing_window *window, uint64_t running_ns) {
  window->waiting_ns += running_ns;
}

void sizing_window_collect(sizing_window *window, uint64_t collecting_ns) {
  uint32_t place = window->count++ % SIZING_WINDOW;
  window->running_ns[place] = window->waiting_ns;
  window->collecting_ns[place] = collecting_ns;
  window->waiting_ns = 0;
}

bool sizing_window_exceeds(const sizing_window *window, uint64_t percent) {
  if (window->count < SIZING_WINDOW) return false;
  double running_ns = 0, collecting_ns = 0;
  for (size_t i = 0; i < SIZING_WINDOW; i++) {
    running_ns += (double)window->running_ns[i];
    collecting_ns += (double)window->collecting_ns[i];
  }
  return collecting_ns * 100 > (running_ns + collecting_ns) * (double)percent;
}

bool sizing_is_full(uint64_t live_bytes, uint64_t size_bytes, uint64_t max_bytes) {
  return size_bytes >= max_bytes && sizing_without(max_bytes, live_bytes) < live_bytes / 2;
}

bool sizing_is_overload(sizing_window *window, bool is_full, bool counts, uint64_t running_ns,
                        uint64_t collecting_ns, uint64_t percent) {
  if (!is_full) {
    sizing_window_clear(window);
    return false;
  }
  sizing_window_run(window, running_ns);
  if (!counts) return false;
  sizing_window_collect(window, collecting_ns);
  if (!sizing_window_exceeds(window, percent)) {
    window->spell_ns = 0;
    return false;
  }
  window->spell_ns += sizing_smaller(collecting_ns, SIZING_SPELL_NS / SIZING_WINDOW);
  if (window->spell_ns < SIZING_SPELL_NS) return false;
  sizing_window_clear(window);
  return true;
}

/* ---- external memory ------------------------------------------------------------------------- */

uint64_t sizing_external_room_bytes(const sizing_outside *outside) {
  uint64_t room =
      sizing_larger(outside->heap_room_bytes,
                    sizing_proportional_room_bytes(outside->low_bytes, outside->room_percent));
  uint64_t soft_left = sizing_without(sizing_soft_bytes(outside->soft_bytes, outside->low_bytes),
                                      outside->live_bytes);
  room = sizing_smaller(room, soft_left);
  return sizing_larger(room, sizing_least_room_bytes(outside->live_bytes));
}

/* ---- opening --------------------------------------------------------------------------------- */

#define SIZING_POLICY_NAME(symbol, name) name,
static const char *const sizing_policy_names[] = {SIZING_POLICIES(SIZING_POLICY_NAME)};

static tsr_status sizing_choose_policy(tsr_heap *heap, tsr_error *error) {
  const char *word = heap->options.values.sizing;
  for (int policy = 0; policy < SIZING_POLICY_COUNT; policy++) {
    heap->sizing.policy = (sizing_policy)policy;
    if (strcmp(word, sizing_policy_names[policy]) == 0) return TSR_OK;
  }
  char names[96] = "";
  for (int policy = 0; policy < SIZING_POLICY_COUNT; policy++) {
    size_t used = strlen(names);
    snprintf(names + used, sizeof names - used, "%s%s", policy == 0 ? "" : ", ",
             sizing_policy_names[policy]);
  }
  return error_set(error, TSR_INVALID_ARGUMENT, "sizing: no policy is called \"%s\"; there are: %s",
                   word, names);
}

tsr_status sizing_open(tsr_heap *heap, tsr_error *error) {
  tsr_status status = sizing_choose_policy(heap, error);
  if (status != TSR_OK) return status;
  const option_values *values = &heap->options.values;
  uint64_t size = heap->sizing.policy == SIZING_FIXED ? values->heap_max : values->heap_min;
  size = sizing_smaller(sizing_larger(size, nursery_room_bytes(heap)), values->heap_max);
  size = sizing_smaller(size, sizing_soft_bytes(values->heap_soft, 0));
  /* A plan that never collects has nothing to gain from stopping short of its maximum. */
  if (!heap->plan->collects) size = values->heap_max;
  os_atomic_store(&heap->limit_bytes, (uintptr_t)size);
  os_atomic_store(&heap->sizing.room_bytes, (uintptr_t)size);
  heap->sizing.resumed_ns = os_clock_ns();
  return TSR_OK;
}

/* ---- what fits ------------------------------------------------------------------------------- */

#define HEAP_QUEUE_SHARE       96
#define HEAP_SLACK_SHARE       256
#define HEAP_QUEUE_LEAST_BYTES ((size_t)16 << 10)

size_t heap_queue_bytes(size_t heap_bytes) {
  size_t bytes = heap_bytes / HEAP_QUEUE_SHARE;
  return bytes < HEAP_QUEUE_LEAST_BYTES ? HEAP_QUEUE_LEAST_BYTES : bytes;
}

/* In a heap of this size. Added up by type: a difference of two totals could be caught between two
   threads' charges. */
static size_t heap_metadata_bytes(const tsr_heap *heap, size_t limit_bytes) {
  size_t bytes = 0;
  for (int type = 0; type < MEMORY_TYPE_COUNT; type++) {
    size_t held = os_atomic_load(&heap->account.by_type[type].bytes);
    if (type == MEMORY_BLOCKS) continue;
    /* The queues grow with the heap, at its next collection. */
    if (type == MEMORY_MARK_QUEUE && heap->plan->collects && held < heap_queue_bytes(limit_bytes)) {
      held = heap_queue_bytes(limit_bytes);
    }
    bytes += held;
  }
  return bytes;
}

size_t heap_blocks_within(const tsr_heap *heap, size_t limit_bytes) {
  /* Something is left for what mutators cannot wait for a collection to get: slots of handles, tables. */
  size_t metadata = heap_metadata_bytes(heap, limit_bytes) + limit_bytes / HEAP_SLACK_SHARE;
  return metadata <= limit_bytes ? (limit_bytes - metadata) >> BLOCK_SHIFT : 0;
}

static bool heap_fits(const tsr_heap *heap, size_t limit_bytes, size_t default_blocks,
                      size_t staying_blocks) {
  return heap_form(heap)->footprint_blocks(heap, default_blocks, staying_blocks) <=
         heap_blocks_within(heap, limit_bytes);
}

size_t heap_least_bytes(const tsr_heap *heap) {
  static const memory_type lasting[] = {MEMORY_INSTANCE, MEMORY_LAYOUTS};
  size_t most = heap->account.limit_bytes;
  size_t bytes = most / HEAP_SLACK_SHARE;
  if (heap->plan->collects) bytes += heap_queue_bytes(most);
  for (size_t i = 0; i < sizeof lasting / sizeof lasting[0]; i++)
    bytes += os_atomic_load(&heap->account.by_type[lasting[i]].bytes);
  return bytes;
}

size_t heap_growth_blocks(const tsr_heap *heap, const struct plan *form, size_t default_blocks) {
  return form->footprint_blocks(heap, default_blocks, 0) - form->footprint_blocks(heap, 0, 0);
}

bool heap_could_admit(const tsr_heap *heap, size_t default_blocks, size_t staying_blocks) {
  return heap_fits(heap, heap->account.limit_bytes, default_blocks, staying_blocks);
}

bool heap_fits_now(const tsr_heap *heap, size_t default_blocks, size_t staying_blocks) {
  return heap_fits(heap, os_atomic_load(&heap->limit_bytes), default_blocks, staying_blocks);
}

static size_t heap_needed_bytes(const tsr_heap *heap, size_t default_blocks,
                                size_t staying_blocks) {
  return heap_form(heap)->footprint_blocks(heap, default_blocks, staying_blocks) * BLOCK_BYTES +
         heap_metadata_bytes(heap, 0);
}

/* Raises a word, or lowers it, to a bound that may be anything. */
static void sizing_raise(os_atomic_word *word, uintptr_t least) {
  uintptr_t now = os_atomic_load(word);
  while (now < least && !os_atomic_compare_exchange_full(word, now, least))
    now = os_atomic_load(word);
}

static void sizing_lower(os_atomic_word *word, uintptr_t most) {
  uintptr_t now = os_atomic_load(word);
  while (now > most && !os_atomic_compare_exchange_full(word, now, most))
    now = os_atomic_load(word);
}

/* heap_soft, while it holds. 0: it does not. */
static uint64_t heap_soft_now(const tsr_heap *heap) {
  return os_atomic_load(&heap->sizing.soft_yields) != 0 ? 0 : heap->options.values.heap_soft;
}

/* What the heap may become without need: its maximum, or what heap_soft leaves for it. */
static uint64_t heap_most_bytes(const tsr_heap *heap) {
  uint64_t external_bytes = os_atomic_load(&heap->sizing.external_bytes);
  return sizing_smaller(sizing_soft_bytes(heap_soft_now(heap), external_bytes),
                        heap->account.limit_bytes);
}

/* Lets the heap grow so far that it admits this many more blocks, if its maximum allows. */
static bool heap_grow_to_admit(tsr_heap *heap, size_t default_blocks, size_t staying_blocks) {
  size_t most = heap->account.limit_bytes;
  if (!heap_fits(heap, most, default_blocks, staying_blocks)) return false;
  size_t needed = heap_needed_bytes(heap, default_blocks, staying_blocks);
  /* Some more than is asked for now, so that the next request does not come back at once. */
  size_t limit = needed + (size_t)sizing_least_room_bytes(needed);
  if (limit > most) limit = most;
  sizing_raise(&heap->limit_bytes, limit);
  /* Where the heap may stretch beyond that by the room that it had, the rest counts as live, as far as anyone knows. */
  sizing *s = &heap->sizing;
  uintptr_t room = os_atomic_load(&s->room_bytes);
  if (limit + room <= heap_most_bytes(heap)) {
    sizing_raise(&s->live_bytes, sizing_without(limit, room));
  }
  return true;
}

uint64_t heap_stretched_bytes(const tsr_heap *heap) {
  const sizing *s = &heap->sizing;
  uint64_t bytes = os_atomic_load(&s->live_bytes) + 2 * (uint64_t)os_atomic_load(&s->room_bytes);
  return sizing_smaller(bytes, heap_most_bytes(heap));
}

bool heap_stretch(tsr_heap *heap, size_t default_blocks, size_t staying_blocks) {
  uint64_t most = heap_stretched_bytes(heap);
  if (!heap_fits(heap, (size_t)most, default_blocks, staying_blocks)) return false;
  size_t needed = heap_needed_bytes(heap, default_blocks, staying_blocks);
  uint64_t limit = needed + sizing_least_room_bytes(needed);
  sizing_raise(&heap->limit_bytes, (uintptr_t)sizing_smaller(limit, most));
  return true;
}

bool heap_admits(tsr_heap *heap, size_t default_blocks, size_t staying_blocks,
                 memory_allowance allowance) {
  if (allowance == MEMORY_OVER_LIMIT) return true;
  bool (*has_room)(const tsr_heap *, size_t) = heap_form(heap)->has_room;
  if (allowance == MEMORY_WITHIN_SIZE && has_room != NULL && !has_room(heap, default_blocks)) {
    return false;
  }
  if (heap_fits_now(heap, default_blocks, staying_blocks)) return true;
  return allowance == MEMORY_WITHIN_LIMIT &&
         heap_grow_to_admit(heap, default_blocks, staying_blocks);
}

/* ---- after a collection ---------------------------------------------------------------------- */

uint64_t heap_allocated_since(const tsr_heap *heap) {
  return os_atomic_load(&heap->bytes_allocated) - heap->sizing.allocated_bytes;
}

/* Rates, in what the heap needs: a block allocated counts as often as the plan will count it. */
static void sizing_learn(tsr_heap *heap, uint64_t live_bytes, uint64_t running_ns,
                         uint64_t collecting_ns) {
  sizing *s = &heap->sizing;
  uint64_t allocated_bytes = heap_allocated_since(heap);
  size_t needed_blocks =
      heap_growth_blocks(heap, heap_form(heap), (size_t)allocated_bytes >> BLOCK_SHIFT);
  s->allocated_bytes += allocated_bytes;
  sizing_rate_add(&s->allocation, (double)needed_blocks * BLOCK_BYTES, (double)running_ns * 1e-9);
  sizing_rate_add(&s->collection, (double)live_bytes, (double)collecting_ns * 1e-9);
}

/* What share of the time collecting takes: too much for heap_soft, too much at all. */
static void sizing_judge(tsr_heap *heap, const sizing_pause *pause, uint64_t live_bytes,
                         uint64_t running_ns, uint64_t collecting_ns) {
  sizing *s = &heap->sizing;
  const option_values *values = &heap->options.values;
  sizing_window_run(&s->soft_window, running_ns);
  if (pause->for_allocation || pause->for_external) {
    sizing_window_collect(&s->soft_window, collecting_ns);
  }
  os_atomic_store(&s->soft_yields, sizing_window_exceeds(&s->soft_window, values->soft_yields));

  bool is_full =
      sizing_is_full(live_bytes, os_atomic_load(&heap->limit_bytes), heap->account.limit_bytes);
  bool forgets = os_atomic_load(&s->overload) == SIZING_FORGET;
  if (forgets) sizing_window_clear(&s->max_window);
  bool overloaded = sizing_is_overload(&s->max_window, is_full, pause->for_allocation, running_ns,
                                       collecting_ns, values->collecting_most);
  if (overloaded) {
    os_atomic_store(&s->overload, SIZING_OVERLOADED);
  } else if (forgets || !is_full) {
    os_atomic_store(&s->overload, SIZING_BEARABLE);
  }
}

static uint64_t sizing_policy_room(const tsr_heap *heap, uint64_t live_bytes) {
  const sizing *s = &heap->sizing;
  const option_values *values = &heap->options.values;
  double allocated_bytes_per_s = sizing_rate_bytes_per_s(&s->allocation);
  double collected_bytes_per_s = sizing_rate_bytes_per_s(&s->collection);
  if (s->policy == SIZING_FIXED) return values->heap_max;
  if (s->policy == SIZING_MEMBALANCER && allocated_bytes_per_s > 0 && collected_bytes_per_s > 0) {
    return sizing_balanced_room_bytes(live_bytes, allocated_bytes_per_s, collected_bytes_per_s,
                                      values->memory_worth);
  }
  return sizing_proportional_room_bytes(live_bytes, values->room);
}

static void sizing_begin_external(sizing *s) {
  os_atomic_store(&s->external_low_bytes, os_atomic_load(&s->external_bytes));
  /* It may have fallen in between. */
  sizing_lower(&s->external_low_bytes, os_atomic_load(&s->external_bytes));
  os_atomic_store(&s->external_is_due, 0);
}

uint64_t heap_gap_bytes(const tsr_heap *heap) {
  const struct plan *form = heap_form(heap);
  return form->gap_bytes == NULL ? 0 : form->gap_bytes(heap);
}

/* The least size of a heap that holds more than what counts as live: room for the young, which need whole blocks. */
static uint64_t sizing_least_bytes(const tsr_heap *heap, uint64_t needed_bytes) {
  uint64_t young_bytes =
      (uint64_t)heap_growth_blocks(heap, heap_form(heap), nursery_blocks(heap)) * BLOCK_BYTES +
      SIZING_LEAST_ROOM_BYTES;
  return needed_bytes + sizing_smaller(young_bytes, sizing_least_room_bytes(needed_bytes));
}

void heap_resize(tsr_heap *heap, const sizing_pause *pause) {
  sizing *s = &heap->sizing;
  uint64_t needed_bytes = heap_needed_bytes(heap, 0, 0);
  uint64_t live_bytes = sizing_without(needed_bytes, heap_gap_bytes(heap) + pause->since_bytes);
  uint64_t running_ns = sizing_without(pause->begin_ns, s->resumed_ns + pause->steps_ns);
  uint64_t collecting_ns =
      sizing_without(os_clock_ns(), pause->begin_ns + pause->apart_ns) + pause->steps_ns;
  sizing_learn(heap, live_bytes, running_ns, collecting_ns);
  sizing_judge(heap, pause, live_bytes, running_ns, collecting_ns);
  sizing_begin_external(s);

  const option_values *values = &heap->options.values;
  uint64_t external_bytes = os_atomic_load(&s->external_bytes);
  sizing_bounds bounds = {.min_bytes = values->heap_min,
                          .max_bytes = values->heap_max,
                          .soft_bytes = sizing_soft_bytes(heap_soft_now(heap), external_bytes)};
  uint64_t room = sizing_larger(sizing_policy_room(heap, live_bytes), nursery_room_bytes(heap));
  uint64_t size = sizing_size_bytes(live_bytes, room, &bounds);
  if (live_bytes < needed_bytes) {
    uint64_t least = sizing_least_bytes(heap, needed_bytes);
    size = sizing_larger(size, sizing_smaller(least, bounds.max_bytes));
  }
  os_atomic_store(&s->live_bytes, (uintptr_t)live_bytes);
  os_atomic_store(&s->room_bytes, (uintptr_t)sizing_without(size, live_bytes));
  os_atomic_store(&heap->limit_bytes, (uintptr_t)size);
}

void heap_resume_clock(tsr_heap *heap) {
  heap->sizing.resumed_ns = os_clock_ns();
}

bool heap_take_overload(tsr_heap *heap) {
  return os_atomic_compare_exchange_full(&heap->sizing.overload, SIZING_OVERLOADED,
                                         SIZING_BEARABLE);
}

void heap_forget_overload(tsr_heap *heap) {
  os_atomic_store(&heap->sizing.overload, SIZING_FORGET);
}

/* ---- external memory of a heap --------------------------------------------------------------- */

bool heap_external_is_due(const tsr_heap *heap) {
  return os_atomic_load(&heap->sizing.external_is_due) != 0;
}

/* The total has risen: heap_soft leaves less for the heap, and a collection may be due. */
static void external_rise(tsr_heap *heap, uint64_t total_bytes) {
  sizing *s = &heap->sizing;
  sizing_outside outside = {.live_bytes = os_atomic_load(&s->live_bytes),
                            .heap_room_bytes = os_atomic_load(&s->room_bytes),
                            .low_bytes = os_atomic_load(&s->external_low_bytes),
                            .soft_bytes = heap_soft_now(heap),
                            .room_percent = heap->options.values.room};
  if (outside.soft_bytes != 0) {
    uint64_t least = outside.live_bytes + sizing_least_room_bytes(outside.live_bytes);
    uint64_t left = sizing_soft_bytes(outside.soft_bytes, total_bytes);
    sizing_lower(&heap->limit_bytes, (uintptr_t)sizing_larger(left, least));
  }
  uint64_t risen_bytes = sizing_without(total_bytes, outside.low_bytes);
  if (risen_bytes > sizing_external_room_bytes(&outside)) os_atomic_store(&s->external_is_due, 1);
}

/* What a total becomes; false: it would fall below 0 or reach 2^63. */
static bool external_change(uint64_t total_bytes, int64_t bytes, uint64_t *changed_bytes) {
  uint64_t amount = bytes < 0 ? 0 - (uint64_t)bytes : (uint64_t)bytes;
  *changed_bytes = bytes < 0 ? total_bytes - amount : total_bytes + amount;
  return bytes < 0 ? amount <= total_bytes : *changed_bytes <= INT64_MAX;
}

tsr_status heap_adjust_external(tsr_heap *heap, int64_t bytes, tsr_error *error) {
  sizing *s = &heap->sizing;
  uint64_t before, after;
  do {
    before = os_atomic_load(&s->external_bytes);
    if (!external_change(before, bytes, &after)) {
      return error_set(error, TSR_INVALID_ARGUMENT,
                       "tsr_adjust_external: %" PRIu64 " bytes are counted, and %" PRId64
                       " more would be %s; take back what was added, once",
                       before, bytes, bytes < 0 ? "less than none" : "too many");
    }
  } while (!os_atomic_compare_exchange_full(&s->external_bytes, before, after));
  if (bytes < 0) {
    sizing_lower(&s->external_low_bytes, after);
  } else if (bytes > 0 && heap->plan->collects) {
    external_rise(heap, after);
  }
  return TSR_OK;
}
