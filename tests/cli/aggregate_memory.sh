#!/bin/sh
# consilium aggregate --memory: what a rule keeps from round to round, in a file.
#   ... .sh CONSILIUM WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2
. "$here/harness.sh"
python=/usr/bin/python3
if ! $python -c 'import numpy, h5py' 2>/dev/null; then
    echo 'skipped: no NumPy and h5py'
    exit 77
fi
seed=${CSL_SEED:-$(date +%s)}
echo "seed $seed"
$python "$here/aggregate_memory.py" make "$seed"
clip='--rule centered-clipping --f 1 --tau 25'
# rounds NAME RULE RANKS [OPTION]...: three calls, each with what the one before it kept
rounds() {
    name=$1 rule=$2 ranks=$3
    shift 3
    for round in 1 2 3; do
        # shellcheck disable=SC2086 # words
        expect 0 written mpirun -n "$ranks" "$consilium" aggregate round-$round.h5 $rule \
            --memory "$name.h5" --out "$name-$round.npy" --report "$name-$round.json" "$@"
    done
}
same() {
    cmp "$1.h5" "$2.h5" || fail "$2: another memory than $1"
    for round in 1 2 3; do
        cmp "$1-$round.npy" "$2-$round.npy" || fail "$2, round $round: another aggregate than $1"
    done
}
rounds clip "$clip" 1
rounds clip-ranks "$clip" 3
same clip clip-ranks
rounds clip-pieces "$clip" 1 --memory-limit 500K --device host:guard
same clip clip-pieces
sybils='--rule foolsgold --f 1'
rounds gold "$sybils" 1
rounds gold-ranks "$sybils" 3 --memory-limit 700K
same gold gold-ranks
expect 0 written "$consilium" aggregate sum.h5 $sybils --out sum.npy --report sum.json
$python "$here/aggregate_memory.py" check

# Refusals: the place, what was expected and found; nothing is written, what was kept stays.
files() {
    fingerprint . | grep -v -e printed.txt -e complaints.txt -e '[.]sum$'
}
files >before.sum
refuse() {
    text=$1
    shift
    expect 1 "$text" "$consilium" aggregate "$@" --out refused.npy
    [ ! -e refused.npy ] || fail "$*: an aggregate was written"
}
# shellcheck disable=SC2086 # words
{
    refuse "attribute rule: expected 'foolsgold', found 'centered-clipping'" round-1.h5 $sybils \
        --memory clip.h5
    refuse '/centre: expected the 9000 values of an update, found 9001' shorter.h5 $clip \
        --memory clip.h5
    refuse "/names[2]: expected 'elsewhere', found 'site-2'" renamed.h5 $sybils --memory gold.h5
    refuse 'institution_count: expected the 6 of the updates, found 7' fewer.h5 $clip \
        --memory clip.h5
    refuse '/centre[0][17]: expected a finite number, found nan' round-1.h5 $clip --memory nan.h5
    refuse "/histories: expected [7][d] of float32, found rank 2 of 8-byte floats" round-1.h5 \
        $sybils --memory double.h5
    expect 2 'keeps nothing from one call to the next' "$consilium" aggregate round-1.h5 --rule krum \
        --f 1 --memory new.h5 --out refused.npy
    refuse '--memory would replace what is read' round-1.h5 $clip --memory round-1.h5
    refuse '--memory would replace the aggregate' round-1.h5 $clip --memory refused.npy
    refuse 'more than f = 1' hostile.h5 $clip --memory clip.h5
    refuse 'found a folder' round-1.h5 $clip --memory .
    for size in 0 100 3000 $(($(size_of clip.h5) - 1)); do
        copy_cut clip.h5 cut.h5 "$size"
        refuse cut.h5 round-1.h5 $clip --memory cut.h5
        [ "$(size_of cut.h5)" = "$size" ] || fail "a damaged memory of $size bytes was replaced"
    done
    rm cut.h5
    refuse "attribute schema" round-1.h5 $clip --memory round-2.h5
}
files >after.sum
cmp before.sum after.sum || fail 'a refusal changed a file'
[ -z "$(find . -name '*.tmp')" ] || fail 'temporary files were left'
# One rank finds it, all end; a memory that is a link stays one.
expect 1 "expected 'foolsgold'" mpirun -n 3 "$consilium" aggregate round-1.h5 $sybils \
    --memory clip.h5 --out refused.npy
mkdir elsewhere && cp clip.h5 elsewhere/kept.h5 && ln -s elsewhere/kept.h5 link.h5
# shellcheck disable=SC2086 # words
expect 0 written "$consilium" aggregate round-1.h5 $clip --memory link.h5 --out again.npy
[ -L link.h5 ] && ! cmp -s clip.h5 elsewhere/kept.h5 || fail 'the link was replaced, or not followed'
echo 'what a rule keeps is kept'
