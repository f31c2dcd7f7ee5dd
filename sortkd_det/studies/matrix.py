"""A matrix of trainings: pairs or variants of a student × methods × seeds, one run each.

Runs are those of ``tools/train.py`` and ``tools/test.py``, in processes of their own;
what is finished is not done again. Nothing here knows what a method is, or whether the student
is a detector or a classifier.
"""

import argparse
import itertools
import json
import os
import re
import shlex
import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Queue
from typing import Any

import torch
from mmengine.config import Config

from sortkd_det.checkpoints import noted_checkpoint
from sortkd_det.cli.arguments import CfgOptions
from sortkd_det.cli.config import run_config
from sortkd_det.cli.config_checks import LARGEST_SEED
from sortkd_det.cli.distillation import SETTINGS
from sortkd_det.cli.packages import uses_mmdet
from sortkd_det.files import write_json
from sortkd_det.functional import check_whole
from sortkd_det.training.signals import listening

from .commands import Commands, HeldByAnotherError, held, run_command
from .contents import contents_of
from .cost import seconds_of_run
from .finished import (
    DETECTIONS,
    Scored,
    annotations_of,
    classes_of,
    detections_prefix,
    images_of,
    main_metric,
    newest_test,
    read_metrics,
)

_RESULT = 'result.json'
STUDENT = 'student'  # alone


@dataclass(frozen=True)
class Task:
    """One run.

    Attributes:
        pair: name in the config's table of pairs; None: the config's own.
        method: name or file of a method; ``'student'``: no method, the student alone.
        seed: of weights, order and augmentation.
        variant: name of the settings that it has beside those of all runs; ``''``: none.
        of_all: the student alone, which the variant's settings do not concern: one run for all
            such variants.
    """

    pair: str | None
    method: str
    seed: int
    variant: str = ''
    of_all: bool = False

    @property
    def group(self) -> str:
        """Within which it is compared."""
        return '/'.join(filter(None, (self.pair, self.variant)))

    @property
    def kind(self) -> tuple[str | None, str, str]:
        """What tasks have in common that differ in their seeds."""
        return self.pair, '' if self.of_all else self.variant, self.method

    @property
    def shares(self) -> tuple[str | None, int]:
        """What tasks have in common that see the same batches and the same teacher."""
        return self.pair, self.seed

    @property
    def title(self) -> str:
        """Of its method."""
        return Path(self.method).stem

    @property
    def name(self) -> str:
        """Its folder, and its key in the results."""
        group = self.pair if self.of_all else self.group
        return '/'.join(filter(None, (group, self.title, f'seed{self.seed}')))


class Matrix:
    """Plans and runs tasks; each keeps its result in ``result.json`` in a folder of its own.

    Several processes and machines may share ``work_dir``, each with its part of the tasks.

    Args:
        config: of the student, a file or ``mmdet::…``.
        work_dir: folder of everything that is written.
        repository: the checkout with ``tools/``.
        cfg_options: further ``key=value`` for every run.
        data_root: folder of the data, in place of the config's.
        gpus: processes of one run, by ``torch.distributed.run``; 0 or 1: no launcher. The
            learning rate is scaled with the batch, if the config says what for it was chosen.
        teacher: config of the teacher, where neither a pair nor the config names it.
        teacher_checkpoint: its weights, likewise.
        variants: name → further ``key=value`` of its runs; none: one variant without a name.
        metric: that runs are judged by; None: the main one of what they log.
        share_teacher: run a classifier's teacher once on the batches that the runs of one pair
            and seed have in common. Its logits lie in a file until the last of them is done; the
            results are the same to the bit.
        submit: words to put before each command, which have a cluster run it and wait for its
            end: ``'srun --gres=gpu:1'``; the cluster then gives the GPUs.
    """

    def __init__(
        self,
        config: str | Path,
        work_dir: Path,
        repository: Path,
        cfg_options: Sequence[str] = (),
        data_root: str | None = None,
        gpus: int = 1,
        teacher: str | None = None,
        teacher_checkpoint: str | None = None,
        variants: Mapping[str, Sequence[str]] | None = None,
        metric: str | None = None,
        share_teacher: bool = False,
        submit: str = '',
    ) -> None:
        self.variants = dict(variants or {'': ()})
        for option in itertools.chain(cfg_options, *self.variants.values()):
            if '=' not in option or option.startswith('randomness.seed='):
                raise ValueError(f'--cfg-options {option}: takes key=value; seeds go to --seeds')
        check_whole('--gpus', gpus, minimum=0)
        self.config, self.work_dir, self.repository = str(config), work_dir, repository
        self.cfg_options, self.data_root, self.gpus = list(cfg_options), data_root, gpus
        self.teacher, self.teacher_checkpoint = _absolute(teacher), _absolute(teacher_checkpoint)
        self.metric, self.share_teacher = metric, share_teacher
        try:
            self.submit = shlex.split(submit)
        except ValueError as error:
            raise ValueError(f'--submit takes words as a shell has them, got {submit}') from error
        if share_teacher and submit:
            raise ValueError(
                '--share-teacher keeps logits in a file of one machine, and --submit sends runs to '
                'any; give one of the two, or have each machine run its share by --part'
            )
        self._devices: Queue[str] = Queue()
        self._commands = Commands()
        self._made_of: dict[tuple, dict[str, str]] = {}  # of each kind of task
        self._writes_detections = False

    def plan(
        self, pairs: Sequence[str], methods: Sequence[str], seeds: Sequence[int]
    ) -> list[Task]:
        """All runs, seeds outermost: a table that is cut short has few seeds of everything.

        Variants with settings of the distillation alone have one run of the student between them,
        which is a task of each.

        Raises:
            FileNotFoundError: there is no such config or method.
            ValueError: a pair is in no table of pairs, a setting finds no place, a pair, method
                or seed is named twice, or there is no teacher that could be shared.
        """
        titles = [Path(method).stem for method in methods]
        for name, values in (('--pairs', pairs), ('--methods', titles), ('--seeds', seeds)):
            if len(set(values)) < len(values):
                raise ValueError(f'{name} must differ, got {" ".join(map(str, values))}')
        for seed in seeds:
            check_whole('--seeds', seed, 0, LARGEST_SEED)
        rows = itertools.product(seeds, pairs or [None], self.variants, methods)
        tasks = [
            Task(pair, method, seed, variant, method == STUDENT and self._is_of_all(variant))
            for seed, pair, variant, method in rows
        ]
        for task in tasks:
            if task.seed == seeds[0]:
                self._check_shareable(self.config_of(task), methods)
            given = [*self.cfg_options, *self.variants[task.variant]]
            if set(methods) == {STUDENT} and given != self._settings(task, False):
                raise ValueError(
                    f'settings of a distillation ({", ".join(SETTINGS)}) would be without effect: '
                    '--methods names the student alone'
                )
        return tasks

    def _is_of_all(self, variant: str) -> bool:
        """Whether a variant leaves the student alone as it is in others of its kind."""
        settings = self.variants[variant]
        return bool(variant) and all(map(_is_of_distillation, settings))

    def _check_shareable(self, cfg: Config, methods: Sequence[str]) -> None:
        if not self.share_teacher:
            return
        _check_setting(self.work_dir)
        if uses_mmdet(cfg):
            raise ValueError(
                f'--share-teacher is for classifiers, and {self.config} is a detector: its teacher '
                'is asked for the places that the student looks at, which differ from method to '
                'method'
            )
        if set(methods) == {STUDENT}:
            raise ValueError(
                '--share-teacher would be without effect: --methods names the student alone'
            )

    def config_of(self, task: Task) -> Config:
        """What a task is trained with."""
        parser = argparse.ArgumentParser()
        parser.add_argument('options', nargs='*', action=CfgOptions, default={})
        options = parser.parse_args(self._settings(task, task.method != STUDENT)).options
        return run_config(
            self.config, cfg_options=options, data_root=self.data_root, **self._flags(task)
        )

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
            found, expected = result['options'], self._options(task)
            made_of = dict(result.get('made_of') or {})  # older results tell less, or nothing
            float(result['metrics'][self._metric_of(result['metrics'])])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f'{path} holds no result of this tool ({error!r}); delete it to have it run anew'
            ) from error
        if found != expected:
            raise ValueError(
                f'{path.parent} was run with other options: found {found}, expected {expected}; '
                'name another --work-dir, or delete the folder'
            )
        now = self.contents(task) if made_of else {}
        changed = [name for name, digest in made_of.items() if now.get(name, digest) != digest]
        if changed:
            names = dict(config=f'{self.config} or a file that it names')
            names['teacher'] = str(self.teacher_checkpoint)
            raise ValueError(
                f'{path.parent} was run with another config, weights or annotations: the content '
                f'of {", ".join(names.get(each, each) for each in changed)} is another now; name '
                'another --work-dir, or delete the folder'
            )
        return result

    def contents(self, task: Task) -> dict[str, str]:
        """Digests of what decides a run and lies in files, whose names may come to mean another."""
        key = task.kind
        if key not in self._made_of:
            given = self.teacher_checkpoint if task.method != STUDENT else None
            self._made_of[key] = contents_of(self.config_of(task), self.repository, given)
        return self._made_of[key]

    def seconds(self, tasks: Iterable[Task]) -> dict[tuple[str | None, str, str], float | str]:
        """Seconds of a run of each kind (pair, variant and method), or why they are not known.

        They are those of the runs that are done, or else come from a few steps of one.
        """
        kinds: dict[tuple[str | None, str, str], list[Task]] = {}
        for task in tasks:
            kinds.setdefault(task.kind, []).append(task)
        return {kind: self._seconds_of(alike) for kind, alike in kinds.items()}

    def _seconds_of(self, alike: Sequence[Task]) -> float | str:
        """Seconds of each of some runs that differ in their seeds."""
        done = [result['seconds'] for task in alike if (result := self.result(task))]
        if done:
            return statistics.fmean(done)
        if self.submit:
            return 'none is done, and the machines that --submit finds are not this one'
        try:
            return seconds_of_run(self.config_of(alike[0]), self.gpus)
        except Exception as error:  # what would end the run too
            return str(error)

    def run(self, tasks: Iterable[Task], jobs: int = 1) -> None:
        """Run what is left, ``jobs`` at once, each on GPUs of its own where there are any.

        Stopped by SIGTERM or an interrupt, it has its runs save a checkpoint first.

        Raises:
            KeyboardInterrupt: it was stopped.
            RuntimeError: a run failed, or another process runs it; the others are finished first.
            ValueError: more GPUs are asked for than there are, or as :meth:`result`.
        """
        check_whole('--jobs', jobs)
        tasks = list({task.name: task for task in tasks}.values())
        left = [task for task in tasks if self.result(task) is None]
        if left:
            evaluator = self.config_of(left[0]).get('test_evaluator')
            is_coco = isinstance(evaluator, Mapping) and evaluator.get('type') == 'CocoMetric'
            self._writes_detections = is_coco
            if is_coco:
                _check_setting(self.work_dir)
        for task in left:
            self.contents(task)  # as they are now, whatever is written meanwhile
        for devices in self._groups_of_gpus(jobs):
            self._devices.put(devices)
        if self.share_teacher:
            left = _first_of_each(left, jobs)
            self._drop_logits(tasks)

        def attempt(task: Task) -> str | None:
            failure = self._attempt(task)
            if self.share_teacher:
                self._drop_logits([each for each in tasks if each.shares == task.shares])
            return failure

        with listening(_interrupt), ThreadPoolExecutor(jobs) as pool:
            try:
                failures = [failure for failure in pool.map(attempt, left) if failure]
            except KeyboardInterrupt as error:
                self._commands.stop()
                raise KeyboardInterrupt(
                    f'{str(error) or "interrupted"}: the runs were told to stop; the same command '
                    'goes on from their checkpoints'
                ) from error
        if failures:
            raise RuntimeError('; '.join(failures))

    def _logits_of(self, task: Task) -> Path:
        """The file of the teacher's logits that a task shares with others."""
        return self.work_dir / (task.pair or '') / f'teacher_seed{task.seed}.sqlite'

    def _drop_logits(self, tasks: Iterable[Task]) -> None:
        """Remove the files that all tasks are done with."""
        needed = {task.shares for task in tasks if self.result(task) is None}
        for task in tasks:
            if task.shares not in needed:
                self._logits_of(task).unlink(missing_ok=True)

    def save(self, tasks: Iterable[Task]) -> Path:
        """Write the results of all tasks that have one to one file; returns its path."""
        results = {task.name: result for task in tasks if (result := self.result(task))}
        path = self.work_dir / 'results.json'
        write_json(path, {'runs': results})
        return path

    def scored(self, tasks: Iterable[Task]) -> list[Scored]:
        """What is there of the tasks, to be compared; in the order of the tasks."""
        found: list[Scored] = []
        places: dict[str, dict[str, Any]] = {}  # of each group
        for task in tasks:
            result = self.result(task)
            if result is None:
                continue
            folder = self.work_dir / task.name
            run = Scored(task.title, task.seed, result['metrics'], task.group, work_dir=folder)
            detections = folder / DETECTIONS
            if detections.is_file():
                if task.group not in places:
                    config = self.config_of(task)
                    named = dict(annotations=annotations_of(config), images=images_of(config))
                    places[task.group] = {
                        name: path and self.repository / path for name, path in named.items()
                    }
                    places[task.group]['classes'] = classes_of(config)
                run = replace(run, detections=detections, **places[task.group])
            found.append(run)
        return found

    def _options(self, task: Task) -> dict[str, Any]:
        """What decides a run beside pair, method and seed."""
        options = dict(
            cfg_options=self._given(task), data_root=self.data_root, gpus=max(self.gpus, 1)
        )
        flags = self._flags(task)
        taught = {key: flags[key] for key in ('teacher', 'teacher_checkpoint') if key in flags}
        return {**options, **taught}

    def _given(self, task: Task) -> list[str]:
        """All settings that were given for a task."""
        return [*self.cfg_options, *(() if task.of_all else self.variants[task.variant])]

    def _settings(self, task: Task, is_taught: bool) -> list[str]:
        """Those of a command; the distillation's are for runs that have one, and no test has."""
        given = self._given(task)
        if is_taught:
            return given + [f'teacher.cache={self._logits_of(task)}'] * self.share_teacher
        return [each for each in given if not _is_of_distillation(each)]

    def _flags(self, task: Task) -> dict[str, str]:
        """The flags of ``tools/train.py`` beside the config."""
        given = dict(pair=task.pair)
        if task.method != STUDENT:
            given |= dict(method=task.method, teacher=self.teacher)
            given |= dict(teacher_checkpoint=self.teacher_checkpoint)
        return {flag: value for flag, value in given.items() if value}

    def _metric_of(self, metrics: Mapping[str, float]) -> str:
        return self.metric or main_metric(metrics)

    def _groups_of_gpus(self, jobs: int) -> list[str]:
        """What each job may see, as CUDA_VISIBLE_DEVICES has it; '' where that is not our affair:
        there are no GPUs, or a cluster gives them.
        """
        num_gpus = 0 if self.submit else torch.cuda.device_count()
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
        folder = self.work_dir / task.name
        try:
            with held(folder) as lock:
                # Another process may have done it meanwhile.
                return None if self.result(task) else self._attempt_alone(task, folder, lock)
        except HeldByAnotherError:
            return (
                f'{task.name} is run by another process; give this command again when that has '
                'ended'
            )

    def _attempt_alone(self, task: Task, folder: Path, lock: int) -> str | None:
        start = time.perf_counter()
        devices = self._devices.get()
        env = {**os.environ, 'CUDA_VISIBLE_DEVICES': devices} if devices else dict(os.environ)
        print(f'{task.name}: started', flush=True)
        train = self.command('train', task)
        log = folder / 'output.log'
        log.unlink(missing_ok=True)

        def call(command: list[str]) -> int:
            return run_command(
                command, log, self.repository, env, self.submit,
                commands=self._commands, pass_fds=[lock],
            )  # fmt: skip

        try:
            code = call(train)
            if code == 0:
                code = call(self.command('test', task, str(noted_checkpoint(str(folder)))))
        except (OSError, RuntimeError) as error:
            return f'{task.name} failed: {error}'
        finally:
            self._devices.put(devices)
        newest = newest_test(folder / 'test')
        metrics = read_metrics(newest) if newest else {}
        if code or not metrics:
            text = log.read_text().strip()
            said = re.findall(r'^error: (.*?)(?: \(--debug .*\))?$', text, re.M) or text.split('\n')
            return f'{task.name} failed (exit code {code}), see {log}: {said[-1]}'
        result = dict(
            pair=task.pair,
            method=task.method,
            seed=task.seed,
            variant='' if task.of_all else task.variant,
            options=self._options(task),
            made_of=self.contents(task),
            metrics=metrics,
            seconds=round(time.perf_counter() - start, 1),
            command=' '.join(map(str, train)),
        )
        metric = self._metric_of(metrics)
        write_json(folder / _RESULT, result)
        print(f'{task.name}: {metric} {metrics[metric]:.4g}', flush=True)
        return None

    def command(self, tool: str, task: Task, checkpoint: str | None = None) -> list[str]:
        """The command line of ``'train'`` or ``'test'``."""
        folder = self.work_dir / task.name
        launcher = [sys.executable]
        if self.gpus > 1:
            launcher += ['-m', 'torch.distributed.run', '--standalone']
            launcher += [f'--nproc_per_node={self.gpus}']
        command = [*launcher, f'tools/{tool}.py', str(self.config)]
        command += [checkpoint] if checkpoint else []
        command += ['--work-dir', str(folder / 'test' if tool == 'test' else folder)]
        flags = dict(pair=task.pair) if tool == 'test' else self._flags(task)
        command += [f'--{flag.replace("_", "-")}={value}' for flag, value in flags.items() if value]
        command += ['--data-root', self.data_root] if self.data_root else []
        command += ['--resume'] if tool == 'train' else []
        command += ['--launcher', 'pytorch'] if self.gpus > 1 else []
        command += ['--auto-scale-lr'] if self.gpus > 1 and tool == 'train' else []
        is_taught = tool == 'train' and task.method != STUDENT
        options = [f'randomness.seed={task.seed}', *self._settings(task, is_taught)]
        if tool == 'test' and self._writes_detections:
            options.append(f'test_evaluator.outfile_prefix={detections_prefix(folder)}')
        return [*command, '--cfg-options', *options]


def part_of(tasks: Sequence[Task], part: str, share_teacher: bool = False) -> list[Task]:
    """``'2/4'``: the second of four parts, each with every fourth task.

    Args:
        tasks: all of them.
        part: which.
        share_teacher: leave those together that share a teacher's logits, on one machine.

    Raises:
        ValueError: it is no such fraction.
    """
    match = re.fullmatch(r'(\d+)/(\d+)', part)
    index, number = (int(value) for value in match.groups()) if match else (0, 0)
    if not 1 <= index <= number:
        raise ValueError(f'--part must be i/n with 1 ≤ i ≤ n, got {part}')
    keys = [task.shares if share_teacher else task.name for task in tasks]
    mine = set(list(dict.fromkeys(keys))[index - 1 :: number])
    return [task for task, key in zip(tasks, keys, strict=True) if key in mine]


def _first_of_each(tasks: Sequence[Task], jobs: int) -> list[Task]:
    """The order in which what one run computes of a teacher is there for the next.

    Of as many groups as there are jobs, the first task of each, then the second of each, …; so
    one writes while others wait for none, and few files are there at a time.
    """
    groups: dict[tuple, list[Task]] = {}
    for task in tasks:
        groups.setdefault(task.shares, []).append(task)
    every = list(groups.values())
    windows = [every[start : start + jobs] for start in range(0, len(every), jobs)]
    return [
        task
        for window in windows
        for turn in itertools.zip_longest(*window)
        for task in turn
        if task is not None
    ]


def _interrupt() -> None:
    raise KeyboardInterrupt('stopped by SIGTERM')


def method_path(method: str) -> str:
    """A method as runs in another folder name it: files by their full path."""
    return str(Path(method).resolve()) if method.endswith('.py') else method


def _is_of_distillation(option: str) -> bool:
    return re.split(r'[.=]', option)[0] in SETTINGS


def _check_setting(folder: Path) -> None:
    """Raise unless a path survives as the value of one of ``--cfg-options``."""
    if re.search(r'[\s,()\[\]\'"]', str(folder)):
        raise ValueError(
            f'--work-dir {folder}: files in it are named by settings of the runs, which take no '
            'spaces, commas, brackets or quotes; choose another'
        )


def _absolute(name: str | None) -> str | None:
    """Of a file its full path; other names (a classifier, ``mmdet::…``) as they are."""
    return str(Path(name).resolve()) if name and Path(name).is_file() else name
