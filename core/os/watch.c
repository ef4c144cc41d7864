/*
 * AddressSanitizer by its interface, Valgrind by its client requests, each where its header is there.
 */
#include "core/os/watch.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WATCH_ADDRESS_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define WATCH_ADDRESS_SANITIZER 1
#endif

#if defined(WATCH_ADDRESS_SANITIZER)

#include <sanitizer/asan_interface.h>

void os_memory_forbid(uintptr_t start, uintptr_t end) {
  __asan_poison_memory_region((const void *)start, end - start);
}

void os_memory_allow(uintptr_t start, uintptr_t end) {
  __asan_unpoison_memory_region((const void *)start, end - start);
}

#elif defined(__has_include) && __has_include(<valgrind/memcheck.h>)

#include <valgrind/memcheck.h>

void os_memory_forbid(uintptr_t start, uintptr_t end) {
  (void)VALGRIND_MAKE_MEM_NOACCESS(start, end - start);
}

void os_memory_allow(uintptr_t start, uintptr_t end) {
  (void)VALGRIND_MAKE_MEM_DEFINED(start, end - start);
}

#else

void os_memory_forbid(uintptr_t start, uintptr_t end) {
  (void)start;
  (void)end;
}

void os_memory_allow(uintptr_t start, uintptr_t end) {
  (void)start;
  (void)end;
}

#endif
