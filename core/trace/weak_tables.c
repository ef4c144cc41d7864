/*
 * Open addressing with linear probing. An entry that goes leaves a mark in its place, so that a collection need not
 * move others; when entries and marks together fill three quarters, or entries less than an eighth, the next new
 * entry finds the table built anew, in the size that it needs. A table that a collection has emptied has no places.
 */
#include "core/trace/weak_tables.h"

#include "core/os/error.h"
#include "core/trace/weak.h"

#define TABLE_LEAST ((size_t)16) /* entries of the smallest table */

/* What is in the place of an entry: nothing, the mark of one that went, or a hash. */
#define ENTRY_EMPTY ((uint64_t)0)
#define ENTRY_GONE  ((uint64_t)1)
#define ENTRY_USED  ((uint64_t)2) /* the bit that all hashes have here */

typedef struct weak_entry {
  uint64_t hash;
  tsr_ephemeron pair; /* an ephemeron where keys are weak; else a key and a value */
} weak_entry;

struct tsr_weak_table {
  tsr_heap *heap;
  tsr_weak_table *next;
  tsr_weak_mode mode;
  os_mutex lock; /* guards all that follows */
  weak_entry *entries;
  size_t capacity; /* a power of two, or 0 */
  size_t used;     /* entries */
  size_t gone;     /* marks */
};

struct weak_tables {
  os_mutex lock; /* guards the list */
  tsr_weak_table *first;
};

/* ---- opening ---------------------------------------------------------------------------------------- */

tsr_status weak_tables_open(tsr_heap *heap, tsr_error *error) {
  struct weak_tables *tables = segment_request(&heap->account, MEMORY_INSTANCE, sizeof *tables);
  if (tables == NULL) goto no_memory;
  if (!os_mutex_create(&tables->lock)) goto no_lock;
  heap->weak_tables = tables;
  return TSR_OK;

no_lock:
  segment_release(&heap->account, MEMORY_INSTANCE, tables, sizeof *tables);
no_memory:
  return heap_no_memory(heap, error);
}

static void table_release_places(tsr_weak_table *table) {
  segment_release(&table->heap->account, MEMORY_WEAK_TABLES, table->entries,
                  table->capacity * sizeof *table->entries);
  table->entries = NULL;
  table->capacity = table->gone = 0;
}

static void table_release(tsr_weak_table *table) {
  table_release_places(table);
  os_mutex_destroy(&table->lock);
  segment_release(&table->heap->account, MEMORY_WEAK_TABLES, table, sizeof *table);
}

void weak_tables_close(tsr_heap *heap) {
  struct weak_tables *tables = heap->weak_tables;
  while (tables->first != NULL) {
    tsr_weak_table *table = tables->first;
    tables->first = table->next;
    table_release(table);
  }
  os_mutex_destroy(&tables->lock);
  segment_release(&heap->account, MEMORY_INSTANCE, tables, sizeof *tables);
  heap->weak_tables = NULL;
}

tsr_weak_table *weak_table_new(tsr_heap *heap, tsr_weak_mode mode, tsr_error *error) {
  struct weak_tables *tables = heap->weak_tables;
  if ((unsigned)mode > TSR_WEAK_BOTH) {
    error_set(error, TSR_INVALID_ARGUMENT, "%d is no mode of a weak table", (int)mode);
    return NULL;
  }
  tsr_weak_table *table = segment_request(&heap->account, MEMORY_WEAK_TABLES, sizeof *table);
  if (table == NULL) goto no_memory;
  *table = (tsr_weak_table){.heap = heap, .mode = mode};
  if (!os_mutex_create(&table->lock)) goto no_lock;
  os_mutex_lock(&tables->lock);
  table->next = tables->first;
  tables->first = table;
  os_mutex_unlock(&tables->lock);
  return table;

no_lock:
  segment_release(&heap->account, MEMORY_WEAK_TABLES, table, sizeof *table);
no_memory:
  error_set(error, TSR_OUT_OF_MEMORY, "no memory for another weak table");
  return NULL;
}

void weak_table_free(tsr_weak_table *table) {
  struct weak_tables *tables = table->heap->weak_tables;
  os_mutex_lock(&tables->lock);
  tsr_weak_table **link = &tables->first;
  while (*link != table)
    link = &(*link)->next;
  *link = table->next;
  os_mutex_unlock(&tables->lock);
  table_release(table);
}

/* ---- places ------------------------------------------------------------------------------------------- */

/* Where a search for a hash begins: its upper bits, multiplied, decide. The table has places. */
static size_t table_home(const tsr_weak_table *table, uint64_t hash) {
  return (size_t)((hash * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (table->capacity - 1);
}

static size_t table_after(const tsr_weak_table *table, size_t index) {
  return (index + 1) & (table->capacity - 1);
}

static bool entry_is(const weak_entry *entry, const tsr_weak_key *key) {
  if (entry->hash != (key->hash | ENTRY_USED)) return false;
  if (key->equal == NULL) return entry->pair.key.word == key->word;
  return key->equal(key->context, entry->pair.key.word);
}

/* The entry of a key; NULL: none. Under the lock. */
static weak_entry *table_find(const tsr_weak_table *table, const tsr_weak_key *key) {
  if (table->capacity == 0) return NULL;
  for (size_t i = table_home(table, key->hash | ENTRY_USED);; i = table_after(table, i)) {
    weak_entry *entry = &table->entries[i];
    if (entry->hash == ENTRY_EMPTY) return NULL;
    if (entry_is(entry, key)) return entry;
  }
}

/* A place for a hash that is not in the table, which has one. */
static weak_entry *table_place(const tsr_weak_table *table, uint64_t hash) {
  size_t i = table_home(table, hash);
  while (table->entries[i].hash >= ENTRY_USED)
    i = table_after(table, i);
  return &table->entries[i];
}

/* Builds the table anew, with room for one more entry. False: no memory, and nothing changed. */
static bool table_rebuild(tsr_weak_table *table) {
  memory_account *account = &table->heap->account;
  tsr_weak_table before = *table;
  size_t capacity = TABLE_LEAST;
  while (2 * (before.used + 1) > capacity)
    capacity *= 2;
  weak_entry *entries = segment_request(account, MEMORY_WEAK_TABLES, capacity * sizeof *entries);
  if (entries == NULL) return false;
  table->entries = entries;
  table->capacity = capacity;
  table->gone = 0;
  for (size_t i = 0; i < before.capacity; i++) {
    const weak_entry *entry = &before.entries[i];
    if (entry->hash >= ENTRY_USED) *table_place(table, entry->hash) = *entry;
  }
  segment_release(account, MEMORY_WEAK_TABLES, before.entries,
                  before.capacity * sizeof *before.entries);
  return true;
}

/* A place for one more entry; NULL: no memory, and nothing changed. A search ends at an empty place: one is left. */
static weak_entry *table_make_place(tsr_weak_table *table, uint64_t hash) {
  bool large = table->capacity > TABLE_LEAST && 8 * (table->used + 1) < table->capacity;
  if (table->capacity == 0 || large) {
    if (!table_rebuild(table) && table->capacity == 0) return NULL;
  }
  weak_entry *place = table_place(table, hash);
  size_t filled = table->used + table->gone + 1;
  if (place->hash == ENTRY_GONE || 4 * filled <= 3 * table->capacity) return place;
  if (table_rebuild(table)) return table_place(table, hash);
  return filled < table->capacity ? place : NULL;
}

/* ---- mutators --------------------------------------------------------------------------------------------- */

static void entry_drop(tsr_weak_table *table, weak_entry *entry) {
  *entry = (weak_entry){.hash = ENTRY_GONE};
  table->used--;
  table->gone++;
}

static bool table_insert(tsr_weak_table *table, const tsr_weak_key *key, uint64_t value) {
  weak_entry *place = table_make_place(table, key->hash | ENTRY_USED);
  if (place == NULL) return false;
  if (place->hash == ENTRY_GONE) table->gone--;
  place->hash = key->hash | ENTRY_USED;
  place->pair.key.word = key->word;
  place->pair.value.word = value;
  table->used++;
  return true;
}

tsr_status weak_table_put(tsr_weak_table *table, const tsr_weak_key *key, uint64_t *value,
                          tsr_weak_put put, tsr_error *error) {
  bool stored = true;
  os_mutex_lock(&table->lock);
  weak_entry *entry = table_find(table, key);
  if (entry == NULL) {
    stored = table_insert(table, key, *value);
  } else if (put == TSR_WEAK_KEEP) {
    *value = entry->pair.value.word;
  } else {
    entry->pair.value.word = *value;
  }
  os_mutex_unlock(&table->lock);
  if (stored) return TSR_OK;
  return error_set(error, TSR_OUT_OF_MEMORY, "no memory for another entry of a weak table");
}

bool weak_table_get(tsr_weak_table *table, const tsr_weak_key *key, uint64_t *value) {
  os_mutex_lock(&table->lock);
  const weak_entry *entry = table_find(table, key);
  if (entry != NULL) *value = entry->pair.value.word;
  os_mutex_unlock(&table->lock);
  return entry != NULL;
}

bool weak_table_remove(tsr_weak_table *table, const tsr_weak_key *key) {
  os_mutex_lock(&table->lock);
  weak_entry *entry = table_find(table, key);
  if (entry != NULL) entry_drop(table, entry);
  os_mutex_unlock(&table->lock);
  return entry != NULL;
}

size_t weak_table_count(tsr_weak_table *table) {
  os_mutex_lock(&table->lock);
  size_t used = table->used;
  os_mutex_unlock(&table->lock);
  return used;
}

void weak_table_each(tsr_weak_table *table,
                     void (*visit)(void *context, uint64_t key, uint64_t value), void *context) {
  os_mutex_lock(&table->lock);
  for (size_t i = 0; i < table->capacity; i++) {
    const weak_entry *entry = &table->entries[i];
    if (entry->hash < ENTRY_USED) continue;
    visit(context, entry->pair.key.word, entry->pair.value.word);
  }
  os_mutex_unlock(&table->lock);
}

/* ---- the collecting thread ------------------------------------------------------------------------------------ */

/* Calls back for every entry of every table. Threads that are not bound may make tables, and count, at any time. */
static void tables_each_entry(tsr_heap *heap,
                              void (*visit)(void *context, tsr_weak_table *table,
                                            weak_entry *entry),
                              void *context) {
  os_mutex_lock(&heap->weak_tables->lock);
  for (tsr_weak_table *table = heap->weak_tables->first; table != NULL; table = table->next) {
    os_mutex_lock(&table->lock);
    for (size_t i = 0; i < table->capacity; i++) {
      weak_entry *entry = &table->entries[i];
      if (entry->hash >= ENTRY_USED) visit(context, table, entry);
    }
    os_mutex_unlock(&table->lock);
  }
  os_mutex_unlock(&heap->weak_tables->lock);
}

static void entry_visit_strong(void *context, tsr_weak_table *table, weak_entry *entry) {
  if (table->mode == TSR_WEAK_VALUES) visitor_visit(context, &entry->pair.key, 1);
}

void weak_tables_visit(tsr_heap *heap, tsr_visitor *visitor) {
  visitor_name(visitor, "key of a weak table", NULL);
  tables_each_entry(heap, entry_visit_strong, visitor);
}

static void entry_visit_weak(void *context, tsr_weak_table *table, weak_entry *entry) {
  if (table->mode != TSR_WEAK_VALUES) visitor_visit(context, &entry->pair.key, 1);
  visitor_visit(context, &entry->pair.value, 1);
}

void weak_tables_visit_weak(tsr_heap *heap, tsr_visitor *visitor) {
  visitor_name(visitor, "entry of a weak table", NULL);
  tables_each_entry(heap, entry_visit_weak, visitor);
}

static void entry_examine(void *context, tsr_weak_table *table, weak_entry *entry) {
  if (table->mode == TSR_WEAK_KEYS) weak_examine(context, &entry->pair);
}

void weak_tables_examine(tsr_weak_phase *phase) {
  tables_each_entry(phase->heap, entry_examine, phase);
}

static void entry_update(void *context, tsr_weak_table *table, weak_entry *entry) {
  const tsr_heap *heap = context;
  if (table->mode == TSR_WEAK_KEYS) return;
  if (!weak_update(heap, &entry->pair.key) || !weak_update(heap, &entry->pair.value)) {
    entry_drop(table, entry);
  }
}

void weak_tables_update(tsr_heap *heap) {
  tables_each_entry(heap, entry_update, heap);
}

static void entry_drop_waiting(void *context, tsr_weak_table *table, weak_entry *entry) {
  (void)context;
  if (!weak_waits(&entry->pair)) return;
  entry->hash = ENTRY_GONE; /* the rest of it is still needed */
  table->used--;
  table->gone++;
}

void weak_tables_drop_waiting(tsr_heap *heap) {
  tables_each_entry(heap, entry_drop_waiting, NULL);
}

void weak_tables_trim(tsr_heap *heap) {
  os_mutex_lock(&heap->weak_tables->lock);
  for (tsr_weak_table *table = heap->weak_tables->first; table != NULL; table = table->next) {
    os_mutex_lock(&table->lock);
    if (table->used == 0) table_release_places(table);
    os_mutex_unlock(&table->lock);
  }
  os_mutex_unlock(&heap->weak_tables->lock);
}

void weak_tables_fork(tsr_heap *heap, os_fork_stage stage) {
  struct weak_tables *tables = heap->weak_tables;
  bool before = stage == OS_FORK_BEFORE;
  /* The list's lock is held for as long as one of a table. */
  if (before) os_mutex_fork(&tables->lock, stage);
  for (tsr_weak_table *table = tables->first; table != NULL; table = table->next)
    os_mutex_fork(&table->lock, stage);
  if (!before) os_mutex_fork(&tables->lock, stage);
}
