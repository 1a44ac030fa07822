#!/bin/sh
# consilium aggregate on 1 to 9 ranks, threads and pieces: the same bits, the same report; a refusal
# is one message and one exit code.   ... .sh CONSILIUM MAKE_UPDATES WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 make_updates=$2 work=$3
. "$here/../cli/harness.sh"
# More tiles than ranks, and fewer: some ranks have no coordinates at all.
"$make_updates" large.h5 9 50003 7
"$make_updates" small.h5 9 5000 8
on() {
    ranks=$1 name=$2
    shift 2
    mpirun -n "$ranks" "$consilium" aggregate "$@" --out "$name.npy" --report "$name.json" \
        >"$name.log" 2>&1 || { cat "$name.log"; fail "$* on $ranks ranks"; }
}
compare() {
    cmp first.npy other.npy && cmp first.json other.json || fail "$1: another aggregate"
}
for rule in 'trimmed-mean --f 2' 'multi-krum --f 2 --pre nnm' 'bulyan --f 1'; do
    for file in large small; do
        # shellcheck disable=SC2086 # words
        on 1 first $file.h5 --rule $rule
        for ranks in 2 3 4 5 6 7 8 9; do
            # shellcheck disable=SC2086
            on $ranks other $file.h5 --rule $rule --threads $((1 + ranks % 3)) --quiet
            compare "$rule of $file.h5 on $ranks ranks"
        done
    done
done
for rule in median krum geometric-median centered-clipping aksel dnc fltrust signguard flame; do
    root=
    [ $rule != fltrust ] || root='--root 3'
    # shellcheck disable=SC2086 # words
    on 1 first large.h5 --rule $rule --f 2 $root
    # shellcheck disable=SC2086
    on 3 other large.h5 --rule $rule --f 2 $root --memory-limit 600K
    grep -q ' 4096 values of each' other.log || fail "$rule: not in pieces"
    compare "$rule in pieces on 3 ranks"
done
# refuse RANKS CODE TEXT ARGUMENTS...: one message, nothing written
refuse() {
    ranks=$1 wanted=$2 text=$3
    shift 3
    code=0
    mpirun -n "$ranks" "$consilium" aggregate "$@" --out none.h5 >none.log 2>&1 || code=$?
    [ "$code" = "$wanted" ] || { cat none.log; fail "$*: exit code $code instead of $wanted"; }
    [ "$(grep -c -F -e "$text" none.log)" = 1 ] || { cat none.log; fail "$*: not one '$text'"; }
    [ ! -e none.h5 ] || fail "$*: something was written"
}
refuse 3 2 'f is at most 3' large.h5 --rule krum --f 4
refuse 4 2 "did you mean 'krum'?" large.h5 --rule krun
refuse 4 2 '--root: rule krum trusts no update' large.h5 --rule krum --f 2 --root 1
refuse 4 1 'absent.h5' absent.h5
copy_cut large.h5 cut.h5 100000
refuse 3 1 'cut.h5' cut.h5
refuse 3 1 'need at least' large.h5 --memory-limit 20K
echo 'the same on 1 to 9 ranks'
