/*
 * main.c: the command line and the prompt.
 *
 * However a program ends, by its last form, (exit) or an error, the heap is destroyed in an orderly
 * way, so that TESSERA_STATS gets its figures.
 */
#include "heap.h"
#include "syntax.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { STATUS_ERROR = 1, STATUS_USAGE = 64, STATUS_NO_INPUT = 66, STATUS_INTERNAL = 70 };

static const char usage[] =
    "usage: tessera-scheme [FILE [ARGUMENT ...]]\n"
    "       tessera-scheme -e EXPRESSION [ARGUMENT ...]\n"
    "\n"
    "Runs a Scheme program on a Tessera heap. Without arguments it shows a prompt and evaluates\n"
    "what it reads.\n"
    "\n"
    "  -e EXPRESSION   evaluate the expressions in this text and print their values\n"
    "  -h, --help      show this text\n"
    "\n"
    "environment:\n"
    "  SCHEME_STACK_MAX   largest size of the stack in bytes, with K, M or G: at\n"
    "                     least 64K (default 512M)\n"
    "  TESSERA_...        the heap's options; TESSERA_HELP=1 lists them\n";

struct session {
  struct source source;
  char **arguments; /**< NULL after the last */
  bool print;
};

static void set_arguments(struct vm *vm, char **arguments) {
  size_t count = 0;
  while (arguments[count] != NULL)
    count++;
  value list = SCHEME_NIL;
  tsr_slot *rest = handle(vm, SCHEME_NIL);
  while (count-- > 0) {
    value argument = make_string_utf8(vm, arguments[count], strlen(arguments[count]));
    list = rest->word = scheme_cons(vm, argument, rest->word);
  }
  vm->registers[REGISTER_ARGUMENTS] = list;
}

static void boot(struct vm *vm, void *context) {
  const struct session *session = context;
  vm_boot(vm);
  set_arguments(vm, session->arguments);
  vm->registers[REGISTER_FILE] =
      make_string_utf8(vm, session->source.name, strlen(session->source.name));
}

static void run(struct vm *vm, void *context) {
  struct session *session = context;
  vm_load(vm, &session->source, session->print);
}

/** Reads and evaluates until the input ends; an error ends only what was being evaluated. */
static int prompt(struct vm *vm, struct session *session) {
  for (;;) {
    switch (vm_protect(vm, run, session)) {
    case ESCAPE_NONE:
      putchar('\n');
      return 0;
    case ESCAPE_EXIT:
      return vm->exit_status;
    case ESCAPE_ERROR:
      report_last_error(vm);
      if (ferror(session->source.file)) return STATUS_ERROR;
      vm_abandon(vm);
      source_skip_line(&session->source);
    }
  }
}

static int run_program(struct vm *vm, struct session *session) {
  switch (vm_protect(vm, run, session)) {
  case ESCAPE_NONE:
    return 0;
  case ESCAPE_EXIT:
    return vm->exit_status;
  case ESCAPE_ERROR:
    report_last_error(vm);
  }
  return STATUS_ERROR;
}

static int run_session(struct session *session) {
  size_t stack_words;
  if (!stack_limit_from_environment(&stack_words)) {
    fprintf(stderr,
            "tessera-scheme: SCHEME_STACK_MAX=%s: expected a size from 64K up, such as 8M\n",
            getenv("SCHEME_STACK_MAX"));
    return STATUS_USAGE;
  }
  struct vm *vm = malloc(sizeof *vm);
  if (vm == NULL || !vm_open(vm)) {
    free(vm);
    return STATUS_INTERNAL;
  }
  int status = STATUS_INTERNAL;
  if (vm_protect(vm, boot, session) == ESCAPE_NONE) {
    status = session->source.interactive ? prompt(vm, session) : run_program(vm, session);
  } else {
    report_last_error(vm);
  }
  vm_close(vm);
  free(vm);
  if (fflush(stdout) != 0 && status == 0) status = STATUS_ERROR;
  return status;
}

static int run_file(char **arguments) {
  FILE *file = fopen(arguments[0], "r");
  if (file == NULL) {
    fprintf(stderr, "tessera-scheme: %s: %s\n", arguments[0], strerror(errno));
    return STATUS_NO_INPUT;
  }
  struct session session = {.source = {.name = arguments[0], .file = file, .line = 1, .column = 1},
                            .arguments = arguments};
  int status = run_session(&session);
  fclose(file);
  free(session.source.buffer);
  return status;
}

static int run_expression(char **arguments) {
  struct session session = {.source = {.name = "expression",
                                       .text = arguments[0],
                                       .length = strlen(arguments[0]),
                                       .line = 1,
                                       .column = 1},
                            .arguments = arguments,
                            .print = true};
  return run_session(&session);
}

static int run_prompt(char **arguments) {
  struct session session = {
      .source = {.name = "stdin", .file = stdin, .line = 1, .column = 1, .interactive = true},
      .arguments = arguments,
      .print = true};
  int status = run_session(&session);
  free(session.source.buffer);
  return status;
}

int main(int argc, char **argv) {
  if (argc < 2) return run_prompt(argv);
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
    fputs(usage, stdout);
    return 0;
  }
  if (strcmp(argv[1], "-e") == 0 && argc > 2) return run_expression(argv + 2);
  if (argv[1][0] == '-') {
    fputs(usage, stderr);
    return STATUS_USAGE;
  }
  return run_file(argv + 1);
}
