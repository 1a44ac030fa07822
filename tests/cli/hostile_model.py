#!/usr/bin/env python3
"""Hostile model files: what reading them must say.   hostile_model.py READER MODEL.h5

READER MODEL.h5 reads a model by csl_model_read; each case changes a copy of a sound model.
"""
import hashlib
import os
import shutil
import subprocess
import sys

import h5py
import numpy as np

reader, sound = sys.argv[1], sys.argv[2]
WEIGHT = "parameters/conv1/weight"
failures = 0


def expect(what, path, texts):
    """Refused with exit code 1 and all the texts, or accepted where there are none."""
    global failures
    done = subprocess.run([reader, path], capture_output=True, text=True, timeout=60)
    said = done.stdout + done.stderr
    missing = [text for text in texts + ([path] if texts else []) if text not in said]
    if (done.returncode != (1 if texts else 0)) or missing:
        failures += 1
        print("FAILED: %s: expected %r, found exit %d and:\n%s" % (what, missing or "acceptance", done.returncode, said))


def again(file, name, value, **options):
    """The array anew, with its old attributes."""
    attributes = dict(file[name].attrs)
    del file[name]
    file.create_dataset(name, data=value, **options)
    file[name].attrs.update(attributes)


def sign(file):
    """The digest of the parameters as they are now, so that not only it is wrong."""
    digest = hashlib.sha256()
    for layer in file["layers/definition"].attrs["names"]:
        for kind in ("weight", "bias"):
            name = "parameters/%s/%s" % (layer.decode(), kind)
            if name in file:
                digest.update(np.ascontiguousarray(file[name][:], "<f4").tobytes())
    file.attrs["parameters_sha256"] = np.bytes_(digest.hexdigest())


def value(place, number):
    def change(file):
        file[WEIGHT][place] = number
        sign(file)
    return change


def array(name, make):
    def change(file):
        again(file, name, make(file[name][:]))
    return change


def attribute(name, new):
    def change(file):
        if new is None:
            del file.attrs[name]
        else:
            file.attrs[name] = new
    return change


def cell(layer, column, new):
    def change(file):
        columns = [name.decode() for name in file["layers/definition"].attrs["columns"]]
        file["layers/definition"][layer, columns.index(column)] = new
    return change


def without(name):
    def change(file):
        del file[name]
    return change


def huge(file):
    attributes = dict(file[WEIGHT].attrs)
    del file[WEIGHT]
    file.create_dataset(WEIGHT, shape=(2**40, 1, 3, 3), dtype="<f4", chunks=(64, 1, 3, 3))
    file[WEIGHT].attrs.update(attributes)


def extra_layer(file):
    rows = file["layers/definition"][:]
    names = list(file["layers/definition"].attrs["names"]) + [b"extra"]
    again(file, "layers/definition", np.concatenate([rows, rows[:1]]))
    file["layers/definition"].attrs["names"] = np.array(names, "S")
    again(file, "layers/rate", np.append(file["layers/rate"][:], np.float32(0)))


def link_away(file):
    del file[WEIGHT]
    file[WEIGHT] = h5py.ExternalLink("other.h5", "/weight")


CASES = [
    ("nothing", lambda file: None, []),
    ("signed-anew", lambda file: sign(file), []),
    ("weights-nan", value((0, 0, 0, 1), np.nan), ["/" + WEIGHT + ": value 1: expected a finite number, found nan"]),
    ("weights-infinite", value((2, 0, 1, 1), np.inf), ["/" + WEIGHT + ": value 22: expected a finite number, found inf"]),
    ("weights-changed", lambda file: file[WEIGHT].write_direct(file[WEIGHT][:] + np.float32(1)), ["parameters_sha256: expected", "found"]),
    ("weights-double", array(WEIGHT, lambda v: v.astype("<f8")), ["/" + WEIGHT + ": expected 16 x 1 x 3 x 3 floats of 4 bytes", "found 16 x 1 x 3 x 3 floats of 8"]),
    ("weights-integers", array(WEIGHT, lambda v: v.astype("<i4")), ["/" + WEIGHT, "expected", "found"]),
    ("weights-transposed", array(WEIGHT, lambda v: np.ascontiguousarray(v.transpose(1, 0, 2, 3))), ["/" + WEIGHT, "expected", "found"]),
    ("weights-flat", array(WEIGHT, lambda v: v.reshape(-1)), ["/" + WEIGHT, "expected", "found"]),
    ("weights-too-few", array(WEIGHT, lambda v: v[:-1]), ["/" + WEIGHT + ": expected 16 x 1 x 3 x 3 floats", "found 15 x 1 x 3 x 3 floats"]),
    ("weights-missing", without(WEIGHT), ["/" + WEIGHT + ": expected an array, found none"]),
    ("weights-elsewhere", link_away, ["expected", "found"]),
    ("weights-huge", huge, ["/" + WEIGHT, "expected", "found"]),
    ("layers-missing", without("layers/definition"), ["/layers/definition: expected an array, found none"]),
    ("rates-missing", without("layers/rate"), ["/layers/rate: expected an array, found none"]),
    ("rate-not-a-number", array("layers/rate", lambda v: v * np.float32(np.nan)), ["/layers/definition: layer 0", "expected", "found"]),
    ("layers-float", array("layers/definition", lambda v: v.astype("<f4")), ["/layers: expected 1..", "found"]),
    ("layers-none", array("layers/definition", lambda v: v[:0]), ["expected", "found"]),
    ("layer-extra", extra_layer, ["/layers: model cnn-small: nothing reads layer 'linear2'"]),
    ("kind-unknown", cell(0, "kind", 99), ["/layers/definition: layer 0", "expected", "found"]),
    ("input-from-later", cell(0, "input", 3), ["/layers: model cnn-small: layer 'conv1' reads layer 3, expected -1"]),
    ("channels-huge", cell(0, "channels", 2**31 - 1), ["/layers: model cnn-small: layer 'conv1' has 2147483647 outputs, expected 1..4096"]),
    ("channels-negative", cell(0, "channels", -1), ["/layers/definition: layer 0", "expected", "found"]),
    ("size-zero", cell(0, "size_h", 0), ["/layers: model cnn-small: layer 'conv1', axis 1: size 0", "must each be in 1.."]),
    ("schema-other", attribute("schema", np.bytes_("fedmed-study")), ["attribute schema: expected 'consilium-model', found 'fedmed-study'"]),
    ("schema-newer", attribute("schema_version", np.bytes_("9.0")), ["attribute schema_version: expected '1.0', found '9.0'"]),
    ("task-unknown", attribute("task", np.bytes_("guess")), ["attribute task: expected", "found 'guess'"]),
    ("classes-zero", attribute("class_count", np.uint32(0)), ["attribute class_count: expected 1..", "found 0"]),
    ("classes-huge", attribute("class_count", np.uint64(2**40)), ["attribute class_count: expected 1..", "found 1099511627776"]),
    ("classes-text", attribute("class_count", np.bytes_("two")), ["attribute class_count: expected", "found"]),
    ("input-huge", attribute("input_width", np.uint64(2**33)), ["attribute input_width: expected 1..", "found 8589934592"]),
    ("input-other", attribute("input_width", np.uint32(40)), ["expected", "found"]),
    ("digest-missing", attribute("parameters_sha256", None), ["attribute parameters_sha256: expected", "found"]),
    ("name-missing", attribute("name", None), ["attribute name: expected", "found"]),
]

for name, change, texts in CASES:
    path = name + ".h5"
    shutil.copy(sound, path)
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        change(file)
    expect(name, path, texts)

size = os.path.getsize(sound)
with open(sound, "rb") as file:
    whole = file.read()
for part in (0, 1, 8, 100, size // 3, size // 2, size - 1):
    with open("cut.h5", "wb") as file:
        file.write(whole[:part])
    expect("cut after %d bytes" % part, "cut.h5", ["expected"] if part > 0 else ["cut.h5"])
with open("words.h5", "w") as file:
    file.write("these are words\n" * 100)
expect("words", "words.h5", ["words.h5"])
expect("absent", "absent.h5", ["No such file"])
print("%d hostile models" % (len(CASES) + 8))
sys.exit(failures != 0)
