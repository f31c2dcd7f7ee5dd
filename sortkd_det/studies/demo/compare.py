"""Compares trained detectors: size, speed, curves, detections, and what sorting does."""

import statistics
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import mmcv
import torch
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.registry import DefaultScope
from torch import nn
from torch.utils.data import Dataset

from sortkd_det.cli.config import set_data_root
from sortkd_det.distill import Teacher

from ..curves import draw_learning_curves
from ..latency import measure_latencies
from ..report import METRICS
from ..scalars import RunScalars, read_scalars
from ..sorting_figure import draw_sorting
from .foreground_rois import choose_wrong, find_foreground_rois
from .panels import draw_panels

#: Figure → file name.
FIGURES = {
    'learning_curves': 'learning_curves.png',
    'sorting': 'sorting.png',
    'panels': 'panels.png',
}
_NUM_TIMED = 100  # images at most
_NUM_PANELS = 4
_NUM_SEARCHED = 100  # training images at most, for a proposal on which the teacher is wrong
_LAST_ENTRIES = 10  # of the audit


@dataclass
class Contestant:
    """A trained detector.

    Attributes:
        config: of its training.
        checkpoint: its weights.
        work_dir: of its training; holds its scalars.
        metrics: column of :data:`METRICS` → what its test gave, in [0, 1].
    """

    config: Config
    checkpoint: Path
    work_dir: Path
    metrics: Mapping[str, float]


def compare(
    contestants: Mapping[str, Contestant],
    teacher: str,
    students: tuple[str, str],
    data_root: Path,
    folder: Path,
    watch: Callable[[float, str], None] = lambda share, note: None,
) -> dict[str, Any]:
    """Measure the detectors and draw the figures.

    Args:
        contestants: title → detector; all of one data set.
        teacher: which of them teaches.
        students: a student alone and the one taught from sorted logits.
        data_root: folder of the data set.
        folder: where the figures are written.
        watch: told the share done, in [0, 1], and what is being done.

    Returns:
        Plain types: ``models`` (title → params, img_per_s, median_seconds),
        ``device``, ``threads``, ``num_timed``, ``teacher_fg_error`` (in [0, 1],
        or None where nothing was logged), ``sorting`` (the proposal that was
        drawn, or None) and ``figures`` (name → path within ``folder``, or None
        where it could not be drawn).
    """
    register_all_modules(init_default_scope=False)
    device = get_device()
    with DefaultScope.overwrite_default_scope('mmdet'):
        watch(0.05, 'loading the models')
        models = {
            title: Teacher(c.config, str(c.checkpoint)).to(device).model
            for title, c in contestants.items()
        }
        dataset, train_set = _build_datasets(contestants[teacher].config, data_root)
        watch(0.15, 'measuring speed')
        found = measure_models(models, dataset)
        found['device'] = torch.cuda.get_device_name() if device == 'cuda' else device
        watch(0.6, 'drawing detections')
        shown = {title: models[title] for title in (teacher, *students)}
        _draw_detections(shown, dataset, folder / FIGURES['panels'])
        watch(0.8, 'drawing the sort')
        found['sorting'] = _draw_example(
            models[teacher], models[students[1]], train_set, folder / FIGURES['sorting']
        )
    watch(0.9, 'drawing learning curves')
    runs = {title: _scalars_of(contestant) for title, contestant in contestants.items()}
    draw_learning_curves(runs, folder / FIGURES['learning_curves'])
    found['teacher_fg_error'] = teacher_error(runs[students[1]])
    found['figures'] = {
        name: None if name == 'sorting' and found['sorting'] is None else file
        for name, file in FIGURES.items()
    }
    return found


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
    """The teacher's top-1 error on foreground proposals, over the audit's last entries.

    Returns:
        In [0, 1]; None where the audit logged nothing.
    """
    _, top1 = scalars.series('teacher/fg_top1')
    return 1 - statistics.fmean(top1[-_LAST_ENTRIES:]) if top1 else None


def _build_datasets(config: Config, data_root: Path) -> tuple[Dataset, Dataset]:
    """The validation images, and the training images in the same pipeline."""
    cfg = Config(config.to_dict())
    set_data_root(cfg, str(data_root))
    train, val = cfg.train_dataloader.dataset, cfg.val_dataloader.dataset
    places = dict(ann_file=train.ann_file, data_prefix=train.data_prefix)
    with redirect_stdout(StringIO()):  # pycocotools speaks to whoever is there
        return DATASETS.build(val), DATASETS.build({**val, **places})


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
    teacher: nn.Module, student: nn.Module, dataset: Dataset, path: Path
) -> dict[str, Any] | None:
    indices = range(min(_NUM_SEARCHED, len(dataset)))
    roi = choose_wrong(find_foreground_rois(teacher, student, dataset, indices))
    if roi is None:
        return None
    classes = [*dataset.metainfo['classes'], 'background']
    draw_sorting(
        roi.logits,
        roi.label,
        classes,
        path,
        image=mmcv.imread(roi.image_path, channel_order='rgb'),
        box=roi.box.tolist(),
        truth=roi.truth.tolist(),
        caption=f'training image {Path(roi.image_path).name}, IoU {roi.iou:.2f}',
    )
    return dict(
        image=roi.image_path,
        label=classes[roi.label],
        rank=roi.rank,
        iou=roi.iou,
        box=roi.box.tolist(),
        logits=dict(zip(classes, roi.logits.tolist(), strict=True)),
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
