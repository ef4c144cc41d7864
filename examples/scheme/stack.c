/*
 * stack.c: the Scheme stack.
 *
 * It is one block of native memory, registered as a native stack, that is reallocated to twice its
 * size when a frame would not fit: recursion is as deep as memory allows, up to
 * SCHEME_STACK_MAX bytes (default 512 MiB), where it is the Scheme error "stack overflow". Frames
 * refer to each other by offset, so moving the block means to correct the saved registers only.
 *
 * The part below `clean_below` has not changed since the last collection. The collector raises it
 * to sp; then collection_ended() lowers it to the start of the running frame, for that is what runs
 * on. A return to a frame in the clean part lowers it to that frame's start. Because a frame starts
 * at or above the fp of every older one, "its fp is above clean_below" is enough to know that a
 * frame lies wholly in the other part.
 */
#include "heap.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/** Above the limit: room for the few words that calls push before the next check. */
enum { SLACK_WORDS = 64, FIRST_WORDS = 8192, RESERVE_WORDS = 65536 };

#define DEFAULT_MAX_BYTES ((size_t)512 << 20)

/** How far a suffix shifts a number of bytes; -1: it is none. */
static int suffix_shift(const char *suffix) {
  static const char letters[] = "KMG";
  if (suffix[0] == '\0') return 0;
  const char *letter = strchr(letters, toupper((unsigned char)suffix[0]));
  return letter == NULL || suffix[1] != '\0' ? -1 : 10 * (int)(letter - letters + 1);
}

bool stack_limit_from_environment(size_t *words) {
  const char *text = getenv("SCHEME_STACK_MAX");
  *words = DEFAULT_MAX_BYTES / sizeof(value);
  if (text == NULL) return true;
  char *end;
  errno = 0;
  unsigned long long bytes = strtoull(text, &end, 10);
  int shift = suffix_shift(end);
  if (!isdigit((unsigned char)text[0]) || errno != 0 || shift < 0 ||
      bytes > (unsigned long long)PTRDIFF_MAX >> shift) {
    return false;
  }
  *words = (size_t)(bytes << shift) / sizeof(value);
  return *words >= FIRST_WORDS;
}

static void set_block(struct vm *vm, tsr_slot *base, size_t words) {
  vm->stack_base = base;
  vm->stack_words = words;
  vm->stack_limit = base + words;
  vm->native_stack.base = base;
}

bool stack_create(struct vm *vm, tsr_error *error) {
  if (!stack_limit_from_environment(&vm->stack_max_words)) return false;
  tsr_slot *base = malloc((FIRST_WORDS + SLACK_WORDS) * sizeof *base);
  if (base == NULL) return false;
  set_block(vm, base, FIRST_WORDS);
  vm->sp = vm->fp = vm->clean_below = base;
  vm->native_stack.top = &vm->sp;
  vm->native_stack.clean_below = &vm->clean_below;
  vm->native_stack.name = "scheme stack";
  return tsr_stack_add(vm->heap, &vm->native_stack, error) == TSR_OK;
}

void stack_destroy(struct vm *vm) {
  free(vm->stack_base);
}

static bool resize(struct vm *vm, size_t words) {
  size_t sp = (size_t)(vm->sp - vm->stack_base), fp = (size_t)(vm->fp - vm->stack_base);
  size_t clean = (size_t)(vm->clean_below - vm->stack_base);
  tsr_slot *base = realloc(vm->stack_base, (words + SLACK_WORDS) * sizeof *base);
  if (base == NULL) return false;
  set_block(vm, base, words);
  vm->sp = base + sp;
  vm->fp = base + fp;
  vm->clean_below = base + clean;
  return true;
}

void stack_grow(struct vm *vm, size_t words) {
  size_t needed = (size_t)(vm->sp - vm->stack_base) + words;
  size_t most = vm->stack_max_words + vm->stack_reserve_words;
  size_t wanted = vm->stack_words * 2;
  if (wanted < needed) wanted = needed;
  if (wanted > most) wanted = most;
  if (wanted < needed || (wanted > vm->stack_words && !resize(vm, wanted))) {
    /* The handler of this error needs some stack itself, once. */
    if (vm->stack_reserve_words != 0) {
      raise_fatal(vm, make_condition(vm, make_string_utf8(vm, "stack overflow", 14), SCHEME_NIL));
    }
    vm->stack_reserve_words = RESERVE_WORDS;
    raise_error(vm, "stack overflow");
  }
}

void stack_reset(struct vm *vm) {
  vm->sp = vm->fp = vm->clean_below = vm->stack_base;
  vm->stack_reserve_words = 0;
  if (vm->stack_words > FIRST_WORDS) (void)resize(vm, FIRST_WORDS);
}

tsr_slot *frame_start(tsr_slot *fp) {
  const struct code *code = code_of(closure_of(fp[-FRAME_LINK_WORDS].word)->code);
  return fp - FRAME_LINK_WORDS - frame_arguments(code);
}

void stack_lower_clean(struct vm *vm, tsr_slot *fp) {
  if (fp == vm->stack_base) {
    vm->clean_below = fp;
    return;
  }
  tsr_slot *start = frame_start(fp);
  if (start < vm->clean_below) vm->clean_below = start;
}
