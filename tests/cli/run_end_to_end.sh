#!/bin/sh
# consilium run in one process: what it writes, what it refuses, what it leaves alone.
#   ... .sh CONSILIUM WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2
. "$here/harness.sh"

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

# A plan writes nothing at all.
before=$(find . | sort)
expect 0 'cnn-small with 205890 parameters' "$consilium" run study.yaml --plan --out planned
grep -q 'should take about [0-9.]* \(us\|ms\|s\|min\), [0-9.]* \(us\|ms\|s\) a round' printed.txt ||
    { cat printed.txt; fail 'a plan without a time'; }
! grep -q 'about 0\(\.0\)\? ' printed.txt || fail 'a plan that takes no time'
rm -f printed.txt complaints.txt
[ "$(find . | sort)" = "$(echo "$before" | grep -v -e printed.txt -e complaints.txt)" ] ||
    fail 'a plan wrote something'

# A batch is no larger than an institution, in the estimate of time neither.
# planned BATCH: milliseconds
planned() {
    "$consilium" run study.yaml --plan --set training.local_steps=4 --set training.batch=$1 |
        awk '/should take about/ { unit["us,"] = 0.001; unit["ms,"] = 1; unit["s,"] = 1000; unit["min,"] = 60000
            for (i = 2; i <= NF; i++) if ($i in unit && $(i - 2) == "about") print $(i - 1) * unit[$i] }'
}
awk -v small="$(planned 40)" -v large="$(planned 4000)" 'BEGIN { exit !(small > 0 && large < 12 * small) }' ||
    fail 'a plan counts images that no institution has'

# The study that the help shows is one, and trains as the ready-made one does.
"$consilium" run --help | sed -n 's/^  //; /^study:/,/^rounds:/p' >shortest.yaml
expect 0 'cnn-small' "$consilium" run shortest.yaml --plan --set data.split.scheme=iid
grep -qF "$(sed -n 's/}$//; /^training:/p' shortest.yaml)" "$here/../../datasets/studies/phantom-8.yaml" ||
    fail 'the help trains otherwise than datasets/studies/phantom-8.yaml'

# It refuses what a run refuses: pools that cannot be cut so, attacks on data that cannot be done.
# refused_by_both TEXT --set KEY=VALUE...
refused_by_both() {
    text=$1
    shift
    for plan in '' --plan; do
        # shellcheck disable=SC2086 # none or one word
        expect 1 "$text" "$consilium" run study.yaml --out refused $plan "$@"
    done
    [ ! -e refused ] || fail 'a refused run left a folder'
}
refused_by_both 'expected at least 9 sites, found 4' --set institutions.count=9
refused_by_both 'expected at least 900 training images at each' --set data.split.min_size=900
refused_by_both 'at most one shard for each of' --set data.split.scheme=shards --set data.split.shards_each=100
refused_by_both 'expected a target class below 2' --set adversary.data=backdoor \
    --set adversary.count=1 --set adversary.target_class=7

# The happy path.
expect 0 'all together' "$consilium" run study.yaml --out first
head -n 1 first/metrics.csv >heading
[ "$(cat heading)" = "round,seconds,train_loss,val_loss,val_auc,val_accuracy,val_balanced_accuracy,\
val_calibration_error,test_loss,test_auc,test_accuracy,test_balanced_accuracy,\
test_calibration_error,rate,institutions,train_seconds,exchange_seconds,update_bytes" ] ||
    fail "another heading in metrics.csv: $(cat heading)"
[ "$(cut -d, -f1 first/metrics.csv | tr '\n' ' ')" = 'round 0 1 2 ' ] || fail 'not one row per round'
awk -F, 'NF != 18 { exit 1 } NR > 1 && !($10 >= 0 && $10 <= 1 && $11 >= 0 && $11 <= 1) { exit 1 }' \
    first/metrics.csv || fail 'a row of metrics.csv is not as the heading says'
for file in model.h5 model-last.h5 study.yaml cross-site.csv institutions.json; do
    [ -s first/$file ] || fail "no $file"
done
[ "$(wc -l <first/cross-site.csv)" = 6 ] || fail 'cross-site.csv: expected a heading and 5 rows'
for event in start:1 round:3 institution:4 end:1; do
    [ "$(grep -c "^{\"event\":\"${event%:*}\".*}\$" first/rounds.jsonl)" = "${event#*:}" ] ||
        fail "rounds.jsonl: expected ${event#*:} of ${event%:*}"
done
if command -v python3 >/dev/null; then
    python3 -c 'import json, sys; [json.loads(line) for line in open(sys.argv[1])]' \
        first/rounds.jsonl || fail 'rounds.jsonl is not JSON'
fi

# Updates are kept where the study says so, a file a round, and none of an earlier run stays.
[ ! -e first/updates ] || fail 'updates were kept though nobody asked'
expect 0 'all together' "$consilium" run study.yaml --out kept --quiet --set output.updates=all
[ "$(ls kept/updates | tr '\n' ' ')" = 'round-000001.h5 round-000002.h5 ' ] ||
    fail 'not one file of updates a round'
cmp first/model-last.h5 kept/model-last.h5 || fail 'keeping updates changed the model'
expect 0 'all together' "$consilium" run study.yaml --out kept --overwrite --quiet \
    --set output.updates=last
[ "$(ls kept/updates)" = round-000002.h5 ] || fail 'expected the updates of the last round alone'
if python3 -c 'import h5py' 2>/dev/null; then
    python3 -c 'import sys, h5py, numpy
file = h5py.File(sys.argv[1])
updates = file["updates"][:]
assert updates.shape == (4, 205890) and updates.dtype == numpy.float32
assert file["updates"].attrs["round"] == 2 and list(file["institutions"]) == [0, 1, 2, 3]
assert abs(sum(file["weights"]) - 1) < 1e-12
assert numpy.isfinite(updates).all() and (numpy.abs(updates).sum(axis=1) > 0).all()' \
        kept/updates/round-000002.h5 || fail 'the updates are not as docs/FORMATS.md says'
fi

expect 0 'rank  node' "$consilium" run study.yaml --out verbose -v --set rounds=1
grep -q '^Updates travel by: ' printed.txt || fail 'the transport is not named'
grep -q '^Study tiny took ' printed.txt || fail 'the last lines do not name the study'
grep -q '^Best model by validation: round [01], AUC 0\.[0-9]* in validation, 0\.[0-9]* in test' \
    printed.txt || { cat printed.txt; fail 'no scores of the best model'; }

# Closed streams are no place for the next file that is opened.
for closed in '>&-' '<&- >&- 2>&-'; do
    code=0
    rm -rf closed
    sh -c "'$consilium' run study.yaml --out closed $closed" >printed.txt 2>complaints.txt || code=$?
    [ $code = 1 ] || fail "a run with $closed: expected exit code 1, found $code"
    [ "$(grep -cv '^{"event":' closed/rounds.jsonl)" = 0 ] &&
        awk -F, 'NF != 18 { exit 1 }' closed/metrics.csv || fail "$closed: messages went into results"
    cmp first/model-last.h5 closed/model-last.h5 || fail "$closed: another model"
done
expect 1 'consilium: standard output: Bad file descriptor' sh -c "'$consilium' info >&-"

# The written study runs again and gives the same model and the same study.
expect 0 'all together' "$consilium" run first/study.yaml --out again --quiet
cmp first/study.yaml again/study.yaml || fail 'the resolved study is not its own result'
cmp first/model-last.h5 again/model-last.h5 || fail 'the written study trains another model'
grep -q "^# sha256: [0-9a-f]\{64\}\$" first/study.yaml || fail 'no digest in study.yaml'

# A folder that holds a run is refused and left as it is, until told otherwise.
before=$(fingerprint first)
expect 1 'already holds a run' "$consilium" run study.yaml --out first --set rounds=1
[ "$(fingerprint first)" = "$before" ] || fail 'a refused run changed the earlier one'
expect 0 'all together' "$consilium" run study.yaml --out again --overwrite --set rounds=1 --quiet
[ "$(wc -l <again/metrics.csv)" = 3 ] || fail 'overwriting kept old rows'
[ ! -e again/unfinished ] || fail 'a complete run left its unfinished folder'

# Replacing takes the place of a run's own files alone, and of all of them.
echo mine >kept/notes.txt
echo mine >kept/institutions/notes.txt
expect 0 'replace those in kept' "$consilium" run study.yaml --out kept --overwrite \
    --set institutions.count=2 --set evaluation.cross_site=false
[ "$(ls kept/institutions | tr '\n' ' ')" = 'institution-00.h5 institution-01.h5 notes.txt ' ] ||
    fail 'institutions of the earlier run were left, or a foreign file was lost'
[ ! -e kept/updates ] && [ ! -e kept/cross-site.csv ] || fail 'results of the earlier run were left'
[ "$(cat kept/notes.txt)" = mine ] || fail 'a foreign file was changed'
# What fails before it starts leaves no trace; what it reads is never written over.
before=$(fingerprint kept)
expect 1 'cuda:9' "$consilium" run study.yaml --out kept --overwrite --set device=cuda:9
expect 1 'write over what it reads' "$consilium" run kept/study.yaml --out kept --overwrite
expect 1 'write over what it reads' "$consilium" run study.yaml --out kept --overwrite \
    --set data.path=kept/institutions/institution-00.h5 --set data.split.scheme=iid
# Two runs in one folder would mix their results: flock holds it as a run does.
mkdir held
expect 1 'held: another run is writing' flock held "$consilium" run study.yaml --out held
expect 1 'kept: another run is writing' flock kept "$consilium" run study.yaml --out kept --overwrite
[ -z "$(ls -A held)" ] || fail 'a refused run left something in the folder of another'
[ "$(fingerprint kept)" = "$before" ] || fail 'a refused run changed the earlier one'
[ ! -e kept/unfinished ] || fail 'a refused run left a folder'
# The institutions of the earlier run are the data of the next.
expect 0 'all together' "$consilium" run study.yaml --out kept --overwrite --quiet --set rounds=1 \
    --set data.path=kept/institutions --set institutions.count=2
[ -e kept/institutions/institution-01.h5 ] || fail 'data were taken for results'
mkdir own
echo mine >own/model.h5
expect 1 'already holds a run (model.h5)' "$consilium" run study.yaml --out own

# Data that does not do.
expect 1 'none.h5: No such file' "$consilium" run study.yaml --out bad --set data.path=none.h5
copy_cut phantom.h5 cut.h5 20000
expect 1 'cut.h5' "$consilium" run study.yaml --out bad --set data.path=cut.h5
expect 1 'expected at least 30 sites, found 4' "$consilium" run study.yaml --out bad \
    --set institutions.count=30
expect 1 'phantom.h5' "$consilium" run study.yaml --out bad --set data.split.scheme=iid \
    --set institutions.count=500
expect 1 'institution files' "$consilium" run study.yaml --out bad \
    --set data.path=first/institutions --set institutions.count=5
expect 2 "found 'cnn-smal'; nearest is cnn-small" "$consilium" run study.yaml --out bad \
    --set model.name=cnn-smal
layers='[{name: stem, kind: conv, channels: 4}, {name: sum, kind: add, from: stm}]'
expect 2 "model.layers, entry 2: layer sum reads 'stm', and no layer before has that name; nearest is stem" \
    "$consilium" run study.yaml --out bad --set model.name=own --set "model.layers=$layers"
expect 2 'entry 1: expected another name, image is' "$consilium" run study.yaml --out bad \
    --set 'model.layers=[{name: image, kind: linear, channels: 2}]'
layers='[{name: end, kind: linear, channels: 2}, {name: end, kind: linear, channels: 2}]'
expect 2 'model.layers, entry 2: a second layer is named end' "$consilium" run study.yaml --out bad \
    --set model.name=own --set "model.layers=$layers"
expect 2 'model.layers, entry 2: a second layer is named end' "$consilium" run study.yaml --plan \
    --set model.name=own --set "model.layers=$layers"
expect 1 'cuda:9' "$consilium" run study.yaml --out bad --set device=cuda:9
expect 2 'per_round' "$consilium" run study.yaml --out bad --set institutions.per_round=5
expect 1 'folder' "$consilium" run study.yaml --out study.yaml/inside
[ ! -e bad ] ||
    fail 'a run that could not start left results'
# A folder that was there before stays as empty as it was, and free for the next attempt.
mkdir there
expect 2 'a second layer is named end' "$consilium" run study.yaml --out there \
    --set model.name=own --set "model.layers=$layers"
[ -z "$(ls -A there)" ] || fail 'a run that could not start left something in a folder'
# Options that only together make no sense, said as a study error, by a plan too.
for plan in '' --plan; do
    # shellcheck disable=SC2086 # none or one word
    expect 2 'training.nesterov: needs training.momentum above 0' "$consilium" run study.yaml \
        --out bad $plan --set training.nesterov=true --set training.momentum=0
    expect 2 'cosine over 2 rounds leaves none' "$consilium" run study.yaml --out bad $plan \
        --set training.schedule=cosine --set training.warmup_rounds=2
done
[ ! -e bad ] || fail 'a study that was refused left results'
# The folder is still free afterwards.
expect 0 'all together' "$consilium" run study.yaml --out bad --quiet --set rounds=1
echo 'run end to end'
