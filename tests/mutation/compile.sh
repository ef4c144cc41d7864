#!/bin/sh
# compile.sh COMPILER ARGUMENT...: compiles; the plans, which hold the tracing kernel many times over, in a hurry.
case " $*" in
*" "*/plans/*.c) exec "$@" -O0 ;;
esac
exec "$@"
