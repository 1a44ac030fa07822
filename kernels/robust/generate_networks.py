#!/usr/bin/env python3
"""Writes sorting_networks.h: Batcher's odd-even merge sort as lists of comparators.

usage: generate_networks.py > sorting_networks.h

The order is depth first (sort one half, sort the other, merge the even and then the odd positions):
a network of 64 values then needs 155 loads and 125 stores with 30 registers, where the textbook's
level by level order needs a load and a store for nearly every comparator. Networks for a count that
is no power of two drop the comparators that reach beyond it: every comparator moves the larger value
up, so padding with +infinity at the end would never move.
"""

HALF = 32
EXTREMES_BLOCK = 8
SORTED = "sorted"
SIZES = list(range(2, 17)) + list(range(18, 33, 2)) + list(range(36, 65, 4))


def merge(low, size, step, out):
    """Merges the two sorted halves of low, low + step, ... below low + size."""
    double = step * 2
    if double < size:
        merge(low, size, double, out)
        merge(low + step, size, double, out)
        out.extend((i, i + step) for i in range(low + step, low + size - step, double))
    else:
        out.append((low, low + step))


def sort(low, size, out):
    if size > 1:
        half = size // 2
        sort(low, half, out)
        sort(low + half, half, out)
        merge(low, size, 1, out)
    out.append((low, low + size - 1, SORTED))


def sort_steps(count):
    """Comparators (low, high), and (first, last, SORTED) where all from first to last are in order."""
    if count > HALF:
        rest = [(low + HALF, high + HALF, *mark) for low, high, *mark in sort_steps(count - HALF)]
        return sort_steps(HALF) + rest + merge_network(count)
    size = 1
    while size < count:
        size *= 2
    steps = []
    sort(0, size, steps)
    return [step for step in steps if step[1] < count]


def network(count):
    return [step for step in sort_steps(count) if len(step) == 2]


def merge_network(count):
    """Merges sorted values 0..HALF-1 and HALF..count-1."""
    comparators = []
    merge(0, 2 * HALF, 1, comparators)
    return [pair for pair in comparators if pair[1] < count]


def check(comparators, count):
    """Zero-one principle: all inputs for small counts, all thresholds of many permutations beyond."""
    import random
    generator = random.Random(count)
    if count <= 12:
        inputs = ([(bits >> i) & 1 for i in range(count)] for bits in range(1 << count))
    else:
        inputs = (generator.sample(range(count), count) for _ in range(300))
    for values in inputs:
        for low, high in comparators:
            if values[low] > values[high]:
                values[low], values[high] = values[high], values[low]
        assert values == sorted(values), count


def least_count(size):
    """The smallest count that takes the network of this size; rows below it are always there."""
    place = SIZES.index(size)
    return SIZES[place - 1] + 1 if place else 1


def extremes_blocks(count):
    """Divides 0..count-1 into the largest blocks that are sorted on the way, of EXTREMES_BLOCK
    values at most, as they are marked."""
    blocks = []
    low = 0
    while low < count:
        size = EXTREMES_BLOCK
        while low % size or low + size > count:
            size //= 2
        blocks.append((low, low + size - 1, SORTED))
        low += size
    return blocks


def median_steps(size):
    blocks = extremes_blocks(least_count(size))
    return [step for step in sort_steps(size) if len(step) == 2 or step in blocks]


def prune(steps, ranks):
    """The comparators that the given ranks and the blocks' first and last values depend on, with
    which of their two results is used."""
    live = set(ranks)
    kept = []
    for low, high, *mark in reversed(steps):
        used = (SORTED,) if mark else (low in live, high in live)
        if any(used):
            kept.append((low, high, used))
            live |= {low, high}
    return kept[::-1]


def median_ranks(size):
    """Ranks that the median of a count reads, over all counts that take the network of this size."""
    counts = range(least_count(size), size + 1)
    return sorted({rank for count in counts for rank in ((count - 1) // 2, count // 2)})


def check_median(pruned, size, ranks):
    import random
    generator = random.Random(size)
    for _ in range(300):
        values = generator.sample(range(size), size)
        certain = values[:least_count(size)]
        seen = []
        for low, high, used in pruned:
            if used == (SORTED,):
                seen += [values[low], values[high]]
                continue
            least, most = sorted((values[low], values[high]))
            values[low] = least if used[0] else None
            values[high] = most if used[1] else None
        assert all(values[rank] == rank for rank in ranks), size
        assert min(seen) == min(certain) and max(seen) == max(certain), size


def print_macro(name, parameters, calls, width=8):
    print("#define %s(%s) \\" % (name, parameters))
    rows = [calls[i:i + width] for i in range(0, len(calls), width)]
    print(" \\\n".join("    " + " ".join(row) for row in rows))


def main():
    print("/* Generated by generate_networks.py; a test regenerates and compares it. */")
    print("/* clang-format off */")
    print("#ifndef CSL_SORTING_NETWORKS_H\n#define CSL_SORTING_NETWORKS_H\n")
    print("/* Sizes that have a network, ascending: a count takes the next size, padded with +infinity. */")
    print_macro("CSL_NETWORK_SIZES", "S", ["S(%d)" % size for size in SIZES], 12)
    print("/* Those up to %d. */" % HALF)
    print_macro("CSL_NETWORK_SMALL_SIZES", "S", ["S(%d)" % size for size in SIZES if size <= HALF], 12)
    print("/* The larger ones: S(size, rest), size = %d + rest. */" % HALF)
    print_macro("CSL_NETWORK_LARGE_SIZES", "S",
                ["S(%d, %d)" % (size, size - HALF) for size in SIZES if size > HALF])
    for size in SIZES:
        comparators = network(size)
        check(comparators, size)
        print("\n/* The smallest count that takes this network. */")
        print("#define CSL_NETWORK_LEAST_%d %d" % (size, least_count(size)))
        print("/* %d comparators; X(i, j) puts the smaller value at i. */" % len(comparators))
        print_macro("CSL_NETWORK_%d" % size, "X", ["X(%d, %d)" % pair for pair in comparators])
        if size > HALF:
            merging = merge_network(size)
            print("/* The last %d of them, which merge the first %d values and the others. */"
                  % (len(merging), HALF))
            print_macro("CSL_MERGE_%d" % size, "X", ["X(%d, %d)" % pair for pair in merging])
        ranks = median_ranks(size)
        pruned = prune(median_steps(size), ranks)
        check_median(pruned, size, ranks)
        results = sum(used.count(True) for _, _, used in pruned)
        print("/* %d of %d results; L(i, j) needs only the smaller at i, H(i, j) the larger at j. E(i, j): i and j"
              % (results, 2 * len(comparators)))
        print(" * hold the smallest and the largest of the rows i to j; together they are those below LEAST. */")
        print("#define CSL_MEDIAN_FIRST_%d %d" % (size, ranks[0]))
        print("#define CSL_MEDIAN_LAST_%d %d" % (size, ranks[-1]))
        names = {(True, True): "X", (True, False): "L", (False, True): "H", (SORTED,): "E"}
        print_macro("CSL_MEDIAN_%d" % size, "X, L, H, E",
                    ["%s(%d, %d)" % (names[used], low, high) for low, high, used in pruned])
    print("\n#endif")


main()
