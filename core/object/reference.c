/*
 * Checking a reference rule: everything that would make the decoding ambiguous is refused.
 */
#include "core/object/reference.h"

#include "core/os/error.h"

/* Every address bit above the granule that a 64-bit system hands to programs. */
#define ADDRESS_BITS (((uint64_t)1 << 47) - TSR_GRANULE)

static const char *reference_rule_fault(const tsr_reference_rule *given) {
  if ((given->address_mask & ADDRESS_BITS) != ADDRESS_BITS) {
    return "address_mask must keep bits 3 to 46";
  }
  if (given->low_tags == 0) return "low_tags is empty: no word would be a reference";
  for (unsigned tag = 0; tag < 8; tag++) {
    if (((given->low_tags >> tag) & 1u) != 0 && (tag & given->address_mask) != 0) {
      return "address_mask keeps bits of a low tag; clear them in the mask";
    }
  }
  if (given->high_shift == 0) {
    if (given->high_first != 0 || given->high_span != 0) {
      return "high_first and high_span need a high_shift";
    }
    return NULL;
  }
  if (given->high_shift < 47 || given->high_shift > 63) return "high_shift must be 47 to 63";
  if (given->high_span == 0) return "high_span is 0: no word would be a reference";
  if ((given->address_mask >> given->high_shift) != 0) {
    return "address_mask keeps bits of the high tag; clear them in the mask";
  }
  return NULL;
}

static bool reference_rule_is_zero(const tsr_reference_rule *given) {
  return given->address_mask == 0 && given->low_tags == 0 && given->high_shift == 0 &&
         given->high_first == 0 && given->high_span == 0;
}

tsr_status reference_rule_set(reference_rule *rule, const tsr_reference_rule *given,
                              tsr_error *error) {
  if (given->bias % TSR_GRANULE != 0 || given->bias > 4096) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "reference rule: bias must be a multiple of %u and at most 4096", TSR_GRANULE);
  }
  if (reference_rule_is_zero(given)) {
    *rule = (reference_rule){.address_mask = UINT64_MAX, .low_tags = 1};
  } else {
    const char *fault = reference_rule_fault(given);
    if (fault != NULL) {
      return error_set(error, TSR_INVALID_ARGUMENT, "reference rule: %s", fault);
    }
    *rule = (reference_rule){.address_mask = given->address_mask,
                             .high_first = given->high_first,
                             .high_span = given->high_span,
                             .low_tags = given->low_tags,
                             .high_shift = given->high_shift};
  }
  rule->bias = given->bias;
  if (rule->high_shift == 0) {
    /* A test that every word passes costs less than a branch on whether to test. */
    rule->high_shift = 63;
    rule->high_span = 2;
  }
  return TSR_OK;
}
