#!/bin/sh
# What --plan says a rank needs, against what the kernel counted: networks of 46 MB, so that nothing
# else a process does matters.   ... .sh CONSILIUM MAKE_IMAGES WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 make_images=$2 work=$3
. "$here/../cli/harness.sh"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe

"$make_images" pool.h5 240 3 28 11
cat >study.yaml <<'END'
study: memory
seed: 9
data: {path: pool.h5, split: {scheme: iid, min_size: 1}}
institutions: {count: 6}
model: {name: own, layers: [{kind: linear, channels: 4096}, {kind: relu},
  {kind: linear, channels: 2048}, {kind: relu}, {kind: linear, channels: 3}]}
training: {lr: 0.001, batch: 16, local_steps: 1}
rounds: 2
evaluation: {every_rounds: 2, batch: 16, cross_site: false}
device: host
END

study=study.yaml
least=0.9
# planned RANKS ARGUMENTS...: MiB of each rank, as the plan's last column says.
planned() {
    ranks=$1
    shift
    mpirun -n "$ranks" "$consilium" run "$study" --plan "$@" 2>/dev/null |
        awk '$1 ~ /^[0-9]+$/ && NF > 10 { u = $NF == "GiB" ? 1024 : $NF == "KiB" ? 1 / 1024 : 1
                                          print $(NF - 1) * u }'
}
# measured NAME: MiB that each rank took beyond what it held when the run began.
measured() {
    sed -n 's/.*"memory_before":\[\([0-9,]*\)\],"memory_peak":\[\([0-9,]*\)\].*/\1 \2/p' "$1/rounds.jsonl" |
        awk '{ n = split($1, before, ","); split($2, peak, ",")
               for (i = 1; i <= n; i++) print (peak[i] - before[i]) / 1048576 }'
}
# holds NAME RANKS ARGUMENTS...: what every rank took is what was planned, within 5 %, up to 10 % less
# where not all of it is needed at the same time, and 24 MiB more for threads, MPI and files.
holds() {
    name=$1 ranks=$2
    shift 2
    planned "$ranks" "$@" >"$name.planned"
    mpirun -n "$ranks" "$consilium" run "$study" --out "$name" --quiet "$@" >"$name.log" 2>&1 ||
        { cat "$name.log"; fail "$name does not run"; }
    measured "$name" >"$name.measured"
    [ "$(wc -l <"$name.planned")" = "$ranks" ] || fail "$name: no plan of $ranks ranks"
    [ "$(wc -l <"$name.measured")" = "$ranks" ] || fail "$name: no peaks of $ranks ranks"
    paste "$name.planned" "$name.measured" | sed "s/^/$name planned, measured MiB: /"
    paste "$name.planned" "$name.measured" |
        awk -v least="$least" '$2 < least * $1 || $2 > 1.05 * $1 + 24 { bad = 1 } END { exit bad }' ||
        fail "$name: the plan is wrong"
}
holds alone 1
holds two 2
holds messages 3 --transport messages
holds scaffold 2 --set federation.algorithm=scaffold
holds adam 2 --set federation.algorithm=fedadam --set training.optimizer=adamw \
    --set evaluation.cross_site=true
holds kept 2 --set training.optimizer=adamw --set training.keep_optimizer=true
holds centre 2 --set aggregation.rule=centered-clipping --set aggregation.f=1
holds history 2 --set aggregation.rule=foolsgold --set aggregation.f=1
holds hostile 2 --set aggregation.rule=multi-krum --set aggregation.f=1 \
    --set adversary.attack=alie --set adversary.count=1
# Updates of 46 MB that lie in a file: 20 institutions' would take 928 MB. Training has ended when
# they are read, so a part of the sum is never there together.
study=many.yaml
sed 's/count: 6/count: 20/; s/rounds: 2/rounds: 1/; s/every_rounds: 2/every_rounds: 1/' study.yaml >many.yaml
least=0.75
holds files 1 --memory-limit 100M --set aggregation.rule=krum --set aggregation.f=2
holds files_of_two 2 --memory-limit 100M --set aggregation.rule=krum --set aggregation.f=2
least=0.9
# Convolutions of 46 MB: what oneDNN keeps of their weights, in its own order, is a quarter of all.
sed '/^model:/,/^  {kind/d' study.yaml >convolutions.yaml
cat >>convolutions.yaml <<'END'
model: {name: own, layers: [{kind: conv, channels: 256, size: 3, stride: 7, padding: 1},
  {kind: relu}, {kind: conv, channels: 1024, size: 3, padding: 1}, {kind: relu},
  {kind: conv, channels: 1024, size: 3, padding: 1}, {kind: relu}, {kind: global-average-pool},
  {kind: linear, channels: 3}]}
END
study=convolutions.yaml
holds convolutions 2
echo 'memory is as planned'
