"""The tables of a data set's config: its pairs of teacher and student, and settings of methods.

``configs/cifar100.py`` shows both. ``methods`` holds, by a method's name, what is set beside the
method's own file; ``pairs`` holds, by a pair's name, the ``teacher``, its ``checkpoint``, the
``settings`` of each run of the pair, and ``methods``, what a method is set to for this pair.
Settings are written as ``--cfg-options`` would have them: ``{'method.0.loss.beta': 8.0}``.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config


@dataclass(frozen=True)
class Published:
    """What the tables say of one run.

    Attributes:
        known: names of all pairs.
        pair: name of the pair, or None.
        teacher: name of the pair's teacher, or None.
        checkpoint: the teacher's weights, or None.
        settings: what is set; later entries win over earlier ones.
    """

    known: tuple[str, ...] = ()
    pair: str | None = None
    teacher: str | None = None
    checkpoint: str | None = None
    settings: list[dict[str, Any]] = field(default_factory=list)

    def check_network(self, cfg: Config) -> None:
        """Raise if nothing says which network of the table is the student."""
        if self.known and not cfg.model.get('type'):
            raise _unknown_pair(None, self.known)


def take_published(
    cfg: Config, pair: str | None, method: str | None, teacher: str | None = None
) -> Published:
    """Take the tables out of a config, and of them what holds for a pair and a method.

    Args:
        cfg: the config of a data set; without tables nothing is taken.
        pair: name of a pair. None: the only one of the table, where a method asks for
            a teacher and none is named.
        method: name of a method, or None: the student alone, or a method of one's own.
        teacher: what the user named as teacher, or None.

    Raises:
        ValueError: no such pair; no pair, for a method that is set by pair.
    """
    pairs, methods = cfg.pop('pairs', {}), cfg.pop('methods', {})
    if pair is not None and not pairs:
        raise ValueError(f'--pair {pair}: this config has no table of pairs')
    if pair is None and method is not None and teacher is None and len(pairs) == 1:
        (pair,) = pairs
    if pair is None:
        if any(method in row.get('methods', {}) for row in pairs.values()):
            raise ValueError(
                f'--method {method} is set by pair on this data set: {_unknown_pair(None, pairs)}'
            )
        return Published(tuple(pairs), settings=[methods.get(method, {})])
    if pair not in pairs:
        raise _unknown_pair(pair, pairs)
    row = pairs[pair]
    settings = [
        row.get('settings', {}),
        methods.get(method, {}),
        row.get('methods', {}).get(method, {}),
    ]
    return Published(tuple(pairs), pair, row['teacher'], row['checkpoint'], settings)


def _unknown_pair(pair: str | None, known: Iterable[str]) -> ValueError:
    return ValueError(f'--pair must be one of {", ".join(known)}; got {pair!r}')
