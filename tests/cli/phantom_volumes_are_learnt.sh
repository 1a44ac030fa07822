#!/bin/sh
# Phantom volumes: a 3-D network learns them; untrained, or a linear model, it does not.
#   ... .sh CONSILIUM WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2
. "$here/harness.sh"

expect 0 '' "$consilium" data synth phantom --out phantom.h5 --dims 3 --size 16 --count 1500 --seed 7
cat >study.yaml <<'END'
study: volumes
seed: 7
data: {path: phantom.h5, split: {scheme: iid}}
institutions: {count: 1}
model: {name: cnn3d-28}
training: {optimizer: adamw, lr: 0.002, batch: 8, schedule: cosine, keep_optimizer: true}
rounds: 5
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
expect 0 'all together' "$consilium" run study.yaml --out linear --quiet --set model.name=linear \
    --set training.optimizer=sgd --set training.lr=0.001 --set rounds=20
[ "$(head -n 1 cnn/metrics.csv | cut -d, -f10)" = test_auc ] || fail 'column 10 is not test_auc'
untrained=$(auc cnn 0) trained=$(auc cnn 5) linear=$(auc linear 20)
echo "test AUC: untrained $untrained, trained $trained, linear $linear"
holds "$untrained" '<= 0.75' || fail "an untrained network reaches $untrained"
holds "$linear" '<= 0.70' || fail "a linear model reaches $linear"
holds "$trained" '>= 0.85' || fail "a network reaches $trained only"
echo 'phantom volumes are learnt by a 3-D network alone'
