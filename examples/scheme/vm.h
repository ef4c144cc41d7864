/*
 * vm.h: the virtual machine's state, and what its parts offer to each other.
 *
 * One `struct vm` holds everything; there are no global variables. Its first member is the whole
 * Tessera mutator, so that the allocation pointer lies at a small constant offset of the one
 * pointer that every function has at hand.
 *
 * The stack is native memory that grows upwards and is a root. One activation of a closure:
 *
 *     argument 0 ... argument n-1 | closure | pc | fp | locals and temporaries ...
 *                                                       ^ fp                       ^ sp
 *
 * `pc` and `fp` are those of the caller, as fixnums: an instruction index (code objects move) and
 * an offset from the stack's base (the stack moves when it grows). Everything below sp is a valid
 * slot at all times.
 */
#ifndef SCHEME_VM_H
#define SCHEME_VM_H

#include "value.h"
#include <setjmp.h>
#include <stdio.h>

/** Words of a frame between the arguments and fp. */
enum { FRAME_LINK_WORDS = 3 };

/** Slots of the VM that are roots. */
enum vm_register {
  REGISTER_ACC, /**< the interpreter's accumulator, while other code runs */
  REGISTER_A,   /**< operands of an allocation that takes the slow path */
  REGISTER_B,
  REGISTER_RAISED,    /**< the object being raised */
  REGISTER_SIGNAL,    /**< the procedure that finds the handler of a raised object; #f at first */
  REGISTER_BOOT,      /**< closure at the bottom of the stack: its code stops the machine */
  REGISTER_OOM,       /**< condition kept for the day that there is no room to make one */
  REGISTER_RESERVE,   /**< memory kept for that day's handler: see heap.c */
  REGISTER_FILE,      /**< name of the file being compiled, for code objects; #f: the library */
  REGISTER_ARGUMENTS, /**< what (command-line) returns */
  REGISTER_COUNT
};

struct special_form;
struct integrable;
struct source;

/** What the VM knows of a symbol besides the heap object; found by the symbol's id. */
struct symbol_info {
  uint32_t hash;
  const struct special_form *syntax;      /**< keyword that the program sees, or NULL */
  const struct special_form *core_syntax; /**< the same, whatever the program redefines */
  const struct integrable *integrable;    /**< builtin compiled to an instruction, or NULL */
  const struct integrable *core_integrable;
};

struct symbol_table {
  tsr_slot *symbols; /**< by id; a root */
  struct symbol_info *info;
  uint32_t count, capacity;
  uint32_t *buckets; /**< open addressing; id + 1, 0 is free */
  uint32_t bucket_count;
};

/** How the machine is left in the middle of things. */
enum escape { ESCAPE_NONE = 0, ESCAPE_ERROR, ESCAPE_EXIT };

/** A place in a source, for messages. */
struct location {
  char file[200];
  uint32_t line; /**< 0: unknown */
};

struct vm {
  tsr_mutator mutator;

  /* The machine's registers, saved here whenever other code runs. */
  tsr_slot *sp;
  tsr_slot *fp;
  int64_t pc; /**< index of the next instruction of the closure at fp */

  tsr_slot *stack_base;
  tsr_slot *stack_limit; /**< a frame must end below; some slack lies above */
  tsr_slot *clean_below; /**< shared with the collector: see stack.c */
  size_t stack_words;    /**< allocated, slack not counted */
  size_t stack_max_words;
  size_t stack_reserve_words; /**< opened for the handler of a stack overflow */
  tsr_native_stack native_stack;

  value registers[REGISTER_COUNT];

  tsr_heap *heap;
  struct symbol_table symbols;

  uint64_t live_bytes;         /**< after the last collection */
  uint64_t live_bytes_at_full; /**< when memory last ran out */
  bool reserve_due;            /**< the reserve is gone, and there is room again */

  jmp_buf *raise_escape;          /**< innermost vm_run(): raised objects; NULL: none runs */
  jmp_buf *top_escape;            /**< vm_protect(): leaves the machine */
  struct location error_location; /**< of the last error */
  char message[512];              /**< of an error found before the program runs, else empty */
  struct location form;           /**< the top-level form being run */
  bool running;                   /**< the stack holds frames */
  int exit_status;
};

/* ---- binding.c ---- */

/** Creates heap, mutator and roots. False: a message was printed. */
bool vm_open(struct vm *vm);
void vm_close(struct vm *vm);

/* ---- symbol.c ---- */

/** Id of the symbol with this name (UTF-8), which is made if it is new. */
uint32_t intern(struct vm *vm, const char *name, size_t length);
uint32_t intern_c(struct vm *vm, const char *name);
static inline value symbol_by_id(const struct vm *vm, uint32_t id) {
  return vm->symbols.symbols[id].word;
}
/** Name in UTF-8, in a buffer of the caller's; cut where it doesn't fit. */
const char *symbol_name(value symbol, char *buffer, size_t size);
void symbol_table_free(struct vm *vm);

/* ---- stack.c ---- */

/** What SCHEME_STACK_MAX says: a number of bytes, with K, M or G, and at least 64K. False: it says
    something else. */
bool stack_limit_from_environment(size_t *words);
bool stack_create(struct vm *vm, tsr_error *error);
void stack_destroy(struct vm *vm);
/** Makes room for `words` above sp, moving the stack and the saved registers; raises an error where
    the limit is reached. */
void stack_grow(struct vm *vm, size_t words);
/** Empties the stack and gives back what a deep recursion took. */
void stack_reset(struct vm *vm);
/** First slot that the activation at `fp` may change: its first argument. */
tsr_slot *frame_start(tsr_slot *fp);
/** To be called when the frame at `fp` becomes the running one and may lie in the clean part. */
void stack_lower_clean(struct vm *vm, tsr_slot *fp);

/* ---- run.c, interpreter.c ---- */

/** Calls body(vm, context), which may raise errors and exit; returns how it ended. */
enum escape vm_protect(struct vm *vm, void (*body)(struct vm *, void *), void *context);
/** Calls a procedure without arguments on an empty stack and returns its value. */
value vm_run(struct vm *vm, value procedure);
/** Loads the library. Under vm_protect(). */
void vm_boot(struct vm *vm);
/** Reads, compiles and runs a source; `print` shows the values. Under vm_protect(). */
void vm_load(struct vm *vm, struct source *source, bool print);
/** After an error that left the machine: no dynamic-wind and no handler is in force any more. */
void vm_abandon(struct vm *vm);
/** The machine: calls the procedure in REGISTER_ACC with the top `argc` slots of the stack, on
   behalf of the frame at fp. */
value interpret(struct vm *vm, uint32_t argc);

/* ---- call.c: what a call does when it is not the plain one ---- */

/** What the machine does next. */
enum call_result {
  CALL_ENTER,  /**< REGISTER_ACC is a closure, and just the arguments it wants are on the stack */
  CALL_RETURN, /**< done: REGISTER_ACC is the result, the arguments are popped */
  CALL_RESUMED /**< a continuation was put back: sp, fp, pc are new, REGISTER_ACC is the result */
};
/** Calls REGISTER_ACC with the top `argc` slots of the stack. */
enum call_result call_prepare(struct vm *vm, uint32_t argc, bool tail);

/* ---- error.c ---- */

#define NORETURN _Noreturn __attribute__((cold))

/** Raises a condition: the message is text, the irritant a value. */
NORETURN void raise_error(struct vm *vm, const char *message);
NORETURN void raise_error_with(struct vm *vm, const char *message, value irritant);
/** "WHO: expected WHAT, got IRRITANT". */
NORETURN void raise_type(struct vm *vm, const char *who, const char *what, value got);
NORETURN void raise_out_of_memory(struct vm *vm);
/** Raises any object. */
NORETURN void raise_object(struct vm *vm, value object);
/** An object that no handler took: leaves the machine. */
NORETURN void raise_fatal(struct vm *vm, value object);
/** An error that is found before the program runs: no handler can take it. */
NORETURN void source_error(struct vm *vm, const char *file, uint32_t line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/** Native memory has run out where nothing can be unwound: exits. */
NORETURN void native_memory_exhausted(void);
/** The condition that raise_error() would raise, with the place where the program is. */
value make_condition(struct vm *vm, value message, value irritants);
/** Prints the last error as "FILE:LINE: error: ..." to stderr. */
void report_last_error(struct vm *vm);
void *checked_realloc(void *memory, size_t count, size_t size);

/* ---- printer.c ---- */

/** Prints as `write` or as `display` does. */
void print_value(struct vm *vm, FILE *out, value v, bool write);

#endif
