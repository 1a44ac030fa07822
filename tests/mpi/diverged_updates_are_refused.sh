#!/bin/sh
# An institution whose training diverges: without a robust rule it ends the run; with one its update
# is refused, counted against f and told, the same on any number of ranks; too many end every rank,
# and so does any other error of a rule.
#   ... .sh CONSILIUM MAKE_IMAGES MODEL_DIGEST WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 make_images=$2 digest=$3 work=$4
. "$here/../cli/harness.sh"

mkdir one two
for site in 0 1 2 3 4; do
    "$make_images" good-$site.h5 60 3 28 $((20 + site)) regression
    "$make_images" bad-$site.h5 60 3 28 $((20 + site)) broken
    [ $site = 1 ] && kind=bad || kind=good
    cp $kind-$site.h5 one/site-$site.h5
    [ $site -lt 2 ] && kind=bad || kind=good
    cp $kind-$site.h5 two/site-$site.h5
done
cat >study.yaml <<'END'
study: diverged
seed: 5
data: {path: one}
institutions: {count: 5}
model: {name: cnn-small}
training: {lr: 0.001, batch: 16}
rounds: 2
evaluation: {every_rounds: 2, batch: 64, cross_site: false}
aggregation: {rule: multi-krum, f: 1}
device: host
END
for ranks in 1 3; do
    for algorithm in fedavg scaffold; do
        name=$algorithm-$ranks
        expect 0 'institution 1 (' mpirun -n $ranks "$consilium" run study.yaml --out $name \
            --set federation.algorithm=$algorithm
        [ "$(grep -c 'round [12]: its training gave values that are not finite' complaints.txt)" = 2 ] ||
            { cat complaints.txt; fail "$name: not told in each round"; }
        [ "$(grep -c '"refused":1' $name/rounds.jsonl)" = 2 ] || fail "$name: not in rounds.jsonl"
        "$digest" $name/model-last.h5 >$name.digest
        cmp $algorithm-1.digest $name.digest || fail "$name: another model"
    done
done
for ranks in 1 3; do
    expect 1 '2 of 5 updates are not finite or too large, more than f = 1' mpirun -n $ranks \
        "$consilium" run study.yaml --out many-$ranks --set data.path=two
    expect 1 'institution 1 ' mpirun -n $ranks "$consilium" run study.yaml --out none-$ranks \
        --set aggregation.rule=mean --set aggregation.f=0
done
# Any other error of a rule, found while it runs, ends every rank, and is told once, although f > 0: a
# geometric median of weights of which one institution has more than half.
mkdir heavy
for site in 0 1 2 3 4; do
    "$make_images" heavy/site-$site.h5 $([ $site = 2 ] && echo 400 || echo 60) 3 28 $((20 + site)) \
        regression
done
for ranks in 1 3 5; do
    expect 1 'expected less than 0.5, or f institutions could decide' mpirun -n $ranks \
        "$consilium" run study.yaml --out heavy-$ranks --quiet --set data.path=heavy \
        --set aggregation.rule=geometric-median --set aggregation.weights=given
    [ "$(grep -c '^consilium:' complaints.txt)" = 1 ] ||
        { cat complaints.txt; fail "an error of the rule on $ranks ranks was not told once"; }
done
echo 'diverged updates are refused'
