/*
 * The registry: a line for each plan.
 */
#include "plans/registry.h"

#include <stdio.h>
#include <string.h>

#include "core/os/error.h"

#define PLANS(X)                                                                                   \
  X(nogc)                                                                                          \
  X(semispace)                                                                                     \
  X(markcompact)                                                                                   \
  X(quadcolor)

#define PLAN_DECLARE(name) extern const struct plan plan_##name;
PLANS(PLAN_DECLARE)

#define PLAN_POINTER(name) &plan_##name,
static const struct plan *const plan_registry[] = {PLANS(PLAN_POINTER)};
#define PLAN_COUNT      (sizeof plan_registry / sizeof plan_registry[0])

#define PLAN_NAME(name) #name,
static const char *const plan_name_list[] = {PLANS(PLAN_NAME) NULL};

const char *const *plan_names(void) {
  return plan_name_list;
}

/* ---- capabilities ---------------------------------------------------------------------------------------- */

typedef struct capability {
  uint32_t bit;
  const char *name;
} capability;

static const capability vm_does[] = {{TSR_DOES_WRITE_BARRIER, "TSR_DOES_WRITE_BARRIER"},
                                     {TSR_DOES_SAFEPOINTS, "TSR_DOES_SAFEPOINTS"},
                                     {TSR_DOES_UPDATABLE_SLOTS, "TSR_DOES_UPDATABLE_SLOTS"},
                                     {TSR_DOES_WEAK_LOADS, "TSR_DOES_WEAK_LOADS"},
                                     {0, NULL}};
static const capability vm_needs[] = {{TSR_NEEDS_NON_MOVING, "TSR_NEEDS_NON_MOVING"},
                                      {TSR_NEEDS_INTERIOR_POINTERS, "TSR_NEEDS_INTERIOR_POINTERS"},
                                      {TSR_NEEDS_AMBIGUOUS_ROOTS, "TSR_NEEDS_AMBIGUOUS_ROOTS"},
                                      {0, NULL}};

/* The first capability of the table that is wanted and not there; NULL: all are. */
static const char *capability_missing(const capability *table, uint32_t wanted, uint32_t there) {
  for (; table->name != NULL; table++) {
    if ((wanted & table->bit) != 0 && (there & table->bit) == 0) return table->name;
  }
  return NULL;
}

/* Whether plan and binding fit; says why they do not. */
static tsr_status plan_check(const struct plan *plan, const tsr_binding *binding,
                             tsr_error *error) {
  const char *lacking = capability_missing(vm_does, plan->requires, binding->does);
  if (lacking != NULL) {
    return error_set(error, TSR_MISMATCH,
                     "plan %s needs a VM that declares %s; the binding does not", plan->name,
                     lacking);
  }
  const char *unmet = capability_missing(vm_needs, binding->needs, plan->offers);
  if (unmet != NULL) {
    return error_set(error, TSR_MISMATCH,
                     "the binding declares %s, which plan %s cannot give in this version", unmet,
                     plan->name);
  }
  return TSR_OK;
}

/* The form of a plan that fits the binding. NULL, and why: none does. */
static const struct plan *plan_form(const struct plan *plan, const tsr_binding *binding,
                                    bool without_nursery, tsr_error *error) {
  const struct plan *other = plan->without_nursery;
  if (!without_nursery && plan_check(plan, binding, NULL) == TSR_OK) return plan;
  if (other != NULL && plan_check(other, binding, NULL) == TSR_OK) return other;
  return plan_check(plan, binding, error) == TSR_OK ? plan : NULL;
}

/* ---- choice ------------------------------------------------------------------------------------------------ */

static const struct plan *plan_unknown(const char *name, tsr_error *error) {
  char names[128] = "";
  for (size_t i = 0; i < PLAN_COUNT; i++) {
    size_t used = strlen(names);
    snprintf(names + used, sizeof names - used, "%s%s", i == 0 ? "" : ", ", plan_name_list[i]);
  }
  error_set(error, TSR_INVALID_ARGUMENT, "no plan is called \"%s\"; there are: %s", name, names);
  return NULL;
}

static const struct plan *plan_named(const tsr_binding *binding, const char *name,
                                     bool without_nursery, tsr_error *error) {
  for (size_t i = 0; i < PLAN_COUNT; i++) {
    const struct plan *plan = plan_registry[i];
    if (strcmp(plan->name, name) == 0) return plan_form(plan, binding, without_nursery, error);
  }
  return plan_unknown(name, error);
}

/* Says which need of the binding keeps every plan from serving it. */
static void plan_none_fits(const tsr_binding *binding, tsr_error *error) {
  uint32_t offered = 0;
  for (size_t i = 0; i < PLAN_COUNT; i++) {
    const struct plan *other = plan_registry[i]->without_nursery;
    offered |= plan_registry[i]->offers | (other != NULL ? other->offers : 0);
  }
  const char *unmet = capability_missing(vm_needs, binding->needs, offered);
  if (unmet == NULL) unmet = capability_missing(vm_needs, binding->needs, 0);
  error_set(error, TSR_MISMATCH,
            "the binding declares %s, which no plan of this version can give a VM that does what "
            "this one declares",
            unmet);
}

const struct plan *plan_choose(const tsr_binding *binding, const char *name, bool without_nursery,
                               tsr_error *error) {
  if (*name != '\0') return plan_named(binding, name, without_nursery, error);
  const struct plan *best = NULL;
  for (size_t i = 0; i < PLAN_COUNT; i++) {
    const struct plan *plan = plan_form(plan_registry[i], binding, without_nursery, NULL);
    if (plan == NULL) continue;
    if (best == NULL || plan->preference > best->preference) best = plan;
  }
  if (best == NULL) plan_none_fits(binding, error);
  return best;
}
