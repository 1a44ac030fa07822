#!/bin/sh
# A round beside its training costs at most twice the reading and writing of its bytes once. The best
# of several tries counts on a machine that others use, whose disk and memory are slow at times.
#   ... .sh CONSILIUM WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2
. "$here/../cli/harness.sh"

for try in 1 2 3 4 5; do
    expect 0 'whole round' mpirun -n 2 "$consilium" bench comm --institutions 8 \
        --parameters 11000000 --repetitions 5 --csv comm.csv
    ratio=$(awk -F, '$1 == "whole round" { print $NF }' comm.csv)
    echo "try $try: $ratio times the floor"
    awk -v ratio="$ratio" 'BEGIN { exit !(ratio + 0 > 0 && ratio + 0 <= 2) }' && exit 0
done
fail "a round costs $ratio times reading and writing its bytes once, expected at most 2"
