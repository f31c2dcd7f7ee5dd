"""MMEngine's runner, made so that a run can be stopped at any moment and lose nothing."""

import copy
import os
import re
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import all_reduce, barrier, broadcast, get_world_size, is_main_process
from mmengine.evaluator import Evaluator
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import Registry
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import device, nn, tensor
from torch.utils.data import DataLoader

from sortkd_det.collector import paused
from sortkd_det.distill import load_checkpoint
from sortkd_det.registry import DATA_SAMPLERS, HOOKS

from .batches import SeededBatchSampler
from .coco_ground_truth import mend_ground_truth
from .finite import NonFiniteHook, is_accumulating, wrappers_of
from .loops import EpochLoop, IterLoop
from .schedule import Schedules
from .signals import guard_workers, listening
from .unordered import warn_if_not_repeatable

#: Exit status of a run that SIGTERM stopped and that ``--resume`` takes up again
#: (EX_TEMPFAIL of sysexits.h).
EXIT_STOPPED = 75

_PARTIAL = '.partial'
_CHECKPOINT = re.compile(r'(?:stopped_)?(?:epoch|iter)_\d+\.pth')
_LOOPS = {EpochBasedTrainLoop: EpochLoop, IterBasedTrainLoop: IterLoop}


class ResumableRunner(Runner):
    """A runner whose runs are repeatable, and survive being killed.

    - Training loops, checkpoint hook and batch sampler of a config are replaced
      by ours where they are MMEngine's own: each iteration and each sample is
      seeded by itself, and ``--resume`` goes on at the very next batch.
    - Checkpoints appear under their name only when they are whole and on the disk.
    - Resuming without a path takes the newest checkpoint that is whole, and
      warns of those that are not.
    - After SIGTERM the run saves, and exits with status :data:`EXIT_STOPPED`; a second one
      ends it at once.
    - COCO's evaluation is right whatever the ids of the annotations are.

    Args: those of MMEngine's ``Runner``.
    """

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'ResumableRunner':
        """The runner of a config.

        A run to be resumed gets the seed of its checkpoint: of ``load_from``, if there is
        one. Otherwise, and always with ``resume='auto'``, the newest whole checkpoint
        of the work dir is taken; where there is none yet, the run begins, from
        ``load_from`` if the config has it.

        Args:
            cfg: not changed.

        Raises:
            ValueError: the work dir has checkpoints, and none can be resumed from.
        """
        if cfg.get('resume'):
            cfg = copy.deepcopy(cfg)
            begins_from = cfg.get('load_from')
            named = None if cfg.resume == 'auto' else begins_from
            found = named or newest_checkpoint(cfg.work_dir)
            if found is None:
                warnings.warn(
                    f'no checkpoint in {cfg.work_dir}: the run begins anew'
                    + (f', from {begins_from}' if begins_from else ''),
                    stacklevel=2,
                )
                cfg.resume = False
            else:
                cfg.resume, cfg.load_from = True, found
                seed = load_checkpoint(found).get('meta', {}).get('seed')
                if seed is not None:
                    cfg.setdefault('randomness', {})
                    cfg.randomness['seed'] = seed
        return super().from_cfg(cfg)

    def set_randomness(self, *args: Any, **kwargs: Any) -> None:
        """Seed; with ``deterministic`` also what cuBLAS wants before its first call."""
        if kwargs.get('deterministic'):
            os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        super().set_randomness(*args, **kwargs)

    def build_train_loop(self, loop: Any) -> Any:
        """Build the loop; MMEngine's own two become ours."""
        if isinstance(loop, Mapping) and isinstance(self._train_dataloader, Mapping):
            loop = dict(loop)
            by_epoch = loop.pop('by_epoch', None)
            if by_epoch is not None:
                loop['type'] = EpochBasedTrainLoop if by_epoch else IterBasedTrainLoop
            kind = _class_of(loop.get('type'), MMENGINE_LOOPS)
            if kind in _LOOPS:
                loop['type'] = _LOOPS[kind]
                self._train_dataloader = _with_seeded_batches(self._train_dataloader, self.seed)
        return super().build_train_loop(loop)

    @staticmethod
    def build_dataloader(dataloader: Any, *args: Any, **kwargs: Any) -> DataLoader:
        """Build a loader whose workers live on while a run that was told to stop saves."""
        with paused():
            loader = Runner.build_dataloader(dataloader, *args, **kwargs)
        guard_workers(loader)
        return loader

    def build_evaluator(self, evaluator: Any) -> Evaluator:
        """Build the evaluator; what its metrics read of COCO's annotations becomes evaluable."""
        evaluator = super().build_evaluator(evaluator)
        for metric in evaluator.metrics:
            mend_ground_truth(metric)
        return evaluator

    def register_default_hooks(self, hooks: dict | None = None) -> None:
        """Register the default hooks; MMEngine's checkpoint hook becomes ours."""
        hooks = dict(hooks or {})
        hook = hooks.get('checkpoint', dict(type='CheckpointHook', interval=1))
        kind = _class_of(hook.get('type'), MMENGINE_HOOKS) if isinstance(hook, Mapping) else None
        if kind is CheckpointHook:
            hooks['checkpoint'] = {**hook, 'type': 'sortkd_det.SafeCheckpointHook'}
        super().register_default_hooks(hooks)

    def register_hooks(self, default_hooks: dict | None = None, custom_hooks: Any = None) -> None:
        """Register the config's hooks and ours; a :class:`NonFiniteHook` if none is among them."""
        super().register_hooks(default_hooks, custom_hooks)
        self.register_hook(ShareBuffersHook())
        self.register_hook(StopHook())  # the last of all: what others do in an iteration is done
        if not any(isinstance(hook, NonFiniteHook) for hook in self.hooks):
            self.register_hook(NonFiniteHook())

    def train(self) -> nn.Module:
        """Train, listening for SIGTERM."""
        if self.deterministic:
            warn_if_not_repeatable(self.model, _device(self), self.logger)
        with listening(self._note_stop):
            return super().train()

    #: Whether a checkpoint that is loaded now continues a run, or only gives weights.
    resuming = False
    _saved_schedulers: Any = None  # of the checkpoint that was loaded last

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: Any = 'default',
    ) -> None:
        """Take a run up from a checkpoint; arguments of MMEngine's ``Runner.resume``.

        Where its schedules are not those of this config, they go on as in a run of this config.

        Raises:
            ValueError: the checkpoint lacks the state of this run, or holds another's; a
                schedule that differs depends on validations of the past.
        """
        self.resuming = True
        self._build_schedules()
        schedules = Schedules(self)
        try:
            super().resume(filename, resume_optimizer, False, map_location)
            if resume_param_scheduler:
                schedules.go_on(self._saved_schedulers)
        except (AssertionError, AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f'{self._load_from} cannot be resumed from: its state is not that of such a run '
                f'({type(error).__name__}: {error}); load_from takes its weights alone'
            ) from error

    def _build_schedules(self) -> None:
        """What ``train`` does before it resumes; nothing, where that was done."""
        self._train_loop = self.build_train_loop(self._train_loop)
        self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
        if self.param_schedulers is not None:
            self.param_schedulers = self.build_param_scheduler(self.param_schedulers)

    def load_checkpoint(self, *args: Any, **kwargs: Any) -> dict:
        """Load; arguments of MMEngine's ``Runner.load_checkpoint``."""
        checkpoint = super().load_checkpoint(*args, **kwargs)
        self._saved_schedulers = checkpoint.get('param_schedulers')
        return checkpoint

    stop_asked = False

    def _note_stop(self) -> None:
        self.stop_asked = True

    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Save, and show the file under its name only when it is whole.

        Args: those of MMEngine's ``Runner.save_checkpoint``.

        Raises:
            OSError: it could not be written; what was under that name before is untouched.
        """
        if not is_main_process():
            return
        if not isinstance(get_file_backend(out_dir), LocalBackend):
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        path = Path(out_dir, filename)
        partial = path.with_name(f'.{path.name}{_PARTIAL}')
        try:
            super().save_checkpoint(out_dir, partial.name, *args, **kwargs)
            make_durable(partial, path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            free = shutil.disk_usage(path.parent if path.parent.exists() else '.').free / 2**20
            raise OSError(
                f'checkpoint {path} could not be written ({error}); {free:,.0f} MiB are free there'
            ) from error


def newest_checkpoint(work_dir: str) -> str | None:
    """Path of the newest checkpoint of a run that loads, or None; warns of those that do not.

    ``last_checkpoint`` is asked first, as :func:`noted_checkpoint` does; then files of
    the work dir by age.

    Raises:
        ValueError: there are checkpoints, and none loads.
    """
    folder = Path(work_dir)
    paths = [path for path in folder.glob('*.pth') if _CHECKPOINT.fullmatch(path.name)]
    paths.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    last = noted_checkpoint(work_dir)
    if last is not None:
        paths = [last, *(path for path in paths if path.name != last.name)]
    for path in paths:
        try:
            checkpoint = load_checkpoint(str(path))
            if {'state_dict', 'meta', 'message_hub'} <= set(checkpoint):
                return str(path)
            reason = f'it holds only {sorted(checkpoint)}'
        except ValueError as error:
            reason = str(error)
        warnings.warn(
            f'{path} cannot be resumed from and the one before is tried: {reason}', stacklevel=2
        )
    if paths:
        raise ValueError(
            f'none of the {len(paths)} checkpoints in {work_dir} can be resumed from; of the last '
            f'that was tried: {reason}. To begin anew, name another work dir'
        )
    return None


def noted_checkpoint(work_dir: str) -> Path | None:
    """The checkpoint that ``last_checkpoint`` in a work dir names, or None where there is none.

    A copied folder names the files of the old one: its own of the same name comes first, and
    a warning tells where it has none.
    """
    note = Path(work_dir, 'last_checkpoint')
    named = note.read_text().strip() if note.is_file() else ''
    if not named:
        return None
    own, other = Path(work_dir, Path(named).name), Path(named)
    if own.is_file():
        return own
    if other.is_file():
        warnings.warn(f'{own} is not there, and {other} is taken, which {note} names', stacklevel=3)
        return other
    warnings.warn(f'{note} names {other}, and no such file is there', stacklevel=3)
    return None


def make_durable(partial: Path, path: Path) -> None:
    """Put a file that was written under another name on the disk, then under its own."""
    with open(partial, 'rb') as file:
        os.fsync(file.fileno())
    os.replace(partial, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _with_seeded_batches(config: Mapping, seed: int) -> dict:
    """The config of a loader whose batches are those of :class:`SeededBatchSampler`."""
    config = copy.deepcopy(dict(config))
    batches = config.get('batch_sampler')
    if batches is None or _class_of(batches['type'], DATA_SAMPLERS) is not SeededBatchSampler:
        batches = dict(type='sortkd_det.SeededBatchSampler', batch_sampler=batches)
        batches['drop_last'] = config.pop('drop_last', False)
    config['batch_sampler'] = {'seed': seed, **batches}
    return config


def _class_of(kind: Any, registry: Registry) -> Any:
    """The class that a config's ``type`` names; new-style configs hold the class itself."""
    return registry.get(kind) if isinstance(kind, str) else kind


@HOOKS.register_module()
class StopHook(Hook):
    """Saves and leaves after SIGTERM; :class:`ResumableRunner` adds it to every run.

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
        """Leave, if that was asked."""
        if is_accumulating(runner):
            return
        group = max(getattr(each, '_accumulative_counts', 1) for each in wrappers_of(runner))
        if self._all_agree(runner, (runner.iter + 1) // group, max(self.interval // group, 1)):
            self._leave(runner, runner.iter + 1)

    def before_val_epoch(self, runner: Runner) -> None:
        """Learn how long the shortest validation among the processes is."""
        if get_world_size() > 1:
            length = tensor(len(runner.val_dataloader), device=_device(runner))
            all_reduce(length, op='min')
            self._shared_val_iters = length.item()

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence | None = None,
    ) -> None:
        """Leave, if that was asked; a resumed run validates anew."""
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
        asked = tensor(float(runner.stop_asked), device=_device(runner))
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


@HOOKS.register_module()
class ShareBuffersHook(Hook):
    """Validates the model that is saved; :class:`ResumableRunner` adds it to every run.

    Each of several processes has batch norm statistics of its own, and the
    checkpoints hold those of the first: before a validation all take them over.
    Hooks that average statistics (MMDetection's ``SyncNormHook``), or swap an
    averaged model in, come first.
    """

    priority = 'VERY_LOW'

    def before_val_epoch(self, runner: Runner) -> None:
        """Take over the first process's buffers."""
        if get_world_size() > 1:
            for buffer in runner.model.buffers():
                broadcast(buffer)


def _device(runner: Runner) -> device:
    return next(runner.model.parameters()).device


def note_last_checkpoint(work_dir: str, path: str) -> None:
    """Write which checkpoint of a run is the newest; a kill leaves the note whole."""
    note = Path(work_dir, 'last_checkpoint')
    partial = note.with_name(f'.{note.name}{_PARTIAL}')
    partial.write_text(path)
    make_durable(partial, note)
