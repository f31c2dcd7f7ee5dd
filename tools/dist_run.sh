#!/usr/bin/env bash
# Runs a tool on many processes through torch's launcher; dist_train.sh and dist_test.sh call it.
#   bash tools/dist_run.sh TOOL PROCESSES_PER_NODE ARGUMENTS…
# One node or several: NNODES, NODE_RANK, MASTER_ADDR, PORT. Without a GPU the processes talk by gloo.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ $# -lt 3 ] || ! [ "$2" -ge 1 ] 2>/dev/null; then
    echo "error: expected a number of processes per node ≥ 1, got '${2:-}'" >&2
    exit 2
fi
tool=$1
processes=$2
shift 2
python=${PYTHON:-$([ -x "$here/../.venv/bin/python" ] && echo "$here/../.venv/bin/python" || echo python)}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec "$python" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    --nproc_per_node="$processes" \
    "$here/$tool" "$@" --launcher pytorch
