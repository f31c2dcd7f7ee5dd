"""A paper's table again: pairs of teacher and student × methods × seeds, one run each.

Runs are those of ``tools/train.py`` and ``tools/test.py``, in processes of their own;
what is finished is not done again. Nothing here knows what a method is: a folder of configs
(``configs/cifar100``) holds a file for each, and a table of pairs.
"""

import csv
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint
from rich.console import Console
from rich.table import Table

from .plain_json import write_json
from .run import choose_pair

_METRIC = 'accuracy/top1'
#: How the published tables call what our config files are called.
PUBLISHED_NAMES = {
    'kd': 'KD',
    'dkd': 'DKD',
    'ctkd': 'CTKD',
    'lskd': 'LSKD',
    'mlkd': 'MLKD',
    'ranking': 'ranking alignment',
}
_TIMED = 3  # steps that an estimate measures


@dataclass(frozen=True)
class Task:
    """One run.

    Attributes:
        pair: name in the config's table of pairs; None: the config's own.
        method: stem of the config file.
        seed: of weights, order and augmentation.
    """

    pair: str | None
    method: str
    seed: int

    @property
    def name(self) -> str:
        """Its folder, and its key in the results."""
        return '/'.join(filter(None, (self.pair, self.method, f'seed{self.seed}')))


def plan(
    folder: Path, pairs: Sequence[str], methods: Sequence[str], seeds: Sequence[int]
) -> list[Task]:
    """All runs, seeds outermost: a table that is cut short has few seeds of everything.

    Raises:
        FileNotFoundError: a method has no config in ``folder``.
        ValueError: a pair is in no table of pairs, or a seed is named twice.
    """
    for method in methods:
        path = folder / f'{method}.py'
        if not path.is_file():
            known = ', '.join(sorted(file.stem for file in folder.glob('*.py')))
            raise FileNotFoundError(f'no method {method!r} in {folder}; there are: {known}')
        for pair in pairs or [None]:
            choose_pair(Config.fromfile(path), pair)
    if len(set(seeds)) < len(seeds):
        raise ValueError(f'seeds must differ, got {list(seeds)}')
    return [Task(p, m, s) for s, p, m in itertools.product(seeds, pairs or [None], methods)]


class Reproduction:
    """Runs tasks and keeps their results in one file.

    Args:
        folder: of the configs of the methods.
        work_dir: folder of everything that is written; ``results.json`` lies there.
        repository: the checkout with ``tools/``.
        cfg_options: further ``key=value`` for every run.
        data_root: folder of the data, in place of the configs'.
        gpus: processes of one run, by ``torch.distributed.run``; 0 or 1: no launcher.
    """

    def __init__(
        self,
        folder: Path,
        work_dir: Path,
        repository: Path,
        cfg_options: Sequence[str] = (),
        data_root: str | None = None,
        gpus: int = 0,
    ) -> None:
        self.folder, self.work_dir, self.repository = folder, work_dir, repository
        self.cfg_options, self.data_root, self.gpus = list(cfg_options), data_root, gpus
        self.path = work_dir / 'results.json'
        self.runs: dict[str, dict[str, Any]] = {}
        if self.path.is_file():
            try:
                self.runs = json.loads(self.path.read_text())['runs']
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f'{self.path} holds no results of this tool: {error!r}') from error

    def is_done(self, task: Task) -> bool:
        """Whether the task has been trained and tested."""
        return 'metrics' in self.runs.get(task.name, {})

    def run(self, tasks: Iterable[Task], jobs: int = 1) -> None:
        """Run what is left, ``jobs`` at once, each on a GPU of its own where there are any.

        Raises:
            RuntimeError: a run failed; the others are finished first.
        """
        left = [task for task in tasks if not self.is_done(task)]
        with ThreadPoolExecutor(jobs) as pool:
            failures = [f for f in pool.map(self._attempt, left, itertools.count()) if f]
        if failures:
            raise RuntimeError('; '.join(failures))

    def _attempt(self, task: Task, number: int) -> str | None:
        start = time.perf_counter()
        env = dict(os.environ)
        if torch.cuda.device_count() > 1 and self.gpus < 2:
            env.setdefault('CUDA_VISIBLE_DEVICES', str(number % torch.cuda.device_count()))
        folder = self.work_dir / task.name
        folder.mkdir(parents=True, exist_ok=True)
        print(f'{task.name}: started', flush=True)
        with (folder / 'output.log').open('w') as log:
            train = self._command('train', task)
            code = subprocess.run(
                train, cwd=self.repository, env=env, stdout=log, stderr=log
            ).returncode
            checkpoint = find_latest_checkpoint(str(folder))
            if code == 0:
                test = self._command('test', task, checkpoint)
                code = subprocess.run(
                    test, cwd=self.repository, env=env, stdout=log, stderr=log
                ).returncode
        if code:
            tail = (folder / 'output.log').read_text().splitlines()[-3:]
            return f'{task.name} failed (exit code {code}), see {folder}/output.log: {tail}'
        self.runs[task.name] = dict(
            pair=task.pair,
            method=task.method,
            seed=task.seed,
            metrics=_tested(folder / 'test'),
            seconds=round(time.perf_counter() - start, 1),
            command=' '.join(map(str, train)),
        )
        write_json(self.path, {'runs': dict(sorted(self.runs.items()))})
        print(f'{task.name}: {self.runs[task.name]["metrics"]}', flush=True)
        return None

    def _command(self, tool: str, task: Task, checkpoint: str | None = None) -> list[str]:
        folder = self.work_dir / task.name
        launcher = [sys.executable]
        if self.gpus > 1:
            launcher += ['-m', 'torch.distributed.run', '--standalone']
            launcher += [f'--nproc_per_node={self.gpus}']
        command = [*launcher, f'tools/{tool}.py', str(self.folder / f'{task.method}.py')]
        command += [checkpoint] if checkpoint else []
        command += ['--work-dir', str(folder / 'test' if tool == 'test' else folder)]
        command += ['--pair', task.pair] if task.pair else []
        command += ['--data-root', self.data_root] if self.data_root else []
        command += ['--resume'] if tool == 'train' else []
        command += ['--launcher', 'pytorch'] if self.gpus > 1 else []
        return [*command, '--cfg-options', f'randomness.seed={task.seed}', *self.cfg_options]

    def scores(self, pair: str | None, method: str) -> dict[int, float]:
        """Top-1 in % by seed."""
        return {
            run['seed']: run['metrics'][_METRIC]
            for run in self.runs.values()
            if run['pair'] == pair and run['method'] == method
        }


def _tested(folder: Path) -> dict[str, float]:
    """The metrics of the newest test run in a folder."""
    files = sorted(folder.glob('*/*.json'))
    return json.loads(files[-1].read_text()) if files else {}


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


def mean_and_deviation(values: Sequence[float]) -> str:
    """``'72.31 ± 0.20 (5)'``: mean, sample standard deviation, number."""
    if not values:
        return '-'
    deviation = f' ± {statistics.stdev(values):.2f}' if len(values) > 1 else ''
    return f'{statistics.fmean(values):.2f}{deviation} ({len(values)})'


def paired_difference(scores: dict[int, float], baseline: dict[int, float]) -> str:
    """Mean difference over common seeds with its 95% interval by Student's t."""
    from scipy.stats import t

    differences = [scores[seed] - baseline[seed] for seed in sorted(scores) if seed in baseline]
    if len(differences) < 2:
        return '-'
    mean = statistics.fmean(differences)
    error = statistics.stdev(differences) / len(differences) ** 0.5
    half = float(t.ppf(0.975, len(differences) - 1)) * error
    return f'{mean:+.2f} [{mean - half:+.2f}, {mean + half:+.2f}] ({len(differences)})'


def show(
    reproduction: Reproduction,
    pairs: Sequence[str],
    methods: Sequence[str],
    figures: dict[tuple[str, str], str],
    baselines: dict[str, str],
) -> None:
    """Print ours beside the published figures, and paired differences.

    Args:
        reproduction: with the results.
        pairs: in the order of the table.
        methods: likewise.
        figures: from :func:`published`.
        baselines: for each method the one that it is compared with.
    """
    table = Table(title='test top-1 in %: mean ± standard deviation (seeds)', title_justify='left')
    for column in ('pair', 'method', 'ours', 'published', 'paired difference, 95% interval'):
        table.add_column(column)
    for pair, method in itertools.product(pairs or [None], methods):
        scores = reproduction.scores(pair, method)
        name = 'student' if method == 'student' else PUBLISHED_NAMES.get(method, '')
        baseline = baselines.get(method)
        difference = '-'
        if baseline and scores:
            difference = paired_difference(scores, reproduction.scores(pair, baseline))
            difference = difference if difference == '-' else f'to {baseline}: {difference}'
        table.add_row(
            pair or '',
            method,
            mean_and_deviation(list(scores.values())),
            figures.get((_plain(pair or ''), name), '-'),
            difference,
        )
    console = Console() if sys.stdout.isatty() else Console(width=140)
    console.print(table)


def estimate(folder: Path, task: Task, num_images: int) -> float:
    """Seconds that a run takes, from a few steps on random images on this machine.

    Teacher and student run forward, the student backward too; data, evaluation and
    the loss come on top.

    Args:
        folder: of the configs.
        task: the run.
        num_images: of the training set.
    """
    from mmengine.registry import MODELS, DefaultScope

    cfg = Config.fromfile(folder / f'{task.method}.py')
    choose_pair(cfg, task.pair)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    hooks = [hook for hook in cfg.get('custom_hooks') or [] if 'teacher' in hook]
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        student = MODELS.build(cfg.model).to(device).train()
        teachers = [MODELS.build(hook.teacher.config.model).to(device).eval() for hook in hooks]
    batch = cfg.train_dataloader.batch_size
    side = cfg.train_dataloader.dataset.get('size', 32)
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
