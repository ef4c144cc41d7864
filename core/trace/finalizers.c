/*
 * Finalizers lie in pieces, and pieces in lists: for each priority one of those that are attached and one of those
 * that are ready, both in the order of attachment, and both full but for the last piece.
 *
 * A collection goes through what is attached, a piece at a time. A piece whose objects are all alive, or all dead,
 * goes to where it belongs as it is; else its entries are moved, and the piece is spare. So a list stays dense,
 * whatever dies, and is read in the order of memory, more or less.
 *
 * A collection needs no memory: of a list of k pieces it makes at most k + 1, and one more while it reads one.
 * Whoever attaches a finalizer leaves so many spare ones for all priorities [design: finalizer-pieces].
 */
#include "core/trace/finalizers.h"

#include "core/object/reference.h"
#include "core/os/check.h"
#include "core/os/error.h"
#include "core/trace/weak.h"

#define PIECE_ENTRIES  62u /* with what the C allocator adds, a piece has a KiB */
#define PIECES_SPARE   (TSR_FINALIZER_PRIORITIES + 1)
/* Objects that have been revived, and are traced together. */
#define REVIVED_QUEUED 4096

/* Objects and data are slots, and are visited in runs. */
typedef struct finalizer_piece {
  struct finalizer_piece *next;
  uint32_t priority;
  uint32_t first, end; /* the entries are [first, end): what is ready is taken from the front */
  tsr_slot objects[PIECE_ENTRIES];
  tsr_slot data[PIECE_ENTRIES];
} finalizer_piece;

typedef struct finalizer_list {
  finalizer_piece *first, *last; /* both NULL: it is empty */
} finalizer_list;

struct finalizers {
  memory_account *account;
  os_mutex lock; /* guards all that follows outside a pause */
  finalizer_list attached[TSR_FINALIZER_PRIORITIES];
  finalizer_list ready[TSR_FINALIZER_PRIORITIES];
  finalizer_list expired; /* ready too: a round of the end of the program */
  finalizer_piece *spare;
  size_t spare_count;
  size_t attached_count;
  os_atomic_word ready_count; /* written under the lock, read by any thread */
};

/* ---- pieces ------------------------------------------------------------------------------------------- */

/* There is one. */
static finalizer_piece *piece_take_spare(struct finalizers *f) {
  finalizer_piece *piece = f->spare;
  TSR_ALWAYS_CHECK(piece != NULL, "no memory was reserved for a finalizer");
  f->spare = piece->next;
  f->spare_count--;
  return piece;
}

static void piece_make_spare(struct finalizers *f, finalizer_piece *piece) {
  piece->next = f->spare;
  f->spare = piece;
  f->spare_count++;
}

/* Sees to so many spare pieces. False: no memory. Under the lock. */
static bool pieces_reserve(struct finalizers *f, size_t count) {
  while (f->spare_count < count) {
    finalizer_piece *piece = segment_request(f->account, MEMORY_FINALIZERS, sizeof *piece);
    if (piece == NULL) return false;
    piece_make_spare(f, piece);
  }
  return true;
}

/* Gives back what is spare beyond this number. */
static void pieces_cut(struct finalizers *f, size_t count) {
  while (f->spare_count > count) {
    segment_release(f->account, MEMORY_FINALIZERS, piece_take_spare(f), sizeof *f->spare);
  }
}

static void list_add_piece(finalizer_list *list, finalizer_piece *piece) {
  piece->next = NULL;
  if (list->last == NULL) {
    list->first = piece;
  } else {
    list->last->next = piece;
  }
  list->last = piece;
}

/* There is one. */
static finalizer_piece *list_take_piece(finalizer_list *list) {
  finalizer_piece *piece = list->first;
  list->first = piece->next;
  if (list->first == NULL) list->last = NULL;
  return piece;
}

/* All that is in another one, which is empty then. */
static void list_add_all(finalizer_list *list, finalizer_list *from) {
  if (from->first == NULL) return;
  if (list->last == NULL) {
    list->first = from->first;
  } else {
    list->last->next = from->first;
  }
  list->last = from->last;
  *from = (finalizer_list){NULL, NULL};
}

/* Whether the next entry begins a piece. */
static bool list_is_full(const finalizer_list *list) {
  return list->last == NULL || list->last->end == PIECE_ENTRIES;
}

static void list_append(struct finalizers *f, finalizer_list *list, unsigned priority,
                        tsr_slot object, tsr_slot data) {
  if (list_is_full(list)) {
    finalizer_piece *piece = piece_take_spare(f);
    piece->priority = priority;
    piece->first = piece->end = 0;
    list_add_piece(list, piece);
  }
  finalizer_piece *last = list->last;
  last->objects[last->end] = object;
  last->data[last->end++] = data;
}

/* ---- opening ------------------------------------------------------------------------------------------ */

tsr_status finalizers_open(tsr_heap *heap, tsr_error *error) {
  memory_account *account = &heap->account;
  struct finalizers *f = segment_request(account, MEMORY_INSTANCE, sizeof *f);
  if (f == NULL) goto no_memory;
  f->account = account;
  if (!os_mutex_create(&f->lock)) goto no_lock;
  heap->finalizers = f;
  return TSR_OK;

no_lock:
  segment_release(account, MEMORY_INSTANCE, f, sizeof *f);
no_memory:
  return heap_no_memory(heap, error);
}

static void list_clear(struct finalizers *f, finalizer_list *list) {
  while (list->first != NULL)
    piece_make_spare(f, list_take_piece(list));
}

void finalizers_close(tsr_heap *heap) {
  struct finalizers *f = heap->finalizers;
  for (unsigned i = 0; i < TSR_FINALIZER_PRIORITIES; i++) {
    list_clear(f, &f->attached[i]);
    list_clear(f, &f->ready[i]);
  }
  list_clear(f, &f->expired);
  pieces_cut(f, 0);
  os_mutex_destroy(&f->lock);
  segment_release(f->account, MEMORY_INSTANCE, f, sizeof *f);
  heap->finalizers = NULL;
}

/* ---- mutators ----------------------------------------------------------------------------------------- */

tsr_status finalizers_attach(tsr_heap *heap, tsr_ref object, uint64_t data, unsigned priority,
                             tsr_error *error) {
  struct finalizers *f = heap->finalizers;
  tsr_slot slot = {reference_word(&heap->references, (uintptr_t)object)};
  os_mutex_lock(&f->lock);
  finalizer_list *attached = &f->attached[priority];
  bool reserved = pieces_reserve(f, PIECES_SPARE + list_is_full(attached));
  if (reserved) {
    list_append(f, attached, priority, slot, (tsr_slot){data});
    f->attached_count++;
  }
  os_mutex_unlock(&f->lock);
  if (reserved) return TSR_OK;
  return error_set(error, TSR_OUT_OF_MEMORY,
                   "no memory for another finalizer within the heap's maximum");
}

/* The first list that has one that is ready; NULL: none. Under the lock. */
static finalizer_list *finalizers_first_ready(struct finalizers *f) {
  for (unsigned i = 0; i < TSR_FINALIZER_PRIORITIES; i++) {
    if (f->ready[i].first != NULL) return &f->ready[i];
  }
  return f->expired.first != NULL ? &f->expired : NULL;
}

/* Takes the first entry of a list that has one. */
static void finalizer_take(struct finalizers *f, const reference_rule *rule, finalizer_list *list,
                           tsr_finalizable *ready) {
  finalizer_piece *piece = list->first;
  uint32_t index = piece->first++;
  ready->object = (tsr_ref)reference_address(rule, piece->objects[index].word);
  ready->data = piece->data[index].word;
  ready->priority = piece->priority;
  os_atomic_store(&f->ready_count, os_atomic_load(&f->ready_count) - 1);
  if (piece->first == piece->end) piece_make_spare(f, list_take_piece(list));
}

bool finalizers_next(tsr_heap *heap, bool expired, tsr_finalizable *ready) {
  struct finalizers *f = heap->finalizers;
  if (os_atomic_load(&f->ready_count) == 0) return false;
  os_mutex_lock(&f->lock);
  finalizer_list *list = expired ? &f->expired : finalizers_first_ready(f);
  bool any = list != NULL && list->first != NULL;
  if (any) finalizer_take(f, &heap->references, list, ready);
  os_mutex_unlock(&f->lock);
  return any;
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

/* Some that were attached are in another list now. */
static void finalizers_note_ready(struct finalizers *f, size_t count) {
  f->attached_count -= count;
  os_atomic_store(&f->ready_count, os_atomic_load(&f->ready_count) + count);
}

bool finalizers_expire(tsr_heap *heap) {
  struct finalizers *f = heap->finalizers;
  os_mutex_lock(&f->lock);
  for (unsigned i = 0; i < TSR_FINALIZER_PRIORITIES; i++) {
    list_add_all(&f->expired, &f->ready[i]);
    list_add_all(&f->expired, &f->attached[i]);
  }
  finalizers_note_ready(f, f->attached_count);
  bool any = f->expired.first != NULL;
  os_mutex_unlock(&f->lock);
  return any;
}

/* ---- the collecting thread ------------------------------------------------------------------------------ */

static void piece_fetch(const tsr_heap *heap, const finalizer_piece *piece) {
  for (uint32_t i = piece->first; i < piece->end; i++)
    weak_fetch(heap, &piece->objects[i]);
}

/* Goes on with all entries of a piece in one list or the other. */
static void piece_divide(struct finalizers *f, finalizer_piece *piece, uint64_t dead,
                         finalizer_list *attached, finalizer_list *ready) {
  for (uint32_t i = piece->first; i < piece->end; i++) {
    list_append(f, (dead >> i & 1) != 0 ? ready : attached, piece->priority, piece->objects[i],
                piece->data[i]);
  }
  piece_make_spare(f, piece);
}

/* Moves what is dead from one list to the other; returns how many. */
static size_t finalizers_part(const tsr_heap *heap, finalizer_list *attached,
                              finalizer_list *ready) {
  struct finalizers *f = heap->finalizers;
  finalizer_list all = *attached;
  size_t count = 0;
  *attached = (finalizer_list){NULL, NULL};
  while (all.first != NULL) {
    finalizer_piece *piece = list_take_piece(&all);
    if (all.first != NULL) piece_fetch(heap, all.first);
    uint64_t dead = weak_update_all(heap, piece->objects, piece->end);
    uint32_t dead_count = (uint32_t)__builtin_popcountll(dead);
    count += dead_count;
    finalizer_list *whole = dead == 0 ? attached : ready;
    if (list_is_full(whole) && (dead == 0 || dead_count == piece->end)) {
      list_add_piece(whole, piece);
    } else {
      piece_divide(f, piece, dead, attached, ready);
    }
  }
  return count;
}

/* Reaches the objects of a list from this entry of a piece on. What is behind them is traced as it comes, while it is
   in the cache, and the queue stays short. */
static void finalizers_reach(struct worker *worker, finalizer_piece *piece, uint32_t first) {
  const mark_queue *queue = &worker->queue;
  for (; piece != NULL; piece = piece->next) {
    heap_form(worker->heap)->visit_slots(worker, &piece->objects[first], piece->end - first);
    if (queue->top - queue->bottom > REVIVED_QUEUED) team_trace(worker->heap->team);
    first = 0;
  }
}

/* What is spare may serve as many again as there are; the rest is given back. */
void finalizers_trim(tsr_heap *heap) {
  struct finalizers *f = heap->finalizers;
  size_t count = f->attached_count + os_atomic_load(&f->ready_count);
  pieces_cut(f, count / PIECE_ENTRIES + PIECES_SPARE);
}

size_t finalizers_revive(struct worker *worker, unsigned priority) {
  struct finalizers *f = worker->heap->finalizers;
  finalizer_list *ready = &f->ready[priority];
  finalizer_piece *last = ready->last;
  uint32_t end = last == NULL ? 0 : last->end;
  size_t revived = finalizers_part(worker->heap, &f->attached[priority], ready);
  finalizers_note_ready(f, revived);
  /* An object may have several finalizers: it is reached when all have been looked at. */
  if (revived != 0) finalizers_reach(worker, last == NULL ? ready->first : last, end);
  return revived;
}

/* One kind of an entry's slots. */
static void list_show(const finalizer_list *list, bool objects, tsr_visitor *visitor) {
  for (finalizer_piece *piece = list->first; piece != NULL; piece = piece->next) {
    tsr_slot *slots = objects ? piece->objects : piece->data;
    visitor_visit(visitor, slots + piece->first, piece->end - piece->first);
  }
}

void finalizers_visit(tsr_heap *heap, tsr_visitor *visitor) {
  const struct finalizers *f = heap->finalizers;
  visitor_name(visitor, "finalizer", NULL);
  for (unsigned i = 0; i < TSR_FINALIZER_PRIORITIES; i++) {
    list_show(&f->attached[i], false, visitor);
    list_show(&f->ready[i], false, visitor);
    list_show(&f->ready[i], true, visitor);
  }
  list_show(&f->expired, false, visitor);
  list_show(&f->expired, true, visitor);
}

void finalizers_visit_weak(tsr_heap *heap, tsr_visitor *visitor) {
  const struct finalizers *f = heap->finalizers;
  visitor_name(visitor, "object with a finalizer", NULL);
  for (unsigned i = 0; i < TSR_FINALIZER_PRIORITIES; i++)
    list_show(&f->attached[i], true, visitor);
}

void finalizers_fork(tsr_heap *heap, os_fork_stage stage) {
  os_mutex_fork(&heap->finalizers->lock, stage);
}
