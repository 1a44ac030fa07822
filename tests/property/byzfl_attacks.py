"""ByzFL's attacks on the rows of a folder, for attack_peer_test.c.

byzfl_attacks.py FOLDER H M D: FOLDER/honest.f32 holds [H][D] float32; writes NAME.f32, [D] each.
Exit code 77 where ByzFL is not installed.
"""
import sys

try:
    import byzfl
    import numpy
except ImportError:
    sys.exit(77)

folder, h, m, d = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
honest = numpy.fromfile(f"{folder}/honest.f32", dtype=numpy.float32).reshape(h, d)


def write(name, values):
    numpy.asarray(values, dtype=numpy.float32).tofile(f"{folder}/{name}.f32")


write("sign-flip", byzfl.SignFlipping()(honest))
write("ipm", byzfl.InnerProductManipulation(tau=2.0)(honest))
write("alie", byzfl.ALittleIsEnough(tau=1.5)(honest))
write("mimic", byzfl.Mimic(epsilon=0)(honest))
write("infinity", byzfl.Inf()(honest))
search = {"agg": byzfl.TrMean(f=m), "pre_agg_list": [], "f": m, "evals": 20}
write("optimal-ipm", byzfl.Optimal_InnerProductManipulation(**search)(honest))
write("optimal-alie", byzfl.Optimal_ALittleIsEnough(**search)(honest))
