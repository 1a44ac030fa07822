#!/bin/sh
# Studies that are no classification: several labels an image, some unknown, and real numbers.
#   ... .sh CONSILIUM WORK MAKE_IMAGES
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2 make_images=$3
. "$here/harness.sh"

study() {
    cat >study.yaml <<END
study: $1
seed: 5
data: {path: $1.h5, split: {scheme: iid, min_size: 1}}
institutions: {count: 3}
model: {name: cnn-small}
training: {optimizer: $2, lr: $3, batch: 16}
rounds: 6
evaluation: {every_rounds: 1, batch: 64}
device: host
END
}
# column NAME ROUND: a value of first/metrics.csv
column() {
    awk -F, -v name="$1" -v round="$2" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) c = i }
        NR > 1 && $1 == round { print $c }' "$run/metrics.csv"
}
less() {
    awk -v a="$1" -v b="$2" 'BEGIN { exit !(a != "" && b != "" && a + 0 < b + 0) }'
}

# What is no class has no histogram, but its splits have sizes.
"$make_images" numbers.h5 40 2 28 30 regression
"$consilium" data info numbers.h5 >printed.txt
awk '$1 == "images" && $2 + $3 + $4 == 40 { found = 1 } END { exit !found }' printed.txt ||
    fail 'data info does not count the images of the splits'
expect 0 '"class_histogram": {}' "$consilium" data info --json numbers.h5

"$make_images" multilabel.h5 400 3 28 31 multilabel
expect 0 'multi' "$consilium" data info multilabel.h5
study multilabel sgd 0.05
run=labels
expect 0 'all together' "$consilium" run study.yaml --out $run --quiet
less 0.8 "$(column test_auc 6)" || fail "AUC of several labels: $(column test_auc 6)"
less "$(column test_auc 0)" 0.7 || fail "AUC before training: $(column test_auc 0)"
less "$(column val_loss 6)" "$(column val_loss 0)" || fail 'the loss of several labels did not fall'

"$make_images" regression.h5 400 4 28 32 regression
expect 0 'regression' "$consilium" data info regression.h5
study regression adamw 0.002
run=numbers
expect 0 'all together' "$consilium" run study.yaml --out $run --quiet
head -n 1 $run/metrics.csv | grep -q 'val_mse,val_mae,val_r2' || fail 'another heading of a regression'
less 0.4 "$(column test_r2 6)" || fail "R2 of a regression: $(column test_r2 6)"
less "$(column test_mse 6)" "$(column test_mse 0)" || fail 'the error did not fall'
[ -s $run/model.h5 ] && [ -s $run/cross-site.csv ] || fail 'results are missing'

# Weights of classes need classes: said before anything is trained, by a plan too.
for file in multilabel.h5 regression.h5; do
    for way in '--out weighted' --plan; do
        # shellcheck disable=SC2086 # words
        expect 2 'training.class_weights: expected images of one class each, found' "$consilium" \
            run study.yaml $way --set data.path=$file --set training.class_weights=true
    done
done
[ ! -e weighted ] || fail 'a run that could not start left results'

# Rules and attacks on updates know no task; attacks on labels do.
expect 0 'all together' "$consilium" run study.yaml --out robust --quiet --set rounds=1 \
    --set aggregation.rule=median
expect 1 'label' "$consilium" run study.yaml --out poisoned --quiet --set rounds=1 \
    --set adversary.data=label-flip --set adversary.count=1
echo 'other tasks train'
