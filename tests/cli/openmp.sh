#!/bin/sh
# OpenMP told to give fewer threads than a study asks for: said before any work where it cannot be
# helped, without effect where it can.   ... .sh CONSILIUM WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2
. "$here/harness.sh"

expect 0 '' "$consilium" data synth phantom --out phantom.h5 --count 80 --sites 2 --seed 3
cat >study.yaml <<'END'
study: threads
seed: 5
data: {path: phantom.h5, split: {scheme: natural, min_size: 1}}
institutions: {count: 2}
model: {name: cnn-small}
training: {lr: 0.05, batch: 16, threads: 3}
rounds: 1
evaluation: {cross_site: false}
device: host
END
expect 0 'all together' "$consilium" run study.yaml --out plain --quiet
expect 0 'all together' env OMP_DYNAMIC=true "$consilium" run study.yaml --out dynamic --quiet
cmp plain/model-last.h5 dynamic/model-last.h5 || fail 'OMP_DYNAMIC changed the model'
for setting in OMP_THREAD_LIMIT=2 OMP_MAX_ACTIVE_LEVELS=0; do
    expect 1 'expected 3 threads, OpenMP gives' timeout 60 env $setting "$consilium" run study.yaml \
        --out limited --quiet
    grep -q "${setting%=*}" complaints.txt || fail "$setting is not named"
    [ ! -e limited ] || fail 'a run that could not start left results'
done
echo 'threads are as asked for'
