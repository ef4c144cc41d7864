/*
 * Weak tables: hash tables in native memory whose entries go when their keys or values die.
 */
#ifndef CORE_TRACE_WEAK_TABLES_H
#define CORE_TRACE_WEAK_TABLES_H

#include <tessera/weak.h>

#include "core/trace/roots.h"

/* Builds heap->weak_tables. */
tsr_status weak_tables_open(tsr_heap *heap, tsr_error *error);
void weak_tables_close(tsr_heap *heap);

/* ---- mutators ---------------------------------------------------------------------------------- */

tsr_weak_table *weak_table_new(tsr_heap *heap, tsr_weak_mode mode, tsr_error *error);
void weak_table_free(tsr_weak_table *table);
tsr_status weak_table_put(tsr_weak_table *table, const tsr_weak_key *key, uint64_t *value,
                          tsr_weak_put put, tsr_error *error);
bool weak_table_get(tsr_weak_table *table, const tsr_weak_key *key, uint64_t *value);
bool weak_table_remove(tsr_weak_table *table, const tsr_weak_key *key);
size_t weak_table_count(tsr_weak_table *table);
void weak_table_each(tsr_weak_table *table,
                     void (*visit)(void *context, uint64_t key, uint64_t value), void *context);

/* ---- the collecting thread, world stopped, in this order ------------------------------------------ */

/* Shows the slots that keep what they refer to: keys of tables with weak values. */
void weak_tables_visit(tsr_heap *heap, tsr_visitor *visitor);
/* Entries of tables with weak keys are ephemerons. */
void weak_tables_examine(tsr_weak_phase *phase);
/* Entries of other tables are updated, or go. */
void weak_tables_update(tsr_heap *heap);
/* Entries of tables with weak keys go whose keys were not reached. */
void weak_tables_drop_waiting(tsr_heap *heap);
/* Gives back what tables without entries take, when no ephemeron waits any more. */
void weak_tables_trim(tsr_heap *heap);
/* Shows all other slots of the entries that are left. */
void weak_tables_visit_weak(tsr_heap *heap, tsr_visitor *visitor);

/* Takes and lets go the locks of this room around fork(). */
void weak_tables_fork(tsr_heap *heap, os_fork_stage stage);

#endif
