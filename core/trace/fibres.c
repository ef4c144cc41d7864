/*
 * Fibres [design: fibres].
 *
 * A mutator's cursor and limit are those of the scopes that are in use: the thread's own, or those of the fibre
 * that runs on it. A switch puts them where they belong and takes the others, so that opening a scope and making a
 * handle are the same few instructions on a fibre as elsewhere, and a switch needs no lock. One word of the
 * fibre says on which mutator it runs; who switches to it sets it by compare-and-swap from zero.
 *
 * The scopes of a running fibre are visited with its mutator, all others, and the stacks of all, with the heap.
 */
#include "core/trace/fibres.h"

#include "core/os/error.h"

#define FIBRE_SUSPENDED ((uintptr_t)0)
#define FIBRE_ENDS      ((uintptr_t)1) /* no mutator lies there */

struct tsr_fibre {
  /* Fixed. */
  tsr_heap *heap;
  tsr_fibre_roots roots;

  /* List of the heap's fibres, under their lock. */
  tsr_fibre *next, *before;

  /* A tsr_mutator, or one of the two above. Set from FIBRE_SUSPENDED by compare-and-swap, by who switches to the
     fibre or destroys it; set back with release by the mutator that leaves it; read by the collecting
     thread in a pause. */
  os_atomic_word runs_on;
  /* While it is suspended, and the collecting thread's in a pause; else of whom runs_on names. */
  local_scopes scopes;
};

struct fibres {
  os_mutex lock; /* guards the list */
  tsr_fibre *first;
};

/* ---- opening and closing ------------------------------------------------------------------------- */

tsr_status fibres_open(tsr_heap *heap, tsr_error *error) {
  struct fibres *fibres = segment_request(&heap->account, MEMORY_INSTANCE, sizeof *fibres);
  if (fibres == NULL) goto no_memory;
  if (!os_mutex_create(&fibres->lock)) goto no_lock;
  heap->fibres = fibres;
  return TSR_OK;

no_lock:
  segment_release(&heap->account, MEMORY_INSTANCE, fibres, sizeof *fibres);
no_memory:
  return heap_no_memory(heap, error);
}

static void fibre_free(tsr_fibre *fibre) {
  memory_account *account = &fibre->heap->account;
  locals_free(fibre->heap, fibre->scopes.first);
  segment_release(account, MEMORY_ROOTS, fibre, sizeof *fibre);
}

void fibres_close(tsr_heap *heap) {
  struct fibres *fibres = heap->fibres;
  while (fibres->first != NULL) {
    tsr_fibre *fibre = fibres->first;
    fibres->first = fibre->next;
    fibre_free(fibre);
  }
  os_mutex_destroy(&fibres->lock);
  segment_release(&heap->account, MEMORY_INSTANCE, fibres, sizeof *fibres);
  heap->fibres = NULL;
}

/* ---- the list ------------------------------------------------------------------------------------ */

static void fibre_link(struct fibres *fibres, tsr_fibre *fibre) {
  os_mutex_lock(&fibres->lock);
  fibre->next = fibres->first;
  if (fibre->next != NULL) fibre->next->before = fibre;
  fibres->first = fibre;
  os_mutex_unlock(&fibres->lock);
}

static void fibre_unlink(struct fibres *fibres, const tsr_fibre *fibre) {
  os_mutex_lock(&fibres->lock);
  if (fibre->next != NULL) fibre->next->before = fibre->before;
  if (fibre->before != NULL) {
    fibre->before->next = fibre->next;
  } else {
    fibres->first = fibre->next;
  }
  os_mutex_unlock(&fibres->lock);
}

/* ---- creating and destroying --------------------------------------------------------------------- */

static tsr_status fibre_check_roots(const tsr_heap *heap, const tsr_fibre_roots *roots,
                                    tsr_error *error) {
  if (roots->stacks == NULL && roots->stack_count > 0) {
    return error_set(error, TSR_INVALID_ARGUMENT, "tsr_fibre_create: %zu stacks at NULL",
                     roots->stack_count);
  }
  for (size_t i = 0; i < roots->stack_count; i++) {
    tsr_status status = native_stack_check(&roots->stacks[i], error);
    if (status != TSR_OK) return status;
  }
  const tsr_c_stack *c_stack = roots->c_stack;
  if (c_stack == NULL) return TSR_OK;
  if (c_stack->base == NULL || c_stack->top == NULL) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "tsr_fibre_create: a C stack needs a base and a place for its top");
  }
  return ambiguous_check(heap, "the C stack of a fibre", error);
}

tsr_fibre *fibre_create(tsr_heap *heap, const tsr_fibre_roots *roots, tsr_error *error) {
  if (roots != NULL && fibre_check_roots(heap, roots, error) != TSR_OK) return NULL;
  tsr_fibre *fibre = segment_request(&heap->account, MEMORY_ROOTS, sizeof *fibre);
  if (fibre == NULL) goto no_memory;
  fibre->heap = heap;
  if (roots != NULL) fibre->roots = *roots;
  if (!locals_begin(heap, &fibre->scopes)) goto no_scopes;
  fibre_link(heap->fibres, fibre);
  return fibre;

no_scopes:
  segment_release(&heap->account, MEMORY_ROOTS, fibre, sizeof *fibre);
no_memory:
  error_set(error, TSR_OUT_OF_MEMORY, "no memory for another fibre within the heap's maximum");
  return NULL;
}

static tsr_status fibre_refuse_running(const tsr_fibre *fibre, const char *function,
                                       tsr_error *error) {
  return error_set(error, TSR_BUSY,
                   "%s: the fibre at %p runs on mutator %p; let that leave it first", function,
                   (const void *)fibre, (void *)os_atomic_load(&fibre->runs_on));
}

/* Takes a fibre that is suspended. */
static bool fibre_take(tsr_fibre *fibre, uintptr_t taker) {
  return os_atomic_compare_exchange_full(&fibre->runs_on, FIBRE_SUSPENDED, taker);
}

tsr_status fibre_destroy(tsr_fibre *fibre, tsr_error *error) {
  if (fibre == NULL) {
    return error_set(error, TSR_INVALID_ARGUMENT, "tsr_fibre_destroy: the fibre is NULL");
  }
  if (!fibre_take(fibre, FIBRE_ENDS)) {
    return fibre_refuse_running(fibre, "tsr_fibre_destroy", error);
  }
  fibre_unlink(fibre->heap->fibres, fibre);
  fibre_free(fibre);
  return TSR_OK;
}

/* ---- switching ----------------------------------------------------------------------------------- */

static local_scopes *fibre_scopes(struct tsr_mutator_private *own, tsr_fibre *fibre) {
  return fibre == NULL ? &own->parked : &fibre->scopes;
}

tsr_status fibre_switch(tsr_mutator *self, tsr_fibre *fibre, tsr_error *error) {
  struct tsr_mutator_private *own = self->private_part;
  tsr_status status = mutator_check_stoppable(self, "tsr_fibre_switch", error);
  if (status != TSR_OK) return status;
  if (fibre == own->fibre) return TSR_OK;
  if (fibre != NULL && fibre->heap != self->heap) {
    return error_set(error, TSR_INVALID_ARGUMENT,
                     "tsr_fibre_switch: the fibre at %p belongs to another heap than the mutator",
                     (void *)fibre);
  }
  if (fibre != NULL && !fibre_take(fibre, (uintptr_t)self)) {
    return fibre_refuse_running(fibre, "tsr_fibre_switch", error);
  }
  tsr_fibre *left = own->fibre;
  locals_exchange(self, fibre_scopes(own, left), fibre_scopes(own, fibre));
  own->fibre = fibre;
  if (left != NULL) os_atomic_store_release(&left->runs_on, FIBRE_SUSPENDED);
  return TSR_OK;
}

void fibre_leave_behind(struct tsr_mutator_private *own) {
  tsr_fibre *fibre = own->fibre;
  if (fibre == NULL) return;
  /* The mutator itself may lie on a stack that is not there: where its cursor stood is not known. */
  fibre->scopes = locals_emptied(own->locals);
  own->locals = own->parked.first;
  own->fibre = NULL;
  os_atomic_store_release(&fibre->runs_on, FIBRE_SUSPENDED);
}

/* ---- visiting ------------------------------------------------------------------------------------ */

void fibres_visit(tsr_heap *heap, tsr_visitor *visitor) {
  struct fibres *fibres = heap->fibres;
  /* Threads that are not bound may create and destroy fibres at any time. */
  os_mutex_lock(&fibres->lock);
  for (const tsr_fibre *f = fibres->first; f != NULL; f = f->next) {
    for (size_t i = 0; i < f->roots.stack_count; i++)
      native_stack_visit(&f->roots.stacks[i], visitor);
    if (os_atomic_load(&f->runs_on) != FIBRE_SUSPENDED) continue;
    visitor_name(visitor, "local handle of fibre", f->roots.name);
    locals_visit(&f->scopes, visitor);
  }
  os_mutex_unlock(&fibres->lock);
}

void fibres_each_ambiguous(tsr_heap *heap,
                           void (*visit)(void *context, uint64_t word, const char *name),
                           void *context) {
  struct fibres *fibres = heap->fibres;
  os_mutex_lock(&fibres->lock);
  for (const tsr_fibre *f = fibres->first; f != NULL; f = f->next) {
    const tsr_c_stack *stack = f->roots.c_stack;
    if (stack == NULL || *stack->top == NULL) continue;
    uintptr_t low = (uintptr_t)*stack->top / sizeof(tsr_slot) * sizeof(tsr_slot);
    uintptr_t end = (uintptr_t)stack->base;
    size_t count = end > low ? (end - low) / sizeof(tsr_slot) : 0;
    ambiguous_visit((const tsr_slot *)low, count, f->roots.name, visit, context);
  }
  os_mutex_unlock(&fibres->lock);
}

void fibres_clean_stacks(tsr_heap *heap) {
  struct fibres *fibres = heap->fibres;
  os_mutex_lock(&fibres->lock);
  for (const tsr_fibre *f = fibres->first; f != NULL; f = f->next) {
    for (size_t i = 0; i < f->roots.stack_count; i++)
      native_stack_clean(&f->roots.stacks[i]);
  }
  os_mutex_unlock(&fibres->lock);
}

void fibres_fork(tsr_heap *heap, os_fork_stage stage) {
  os_mutex_fork(&heap->fibres->lock, stage);
}
