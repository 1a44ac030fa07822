#!/bin/sh
# What the suites of consilium bench answer to options and files that cannot be.   ... .sh CONSILIUM WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2
. "$here/harness.sh"

# Of a bench the suite's name is the only other word, and nothing is measured before all is known.
for suite in train kernels aggregate comm attacks; do
    expect 0 "Usage: " "$consilium" bench $suite --help
    [ ! -s complaints.txt ] || fail "bench $suite --help: not on standard output"
    expect 2 "consilium bench $suite: unknown option '--bogus'" "$consilium" bench $suite --bogus
    expect 2 "did you mean --csv?" "$consilium" bench $suite --cvs=x
    expect 2 'option --csv needs a value' "$consilium" bench $suite --csv
    expect 2 "consilium bench $suite: 'more' is too much" "$consilium" bench $suite more
    [ ! -s printed.txt ] || fail "bench $suite: wrong usage on standard output"
done
expect 2 "--institutions: expected a whole number from 1 to 1024, found '0'" \
    "$consilium" bench comm --institutions 0
expect 2 "--parameters: expected at least 5000, found '100'" "$consilium" bench comm --parameters 100
expect 2 "--n: expected up to 16 whole numbers from 1 to 1024, as in 16,64, found '16,-1'" \
    "$consilium" bench aggregate --n 16,-1
expect 2 "--threads: expected a whole number from 1 to 1024, found '2,3'" \
    "$consilium" bench aggregate --threads 2,3
expect 2 "--model: there is no 'cnn-smal'; did you mean 'cnn-small'?" \
    "$consilium" bench train --model cnn-smal
expect 2 "--norm: expected group or batch, found 'grup'" "$consilium" bench train --norm grup
expect 2 "--seconds: expected a number above 0 and below 1e6, found '3s'" \
    "$consilium" bench train --seconds 3s
expect 2 'expected an odd number, found 2' "$consilium" bench kernels --window 2
expect 2 'expected at least 2' "$consilium" bench kernels --extent 1
expect 1 'GiB free' "$consilium" bench kernels --batch 4096 --channels 4096 --extent 512
expect 2 "did you mean 'relu_forward'?" "$consilium" bench kernels --only fill,relu_forwar
for suite in kernels aggregate; do
    expect 2 "consilium bench $suite: --device: expected host, host:guard, cuda:N or auto, found 'cdua:0'" \
        "$consilium" bench $suite --device cdua:0
done
expect 2 "no aggregation rule is called 'medain'; did you mean 'median'?" \
    "$consilium" bench aggregate --rules mean,medain
# A rule that cannot do with so few updates says so; with none left there is nothing to print.
few='bench aggregate: not timed: bulyan: 2 rows are too few for any f: it needs 4f + 3 <= n'
expect 2 "$few" "$consilium" bench aggregate --n 2 --rules bulyan
grep -qF 'consilium: --rules and --n leave nothing to time' complaints.txt || fail 'no reason'
[ ! -s printed.txt ] || fail 'a heading without rows'
expect 0 "$few" "$consilium" bench aggregate --n 2 --d 4096 --rules bulyan,mean --threads 1 --repeats 1
grep -q '^mean  *2 ' printed.txt || fail 'mean of 2 rows was not timed'
expect 2 "names of 1 to 63 characters, found 'mean,,median'" \
    "$consilium" bench aggregate --rules mean,,median
expect 2 'study .: expected a YAML file, found a folder' "$consilium" bench attacks --study .
expect 2 'study none.yaml: No such file' "$consilium" bench attacks --study none.yaml
expect 2 "--f: expected a whole number from 1 to 1023, found 'all'" \
    "$consilium" bench attacks --study study.yaml --f all
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
for command in 'aggregate --n 0' attacks; do # one rank speaks
    # shellcheck disable=SC2086 # words
    expect 2 "consilium bench ${command%% *}: " mpirun --oversubscribe -n 2 "$consilium" bench $command
    [ "$(grep -c '^consilium' complaints.txt)" = 1 ] || fail "$command: told by several ranks"
done
# Files of a bench: refused before it measures, written whole, and empty or null what is not there.
for suite in train kernels aggregate comm; do
    expect 1 'nowhere/x: its folder: No such file' "$consilium" bench $suite --csv nowhere/x
    expect 1 '/dev/null: expected a file' "$consilium" bench $suite --json /dev/null
    expect 1 'x.csv: --json would replace the CSV' "$consilium" bench $suite --csv x.csv --json x.csv
    [ ! -s printed.txt ] && [ ! -e x.csv ] || fail "bench $suite measured or wrote something"
done
expect 0 bandwidth "$consilium" bench aggregate --n 5 --d 4096 --rules mean --threads 1 --repeats 1 \
    --csv x.csv --json x.json
grep -qE '^mean,5,4096,1,[0-9.]+,[0-9.]+,[0-9.]+,,[0-9.]+,[0-9.]+,,,,0,1$' x.csv || fail 'no such row'
grep -qF '"n": 5,' x.json && grep -qF '"arithmetic_ms": null,' x.json || fail 'no such JSON'
rm x.csv x.json
expect 0 "the peer has no times for mean: 'false mean 5 4096 1' failed" "$consilium" bench aggregate \
    --n 5 --d 4096 --rules mean --threads 1 --repeats 1 --peer false
# What keeps MPI from starting daemons for this process alone is not handed on to what it starts.
printf 'env >peer-environment\nexit 1\n' >peer.sh
expect 0 'the peer has no times' "$consilium" bench aggregate \
    --n 5 --d 4096 --rules mean --threads 1 --repeats 1 --peer 'sh peer.sh'
grep -q '^PATH=' peer-environment || fail 'the peer did not run'
! grep -qE '^OMPI_MCA_(ess_singleton|orte_create|btl=self)' peer-environment || fail 'MPI settings were handed on'

# Processes that start and end side by side share nothing that one could take from another.
side_by_side() {
    for start in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        "$consilium" bench aggregate --n 3 --d 8 --rules none >start-$1.txt 2>&1
        grep -q "no aggregation rule is called 'none'" start-$1.txt || cp start-$1.txt not-started-$1.txt
    done
}
for one in 1 2 3 4; do
    side_by_side $one &
done
wait
! ls not-started-* 2>/dev/null || fail "MPI did not start beside others: $(cat not-started-*)"
echo 'bench says what is wrong'
