/*
 * The heap instance: what every room of the library shares. Each room above this one keeps its own
 * part behind a pointer.
 */
#ifndef CORE_HEAP_HEAP_H
#define CORE_HEAP_HEAP_H

#include <tessera/heap.h>

#include "core/heap/block_map.h"
#include "core/heap/nursery.h"
#include "core/heap/object_bits.h"
#include "core/heap/options.h"
#include "core/heap/plan.h"
#include "core/heap/sizing.h"
#include "core/os/check.h"

/* The VM's reference rule, checked and completed. */
typedef struct reference_rule {
  uint64_t address_mask;
  uint64_t high_first;
  uint64_t high_span;
  uint64_t bias;
  uint32_t low_tags;
  uint32_t high_shift;
} reference_rule;

/* With two generations: what a trace reaches. */
enum heap_traces { TRACES_ALL, TRACES_YOUNG, TRACES_OLD };

struct tsr_heap {
  /* Fixed at creation. */
  const tsr_binding *binding;
  void *vm;
  const struct plan *plan; /* core/heap/plan.h says what is asked of it, and what of heap_form() */
  tsr_options options;
  reference_rule references;
  size_t object_align;

  bool verifies; /* option verify */
  uint64_t *
      watched; /* a bit per granule: the verifier has armed the object there; NULL: none. Written in pauses */

  memory_account account;
  block_map blocks;
  object_bits bits;
  os_mutex
      holding; /* held while a hold is taken, or becomes a reservation; before every lock of a space */
  os_mutex admission;         /* held from asking heap_admits() until the blocks are counted */
  os_atomic_word limit_bytes; /* current size: set in a pause, moved by compare-and-swap */
  sizing sizing;
  nursery nursery;                /* with a young generation */
  os_atomic_word bytes_allocated; /* by mutators, by atomic addition when a buffer changes hands */
  os_atomic_word
      slow_stores; /* that mutators which are gone had noted; under the collector's lock, read by any thread */
  os_atomic_word noted_slots;    /* of large arrays; the same */
  os_atomic_word lazy_sweeps;    /* stretches of sweeping outside pauses; the same */
  os_atomic_word bound_mutators; /* written under the collector's lock; sizes buffers */
  size_t
      hash_word_bytes; /* what an object grows by when its identity hash is appended; 0: none is. Fixed */
  size_t
      claim_blocks; /* that this collection shall free for an object that stays; by the collecting thread */
  bool minor; /* this collection is of the young generation alone; by the collecting thread */
  enum heap_traces traces; /* what the trace looks at that runs now; the same */
  uint8_t
      marking_is_on; /* a cycle of marking in steps is under way: set in a pause, read by any thread */
  uint8_t sweeping_is_on; /* what a trace has not reached may still have to be freed; the same */
  uint8_t nursery_rests;  /* nothing is young, nor born young; the same */
  uint8_t blocks_noted;   /* some block may be remembered; set by any thread, cleared in a pause */
  bool emergency;         /* this collection is the last before an allocation fails; as the next */
  bool opened_seals;      /* some sealed page is open; by the collecting thread in a pause */
  const char *phase;      /* of the collection, for messages; written by the collecting thread */

  struct layout_table *layouts;    /* core/object */
  struct spaces *spaces;           /* core/space */
  struct roots *roots;             /* core/trace */
  struct fibres *fibres;           /* core/trace */
  struct pins *pins;               /* core/trace */
  struct identities *identities;   /* core/trace; NULL: no object's hash is kept in a table */
  struct finalizers *finalizers;   /* core/trace */
  struct weak_tables *weak_tables; /* core/trace */
  struct remembered *remembered;   /* core/trace; NULL: nothing is armed */
  struct marking *marking;         /* core/trace; NULL: the plan marks in one go */
  struct team *team;               /* core/trace */
  struct collector *collector;     /* core/collect */
  struct low_memory *low_memory;   /* core/collect */
  struct memory_requests *memory_requests; /* core/collect */
  struct verifier *verifier;               /* core/verify; NULL: off */
  struct report *report;                   /* core/report */
};

/* Where options, account and blocks begin and end; the rooms above are built by core/collect/instance.c. */
tsr_status heap_open(tsr_heap *heap, tsr_error *error);
void heap_close(tsr_heap *heap);

/* The error of a room that found no memory for its tables. */
tsr_status heap_no_memory(const tsr_heap *heap, tsr_error *error);

/*
 * Single blocks or a run for a space, if the heap admits them or may pass its maximum. The caller holds
 * the admission lock, and counts them in its space before it lets go. BLOCK_NONE: not without a
 * collection, or not at all.
 */
uint32_t heap_acquire_staying(tsr_heap *heap, uint32_t count, enum block_space space,
                              memory_allowance allowance);

/* The gray objects of a block are to be looked at, as if each were in the log. Any thread. */
static inline void heap_note_block(tsr_heap *heap, uint32_t index) {
  if (heap->remembered == NULL) return;
  os_atomic8_set(&block_map_at(&heap->blocks, index)->remembered);
  os_atomic8_set(&heap->blocks_noted);
}

/* Whether the young generation is empty, and stays so until all that is old has been looked at. */
static inline bool heap_nursery_rests(const tsr_heap *heap) {
  return os_atomic8_is_set(&heap->nursery_rests);
}

/* The plan in the form that is in force. Mutators, and the collecting thread: it changes in pauses. */
static inline const struct plan *heap_form(const tsr_heap *heap) {
  return heap_nursery_rests(heap) ? heap->plan->without_nursery : heap->plan;
}

/* Something comes to lie in an old block behind which no write barrier stands yet: it may refer to the young. Any thread. */
static inline void heap_note_born(tsr_heap *heap, uint32_t index) {
  if (heap_form(heap)->generational) heap_note_block(heap, index);
}

/* Whether objects may be marked between two collections. */
static inline bool heap_is_marking(const tsr_heap *heap) {
  return os_atomic8_is_set(&heap->marking_is_on);
}

/* Whether there may be blocks with objects that a trace has not reached. */
static inline bool heap_is_sweeping(const tsr_heap *heap) {
  return os_atomic8_is_set(&heap->sweeping_is_on);
}

/* Takes and lets go the locks of this room around fork(). */
void heap_fork(tsr_heap *heap, os_fork_stage stage);

/* Whether the verifier has armed an object, to learn whether stores into it come to the barrier. */
static inline bool heap_watches(const tsr_heap *heap, tsr_ref object) {
  return heap->watched != NULL &&
         object_bit_get(heap->watched, object_bit_index(&heap->bits, (uintptr_t)object));
}

/* Until the next pause it does not want to learn that any more. By a mutator's thread. */
static inline void heap_unwatch(tsr_heap *heap, tsr_ref object) {
  if (heap->watched == NULL) return;
  object_bit_change_shared(heap->watched, object_bit_index(&heap->bits, (uintptr_t)object), false);
}

/* Hands the message of a call that has no tsr_error to the VM. */
void heap_report(tsr_heap *heap, tsr_mutator *mutator, const tsr_error *error);

/* Prints sentence, plan, phase and object, then aborts: a rule of the library's own is broken, or one
   that the VM has to keep and that is documented as fatal. */
noreturn void heap_fatal(const tsr_heap *heap, const void *object, const char *sentence);
noreturn void heap_misuse(const tsr_heap *heap, const void *object, const char *sentence);

#define HEAP_ALWAYS_CHECK(heap, condition, object, sentence)                                       \
  do {                                                                                             \
    if (!(condition)) heap_fatal(heap, object, sentence);                                          \
  } while (0)

#ifdef TSR_CHECKS
#define HEAP_CHECK(heap, condition, object, sentence)                                              \
  HEAP_ALWAYS_CHECK(heap, condition, object, sentence)
#else
#define HEAP_CHECK(heap, condition, object, sentence) ((void)sizeof((condition) ? 1 : 0))
#endif

#endif
