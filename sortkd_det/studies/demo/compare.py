"""Compares trained detectors: AP, size, speed, curves, detections, and what sorting does."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.registry import DefaultScope
from mmengine.runner import set_random_seed
from torch import nn
from torch.utils.data import Dataset

from sortkd_det.cli.config import set_data_root
from sortkd_det.distill import Teacher

from ..comparison import compare as compare_methods
from ..curves import draw_learning_curves
from ..finished import Scored
from ..latency import measure_latencies
from ..report import METRICS
from ..scalars import RunScalars, read_scalars
from ..sorting_figure import draw_sorting
from .example import choose_wrong, find_examples
from .panels import draw_panels

#: Figure → file name.
FIGURES = {
    'learning_curves': 'learning_curves.png',
    'sorting': 'sorting.png',
    'panels': 'panels.png',
}
_NUM_TIMED = 100  # images at most
_NUM_PANELS = 4
_NUM_SEARCHED = 100  # training images at most, for a sample on which the teacher is wrong
_LAST_ENTRIES = 10  # of the audit
_DRAWS = 1000  # of images


@dataclass
class Contestant:
    """A trained detector.

    Attributes:
        config: of its training.
        checkpoint: its weights.
        work_dir: of its training; holds its scalars.
        metrics: column of :data:`METRICS` → what its test gave, in [0, 1].
        detections: of that test, in COCO's format.
    """

    config: Config
    checkpoint: Path
    work_dir: Path
    metrics: Mapping[str, float]
    detections: Path


def compare(
    contestants: Mapping[str, Contestant],
    teacher: str,
    students: Sequence[str],
    data_root: Path,
    folder: Path,
    watch: Callable[[float, str], None] = lambda share, note: None,
) -> dict[str, Any]:
    """Measure the detectors and draw the figures.

    Args:
        contestants: title → detector; all of one data set.
        teacher: which of them teaches.
        students: a student alone, the others, and last the one taught from sorted logits; each
            is compared with the one before.
        data_root: folder of the data set.
        folder: where the figures are written.
        watch: told the share done, in [0, 1], and what is being done.

    Returns:
        Plain types: ``models`` (title → params, img_per_s, median_seconds),
        ``device``, ``threads``, ``num_timed``, ``teacher_fg_error`` (in [0, 1],
        or None where nothing was logged), ``sorting`` (the sample that was
        drawn, or None), ``differences`` (as :func:`find_differences`) and ``figures``
        (name → path within ``folder``, or None where it could not be drawn).
    """
    register_all_modules(init_default_scope=False)
    device = get_device()
    with DefaultScope.overwrite_default_scope('mmdet'):
        watch(0.05, 'loading the models')
        loaded = {
            title: Teacher(c.config, str(c.checkpoint)).to(device)
            for title, c in contestants.items()
        }
        models = {title: each.model for title, each in loaded.items()}
        dataset, train_set = _build_datasets(contestants[students[-1]].config, data_root)
        watch(0.15, 'measuring speed')
        found = measure_models(models, dataset)
        found['device'] = torch.cuda.get_device_name() if device == 'cuda' else device
        watch(0.6, 'drawing detections')
        shown = {title: models[title] for title in (teacher, students[0], students[-1])}
        _draw_detections(shown, dataset, folder / FIGURES['panels'])
        watch(0.8, 'drawing the sort')
        found['sorting'] = _draw_example(
            models[students[-1]], loaded[teacher], train_set, folder / FIGURES['sorting']
        )
    watch(0.9, 'drawing learning curves')
    runs = {title: _scalars_of(contestant) for title, contestant in contestants.items()}
    draw_learning_curves(runs, folder / FIGURES['learning_curves'])
    found['teacher_fg_error'] = teacher_error(runs[students[-1]])
    watch(0.95, 'drawing images anew')
    detections = {title: contestants[title].detections for title in students}
    found['differences'] = find_differences(detections, Path(dataset.ann_file))
    found['figures'] = {
        name: None if name == 'sorting' and found['sorting'] is None else file
        for name, file in FIGURES.items()
    }
    return found


def find_differences(detections: Mapping[str, Path], annotations: Path) -> list[dict[str, Any]]:
    """AP of each model minus that of the one before it, and what the choice of images adds to it.

    Args:
        detections: title → file of them, in COCO's format. A model without any has no interval.
        annotations: file that they are evaluated on.

    Returns:
        A dict for each model but the first: ``model``, ``baseline``, ``difference``, as
        ``'+1.20 [-0.31, +2.70] (400)'`` in points of AP with its 95% interval and the number of
        images, and ``verdict``. Empty where a model detects nothing at all.
    """
    if any(json.loads(path.read_text()) == [] for path in detections.values()):
        return []
    titles = list(detections)
    baselines = dict(zip(titles[1:], titles, strict=False))
    runs = [Scored(title, 0, detections=path) for title, path in detections.items()]
    _, rows = compare_methods(runs, baselines, draws=_DRAWS, annotations=annotations)
    return [
        dict(
            model=row.method,
            baseline=row.baseline,
            difference=str(row.over_images),
            verdict=row.over_images.verdict(),
        )
        for row in rows[1:]
    ]


def measure_models(models: Mapping[str, nn.Module], dataset: Dataset) -> dict[str, Any]:
    """Count parameters and time the first images of ``dataset``, one at a time, for a minute.

    Returns:
        ``models``, ``threads`` and ``num_timed`` of :func:`compare`.
    """
    batches = [pseudo_collate([dataset[i]]) for i in range(min(_NUM_TIMED, len(dataset)))]
    latencies = measure_latencies(models, batches)
    medians = {title: statistics.median(seconds) for title, seconds in latencies.items()}
    return dict(
        models={
            title: dict(
                params=sum(p.numel() for p in model.parameters()),
                img_per_s=1 / medians[title],
                median_seconds=medians[title],
            )
            for title, model in models.items()
        },
        threads=torch.get_num_threads(),
        num_timed=min(map(len, latencies.values())),
    )


def teacher_error(scalars: RunScalars) -> float | None:
    """The teacher's top-1 error on samples of objects, over the audit's last entries.

    Returns:
        In [0, 1]; None where the audit logged nothing.
    """
    _, top1 = scalars.series('teacher/fg_top1')
    return 1 - statistics.fmean(top1[-_LAST_ENTRIES:]) if top1 else None


def _build_datasets(config: Config, data_root: Path) -> tuple[Dataset, Dataset]:
    """The validation images, and those of training as they are trained on."""
    cfg = Config(config.to_dict())
    set_data_root(cfg, str(data_root))
    with redirect_stdout(StringIO()):  # pycocotools speaks to whoever is there
        return DATASETS.build(cfg.val_dataloader.dataset), DATASETS.build(
            cfg.train_dataloader.dataset
        )


def _draw_detections(models: Mapping[str, nn.Module], dataset: Dataset, path: Path) -> None:
    """Panels of the first images: not chosen by what they show."""
    count = min(_NUM_PANELS, len(dataset))
    with torch.no_grad():
        columns = {
            title: [model.test_step(pseudo_collate([dataset[i]]))[0] for i in range(count)]
            for title, model in models.items()
        }
    draw_panels(columns, dataset.metainfo, path)


def _draw_example(
    student: nn.Module, teacher: Teacher, dataset: Dataset, path: Path
) -> dict[str, Any] | None:
    set_random_seed(0)  # images are flipped, and rows sampled
    indices = range(min(_NUM_SEARCHED, len(dataset)))
    example = choose_wrong(find_examples(student, teacher, dataset, indices))
    if example is None:
        return None
    classes = [*dataset.metainfo['classes'], 'background'][: len(example.logits)]
    draw_sorting(
        example.logits,
        example.label,
        classes,
        path,
        image=example.picture,
        box=example.box.tolist(),
        truth=example.truth.tolist(),
        caption=f'a training image, IoU {example.iou:.2f}',
        activation=example.activation,
    )
    return dict(
        label=classes[example.label],
        rank=example.rank,
        iou=example.iou,
        box=example.box.tolist(),
        logits=dict(zip(classes, example.logits.tolist(), strict=True)),
    )


def _scalars_of(contestant: Contestant) -> RunScalars:
    """What a run logged; the last epoch's metrics from its test.

    MMEngine saves, then validates: a run that was stopped in between never
    logged those metrics.
    """
    scalars = read_scalars(contestant.work_dir)
    last = contestant.config.train_cfg.max_epochs
    tested = {key: contestant.metrics[column] for column, key in METRICS.items()}
    scalars.val.setdefault(last, tested)
    return scalars
