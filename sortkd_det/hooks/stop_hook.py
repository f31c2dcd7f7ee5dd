"""Saving and leaving when a run is told to stop."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import all_reduce, barrier, get_world_size, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner
from torch import tensor

from sortkd_det.checkpoints import note_last_checkpoint
from sortkd_det.registry import HOOKS

from .parts_of_run import device_of, is_accumulating, wrappers_of

#: Exit status of a run that SIGTERM stopped and that ``--resume`` takes up again
#: (EX_TEMPFAIL of sysexits.h).
EXIT_STOPPED = 75


@HOOKS.register_module()
class StopHook(Hook):
    """Saves and leaves after SIGTERM; ``ResumableRunner`` adds it to every run.

    One process leaves after the current iteration, in training as in
    validation; several agree on one every ``interval`` iterations. Where
    gradients are accumulated, the last of a group is waited for, and groups are
    counted together until they have ``interval`` iterations.

    Args:
        interval: iterations between two agreements of several processes.
    """

    priority = 'LOWEST'

    _shared_val_iters = 0  # iterations of a validation that every process has

    def __init__(self, interval: int = 10) -> None:
        self.interval = interval

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Leave the run if it was told to stop."""
        if is_accumulating(runner):
            return
        group = max(getattr(each, '_accumulative_counts', 1) for each in wrappers_of(runner))
        if self._all_agree(runner, (runner.iter + 1) // group, max(self.interval // group, 1)):
            self._leave(runner, runner.iter + 1)

    def before_val_epoch(self, runner: Runner) -> None:
        """Find the length of the shortest validation among the processes."""
        if get_world_size() > 1:
            length = tensor(len(runner.val_dataloader), device=device_of(runner))
            all_reduce(length, op='min')
            self._shared_val_iters = length.item()

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence | None = None,
    ) -> None:
        """Leave the run if it was told to stop; a resumed run validates anew."""
        if get_world_size() > 1 and batch_idx >= self._shared_val_iters:
            return
        if self._all_agree(runner, batch_idx + 1, self.interval):
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):  # it has put the averaged weights in, to validate
                    hook.after_val_epoch(runner)
            self._leave(runner, runner.iter)

    def _all_agree(self, runner: Runner, number: int, interval: int) -> bool:
        """Whether to leave now; of several processes all hear it if one was asked."""
        if get_world_size() == 1:
            return runner.stop_asked
        if number % interval:
            return False
        asked = tensor(float(runner.stop_asked), device=device_of(runner))
        all_reduce(asked, op='max')
        return bool(asked)

    def _leave(self, runner: Runner, iteration: int) -> None:
        name = f'stopped_iter_{iteration}.pth'
        path = Path(runner.work_dir, name)
        before = runner.message_hub.runtime_info.get('stopped_ckpt')
        runner.message_hub.update_info('stopped_ckpt', str(path))
        try:
            runner.save_checkpoint(
                runner.work_dir, name, meta=dict(epoch=runner.epoch, iter=iteration), by_epoch=False
            )
            if is_main_process():
                note_last_checkpoint(runner.work_dir, str(path))
                if before not in (None, str(path)):
                    Path(before).unlink(missing_ok=True)
        finally:
            barrier()  # a launcher ends the others soon after the first that leaves
        runner.logger.warning(
            f'SIGTERM: stopped after iteration {iteration}, saved {path}; go on with --resume'
        )
        raise SystemExit(EXIT_STOPPED)
