/*
 * Fast paths as they should be, and slow variants that the checker has to find. Each function is
 * one that a hurried change could turn a client's allocation or barrier into.
 */
#include <tessera/tessera.h>

struct pair {
  uint64_t header;
  tsr_slot car;
  tsr_slot cdr;
};

struct vm {
  tsr_mutator *mutator;
  uint64_t allocated_bytes;
};

unsigned char side_table[1u << 16];
uint64_t counter;

__attribute__((noinline)) void out_of_line(void);

static struct pair *fill(struct pair *pair, uint64_t car, uint64_t cdr) {
  if (TSR_UNLIKELY(pair == NULL)) return NULL;
  pair->header = TSR_HEADER(1);
  pair->car.word = car;
  pair->cdr.word = cdr;
  return pair;
}

static struct pair *cons(struct vm *vm, uint64_t car, uint64_t cdr) {
  return fill((struct pair *)tsr_alloc_default(vm->mutator, sizeof(struct pair)), car, cdr);
}

struct pair *cons_good(struct vm *vm, uint64_t car, uint64_t cdr) {
  return cons(vm, car, cdr);
}

struct pair *cons_with_call(struct vm *vm, uint64_t car, uint64_t cdr) {
  out_of_line();
  return cons(vm, car, cdr);
}

struct pair *cons_with_call_after(struct vm *vm, uint64_t car, uint64_t cdr) {
  struct pair *pair = cons(vm, car, cdr);
  out_of_line();
  return pair;
}

struct pair *cons_with_start_bit(struct vm *vm, uint64_t car, uint64_t cdr) {
  struct pair *pair = cons(vm, car, cdr);
  side_table[((uintptr_t)pair >> 15) & 0xffffu] = 1;
  return pair;
}

struct pair *cons_with_counter(struct vm *vm, uint64_t car, uint64_t cdr) {
  counter++;
  return cons(vm, car, cdr);
}

struct pair *cons_with_accounting(struct vm *vm, uint64_t car, uint64_t cdr) {
  vm->allocated_bytes += sizeof(struct pair);
  return cons(vm, car, cdr);
}

/* Aligning what is aligned already. */
struct pair *cons_with_alignment(struct vm *vm, uint64_t car, uint64_t cdr) {
  tsr_bump_pointer *pair = &vm->mutator->bump[0];
  uintptr_t result = (pair->cursor + 15u) & ~(uintptr_t)15u;
  uintptr_t end = result + sizeof(struct pair);
  if (TSR_LIKELY(end <= pair->limit)) {
    pair->cursor = end;
    return fill((struct pair *)result, car, cdr);
  }
  return fill((struct pair *)tsr_alloc(vm->mutator, sizeof(struct pair), 16, 0, TSR_DEFAULT), car,
              cdr);
}

/* Eight: a question more before the allocation. */
struct pair *cons_with_question(struct vm *vm, uint64_t car, uint64_t cdr) {
  if (TSR_UNLIKELY((car & 7u) != 0)) return NULL;
  return cons(vm, car, cdr);
}

/* The buffer's end is not looked at. */
struct pair *cons_without_limit(struct vm *vm, uint64_t car, uint64_t cdr) {
  tsr_bump_pointer *pair = &vm->mutator->bump[0];
  uintptr_t result = pair->cursor;
  pair->cursor = result + sizeof(struct pair);
  return fill((struct pair *)result, car, cdr);
}

void set_car_good(struct vm *vm, struct pair *pair, uint64_t value) {
  tsr_write(vm->mutator, (tsr_ref)pair, &pair->car, value);
}

void set_car_with_call(struct vm *vm, struct pair *pair, uint64_t value) {
  out_of_line();
  tsr_write(vm->mutator, (tsr_ref)pair, &pair->car, value);
}

/* Slow path without a test. */
void set_car_always_slow(struct vm *vm, struct pair *pair, uint64_t value) {
  tsr_write_barrier_slow(vm->mutator, (tsr_ref)pair, &pair->car, value);
  pair->car.word = value;
}

void set_car_without_barrier(struct vm *vm, struct pair *pair, uint64_t value) {
  (void)vm;
  pair->car.word = value;
}

/* A card table, as other designs have it. */
void set_car_with_card(struct vm *vm, struct pair *pair, uint64_t value) {
  tsr_write(vm->mutator, (tsr_ref)pair, &pair->car, value);
  side_table[((uintptr_t)pair >> 9) & 0xffffu] = 1;
}

/* The armed fact in a side table instead of in the object. */
void set_car_with_side_metadata(struct vm *vm, struct pair *pair, uint64_t value) {
  if (TSR_UNLIKELY(side_table[((uintptr_t)pair >> 15) & 0xffffu] != 0))
    tsr_write_barrier_slow(vm->mutator, (tsr_ref)pair, &pair->car, value);
  pair->car.word = value;
}

/* The right test, and a second one that reads the side table. */
void set_car_with_both(struct vm *vm, struct pair *pair, uint64_t value) {
  if (TSR_UNLIKELY(tsr_is_armed((tsr_ref)pair)) &&
      side_table[((uintptr_t)pair >> 15) & 0xffffu] != 0)
    tsr_write_barrier_slow(vm->mutator, (tsr_ref)pair, &pair->car, value);
  else if (side_table[(value >> 15) & 0xffffu] != 0)
    tsr_write_barrier_slow(vm->mutator, (tsr_ref)pair, &pair->car, value);
  pair->car.word = value;
}

/* Three instructions: an atomic load is not folded into the test. */
void set_car_with_atomic_load(struct vm *vm, struct pair *pair, uint64_t value) {
  unsigned char byte =
      __atomic_load_n((unsigned char *)pair + TSR_GC_BYTE_OFFSET, __ATOMIC_RELAXED);
  if (TSR_UNLIKELY((byte & TSR_GC_ARMED) != 0))
    tsr_write_barrier_slow(vm->mutator, (tsr_ref)pair, &pair->car, value);
  pair->car.word = value;
}

void out_of_line(void) {
  counter++;
}

int main(void) {
  return 0;
}
