#!/bin/sh
# consilium data import FOLDER: pictures by class, and folders it must refuse.   ... .sh CONSILIUM WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2
. "$here/harness.sh"
python=/usr/bin/python3
[ -x $python ] || python=python3
$python -c 'import h5py, numpy, PIL' 2>/dev/null || exit 77
seed=${CSL_SEED:-$(date +%s)}
echo "seed $seed (CSL_SEED replays it)"
$python "$here/image_folders.py" write . "$seed"

import() {
    folder=$1
    shift
    expect 0 "$folder.h5: " "$consilium" data import "$folder" "$folder.h5" "$@"
    expect 0 'valid' "$consilium" data validate "$folder.h5"
}
import grey --licence 'CC0-1.0'
expect 0 '30 images, 1 x 11 x 13, 1 channel, u8, multiclass' "$consilium" data info grey.h5
expect 0 'shadow                            5          2          3' "$consilium" data info grey.h5
import wide
expect 0 '8 images, 1 x 6 x 7, 1 channel, u16, binary' "$consilium" data info wide.h5
import palette
import colour
expect 0 '3 channels' "$consilium" data info colour.h5
import mixed --size 24x16 --colour grey
$python "$here/image_folders.py" check . "$seed" || fail 'other pixels than Pillow reads'

refuse() {
    folder=$1
    text=$2
    shift 2
    expect 1 "$text" "$consilium" data import "$folder" refused.h5 "$@"
    [ ! -e refused.h5 ] || fail "$folder was refused, but refused.h5 is there"
}
refuse mixed 'expected 20 x 50 pixels as in a/0.png, found'
refuse mixed 'expected RGB as in a/0.png, found grey' --size 16
refuse clear 'clear/a/1.png: pixel'
refuse cmyk 'cmyk/a/1.jpg: expected grey or RGB'
refuse depths 'depths/b/2.png: expected 8 bits a sample as in a/1.png, found 16'
refuse alone 'expected pictures in a folder for each of 2 classes or more, found 1'
refuse absent 'absent'
mkdir -p empty/a empty/b
refuse empty 'found 2 folders with 0 pictures'
echo words >text/b/notes.txt
refuse text 'text/b/notes.txt: expected a PNG or JPEG picture, found other bytes'
mkdir text/b/deeper
refuse text 'text/b/deeper: expected a picture, found a folder'
echo words >hidden/.DS_Store
echo words >hidden/a/.DS_Store
import hidden
echo words >hidden/words.txt
refuse hidden 'hidden/words.txt: expected a folder of a class, found a file'
mkdir hidden/train
refuse hidden 'expected folders of classes, or train, val and test alone, found both'
expect 2 '--size' "$consilium" data import grey refused.h5 --size 0
expect 2 '--colour' "$consilium" data import grey refused.h5 --colour pink
for size in x 10x x10 10x10x10 ten ''; do
    expect 2 "--size: expected a number or HEIGHTxWIDTH, found '$size'" "$consilium" data import \
        grey refused.h5 --size "$size"
done
expect 2 'are for folders' "$consilium" data import grey.h5 refused.h5 --size 8

# Patients and sites from a CSV file, with what spreadsheets write.
list() {
    (cd grey && find . -name '*.png' | sed 's,^\./,,' | sort)
}
{
    printf '\357\273\277age,patient,file,site\r\n'
    list | awk '{ printf "%d,\042p \042\042%d\042\042, x\042,%s,%s\r\n", 30 + NR, NR % 7, $0, NR % 7 < 3 ? "north" : "south" }'
} >people.csv
expect 0 '30 images' "$consilium" data import grey people.h5 --patients people.csv
$python -c 'import csv, h5py
rows = list(csv.DictReader(open("people.csv", encoding="utf-8-sig", newline="")))
order = {"train": 0, "val": 1, "test": 2}
rows.sort(key=lambda row: (order[row["file"].split("/")[0]], row["file"]))
file = h5py.File("people.h5")
first = [[other["patient"] for other in rows].index(row["patient"]) for row in rows]
assert list(file["subject"]) == first and len(set(first)) == 7
assert list(file["group"]) == [int(row["site"] == "south") for row in rows]' ||
    fail 'other patients or sites than the CSV file says'
expect 0 '' "$consilium" data split people.h5 --out people --scheme natural --institutions 2 --min-size 1 \
    --force
refuse grey 'none.csv: No such file' --patients none.csv
refuse_list() {
    refuse grey "$1" --patients bad.csv
}
sed 's/patient,/person,/' people.csv >bad.csv && refuse_list "line 1: expected columns file, patient and, if known, site, found no 'patient'"
sed 's/age,/file,/' people.csv >bad.csv && refuse_list "line 1: expected one column 'file', found two"
sed 4d people.csv >bad.csv && refuse_list 'expected a row for each picture, found none for'
sed 4p people.csv >bad.csv && refuse_list 'line 5: expected one row for a picture, found'
sed '5s/png/jpg/' people.csv >bad.csv && refuse_list 'line 5: expected the path of a picture below the folder, found'
sed '6s/$/,more/' people.csv | tr -d '\r' >bad.csv && refuse_list 'line 6: expected 4 columns, found 5'
sed '7s/"p[^x]*x"//' people.csv >bad.csv && refuse_list 'line 7: expected a patient, found none'
sed '8s/north\|south//' people.csv >bad.csv && refuse_list 'line 8: expected a site, found none'
sed '9s/x"/x/' people.csv | sed '10,$d' >bad.csv && refuse_list 'line 9: expected a closing quote, found the end'
sed '9s/x"/x" y/' people.csv >bad.csv && refuse_list 'line 9: expected a comma or the end of the line'
tr 4 '\0' <people.csv >bad.csv && refuse_list 'expected text, found a zero byte'
: >bad.csv && refuse_list 'line 1: expected columns'
refuse grey 'expected a file' --patients grey
expect 2 'are for folders' "$consilium" data import grey.h5 refused.h5 --patients people.csv

# Cut short anywhere and with any byte of the head inverted: refused by name, or the same pixels.
for kind in cut:png cutjpeg:jpg; do
    folder=${kind%:*} ending=${kind#*:}
    whole=$folder/b/2.$ending
    size=$(size_of "$whole")
    cp "$whole" whole.picture
    for part in 0 1 7 20 33 $((size / 3)) $((size / 2)) $((size - 2)); do
        copy_cut whole.picture "$whole" "$part"
        refuse "$folder" "$whole"
    done
    for place in 0 2 11 17 22 30 $((size / 2)); do
        copy_flipped whole.picture "$whole" "$place"
        found=0
        "$consilium" data import "$folder" flipped.h5 >printed.txt 2>complaints.txt || found=$?
        [ $found -le 1 ] || fail "byte $place of $whole inverted: ends with $found"
        [ $found = 0 ] || grep -q "$whole" complaints.txt || fail "byte $place: no message"
    done
done
echo 'folders of pictures become data sets'
