#!/bin/sh
# Installs into a fresh prefix, then builds and runs a foreign program against it, by CMake package
# and by pkg-config, and runs the installed program.
# usage: install.sh SOURCE_DIR BUILD_DIR
set -eu
source=$1
build=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$build" --prefix "$work/prefix" >"$work/log" || { cat "$work/log"; exit 1; }
"$work/prefix/bin/consilium" --version
cmake -S "$source/tests/install/consumer" -B "$work/consumer" -DCMAKE_PREFIX_PATH="$work/prefix" >"$work/log" 2>&1 &&
    cmake --build "$work/consumer" >>"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
"$work/consumer/consumer"
PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name consilium.pc)")
export PKG_CONFIG_PATH
# shellcheck disable=SC2046 # the flags are words
cc "$source/tests/install/consumer/consumer.c" -o "$work/by_pkg_config" \
    $(pkg-config --cflags --libs --static consilium)
"$work/by_pkg_config"
# shellcheck disable=SC2046
cc "$source/docs/examples/aggregate.c" -o "$work/example" \
    $(pkg-config --cflags --libs --static consilium)
"$work/example" | grep -q 'dropped 5'
for study in "$work"/prefix/share/consilium/studies/*.yaml; do
    [ -s "$study" ] || { echo "no study was installed"; exit 1; }
done
