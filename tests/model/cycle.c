/*
 * A cycle of the old generation: marking, remark, sweeping. See state.h.
 */
#include "state.h"

/* ---- the beginning ---------------------------------------------------------------------------- */

/* nursery=0: what was logged between cycles is of no use; the cards of it are cleaned. */
static void discard_log(state *s) {
  for (unsigned o = 1; o <= current->objects; o++) {
    object *x = &s->object[o];
    if (x->log != UNLOGGED) cover(EVENT_DISCARDED, colour_of(s, o));
    x->log = UNLOGGED;
    x->twice = 0;
    /* Without the rule: the entries go, and the card bytes still say that they are logged. */
    for (unsigned f = 0; f < FIELDS; f++) {
      if (x->card[f]) x->card[f] = rule(RULE_DISCARD_CLEANS_CARDS) ? 0 : 2;
    }
  }
}

static void note_the_dead(state *s) {
  uint8_t alive = reachable(s);
  for (unsigned o = 1; o <= current->objects; o++) {
    object *x = &s->object[o];
    if (exists(s, o) && !((alive >> o) & 1) && x->dead == UNSEEN) x->dead = DEAD_AT_START;
  }
}

static void choose_candidate(state *s, unsigned candidate) {
  s->candidate = (uint8_t)candidate;
  for (unsigned m = 0; m < current->mutators; m++) {
    mutator *mu = &s->mutator[m];
    if (candidate != 0 && mu->buffer == candidate && rule(RULE_CANDIDATE_HANDS_OUT_NOTHING)) {
      mu->buffer = mu->run_logged = 0;
    }
  }
}

void begin_cycle(state *s, unsigned candidate) {
  if (!with_nursery(s) && rule(RULE_LOG_EMPTY_AT_START)) discard_log(s);
  if (current->floating) note_the_dead(s);
  choose_candidate(s, candidate);
  s->phase = MARKING;
  for (unsigned m = 0; m < current->mutators; m++) {
    for (unsigned r = 0; r < current->roots; r++) {
      reach(s, s->mutator[m].root[r]);
      if (current->stacks) s->mutator[m].seen[r] = 1;
    }
  }
}

/* ---- increments -------------------------------------------------------------------------------- */

/*
 * The next queued object, or the rest of it. nursery=0: armed before its first field is scanned. One that was left
 * half-way is queued still.
 */
void take_from_queue(state *s, unsigned o) {
  object *x = &s->object[o];
  take_ahead(s);
  unsigned first = x->queued == HALF_SCANNED ? 1 : 0;
  cover(first == 0 ? EVENT_TAKEN : EVENT_TAKEN_REST, colour_of(s, o));
  bool stop_half_way = current->split && first == 0 && fields_of(x) > 1;
  bool before = rule(RULE_ARMED_BEFORE_SCAN);
  if (!with_nursery(s) && (before ? first == 0 : !stop_half_way)) arm(x);
  x->queued = stop_half_way ? HALF_SCANNED : UNQUEUED;
  for (unsigned f = first; f < fields_of(x); f++) {
    scan_field(s, o, f);
    if (stop_half_way) return;
  }
}

/* A block whose entries the queue had no room for: everything marked in it is scanned again. */
void rescan_block(state *s, unsigned b) {
  uint8_t others = (uint8_t)(s->flagged & ~(1u << b));
  take_ahead(s);
  if (rule(RULE_FLAG_CLEARED_FIRST)) s->flagged = others;
  for (unsigned o = 1; o <= current->objects; o++) {
    object *x = &s->object[o];
    if (x->space != OLD || !x->marked || x->block != b || x->kind == LEAF) continue;
    cover(EVENT_RESCANNED, colour_of(s, o));
    if (!with_nursery(s)) arm(x);
    scan(s, o);
  }
  if (!rule(RULE_FLAG_CLEARED_FIRST)) s->flagged = others;
}

/* nursery=0: a logged object that is marked is scanned again, armed first; another just leaves the log. */
void read_log_entry(state *s, unsigned o) {
  object *x = &s->object[o];
  take_ahead(s);
  cover(EVENT_LOG_READ, colour_of(s, o));
  if (x->twice) {
    x->twice = 0;
  } else {
    x->log = UNLOGGED;
  }
  if (!x->marked) return;
  if (rule(RULE_LOG_ARMS)) arm(x);
  if (rule(RULE_LOG_MARKS_CHILDREN)) scan(s, o);
}

void read_card(state *s, unsigned o, unsigned f) {
  cover(EVENT_CARD_READ, card_colour(s, o, f));
  s->object[o].card[f] = 0;
  if (s->object[o].marked && rule(RULE_CARD_MARKS_CHILDREN)) scan_field(s, o, f);
}

/* ---- remark ------------------------------------------------------------------------------------ */

static void drain(state *s) {
  for (unsigned o = 1; o <= current->objects;) {
    if (s->object[o].queued) {
      take_from_queue(s, o);
      o = 1;
    } else {
      o++;
    }
  }
  for (unsigned b = 0; b < BLOCKS; b++) {
    if ((s->flagged >> b) & 1) {
      rescan_block(s, b);
      drain(s);
    }
  }
}

static void read_logs(state *s) {
  for (unsigned o = 1; o <= current->objects; o++) {
    while (s->object[o].log != UNLOGGED)
      read_log_entry(s, o);
    for (unsigned f = 0; f < FIELDS; f++) {
      if (s->object[o].card[f] == 1) read_card(s, o, f);
    }
  }
}

static void remark_roots(state *s) {
  for (unsigned m = 0; m < current->mutators; m++) {
    mutator *mu = &s->mutator[m];
    for (unsigned r = 0; r < current->roots; r++) {
      bool skip = rule(RULE_REMARK_SKIPS_WHAT_CYCLE_SAW) ? mu->seen[r] : mu->clean[r];
      if (!skip || !current->stacks) reach(s, mu->root[r]);
      mu->seen[r] = 0;
    }
  }
  for (unsigned o = 1; o <= current->objects; o++) {
    object *x = &s->object[o];
    bool immortal = x->kind == IMMORTAL && rule(RULE_IMMORTAL_ARE_ROOTS);
    if (x->pinned || x->final == READY || immortal) reach(s, o);
  }
}

/* Young objects that stay young are roots. A young array is read whole: its clean cards hold old children too. */
static void remark_survivors(state *s) {
  if (!rule(RULE_SURVIVORS_ARE_ROOTS)) return;
  for (unsigned o = 1; o <= current->objects; o++) {
    object *x = &s->object[o];
    if (x->space != YOUNG) continue;
    for (unsigned f = 0; f < fields_of(x); f++) {
      bool whole = x->kind != ARRAY || rule(RULE_YOUNG_ARRAY_READ_WHOLE) || x->card[f];
      if (whole) scan_field(s, o, f);
    }
  }
}

static bool holds_at_remark(const state *s, unsigned o) {
  return s->object[o].space == YOUNG || (s->object[o].space == OLD && s->object[o].marked);
}

static void trace_ephemerons(state *s) {
  if (!rule(RULE_EPHEMERONS_AT_REMARK)) return;
  for (bool again = true; again;) {
    again = false;
    for (unsigned o = 1; o <= current->objects; o++) {
      object *x = &s->object[o];
      if (x->kind != EPHEMERON || !holds_at_remark(s, o) || !is_old(s, x->field[1])) continue;
      bool before = s->object[x->field[1]].marked;
      scan_field(s, o, 1);
      again |= before != s->object[x->field[1]].marked;
      drain(s);
    }
  }
}

static bool dies(const state *s, unsigned o) {
  return is_old(s, o) && !s->object[o].marked && s->object[o].kind != IMMORTAL;
}

static void clear_weak_slots(state *s) {
  for (unsigned o = 1; o <= current->objects; o++) {
    object *x = &s->object[o];
    if (x->kind != WEAK || !holds_at_remark(s, o) || !dies(s, x->field[0])) continue;
    if (x->space == YOUNG && !rule(RULE_REMARK_CLEARS_YOUNG_WEAK)) continue;
    if (!rule(RULE_REMARK_CLEARS_WEAK)) continue;
    cover(EVENT_WEAK_CLEARED, colour_of(s, o));
    x->field[0] = 0;
  }
}

static void clear_ephemerons(state *s) {
  for (unsigned o = 1; o <= current->objects; o++) {
    object *x = &s->object[o];
    if (x->kind != EPHEMERON || !holds_at_remark(s, o) || !dies(s, x->field[0])) continue;
    cover(EVENT_EPHEMERON_CLEARED, colour_of(s, o));
    x->field[0] = x->field[1] = 0;
  }
}

static void revive(state *s) {
  if (!rule(RULE_REMARK_REVIVES)) return;
  for (unsigned o = 1; o <= current->objects; o++) {
    object *x = &s->object[o];
    if (x->final != REGISTERED || !dies(s, o)) continue;
    x->final = READY;
    cover(EVENT_REVIVED, colour_of(s, o));
  }
  for (unsigned o = 1; o <= current->objects; o++) {
    if (s->object[o].final == READY) reach(s, o);
  }
  drain(s);
  trace_ephemerons(s);
}

/* Every unmarked object and card is dropped from every log, list and table. */
static void purge(state *s) {
  for (unsigned o = 1; o <= current->objects; o++) {
    object *x = &s->object[o];
    if (!dies(s, o)) continue;
    if (x->log || x->card[0] || x->card[1])
      cover(EVENT_PURGED, x->kind == ARRAY ? LIGHT_GRAY : colour_of(s, o));
    x->log = UNLOGGED;
    x->twice = x->card[0] = x->card[1] = 0;
  }
}

static void count_the_floating(state *s) {
  uint8_t alive = reachable(s);
  for (unsigned o = 1; o <= current->objects; o++) {
    object *x = &s->object[o];
    bool floats = exists(s, o) && !((alive >> o) & 1);
    if (floats && x->dead != UNSEEN && x->dead < SURVIVED_THREE) x->dead++;
  }
}

/* From here on nothing is decided: what is unmarked is freed, sooner or later. */
static void release(state *s) {
  if (rule(RULE_REMARK_RETIRES_BUFFERS)) retire_buffers(s);
  s->unswept = 0;
  for (unsigned o = 1; o <= current->objects; o++) {
    object *x = &s->object[o];
    if (x->space != OLD) continue;
    cover(EVENT_REMARKED, colour_of(s, o));
    if (x->kind == ARRAY) {
      x->listed = 1;
    } else if (x->kind != IMMORTAL) {
      s->unswept |= (uint8_t)(1u << x->block);
    } else {
      x->marked = 0; /* the sweep of immortal blocks clears the marks and frees nothing */
    }
  }
  s->flagged = 0;
  s->phase = SWEEPING;
}

static void sweep_ends(state *s) {
  for (unsigned o = 1; o <= current->objects; o++) {
    if (s->object[o].listed) return;
  }
  if (s->unswept == 0 && s->phase == SWEEPING) s->phase = IDLE;
}

/* After one in a rest the nursery is there again. */
void remark(state *s, bool evacuates) {
  take_ahead(s);
  if (!with_nursery(s)) read_logs(s);
  remark_roots(s);
  remark_survivors(s);
  drain(s);
  trace_ephemerons(s);
  clear_weak_slots(s);
  if (!rule(RULE_PURGE_AFTER_REVIVAL)) purge(s);
  revive(s);
  clear_weak_slots(s);
  clear_ephemerons(s);
  if (rule(RULE_REMARK_PURGES_LOGS)) purge(s);
  release(s);
  if (evacuates && s->candidate != 0) evacuate(s);
  drop_candidate(s);
  sweep_ends(s);
  s->rests = 0;
  if (current->floating) count_the_floating(s);
}

/* ---- the sweep ---------------------------------------------------------------------------------- */

static void sweep_object(state *s, unsigned o) {
  cover(EVENT_SWEPT, colour_of(s, o));
  if (s->object[o].marked) {
    s->object[o].marked = 0;
  } else {
    free_object(s, o);
  }
}

void sweep_block(state *s, unsigned b) {
  for (unsigned o = 1; o <= current->objects; o++) {
    const object *x = &s->object[o];
    bool in_block = x->space == OLD && x->block == b && x->kind != ARRAY && x->kind != IMMORTAL;
    if (in_block) sweep_object(s, o);
  }
  s->unswept &= (uint8_t) ~(1u << b);
  sweep_ends(s);
}

void sweep_large(state *s, unsigned o) {
  s->object[o].listed = 0;
  sweep_object(s, o);
  sweep_ends(s);
}

/* ---- giving up ----------------------------------------------------------------------------------- */

/* Before remark a cycle can be rolled back. Bitmaps and lists only: no object is touched, gray stays gray. */
void abort_cycle(state *s) {
  take_ahead(s);
  for (unsigned o = 1; o <= current->objects; o++) {
    object *x = &s->object[o];
    if (x->space == OLD) cover(EVENT_ABORTED, colour_of(s, o));
    if (rule(RULE_ABORT_CLEARS_MARKS)) x->marked = 0;
    if (rule(RULE_ABORT_EMPTIES_QUEUE)) x->queued = UNQUEUED;
    x->recorded[0] = x->recorded[1] = 0;
  }
  for (unsigned m = 0; m < current->mutators; m++) {
    for (unsigned r = 0; r < current->roots; r++)
      s->mutator[m].seen[r] = 0;
  }
  s->flagged = s->candidate = 0;
  s->phase = IDLE;
}
