"""Methods by name: the files of ``configs/_base_/methods/``, and those of one's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from sortkd_det.distill import read_config

from .packages import imported_by

METHODS = Path(__file__).resolve().parents[2] / 'configs/_base_/methods'
_VARIABLES = ('method', 'student_weight', 'custom_imports')


@dataclass(frozen=True)
class MethodFile:
    """What a method's file says.

    Attributes:
        name: the file's stem.
        is_own: whether it is a user's own, of which a data set's tables know nothing.
        terms: the method.
        student_weight: multiplies the student's own losses; None: the file does not say.
        imports: modules that it needs.
    """

    name: str
    is_own: bool
    terms: Any
    student_weight: float | None
    imports: Sequence[str]


def known_methods() -> list[str]:
    """The names of the methods in ``configs/_base_/methods/``."""
    return sorted(path.stem for path in METHODS.glob('*.py'))


def read_method(name: str) -> MethodFile:
    """Read a method's file.

    Args:
        name: of a file in ``configs/_base_/methods/``, without its end, or the path of a file.

    Raises:
        FileNotFoundError: there is no such method.
        ValueError: a file that cannot be read, or says no method.
    """
    is_own = name.endswith('.py')
    path = Path(name) if is_own else METHODS / f'{name}.py'
    if not is_own and not path.is_file():
        raise FileNotFoundError(
            f'no method {name!r} in configs/_base_/methods; there are: '
            f'{", ".join(known_methods())}; a file of your own is named '
            f'with .py at its end: {name}.py'
        )
    if is_own and not path.is_file() and path.stem in known_methods():
        raise FileNotFoundError(
            f'there is no file {name}; the method of configs/_base_/methods is named without its '
            f'end: --method {path.stem}'
        )
    cfg = read_config(str(path))
    if 'method' not in cfg:
        raise ValueError(f'--method {name}: expected method = [dict(loss=…), …] in this file')
    for variable in cfg:
        meant = get_close_matches(variable, _VARIABLES, n=1, cutoff=0.8)
        if meant and variable not in _VARIABLES:
            raise ValueError(f'--method {name}: {variable} means nothing; is {meant[0]} meant?')
    return MethodFile(
        path.stem,
        is_own,
        cfg.method,
        cfg.get('student_weight'),
        imported_by(cfg),
    )
