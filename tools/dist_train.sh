#!/usr/bin/env bash
# bash tools/dist_train.sh CONFIG PROCESSES_PER_NODE [options of tools/train.py]
config=${1:?usage: bash tools/dist_train.sh CONFIG PROCESSES_PER_NODE [options of tools/train.py]}
processes=${2:?usage: bash tools/dist_train.sh CONFIG PROCESSES_PER_NODE [options of tools/train.py]}
exec bash "$(dirname "${BASH_SOURCE[0]}")/dist_run.sh" train.py "$processes" "$config" "${@:3}"
