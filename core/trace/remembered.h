/*
 * The remembered set: which old objects may refer to young ones.
 *
 * Of an old object the GC byte says whether a store has to be told of: it is *armed*, or it is *gray*; and whether it
 * is in the log, once. Its first store takes the write barrier's slow path, which makes it gray and logs it (the quad-colour
 * barrier, after M. Pall's notes on LuaJIT's collector). Each mutator has a log of its own, which the heap's takes over
 * whenever the world stops. A new object that is old from the beginning makes its block
 * *remembered*. So does an object for which the log finds no memory; nothing depends on that. What is sealed is never
 * in the log, for its GC byte cannot be written: its block is remembered.
 *
 * A minor collection scans what is in the log, and the gray objects of remembered blocks. What is old is armed
 * when its scan begins, also where it has just been promoted: until then it is gray. When one of its slots
 * turns out to lead to an object that is still young, it becomes gray and is logged again [design: remembered-set]. Where
 * such a reference may be in no slot that the trace visits, the end of the collection has a look at the object.
 *
 * A large array is not scanned as a whole because one slot was stored into: it stays armed, and the slot is noted, in
 * the bits that would be start bits in an arena's block. A minor collection visits the slots that are noted.
 */
#ifndef CORE_TRACE_REMEMBERED_H
#define CORE_TRACE_REMEMBERED_H

#include "core/trace/worker.h"

/* Builds heap->remembered where the plan has a barrier. */
tsr_status remembered_open(tsr_heap *heap, tsr_error *error);
void remembered_close(tsr_heap *heap);
void remembered_fork(tsr_heap *heap, os_fork_stage stage);

/* Logs an old object, whose GC byte says so already: in the mutator's log. By its thread. */
void remembered_add(tsr_mutator *mutator, tsr_ref object);
/* Logs what is stored behind a forward barrier while a cycle is under way: it shall be marked. False: no memory, or too many
   are logged already. By the mutator's thread. Takes one out; false: there is none. World stopped. */
bool remembered_add_ahead(tsr_mutator *mutator, tsr_ref stored);
bool remembered_pop_ahead(tsr_heap *heap, tsr_ref *stored);
/* The heap's logs take over what is in a mutator's. World stopped, or the mutator is about to go. */
void remembered_take_over(struct tsr_mutator_private *own);

/* Notes slots of a large array, as it stays armed; of a large leaf none. How many were not noted before comes out. False: it is
   neither, or these are not slots of the array, and nothing is noted. Any thread. Whether a slot is noted. */
bool remembered_add_slots(tsr_heap *heap, tsr_ref object, const tsr_slot *first, size_t count,
                          size_t *noted);
bool remembered_has_slot(const tsr_heap *heap, const tsr_slot *slot);

/* In a minor collection: whether an old object may still have to be scanned. */
bool remembered_waits(tsr_heap *heap, tsr_ref object);

/* A minor collection, before anything is reached: begins with another log, and queues what is gray in remembered blocks, which
   are not remembered any more. Before its trace, when what is pinned is known: visits the slots that are noted. In its trace, any
   worker: takes objects out of the log that was; each that is still logged is to be scanned. A slot of an old object leads
   to an object that stays young; an old object is scanned of which only the end can tell. After its release: looks at these. */
void remembered_reach(struct worker *worker);
/* The part of it that is the log: what it names now is to be taken out, in this pause or in steps. Whether all has been. */
void remembered_begin_reading(tsr_heap *heap);
bool remembered_is_read(const tsr_heap *heap);
void remembered_take_slots(struct worker *worker, bool shared);
/* Visits those that are noted of arrays which this collection has promoted, if the worker has one. False: it has none. */
bool remembered_take_promoted(struct worker *worker, bool shared);
log_chunk *remembered_take_logged(tsr_heap *heap);
void remembered_note_slot(tsr_heap *heap, const tsr_slot *slot);
void remembered_doubt(tsr_heap *heap, tsr_ref object);
void remembered_clear_logged(tsr_ref object);
void remembered_settle(tsr_heap *heap);

/* A collection of everything, before its trace, which arms what is old: forgets the log. After its release: arms what lies in
   remembered blocks; where something young is left, every old object but for those that refer to it. */
void remembered_forget(tsr_heap *heap);
void remembered_rebuild(tsr_heap *heap, bool is_young_left);

/* Whether a slot of an object will be looked at by the next minor collection, or the object is young. The same. */
bool remembered_has(tsr_heap *heap, tsr_ref object, const tsr_slot *slot);

/* For the verifier. World stopped, no buffer handed out. Every entry of the log, also what steps have still to take out of it; and
   whether an object has to be among them, as far as its GC byte says. */
void remembered_each_logged(const tsr_heap *heap, void (*visit)(void *context, tsr_ref object),
                            void *context);
bool remembered_is_logged(tsr_heap *heap, tsr_ref object);

/* Before what is old and not marked is freed: forgets it. */
void remembered_purge(tsr_heap *heap);

#endif
