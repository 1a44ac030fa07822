#!/bin/sh
# Hostile institutions: what a study with a rule and an attack prints, writes and refuses, and the
# grid of attacks and rules.
#   hostile_institutions.sh CONSILIUM WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2
. "$here/harness.sh"

expect 0 '' "$consilium" data synth phantom --out phantom.h5 --count 200 --sites 6 --seed 3
cat >study.yaml <<END
study: hostile
seed: 5
rounds: 2
data: {path: phantom.h5, split: {scheme: natural, min_size: 1}}
institutions: {count: 6}
model: {name: cnn-small}
training: {lr: 0.05, batch: 16}
evaluation: {cross_site: false}
aggregation: {rule: multi-krum, f: 1}
adversary: {attack: gaussian, institutions: [4], deviation: 5}
device: host
END

# Noise is seen through, in words and in the record of each round.
expect 0 'Hostile institutions: 4, from round 1, with attack gaussian.' \
    "$consilium" run study.yaml --out seen --quiet -v
grep -qF 'Aggregation: multi-krum against f = 1 false updates.' printed.txt || fail 'no rule named'
[ "$(grep -c 'multi-krum, f = 1; kept .*; dropped .* 4' printed.txt)" = 2 ] ||
    fail 'expected institution 4 among the dropped in both rounds'
grep -qF 'The rule left out 2 of 2 hostile updates' printed.txt || fail 'no outcome'
[ "$(grep -c '"attack":"gaussian","attackers":\[4\].*"aggregation":{"rule":"multi-krum"' \
    seen/rounds.jsonl)" = 2 ] || fail 'rounds.jsonl lacks the attack or the selection'
grep -q '"event":"end".*"selection_accuracy":0\.' seen/rounds.jsonl || fail 'no accuracy at the end'

# The attack begins when it is told to, and honest rounds before it are those of an honest study.
expect 0 'from round 2' "$consilium" run study.yaml --out late --quiet --set adversary.from_round=2
expect 0 'names 1 hostile institution and no attack, so all are honest' "$consilium" run study.yaml \
    --out honest --set adversary.attack=none
expect 0 '' "$consilium" run study.yaml --out early --quiet --set aggregation.rule=median
second_line() { sed -n 3p "$1/metrics.csv" | cut -d, -f3-5; }
[ "$(second_line late)" = "$(second_line honest)" ] || fail 'an attack before its round'
[ "$(second_line early)" != "$(second_line honest)" ] || fail 'another rule made no difference'
grep '"round":1' late/rounds.jsonl | grep -q attackers && fail 'attackers in an honest round'

# Values that are not finite are refused and counted against f; more than f of them end the run.
expect 0 'The rule left out 2 of 2 hostile updates and 0 of 10 honest ones (selection accuracy 1' \
    "$consilium" run study.yaml --out nan --quiet --set adversary.attack=nan \
    --set adversary.deviation=auto --set aggregation.rule=geometric-median
grep -qF 'Hostile updates made up 0.000 of the aggregate' printed.txt || fail 'a refused row weighs'
grep -q '"verdict":"refused".*values are not finite' nan/rounds.jsonl || fail 'no reason given'
expect 1 '2 of 6 updates' "$consilium" run study.yaml --out refused --quiet \
    --set adversary.attack=nan --set adversary.deviation=auto \
    --set adversary.institutions='[1, 4]'

# A plain mean follows a reversed update until training fails, and says at which institution and why.
expect 1 'loss is not finite' "$consilium" run study.yaml --out diverged --quiet \
    --set aggregation.rule=mean --set aggregation.f=0 --set adversary.attack=scaling \
    --set adversary.deviation=auto --set adversary.factor=1e15 --set evaluation.every_rounds=0

# A rule that trusts nobody stands still, and says in which round.
expect 0 'warn: run: round 2: signguard trusted none of the 6 updates, so the aggregate is zero' \
    "$consilium" run study.yaml --out still --set aggregation.rule=signguard \
    --set aggregation.low=1 --set aggregation.high=1
[ "$(grep -c '"empty":true' still/rounds.jsonl)" = 2 ] || fail 'rounds.jsonl does not say empty'

# A backdoor is measured, under a rule that cannot see it.
expect 0 'taken for class 1 (success rate ' "$consilium" run study.yaml --out backdoor --quiet \
    --set adversary.attack=none --set adversary.deviation=auto --set adversary.data=backdoor \
    --set adversary.target_class=1 --set aggregation.rule=median
[ "$(grep -c '"backdoor_success":[01]' backdoor/rounds.jsonl)" = 4 ] ||
    fail 'expected the success of the backdoor before, after each of 2 rounds, and at the end'

# What cannot work is refused and leaves no results.
expect 2 'f = 2 is too large for 6 rows' "$consilium" run study.yaml --out bad --set aggregation.f=2
expect 2 "did you mean 'gaussian'" "$consilium" run study.yaml --out bad \
    --set adversary.attack=gausian
for key in target source; do # also where the attack begins in a late round
    expect 1 "expected a $key class below 2 for the attack, found 7" "$consilium" run study.yaml \
        --out bad --set adversary.data=label-pair --set adversary.attack=none \
        --set adversary.deviation=auto --set adversary.from_round=2 --set adversary.${key}_class=7
done
expect 1 'found 7' "$consilium" run study.yaml --out bad --set adversary.data=backdoor \
    --set adversary.from_round=2 --set adversary.target_class=7
[ ! -e bad/study.yaml ] || fail 'a run that could not start left results'

# The grid: every attack by every rule; a second time nothing is trained again.
grid() {
    expect 0 "$1" "$consilium" bench attacks --study study.yaml --set rounds=1 --csv grid.csv \
        --rules mean,bulyan:even=1,nnm+multi-krum --attacks none,gaussian:deviation=5,backdoor+nan
}
grid 'Test AUC of the last global model:'
[ "$(wc -l <grid.csv)" = 7 ] || fail 'expected a heading and 6 cells in grid.csv'
[ "$(grep -c 'bulyan.*: refused' complaints.txt)" = 3 ] || fail 'bulyan has no such parameter'
[ "$(grep -c ',no-quorum,' grid.csv)" = 1 ] || fail 'a mean cannot do without rows'
cp printed.txt first.txt
cp grid.csv first.csv
grid 'Test images with the trigger'
cmp printed.txt first.txt || fail 'the grid changed when nothing was trained'
cmp grid.csv first.csv || fail 'cells were trained twice'
expect 1 'mean, none: data.path none.h5: No such file' "$consilium" bench attacks --study study.yaml \
    --rules mean --attacks none --set data.path=none.h5
expect 2 'expected --study' "$consilium" bench attacks --rules mean
expect 2 'no institution is hostile' "$consilium" bench attacks --study study.yaml \
    --set adversary.institutions='[]' --set adversary.attack=none
# A mistyped name, parameter or seed is told before anything is trained, not by a column of refusals.
refuse_grid() {
    expect 2 "$1" "$consilium" bench attacks --study study.yaml --set rounds=1 --csv none.csv \
        --rules "${2:-median}" --attacks "${3:-none}" --seeds "${4:-1}"
    [ ! -e none.csv ] || fail 'a grid that is refused left a file'
}
refuse_grid "no aggregation rule is called 'medain'; did you mean 'median'?" mean,medain
refuse_grid "no pre-aggregator is called 'nmm'; did you mean 'nnm'?" mean,nmm+median
refuse_grid "no attack is called 'gausian'; did you mean 'gaussian'?" mean none,gausian
refuse_grid "unknown key 'aggregation.evn'; nearest is aggregation.even" mean,median:evn=1
refuse_grid "--seeds: expected whole numbers, found 'x'" mean none 1,x
refuse_grid "found '-1'" mean none -1
refuse_grid "found '99999999999999999999'" mean none 99999999999999999999
# Results are added to a grid's own file or a new one, to nothing else.
cp study.yaml kept.yaml
expect 1 'study.yaml: expected results of bench attacks or no file' "$consilium" bench attacks \
    --study study.yaml --set rounds=1 --rules mean --attacks none --csv study.yaml
cmp study.yaml kept.yaml || fail 'a grid wrote into the study'
expect 1 '/dev/zero: expected a file or nothing to write to, found a device' timeout 60 \
    "$consilium" bench attacks --study study.yaml --rules mean --attacks none --csv /dev/zero
expect 1 '--keep study.yaml: expected a folder, found a file' "$consilium" bench attacks \
    --study study.yaml --rules mean --attacks none --keep study.yaml
expect 0 'Test AUC' "$consilium" bench attacks --study study.yaml --set rounds=1 --rules mean \
    --attacks none --keep cells
[ -s cells/attacks.csv ] && [ -s cells/cell-0/model.h5 ] || fail 'nothing was kept'
mkdir temporary
: >empty.csv
expect 0 'Test AUC' env TMPDIR=temporary "$consilium" bench attacks --study study.yaml \
    --set rounds=1 --rules mean --attacks none --csv empty.csv
[ "$(wc -l <empty.csv)" = 2 ] || fail 'an empty file got no heading'
expect 1 'none.h5: No such file' env TMPDIR=temporary "$consilium" bench attacks \
    --study study.yaml --rules mean --attacks none --set data.path=none.h5
# MPI's own folder may go later than the program.
[ -z "$(find temporary -name 'consilium*')" ] || fail 'a grid left its temporary folder'
echo 'hostile institutions'
