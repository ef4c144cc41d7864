/*
 * The reference rule at work: from a slot's word to an address and back [design: reference-rule].
 */
#ifndef CORE_OBJECT_REFERENCE_H
#define CORE_OBJECT_REFERENCE_H

#include "core/heap/heap.h"
#include "core/os/compiler.h"

/* Checks the VM's rule and completes it. */
tsr_status reference_rule_set(reference_rule *rule, const tsr_reference_rule *given,
                              tsr_error *error);

/* Whether every word that is a multiple of 8 is an address, and no other word is a reference. */
static inline bool reference_rule_is_plain(const reference_rule *rule) {
  return rule->low_tags == 1 && rule->address_mask == UINT64_MAX && rule->bias == 0 &&
         rule->high_shift == 63 && rule->high_first == 0 && rule->high_span >= 2;
}

/* The address that a word refers to, or 0 where the rule says that it is no reference. The address may
   lie outside the heap. */
OS_ALWAYS_INLINE uintptr_t reference_address(const reference_rule *rule, uint64_t word) {
  if (((rule->low_tags >> (word & 7u)) & 1u) == 0) return 0;
  if ((word >> rule->high_shift) - rule->high_first >= rule->high_span) return 0;
  return (uintptr_t)((word & rule->address_mask) - rule->bias);
}

/* A word that refers to an address, with the least tags. */
static inline uint64_t reference_word(const reference_rule *rule, uintptr_t address) {
  return ((address + rule->bias) & rule->address_mask) | rule->high_first << rule->high_shift |
         (uint64_t)__builtin_ctz(rule->low_tags);
}

/* The same word, tags kept, referring to another address. */
OS_ALWAYS_INLINE uint64_t reference_retarget(const reference_rule *rule, uint64_t word,
                                             uintptr_t address) {
  return (word & ~rule->address_mask) | ((address + rule->bias) & rule->address_mask);
}

#endif
