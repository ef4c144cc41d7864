/*
 * Compaction: measure, place, update slots, slide.
 */
#include "core/collect/compact.h"

#include "core/trace/kernel.h"

/* Blocks that a worker takes at a time. */
#define COMPACT_BATCH 16u

void compact_pin(tsr_heap *heap, tsr_ref object) {
  uint32_t index = block_map_index(&heap->blocks, (uintptr_t)object);
  if (block_map_spaces(&heap->blocks)[index] != BLOCK_MOVABLE) return;
  block_map_at(&heap->blocks, index)->flags |= BLOCK_PLACED;
}

/* ---- every block, by all workers ----------------------------------------------------------------- */

typedef struct block_job {
  os_atomic_word next; /* block that nobody has taken */
  void (*visit)(struct worker *worker, uint32_t index, enum block_space space);
} block_job;

static void compact_take_blocks(struct worker *worker, void *context) {
  block_job *job = context;
  const block_map *map = &worker->heap->blocks;
  uint32_t extent = block_map_extent(map);
  for (;;) {
    uintptr_t first = os_atomic_add_full(&job->next, COMPACT_BATCH);
    if (first >= extent) return;
    uintptr_t end = first + COMPACT_BATCH < extent ? first + COMPACT_BATCH : extent;
    for (uint32_t i = (uint32_t)first; i < end; i++)
      job->visit(worker, i, block_map_space(map, i));
  }
}

static void compact_each_block(tsr_heap *heap, void (*visit)(struct worker *worker, uint32_t index,
                                                             enum block_space space)) {
  block_job job = {.visit = visit};
  team_run(heap->team, compact_take_blocks, &job);
}

/* ---- where survivors go ----------------------------------------------------------------------------- */

static void compact_measure_block(struct worker *worker, uint32_t index, enum block_space space) {
  if (space == BLOCK_MOVABLE) compaction_measure(&worker->heap->spaces->compaction, index);
}

/* ---- slots -------------------------------------------------------------------------------------------- */

/* A "visit" that returns where an object will be, and reaches nothing. */
OS_ALWAYS_INLINE tsr_ref compact_visit(kernel_run *run, tsr_ref object, uintptr_t granule,
                                       enum block_space space, bool shared) {
  (void)granule;
  (void)shared;
  if (space != BLOCK_MOVABLE) return object;
  return (tsr_ref)compaction_forward(&run->worker->heap->spaces->compaction, (uintptr_t)object);
}

static kernel_scan_function compact_update_other;

/* Nothing is queued, so nothing is scanned but what is asked for. */
static const kernel compact_kernel = {
    .visit = compact_visit, .scan_other = compact_update_other, .tagged = true};
static const kernel compact_plain_kernel = {
    .visit = compact_visit, .scan_other = compact_update_other, .tagged = false};

/* An object's weak slots that were not cleared, or an ephemeron's: there nothing is weak any more. */
static void compact_update_weak(kernel_run *run, tsr_ref object, const layout *l) {
  if (l->kind == TSR_LAYOUT_EPHEMERON) {
    kernel_visit_slot(compact_kernel, run, &layout_ephemeron(l, object)->key);
    kernel_visit_slot(compact_kernel, run, &layout_ephemeron(l, object)->value);
    return;
  }
  kernel_take_bits(compact_kernel, run, (tsr_slot *)object, l->weak_refs);
  size_t count;
  tsr_slot *elements = layout_weak_elements(l, object, &count);
  for (size_t i = 0; i < count; i++)
    kernel_visit_slot(compact_kernel, run, &elements[i]);
}

void compact_update_slots(struct worker *worker, tsr_slot *first, size_t count) {
  kernel_visit_slots(compact_kernel, worker, first, count);
}

/* The elements of a large array that begin in one of its blocks. */
static void compact_update_part(kernel_run *run, tsr_ref object, const layout *l, uint32_t index) {
  uintptr_t base = (uintptr_t)object + l->fixed_bytes;
  size_t stride = l->kind == TSR_LAYOUT_ELEMENTS ? l->element_bytes : TSR_GRANULE;
  uintptr_t start = block_map_start(&run->worker->heap->blocks, index);
  uintptr_t end = start + BLOCK_BYTES;
  size_t elements = kernel_elements(l, object);
  size_t first = start <= base ? 0 : (start - base + stride - 1) / stride;
  size_t last = end <= base ? 0 : (end - base + stride - 1) / stride;
  if (last > elements) last = elements;
  if (first < last) kernel_scan_elements(compact_kernel, run, object, l, first, last);
}

/* An object of any layout, small or large. */
OS_NEVER_INLINE void compact_update_other(struct worker *worker, tsr_ref object, size_t position) {
  uint64_t header = header_load(object);
  if (header_is_leaf(header)) return;
  kernel_run run = kernel_begin(worker);
  const layout *l = layout_of_header(worker->heap->layouts, object, header);
  if (l->kind == TSR_LAYOUT_CUSTOM) {
    while (position != TSR_SCAN_DONE) {
      tsr_slot_buffer out = {worker->scan_slots, worker->scan_slots + WORKER_SCAN_SLOTS};
      position = l->scan(worker->heap->vm, object, position, &out);
      for (tsr_slot **slot = worker->scan_slots; slot < out.next; slot++)
        kernel_visit_slot(compact_kernel, &run, *slot);
    }
    return;
  }
  kernel_scan_fixed(compact_kernel, &run, object, l);
  if (l->weak_offset != 0) compact_update_weak(&run, object, l);
  if (l->kind != TSR_LAYOUT_REFERENCES && l->kind != TSR_LAYOUT_ELEMENTS) return;
  kernel_scan_elements(compact_kernel, &run, object, l, 0, kernel_elements(l, object));
}

/* A large object's first block, or a later one: each worker updates what begins in the blocks that it takes. */
static void compact_update_large(kernel_run *run, uint32_t index, uint32_t head) {
  const tsr_heap *heap = run->worker->heap;
  if (block_map_at(&heap->blocks, head)->reached == 0) return;
  tsr_ref object = large_space_object(&heap->spaces->large, head);
  uint64_t header = header_load(object);
  if (header_is_leaf(header)) return;
  const layout *l = layout_of_header(run->worker->heap->layouts, object, header);
  bool array = l->kind == TSR_LAYOUT_REFERENCES || l->kind == TSR_LAYOUT_ELEMENTS;
  if (index == head && !array) compact_update_other(run->worker, object, 0);
  if (index == head && array) kernel_scan_fixed(compact_kernel, run, object, l);
  if (array) compact_update_part(run, object, l, index);
}

/* The small objects that were reached. What else has mark bits in an arena where objects stay are free runs. */
OS_ALWAYS_INLINE void compact_update_small(const kernel k, struct worker *worker, uint32_t index,
                                           bool movable) {
  const tsr_heap *heap = worker->heap;
  const uint64_t *marks = object_bits_of(heap->bits.marks, index);
  const uint64_t *starts = object_bits_of(heap->bits.starts, index);
  uintptr_t start = block_map_start(&heap->blocks, index);
  kernel_run run = kernel_begin(worker);
  for (uint32_t word = 0; word < BLOCK_BIT_WORDS; word++) {
    uint64_t reached = movable ? marks[word] : marks[word] & starts[word];
    for (; reached != 0; reached &= reached - 1) {
      size_t granule = (size_t)64 * word + (size_t)__builtin_ctzll(reached);
      kernel_scan(k, &run, (tsr_ref)(start + granule * TSR_GRANULE));
    }
  }
}

static void compact_update_block(struct worker *worker, uint32_t index, enum block_space space) {
  const tsr_heap *heap = worker->heap;
  kernel_run run = kernel_begin(worker);
  switch (space) {
  case BLOCK_MOVABLE:
    if (compaction_block(&heap->spaces->compaction, index)->live == 0) return;
    if (reference_rule_is_plain(&heap->references)) {
      compact_update_small(compact_plain_kernel, worker, index, true);
    } else {
      compact_update_small(compact_kernel, worker, index, true);
    }
    return;
  case BLOCK_ARENA:
  case BLOCK_SEALED:
    compact_update_small(compact_kernel, worker, index, false);
    return;
  case BLOCK_LARGE:
    compact_update_large(&run, index, index);
    return;
  case BLOCK_LARGE_REST:
    compact_update_large(&run, index, large_space_head(heap, index));
    return;
  default:
    return;
  }
}

void compact_relocate(tsr_heap *heap) {
  compaction *c = &heap->spaces->compaction;
  compact_each_block(heap, compact_measure_block);
  c->live_bytes = compaction_place(c, heap->emergency);
  compact_each_block(heap, compact_update_block);
}

/* ---- the slide ------------------------------------------------------------------------------------------ */

static void compact_slide_part(struct worker *worker, void *context) {
  (void)context;
  slide_work(&worker->heap->spaces->slide);
}

size_t compact_slide(tsr_heap *heap) {
  struct team *team = heap->team;
  /* The queues are empty: their memory serves as shadow blocks. */
  slide_begin(&heap->spaces->slide, team->queues.base, memory_table_committed(&team->queues),
              team->active);
  team_run(team, compact_slide_part, NULL);
  compaction_finish(&heap->spaces->compaction);
  return heap->spaces->compaction.live_bytes;
}
