/* heap.c - the heap of the bare loops: plain memory (limits.h). */
#define _DEFAULT_SOURCE 1 /* MAP_ANONYMOUS, madvise */
#include "limits.h"

#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE_BYTES ((size_t)2 << 20)

/* ---- memory --------------------------------------------------------------------------------- */

/* Zeroed and touched. NULL: none. */
static void *heap_map(struct bare_heap *heap, size_t bytes, bool huge_pages) {
  size_t rounded = (bytes + 2 * HUGE_PAGE_BYTES - 1) & ~(HUGE_PAGE_BYTES - 1);
  void *start = mmap(NULL, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) return NULL;
  heap->memory[heap->memories++] = (struct bare_memory){start, rounded};
#ifdef MADV_HUGEPAGE
  if (huge_pages) madvise(start, rounded, MADV_HUGEPAGE);
#else
  (void)huge_pages;
#endif
  uintptr_t aligned = ((uintptr_t)start + HUGE_PAGE_BYTES - 1) & ~(HUGE_PAGE_BYTES - 1);
  memset((void *)aligned, 0, bytes);
  return (void *)aligned;
}

/* An entry for each reference, one for the root, and what another thread may give. */
static size_t heap_stack_entries(const struct shape *shape) {
  return (size_t)SHAPE_REFS * shape->count + 4096;
}

bool bare_heap_open(struct bare_heap *heap, const struct shape *shape, unsigned threads,
                    bool huge_pages) {
  *heap = (struct bare_heap){.shape = shape, .threads = threads};
  size_t bytes = shape->count * sizeof(struct bare_object);
  heap->objects = heap_map(heap, bytes, huge_pages);
  heap->to_space = heap_map(heap, bytes, huge_pages);
  heap->marks = heap_map(heap, bytes / 64 + sizeof *heap->marks, huge_pages);
  bool ok = heap->objects != NULL && heap->to_space != NULL && heap->marks != NULL;
  if (ok && shape->is_array) {
    heap->array = heap_map(heap, shape->count * sizeof *heap->array, huge_pages);
    ok = heap->array != NULL;
  }
  for (unsigned i = 0; ok && i < threads; i++) {
    heap->stacks[i] = heap_map(heap, heap_stack_entries(shape) * sizeof(void *), huge_pages);
    ok = heap->stacks[i] != NULL;
  }
  if (!ok) bare_heap_close(heap);
  return ok;
}

void bare_heap_close(struct bare_heap *heap) {
  for (size_t i = 0; i < heap->memories; i++)
    munmap(heap->memory[i].start, heap->memory[i].bytes);
  heap->memories = 0;
}

/* ---- contents ------------------------------------------------------------------------------- */

static struct bare_object *heap_object(const struct bare_heap *heap, uint32_t position) {
  return position == SHAPE_NONE ? NULL : &heap->objects[position];
}

/* Gives the pages back. */
static void heap_forget_to_space(struct bare_heap *heap) {
  madvise(heap->to_space, heap->shape->count * sizeof(struct bare_object), MADV_DONTNEED);
}

void bare_heap_fill(struct bare_heap *heap) {
  const struct shape *shape = heap->shape;
  if (heap->fresh) heap_forget_to_space(heap);
  for (size_t i = 0; i < shape->count; i++) {
    struct bare_object *object = &heap->objects[i];
    *object = (struct bare_object){.header = BARE_HEADER};
    for (size_t k = 0; k < SHAPE_REFS; k++)
      object->refs[k] = heap_object(heap, shape->refs[SHAPE_REFS * i + k]);
  }
  heap->root = shape->is_array ? NULL : &heap->objects[shape->root];
  for (size_t i = 0; shape->is_array && i < shape->count; i++)
    heap->array[i] = &heap->objects[i];
}

struct bare_object **bare_heap_edges(struct bare_heap *heap) {
  return heap->array != NULL ? heap->array : &heap->root;
}

size_t bare_heap_edge_count(const struct bare_heap *heap) {
  return heap->array != NULL ? heap->shape->count : 1;
}

void bare_heap_clear_marks(struct bare_heap *heap) {
  memset(heap->marks, 0,
         heap->shape->count * sizeof(struct bare_object) / 64 + sizeof *heap->marks);
}
