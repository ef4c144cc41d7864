/*
 * Which event met which colour. See coverage.def.
 */
#include "state.h"

#include <string.h>

static bool met[2][COVERED][COLOURS];

enum colour colour_of(const state *s, unsigned o) {
  const object *x = &s->object[o];
  if (x->space == YOUNG) return COLOUR_YOUNG;
  if (x->marked) return x->armed ? BLACK : DARK_GRAY;
  return x->armed ? WHITE : LIGHT_GRAY;
}

/* A card that is logged is the gray of an array, which is always armed. */
enum colour card_colour(const state *s, unsigned o, unsigned f) {
  const object *x = &s->object[o];
  if (x->space == YOUNG) return COLOUR_YOUNG;
  if (x->marked) return x->card[f] ? DARK_GRAY : BLACK;
  return x->card[f] ? LIGHT_GRAY : WHITE;
}

/* Where a nursery may rest the two tables would run into each other; and where children wait what is behind a forward barrier
   has colours that it has not elsewhere. */
void cover(enum covered event, enum colour colour) {
  if (removed == RULES && !current->rests && !current->ahead)
    met[current->nursery][event][colour] = true;
}

#define EVENT(name, words, nursery, without) {words, {without, nursery}},
static const struct {
  const char *words, *expected[2];
} table[] = {
#include "coverage.def"
};
#undef EVENT

static bool print_table(FILE *to, unsigned nursery) {
  bool complete = true;
  fprintf(to, "%-28s young white light-gray dark-gray black\n",
          nursery ? "with a nursery" : "nursery=0");
  for (unsigned event = 0; event < COVERED; event++) {
    fprintf(to, "%-28s", table[event].words);
    for (unsigned colour = 0; colour < COLOURS; colour++) {
      bool expected = table[event].expected[nursery][colour] == '+';
      bool as_expected = met[nursery][event][colour] == expected;
      static const int width[] = {6, 6, 11, 10, 6};
      fprintf(to, "%*s", width[colour], met[nursery][event][colour] ? "+" : "-");
      if (!as_expected) fprintf(to, "!");
      complete &= as_expected;
    }
    fprintf(to, "\n");
  }
  return complete;
}

bool coverage_complete(FILE *to) {
  bool with = print_table(to, 1);
  bool without = print_table(to, 0);
  return with && without;
}
