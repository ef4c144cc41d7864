/*
 * F27. The reference rule: which words are references, and that an update keeps what is not address.
 *
 * The decoys are words with the bits of a dead object's address under a tag that is no reference: a
 * double, a small integer, a foreign low tag. They must stay as they are, and the object must go.
 */
#include "testvm.h"

static testvm vm;
static tsr_scope scope;

static void start(tsr_reference_rule rule) {
  vm_init_calm(&vm);
  vm.binding.references = rule;
  vm_start(&vm);
  tsr_scope_open(vm.m, &scope);
}

static void stop(void) {
  tsr_scope_close(vm.m, &scope);
  vm_stop(&vm);
}

static uint64_t address(const tsr_reference_rule *rule, uint64_t word) {
  uint64_t mask = rule->address_mask == 0 ? ~(uint64_t)0 : rule->address_mask;
  return (word & mask) - rule->bias;
}

/* Every tag of `tags` on a chain of pairs; the last pair of each is marked with the tag's index. */
static void keeps_tags(const tsr_reference_rule *rule, const uint64_t *tags, unsigned n) {
  tsr_slot *roots[8];
  for (unsigned i = 0; i < n; i++) {
    roots[i] = tsr_local(vm.m, 0);
    tsr_ref inner = vm_new(vm.m, PAIR, 100 + i, 0);
    roots[i]->word = (vm_word(inner) + rule->bias) | tags[i];
    tsr_ref outer = vm_new(vm.m, PAIR, i, 0);
    vm_set(vm.m, outer, 1, roots[i]->word);
    roots[i]->word = (vm_word(outer) + rule->bias) | tags[i];
  }
  for (unsigned round = 0; round < 3; round++) {
    vm_collect(&vm);
    for (unsigned i = 0; i < n; i++) {
      uint64_t mask = rule->address_mask == 0 ? ~(uint64_t)0 : rule->address_mask;
      ck_assert_uint_eq(roots[i]->word & ~mask, tags[i]);
      tsr_ref outer = vm_ref(address(rule, roots[i]->word));
      ck_assert_uint_eq(vm_tag_of(outer), i);
      uint64_t word = vm_get(vm.m, outer, 1);
      ck_assert_uint_eq(word & ~mask, tags[i]);
      ck_assert_uint_eq(vm_tag_of(vm_ref(address(rule, word))), 100 + i);
    }
    if (vm_collects) ck_assert_uint_eq(vm_enumerate(vm.m).objects, 2 * (size_t)n);
  }
  for (unsigned i = 0; i < n; i++) {
    roots[i]->word = 0;
  }
}

/* Words over a dead object's address that are no references; `live` is the tag of one that is. */
static void ignores(const tsr_reference_rule *rule, const uint64_t *decoys, unsigned n,
                    uint64_t live) {
  tsr_slot *vector = tsr_local(vm.m, 0);
  tsr_slot *handle = tsr_local(vm.m, 0);
  tsr_ref object = vm_new(vm.m, VECTOR, 0, n);
  vector->word = (vm_word(object) + rule->bias) | live;
  uint64_t dead = vm_word(vm_new(vm.m, PAIR, 0, 0)) + rule->bias;
  object = vm_ref(address(rule, vector->word));
  for (unsigned i = 0; i < n; i++) {
    vm_set(vm.m, object, 2 + i, dead | decoys[i]);
  }
  handle->word = dead | decoys[0];
  for (unsigned round = 0; round < 2; round++) {
    vm_collect(&vm);
    object = vm_ref(address(rule, vector->word));
    for (unsigned i = 0; i < n; i++) {
      ck_assert_uint_eq(vm_get(vm.m, object, 2 + i), dead | decoys[i]);
    }
    ck_assert_uint_eq(handle->word, dead | decoys[0]);
    if (vm_collects) ck_assert_uint_eq(vm_enumerate(vm.m).objects, 1);
  }
  vector->word = 0;
}

START_TEST(every_word_or_null) {
  tsr_reference_rule rule = {0};
  start(rule);
  static const uint64_t none[] = {0};
  keeps_tags(&rule, none, 1);
  tsr_slot *vector = tsr_local(vm.m, vm_word(vm_new(vm.m, VECTOR, 0, 6)));
  uint64_t *outside = malloc(64);
  uint64_t words[6] = {0, 8, vm_word(outside), vm_word(&vm), ~(uint64_t)7, (uint64_t)1 << 47};
  for (unsigned i = 0; i < 6; i++) {
    vm_set(vm.m, vm_ref(vector->word), 2 + i, words[i]);
  }
  vm_collect(&vm);
  for (unsigned i = 0; i < 6; i++) {
    ck_assert_msg(vm_get(vm.m, vm_ref(vector->word), 2 + i) == words[i], "outside the heap");
  }
  free(outside);
  static const uint64_t odd[] = {1, 2, 4, 7};
  vector->word = 0;
  ignores(&rule, odd, 4, 0);
  stop();
}
END_TEST

START_TEST(one_low_tag) {
  tsr_reference_rule rule = {.address_mask = ~(uint64_t)7, .low_tags = 1u << 1};
  start(rule);
  static const uint64_t tags[] = {1};
  static const uint64_t decoys[] = {0, 2, 3, 4, 5, 6, 7};
  keeps_tags(&rule, tags, 1);
  ignores(&rule, decoys, 7, 1);
  stop();
}
END_TEST

START_TEST(several_low_tags) {
  tsr_reference_rule rule = {.address_mask = ~(uint64_t)7,
                             .low_tags = 1u << 1 | 1u << 3 | 1u << 6 | 1u << 7};
  start(rule);
  static const uint64_t tags[] = {1, 3, 6, 7};
  static const uint64_t decoys[] = {0, 2, 4, 5};
  keeps_tags(&rule, tags, 4);
  ignores(&rule, decoys, 4, 7);
  stop();
}
END_TEST

#define NAN_RULE                                                                                   \
  {                                                                                                \
    .address_mask = 0xffffffffffffu, .low_tags = 1, .high_shift = 48, .high_first = 0xfffc,        \
    .high_span = 1                                                                                 \
  }

START_TEST(nan_boxing) {
  tsr_reference_rule rule = NAN_RULE;
  start(rule);
  static const uint64_t tags[] = {(uint64_t)0xfffc << 48};
  /* Bare address bits are a subnormal double; 0x3ff0 and 0x4010 ordinary ones; 0x7ff8 a NaN; 0xfffb
     and 0xfffd neighbours of the span; the last three fall to their low bits. */
  static const uint64_t decoys[] = {
      0,
      (uint64_t)0x3ff0 << 48,
      (uint64_t)0x4010 << 48,
      (uint64_t)0x7ff8 << 48,
      (uint64_t)0xfffb << 48,
      (uint64_t)0xfffd << 48,
      (uint64_t)0xffff << 48,
      (uint64_t)0xfffc << 48 | 1,
      (uint64_t)0xfffc << 48 | 4,
      (uint64_t)0xfffc << 48 | 7,
  };
  keeps_tags(&rule, tags, 1);
  ignores(&rule, decoys, 10, tags[0]);
  stop();
}
END_TEST

START_TEST(a_span_of_high_tags) {
  tsr_reference_rule rule = NAN_RULE;
  rule.high_first = 0xfff9;
  rule.high_span = 4;
  start(rule);
  static const uint64_t tags[] = {(uint64_t)0xfff9 << 48, (uint64_t)0xfffa << 48,
                                  (uint64_t)0xfffb << 48, (uint64_t)0xfffc << 48};
  static const uint64_t decoys[] = {(uint64_t)0xfff8 << 48, (uint64_t)0xfffd << 48, 0,
                                    (uint64_t)0x0001 << 48};
  keeps_tags(&rule, tags, 4);
  ignores(&rule, decoys, 4, tags[2]);
  stop();
}
END_TEST

START_TEST(high_tag_zero_is_a_tag) {
  tsr_reference_rule rule = NAN_RULE;
  rule.high_first = 0;
  start(rule);
  static const uint64_t tags[] = {0};
  static const uint64_t decoys[] = {(uint64_t)1 << 48, (uint64_t)0xfffc << 48,
                                    (uint64_t)0x7ff0 << 48};
  keeps_tags(&rule, tags, 1);
  ignores(&rule, decoys, 3, 0);
  stop();
}
END_TEST

START_TEST(doubles_and_integers_are_values) {
  tsr_reference_rule rule = NAN_RULE;
  start(rule);
  tsr_slot *vector = tsr_local(vm.m, 0);
  tsr_ref object = vm_new(vm.m, VECTOR, 0, 2000);
  vector->word = vm_word(object) | (uint64_t)0xfffc << 48;
  uint64_t *shadow = malloc(2000 * sizeof *shadow);
  uint64_t seed = 16;
  for (size_t i = 0; i < 2000; i++) {
    double number = (double)(int64_t)vm_random(&seed) * 1e-3;
    memcpy(&shadow[i], &number, 8);
    if (i % 2 == 1) shadow[i] = (uint64_t)0xfffe << 48 | (vm_random(&seed) & 0xffffffff);
    vm_set(vm.m, object, 2 + i, shadow[i]);
  }
  vm_collect(&vm);
  object = vm_ref(vector->word & 0xffffffffffffu);
  for (size_t i = 0; i < 2000; i++) {
    ck_assert_uint_eq(vm_get(vm.m, object, 2 + i), shadow[i]);
  }
  free(shadow);
  stop();
}
END_TEST

START_TEST(biased_references) {
  static const uint64_t biases[] = {8, 16, 64, 4096};
  for (size_t i = 0; i < 4; i++) {
    tsr_reference_rule plain = {.address_mask = ~(uint64_t)0, .low_tags = 1, .bias = biases[i]};
    tsr_reference_rule tagged = {
        .address_mask = ~(uint64_t)7, .low_tags = 1u << 5, .bias = biases[i]};
    static const uint64_t none[] = {0};
    static const uint64_t five[] = {5};
    static const uint64_t decoys[] = {0, 1, 4};
    start(plain);
    keeps_tags(&plain, none, 1);
    stop();
    start(tagged);
    keeps_tags(&tagged, five, 1);
    ignores(&tagged, decoys, 3, 5);
    stop();
  }
}
END_TEST

START_TEST(every_kind_of_root_follows_the_rule) {
  tsr_reference_rule rule = {.address_mask = ~(uint64_t)7, .low_tags = 1u << 3};
  start(rule);
  tsr_slot range[2] = {{0}};
  tsr_slot stack_memory[2] = {{0}};
  tsr_slot *top = stack_memory + 2;
  tsr_native_stack stack = {.base = stack_memory, .top = &top};
  ck_assert_int_eq(tsr_root_add(vm.heap, range, 2, TSR_ROOT_PRECISE, NULL, NULL), TSR_OK);
  ck_assert_int_eq(tsr_stack_add(vm.heap, &stack, NULL), TSR_OK);
  tsr_slot *slots[4] = {tsr_local(vm.m, 0), tsr_handle_new(vm.heap, 0, TSR_STRONG, NULL), &range[0],
                        &stack_memory[0]};
  for (unsigned i = 0; i < 4; i++) {
    slots[i]->word = vm_word(vm_new(vm.m, PAIR, i, 0)) | 3;
  }
  uint64_t dead = vm_word(vm_new(vm.m, PAIR, 9, 0));
  range[1].word = dead;
  stack_memory[1].word = dead | 1;
  vm_collect(&vm);
  for (unsigned i = 0; i < 4; i++) {
    ck_assert_uint_eq(slots[i]->word & 7, 3);
    ck_assert_uint_eq(vm_tag_of(vm_ref(slots[i]->word & ~(uint64_t)7)), i);
  }
  ck_assert_uint_eq(range[1].word, dead);
  ck_assert_uint_eq(stack_memory[1].word, dead | 1);
  if (vm_collects) ck_assert_uint_eq(vm_enumerate(vm.m).objects, 4);
  ck_assert_int_eq(tsr_stack_remove(vm.heap, &stack, NULL), TSR_OK);
  ck_assert_int_eq(tsr_root_remove(vm.heap, range, NULL), TSR_OK);
  stop();
}
END_TEST

START_TEST(impossible_rules_are_refused) {
  static const tsr_reference_rule rules[] = {
      {.address_mask = ~(uint64_t)7, .low_tags = 2, .bias = 4},
      {.address_mask = ~(uint64_t)7, .low_tags = 2, .bias = 4104},
      {.address_mask = 0x00ff00fffffffff8u, .low_tags = 2}, /* a hole in the mask */
      {.address_mask = ~(uint64_t)7, .low_tags = 2, .high_shift = 64, .high_span = 1},
  };
  for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
    vm_init_calm(&vm);
    vm.binding.references = rules[i];
    tsr_error error = vm_refused(&vm);
    ck_assert_msg(error.status == TSR_INVALID_ARGUMENT, "rule %zu: %s", i, error.message);
  }
}
END_TEST

static void add(TCase *tests) {
  tcase_add_test(tests, every_word_or_null);
  tcase_add_test(tests, one_low_tag);
  tcase_add_test(tests, several_low_tags);
  tcase_add_test(tests, nan_boxing);
  tcase_add_test(tests, a_span_of_high_tags);
  tcase_add_test(tests, high_tag_zero_is_a_tag);
  tcase_add_test(tests, doubles_and_integers_are_values);
  tcase_add_test(tests, biased_references);
  tcase_add_test(tests, every_kind_of_root_follows_the_rule);
  tcase_add_test(tests, impossible_rules_are_refused);
}

int main(void) {
  return vm_main("references", add);
}
