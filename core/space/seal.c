/*
 * Sealed pages.
 */
#include "core/space/seal.h"

#include "core/os/machine.h"
#include "core/os/memory.h"

/* Pages of one block. */
typedef struct page_span {
  uint32_t block_index;
  uint8_t mask; /* a bit per page; for a large object's run bit 0 */
  uintptr_t start, end;
} page_span;

/* ---- one object ----------------------------------------------------------------------------------- */

static page_span seal_span(const tsr_heap *heap, tsr_ref object, size_t bytes) {
  const block_map *map = &heap->blocks;
  uint32_t index = block_map_index(map, (uintptr_t)object);
  if (block_map_space(map, index) == BLOCK_LARGE) {
    uint32_t run = block_map_at(map, index)->run_blocks;
    return (page_span){index, 1, block_map_start(map, index), block_map_start(map, index + run)};
  }
  size_t page = os_page_bytes();
  uintptr_t start = (uintptr_t)object & ~(uintptr_t)(page - 1);
  uintptr_t end = ((uintptr_t)object + bytes + page - 1) & ~(uintptr_t)(page - 1);
  size_t first = (start - block_map_start(map, index)) / page;
  size_t count = (end - start) / page;
  return (page_span){index, (uint8_t)(((1u << count) - 1) << first), start, end};
}

/* The bits of the whole pages in granules [first, end) of a block. */
static uint8_t seal_mask(uint32_t first, uint32_t end) {
  uint32_t page = (uint32_t)(os_page_bytes() / TSR_GRANULE);
  uint32_t first_page = (first + page - 1) / page, end_page = end / page;
  if (first_page >= end_page) return 0;
  return (uint8_t)(((1u << end_page) - 1) & ~((1u << first_page) - 1));
}

bool seal_is_possible(const tsr_heap *heap, tsr_ref object) {
  const block_map *map = &heap->blocks;
  uint32_t index = block_map_index(map, (uintptr_t)object);
  enum block_space space = block_map_space(map, index);
  if (space == BLOCK_SEALED) return true;
  return space == BLOCK_LARGE && (block_map_at(map, index)->flags & BLOCK_SEALABLE) != 0;
}

void seal_declare(tsr_heap *heap, uint32_t index, uint32_t first, uint32_t end, bool code) {
  block *b = block_map_at(&heap->blocks, index);
  uint8_t mask = seal_mask(first, end);
  os_mutex_lock(&heap->blocks.lock);
  b->code_pages = (uint8_t)(code ? b->code_pages | mask : b->code_pages & ~mask);
  os_mutex_unlock(&heap->blocks.lock);
}

/* Whether the object's first page is among these pages of its block. */
static bool seal_is_among(tsr_heap *heap, tsr_ref object, const uint8_t *pages) {
  page_span span = seal_span(heap, object, TSR_GRANULE);
  os_mutex_lock(&heap->blocks.lock);
  bool among = (*pages & span.mask) != 0;
  os_mutex_unlock(&heap->blocks.lock);
  return among;
}

static const block *seal_block(const tsr_heap *heap, tsr_ref object) {
  return block_map_at(&heap->blocks, block_map_index(&heap->blocks, (uintptr_t)object));
}

bool seal_is_code(tsr_heap *heap, tsr_ref object) {
  return seal_is_among(heap, object, &seal_block(heap, object)->code_pages);
}

bool seal_is_closed(tsr_heap *heap, tsr_ref object) {
  return seal_is_possible(heap, object) &&
         seal_is_among(heap, object, &seal_block(heap, object)->sealed_pages);
}

static bool seal_protect(page_span span, os_access access) {
  return os_memory_protect((void *)span.start, span.end - span.start, access);
}

bool seal_close(tsr_heap *heap, tsr_ref object, size_t bytes) {
  page_span span = seal_span(heap, object, bytes);
  bool code = seal_is_code(heap, object);
  if (code) os_memory_flush_instructions((void *)span.start, span.end - span.start);
  if (!seal_protect(span, code ? OS_ACCESS_EXECUTE : OS_ACCESS_READ)) return false;
  block *b = block_map_at(&heap->blocks, span.block_index);
  os_mutex_lock(&heap->blocks.lock);
  b->sealed_pages |= span.mask;
  b->refused_pages &= (uint8_t)~span.mask;
  os_mutex_unlock(&heap->blocks.lock);
  return true;
}

bool seal_open(tsr_heap *heap, tsr_ref object, size_t bytes) {
  page_span span = seal_span(heap, object, bytes);
  if (!seal_protect(span, OS_ACCESS_READ_WRITE)) return false;
  os_mutex_lock(&heap->blocks.lock);
  block_map_at(&heap->blocks, span.block_index)->sealed_pages &= (uint8_t)~span.mask;
  os_mutex_unlock(&heap->blocks.lock);
  return true;
}

bool seal_is_read_only(const tsr_heap *heap, uintptr_t address) {
  if (!seal_is_possible(heap, (tsr_ref)address)) return false;
  page_span span = seal_span(heap, (tsr_ref)address, 1);
  return (block_map_at(&heap->blocks, span.block_index)->sealed_pages & span.mask) != 0;
}

void seal_note_refused(tsr_heap *heap, tsr_ref object) {
  page_span span = seal_span(heap, object, TSR_GRANULE);
  os_mutex_lock(&heap->blocks.lock);
  block_map_at(&heap->blocks, span.block_index)->refused_pages |= span.mask;
  os_mutex_unlock(&heap->blocks.lock);
}

/* Takes no lock: a signal handler asks. */
bool seal_was_refused(const tsr_heap *heap, tsr_ref object) {
  page_span span = seal_span(heap, object, TSR_GRANULE);
  return (block_map_at(&heap->blocks, span.block_index)->refused_pages & span.mask) != 0;
}

/* ---- the collector --------------------------------------------------------------------------------- */

static bool seal_in_region(const block_map *map, uint32_t index) {
  if (index >= block_map_extent(map)) return false;
  enum block_space space = block_map_space(map, index);
  return space == BLOCK_SEALED || space == BLOCK_LARGE || space == BLOCK_LARGE_REST;
}

/* The blocks around one that may be sealed, up to those that never are. */
static page_span seal_region(const block_map *map, uint32_t index, uint32_t *end) {
  uint32_t first = index;
  while (first > 0 && seal_in_region(map, first - 1))
    first--;
  *end = index + 1;
  while (seal_in_region(map, *end))
    ++*end;
  return (page_span){first, 0, block_map_start(map, first), block_map_start(map, *end)};
}

void seal_open_region(tsr_heap *heap, tsr_ref object) {
  const block_map *map = &heap->blocks;
  uint32_t index = block_map_index(map, (uintptr_t)object);
  uint32_t end;
  os_mutex_lock(&heap->blocks.lock); /* other workers take blocks meanwhile */
  page_span region = seal_region(map, index, &end);
  os_mutex_unlock(&heap->blocks.lock);
  if (!seal_protect(region, OS_ACCESS_READ_WRITE)) {
    /* What is needed now, at the price of a mapping. */
    uint32_t run = block_map_at(map, index)->run_blocks;
    region = (page_span){index, 0, block_map_start(map, index), block_map_start(map, index + run)};
    end = index + 1;
    HEAP_ALWAYS_CHECK(heap, seal_protect(region, OS_ACCESS_READ_WRITE), object,
                      "the system refuses to make a sealed object writable for the collector");
  }
  for (uint32_t i = region.block_index; i < end; i++) {
    block *b = block_map_at(map, i);
    if (b->sealed_pages != 0) b->flags |= BLOCK_OPENED;
  }
  heap->opened_seals = true;
}

void seal_forget(tsr_heap *heap, uint32_t index, uint32_t first, uint32_t end) {
  block *b = block_map_at(&heap->blocks, index);
  uint8_t mask = seal_mask(first, end);
  if ((b->sealed_pages & mask) == 0) return;
  if ((b->flags & BLOCK_OPENED) == 0) {
    seal_open_region(heap, (tsr_ref)block_map_start(&heap->blocks, index));
  }
  b->sealed_pages &= (uint8_t)~mask;
}

/* Seals the pages of a sealable arena's block, those of one kind that lie side by side at once. */
static bool seal_close_block(const tsr_heap *heap, uint32_t index) {
  const block *b = block_map_at(&heap->blocks, index);
  size_t page = os_page_bytes();
  uintptr_t start = block_map_start(&heap->blocks, index);
  bool closed = true;
  for (size_t first = 0, end; first < BLOCK_BYTES / page; first = end) {
    end = first + 1;
    if (((b->sealed_pages >> first) & 1) == 0) continue;
    unsigned kind = (b->code_pages >> first) & 1u;
    while (end < BLOCK_BYTES / page && ((b->sealed_pages >> end) & 1) != 0 &&
           ((unsigned)(b->code_pages >> end) & 1u) == kind) {
      end++;
    }
    page_span span = {index, 0, start + first * page, start + end * page};
    closed &= seal_protect(span, kind != 0 ? OS_ACCESS_EXECUTE : OS_ACCESS_READ);
  }
  return closed;
}

static bool seal_close_large(const tsr_heap *heap, uint32_t index) {
  const block *b = block_map_at(&heap->blocks, index);
  page_span span = {index, 0, block_map_start(&heap->blocks, index),
                    block_map_start(&heap->blocks, index + b->run_blocks)};
  return seal_protect(span, b->code_pages != 0 ? OS_ACCESS_EXECUTE : OS_ACCESS_READ);
}

void seal_close_again(tsr_heap *heap) {
  if (!heap->opened_seals) return;
  heap->opened_seals = false;
  const block_map *map = &heap->blocks;
  for (uint32_t i = 0; i < block_map_extent(map); i++) {
    block *b = block_map_at(map, i);
    if (!seal_in_region(map, i)) continue;
    b->flags &= (uint8_t)~BLOCK_OPENED;
    if (b->sealed_pages == 0) continue;
    bool large = block_map_space(map, i) == BLOCK_LARGE;
    bool closed = large ? seal_close_large(heap, i) : seal_close_block(heap, i);
    /* No mapping to be had: what is open stays so until the next collection closes them all. */
    if (!closed) heap->opened_seals = true;
  }
}
