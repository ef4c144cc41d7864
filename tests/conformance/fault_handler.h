/* The handler of docs/debugging.md, which a test holds against this file. */
#include <signal.h>
#include <string.h>
#include <tessera/tessera.h>
#include <unistd.h>

static const tsr_heap *explained_heap;

static void explain(int number, siginfo_t *info, void *context) {
  (void)context;
  char text[TSR_EXPLANATION_BYTES];
  if (tsr_explain_fault(explained_heap, info->si_addr, text, sizeof text)) {
    size_t length = strlen(text);
    text[length] = '\n';
    if (write(STDERR_FILENO, text, length + 1) < 0) _exit(1);
  }
  signal(number, SIG_DFL); /* the access is repeated, and ends the process as it would have */
}

static void explain_faults(const tsr_heap *heap) {
  explained_heap = heap;
  struct sigaction action = {.sa_sigaction = explain, .sa_flags = SA_SIGINFO};
  sigaction(SIGSEGV, &action, NULL);
  sigaction(SIGBUS, &action, NULL);
}
