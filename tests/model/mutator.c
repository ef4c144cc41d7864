/*
 * What mutators do. See state.h.
 */
#include "state.h"

static void set_root(state *s, unsigned m, unsigned r, unsigned o) {
  s->mutator[m].root[r] = (uint8_t)o;
  s->mutator[m].clean[r] = 0;
  s->mutator[m].seen[r] = 0;
}

/* A zero byte is a correct young object. A large array is armed and has cards, and stays where it is. */
void alloc_young(state *s, unsigned m, unsigned r, unsigned o, enum kind kind, bool finalizable) {
  s->object[o] = (object){.space = YOUNG, .kind = (uint8_t)kind, .armed = kind == ARRAY};
  if (finalizable) s->object[o].final = REGISTERED;
  set_root(s, m, r, o);
  cover(EVENT_BORN, colour_of(s, o));
}

/*
 * In front of a nursery: gray; the run that it lies in is logged, and so is it; marked too if marking is under way.
 * nursery=0: light-gray and unlogged, but an array and an object behind the forward barrier are armed; the latter is
 * not where children wait.
 */
void alloc_old(state *s, unsigned m, unsigned r, unsigned o, enum kind kind, bool finalizable) {
  mutator *mu = &s->mutator[m];
  object *x = &s->object[o];
  *x = (object){.space = OLD, .kind = (uint8_t)kind};
  if (finalizable) x->final = REGISTERED;
  bool in_block = kind != ARRAY && kind != IMMORTAL;
  if (in_block) x->block = (uint8_t)(mu->buffer - 1);
  if (kind == ARRAY) x->listed = s->phase == SWEEPING && !rule(RULE_LARGE_LIST_DETACHED);
  if (with_nursery(s)) {
    if ((mu->run_logged || !in_block) && rule(RULE_BORN_OLD_IS_LOGGED))
      append_log(s, o, REMEMBERED);
    if (s->phase == MARKING && rule(RULE_BORN_OLD_IS_MARKED)) x->marked = 1;
  } else {
    x->armed = kind == ARRAY || (kind == FORWARD && !current->ahead);
  }
  set_root(s, m, r, o);
  cover(EVENT_BORN, colour_of(s, o));
}

/* The run that a buffer is gets logged when it is handed out. */
void acquire_block(state *s, unsigned m, unsigned b) {
  s->mutator[m].buffer = (uint8_t)(b + 1);
  s->mutator[m].run_logged = with_nursery(s);
}

void load(state *s, unsigned m, unsigned r, unsigned o) {
  set_root(s, m, r, o);
}

/* ---- the barrier ------------------------------------------------------------------------------ */

/* Large arrays stay armed: the slow path each time, and the card is logged once. */
static void barrier_of_array(state *s, unsigned o, unsigned f) {
  cover(EVENT_WRITTEN_CARD, card_colour(s, o, f));
  uint8_t *card = &s->object[o].card[f];
  if (*card == 0 && rule(RULE_CARD_IS_LOGGED)) *card = 1;
}

/* Lets the child of a marked object wait until the next pause. False: there is no room. */
static bool wait_ahead(state *s, unsigned v) {
  unsigned waiting = 0;
  if (!is_old(s, v) || s->object[v].marked || s->object[v].ahead) return true;
  for (unsigned o = 1; o <= current->objects; o++)
    waiting += s->object[o].ahead;
  if (waiting == current->ahead) return !rule(RULE_FULL_AHEAD_LOGS);
  s->object[v].ahead = 1;
  return true;
}

/* The forward barrier marks the new child of a marked object. In front of a nursery a young child is remembered. */
static void barrier_forward(state *s, unsigned m, unsigned o, unsigned v) {
  object *x = &s->object[o];
  cover(EVENT_WRITTEN_FORWARD, colour_of(s, o));
  if (!x->armed) return;
  bool marks = s->phase == MARKING && x->marked && rule(RULE_FORWARD_MARKS_CHILD);
  bool waits = marks && current->ahead;
  if (marks && !waits) reach(s, v);
  if (!is_young(s, v) && (!waits || wait_ahead(s, v))) return;
  x->armed = 0;
  append_log(s, o, (enum logged)(LOG_OF_0 + m));
}

void write_barrier(state *s, unsigned m, unsigned o, unsigned f, unsigned v) {
  object *x = &s->object[o];
  if (x->kind == ARRAY) {
    barrier_of_array(s, o, f);
  } else if (x->kind == FORWARD && x->space == OLD) {
    barrier_forward(s, m, o, v);
  } else {
    cover(EVENT_WRITTEN, colour_of(s, o));
    if (x->kind == WEAK && !rule(RULE_WEAK_STORE_HAS_BARRIER)) return;
    if (!x->armed || !rule(RULE_BARRIER)) return;
    x->armed = 0;
    append_log(s, o, (enum logged)(LOG_OF_0 + m));
  }
}

void store(state *s, unsigned o, unsigned f, unsigned v) {
  s->object[o].field[f] = (uint8_t)v;
}

/* One step of a barrier and the store after it. The test has been made: SWAP_NEXT if the object was armed. */
void barrier_step(state *s, unsigned m) {
  mutator *mu = &s->mutator[m];
  object *x = &s->object[mu->target];
  switch (mu->barrier) {
  case SWAP_NEXT:
    mu->barrier = x->armed || !rule(RULE_SWAP_DECIDES_WHO_LOGS) ? LOG_NEXT : STORE_NEXT;
    x->armed = 0;
    break;
  case LOG_NEXT:
    append_log(s, mu->target, (enum logged)(LOG_OF_0 + m));
    mu->barrier = STORE_NEXT;
    break;
  default:
    store(s, mu->target, mu->slot, mu->value);
    mu->barrier = OUTSIDE;
    mu->target = mu->slot = mu->value = 0;
  }
}

/* ---- the rest --------------------------------------------------------------------------------- */

void unbind(state *s, unsigned m) {
  for (unsigned o = 1; o <= current->objects; o++) {
    object *x = &s->object[o];
    if (x->log == LOG_OF_0 + m) x->log = rule(RULE_UNBIND_HANDS_OVER) ? REMEMBERED : UNLOGGED;
  }
  s->mutator[m] = (mutator){.gone = 1};
}

void run_finalizer(state *s, unsigned m, unsigned r, unsigned o) {
  s->object[o].final = NO_FINALIZER;
  set_root(s, m, r, o);
}

void pin(state *s, unsigned o) {
  cover(EVENT_PINNED, colour_of(s, o));
  s->object[o].pinned = 1;
}

/* Armed and out of every log, for ever; so what the log would have done for it is done now, or waits for the minor. */
void seal(state *s, unsigned o) {
  object *x = &s->object[o];
  cover(EVENT_SEALED, colour_of(s, o));
  x->sealed = 1;
  bool young = false;
  for (unsigned f = 0; f < fields_of(x); f++)
    young |= is_young(s, x->field[f]);
  if (x->log != UNLOGGED && rule(RULE_SEAL_READS_LOG)) {
    if (young) return;
    if (s->phase == MARKING && x->marked) scan(s, o);
  }
  x->log = UNLOGGED;
  arm(x);
}
