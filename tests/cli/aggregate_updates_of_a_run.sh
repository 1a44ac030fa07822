#!/bin/sh
# The updates that a run keeps, aggregated again: the same selection.   ... .sh CONSILIUM WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2
. "$here/harness.sh"
expect 0 '' "$consilium" data synth phantom --out phantom.h5 --count 160 --sites 5 --seed 3
cat >study.yaml <<'END'
study: tiny
seed: 5
data: {path: phantom.h5, split: {scheme: natural, min_size: 1}}
institutions: {count: 5}
model: {name: cnn-small}
training: {lr: 0.05, batch: 16}
aggregation: {rule: krum, f: 1}
rounds: 2
output: {updates: all}
device: host
END
expect 0 'all together' "$consilium" run study.yaml --out run --quiet
# rows FILE LINE: the selection's rows, from verdict to reason
rows() {
    sed -n "$2p" "$1" | grep -o '"rows":\[.*\]' | head -n 1 | sed 's/\].*//'
}
for round in 1 2; do
    expect 0 'institution 4' "$consilium" aggregate run/updates/round-00000$round.h5 --rule krum \
        --f 1 --out aggregate.h5 --report report.json
    rows report.json 1 >again.txt
    grep "\"round\":$round,.*\"rows\"" run/rounds.jsonl >line.txt
    rows line.txt 1 >first.txt
    [ -s first.txt ] && grep -q kept first.txt || fail "rounds.jsonl has no selection of round $round"
    # numbers are written by two printers: compared by verdicts
    for file in first again; do
        grep -o '"verdict":"[a-z]*"' $file.txt >$file.verdicts
    done
    cmp first.verdicts again.verdicts || fail "round $round: another selection"
done
echo 'a run and its kept updates agree'
