"""From a config file and options to the config of a run."""

import argparse
import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mmengine.config import Config

from sortkd_det.distill import read_config

from .distillation import find_distill_hook, package_of

_VARIABLES = ('teacher', 'method', 'pairs', 'pair')


def load_config(args: argparse.Namespace) -> Config:
    """The config of a run, with the common options applied.

    Raises:
        FileNotFoundError: no such config file.
        ValueError: a config that cannot be read; an option that would be without effect.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config)
    choose_pair(cfg, getattr(args, 'pair', None))
    cfg.launcher = args.launcher
    if args.cfg_options:
        _merge_options(cfg, args.cfg_options)
    if args.data_root:
        set_data_root(cfg, args.data_root)
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        folders = [Path(args.config).parent.name, args.pair] if args.pair else []
        cfg.work_dir = os.path.join('work_dirs', *folders, Path(args.config).stem)
    return cfg


def _merge_options(cfg: Config, options: dict[str, Any]) -> None:
    """Apply ``--cfg-options``; refuse those that would be without effect or find no place."""
    for key in options:
        name = key.split('.')[0]
        if name in _VARIABLES and find_distill_hook(cfg) is not None:
            raise ValueError(
                f'--cfg-options {key}=… would be without effect: {name} has been copied into '
                'custom_hooks by now; write custom_hooks.0.… instead, or --teacher-checkpoint for '
                'the weights'
            )
        if name == 'data_root':
            raise ValueError(
                '--cfg-options data_root=… would be without effect: it has been copied into the '
                'data sets by now; write --data-root DIR'
            )
        meant = get_close_matches(name, cfg, n=1, cutoff=0.85)
        if name not in cfg and meant:
            raise ValueError(f'--cfg-options {key}=…: no setting {name}; is {meant[0]} meant?')
        try:
            cfg.merge_from_dict({key: options[key]})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f'--cfg-options {key}=… finds no place: {error}') from error


def choose_pair(cfg: Config, name: str | None) -> None:
    """Fill a config for many pairs of teacher and student in for one of them.

    ``cfg.pairs`` holds, by name, what differs between them: ``{'student': …, 'lr': …}``.
    Wherever a value of the config is the string ``'{lr}'``, that pair's value takes its
    place, and its text within longer strings. ``cfg.pair`` names the pair unless ``name`` does.

    Raises:
        ValueError: no such pair, one that lacks what the config asks for, or a name
            for a config without pairs.
    """
    pairs = cfg.get('pairs')
    if pairs is None:
        if name is not None:
            raise ValueError(f'--pair {name}: this config has no table of pairs')
        return
    name = name or cfg.get('pair')
    if name not in pairs:
        raise ValueError(f'--pair must be one of {", ".join(pairs)}; got {name!r}')
    values = dict(pairs[name])

    def filled(value: Any) -> Any:
        if isinstance(value, str) and '{' in value:
            try:
                whole = value[1:-1]
                return values[whole] if whole in values else value.format(**values)
            except KeyError as error:
                raise ValueError(
                    f'the pair {name} has no {error}, which this config asks for; '
                    f'it has {", ".join(values)}'
                ) from error
        if isinstance(value, dict):
            return type(value)({key: filled(item) for key, item in value.items()})
        if isinstance(value, list | tuple):
            return type(value)(filled(item) for item in value)
        return value

    for key in list(cfg.keys()):
        if key != 'pairs':
            cfg[key] = filled(cfg[key])
    cfg.pair = name


def uses_mmdet(cfg: Config) -> bool:
    """Whether the run is one of MMDetection's; a classifier needs neither it nor mmcv."""
    kind = (cfg.get('model') or {}).get('type')  # a class, in configs of the new style
    return cfg.get('default_scope') == 'mmdet' or package_of(kind) == 'mmdet'


def set_data_root(cfg: Config, data_root: str) -> None:
    """Put ``data_root`` in place of the config's own, wherever a path begins with it.

    Raises:
        ValueError: the config names no data root.
    """
    old = cfg.get('data_root') or _first_data_root(cfg)
    if not old:
        raise ValueError('--data-root: this config names no data_root that could be replaced')
    new = os.path.join(data_root, '')
    old = os.path.join(old, '')

    def replaced(value: Any) -> Any:
        if isinstance(value, str):
            if os.path.join(value, '') == old:
                return new
            return new + value[len(old) :] if value.startswith(old) else value
        if isinstance(value, dict):
            for key in value:
                value[key] = replaced(value[key])
            return value
        if isinstance(value, list | tuple):
            return type(value)(replaced(item) for item in value)
        return value

    for key in list(cfg.keys()):
        if key != 'custom_hooks':  # a teacher's files lie where they lie
            cfg[key] = replaced(cfg[key])


def _first_data_root(cfg: Config) -> str | None:
    for loader in ('train_dataloader', 'test_dataloader', 'val_dataloader'):
        root = (cfg.get(loader) or {}).get('dataset', {}).get('data_root')
        if root:
            return root
    return None
