/*
 * The reference rule at work: from a slot's word to an address and back [design: reference-rule].
 */
#ifndef CORE_OBJECT_REFERENCE_H
#define CORE_OBJECT_REFERENCE_H

#include "core/heap/heap.h"

/* Checks the VM's rule and completes it. */
tsr_status reference_rule_set(reference_rule *rule, const tsr_reference_rule *given,
                              tsr_error *error);

/* The address that a word refers to, or 0 where the rule says that it is no reference. The address may
   lie outside the heap. */
static inline uintptr_t reference_address(const reference_rule *rule, uint64_t word) {
  if (((rule->low_tags >> (word & 7u)) & 1u) == 0) return 0;
  if ((word >> rule->high_shift) - rule->high_first >= rule->high_span) return 0;
  return (uintptr_t)((word & rule->address_mask) - rule->bias);
}

/* The same word, tags kept, referring to another address. */
static inline uint64_t reference_retarget(const reference_rule *rule, uint64_t word,
                                          uintptr_t address) {
  return (word & ~rule->address_mask) | ((address + rule->bias) & rule->address_mask);
}

#endif
