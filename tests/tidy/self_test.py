#!/usr/bin/env python3
"""The tidy checks themselves: a tree without faults passes, and every fault is found at its line.

usage: self_test.py TIDY_FOLDER
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

# What the faults stand on; passes every check.
GOOD = {
    "kernels/include/consilium/status.h": "#ifndef S\n#define S\ntypedef int csl_status;\n#endif\n",
    "engine/include/consilium/model.h": "#ifndef M\n#define M\n#include <consilium/status.h>\n#endif\n",
    "kernels/device/launch.h": "/* PTX may stand here: asm, __shared__ */\n",
    "kernels/nn/pool_host.c": '#include "device/launch.h"\n#include <dnnl.h>\n',
    "kernels/nn/pool_cuda.cu": "#include <cuda_runtime.h>\n",
    "engine/base/text.h": "/* shared in the layer */\n",
    "engine/nn/graph.h": "/* private to the folder */\n",
    "engine/nn/graph.c": '#include "graph.h"\n#include "base/text.h"\n#include <consilium/model.h>\n#include <yaml.h>\n',
    "datasets/file.c": "#include <hdf5.h>\n#include <consilium/model.h>\n",
    "mpi/link.c": "#include <mpi.h>\n#include <nccl.h>\n",
    "mpi/app/main.c": 'int main(void)\n{\n    return printf("%p", MPI_COMM_WORLD);\n}\n',
    "tests/unit/any_test.c": "#include <mpi.h>\nvoid f(void)\n{\n" + "    f();\n" * 70 + "}\n",
    "docs/GOOD.md": "# Title\n[here](GOOD.md)\n",
}
# check, file, text, line of the fault, part of the message
FAULTS = [
    ("layers", "kernels/nn/up.c", "\n#include <consilium/model.h>\n", 2, "kernels may not include"),
    ("layers", "engine/nn/unknown.c", "#include <consilium/nothing.h>\n", 1, "no layer has"),
    ("layers", "engine/nn/cuda.c", "#include <cuda_runtime.h>\n", 1, "only kernels may know"),
    ("layers", "mpi/blas.c", "#include <cublas_v2.h>\n", 1, "only kernels may know"),
    ("layers", "kernels/nn/nccl.c", "#include <nccl.h>\n", 1, "only mpi may know"),
    ("layers", "engine/nn/dnnl.c", "#include <dnnl.h>\n", 1, "only kernels may know"),
    ("layers", "mpi/hdf5.c", "#include <hdf5.h>\n", 1, "only datasets may know"),
    ("layers", "datasets/mpi.c", "#include <mpi.h>\n", 1, "may know <mpi.h>"),
    ("layers", "datasets/yaml.c", "#include <yaml.h>\n", 1, "only engine may know"),
    ("layers", "engine/study/aside.c", '#include "nn/graph.h"\n', 1, "another folder is reached only as"),
    ("text", "engine/nn/unfinished.c", "/* TODO: later */\n", 1, "unfinished work"),
    ("text", "docs/unfinished.txt", "ok\nFIXME\n", 2, "unfinished work"),
    ("text", "engine/nn/tab.c", "int a;\n\tint b;\n", 2, "tab"),
    ("text", "engine/nn/wide.c", "/* " + "x" * 98 + "*/\n", 1, "103 columns"),
    ("text", "engine/nn/space.c", "int a; \n", 1, "space at the end"),
    ("text", "engine/nn/long.c", "\n" * 701, 702, "more than 700 lines"),
    ("text", "mpi/app/banned.c", "strcpy(a, b);\n", 1, "banned function"),
    ("text", "tests/unit/banned_test.c", "sprintf(a, b);\n", 1, "banned function"),
    ("text", "engine/nn/prints.c", 'printf("a");\n', 1, "neither prints nor ends"),
    ("text", "mpi/ends.c", "exit(1);\n", 1, "neither prints nor ends"),
    ("text", "mpi/app/world.c", "f(MPI_COMM_WORLD);\n", 1, "belongs to main.c"),
    ("text", "kernels/nn/launch_cuda.cu", "f<<<1, 1>>>();\n", 1, "use CSL_LAUNCH"),
    ("text", "kernels/nn/shared_cuda.cu", "__shared__ int a;\n", 1, "use CSL_LAUNCH"),
    ("text", "kernels/nn/ptx_cuda.cu", 'asm("");\n', 1, "PTX only in"),
    ("functions", "tests/unit/long_test.c", "void f(void)\n{\n" + "    f();\n" * 71 + "}\n", 2, "function has 71 lines"),
    ("functions", "kernels/nn/long_cuda.cu", "void f(void)\n{\n" + "    f();\n" * 71 + "}\n", 2, "function has 71 lines"),
    ("twins", "kernels/nn/alone_cuda.cu", "\n", 1, "no host twin kernels/nn/alone_host.c"),
    ("twins", "kernels/robust/alone.cu", "\n", 1, "a CUDA file is called"),
    ("headers", "engine/include/consilium/lonely.h", "csl_status f(void);\n", 1, "does not stand alone in c"),
    ("headers", "engine/include/consilium/words.h", "int f(int class);\n", 1, "does not stand alone in cpp"),
    ("documents", "docs/untitled.md", "text\n", 1, "no title"),
    ("documents", "docs/links.md", "# Title\n\n[gone](nowhere.md)\n", 3, "link to nothing: nowhere.md"),
]


def write(root, name, text):
    path = os.path.join(root, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)


def run(*command):
    result = subprocess.run(command, capture_output=True, text=True)
    return result.returncode, result.stdout + result.stderr


def expect(good, what, printed):
    if not good:
        sys.exit("FAILED: %s\n%s" % (what, printed))


def library(build, layer, symbol):
    """An archive of one function, where the check of symbols looks for a layer's library."""
    folder = os.path.join(build, layer)
    write(folder, "a.c", "int %s(void);\nint %s(void) { return 0; }\n" % (symbol, symbol))
    subprocess.run(["cc", "-c", "a.c", "-o", "a.o"], cwd=folder, check=True)
    archive = "libconsilium_%s.a" % layer
    subprocess.run(["sh", "-c", "rm -f %s && ar rcs %s a.o" % (archive, archive)], cwd=folder, check=True)


def check_symbols(tidy, work):
    for layer in ("kernels", "engine", "datasets", "mpi"):
        library(work, layer, "csl_%s_f" % layer)
    code, printed = run(sys.executable, tidy, "symbols", work, work)
    expect(code == 0, "symbols passes what has the prefix", printed)
    library(work, "datasets", "open_file")
    code, printed = run(sys.executable, tidy, "symbols", work, work)
    expect(code == 1 and "without the prefix csl_: open_file" in printed, "symbols finds open_file", printed)


def check_tools(folder, work):
    """The checks that call clang-format and mandoc; each is left out without its tool (exit 77)."""
    subprocess.run(["git", "init", "-q", work], check=True)
    for name in ("good.c", "bad.c"):
        write(work, ".clang-format", "BasedOnStyle: LLVM\n")
        write(work, "tree/" + name, "int a;\n" if name == "good.c" else "int   a;\n")
        code, printed = run("sh", os.path.join(folder, "format.sh"), work)
        expect(code in (77, 0 if name == "good.c" else 123), "format on %s" % name, printed)
    pages = ["consilium.1", "consilium-study.5"]
    pages += ["consilium-%s.1" % name for name in ("run", "data", "aggregate", "bench", "info")]
    lines = ".Dd January 1, 2026\n.Dt %s %s\n.Os\n.Sh NAME\n.Nm a\n.Nd b\n"
    for page in pages:
        write(work, "mpi/man/" + page, lines % tuple(page.upper().split(".")))
    code, printed = run("sh", os.path.join(folder, "man.sh"), work)
    expect(code in (77, 0), "man passes good pages", printed)
    write(work, "mpi/man/consilium.1", lines % ("CONSILIUM", "1") + ".Nonsense\n")
    code, printed = run("sh", os.path.join(folder, "man.sh"), work)
    expect(code != 0, "man refuses an unknown macro", printed)
    os.remove(os.path.join(work, "mpi/man/consilium-run.1"))
    code, printed = run("sh", os.path.join(folder, "man.sh"), work)
    expect(code == 77 or "no consilium-run.1" in printed, "man misses a page", printed)


def main():
    folder = sys.argv[1]
    tidy = os.path.join(folder, "tidy.py")
    checks = sorted({fault[0] for fault in FAULTS})
    with open(tidy, encoding="utf-8") as stream:
        known = sorted(re.findall(r"^def check_(\w+)", stream.read(), re.M))
    expect(known == sorted(checks + ["symbols"]), "every check has a fault here", " ".join(known))
    with tempfile.TemporaryDirectory() as work:
        good, bad = os.path.join(work, "good"), os.path.join(work, "bad")
        for name, text in GOOD.items():
            write(good, name, text)
        shutil.copytree(good, bad)
        for _, name, text, _, _ in FAULTS:
            write(bad, name, text)
        for check in checks:
            code, printed = run(sys.executable, tidy, check, good)
            expect(code == 0, "%s passes a tree without faults" % check, printed)
            code, printed = run(sys.executable, tidy, check, bad)
            expect(code == 1, "%s fails" % check, printed)
            for _, name, _, line, message in (fault for fault in FAULTS if fault[0] == check):
                found = [text for text in printed.split("\n") if text.startswith("%s:%d: " % (name, line))]
                expect(any(message in text for text in found), "%s finds '%s' in %s:%d" % (check, message, name, line),
                       printed)
            print("%s: ok" % check)
        check_symbols(tidy, os.path.join(work, "libraries"))
        check_tools(folder, os.path.join(work, "tools"))


main()
