#!/bin/sh
# consilium data: synth, info, validate, split; and files that are damaged.   ... .sh CONSILIUM WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2
. "$here/harness.sh"
export SOURCE_DATE_EPOCH=1700000000

synth() {
    expect 0 "$1: " "$consilium" data synth phantom --out "$@"
}
synth two.h5 --count 120 --sites 3 --seed 5
expect 0 'valid, 120 images' "$consilium" data validate two.h5
expect 0 '120 images, 1 x 28 x 28' "$consilium" data info two.h5
expect 0 '"images": 120' "$consilium" data info --json two.h5
synth three.h5 --count 30 --sites 2 --dims 3 --classes 3 --size 16 --seed 5
expect 0 '30 images, 16 x 16 x 16' "$consilium" data info three.h5
expect 0 'valid' "$consilium" data validate three.h5

# The same seed gives the same file, at another second too; another seed another one.
sleep 1.1
synth again.h5 --count 120 --sites 3 --seed 5
cmp two.h5 again.h5 || fail 'the same seed gave another file'
synth other.h5 --count 120 --sites 3 --seed 6
! cmp -s two.h5 other.h5 || fail 'another seed gave the same file'

# A split gives every image to one institution, in files of their own that hold up.
expect 0 'effective number' "$consilium" data split two.h5 --out parts --scheme natural \
    --institutions 3 --min-size 1
total=0
for site in 00 01 02; do
    expect 0 'valid' "$consilium" data validate parts/institution-$site.h5
    "$consilium" data info --json parts/institution-$site.h5 >info.json
    total=$((total + $(sed -n 's/^  "images": \([0-9]*\),$/\1/p' info.json)))
done
[ $total = 120 ] || fail "120 images became $total"
[ -s parts/partition.json ] || fail 'no report of the partition'
expect 1 'expected at least 9 sites, found 3' "$consilium" data split two.h5 --out nine \
    --scheme natural --institutions 9
# An option that the scheme does not read would change nothing.
for option in 'alpha 0.1' 'labels-each 1' 'shards-each 3' 'sigma 1' 'strength 0.5'; do
    expect 2 "--${option% *}: scheme natural makes no use of it" "$consilium" data split two.h5 \
        --out unused "--${option% *}" "${option#* }" --scheme natural
done
[ ! -e unused ] || fail 'wrong usage made a folder'
expect 1 'found 480: 8 institutions of 60 each' "$consilium" data split two.h5 --out shards \
    --scheme shards --shards-each 60
expect 1 'absent.h5: No such file' "$consilium" data info absent.h5
expect 1 'a folder' "$consilium" data validate parts
echo 'no data set' >words.h5
expect 1 'something else' "$consilium" data info words.h5

# Truncated anywhere: refused with the file's name, and nothing is made of it.
size=$(size_of two.h5)
for part in 0 1 7 48 100 $((size / 3)) $((size / 2)) $((size - 1)); do
    copy_cut two.h5 cut.h5 "$part"
    expect 1 'cut.h5' "$consilium" data info cut.h5
    expect 1 'cut.h5' "$consilium" data validate cut.h5
    expect 1 'cut.h5' "$consilium" data split cut.h5 --out from-cut --institutions 2 --min-size 1
done
[ ! -e from-cut/partition.json ] || fail 'a truncated file was split'

# One byte inverted. In the header it is found by its checksum; anywhere, validate finds it by the
# digest or the file is as good as before, and no byte ends the program by a signal.
for place in 0 3 8 9 12 20 28 36 44 50 60 80; do
    copy_flipped two.h5 flipped.h5 $place
    expect 1 'flipped.h5' "$consilium" data validate flipped.h5
    expect 1 'flipped.h5' "$consilium" data info flipped.h5
done
step=$((size / 23))
place=$step
while [ $place -lt "$size" ]; do
    copy_flipped two.h5 flipped.h5 $place
    for command in validate info; do
        found=0
        "$consilium" data $command flipped.h5 >printed.txt 2>complaints.txt || found=$?
        [ $found -le 1 ] || fail "byte $place inverted: $command ends with $found"
        [ $found = 0 ] || grep -q 'flipped.h5' complaints.txt || fail "byte $place: no message"
    done
    place=$((place + step))
done
# Pixels lie in the middle of the file.
copy_flipped two.h5 flipped.h5 $((size / 2))
expect 1 'flipped.h5' "$consilium" data validate flipped.h5

# An output that cannot be written.
expect 1 'No such file or directory' "$consilium" data synth phantom --out no/such/folder.h5 --count 20
cp two.h5 kept.h5
expect 1 '' "$consilium" data split cut.h5 --out kept.h5
cmp two.h5 kept.h5 || fail 'a failed command changed a file'
echo 'data sets hold up'
