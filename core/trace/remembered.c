/*
 * The remembered set.
 */
#include "core/trace/remembered.h"

#include <string.h>

#include "core/alloc/mutator.h"
#include "core/object/reference.h"
#include "core/object/walk.h"
#include "core/trace/team.h"

/* Slots that a custom layout is asked for at a time. */
#define REMEMBERED_CUSTOM_SLOTS 64u
/* Of what a mutator stores behind a forward barrier between two pauses, so many are logged. */
#define REMEMBERED_AHEAD_MOST   4096u

struct remembered {
  os_mutex lock; /* guards what follows while workers run, or mutators go */
  word_log log;
  word_log
      reading; /* in a minor collection, or in steps: what of the log that was there has not been scanned */
  word_log ahead;    /* objects that were stored behind a forward barrier, and are to be marked */
  word_log doubtful; /* in a minor collection: objects that refer to young ones, or do not */
};

/* ---- the log ----------------------------------------------------------------------------------------- */

tsr_status remembered_open(tsr_heap *heap, tsr_error *error) {
  if (!heap->plan->barrier->arms_objects) return TSR_OK;
  struct remembered *all = segment_request(&heap->account, MEMORY_INSTANCE, sizeof *all);
  if (all == NULL) return heap_no_memory(heap, error);
  if (!os_mutex_create(&all->lock)) {
    segment_release(&heap->account, MEMORY_INSTANCE, all, sizeof *all);
    return heap_no_memory(heap, error);
  }
  heap->remembered = all;
  return TSR_OK;
}

void remembered_close(tsr_heap *heap) {
  struct remembered *all = heap->remembered;
  if (all == NULL) return;
  word_log_drop(heap, &all->log);
  word_log_drop(heap, &all->reading);
  word_log_drop(heap, &all->ahead);
  word_log_drop(heap, &all->doubtful);
  os_mutex_destroy(&all->lock);
  segment_release(&heap->account, MEMORY_INSTANCE, all, sizeof *all);
  heap->remembered = NULL;
}

void remembered_fork(tsr_heap *heap, os_fork_stage stage) {
  if (heap->remembered != NULL) os_mutex_fork(&heap->remembered->lock, stage);
}

static block *remembered_block(const tsr_heap *heap, tsr_ref object) {
  return block_map_at(&heap->blocks, block_map_index(&heap->blocks, (uintptr_t)object));
}

/* Where a log finds no memory the object's block takes its place. */
static void log_add(tsr_heap *heap, word_log *log, tsr_ref object) {
  if (word_log_push(heap, log, (uintptr_t)object)) return;
  heap_note_block(heap, block_map_index(&heap->blocks, (uintptr_t)object));
}

/* By any worker. */
static void remembered_log(tsr_heap *heap, word_log *log, tsr_ref object) {
  os_mutex_lock(&heap->remembered->lock);
  log_add(heap, log, object);
  os_mutex_unlock(&heap->remembered->lock);
}

void remembered_add(tsr_mutator *mutator, tsr_ref object) {
  log_add(mutator->heap, &mutator->private_part->stored, object);
}

bool remembered_add_ahead(tsr_mutator *mutator, tsr_ref stored) {
  struct tsr_mutator_private *own = mutator->private_part;
  if (own->ahead_count == REMEMBERED_AHEAD_MOST) return false;
  if (!word_log_push(mutator->heap, &own->ahead, (uintptr_t)stored)) return false;
  own->ahead_count++;
  return true;
}

bool remembered_pop_ahead(tsr_heap *heap, tsr_ref *stored) {
  uintptr_t word;
  if (!word_log_pop(heap, &heap->remembered->ahead, &word)) return false;
  *stored = (tsr_ref)word;
  return true;
}

void remembered_take_over(struct tsr_mutator_private *own) {
  struct remembered *all = own->heap->remembered;
  if (word_log_is_empty(&own->stored) && word_log_is_empty(&own->ahead)) return;
  os_mutex_lock(&all->lock);
  word_log_take(&all->ahead, &own->ahead);
  own->ahead_count = 0;
  /* Entry by entry where the newest piece is not full, so that many stops make no long list of short pieces. */
  uintptr_t object;
  size_t left = word_log_is_empty(&own->stored) ? 0 : own->stored.first->count % LOG_CHUNK_WORDS;
  for (; left > 0; left--) {
    if (word_log_pop(own->heap, &own->stored, &object))
      log_add(own->heap, &all->log, (tsr_ref)object);
  }
  word_log_take(&all->log, &own->stored);
  os_mutex_unlock(&all->lock);
}

/* ---- objects ------------------------------------------------------------------------------------------ */

/* Changes an object's state; what it was comes out. */
static unsigned object_change(tsr_ref object, enum gc_byte set, enum gc_byte cleared) {
  unsigned char *byte = (unsigned char *)object + TSR_GC_BYTE_OFFSET;
  return os_atomic_byte_change(byte, (unsigned char)set, (unsigned char)cleared);
}

/* What is armed is not written to: its pages may be sealed, or shared with another process. */
static void object_arm(tsr_ref object) {
  unsigned state = header_gc_byte(header_load(object)) & (GC_ARMED | GC_LOGGED);
  if (state != GC_ARMED) object_change(object, GC_ARMED, GC_LOGGED);
}

/* It is in the log then, once. What is sealed stays armed; it lies alone on its pages, and its block is remembered. */
static void object_make_gray(tsr_heap *heap, tsr_ref object) {
  if (seal_is_closed(heap, object)) {
    heap_note_block(heap, block_map_index(&heap->blocks, (uintptr_t)object));
  } else if ((object_change(object, GC_LOGGED, GC_ARMED) & GC_LOGGED) == 0) {
    remembered_log(heap, &heap->remembered->log, object);
  }
}

static bool word_is_young(const tsr_heap *heap, uint64_t word) {
  uintptr_t address = reference_address(&heap->references, word);
  enum block_space space = block_map_space_of(&heap->blocks, address);
  return space > BLOCK_FREE && !block_space_stays(space);
}

/* The same by the slots that the VM tells of. */
static bool custom_is_young_referrer(const tsr_heap *heap, const layout *l, tsr_ref object) {
  tsr_slot *slots[REMEMBERED_CUSTOM_SLOTS];
  for (size_t position = 0; position != TSR_SCAN_DONE;) {
    tsr_slot_buffer out = {slots, slots + REMEMBERED_CUSTOM_SLOTS};
    position = l->scan(heap->vm, object, position, &out);
    for (tsr_slot **slot = slots; slot < out.next; slot++) {
      if (word_is_young(heap, (*slot)->word)) return true;
    }
  }
  return false;
}

/* Whether an object may refer to a young one. Any word that looks so counts, but for those of an object without slots. */
static bool object_is_young_referrer(const tsr_heap *heap, tsr_ref object) {
  size_t bytes;
  const layout *l = object_walk_layout(heap, object, &bytes);
  if (layout_is_leaf(l)) return false;
  if (l->kind == TSR_LAYOUT_CUSTOM) return custom_is_young_referrer(heap, l, object);
  const tsr_slot *words = (const tsr_slot *)object;
  for (size_t i = 0; i < bytes / sizeof(tsr_slot); i++) {
    if (word_is_young(heap, words[i].word)) return true;
  }
  return false;
}

static bool object_is_logged(tsr_ref object) {
  return (header_gc_byte(header_load_shared(object)) & GC_LOGGED) != 0;
}

/* Of an old object, between pauses: whether it has to be in the log. */
static bool object_waits_in_log(tsr_ref object) {
  return object_is_logged(object) && !header_is_armed(header_load(object));
}

static bool object_is_gray(tsr_heap *heap, tsr_ref object) {
  return !header_is_armed(header_load(object)) || seal_is_closed(heap, object);
}

bool remembered_waits(tsr_heap *heap, tsr_ref object) {
  unsigned state = header_gc_byte(header_load_anywhere(object)) & (GC_ARMED | GC_LOGGED);
  return state == 0 || seal_is_closed(heap, object);
}

typedef void object_visit(void *context, tsr_ref object);

static void log_each(const word_log *log, object_visit *visit, void *context) {
  for (const log_chunk *chunk = log->first; chunk != NULL; chunk = chunk->next) {
    for (size_t i = 0; i < chunk->count; i++)
      visit(context, (tsr_ref)chunk->words[i]);
  }
}

/* ---- slots of large arrays ------------------------------------------------------------------------------- */

/* The object that a block of the large space belongs to. */
static tsr_ref remembered_large_object(const tsr_heap *heap, uint32_t index) {
  bool first = block_map_space(&heap->blocks, index) == BLOCK_LARGE;
  return large_space_object(&heap->spaces->large, first ? index : large_space_head(heap, index));
}

/* Whether an object refers to nothing, and is never looked at; so it may not be in the log. */
static bool object_is_large_leaf(const tsr_heap *heap, tsr_ref object) {
  return block_map_space_of(&heap->blocks, (uintptr_t)object) == BLOCK_LARGE &&
         large_space_is_leaf(&heap->spaces->large, object);
}

/* Whether slots of an object are an array's that has bits for them. */
static bool slots_are_of_large_array(const tsr_heap *heap, tsr_ref object, const tsr_slot *first,
                                     size_t count) {
  if (block_map_space_of(&heap->blocks, (uintptr_t)object) != BLOCK_LARGE) {
    if (!large_space_is_armed_young(&heap->spaces->large, object)) return false;
  } else if ((remembered_block(heap, object)->flags & BLOCK_SLOTTED) == 0) {
    return false;
  }
  const layout *l = layout_of_header(heap->layouts, object, header_load_shared(object));
  if (l == NULL) return false;
  /* Between two references nothing else can lie. */
  size_t step = l->kind == TSR_LAYOUT_REFERENCES && count > 1 ? count - 1 : 1;
  for (size_t i = 0; i < count; i += step) {
    if (!layout_has_element_slot(l, object, &first[i])) return false;
  }
  return true;
}

/* Clears a word; what it was comes out. Another worker may note a slot of it. */
static uint64_t slots_take(uint64_t *word) {
  uint64_t bits = os_atomic64_load_acquire(word);
  while (bits != 0 && !os_atomic64_compare_exchange_full(word, bits, 0))
    bits = os_atomic64_load_acquire(word);
  return bits;
}

/* Sets bits of one word. Returns how many were not set. */
static size_t slots_note(tsr_heap *heap, size_t word, uint64_t bits) {
  uint64_t *place = &heap->bits.starts[word], old;
  do {
    old = os_atomic64_load_acquire(place);
    if ((bits & ~old) == 0) return 0;
  } while (!os_atomic64_compare_exchange_full(place, old, old | bits));
  os_atomic8_set(&block_map_at(&heap->blocks, (uint32_t)(word / BLOCK_BIT_WORDS))->stored);
  return (size_t)__builtin_popcountll(bits & ~old);
}

bool remembered_add_slots(tsr_heap *heap, tsr_ref object, const tsr_slot *first, size_t count,
                          size_t *noted) {
  *noted = 0;
  if (object_is_large_leaf(heap, object)) return true;
  if (!slots_are_of_large_array(heap, object, first, count)) return false;
  size_t at = object_bit_index(&heap->bits, (uintptr_t)first), end = at + count;
  while (at < end) {
    size_t next = (at / 64 + 1) * 64 < end ? (at / 64 + 1) * 64 : end;
    uint64_t bits = UINT64_MAX >> (64 - (next - at)) << (at % 64);
    *noted += slots_note(heap, at / 64, bits);
    at = next;
  }
  return true;
}

bool remembered_has_slot(const tsr_heap *heap, const tsr_slot *slot) {
  enum block_space space = block_map_space_of(&heap->blocks, (uintptr_t)slot);
  return block_space_is_large(space) &&
         remembered_block(heap, (tsr_ref)(uintptr_t)slot)->stored != 0 &&
         object_bit_get(heap->bits.starts, object_bit_index(&heap->bits, (uintptr_t)slot));
}

/* `count` slots have been taken from other blocks; how many have been with this one's comes out. */
typedef size_t block_take(struct worker *worker, uint32_t index, size_t count, bool shared);

static size_t block_drop_slots(struct worker *worker, uint32_t index, size_t count, bool shared) {
  (void)shared;
  uint64_t *words = object_bits_of(worker->heap->bits.starts, index);
  memset(words, 0, BLOCK_BIT_WORDS * sizeof *words);
  return count;
}

/* Visits those that were taken, many at a time: one is fetched while others are visited. */
static size_t slots_visit(struct worker *worker, size_t count, bool shared) {
  heap_form(worker->heap)->take_noted(worker, worker->scan_slots, count, shared);
  return 0;
}

/* Takes the noted slots of a block. What the array has lost at its end since is passed by; and all of an array that is
   gray, for it is scanned as a whole, maybe by another worker. */
static size_t block_take_slots(struct worker *worker, uint32_t index, size_t count, bool shared) {
  tsr_heap *heap = worker->heap;
  tsr_ref object = remembered_large_object(heap, index);
  uint64_t header = header_load_shared(object);
  const layout *l = layout_of_header(heap->layouts, object, header);
  uint64_t *words = object_bits_of(heap->bits.starts, index);
  tsr_slot *start = (tsr_slot *)block_map_start(&heap->blocks, index);
  if (!header_is_armed(header)) return block_drop_slots(worker, index, count, shared);
  worker_open(heap, object);
  for (uint32_t i = 0; i < BLOCK_BIT_WORDS; i++) {
    for (uint64_t bits = slots_take(&words[i]); bits != 0; bits &= bits - 1) {
      tsr_slot *slot = &start[i * 64 + (uint32_t)__builtin_ctzll(bits)];
      if (!layout_has_element_slot(l, object, slot)) continue;
      worker->scan_slots[count++] = slot;
      if (count == WORKER_SCAN_SLOTS) count = slots_visit(worker, count, shared);
    }
  }
  return count;
}

/* Takes each block of which slots are noted, of old arrays in front of one in the list, or of those among them with a flag;
   `shared`: each that no other worker takes. */
static size_t remembered_each_stored(struct worker *worker, uint32_t end, uint8_t flag,
                                     block_take *take, bool shared) {
  const tsr_heap *heap = worker->heap;
  const block_map *map = &heap->blocks;
  size_t count = 0;
  for (uint32_t head = heap->spaces->large.first; head != end;
       head = block_map_at(map, head)->next) {
    if (block_map_space(map, head) != BLOCK_LARGE) continue;
    if ((block_map_at(map, head)->flags & flag) != flag) continue;
    uint32_t blocks = block_map_at(map, head)->run_blocks;
    for (uint32_t i = head; i < head + blocks; i++) {
      uint8_t *stored = &block_map_at(map, i)->stored;
      if (os_atomic8_is_set(stored) && os_atomic8_clear_first(stored))
        count = take(worker, i, count, shared);
    }
  }
  return count;
}

void remembered_take_slots(struct worker *worker, bool shared) {
  size_t count = remembered_each_stored(worker, BLOCK_NONE, 0, block_take_slots, shared);
  slots_visit(worker, count, shared);
}

bool remembered_take_promoted(struct worker *worker, bool shared) {
  if (!worker->takes_arrays) return false;
  worker->takes_arrays = false;
  uint32_t first_old = worker->heap->spaces->large.first_old;
  size_t count =
      remembered_each_stored(worker, first_old, BLOCK_BORN_ARMED, block_take_slots, shared);
  slots_visit(worker, count, shared);
  return true;
}

/* ---- blocks ------------------------------------------------------------------------------------------- */

static bool block_is_old(enum block_space space) {
  return space == BLOCK_ARENA || space == BLOCK_SEALED || space == BLOCK_LARGE;
}

/* The objects of an old block, or the gray ones. */
static void block_each(tsr_heap *heap, uint32_t index, bool gray_only, object_visit *visit,
                       void *context) {
  if (block_map_space(&heap->blocks, index) == BLOCK_LARGE) {
    tsr_ref object = large_space_object(&heap->spaces->large, index);
    if (header_load(object) == 0) return;
    if (!gray_only || object_is_gray(heap, object)) visit(context, object);
    return;
  }
  uintptr_t at = block_map_start(&heap->blocks, index), end = at + BLOCK_BYTES;
  arena_sweep_block(spaces_arena_of(heap, at), index);
  for (; (at = arena_next_object(heap, at, end, false)) < end; at += TSR_GRANULE) {
    if (!gray_only || object_is_gray(heap, (tsr_ref)at)) visit(context, (tsr_ref)at);
  }
}

/* Takes each remembered block. It is not remembered any more then, but for what the visits do. */
static void remembered_each(tsr_heap *heap, bool gray_only, object_visit *visit, void *context) {
  const block_map *map = &heap->blocks;
  if (heap->blocks_noted == 0) return;
  heap->blocks_noted = 0;
  for (uint32_t i = 0; i < block_map_extent(map); i++) {
    block *b = block_map_at(map, i);
    enum block_space space = block_map_space(map, i);
    if (space <= BLOCK_FREE || b->remembered == 0) continue;
    if (!block_is_old(space)) { /* yet */
      heap->blocks_noted = 1;
      continue;
    }
    b->remembered = 0;
    block_each(heap, i, gray_only, visit, context);
  }
}

/* Not in a remembered block: all that are gray there are looked at. */
static bool log_stays(void *context, uintptr_t word) {
  return remembered_block(context, (tsr_ref)word)->remembered == 0;
}

/* ---- minor collections ----------------------------------------------------------------------------------- */

void remembered_clear_logged(tsr_ref object) {
  if (object_is_logged(object)) object_change(object, 0, GC_LOGGED);
}

/* Queues an object as if it were reached by a collection of everything. It is in the log no more. What is for marking alone is
   passed by if it is not marked: it will be scanned when it is reached, if ever. */
static void reach_gray(void *context, tsr_ref object) {
  struct worker *worker = context;
  const tsr_heap *heap = worker->heap;
  remembered_clear_logged(object);
  if (!heap_form(heap)->generational && !spaces_is_reached(heap, object)) return;
  worker_queue_staying(worker, object);
}

void remembered_begin_reading(tsr_heap *heap) {
  struct remembered *all = heap->remembered;
  if (heap->blocks_noted != 0) word_log_filter(heap, &all->log, log_stays, heap);
  word_log_take(&all->reading, &all->log);
}

bool remembered_is_read(const tsr_heap *heap) {
  return word_log_is_empty(&heap->remembered->reading);
}

void remembered_reach(struct worker *worker) {
  remembered_begin_reading(worker->heap);
  remembered_each(worker->heap, true, reach_gray, worker);
}

log_chunk *remembered_take_logged(tsr_heap *heap) {
  struct remembered *all = heap->remembered;
  os_mutex_lock(&all->lock);
  log_chunk *chunk = word_log_take_chunk(&all->reading);
  os_mutex_unlock(&all->lock);
  return chunk;
}

void remembered_note_slot(tsr_heap *heap, const tsr_slot *slot) {
  uint32_t index = block_map_index(&heap->blocks, (uintptr_t)slot);
  enum block_space space = block_map_space(&heap->blocks, index);
  if (!block_space_is_large(space)) {
    object_make_gray(heap,
                     arena_object_at(spaces_arena_of(heap, (uintptr_t)slot), (uintptr_t)slot));
    return;
  }
  tsr_ref object = remembered_large_object(heap, index);
  size_t noted;
  if (!remembered_add_slots(heap, object, slot, 1, &noted)) object_make_gray(heap, object);
}

/* It counts as logged, so that none of its slots logs it as well. */
void remembered_doubt(tsr_heap *heap, tsr_ref object) {
  if (!seal_is_closed(heap, object) && (object_change(object, GC_LOGGED, 0) & GC_LOGGED) != 0)
    return;
  remembered_log(heap, &heap->remembered->doubtful, object);
}

static void settle_object(void *context, tsr_ref object) {
  tsr_heap *heap = context;
  object_arm(object);
  if (object_is_young_referrer(heap, object)) object_make_gray(heap, object);
}

/* Those in remembered blocks are passed by. */
static void settle_entry(void *context, tsr_ref object) {
  if (log_stays(context, (uintptr_t)object)) settle_object(context, object);
}

void remembered_settle(tsr_heap *heap) {
  word_log *doubtful = &heap->remembered->doubtful;
  word_log taken = *doubtful;
  doubtful->first = NULL;
  log_each(&taken, settle_entry, heap);
  word_log_drop(heap, &taken);
}

/* ---- collections of everything ----------------------------------------------------------------------------- */

static void arm_object(void *context, tsr_ref object) {
  (void)context;
  if (!header_is_leaf(header_load(object))) object_arm(object);
}

static void rebuild_object(void *context, tsr_ref object) {
  if (!header_is_leaf(header_load(object))) settle_object(context, object);
}

void remembered_forget(tsr_heap *heap) {
  remembered_each_stored(&heap->team->first, BLOCK_NONE, 0, block_drop_slots, false);
  word_log_take(&heap->remembered->log, &heap->remembered->reading);
  word_log_drop(heap, &heap->remembered->log);
}

void remembered_rebuild(tsr_heap *heap, bool is_young_left) {
  const block_map *map = &heap->blocks;
  for (uint32_t i = 0; is_young_left && i < block_map_extent(map); i++) {
    if (block_is_old(block_map_space(map, i))) heap_note_block(heap, i);
  }
  remembered_each(heap, false, is_young_left ? rebuild_object : arm_object, heap);
}

/* ---- the end of a cycle ----------------------------------------------------------------------------------- */

static bool log_keeps(void *context, uintptr_t word) {
  return spaces_is_reached(context, (tsr_ref)word);
}

void remembered_purge(tsr_heap *heap) {
  word_log_filter(heap, &heap->remembered->log, log_keeps, heap);
}

/* ---- verifying -------------------------------------------------------------------------------------------- */

bool remembered_has(tsr_heap *heap, tsr_ref object, const tsr_slot *slot) {
  if (!block_space_stays(block_map_space_of(&heap->blocks, (uintptr_t)object))) return true;
  bool is_in_block =
      remembered_block(heap, object)->remembered != 0 && object_is_gray(heap, object);
  return object_waits_in_log(object) || is_in_block || remembered_has_slot(heap, slot);
}

bool remembered_is_logged(tsr_heap *heap, tsr_ref object) {
  bool is_old = block_is_old(block_map_space_of(&heap->blocks, (uintptr_t)object));
  return is_old && object_waits_in_log(object) && remembered_block(heap, object)->remembered == 0;
}

void remembered_each_logged(const tsr_heap *heap, void (*visit)(void *context, tsr_ref object),
                            void *context) {
  if (heap->remembered == NULL) return;
  log_each(&heap->remembered->log, visit, context);
  log_each(&heap->remembered->reading, visit, context);
}
