#!/bin/sh
# Every manual page that was built passes mandoc's warnings.   man.sh BUILD_DIR
set -eu
pages=$(find "$1/mpi/man" -name '*.[15]' 2>/dev/null || true)
[ -n "$pages" ] || { echo 'SKIP: no manual pages in this build'; exit 77; }
command -v mandoc >/dev/null || { echo 'SKIP: mandoc is not here'; exit 77; }
for page in consilium.1 consilium-run.1 consilium-data.1 consilium-aggregate.1 consilium-bench.1 consilium-info.1 \
    consilium-study.5; do
    echo "$pages" | grep -q "/$page\$" || { echo "no $page"; exit 1; }
done
# shellcheck disable=SC2086 # the list is words
mandoc -T lint -W warning $pages
