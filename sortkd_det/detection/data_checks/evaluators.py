"""The file that a COCO metric reads, beside the files of the data sets that it is to judge."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from mmdet.evaluation import CocoMetric, LVISMetric
from mmdet.registry import METRICS

from .coco_file import CocoFile
from .datasets import check_classes, is_of, note_odd_boxes
from .findings import Report, shorten
from .parts import Part, is_local

_TOLERANCE = 1.0  # pixels by which coordinates of the same box may differ, as rounding makes it
_MAX_ID = 2**63  # numpy turns larger ids into floats, of which several are equal


@dataclass(frozen=True)
class Judged:
    """A data set that a metric is to judge.

    Attributes:
        part: its config.
        file: its annotations.
        used: (K,) int64, the places of the images that it hands out.
        classes: of the config.
    """

    part: Part
    file: CocoFile
    used: np.ndarray
    classes: list[str]


def check_evaluator(
    setting: str,
    config: Any,
    judged: list[Judged],
    all_known: bool,
    read: Callable[[str, str], CocoFile | None],
    report: Report,
) -> None:
    """Check the files of an evaluator's metrics.

    Args:
        setting: its name in the config: ``'val_evaluator'``.
        config: one metric, a list of them, or a dict with ``metrics``.
        judged: the COCO data sets of its loader.
        all_known: whether the loader has no others.
        read: reads the file at a path, each only once, for a setting; None where it cannot be
            used.
        report: takes what is found.
    """
    metrics = _metrics(setting, config)
    for number, (name, metric) in enumerate(metrics):
        path = metric.get('ann_file')
        if path is None and _reads_coco(metric):
            _check_truth_in_samples(name, metric, judged, report)
        if not isinstance(path, str) or not is_local(metric) or '://' in path:
            continue
        name = f'{name}.ann_file'
        reads_coco = _reads_coco(metric)
        if not (os.path.isfile(path) if reads_coco else os.path.exists(path)):
            own = f': {shorten(judged[0].file.path)}' if judged else ''
            report.add(
                name,
                f'is {path}, which does not exist',
                f'set it to the annotation file of the data set{own}',
                error=FileNotFoundError,
            )
        elif judged and reads_coco:
            file = read(path, name)
            # An evaluator of several data sets has one metric for each.
            each = 'dataset_prefixes' in config and len(metrics) == len(judged)
            if file is not None:
                chosen = judged[number : number + 1] if each else judged
                _Comparison(name, metric, file, chosen, report).check(all_known)


def _metrics(setting: str, config: Any) -> list[tuple[str, dict]]:
    """The metrics of an evaluator and their names in the config."""
    if isinstance(config, dict) and 'metrics' in config:
        return _metrics(f'{setting}.metrics', config['metrics'])
    if isinstance(config, dict):
        return [(setting, config)]
    if isinstance(config, list | tuple):
        return [(f'{setting}.{i}', m) for i, m in enumerate(config) if isinstance(m, dict)]
    return []


def _reads_coco(config: dict) -> bool:
    """Whether it is COCO's metric, or one that only adds to it."""
    kind = config.get('type')
    cls = METRICS.get(kind) if isinstance(kind, str) else kind
    return isinstance(cls, type) and issubclass(cls, CocoMetric) and not issubclass(cls, LVISMetric)


def _check_truth_in_samples(
    setting: str, config: dict, judged: list[Judged], report: Report
) -> None:
    """Without a file COCO's metric takes the truth from samples, which by default have none."""
    without = [data for data in judged if not _packs_instances(data.part.config.get('pipeline'))]
    if without and not config.get('format_only'):
        own = shorten(without[0].file.path)
        report.add(
            setting,
            f'has no ann_file, and the samples of the {without[0].part.loader} bring no ground '
            'truth with them',
            f'set {setting}.ann_file to the annotation file of the data set: {own}',
            error=ValueError,
        )


def _packs_instances(pipeline: Any) -> bool:
    steps = [step for step in pipeline or [] if isinstance(step, dict)]
    return any('instances' in (step.get('meta_keys') or ()) for step in steps)


class _Comparison:
    """A metric's file, and the data sets whose images and classes it should hold."""

    def __init__(
        self, setting: str, config: dict, file: CocoFile, judged: list[Judged], report: Report
    ) -> None:
        self.setting = setting
        self.config = config
        self.file = file
        self.judged = judged
        self.report = report
        self._sorts = bool(config.get('sort_categories'))

    def check(self, all_known: bool) -> None:
        before = len(self.report.errors)
        self._check_ids()
        for data in self.judged:
            if self._is_other(data):
                self._check_classes(data)
                self._check_images(data)
        if len(self.report.errors) > before or self.config.get('format_only'):
            return
        self._note_no_truth()
        for data in self.judged:
            if self._is_other(data):
                note_odd_boxes(self.file, self.report)
                self._compare_boxes(data)
        if all_known:
            self._check_coverage()

    def _is_other(self, data: Judged) -> bool:
        return not os.path.samefile(data.file.path, self.file.path)

    def _add(self, what: str, cure: str, **details: object) -> None:
        self.report.add(self.file.path, what, cure, **details)

    # -- the file alone ------------------------------------------------------

    def _check_ids(self) -> None:
        for things, ids in (
            ('images', self.file.image_ids),
            ('categories', self.file.category_ids),
        ):
            types = {type(key) for key in ids}
            if len(types) > 1 or (int in types and max(map(abs, ids)) >= _MAX_ID):
                self._add(
                    f'has ids of {things} that are not all text, or all numbers below 2⁶³: '
                    f'pycocotools, which {self.setting} is for, would mix them up',
                    'number them from 1',
                    error=ValueError,
                )
        ids = self.file.category_ids
        if self.config.get('classwise') and not self._sorts and not _ascend(ids):
            self._add(
                f'lists its categories in another order than that of their ids, {ids[:8]}, and '
                'MMDetection would print the AP of each class under the name of another',
                'sort its "categories" by id, or number them in their order',
                error=ValueError,
            )
        text = np.array([type(key) is str for key in self.file.box_ids], dtype=bool)
        for chosen, what in (
            (text, 'have an id that is text, which pycocotools cannot evaluate'),
            (self.file.box_ids == 0, 'have the id 0, which pycocotools takes for "not matched"'),
        ):
            if chosen.any():
                self._add(
                    f'{what}: here they are numbered anew from 1, in memory',
                    "nothing; MMDetection's own tools would fail, or report a lower AP",
                    count=int(chosen.sum()),
                    total=len(chosen),
                    things='boxes',
                    first=self.file.first_box(chosen),
                )
        if self.file.ignored.any():
            chosen = self.file.ignored
            self._add(
                'have "ignore" set, and pycocotools counts them as ground truth all the same',
                'if they are not to count, set iscrowd to 1, or take them out',
                count=int(chosen.sum()),
                total=len(chosen),
                things='boxes',
                first=self.file.first_box(chosen),
            )

    def _note_no_truth(self) -> None:
        of_class = is_of(self.file, self.judged[0].classes)
        if not (of_class & ~self.file.crowd & (self.file.image >= 0)).any():
            self._add(
                f'has {len(self.file.boxes):,} boxes, and none of them counts as ground truth '
                f'(no crowd, of a class of the config): {self.setting} would say -1 for each AP',
                'give it boxes, or set val_evaluator and val_dataloader to None',
            )

    # -- the file beside a data set ------------------------------------------

    def _cure(self, data: Judged) -> str:
        return (
            f'set {self.setting} to {shorten(data.file.path)}, which the {data.part.loader} reads'
        )

    def _check_classes(self, data: Judged) -> None:
        file = self.file
        if self._sorts:
            order = sorted(zip(file.category_ids, file.category_names, strict=True))
            file = replace(file, category_names=[name for _, name in order])
        check_classes(file, data.classes, self.report, self._cure(data))

    def _check_images(self, data: Judged) -> None:
        """Raise where an image of the data set has another name or size, or no entry, here."""
        wrong = []
        for place in data.used.tolist():
            key, there = data.file.image_ids[place], _describe(data.file, place)
            found = self.file.place_of_image.get(key)
            here = None if found is None else _describe(self.file, found)
            if here is None or there[1:] != here[1:] or not _name_one_image(there[0], here[0]):
                wrong.append((key, there, here))
        if wrong:
            key, there, here = wrong[0]
            self._add(
                'have another id, file_name or size in it',
                self._cure(data),
                count=len(wrong),
                total=len(data.used),
                things=self._images_of(data),
                first=f'the one with the id {key!r}: {_in_words(there)} there, '
                + ('and no such id here' if here is None else f'{_in_words(here)} here'),
                error=ValueError,
            )

    def _compare_boxes(self, data: Judged) -> None:
        """Raise where the ground truth of an image differs between the two files."""
        if not len(data.file.boxes):
            return  # as in COCO's own test files
        image_ids = [data.file.image_ids[place] for place in data.used.tolist()]
        number_of = {key: number for number, key in enumerate(image_ids)}
        there = _truth(data.file, number_of, data.classes)
        here = _truth(self.file, number_of, data.classes)
        differ = [
            number
            for number, (one, other) in enumerate(
                zip(_by_image(there, len(image_ids)), _by_image(here, len(image_ids)), strict=True)
            )
            if not _same_boxes(one, other)
        ]
        if differ:
            place = data.used[differ[0]]
            self._add(
                'have other boxes in it',
                self._cure(data),
                count=len(differ),
                total=len(image_ids),
                things=self._images_of(data),
                first=f'{data.file.image_names[place]}, id {data.file.image_ids[place]!r}',
                error=ValueError,
            )

    def _images_of(self, data: Judged) -> str:
        return f'images of {shorten(data.file.path)}, which the {data.part.loader} reads,'

    def _check_coverage(self) -> None:
        """Raise or note where images that the metric counts are not handed out once each."""
        loader = self.judged[0].part.loader
        handed = [d.file.image_ids[place] for d in self.judged for place in d.used.tolist()]
        repeats = len(handed) - len(set(handed))
        if repeats or any(data.part.repeated for data in self.judged):
            self._add(
                f'is for images that the {loader} hands out once, but {repeats} ids come twice'
                if repeats
                else f'is for images that the {loader} hands out once, but a wrapper repeats them',
                'give each image an id of its own, and evaluate without wrappers that repeat',
                error=ValueError,
            )
            return
        known = set().union(*(data.file.image_ids for data in self.judged))
        left_out = ~np.isin(np.arange(len(self.file.image_ids)), self._places_of(handed))
        strange = ~np.isin(np.arange(len(self.file.image_ids)), self._places_of(known))
        counts = is_of(self.file, self.judged[0].classes) & ~self.file.crowd
        counts &= self.file.image >= 0
        with_box = np.bincount(self.file.image[counts], minlength=len(left_out)) > 0
        for chosen, why, cure, error in (
            (strange, 'are not among those', self._cure(self.judged[0]), ValueError),
            (
                left_out & ~strange,
                'are left out by filter_cfg or indices',
                'set test_mode=True and no indices',
                None,
            ),
        ):
            if (chosen & with_box).any():
                self._add(
                    f'{why} of the {loader}, and the metric counts their boxes as missed',
                    cure,
                    count=int((chosen & with_box).sum()),
                    total=len(chosen),
                    things='images',
                    first=self.file.first_image(chosen & with_box),
                    error=error,
                )

    def _places_of(self, ids: Any) -> list[int]:
        place_of = self.file.place_of_image
        return [place_of[key] for key in ids if key in place_of]


def _ascend(ids: list) -> bool:
    return all(a < b for a, b in pairwise(ids)) if len({type(key) for key in ids}) == 1 else True


def _describe(file: CocoFile, place: int) -> tuple[str, float, float]:
    return (file.image_names[place], *file.sizes[place].tolist())


def _in_words(image: tuple[str, float, float]) -> str:
    return f'{image[0]}, {image[1]:.0f} × {image[2]:.0f}'


def _name_one_image(one: str, other: str) -> bool:
    """Whether two names can be of one image: equal, or one with a folder before it."""
    return one == other or one.endswith(f'/{other}') or other.endswith(f'/{one}')


def _truth(file: CocoFile, number_of: dict, classes: list[str]) -> np.ndarray:
    """Rows (number of image, number of class, crowd, x, y, width, height), sorted."""
    number_of_class = {name: number for number, name in enumerate(classes)}
    labels = np.array([number_of_class.get(name, -1) for name in file.category_names])
    images = np.array([number_of.get(key, -1) for key in file.image_ids] + [-1])
    rows = np.column_stack([images[file.image], labels[file.category], file.crowd, file.boxes])
    rows = rows[(rows[:, :2] >= 0).all(axis=1)]
    return rows[np.lexsort(rows.T[::-1])]


def _by_image(rows: np.ndarray, number: int) -> list[np.ndarray]:
    return np.split(rows[:, 1:], np.searchsorted(rows[:, 0], np.arange(1, number)))


def _same_boxes(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether each box has its like in the other list: class, crowd, and nearly the place."""
    if len(one) != len(other):
        return False
    if np.array_equal(one, other):
        return True
    difference = np.abs(one[:, None] - other[None])
    alike = (difference[..., :2] == 0).all(axis=-1) & (difference[..., 2:] <= _TOLERANCE).all(
        axis=-1
    )
    return bool(alike.any(axis=0).all() and alike.any(axis=1).all())
