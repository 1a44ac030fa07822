#!/usr/bin/env python3
"""Times one rule of ByzFL, after its pre-aggregators, on random rows; called by `consilium bench aggregate --peer`.

usage: peer_aggregate.py RULE N D THREADS     RULE: "krum", "nnm+krum", "kernel:distances"; prints "median_ms least_ms"
"""
import sys
import time


def main():
    rule, n, d, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    import torch
    import byzfl

    torch.set_num_threads(threads)
    f = max(0, (n - 3) // 4)

    aggregators = {
        "mean": lambda: byzfl.Average(),
        "trimmed-mean": lambda: byzfl.TrMean(f),
        "median": lambda: byzfl.Median(),
        "meamed": lambda: byzfl.Meamed(f),
        "krum": lambda: byzfl.Krum(f),
        "multi-krum": lambda: byzfl.MultiKrum(f),
        "mda": lambda: byzfl.MDA(f),
        "monna": lambda: byzfl.MoNNA(f),
        "smea": lambda: byzfl.SMEA(f),
        "geometric-median": lambda: byzfl.GeometricMedian(),
        "centered-clipping": lambda: byzfl.CenteredClipping(),
        "caf": lambda: byzfl.CAF(f),
    }
    before = {
        "nnm": lambda: byzfl.NNM(f),
        "arc": lambda: byzfl.ARC(f),
        "static-clipping": lambda: byzfl.Clipping(),
    }
    # What PyTorch offers for single kernels; a dense W of float32 is its cheapest W X.
    kernels = {
        "kernel:mean": lambda rows: rows.mean(0),
        "kernel:norms": lambda rows: (rows * rows).sum(1),
        "kernel:distances": lambda rows: torch.cdist(rows, rows),
        "kernel:products": lambda rows: rows @ rows.T,
        "kernel:mix": lambda rows: torch.ones(n, n) @ rows,
    }

    def chain(name):
        *first, last = name.split("+")
        if last not in aggregators or any(step not in before for step in first):
            sys.exit("peer_aggregate.py: ByzFL has no %s" % name)
        steps = [before[step]() for step in first] + [aggregators[last]()]

        def run(rows):
            for step in steps:
                rows = step(rows)
            return rows

        return run

    aggregate = kernels.get(rule) or chain(rule.removeprefix("kernel:"))
    rows = torch.randn(n, d, dtype=torch.float32)
    times = []
    started = time.perf_counter()
    while len(times) < 6 and (len(times) < 2 or time.perf_counter() - started < 20):
        begin = time.perf_counter()
        aggregate(rows)
        times.append(1e3 * (time.perf_counter() - begin))
    times = sorted(times[1:])  # the first call warms up
    print("%.4f %.4f" % (times[len(times) // 2], times[0]))


main()
