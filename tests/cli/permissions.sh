#!/bin/sh
# What may not be read or written is named with the reason, before any work.   ... .sh CONSILIUM WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2
. "$here/harness.sh"

# Nothing is forbidden to root: another user then.
user=
if [ "$(id -u)" = 0 ]; then
    user='setpriv --reuid=65534 --regid=65534 --clear-groups'
fi
chmod 755 .
mkdir open && chmod 777 open
# shellcheck disable=SC2086 # words
if ! $user "$consilium" --version >/dev/null 2>&1 || ! $user touch open/x 2>/dev/null; then
    echo 'skipped: no user who may run the program here'
    exit 77
fi
# denied CODE TEXT ARGUMENTS...: nothing is written where it may be.
denied() {
    code=$1 text=$2
    shift 2
    rm -rf open/*
    # shellcheck disable=SC2086
    expect "$code" "consilium: $text: Permission denied" $user "$consilium" "$@"
    [ -z "$(find open -type f)" ] || fail "$*: something was written"
}
expect 0 '' "$consilium" data synth phantom --out pool.h5 --count 60 --sites 2 --seed 3
cat >study.yaml <<'END'
study: denied
data: {path: pool.h5, split: {scheme: natural, min_size: 1}}
institutions: {count: 2}
model: {name: cnn-small}
rounds: 1
END
for name in pool.h5 study.yaml; do
    cp $name secret-$name && chmod 000 secret-$name
done
mkdir hidden closed && chmod 000 hidden && chmod 555 closed
expect 1 'study.yaml: expected a folder or nothing, found a file' "$consilium" run study.yaml \
    --out study.yaml

denied 2 'study secret-study.yaml' run secret-study.yaml --out open/run
denied 2 'study secret-study.yaml' bench attacks --study secret-study.yaml
denied 1 'secret-pool.h5' run study.yaml --out open/run --set data.path=secret-pool.h5
denied 1 'hidden' run study.yaml --out open/run --set data.path=hidden
denied 1 'folder closed' run study.yaml --out closed
denied 1 'folder closed/run' run study.yaml --out closed/run
for command in info validate "split --out open/parts"; do
    # shellcheck disable=SC2086
    denied 1 'secret-pool.h5' data ${command%% *} secret-pool.h5 ${command#"${command%% *}"}
done
denied 1 'hidden' data import hidden open/x.h5
denied 1 'closed/x.h5: its folder' data synth phantom --out closed/x.h5 --count 20
denied 1 'closed/parts' data split pool.h5 --out closed/parts --institutions 2 --min-size 1
denied 1 'secret-pool.h5' aggregate secret-pool.h5 --out open/x.h5
denied 1 'hidden' aggregate hidden --out open/x.h5
denied 1 'closed/x.npy: its folder' aggregate pool.h5 --out closed/x.npy
denied 1 'closed/x.csv: its folder' bench comm --csv closed/x.csv
chmod 755 hidden # so that it can be removed
echo 'what is forbidden is named'
