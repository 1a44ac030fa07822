#!/usr/bin/env python3
"""ByzFL's rules on given rows, as text: for each a name, the number of values, the values. "rows" come first.

usage: byzfl_rules.py ROWS.f32 OUT.txt N D F     rows of robust_peer_test
       byzfl_rules.py --draw OUT.txt             rows drawn here: writes tests/property/byzfl_answers.txt
exit code 77: ByzFL is not installed
"""
import inspect
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


def answers_of(rows, f):
    return {
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


def draw_rows(n, d):
    """Two rows are false, and one so long that a radius of 100 cuts it."""
    random = np.random.default_rng(7)
    rows = 1 + (0.5 + 0.1 * np.arange(n)[:, None]) * random.standard_normal((n, d))
    rows[3] -= 3
    rows[7] *= 12
    return rows.astype(np.float32)


def main():
    if sys.argv[1] == "--draw":
        f, rows = 2, draw_rows(10, 67)
    else:
        n, d, f = (int(word) for word in sys.argv[3:6])
        rows = np.fromfile(sys.argv[1], np.float32).reshape(n, d)
    with open(sys.argv[2], "w", encoding="ascii") as out:
        for name, values in [("rows", rows), *answers_of(rows.astype(np.float64), f).items()]:
            words = ["%.9g" % value for value in np.asarray(values, np.float32).ravel()]
            out.write("%s %d\n" % (name, len(words)))
            for at in range(0, len(words), 6):
                out.write(" ".join(words[at:at + 6]) + "\n")


main()
