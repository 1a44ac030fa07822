#!/usr/bin/env python3
"""ByzFL's rules on the rows in FOLDER/rows.f32; writes FOLDER/NAME.f32 for each. Called by robust_peer_test.

usage: byzfl_rules.py FOLDER N D F     exit code 77: ByzFL is not installed
"""
import inspect
import os
import sys

try:
    import numpy as np
    from byzfl.aggregators import aggregators as rules, preaggregators as pre
except ImportError:
    sys.exit(77)


def converged(kind):
    """ByzFL takes one step of the power method from a random vector; its rule with 5000 is what the paper means."""
    source = inspect.getsource(kind)
    assert "max_iters=1)" in source
    space = dict(vars(rules))
    exec(source.replace("max_iters=1)", "max_iters=5000)"), space)
    return space[kind.__name__]


def main():
    folder, n, d, f = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    rows = np.fromfile(os.path.join(folder, "rows.f32"), np.float32).reshape(n, d).astype(np.float64)
    answers = {
        "mean": rules.Average()(rows),
        "median": rules.Median()(rows),
        "trimmed-mean": rules.TrMean(f)(rows),
        "meamed": rules.Meamed(f)(rows),
        "krum": rules.Krum(f)(rows),
        "multi-krum": rules.MultiKrum(f)(rows),
        "geometric-median": rules.GeometricMedian()(rows),
        "centered-clipping": rules.CenteredClipping()(rows),
        "mda": rules.MDA(f)(rows),
        "monna": rules.MoNNA(f, 0)(rows),
        "smea": converged(rules.SMEA)(f)(rows),
        "caf": converged(rules.CAF)(f)(rows),
        "nnm+mean": rules.Average()(pre.NNM(f)(rows)),
        "nnm+krum": rules.Krum(f)(pre.NNM(f)(rows)),
        "clipping+trimmed-mean": rules.TrMean(f)(pre.Clipping()(rows.copy())),
        "arc+median": rules.Median()(pre.ARC(f)(rows.copy())),
        "bucketing+median": rules.Median()(pre.Bucketing()(rows)),
    }
    for name, answer in answers.items():
        np.asarray(answer, np.float32).tofile(os.path.join(folder, name + ".f32"))


main()
