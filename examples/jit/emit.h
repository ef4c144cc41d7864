/* emit.h - the three inline sequences of Tessera as machine code for x86-64.
 *
 * A just-in-time compiler does not inline C: it emits the same instructions itself. Everything that
 * it needs is in `tsr_facts` and `tsr_allocator_info`, and nothing else is used here: no offsetof,
 * no constant of a header. The emitter writes
 *
 *   - the allocation of a constant number of bytes, header included,
 *   - the write barrier in front of a store,
 *   - the safepoint poll,
 *
 * each as a fast path in line and a slow path out of line, which emit_end() places behind the code.
 * Around them is just enough of an assembler for a loop.
 *
 * Registers, in emitted code: rbx holds the mutator, r12 the address of the caller's slots, r13 a
 * counter; calls preserve all three (System V convention). The sequences use rax, rcx, rdx, rsi and
 * rdi, and assume that a slow path that may collect clobbers every other register. So a reference
 * never stays in a register across an allocation or a poll: it lies in a slot and is loaded again.
 */
#ifndef EXAMPLES_JIT_EMIT_H
#define EXAMPLES_JIT_EMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tessera/tessera.h>

/** Whether this machine can run what the emitter writes. */
#if defined(__x86_64__) && defined(__unix__) && !defined(__ILP32__)
#define EMIT_RUNS_HERE 1
#else
#define EMIT_RUNS_HERE 0
#endif

/** The registers used, by their numbers in an instruction. */
enum emit_register { RAX = 0, RCX = 1, RDX = 2, RBX = 3, RSI = 6, RDI = 7, R12 = 12, R13 = 13 };

/** What a slow path is for. */
enum emit_slow_kind { EMIT_SLOW_ALLOCATION, EMIT_SLOW_BARRIER, EMIT_SLOW_POLL };

/** A slow path that still has to be written. */
struct emit_slow_path {
  enum emit_slow_kind kind;
  size_t from;   /* the jump that leads here: where its displacement lies */
  size_t resume; /* where the fast path goes on */
  uint32_t pair_offset;
  uint32_t size;
};

#define EMIT_SLOW_PATHS 8

/** Code being written. Running out of room sets `overflow` and drops what does not fit. */
struct emitter {
  const tsr_facts *facts;
  unsigned char *code;
  size_t capacity;
  size_t length;
  bool overflow;
  struct emit_slow_path slow[EMIT_SLOW_PATHS];
  size_t slow_count;
  size_t failed[EMIT_SLOW_PATHS]; /* jumps to the out-of-memory exit */
  size_t failed_count;
};

/** A page for code, writable until emit_end() and executable from then on; never both at once. */
bool emit_begin(struct emitter *e, const tsr_facts *facts);

/**
 * The type of emitted code: runs with a mutator, its caller's slots and a count, and returns what
 * emit_return() or the out-of-memory exit (0) put into rax.
 */
typedef uint64_t emit_function(tsr_mutator *mutator, tsr_slot *slots, uint64_t count);

/** Saves rbx, r12 and r13 and loads them from the three arguments. */
void emit_prologue(struct emitter *e);
/** Returns with rax as it is. */
void emit_return(struct emitter *e);
/** Writes the slow paths and the out-of-memory exit, and makes the page executable. NULL when the
    code did not fit or the system refused. */
emit_function *emit_end(struct emitter *e);
/** Gives the page back. */
void emit_free(struct emitter *e);

/**
 * rax = a new object of `size` bytes with its header written; out of memory leaves the function
 * with 0. False, and nothing is written, where `allocator` has no inline path for the size.
 */
bool emit_allocation(struct emitter *e, tsr_allocator_info allocator, uint32_t size,
                     uint64_t header);
/** The barrier before the store of rcx into the slot at rdx of the object at rsi; keeps rcx, rdx
    and rsi. */
void emit_barrier(struct emitter *e);
/** The poll: a place where this mutator may be stopped. */
void emit_poll(struct emitter *e);

/** to = base[offset] */
void emit_load(struct emitter *e, enum emit_register to, enum emit_register base, uint32_t offset);
/** base[offset] = from */
void emit_store(struct emitter *e, enum emit_register base, uint32_t offset,
                enum emit_register from);
/** to = base + offset */
void emit_address(struct emitter *e, enum emit_register to, enum emit_register base,
                  uint32_t offset);
/** to = from */
void emit_move(struct emitter *e, enum emit_register to, enum emit_register from);
/** to = value */
void emit_constant(struct emitter *e, enum emit_register to, uint64_t value);
/** A place that emit_loop() can jump back to. */
size_t emit_label(const struct emitter *e);
/** Counts r13 down and jumps back until it is zero. */
void emit_loop(struct emitter *e, size_t label);

#endif
