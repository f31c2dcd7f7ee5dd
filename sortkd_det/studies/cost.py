"""What a run will cost, from its own first steps on this machine."""

import contextlib
import io
import itertools
import statistics
import tempfile
import time
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner

from sortkd_det.cli.distillation import find_distill_hook
from sortkd_det.cli.runner import build_runner, prepare

_WARM_UP, _TIMED = 2, 5  # steps
_NUMBERS = itertools.count()  # loggers of one process need names of their own


class _EnoughError(Exception):
    """The steps that were wanted are done."""


class _Clock(Hook):
    """Notes when each training step ends, and ends the run after a few."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.ends: list[float] = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        _wait()
        self.ends.append(time.perf_counter())
        if len(self.ends) > _WARM_UP + _TIMED:
            raise _EnoughError


def seconds_of_run(cfg: Config, num_processes: int = 1) -> float:
    """How long a training, its validations and the test of it will take here.

    A few steps are done of the very run, with its data, teacher and method, and nothing of it is
    kept. Start, checkpoints and the computation of metrics come on top.

    Args:
        cfg: of the run, which is changed.
        num_processes: that it will have, each on a device as fast as this one.

    Raises:
        Exception: whatever the run itself would raise.
    """
    hook = find_distill_hook(cfg)
    if hook is not None:
        hook.check_teacher = None
        hook.teacher.pop('cache', None)
    cfg.default_hooks = {**(cfg.get('default_hooks') or {}), 'checkpoint': None}
    cfg.visualizer = None
    cfg.resume = False
    cfg.experiment_name = f'cost-{next(_NUMBERS)}'
    with tempfile.TemporaryDirectory() as cfg.work_dir, contextlib.redirect_stdout(io.StringIO()):
        prepare(cfg, ())
        runner = build_runner(cfg)
        clock = _Clock()
        runner.register_hook(clock)
        with contextlib.suppress(_EnoughError):
            runner.train()
        steps = [end - start for start, end in itertools.pairwise(clock.ends)]
        step = statistics.median(steps[_WARM_UP:] or steps or [0.0])
        training = step * runner.max_iters
        return (training + _seconds_of_tests(runner)) / max(num_processes, 1)


def _seconds_of_tests(runner: Runner) -> float:
    """Seconds of all validations, and of a test as long as one of them."""
    if runner.val_loop is None:
        return 0.0
    loader, seconds = runner.val_dataloader, []
    runner.model.eval()
    with torch.no_grad():
        for data in itertools.islice(loader, 1 + _TIMED):
            start = time.perf_counter()
            runner.model.val_step(data)
            _wait()
            seconds.append(time.perf_counter() - start)
    each = statistics.median(seconds[1:] or seconds) * len(loader)
    return each * (1 + _number_of_validations(runner))


def _number_of_validations(runner: Runner) -> int:
    loop = runner.train_loop
    by_iter = isinstance(loop, IterBasedTrainLoop)
    end = runner.max_iters if by_iter else runner.max_epochs
    due = range(max(loop.val_begin, 1), end + 1)
    return sum(now % loop.val_interval == 0 or now == end for now in due)


def _wait() -> None:
    """For the device, which works behind the host."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
