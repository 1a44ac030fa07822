#!/usr/bin/env python3
"""The predictions of a run's model from its file alone, with NumPy and h5py.   model_forward.py RUN

RUN holds model-last.h5, metrics.csv and institutions/. The forward pass below knows the program only
by docs/FORMATS.md; test loss and accuracy must be those of the last row of metrics.csv.
"""
import csv
import glob
import sys

import h5py
import numpy as np


def names(values):
    return [value.rstrip(b"\0").decode() for value in values]


def windows(x, row, kind):
    """x [N][C][H][W] to [N][C][rows][columns][size_h][size_w]; convolutions pad by zeros, maxima not."""
    pad = [(0, 0), (0, 0)] + [(row["padding_" + axis],) * 2 for axis in "hw"]
    x = np.pad(x, pad, constant_values=0.0 if kind == "conv" else -np.inf)
    h, w = row["size_h"], row["size_w"]
    view = np.lib.stride_tricks.sliding_window_view(x, (h, w), axis=(2, 3))
    return view[:, :, :: row["stride_h"], :: row["stride_w"]]


def scaled(x, parameters):
    return x * parameters["scale"][:, None, None] + parameters["shift"][:, None, None]


def apply(kind, x, other, row, parameters):
    if kind == "conv":
        assert row["groups"] == 1 and row["dilation_h"] == row["dilation_w"] == 1
        y = np.einsum("nchwij,ocij->nohw", windows(x, row, kind), parameters["weight"], optimize=True)
        return y + parameters["bias"][None, :, None, None] if row["bias"] else y
    if kind == "group_norm":
        parts = x.reshape(len(x), row["groups"], -1)
        mean, variance = parts.mean(axis=2, keepdims=True), parts.var(axis=2, keepdims=True)
        return scaled(((parts - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape), parameters)
    if kind == "batch_norm":
        mean, variance = (parameters["running_" + key][:, None, None] for key in ("mean", "variance"))
        return scaled((x - mean) / np.sqrt(variance + 1e-5), parameters)
    if kind == "add":
        return x + other
    if kind == "global_average_pool":
        return x.mean(axis=(2, 3), keepdims=True)
    if kind == "max_pool":
        return windows(x, row, kind).max(axis=(4, 5))
    if kind == "relu":
        return np.maximum(x, 0.0)
    assert kind == "linear", kind
    if x.ndim == 4:  # feature maps are flattened with the channels last
        x = x.transpose(0, 2, 3, 1)
    return x.reshape(len(x), -1) @ parameters["weight"].T + parameters["bias"]


def forward(file, x):
    definition = file["layers/definition"]
    columns, kinds, layers = (names(definition.attrs[key]) for key in ("columns", "kinds", "names"))
    results = []
    for values, name in zip(definition[()], layers):
        row = dict(zip(columns, (int(value) for value in values)))
        group = "parameters/" + name.replace(".", "/")
        parameters = {key: file[group][key][()].astype(np.float64) for key in file[group]} if group in file else {}
        source = x if row["input"] == -1 else results[row["input"]]
        other = x if row["from"] == -1 else results[row["from"]] if row["from"] >= 0 else None
        results.append(apply(kinds[row["kind"]], source, other, row, parameters))
    return results[-1]


def normalised(file):
    """Values as they were measured, less the mean of this institution's training images, over its deviation."""
    images = file["images"]
    values = images[()] * float(images.attrs["rescale_slope"]) + float(images.attrs["rescale_intercept"])
    training = values[file["split"][()] == 0]
    axes = (0, 2, 3)
    return (values - training.mean(axes, keepdims=True)) / training.std(axes, keepdims=True)


def main(run):
    with open(run + "/metrics.csv", newline="") as rows:
        told = list(csv.DictReader(rows))[-1]
    losses, right = [], []
    with h5py.File(run + "/model-last.h5") as model:
        for path in sorted(glob.glob(run + "/institutions/*.h5")):
            with h5py.File(path) as data:
                test = data["split"][()] == 2
                if not test.any():
                    continue
                labels = data["labels"][()][test]
                logits = forward(model, normalised(data)[test])
            shifted = logits - logits.max(axis=1, keepdims=True)
            logarithms = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            losses += list(-logarithms[np.arange(len(labels)), labels])
            right += list(logits.argmax(axis=1) == labels)
    for key, found in (("test_loss", np.mean(losses)), ("test_accuracy", np.mean(right))):
        print("%s: %s says %s, the file %.6f" % (key, run, told[key], found))
        assert abs(found - float(told[key])) <= 2e-4 * max(1.0, abs(found)), key


main(sys.argv[1])
