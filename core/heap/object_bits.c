/*
 * The memory of the two bitmaps: reserved whole, committed by pages.
 */
#include "core/heap/object_bits.h"

#include <string.h>

#include "core/os/machine.h"
#include "core/os/memory.h"

#define BLOCK_BIT_BYTES (BLOCK_BIT_WORDS * sizeof(uint64_t))

static size_t object_bits_pages(const object_bits *bits) {
  return bits->reserved_bytes / os_page_bytes();
}

bool object_bits_create(object_bits *bits, memory_account *account, uintptr_t heap_base,
                        uint32_t block_count) {
  size_t page = os_page_bytes();
  size_t bytes = (block_count * BLOCK_BIT_BYTES + page - 1) / page * page;
  *bits = (object_bits){.account = account, .heap_base = heap_base, .reserved_bytes = bytes};
  bits->starts = os_memory_reserve(bytes, page);
  if (bits->starts == NULL) return false;
  bits->marks = os_memory_reserve(bytes, page);
  if (bits->marks == NULL) goto no_marks;
  if (memory_table_create(&bits->covered, account, MEMORY_OBJECT_BITS, object_bits_pages(bits))) {
    return true;
  }
  os_memory_release(bits->marks, bytes);
no_marks:
  os_memory_release(bits->starts, bytes);
  return false;
}

void object_bits_destroy(object_bits *bits) {
  size_t covered = 0;
  for (size_t i = 0; i < bits->covered.committed_bytes; i++)
    covered += bits->covered.base[i] != 0;
  memory_discharge(bits->account, MEMORY_OBJECT_BITS, 2 * covered * os_page_bytes());
  memory_table_destroy(&bits->covered);
  os_memory_release(bits->marks, bits->reserved_bytes);
  os_memory_release(bits->starts, bits->reserved_bytes);
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
