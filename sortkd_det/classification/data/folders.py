"""Image files in folders: Tiny-ImageNet-200, ImageNet, and any folder of class folders."""

import os
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sortkd_det.functional import check_whole
from sortkd_det.registry import DATASETS

from .base import ClassificationDataset, share
from .images import IMAGE_SUFFIXES, decode_image, random_resized_crop, resize_centre_crop

#: Names relative to the root, and the label of each.
Samples = list[tuple[str, int]]

_NUM_NAMED = 5  # how many of many an error names
_CHUNK = 4096  # images handed to the threads at a time


@DATASETS.register_module()
class ImageFolder(ClassificationDataset):
    """Images in ``root/<split>/<class>/*``, in memory or decoded when asked for.

    Classes are sorted by name; those of the split ``train``, where there is
    one, are those of every split. BMP, JPEG, PNG and WebP files count
    (see :func:`~sortkd_det.classification.data.decode_image`), files of other
    endings and hidden ones do not.

    In memory, every image is decoded once: its shorter side resized to ``size``
    (by area where it shrinks, bicubic otherwise), the middle square cut out.
    Cropping and mirroring at random is left to the data preprocessor, on whole
    batches.

    Otherwise an image is decoded where its batch is made, in a worker: with
    ``augment`` a random crop (area 8–100%, ratio 3/4–4/3; mirroring is left to
    the data preprocessor), which is a function of (seed, epoch, index) alone;
    without, the shorter side is resized to 256/224 of ``size`` and the middle
    square cut out.

    Args:
        root: folder of the data set.
        split: ``'train'``, ``'val'``, or any other subfolder.
        in_memory: hold all images.
        size: of the images given, in pixels; None: 48 in memory, otherwise 224.
        augment: crop at random; None: in the split ``train`` and not in memory.
        seed: ≥ 0, of the random crops.
        skip_broken: leave out images that do not decode, with one warning that
            counts them. Where images are not held in memory, each is decoded
            once beforehand to find them.

    Raises:
        FileNotFoundError: the folder of the split, or a file, is missing.
        TypeError: ``size`` or ``seed`` is no whole number.
        ValueError: a class without a folder or without images, a folder that is
            no class of the training split, images that do not decode (without
            ``skip_broken``; lazily when such an image is read), a size or seed
            out of range, ``augment`` in memory.
    """

    splits: tuple[str, ...] = ()  # none named: any
    memory_size = 48
    lazy_size = 224

    def __init__(
        self,
        root: str | Path,
        split: str = 'train',
        in_memory: bool = True,
        size: int | None = None,
        augment: bool | None = None,
        seed: int = 0,
        skip_broken: bool = False,
    ) -> None:
        if self.splits and split not in self.splits:
            raise ValueError(f'split must be one of {self.splits}, got {split!r}')
        if in_memory and augment:
            raise ValueError(
                'augment crops images while they are decoded, which in_memory=True does once for '
                'all epochs; leave it to the data preprocessor, or set in_memory=False'
            )
        self.root = Path(root).expanduser()
        default_size = self.memory_size if in_memory else self.lazy_size
        self.size = check_whole('size', default_size if size is None else size)
        self.augment = not in_memory and (split == 'train' if augment is None else augment)
        self.seed = check_whole('seed', seed, minimum=0)
        classes, samples = self.list_images(self.root, split)
        self._names = _Names([name for name, _ in samples])
        labels, images = torch.tensor([label for _, label in samples]), None
        broken: dict[int, str] = {}
        if in_memory:
            images = share(torch.empty((len(samples), 3, self.size, self.size), dtype=torch.uint8))
            broken = self._fill(images.numpy())
        elif skip_broken:
            broken = self._decode_all(lambda index, image: None)
        if broken:
            _report_broken(broken, len(samples), skip_broken)
            kept = [index for index in range(len(samples)) if index not in broken]
            _check_no_empty_class(classes, labels[kept].tolist(), self.root / split)
            self._names = _Names([self._names[index] for index in kept])
            labels, images = labels[kept], None if images is None else images[kept]
        super().__init__(classes, labels, images)

    def list_images(self, root: Path, split: str) -> tuple[list[str], Samples]:
        """Names of the classes, and the image files in a fixed order with their labels."""
        folder = root / split
        classes = found = _subfolders(folder)
        if (root / 'train').is_dir():
            classes = _subfolders(root / 'train')
        _check_same_classes(classes, found, folder)
        samples = [
            (f'{split}/{name}/{file}', label)
            for label, name in enumerate(classes)
            for file in _image_files(folder / name)
        ]
        _check_no_empty_class(classes, (label for _, label in samples), folder)
        return classes, samples

    def path(self, index: int) -> Path:
        """The file of an image."""
        return self.root / self._names[index]

    def read_images(self, epoch: int, indices: Tensor) -> Tensor:
        """(B, 3, size, size) uint8 RGB, from memory or decoded now."""
        if self.images is not None:
            return super().read_images(epoch, indices)
        batch = torch.empty((len(indices), 3, self.size, self.size), dtype=torch.uint8)
        for row, index in zip(batch.numpy(), indices.tolist(), strict=True):
            try:
                image = decode_image(self.path(index))
            except ValueError as error:
                raise ValueError(
                    f'{error}. Mend it, or leave such images out: skip_broken=True'
                ) from error
            if self.augment:
                rng = np.random.default_rng((self.seed, epoch, index))
                image = random_resized_crop(image, self.size, rng)
            else:
                image = resize_centre_crop(image, round(self.size * 256 / 224), self.size)
            row[...] = image.transpose(2, 0, 1)
        return batch

    def _fill(self, images: np.ndarray) -> dict[int, str]:
        """Decode every file into its (3, size, size) place."""

        def hold(index: int, image: np.ndarray) -> None:
            images[index] = resize_centre_crop(image, self.size, self.size).transpose(2, 0, 1)

        return self._decode_all(hold)

    def _decode_all(self, use: Callable[[int, np.ndarray], None]) -> dict[int, str]:
        """Hand every image to ``use``, on several threads; what is wrong with those that fail."""

        def attempt(index: int) -> str:
            try:
                use(index, decode_image(self.path(index)))
            except ValueError as error:  # an OSError is the disk's, not the image's
                return str(error)
            return ''

        broken = {}
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for start in range(0, len(self._names), _CHUNK):
                chunk = range(start, min(start + _CHUNK, len(self._names)))
                reasons = zip(chunk, pool.map(attempt, chunk), strict=True)
                broken.update((index, reason) for index, reason in reasons if reason)
        return broken


@DATASETS.register_module()
class ImageNet(ImageFolder):
    """ImageNet's layout: ``root/train/<wnid>/*`` and ``root/val/<wnid>/*``; decoded in workers.

    The classes are the names of the folders in ``train``, sorted, which gives
    the usual 1000 labels; a part of them will do. The published validation
    images, which lie in one folder, are to be sorted into class folders first.

    Args:
        root, split: the folder, ``'train'`` or ``'val'``.
        in_memory: hold all images, as :class:`ImageFolder` does.
        **options: those of :class:`ImageFolder`.

    Raises:
        As :class:`ImageFolder`.
    """

    splits = ('train', 'val')

    def __init__(
        self, root: str | Path, split: str = 'train', in_memory: bool = False, **options: Any
    ) -> None:
        super().__init__(root, split, in_memory, **options)


@DATASETS.register_module()
class TinyImageNet(ImageFolder):
    """Tiny-ImageNet-200 as it is published, 64 × 64 pixels, held in memory by default.

    ``train/<wnid>/images/*``; ``val/images/*`` with ``val/val_annotations.txt``;
    classes are the lines of ``wnids.txt``, sorted. The arguments are those of
    :class:`ImageFolder`; ``split`` is ``'train'`` or ``'val'``.

    Raises:
        FileNotFoundError: a folder, a text file or a listed image is missing.
        ValueError: as :class:`ImageFolder`; a line of ``val_annotations.txt``
            without a class of ``wnids.txt``, an image listed twice or not at all.
    """

    splits = ('train', 'val')
    memory_size = 64

    def list_images(self, root: Path, split: str) -> tuple[list[str], Samples]:
        """The classes of ``wnids.txt``, and the image files of the split with their labels."""
        classes = sorted(set(_lines(root / 'wnids.txt')))
        if split == 'train':
            _check_same_classes(classes, _subfolders(root / split), root / split)
            samples = [
                (f'{split}/{name}/images/{file}', label)
                for label, name in enumerate(classes)
                for file in _image_files(root / split / name / 'images')
            ]
        else:
            samples = _annotated_images(root / split, classes)
        _check_no_empty_class(classes, (label for _, label in samples), root / split)
        return classes, samples


class _Names:
    """Strings in one buffer.

    Worker processes share it; counting references to a million strings would
    copy them into every worker.
    """

    def __init__(self, names: list[str]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self._text = b''.join(encoded)
        self._ends = np.cumsum([0, *map(len, encoded)])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        return os.fsdecode(self._text[self._ends[index] : self._ends[index + 1]])


def _entries(folder: Path) -> list[os.DirEntry]:
    """What is in a folder, hidden things left out, sorted by name."""
    if not folder.is_dir():
        there = sorted(p.name for p in folder.parent.iterdir()) if folder.parent.is_dir() else []
        raise FileNotFoundError(
            f'folder {folder} does not exist; {folder.parent} has {_some(there) or "nothing"}'
        )
    with os.scandir(folder) as entries:
        shown = [entry for entry in entries if not entry.name.startswith('.')]
    return sorted(shown, key=lambda entry: entry.name)


def _subfolders(folder: Path) -> list[str]:
    names = [entry.name for entry in _entries(folder) if entry.is_dir()]
    if not names:
        raise ValueError(f'{folder} has no folders, expected one for each class')
    return names


def _image_files(folder: Path) -> list[str]:
    return [
        entry.name
        for entry in _entries(folder)
        if entry.name.lower().endswith(IMAGE_SUFFIXES) and entry.is_file()
    ]


def _lines(path: Path) -> list[str]:
    """Lines of a text file that are not blank."""
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist, expected the layout of Tiny-ImageNet-200')
    lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise ValueError(f'{path} is empty')
    return found


def _annotated_images(folder: Path, classes: list[str]) -> Samples:
    """The images that ``val_annotations.txt`` lists; no name leads out of ``images``."""
    path = folder / 'val_annotations.txt'
    label_of = {name: label for label, name in enumerate(classes)}
    labels: dict[str, int] = {}
    for number, line in enumerate(_lines(path), start=1):
        file, _, rest = line.partition('\t')
        name = rest.split('\t')[0]
        if name not in label_of:
            raise ValueError(
                f'{path}, entry {number}: {name!r} is no class of wnids.txt; expected an image, a '
                f'class and a box, separated by tabs, got {line[:100]!r}'
            )
        if file in labels:
            raise ValueError(f'{path}, entry {number}: {file!r} is listed twice')
        labels[file] = label_of[name]
    files = _image_files(folder / 'images')
    absent = sorted(labels.keys() - set(files))
    if absent:
        raise FileNotFoundError(
            f'{len(absent)} images of {path} are not in {folder / "images"}: {_some(absent)}'
        )
    unlisted = sorted(set(files) - labels.keys())
    if unlisted:
        raise ValueError(
            f'{path} is cut off: {len(unlisted)} images of {folder / "images"} are not in it: '
            f'{_some(unlisted)}'
        )
    return [(f'{folder.name}/images/{file}', labels[file]) for file in files]


def _check_same_classes(classes: list[str], found: list[str], folder: Path) -> None:
    unknown = sorted(set(found) - set(classes))
    if unknown:
        raise ValueError(
            f'{folder} has {len(unknown)} folders that are no class of the training split: '
            f'{_some(unknown)}'
        )
    absent = sorted(set(classes) - set(found))
    if absent:
        raise ValueError(
            f'{folder} has no folder for {len(absent)} of the {len(classes)} classes: '
            f'{_some(absent)}'
        )


def _check_no_empty_class(classes: list[str], labels: Iterable[int], folder: Path) -> None:
    present = set(labels)
    empty = [name for label, name in enumerate(classes) if label not in present]
    if empty:
        raise ValueError(
            f'{folder} has no image of {len(empty)} of the {len(classes)} classes: {_some(empty)}; '
            f'files that end in {", ".join(IMAGE_SUFFIXES)} count'
        )


def _report_broken(broken: dict[int, str], num_images: int, skip: bool) -> None:
    counted = f'{len(broken)} of {num_images} images do not decode'
    reasons = _some(list(broken.values()), '; ')
    if not skip:
        raise ValueError(f'{counted}: {reasons}. Mend them, or leave them out: skip_broken=True')
    warnings.warn(f'{counted} and are left out: {reasons}', stacklevel=3)


def _some(names: list[str], separator: str = ', ') -> str:
    """The first few of many names."""
    rest = len(names) - _NUM_NAMED
    return separator.join(names[:_NUM_NAMED]) + (f' and {rest} more' if rest > 0 else '')
