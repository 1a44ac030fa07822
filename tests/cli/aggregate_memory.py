#!/usr/bin/env python3
"""Rounds of updates for rules that keep something, and what they have to keep.

usage: aggregate_memory.py make SEED    writes rounds and broken memories' sources
       aggregate_memory.py check        compares three rounds with float64, breaks copies of memories
"""
import json
import sys

import h5py
import numpy as np

ROWS, COLUMNS, TAU = 7, 9001, 25.0


def write(name, x, names=None):
    with h5py.File(name, "w") as f:
        f["updates"] = x
        f["names"] = np.array(names or [b"site-%d" % i for i in range(len(x))])


def make(seed):
    rng = np.random.default_rng(seed)
    base = 0.2 * rng.standard_normal(COLUMNS)
    rounds = []
    for r in range(3):
        # Similarities of a round give FoolsGold other weights than those of three rounds.
        x = base + 0.3 * rng.standard_normal((ROWS, COLUMNS))  # of length 34, above TAU
        x[-1] = 40 * rng.standard_normal(COLUMNS)
        x[1] = x[0] + 0.01 * rng.standard_normal(COLUMNS)  # two that act as one
        rounds.append(x.astype("f4"))
        write("round-%d.h5" % (r + 1), rounds[-1])
    write("sum.h5", (rounds[0] + rounds[1]) + rounds[2])
    x = rounds[0]
    write("shorter.h5", x[:, :9000])
    write("fewer.h5", x[:-1])
    write("renamed.h5", x, [b"site-0", b"site-1", b"elsewhere"] + [b"site-%d" % i for i in range(3, ROWS)])
    bad = x.copy()
    bad[:2, 5] = np.inf
    write("hostile.h5", bad)


def clipped(x, centre):
    away = x.astype("f8") - centre
    factor = np.minimum(1, TAU / np.linalg.norm(away, axis=1))
    return centre + (factor[:, None] * away).mean(axis=0)


def broken(source, target, array, change):
    with h5py.File(source) as old, h5py.File(target, "w") as new:
        for key, value in old.attrs.items():
            new.attrs[key] = value
        new["names"] = old["names"][()]
        new[array] = change(old[array][:])


def spoil(values):
    values[0, 17] = np.nan
    return values


def check():
    rounds = []
    for r in range(3):
        with h5py.File("round-%d.h5" % (r + 1)) as f:
            rounds.append(f["updates"][:])
    centre = np.zeros(COLUMNS)
    for r, x in enumerate(rounds):
        first = clipped(x, np.zeros(COLUMNS))
        centre = clipped(x, centre)
        found = np.load("clip-%d.npy" % (r + 1))
        error = np.abs(found - centre).max()
        assert error < 1e-5, (r, error)
        # A centre that is forgotten would show.
        assert r == 0 or np.abs(first - centre).max() > 1e-2, np.abs(first - centre).max()
    with h5py.File("clip.h5") as f:
        assert f["centre"].shape == (1, COLUMNS) and f["centre"].dtype == np.float32
        assert (f["centre"][0] == np.load("clip-3.npy")).all()
        assert f.attrs["rule"] == b"centered-clipping" and f["names"][3] == b"site-3"
    with h5py.File("gold.h5") as f:
        kept = f["histories"][:]
    assert (kept == (rounds[0] + rounds[1]) + rounds[2]).all()
    # Weights follow from histories alone: those of round 3 are those of one round of their sums.
    rows = [json.load(open(n))["selection"]["rows"] for n in ("gold-3.json", "sum.json", "gold-1.json")]
    weights = [[row["weight"] for row in each] for each in rows]
    assert weights[0] == weights[1] and weights[0] != weights[2], weights
    broken("clip.h5", "nan.h5", "centre", spoil)
    broken("gold.h5", "double.h5", "histories", lambda v: v.astype("f8"))


if sys.argv[1] == "make":
    make(int(sys.argv[2]))
else:
    check()
