"""Which of a teacher's classes are the student's, by name."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from sortkd_det.functional import check_choice

from .class_names import check_same_classes
from .logit_batch import LogitBatch

UNMAPPED = ('error', 'ignore')

#: Log-odds of a class that the teacher does not know: a probability of a millionth.
_UNKNOWN = -13.8


class ClassMap:
    """Where each class of the student stands among those of its teacher.

    Without names both have the same classes, as many of them. Logits of equal lists
    pass through untouched.

    Args:
        own: the student's classes, those of its data set; None: they are not known.
        other: the teacher's; likewise.
        renamed: ``{'person': 'pedestrian'}``: what the student calls classes of the teacher.
        unmapped: what becomes of classes of the student that the teacher lacks: ``'error'``, or
            ``'ignore'``: rows of these teach nothing.

    Attributes:
        index: for each class of the student the teacher's column; −1: none; None: the same.

    Raises:
        TypeError, ValueError: arguments out of their range; names in ``renamed`` that are no
            classes; a class of the student that the teacher lacks, or has twice.
    """

    def __init__(
        self,
        own: Sequence[str] | None = None,
        other: Sequence[str] | None = None,
        renamed: Mapping[str, str] | None = None,
        unmapped: str = 'error',
    ) -> None:
        check_choice('teacher.unmapped', unmapped, UNMAPPED)
        if not isinstance(renamed, Mapping | None):
            raise TypeError(
                "teacher.class_map must be dict of the teacher's names and the student's, "
                f"{{'person': 'pedestrian'}}, got {renamed!r}"
            )
        self.index: list[int] | None = None
        self._asked = False
        self._places: dict[torch.device, tuple[Tensor, Tensor]] = {}
        self.own, self.other = own, other
        if own is None or other is None:
            if renamed:
                raise ValueError(
                    'teacher.class_map is given and '
                    f'{"the data set" if own is None else "the checkpoint of the teacher"} names '
                    'no classes; expected names, as MMEngine keeps them in metainfo.classes and '
                    'meta.dataset_meta'
                )
            return
        self.own, self.other = list(own), list(other)
        called = self._rename(renamed or {})
        if called != self.own:
            self.index = self._find(called, unmapped)

    def _rename(self, renamed: Mapping[str, str]) -> list[str]:
        """The teacher's classes as the student calls them."""
        for known, who, names in (
            (self.other, 'teacher', renamed.keys()),
            (self.own, 'student', renamed.values()),
        ):
            strange = [name for name in names if name not in known]
            if strange:
                raise ValueError(
                    f'teacher.class_map names {strange[:5]}, which are no classes of the {who}; '
                    "expected {the teacher's name: the student's}, and the classes of the "
                    f'{who} are {known[:5]}{" …" if len(known) > 5 else ""}'
                )
        return [renamed.get(name, name) for name in self.other]

    def _find(self, called: list[str], unmapped: str) -> list[int]:
        twice = [name for name in self.own if self.own.count(name) > 1]
        if twice:
            raise ValueError(
                f'the data set names {twice[0]!r} {self.own.count(twice[0])} times among its '
                'classes, so that they cannot be found by name; expected a name for each'
            )
        twice = [name for name in self.own if called.count(name) > 1]
        if twice:
            raise ValueError(
                f'several classes of the teacher are {twice[0]!r} of the student; expected one '
                'class of the teacher for each; look at teacher.class_map'
            )
        absent = [name for name in self.own if name not in called]
        if absent and (unmapped == 'error' or len(absent) == len(self.own)):
            extra = [name for name in called if name not in self.own]
            raise ValueError(
                f'teacher and student differ in their classes: {len(called)} and '
                f'{len(self.own)}; only the teacher has {extra[:5]}, only the student '
                f'{absent[:5]}; expected a teacher that has all classes of the student. Where '
                "only the names differ, give teacher.class_map={the teacher's: the student's}; "
                "with teacher.unmapped='ignore' objects of the others are not taught"
            )
        return [called.index(name) if name in called else -1 for name in self.own]

    def tell(self) -> None:
        """Say in the log which classes are taught, if they are not all of both."""
        if self.index is None:
            return
        pairs = list(zip(self.own, self.index, strict=True))
        taught = [name for name, column in pairs if column >= 0]
        absent = [name for name, column in pairs if column < 0]
        dropped = [name for at, name in enumerate(self.other) if at not in self.index]
        text = f'the teacher teaches {len(taught)} of its {len(self.other)} classes by name'
        if dropped:
            text += f'; left out are {_listed(dropped)}'
        if absent:
            text += f'; not taught, as it lacks them, are {_listed(absent)}'
        print_log(text, logger='current', level=logging.INFO)

    def check_numbers(self, student: int, teacher: int) -> None:
        """Raise unless the heads have as many classes as the lists of names.

        Args:
            student: the number of classes of the student's head.
            teacher: likewise.

        Raises:
            ValueError: they have not, or two numbers differ and names do not tell why.
        """
        if self.index is None:
            if student != teacher:
                raise ValueError(
                    f'teacher and student differ in their number of classes: {teacher} and '
                    f'{student}; expected the same classes in the same order, or names in the '
                    "teacher's checkpoint and the data set, by which they are mapped"
                )
            return
        for who, number, names in (
            ('student', student, self.own),
            ('teacher', teacher, self.other),
        ):
            if number != len(names):
                raise ValueError(
                    f'the head of the {who} has {number} classes and {len(names)} have names; '
                    'expected a name for each'
                )

    def check_same(self) -> None:
        """Raise unless both have the same classes in the same order.

        Raises:
            ValueError: they have not.
        """
        if self.index is not None:
            check_same_classes(self.own, self.other)

    def columns(self, logits: Tensor, activation: str, dim: int = 1) -> Tensor:
        """The teacher's logits in the student's columns.

        Classes that the student does not know are background to it: in a softmax
        their probability is added to that of background, exactly. A sigmoid leaves them out.

        Args:
            logits: those of C' classes along ``dim``, and of background last where
                ``activation`` is ``'softmax'``.
            activation: ``'softmax'`` or ``'sigmoid'``.
            dim: the dimension of the classes.

        Returns:
            The same with the student's C classes; ``logits`` itself where they are the same.

        Raises:
            ValueError: another number of columns than of classes (and background).
        """
        if self.index is None:
            return logits
        self._asked = True
        expected = len(self.other) + (activation == 'softmax')
        if logits.shape[dim] != expected:
            raise ValueError(
                f'the teacher has {len(self.other)} classes, and its logits {tuple(logits.shape)} '
                f'have {logits.shape[dim]} columns in dimension {dim}; expected {expected}'
            )
        index, rest = self._places_on(logits.device)
        taken = logits.index_select(dim, index.clamp(min=0))
        shape = [-1 if axis == dim % logits.dim() else 1 for axis in range(logits.dim())]
        lacking = (index < 0).view(shape)
        if activation == 'sigmoid':
            return taken.masked_fill(lacking, _UNKNOWN)
        total = logits.logsumexp(dim, keepdim=True)
        taken = torch.where(lacking, total + _UNKNOWN, taken)
        poured = logits.index_select(dim, rest).logsumexp(dim, keepdim=True)
        return torch.cat([taken, poured], dim)

    def labels(self, labels: Tensor) -> Tensor:
        """The teacher's numbers of classes of the student; −1 where it lacks them.

        Args:
            labels: int64 in [0, C).
        """
        if self.index is None:
            return labels
        return self._places_on(labels.device)[0][labels]

    def _places_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The student's classes among the teacher's columns, and the columns that are left, of a
        softmax; copied once to each device.
        """
        if device not in self._places:
            left = sorted({*range(len(self.other) + 1)} - {*self.index})
            self._places[device] = tuple(
                torch.tensor(columns, device=device) for columns in (self.index, left)
            )
        return self._places[device]

    def mask(self, batch: LogitBatch) -> LogitBatch:
        """The batch with weight 0 in rows whose class the teacher lacks; what it says of boxes
        is about no class (``find_boxes``), or leaves these out itself (``find_box_loss``).

        Raises:
            RuntimeError: the adapter that made the batch did not ask for :meth:`columns`.
        """
        if self.index is not None and not self._asked and len(batch.labels):
            raise RuntimeError(
                'the classes of the teacher are not those of the student in the same order, and '
                'the adapter did not map them; expected teacher.class_map.columns(logits, '
                'activation) in its batch (docs/extending.md), or a teacher of the same classes'
            )
        if not self._lacking:
            return batch
        known = torch.isin(batch.labels, batch.labels.new_tensor(self._lacking), invert=True)
        return replace(batch, weight=batch.weight * known)

    @cached_property
    def _lacking(self) -> list[int]:
        """The student's labels that the teacher does not know."""
        return [at for at, column in enumerate(self.index or []) if column < 0]

    def relabel(self, data_samples: Sequence[Any]) -> Sequence[Any]:
        """What the teacher predicts, in the student's labels; other classes are left out.

        Args:
            data_samples: with ``pred_instances``, which are changed; returned as they are where
                the classes are the same.
        """
        if self.index is None:
            return data_samples
        own = torch.full((len(self.other),), -1)
        for label, column in enumerate(self.index):
            if column >= 0:
                own[column] = label
        for sample in data_samples:
            found = sample.pred_instances
            labels = own.to(found.labels.device)[found.labels]
            found.labels = labels
            sample.pred_instances = found[labels >= 0]
        return data_samples


def _listed(names: list[str]) -> str:
    more = f' and {len(names) - 5} more' if len(names) > 5 else ''
    return ', '.join(names[:5]) + more
