/*
 * Roots that belong to the whole heap.
 *
 * Global handles are slots of one table that grows in place; a bitmap says which are in use and the
 * free ones form a list through their own words. Ranges are sorted by address, so that overlaps are
 * found by one search.
 */
#include "core/trace/roots.h"

#include <string.h>

#include "core/object/reference.h"
#include "core/os/compiler.h"
#include "core/os/error.h"
#include "core/trace/fibres.h"

#define HANDLES_MOST    ((size_t)1 << 24)
#define HANDLES_LEAST   ((size_t)1 << 12)
#define HANDLE_NONE     UINT64_MAX
#define ROOT_NAME_BYTES 48

typedef struct root_range {
  tsr_slot *first;
  size_t count;
  tsr_root_kind kind;
  char name[ROOT_NAME_BYTES];
} root_range;

struct roots {
  os_mutex lock;            /* guards all that follows */
  memory_table handles;     /* tsr_slot each */
  memory_table handle_bits; /* two bits per handle, in pairs of words: in use, weak */
  size_t handle_count;      /* ever used */
  uint64_t handle_free;     /* index of the first free one, or HANDLE_NONE */
  root_range *ranges;       /* sorted by address */
  size_t range_count, range_capacity;
  tsr_native_stack **stacks;
  size_t stack_count, stack_capacity;
};

/* ---- opening ------------------------------------------------------------------------------------ */

tsr_status roots_open(tsr_heap *heap, tsr_error *error) {
  memory_account *account = &heap->account;
  struct roots *roots = segment_request(account, MEMORY_INSTANCE, sizeof *roots);
  if (roots == NULL) goto no_memory;
  roots->handle_free = HANDLE_NONE;
  if (!os_mutex_create(&roots->lock)) goto no_lock;
  /* Address space may be scarce: take less of it rather than none. */
  size_t handles = HANDLES_MOST;
  while (!memory_table_create(&roots->handles, account, MEMORY_HANDLES, "handles",
                              handles * sizeof(tsr_slot))) {
    handles /= 2;
    if (handles < HANDLES_LEAST) goto no_handles;
  }
  if (!memory_table_create(&roots->handle_bits, account, MEMORY_HANDLES, "handle bits",
                           2 * handles / 8)) {
    goto no_bits;
  }
  heap->roots = roots;
  return TSR_OK;

no_bits:
  memory_table_destroy(&roots->handles);
no_handles:
  os_mutex_destroy(&roots->lock);
no_lock:
  segment_release(account, MEMORY_INSTANCE, roots, sizeof *roots);
no_memory:
  return heap_no_memory(heap, error);
}

void roots_close(tsr_heap *heap) {
  struct roots *roots = heap->roots;
  memory_account *account = &heap->account;
  segment_release(account, MEMORY_ROOTS, roots->stacks,
                  roots->stack_capacity * sizeof *roots->stacks);
  segment_release(account, MEMORY_ROOTS, roots->ranges,
                  roots->range_capacity * sizeof *roots->ranges);
  memory_table_destroy(&roots->handle_bits);
  memory_table_destroy(&roots->handles);
  os_mutex_destroy(&roots->lock);
  segment_release(account, MEMORY_INSTANCE, roots, sizeof *roots);
  heap->roots = NULL;
}

/* ---- global handles ------------------------------------------------------------------------------ */

static tsr_slot *handle_slots(const struct roots *roots) {
  return (tsr_slot *)(void *)roots->handles.base;
}

typedef struct handle_word {
  uint64_t used, weak;
} handle_word;

static handle_word *handle_words(const struct roots *roots) {
  return (handle_word *)(void *)roots->handle_bits.base;
}

static bool handle_is_used(const struct roots *roots, size_t index) {
  return ((handle_words(roots)[index / 64].used >> (index % 64)) & 1) != 0;
}

/* Index of a handle that is free, or HANDLE_NONE. */
static uint64_t handle_take(struct roots *roots) {
  uint64_t index = roots->handle_free;
  if (index != HANDLE_NONE) {
    roots->handle_free = handle_slots(roots)[index].word;
    return index;
  }
  size_t next = roots->handle_count;
  size_t bit_bytes = memory_table_committed(&roots->handle_bits);
  if (!memory_table_extend(&roots->handle_bits, (next / 64 + 1) * sizeof(handle_word),
                           MEMORY_WITHIN_LIMIT)) {
    return HANDLE_NONE;
  }
  if (!memory_table_extend(&roots->handles, (next + 1) * sizeof(tsr_slot), MEMORY_WITHIN_LIMIT)) {
    memory_table_cut(&roots->handle_bits, bit_bytes);
    return HANDLE_NONE;
  }
  return roots->handle_count++;
}

/* Whether a word reads as a reference into the heap's range where no object can be. */
static bool handle_word_dangles(tsr_heap *heap, uint64_t word) {
  uintptr_t address = reference_address(&heap->references, word);
  size_t range_bytes = (size_t)heap->blocks.block_count * BLOCK_BYTES;
  return address - heap->blocks.base < range_bytes && !block_map_contains(&heap->blocks, address);
}

tsr_slot *roots_handle_new(tsr_heap *heap, uint64_t word, bool weak, tsr_error *error) {
  struct roots *roots = heap->roots;
  if (handle_word_dangles(heap, word)) {
    error_set(error, TSR_INVALID_ARGUMENT,
              "the word 0x%llx refers to a part of the heap that holds no object: a reference "
              "that was not kept in a root, or no reference at all",
              (unsigned long long)word);
    return NULL;
  }
  os_mutex_lock(&roots->lock);
  uint64_t index = handle_take(roots);
  if (index != HANDLE_NONE) {
    handle_slots(roots)[index].word = word;
    handle_word *bits = &handle_words(roots)[index / 64];
    bits->used |= (uint64_t)1 << (index % 64);
    bits->weak |= (uint64_t)weak << (index % 64);
  }
  os_mutex_unlock(&roots->lock);
  if (index != HANDLE_NONE) return &handle_slots(roots)[index];
  error_set(error, TSR_OUT_OF_MEMORY, "no memory for another handle within the heap's maximum");
  return NULL;
}

static bool handle_release(struct roots *roots, const tsr_slot *handle) {
  uintptr_t offset = (uintptr_t)handle - (uintptr_t)roots->handles.base;
  size_t index = offset / sizeof(tsr_slot);
  if (offset % sizeof(tsr_slot) != 0 || index >= roots->handle_count) return false;
  if (!handle_is_used(roots, index)) return false;
  handle_word *bits = &handle_words(roots)[index / 64];
  bits->used &= ~((uint64_t)1 << (index % 64));
  bits->weak &= ~((uint64_t)1 << (index % 64));
  handle_slots(roots)[index].word = roots->handle_free;
  roots->handle_free = index;
  return true;
}

tsr_status roots_handle_free(tsr_heap *heap, tsr_slot *handle, tsr_error *error) {
  struct roots *roots = heap->roots;
  os_mutex_lock(&roots->lock);
  bool released = handle_release(roots, handle);
  os_mutex_unlock(&roots->lock);
  if (released) return TSR_OK;
  return error_set(error, TSR_INVALID_ARGUMENT,
                   "%p is no live handle of this heap: freed already, or another heap's",
                   (void *)handle);
}

static void handles_visit(struct roots *roots, bool weak, tsr_visitor *visitor) {
  for (size_t word = 0; word * 64 < roots->handle_count; word++) {
    handle_word w = handle_words(roots)[word];
    for (uint64_t bits = w.used & (weak ? w.weak : ~w.weak); bits != 0; bits &= bits - 1) {
      size_t index = word * 64 + (size_t)__builtin_ctzll(bits);
      visitor_visit(visitor, &handle_slots(roots)[index], 1);
    }
  }
}

/* ---- ranges ---------------------------------------------------------------------------------------- */

/* Index of the first range that begins at or after `first`. */
static size_t range_position(const struct roots *roots, const tsr_slot *first) {
  size_t low = 0;
  size_t high = roots->range_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if ((uintptr_t)roots->ranges[middle].first < (uintptr_t)first) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/* The registered range that new slots would overlap, or NULL. */
static const root_range *range_overlapped(const struct roots *roots, size_t position,
                                          const tsr_slot *first, size_t count) {
  const root_range *before = position > 0 ? &roots->ranges[position - 1] : NULL;
  const root_range *after = position < roots->range_count ? &roots->ranges[position] : NULL;
  if (before != NULL && (uintptr_t)(before->first + before->count) > (uintptr_t)first)
    return before;
  if (after != NULL && (uintptr_t)(first + count) > (uintptr_t)after->first) return after;
  return NULL;
}

/* Makes room for one more entry of a table of roots. */
static bool roots_make_room(tsr_heap *heap, void **table, size_t entry_bytes, size_t count,
                            size_t *capacity) {
  if (count < *capacity) return true;
  size_t more = *capacity == 0 ? 8 : 2 * *capacity;
  void *grown = segment_grow(&heap->account, MEMORY_ROOTS, *table, *capacity * entry_bytes,
                             more * entry_bytes);
  if (grown == NULL) return false;
  *table = grown;
  *capacity = more;
  return true;
}

static tsr_status range_insert(tsr_heap *heap, tsr_slot *first, size_t count, tsr_root_kind kind,
                               const char *name, tsr_error *error) {
  struct roots *roots = heap->roots;
  size_t position = range_position(roots, first);
  const root_range *overlapped = range_overlapped(roots, position, first, count);
  if (overlapped != NULL) {
    return error_set(error, TSR_BUSY,
                     "the %zu slots at %p overlap the registered range \"%s\" at %p", count,
                     (void *)first, overlapped->name, (void *)overlapped->first);
  }
  void *table = roots->ranges;
  if (!roots_make_room(heap, &table, sizeof *roots->ranges, roots->range_count,
                       &roots->range_capacity)) {
    return error_set(error, TSR_OUT_OF_MEMORY, "no memory to register another root range");
  }
  roots->ranges = table;
  root_range *place = &roots->ranges[position];
  memmove(place + 1, place, (roots->range_count - position) * sizeof *place);
  *place = (root_range){.first = first, .count = count, .kind = kind};
  if (name != NULL) strncpy(place->name, name, ROOT_NAME_BYTES - 1);
  roots->range_count++;
  return TSR_OK;
}

tsr_status ambiguous_check(const tsr_heap *heap, const char *what, tsr_error *error) {
  if ((heap->binding->needs & TSR_NEEDS_AMBIGUOUS_ROOTS) != 0) return TSR_OK;
  return error_set(error, TSR_MISMATCH,
                   "%s needs a binding that declares TSR_NEEDS_AMBIGUOUS_ROOTS; this one does not",
                   what);
}

static tsr_status range_check_kind(const tsr_heap *heap, tsr_root_kind kind, tsr_error *error) {
  if (kind == TSR_ROOT_PRECISE) return TSR_OK;
  if (kind != TSR_ROOT_AMBIGUOUS) {
    return error_set(error, TSR_INVALID_ARGUMENT, "%d is no kind of root range", (int)kind);
  }
  return ambiguous_check(heap, "an ambiguous root range", error);
}

tsr_status roots_add_range(tsr_heap *heap, tsr_slot *first, size_t count, tsr_root_kind kind,
                           const char *name, tsr_error *error) {
  tsr_status status = range_check_kind(heap, kind, error);
  if (status != TSR_OK) return status;
  if (first == NULL || (uintptr_t)first % sizeof(tsr_slot) != 0 || count == 0 ||
      count > (SIZE_MAX - (uintptr_t)first) / sizeof(tsr_slot)) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "a root range is 8-byte aligned memory of at least one slot; got %zu at %p",
                     count, (void *)first);
  }
  os_mutex_lock(&heap->roots->lock);
  status = range_insert(heap, first, count, kind, name, error);
  os_mutex_unlock(&heap->roots->lock);
  return status;
}

tsr_status roots_remove_range(tsr_heap *heap, const tsr_slot *first, tsr_error *error) {
  struct roots *roots = heap->roots;
  os_mutex_lock(&roots->lock);
  size_t position = range_position(roots, first);
  bool found = position < roots->range_count && roots->ranges[position].first == first;
  if (found) {
    roots->range_count--;
    root_range *place = &roots->ranges[position];
    memmove(place, place + 1, (roots->range_count - position) * sizeof *place);
  }
  os_mutex_unlock(&roots->lock);
  if (found) return TSR_OK;
  return error_set(error, TSR_INVALID_ARGUMENT, "no root range begins at %p", (const void *)first);
}

static void ranges_visit(const struct roots *roots, tsr_visitor *visitor) {
  for (size_t i = 0; i < roots->range_count; i++) {
    const root_range *range = &roots->ranges[i];
    if (range->kind == TSR_ROOT_AMBIGUOUS) continue;
    visitor_name(visitor, "range", range->name);
    visitor_visit(visitor, range->first, range->count);
  }
}

/* ---- native stacks ----------------------------------------------------------------------------------- */

static size_t stack_find(const struct roots *roots, const tsr_native_stack *stack) {
  size_t i = 0;
  while (i < roots->stack_count && roots->stacks[i] != stack)
    i++;
  return i;
}

static tsr_status stack_insert(tsr_heap *heap, tsr_native_stack *stack, tsr_error *error) {
  struct roots *roots = heap->roots;
  if (stack_find(roots, stack) < roots->stack_count) {
    return error_set(error, TSR_BUSY, "the native stack at %p is registered already",
                     (void *)stack);
  }
  void *table = roots->stacks;
  if (!roots_make_room(heap, &table, sizeof *roots->stacks, roots->stack_count,
                       &roots->stack_capacity)) {
    return error_set(error, TSR_OUT_OF_MEMORY, "no memory to register another native stack");
  }
  roots->stacks = table;
  roots->stacks[roots->stack_count++] = stack;
  return TSR_OK;
}

tsr_status native_stack_check(const tsr_native_stack *stack, tsr_error *error) {
  if (stack == NULL || stack->top == NULL) {
    return error_set(error, TSR_INVALID_ARGUMENT, "a native stack needs a place for its top");
  }
  if ((stack->base == NULL) != (*stack->top == NULL) || *stack->top < stack->base) {
    return error_set(error, TSR_INVALID_ARGUMENT, "a native stack's top lies below its base");
  }
  return TSR_OK;
}

tsr_status roots_add_stack(tsr_heap *heap, tsr_native_stack *stack, tsr_error *error) {
  tsr_status status = native_stack_check(stack, error);
  if (status != TSR_OK) return status;
  os_mutex_lock(&heap->roots->lock);
  status = stack_insert(heap, stack, error);
  os_mutex_unlock(&heap->roots->lock);
  return status;
}

tsr_status roots_remove_stack(tsr_heap *heap, const tsr_native_stack *stack, tsr_error *error) {
  struct roots *roots = heap->roots;
  os_mutex_lock(&roots->lock);
  size_t i = stack_find(roots, stack);
  bool found = i < roots->stack_count;
  if (found) roots->stacks[i] = roots->stacks[--roots->stack_count];
  os_mutex_unlock(&roots->lock);
  if (found) return TSR_OK;
  return error_set(error, TSR_INVALID_ARGUMENT, "the native stack at %p is not registered",
                   (const void *)stack);
}

void native_stack_visit(const tsr_native_stack *stack, tsr_visitor *visitor) {
  tsr_slot *top = *stack->top;
  visitor_name(visitor, "native stack", stack->name);
  if (top > stack->base) visitor_visit(visitor, stack->base, (size_t)(top - stack->base));
}

void native_stack_clean(const tsr_native_stack *stack) {
  if (stack->clean_below != NULL) *stack->clean_below = *stack->top;
}

void roots_clean_stacks(tsr_heap *heap) {
  struct roots *roots = heap->roots;
  os_mutex_lock(&roots->lock);
  for (size_t i = 0; i < roots->stack_count; i++)
    native_stack_clean(roots->stacks[i]);
  os_mutex_unlock(&roots->lock);
  fibres_clean_stacks(heap);
}

/* ---- visiting ------------------------------------------------------------------------------------------ */

void roots_visit(tsr_heap *heap, tsr_visitor *visitor) {
  struct roots *roots = heap->roots;
  /* Threads that are not bound may register roots at any time. */
  os_mutex_lock(&roots->lock);
  visitor_name(visitor, "handle", NULL);
  handles_visit(roots, false, visitor);
  ranges_visit(roots, visitor);
  for (size_t i = 0; i < roots->stack_count; i++)
    native_stack_visit(roots->stacks[i], visitor);
  os_mutex_unlock(&roots->lock);
  fibres_visit(heap, visitor);
  visitor_name(visitor, "slot of scan_heap_roots", NULL);
  if (heap->binding->scan_heap_roots != NULL) heap->binding->scan_heap_roots(heap->vm, visitor);
}

void roots_visit_weak(tsr_heap *heap, tsr_visitor *visitor) {
  struct roots *roots = heap->roots;
  os_mutex_lock(&roots->lock);
  visitor_name(visitor, "weak handle", NULL);
  handles_visit(roots, true, visitor);
  os_mutex_unlock(&roots->lock);
}

OS_READS_STACKS void ambiguous_visit(const tsr_slot *first, size_t count, const char *name,
                                     void (*visit)(void *context, uint64_t word, const char *name),
                                     void *context) {
  for (size_t i = 0; i < count; i++)
    visit(context, first[i].word, name);
}

void roots_each_ambiguous(tsr_heap *heap,
                          void (*visit)(void *context, uint64_t word, const char *name),
                          void *context) {
  struct roots *roots = heap->roots;
  os_mutex_lock(&roots->lock);
  for (size_t i = 0; i < roots->range_count; i++) {
    const root_range *range = &roots->ranges[i];
    if (range->kind != TSR_ROOT_AMBIGUOUS) continue;
    ambiguous_visit(range->first, range->count, range->name, visit, context);
  }
  os_mutex_unlock(&roots->lock);
  fibres_each_ambiguous(heap, visit, context);
}

void roots_visit_mutator(tsr_mutator *mutator, tsr_visitor *visitor) {
  const tsr_heap *heap = mutator->heap;
  visitor_name(visitor, "local handle", NULL);
  locals_visit_mutator(mutator, visitor);
  visitor_name(visitor, "slot of scan_mutator_roots", NULL);
  if (heap->binding->scan_mutator_roots != NULL) {
    heap->binding->scan_mutator_roots(heap->vm, mutator, visitor);
  }
}

void roots_fork(tsr_heap *heap, os_fork_stage stage) {
  os_mutex_fork(&heap->roots->lock, stage);
}
