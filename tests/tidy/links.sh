#!/bin/sh
# What the program is linked with: never the driver, which a machine without a card lacks, nor what is
# opened when first used; and where the toolkit's libraries are found.
# usage: links.sh PROGRAM BUILD_DIR [CUDA_LIBRARY_DIR]
set -eu
program=$1
build=$2
dynamic=$(readelf -d "$program")
code=0
refuse() {
    echo "$1"
    code=1
}
for library in libcuda libcublas libcublasLt libnccl; do
    if echo "$dynamic" | grep -q "(NEEDED).*\[$library\.so"; then
        refuse "$program: needs $library, expected it to be opened when first used"
    fi
done
linked=$(find "$build" \( -name link.txt -o -name build.ninja -o -name '*.pc' -o -name '*.cmake' \) \
    -exec grep -lE -e '-lcuda([[:space:]"]|$)' '{}' +) || true
[ -z "$linked" ] || refuse "-lcuda in: $linked"
runpath=$(echo "$dynamic" | sed -n 's/.*(R[UN]*PATH).*\[\(.*\)\].*/\1/p')
case ${3:+:$runpath:} in
'' | *":${3:-}:"*) ;;
*) refuse "$program: expected $3 in its RUNPATH, found '$runpath'" ;;
esac
exit $code
