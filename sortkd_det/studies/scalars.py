"""Reads back the scalars that MMEngine's local backend logs."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class RunScalars:
    """What a training logged, its resumed parts joined.

    Attributes:
        train: iteration (counted from 1) → entry; losses are means over the log interval.
        val: epoch (counted from 1) → metrics.
    """

    train: dict[int, dict[str, float]] = field(default_factory=dict)
    val: dict[int, dict[str, float]] = field(default_factory=dict)

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of one scalar, those of training before those of validation.

        Returns:
            Two lists of the same length, both empty where it was never logged.
        """
        for entries in (self.train, self.val):
            found = {step: entry[name] for step, entry in sorted(entries.items()) if name in entry}
            if found:
                return list(found), list(found.values())
        return [], []


def read_scalars(work_dir: str | Path) -> RunScalars:
    """Read ``<work_dir>/<time>/vis_data/scalars.json`` of a run and of its resumed parts.

    A resumed part begins at a checkpoint, so what earlier parts logged from
    its first step on is dropped. A line that is being written is left out.

    Args:
        work_dir: the work directory of an MMEngine run; may hold nothing yet.
    """
    scalars = RunScalars()
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        part = RunScalars()
        for line in path.read_text().splitlines():
            entry = _parse(line)
            if entry is not None and 'step' in entry:
                entries = part.train if 'loss' in entry else part.val
                entries[int(entry['step'])] = entry
        scalars.train = _continue(scalars.train, part.train)
        scalars.val = _continue(scalars.val, part.val)
    return scalars


def _parse(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _continue(earlier: dict[int, dict], later: dict[int, dict]) -> dict[int, dict]:
    first = min(later, default=None)
    kept = {step: entry for step, entry in earlier.items() if first is None or step < first}
    return kept | later
