/*
 * The model of the plan `quadcolor`: its state, its rules, its configurations.
 *
 * A heap of a few objects. A reference is an object's number; where the object lies is not modelled, but whether
 * each slot has been told is: when an object moves or goes, every slot that still names its old place becomes
 * DANGLING. Old objects lie in blocks, each swept at a time of its own; large arrays have none and are
 * swept one by one.
 *
 * An event is one function, named as the design names it. What happens while all mutators are stopped is one event
 * where no mutator can see the steps: a minor collection, a remark. Marking goes object by object, or field by field.
 *
 * Every rule can be removed (rules.def). Then the explorer has to find a state that breaks an invariant.
 */
#ifndef TESSERA_MODEL_STATE_H
#define TESSERA_MODEL_STATE_H

#include "explore.h"

enum { OBJECTS = 5, MUTATORS = 2, ROOTS = 2, FIELDS = 2, BLOCKS = 2, DANGLING = 7 };

enum space { FREE, YOUNG, OLD };
enum phase { IDLE, MARKING, SWEEPING };
enum kind {
  PAIR,      /* one or two references */
  LEAF,      /* none */
  ARRAY,     /* large: two cards of one reference each */
  IMMORTAL,  /* a pair that C statics hold raw */
  WEAK,      /* one weak reference */
  EPHEMERON, /* a key and a value */
  FORWARD,   /* one reference, behind the tri-colour forward barrier */
  KINDS
};
enum logged { UNLOGGED, LOG_OF_0, LOG_OF_1, REMEMBERED };  /* in which log an object is */
enum queued { UNQUEUED, QUEUED, HALF_SCANNED };            /* HALF_SCANNED: its first field */
enum finalizer { NO_FINALIZER, REGISTERED, READY };        /* READY: a root until it has run */
enum barrier { OUTSIDE, SWAP_NEXT, LOG_NEXT, STORE_NEXT }; /* a barrier step by step */
enum { UNSEEN, DEAD_AT_START, SURVIVED_ONE, SURVIVED_TWO, SURVIVED_THREE }; /* cycles, dead */

typedef struct object {
  uint8_t space, kind, age;
  uint8_t marked, armed;
  uint8_t ahead;      /* waits behind a forward barrier, to be marked */
  uint8_t log, twice; /* twice: in a second log, or in one twice */
  uint8_t queued;
  uint8_t block;
  uint8_t listed; /* a large array, on the list that is swept */
  uint8_t final, pinned, sealed;
  uint8_t field[FIELDS];
  uint8_t card[FIELDS];     /* 1: logged. 2: its byte says so, and it is in no log */
  uint8_t recorded[FIELDS]; /* the slot is on the list of slots into the candidate */
  uint8_t dead;
} object;

typedef struct mutator {
  uint8_t root[ROOTS];
  uint8_t clean[ROOTS]; /* unchanged since a minor that left nothing young in it */
  uint8_t seen[ROOTS];  /* unchanged since the cycle scanned it */
  uint8_t buffer;       /* 0, or the block that it allocates in, plus one */
  uint8_t run_logged;   /* the run that the buffer is has been logged */
  uint8_t barrier, target, slot, value;
  uint8_t gone; /* unbound */
} mutator;

typedef struct state {
  object object[OBJECTS + 1]; /* from 1 */
  mutator mutator[MUTATORS];
  uint8_t phase;
  uint8_t unswept;   /* blocks, as bits */
  uint8_t flagged;   /* blocks with marked objects that the queue had no room for */
  uint8_t candidate; /* 0, or the block to be evacuated, plus one */
  uint8_t broken;    /* an enum breakage that an event has met */
  uint8_t rests;     /* the nursery does: what happens is what happens with nursery=0 */
} state;

/* What no state may hold but an event finds. */
enum breakage {
  SOUND,
  FREED_IN_LOG,
  FREED_IN_QUEUE,
  FREED_CARD,
  FREED_FINALIZER,
  FREED_PINNED,
  PINNED_MOVED,
  LOG_NAMES_OLD_PLACE,
  TABLE_NAMES_OLD_PLACE,
  FREED_RECORDED,
  KEPT_WEAKLY,
  FREED_AHEAD
};

/* ---- rules ----------------------------------------------------------------------------------- */

#define RULE(name, config, label, sentence) RULE_##name,
enum rule {
#include "rules.def"
  RULES
};
#undef RULE

extern enum rule removed; /* RULES: none */

/* ---- configurations ---------------------------------------------------------------------------- */

typedef struct config {
  const char *name, *what;
  bool quick;
  bool copying; /* the model of parallel copying; nothing below is about it */
  bool nursery;
  uint8_t objects, mutators, roots, fields;
  uint8_t young[KINDS], old[KINDS]; /* how many of each kind may live at once, born young and old */
  bool overflow;                    /* the mark queue holds `queue` entries, not all */
  uint8_t queue;
  uint8_t recorded; /* how many recorded slots; 0: all */
  bool split;       /* a scan may stop between two fields */
  bool two_blocks;  /* a minor may promote to either block */
  bool steps;       /* barriers go step by step, logs hold one entry, mutators unbind */
  bool evacuation, pins, kept, finalizers, stacks, seal, abort;
  bool rests; /* the nursery may rest */
  uint8_t
      ahead; /* a variant: so many may wait behind forward barriers; 0: they are marked at once */
  bool arrays_at_once; /* a variant: the first minor that reaches an array promotes it */
  uint8_t
      floating; /* the cycle, begun after an object's death, that frees it at the latest; 0: not followed */
  uint8_t without; /* a rule that is not kept here, plus one */
} config;

extern const config configs[];
extern const config *current; /* what is being explored */

static inline bool rule(enum rule r) {
  return removed != r && current->without != r + 1;
}

static inline bool with_nursery(const state *s) {
  return current->nursery && !s->rests;
}

/* ---- what events are made of ------------------------------------------------------------------- */

unsigned fields_of(const object *o);
bool is_young(const state *s, unsigned o);
bool is_old(const state *s, unsigned o);
bool condemned(const state *s, unsigned o); /* dead since remark, and not swept yet */
bool exists(const state *s, unsigned o);
bool is_weak_slot(const object *o, unsigned f); /* a weak reference, or the key of an ephemeron */
uint8_t referred_from(const state *s, uint8_t objects); /* with these themselves, as bits */
uint8_t reachable(const state *s);                      /* objects, as bits */
bool logs_are_empty(const state *s);

void arm(object *x);
void append_log(state *s, unsigned o, enum logged log);
void free_object(state *s, unsigned o);
void reach(state *s, unsigned o); /* reached by the tracer */
void scan_field(state *s, unsigned o, unsigned f);
void scan(state *s, unsigned o); /* all fields */
void take_ahead(state *s); /* at the beginning of a pause: what waits behind forward barriers */
void retire_buffers(state *s);
void break_with(state *s, enum breakage b);

/* ---- events, one function each ------------------------------------------------------------------ */

/* mutator.c */
void alloc_young(state *s, unsigned m, unsigned r, unsigned o, enum kind kind, bool finalizable);
void alloc_old(state *s, unsigned m, unsigned r, unsigned o, enum kind kind, bool finalizable);
void acquire_block(state *s, unsigned m, unsigned b);
void load(state *s, unsigned m, unsigned r, unsigned o);
void write_barrier(state *s, unsigned m, unsigned o, unsigned f, unsigned v);
void store(state *s, unsigned o, unsigned f, unsigned v);
void barrier_step(state *s, unsigned m);
void unbind(state *s, unsigned m);
void run_finalizer(state *s, unsigned m, unsigned r, unsigned o);
void pin(state *s, unsigned o);
void seal(state *s, unsigned o);

/* cycle.c */
void begin_cycle(state *s, unsigned candidate);
void take_from_queue(state *s, unsigned o);
void rescan_block(state *s, unsigned b);
void read_log_entry(state *s, unsigned o);        /* nursery=0 */
void read_card(state *s, unsigned o, unsigned f); /* nursery=0 */
void remark(state *s, bool evacuates);
void sweep_block(state *s, unsigned b);
void sweep_large(state *s, unsigned o);
void abort_cycle(state *s);

/* minor.c */
void minor_collection(state *s, unsigned kept, unsigned block);

/* evacuation.c */
void record_slot(state *s, unsigned o, unsigned f);
void drop_candidate(state *s);
void evacuate(state *s);

/* ---- what is checked ---------------------------------------------------------------------------- */

/* invariants.c */
const char *broken_invariant(const state *s);

/* pack.c: objects are renumbered, so that states that differ in numbers alone are one. */
void pack(const state *s, packed *p, uint8_t number[EXPLORE_NAMES]);
void unpack(const packed *p, state *s);

/* events.c */
extern const model quadcolor_model;

/* copy_model.c: parallel copying, on its own */
extern const model copy_model;

/* ---- coverage ----------------------------------------------------------------------------------- */

enum colour { COLOUR_YOUNG, WHITE, LIGHT_GRAY, DARK_GRAY, BLACK, COLOURS };

#define EVENT(name, words, nursery, without) EVENT_##name,
enum covered {
#include "coverage.def"
  COVERED
};
#undef EVENT

enum colour colour_of(const state *s, unsigned o);
enum colour card_colour(const state *s, unsigned o, unsigned f);
void cover(enum covered event, enum colour colour);
bool coverage_complete(FILE *to);

#endif
