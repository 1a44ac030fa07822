#!/bin/sh
# A disk that is full: a clear message, exit 1, earlier results whole.   ... .sh CONSILIUM WORK
# Needs the right to mount a small file system; without it the test is skipped.
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2
if mountpoint -q "$work/disk" 2>/dev/null; then
    umount "$work/disk"
fi
. "$here/harness.sh"
mkdir disk
if ! mount -t tmpfs -o size=5m tmpfs disk 2>/dev/null; then
    echo 'skipped: a file system cannot be mounted here'
    exit 77
fi
trap 'cd / && umount "$work/disk"' EXIT
export TMPDIR="$work"

expect 0 '' "$consilium" data synth phantom --out phantom.h5 --count 160 --sites 4 --seed 3
cat >study.yaml <<'END'
study: tiny
seed: 5
data: {path: phantom.h5, split: {scheme: natural, min_size: 1}}
institutions: {count: 4}
model: {name: cnn-small}
training: {lr: 0.05, batch: 16}
rounds: 2
evaluation: {every_rounds: 1, batch: 64}
device: host
END
# One run fits (two models of 0.8 MiB); then the disk is filled but for some KiB.
expect 0 'all together' "$consilium" run study.yaml --out disk/first --quiet
before=$(fingerprint disk)
fill() {
    rm -f disk/filler
    free=$(df -k --output=avail disk | tail -n 1)
    [ "$free" -gt "$1" ] || return 0
    dd if=/dev/zero of=disk/filler bs=1024 count=$((free - $1)) 2>/dev/null
}
# It ends early or late, with the institutions, the table or the model.
for kilobytes in 0 4 40 160 400; do
    fill $kilobytes
    expect 1 'No space left on device' "$consilium" run study.yaml --out disk/second --quiet
    grep -q '^consilium: .*disk/second' complaints.txt || fail 'the message names no file'
    rm -rf disk/second disk/filler
    [ "$(fingerprint disk)" = "$before" ] || fail "with $kilobytes KiB the first run was changed"
done
# Updates of a round need more than is left: nothing torn stays of them.
expect 1 'No space left on device' "$consilium" run study.yaml --out disk/second --quiet \
    --set output.updates=all
[ -z "$(find disk/second/updates -type f)" ] || fail 'torn updates were left'
rm -rf disk/second
[ "$(fingerprint disk)" = "$before" ] || fail 'updates without room changed the first run'
fill 8
expect 1 'No space left on device' "$consilium" data synth phantom --out disk/big.h5 --count 500
expect 1 'No space left on device' "$consilium" data split phantom.h5 --out disk/parts \
    --scheme natural --institutions 4 --min-size 1
expect 0 'all together' "$consilium" run study.yaml --out kept --quiet --set output.updates=last
for name in aggregate.h5 aggregate.npy; do
    expect 1 'No space left on device' "$consilium" aggregate kept/updates/round-000002.h5 \
        --out disk/$name
    [ ! -e disk/$name ] || fail "a torn $name was left"
done
[ ! -e disk/big.h5 ] || fail 'a torn data set was left'
cp study.yaml disk/study.yaml
rm -rf disk/parts disk/filler
# Over an earlier run: nothing of it is touched before the new one is complete, however far that
# gets. The second number is more than one model, so the disk is full in the middle of the rounds.
before=$(fingerprint disk/first)
for kilobytes in 0 8 400 1200; do
    fill $kilobytes
    expect 1 'No space left on device' "$consilium" run study.yaml --out disk/first --overwrite \
        --set seed=6 --set rounds=3 --set output.updates=all
    [ "$(fingerprint disk/first | grep -v /unfinished/)" = "$before" ] ||
        fail "with $kilobytes KiB the earlier run was changed"
    rm -f disk/filler
done
grep -q 'earlier results in disk/first are as they were' complaints.txt ||
    fail 'not told what became of the earlier run'
rm -f disk/filler
expect 0 'all together' "$consilium" run study.yaml --out disk/first --overwrite --quiet
[ ! -e disk/first/unfinished ] || fail 'a complete run left its unfinished folder'
[ -z "$(find disk -name '*.tmp*' -o -name '.*.h5*')" ] || fail 'temporary files were left'
echo 'full disks are told'
