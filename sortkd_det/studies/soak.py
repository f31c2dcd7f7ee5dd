"""Kill a training run at random moments, resume it, and compare its end to the undisturbed one."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from sortkd_det.checkpoints import load_checkpoint, newest_checkpoint
from sortkd_det.files import write_json

_COMPARED = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers', 'sortkd_det')
_LOGGED = re.compile(r'(?:Epoch|Iter)\((train|val)\)\s+\[[^\]]*\](?:\[[^\]]*\])?')
#: How the moment of a kill is chosen, in turns.
WHEN = ('at any time', 'while writing a checkpoint', 'at any time, by SIGTERM')


@dataclass
class Trial:
    """One run that was killed and resumed.

    Attributes:
        when: one of :data:`WHEN`.
        seconds: from the start of the process to the kill.
        logged: what the run had logged last: ``'Epoch(val) [2][1/4]'``.
        resumed_from: name of the checkpoint it went on from; None: it began anew.
        identical: whether the last checkpoint equals that of the undisturbed run, to the bit.
        differs: the first entry that does not.
    """

    when: str
    seconds: float
    logged: str
    resumed_from: str | None
    identical: bool
    differs: str | None


class Soak:
    """Runs of ``tools/train.py`` in processes of their own.

    Args:
        repository: the checkout with ``tools/``.
        arguments: of ``tools/train.py``: the config and its options, without ``--work-dir``.
        work_dir: folder of everything that is written; ``trials.json`` is the record.
        seed: of the moments.
    """

    def __init__(
        self, repository: Path, arguments: Sequence[str], work_dir: Path, seed: int = 0
    ) -> None:
        self.command = [sys.executable, str(repository / 'tools/train.py'), *arguments]
        self.work_dir = work_dir
        self.random = random.Random(seed)

    def run(self, num_trials: int) -> list[Trial]:
        """Train undisturbed, then kill and resume ``num_trials`` runs.

        Raises:
            RuntimeError: a run that was not killed failed; the message has the end of its output.
        """
        console = Console()
        through = self.work_dir / 'through'
        shutil.rmtree(self.work_dir, ignore_errors=True)
        start = time.monotonic()
        self._train(through)
        seconds = time.monotonic() - start
        expected = last_state(through)
        console.print(f'undisturbed: {seconds:.1f} s')
        trials = []
        for number in range(num_trials):
            trial = self._trial(WHEN[number % len(WHEN)], seconds, expected)
            trials.append(trial)
            console.print(
                f'{number + 1}/{num_trials}: killed {trial.when}, after {trial.seconds:.1f} s '
                f'({trial.logged}), resumed from {trial.resumed_from}: '
                + ('identical' if trial.identical else f'{trial.differs} differs')
            )
            write_json(self.work_dir / 'trials.json', [asdict(each) for each in trials])
        return trials

    def _trial(self, when: str, seconds: float, expected: dict[str, Any]) -> Trial:
        folder = self.work_dir / 'killed'
        shutil.rmtree(folder, ignore_errors=True)
        after, logged = self._kill(folder, when, seconds)
        found = newest_checkpoint(str(folder)) if folder.is_dir() else None
        self._train(folder, '--resume')
        differs = first_difference(expected, last_state(folder))
        return Trial(when, after, logged, found and Path(found).name, differs is None, differs)

    def _kill(self, folder: Path, when: str, seconds: float) -> tuple[float, str]:
        """Start a run and kill it with all its workers; when that was, and what it had logged."""
        start = time.monotonic()
        moment = start + self.random.uniform(0.2, 1) * seconds
        skip = self.random.randrange(3)  # checkpoints written before the one that is disturbed
        with open(self.work_dir / 'output.txt', 'w') as output:
            process = subprocess.Popen(
                [*self.command, '--work-dir', str(folder)],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            seen: set[str] = set()
            while process.poll() is None and time.monotonic() < moment + seconds:
                if when != WHEN[1]:
                    if time.monotonic() >= moment:
                        break
                    time.sleep(0.01)
                    continue
                seen |= {path.name for path in folder.glob('.*.pth.partial')}
                if len(seen) > skip:
                    break
            after = time.monotonic() - start
            if process.poll() is None:
                number = signal.SIGTERM if when == WHEN[2] else signal.SIGKILL
                os.killpg(process.pid, number)
            process.wait()
        logged = [m.group() for m in _LOGGED.finditer((self.work_dir / 'output.txt').read_text())]
        return after, logged[-1] if logged else 'nothing yet'

    def _train(self, folder: Path, *options: str) -> None:
        done = subprocess.run(
            [*self.command, '--work-dir', str(folder), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != 0:
            raise RuntimeError(
                f'{" ".join(done.args)} ended with status {done.returncode}:\n{done.stdout[-2000:]}'
            )


def last_state(work_dir: Path) -> dict[str, Any]:
    """What a run ended with: weights, optimizer, schedules, what the method learned, best score.

    Raises:
        FileNotFoundError: the run left no checkpoint.
    """
    path = newest_checkpoint(str(work_dir))
    if path is None:
        raise FileNotFoundError(f'no checkpoint in {work_dir}')
    checkpoint = load_checkpoint(path)
    info = checkpoint['message_hub'].get('runtime_info', {})
    return {
        **{key: checkpoint.get(key) for key in _COMPARED},
        'epoch': checkpoint['meta']['epoch'],
        'iter': checkpoint['meta']['iter'],
        'best': {key: value for key, value in info.items() if key.startswith('best_score')},
    }


def first_difference(first: Any, second: Any, path: str = '') -> str | None:
    """Where two nests of dicts, lists, tensors and plain values differ first, or None."""
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return None if torch.equal(first, second) else path
    if isinstance(first, dict) and isinstance(second, dict):
        if first.keys() != second.keys():
            return path
        pairs = [(key, first[key], second[key]) for key in first]
    elif isinstance(first, list | tuple) and isinstance(second, list | tuple):
        if len(first) != len(second):
            return path
        pairs = list(zip(range(len(first)), first, second, strict=True))
    else:
        return None if first == second else path
    for key, one, other in pairs:
        if (found := first_difference(one, other, f'{path}/{key}')) is not None:
            return found
    return None


def summary(trials: Sequence[Trial]) -> Table:
    """How many of each kind came back identical."""
    table = Table('killed', 'runs', 'identical')
    for when in (*WHEN, None):
        kind = [trial for trial in trials if when in (None, trial.when)]
        if kind:
            table.add_row(
                when or 'all', str(len(kind)), str(sum(trial.identical for trial in kind))
            )
    return table
