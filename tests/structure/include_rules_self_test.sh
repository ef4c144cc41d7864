#!/bin/sh
# Shows that include_rules.sh finds what it should: sh include_rules_self_test.sh WORK_DIRECTORY
#
# Each planted include is put alone into a small tree that is otherwise clean; the checker must name
# its file and line. Lawful includes must pass.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
tree=$1/include_rules
checker=$here/include_rules.sh
failures=0
. "$here/planted.sh"

plant() { # FILE INCLUDE
  rm -rf "$tree"
  mkdir -p "$tree/core/heap" "$tree/$(dirname "$1")"
  printf '#include "core/os/memory.h"\n' >"$tree/core/heap/clean.c"
  printf '/* planted */\n#include %s\n' "$2" >"$tree/$1"
}

must_find api/include/tessera/a.h '"core/heap/heap.h"'
must_find api/include/tessera/a.h '<atomic_ops.h>'
must_find core/heap/a.c '"plans/registry.h"'
must_find core/heap/a.c '"barriers/object.h"'
must_find core/collect/a.c '"api/src/internal.h"'
must_find core/os/a.c '"core/memory/provider.h"'
must_find core/memory/a.h '"core/heap/heap.h"'
must_find core/heap/a.c '"core/object/layout.h"'
must_find core/object/a.c '"core/space/copy.h"'
must_find core/space/a.c '"core/alloc/bump.h"'
must_find core/alloc/a.c '"core/trace/trace.h"'
must_find core/trace/a.c '"core/collect/safepoint.h"'
must_find core/trace/a.c '"core/report/log.h"'
must_find core/report/a.c '"core/trace/trace.h"'
must_find core/heap/a.c '"core/task/task.h"'
must_find core/heap/a.c '"heap.h"'
must_find core/heap/a.c '"../os/memory.h"'
must_find core/heap/a.c '<pthread.h>'
must_find core/trace/a.c '<stdatomic.h>'
must_find core/heap/a.c '"tessera/types.h"'
must_find barriers/a.c '"plans/registry.h"'
must_find examples/scheme/a.c '"core/heap/heap.h"'
must_find examples/scheme/a.c '"../../core/heap/heap.h"'
must_find bench/a.c '"../plans/registry.h"'
must_find tests/conformance/a.c '"core/heap/heap.h"'
must_find tests/conformance/a.c '<core/heap/heap.h>'
must_find tests/conformance/a.c '"api/include/tessera/heap.h"'

must_pass api/include/tessera/a.h '<tessera/types.h>'
must_pass api/include/tessera/a.h '<stdint.h>'
must_pass api/src/a.c '"core/collect/collect.h"'
must_pass api/src/a.c '"plans/registry.h"'
must_pass core/os/a.c '<pthread.h>'
must_pass core/collect/a.c '"core/os/thread.h"'
must_pass core/collect/a.c '"core/report/log.h"'
must_pass core/report/a.c '"core/heap/heap.h"'
must_pass core/heap/a.c '<tessera/types.h>'
must_pass plans/a.c '"core/trace/kernel.h"'
must_pass examples/scheme/a.c '"scheme.h"'
must_pass tests/conformance/a.c '"../support/harness.h"'
must_pass tests/unit/a.c '"core/heap/heap.h"'

rm -rf "$tree"
[ "$failures" -eq 0 ] || { echo "$failures failures"; exit 1; }
