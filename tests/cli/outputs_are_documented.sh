#!/bin/sh
# Every file, column and key that runs write stands in docs/FORMATS.md.   ... .sh CONSILIUM WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2
. "$here/harness.sh"
command -v python3 >/dev/null || exit 77

expect 0 '' "$consilium" data synth phantom --out phantom.h5 --count 200 --sites 6 --seed 3
cat >study.yaml <<'END'
study: documented
seed: 5
data: {path: phantom.h5, split: {scheme: natural, min_size: 1}}
institutions: {count: 6}
model: {name: cnn-small}
training: {lr: 0.05, batch: 16}
rounds: 2
evaluation: {every_rounds: 1, batch: 64}
output: {updates: all}
device: host
END
expect 0 'all together' "$consilium" run study.yaml --out plain --quiet
expect 0 'all together' "$consilium" run study.yaml --out attacked --quiet \
    --set adversary.attack=sign-flip --set adversary.count=1 --set aggregation.rule=multi-krum \
    --set aggregation.f=1
expect 0 'all together' "$consilium" run study.yaml --out backdoor --quiet \
    --set adversary.data=backdoor --set adversary.count=1
grep -q '"attackers"' attacked/rounds.jsonl || fail 'no attack in the attacked run'
grep -q '"backdoor_success"' backdoor/rounds.jsonl || fail 'no backdoor in the third run'
expect 0 '' "$consilium" data split phantom.h5 --out parts --institutions 3 --scheme iid
cat >check.py <<'END'
import json, os, re, sys

known = set(re.findall(r"`([^`]+)`", open(sys.argv[1]).read()))
used = {}


def walk(value, where):
    if isinstance(value, dict):
        for key, inner in value.items():
            used.setdefault(key, where)
            walk(inner, where)
    elif isinstance(value, list):
        for inner in value:
            walk(inner, where)


for run in sys.argv[2:]:
    for name in os.listdir(run):
        path = os.path.join(run, name)
        if os.path.isdir(path):
            name += {"institutions": "/institution-NN.h5"}.get(name, "/")
        if not re.match(r"institution-\d+\.h5$", name):
            used.setdefault(name, run)
        if name == "rounds.jsonl":
            for line in open(path):
                event = json.loads(line)
                used.setdefault(event["event"], path)
                walk(event, path)
        elif name.endswith(".json"):
            walk(json.load(open(path)), path)
        elif name == "metrics.csv":
            for column in open(path).readline().strip().split(","):
                used.setdefault(column, path)
missing = ["%s of %s" % item for item in sorted(used.items()) if item[0] not in known]
if missing or len(used) < 60:
    sys.exit("%d names, not in docs/FORMATS.md: %s" % (len(used), ", ".join(missing)))
print("%d names of files, columns and keys, all in docs/FORMATS.md" % len(used))
END
python3 check.py "$here/../../docs/FORMATS.md" plain attacked backdoor parts || fail 'see above'
