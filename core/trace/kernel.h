/*
 * The tracing kernel, written once as always-inline code over a plan's own "visit this reference".
 *
 * A plan's file calls kernel_visit_slots(), kernel_trace() and kernel_rescan() with a `kernel` of constants, and so
 * gets copies of the kernel specialised to itself: one for a worker that traces alone, one for several. Data
 * layouts are scanned without leaving the kernel. There is no recursion: what is reached is queued, long
 * arrays are scanned in pieces, and what the queue cannot take is found again by walking flagged
 * blocks.
 *
 * Most objects are not in the cache when the trace comes to them. So nothing is read when it is first
 * named: it is fetched, and waits its turn in a small ring, behind others that were fetched before it
 * (C.-Y. Cher, A. Hosking, T. Vijaykumar, Software Prefetching for Mark-Sweep Garbage Collection, 2004).
 * An *edge*, what a slot refers to, waits between the scan and the visit: for the object itself, where the visit
 * reads and may move it; else for its mark bit alone. In the second case the object is fetched
 * when it comes out of the queue, and waits in another ring before the scan. What lies close to what was
 * looked at last is in the cache already, and waits for nothing, so that a graph in allocation order is traced in
 * that order.
 */
#ifndef CORE_TRACE_KERNEL_H
#define CORE_TRACE_KERNEL_H

#include "core/object/reference.h"
#include "core/object/walk.h"
#include "core/os/compiler.h"
#include "core/trace/marking.h"
#include "core/trace/remembered.h"
#include "core/trace/team.h"
#include "core/trace/weak.h"

/* Elements of an array that are scanned in one go. */
#define KERNEL_PIECE_ELEMENTS ((size_t)256)
/* An object that lies so close to the last one is in the cache, or on its way there. */
#define KERNEL_NEAR_BYTES     ((uintptr_t)256)
/* How far ahead of what is scanned in order its neighbours are fetched. */
#define KERNEL_STREAM_BYTES   ((uintptr_t)1024)
/* What a fetch brings into the cache, at least. */
#define KERNEL_LINE_BYTES     ((size_t)64)
/* Roots that are fetched before the one that is visited. */
#define KERNEL_AHEAD          ((size_t)16)
/* Objects scanned between two looks for idle workers. */
#define KERNEL_TURN           64u
/* Of a header. */
#define KERNEL_HASH_BITS      ((uint64_t)GC_HASH_BITS << GC_BYTE_SHIFT)

/*
 * A worker while it traces: what the loops read for each slot, and the private end of its queue. A local
 * variable of the loop, whose address goes nowhere, so that it is kept in registers; what is called
 * out of line finds the queue in the worker, between kernel_save() and kernel_restore().
 */
typedef struct kernel_run {
  struct worker *worker;
  uintptr_t *top, *end;
  uint64_t *marks;
  uintptr_t base;
  uintptr_t extent; /* in granules */
  const unsigned char *spaces;
  reference_rule rule;
  const uint64_t *traces; /* of layouts whose index is in the header */
  uint64_t layout_count;  /* 0: none is, or the index is elsewhere */
  uint64_t layout_bits;   /* of a header: the index, and those of the identity hash */
  uint32_t layout_shift;
  uint64_t last_layout; /* the index bits of the header that was looked at last, */
  uint64_t last_trace;  /* and what they stand for */
  size_t next_edge;
  bool in_order;  /* what was looked at last lies close to what was before */
  uintptr_t near; /* where what lies close to what was looked at last begins */
  enum block_space from_space;
} kernel_run;

OS_ALWAYS_INLINE void kernel_save(const kernel_run *run) {
  run->worker->queue.top = run->top;
  run->worker->next_edge = run->next_edge;
}

OS_ALWAYS_INLINE void kernel_restore(kernel_run *run) {
  run->top = run->worker->queue.top;
  run->next_edge = run->worker->next_edge;
}

OS_ALWAYS_INLINE kernel_run kernel_begin(struct worker *worker) {
  const tsr_heap *heap = worker->heap;
  const layout_table *layouts = heap->layouts;
  return (kernel_run){.worker = worker,
                      .top = worker->queue.top,
                      .end = worker->queue.end,
                      .marks = heap->bits.marks,
                      .base = heap->blocks.base,
                      .extent = (uintptr_t)block_map_extent(&heap->blocks) * BLOCK_GRANULES,
                      .spaces = block_map_spaces(&heap->blocks),
                      .rule = heap->references,
                      .traces = layout_traces(layouts),
                      .layout_count = layout_traced_count(layouts),
                      .layout_bits = (uint64_t)layouts->source.mask << layouts->source.shift |
                                     KERNEL_HASH_BITS,
                      .layout_shift = (uint32_t)layouts->source.shift,
                      .last_layout = 0,
                      .last_trace = LAYOUT_NOT_PLAIN,
                      .next_edge = worker->next_edge,
                      .from_space = heap->spaces->copy.from_space};
}

/*
 * A plan's visit: reaches `object`, which begins with this granule of the heap's range, in a block of `space`,
 * queues it if this is the first time, and returns where it is now. `shared`: other workers do the same.
 */
typedef tsr_ref kernel_visit(kernel_run *run, tsr_ref object, uintptr_t granule,
                             enum block_space space, bool shared);

/* Scans an object of any layout, from `position` on where it was scanned in part. */
typedef void kernel_scan_function(struct worker *worker, tsr_ref object, size_t position);

enum kernel_wait {
  KERNEL_WAITS_NOT,
  KERNEL_WAITS_FOR_MARK,  /* the visit leaves the object and the slot as they are */
  KERNEL_WAITS_FOR_OBJECT /* it reads the object, and may move it */
};

enum kernel_pace {
  KERNEL_TO_THE_END,
  KERNEL_IN_STEPS /* it stops when worker_has_to_stop(); what is left is in the queue then */
};

/* What a kernel does with old objects beside scanning them: each does what the ones before do. */
enum kernel_duty {
  KERNEL_SCANS,
  KERNEL_ARMS, /* arms each before its first slot is looked at, so that a store behind the scan is told of */
  KERNEL_TAKES_LOGGED, /* looks at those that were stored into */
  KERNEL_REMEMBERS     /* finds out which refer to young ones: a minor collection */
};

/* What a copy of the kernel is made of. Constants, all of them. */
typedef struct kernel {
  kernel_visit *visit;
  kernel_scan_function *scan_other; /* kernel_scan_other() of this kernel, apart from the loops */
  enum kernel_wait waits;           /* what an edge waits for */
  enum kernel_pace pace;
  enum kernel_duty duty;
  bool tagged; /* the reference rule is not "an address or zero" */
  bool shared; /* several workers trace */
} kernel;

/* Defines a kernel, and a kernel_scan_function name_trace() for a worker's part in a trace. */
#define KERNEL_DEFINE(name, visit_function, edge_waits, has_pace, has_duty, has_tags, is_shared)   \
  static kernel_scan_function name##_scan_other;                                                   \
  static const kernel name = {.visit = (visit_function),                                           \
                              .scan_other = name##_scan_other,                                     \
                              .waits = (edge_waits),                                               \
                              .pace = (has_pace),                                                  \
                              .duty = (has_duty),                                                  \
                              .tagged = (has_tags),                                                \
                              .shared = (is_shared)};                                              \
  OS_NEVER_INLINE void name##_scan_other(struct worker *worker, tsr_ref object, size_t position) { \
    kernel_scan_other(name, worker, object, position);                                             \
  }                                                                                                \
  OS_NEVER_INLINE void name##_trace(struct worker *worker) {                                       \
    kernel_trace(name, worker);                                                                    \
  }

/* The kernels of a plan: name_alone and name_shared, for plain references and for tagged ones, and name_trace(),
   which chooses. */
#define KERNEL_DEFINE_ALL(name, visit, waits, pace, duty)                                          \
  KERNEL_DEFINE(name##_alone, visit, waits, pace, duty, true, false)                               \
  KERNEL_DEFINE(name##_shared, visit, waits, pace, duty, true, true)                               \
  KERNEL_DEFINE(name##_plain_alone, visit, waits, pace, duty, false, false)                        \
  KERNEL_DEFINE(name##_plain_shared, visit, waits, pace, duty, false, true)                        \
  static void name##_trace(struct worker *worker, bool shared) {                                   \
    static void (*const traces[2][2])(struct worker *) = {                                         \
        {name##_alone_trace, name##_shared_trace},                                                 \
        {name##_plain_alone_trace, name##_plain_shared_trace}};                                    \
    traces[reference_rule_is_plain(&worker->heap->references)][shared](worker);                    \
  }

/* ---- reaching objects ------------------------------------------------------------------------------- */

OS_NEVER_INLINE void kernel_push_slow(struct worker *worker, tsr_ref object) {
  worker_enqueue(worker, object);
}

/* Queues an object that was reached for the first time. */
OS_ALWAYS_INLINE void kernel_push(kernel_run *run, tsr_ref object) {
  if (TSR_LIKELY(run->top != run->end)) {
    *run->top++ = (uintptr_t)object;
    return;
  }
  kernel_save(run);
  kernel_push_slow(run->worker, object);
  kernel_restore(run);
}

/* As worker_reach_staying(). */
OS_ALWAYS_INLINE void kernel_reach_staying(kernel_run *run, tsr_ref object, uintptr_t granule,
                                           enum block_space space, bool shared) {
  if (TSR_LIKELY(block_space_has_bits_only(space))) {
    HEAP_CHECK(run->worker->heap, arena_is_start(run->worker->heap, object), object,
               "a reference into an arena does not lead to the start of an object");
    if (object_bit_set_first(run->marks, granule, shared) && space != BLOCK_LEAVES) {
      kernel_push(run, object);
    }
  } else if (worker_reach_special(run->worker, object, space, shared)) {
    kernel_push(run, object);
  }
}

/* ---- slots ------------------------------------------------------------------------------------------ */

/* Where a slot leads to, if it refers to anything. */
OS_ALWAYS_INLINE uintptr_t kernel_address(const kernel k, const kernel_run *run, uint64_t word) {
  return k.tagged ? reference_address(&run->rule, word) : (uintptr_t)word;
}

/* Whether an address lies in the part of the heap's range that may be in use; in which granule, counted from the
   base. */
OS_ALWAYS_INLINE bool kernel_target(const kernel_run *run, uintptr_t address, uintptr_t *granule) {
  uintptr_t offset = address - run->base;
  /* What is no multiple of a granule comes out as a number beyond every heap. */
  *granule = offset >> OBJECT_BIT_SHIFT | offset << (64 - OBJECT_BIT_SHIFT);
  return *granule < run->extent;
}

OS_ALWAYS_INLINE enum block_space kernel_space(const kernel_run *run, uintptr_t granule) {
  return (enum block_space)os_atomic8_load(&run->spaces[granule / BLOCK_GRANULES]);
}

/* Whether an address lies in a block whose objects stay; where the heap has grown since the run began, too. */
OS_ALWAYS_INLINE bool kernel_is_old(const kernel_run *run, uintptr_t address) {
  return block_space_stays(block_map_space_of(&run->worker->heap->blocks, address));
}

/* A slot that refers to what was young: if that still is, and the slot's object is old, it is remembered. */
OS_ALWAYS_INLINE void kernel_note_referrer(const kernel_run *run, const tsr_slot *slot,
                                           uintptr_t now) {
  if (!kernel_is_old(run, (uintptr_t)slot) || kernel_is_old(run, now)) return;
  remembered_note_slot(run->worker->heap, slot);
}

/* An old object that is scanned is armed; in a minor collection until one of its slots is noted. */
OS_ALWAYS_INLINE void kernel_arm(const kernel k, const kernel_run *run, tsr_ref object,
                                 uint64_t header) {
  if (k.duty < KERNEL_ARMS || header_is_armed(header)) return;
  if (!kernel_is_old(run, (uintptr_t)object)) return;
  unsigned char *byte = (unsigned char *)object + TSR_GC_BYTE_OFFSET;
  unsigned char armed = (unsigned char)((header_gc_byte(header) & (0xffu ^ GC_LOGGED)) | GC_ARMED);
  if (k.shared) {
    os_atomic8_store(byte, armed);
  } else {
    *byte = armed;
  }
}

OS_ALWAYS_INLINE void kernel_visit_slot(const kernel k, kernel_run *run, tsr_slot *slot) {
  uint64_t word = slot->word;
  uintptr_t address = kernel_address(k, run, word), granule;
  if (!kernel_target(run, address, &granule)) return;
  enum block_space space = kernel_space(run, granule);
  uintptr_t now = (uintptr_t)k.visit(run, (tsr_ref)address, granule, space, k.shared);
  if (k.duty == KERNEL_REMEMBERS && !block_space_stays(space)) kernel_note_referrer(run, slot, now);
  if (now == address) return;
  slot->word = k.tagged ? reference_retarget(&run->rule, word, now) : (uint64_t)now;
}

/* What waits for a visit: a slot, where the visit reads the object; else the object's granule. */
OS_ALWAYS_INLINE void kernel_visit_edge(const kernel k, kernel_run *run, uintptr_t edge) {
  if (k.waits == KERNEL_WAITS_FOR_OBJECT) {
    kernel_visit_slot(k, run, (tsr_slot *)edge);
    return;
  }
  k.visit(run, (tsr_ref)(run->base + edge * TSR_GRANULE), edge, kernel_space(run, edge), k.shared);
}

/* Puts `value` in a place of a ring, and returns what was there. */
OS_ALWAYS_INLINE uintptr_t kernel_exchange(uintptr_t *place, uintptr_t value) {
  uintptr_t before = *place;
  *place = value;
  return before;
}

static inline uintptr_t *kernel_edge_place(const kernel_run *run, size_t number) {
  return &run->worker->edges[number % WORKER_EDGES];
}

/* An edge waits; where all places are taken, the one that has waited longest is visited. */
OS_ALWAYS_INLINE void kernel_defer_edge(const kernel k, kernel_run *run, uintptr_t edge) {
  uintptr_t oldest = kernel_exchange(kernel_edge_place(run, run->next_edge++), edge);
  if (TSR_UNLIKELY(oldest == WORKER_NO_EDGE)) {
    run->worker->edges_waiting++;
    return;
  }
  kernel_visit_edge(k, run, oldest);
}

/* Visits the edges that wait, the oldest first: all of them, so that what they lead to can be fetched side by side.
   False: none waits. */
OS_ALWAYS_INLINE bool kernel_flush_edges(const kernel k, kernel_run *run) {
  if (run->worker->edges_waiting == 0) return false;
  do {
    uintptr_t *oldest = kernel_edge_place(run, run->next_edge - run->worker->edges_waiting--);
    kernel_visit_edge(k, run, kernel_exchange(oldest, WORKER_NO_EDGE));
  } while (run->worker->edges_waiting != 0);
  return true;
}

/* Visits the edge that came last. False: none waits. */
OS_ALWAYS_INLINE bool kernel_visit_newest(const kernel k, kernel_run *run) {
  if (run->worker->edges_waiting == 0) return false;
  run->worker->edges_waiting--;
  uintptr_t *newest = kernel_edge_place(run, --run->next_edge);
  kernel_visit_edge(k, run, kernel_exchange(newest, WORKER_NO_EDGE));
  return true;
}

/* How far in front of an object lies what is near it. A list that grew at its head runs downwards; but where
   objects move, only what runs upwards comes out in order. */
OS_ALWAYS_INLINE uintptr_t kernel_near_before(const kernel k) {
  return k.waits == KERNEL_WAITS_FOR_MARK ? KERNEL_NEAR_BYTES : 0;
}

OS_ALWAYS_INLINE bool kernel_is_near(const kernel k, const kernel_run *run, uintptr_t address) {
  return address - run->near < kernel_near_before(k) + KERNEL_NEAR_BYTES;
}

OS_ALWAYS_INLINE void kernel_look_at(const kernel k, kernel_run *run, uintptr_t address) {
  run->near = address - kernel_near_before(k);
}

/* An object is near the last one: what lies beyond it is likely to be next. The processor's own prefetching does not
   go far enough ahead of a trace. */
OS_ALWAYS_INLINE void kernel_fetch_beyond(const kernel_run *run, uintptr_t object) {
  bool goes_up = object >= run->near + KERNEL_NEAR_BYTES;
  OS_FETCH((const void *)(goes_up ? object + KERNEL_STREAM_BYTES : object - KERNEL_STREAM_BYTES));
}

/* Visits what a slot refers to, now or when it has been fetched. */
OS_ALWAYS_INLINE void kernel_take_slot(const kernel k, kernel_run *run, tsr_slot *slot) {
  if (k.waits == KERNEL_WAITS_NOT) {
    kernel_visit_slot(k, run, slot);
    return;
  }
  uintptr_t address = kernel_address(k, run, slot->word), granule;
  if (!kernel_target(run, address, &granule)) return;
  if (k.duty == KERNEL_REMEMBERS && block_space_stays(kernel_space(run, granule))) {
    /* There is nothing to do about it, or no more than to mark it. */
    if (!run->worker->marks_old) return;
    OS_FETCH(&run->marks[granule / 64]);
    kernel_defer_edge(k, run, (uintptr_t)slot);
    return;
  }
  if (k.waits == KERNEL_WAITS_FOR_OBJECT) {
    run->in_order = kernel_is_near(k, run, address);
    kernel_look_at(k, run, address);
    if (run->in_order) {
      kernel_visit_slot(k, run, slot);
      return;
    }
    OS_FETCH((const void *)address);
    kernel_defer_edge(k, run, (uintptr_t)slot);
    return;
  }
  if (kernel_is_near(k, run, address)) {
    k.visit(run, (tsr_ref)address, granule, kernel_space(run, granule), k.shared);
    return;
  }
  OS_FETCH(&run->marks[granule / 64]);
  kernel_defer_edge(k, run, granule);
}

/* The same of an array's element; what follows is likely to lie close to it. */
OS_ALWAYS_INLINE void kernel_take_element(const kernel k, kernel_run *run, tsr_slot *slot) {
  uint64_t word = slot->word;
  kernel_take_slot(k, run, slot);
  if (k.waits == KERNEL_WAITS_FOR_MARK) kernel_look_at(k, run, kernel_address(k, run, word));
}

/* The slots that a bitmap names, of at most 64 words. From the last to the first: what is queued last is scanned
   first, and objects tend to lie in the order of the slots that refer to them. */
OS_ALWAYS_INLINE void kernel_take_bits(const kernel k, kernel_run *run, tsr_slot *words,
                                       uint64_t bits) {
  while (bits != 0) {
    unsigned last = (unsigned)__builtin_clzll(bits) ^ 63u;
    bits ^= (uint64_t)1 << last;
    kernel_take_slot(k, run, &words[last]);
  }
}

/* Roots, before the trace: visited at once. */
OS_ALWAYS_INLINE void kernel_visit_slots(const kernel k, struct worker *worker, tsr_slot *first,
                                         size_t count) {
  kernel_run run = kernel_begin(worker);
  for (size_t i = 0; i < count; i++) {
    if (k.waits == KERNEL_WAITS_FOR_OBJECT && i + KERNEL_AHEAD < count) {
      OS_FETCH((const void *)kernel_address(k, &run, first[i + KERNEL_AHEAD].word));
    }
    kernel_visit_slot(k, &run, &first[i]);
  }
  kernel_save(&run);
}

/* Slots that lie here and there, before the trace. Those that wait when it begins are visited by it. */
OS_ALWAYS_INLINE void kernel_take_scattered(const kernel k, struct worker *worker,
                                            tsr_slot *const *slots, size_t count) {
  kernel_run run = kernel_begin(worker);
  for (size_t i = 0; i < KERNEL_AHEAD && i < count; i++)
    OS_FETCH(slots[i]);
  for (size_t i = 0; i < count; i++) {
    if (i + KERNEL_AHEAD < count) OS_FETCH(slots[i + KERNEL_AHEAD]);
    kernel_take_slot(k, &run, slots[i]);
  }
  kernel_save(&run);
}

/* An object that is a root, and stays where it is. */
OS_ALWAYS_INLINE void kernel_reach(const kernel k, struct worker *worker, tsr_ref object) {
  kernel_run run = kernel_begin(worker);
  uintptr_t granule = ((uintptr_t)object - run.base) / TSR_GRANULE;
  k.visit(&run, object, granule, kernel_space(&run, granule), k.shared);
  kernel_save(&run);
}

/* ---- objects ---------------------------------------------------------------------------------------- */

OS_ALWAYS_INLINE void kernel_scan_fixed(const kernel k, kernel_run *run, tsr_ref object,
                                        const layout *l) {
  tsr_slot *words = (tsr_slot *)object;
  if (TSR_LIKELY(l->wide_refs == NULL)) {
    kernel_take_bits(k, run, words, l->fixed_refs);
    return;
  }
  for (uint32_t i = l->wide_words; i-- > 0;)
    kernel_take_bits(k, run, words + (size_t)64 * i, l->wide_refs[i]);
}

OS_ALWAYS_INLINE void kernel_scan_elements(const kernel k, kernel_run *run, tsr_ref object,
                                           const layout *l, size_t first, size_t end) {
  tsr_slot *words = (tsr_slot *)(void *)((char *)object + l->fixed_bytes);
  if (l->kind == TSR_LAYOUT_REFERENCES) {
    /* Marked objects are scanned in the order of the slots if the last is queued first, as in kernel_take_bits();
       what moves shall lie in that order. */
    bool ascending = k.waits == KERNEL_WAITS_FOR_OBJECT;
    for (size_t i = 0; i < end - first; i++)
      kernel_take_element(k, run, &words[ascending ? first + i : end - 1 - i]);
    return;
  }
  size_t stride_words = l->element_bytes / TSR_GRANULE;
  for (size_t i = end; i-- > first;)
    kernel_take_bits(k, run, words + i * stride_words, l->element_refs);
}

static inline size_t kernel_elements(const layout *l, tsr_ref object) {
  size_t bytes = layout_array_bytes(l, object);
  return l->kind == TSR_LAYOUT_REFERENCES ? bytes / TSR_GRANULE : bytes / l->element_bytes;
}

/* Queues the rest of an object. False: there is no room. */
OS_ALWAYS_INLINE bool kernel_push_resume(kernel_run *run, tsr_ref object, size_t position) {
  kernel_save(run);
  bool pushed = mark_queue_push_resume(&run->worker->queue, object, position);
  kernel_restore(run);
  return pushed;
}

/* A range of an array's pieces in one word, as a position to resume at. */
#define KERNEL_PIECES(first, end) ((size_t)(first) << 32 | (end))

/* The piece of references that comes next. It is scanned from its end, which no processor foresees. */
OS_ALWAYS_INLINE void kernel_fetch_piece(tsr_ref object, const layout *l, size_t first) {
  const char *piece = (const char *)object + l->fixed_bytes + first * TSR_GRANULE;
  for (size_t at = 0; at < KERNEL_PIECE_ELEMENTS * TSR_GRANULE; at += KERNEL_LINE_BYTES)
    OS_FETCH(piece + at);
}

/* Scans the pieces that a position names: one, and the rest is halved and halved again and queued, the largest
   part where others find it first. Where the queue is full the rest is scanned at once: another
   walk of the block would only come back here. */
OS_ALWAYS_INLINE void kernel_scan_array(const kernel k, kernel_run *run, tsr_ref object,
                                        const layout *l, size_t position) {
  size_t elements = kernel_elements(l, object);
  size_t first = 0, end = (elements + KERNEL_PIECE_ELEMENTS - 1) / KERNEL_PIECE_ELEMENTS;
  if (position != 0) {
    first = position >> 32;
    if ((position & UINT32_MAX) < end) end = position & UINT32_MAX;
    if (first >= end) return; /* the array was shrunk between two steps */
  }
  while (end - first > 1) {
    size_t middle = first + (end - first) / 2;
    if (!kernel_push_resume(run, object, KERNEL_PIECES(middle, end))) break;
    end = middle;
  }
  size_t last = end * KERNEL_PIECE_ELEMENTS;
  if (k.waits == KERNEL_WAITS_FOR_MARK && l->kind == TSR_LAYOUT_REFERENCES && last < elements) {
    kernel_fetch_piece(object, l, last);
  }
  kernel_scan_elements(k, run, object, l, first * KERNEL_PIECE_ELEMENTS,
                       last < elements ? last : elements);
}

OS_ALWAYS_INLINE void kernel_scan_custom(const kernel k, kernel_run *run, tsr_ref object,
                                         const layout *l, size_t position) {
  struct worker *worker = run->worker;
  bool queued = false;
  while (position != TSR_SCAN_DONE && !queued) {
    tsr_slot_buffer out = {worker->scan_slots, worker->scan_slots + WORKER_SCAN_SLOTS};
    position = l->scan(worker->heap->vm, object, position, &out);
    queued = position != TSR_SCAN_DONE && kernel_push_resume(run, object, position);
    for (tsr_slot **slot = worker->scan_slots; slot < out.next; slot++)
      kernel_take_slot(k, run, *slot);
  }
}

/* Gives a key that was reached its first word back, and lets the ephemerons go that waited for it. */
OS_ALWAYS_INLINE uint64_t kernel_release_key(const kernel k, struct worker *worker, tsr_ref object,
                                             uint64_t displaced) {
  kernel_run run = kernel_begin(worker);
  uint64_t header = header_unclaimed(header_load_shared(displaced_home(displaced)));
  header_store_shared(object, header);
  uint64_t next = (uint64_t)(uintptr_t)displaced_head(displaced);
  do {
    tsr_ephemeron *e = (tsr_ephemeron *)(uintptr_t)next;
    next = e->reserved[EPHEMERON_CHAIN];
    e->reserved[EPHEMERON_CHAIN] = 0;
    worker->ephemeron_visits++;
    kernel_take_slot(k, &run, &e->key);
    kernel_take_slot(k, &run, &e->value);
  } while (next != WEAK_END);
  kernel_save(&run);
  return header;
}

/* As kernel_arm(), of an object of any layout. Where the references are not in slots that are visited, what they lead to
   is seen at the end. */
OS_ALWAYS_INLINE void kernel_begin_object(const kernel k, const kernel_run *run, tsr_ref object,
                                          uint64_t header, const layout *l) {
  if (k.duty != KERNEL_REMEMBERS || !layout_hides_references(l)) {
    kernel_arm(k, run, object, header);
  } else if (kernel_is_old(run, (uintptr_t)object)) {
    remembered_doubt(run->worker->heap, object);
  }
}

/* An object of any layout. */
OS_ALWAYS_INLINE void kernel_scan_other(const kernel k, struct worker *worker, tsr_ref object,
                                        size_t position) {
  uint64_t header = k.shared ? header_load_shared(object) : header_load(object);
  if (TSR_UNLIKELY(header_is_displaced(header))) {
    header = kernel_release_key(k, worker, object, header);
  }
  if (header_is_leaf(header)) return;
  const layout *l = layout_of_header(worker->heap->layouts, object, header);
  HEAP_ALWAYS_CHECK(worker->heap, l != NULL, object,
                    "a reachable object's layout is unknown: its header was never written, or "
                    "overwritten, or the reference does not point to an object");
  kernel_run run = kernel_begin(worker);
  if (position == 0) kernel_begin_object(k, &run, object, header, l);
  if (l->weak_offset != 0) weak_find(worker, object, l);
  if (l->kind == TSR_LAYOUT_CUSTOM) {
    kernel_scan_custom(k, &run, object, l, position);
  } else {
    if (position == 0) kernel_scan_fixed(k, &run, object, l);
    if (l->kind == TSR_LAYOUT_REFERENCES || l->kind == TSR_LAYOUT_ELEMENTS) {
      kernel_scan_array(k, &run, object, l, position);
    }
  }
  kernel_save(&run);
}

/*
 * What is known of an object's layout. It is looked up where it is not the same as the last one's, of which the
 * processor guesses that it is: so in a list it reaches for the next object while it still checks this
 * one's header. An object whose identity hash was asked for counts as one of another layout, for it may be larger, or
 * become so: a question that costs the others nothing.
 */
OS_ALWAYS_INLINE uint64_t kernel_layout(kernel_run *run, uint64_t header) {
  uint64_t bits = header & run->layout_bits;
  if (TSR_UNLIKELY(bits != run->last_layout)) {
    uint64_t index = (bits & ~KERNEL_HASH_BITS) >> run->layout_shift;
    run->last_layout = bits;
    bool known = index != 0 && index < run->layout_count;
    run->last_trace = known ? run->traces[index] : LAYOUT_NOT_PLAIN;
    if ((bits & KERNEL_HASH_BITS) != 0) run->last_trace = layout_trace_sizeless(run->last_trace);
  }
  return run->last_trace;
}

/* Whether an object is known to refer to nothing. */
OS_ALWAYS_INLINE bool kernel_is_leaf(uint64_t header, uint64_t trace) {
  return header_is_leaf(header) || layout_trace_is_leaf(trace);
}

/* Takes the slots of an object. Most are plain. */
OS_ALWAYS_INLINE void kernel_scan(const kernel k, kernel_run *run, tsr_ref object) {
  uint64_t header = k.shared ? header_load_shared(object) : header_load(object);
  uint64_t trace = kernel_layout(run, header);
  uint32_t slots = layout_trace_slots(trace);
  if (TSR_UNLIKELY(slots == 0 || header_is_leaf(header))) {
    if (slots == 0 && layout_trace_is_plain(trace) && !header_is_displaced(header)) {
      kernel_arm(k, run, object, header);
      return;
    }
    kernel_save(run);
    k.scan_other(run->worker, object, 0);
    kernel_restore(run);
    return;
  }
  kernel_arm(k, run, object, header);
  /* As kernel_take_bits(). */
  tsr_slot *first = (tsr_slot *)object + layout_trace_first(trace);
  tsr_slot *slot = first + slots;
  do {
    kernel_take_slot(k, run, --slot);
  } while (slot != first);
}

/* An object of the log, unless it was sealed since: then its block is remembered. A plain one is armed by its scan, and
   so not logged any more. Where the log is for marking alone, one that is not marked is scanned when it is reached, if ever. */
OS_ALWAYS_INLINE void kernel_scan_logged(const kernel k, kernel_run *run, tsr_ref object) {
  uint64_t header = k.shared ? header_load_shared(object) : header_load(object);
  if ((header_gc_byte(header) & GC_LOGGED) == 0) return;
  if (k.duty != KERNEL_REMEMBERS && !spaces_is_reached(run->worker->heap, object)) {
    remembered_clear_logged(object);
    return;
  }
  bool is_plain = layout_trace_slots(kernel_layout(run, header)) != 0 && !header_is_leaf(header);
  if (TSR_UNLIKELY(!is_plain)) remembered_clear_logged(object);
  kernel_look_at(k, run, (uintptr_t)object);
  kernel_scan(k, run, object);
}

OS_ALWAYS_INLINE void kernel_fetch_logged(const kernel k, const kernel_run *run, uintptr_t object) {
  OS_FETCH((const void *)object);
  if (k.duty != KERNEL_REMEMBERS) OS_FETCH(&run->marks[(object - run->base) / TSR_GRANULE / 64]);
}

/* Scans some of the log, and asks for the time. What the objects lead to is looked at before the next ones are fetched.
   False: there is nothing. */
OS_ALWAYS_INLINE bool kernel_take_logged(const kernel k, struct worker *worker) {
  log_chunk *chunk = remembered_take_logged(worker->heap);
  if (chunk == NULL) return false;
  kernel_run run = kernel_begin(worker);
  for (size_t i = 0; i < chunk->count; i++) {
    if (i + KERNEL_AHEAD < chunk->count)
      kernel_fetch_logged(k, &run, chunk->words[i + KERNEL_AHEAD]);
    kernel_scan_logged(k, &run, (tsr_ref)chunk->words[i]);
  }
  kernel_save(&run);
  word_log_release_chunk(worker->heap, chunk);
  if (k.pace == KERNEL_IN_STEPS) (void)worker_is_out_of_time(worker);
  return true;
}

/* ---- the loops --------------------------------------------------------------------------------------- */

/* Goes on with an object that was scanned in part, whose entry's last word has been popped. */
OS_ALWAYS_INLINE void kernel_resume(const kernel k, kernel_run *run, uintptr_t tagged) {
  size_t position = run->top[-1];
  run->top -= 2;
  kernel_save(run);
  k.scan_other(run->worker, (tsr_ref)(tagged & ~QUEUE_RESUMES), position);
  kernel_restore(run);
}

/* Lets idle workers have something, from time to time. */
OS_ALWAYS_INLINE void kernel_share(const kernel k, kernel_run *run, uint32_t *turns) {
  struct team *team = run->worker->heap->team;
  if (!k.shared || ++*turns % KERNEL_TURN != 0 || os_atomic_load(&team->hungry) == 0) return;
  kernel_save(run);
  team_share(team, run->worker);
  kernel_restore(run);
}

/* Whether a step has to stop, asked from time to time. */
OS_ALWAYS_INLINE bool kernel_has_to_stop(const kernel k, const kernel_run *run, uint32_t *looks) {
  return k.pace == KERNEL_IN_STEPS && ++*looks % KERNEL_TURN == 0 &&
         worker_has_to_stop(run->worker);
}

/* Whether a step has not been stopped. */
OS_ALWAYS_INLINE bool kernel_goes_on(const kernel k, const struct worker *worker) {
  return k.pace == KERNEL_TO_THE_END || !worker->is_late;
}

/* Edges that wait are visited when nothing else is left: in a graph that lies in depth-first order the one
   that was put off last, as it comes next; else all of them. False: none waits. */
OS_ALWAYS_INLINE bool kernel_visit_waiting(const kernel k, kernel_run *run) {
  return run->in_order ? kernel_visit_newest(k, run) : kernel_flush_edges(k, run);
}

/* With a visit that leaves objects alone. */
OS_ALWAYS_INLINE void kernel_drain_objects(const kernel k, kernel_run *run) {
  uintptr_t *ring = run->worker->objects;
  size_t next = 0, waiting = 0; /* as next_edge and edges_waiting */
  uint32_t turns = 0, looks = 0;
  bool goes_on = kernel_goes_on(k, run->worker);
  while (goes_on && !kernel_has_to_stop(k, run, &looks)) {
    uintptr_t object;
    if (TSR_UNLIKELY(run->top == run->worker->queue.bottom)) {
      if (waiting == 0) {
        if (!kernel_visit_waiting(k, run)) return;
        continue;
      }
      object = kernel_exchange(&ring[(next - waiting--) % WORKER_OBJECTS], 0);
      run->in_order = false;
    } else {
      object = *--run->top;
      if (TSR_UNLIKELY((object & QUEUE_RESUMES) != 0)) {
        kernel_resume(k, run, object);
        continue;
      }
      run->in_order = kernel_is_near(k, run, object);
      if (run->in_order) {
        kernel_fetch_beyond(run, object);
      } else {
        OS_FETCH((const void *)object);
        uintptr_t oldest = kernel_exchange(&ring[next++ % WORKER_OBJECTS], object);
        if (TSR_UNLIKELY(oldest == 0)) {
          waiting++;
          continue;
        }
        object = oldest;
      }
    }
    kernel_look_at(k, run, object);
    kernel_scan(k, run, (tsr_ref)object);
    kernel_share(k, run, &turns);
  }
  while (waiting > 0)
    kernel_push(run, (tsr_ref)kernel_exchange(&ring[(next - waiting--) % WORKER_OBJECTS], 0));
  kernel_flush_edges(k, run);
}

/* With a visit that reads, and may move, them. */
OS_ALWAYS_INLINE void kernel_drain_slots(const kernel k, kernel_run *run) {
  uint32_t turns = 0;
  for (;;) {
    if (TSR_UNLIKELY(run->top == run->worker->queue.bottom)) {
      if (!kernel_visit_waiting(k, run)) return;
      continue;
    }
    uintptr_t entry = *--run->top;
    if (TSR_UNLIKELY((entry & QUEUE_RESUMES) != 0)) {
      kernel_resume(k, run, entry);
    } else {
      kernel_scan(k, run, (tsr_ref)entry);
    }
    kernel_share(k, run, &turns);
  }
}

OS_ALWAYS_INLINE void kernel_drain(const kernel k, struct worker *worker) {
  kernel_run run = kernel_begin(worker);
  if (k.waits == KERNEL_WAITS_FOR_OBJECT) {
    kernel_drain_slots(k, &run);
  } else {
    kernel_drain_objects(k, &run);
  }
  kernel_save(&run);
}

/* And, in a minor collection, what it has promoted of which the noted slots alone are visited. */
OS_ALWAYS_INLINE void kernel_drain_all(const kernel k, struct worker *worker) {
  do {
    kernel_drain(k, worker);
  } while (k.duty == KERNEL_REMEMBERS && remembered_take_promoted(worker, k.shared));
}

/* One worker's part in tracing everything reachable from what is queued. Every active worker calls it where
   the trace is shared. */
OS_ALWAYS_INLINE void kernel_trace(const kernel k, struct worker *worker) {
  do {
    kernel_drain_all(k, worker);
  } while (kernel_goes_on(k, worker) &&
           ((k.duty >= KERNEL_TAKES_LOGGED && kernel_take_logged(k, worker)) ||
            (k.pace == KERNEL_IN_STEPS && marking_refill(worker)) ||
            (k.shared && team_find_work(worker->heap->team, worker))));
}

/* ---- after an overflow: rare, so one copy that calls the visit function will do ---------------------- */

/* Where the objects of a copy space's block end; it moves up while a to-block is being filled. */
OS_ALWAYS_INLINE uintptr_t kernel_block_end(const struct worker *worker, uint32_t index,
                                            enum block_space space) {
  const tsr_heap *heap = worker->heap;
  if (space == heap->spaces->copy.to.space) {
    return copy_block_end(&worker->targets, index);
  }
  return block_map_start(&heap->blocks, index) + block_map_at(&heap->blocks, index)->top_bytes;
}

/* Whether an object in a flagged block of the copy space was reached and is here. */
OS_ALWAYS_INLINE bool kernel_is_reached(const struct worker *worker, tsr_ref object,
                                        enum block_space space) {
  return space == worker->heap->spaces->copy.to.space || header_stays(header_load_anywhere(object));
}

/* Scans an object that was reached, and what it leads to. */
OS_NEVER_INLINE void kernel_rescan_object(const kernel k, struct worker *worker, tsr_ref object) {
  k.scan_other(worker, object, 0);
  kernel_drain_all(k, worker);
}

OS_NEVER_INLINE void kernel_rescan_copied(const kernel k, struct worker *worker, uint32_t index,
                                          enum block_space space) {
  const tsr_heap *heap = worker->heap;
  uintptr_t at = block_map_start(&heap->blocks, index);
  for (;;) {
    at = object_walk_next(at, kernel_block_end(worker, index, space));
    if (at >= kernel_block_end(worker, index, space)) return;
    tsr_ref object = (tsr_ref)at;
    at += object_walk_bytes(heap, object);
    if (kernel_is_reached(worker, object, space)) kernel_rescan_object(k, worker, object);
  }
}

/* A minor collection marks no old objects that it queues: they wait for their scan until then. */
OS_NEVER_INLINE void kernel_rescan_arena(const kernel k, struct worker *worker, uint32_t index) {
  tsr_heap *heap = worker->heap;
  uintptr_t at = block_map_start(&heap->blocks, index);
  uintptr_t end = at + BLOCK_BYTES;
  for (; (at = arena_next_object(heap, at, end, heap->traces != TRACES_YOUNG)) < end;
       at += TSR_GRANULE) {
    tsr_ref object = (tsr_ref)at;
    if (heap->traces != TRACES_YOUNG || remembered_waits(heap, object))
      kernel_rescan_object(k, worker, object);
  }
}

OS_NEVER_INLINE void kernel_rescan_block(const kernel k, struct worker *worker, uint32_t index) {
  const tsr_heap *heap = worker->heap;
  enum block_space space = block_map_space(&heap->blocks, index);
  switch (space) {
  case BLOCK_LARGE:
    kernel_rescan_object(k, worker, large_space_object(&heap->spaces->large, index));
    return;
  case BLOCK_LEAVES: /* with a key that ephemerons wait for */
  case BLOCK_ARENA:
  case BLOCK_MOVABLE:
  case BLOCK_SEALED:
    kernel_rescan_arena(k, worker, index);
    return;
  default:
    kernel_rescan_copied(k, worker, index, space);
    return;
  }
}

static inline bool kernel_overflowed(struct team *team) {
  bool overflowed = false;
  for (uint32_t i = 0; i < team->active; i++) {
    overflowed |= team_worker(team, i)->overflowed;
    team_worker(team, i)->overflowed = false;
    copy_flush(&team_worker(team, i)->targets);
  }
  return overflowed;
}

/* Walks the flagged blocks until none is left. By worker 0, when the others have ended their part; `k` is not
   shared. */
OS_NEVER_INLINE void kernel_rescan(const kernel k, struct worker *worker) {
  const block_map *map = &worker->heap->blocks;
  while (kernel_overflowed(worker->heap->team)) {
    for (uint32_t i = 0; i < block_map_extent(map); i++) {
      block *b = block_map_at(map, i);
      if (b->rescan == 0) continue;
      b->rescan = 0;
      kernel_rescan_block(k, worker, i);
    }
  }
}

#endif
