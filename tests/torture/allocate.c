/*
 * All the ways to allocate.
 *
 * A request is a kind, a length, placement and flags, an alignment, and a way that is open to
 * these. What comes back must be zeroed and aligned; what is refused must be refused as documented:
 * one call of out_of_memory or none, an error where one is asked for.
 *
 * By the hand protocol a VM holds the mutator's pair in a copy of its own, which must be handed
 * back before anything else allocates or collects. So that way comes in bursts: allocations in a
 * row, in which nothing but the protocol's own slow path reaches a safepoint.
 */
#include "program.h"

#define MEDIUM_ELEMENTS 160
#define LARGE_ELEMENTS  2500

enum way {
  GENERIC,      /* tsr_alloc() */
  WITH_OPTIONS, /* tsr_alloc_with() */
  INLINE,       /* tsr_alloc_default() */
  CACHED,       /* tsr_alloc_cached() */
  BY_OFFSET,    /* tsr_alloc_by_offset() */
  RANDOM_WAYS,
  BY_HAND = RANDOM_WAYS
};

typedef struct request {
  unsigned kind;
  size_t count, size, align, align_offset;
  tsr_semantics semantics;
  enum way way;
  uint32_t options;
} request;

static tsr_semantics placement_of(tsr_semantics semantics) {
  return semantics & TSR_PLACEMENT_MASK;
}

/* ---- what to ask for ----------------------------------------------------------------------- */

static size_t random_count(program *p, unsigned kind) {
  if (!is_array(kind)) return 0;
  size_t unit = shape_of(kind) == BYTES ? 8 : 1;
  size_t elements;
  if (chance(p, 500)) {
    elements = below(p, LARGE_ELEMENTS);
  } else if (chance(p, 50)) {
    elements = below(p, MEDIUM_ELEMENTS);
  } else {
    elements = below(p, 10);
  }
  return elements * unit + (unit > 1 ? below(p, unit) : 0);
}

static tsr_semantics random_semantics(program *p) {
  tsr_semantics semantics = TSR_DEFAULT;
  if (chance(p, 8)) {
    semantics = TSR_NON_MOVING;
  } else if (chance(p, 200)) {
    semantics = TSR_IMMORTAL;
  } else if (chance(p, 200)) {
    semantics = TSR_LARGE;
  }
  if (chance(p, 8)) semantics |= TSR_LEAF;
  if (chance(p, 200)) semantics |= TSR_CODE * (uint32_t)(1 + below(p, 3)); /* one or both */
  return semantics;
}

/* Where the object may move, what its layout keeps, or less; anything where it may not. */
static void choose_alignment(program *p, request *r) {
  kind_alignment(r->kind, &r->align, &r->align_offset);
  if (placement_of(r->semantics) == TSR_DEFAULT) return;
  if (!chance(p, 4)) return;
  size_t align = (size_t)1 << (chance(p, 16) ? below(p, 13) : below(p, 8));
  if (align < r->align) return;
  r->align = align;
  r->align_offset = TSR_OBJECT_ALIGN * (size_t)below(p, 64);
  size_t least;
  size_t offset;
  kind_alignment(r->kind, &least, &offset);
  if (least > TSR_OBJECT_ALIGN) r->align_offset = offset;
}

/* The ways that take no alignment serve what needs none. */
static bool is_open(const program *p, const request *r, enum way way) {
  bool plain = placement_of(r->semantics) == TSR_DEFAULT && r->align <= TSR_OBJECT_ALIGN;
  bool own_pages = (r->semantics & (TSR_CODE | TSR_READ_ONLY)) != 0;
  switch (way) {
  case INLINE:
  case CACHED:
    return plain && !own_pages;
  case BY_OFFSET:
    return p->allocators[placement_of(r->semantics)].kind == TSR_ALLOCATOR_BUMP && !own_pages;
  default:
    return true;
  }
}

static request random_request(program *p) {
  request r = {.kind = CELL + (unsigned)below(p, TORTURE_KINDS - CELL),
               .semantics = random_semantics(p)};
  r.count = random_count(p, r.kind);
  r.size = torture_size(r.kind, r.count);
  choose_alignment(p, &r);
  r.way = (enum way)below(p, RANDOM_WAYS);
  if (!is_open(p, &r, r.way)) r.way = GENERIC;
  if (r.way == WITH_OPTIONS) r.options = chance(p, 16) ? (uint32_t)below(p, 8) : 0;
  return r;
}

/* ---- asking -------------------------------------------------------------------------------- */

static void *ask_with_options(program *p, const request *r) {
  tsr_error error = {0};
  uint64_t collections = p->world->collections;
  void *memory =
      tsr_alloc_with(p->m, r->size, r->align, r->align_offset, r->semantics, r->options, &error);
  if (memory == NULL) {
    DEMAND(error.status == TSR_OUT_OF_MEMORY && error.message[0] != 0,
           "an allocation of %zu bytes, semantics 0x%x, is refused: %s: %s", r->size, r->semantics,
           tsr_status_name(error.status), error.message);
  }
  bool may_collect = (r->options & (TSR_ALLOC_NO_COLLECT | TSR_ALLOC_OVERCOMMIT)) == 0;
  DEMAND(may_collect || !is_alone(p) || p->world->collections == collections,
         "a request with options 0x%x has collected", r->options);
  return memory;
}

static void *ask_by_hand(program *p, size_t size) {
  uintptr_t object = p->by_hand.cursor;
  if (tsr_inline_size(size) && object + size <= p->by_hand.limit) {
    p->by_hand.cursor = object + size;
    return (void *)object;
  }
  p->m->bump[TSR_DEFAULT] = p->by_hand;
  void *memory = tsr_alloc(p->m, size, TSR_OBJECT_ALIGN, 0, TSR_DEFAULT);
  p->by_hand = p->m->bump[TSR_DEFAULT];
  return memory;
}

static void *ask_in_its_way(program *p, const request *r) {
  unsigned pair = r->size % CACHED_PAIRS;
  switch (r->way) {
  case WITH_OPTIONS:
    return ask_with_options(p, r);
  case INLINE:
    return tsr_alloc_default(p->m, r->size);
  case CACHED:
    if (!p->registered[pair]) return tsr_alloc_default(p->m, r->size);
    return tsr_alloc_cached(p->m, &p->cached[pair], r->size);
  case BY_OFFSET:
    return tsr_alloc_by_offset(p->m, p->allocators[placement_of(r->semantics)].pair_offset, r->size,
                               r->align, r->align_offset);
  case BY_HAND:
    return ask_by_hand(p, r->size);
  default:
    return tsr_alloc(p->m, r->size, r->align, r->align_offset, r->semantics);
  }
}

static void check_memory(const request *r, const void *memory) {
  const uint64_t *words = memory;
  DEMAND(((uintptr_t)memory + r->align_offset) % r->align == 0,
         "%p is not what was asked for: alignment %zu, offset %zu, way %d", memory, r->align,
         r->align_offset, (int)r->way);
  for (size_t i = 0; i < r->size / 8; i++) {
    DEMAND(words[i] == 0, "word %zu of %zu new bytes at %p is 0x%llx (semantics 0x%x, way %d)", i,
           r->size, memory, (unsigned long long)words[i], r->semantics, (int)r->way);
  }
}

static void *ask(program *p, const request *r) {
  unsigned calls = p->oom_calls;
  void *memory = ask_in_its_way(p, r);
  unsigned expected = memory == NULL && r->options == 0;
  DEMAND(p->oom_calls - calls == expected,
         "out_of_memory was called %u times: %zu bytes, options 0x%x, %s", p->oom_calls - calls,
         r->size, r->options, memory == NULL ? "refused" : "served");
  if (memory != NULL) check_memory(r, memory);
  return memory;
}

/* ---- making an object of it ---------------------------------------------------------------- */

static shadow *new_shadow(program *p, const request *r, const void *memory) {
  size_t slots = (r->semantics & TSR_LEAF) != 0 ? 0 : vm_slots(shape_of(r->kind), r->count);
  shadow *s = calloc(1, sizeof *s + slots * sizeof(edge));
  DEMAND(s != NULL, "no memory for the model");
  bool own_pages = (r->semantics & (TSR_CODE | TSR_READ_ONLY)) != 0;
  s->kind = r->kind;
  s->tag = (unsigned)below(p, 65536);
  s->count = r->count;
  s->size = r->size;
  s->semantics = r->semantics;
  s->address = vm_word(memory);
  s->own_blocks =
      own_pages || placement_of(r->semantics) == TSR_LARGE || r->size > TSR_MAX_INLINE_BYTES;
  s->stays = s->own_blocks || placement_of(r->semantics) != TSR_DEFAULT;
  s->align = r->align;
  s->align_offset = r->align_offset;
  return s;
}

static void post_alloc(program *p, const request *r, tsr_ref object) {
  bool short_way = r->semantics == TSR_DEFAULT && (r->way == INLINE || r->way == CACHED);
  if (short_way && chance(p, 2)) {
    tsr_post_alloc_default(p->m, object, r->size);
    return;
  }
  tsr_status status = tsr_post_alloc(p->m, object, r->size, r->semantics);
  DEMAND(status == TSR_OK, "tsr_post_alloc: %s", tsr_status_name(status));
}

void fill_with_lookalikes(program *p, shadow *s, tsr_ref object) {
  size_t slots = shadow_slots(s);
  size_t end = shadow_end_word(s);
  for (size_t word = shadow_first_word(s), slot = 0; word < end; word++) {
    if (slot < slots && shadow_slot_word(s, slot) == word) {
      slot++;
      continue;
    }
    uint64_t random = vm_random(&p->random);
    uint64_t address = p->seen[random >> 32 & (SEEN - 1)];
    switch (random >> 60 & 3) {
    case 0:
      break;
    case 1:
      random = address + 8 * (random >> 40 & 15); /* within the object, or the next */
      break;
    default:
      random = address;
      break;
    }
    vm_slot(object, word)->word = random;
  }
  s->checksum = shadow_checksum(s, object);
}

/* A new object of the sizes that the inline paths serve takes plain stores. */
static void store_first(program *p, const shadow *s, tsr_ref object, size_t slot, uint64_t word) {
  tsr_slot *to = vm_slot(object, shadow_slot_word(s, slot));
  if (!s->own_blocks && chance(p, 2)) {
    to->word = word;
  } else {
    tsr_write(p->m, object, to, word);
  }
}

static void make_edges(program *p, shadow *s, tsr_ref object) {
  size_t slots = shadow_slots(s);
  for (size_t i = 0; i < slots; i += i < 12 ? 1 : 1 + below(p, 64)) {
    if (chance(p, 2)) continue;
    const root *from = &p->model.roots[root_any(p)];
    s->edges[i] = from->to;
    store_first(p, s, object, i, from->slot->word);
  }
}

static shadow *make_object(program *p, const request *r, void *memory) {
  shadow *s = new_shadow(p, r, memory);
  shadow_write_header(s, memory);
  post_alloc(p, r, (tsr_ref)memory);
  fill_with_lookalikes(p, s, (tsr_ref)memory);
  p->seen[p->tally.allocations++ % SEEN] = s->address;
  p->refused_in_a_row = 0;
  return s;
}

/* ---- operations ---------------------------------------------------------------------------- */

/* Out of memory is an end that is documented. Nothing may have changed by it. */
static void be_refused(program *p) {
  p->tally.refusals++;
  program_check(p);
  if (p->no_collection) return;
  if (!run.collects) {
    tsr_error error = {0};
    DEMAND_OK(tsr_heap_verify(p->m, &error), error);
    atomic_store(&p->world->over, true);
    return;
  }
  DEMAND(++p->refused_in_a_row < 64,
         "nothing can be allocated, though the program drops its roots");
  program_shed(p);
  program_collect(p);
}

/* Objects that can be sealed go where the operation that seals will look. */
static size_t root_for(program *p, const shadow *s) {
  bool sealable = (s->semantics & (TSR_CODE | TSR_READ_ONLY)) != 0;
  return sealable ? FIRST_HANDLE + below(p, SEALABLE_ROOTS) : root_any(p);
}

static bool allocate(program *p, const request *r) {
  void *memory = ask(p, r);
  if (memory == NULL) return false;
  shadow *s = make_object(p, r, memory);
  make_edges(p, s, (tsr_ref)memory);
  model_add(&p->model, s);
  root_set(p, root_for(p, s), edge_to(s), s->address);
  return true;
}

void allocate_object(program *p) {
  request r = random_request(p);
  if (!allocate(p, &r) && r.options == 0) be_refused(p);
}

void allocate_by_hand(program *p) {
  bool served = true;
  p->by_hand = p->m->bump[TSR_DEFAULT];
  p->m->bump[TSR_DEFAULT] = (tsr_bump_pointer){0, 0};
  for (uint64_t n = below(p, 16); n > 0 && served; n--) {
    request r = random_request(p);
    if (!is_open(p, &r, INLINE)) continue;
    r.way = BY_HAND;
    r.options = 0;
    served = allocate(p, &r);
  }
  p->m->bump[TSR_DEFAULT] = p->by_hand;
  if (!served) be_refused(p);
}

void allocate_hoard(program *p) {
  if (!run.collects) return;
  size_t i = root_any(p);
  for (uint64_t n = below(p, 200); n > 0; n--) {
    root *all = &p->model.roots[i];
    request r = {.kind = VECTOR, .count = 1 + below(p, LARGE_ELEMENTS), .align = TSR_OBJECT_ALIGN};
    r.size = torture_size(r.kind, r.count);
    void *memory = ask(p, &r);
    if (memory == NULL) {
      be_refused(p);
      return;
    }
    shadow *s = make_object(p, &r, memory);
    s->edges[0] = all->to;
    store_first(p, s, (tsr_ref)memory, 0, all->slot->word);
    model_add(&p->model, s);
    root_set(p, i, edge_to(s), s->address);
  }
}

static void parcel_add(parcel *to, shadow *s) {
  s->next = to->members;
  to->members = s;
  to->first = s;
  to->count++;
}

static void parcel_empty(parcel *which) {
  while (which->members != NULL) {
    shadow *s = which->members;
    which->members = s->next;
    free(s);
  }
  *which = (parcel){0};
}

parcel allocate_parcel(program *p, tsr_slot *head) {
  parcel result = {0};
  for (uint64_t n = 1 + below(p, 6); n > 0; n--) {
    request r = random_request(p);
    if (placement_of(r.semantics) == TSR_IMMORTAL) continue;
    void *memory = ask(p, &r);
    if (memory == NULL) {
      if (r.options == 0) be_refused(p);
      break;
    }
    shadow *s = make_object(p, &r, memory);
    if (shadow_slots(s) > 0 && result.first != NULL) {
      s->edges[0] = edge_to(result.first);
      store_first(p, s, (tsr_ref)memory, 0, head->word);
    } else {
      parcel_empty(&result); /* it cannot refer to the others, so they are garbage */
    }
    parcel_add(&result, s);
    head->word = s->address;
  }
  return result;
}

void register_or_unregister_pair(program *p) {
  unsigned i = (unsigned)below(p, CACHED_PAIRS);
  tsr_error error = {0};
  if (p->registered[i]) {
    DEMAND_OK(tsr_unregister_bump_pointer(p->m, &p->cached[i], &error), error);
    p->registered[i] = false;
  } else {
    tsr_status status = tsr_register_bump_pointer(p->m, &p->cached[i], &error);
    if (status == TSR_OUT_OF_MEMORY) return;
    DEMAND(status == TSR_OK, "tsr_register_bump_pointer: %s", error.message);
    p->registered[i] = true;
  }
  DEMAND(p->cached[i].cursor == 0 && p->cached[i].limit == 0, "a pair is not set to zero");
}
