#!/bin/sh
# Under mpirun what all ranks would say is said once, and what one process does is done once.
#   ... .sh CONSILIUM WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2
. "$here/harness.sh"
both() {
    mpirun --oversubscribe -n 2 "$consilium" "$@"
}

# same COMMAND...: as much from two ranks as from one.
same() {
    "$consilium" "$@" >alone.txt
    expect 0 '' both "$@"
    [ "$(wc -l <alone.txt)" = "$(wc -l <printed.txt)" ] || fail "$*: printed more than once"
}
same --version
same --help
same run --help
same data synth phantom --help
same info
same bench train --help
same bench kernels --only conv_block --threads 1 --seconds 0.01
both info --json >info.json
python3 -c 'import json; json.load(open("info.json"))' || fail 'info --json is not one object'
same data synth phantom --out phantom.h5 --count 20 --sites 2 --seed 1
expect 0 '' both data validate phantom.h5
expect 1 'nothing.h5' both data info nothing.h5
[ "$(grep -c nothing.h5 complaints.txt)" = 1 ] || fail 'a failure is told by several ranks'
expect 2 "unknown command 'synht'" both data synht
expect 2 "did you mean --json?" both info --jsno
echo 'one rank speaks'
