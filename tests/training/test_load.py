"""Thousands of distilled steps: memory, open files and threads do not grow.

python -m pytest -m slow tests/training/test_load.py -s
"""

import ctypes
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from mmengine.hooks import Hook

MAX_SLOPE = 1.0  # MiB of resident memory per 1,000 steps, after the first fifth
MAX_PER_VALIDATION = 0.1  # MiB, likewise
_C = ctypes.CDLL(None)


def used():
    """MiB of resident memory, open files and threads of this process."""
    if hasattr(_C, 'malloc_trim'):
        _C.malloc_trim(0)  # what was freed, and not given back, does not count
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    mib = pages * os.sysconf('SC_PAGE_SIZE') / 2**20
    return mib, len(os.listdir('/proc/self/fd')), threading.active_count()


def slope_of(noted):
    """Growth of memory a step, after the first fifth of what was noted."""
    noted = np.array(noted[len(noted) // 5 :])
    return np.polyfit(noted[:, 0], noted[:, 1], 1)[0]


class Watch(Hook):
    """Notes what is used every so often."""

    priority = 'LOWEST'

    def __init__(self, interval):
        self.interval = interval
        self.noted = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if (runner.iter + 1) % self.interval == 0:
            self.noted.append((runner.iter + 1, *used()))


@pytest.mark.slow
@pytest.mark.parametrize(('kind', 'steps'), [('classifier', 10_000), ('detector', 1_000)])
def test_steps_leave_nothing_behind(request, start, kind, steps, capsys):
    cfg = request.getfixturevalue(kind)
    # In iterations: pytest keeps what is logged, and each epoch logs a table.
    cfg.train_cfg = dict(by_epoch=False, max_iters=steps, val_interval=steps)
    cfg.log_processor = dict(by_epoch=False)
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=steps // 8)
    cfg.custom_hooks[-1]['interval'] = 100
    cfg.default_hooks.logger.interval = 100
    cfg.param_scheduler = None
    runner = start(cfg)
    watch = Watch(steps // 100)
    runner.register_hook(watch)
    runner.train()
    slope = slope_of(watch.noted) * 1000
    _, _, files, threads = watch.noted[20]
    _, mib, files_at_end, threads_at_end = watch.noted[-1]
    with capsys.disabled():
        print(
            f'\n{kind}: {steps:,} steps, {slope:+.3f} MiB per 1,000 of {mib:.0f} MiB; open files '
            f'{files} to {files_at_end}, threads {threads} to {threads_at_end}'
        )
    assert slope < MAX_SLOPE
    assert files_at_end <= files + 1
    assert threads_at_end <= threads


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['classifier', 'detector'])
def test_validations_leave_nothing_behind(request, start, kind, capsys):
    """Of weights that stay: a detector that finds more than before needs more for it."""
    cfg = request.getfixturevalue(kind)
    cfg.default_hooks.checkpoint.save_best = None
    runner = start(cfg)
    runner.train()
    noted = []
    for number in range(50):
        runner.val_loop.run()
        noted.append((number, *used()))
    slope = slope_of(noted)
    with capsys.disabled():
        print(
            f'\n{kind}: 50 validations, {slope:+.4f} MiB each; open files {noted[10][2]} to '
            f'{noted[-1][2]}, threads {noted[10][3]} to {noted[-1][3]}'
        )
    assert slope < MAX_PER_VALIDATION
    assert noted[-1][2:] == noted[10][2:]
