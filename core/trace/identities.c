/*
 * The table of identity hashes: entries in the order in which they came, and beside them places that lead to them,
 * by open addressing with linear probing. An object's place follows from its address, so every collection that
 * moves objects fills the places anew; the entries it closes up, in their order.
 */
#include "core/trace/identities.h"

#include <string.h>

#include "core/heap/plan.h"
#include "core/object/identity.h"
#include "core/os/error.h"
#include "core/space/spaces.h"

#define IDENTITIES_LEAST ((size_t)64) /* entries of the smallest table */
#define IDENTITIES_MOST  ((size_t)1 << 31)

typedef struct identity_entry {
  tsr_ref object;
  uint64_t hash;
} identity_entry;

/* With two places for each entry. */
#define IDENTITY_BYTES (sizeof(identity_entry) + 2 * sizeof(uint32_t))

struct identities {
  os_mutex lock; /* guards all that follows outside a pause */
  identity_entry
      *entries;    /* NULL: no hash was asked for yet. The places follow in the same segment */
  size_t capacity; /* of entries: a power of two, or 0 */
  size_t count;
};

/* ---- opening and closing ------------------------------------------------------------------------- */

tsr_status identities_open(tsr_heap *heap, tsr_error *error) {
  if (!heap->plan->moves_objects) return TSR_OK;
  if (!heap->plan->movable_arena) {
    heap->hash_word_bytes = heap->object_align;
    return TSR_OK;
  }
  struct identities *table = segment_request(&heap->account, MEMORY_INSTANCE, sizeof *table);
  if (table == NULL) goto no_memory;
  if (!os_mutex_create(&table->lock)) goto no_lock;
  heap->identities = table;
  return TSR_OK;

no_lock:
  segment_release(&heap->account, MEMORY_INSTANCE, table, sizeof *table);
no_memory:
  return heap_no_memory(heap, error);
}

void identities_close(tsr_heap *heap) {
  struct identities *table = heap->identities;
  if (table == NULL) return;
  segment_release(&heap->account, MEMORY_IDENTITIES, table->entries,
                  table->capacity * IDENTITY_BYTES);
  os_mutex_destroy(&table->lock);
  segment_release(&heap->account, MEMORY_INSTANCE, table, sizeof *table);
  heap->identities = NULL;
}

/* ---- the table, under the lock ------------------------------------------------------------------- */

/* Each has the number of an entry, from 1 on, or 0. */
static uint32_t *identity_places(const struct identities *table) {
  return (uint32_t *)(void *)(table->entries + table->capacity);
}

/* The place of an object, or the free one where it belongs. There is a table. */
static uint32_t *identity_place(const tsr_heap *heap, tsr_ref object) {
  const struct identities *table = heap->identities;
  uint32_t *places = identity_places(table);
  size_t mask = 2 * table->capacity - 1;
  size_t at = (size_t)identity_of_place(heap, object) & mask;
  while (places[at] != 0 && table->entries[places[at] - 1].object != object)
    at = (at + 1) & mask;
  return &places[at];
}

/* All places are free. */
static void identities_fill(const tsr_heap *heap) {
  const struct identities *table = heap->identities;
  for (size_t i = 0; i < table->count; i++)
    *identity_place(heap, table->entries[i].object) = (uint32_t)(i + 1);
}

/* Moves all entries to a table of another size. False: no memory, nothing changed. */
static bool identities_resize(tsr_heap *heap, size_t capacity) {
  struct identities *table = heap->identities;
  identity_entry *old = table->entries;
  if (capacity > IDENTITIES_MOST) return false;
  identity_entry *entries =
      segment_request(&heap->account, MEMORY_IDENTITIES, capacity * IDENTITY_BYTES);
  if (entries == NULL) return false;
  if (old != NULL) memcpy(entries, old, table->count * sizeof *entries);
  segment_release(&heap->account, MEMORY_IDENTITIES, old, table->capacity * IDENTITY_BYTES);
  table->entries = entries;
  table->capacity = capacity;
  identities_fill(heap);
  return true;
}

/* False: no memory, nothing changed. */
static bool identities_add(tsr_heap *heap, tsr_ref object, uint64_t hash) {
  struct identities *table = heap->identities;
  if (table->count == table->capacity &&
      !identities_resize(heap, table->capacity == 0 ? IDENTITIES_LEAST : 2 * table->capacity)) {
    return false;
  }
  table->entries[table->count++] = (identity_entry){object, hash};
  *identity_place(heap, object) = (uint32_t)table->count;
  return true;
}

/* ---- mutators --------------------------------------------------------------------------------------- */

bool identities_move(const tsr_heap *heap, tsr_ref object) {
  if (!heap->plan->moves_objects) return false;
  enum block_space space = block_map_space_of(&heap->blocks, (uintptr_t)object);
  return block_space_is_copied(space) || space == BLOCK_MOVABLE || space == BLOCK_LEAVES ||
         spaces_is_in(heap, object, ARENA_PROMOTED);
}

static unsigned char *identity_gc_byte(tsr_ref object) {
  return (unsigned char *)object + TSR_GC_BYTE_OFFSET;
}

static uint64_t identities_find(tsr_heap *heap, tsr_ref object) {
  os_mutex_lock(&heap->identities->lock);
  uint32_t number = heap->identities->capacity == 0 ? 0 : *identity_place(heap, object);
  HEAP_ALWAYS_CHECK(heap, number != 0, object,
                    "the table of identity hashes does not have an object's: its GC byte was "
                    "overwritten");
  uint64_t hash = heap->identities->entries[number - 1].hash;
  os_mutex_unlock(&heap->identities->lock);
  return hash;
}

/* The first time that an object's hash is asked for, or another thread has just done so. False: no memory. */
static bool identities_begin(tsr_heap *heap, tsr_ref object, uint64_t hash) {
  unsigned char *gc_byte = identity_gc_byte(object);
  if (heap->identities == NULL) {
    bool is_first = (os_atomic_byte_change(gc_byte, GC_HASHED, 0) & GC_HASHED) == 0;
    if (is_first && block_space_is_copied(block_map_space_of(&heap->blocks, (uintptr_t)object))) {
      os_atomic_add_full(&heap->spaces->copy.hash_bytes, heap->hash_word_bytes);
    }
    return true;
  }
  os_mutex_lock(&heap->identities->lock);
  bool known = (os_atomic8_load(gc_byte) & GC_HASHED) != 0 || identities_add(heap, object, hash);
  if (known) os_atomic_byte_change(gc_byte, GC_HASHED, 0);
  os_mutex_unlock(&heap->identities->lock);
  return known;
}

tsr_status identities_hash(tsr_heap *heap, tsr_ref object, size_t bytes, uint64_t *hash,
                           tsr_error *error) {
  uint64_t of_place = identity_of_place(heap, object);
  unsigned gc = os_atomic8_load(identity_gc_byte(object));
  if ((gc & GC_HASH_STORED) != 0) {
    *hash = heap->identities == NULL ? *identity_word(heap, object, bytes)
                                     : identities_find(heap, object);
    return TSR_OK;
  }
  /* What does not move has no need of the bit, and may lie on a page that nobody may write. */
  if ((gc & GC_HASHED) == 0 && identities_move(heap, object) &&
      !identities_begin(heap, object, of_place)) {
    return error_set(error, TSR_OUT_OF_MEMORY,
                     "no memory for the identity hash of another object within the heap's maximum");
  }
  *hash = of_place;
  return TSR_OK;
}

/* ---- the collecting thread ---------------------------------------------------------------------------- */

/* An entry whose object is reached: it goes where the object will go. */
static void identity_entry_forward(const tsr_heap *heap, identity_entry *entry) {
  tsr_ref object = entry->object;
  uint64_t header = header_load(object);
  TSR_CHECK(header_is_hashed(header) != header_has_stored_hash(header),
            "an object in the table of identity hashes has one of the two bits");
  if (block_map_space_of(&heap->blocks, (uintptr_t)object) != BLOCK_MOVABLE) return; /* frozen */
  entry->object = (tsr_ref)compaction_forward(&heap->spaces->compaction, (uintptr_t)object);
  if (entry->object != object && header_is_hashed(header)) {
    header_store(object, header_with_stored_hash(header));
  }
}

/* Without memory for a smaller table the large one stays. */
static bool identities_shrink(tsr_heap *heap) {
  const struct identities *table = heap->identities;
  size_t capacity = table->capacity;
  while (capacity > IDENTITIES_LEAST && table->count < capacity / 8)
    capacity /= 2;
  return capacity < table->capacity && identities_resize(heap, capacity);
}

void identities_forward(tsr_heap *heap) {
  struct identities *table = heap->identities;
  if (table == NULL || table->capacity == 0) return;
  size_t left = 0;
  for (size_t i = 0; i < table->count; i++) {
    identity_entry entry = table->entries[i];
    if (heap_form(heap)->survivor(heap, entry.object) == NULL) continue;
    identity_entry_forward(heap, &entry);
    table->entries[left++] = entry;
  }
  table->count = left;
  if (identities_shrink(heap)) return;
  memset(identity_places(table), 0, 2 * table->capacity * sizeof(uint32_t));
  identities_fill(heap);
}

void identities_fork(tsr_heap *heap, os_fork_stage stage) {
  if (heap->identities != NULL) os_mutex_fork(&heap->identities->lock, stage);
}
