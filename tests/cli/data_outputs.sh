#!/bin/sh
# consilium data: what it may not write over, and what travels with the images.   ... .sh CONSILIUM WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2
. "$here/harness.sh"
export SOURCE_DATE_EPOCH=1700000000
python=/usr/bin/python3
[ -x $python ] || python=python3
$python -c 'import h5py, numpy, PIL' 2>/dev/null || exit 77
seed=${CSL_SEED:-$(date +%s)}
echo "seed $seed (CSL_SEED replays it)"

# A file that is read stays as it is, by whatever name the output reaches it.
expect 0 '' "$consilium" data synth phantom --out pool.h5 --count 400 --size 16 --seed "$seed"
mkdir -p pool.into pictures/no pictures/yes
$python - "$seed" <<'END'
import sys
import numpy, PIL.Image
random = numpy.random.default_rng(int(sys.argv[1]))
for i in range(40):
    pixels = random.integers(0, 256, (9, 8), dtype=numpy.uint8)
    PIL.Image.fromarray(pixels).save("pictures/%s/%02d.png" % (("no", "yes")[i % 2], i))
numpy.savez("archive.npz", train_images=random.integers(0, 256, (30, 9, 8), dtype=numpy.uint8),
            train_labels=numpy.arange(30, dtype=numpy.uint8)[:, None] % 3)
with open("people.csv", "w") as file:
    file.write("file,patient\n")
    for i in range(40):
        file.write("%s/%02d.png,%d\n" % (("no", "yes")[i % 2], i, i // 3))
END
ln pool.h5 pool.into/institution-00.h5
ln -s archive.npz link.h5
mkdir sources && cp -r pool.h5 archive.npz people.csv pictures sources/
fingerprint sources >before.txt
expect 1 'expected another file than the pool' "$consilium" data split pool.h5 --out pool.into
expect 1 'another file to write to' "$consilium" data import archive.npz archive.npz
expect 1 'another file to write to' "$consilium" data import archive.npz link.h5
expect 1 'another file to write to' "$consilium" data import pictures people.csv --patients people.csv
expect 1 'outside the folder that is read' "$consilium" data import pictures pictures/no/00.png
expect 1 'outside the folder that is read' "$consilium" data import pictures pictures/new.h5
expect 1 'found a device' "$consilium" data synth phantom --out /dev/null --count 2000000000
expect 1 'found a folder' "$consilium" data import archive.npz pictures
cp -r pool.h5 archive.npz people.csv pictures sources/
fingerprint sources >after.txt
cmp before.txt after.txt || fail 'a refused command changed a file'

# No file of an earlier split, nor any other data set, is left to be taken for an institution.
expect 0 '' "$consilium" data split pool.h5 --out parts --institutions 5
fingerprint parts >before.txt
expect 1 'found institution-0' "$consilium" data split pool.h5 --out parts --institutions 3
fingerprint parts >after.txt
cmp before.txt after.txt || fail 'a refused split changed its folder'
expect 0 '' "$consilium" data split pool.h5 --out parts --institutions 5 --seed 2
cp pool.h5 parts/other.h5
expect 1 'found other.h5' "$consilium" data split pool.h5 --out parts --institutions 5

# More than 100 institutions: the order of the names is that of the numbers.
expect 0 '' "$consilium" data split pool.h5 --out many --institutions 101 --min-size 1
ls many | sed -n 's/^institution-\([0-9]*\)\.h5$/\1/p' >names.txt
seq -f %03.0f 0 100 | cmp - names.txt || fail 'names of 101 institutions are out of order'
for number in 000 010 100; do
    expect 0 "site institution-$number" "$consilium" data info many/institution-$number.h5
done

# Names in any language come through byte by byte; what is no UTF-8 is refused with its place.
mv pictures/no "pictures/Lungenentzündung 肺炎"
mv pictures/yes 'pictures/ζ, "x"'
site='Hôpital Würzburg 病院 №7'
consent="DUO:0000042 — GRU"
expect 0 '' "$consilium" data import pictures named.h5 --site "$site" --licence 'CC BY 4.0' \
    --describe "consent=$consent" --describe 'patient_identity_removed=YES' --describe irb_id=2026-7
expect 0 "site $site" "$consilium" data info named.h5
expect 0 'Lungenentzündung 肺炎' "$consilium" data info named.h5
expect 0 "\"site\": " "$consilium" data info --json named.h5
expect 2 "no attribute 'licens'; did you mean 'licence'" "$consilium" data import pictures no.h5 --describe licens=x
expect 2 'expected NAME=TEXT' "$consilium" data import pictures no.h5 --describe licence
expect 2 '1 to 63 bytes' "$consilium" data import pictures no.h5 --site "$(printf '%064d' 7)"
expect 2 'site: expected UTF-8 text, found byte 3 (0xfc) that is not UTF-8' \
    "$consilium" data import pictures no.h5 --site "$(printf 'abc\374d')"
expect 2 'licence: expected UTF-8 text, found byte 0 (0xff)' \
    "$consilium" data import pictures no.h5 --licence "$(printf '\377')"
latin=$(printf 'pictures/n\351')
mkdir "$latin" && cp pictures/L*/* "$latin"
expect 1 'expected the name of a class in UTF-8, found byte 1 (0xe9) that is not UTF-8' \
    "$consilium" data import pictures no.h5
rm -r "$latin"
[ ! -e no.h5 ] || fail 'a refused import left a file'

# What the pool says of itself, its parts say too; of a split of a run as well.
expect 0 '' "$consilium" data split named.h5 --out named --institutions 2 --min-size 1
cat >study.yaml <<END
study: travel
seed: 3
data: {path: named.h5, split: {scheme: iid, min_size: 1}}
institutions: {count: 2}
model: {name: cnn-small}
rounds: 1
END
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM
expect 0 '' "$consilium" run study.yaml --out run
$python - "$site" "$consent" <<'END' || fail 'h5py reads something else'
import sys
import h5py, numpy
site, consent = (text.encode() for text in sys.argv[1:])
uids = set()
for path, name in (("named.h5", site), ("named/institution-01.h5", b"institution-01"),
                   ("run/institutions/institution-01.h5", b"institution-01")):
    with h5py.File(path) as file:
        names = [text.rstrip(b"\0").decode() for text in file["labels"].attrs["class_names"]]
        assert names == ["Lungenentzündung 肺炎", 'ζ, "x"'], names
        assert bytes(file.attrs["site_id"]) == name, (path, file.attrs["site_id"])
        told = file["governance"].attrs
        assert bytes(told["consent"]) == consent and bytes(told["irb_id"]) == b"2026-7"
        assert bytes(told["patient_identity_removed"]) == b"YES"
        assert bytes(told["legal_basis"]) == b"unknown"
        assert bytes(file.attrs["licence"]) == b"CC BY 4.0"
        assert bytes(file["images"].attrs["photometric"]) == b"MONOCHROME2"
        assert bytes(file["split"].attrs["method"]).startswith(b"as in the folders")
        uids.add(bytes(file.attrs["site_uid"]))
with h5py.File("named/institution-01.h5") as file:
    assert bytes(file["split"].attrs["method"]) == b"as in the folders; iid, seed 1"
assert len(uids) == 3, uids
# Latin-1 and control characters in a file of somebody else
for value, place in ((b"n\xe9e", "a"), (b"a\x1bb", "b")):
    with h5py.File("named.h5") as source, h5py.File("latin-%s.h5" % place, "w", libver=("v110", "v110")) as file:
        for key in source:
            source.copy(key, file)
        file.attrs.update({k: v for k, v in source.attrs.items() if k != "content_sha256"})
        file["labels"].attrs["class_names"] = numpy.array([b"fine", value])
END
for command in info validate; do
    expect 1 'class_names: expected UTF-8 text below 64 bytes, found byte 1 (0xe9) that is not UTF-8 in text 1' \
        "$consilium" data $command latin-a.h5
    expect 1 'found byte 1 (0x1b) that does not print in text 1' "$consilium" data $command latin-b.h5
done

# A run that replaces one of more institutions leaves none of the old ones, an institution without a
# name of its own gets the one of its number.
sed 's/count: 2/count: 3/' study.yaml >three.yaml
expect 0 '' "$consilium" run three.yaml --out again
expect 0 '' "$consilium" run study.yaml --out again --overwrite
[ ! -e again/institutions/institution-02.h5 ] || fail 'an institution of the old run is still there'
for i in 0 1; do
    expect 0 '' "$consilium" data import pictures "nameless-$i.h5"
done
mkdir nameless && mv nameless-0.h5 nameless-1.h5 nameless
expect 0 'institution-01' "$consilium" run study.yaml --set data.path=nameless --out unnamed
echo 'outputs keep inputs, and texts travel'
