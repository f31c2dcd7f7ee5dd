"""Bars for the steps of a long job on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn


@dataclass
class _Step:
    expected: float
    share: float = 0.0
    begun_at: float = 0.0
    spent: float = 0.0

    @property
    def gained(self) -> float:
        return max(self.share - self.begun_at, 0.0)


class RemainingTime:
    """Estimates what is left of a list of steps, from expected and from measured times.

    What a step did in this session gives the ratio of real to expected time;
    steps not begun take the ratio of all that was measured, 1 before anything was.

    Args:
        expected: step → seconds that it takes on some machine, > 0.
    """

    def __init__(self, expected: Mapping[str, float]) -> None:
        self._steps = {name: _Step(seconds) for name, seconds in expected.items()}

    def set_done(self, name: str, share: float = 1.0) -> None:
        """Note that ``share`` in [0, 1] of a step was done before; it tells nothing of speed."""
        self._steps[name].share = self._steps[name].begun_at = share

    def measure(self, name: str, share: float, spent: float) -> None:
        """Note that a step stands at ``share`` in [0, 1] after ``spent`` seconds."""
        step = self._steps[name]
        step.share = share
        step.spent = spent

    def seconds(self) -> float:
        """Seconds left, for all steps together."""
        measured = [step for step in self._steps.values() if step.gained > 0]
        usual = _ratio(measured) if measured else 1.0
        return sum(
            step.expected * (1 - step.share) * (_ratio([step]) if step.gained > 0 else usual)
            for step in self._steps.values()
        )


def _ratio(steps: list[_Step]) -> float:
    return sum(step.spent for step in steps) / sum(step.expected * step.gained for step in steps)


def format_duration(seconds: float) -> str:
    """``'40 s'``, ``'12 min'`` or ``'1 h 05 min'``."""
    if seconds < 90:
        return f'{round(seconds)} s'
    minutes = round(seconds / 60)
    return f'{minutes} min' if minutes < 60 else f'{minutes // 60} h {minutes % 60:02d} min'


class StepProgress:
    """Shows how far the steps are: bars on a terminal, a line now and then elsewhere.

    Use it as a context.

    Args:
        titles: step → what it is called, in order.
        expected: step → seconds that it is expected to take, > 0.
        console: where it is shown; its ``is_terminal`` decides how.
        interval: seconds between two lines where it is no terminal.
        clock: seconds that pass; a test's own.
    """

    def __init__(
        self,
        titles: Mapping[str, str],
        expected: Mapping[str, float],
        console: Console,
        interval: float = 20.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._titles = dict(titles)
        self._remaining = RemainingTime(expected)
        self._console = console
        self._interval = interval
        self._clock = clock
        self._began = self._spoke = clock()
        self._step_began = clock()
        self._bars = Progress(
            TextColumn('{task.description}'),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn('{task.fields[note]}'),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks = {
            name: self._bars.add_task(title, total=1.0, note='', start=False)
            for name, title in self._titles.items()
        }

    def __enter__(self) -> 'StepProgress':
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def skip(self, name: str, note: str) -> None:
        """Show a step that was finished before."""
        self._remaining.set_done(name)
        self._show(name, 1.0, note, speak=True)

    def start(self, name: str, share: float = 0.0, note: str = '') -> None:
        """Show that a step begins, or goes on from ``share`` in [0, 1]."""
        self._step_began = self._clock()
        self._remaining.set_done(name, share)
        self._bars.start_task(self._tasks[name])
        self._show(name, share, note, speak=True)

    def update(self, name: str, share: float, note: str) -> None:
        """Show how far a step is; call it as often as you like."""
        self._remaining.measure(name, share, self._clock() - self._step_began)
        self._show(name, share, note, speak=self._clock() - self._spoke >= self._interval)

    def finish(self, name: str, note: str) -> None:
        """Show that a step is done."""
        self._remaining.measure(name, 1.0, self._clock() - self._step_began)
        self._show(name, 1.0, note, speak=True)

    def _show(self, name: str, share: float, note: str, speak: bool) -> None:
        left = self._remaining.seconds()
        left_note = f'about {format_duration(left)} left in all' if left > 0 else 'done'
        if self._console.is_terminal:
            if share < 1:
                note = f'{note}; {left_note}' if note else left_note
            self._bars.update(self._tasks[name], completed=share, note=note)
        elif speak:
            self._spoke = self._clock()
            passed = format_duration(self._spoke - self._began)
            parts = [f'{self._titles[name]} {100 * share:3.0f} %', note, left_note]
            self._console.print(f'[{passed}] ' + '; '.join(p for p in parts if p), markup=False)
