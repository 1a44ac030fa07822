#!/bin/sh
# The nightly depth: what takes too long for every change.
# usage: deep.sh BUILD_DIR   (a finished release build; run from the source folder)
set -eu
build=$1

echo "clang-tidy on every file"
tool=$(command -v clang-tidy-14 || command -v clang-tidy || true)
if [ -n "$tool" ]; then
    git ls-files '*.c' | grep -v '^tests/cudasim/' | xargs -P "$(nproc)" -n 4 "$tool" -p "$build" --quiet
else
    echo "SKIP: clang-tidy is not here"
fi

echo "memory leaks by valgrind over the unit tests"
if command -v valgrind >/dev/null; then
    for test in "$build"/tests/unit/unit_*; do
        [ -x "$test" ] && [ -f "$test" ] || continue
        OMP_NUM_THREADS=1 valgrind --quiet --leak-check=full --errors-for-leak-kinds=definite \
            --error-exitcode=9 "$test" >/dev/null || { echo "valgrind: $test"; exit 1; }
    done
else
    echo "SKIP: valgrind is not here"
fi

echo "twenty seeds of the property tests"
for seed in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    CSL_SEED=$seed CUDASIM_SEED=$seed ctest --test-dir "$build" -L property -j "$(nproc)" \
        --output-on-failure >/tmp/consilium-deep.log || { cat /tmp/consilium-deep.log; exit 1; }
done
