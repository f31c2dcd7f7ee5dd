"""Time the checks of COCO files, which come before a run, against MMDetection's own loading.

*In our runner* MMDetection loads with Python's garbage collector paused, which saves more than the
checks cost. The annotations are drawn: as many images and boxes as COCO's train2017 has, with
and without polygons. Images are links to a few files: the checks ask for the size of each.
"""

import argparse
import contextlib
import gc
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from PIL import Image
from report import Table, verdict, write_record

from sortkd_det.collector import paused
from sortkd_det.detection.data_checks import check_annotations
from sortkd_det.detection.registries import register_mmdet

_TARGET = 0.10  # of MMDetection's own time: the checks alone, and all that a start takes longer
_SIZE = (640, 480)
_NUM_CLASSES = 80
_CLASSES = tuple(f'class {number}' for number in range(_NUM_CLASSES))
_LINKS = 30_000  # to one file; file systems allow 65,000


def write_coco(root: Path, num_images: int, num_boxes: int, polygons: bool) -> None:
    """Draw a data set: ``root/train.json`` and ``root/images``."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 0.8, (num_boxes, 2)) * _SIZE
    sizes = rng.uniform(0.01, 0.2, (num_boxes, 2)) * _SIZE
    boxes = np.concatenate([corners, sizes], axis=1).round(2)
    annotations = [
        {
            'id': number,
            'image_id': image,
            'category_id': category,
            'bbox': box,
            'area': round(box[2] * box[3] / 2, 4),
            'iscrowd': int(number % 86 == 0),
        }
        for number, image, category, box in zip(
            range(1, num_boxes + 1),
            rng.integers(1, num_images + 1, num_boxes).tolist(),
            rng.integers(1, _NUM_CLASSES + 1, num_boxes).tolist(),
            boxes.tolist(),
            strict=True,
        )
    ]
    if polygons:
        lengths = rng.integers(6, 40, num_boxes)
        points = rng.uniform(0, 480, (lengths.max() * 2 + 1000)).round(2).tolist()
        for annotation, length in zip(annotations, lengths.tolist(), strict=True):
            start = annotation['id'] % 1000
            annotation['segmentation'] = [points[start : start + 2 * length]]
    images = [
        {
            'id': number,
            'file_name': f'{number:012d}.jpg',
            'width': _SIZE[0],
            'height': _SIZE[1],
            'license': 3,
            'date_captured': '2013-11-14 17:02:52',
            'coco_url': f'http://images.cocodataset.org/train2017/{number:012d}.jpg',
        }
        for number in range(1, num_images + 1)
    ]
    categories = [{'id': number, 'name': name} for number, name in enumerate(_CLASSES, start=1)]
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    with open(root / 'train.json', 'w') as file:
        json.dump(content, file)

    folder = root / 'images'
    if folder.exists():
        return
    folder.mkdir()
    for number, image in enumerate(images):
        source = root / f'{number // _LINKS}.jpg'
        if number % _LINKS == 0:
            Image.new('RGB', _SIZE, (number % 256, 0, 0)).save(source)
        os.link(source, folder / image['file_name'])


def seconds_of(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of a call: by the clock, and of this process."""
    gc.collect()
    start, start_of_process = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        call()
    return time.perf_counter() - start, time.process_time() - start_of_process


def measure(root: Path, name: str, rounds: int) -> list[list[str]]:
    """Time all by turns; returns their rows of the table."""
    dataset = dict(
        data_root=str(root),
        ann_file='train.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=_CLASSES),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
    )
    loader = dict(dataset=dict(type='CocoDataset', **dataset))
    cfg = Config(dict(train_dataloader=loader))

    def load_paused() -> None:
        with paused():
            CocoDataset(**dataset)

    calls = (
        lambda: CocoDataset(**dataset),
        lambda: check_annotations(cfg, ('train_dataloader',)),
        load_paused,
    )
    times = [[seconds_of(call) for call in calls] for _ in range(rounds)]
    rows = []
    for number, clock in enumerate(('wall', 'processor')):
        alone, checks, quick = (
            statistics.median(each[call][number] for each in times) for call in range(len(calls))
        )
        rows.append(
            [
                name,
                f'{(root / "train.json").stat().st_size / 2**20:,.0f}',
                clock,
                f'{alone:.1f}',
                f'{checks:.2f}',
                f'{checks / alone:.1%}',
                f'≤ {_TARGET:.0%}',
                verdict(checks / alone <= _TARGET),
                f'{quick:.1f}',
                f'{checks + quick:.1f}',
                f'{(checks + quick) / alone:.0%}',
                f'≤ {1 + _TARGET:.0%}',
                verdict((checks + quick) / alone <= 1 + _TARGET),
            ]
        )
    return rows


COLUMNS = (
    'annotations',
    'file, MiB',
    'seconds of',
    'MMDetection alone',
    'checks',
    'checks ÷ alone',
    'target',
    'result',
    'MMDetection in our runner',
    'checks and that',
    '÷ alone',
    'target',
    'result',
)


def get_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--images', type=int, default=118_000, help='(118000)')
    parser.add_argument('--boxes', type=int, default=860_000, help='(860000)')
    parser.add_argument('--rounds', type=int, default=3, help='of which the median counts (3)')
    parser.add_argument('--out', help='write a Markdown record')
    return parser


def main() -> None:
    """Measure both kinds of files."""
    args = get_parser().parse_args()
    register_mmdet()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, polygons in (('boxes', False), ('boxes and polygons', True)):
            write_coco(Path(folder), args.images, args.boxes, polygons)
            rows.extend(measure(Path(folder), name, args.rounds))
    title = f'Checks before a run, {args.images:,} images and {args.boxes:,} boxes'
    table = Table(title, COLUMNS, rows)
    table.show()
    if args.out:
        note = f'Medians of {args.rounds} rounds in which all take turns.'
        write_record(args.out, 'Checks of data', [table], [note])


if __name__ == '__main__':
    main()
