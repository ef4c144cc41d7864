/**
 * @file options.h
 * @brief Options: pinned by the VM, else read from the environment, else the defaults.
 *
 * `TESSERA_HELP=1` prints every option with its unit, default, range and the value in force when a
 * heap is created; the same table stands in docs/options.md. Sizes read `65536`, `64M`, `1g`, `1GiB`;
 * durations `500us`, `1ms`, `2s`; switches `0`, `1`, `on`, `off`.
 *
 * A heap with a name ("jit") reads TESSERA_JIT_HEAP_MAX before TESSERA_HEAP_MAX. Programs that run
 * with raised privileges ignore the environment.
 */
#ifndef TESSERA_OPTIONS_H
#define TESSERA_OPTIONS_H

#include <tessera/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A set of options, none pinned. NULL when out of memory. Any thread; never collects. */
TSR_API tsr_options *tsr_options_create(void);

/** Frees the set; heaps made from it keep their values. NULL is allowed. Any thread. */
TSR_API void tsr_options_destroy(tsr_options *options);

/**
 * Pins one option: the environment no longer changes it. `name` is the lower-case name
 * ("heap_max"); `value` is text as the environment would hold it.
 * Errors: unknown name (the message lists the names), unreadable or out-of-range value.
 * One thread at a time per set; never collects.
 */
TSR_API tsr_status tsr_options_set(tsr_options *options, const char *name, const char *value,
                                   tsr_error *error);

/**
 * Names the heaps made from this set: letters, digits and underscores, at most 31. The name
 * chooses the environment variables and appears in messages.
 */
TSR_API tsr_status tsr_options_set_heap_name(tsr_options *options, const char *name,
                                             tsr_error *error);

#ifdef __cplusplus
}
#endif

#endif
