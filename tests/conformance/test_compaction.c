/*
 * F23. Compaction: what survives keeps its content, its alignment and, where survivors slide, its order; and
 * all of the maximum is of use, however full the heap and however scattered what it frees.
 *
 * Objects are *items*: of every kind and size, each with a number that tells its content, held by the slots of
 * one large table and by nothing else. Half of these tests is what every plan promises. The rest, order
 * and a heap that is filled to the last block, is asked of a plan that slides.
 */
#include "draws.h"

#define ITEMS   ((size_t)300000)
#define NO_ITEM 0u
#define MOST    TSR_MAX_INLINE_BYTES
#define PINS    200u

static testvm vm;
static tsr_slot table; /* a root: a vector of ITEMS slots */

/* What lies in the table's slots. */
static struct item {
  unsigned kind; /* NO_ITEM: nothing */
  size_t count;
  uint64_t number;
  bool pinned;
  uint64_t address; /* as it was when it was last written down */
} items[ITEMS];
static uint64_t next_number;

static bool slides(void) {
  return vm_is("markcompact");
}

/* ---- items ------------------------------------------------------------------------------------- */

static uint64_t item_word(size_t i) {
  return vm_get(vm.m, vm_ref(table.word), 2 + i);
}

static size_t item_bytes(size_t i) {
  return vm_size(items[i].kind, items[i].count);
}

/* A kind and a count that make at most `most` bytes, each power of two as often as any other. */
static void choose_item(struct item *item, size_t most) {
  size_t bytes = (size_t)8 << draw(11);
  if (bytes > most) bytes = most;
  bytes = bytes / 2 + draw(bytes / 2 + 1);
  *item = (struct item){.kind = CELL};
  switch (bytes < 64 ? 8 : draw(6)) {
  case 0:
    *item = (struct item){.kind = VECTOR, .count = (bytes - 16) / 8};
    break;
  case 1:
    *item = (struct item){.kind = TABLE, .count = (bytes - 24) / 24};
    break;
  case 2:
    *item = (struct item){.kind = CUSTOM, .count = (bytes - 16) / 16};
    break;
  case 3:
    if (bytes >= vm_size(RECORD, 0)) item->kind = RECORD;
    break;
  case 4:
    if (bytes >= vm_size(WIDE, 0)) item->kind = WIDE;
    break;
  case 5:
    *item = (struct item){.kind = BYTES, .count = bytes - 16};
    break;
  default:
    if (bytes >= vm_size(BYTES, 0)) *item = (struct item){.kind = BYTES, .count = bytes - 16};
    if (bytes >= vm_size(PAIR, 0)) *item = (struct item){.kind = PAIR};
  }
}

/* Its last slot leads to itself, its first one to the table. */
static bool make_item(size_t i, struct item item) {
  tsr_ref object = vm_new(vm.m, item.kind, (unsigned)next_number & 0xffff, item.count);
  if (object == NULL) return false;
  item.number = next_number++;
  vm_fill(object, item.number);
  size_t slots = vm_slots(item.kind, item.count);
  if (slots > 0) vm_set(vm.m, object, vm_slot_index(item.kind, 0), table.word);
  if (slots > 1) vm_set(vm.m, object, vm_slot_index(item.kind, slots - 1), vm_word(object));
  vm_set(vm.m, vm_ref(table.word), 2 + i, vm_word(object));
  items[i] = item;
  return true;
}

static void drop_item(size_t i) {
  vm_set(vm.m, vm_ref(table.word), 2 + i, 0);
  items[i].kind = NO_ITEM;
}

static void check_item(size_t i) {
  uint64_t word = item_word(i);
  if (items[i].kind == NO_ITEM) {
    ck_assert_uint_eq(word, 0);
    return;
  }
  tsr_ref object = vm_ref(word);
  ck_assert_msg(object != NULL && vm_kind_of(object) == items[i].kind &&
                    vm_count_of(object) == items[i].count &&
                    vm_tag_of(object) == (items[i].number & 0xffff) &&
                    vm_filled(object, items[i].number),
                "item %zu is not what it was", i);
  size_t slots = vm_slots(items[i].kind, items[i].count);
  for (size_t k = 0; k < slots; k++) {
    uint64_t wanted = k == 0 ? table.word : k == slots - 1 ? word : 0;
    ck_assert_msg(vm_get(vm.m, object, vm_slot_index(items[i].kind, k)) == wanted,
                  "slot %zu of item %zu leads elsewhere", k, i);
  }
}

static void check_items(void) {
  for (size_t i = 0; i < ITEMS; i++)
    check_item(i);
}

static void start(const char *heap_max) {
  seed = 1;
  next_number = 0;
  memset(items, 0, sizeof items);
  vm_alone(&vm); /* counts bytes, fills the heap, and compares addresses */
  vm_pin(&vm, "heap_max", heap_max);
  vm_pin(&vm, "collecting_most", "100"); /* in a full heap that is a question of time */
  vm_start(&vm);
  table.word = 0;
  ck_assert_int_eq(tsr_root_add(vm.heap, &table, 1, TSR_ROOT_PRECISE, "table", NULL), TSR_OK);
  table.word = vm_word(vm_new(vm.m, VECTOR, 0, ITEMS));
  ck_assert_uint_ne(table.word, 0);
}

static void stop(void) {
  ck_assert_int_eq(tsr_root_remove(vm.heap, &table, NULL), TSR_OK);
  vm_stop(&vm);
}

/* ---- order ------------------------------------------------------------------------------------- */

static int by_address(const void *a, const void *b) {
  uint64_t x = items[*(const size_t *)a].address;
  uint64_t y = items[*(const size_t *)b].address;
  return x < y ? -1 : x > y;
}

static uint64_t block_of(size_t i) {
  return items[i].address / (32 * KIB);
}

/* Leaves those out that have a pinned one in their block; returns how many are left. */
static size_t leave_pinned_blocks_out(size_t *order, size_t n) {
  size_t left = 0;
  for (size_t first = 0, end; first < n; first = end) {
    bool pinned = false;
    for (end = first; end < n && block_of(order[end]) == block_of(order[first]); end++)
      pinned |= items[order[end]].pinned;
    for (size_t k = first; k < end && !pinned; k++)
      order[left++] = order[k];
  }
  return left;
}

/* The items of default placement, by their addresses, but for those that stay. */
static size_t *write_down_order(size_t *n) {
  size_t *order = malloc(ITEMS * sizeof *order);
  ck_assert_ptr_nonnull(order);
  *n = 0;
  for (size_t i = 0; i < ITEMS; i++) {
    items[i].address = item_word(i);
    if (items[i].kind != NO_ITEM && item_bytes(i) <= MOST) order[(*n)++] = i;
  }
  qsort(order, *n, sizeof *order, by_address);
  *n = leave_pinned_blocks_out(order, *n);
  return order;
}

/* Collects. Pinned items stay; where survivors slide, they keep their order and none goes up. */
static void collect_in_order(void) {
  size_t n, moved = 0;
  size_t *order = write_down_order(&n);
  vm_collect(&vm);
  for (size_t i = 0; i < ITEMS; i++) {
    if (items[i].kind != NO_ITEM && items[i].pinned)
      ck_assert_msg(item_word(i) == items[i].address, "pinned item %zu moved", i);
  }
  for (size_t k = 0; slides() && k < n; k++) {
    uint64_t word = item_word(order[k]);
    ck_assert_msg(word <= items[order[k]].address, "item %zu moved up", order[k]);
    ck_assert_msg(k == 0 || item_word(order[k - 1]) < word, "item %zu has passed item %zu",
                  order[k - 1], order[k]);
    moved += word != items[order[k]].address;
  }
  ck_assert_msg(!slides() || moved > n / 2, "%zu of %zu items moved", moved, n);
  free(order);
}

/* ---- full heaps ------------------------------------------------------------------------------ */

/* The first slot from `i` on without an item. */
static size_t free_slot(size_t i) {
  while (i < ITEMS && items[i].kind != NO_ITEM)
    i++;
  ck_assert_msg(i < ITEMS, "the table is too small");
  return i;
}

/* Fills the heap until not even a cell fits; returns the items made. One in a hundred is a large object. */
static size_t fill(void) {
  size_t made = 0, slot = 0;
  for (size_t most = MOST; most >= 8;) {
    struct item item;
    choose_item(&item, most);
    if (most == MOST && made % 100 == 99) {
      item = (struct item){.kind = made % 200 == 99 ? BYTES : VECTOR, .count = 9000 + draw(9000)};
    }
    slot = free_slot(slot);
    if (make_item(slot, item)) {
      made++;
    } else {
      most /= 2;
    }
  }
  ck_assert_uint_ge(vm_take_ooms(&vm, NULL), 10);
  return made;
}

/* Every block that the maximum leaves room for is in use, and full. */
static void assert_nothing_is_left(void) {
  tsr_stats stats = vm_stats(&vm);
  ck_assert_uint_le(stats.peak_committed_bytes, stats.heap_max_bytes);
  if (!slides()) return;
  size_t live = vm_size(VECTOR, ITEMS), waste = 0;
  for (size_t i = 0; i < ITEMS; i++) {
    if (items[i].kind == NO_ITEM) continue;
    live += item_bytes(i);
    if (item_bytes(i) > MOST) waste += 32 * KIB - 1 - (item_bytes(i) - 1) % (32 * KIB);
  }
  uint64_t metadata = stats.committed_bytes - stats.used_bytes;
  uint64_t room = stats.heap_max_bytes - metadata;
  ck_assert_msg(stats.used_bytes * 100 >= room * 99, "%llu bytes in blocks, room for %llu",
                (unsigned long long)stats.used_bytes, (unsigned long long)room);
  ck_assert_msg((live + waste) * 100 >= stats.used_bytes * 98,
                "%zu bytes in objects, %zu beside "
                "large ones, %llu in blocks",
                live, waste, (unsigned long long)stats.used_bytes);
}

/* Takes about every second item that is not pinned out of the table, old ones and new ones alike. */
static void drop_half(void) {
  for (size_t i = 0; i < ITEMS; i++) {
    if (items[i].kind != NO_ITEM && !items[i].pinned && draw(2) == 0) drop_item(i);
  }
}

/* Fills, frees half, collects, fills again, so often. */
static void fill_again_and_again(unsigned rounds) {
  for (unsigned round = 0; round < rounds; round++) {
    size_t made = fill();
    check_items();
    assert_nothing_is_left();
    ck_assert_uint_gt(made, vm_collects || round == 0 ? 1000 : 0);
    drop_half();
    collect_in_order();
    check_items();
    ck_assert_int_eq(tsr_heap_verify(vm.m, NULL), TSR_OK);
    if (!vm_collects) return; /* and what is dropped never comes back */
  }
}

START_TEST(a_full_heap_is_of_use_to_the_last_block) {
  vm_init_calm(&vm);
  start("16M");
  fill_again_and_again(3);
  if (!vm_collects) ck_assert(vm_new(vm.m, RECORD, 0, 0) == NULL && vm_take_ooms(&vm, NULL) == 1);
  stop();
}
END_TEST

static void pin_some(void) {
  for (unsigned k = 0; k < PINS;) {
    size_t i = draw(ITEMS);
    if (items[i].kind == NO_ITEM || items[i].pinned) continue;
    tsr_error error = {0};
    tsr_status status = tsr_pin(vm.m, vm_ref(item_word(i)), &error);
    ck_assert_msg(status == TSR_OK, "%s", error.message);
    items[i].pinned = true;
    k++;
  }
}

static void unpin_all(void) {
  for (size_t i = 0; i < ITEMS; i++) {
    if (!items[i].pinned) continue;
    ck_assert_int_eq(tsr_unpin(vm.m, vm_ref(item_word(i)), NULL), TSR_OK);
    items[i].pinned = false;
  }
}

START_TEST(a_full_heap_with_two_hundred_pins) {
  vm_init_calm(&vm);
  start("16M");
  for (size_t i = 0; i < 20000; i++) {
    struct item item;
    choose_item(&item, 512);
    ck_assert(make_item(i, item));
  }
  drop_half();
  pin_some();
  fill_again_and_again(2);
  unpin_all();
  if (vm_collects) fill_again_and_again(2);
  stop();
}
END_TEST

/* A gap here and there in blocks that are nearly full: what is free adds up, and before a request is refused
   it is put together. */
START_TEST(small_gaps_make_room_for_a_large_object) {
  vm_init_calm(&vm);
  start("16M");
  size_t n = 0;
  while (make_item(n, (struct item){.kind = BYTES, .count = KIB - 16}))
    n++;
  size_t room = (14 * MIB - vm_size(VECTOR, ITEMS)) / KIB;
  ck_assert_uint_gt(n, room / (slides() || !vm_collects ? 1 : 2));
  for (size_t i = 0; i < n; i += 25)
    drop_item(i);
  vm_take_ooms(&vm, NULL);
  tsr_ref large = vm_new(vm.m, BYTES, 0, 400 * KIB);
  ck_assert_msg(!slides() || large != NULL, "%zu KiB are free, and no room for 400", n / 25);
  ck_assert_uint_eq(vm_take_ooms(&vm, NULL), large == NULL ? 1 : 0);
  check_items();
  stop();
}
END_TEST

/* ---- one program, several heaps ---------------------------------------------------------------- */

#define PROGRAM_ITEMS 20000u

/* Collects at the same places whatever the workers; where its items are then is written down, counted from the
   heap's first block. */
static void run_program(const char *workers, uint64_t *where) {
  vm_init_calm(&vm);
  vm_pin(&vm, "heap_min", "64M");
  vm_pin(&vm, "threads", workers);
  start("64M");
  for (unsigned round = 0; round < 5; round++) {
    for (size_t i = 0; i < PROGRAM_ITEMS; i++) {
      struct item item;
      if (items[i].kind != NO_ITEM) continue;
      choose_item(&item, 1024);
      ck_assert(make_item(i, item));
    }
    for (size_t i = 0; i < PROGRAM_ITEMS; i++) {
      if (draw(3) == 0 && !items[i].pinned) drop_item(i);
    }
    if (round == 2) pin_some();
    if (round == 3) unpin_all();
    vm_collect(&vm);
    ck_assert_uint_eq(vm.ended, vm_collects ? round + 1 : 0);
  }
  check_items();
  uint64_t first = UINT64_MAX;
  for (size_t i = 0; i < PROGRAM_ITEMS; i++) {
    where[i] = item_word(i);
    if (where[i] != 0 && where[i] < first) first = where[i];
  }
  for (size_t i = 0; i < PROGRAM_ITEMS; i++)
    where[i] -= where[i] == 0 ? 0 : first & ~(uint64_t)(4 * MIB - 1);
  stop();
}

START_TEST(addresses_do_not_depend_on_the_workers) {
  static const char *const workers[] = {"2", "3", "8"};
  static uint64_t serial[PROGRAM_ITEMS], parallel[PROGRAM_ITEMS];
  run_program("1", serial);
  run_program(workers[_i], parallel);
  for (size_t i = 0; i < PROGRAM_ITEMS; i++) {
    ck_assert((serial[i] == 0) == (parallel[i] == 0));
    if (slides() || !vm_collects)
      ck_assert_msg(serial[i] == parallel[i], "item %zu: %#llx with one worker, %#llx with %s", i,
                    (unsigned long long)serial[i], (unsigned long long)parallel[i], workers[_i]);
  }
}
END_TEST

/* ---- alignment ------------------------------------------------------------------------------------ */

#define ALIGNED 3000u

/* Aligned objects and others, so many of each that every block has some; what is dropped changes. */
START_TEST(alignment_is_kept) {
  static const uint32_t aligns[] = {16, 32, 64};
  static tsr_slot kept[ALIGNED];
  memset(kept, 0, sizeof kept);
  seed = 7;
  vm_init_calm(&vm);
  vm_pin(&vm, "heap_max", "32M");
  vm_start(&vm);
  ck_assert_int_eq(tsr_root_add(vm.heap, kept, ALIGNED, TSR_ROOT_PRECISE, "kept", NULL), TSR_OK);
  uint32_t layouts[3];
  for (unsigned k = 0; k < 3; k++) {
    tsr_layout layout = {TSR_LAYOUT_INIT,      .name = "aligned", .kind = TSR_LAYOUT_FIXED,
                         .fixed_bytes = 40,    .fixed_refs = 2,   .align = aligns[k],
                         .align_offset = 8 * k};
    layouts[k] = tsr_layout_register(vm.heap, &layout, NULL);
    ck_assert_uint_ne(layouts[k], 0);
  }
  for (unsigned round = 0; round < 6; round++) {
    for (unsigned i = 0; i < ALIGNED; i++) {
      if (kept[i].word != 0) continue;
      unsigned k = i % 3;
      /* In long stretches all others are plain, so that there is something that slides. */
      bool aligned = i / 500 % 2 == 0;
      uint64_t *words = aligned ? tsr_alloc(vm.m, 40, aligns[k], 8 * k, TSR_DEFAULT) : NULL;
      if (aligned) {
        ck_assert_ptr_nonnull(words);
        words[0] = vm_header(layouts[k], 0);
        ck_assert_int_eq(tsr_post_alloc(vm.m, (tsr_ref)(void *)words, 40, TSR_DEFAULT), TSR_OK);
      }
      kept[i].word = aligned ? vm_word(words) : vm_word(vm_new(vm.m, RECORD, 0, 0));
      ck_assert_uint_ne(kept[i].word, 0);
      size_t number_at = aligned ? 4 : 1;
      vm_slot(vm_ref(kept[i].word), number_at)->word = i;
      vm_new(vm.m, BYTES, 0, draw(300));
    }
    vm_collect(&vm);
    for (unsigned i = 0; i < ALIGNED; i++) {
      unsigned k = i % 3;
      bool aligned = i / 500 % 2 == 0;
      ck_assert_uint_eq(vm_slot(vm_ref(kept[i].word), aligned ? 4 : 1)->word, i);
      ck_assert(!aligned || (kept[i].word + 8 * k) % aligns[k] == 0);
      if (draw(2) == 0) kept[i].word = 0;
    }
  }
  ck_assert_int_eq(tsr_root_remove(vm.heap, kept, NULL), TSR_OK);
  vm_stop(&vm);
}
END_TEST

static void add(TCase *tests) {
  /* They verify the heap themselves. Where its gaps are filled to the last cell there are too many collections to do so at
     each. */
  if (!vm_is_generational() || !vm_verifies) {
    tcase_add_test(tests, a_full_heap_is_of_use_to_the_last_block);
    tcase_add_test(tests, a_full_heap_with_two_hundred_pins);
  }
  tcase_add_test(tests, small_gaps_make_room_for_a_large_object);
  tcase_add_loop_test(tests, addresses_do_not_depend_on_the_workers, 0, 3);
  tcase_add_test(tests, alignment_is_kept);
}

int main(void) {
  return vm_main("compaction", add);
}
