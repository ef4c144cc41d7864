/*
 * What holds in every state. See state.h.
 */
#include "state.h"

static const char *const breakages[] = {
    [FREED_IN_LOG] = "a log names a freed object",
    [FREED_IN_QUEUE] = "the mark queue names a freed object",
    [FREED_CARD] = "the card log names a card of a freed array",
    [FREED_FINALIZER] = "an object was freed before its finalizer had run",
    [FREED_PINNED] = "a pinned object was freed",
    [PINNED_MOVED] = "a pinned object was moved",
    [LOG_NAMES_OLD_PLACE] = "a log names the old place of a moved object",
    [TABLE_NAMES_OLD_PLACE] = "the table of finalizers names the old place of a moved object",
    [FREED_RECORDED] = "a recorded slot lies in a freed object",
    [FREED_AHEAD] = "what waits behind a forward barrier was freed",
    [KEPT_WEAKLY] = "a minor kept a young object that only weak slots refer to",
};

/* ---- no slot names what is gone ---------------------------------------------------------------- */

static const char *broken_reference(const state *s, unsigned o, bool root) {
  if (o == 0) return NULL;
  if (o == DANGLING) return root ? "a root was not updated" : "a slot was not updated";
  if (s->object[o].space == FREE)
    return root ? "a root names a freed object" : "a slot names a freed object";
  if (condemned(s, o))
    return root ? "a root names an object that will be swept"
                : "a slot names an object that will be swept";
  return NULL;
}

static const char *broken_references(const state *s) {
  const char *broken = NULL;
  for (unsigned m = 0; m < current->mutators && broken == NULL; m++) {
    for (unsigned r = 0; r < current->roots && broken == NULL; r++) {
      broken = broken_reference(s, s->mutator[m].root[r], true);
    }
  }
  for (unsigned o = 1; o <= current->objects && broken == NULL; o++) {
    if (!exists(s, o)) continue;
    for (unsigned f = 0; f < fields_of(&s->object[o]) && broken == NULL; f++) {
      broken = broken_reference(s, s->object[o].field[f], false);
    }
  }
  uint8_t alive = reachable(s);
  for (unsigned o = 1; o <= current->objects && broken == NULL; o++) {
    if (((alive >> o) & 1) && !exists(s, o)) broken = "a reachable object is freed";
  }
  return broken;
}

/* ---- logs ----------------------------------------------------------------------------------------- */

static bool is_being_logged(const state *s, unsigned o) {
  for (unsigned m = 0; m < current->mutators; m++) {
    if (s->mutator[m].barrier == LOG_NEXT && s->mutator[m].target == o) return true;
  }
  return false;
}

static const char *broken_log(const state *s, unsigned o) {
  const object *x = &s->object[o];
  if (x->twice) return "an object is logged twice";
  if (x->log != UNLOGGED && !exists(s, o)) return "a log names a dead object";
  if (!with_nursery(s) || x->space != OLD || x->kind == ARRAY || !exists(s, o)) return NULL;
  if (current->rests && x->kind == LEAF)
    return NULL; /* nothing scans one that was born in a rest */
  if (!x->armed && x->log == UNLOGGED && !is_being_logged(s, o)) {
    return "an old object is gray and in no log";
  }
  if (x->armed && x->log != UNLOGGED) return "an object in a log is armed";
  return NULL;
}

/* Old to young, and from the large young, whose clean cards a minor does not read. */
static const char *broken_memory(const state *s, unsigned o) {
  const object *x = &s->object[o];
  if (!exists(s, o) || (x->space == YOUNG && x->kind != ARRAY)) return NULL;
  for (unsigned f = 0; f < fields_of(x); f++) {
    if (!is_young(s, x->field[f])) continue;
    bool remembered = x->kind == ARRAY ? x->card[f] == 1 : x->log != UNLOGGED;
    if (!remembered && !is_being_logged(s, o))
      return "a young object is referred to by a slot that is not remembered";
  }
  return NULL;
}

/* ---- colours --------------------------------------------------------------------------------------- */

/* Whether the tracer or the log will come to this slot of a marked object again. */
static bool will_be_scanned(const state *s, unsigned o, unsigned f) {
  const object *x = &s->object[o];
  if (x->queued == QUEUED || (x->queued == HALF_SCANNED && f > 0)) return true;
  if (x->kind == ARRAY) return x->card[f] == 1;
  return x->log != UNLOGGED || ((s->flagged >> x->block) & 1);
}

static const char *broken_black(const state *s, unsigned o) {
  const object *x = &s->object[o];
  if (s->phase != MARKING || x->space != OLD || !x->marked) return NULL;
  for (unsigned f = 0; f < fields_of(x); f++) {
    bool hidden = is_old(s, x->field[f]) && !s->object[x->field[f]].marked;
    if (!hidden || is_weak_slot(x, f) || x->kind == EPHEMERON) continue;
    if (s->object[x->field[f]].ahead) continue;
    if (!will_be_scanned(s, o, f) && !is_being_logged(s, o))
      return "a black object hides an unmarked one";
  }
  return NULL;
}

static const char *broken_colour(const state *s, unsigned o) {
  const object *x = &s->object[o];
  if (x->space == FREE) return NULL;
  if (x->space == YOUNG) {
    if (x->marked || x->queued || x->log != UNLOGGED)
      return "a young object is marked, queued or logged";
    return x->armed && x->kind != ARRAY ? "a young object is armed" : NULL;
  }
  if (x->queued && (s->phase != MARKING || !x->marked))
    return "an object is queued that should not be";
  if (s->phase == MARKING || !x->marked) return NULL;
  bool swept = x->kind == ARRAY ? !x->listed : !((s->unswept >> x->block) & 1);
  return swept ? "an object that is swept is marked" : NULL;
}

const char *broken_invariant(const state *s) {
  if (s->broken != SOUND) return breakages[s->broken];
  const char *broken = broken_references(s);
  for (unsigned o = 1; o <= current->objects && broken == NULL; o++) {
    broken = broken_log(s, o);
    if (broken == NULL) broken = broken_memory(s, o);
    if (broken == NULL) broken = broken_black(s, o);
    if (broken == NULL) broken = broken_colour(s, o);
    bool floats = current->floating && s->object[o].dead > current->floating;
    if (broken == NULL && floats) broken = "garbage outlives the cycles that it may";
  }
  return broken;
}
