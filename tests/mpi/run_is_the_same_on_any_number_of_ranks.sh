#!/bin/sh
# The same study on several numbers of ranks: the same models to the bit, the same scores.
#   ... .sh CONSILIUM MAKE_IMAGES MODEL_DIGEST WORK CASE RANKS...
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 make_images=$2 model_digest=$3 work=$4 case=$5
shift 5
. "$here/../cli/harness.sh"

small_net='model: {name: cnn-small}'
batch_norm_net='model: {name: own, layers: [{kind: conv, channels: 6, stride: 2}, {kind: batch-norm},
  {kind: relu}, {kind: conv, channels: 8, stride: 2}, {kind: batch-norm}, {kind: relu},
  {kind: global-average-pool}, {kind: linear, channels: 3}]}'
net=$small_net institutions='{count: 8}' federation='{algorithm: fedavg}' augmentation=0
aggregation='{rule: mean}' adversary='{}'
case $case in
fedavg) ;;
fedprox | scaffold | fedadam | fedyogi) federation="{algorithm: $case}" ;;
sampled) institutions='{count: 8, per_round: 3}' augmentation=2 ;;
sharded) institutions='{count: 5, ranks_each: 2}' ;;
sharded_scaffold) institutions='{count: 3, ranks_each: 3}' federation='{algorithm: scaffold}' ;;
batch_norm_average | batch_norm_local | batch_norm_freeze)
    net=$batch_norm_net
    federation="{algorithm: fedavg, batch_norm: ${case#batch_norm_}}"
    ;;
sharded_batch_norm)
    net=$batch_norm_net
    institutions='{count: 4, ranks_each: 2}'
    ;;
rule_*)
    # rule_NAME[+PRE]: 8 institutions bear f = 2 of every rule but bulyan's 1
    rule=${case#rule_}
    f=2 pre=
    case $rule in bulyan*) f=1 ;; esac
    case $rule in *+*) pre=${rule#*+} rule=${rule%+*} ;; esac
    aggregation="{rule: $rule, f: $f, pre: [$pre]}"
    ;;
attack_*)
    # attack_NAME: the last 2 of 8 institutions against a rule with a memory
    aggregation='{rule: centered-clipping, f: 2, tau: 0.5}'
    adversary="{attack: ${case#attack_}, count: 2}"
    ;;
data_*) adversary="{data: ${case#data_}, count: 3, target_class: 2, source_class: 1}" ;;
*) fail "unknown case $case" ;;
esac

# Institution files carry their date; with one fixed, equal content is an equal file.
export SOURCE_DATE_EPOCH=1700000000
"$make_images" pool.h5 230 3 28 11
cat >study.yaml <<END
study: ranks
seed: 9
data: {path: pool.h5, split: {scheme: iid, min_size: 1}}
institutions: $institutions
$net
training: {lr: 0.05, batch: 8, local_epochs: 1, augmentation: {shift: $augmentation}}
federation: $federation
aggregation: $aggregation
adversary: $adversary
rounds: 2
evaluation: {every_rounds: 1, batch: 32}
output: {updates: all}
device: host
END

# Every column but those of time, which no two runs share.
scores() {
    awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) keep[i] = $i !~ /seconds/ }
             { for (i = 1; i <= NF; i++) if (keep[i]) printf "%s,", $i; print "" }' "$1"
}
# run NAME RANKS ARGUMENTS...: the run's models, scores and data in NAME.txt
run() {
    name=$1 ranks=$2
    shift 2
    mpirun -n "$ranks" "$consilium" run study.yaml --out "$name" --quiet "$@" >"$name.log" 2>&1 ||
        { cat "$name.log"; fail "$case on $ranks ranks"; }
    {
        "$model_digest" "$name/model.h5"
        "$model_digest" "$name/model-last.h5"
        scores "$name/metrics.csv"
        cat "$name/cross-site.csv"
        grep -o '"\(attack\|aggregation\|backdoor_success\|selection_accuracy\)".*' \
            "$name/rounds.jsonl" || :
        (cd "$name" && sha256sum model.h5 model-last.h5 institutions/* updates/*)
    } >"$name.txt"
    [ "$(wc -l <"$name/metrics.csv")" = 4 ] || fail "expected a heading and 3 rows in metrics.csv"
}

first=$1
for ranks in "$@"; do
    run "on-$ranks" "$ranks"
    cmp "on-$first.txt" "on-$ranks.txt" ||
        { diff "on-$first.txt" "on-$ranks.txt" || :; fail "$case: $ranks ranks against $first"; }
done
# As on several nodes, without the memory that ranks of one share, and only two ranks aggregate.
run messages "$ranks" --transport messages --aggregators "1,$((ranks - 1))"
cmp "on-$first.txt" messages.txt || fail "$case: another result by messages"
# The comparison sees a difference where there is one, and training moves the model.
run "another-seed" "$first" --set seed=10
! cmp -s "on-$first.txt" another-seed.txt || fail "another seed gave the same results"
run "untrained" "$first" --set training.lr=1e-30
[ "$("$model_digest" untrained/model-last.h5)" != "$("$model_digest" "on-$first/model-last.h5")" ] ||
    fail "training does not change the model"
echo "$case: the same on $* ranks"
