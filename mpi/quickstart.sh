#!/bin/sh
# From a clone to a trained model: installs what is missing, builds, and trains one network across
# eight institutions on phantom images that it makes itself. Under five minutes on two cores.
#
#   sh mpi/quickstart.sh [--no-install] [--out DIR]
#
# Run again, it brings build and results up to date. It writes only into build/ and into DIR
# (runs/quickstart), and into a DIR that holds anything only if it made that DIR itself.
set -eu
cd "$(dirname "$0")/.."
no_install=0
out=runs/quickstart
while [ $# -gt 0 ]; do
    case $1 in
    --no-install) no_install=1 ;;
    --out) out=${2:?--out needs a directory}; shift ;;
    --help) sed -n 2,8p "$0" | cut -c3-; exit 0 ;;
    *) echo "mpi/quickstart.sh: unknown option $1; try --help" >&2; exit 2 ;;
    esac
    shift
done
# A mark in the folder says that it is ours: nothing that a user may have made is written over.
mark=$out/made-by-quickstart
if [ ! -e "$mark" ] && [ -n "$(ls -A "$out" 2>/dev/null)" ]; then
    echo "mpi/quickstart.sh: $out: expected no folder, an empty one or an earlier quickstart's," \
        "found other files; choose another with --out" >&2
    exit 1
fi
mkdir -p "$out"
echo "This folder and what is in it were made by mpi/quickstart.sh." >"$mark"

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

"$consilium" data synth phantom --out "$out/phantom.h5" --count 4000 --sites 8 --seed 7
mpirun -n 8 "$consilium" run datasets/studies/phantom-8.yaml \
    --set data.path="$out/phantom.h5" --out "$out/run" --overwrite

cat <<END

The results are in $out/run:
  metrics.csv    one row per round: losses, AUC, accuracy
  rounds.jsonl   what happened, one event per line
  model.h5       the trained model; h5py and 'h5ls -r' read it
  study.yaml     every setting of this run
Next: read README.md, or run a study of your own: $consilium run --help
END
