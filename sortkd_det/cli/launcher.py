"""Runs of several processes: what a launcher tells each, and the group that they open."""

import os
import time
from pathlib import Path

import torch
from mmengine.config import Config

_GLOO_THREAD = 'pt_gloo_runloop'  # as torch names them
_PATIENCE = 5.0  # seconds
# What a launcher tells each process.
_RANKS = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_LOCAL_RANK'}


def check_launcher(launcher: str) -> None:
    """Raise unless this is a process that ``launcher`` has started.

    Raises:
        ValueError: it is not, or there are no GPUs for it.
    """
    if launcher == 'none':
        return
    if launcher != 'pytorch' and not torch.cuda.is_available():
        raise ValueError(
            f'--launcher {launcher} needs GPUs; on CPUs use tools/dist_train.sh '
            '(--launcher pytorch)'
        )
    if _RANKS[launcher] not in os.environ:
        raise ValueError(
            f'--launcher {launcher} is for processes that a launcher has started, but '
            f'{_RANKS[launcher]} is not set: use tools/dist_train.sh or tools/slurm_train.sh'
        )


def start_gloo(cfg: Config) -> None:
    """Open the process group that MMEngine cannot open on CPUs: it would set a CUDA device."""
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')
    cfg.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )


def wait_for_gloo() -> None:
    """Wait until gloo's threads have let go of the last tensors, before Python is shut down.

    They do so after whoever waits for the result has gone on. For a tensor of Python's they need
    the interpreter's lock, and asking for it in a shutdown ends the thread in the midst of C++, and
    so the process by SIGABRT: seen where other processes kept such a thread from its processor.
    """
    if torch.distributed.get_backend() != 'gloo':
        return
    end = time.monotonic() + _PATIENCE
    time.sleep(0.01)  # which gives them the lock
    while any(map(_is_busy_in_gloo, Path('/proc/self/task').glob('*'))) and time.monotonic() < end:
        time.sleep(0.01)


def _is_busy_in_gloo(thread: Path) -> bool:
    """Whether a thread of this process is one of gloo's that runs, or would if it could."""
    try:
        name, _, state = (thread / 'stat').read_text().partition('(')[2].rpartition(') ')
    except OSError:  # it has ended
        return False
    return name == _GLOO_THREAD and state.startswith('R')


def is_main_process() -> bool:
    """Whether this is the process that checks data and prints, known before the runner is."""
    return int(os.environ.get('RANK', os.environ.get('SLURM_PROCID', 0))) == 0
