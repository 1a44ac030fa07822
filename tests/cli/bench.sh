#!/bin/sh
# The suites of consilium bench on sizes that take no time: every kernel of the project has a row
# with numbers.   ... .sh CONSILIUM WORK [CONSILIUM_CUDASIM]
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2 card=${3:-}
. "$here/harness.sh"
export OPENBLAS_NUM_THREADS=1

# operations HEADER LIST: the names that an operation list declares.
operations() {
    sed -n "/^#define $2(X)/,/^\$/s/^    X(\([a-z_]*\),.*/\1/p" \
        "$here/../../kernels/include/consilium/$1"
}

# A row for each operation, with a median above zero that is not below the least.
check_operations() {
    operations kernels_nn.h CSL_NN_OP_LIST | grep -v '^conv_destroy$' >names
    [ "$(wc -l <names)" -gt 30 ] || fail 'the header lists no operations'
    while read -r name; do
        awk -F, -v name="$name" '
            NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i }
            $1 == name && $column["min_ms"] > 0 && $column["median_ms"] >= $column["min_ms"] { n++ }
            END { exit n != 1 }' "$1" || fail "$1: no row of $name"
    done <names
}
small='--batch 2 --channels 8 --extent 5 --seconds 0.002 --peer none'
# shellcheck disable=SC2086 # words
expect 0 'x_floor' "$consilium" bench kernels $small --threads 1 --csv host.csv --json host.json
check_operations host.csv
grep -q '"suite": *"kernels"' host.json || fail 'host.json: no suite'
if [ -n "$card" ]; then
    # shellcheck disable=SC2086
    expect 0 'simulated: its times say nothing' "$card" bench kernels $small --threads 1 \
        --device cuda:0 --csv card.csv
    check_operations card.csv
fi
# shellcheck disable=SC2086
expect 0 'relu_forward' "$consilium" bench kernels $small --only relu_forward,fill
[ "$(grep -c -E '^(relu_forward|fill) ' printed.txt)" = 2 ] || fail '--only: not two rows'
[ "$(grep -c '^conv' printed.txt)" = 0 ] || fail '--only: other rows'
expect 1 'no-such-python did not start' "$consilium" bench kernels --only fill --batch 1 \
    --extent 4 --seconds 0.001 --peer no-such-python

# Single kernels of aggregation, as the help lists them.
"$consilium" bench aggregate --help >help.txt
list=$(sed -n '/^kernels:/,/^floor_ms/p' help.txt | sed '$d; s/^kernels://' | tr -d ' \n')
[ "$(echo "$list" | tr ',' '\n' | wc -l)" -gt 12 ] || fail "help lists few kernels: $list"
expect 0 'kernel:gather' "$consilium" bench aggregate --n 5 --d 9000 --repeats 2 --threads 1 \
    --rules "$(echo "kernel:$list" | sed 's/,/,kernel:/g')" --csv kernels.csv
for name in $(echo "$list" | tr ',' ' '); do
    grep -q "^kernel:$name,5,9000,1," kernels.csv || fail "kernels.csv: no row of $name"
done
expect 0 'cnn-small' "$consilium" bench train --model cnn-small --batch 4 --threads 1 \
    --seconds 0.05 --peer none --csv train.csv
