"""A term about features: what the necks of two detectors make of the same images."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from sortkd_det.functional import check_finite, check_whole
from sortkd_det.losses import FeatureLoss
from sortkd_det.registry import MODELS, build

from .feature_batch import FeatureBatch
from .own_parts import check_unchanged, tell_epoch, versions_of
from .schedule import Schedule


class FeatureTerm(nn.Module):
    """One loss between the levels of two necks, summed over them, on a schedule.

    Where the student's levels have other numbers of channels than the teacher's, a 1 × 1
    convolution for each, learned beside the student, brings them to the teacher's.

    Args:
        loss: config of a registered loss of features.
        num_levels: the first so many levels count, or all if there are fewer; None: all, and
            both necks must have as many.
        student_channels: of each level of the student's neck, a number or a list of them;
            None: as the neck tells.
        teacher_channels: likewise of the teacher, as the config of its neck tells.
        weight, begin, end, warmup, decay: as in :class:`Term`.
        name: what logs call it; by default its loss's type.

    Attributes:
        adaptation: the convolutions, one for each level; empty where none are needed.

    Raises:
        KeyError: unknown loss; the registered ones are named.
        TypeError: an argument of the wrong type; a loss of logits.
        ValueError: an argument out of its range.
    """

    of = 'features'

    def __init__(
        self,
        loss: Any,
        num_levels: int | None = None,
        student_channels: int | Sequence[int] | None = None,
        teacher_channels: int | Sequence[int] | None = None,
        weight: float = 1.0,
        begin: int = 1,
        end: int | None = None,
        warmup: int = 0,
        decay: int = 0,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.loss = build(MODELS, loss, 'loss')
        if not isinstance(self.loss, FeatureLoss):
            raise TypeError(
                f'{type(self.loss).__name__} is no loss of features; expected PKDLoss, CWDLoss, '
                'FitNetLoss or another FeatureLoss, or a term of logits (without type)'
            )
        self.num_levels = None if num_levels is None else check_whole('num_levels', num_levels)
        self.student_channels = _check_channels('student_channels', student_channels)
        self.teacher_channels = _check_channels('teacher_channels', teacher_channels)
        self.schedule = Schedule(weight, begin, end, warmup, decay)
        self.adaptation = nn.ModuleList()
        self.name = name or type(self.loss).__name__
        self._told_of_sizes = False

    def check(self, activation: str) -> None:
        """Features fit heads of every activation."""

    def adapt(self, student_neck: Any, teacher_neck: Any) -> None:
        """Make the 1 × 1 convolutions, where channels that are known differ.

        Args:
            student_neck: a neck, its config, or a list, of which the last that tells counts;
                None: there is none.
            teacher_neck: likewise.

        Raises:
            ValueError: the channels differ, and nothing tells how many levels there are.
        """
        necks = (student_neck, teacher_neck)
        given = (self.student_channels, self.teacher_channels)
        channels = [one or _told_channels(neck) for one, neck in zip(given, necks, strict=True)]
        if None in channels or channels[0] == channels[1]:
            return
        numbers = [len(each) for each in channels if not isinstance(each, int)]
        numbers += [number for number in map(_told_levels, necks) if number]
        numbers += [] if self.num_levels is None else [self.num_levels]
        if not numbers:
            raise ValueError(
                f'the term {self.name} is to bring {channels[0]} channels to {channels[1]}, and '
                'neither neck tells how many levels it has; give the term num_levels'
            )
        levels = range(min(numbers))
        own, others = (
            [each] * len(levels) if isinstance(each, int) else each[: len(levels)]
            for each in channels
        )
        if own == others:
            return
        with torch.random.fork_rng(devices=[]):  # the student sees what it would see alone
            self.adaptation = nn.ModuleList(
                nn.Conv2d(*widths, 1) for widths in zip(own, others, strict=True)
            )

    def forward(self, batch: FeatureBatch, now: int) -> Tensor:
        """The term's loss.

        Args:
            batch: the maps of both; the teacher's are resized to the student's.
            now: the epoch (iteration) that runs, counted from 1.

        Returns:
            Scalar tensor; zero, with the student's graph, outside the schedule.

        Raises:
            ValueError: numbers of levels that differ, without ``num_levels``; channels that
                differ and were not known to; in debug mode, features of the teacher that are
                not finite.
            RuntimeError: the loss changed in place what it was given.
        """
        tell_epoch(self.loss, now)
        numbers = len(batch.student), len(batch.teacher)
        if self.num_levels is None and numbers[0] != numbers[1]:
            raise ValueError(
                f'the neck of the student has {numbers[0]} levels and that of the teacher '
                f'{numbers[1]}; give the term {self.name} num_levels, how many of the first '
                'are pairs'
            )
        levels = range(min(*numbers, self.num_levels or numbers[0]))
        scale = self.schedule.scale(now)
        if scale == 0:
            return sum(batch.student[level][:0].sum() for level in levels)
        pairs = [(batch.student[level], batch.teacher[level]) for level in levels]
        given = {
            f'level {level} of the {who}': features
            for level, pair in enumerate(pairs)
            for who, features in zip(('student', 'teacher'), pair, strict=True)
        }
        before = versions_of(given)
        loss = scale * sum(self._level_loss(level, *pair) for level, pair in enumerate(pairs))
        check_unchanged(self.name, given, before)
        return loss

    def _level_loss(self, level: int, student: Tensor, teacher: Tensor) -> Tensor:
        teacher = teacher.to(torch.promote_types(teacher.dtype, torch.float32))
        what = f'level {level} of the features of the teacher, in the term {self.name}, by image,'
        check_finite(teacher.flatten(1), what)
        if level < len(self.adaptation):
            student = self._adapted(level, student)
        if student.shape[1] != teacher.shape[1]:
            raise ValueError(
                f'level {level} has {student.shape[1]} channels for the student and '
                f'{teacher.shape[1]} for the teacher, and the term {self.name} did not know it '
                'from their necks; give it student_channels and teacher_channels'
            )
        if student.shape[2:] != teacher.shape[2:]:
            self._tell_of_sizes(level, student, teacher)
            teacher = F.interpolate(teacher, student.shape[2:], mode='bilinear')
        return self.loss(student, teacher)

    def _tell_of_sizes(self, level: int, student: Tensor, teacher: Tensor) -> None:
        """Warn once: it may be meant, or a neck from P2 on with one from P3 on."""
        if not self._told_of_sizes:
            self._told_of_sizes = True
            print_log(
                f'the term {self.name} resizes the maps of the teacher: its level {level} is '
                f'{tuple(teacher.shape[2:])} (height, width) and that of the student '
                f'{tuple(student.shape[2:])} for the same images. Levels are pairs by their order; '
                'look whether both necks begin at the same stride',
                logger='current',
                level=logging.WARNING,
            )

    def _adapted(self, level: int, student: Tensor) -> Tensor:
        convolution = self.adaptation[level]
        if student.shape[1] != convolution.in_channels:
            raise ValueError(
                f'level {level} of the student has {student.shape[1]} channels and the term '
                f'{self.name} expected {convolution.in_channels}; look at student_channels'
            )
        return convolution(student)


def _check_channels(name: str, given: Any) -> int | list[int] | None:
    if given is None:
        return None
    if isinstance(given, Sequence) and not isinstance(given, str) and len(given):
        return [check_whole(name, each) for each in given]
    return check_whole(name, given)


def _told(neck: Any, key: str) -> Any:
    """An attribute of a neck or an entry of its config; of several, the last that has it."""
    if isinstance(neck, list | tuple | nn.Sequential):
        told = (_told(each, key) for each in reversed(list(neck)))
        return next((value for value in told if value is not None), None)
    return neck.get(key) if isinstance(neck, Mapping) else getattr(neck, key, None)


def _told_channels(neck: Any) -> int | list[int] | None:
    channels = _told(neck, 'out_channels')
    return list(channels) if isinstance(channels, list | tuple) else channels


def _told_levels(neck: Any) -> int | None:
    levels = _told(neck, 'num_outs')
    if levels is None:
        channels = _told(neck, 'in_channels')
        levels = len(channels) if isinstance(channels, list | tuple) else None
    return levels
