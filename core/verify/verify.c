/*
 * The verifier.
 *
 * A fault found while walking, such as an overwritten header, does not end the search at once: the
 * trace goes on until it comes to the object, because the path there is what helps to find who
 * did it. References into the rest of a block that could not be walked are let pass meanwhile.
 */
#include "core/verify/verify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/object/layout.h"
#include "core/object/reference.h"
#include "core/os/error.h"
#include "core/space/seal.h"
#include "core/space/spaces.h"
#include "core/trace/identities.h"
#include "core/trace/remembered.h"
#include "core/verify/free_memory.h"
#include "core/verify/scan.h"
#include "core/verify/stores.h"

#define REPORT_BYTES      2048
#define PATH_MOST         12 /* objects of a path that are printed */
#define REACHED_FROM_ROOT UINT64_MAX

/* An object that was reached, and where from. */
typedef struct reached {
  tsr_ref object;
  uint64_t parent;  /* index of the object that refers to it, or REACHED_FROM_ROOT */
  const char *root; /* from a root: its kind and name */
  const char *name;
} reached;

struct verifier {
  tsr_heap *heap;
  memory_account account;
  uint64_t *starts,
      *seen;        /* a bit per granule of the range: an object begins here; it was reached */
  uint64_t *logged; /* the same; between begin and end: it is in the remembered set's log */
  size_t bitmap_bytes;
  reached *queue;
  size_t queue_count, queue_capacity;
  bool no_memory;

  /* With the option, between collections: what lay where before, and what is free. */
  bool remembers;
  past past;
  stores stores;
  uint32_t collections; /* that were over when the blocks were walked last */
  bool just_collected;  /* one more now: what is broken the collector broke */

  /* The first fault. */
  const char *rule; /* NULL: none yet */
  tsr_ref
      object; /* the object that breaks it, or holds the slot that does; NULL: a root does, or a block */
  uintptr_t bad_block, bad_word;
  const tsr_slot *slot;
  uint64_t word;           /* in the slot */
  uint32_t unwalked_block; /* the block that could not be walked to its end, or BLOCK_NONE */
  bool traced;             /* the path is known: `culprit` leads to it */
  reached culprit;
  char report[REPORT_BYTES];
};

/* ---- opening ---------------------------------------------------------------------------------------- */

struct verifier *verifier_create(tsr_heap *heap) {
  struct verifier *v = calloc(1, sizeof *v);
  if (v == NULL) return NULL;
  v->heap = heap;
  memory_account_open(&v->account, SIZE_MAX);
  v->bitmap_bytes = heap->bits.reserved_bytes;
  v->starts = verifier_table_open(&v->account, "verifier's starts", v->bitmap_bytes);
  v->seen = verifier_table_open(&v->account, "verifier's marks", v->bitmap_bytes);
  v->logged = verifier_table_open(&v->account, "verifier's log", v->bitmap_bytes);
  if (v->starts != NULL && v->seen != NULL && v->logged != NULL) return v;
  verifier_destroy(v);
  return NULL;
}

void verifier_destroy(struct verifier *v) {
  if (v == NULL) return;
  segment_release(&v->account, MEMORY_INSTANCE, v->queue, v->queue_capacity * sizeof *v->queue);
  stores_close(&v->stores);
  past_close(&v->past);
  verifier_table_close(&v->account, v->logged);
  verifier_table_close(&v->account, v->seen);
  verifier_table_close(&v->account, v->starts);
  free(v);
}

const memory_account *verifier_account(const struct verifier *v) {
  return &v->account;
}

tsr_status verifier_open(tsr_heap *heap, tsr_error *error) {
  if (!heap->verifies) return TSR_OK;
  heap->verifier = verifier_create(heap);
  if (heap->verifier != NULL && past_open(&heap->verifier->past, heap, &heap->verifier->account) &&
      stores_open(&heap->verifier->stores, heap, &heap->verifier->account)) {
    heap->verifier->remembers = true;
    return TSR_OK;
  }
  verifier_close(heap);
  return error_set(error, TSR_OUT_OF_MEMORY, "verify: the system has no memory for the verifier");
}

void verifier_close(tsr_heap *heap) {
  verifier_destroy(heap->verifier);
  heap->verifier = NULL;
}

const past *verifier_past(const struct verifier *v) {
  return &v->past;
}

/* ---- faults ------------------------------------------------------------------------------------------- */

static void fault_in_object(struct verifier *v, tsr_ref object, const char *rule) {
  if (v->rule != NULL) return;
  v->rule = rule;
  v->object = object;
}

/* What a slot holds is wrong; `from` says whose slot it is. */
static void fault_in_slot(struct verifier *v, reached from, const tsr_slot *slot,
                          const char *rule) {
  if (v->rule != NULL) return;
  v->rule = rule;
  v->object = from.object;
  v->slot = slot;
  v->word = slot->word;
  v->culprit = from;
  v->traced = true;
}

/* ---- objects that were reached --------------------------------------------------------------------------- */

static size_t bit_of(const struct verifier *v, uintptr_t address) {
  return object_bit_index(&v->heap->bits, address);
}

static void queue_push(struct verifier *v, reached next) {
  if (v->queue_count == v->queue_capacity) {
    size_t capacity = v->queue_capacity == 0 ? 1024 : 2 * v->queue_capacity;
    reached *grown = segment_grow(&v->account, MEMORY_INSTANCE, v->queue,
                                  v->queue_capacity * sizeof *grown, capacity * sizeof *grown);
    if (grown == NULL) {
      v->no_memory = true;
      return;
    }
    v->queue = grown;
    v->queue_capacity = capacity;
  }
  v->queue[v->queue_count++] = next;
}

static void reach(struct verifier *v, reached next) {
  size_t bit = bit_of(v, (uintptr_t)next.object);
  if (object_bit_get(v->seen, bit)) return;
  object_bit_set(v->seen, bit);
  queue_push(v, next);
}

/* ---- walking the blocks: which objects there are --------------------------------------------------------- */

static bool hash_bits_fit(const tsr_heap *heap, tsr_ref object, unsigned gc) {
  unsigned bits = gc & GC_HASH_BITS;
  return bits == 0 || (bits != GC_HASH_BITS &&
                       (identities_move(heap, object) || spaces_is_in(heap, object, ARENA_FROZEN)));
}

/* Whether an object may be armed. */
static bool is_armed_rightly(const tsr_heap *heap, tsr_ref object) {
  enum block_space space = block_map_space_of(&heap->blocks, (uintptr_t)object);
  return heap_watches(heap, object) ||
         (heap->plan->barrier->arms_objects && block_space_stays(space)) ||
         large_space_is_armed_young(&heap->spaces->large, object) ||
         seal_is_closed((tsr_heap *)(uintptr_t)heap, object);
}

/* Whether an object may lie in its block. */
static bool is_leaf_where_it_lies(const tsr_heap *heap, tsr_ref object, const layout *l) {
  return block_map_space_of(&heap->blocks, (uintptr_t)object) != BLOCK_LEAVES ||
         header_is_leaf(header_load(object)) || layout_is_leaf(l);
}

/* What is wrong with an object that has `room` bytes up to the end of its place; its size if nothing is. */
static const char *object_fault(const tsr_heap *heap, tsr_ref object, size_t room, size_t *bytes) {
  uint64_t header = header_load(object);
  unsigned gc = header_gc_byte(header);
  if ((gc & GC_FORWARD_BITS) != 0) return "no object is forwarded outside a collection";
  const layout *l = layout_of(heap->layouts, object);
  if (l == NULL) return "an object's header names a registered layout";
  if (!hash_bits_fit(heap, object, gc)) {
    return "an object's identity-hash bits are set where objects move, and one of them at most: "
           "the GC byte belongs "
           "to the collector";
  }
  *bytes = layout_object_bytes(heap, l, object);
  if (*bytes != 0) *bytes += layout_hash_bytes(heap, header);
  if (*bytes == 0 || *bytes > room) return "an object lies in its block, or its blocks, as a whole";
  if ((((uintptr_t)object + l->align_offset) & (l->align - 1)) != 0) {
    return "an object has the alignment that its layout promises";
  }
  if (!is_leaf_where_it_lies(heap, object, l)) {
    return "what was allocated TSR_LEAF is so in tsr_post_alloc(), and what was old without slots "
           "gets "
           "none: nobody looks for references in it";
  }
  if ((gc & GC_ARMED) != 0 && !is_armed_rightly(heap, object)) {
    return "only sealed objects are armed, and under a plan with a write barrier old ones and "
           "large arrays: the GC byte belongs to the collector";
  }
  if ((gc & GC_AGE_BITS) != 0 && !heap->plan->barrier->arms_objects) {
    return "only a plan with a write barrier sets age bits: the GC byte belongs to the collector";
  }
  return NULL;
}

/* Notes an object, which is a root where it is immortal; returns its size, or 0 where it is broken. */
static size_t walk_object(struct verifier *v, tsr_ref object, size_t room, bool immortal) {
  size_t bytes = 0;
  const char *fault = object_fault(v->heap, object, room, &bytes);
  object_bit_set(v->starts, bit_of(v, (uintptr_t)object));
  if (immortal && fault == NULL) {
    reach(v, (reached){.object = object, .parent = REACHED_FROM_ROOT, .root = "immortal object"});
  }
  if (fault == NULL) return bytes;
  if (v->rule == NULL) v->unwalked_block = block_map_index(&v->heap->blocks, (uintptr_t)object);
  fault_in_object(v, object, fault);
  return 0;
}

static void walk_copied(struct verifier *v, uint32_t index) {
  const block_map *map = &v->heap->blocks;
  uintptr_t at = block_map_start(map, index);
  uintptr_t end = at + block_map_at(map, index)->top_bytes;
  for (; at < end; at += TSR_GRANULE) {
    if (header_load((tsr_ref)at) == 0) continue;
    size_t bytes = walk_object(v, (tsr_ref)at, end - at, false);
    if (bytes == 0) return;
    at += bytes - TSR_GRANULE;
  }
}

static void walk_arena(struct verifier *v, uint32_t index) {
  const tsr_heap *heap = v->heap;
  uintptr_t at = block_map_start(&heap->blocks, index);
  uintptr_t end = at + BLOCK_BYTES;
  const arena *a = spaces_arena_of(heap, at);
  for (; (at = arena_next_object(heap, at, end, false)) < end; at += TSR_GRANULE) {
    size_t bytes = walk_object(v, (tsr_ref)at, end - at, a->immortal);
    if (bytes == 0) return;
    if (bytes > arena_object_limit(a, (tsr_ref)at) - at) {
      fault_in_object(v, (tsr_ref)at, "an object ends before the next one, or a free run, begins");
    }
  }
}

/* Notes where in a block that is in use objects begin. */
static void walk_used(struct verifier *v, uint32_t index, enum block_space space) {
  const tsr_heap *heap = v->heap;
  memset(object_bits_of(v->starts, index), 0, BLOCK_BIT_WORDS * sizeof(uint64_t));
  memset(object_bits_of(v->seen, index), 0, BLOCK_BIT_WORDS * sizeof(uint64_t));
  switch (space) {
  case BLOCK_LEAVES:
  case BLOCK_ARENA:
  case BLOCK_MOVABLE:
  case BLOCK_SEALED:
    walk_arena(v, index);
    return;
  case BLOCK_LARGE_YOUNG:
  case BLOCK_LARGE: {
    tsr_ref object = large_space_object(&heap->spaces->large, index);
    bool immortal = (block_map_at(&heap->blocks, index)->flags & BLOCK_IMMORTAL) != 0;
    walk_object(v, object, large_space_room(&heap->spaces->large, object), immortal);
    return;
  }
  case BLOCK_LARGE_REST:
    return;
  default:
    walk_copied(v, index);
    return;
  }
}

/* In a block that nobody uses any more none begins. Those that nobody ever used cost no memory here. */
static void forget_starts(uint64_t *starts) {
  for (uint32_t i = 0; i < BLOCK_BIT_WORDS; i++) {
    if (starts[i] != 0) starts[i] = 0;
  }
}

static void walk_block(struct verifier *v, uint32_t index, enum block_space space) {
  uint64_t before[BLOCK_BIT_WORDS];
  uint64_t *starts = object_bits_of(v->starts, index);
  if (v->just_collected) memcpy(before, starts, sizeof before);
  if (space > BLOCK_FREE) {
    walk_used(v, index, space);
  } else {
    forget_starts(starts);
  }
  if (v->just_collected) past_note(&v->past, index, before, starts, v->collections);
  if (!v->remembers || space <= BLOCK_FREE) return;
  bool rest = space == BLOCK_LARGE_REST;
  past_note_place(&v->past, index,
                  rest ? index - block_map_at(&v->heap->blocks, index)->run_next : 0);
}

/* Right after a collection free memory is as the collection left it. */
static void check_free_memory(struct verifier *v) {
  if (!v->remembers || v->just_collected || v->rule != NULL) return;
  v->bad_word = free_memory_written(v->heap, &v->word);
  if (v->bad_word != 0)
    v->rule = "nobody writes into freed memory: somebody has since the last collection";
}

/* An entry of the log. It is noted for check_logged(). */
static void check_entry(void *context, tsr_ref object) {
  struct verifier *v = context;
  if (v->rule != NULL) return;
  const char *fault = NULL;
  size_t bit = bit_of(v, (uintptr_t)object);
  bool is_old = block_space_stays(block_map_space_of(&v->heap->blocks, (uintptr_t)object));
  if (!is_old || !object_bit_get(v->starts, bit)) {
    fault = "what the remembered set names is an old object";
  } else if (object_bit_get(v->logged, bit)) {
    fault = "the remembered set's log has an object once";
  } else {
    object_bit_set(v->logged, bit);
  }
  if (fault == NULL) return;
  v->rule = fault;
  v->bad_word = (uintptr_t)object;
  v->word = header_load(object);
}

static void forget_entry(void *context, tsr_ref object) {
  const struct verifier *v = context;
  object_bit_clear(v->logged, bit_of(v, (uintptr_t)object));
}

void verifier_begin(struct verifier *v, uint32_t collections) {
  const block_map *map = &v->heap->blocks;
  v->just_collected = v->remembers && collections != v->collections;
  v->collections = collections;
  v->queue_count = 0;
  v->no_memory = false;
  v->rule = NULL;
  v->object = NULL;
  v->bad_block = 0;
  v->bad_word = 0;
  v->slot = NULL;
  v->traced = false;
  v->unwalked_block = BLOCK_NONE;
  for (uint32_t i = 0; i < block_map_extent(map); i++) {
    walk_block(v, i, block_map_space(map, i));
  }
  check_free_memory(v);
  for (unsigned i = 0; i < ARENAS; i++) {
    uint32_t at_block = 0;
    const char *fault = arena_fault(&v->heap->spaces->arenas[i], &at_block);
    if (fault == NULL || v->rule != NULL) continue;
    v->rule = fault;
    v->bad_block = block_map_start(map, at_block);
    return;
  }
  remembered_each_logged(v->heap, check_entry, v);
}

/* ---- following references ----------------------------------------------------------------------------------- */

/* Where a reference leads; NULL where that is the start of an object. */
static const char *reference_fault(const struct verifier *v, uintptr_t address) {
  if (address % TSR_GRANULE == 0 && object_bit_get(v->starts, bit_of(v, address))) return NULL;
  uint32_t collection;
  if (past_began(&v->past, address, &collection)) {
    return v->just_collected
               ? "a reference that the VM reports is updated: this one leads to where an object was"
               : "a reference kept over a collection lies in a root: this one leads to where an "
                 "object was, so the VM kept it in a place that is no root";
  }
  return block_map_space_of(&v->heap->blocks, address) > BLOCK_FREE
             ? "a reference leads to the start of an object"
             : "a reference leads into a block that is in use: this one is free, or never was";
}

/* One slot of the object `from`, whose index in the queue is `parent`, or of a root. */
static void visit_slot(struct verifier *v, reached from, uint64_t parent, const tsr_slot *slot) {
  const tsr_heap *heap = v->heap;
  const block_map *map = &heap->blocks;
  uintptr_t address = reference_address(&heap->references, slot->word);
  if (address - map->base >= (size_t)map->block_count * BLOCK_BYTES) return;
  if (v->rule != NULL && (tsr_ref)address == v->object && !v->traced) {
    v->traced = true;
    v->slot = slot;
    v->word = slot->word;
    v->culprit = from;
  }
  if (block_map_index(map, address) == v->unwalked_block) return;
  const char *fault = reference_fault(v, address);
  if (fault != NULL) {
    fault_in_slot(v, from, slot, fault);
    return;
  }
  bool root = parent == REACHED_FROM_ROOT;
  reach(v, (reached){.object = (tsr_ref)address,
                     .parent = parent,
                     .root = root ? from.root : NULL,
                     .name = root ? from.name : NULL});
}

void verifier_visit_object(struct verifier *v, tsr_ref object, const char *root) {
  const tsr_slot slot = {.word = (uint64_t)(uintptr_t)object};
  const char *fault = reference_fault(v, (uintptr_t)object);
  if (fault != NULL) {
    fault_in_slot(v, (reached){.parent = REACHED_FROM_ROOT, .root = root}, &slot, fault);
    v->slot = NULL;
    return;
  }
  reach(v, (reached){.object = object, .parent = REACHED_FROM_ROOT, .root = root});
}

void verifier_visit_roots(tsr_visitor *visitor, tsr_slot *first, size_t count) {
  struct verifier *v = visitor->context;
  reached from = {.parent = REACHED_FROM_ROOT, .root = visitor->root, .name = visitor->name};
  for (size_t i = 0; i < count; i++)
    visit_slot(v, from, REACHED_FROM_ROOT, &first[i]);
}

/* Whose slots are visited. */
typedef struct visited {
  struct verifier *v;
  uint64_t index; /* in the queue */
} visited;

/* Right after a collection: an armed object would not be looked at by the next minor one. */
static bool is_forgotten(const struct verifier *v, tsr_ref object, const tsr_slot *slot) {
  tsr_heap *heap = v->heap;
  if (heap->remembered == NULL || !v->just_collected) return false;
  uintptr_t to = reference_address(&heap->references, slot->word);
  enum block_space space = block_map_space_of(&heap->blocks, to);
  if (space <= BLOCK_FREE || block_space_stays(space)) return false;
  return !remembered_has(heap, object, slot);
}

/* What counts as logged and is not would never be looked at again, whatever is stored into it. */
static void check_logged(struct verifier *v, tsr_ref object) {
  if (v->heap->remembered == NULL || !remembered_is_logged(v->heap, object)) return;
  if (object_bit_get(v->logged, bit_of(v, (uintptr_t)object))) return;
  fault_in_object(v, object, "an object that counts as logged is in the remembered set's log");
}

static void visit_slot_of(void *context, const tsr_slot *slot) {
  const visited *of = context;
  if (is_forgotten(of->v, of->v->queue[of->index].object, slot)) {
    fault_in_slot(of->v, of->v->queue[of->index], slot,
                  "an old object that refers to a young one is remembered");
  }
  visit_slot(of->v, of->v->queue[of->index], of->index, slot);
}

static void scan_object(struct verifier *v, uint64_t index) {
  visited of = {v, index};
  check_logged(v, v->queue[index].object);
  scan_slots(v->heap, v->queue[index].object, visit_slot_of, &of);
}

/* ---- stores without a barrier ---------------------------------------------------------------------------------- */

static void check_stores(struct verifier *v) {
  for (uint64_t i = 0; i < v->queue_count && v->rule == NULL; i++) {
    const tsr_slot *slot = stores_missed(&v->stores, v->queue[i].object);
    if (slot == NULL) continue;
    fault_in_slot(v, v->queue[i], slot,
                  "a reference is stored through the write barrier: since the last collection one "
                  "was stored here without");
  }
}

void verifier_watch(struct verifier *v) {
  for (uint64_t i = 0; i < v->queue_count; i++)
    stores_watch(&v->stores, v->queue[i].object);
}

/* A collection that begins finds nothing armed, and one that has ended leaves all armed. */
static void end_of_check(struct verifier *v) {
  if (v->just_collected) {
    free_memory_fill(v->heap);
    verifier_watch(v);
  } else if (v->heap->phase != NULL) {
    stores_release(&v->stores);
  }
}

/* ---- the report ------------------------------------------------------------------------------------------------ */

typedef struct text {
  char *at;
  size_t left;
} text;

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static void
text_add(text *t, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(t->at, t->left, format, arguments);
  va_end(arguments);
  size_t used = length < 0 ? 0 : (size_t)length < t->left ? (size_t)length : t->left - 1;
  t->at += used;
  t->left -= used;
}

static void text_add_object(text *t, const struct verifier *v, tsr_ref object) {
  const tsr_heap *heap = v->heap;
  const layout *l = layout_of(heap->layouts, object);
  if (l == NULL) {
    text_add(t, "object %p (no known layout, first word 0x%016" PRIx64 ")", (void *)object,
             header_load(object));
    return;
  }
  text_add(t, "object %p (layout %s, %zu bytes)", (void *)object, l->name,
           layout_object_bytes(heap, l, object));
}

static void text_add_root(text *t, const reached *first) {
  bool named = first->name != NULL && *first->name != '\0';
  text_add(t, "root %s%s%s%s", first->root, named ? " \"" : "", named ? first->name : "",
           named ? "\"" : "");
}

/* Which object that is gone lay at an address of the range. */
static void text_add_past(text *t, const struct verifier *v, uintptr_t address) {
  uint32_t collection;
  uintptr_t start = past_find(&v->past, address, &collection);
  if (start == 0 || object_bit_get(v->starts, bit_of(v, address))) return;
  text_add(t, ", where until collection %" PRIu32 ", or one before it, an object began",
           collection);
  if (start != address) text_add(t, " %zu bytes before", (size_t)(address - start));
}

/* From the root to the object that holds the slot, nearest last. */
static void text_add_path(text *t, const struct verifier *v) {
  const reached *path[PATH_MOST];
  const reached *at = &v->culprit;
  size_t count = 0, left_out = 0;
  while (at->object != NULL) {
    if (count < PATH_MOST) {
      path[count++] = at;
    } else {
      left_out++;
    }
    if (at->parent == REACHED_FROM_ROOT) break;
    at = &v->queue[at->parent];
  }
  text_add(t, "; path: ");
  text_add_root(t, at);
  if (left_out > 0) text_add(t, " -> %zu more objects", left_out);
  while (count > 0) {
    text_add(t, " -> ");
    text_add_object(t, v, path[--count]->object);
  }
}

static void report_write_fault(struct verifier *v) {
  text t = {v->report, sizeof v->report};
  text_add(&t, "broken: %s: ", v->rule);
  if (v->bad_block != 0) {
    text_add(&t, "block at 0x%" PRIxPTR, v->bad_block);
    return;
  }
  if (v->bad_word != 0) {
    text_add(&t, "the word at 0x%" PRIxPTR " is 0x%016" PRIx64, v->bad_word, v->word);
    text_add_past(&t, v, v->bad_word);
    return;
  }
  if (v->object != NULL) {
    text_add_object(&t, v, v->object);
  } else {
    text_add_root(&t, &v->culprit);
  }
  if (!v->traced) {
    text_add(&t, "; no root leads there");
    return;
  }
  text_add(&t, "; ");
  if (v->culprit.object == NULL) {
    text_add(&t, "slot at %p", (const void *)v->slot);
  } else {
    if (v->culprit.object != v->object) text_add(&t, "referred to from a ");
    text_add(&t, "slot at offset %zu", (size_t)((uintptr_t)v->slot - (uintptr_t)v->culprit.object));
  }
  text_add(&t, " holds 0x%016" PRIx64, v->word);
  text_add_past(&t, v, reference_address(&v->heap->references, v->word));
  text_add_path(&t, v);
}

tsr_status verifier_end(struct verifier *v, tsr_error *error) {
  for (uint64_t i = 0; i < v->queue_count && (v->rule == NULL || (v->object != NULL && !v->traced));
       i++)
    scan_object(v, i);
  remembered_each_logged(v->heap, forget_entry, v);
  if (v->remembers && v->rule == NULL) {
    check_stores(v);
    if (v->rule == NULL) end_of_check(v);
  }
  if (v->rule != NULL) {
    report_write_fault(v);
    return error_set(error, TSR_CORRUPT, "verify: %s", v->report);
  }
  if (!v->no_memory) return TSR_OK;
  return error_set(error, TSR_OUT_OF_MEMORY,
                   "verify: the system has no memory to follow all references");
}

noreturn void verifier_abort(const struct verifier *v) {
  const tsr_heap *heap = v->heap;
  fprintf(stderr, "tessera: verify: %s (plan %s, %s)\n", v->report, heap->plan->name,
          heap->phase == NULL ? "on request" : heap->phase);
  fflush(stderr);
  abort();
}
