#!/bin/sh
# Institutions that name their classes differently do not train together.   ... .sh CONSILIUM WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 work=$2
. "$here/harness.sh"
python=/usr/bin/python3
[ -x $python ] || python=python3
$python -c 'import h5py, numpy' 2>/dev/null || exit 77
expect 0 '' "$consilium" data synth phantom --out sound.h5 --count 60 --size 16
cat >study.yaml <<END
study: unsuited
seed: 3
data: {path: sound.h5}
institutions: {count: 2}
model: {name: cnn-small}
rounds: 1
device: host
END
# Institutions whose class 1 is not the same: named by both files and both lists.
$python - <<'END'
import os, h5py, numpy as np
names = {"agree": (["clear", "nodule"],) * 2, "differ": (["clear", "nodule"], ["nodule", "clear"]),
         "silent": (["clear", "nodule"], None)}
for folder, lists in names.items():
    os.mkdir(folder)
    for i, classes in enumerate(lists):
        with h5py.File("sound.h5") as source, h5py.File("%s/site-%d.h5" % (folder, i), "w", libver=("v110", "v110")) as file:
            for key in source:
                source.copy(key, file)
            file.attrs.update({k: v for k, v in source.attrs.items() if k != "content_sha256"})
            if classes:
                file["labels"].attrs["class_names"] = np.array(classes, "S")
END
expect 0 'all together' "$consilium" run study.yaml --set data.path=agree --out agreed
expect 0 'all together' "$consilium" run study.yaml --set data.path=silent --out silenced
expect 1 'differ/site-1.h5: /labels attribute class_names: expected the classes of differ/site-0.h5 (clear, nodule), found nodule, clear' \
    "$consilium" run study.yaml --set data.path=differ --out refused
[ ! -e refused/metrics.csv ] || fail 'a refused run left results'
echo 'names of classes are compared'
