"""A paper's table again: the published figures beside a matrix of ours, and what it will cost."""

import csv
import re
import time
from collections.abc import Iterable
from pathlib import Path

import torch

from sortkd_det.functional import check_whole

from .matrix import STUDENT, Matrix, Task

#: How the published tables call our methods.
PUBLISHED_NAMES = {
    'kd': 'KD',
    'dkd': 'DKD',
    'ctkd': 'CTKD',
    'lskd': 'LSKD',
    'mlkd': 'MLKD',
    'ranking': 'ranking alignment',
}
_TIMED = 3  # steps that an estimate measures


def published(path: Path, dataset: str) -> dict[tuple[str, str], str]:
    """Published top-1 by (pair, method), both in letters and digits alone, as first reported."""
    figures: dict[tuple[str, str], str] = {}
    with path.open(newline='') as file:
        for row in csv.DictReader(file):
            if row['dataset'] == dataset:
                pair = _plain(f'{row["teacher"]}-{row["student"]}')
                figures.setdefault((pair, row['method']), row['top1'])
                figures.setdefault((pair, 'student'), row['student_top1'])
    return figures


def _plain(name: str) -> str:
    return re.sub(r'[^a-z0-9]', '', name.lower()).replace('shufflenet', 'shuffle')


def published_beside(tasks: Iterable[Task], figures: dict[tuple[str, str], str]) -> dict:
    """The published figure of each pair and method, by (group, method) of the tasks."""
    cells = {}
    for task in tasks:
        name = STUDENT if task.method == STUDENT else PUBLISHED_NAMES.get(task.method, '')
        figure = figures.get((_plain(task.pair or ''), name), '-')
        cells[task.group, task.title] = figure
    return cells


def estimate(matrix: Matrix, task: Task, num_images: int, side: int) -> float:
    """Seconds that a run takes, from a few steps on random images on this machine.

    Teacher and student run forward, the student backward too; data, evaluation and
    the loss come on top.

    Args:
        matrix: that the run is of.
        task: the run.
        num_images: of the training set.
        side: of an image, in pixels, where the config does not say.
    """
    from mmengine.registry import MODELS, DefaultScope

    check_whole('--images', num_images)
    cfg = matrix.config_of(task)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    hooks = [hook for hook in cfg.get('custom_hooks') or [] if 'teacher' in hook]
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        student = MODELS.build(cfg.model).to(device).train()
        teachers = [MODELS.build(hook.teacher.config.model).to(device).eval() for hook in hooks]
    batch = cfg.train_dataloader.batch_size
    side = cfg.train_dataloader.dataset.get('size', side)
    images = torch.randn(batch, 3, side, side, device=device)

    def step() -> None:
        student(images).sum().backward()
        with torch.no_grad():
            for teacher in teachers:
                teacher(images)
        if device == 'cuda':
            torch.cuda.synchronize()

    step()
    start = time.perf_counter()
    for _ in range(_TIMED):
        step()
    views = cfg.model.data_preprocessor.get('num_views', 1)
    seconds = views * (time.perf_counter() - start) / _TIMED
    return seconds * -(-num_images // batch) * cfg.train_cfg.max_epochs
