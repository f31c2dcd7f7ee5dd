"""From the config of a run to its runner."""

import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from sortkd_det.files import make_folder

# Importing the room also makes MMEngine's checkpoint loaders weights-only.
from sortkd_det.hooks import FitCheckHook, PlainCheckpointHook
from sortkd_det.training import ResumableRunner

from .config_checks import check_settings
from .distillation import check_method
from .launcher import check_launcher, is_main_process, start_gloo
from .packages import uses_mmdet


def prepare(cfg: Config, loaders: tuple[str, ...]) -> None:
    """Check settings and method, then do what MMDetection wants done before its runs: registries
    are filled, and annotations checked.

    A classifier needs neither MMDetection nor mmcv.

    Args:
        cfg: the config of a run.
        loaders: names of the data loaders whose files are checked.

    Raises:
        KeyError, TypeError, ValueError: a setting out of its range, or an unknown type.
        FileNotFoundError, ValueError: as
            :func:`~sortkd_det.detection.data_checks.check_annotations`.
    """
    check_settings(cfg)
    check_method(cfg)
    if not uses_mmdet(cfg):
        return
    from sortkd_det.detection.data_checks import check_annotations
    from sortkd_det.detection.registries import register_mmdet

    register_mmdet()
    if is_main_process():
        check_annotations(cfg, loaders)


def build_runner(cfg: Config, strict: bool = False) -> Runner:
    """The runner of a config that has been checked; its checkpoints hold plain types alone.

    Args:
        cfg: the config of a run.
        strict: ``cfg.load_from`` must hold all weights of the model and no others.

    Raises:
        KeyError, TypeError, ValueError: an unknown type, or arguments that it does not take.
        OSError: the work dir cannot be written to.
    """
    check_launcher(cfg.launcher)
    if cfg.launcher != 'none' and not torch.cuda.is_available():
        start_gloo(cfg)
    make_folder(cfg.work_dir, '--work-dir')
    runner = _own_runner(cfg) if 'runner_type' in cfg else ResumableRunner.from_cfg(cfg)
    runner.register_hook(PlainCheckpointHook())
    runner.register_hook(FitCheckHook(strict))
    return runner


def _own_runner(cfg: Config) -> Runner:
    """The runner that the config names in place of :class:`ResumableRunner`."""
    if cfg.get('resume') == 'auto':  # others look into the work dir where nothing is named
        cfg.resume, cfg.load_from = True, None
    return RUNNERS.build(cfg)
