#!/usr/bin/env python3
"""Folders of fresh random pictures by Pillow, and what must come of them.

usage: image_folders.py write FOLDER SEED | check FOLDER SEED
"""
import os
import sys

import numpy as np
from PIL import Image

action, root, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
random = np.random.default_rng(seed)


def save(folder, name, image, **options):
    os.makedirs(os.path.join(root, folder), exist_ok=True)
    image.save(os.path.join(root, folder, name), **options)


def smooth(height, width, channels):
    """JPEG keeps smooth pictures; noise it does not."""
    coarse = random.integers(0, 256, (4, 4, channels) if channels > 1 else (4, 4), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.BILINEAR)


def folders():
    """(folder of a split, class, name, picture, options of save) in the order of the file."""
    for split, count in (("train", 5), ("val", 2), ("test", 3)):
        for label in ("clear", "lesion", "shadow"):
            for i in range(count):
                yield split, label, i


def write():
    for split, label, i in folders():
        noise = random.integers(0, 256, (11, 13), dtype=np.uint8)
        save("grey/%s/%s" % (split, label), "%02d.png" % i, Image.fromarray(noise))
    for label in ("a", "b"):
        for i in range(4):
            wide = random.integers(0, 65536, (6, 7)).astype(np.uint16)
            save("wide/" + label, "%d.png" % i, Image.fromarray(wide))
            colour = Image.fromarray(random.integers(0, 256, (9, 8, 3), dtype=np.uint8))
            save("colour/" + label, "%d.jpg" % i, colour, quality=95, progressive=i % 2 == 1)
            save("palette/" + label, "%d.png" % i, colour.quantize(9))
            mixed = smooth(20 + 9 * i, 50 - 7 * i, 1 if i % 2 else 3)
            save("mixed/" + label, "%d.%s" % (i, "png" if i < 2 else "jpg"), mixed)
    first = Image.fromarray(random.integers(0, 256, (9, 8), dtype=np.uint8))
    for folder in ("cut", "flipped", "text", "hidden", "alone"):
        save(folder + "/a", "1.png", first)
        if folder != "alone":
            save(folder + "/b", "2.png", first)
    save("cutjpeg/a", "1.jpg", first)
    save("cutjpeg/b", "2.jpg", first)
    clear = Image.fromarray(random.integers(0, 255, (9, 8, 4), dtype=np.uint8), "RGBA")
    save("clear/a", "1.png", clear)
    save("clear/b", "2.png", clear)
    cmyk = Image.fromarray(random.integers(0, 256, (9, 8, 4), dtype=np.uint8), "CMYK")
    save("cmyk/a", "1.jpg", cmyk)
    save("cmyk/b", "2.jpg", cmyk)
    save("depths/a", "1.png", first)
    save("depths/b", "2.png", Image.fromarray(np.zeros((9, 8), np.uint16)))


def read(folder):
    """Pictures as Pillow reads them, sorted by path, with labels and splits."""
    found = []
    splits = {"train": 0, "val": 1, "test": 2}
    for directory, _, names in os.walk(os.path.join(root, folder)):
        for name in names:
            parts = os.path.relpath(os.path.join(directory, name), os.path.join(root, folder)).split(os.sep)
            found.append((splits[parts[0]] if len(parts) == 3 else 0, "/".join(parts), parts[-2]))
    found.sort()
    labels = sorted({label for _, _, label in found})
    images = [Image.open(os.path.join(root, folder, path)) for _, path, _ in found]
    return images, [labels.index(label) for _, _, label in found], [split for split, _, _ in found], labels


def compare(folder, convert, tolerance):
    import h5py
    images, labels, splits, names = read(folder)
    with h5py.File(os.path.join(root, folder + ".h5"), "r") as file:
        stored = file["images"][...].astype(np.int64)
        assert list(file["labels"]) == labels, (folder, "labels")
        assert list(file["split"]) == splits, (folder, "splits")
        assert [name.rstrip(b"\0").decode() for name in file["labels"].attrs["class_names"]] == names, folder
    assert len(stored) == len(images), folder
    for i, image in enumerate(images):
        expected = np.asarray(convert(image)).astype(np.int64)
        expected = expected[None] if expected.ndim == 2 else expected.transpose(2, 0, 1)
        assert stored[i].shape == expected.shape, (folder, i, stored[i].shape, expected.shape)
        worst = np.abs(stored[i] - expected).max()
        assert worst <= tolerance, "%s: picture %d differs by %d" % (folder, i, worst)
    print("%s: %d pictures within %d" % (folder, len(images), tolerance))


def check():
    compare("grey", lambda image: image, 0)
    compare("wide", lambda image: image, 0)
    compare("palette", lambda image: image.convert("RGB"), 0)
    compare("colour", lambda image: image.convert("RGB"), 2)
    compare("mixed", lambda image: image.convert("L").resize((16, 24), Image.BILINEAR), 4)


write() if action == "write" else check()
