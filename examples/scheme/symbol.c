/*
 * symbol.c: the symbol table.
 *
 * Symbols are heap objects, held by a native array that is a root, so they have an id that doesn't
 * move. Sources, scopes and the tables of keywords work with ids. Symbols are never freed.
 */
#include "heap.h"
#include "utf8.h"
#include <stdlib.h>
#include <string.h>

static uint32_t hash_name(const char *name, size_t length) {
  uint32_t hash = 2166136261u; /* FNV-1a */
  for (size_t i = 0; i < length; i++)
    hash = (hash ^ (unsigned char)name[i]) * 16777619u;
  return hash;
}

static bool name_equals(value symbol, const char *name, size_t bytes) {
  const struct string *string = string_of(symbol_of(symbol)->name);
  uint64_t i = 0;
  for (size_t at = 0; at < bytes; i++) {
    if (i == string->length || string->chars[i] != utf8_next(name, bytes, &at)) return false;
  }
  return i == string->length;
}

static void insert(struct symbol_table *table, uint32_t id) {
  uint32_t mask = table->bucket_count - 1;
  uint32_t at = table->info[id].hash & mask;
  while (table->buckets[at] != 0)
    at = (at + 1) & mask;
  table->buckets[at] = id + 1;
}

/** Doubles the arrays; the buckets stay at most half full. */
static void grow(struct symbol_table *table) {
  uint32_t capacity = table->capacity == 0 ? 1024 : table->capacity * 2;
  table->symbols = checked_realloc(table->symbols, capacity, sizeof *table->symbols);
  table->info = checked_realloc(table->info, capacity, sizeof *table->info);
  table->capacity = capacity;
  table->bucket_count = capacity * 2;
  table->buckets = checked_realloc(table->buckets, table->bucket_count, sizeof *table->buckets);
  memset(table->buckets, 0, table->bucket_count * sizeof *table->buckets);
  for (uint32_t id = 0; id < table->count; id++)
    insert(table, id);
}

static uint32_t add(struct vm *vm, const char *name, size_t length, uint32_t hash) {
  struct symbol_table *table = &vm->symbols;
  if (table->count == table->capacity) grow(table);
  uint32_t id = table->count;
  value symbol = make_symbol(vm, make_string_utf8(vm, name, length), id);
  table->symbols[id].word = symbol;
  table->info[id] = (struct symbol_info){.hash = hash};
  table->count++;
  insert(table, id);
  return id;
}

uint32_t intern(struct vm *vm, const char *name, size_t length) {
  struct symbol_table *table = &vm->symbols;
  uint32_t hash = hash_name(name, length);
  if (table->bucket_count > 0) {
    uint32_t mask = table->bucket_count - 1;
    for (uint32_t at = hash & mask; table->buckets[at] != 0; at = (at + 1) & mask) {
      uint32_t id = table->buckets[at] - 1;
      if (table->info[id].hash == hash && name_equals(table->symbols[id].word, name, length)) {
        return id;
      }
    }
  }
  return add(vm, name, length, hash);
}

uint32_t intern_c(struct vm *vm, const char *name) {
  return intern(vm, name, strlen(name));
}

const char *symbol_name(value symbol, char *buffer, size_t size) {
  const struct string *name = string_of(symbol_of(symbol)->name);
  size_t used = 0;
  for (uint64_t i = 0; i < name->length && used + UTF8_MAX_BYTES < size; i++) {
    used += utf8_put(buffer + used, name->chars[i]);
  }
  buffer[used] = '\0';
  return buffer;
}

void symbol_table_free(struct vm *vm) {
  free(vm->symbols.symbols);
  free(vm->symbols.info);
  free(vm->symbols.buckets);
}
