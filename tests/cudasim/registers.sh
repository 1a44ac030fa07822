#!/bin/sh
# registers.sh KERNELS_DIRECTORY TABLE: compiles every .cu file for the shipped architectures and
# writes each kernel's registers into TABLE; fails on a warning and on a spill.
set -eu
kernels=$1
table=$2
PATH=$PATH:/usr/local/cuda/bin
command -v nvcc >/dev/null || { echo "SKIP: nvcc is not here"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf 'file\tarchitecture\tregisters\tspilled bytes\tkernel\n' >"$table"
for file in "$kernels"/device/*.cu "$kernels"/nn/*.cu "$kernels"/robust/*.cu; do
    [ -f "$file" ] || continue
    nvcc -std=c++17 -O3 --fmad=false -Werror all-warnings -Xptxas=-v -DCSL_HAVE_CUDA=1 \
        -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90 \
        -gencode arch=compute_100,code=sm_100 \
        -I "$kernels" -I "$kernels/include" -I "$kernels/nn" -I "$kernels/robust" \
        -c -o "$work/object.o" "$file" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
    awk -v file="$(basename "$file")" '
        /Compiling entry function/ { split($0, part, "\047"); kernel = part[2]; architecture = part[4] }
        /spill stores/ { spilled = 0; for (i = 1; i < NF; i++) if ($(i + 2) == "spill") spilled += $i }
        /Used [0-9]+ registers/ {
            for (i = 1; i < NF; i++) if ($i == "Used") registers = $(i + 1)
            printf "%s\t%s\t%s\t%d\t%s\n", file, architecture, registers, spilled, kernel
        }' "$work/log" >>"$table"
done
awk -F'\t' 'NR > 1 { kernels++; if ($4 > 0) { print "spills: " $0; bad = 1 }; if ($3 > most) most = $3 }
    END { print kernels " kernels, at most " most " registers, table in " FILENAME; exit bad || !kernels }' "$table"
