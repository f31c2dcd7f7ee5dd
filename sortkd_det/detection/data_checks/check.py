"""All checks of a config's COCO files, images and metrics, before a run."""

import os
import sys
from typing import Any

from mmengine.config import Config

from sortkd_det.collector import paused

from .coco_file import CocoFile, read_coco
from .datasets import check_boxes, check_classes, class_names, used_images
from .evaluators import Judged, check_evaluator
from .findings import Report
from .images import check_images
from .parts import Part, coco_parts

_PICKLES = ('.pkl', '.pickle')


def check_annotations(cfg: Config, loaders: tuple[str, ...]) -> None:
    """Check the COCO files of the named data loaders, and raise where a run could not use them.

    What is found and is no error, such as boxes that MMDetection would leave out without
    a word, is printed to standard error, in one table with the errors.

    Args:
        cfg: the config of a run.
        loaders: names of its data loaders: ``('train_dataloader', 'val_dataloader')``.

    Raises:
        FileNotFoundError: an annotation file or an image is missing.
        ValueError: a file is not COCO, lacks classes that the config names, or
            leaves nothing to train on; it has entries that are incomplete, ids that
            are there twice, categories that are not there, or names of images that
            lead out of the data root; an image has no bytes; a metric reads another file
            than the data; a data set or a metric reads a pickle.
    """
    report = check_data(cfg, loaders)
    if len(report.findings) > len(report.errors[:1]):  # one error alone is said by itself
        print(report.table, file=sys.stderr, flush=True)
    report.raise_errors()


def check_data(cfg: Config, loaders: tuple[str, ...], every_size: bool = False) -> Report:
    """Look at the data of a config; as :func:`check_annotations`, but raise nothing.

    Args:
        cfg: the config of a run.
        loaders: names of its data loaders.
        every_size: compare the size of each image with what its file says, and not of a few.

    Returns:
        What was found, and what each data set makes of its file.
    """
    report = Report()
    for loader in loaders:
        for name in (loader, _evaluator_of(loader)):
            _refuse_pickles(cfg.get(name), name, report)
    with paused():
        _Check(cfg, report, every_size).run(loaders)
    return report


def _evaluator_of(loader: str) -> str:
    return loader.replace('dataloader', 'evaluator')


def _refuse_pickles(config: Any, place: str, report: Report) -> None:
    if isinstance(config, dict):
        for key, value in config.items():
            if not str(key).startswith('out'):  # a file that is written
                _refuse_pickles(value, f'{place}.{key}', report)
    elif isinstance(config, list | tuple):
        for index, value in enumerate(config):
            _refuse_pickles(value, f'{place}.{index}', report)
    elif isinstance(config, str) and config.lower().endswith(_PICKLES):
        report.add(
            place,
            f'is {config}: MMDetection would unpickle it, and a pickle can run any code',
            'if you trust it, load it yourself and save what it holds as JSON',
            error=ValueError,
        )


class _Check:
    """Goes through the loaders of a config; reads each file once."""

    def __init__(self, cfg: Config, report: Report, every_size: bool) -> None:
        self.cfg = cfg
        self.report = report
        self.every_size = every_size
        self.files: dict[str, CocoFile | None] = {}

    def run(self, loaders: tuple[str, ...]) -> None:
        """Check each loader, and the evaluator beside it."""
        for loader in loaders:
            parts, all_known = coco_parts(loader, (self.cfg.get(loader) or {}).get('dataset'))
            found = [self._check_part(part) for part in parts]
            judged = [data for data, _ in found if data is not None]
            self._refuse_empty(loader, found)
            evaluator = _evaluator_of(loader)
            if self.cfg.get(evaluator):
                all_known = all_known and len(judged) == len(parts)
                check_evaluator(
                    evaluator,
                    self.cfg[evaluator],
                    judged,
                    all_known,
                    lambda path, setting: self._read(path, labelled=False, named_by=setting),
                    self.report,
                )

    def _read(self, path: str, labelled: bool, named_by: str = '') -> CocoFile | None:
        key = os.path.realpath(path)
        if key not in self.files:
            self.files[key] = read_coco(path, labelled, self.report, named_by)
        return self.files[key]

    def _check_part(self, part: Part) -> tuple[Judged | None, str]:
        """Check a data set: what its metric should find, and what it lacks to be used."""
        if not os.path.isfile(part.path):
            self.report.add(
                f'annotation file {part.path}',
                'does not exist',
                f'--data-root DIR names the folder of the data set (now {part.root or "not set"})',
                error=FileNotFoundError,
            )
            return None, ''
        classes = class_names(part, self.report)
        file = self._read(part.path, part.is_labelled)
        if classes is None or file is None:
            return None, ''
        if not check_classes(file, classes, self.report):
            return None, ''
        classes = classes or file.category_names
        used = used_images(part, file, classes)
        check_images(part, file, used, self.report, self.every_size)
        lack = check_boxes(part, file, classes, used, self.report)
        return Judged(part, file, used, classes), lack

    def _refuse_empty(self, loader: str, found: list[tuple[Judged | None, str]]) -> None:
        """Raise where nothing is left: of all data sets to train on, or of one."""
        lacks = [lack for _, lack in found]
        if loader == 'train_dataloader' and lacks and all(lacks):  # one may be unlabelled
            self.report.add(
                loader,
                f'has an empty training set: {"; ".join(lacks)}',
                'expected images with boxes of the classes of the config',
                error=ValueError,
            )
            return
        for data, lack in found:
            if data is not None and not len(data.used):
                self.report.add(
                    loader,
                    f'has a data set without images: {lack}',
                    'expected one or more',
                    error=ValueError,
                )
