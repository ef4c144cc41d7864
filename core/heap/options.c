/*
 * Reading options. One table (options.def) gives a row per option; one parser per kind turns text
 * into a value and says what is wrong with it.
 */
#include "core/heap/options.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/os/error.h"
#include "core/os/machine.h"

typedef enum option_kind {
  KIND_TEXT,
  KIND_SIZE,
  KIND_COUNT,
  KIND_DURATION,
  KIND_SWITCH
} option_kind;

typedef struct option_row {
  const char *name;
  option_kind kind;
  const char *default_text;
  uint64_t least, most;
  const char *sentence;
  size_t field_offset;
} option_row;

#define OPTION(name, kind, default_text, least, most, sentence)                                    \
  {#name, KIND_##kind, default_text, least, most, sentence, offsetof(option_values, name)},
static const option_row option_rows[] = {
#include "core/heap/options.def"
};
#undef OPTION

/* ---- value to text ------------------------------------------------------------------------- */

typedef struct option_unit {
  const char *suffix;
  uint64_t factor;
} option_unit;

/* Units in which values are written, largest first; the last fits every value. */
static const option_unit written_sizes[] = {{"T", (uint64_t)1 << 40},
                                            {"G", (uint64_t)1 << 30},
                                            {"M", (uint64_t)1 << 20},
                                            {"K", (uint64_t)1 << 10},
                                            {"", 1}};
static const option_unit written_durations[] = {
    {"s", 1000000000}, {"ms", 1000000}, {"us", 1000}, {"ns", 1}};
static const option_unit written_plain[] = {{"", 1}};

/* A number as an option would be written: in the largest unit that leaves it whole. */
static void option_write_number(char *text, size_t bytes, option_kind kind, uint64_t value) {
  if (kind == KIND_SWITCH) {
    snprintf(text, bytes, "%s", value != 0 ? "on" : "off");
    return;
  }
  const option_unit *unit = kind == KIND_SIZE       ? written_sizes
                            : kind == KIND_DURATION ? written_durations
                                                    : written_plain;
  while (unit->factor != 1 && (value == 0 || value % unit->factor != 0))
    unit++;
  snprintf(text, bytes, "%" PRIu64 "%s", value / unit->factor, unit->suffix);
}

/* ---- text to value ------------------------------------------------------------------------- */

static const option_unit size_units[] = {{"", 1},
                                         {"b", 1},
                                         {"k", (uint64_t)1 << 10},
                                         {"kb", (uint64_t)1 << 10},
                                         {"kib", (uint64_t)1 << 10},
                                         {"m", (uint64_t)1 << 20},
                                         {"mb", (uint64_t)1 << 20},
                                         {"mib", (uint64_t)1 << 20},
                                         {"g", (uint64_t)1 << 30},
                                         {"gb", (uint64_t)1 << 30},
                                         {"gib", (uint64_t)1 << 30},
                                         {"t", (uint64_t)1 << 40},
                                         {"tb", (uint64_t)1 << 40},
                                         {"tib", (uint64_t)1 << 40},
                                         {NULL, 0}};
static const option_unit count_units[] = {{"", 1}, {NULL, 0}};
static const option_unit duration_units[] = {
    {"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}, {NULL, 0}};
static const option_unit switch_words[] = {{"0", 0},    {"off", 0}, {"false", 0},
                                           {"no", 0},   {"1", 1},   {"on", 1},
                                           {"true", 1}, {"yes", 1}, {NULL, 0}};

static const option_unit *option_find_unit(const option_unit *units, const char *text) {
  for (; units->suffix != NULL; units++) {
    size_t i = 0;
    while (units->suffix[i] != '\0' && tolower((unsigned char)text[i]) == units->suffix[i])
      i++;
    if (units->suffix[i] == '\0' && text[i] == '\0') return units;
  }
  return NULL;
}

/* Digits and a unit. False: not of that form, or too large for 64 bits. */
static bool option_read_number(const char *text, const option_unit *units, uint64_t *value) {
  if (!isdigit((unsigned char)*text)) return false;
  uint64_t number = 0;
  for (; isdigit((unsigned char)*text); text++) {
    uint64_t digit = (uint64_t)(*text - '0');
    if (number > (UINT64_MAX - digit) / 10) return false;
    number = number * 10 + digit;
  }
  const option_unit *unit = option_find_unit(units, text);
  if (unit == NULL || number > UINT64_MAX / unit->factor) return false;
  *value = number * unit->factor;
  return true;
}

static bool option_read(option_kind kind, const char *text, uint64_t *value) {
  switch (kind) {
  case KIND_SIZE:
    return option_read_number(text, size_units, value);
  case KIND_COUNT:
    return option_read_number(text, count_units, value);
  case KIND_DURATION:
    return option_read_number(text, duration_units, value);
  case KIND_SWITCH: {
    const option_unit *word = option_find_unit(switch_words, text);
    if (word != NULL) *value = word->factor;
    return word != NULL;
  }
  case KIND_TEXT:
    break;
  }
  *value = strlen(text);
  return true;
}

/* What a readable value looks like, for messages. */
static const char *option_example(option_kind kind) {
  static const char *const examples[] = {[KIND_TEXT] = "text",
                                         [KIND_SIZE] = "a size such as 65536, 64M or 1GiB",
                                         [KIND_COUNT] = "a whole number",
                                         [KIND_DURATION] = "a duration such as 500us, 1ms or 2s",
                                         [KIND_SWITCH] = "0, 1, off or on"};
  return examples[kind];
}

static void *option_field(option_values *values, const option_row *row) {
  return (char *)values + row->field_offset;
}

static tsr_status option_assign(tsr_options *options, const option_row *row, const char *text,
                                const char *source, tsr_error *error) {
  uint64_t value;
  if (!option_read(row->kind, text, &value)) {
    return error_set(error, TSR_INVALID_ARGUMENT, "%s: \"%.64s\" cannot be read; give %s", source,
                     text, option_example(row->kind));
  }
  if (value < row->least || value > row->most) {
    char least[32], most[32];
    option_write_number(least, sizeof least, row->kind, row->least);
    option_write_number(most, sizeof most, row->kind, row->most);
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "%s: \"%.64s\" is out of range; the least is %s, the most is %s%s", source,
                     text, least, most, row->kind == KIND_TEXT ? " characters" : "");
  }
  void *field = option_field(&options->values, row);
  if (row->kind == KIND_TEXT) {
    memcpy(field, text, (size_t)value + 1);
  } else {
    memcpy(field, &value, sizeof value);
  }
  return TSR_OK;
}

/* ---- the set -------------------------------------------------------------------------------- */

void options_reset(tsr_options *options) {
  memset(options, 0, sizeof *options);
  for (size_t i = 0; i < OPTION_COUNT_OF_ALL; i++) {
    if (option_rows[i].default_text[0] == '\0') continue;
    (void)option_assign(options, &option_rows[i], option_rows[i].default_text, "default", NULL);
  }
}

tsr_options *tsr_options_create(void) {
  tsr_options *options = malloc(sizeof *options);
  if (options != NULL) options_reset(options);
  return options;
}

void tsr_options_destroy(tsr_options *options) {
  free(options);
}

static tsr_status option_unknown(const char *name, tsr_error *error) {
  char names[224] = "";
  for (size_t i = 0; i < OPTION_COUNT_OF_ALL; i++) {
    size_t used = strlen(names);
    snprintf(names + used, sizeof names - used, "%s%s", i == 0 ? "" : ", ", option_rows[i].name);
  }
  return error_set(error, TSR_INVALID_ARGUMENT, "no option is called \"%.32s\"; there are: %s",
                   name, names);
}

tsr_status tsr_options_set(tsr_options *options, const char *name, const char *value,
                           tsr_error *error) {
  if (options == NULL || name == NULL || value == NULL) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "tsr_options_set needs a set, a name and a value; one of them is NULL");
  }
  for (size_t i = 0; i < OPTION_COUNT_OF_ALL; i++) {
    if (strcmp(option_rows[i].name, name) != 0) continue;
    tsr_status status = option_assign(options, &option_rows[i], value, name, error);
    if (status == TSR_OK) options->origin[i] = ORIGIN_PINNED;
    return status;
  }
  return option_unknown(name, error);
}

tsr_status tsr_options_set_heap_name(tsr_options *options, const char *name, tsr_error *error) {
  size_t length = name == NULL ? 0 : strlen(name);
  bool valid = options != NULL && length > 0 && length < HEAP_NAME_BYTES;
  for (size_t i = 0; valid && i < length; i++) {
    valid = isalnum((unsigned char)name[i]) || name[i] == '_';
  }
  if (!valid) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "a heap's name has 1 to %d letters, digits or underscores",
                     HEAP_NAME_BYTES - 1);
  }
  memcpy(options->heap_name, name, length + 1);
  return TSR_OK;
}

/* ---- environment ----------------------------------------------------------------------------- */

/* TESSERA_<HEAP>_<OPTION>, or TESSERA_<OPTION> without a heap name, in capitals. */
static void option_variable_name(char *variable, size_t bytes, const char *heap_name,
                                 const char *option_name) {
  snprintf(variable, bytes, "TESSERA_%s%s%s", heap_name, heap_name[0] == '\0' ? "" : "_",
           option_name);
  for (; *variable != '\0'; variable++)
    *variable = (char)toupper((unsigned char)*variable);
}

static tsr_status option_from_environment(tsr_options *options, option_id id, tsr_error *error) {
  const option_row *row = &option_rows[id];
  char variable[96];
  option_variable_name(variable, sizeof variable, options->heap_name, row->name);
  const char *text = os_environment(variable);
  if (text == NULL) {
    option_variable_name(variable, sizeof variable, "", row->name);
    text = os_environment(variable);
  }
  if (text == NULL || *text == '\0') return TSR_OK;
  tsr_status status = option_assign(options, row, text, variable, error);
  if (status == TSR_OK) options->origin[id] = ORIGIN_ENVIRONMENT;
  return status;
}

tsr_status options_resolve(tsr_options *resolved, const tsr_options *pinned, tsr_error *error) {
  if (pinned != NULL) {
    *resolved = *pinned;
  } else {
    options_reset(resolved);
  }
  for (size_t i = 0; i < OPTION_COUNT_OF_ALL; i++) {
    if (resolved->origin[i] == ORIGIN_PINNED) continue;
    tsr_status status = option_from_environment(resolved, (option_id)i, error);
    if (status != TSR_OK) return status;
  }
  return TSR_OK;
}

bool options_without_nursery(const tsr_options *options) {
  return options->origin[OPTION_nursery] != ORIGIN_DEFAULT && options->values.nursery == 0;
}

/* ---- help ------------------------------------------------------------------------------------ */

/* The value in force. Zero that nobody has given says that there is none. */
static void option_write_value(char *text, size_t bytes, const tsr_options *options, option_id id) {
  const option_row *row = &option_rows[id];
  const char *field = (const char *)&options->values + row->field_offset;
  if (row->kind == KIND_TEXT) {
    snprintf(text, bytes, "\"%s\"", field);
    return;
  }
  uint64_t value;
  memcpy(&value, field, sizeof value);
  bool is_default = options->origin[id] == ORIGIN_DEFAULT && row->default_text[0] == '\0';
  if (is_default && value == 0) {
    snprintf(text, bytes, "none");
  } else {
    option_write_number(text, bytes, row->kind, value);
  }
}

/* What may be given: ", 1M to 32T" for sizes, durations and counts; nothing for switches and text. */
static void option_write_range(char *text, size_t bytes, const option_row *row) {
  text[0] = '\0';
  if (row->kind == KIND_SWITCH || row->kind == KIND_TEXT) return;
  char least[32], most[32];
  option_write_number(least, sizeof least, row->kind, row->least);
  option_write_number(most, sizeof most, row->kind, row->most);
  snprintf(text, bytes, ", %s to %s", least, most);
}

void options_print_help(const tsr_options *options, const struct plan *plan) {
  static const char *const kinds[] = {[KIND_TEXT] = "text",
                                      [KIND_SIZE] = "size",
                                      [KIND_COUNT] = "count",
                                      [KIND_DURATION] = "duration",
                                      [KIND_SWITCH] = "switch"};
  static const char *const origins[] = {[ORIGIN_DEFAULT] = "default",
                                        [ORIGIN_ENVIRONMENT] = "environment",
                                        [ORIGIN_PINNED] = "pinned by the program"};
  fprintf(stderr,
          "Tessera options, their values for heap \"%s\", and where these come from\n"
          "(plan in use: %s, %s):\n",
          options->heap_name, plan->name, plan->summary);
  for (size_t i = 0; i < OPTION_COUNT_OF_ALL; i++) {
    const option_row *row = &option_rows[i];
    char variable[96], value[OPTION_TEXT_BYTES + 8], range[80];
    option_variable_name(variable, sizeof variable, "", row->name);
    option_write_value(value, sizeof value, options, (option_id)i);
    option_write_range(range, sizeof range, row);
    bool has_default = row->default_text[0] != '\0';
    fprintf(stderr, "  %s = %s (%s)\n      %s%s%s%s: %s\n", variable, value,
            origins[options->origin[i]], kinds[row->kind], range, has_default ? ", default " : "",
            row->default_text, row->sentence);
  }
}
