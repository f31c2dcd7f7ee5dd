"""The names of classes: of a data set, and whether two lists are the same."""

from collections.abc import Sequence
from typing import Any


def classes_of_dataset(dataset: Any) -> Sequence[str] | None:
    """The class names that a data set tells, or None."""
    return (getattr(dataset, 'metainfo', None) or {}).get('classes')


def check_same_classes(own: list[str], other: list[str]) -> None:
    """Raise ValueError unless ``other``, a teacher's, are a data set's ``own`` classes in order."""
    if own == other:
        return
    if sorted(own) == sorted(other):
        at = next(i for i, (a, b) in enumerate(zip(own, other, strict=True)) if a != b)
        raise ValueError(
            f'teacher and student have the same classes in another order: class {at} is '
            f'{other[at]!r} for the teacher and {own[at]!r} here; give metainfo.classes of the '
            'data set in the order of the teacher'
        )
    extra = [name for name in other if name not in own]
    absent = [name for name in own if name not in other]
    raise ValueError(
        f'teacher and student differ in their classes: {len(other)} and {len(own)}; only the '
        f'teacher has {extra[:5]}, only the student {absent[:5]}; expected the same list in the '
        'same order'
    )
