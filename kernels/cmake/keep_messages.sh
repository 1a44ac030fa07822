#!/bin/sh
# keep_messages.sh COMPILER ARGUMENTS...: runs the compiler and keeps what it says in OBJECT.log
# beside the object (what follows -o). tests/cudasim/registers.sh reads there what ptxas said about
# registers and spills, so that nothing is compiled a second time to learn it.
object=
previous=
for argument in "$@"; do
    [ "$previous" != -o ] || object=$argument
    previous=$argument
done
code=0
"$@" >"${object:?no -o among the arguments}.log" 2>&1 || code=$?
# On the terminal as without this script, but for the statistics of kernels that compiled.
if [ "$code" = 0 ]; then
    grep -v -e '^ptxas info ' -e 'bytes stack frame' "$object.log"
else
    cat "$object.log"
fi
exit "$code"
