/*
 * What the loops over objects ask of the compiler, beyond the public macros. Without GCC's extensions they
 * are hints that are not given.
 */
#ifndef CORE_OS_COMPILER_H
#define CORE_OS_COMPILER_H

#if defined(__GNUC__)
#define OS_ALWAYS_INLINE  static inline __attribute__((always_inline))
#define OS_NEVER_INLINE   static __attribute__((noinline, unused))
#define OS_FETCH(address) __builtin_prefetch(address) /* into the cache */
#define OS_READS_STACKS                                                                            \
  __attribute__((no_sanitize("address"))) /* frames of others, gaps included */
#else
#define OS_ALWAYS_INLINE  static inline
#define OS_NEVER_INLINE   static
#define OS_FETCH(address) ((void)(address))
#define OS_READS_STACKS
#endif

#endif
