"""What the demo keeps between two calls: its results, its settings, and its hold on a folder."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sortkd_det.files import finite, write_json

from ..commands import HeldByAnotherError, held

_NAMED = 4  # how many changed settings an error names


class DemoError(ValueError):
    """The demo cannot go on; the message says what to do."""


class Results:
    """``results.json``: all numbers of the demo, written whole or not at all.

    Args:
        path: the file; read if it is there.

    Attributes:
        data: what is written: plain types; ``data['steps']`` holds an entry per step.

    Raises:
        DemoError: the file is no JSON of ours.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data: dict[str, Any] = {
            **dict.fromkeys(('command', 'started', 'finished')),
            **dict(seconds=0.0, machine={}, versions={}, data={}, steps={}),
        }
        if path.is_file():
            try:
                self.data = json.loads(path.read_text(encoding='utf-8'))
                self.data['steps'].items()
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise DemoError(
                    f'{path} holds no results of the demo ({error!r}); delete it to have its '
                    'steps tested anew, what they trained is kept'
                ) from error

    def step(self, name: str) -> dict[str, Any]:
        """The entry of a step, made if it is not there."""
        return self.data['steps'].setdefault(name, {'status': 'new', 'seconds': 0.0})

    def add_seconds(self, name: str, seconds: float) -> None:
        """Add time that a step took to its own and to the total, and save."""
        step = self.step(name)
        step['seconds'] = round(step['seconds'] + seconds, 1)
        self.data['seconds'] = round(self.data['seconds'] + seconds, 1)
        self.save()

    def save(self) -> None:
        """Write the file."""
        write_json(self.path, self.data)


def changed_settings(old: Any, new: Any, prefix: str = '') -> list[str]:
    """The leaves in which two nested settings differ: ``'train_cfg.max_epochs: 12 → 24'``."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*old, *(key for key in new if key not in old)]
        return [
            line
            for key in keys
            for line in changed_settings(
                old.get(key, '(absent)'), new.get(key, '(absent)'), f'{prefix}{key}.'
            )
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return changed_settings(dict(enumerate(old)), dict(enumerate(new)), prefix)
    return [] if old == new else [f'{prefix.rstrip(".")}: {_short(old)} → {_short(new)}']


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + '…'


class StepSettings:
    """What a step was begun with, kept in its folder, so that nothing else goes on with it.

    Args:
        folder: the step's work directory; deleting it makes the step new.
        settings: what the step would be begun with now, nested; taken as JSON reads it back.
    """

    def __init__(self, folder: Path, settings: Mapping) -> None:
        self.path = folder / 'settings.json'
        self.settings = json.loads(json.dumps(finite(settings), default=str))

    @property
    def begun(self) -> bool:
        """Whether the folder holds a step that was begun."""
        return self.path.is_file()

    def keep(self) -> None:
        """Write the settings that the step begins with."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, self.settings)

    def conflict(self) -> str | None:
        """Why the step cannot go on in this folder, or None if it can."""
        folder = self.path.parent
        if not self.begun:
            foreign = (folder / 'last_checkpoint').exists()
            return f'{folder} holds a training that is not of the demo' if foreign else None
        try:
            old = json.loads(self.path.read_text(encoding='utf-8'))
        except (ValueError, RecursionError):
            return f'{self.path} is damaged'
        changes = changed_settings(old, self.settings)
        if not changes:
            return None
        more = f' (and {len(changes) - _NAMED} more)' if len(changes) > _NAMED else ''
        return f'{folder} was begun with other settings: {"; ".join(changes[:_NAMED])}{more}'


@contextmanager
def hold(folder: Path) -> Iterator[int]:
    """Hold a folder for one demo at a time, as :func:`held`.

    Yields:
        A file descriptor; a child that inherits it holds the folder as long as it lives.

    Raises:
        DemoError: another process holds the folder.
    """
    try:
        with held(folder) as lock:
            yield lock
    except HeldByAnotherError as error:
        raise DemoError(
            f'another demo, or a training that one left behind, is at work in {folder}; wait '
            'for it or stop it, or name another folder by --work-dir'
        ) from error
