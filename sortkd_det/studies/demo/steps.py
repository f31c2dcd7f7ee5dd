"""The demo: a teacher, a student alone, and the same student taught by KD and by SortKD."""

import json
import math
import os
import platform
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from rich.console import Console

from sortkd_det.checkpoints import noted_checkpoint
from sortkd_det.cli.config import run_config
from sortkd_det.files import digest_of
from sortkd_det.functional import check_positive

from ..finished import DETECTIONS, detections_prefix
from ..progress import StepProgress, format_duration
from ..report import METRICS, results_table
from ..scalars import read_scalars
from .compare import FIGURES, Contestant, compare
from .results import DemoError, Results, StepSettings, hold
from .toy_coco import MARKER_NAME, generate_toy_coco
from .trainings import TEACHER, TRAININGS, Training

_VERSIONS = ('torch', 'mmengine', 'mmcv', 'mmdet', 'numpy', 'sortkd_det')
_TAIL = 15  # lines of a log that an error shows
_OVERHEAD = 25.0  # seconds that a training takes to start and to be tested
_COMPARING = 20.0  # seconds that speed and figures take
_COMPARE = 'compare'


@dataclass(frozen=True)
class DemoOptions:
    """What a user can choose.

    Attributes:
        repository: the checkout with ``tools/`` and ``configs/``.
        work_dir: folder of all that the demo writes but the data.
        data_root: folder of the toy set; drawn if absent.
        teacher_epochs: in place of the teacher's config's, ≥ 1.
        student_epochs: in place of the students' configs', ≥ 1.
        num_train: training images of the toy set, ≥ 1; None: as many as it has by default.
        num_val: validation images, likewise.
    """

    repository: Path
    work_dir: Path
    data_root: Path
    teacher_epochs: int | None = None
    student_epochs: int | None = None
    num_train: int | None = None
    num_val: int | None = None


class Demo:
    """Runs the steps, each once: what is finished is kept in ``<work_dir>/results.json``.

    Args:
        options: what the user chose.
        console: where progress and the table are shown; None: standard output.

    Raises:
        ValueError: an option out of its range.
    """

    def __init__(self, options: DemoOptions, console: Console | None = None) -> None:
        for name in ('teacher_epochs', 'student_epochs', 'num_train', 'num_val'):
            value = getattr(options, name)
            if value is not None:
                check_positive(f'--{name.replace("_", "-")}', value)
        self.options = options
        self.console = console or Console(file=sys.stdout)  # whatever stdout becomes meanwhile
        self.work_dir = options.work_dir.resolve()
        self.configs: dict[str, Config] = {}
        self.current: str | None = None  # the step that runs

    def run(self) -> dict[str, Any]:
        """Do what is left to do, then print the table.

        Returns:
            What ``results.json`` holds.

        Raises:
            DemoError: a step failed, or the work directory holds results of other
                settings.
            ValueError: the folder of the data holds something else.
            KeyboardInterrupt: the user's, or a SIGTERM; its message says how to go on.
        """
        with hold(self.work_dir) as self._lock, _terminable():
            self.results = Results(self.work_dir / 'results.json')
            try:
                self._prepare()
                self._do_steps()
            except KeyboardInterrupt:
                raise KeyboardInterrupt(self._how_to_go_on()) from None
        self._report()
        return self.results.data

    # -- before anything is trained ------------------------------------------

    def _prepare(self) -> None:
        """Draw the data, read the configs, and refuse what other settings left."""
        given = {
            name: getattr(self.options, name)
            for name in ('num_train', 'num_val')
            if getattr(self.options, name) is not None
        }
        self.data_root = generate_toy_coco(self.options.data_root, **given)
        self.toy_set = json.loads((self.data_root / MARKER_NAME).read_text())
        self.configs = {training.name: self._read_config(training) for training in TRAININGS}
        conflicts = [self._settings(training).conflict() for training in TRAININGS]
        if any(conflicts):
            raise DemoError(
                '; '.join(filter(None, conflicts)) + '. Delete what is named, and what was taught '
                'by it, to have it trained anew, or name another folder by --work-dir'
            )

    def _read_config(self, training: Training) -> Config:
        return run_config(
            str(self.options.repository / training.config),
            **training.flags,
            teacher_checkpoint="the demo's teacher" if training.method else None,
            cfg_options=self._overrides(training),
        )

    def _overrides(self, training: Training) -> dict[str, Any]:
        """What the run says to ``--cfg-options``, and what the user's options change."""
        teacher = training == TEACHER
        epochs = self.options.teacher_epochs if teacher else self.options.student_epochs
        return training.options | ({} if epochs is None else {'train_cfg.max_epochs': epochs})

    def _settings(self, training: Training) -> StepSettings:
        settings = dict(config=self.configs[training.name].to_dict(), data=self.toy_set)
        if training.method:
            teacher = self.results.step(TEACHER.name)
            digest = teacher.get('checkpoint_sha256') if self._is_trained(TEACHER) else None
            settings['teacher_sha256'] = digest
        return StepSettings(self.work_dir / training.name, settings)

    def _is_trained(self, training: Training) -> bool:
        checkpoint = self.results.step(training.name).get('checkpoint')
        folder = self.work_dir / training.name
        return (
            bool(checkpoint) and (folder / 'settings.json').is_file() and self._is_file(checkpoint)
        )

    def _is_file(self, relative: str) -> bool:
        return (self.work_dir / relative).is_file()

    # -- the steps -----------------------------------------------------------

    def _do_steps(self) -> None:
        titles = {t.name: t.title for t in TRAININGS} | {_COMPARE: 'speed, figures'}
        expected = {t.name: self._expected_seconds(t) for t in TRAININGS} | {_COMPARE: _COMPARING}
        done = {t.name: self._is_finished(t) for t in TRAININGS}
        done[_COMPARE] = all(done.values()) and self._is_compared()
        if not all(done.values()):
            self._note_circumstances()
        with StepProgress(titles, expected, self.console) as self.progress:
            for training in TRAININGS:
                self._do(training.name, done[training.name], lambda t=training: self._teach(t))
            self._do(_COMPARE, done[_COMPARE], self._compare)
        if not self.results.data.get('finished'):
            self.results.data['finished'] = _now()
            self.results.save()

    def _do(self, name: str, finished: bool, work: Callable[[], None]) -> None:
        if finished:
            self.progress.skip(name, 'finished before')
            return
        begin = time.monotonic()
        self.current = name
        try:
            work()
        finally:
            self.results.add_seconds(name, time.monotonic() - begin)

    def _note_circumstances(self) -> None:
        self.results.data.update(
            command=_command(),
            started=self.results.data.get('started') or _now(),
            finished=None,
            machine=_machine(),
            versions={'python': platform.python_version()} | {n: version(n) for n in _VERSIONS},
            data=dict(self.toy_set, root=str(self.data_root)),
        )
        self.results.save()

    def _is_finished(self, training: Training) -> bool:
        step = self.results.step(training.name)
        return self._is_trained(training) and step['status'] == 'finished'

    def _teach(self, training: Training) -> None:
        """Train and test one model."""
        step = self.results.step(training.name)
        folder = self.work_dir / training.name
        if self._is_trained(training):
            self.progress.start(training.name, 0.98, 'trained before')
        else:
            settings = self._settings(training)
            if not settings.begun:
                step.update(status='new', seconds=0.0)
                settings.keep()
            self._train(training, step, folder)
        self.progress.update(training.name, 0.99, 'testing')
        step['metrics'] = self._test(training, folder)
        step['status'] = 'finished'
        self.results.save()
        self.progress.finish(training.name, f'AP {100 * step["metrics"]["AP"]:.1f}')

    def _train(self, training: Training, step: dict[str, Any], folder: Path) -> None:
        cfg = self.configs[training.name]
        command = [
            *('tools/train.py', training.config, '--work-dir', str(folder)),
            *('--data-root', str(self.data_root), '--resume'),
        ]
        for flag, value in training.flags.items():
            command += [f'--{flag}', value]
        if training.method:
            teacher = self.work_dir / self.results.step(TEACHER.name)['checkpoint']
            command += ['--teacher-checkpoint', str(teacher)]
        overrides = self._overrides(training)
        if overrides:
            command += ['--cfg-options', *(f'{key}={value}' for key, value in overrides.items())]
        step.update(
            title=training.title,
            status='begun',
            config=training.config,
            settings=f'{training.name}/settings.json',
            epochs=cfg.train_cfg.max_epochs,
            seed=cfg.get('randomness', {}).get('seed'),
            command=shlex.join(['python', *command]),
            log=f'logs/{training.name}.log',
        )
        self.results.save()
        iterations = self._num_iterations(training)
        done = max(read_scalars(folder).train, default=0)
        self.progress.start(
            training.name,
            min(done / iterations, 0.98),
            f'goes on at iteration {done} of {iterations}' if done else '',
        )
        self._run(
            f'training {training.title}', command, training.name, lambda: self._watch(training)
        )
        checkpoint = _latest_checkpoint(folder)
        if checkpoint is None:
            raise DemoError(f'training {training.title} left no checkpoint in {folder}')
        step.update(
            status='trained',
            checkpoint=os.path.relpath(checkpoint, self.work_dir),
            checkpoint_sha256=digest_of(checkpoint),
        )
        self.results.save()

    def _watch(self, training: Training) -> None:
        """Show how far a training is."""
        train = read_scalars(self.work_dir / training.name).train
        if train:
            iteration = max(train)
            epochs = self.configs[training.name].train_cfg.max_epochs
            loss = train[iteration].get('loss', math.nan)
            self.progress.update(
                training.name,
                min(iteration / self._num_iterations(training), 0.98),
                f'epoch {train[iteration].get("epoch", "?")} of {epochs}, loss {loss:.2f}',
            )

    def _test(self, training: Training, folder: Path) -> dict[str, float]:
        """COCO metrics on the validation images, by ``tools/test.py``."""
        checkpoint = self.work_dir / self.results.step(training.name)['checkpoint']
        command = [
            *('tools/test.py', training.config, str(checkpoint)),
            *('--work-dir', str(folder / 'test'), '--data-root', str(self.data_root)),
            *('--cfg-options', f'test_evaluator.outfile_prefix={detections_prefix(folder)}'),
        ]
        self._run(f'testing {training.title}', command, f'{training.name}_test', lambda: None)
        written = max((folder / 'test').glob('*/*.json'), default=None)
        if written is None:
            raise DemoError(f'testing {training.title} left no metrics in {folder / "test"}')
        metrics = json.loads(written.read_text())
        # A model that detects nothing at all gets no metrics.
        return {column: metrics.get(key, 0.0) for column, key in METRICS.items()}

    def _run(self, what: str, command: list[str], name: str, watch: Callable[[], None]) -> None:
        """Run a tool in a process of its own, its output in ``logs/<name>.log``."""
        log = self.work_dir / 'logs' / f'{name}.log'
        log.parent.mkdir(exist_ok=True)
        with open(log, 'a', encoding='utf-8') as output:
            print(f'\n$ {shlex.join(["python", *command])}', file=output, flush=True)
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=self.options.repository,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(self._lock,),
                env={**os.environ, 'PYTHONUNBUFFERED': '1'},
            )
            try:
                while not _ends_within(process, seconds=1):
                    watch()
            finally:
                _stop(process)
        if process.returncode != 0:
            lines = log.read_text(encoding='utf-8', errors='replace').rstrip().splitlines()
            tail = '\n'.join(f'  {line}' for line in lines[-_TAIL:])
            end = (
                f'was killed by signal {-process.returncode}'
                if process.returncode < 0
                else f'exited with {process.returncode}'
            )
            raise DemoError(
                f'{what} {end}; the end of {log}:\n{tail}\nWhen that is mended, the same command '
                'goes on where it stopped'
            )

    # -- speed, figures, report ----------------------------------------------

    def _checkpoints(self) -> dict[str, str]:
        return {t.name: self.results.step(t.name).get('checkpoint_sha256') for t in TRAININGS}

    def _is_compared(self) -> bool:
        step = self.results.step(_COMPARE)
        figures = step.get('figures', {})
        return (
            step['status'] == 'finished'
            and step.get('checkpoints') == self._checkpoints()
            and all(path is None or self._is_file(path) for path in figures.values())
        )

    def _compare(self) -> None:
        step = self.results.step(_COMPARE)
        step.update(status='begun', checkpoints=self._checkpoints())
        self.progress.start(_COMPARE)
        contestants = {
            t.title: Contestant(
                config=self.configs[t.name],
                checkpoint=self.work_dir / self.results.step(t.name)['checkpoint'],
                work_dir=self.work_dir / t.name,
                metrics=self.results.step(t.name)['metrics'],
                detections=self.work_dir / t.name / DETECTIONS,
            )
            for t in TRAININGS
        }
        found = compare(
            contestants,
            teacher=TEACHER.title,
            students=[t.title for t in TRAININGS if t != TEACHER],
            data_root=self.data_root,
            folder=self.work_dir,
            watch=lambda share, note: self.progress.update(_COMPARE, share, note),
        )
        step.update(found, status='finished')
        self.progress.finish(_COMPARE, '')

    def _report(self) -> None:
        """Print the table, what to think of it, and what was written."""
        data = self.results.data
        compared = data['steps'][_COMPARE]
        rows = {
            t.title: data['steps'][t.name]['metrics'] | compared['models'][t.title]
            for t in TRAININGS
        }
        num_val = self.toy_set['num_val']
        show = self.console.print
        show()
        show(results_table(rows, f'COCO metrics in % on {num_val} validation images'))
        show(
            f'img/s: {compared["device"]}, {compared["threads"]} threads, batches of 1, with '
            f'preprocessing and NMS; median of {compared["num_timed"]} images, the models in turns.'
        )
        for each in compared['differences']:
            show(
                f'{each["model"]} - {each["baseline"]}: AP {each["difference"]}, {each["verdict"]}'
            )
        show(
            'Brackets: 95 % intervals over the choice of the validation images, whose number '
            'follows. What another seed would add is not in them: one was trained.'
        )
        error = compared['teacher_fg_error']
        show(
            'Teacher on samples of objects: the run was too short for the audit to log anything.'
            if error is None
            else f'While SortKD trained, the teacher was wrong on {100 * error:.1f} % of the '
            'samples of objects; there sorting puts the label on top.'
        )
        show(f'All steps took {format_duration(data["seconds"])}. Written:')
        written = ['results.json', *filter(None, compared['figures'].values()), 'logs/']
        for path in [*written, *(f'{t.name}/' for t in TRAININGS)]:
            show(f'  {_shown(self.work_dir)}/{path}', highlight=False, soft_wrap=True)
        for name in (name for name in FIGURES if compared['figures'].get(name) is None):
            show(f'  ({FIGURES[name]} was not drawn: no sample of the student lay on an object)')

    # -- small matters -------------------------------------------------------

    def _expected_seconds(self, training: Training) -> float:
        return _OVERHEAD + self._num_iterations(training) * training.seconds_per_iteration

    def _num_iterations(self, training: Training) -> int:
        cfg = self.configs[training.name]
        loader, images = cfg.train_dataloader, self.toy_set['num_train']
        batches = math.ceil(min(loader.dataset.indices or images, images) / loader.batch_size)
        return batches * cfg.train_cfg.max_epochs

    def _how_to_go_on(self) -> str:
        name = self.current
        kept = 'what was finished is kept'
        if name in self.configs:
            latest = _latest_checkpoint(self.work_dir / name)
            kept += f', and {name} goes on ' + (
                f'from {_shown(latest)}' if latest else 'from its beginning'
            )
        return f'interrupted; {kept}. To go on:\n  {_command()}'


def _latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that ``--resume`` would take up in a work directory."""
    return noted_checkpoint(str(folder))


def _shown(path: Path) -> str:
    """``path`` as a user would type it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _ends_within(process: subprocess.Popen, seconds: float) -> bool:
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _stop(process: subprocess.Popen) -> None:
    """End a child that still runs."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _terminable() -> Iterator[None]:
    """Within, SIGTERM interrupts as Ctrl-C does, so that no child is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _command() -> str:
    return shlex.join([os.path.relpath(sys.executable), *sys.argv])


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec='seconds')


def _machine() -> dict[str, Any]:
    processor = platform.processor() or platform.machine()
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as file:
            names = [line.split(':', 1)[1].strip() for line in file if 'model name' in line]
        processor = names[0] if names else processor
    except OSError:
        pass
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return dict(system=platform.platform(), processor=processor, cores=os.cpu_count(), gpu=gpu)
