/*
 * Random numbers of a test, all from one seed, which the messages of its assertions name.
 */
#ifndef CONFORMANCE_DRAWS_H
#define CONFORMANCE_DRAWS_H

#include "testvm.h"

static uint64_t seed;

/* One of the numbers below n. */
static inline size_t draw(size_t n) {
  return (size_t)(vm_random(&seed) >> 11) % n;
}

/* Seeds are the numbers of loop tests, or the one that TESSERA_TEST_SEED names. */
static inline unsigned long long first_seed(int i) {
  const char *named = getenv("TESSERA_TEST_SEED");
  seed = named != NULL ? strtoul(named, NULL, 10) : (uint64_t)i;
  if (seed == 0) seed = 1;
  return (unsigned long long)seed;
}

static inline void shuffle(uint32_t *numbers, size_t n) {
  for (size_t i = n; i > 1; i--) {
    size_t k = draw(i);
    uint32_t drawn = numbers[k];
    numbers[k] = numbers[i - 1];
    numbers[i - 1] = drawn;
  }
}

#endif
