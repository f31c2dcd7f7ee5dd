#!/usr/bin/env bash
# bash tools/dist_test.sh CONFIG CHECKPOINT PROCESSES_PER_NODE [options of tools/test.py]
usage='usage: bash tools/dist_test.sh CONFIG CHECKPOINT PROCESSES_PER_NODE [options of tools/test.py]'
config=${1:?$usage}
checkpoint=${2:?$usage}
processes=${3:?$usage}
exec bash "$(dirname "${BASH_SOURCE[0]}")/dist_run.sh" test.py "$processes" "$config" "$checkpoint" "${@:4}"
