/*
 * Children that end.
 */
#include "children.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

RAW_ACCESS void poke(void *address, uint64_t word) {
  *(volatile uint64_t *)address = word;
}

RAW_ACCESS uint64_t peek(const void *address) {
  return *(const volatile uint64_t *)address;
}

/* ---- children ------------------------------------------------------------------------------ */

static void become_child(FILE *output) {
  dup2(fileno(output), 1);
  dup2(fileno(output), 2);
  struct rlimit no_core = {0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  signal(SIGABRT, SIG_DFL);
  signal(SIGSEGV, SIG_DFL); /* sanitizers would turn it into an exit */
  signal(SIGBUS, SIG_DFL);
  alarm(WATCHDOG_S);
}

void assert_forked_child(tsr_mutator *mutator, bool (*body)(void *context), void *context) {
  tsr_error error = {0};
  ck_assert_msg(tsr_fork_prepare(mutator, &error) == TSR_OK, "%s", error.message);
  pid_t child = fork();
  ck_assert_int_ge(child, 0);
  if (child == 0) {
    alarm(WATCHDOG_S);
    tsr_fork_child(mutator);
    _exit(body(context) ? EXIT_SUCCESS : EXIT_FAILURE);
  }
  tsr_fork_parent(mutator);
  int status = -1;
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  ck_assert_msg(status == 0, "the child ended with status %#x", (unsigned)status);
}

ending in_child(void (*body)(void *context), void *context) {
  FILE *output = tmpfile();
  ck_assert_ptr_nonnull(output);
  fflush(NULL);
  pid_t child = fork();
  ck_assert_int_ge(child, 0);
  if (child == 0) {
    become_child(output);
    body(context);
    fflush(NULL);
    _exit(EXIT_SUCCESS);
  }
  ending end = {0};
  while (waitpid(child, &end.status, 0) < 0)
    ck_assert_int_eq(errno, EINTR);
  fseek(output, 0, SEEK_END);
  size_t size = (size_t)ftell(output);
  end.text = calloc(1, size + 1);
  ck_assert_ptr_nonnull(end.text);
  rewind(output);
  ck_assert_uint_eq(fread(end.text, 1, size, output), size);
  fclose(output);
  return end;
}

void assert_died_of(const ending *end, int wanted, const char *what) {
  bool signalled = WIFSIGNALED(end->status);
  ck_assert_msg(signalled && WTERMSIG(end->status) == wanted,
                "%s: wanted signal %d, came %s %d, with the output:\n%s", what, wanted,
                signalled ? "signal" : "exit",
                signalled ? WTERMSIG(end->status) : WEXITSTATUS(end->status), end->text);
}

void assert_survived(const ending *end, const char *what) {
  ck_assert_msg(WIFEXITED(end->status) && WEXITSTATUS(end->status) == EXIT_SUCCESS,
                "%s: came status 0x%x, with the output:\n%s", what, (unsigned)end->status,
                end->text);
}

void assert_dies_saying(void (*body)(void *context), void *context, int wanted, const char *what,
                        const char *phrase, const char *other_phrase) {
  ending end = in_child(body, context);
  assert_died_of(&end, wanted, what);
  ck_assert_msg(strstr(end.text, phrase) != NULL && strstr(end.text, other_phrase) != NULL,
                "%s: %s", what, end.text);
  free(end.text);
}
