"""Before a run of MMDetection's: its registries, and checks of COCO annotation files."""

import json
import os
import reprlib
import warnings
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules, setup_cache_size_limit_of_dynamo
from mmengine.config import Config
from mmengine.fileio import list_from_file

_KEYS = ('images', 'annotations', 'categories')
_PICKLES = ('.pkl', '.pickle')
_MAX_LENGTH = 2**31  # in pixels, of what can be meant


def register_mmdet() -> None:
    """What MMDetection's own tools do first: fill its registries, bound dynamo's cache."""
    setup_cache_size_limit_of_dynamo()
    register_all_modules(init_default_scope=False)


def check_annotations(cfg: Config, loaders: tuple[str, ...]) -> None:
    """Read the COCO files of the named data loaders and raise where a run could not use them.

    Boxes that MMDetection leaves out without a word are counted in a warning:
    those of less than a pixel, outside of their image, or of an image that the
    file does not have.

    Args:
        cfg: the config of a run.
        loaders: names of its data loaders: ``('train_dataloader', 'val_dataloader')``.

    Raises:
        FileNotFoundError: an annotation file or the first image is missing.
        ValueError: a file is not COCO, lacks classes that the config names, or
            leaves nothing to train on; it has entries that are incomplete, ids that
            are there twice, categories that are not there, or names of images that
            lead out of the data root; an image has no bytes; a data set or a metric
            reads a pickle.
    """
    for loader in loaders:
        evaluator = loader.replace('dataloader', 'evaluator')
        for name in (loader, evaluator):
            _refuse_pickles(cfg.get(name), name)
        training = loader == 'train_dataloader'
        parts = _coco_datasets((cfg.get(loader) or {}).get('dataset'))
        lacks = [_check_dataset(part, training) for part in parts]
        if training and lacks and all(lacks):  # one part of several may be unlabelled
            raise ValueError(f'empty training set: {"; ".join(lacks)}')


def _refuse_pickles(config: Any, place: str) -> None:
    if isinstance(config, dict):
        for key, value in config.items():
            if not str(key).startswith('out'):  # a file that is written
                _refuse_pickles(value, f'{place}.{key}')
    elif isinstance(config, list | tuple):
        for index, value in enumerate(config):
            _refuse_pickles(value, f'{place}.{index}')
    elif isinstance(config, str) and config.lower().endswith(_PICKLES):
        raise ValueError(
            f'{place} is {config}: MMDetection would unpickle it, and a pickle can run any code; '
            'if you trust it, load it yourself and save what it holds as JSON'
        )


def _coco_datasets(config: Any) -> list[dict]:
    """The COCO data sets within ``config``, wrappers taken off."""
    if not isinstance(config, dict):
        return []
    if 'datasets' in config:
        return [found for inner in config['datasets'] for found in _coco_datasets(inner)]
    if 'dataset' in config:
        return _coco_datasets(config['dataset'])
    cls = _class_of(config)
    backend = (config.get('backend_args') or {}).get('backend', 'local')
    if not isinstance(cls, type) or not issubclass(cls, CocoDataset) or backend != 'local':
        return []
    # Subclasses that read their file in another way (LVIS, panoptic) are left to themselves.
    ways = ('load_data_list', 'parse_data_info')
    same = all(getattr(cls, way) is getattr(CocoDataset, way) for way in ways)
    return [config] if same else []


def _class_of(config: dict) -> Any:
    kind = config.get('type')
    return DATASETS.get(kind) if isinstance(kind, str) else kind


def _check_dataset(config: dict, training: bool) -> str:
    """Check a data set; what it lacks to be trained on, or nothing."""
    root = config.get('data_root') or ''
    path = os.path.join(root, config.get('ann_file', ''))
    if '://' in path:
        return ''
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f'annotation file {path} does not exist; --data-root DIR names the folder of the data '
            f'set (now {root or "not set"})'
        )
    unlabelled = (config.get('filter_cfg') or {}).get('filter_empty_gt') is False
    data = _read_coco(path, training and not unlabelled)
    names = [category['name'] for category in data['categories']]
    wanted = _class_names(config) or names
    absent = [name for name in wanted if name not in names]
    if absent:
        raise ValueError(
            f'{len(absent)} of the {len(wanted)} classes of the config are not in {path}: '
            f'{absent[:8]}; the file has {sorted(names)[:12]}. Set metainfo.classes of '
            "the data sets, and the heads' num_classes, to what the file holds"
        )
    numbered = [name for name in names if name in wanted]
    if numbered != wanted:
        index = next(i for i, name in enumerate(wanted) if name != numbered[i])
        raise ValueError(
            f'{path} lists its categories in another order than the config its classes: number '
            f'{index} is {numbered[index]!r} in the file and {wanted[index]!r} in the config. '
            "MMDetection numbers labels in the file's order, so names, and a teacher's classes, "
            'would be mixed up: set metainfo.classes in the order of the file, or reorder its '
            '"categories"'
        )
    folder = os.path.join(root, (config.get('data_prefix') or {}).get('img') or '')
    _check_images([image['file_name'] for image in data['images']], folder, root, path)
    if _count_usable_boxes(data, path, wanted):
        return ''
    return (
        f'{path} has {len(data["images"])} images and {len(data["annotations"])} boxes, none of '
        'them a box of a class of the config within its image'
    )


def _class_names(config: dict) -> list[str]:
    """The classes that a data set's config, or its type, names, as MMEngine reads them."""
    names = (config.get('metainfo') or {}).get('classes')
    if names is None:
        names = _class_of(config).METAINFO.get('classes')
    if names is None:
        return []
    if isinstance(names, str):
        if not os.path.isfile(names):
            raise ValueError(
                f'metainfo.classes is the text {names!r}; expected a tuple of names, '
                f'({names!r},) for one, or the path of a file with one name a line'
            )
        names = list_from_file(names)
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise ValueError(f'metainfo.classes names {twice[:8]} more than once: {list(names)}')
    return list(names)


def _read_coco(path: str, labelled: bool) -> dict:
    """Read a COCO file whose entries are complete and whose ids differ.

    One that need not be labelled may lack the annotations, as COCO's own test files do.
    """
    try:
        with open(path, encoding='utf-8') as file:
            data = json.load(file)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} is not JSON ({error}); expected COCO annotations') from error
    if not labelled and isinstance(data, dict):
        data.setdefault('annotations', [])
    absent = [k for k in _KEYS if not isinstance(data, dict) or not isinstance(data.get(k), list)]
    if absent:
        raise ValueError(
            f'{path} is not a COCO annotation file: it has no list under {", ".join(absent)}'
        )

    def refuse(key: str, is_wrong: Callable[[Any], bool], problem: str) -> None:
        wrong = [entry for entry in data[key] if is_wrong(entry)]
        if wrong:
            raise ValueError(
                f'{path}: {len(wrong)} of the {len(data[key])} {key} {problem}; the first is '
                f'{reprlib.repr(wrong[0])}'
            )

    refuse('images', lambda e: not _is_image(e), 'have no id, file_name, width and height')
    refuse('categories', lambda e: not _is_category(e), 'have no id and name')
    refuse(
        'annotations',
        lambda e: not _is_annotation(e),
        'have no id, image_id, category_id, area and bbox of four finite numbers',
    )
    for key, name in (*((key, 'id') for key in _KEYS), ('categories', 'name')):
        times = Counter(entry[name] for entry in data[key])
        if len(times) < len(data[key]):
            refuse(key, lambda e, n=name, t=times: t[e[n]] > 1, f'share their {name} with another')
    known = {category['id'] for category in data['categories']}
    refuse(
        'annotations', lambda e: e['category_id'] not in known, 'are of a category it does not have'
    )
    return data


def _is_image(entry: Any) -> bool:
    return (
        _has_ids(entry, 'id')
        and isinstance(entry.get('file_name'), str)
        and all(_is_length(entry.get(key)) and entry[key] > 0 for key in ('width', 'height'))
    )


def _is_category(entry: Any) -> bool:
    return _has_ids(entry, 'id') and isinstance(entry.get('name'), str)


def _is_annotation(entry: Any) -> bool:
    return (
        _has_ids(entry, 'id', 'image_id', 'category_id')
        and isinstance(entry.get('bbox'), list)
        and len(entry['bbox']) == 4
        and all(map(_is_length, entry['bbox']))
        and type(entry.get('area')) in (int, float)
        and abs(entry['area']) < _MAX_LENGTH**2
    )


def _has_ids(entry: Any, *keys: str) -> bool:
    return isinstance(entry, dict) and all(type(entry.get(key)) in (int, str) for key in keys)


def _is_length(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < _MAX_LENGTH  # false for NaN


def _count_usable_boxes(data: dict, path: str, classes: Collection[str]) -> int:
    """The number of boxes that MMDetection will use; warns of those that it leaves out."""
    ids = {category['id'] for category in data['categories'] if category['name'] in classes}
    boxes = [a for a in data['annotations'] if a['category_id'] in ids and not a.get('ignore')]
    if not boxes:
        return 0
    sizes = {image['id']: (image['width'], image['height']) for image in data['images']}
    x, y, width, height = np.array([box['bbox'] for box in boxes], dtype=np.float64).T
    image_width, image_height = np.array(
        [sizes.get(box['image_id'], (np.nan, np.nan)) for box in boxes], dtype=np.float64
    ).T
    area = np.array([box['area'] for box in boxes], dtype=np.float64)
    lost = np.isnan(image_width)
    small = ~lost & ((width < 1) | (height < 1) | (area <= 0))
    outside = ~lost & ~small & ((x >= image_width) | (y >= image_height))
    outside |= ~lost & ~small & ((x + width <= 0) | (y + height <= 0))
    found = [
        f'{chosen.sum()} {problem} (the first has the id {boxes[chosen.argmax()]["id"]})'
        for chosen, problem in (
            (small, 'less than one pixel wide or high, or of no area'),
            (outside, 'outside of their image'),
            (lost, 'of an image that the file does not have'),
        )
        if chosen.any()
    ]
    if found:
        warnings.warn(
            f'{path}: MMDetection leaves out boxes, of {len(boxes)} in all: {"; ".join(found)}',
            stacklevel=2,
        )
    return int((~lost & ~small & ~outside).sum())


def _check_images(names: list[str], folder: str, root: str, path: str) -> None:
    """Raise where names lead out of the data set, the first is missing, or some have no bytes."""
    climbing = [name for name in names if _leads_out(name, folder, root)]
    if climbing:
        raise ValueError(
            f'{path} names {len(climbing)} images outside of the data set, the first is '
            f'{climbing[0]!r:.200}; names are relative to {folder or "the working folder"} and '
            f'may not leave {root or "it"}'
        )
    if not names or '://' in folder:
        return
    first = os.path.join(folder, names[0])
    if not os.path.isfile(first):
        raise FileNotFoundError(
            f'image {first}, the first of {path}, does not exist; check data_root and '
            'data_prefix.img of the data set'
        )
    empty = [name for name in names if _is_empty(os.path.join(folder, name))]
    if empty:
        raise ValueError(
            f'{len(empty)} of the {len(names)} images of {path} have no bytes: '
            f'{os.path.join(folder, empty[0])} is the first; get them again'
        )


def _leads_out(name: str, folder: str, root: str) -> bool:
    if '://' in name or '\0' in name:
        return True
    if not os.path.isabs(name) and '..' not in name.split('/'):
        return False
    place = os.path.abspath(os.path.join(folder, name))
    allowed = {os.path.abspath(base) for base in (folder, root or folder)}
    return all(os.path.commonpath([place, base]) != base for base in allowed)


def _is_empty(path: str) -> bool:
    try:
        return os.stat(path).st_size == 0
    except OSError:  # a missing image is named when it is read, if it is
        return False
