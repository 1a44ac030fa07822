# What the scripts of tests/cli and tests/mpi share. Sourced with the folder of the calling script as
# $here, the program as $consilium and a folder of its own as $work; goes there, empty.
set -eu
# shellcheck source=tests/packages.sh
. "$here/../packages.sh"
export OMP_NUM_THREADS=1
# Under the sanitizers: what MPI's unloaded plug-ins forget has no name that could be suppressed.
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=0}"
rm -rf "$work"
mkdir -p "$work"
cd "$work"

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# expect CODE TEXT COMMAND...: the exit code, and TEXT somewhere in what was printed. The program's
# last words stay in printed.txt and complaints.txt.
expect() {
    code=$1
    text=$2
    shift 2
    found=0
    "$@" >printed.txt 2>complaints.txt </dev/null || found=$?
    if [ "$found" != "$code" ] || ! grep -qF -e "$text" printed.txt complaints.txt; then
        cat printed.txt complaints.txt >&2
        fail "$* : expected exit code $code and '$text', found exit code $found"
    fi
}

# copy_cut FROM TO SIZE: the first SIZE bytes. copy_flipped FROM TO PLACE: one byte inverted there.
copy_cut() {
    dd if="$1" of="$2" bs=1 count="$3" 2>/dev/null
}
copy_flipped() {
    cp "$1" "$2"
    byte=$(od -An -tu1 -j "$3" -N 1 "$1")
    # shellcheck disable=SC2059 # the format is the byte
    printf "\\$(printf %o $((255 - byte)))" | dd of="$2" bs=1 seek="$3" conv=notrunc 2>/dev/null
}
size_of() {
    stat -c %s "$1"
}
# Everything in a folder with its content, to see later that nothing was touched.
fingerprint() {
    find "$1" -type f -exec sha256sum {} + | sort
}
