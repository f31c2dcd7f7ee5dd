"""Before a run of MMDetection's: its registries, and checks of COCO annotation files."""

import json
import os
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules, setup_cache_size_limit_of_dynamo
from mmengine.config import Config

_KEYS = ('images', 'annotations', 'categories')


def register_mmdet() -> None:
    """What MMDetection's own tools do first: fill its registries, bound dynamo's cache."""
    setup_cache_size_limit_of_dynamo()
    register_all_modules(init_default_scope=False)


def check_annotations(cfg: Config, loaders: tuple[str, ...]) -> None:
    """Read the COCO files of the named data loaders and raise where a run could not use them.

    Args:
        cfg: the config of a run.
        loaders: names of its data loaders: ``('train_dataloader', 'val_dataloader')``.

    Raises:
        FileNotFoundError: an annotation file or the first image is missing.
        ValueError: a file is not COCO, lacks classes that the config names, or
            leaves nothing to train on.
    """
    for loader in loaders:
        for dataset in _coco_datasets((cfg.get(loader) or {}).get('dataset')):
            _check_dataset(dataset, training=loader == 'train_dataloader')


def _coco_datasets(config: Any) -> list[dict]:
    """The COCO data sets within ``config``, wrappers taken off."""
    if not isinstance(config, dict):
        return []
    if 'datasets' in config:
        return [found for inner in config['datasets'] for found in _coco_datasets(inner)]
    if 'dataset' in config:
        return _coco_datasets(config['dataset'])
    kind = config.get('type')
    cls = DATASETS.get(kind) if isinstance(kind, str) else kind
    if not isinstance(cls, type) or not issubclass(cls, CocoDataset) or config.get('backend_args'):
        return []
    # A subclass that reads its file in another way (LVIS) is left to itself.
    return [config] if cls.load_data_list is CocoDataset.load_data_list else []


def _check_dataset(config: dict, training: bool) -> None:
    root = config.get('data_root') or ''
    path = os.path.join(root, config.get('ann_file', ''))
    if '://' in path:
        return
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f'annotation file {path} does not exist; --data-root DIR names the folder of the data '
            f'set (now {root or "not set"})'
        )
    data = _read_coco(path)
    names = {category.get('name') for category in data['categories']}
    wanted = (config.get('metainfo') or {}).get('classes') or DATASETS.get(config['type']).METAINFO[
        'classes'
    ]
    absent = [name for name in wanted if name not in names]
    if absent:
        raise ValueError(
            f'{len(absent)} of the {len(wanted)} classes of the config are not in {path}: '
            f'{absent[:8]}; the file has {sorted(map(str, names))[:12]}. Set metainfo.classes of '
            "the data sets, and the heads' num_classes, to what the file holds"
        )
    if training:
        ids = {c['id'] for c in data['categories'] if c.get('name') in set(wanted)}
        if not any(a.get('category_id') in ids for a in data['annotations']):
            raise ValueError(
                f'empty training set: {path} has {len(data["images"])} images and '
                f'{len(data["annotations"])} boxes, none of them of the classes of the config'
            )
    if data['images']:
        prefix = (config.get('data_prefix') or {}).get('img') or ''
        image = os.path.join(root, prefix, str(data['images'][0].get('file_name')))
        if '://' not in image and not os.path.isfile(image):
            raise FileNotFoundError(
                f'image {image}, the first of {path}, does not exist; check data_root and '
                'data_prefix.img of the data set'
            )


def _read_coco(path: str) -> dict:
    try:
        with open(path, encoding='utf-8') as file:
            data = json.load(file)
    except ValueError as error:
        raise ValueError(f'{path} is not JSON ({error}); expected COCO annotations') from error
    absent = [k for k in _KEYS if not isinstance(data, dict) or not isinstance(data.get(k), list)]
    if absent:
        raise ValueError(
            f'{path} is not a COCO annotation file: it has no list under {", ".join(absent)}'
        )
    return data
