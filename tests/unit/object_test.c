/*
 * core/object: the forwarding word, the reference rule.
 */
#include "core/object/header.h"
#include "core/object/reference.h"
#include "tests/unit/unit.h"

START_TEST(forwarding_words_keep_their_bits_in_the_gc_byte_and_come_back) {
  uintptr_t base = (uintptr_t)0x7f0012400000u;
  for (unsigned bit = 3; bit < 47; bit++) {
    for (int sign = -1; sign <= 1; sign++) {
      uintptr_t distance =
          (((uintptr_t)1 << bit) + (uintptr_t)((intptr_t)sign * 8)) & ~(uintptr_t)7;
      uint64_t word = forwarding_word(base, base + distance);
      ck_assert(header_is_forwarded(word));
      ck_assert(!header_stays(word));
      ck_assert_uint_eq(header_gc_byte(word), GC_FORWARDED);
      ck_assert_uint_eq(forwarding_target(base, word), base + distance);
    }
  }
}
END_TEST

START_TEST(staying_changes_the_forward_bits_alone) {
  uint64_t header = ~((uint64_t)GC_FORWARD_BITS << GC_BYTE_SHIFT);
  uint64_t stays = header_with_forward_bits(header, GC_STAYS);
  ck_assert(header_stays(stays));
  ck_assert(!header_is_forwarded(stays));
  ck_assert_uint_eq(header_with_forward_bits(stays, (enum gc_byte)0), header);
}
END_TEST

static reference_rule rule_of(tsr_reference_rule given) {
  reference_rule rule;
  tsr_error error;
  ck_assert_msg(reference_rule_set(&rule, &given, &error) == TSR_OK, "%s", error.message);
  return rule;
}

START_TEST(low_tags_choose_and_survive) {
  reference_rule rule =
      rule_of((tsr_reference_rule){.address_mask = ~(uint64_t)7, .low_tags = 1u << 1 | 1u << 3});
  ck_assert_uint_eq(reference_address(&rule, 0x7f0000001001), 0x7f0000001000);
  ck_assert_uint_eq(reference_address(&rule, 0x7f0000001003), 0x7f0000001000);
  ck_assert_uint_eq(reference_address(&rule, 0x7f0000001000), 0);
  ck_assert_uint_eq(reference_address(&rule, 0x7f0000001007), 0);
  ck_assert_uint_eq(reference_retarget(&rule, 0x7f0000001003, 0x7f0000002008), 0x7f000000200b);
}
END_TEST

START_TEST(nan_boxes_choose_and_survive) {
  reference_rule rule = rule_of((tsr_reference_rule){.address_mask = 0xffffffffffff,
                                                     .low_tags = 1,
                                                     .high_shift = 48,
                                                     .high_first = 0xfffc,
                                                     .high_span = 2});
  ck_assert_uint_eq(reference_address(&rule, 0xfffc7f0000001000), 0x7f0000001000);
  ck_assert_uint_eq(reference_address(&rule, 0xfffd7f0000001000), 0x7f0000001000);
  ck_assert_uint_eq(reference_address(&rule, 0xfffe7f0000001000), 0);
  ck_assert_uint_eq(reference_address(&rule, 0xfffb7f0000001000), 0);
  ck_assert_uint_eq(reference_address(&rule, 0x00007f0000001000), 0);
  ck_assert_uint_eq(reference_address(&rule, 0xfffc7f0000001004), 0);
  ck_assert_uint_eq(reference_retarget(&rule, 0xfffd7f0000001000, 0x7f0000002008),
                    0xfffd7f0000002008);
}
END_TEST

START_TEST(a_bias_is_taken_off_and_put_back) {
  reference_rule rule = rule_of((tsr_reference_rule){.bias = 16});
  ck_assert_uint_eq(reference_address(&rule, 0x7f0000001010), 0x7f0000001000);
  ck_assert_uint_eq(reference_retarget(&rule, 0x7f0000001010, 0x7f0000002000), 0x7f0000002010);
}
END_TEST

START_TEST(ambiguous_rules_are_refused) {
  static const tsr_reference_rule bad[] = {
      {.address_mask = ~(uint64_t)7},                                 /* no tag at all */
      {.address_mask = ~(uint64_t)0, .low_tags = 1u << 1},            /* mask keeps the tag */
      {.address_mask = 0xffff, .low_tags = 1},                        /* address bits lost */
      {.low_tags = 1},                                                /* no mask */
      {.address_mask = ~(uint64_t)7, .low_tags = 2, .high_first = 1}, /* span without shift */
      {.address_mask = ~(uint64_t)7, .low_tags = 2, .high_shift = 48, .high_span = 1},
      {.address_mask = 0xfffffffffff8, .low_tags = 2, .high_shift = 48}, /* empty span */
      {.bias = 4},
      {.bias = 8192}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    reference_rule rule;
    tsr_error error = {.status = TSR_OK};
    ck_assert_int_eq(reference_rule_set(&rule, &bad[i], &error), TSR_INVALID_ARGUMENT);
    ck_assert_int_eq(error.status, TSR_INVALID_ARGUMENT);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("object");
  TCase *tests = tcase_create("words");
  tcase_add_test(tests, forwarding_words_keep_their_bits_in_the_gc_byte_and_come_back);
  tcase_add_test(tests, staying_changes_the_forward_bits_alone);
  tcase_add_test(tests, low_tags_choose_and_survive);
  tcase_add_test(tests, nan_boxes_choose_and_survive);
  tcase_add_test(tests, a_bias_is_taken_off_and_put_back);
  tcase_add_test(tests, ambiguous_rules_are_refused);
  suite_add_tcase(suite, tests);
  return unit_run(suite);
}
