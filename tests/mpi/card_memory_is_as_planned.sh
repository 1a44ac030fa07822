#!/bin/sh
# What --plan says a run takes of a card, against a simulated one that has so much and no more: the
# run fits into it, and does not fit into 3 % less.   ... .sh CONSILIUM_CUDASIM WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2
. "$here/../cli/harness.sh"
export OPENBLAS_NUM_THREADS=1

expect 0 '' "$consilium" data synth phantom --out phantom.h5 --count 90 --sites 3 --size 28 --seed 3
cat >study.yaml <<'END'
study: card
seed: 5
data: {path: phantom.h5, split: {scheme: natural, min_size: 1}}
institutions: {count: 3}
model: {name: own, layers: [{kind: conv, channels: 8, stride: 2, padding: 1},
  {kind: relu}, {kind: conv, channels: 128, size: 3, stride: 2}, {kind: relu},
  {kind: conv, channels: 256, size: 3, stride: 3, padding: 1}, {kind: relu},
  {kind: linear, channels: 512}, {kind: relu}, {kind: linear, channels: 2}]}
training: {lr: 0.001, batch: 8, local_steps: 1}
rounds: 2
evaluation: {every_rounds: 2, batch: 16, cross_site: false}
device: cuda:0
END

# holds NAME ARGUMENTS...
holds() {
    name=$1
    shift
    expect 0 'on cards' "$consilium" run study.yaml --plan "$@"
    planned=$(awk '$1 == "0" { u = $(NF - 2) == "GiB" ? 1024 : $(NF - 2) == "KiB" ? 1 / 1024 : 1
                               print $(NF - 3) * u }' printed.txt)
    echo "$name: planned $planned MiB of the card"
    for part in 0.97 1.004; do
        CUDASIM_MEMORY=$(awk -v planned="$planned" -v part=$part \
            'BEGIN { printf "%d", planned * part * 1048576 + (part > 1) * 65536 }')
        export CUDASIM_MEMORY
        if [ $part = 0.97 ]; then
            expect 1 'memory' "$consilium" run study.yaml --out "$name-less" --quiet "$@"
        else
            expect 0 'all together' "$consilium" run study.yaml --out "$name" --quiet "$@"
        fi
    done
    unset CUDASIM_MEMORY
}
holds plain
# Columns of evaluated images, and of those of training, beyond the least scratch memory.
holds evaluation --set evaluation.batch=96
holds training --set training.batch=64
holds staged --transport messages
holds adamw --set training.optimizer=adamw
holds proximal --set federation.algorithm=fedprox
holds scaffold --set federation.algorithm=scaffold
holds centre --set aggregation.rule=centered-clipping --set aggregation.f=1
holds history --set aggregation.rule=foolsgold --set aggregation.f=1
echo 'the card is as planned'
