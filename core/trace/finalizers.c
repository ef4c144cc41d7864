/*
 * A table of finalizers that grows in place, and lists through it: for each priority those that are attached
 * and those that are ready, both in the order of attachment. So a collection moves entries from list to list,
 * and needs no memory.
 *
 * The table is three, side by side: objects and data are slots, and are visited in runs.
 */
#include "core/trace/finalizers.h"

#include "core/object/reference.h"
#include "core/os/error.h"
#include "core/trace/weak.h"

/* A million, or one for so many bytes of the heap's maximum: address space may be scarce. */
#define FINALIZERS_MANY  ((size_t)1 << 20)
#define FINALIZERS_SHARE ((size_t)256)
#define FINALIZERS_MOST  ((size_t)1 << 28)
#define FINALIZERS_LEAST ((size_t)1 << 12)
#define FINALIZER_NONE   UINT32_MAX

typedef struct finalizer_link {
  uint32_t next;
  uint32_t priority;
} finalizer_link;

#define FINALIZER_BYTES (2 * sizeof(tsr_slot) + sizeof(finalizer_link))

typedef struct finalizer_list {
  uint32_t first, last;
} finalizer_list;

#define LIST_EMPTY ((finalizer_list){FINALIZER_NONE, FINALIZER_NONE})

struct finalizers {
  os_mutex lock;        /* guards all that follows outside a pause */
  memory_table objects; /* tsr_slot each */
  memory_table data;    /* tsr_slot each; 0 where the entry is free */
  memory_table links;
  uint32_t count; /* entries ever used */
  uint32_t free;  /* list of those that are free */
  finalizer_list attached[TSR_FINALIZER_PRIORITIES];
  finalizer_list ready[TSR_FINALIZER_PRIORITIES];
  finalizer_list expired; /* ready too: a round of the end of the program */
  size_t attached_count;
  os_atomic_word ready_count; /* read by any thread */
};

/* ---- lists ------------------------------------------------------------------------------------------ */

static tsr_slot *finalizer_object(const struct finalizers *f, uint32_t index) {
  return (tsr_slot *)(void *)f->objects.base + index;
}

static tsr_slot *finalizer_data(const struct finalizers *f, uint32_t index) {
  return (tsr_slot *)(void *)f->data.base + index;
}

static finalizer_link *finalizer_links(const struct finalizers *f, uint32_t index) {
  return (finalizer_link *)(void *)f->links.base + index;
}

static uint32_t finalizer_after(const struct finalizers *f, uint32_t index) {
  return finalizer_links(f, index)->next;
}

static void list_append(struct finalizers *f, finalizer_list *list, uint32_t index) {
  finalizer_links(f, index)->next = FINALIZER_NONE;
  if (list->first == FINALIZER_NONE) {
    list->first = index;
  } else {
    finalizer_links(f, list->last)->next = index;
  }
  list->last = index;
}

/* Takes the first one out. */
static uint32_t list_take(const struct finalizers *f, finalizer_list *list) {
  uint32_t index = list->first;
  if (index != FINALIZER_NONE) list->first = finalizer_after(f, index);
  return index;
}

/* One that was attached. */
static void finalizer_make_ready(struct finalizers *f, finalizer_list *list, uint32_t index) {
  list_append(f, list, index);
  f->attached_count--;
  os_atomic_store(&f->ready_count, os_atomic_load(&f->ready_count) + 1);
}

/* ---- opening ---------------------------------------------------------------------------------------- */

static bool finalizers_reserve(struct finalizers *f, memory_account *account, size_t entries) {
  if (!memory_table_create(&f->objects, account, MEMORY_FINALIZERS, "finalizer objects",
                           entries * sizeof(tsr_slot))) {
    return false;
  }
  if (!memory_table_create(&f->data, account, MEMORY_FINALIZERS, "finalizer data",
                           entries * sizeof(tsr_slot))) {
    goto no_data;
  }
  if (memory_table_create(&f->links, account, MEMORY_FINALIZERS, "finalizer lists",
                          entries * sizeof(finalizer_link))) {
    return true;
  }
  memory_table_destroy(&f->data);
no_data:
  memory_table_destroy(&f->objects);
  return false;
}

tsr_status finalizers_open(tsr_heap *heap, tsr_error *error) {
  memory_account *account = &heap->account;
  struct finalizers *f = segment_request(account, MEMORY_INSTANCE, sizeof *f);
  if (f == NULL) goto no_memory;
  f->free = FINALIZER_NONE;
  for (unsigned i = 0; i < TSR_FINALIZER_PRIORITIES; i++)
    f->attached[i] = f->ready[i] = LIST_EMPTY;
  f->expired = f->ready[0];
  if (!os_mutex_create(&f->lock)) goto no_lock;
  size_t entries = account->limit_bytes / FINALIZERS_SHARE;
  if (entries < FINALIZERS_MANY) entries = FINALIZERS_MANY;
  if (entries > account->limit_bytes / FINALIZER_BYTES) {
    entries = account->limit_bytes / FINALIZER_BYTES; /* there is memory for no more */
  }
  if (entries > FINALIZERS_MOST) entries = FINALIZERS_MOST;
  while (!finalizers_reserve(f, account, entries)) {
    entries /= 2;
    if (entries < FINALIZERS_LEAST) goto no_table;
  }
  heap->finalizers = f;
  return TSR_OK;

no_table:
  os_mutex_destroy(&f->lock);
no_lock:
  segment_release(account, MEMORY_INSTANCE, f, sizeof *f);
no_memory:
  return heap_no_memory(heap, error);
}

void finalizers_close(tsr_heap *heap) {
  struct finalizers *f = heap->finalizers;
  memory_table_destroy(&f->links);
  memory_table_destroy(&f->data);
  memory_table_destroy(&f->objects);
  os_mutex_destroy(&f->lock);
  segment_release(&heap->account, MEMORY_INSTANCE, f, sizeof *f);
  heap->finalizers = NULL;
}

/* ---- mutators --------------------------------------------------------------------------------------- */

/* An entry that is free, or FINALIZER_NONE. Under the lock. */
static uint32_t finalizer_take(struct finalizers *f) {
  uint32_t index = f->free;
  if (index != FINALIZER_NONE) {
    f->free = finalizer_after(f, index);
    return index;
  }
  size_t count = (size_t)f->count + 1;
  size_t object_bytes = memory_table_committed(&f->objects);
  size_t data_bytes = memory_table_committed(&f->data);
  if (memory_table_extend(&f->objects, count * sizeof(tsr_slot), MEMORY_WITHIN_LIMIT) &&
      memory_table_extend(&f->data, count * sizeof(tsr_slot), MEMORY_WITHIN_LIMIT) &&
      memory_table_extend(&f->links, count * sizeof(finalizer_link), MEMORY_WITHIN_LIMIT)) {
    return f->count++;
  }
  memory_table_cut(&f->data, data_bytes);
  memory_table_cut(&f->objects, object_bytes);
  return FINALIZER_NONE;
}

tsr_status finalizers_attach(tsr_heap *heap, tsr_ref object, uint64_t data, unsigned priority,
                             tsr_error *error) {
  struct finalizers *f = heap->finalizers;
  os_mutex_lock(&f->lock);
  uint32_t index = finalizer_take(f);
  if (index != FINALIZER_NONE) {
    finalizer_object(f, index)->word = reference_word(&heap->references, (uintptr_t)object);
    finalizer_data(f, index)->word = data;
    finalizer_links(f, index)->priority = priority;
    list_append(f, &f->attached[priority], index);
    f->attached_count++;
  }
  os_mutex_unlock(&f->lock);
  if (index != FINALIZER_NONE) return TSR_OK;
  return error_set(error, TSR_OUT_OF_MEMORY,
                   "no memory for another finalizer within the heap's maximum");
}

/* One that is ready, from the first list that has one. Under the lock. */
static uint32_t finalizer_take_ready(struct finalizers *f) {
  for (unsigned i = 0; i < TSR_FINALIZER_PRIORITIES; i++) {
    uint32_t index = list_take(f, &f->ready[i]);
    if (index != FINALIZER_NONE) return index;
  }
  return list_take(f, &f->expired);
}

bool finalizers_next(tsr_heap *heap, bool expired, tsr_finalizable *ready) {
  struct finalizers *f = heap->finalizers;
  os_mutex_lock(&f->lock);
  uint32_t index = expired ? list_take(f, &f->expired) : finalizer_take_ready(f);
  if (index != FINALIZER_NONE) {
    finalizer_link *link = finalizer_links(f, index);
    uintptr_t object = reference_address(&heap->references, finalizer_object(f, index)->word);
    *ready = (tsr_finalizable){(tsr_ref)object, finalizer_data(f, index)->word, link->priority};
    finalizer_data(f, index)->word = 0;
    link->next = f->free;
    f->free = index;
    os_atomic_store(&f->ready_count, os_atomic_load(&f->ready_count) - 1);
  }
  os_mutex_unlock(&f->lock);
  return index != FINALIZER_NONE;
}

size_t finalizers_ready(const tsr_heap *heap) {
  return os_atomic_load(&heap->finalizers->ready_count);
}

size_t finalizers_attached(tsr_heap *heap) {
  os_mutex_lock(&heap->finalizers->lock);
  size_t count = heap->finalizers->attached_count;
  os_mutex_unlock(&heap->finalizers->lock);
  return count;
}

bool finalizers_expire(tsr_heap *heap) {
  struct finalizers *f = heap->finalizers;
  uint32_t index;
  os_mutex_lock(&f->lock);
  for (unsigned i = 0; i < TSR_FINALIZER_PRIORITIES; i++) {
    while ((index = list_take(f, &f->ready[i])) != FINALIZER_NONE)
      list_append(f, &f->expired, index);
    while ((index = list_take(f, &f->attached[i])) != FINALIZER_NONE)
      finalizer_make_ready(f, &f->expired, index);
  }
  bool any = f->expired.first != FINALIZER_NONE;
  os_mutex_unlock(&f->lock);
  return any;
}

/* ---- the collecting thread ---------------------------------------------------------------------------- */

/* Objects from this entry of a list on, in runs of neighbours. */
static void objects_each_run(const struct finalizers *f, uint32_t index,
                             void (*visit)(void *context, tsr_slot *first, size_t count),
                             void *context) {
  while (index != FINALIZER_NONE) {
    uint32_t first = index, last;
    do {
      last = index;
      index = finalizer_after(f, index);
    } while (index == last + 1);
    visit(context, finalizer_object(f, first), (size_t)last - first + 1);
  }
}

static void objects_reach(void *context, tsr_slot *first, size_t count) {
  struct worker *worker = context;
  worker->heap->plan->visit_slots(worker, first, count);
}

size_t finalizers_revive(struct worker *worker, unsigned priority) {
  tsr_heap *heap = worker->heap;
  struct finalizers *f = heap->finalizers;
  finalizer_list left = LIST_EMPTY, dead = LIST_EMPTY;
  size_t revived = 0;
  for (uint32_t index; (index = list_take(f, &f->attached[priority])) != FINALIZER_NONE;) {
    bool live = weak_update(heap, finalizer_object(f, index));
    list_append(f, live ? &left : &dead, index);
    revived += !live;
  }
  f->attached[priority] = left;
  /* An object may have several finalizers: it is reached when all have been looked at. */
  objects_each_run(f, dead.first, objects_reach, worker);
  for (uint32_t index; (index = list_take(f, &dead)) != FINALIZER_NONE;)
    finalizer_make_ready(f, &f->ready[priority], index);
  return revived;
}

static void objects_show(void *context, tsr_slot *first, size_t count) {
  visitor_visit(context, first, count);
}

void finalizers_visit(tsr_heap *heap, tsr_visitor *visitor) {
  const struct finalizers *f = heap->finalizers;
  visitor_name(visitor, "finalizer", NULL);
  if (f->count > 0) visitor_visit(visitor, finalizer_data(f, 0), f->count);
  for (unsigned i = 0; i < TSR_FINALIZER_PRIORITIES; i++)
    objects_each_run(f, f->ready[i].first, objects_show, visitor);
  objects_each_run(f, f->expired.first, objects_show, visitor);
}

void finalizers_visit_weak(tsr_heap *heap, tsr_visitor *visitor) {
  const struct finalizers *f = heap->finalizers;
  visitor_name(visitor, "object with a finalizer", NULL);
  for (unsigned i = 0; i < TSR_FINALIZER_PRIORITIES; i++)
    objects_each_run(f, f->attached[i].first, objects_show, visitor);
}

void finalizers_fork(tsr_heap *heap, os_fork_stage stage) {
  os_mutex_fork(&heap->finalizers->lock, stage);
}
