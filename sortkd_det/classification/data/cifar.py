"""CIFAR-10 and CIFAR-100, from the archives as they are published or their unpacked folders."""

import gzip
import hashlib
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sortkd_det.checkpoints.pickles import read_plain_pickle
from sortkd_det.files import DAMAGED
from sortkd_det.registry import DATASETS

from .base import ClassificationDataset, share

_PAGE = 'https://www.cs.toronto.edu/~kriz/'
_NUM_PIXELS = 3 * 32 * 32
MAX_FILE_BYTES = 2**28  # the largest published file has 155 MB
MAX_ARCHIVE_BYTES = 2**29  # unpacked; the largest published archive has 187 MB
_BLOCK = 512  # bytes of a tar header; contents are padded to a multiple


@dataclass(frozen=True)
class _Layout:
    """One published form of one of the two sets.

    Attributes:
        archive: its file name; ``folder`` is what it unpacks to.
        md5: of the archive, and of the files where those are known.
        files: names by split; each holds ``num_images`` images of the split.
        classes: name of the file with the names of the classes.
        label: key of the labels in a pickle, or how many bytes of labels a
            binary record has, of which the last one counts.
        names: key of the classes' names in a pickle.
    """

    archive: str
    folder: str
    md5: dict[str, str]
    files: dict[str, tuple[str, ...]]
    num_images: dict[str, int]
    classes: str
    label: str | int
    names: str = ''


LAYOUTS = {
    'cifar10': (
        _Layout(
            archive='cifar-10-python.tar.gz',
            folder='cifar-10-batches-py',
            md5={
                'cifar-10-python.tar.gz': 'c58f30108f718f92721af3b95e74349a',
                'data_batch_1': 'c99cafc152244af753f735de768cd75f',
                'data_batch_2': 'd4bba439e000b95fd0a9bffe97cbabec',
                'data_batch_3': '54ebc095f3ab1f0389bbae665268c751',
                'data_batch_4': '634d18415352ddfa80567beed471001a',
                'data_batch_5': '482c414d41f54cd18b22e5b47cb7c3cb',
                'test_batch': '40351d587109b95175f43aff81a1287e',
                'batches.meta': '5ff9c542aee3614f3951f8cda6e48888',
            },
            files={
                'train': tuple(f'data_batch_{i}' for i in range(1, 6)),
                'test': ('test_batch',),
            },
            num_images={'train': 10_000, 'test': 10_000},
            classes='batches.meta',
            label='labels',
            names='label_names',
        ),
        _Layout(
            archive='cifar-10-binary.tar.gz',
            folder='cifar-10-batches-bin',
            md5={'cifar-10-binary.tar.gz': 'c32a1d4ab5d03f1284b67883e8d87530'},
            files={
                'train': tuple(f'data_batch_{i}.bin' for i in range(1, 6)),
                'test': ('test_batch.bin',),
            },
            num_images={'train': 10_000, 'test': 10_000},
            classes='batches.meta.txt',
            label=1,
        ),
    ),
    'cifar100': (
        _Layout(
            archive='cifar-100-python.tar.gz',
            folder='cifar-100-python',
            md5={
                'cifar-100-python.tar.gz': 'eb9058c3a382ffc7106e4002c42a8d85',
                'train': '16019d7e3df5f24257cddd939b257f8d',
                'test': 'f0ef6b0ae62326f3e7ffdfab6717acfc',
                'meta': '7973b15100ade9c7d40fb424638fde48',
            },
            files={'train': ('train',), 'test': ('test',)},
            num_images={'train': 50_000, 'test': 10_000},
            classes='meta',
            label='fine_labels',
            names='fine_label_names',
        ),
        _Layout(
            archive='cifar-100-binary.tar.gz',
            folder='cifar-100-binary',
            md5={'cifar-100-binary.tar.gz': '03b5dce01913d631647c71ecec9e9cb8'},
            files={'train': ('train.bin',), 'test': ('test.bin',)},
            num_images={'train': 50_000, 'test': 10_000},
            classes='fine_label_names.txt',
            label=2,
        ),
    ),
}
_NUM_CLASSES = {'cifar10': 10, 'cifar100': 100}


@DATASETS.register_module()
class CIFAR(ClassificationDataset):
    """CIFAR-10 or CIFAR-100 (Krizhevsky 2009), 32 × 32 pixels, held in memory.

    Read from what ``root`` holds, in this order: the folder of the Python
    version, its ``.tar.gz``, the folder of the binary version, its ``.tar.gz``.
    Archives are read where they are; nothing is unpacked, downloaded or
    executed.

    Args:
        root: folder with the archive, or with the folder that it unpacks to.
        name: ``'cifar100'`` (its 100 fine classes) or ``'cifar10'``.
        split: ``'train'`` or ``'test'``.
        check: compare with what is published: the MD5 sum of an archive, and
            of each file of an unpacked Python version; the number of images in
            each file. False for sets of one's own in these formats.

    Raises:
        FileNotFoundError: the folder or a file is missing; the message says
            where to get it.
        ValueError: an unknown name or split; a file that is damaged, cut off,
            absurdly large or not the published one, that holds anything but
            arrays and plain types, or labels outside of the classes.
    """

    def __init__(
        self, root: str | Path, name: str = 'cifar100', split: str = 'train', check: bool = True
    ) -> None:
        if name not in LAYOUTS:
            raise ValueError(f'name must be one of {sorted(LAYOUTS)}, got {name!r}')
        if split not in ('train', 'test'):
            raise ValueError(f"split must be 'train' or 'test', got {split!r}")
        layout, place = _find(Path(root).expanduser(), name)
        wanted = (layout.classes, *layout.files[split])
        contents = (_read_folder if place.is_dir() else _read_archive)(place, layout, wanted, check)
        classes = _parse_classes(
            contents.pop(layout.classes), layout, f'{place / layout.classes}', _NUM_CLASSES[name]
        )
        images, labels = [], []
        for file_name in layout.files[split]:
            source = str(place / file_name)
            parse = _parse_binary if isinstance(layout.label, int) else _parse_pickle
            pixels, file_labels = parse(contents.pop(file_name), layout.label, source)
            _check_images(pixels, file_labels, len(classes), source)
            if check and len(pixels) != layout.num_images[split]:
                raise ValueError(
                    f'{source} holds {len(pixels)} images, the published one has '
                    f'{layout.num_images[split]}; get it again, or set check=False'
                )
            images.append(pixels)
            labels.append(file_labels)
        # From here on the set is held once, in shared memory.
        held = share(torch.empty((sum(map(len, images)), 3, 32, 32), dtype=torch.uint8))
        np.concatenate(images, out=held.numpy().reshape(-1, _NUM_PIXELS))
        super().__init__(classes, torch.from_numpy(np.concatenate(labels)), held)


def _find(root: Path, name: str) -> tuple[_Layout, Path]:
    """The layout that is there, and its folder or archive."""
    for layout in LAYOUTS[name]:
        if (root / layout.folder).is_dir():
            return layout, root / layout.folder
        if (root / layout.archive).is_file():
            return layout, root / layout.archive
    candidates = [text for lay in LAYOUTS[name] for text in (f'{lay.folder}/', lay.archive)]
    archive = LAYOUTS[name][0].archive
    raise FileNotFoundError(
        f'{root} has none of {", ".join(candidates)}; nothing is downloaded: get '
        f'{_PAGE}{archive} and place it at {root / archive}'
    )


def _read_folder(
    folder: Path, layout: _Layout, names: tuple[str, ...], check: bool
) -> dict[str, bytes]:
    contents = {}
    for name in names:
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(
                f'{path} does not exist; get {_PAGE}{layout.archive} and unpack it in '
                f'{folder.parent}'
            )
        with path.open('rb') as file:
            contents[name] = file.read(MAX_FILE_BYTES + 1)
        _check_size(len(contents[name]), str(path))
        if check and name in layout.md5:
            _check_md5(io.BytesIO(contents[name]), layout.md5[name], path)
    return contents


def _read_archive(
    archive: Path, layout: _Layout, names: tuple[str, ...], check: bool
) -> dict[str, bytes]:
    """Contents of the named members; no other member is looked at, none is extracted."""
    wanted = {f'{layout.folder}/{name}': name for name in names}
    with archive.open('rb') as file:
        if check:
            _check_md5(file, layout.md5[layout.archive], archive)
            file.seek(0)
        try:
            contents = _read_members(file, wanted, archive)
        except _RefusedError:
            raise
        except DAMAGED as error:
            raise ValueError(
                f'{archive} is no .tar.gz archive, or is damaged or cut off: {error}; get it again '
                f'from {_PAGE}{layout.archive}'
            ) from error
    absent = sorted(member for member, name in wanted.items() if name not in contents)
    if absent:
        raise FileNotFoundError(
            f'{archive} has no {", ".join(absent)}; get it again from {_PAGE}{layout.archive}'
        )
    return contents


def _read_members(file: Any, wanted: dict[str, str], archive: Path) -> dict[str, bytes]:
    """Go through the plain headers of a tar, one by one.

    ``tarfile`` reads extended headers too, which the published archives do not
    have, with expressions that take hours on a megabyte of digits.
    """
    contents: dict[str, bytes] = {}
    stream = _Bounded(gzip.GzipFile(fileobj=file, mode='rb'), str(archive))
    while len(contents) < len(wanted):
        header = stream.read(_BLOCK)
        if not header.strip(b'\0'):  # the end
            break
        member = tarfile.TarInfo.frombuf(header, 'utf-8', 'surrogateescape')
        if member.size < 0:
            raise ValueError(f'a member of {member.size} bytes')
        name = wanted.get(member.name.removeprefix('./'))
        if name is None or name in contents:
            stream.skip(_padded(member.size))
            continue
        source = f'{archive / name}'
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise _RefusedError(f'{source} is no regular file')
        _check_size(member.size, source)
        contents[name] = stream.read(_padded(member.size))[: member.size]
        if len(contents[name]) < member.size:
            raise EOFError(f'{name} is cut off')
    return contents


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


class _RefusedError(ValueError):
    """A member that no published archive has: a bomb, a link, or something else altogether."""


class _Bounded:
    """A stream that ends in an error where a published archive would long have ended."""

    def __init__(self, stream: Any, source: str) -> None:
        self._stream, self._source, self._left = stream, source, MAX_ARCHIVE_BYTES

    def read(self, size: int) -> bytes:
        content = self._stream.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise _RefusedError(
                f'{self._source} unpacks to more than {MAX_ARCHIVE_BYTES} bytes, more than any '
                'CIFAR archive'
            )
        return content

    def skip(self, size: int) -> None:
        while size > 0 and (content := self.read(min(size, 2**20))):
            size -= len(content)


def _check_size(size: int, source: str) -> None:
    if size > MAX_FILE_BYTES:
        raise _RefusedError(
            f'{source} has more than {MAX_FILE_BYTES} bytes, more than any CIFAR file'
        )


def _check_md5(file: Any, expected: str, path: Path) -> None:
    found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != expected:
        raise ValueError(
            f'{path} is damaged, or not the published file: its MD5 sum is {found}, expected '
            f'{expected}; get it again from {_PAGE}, or set check=False for a set of your own'
        )


def _parse_pickle(content: bytes, key: str, source: str) -> tuple[np.ndarray, np.ndarray]:
    batch = read_plain_pickle(content, source)
    pixels, labels = batch.get('data'), batch.get(key)
    if not isinstance(pixels, np.ndarray) or pixels.shape[1:] != (_NUM_PIXELS,):
        found = getattr(pixels, 'shape', type(pixels).__name__)
        raise ValueError(
            f"{source} must hold an (N, {_NUM_PIXELS}) array of uint8 under 'data', got {found}"
        )
    if type(labels) is not list or not all(type(label) is int for label in labels):
        raise ValueError(f'{source} must hold a list of integers under {key!r}')
    if not all(abs(label) < 2**31 for label in labels):
        raise ValueError(f'{source} has labels that are beyond any class')
    return pixels, np.array(labels, dtype=np.int64)


def _parse_binary(content: bytes, label_bytes: int, source: str) -> tuple[np.ndarray, np.ndarray]:
    record = label_bytes + _NUM_PIXELS
    if len(content) % record:
        raise ValueError(
            f'{source} is damaged or cut off: {len(content)} bytes are no multiple of {record}, '
            'the bytes of an image with its labels'
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, record)
    return records[:, label_bytes:], records[:, label_bytes - 1].astype(np.int64)


def _parse_classes(content: bytes, layout: _Layout, source: str, expected: int) -> tuple[str, ...]:
    if layout.names:
        names = read_plain_pickle(content, source).get(layout.names)
        if type(names) is not list or not all(isinstance(name, str) for name in names):
            raise ValueError(f'{source} must hold a list of names under {layout.names!r}')
    else:
        names = content.decode('latin-1').split()
    if len(set(names)) != expected or len(names) != expected:
        raise ValueError(
            f'{source} must name {expected} classes, it has {len(names)} names, '
            f'{len(set(names))} of them different'
        )
    return tuple(names)


def _check_images(pixels: np.ndarray, labels: np.ndarray, num_classes: int, source: str) -> None:
    if len(pixels) != len(labels) or len(pixels) == 0:
        raise ValueError(
            f'{source} must hold images with one label each, got {len(pixels)} images and '
            f'{len(labels)} labels'
        )
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(outside):
        raise ValueError(
            f'{source} has {len(outside)} labels outside of [0, {num_classes}), the first is '
            f'{labels[outside[0]]} of image {outside[0]}'
        )
