/*
 * The model of `quadcolor`, from the command line (A001-05, A001-07, A001-08).
 *
 *   quadcolor_model check            explores every configuration: no invariant may break, and the table of
 *                                    events and colours must come out as coverage.def has it
 *   quadcolor_model check quick      the small ones alone
 *   quadcolor_model check CONFIG     one
 *   quadcolor_model remove           removes every rule, each in its configuration: the explorer must find a
 *                                    state that breaks an invariant, and tells how it comes about
 *   quadcolor_model remove RULE [CONFIG]   one, in its configuration or in another
 */
#include "state.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MOST_STATES                          4000000u

#define RULE(name, config, needed, sentence) {#name, config, sentence, needed},
static const struct {
  const char *name, *config, *sentence;
  bool needed; /* else nothing that is modelled breaks without it, and that is expected */
} rules[] = {
#include "rules.def"
};
#undef RULE

static outcome explore_config(const config *c, FILE *trace) {
  current = c;
  return explore(c->copying ? &copy_model : &quadcolor_model, MOST_STATES, trace);
}

static bool check_one(const config *c) {
  clock_t start = clock();
  outcome o = explore_config(c, stdout);
  bool passed = o.broken == NULL && !o.too_many;
  printf("%-28s %8zu states %9zu transitions, depth %2u, %4.1f s%s%s\n", c->name, o.states,
         o.transitions, o.depth, (double)(clock() - start) / CLOCKS_PER_SEC, passed ? "" : ": ",
         o.too_many ? "too many"
         : o.broken ? o.broken
                    : "");
  fflush(stdout);
  return passed;
}

static bool is_wanted(const config *c, const char *which) {
  if (which == NULL) return true;
  return strcmp(which, "quick") == 0 ? c->quick : strcmp(which, c->name) == 0;
}

static bool check(const char *which) {
  bool passed = true;
  unsigned checked = 0;
  for (const config *c = configs; c->name != NULL; c++) {
    if (!is_wanted(c, which)) continue;
    passed &= check_one(c);
    checked++;
  }
  if (which == NULL) passed &= coverage_complete(stdout);
  return passed && checked > 0;
}

static const config *config_called(const char *name) {
  const config *c = configs;
  while (c->name != NULL && strcmp(c->name, name) != 0)
    c++;
  return c;
}

static bool remove_one(enum rule r, const char *where) {
  printf("\n%s: %s\n", rules[r].name, rules[r].sentence);
  removed = r;
  if (where == NULL) where = rules[r].config;
  outcome o = explore_config(config_called(where), stdout);
  bool found = o.broken != NULL;
  printf("%s in \"%s\" after %u events, %zu states: %s\n",
         found == rules[r].needed && !o.too_many ? "as expected" : "NOT AS EXPECTED", where,
         o.depth, o.states, found ? o.broken : "nothing breaks");
  fflush(stdout);
  return found == rules[r].needed && !o.too_many;
}

static bool remove_rules(const char *which, const char *where) {
  bool passed = true;
  unsigned tried = 0;
  for (unsigned r = 0; r < RULES; r++) {
    if (which != NULL && strcmp(which, rules[r].name) != 0) continue;
    passed &= remove_one((enum rule)r, where);
    tried++;
  }
  printf("\n%u rules\n", tried);
  return passed && tried > 0;
}

int main(int count, char **argument) {
  const char *what = count > 1 ? argument[1] : "";
  const char *which = count > 2 ? argument[2] : NULL;
  bool passed = false;
  if (strcmp(what, "check") == 0) {
    passed = check(which);
  } else if (strcmp(what, "remove") == 0) {
    passed = remove_rules(which, count > 3 ? argument[3] : NULL);
  } else {
    fprintf(stderr, "usage: %s check [quick|CONFIG] | remove [RULE [CONFIG]]\n", argument[0]);
  }
  return passed ? EXIT_SUCCESS : EXIT_FAILURE;
}
