#!/bin/sh
# Installs a build into a fresh prefix: sh install.sh BUILD PREFIX
# The prefix is not the one that was configured, so what is installed has to be relocatable.
set -eu

rm -rf "$2"
cmake --install "$1" --prefix "$2"
