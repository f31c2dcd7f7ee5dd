"""Thousands of distilled steps: memory, open files and threads do not grow.

python -m pytest -m slow tests/training/test_load.py -s
"""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from mmengine.hooks import Hook

MAX_SLOPE = 1.0  # MiB of resident memory per 1,000 steps, after the first fifth


class Watch(Hook):
    """Notes memory, open files and threads every so often."""

    priority = 'LOWEST'

    def __init__(self, interval):
        self.interval = interval
        self.noted = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if (runner.iter + 1) % self.interval == 0:
            pages = int(Path('/proc/self/statm').read_text().split()[1])
            mib = pages * os.sysconf('SC_PAGE_SIZE') / 2**20
            files = len(os.listdir('/proc/self/fd'))
            self.noted.append((runner.iter + 1, mib, files, threading.active_count()))


@pytest.mark.slow
@pytest.mark.parametrize(('kind', 'steps'), [('classifier', 10_000), ('detector', 1_000)])
def test_nothing_grows(request, start, kind, steps, capsys):
    cfg = request.getfixturevalue(kind)
    # In iterations: pytest keeps what is logged, and each epoch logs a table.
    cfg.train_cfg = dict(by_epoch=False, max_iters=steps, val_interval=steps // 4)
    cfg.log_processor = dict(by_epoch=False)
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=steps // 4)
    cfg.custom_hooks[-1]['interval'] = 100
    cfg.default_hooks.logger.interval = 100
    cfg.param_scheduler = None
    runner = start(cfg)
    watch = Watch(steps // 100)
    runner.register_hook(watch)
    runner.train()
    noted = np.array(watch.noted[len(watch.noted) // 5 :])
    slope = np.polyfit(noted[:, 0], noted[:, 1], 1)[0] * 1000
    with capsys.disabled():
        print(
            f'\n{kind}: {steps:,} steps, {slope:+.3f} MiB per 1,000 of {noted[-1, 1]:.0f} MiB; '
            f'open files {noted[0, 2]:.0f} to {noted[-1, 2]:.0f}, threads {noted[0, 3]:.0f} to '
            f'{noted[-1, 3]:.0f}'
        )
    assert slope < MAX_SLOPE
    assert noted[-1, 2] <= noted[0, 2] + 1
    assert noted[-1, 3] <= noted[0, 3]
