/*
 * The write barriers that plans choose from.
 */
#ifndef BARRIERS_BARRIERS_H
#define BARRIERS_BARRIERS_H

#include "core/heap/plan.h"

/* Arms nothing: for plans that trace everything at each collection, or never collect. */
extern const struct barrier barrier_none;
/* Arms what is old: for plans with a young generation, or that mark in steps. */
extern const struct barrier barrier_quadcolor;

/* Whether a store is refused, and reported, since the object is sealed. */
bool barrier_refuses(tsr_mutator *mutator, tsr_ref object);

#endif
