#!/bin/sh
# Installs what is missing, builds, and runs every test; ends with CTest's summary.
#
#   sh tests/run.sh [--no-install] [--deep]
#
#   --no-install  install nothing; tests whose tools are missing say SKIP and are counted
#   --deep        the nightly depth: long fuzzing, more schedules and seeds, clang-tidy on every file,
#                 valgrind, the thread sanitizer on all that runs under it, coverage
set -eu
cd "$(dirname "$0")/.."
no_install=0
deep=0
for argument in "$@"; do
    case $argument in
    --no-install) no_install=1 ;;
    --deep) deep=1 ;;
    --help) sed -n 2,8p "$0" | cut -c3-; exit 0 ;;
    *) echo "tests/run.sh: unknown option $argument; try --help" >&2; exit 2 ;;
    esac
done
. tests/packages.sh
# Ranks and threads share few cores here: waiting threads must sleep, not spin.
export OMP_WAIT_POLICY=passive
install_packages test

jobs=$(nproc)
mkdir -p build
if [ -z "${CSL_DATA:-}" ] && [ -d ../shared/data ]; then
    CSL_DATA=$(cd ../shared/data && pwd)
    export CSL_DATA
fi
[ -n "${CSL_DATA:-}" ] || echo "no medical data (CSL_DATA is not set): tests that need it say SKIP"

started=$(date +%s)
stage() {
    printf '\n== %s (after %d s)\n' "$1" $(($(date +%s) - started))
}

# build PRESET [TARGET]: a quiet build that shows its log only when it fails.
build() {
    log=build/$1.log
    { cmake --preset "$1" && cmake --build "build/$1" -j "$jobs" --target "${2:-all}"; } >"$log" 2>&1 || {
        tail -n 40 "$log"
        echo "the $1 build failed; the whole log is $log"
        exit 1
    }
    grep 'consilium: cuda' "$log" | head -n 1
}

# run_tests CTEST_ARGUMENTS...: runs CTest; its closing summary comes after a line that counts all
# tests so far. The outcomes of all runs gather in build/outcomes.
: >build/outcomes
run_tests() {
    echo 1 >build/ctest.code
    { ctest "$@" --output-on-failure --no-tests=error 2>&1 && echo 0 >build/ctest.code; } |
        awk -v outcomes=build/outcomes '
            /^ *[0-9]+\/[0-9]+ Test +#[0-9]+: / {
                print (/ Passed / ? "passed" : /Skipped|Disabled/ ? "skipped" : "failed") >>outcomes
            }
            /^[0-9]+% tests passed/ {
                close(outcomes)
                while ((getline outcome <outcomes) > 0) count[outcome]++
                printf "of all tests so far: %d passed, %d skipped, %d failed\n\n",
                    count["passed"], count["skipped"], count["failed"]
            }
            { print; fflush() }'
    return "$(cat build/ctest.code)"
}

stage "build with the address and undefined-behaviour sanitizers"
build asan consilium_library_tests
stage "unit, property and parity tests under them"
export LSAN_OPTIONS="suppressions=$PWD/tests/support/leaks.supp"
run_tests --test-dir build/asan -j "$jobs" -L 'unit|property|parity|fuzz'
unset LSAN_OPTIONS

stage "build with the thread sanitizer: the tests of our own threads"
build tsan unit_model_train_test
stage "tests of our own threads under it (OpenMP's library is not instrumented: one thread)"
(
    export OMP_NUM_THREADS=1 TSAN_OPTIONS=halt_on_error=1
    run_tests --test-dir build/tsan -R unit/model_train_test
)

stage "build for release"
build release
[ "$deep" = 0 ] || { stage "the nightly depth" && sh tests/deep.sh build/release build/asan; }
# Programs and ranks wait more than they work: twice as many as cores. Parsers were fuzzed above,
# where more mistakes show.
stage "all tests"
run_tests --test-dir build/release -j $((2 * jobs)) -LE fuzz
