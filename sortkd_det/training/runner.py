"""MMEngine's runner, made so that a run can be stopped at any moment and lose nothing."""

import copy
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import Registry
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from sortkd_det.checkpoints import load_checkpoint, newest_checkpoint
from sortkd_det.collector import paused
from sortkd_det.files import written_whole
from sortkd_det.hooks import NonFiniteHook, ShareBuffersHook, StopHook
from sortkd_det.hooks.parts_of_run import device_of
from sortkd_det.registry import DATA_SAMPLERS

from .batches import SeededBatchSampler
from .coco_ground_truth import mend_ground_truth
from .loops import EpochLoop, IterLoop
from .schedule import Schedules
from .signals import guard_workers, listening
from .unordered import warn_if_not_repeatable

_LOOPS = {EpochBasedTrainLoop: EpochLoop, IterBasedTrainLoop: IterLoop}


class ResumableRunner(Runner):
    """A runner whose runs are repeatable, and survive being killed.

    - Training loops, checkpoint hook and batch sampler of a config are replaced
      by ours where they are MMEngine's own: each iteration and each sample is
      seeded by itself, and ``--resume`` goes on at the very next batch.
    - Checkpoints appear under their name only when they are whole and on the disk.
    - Resuming without a path takes the newest checkpoint that is whole, and
      warns of those that are not.
    - After SIGTERM the run saves, and exits with status :data:`~sortkd_det.hooks.EXIT_STOPPED`;
      a second one ends it at once.
    - COCO's evaluation is right whatever the ids of the annotations are.

    Args: those of MMEngine's ``Runner``.
    """

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'ResumableRunner':
        """Build the runner of a config.

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
        """Seed the generators; with ``deterministic`` set what cuBLAS wants before it starts."""
        if kwargs.get('deterministic'):
            os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        super().set_randomness(*args, **kwargs)

    def build_train_loop(self, loop: Any) -> Any:
        """Build the training loop, with seeded batches; MMEngine's own two are replaced by ours."""
        if isinstance(loop, Mapping) and isinstance(self._train_dataloader, Mapping):
            loop = dict(loop)
            by_epoch = loop.pop('by_epoch', None)
            if by_epoch is not None:
                loop['type'] = EpochBasedTrainLoop if by_epoch else IterBasedTrainLoop
            kind = _class_of(loop.get('type'), MMENGINE_LOOPS)
            kind = _LOOPS.get(kind, kind)
            if isinstance(kind, type) and issubclass(kind, EpochLoop | IterLoop):
                loop['type'] = kind
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
        """Build the evaluator, and mend what its metrics have read of COCO's annotations."""
        evaluator = super().build_evaluator(evaluator)
        for metric in evaluator.metrics:
            mend_ground_truth(metric)
        return evaluator

    def register_default_hooks(self, hooks: dict | None = None) -> None:
        """Register the default hooks; MMEngine's checkpoint hook is replaced by ours."""
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
            warn_if_not_repeatable(self.model, device_of(self), self.logger)
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
        """Take a run up from a checkpoint; takes the arguments of MMEngine's ``Runner.resume``.

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
        """Load a checkpoint; takes the arguments of MMEngine's ``Runner.load_checkpoint``."""
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
            OSError: The checkpoint could not be written; an older file of that name is untouched.
        """
        if not is_main_process():
            return
        if not isinstance(get_file_backend(out_dir), LocalBackend):
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        path = Path(out_dir, filename)
        try:
            with written_whole(path) as partial:
                super().save_checkpoint(out_dir, partial.name, *args, **kwargs)
        except OSError as error:
            free = shutil.disk_usage(path.parent if path.parent.exists() else '.').free / 2**20
            raise OSError(
                f'checkpoint {path} could not be written ({error}); {free:,.0f} MiB are free there'
            ) from error


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
