#!/usr/bin/env bash
# The compiler of mmcv's operators in tools/setup_env.sh: g++ in a fifth of the time. Nearly all of it goes
# into the header that each of mmcv's files begins with, torch's own, and into what that leaves to be done at
# the end of each. Here the header is compiled once; the files that only look up which operator a device
# has are compiled fourteen at a time; pybind.cpp, which lists the operators, is optimised less; and nothing
# is kept for a debugger. The operators' code stays the same. MMCV_CXX is the g++, MMCV_PCH a folder for
# what is made on the way. Calls that compile something else pass through.
set -u

source=''
for argument in "$@"; do
    case $argument in */mmcv/ops/csrc/pytorch/*.cpp) source=$argument ;; esac
done
[ -n "$source" ] || exec "$MMCV_CXX" "$@"

options=(-g0)
object=()
while [ $# -gt 0 ]; do
    case $1 in
        -o | -MF) object+=("$1" "$2") && shift ;;
        -c | -MMD | -g | "$source") ;;
        *) options+=("$1") ;;
    esac
    shift
done

header=$MMCV_PCH/common.hpp
(
    flock 9
    if ! [ -e "$header" ]; then # it is tried once: without it g++ reads the header as it always did
        echo '#include "pytorch_cpp_helper.hpp"' >"$header"
        "$MMCV_CXX" "${options[@]}" -x c++-header "$header" -o "$header.new" &&
            mv "$header.new" "$header.gch"
    fi
) 9>"$header.lock"

case $source in
    */cpu/*) ;;
    */pybind.cpp) options+=(-O1) ;;
    *)
        files=()
        for file in "${source%/*}"/*.cpp; do
            [ "${file##*/}" = pybind.cpp ] || files+=("$file")
        done
        group=$MMCV_PCH/${source##*/} # the first of fourteen stands for all of them
        : >"$group"
        for ((first = 0; first < ${#files[@]}; first += 14)); do
            [ "${files[first]}" = "$source" ] && printf '#include "%s"\n' "${files[@]:first:14}" >"$group"
        done
        source=$group
        ;;
esac
[ -s "$source" ] && options+=(-include "$header")
exec "$MMCV_CXX" "${options[@]}" -MMD -c "$source" "${object[@]}"
