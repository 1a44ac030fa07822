#!/bin/sh
# A round beside its training, against reading and writing its bytes once. docs/PERFORMANCE.md has
# the ratio for 11 M parameters on a quiet machine (bound: 2); this one only catches a copy too many,
# so it is wide, and the best of three tries counts on a machine that others use.
#   ... .sh CONSILIUM WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2
. "$here/../cli/harness.sh"

for try in 1 2 3; do
    expect 0 'whole round' mpirun -n 2 "$consilium" bench comm --institutions 8 \
        --parameters 3000000 --repetitions 5 --csv comm.csv
    ratio=$(awk -F, '$1 == "whole round" { print $NF }' comm.csv)
    echo "try $try: $ratio times the floor"
    awk -v ratio="$ratio" 'BEGIN { exit !(ratio + 0 > 0 && ratio + 0 <= 5) }' && exit 0
done
fail "a round costs $ratio times reading and writing its bytes once, expected at most 5"
