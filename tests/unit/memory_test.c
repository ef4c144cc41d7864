/*
 * core/memory: the account and the tables that are charged to it.
 */
#include <string.h>

#include "core/memory/provider.h"
#include "tests/unit/unit.h"

START_TEST(a_charge_past_the_limit_is_refused_and_changes_nothing) {
  memory_account account;
  memory_account_open(&account, 1000);
  ck_assert(memory_charge(&account, MEMORY_HANDLES, 600, MEMORY_WITHIN_LIMIT));
  ck_assert(!memory_charge(&account, MEMORY_ROOTS, 401, MEMORY_WITHIN_LIMIT));
  ck_assert(!memory_charge(&account, MEMORY_ROOTS, SIZE_MAX, MEMORY_WITHIN_LIMIT));
  ck_assert_uint_eq(os_atomic_load(&account.by_type[MEMORY_ROOTS].bytes), 0);
  ck_assert_uint_eq(memory_headroom(&account), 400);
  ck_assert(memory_charge(&account, MEMORY_ROOTS, 400, MEMORY_WITHIN_LIMIT));
  ck_assert_uint_eq(memory_headroom(&account), 0);
}
END_TEST

START_TEST(peaks_outlive_what_was_given_back) {
  memory_account account;
  memory_account_open(&account, 1000);
  ck_assert(memory_charge(&account, MEMORY_HANDLES, 700, MEMORY_WITHIN_LIMIT));
  memory_discharge(&account, MEMORY_HANDLES, 500);
  ck_assert(memory_charge(&account, MEMORY_ROOTS, 100, MEMORY_WITHIN_LIMIT));
  ck_assert_uint_eq(os_atomic_load(&account.total.bytes), 300);
  ck_assert_uint_eq(os_atomic_load(&account.total.peak), 700);
  ck_assert_uint_eq(os_atomic_load(&account.by_type[MEMORY_ROOTS].peak), 100);
}
END_TEST

START_TEST(segments_are_zeroed_charged_and_grow) {
  memory_account account;
  memory_account_open(&account, 4096);
  char *segment = segment_request(&account, MEMORY_ROOTS, 100);
  for (int i = 0; i < 100; i++)
    ck_assert_int_eq(segment[i], 0);
  memset(segment, 7, 100);
  segment = segment_grow(&account, MEMORY_ROOTS, segment, 100, 200);
  for (int i = 0; i < 200; i++)
    ck_assert_int_eq(segment[i], i < 100 ? 7 : 0);
  ck_assert_uint_eq(os_atomic_load(&account.total.bytes), 200);
  ck_assert_ptr_null(segment_grow(&account, MEMORY_ROOTS, segment, 200, 8192));
  segment_release(&account, MEMORY_ROOTS, segment, 200);
  ck_assert_uint_eq(os_atomic_load(&account.total.bytes), 0);
}
END_TEST

START_TEST(tables_grow_in_place_and_stop_at_their_reservation) {
  memory_account account;
  memory_account_open(&account, (size_t)1 << 20);
  memory_table table;
  ck_assert(memory_table_create(&table, &account, MEMORY_HANDLES, "handles", 40000));
  char *base = table.base;
  ck_assert(memory_table_extend(&table, 1, MEMORY_WITHIN_LIMIT));
  base[0] = 5;
  ck_assert(memory_table_extend(&table, 40000, MEMORY_WITHIN_LIMIT));
  ck_assert_ptr_eq(table.base, base);
  ck_assert_int_eq(base[0], 5);
  ck_assert_int_eq(base[39999], 0);
  ck_assert(!memory_table_extend(&table, table.mapping.reserved_bytes + 1, MEMORY_WITHIN_LIMIT));
  ck_assert_uint_eq(os_atomic_load(&account.total.bytes), memory_table_committed(&table));
  memory_table_cut(&table, 1);
  ck_assert_uint_lt(memory_table_committed(&table), 40000);
  ck_assert_uint_eq(os_atomic_load(&account.total.bytes), memory_table_committed(&table));
  ck_assert_int_eq(base[0], 5);
  base[memory_table_committed(&table) - 1] = 6;
  ck_assert(memory_table_extend(&table, 40000, MEMORY_WITHIN_LIMIT));
  ck_assert_int_eq(base[39999], 0);
  memory_table_destroy(&table);
  ck_assert_uint_eq(os_atomic_load(&account.total.bytes), 0);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("memory");
  TCase *tests = tcase_create("account");
  tcase_add_test(tests, a_charge_past_the_limit_is_refused_and_changes_nothing);
  tcase_add_test(tests, peaks_outlive_what_was_given_back);
  tcase_add_test(tests, segments_are_zeroed_charged_and_grow);
  tcase_add_test(tests, tables_grow_in_place_and_stop_at_their_reservation);
  suite_add_tcase(suite, tests);
  return unit_run(suite);
}
