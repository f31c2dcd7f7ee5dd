"""Say what is in a checkpoint, whether it is safe to load, and whether it fits a model."""

import argparse
from collections.abc import Sequence
from itertools import zip_longest

from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import MODELS, DefaultScope
from terminaltables import AsciiTable
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
from sortkd_det.cli.config import uses_mmdet
from sortkd_det.cli.errors import run_tool
from sortkd_det.distill import read_config


def get_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('file', help='checkpoint: a path, or an http(s) address')
    parser.add_argument('--config', help='of the model that it is for: a file, or mmdet::NAME')
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    return parser


def main(args: argparse.Namespace) -> None:
    """Print what the file holds and, with a config, how it fits; an error if it does not."""
    path = local_path(args.file)
    checkpoint = load_checkpoint(path)
    rows = describe_checkpoint(path, checkpoint)
    if args.config is None:
        _print(path, rows)
        return
    cfg = get_config(args.config) if '::' in args.config else read_config(args.config)
    model = _build_model(cfg, args.config)
    found = load_what_fits(model, checkpoint, path)
    own, named = _classes_of(cfg), classes_of_checkpoint(checkpoint)
    rows |= {
        'model': f'{type(model).__name__} of {args.config}, {len(model.state_dict())} entries',
        'prefix taken off': found.prefix or 'none',
        'matching': str(len(found.weights) - len(found.unexpected) - len(found.differing)),
        'missing': _listed(found.missing),
        'unexpected': _listed(found.unexpected),
        'of another shape': _listed(list(found.differing.values())),
        'classes compared': 'by name' if own and named else 'no, one of the two names none',
    }
    _print(path, rows)
    fit_weights(model, checkpoint, path)
    if own and named:
        _check_classes(named, own, path)
    print('it fits')


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


def _print(path: str, rows: dict[str, str]) -> None:
    table = AsciiTable(list(rows.items()), path)
    table.inner_heading_row_border = False
    print(table.table)


if __name__ == '__main__':
    run_tool(main, get_parser())
