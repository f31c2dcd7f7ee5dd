"""The images that a COCO file names: within the data set, there, not empty, of the size it says."""

import os
from operator import attrgetter

import numpy as np

from ..image_sizes import image_sizes
from .coco_file import CocoFile
from .findings import Report
from .parts import Part

_SIZE = attrgetter('st_size')
_SAMPLE = 32  # images whose size is looked at before a run


def check_images(
    part: Part, file: CocoFile, used: np.ndarray, report: Report, every_size: bool = False
) -> None:
    """Look at a data set's images without decoding them.

    Args:
        part: the data set.
        file: its annotations.
        used: (K,) int64, the places of the images that it hands out.
        report: takes what is found.
        every_size: compare the size of each image, and not of a few.
    """
    if not _stay_within(part, file, report) or '://' in part.folder:
        return
    names = [file.image_names[place] for place in used.tolist()]
    start = os.path.join(part.folder, '')
    paths = [name if name[:1] == '/' else start + name for name in names]
    try:
        sizes = list(map(_SIZE, map(os.stat, paths)))
    except OSError:
        _report_lost(part, file, paths, report)
        return
    if not all(sizes):
        empty = [path for path, size in zip(paths, sizes, strict=True) if not size]
        report.add(
            file.path,
            'have no bytes',
            'get them again',
            count=len(empty),
            total=len(paths),
            things='images',
            first=empty[0],
            error=ValueError,
        )
        return
    step = 1 if every_size else max(len(paths) // _SAMPLE, 1)
    _compare_sizes(file, used[::step], paths[::step], report)


def _stay_within(part: Part, file: CocoFile, report: Report) -> bool:
    root, folder = part.root, part.folder
    odd = [name for name in file.image_names if name[:1] == '/' or '..' in name or '://' in name]
    odd += [name for name in file.image_names if '\0' in name]
    climbing = [name for name in odd if _leads_out(name, folder, root)]
    if climbing:
        report.add(
            file.path,
            f'names {len(climbing)} images outside of the data set, the first is '
            f'{climbing[0]!r:.200}',
            f'names are relative to {folder or "the working folder"} and may not leave '
            f'{root or "it"}',
            error=ValueError,
        )
    return not climbing


def _leads_out(name: str, folder: str, root: str) -> bool:
    if '://' in name or '\0' in name:
        return True
    if not os.path.isabs(name) and '..' not in name.split('/'):
        return False
    place = os.path.abspath(os.path.join(folder, name))
    allowed = {os.path.abspath(base) for base in (folder, root or folder)}
    return all(os.path.commonpath([place, base]) != base for base in allowed)


def _report_lost(part: Part, file: CocoFile, paths: list[str], report: Report) -> None:
    lost = [path for path in paths if not os.path.isfile(path)]
    windows = [path for path in lost if '\\' in path.removeprefix(part.folder)]
    if windows:
        what, cure = (
            'have a file_name with backslashes, as Windows writes paths, and do not exist',
            'write them with / in the file',
        )
    else:
        what, cure = 'do not exist', 'check data_root and data_prefix.img of the data set'
    report.add(
        file.path,
        what,
        cure,
        count=len(windows or lost),
        total=len(paths),
        things='images',
        first=(windows or lost)[0],
        error=FileNotFoundError,
    )


def _compare_sizes(file: CocoFile, places: np.ndarray, paths: list[str], report: Report) -> None:
    wrong, turned, first = 0, 0, ''
    for place, path in zip(places.tolist(), paths, strict=True):
        try:
            size, as_stored = image_sizes(path)
        except ValueError:  # what does not decode is named when it is read
            continue
        said = tuple(int(length) for length in file.sizes[place])
        if size == said:
            continue
        wrong += 1
        turned += as_stored == said
        first = first or (
            f'{path}, {said[0]} × {said[1]} in the file and {size[0]} × {size[1]} in truth'
        )
    if not wrong:
        return
    cure = 'boxes must be in pixels of the image as it is: export the annotations anew'
    if turned == wrong:
        cure = (
            'the EXIF orientation of these images turns them when they are read: boxes must be '
            'those of the turned image'
        )
    report.add(
        file.path,
        'have another width or height than it says',
        cure,
        count=wrong,
        total=len(paths),
        things='images that were looked at',
        first=first,
    )
