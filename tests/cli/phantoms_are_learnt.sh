#!/bin/sh
# Phantom images and volumes: a convolutional network learns them; untrained, or a linear model, it
# does not, whatever its learning rate.   ... .sh CONSILIUM WORK 2|3
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2 dims=$3
. "$here/harness.sh"

# Volumes are costly: few of them.
case $dims in
2) model=cnn-small batch=32 count=2400 size=28 rounds=12 enough=0.9 linear_most=0.78 ;;
3) model=cnn3d-28 batch=8 count=1500 size=16 rounds=5 enough=0.85 linear_most=0.7 ;;
esac
seed=${CSL_SEED:-$(date +%s)}
echo "seed $seed (CSL_SEED replays it)"
expect 0 '' "$consilium" data synth phantom --out phantom.h5 --dims "$dims" --size $size \
    --count $count --seed "$seed"
cat >study.yaml <<END
study: phantoms
seed: $seed
data: {path: phantom.h5, split: {scheme: iid}}
institutions: {count: 1}
model: {name: $model}
training: {optimizer: adamw, lr: 0.002, batch: $batch, schedule: cosine, keep_optimizer: true}
rounds: $rounds
evaluation: {every_rounds: 1, cross_site: false}
device: host
END
# auc DIRECTORY ROUND: of the pooled test split; holds SCORE CONDITION: an awk condition on a score.
auc() {
    awk -F, -v round="$2" '$1 == round { print $10 }' "$1/metrics.csv"
}
holds() {
    awk -v score="$1" "BEGIN { exit !(score != \"\" && score $2) }"
}
expect 0 'all together' "$consilium" run study.yaml --out cnn --quiet
[ "$(head -n 1 cnn/metrics.csv | cut -d, -f10)" = test_auc ] || fail 'column 10 is not test_auc'
untrained=$(auc cnn 0) trained=$(auc cnn $rounds)
echo "test AUC: untrained $untrained, trained $trained"
holds "$untrained" '<= 0.75' || fail "an untrained network reaches $untrained"
holds "$trained" ">= $enough" || fail "a network reaches $trained only"
for lr in 0.001 0.01; do
    expect 0 'all together' "$consilium" run study.yaml --out "linear-$lr" --quiet \
        --set model.name=linear --set training.optimizer=sgd --set training.lr=$lr --set rounds=20
    linear=$(auc "linear-$lr" 20)
    echo "test AUC: linear $linear (learning rate $lr)"
    holds "$linear" "<= $linear_most" || fail "a linear model reaches $linear"
done
echo 'phantoms are learnt by a convolutional network alone'
