#!/usr/bin/env python3
"""Hostile data sets: what `consilium data` must say of each.   hostile_data.py CONSILIUM SEED

Every case changes one sound file or archive that h5py or NumPy wrote. In the working directory.
"""
import io
import os
import re
import subprocess
import sys
import zipfile

import h5py
import numpy as np

consilium, seed = sys.argv[1], int(sys.argv[2])
random = np.random.default_rng(seed)
COUNT = 12
failures = 0


def run(*arguments):
    done = subprocess.run([consilium, "data"] + list(arguments), capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def expect(what, result, code, texts):
    global failures
    missing = [text for text in texts if text not in result[1]]
    if result[0] != code or missing:
        failures += 1
        print("FAILED: %s: expected exit %d and %r, found exit %d and:\n%s" % (what, code, missing, *result))


def sound():
    """A data set as arrays and attributes; cases change it before it is written."""
    labels = np.arange(COUNT, dtype=np.int32) % 2
    return {
        "root": {"schema": np.bytes_("fedmed-study"), "schema_version": np.bytes_("1.0"),
                 "modality_class": np.bytes_("imaging"), "task": np.bytes_("binary"),
                 "site_id": np.bytes_("unknown"), "source_sha256": np.bytes_("unknown"), "n_samples": np.uint64(COUNT)},
        "images": random.integers(0, 256, (COUNT, 1, 5, 6), dtype=np.uint8),
        "images_attributes": {"layout": np.bytes_("NCHW"), "rescale_slope": 1.0, "rescale_intercept": 0.0},
        "labels": labels,
        "labels_attributes": {"class_count": np.uint32(2), "class_names": np.array(["no", "yes"], "S")},
        "split": (np.arange(COUNT) // 2 % 3).astype(np.uint8),
        "columns": {"subject": np.arange(COUNT, dtype=np.uint64)},
        "governance": {"patient_identity_removed": np.bytes_("YES")},
    }


def write(path, data):
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        file.attrs.update(data["root"])
        for name in ("images", "labels"):
            if data[name] is not None:
                file[name] = data[name]
                for key, value in data[name + "_attributes"].items():
                    file[name].attrs[key] = value
        if data["split"] is not None:
            file["split"] = data["split"]
        for name, values in data["columns"].items():
            file[name] = values
        file.create_group("governance").attrs.update(data["governance"])


def replaced(section, key, value):
    def change(data):
        data[section][key] = value
    return change


def array(name, value):
    def change(data):
        data[name] = value(data[name])
    return change


def at(index, value):
    def change(values):
        values[index] = value
        return values
    return change


def not_finite(images):
    images = images.astype(np.float32)
    images[3, 0, 1, 2] = np.nan
    images[7, 0, 0, 0] = np.inf
    return images


# (name, changes, texts): refused with all the texts, by validate; by info with the first at least.
REFUSED = [
    ("label-too-large", [array("labels", at(4, 2))], ["/labels: image 4: expected a class in 0..1, found 2"]),
    ("label-negative", [array("labels", at(0, -1))], ["/labels: image 0: expected a class in 0..1, found -1"]),
    ("label-beyond-32-bits", [array("labels", lambda v: at(3, 2**40)(v.astype(np.int64)))], ["/labels: image 3: expected a class in 0..1, found 1099511627776"]),
    ("label-of-the-least-64-bits", [array("labels", lambda v: at(3, -2**63)(v.astype(np.int64)))], ["/labels: image 3: expected a class in 0..1, found -9223372036854775808"]),
    ("label-of-unsigned-32-bits", [array("labels", lambda v: at(5, 2**32 - 1)(v.astype(np.uint32)))], ["/labels: image 5: expected a class in 0..1, found 4294967295"]),
    ("labels-of-unsigned-64-bits", [array("labels", lambda v: at(slice(0, 11), 2**64 - 1)(v.astype(np.uint64)))],
     ["/labels: image 0: expected a class in 0..1, found 18446744073709551615", "image 9: expected", "/labels: 1 more of this kind", "not valid, 11 problems"]),
    ("labels-float", [array("labels", lambda v: v.astype(np.float32))], ["/labels: expected integers, found floats"]),
    ("labels-too-few", [array("labels", lambda v: v[:-1])], ["/labels: expected 12 rows, found rank 1 with 11 rows"]),
    ("labels-of-rank-2", [array("labels", lambda v: v[:, None])], ["/labels: expected 12 rows, found rank 2"]),
    ("labels-text", [array("labels", lambda v: np.array([b"no"] * COUNT))], ["/labels: expected integers of up to 8 bytes or floats of 4 or 8, found text of 2 bytes"]),
    ("labels-missing", [array("labels", lambda v: None)], ["/labels: expected an array, found none"]),
    ("images-missing", [array("images", lambda v: None)], ["/images: expected an array, found none"]),
    ("images-of-rank-3", [array("images", lambda v: v[:, 0])], ["/images: expected 4 dimensions in layout NCHW or 5 in NCDHW, found 3"]),
    ("images-of-float64", [array("images", lambda v: v.astype(np.float64))], ["/images: expected u8, i16, u16 or f32, found floats of 8 bytes"]),
    ("images-none", [array("images", lambda v: v[:0])], ["/images: expected 12 images as n_samples says, at least one, found 0"]),
    ("no-image-at-all", [array("images", lambda v: v[:0]), array("labels", lambda v: v[:0]), array("split", lambda v: v[:0]),
                         replaced("root", "n_samples", np.uint64(0))], ["/images: expected 0 images as n_samples says, at least one, found 0"]),
    ("images-not-finite", [array("images", not_finite)], ["/images: image 3: expected finite values, found nan", "/images: image 7: expected finite values, found inf"]),
    ("too-many-channels", [array("images", lambda v: np.zeros((COUNT, 17, 2, 2), np.uint8))], ["/images: expected channels in 1..16, found 17"]),
    ("split-of-3", [array("split", at(5, 3))], ["/split: image 5: expected 0, 1 or 2, found 3"]),
    ("split-signed", [array("split", lambda v: v.astype(np.int8))], ["/split: expected 12 rows of 1 unsigned 1-byte integers, found rank 1, 12 rows of signed"]),
    ("split-missing", [array("split", lambda v: None)], ["/split: expected an array, found none"]),
    ("subject-signed", [replaced("columns", "subject", -np.arange(COUNT, dtype=np.int64))], ["/subject: expected 12 rows of 1 unsigned 8-byte"]),
    ("subject-too-few", [replaced("columns", "subject", np.arange(3, dtype=np.uint64))], ["/subject: expected 12 rows"]),
    ("task-unknown", [replaced("root", "task", np.bytes_("guess"))], ["attribute task: expected binary, multiclass, multilabel or regression, found 'guess'"]),
    ("task-number", [replaced("root", "task", 3)], ["attribute task: expected UTF-8 text below 64 bytes, found integers"]),
    ("task-str", [replaced("root", "task", "binary")], ["attribute task: expected text of fixed length", "variable length"]),
    ("schema", [replaced("root", "schema", np.bytes_("other"))], ["attribute schema: expected 'fedmed-study', found 'other'"]),
    ("slope-zero", [replaced("images_attributes", "rescale_slope", 0.0)], ["/images: expected a finite slope other than 0"]),
    ("slope-text", [replaced("images_attributes", "rescale_slope", np.bytes_("1"))], ["/images attribute rescale_slope: expected one number"]),
    ("three-classes-binary", [replaced("labels_attributes", "class_count", np.uint32(3))], ["/labels attribute class_count: expected 2 for a binary task, found 3"]),
    ("names-too-many", [replaced("labels_attributes", "class_names", np.array(["a", "b", "c"], "S"))], ["/labels attribute class_names: expected 1..2 texts, found 3"]),
    ("checksum-wrong", [replaced("root", "content_sha256", np.bytes_("0" * 64))], ["attribute content_sha256: expected 0000"]),
    ("identity-kept", [replaced("governance", "patient_identity_removed", np.bytes_("NO"))], ["patient_identity_removed: expected YES or unknown, found 'NO'"]),
    ("names-of-patients", [replaced("governance", "PatientName", np.bytes_("x")), replaced("columns", "MRN", np.arange(COUNT))],
     ["/governance attribute PatientName: expected de-identified data", "/MRN: expected de-identified data"]),
    ("eleven-wrong-labels", [array("labels", lambda v: np.where(np.arange(COUNT) > 0, 9, v).astype(np.int32))], ["image 1: expected", "image 10: expected", "/labels: 1 more of this kind"]),
    ("many", [array("labels", at(4, 7)), array("split", at(1, 9)), replaced("root", "schema_version", np.bytes_("2")),
              replaced("governance", "patient_identity_removed", np.bytes_("NO")), replaced("images_attributes", "rescale_slope", 0.0)],
     ["schema_version", "/labels: image 4", "/split: image 1", "patient_identity_removed", "slope other than 0", "not valid, 5 problems"]),
]
WARNED = [
    ("labels-of-64-bits", [array("labels", lambda v: v.astype(np.int64))], []),
    ("labels-of-unsigned-bits", [array("labels", lambda v: v.astype(np.uint32))], []),
    ("one-class", [array("labels", lambda v: v * 0)], ["class 1 has no image", "only one class occurs"]),
    ("constant", [array("images", lambda v: v * 0 + 7)], ["12 of 12 images are constant, image 0 the first", "11 images are copies of others"]),
    ("copy", [array("images", lambda v: at(11, v[0])(v))], ["1 image is a copy of others, 1 of them in another split, image 11 of image 0"]),
    ("no-test", [array("split", lambda v: v % 2)], ["no image is for test"]),
    ("divided", [replaced("columns", "subject", np.zeros(COUNT, np.uint64))], ["1 subject has images in more than one split"]),
    ("divided-groups", [lambda data: data["columns"].clear(), replaced("columns", "group", np.arange(COUNT, dtype=np.int32) // 5)],
     ["2 groups have images in more than one split"]),
]


def check_files():
    for name, changes, texts in REFUSED + WARNED:
        data = sound()
        for change in changes:
            change(data)
        path = name + ".h5"
        write(path, data)
        bad = (name, changes, texts) in REFUSED
        expect("validate " + path, run("validate", path), 1 if bad else 0, texts + [path])
        expect("info " + path, run("info", path), 1 if bad else 0, [path] if bad else texts)
    # The storage says less than the shape: 2^40 images in a small file.
    with h5py.File("huge.h5", "w", libver=("v110", "v110")) as file:
        file.attrs.update(sound()["root"])
        file.create_dataset("images", (2**40, 1, 28, 28), np.uint8, chunks=(1, 1, 28, 28)).attrs["layout"] = np.bytes_("NCHW")
    expect("huge.h5", run("validate", "huge.h5"), 1, ["huge.h5: /images: expected at least", "bytes of data, found 0"])
    with h5py.File("link.h5", "w") as file:
        file.attrs.update(sound()["root"])
        file["images"] = h5py.ExternalLink("label-negative.h5", "/images")
    expect("link.h5", run("validate", "link.h5"), 1, ["/images: expected an array, found none"])


def archive(path, members):
    with zipfile.ZipFile(path, "w") as file:
        for name, value in members.items():
            if isinstance(value, bytes):
                file.writestr(name + ".npy", value)
            else:
                stream = io.BytesIO()
                np.lib.format.write_array(stream, value, allow_pickle=True)
                file.writestr(name + ".npy", stream.getvalue())


def npy(header, data=b""):
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def check_archives():
    images = random.integers(0, 256, (6, 4, 4), dtype=np.uint8)
    labels = np.arange(6, dtype=np.uint8)[:, None] % 2
    good = {"train_images": images, "train_labels": labels}
    nan = images.astype(np.float32)
    nan[2, 1, 1] = np.nan
    cases = [
        ("no-labels", {"train_images": images}, "train_labels.npy: expected labels beside images, found none"),
        ("no-images", {"train_labels": labels}, "expected members train_images, val_images or test_images"),
        ("label-300", {"train_labels": labels.astype(np.int32) + 299}, "labels of image 0: expected 0..255, found 299"),
        ("label-negative", {"train_labels": labels.astype(np.int8) - 1}, "labels of image 0: expected 0..255, found -1"),
        ("labels-float", {"train_labels": labels.astype(np.float32)}, "train_labels.npy: expected 6 rows of 1 integers, found (6, 1) of f4"),
        ("labels-few", {"train_labels": labels[:5]}, "train_labels.npy: expected 6 rows of 1 integers, found (5, 1) of u1"),
        ("labels-300", {"train_labels": np.zeros((6, 300), np.uint8)}, "train_labels.npy: expected at most 256 labels of an image, found (6, 300) of u1"),
        ("groups-few", {"train_group": np.arange(4)}, "train_group.npy: expected 6 integers, found (4) of i8"),
        ("groups-of-train-alone", {"train_group": np.arange(6), "test_images": images, "test_labels": labels},
         "expected groups of all images or of none, found train_group and no test_group"),
        ("labels-object", {"train_labels": labels.astype(object)}, "expected numbers, found pickled objects"),
        ("images-object", {"train_images": images.astype(object)}, "expected numbers, found pickled objects"),
        ("images-flat", {"train_images": images[:, 0, 0]}, "train_images.npy: expected images of 2 or 3 dimensions, found rank 1"),
        ("images-none", {"train_images": images[:0], "train_labels": labels[:0]}, "expected a shape of 1..5 extents above 0"),
        ("images-nan", {"train_images": nan}, "/images: image 2: expected finite values, found nan"),
        ("images-beyond-float", {"train_images": images.astype(np.float64) + 1e300}, "/images: image 0: expected finite values, found inf"),
        ("images-complex", {"train_images": images.astype(np.complex64)}, "expected u1, i2, u2, i4, u4, f4 or f8, little-endian, found '<c8'"),
        ("images-big-endian", {"train_images": images.astype(">u2")}, "little-endian, found '>u2'"),
        ("images-of-8-bytes", {"train_images": images.astype(np.int64)}, "expected u1, i2, u2, i4, u4, f4 or f8 images, found i8"),
        ("labels-big-endian", {"train_labels": labels.astype(">i4")}, "train_labels.npy: expected integers of 1, 2, 4 or 8 bytes, little-endian, found '>i4'"),
        ("fortran", {"train_images": np.asfortranarray(images)}, "expected C order, found Fortran order"),
        ("other-shape", {"val_images": images[:, :3], "val_labels": labels}, "val_images.npy: expected images as in other-shape.npz: train_images.npy, (6, 4, 4) of u1 but for how many, found (6, 3, 4) of u1"),
        ("huge", {"train_images": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1099511627776, 28, 28), }")}, "bytes as its header says, found"),
        ("too-huge", {"train_images": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999, 999999999, 28), }")}, "expected a shape"),
        ("no-header", {"train_images": b"words"}, "train_images.npy: expected a .npy array"),
    ]
    for name, members, text in cases:
        path = name + ".npz"
        archive(path, {**({} if name in ("no-labels", "no-images") else good), **members})
        expect(path, run("import", path, "refused.h5"), 1, [path, text])
    for name in ("i2", "u2", "i4", "u4", "f4", "f8"):  # what the messages list is taken
        archive(name + ".npz", {"train_images": images.astype("<" + name), "train_labels": labels.astype("<i8")})
        expect(name + ".npz", run("import", name + ".npz", name + "-from-npz.h5"), 0, ["6 images, 2 classes"])
    archive("good.npz", good)
    expect("good.npz", run("import", "good.npz", "good-from-npz.h5"), 0, ["6 images, 2 classes"])
    archive("one.npz", {**good, "train_labels": labels * 0})
    expect("one.npz", run("import", "one.npz", "one-from-npz.h5"), 0, ["6 images"])
    expect("one-from-npz.h5", run("validate", "one-from-npz.h5"), 0, ["only one class occurs"])
    bytes_ = open("good.npz", "rb").read()
    for cut in sorted({0, 1, 30, 60, len(bytes_) // 2, len(bytes_) - 1, *random.integers(0, len(bytes_), 20)}):
        open("cut.npz", "wb").write(bytes_[:cut])
        expect("cut.npz at %d" % cut, run("import", "cut.npz", "refused.h5"), 1, ["cut.npz"])
    for _ in range(60):
        changed = bytearray(bytes_)
        changed[random.integers(len(bytes_))] ^= 1 << random.integers(8)
        open("flip.npz", "wb").write(changed)
        code, text = run("import", "flip.npz", "flipped.h5")
        if code not in (0, 1) or (code == 1 and "flip.npz" not in text):
            expect("flip.npz", (code, text), 1, ["flip.npz"])
    if os.path.exists("refused.h5"):
        expect("refused.h5", (0, "exists"), 1, [])


def check_names():
    """What h5py shows of a file of ours."""
    expect("synth", run("synth", "phantom", "--out", "ours.h5", "--count", "40", "--seed", str(seed)), 0, [])
    with h5py.File("ours.h5", "r") as file:
        assert sorted(file) == ["governance", "group", "images", "labels", "scanner", "split", "subject"], sorted(file)
        assert file["images"].shape == (40, 1, 28, 28) and file["images"].attrs["layout"] == b"NCHW"
        assert file.attrs["task"] == b"binary" and int(file.attrs["n_samples"]) == 40
        assert [name.rstrip(b"\0") for name in file["labels"].attrs["class_names"]] == [b"clear", b"nodule"]
        assert file["governance"].attrs["patient_identity_removed"] == b"YES"
        for item in [file] + [file[name] for name in file]:
            for key in item.attrs:
                assert re.fullmatch("[a-z0-9_]+", key), key
                stored = h5py.h5a.open(item.id, key.encode()).get_type()
                assert not (isinstance(stored, h5py.h5t.TypeStringID) and stored.is_variable_str()), key


check_files()
check_archives()
check_names()
print("%d failures" % failures)
sys.exit(failures != 0)
