#!/bin/sh
# From a clone to a trained model: installs what is missing, builds, and trains one network across
# eight institutions on phantom images that it makes itself. Under five minutes on two cores.
#
#   sh mpi/quickstart.sh [--no-install] [--out DIR]
set -eu
cd "$(dirname "$0")/.."
no_install=0
out=runs/quickstart
while [ $# -gt 0 ]; do
    case $1 in
    --no-install) no_install=1 ;;
    --out) out=${2:?--out needs a directory}; shift ;;
    --help) sed -n 2,5p "$0" | cut -c3-; exit 0 ;;
    *) echo "mpi/quickstart.sh: unknown option $1; try --help" >&2; exit 2 ;;
    esac
    shift
done
. tests/packages.sh
install_packages build

echo "building (log: build/quickstart.log)"
mkdir -p build
{ cmake --preset release -DCONSILIUM_TESTS=OFF -B build/quickstart &&
    cmake --build build/quickstart -j "$(nproc)" --target consilium; } >build/quickstart.log 2>&1 || {
    tail -n 40 build/quickstart.log
    exit 1
}
consilium=build/quickstart/mpi/consilium

rm -rf "$out"
mkdir -p "$out"
"$consilium" data synth phantom --out "$out/phantom.h5" --count 4000 --sites 8 --seed 7
mpirun -n 8 "$consilium" run datasets/studies/phantom-8.yaml \
    --set data.path="$out/phantom.h5" --out "$out/run"

cat <<END

The results are in $out/run:
  metrics.csv    one row per round: losses, AUC, accuracy
  rounds.jsonl   what happened, one event per line
  model.h5       the trained model; h5py and 'h5ls -r' read it
  study.yaml     every setting of this run
Next: read README.md, or run a study of your own: $consilium run --help
END
