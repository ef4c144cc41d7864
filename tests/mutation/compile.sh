#!/bin/sh
# compile.sh COMPILER ARGUMENT...: compiles; the plans, which hold the tracing kernel many times over, in a hurry: by Clang if
# it is there, which takes a third of the time, but with a sanitizer by the compiler whose it is.
case " $*" in
*" "*/plans/*.c) ;;
*) exec "$@" ;;
esac
case " $*" in
*" -fsanitize="*) exec "$@" -O0 ;;
esac
if command -v clang >/dev/null; then
  shift
  exec clang "$@" -O0
fi
exec "$@" -O0
