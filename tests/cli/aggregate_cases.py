#!/usr/bin/env python3
"""Files of updates as other trainers write them, and what an aggregate of them has to be.

usage: aggregate_cases.py make SEED    writes good and broken files into the working directory
       aggregate_cases.py check        compares the aggregates of good files with float64
       aggregate_cases.py big          writes 16 updates of 6000000 values (366 MiB)
"""
import json
import os
import sys

import h5py
import numpy as np

ROWS, COLUMNS, FALSE_ROWS = 11, 9001, 2


def make(seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((ROWS, COLUMNS)).astype("f4")
    x[-FALSE_ROWS:] += 9
    weights = rng.uniform(1, 50, ROWS)
    with h5py.File("good.h5", "w") as f:
        f["updates"] = x
        f["weights"] = weights
        f["names"] = np.array([("Hôpital %d" % i).encode() for i in range(ROWS)])
        f["again"] = x.astype("f8")
        f["half"] = x.astype("f2")
        f["whole"] = x.astype("i4")
        f["flat"] = x[0]
        f["bad"] = np.full((ROWS, 40), np.nan, "f4")
        late = x.copy()
        late[4, 6000] = np.inf
        late[7, [4500, 8999]] = np.nan
        f["late_bad"] = late
        f["one_bad"] = np.where(np.arange(ROWS)[:, None] == 4, np.inf, x)
    with h5py.File("odd.h5", "w") as f:
        f["empty"] = np.zeros((3, 0), "f4")
        f["none"] = np.zeros((0, 7), "f4")
    with h5py.File("packed.h5", "w") as f:
        f.create_dataset("updates", data=x, chunks=(3, 700), compression="gzip", shuffle=True)
        f["names"] = np.array([b"site-%d" % i for i in range(ROWS)])
    for name, values in (("negative", -1.0), ("not_a_number", np.nan), ("infinite", np.inf)):
        with h5py.File(name + ".h5", "w") as f:
            f["updates"] = x
            f["weights"] = np.where(np.arange(ROWS) == 3, values, 1.0)
    with h5py.File("few_weights.h5", "w") as f:
        f["updates"], f["weights"] = x, weights[:-1]
    with h5py.File("few_names.h5", "w") as f:
        f["updates"], f["names"] = x, np.array([b"a", b"b"])
    with h5py.File("variable_names.h5", "w") as f:
        f["updates"], f["names"] = x, ["row %d" % i for i in range(ROWS)]
    with h5py.File("odd_names.h5", "w") as f:
        f["updates"] = x
        f["names"] = np.array([b"\xff\xfe", b"tab\there", b""] + [("é" * 40).encode()] * (ROWS - 3))
    for name, order in (("descending", [*range(ROWS - 2), 10, 9]), ("twice", [*range(ROWS - 1), 9])):
        with h5py.File(name + ".h5", "w") as f:
            f["updates"], f["institutions"] = x, np.array(order, "u4")
    for name, order in (("below", [-5, *range(1, ROWS)]), ("beyond", [*range(ROWS - 1), 1024])):
        with h5py.File(name + ".h5", "w") as f:
            f["updates"], f["institutions"] = x, np.array(order, "i8")
    with h5py.File("outside.h5", "w") as f:
        f["updates"] = h5py.ExternalLink("good.h5", "/updates")
    with h5py.File("apart.h5", "w") as f:
        f["updates"] = (10 * np.eye(5, 7)).astype("f4")
    for folder in ("npy", "npy_double", "unequal", "objects", "fortran", "short", "half", "big_endian", "integers", "no_files"):
        os.makedirs(folder)
    for i in range(ROWS):
        np.save("npy/site-%02d.npy" % i, x[i].reshape(1, COLUMNS))
        np.save("npy_double/site-%02d.npy" % i, x[i].astype("f8"))
    np.save("unequal/a.npy", x[0])
    np.save("unequal/b.npy", x[0][:-1])
    np.save("objects/a.npy", np.array([{"code": 1}], dtype=object), allow_pickle=True)
    np.save("fortran/a.npy", np.asfortranarray(x[:2]))
    np.save("half/a.npy", x[0].astype("f2"))
    np.save("big_endian/a.npy", x[0].astype(">f4"))
    np.save("integers/a.npy", x[0].astype("i4"))
    np.save("short/a.npy", x[0])
    os.truncate("short/a.npy", os.path.getsize("short/a.npy") - 5)
    for folder in ("table", "table_among", "negative_extent", "huge_extents", "no_extent"):
        os.makedirs(folder)
    np.save("table/all.npy", x)
    np.save("table_among/a.npy", x[0])
    np.save("table_among/b.npy", x[:3])
    for folder, shape in (("negative_extent", "(-9001,)"), ("no_extent", "(0, 7)"),
                          ("huge_extents", "(999999999999999999, 999999999999999999)")):
        header = ("{'descr': '<f4', 'fortran_order': False, 'shape': %s, }" % shape).ljust(117) + "\n"
        with open(folder + "/a.npy", "wb") as stream:
            stream.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(64))
    with open("weights.txt", "w") as stream:
        stream.write("\n".join(repr(float(w)) for w in weights))


def aggregate(name):
    if name.endswith(".npy"):
        return np.load(name)
    with h5py.File(name) as f:
        return f["aggregate"][:]


def near(name, expected):
    found = aggregate(name)
    assert found.dtype == np.float32 and found.shape == (COLUMNS,), (name, found.dtype, found.shape)
    error = np.abs(found - expected).max()
    assert error < 2e-6, (name, error)


def check():
    with h5py.File("good.h5") as f:
        x, weights = f["updates"][:].astype("f8"), f["weights"][:]
    ordered = np.sort(x, axis=0)
    near("mean.h5", x.mean(axis=0))
    near("weighted-mean.h5", weights @ x / weights.sum())
    near("weighted-text.npy", weights @ x / weights.sum())
    near("median.h5", np.median(x, axis=0))
    near("trimmed-mean.h5", ordered[2:-2].mean(axis=0))
    near("trimmed-three.h5", ordered[3:-3].mean(axis=0))
    near("one-refused.h5", np.median(np.delete(x, 4, axis=0), axis=0))
    square = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    score = np.sort(square, axis=1)[:, 1:ROWS - FALSE_ROWS - 1].sum(axis=1)
    best = np.argsort(score)
    near("krum.h5", x[best[0]])
    near("multi-krum.h5", x[best[:ROWS - FALSE_ROWS - 2]].mean(axis=0))
    with open("krum.json") as stream:
        report = json.load(stream)
    assert report["names"][3] == "Hôpital 3" and report["row_count"] == ROWS, report
    assert np.allclose(report["weights"], weights), report["weights"]
    rows = report["selection"]["rows"]
    assert [r["verdict"] for r in rows].count("kept") == 1 and rows[best[0]]["verdict"] == "kept"
    assert np.allclose([r["score"] for r in rows], score, rtol=1e-6)
    margin = score[best[1]] - score[best[0]]
    assert abs(report["selection"]["margin"] - margin) < 1e-3 * margin, (report, margin)
    with open("refused.json") as stream:
        row = json.load(stream)["selection"]["rows"][4]
    assert row["verdict"] == "refused" and row["non_finite"] == COLUMNS and row["reason"], row


if sys.argv[1] == "make":
    make(int(sys.argv[2]))
elif sys.argv[1] == "check":
    check()
else:
    with h5py.File("big.h5", "w") as f:
        f["updates"] = np.random.default_rng(1).standard_normal((16, 6000000), "f4")
