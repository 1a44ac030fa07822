#!/bin/sh
# Help at every level, and what a mistyped name is answered with.   ... .sh CONSILIUM WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2
. "$here/harness.sh"

# Help goes to standard output, exits 0, and names what there is.
for command in run data aggregate bench info; do
    expect 0 "  $command" "$consilium" --help
    expect 0 "Usage: consilium $command" "$consilium" $command --help
    [ -s printed.txt ] && [ ! -s complaints.txt ] || fail "$command --help: not on standard output"
done
for command in import synth split info validate; do
    expect 0 "  $command" "$consilium" data --help
    expect 0 "Usage: consilium data $command" "$consilium" data $command --help
done
for suite in aggregate attacks comm kernels train; do
    expect 0 "  $suite" "$consilium" bench --help
done
for option in set out overwrite plan timeout transport aggregators aggregate-on memory-limit quiet verbose; do
    expect 0 "--$option" "$consilium" run --help
done
expect 0 'consilium ' "$consilium" --version
expect 0 'Limits' "$consilium" info
expect 0 '{' "$consilium" info --json
for help in -h help; do
    expect 0 'Commands:' "$consilium" $help
done
for command in run data aggregate bench info; do
    expect 0 "Usage: consilium $command" "$consilium" help $command
    expect 0 "Usage: consilium $command" "$consilium" $command -h
done
expect 0 'Usage: consilium data split' "$consilium" help data split
expect 0 'import' "$consilium" data help
for command in import synth split info validate; do
    expect 0 "Usage: consilium data $command" "$consilium" data $command -h
    expect 0 "Usage: consilium data $command" "$consilium" data help $command
done
expect 0 '--peer' "$consilium" help bench train
expect 0 'Usage: consilium bench kernels' "$consilium" bench kernels -h
expect 2 'Commands:' "$consilium"
expect 2 'Commands:' "$consilium" data
expect 2 'Suites:' "$consilium" bench

# A name that is not there: usage, exit 2, and the nearest that is.
expect 2 "did you mean 'run'?" "$consilium" rum
expect 2 "did you mean 'synth'?" "$consilium" data snyth
expect 2 "did you mean 'train'?" "$consilium" bench trian
expect 2 "lists the commands" "$consilium" xxxxxxxxxxxx
expect 2 "did you mean 'run'?" "$consilium" help rum
expect 2 "did you mean '--version'?" "$consilium" --versoin
# A letter is not taken for the long option behind it, nor a value for a missing one.
for command in run info aggregate 'bench train'; do
    # shellcheck disable=SC2086 # words
    expect 2 "unknown option '-j'" "$consilium" $command -j
done
expect 2 'option --json takes no value' "$consilium" info --json=yes
expect 2 'option --plan takes no value' "$consilium" run --plan=yes study.yaml
expect 2 "option '--mem' can be --memory-limit or --memory" "$consilium" aggregate --mem 1G
expect 2 "--transport: expected one of auto, memory, messages, nccl, found 'pigeon'" \
    "$consilium" run study.yaml --transport pigeon
# What an unset variable of a shell leaves behind.
expect 2 'which study?' "$consilium" run ''
expect 2 "--out: expected a name, found ''" "$consilium" run study.yaml --out ''
expect 2 "--out: expected a name, found ''" "$consilium" data synth phantom --out ''
expect 2 "--out: expected a name, found ''" "$consilium" data split pool.h5 --out ''
expect 2 "FILE: expected a name, found ''" "$consilium" data info ''
expect 2 "OUT.h5: expected a name, found ''" "$consilium" data import archive.npz ''
expect 2 "--report: expected a name, found ''" "$consilium" aggregate u.h5 --out x.h5 --report ''
expect 2 'expected UPDATES, a file or a folder' "$consilium" aggregate '' --out x.h5
expect 2 '--dataset: expected a name of 1 to 63 bytes' "$consilium" aggregate u.h5 --out x.h5 --dataset ''
expect 1 "expected the name of a file to write to, found ''" "$consilium" bench comm --csv ''
expect 2 "'phantom' is too much" "$consilium" data synth phantom phantom --out x.h5
expect 2 'expected a size of 16..128 voxels, found 200' "$consilium" data synth phantom --out x.h5 \
    --dims 3 --size 200
expect 2 'did you mean --out?' "$consilium" run --ouy x study.yaml
expect 2 'did you mean --json?' "$consilium" info --jsn
expect 2 '--cuont' "$consilium" data synth phantom --cuont 3
expect 2 'expected a number from 1' "$consilium" run --timeout soon study.yaml
expect 2 '--set needs a value' "$consilium" run study.yaml --set
expect 2 'which study?' "$consilium" run
expect 2 "'two.yaml' is too much" "$consilium" run one.yaml two.yaml
expect 2 "did you mean 'dirichlet'?" "$consilium" data split x.h5 --out x --scheme dirichle
# What a message tells to type answers.
for command in import synth split info validate; do
    expect 2 "Try \`consilium data $command --help' or \`consilium data $command --usage'" \
        "$consilium" data $command --bogus
    expect 0 "Usage: consilium data $command" "$consilium" data $command --usage
done
expect 2 '--count' "$consilium" data synth phantom --out x.h5 --count many
expect 2 '--size' "$consilium" data synth phantom --out x.h5 --size 1000000
[ ! -e x.h5 ] || fail 'a usage error left a file'

# A study that cannot be used: exit 2, the key, and the nearest.
printf 'study: typo\nrouns: 3\n' >typo.yaml
expect 2 'nearest is rounds' "$consilium" run typo.yaml
printf 'study: s\n' >study.yaml
expect 2 'nearest is rounds' "$consilium" run study.yaml --set roudns=3
expect 2 'nearest is sgd' "$consilium" run study.yaml --set training.optimizer=sgdd
expect 2 'rounds: expected a whole number' "$consilium" run study.yaml --set rounds=0
expect 2 'rounds: expected a whole number' "$consilium" run study.yaml --set rounds=many
expect 2 'data.path: is not set' "$consilium" run study.yaml
expect 2 'absent.yaml: No such file' "$consilium" run absent.yaml
head -c 4096 /dev/urandom >noise.yaml
expect 2 'noise.yaml' "$consilium" run noise.yaml
expect 2 'study .: expected a YAML file, found a folder' "$consilium" run .
expect 2 'ranks that aggregate: expected ranks below 1, found 3' "$consilium" run study.yaml \
    --set data.path=x.h5 --aggregators 0,3
printf 'study: {a: [\n' >torn.yaml
expect 2 'torn.yaml' "$consilium" run torn.yaml
# Under mpirun, what is wrong with the arguments is told once, and a study by the rank that read it.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
told_once_as() {
    code=$1 text=$2
    shift 2
    expect "$code" "$text" mpirun --oversubscribe -n 3 "$consilium" "$@"
    [ "$(cat printed.txt complaints.txt | grep -c '^consilium')" = 1 ] &&
        [ "$(cat printed.txt complaints.txt | grep -cF -e "$text")" = 1 ] ||
        { cat complaints.txt; fail "$*: told by several ranks"; }
}
told_once_as 2 'did you mean --out?' run --ouy x study.yaml
told_once_as 2 "did you mean 'run'?" rum
told_once_as 2 'nearest is rounds' run typo.yaml
told_once_as 2 'absent.yaml: No such file' run absent.yaml
# Names in a study, before anything is read or written: the data of this one do not exist.
cat >names.yaml <<'END'
study: names
data: {path: nowhere.h5}
model: {name: cnn-smal}
END
for plan in '' --plan; do
    told_once_as 2 "names.yaml:3:15: model.name: expected one of cnn-small" \
        run names.yaml --out unused $plan
    expect 2 "found 'cnn-smal'; nearest is cnn-small" "$consilium" run names.yaml $plan
    told_once_as 2 "no aggregation rule is called 'medain'; did you mean 'median'?" run names.yaml \
        --out unused $plan --set model.name=cnn-small --set aggregation.rule=medain
    told_once_as 1 'study names.yaml: device: expected ' run names.yaml \
        --out unused $plan --set model.name=cnn-small --set device=cuda:99
    grep -q 'cuda:99' complaints.txt || fail 'the device that is not there is not named'
    told_once_as 2 "found 'cdua:0'; did you mean 'cuda:0'?" run names.yaml \
        --out unused $plan --set model.name=cnn-small --set device=cdua:0
    told_once_as 1 'nowhere.h5: No such file' run names.yaml \
        --out unused $plan --set model.name=cnn-small --set device=host
done
rmdir unused 2>/dev/null || :
[ ! -e unused/metrics.csv ] || fail 'a refused study left results'
for command in --help info 'bench comm --institutions 1 --parameters 5000 --repetitions 1'; do
    expect 1 'consilium: standard output: No space left on device' \
        sh -c "'$consilium' $command >/dev/full"
done
echo 'every level answers'
