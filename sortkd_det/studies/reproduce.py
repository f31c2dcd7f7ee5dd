"""A paper's table again: pairs of teacher and student × methods × seeds, one run each.

Runs are those of ``tools/train.py`` and ``tools/test.py``, in processes of their own;
what is finished is not done again. Nothing here knows what a method is: the config of a data set
(``configs/cifar100.py``) holds a table of pairs, and settings for each method.
"""

import csv
import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from sortkd_det.checkpoints import noted_checkpoint
from sortkd_det.cli.config import run_config
from sortkd_det.cli.packages import uses_mmdet
from sortkd_det.files import write_json
from sortkd_det.functional import check_whole

from .paired import mean_and_deviation, over_seeds

_METRIC = 'accuracy/top1'
_RESULT = 'result.json'
_STUDENT = 'student'  # alone
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


@dataclass(frozen=True)
class Task:
    """One run.

    Attributes:
        pair: name in the config's table of pairs; None: the config's own.
        method: name or file of a method; ``'student'``: no method, the student alone.
        seed: of weights, order and augmentation.
    """

    pair: str | None
    method: str
    seed: int

    @property
    def name(self) -> str:
        """Its folder, and its key in the results."""
        return '/'.join(filter(None, (self.pair, Path(self.method).stem, f'seed{self.seed}')))

    @property
    def flags(self) -> dict[str, str]:
        """The flags of ``tools/train.py`` beside the config."""
        method = None if self.method == _STUDENT else self.method
        given = dict(pair=self.pair, method=method)
        return {flag: value for flag, value in given.items() if value}


def plan(
    config: Path, pairs: Sequence[str], methods: Sequence[str], seeds: Sequence[int]
) -> list[Task]:
    """All runs, seeds outermost: a table that is cut short has few seeds of everything.

    Raises:
        FileNotFoundError: there is no such config or method.
        ValueError: a pair is in no table of pairs, the config is a detector's, or a pair,
            method or seed is named twice.
    """
    for name, values in (('--pairs', pairs), ('--methods', methods), ('--seeds', seeds)):
        if len(set(values)) < len(values):
            raise ValueError(f'{name} must differ, got {" ".join(map(str, values))}')
    for seed in seeds:
        check_whole('--seeds', seed, minimum=0)
    if uses_mmdet(run_config(str(config), pair=pairs[0] if pairs else None)):
        raise ValueError(f"{config} is a detector's: tables of {_METRIC} are of classifiers")
    tasks = [Task(p, m, s) for s, p, m in itertools.product(seeds, pairs or [None], methods)]
    for task in tasks:
        if task.seed == seeds[0]:
            run_config(str(config), **task.flags)
    return tasks


class Reproduction:
    """Runs tasks; each keeps its result in a file of its own, ``result.json`` in its folder.

    Several processes and machines may share ``work_dir``, each with its part of the tasks.

    Args:
        config: of the data set.
        work_dir: folder of everything that is written.
        repository: the checkout with ``tools/``.
        cfg_options: further ``key=value`` for every run.
        data_root: folder of the data, in place of the config's.
        gpus: processes of one run, by ``torch.distributed.run``; 0 or 1: no launcher. The
            learning rate is scaled with the batch, if the config says what for it was chosen.
    """

    def __init__(
        self,
        config: Path,
        work_dir: Path,
        repository: Path,
        cfg_options: Sequence[str] = (),
        data_root: str | None = None,
        gpus: int = 1,
    ) -> None:
        for option in cfg_options:
            if '=' not in option or option.startswith('randomness.seed='):
                raise ValueError(f'--cfg-options {option}: takes key=value; seeds go to --seeds')
        check_whole('--gpus', gpus, minimum=0)
        self.config, self.work_dir, self.repository = config, work_dir, repository
        self.cfg_options, self.data_root, self.gpus = list(cfg_options), data_root, gpus
        self._devices: Queue[str] = Queue()

    def result(self, task: Task) -> dict[str, Any] | None:
        """What a task gave, or None.

        Raises:
            ValueError: it was run with other options, or the file is damaged.
        """
        path = self.work_dir / task.name / _RESULT
        if not path.is_file():
            return None
        try:
            result = json.loads(path.read_text())
            found, expected = result['options'], self._options()
            float(result['metrics'][_METRIC])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f'{path} holds no result of this tool ({error!r}); delete it to have it run anew'
            ) from error
        if found != expected:
            raise ValueError(
                f'{path.parent} was run with other options: found {found}, expected {expected}; '
                'name another --work-dir, or delete the folder'
            )
        return result

    def run(self, tasks: Iterable[Task], jobs: int = 1) -> None:
        """Run what is left, ``jobs`` at once, each on GPUs of its own where there are any.

        Raises:
            RuntimeError: a run failed; the others are finished first.
            ValueError: more GPUs are asked for than there are, or as :meth:`result`.
        """
        check_whole('--jobs', jobs)
        left = [task for task in tasks if self.result(task) is None]
        for devices in self._groups_of_gpus(jobs):
            self._devices.put(devices)
        with ThreadPoolExecutor(jobs) as pool:
            failures = [failure for failure in pool.map(self._attempt, left) if failure]
        if failures:
            raise RuntimeError('; '.join(failures))

    def save(self, tasks: Iterable[Task]) -> Path:
        """Write the results of all tasks that have one to one file; returns its path."""
        results = {task.name: result for task in tasks if (result := self.result(task))}
        path = self.work_dir / 'results.json'
        write_json(path, {'runs': results})
        return path

    def scores(self, pair: str | None, method: str, seeds: Iterable[int]) -> dict[int, float]:
        """Top-1 in % by seed, of what is there."""
        results = {seed: self.result(Task(pair, method, seed)) for seed in seeds}
        return {seed: result['metrics'][_METRIC] for seed, result in results.items() if result}

    def _options(self) -> dict[str, Any]:
        """What decides a run beside pair, method and seed."""
        return dict(cfg_options=self.cfg_options, data_root=self.data_root, gpus=max(self.gpus, 1))

    def _groups_of_gpus(self, jobs: int) -> list[str]:
        """What each job may see, as CUDA_VISIBLE_DEVICES has it; '' where there are no GPUs."""
        num_gpus = torch.cuda.device_count()
        if num_gpus == 0:
            return [''] * jobs
        visible = os.environ.get('CUDA_VISIBLE_DEVICES')
        names = visible.split(',') if visible else [str(index) for index in range(num_gpus)]
        each = max(self.gpus, 1)
        if len(names) < each * jobs:
            raise ValueError(
                f'--jobs {jobs} and --gpus {each} need {each * jobs} GPUs, there are {len(names)}'
            )
        return [','.join(names[job * each : (job + 1) * each]) for job in range(jobs)]

    def _attempt(self, task: Task) -> str | None:
        start = time.perf_counter()
        devices = self._devices.get()
        env = {**os.environ, 'CUDA_VISIBLE_DEVICES': devices} if devices else dict(os.environ)
        folder = self.work_dir / task.name
        folder.mkdir(parents=True, exist_ok=True)
        print(f'{task.name}: started', flush=True)
        train = self._command('train', task)
        with (folder / 'output.log').open('w') as log:

            def call(command: list[str]) -> int:
                return subprocess.run(
                    command, cwd=self.repository, env=env, stdout=log, stderr=log
                ).returncode

            code = call(train)
            if code == 0:
                code = call(self._command('test', task, str(noted_checkpoint(str(folder)))))
        self._devices.put(devices)
        metrics = _tested(folder / 'test')
        if code or _METRIC not in metrics:
            log = (folder / 'output.log').read_text().strip()
            said = re.findall(r'^error: (.*?)(?: \(--debug .*\))?$', log, re.M) or log.split('\n')
            return f'{task.name} failed (exit code {code}), see {folder}/output.log: {said[-1]}'
        result = dict(
            pair=task.pair,
            method=task.method,
            seed=task.seed,
            options=self._options(),
            metrics=metrics,
            seconds=round(time.perf_counter() - start, 1),
            command=' '.join(map(str, train)),
        )
        write_json(folder / _RESULT, result)
        print(f'{task.name}: top-1 {metrics[_METRIC]:.2f}', flush=True)
        return None

    def _command(self, tool: str, task: Task, checkpoint: str | None = None) -> list[str]:
        folder = self.work_dir / task.name
        launcher = [sys.executable]
        if self.gpus > 1:
            launcher += ['-m', 'torch.distributed.run', '--standalone']
            launcher += [f'--nproc_per_node={self.gpus}']
        command = [*launcher, f'tools/{tool}.py', str(self.config)]
        command += [checkpoint] if checkpoint else []
        command += ['--work-dir', str(folder / 'test' if tool == 'test' else folder)]
        flags = dict(pair=task.pair) if tool == 'test' else task.flags
        command += [f'--{flag}={value}' for flag, value in flags.items() if value]
        command += ['--data-root', self.data_root] if self.data_root else []
        command += ['--resume'] if tool == 'train' else []
        command += ['--launcher', 'pytorch'] if self.gpus > 1 else []
        command += ['--auto-scale-lr'] if self.gpus > 1 and tool == 'train' else []
        return [*command, '--cfg-options', f'randomness.seed={task.seed}', *self.cfg_options]


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


def show(
    reproduction: Reproduction,
    pairs: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    figures: dict[tuple[str, str], str],
    baselines: dict[str, str],
) -> None:
    """Print ours beside the published figures, and paired differences.

    Args:
        reproduction: with the results.
        pairs: in the order of the table.
        methods: likewise.
        seeds: that are averaged.
        figures: from :func:`published`.
        baselines: for each method the one that it is compared with.
    """
    table = Table(title='test top-1 in %: mean ± standard deviation (seeds)', title_justify='left')
    for column in ('pair', 'method', 'ours', 'published', 'paired difference, 95% interval'):
        table.add_column(column)
    for pair, method in itertools.product(pairs or [None], methods):
        scores = reproduction.scores(pair, method, seeds)
        name = _STUDENT if method == _STUDENT else PUBLISHED_NAMES.get(method, '')
        baseline = baselines.get(method)
        others = reproduction.scores(pair, baseline, seeds) if baseline else {}
        difference = over_seeds(scores, others)
        has_interval = difference is not None and difference.low is not None
        table.add_row(
            pair or '',
            Path(method).stem,
            mean_and_deviation(list(scores.values())),
            figures.get((_plain(pair or ''), name), '-'),
            f'to {baseline}: {difference}' if has_interval else '-',
        )
    console = Console() if sys.stdout.isatty() else Console(width=140)
    console.print(table)


def estimate(config: Path, task: Task, num_images: int, side: int) -> float:
    """Seconds that a run takes, from a few steps on random images on this machine.

    Teacher and student run forward, the student backward too; data, evaluation and
    the loss come on top.

    Args:
        config: of the data set.
        task: the run.
        num_images: of the training set.
        side: of an image, in pixels, where the config does not say.
    """
    from mmengine.registry import MODELS, DefaultScope

    check_whole('--num-images', num_images)
    cfg = run_config(str(config), **task.flags)
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
