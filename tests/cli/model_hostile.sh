#!/bin/sh
# Model files that h5py wrote wrongly. No command reads one back: READER calls csl_model_read.
#   ... .sh CONSILIUM WORK READER
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2 reader=$3
. "$here/harness.sh"
python=/usr/bin/python3
[ -x $python ] || python=python3
$python -c 'import h5py, numpy' 2>/dev/null || exit 77
expect 0 '' "$consilium" data synth phantom --out phantom.h5 --count 40 --sites 1 --seed 3
cat >study.yaml <<'END'
study: hostile
seed: 5
data: {path: phantom.h5, split: {scheme: iid, min_size: 1}}
institutions: {count: 1}
model: {name: cnn-small}
rounds: 1
device: host
END
expect 0 'all together' "$consilium" run study.yaml --out run --quiet
$python "$here/hostile_model.py" "$reader" run/model.h5 || fail 'see above'
echo 'hostile models are refused for what is wrong with them'
