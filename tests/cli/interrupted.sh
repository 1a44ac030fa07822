#!/bin/sh
# A signal while files are written: none is left half written, and who waits learns of the signal.
#   ... .sh CONSILIUM WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2
. "$here/harness.sh"
if ! /usr/bin/python3 -c 'import numpy' 2>/dev/null; then
    echo 'skipped: no NumPy'
    exit 77
fi
/usr/bin/python3 -c 'import os, numpy
os.mkdir("updates")
for i in range(16):
    numpy.save("updates/%02d.npy" % i, numpy.full(3000000, i, numpy.float32))'

# Whether a file is being written; its name in $temporary.
is_writing() {
    for temporary in *.tmp; do
        [ ! -e "$temporary" ] || return 0
    done
    return 1
}

# interrupt SIGNAL CODES [LAUNCHER...]: the signal comes while what the rule keeps of all updates is
# written, which takes a while. A shell lets what runs in its background ignore SIGINT, hence env.
interrupt() {
    signal=$1 codes=$2
    shift 2
    for _ in 1 2 3 4 5 6 7 8; do
        rm -f kept.h5 out.h5
        env --default-signal=INT "$@" "$consilium" aggregate updates --rule foolsgold \
            --memory kept.h5 --out out.h5 >printed.txt 2>complaints.txt </dev/null &
        job=$!
        while ! is_writing && kill -0 $job 2>/dev/null; do :; done
        kill -"$signal" $job 2>/dev/null || :
        found=0
        wait $job || found=$?
        [ "$found" = 0 ] || break # else it was done too soon
    done
    echo " $codes " | grep -q " $found " || {
        cat complaints.txt
        fail "$signal: exit code $found, expected $codes"
    }
    ! is_writing || fail "$signal leaves $temporary"
}

interrupt INT 130
interrupt TERM 143
interrupt HUP 129
interrupt INT '1 130 143' mpirun --oversubscribe -n 2
interrupt TERM '1 130 143' mpirun --oversubscribe -n 2
rm -r updates
echo 'signals end writing without a trace'
