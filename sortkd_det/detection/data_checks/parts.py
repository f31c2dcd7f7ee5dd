"""The COCO data sets within the config of a data loader, wrappers taken off."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS

_REPEATING = {'RepeatDataset', 'ClassBalancedDataset'}


@dataclass(frozen=True)
class Part:
    """One COCO data set of a loader.

    Attributes:
        loader: name of the data loader: ``'val_dataloader'``.
        config: of the data set.
        repeated: whether a wrapper hands out images more than once.
    """

    loader: str
    config: dict
    repeated: bool = False

    @cached_property
    def root(self) -> str:
        """The data root, or an empty text."""
        return self.config.get('data_root') or ''

    @cached_property
    def path(self) -> str:
        """The path of the annotation file."""
        return os.path.join(self.root, self.config.get('ann_file') or '')

    @cached_property
    def folder(self) -> str:
        """The folder of the images."""
        return os.path.join(self.root, (self.config.get('data_prefix') or {}).get('img') or '')

    @property
    def is_training(self) -> bool:
        """Whether the data set is trained on."""
        return self.loader == 'train_dataloader'

    @cached_property
    def filters(self) -> dict:
        """``filter_cfg`` where this data set filters by it, as ``CocoDataset`` does."""
        as_coco = class_of(self.config).filter_data is CocoDataset.filter_data
        if not as_coco or self.config.get('test_mode'):
            return {}
        return self.config.get('filter_cfg') or {}

    @property
    def is_labelled(self) -> bool:
        """Whether the data set is meant to have annotations."""
        unlabelled = (self.config.get('filter_cfg') or {}).get('filter_empty_gt') is False
        return self.is_training and not unlabelled

    @property
    def indices(self) -> int | Sequence[int] | None:
        """The indices of the images that the data set is cut down to."""
        return self.config.get('indices')


def coco_parts(loader: str, config: Any) -> tuple[list[Part], bool]:
    """The COCO data sets of a loader, and whether there are no others.

    Args:
        loader: name of the data loader.
        config: of its data set.
    """
    found = _unwrapped(config, repeated=False)
    parts = [Part(loader, each, repeated) for each, repeated in found if _is_coco(each)]
    return parts, len(parts) == len(found)


def _unwrapped(config: Any, repeated: bool) -> list[tuple[Any, bool]]:
    if not isinstance(config, dict):
        return [] if config is None else [(config, repeated)]
    kind = config.get('type')
    name = kind.__name__ if isinstance(kind, type) else str(kind).split('.')[-1]
    repeated |= name in _REPEATING
    if 'datasets' in config:
        return [found for inner in config['datasets'] for found in _unwrapped(inner, repeated)]
    if 'dataset' in config:
        return _unwrapped(config['dataset'], repeated)
    return [(config, repeated)]


def _is_coco(config: Any) -> bool:
    if not isinstance(config, dict) or not is_local(config):
        return False
    cls = class_of(config)
    # Subclasses that read their file in another way (LVIS, panoptic) are left to themselves.
    ways = ('load_data_list', 'parse_data_info')
    return (
        isinstance(cls, type)
        and issubclass(cls, CocoDataset)
        and all(getattr(cls, way) is getattr(CocoDataset, way) for way in ways)
        and '://' not in os.path.join(config.get('data_root') or '', config.get('ann_file') or '')
    )


def is_local(config: dict) -> bool:
    """Whether a data set or a metric reads from this machine's disks."""
    return (config.get('backend_args') or {}).get('backend', 'local') in ('local', 'disk')


def class_of(config: dict) -> Any:
    """The class that a data set's config names, or None."""
    kind = config.get('type')
    return DATASETS.get(kind) if isinstance(kind, str) else kind
