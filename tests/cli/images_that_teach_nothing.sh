#!/bin/sh
# One class only, the same value everywhere, no training images: refused where nothing can be
# learnt, told where one institution is meant.   ... .sh CONSILIUM WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2
. "$here/harness.sh"
python=/usr/bin/python3
[ -x $python ] || python=python3
$python -c 'import h5py' 2>/dev/null || exit 77

expect 0 '' "$consilium" data synth phantom --out phantom.h5 --count 120 --sites 3 --seed 3
expect 0 '' "$consilium" data split phantom.h5 --out parts --institutions 3 --scheme iid
cat >study.yaml <<'END'
study: nothing
seed: 5
data: {path: damaged}
institutions: {count: 3}
model: {name: cnn-small}
training: {lr: 0.05, batch: 16}
rounds: 1
evaluation: {every_rounds: 1, batch: 64}
device: host
END
# damage FILES EXPRESSION: h is an institution file, opened to be written.
damage() {
    rm -rf damaged
    cp -r parts damaged
    rm -f damaged/*.json
    for file in $1; do
        $python -c "import sys, h5py
h = h5py.File(sys.argv[1], 'r+')
del h.attrs['content_sha256']
$2" "damaged/$file" || fail "cannot damage $file"
    done
}
files=$(cd parts && ls ./*.h5)
second=$(cd parts && ls ./*.h5 | sed -n 2p)

damage "$second" "h['images'][...] = 7"
for plan in '' --plan; do
    # shellcheck disable=SC2086 # none or one word
    expect 1 'the same value in every voxel of all' "$consilium" run study.yaml --out run $plan
    grep -q "damaged/$(basename "$second")" complaints.txt || fail 'the file is not named'
done
damage "$files" "h['labels'][...] = 1"
expect 1 'found class 1 alone at all institutions' "$consilium" run study.yaml --out run
damage "$second" "h['labels'][...] = 0"
expect 0 'all together' "$consilium" run study.yaml --out run
grep -q "$(basename "$second"): all [0-9]* training images are of class 0" complaints.txt ||
    fail 'an institution of one class is not told'
damage "$second" "h['split'][...] = 2"
expect 1 'expected training images, found none' "$consilium" run study.yaml --out none
grep -q "damaged/$(basename "$second")" complaints.txt || fail 'the file is not named'
[ ! -e none ] || fail 'a run that could not start left results'
echo 'images that teach nothing are told'
