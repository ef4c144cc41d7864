/*
 * Company: more mutators in a heap under test, on threads of their own, for as long as the heap
 * lives. With TESSERA_TEST_MUTATORS=8 each heap that testvm starts gets seven of them, so that every
 * test is also one with many mutators.
 *
 * Company may not change what a test sees. Its objects carry a mark in their headers, which
 * vm_enumerate() leaves out. What it takes is bounded: SHARE_BYTES a member between two
 * collections, which under a plan that never collects is all that it ever takes. In a calm heap,
 * where a test may count collections, it never causes one. It calls neither out_of_memory nor
 * report_error, apart from the former where a brisk heap is full.
 *
 * Not every heap can have company, see company_fits(); and a test that counts mutators or bytes, or
 * that fills its heap to the brim, declares itself alone with vm_alone().
 *
 * Ballast comes with and without other mutators: some objects at the very bottom of the heap, of which
 * one goes after most collections. Where survivors slide down, they have to have room to slide into,
 * else nothing moves, and a test of what is updated tests nothing. It is marked like company's objects.
 */
#ifndef CONFORMANCE_COMPANY_H
#define CONFORMANCE_COMPANY_H

#include "testvm.h"

#define COMPANY_FAILURE_BYTES 384

typedef struct company company;

/* Lays ballast into a new heap, if the plan collects and the heap's objects are ones that company can deal with. */
void company_lay_ballast(testvm *vm);
/* A collection has ended, the world is still stopped: the next piece may go. */
void company_drop_ballast(testvm *vm);

/* Whether the heap's objects and threads are ones that company can deal with. */
bool company_fits(const testvm *vm);
/* Starts the members, and waits until each has been through a round; `brisk`: they may collect. */
company *company_begin(testvm *vm, unsigned members, bool brisk);
/* Ends and frees it; the calling thread is in native code. `failure`, of COMPANY_FAILURE_BYTES, receives
   what went wrong, or nothing. */
void company_end(company *c, char *failure);
/* Whether company allocated the object; of heaps that had company only. */
bool company_owns(tsr_ref object);

#endif
