/*
 * The weak phase.
 */
#include "core/trace/weak.h"

#include "core/object/reference.h"
#include "core/trace/finalizers.h"
#include "core/trace/marking.h"
#include "core/trace/weak_tables.h"

/* After so many traces the rest are the collecting thread's alone: one that wakes the others finds little, as when
   each ephemeron of a chain leads to the next. */
#define WEAK_SHARED_ROUNDS 4u

/* ---- what the trace finds ------------------------------------------------------------------------------- */

static uint64_t *object_word(tsr_ref object, uint32_t offset) {
  return &((tsr_slot *)(void *)((char *)object + offset))->word;
}

void weak_find(struct worker *worker, tsr_ref object, const layout *l) {
  if (worker->marks_old || worker->in_steps) marking_note_weak(worker, object);
  if (worker->in_steps) return;
  if (l->kind == TSR_LAYOUT_EPHEMERON) {
    tsr_ephemeron *e = layout_ephemeron(l, object);
    if (e->reserved[EPHEMERON_LINK] != 0) return;
    e->reserved[EPHEMERON_LINK] = worker->found_ephemerons;
    worker->found_ephemerons = (uint64_t)(uintptr_t)e;
    return;
  }
  uint64_t *link = object_word(object, l->weak_offset);
  if (*link != 0) return;
  *link = worker->found_weak;
  worker->found_weak = (uint64_t)(uintptr_t)object;
}

/* ---- slots ---------------------------------------------------------------------------------------------- */

/* The object at an address; NULL: none of this heap. A strong slot that leads into a large object is ignored too. */
OS_ALWAYS_INLINE tsr_ref weak_object_at(const tsr_heap *heap, uintptr_t address) {
  enum block_space space = block_map_space_of(&heap->blocks, address);
  if (space <= BLOCK_FREE || space == BLOCK_LARGE_REST) return NULL;
  if (!block_space_begins_large(space)) return (tsr_ref)address;
  tsr_ref large = large_space_object(&heap->spaces->large, block_map_index(&heap->blocks, address));
  return (uintptr_t)large == address ? large : NULL;
}

OS_ALWAYS_INLINE tsr_ref weak_object(const tsr_heap *heap, const tsr_slot *slot) {
  return weak_object_at(heap, reference_address(&heap->references, slot->word));
}

bool weak_is_live(const tsr_heap *heap, tsr_ref object) {
  tsr_ref known = weak_object_at(heap, (uintptr_t)object);
  return known == NULL || heap_form(heap)->survivor(heap, known) != NULL;
}

OS_ALWAYS_INLINE bool weak_update_slot(const tsr_heap *heap, tsr_slot *slot) {
  tsr_ref object = weak_object(heap, slot);
  if (object == NULL) return true;
  tsr_ref now = heap_form(heap)->survivor(heap, object);
  if (now == NULL) return false;
  if (now != object) {
    slot->word = reference_retarget(&heap->references, slot->word, (uintptr_t)now);
  }
  return true;
}

bool weak_update(const tsr_heap *heap, tsr_slot *slot) {
  return weak_update_slot(heap, slot);
}

uint64_t weak_update_all(const tsr_heap *heap, tsr_slot *first, size_t count) {
  uint64_t dead = 0;
  for (size_t i = 0; i < count; i++)
    dead |= (uint64_t)!weak_update_slot(heap, &first[i]) << i;
  return dead;
}

/* The slots of so many objects are looked at together, when what they refer to has been fetched. */
#define WEAK_BATCH 16u

static void weak_update_or_clear(tsr_heap *heap, tsr_slot *first, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (!weak_update_slot(heap, &first[i])) first[i].word = heap->binding->weak_cleared;
  }
}

/* A weak object, and its layout. */
typedef struct weak_found {
  tsr_ref object;
  const layout *l;
} weak_found;

static void weak_update_object(tsr_heap *heap, weak_found found) {
  for (uint64_t bits = found.l->weak_refs; bits != 0; bits &= bits - 1)
    weak_update_or_clear(heap, (tsr_slot *)found.object + __builtin_ctzll(bits), 1);
  size_t count;
  tsr_slot *elements = layout_weak_elements(found.l, found.object, &count);
  for (size_t i = 0; i < count; i++) {
    if (i + WEAK_BATCH < count) weak_fetch(heap, &elements[i + WEAK_BATCH]);
    weak_update_or_clear(heap, &elements[i], 1);
  }
}

/* Takes some weak objects out of a worker's list. */
static size_t weak_take(struct worker *worker, weak_found *batch) {
  const tsr_heap *heap = worker->heap;
  size_t count = 0;
  while (count < WEAK_BATCH && worker->found_weak != WEAK_END) {
    tsr_ref object = (tsr_ref)(uintptr_t)worker->found_weak;
    const layout *l = layout_of(heap->layouts, object);
    uint64_t *link = object_word(object, l->weak_offset);
    worker->found_weak = *link;
    *link = 0;
    for (uint64_t bits = l->weak_refs; bits != 0; bits &= bits - 1)
      weak_fetch(heap, (tsr_slot *)object + __builtin_ctzll(bits));
    batch[count++] = (weak_found){object, l};
  }
  return count;
}

/* Clears or updates the weak slots of all objects that were found. */
static void weak_update_objects(tsr_heap *heap) {
  weak_found batch[WEAK_BATCH];
  for (uint32_t i = 0; i < heap->team->active; i++) {
    size_t count;
    while ((count = weak_take(team_worker(heap->team, i), batch)) > 0) {
      for (size_t k = 0; k < count; k++)
        weak_update_object(heap, batch[k]);
    }
  }
}

static void weak_update_handles(tsr_visitor *visitor, tsr_slot *first, size_t count) {
  weak_update_or_clear(visitor->context, first, count);
}

/* ---- ephemerons ------------------------------------------------------------------------------------------- */

/* An ephemeron waits for a key that was not reached. */
static void ephemeron_wait(tsr_weak_phase *phase, tsr_ephemeron *e, tsr_ref key) {
  uint64_t header = header_load(key);
  e->reserved[EPHEMERON_LINK] = (uint64_t)(uintptr_t)phase->waiting;
  phase->waiting = e;
  if (header_is_displaced(header)) {
    tsr_ephemeron *head = displaced_head(header);
    e->reserved[EPHEMERON_CHAIN] = head->reserved[EPHEMERON_CHAIN];
    head->reserved[EPHEMERON_CHAIN] = (uint64_t)(uintptr_t)e;
    return;
  }
  seal_open_reached(phase->heap, key);
  spaces_look_into_leaves(phase->heap, key);
  large_space_read_whole(&phase->heap->spaces->large, key);
  e->reserved[EPHEMERON_CHAIN] = WEAK_END;
  e->reserved[EPHEMERON_HEADER] = header;
  header_store(key, displaced_word(e));
}

void weak_keep(tsr_heap *heap, tsr_slot *first, size_t count) {
  struct worker *worker = &heap->team->first;
  bool marks_old = worker->marks_old;
  worker->marks_old = false;
  heap_form(heap)->visit_slots(worker, first, count);
  worker->marks_old = marks_old;
}

void weak_examine(tsr_weak_phase *phase, tsr_ephemeron *e) {
  tsr_ref key = weak_object(phase->heap, &e->key);
  phase->visits++;
  if (key != NULL && heap_form(phase->heap)->survivor(phase->heap, key) == NULL) {
    ephemeron_wait(phase, e, key);
    return;
  }
  e->reserved[EPHEMERON_LINK] = 0;
  weak_keep(phase->heap, &e->key, 2); /* and the value */
}

/* Takes some ephemerons out of a worker's list. */
static size_t ephemerons_take(struct worker *worker, tsr_ephemeron **batch) {
  size_t count = 0;
  while (count < WEAK_BATCH && worker->found_ephemerons != WEAK_END) {
    tsr_ephemeron *e = (tsr_ephemeron *)(uintptr_t)worker->found_ephemerons;
    worker->found_ephemerons = e->reserved[EPHEMERON_LINK];
    weak_fetch(worker->heap, &e->key);
    weak_fetch(worker->heap, &e->value);
    batch[count++] = e;
  }
  return count;
}

static void ephemerons_examine(tsr_weak_phase *phase) {
  struct team *team = phase->heap->team;
  tsr_ephemeron *batch[WEAK_BATCH];
  for (uint32_t i = 0; i < team->active; i++) {
    size_t count;
    while ((count = ephemerons_take(team_worker(team, i), batch)) > 0) {
      for (size_t k = 0; k < count; k++)
        weak_examine(phase, batch[k]);
    }
  }
}

/* Traces what was reached, and lets ephemerons keep what they keep, until there is no more. */
static void weak_close(tsr_weak_phase *phase) {
  struct team *team = phase->heap->team;
  for (;;) {
    ephemerons_examine(phase);
    if (!worker_has_work(&team->first)) return;
    if (phase->rounds++ < WEAK_SHARED_ROUNDS) {
      team_trace(team);
    } else {
      team_trace_alone(team);
    }
  }
}

/* Clears an ephemeron whose key is dead. The head of its chain gives the key its first word back. */
static void ephemeron_clear(const tsr_heap *heap, tsr_ephemeron *e) {
  tsr_ref key = weak_object(heap, &e->key);
  if (header_load(key) == displaced_word(e)) header_store(key, e->reserved[EPHEMERON_HEADER]);
  e->key.word = e->value.word = heap->binding->weak_cleared;
}

static void ephemerons_end(tsr_weak_phase *phase) {
  while (phase->waiting != (tsr_ephemeron *)(uintptr_t)WEAK_END) {
    tsr_ephemeron *e = phase->waiting;
    phase->waiting = (tsr_ephemeron *)(uintptr_t)e->reserved[EPHEMERON_LINK];
    phase->visits++;
    if (weak_waits(e)) ephemeron_clear(phase->heap, e);
    for (unsigned i = 0; i < 3; i++)
      e->reserved[i] = 0;
  }
  spaces_pass_by_leaves(phase->heap);
}

/* ---- the phase ---------------------------------------------------------------------------------------------- */

/* What the VM keeps itself. */
static void weak_ask_vm(tsr_weak_phase *phase) {
  const tsr_heap *heap = phase->heap;
  if (heap->binding->process_weak == NULL) return;
  bool again;
  do {
    again = heap->binding->process_weak(heap->vm, phase);
    phase->rounds = 0;
    weak_close(phase);
  } while (again);
}

static void weak_revive(tsr_weak_phase *phase) {
  struct worker *worker = &phase->heap->team->first;
  for (unsigned priority = 0; priority < TSR_FINALIZER_PRIORITIES; priority++) {
    size_t revived = finalizers_revive(worker, priority);
    if (revived == 0) continue;
    phase->finalizable += revived;
    phase->rounds = 0;
    weak_close(phase);
  }
  finalizers_trim(phase->heap);
}

void weak_process(tsr_heap *heap, tsr_collection *record) {
  tsr_weak_phase phase = {.heap = heap, .waiting = (tsr_ephemeron *)(uintptr_t)WEAK_END};
  tsr_visitor handles = {.visit = weak_update_handles, .context = heap};
  weak_tables_examine(&phase);
  weak_close(&phase);
  weak_ask_vm(&phase);
  weak_update_objects(heap);
  roots_visit_weak(heap, &handles);
  weak_tables_update(heap);
  weak_revive(&phase);
  weak_update_objects(heap);
  weak_tables_drop_waiting(heap);
  ephemerons_end(&phase);
  weak_tables_trim(heap);
  record->finalizable += phase.finalizable;
  record->ephemeron_visits += phase.visits;
  for (uint32_t i = 0; i < heap->team->active; i++) {
    struct worker *worker = team_worker(heap->team, i);
    record->ephemeron_visits += worker->ephemeron_visits;
    worker->ephemeron_visits = 0;
  }
}

void weak_visit(tsr_heap *heap, tsr_visitor *visitor) {
  roots_visit_weak(heap, visitor);
  finalizers_visit_weak(heap, visitor);
  weak_tables_visit_weak(heap, visitor);
}

void weak_forward(tsr_heap *heap) {
  tsr_weak_phase phase = {.heap = heap};
  if (heap->binding->forward_weak != NULL) heap->binding->forward_weak(heap->vm, &phase);
}
