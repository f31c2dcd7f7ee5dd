#!/usr/bin/env bash
# The compiler of mmcv's operators in tools/setup_env.sh: g++ in a quarter of the time. The header that
# each of their files begins with, torch's own, is compiled once; nothing is kept for a debugger; and
# pybind.cpp, which only lists the operators, is optimised less. The operators' code stays the same.
# MMCV_CXX is the g++, MMCV_PCH a folder for the header. Calls that compile something else pass through.
set -u

arguments=("$@")
optimised=()
case " $* " in
    *' -c '*/mmcv/ops/csrc/pytorch/pybind.cpp\ *) optimised=(-O1) ;;
    *' -c '*/mmcv/ops/csrc/pytorch/*.cpp\ *) ;;
    *) exec "$MMCV_CXX" "$@" ;;
esac

common=() # the arguments, but for the file, where its object goes and what it includes
while [ $# -gt 0 ]; do
    case $1 in
        -o | -MF) shift ;;
        -c | -MMD | *.cpp) ;;
        *) common+=("$1") ;;
    esac
    shift
done

header=$MMCV_PCH/common.hpp
(
    flock 9
    if ! [ -e "$header" ]; then # it is tried once: without it g++ reads the header as it always did
        echo '#include "pytorch_cpp_helper.hpp"' >"$header"
        "$MMCV_CXX" "${common[@]}" -g0 -x c++-header "$header" -o "$header.new" &&
            mv "$header.new" "$header.gch"
    fi
) 9>"$header.lock"
exec "$MMCV_CXX" "${arguments[@]}" -g0 ${optimised[@]+"${optimised[@]}"} -include "$header"
