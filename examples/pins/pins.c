/* pins.c - six ways to pin, and how much memory each keeps from being compacted.
 *
 * A pin holds one object, but a collection leaves the whole 32 KiB block around it in place. So it matters
 * less how many pins there are than how many blocks they lie in. Five of the patterns below are ways of
 * pinning that do little harm (compare M. Stephens, Using GC Efficiently, part 3, on the .NET
 * collector); the sixth is the one to avoid.
 *
 *   short pins           a buffer is pinned for the time of a call, as for a read or a write
 *   pinned when old      buffers that have lived through collections, and lie together since
 *   arenas of groups     buffers that are made, pinned and given up together
 *   a stack              pins that are released in the reverse order
 *   a free list          buffers of one size that stay pinned, and are used again
 *   random sizes         each buffer is made when it is wanted, as large as it has to be, and pinned for
 *                        a random time
 *
 * Each runs in a heap of its own, amid the same ordinary allocation. At its end comes a collection, and
 * then a line: how many pins there are and in how many blocks, what the heap uses, what of that is
 * live. While a buffer is pinned its address may not change; the program looks, and ends with a message
 * if it does. All random choices have a seed, so the figures are the same in each run.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tessera/tessera.h>

#define BLOCK_BYTES   ((uintptr_t)32768)
#define BUFFERS       256u /* pinned at a time, at most */
#define BUFFER_BYTES  512u
#define OBJECTS       4000u /* ordinary objects that are live at a time */
#define TURNS         800u
#define TURN_OBJECTS  256u /* ordinary objects that are made in a turn */
#define COLLECT_TURNS 10u

struct bytes {
  uint64_t header, length;
  unsigned char data[];
};

static const tsr_layout layouts[] = {{TSR_LAYOUT_INIT, .name = "bytes", .kind = TSR_LAYOUT_BYTES,
                                      .fixed_bytes = sizeof(struct bytes),
                                      .length = {.offset = 8, .width = 8, .unit = 1}}};

static const tsr_binding binding = {
    TSR_BINDING_HEADER, .name = "pins", .layouts = layouts, .layout_count = 1,
    .does = TSR_DOES_WRITE_BARRIER | TSR_DOES_SAFEPOINTS | TSR_DOES_UPDATABLE_SLOTS};

struct world {
  tsr_heap *heap;
  tsr_mutator *mutator;
  uint64_t random;
  unsigned turn;
  tsr_slot objects[OBJECTS];
  tsr_slot buffers[BUFFERS];
  uint64_t pinned[BUFFERS]; /* where a buffer was when it was pinned; 0: it is not */
};

static void require(bool ok, const char *message) {
  if (ok) return;
  fprintf(stderr, "pins: %s\n", message);
  exit(1);
}

/* Marsaglia's xorshift, multiplied (S. Vigna, 2016). */
static uint64_t random_below(struct world *w, uint64_t bound) {
  w->random ^= w->random >> 12;
  w->random ^= w->random << 25;
  w->random ^= w->random >> 27;
  return (w->random * 0x2545f4914f6cdd1du >> 32) % bound;
}

/* ---- the heap ---------------------------------------------------------------------------------- */

static void allocate(struct world *w, tsr_slot *to, size_t length) {
  size_t size = tsr_round_size(sizeof(struct bytes) + length);
  struct bytes *bytes = tsr_alloc(w->mutator, size, TSR_OBJECT_ALIGN, 0, TSR_DEFAULT);
  require(bytes != NULL, "out of memory");
  *bytes = (struct bytes){.header = TSR_HEADER(1), .length = length};
  (void)tsr_post_alloc(w->mutator, (tsr_ref)bytes, size, TSR_DEFAULT);
  to->word = (uintptr_t)bytes;
}

/* A buffer is full of its own number. */
static void make_buffer(struct world *w, unsigned i, size_t length) {
  allocate(w, &w->buffers[i], length);
  memset(((struct bytes *)(uintptr_t)w->buffers[i].word)->data, (int)(i & 0xff), length);
}

static void check_buffer(const struct world *w, unsigned i) {
  if (w->pinned[i] == 0) return;
  require(w->buffers[i].word == w->pinned[i], "the address of a pinned buffer has changed");
  const struct bytes *bytes = (const struct bytes *)(uintptr_t)w->pinned[i];
  for (uint64_t k = 0; k < bytes->length; k++)
    require(bytes->data[k] == (i & 0xff), "the content of a pinned buffer has changed");
}

static void pin_buffer(struct world *w, unsigned i) {
  tsr_error error;
  tsr_status status = tsr_pin(w->mutator, (tsr_ref)(uintptr_t)w->buffers[i].word, &error);
  require(status == TSR_OK, error.message);
  w->pinned[i] = w->buffers[i].word;
}

static void drop_buffer(struct world *w, unsigned i) {
  if (w->pinned[i] != 0) {
    tsr_error error;
    check_buffer(w, i);
    tsr_status status = tsr_unpin(w->mutator, (tsr_ref)(uintptr_t)w->pinned[i], &error);
    require(status == TSR_OK, error.message);
  }
  w->pinned[i] = w->buffers[i].word = 0;
}

/* False: the plan never collects. */
static bool collect(struct world *w) {
  tsr_error error;
  tsr_status status = tsr_collect(w->mutator, &error);
  require(status == TSR_OK || status == TSR_UNSUPPORTED, error.message);
  for (unsigned i = 0; i < BUFFERS; i++)
    check_buffer(w, i);
  return status == TSR_OK;
}

/* What a program does besides: it replaces ordinary objects by new ones of random sizes. */
static void work(struct world *w, unsigned objects) {
  for (unsigned i = 0; i < objects; i++)
    allocate(w, &w->objects[random_below(w, OBJECTS)], 8 + random_below(w, 224));
}

/* The ordinary part of a turn. False: that was the last. */
static bool next_turn(struct world *w) {
  work(w, TURN_OBJECTS);
  if (w->turn % COLLECT_TURNS == 0) (void)collect(w);
  return ++w->turn < TURNS;
}

/* ---- the patterns ------------------------------------------------------------------------------ */

static void pin_shortly(struct world *w) {
  do {
    make_buffer(w, 0, BUFFER_BYTES);
    pin_buffer(w, 0);
    work(w, 20);                              /* the call */
    if (w->turn % 50 == 25) (void)collect(w); /* now and then a collection falls into it */
    drop_buffer(w, 0);
  } while (next_turn(w));
}

static void pin_old(struct world *w) {
  for (unsigned i = 0; i < BUFFERS; i++) {
    make_buffer(w, i, BUFFER_BYTES);
    work(w, 100);
  }
  (void)collect(w);
  (void)collect(w);
  for (unsigned i = 0; i < BUFFERS; i++)
    pin_buffer(w, i);
  while (next_turn(w))
    continue;
}

/* Eight groups of buffers; each turn one of them is given up and made again. */
static void pin_groups(struct world *w) {
  const unsigned in_group = BUFFERS / 8;
  do {
    unsigned first = (unsigned)random_below(w, 8) * in_group;
    for (unsigned i = first; i < first + in_group; i++)
      drop_buffer(w, i);
    for (unsigned i = first; i < first + in_group; i++) {
      make_buffer(w, i, BUFFER_BYTES);
      pin_buffer(w, i);
    }
  } while (next_turn(w));
}

/* Calls go down and return: each pins what it hands to the next. */
static void pin_stack(struct world *w) {
  unsigned depth = 0;
  do {
    unsigned target = w->turn + 1 == TURNS ? 200 : (unsigned)random_below(w, BUFFERS);
    while (depth > target)
      drop_buffer(w, --depth);
    for (; depth < target; depth++) {
      make_buffer(w, depth, BUFFER_BYTES);
      pin_buffer(w, depth);
      work(w, 2);
    }
  } while (next_turn(w));
}

/* Buffers are made 32 at a time, when none is left; who has done with one hands it back as it is. */
static void pin_free_list(struct world *w) {
  unsigned made = 0;
  do {
    unsigned in_use = (unsigned)random_below(w, 200);
    while (made < in_use) {
      for (unsigned end = made + 32; made < end; made++) {
        make_buffer(w, made, BUFFER_BYTES);
        pin_buffer(w, made);
      }
    }
  } while (next_turn(w));
}

static void pin_random_sizes(struct world *w) {
  do {
    unsigned i = (unsigned)random_below(w, BUFFERS);
    drop_buffer(w, i);
    make_buffer(w, i, 16 + random_below(w, UINT64_C(2) * BUFFER_BYTES));
    pin_buffer(w, i);
  } while (next_turn(w));
}

static const struct pattern {
  const char *name;
  void (*run)(struct world *w);
} patterns[] = {{"short pins", pin_shortly},      {"pinned when old", pin_old},
                {"arenas of groups", pin_groups}, {"a stack", pin_stack},
                {"a free list", pin_free_list},   {"random sizes", pin_random_sizes}};
#define PATTERNS (sizeof patterns / sizeof patterns[0])

/* ---- figures ------------------------------------------------------------------------------------- */

struct figures {
  unsigned pins, blocks;
  uint64_t used_bytes, live_bytes;
};

static int by_address(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a;
  uint64_t y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static void count_pins(const struct world *w, struct figures *f) {
  uint64_t sorted[BUFFERS];
  memcpy(sorted, w->pinned, sizeof sorted);
  qsort(sorted, BUFFERS, sizeof sorted[0], by_address);
  for (unsigned i = 0; i < BUFFERS; i++) {
    f->pins += sorted[i] != 0;
    bool begins = i == 0 || sorted[i] / BLOCK_BYTES != sorted[i - 1] / BLOCK_BYTES;
    f->blocks += sorted[i] != 0 && begins;
  }
}

static void open_world(struct world *w) {
  tsr_error error;
  *w = (struct world){.random = 88172645463325252u};
  tsr_options *options = tsr_options_create();
  require(options != NULL, "out of memory");
  require(tsr_options_set(options, "heap_max", "128M", &error) == TSR_OK, error.message);
  w->heap = tsr_heap_create(&binding, w, options, &error);
  require(w->heap != NULL, error.message);
  tsr_options_destroy(options);
  w->mutator = tsr_bind_mutator(w->heap, w, &error);
  require(w->mutator != NULL, error.message);
  tsr_status status =
      tsr_root_add(w->heap, w->objects, OBJECTS, TSR_ROOT_PRECISE, "objects", &error);
  require(status == TSR_OK, error.message);
  status = tsr_root_add(w->heap, w->buffers, BUFFERS, TSR_ROOT_PRECISE, "buffers", &error);
  require(status == TSR_OK, error.message);
}

static void close_world(struct world *w) {
  tsr_error error;
  for (unsigned i = 0; i < BUFFERS; i++)
    drop_buffer(w, i);
  require(tsr_unbind_mutator(w->mutator, &error) == TSR_OK, error.message);
  require(tsr_heap_destroy(w->heap, &error) == TSR_OK, error.message);
}

/* False: without a collection, nothing is known of what is live. */
static bool run_pattern(const struct pattern *pattern, struct figures *f) {
  static struct world w;
  open_world(&w);
  pattern->run(&w);
  bool collects = collect(&w);
  tsr_stats stats = {.size = sizeof stats};
  require(tsr_heap_stats(w.heap, &stats, NULL) == TSR_OK, "no statistics");
  *f = (struct figures){.used_bytes = stats.used_bytes, .live_bytes = stats.live_bytes_after_last};
  count_pins(&w, f);
  close_world(&w);
  return collects;
}

static double per_live(const struct figures *f) {
  return (double)f->used_bytes / (double)f->live_bytes;
}

int main(void) {
  struct figures all[PATTERNS];
  size_t worst = 0;
  bool collects = false;
  printf("%-18s %5s %7s %9s %9s %10s\n", "pattern", "pins", "blocks", "used KiB", "live KiB",
         "used/live");
  for (size_t i = 0; i < PATTERNS; i++) {
    struct figures *f = &all[i];
    collects = run_pattern(&patterns[i], f);
    printf("%-18s %5u %7u %9" PRIu64, patterns[i].name, f->pins, f->blocks, f->used_bytes / 1024);
    if (collects) {
      printf(" %9" PRIu64 " %10.2f\n", f->live_bytes / 1024, per_live(f));
    } else {
      printf(" %9s %10s\n", "-", "-");
    }
    if (collects && per_live(f) > per_live(&all[worst])) worst = i;
  }
  puts("every pinned buffer stayed where it was");
  if (collects) printf("most is kept by: %s\n", patterns[worst].name);
  return 0;
}
