#!/bin/sh
# F55: a container of 64 MiB: sh cgroup.sh BINARY PLAN
# Runs the interpreter in a control group (version 1 or 2) that may use 64 MiB, with no option but the
# plan. GCBench, whose live data fits, must finish under a plan that collects; and live data beyond all
# limits must end in an error, and not by the system's hand. Skips, with the reason, where no such group
# can be made: that takes root, and the memory controller. No group that was there before is changed.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
binary=$1 plan=$2
limit=$((64 << 20))

skip() {
  echo "skipped: $*"
  exit 77
}

# ---- the group ----

# first DIRECTORY...: the first that exists.
first() {
  for directory; do
    [ ! -d "$directory" ] || { echo "$directory"; return; }
  done
}

# line KEY: the group of the hierarchy that /proc/self/cgroup names so.
line() {
  sed -n "s|^[0-9]*:$1:||p" /proc/self/cgroup | head -n 1
}

[ -r /proc/self/cgroup ] || skip "this system has no control groups"
[ "$(id -u)" -eq 0 ] || skip "only root may make control groups"
mount=/sys/fs/cgroup
if [ -f "$mount/cgroup.controllers" ]; then
  # A group with processes in it may not have groups below it that are limited; the root may.
  maximum=memory.max peak=memory.peak swap=memory.swap.max swap_limit=0
  parent=$mount
  grep -qw memory "$mount/cgroup.subtree_control" ||
    skip "$mount/cgroup.subtree_control does not list the memory controller"
else
  maximum=memory.limit_in_bytes peak=memory.max_usage_in_bytes
  swap=memory.memsw.limit_in_bytes swap_limit=$limit
  parent=$(first "$mount/memory$(line memory)" "$mount/memory")
  [ -f "$parent/$maximum" ] || skip "the memory controller is not mounted at $mount"
fi
group=$parent/tessera-test-$$
mkdir "$group" 2>"$work/refused" || skip "no group can be made: $(cat "$work/refused")"
trap 'rmdir "$group"; rm -rf "$work"' EXIT
echo "$limit" >"$group/$maximum" || skip "no limit can be set in $group"
[ ! -f "$group/$swap" ] || echo "$swap_limit" >"$group/$swap" || skip "no limit of swap can be set"

# in_group PROGRAM: what it prints in `got`, its statistics in `stats`.
in_group() {
  status=0
  TESSERA_PLAN=$plan TESSERA_STATS=$work/stats sh -c \
    'echo $$ >"$0" && exec "$@"' "$group/cgroup.procs" "$binary" "$1" >"$work/got" 2>&1 || status=$?
  [ "$status" -ne 137 ] || fail "$plan: $1 was killed"
  [ "$(figure heap_max_bytes "$work/stats")" -eq $((limit / 8 * 7)) ] ||
    fail "$plan: heap_max is $(figure heap_max_bytes "$work/stats")"
  committed=$(figure peak_committed_bytes "$work/stats")
  [ "$committed" -lt "$limit" ] || fail "$plan: $1 committed $committed bytes"
}

# ends_without_memory PROGRAM
ends_without_memory() {
  [ "$status" -eq 1 ] && grep -q "out of memory" "$work/got" ||
    fail "$plan: $1: status $status, $(tail -n 1 "$work/got")"
}

# ---- what fits ----

in_group "$programs/gcbench.scm"
if [ "$(figure collections "$work/stats")" -gt 0 ]; then
  [ "$status" -eq 0 ] || fail "$plan: gcbench: status $status, $(tail -n 1 "$work/got")"
  same "$here/expected/gcbench.txt" "$work/got" "$plan: gcbench prints something else"
else
  ends_without_memory gcbench
fi
echo "$plan: gcbench committed $((committed >> 10)) KiB of $((limit >> 10)) KiB"
[ ! -f "$group/$peak" ] || echo "$plan: the group used $(($(cat "$group/$peak") >> 10)) KiB"

# ---- what does not ----

echo '(define kept (quote ()))
(define (fill) (set! kept (cons (make-vector 100 0) kept)) (fill))
(fill)' >"$work/fill.scm"
in_group "$work/fill.scm"
ends_without_memory fill
echo "$plan: live data without end committed $((committed >> 10)) KiB"
