/*
 * Parallel copying: what happens inside a minor collection when two workers take part.
 *
 * Two young objects of one slot each, two logged old objects, one root, one old object that may have to be marked;
 * every shape of them is an initial state. A worker takes something to scan, looks at what its slot refers to, claims
 * it, copies it or lets it stay where it is, publishes that, updates the slot, and settles the scanned object:
 * armed, or gray and logged. Each of these is a step, and steps of the two come in any order.
 */
#include "state.h"

#include <string.h>

enum { YOUNG_OBJECTS = 2, OLD_OBJECT = 3, WORKERS = 2 };
enum { ROOT, LOGGED_1, LOGGED_2, COPY_1, COPY_2, HOLDERS }; /* what is scanned */
enum header { PLAIN, CLAIMED, FORWARDED, STAYS };
enum doing { NOTHING, TAKES, LOOKS, CLAIMS, COPIES, PUBLISHES, UPDATES, MARKS };

typedef struct worker {
  uint8_t doing, holder, stays;
} worker;

typedef struct heap {
  uint8_t header[YOUNG_OBJECTS + 1], copies[YOUNG_OBJECTS + 1], complete[YOUNG_OBJECTS + 1];
  uint8_t slot[HOLDERS];
  uint8_t told, pending, settled, logged, twice, old; /* holders, as bits */
  uint8_t ages, marked, queued, marking;
  worker worker[WORKERS];
} heap;

_Static_assert(sizeof(heap) <= sizeof(packed), "a state is 256 bits");

static uint8_t bit(unsigned n) {
  return (uint8_t)(1u << n);
}

static bool is_copyable(unsigned o) {
  return o != 0 && o <= YOUNG_OBJECTS;
}

static unsigned copy_of(unsigned o) {
  return COPY_1 + o - 1;
}

/* Whether a young object is old when the collection ends: by age, or because it stays where it is. */
static bool will_be_old(const heap *h, unsigned o) {
  return h->header[o] == STAYS || (h->ages & bit(o));
}

static void emit(exploration *e, const heap *h, unsigned w, enum doing doing, unsigned what) {
  static const uint8_t same[EXPLORE_NAMES] = {0, 1, 2, 3, 4, 5, 6, 7};
  heap sorted = *h;
  if (memcmp(&h->worker[0], &h->worker[1], sizeof(worker)) > 0) {
    sorted.worker[0] = h->worker[1];
    sorted.worker[1] = h->worker[0];
  }
  packed p = {{0}};
  memcpy(&p, &sorted, sizeof sorted);
  explore_found(e, &p, (happening){(uint8_t)doing, (uint8_t)w, (uint8_t)what, 0, 0}, same);
}

/* Every shape of the young objects; and, while marking, two log entries that hold the same old object. */
static void copy_initial(exploration *e) {
  heap h = {.pending = bit(ROOT) | bit(LOGGED_1) | bit(LOGGED_2),
            .old = bit(LOGGED_1) | bit(LOGGED_2)};
  for (unsigned shape = 0; shape < 3 * 3 * 3 * 3 * 4; shape++) {
    unsigned rest = shape;
    for (unsigned holder = ROOT; holder < HOLDERS; holder++) {
      if (holder == LOGGED_2) continue;
      h.slot[holder] = (uint8_t)(rest % 3);
      rest /= 3;
    }
    h.ages = (uint8_t)(rest << 1);
    emit(e, &h, 0, NOTHING, 0);
  }
  h = (heap){.pending = h.pending, .old = h.old, .marking = 1, .slot = {1, OLD_OBJECT, OLD_OBJECT}};
  emit(e, &h, 0, NOTHING, 0);
}

/* ---- the steps --------------------------------------------------------------------------------------- */

/* With a rule about a swap removed, a worker acts on what it has seen a step before. */
static void takes(heap *h, worker *w) {
  if (rule(RULE_WORK_TAKEN_BY_SWAP) && !(h->pending & bit(w->holder))) {
    w->doing = NOTHING;
    return;
  }
  h->pending &= (uint8_t)~bit(w->holder);
  w->doing = LOOKS;
}

static void looks(heap *h, worker *w) {
  unsigned o = h->slot[w->holder];
  if (o == OLD_OBJECT && h->marking && (w->holder == LOGGED_1 || w->holder == LOGGED_2) &&
      !h->marked) {
    w->doing = MARKS;
  } else if (!is_copyable(o) || (h->told & bit(w->holder))) {
    w->doing = UPDATES;
  } else if (h->header[o] == PLAIN) {
    w->doing = CLAIMS;
  } else if (h->header[o] == CLAIMED && rule(RULE_CLAIMED_IS_WAITED_FOR)) {
    w->doing = LOOKS;
  } else {
    w->doing = UPDATES;
  }
}

static void claims(heap *h, worker *w) {
  unsigned o = h->slot[w->holder];
  if (rule(RULE_CLAIM_BY_SWAP) && h->header[o] != PLAIN) {
    w->doing = LOOKS;
    return;
  }
  h->header[o] = CLAIMED;
  w->doing = COPIES;
  if (!rule(RULE_COPY_BEFORE_SCAN)) h->pending |= bit(copy_of(o));
}

/* What the copy holds is what the object held: an untold slot. */
static void copies(heap *h, worker *w) {
  unsigned o = h->slot[w->holder];
  h->copies[o]++;
  h->complete[o] = 1;
  h->told &= (uint8_t)~bit(copy_of(o));
  w->doing = PUBLISHES;
}

static void publishes(heap *h, worker *w) {
  unsigned o = h->slot[w->holder];
  h->header[o] = w->stays ? STAYS : FORWARDED;
  if (will_be_old(h, o)) h->old |= bit(copy_of(o));
  if (rule(RULE_COPY_BEFORE_SCAN)) h->pending |= bit(copy_of(o));
  w->stays = 0;
  w->doing = UPDATES;
}

/* The slot is told, unless what it refers to has no new place yet; what was scanned is settled. */
static void updates(heap *h, worker *w) {
  unsigned o = h->slot[w->holder];
  bool known = !is_copyable(o) || h->header[o] == FORWARDED || h->header[o] == STAYS;
  if (known) h->told |= bit(w->holder);
  if (h->settled & bit(w->holder)) h->twice |= bit(w->holder);
  h->settled |= bit(w->holder);
  bool survivor = is_copyable(o) && known && !will_be_old(h, o);
  if ((h->old & bit(w->holder)) && survivor) h->logged |= bit(w->holder);
  w->doing = NOTHING;
  w->holder = 0;
}

static void marks(heap *h, worker *w) {
  if (!rule(RULE_MARK_BY_SWAP) || !h->marked) h->queued++;
  h->marked = 1;
  w->doing = UPDATES;
}

static void one_step(const heap *h, exploration *e, unsigned w) {
  static void (*const steps[])(heap *, worker *) = {
      [TAKES] = takes,         [LOOKS] = looks,     [CLAIMS] = claims, [COPIES] = copies,
      [PUBLISHES] = publishes, [UPDATES] = updates, [MARKS] = marks};
  const worker *now = &h->worker[w];
  for (unsigned stays = 0; stays <= (now->doing == COPIES); stays++) {
    heap next = *h;
    next.worker[w].stays = (uint8_t)(now->stays | stays);
    steps[now->doing](&next, &next.worker[w]);
    if (memcmp(&next, h, sizeof next) == 0) continue; /* it waits */
    emit(e, &next, w, (enum doing)now->doing, now->holder);
  }
}

static void copy_expand(const packed *p, exploration *e) {
  heap h;
  memcpy(&h, p, sizeof h);
  for (unsigned w = 0; w < WORKERS; w++) {
    if (h.worker[w].doing != NOTHING) {
      one_step(&h, e, w);
      continue;
    }
    for (unsigned holder = 0; holder < HOLDERS; holder++) {
      if (!(h.pending & bit(holder))) continue;
      heap next = h;
      next.worker[w].doing = TAKES;
      next.worker[w].holder = (uint8_t)holder;
      emit(e, &next, w, NOTHING, holder);
    }
  }
}

/* ---- what holds ------------------------------------------------------------------------------------- */

static const char *broken_end(const heap *h) {
  if (h->worker[0].doing != NOTHING || h->worker[1].doing != NOTHING)
    return "a worker waits for ever";
  for (unsigned holder = 0; holder < HOLDERS; holder++) {
    bool there = holder < COPY_1 || h->copies[holder - COPY_1 + 1] > 0;
    unsigned o = h->slot[holder];
    if (!there) continue;
    if (!(h->settled & bit(holder))) return "what was reached was not scanned";
    if (is_copyable(o) && !(h->told & bit(holder))) return "a slot was not updated";
    bool survivor = is_copyable(o) && !will_be_old(h, o);
    bool remembered = (h->logged & bit(holder)) != 0;
    if ((h->old & bit(holder)) && survivor != remembered) return "an old object is logged wrongly";
    bool by_log = holder == LOGGED_1 || holder == LOGGED_2;
    if (by_log && o == OLD_OBJECT && h->marking && !h->marked) return "an old child is not marked";
  }
  return NULL;
}

static const char *copy_check(const packed *p, bool final) {
  heap h;
  memcpy(&h, p, sizeof h);
  for (unsigned o = 1; o <= YOUNG_OBJECTS; o++) {
    if (h.copies[o] > 1) return "an object is copied twice";
  }
  if (h.queued > 1) return "an object is queued twice";
  if (h.twice) return "an object is settled, and logged, twice";
  return final ? broken_end(&h) : NULL;
}

/* ---- telling ---------------------------------------------------------------------------------------- */

static const char *const holder_names[] = {"the root", "log entry 1", "log entry 2",
                                           "the copy of 1", "the copy of 2"};

static void copy_tell(FILE *to, const happening *what, const char *name) {
  static const char *const words[] = {
      "finds",      "takes",         "looks through",       "claims what is referred to by",
      "copies for", "publishes for", "updates and settles", "marks for"};
  (void)name;
  fprintf(to, "a worker %s %s", words[what->what], holder_names[what->a]);
}

static void copy_show(FILE *to, const packed *p, const char *name) {
  static const char *const headers[] = {"plain", "claimed", "forwarded", "stays"};
  heap h;
  memcpy(&h, p, sizeof h);
  (void)name;
  fprintf(to,
          "root %u, log entries %u %u; 1: %s, holds %u; 2: %s, holds %u; told %02x, logged %02x",
          h.slot[ROOT], h.slot[LOGGED_1], h.slot[LOGGED_2], headers[h.header[1]], h.slot[COPY_1],
          headers[h.header[2]], h.slot[COPY_2], h.told, h.logged);
}

const model copy_model = {copy_initial, copy_expand, copy_check, copy_tell, copy_show};
