"""What is in a checkpoint, and whether it fits the model of a config, as rows of a table."""

from collections.abc import Sequence
from itertools import zip_longest

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from sortkd_det.checkpoints import (
    CheckpointRefused,
    classes_of_checkpoint,
    describe_checkpoint,
    fit_weights,
    load_checkpoint,
    load_what_fits,
    local_path,
)

from .config import run_config
from .packages import uses_mmdet


class CheckpointReport:
    """What a checkpoint holds and, with a config, how it fits the config's model.

    Args:
        file: a path, or an http(s) address.
        config: of the model, a file or ``mmdet::…``; None: what the file holds alone.
        pair: of the config's table of teachers and students, whose student the model is.

    Attributes:
        rows: what was found, by what a reader calls it.

    Raises:
        FileNotFoundError: there is no such file or config.
        CheckpointRefused: the file is not one that can be loaded.
        ValueError: the config has no model, or no such pair; a pair without a config.
    """

    def __init__(self, file: str, config: str | None = None, pair: str | None = None) -> None:
        if pair is not None and config is None:
            raise ValueError(f'--pair {pair} needs the config that it is of: give --config')
        self.path = local_path(file)
        self._checkpoint = load_checkpoint(self.path)
        self.rows = describe_checkpoint(self.path, self._checkpoint)
        self._model = None
        if config is not None:
            self._compare(run_config(config, pair=pair), config)

    def refuse_misfit(self) -> None:
        """Raise unless the checkpoint fits the model of the config, if there was one.

        Raises:
            CheckpointRefused: weights or class names that differ.
        """
        if self._model is None:
            return
        fit_weights(self._model, self._checkpoint, self.path)
        if self._own and self._named:
            _check_classes(self._named, self._own, self.path)

    def _compare(self, cfg: Config, name: str) -> None:
        self._model = _build_model(cfg, name)
        self._own, self._named = _classes_of(cfg), classes_of_checkpoint(self._checkpoint)
        found = load_what_fits(self._model, self._checkpoint, self.path)
        num_entries = len(self._model.state_dict())
        by_name = self._own and self._named
        self.rows |= {
            'model': f'{type(self._model).__name__} of {name}, {num_entries} entries',
            'prefix taken off': found.prefix or 'none',
            'matching': str(len(found.weights) - len(found.unexpected) - len(found.differing)),
            'missing': _listed(found.missing),
            'unexpected': _listed(found.unexpected),
            'of another shape': _listed(list(found.differing.values())),
            'classes compared': 'by name' if by_name else 'no, one of the two names none',
        }


def _build_model(cfg: Config, name: str) -> nn.Module:
    if cfg.get('model') is None:
        raise ValueError(f'--config {name}: it has no model')
    if uses_mmdet(cfg):
        from sortkd_det.detection.registries import register_mmdet

        register_mmdet()
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        return MODELS.build(cfg.model)


def _classes_of(cfg: Config) -> list[str] | None:
    """The classes that the config of a detector names, or None."""
    if not uses_mmdet(cfg):
        return None
    from sortkd_det.detection.data_checks.datasets import class_names
    from sortkd_det.detection.data_checks.findings import Report
    from sortkd_det.detection.data_checks.parts import coco_parts

    loader = 'train_dataloader'
    parts, _ = coco_parts(loader, (cfg.get(loader) or {}).get('dataset'))
    return class_names(parts[0], Report()) if parts else None


def _check_classes(named: Sequence[str], own: Sequence[str], path: str) -> None:
    for number, (here, there) in enumerate(zip_longest(named, own)):
        if here != there:
            raise CheckpointRefused(
                path,
                f'names {len(named)} classes and the config {len(own)}; the first that differs is '
                f'number {number}: {here!r} in the checkpoint, {there!r} in the config',
                place='meta.dataset_meta.classes',
            )


def _listed(names: list[str]) -> str:
    return '\n'.join([str(len(names)), *names[:5], *(['…'] if len(names) > 5 else [])])
