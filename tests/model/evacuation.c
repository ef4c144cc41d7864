/*
 * Evacuation of a sparse block, inside the pause of remark. See state.h.
 *
 * The candidate is chosen when the cycle begins. Who scans a marked object, from the queue or from the log, records
 * its slots that lead into the candidate; weak slots are found through the lists of weak things. What is moved goes
 * to a fresh block, which counts as swept; in the model that block has the number of the one that is emptied.
 */
#include "state.h"

static bool in_candidate(const state *s, unsigned o) {
  const object *x = &s->object[o];
  return s->candidate != 0 && is_old(s, o) && x->kind != ARRAY && x->kind != IMMORTAL &&
         x->block == s->candidate - 1;
}

void drop_candidate(state *s) {
  s->candidate = 0;
  for (unsigned o = 1; o <= current->objects; o++) {
    s->object[o].recorded[0] = s->object[o].recorded[1] = 0;
  }
}

/* A slot of a marked object that is being scanned. Too many of them: the candidate stays where it is. */
void record_slot(state *s, unsigned o, unsigned f) {
  object *x = &s->object[o];
  if (x->space != OLD || x->recorded[f] || !in_candidate(s, x->field[f])) return;
  if (!rule(RULE_TRACER_RECORDS_SLOTS)) return;
  unsigned count = 0;
  for (unsigned i = 1; i <= current->objects; i++) {
    count += s->object[i].recorded[0] + s->object[i].recorded[1];
  }
  if (current->recorded != 0 && count == current->recorded) {
    if (rule(RULE_TOO_MANY_SLOTS_DROP_CANDIDATE)) drop_candidate(s);
    return;
  }
  x->recorded[f] = 1;
}

/* Whether somebody updates this slot. `moved`: the objects that have moved, as bits. */
static bool is_updated(const state *s, unsigned o, unsigned f, uint8_t moved) {
  const object *x = &s->object[o];
  if (is_weak_slot(x, f)) return rule(RULE_EVACUATION_UPDATES_WEAK);
  if (x->space == YOUNG) return rule(RULE_EVACUATION_UPDATES_SURVIVORS);
  if ((moved >> o) & 1)
    return rule(RULE_EVACUATION_SCANS_COPIES); /* a recorded slot lies in the old copy */
  return x->recorded[f];
}

static void update_slots(state *s, uint8_t moved) {
  for (unsigned o = 1; o <= current->objects; o++) {
    object *x = &s->object[o];
    if (!exists(s, o)) continue;
    for (unsigned f = 0; f < fields_of(x); f++) {
      bool leads_there = (moved >> x->field[f]) & 1;
      if (leads_there && !is_updated(s, o, f, moved)) x->field[f] = DANGLING;
    }
  }
}

/* A collection that moves old objects updates every root, those of clean parts of stacks too. */
static void update_roots(state *s, uint8_t moved) {
  for (unsigned m = 0; m < current->mutators; m++) {
    mutator *mu = &s->mutator[m];
    for (unsigned r = 0; r < current->roots; r++) {
      bool skipped = mu->clean[r] && !rule(RULE_EVACUATION_UPDATES_ALL_ROOTS);
      if (((moved >> mu->root[r]) & 1) && skipped) mu->root[r] = DANGLING;
    }
  }
}

void evacuate(state *s) {
  uint8_t moved = 0;
  bool pinned = false;
  for (unsigned o = 1; o <= current->objects; o++) {
    if (in_candidate(s, o) && s->object[o].pinned) pinned = true;
    if (in_candidate(s, o) && s->object[o].marked) moved |= (uint8_t)(1u << o);
  }
  if (pinned && rule(RULE_PINNED_CANDIDATE_STAYS)) return;
  unsigned block = s->candidate - 1u;
  update_slots(s, moved);
  update_roots(s, moved);
  for (unsigned o = 1; o <= current->objects; o++) {
    object *x = &s->object[o];
    if ((moved >> o) & 1) {
      cover(EVENT_EVACUATED, colour_of(s, o));
      if (x->pinned) break_with(s, PINNED_MOVED);
      if (x->log && !rule(RULE_EVACUATION_UPDATES_LOGS)) break_with(s, LOG_NAMES_OLD_PLACE);
      if (x->final && !rule(RULE_EVACUATION_UPDATES_TABLES)) break_with(s, TABLE_NAMES_OLD_PLACE);
      x->marked = 0; /* its new block is not to be swept */
    } else if (in_candidate(s, o)) {
      free_object(s, o);
    }
  }
  s->unswept &= (uint8_t) ~(1u << block);
}
