/* main.c - tessera-bench: one program, one subcommand per benchmark. */
#include "bench.h"

#include <stdio.h>
#include <string.h>

static const struct bench_command commands[] = {
    {"alloc", "time and instructions per allocation, by the way the code gets at its buffer",
     bench_alloc},
    {"trace", "time per object to mark or copy graphs, beside bare loops that do the same",
     bench_trace},
    {"barrier", "time per store of a reference through the write barrier, and without it",
     bench_barrier},
    {"weak", "time of a collection with weak references, ephemerons and finalizers", bench_weak},
    {"requests", "how long it takes to be refused memory, to be granted it, to find none",
     bench_requests},
    {"mutation", "time of single operations in a program that changes much that lives",
     bench_mutation},
};

enum { COMMANDS = sizeof commands / sizeof *commands };

static void list_commands(FILE *out) {
  fprintf(out, "usage: tessera-bench COMMAND [options]; tessera-bench COMMAND --help\n\n");
  for (int i = 0; i < COMMANDS; i++) {
    fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
  }
}

static int run_command(const struct bench_command *command, int argc, char **argv) {
  char name[64];
  snprintf(name, sizeof name, "tessera-bench %s", command->name);
  argv[0] = name;
  return command->run(argc, argv);
}

int main(int argc, char **argv) {
  if (argc < 2 || strcmp(argv[1], "--help") == 0) {
    list_commands(argc < 2 ? stderr : stdout);
    return argc < 2 ? 2 : 0;
  }
  for (int i = 0; i < COMMANDS; i++) {
    if (strcmp(argv[1], commands[i].name) == 0)
      return run_command(&commands[i], argc - 1, argv + 1);
  }
  fprintf(stderr, "tessera-bench: no command \"%s\"\n", argv[1]);
  list_commands(stderr);
  return 2;
}
