/*
 * Calling on another stack.
 *
 * The switch is one function around one assembler statement: the stack pointer is kept in a register
 * that the callee preserves, set, and set back after the call. The function asks for its own frame's
 * address, which makes both compilers keep a frame pointer in it; the call-frame information then
 * goes by that, whatever the stack pointer is, and debuggers and unwinders pass through to the caller.
 *
 * The tools that follow the stack pointer are told: AddressSanitizer before and after each change,
 * Valgrind once for the stack. ThreadSanitizer needs no word: it follows a thread by the entries and
 * exits of its functions, which stay in pairs. As a fiber of its own, which it offers, the function
 * would count as another thread, and what it may unlock would differ from what it may in truth.
 */
#include "core/os/stack.h"

#include "core/os/check.h"
#include "core/os/machine.h"
#include "core/os/memory.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define STACK_ADDRESS_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define STACK_ADDRESS_SANITIZER 1
#endif

/* Taken and given back by the caller alone: it is no lock, but finds two callers that were not kept apart. */
static void stack_take(os_stack *stack) {
  TSR_CHECK(!stack->is_taken, "a stack has one caller at a time");
  stack->is_taken = true;
}

static void stack_give_back(os_stack *stack) {
  stack->is_taken = false;
}

#if OS_STACK_SWITCHES

/* ---- what the tools are told ------------------------------------------------------------------ */

/* What is run on the stack; lies in the frame of the call. */
typedef struct stack_turn {
  os_stack *stack;
  void (*function)(void *context);
  void *context;
  void *fake_stack; /* AddressSanitizer's, of the caller's stack, and the place of that */
  const void *caller_bottom;
  size_t caller_bytes;
} stack_turn;

#if defined(STACK_ADDRESS_SANITIZER)

#include <sanitizer/common_interface_defs.h>

static void stack_enters(stack_turn *turn) {
  os_stack *stack = turn->stack;
  __sanitizer_start_switch_fiber(&turn->fake_stack, stack->base + os_page_bytes(), stack->bytes);
}

static void stack_entered(stack_turn *turn) {
  __sanitizer_finish_switch_fiber(NULL, &turn->caller_bottom, &turn->caller_bytes);
}

/* No place to save the fake stack in: nothing of this call is used again. */
static void stack_leaves(stack_turn *turn) {
  __sanitizer_start_switch_fiber(NULL, turn->caller_bottom, turn->caller_bytes);
}

static void stack_left(stack_turn *turn) {
  __sanitizer_finish_switch_fiber(turn->fake_stack, NULL, NULL);
}

#else

static void stack_enters(stack_turn *turn) {
  (void)turn;
}

static void stack_entered(stack_turn *turn) {
  (void)turn;
}

static void stack_leaves(stack_turn *turn) {
  (void)turn;
}

static void stack_left(stack_turn *turn) {
  (void)turn;
}

#endif

#if !defined(STACK_ADDRESS_SANITIZER) && defined(__has_include) && __has_include(<valgrind/valgrind.h>)

#include <valgrind/valgrind.h>

static void stack_watch(os_stack *stack) {
  char *bottom = stack->base + os_page_bytes();
  stack->watch_tag = (unsigned)VALGRIND_STACK_REGISTER(bottom, bottom + stack->bytes);
}

static void stack_watch_no_more(os_stack *stack) {
  VALGRIND_STACK_DEREGISTER(stack->watch_tag);
}

#else

static void stack_watch(os_stack *stack) {
  stack->watch_tag = 0;
}

static void stack_watch_no_more(os_stack *stack) {
  (void)stack;
}

#endif

/* ---- the switch ------------------------------------------------------------------------------- */

/* Nothing lives across the statements but their operands, and nothing in a vector register. Callers are
   to know no more of the function than that it is one: not which registers it seems to leave alone. */
#if defined(__has_attribute)
#if __has_attribute(noipa)
#define STACK_OPAQUE __attribute__((noipa))
#endif
#endif
#if !defined(STACK_OPAQUE)
#define STACK_OPAQUE __attribute__((noinline))
#endif

/* A debugger takes a caller's frame that lies below its callee's for a broken stack, except where a signal
   came between them. The frame of the switch is said to be such a one; gdb prints it so. */
#if defined(__GCC_HAVE_DWARF2_CFI_ASM)
#define STACK_FRAME_MARK "\n\t.cfi_signal_frame"
#else
#define STACK_FRAME_MARK ""
#endif

#if defined(__x86_64__)

STACK_OPAQUE static void stack_switch(char *top, void (*function)(void *argument), void *argument) {
  __asm__ volatile("movq %%rsp, %%r12\n\t"
                   "movq %%rsi, %%rsp\n\t"
                   "callq *%%rdx\n\t"
                   "movq %%r12, %%rsp" STACK_FRAME_MARK
                   : "+D"(argument), "+S"(top), "+d"(function)
                   : "r"(__builtin_frame_address(0))
                   : "rax", "rcx", "r8", "r9", "r10", "r11", "r12", "memory", "cc");
}

#else

/* x18 is some systems' own, and not named. */
STACK_OPAQUE static void stack_switch(char *top, void (*function)(void *argument), void *argument) {
  register void *x0 __asm__("x0") = argument;
  register void (*x1)(void *) __asm__("x1") = function;
  register char *x2 __asm__("x2") = top;
  __asm__ volatile("mov x20, sp\n\t"
                   "mov sp, x2\n\t"
                   "blr x1\n\t"
                   "mov sp, x20" STACK_FRAME_MARK
                   : "+r"(x0), "+r"(x1), "+r"(x2)
                   : "r"(__builtin_frame_address(0))
                   : "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14",
                     "x15", "x16", "x17", "x20", "x30", "memory", "cc");
}

#endif

/* The first function on the stack. */
static void stack_turn_run(void *argument) {
  stack_turn *turn = argument;
  stack_entered(turn);
  turn->function(turn->context);
  stack_leaves(turn);
}

void os_stack_call(os_stack *stack, void (*function)(void *context), void *context) {
  stack_turn turn = {.stack = stack, .function = function, .context = context};
  stack_take(stack);
  stack_enters(&turn);
  stack_switch(stack->base + os_page_bytes() + stack->bytes, stack_turn_run, &turn);
  stack_left(&turn);
  stack_give_back(stack);
}

/* ---- its memory ------------------------------------------------------------------------------- */

bool os_stack_create(os_stack *stack, size_t bytes) {
  size_t page = os_page_bytes();
  TSR_CHECK(bytes != 0 && bytes % page == 0, "a stack is a number of pages");
  *stack = (os_stack){.base = os_memory_reserve(page + bytes, page), .bytes = bytes};
  if (stack->base == NULL) return false;
  if (!os_memory_commit(stack->base + page, bytes)) {
    os_memory_release(stack->base, page + bytes);
    stack->base = NULL;
    return false;
  }
  stack_watch(stack);
  return true;
}

void os_stack_destroy(os_stack *stack) {
  TSR_CHECK(!stack->is_taken, "nobody is on a stack that is destroyed");
  if (stack->base == NULL) return;
  stack_watch_no_more(stack);
  os_memory_release(stack->base, os_page_bytes() + stack->bytes);
  stack->base = NULL;
}

size_t os_stack_bytes(const os_stack *stack) {
  return stack->base == NULL ? 0 : stack->bytes;
}

void *os_stack_base(const os_stack *stack) {
  return stack->base;
}

void os_stack_forget_thread(os_stack *stack) {
  (void)stack;
}

#else

/* ---- the helper thread ------------------------------------------------------------------------ */

static void stack_helper(void *argument) {
  os_stack *stack = argument;
  os_mutex_lock(&stack->mutex);
  while (!stack->is_closed) {
    if (stack->function == NULL) {
      os_condition_wait(&stack->changed, &stack->mutex);
      continue;
    }
    os_mutex_unlock(&stack->mutex);
    stack->function(stack->context);
    os_mutex_lock(&stack->mutex);
    stack->function = NULL;
    os_condition_wake_one(&stack->changed);
  }
  os_mutex_unlock(&stack->mutex);
}

static bool stack_start_helper(os_stack *stack) {
  stack->has_thread = os_thread_start(&stack->thread, stack_helper, stack);
  return stack->has_thread;
}

static void stack_hand_over(os_stack *stack, void (*function)(void *context), void *context) {
  os_mutex_lock(&stack->mutex);
  stack->function = function;
  stack->context = context;
  os_condition_wake_one(&stack->changed);
  while (stack->function != NULL)
    os_condition_wait(&stack->changed, &stack->mutex);
  os_mutex_unlock(&stack->mutex);
}

void os_stack_call(os_stack *stack, void (*function)(void *context), void *context) {
  stack_take(stack);
  if (stack->has_thread || stack_start_helper(stack)) {
    stack_hand_over(stack, function, context);
  } else {
    function(context);
  }
  stack_give_back(stack);
}

/* A first call while there is stack enough: a dynamic linker takes its own to find what it calls. */
static void stack_nothing(void *context) {
  (void)context;
}

bool os_stack_create(os_stack *stack, size_t bytes) {
  TSR_CHECK(bytes != 0 && bytes % os_page_bytes() == 0, "a stack is a number of pages");
  (void)bytes;
  *stack = (os_stack){.is_created = false};
  if (!os_mutex_create(&stack->mutex)) return false;
  if (!os_condition_create(&stack->changed)) goto no_condition;
  if (!stack_start_helper(stack)) goto no_thread;
  stack->is_created = true;
  os_stack_call(stack, stack_nothing, NULL);
  return true;

no_thread:
  os_condition_destroy(&stack->changed);
no_condition:
  os_mutex_destroy(&stack->mutex);
  return false;
}

static void stack_end_helper(os_stack *stack) {
  os_mutex_lock(&stack->mutex);
  stack->is_closed = true;
  os_condition_wake_one(&stack->changed);
  os_mutex_unlock(&stack->mutex);
  os_thread_join(&stack->thread);
}

void os_stack_destroy(os_stack *stack) {
  TSR_CHECK(!stack->is_taken, "nobody is on a stack that is destroyed");
  if (!stack->is_created) return;
  if (stack->has_thread) stack_end_helper(stack);
  os_condition_destroy(&stack->changed);
  os_mutex_destroy(&stack->mutex);
  stack->is_created = false;
}

size_t os_stack_bytes(const os_stack *stack) {
  (void)stack;
  return 0;
}

void *os_stack_base(const os_stack *stack) {
  (void)stack;
  return NULL;
}

void os_stack_forget_thread(os_stack *stack) {
  if (!stack->is_created) return;
  os_mutex_forget_owner(&stack->mutex);
  os_condition_forget_waiters(&stack->changed);
  stack->has_thread = false;
}

#endif
