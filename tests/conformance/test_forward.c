/*
 * A001-16, F36. Objects behind a forward barrier beside others: what is stored into them is marked, and they are not looked at
 * again. Nothing is lost, however references move between the two.
 */
#define ROOTS 8u
#include "made_objects.h"

#define BOARD_SLOTS 30u
#define BOARD_BYTES (8 * (2 + (size_t)BOARD_SLOTS))

static uint32_t board_layouts[2]; /* with a backward barrier, and with a forward one */

static void register_boards(void) {
  static const tsr_layout_barrier barriers[] = {TSR_BARRIER_BACKWARD, TSR_BARRIER_FORWARD};
  for (size_t i = 0; i < 2; i++) {
    tsr_layout layout = {TSR_LAYOUT_INIT,
                         .name = i == 0 ? "backward" : "forward",
                         .kind = TSR_LAYOUT_FIXED,
                         .fixed_bytes = BOARD_BYTES,
                         .fixed_refs = (((uint64_t)1 << BOARD_SLOTS) - 1) << 2,
                         .barrier = barriers[i]};
    tsr_error error = {0};
    board_layouts[i] = tsr_layout_register(vm.heap, &layout, &error);
    ck_assert_msg(board_layouts[i] != 0, "%s", error.message);
  }
}

static tsr_ref new_board(unsigned barrier, tsr_semantics semantics) {
  uint64_t *words = tsr_alloc(vm.m, BOARD_BYTES, 8, 0, semantics);
  ck_assert_ptr_nonnull(words);
  words[0] = vm_header(board_layouts[barrier], 0);
  ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)(void *)words, BOARD_BYTES, semantics), TSR_OK);
  return (tsr_ref)(void *)words;
}

/* ---- what is armed ------------------------------------------------------------------------------------------ */

/* Two boards in roots[0] and [1], and a record in roots[2], all of them old. */
static void start_old(void) {
  vm_init_calm(&vm);
  vm_alone(&vm);
  vm_pin(&vm, "heap_max", "64M");
  vm_pin(&vm, "nursery", "256K");
  vm_start(&vm);
  open_roots();
  register_boards();
  for (unsigned i = 0; i < 2; i++)
    roots[i].word = vm_word(new_board(i, TSR_DEFAULT));
  roots[2].word = vm_word(make(RECORD, 5, 0));
  for (unsigned i = 0; i < 3; i++)
    collect_young();
}

static void set(unsigned board, size_t slot, uint64_t word) {
  vm_set(vm.m, vm_ref(roots[board].word), 2 + slot, word);
}

static uint64_t get(unsigned board, size_t slot) {
  return vm_get(vm.m, vm_ref(roots[board].word), 2 + slot);
}

static bool is_armed(unsigned board) {
  return tsr_is_armed(vm_ref(roots[board].word));
}

START_TEST(a001_16_only_what_is_young_disarms) {
  start_old();
  for (unsigned board = 0; board < 2 && vm_is_incremental(); board++) {
    ck_assert(is_armed(board));
    set(board, 0, roots[2].word);
    ck_assert_int_eq(is_armed(board), board == 1);
    set(board, 1, FIXNUM(3));
    set(board, 2, 0);
    ck_assert_int_eq(is_armed(board), board == 1);
  }
  if (vm_is_generational()) {
    set(1, 3, vm_word(make(RECORD, 6, 0)));
    ck_assert(!is_armed(1));
    for (unsigned i = 0; i < 3; i++)
      collect_young();
    ck_assert(is_armed(1));
    ck_assert(is_made(get(1, 3), RECORD, 6));
  }
  /* The same into several, and different words. */
  tsr_ref forward = vm_ref(roots[1].word);
  tsr_fill_slots(vm.m, forward, vm_slot(forward, 2), 20, roots[2].word);
  ck_assert_int_eq(is_armed(1), vm_is_incremental());
  tsr_copy_slots(vm.m, forward, vm_slot(forward, 3), vm_slot(forward, 2), 20);
  ck_assert(!is_armed(1) || !vm_is_incremental());
  vm_collect(&vm);
  for (unsigned i = 0; i < 20; i++)
    ck_assert(is_made(get(1, i), RECORD, 5));
  vm_stop(&vm);
}
END_TEST

/* ---- beside cycles of marking ------------------------------------------------------------------------------- */

#define BOARDS 24u
#define PIECES 160u

typedef struct game {
  uint64_t random;
  unsigned boards[PIECES]; /* where each piece is */
  size_t slots[PIECES];
} game;

/* Boards hang on each other in a row, each one's last slot to the next, and pieces in the other slots. */
static tsr_ref game_board(unsigned number) {
  tsr_ref board = vm_ref(roots[0].word);
  for (unsigned i = 0; i < number; i++)
    board = vm_ref(vm_get(vm.m, board, 1 + BOARD_SLOTS));
  return board;
}

static void game_open(game *g) {
  for (unsigned i = 0; i < BOARDS; i++) {
    roots[1].word = vm_word(new_board(i * 7 % 3 != 0, i % 5 == 0 ? TSR_NON_MOVING : TSR_DEFAULT));
    vm_set(vm.m, vm_ref(roots[1].word), 1 + BOARD_SLOTS, roots[0].word);
    roots[0].word = roots[1].word;
  }
  roots[1].word = 0;
  for (unsigned i = 0; i < PIECES; i++) {
    uint64_t piece = vm_word(make(RECORD, i, 0));
    g->boards[i] = i % BOARDS;
    g->slots[i] = i / BOARDS;
    vm_set(vm.m, game_board(g->boards[i]), 2 + g->slots[i], piece);
  }
}

/* One piece goes elsewhere, and nothing else refers to it. */
static void game_move(game *g, unsigned piece) {
  tsr_ref from = game_board(g->boards[piece]);
  uint64_t word = vm_get(vm.m, from, 2 + g->slots[piece]);
  vm_set(vm.m, from, 2 + g->slots[piece], 0);
  unsigned board;
  size_t slot;
  do {
    board = (unsigned)(vm_random(&g->random) % BOARDS);
    slot = vm_random(&g->random) % (BOARD_SLOTS - 1);
  } while (vm_get(vm.m, game_board(board), 2 + slot) != 0);
  vm_set(vm.m, game_board(board), 2 + slot, word);
  g->boards[piece] = board;
  g->slots[piece] = slot;
}

static void game_check(const game *g, unsigned round) {
  for (unsigned i = 0; i < PIECES; i++) {
    uint64_t word = vm_get(vm.m, game_board(g->boards[i]), 2 + g->slots[i]);
    ck_assert_msg(is_made(word, RECORD, i), "round %u, piece %u", round, i);
  }
}

static void start_game(game *g) {
  vm_init(&vm);
  vm_alone(&vm);
  vm_pin(&vm, "heap_max", "64M");
  vm_pin(&vm, "nursery", "64K");
  if (vm_stress == NULL) vm_pin(&vm, "stress", "24K");
  vm_start(&vm);
  open_roots();
  register_boards();
  *g = (game){.random = 77};
  game_open(g);
}

START_TEST(a001_16_pieces_move_behind_both_barriers) {
  unsigned rounds = VM_SANITIZED || vm_verifies ? 100 : 1500;
  game g;
  start_game(&g);
  uint64_t cycles = vm_stats(&vm).cycles;
  for (unsigned round = 0; round < many(rounds); round++) {
    for (unsigned i = 0; i < 30; i++)
      game_move(&g, (unsigned)(vm_random(&g.random) % PIECES));
    if (round % 8 == 0) { /* one that is young */
      unsigned piece = round % PIECES;
      uint64_t word = vm_word(make(RECORD, piece, 0));
      vm_set(vm.m, game_board(g.boards[piece]), 2 + g.slots[piece], word);
    }
    vm_garbage(vm.m, vm_random(&g.random) % (16 * KIB));
    game_check(&g, round);
  }
  ck_assert(!vm_is_incremental() || vm_stats(&vm).cycles > cycles);
  ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
  vm_stop(&vm);
}
END_TEST

/* More stores of one piece between two pauses than are logged, and then all move. */
START_TEST(a001_16_many_stores_between_two_pauses) {
  unsigned rounds = VM_SANITIZED || vm_verifies ? 8 : 60;
  game g;
  start_game(&g);
  for (unsigned round = 0; round < many(rounds); round++) {
    unsigned first = (unsigned)(vm_random(&g.random) % PIECES);
    for (unsigned i = 0; i < 10000; i++)
      game_move(&g, first);
    for (unsigned i = 0; i < PIECES; i++)
      game_move(&g, i);
    vm_garbage(vm.m, vm_random(&g.random) % (32 * KIB));
    game_check(&g, round);
  }
  vm_stop(&vm);
}
END_TEST

/* What is dead behind a forward barrier goes, at last. */
START_TEST(a001_16_garbage_behind_a_forward_barrier_goes) {
  start_old();
  tsr_slot *weak = tsr_handle_new(vm.heap, roots[2].word, TSR_WEAK, NULL);
  ck_assert_ptr_nonnull(weak);
  set(1, 0, roots[2].word);
  roots[2].word = 0;
  vm_collect(&vm);
  ck_assert(is_made(weak->word, RECORD, 5));
  set(1, 0, 0);
  vm_collect(&vm);
  ck_assert(weak->word == 0 || !vm_collects);
  ck_assert_int_eq(tsr_handle_free(vm.heap, weak, NULL), TSR_OK);
  vm_stop(&vm);
}
END_TEST

static void add(TCase *tests) {
  if (vm_wants_threads()) return;
  tcase_add_test(tests, a001_16_garbage_behind_a_forward_barrier_goes);
  if (!vm_collects) return;
  tcase_add_test(tests, a001_16_only_what_is_young_disarms);
  tcase_add_test(tests, a001_16_pieces_move_behind_both_barriers);
  tcase_add_test(tests, a001_16_many_stores_between_two_pauses);
}

int main(void) {
  return vm_main("forward", add);
}
