#!/bin/sh
# registers_self_test.sh KEEP_MESSAGES: the script registers.sh passes a kernel that fits, and fails on
# one that spills and on a file without a report.
set -eu
keep_messages=$1
here=$(dirname "$0")
PATH=$PATH:/usr/local/cuda/bin
command -v nvcc >/dev/null || { echo "SKIP: nvcc is not here"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/fits.cu" <<'END'
extern "C" __global__ void fits(float *x) { x[threadIdx.x] = 1.0f; }
END
# 64 live values in the 32 registers that 2048 threads of a multiprocessor leave to each.
cat >"$work/spills.cu" <<'END'
extern "C" __global__ void __launch_bounds__(1024, 2) spills(float *x, int n)
{
    float a[64];
#pragma unroll
    for (int i = 0; i < 64; i++) { a[i] = x[i * n + threadIdx.x]; }
    for (int k = 0; k < n; k++) {
#pragma unroll
        for (int i = 0; i < 64; i++) { a[i] = a[i] * a[(i + 7) % 64] + x[k + i]; }
    }
#pragma unroll
    for (int i = 0; i < 64; i++) { x[i * n + threadIdx.x] = a[i]; }
}
END
for file in fits spills; do
    sh "$keep_messages" nvcc -Werror all-warnings -Xptxas=-v -gencode arch=compute_90,code=sm_90 \
        -c "$work/$file.cu" -o "$work/$file.cu.o"
done
sh "$here/registers.sh" "$work" "$work/table" fits.cu
grep -q "^fits.cu	sm_90	[1-9][0-9]*	0	fits$" "$work/table"
for files in "fits.cu spills.cu" "fits.cu missing.cu"; do
    # shellcheck disable=SC2086 # the list is words
    if sh "$here/registers.sh" "$work" "$work/table" $files; then
        echo "registers.sh passed $files"
        exit 1
    fi
done
# The compiler's own failure comes through.
echo 'not C++' >"$work/broken.cu"
if sh "$keep_messages" nvcc -c "$work/broken.cu" -o "$work/broken.cu.o" >"$work/said" 2>&1; then
    echo "keep_messages.sh hid a failure"
    exit 1
fi
grep -q error "$work/said"
