#!/usr/bin/env python3
"""Times one rule of ByzFL on random rows; called by `consilium bench aggregate --peer`.

usage: peer_aggregate.py RULE N D THREADS     prints "median_ms least_ms"
"""
import sys
import time


def main():
    rule, n, d, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    import torch
    import byzfl

    torch.set_num_threads(threads)
    f = max(0, (n - 3) // 4)

    def after_mixing(rule):
        mix = byzfl.NNM(f)
        return lambda rows: rule(mix(rows))

    # Krum is what ByzFL offers for the distances; its n x n control is small beside them.
    aggregators = {
        "mean": lambda: byzfl.Average(),
        "trimmed-mean": lambda: byzfl.TrMean(f),
        "median": lambda: byzfl.Median(),
        "meamed": lambda: byzfl.Meamed(f),
        "distances": lambda: byzfl.Krum(f),
        "krum": lambda: byzfl.Krum(f),
        "multi-krum": lambda: byzfl.MultiKrum(f),
        "geometric-median": lambda: byzfl.GeometricMedian(),
        "centered-clipping": lambda: byzfl.CenteredClipping(),
        "caf": lambda: byzfl.CAF(f),
        "nnm+trimmed-mean": lambda: after_mixing(byzfl.TrMean(f)),
        "nnm+median": lambda: after_mixing(byzfl.Median()),
    }
    if rule not in aggregators:
        sys.exit("peer_aggregate.py: ByzFL has no %s" % rule)
    aggregate = aggregators[rule]()
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
