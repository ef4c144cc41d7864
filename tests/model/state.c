/*
 * What events are made of. See state.h.
 */
#include "state.h"

#include <string.h>

enum rule removed = RULES;
const config *current;

unsigned fields_of(const object *o) {
  switch (o->kind) {
  case LEAF:
    return 0;
  case WEAK:
  case FORWARD:
    return 1;
  case ARRAY:
  case EPHEMERON:
    return 2;
  default:
    return current->fields;
  }
}

bool is_weak_slot(const object *o, unsigned f) {
  return o->kind == WEAK || (o->kind == EPHEMERON && f == 0);
}

bool is_young(const state *s, unsigned o) {
  return o != 0 && o <= OBJECTS && s->object[o].space == YOUNG;
}

bool is_old(const state *s, unsigned o) {
  return o != 0 && o <= OBJECTS && s->object[o].space == OLD;
}

bool condemned(const state *s, unsigned o) {
  const object *x = &s->object[o];
  if (x->space != OLD || x->marked || x->kind == IMMORTAL) return false;
  return x->kind == ARRAY ? x->listed : (s->unswept >> x->block) & 1;
}

bool exists(const state *s, unsigned o) {
  return s->object[o].space != FREE && !condemned(s, o);
}

bool logs_are_empty(const state *s) {
  for (unsigned o = 1; o <= current->objects; o++) {
    const object *x = &s->object[o];
    if (x->log != UNLOGGED || x->card[0] == 1 || x->card[1] == 1) return false;
  }
  return true;
}

void break_with(state *s, enum breakage b) {
  if (s->broken == SOUND) s->broken = (uint8_t)b;
}

void arm(object *x) {
  x->armed = 1;
}

/* A mutator's log that is full is handed to the heap first. Only where barriers go step by step is it ever full. */
static void hand_over(state *s, enum logged log) {
  for (unsigned o = 1; o <= current->objects; o++) {
    object *x = &s->object[o];
    if (x->log == log) x->log = rule(RULE_FULL_LOG_HANDED_OVER) ? REMEMBERED : UNLOGGED;
  }
}

void append_log(state *s, unsigned o, enum logged log) {
  object *x = &s->object[o];
  if (current->steps && log != REMEMBERED) hand_over(s, log);
  if (x->log != UNLOGGED) {
    x->twice = 1;
  } else {
    x->log = (uint8_t)log;
  }
}

void free_object(state *s, unsigned o) {
  object *x = &s->object[o];
  if (x->log != UNLOGGED) break_with(s, FREED_IN_LOG);
  if (x->queued) break_with(s, FREED_IN_QUEUE);
  if (x->card[0] || x->card[1]) break_with(s, FREED_CARD);
  if (x->final != NO_FINALIZER) break_with(s, FREED_FINALIZER);
  if (x->pinned) break_with(s, FREED_PINNED);
  if (x->ahead) break_with(s, FREED_AHEAD);
  if (x->recorded[0] || x->recorded[1]) break_with(s, FREED_RECORDED);
  memset(x, 0, sizeof *x);
}

void retire_buffers(state *s) {
  for (unsigned m = 0; m < current->mutators; m++) {
    s->mutator[m].buffer = 0;
    s->mutator[m].run_logged = 0;
  }
}

/* ---- tracing --------------------------------------------------------------------------------- */

static unsigned queue_length(const state *s) {
  unsigned length = 0;
  for (unsigned o = 1; o <= current->objects; o++)
    length += s->object[o].queued != UNQUEUED;
  return length;
}

static void push(state *s, unsigned o) {
  object *x = &s->object[o];
  if (!current->overflow || queue_length(s) < current->queue) {
    x->queued = QUEUED;
  } else if (rule(RULE_OVERFLOW_FLAGS_BLOCK)) {
    s->flagged |= (uint8_t)(1u << x->block);
  }
}

/* Young objects are none of the tracer's business. A leaf is not queued. */
void reach(state *s, unsigned o) {
  object *x = &s->object[o];
  if (!is_old(s, o)) return;
  cover(x->kind == LEAF ? EVENT_REACHED_LEAF : EVENT_REACHED, colour_of(s, o));
  if (x->marked) return;
  x->marked = 1;
  if (x->kind != LEAF) push(s, o);
}

/* The key of an ephemeron says whether the value is kept: at once, or at remark at the latest. */
static bool key_is_live(const state *s, unsigned key) {
  return !is_old(s, key) || s->object[key].marked;
}

void scan_field(state *s, unsigned o, unsigned f) {
  object *x = &s->object[o];
  if (f >= fields_of(x) || is_weak_slot(x, f)) return;
  if (x->kind == EPHEMERON && rule(RULE_EPHEMERON_WAITS_FOR_KEY) && !key_is_live(s, x->field[0]))
    return;
  if (!is_old(s, x->field[f])) return;
  record_slot(s, o, f);
  reach(s, x->field[f]);
}

void scan(state *s, unsigned o) {
  for (unsigned f = 0; f < fields_of(&s->object[o]); f++)
    scan_field(s, o, f);
}

void take_ahead(state *s) {
  for (unsigned o = 1; o <= current->objects; o++) {
    object *x = &s->object[o];
    if (!x->ahead) continue;
    x->ahead = 0;
    if (s->phase == MARKING && rule(RULE_AHEAD_IS_MARKED)) reach(s, o);
  }
}

/* ---- what the program can still get at ------------------------------------------------------- */

static uint8_t bit(unsigned o) {
  return (uint8_t)(o != 0 && o <= OBJECTS ? 1u << o : 0);
}

/* Through an object: all strong fields; the value of an ephemeron if its key is there. */
static uint8_t referred(const state *s, unsigned o, uint8_t reached) {
  const object *x = &s->object[o];
  uint8_t to = 0;
  for (unsigned f = 0; f < fields_of(x); f++) {
    if (is_weak_slot(x, f)) continue;
    if (x->kind == EPHEMERON && x->field[0] != 0 && !(reached & bit(x->field[0]))) continue;
    to |= bit(x->field[f]);
  }
  return to;
}

uint8_t referred_from(const state *s, uint8_t objects) {
  for (uint8_t before = 0; before != objects;) {
    before = objects;
    for (unsigned o = 1; o <= current->objects; o++) {
      if (before & bit(o)) objects |= referred(s, o, before);
    }
  }
  return objects;
}

uint8_t reachable(const state *s) {
  uint8_t reached = 0;
  for (unsigned m = 0; m < current->mutators; m++) {
    const mutator *mu = &s->mutator[m];
    for (unsigned r = 0; r < current->roots; r++)
      reached |= bit(mu->root[r]);
    if (mu->barrier != OUTSIDE) reached |= (uint8_t)(bit(mu->target) | bit(mu->value));
  }
  for (unsigned o = 1; o <= current->objects; o++) {
    const object *x = &s->object[o];
    bool root = x->pinned || x->final == READY || (x->kind == IMMORTAL && x->space == OLD);
    if (root) reached |= bit(o);
  }
  return referred_from(s, reached);
}
