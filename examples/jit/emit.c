/* emit.c - machine code for x86-64, from the facts that a heap publishes.
 *
 * Operands are 64 bits wide, displacements of memory operands 8 bits where they fit (it shows: the
 * loop of the benchmark is a fifth faster than with 32), those of jumps 32.
 *
 * The allocation, five instructions to the new address and two for the header:
 *
 *       mov   rax, [rbx + pair + cursor]
 *       lea   rcx, [rax + size]
 *       cmp   rcx, [rbx + pair + limit]
 *       ja    slow
 *       mov   [rbx + pair + cursor], rcx
 *   resume:
 *       mov   rcx, header
 *       mov   [rax], rcx
 *
 * The barrier is two: test byte [rsi + gc byte], armed; jnz slow. The poll is two: cmp dword
 * [rbx + poll], 0; jne slow.
 */
#define _DEFAULT_SOURCE 1 /* MAP_ANONYMOUS */
#include "emit.h"

#include <string.h>
#include <sys/mman.h>

/* ---- bytes --------------------------------------------------------------------------------- */

static void byte(struct emitter *e, unsigned value) {
  if (e->length == e->capacity) {
    e->overflow = true;
    return;
  }
  e->code[e->length++] = (unsigned char)value;
}

static void bytes(struct emitter *e, uint64_t value, unsigned count) {
  for (unsigned i = 0; i < count; i++)
    byte(e, (unsigned)(value >> (8 * i)) & 0xff);
}

/* A 64-bit instruction with one register and one memory operand, [base + offset]. */
static void memory_form(struct emitter *e, unsigned opcode, unsigned reg, enum emit_register base,
                        uint32_t offset) {
  byte(e, 0x48u | (reg & 8) >> 1 | (base & 8) >> 3);
  byte(e, opcode);
  bool near = offset < 128;
  byte(e, (near ? 0x40u : 0x80u) | (reg & 7) << 3 | (base & 7));
  if ((base & 7) == 4) byte(e, 0x24); /* r12 as a base needs the longer form */
  bytes(e, offset, near ? 1 : 4);
}

/* Two-byte conditional jumps: 0x0f, then one of these. */
enum condition { IF_NOT_EQUAL = 0x85, IF_ABOVE = 0x87, IF_EQUAL = 0x84 };

static size_t jump_if(struct emitter *e, enum condition condition) {
  byte(e, 0x0f);
  byte(e, condition);
  bytes(e, 0, 4);
  return e->length - 4;
}

static void jump_to(struct emitter *e, size_t target) {
  byte(e, 0xe9);
  bytes(e, target - (e->length + 4), 4);
}

/* Lets the jump whose displacement lies at `from` lead to `target`. */
static void patch(struct emitter *e, size_t from, size_t target) {
  int32_t displacement = (int32_t)(target - (from + 4));
  if (!e->overflow) memcpy(e->code + from, &displacement, sizeof displacement);
}

static void call(struct emitter *e, uint64_t entry) {
  emit_constant(e, RAX, entry);
  bytes(e, 0xd0ff, 2); /* call rax */
}

/* ---- the assembler's public part ------------------------------------------------------------- */

void emit_load(struct emitter *e, enum emit_register to, enum emit_register base, uint32_t offset) {
  memory_form(e, 0x8b, to, base, offset);
}

void emit_store(struct emitter *e, enum emit_register base, uint32_t offset,
                enum emit_register from) {
  memory_form(e, 0x89, from, base, offset);
}

void emit_address(struct emitter *e, enum emit_register to, enum emit_register base,
                  uint32_t offset) {
  memory_form(e, 0x8d, to, base, offset);
}

void emit_move(struct emitter *e, enum emit_register to, enum emit_register from) {
  byte(e, 0x48u | (from & 8) >> 1 | (to & 8) >> 3);
  byte(e, 0x89);
  byte(e, 0xc0u | (from & 7) << 3 | (to & 7));
}

void emit_constant(struct emitter *e, enum emit_register to, uint64_t value) {
  byte(e, 0x48u | (to & 8) >> 3);
  byte(e, 0xb8u | (to & 7));
  bytes(e, value, 8);
}

size_t emit_label(const struct emitter *e) {
  return e->length;
}

void emit_loop(struct emitter *e, size_t label) {
  bytes(e, 0x01ed8349, 4); /* sub r13, 1 */
  patch(e, jump_if(e, IF_NOT_EQUAL), label);
}

static void push(struct emitter *e, enum emit_register reg) {
  if (reg >= 8) byte(e, 0x41);
  byte(e, 0x50u | (reg & 7));
}

static void pop(struct emitter *e, enum emit_register reg) {
  if (reg >= 8) byte(e, 0x41);
  byte(e, 0x58u | (reg & 7));
}

/* ---- functions ------------------------------------------------------------------------------- */

bool emit_begin(struct emitter *e, const tsr_facts *facts) {
  *e = (struct emitter){.facts = facts, .capacity = 4096};
  void *page = mmap(NULL, e->capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  e->code = page == MAP_FAILED ? NULL : page;
  return e->code != NULL;
}

void emit_free(struct emitter *e) {
  if (e->code != NULL) munmap(e->code, e->capacity);
  e->code = NULL;
}

/* Three pushes and the return address keep the stack aligned to 16, as calls want it. */
void emit_prologue(struct emitter *e) {
  push(e, RBX);
  push(e, R12);
  push(e, R13);
  emit_move(e, RBX, RDI);
  emit_move(e, R12, RSI);
  emit_move(e, R13, RDX);
}

void emit_return(struct emitter *e) {
  pop(e, R13);
  pop(e, R12);
  pop(e, RBX);
  byte(e, 0xc3);
}

/* ---- fast paths ------------------------------------------------------------------------------ */

/* Notes that the jump at `from`, just written, leads to a slow path. It resumes behind that jump
   unless the caller sets another place. */
static struct emit_slow_path *slow_path(struct emitter *e, enum emit_slow_kind kind, size_t from) {
  if (e->slow_count == EMIT_SLOW_PATHS) {
    e->overflow = true;
    return &e->slow[EMIT_SLOW_PATHS - 1];
  }
  struct emit_slow_path *slow = &e->slow[e->slow_count++];
  *slow = (struct emit_slow_path){.kind = kind, .from = from, .resume = e->length};
  return slow;
}

bool emit_allocation(struct emitter *e, tsr_allocator_info allocator, uint32_t size,
                     uint64_t header) {
  if (allocator.kind != TSR_ALLOCATOR_BUMP || size > allocator.max_inline_bytes) return false;
  uint32_t cursor = allocator.pair_offset + e->facts->cursor_offset;
  uint32_t limit = allocator.pair_offset + e->facts->limit_offset;

  emit_load(e, RAX, RBX, cursor);
  emit_address(e, RCX, RAX, size);
  memory_form(e, 0x3b, RCX, RBX, limit); /* cmp rcx, [rbx + limit] */
  struct emit_slow_path *slow = slow_path(e, EMIT_SLOW_ALLOCATION, jump_if(e, IF_ABOVE));
  emit_store(e, RBX, cursor, RCX);
  slow->pair_offset = allocator.pair_offset;
  slow->size = size;
  slow->resume = e->length;

  emit_constant(e, RCX, header);
  emit_store(e, RAX, 0, RCX);
  return true;
}

void emit_barrier(struct emitter *e) {
  byte(e, 0xf6); /* test byte [rsi + gc byte], mask */
  byte(e, 0x80u | RSI);
  bytes(e, e->facts->gc_byte_offset, 4);
  byte(e, e->facts->gc_armed_mask);
  slow_path(e, EMIT_SLOW_BARRIER, jump_if(e, IF_NOT_EQUAL));
}

void emit_poll(struct emitter *e) {
  byte(e, 0x83); /* cmp dword [rbx + poll], 0 */
  byte(e, 0x80u | 7u << 3 | RBX);
  bytes(e, e->facts->poll_offset, 4);
  byte(e, 0);
  slow_path(e, EMIT_SLOW_POLL, jump_if(e, IF_NOT_EQUAL));
}

/* ---- slow paths ------------------------------------------------------------------------------ */

/* rax = alloc_entry(mutator, pair, size, align, offset, semantics) */
static void slow_allocation(struct emitter *e, const struct emit_slow_path *slow) {
  emit_move(e, RDI, RBX);
  emit_address(e, RSI, RBX, slow->pair_offset);
  emit_constant(e, RDX, slow->size);
  emit_constant(e, RCX, e->facts->object_align);
  bytes(e, 0xc03145, 3); /* xor r8d, r8d: offset */
  bytes(e, 0xc93145, 3); /* xor r9d, r9d: default placement */
  call(e, (uint64_t)(uintptr_t)e->facts->alloc_entry);
  bytes(e, 0xc08548, 3); /* test rax, rax */
  e->failed[e->failed_count++] = jump_if(e, IF_EQUAL);
}

/* barrier_entry(mutator, object, slot, word): the last three lie in their registers already. An
   entry that preserves registers needs no help; around a plain C call they are saved, and rdi with
   them so that the stack stays aligned. */
static void slow_barrier(struct emitter *e) {
  static const enum emit_register saved[] = {RCX, RDX, RSI, RDI};
  int count = e->facts->barrier_preserves ? 0 : 4;
  for (int i = 0; i < count; i++)
    push(e, saved[i]);
  emit_move(e, RDI, RBX);
  call(e, (uint64_t)(uintptr_t)e->facts->barrier_entry);
  for (int i = count - 1; i >= 0; i--)
    pop(e, saved[i]);
}

static void slow_poll(struct emitter *e) {
  emit_move(e, RDI, RBX);
  call(e, (uint64_t)(uintptr_t)e->facts->safepoint_entry);
}

static void write_slow_path(struct emitter *e, const struct emit_slow_path *slow) {
  patch(e, slow->from, e->length);
  switch (slow->kind) {
  case EMIT_SLOW_ALLOCATION:
    slow_allocation(e, slow);
    break;
  case EMIT_SLOW_BARRIER:
    slow_barrier(e);
    break;
  case EMIT_SLOW_POLL:
    slow_poll(e);
    break;
  }
  jump_to(e, slow->resume);
}

emit_function *emit_end(struct emitter *e) {
  for (size_t i = 0; i < e->slow_count; i++)
    write_slow_path(e, &e->slow[i]);
  for (size_t i = 0; i < e->failed_count; i++)
    patch(e, e->failed[i], e->length);
  emit_constant(e, RAX, 0);
  emit_return(e);

  if (e->overflow) return NULL;
  if (mprotect(e->code, e->capacity, PROT_READ | PROT_EXEC) != 0) return NULL;
  emit_function *entry;
  memcpy(&entry, &e->code, sizeof entry); /* C has no cast from data to function pointers */
  return entry;
}
