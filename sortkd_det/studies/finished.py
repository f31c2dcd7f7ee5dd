"""Scores of finished runs: where they lie, of which seed they are, what they reached."""

import glob
import json
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from sortkd_det.distill import read_config

from .scalars import read_scalars
from .settings import settings_of

#: Where the test of a run leaves its detections, within the run's folder.
DETECTIONS = 'test/detections.bbox.json'
_STEP = re.compile(r'/(epoch|iter)_(\d+)\.\w+$')
_TIME = re.compile(r'\d{8}_\d{6}')  # as MMEngine names the folder of a run's log
_SEED = re.compile(r'seed_?(\d+)')
_ON = {'test': 'test', 'val': 'last validation'}


def detections_prefix(folder: Path) -> str:
    """What CocoMetric is told as ``outfile_prefix``, to leave detections in a run's folder."""
    return str(folder / DETECTIONS).removesuffix('.bbox.json')


@dataclass(frozen=True)
class Scored:
    """What a run, or a file of detections, is compared by.

    Attributes:
        method: what it is called.
        seed: of its training.
        metrics: name → value, as logged.
        group: runs are compared within it: a pair, or a variant; ``''``: there is but one.
        detections: of its test, in COCO's format.
        annotations: what they are evaluated on, if it is known.
        images: folder of what they are of, likewise.
        classes: names of the categories that count there; None: all, or it is not known.
        work_dir: of its training, which holds its scalars; None: it is not known.
        settings: of its training, as :func:`settings_of` tells; empty: they are not known.
    """

    method: str
    seed: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    group: str = ''
    detections: Path | None = None
    annotations: Path | None = None
    images: Path | None = None
    classes: tuple[str, ...] | None = None
    work_dir: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``'short/kd/seed0'``, for messages."""
        return '/'.join(filter(None, (self.group, self.method, f'seed{self.seed}')))


def read_finished(places: Sequence[str]) -> tuple[list[Scored], str]:
    """Read finished runs.

    Args:
        places: each ``NAME=PATH`` of work dirs or of files of detections (``.json``), where
            ``{seed}`` in the path stands for the seeds; or a folder of
            ``<method>/seed_<n>``. Without ``{seed}`` it is that of the run's config, and 0 for
            a file of detections.

    Returns:
        The runs, and what they were scored on, in words: all on the test, or all on the last
        validation, with how many lack a test where others have one.

    Raises:
        FileNotFoundError: there is nothing of that name.
        ValueError: a run is not finished or not of its seed, or runs cannot be compared.
    """
    found = [each for place in places for each in _find(place)]
    files = [each for each in found if each[2].is_file()]
    if files and len(files) < len(found):
        raise ValueError('work dirs and files of detections cannot be compared; give one kind')
    if files:
        _refuse_twice((method, seed or 0) for method, seed, _ in found)
        return [Scored(m, seed or 0, detections=path) for m, seed, path in found], 'detections'
    runs = [_Run(method, seed, path) for method, seed, path in found]
    _refuse_twice((run.method, run.seed) for run in runs)
    untested = [f'{run.method} of seed {run.seed}' for run in runs if not run.tested]
    split = 'val' if untested else 'test'
    _check_same_images(runs, split)
    scored_on = _ON[split]
    if 0 < len(untested) < len(runs):
        scored_on += f' (no test of {", ".join(untested)})'
    return [run.scored(split) for run in runs], scored_on


class _Run:
    """A work dir, with the config of its training, of the last part if it was resumed."""

    def __init__(self, method: str, seed: int | None, path: Path) -> None:
        self.method, self.path = method, path
        configs = sorted(path.glob('*/vis_data/config.py'))
        if not configs:
            raise ValueError(f'{path} is no work dir of a run: it has no */vis_data/config.py')
        # A test that was run in the same work dir logs its config too, but no scalars.
        trained = [each for each in configs if each.with_name('scalars.json').is_file()]
        newest = trained[-1] if trained else configs[0]
        self.config = read_config(str(newest))
        self._begun = newest.parents[1].name
        logged = (self.config.get('randomness') or {}).get('seed')
        if seed is not None and logged != seed:
            raise ValueError(
                f'{path} is named as seed {seed}, and its config has randomness.seed = {logged}'
            )
        if logged is None:
            raise ValueError(f'{path} has no seed: its config has no randomness.seed')
        self.seed: int = logged
        newest = newest_test(path) or newest_test(path / 'test')
        self.tested = read_metrics(newest) if newest else {}
        self._test = newest

    def scored(self, split: str) -> Scored:
        if split == 'test':
            self._check_tested()
        metrics = self.tested if split == 'test' else self._validated()
        detections = self.path / DETECTIONS
        has_detections = split == 'test' and detections.is_file()
        return Scored(
            self.method,
            self.seed,
            metrics,
            detections=detections if has_detections else None,
            annotations=annotations_of(self.config),
            images=images_of(self.config),
            classes=classes_of(self.config),
            work_dir=self.path,
            settings=settings_of(self.config),
        )

    def _check_tested(self) -> None:
        """Refuse the test of a checkpoint from the midst of the training, or from before it."""
        tested_at = self._test.parent.name
        if all(map(_TIME.fullmatch, (self._begun, tested_at))) and tested_at < self._begun:
            raise ValueError(
                f'{self.path}: its test was run at {tested_at}, and its training went on at '
                f'{self._begun}, after it; test its checkpoint anew'
            )
        config = self._test.parent / 'vis_data/config.py'
        tested = read_config(str(config)).get('load_from') if config.is_file() else None
        step = _STEP.search(tested or '')  # the best of a training has another name
        end = step and (self.config.get('train_cfg') or {}).get(f'max_{step[1]}s')
        if end and int(step[2]) != end:
            raise ValueError(
                f'{self.path}: its test is of {Path(tested).name}, and its training ends at {end}; '
                'test its last checkpoint, or the best of each run'
            )

    def _validated(self) -> dict[str, float]:
        """The metrics of the last validation, which must be at the end of the training."""
        validated = read_scalars(self.path).val
        loop = self.config.get('train_cfg') or {}
        end = loop.get('max_epochs') or loop.get('max_iters')
        if end not in validated:
            last = max(validated, default=None)
            raise ValueError(
                f'{self.path} is not finished: its last validation is of step {last}, and its '
                f'training ends at {end}; go on with tools/train.py --resume'
            )
        return validated[end]


def _find(place: str) -> list[tuple[str, int | None, Path]]:
    """Method, seed and path of all that a place names."""
    method, given, pattern = place.partition('=')
    if not given:
        root = Path(place)
        found = [
            (folder.parent.name, int(match[1]), folder)
            for folder in sorted(root.glob('*/seed*'))
            if folder.is_dir() and (match := _SEED.fullmatch(folder.name))
        ]
        if not found:
            raise FileNotFoundError(
                f'{place} is no folder of runs: expected NAME=PATH, or a folder with '
                '<method>/seed_<n> in it'
            )
        deeper = [each for each in sorted(root.glob('*/*/seed*')) if _SEED.fullmatch(each.name)]
        if deeper:  # pairs or variants of a matrix
            raise ValueError(
                f'{place} has runs in <method>/seed_<n> and others in folders below, such as '
                f'{deeper[0]}, which would be left out; name those to compare by NAME=PATH'
            )
        return found
    if '{seed}' not in pattern:
        if not method or not Path(pattern).exists():
            raise FileNotFoundError(f'{place}: expected NAME=PATH, and {pattern} does not exist')
        return [(method, None, Path(pattern))]
    before, *rest = pattern.split('{seed}')
    if len(rest) != 1:
        raise ValueError(f'{place}: expected {{seed}} once')
    name = re.compile(re.escape(before) + r'(\d+)' + re.escape(rest[0]))
    paths = glob.glob(f'{glob.escape(before)}*{glob.escape(rest[0])}')
    found = [
        (method, int(match[1]), Path(path))
        for path in sorted(paths)
        if (match := name.fullmatch(path))
    ]
    if not found:
        raise FileNotFoundError(f'{place}: nothing is there with a number in place of {{seed}}')
    return found


def _refuse_twice(keys: Iterable[tuple[str, int]]) -> None:
    seen = set()
    for method, seed in keys:
        if (method, seed) in seen:
            raise ValueError(f'{method} has two runs of seed {seed}; give each seed once')
        seen.add((method, seed))


def _check_same_images(runs: Sequence[_Run], split: str) -> None:
    """Refuse runs that were scored on different images."""

    def images(run: _Run) -> dict[str, Any]:
        dataset = (run.config.get(f'{split}_dataloader') or {}).get('dataset') or {}
        names = ('type', 'ann_file', 'data_prefix', 'split', 'indices')
        found = {name: dataset[name] for name in names if dataset.get(name) is not None}
        classes = classes_of(run.config, split)
        return {**found, 'classes': classes} if classes else found

    def content(run: _Run) -> bytes | None:
        path = annotations_of(run.config, split)
        return path.read_bytes() if path and path.is_file() else None

    first = runs[0]
    for run in runs[1:]:
        if images(run) != images(first):
            raise ValueError(
                f'{first.path} and {run.path} were scored on different images: '
                f'{images(first)} and {images(run)}'
            )
        # The data may lie elsewhere on each machine, and be another set of the same names.
        places = [annotations_of(each.config, split) for each in (first, run)]
        if places[0] != places[1]:
            contents = content(first), content(run)
            if None not in contents and contents[0] != contents[1]:
                raise ValueError(
                    f'{first.path} and {run.path} were scored on different images: {places[0]} '
                    f'and {places[1]} differ'
                )


def newest_test(folder: Path) -> Path | None:
    """What the newest test run in a folder measured, ``<time>/<time>.json``; None: no test."""
    files = (path for path in folder.glob('*/*.json') if path.stem == path.parent.name)
    return max(files, default=None)


def read_metrics(path: Path) -> dict[str, float]:
    """The metrics of a test.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        metrics = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} holds no metrics of a test ({error}); test anew') from error
    if not isinstance(metrics, dict):
        raise ValueError(f'{path} holds no metrics of a test, got {metrics!r:.80}; test anew')
    return metrics


def classes_of(config: Config, split: str = 'test') -> tuple[str, ...] | None:
    """The names of the classes that a config's data set is said to have."""
    dataset = (config.get(f'{split}_dataloader') or {}).get('dataset') or {}
    classes = (dataset.get('metainfo') or {}).get('classes')
    return tuple(classes) if isinstance(classes, list | tuple) else None


def annotations_of(config: Config, split: str = 'test') -> Path | None:
    """The file that a config's test is evaluated on, where it is one of COCO's."""
    evaluator = config.get(f'{split}_evaluator')
    named = evaluator.get('ann_file') if isinstance(evaluator, Mapping) else None
    return Path(named) if named else None


def images_of(config: Config) -> Path | None:
    """The folder of the images of a config's test, where it names one as MMDetection does."""
    dataset = (config.get('test_dataloader') or {}).get('dataset') or {}
    prefix = (dataset.get('data_prefix') or {}).get('img')
    return None if prefix is None else Path(dataset.get('data_root') or '') / prefix


#: The metric that runs are compared by, the first that they have.
MAIN_METRICS = ('accuracy/top1', 'coco/bbox_mAP', 'pascal_voc/mAP')
_IN_PERCENT = ('accuracy/',)
_OF_CLASS = re.compile(r'coco/(.+)_precision')
_ROUNDED = 0.101  # points: MMDetection logs three decimals, of the classes and of their mean


def main_metric(metrics: Mapping[str, float]) -> str:
    """The name of the metric that a run is judged by.

    Raises:
        ValueError: it has none of them.
    """
    for name in MAIN_METRICS:
        if name in metrics:
            return name
    raise ValueError(
        f'there is none of the metrics {", ".join(MAIN_METRICS)}; name one of '
        f'{", ".join(sorted(metrics)) or "none"} with --metric'
    )


def most_of(metric: str) -> int:
    """The most that a metric can be, as it is logged: 1 or 100."""
    return 100 if metric.startswith(_IN_PERCENT) else 1


def in_points(run: Scored, metric: str) -> float:
    """A metric of a run in points of 100.

    MMDetection logs shares in [0, 1], and -1 where there was nothing to measure; our classifiers
    log percent.

    Raises:
        ValueError: it was not logged, or is no such number.
    """
    if metric not in run.metrics:
        raise ValueError(
            f'{run.name} has no {metric}; it has {", ".join(sorted(run.metrics)) or "no metrics"}'
        )
    most = most_of(metric)
    value = float(run.metrics[metric])
    if not (math.isfinite(value) and 0 <= value <= most):
        raise ValueError(f'{run.name}: {metric} must be from 0 to {most}, got {value}')
    return value * 100 / most


def class_points(run: Scored, metric: str) -> dict[str, float]:
    """A metric of a run by class, in points of 100, where it was logged.

    CocoMetric does so with ``classwise=True``, as ``coco/<class>_precision``. These are the AP of
    the last of its metrics (boxes, masks), whose name it does not tell: they count where their
    mean is the metric that is asked for. Classes without anything to find, NaN or null, are left
    out.

    Raises:
        ValueError: as :func:`in_points`.
    """
    points = {
        match[1]: 100.0 * value
        for name, value in run.metrics.items()
        if value is not None and (match := _OF_CLASS.fullmatch(name)) and math.isfinite(value)
    }
    is_it = points and abs(statistics.fmean(points.values()) - in_points(run, metric)) <= _ROUNDED
    return points if is_it else {}
