"""YOLO's text files: a row for each object, centre and size as shares of the image."""

import os
import reprlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from .coco import Box, LabelledImage, check_classes
from .images import IMAGE_SUFFIXES, image_size, index_images

_SPLITS = ('train', 'val', 'test')
_NOTHING = ('', '~', 'null')  # YAML's words for it
_MAX_YAML_BYTES = 2**18
_MAX_DEPTH = 10  # of lists in lists
_MAX_TEXT_BYTES = 2**24
_ROUNDING = 1e-3  # by which a share of an image may lie outside of it


def read_yolo(
    source: str | Path,
    splits: Sequence[str] | None = None,
    data_root: str | Path | None = None,
) -> tuple[list[str], dict[str, list[LabelledImage]]]:
    """Read the images and boxes of a data set in YOLO's format.

    The rows of ``images/a/b.jpg`` are in ``labels/a/b.txt``; where no folder is called images, they
    lie beside the image. An image without such a file is background. A row is
    ``class x y width height``, or ``class x1 y1 x2 y2 x3 y3 …``, a polygon, which becomes the
    box around it.

    Args:
        source: ``data.yaml``, or its folder. Where there is none: a folder with ``classes.txt``,
            ``images`` and ``labels``; the splits are then the folders in ``images``, or ``all``.
        splits: names of the splits; None: train, val and test, as far as they are there.
        data_root: the folder that the paths in ``data.yaml`` start from, in place of its ``path``;
            None: that of the file. No image outside of it is read.

    Returns:
        The names of the classes, in the order of their numbers, and the images of each split.

    Raises:
        FileNotFoundError: a file or folder is missing.
        ValueError: a ``data.yaml`` or row that is none; it names the file and the line.
    """
    source = Path(source)
    file = source if source.is_file() else _find_yaml(source)
    if file is None:
        root = source
        classes = _read_names(root / 'classes.txt')
        paths = _chosen(_find_folders(root / 'images'), splits, f'{root}/images')
    else:
        root = Path(data_root or file.parent)
        classes, folder, entries = _read_yaml(file)
        start = Path(root, '' if data_root else folder)
        paths = {
            split: [path for row in rows for path in _find_images(row, start, root, file)]
            for split, rows in _chosen(entries, splits, str(file)).items()
        }
    return classes, {split: _read_split(split, paths[split], root, classes) for split in paths}


def _chosen(there: Mapping[str, list], splits: Sequence[str] | None, place: str) -> dict[str, list]:
    chosen = splits or list(there)
    absent = [split for split in chosen if split not in there]
    if absent or not chosen:
        raise FileNotFoundError(
            f'{place} has nothing for {", ".join(absent or _SPLITS)}; for --splits there is: '
            f'{", ".join(there) or "nothing"}'
        )
    return {split: there[split] for split in chosen}


# -- data.yaml -----------------------------------------------------------------------------------


def _find_yaml(folder: Path) -> Path | None:
    """The one YAML file of a folder, ``data.yaml`` before others; None: there is none."""
    found = sorted((*folder.glob('*.yaml'), *folder.glob('*.yml')))
    named = [path for path in found if path.stem == 'data']
    if not found and not (folder / 'classes.txt').is_file():
        raise FileNotFoundError(f'{folder} has neither data.yaml nor classes.txt')
    if len(found) > 1 and len(named) != 1:
        raise ValueError(
            f'{folder} has several YAML files: {", ".join(path.name for path in found)}; name the '
            'one that describes the data set instead of the folder'
        )
    return (named or found or [None])[0]


def _read_yaml(file: Path) -> tuple[list[str], str, dict[str, list[str]]]:
    """The names of the classes, the folder that paths start from, and the paths of each split."""
    try:
        data = _load_yaml(file)
    except (ValueError, yaml.YAMLError) as error:
        reason = ' '.join(str(error).split())
        raise ValueError(f'{file} cannot be read as YAML: {reason}') from error
    if not isinstance(data, dict) or 'names' not in data:
        raise ValueError(f'{file} has no names of classes; expected names, train and val')
    if 'kpt_shape' in data:
        raise ValueError(f'{file} has kpt_shape: rows with keypoints are not read, only boxes')
    classes = _class_names(data['names'], file)
    if data.get('nc', str(len(classes))) != str(len(classes)):
        raise ValueError(f'{file}: nc is {data["nc"]!r:.50}, and there are {len(classes)} names')
    entries = {}
    for split in (*_SPLITS, 'valid'):
        rows = data.get(split, '')
        rows = [rows] if isinstance(rows, str) else rows
        if not isinstance(rows, list) or not all(isinstance(row, str) for row in rows):
            raise ValueError(f'{file}: {split} must be a folder, a list file, or several of them')
        if any(row not in _NOTHING for row in rows):
            entries[split] = rows
    folder = data.get('path', '')
    if not isinstance(folder, str):
        raise ValueError(f'{file}: path must be a folder, got {reprlib.repr(folder)}')
    return classes, '' if folder in _NOTHING else folder, entries


def _load_yaml(file: Path) -> Any:
    """What a YAML file holds; all values as text, so that a class may be called "no"."""
    if file.stat().st_size > _MAX_YAML_BYTES:
        raise ValueError(f'it has more than {_MAX_YAML_BYTES} bytes')
    text = file.read_text(encoding='utf-8')
    depth = 0
    for event in yaml.parse(text, yaml.BaseLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise ValueError('it repeats parts by aliases (*name), which can grow without end')
        if depth > _MAX_DEPTH:
            raise ValueError(f'it is nested more than {_MAX_DEPTH} levels deep')
    return yaml.load(text, yaml.BaseLoader)


def _class_names(names: Any, file: Path) -> list[str]:
    """The names in ``data.yaml``: a list, or a dict by number."""
    if isinstance(names, dict):
        numbers = [str(number) for number in range(len(names))]
        if set(names) != set(numbers):
            raise ValueError(f'{file}: names must be numbered from 0, got {reprlib.repr(names)}')
        names = [names[number] for number in numbers]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f'{file}: names must be a list of names, got {reprlib.repr(names)}')
    return check_classes(names, f'names in {file}')


def _read_names(file: Path) -> list[str]:
    names = [line.strip() for line in _read_lines(file)]
    return check_classes([name for name in names if name], f'names in {file}')


def _find_folders(images: Path) -> dict[str, list[Path]]:
    folders = sorted(path for path in images.glob('*') if path.is_dir())
    if not folders:
        return {'all': _images_of(images)} if images.is_dir() else {}
    return {folder.name: _images_of(folder) for folder in folders}


def _images_of(folder: Path) -> list[Path]:
    return [path for paths in index_images(folder).values() for path in paths]


def _find_images(row: str, start: Path, root: Path, file: Path) -> list[Path]:
    """The images of an entry of ``data.yaml``: a folder, or a text file with one a line."""
    place = _inside(start, row, root, file)
    if place.is_dir():
        images = _images_of(place)
    elif place.suffix == '.txt' and place.is_file():
        lines = [line.strip() for line in _read_lines(place)]
        images = [_inside(place.parent, line, root, place) for line in lines if line]
    else:
        raise FileNotFoundError(
            f'{place}, which {file} names, does not exist; --data-root DIR names the folder that '
            'its paths start from, --splits those to convert'
        )
    if not images:
        raise ValueError(
            f'{place}, which {file} names, has no images; those read end in '
            f'{", ".join(IMAGE_SUFFIXES)}'
        )
    return images


def _inside(start: Path, row: str, root: Path, file: Path) -> Path:
    """Where a path of ``file`` leads to, from ``start``; raises for one that leads out of ``root``.

    Roboflow writes ``../train/images`` and means ``train/images``.
    """
    base = os.path.abspath(root)
    place = os.path.abspath(start / row)
    meant = os.path.abspath(start / row.removeprefix('../'))
    for path in (place, meant):
        if '\0' not in path and os.path.commonpath([path, base]) == base:
            return Path(path)
    raise ValueError(
        f'{file} names {row!r:.200}, which is outside of {root}; if that is meant, give the folder '
        'that its paths start from by --data-root DIR'
    )


# -- images and rows -----------------------------------------------------------------------------


def _read_split(
    split: str, paths: Sequence[Path], root: Path, classes: Sequence[str]
) -> list[LabelledImage]:
    root = Path(os.path.abspath(root))
    images, num_labelled, num_polygons = [], 0, 0
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f'image {path} of {split} does not exist')
        size = image_size(path)
        boxes, labels = [], _labels_of(path, root)
        if labels.is_file():
            num_labelled += 1
            rows = _read_rows(labels)
            num_polygons += sum(len(row) > 5 for _, row in rows)
            boxes = [_box(row, size, len(classes), f'{labels}, line {n}') for n, row in rows]
        name = '/'.join(part for part in path.relative_to(root).parts if part != 'images')
        images.append(LabelledImage(path, name, size, boxes))
    if not num_labelled:
        raise ValueError(
            f'none of the {len(paths)} images of {split} has a file of labels; for {paths[0]} it '
            f'would be {_labels_of(paths[0], root)}; --splits names the splits to convert'
        )
    if num_polygons:
        warnings.warn(
            f'{root}: {num_polygons} of the rows of {split} are polygons; the box around each is '
            'written',
            stacklevel=3,
        )
    return images


def _labels_of(image: Path, root: Path) -> Path:
    """Where the rows of an image are: the last folder called images is labels there."""
    parts = list(image.relative_to(root).parts)
    folders = parts[:-1]
    if 'images' in folders:
        parts[len(folders) - 1 - folders[::-1].index('images')] = 'labels'
    return Path(root, *parts).with_suffix('.txt')


def _read_lines(file: Path) -> list[str]:
    if not file.is_file():
        raise FileNotFoundError(f'{file} does not exist')
    if file.stat().st_size > _MAX_TEXT_BYTES:
        raise ValueError(f'{file} has more than {_MAX_TEXT_BYTES} bytes')
    return file.read_text(encoding='utf-8-sig', errors='replace').splitlines()


def _read_rows(file: Path) -> list[tuple[int, list[str]]]:
    """The columns of each line that is not empty, with its number."""
    rows = ((number, line.split()) for number, line in enumerate(_read_lines(file), 1))
    return [(number, row) for number, row in rows if row]


def _box(row: Sequence[str], size: tuple[int, int], num_classes: int, place: str) -> Box:
    def refuse(reason: str) -> NoReturn:
        raise ValueError(f'{place}: {reason}; it is {" ".join(row)!r:.100}')

    if len(row) != 5 and (len(row) < 7 or len(row) % 2 == 0):
        sixth = ' (is the sixth the confidence of a prediction?)' if len(row) == 6 else ''
        refuse(
            f'the row has {len(row)} columns{sixth}; expected 5, class x y width height, or a '
            'polygon, class x1 y1 x2 y2 x3 y3 …'
        )
    try:
        label, *shares = (float(text) for text in row)
    except ValueError:
        refuse('the row is not of numbers')
    if label not in range(num_classes):
        refuse(f'its class is none of the {num_classes} names, which are numbered from 0')
    if not all(-_ROUNDING <= share <= 1 + _ROUNDING for share in shares):  # NaN neither
        refuse('it has a number that is no share of the image, from 0 to 1')
    if len(shares) == 4:
        x, y, width, height = shares
        x, y = x - width / 2, y - height / 2
    else:
        x, y = min(shares[::2]), min(shares[1::2])
        width, height = max(shares[::2]) - x, max(shares[1::2]) - y
    return Box(int(label), (x * size[0], y * size[1], width * size[0], height * size[1]))
