/*
 * The memory of the two bitmaps: reserved whole, committed by pages.
 */
#include "core/heap/object_bits.h"

#include <string.h>

#include "core/heap/block_map.h"
#include "core/os/machine.h"
#include "core/os/memory.h"

#define BLOCK_BIT_BYTES (BLOCK_BIT_WORDS * sizeof(uint64_t))

static size_t object_bits_pages(const object_bits *bits) {
  return bits->reserved_bytes / os_page_bytes();
}

static bool object_bits_is_covered(const object_bits *bits, size_t page_index) {
  return page_index < memory_table_committed(&bits->covered) && bits->covered.base[page_index] != 0;
}

/* Stretches of pages that are committed, or are not. */
static void object_bits_divide(const object_bits *bits, const memory_mapping *mapping,
                               memory_stretch_visit *visit, void *context) {
  size_t page = os_page_bytes(), pages = object_bits_pages(bits);
  for (size_t first = 0, end; first < pages; first = end) {
    bool covered = object_bits_is_covered(bits, first);
    end = first + 1;
    while (end < pages && object_bits_is_covered(bits, end) == covered)
      end++;
    size_t bytes = (end - first) * page;
    memory_stretch stretch = {.name = mapping->name,
                              .start = (uintptr_t)mapping->base + first * page,
                              .reserved_bytes = bytes,
                              .committed_bytes = covered ? bytes : 0,
                              .used_bytes = covered ? bytes : 0};
    visit(context, &stretch);
  }
}

static void object_bits_divide_starts(void *owner, memory_stretch_visit *visit, void *context) {
  const object_bits *bits = owner;
  object_bits_divide(bits, &bits->starts_mapping, visit, context);
}

static void object_bits_divide_marks(void *owner, memory_stretch_visit *visit, void *context) {
  const object_bits *bits = owner;
  object_bits_divide(bits, &bits->marks_mapping, visit, context);
}

static uint64_t *object_bits_reserve(object_bits *bits, memory_mapping *mapping, const char *name) {
  if (!memory_mapping_reserve(mapping, bits->account, MEMORY_OBJECT_BITS, name,
                              bits->reserved_bytes, os_page_bytes())) {
    return NULL;
  }
  mapping->owner = bits;
  return (uint64_t *)(void *)mapping->base;
}

bool object_bits_create(object_bits *bits, memory_account *account, uintptr_t heap_base,
                        uint32_t block_count) {
  size_t bytes = os_page_round(block_count * BLOCK_BIT_BYTES);
  *bits = (object_bits){.account = account, .heap_base = heap_base, .reserved_bytes = bytes};
  bits->starts = object_bits_reserve(bits, &bits->starts_mapping, "start bits");
  if (bits->starts == NULL) return false;
  bits->marks = object_bits_reserve(bits, &bits->marks_mapping, "mark bits");
  if (bits->marks == NULL) goto no_marks;
  bits->starts_mapping.divide = object_bits_divide_starts;
  bits->marks_mapping.divide = object_bits_divide_marks;
  if (memory_table_create(&bits->covered, account, MEMORY_OBJECT_BITS, "pages of object bits",
                          object_bits_pages(bits))) {
    return true;
  }
  memory_mapping_release(&bits->marks_mapping);
no_marks:
  memory_mapping_release(&bits->starts_mapping);
  return false;
}

void object_bits_destroy(object_bits *bits) {
  size_t covered = 0;
  for (size_t i = 0; i < memory_table_committed(&bits->covered); i++)
    covered += object_bits_is_covered(bits, i);
  memory_discharge(bits->account, MEMORY_OBJECT_BITS, 2 * covered * os_page_bytes());
  memory_table_destroy(&bits->covered);
  memory_mapping_release(&bits->marks_mapping);
  memory_mapping_release(&bits->starts_mapping);
}

/* Commits one page of either bitmap. */
static bool object_bits_commit(object_bits *bits, size_t page_index, memory_allowance allowance) {
  size_t page = os_page_bytes();
  if (!provider_charge(bits->account, MEMORY_OBJECT_BITS, 2 * page, allowance)) return false;
  char *starts = (char *)bits->starts + page_index * page;
  char *marks = (char *)bits->marks + page_index * page;
  if (os_memory_commit(starts, page)) {
    if (os_memory_commit(marks, page)) return true;
    os_memory_decommit(starts, page);
  }
  memory_discharge(bits->account, MEMORY_OBJECT_BITS, 2 * page);
  return false;
}

bool object_bits_cover(object_bits *bits, uint32_t block_index, memory_allowance allowance) {
  size_t page_index = block_index * BLOCK_BIT_BYTES / os_page_bytes();
  if (!memory_table_extend(&bits->covered, page_index + 1, allowance)) return false;
  char *covered = bits->covered.base + page_index;
  if (*covered == 0) {
    if (!object_bits_commit(bits, page_index, allowance)) return false;
    *covered = 1;
    return true;
  }
  memset(object_bits_of(bits->starts, block_index), 0, BLOCK_BIT_BYTES);
  memset(object_bits_of(bits->marks, block_index), 0, BLOCK_BIT_BYTES);
  return true;
}

/* Whether a page has the words of a block that is committed. */
static bool object_bits_is_needed(const block_map *map, size_t page_index) {
  size_t first = page_index * os_page_bytes() / BLOCK_BIT_BYTES;
  size_t end = ((page_index + 1) * os_page_bytes() - 1) / BLOCK_BIT_BYTES + 1;
  uint32_t extent = block_map_extent(map);
  for (size_t i = first; i < end && i < extent; i++) {
    if (block_map_space(map, (uint32_t)i) != BLOCK_UNCOMMITTED) return true;
  }
  return false;
}

static void object_bits_return(object_bits *bits, size_t first_page, size_t pages) {
  size_t page = os_page_bytes();
  memory_return((char *)bits->starts + first_page * page, pages * page);
  memory_return((char *)bits->marks + first_page * page, pages * page);
  memset(bits->covered.base + first_page, 0, pages);
  memory_discharge(bits->account, MEMORY_OBJECT_BITS, 2 * pages * page);
}

void object_bits_end_collection(object_bits *bits, const block_map *map) {
  size_t run = 0, pages = memory_table_committed(&bits->covered);
  for (size_t i = 0; i <= pages; i++) {
    if (i < pages && object_bits_is_covered(bits, i) && !object_bits_is_needed(map, i)) {
      run++;
    } else {
      if (run > 0) object_bits_return(bits, i - run, run);
      run = 0;
    }
  }
}
