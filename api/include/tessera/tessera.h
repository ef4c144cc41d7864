/**
 * @file tessera.h
 * @brief Everything: include this one.
 *
 * Tessera is a garbage-collected heap that a language VM embeds. The order of use:
 *  1. describe objects and callbacks in a `tsr_binding` (binding.h, layout.h);
 *  2. tsr_heap_create() (heap.h), with options (options.h) or none;
 *  3. tsr_bind_mutator() in each VM thread (mutator.h);
 *  4. tsr_alloc(), write the header, tsr_post_alloc() (alloc.h); tsr_write() (barrier.h);
 *  5. keep references in roots (roots.h), reach tsr_safepoint() now and then (safepoint.h);
 *  6. tsr_unbind_mutator(), tsr_heap_destroy().
 */
#ifndef TESSERA_TESSERA_H
#define TESSERA_TESSERA_H

#include <tessera/alloc.h>
#include <tessera/barrier.h>
#include <tessera/binding.h>
#include <tessera/debug.h>
#include <tessera/destructor.h>
#include <tessera/fibre.h>
#include <tessera/finalize.h>
#include <tessera/fork.h>
#include <tessera/heap.h>
#include <tessera/heap_report.h>
#include <tessera/identity.h>
#include <tessera/layout.h>
#include <tessera/limits.h>
#include <tessera/low_memory.h>
#include <tessera/memory_request.h>
#include <tessera/mutator.h>
#include <tessera/options.h>
#include <tessera/reservation.h>
#include <tessera/roots.h>
#include <tessera/safepoint.h>
#include <tessera/types.h>
#include <tessera/weak.h>

#endif
