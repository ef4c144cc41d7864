/*
 * A registry is one table of entries, found by handles of an index and a generation. A destructor
 * becomes *due* under the lock: its generation goes up, so no handle leads to it any more, and it
 * goes to a list of the call that made it due. That call then takes one after the other from its
 * list and runs the free operations, without the lock. So what an operation calls finds everything
 * that is due with it done already, and there is nothing to bring back.
 *
 * Members of a scope stand in the scope's list, those that a record or replay governs in the
 * registry's, the newest first: the order in which they are freed. Scopes are entries of the same
 * table.
 *
 * A record is a sequence of events, a word each: what was done, and to which destructor, by the
 * order of creation. Before a replay the last event of each destructor is marked, by one walk
 * backwards; the replay then compares each event with the next of the record, and has its answer in
 * the same word.
 */
#include "core/heap/destructors.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/os/error.h"

#define DESTRUCTOR_NONE       UINT32_MAX
#define DESTRUCTOR_NAME_BYTES 48
#define DESTRUCTORS_LEAST     16u
#define DESTRUCTOR_FILE_CHARS ((size_t)60) /* of a path, in messages: its end */

typedef enum destructor_state {
  DESTRUCTOR_DEAD, /* free for another, or due: no handle leads here */
  DESTRUCTOR_LIVE,
  DESTRUCTOR_FOREVER,
  DESTRUCTOR_SCOPE
} destructor_state;

/* From where it is known which use is the last. */
typedef enum destructor_source {
  DESTRUCTOR_UNDECLARED,
  DESTRUCTOR_DECLARED,
  DESTRUCTOR_SCOPED,
  DESTRUCTOR_RECORDED
} destructor_source;

typedef struct destructor {
  uint32_t generation; /* 0: used up, the entry is not used again */
  destructor_state state;
  destructor_source source;
  tsr_destructor_kind kind;
  uint32_t next;     /* in the list of its scope or of the record; also if due, or free */
  uint32_t previous; /* in the first two */
  uint32_t scope;    /* of a scoped one: the scope's entry */
  uint32_t members;  /* of a scope: its list */
  uint32_t session;  /* of a recorded one: of which record or replay */
  uint32_t serial;   /* of a recorded one: its number there */
  uint64_t created;  /* its number in the registry */
  uint64_t uses, declared;
  tsr_free_operation operation;
  const char *file;
  int line;
  char name[DESTRUCTOR_NAME_BYTES];
} destructor;

typedef enum destructor_mode {
  DESTRUCTORS_IDLE,
  DESTRUCTORS_RECORDING,
  DESTRUCTORS_REPLAYING
} destructor_mode;

/* An event: the serial number above, a mark, and what was done. */
#define EVENT_CREATE       0u
#define EVENT_USE          1u
#define EVENT_FOREVER      2u
#define EVENT_KINDS        3u
#define EVENT_KIND_MASK    3u
#define EVENT_LAST         4u /* nothing follows for this destructor; in a replay's copy */
#define EVENT_SERIAL_SHIFT 3
#define EVENT_SERIALS      (UINT32_C(1) << (32 - EVENT_SERIAL_SHIFT))

struct tsr_destructors {
  tsr_heap *heap; /* fixed */
  os_mutex lock;  /* guards all that follows; never held where a function of the VM runs */
  destructor *entries;
  uint32_t capacity;
  uint32_t used;    /* entries ever used */
  uint32_t free;    /* list of those that are free */
  uint32_t due;     /* how many wait for their free operation */
  uint32_t running; /* free operations that have not returned */
  uint64_t created;

  destructor_mode mode;
  uint32_t session;  /* of the present or last record or replay */
  uint32_t serials;  /* destructors created in it */
  uint32_t recorded; /* list of those that are live */
  uint32_t *events;
  size_t event_count, event_capacity;
  size_t event_next; /* of a replay */
  bool departed;     /* the replay's program does something else than the record */
};

/* What one call has made due, the newest first. */
typedef struct destructor_list {
  uint32_t first, last;
} destructor_list;

#define DESTRUCTOR_LIST_EMPTY                                                                      \
  { DESTRUCTOR_NONE, DESTRUCTOR_NONE }

/* ---- messages -------------------------------------------------------------------------------- */

#define DESTRUCTOR_FORMAT       "destructor \"%s\", created at %s:%d"
#define DESTRUCTOR_ARGUMENTS(d) (d)->name, destructor_file(d), (d)->line

static const char *destructor_file(const destructor *d) {
  size_t length = strlen(d->file);
  return length <= DESTRUCTOR_FILE_CHARS ? d->file : d->file + length - DESTRUCTOR_FILE_CHARS;
}

static tsr_status destructors_no_memory(tsr_error *error) {
  return error_set(error, TSR_OUT_OF_MEMORY,
                   "no memory for another destructor, scope or event within the heap's maximum");
}

static void destructor_report_failure(tsr_heap *heap, const destructor *d,
                                      const tsr_error *failure) {
  tsr_error error;
  error_set(&error, failure->status, DESTRUCTOR_FORMAT ": its free operation failed: %s: %s",
            DESTRUCTOR_ARGUMENTS(d), tsr_status_name(failure->status), failure->message);
  heap_report(heap, NULL, &error);
}

static void destructor_report_leak(tsr_heap *heap, const destructor *d) {
  char declared[64] = "of a number never declared";
  if (d->source == DESTRUCTOR_DECLARED)
    snprintf(declared, sizeof declared, "of %" PRIu64 " declared", d->declared);
  if (d->source == DESTRUCTOR_SCOPED) snprintf(declared, sizeof declared, "in an open scope");
  tsr_error error;
  error_set(&error, TSR_BUSY,
            DESTRUCTOR_FORMAT ", is a leak: at tsr_destructors_close() it is neither done nor kept "
                              "for ever; uses: %" PRIu64 " %s",
            DESTRUCTOR_ARGUMENTS(d), d->uses, declared);
  heap_report(heap, NULL, &error);
}

/* ---- entries, under the lock ----------------------------------------------------------------- */

static uint64_t destructor_handle(const tsr_destructors *r, uint32_t index) {
  return (uint64_t)r->entries[index].generation << 32 | index;
}

/* An entry's message if it still tells what was there when the handle was good. */
static tsr_status destructor_is_dead(const tsr_destructors *r, uint64_t handle, tsr_error *error) {
  uint32_t index = (uint32_t)handle;
  const destructor *d = index < r->used ? &r->entries[index] : NULL;
  if (d != NULL && d->file != NULL && d->state == DESTRUCTOR_DEAD &&
      d->generation == (uint32_t)(handle >> 32) + 1) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     DESTRUCTOR_FORMAT ", is done or kept for ever: its handle is dead",
                     DESTRUCTOR_ARGUMENTS(d));
  }
  return error_set(error, TSR_INVALID_ARGUMENT,
                   "%#" PRIx64 " is no handle here: dead, for what it stood for is done, or of "
                   "another kind or registry",
                   handle);
}

static uint32_t destructor_look_up(const tsr_destructors *r, uint64_t handle) {
  uint32_t index = (uint32_t)handle;
  if (index >= r->used || r->entries[index].state == DESTRUCTOR_DEAD) return DESTRUCTOR_NONE;
  return r->entries[index].generation == handle >> 32 ? index : DESTRUCTOR_NONE;
}

/* The entry of a destructor that is live or for ever; DESTRUCTOR_NONE with an error. */
static uint32_t destructor_find(const tsr_destructors *r, tsr_destructor handle, tsr_error *error) {
  uint32_t index = destructor_look_up(r, handle);
  if (index != DESTRUCTOR_NONE && r->entries[index].state != DESTRUCTOR_SCOPE) return index;
  destructor_is_dead(r, handle, error);
  return DESTRUCTOR_NONE;
}

static uint32_t destructor_find_scope(const tsr_destructors *r, tsr_destructor_scope scope,
                                      tsr_error *error) {
  uint32_t index = destructor_look_up(r, scope);
  if (index != DESTRUCTOR_NONE && r->entries[index].state == DESTRUCTOR_SCOPE) return index;
  destructor_is_dead(r, scope, error);
  return DESTRUCTOR_NONE;
}

static bool destructors_grow(tsr_destructors *r) {
  uint32_t capacity = r->capacity == 0 ? DESTRUCTORS_LEAST : 2 * r->capacity;
  if (capacity <= r->capacity) return false;
  destructor *entries = segment_grow(&r->heap->account, MEMORY_DESTRUCTORS, r->entries,
                                     r->capacity * sizeof *entries, capacity * sizeof *entries);
  if (entries == NULL) return false;
  r->entries = entries;
  r->capacity = capacity;
  return true;
}

/* An entry for a new destructor or scope, empty but for its generation; DESTRUCTOR_NONE: no memory.
   */
static uint32_t destructor_take(tsr_destructors *r) {
  uint32_t index = r->free;
  if (index != DESTRUCTOR_NONE) {
    r->free = r->entries[index].next;
    r->entries[index] = (destructor){.generation = r->entries[index].generation};
    return index;
  }
  if (r->used == r->capacity && !destructors_grow(r)) return DESTRUCTOR_NONE;
  r->entries[r->used] = (destructor){.generation = 1};
  return r->used++;
}

static void destructor_give_back(tsr_destructors *r, uint32_t index) {
  destructor *d = &r->entries[index];
  if (d->generation == 0) return;
  d->next = r->free;
  r->free = index;
}

static uint32_t *destructor_home(tsr_destructors *r, const destructor *d) {
  return d->source == DESTRUCTOR_SCOPED ? &r->entries[d->scope].members : &r->recorded;
}

static bool destructor_has_home(const destructor *d) {
  return d->source == DESTRUCTOR_SCOPED || d->source == DESTRUCTOR_RECORDED;
}

static void destructor_enter(tsr_destructors *r, uint32_t index) {
  destructor *d = &r->entries[index];
  uint32_t *home = destructor_home(r, d);
  d->previous = DESTRUCTOR_NONE;
  d->next = *home;
  if (d->next != DESTRUCTOR_NONE) r->entries[d->next].previous = index;
  *home = index;
}

/* Takes a live one from the list that it is in, if any. */
static void destructor_leave(tsr_destructors *r, uint32_t index) {
  const destructor *d = &r->entries[index];
  if (!destructor_has_home(d)) return;
  if (d->next != DESTRUCTOR_NONE) r->entries[d->next].previous = d->previous;
  if (d->previous != DESTRUCTOR_NONE) {
    r->entries[d->previous].next = d->next;
  } else {
    *destructor_home(r, d) = d->next;
  }
}

/* ---- what is due ----------------------------------------------------------------------------- */

/* By age. What comes in the order of its age, either way, is in its place at once. */
static void destructor_list_insert(const tsr_destructors *r, destructor_list *list,
                                   uint32_t index) {
  destructor *entries = r->entries;
  uint32_t before = DESTRUCTOR_NONE;
  uint32_t after = list->first;
  if (list->last != DESTRUCTOR_NONE && entries[list->last].created > entries[index].created) {
    before = list->last;
    after = DESTRUCTOR_NONE;
  }
  while (after != DESTRUCTOR_NONE && entries[after].created > entries[index].created) {
    before = after;
    after = entries[after].next;
  }
  entries[index].next = after;
  if (after == DESTRUCTOR_NONE) list->last = index;
  if (before == DESTRUCTOR_NONE) {
    list->first = index;
  } else {
    entries[before].next = index;
  }
}

static void destructor_kill(tsr_destructors *r, uint32_t index) {
  r->entries[index].state = DESTRUCTOR_DEAD;
  r->entries[index].generation++;
}

/* A live one. From here on it is done. */
static void destructor_make_due(tsr_destructors *r, uint32_t index, destructor_list *due) {
  destructor_leave(r, index);
  destructor_kill(r, index);
  destructor_list_insert(r, due, index);
  r->due++;
}

static void destructor_run(tsr_heap *heap, const destructor *d) {
  tsr_error error = {.message = ""};
  if (d->operation.function == NULL) return;
  error.status = d->operation.function(d->operation.context, &error);
  if (error.status != TSR_OK) destructor_report_failure(heap, d, &error);
}

/* Without the lock: runs the free operations. The list is this call's own, its entries nobody
   else's. */
static void destructors_run(tsr_destructors *r, const destructor_list *due) {
  for (uint32_t index = due->first; index != DESTRUCTOR_NONE;) {
    os_mutex_lock(&r->lock);
    destructor done = r->entries[index];
    destructor_give_back(r, index);
    r->due--;
    r->running++;
    os_mutex_unlock(&r->lock);
    destructor_run(r->heap, &done);
    os_mutex_lock(&r->lock);
    r->running--;
    os_mutex_unlock(&r->lock);
    index = done.next;
  }
}

/* ---- events, under the lock ------------------------------------------------------------------ */

static uint32_t event_of(uint32_t kind, uint32_t serial) {
  return serial << EVENT_SERIAL_SHIFT | kind;
}

static bool event_has_room(tsr_destructors *r) {
  if (r->event_count < r->event_capacity) return true;
  size_t capacity = r->event_capacity == 0 ? DESTRUCTORS_LEAST : 2 * r->event_capacity;
  uint32_t *events = segment_grow(&r->heap->account, MEMORY_DESTRUCTORS, r->events,
                                  r->event_capacity * sizeof *events, capacity * sizeof *events);
  if (events == NULL) return false;
  r->events = events;
  r->event_capacity = capacity;
  return true;
}

static tsr_status event_record(tsr_destructors *r, uint32_t event, tsr_error *error) {
  if (!event_has_room(r)) return destructors_no_memory(error);
  r->events[r->event_count++] = event;
  return TSR_OK;
}

#define EVENT_TEXT_BYTES 64

static const char *event_text(char *text, uint32_t event) {
  static const char *const kinds[EVENT_KINDS] = {"the creation", "a use", "the use for ever"};
  snprintf(text, EVENT_TEXT_BYTES, "%s of destructor %" PRIu32, kinds[event & EVENT_KIND_MASK],
           event >> EVENT_SERIAL_SHIFT);
  return text;
}

static tsr_status event_departs(tsr_destructors *r, uint32_t event, tsr_error *error) {
  char wanted[EVENT_TEXT_BYTES] = "its end";
  char got[EVENT_TEXT_BYTES];
  if (r->event_next < r->event_count) event_text(wanted, r->events[r->event_next]);
  r->departed = true;
  return error_set(
      error, TSR_MISMATCH,
      "the program departs from its record at event %zu: recorded is %s, and now comes "
      "%s (counted from 0)",
      r->event_next, wanted, event_text(got, event));
}

static tsr_status event_replay(tsr_destructors *r, uint32_t event, bool *last, tsr_error *error) {
  if (r->departed) {
    if ((event & EVENT_KIND_MASK) == EVENT_FOREVER) return TSR_OK;
    return error_set(error, TSR_MISMATCH,
                     "the program departed from its record before, at event %zu; end the replay",
                     r->event_next);
  }
  if (r->event_next == r->event_count || (r->events[r->event_next] & ~EVENT_LAST) != event) {
    return event_departs(r, event, error);
  }
  *last = (r->events[r->event_next++] & EVENT_LAST) != 0;
  return TSR_OK;
}

/* Writes an event down, or compares it: then `last` tells whether it is the last of its destructor.
   */
static tsr_status event_happens(tsr_destructors *r, uint32_t event, bool *last, tsr_error *error) {
  if (r->running > 0) {
    return error_set(error, TSR_BUSY,
                     "while a registry records or replays, a free operation may not create or use "
                     "destructors of the record");
  }
  if (r->mode == DESTRUCTORS_RECORDING) return event_record(r, event, error);
  return event_replay(r, event, last, error);
}

static bool destructor_is_governed(const tsr_destructors *r, const destructor *d) {
  return r->mode != DESTRUCTORS_IDLE && d->source == DESTRUCTOR_RECORDED &&
         d->session == r->session;
}

static tsr_status destructor_event(tsr_destructors *r, const destructor *d, uint32_t kind,
                                   bool *last, tsr_error *error) {
  if (!destructor_is_governed(r, d)) return TSR_OK;
  return event_happens(r, event_of(kind, d->serial), last, error);
}

/* ---- creation -------------------------------------------------------------------------------- */

static void destructor_fill(tsr_destructors *r, destructor *d, const destructor_plan *plan) {
  d->state = DESTRUCTOR_LIVE;
  d->kind = plan->kind;
  d->created = r->created++;
  d->operation = plan->operation;
  d->file = plan->file;
  d->line = plan->line;
  snprintf(d->name, sizeof d->name, "%s", plan->name);
}

static tsr_status destructor_join_record(tsr_destructors *r, destructor *d, bool *last,
                                         tsr_error *error) {
  if (r->serials == EVENT_SERIALS) return destructors_no_memory(error);
  tsr_status status = event_happens(r, event_of(EVENT_CREATE, r->serials), last, error);
  if (status != TSR_OK) return status;
  d->source = DESTRUCTOR_RECORDED;
  d->session = r->session;
  d->serial = r->serials++;
  return TSR_OK;
}

static tsr_destructor destructor_create(tsr_destructors *r, const destructor_plan *plan,
                                        destructor_list *due, tsr_error *error) {
  bool done = false;
  uint32_t scope = DESTRUCTOR_NONE;
  if (plan->scope != 0) {
    scope = destructor_find_scope(r, plan->scope, error);
    if (scope == DESTRUCTOR_NONE) return 0;
  }
  uint32_t index = destructor_take(r);
  if (index == DESTRUCTOR_NONE) {
    destructors_no_memory(error);
    return 0;
  }
  destructor *d = &r->entries[index];
  if (scope != DESTRUCTOR_NONE) {
    d->source = DESTRUCTOR_SCOPED;
    d->scope = scope;
  } else if (r->mode != DESTRUCTORS_IDLE && destructor_join_record(r, d, &done, error) != TSR_OK) {
    destructor_give_back(r, index);
    return 0;
  }
  destructor_fill(r, d, plan);
  if (destructor_has_home(d)) destructor_enter(r, index);
  tsr_destructor handle = destructor_handle(r, index);
  if (done) destructor_make_due(r, index, due);
  return handle;
}

tsr_destructor destructors_add(tsr_destructors *r, const destructor_plan *plan, tsr_error *error) {
  destructor_list due = DESTRUCTOR_LIST_EMPTY;
  os_mutex_lock(&r->lock);
  tsr_destructor handle = destructor_create(r, plan, &due, error);
  os_mutex_unlock(&r->lock);
  destructors_run(r, &due);
  return handle;
}

/* ---- uses ------------------------------------------------------------------------------------ */

/* Sets the declared count. Where so many uses have been, the last of them was the last, known too
   late for a prompt destructor. */
static tsr_status destructor_declare(tsr_destructors *r, uint32_t index, uint64_t uses,
                                     destructor_list *due, tsr_error *error) {
  destructor *d = &r->entries[index];
  if (d->uses == uses && uses > 0 && d->kind == TSR_PROMPT) {
    return error_set(error, TSR_MISMATCH,
                     DESTRUCTOR_FORMAT ", is prompt: use %" PRIu64 " should have freed it, and is "
                                       "over; declare its uses without conditions, or make it "
                                       "TSR_RELAXED",
                     DESTRUCTOR_ARGUMENTS(d), uses);
  }
  d->source = DESTRUCTOR_DECLARED;
  d->declared = uses;
  if (d->uses == uses) destructor_make_due(r, index, due);
  return TSR_OK;
}

static tsr_status destructor_expect(tsr_destructors *r, tsr_destructor handle, uint64_t uses,
                                    destructor_list *due, tsr_error *error) {
  uint32_t index = destructor_find(r, handle, error);
  if (index == DESTRUCTOR_NONE) return TSR_INVALID_ARGUMENT;
  const destructor *d = &r->entries[index];
  if (d->state == DESTRUCTOR_FOREVER || d->source != DESTRUCTOR_UNDECLARED) {
    return error_set(error, TSR_BUSY,
                     DESTRUCTOR_FORMAT
                     ": uses are declared once, and not in a scope, in a record or "
                     "for what is kept for ever",
                     DESTRUCTOR_ARGUMENTS(d));
  }
  if (uses < d->uses) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     DESTRUCTOR_FORMAT ": declared are %" PRIu64 " uses, and %" PRIu64
                                       " have been already",
                     DESTRUCTOR_ARGUMENTS(d), uses, d->uses);
  }
  return destructor_declare(r, index, uses, due, error);
}

tsr_status destructors_expect(tsr_destructors *r, tsr_destructor handle, uint64_t uses,
                              tsr_error *error) {
  destructor_list due = DESTRUCTOR_LIST_EMPTY;
  os_mutex_lock(&r->lock);
  tsr_status status = destructor_expect(r, handle, uses, &due, error);
  os_mutex_unlock(&r->lock);
  destructors_run(r, &due);
  return status;
}

static tsr_status destructor_use(tsr_destructors *r, tsr_destructor handle, destructor_list *due,
                                 bool *last, tsr_error *error) {
  uint32_t index = destructor_find(r, handle, error);
  if (index == DESTRUCTOR_NONE) return TSR_INVALID_ARGUMENT;
  destructor *d = &r->entries[index];
  bool is_last = false;
  tsr_status status = destructor_event(r, d, EVENT_USE, &is_last, error);
  if (status != TSR_OK) return status;
  d->uses++;
  if (d->source == DESTRUCTOR_DECLARED) is_last = d->uses == d->declared;
  if (d->state == DESTRUCTOR_FOREVER) is_last = false;
  if (is_last) destructor_make_due(r, index, due);
  *last = is_last;
  return TSR_OK;
}

static tsr_status destructor_skip(tsr_destructors *r, tsr_destructor handle, destructor_list *due,
                                  tsr_error *error) {
  uint32_t index = destructor_find(r, handle, error);
  if (index == DESTRUCTOR_NONE) return TSR_INVALID_ARGUMENT;
  const destructor *d = &r->entries[index];
  if (d->state == DESTRUCTOR_FOREVER || d->source != DESTRUCTOR_DECLARED) {
    return error_set(error, TSR_BUSY, DESTRUCTOR_FORMAT " has no declared use to take back",
                     DESTRUCTOR_ARGUMENTS(d));
  }
  return destructor_declare(r, index, d->declared - 1, due, error);
}

tsr_status destructors_step(tsr_destructors *r, destructor_step step, const tsr_destructor *handles,
                            size_t count, bool *last, tsr_error *error) {
  destructor_list due = DESTRUCTOR_LIST_EMPTY;
  tsr_status status = TSR_OK;
  os_mutex_lock(&r->lock);
  for (size_t i = 0; i < count && status == TSR_OK; i++) {
    status = step == DESTRUCTOR_USE ? destructor_use(r, handles[i], &due, last, error)
                                    : destructor_skip(r, handles[i], &due, error);
  }
  os_mutex_unlock(&r->lock);
  destructors_run(r, &due);
  return status;
}

/* ---- for ever -------------------------------------------------------------------------------- */

/* A prompt one stays, to answer further uses; a relaxed one is done. */
static tsr_status destructor_keep(tsr_destructors *r, uint32_t index, tsr_error *error) {
  destructor *d = &r->entries[index];
  bool last;
  if (d->state == DESTRUCTOR_FOREVER) {
    return error_set(error, TSR_BUSY,
                     DESTRUCTOR_FORMAT
                     ", is kept for ever already, and its free operation given out",
                     DESTRUCTOR_ARGUMENTS(d));
  }
  tsr_status status = destructor_event(r, d, EVENT_FOREVER, &last, error);
  if (status != TSR_OK) return status;
  destructor_leave(r, index);
  d->state = DESTRUCTOR_FOREVER;
  if (d->kind == TSR_PROMPT) return TSR_OK;
  destructor_kill(r, index);
  destructor_give_back(r, index);
  return TSR_OK;
}

tsr_status destructors_keep(tsr_destructors *r, tsr_destructor handle,
                            tsr_free_operation *operation, tsr_error *error) {
  tsr_status status = TSR_INVALID_ARGUMENT;
  os_mutex_lock(&r->lock);
  uint32_t index = destructor_find(r, handle, error);
  if (index != DESTRUCTOR_NONE) {
    *operation = r->entries[index].operation;
    status = destructor_keep(r, index, error);
  }
  os_mutex_unlock(&r->lock);
  return status;
}

/* Those of a record first, by age: the order of events may not depend on where entries lie. */
size_t destructors_keep_all(tsr_destructors *r) {
  size_t kept = 0;
  os_mutex_lock(&r->lock);
  for (uint32_t index = r->recorded, next; index != DESTRUCTOR_NONE; index = next) {
    next = r->entries[index].next;
    kept += destructor_keep(r, index, NULL) == TSR_OK;
  }
  for (uint32_t index = 0; index < r->used; index++) {
    if (r->entries[index].state == DESTRUCTOR_LIVE)
      kept += destructor_keep(r, index, NULL) == TSR_OK;
  }
  os_mutex_unlock(&r->lock);
  return kept;
}

/* ---- scopes ---------------------------------------------------------------------------------- */

tsr_destructor_scope destructors_open_scope(tsr_destructors *r, tsr_error *error) {
  tsr_destructor_scope scope = 0;
  os_mutex_lock(&r->lock);
  uint32_t index = destructor_take(r);
  if (index != DESTRUCTOR_NONE) {
    r->entries[index].state = DESTRUCTOR_SCOPE;
    r->entries[index].members = DESTRUCTOR_NONE;
    scope = destructor_handle(r, index);
  } else {
    destructors_no_memory(error);
  }
  os_mutex_unlock(&r->lock);
  return scope;
}

tsr_status destructors_close_scope(tsr_destructors *r, tsr_destructor_scope scope,
                                   tsr_error *error) {
  destructor_list due = DESTRUCTOR_LIST_EMPTY;
  os_mutex_lock(&r->lock);
  uint32_t index = destructor_find_scope(r, scope, error);
  if (index != DESTRUCTOR_NONE) {
    while (r->entries[index].members != DESTRUCTOR_NONE)
      destructor_make_due(r, r->entries[index].members, &due);
    destructor_kill(r, index);
    destructor_give_back(r, index);
  }
  os_mutex_unlock(&r->lock);
  destructors_run(r, &due);
  return index == DESTRUCTOR_NONE ? TSR_INVALID_ARGUMENT : TSR_OK;
}

/* ---- record and replay ----------------------------------------------------------------------- */

static tsr_status destructors_check_mode(const tsr_destructors *r, destructor_mode wanted,
                                         tsr_error *error) {
  static const char *const modes[] = {"neither records nor replays", "records", "replays"};
  if (r->mode == wanted) return TSR_OK;
  return error_set(error, TSR_BUSY, "a registry that %s is asked for; this one %s", modes[wanted],
                   modes[r->mode]);
}

static void destructors_begin(tsr_destructors *r, destructor_mode mode) {
  r->mode = mode;
  r->session++;
  r->serials = 0;
  r->event_next = 0;
  r->departed = false;
}

tsr_status destructors_record(tsr_destructors *r, tsr_error *error) {
  os_mutex_lock(&r->lock);
  tsr_status status = destructors_check_mode(r, DESTRUCTORS_IDLE, error);
  if (status == TSR_OK) {
    destructors_begin(r, DESTRUCTORS_RECORDING);
    r->event_count = 0;
  }
  os_mutex_unlock(&r->lock);
  return status;
}

tsr_status destructors_record_end(tsr_destructors *r, tsr_error *error) {
  destructor_list due = DESTRUCTOR_LIST_EMPTY;
  os_mutex_lock(&r->lock);
  tsr_status status = destructors_check_mode(r, DESTRUCTORS_RECORDING, error);
  if (status == TSR_OK) {
    r->mode = DESTRUCTORS_IDLE;
    while (r->recorded != DESTRUCTOR_NONE)
      destructor_make_due(r, r->recorded, &due);
  }
  os_mutex_unlock(&r->lock);
  destructors_run(r, &due);
  return status;
}

size_t destructors_events(tsr_destructors *r, uint32_t *events, size_t capacity) {
  os_mutex_lock(&r->lock);
  size_t count = r->event_count;
  for (size_t i = 0; i < count && i < capacity; i++)
    events[i] = r->events[i] & ~EVENT_LAST;
  os_mutex_unlock(&r->lock);
  return count;
}

/* The first event that no record has at its place, or `count`. */
static size_t events_first_wrong(const uint32_t *events, size_t count) {
  uint32_t serials = 0;
  for (size_t i = 0; i < count; i++) {
    uint32_t kind = events[i] & EVENT_KIND_MASK;
    uint32_t serial = events[i] >> EVENT_SERIAL_SHIFT;
    bool creates = kind == EVENT_CREATE;
    if (kind >= EVENT_KINDS || (events[i] & EVENT_LAST) != 0) return i;
    if (creates ? serial != serials : serial >= serials) return i;
    serials += creates;
  }
  return count;
}

/* `seen` has a bit for each serial number, all clear. */
static void events_mark_last(uint32_t *events, size_t count, uint8_t *seen) {
  for (size_t i = count; i-- > 0;) {
    uint32_t serial = events[i] >> EVENT_SERIAL_SHIFT;
    uint8_t bit = (uint8_t)(1u << serial % 8);
    if ((seen[serial / 8] & bit) == 0) events[i] |= EVENT_LAST;
    seen[serial / 8] |= bit;
  }
}

/* Takes a copy in place of the events of before. There are no more serial numbers than events. */
static tsr_status events_load(tsr_destructors *r, const uint32_t *events, size_t count,
                              tsr_error *error) {
  memory_account *account = &r->heap->account;
  size_t capacity = count + 1; /* a segment is never empty */
  size_t seen_bytes = count / 8 + 1;
  uint32_t *copy = segment_request(account, MEMORY_DESTRUCTORS, capacity * sizeof *copy);
  if (copy == NULL) goto no_copy;
  uint8_t *seen = segment_request(account, MEMORY_DESTRUCTORS, seen_bytes);
  if (seen == NULL) goto no_seen;
  if (count > 0) memcpy(copy, events, count * sizeof *copy);
  events_mark_last(copy, count, seen);
  segment_release(account, MEMORY_DESTRUCTORS, seen, seen_bytes);
  segment_release(account, MEMORY_DESTRUCTORS, r->events, r->event_capacity * sizeof *r->events);
  r->events = copy;
  r->event_count = count;
  r->event_capacity = capacity;
  return TSR_OK;

no_seen:
  segment_release(account, MEMORY_DESTRUCTORS, copy, capacity * sizeof *copy);
no_copy:
  return destructors_no_memory(error);
}

tsr_status destructors_replay(tsr_destructors *r, const uint32_t *events, size_t count,
                              tsr_error *error) {
  size_t wrong = events_first_wrong(events, count);
  if (wrong < count) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "event %zu, %#" PRIx32 ", cannot stand there in a record of destructors",
                     wrong, events[wrong]);
  }
  os_mutex_lock(&r->lock);
  tsr_status status = destructors_check_mode(r, DESTRUCTORS_IDLE, error);
  if (status == TSR_OK) status = events_load(r, events, count, error);
  if (status == TSR_OK) destructors_begin(r, DESTRUCTORS_REPLAYING);
  os_mutex_unlock(&r->lock);
  return status;
}

/* What is left has no last use from now on. */
static void destructors_let_go_recorded(tsr_destructors *r) {
  while (r->recorded != DESTRUCTOR_NONE) {
    uint32_t index = r->recorded;
    destructor_leave(r, index);
    r->entries[index].source = DESTRUCTOR_UNDECLARED;
  }
}

static tsr_status destructors_end_replay(tsr_destructors *r, tsr_error *error) {
  tsr_status status = destructors_check_mode(r, DESTRUCTORS_REPLAYING, error);
  if (status != TSR_OK) return status;
  r->mode = DESTRUCTORS_IDLE;
  destructors_let_go_recorded(r);
  if (!r->departed && r->event_next == r->event_count) return TSR_OK;
  return error_set(error, TSR_MISMATCH,
                   "the program %s its record: %zu of %zu events were replayed",
                   r->departed ? "departed from" : "ends before", r->event_next, r->event_count);
}

tsr_status destructors_replay_end(tsr_destructors *r, tsr_error *error) {
  os_mutex_lock(&r->lock);
  tsr_status status = destructors_end_replay(r, error);
  os_mutex_unlock(&r->lock);
  return status;
}

/* ---- opening and closing --------------------------------------------------------------------- */

tsr_destructors *destructors_new(tsr_heap *heap, tsr_error *error) {
  tsr_destructors *r = segment_request(&heap->account, MEMORY_DESTRUCTORS, sizeof *r);
  if (r == NULL) goto no_memory;
  if (!os_mutex_create(&r->lock)) goto no_lock;
  r->heap = heap;
  r->free = r->recorded = DESTRUCTOR_NONE;
  return r;

no_lock:
  segment_release(&heap->account, MEMORY_DESTRUCTORS, r, sizeof *r);
no_memory:
  destructors_no_memory(error);
  return NULL;
}

static tsr_status destructors_check_quiet(tsr_destructors *r, tsr_error *error) {
  os_mutex_lock(&r->lock);
  uint32_t busy = r->due + r->running;
  os_mutex_unlock(&r->lock);
  if (busy == 0) return TSR_OK;
  return error_set(error, TSR_BUSY,
                   "tsr_destructors_close: free operations that are due or running: %" PRIu32,
                   busy);
}

tsr_status destructors_close(tsr_destructors *r, size_t *leaks, tsr_error *error) {
  memory_account *account = &r->heap->account;
  tsr_status status = destructors_check_quiet(r, error);
  if (status != TSR_OK) return status;
  for (uint32_t index = 0; index < r->used; index++) {
    if (r->entries[index].state != DESTRUCTOR_LIVE) continue;
    destructor_report_leak(r->heap, &r->entries[index]);
    (*leaks)++;
  }
  segment_release(account, MEMORY_DESTRUCTORS, r->events, r->event_capacity * sizeof *r->events);
  segment_release(account, MEMORY_DESTRUCTORS, r->entries, r->capacity * sizeof *r->entries);
  os_mutex_destroy(&r->lock);
  segment_release(account, MEMORY_DESTRUCTORS, r, sizeof *r);
  return TSR_OK;
}
