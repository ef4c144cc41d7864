/*
 * Atomic operations, over libatomic_ops.
 *
 * The rest of the library uses the few operations below and no fence: every order is attached to
 * an operation, because ThreadSanitizer does not understand stand-alone fences (libatomic_ops
 * makes its sequentially consistent loads and stores out of one). A sequentially consistent store
 * is therefore written as an exchange. "full" means ordered with everything before and after.
 */
#ifndef CORE_OS_ATOMIC_H
#define CORE_OS_ATOMIC_H

#include <atomic_ops.h>
#include <stdbool.h>
#include <stdint.h>

_Static_assert(sizeof(AO_t) == sizeof(uint64_t), "a machine word has 64 bits");

/* A machine word that several threads touch. The field that has this type says who writes it. */
typedef struct os_atomic_word {
  volatile AO_t value;
} os_atomic_word;

static inline uintptr_t os_atomic_load(const os_atomic_word *word) {
  return AO_load(&word->value);
}

static inline void os_atomic_store(os_atomic_word *word, uintptr_t value) {
  AO_store(&word->value, value);
}

static inline void os_atomic_store_release(os_atomic_word *word, uintptr_t value) {
  AO_store_release(&word->value, value);
}

static inline bool os_atomic_compare_exchange_full(os_atomic_word *word, uintptr_t expected,
                                                   uintptr_t desired) {
  return AO_compare_and_swap_full(&word->value, expected, desired) != 0;
}

/* Adds and returns the old value; subtract by adding the two's complement. */
static inline uintptr_t os_atomic_add_full(os_atomic_word *word, uintptr_t amount) {
  return AO_fetch_and_add_full(&word->value, amount);
}

static inline uintptr_t os_atomic_load_acquire(const os_atomic_word *word) {
  return AO_load_acquire(&word->value);
}

/* Words of memory that is not the library's alone, or a plain word while one thread has it: an object's
   header, a word of a bitmap. Several collecting threads touch them at once. */
static inline uint64_t os_atomic64_load_acquire(const uint64_t *place) {
  return AO_load_acquire((const volatile AO_t *)place);
}

static inline void os_atomic64_store_release(uint64_t *place, uint64_t value) {
  AO_store_release((volatile AO_t *)place, value);
}

static inline bool os_atomic64_compare_exchange_full(uint64_t *place, uint64_t expected,
                                                     uint64_t desired) {
  return AO_compare_and_swap_full((volatile AO_t *)place, expected, desired) != 0;
}

/* A byte of a table that several threads read while one writes. */
static inline uint8_t os_atomic8_load(const uint8_t *place) {
  return AO_char_load((const volatile unsigned char *)place);
}

static inline void os_atomic8_store(uint8_t *place, uint8_t value) {
  AO_char_store((volatile unsigned char *)place, value);
}

/* A byte that is only ever set, or only ever cleared, while several threads look at it. */
static inline bool os_atomic8_is_set(const uint8_t *place) {
  return os_atomic8_load(place) != 0;
}

static inline void os_atomic8_set(uint8_t *place) {
  os_atomic8_store(place, 1);
}

/* Sets it, and says whether this thread was the first to. */
static inline bool os_atomic8_set_first(uint8_t *place) {
  return AO_char_compare_and_swap_full((volatile unsigned char *)place, 0, 1) != 0;
}

/* Clears it, and says whether this thread was the first to. */
static inline bool os_atomic8_clear_first(uint8_t *place) {
  return AO_char_compare_and_swap_full((volatile unsigned char *)place, 1, 0) != 0;
}

/* A hint that the thread waits for another one. */
static inline void os_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/* The poll flag of a mutator is public and so a plain uint32_t; this is its only writer's tool. */
static inline void os_atomic32_exchange_full(uint32_t *flag, uint32_t value) {
  volatile unsigned int *place = flag;
  unsigned int old = AO_int_load(place);
  while (!AO_int_compare_and_swap_full(place, old, value))
    old = AO_int_load(place);
}

/* Bits of an object's GC byte, which inline code of the VM reads, set or cleared while mutators run. Returns the byte
   as it was. */
static inline unsigned char os_atomic_byte_change(unsigned char *byte, unsigned char set,
                                                  unsigned char cleared) {
  volatile unsigned char *place = byte;
  unsigned char old, changed;
  do {
    old = AO_char_load(place);
    changed = (unsigned char)((old | set) & ~cleared);
  } while (!AO_char_compare_and_swap_full(place, old, changed));
  return old;
}

/*
 * Loads that come after an earlier full operation of the same thread, on another word, as the stop
 * protocol needs. On x86-64 that operation is a locked one, which nothing passes; elsewhere, where even an
 * acquire load may pass it, the load is made a full operation too.
 */
#if defined(__x86_64__)
static inline uintptr_t os_atomic_load_full(os_atomic_word *word) {
  return AO_load_acquire(&word->value);
}

static inline uint32_t os_atomic32_load_full(uint32_t *flag) {
  return AO_int_load_acquire((volatile unsigned int *)flag);
}
#else
static inline uintptr_t os_atomic_load_full(os_atomic_word *word) {
  return AO_fetch_and_add_full(&word->value, 0);
}

static inline uint32_t os_atomic32_load_full(uint32_t *flag) {
  return AO_int_fetch_and_add_full((volatile unsigned int *)flag, 0);
}
#endif

#endif
