#!/bin/sh
# One institution fails, or one rank dies: the job ends, and says why once.
#   ... .sh CONSILIUM MAKE_IMAGES MODEL_DIGEST WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 make_images=$2 model_digest=$3 work=$4
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

# fails_once RANKS WHERE COMMAND...: non-zero ($code), one line of ours, and it names the place.
fails_once() {
    ranks=$1 place=$2
    shift 2
    began=$(date +%s)
    code=0
    mpirun -n "$ranks" "$consilium" run study.yaml --quiet "$@" >all.txt 2>&1 || code=$?
    [ $code != 0 ] || fail "on $ranks ranks: expected a failure"
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
    [ $code = 1 ] || fail "an empty file: exit code $code"
    # A file whose content is not what its checksum says is a damaged file, too.
    copy_flipped whole.h5 sites/institution-02.h5 $(($(size_of whole.h5) / 2))
    fails_once $ranks 'institution-02.h5: attribute content_sha256' --out "flipped-$ranks"
    [ $code = 1 ] || fail "a checksum that does not hold: exit code $code"
    cp whole.h5 sites/institution-02.h5
    fails_once $ranks learning --out "key-$ranks" --set training.learning=1
    [ $code = 2 ] || fail "an unknown key: exit code $code"
done
# Failing at once at several institutions is still one line.
for site in 00 01 03; do
    : >"sites/institution-$site.h5"
done
fails_once 4 institution-0 --out many
for site in 00 01 03; do
    cp whole.h5 "sites/institution-$site.h5"
done

# An institution whose training fails while it shares ranks with others that wait for it: shards of
# one institution on two ranks, and shards of the next that this rank now never trains.
mkdir broken
for site in 0 1 2 3; do
    kind=regression
    [ $site != 1 ] || kind=broken
    "$make_images" broken/site-$site.h5 60 3 28 $((20 + site)) $kind
done
for ranks in 1 2 3 5; do
    for shards in 1 2 3; do
        fails_once $ranks 'institution 1 .*round 1.*not finite' --out "broken-$ranks-$shards" \
            --set data.path=broken --set training.lr=0.001 --set institutions.ranks_each=$shards
    done
done

# children_of PROCESS: their numbers and names.
children_of() {
    cat /proc/[0-9]*/stat 2>/dev/null | awk -v parent="$1" '$4 == parent { print $1, $2 }'
}

# start NAME ARGUMENTS...: a job of 4 ranks in the background that has done a round; its mpirun is
# $job, one of its ranks, which are mpirun's children, is $victim.
# Rounds and messages go to two files: mpirun forwards blocks of a stream, not lines.
start() {
    name=$1
    shift
    mpirun -n 4 "$consilium" run study.yaml --out "$name" --quiet --set rounds=100000 "$@" \
        >"$name.rounds" 2>"$name.txt" &
    job=$!
    waited=0
    while [ ! -s "$name/metrics.csv" ] || [ "$(wc -l <"$name/metrics.csv")" -lt 3 ]; do
        sleep 0.2
        waited=$((waited + 1))
        [ $waited -lt 300 ] || { kill -KILL $job; fail "$name: no round within 60 s"; }
    done
    ranks=$(children_of $job | awk '$2 == "(consilium)" { print $1 }' | sort -n)
    victim=$(echo "$ranks" | tail -n 1)
    first=$(echo "$ranks" | head -n 1)
    [ -n "$victim" ] || { kill -KILL $job; fail "$name: no rank found"; }
}
# ends_soon NAME: the job fails within 20 s; beyond 60 s it is killed.
ends_soon() {
    began=$(date +%s)
    (
        sleep 60
        kill -KILL $job
    ) >/dev/null 2>&1 &
    guard=$!
    ended=0
    wait $job || ended=$?
    kill $guard 2>/dev/null || :
    [ $ended != 0 ] || fail "$1: the job ended as if nothing had happened"
    [ $(($(date +%s) - began)) -lt 20 ] || fail "$1: the job went on for 20 s"
}

# names_rank NAME RANK: the watch names it, once.
names_rank() {
    [ "$(grep -c '^consilium: rank .* has sent no news for ' "$1.txt")" = 1 ] &&
        grep -q "^consilium: rank $2 (.*) has sent no news for " "$1.txt" ||
        { cat "$1.txt"; fail "$1: rank $2 was not named once"; }
}
# A rank that is killed takes the job along; the launcher names it.
start killed
kill -KILL "$victim"
ends_soon killed
grep -q 'rank 3 .*signal 9' killed.txt || { cat killed.txt; fail 'the killed rank was not named'; }
# A rank that hangs is missed by the others after --timeout; so is rank 0, which watches them.
start hung --timeout 5
kill -STOP "$victim"
ends_soon hung
names_rank hung 3
start headless --timeout 5
kill -STOP "$first"
ends_soon headless
names_rank headless 0
# The same where updates travel as messages.
start apart --timeout 5 --transport messages
kill -STOP "$victim"
ends_soon apart
names_rank apart 3
# Asked to stop, a run ends within its round or after it, and says so once.
start stopped
kill -TERM $job
ends_soon stopped
[ "$(grep -c '^consilium: .*stopped by a signal ' stopped.txt)" = 1 ] ||
    { cat stopped.txt; fail 'a signal was not told once'; }
# Ctrl-C reaches mpirun, which hands it on: the same, and no rank is left behind.
start interrupted
kill -INT $job
ends_soon interrupted
waited=0
for rank in $ranks; do
    while [ -e "/proc/$rank" ]; do # mpirun may leave before the system has cleared its children
        sleep 0.2
        waited=$((waited + 1))
        [ $waited -lt 25 ] || { kill -KILL $ranks; fail "interrupted: process $rank was left behind"; }
    done
done
# Before the first round, too, while institutions are cut, and the folder is as free as before.
# mpirun kills after two seconds what does not end by itself.
expect 0 '' "$consilium" data synth phantom --out large.h5 --count 20000 --size 16 --seed 3
mpirun -n 2 "$consilium" run study.yaml --out early --quiet --set data.path=large.h5 \
    --set institutions.count=1000 --set data.split.min_size=1 >early.rounds 2>early.txt &
job=$!
while [ ! -d early/institutions ]; do
    kill -0 $job || fail 'early: no institutions were cut'
done
kill -INT $job
ends_soon early
grep -q '^consilium: .*stopped by a signal before the first round' early.txt ||
    { cat early.txt; fail 'a signal before the first round was not told'; }
[ ! -e early ] || fail 'a run that was stopped before its first round left its folder'
# Alone, without mpirun, and without a daemon of MPI's.
"$consilium" run study.yaml --out alone --quiet --set rounds=100000 >alone.rounds 2>alone.txt &
job=$!
waited=0
while [ ! -s alone/metrics.csv ] || [ "$(wc -l <alone/metrics.csv)" -lt 3 ]; do
    sleep 0.2
    waited=$((waited + 1))
    [ $waited -lt 300 ] || { kill -KILL $job; fail 'alone: no round within 60 s'; }
done
[ -z "$(children_of $job)" ] || fail "alone: other processes were started: $(children_of $job)"
kill -INT $job
ends_soon alone
[ "$(grep -c '^consilium: .*stopped by a signal ' alone.txt)" = 1 ] ||
    { cat alone.txt; fail 'a signal to a run alone was not told once'; }
# What the job had written is whole.
for name in killed hung headless apart stopped interrupted alone; do
    awk -F, 'NR == 1 { columns = NF } NF != columns { exit 1 }' $name/metrics.csv ||
        fail "$name: a torn line in metrics.csv"
    for model in model.h5 model-last.h5; do
        "$model_digest" $name/$model >/dev/null || fail "$name: $model is not whole"
    done
done
echo "failures end every rank"
