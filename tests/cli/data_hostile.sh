#!/bin/sh
# consilium data: files and archives that h5py and NumPy wrote wrongly.   ... .sh CONSILIUM WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2
. "$here/harness.sh"
python=/usr/bin/python3
[ -x $python ] || python=python3
$python -c 'import h5py, numpy' 2>/dev/null || exit 77
seed=${CSL_SEED:-$(date +%s)}
echo "seed $seed (CSL_SEED replays it)"
$python "$here/hostile_data.py" "$consilium" "$seed" || fail 'see above'
echo 'hostile data sets are refused for what is wrong with them'
