/*
 * A minor collection. See state.h.
 *
 * The log is read once, young objects are copied or kept in place, what has survived one collection before is
 * promoted. All mutators are stopped, so it is one event; the model of parallel copying (copy_model.c) looks inside.
 */
#include "state.h"

typedef struct minor {
  state *s;
  uint8_t young;             /* what was young, as bits */
  uint8_t reached;           /* of these */
  uint8_t kept;              /* of these: what stays in place */
  uint8_t told[OBJECTS + 1]; /* the slots that have been read, and so updated, as bits */
} minor;

static bool has(uint8_t set, unsigned o) {
  return o <= OBJECTS && ((set >> o) & 1);
}

static void reach_young(minor *c, unsigned o) {
  if (o <= OBJECTS) c->reached |= (uint8_t)(c->young & (1u << o));
}

static bool lives(const minor *c, unsigned o) {
  return o == 0 || !has(c->young, o) || has(c->reached, o);
}

/* ---- which slots are read --------------------------------------------------------------------- */

/* Slots of logged old objects, logged cards, all slots of young objects that are reached. */
static bool reads(const minor *c, unsigned o, unsigned f) {
  const object *x = &c->s->object[o];
  if (has(c->young, o) && !has(c->reached, o)) return false;
  if (x->space == FREE || f >= fields_of(x)) return false;
  if (x->kind == ARRAY) return x->card[f] == 1;
  return x->space == YOUNG || x->log != UNLOGGED;
}

/* A weak slot is read without keeping its referent; a value is kept if the key lives. */
static bool keeps(const minor *c, unsigned o, unsigned f) {
  const object *x = &c->s->object[o];
  if (is_weak_slot(x, f)) return !rule(RULE_MINOR_KEEPS_NOT_WEAKLY);
  return x->kind != EPHEMERON || lives(c, x->field[0]);
}

static void trace(minor *c) {
  for (uint8_t before = 0xff; before != c->reached;) {
    before = c->reached;
    for (unsigned o = 1; o <= current->objects; o++) {
      for (unsigned f = 0; f < FIELDS; f++) {
        if (!reads(c, o, f)) continue;
        c->told[o] |= (uint8_t)(1u << f);
        if (keeps(c, o, f)) reach_young(c, c->s->object[o].field[f]);
      }
    }
  }
}

static void trace_roots(minor *c) {
  for (unsigned m = 0; m < current->mutators; m++) {
    const mutator *mu = &c->s->mutator[m];
    for (unsigned r = 0; r < current->roots; r++) {
      if (!mu->clean[r]) reach_young(c, mu->root[r]);
    }
    reach_young(c, mu->target);
    reach_young(c, mu->value);
  }
  for (unsigned o = 1; o <= current->objects; o++) {
    const object *x = &c->s->object[o];
    if (x->pinned || x->final == READY) reach_young(c, o);
  }
  trace(c);
}

/* ---- weak things ------------------------------------------------------------------------------ */

static void clear_weak(minor *c) {
  for (unsigned o = 1; o <= current->objects; o++) {
    object *x = &c->s->object[o];
    if (x->kind != WEAK || !reads(c, o, 0) || lives(c, x->field[0])) continue;
    if (!rule(RULE_MINOR_CLEARS_WEAK)) continue;
    cover(EVENT_MINOR_CLEARED, colour_of(c->s, o));
    x->field[0] = 0;
  }
}

static void revive_young(minor *c) {
  if (!rule(RULE_MINOR_REVIVES)) return;
  for (unsigned o = 1; o <= current->objects; o++) {
    object *x = &c->s->object[o];
    if (x->space != YOUNG || x->final != REGISTERED || has(c->reached, o)) continue;
    x->final = READY;
    cover(EVENT_REVIVED, COLOUR_YOUNG);
  }
  trace_roots(c);
}

static void clear_young_keys(minor *c) {
  for (unsigned o = 1; o <= current->objects; o++) {
    object *x = &c->s->object[o];
    if (x->kind != EPHEMERON || !reads(c, o, 0) || lives(c, x->field[0])) continue;
    cover(EVENT_MINOR_CLEARED, colour_of(c->s, o));
    x->field[0] = x->field[1] = 0;
  }
}

/* ---- what moves and what goes ------------------------------------------------------------------ */

/* Arrays never move; pins keep a block, and so does want of space. */
static bool moves(const minor *c, unsigned o) {
  const object *x = &c->s->object[o];
  bool held = x->pinned && rule(RULE_PIN_KEEPS_BLOCK);
  return has(c->reached, o) && x->kind != ARRAY && !held && !has(c->kept, o);
}

static uint8_t place_after(const minor *c, unsigned o, bool told) {
  if (!has(c->young, o) || o == 0) return (uint8_t)o;
  if (!has(c->reached, o)) return DANGLING;
  return moves(c, o) && !told ? DANGLING : (uint8_t)o;
}

/* Every slot that was not read names the old place, or one that is gone. */
static void update(minor *c) {
  state *s = c->s;
  for (unsigned o = 1; o <= current->objects; o++) {
    object *x = &s->object[o];
    if (!exists(s, o)) continue;
    for (unsigned f = 0; f < fields_of(x); f++) {
      x->field[f] = place_after(c, x->field[f], (c->told[o] >> f) & 1);
    }
    if (x->pinned && moves(c, o)) break_with(s, PINNED_MOVED);
  }
  for (unsigned m = 0; m < current->mutators; m++) {
    mutator *mu = &s->mutator[m];
    for (unsigned r = 0; r < current->roots; r++) {
      mu->root[r] = place_after(c, mu->root[r], !mu->clean[r]);
    }
  }
}

static void free_unreached(minor *c) {
  for (unsigned o = 1; o <= current->objects; o++) {
    object *x = &c->s->object[o];
    if (!has(c->young, o) || has(c->reached, o)) continue;
    if (rule(RULE_MINOR_DROPS_CARDS)) x->card[0] = x->card[1] = 0;
    free_object(c->s, o);
  }
}

/* ---- promotion --------------------------------------------------------------------------------- */

static bool slot_is_young(const state *s, unsigned o, unsigned f) {
  const object *x = &s->object[o];
  if (is_weak_slot(x, f) && !rule(RULE_WEAK_YOUNG_STAYS_LOGGED)) return false;
  return is_young(s, x->field[f]);
}

static bool points_to_survivor(const state *s, unsigned o) {
  for (unsigned f = 0; f < fields_of(&s->object[o]); f++) {
    if (slot_is_young(s, o, f)) return true;
  }
  return false;
}

/* Armed and in no log, unless it points to an object that stayed young: then gray and in the remembered set. */
static void arm_or_remember(state *s, unsigned o, enum rule by) {
  object *x = &s->object[o];
  bool remember = points_to_survivor(s, o) && rule(by);
  x->log = x->twice = 0;
  if (remember) append_log(s, o, REMEMBERED);
  x->armed = remember ? 0 : rule(RULE_LOG_ARMS);
}

/* Which objects are promoted: first all of them change sides, then each is armed or remembered. */
static uint8_t promote(minor *c, unsigned block) {
  state *s = c->s;
  uint8_t promoted = 0;
  for (unsigned o = 1; o <= current->objects; o++) {
    object *x = &s->object[o];
    if (!has(c->reached, o)) continue;
    bool stays_in_place = has(c->kept, o) || (x->pinned && x->kind != ARRAY);
    bool at_once = x->kind == ARRAY && current->arrays_at_once;
    if (x->age == 0 && !stays_in_place && !at_once) {
      x->age = 1;
      cover(EVENT_SURVIVED, COLOUR_YOUNG);
      continue;
    }
    x->space = OLD;
    x->age = 0;
    if (x->kind != ARRAY) x->block = (uint8_t)block;
    if (has(c->kept, o) && !rule(RULE_KEPT_BLOCK_JOINS_SWEPT)) x->block = s->unswept >> 1;
    promoted |= (uint8_t)(1u << o);
  }
  return promoted;
}

static void settle_promoted(minor *c, uint8_t promoted) {
  state *s = c->s;
  for (unsigned o = 1; o <= current->objects; o++) {
    if (!has(promoted, o)) continue;
    if (s->object[o].kind != ARRAY) arm_or_remember(s, o, RULE_PROMOTED_IS_REMEMBERED);
    if (s->phase == MARKING && rule(RULE_PROMOTED_IS_MARKED)) reach(s, o);
    /* At its first minor an array's clean cards are empty still: what reads the logged ones has read it all. */
    if (s->object[o].kind == ARRAY && current->arrays_at_once) s->object[o].queued = UNQUEUED;
    cover(has(c->kept, o) ? EVENT_KEPT : EVENT_PROMOTED, colour_of(s, o));
  }
}

/* ---- the log ------------------------------------------------------------------------------------ */

/* Each entry once; promoted ones have settled. If it is marked its old children are marked too. */
static void read_log(minor *c, uint8_t promoted) {
  state *s = c->s;
  for (unsigned o = 1; o <= current->objects; o++) {
    object *x = &s->object[o];
    if (x->space != OLD || has(promoted, o) || x->log == UNLOGGED) continue;
    cover(EVENT_LOG_READ, colour_of(s, o));
    if (s->phase == MARKING && x->marked && rule(RULE_LOG_MARKS_CHILDREN)) scan(s, o);
    arm_or_remember(s, o, RULE_LOG_KEEPS_SURVIVORS);
  }
}

/* Each logged card of every array that is there, young arrays too; it stays while it holds a survivor. */
static void read_cards(minor *c, uint8_t promoted) {
  state *s = c->s;
  for (unsigned o = 1; o <= OBJECTS && o <= current->objects; o++) {
    object *x = &s->object[o];
    for (unsigned f = 0; x->kind == ARRAY && f < FIELDS; f++) {
      if (x->card[f] != 1) continue;
      cover(EVENT_CARD_READ, card_colour(s, o, f));
      bool queued = has(promoted, o) && !current->arrays_at_once;
      bool marks = x->space == OLD && x->marked && !queued;
      if (s->phase == MARKING && marks && rule(RULE_CARD_MARKS_CHILDREN)) scan_field(s, o, f);
      x->card[f] = slot_is_young(s, o, f) && rule(RULE_CARD_KEEPS_SURVIVORS);
    }
  }
}

static void note_clean_roots(state *s) {
  if (!current->stacks) return;
  for (unsigned m = 0; m < current->mutators; m++) {
    mutator *mu = &s->mutator[m];
    for (unsigned r = 0; r < current->roots; r++) {
      mu->clean[r] = !is_young(s, mu->root[r]) || !rule(RULE_CLEAN_HOLDS_NOTHING_YOUNG);
    }
  }
}

/* What a minor keeps hangs on what is reachable or old, by strong slots. */
static void check_reached(minor *c) {
  uint8_t from = reachable(c->s);
  for (unsigned o = 1; o <= current->objects; o++) {
    if (is_old(c->s, o)) from |= (uint8_t)(1u << o);
  }
  if ((c->reached & ~referred_from(c->s, from)) != 0) break_with(c->s, KEPT_WEAKLY);
}

/* `kept`: an object whose block has to stay where it is, or 0. `block`: where promoted objects go. */
void minor_collection(state *s, unsigned kept, unsigned block) {
  minor c = {.s = s};
  take_ahead(s);
  for (unsigned o = 1; o <= current->objects; o++) {
    if (is_young(s, o)) c.young |= (uint8_t)(1u << o);
  }
  c.kept = (uint8_t)(kept == 0 ? 0 : 1u << kept);
  trace_roots(&c);
  clear_weak(&c);
  revive_young(&c);
  clear_weak(&c);
  clear_young_keys(&c);
  check_reached(&c);
  update(&c);
  free_unreached(&c);
  uint8_t promoted = promote(&c, block);
  settle_promoted(&c, promoted);
  read_log(&c, promoted);
  read_cards(&c, promoted);
  note_clean_roots(s);
  if (rule(RULE_MINOR_RETIRES_BUFFERS)) {
    retire_buffers(s);
  } else {
    for (unsigned m = 0; m < current->mutators; m++)
      s->mutator[m].run_logged = 0;
  }
}
