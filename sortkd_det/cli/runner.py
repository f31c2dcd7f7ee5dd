"""From a config to a runner."""

import os

import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from sortkd_det.files import make_folder

# Importing the room also makes MMEngine's checkpoint loaders weights-only.
from sortkd_det.hooks import FitCheckHook, PlainCheckpointHook
from sortkd_det.training import ResumableRunner

from .config import uses_mmdet
from .settings import check_launcher, check_settings


def prepare(cfg: Config, loaders: tuple[str, ...]) -> None:
    """What MMDetection wants done before its runs: registries, and annotation files checked.

    A classifier needs none of it, neither MMDetection nor mmcv.

    Args:
        cfg: the config of a run.
        loaders: names of the data loaders whose files are checked.

    Raises:
        FileNotFoundError, ValueError: as
            :func:`~sortkd_det.detection.data_checks.check_annotations`.
    """
    if not uses_mmdet(cfg):
        return
    from sortkd_det.detection.data_checks import check_annotations
    from sortkd_det.detection.registries import register_mmdet

    register_mmdet()
    if is_main_process():
        check_annotations(cfg, loaders)


def build_runner(cfg: Config, strict: bool = False) -> Runner:
    """The runner of ``cfg``: resumable, checkpoints of plain types, gloo where there is no GPU.

    Args:
        cfg: the config of a run.
        strict: ``cfg.load_from`` must hold all weights of the model and no others.

    Raises:
        KeyError, TypeError, ValueError: a setting out of its range, or an unknown type.
        OSError: the work dir cannot be written to.
    """
    check_settings(cfg)
    check_launcher(cfg.launcher)
    if cfg.launcher != 'none' and not torch.cuda.is_available():
        _start_gloo(cfg)
    make_folder(cfg.work_dir, '--work-dir')
    if 'runner_type' in cfg:
        if cfg.get('resume') == 'auto':  # others look into the work dir where nothing is named
            cfg.resume, cfg.load_from = True, None
        runner = RUNNERS.build(cfg)
    else:
        runner = ResumableRunner.from_cfg(cfg)
    runner.register_hook(PlainCheckpointHook())
    runner.register_hook(FitCheckHook(strict))
    return runner


def _start_gloo(cfg: Config) -> None:
    """Open the process group that MMEngine cannot open on CPUs: it would set a CUDA device."""
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')
    cfg.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )


def is_main_process() -> bool:
    """Whether this is the process that checks data and prints, known before the runner is."""
    return int(os.environ.get('RANK', os.environ.get('SLURM_PROCID', 0))) == 0
