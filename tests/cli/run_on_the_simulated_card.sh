#!/bin/sh
# The whole program on cuda:0, the card being simulated, beside the same study on the host: scores
# agree within rounding.   ... .sh CONSILIUM_CUDASIM WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2
. "$here/harness.sh"
export OPENBLAS_NUM_THREADS=1

expect 0 '' "$consilium" data synth phantom --out phantom.h5 --count 60 --sites 2 --size 16 --seed 3
cat >study.yaml <<'END'
study: card
seed: 5
data: {path: phantom.h5, split: {scheme: natural, min_size: 1}}
institutions: {count: 2}
model: {name: own, layers: [{kind: conv, channels: 4, stride: 2, padding: 1},
  {kind: group-norm, groups: 2}, {kind: relu}, {kind: max-pool, size: 2, stride: 2},
  {kind: linear, channels: 2}]}
training: {lr: 0.02, batch: 8}
rounds: 2
evaluation: {every_rounds: 1, batch: 16}
END
expect 0 'cuda' "$consilium" info
expect 0 'all together' "$consilium" run study.yaml --out card --quiet --set device=cuda:0
grep -q '"device":"cuda:0' card/rounds.jsonl || fail 'the run was not on the card'
expect 0 'all together' "$consilium" run study.yaml --out host --quiet --set device=host

# Columns 3 (train loss), 4 (validation loss) and 9 (test loss) of every round.
cut -d, -f1,3,4,9 card/metrics.csv >card.csv
cut -d, -f1,3,4,9 host/metrics.csv >host.csv
paste -d, card.csv host.csv | awk -F, '
    NR > 1 { for (i = 2; i <= 4; i++) { difference = $i - $(i + 4)
             if (difference > 1e-3 || difference < -1e-3) { print; failed = 1 } } }
    END { exit failed || NR != 4 }' || fail 'card and host disagree by more than 0.001'
[ "$(sed -n 2p card.csv)" != "$(sed -n 4p card.csv)" ] || fail 'nothing was learnt'
# Twice the same study on the card gives the same bits.
expect 0 'all together' "$consilium" run study.yaml --out twice --quiet --set device=cuda:0
cmp card/model-last.h5 twice/model-last.h5 || fail 'the card does not repeat itself'
expect 1 'cuda:7' "$consilium" run study.yaml --out none --set device=cuda:7
echo 'the simulated card runs a study'
