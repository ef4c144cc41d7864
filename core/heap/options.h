/*
 * Options of a heap: the values in force, and where each came from.
 *
 * Values pinned by the VM beat the environment, which beats the defaults. A named heap looks at
 * TESSERA_<NAME>_<OPTION> before TESSERA_<OPTION>.
 */
#ifndef CORE_HEAP_OPTIONS_H
#define CORE_HEAP_OPTIONS_H

#include <stdbool.h>
#include <tessera/options.h>

#include "core/heap/plan.h"

#define OPTION_TEXT_BYTES                                       256
#define HEAP_NAME_BYTES                                         32

#define OPTION(name, kind, default_text, least, most, sentence) OPTION_##name,
typedef enum option_id {
#include "core/heap/options.def"
  OPTION_COUNT_OF_ALL
} option_id;
#undef OPTION

typedef enum option_origin { ORIGIN_DEFAULT, ORIGIN_ENVIRONMENT, ORIGIN_PINNED } option_origin;

typedef char option_text[OPTION_TEXT_BYTES];

/* One field per option, of the C type of its kind. Sizes in bytes, durations in nanoseconds. */
typedef struct option_values {
#define OPTION_TYPE_TEXT                                        option_text
#define OPTION_TYPE_SIZE                                        uint64_t
#define OPTION_TYPE_COUNT                                       uint64_t
#define OPTION_TYPE_DURATION                                    uint64_t
#define OPTION_TYPE_SWITCH                                      uint64_t
#define OPTION(name, kind, default_text, least, most, sentence) OPTION_TYPE_##kind name;
#include "core/heap/options.def"
#undef OPTION
} option_values;

struct tsr_options {
  char heap_name[HEAP_NAME_BYTES]; /* empty: no name */
  option_values values;
  option_origin origin[OPTION_COUNT_OF_ALL];
};

/* No option pinned, every value the default. */
void options_reset(tsr_options *options);

/* Copies `pinned` (NULL: nothing pinned) and fills the rest from environment and defaults. */
tsr_status options_resolve(tsr_options *resolved, const tsr_options *pinned, tsr_error *error);

/* Whether somebody has asked for no nursery. */
bool options_without_nursery(const tsr_options *options);

/* Prints the table with the values in force, and the plan chosen, to stderr. */
void options_print_help(const tsr_options *options, const struct plan *plan);

#endif
