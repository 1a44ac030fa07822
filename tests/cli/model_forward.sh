#!/bin/sh
# A model file predicts the same in NumPy, by what docs/FORMATS.md says of it.   ... .sh CONSILIUM WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2
. "$here/harness.sh"
python=/usr/bin/python3
[ -x $python ] || python=python3
if ! $python -c 'import h5py, numpy' 2>/dev/null; then
    echo 'SKIP: h5py and NumPy are not here'
    exit 77
fi
seed=${CSL_SEED:-$(date +%s)}
echo "seed $seed (CSL_SEED replays it)"
expect 0 '' "$consilium" data synth phantom --out phantom.h5 --count 300 --sites 3 --classes 3 --seed "$seed"
cat >study.yaml <<END
study: forward
seed: $seed
data: {path: phantom.h5, split: {scheme: natural, min_size: 1}}
institutions: {count: 3}
model: {name: cnn-small}
training: {lr: 0.05, batch: 16}
rounds: 2
evaluation: {every_rounds: 1}
device: host
END
expect 0 'all together' "$consilium" run study.yaml --out run --quiet
$python "$here/model_forward.py" run || fail 'NumPy predicts something else'
for norm in group batch; do
    expect 0 'all together' "$consilium" run study.yaml --out "$norm" --quiet \
        --set model.name=resnet8-28 --set "model.norm=$norm"
    $python "$here/model_forward.py" "$norm" || fail "NumPy predicts something else with $norm norm"
done

# The check can tell: one weight changed, another loss.
$python -c 'import h5py
with h5py.File("run/model-last.h5", "r+") as file:
    file["parameters/linear2/bias"][0] += 1.0'
! $python "$here/model_forward.py" run >/dev/null 2>&1 || fail 'another model predicts the same'
