"""The folder of a run's data set, in place of the config's."""

import os
from typing import Any

from mmengine.config import Config


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
