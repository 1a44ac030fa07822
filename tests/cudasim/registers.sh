#!/bin/sh
# registers.sh OBJECTS_DIRECTORY TABLE FILE.cu...: writes into TABLE the registers of every kernel for
# every architecture of this build, as ptxas reported them when the objects were compiled; fails on a
# spill and where a file's report is missing.
set -eu
objects=$1
table=$2
shift 2
printf 'file\tarchitecture\tregisters\tspilled bytes\tkernel\n' >"$table"
for file in "$@"; do
    log=$objects/$file.o.log
    [ -f "$log" ] || { echo "$file: expected what ptxas said in $log, found no file"; exit 1; }
    awk -v file="$(basename "$file")" '
        /Compiling entry function/ { split($0, part, "\047"); kernel = part[2]; architecture = part[4] }
        /spill stores/ { spilled = 0; for (i = 1; i < NF; i++) if ($(i + 2) == "spill") spilled += $i }
        /Used [0-9]+ registers/ {
            for (i = 1; i < NF; i++) if ($i == "Used") registers = $(i + 1)
            printf "%s\t%s\t%s\t%d\t%s\n", file, architecture, registers, spilled, kernel
        }' "$log" >>"$table"
done
awk -F'\t' '
    NR > 1 {
        kernels++
        if (!($2 in seen)) architectures = architectures " " $2
        seen[$2] = 1
        if ($4 > 0) { print "spills: " $0; bad = 1 }
        if ($3 + 0 > most) most = $3 + 0
    }
    END {
        print kernels + 0 " kernels for" architectures ", at most " most " registers, table in " FILENAME
        exit bad || !kernels
    }' "$table"
