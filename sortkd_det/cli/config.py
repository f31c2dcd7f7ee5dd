"""From a command line to the config of a run."""

import argparse
import copy
import importlib.util
import itertools
import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.runner import Runner

from sortkd_det.distill import read_config
from sortkd_det.distill.mmdet2_config import is_mmdet2

from .data_root import set_data_root
from .distillation import SETTINGS, distil, find_distill_hook, place_of, set_teacher_checkpoint
from .former import successor_of
from .methods import read_method
from .packages import imported_by
from .published import take_published

# What runs read of a config beside the arguments of MMEngine's runner.
_READ_TOO = (
    *('activation_checkpointing', 'auto_scale_lr', 'compile', 'custom_imports'),
    *('efficient_conv_bn_eval', 'find_unused_parameters', 'fp16', 'model_wrapper_cfg'),
    *('runner_type', 'strategy', 'sync_bn', 'tta_model', 'tta_pipeline'),
)
# Where settings of MMDetection 2.x are now.
_OF_2X = {
    'checkpoint_config': 'default_hooks.checkpoint',
    'data': 'train_dataloader (val_dataloader, test_dataloader)',
    'evaluation': 'train_cfg.val_interval, or val_evaluator,',
    'log_config': 'default_hooks.logger',
    'lr_config': 'param_scheduler',
    'optimizer': 'optim_wrapper.optimizer',
    'optimizer_config': 'optim_wrapper.clip_grad',
    'resume_from': '--resume PATH',
    'runner': 'train_cfg',
    'seed': 'randomness.seed',
    'total_epochs': 'train_cfg.max_epochs',
}


def load_config(args: argparse.Namespace) -> Config:
    """The config of a run, as :func:`run_config` makes it of a tool's command line.

    A tool without the flags of distillation takes a student's config as it is.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    given = vars(args)
    return run_config(
        args.config,
        pair=given.get('pair'),
        teacher=given.get('teacher'),
        teacher_checkpoint=given.get('teacher_checkpoint'),
        method=given.get('method'),
        cfg_options=args.cfg_options,
        data_root=args.data_root,
        work_dir=args.work_dir,
        launcher=args.launcher,
    )


def run_config(
    config: str | os.PathLike,
    *,
    pair: str | None = None,
    teacher: str | None = None,
    teacher_checkpoint: str | None = None,
    method: str | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    data_root: str | None = None,
    work_dir: str | None = None,
    launcher: str = 'none',
) -> Config:
    """The config of a run: a student's, with a teacher and a method, if they are given.

    What ``cfg_options`` say comes last, whatever it is about.

    Args:
        config: a config file, or ``mmdet::…`` for one of MMDetection's own.
        pair: teacher and student of a data set with a table of pairs.
        teacher: config of the teacher, as :func:`~.distillation.distil` takes it; None: that of
            the pair, or of the config.
        teacher_checkpoint: its weights; None: those of the pair, the config or the model zoo.
        method: name or file of a method; None: that of the config, or the student alone.
        cfg_options: settings to change, by dotted names.
        data_root: folder of the data set, in place of the config's.
        work_dir: folder of all that the run writes; None: the config's, or one in ``work_dirs``.
        launcher: of several processes.

    Raises:
        FileNotFoundError: no such config file or method.
        ValueError: a config that cannot be read; an option that would be without effect; a
            teacher without a method, weights without a teacher, and the like.
    """
    config = str(config)
    options = dict(cfg_options or {})
    if teacher_checkpoint and any(key.endswith('teacher.checkpoint') for key in options):
        raise ValueError('teacher given twice: by --teacher-checkpoint and by --cfg-options')
    cfg = _read(config)
    read = read_method(method) if method else None
    published = take_published(cfg, pair, read.name if read and not read.is_own else None, teacher)
    _merge(cfg, [*published.settings, options], of_distillation=False)
    published.check_network(cfg)
    if read or teacher:
        if teacher is None and find_distill_hook(cfg) is None:
            checkpoint = teacher_checkpoint or published.checkpoint
            distil(cfg, published.teacher, checkpoint, read)
        else:
            distil(cfg, teacher, teacher_checkpoint, read)
    if teacher_checkpoint:
        set_teacher_checkpoint(cfg, teacher_checkpoint)
    _merge(cfg, [*published.settings, options], of_distillation=True)
    if data_root:
        set_data_root(cfg, data_root)
    cfg.launcher = launcher
    if work_dir or cfg.get('work_dir') is None:
        name = read.name if read else None
        cfg.work_dir = work_dir or _default_work_dir(config, published.pair, teacher, name)
    return cfg


def _read(config: str) -> Config:
    """The config by its name, without variables that have been copied into the hook by now."""
    if '::' in config:
        cfg = _read_zoo(config)
    elif not os.path.isfile(config) and (arguments := successor_of(config)):
        raise FileNotFoundError(
            f'config file {config} does not exist any more; what it said is now said by: '
            f'python tools/train.py {arguments}'
        )
    else:
        cfg = read_config(config)
    if is_mmdet2(cfg):
        raise ValueError(
            f'config {config} is one of MMDetection 2.x; a teacher may be, a student is trained by '
            'a config of 3.x: name the one that has the same name there (mmdet::…), or see '
            "MMDetection's guide to migrate configs"
        )
    if find_distill_hook(cfg) is not None:
        for name in ('teacher', 'method'):
            cfg.pop(name, None)
    return cfg


def _read_zoo(name: str) -> Config:
    package, _, path = name.partition('::')
    if importlib.util.find_spec(package) is None:  # or MMEngine would install it
        raise ValueError(f'config {name}: there is no package {package} here; expected mmdet::…')
    try:
        return get_config(name)
    except (FileNotFoundError, ValueError) as error:
        raise FileNotFoundError(
            f'config {name} does not exist; expected the path of a file in the folder of configs '
            f'of {package}, such as mmdet::retinanet/retinanet_r18_fpn_1x_coco.py, got {path!r}'
        ) from error


def _merge(cfg: Config, layers: Sequence[Mapping[str, Any]], of_distillation: bool) -> None:
    """Apply settings, later layers over earlier ones: those of the distillation, or all others."""
    for key, value in itertools.chain(*(layer.items() for layer in layers)):
        name, _, rest = key.partition('.')
        # The hooks' places are known when the flags have added them.
        if (name in SETTINGS or (name == 'custom_hooks' and bool(rest))) == of_distillation:
            _set(cfg, key, value)


def _set(cfg: Config, key: str, value: Any) -> None:
    """Apply one setting; refuse one that would be without effect or finds no place."""
    name = key.split('.')[0]
    if name == 'data_root':
        raise ValueError(
            '--cfg-options data_root=… would be without effect: it has been copied into the '
            'data sets by now; write --data-root DIR'
        )
    known = {*signature(Runner).parameters, *_READ_TOO, *SETTINGS}
    if name not in known:
        _refuse_unread(cfg, key, name, known)
    place = place_of(cfg, key) if name in SETTINGS else key
    try:
        cfg.merge_from_dict({place: copy.deepcopy(value)})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f'--cfg-options {key}=… finds no place: {error}') from error


def _refuse_unread(cfg: Config, key: str, name: str, known: set[str]) -> None:
    """Raise for a setting that no run reads, unless the config has code that may read it."""
    if name in cfg:
        if any(module.split('.')[0] != 'sortkd_det' for module in imported_by(cfg)):
            return
        raise ValueError(
            f'--cfg-options {key}=… would be without effect: {name} is a variable of the config, '
            'which has been copied by now; set the place that it was copied to, such as '
            'train_cfg.max_epochs or optim_wrapper.optimizer.lr'
        )
    meant = [_OF_2X[name]] if name in _OF_2X else get_close_matches(name, known, 1, cutoff=0.85)
    raise ValueError(
        f'--cfg-options {key}=…: no setting {name}; '
        + (f'is {meant[0]} meant?' if meant else 'expected one that a run reads: model.…=…')
    )


def _default_work_dir(
    config: str, pair: str | None, teacher: str | None, method: str | None
) -> str:
    """``work_dirs/CONFIG``, and within it a folder for each teacher or pair, and each method."""
    parts = [Path(config).stem]
    if pair:
        parts += [pair, method or 'student']
    elif method or teacher:
        parts += [Path(name).stem for name in (teacher, method) if name]
    return os.path.join('work_dirs', *parts)
