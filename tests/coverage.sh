#!/bin/sh
# Lines that the tests ran, by layer, after a run of a build with --coverage.
# usage: coverage.sh BUILD_DIR   (from the source folder)
set -eu
here=$PWD
table=$(find "$1" -name '*.gcda' -exec gcov -n '{}' + 2>/dev/null | awk -v here="$here/" '
    /^File / {
        name = $2
        gsub(/\047/, "", name)
        if (index(name, here) == 1) name = substr(name, length(here) + 1)
        sub(/^(\.\.\/)+/, "", name) # a compiler cache may have made it relative
    }
    /^Lines executed:/ && name ~ /^(kernels|engine|datasets|mpi|bench)\/.*\.c$/ {
        split($2, part, /[:%]/)
        total = $NF
        ran = part[2] * total / 100
        if (!(name in lines) || ran > best[name]) best[name] = ran # also built for the simulated card
        lines[name] = total
        name = "" # the sum over all files has the same form
    }
    END {
        if (length(lines) == 0) {
            print "coverage: no line was counted" >"/dev/stderr"
            exit 1
        }
        for (name in lines) {
            layer = name
            sub(/\/.*/, "", layer)
            all[layer] += lines[name]
            done[layer] += best[name]
        }
        for (layer in all) printf "coverage: %-9s %5.1f %% of %d lines\n", layer, 100 * done[layer] / all[layer], all[layer]
    }')
echo "$table" | sort
