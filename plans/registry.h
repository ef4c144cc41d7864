/*
 * The plans, and the choice among them.
 */
#ifndef PLANS_REGISTRY_H
#define PLANS_REGISTRY_H

#include "core/heap/plan.h"

/* Names of all plans; NULL after the last. */
const char *const *plan_names(void);

/* The plan called `name`, or, where that is empty, the best one that the binding allows. NULL with an
   error that lists the plans, or names the capability that does not fit. A plan that has a form without a nursery comes in that
   form where it is asked for, and where the binding allows no other. */
const struct plan *plan_choose(const tsr_binding *binding, const char *name, bool without_nursery,
                               tsr_error *error);

#endif
