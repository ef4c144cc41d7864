/*
 * The table of pins: open addressing with linear probing. An entry that goes is replaced by one behind it
 * (D. E. Knuth, The Art of Computer Programming 3, 6.4, algorithm R), so that no search is longer for
 * what was there once.
 *
 * An object's home is found from its distance to the heap's base, which makes a run repeatable.
 */
#include "core/trace/pins.h"

#include "core/object/layout.h"
#include "core/os/error.h"

#define PINS_LEAST  ((size_t)64) /* entries of the smallest table */

/* What an entry holds: so much for each pin that has to be taken back, and one for the next collection. No
   program lives long enough to count too far. */
#define PIN_COUNTED ((uint64_t)2)
#define PIN_ONCE    ((uint64_t)1)

typedef struct pin_entry {
  tsr_ref object; /* NULL: the entry is free */
  uint64_t holds;
} pin_entry;

struct pins {
  uintptr_t heap_base; /* fixed */
  os_mutex lock;       /* guards all that follows; taken in a pause too: see pins_each() */
  pin_entry *table;    /* NULL: nothing was pinned yet */
  size_t capacity;     /* a power of two, or 0; at least a quarter of the entries are free */
  size_t count;        /* of entries in use */
};

/* ---- opening and closing ------------------------------------------------------------------------- */

tsr_status pins_open(tsr_heap *heap, tsr_error *error) {
  struct pins *pins = segment_request(&heap->account, MEMORY_INSTANCE, sizeof *pins);
  if (pins == NULL) goto no_memory;
  if (!os_mutex_create(&pins->lock)) goto no_lock;
  pins->heap_base = heap->blocks.base;
  heap->pins = pins;
  return TSR_OK;

no_lock:
  segment_release(&heap->account, MEMORY_INSTANCE, pins, sizeof *pins);
no_memory:
  return heap_no_memory(heap, error);
}

/* Counts the objects whose pins nobody took back; `lowest` is the first of them in the heap, or NULL. */
static size_t pins_count_left(const struct pins *pins, tsr_ref *lowest) {
  size_t left = 0;
  *lowest = NULL;
  for (size_t i = 0; i < pins->capacity; i++) {
    const pin_entry *p = &pins->table[i];
    if (p->holds < PIN_COUNTED) continue;
    left++;
    if (*lowest == NULL || (uintptr_t)p->object < (uintptr_t)*lowest) *lowest = p->object;
  }
  return left;
}

static void pins_report_left(tsr_heap *heap) {
  tsr_ref object;
  size_t left = pins_count_left(heap->pins, &object);
  if (left == 0) return;
  const layout *l = layout_of(heap->layouts, object);
  tsr_error error;
  error_set(
      &error, TSR_BUSY,
      "tsr_heap_destroy: objects that are still pinned: %zu, the first of them at %p, of layout "
      "\"%s\"; tsr_unpin() was called less often than tsr_pin()",
      left, (void *)object, l == NULL ? "unknown" : l->name);
  heap_report(heap, NULL, &error);
}

void pins_close(tsr_heap *heap) {
  struct pins *pins = heap->pins;
  pins_report_left(heap);
  segment_release(&heap->account, MEMORY_PINS, pins->table, pins->capacity * sizeof *pins->table);
  os_mutex_destroy(&pins->lock);
  segment_release(&heap->account, MEMORY_INSTANCE, pins, sizeof *pins);
  heap->pins = NULL;
}

/* ---- the table, under the lock ------------------------------------------------------------------- */

/* Where the search for an object begins. A multiplication by 2^64 divided by the golden ratio spreads
   neighbours (Knuth, the same section); the upper half of the product depends on most of its bits. */
static size_t pin_home(const struct pins *pins, tsr_ref object) {
  uint64_t granules = ((uintptr_t)object - pins->heap_base) / TSR_GRANULE;
  return (size_t)(granules * 0x9e3779b97f4a7c15u >> 32) & (pins->capacity - 1);
}

/* The entry of an object, or the free one where it belongs. There is a table. */
static pin_entry *pin_find(const struct pins *pins, tsr_ref object) {
  size_t at = pin_home(pins, object);
  while (pins->table[at].object != NULL && pins->table[at].object != object)
    at = (at + 1) & (pins->capacity - 1);
  return &pins->table[at];
}

/* Moves all entries to a table of another size. False: no memory, nothing changed. */
static bool pins_resize(tsr_heap *heap, size_t capacity) {
  struct pins *pins = heap->pins;
  pin_entry *old = pins->table;
  size_t old_capacity = pins->capacity;
  pin_entry *table = segment_request(&heap->account, MEMORY_PINS, capacity * sizeof *table);
  if (table == NULL) return false;
  pins->table = table;
  pins->capacity = capacity;
  for (size_t i = 0; i < old_capacity; i++) {
    if (old[i].object != NULL) *pin_find(pins, old[i].object) = old[i];
  }
  segment_release(&heap->account, MEMORY_PINS, old, old_capacity * sizeof *old);
  return true;
}

static bool pins_make_room(tsr_heap *heap) {
  const struct pins *pins = heap->pins;
  if (pins->count < pins->capacity / 4 * 3) return true;
  return pins_resize(heap, pins->capacity == 0 ? PINS_LEAST : 2 * pins->capacity);
}

/* Frees an entry, and closes the gap: an entry behind it moves up, unless its home lies behind the gap. */
static void pins_drop(struct pins *pins, pin_entry *gone) {
  size_t mask = pins->capacity - 1;
  size_t gap = (size_t)(gone - pins->table);
  for (size_t at = (gap + 1) & mask; pins->table[at].object != NULL; at = (at + 1) & mask) {
    size_t from_home = (at - pin_home(pins, pins->table[at].object)) & mask;
    if (from_home < ((at - gap) & mask)) continue;
    pins->table[gap] = pins->table[at];
    gap = at;
  }
  pins->table[gap] = (pin_entry){.object = NULL};
  pins->count--;
}

/* ---- mutators --------------------------------------------------------------------------------------- */

/* The entry of an object, a new one if it has none. NULL: no memory. */
static pin_entry *pins_entry(tsr_heap *heap, tsr_ref object) {
  struct pins *pins = heap->pins;
  pin_entry *p = pins->table == NULL ? NULL : pin_find(pins, object);
  if (p != NULL && p->object != NULL) return p;
  if (!pins_make_room(heap)) return NULL;
  p = pin_find(pins, object);
  p->object = object;
  pins->count++;
  return p;
}

tsr_status pins_add(tsr_heap *heap, tsr_ref object, bool once, tsr_error *error) {
  os_mutex_lock(&heap->pins->lock);
  pin_entry *p = pins_entry(heap, object);
  if (p != NULL) p->holds = once ? p->holds | PIN_ONCE : p->holds + PIN_COUNTED;
  os_mutex_unlock(&heap->pins->lock);
  if (p != NULL) return TSR_OK;
  return error_set(error, TSR_OUT_OF_MEMORY,
                   "no memory to pin another object within the heap's maximum");
}

static bool pins_remove_locked(struct pins *pins, tsr_ref object) {
  if (object == NULL || pins->table == NULL) return false;
  pin_entry *p = pin_find(pins, object);
  if (p->holds < PIN_COUNTED) return false;
  p->holds -= PIN_COUNTED;
  if (p->holds == 0) pins_drop(pins, p);
  return true;
}

tsr_status pins_remove(tsr_heap *heap, tsr_ref object, tsr_error *error) {
  os_mutex_lock(&heap->pins->lock);
  bool removed = pins_remove_locked(heap->pins, object);
  os_mutex_unlock(&heap->pins->lock);
  if (removed) return TSR_OK;
  return error_set(
      error, TSR_INVALID_ARGUMENT,
      "the object at %p has no pin to take back: unpinned more often than pinned, pinned "
      "once only, or of another heap",
      (void *)object);
}

/* ---- the collector ---------------------------------------------------------------------------------- */

void pins_each(struct pins *pins, void (*visit)(void *context, tsr_ref object), void *context) {
  os_mutex_lock(&pins->lock);
  for (size_t i = 0; i < pins->capacity; i++) {
    if (pins->table[i].object != NULL) visit(context, pins->table[i].object);
  }
  os_mutex_unlock(&pins->lock);
}

/* Dropping an entry may bring the next one to its place: that one is looked at in turn. What comes round
   the end of the table has been looked at before. */
static void pins_drop_once(struct pins *pins) {
  for (size_t i = 0; i < pins->capacity; i++) {
    pin_entry *p = &pins->table[i];
    while (p->holds == PIN_ONCE)
      pins_drop(pins, p);
    p->holds &= ~PIN_ONCE;
  }
}

/* Without memory for a smaller table the large one stays. */
static void pins_shrink(tsr_heap *heap) {
  const struct pins *pins = heap->pins;
  size_t capacity = pins->capacity;
  while (capacity > PINS_LEAST && pins->count < capacity / 8)
    capacity /= 2;
  if (capacity < pins->capacity) (void)pins_resize(heap, capacity);
}

void pins_end_collection(tsr_heap *heap) {
  os_mutex_lock(&heap->pins->lock);
  pins_drop_once(heap->pins);
  pins_shrink(heap);
  os_mutex_unlock(&heap->pins->lock);
}

void pins_fork(tsr_heap *heap, os_fork_stage stage) {
  os_mutex_fork(&heap->pins->lock, stage);
}
