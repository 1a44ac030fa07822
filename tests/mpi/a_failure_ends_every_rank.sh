#!/bin/sh
# One institution fails, or one rank dies: the job ends, and says why once.
#   ... .sh CONSILIUM MAKE_IMAGES WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 make_images=$2 work=$3
. "$here/../cli/harness.sh"

"$make_images" pool.h5 230 3 28 11
expect 0 'effective number' "$consilium" data split pool.h5 --out sites --institutions 4 --min-size 1
rm sites/partition.json
cat >study.yaml <<'END'
study: failure
seed: 9
data: {path: sites}
institutions: {count: 4}
model: {name: cnn-small}
training: {lr: 0.05, batch: 8}
rounds: 2
evaluation: {every_rounds: 1, batch: 32}
device: host
END

# fails_once RANKS WHERE COMMAND...: non-zero, one line of ours, and it names the place.
fails_once() {
    ranks=$1 place=$2
    shift 2
    began=$(date +%s)
    ! mpirun -n "$ranks" "$consilium" run study.yaml --quiet "$@" >all.txt 2>&1 ||
        fail "on $ranks ranks: expected a failure"
    [ $(($(date +%s) - began)) -lt 60 ] || fail "on $ranks ranks: took too long"
    if [ "$(grep -c '^consilium:' all.txt)" != 1 ] || ! grep '^consilium:' all.txt | grep -q "$place"; then
        cat all.txt
        fail "on $ranks ranks: expected one line of consilium that names $place"
    fi
}

expect 0 '' mpirun -n 4 "$consilium" run study.yaml --out whole --quiet
cp sites/institution-02.h5 whole.h5
for ranks in 1 3 8; do
    copy_cut whole.h5 sites/institution-02.h5 $(($(size_of whole.h5) / 2))
    fails_once $ranks institution-02.h5 --out "cut-$ranks"
    : >sites/institution-02.h5
    fails_once $ranks institution-02.h5 --out "empty-$ranks"
    cp whole.h5 sites/institution-02.h5
    fails_once $ranks learning --out "key-$ranks" --set training.learning=1
done
# Failing at once at several institutions is still one line.
for site in 00 01 03; do
    : >"sites/institution-$site.h5"
done
fails_once 4 institution-0 --out many
for site in 00 01 03; do
    cp whole.h5 "sites/institution-$site.h5"
done

# A rank that is killed takes the job along. Its ranks are mpirun's children.
mpirun -n 4 "$consilium" run study.yaml --out killed --quiet --set rounds=100000 >killed.txt 2>&1 &
job=$!
waited=0
while [ ! -s killed/metrics.csv ] || [ "$(wc -l <killed/metrics.csv)" -lt 3 ]; do
    sleep 1
    waited=$((waited + 1))
    [ $waited -lt 60 ] || fail "no round within 60 s"
done
victim=$(awk -v parent=$job '$2 == "(consilium)" && $4 == parent { print $1 }' /proc/[0-9]*/stat \
    2>/dev/null | tail -n 1)
[ -n "$victim" ] || fail "no rank found"
began=$(date +%s)
kill -KILL "$victim"
ended=0
wait $job || ended=$?
[ $ended != 0 ] || fail "a killed rank went unnoticed"
[ $(($(date +%s) - began)) -lt 20 ] || fail "the job outlived its rank for 20 s"
# What the job had written is whole.
awk -F, 'NR == 1 { columns = NF } NF != columns { exit 1 }' killed/metrics.csv ||
    fail "a torn line in metrics.csv"
echo "failures end every rank"
