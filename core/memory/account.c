/*
 * The account: totals by atomic additions, peaks by compare-and-swap.
 */
#include "core/memory/account.h"

#include <string.h>

#include "core/os/check.h"

#define MEMORY_TYPE_NAME(symbol, name) name,
static const char *const memory_type_names[] = {MEMORY_TYPES(MEMORY_TYPE_NAME)};

const char *memory_type_name(memory_type type) {
  return memory_type_names[type];
}

void memory_account_open(memory_account *account, size_t limit_bytes) {
  memset(account, 0, sizeof *account);
  account->limit_bytes = limit_bytes;
}

static void memory_share_raise_peak(memory_share *share, size_t bytes) {
  uintptr_t peak = os_atomic_load(&share->peak);
  while (bytes > peak && !os_atomic_compare_exchange_full(&share->peak, peak, bytes)) {
    peak = os_atomic_load(&share->peak);
  }
}

static void memory_share_add(memory_share *share, size_t bytes) {
  memory_share_raise_peak(share, os_atomic_add_full(&share->bytes, bytes) + bytes);
}

/* What is left below the limit; it may have been passed. */
static size_t memory_left(const memory_account *account, size_t now) {
  return now < account->limit_bytes ? account->limit_bytes - now : 0;
}

bool memory_charge(memory_account *account, memory_type type, size_t bytes,
                   memory_allowance allowance) {
  size_t now;
  do {
    now = os_atomic_load(&account->total.bytes);
    if (allowance != MEMORY_OVER_LIMIT && bytes > memory_left(account, now)) return false;
  } while (!os_atomic_compare_exchange_full(&account->total.bytes, now, now + bytes));
  memory_share_raise_peak(&account->total, now + bytes);
  memory_share_add(&account->by_type[type], bytes);
  return true;
}

void memory_discharge(memory_account *account, memory_type type, size_t bytes) {
  size_t before = os_atomic_add_full(&account->by_type[type].bytes, (uintptr_t)0 - bytes);
  TSR_CHECK(before >= bytes, "an account gives back no more than it was charged");
  (void)before;
  os_atomic_add_full(&account->total.bytes, (uintptr_t)0 - bytes);
}

size_t memory_headroom(const memory_account *account) {
  return memory_headroom_after(account, 0);
}

size_t memory_headroom_after(const memory_account *account, size_t returned_bytes) {
  return memory_left(account, os_atomic_load(&account->total.bytes) - returned_bytes);
}
