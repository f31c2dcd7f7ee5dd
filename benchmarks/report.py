"""What the benchmarks share: a table for the terminal, and the same table in a Markdown record."""

import os
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import rich.box
import rich.table
import torch
from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
MET, MISSED = 'met', 'missed'
# What others kept the machine busy with: on a busy one, what uses all cores suffers most.
_LOAD_BEFORE = os.getloadavg()[0]
_COLOURS = {MET: 'green', MISSED: 'bold red'}


@dataclass
class Table:
    """A titled table; all cells are strings, the first column names the row."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def show(self) -> None:
        """Print it to the terminal."""
        table = rich.table.Table(title=self.title, title_justify='left', box=rich.box.SIMPLE_HEAD)
        for index, column in enumerate(self.columns):
            table.add_column(column, justify='right' if index else 'left')
        for row in self.rows:
            table.add_row(*(_coloured(cell) for cell in row))
        # A pipe has no width: nothing may be cut off there.
        console = Console() if sys.stdout.isatty() else Console(width=180)
        console.print(table)

    def markdown(self) -> str:
        """The table as Markdown, under its title."""
        lines = [self.columns, ['---', *['---:'] * (len(self.columns) - 1)], *self.rows]
        return '\n'.join([f'### {self.title}', '', *(f'| {" | ".join(line)} |' for line in lines)])


def write_record(path: str, title: str, tables: Sequence[Table], notes: Sequence[str]) -> None:
    """Write what was measured, and by which command, on which machine and when, as Markdown."""
    facts = [
        f'- Command: `{command()}`',
        f'- Machine: {machine()}',
        f'- Date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC',
        *(f'- {note}' for note in notes),
    ]
    parts = [f'# {title}', '\n'.join(facts), *(table.markdown() for table in tables)]
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text('\n\n'.join(parts) + '\n')
    print(f'wrote {path}')


def command() -> str:
    """The command line, to be run in the repository's root, without this machine's own paths."""
    return shlex.join(['python', *(_portable(word) for word in sys.argv)])


def machine() -> str:
    """Processor, cores, load, threads and versions; nothing that names the machine itself."""
    parts = [
        _processor(),
        f'{os.cpu_count()} cores (load {_LOAD_BEFORE:.1f} before the start)',
        f'{torch.get_num_threads()} threads',
        *([torch.cuda.get_device_name()] if torch.cuda.is_available() else []),
        f'Python {platform.python_version()}',
        *(f'{name} {installed(name)}' for name in ('torch', 'numpy', 'numba', 'mmcv', 'mmdet')),
    ]
    return ', '.join(parts)


def installed(package: str) -> str:
    """The version of an installed package, or ``'missing'``."""
    try:
        return version(package)
    except PackageNotFoundError:
        return 'missing'


def verdict(is_met: bool) -> str:
    """How a target is marked."""
    return MET if is_met else MISSED


def _coloured(cell: str) -> str:
    colour = _COLOURS.get(cell)
    return f'[{colour}]{cell}[/]' if colour else cell


def _portable(word: str) -> str:
    path = Path(word)
    if not path.is_absolute():
        return word
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


def _processor() -> str:
    info = Path('/proc/cpuinfo')
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith('model name'):
            return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()
