#!/bin/sh
# consilium info: what it says is so.   ... .sh CONSILIUM WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2
. "$here/harness.sh"

expect 0 'Limits' "$consilium" info
for word in Build System Devices Libraries 'host:guard' mpi hdf5 onednn openblas jansson institutions; do
    grep -qF "$word" printed.txt || fail "info says nothing of $word"
done
for network in cnn-small resnet8-28 resnet18-28 resnet18 cnn3d-28; do
    grep -q "^  $network  *[a-zA-Z]" printed.txt || fail "info does not list the network $network"
done
grep -q "cores  *$(getconf _NPROCESSORS_ONLN)\$" printed.txt || fail 'another number of cores'
! grep -q '  -$' printed.txt || grep -q 'cuda_toolkit  *-$' printed.txt || fail 'a version is missing'
version=$("$consilium" --version)
[ "$(head -n 1 printed.txt)" = "$version" ] || fail 'two versions'
expect 2 "'more' is too much" "$consilium" info more
expect 2 'did you mean --json?' "$consilium" info --jsno
if command -v python3 >/dev/null; then
    "$consilium" info --json >info.json
    python3 - "$version" <<'END' || fail 'info --json is not as it should be'
import json
import sys

info = json.load(open("info.json"))
assert "consilium " + info["version"] == sys.argv[1]
devices = {device["resource"]: device for device in info["devices"]}
assert {"host", "host:guard"} <= set(devices)
for name in ("host", "host:guard"):
    assert "error" not in devices[name] and not devices[name]["simulated"]
    assert devices[name]["memory_size"] >= devices[name]["memory_free_size"] > 0
assert all(info["libraries"].values()) and "Open MPI" in info["libraries"]["mpi"]
assert all(value > 0 for value in info["limits"].values())
assert info["build"]["compiler"] and info["system"]["cores"] > 0
END
fi
echo 'info is right'
