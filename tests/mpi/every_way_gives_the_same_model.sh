#!/bin/sh
# However updates travel and wherever they are aggregated, the global model is the same to the bit.
# An update is longer than two messages, so that a rule begins before all of it is there.
#   ... .sh CONSILIUM CONSILIUM_CUDASIM MODEL_DIGEST WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 cudasim=$2 model_digest=$3 work=$4
. "$here/../cli/harness.sh"
export OPENBLAS_NUM_THREADS=1

expect 0 '' "$consilium" data synth phantom --out phantom.h5 --count 80 --sites 4 --size 16 --seed 3
cat >study.yaml <<'END'
study: ways
seed: 5
data: {path: phantom.h5, split: {scheme: natural, min_size: 1}}
institutions: {count: 4}
model: {name: own, layers: [{kind: linear, channels: 4096}, {kind: relu},
  {kind: linear, channels: 300}, {kind: relu}, {kind: linear, channels: 2}]}
training: {lr: 0.001, batch: 8, local_steps: 1}
rounds: 2
evaluation: {every_rounds: 2, batch: 32, cross_site: false}
END

# same NAME PROGRAM RANKS ARGUMENTS...: the digest of the last model is that of the first such call
# with this program and rule.
same() {
    name=$1 program=$2 ranks=$3
    shift 3
    rm -rf out
    mpirun -n "$ranks" "$program" run study.yaml --out out --quiet "$@" >log.txt 2>&1 ||
        { cat log.txt; fail "$ranks ranks, $*"; }
    digest=$("$model_digest" out/model-last.h5)
    [ -e "$name.digest" ] || echo "$digest" >"$name.digest"
    [ "$digest" = "$(cat "$name.digest")" ] || fail "$ranks ranks, $*: another model"
}

for rule in trimmed-mean geometric-median fltrust; do
    set -- --set aggregation.rule=$rule --set aggregation.f=1 --set aggregation.root=2
    [ $rule = fltrust ] || set -- "$@" --set 'aggregation.pre=[nnm]'
    same $rule "$consilium" 1 "$@"
    same $rule "$consilium" 3 "$@" --transport messages --aggregators 1
    same $rule "$consilium" 2 "$@" --set device=host:guard --memory-limit 3M --transport messages
    [ $rule != geometric-median ] || { # updates in a file, read in pieces
        same $rule "$consilium" 1 "$@" --memory-limit 3M
        same $rule "$consilium" 2 "$@" --memory-limit 3M
    }
done
same scaffold "$consilium" 1 --set federation.algorithm=scaffold --set output.updates=last
cp out/updates/round-000002.h5 kept.h5
same scaffold "$consilium" 3 --set federation.algorithm=scaffold --set output.updates=last --memory-limit 3M
cmp kept.h5 out/updates/round-000002.h5 || fail 'other updates were kept'
same attack "$consilium" 2 --set adversary.attack=alie --set adversary.count=1
same attack "$consilium" 1 --set adversary.attack=alie --set adversary.count=1 --memory-limit 3M
same fltrust "$consilium" 3 "$@"
same fltrust "$consilium" 2 "$@" --aggregators 1
same fltrust "$consilium" 5 "$@" --transport messages --aggregators 0,3-4
same fltrust "$consilium" 2 "$@" --set device=host:guard
[ "$(cat trimmed-mean.digest)" != "$(cat geometric-median.digest)" ] || fail 'the rule has no effect'
expect 2 'expected ranks below 2, found 2' mpirun -n 2 "$consilium" run study.yaml --out no --aggregators 2
expect 2 'expected ascending ranks' "$consilium" run study.yaml --out no --aggregators 2,1
expect 1 'a tile of 4 updates needs 65536' "$consilium" run study.yaml --out no \
    --set device=host:guard --memory-limit 64000
expect 1 'a tile of 4 updates needs 65536' "$consilium" run study.yaml --out no --memory-limit 64000
expect 1 'more ranks need less each' mpirun -n 2 "$consilium" run study.yaml --out no \
    --memory-limit 3M --transport messages
without='this program was built without NCCL'
grep -qa "$without" "$consilium" && why=$without || why='rank 0 aggregates on host'
expect 1 "transport nccl: $why" mpirun -n 2 "$consilium" run study.yaml --out no \
    --set device=host --transport nccl
expect 2 "did you mean 'messages'" "$consilium" run study.yaml --out no --transport mesages
[ ! -e no ] || fail 'a run that was refused left a folder'
[ -x "$cudasim" ] || { echo 'every way gives the same model; no simulated cards here'; exit 0; }

# The same with cards, one for each rank. Training differs from the host's, aggregation does not.
export CUDASIM_GPU_COUNT=3
for rule in trimmed-mean geometric-median fltrust; do
    set -- --set aggregation.rule=$rule --set aggregation.f=1 --set aggregation.root=2
    [ $rule = fltrust ] || set -- "$@" --set 'aggregation.pre=[nnm]'
    same card-$rule "$cudasim" 3 "$@" --aggregate-on host
    same card-$rule "$cudasim" 3 "$@" --transport messages --memory-limit 3M
    same card-$rule "$cudasim" 3 "$@" --transport nccl --aggregators 1
done
same card-fltrust "$cudasim" 2 "$@" --transport nccl
same card-fltrust "$cudasim" 3 "$@" --transport nccl --set output.updates=last
python=/usr/bin/python3
cp out/updates/round-000002.h5 by-nccl.h5
same card-fltrust "$cudasim" 3 "$@" --transport memory --set output.updates=last
if $python -c 'import h5py' 2>/dev/null; then
    $python -c 'import h5py, sys
a, b = (h5py.File(f)["updates"][...].tobytes() for f in sys.argv[1:])
sys.exit(a != b)' by-nccl.h5 out/updates/round-000002.h5 || fail 'other updates were kept'
fi
CUDASIM_GPU_COUNT=2
expect 1 'ranks 0 and 2 share a GPU' mpirun -n 3 "$cudasim" run study.yaml --out no --transport nccl
same card-fltrust "$cudasim" 3 "$@"
export CUDASIM_MEMORY=40000000
expect 1 'do not fit into the memory of the cards' mpirun -n 2 "$cudasim" run study.yaml --out no \
    --transport nccl
echo 'every way gives the same model'
