#!/usr/bin/env python3
"""Writes the seeds of the targets npz, dataset, model and png_jpeg.   seeds.py CORPUS_FOLDER

HDF5 in both formats: that of libhdf5 1.10, whose metadata carries checksums, and the oldest, where a
changed byte reaches the decoders.
"""
import hashlib
import os
import sys
import zipfile

import h5py
import numpy as np
from PIL import Image

corpus = sys.argv[1]
random = np.random.default_rng(1)
FORMATS = {"new": ("v110", "v110"), "old": ("earliest", "v108")}


def place(target, name):
    os.makedirs(os.path.join(corpus, target), exist_ok=True)
    path = os.path.join(corpus, target, name)
    if os.path.exists(path):
        os.remove(path)
    return path


def text(value):
    """h5py stores str as text of variable length, which Consilium refuses; bytes as fixed length."""
    return np.bytes_(value)


def write_npz():
    splits = [("train", 4), ("val", 2), ("test", 2)]
    grey, colour, volume = {}, {}, {}
    for split, count in splits:
        grey[split + "_images"] = random.integers(0, 256, (count, 4, 5), dtype=np.uint8)
        grey[split + "_labels"] = random.integers(0, 2, (count, 1), dtype=np.uint8)
        colour[split + "_images"] = random.integers(0, 60000, (count, 3, 3, 3), dtype=np.uint16)
        colour[split + "_labels"] = random.integers(0, 2, (count, 5)).astype(np.int64)
        volume[split + "_images"] = random.random((count, 3, 2, 2, 1))
        volume[split + "_labels"] = random.integers(0, 4, count).astype(np.int32)
        volume[split + "_group"] = random.integers(0, 2, count).astype(np.int16)
    np.savez(place("npz", "grey.npz"), **grey)
    np.savez_compressed(place("npz", "colour.npz"), **colour)
    np.savez(place("npz", "volume.npz"), **volume)
    np.savez(place("npz", "pickle.npz"), train_images=np.array([{"a": 1}], dtype=object), train_labels=np.zeros(1, "u1"))
    with zipfile.ZipFile(place("npz", "zip64.npz"), "w") as archive:
        for name in ("train_images", "train_labels"):
            with archive.open(name + ".npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, grey[name])


def write_dataset(path, bounds, images, labels, task, attributes, **columns):
    count = len(images)
    with h5py.File(path, "w", libver=bounds) as file:
        for name, value in {"schema": "fedmed-study", "schema_version": "1.0", "modality_class": "imaging",
                            "site_id": "unknown", "source_sha256": "unknown", "task": task}.items():
            file.attrs[name] = text(value)
        file.attrs["n_samples"] = np.uint64(count)
        packing = {"chunks": (1,) + images.shape[1:], "compression": "gzip", "shuffle": True, "fletcher32": True} if columns else {}
        stored = file.create_dataset("images", data=images, **packing)
        stored.attrs["layout"] = text("NCHW" if images.ndim == 4 else "NCDHW")
        stored.attrs["rescale_slope"] = 1.0
        stored.attrs["rescale_intercept"] = 0.0
        known = file.create_dataset("labels", data=labels)
        known.attrs["class_count"] = np.uint32(labels.shape[1] if labels.ndim == 2 else labels.max() + 1)
        known.attrs.update(attributes)
        file["split"] = (np.arange(count) % 3).astype(np.uint8)
        for name, values in columns.items():
            file[name] = values
        file.create_group("governance").attrs["patient_identity_removed"] = text("YES")


def write_datasets():
    for name, bounds in FORMATS.items():
        write_dataset(place("dataset", "binary-%s.h5" % name), bounds, random.integers(0, 256, (6, 1, 4, 4), dtype=np.uint8),
                      np.array([0, 1, 0, 1, 1, 0], np.int32), "binary",
                      {"class_names": np.array([b"clear", b"lesion"], "S8")})
        targets = random.integers(0, 2, (5, 9)).astype(np.float32)
        write_dataset(place("dataset", "labels-%s.h5" % name), bounds, random.random((5, 2, 2, 3, 3)).astype(np.float32),
                      targets, "multilabel", {}, labels_valid=np.packbits(targets >= 0, axis=1),
                      subject=np.arange(5, dtype=np.uint64), group=np.zeros(5, np.int32), scanner=np.ones(5, np.uint16))
    write_dataset(place("dataset", "variable.h5"), FORMATS["old"], np.zeros((2, 1, 2, 2), np.int16),
                  np.array([0, 1], np.int32), "binary", {"class_names": ["of variable", "length"]})
    # A group that contains itself, and says that nothing else refers to it.
    path = place("dataset", "cycle.h5")
    write_dataset(path, FORMATS["old"], np.zeros((2, 1, 2, 2), np.uint16), np.array([0, 1], np.int32), "binary", {})
    with h5py.File(path, "a") as file:
        file["governance/again"] = file["governance"]
        header = h5py.h5o.get_info(file["governance"].id).addr
    with open(path, "r+b") as file:
        file.seek(header + 4)  # "Object Reference Count" of a version 1 header
        file.write((1).to_bytes(4, "little"))


def write_models():
    columns = ["kind", "input", "from", "channels", "size_d", "size_h", "size_w", "stride_d", "stride_h", "stride_w",
               "padding_d", "padding_h", "padding_w", "dilation_d", "dilation_h", "dilation_w", "groups", "bias"]
    layers = [[0, -1, -2, 2, 1, 3, 3, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1], [4, 0, -2] + [0] * 15,
              [1, 1, -2, 3] + [0] * 13 + [1]]
    tensors = [("conv1/weight", (2, 1, 3, 3)), ("conv1/bias", (2,)), ("fc/weight", (3, 32)), ("fc/bias", (3,))]
    for name, bounds in FORMATS.items():
        with h5py.File(place("model", name + ".h5"), "w", libver=bounds) as file:
            numbers = {"round": 3, "class_count": 3, "input_depth": 1, "input_height": 4, "input_width": 4,
                       "input_channels": 1}
            for key, value in numbers.items():
                file.attrs[key] = np.uint32(value)
            definition = file.create_dataset("layers/definition", data=np.array(layers, np.int32))
            definition.attrs["columns"] = np.array(columns, "S16")
            definition.attrs["names"] = np.array(["conv1", "relu1", "fc"], "S8")
            file["layers/rate"] = np.zeros(3, np.float32)
            values = b""
            for path, shape in tensors:
                tensor = random.standard_normal(shape).astype(np.float32)
                file["parameters/" + path] = tensor
                values += tensor.tobytes()
            texts = {"schema": "consilium-model", "schema_version": "1.0", "name": "seed", "task": "multiclass",
                     "study_sha256": "unknown", "parameters_sha256": hashlib.sha256(values).hexdigest()}
            for key, value in texts.items():
                file.attrs[key] = text(value)


def write_pictures():
    grey, colour = random.integers(0, 256, (7, 9), dtype=np.uint8), random.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    Image.fromarray(grey).save(place("png_jpeg", "grey.png"))
    Image.fromarray(grey.astype(np.uint16) * 200).save(place("png_jpeg", "wide.png"))
    Image.fromarray(colour).save(place("png_jpeg", "colour.png"))
    Image.fromarray(colour).quantize(5).save(place("png_jpeg", "palette.png"), transparency=4)
    Image.fromarray(grey > 99).save(place("png_jpeg", "bits.png"))
    Image.fromarray(colour).save(place("png_jpeg", "colour.jpg"), quality=70)
    Image.fromarray(grey).save(place("png_jpeg", "progressive.jpg"), progressive=True)
    Image.fromarray(random.integers(0, 256, (4, 4, 4), dtype=np.uint8), "CMYK").save(place("png_jpeg", "cmyk.jpg"))


write_npz()
write_datasets()
write_models()
write_pictures()
