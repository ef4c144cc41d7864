/*
 * What holds for every call that a mutator makes.
 */
#include "core/alloc/mutator.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/alloc/bump.h"
#include "core/os/error.h"
#include "core/os/thread.h"

void mutator_take_over(struct tsr_mutator_private *own) {
  os_atomic_store(&own->running, os_thread_self());
}

static noreturn void mutator_misused(const tsr_mutator *mutator, const char *what) {
  char sentence[512];
  snprintf(
      sentence, sizeof sentence,
      "a mutator is used by the thread that runs it: this one, of the VM's thread %p, is run by "
      "thread 0x%" PRIxPTR ", and %s came from thread 0x%" PRIxPTR
      ", which has to bind its own with tsr_bind_mutator(), or to take this one over: that is, "
      "to leave with tsr_leave_native() the native code that the other has entered with it",
      mutator->vm_thread, os_atomic_load(&mutator->private_part->running), what, os_thread_self());
  heap_misuse(mutator->heap, mutator, sentence);
}

void mutator_check_thread(const tsr_mutator *mutator, const char *what) {
  const struct tsr_mutator_private *own = mutator->private_part;
  if (TSR_LIKELY(!own->heap->verifies) || os_atomic_load(&own->running) == os_thread_self()) return;
  mutator_misused(mutator, what);
}

tsr_status mutator_check_managed_slow(const tsr_mutator *mutator, const char *what,
                                      tsr_error *error) {
  if (os_atomic_load(&mutator->private_part->state) == MUTATOR_MANAGED) {
    mutator_check_thread(mutator, what);
    return TSR_OK;
  }
  return error_set(error, TSR_BUSY, "%s in native code: call tsr_leave_native() first", what);
}

tsr_status mutator_check_stoppable(const tsr_mutator *mutator, const char *what, tsr_error *error) {
  const tsr_no_alloc *section = mutator->private_part->no_alloc;
  if (section == NULL) return mutator_check_managed(mutator, what, error);
  return error_set(
      error, TSR_BUSY,
      "%s in the no-allocation section that was begun at %s:%d, where no object may move: "
      "call tsr_no_alloc_end() first",
      what, section->file, section->line);
}

/* ---- no-allocation sections -------------------------------------------------------------------- */

void no_alloc_begin(tsr_mutator *mutator, tsr_no_alloc *section) {
  struct tsr_mutator_private *own = mutator->private_part;
  if (own->no_alloc == NULL) bump_set_aside(mutator);
  section->outer = own->no_alloc;
  own->no_alloc = section;
}

tsr_status no_alloc_end(tsr_mutator *mutator, const tsr_no_alloc *section, tsr_error *error) {
  struct tsr_mutator_private *own = mutator->private_part;
  if (section == NULL || own->no_alloc != section) {
    return error_set(
        error, TSR_INVALID_ARGUMENT,
        "tsr_no_alloc_end: %p is not the innermost open section of the mutator; sections "
        "nest",
        (const void *)section);
  }
  own->no_alloc = section->outer;
  if (own->no_alloc == NULL) bump_put_back(mutator);
  return TSR_OK;
}

void no_alloc_check(const tsr_mutator *mutator, const char *what) {
  const tsr_no_alloc *section = mutator->private_part->no_alloc;
  if (TSR_LIKELY(section == NULL)) return;
  char sentence[256];
  snprintf(sentence, sizeof sentence, "%s in the no-allocation section that was begun at %.128s:%d",
           what, section->file, section->line);
  heap_misuse(mutator->heap, NULL, sentence);
}
