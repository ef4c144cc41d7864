/*
 * Which events are possible in a state, and how a trace tells them. See state.h.
 */
#include "state.h"

enum what {
  ALLOC_YOUNG,
  ALLOC_OLD,
  ACQUIRE,
  LOAD,
  STORE,
  BARRIER,
  STEP,
  DROP,
  UNBIND,
  FINALIZE,
  PIN,
  UNPIN,
  SEAL,
  MINOR,
  MINOR_REMARK,
  BEGIN,
  TAKE,
  WALK,
  RESCAN,
  READ_ENTRY,
  READ_CARD,
  REMARK,
  SWEEP,
  SWEEP_LARGE,
  ABORT,
  WAKE
};

/* A successor that is being made: a copy of the state, and what happens to it. */
typedef struct step {
  state next;
  happening what;
} step;

static step begin(const state *s, enum what what, unsigned m, unsigned a, unsigned b, unsigned c) {
  return (step){*s, {(uint8_t)what, (uint8_t)m, (uint8_t)a, (uint8_t)b, (uint8_t)c}};
}

static void found(exploration *e, step *t) {
  for (unsigned o = 1; current->floating && o <= current->objects; o++) {
    if ((reachable(&t->next) >> o) & 1) t->next.object[o].dead = UNSEEN;
  }
  packed p;
  uint8_t number[EXPLORE_NAMES];
  pack(&t->next, &p, number);
  explore_found(e, &p, t->what, number);
}

static void initial(exploration *e) {
  step t = {.what = {0}};
  found(e, &t);
}

/* ---- births ---------------------------------------------------------------------------------------- */

static unsigned free_number(const state *s) {
  for (unsigned o = 1; o <= current->objects; o++) {
    if (s->object[o].space == FREE) return o;
  }
  return 0;
}

static unsigned living(const state *s, enum kind kind) {
  unsigned count = 0;
  for (unsigned o = 1; o <= current->objects; o++) {
    count += s->object[o].space != FREE && s->object[o].kind == kind;
  }
  return count;
}

static bool may_be_finalizable(const state *s, enum kind kind) {
  if (!current->finalizers || kind != PAIR) return false;
  for (unsigned o = 1; o <= current->objects; o++) {
    if (s->object[o].final != NO_FINALIZER) return false;
  }
  return true;
}

/* Of a kind that is born young, or in a rest old; and of one that is born old in any case. */
static bool is_born_young(const state *s, unsigned kind) {
  return with_nursery(s) && living(s, (enum kind)kind) < current->young[kind];
}

static bool is_born_old(const state *s, unsigned kind) {
  unsigned most = current->old[kind];
  if (s->rests && most < current->young[kind]) most = current->young[kind];
  return living(s, (enum kind)kind) < most;
}

static void births(const state *s, exploration *e, unsigned m, unsigned r) {
  unsigned o = free_number(s);
  if (o == 0) return;
  for (unsigned kind = 0; kind < KINDS; kind++) {
    bool in_block = kind != ARRAY && kind != IMMORTAL;
    bool room = !in_block || s->mutator[m].buffer != 0;
    for (unsigned final = 0; final <= may_be_finalizable(s, (enum kind)kind); final++) {
      if (is_born_young(s, kind)) {
        step t = begin(s, ALLOC_YOUNG, m, o, r, kind);
        alloc_young(&t.next, m, r, o, (enum kind)kind, final);
        found(e, &t);
      }
      if (room && is_born_old(s, kind)) {
        step t = begin(s, ALLOC_OLD, m, o, r, kind);
        alloc_old(&t.next, m, r, o, (enum kind)kind, final);
        found(e, &t);
      }
    }
  }
}

static bool hands_out_space(const state *s, unsigned b) {
  bool swept = !((s->unswept >> b) & 1) || !rule(RULE_ONLY_SWEPT_BLOCKS);
  bool candidate = s->candidate == b + 1 && rule(RULE_CANDIDATE_HANDS_OUT_NOTHING);
  return swept && !candidate;
}

static bool births_in_blocks(const state *s) {
  for (unsigned kind = 0; kind < KINDS; kind++) {
    bool some = current->old[kind] || (s->rests && current->young[kind]);
    if (some && kind != ARRAY && kind != IMMORTAL) return true;
  }
  return false;
}

static void acquisitions(const state *s, exploration *e, unsigned m) {
  if (!births_in_blocks(s) || s->mutator[m].buffer != 0) return;
  bool done = false;
  for (unsigned b = 0; b < BLOCKS; b++) {
    if (!hands_out_space(s, b) || (done && !current->two_blocks)) continue;
    done = true;
    step t = begin(s, ACQUIRE, m, b, 0, 0);
    acquire_block(&t.next, m, b);
    found(e, &t);
  }
}

/* ---- loads and stores ------------------------------------------------------------------------------ */

/* A mutator may be given what is in a root of another. */
static bool is_handed_over(const state *s, unsigned m, unsigned o) {
  const mutator *other = &s->mutator[1 - m];
  return current->mutators > 1 && (other->root[0] == o || other->root[1] == o);
}

static void loads(const state *s, exploration *e, unsigned m, unsigned r) {
  for (unsigned from = 0; from < current->roots; from++) {
    unsigned o = s->mutator[m].root[from];
    for (unsigned f = 0; o != 0 && f < fields_of(&s->object[o]); f++) {
      unsigned v = s->object[o].field[f];
      if (v == 0 || v == s->mutator[m].root[r]) continue;
      step t = begin(s, LOAD, m, o, f, r);
      load(&t.next, m, r, v);
      found(e, &t);
    }
  }
  for (unsigned o = 1; o <= current->objects; o++) {
    bool immortal = is_old(s, o) && s->object[o].kind == IMMORTAL;
    if ((!immortal && !is_handed_over(s, m, o)) || s->mutator[m].root[r] == o) continue;
    step t = begin(s, LOAD, m, o, FIELDS, r);
    load(&t.next, m, r, o);
    found(e, &t);
  }
}

static void store_one(const state *s, exploration *e, unsigned m, unsigned o, unsigned f,
                      unsigned v) {
  if (s->object[o].field[f] == v) return;
  step t = begin(s, current->steps ? BARRIER : STORE, m, o, f, v);
  if (current->steps) {
    mutator *mu = &t.next.mutator[m];
    mu->barrier = s->object[o].armed ? SWAP_NEXT : STORE_NEXT;
    mu->target = (uint8_t)o;
    mu->slot = (uint8_t)f;
    mu->value = (uint8_t)v;
  } else {
    write_barrier(&t.next, m, o, f, v);
    store(&t.next, o, f, v);
  }
  found(e, &t);
}

static void stores(const state *s, exploration *e, unsigned m, unsigned r) {
  unsigned o = s->mutator[m].root[r];
  if (o == 0 || s->object[o].sealed) return;
  for (unsigned f = 0; f < fields_of(&s->object[o]); f++) {
    store_one(s, e, m, o, f, 0);
    for (unsigned from = 0; from < current->roots; from++) {
      unsigned v = s->mutator[m].root[from];
      if (v != 0 && (from == 0 || v != s->mutator[m].root[0])) store_one(s, e, m, o, f, v);
    }
  }
}

/* ---- the rest of what mutators do ------------------------------------------------------------------- */

static bool any_pinned(const state *s) {
  for (unsigned o = 1; o <= current->objects; o++) {
    if (s->object[o].pinned) return true;
  }
  return false;
}

static void special(const state *s, exploration *e, unsigned m, unsigned r) {
  unsigned o = s->mutator[m].root[r];
  if (o != 0) {
    step t = begin(s, DROP, m, o, 0, 0);
    load(&t.next, m, r, 0);
    found(e, &t);
  }
  if (o != 0 && current->pins && !any_pinned(s)) {
    step t = begin(s, PIN, m, o, 0, 0);
    pin(&t.next, o);
    found(e, &t);
  }
  if (is_old(s, o) && current->seal && s->object[o].kind == PAIR && !s->object[o].sealed) {
    step t = begin(s, SEAL, m, o, 0, 0);
    seal(&t.next, o);
    found(e, &t);
  }
  for (unsigned i = 1; i <= current->objects; i++) {
    if (s->object[i].final != READY) continue;
    step t = begin(s, FINALIZE, m, i, r, 0);
    run_finalizer(&t.next, m, r, i);
    found(e, &t);
  }
}

static void mutator_events(const state *s, exploration *e, unsigned m) {
  if (s->mutator[m].gone) return;
  if (s->mutator[m].barrier != OUTSIDE) {
    step t = begin(s, STEP, m, s->mutator[m].target, s->mutator[m].slot, s->mutator[m].value);
    t.what.mutator = (uint8_t)(m + 10u * s->mutator[m].barrier);
    barrier_step(&t.next, m);
    found(e, &t);
    return;
  }
  acquisitions(s, e, m);
  for (unsigned r = 0; r < current->roots; r++) {
    births(s, e, m, r);
    loads(s, e, m, r);
    stores(s, e, m, r);
    special(s, e, m, r);
  }
  if (current->steps && m == 1) {
    step t = begin(s, UNBIND, m, 0, 0, 0);
    unbind(&t.next, m);
    found(e, &t);
  }
}

/* ---- collections ---------------------------------------------------------------------------------- */

static bool anything_young(const state *s) {
  for (unsigned o = 1; o <= current->objects; o++) {
    if (is_young(s, o)) return true;
  }
  return false;
}

/* The end of a minor collection's pause, behind which the nursery may rest. */
static void minor_ends(exploration *e, step *t) {
  found(e, t);
  if (!current->rests || (anything_young(&t->next) && rule(RULE_RESTS_WITHOUT_YOUNG))) return;
  t->next.rests = 1;
  t->what.mutator = 1;
  found(e, t);
}

static void wake(const state *s, exploration *e) {
  step t = begin(s, WAKE, 0, 0, 0, 0);
  t.next.rests = 0;
  found(e, &t);
}

static void one_minor(const state *s, exploration *e, unsigned kept, unsigned b) {
  step t = begin(s, MINOR, 0, kept, b, 0);
  minor_collection(&t.next, kept, b);
  minor_ends(e, &t);
  if (s->phase != MARKING) return;
  for (unsigned evacuates = 0; evacuates <= (s->candidate != 0); evacuates++) {
    step last = begin(s, MINOR_REMARK, 0, kept, b, evacuates);
    minor_collection(&last.next, kept, b);
    remark(&last.next, evacuates);
    minor_ends(e, &last);
  }
}

static void minors(const state *s, exploration *e) {
  bool done = false;
  for (unsigned b = 0; b < BLOCKS; b++) {
    if (!hands_out_space(s, b) || (done && !current->two_blocks)) continue;
    done = true;
    one_minor(s, e, 0, b);
    for (unsigned o = 1; current->kept && o <= current->objects; o++) {
      if (is_young(s, o) && s->object[o].kind != ARRAY) one_minor(s, e, o, b);
    }
  }
}

static void beginnings(const state *s, exploration *e) {
  bool sweep_done = s->phase == IDLE;
  bool may = sweep_done || (s->phase == SWEEPING && !rule(RULE_SWEEP_FINISHED_FIRST));
  for (unsigned candidate = 0; may && candidate <= current->evacuation; candidate++) {
    step t = begin(s, BEGIN, 0, candidate, 0, 0);
    begin_cycle(&t.next, candidate);
    found(e, &t);
  }
}

static void taking(const state *s, exploration *e) {
  bool queue_empty = true;
  bool log_first = !with_nursery(s) && rule(RULE_LOG_BEFORE_QUEUE) && !logs_are_empty(s);
  for (unsigned o = 1; o <= current->objects; o++) {
    if (!s->object[o].queued) continue;
    queue_empty = false;
    if (log_first) continue;
    step t = begin(s, TAKE, 0, o, 0, 0);
    take_from_queue(&t.next, o);
    found(e, &t);
  }
  for (unsigned b = 0; queue_empty && !log_first && b < BLOCKS; b++) {
    if (!((s->flagged >> b) & 1)) continue;
    step t = begin(s, RESCAN, 0, b, 0, 0);
    rescan_block(&t.next, b);
    found(e, &t);
  }
}

static void walking(const state *s, exploration *e) {
  for (unsigned o = 1; o <= current->objects; o++) {
    const object *x = &s->object[o];
    if (x->space != OLD || x->kind != IMMORTAL || x->marked || !rule(RULE_IMMORTAL_ARE_ROOTS))
      continue;
    step t = begin(s, WALK, 0, o, 0, 0);
    reach(&t.next, o);
    found(e, &t);
  }
}

static void log_reading(const state *s, exploration *e) {
  for (unsigned o = 1; o <= current->objects; o++) {
    if (s->object[o].log != UNLOGGED) {
      step t = begin(s, READ_ENTRY, 0, o, 0, 0);
      read_log_entry(&t.next, o);
      found(e, &t);
    }
    for (unsigned f = 0; f < FIELDS; f++) {
      if (s->object[o].card[f] != 1) continue;
      step t = begin(s, READ_CARD, 0, o, f, 0);
      read_card(&t.next, o, f);
      found(e, &t);
    }
  }
}

static void marking(const state *s, exploration *e) {
  taking(s, e);
  walking(s, e);
  if (!with_nursery(s)) log_reading(s, e);
  if (!with_nursery(s) || !rule(RULE_REMARK_ONLY_AFTER_MINOR)) {
    step t = begin(s, REMARK, 0, 0, 0, 0);
    remark(&t.next, false);
    found(e, &t);
  }
  if (current->abort) {
    step t = begin(s, ABORT, 0, 0, 0, 0);
    abort_cycle(&t.next);
    found(e, &t);
  }
}

static void sweeping(const state *s, exploration *e) {
  for (unsigned b = 0; b < BLOCKS; b++) {
    if (!((s->unswept >> b) & 1)) continue;
    step t = begin(s, SWEEP, 0, b, 0, 0);
    sweep_block(&t.next, b);
    found(e, &t);
  }
  for (unsigned o = 1; o <= current->objects; o++) {
    if (!s->object[o].listed) continue;
    step t = begin(s, SWEEP_LARGE, 0, o, 0, 0);
    sweep_large(&t.next, o);
    found(e, &t);
  }
}

/* Mutators stop at safepoints, and there is none between a barrier and its store. Sweeping needs no stop. */
static bool all_stopped(const state *s) {
  for (unsigned m = 0; m < current->mutators; m++) {
    if (s->mutator[m].barrier != OUTSIDE && rule(RULE_NO_SAFEPOINT_BEFORE_STORE)) return false;
  }
  return true;
}

static void expand(const packed *p, exploration *e) {
  state s;
  unpack(p, &s);
  for (unsigned m = 0; m < current->mutators; m++)
    mutator_events(&s, e, m);
  for (unsigned o = 1; o <= current->objects; o++) {
    if (!s.object[o].pinned) continue;
    step t = begin(&s, UNPIN, 0, o, 0, 0);
    t.next.object[o].pinned = 0;
    found(e, &t);
  }
  sweeping(&s, e);
  if (!all_stopped(&s)) return;
  if (with_nursery(&s)) minors(&s, e);
  if (s.rests && !rule(RULE_WAKES_AFTER_REMARK)) wake(&s, e);
  beginnings(&s, e);
  if (s.phase == MARKING) marking(&s, e);
}

static const char *check(const packed *p, bool final) {
  state s;
  unpack(p, &s);
  return final ? "nothing can happen any more" : broken_invariant(&s);
}

/* ---- telling ------------------------------------------------------------------------------------------ */

static const char *const kind_names[KINDS] = {"pair", "leaf",      "array",  "immortal",
                                              "weak", "ephemeron", "forward"};

static char called(unsigned o, const char *name) {
  return (char)(o == 0 ? '-' : o == DANGLING ? '?' : name[o]);
}

static void tell_minor(FILE *to, const happening *h, const char *name) {
  fprintf(to, "minor collection, promoting to block %u", h->b);
  if (h->a != 0) fprintf(to, ", the block of %c kept in place", name[h->a]);
  if (h->what == MINOR_REMARK) fprintf(to, "; remark%s", h->c ? " with evacuation" : "");
  if (h->mutator != 0) fprintf(to, "; the nursery rests");
}

static void tell_mutator(FILE *to, const happening *h, const char *name) {
  static const char *const steps[] = {"", "swaps the armed bit of", "logs", "stores into"};
  unsigned m = h->mutator % 10;
  fprintf(to, "mutator %u: ", m);
  switch (h->what) {
  case ALLOC_YOUNG:
    fprintf(to, "new young %s %c", kind_names[h->c], name[h->a]);
    break;
  case ALLOC_OLD:
    fprintf(to, "new old %s %c", kind_names[h->c], name[h->a]);
    break;
  case ACQUIRE:
    fprintf(to, "acquires block %u", h->a);
    break;
  case LOAD:
    fprintf(to, "loads %c", name[h->a]);
    if (h->b < FIELDS) fprintf(to, ".%u", h->b);
    break;
  case STORE:
    fprintf(to, "%c.%u = %c", name[h->a], h->b, called(h->c, name));
    break;
  case BARRIER:
    fprintf(to, "tests %c, for %c.%u = %c", name[h->a], name[h->a], h->b, called(h->c, name));
    break;
  case STEP:
    fprintf(to, "%s %c", steps[h->mutator / 10], name[h->a]);
    break;
  case DROP:
    fprintf(to, "forgets %c", name[h->a]);
    break;
  case UNBIND:
    fprintf(to, "unbinds");
    break;
  case FINALIZE:
    fprintf(to, "takes %c, which is to be finalized", name[h->a]);
    break;
  case PIN:
    fprintf(to, "pins %c", name[h->a]);
    break;
  default:
    fprintf(to, "seals %c", name[h->a]);
  }
}

static void tell(FILE *to, const happening *h, const char *name) {
  switch (h->what) {
  case UNPIN:
    fprintf(to, "%c is unpinned", name[h->a]);
    break;
  case MINOR:
  case MINOR_REMARK:
    tell_minor(to, h, name);
    break;
  case BEGIN:
    fprintf(to, "a cycle begins%s", h->a ? ", candidate: block 0" : "");
    break;
  case TAKE:
    fprintf(to, "%c is taken from the queue", name[h->a]);
    break;
  case WALK:
    fprintf(to, "immortal %c is walked", name[h->a]);
    break;
  case RESCAN:
    fprintf(to, "flagged block %u is rescanned", h->a);
    break;
  case READ_ENTRY:
    fprintf(to, "the log entry of %c is read", name[h->a]);
    break;
  case READ_CARD:
    fprintf(to, "card %u of %c is read", h->b, name[h->a]);
    break;
  case REMARK:
    fprintf(to, "remark");
    break;
  case SWEEP:
    fprintf(to, "block %u is swept", h->a);
    break;
  case SWEEP_LARGE:
    fprintf(to, "array %c is swept", name[h->a]);
    break;
  case WAKE:
    fprintf(to, "the nursery wakes");
    break;
  case ABORT:
    fprintf(to, "the cycle is rolled back");
    break;
  default:
    tell_mutator(to, h, name);
  }
}

static void show_object(FILE *to, const state *s, unsigned o, const char *name) {
  static const char *const colours[] = {"young", "white", "light-gray", "dark-gray", "black"};
  const object *x = &s->object[o];
  fprintf(to, " %c=%s", name[o], colours[colour_of(s, o)]);
  if (x->kind != PAIR) fprintf(to, " %s", kind_names[x->kind]);
  fprintf(to, "(");
  for (unsigned f = 0; f < fields_of(x); f++) {
    fprintf(to, "%s%c%s", f ? " " : "", called(x->field[f], name), x->card[f] == 1 ? "*" : "");
  }
  fprintf(to, ")%s%s%s%s%s%s", x->log ? " logged" : "", x->twice ? " twice" : "",
          x->queued ? " queued" : "", x->pinned ? " pinned" : "", x->sealed ? " sealed" : "",
          condemned(s, o) ? " condemned" : "");
  if (x->final) fprintf(to, x->final == READY ? " ready" : " finalizable");
  if (x->ahead) fprintf(to, " to be marked");
}

static void show(FILE *to, const packed *p, const char *name) {
  static const char *const phases[] = {"idle", "marking", "sweeping"};
  state s;
  unpack(p, &s);
  fprintf(to, "%s%s, roots", phases[s.phase], s.rests ? ", resting" : "");
  for (unsigned m = 0; m < current->mutators; m++) {
    fprintf(to, "%s", m ? " /" : "");
    for (unsigned r = 0; r < current->roots; r++)
      fprintf(to, " %c", called(s.mutator[m].root[r], name));
  }
  fprintf(to, ";");
  for (unsigned o = 1; o <= current->objects; o++) {
    if (s.object[o].space != FREE) show_object(to, &s, o, name);
  }
}

const model quadcolor_model = {initial, expand, check, tell, show};
