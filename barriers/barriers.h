/*
 * The write barriers that plans choose from.
 */
#ifndef BARRIERS_BARRIERS_H
#define BARRIERS_BARRIERS_H

#include "core/heap/plan.h"

/* Arms nothing: for plans that trace everything at each collection, or never collect. */
extern const struct barrier barrier_none;

#endif
