#!/bin/sh
# The nightly depth: what takes too long for every change. Everything runs, also after a failure;
# the exit code says whether all of it passed.
# usage: deep.sh RELEASE_BUILD_DIR ASAN_BUILD_DIR [PART]...
# (finished builds; run from the source folder). Parts are fuzz, tidy, valgrind, seeds, schedules,
# threads and coverage; none means all.
#
# CSL_DEEP_SECONDS (300): how long each parser is fuzzed. CSL_DEEP_SEEDS (20): how many seeds the
# property tests and how many schedules the simulated card runs.
set -eu
release=$1
asan=$2
shift 2
parts=${*:-fuzz tidy valgrind seeds schedules threads coverage}
seconds=${CSL_DEEP_SECONDS:-300}
seeds=${CSL_DEEP_SEEDS:-20}
jobs=$(nproc)
log=$release/deep.log
failed=

# part NAME COMMAND...: says when it begins, how it ended and how long it took; the output, which
# grows in $log, is shown only if it fails.
part() {
    name=$1
    shift
    began=$(date +%s)
    printf '%s %s: ' "$(date +%H:%M)" "$name"
    if "$@" >"$log" 2>&1; then
        echo "passed, $(($(date +%s) - began)) s"
    else
        echo "FAILED, $(($(date +%s) - began)) s"
        tail -n 60 "$log"
        failed="$failed; $name"
    fi
}

fuzz_long() {
    for corpus in tests/fuzz/corpus/*/; do
        basename "$corpus"
    done | LSAN_OPTIONS=suppressions=tests/support/leaks.supp xargs -P "$jobs" -I '{}' \
        sh -c '"$0/tests/fuzz/fuzz_$1_fuzz" "tests/fuzz/corpus/$1" "$2" || { echo "$1"; exit 1; }' \
        "$asan" '{}' "$seconds"
}

tidy_all() {
    git ls-files '*.c' | grep -Ev '^tests/(cudasim|install)/' |
        xargs -P "$jobs" -n 4 "$tool" -p "$release" --quiet
}

# oneDNN's AVX2 code for products, made at run time, reads vectors past the end of its own blocks,
# and no suppression can name it; its SSE4.1 code does not.
valgrind_all() {
    for test in "$release"/tests/unit/unit_*; do
        [ -x "$test" ] && [ -f "$test" ] || continue
        code=0
        DNNL_MAX_CPU_ISA=SSE41 OMP_NUM_THREADS=1 valgrind --quiet --leak-check=full \
            --errors-for-leak-kinds=definite --suppressions=tests/support/valgrind.supp \
            --error-exitcode=9 "$test" || code=$?
        [ "$code" = 0 ] || [ "$code" = 77 ] || { echo "valgrind: $test"; return 1; }
    done
}

seeds_all() {
    for seed in $(seq "$seeds"); do
        CSL_SEED=$seed ctest --test-dir "$release" -L property -j "$jobs" --output-on-failure ||
            return 1
    done
}

schedules_all() {
    for seed in $(seq 4 $((seeds + 3))); do # 1, 2 and 3 are the ones of every change
        for test in "$release"/tests/parity/cudasim_*_test; do
            echo "CUDASIM_SEED=$seed $test"
            CUDASIM_SEED=$seed OPENBLAS_NUM_THREADS=1 "$test" || return 1
        done
    done
}

# Our own threads, and every .cu file under cudasim.
threads_all() {
    cmake --preset tsan && cmake --build build/tsan -j "$jobs" &&
        ctest --test-dir build/tsan -L 'unit|property|parity|cudasim' -E '/training_test' -j "$jobs" \
            --output-on-failure --no-tests=error
}

coverage_all() {
    cmake --preset coverage && cmake --build build/coverage -j "$jobs" &&
        find build/coverage -name '*.gcda' -delete &&
        ctest --test-dir build/coverage -L 'unit|property|parity|cli|mpi' -j "$jobs" \
            --output-on-failure --no-tests=error && sh tests/coverage.sh build/coverage
}

for part in $parts; do
    case $part in
    fuzz) part "fuzzing of every parser under the address sanitizer, $seconds s each" fuzz_long ;;
    tidy)
        tool=$(command -v clang-tidy-14 || command -v clang-tidy || true)
        [ -n "$tool" ] || { echo "SKIP: clang-tidy is not here"; continue; }
        part "clang-tidy on every file" tidy_all
        ;;
    valgrind)
        command -v valgrind >/dev/null || { echo "SKIP: valgrind is not here"; continue; }
        part "memory leaks by valgrind over the unit tests" valgrind_all
        ;;
    seeds) part "$seeds seeds of the property tests" seeds_all ;;
    schedules) part "$seeds more schedules of the simulated card" schedules_all ;;
    threads) part "thread sanitizer over threads and CUDA kernels" threads_all ;;
    coverage)
        part "coverage of the host tests" coverage_all
        tail -n 6 "$log"
        ;;
    *) echo "tests/deep.sh: unknown part $part" >&2; exit 2 ;;
    esac
done
[ -z "$failed" ] || { echo "failed${failed}"; exit 1; }
