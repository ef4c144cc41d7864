/*
 * The remembered set: which old objects may refer to young ones.
 *
 * Of an old object the GC byte says whether a store has to be told of: it is *armed*, or it is *gray* and stands in the
 * log, once or more often. Its first store takes the write barrier's slow path, which makes it gray and logs it (the quad-colour
 * barrier, after M. Pall's notes on LuaJIT's collector). Whatever comes to lie in an old block without a
 * barrier makes the block *remembered*: new objects there, and those that are promoted. So does an object for which the
 * log finds no memory; nothing depends on that.
 *
 * A minor collection scans the objects of the log, and the gray ones of remembered blocks, those among them that it
 * has promoted itself. At its end it looks at the same once more: what still refers to a young object is logged again, the
 * rest is armed [design: remembered-set]. No mark is needed for that: an object is looked at for its block or for its
 * entry in the log, never for both.
 */
#ifndef CORE_TRACE_REMEMBERED_H
#define CORE_TRACE_REMEMBERED_H

#include "core/trace/worker.h"

/* Builds heap->remembered where the plan is generational. */
tsr_status remembered_open(tsr_heap *heap, tsr_error *error);
void remembered_close(tsr_heap *heap);
void remembered_fork(tsr_heap *heap, os_fork_stage stage);

/* Logs an old object, which is gray now. Any thread. */
void remembered_add(tsr_heap *heap, tsr_ref object);

/* Whether an old object may have been stored into since the last collection that looked at it, or is new. What is sealed
   is armed for good, and counts. */
bool remembered_is_gray(tsr_heap *heap, tsr_ref object);

/* A minor collection, before its trace: queues what is remembered. After its release: remembers what still refers to
   young objects. */
void remembered_reach(struct worker *worker);
void remembered_renew(tsr_heap *heap);

/* A collection of everything, before its trace: forgets the log. After its release: arms every old object, but for
   those that refer to young ones, where there are any. */
void remembered_forget(tsr_heap *heap);
void remembered_rebuild(tsr_heap *heap, bool is_young_left);

/* An entry of the log that is no old object; NULL: there is none. World stopped, no buffer handed out. */
tsr_ref remembered_fault(const tsr_heap *heap);

/* Before what is old and not marked is freed: forgets it. */
void remembered_purge(tsr_heap *heap);

#endif
